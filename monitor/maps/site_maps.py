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
from monitor.trends.kernels.yearly import ROWS
from monitor.trends.maps import mid_season, slope

MAPS: Final = ("ndvi", "cover", "slope", "uplift")
"""Maps of every site of which something was seen in a growing season."""


def site_maps(sums: Mapping[Season, np.ndarray], ground: np.ndarray, grid: GeoBox) -> xr.Dataset:
    """NDVI and cover of the last growing season, trend of cover over the seasons, uplift over the control.

    Parameters
    ----------
    sums : mapping
        By season (row, y, x) float32 of :data:`monitor.trends.kernels.yearly.ROWS`; of one season at least.
    ground : (y, x) bool array
        Pixels of the site; the others are left empty.
    grid : GeoBox
        Of the site.

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
    cover = _mean(xr.concat(by_year, "time"), "cover")
    dated = cover.assign_coords(time=mid_season(np.array(years), 0.0))  # exactly one apart in years of 365.25 days
    uplift = _mean(_total(sums, [(last, False)]) if (last, False) in sums else now, "over")
    if before:
        uplift = uplift - _mean(_total(sums, before), "over")
    layers = {
        "ndvi": _mean(now, "ndvi"), "cover": cover.isel(time=-1), "slope": slope(dated), "uplift": uplift,
    }  # fmt: skip
    maps = xr.Dataset({name: layer.variable for name, layer in layers.items()})
    return maps.where(xr.DataArray(ground, dims=("y", "x"))).assign_coords(spatial_ref=xr_coords(grid)["spatial_ref"])


def _total(sums: Mapping[Season, np.ndarray], seasons: Sequence[Season]) -> xr.DataArray:
    total = reduce(operator.add, (sums[season] for season in seasons))
    return xr.DataArray(total, dims=("row", "y", "x"))


def _mean(total: xr.DataArray, row: str) -> xr.DataArray:
    """(..., y, x) mean of a row over scenes, NaN where the pixel was not seen."""
    seen = total.isel(row=ROWS.index("seen"))
    return (total.isel(row=ROWS.index(row)) / seen).where(seen > 0)
