"""Days as people and programs write them."""

import contextlib
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import BadData
from monitor.sites.dates import read_day


@pytest.mark.parametrize(
    "text",
    [
        "2021-04-01", "2021-4-1", "2021/4/1", "2021/04/01", "2021.04.01", "2021.4.1", "20210401", "2021年4月1日",
        "2021 年 4 月 1 号", "２０２１-０４-０１", "2021-04-01T00:00:00", "2021-04-01 00:00:00",
        "2021/04/01 00:00:00.000",
        "2021/04/01 00:00:00+00", "2021-04-01T00:00:00Z", "2021-04-01T00:00:00+08:00", " 2021-04-01 ",
    ],
)  # fmt: skip
def test_common_ways_to_write_a_day_are_read(text):
    assert read_day(text) == date(2021, 4, 1)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("01/04/2021", "either way round"), ("1.4.2021", "either way round"), ("4-1-21", "either way round"),
        ("44287", "spreadsheet"), ("44287.5", "spreadsheet"), ("2021", "names no day"), ("2021-04", "names no day"),
        ("202104", "names no day"), ("2021年4月", "names no day"), ("2021-02-30", "no day of the calendar"),
        ("2021-13-01", "no day of the calendar"), ("1890-04-01", "1980 to 2100"), ("spring 2021", "1980 to 2100"),
        ("2021-04/01", "1980 to 2100"), ("2021-04-01 or later", "1980 to 2100"),
        ("2021-04-01" + 60 * " " + "x", "1980 to 2100"),
        ("", "1980 to 2100"), ("-2021-04-01", "1980 to 2100"),
    ],
)  # fmt: skip
def test_what_names_no_single_day_is_refused_with_the_reason(text, why):
    with pytest.raises(BadData, match=why):
        read_day(text)


@given(st.dates(date(1980, 1, 1), date(2100, 12, 31)), st.sampled_from("-/."), st.booleans())
def test_every_day_is_read_back(day, mark, short):
    month, number = (day.month, day.day) if short else (f"{day.month:02d}", f"{day.day:02d}")
    assert read_day(f"{day.year}{mark}{month}{mark}{number}") == day
    assert read_day(f"{day:%Y%m%d}") == day


@given(st.text(max_size=80) | st.text("0123456789-/.: T年月日Z+", max_size=20))
def test_no_text_crashes(text):
    with contextlib.suppress(BadData):
        assert 1980 <= read_day(text).year <= 2100
