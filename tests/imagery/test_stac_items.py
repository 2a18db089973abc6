"""What recorded items of real services offer, and how doubtful ones are decided."""

import json
import re
from copy import deepcopy
from pathlib import Path

import pytest
import yaml

from monitor.cube.overpass import parse_baseline
from monitor.errors import SceneRejected
from monitor.imagery import bands
from monitor.imagery.stac.assets import SceneAssets
from monitor.imagery.stac.documents import safe_text
from monitor.imagery.stac.items import scene_from_item


def row(scene):
    """A scene as a line of the table."""
    if isinstance(scene.handle, SceneAssets):
        names = [asset.key for asset in (*scene.handle.bands, scene.handle.quality) if asset is not None]
        content = f"{' '.join(names[:-1])}, {names[-1]}"
    else:
        content = f"{scene.handle.reason}: {scene.handle}"
    return [
        scene.id, scene.acquisition, scene.tile, scene.baseline, scene.sensor, scene.crs, f"{scene.scale:g}",
        f"{scene.offset:g}", scene.quality, content,
    ]  # fmt: skip


def recorded(folder: Path) -> list[list[dict]]:
    """Items of each recorded file."""
    found = []
    for file in sorted((folder / "stac_items").glob("*json")):
        document = json.loads(file.read_text())
        if document["type"] != "Collection":
            found.append(document.get("features", [document]))
    return found


def searched(folder: Path) -> list[dict]:
    """Items of the recorded answers to searches."""
    found = []
    for file in sorted((folder / "stac_searches").glob("*.yaml")):
        for one in yaml.load(file.read_text(), Loader=yaml.CSafeLoader)["interactions"]:
            found += json.loads(one["response"]["body"]["string"])["features"]
    return found


def test_each_recorded_item_resolves_as_read_by_hand(shared_data, root):
    table = (root / "docs" / "sources.md").read_text(encoding="utf-8").partition("## Recorded items")[2]
    lines = [line for line in table.splitlines() if line.startswith("|")][2:]
    expected = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    first = [scene_from_item(some[0], base="https://x/", source="stac") for some in recorded(shared_data)]
    assert [row(scene) for scene in first] == expected


def test_an_item_in_jpeg_2000_is_read_and_geotiffs_are_preferred(msi):
    twins = {name: asset for name, asset in msi["assets"].items() if name.endswith("-jp2")}
    scl = {"SCL_20m": {"href": "s3://other/SCL.jp2", "type": "image/jp2"}}
    for assets, ending in ((twins | scl, "jp2"), (msi["assets"], "tif"), (msi["assets"] | scl, "tif")):
        scene = scene_from_item({**msi, "assets": assets}, base="https://x/", source="stac")
        files = [asset.href for asset in (*scene.handle.bands, scene.handle.quality)]
        assert [href.endswith(ending) for href in files] == [True] * 7


def test_every_recorded_item_of_planetary_computer_is_a_whole_scene_of_the_datatake_in_its_name(shared_data):
    items = [item for some in recorded(shared_data) for item in some] + searched(shared_data)
    items = [item for item in items if item["id"].startswith("S2") and "_MSIL2A_" in item["id"]]
    assert len(items) == 90
    for item in items:
        craft, when, orbit, tile = re.match(r"(S2.)_MSIL2A_(\w{15})_R(\d{3})_T(\w{5})_", item["id"]).groups()
        scene = scene_from_item(item, base="https://x/", source="stac")
        assert (scene.acquisition, scene.tile, scene.orbit) == (f"{craft}/{when}", tile, orbit)
        assert isinstance(scene.handle, SceneAssets), scene.handle
        assert [one.key for one in scene.handle.bands] == ["B02", "B03", "B04", "B08", "B11", "B12"]
        assert scene.handle.quality.key == "SCL"
        assert f"{scene.time:%Y%m%dT%H%M%S}" == when
        assert scene.footprint is not None


