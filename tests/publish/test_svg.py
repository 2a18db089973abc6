"""Points, lines and gaps of SVG paths."""

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from monitor.publish.svg import MAX_COORDINATE, area, dots, line

PLACES = st.lists(
    st.tuples(st.floats(-MAX_COORDINATE, MAX_COORDINATE), st.floats(-MAX_COORDINATE, MAX_COORDINATE) | st.just(np.nan))
)


def columns(places: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    table = np.array(places, np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


@given(PLACES)
def test_a_place_on_a_drawing_has_one_decimal_and_what_was_not_seen_has_no_mark(places):
    drawn = re.findall(r"M(-?\d+\.\d),(-?\d+\.\d)h0", path := dots(*columns(places)))
    seen = [(x, y) for x, y in places if not np.isnan(y)]
    assert path == "".join(f"M{x},{y}h0" for x, y in drawn)
    assert len(drawn) == len(seen)
    for written, place in zip(drawn, seen, strict=True):
        for one, value in zip(written, place, strict=True):
            assert one == f"{float(one):.1f}".replace("-0.0", "0.0")
            assert abs(float(one) - value) <= 0.05 + 1e-9


def test_places_far_beyond_the_drawing_are_moved_to_the_largest_coordinate():
    assert (
        dots(np.array([-1e6, 1e6]), np.array([np.inf, 5.0]))
        == f"M{-MAX_COORDINATE}.0,{MAX_COORDINATE}.0h0M{MAX_COORDINATE}.0,5.0h0"
    )


def test_a_line_is_lifted_over_a_gap_and_begins_with_a_dot_that_shows_where_it_stands_alone():
    x, y = np.arange(5.0), np.array([1.0, 2.0, np.nan, 3.25, -0.04])
    assert line(x, y, np.array([0, 10, 20, 30, 90]), 25) == "M0.0,1.0h0L1.0,2.0L3.0,3.2M4.0,0.0h0"


def test_a_line_goes_on_over_what_was_not_seen_as_long_as_the_gap_is_short():
    x, y = np.arange(3.0), np.array([1.0, np.nan, 1.0])
    assert line(x, y, np.array([0, 10, 20]), 20) == "M0.0,1.0h0L2.0,1.0"
    assert line(x, y, np.array([0, 10, 21]), 20) == "M0.0,1.0h0M2.0,1.0h0"


def test_another_mark_may_be_drawn():
    assert dots(np.array([1.0, 2.0]), np.zeros(2), "V7") == "M1.0,0.0V7M2.0,0.0V7"


def test_without_places_there_is_no_path():
    nothing = np.array([])
    assert dots(nothing, nothing) == line(nothing, nothing, nothing.astype(np.int64), 1) == ""


def test_an_area_is_one_ring_up_to_a_gap_and_leaves_out_what_was_not_seen():
    x, low, high = np.arange(4.0), np.array([1.0, 2.0, np.nan, 3.0]), np.array([5.0, 6.0, 7.0, 8.0])
    assert area(x, low, high, np.array([0, 10, 20, 100]), 75) == "M0.0,1.0L1.0,2.0L1.0,6.0L0.0,5.0ZM3.0,3.0L3.0,8.0Z"
    assert area(x[:0], low[:0], high[:0], np.array([], int), 75) == ""
