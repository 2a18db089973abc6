"""Whatever people write as id, name, unit or note is inert in every file but pages, which have tests of their own."""

import csv
import io
import json
from dataclasses import replace
from xml.etree import ElementTree as ET

import geopandas as gpd
import pystac
import pytest
from shapely.geometry import box

from monitor.controls.selection import ControlSet, Unit
from monitor.publish.control_ground import control_ground
from monitor.publish.products import write_catalogue, write_plan, write_site
from monitor.series.observations import BYTE_ORDER_MARK
from tests.builders import write_index
from tests.publish.conftest import MEASURED, make_view
from tests.publish.test_control_ground import NAMES, choice
from tests.publish.test_stac import check_files, check_valid

HOSTILE = (
    "<script>alert(1)</script>", "{{7*7}}", "a\r\nBcc: all@example.org", "\u202egnp.exe", "=cmd|'/C calc'!A0",
    "../../etc/passwd", "CON", "a" * 300, "🌱", "民勤-03", "a\x00b", "]]>&<!--", "-1+1", "＝1+1",
)  # fmt: skip


@pytest.fixture(scope="module", params=HOSTILE, ids=lambda text: ascii(text)[1:24])
def hostile(request, tmp_path_factory):
    """The text, and the outputs of a programme in which people wrote it everywhere."""
    text, root = request.param, tmp_path_factory.mktemp("deep") / "outputs"
    view = make_view(alert=None)
    site = replace(
        view.site, id=text, name=text, name_zh=text, partner=text, province=text, manager_name=text,
        manager_channel=text,
    )  # fmt: skip
    units = ControlSet(
        units=tuple(Unit(id=f"{text}{n}", geometry=box(n, 0, n + 1, 1), distance=99.6, ring=1) for n in range(5)),
        balance={}, candidates=5,
    )  # fmt: skip
    assert len(NAMES) == 5
    table = view.observations.assign(scene=text, source=text, baseline=text)
    view = replace(
        view, site=site, assessment=replace(view.assessment, site=text), observations=table,
        measured=tuple(replace(row, site=text, note=text) for row in MEASURED),
        controls=control_ground(units, [unit.id for unit in units.units], choice(), {}, view.assessment.as_of),
    )  # fmt: skip
    write_site(view, root)
    since = write_plan(site, view.assessment, None, root)
    write_catalogue([(site, view.assessment)], root, since=since)
    write_index([(site, view.assessment)], [], root, view.assessment.as_of, alpha=0.05)
    return text, root


def files(root, *endings):
    found = [path for path in root.parent.rglob("*") if path.is_file() and path.suffix in endings]
    assert found
    return found


def test_files_stay_below_the_root_under_names_that_every_system_takes(hostile):
    _, root = hostile
    for path in root.parent.rglob("*"):
        assert path == root or path.is_relative_to(root)
        assert len(path.name.encode()) <= 255
        assert path.name.isprintable()
        assert path.stem.upper() not in {"CON", "PRN", "AUX", "NUL"}
        assert not set(path.name) & set('<>:"|?*\\')


def test_a_spreadsheet_runs_no_cell_of_any_table_and_reads_its_chinese(hostile):
    text, root = hostile
    tables = files(root, ".csv")
    assert {path.name for path in tables} == {"observations.csv", "field.csv"}
    for path in tables:
        content = path.read_bytes()
        assert content.startswith(BYTE_ORDER_MARK) == (not content.isascii())
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
        assert {row["site"].removeprefix("'") for row in rows} == {text}
        cells = [cell for row in rows for cell in row.values() if not _number(cell)]
        assert not [cell for cell in cells if cell[:1] in set("=+-@＝＋－＠\t\r\n")]


def test_every_json_file_says_what_was_written_and_no_more(hostile):
    text, root = hostile
    written = {path.name: json.loads(path.read_bytes()) for path in files(root, ".json")}
    assert written["plan.json"]["site"] == written["status.json"][0]["site"] == text
    assert written["item.json"]["properties"]["regrowth:site"] == text
    (path,) = files(root, ".geojson")
    named = [feature["properties"]["unit"] for feature in json.loads(path.read_bytes())["features"]]
    assert named == [f"{text}{n}" for n in range(5)]
    units = gpd.read_file(path)
    assert units["unit"].tolist() == [name.partition("\x00")[0] for name in named]  # GDAL reads no further than a NUL
    assert units.crs.to_epsg() == 4326
    assert gpd.read_parquet(root / "sites.parquet")["site"].tolist() == [text]


def test_the_catalogue_stays_valid_and_leads_to_the_site(hostile):
    _, root = hostile
    check_valid(root)
    check_files(root)
    (item,) = pystac.Catalog.from_file(str(root / "catalog.json")).get_items()
    (folder,) = (root / "sites").iterdir()
    assert item.id == folder.name
    assert item.properties["title"].isprintable()
    (scene,) = [link for link in item.links if link.rel == "derived_from"]
    assert scene.href.isascii()
    assert not set(scene.href) & set(" <>\"'{}\r\n\x00/")


def test_styles_hold_no_text_of_users(hostile):
    text, root = hostile
    for path in files(root, ".qml"):
        ET.fromstring(path.read_bytes())
        assert text not in path.read_text(encoding="utf-8") or text == "-1+1"


def test_a_gps_device_and_a_map_app_open_the_outlines(hostile):
    _, root = hostile
    (kml,), (gpx,) = files(root, ".kml"), files(root, ".gpx")
    assert not [word for path in (kml, gpx) for word in ("<script", "\u202e") if word in path.read_text("utf-8")]
    point, outline = gpd.read_file(kml)["Name"]
    assert point == "Point inside the site"
    assert outline
    assert outline.isprintable()
    tracks = gpd.read_file(gpx, layer="tracks")
    assert tracks["name"].tolist() == [outline]
    assert len(gpd.read_file(gpx, layer="waypoints")) == 1


def _number(cell):
    try:
        float(cell)
    except ValueError:
        return False
    return True
