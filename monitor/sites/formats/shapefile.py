"""Shapefiles: the only format read by GDAL, from memory, under fixed names, after checks of their headers."""

import codecs
import importlib
import io
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from monitor.sites.formats import crs as systems
from monitor.sites.formats.feature import MAX_SITES, MAX_VERTICES, Feature, FileRefused, too_many
from monitor.sites.formats.wkb import feature_of_wkb

SHAPEFILE_PARTS: Final = (".shp", ".shx", ".dbf", ".prj", ".cpg")
_POLYGON_TYPES: Final = (5, 15, 25)  # plain, with height, with measure (ESRI shapefile technical description, 1998)
_ENCODINGS: Final = (
    "gb18030", "big5", "shift_jis", "euc_kr", "latin-1", "cp1250", "cp1251", "cp1252", "utf-8-sig",
)  # fmt: skip
"""Encodings of attribute text, loaded while files can still be opened; others that a file states are not known."""


def load_libraries() -> None:
    """Load what :func:`read_shapefile` imports, before the process can open no file any more."""
    importlib.import_module("pyogrio.errors")
    importlib.import_module("pyogrio.raw")
    for encoding in _ENCODINGS:
        codecs.lookup(encoding)


def check_parts(parts: Mapping[str, bytes], *, name: str) -> None:
    """Check that a shapefile is complete, and its headers, before anything reads it; arguments as below.

    FileRefused where a part is missing, cut short or too large; the ``.prj`` is required for its coordinate system.
    """
    for suffix in (".shp", ".shx", ".dbf"):
        if suffix not in parts:
            msg = f"{name} has no {suffix} file"
            raise FileRefused("PART_MISSING", msg, "Keep .shp, .shx, .dbf and .prj side by side, or zip them together.")
    if not parts.get(".prj", b"").strip():
        fix = "Add the .prj (QGIS: Layer > Set CRS, then export again), or give GeoJSON in EPSG:4326."
        raise FileRefused("CRS_MISSING", f"{name} has no .prj file, so its coordinate system is unknown", fix)
    _check_headers(parts, name)


def read_shapefile(parts: Mapping[str, bytes], name: str) -> list[Feature]:
    """Read the features of a shapefile from its parts, content by suffix, after :func:`check_parts`."""
    check_parts(parts, name=name)
    system = systems.crs_from_wkt(parts[".prj"].decode("utf-8-sig", "replace"), file=name)
    meta, geometries, columns, wrong_winding = _read(parts, name)
    encoding = text_encoding(parts)
    titles = [_plain(str(title), encoding) for title in meta["fields"]]
    features = []
    for i, geometry in enumerate(geometries):
        properties = {t: _plain(column[i], encoding) for t, column in zip(titles, columns, strict=True)}
        features.append(replace(feature_of_wkb(properties, geometry), winding_wrong=wrong_winding))
    return systems.to_longitude_latitude(features, system, file=name)


def _check_headers(parts: Mapping[str, bytes], name: str) -> None:
    """Refuse wrong types and sizes before GDAL opens the files."""
    shp, shx, dbf = parts[".shp"], parts[".shx"], parts[".dbf"]
    if len(shp) < 100 or len(shx) < 100 or len(dbf) < 32 or shp[:4] != b"\x00\x00\x27\x0a" or shx[:4] != shp[:4]:
        raise FileRefused("NOT_READABLE", f"{name} is not a shapefile or is cut short", "Export or copy it again.")
    kind = struct.unpack("<i", shp[32:36])[0]
    if kind not in _POLYGON_TYPES:
        raise FileRefused(
            "NOT_POLYGONS", f"{name} holds no polygons (shape type {kind})", "Give the layer of outlines."
        )
    count = max((len(shx) - 100) // 8, struct.unpack("<I", dbf[4:8])[0])
    if count > MAX_SITES:
        raise too_many("features", name, count)
    width = 16 if kind == _POLYGON_TYPES[0] else 32
    if len(shp) > 100 + 2 * width * MAX_VERTICES:
        raise too_many("vertices", name)


def _read(parts: Mapping[str, bytes], name: str) -> tuple[dict[str, Any], Any, list[Any], bool]:
    # Imported here: it loads pandas, half a second that a GeoPackage does not need.
    import pyogrio.errors
    import pyogrio.raw

    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for suffix in (".shp", ".shx", ".dbf"):
            archive.writestr(f"sites{suffix}", parts[suffix])
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            # Latin-1 maps every byte to a character, so the text stays intact; it is decoded below.
            meta, _, geometries, columns = pyogrio.raw.read(packed.getvalue(), encoding="ISO-8859-1")
    except (
        pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, pyogrio.errors.FeatureError,
        pyogrio.errors.GeometryError, pyogrio.errors.FieldError, UnicodeDecodeError, ValueError,
    ) as error:  # fmt: skip
        text = re.sub(r"/vsi\S*/", "", str(error)).splitlines()[0][:200] if str(error) else type(error).__name__
        raise FileRefused("NOT_READABLE", f"{name} cannot be read: {text}", "Export it again.") from None
    return meta, geometries, columns, any("winding order" in str(warning.message) for warning in caught)


def text_encoding(parts: Mapping[str, bytes]) -> str:
    """Encoding of the attribute text: that of the ``.cpg``, else UTF-8 if the text is valid, else Chinese (GB 18030).

    Programs on Chinese systems write GBK, often without ``.cpg``; GDAL would take it for Latin-1. A few broken
    characters are accepted in UTF-8, since columns of fixed width cut them.
    """
    stated = parts.get(".cpg", b"").decode("ascii", "ignore").strip().lower()
    if stated in ("936", "cp936", "gbk", "gb2312", "ansi 936", "oem 936"):
        return "gb18030"
    try:
        b"\xff".decode(stated, "replace")
    except (LookupError, ValueError):  # empty, unknown, or not a text codec
        stated = ""
    header = struct.unpack("<H", parts[".dbf"][8:10])[0]
    records = parts[".dbf"][header:]
    beyond_ascii = np.count_nonzero(np.frombuffer(records, np.uint8) > 127)
    broken = records.decode("utf-8", "replace").count("\N{REPLACEMENT CHARACTER}")
    return stated or ("utf-8" if 20 * broken <= beyond_ascii else "gb18030")


def _plain(value: Any, encoding: str) -> Any:
    """Python value of a numpy value; dates as ISO 8601, NaN and NaT as None."""
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else str(value.astype("datetime64[D]"))
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        text = value.encode("latin-1").decode(encoding, "replace").rstrip("\N{REPLACEMENT CHARACTER}")
        return text.encode("utf-8", "replace").decode()  # some encodings have half characters
    return None if isinstance(value, float) and value != value else value
