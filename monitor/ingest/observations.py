"""Observations: the granules of an overpass merged for one site, judged, and turned into a stored record."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Final, NamedTuple

import numpy as np
import xarray as xr

from monitor.controls.selection import MIN_UNITS, REFERENCE_RING
from monitor.cover.fraction import Endmembers
from monitor.cover.observe import Refusal, needs_bandpass, scale_and_offset
from monitor.cover.zonal_means import zonal_means
from monitor.cube.layout import Zones
from monitor.cube.masks import unseen_reason
from monitor.cube.overpass import Overpass, merge_granules
from monitor.cube.packed import PACKED_LAYERS
from monitor.cube.records import MEASURES, Record, SiteScene, digest, record_of
from monitor.errors import UNREAD
from monitor.imagery.source import Scene
from monitor.ingest.site_update import Observation, SiteUpdate
from monitor.ingest.task import UnreadScene

RETRY_PERIOD: Final = timedelta(days=30)
"""A scene that cannot be read is retried by every night until scenes this much newer are offered than at the first
attempt: items are known to be published before their files, and a host to be out of reach for days."""
MIN_SITE_PIXELS: Final = 10
"""The mean of a site of fewer pixels is not meaningful: none of its scenes counts. [pixel]"""
MIN_CLEAR_FRACTION: Final = 0.6
"""A scene counts if at least this share of the site was seen. [1]"""


class GranuleView(NamedTuple):
    """One granule as seen by one site and its units; see :class:`Observation`."""

    pixels: np.ndarray
    site_means: np.ndarray
    unit_means: np.ndarray


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
        unit_means = first_clear_means([view.unit_means for _, view in good])
    else:
        scene, refusal = overpass.main, refused[0][1]
        pixels = np.zeros((len(PACKED_LAYERS), int(update.inside.sum())), dtype=np.uint16)
        means, unit_means = np.full(len(MEASURES), np.nan, np.float32), no_means(n_units)
    if len(good) > 1:
        pixels = merge_granules([(scene, view.pixels) for scene, view in good])
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
    """What is to be stored of the observations of a site; records equal to the stored ones are left out.

    A granule that cannot be read is not named among the stored ones, so that it is retried, until it is given up after
    :data:`RETRY_PERIOD`. One that replaces a granule of an accepted scene is not stored: what is stored counts on.
    """
    repeated = {observation.overpass.acquisition for observation in update.observations} & update.baselines.keys()
    stored = {record.acquisition: record for record in update.store.records()} if repeated else {}
    site_scenes = []
    for observation in update.observations:
        acquisition, granules = observation.overpass.acquisition, observation.overpass.baselines
        known = stored.get(acquisition)
        if observation.unread:
            tiles = {scene.tile for scene, _ in observation.unread}
            replaces = known is not None and known.accepted and not tiles.isdisjoint(known.granules)
            newest = max(scene.time for scene in update.task.offered).date()
            since = date.fromisoformat(update.task.unread_since.get(acquisition, newest.isoformat()))
            if replaces or newest - since <= RETRY_PERIOD:
                scene, refusal = observation.unread[0]
                update.unread[acquisition] = UnreadScene(scene.id, since.isoformat(), refusal.why)
                granules = {tile: baseline for tile, baseline in granules.items() if tile not in tiles}
            if replaces:
                continue
        site_scene = _site_scene(update, observation, granules)
        if known is None or _known_measures(known) != _known_measures(site_scene.record):
            site_scenes.append(site_scene)
    return site_scenes


def site_means(pixels: np.ndarray, scales: tuple[np.ndarray, np.ndarray], endmembers: Endmembers) -> np.ndarray:
    """Means of one site over its clear pixels.

    Parameters
    ----------
    pixels : (scene, layer, pixel) uint16 array
        Layers of :data:`monitor.cube.packed.PACKED_LAYERS` of the pixels inside the site.
    scales : tuple of two (scene, band) arrays
        See :func:`monitor.cover.observe.band_scales`.
    endmembers : Endmembers, end members of the biome, for the cover

    Returns
    -------
    (scene, measure) float32 array
        :data:`monitor.cube.records.MEASURES`, see :func:`monitor.cover.zonal_means.zonal_means`.
    """
    scale, offset = (xr.DataArray(one, dims=("time", "observed")) for one in scales)
    means: np.ndarray = zonal_means(
        xr.DataArray(pixels, dims=("time", "band", "pixel")), Zones.consecutive([pixels.shape[2]]), scale=scale,
        offset=offset, endmembers=endmembers,
    ).values[:, 0]  # fmt: skip
    return means


def _known_measures(record: Record) -> Record:
    """A record without the measures that have no value, for comparison."""
    return replace(record, measures={name: value for name, value in record.measures.items() if value})


def _site_scene(update: SiteUpdate, observation: Observation, granules: dict[str, str]) -> SiteScene:
    """Judge an observation and make it a record; one that cannot be read is recorded as rejected."""
    scene, pixels, unit_means = observation.scene, observation.pixels, observation.unit_means
    n, reason, measures = _judge(update, observation)
    record = record_of(
        scene,
        acquisition=observation.overpass.acquisition,
        granules=granules,
        bandpass=needs_bandpass(scene, update.grid),
        accepted=not reason,
        reason=reason,
        clear_fraction=round(n / pixels.shape[1], 4),
        n_pixels=n,
        measures=measures,
        digest=digest(pixels, unit_means if update.units else no_means(0)),
    )
    return SiteScene(record=record, pixels=pixels, units=unit_means, granules=observation.overpass.granules)


def _judge(update: SiteUpdate, observation: Observation) -> tuple[int, str, dict[str, float | None]]:
    """As :func:`judge_scene`, of an observation that may have been refused."""
    if observation.refusal is not None:
        return 0, observation.refusal.reason, {}
    units = observation.unit_means[[unit.ring != REFERENCE_RING for unit in update.units]]
    return judge_scene(observation.pixels, observation.scene.quality, observation.site_means, units)


def judge_scene(
    pixels: np.ndarray, quality: str, means: np.ndarray, units: np.ndarray
) -> tuple[int, str, dict[str, float | None]]:
    """Decide whether a scene counts for a site, and round its means.

    Parameters
    ----------
    pixels : (layer, pixel) uint16 array
        Layers of :data:`monitor.cube.packed.PACKED_LAYERS`.
    quality : str
        Kind of the quality layer.
    means : (measure,) array
        :data:`monitor.cube.records.MEASURES` of the site.
    units : (unit, measure) array
        The same of the control units that are compared; NaN where not seen.

    Returns
    -------
    n : int
        Clear pixels of the site.
    reason : str
        Why the scene does not count; empty where it does.
    measures : dict
        ``n_units``; where the scene counts also the means of the site and, as ``control_*``, of the units, six
        decimals; None where not seen. [1]
    """
    n, size = int(means[0]), pixels.shape[1]
    seen = int(np.isfinite(units[:, MEASURES.index("cover")]).sum())
    reason = ""
    if size < MIN_SITE_PIXELS:
        reason = "FEW_PIXELS"
    elif n < MIN_CLEAR_FRACTION * size:
        reason = unseen_reason(pixels[PACKED_LAYERS.index("quality")], quality)
    elif seen < MIN_UNITS:
        reason = "CONTROL_HIDDEN" if len(units) >= MIN_UNITS else "CONTROL_POOR"
    measures: dict[str, float | None] = {"n_units": float(seen)}
    if not reason:
        for index, name in enumerate(MEASURES[1:], start=1):
            measures[name] = _rounded(means[index])
            finite = units[:, index][np.isfinite(units[:, index])].astype(np.float64)
            measures[f"control_{name}"] = _rounded(finite.mean()) if finite.size else None
    return n, reason, measures


def no_means(n_units: int) -> np.ndarray:
    """(unit, measure) means of units that were not seen: NaN, in one row where there are no units."""
    return np.full((max(n_units, 1), len(MEASURES)), np.nan, dtype=np.float32)


def _rounded(value: float) -> float | None:
    """Six decimals, as in the tables: what is judged is what they show."""
    return round(float(value), 6) if np.isfinite(value) else None
