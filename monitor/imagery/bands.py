"""The bands that are kept, by their common names (STAC electro-optical extension)."""

from typing import Any, Final

import numpy as np

OBSERVED: Final = ("blue", "green", "red", "nir", "swir16", "swir22")
"""Order of the bands in a stored scene. A band that a sensor lacks is 0 (no value) throughout."""

NODATA: Final = 0
"""No value, in all bands: what Sentinel-2 L2A and Landsat Collection 2 Level 2 use themselves."""

SATURATED: Final = 65535
"""Brighter than the sensor can tell, in the band where it is."""

SCORE_CLEAR: Final = 60
"""Least Cloud Score+ ``cs_cdf`` of a clear pixel: the middle of .50 to .65, which Google's catalogue says generally
works. [%]"""

NDSI_SNOW: Final = 0.4
"""Normalised difference snow index (green against 1.6 um) above which a pixel is snow. UNVERIFIED: no source was
read for it. Bare sand and loess have a negative index, since they brighten towards 1.6 um. [1]"""

SNOW_BRIGHT: Final = 0.1
"""Least green reflectance of snow: darker pixels with a high index are water or deep shadow. UNVERIFIED. [1]"""


def has_value(pixels: Any) -> Any:
    """Where integers as delivered hold a value, neither :data:`NODATA` nor :data:`SATURATED`; numpy or dask."""
    return (pixels != NODATA) & (pixels != SATURATED)


def is_stretched(pixels: np.ndarray) -> bool:
    """Whether the bands of a scene were scaled for display, or scaled already, so that they are no integers as told.

    Parameters
    ----------
    pixels : (band, y, x) array
        As delivered, before any scaling; bands that a sensor lacks are :data:`NODATA` or NaN throughout.

    Returns
    -------
    bool
        True if three bands or more all reach the same highest value, and do so in no pixel together (each band was
        stretched by itself: in a real scene a pixel that saturates one visible band saturates the others); or if
        no integer is larger than 1 (fractions were cut off). False for a scene without values.
    """
    values = np.nan_to_num(pixels.reshape(pixels.shape[0], -1)).astype(pixels.dtype, copy=False)
    values = values[(values != NODATA).any(axis=1)]
    if not values.size:
        return False
    highest = values.max(axis=1, keepdims=True)
    if np.issubdtype(values.dtype, np.integer) and highest.max() <= 1:
        return True
    alike = len(values) >= 3 and highest[0, 0] != SATURATED and (highest == highest[0]).all()
    return bool(alike and not (values == highest).all(axis=0).any())


BANDPASS: Final = {
    "blue": (0.9778, -0.0040),
    "green": (1.0053, -0.0009),
    "red": (0.9765, 0.0009),
    "nir": (0.9983, -0.0001),
    "swir16": (0.9987, -0.0011),
    "swir22": (1.0030, -0.0012),
}
"""Slope and intercept from Sentinel-2A to Landsat 8: OLI = slope * MSI + intercept (Harmonized Landsat and Sentinel-2,
bandpass adjustment, hls.gsfc.nasa.gov). The near infrared is that of band 8A; for band 8, which is kept here, there
is none, and what differs is left to the comparison of site and control within one scene."""


def sensor_family(sensor: str, quality: str) -> str:
    """Whose bands a scene has: ``msi`` (Sentinel-2) or ``oli`` (Landsat 8 and 9).

    Harmonised scenes (quality ``fmask``) of either satellite are ``oli``: NASA brought Sentinel-2 to it.
    """
    return "msi" if sensor.startswith("sentinel-2") and quality != "fmask" else "oli"


def scaled_to_msi(band: str, scale: float, offset: float) -> tuple[float, float]:
    """Scale and offset that make of the integers of a Landsat band the reflectance that Sentinel-2 would see.

    The inverse of :data:`BANDPASS`, since Sentinel-2 as delivered is the reference wherever both are used.
    """
    slope, intercept = BANDPASS[band]
    return scale / slope, (offset - intercept) / slope


LANDSAT_PIXEL: Final = 30.0
"""Side of a pixel. [m]"""


def is_adjusted_to_msi(sensor: str, quality: str, pixel: float) -> bool:
    """Whether a scene is brought to the bands of Sentinel-2: a Landsat scene on smaller pixels. [m]"""
    return sensor_family(sensor, quality) == "oli" and pixel < LANDSAT_PIXEL
