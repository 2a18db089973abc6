"""Assessments as a table: all fields of an assessment, the published day completed, and text inert."""

from dataclasses import fields, replace
from datetime import date

import numpy as np
import pyarrow.parquet
import pytest

from monitor.sites.cover_scale import field_cover
from monitor.verdict.assess import DEFAULT, verdicts
from monitor.verdict.assessment import Assessment, Status
from monitor.verdict.failing_area import FailingHectares
from monitor.verdict.tables.assessments import SiteVerdicts, assessment_table, write_table
from monitor.verdict.tables.plans import read_plans
from monitor.verdict.tables.series import read_series
from tests.verdict.test_assess_command import PLANS, table

NOT_OF_A_SERIES = {"series_digest", "code_version"}
DAY = date(2021, 12, 21)


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    table(1.0, 1).to_csv(folder / "s.csv", index=False)
    (folder / "p.csv").write_text(PLANS + "a,2017-01-01,planting,loess,,.25,.6,.3,2\n")
    plan, series = read_plans(folder / "p.csv")["a"], read_series(folder / "s.csv").series["a"]
    plan = replace(plan, site=replace(plan.site, hectares=50.0))
    return SiteVerdicts(plan, DEFAULT, verdicts(series, plan.site, series.dates[-30:], calibration=DEFAULT))


def test_the_table_has_every_field_of_an_assessment_that_a_series_can_give(judged):
    """Whoever adds a field states here that a series cannot give it, or adds it to the table and to ``plan.json``."""
    found = set(assessment_table([judged]).column_names)
    assert {field.name for field in fields(Assessment)} - found == NOT_OF_A_SERIES
    assert found <= {field.name for field in fields(Assessment)}


def test_only_the_published_day_gets_what_pixels_and_rain_show(judged):
    area = FailingHectares(hectares=20.0, low=16.0, high=25.0, patches=True, day=date(2021, 8, 30))
    plan = replace(judged.plan, as_of=DAY, background=("RAIN_LOW",), failing_area=area)
    rows = assessment_table([judged._replace(plan=plan)]).to_pylist()
    *before, last = rows
    assert before == assessment_table([judged]).to_pylist()[:-1]
    assert (last["as_of"], last["status"], last["alert"], last["alert_rule"]) == (DAY, "failing", "watch", "failure")
    assert last["probability"] == 0.975
    assert (last["hectares_failing"], last["hectares_failing_low"], last["hectares_failing_high"]) == (20.0, 16.0, 25.0)
    assert last["hectares_failing_on"] == area.day
    assert last["reasons"] == "SPATIAL_PATCH;RAIN_LOW"
    small = replace(area, hectares=4.0, low=1.0, high=8.0)
    (last,) = assessment_table([judged._replace(plan=replace(plan, failing_area=small))]).to_pylist()[-1:]
    assert (last["status"], last["hectares_failing"]) == (Status.ON_TRACK, 4.0)


def test_field_cover_is_index_cover_by_the_factor_of_the_plan(judged):
    for row in assessment_table([judged]).to_pylist():
        factor = judged.plan.field_factor
        assert (row["field_cover"], row["field_cover_low"], row["field_cover_high"]) == pytest.approx(
            field_cover(row["cover"], factor), abs=1e-15
        )
    rows = assessment_table([judged._replace(plan=replace(judged.plan, field_factor=None))]).to_pylist()
    assert {row["field_cover"] for row in rows} == {None}


def test_a_csv_begins_with_a_byte_order_mark_only_where_it_needs_one(judged, tmp_path):
    for name, marked in (("a", False), ("民勤-03", True), ("=1+1", False), ("＝1+1", True)):
        plan = replace(judged.plan, site=replace(judged.plan.site, id=name))
        write_table(assessment_table([judged._replace(plan=plan)]), tmp_path / "o.csv")
        content = (tmp_path / "o.csv").read_bytes()
        assert content.startswith(b"\xef\xbb\xbf") == marked
        cell = content.decode("utf-8-sig").splitlines()[1].split(",")[0].strip('"')
        assert cell == (f"'{name}" if name[0] in "=＝" else name)


def test_a_site_without_a_day_to_judge_has_no_row(judged, tmp_path):
    nothing = judged._replace(verdicts=type(judged.verdicts)(*(column[:0] for column in judged.verdicts)))
    write_table(assessment_table([nothing]), tmp_path / "o.parquet")
    assert pyarrow.parquet.read_table(tmp_path / "o.parquet").num_rows == 0
    assert assessment_table([nothing, judged]).num_rows == np.size(judged.verdicts.as_of)
