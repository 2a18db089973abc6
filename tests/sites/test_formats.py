"""Formats that people deliver, and malicious files: each is read right or refused in words."""

import io
import json
import os
import re
import sqlite3
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import geopandas
import numpy as np
import pyogrio
import pytest
import shapely
from shapely.geometry import MultiPolygon, Point, Polygon

from monitor.sites.formats import reader, shapefile
from monitor.sites.formats.feature import FileRefused
from monitor.sites.formats.reader import read_features
from monitor.sites.formats.wkb import feature_of_wkb

RING = [[104.60, 35.50], [104.61, 35.50], [104.61, 35.51], [104.60, 35.51], [104.60, 35.50]]
COORDINATES = " ".join(f"{x},{y},0" for x, y in RING)
KML = f"""<?xml version="1.0" encoding="UTF-8"?>
<kml xmlns="http://www.opengis.net/kml/2.2"><Document><Folder><Placemark id="p1"><name>定西 1 号</name>
<ExtendedData><Data name="id"><value>dx-1</value></Data>
<SchemaData schemaUrl="#s"><SimpleData name="biome">loess</SimpleData>
</SchemaData></ExtendedData><MultiGeometry><Polygon><outerBoundaryIs><LinearRing><coordinates>
{COORDINATES}
</coordinates></LinearRing></outerBoundaryIs></Polygon></MultiGeometry></Placemark></Folder></Document></kml>"""


def collection(*, crs: object = None, properties: object = None, ring: object = RING) -> str:
    geometry = {"type": "Polygon", "coordinates": [ring]}
    feature = {"type": "Feature", "properties": properties or {"id": "dx-1"}, "geometry": geometry}
    return json.dumps({"type": "FeatureCollection", "features": [feature]} | ({"crs": crs} if crs else {}))


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refusal(path: Path) -> FileRefused:
    with pytest.raises(FileRefused) as caught:
        read_features(path)
    assert caught.value.message
    assert caught.value.fix.endswith(".")
    return caught.value


def layer(crs: str = "EPSG:4326", **columns: object) -> geopandas.GeoDataFrame:
    table = {"id": ["dx-1"], "name": ["定西一号"]} | columns
    return geopandas.GeoDataFrame(table, geometry=[Polygon(RING)], crs="EPSG:4326").to_crs(crs)


def shapefile_parts(
    folder: Path, crs: str = "EPSG:4326", encoding: str = "UTF-8", **columns: object
) -> dict[str, bytes]:
    pyogrio.write_dataframe(layer(crs, **columns), folder / "made.shp", encoding=encoding)
    return {part.suffix: part.read_bytes() for part in folder.glob("made.*")}


def zipped_shapefile(folder: Path, parts: dict[str, bytes]) -> Path:
    return write(folder, "s.zip", zipped({f"s{suffix}": content for suffix, content in parts.items()}))


