"""Outlines from well-known binary, the format of GeoPackage and of the shapefile driver.

GEOS reads nested geometries by recursion, and about ten thousand levels crash the process. Therefore headers are
checked first: GEOS gets polygons and multipolygons only.
"""

import struct
from collections.abc import Mapping
from typing import Any, Final

import shapely

from monitor.sites.formats.feature import Feature

_UNREADABLE: Final = "has an outline that cannot be read"
_GEOMETRY_TYPES: Final = (
    "Geometry", "Point", "LineString", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon", "GeometryCollection",
    "CircularString", "CompoundCurve", "CurvePolygon", "MultiCurve", "MultiSurface",
)  # fmt: skip
"""Geometry types by code, ISO 13249-3."""
_POLYGON: Final = _GEOMETRY_TYPES.index("Polygon")
_MULTIPOLYGON: Final = _GEOMETRY_TYPES.index("MultiPolygon")
_HEIGHT, _MEASURE, _SRID = 0x80000000, 0x40000000, 0x20000000  # flags in the type code of the extended form of PostGIS


def feature_of_wkb(properties: Mapping[str, Any], wkb: bytes | None) -> Feature:
    """Feature with an outline from well-known binary, without height and measure; None: it has no outline."""
    if wkb is None:
        return Feature(properties=properties, broken="has no outline")
    try:
        if problem := _not_polygons(wkb):
            return Feature(properties=properties, broken=problem)
    except struct.error:  # the bytes end too early or are not well-known binary
        return Feature(properties=properties, broken=_UNREADABLE)
    unclosed = False
    try:
        geometry = shapely.from_wkb(wkb)
    except (shapely.errors.GEOSException, TypeError, ValueError):
        geometry, unclosed = shapely.from_wkb(wkb, on_invalid="fix"), True
    if geometry is None:
        return Feature(properties=properties, broken=_UNREADABLE)
    if geometry.is_empty:
        return Feature(properties=properties, broken="has an empty outline")
    parts = shapely.get_parts(geometry)
    polygons = [[shapely.get_coordinates(ring) for ring in (part.exterior, *part.interiors)] for part in parts]
    return Feature(properties=properties, polygons=polygons, unclosed=unclosed)


def _not_polygons(wkb: bytes) -> str:
    """Why bytes are no polygon or multipolygon, by their headers; empty: they are."""
    kind, order, _, offset = _header(wkb, 0)
    if kind == _POLYGON:
        return ""
    if kind != _MULTIPOLYGON:
        return f"is a {_type_name(kind)}, not a polygon"
    (parts,) = struct.unpack_from(f"{order}I", wkb, offset)
    offset += 4
    for _ in range(parts):
        kind, order, point, offset = _header(wkb, offset)
        if kind != _POLYGON:
            return f"is a MultiPolygon with a {_type_name(kind)} nested in it, not a polygon"
        (rings,) = struct.unpack_from(f"{order}I", wkb, offset)
        offset += 4
        for _ in range(rings):
            (points,) = struct.unpack_from(f"{order}I", wkb, offset)
            offset += 4 + points * point
    return ""


def _header(wkb: bytes, offset: int) -> tuple[int, str, int, int]:
    """Type, byte order and bytes per point of the geometry at an offset, and the offset of its content."""
    (first,) = struct.unpack_from("B", wkb, offset)
    if first > 1:
        raise struct.error(f"{first} is not a byte order")
    order = "<" if first else ">"
    (code,) = struct.unpack_from(f"{order}I", wkb, offset + 1)
    kind, iso = code % 0x10000 % 1000, code % 0x10000 // 1000
    height, measure = code & _HEIGHT or iso in (1, 3), code & _MEASURE or iso in (2, 3)
    return kind, order, 8 * (2 + bool(height) + bool(measure)), offset + (9 if code & _SRID else 5)


def _type_name(kind: int) -> str:
    return _GEOMETRY_TYPES[kind] if kind < len(_GEOMETRY_TYPES) else "geometry of an unknown kind"
