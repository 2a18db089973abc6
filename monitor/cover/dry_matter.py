"""Share of the ground under dry matter, standing dead plants and litter, from the means that a series has.

Dry plants absorb at 2.1 um (cellulose, lignin) where bare soil does not, and are not green: the dead fuel index (DFI),
``100 (1 - SWIR2.2 / SWIR1.6) (red / NIR)``, is high over dry plants and low over soil and green leaves. NDVI and DFI of
a mixture lie in the triangle of the three pure covers, and its shares follow by linear unmixing, as with NDVI and a
cellulose index in [1]_ and with NDVI and DFI in [2]_. No band beside the stored ones is needed: red over NIR follows
from NDVI, and the ratio of the short-wave bands from NDMI and NBR.

It is an indication, not a measurement: DFI alone gave the dry cover of Chinese steppe with an error of 0.14 to 0.16
([3]_, [4]_), in MODIS pixels; in full growth it sees less of it than after the season [2]_; dark, wet or clay-rich
soils differ from the soil assumed here.

References
----------
.. [1] J. P. Guerschman et al., Remote Sens. Environ., 2009, doi:10.1016/j.rse.2009.01.006.
.. [2] G. Wang et al., Acta Ecol. Sin., 2017, doi:10.5846/stxb201606101111.
.. [3] G. Chai et al., Int. J. Remote Sens., 2019, doi:10.1080/01431161.2019.1620971.
.. [4] G. Chai et al., Geocarto Int., 2020, "Mapping the fractional cover of non-photosynthetic vegetation and its
   spatiotemporal variations in the Xilingol grassland using MODIS imagery (2000-2019)".
"""

from typing import Final

import numpy as np

GREEN: Final = (0.86, 4.0)  #: NDVI [1] and DFI of a closed green cover: expert values
DRY: Final = (0.20, 27.2)  #: of a closed dry cover: an expert value, and the upper end over dry steppe in [4]_
SOIL: Final = (0.09, 5.0)  #: of bare soil: NDVI of the endmember of loess, DFI for SWIR2.2 / SWIR1.6 of .94
ERROR: Final = 0.16  #: standard error of the share [1]
_CORNERS: Final = np.array([[*GREEN, 1.0], [*DRY, 1.0], [*SOIL, 1.0]])
_UNMIXING: Final = np.linalg.inv(_CORNERS.T)  # from NDVI, DFI and 1 to shares of green cover, dry cover and bare soil


def dead_fuel_index(ndvi: np.ndarray, ndmi: np.ndarray, nbr: np.ndarray) -> np.ndarray:
    """DFI from three indices that share the near infrared.

    Parameters
    ----------
    ndvi, ndmi, nbr : (n,) arrays
        NDVI, NDMI and NBR. [1]

    Returns
    -------
    (n,) array
        NaN where an index is NaN, or not between -1 and 1. [1/100]
    """
    known = (np.abs(ndvi) < 1) & (np.abs(ndmi) < 1) & (np.abs(nbr) < 1)
    ndvi, ndmi, nbr = (np.where(known, index, 0.0) for index in (ndvi, ndmi, nbr))
    red, swir16, swir22 = ((1 - index) / (1 + index) for index in (ndvi, ndmi, nbr))  # over the near infrared
    return np.where(known, 100 * (1 - swir22 / swir16) * red, np.nan)


def dry_share(ndvi: np.ndarray, ndmi: np.ndarray, nbr: np.ndarray) -> np.ndarray:
    """Share of the ground under dry matter, by linear unmixing of NDVI and DFI.

    Parameters
    ----------
    ndvi, ndmi, nbr : (n,) arrays
        See :func:`dead_fuel_index`.

    Returns
    -------
    (n,) array
        0..1: mixtures outside the triangle have their negative shares cut and the others scaled to sum to 1. NaN where
        an index is, and over water (NDVI below 0). [1]
    """
    dfi = dead_fuel_index(ndvi, ndmi, nbr)
    known = np.isfinite(dfi) & (np.nan_to_num(ndvi, nan=-1.0) >= 0)
    mixed = np.stack([np.where(known, ndvi, SOIL[0]), np.where(known, dfi, SOIL[1]), np.ones_like(dfi)])
    shares = np.maximum(_UNMIXING @ mixed, 0.0)
    return np.where(known, shares[1] / shares.sum(axis=0), np.nan)
