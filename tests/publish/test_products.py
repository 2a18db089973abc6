"""Files under the output root: whole, the same for the same input, left alone when nothing changed, inert."""

import csv
import errno
import io
import json
import math
import re
import struct
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from unittest.mock import Mock

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
import rioxarray
from affine import Affine
from odc.geo.geobox import GeoBox
from odc.geo.xr import wrap_xr

from monitor import derived, files
from monitor.cube.grid import site_grid
from monitor.publish import products
from monitor.publish.outdated import is_current, outdated_pictures, pages_code_hash
from monitor.publish.pictures import MAP_LAYERS, cog
from monitor.publish.products import write_site
from monitor.publish.programme import programme_account
from monitor.publish.programme_files import write_account
from monitor.publish.tables import sites_parquet, status_json
from monitor.series.observations import observation_lines, observations_csv
from monitor.verdict.assessment import Status, assessment_to_json
from tests.builders import write_index
from tests.publish.conftest import FACTS, make_assessment, make_programme, make_site, make_view

AS_OF = date(2021, 8, 20)


@pytest.fixture(scope="module")
def view():
    return make_view()


@pytest.fixture
def published(view, tmp_path):
    assert write_site(view, tmp_path)
    return tmp_path


def brighter(view):
    """The site has a percent more cover, and its maps show it."""
    maps = {name: values + np.float32(0.01) for name, values in view.maps.items()}
    return replace(view, assessment=replace(view.assessment, cover=view.assessment.cover + 0.01), maps=maps)


def newer(view, *, scene="another"):
    later = view.now.date + timedelta(days=5)
    return replace(view, now=replace(view.now, date=later, scene=scene, rgb=view.now.rgb[::-1].copy()))


def plain(name):
    """Name of a file without the hash that pictures have in theirs."""
    return re.sub(r"-[0-9a-f]{8}(?=\.(png|jpg)$)", "", name)


def contents(root):
    return {
        plain(str(path.relative_to(root))): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != ".made-from"
    }


def changed(root, stamps):
    """Names of the files that were written since."""
    return {plain(path.name) for path in root.rglob("*.*") if path.stat().st_mtime_ns != stamps.get(path)} - {
        ".made-from"
    }


def stamps_of(root):
    return {path: path.stat().st_mtime_ns for path in root.rglob("*.*")}


@pytest.fixture
def another_edition(monkeypatch):
    """Stands for an edit of code or words: changes the hash of a module that pages or maps import."""

    def edit(module):
        source = derived._source(module)
        read = Path.read_bytes
        monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + (b"\n1 + 1\n" if path == source else b""))
        derived.code_hash.cache_clear()
        pages_code_hash.cache_clear()

    yield edit
    monkeypatch.undo()
    derived.code_hash.cache_clear()
    pages_code_hash.cache_clear()


def test_a_site_leaves_the_files_that_were_promised(published):
    assert set(contents(published)) == {
        f"sites/ulan-03/{name}"
        for name in (
            "index.html", "index.zh.html", "observations.csv", "before.jpg", "now.jpg", "site.gpx", "site.kml",
            "ndvi.tif", "cover.tif",
            "slope.tif", "uplift.tif", "failing.tif", "ndvi.png", "cover.png", "slope.png", "uplift.png",
            "failing.png", "ndvi.qml", "cover.qml", "slope.qml", "uplift.qml", "failing.qml",
        )
    }  # fmt: skip


def test_the_same_view_gives_the_same_bytes(view, published, tmp_path_factory):
    other = tmp_path_factory.mktemp("again")
    write_site(view, other)
    assert contents(other) == contents(published)


PAGES = {"index.html", "index.zh.html"}
MAPS = {f"{name}.{kind}" for name in ("ndvi", "cover", "slope", "uplift", "failing") for kind in ("png", "tif")}


