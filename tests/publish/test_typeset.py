"""Columns of numbers set at once read as numbers formatted one by one do."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from monitor.publish.typeset import FAR, rows, tenths


def text(cells: np.ndarray) -> list[str]:
    return rows(cells, b"\n").decode().splitlines()


@given(st.lists(st.floats(-FAR, FAR), min_size=1))
def test_a_place_on_a_drawing_has_one_decimal(places):
    for one, place in zip(text(tenths(np.array(places))), places, strict=True):
        assert one == f"{float(one):.1f}"
        assert abs(float(one) - place) <= 0.05 + 1e-9


def test_what_lies_far_beyond_the_drawing_is_as_far_as_can_be_told():
    assert text(tenths(np.array([-1e6, 1e6]))) == [f"{-FAR:.1f}", f"{FAR:.1f}"]


def test_no_rows_are_no_text():
    nothing = np.array([])
    assert rows(b"M", tenths(nothing), b"h0") == b""
