"""Whatever a catalogue answers, its items are scenes, rejected scenes or nothing, or it is named as broken."""

import json
from datetime import date
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import box

from monitor.errors import BadConfiguration, SceneRejected, TryLater
from monitor.imagery.source import Scene
from monitor.imagery.stac.assets import SceneAssets
from monitor.imagery.stac.catalogue import Catalogue
from monitor.imagery.stac.items import scene_from_item
from tests.fuzz.hostile import altered, damaged, nothing_else_touched, quickly

API = "https://stac.example/v1"
NAME = "S2A_MSIL2A_20200103T035141_N0213_R104_T48SUF_20200103T064512"
ITEM = {
    "type": "Feature", "stac_version": "1.0.0", "id": NAME, "collection": "sentinel-2-l2a",
    "links": [{"rel": "self", "href": f"{API}/collections/sentinel-2-l2a/items/{NAME}"}],
    "geometry": {"type": "Polygon", "coordinates": [[[102, 36], [103, 36], [103, 37], [102, 37], [102, 36]]]},
    "bbox": [102, 36, 103, 37],
    "properties": {
        "datetime": "2020-01-03T03:51:41Z", "platform": "sentinel-2a", "proj:epsg": 32648, "proj:code": "EPSG:32648",
        "s2:processing_baseline": "02.13", "s2:mgrs_tile": "48SUF", "sat:relative_orbit": 104, "eo:cloud_cover": 3.5,
        "s2:datatake_id": "GS2A_20200103T035141_023678_N02.13", "gsd": 10,
    },
    "assets": {
        key: {
            "href": f"https://files.example/{key}.tif", "type": "image/tiff; application=geotiff", "roles": ["data"],
            "proj:shape": [10980, 10980], "proj:transform": [10, 0, 600000, 0, -10, 4200000], "gsd": 10,
            "eo:bands": [{"name": key, "common_name": "red"}],
            "raster:bands": [{"scale": 0.0001, "offset": -0.1, "nodata": 0, "data_type": "uint16"}],
        }
        for key in ("B02", "B03", "B04", "B08", "B11", "B12", "SCL")
    },
}  # fmt: skip
LANDING = {
    "type": "Catalog", "id": "c", "stac_version": "1.0.0", "description": "d",
    "conformsTo": ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"],
    "links": [
        {"rel": "search", "href": f"{API}/search", "method": "POST", "type": "application/geo+json"},
        {"rel": "root", "href": API}, {"rel": "self", "href": API},
    ],
}  # fmt: skip
PAGE = {
    "type": "FeatureCollection", "features": [ITEM, {**ITEM, "id": "other"}],
    "links": [{"rel": "next", "href": f"{API}/search", "method": "POST", "body": {"token": "next:2"}, "merge": True}],
    "context": {"returned": 2, "matched": 3, "limit": 100},
}  # fmt: skip


def is_sound(scene):
    """What every later stage relies on."""
    if scene is None:
        return True
    assert isinstance(scene, Scene)
    assert isinstance(scene.handle, SceneAssets | SceneRejected)
    assert 0 < len(scene.id) <= 128
    assert scene.id.isprintable()
    assert scene.acquisition.isprintable()
    assert scene.time.tzinfo is not None
    assert scene.footprint is None or scene.footprint.is_valid
    json.dumps([scene.id, scene.acquisition, scene.baseline, str(scene.handle)]).encode()
    return True


@pytest.mark.parametrize("examples", [200, pytest.param(20_000, marks=pytest.mark.slow)])
def test_any_member_of_an_item_may_be_anything(examples):
    @quickly(examples)
    @given(altered(ITEM))
    def attack(item):
        with nothing_else_touched():
            assert is_sound(scene_from_item(item if isinstance(item, dict) else {}, base=API, source="s"))

    attack()


class Answers:
    """A fetcher that gives prepared answers, whatever is requested."""

    def __init__(self, landing, pages):
        self.landing, self.pages = landing, list(pages)

    def get(self, address, **_request):
        if address.rstrip("/") == API:
            return SimpleNamespace(body=self.landing)
        return SimpleNamespace(
            body=self.pages.pop(0) if self.pages else b'{"type": "FeatureCollection", "features": []}'
        )


def find_items(landing, pages):
    catalogue = Catalogue(API, (), Answers(landing, pages))
    catalogue.open()
    if catalogue.is_static:
        return [item for item, _ in catalogue.static_items()]
    return list(catalogue.search(box(102, 36, 103, 37), date(2020, 1, 1), date(2020, 12, 31)))


def search_all(landing, pages):
    try:
        return [scene_from_item(item, base=API, source="s") for item in find_items(landing, pages)]
    except (BadConfiguration, TryLater):
        return []


def as_bytes(document):
    return json.dumps(document).encode()


@pytest.mark.parametrize("examples", [40, pytest.param(3000, marks=pytest.mark.slow)])
def test_a_search_page_may_hold_anything(examples):
    page = altered(PAGE).map(as_bytes) | damaged(as_bytes(PAGE))

    @quickly(examples)
    @given(st.lists(page, max_size=3))
    def attack(pages):
        with nothing_else_touched():
            assert all(is_sound(scene) for scene in search_all(as_bytes(LANDING), pages))

    attack()


@pytest.mark.parametrize("examples", [40, pytest.param(3000, marks=pytest.mark.slow)])
def test_the_first_page_of_a_catalogue_may_hold_anything(examples):
    @quickly(examples)
    @given(altered(LANDING).map(as_bytes) | altered(PAGE).map(as_bytes) | damaged(as_bytes(LANDING)))
    def attack(landing):
        with nothing_else_touched():
            assert all(is_sound(scene) for scene in search_all(landing, [as_bytes(PAGE)]))

    attack()


@pytest.mark.parametrize("changed", [
    {"geometry": {"type": "Polygon", "coordinates": [[[10**400, 36], [103, 36], [103, 37], [10**400, 36]]]}},
    {"assets": {**ITEM["assets"], "B02": {**ITEM["assets"]["B02"], "proj:transform": [10**400] * 6}}},
    {"bbox": [10**400] * 4, "geometry": None},
])  # fmt: skip
def test_a_number_of_four_hundred_digits_is_none(changed):
    assert is_sound(scene_from_item({**ITEM, **changed}, base=API, source="s"))


@pytest.mark.parametrize("changed", [{"type": None}, {"conformsTo": []}, {"conformsTo": None}, {"links": {}}])
def test_an_api_that_leaves_out_what_a_search_does_not_need_is_searched(changed):
    assert find_items(as_bytes({**LANDING, **changed}), [as_bytes(PAGE)]) == find_items(
        as_bytes(LANDING), [as_bytes(PAGE)]
    )
