"""GeoJSON (RFC 7946), read without GDAL, which would follow links in the file."""

import json
from typing import Any

import numpy as np
from pyproj import CRS

from monitor.sites.formats import crs as systems
from monitor.sites.formats.feature import MAX_SITES, MAX_VERTICES, Feature, FileRefused, too_big, too_many

_GEOJSON_FIX = "Give a FeatureCollection with one feature a site, as aoi/README.md shows."


def read_geojson(data: bytes, *, name: str) -> list[Feature]:
    """Read the features of a GeoJSON file from its content; `name` is for messages.

    FileRefused where it is not JSON in UTF-8, not a collection of features, too large or nested too deep, or gives its
    coordinate system as a link.
    """
    # Excessive sizes are refused before parsing: a vertex has a bracket, a feature braces, a value a comma.
    if data.count(b"{") > 12 * MAX_SITES or data.count(b'"Feature"') > 2 * MAX_SITES:
        raise too_many("features", name)
    if data.count(b"[") > 2 * MAX_VERTICES:
        raise too_many("vertices", name)
    if data.count(b",") + data.count(b":") > 8 * MAX_VERTICES:
        raise too_big(name, "it has more values than sites and their outlines need")
    try:
        document = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise FileRefused("NOT_UTF8", f"{name} is not in UTF-8", "Save it again as UTF-8.") from None
    except RecursionError:
        raise FileRefused("TOO_DEEP", f"{name} is nested deeper than any GeoJSON", _GEOJSON_FIX) from None
    except ValueError as error:
        fix = "Export it again; if it was edited by hand, check the edit."
        raise FileRefused("NOT_READABLE", f"{name} is not JSON: {error}", fix) from None
    kind = document.get("type") if isinstance(document, dict) else None
    members = document.get("features") if kind == "FeatureCollection" else [document] if kind == "Feature" else None
    if not isinstance(members, list):
        raise FileRefused("NOT_A_REGISTRY", f"{name} is JSON, but not a collection of features", _GEOJSON_FIX)
    if len(members) > MAX_SITES:
        raise too_many("features", name, len(members))
    return systems.to_longitude_latitude([_feature(member) for member in members], _crs(document, name), file=name)


def _crs(document: dict[str, Any], name: str) -> CRS | None:
    stated = document.get("crs")
    if stated is None:
        return None
    kind = stated.get("type") if isinstance(stated, dict) else None
    properties = stated.get("properties") if isinstance(stated, dict) else None
    if kind == "link":
        msg = f"{name} gives its coordinate system as a link, which is not followed"
        raise FileRefused("CRS_LINK", msg, "Remove the member 'crs' and give longitude and latitude (EPSG:4326).")
    if kind == "name" and isinstance(properties, dict):
        return systems.crs_from_name(str(properties.get("name")), file=name)
    raise systems.unknown_crs(name, "a coordinate system that cannot be read")


def _feature(member: Any) -> Feature:
    if not isinstance(member, dict) or member.get("type") != "Feature":
        return Feature(properties={}, broken="is not a GeoJSON feature")
    properties = member.get("properties")
    properties = dict(properties) if isinstance(properties, dict) else {}
    if "id" not in properties and isinstance(member.get("id"), str | int):
        properties["id"] = member["id"]
    geometry = member.get("geometry")
    if not isinstance(geometry, dict):
        return Feature(properties=properties, broken="has no outline")
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    if kind not in ("Polygon", "MultiPolygon"):
        return Feature(properties=properties, broken=f"is a {str(kind)[:40]}, not a polygon")
    try:
        drawn: Any = [coordinates] if kind == "Polygon" else coordinates
        polygons = [[_ring(ring) for ring in polygon] for polygon in drawn]
    except (TypeError, ValueError, OverflowError, KeyError):
        return Feature(properties=properties, broken="has coordinates that are not pairs of numbers")
    return Feature(properties=properties, polygons=polygons, winding_checked=True)


def _ring(points: list[Any]) -> np.ndarray:
    if not points:
        return np.empty((0, 2))
    ring = np.array([point[:2] for point in points])
    if ring.ndim != 2 or ring.shape[1] != 2 or ring.dtype.kind not in "iuf":  # text, even if it contains numbers
        raise ValueError("not pairs of numbers")
    return ring.astype(np.float64)
