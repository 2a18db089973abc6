"""One acquisition has one name, whichever catalogue offers it."""

import itertools
from datetime import UTC, datetime, timedelta, timezone

import pytest

from monitor.imagery.acquisition_id import hls, landsat, normalised_baseline, same_acquisition, sentinel2

SPELLINGS = {
    "datatake id": (("GS2A_20200103T035141_023678_N02.13",), {"tile": "48SUF", "orbit": 104}),
    "datatake id without a baseline": (
        ("GS2A_20200103T035141_023678",), {"tile": "T48SUF", "baseline": 2.13, "orbit": "104"}),
    "product": (("S2A_MSIL2A_20200103T035141_N0213_R104_T48SUF_20200103T064512.SAFE",), {}),
    "product by address": (
        ("https://x/48/S/UF/S2A_MSIL2A_20200103T035141_N0213_R104_T48SUF_20200103T064512.SAFE/IMG/B04.tif",), {}),
    "Planetary Computer": (
        ("S2A_MSIL2A_20200103T035141_R104_T48SUF_20201003T064512",), {"baseline": "02.13"}),
    "Planetary Computer, its own datatake first": (
        ("GS2A_20200103T035141_023678_N02.13", "S2A_MSIL2A_20200103T035141_R104_T48SUF_20201003T064512"), {}),
    "Earth Engine": (
        ("GS2A_20200103T035141_023678_N02.13", "20200103T035141_20200103T035144_T48SUF"), {"orbit": 104}),
    "Earth Engine index alone": (
        ("20200103T035141_20200103T035144_T48SUF",), {"platform": "Sentinel-2A", "baseline": "02.13", "orbit": 104.0}),
    "Collection 1 of Earth Search": (
        ("GS2A_20200103T035141_023678_N02.13", "S2A_T48SUF_20200103T035144_L2A"), {"orbit": 104}),
    "old Earth Search with a product": (
        ("S2A_MSIL2A_20200103T035141_N0213_R104_T48SUF_20200103T064512", "S2A_48SUF_20200103_0_L2A"), {}),
    "any id, properties only": (
        ("scene-17",),
        {"platform": "sentinel-2a", "tile": "MGRS-48SUF", "baseline": "0213", "orbit": "R104",
         "time": datetime(2020, 1, 3, 3, 51, 41, 24000, tzinfo=UTC)}),
}  # fmt: skip


@pytest.mark.parametrize(("names", "more"), SPELLINGS.values(), ids=SPELLINGS.keys())
def test_every_spelling_of_a_sentinel_2_granule_is_the_same_one(names, more):
    found = sentinel2(*names, **more)
    assert (found.acquisition, found.tile) == ("S2A/20200103T035141", "48SUF")
    assert (found.baseline, found.orbit) == ("02.13", "104")


def test_a_reprocessed_granule_differs_in_its_baseline_only():
    old = sentinel2("S2B_MSIL2A_20190629T212529_N0212_R043_T06VVN_20201006T080531.SAFE")
    new = sentinel2("S2B_MSIL2A_20190629T212529_N0500_R043_T06VVN_20230705T111111.SAFE")
    assert (old.acquisition, old.tile) == (new.acquisition, new.tile) == ("S2B/20190629T212529", "06VVN")
    assert (old.baseline, new.baseline) == ("02.12", "05.00")


def test_an_id_with_a_day_only_stands_for_the_datatake_and_is_not_called_certain():
    found = sentinel2("S2A_28QCH_20200714_0_L2A")
    assert (found.acquisition, found.tile, found.exact) == ("S2A/20200714", "28QCH", False)
    assert same_acquisition(found.acquisition, "S2A/20200714T115221")
    assert not same_acquisition(found.acquisition, "S2A/20200711T115221")


def test_the_time_of_a_granule_settles_on_the_start_of_its_datatake():
    seen = sentinel2("S2A_28QCH_20200714_0_L2A", time=datetime(2020, 7, 14, 11, 55, 52, tzinfo=UTC))
    assert seen.acquisition == "S2A/20200714T115552"
    assert not seen.exact
    assert same_acquisition(seen.acquisition, "S2A/20200714T115221")


def test_only_a_certain_datatake_has_a_start():
    assert sentinel2("GS2A_20200103T035141_023678_N02.13").start == datetime(2020, 1, 3, 3, 51, 41, tzinfo=UTC)
    assert sentinel2("GS2A_20201399T035141_023678_N02.13").start is None
    assert sentinel2("S2A_28QCH_20200714_0_L2A").start is None
    assert landsat("LC08_129034_20200103").start is None


def test_the_next_orbit_another_platform_and_harmonised_pixels_are_other_acquisitions():
    assert not same_acquisition("S2A/20200714T115221", "S2A/20200714T133301")
    assert not same_acquisition("S2A/20200714T115221", "S2B/20200714T115221")
    assert not same_acquisition("HLS-S30/20200714T115221", "S2A/20200714T115221")


