"""Outlines from well-known binary, the form that GeoPackage and the shapefile driver hand out."""

import shapely
from shapely.geometry import MultiPolygon, Polygon

from monitor.sites.feature import Polygons


def polygons_of(wkb: bytes) -> tuple[Polygons, str, bool]:
    """Rings of a polygon in well-known binary.

    Returns
    -------
    polygons : Polygons
        As stored, height and measure dropped; empty where it is no polygon.
    broken : str
        Why there are none, in words.
    unclosed : bool
        A ring had to be closed in order to be read.
    """
    unclosed = False
    try:
        geometry = shapely.from_wkb(wkb)
    except (shapely.errors.GEOSException, TypeError, ValueError):
        geometry, unclosed = shapely.from_wkb(wkb, on_invalid="fix"), True
    if geometry is None:
        return [], "has an outline that can not be read", False
    if geometry.is_empty:
        return [], "has an empty outline", False
    if not isinstance(geometry, Polygon | MultiPolygon):
        return [], f"is a {geometry.geom_type}, not a polygon", False
    parts = geometry.geoms if isinstance(geometry, MultiPolygon) else [geometry]
    polygons = [[shapely.get_coordinates(r) for r in (part.exterior, *part.interiors)] for part in parts]
    return polygons, "", unclosed