@pytest.mark.parametrize(("change", "files"), [
    (lambda v: replace(v, assessment=replace(v.assessment, theta=0.31)), PAGES),
    (lambda v: replace(v, assessment=replace(v.assessment, status=Status.LAGGING)), PAGES | MAPS),
    (lambda v: replace(v, assessment=replace(v.assessment, last_observed=AS_OF)), PAGES),
    (lambda v: replace(v, assessment=replace(v.assessment, e_failure=415.0)), PAGES),
    (lambda v: replace(v, assessment=replace(v.assessment, reasons=("LOW_UPLIFT", "DROUGHT"))), PAGES),
    (lambda v: replace(v, site=replace(v.site, name="another name")), PAGES | {"site.gpx", "site.kml"}),
    (lambda v: replace(v, site=replace(v.site, plan=replace(v.site.plan, A=0.31))), PAGES),
    (lambda v: replace(v, observations=v.observations.assign(cover=v.observations["cover"] + 0.02)),
     PAGES | {"observations.csv"}),
    (brighter, PAGES | MAPS),
    (lambda v: replace(v, assessment=replace(v.assessment, hectares_failing=5.0)), PAGES | MAPS),
    (newer, PAGES | {"now.jpg"}),
    (lambda v: replace(v, alert=None), PAGES),
    (lambda v: replace(v, notice={"en": "read this first", "zh": "请先阅读"}), PAGES),
    (lambda v: replace(v, judged_hectares=39.0), PAGES),
], ids=[
    "theta", "status", "last seen", "evidence", "reasons", "name", "plan", "season", "maps", "failing ground",
    "picture", "alert", "notice", "judged",
])  # fmt: skip
def test_what_a_reader_would_see_change_is_written_again_and_no_more(view, published, change, files):
    stamps, new = stamps_of(published), change(view)
    assert write_site(new, published)
    assert changed(published, stamps) <= files
    write_site(new, reference := published.parent / "reference")
    assert {
        name: content for name, content in contents(published).items() if not name.endswith((".tif", ".png", ".jpg"))
    } == {name: content for name, content in contents(reference).items() if not name.endswith((".tif", ".png", ".jpg"))}
    assert not write_site(new, published)


@pytest.mark.parametrize("change", [
    lambda v: replace(v, assessment=replace(v.assessment, theta=v.assessment.theta + 0.001)),
    lambda v: replace(v, assessment=replace(v.assessment, e_failure=v.assessment.e_failure + 0.1)),
    lambda v: replace(v, assessment=replace(v.assessment, as_of=AS_OF + timedelta(days=9))),
    lambda v: replace(v, maps={name: values + np.float32(0.001) for name, values in v.maps.items()}),
    lambda v: replace(v, judged_hectares=v.judged_hectares + 0.01),
], ids=["theta", "evidence", "day", "a map by less than a percent", "judged"])  # fmt: skip
def test_what_no_reader_would_see_is_not_written(view, published, change):
    stamps = stamps_of(published)
    assert not write_site(change(view), published)
    assert changed(published, stamps) == set()


def test_a_rejected_scene_goes_into_the_table_of_scenes_and_leaves_the_page_alone(view, published):
    row = view.observations.iloc[-1:].assign(accepted=False, reason="CLOUD", date=pd.Timestamp("2021-08-19"))
    stamps = stamps_of(published)
    assert write_site(replace(view, observations=pd.concat([view.observations, row])), published)
    assert changed(published, stamps) == {"observations.csv"}
    table = pd.read_csv(published / "sites/ulan-03/observations.csv")
    assert (len(table), table["reason"].iloc[-1]) == (len(view.observations) + 1, "CLOUD")


@pytest.mark.parametrize("module", ["monitor.verdict.reasons", "monitor.verdict.explain", "monitor.alerts.words"])
def test_an_edit_of_the_words_of_reasons_and_explanations_makes_every_page_again(
    view, published, another_edition, module
):
    """Defect 1 of the review of 2026-11: after a rewording of a reason, pages in place stayed as they were."""
    made = (published / "sites/ulan-03/.made-from").read_bytes()
    (published / "sites/ulan-03/.made-from").write_bytes(made.replace(b'"inputs":""', b'"inputs":"known"'))
    (published / "sites/ulan-03/index.html").write_text("as it was before")
    assert not write_site(view, published)
    another_edition(module)
    assert write_site(view, published)
    assert (published / "sites/ulan-03/index.html").read_text(encoding="utf-8") != "as it was before"


