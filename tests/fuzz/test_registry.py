"""Whatever a registry file holds, its sites are read or refused in words; nothing else is opened or crashes."""

import io
import json
import unicodedata
import zipfile

import geopandas
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import Polygon

from jobs.commands.sites import _report_json, _report_text
from monitor.sites import registry
from monitor.sites.formats.feature import FileRefused
from tests.fuzz.hostile import altered, damaged, nothing_else_touched, quickly

RING = [[104.60, 35.50], [104.61, 35.50], [104.61, 35.51], [104.60, 35.51], [104.60, 35.50]]
PROPERTIES = {
    "id": "dx-1", "name": "定西", "start": "2021-04-20", "intervention": "planting", "biome": "loess",
    "manager_email": "w@example.org", "programme_year": 2021, "slope_degrees": 12.5, "plan_A": 0.2,
    "cohorts": "2021-04-20:1", "subtype": "tree",
}  # fmt: skip
FEATURE = {"type": "Feature", "properties": PROPERTIES, "geometry": {"type": "Polygon", "coordinates": [RING]}}
OTHER = {
    "type": "Feature", "id": 7, "properties": {**PROPERTIES, "id": "dx-2"},
    "geometry": {"type": "MultiPolygon", "coordinates": [[[[x + 0.05, y] for x, y in RING]]]},
}  # fmt: skip
COLLECTION = {
    "type": "FeatureCollection", "features": [FEATURE, OTHER],
    "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}},
}  # fmt: skip
KML = """<?xml version="1.0" encoding="UTF-8"?>
<kml xmlns="http://www.opengis.net/kml/2.2"><Document><Placemark id="p1"><name>定西</name><ExtendedData><Data name="id">
<value>dx-1</value></Data><SchemaData><SimpleData name="biome">loess</SimpleData></SchemaData></ExtendedData>
<Polygon><outerBoundaryIs><LinearRing><coordinates>104.6,35.5,0 104.61,35.5,0 104.61,35.51,0 104.6,35.5,0</coordinates>
</LinearRing></outerBoundaryIs></Polygon></Placemark></Document></kml>""".encode()
corners = st.integers(0, 4).map(lambda step: 35 + step / 1000) | st.sampled_from(
    [0.0, 90.0, 180.0, 1e-300, -1e300, 104.6]
)
rings = st.lists(st.tuples(corners, corners), max_size=12)
outlines = st.one_of(
    st.lists(rings, max_size=4).map(lambda drawn: {"type": "Polygon", "coordinates": drawn}),
    st.lists(st.lists(rings, max_size=3), max_size=3).map(lambda drawn: {"type": "MultiPolygon", "coordinates": drawn}),
)


def examine(path, folder, *, processes=False):
    """Check and repair a registry as the command does; every refusal must say what to do, and say it safely."""
    with nothing_else_touched(folder, processes=processes):
        report, refused = None, None
        try:
            report = registry.read_sites(path)
        except FileRefused as error:
            refused = error
    if refused is not None:
        assert path.name in refused.message
        assert refused.fix
        assert_plain(str(refused))
    for checked in () if report is None else (report, registry.repair(report)):
        for language in ("en", "zh"):
            assert_plain(_report_text(checked, None, language))
        json.dumps(_report_json(checked), allow_nan=False).encode()
        assert all(any(problem.refuses for problem in entry.problems) for entry in checked.refused)
        assert all(problem.message and problem.fix for _, problem in checked.problems)
        assert all(site.geometry.is_valid and site.hectares > 0 for site in checked.sites)
        with nothing_else_touched(folder):
            registry.write_geojson(checked.entries, folder / "written.geojson")


def assert_plain(text):
    """No character of a message moves the cursor, changes the direction of writing, or cannot be written."""
    text.encode()
    assert not [sign for sign in text if unicodedata.category(sign) in ("Cc", "Cs") and sign != "\n"]
    assert "\u202e" not in text


