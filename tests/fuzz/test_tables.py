"""Whatever a table holds, it is read or refused with its name; nothing else is opened, and nothing crashes."""

import csv
import io
from datetime import date

import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import box
from typer.testing import CliRunner

from jobs.answers.answers_csv import _read
from jobs.answers.field_csv import read_field_rows
from jobs.cli import app
from monitor.errors import BadData
from monitor.series.field_rows import FIELD_COLUMNS
from monitor.sites.site import Plan, Site
from monitor.verdict.tables.plans import read_plans
from monitor.verdict.tables.series import read_series
from tests.fuzz.hostile import altered, damaged, nothing_else_touched, quickly

DAYS = [f"{year}-{month:02d}-11" for year in (2019, 2021, 2022) for month in (6, 7, 8)]
SERIES = [["site", "date", "cover", "control"]] + [
    [site, day, f"{0.1 + 0.01 * place:.2f}", f"{0.1 + 0.005 * place:.3f}"]
    for site in ("a", "b")
    for place, day in enumerate(DAYS)
]
PLANS = [
    ["site", "start", "intervention", "biome", "A", "k", "L", "too_early_years"],
    ["a", "2020-04-01", "planting", "loess", "0.2", "0.6", "0.3", "1.5"],
    ["b", "2020-04-01", "planting", "loess", "", "", "", ""],
]
ANSWERS = [
    ["id", "verdict", "reason", "note", "date"],
    ["a1", "confirmed", "", "seen", "2024-05-01"],
    ["a1", "treated", "", "", ""],
]
FIELD = [list(FIELD_COLUMNS), ["a", "2024-05-01", "cover", "0.3", "5", "104.605", "35.505", "plot 1"]]
SITE = Site(
    id="a", name="a", geometry=box(104.6, 35.5, 104.61, 35.51), start=date(2020, 4, 1), intervention="planting",
    biome="loess", plan=Plan(A=0.2, k=0.6, L=0.3, too_early_years=1.5), hectares=100.0,
)  # fmt: skip


def table(rows):
    """Rows as CSV, whatever they hold."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, escapechar="\\")
    for row in rows if isinstance(rows, list) else [[rows]]:
        writer.writerow(row if isinstance(row, list) else [row])
    return text.getvalue().encode("utf-8", "surrogatepass")


def altered_table(rows):
    return altered(rows).map(table) | damaged(table(rows))


def read_or_refused(read, path):
    """Read a file; a refusal names it."""
    with nothing_else_touched(path.parent):
        try:
            read(path)
        except BadData as error:
            refused = str(error)
        else:
            return
    assert path.name in refused


@pytest.mark.parametrize("examples", [4, pytest.param(500, marks=pytest.mark.slow)])
def test_assess_refuses_or_judges_any_series_and_plans(tmp_path, examples):
    series, plans, out = tmp_path / "series.csv", tmp_path / "plans.csv", tmp_path / "out.csv"
    command = ["assess", str(series), "--plans", str(plans), "--out", str(out)]
    series.write_bytes(table(SERIES))
    plans.write_bytes(table(PLANS))
    assert CliRunner().invoke(app, command).exit_code == 0

    @quickly(examples)
    @given(st.one_of(
        st.tuples(altered_table(SERIES), st.just(table(PLANS))), st.tuples(st.just(table(SERIES)), altered_table(PLANS))
    ))  # fmt: skip
    def attack(contents):
        series.write_bytes(contents[0])
        plans.write_bytes(contents[1])
        with nothing_else_touched(tmp_path):
            done = CliRunner().invoke(app, command)
        assert done.exit_code == 0 or isinstance(done.exception, BadData), done.output

    attack()


@pytest.mark.parametrize("examples", [30, pytest.param(3000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("read", [read_series, read_plans])
def test_a_damaged_parquet_is_read_or_refused(tmp_path, read, examples):
    path = tmp_path / "t.parquet"
    rows = SERIES if read is read_series else PLANS
    pyarrow.parquet.write_table(pyarrow.csv.read_csv(io.BytesIO(table(rows))), path)
    read(path)

    @quickly(examples)
    @given(damaged(path.read_bytes()))
    def attack(content):
        path.write_bytes(content)
        read_or_refused(read, path)

    attack()


@pytest.mark.parametrize("examples", [40, pytest.param(5000, marks=pytest.mark.slow)])
def test_any_answers_are_read_or_refused(tmp_path, examples):
    path = tmp_path / "answers.csv"

    @quickly(examples)
    @given(altered_table(ANSWERS))
    def attack(content):
        path.write_bytes(content)
        read_or_refused(lambda file: _read(file, known={"a1"}), path)

    attack()


@pytest.mark.parametrize("examples", [40, pytest.param(5000, marks=pytest.mark.slow)])
def test_any_field_measurements_are_read_or_refused(tmp_path, examples):
    path = tmp_path / "field.csv"

    def read(file):
        read_field_rows(file, {"a": SITE}, {"a": SITE.start})

    @quickly(examples)
    @given(altered_table(FIELD))
    def attack(content):
        path.write_bytes(content)
        read_or_refused(read, path)

    attack()
