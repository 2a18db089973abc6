"""GeoPackage, read with SQLite: tables only, from memory, with a limit on work.

GDAL would also run views, which can be endless, and virtual tables, which can refer to other files.
"""

import sqlite3
from typing import Any, Final

from pyproj import CRS

from monitor.sites.formats import crs as systems
from monitor.sites.formats.feature import MAX_SITES, MAX_VERTICES, Feature, FileRefused, too_many
from monitor.sites.formats.wkb import feature_of_wkb

_STEPS: Final = 20_000_000  # most instructions of SQLite for one statement; 10,000 features need under a million
_ENVELOPES: Final = {0: 0, 1: 32, 2: 48, 3: 48, 4: 64}  # bytes by code, GeoPackage 1.3 section 2.1.3
_EXPORT_FIX: Final = "Export the layer again as a GeoPackage with one layer, or as GeoJSON."


def read_geopackage(data: bytes, name: str) -> list[Feature]:
    """Read the features of the only layer of a GeoPackage from the content of the file; `name` is for messages.

    FileRefused where it is damaged or not a GeoPackage, does not have exactly one layer, or has a view for a table.
    """
    # A database in write-ahead mode cannot be opened from memory; bytes 18 and 19 switch it back (SQLite's advice).
    data = data[:18] + b"\x01\x01" + data[20:]
    connection = sqlite3.connect(":memory:")
    try:
        connection.deserialize(data)
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
        connection.set_progress_handler(lambda: 1, _STEPS)
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA query_only = ON")
        return _features(connection, name)
    except (sqlite3.Error, OverflowError, UnicodeDecodeError) as error:
        raise FileRefused("NOT_READABLE", f"{name} cannot be read as a GeoPackage: {error}", _EXPORT_FIX) from None
    finally:
        connection.close()


def _features(connection: sqlite3.Connection, name: str) -> list[Feature]:
    tables = connection.execute("SELECT name, type, sql FROM sqlite_master WHERE type IN ('table', 'view')")
    table_types = {
        table: "virtual table" if str(sql).upper().startswith("CREATE VIRTUAL") else kind for table, kind, sql in tables
    }

    def quoted(table: str) -> str:
        """Quoted name of a table; views and virtual tables are refused."""
        if table_types.get(table) != "table":
            kind = table_types.get(table, "table that does not exist")
            raise FileRefused("NOT_A_TABLE", f"{name}: {table[:80]!r} is a {kind}, not a plain table", _EXPORT_FIX)
        return '"' + table.replace('"', '""') + '"'

    contents, columns = quoted("gpkg_contents"), quoted("gpkg_geometry_columns")
    layers = [r[0] for r in connection.execute(f"SELECT table_name FROM {contents} WHERE data_type = 'features'")]
    if len(layers) != 1:
        msg = f"{name} holds {len(layers)} layers ({', '.join(str(layer)[:40] for layer in layers[:5])})"
        raise FileRefused("NOT_ONE_LAYER", msg, "Give a GeoPackage with the one layer of sites.")
    layer = quoted(str(layers[0]))
    query = f"SELECT column_name, srs_id FROM {columns} WHERE table_name = ?"
    described = connection.execute(query, (layers[0],)).fetchone()
    if described is None:
        raise FileRefused(
            "NOT_READABLE", f"{name} does not say in which column its layer has the outlines", _EXPORT_FIX
        )
    geometry_column, srs = described
    cursor = connection.execute(f"SELECT * FROM {layer} LIMIT {MAX_SITES + 1}")
    titles = [column[0] for column in cursor.description]
    rows = cursor.fetchall()
    if len(rows) > MAX_SITES:
        raise too_many("features", name)
    if geometry_column not in titles:
        raise FileRefused("NOT_READABLE", f"{name} has no column {str(geometry_column)[:40]!r}", _EXPORT_FIX)
    place = titles.index(geometry_column)
    if sum(len(row[place]) for row in rows if isinstance(row[place], bytes)) > 64 * MAX_VERTICES:
        raise too_many("vertices", name)
    key = _primary_key(connection, str(layers[0]))
    features = [
        _feature({t: v for t, v in zip(titles, row, strict=True) if t not in (geometry_column, key)}, row[place])
        for row in rows
    ]
    system = _crs(connection, quoted("gpkg_spatial_ref_sys"), srs, name)
    return systems.to_longitude_latitude(features, system, file=name)


def _primary_key(connection: sqlite3.Connection, layer: str) -> str | None:
    """Name of the integer primary key that the format adds: it is not a site id; None: there is none."""
    for name, kind, is_key in connection.execute("SELECT name, type, pk FROM pragma_table_info(?)", (layer,)):
        if is_key and "INT" in str(kind).upper() and str(name).lower() != "id":
            return str(name)
    return None


def _crs(connection: sqlite3.Connection, table: str, srs: Any, name: str) -> CRS | None:
    query = f"SELECT organization, organization_coordsys_id, definition FROM {table} WHERE srs_id = ?"
    row = connection.execute(query, (srs,)).fetchone()
    if row is None or srs in (-1, 0):
        msg = f"{name} does not say which coordinate system it is in"
        raise FileRefused("CRS_MISSING", msg, "Set the layer's CRS (QGIS: Layer > Set CRS) and export it again.")
    if str(row[0]).upper() == "EPSG":
        return systems.crs_from_name(f"EPSG:{row[1]}", file=name)
    return systems.crs_from_wkt(str(row[2]), file=name)


def _feature(properties: dict[str, Any], blob: Any) -> Feature:
    if blob is None:
        return feature_of_wkb(properties, None)
    if not isinstance(blob, bytes) or blob[:2] != b"GP" or (blob[3:4] or b"\xff")[0] >> 1 & 7 not in _ENVELOPES:
        return Feature(properties=properties, broken="has an outline that is not in GeoPackage form")
    return feature_of_wkb(properties, blob[8 + _ENVELOPES[blob[3] >> 1 & 7] :])
