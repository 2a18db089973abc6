"""Between longitude and latitude and the projected systems of grids."""

from functools import cache

import shapely
from odc.geo import CRS
from pyproj import Transformer
from shapely.geometry.base import BaseGeometry

LONLAT = "EPSG:4326"


def projected(geometry: BaseGeometry, crs: CRS) -> BaseGeometry:
    """The same geometry, from longitude and latitude to a projected system."""
    return shapely.transform(geometry, _transformer(LONLAT, str(crs)).transform, interleaved=False)


def lonlat(geometry: BaseGeometry, crs: CRS) -> BaseGeometry:
    """The same geometry, from a projected system to longitude and latitude."""
    return shapely.transform(geometry, _transformer(str(crs), LONLAT).transform, interleaved=False)


@cache
def _transformer(source: str, target: str) -> Transformer:
    return Transformer.from_crs(source, target, always_xy=True)
