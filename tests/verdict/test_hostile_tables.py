"""A Parquet file that stands for more than the machine can hold is refused before its values are read."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monitor import tables
from monitor.errors import BadData
from monitor.verdict.tables.plans import read_plans

BEYOND = pa.array([2**31 - 1], pa.int32()).cast(pa.date32())
"""A day five million years ahead."""


def read(path):
    return tables.read(path, [tables.Column("site", "id", True), tables.Column("cover", "number", True)])


def written(path, site, cover):
    pq.write_table(pa.table({"site": site, "cover": cover}), path)
    return path


def test_an_ordinary_table_is_read_as_it_was_written(tmp_path):
    path = written(tmp_path / "in.parquet", pa.array(["a", "a", None, "é"]), pa.array([0.1, None, 0.3, 0.4]))
    table = read(path)
    assert table.cells["site"].to_pylist() == ["a", "a", None, "é"]
    assert table["cover"].tolist() == pytest.approx([0.1, np.nan, 0.3, 0.4], nan_ok=True)
    assert table.cells["site"].type == pa.string()


def test_equal_values_beyond_number_are_refused(tmp_path):
    rows = 20_000_000
    path = written(tmp_path / "in.parquet", np.zeros(rows, np.int8), np.zeros(rows, np.int8))
    assert path.stat().st_size < 200_000
    with pytest.raises(
        BadData, match=r"in.parquet: has 20000000 rows of 2 columns in \d+ bytes; .* 400 times as large"
    ):
        read(path)


def test_more_rows_than_any_programme_has_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MAX_ROWS", 3)
    with pytest.raises(BadData, match="at most 3 rows are read"):
        read(written(tmp_path / "in.parquet", np.zeros(4), np.zeros(4)))


def test_a_long_text_that_is_stored_once_for_many_rows_is_refused(tmp_path):
    text = pa.array(["x" * 100_000]).dictionary_encode()
    site = pa.DictionaryArray.from_arrays(np.zeros(100_000, np.int32), text.dictionary)
    path = written(tmp_path / "in.parquet", site, np.zeros(100_000))
    assert path.stat().st_size < 200_000
    with pytest.raises(BadData, match="column 'site' has 100000 texts of up to 100000 bytes"):
        read(path)


@pytest.mark.parametrize("value", [[0.1, 0.2], {"a": {"b": 0.1}}])
def test_nested_columns_are_refused(tmp_path, value):
    with pytest.raises(BadData, match=r"'cover.* is nested"):
        read(written(tmp_path / "in.parquet", ["a"], [value]))


def test_a_start_that_no_calendar_has_is_refused(tmp_path):
    plan = {"site": ["a"], "start": BEYOND, "intervention": ["planting"], "biome": ["loess"]}
    pq.write_table(pa.table(plan), tmp_path / "plans.parquet")
    with pytest.raises(
        BadData, match=r"plans\.parquet: row 0, site 'a': start is '<value out of range: 2147483647>'; a date"
    ):
        read_plans(tmp_path / "plans.parquet")


def test_a_day_that_no_calendar_has_is_not_a_number(tmp_path):
    path = written(tmp_path / "in.parquet", ["a"], BEYOND)
    with pytest.raises(BadData, match=r"in\.parquet: column 'cover' is date32\[day\], not a number"):
        read(path)["cover"]


def test_a_text_that_is_not_utf_8_is_refused(tmp_path):
    places = np.array([0, 1], np.int32)
    text = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(places), pa.py_buffer(b"\x80")])
    with pytest.raises(BadData, match=r"in\.parquet: not UTF-8 text"):
        read(written(tmp_path / "in.parquet", text, [0.1]))
