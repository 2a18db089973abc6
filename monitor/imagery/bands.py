"""The bands that are kept, by their common names (STAC electro-optical extension)."""

from typing import Final

OBSERVED: Final = ("blue", "green", "red", "nir", "swir16", "swir22")
"""Order of the bands in a stored scene. A band that a sensor lacks is 0 (no value) throughout."""

NODATA: Final = 0
"""No value, in all bands: what Sentinel-2 L2A and Landsat Collection 2 Level 2 use themselves."""
