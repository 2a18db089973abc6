"""Vegetation cover of a pixel by the dimidiate model, with end members frozen by biome.

The cover of a pixel is where its index lies between bare soil and full vegetation:
``f = (VI - VI_soil) / (VI_vegetation - VI_soil)``, cut to 0..1 (Gutman and Ignatov 1998,
doi:10.1080/014311698215333); the formula itself is :func:`monitor.cover.kernels.cover`. The end
members belong to the biome and are never fitted to a scene: taken from each scene's own
percentiles, trends would mean nothing. The absolute value carries 0.10 to 0.15 of doubt;
differences in time on fixed end members are far more precise.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import xarray as xr

from monitor.cover.kernels import evaluate


@dataclass(frozen=True, slots=True, kw_only=True)
class Endmembers:
    """The index that stands for cover in a biome, of bare soil and of full vegetation."""

    index: str
    """Name in :data:`monitor.cover.indices.INDICES`."""
    soil: float
    """Index of bare soil. [1]"""
    vegetation: float
    """Index of full vegetation cover. [1]"""


ENDMEMBERS: Final = {
    "desert_steppe": Endmembers(index="msavi2", soil=0.06, vegetation=0.65),
    "sandy": Endmembers(index="msavi2", soil=0.05, vegetation=0.65),
    "hexi": Endmembers(index="msavi2", soil=0.06, vegetation=0.65),
    "loess": Endmembers(index="ndvi", soil=0.09, vegetation=0.86),
    "steppe": Endmembers(index="ndvi", soil=0.09, vegetation=0.75),
    "north_mountain": Endmembers(index="ndvi", soil=0.09, vegetation=0.86),
    "karst": Endmembers(index="kndvi", soil=0.01, vegetation=0.65),
    "southwest_mountain": Endmembers(index="kndvi", soil=0.01, vegetation=0.65),
    "alpine": Endmembers(index="ndvi", soil=0.09, vegetation=0.80),
}
"""Defaults from the ranges given for soils (sand .06, loess .09, karst rock .08) and for dense local vegetation
(NDVI .75 steppe, .80 shrub, .86 to .90 forest; MSAVI2 .60 to .75). Arid biomes use MSAVI2 (bright soil), dense ones
kNDVI (NDVI saturates; .01 and .65 are tanh(NDVI^2) of .08 and .88). Expert values, to be replaced by local ones."""


def cover(index: xr.DataArray, endmembers: Endmembers) -> xr.DataArray:
    """Vegetation cover from an index.

    Parameters
    ----------
    index : xr.DataArray
        The index that `endmembers` names, any dimensions. [1]
    endmembers : Endmembers
        Of the biome.

    Returns
    -------
    xr.DataArray
        Same dimensions, 0..1; NaN where the index is NaN. [1]
    """
    scaled: xr.DataArray = xr.apply_ufunc(
        evaluate, index, kwargs={"formula": "cover", "constants": (endmembers.soil, endmembers.vegetation)},
        keep_attrs="drop_conflicts", dask="parallelized", output_dtypes=[np.result_type(np.float32, index.dtype)],
    )  # fmt: skip
    return scaled.rename("cover").assign_attrs(units="1", long_name="fractional vegetation cover")


def cover_sd(
    value: float, endmembers: Endmembers, *, index_sd: float = 0.02, soil_sd: float = 0.03, vegetation_sd: float = 0.05
) -> float:
    """Standard deviation of an absolute cover value, by the delta method. [1]

    Parameters
    ----------
    value : float
        Cover, 0..1. [1]
    endmembers : Endmembers
        Of the biome.
    index_sd, soil_sd, vegetation_sd : float
        Standard deviations of the index and of its end members. [1]

    Notes
    -----
    The end-member terms are common to a site and its control: they belong to the absolute value and never to
    the difference between the two.
    """
    span = endmembers.vegetation - endmembers.soil
    terms = (index_sd / span, (value - 1.0) * soil_sd / span, value * vegetation_sd / span)
    return float(np.sqrt(sum(term * term for term in terms)))