def test_an_edit_of_the_constants_of_bands_makes_every_map_again(view, published, another_edition):
    """Defect 2 of the review of 2026-11: after a change of the bandpass, maps in place stayed as they were."""
    maps = {path for path in (published / "sites/ulan-03").iterdir() if plain(path.name) in MAPS}
    for path in maps:
        path.write_bytes(b"as it was before")
    assert not outdated_pictures(view, published)
    another_edition("monitor.imagery.bands")
    assert outdated_pictures(view, published) == {"before", "now", *view.maps}
    assert write_site(view, published)
    assert len(maps) == len(MAPS)
    assert b"as it was before" not in {path.read_bytes() for path in maps}


def test_a_site_is_written_again_when_something_more_is_known(view, published):
    for name, known in FACTS.items():
        assert write_site(replace(view, **{name: known}), published), name


def test_only_outdated_maps_and_pictures_are_drawn_and_needed(view, published, monkeypatch):
    drawn = [Mock(side_effect=getattr(products, name)) for name in ("photograph", "cog", "map_png")]
    for name, draw in zip(("photograph", "cog", "map_png"), drawn, strict=True):
        monkeypatch.setattr(products, name, draw)
    now = newer(view)
    assert outdated_pictures(view, published) == set()
    assert outdated_pictures(now, published) == {"before", "now"}, "they are cut alike"
    missing = replace(now, maps=dict.fromkeys(view.maps))
    assert write_site(missing, published)
    assert [draw.call_count for draw in drawn] == [2, 0, 0]
    assert outdated_pictures(brighter(now), published) == {*view.maps}
    undrawn = {"before": replace(now.before, rgb=None), "now": replace(now.now, rgb=None)}
    assert write_site(replace(brighter(now), **undrawn), published)
    assert [draw.call_count for draw in drawn] == [2, 5, 5]
    write_site(brighter(now), reference := published.parent / "reference")
    assert contents(published) == contents(reference)


def test_what_a_run_that_died_has_drawn_is_drawn_again_though_its_page_was_not_written(view, published, monkeypatch):
    old = contents(published)
    write_atomically = products.write_atomically

    def dies(path, content):
        if path.suffix == ".html":
            msg = "killed"
            raise KeyboardInterrupt(msg)
        write_atomically(path, content)

    monkeypatch.setattr(products, "write_atomically", dies)
    with pytest.raises(KeyboardInterrupt):
        write_site(newer(view), published)
    monkeypatch.setattr(products, "write_atomically", write_atomically)
    assert len([*published.rglob("now-*.jpg")]) == 2
    assert write_site(view, published)
    assert contents(published) == old


@pytest.mark.parametrize("torn", [b"", b"{", b'{"inputs":"","page":', b"[]", b'{"inputs":1}'])
def test_a_torn_mark_of_what_files_were_made_from_has_all_of_them_made_again(view, published, torn):
    old = contents(published)
    for path in published.rglob("*.*"):
        path.write_bytes(torn)
    assert not is_current(view.site.id, published, "")
    assert write_site(view, published)
    assert contents(published) == old
    assert is_current(view.site.id, published, "")


def test_files_are_current_only_for_the_inputs_that_they_were_made_from_and_while_all_are_there(view, tmp_path):
    assert not is_current(view.site.id, tmp_path, "tonight")
    write_site(view, tmp_path, "tonight")
    assert is_current(view.site.id, tmp_path, "tonight")
    assert not is_current(view.site.id, tmp_path, "tomorrow")
    assert not write_site(view, tmp_path, "tomorrow")
    assert is_current(view.site.id, tmp_path, "tomorrow")
    for path in [path for path in tmp_path.rglob("*.*") if path.name != ".made-from"]:
        path.unlink()
        assert not is_current(view.site.id, tmp_path, "tomorrow"), path
        assert write_site(view, tmp_path, "tomorrow"), path
        assert is_current(view.site.id, tmp_path, "tomorrow"), path