@pytest.fixture
def msi():
    """An item of Sentinel-2 as Earth Search v1 spells it: JPEG 2000 twins, a picture, both near infrareds."""

    def band(name, gsd, href, kind="image/tiff; application=geotiff; profile=cloud-optimized"):
        return {
            "href": href, "type": kind, "roles": ["data", "reflectance"],
            "eo:bands": [{"name": name, "common_name": name}], "gsd": gsd,
            "raster:bands": [{"nodata": 0, "data_type": "uint16", "scale": 0.0001, "offset": -0.1}],
        }  # fmt: skip

    assets = {}
    for name, file, gsd in (
        ("coastal", "B01", 60), ("blue", "B02", 10), ("green", "B03", 10), ("red", "B04", 10), ("nir08", "B8A", 20),
        ("nir", "B08", 10), ("swir16", "B11", 20), ("swir22", "B12", 20),
    ):  # fmt: skip
        assets[f"{name}-jp2"] = band(name, gsd, f"s3://other/{file}.jp2", "image/jp2")
        assets[name] = band(name, gsd, f"https://cogs.example/{file}.tif")
    assets["visual"] = {
        "href": "https://cogs.example/TCI.tif", "type": "image/tiff; application=geotiff", "roles": ["visual"],
        "eo:bands": [{"common_name": "red"}, {"common_name": "green"}, {"common_name": "blue"}],
    }  # fmt: skip
    assets["scl"] = {
        "href": "https://cogs.example/SCL.tif", "type": "image/tiff; application=geotiff",
        "title": "Scene classification map (SCL)", "roles": ["data", "reflectance"],
        "raster:bands": [{"nodata": 0, "data_type": "uint8"}],
    }  # fmt: skip
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": "S2B_22MHD_20230912_0_L2A", "collection": "sentinel-2-l2a",
        "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]},
        "links": [], "assets": assets,
        "properties": {
            "datetime": "2023-09-12T13:42:47.536000Z", "platform": "sentinel-2b", "proj:epsg": 32722,
            "grid:code": "MGRS-22MHD", "s2:processing_baseline": "05.09",
            "s2:datatake_id": "GS2B_20230912T133839_034041_N05.09", "earthsearch:boa_offset_applied": True,
        },
    }  # fmt: skip


def resolved(item):
    return scene_from_item(item, base="https://api.example/search", source="stac")


def test_earth_search_gives_the_same_acquisition_as_the_datatake_and_no_offset_where_it_was_applied(msi):
    scene = resolved(msi)
    assert (scene.acquisition, scene.tile, scene.baseline) == ("S2B/20230912T133839", "22MHD", "05.09")
    assert [one.key for one in scene.handle.bands] == ["blue", "green", "red", "nir", "swir16", "swir22"]
    assert all(one.href.endswith(".tif") for one in scene.handle.bands)
    assert (scene.scale, scene.offset) == (0.0001, 0.0)
    assert f"{scene.time:%H:%M:%S}" == "13:38:39"


@pytest.mark.parametrize(("baseline", "flag", "declared", "offset"), [
    ("05.09", True, -0.1, 0.0), ("05.09", False, -0.1, -0.1), ("05.09", False, None, -0.1),
    ("05.09", False, 0.0, -0.1), ("05.09", None, None, -0.1), ("04.00", None, None, -0.1), ("03.01", None, None, 0.0),
    ("02.14", None, -0.1, 0.0), ("02.14", False, -0.1, 0.0), ("05.09", None, 0.0, 0.0), (None, None, -0.1, -0.1),
    (None, None, None, 0.0),
])  # fmt: skip
def test_the_offset_follows_the_processing_never_the_day(msi, baseline, flag, declared, offset):
    for day in ("2018-06-01", "2023-06-01"):
        item = deepcopy(msi)
        item["id"] = "scene"
        item["properties"] = {"datetime": f"{day}T03:00:00Z", "platform": "sentinel-2b", "grid:code": "MGRS-22MHD"}
        if baseline:
            item["properties"]["s2:processing_baseline"] = baseline
        if flag is not None:
            item["properties"]["earthsearch:boa_offset_applied"] = flag
        for asset in item["assets"].values():
            if declared is None:
                asset.pop("raster:bands", None)
            elif "raster:bands" in asset:
                asset["raster:bands"] = [{"scale": 0.0001, "offset": declared}]
        assert resolved(item).offset == offset


def test_landsat_without_a_stated_scale_has_that_of_collection_2():
    name = "LC09_L2SP_129034_20230530_20230601_02_T1"
    files = {"SR_B2": "blue", "SR_B3": "green", "SR_B4": "red", "SR_B5": "nir08", "SR_B6": "swir16", "SR_B7": "swir22"}
    kind = "image/vnd.stac.geotiff; cloud-optimized=true"
    item = {
        "type": "Feature", "id": f"{name}_SR",
        "properties": {"datetime": "2023-05-30T03:41:51Z", "platform": "LANDSAT_9"},
        "assets": {
            **{common: {"href": f"{name}_{key}.TIF", "type": kind, "eo:bands": [{"name": key, "common_name": common}]}
               for key, common in files.items()},
            "qa_pixel": {"href": f"{name}_QA_PIXEL.TIF", "type": kind},
        },
    }  # fmt: skip
    scene = resolved(item)
    assert isinstance(scene.handle, SceneAssets), scene.handle
    assert (scene.scale, scene.offset, scene.quality, scene.sensor) == (2.75e-5, -0.2, "qa_pixel", "landsat-9")