def zipped(entries: dict[str, bytes | str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting a process for each of the small files here would take a minute; test_formats_apart.py does."""
    monkeypatch.setattr(reader, "_read_apart", lambda read, content, name, **_load: read(content, name))


# What people deliver.


def test_a_folder_is_named_as_a_folder(tmp_path):
    refused = refusal(tmp_path)
    assert (refused.code, str(tmp_path) + " is a folder" in str(refused)) == ("NOT_A_FILE", True)


def test_geojson_keeps_rings_as_they_were_drawn(tmp_path):
    open_ring = RING[:-1]
    (feature,) = read_features(write(tmp_path, "s.geojson", collection(ring=open_ring)))
    assert feature.properties == {"id": "dx-1"}
    np.testing.assert_array_equal(feature.polygons[0][0], open_ring)


def test_a_byte_order_mark_and_heights_do_not_matter(tmp_path):
    text = "\ufeff" + collection(ring=[[x, y, 1900.0] for x, y in RING])
    (feature,) = read_features(write(tmp_path, "s.geojson", text))
    np.testing.assert_array_equal(feature.polygons[0][0], RING)


def test_the_id_of_a_geojson_feature_serves_where_no_property_does(tmp_path):
    document = json.loads(collection(properties={"name": "n"}))
    document["features"][0]["id"] = "甘-7"
    (feature,) = read_features(write(tmp_path, "s.geojson", json.dumps(document)))
    assert feature.properties["id"] == "甘-7"


def test_projected_coordinates_are_brought_to_longitude_and_latitude_where_the_file_says_so(tmp_path):
    zone_37 = "EPSG:4525"  # CGCS2000, 3-degree zone 37 with the zone in the easting
    ring = np.column_stack(layer(zone_37).geometry.iloc[0].exterior.xy).tolist()
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::4525"}}
    (feature,) = read_features(write(tmp_path, "s.geojson", collection(ring=ring, crs=crs)))
    np.testing.assert_allclose(feature.polygons[0][0], RING, atol=2e-9)


@pytest.mark.parametrize(
    "name", ["urn:ogc:def:crs:OGC:1.3:CRS84", "EPSG:4326", "urn:ogc:def:crs:EPSG::4490", "OGC:CRS84"]
)
def test_names_of_longitude_and_latitude_leave_coordinates_alone(tmp_path, name):
    crs = {"type": "name", "properties": {"name": name}}
    (feature,) = read_features(write(tmp_path, "s.geojson", collection(crs=crs)))
    np.testing.assert_array_equal(feature.polygons[0][0], RING)


def test_points_and_lines_are_named_for_what_they_are(tmp_path):
    document = json.loads(collection())
    document["features"][0]["geometry"] = {"type": "Point", "coordinates": [104.6, 35.5]}
    (feature,) = read_features(write(tmp_path, "s.geojson", json.dumps(document)))
    assert not feature.polygons
    assert feature.broken == "is a Point, not a polygon"


@pytest.mark.parametrize(
    "ring",
    [
        [["a", "b"]] * 4, [[1]] * 4, [1, 2, 3, 4], "text", [None] * 4, [{"x": 1}] * 4, [[10**400, 1]] * 4, 7,
        [[[1, 2]]], [["104.6", "35.5"]] * 4,
    ],
)  # fmt: skip
def test_invalid_coordinates_break_one_feature_and_not_the_file(tmp_path, ring):
    (feature,) = read_features(write(tmp_path, "s.geojson", collection(ring=ring)))
    assert feature.broken == "has coordinates that are not pairs of numbers"


def test_kml_takes_id_and_columns_from_its_extended_data(tmp_path):
    (feature,) = read_features(write(tmp_path, "s.kml", KML))
    assert feature.properties == {"id": "dx-1", "name": "定西 1 号", "biome": "loess"}
    np.testing.assert_array_equal(feature.polygons[0][0], RING)


def test_kml_in_gbk_is_read_as_it_says(tmp_path):
    text = KML.replace('encoding="UTF-8"', 'encoding="GB2312"').encode("gbk")
    (feature,) = read_features(write(tmp_path, "s.kml", text))
    assert feature.properties["name"] == "定西 1 号"


def test_holes_of_a_kml_polygon_come_after_its_outer_ring(tmp_path):
    hole = "<innerBoundaryIs><LinearRing><coordinates>104.602,35.502 104.604,35.502 104.604,35.504 104.602,35.502"
    text = KML.replace("</Polygon>", hole + "</coordinates></LinearRing></innerBoundaryIs></Polygon>")
    (feature,) = read_features(write(tmp_path, "s.kml", text))
    assert [len(ring) for ring in feature.polygons[0]] == [5, 4]


def test_kmz_is_its_document(tmp_path):
    path = write(tmp_path, "s.kmz", zipped({"doc.kml": KML, "files/legend.kml": "<kml/>", "files/a.png": b"x"}))
    (feature,) = read_features(path)
    assert feature.properties["id"] == "dx-1"


def test_geopackage_is_read_and_reprojected(tmp_path):
    path = tmp_path / "s.gpkg"
    layer("EPSG:32648").to_file(path, engine="pyogrio")
    before = path.read_bytes()
    (feature,) = read_features(path)
    assert feature.properties == {"id": "dx-1", "name": "定西一号"}
    np.testing.assert_allclose(feature.polygons[0][0], RING, atol=2e-9)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["s.gpkg"]  # nothing is written beside it


def test_shapefile_with_chinese_text_in_gbk_and_no_word_about_it(tmp_path):
    parts = shapefile_parts(tmp_path, encoding="GBK")
    assert "定西一号".encode("gbk") in parts[".dbf"]
    for suffix in (".shp", ".shx", ".dbf", ".prj"):
        write(tmp_path, "s" + suffix, parts[suffix])
    (feature,) = read_features(tmp_path / "s.shp")
    assert feature.properties == {"id": "dx-1", "name": "定西一号"}


@pytest.mark.parametrize("encoding", ["UTF-8", "GBK"])
def test_shapefile_text_follows_the_code_page_file(tmp_path, encoding):
    parts = shapefile_parts(tmp_path, encoding=encoding)
    path = write(tmp_path, "s.zip", zipped({f"地块/s{suffix}": content for suffix, content in parts.items()}))
    (feature,) = read_features(path)
    assert feature.properties["name"] == "定西一号"
    np.testing.assert_allclose(sorted(feature.polygons[0][0].tolist()), sorted(RING), atol=1e-9)


def test_dates_and_empty_cells_of_a_shapefile_become_plain_values(tmp_path):
    columns = [np.array(["2021-04-20"], "datetime64[D]"), np.array([np.nan]), np.array([2024])]
    pyogrio.raw.write(
        tmp_path / "s.shp", geometry=np.array([Polygon(RING).wkb]), field_data=columns,
        fields=np.array(["start", "plan_A", "programme_"]), geometry_type="Polygon", crs="EPSG:4326",
    )  # fmt: skip
    (feature,) = read_features(tmp_path / "s.shp")
    assert feature.properties == {"start": "2021-04-20", "plan_A": None, "programme_": 2024}


def test_shapefile_without_prj_asks_for_the_coordinate_system(tmp_path):
    parts = shapefile_parts(tmp_path)
    del parts[".prj"]
    error = refusal(zipped_shapefile(tmp_path, parts))
    assert error.code == "CRS_MISSING"
    assert "coordinate system is unknown" in error.message


@pytest.mark.parametrize("missing", [".shx", ".dbf"])
def test_shapefile_without_a_part_names_it(tmp_path, missing):
    parts = shapefile_parts(tmp_path)
    del parts[missing]
    error = refusal(zipped_shapefile(tmp_path, parts))
    assert error.code == "PART_MISSING"
    assert missing in error.message


@pytest.mark.parametrize("crs", ["EPSG:2334", "EPSG:4610", "EPSG:4214"])  # Xian 1980 in zones, Xian 1980, Beijing 1954
def test_old_chinese_datums_are_not_guessed_at(tmp_path, crs):
    named = {"type": "name", "properties": {"name": crs}}
    assert refusal(write(tmp_path, "s.geojson", collection(crs=named))).code == "CRS_OLD_DATUM"


def test_the_programme_shapefile_with_wrong_winding_is_read(shared_data):
    (feature,) = read_features(shared_data / "terramatch" / "test-shapefile.zip")
    assert feature.winding_wrong
    assert feature.properties["poly_nam"] == "254-21"
    assert [len(polygon[0]) for polygon in feature.polygons] == [16, 16, 11]


def test_the_wildfire_geopackage_lies_where_the_fire_was(shared_data):
    (feature,) = read_features(shared_data / "bc06_wildfire" / "wildfire_516.gpkg")
    assert feature.properties["rest_start"] == 2006
    np.testing.assert_allclose(feature.polygons[0][0].mean(axis=0), [-123.10, 53.85], atol=0.02)


# Paths that are no file, and files that are not what their name says.


@pytest.mark.parametrize(
    "path",
    [
        "/vsicurl/http://127.0.0.1/s.geojson", "http://127.0.0.1/s.geojson", "https:/x/s.geojson", "PG:dbname=x",
        "GeoJSON:/etc/passwd", "<VRTDataset/>", "/vsizip/s.zip",
    ],
)  # fmt: skip
def test_addresses_and_driver_names_are_not_files(path):
    assert refusal(Path(path)).code == "NOT_A_FILE"


@pytest.mark.parametrize("path", ["/dev/null", "/dev/zero", "/"])
def test_devices_and_folders_are_not_files(path):
    assert refusal(Path(path)).code in ("NOT_A_FILE", "FILE_UNREADABLE")


def test_a_pipe_that_nobody_writes_to_does_not_hold_anything_up(tmp_path):
    os.mkfifo(tmp_path / "s.geojson")
    assert refusal(tmp_path / "s.geojson").code == "NOT_A_FILE"


def test_a_missing_file_and_an_empty_one_are_distinguished(tmp_path):
    assert refusal(tmp_path / "none.geojson").code == "FILE_MISSING"
    assert refusal(Path("a\0b.geojson")).code == "FILE_UNREADABLE"
    assert refusal(write(tmp_path, "s.geojson", " \n")).code == "EMPTY"
    assert refusal(write(tmp_path, "t.geojson", '{"type": "FeatureCollection", "features": []}')).code == "EMPTY"


SOURCE = '<OGRVRTLayer name="a"><SrcDataSource>http://127.0.0.1/x</SrcDataSource></OGRVRTLayer>'
HOSTILE = {
    "vrt": f"<OGRVRTDataSource>{SOURCE}</OGRVRTDataSource>",
    "mrf": "<MRF_META><Raster><Size x='1' y='1'/></Raster></MRF_META>",
    "wms": "<GDAL_WMS><Service name='WMS'><ServerUrl>http://127.0.0.1/</ServerUrl></Service></GDAL_WMS>",
    "gdalg": '{"type": "gdal_streamed_alg", "command_line": "gdal vector read /etc/passwd"}',
    "gml": "<gml:FeatureCollection xmlns:gml='http://www.opengis.net/gml'/>",
    "url": "URL=http://127.0.0.1/x",
    "topojson": '{"type": "Topology", "objects": {}}',
    "array": "[" * 100_000,
}


@pytest.mark.parametrize("suffix", [".geojson", ".kml", ".shp", ".gpkg", ".zip", ".tif"])
@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_gdal_would_open_by_content_never_reaches_it(tmp_path, monkeypatch, content, suffix):
    def opened(*_args: object, **_kwargs: object) -> None:
        pytest.fail("a reader of that format was given it")

    monkeypatch.setattr(reader, "_read_apart", opened)
    error = refusal(write(tmp_path, f"s{suffix}", content))
    assert error.code in ("NOT_A_REGISTRY", "NOT_WHAT_IT_SAYS")
    assert [p.name for p in tmp_path.iterdir()] == [f"s{suffix}"]


@pytest.mark.parametrize("suffix", [".geojson", ".kml", ".vrt", ".tif"])
@pytest.mark.parametrize(
    ("content", "first"),
    [
        (HOSTILE["vrt"], "OGRVRTDataSource"), (HOSTILE["gml"], "FeatureCollection"),
        ("<?xml version='1.0'?><!-- <kml> it is not --><VRTDataset rasterXSize='1'/>", "VRTDataset"),
    ],
)  # fmt: skip
def test_xml_that_is_not_kml_is_named_by_its_first_element(tmp_path, content, first, suffix):
    error = refusal(write(tmp_path, f"s{suffix}", content))
    assert error.code == "NOT_A_REGISTRY"
    assert f"is XML, but not KML: its first element is '{first}'" in str(error)


def test_a_geojson_under_another_name_is_recognised(tmp_path):
    error = refusal(write(tmp_path, "s.shp", collection()))
    assert error.code == "NOT_WHAT_IT_SAYS"
    assert ".geojson" in error.fix


@pytest.mark.parametrize(
    "crs",
    [
        {"type": "link", "properties": {"href": "http://127.0.0.1/crs", "type": "ogcwkt"}},
        {"type": "name", "properties": {"name": "http://127.0.0.1/crs"}},
        {"type": "name", "properties": {"name": "+proj=longlat +nadgrids=/etc/passwd"}},
        {"type": "name", "properties": {"name": "GCJ-02"}}, {"type": "name", "properties": {"name": "EPSG:999999"}},
        {"type": "EPSG", "properties": {"code": 4326}}, "EPSG:4326",
    ],
)  # fmt: skip
def test_coordinate_systems_are_never_looked_up_elsewhere(tmp_path, crs):
    assert refusal(write(tmp_path, "s.geojson", collection(crs=crs))).code in ("CRS_LINK", "CRS_UNKNOWN")


@pytest.mark.parametrize(
    "wkt",
    [
        'GEOGCS["a",DATUM["b",SPHEROID["c",6378137,298],EXTENSION["PROJ4_GRIDS","/etc/passwd"]],PRIMEM["d",0],UNIT["e",0.0174]]',
        'PROJCS["x",GEOGCS["a",DATUM["b",SPHEROID["c",6378137,298]],PRIMEM["d",0],UNIT["e",0.0174]],UNIT["m",1],'
        'PROJECTION["Mercator_1SP"],EXTENSION["PROJ4","+proj=merc +nadgrids=/etc/passwd"]]',
        "nonsense",
    ],
)  # fmt: skip
def test_a_prj_that_names_other_files_is_refused(tmp_path, wkt):
    parts = shapefile_parts(tmp_path) | {".prj": wkt.encode()}
    assert refusal(zipped_shapefile(tmp_path, parts)).code == "CRS_UNKNOWN"


@pytest.mark.parametrize("content", ['{"type": ', "{'type': 1}", '{"a": ' + "9" * 5000 + "}", "{} {}"])
def test_what_is_not_json_is_refused_with_the_place(tmp_path, content):
    assert refusal(write(tmp_path, "s.geojson", content)).code in ("NOT_READABLE", "NOT_A_REGISTRY")


def test_geojson_in_gbk_asks_for_utf8(tmp_path):
    text = collection().replace("dx-1", "定西").encode("gbk")
    assert refusal(write(tmp_path, "s.geojson", text)).code == "NOT_UTF8"


# Malicious KML.

DOCTYPES = {
    "dtd": '<!DOCTYPE kml SYSTEM "http://127.0.0.1/evil.dtd">',
    "entity": '<!DOCTYPE kml [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    "laughs": '<!DOCTYPE kml [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>',
    "parameter": '<!DOCTYPE kml [<!ENTITY % p SYSTEM "http://127.0.0.1/p"> %p;]>',
}


@pytest.mark.parametrize("doctype", DOCTYPES.values(), ids=DOCTYPES.keys())
@pytest.mark.parametrize("packed", [False, True], ids=["kml", "kmz"])
def test_a_kml_with_a_document_type_is_refused(tmp_path, doctype, packed):
    text = KML.replace("<kml ", doctype + "<kml ", 1).replace("定西 1 号", "&x;&b;")
    path = write(tmp_path, "s.kmz", zipped({"doc.kml": text})) if packed else write(tmp_path, "s.kml", text)
    assert refusal(path).code == "XML_DOCTYPE"
    assert path.name in refusal(path).message


REFUSED_KML = {
    "no kml": b"<gpx/>", "cut": KML.encode()[:300], "doctype": b"<!DOCTYPE a><kml/>", "deep": b"<kml>" + b"<a>" * 100,
    "latin": b'<?xml version="1.0" encoding="latin-1"?><kml/>', "no text": b"<kml>\xff</kml>", "no sites": b"<kml/>",
    "entity": b"<kml>&a;</kml>", "vertices": b"<kml>" + b"1,2 " * 900_000 + b"</kml>",
}  # fmt: skip


@pytest.mark.parametrize("content", REFUSED_KML.values(), ids=REFUSED_KML)
@pytest.mark.parametrize("packed", [False, True], ids=["kml", "kmz"])
def test_every_refusal_of_a_kml_names_the_file(tmp_path, content, packed):
    name = "works.kmz" if packed else "works.kml"
    path = write(tmp_path, name, zipped({"doc.kml": content}) if packed else content)
    assert refusal(path).message.startswith(name)


def test_a_document_type_cannot_hide_in_another_encoding(tmp_path):
    text = KML.replace("<kml ", DOCTYPES["entity"] + "<kml ", 1)
    assert refusal(write(tmp_path, "a.kml", text.replace("UTF-8", "UTF-16").encode("utf-16"))).code == "NOT_A_REGISTRY"
    assert refusal(write(tmp_path, "b.kml", text.replace("UTF-8", "UTF-7"))).code == "NOT_UTF8"


def test_html_in_a_description_is_not_taken_for_a_document_type(tmp_path):
    text = KML.replace("</name>", "</name><description><![CDATA[<!DOCTYPE html><b>x</b>]]></description>")
    assert read_features(write(tmp_path, "s.kml", text))[0].properties["id"] == "dx-1"


def test_an_entity_that_was_never_declared_is_not_xml(tmp_path):
    assert refusal(write(tmp_path, "s.kml", KML.replace("定西 1 号", "&x;"))).code == "NOT_READABLE"


# Malicious archives.


@pytest.mark.parametrize("name", ["../doc.kml", "/doc.kml", "a/../../doc.kml", "..\\doc.kml", "C:/doc.kml"])
def test_names_that_lead_out_of_an_archive_are_refused(tmp_path, name):
    path = write(tmp_path, "s.kmz", zipped({"doc.kml": KML, name: KML}))
    assert refusal(path).code == "ARCHIVE_UNSAFE"


def test_a_link_in_an_archive_is_refused(tmp_path):
    link = zipfile.ZipInfo("doc.kml")
    link.create_system = 3
    link.external_attr = 0o120777 << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert refusal(write(tmp_path, "s.kmz", buffer.getvalue())).code == "ARCHIVE_UNSAFE"


def test_a_zip_bomb_is_refused_before_it_bursts(tmp_path):
    path = write(tmp_path, "s.kmz", zipped({"doc.kml": b"<kml>" + b" " * 60_000_000 + b"</kml>"}))
    assert path.stat().st_size < 100_000
    assert refusal(path).code == "TOO_BIG"


def test_a_bomb_that_lies_about_its_size_is_refused_too(tmp_path):
    data = zipped({"doc.kml": b" " * 60_000_000})
    path = write(tmp_path, "s.kmz", data.replace(struct.pack("<I", 60_000_000), struct.pack("<I", 1000)))
    assert refusal(path).code in ("TOO_BIG", "NOT_READABLE")


def test_an_archive_of_thousands_of_files_is_refused(tmp_path):
    path = write(tmp_path, "s.zip", zipped({f"{i}.txt": "" for i in range(1001)}))
    assert refusal(path).code == "ARCHIVE_UNSAFE"


def test_an_encrypted_or_damaged_archive_is_refused(tmp_path):
    data = bytearray(zipped({"doc.kml": KML}))
    assert refusal(write(tmp_path, "cut.kmz", bytes(data[: len(data) // 2]))).code == "NOT_READABLE"
    data[data.index(b"PK\x01\x02") + 8] |= 1
    assert refusal(write(tmp_path, "locked.kmz", bytes(data))).code == "ARCHIVE_UNSAFE"


@pytest.mark.parametrize("place", [2**63 - 1, 2**63, 2**64 - 1])
def test_a_member_at_a_place_beyond_all_memory_is_damage(tmp_path, place):
    data = bytearray(zipped({"doc.kml": KML}))
    entry, end = data.find(b"PK\x01\x02"), data.rfind(b"PK\x05\x06")
    beyond = struct.pack("<HHQ", 1, 8, place)  # ZIP64: where the member begins
    data[entry + 30 : entry + 32] = struct.pack("<H", len(beyond))
    data[entry + 42 : entry + 46] = b"\xff" * 4
    data[end + 12 : end + 16] = struct.pack("<I", end - entry + len(beyond))
    data[end:end] = beyond
    assert refusal(write(tmp_path, "s.kmz", bytes(data))).code == "NOT_READABLE"


def test_an_archive_with_two_layers_or_none_asks_for_one(tmp_path):
    assert refusal(write(tmp_path, "none.zip", zipped({"readme.txt": "x"}))).code == "NOT_ONE_LAYER"
    assert refusal(write(tmp_path, "two.zip", zipped({"a.shp": "x", "b.shp": "x"}))).code == "NOT_ONE_LAYER"


def test_a_link_beside_a_shapefile_is_followed_only_to_a_plain_file(tmp_path):
    parts = shapefile_parts(tmp_path)
    for suffix in (".shp", ".shx", ".dbf"):
        write(tmp_path, "s" + suffix, parts[suffix])
    (tmp_path / "s.prj").symlink_to("/dev/zero")
    assert refusal(tmp_path / "s.shp").code == "NOT_A_FILE"


# Malicious GeoPackages.


def geopackage(folder: Path, *statements: str) -> Path:
    path = folder / "s.gpkg"
    layer().to_file(path, layer="sites", engine="pyogrio")
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
    return path


ENDLESS = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS fid, '' AS geom, 'a' AS id FROM n"
)
POINT_AT = "UPDATE gpkg_contents SET table_name = '{0}'"
ALTERED = {
    "a view as the layer": ((f"CREATE VIEW v AS {ENDLESS}", POINT_AT.format("v")), "NOT_A_TABLE", "view"),
    "a view as the list of layers": (
        ("DROP TABLE gpkg_contents",
         f"CREATE VIEW gpkg_contents AS SELECT 'features' AS data_type, id AS table_name FROM ({ENDLESS})"),
        "NOT_A_TABLE", "",
    ),
    "a virtual table": (("CREATE VIRTUAL TABLE vt USING fts5(id)", POINT_AT.format("vt")), "NOT_A_TABLE", ""),
    "no coordinate system": (("UPDATE gpkg_geometry_columns SET srs_id = -1",), "CRS_MISSING", ""),
}  # fmt: skip


@pytest.mark.parametrize(("statements", "code", "word"), ALTERED.values(), ids=ALTERED)
def test_a_geopackage_that_is_not_one_table_in_a_known_system_is_refused_and_no_view_is_run(
    tmp_path, statements, code, word
):
    error = refusal(geopackage(tmp_path, "PRAGMA foreign_keys = OFF", *statements))
    assert (error.code, word in error.message) == (code, True)


def test_two_layers_are_refused_by_name(tmp_path):
    path = geopackage(tmp_path)
    layer().to_file(path, layer="roads", engine="pyogrio")
    error = refusal(path)
    assert error.code == "NOT_ONE_LAYER"
    assert "roads" in error.message


def test_a_geopackage_open_elsewhere_is_not_half_read(tmp_path):
    path = geopackage(tmp_path)
    write(tmp_path, "s.gpkg-wal", "changes")
    assert refusal(path).code == "FILE_OPEN"


def test_a_geopackage_left_in_write_ahead_mode_is_read(tmp_path):
    path = geopackage(tmp_path)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE t (a)")
    connection.close()
    assert path.read_bytes()[18:20] == b"\x02\x02"
    assert read_features(path)[0].properties["id"] == "dx-1"


def test_a_database_that_is_not_a_geopackage_and_a_broken_one_are_refused(tmp_path):
    with sqlite3.connect(tmp_path / "plain.gpkg") as connection:
        connection.execute("CREATE TABLE t (a)")
    connection.close()
    assert refusal(tmp_path / "plain.gpkg").code == "NOT_A_TABLE"
    data = geopackage(tmp_path).read_bytes()
    assert refusal(write(tmp_path, "cut.gpkg", data[:5000])).code == "NOT_READABLE"


def test_a_geopackage_whose_error_cannot_be_decoded_is_refused(tmp_path):
    data = geopackage(tmp_path).read_bytes()
    data = data.replace(b"CREATE TABLE gpkg_contents", b"CREATE TABL\xcc gpkg_contents")
    assert refusal(write(tmp_path, "t.gpkg", data)).code in ("NOT_READABLE", "NOT_A_TABLE")


def test_a_damaged_outline_in_a_geopackage_breaks_one_feature_and_not_the_file(tmp_path):
    path = tmp_path / "s.gpkg"
    table = geopandas.GeoDataFrame({"id": ["a", "b"]}, geometry=[Polygon(RING)] * 2, crs="EPSG:4326")
    table.to_file(path, layer="sites", engine="pyogrio", SPATIAL_INDEX="NO")
    with sqlite3.connect(path) as connection:
        connection.executescript("DROP TRIGGER IF EXISTS rtree_sites_geom_update")
        connection.execute("UPDATE sites SET geom = x'4750000000000000FF00' WHERE id = 'a'")
    connection.close()
    first, second = read_features(path)
    assert first.broken
    assert len(second.polygons[0][0]) == 5


def test_an_unclosed_ring_in_a_geopackage_is_seen(tmp_path):
    path = geopackage(tmp_path)
    wkb = struct.pack("<BIII", 1, 3, 1, 4) + struct.pack("<8d", 104, 35, 105, 35, 105, 36, 104, 36)
    with sqlite3.connect(path) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f'DROP TRIGGER "{name}"')
        connection.execute("UPDATE sites SET geom = ?", (b"GP\x00\x01" + struct.pack("<i", 4326) + wkb,))
    connection.close()
    assert read_features(path)[0].unclosed


NESTED = {
    "multipolygon": struct.pack("<BII", 1, 6, 1) * 200_000,
    "collection": struct.pack(">BII", 0, 7, 1) * 200_000,
    "multisurface": struct.pack("<BII", 1, 12, 1) * 200_000,
    "with heights": struct.pack("<BII", 1, 1006, 1) * 200_000,
    "below a polygon": struct.pack("<BII", 1, 6, 2)
    + Polygon(RING).wkb
    + struct.pack("<BIII", 1, 0x20000006, 4326, 1) * 200_000,
    "no byte order": struct.pack("<BII", 1, 6, 1) + struct.pack("<BII", 9, 7, 1) * 200_000,
}


def test_outlines_nested_in_one_another_a_hundred_thousand_deep_are_refused_and_end_no_process(tmp_path):
    path = tmp_path / "s.gpkg"
    names = [*NESTED, "sound"]
    table = geopandas.GeoDataFrame({"id": names}, geometry=[Polygon(RING)] * len(names), crs="EPSG:4326")
    table.to_file(path, layer="sites", engine="pyogrio", SPATIAL_INDEX="NO")
    with sqlite3.connect(path) as connection:
        for name, wkb in NESTED.items():
            blob = b"GP\x00\x01" + struct.pack("<i", 4326) + wkb
            connection.execute("UPDATE sites SET geom = ? WHERE id = ?", (blob, name))
    connection.close()
    # Apart, since a process that reads them without care is ended by the system.
    command = [sys.executable, "-m", "jobs.cli", "sites", "check", str(path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 65, done.stderr
    messages = {
        site["site"]: " ".join(one["message"] for one in site["problems"]) for site in json.loads(done.stdout)["sites"]
    }
    assert set(messages) == set(names)
    for name in NESTED:
        assert re.search("nested in it|not a polygon|cannot be read", messages[name]), name
    assert not re.search("nested in it|not a polygon|cannot be read", messages["sound"])


@pytest.mark.parametrize("flavor", ["iso", "extended"])
@pytest.mark.parametrize("order", [0, 1])
def test_polygons_with_height_in_either_byte_order_and_form_are_read_as_they_are(flavor, order):
    hole = [(104.2, 35.2), (104.3, 35.2), (104.3, 35.3), (104.2, 35.2)]
    flat = MultiPolygon([Polygon(RING, [hole]), Polygon([(x + 2, y) for x, y in RING])])
    for outline in (flat, shapely.force_3d(flat, 1500.0), flat.geoms[0]):
        sent = shapely.to_wkb(outline, flavor=flavor, byte_order=order)
        found = feature_of_wkb({}, sent)
        assert (found.broken, found.unclosed) == ("", False)
        again = MultiPolygon([Polygon(shell, holes) for shell, *holes in found.polygons])
        assert again.equals_exact(flat if outline.geom_type == "MultiPolygon" else MultiPolygon([outline]), 0.0)


# Shapefiles that are damaged.


@pytest.mark.parametrize("suffix", [".shp", ".shx", ".dbf"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_shapefile_cut_short_is_refused_or_read_with_the_feature_broken(tmp_path, suffix, share):
    parts = shapefile_parts(tmp_path)
    parts[suffix] = parts[suffix][: int(len(parts[suffix]) * share)]
    path = zipped_shapefile(tmp_path, parts)
    try:
        (feature,) = read_features(path)
    except FileRefused as error:
        outcome = error.code
    else:
        whole = not feature.broken and feature.properties == {"id": "dx-1", "name": "定西一号"}
        outcome = "read as if whole" if whole else "broken feature"
    assert outcome in ("NOT_READABLE", "PART_MISSING", "EMPTY", "broken feature")


def test_a_shapefile_of_points_is_named_so(tmp_path):
    points = geopandas.GeoDataFrame({"id": ["a"]}, geometry=[Point(104.6, 35.5)], crs="EPSG:4326")
    pyogrio.write_dataframe(points, tmp_path / "s.shp")
    assert refusal(tmp_path / "s.shp").code == "NOT_POLYGONS"


def test_gbk_and_utf8_are_distinguished_by_the_text_itself():
    def dbf(text: bytes) -> dict[str, bytes]:
        return {".dbf": bytes(8) + struct.pack("<H", 10) + text}

    assert shapefile.text_encoding(dbf("甘肃".encode("gbk"))) == "gb18030"
    assert shapefile.text_encoding(dbf("甘肃".encode())) == "utf-8"
    assert shapefile.text_encoding(dbf(b"\xff\xff") | {".cpg": b"936"}) == "gb18030"
    assert shapefile.text_encoding(dbf("甘肃".encode()) | {".cpg": b"no such page"}) == "utf-8"
    assert shapefile.text_encoding(dbf("甘肃".encode()) | {".cpg": b"hex"}) == "utf-8"  # not an encoding of text
    assert shapefile.text_encoding(dbf("甘肃".encode() * 20 + "省".encode()[:2])) == "utf-8"


def test_a_name_cut_within_a_character_loses_that_character_and_nothing_else(tmp_path):
    parts = shapefile_parts(tmp_path, encoding="GBK")
    cut = parts[".dbf"].replace("定西一号".encode("gbk"), "定西一".encode("gbk") + "号".encode("gbk")[:1] + b" ")
    (feature,) = read_features(zipped_shapefile(tmp_path, parts | {".dbf": cut}))
    assert feature.properties["name"] == "定西一"


# Attacks on size: refused in under a second, before anything is built from them.

FEATURE = json.loads(collection())["features"][0]
PLACEMARK = "<Placemark><Polygon><outerBoundaryIs/></Polygon></Placemark>"
HEAD, TAIL = '{"type":"FeatureCollection","features":[', "]}"
ATTACKS = {
    "two million vertices": (
        "s.geojson",
        lambda: collection(ring=[]).replace("[[]]", "[[" + ",".join(["[104.61,35.5]"] * 2_000_000) + "]]"),
        "TOO_MANY_VERTICES",
    ),
    "just too many vertices": ("s.geojson", lambda: collection(ring=RING * 40_001), "TOO_MANY_VERTICES"),
    "100 thousand features": (
        "s.geojson", lambda: HEAD + ",".join([json.dumps(FEATURE)] * 100_000) + TAIL, "TOO_MANY_SITES",
    ),
    "features under an escaped name": (
        "s.geojson", lambda: HEAD + ",".join(['{"a":{},"b":{}}'] * 100_000) + TAIL, "TOO_MANY_SITES",
    ),
    "just too many features": (
        "s.geojson", lambda: HEAD + ",".join([json.dumps(FEATURE)] * 10_001) + TAIL, "TOO_MANY_SITES",
    ),
    "three million keys": (
        "s.geojson", lambda: "{" + ",".join(f'"k{i}":1' for i in range(3_000_000)) + "}", "TOO_BIG",
    ),
    "arrays 100 thousand deep": ("s.geojson", lambda: '{"a":' + "[" * 100_000 + "]" * 100_000 + "}", "TOO_DEEP"),
    "objects 100 thousand deep": ("s.geojson", lambda: '{"a":' * 100_000 + "1" + "}" * 100_000, "TOO_DEEP"),
    "51 MB": ("s.geojson", lambda: "{" + " " * 51_000_000, "TOO_BIG"),
    "kml, two million vertices": (
        "s.kml", lambda: KML.replace(COORDINATES, "104.61,35.5 " * 2_000_000), "TOO_MANY_VERTICES",
    ),
    "kml, 100 thousand placemarks": ("s.kml", lambda: "<kml>" + PLACEMARK * 100_000 + "</kml>", "TOO_MANY_SITES"),
    "kml, 100 thousand deep": ("s.kml", lambda: "<kml>" + "<a>" * 100_000, "TOO_DEEP"),
    "kml, placemarks in placemarks": ("s.kml", lambda: "<kml>" + "<Placemark>" * 9000, "TOO_DEEP"),
    "kml, two million elements": ("s.kml", lambda: "<kml>" + "<a/>" * 2_000_000 + "</kml>", "TOO_BIG"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "code"), ATTACKS.values(), ids=ATTACKS.keys())
def test_attacks_on_size_end_in_under_a_second(tmp_path, cpu_seconds, name, content, code):
    path = write(tmp_path, name, content())
    with cpu_seconds(at_most=1.0):
        assert refusal(path).code == code


def test_a_geopackage_with_too_many_sites_or_vertices_is_refused_in_under_a_second(tmp_path, cpu_seconds):
    many = geopandas.GeoDataFrame({"id": np.arange(10_001)}, geometry=[Polygon(RING)] * 10_001, crs="EPSG:4326")
    many.to_file(tmp_path / "a.gpkg", engine="pyogrio")
    angle = np.linspace(0, 2 * np.pi, 2_000_000)
    round_site = Polygon(np.column_stack((104 + 0.1 * np.cos(angle), 35 + 0.1 * np.sin(angle))))
    large = geopandas.GeoDataFrame({"id": ["a"]}, geometry=[round_site], crs="EPSG:4326")
    large.to_file(tmp_path / "b.gpkg", engine="pyogrio")
    for name, code in (("a.gpkg", "TOO_MANY_SITES"), ("b.gpkg", "TOO_MANY_VERTICES")):
        with cpu_seconds(at_most=1.0):
            assert refusal(tmp_path / name).code == code


def test_a_shapefile_with_too_many_sites_or_vertices_is_refused_by_its_head(tmp_path, cpu_seconds):
    parts = shapefile_parts(tmp_path)
    sites = parts | {".shx": parts[".shx"] + bytes(8 * 100_000)}
    vertices = parts | {".shp": parts[".shp"] + bytes(16 * 2_000_000)}
    for changed, code in ((sites, "TOO_MANY_SITES"), (vertices, "TOO_MANY_VERTICES")):
        path = zipped_shapefile(tmp_path, changed)
        with cpu_seconds(at_most=1.0):
            assert refusal(path).code == code


def test_a_registry_at_its_limits_is_read(tmp_path):
    path = write(tmp_path, "s.geojson", HEAD + ",".join([json.dumps(FEATURE)] * 10_000) + TAIL)
    assert len(read_features(path)) == 10_000
    path = write(tmp_path, "t.geojson", collection(ring=RING * 40_000))
    assert len(read_features(path)[0].polygons[0][0]) == 200_000