def test_a_name_of_any_length_leaves_an_unchanged_site_alone(view, tmp_path):
    named = replace(view, site=replace(view.site, name="绿" * 3000))
    assert write_site(named, tmp_path)
    assert not write_site(named, tmp_path)


def test_a_map_that_is_no_longer_reported_is_removed(view, tmp_path):
    write_site(view, tmp_path)
    folder = tmp_path / "sites" / "ulan-03"
    old = (folder / "failing.tif").read_bytes()
    maps = {name: values for name, values in view.maps.items() if name != "failing"}
    less = replace(view, maps=maps, judged_hectares=None)
    assert write_site(less, tmp_path)
    assert not list(folder.glob("failing.*"))
    assert "failing.png" not in (folder / "index.html").read_text(encoding="utf-8")
    (folder / "failing.tif").write_bytes(old)  # a run was killed before it took it away
    assert write_site(less, tmp_path)
    assert not list(folder.glob("failing.*"))
    assert not write_site(less, tmp_path)


@pytest.fixture(scope="module")
def replacement(view, tmp_path_factory):
    """Another verdict, series and pictures of the site, as a run that nothing disturbs writes them."""
    changed = newer(replace(brighter(view), observations=view.observations[:-1]))
    write_site(changed, root := tmp_path_factory.mktemp("reference"))
    return changed, root