def test_scale_one_without_an_offset_is_taken_for_the_default_of_a_tool(msi):
    del msi["properties"]["earthsearch:boa_offset_applied"]
    for asset in msi["assets"].values():
        for band in asset.get("raster:bands", ()):
            band.update(scale=1.0, offset=0.0)
    scene = resolved(msi)
    assert isinstance(scene.handle, SceneAssets), scene.handle
    assert (scene.scale, scene.offset) == (1e-4, -0.1)


def test_a_scene_whose_bands_differ_in_offset_is_refused(msi):
    msi["assets"]["red"]["raster:bands"][0]["offset"] = 0.0
    refusal = resolved(msi).handle
    assert isinstance(refusal, SceneRejected)
    assert refusal.reason == "RADIOMETRY"


@pytest.mark.parametrize("changes", [
    {"data_type": "float32"}, {"data_type": "uint8"}, {"scale": 0.5}, {"offset": -1000}, {"scale": "abc"},
    {"offset": [0]}, {"scale": float("nan")}, {"scale": True},
])  # fmt: skip
def test_bands_stated_to_be_scaled_already_are_refused(msi, changes):
    for name in ("blue", "green", "red", "nir", "swir16", "swir22"):
        msi["assets"][name]["raster:bands"] = [{"scale": 0.0001, "offset": 0, **changes}]
    msi["properties"].pop("earthsearch:boa_offset_applied")
    refusal = resolved(msi).handle
    assert isinstance(refusal, SceneRejected)
    assert refusal.reason == "RADIOMETRY"


def test_numbers_written_as_text_are_numbers(msi):
    msi["properties"].pop("earthsearch:boa_offset_applied")
    for name in ("blue", "green", "red", "nir", "swir16", "swir22"):
        msi["assets"][name]["raster:bands"] = [{"scale": "1e-4", "offset": "-0.1"}]
    found = resolved(msi)
    assert isinstance(found.handle, SceneAssets)
    assert found.scale == 1e-4


def test_stac_1_1_names_bands_and_projection_its_own_way(msi):
    for asset in msi["assets"].values():
        optical, raster = asset.pop("eo:bands", [{}]), asset.pop("raster:bands", [{}])
        asset["bands"] = [
            {"name": one.get("name"), "eo:common_name": one.get("common_name"),
             **{f"raster:{key}": raster[0][key] for key in ("scale", "offset") if key in raster[0]}}
            for one in optical
        ]  # fmt: skip
    msi["properties"]["proj:code"] = f"EPSG:{msi['properties'].pop('proj:epsg')}"
    msi["properties"]["earthsearch:boa_offset_applied"] = False
    scene = resolved(msi)
    assert [one.key for one in scene.handle.bands] == ["blue", "green", "red", "nir", "swir16", "swir22"]
    assert (scene.scale, scene.offset, scene.crs) == (0.0001, -0.1, "EPSG:32722")


def test_a_plain_item_with_common_names_at_the_asset_and_one_file_for_all_bands_is_read_by_band_number():
    item = {
        "type": "Feature", "id": "plain", "links": [], "bbox": [0, 0, 1, 1],
        "properties": {"datetime": "2020-06-01T03:00:00Z", "platform": "kite-1"},
        "assets": {
            "all": {"href": "a.tif", "bands": [
                {"eo:common_name": name, "raster:scale": 0.001} for name in ("blue", "green", "red", "nir")]},
            "scl": {"href": "scl.tif"},
        },
    }  # fmt: skip
    scene = resolved(item)
    assert [one and one.band for one in scene.handle.bands] == [0, 1, 2, 3, None, None]
    assert (scene.scale, scene.offset, scene.acquisition) == (0.001, 0.0, "kite-1/20200601T030000")
    item["assets"]["all"]["bands"] = [{"eo:common_name": name} for name in ("red", "nir")]
    assert "no scale" in str(resolved(item).handle)


