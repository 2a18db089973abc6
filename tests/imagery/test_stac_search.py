"""What a catalogue offers: every scene once, whatever kind it is, however it pages, and whatever is wrong with it."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from operator import attrgetter
from types import SimpleNamespace
from unittest.mock import Mock
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from shapely.geometry import box

from monitor.cover.observe import needs_bandpass
from monitor.cube.overpass import overpasses
from monitor.errors import BadConfiguration, SceneRejected, TryLater
from monitor.imagery.addresses import AllowList
from monitor.imagery.fetch_errors import FetchRefused, NotFound
from monitor.imagery.stac import api_io, asset_reader, items
from monitor.imagery.stac.assets import SceneAssets
from monitor.imagery.stac.catalogue import NEEDS_ACCOUNT
from monitor.imagery.stac.source import Stac
from monitor.imagery.transport import BLOCKED_FOR, Fetcher
from tests.builders import write_features
from tests.loopback.stac import Clock, StacServer

AREA = box(102.0, 36.0, 102.2, 36.2)
YEAR = (date(2020, 1, 1), date(2020, 12, 31))


def an_item(day=3, **change):
    """An item without files."""
    name = f"S2A_MSIL2A_202001{day:02d}T035141_N0213_R104_T48SUF_202001{day:02d}T064512"
    item = {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "collection": "sentinel-2-l2a", "links": [],
        "geometry": {"type": "Polygon", "coordinates": [[[102, 36], [103, 36], [103, 37], [102, 37], [102, 36]]]},
        "bbox": [102, 36, 103, 37],
        "properties": {"datetime": f"2020-01-{day:02d}T03:51:41Z", "platform": "sentinel-2a", "proj:epsg": 32648},
        "assets": {
            key: {"href": f"https://files.example/{key}.tif", "type": "image/tiff; application=geotiff"}
            for key in ("B02", "B03", "B04", "B08", "B11", "B12", "SCL")
        },
    }  # fmt: skip
    return {**item, **change}


@pytest.fixture
def server(tmp_path):
    with StacServer(tmp_path) as running:
        yield running


@pytest.fixture
def api(server):
    clock = Clock()
    fetcher = Fetcher(AllowList.parse([server.host]), sleep=clock.sleep, clock=clock)
    return Stac(server.url, collections=["sentinel-2-l2a"], fetcher=fetcher)


def no_search(source, match=None, error=TryLater):
    """A search that fails."""
    with pytest.raises(error, match=match):
        source.search(AREA, *YEAR)


def ids(scenes):
    return [scene.id for scene in scenes]


@pytest.mark.parametrize("by", ["POST", "GET"])
def test_all_pages_of_a_search_are_read_once(server, api, by):
    server.next_by, server.page = by, 4
    server.items = [an_item(day) for day in range(1, 31)]
    found = api.search(AREA, *YEAR)
    assert ids(found) == [item["id"] for item in server.items]
    assert server.counts == {"landing": 1, "search": 8}
    api.search(AREA, *YEAR)
    assert server.counts == {"landing": 1, "search": 16}


def test_searches_made_at_once_each_find_all(server, api):
    server.page, server.items = 4, [an_item(day) for day in range(1, 31)]
    assert len(api.search(AREA, *YEAR)) == 30
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: api.search(AREA, *YEAR), range(8)))
    assert [ids(scenes) for scenes in found] == [[item["id"] for item in server.items]] * 8


def test_a_server_without_post_is_searched_by_get(server, api):
    url = server.url
    server.landing = {
        "type": "Catalog", "id": "x", "stac_version": "1.0.0", "description": "x",
        "conformsTo": ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"],
        "links": [{"rel": "search", "href": f"{url}/search", "type": "application/geo+json", "method": "GET"},
                  {"rel": "root", "href": url}, {"rel": "self", "href": url}],
    }  # fmt: skip
    server.items, server.next_by, server.page = [an_item(day) for day in range(1, 10)], "GET", 5
    assert len(api.search(AREA, *YEAR)) == 9
    assert {method for method, *_ in server.requests} == {"GET"}


def test_the_question_names_collections_box_and_both_days(server, api):
    api.search(AREA, date(2020, 2, 1), date(2020, 2, 29))
    question = json.loads(server.requests[-1][3])
    assert question["collections"] == ["sentinel-2-l2a"]
    assert question["bbox"] == [102.0, 36.0, 102.2, 36.2]
    assert question["datetime"] == "2020-02-01T00:00:00Z/2020-02-29T23:59:59Z"


def test_recorded_pages_of_planetary_computer_are_read_as_they_were_sent(shared_data, server):
    file = shared_data / "stac_searches" / "TestItemSearch.test_datetime_results.yaml"
    recorded = yaml.load(file.read_text(), Loader=yaml.CSafeLoader)["interactions"]
    page = recorded[0]["response"]["body"]["string"].replace(
        "https://planetarycomputer.microsoft.com/api/stac/v1", server.url
    )
    count = len(json.loads(page)["features"])
    assert count > 0
    server.fail("search", act=lambda handler: handler.send(200, page.encode()), times=1)
    source = Stac(server.url, collections=["sentinel-2-l2a"], allow_hosts=[server.host])
    found = source.search(box(-180, -90, 180, 90), date(2018, 12, 31), date(2019, 1, 1))
    assert len(found) == count
    assert all(isinstance(scene.handle, SceneAssets) for scene in found)
    assert {scene.acquisition for scene in found} == {"S2A/20190101T000001"}


def test_scenes_come_by_time_and_only_those_that_touch_the_area_on_the_requested_days(server, api):
    beside = an_item(
        5, geometry={"type": "Polygon", "coordinates": [[[102.1, 36.3], [103, 36.3], [103, 37], [102.1, 36.3]]]}
    )
    page = {"type": "FeatureCollection", "links": [], "features": [
        an_item(20), an_item(3), beside,
        an_item(7, properties={**an_item()["properties"], "datetime": "2021-01-07T03:00:00Z"},
                id="S2A_48SUF_20210107_0_L2A")]}  # fmt: skip
    server.fail("search", act=lambda handler: handler.json(page))  # a server that does not filter
    assert [scene.time.day for scene in api.search(AREA, *YEAR)] == [3, 20]


@pytest.mark.parametrize(
    ("status", "message"),
    [(401, "credentials"), (403, "credentials"), *((status, "sentinel-2-l2a") for status in (400, 404, 405))],
)
def test_a_catalogue_that_refuses_access_or_does_not_know_the_question_is_a_matter_of_configuration(
    server, api, status, message
):
    server.fail("search", status=status)
    no_search(api, message, BadConfiguration)
    assert server.counts["search"] == 1


def test_a_catalogue_that_is_down_can_be_tried_later(server, api):
    server.items = [an_item()]
    server.fail("search", status=503, times=100)
    no_search(api)
    server.faults.clear()
    api._fetcher._clock.now += BLOCKED_FOR
    assert len(api.search(AREA, *YEAR)) == 1


def test_429_and_500_are_waited_out_on_post_too(server):
    waits = []
    source = Stac(server.url, fetcher=Fetcher(AllowList.parse([server.host]), sleep=waits.append))
    server.items = [an_item()]
    server.fail("search", status=429, headers={"Retry-After": "3"}, times=1)
    server.fail("search", status=500, times=3)
    assert len(source.search(AREA, *YEAR)) == 1
    assert waits[0] == 3
    assert source.transfers.retries == 4


def test_a_wait_beyond_the_budget_defers(server, api):
    server.fail("search", status=429, headers={"Retry-After": "7200"})
    no_search(api, "7200")


def test_an_answer_that_is_cut_short_every_time_can_be_tried_later(server, api):
    def act(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        handler.wfile.write(b'{"type": "FeatureCollection", "features": [')
        handler.close_connection = True

    server.fail("search", act=act, times=100)
    no_search(api, "before its announced length")


def test_a_paging_loop_is_left(server, api):
    def act(handler):
        handler.json({"type": "FeatureCollection", "features": [an_item()], "links": [
            {"rel": "next", "href": f"{server.url}/search", "method": "POST", "body": {"token": "a"}}]})  # fmt: skip

    server.fail("search", act=act)
    no_search(api, r"over and over|read already")
    assert server.counts["search"] <= 3


def test_pages_without_end_are_left_at_a_cap(server, api, monkeypatch):
    monkeypatch.setattr(api_io, "MAX_PAGES", 20)

    def act(handler):
        n = server.counts["search"]
        handler.json({"type": "FeatureCollection", "features": [an_item(id=f"S2A_48SUF_20200103_{n}_L2A")], "links": [
            {"rel": "next", "href": f"{server.url}/search", "method": "POST", "body": {"token": str(n)}}]})  # fmt: skip

    server.fail("search", act=act)
    no_search(api, "20 pages")


def test_a_page_that_would_take_a_gigabyte_when_parsed_is_left(server, api):
    server.fail("search", act=lambda handler: handler.send(200, b'{"features": [' + b"[]," * (6 << 20) + b"[]]}"))
    no_search(api, "more than")


def test_an_endless_answer_is_left_at_a_cap(server, api, monkeypatch):
    monkeypatch.setattr(api_io, "MAX_ANSWER_BYTES", 1 << 20)

    def act(handler):
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b'{"features": [')
        while True:
            handler.wfile.write(b" " * 65536)

    server.fail("search", act=act)
    no_search(api, "more than")


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b'{"features": 7}', b"\xff\xfe", b"[" * 100_000, b'{"features": {"a": 1}}']
)
def test_an_answer_that_is_not_stac_is_refused_without_a_traceback(server, api, body):
    server.fail("search", act=lambda handler: handler.send(200, body))
    no_search(api, r"127\.0\.0\.1", (TryLater, BadConfiguration))


def test_one_malformed_item_never_stops_the_others(server, api):
    broken = [
        7, None, {}, {"type": "Feature"}, an_item(4, properties=None), an_item(5, assets=None),
        an_item(6, geometry={"type": "Polygon"}),
        an_item(7, assets={"B04": {"href": 3}}), an_item(8, id=["x"]), an_item(9, properties={"datetime": "?"}),
    ]  # fmt: skip
    page = {"type": "FeatureCollection", "features": [*broken, an_item(3)], "links": []}
    server.fail("search", act=lambda handler: handler.json(page))
    found = api.search(AREA, *YEAR)
    good = [scene for scene in found if isinstance(scene.handle, SceneAssets)]
    assert ids(good) == [an_item(3)["id"]]
    refused = {scene.time.day: scene.handle.reason for scene in found if isinstance(scene.handle, SceneRejected)}
    assert refused == {5: "BROKEN", 6: "BROKEN", 7: "BROKEN"}


@pytest.mark.parametrize("href", [
    "file:///etc/passwd", "http://169.254.169.254/a.tif", "http://127.0.0.1:1/a.tif", "http://10.0.0.1/a.tif",
    "s3://bucket/a.tif", "/etc/passwd.tif", "../../../etc/passwd.tif", "/vsicurl/http://127.0.0.1/a.tif",
])  # fmt: skip
def test_an_asset_that_points_inside_is_refused_by_its_address(server, api, href, tmp_path):
    item = an_item()
    item["assets"]["B04"]["href"] = href
    server.items = [item]
    (scene,) = api.search(AREA, *YEAR)
    if href.startswith(("/etc", "..", "/vsi")):  # counts from the server: refused when it is not there
        assert isinstance(scene.handle, SceneAssets)
        assert not list(tmp_path.iterdir())
        return
    assert scene.handle.reason == "BROKEN"
    assert scene.baseline == ""


def test_an_asset_of_a_local_catalogue_that_points_outside_is_refused(tmp_path):
    for href in ("file:///etc/passwd", "/etc/passwd", "../../../../../../etc/passwd", "http://169.254.169.254/a.tif"):
        item = an_item()
        item["assets"]["B04"]["href"] = href
        (tmp_path / "item.json").write_text(json.dumps(item))
        (scene,) = Stac(str(tmp_path), allow_hosts=[str(tmp_path)]).search(AREA, *YEAR)
        assert isinstance(scene.handle, SceneRejected)
        assert "refused" in str(scene.handle)


def test_a_private_catalogue_is_refused_unless_it_is_named(server):
    no_search(Stac(server.url), re.escape(f'allow_hosts = ["{server.host}"]'), BadConfiguration)
    assert not server.requests


@pytest.mark.parametrize(
    ("href", "message"),
    [("http://169.254.169.254/a", "private"), ("file:///etc/passwd", "only https"), ("/etc/passwd", "nothing at")],
)
def test_a_next_link_to_another_host_is_held_to_the_rules_and_never_reads_a_local_file(server, api, href, message):
    link = {"rel": "next", "href": href, "method": "GET"}
    page = {"type": "FeatureCollection", "features": [an_item()], "links": [link]}
    server.fail("search", act=lambda handler: handler.json(page))
    no_search(api, message, BadConfiguration)


def static(folder):
    """A catalogue with a collection and two items, and one item without a collection."""
    (folder / "c" / "i").mkdir(parents=True)
    (folder / "catalog.json").write_text(json.dumps({
        "type": "Catalog", "id": "x", "stac_version": "1.0.0", "description": "x",
        "links": [{"rel": "child", "href": "./c/collection.json"}, {"rel": "child", "href": "none.json"},
                  {"rel": "self", "href": "./catalog.json"}, {"rel": "root", "href": "./catalog.json"}],
    }))  # fmt: skip
    (folder / "c" / "collection.json").write_text(json.dumps({
        "type": "Collection", "id": "sentinel-2-l2a", "stac_version": "1.0.0", "description": "x", "license": "x",
        "extent": {}, "links": [{"rel": "item", "href": "i/1.json"}, {"rel": "item", "href": "i/2.json"},
                                {"rel": "item", "href": "i/bad.json"}, {"rel": "root", "href": "../catalog.json"},
                                {"rel": "child", "href": "../catalog.json"}, {"rel": "item", "href": "i/1.json"}],
    }))  # fmt: skip
    (folder / "c" / "i" / "1.json").write_text(json.dumps(an_item(1)))
    (folder / "c" / "i" / "2.json").write_text(json.dumps(an_item(2)))
    (folder / "c" / "i" / "bad.json").write_text("{not json")


@pytest.mark.parametrize("what", ["folder", "catalogue", "collection", "items", "item", "plain folder", "by http"])
def test_static_catalogues_of_every_kind_are_read(tmp_path, server, what):
    static(tmp_path)
    feature_collection = tmp_path / "all.geojson"
    write_features(feature_collection, [an_item(1), an_item(2)])
    place = {
        "folder": tmp_path, "catalogue": tmp_path / "catalog.json", "collection": tmp_path / "c" / "collection.json",
        "items": feature_collection, "item": tmp_path / "c" / "i" / "1.json", "plain folder": tmp_path / "c" / "i",
        "by http": f"{server.url}/files/catalog.json",
    }[what]  # fmt: skip
    source = Stac(str(place), collections=["sentinel-2-l2a"], allow_hosts=[str(tmp_path), server.host])
    found = source.search(AREA, *YEAR)
    assert [scene.time.day for scene in found] == ([1] if what == "item" else [1, 2])
    before = server.counts.total()
    source.search(AREA, *YEAR)
    assert server.counts.total() == before


def test_a_collection_that_was_not_requested_is_left_out(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(an_item(1)))
    (tmp_path / "b.json").write_text(json.dumps(an_item(2, collection="sentinel-2-l1c")))
    (tmp_path / "c.json").write_text(json.dumps({**an_item(3), "collection": None}))
    source = Stac(str(tmp_path), collections=["sentinel-2-l2a"], allow_hosts=[str(tmp_path)])
    assert [scene.time.day for scene in source.search(AREA, *YEAR)] == [1, 3]


@pytest.mark.parametrize("content", ["{not json", "[]", '{"type": "Other"}', "", "\0\0"])
def test_a_local_file_that_is_not_a_catalogue_is_a_configuration_error(tmp_path, content):
    file = tmp_path / "catalog.json"
    file.write_text(content)
    no_search(Stac(str(file), allow_hosts=[str(tmp_path)]), r"catalog\.json", BadConfiguration)


def test_a_local_catalogue_that_is_missing_or_not_allowed_is_named_with_the_fix(tmp_path):
    no_search(Stac(str(tmp_path / "none.json"), allow_hosts=[str(tmp_path)]), "no file", BadConfiguration)
    static(tmp_path)
    no_search(Stac(str(tmp_path / "catalog.json")), "allow_hosts", BadConfiguration)


def test_the_later_of_two_copies_of_a_granule_is_offered_and_both_of_two_pieces(server, api):
    copy = an_item(3, id=an_item(3)["id"].replace("T064512", "T235959"))
    west = [[[102, 36], [102.09, 36], [102.09, 37], [102, 36]]]
    east = [[[102.1, 36], [103, 36], [103, 37], [102.1, 36]]]
    pieces = [an_item(8, geometry={"type": "Polygon", "coordinates": part},
                      id=an_item(8)["id"].replace("T064512", f"T06451{n}"))
              for n, part in enumerate((west, east))]  # fmt: skip
    server.items = [an_item(3), copy, *pieces]
    found = api.search(AREA, *YEAR)
    assert ids(found) == [copy["id"], pieces[0]["id"], pieces[1]["id"]]
    assert [scene.tile for scene in found] == ["48SUF", "48SUF", "48SUF.1"]
    assert found[1].acquisition == found[2].acquisition


def test_the_readable_one_of_two_copies_without_a_baseline_is_offered(server, api):
    whole, broken = (an_item(3, id=f"S2A_48SUF_20200103_{n}_L2A") for n in range(2))
    del broken["assets"]["B04"]
    server.items = [whole, broken]
    assert ids(api.search(AREA, *YEAR)) == [whole["id"]]


def test_a_scene_reprocessed_is_offered_under_both_baselines(server, api):
    new = an_item(3, id=an_item(3)["id"].replace("N0213", "N0500"))
    server.items = [an_item(3), new]
    found = api.search(AREA, *YEAR)
    assert {(scene.acquisition, scene.tile, scene.baseline) for scene in found} == {
        ("S2A/20200103T035141", "48SUF", "02.13"), ("S2A/20200103T035141", "48SUF", "05.00"),
    }  # fmt: skip


@pytest.fixture(params=["an API", "a static catalogue"])
def catalogue(request, server, tmp_path):
    """A catalogue of items, of each kind."""

    def of(some):
        if request.param == "an API":
            server.items = some
            return Stac(server.url, collections=["sentinel-2-l2a"], allow_hosts=[server.host])
        write_features(tmp_path / "all.json", some)
        return Stac(str(tmp_path), collections=["sentinel-2-l2a"], allow_hosts=[str(tmp_path)])

    return of


def test_stored_scenes_are_recognised_by_name_without_a_look_at_their_files(catalogue, monkeypatch):
    some = [an_item(day) for day in range(1, 31)]
    whole = catalogue(some).search(AREA, *YEAR)
    source = catalogue(some)
    monkeypatch.setattr(items, "_with_assets", Mock(side_effect=AssertionError("looked at")))
    monkeypatch.setattr(Fetcher, "check", Mock(side_effect=AssertionError("checked")))
    found = source.search(AREA, *YEAR, lambda scene: True)
    fields = attrgetter("id", "acquisition", "tile", "time", "sensor", "baseline", "source", "orbit", "footprint")
    assert list(map(fields, found)) == list(map(fields, whole))
    assert {scene.handle for scene in found} == {None}


def test_new_scenes_come_whole_and_stored_ones_only_in_a_search_that_does_not_know_them(catalogue):
    some = [an_item(day) for day in range(1, 11)]
    whole = catalogue(some).search(AREA, *YEAR)
    source = catalogue(some)
    found = source.search(AREA, *YEAR, lambda scene: scene.time.day != 3)
    assert [scene.time.day for scene in found if scene.handle is not None] == [3]
    assert (found[2], found[2].handle) == (whole[2], whole[2].handle)
    again = source.search(AREA, *YEAR)
    assert [(scene, scene.handle) for scene in again] == [(scene, scene.handle) for scene in whole]


def test_an_item_with_nan_or_infinity_is_found_like_any_other(catalogue):
    some = [an_item(3), an_item(4)]
    some[0]["properties"] |= {"eo:cloud_cover": float("nan"), "view:off_nadir": float("-inf"), "title": "\ud800"}
    assert ids(catalogue(some).search(AREA, *YEAR)) == [item["id"] for item in some]


def test_an_item_whose_ground_makes_no_sense_is_refused_though_its_name_is_stored(catalogue):
    (scene,) = catalogue([an_item(3, geometry={"type": "Polygon"})]).search(AREA, *YEAR, lambda scene: True)
    assert (scene.handle.reason, scene.baseline) == ("BROKEN", "")


def test_the_lattice_of_a_static_catalogue_is_that_of_its_earliest_scene_that_can_be_read_stored_or_not(tmp_path):
    some = [an_item(day, properties={**an_item(day)["properties"], "proj:epsg": 3035 + day}) for day in (4, 5, 3)]
    for n, one in enumerate(some):
        for asset in one["assets"].values():
            asset["proj:transform"] = [10, 0, 4_321_000 + n, 0, -10, 3_210_007]
    del some[2]["assets"]["B04"]  # the earliest
    write_features(tmp_path / "all.json", some)
    known, fresh = (Stac(str(tmp_path), allow_hosts=[str(tmp_path)]) for _ in range(2))
    assert len(known.search(AREA, *YEAR, lambda scene: True)) == 3
    for grid in (known.grid(AREA), fresh.grid(AREA)):
        assert (str(grid.crs), grid.affine.c, grid.affine.f) == ("EPSG:3039", 4_321_000, 3_210_007)


def test_ids_are_inert_in_scenes_and_messages(server, api):
    evil = an_item(3, id="<script>\r\nBcc: x\u202e" + "x" * 300)
    del evil["assets"]["SCL"]
    server.items = [evil]
    (scene,) = api.search(AREA, *YEAR)
    for text in (scene.id, scene.acquisition, scene.tile, str(scene.handle)):
        assert text.isprintable()
        assert len(text) < 300


def test_a_collection_of_an_api_is_searched_through_its_root(server):
    def act(handler):
        if handler.path != "/collections/sentinel-2-l2a":
            handler.send(404, b"")
            return
        handler.json({"type": "Collection", "id": "sentinel-2-l2a", "stac_version": "1.0.0", "description": "x",
                      "license": "x", "extent": {}, "links": [
                          {"rel": "root", "href": server.url},
                          {"rel": "items", "href": f"{server.url}/c/items"}]})  # fmt: skip

    server.fail("other", act=act)
    server.items = [an_item(1), an_item(2, collection="other")]
    source = Stac(f"{server.url}/collections/sentinel-2-l2a", allow_hosts=[server.host])
    assert [scene.time.day for scene in source.search(AREA, *YEAR)] == [1]


def a_landsat_item():
    name = "LC08_L2SP_131035_20200105_20200824_02_T1"
    keys = ("blue", "green", "red", "nir08", "swir16", "swir22", "qa_pixel")
    return an_item(
        id=name, collection="landsat-c2-l2",
        properties={
            "datetime": "2020-01-05T03:40:00Z", "platform": "landsat-8", "proj:epsg": 32648,
            "landsat:wrs_path": "131", "landsat:wrs_row": "035", "landsat:collection_number": "02",
        },
        assets={
            key: {"href": f"https://files.example/{key}.TIF", "type": "image/tiff; application=geotiff"} for key in keys
        },
    )  # fmt: skip


def test_without_named_collections_sentinel_2_and_landsat_are_searched_and_nothing_else(server):
    server.collections = ["cop-dem-glo-30", "sentinel-1-grd", "sentinel-2-c1-l2a", "sentinel-2-l2a", "landsat-c2-l2"]
    server.items = [an_item(), an_item(4, collection="sentinel-1-grd"), a_landsat_item()]
    source = Stac(server.url, allow_hosts=[server.host])
    scenes = source.search(AREA, *YEAR)
    searched = ["sentinel-2-l2a", "sentinel-2-c1-l2a", "landsat-c2-l2"]
    assert json.loads(server.requests[-1][3])["collections"] == searched
    assert [scene.sensor for scene in scenes] == ["sentinel-2a", "landsat-8"]
    grid = source.grid(AREA)
    assert grid.resolution.x == 10
    assert [needs_bandpass(scene, grid) for scene in scenes] == [False, True]


def of_earth_search(day, collection, baseline):
    """An item as Earth Search writes it: of one acquisition its collections have ids with different times."""
    is_old = collection == "sentinel-2-l2a"
    return an_item(
        day, collection=collection,
        id=f"S2A_48SUF_2020010{day}_0_L2A" if is_old else f"S2A_T48SUF_2020010{day}T035502_L2A",
        properties={
            "datetime": f"2020-01-0{day}T03:57:31Z", "platform": "sentinel-2a", "proj:epsg": 32648,
            "grid:code": "MGRS-48SUF", "s2:processing_baseline": baseline,
            "s2:datatake_id": f"GS2A_2020010{day}T035141_023678_N{baseline}",
        },
    )  # fmt: skip


def test_both_collections_of_earth_search_are_searched_and_a_scene_of_both_counts_once_with_its_newest_baseline(server):
    server.collections = ["sentinel-2-l2a", "sentinel-2-c1-l2a"]
    for day, baselines in ((3, ("02.13", "")), (4, ("", "05.00")), (5, ("02.13", "05.00")), (6, ("05.00", "05.00"))):
        offered = zip(server.collections, baselines, strict=True)
        server.items += [of_earth_search(day, name, baseline) for name, baseline in offered if baseline]
    scenes = Stac(server.url, allow_hosts=[server.host]).search(AREA, *YEAR)
    found = [(one.main.time.day, one.main.baseline, len(one.granules)) for one in overpasses(scenes, "EPSG:32648")]
    assert found == [(3, "02.13", 1), (4, "05.00", 1), (5, "05.00", 1), (6, "05.00", 1)]


def test_collections_on_later_pages_of_the_list_are_searched_too(server):
    server.page = 10
    server.collections = [*(f"other-{k:02d}" for k in range(15)), "sentinel-2-l2a"]
    server.collections += [*(f"more-{k:02d}" for k in range(15)), "landsat-c2-l2"]
    server.items = [an_item(), a_landsat_item()]
    Stac(server.url, allow_hosts=[server.host]).search(AREA, *YEAR)
    assert json.loads(server.requests[-1][3])["collections"] == ["sentinel-2-l2a", "landsat-c2-l2"]
    assert server.counts["collections"] == 4


def test_a_list_of_collections_without_end_is_read_to_where_it_repeats(server):
    server.page, server.collections = 1, ["sentinel-2-l2a", "a", "b"]

    def act(handler):
        handler.json({
            "collections": [{"id": "sentinel-2-l2a"}], "links": [{"rel": "next", "href": f"{server.url}/collections"}],
        })  # fmt: skip

    server.fail("collections", act=act)
    server.items = [an_item()]
    assert len(Stac(server.url, allow_hosts=[server.host]).search(AREA, *YEAR)) == 1
    assert server.counts["collections"] == 1


def test_landsat_whose_files_need_an_account_is_searched_only_if_it_is_named(server, monkeypatch):
    monkeypatch.setitem(NEEDS_ACCOUNT, "127.0.0.1", ("landsat-c2-l2",))
    server.collections = ["sentinel-2-l2a", "landsat-c2-l2"]
    server.items = [an_item(), a_landsat_item()]
    for named, sensors in (((), ["sentinel-2a"]), (("landsat-c2-l2",), ["landsat-8"])):
        source = Stac(server.url, collections=named, allow_hosts=[server.host])
        assert [scene.sensor for scene in source.search(AREA, *YEAR)] == sensors


def test_an_api_that_lists_no_known_collection_is_searched_whole(server):
    server.collections = ["our-mosaics"]
    server.items = [an_item(collection="our-mosaics")]
    assert len(Stac(server.url, allow_hosts=[server.host]).search(AREA, *YEAR)) == 1
    assert "collections" not in json.loads(server.requests[-1][3])


@pytest.mark.parametrize(("collections", "place", "expected"), [
    (["sentinel-2-l2a"], (102.1, 36.1), ("EPSG:32648", 10.0, 0.0)),
    (["sentinel-2-l2a", "landsat-c2-l2"], (102.1, 36.1), ("EPSG:32648", 10.0, 0.0)),
    (["landsat-c2-l2"], (102.1, 36.1), ("EPSG:32648", 30.0, 15.0)),
    (["landsat-c2-l2"], (27.5, -8.0), ("EPSG:32635", 30.0, 15.0)),
    (["sentinel-2-l2a"], (27.5, -8.0), ("EPSG:32735", 10.0, 0.0)),
    (["hls2-s30"], (102.1, 36.1), ("EPSG:32648", 30.0, 0.0)),
    (["ga_ls8c_ard_3"], (153.5, -29.0), ("EPSG:32656", 30.0, 15.0)),
    (["ga_s2am_ard_3", "ga_ls8c_ard_3"], (153.5, -29.0), ("EPSG:32756", 10.0, 0.0)),
])  # fmt: skip
def test_the_lattice_is_that_of_the_product(server, collections, place, expected):
    source = Stac(server.url, collections=collections, allow_hosts=[server.host])
    grid = source.grid(box(place[0], place[1], place[0] + 0.01, place[1] + 0.01))
    assert (str(grid.crs), grid.resolution.x, grid.affine.c) == expected


def test_the_address_of_an_item_without_self_link_is_made_of_the_api(server, api):
    server.items = [an_item()]
    (scene,) = api.search(AREA, *YEAR)
    assert scene.handle.item_address == f"{server.url}/collections/sentinel-2-l2a/items/{an_item()['id']}"
    assert not parse_qs(urlsplit(scene.handle.item_address).query)


class Tokens:
    """Answers requests for tokens with a new one each, or with something else."""

    def __init__(self, *bodies):
        self.bodies, self.asked = list(bodies), []

    def get(self, url, **_):
        self.asked.append(url)
        body = self.bodies.pop(0)
        if isinstance(body, Exception):
            raise body
        return SimpleNamespace(body=body)


def test_files_of_planetary_computer_are_signed_with_one_token_a_container_until_it_is_refused(monkeypatch):
    tokens = Tokens(b'{"token": "sig=1"}', b'{"token": "sig=2"}', b'{"token": "sig=3"}')
    sign = asset_reader.PlanetaryComputer(tokens)
    file = "https://a.blob.core.windows.net/b/x.tif"
    assert [sign(file, False), sign(file, True)] == [f"{file}?sig=1"] * 2  # too young to have expired
    assert sign("https://a.blob.core.windows.net/c/x.tif", False).endswith("?sig=2")
    now = asset_reader.time.monotonic()
    monkeypatch.setattr(asset_reader, "time", SimpleNamespace(monotonic=lambda: now + 3600))
    assert sign(file, True) == f"{file}?sig=3"
    own = "https://planetarycomputer.microsoft.com/api/sas/v1/token"
    assert tokens.asked == [f"{own}/a/b", f"{own}/a/c", f"{own}/a/b"]


def test_an_address_that_needs_no_token_stays_and_one_without_container_or_token_is_no_bug():
    sign = asset_reader.PlanetaryComputer(Tokens(b'{"detail": "?"}', b"<html>", NotFound("nothing")))
    for plain in ("https://files.example/c.tif", "https://ai4edatasetspublicassets.blob.core.windows.net/a/b.png"):
        assert sign(plain, False) == plain
    with pytest.raises(FetchRefused, match="names no container"):
        sign("https://a.blob.core.windows.net/c.tif", False)
    for _ in range(3):
        with pytest.raises(TryLater, match="gives no signature"):
            sign("https://a.blob.core.windows.net/b/c.tif", False)


def test_files_of_planetary_computer_alone_are_signed():
    assert isinstance(Stac("https://planetarycomputer.microsoft.com/api/stac/v1")._sign, asset_reader.PlanetaryComputer)
    assert Stac("https://planetarycomputer.microsoft.com.evil.example/api")._sign is None
