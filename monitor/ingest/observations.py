"""Observations: the granules of an overpass merged for one site, judged, and turned into a stored record."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final

import numpy as np
import xarray as xr

from monitor.controls.selection import MIN_UNITS, REFERENCE_RING
from monitor.cover.fraction import Endmembers
from monitor.cover.observe import Refusal, scale_and_offset
from monitor.cover.zonal_means import zonal_means
from monitor.cube.layout import Zones
from monitor.cube.masks import unseen_reason
from monitor.cube.overpass import Overpass, merge_granules
from monitor.cube.packed import PACKED_LAYERS
from monitor.cube.records import MEANS, MEASURES, SiteScene, digest
from monitor.errors import UNREAD
from monitor.imagery.source import Scene
from monitor.ingest.site_update import Observation, SiteUpdate
from monitor.ingest.task import UnreadScene

RETRY_PERIOD: Final = timedelta(days=30)
"""A scene that cannot be read is retried by every night until scenes this much newer are offered than at the first
attempt: items are known to be published before their files, and a host to be out of reach for days."""
MIN_SITE_PIXELS: Final = 10  # the mean of a site of fewer pixels is not meaningful: none of its scenes counts [pixel]
MIN_CLEAR_FRACTION: Final = 0.6  # a scene counts if at least this share of the site was seen [1]


type GranuleView = tuple[np.ndarray, np.ndarray, np.ndarray]
"""One granule as seen by one site: its pixels, its means and those of its units, see :class:`Observation`."""


def merge_views(
    update: SiteUpdate, overpass: Overpass, views: Sequence[tuple[Scene, GranuleView | Refusal]], n_units: int
) -> Observation:
    """Merge the granules of an overpass (`views`, the preferred one first) into one observation of a site.

    `n_units` is the number of control units around the site.
    """
    good = [(scene, view) for scene, view in views if not isinstance(view, Refusal)]
    refused = [(scene, why) for scene, why in views if isinstance(why, Refusal)]
    unread = tuple((scene, why) for scene, why in refused if why.reason in UNREAD)
    refusal = None
    if good:
        scene, (pixels, means, _) = good[0]
        unit_means = first_clear_means([of_units for _, (_, _, of_units) in good])
    else:
        scene, refusal = overpass.main, refused[0][1]
        pixels = np.zeros((len(PACKED_LAYERS), int(update.inside.sum())), dtype=np.uint16)
        means, unit_means = np.full(len(MEASURES), np.nan, np.float32), no_means(n_units)
    if len(good) > 1:
        pixels = merge_granules([(one, of_site) for one, (of_site, _, _) in good])
        scales = scale_and_offset([scene], update.grid)
        means = site_means(pixels[None], scales, Endmembers.of(update.task.site))[0]
    return Observation(
        overpass=overpass, scene=scene, pixels=pixels, site_means=means, unit_means=unit_means, unread=unread,
        refusal=refusal,
    )  # fmt: skip


def first_clear_means(unit_means: Sequence[np.ndarray]) -> np.ndarray:
    """Means of each unit from the first granule that saw enough of it.

    All arrays are (unit, measure), one for each granule, the preferred one first; the first measure is the number of
    clear pixels.
    """
    chosen = unit_means[0]
    for means in unit_means[1:]:
        hidden = np.isnan(chosen[:, 1:]).all(axis=1)
        chosen = np.where(hidden[:, None] & (means[:, :1] >= chosen[:, :1]), means, chosen)
    return chosen


def new_site_scenes(update: SiteUpdate) -> list[SiteScene]:
    """Scenes to be stored from the observations of a site; those stored already are left out.

    A granule that cannot be read is not named among the stored ones, so that it is retried, until it is given up after
    :data:`RETRY_PERIOD`. One that replaces a granule of an accepted scene is not stored: what is stored counts on.
    """
    repeated = {observation.overpass.acquisition for observation in update.observations} & update.baselines.keys()
    stored = update.store.columns() if repeated else {}
    rows = {name.decode(): at for at, name in enumerate(stored["acquisition"].tolist())} if repeated else {}
    site_scenes = []
    for observation in update.observations:
        acquisition, granules = observation.overpass.acquisition, observation.overpass.baselines
        at, known = rows.get(acquisition), update.baselines.get(acquisition, {})
        if observation.unread:
            tiles = {scene.tile for scene, _ in observation.unread}
            replaces = at is not None and bool(stored["accepted"][at]) and not tiles.isdisjoint(known)
            newest = max(scene.time for scene in update.task.offered).date()
            since = date.fromisoformat(update.task.unread_since.get(acquisition, newest.isoformat()))
            if replaces or newest - since <= RETRY_PERIOD:
                scene, refusal = observation.unread[0]
                update.unread[acquisition] = UnreadScene(scene.id, since.isoformat(), refusal.why)
                granules = {tile: baseline for tile, baseline in granules.items() if tile not in tiles}
            if replaces:
                continue
        site_scene = _site_scene(update, observation, granules)
        if at is None or known != granules or not _is_as_stored(site_scene, stored, at):
            site_scenes.append(site_scene)
    return site_scenes


def _is_as_stored(new: SiteScene, stored: Mapping[str, np.ndarray], at: int) -> bool:
    """Whether a scene of a site has the values of a place of :meth:`monitor.cube.stored_site.StoredSite.columns`."""
    scene = new.scene
    names = {"scene": scene.id, **{name: getattr(scene, name) for name in ("source", "baseline", "quality", "orbit")}}
    values = {
        **{name: text.encode() for name, text in (names | {"reason": new.reason}).items()},
        "scale": scene.scale, "offset": scene.offset, "n_pixels": new.n_pixels, "digest": int(new.digest, 16),
    }  # fmt: skip
    means = np.array([stored[prefix + name][at] for prefix in ("", "control_") for name in MEANS])
    return all(stored[name][at] == value for name, value in values.items()) and np.array_equal(
        means, [*new.site_means, *new.control_means], equal_nan=True
    )


def site_means(pixels: np.ndarray, scales: tuple[np.ndarray, np.ndarray], endmembers: Endmembers) -> np.ndarray:
    """Means of one site over its clear pixels, (scene, measure) float32 of :data:`monitor.cube.records.MEASURES`.

    `pixels` (scene, layer, pixel) has the layers of :data:`monitor.cube.packed.PACKED_LAYERS` of the pixels inside the
    site; `scales` are those of :func:`monitor.cover.observe.band_scales`, `endmembers` those of the biome, for the
    cover.
    """
    scale, offset = (xr.DataArray(one, dims=("time", "observed")) for one in scales)
    means: np.ndarray = zonal_means(
        xr.DataArray(pixels, dims=("time", "band", "pixel")), Zones.consecutive([pixels.shape[2]]), scale=scale,
        offset=offset, endmembers=endmembers,
    ).values[:, 0]  # fmt: skip
    return means


def _site_scene(update: SiteUpdate, observation: Observation, granules: Mapping[str, str]) -> SiteScene:
    """Judge an observation; one that cannot be read is stored as rejected."""
    pixels, units = observation.pixels, observation.unit_means
    judged: dict[str, Any] = {}
    if observation.refusal is not None:
        judged["reason"] = observation.refusal.reason
    else:
        compared = units[[unit.ring != REFERENCE_RING for unit in update.units]]
        judged = judge_scene(pixels, observation.scene.quality, observation.site_means, compared)
    return SiteScene(
        acquisition=observation.overpass.acquisition, granules=observation.overpass.granules, scene=observation.scene,
        used=granules, pixels=pixels, units=units, digest=digest(pixels, units if update.units else no_means(0)),
        **judged,
    )  # fmt: skip


def judge_scene(pixels: np.ndarray, quality: str, means: np.ndarray, units: np.ndarray) -> dict[str, Any]:
    """Decide whether a scene counts for a site, and round its means.

    `pixels` (layer, pixel) are those of the site, `means` (measure,) its :data:`monitor.cube.records.MEASURES`, and
    `units` (unit, measure) those of the control units that are compared, NaN where not seen. Returns ``n_pixels``,
    ``n_units`` and ``reason`` of :class:`monitor.cube.records.SiteScene`; where the scene counts also ``site_means``
    and ``control_means``, six decimals, NaN where not seen [1].
    """
    n, size = int(means[0]), pixels.shape[1]
    seen = int(np.isfinite(units[:, MEASURES.index("cover")]).sum())
    judged: dict[str, Any] = {"n_pixels": n, "n_units": seen, "reason": ""}
    if size < MIN_SITE_PIXELS:
        judged["reason"] = "FEW_PIXELS"
    elif n < MIN_CLEAR_FRACTION * size:
        judged["reason"] = unseen_reason(pixels[PACKED_LAYERS.index("quality")], quality)
    elif seen < MIN_UNITS:
        judged["reason"] = "CONTROL_HIDDEN" if len(units) >= MIN_UNITS else "CONTROL_POOR"
    else:
        columns = [one[np.isfinite(one)].astype(np.float64) for one in units[:, 1:].T]
        control = [one.mean() if one.size else np.nan for one in columns]
        for name, values in (("site_means", means[1:]), ("control_means", control)):  # as in the tables
            judged[name] = np.array([round(float(value), 6) if np.isfinite(value) else np.nan for value in values])
    return judged


def no_means(n_units: int) -> np.ndarray:
    """(unit, measure) means of units that were not seen: NaN, in one row where there are no units."""
    return np.full((max(n_units, 1), len(MEASURES)), np.nan, dtype=np.float32)
