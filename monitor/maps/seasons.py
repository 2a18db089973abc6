"""Sums over the scenes of each growing season, pixel by pixel, from which the maps of a site are computed.

The season in which the work began is summed in two halves, before that day and from that day on. Scenes are
added in order of acquisition, so that the sums do not depend on the order in which they arrived. Those of a season that
is over are stored (:mod:`monitor.derived`) under the scenes that went in: a late, replaced or rejected one has its own
season summed again. The current season is summed from the stored pixels whenever it is needed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from itertools import batched
from typing import Any, Final, NamedTuple

import numpy as np
import xarray as xr

from monitor import derived
from monitor.cover.fraction import Endmembers, cover
from monitor.cover.indices import INDICES
from monitor.cube.grid import grid_to_json
from monitor.cube.packed import unpack
from monitor.cube.scenes import stored_scenes
from monitor.cube.stored_site import CUBE_CHUNK_BYTES, StoredSite
from monitor.sites.growing_season import GrowingSeason
from monitor.sites.site import Site
from monitor.trends.kernels.season_sums import SUMS, add_scenes

type Season = tuple[int, bool]
"""Year of a growing season, and whether its scenes were taken before the work began."""

SEASON_COLUMNS: Final = ("acquisition", "date", "digest", "control_cover", "accepted")
"""Columns of a series that decide which scenes go into the maps."""


class SeasonScenes(NamedTuple):
    """The scenes of a season that go into the maps, in order of acquisition."""

    acquisitions: np.ndarray
    """(scene,) bytes, UTF-8."""
    digests: np.ndarray
    """(scene,) bytes: hash of the stored pixels and unit means."""
    controls: np.ndarray
    """(scene,) float64: mean cover of the control ground. [1]"""
    over: bool
    """Whether the series extends beyond the season, so that later scenes belong to another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSeasons:
    """A site and the seasons to be summed."""

    site: Site
    store: StoredSite
    snapshot: str
    """Snapshot of the store, see :class:`monitor.cube.stored_site.StoredSite`."""
    seasons: Mapping[Season, SeasonScenes]


def scenes_by_season(site: Site, observed: Mapping[str, np.ndarray]) -> dict[Season, SeasonScenes]:
    """The accepted scenes of a site inside its growing seasons, whose control ground was seen.

    Parameters
    ----------
    site : Site, its start and growing season are used
    observed : mapping
        Columns :data:`SEASON_COLUMNS` of its series, (n,) arrays ascending by time.

    Returns
    -------
    dict
        Seasons with a scene, ascending by year; within a year the half before the start last.
    """
    controls = np.asarray(observed["control_cover"], np.float64)
    counts = np.asarray(observed["accepted"], bool) & ~np.isnan(controls)
    if not counts.any():
        return {}
    names, digests, day = (observed[name][counts] for name in ("acquisition", "digest", "date"))
    window, controls, newest = GrowingSeason.of(site), controls[counts], observed["date"][-1]
    first_year, last_year = (day[[0, -1]].astype("datetime64[Y]").astype(np.int64) + 1970).tolist()
    start, by_season = np.datetime64(site.start, "D"), {}
    for year in range(first_year - 1, last_year + 1):
        opens = np.datetime64(f"{year:04d}-01-01", "D") + np.timedelta64(window.opens, "D")
        closes = opens + np.timedelta64(window.length, "D")
        for before, first, end in ((False, max(opens, start), closes), (True, opens, min(closes, start))):
            part = slice(*np.searchsorted(day, [first, end]).tolist())
            if part.start < part.stop:
                by_season[year, before] = SeasonScenes(names[part], digests[part], controls[part], bool(newest >= end))
    return by_season


def cover_and_ndvi(cube: xr.Dataset, endmembers: Endmembers) -> tuple[xr.DataArray, xr.DataArray]:
    """Cover and NDVI of every pixel of a cube, of its dimensions; NaN where it is not clear. [1]

    Parameters
    ----------
    cube : xr.Dataset
        Any dimensions, with ``red``, ``nir``, ``clear`` and the bands of the index of the end members.
    endmembers : Endmembers

    Returns
    -------
    cover, ndvi : xr.DataArray
    """
    cube = cube.drop_vars(cube.coords)  # to compare the times of every pair of layers would cost the most
    index, bands = INDICES[endmembers.index]
    green = INDICES["ndvi"][0](cube["red"], cube["nir"]).where(cube["clear"])
    chosen = green if endmembers.index == "ndvi" else index(*(cube[band] for band in bands)).where(cube["clear"])
    return cover(chosen, endmembers), green


