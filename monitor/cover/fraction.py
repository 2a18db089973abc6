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
from monitor.sites.biomes import BIOMES


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
    name: Endmembers(index=biome.index, soil=biome.bare_soil, vegetation=biome.full_cover)
    for name, biome in BIOMES.items()
}
"""Endmembers by biome, see :class:`monitor.sites.biomes.Biome`."""


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
