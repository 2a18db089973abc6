"""Stored bands, by their common names in the STAC electro-optical extension."""

from typing import Any, Final

import numpy as np

OBSERVED: Final = ("blue", "green", "red", "nir", "swir16", "swir22")
"""Order of the bands in a stored scene. A band that a sensor lacks is 0 (no value) in every pixel."""
NODATA: Final = 0  # no value, in all bands; the fill value of Sentinel-2 L2A and Landsat Collection 2 Level 2
SATURATED: Final = 65535  # value of a saturated pixel, in the band concerned
SCORE_CLEAR: Final = 60
"""Least Cloud Score+ ``cs_cdf`` of a clear pixel: the middle of .50 to .65, which Google's catalogue says generally
works. [%]"""
NDSI_SNOW: Final = 0.4
"""Normalised difference snow index (green against 1.6 um) above which a pixel is snow. UNVERIFIED: no source was
read for it. Bare sand and loess have a negative index, since they brighten towards 1.6 um. [1]"""
SNOW_BRIGHT: Final = 0.1  # least green reflectance of snow: darker is water or deep shadow. UNVERIFIED [1]


def has_value(pixels: Any) -> Any:
    """True where integers as delivered are neither :data:`NODATA` nor :data:`SATURATED`; numpy or dask."""
    return (pixels != NODATA) & (pixels != SATURATED)


def is_stretched(pixels: np.ndarray) -> bool:
    """Whether a scene, (band, y, x) integers before any scaling, was stretched for display or scaled already.

    True if at least three bands have the same highest value, but reach it in no common pixel (each band was stretched
    separately: in a real scene a pixel that saturates one visible band saturates the others); or if no integer is
    larger than 1 (reflectance was truncated). False for a scene without values.
    """
    values = np.nan_to_num(pixels.reshape(pixels.shape[0], -1)).astype(pixels.dtype, copy=False)
    values = values[(values != NODATA).any(axis=1)]
    if not values.size:
        return False
    highest = values.max(axis=1, keepdims=True)
    if np.issubdtype(values.dtype, np.integer) and highest.max() <= 1:
        return True
    same_highest = len(values) >= 3 and highest[0, 0] != SATURATED and (highest == highest[0]).all()
    return bool(same_highest and not (values == highest).all(axis=0).any())


BANDPASS: Final = {
    "blue": (0.9778, -0.0040),
    "green": (1.0053, -0.0009),
    "red": (0.9765, 0.0009),
    "nir": (0.9983, -0.0001),
    "swir16": (0.9987, -0.0011),
    "swir22": (1.0030, -0.0012),
}
"""Slope and intercept from Sentinel-2A to Landsat 8, OLI = slope * MSI + intercept: the bandpass adjustment of the
Harmonized Landsat and Sentinel-2 project (hls.gsfc.nasa.gov). The near infrared is that of band 8A; band 8, which is
stored here, has no published adjustment. Comparing site and control within one scene removes the remaining
difference."""


def sensor_family(sensor: str, quality: str) -> str:
    """Sensor whose spectral bands a scene has: ``msi`` (Sentinel-2) or ``oli`` (Landsat 8 and 9).

    HLS scenes (quality layer ``fmask``) of either satellite are ``oli``, to which NASA adjusts Sentinel-2.
    """
    return "msi" if sensor.startswith("sentinel-2") and quality != "fmask" else "oli"


def scaled_to_msi(band: str, scale: float, offset: float) -> tuple[float, float]:
    """Scale and offset from integers of a Landsat band to Sentinel-2 reflectance, from those of the scene. [1]

    Inverts :data:`BANDPASS`, since Sentinel-2 as delivered is the reference where both sensors are used.
    """
    slope, intercept = BANDPASS[band]
    return scale / slope, (offset - intercept) / slope


LANDSAT_PIXEL: Final = 30.0  # side of a Landsat pixel [m]


def is_adjusted_to_msi(sensor: str, quality: str, pixel: float) -> bool:
    """Whether a scene is adjusted to the bands of Sentinel-2: a Landsat scene on pixels [m] smaller than its own."""
    return sensor_family(sensor, quality) == "oli" and pixel < LANDSAT_PIXEL