@pytest.mark.parametrize(("name", "expected"), [
    ("HLS.S30.T48SUF.2020003T035141.v2.0", ["B02", "B03", "B04", "B8A", "B11", "B12"]),
    ("HLS.L30.T48SUF.2020003T033412.v2.0", ["B02", "B03", "B04", "B05", "B06", "B07"]),
])  # fmt: skip
@pytest.mark.parametrize("named", [True, False], ids=["common names", "keys only"])
def test_harmonised_granules_are_read_by_the_narrow_near_infrared(name, expected, named):
    commons = {"HLS.S30": {"B02": "blue", "B03": "green", "B04": "red", "B08": "nir", "B8A": "nir08", "B11": "swir16",
                           "B12": "swir22", "B05": "rededge"},
               "HLS.L30": {"B02": "blue", "B03": "green", "B04": "red", "B05": "nir08", "B06": "swir16",
                           "B07": "swir22"}}[name[:7]]  # fmt: skip
    assets = {
        key: {"href": f"https://x/{name}.{key}.tif", "type": "image/tiff; application=geotiff",
              **({"eo:bands": [{"name": key, "common_name": common}]} if named else {})}
        for key, common in commons.items()
    }  # fmt: skip
    assets["Fmask"] = {"href": f"https://x/{name}.Fmask.tif", "type": "image/tiff; application=geotiff"}
    scene = resolved({"type": "Feature", "id": name, "bbox": [0, 0, 1, 1], "links": [], "assets": assets,
                      "properties": {"datetime": "2020-01-03T03:51:41Z", "platform": "sentinel-2a"}})  # fmt: skip
    assert [one.key for one in scene.handle.bands] == expected
    assert (scene.quality, scene.scale, scene.offset) == ("fmask", 0.0001, 0.0)
    assert scene.acquisition.startswith("HLS-")


def of_dea(**properties):
    """An item of Sentinel-2 as Digital Earth Australia writes it, by its product definition and naming of files."""
    keys = {
        "nbart_blue": "band02", "nbart_green": "band03", "nbart_red": "band04", "nbart_nir_1": "band08",
        "nbart_nir_2": "band8a", "nbart_swir_2": "band11", "nbart_swir_3": "band12", "oa_fmask": "fmask",
        "oa_s2cloudless_mask": "s2cloudless-mask",
    }  # fmt: skip
    folder = "s3://dea-public-data/baseline/ga_s2am_ard_3/55/HFA/2021/09/13/20210913T014017"
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": "e1a2c1f6-0c4b-5d8a-9a1f-6a3f5d2b7c11",
        "collection": "ga_s2am_ard_3", "bbox": [148, -36, 149, -35], "links": [],
        "assets": {
            key: {
                "href": f"{folder}/ga_s2am_nbart_3-2-1_55HFA_2021-09-13_final_{file}.tif", "roles": ["data"],
                "eo:bands": [{"name": key}], "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            }
            for key, file in keys.items()
        },
        "properties": {
            "datetime": "2021-09-13T00:17:48.123Z", "platform": "sentinel-2a", "proj:epsg": 32755,
            "odc:region_code": "55HFA", "odc:dataset_version": "3.2.1", "odc:product": "ga_s2am_ard_3",
            "dea:dataset_maturity": "final", "sat:relative_orbit": 30,
            "sentinel:datastrip_id": "S2A_OPER_MSI_L1C_DS_VGS4_20210913T014017_S20210913T001106_N03.01",
            "sentinel:datatake_start_datetime": "2021-09-13T01:40:17Z", **properties,
        },
    }  # fmt: skip


def test_a_scene_of_digital_earth_australia_is_an_acquisition_by_its_datastrip_with_other_pixels_than_its_parent():
    scene = resolved(of_dea())
    assert (scene.acquisition, scene.tile, scene.orbit) == ("GA-S2A/20210913T001106", "55HFA", "030")
    assert (scene.sensor, scene.quality, scene.scale, scene.offset) == ("sentinel-2a", "oa_fmask", 1e-4, 0.0)
    keys = ["nbart_blue", "nbart_green", "nbart_red", "nbart_nir_1", "nbart_swir_2", "nbart_swir_3"]
    assert [one.key for one in scene.handle.bands] == keys
    interim = resolved(of_dea(**{"dea:dataset_maturity": "interim"}))
    assert interim.acquisition == scene.acquisition
    assert parse_baseline(interim.baseline) < parse_baseline(scene.baseline)


def test_level_1_is_refused(msi):
    msi["properties"]["s2:product_uri"] = "S2B_MSIL1C_20230912T133839_N0509_R124_T22MHD_20230912T174059.SAFE"
    assert "Level 1C" in str(resolved(msi).handle)


