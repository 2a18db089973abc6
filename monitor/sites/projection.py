"""Between longitude and latitude and the projected systems of grids."""

from functools import cache

import numpy as np
import shapely
from odc.geo import CRS
from pyproj import Transformer
from shapely.geometry.base import BaseGeometry

LONLAT = "EPSG:4326"


def utm_zone(geometry: BaseGeometry) -> CRS:
    """UTM zone (WGS 84) of the centroid of a geometry given in longitude and latitude."""
    point = geometry.centroid
    zone = min(60, int((point.x + 180.0) // 6.0) + 1)
    return CRS(f"EPSG:{(32600 if point.y >= 0 else 32700) + zone}")


def projected(geometry: BaseGeometry, crs: CRS) -> BaseGeometry:
    """The same geometry, from longitude and latitude to a projected system."""
    return _moved(geometry, LONLAT, str(crs))


def lonlat(geometry: BaseGeometry, crs: CRS) -> BaseGeometry:
    """The same geometry, from a projected system to longitude and latitude."""
    return _moved(geometry, str(crs), LONLAT)


def _moved(geometry: BaseGeometry, source: str, target: str) -> BaseGeometry:
    move = _transformer(source, target)

    def moved(points: np.ndarray) -> np.ndarray:
        return np.column_stack(move.transform(points[:, 0], points[:, 1]))

    return shapely.transform(geometry, moved)


@cache
def _transformer(source: str, target: str) -> Transformer:
    return Transformer.from_crs(source, target, always_xy=True)
