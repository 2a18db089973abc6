"""The catalogue: valid STAC that opens offline, with the right checksums, and inert whatever the names are."""

import json
import shutil
from dataclasses import replace
from datetime import date, timedelta
from hashlib import sha256

import numpy as np
import odc.stac
import pystac
import pytest
import rasterio
import shapely
from pystac.extensions.file import FileExtension
from pystac.extensions.projection import ProjectionExtension
from pystac.validation.local_validator import LocalValidator

from monitor.publish import products
from monitor.publish.products import PLAN, write_catalogue, write_plan, write_site
from monitor.publish.stac import ITEM
from monitor.verdict.assessment import Status
from tests.builders import write_index
from tests.publish.conftest import bare, make_view

NOTICE = {"en": "Demonstration: the fates are injected.", "zh": "演示：结局是人为设定的。"}


def publish(view, root, *, notice=None):
    """What a publish does for one site, and the catalogue."""
    write_site(view, root)
    since = write_plan(view.site, view.assessment, None, root, notice=notice)
    write_catalogue([(view.site, view.assessment)], root, since=since, notice=notice)
    return root


def items_in(root):
    return [json.loads(path.read_bytes()) for path in sorted(root.glob(f"sites/*/{ITEM}"))]


def check_files(root):
    """Every asset is a file with the stated size and checksum, and all files that are published are assets."""
    for path in root.glob(f"sites/*/{ITEM}"):
        item = pystac.Item.from_file(str(path))
        for asset in item.assets.values():
            content = (path.parent / asset.href).read_bytes()
            stated = FileExtension.ext(asset)
            assert (stated.size, stated.checksum) == (len(content), f"1220{sha256(content).hexdigest()}"), asset.href
        published = {file.name for file in path.parent.iterdir() if file.is_file() and not file.name.startswith(".")}
        assert {asset.href.removeprefix("./") for asset in item.assets.values()} == published - {ITEM}


def check_valid(root):
    """The documents are valid by the schemas of STAC 1.1, which pystac has; those of the extensions it has not."""
    with pytest.warns(DeprecationWarning, match="LocalValidator|deprecated"):
        validator = LocalValidator()
    catalogue = json.loads((root / "catalog.json").read_bytes())
    assert not list(validator.catalog_validator().iter_errors(catalogue))
    for item in items_in(root):
        assert not list(validator.item_validator().iter_errors(item))


@pytest.fixture(scope="module")
def view():
    view = make_view()
    return replace(view, maps={**view.maps, "uplift_se": view.maps["uplift"] / 10})


@pytest.fixture(scope="module")
def published(view, tmp_path_factory):
    return publish(view, tmp_path_factory.mktemp("published"))


def test_the_catalogue_is_valid_and_leads_to_every_site_by_relative_addresses(published, view):
    check_valid(published)
    catalogue = pystac.Catalog.from_file(str(published / "catalog.json"))
    (item,) = catalogue.get_items()
    assert (item.id, item.get_root(), item.get_parent()) == ("ulan-03", catalogue, catalogue)
    assert shapely.geometry.shape(item.geometry).equals(view.site.geometry)
    assert item.bbox == list(view.site.geometry.bounds)
    hrefs = [link["href"] for document in [*items_in(published), json.loads((published / "catalog.json").read_bytes())]
             for link in document["links"]]  # fmt: skip
    assert not [href for href in hrefs if href.startswith(("/", "http", "file"))]
    assert catalogue.extra_fields["extent"]["spatial"]["bbox"] == [list(view.site.geometry.bounds)]
    assert catalogue.extra_fields["extent"]["temporal"]["interval"] == [
        ["2021-05-01T00:00:00Z", "2021-08-20T23:59:59Z"]
    ]


def test_an_item_states_the_season_that_its_maps_show_and_the_grid(published, view):
    (path,) = published.glob(f"sites/*/{ITEM}")
    item = pystac.Item.from_file(str(path))
    assert item.datetime is None
    assert (item.properties["start_datetime"], item.properties["end_datetime"]) == (
        "2021-05-01T00:00:00Z", "2021-08-20T23:59:59Z",
    )  # fmt: skip
    assert item.assets["slope"].extra_fields["start_datetime"] == "2015-05-01T00:00:00Z"
    stated = ProjectionExtension.ext(item)
    with rasterio.open(path.parent / "uplift.tif") as file:
        assert (stated.code, tuple(stated.shape), stated.transform) == (
            str(file.crs), file.shape, list(file.transform)[:6],
        )  # fmt: skip
        assert tuple(stated.bbox) == tuple(file.bounds)
        band, error = item.assets["uplift"].extra_fields["bands"]
        values = file.read(1)
        assert (band["name"], error["name"]) == file.descriptions == ("uplift", "uplift_se")
        assert error["statistics"]["mean"] == pytest.approx(np.nanmean(file.read(2)), abs=1e-6)
    assert (band["data_type"], band["nodata"], band["unit"]) == ("float32", "nan", "1")
    assert band["statistics"]["mean"] == pytest.approx(np.nanmean(values), abs=1e-6)
    assert band["statistics"]["valid_percent"] == pytest.approx(100 * np.isfinite(values).mean(), abs=0.01)


def test_assets_are_called_by_what_they_are_and_one_is_the_thumbnail(published):
    (item,) = items_in(published)
    layers = ("ndvi", "cover", "slope", "uplift", "failing")
    assert set(layers) < item["assets"].keys()
    assert {"before.jpg", "now.jpg", "uplift.qml", "observations.csv", "plan.json", "index.html"} < item[
        "assets"
    ].keys()
    assert [key for key, asset in item["assets"].items() if "thumbnail" in asset["roles"]] == ["now.jpg"]
    assert {asset["href"]: asset["type"] for asset in item["assets"].values() if "octet-stream" in asset["type"]} == {}
    assert not [key for key, asset in item["assets"].items() if not asset.get("title")]