@pytest.mark.parametrize("step", [0, 3, 8, 12, 13])
def test_a_run_that_dies_leaves_every_page_with_its_own_pictures_and_the_next_one_finishes(
    view, published, replacement, monkeypatch, step
):
    changed, reference = replacement
    old, folder, new = contents(published), published / "sites/ulan-03", contents(reference)
    shown = {page: pictures_of(folder / page) for page in PAGES}
    calls = iter(range(100))
    move = files.os.replace

    def dies(source, target):
        if next(calls) == step:
            raise OSError(errno.ENOSPC, "No space left on device")
        move(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", dies)
        with pytest.raises(OSError, match="No space left"):
            write_site(changed, published)
    assert not (folder / ".made-from").exists(), "files may be newer than it says"
    for page in PAGES:
        is_old = (folder / page).read_bytes() == old[f"sites/ulan-03/{page}"]
        assert is_old or (folder / page).read_bytes() == new[f"sites/ulan-03/{page}"]
        assert pictures_of(folder / page) == (
            shown[page] if is_old else pictures_of(reference / "sites/ulan-03" / page)
        )
    assert write_site(changed, published)
    assert contents(published) == new
    assert {path.name for path in folder.iterdir()} == {path.name for path in (reference / "sites/ulan-03").iterdir()}


def pictures_of(page):
    """Content of the pictures on a page, by file name."""
    names = re.findall(r'<image href="([^"]+)"', page.read_text(encoding="utf-8"))
    assert names
    return {name: (page.parent / name).read_bytes() for name in names}


def test_maps_are_cloud_optimised_and_lie_where_the_site_lies(view, published):
    for name in ("ndvi", "cover", "slope", "uplift"):
        with rasterio.open(published / f"sites/ulan-03/{name}.tif") as file:
            assert (len(list(file.block_windows(1))), file.profile["tiled"], file.overviews(1)) == (1, True, [])
            assert file.crs.to_epsg() == 32648  # 106.9 E
            assert file.transform == site_grid(view.site.geometry).affine
            assert file.dtypes == ("float32",)
            assert math.isnan(file.nodata)
            assert file.descriptions == (name,)
            assert file.tags()["units"] == ("1/year" if name == "slope" else "1")
            np.testing.assert_array_equal(file.read(1), view.maps[name])


@pytest.mark.parametrize("layer", MAP_LAYERS, ids=lambda layer: layer.name)
@pytest.mark.parametrize("shape", [(1, 1), (37, 20), (512, 512)])
def test_the_directory_of_a_small_map_is_read_at_its_start_and_all_tags_lie_before_the_pixels(layer, shape):
    """What GDAL's validate_cloud_optimized_geotiff and rio-cogeo ask of an image without overviews."""
    grid = GeoBox(shape, Affine(10, 0, 300_000, 0, -10, 4_400_000), "EPSG:32648")
    values = wrap_xr(np.full(shape, np.nan, np.float32), grid)
    content = cog(values, layer, {"SITE": "盐池-07 <b>&", "PERIOD": "2021-05-01/2021-08-20"})
    assert struct.unpack_from("<4sIH", content)[:2] == (b"II*\0", 8)
    (entries,) = struct.unpack_from("<H", content, 8)
    tags = [*struct.iter_unpack("<HHII", content[10 : 10 + 12 * entries])]
    assert struct.unpack_from("<I", content, 10 + 12 * entries) == (0,), "no directory after the first"
    ((count, pixels),) = [(count, value) for tag, _, count, value in tags if tag == 324]  # offsets of tiles
    size = {1: 1, 2: 1, 3: 2, 4: 4, 12: 8}  # byte, text, short, long, double
    ends = [value + count * size[kind] for _, kind, count, value in tags if count * size[kind] > 4]
    assert (count, max(ends) <= pixels < len(content)) == (1, True)


def test_a_large_map_has_blocks_and_overviews_and_opens_with_its_mask(tmp_path):
    grid = GeoBox((900, 1300), Affine(10, 0, 300_000, 0, -10, 4_400_000), "EPSG:32648")
    values = wrap_xr(np.linspace(-0.3, 0.3, 900 * 1300, dtype=np.float32).reshape(900, 1300), grid)
    values[:400] = np.nan
    (layer,) = [layer for layer in MAP_LAYERS if layer.name == "uplift"]
    (tmp_path / "uplift.tif").write_bytes(cog(values, layer, {"SITE": "a"}))
    with rasterio.open(tmp_path / "uplift.tif") as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert (file.block_shapes, file.overviews(1)) == ([(512, 512)], [2, 4])
    opened = rioxarray.open_rasterio(tmp_path / "uplift.tif", masked=True).squeeze("band")
    assert (opened.rio.crs.to_epsg(), opened.rio.transform()) == (32648, grid.affine)
    assert (opened.attrs["long_name"], str(opened.attrs["units"]), opened.attrs["SITE"]) == ("uplift", "1", "a")
    np.testing.assert_array_equal(opened, values)
    (tmp_path / "uplift.tif").write_bytes(cog(values, layer, {"SITE": "a"}, values / 10))
    with rasterio.open(tmp_path / "uplift.tif") as file:
        assert (file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"], file.descriptions) == ("COG", ("uplift", "uplift_se"))
        np.testing.assert_array_equal(file.read(1), values)
        np.testing.assert_array_equal(file.read(2), values / 10)


@pytest.mark.parametrize(("name", "period"), [
    ("ndvi", "2021-05-01/2021-08-20"), ("cover", "2021-05-01/2021-08-20"), ("uplift", "2021-05-01/2021-08-20"),
    ("slope", "2015-05-01/2021-08-20"), ("failing", "2017-04-01/2021-08-02"), ("loss", "2021-07-08/2021-07-18"),
])  # fmt: skip
def test_a_map_states_its_site_period_verdict_and_version(view, tmp_path, name, period):
    lost = {"loss_after": date(2021, 7, 8), "loss_on": date(2021, 7, 18)}
    judged = replace(view.assessment, hectares_failing_on=date(2021, 8, 2), code_version="0.1.0", **lost)
    maps = {**view.maps, "loss": view.maps["failing"]}
    site = replace(view.site, id="盐池-07 <b>&")
    write_site(replace(view, site=site, assessment=replace(judged, site=site.id), maps=maps), tmp_path)
    (path,) = tmp_path.rglob(f"{name}.tif")
    with rasterio.open(path) as file:
        tags = {tag: value for tag, value in file.tags().items() if tag.isupper() and tag != "AREA_OR_POINT"}
    assert tags == {"SITE": "盐池-07 <b>&", "PERIOD": period, "AS_OF": "2021-08-20", "VERSION": "0.1.0"}


def test_the_series_keeps_every_scene_and_the_true_reason_of_the_rejected(view, published):
    table = pd.read_csv(published / "sites/ulan-03/observations.csv", keep_default_na=True)
    assert list(table) == [
        "site", "date", "scene", "source", "baseline", "clear_fraction", "n_pixels", "ndvi", "cover", "control_ndvi",
        "control_cover", "accepted", "reason", "control_2", "second_index", "control_second_index", "reference_cover",
    ]  # fmt: skip
    assert table.accepted.dtype == bool
    assert len(table) == len(view.observations)
    assert set(table.reason[~table.accepted]) == {"CLOUD", "SNOW"}
    assert table.reason[table.accepted].isna().all()
    np.testing.assert_allclose(table.ndvi, view.observations.ndvi, atol=5e-7)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1+1", "＠SUM(A1)"])
def test_a_spreadsheet_runs_nothing_from_the_series(view, text):
    table = view.observations.head(2).assign(scene=text, site=text, reason=text, baseline=text)
    rows = list(csv.DictReader(table_csv(table).decode("utf-8-sig").splitlines(keepends=True)))
    assert all(row[name].startswith("'") for row in rows for name in ("scene", "site", "reason", "baseline"))


def table_csv(table):
    return observations_csv(table["site"].iloc[0], [line.encode() for line in observation_lines(table)])


@pytest.mark.parametrize("text", ["a,b", 'say "so"', "two\nlines", "a\rb", " a ", "", "é中"])
def test_text_is_read_back_from_the_series_as_it_was(view, text):
    table = view.observations.head(2).assign(scene=text, reason=text)
    rows = list(csv.DictReader(io.StringIO(table_csv(table).decode("utf-8-sig"), newline="")))
    assert [(row["scene"], row["reason"]) for row in rows] == [(text, text)] * 2


def test_values_that_round_to_zero_have_no_minus_and_unseen_ones_are_empty(view):
    table = view.observations.head(4).assign(ndvi=[-4e-7, -6e-7, np.nan, 0.1234567])
    rows = list(csv.DictReader(table_csv(table).decode("utf-8-sig").splitlines()))
    assert [row["ndvi"] for row in rows] == ["0.000000", "-0.000001", "", "0.123457"]


def test_status_json_has_null_where_there_is_no_number():
    nothing = dict.fromkeys(("theta", "theta_low", "theta_high", "uplift", "uplift_low", "uplift_high", "cover"))
    a = make_assessment("b", status=Status.INSUFFICIENT_DATA, last_observed=None, e_failure=math.inf, **nothing)
    b = make_assessment("a", theta=np.float64("nan"), expected=np.float32(0.25), reasons=("FEW_SCENES", "DROUGHT"))

    def never(constant):
        raise AssertionError(constant)

    rows = json.loads(status_json([a, b]), parse_constant=never)
    assert [row["site"] for row in rows] == ["a", "b"]
    assert rows[0]["theta"] is None
    assert rows[0]["expected"] == 0.25
    assert rows[0]["reasons"] == ["FEW_SCENES", "DROUGHT"]
    assert rows[1]["e_failure"] is None
    assert rows[1]["last_observed"] is None
    assert rows[1]["as_of"] == "2021-08-20"
    assert rows[1]["status"] == "insufficient_data"


def test_the_table_of_sites_opens_as_geoparquet_with_the_verdicts(tmp_path):
    rows = make_programme(20)
    write_index(rows, [], tmp_path, rows[0][1].as_of, alpha=0.05)
    table = gpd.read_parquet(tmp_path / "sites.parquet")
    assert table.crs.to_epsg() == 4326
    assert table.site.is_monotonic_increasing
    assert table.site.tolist() == [site.id for site, _ in rows]
    assert table.geometry.tolist() == [site.geometry for site, _ in rows]
    assert table.theta.dtype == "float64"
    np.testing.assert_array_equal(table.theta.isna(), [a.theta is None for _, a in rows])
    assert table.status.tolist() == [a.status.value for _, a in rows]
    assert {"plan_A", "reasons", "hectares_failing", "as_of", "last_observed"} <= set(table)


def test_readers_of_the_table_of_sites_skip_those_elsewhere(tmp_path):
    (tmp_path / "sites.parquet").write_bytes(sites_parquet(make_programme(20)))
    about = json.loads(pq.read_schema(tmp_path / "sites.parquet").metadata[b"geo"])
    assert about["version"] == "1.1.0"
    assert about["columns"]["geometry"]["covering"]["bbox"]["xmin"] == ["bbox", "xmin"]
    table = gpd.read_parquet(tmp_path / "sites.parquet")
    west, south, east, north = table.geometry.iloc[3].bounds
    near = gpd.read_parquet(tmp_path / "sites.parquet", bbox=(west, south, east, north))
    assert near["site"].tolist() == [table["site"].iloc[3]]
    stored = pq.read_table(tmp_path / "sites.parquet")["bbox"].to_pylist()
    assert stored[3] == {"xmin": west, "ymin": south, "xmax": east, "ymax": north}


def test_tables_of_programmes_with_and_without_a_value_in_a_column_can_be_put_together():
    def table(rows):
        return pq.read_table(io.BytesIO(sites_parquet(rows)))

    rows = make_programme(20)
    texts = {"subtype": "shrub", "partner": "a", "province": "Gansu", "programme_year": 2024}
    grades = {"erosion_grade": "slight", "alert_rule": "erosion", "hectares_failing": 1.5}
    filled = [(replace(site, **texts), replace(found, **grades)) for site, found in rows]
    empty = [
        (
            replace(site, **dict.fromkeys(texts)),
            replace(found, **dict.fromkeys((*grades, "theta", "last_observed", "loss_on"))),
        )
        for site, found in rows
    ]
    tables = [table(one) for one in (filled, empty, [])]
    assert tables[0].schema.remove_metadata() == tables[1].schema.remove_metadata()
    assert tables[0].schema.remove_metadata() == tables[2].schema.remove_metadata()
    together = pa.concat_tables([one.replace_schema_metadata(None) for one in tables])
    assert together["erosion_grade"].to_pylist() == ["slight"] * 20 + [None] * 20
    assert together["theta"].to_pylist()[20:] == [None] * 20
    types = {name: str(together.schema.field(name).type) for name in together.column_names}
    assert "null" not in types.values()
    assert (types["theta"], types["n_scenes"], types["loss_on"]) == ("double", "int64", "date32[day]")


def test_an_unchanged_index_is_left_alone_and_a_dying_run_leaves_it_whole(tmp_path, monkeypatch):
    rows = make_programme(5)
    day = rows[0][1].as_of
    write_index(rows, [], tmp_path, day, alpha=0.05)
    old = contents(tmp_path)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    write_index(rows[::-1], [], tmp_path, day, alpha=0.05)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == stamps

    def full(_source, _target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_index(make_programme(6), [], tmp_path, day, alpha=0.05)
    assert contents(tmp_path) == old


def test_an_empty_programme_has_an_index(tmp_path):
    write_index([], [], tmp_path, make_assessment().as_of, alpha=0.05)
    assert json.loads((tmp_path / "status.json").read_text()) == []
    assert gpd.read_parquet(tmp_path / "sites.parquet").empty
    assert "No site has been assessed yet" in (tmp_path / "index.html").read_text()


def test_the_manager_of_a_site_is_in_no_published_file(tmp_path):
    secrets = {"manager_name": "Wang Fang", "manager_email": "fang@example.org", "manager_channel": "room-7"}
    site, a = make_site(**secrets), make_assessment()
    write_site(make_view(site=site, assessment=a), tmp_path)
    products.write_plan(site, a, None, tmp_path, promises=())
    products.write_catalogue([(site, a)], tmp_path, since=None)
    write_index([(site, a)], [], tmp_path, AS_OF, alpha=0.05)
    write_account(
        programme_account([site], {site.id: assessment_to_json(a)}, pledge=100.0, alpha=0.05), tmp_path, as_of=AS_OF
    )
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"item.json", "plan.json", "site.kml", "sites.js", "programme.csv"} <= {path.name for path in files}
    table = pd.read_parquet(tmp_path / "sites.parquet").drop(columns="geometry").to_csv()
    content = table.encode() + b"".join(path.read_bytes() for path in files)
    assert [secret for secret in secrets.values() if secret.encode() in content] == []
