"""Columns of numbers set at once read as numbers formatted one by one do."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from monitor.publish.typeset import FAR, millionths, rows, tenths

NUMBERS = st.integers(-8_999_999, 8_999_999).map(lambda count: count / 1e6) | st.floats(9, 1e9) | st.floats(-1e9, -9)


def text(cells: np.ndarray) -> list[str]:
    return rows(cells, b"\n").decode().splitlines()


@given(st.lists(NUMBERS | st.sampled_from([np.inf, -1e-9]), min_size=1))
def test_a_number_has_six_decimals_and_no_zero_is_below_zero(values):
    each = [f"{value:.6f}" for value in values]
    assert text(millionths(np.array(values))) == [one if float(one) else "0.000000" for one in each]


def test_a_number_that_is_not_there_is_empty():
    assert text(millionths(np.array([np.nan, 0.5, np.nan]))) == ["", "0.500000", ""]
    assert text(millionths(np.array([np.nan, 12.5]))) == ["", "12.500000"]


@given(st.lists(st.floats(-FAR, FAR), min_size=1))
def test_a_place_on_a_drawing_has_one_decimal(places):
    for one, place in zip(text(tenths(np.array(places))), places, strict=True):
        assert one == f"{float(one):.1f}"
        assert abs(float(one) - place) <= 0.05 + 1e-9


def test_what_lies_far_beyond_the_drawing_is_as_far_as_can_be_told():
    assert text(tenths(np.array([-1e6, 1e6]))) == [f"{-FAR:.1f}", f"{FAR:.1f}"]


def test_no_rows_are_no_text():
    nothing = np.array([])
    assert rows(b"M", tenths(nothing), b",", millionths(nothing)) == b""
