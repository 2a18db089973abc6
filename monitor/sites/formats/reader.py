"""Read a registry file in any accepted format, trusting neither its name nor its content.

The file must be a plain local file within the size limit. It is read once; its first bytes show the format, which must
agree with its name. The readers of the formats get these bytes only. SQLite, GDAL, PROJ and GEOS read GeoPackages and
shapefiles, in a child process with limits (:mod:`monitor.sandbox`). GeoJSON and KML are plain text, read by parsers of
the standard library within limits of size and depth.
"""

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from monitor import sandbox
from monitor.sites.formats import archive
from monitor.sites.formats.feature import MAX_BYTES, MAX_VERTICES, Feature, FileRefused, too_big, too_many
from monitor.sites.formats.geojson import read_geojson
from monitor.sites.formats.geopackage import read_geopackage
from monitor.sites.formats.kml import read_kml
from monitor.sites.formats.shapefile import SHAPEFILE_PARTS, check_parts, load_libraries, read_shapefile
from monitor.sites.names import without_invisible

SUFFIXES: Final = {
    "GeoJSON": (".geojson", ".json"), "KML": (".kml",), "GeoPackage": (".gpkg",), "shapefile": (".shp",),
    "zip": (".zip", ".kmz"),
}  # fmt: skip
_FORMAT_BY_START: Final = {
    b"SQLite format 3\x00": "GeoPackage", b"PK\x03\x04": "zip", b"\x00\x00\x27\x0a": "shapefile", b"{": "GeoJSON",
    b"<": "KML",
}  # fmt: skip
"""Format by the first bytes of a file, for text formats after white space and byte order mark."""
_COMMENT: Final = re.compile(rb"<!--.*?(-->|$)", re.DOTALL)
_ELEMENT: Final = re.compile(rb"<(?:[A-Za-z_][A-Za-z0-9_.-]*:)?([A-Za-z_][A-Za-z0-9_.-]*)")
LIMITS: Final = sandbox.Limits(memory=1_000_000_000, cpu=30, seconds=60, answer=4 * MAX_BYTES)
"""A shapefile of 50 MB with many columns takes 0.6 GB and 5 s; text takes more bytes in UTF-8 than in its encoding."""
_FORMATS: Final = "a GeoJSON, GeoPackage, KML, KMZ, shapefile or zipped shapefile"


def read_features(path: Path) -> list[Feature]:
    """Read the features of a registry file; outlines are as drawn, in longitude and latitude [degree].

    FileRefused where it is not a plain local file of an accepted format, is damaged or above the limits, or is empty.
    """
    data = _content(path)
    try:
        features = _read(data, _format(data, path), path)
    except FileRefused as error:
        message = error.message if path.name in error.message else f"{path.name}: {error.message}"
        raise FileRefused(error.code, without_invisible(message), error.fix) from None
    if not features:
        raise FileRefused("EMPTY", f"{path.name} holds no sites", "Add at least one; aoi/README.md shows how.")
    vertices = sum(len(ring) for feature in features for rings in feature.polygons for ring in rings)
    if vertices > MAX_VERTICES:
        raise too_many("vertices", path.name, vertices)
    return features


def _read(data: bytes, kind: str, path: Path) -> list[Feature]:
    match kind:
        case "GeoJSON":
            return read_geojson(data, name=path.name)
        case "KML":
            return read_kml(data, name=path.name)
        case "GeoPackage":
            _refuse_open(path)
            return _read_apart(read_geopackage, data, path.name)
        case "shapefile":
            return _read_shapefile(_parts_beside(path) | {".shp": data}, path.name)
        case _:
            return _read_archive(data, path)


def _read_shapefile(parts: dict[str, bytes], name: str) -> list[Feature]:
    check_parts(parts, name=name)  # before a process is started
    return _read_apart(read_shapefile, parts, name, load=load_libraries)


def _read_apart(
    read: Callable[[Any, str], list[Feature]], content: Any, name: str, *, load: Callable[[], None] | None = None
) -> list[Feature]:
    """Read content in a child process that can open nothing."""
    try:
        return sandbox.call(read, content, name, load=load, returns=list[Feature], refusal=FileRefused, limits=LIMITS)
    except sandbox.ContentFailed as error:
        raise FileRefused("READER_ENDED", f"{name} {error}", "Export the layer again, as GeoJSON.") from None


