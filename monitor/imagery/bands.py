"""The bands that are kept, by their common names (STAC electro-optical extension)."""

from typing import Any, Final

OBSERVED: Final = ("blue", "green", "red", "nir", "swir16", "swir22")
"""Order of the bands in a stored scene. A band that a sensor lacks is 0 (no value) throughout."""

NODATA: Final = 0
"""No value, in all bands: what Sentinel-2 L2A and Landsat Collection 2 Level 2 use themselves."""

SATURATED: Final = 65535
"""Brighter than the sensor can tell, in the band where it is."""


def valued(pixels: Any) -> Any:
    """Where integers as delivered hold a value, neither :data:`NODATA` nor :data:`SATURATED`; numpy or dask."""
    return (pixels != NODATA) & (pixels != SATURATED)
