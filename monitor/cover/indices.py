"""Vegetation and moisture indices, pixel by pixel.

Reflectances are surface reflectance [1] on one grid, any dimensions, numpy or dask; NaN where an input is NaN or a
denominator is not positive. Results are unitless, float32 of float32 and float64 of float64. The formulas are in
:mod:`monitor.cover.kernels`; CONTRIBUTING.md says how to add an index.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import xarray as xr

from monitor.cover.kernels import evaluate
from monitor.errors import BadData


def ndvi(red: xr.DataArray, nir: xr.DataArray) -> xr.DataArray:
    """Normalised difference vegetation index, (nir - red) / (nir + red) [1]_.

    Parameters
    ----------
    red, nir : xr.DataArray
        Surface reflectance on one grid, any dimensions, numpy or dask. [1]

    Returns
    -------
    xr.DataArray
        Same dimensions, lazy where the bands are; NaN where an input is NaN or red + nir is not positive. [1]

    References
    ----------
    .. [1] C. J. Tucker, Remote Sens. Environ., 1979, doi:10.1016/0034-4257(79)90013-0.
    """
    return _evaluated("ndvi", red, nir).rename("ndvi")


def evi2(red: xr.DataArray, nir: xr.DataArray) -> xr.DataArray:
    """Two-band enhanced vegetation index, 2.5 (nir - red) / (nir + 2.4 red + 1) [1]_: saturates later than NDVI.

    Parameters
    ----------
    red, nir : xr.DataArray
        Surface reflectance on one grid, any dimensions, numpy or dask. [1]

    Returns
    -------
    xr.DataArray
        Same dimensions, lazy where the bands are; NaN where an input is NaN or the denominator is not positive. [1]

    References
    ----------
    .. [1] Z. Jiang et al., Remote Sens. Environ., 2008, doi:10.1016/j.rse.2008.06.006.
    """
    return _evaluated("evi2", red, nir).rename("evi2")


def msavi2(red: xr.DataArray, nir: xr.DataArray) -> xr.DataArray:
    """Modified soil-adjusted vegetation index, closed form [1]_: for sparse cover on bright soil.

    (2 nir + 1 - sqrt((2 nir + 1)^2 - 8 (nir - red))) / 2.

    Parameters
    ----------
    red, nir : xr.DataArray
        Surface reflectance on one grid, any dimensions, numpy or dask. [1]

    Returns
    -------
    xr.DataArray
        Same dimensions, lazy where the bands are; NaN where an input is NaN or the root is of a negative
        number. [1]

    References
    ----------
    .. [1] J. Qi et al., Remote Sens. Environ., 1994, doi:10.1016/0034-4257(94)90134-1.
    """
    return _evaluated("msavi2", red, nir).rename("msavi2")


def kndvi(red: xr.DataArray, nir: xr.DataArray) -> xr.DataArray:
    """Kernel NDVI with sigma = (nir + red) / 2, that is tanh(NDVI squared) [1]_: for dense cover.

    Parameters
    ----------
    red, nir : xr.DataArray
        Surface reflectance on one grid, any dimensions, numpy or dask. [1]

    Returns
    -------
    xr.DataArray
        Same dimensions, lazy where the bands are; NaN where an input is NaN or nir + red is not positive. [1]

    References
    ----------
    .. [1] G. Camps-Valls et al., Sci. Adv., 2021, doi:10.1126/sciadv.abc7447.
    """
    return _evaluated("kndvi", red, nir).rename("kndvi")


def ndmi(nir: xr.DataArray, swir16: xr.DataArray) -> xr.DataArray:
    """Normalised difference moisture index, near against short-wave infrared at 1.6 um [1]_.

    Parameters
    ----------
    nir, swir16 : xr.DataArray
        Surface reflectance on one grid, any dimensions, numpy or dask. [1]

    Returns
    -------
    xr.DataArray
        Same dimensions, lazy where the bands are; NaN where an input is NaN or their sum is not positive. [1]

    References
    ----------
    .. [1] B. C. Gao, Remote Sens. Environ., 1996, doi:10.1016/S0034-4257(96)00067-3.
    """
    return _evaluated("ndmi", nir, swir16).rename("ndmi")


def nbr(nir: xr.DataArray, swir22: xr.DataArray) -> xr.DataArray:
    """Normalised burn ratio, near against short-wave infrared at 2.2 um [1]_.

    Parameters
    ----------
    nir, swir22 : xr.DataArray
        Surface reflectance on one grid, any dimensions, numpy or dask. [1]

    Returns
    -------
    xr.DataArray
        Same dimensions, lazy where the bands are; NaN where an input is NaN or their sum is not positive. [1]

    References
    ----------
    .. [1] C. H. Key and N. C. Benson, "Landscape assessment," USDA RMRS-GTR-164-CD, 2006.
    """
    return _evaluated("nbr", nir, swir22).rename("nbr")


def _evaluated(formula: str, *layers: Any) -> xr.DataArray:
    for layer in layers:
        if not isinstance(layer, xr.DataArray):
            found = type(layer).__name__
            msg = f"{formula} needs an xarray.DataArray of numbers for each band, not {found}: xarray.DataArray(values)"
            raise BadData(msg)
        if layer.dtype.kind != "f":
            msg = f"{formula} needs reflectance from 0 to 1, not {layer.dtype}: apply scale and offset of the product"
            raise BadData(msg)
    evaluated: xr.DataArray = xr.apply_ufunc(
        evaluate, *layers, kwargs={"formula": formula}, keep_attrs="drop_conflicts", dask="parallelized",
        output_dtypes=[np.result_type(np.float32, *(layer.dtype for layer in layers))],
    )  # fmt: skip
    return evaluated


INDICES: Final[dict[str, tuple[Callable[..., xr.DataArray], tuple[str, ...]]]] = {
    "ndvi": (ndvi, ("red", "nir")),
    "evi2": (evi2, ("red", "nir")),
    "msavi2": (msavi2, ("red", "nir")),
    "kndvi": (kndvi, ("red", "nir")),
    "ndmi": (ndmi, ("nir", "swir16")),
    "nbr": (nbr, ("nir", "swir22")),
}
"""Function of every index that is computed, and the bands it needs in order."""
