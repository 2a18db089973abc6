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
from monitor.trends.kernels.season_sums import season_mean
from monitor.trends.maps import mid_season, slope

MAPS: Final = ("ndvi", "cover", "slope", "uplift")
"""Maps of every site that was seen in a growing season."""


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
        seasons' means, :func:`monitor.trends.maps.slope`) [1/year] and ``uplift`` [1]; NaN outside the site, where not
        seen, and without two seasons for ``slope``.
        Uplift is the mean difference from the control in the last season, less that of all scenes before the start;
        scenes of a season that began before the start count for it only if there is none since.
    """
    seasons = sorted(sums)
    years = sorted({year for year, _ in seasons})
    by_year = [_total(sums, [season for season in seasons if season[0] == year]) for year in years]
    last, now, before = years[-1], by_year[-1], [season for season in seasons if season[1]]
    covers = np.where(ground, season_mean(np.stack(by_year), "cover"), np.float32(np.nan))
    dated = {"time": mid_season(np.array(years), 0.0)}  # exactly one apart in years of 365.25 days
    uplift = season_mean(_total(sums, [(last, False)]) if (last, False) in sums else now, "over")
    if before:
        uplift = uplift - season_mean(_total(sums, before), "over")
    layers = {
        "ndvi": season_mean(now, "ndvi"), "cover": covers[-1], "uplift": uplift,
        "slope": slope(xr.DataArray(covers, dims=("time", "y", "x"), coords=dated)).values,
    }  # fmt: skip
    inside = {name: (("y", "x"), np.where(ground, layers[name], np.float32(np.nan))) for name in MAPS}
    return xr.Dataset(inside, coords={"spatial_ref": xr_coords(grid)["spatial_ref"]})


def _total(sums: Mapping[Season, np.ndarray], seasons: Sequence[Season]) -> np.ndarray:
    total: np.ndarray = reduce(operator.add, (sums[season] for season in seasons))
    return total