def _content(path: Path) -> bytes:
    fix = f"Give the path of {_FORMATS} on this machine."
    text = os.fspath(path)
    if text.startswith("/vsi") or re.match(r"[A-Za-z][A-Za-z0-9+.-]+:|<", text):
        raise FileRefused("NOT_A_FILE", f"{text[:120]!r} is an address or a driver's name, not a local file", fix)
    try:
        # O_NONBLOCK: otherwise opening a pipe without a writer would wait for ever.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise FileRefused("NOT_A_FILE", f"{path} is not a plain file", fix)
            if status.st_size > MAX_BYTES:
                raise too_big(path.name, f"{status.st_size / 1e6:,.0f} MB")
            return file.read(MAX_BYTES)
    except FileNotFoundError:
        raise FileRefused("FILE_MISSING", f"there is no file {path}", "Check the path.") from None
    except IsADirectoryError:
        raise FileRefused("NOT_A_FILE", f"{path} is a folder", fix) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        msg = f"{text[:120]!r} cannot be read: {error}"
        raise FileRefused("FILE_UNREADABLE", msg, "Check the path and who may read it.") from None


def _format(data: bytes, path: Path) -> str:
    """Format by the first bytes; refused if the name of the file disagrees."""
    start = data[:4096].removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start:
        raise FileRefused("EMPTY", f"{path.name} is empty", f"Give {_FORMATS}.")
    heads = (head for head in _FORMAT_BY_START if data.startswith(head) or start.startswith(head))
    kind = _FORMAT_BY_START.get(next(heads, b""))
    if kind is None:
        raise FileRefused("NOT_A_REGISTRY", f"{path.name} is not in a supported format", f"Give {_FORMATS}.")
    if kind == "KML" and (first := _ELEMENT.search(_COMMENT.sub(b"", start))) and first[1] != b"kml":
        msg = f"{path.name} is XML, but not KML: its first element is {first[1][:40].decode()!r}"
        raise FileRefused("NOT_A_REGISTRY", msg, f"Give {_FORMATS}.")
    if path.suffix.lower() not in SUFFIXES[kind]:
        message = f"{path.name} is named {path.suffix or 'without a suffix'}, but its content looks like {kind}"
        fix = f"Export it again, or name it {SUFFIXES[kind][0]} if that is what it is."
        raise FileRefused("NOT_WHAT_IT_SAYS", message, fix)
    return kind


def _refuse_open(path: Path) -> None:
    """Refuse a GeoPackage that another program has open, with changes that are only in its write-ahead file."""
    journal = path.with_name(path.name + "-wal")
    if journal.is_file() and journal.stat().st_size:
        msg = f"{path.name} is open in another program, with changes that are not saved in the file yet"
        raise FileRefused("FILE_OPEN", msg, "Close it there (QGIS: remove the layer) and try again.")


def _parts_beside(path: Path) -> dict[str, bytes]:
    """Other parts of a shapefile: files of the same name in the folder, with suffixes in either case."""
    parts = {}
    for suffix in SHAPEFILE_PARTS[1:]:
        for name in (path.stem + suffix, path.stem + suffix.upper()):
            part = path.with_name(name)
            if os.path.lexists(part):
                parts[suffix] = _content(part)
                break
    return parts


def _read_archive(data: bytes, path: Path) -> list[Feature]:
    files = archive.members(data, name=path.name)
    drawings = [member for member in files if member.suffix.lower() in (".shp", ".kml")]
    if path.suffix.lower() == ".kmz":
        documents = [m for m in drawings if m.suffix.lower() == ".kml"]
        drawings = [m for m in documents if m.name.lower() == "doc.kml"] or documents
    if len(drawings) != 1:
        msg = f"{path.name} holds {len(drawings)} shapefiles or KML documents"
        raise FileRefused("NOT_ONE_LAYER", msg, "Give an archive with the one layer of sites.")
    drawing = drawings[0]
    if drawing.suffix.lower() == ".kml":
        return read_kml(files[drawing], name=f"{path.name}/{drawing.name}")
    stem = drawing.with_suffix("")
    parts = {member.suffix.lower(): content for member, content in files.items() if member.with_suffix("") == stem}
    return _read_shapefile(parts, f"{path.name}/{drawing.name}")