def sums_by_season(sites: Sequence[SiteSeasons], folder: str = "seasons") -> list[dict[Season, np.ndarray]]:
    """Sums of the seasons of some sites of one landscape and snapshot, whose pixels are read once.

    Parameters
    ----------
    sites : sequence of SiteSeasons
    folder : str
        Where sums of seasons that are over are stored; another one for a part of each season.

    Returns
    -------
    list of dict
        For each site, by season, (row, y, x) float32 of :data:`monitor.trends.kernels.season_sums.SUMS`, read-only.
        ``StoreBroken``: a store cannot be read, or lacks a scene.
    """
    by_site: list[dict[Season, np.ndarray]] = [{} for _ in sites]
    for season, over in sorted({(season, some.over) for site in sites for season, some in site.seasons.items()}):
        places = [k for k, site in enumerate(sites) if season in site.seasons and site.seasons[season].over == over]
        those = [sites[k] for k in places]
        together = cache(partial(sums_of_scenes, those, [site.seasons[season] for site in those]))
        for at, (k, site) in enumerate(zip(places, those, strict=True)):
            by_site[k][season] = _stored(site, season, together, at, folder) if over else together()[at]
    return by_site


def _stored(
    site: SiteSeasons, season: Season, make: Callable[[], Sequence[np.ndarray]], at: int, folder: str
) -> np.ndarray:
    """Sums of a season that is over, from the file where they are stored, or from place `at` of those made now."""
    year, before = season
    path = site.store.derived.with_suffix(f".{folder}") / f"{year}{'-before' if before else ''}"
    inputs = [*site.seasons[season], grid_to_json(site.store.grid), Endmembers.of(site.site)]
    sums: np.ndarray = derived.get(path, inputs, lambda: {"sums": make()[at]}, module=__name__)["sums"]
    return sums


def sums_of_scenes(sites: Sequence[SiteSeasons], scenes: Sequence[SeasonScenes]) -> list[np.ndarray]:
    """Sums over some scenes of each of some sites, from the stored pixels of their landscape.

    Some scenes are read at a time, of all sites at once: all scenes of a large landscape do not fit in memory.

    Parameters
    ----------
    sites : sequence of SiteSeasons, of one landscape and snapshot, and so of one biome
    scenes : sequence of SeasonScenes, scenes of each

    Returns
    -------
    list of (row, y, x) float32 arrays
        Rows are :data:`SUMS`. Errors as of :func:`sums_by_season`.
    """
    stores = [site.store for site in sites]
    landscape, endmembers = stores[0].landscape, Endmembers.of(sites[0].site)
    stored = stored_scenes(landscape, [store.number for store in stores], stores[0].row_limit(sites[0].snapshot))
    values = [stored[name].values for name in ("row", "scale", "offset", "bandpass", "utc")]
    frames: dict[tuple[Any, ...], int] = {}  # what is unpacked, in order of time: sites may rest on different rows
    used: list[list[int]] = [[] for _ in sites]
    acquisitions, there = stored["acquisition"].values, stored["there"].values
    wanted = np.stack([np.isin(acquisitions, some.acquisitions) for some in scenes]) & there
    for store, some, mine in zip(stores, scenes, wanted, strict=True):
        store.check_stored(some.acquisitions, acquisitions[mine])
    for time, site in np.argwhere(wanted.T).tolist():
        frame = (time, *(one[site, time].item() for one in values))
        used[site].append(frames.setdefault(frame, len(frames)))
    spans = [store.pixel_span for store in stores]
    first, end = min(span.start for span in spans), max(span.stop for span in spans)
    layers = {"red", "nir", "clear", *INDICES[endmembers.index][1]}
    at_once = max(1, CUBE_CHUNK_BYTES // ((end - first) * 4 * len(layers)))
    sums = [np.zeros((span.stop - span.start, len(SUMS)), np.float32) for span in spans]
    for part in batched(enumerate(frames), at_once):
        _, row, scale, offset, bandpass, utc = zip(*(frame for _, frame in part), strict=True)
        with landscape.guarded():
            packed = landscape.pixels(row, slice(first, end))
        times = [datetime.fromisoformat(text.decode()) for text in utc]
        cube = unpack(
            packed, ("pixel",), times=times, scale=scale, offset=offset, bandpass=bandpass, layers=layers
        )  # fmt: skip
        covered, green = (layer.values for layer in cover_and_ndvi(cube, endmembers))
        start = part[0][0]
        for k, span in enumerate(spans):
            mine = [(at, frame - start) for at, frame in enumerate(used[k]) if start <= frame < start + len(part)]
            if mine:
                at, place = map(list, zip(*mine, strict=True))
                pixels = slice(span.start - first, span.stop - first)
                sums[k] = add_scenes(
                    sums[k], covered[place, pixels].T, green[place, pixels].T, scenes[k].controls[at]
                )  # fmt: skip
    return [store.on_grid(np.ascontiguousarray(one.T)) for store, one in zip(stores, sums, strict=True)]