def test_an_item_that_cannot_be_read_keeps_its_name_but_never_takes_the_place_of_one_that_can(msi):
    del msi["assets"]["scl"]
    scene = resolved(msi)
    assert isinstance(scene.handle, SceneRejected)
    assert scene.handle.reason == "BROKEN"
    assert (scene.acquisition, scene.baseline) == ("S2B/20230912T133839", "")


@pytest.mark.parametrize("geometry", [
    {"type": "Polygon", "coordinates": []}, {"type": "Polygon", "coordinates": [[[0, 0], ["a", 1]]]},
    {"type": "Polygon"}, {"type": "Nonsense", "coordinates": [0, 0]},
    {"type": "Point", "coordinates": [float("nan"), 0]}, {"type": "Point", "coordinates": [500, 0]},
    {"type": "GeometryCollection", "geometries": None},
    {"type": "Polygon", "coordinates": [[[102, 36], [103, 1e308], [103, 37], [102, 37], [102, 36]]]},
    {"type": "Polygon", "coordinates": [[[102, 36], [103, 36], [103, float("nan")], [102, 37], [102, 36]]]},
])  # fmt: skip
def test_a_geometry_that_makes_no_sense_breaks_its_own_scene_only(msi, geometry):
    msi["geometry"] = geometry
    scene = resolved(msi)
    assert isinstance(scene.handle, SceneRejected)
    assert scene.footprint is None


SQUARE = [[100, 36], [101, 36], [101, 37], [100, 37], [100, 36]]
BOW_TIE = [[100, 36], [101, 37], [101, 36], [100, 37], [100, 36]]


@pytest.mark.parametrize(("coordinates", "area"), [
    ([SQUARE], 1), ([[[float(x), y, 0] for x, y in SQUARE]], 1), ([[[str(x), str(y)] for x, y in SQUARE]], 1),
    ([SQUARE[:-1]], 1), ([SQUARE, [[100.25, 36.25], [100.75, 36.25], [100.5, 36.75], [100.25, 36.25]]], 0.875),
    ([BOW_TIE], 0.5), ([[*SQUARE[:-1], *([100, 36 + n / 100] for n in range(99, -1, -1))]], 1),
])  # fmt: skip
def test_a_footprint_is_as_large_as_its_outline_says_each_time_it_is_read(msi, coordinates, area):
    msi["geometry"] = {"type": "Polygon", "coordinates": coordinates}
    assert [resolved(msi).footprint.area for _ in range(2)] == pytest.approx([area, area])


@pytest.mark.parametrize("change", [
    {"properties": None}, {"properties": []}, {"properties": {"datetime": None}}, {"properties": {"datetime": 3}},
    {"id": None}, {"id": ""}, {"id": []}, {"properties": {"datetime": "yesterday"}},
])  # fmt: skip
def test_an_item_without_an_id_or_a_day_is_not_a_scene(msi, change):
    assert resolved({**msi, **change}) is None


@pytest.mark.parametrize("change", [
    {"assets": None}, {"assets": []}, {"assets": {"red": 7}}, {"assets": {"red": {"href": None}}}, {"links": None},
    {"assets": {"red": {"href": "a.tif", "eo:bands": 3, "raster:bands": "x", "roles": 1, "bands": {}}}},
])  # fmt: skip
def test_an_item_of_the_wrong_shape_is_a_rejected_scene(msi, change):
    scene = resolved({**msi, **change})
    if "links" in change:
        assert isinstance(scene.handle, SceneAssets)
    else:
        assert isinstance(scene.handle, SceneRejected)


@pytest.mark.parametrize(("given", "expected"), [
    ("S2A\r\nBcc: a@b", "S2ABcc: a@b"), ("a\u202eb\x00c\u2028d", "abcd"), ("  x ", "x"), (7, "7"), (None, ""), ({}, ""),
    ("<b>", "<b>"),
])  # fmt: skip
def test_an_id_does_nothing_wherever_it_is_shown(given, expected):
    assert safe_text(given) == expected


def test_a_long_id_is_cut_but_stays_its_own():
    long = safe_text("x" * 300)
    assert len(long) == 128
    assert long != safe_text("x" * 301)


def test_the_order_of_bands_is_that_of_the_store(msi):
    msi["assets"] = dict(reversed(msi["assets"].items()))
    assert tuple(one.key for one in resolved(msi).handle.bands) == bands.OBSERVED
