"""Outlines from well-known binary, the form that GeoPackage and the shapefile driver hand out.

GEOS reads geometries within geometries by recursion, and bytes that are nested some ten thousand deep end the process.
So the headers are looked at first: GEOS sees polygons, and polygons side by side, and nothing else.
"""

import struct
from typing import Final

import shapely
from shapely.geometry import MultiPolygon, Polygon

from monitor.sites.formats.feature import Polygons

_UNREADABLE: Final = "has an outline that cannot be read"
_KINDS: Final = (
    "Geometry", "Point", "LineString", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon", "GeometryCollection",
    "CircularString", "CompoundCurve", "CurvePolygon", "MultiCurve", "MultiSurface",
)  # fmt: skip
"""By code, ISO 13249-3."""
_POLYGON: Final = _KINDS.index("Polygon")
_MULTIPOLYGON: Final = _KINDS.index("MultiPolygon")
_HEIGHT, _MEASURE, _SRID = 0x80000000, 0x40000000, 0x20000000
"""Flags in the code of a kind, in PostGIS's extended form."""


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
    try:
        if other := _other(wkb):
            return [], other, False
    except struct.error:  # the bytes end too early, or are none of this form
        return [], _UNREADABLE, False
    unclosed = False
    try:
        geometry = shapely.from_wkb(wkb)
    except (shapely.errors.GEOSException, TypeError, ValueError):
        geometry, unclosed = shapely.from_wkb(wkb, on_invalid="fix"), True
    if geometry is None:
        return [], _UNREADABLE, False
    if geometry.is_empty:
        return [], "has an empty outline", False
    assert isinstance(geometry, Polygon | MultiPolygon)
    parts = geometry.geoms if isinstance(geometry, MultiPolygon) else [geometry]
    polygons = [[shapely.get_coordinates(r) for r in (part.exterior, *part.interiors)] for part in parts]
    return polygons, "", unclosed


def _other(wkb: bytes) -> str:
    """Why bytes are neither a polygon nor polygons side by side, by their headers; empty: they are."""
    kind, order, _, place = _header(wkb, 0)
    if kind == _POLYGON:
        return ""
    if kind != _MULTIPOLYGON:
        return f"is a {_named(kind)}, not a polygon"
    (parts,) = struct.unpack_from(f"{order}I", wkb, place)
    place += 4
    for _ in range(parts):
        kind, order, point, place = _header(wkb, place)
        if kind != _POLYGON:
            return f"is a MultiPolygon with a {_named(kind)} nested in it, not a polygon"
        (rings,) = struct.unpack_from(f"{order}I", wkb, place)
        place += 4
        for _ in range(rings):
            (points,) = struct.unpack_from(f"{order}I", wkb, place)
            place += 4 + points * point
    return ""


def _header(wkb: bytes, place: int) -> tuple[int, str, int, int]:
    """Kind, byte order and bytes a point of the geometry at a place, and the place where its content begins."""
    (first,) = struct.unpack_from("B", wkb, place)
    if first > 1:
        msg = f"{first} is no byte order"
        raise struct.error(msg)
    order = "<" if first else ">"
    (code,) = struct.unpack_from(f"{order}I", wkb, place + 1)
    kind, iso = code % 0x10000 % 1000, code % 0x10000 // 1000
    height, measure = code & _HEIGHT or iso in (1, 3), code & _MEASURE or iso in (2, 3)
    return kind, order, 8 * (2 + bool(height) + bool(measure)), place + (9 if code & _SRID else 5)


def _named(kind: int) -> str:
    return _KINDS[kind] if kind < len(_KINDS) else "geometry of an unknown kind"
