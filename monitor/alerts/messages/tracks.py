"""A site and where to look, as files for GPS devices and map apps: GPX 1.1 and KML 2.2, both in WGS 84.

References
----------
GPX 1.1 schema, https://www.topografix.com/GPX/1/1/ ; OGC KML 2.2, document 07-147r2.
"""

import hashlib
import re
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple
from xml.etree import ElementTree as ET

import shapely
from shapely.geometry.base import BaseGeometry

from monitor.alerts.message import Attachment
from monitor.alerts.messages.places import look_at
from monitor.alerts.messages.rendering import MAX_NAME, short
from monitor.alerts.words import Language, site_name, text
from monitor.maps.worst_patch import WorstPatch
from monitor.sites.names import folder_name, without_invisible
from monitor.sites.site import Site

MAX_BYTES: Final = 12_000
"""Largest file: outlines are simplified until they fit. [byte]"""
FIRST_TOLERANCE: Final = 1e-5
"""Distance by which an outline may first be off, about a metre. [degree]"""
COARSE: Final = 1e-3
"""Distance from which small parts and holes are left out instead, about a hundred metres. [degree]"""


class _Place(NamedTuple):
    site: Site
    patch: WorstPatch | None
    language: Language


def attachments(site: Site, patch: WorstPatch | None, language: Language) -> tuple[Attachment, Attachment]:
    """GPX and KML files with the outline of the site, its worst patch, and the first place to look at."""
    stem = _stem(site.id)
    return (
        Attachment(name=f"{stem}.gpx", media_type="application/gpx+xml", content=_fitting(gpx, site, patch, language)),
        Attachment(
            name=f"{stem}.kml", media_type="application/vnd.google-earth.kml+xml",
            content=_fitting(kml, site, patch, language),
        ),
    )  # fmt: skip


def gpx(place: _Place, outline: BaseGeometry, patch: BaseGeometry | None) -> bytes:
    """Outline and patch as tracks, the first place to look at as a waypoint."""
    root = _gpx()
    ET.SubElement(ET.SubElement(root, "metadata"), "name").text = _site_name(place)
    _add_waypoint(root, place, _place_name(place))
    for name, shape in _named_shapes(place, outline, patch):
        track = ET.SubElement(root, "trk")
        ET.SubElement(track, "name").text = name
        for polygon in _polygons(shape):
            for ring in (polygon.exterior, *polygon.interiors):
                segment = ET.SubElement(track, "trkseg")
                for x, y in ring.coords:
                    ET.SubElement(segment, "trkpt", lat=f"{y:.5f}", lon=f"{x:.5f}")
    return _xml(root)


def waypoints(places: Iterable[tuple[Site, WorstPatch | None]], language: Language) -> bytes:
    """The first places to look at of several sites, in one GPX file."""
    root = _gpx()
    for place in (_Place(*each, language) for each in places):
        name = _for_xml(site_name(place.site, language))
        _add_waypoint(root, place, f"{name}{text('unit.colon', language)}{_place_name(place)}")
    return _xml(root)


def _gpx() -> ET.Element:
    return ET.Element("gpx", version="1.1", creator="regrowth-monitor", xmlns="http://www.topografix.com/GPX/1/1")


def _add_waypoint(root: ET.Element, place: _Place, name: str) -> None:
    latitude, longitude = look_at(place.site, place.patch)
    waypoint = ET.SubElement(root, "wpt", lat=f"{latitude:.5f}", lon=f"{longitude:.5f}")
    ET.SubElement(waypoint, "name").text = name


