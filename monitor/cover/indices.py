"""Vegetation and moisture indices, pixel by pixel.

Reflectances are surface reflectance [1] on one grid, any dimensions, numpy or dask; NaN where an
input is NaN or a denominator is not positive. Results are unitless.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import xarray as xr


def normalized_difference(a: xr.DataArray, b: xr.DataArray) -> xr.DataArray:
    """(a - b) / (a + b); NaN where an input is NaN or a + b is not positive. [1]"""
    total = a + b
    return ((a - b) / total).where(total > 0)


def ndvi(red: xr.DataArray, nir: xr.DataArray) -> xr.DataArray:
    """Normalised difference vegetation index [1]_.

    References
    ----------
    .. [1] C. J. Tucker, Remote Sens. Environ., 1979, doi:10.1016/0034-4257(79)90013-0.
    """
    return normalized_difference(nir, red).rename("ndvi")


def evi2(red: xr.DataArray, nir: xr.DataArray) -> xr.DataArray:
    """Two-band enhanced vegetation index [1]_: does not saturate as early as NDVI.

    References
    ----------
    .. [1] Z. Jiang et al., Remote Sens. Environ., 2008, doi:10.1016/j.rse.2008.06.006.
    """
    denominator = nir + np.float32(2.4) * red + np.float32(1)
    return (np.float32(2.5) * (nir - red) / denominator).where(denominator > 0).rename("evi2")


def msavi2(red: xr.DataArray, nir: xr.DataArray) -> xr.DataArray:
    """Modified soil-adjusted vegetation index, closed form [1]_: for sparse cover on bright soil.

    References
    ----------
    .. [1] J. Qi et al., Remote Sens. Environ., 1994, doi:10.1016/0034-4257(94)90134-1.
    """
    b = np.float32(2) * nir + np.float32(1)
    inner = b * b - np.float32(8) * (nir - red)
    root = np.sqrt(inner.where(inner >= 0))
    return ((b - root) / np.float32(2)).rename("msavi2")


def kndvi(red: xr.DataArray, nir: xr.DataArray) -> xr.DataArray:
    """Kernel NDVI with sigma = (nir + red) / 2, that is tanh(NDVI squared) [1]_: for dense cover.

    References
    ----------
    .. [1] G. Camps-Valls et al., Sci. Adv., 2021, doi:10.1126/sciadv.abc7447.
    """
    square: xr.DataArray = ndvi(red, nir) ** 2
    curved: xr.DataArray = xr.apply_ufunc(np.tanh, square, dask="allowed")
    return curved.rename("kndvi")


def ndmi(nir: xr.DataArray, swir16: xr.DataArray) -> xr.DataArray:
    """Normalised difference moisture index, near against short-wave infrared at 1.6 um [1]_.

    References
    ----------
    .. [1] B. C. Gao, Remote Sens. Environ., 1996, doi:10.1016/S0034-4257(96)00067-3.
    """
    return normalized_difference(nir, swir16).rename("ndmi")


def nbr(nir: xr.DataArray, swir22: xr.DataArray) -> xr.DataArray:
    """Normalised burn ratio, near against short-wave infrared at 2.2 um [1]_.

    References
    ----------
    .. [1] C. H. Key and N. C. Benson, "Landscape assessment," USDA RMRS-GTR-164-CD, 2006.
    """
    return normalized_difference(nir, swir22).rename("nbr")


INDICES: Final[dict[str, tuple[Callable[..., xr.DataArray], tuple[str, ...]]]] = {
    "ndvi": (ndvi, ("red", "nir")),
    "evi2": (evi2, ("red", "nir")),
    "msavi2": (msavi2, ("red", "nir")),
    "kndvi": (kndvi, ("red", "nir")),
    "ndmi": (ndmi, ("nir", "swir16")),
    "nbr": (nbr, ("nir", "swir22")),
}
"""Every index that is computed, and the bands it needs in order."""


def indices(cube: xr.Dataset) -> xr.Dataset:
    """All indices of a cube, NaN where the ground was not seen.

    Parameters
    ----------
    cube : xr.Dataset
        Bands as reflectance and the boolean ``clear`` on the same dimensions.

    Returns
    -------
    xr.Dataset
        The variables of :data:`INDICES`; one whose band a sensor lacks is NaN throughout. Lazy where the cube is.
    """
    found = {
        name: index(*(cube[band] for band in needed)).where(cube["clear"]).assign_attrs(units="1")
        for name, (index, needed) in INDICES.items()
    }
    return xr.Dataset(found, coords=cube.coords)