def test_a_datatake_over_midnight_is_one():
    assert same_acquisition("S2A/20181231T235957", "S2A/20190101T000001")


def test_a_scene_at_the_end_of_the_longest_datatake_is_of_it():
    assert same_acquisition("S2A/20200714T115221", "S2A/20200714T123221")


def test_where_names_disagree_the_surest_is_believed():
    names = ("S2A_MSIL2A_20200103T035155_N0500_R061_T48SUG_20230705T111111", "GS2A_20200103T035141_023678_N02.13")
    for given in itertools.permutations(names):
        found = sentinel2(*given)
        assert (found.acquisition, found.baseline) == ("S2A/20200103T035141", "02.13")


def test_a_time_of_another_zone_is_the_moment_it_is():
    here = datetime(2020, 1, 4, 7, 51, 41, tzinfo=timezone(timedelta(hours=20)))
    assert sentinel2(platform="S2A", time=here).acquisition == "S2A/20200103T115141"
    assert landsat(platform="LC08", path=129, row=34, time=here).acquisition == "LC08/129/20200103"


def test_the_time_in_a_collection_1_id_is_not_the_start_of_the_datatake():
    found = sentinel2("S2B_T22MHD_20230912T133836_L2A")
    assert not found.exact
    assert same_acquisition(found.acquisition, "S2B/20230912T133839")


@pytest.mark.parametrize(("names", "more"), [
    (("LC08_L2SP_129034_20200103_20200824_02_T1",), {}),
    (("LC08_L2SP_129034_20200103_20200824_02_T1_SR",), {}),
    (("LC08_L2SP_129034_20200103_20200824_02_T1", "LC08_129034_20200103"), {}),
    (("LC08_L2SP_129034_20200103_02_T1",
      "https://x/129/034/LC08_L2SP_129034_20200103_20200824_02_T1/LC08_L2SP_129034_20200103_20200824_02_T1_SR_B4.TIF"),
     {}),
    (("LC08_L2SP_129034_20200103_02_T1", "LC81290342020003LGN00"), {}),
    (("1_LC08_129034_20200103",), {"collection": 2}),
    (("LC81290342020003LGN00",), {"collection": "02"}),
    (("anything",), {"platform": "LANDSAT_8", "path": 129, "row": "34", "collection": 2,
                     "time": datetime(2020, 1, 3, 3, 34, tzinfo=UTC)}),
])  # fmt: skip
def test_every_spelling_of_a_landsat_scene_is_the_same_one(names, more):
    found = landsat(*names, **more)
    assert (found.acquisition, found.tile) == ("LC08/129/20200103", "034")
    processed = any("20200824" in name for name in names)
    assert (found.baseline, found.orbit, found.exact) == ("02.20200824" if processed else "02", "129", True)


def test_the_later_processing_and_the_later_collection_of_landsat_are_newer():
    names = ("LC08_L1TP_088080_20200525_20200608_01_T1", "LC08_L2SP_088080_20200525_20200525_02_RT",
             "LC08_L2SP_088080_20200525_20200820_02_T1")  # fmt: skip
    order = [[int(part) for part in landsat(name).baseline.split(".")] for name in names]
    assert order == sorted(order)


def test_harmonised_granules_carry_their_project_in_the_name():
    found = hls("HLS.L30.T48SUF.2020003T033412.v2.0")
    assert (found.acquisition, found.tile, found.baseline) == ("HLS-L30/20200103T033412", "48SUF", "2.0")


def test_harmonised_granules_of_one_tile_are_never_taken_for_one_another():
    one, later = (hls(f"HLS.L30.T48SUF.2020003T{clock}.v2.0").acquisition for clock in ("035141", "035205"))
    assert not same_acquisition(one, later)


@pytest.mark.parametrize("name", ["", "scene", "S2A_<b>_\r\n", "S2A_MSIL2A_2020", "x" * 300])
def test_a_name_without_a_known_form_gives_no_acquisition(name):
    assert sentinel2(name).acquisition == landsat(name).acquisition == hls(name).acquisition == ""


def test_a_zone_of_one_digit_is_the_zone_of_two():
    assert sentinel2("S2A_4QFJ_20200714_0_L2A").tile == sentinel2("", tile="MGRS-4QFJ").tile == "04QFJ"


@pytest.mark.parametrize(("given", "expected"), [
    ("05.09", "05.09"), ("N0509", "05.09"), ("0509", "05.09"), (509, "05.09"), (5.09, "05.09"), ("5.09", "05.09"),
    (5.1, "05.10"), ("05.10", "05.10"), (4, ""), ("99.99", "99.99"), ("N9999", "99.99"), ("", ""), (None, ""), ({}, ""),
    ("v2.0.1", ""),
])  # fmt: skip
def test_a_baseline_has_one_spelling(given, expected):
    assert normalised_baseline(given) == expected