@pytest.mark.filterwarnings("ignore:The 'shapely.ops.transform:DeprecationWarning")  # odc-geo 0.5.3
@pytest.mark.parametrize("name", ["ndvi", "cover", "slope", "uplift", "failing"])
def test_odc_stac_loads_the_numbers_of_each_map(published, view, name):
    (item,) = pystac.Catalog.from_file(str(published / "catalog.json")).get_items()
    loaded = odc.stac.load([item], bands=[name])
    assert loaded.odc.geobox == view.grid
    np.testing.assert_array_equal(loaded[name].isel(time=0), view.maps[name])


def test_an_item_names_the_accepted_scenes_of_the_season_that_its_maps_show(published, view):
    table = view.observations
    season = table[table["accepted"] & (table["date"] >= "2021-05-01") & (table["date"] <= "2021-08-20")]
    (item,) = items_in(published)
    derived = [link for link in item["links"] if link["rel"] == "derived_from"]
    assert len(derived) > 3
    assert [link["title"] for link in derived] == season["scene"].tolist()
    assert [link["href"] for link in derived] == [f"urn:scene:sample:{scene}" for scene in season["scene"]]


def test_scenes_are_those_that_the_maps_in_place_show(view, tmp_path):
    publish(view, tmp_path)
    (before,) = items_in(tmp_path)
    fewer = replace(view, observations=view.observations[:-3], maps=dict.fromkeys(view.maps))  # nothing is drawn
    publish(fewer, tmp_path)
    (item,) = items_in(tmp_path)
    assert [link for link in item["links"]] == before["links"]
    check_files(tmp_path)


def test_a_demonstration_says_so_in_every_document(view, tmp_path):
    publish(view, tmp_path, notice=NOTICE)
    (item,) = items_in(tmp_path)
    catalogue = json.loads((tmp_path / "catalog.json").read_bytes())
    assert item["properties"]["description"].startswith(NOTICE["en"])
    assert catalogue["description"].startswith(NOTICE["en"])


def test_a_night_that_changes_nothing_writes_no_file_and_a_new_day_of_the_verdict_alone_leaves_checksums_right(
    view, tmp_path
):
    def stamps(pattern="*.*"):
        return {path: path.stat().st_mtime_ns for path in tmp_path.rglob(pattern)}

    publish(view, tmp_path)
    check_files(tmp_path)
    before = stamps("*")
    publish(view, tmp_path)
    assert stamps("*") == before
    tomorrow = replace(view.assessment, as_of=view.assessment.as_of + timedelta(days=1))
    publish(replace(view, assessment=tomorrow), tmp_path)
    assert {path.name for path, stamp in stamps().items() if stamp != before.get(path)} == {PLAN, ITEM, "catalog.json"}
    check_files(tmp_path)


def test_checksums_are_right_after_a_night_with_another_series_and_verdict(view, tmp_path):
    publish(view, tmp_path)
    assessment = replace(view.assessment, theta=0.31, status=Status.LAGGING)
    publish(replace(view, observations=view.observations[:-1], assessment=assessment, alert=None), tmp_path)
    check_files(tmp_path)
    check_valid(tmp_path)
    (item,) = items_in(tmp_path)
    assert item["properties"]["regrowth:status"] == "lagging"


def test_a_publish_that_is_killed_between_any_two_files_is_put_right_by_the_next(view, tmp_path, monkeypatch):
    changed = replace(
        view, observations=view.observations[:-1], alert=None,
        maps={name: values + np.float32(0.01) for name, values in view.maps.items()},
        assessment=replace(view.assessment, theta=0.31, status=Status.LAGGING, as_of=date(2021, 8, 21)),
    )  # fmt: skip
    write, calls = products.write_atomically, 0
    publish(view, before := tmp_path / "before")
    publish(changed, reference := tmp_path / "reference")
    for step in range(60):
        root, left = tmp_path / str(step), iter(range(step))
        shutil.copytree(before, root)

        def dies(path, content, left=left):
            if next(left, None) is None:
                raise KeyboardInterrupt
            write(path, content)

        with monkeypatch.context() as patch:
            patch.setattr(products, "write_atomically", dies)
            try:
                publish(changed, root)
                break
            except KeyboardInterrupt:
                calls += 1
        publish(changed, root)
        check_files(root)
        same = {path.relative_to(root): path.read_bytes() for path in root.rglob("*.*") if path.is_file()}
        assert same == {
            path.relative_to(reference): path.read_bytes() for path in reference.rglob("*.*") if path.is_file()
        }
    assert calls == 16  # 5 maps with their pictures, 1 table, 2 pages, plan, item, catalogue


def test_a_site_without_scenes_has_its_pages_and_an_item_without_rasters(view, tmp_path):
    publish(nothing := bare(view), tmp_path)
    check_valid(tmp_path)
    check_files(tmp_path)
    (item,) = pystac.Catalog.from_file(str(tmp_path / "catalog.json")).get_items()
    assert item.datetime.date() == nothing.assessment.as_of
    assert set(item.assets) == {
        "index.html", "index.zh.html", "observations.csv", "plan.json", "site.gpx", "site.kml",
    }  # fmt: skip
    assert not [link for link in item.links if link.rel == "derived_from"]
    write_index([(view.site, nothing.assessment)], [], tmp_path, nothing.assessment.as_of, alpha=0.05)
