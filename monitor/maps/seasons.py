"""Sums over the scenes of each growing season, pixel by pixel, from which the maps of a site are computed.

The season in which the work began is summed in two halves, before that day and from that day on. Scenes are
added in order of acquisition, so that the sums do not depend on the order in which they arrived. Those of a season that
is over are stored (:mod:`monitor.derived`) under the scenes that went in: a late, replaced or rejected one has its own
season summed again. The current season is summed from the stored pixels whenever it is needed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import xarray as xr

from monitor import derived
from monitor.cover.fraction import Endmembers, cover
from monitor.cover.indices import INDICES
from monitor.cube.grid import grid_to_json
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


def season_sums(
    cube: xr.Dataset, controls: xr.DataArray, endmembers: Endmembers, sums: xr.DataArray | None = None
) -> xr.DataArray:
    """Sums over the scenes of a season, of every pixel.

    Parameters
    ----------
    cube : xr.Dataset
        (time, y, x) of the scenes (:mod:`monitor.cube.packed`), with ``red``, ``nir`` and ``clear``; as dask array in
        one chunk along time.
    controls : xr.DataArray
        (time,) mean cover of the control ground in each scene. [1]
    endmembers : Endmembers, end members of the biome
    sums : xr.DataArray, optional
        Sums of the earlier scenes of the season; None: there are none.

    Returns
    -------
    xr.DataArray
        (y, x, row) float32 of :data:`monitor.trends.kernels.season_sums.SUMS`, lazy where the cube is.
    """
    cube = cube.drop_vars(cube.coords)  # to compare the times of every pair of layers would cost the most
    index, bands = INDICES[endmembers.index]
    green = INDICES["ndvi"][0](cube["red"], cube["nir"]).where(cube["clear"])
    chosen = green if endmembers.index == "ndvi" else index(*(cube[band] for band in bands)).where(cube["clear"])
    if sums is None:
        sums = xr.zeros_like(green.isel(time=0, drop=True), np.float32).expand_dims(row=len(SUMS), axis=-1)
    added: xr.DataArray = xr.apply_ufunc(
        add_scenes, sums, cover(chosen, endmembers), green, controls,
        input_core_dims=[["row"], ["time"], ["time"], ["time"]], output_core_dims=[["row"]],
        dask="parallelized", output_dtypes=[np.float32],
    )  # fmt: skip
    return added.rename("sums")


def sums_by_season(sites: Sequence[SiteSeasons]) -> list[dict[Season, np.ndarray]]:
    """Sums of the seasons of some sites, ideally of one landscape: a stored chunk of pixels holds many sites.

    Parameters
    ----------
    sites : sequence of SiteSeasons
        Sites and their seasons.

    Returns
    -------
    list of dict
        For each site, by season, (row, y, x) float32 of :data:`monitor.trends.kernels.season_sums.SUMS`, read-only.

    Raises
    ------
    StoreBroken
        A store cannot be read, or lacks a scene.
    """
    by_site: list[dict[Season, np.ndarray]] = [{} for _ in sites]
    for season in sorted({season for site in sites for season in site.seasons}):  # one season of all sites at a time
        for site, sums in zip(sites, by_site, strict=True):
            if season in site.seasons:
                sums[season] = _stored(site, season)
    return by_site


def _stored(site: SiteSeasons, season: Season) -> np.ndarray:
    """Sums of one season, from the file where they are stored."""
    scenes, endmembers = site.seasons[season], Endmembers.of(site.site)
    if not scenes.over:
        return sums_of_scenes(site, scenes, endmembers)
    year, before = season
    path = site.store.derived.with_suffix(".seasons") / f"{year}{'-before' if before else ''}"
    inputs = [*scenes, grid_to_json(site.store.grid), endmembers]
    sums: np.ndarray = derived.get(
        path, inputs, lambda: {"sums": sums_of_scenes(site, scenes, endmembers)}, module=__name__
    )["sums"]
    return sums


def sums_of_scenes(site: SiteSeasons, scenes: SeasonScenes, endmembers: Endmembers) -> np.ndarray:
    """Sums over some scenes from the stored pixels.

    Some scenes are read at a time: a large site does not fit in memory.

    Parameters
    ----------
    site : SiteSeasons
        Site and its store.
    scenes : SeasonScenes
        At least one scene.
    endmembers : Endmembers
        Those of the biome, for the cover of each pixel.

    Returns
    -------
    (row, y, x) float32 array
        Rows are :data:`SUMS`.
    """
    layers = {"red", "nir", "clear", *INDICES[endmembers.index][1]}
    height, width = site.store.grid.shape
    at_once = max(1, CUBE_CHUNK_BYTES // (height * width * 4 * len(layers)))
    sums = None
    for first in range(0, scenes.controls.size, at_once):
        part = slice(first, first + at_once)
        names = [name.decode() for name in scenes.acquisitions[part].tolist()]
        cube = site.store.cube(site.snapshot, layers=layers, acquisitions=names, lazy=False)
        sums = season_sums(cube, xr.DataArray(scenes.controls[part], dims="time"), endmembers, sums)
    assert sums is not None  # a season has a scene
    return np.ascontiguousarray(sums.transpose("row", ...).values)