@pytest.mark.parametrize("examples", [60, pytest.param(5000, marks=pytest.mark.slow)])
def test_any_member_of_a_geojson_may_be_anything(tmp_path, examples):
    path = tmp_path / "s.geojson"

    @quickly(examples)
    @given(altered(COLLECTION))
    def attack(document):
        path.write_text(json.dumps(document))
        examine(path, tmp_path)

    attack()


@pytest.mark.parametrize("examples", [60, pytest.param(5000, marks=pytest.mark.slow)])
def test_any_outline_is_an_area_or_is_refused(tmp_path, examples):
    path = tmp_path / "s.geojson"

    @quickly(examples)
    @given(outlines, outlines)
    def attack(first, second):
        features = [{**FEATURE, "geometry": first}, {**OTHER, "geometry": second}]
        path.write_text(json.dumps({**COLLECTION, "features": features}))
        examine(path, tmp_path)

    attack()


def zipped(**contents):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name.replace("_", "."), content)
    return buffer.getvalue()


@pytest.mark.parametrize("examples", [40, pytest.param(5000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("name", "content"),
    [("s.geojson", json.dumps(COLLECTION).encode()), ("s.kml", KML), ("s.kmz", zipped(doc_kml=KML))],
    ids=["geojson", "kml", "kmz"],
)
def test_a_damaged_text_or_archive_is_read_or_refused(tmp_path, name, content, examples):
    path = tmp_path / name

    @quickly(examples)
    @given(damaged(content))
    def attack(data):
        path.write_bytes(data)
        examine(path, tmp_path)

    attack()


@pytest.fixture(scope="module")
def layers(tmp_path_factory):
    """A small GeoPackage and a zipped shapefile."""
    folder = tmp_path_factory.mktemp("layers")
    columns = {name: [value] for name, value in PROPERTIES.items()}
    table = geopandas.GeoDataFrame(columns, geometry=[Polygon(RING)], crs="EPSG:4326")
    table.to_file(folder / "s.gpkg", engine="pyogrio", SPATIAL_INDEX="NO")
    table[["id", "name", "start", "geometry"]].to_file(folder / "s.shp", engine="pyogrio", encoding="GBK")
    parts = {f"s_{part.suffix[1:]}": part.read_bytes() for part in folder.glob("s.*") if part.suffix != ".gpkg"}
    return {"s.gpkg": (folder / "s.gpkg").read_bytes(), "parts": parts}


@pytest.mark.parametrize("examples", [6, pytest.param(300, marks=pytest.mark.slow)])
def test_a_damaged_geopackage_is_read_or_refused(tmp_path, layers, examples):
    path = tmp_path / "s.gpkg"

    @quickly(examples)
    @given(damaged(layers["s.gpkg"]))
    def attack(data):
        path.write_bytes(data)
        examine(path, tmp_path, processes=True)

    attack()


@pytest.mark.parametrize("examples", [6, pytest.param(300, marks=pytest.mark.slow)])
def test_a_damaged_shapefile_is_read_or_refused(tmp_path, layers, examples):
    path = tmp_path / "s.zip"

    @quickly(examples)
    @given(st.data())
    def attack(data):
        part = data.draw(st.sampled_from(sorted(layers["parts"])))
        path.write_bytes(zipped(**{**layers["parts"], part: data.draw(damaged(layers["parts"][part]))}))
        examine(path, tmp_path, processes=True)

    attack()


def test_a_start_of_nothing_but_a_change_of_writing_direction_is_missing(tmp_path):
    path = tmp_path / "sites.geojson"
    ring = [[104.6, 35.5], [104.61, 35.5], [104.61, 35.51], [104.6, 35.51], [104.6, 35.5]]
    properties = {"id": "dx-1", "name": "定西", "start": "\u202e", "intervention": "planting", "biome": "loess"}
    geometry = {"type": "Polygon", "coordinates": [ring]}
    feature = {"type": "Feature", "properties": properties, "geometry": geometry}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    (entry,) = registry.read_sites(path).refused
    assert [problem.code for problem in entry.problems if problem.refuses] == ["MISSING"]
