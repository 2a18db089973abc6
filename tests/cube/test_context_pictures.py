"""Context pictures: which scenes are worth one, and what they show."""

from datetime import date

import numpy as np
import pytest

from monitor.cube import context_pictures
from monitor.cube.context_pictures import WHITE_REFLECTANCE, for_the_eye, is_clear_around, stretch_of
from monitor.cube.packed import PACKED_LAYERS
from monitor.cube.records import Picture
from monitor.imagery.source import Scene
from monitor.sites.growing_season import GrowingSeason
from tests import builders
from tests.landscape import site_scene

START = date(2019, 4, 1)


def scene(day: str) -> Scene:
    return builders.scene(day, date.fromisoformat(day))


def record(day: str, clear: float = 1.0, *, accepted: bool = True, units: float = 40.0):
    pixels, means = np.ones((len(PACKED_LAYERS), 100), np.uint16), np.ones((1, 1), np.float32)
    reason = "" if accepted else "CLOUD"
    return site_scene([scene(day)], pixels, means, reason=reason, n_pixels=round(100 * clear), n_units=int(units))


def picture(name: str, day: str, clear: float) -> Picture:
    return Picture(name=name, time=scene(day).time.isoformat(), clear=clear, rgb=np.zeros((2, 2, 3), np.uint8))


SEASON = GrowingSeason(120, 184, 93.0, 45.0)  # from 1 May to 31 October, peak on 1 August


def wanted(*records, have=()) -> dict[str, str]:
    chosen = context_pictures.picture_candidates(records, {one.name: one for one in have}, start=START, season=SEASON)
    return {name: found.scene.id for name, found in chosen.items()}


def test_the_newest_and_the_scene_nearest_to_the_peak_of_each_season_are_looked_at():
    records = [record("2018-07-01", 0.92), record("2018-08-20"), record("2019-07-01"), record("2019-12-01", 0.98)]
    expected = {"2018": "2018-08-20", "before": "2018-08-20", "2019": "2019-07-01", "now": "2019-12-01"}
    assert wanted(*records) == expected
    assert wanted(record("2017-08-01"), record("2018-06-01"))["before"] == "2018-06-01"


def test_the_same_pictures_are_stored_however_the_scenes_are_divided_into_batches():
    days = ["2018-05-20", "2018-07-20", "2018-08-13", "2018-09-01", "2019-06-01", "2019-08-10", "2019-07-23"]
    clear = [1.0, 0.91, 1.0, 0.95, 0.9, 0.99, 0.97]
    records = [record(day, share) for day, share in zip(days, clear, strict=True)]
    at_once = {name: day for name, day in wanted(*records).items() if name != "now"}
    # of two as near to the peak the newer one
    assert at_once == {"2018": "2018-08-13", "before": "2018-08-13", "2019": "2019-08-10"}
    for order in ([6, 0, 5, 1, 4, 2, 3], [3, 2, 1, 0, 4, 5, 6]):
        have: dict[str, Picture] = {}
        for at in order:
            for name, day in wanted(records[at], have=have.values()).items():
                have[name] = picture(name, day, 1.0)
        assert {name: one.time[:10] for name, one in have.items() if name != "now"} == at_once


def test_a_scene_that_was_rejected_or_in_which_the_site_lies_under_cloud_gets_no_picture():
    assert wanted(record("2018-07-01", accepted=False), record("2018-08-01", 0.89)) == {}


def test_the_newest_picture_is_replaced_by_one_ten_days_newer_and_never_by_an_older_one():
    have = [picture("now", "2020-07-11", 1.0), picture("2020", "2020-08-01", 1.0)]
    assert wanted(record("2020-07-20"), have=have) == {}
    assert wanted(record("2020-07-21"), have=have) == {"now": "2020-07-21"}
    assert wanted(record("2020-06-01"), have=have) == {}


