"""The maps of a site, from the sums of its growing seasons (:mod:`monitor.maps.seasons`)."""

import operator
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Final

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

from monitor.maps.seasons import Season
from monitor.trends.kernels.monotonic import slope_and_score
from monitor.trends.kernels.season_sums import SUMS, season_mean
from monitor.verdict.calibration import Calibration
from monitor.verdict.measured import SEASON_SD

MAPS: Final = ("ndvi", "cover", "slope", "uplift")
"""Maps of every site that was seen in a growing season."""
PIXEL_VARIANCE: Final = Calibration().scene_sd ** 2 + Calibration().pixel_sd ** 2
"""Variance of the difference of one pixel from the control in one scene. [cover fraction squared]"""


def site_maps(sums: Mapping[Season, np.ndarray], ground: np.ndarray, grid: GeoBox) -> xr.Dataset:
    """NDVI and cover of the last growing season, trend of cover over the seasons, uplift over the control.

    Parameters
    ----------
    sums : mapping
        By season, at least one, (row, y, x) float32 of :data:`monitor.trends.kernels.season_sums.SUMS`.
    ground : (y, x) bool array
        Pixels of the site; the others stay NaN.
    grid : GeoBox, grid of the site

    Returns
    -------
    xr.Dataset
        (y, x) float32, CRS and transform in ``spatial_ref``: ``ndvi`` [1], ``cover`` [1], ``slope`` (Theil-Sen, of the
        seasons' means, :func:`monitor.trends.kernels.monotonic.slope_and_score`) [1/year], ``uplift`` [1] and
        ``uplift_se``, its standard error [1]; NaN outside the site, where not seen, and without two seasons for
        ``slope``, or a season before the start for ``uplift_se``.
        Uplift is the mean difference from the control in the last season, less that of all scenes before the start;
        scenes of a season that began before the start count for it only if there is none since.
    """
    seasons = sorted(sums)
    years = sorted({year for year, _ in seasons})
    by_year = [_total(sums, [season for season in seasons if season[0] == year]) for year in years]
    last, now, before = years[-1], by_year[-1], [season for season in seasons if season[1]]
    covers = np.where(ground, season_mean(np.stack(by_year), "cover"), np.float32(np.nan))
    since = _total(sums, [(last, False)]) if (last, False) in sums else now
    uplift = season_mean(since, "over")
    if before:
        uplift = uplift - season_mean(_total(sums, before), "over")
    earlier = [sums[season] for season in before if season[0] != last or (last, False) in sums]
    layers = {
        "ndvi": season_mean(now, "ndvi"), "cover": covers[-1], "uplift": uplift,
        "uplift_se": _standard_error(since, np.stack(earlier)) if earlier else np.full_like(uplift, np.nan),
        "slope": slope_and_score(np.array(years), covers.reshape(len(years), -1))[0].reshape(ground.shape),
    }  # fmt: skip
    inside = {name: (("y", "x"), np.where(ground, layers[name], np.float32(np.nan))) for name in (*MAPS, "uplift_se")}
    return xr.Dataset(inside, coords={"spatial_ref": xr_coords(grid)["spatial_ref"]})


def _standard_error(now: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Standard error of a pixel's uplift, (y, x) float32, from how its seasons before the start differ.

    The variance of a season is that of its means before the start, with the weight of two seasons of the usual
    variance: seasons differ, and so do scenes. A last season of fewer scenes is less certain. `now` are the (row, y, x)
    sums of the last season, `before` the (season, row, y, x) sums of those before the start.
    """
    means, seen = season_mean(before, "over"), before[:, SUMS.index("seen")]
    years, scenes = (seen > 0).sum(axis=0), np.maximum(now[SUMS.index("seen")], 1)
    centre = np.where(seen > 0, means, 0).sum(axis=0) / np.maximum(years, 1)
    squares = np.where(seen > 0, means - centre, 0) ** 2
    usual_scenes = np.maximum(seen.sum(axis=0) / np.maximum(years, 1), 1)
    usual = SEASON_SD**2 + PIXEL_VARIANCE / usual_scenes
    variance = (squares.sum(axis=0) + 2 * usual) / (np.maximum(years - 1, 0) + 2) * (1 + 1 / np.maximum(years, 1))
    variance += PIXEL_VARIANCE * np.maximum(1 / scenes - 1 / usual_scenes, 0)
    known = (years > 0) & (now[SUMS.index("seen")] > 0)
    return np.where(known, np.sqrt(variance), np.nan).astype(np.float32)


def _total(sums: Mapping[Season, np.ndarray], seasons: Sequence[Season]) -> np.ndarray:
    total: np.ndarray = reduce(operator.add, (sums[season] for season in seasons))
    return total
