"""KML, read with the standard library's parser; document type declarations are refused before they are read."""

import re
import xml.etree.ElementTree as ET
from typing import Final

import numpy as np

from monitor.sites.formats.feature import MAX_SITES, MAX_VERTICES, Feature, FileRefused, too_big, too_many

MAX_DEPTH: Final = 64  # largest nesting of elements: folders, and about a dozen levels below a site
_ENCODING: Final = re.compile(rb"""^\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")


class _SafeTreeBuilder(ET.TreeBuilder):
    """Builds a tree of limited depth, without declarations: entities cannot be defined, and no other file is read."""

    depth = 0

    def start(self, tag: str, attrs: dict[str, str], /) -> ET.Element:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise FileRefused("TOO_DEEP", "the KML is nested deeper than any map", "Export it again.")
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> ET.Element:
        self.depth -= 1
        return super().end(tag)

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        """Refuse the document; called before its declarations are read."""
        fix = "Export it again from Google Earth or QGIS, or remove the line that begins with <!DOCTYPE."
        raise FileRefused("XML_DOCTYPE", "the KML carries a document type declaration, which is never read", fix)


def read_kml(data: bytes, *, name: str) -> list[Feature]:
    """Read a KML file from its content: a feature for each Placemark, with properties from its name and ExtendedData.

    FileRefused where it is not KML, not in UTF-8 or a Chinese encoding, too large, or has a document type declaration.
    """
    if data.count(b"<Placemark") > MAX_SITES:
        raise too_many("features", name)
    if data.count(b",") > 4 * MAX_VERTICES:
        raise too_many("vertices", name)
    if data.count(b"<") > 100 * MAX_SITES or data.count(b"=") > 50 * MAX_SITES:
        raise too_big(name, "it has more elements than sites need")
    try:
        parser = ET.XMLParser(target=_SafeTreeBuilder())
        parser.feed(_text(data, name))
        root = parser.close()
    except ET.ParseError as error:
        raise FileRefused("NOT_READABLE", f"{name} is not XML: {error}", "Export it again.") from None
    if _local(root) != "kml":
        msg = f"{name} is XML, but not KML: its first element is {_local(root)[:40]!r}"
        raise FileRefused("NOT_A_REGISTRY", msg, "Give a .kml, .geojson, .gpkg or .shp file.")
    return [_feature(element) for element in root.iter() if _local(element) == "Placemark"]


def _text(data: bytes, name: str) -> str:
    data = data.removeprefix(b"\xef\xbb\xbf")
    stated = _ENCODING.match(data)
    encoding = stated[1].decode().lower() if stated else "utf-8"
    if encoding in ("gb2312", "gbk", "cp936"):
        encoding = "gb18030"
    try:
        if encoding not in ("utf-8", "utf8", "gb18030"):
            raise ValueError
        return data.decode(encoding)
    except ValueError:
        raise FileRefused("NOT_UTF8", f"{name} is not in UTF-8", "Save it again as UTF-8.") from None


def _local(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _below(element: ET.Element, name: str) -> list[ET.Element]:
    return [child for child in element.iter() if _local(child) == name]


def _child_text(element: ET.Element, name: str) -> str:
    return next(((child.text or "").strip() for child in element if _local(child) == name), "")


def _feature(placemark: ET.Element) -> Feature:
    properties: dict[str, str] = {}
    if placemark.get("id"):
        properties["id"] = placemark.get("id", "")
    if title := _child_text(placemark, "name"):
        properties["name"] = title
    for datum in _below(placemark, "Data"):
        properties[datum.get("name", "")] = _child_text(datum, "value")
    for datum in _below(placemark, "SimpleData"):
        properties[datum.get("name", "")] = (datum.text or "").strip()
    if not (drawn := _below(placemark, "Polygon")):
        return Feature(properties=properties, broken="has no polygon")
    try:
        polygons = [
            [
                _ring(coordinates.text or "")
                for side in ("outerBoundaryIs", "innerBoundaryIs")
                for boundary in _below(polygon, side)
                for coordinates in _below(boundary, "coordinates")
            ]
            for polygon in drawn
        ]
    except (ValueError, OverflowError):
        return Feature(properties=properties, broken="has coordinates that are not pairs of numbers")
    return Feature(properties=properties, polygons=polygons, winding_checked=True)


def _ring(text: str) -> np.ndarray:
    points = [point.split(",")[:2] for point in text.split()]
    if any(len(point) != 2 for point in points):
        raise ValueError("not pairs")
    return np.array(points, dtype=np.float64).reshape(-1, 2)
