"""Series as tables: what is read, what is set right and counted, and what is refused."""

import string
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.errors import BadData
from monitor.series.observations import OBSERVATION_COLUMNS
from monitor.verdict.tables.series import COLUMNS, COVERS, read_placebos, read_series

NEEDED = ("site", "date", "cover")
ROWS = pd.DataFrame(
    {
        "site": "a", "date": ["2020-06-01", "2020-06-11", "2020-06-21"], "cover": [0.2, 0.25, 0.3],
        "control": [0.2, 0.21, 0.22],
    }
)  # fmt: skip


def written(frame: pd.DataFrame, folder: Path, name: str = "s.csv") -> Path:
    path = folder / name
    (frame.to_parquet if name.endswith("parquet") else frame.to_csv)(path, index=False)
    return path


def in_one_line(error: BadData, path: Path) -> None:
    """A table is refused in one line that names the file."""
    assert str(error).startswith(str(path))
    assert "\n" not in str(error)


def refused(path: Path, says: str, read=read_series) -> None:
    """A table that is refused in one line, which names the file and the fault."""
    with pytest.raises(BadData, match=says) as error:
        read(path)
    in_one_line(error.value, path)


@pytest.mark.parametrize("name", ["s.csv", "s.parquet"])
def test_numbers_are_read_to_the_last_bit(name, tmp_path):
    values = np.random.default_rng(1).random(2000).round(6)
    dates = np.arange("2015-01-01", "2020-06-23", dtype="datetime64[D]")[:2000].astype(str)
    frame = pd.DataFrame({"site": "a", "date": dates, "cover": values, "control": values[::-1]})
    found = read_series(written(frame, tmp_path, name)).series["a"]
    assert (found.cover == values).all()
    assert (found.control == values[::-1]).all()


def test_published_names_are_read_and_rejected_scenes_are_left_out(tmp_path):
    frame = pd.DataFrame({name: ["", "", ""] for name in OBSERVATION_COLUMNS})
    frame = frame.assign(
        site="a", date=ROWS.date, clear_fraction=["0.9", "0.2", "0.8"], cover=["0.3", "", "0.4"],
        control_cover=["0.2", "", "0.25"], accepted=["true", "false", "TRUE"], reason=["", "CLOUD", ""],
        control_2=["0.21", "", ""], second_index=["0.1", "", "0.2"], control_second_index=["0.05", "", "0.3"],
        scene=["x", "y", "z"],
    )  # fmt: skip
    found = read_series(written(frame, tmp_path)).series["a"]
    assert found.dates.astype(str).tolist() == ["2020-06-01", "2020-06-21"]
    assert found.clear.tolist() == [0.9, 0.8]
    assert found.control.tolist() == [0.2, 0.25]
    assert found.second.tolist() == pytest.approx([0.05, -0.1])
    assert np.isnan(found.control_2).tolist() == [False, True]


def test_a_site_without_an_accepted_scene_has_an_empty_series(tmp_path):
    assert read_series(written(ROWS.assign(accepted="false"), tmp_path)).series["a"].dates.size == 0


def test_the_clearest_of_several_scenes_of_a_day_counts(tmp_path):
    frame = pd.concat([ROWS.assign(clear=0.8), ROWS.assign(clear=0.9, cover=0.5), ROWS.assign(clear=0.7, cover=0.9)])
    assert read_series(written(frame, tmp_path)).series["a"].cover.tolist() == [0.5, 0.5, 0.5]
    shuffled = frame.sample(frac=1, random_state=3)
    assert read_series(written(shuffled, tmp_path)).series["a"].cover.tolist() == [0.5, 0.5, 0.5]
    hidden = pd.concat([ROWS.assign(clear=0.8), ROWS.assign(clear=0.9, cover=np.nan)])
    assert read_series(written(hidden, tmp_path)).series["a"].cover.tolist() == [0.2, 0.25, 0.3]


def test_the_first_of_equally_clear_scenes_counts_if_they_are_named_and_none_if_they_are_not(tmp_path):
    first, second = ROWS.assign(clear=0.9, scene="x"), ROWS.assign(clear=0.9, scene="y", cover=0.5)
    assert read_series(written(pd.concat([first, second]), tmp_path)).series["a"].cover.tolist() == [0.2, 0.25, 0.3]
    assert read_series(written(pd.concat([second, first]), tmp_path)).series["a"].cover.tolist() == [0.5, 0.5, 0.5]
    nameless = pd.concat([first, second]).drop(columns="scene")
    refused(written(nameless, tmp_path), r"site 'a' has two different rows for 2020-06-01 \(line 2 and line 5\)")


def test_cover_slightly_outside_is_set_to_the_limit_and_counted_by_site(tmp_path):
    outside = ROWS.assign(cover=[-0.1, 1.1, 0.3], control=[0.2, -0.001, 0.2], control_2=[1.05, 0.1, 0.1])
    found = read_series(written(pd.concat([outside, ROWS.assign(site="b")]), tmp_path))
    assert found.clipped == {"a": 4}
    assert found.series["a"].cover.tolist() == [0.0, 1.0, 0.3]
    assert found.series["a"].control.tolist() == [0.2, 0.0, 0.2]
    assert found.series["a"].control_2.tolist() == [1.0, 0.1, 0.1]