def kml(place: _Place, outline: BaseGeometry, patch: BaseGeometry | None) -> bytes:
    """Outline and patch as polygons, the first place to look at as a point."""
    root = ET.Element("kml", xmlns="http://www.opengis.net/kml/2.2")
    document = ET.SubElement(root, "Document")
    ET.SubElement(document, "name").text = _site_name(place)
    for style, line in (("site", "ff1c1b1a"), ("patch", "ff00a5ff")):  # opacity, blue, green, red
        element = ET.SubElement(document, "Style", id=style)
        drawn = ET.SubElement(element, "LineStyle")
        ET.SubElement(drawn, "color").text = line
        ET.SubElement(drawn, "width").text = "3"
        ET.SubElement(ET.SubElement(element, "PolyStyle"), "fill").text = "0"
    latitude, longitude = look_at(place.site, place.patch)
    placemark = ET.SubElement(document, "Placemark")
    ET.SubElement(placemark, "name").text = _place_name(place)
    ET.SubElement(ET.SubElement(placemark, "Point"), "coordinates").text = f"{longitude:.5f},{latitude:.5f}"
    for style, (name, shape) in zip(("site", "patch"), _named_shapes(place, outline, patch), strict=False):
        placemark = ET.SubElement(document, "Placemark")
        ET.SubElement(placemark, "name").text = name
        ET.SubElement(placemark, "styleUrl").text = f"#{style}"
        several = ET.SubElement(placemark, "MultiGeometry")
        for polygon in _polygons(shape):
            element = ET.SubElement(several, "Polygon")
            for kind, rings in (("outerBoundaryIs", [polygon.exterior]), ("innerBoundaryIs", polygon.interiors)):
                for ring in rings:
                    line_ring = ET.SubElement(ET.SubElement(element, kind), "LinearRing")
                    ET.SubElement(line_ring, "coordinates").text = " ".join(f"{x:.5f},{y:.5f}" for x, y in ring.coords)
    return _xml(root)


type _Encode = Callable[[_Place, BaseGeometry, BaseGeometry | None], bytes]


def _fitting(encode: _Encode, registered: Site, worst: WorstPatch | None, language: Language) -> bytes:
    """A file of at most :data:`MAX_BYTES`, with the outlines as exact as that allows."""
    place = _Place(registered, worst, language)
    site = shapely.force_2d(registered.geometry)
    patch = None if worst is None else shapely.Polygon(worst.ring).simplify(FIRST_TOLERANCE)
    tolerance = FIRST_TOLERANCE
    while len(content := encode(place, site, patch)) > MAX_BYTES:
        site = _coarser(site, tolerance)
        patch = None if patch is None else _coarser(patch, tolerance)
        tolerance *= 2
    return content


def _coarser(shape: BaseGeometry, tolerance: float) -> BaseGeometry:
    """A simplified shape; once it is coarse, also without its holes and the smaller half of its parts."""
    polygons = _polygons(shape.simplify(tolerance))
    if tolerance > COARSE:
        polygons = sorted((shapely.Polygon(polygon.exterior) for polygon in polygons), key=lambda part: -part.area)
        polygons = polygons[: max(1, len(polygons) // 2)]
    if tolerance > 1:  # a tangle that does not get simpler
        return shape.envelope
    return shapely.MultiPolygon(polygons)


def _polygons(shape: BaseGeometry) -> list[shapely.Polygon]:
    return [part for part in shapely.get_parts(shape).tolist() if isinstance(part, shapely.Polygon)]


def _named_shapes(place: _Place, outline: BaseGeometry, patch: BaseGeometry | None) -> list[tuple[str, BaseGeometry]]:
    outlines = [(_site_name(place), outline)]
    return outlines if patch is None else [*outlines, (_place_name(place), patch)]


def _site_name(place: _Place) -> str:
    return _for_xml(site_name(place.site, place.language)) or _for_xml(place.site.id)


def _place_name(place: _Place) -> str:
    return text("where.waypoint_patch" if place.patch else "where.waypoint_site", place.language)


def _for_xml(name: str) -> str:
    """A name without characters that XML does not allow."""
    return short(re.sub("[\ufffe\uffff]", "", without_invisible(name)), MAX_NAME)


def _stem(site_id: str) -> str:
    """Name of the files, ASCII: the id, or a hash of it."""
    folder = folder_name(site_id)
    if folder.isascii() and len(folder) <= MAX_NAME:
        return folder
    return f"site-{hashlib.sha256(site_id.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def _xml(root: ET.Element) -> bytes:
    content: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return content
