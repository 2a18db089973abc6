"""Transform geometries between longitude and latitude and the projected systems of grids."""

from functools import cache

import numpy as np
import shapely
from odc.geo import CRS
from pyproj import Transformer
from shapely.geometry.base import BaseGeometry

LONLAT = "EPSG:4326"


def utm_zone(geometry: BaseGeometry) -> CRS:
    """UTM zone (WGS 84) of the centroid of a geometry in longitude and latitude."""
    point = geometry.centroid
    zone = min(60, int((point.x + 180.0) // 6.0) + 1)
    return CRS(f"EPSG:{(32600 if point.y >= 0 else 32700) + zone}")


def projected(geometry: BaseGeometry, crs: CRS) -> BaseGeometry:
    """Transform a geometry from longitude and latitude [degree] to a projected system [m]."""
    return _transform(geometry, LONLAT, str(crs))


def lonlat(geometry: BaseGeometry, crs: CRS) -> BaseGeometry:
    """Transform a geometry from a projected system [m] to longitude and latitude (EPSG:4326) [degree]."""
    return _transform(geometry, str(crs), LONLAT)


def _transform(geometry: BaseGeometry, source: str, target: str) -> BaseGeometry:
    transformer = _transformer(source, target)

    def transformed(points: np.ndarray) -> np.ndarray:
        return np.column_stack(transformer.transform(points[:, 0], points[:, 1]))

    return shapely.transform(geometry, transformed)


@cache
def _transformer(source: str, target: str) -> Transformer:
    return Transformer.from_crs(source, target, always_xy=True)