def test_the_newest_new_scene_that_is_clear_around_the_site_too_becomes_the_picture_now():
    clear, cloudy_around, cloud_on_site = (
        record("2020-11-01", units=40.0), record("2020-11-20", units=20.0), record("2020-12-01", 0.93, units=40.0),
    )  # fmt: skip
    assert wanted(clear, cloudy_around, cloud_on_site) == {"now": "2020-11-01"}
    assert wanted(cloudy_around, cloud_on_site) == {"now": "2020-12-01"}


def test_the_newest_picture_is_shown_though_half_of_it_lies_beyond_the_swath_but_not_if_it_is_cloudy():
    have = {"now": picture("now", "2017-08-05", 0.98)}
    assert is_clear_around(0.5, 0.5, have)
    assert not is_clear_around(0.5, 1.0, have)


def test_beside_a_lake_which_is_never_clear_the_newest_picture_is_still_replaced():
    lake = {"now": picture("now", "2017-08-05", 0.6), "2017": picture("2017", "2017-08-05", 0.6)}
    assert is_clear_around(0.58, 1.0, lake)
    assert not is_clear_around(0.5, 1.0, lake)


def stored(*reflectances):
    values = np.clip(np.array([reflectances]) / WHITE_REFLECTANCE, 0, 1)
    return (1 + np.rint(254 * np.sqrt(values))).astype(np.uint8)


def test_dark_and_bright_ground_have_contrast_under_the_stretch_of_their_place_and_compare():
    dark, light = stored((0.02, 0.03, 0.02), (0.03, 0.05, 0.02)), stored((0.15, 0.12, 0.08), (0.25, 0.2, 0.14))
    alone = for_the_eye(dark, stretch_of([dark])).astype(int)
    assert alone[0, 1, 1] - alone[0, 0, 1] > 60, "forest is not black"
    both = stretch_of([dark, light])
    forest, soil = (for_the_eye(rgb, both).astype(int).mean() for rgb in (dark, light))
    assert soil - forest > 60
    assert for_the_eye(np.zeros((1, 1, 3), np.uint8), both).tolist() == [[[0, 0, 0]]]
    assert np.isfinite(stretch_of([np.zeros((2, 2, 3), np.uint8)])).all()


@pytest.mark.parametrize(("dates", "pair"), [
    (["2016-10-14", "2015-08-31", "2019-08-20", "2020-10-03"], ("2016-10-14", "2020-10-03")),
    (["2016-10-14", "2015-08-31", "2018-08-25", "2020-04-06"], ("2015-08-31", "2018-08-25")),
    (["2016-12-20", "2020-01-05"], ("2016-12-20", "2020-01-05")),
    (["2015-08-31", "2016-03-01", "2020-12-01"], ("2016-03-01", "2020-12-01")),
    (["2020-12-01"], (None, "2020-12-01")),
    ([], (None, None)),
])  # fmt: skip
def test_pictures_of_before_and_now_are_of_the_same_weeks_and_as_new_as_these_allow(dates, pair):
    pictures = {str(k): picture(str(k), day, 1.0) for k, day in enumerate(dates)}
    found = context_pictures.same_weeks_pair(pictures, date(2017, 4, 1))
    assert tuple(one and one.time[:10] for one in found) == pair


@pytest.mark.parametrize(
    ("reflectance", "level"),
    [(0.0001, 5), (WHITE_REFLECTANCE / 4, 128), (WHITE_REFLECTANCE, 255), (2 * WHITE_REFLECTANCE, 255)],
)
def test_brightness_is_the_square_root_of_reflectance_whatever_else_is_in_the_picture(reflectance, level):
    packed = np.full((len(PACKED_LAYERS), 2, 2), 8000, np.uint16)
    packed[:, 0, 0] = round(reflectance * 1e4)
    packed[PACKED_LAYERS.index("clear")] = 1
    rgb, clear = context_pictures.natural_colour(packed, scene("2020-07-01"))
    assert abs(int(rgb[0, 0, 0]) - level) <= 1
    assert clear == pytest.approx(1.0)