@pytest.mark.parametrize("column", COVERS)
@pytest.mark.parametrize("value", [-0.11, 1.11, 35.0, 1e300])
def test_cover_further_outside_is_refused_with_its_row(column, value, tmp_path):
    frame = ROWS.assign(**{column: [0.2, value, 0.3]})
    refused(written(frame, tmp_path), rf"s\.csv: line 3, site 'a', 2020-06-11: {column} is .*; it must be a fraction")


@pytest.mark.parametrize(("column", "nearest"), [
    ("contrl", "control"), ("Cover", "cover"), ("control2", "control_2"), ("clear_frac", "clear_fraction"),
    ("dates", "date"),
])  # fmt: skip
def test_an_unknown_column_is_refused_with_the_nearest_known_name(column, nearest, tmp_path):
    says = rf"s\.csv: column '{column}' is unknown; did you mean '{nearest}'"
    refused(written(ROWS.assign(**{column: 1}), tmp_path), says)


@pytest.mark.parametrize(("change", "says"), [
    (lambda f: f.assign(control_cover=0.2), r"column 'control' or 'control_cover' is given more than once"),
    (lambda f: f.assign(second_index=0.2), r"second_index and control_second_index are used together"),
    (lambda f: f.assign(clear=1.2), r"clear is 1\.2; it must be a fraction 0\.\.1"),
    (lambda f: f.assign(accepted="?"), r"line 2, site 'a', 2020-06-01: accepted is '\?', neither true nor false"),
    (lambda f: f.assign(cover="1_0"), r"cover is '1_0', not a number"),
    (lambda f: f.assign(cover="inf"), r"cover is 'inf', not a finite number"),
    (lambda f: f.assign(date="1600-13-45"), r"date is '1600-13-45'"),
])  # fmt: skip
def test_impossible_values_and_columns_are_refused(change, says, tmp_path):
    refused(written(change(ROWS), tmp_path), says)


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize(
    "form", ["{0.year}/{0.month}/{0.day}", "{0.year}年{0.month}月{0.day}日", "{0:%Y.%m.%d}", "{0:%Y%m%d}"]
)
def test_a_table_as_a_spreadsheet_writes_it_is_the_same_table(mark, form, tmp_path):
    """With a byte order mark, other marks between cells, and days as spreadsheets show them."""
    plain = read_series(written(ROWS.assign(site="乌兰"), tmp_path)).series["乌兰"]
    days = [form.format(day) for day in pd.to_datetime(ROWS["date"])]
    ROWS.assign(site="乌兰", date=days).to_csv(tmp_path / "x.csv", index=False, sep=mark, encoding="utf-8-sig")
    read = read_series(tmp_path / "x.csv").series["乌兰"]
    assert read.dates.tolist() == plain.dates.tolist()
    assert read.cover.tolist() == plain.cover.tolist()


@pytest.mark.parametrize(("change", "says"), [
    (lambda f: f.rename(columns={"cover": "盖度"}), "column '盖度' is unknown; rename or remove it"),
    (lambda f: f.assign(cover="0,31"), "cover is '0,31', not a number; write a decimal point"),
    (lambda f: f.assign(date="1/4/2021"), "where day and month could be either way round"),
    (lambda f: f.assign(date="44287"), "as a spreadsheet counts it"),
])  # fmt: skip
def test_advice_on_what_a_spreadsheet_wrote_fits_the_fault(change, says, tmp_path):
    change(ROWS).to_csv(tmp_path / "s.csv", index=False, sep=";")
    refused(tmp_path / "s.csv", says)


@pytest.mark.parametrize("encoding", ["utf-16", "gbk"])
def test_another_encoding_is_named_as_the_fault(encoding, tmp_path):
    ROWS.assign(site="乌兰").to_csv(tmp_path / "s.csv", index=False, encoding=encoding)
    refused(tmp_path / "s.csv", "not UTF-8 text; save it as UTF-8")


def test_a_line_with_another_number_of_cells_is_refused(tmp_path):
    for line, says in (
        ("a,2020-06-01,0.2,0.2,0.3", "more cells than columns"), ("a,2020-06-01,0.2", "has 3 cells for 4 columns")
    ):  # fmt: skip
        (tmp_path / "s.csv").write_text(f"site,date,cover,control\na,2020-05-01,0.1,0.1\n{line}\n")
        refused(tmp_path / "s.csv", f"s.csv: line 3, site 'a', 2020-06-01: {says}")


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    (tmp_path / "s.csv").write_text("site,date,cover,cover,control\na,2020-06-01,0.2,0.3,0.2\n")
    refused(tmp_path / "s.csv", "column 'cover' is given more than once")


