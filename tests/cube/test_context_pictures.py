"""Context pictures: which scenes are worth one, and what they show."""

from datetime import UTC, date, datetime

import numpy as np
import pytest

from monitor.cube.context_pictures import WHITE_REFLECTANCE, natural_colour, picture_candidates, replaces_picture
from monitor.cube.packed import PACKED_LAYERS
from monitor.cube.records import Picture, record_of
from monitor.imagery.source import Scene

START = date(2019, 4, 1)


def scene(day: str) -> Scene:
    time = datetime.fromisoformat(day).replace(tzinfo=UTC)
    return Scene(
        id=day, acquisition=f"s2/{day}", time=time, sensor="sentinel-2a", baseline="05.09", source="files", scale=1e-4,
        offset=0.0, quality="scl",
    )  # fmt: skip


def record(day: str, clear: float = 1.0, *, accepted: bool = True):
    return record_of(
        scene(day), accepted=accepted, reason="" if accepted else "CLOUD", clear_fraction=clear, n_pixels=100,
        measures={}, digest=day,
    )  # fmt: skip


def picture(name: str, day: str, clear: float) -> Picture:
    return Picture(name=name, time=scene(day).time.isoformat(), clear=clear, rgb=np.zeros((2, 2, 3), np.uint8))


def wanted(*records, have=(), seasons) -> dict[str, str]:
    chosen = picture_candidates(records, {one.name: one for one in have}, start=START, seasons=seasons)
    return {name: found.scene for name, found in chosen.items()}


def test_the_newest_the_clearest_before_the_start_and_the_clearest_of_each_season_are_looked_at():
    records = [record("2018-07-01", 0.92), record("2018-08-01"), record("2019-07-01"), record("2019-12-01", 0.95)]
    expected = {"2018": "2018-08-01", "before": "2018-08-01", "2019": "2019-07-01", "now": "2019-12-01"}
    assert wanted(*records, seasons=[2018, 2018, 2019, None]) == expected


def test_a_scene_that_was_rejected_or_in_which_the_site_lies_under_cloud_gets_no_picture():
    assert wanted(record("2018-07-01", accepted=False), record("2018-08-01", 0.89), seasons=[2018, 2018]) == {}


def test_the_newest_picture_is_replaced_by_one_ten_days_newer_and_never_by_an_older_one():
    have = [picture("now", "2020-07-11", 1.0), picture("2020", "2020-07-11", 1.0)]
    assert wanted(record("2020-07-20"), have=have, seasons=[2020]) == {}
    assert wanted(record("2020-07-21"), have=have, seasons=[2020]) == {"now": "2020-07-21"}
    assert wanted(record("2020-06-01"), have=have, seasons=[2020]) == {}


def test_the_newest_picture_is_shown_though_half_of_it_lies_beyond_the_swath():
    assert replaces_picture("now", 0.5, picture("now", "2017-08-05", 0.98))


def test_a_picture_of_a_season_gives_way_to_a_clearer_one_alone():
    old = picture("2020", "2020-07-11", 0.9)
    assert replaces_picture("2020", 0.95, old)
    assert not replaces_picture("2020", 0.9, old)


@pytest.mark.parametrize(
    ("reflectance", "level"),
    [(0.0001, 5), (WHITE_REFLECTANCE / 4, 128), (WHITE_REFLECTANCE, 255), (2 * WHITE_REFLECTANCE, 255)],
)
def test_brightness_is_the_square_root_of_reflectance_whatever_else_is_in_the_picture(reflectance, level):
    packed = np.full((len(PACKED_LAYERS), 2, 2), 8000, np.uint16)
    packed[:, 0, 0] = round(reflectance * 1e4)
    packed[PACKED_LAYERS.index("clear")] = 1
    rgb, clear = natural_colour(packed, scene("2020-07-01"))
    assert abs(int(rgb[0, 0, 0]) - level) <= 1
    assert clear == pytest.approx(1.0)
