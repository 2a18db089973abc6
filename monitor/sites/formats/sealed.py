"""Read GeoPackages and shapefiles in a process that can open nothing, and has limits of time and memory.

    python -m monitor.sites.formats.sealed shapefile <REQUEST >ANSWER

SQLite, GDAL, PROJ and GEOS read these formats, and a file made for it can crash them or keep them busy. GeoJSON and KML
are plain text, read by parsers of the standard library within limits of size and depth; for them a process would bring
nothing, and cost every night as much as reading the file does.
"""

import codecs
import importlib
import sys
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import numpy as np

from monitor.rights import give_up_rights
from monitor.sealed_process import ProcessEnded, answer_to
from monitor.sites.formats.feature import MAX_BYTES, Feature, FileRefused
from monitor.sites.formats.geopackage import read_geopackage
from monitor.sites.formats.shapefile import check_parts, read_shapefile

MAX_MEMORY: Final = 1_000_000_000
"""Memory of the process, beyond that of its start; a shapefile of 50 MB with many columns takes 0.6 GB. [byte]"""
MAX_CPU_SECONDS: Final = 30
"""Processor time of the process; the same shapefile takes 5 s. [s]"""
MAX_SECONDS: Final = 60
"""Time of the process, on a busy machine too. [s]"""
_MAX_ANSWER: Final = 4 * MAX_BYTES
"""Text takes more bytes in UTF-8 than in the encoding of the file. [byte]"""
_ENCODINGS: Final = (
    "gb18030", "big5", "shift_jis", "euc_kr", "latin-1", "cp1250", "cp1251", "cp1252", "utf-8-sig",
)  # fmt: skip
"""Encodings of attribute text, loaded while files can still be opened; others that a file states are not known."""
_FIX: Final = "Export the layer again, as GeoJSON."


class _Request(msgspec.Struct):
    name: str
    parts: dict[str, bytes]
    """Content by suffix."""


class _Drawn(msgspec.Struct):
    """A feature; see :class:`Feature`."""

    properties: dict[str, Any]
    polygons: list[list[bytes]]
    """Rings as float64, x and y in turn."""
    broken: str
    winding_wrong: bool
    unclosed: bool


class _Answer(msgspec.Struct):
    features: list[_Drawn] = []
    refused: tuple[str, str, str] | None = None
    """Code, message and fix of :class:`FileRefused`."""


def read(kind: str, parts: Mapping[str, bytes], *, name: str) -> list[Feature]:
    """Read the features of a GeoPackage or shapefile from its parts, content by suffix; `name` is for messages.

    Raises
    ------
    FileRefused
        The reader of the format refuses it, crashes, or takes too much time or memory.
    TryLater
        The system starts no further process.
    """
    if kind == "shapefile":
        check_parts(parts, name=name)
    request = msgspec.msgpack.encode(_Request(name, dict(parts)))
    try:
        content = answer_to(request, __name__, kind, seconds=MAX_SECONDS, max_bytes=_MAX_ANSWER)
        answer = msgspec.msgpack.decode(content, type=_Answer)
        features = [_feature(drawn) for drawn in answer.features]
    except ProcessEnded as error:
        raise FileRefused("READER_ENDED", f"{name} {error}", _FIX) from None
    except ValueError:  # not an answer of this module
        raise FileRefused("READER_ENDED", f"{name} ends the program that reads it", _FIX) from None
    if answer.refused is not None:
        raise FileRefused(*answer.refused)
    return features


def _feature(drawn: _Drawn) -> Feature:
    polygons = [[np.frombuffer(ring, "<f8").reshape(-1, 2) for ring in rings] for rings in drawn.polygons]
    return Feature(
        properties=drawn.properties, polygons=polygons, broken=drawn.broken, winding_wrong=drawn.winding_wrong,
        unclosed=drawn.unclosed,
    )  # fmt: skip


def _answer(kind: str, request: _Request) -> _Answer:
    name, parts = request.name, request.parts
    try:
        if kind == "GeoPackage":
            features = read_geopackage(parts[".gpkg"], name=name)
        else:
            features = read_shapefile(parts, name=name)
    except FileRefused as error:
        return _Answer(refused=(error.code, error.message, error.fix))
    except MemoryError:
        message = f"{name} takes more memory to read than any registry within the limits of size"
        return _Answer(refused=("READER_ENDED", message, _FIX))
    except Exception as error:  # noqa: BLE001 - no file, however damaged, may end a night
        return _Answer(refused=("NOT_READABLE", f"{name} is damaged ({type(error).__name__})", _FIX))
    return _Answer([_drawn(feature) for feature in features])


def _drawn(feature: Feature) -> _Drawn:
    polygons = [[np.asarray(ring, "<f8").tobytes() for ring in rings] for rings in feature.polygons]
    return _Drawn(dict(feature.properties), polygons, feature.broken, feature.winding_wrong, feature.unclosed)


def _main(kind: str) -> None:
    if kind == "shapefile":  # what is imported when it is read
        importlib.import_module("pyogrio.errors")
        importlib.import_module("pyogrio.raw")
    for encoding in _ENCODINGS:
        codecs.lookup(encoding)
    give_up_rights(memory=MAX_MEMORY, seconds=MAX_CPU_SECONDS)
    request = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=_Request)
    sys.stdout.buffer.write(msgspec.msgpack.encode(_answer(kind, request)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