def test_row_numbers_that_pandas_writes_are_not_read_as_a_column(tmp_path):
    ROWS.to_csv(tmp_path / "s.csv")
    assert read_series(tmp_path / "s.csv").series["a"].cover.tolist() == [0.2, 0.25, 0.3]


def test_ids_are_read_as_they_were_before_they_were_made_harmless(tmp_path):
    rows = [f"{site},2020-06-01,0.2,0.2" for site in ("'=1+1", "  民勤  ", "'quoted")]
    (tmp_path / "s.csv").write_text("\n".join(["\ufeffsite,date,cover,control", *rows]), encoding="utf-8")
    assert set(read_series(tmp_path / "s.csv").series) == {"=1+1", "民勤", "'quoted"}


def test_text_of_a_parquet_may_be_of_any_kind(tmp_path):
    frame = ROWS.assign(site=pd.Categorical(["a", "a", "a"]), date=pd.to_datetime(ROWS.date), accepted=True)
    frame["cover"] = frame.cover.astype("float32")
    found = read_series(written(frame, tmp_path, "s.parquet")).series["a"]
    assert found.cover.tolist() == pytest.approx([0.2, 0.25, 0.3])
    refused(written(ROWS.assign(site=[[1], [2], [3]]), tmp_path, "s.parquet"), "is nested")


def test_the_digest_is_of_the_judged_values_alone(tmp_path):
    whole = read_series(written(ROWS.assign(clear=0.9), tmp_path)).series["a"]
    again = read_series(written(ROWS.assign(clear=0.9, reference_cover="", ndvi=0.5), tmp_path)).series["a"]
    assert whole.digest == again.digest
    for name in ("cover", "control", "clear", "control_2", "reference_cover"):
        other = ROWS.assign(clear=0.9) if name == "clear" else ROWS.assign(clear=0.9, **{name: 0.1})
        other = other.assign(clear=[0.9, 0.9, 0.8]) if name == "clear" else other
        assert read_series(written(other, tmp_path)).series["a"].digest != whole.digest


def test_placebos_have_four_columns(tmp_path):
    frame = ROWS.rename(columns={"site": "placebo"})
    assert set(read_placebos(written(frame, tmp_path)).series) == {"a"}
    refused(written(frame.drop(columns="placebo"), tmp_path), "column 'placebo' is absent", read_placebos)
    refused(written(frame.assign(plot=1), tmp_path), r"column 'plot' is unknown; did you mean 'placebo'", read_placebos)
    says = r"line 2, placebo 'a', 2020-06-01: cover is 'x', .*; 2 more values are wrong"
    refused(written(frame.assign(cover="x"), tmp_path), says, read_placebos)


cells = st.one_of(
    st.sampled_from(
        ["", "0.2", "1e9", "-0.05", "nan", "inf", "2020-06-01", "2021-07-15T00:00:00Z", "true", "a", "'=b"]
    ),
    st.text(string.printable + "民é\x00\u202e", max_size=8),
)


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_any_table_is_read_or_refused_in_one_line(data, tmp_path_factory):
    """Whatever the cells hold: a series with dates ascending and cover within 0..1, or one line that names the file."""
    extra = data.draw(
        st.lists(
            st.sampled_from([column.name for column in COLUMNS if column.name not in NEEDED]), unique=True, max_size=4
        )
    )
    columns = [*NEEDED, "control", *(name for name in extra if name != "control")]
    good = {"site": "a", "date": "2020-06-01", "cover": "0.2", "control": "0.2", "accepted": "true"}
    rows = [
        {name: data.draw(cells | st.just(good.get(name, ""))) for name in columns}
        for _ in range(data.draw(st.integers(0, 4)))
    ]
    path = tmp_path_factory.mktemp("fuzz") / "s.csv"
    pd.DataFrame(rows, columns=columns).to_csv(path, index=False)
    try:
        found = read_series(path)
    except BadData as error:
        in_one_line(error, path)
        return
    for series in found.series.values():
        assert (np.diff(series.dates.astype(int)) > 0).all()
        for values in (series.cover, series.control):
            assert ((values >= 0) & (values <= 1) | np.isnan(values)).all()


@settings(max_examples=150, deadline=None)
@given(content=st.binary(max_size=300) | st.binary(max_size=100).map(lambda tail: b"site,date,cover,control\n" + tail))
def test_any_bytes_are_read_or_refused(content, tmp_path_factory):
    for name in ("s.csv", "s.parquet"):
        path = tmp_path_factory.mktemp("fuzz") / name
        path.write_bytes(content)
        try:
            read_series(path)
        except BadData as error:
            in_one_line(error, path)


def test_every_optional_column_is_read(tmp_path):
    names = [column.name for column in COLUMNS if column.kind == "number"]
    frame = ROWS.assign(**dict.fromkeys(names, 0.5))
    found = read_series(written(frame, tmp_path)).series["a"]
    for field in ("control", "control_2", "clear", "reference"):
        assert getattr(found, field).tolist() == [0.5] * 3
    assert found.second.tolist() == [0.0] * 3
