"""Plans as tables and as JSON: names, defaults, what a published plan carries, and hostile files."""

import json
from dataclasses import fields, replace
from datetime import date

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import box

from monitor.errors import BadData
from monitor.sites.growing_season import GrowingSeason
from monitor.sites.site import Plan
from monitor.verdict.assessment import AlertLevel, Assessment, Status
from monitor.verdict.calibration import Calibration
from monitor.verdict.tables.plan_json import plan_json
from monitor.verdict.tables.plans import read_plans
from tests import builders
from tests.verdict.tables.test_series import in_one_line, refused

ROW = {"site": "a", "start": "2017-04-01", "intervention": "planting", "biome": "loess"}
SITE = builders.site(
    "民勤-03", name="plot", geometry=box(103.0, -38.61, 103.01, -38.6), start=date(2017, 4, 1),
    intervention="erosion_control", subtype="slope", hectares=96.4321987,
    plan=Plan(A=0.21, k=0.55, L=0.4, too_early_years=2.5), slope_degrees=21.37,
    cohorts=((date(2017, 4, 1), 1 / 3), (date(2018, 4, 9), 2 / 3)),
)  # fmt: skip
CALIBRATION = replace(
    Calibration(), scene_sd=0.0191, source="placebos of loess", dated=date(2025, 10, 15), placebos=400
)
ASSESSMENT = Assessment(
    site=SITE.id, as_of=date(2025, 9, 1), last_observed=None, status=Status.LAGGING, probability=0.9,
    alert=AlertLevel.NONE, alert_rule=None, theta=0.4, theta_low=0.3, theta_high=0.5, uplift=0.1, uplift_low=0.1,
    uplift_high=0.1, expected=0.2, cover=0.3, control_cover=0.2, e_failure=1.0, n_scenes=9, n_pre=3,
    reasons=("SPATIAL_PATCH", "LOW_UPLIFT", "RAIN_LOW"), hectares=96.4321987, hectares_failing=12.3456,
    hectares_failing_low=4.5, hectares_failing_high=20.25, hectares_failing_on=date(2025, 8, 20),
    calibration=CALIBRATION.hash, episode=2, alpha=0.0125, series_digest="ab" * 32, code_version="9.9",
)  # fmt: skip


def as_json(content, folder, name="plan.json"):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_a_published_plan_carries_all_that_was_used(tmp_path):
    (found,) = read_plans(as_json(plan_json(SITE, ASSESSMENT, CALIBRATION), tmp_path)).values()
    for name in ("id", "start", "intervention", "biome", "subtype", "plan", "slope_degrees", "hectares"):
        assert getattr(found.site, name) == getattr(SITE, name), name
    assert found.site.cohorts == SITE.cohorts
    assert GrowingSeason.of(found.site) == GrowingSeason.of(SITE)
    assert found.calibration == CALIBRATION
    assert (found.episode, found.alpha, found.as_of) == (2, 0.0125, date(2025, 9, 1))
    assert (found.calibration_hash, found.series_digest) == (CALIBRATION.hash, "ab" * 32)
    assert found.background == ("RAIN_LOW",)
    assert found.failing_area.patches
    assert (found.failing_area.hectares, found.failing_area.day) == (12.3456, date(2025, 8, 20))


def test_several_published_plans_go_into_one_list(tmp_path):
    plans = [plan_json(replace(SITE, id=name), replace(ASSESSMENT, site=name), None) for name in ("b", "a")]
    found = read_plans(as_json(plans, tmp_path))
    assert sorted(found) == ["a", "b"]
    assert found["a"].calibration is None
    refused(as_json([*plans, plans[1]], tmp_path), "site 'a' has more than one plan", read_plans)


@pytest.mark.parametrize("kind", ["csv", "parquet", "json"])
def test_a_table_has_the_same_names_in_every_format(kind, tmp_path):
    row = {**ROW, "plan_A": 0.3, "k": 0.9, "plan_L": 0.25, "too_early_years": 1.5, "hectares": 12.5, "latitude": -35.0,
           "slope_degrees": 20.0, "cohorts": "2017-04-01:0.5;2018-04-01:0.5", "alpha": 0.02, "episode": 2}  # fmt: skip
    path = tmp_path / f"plans.{kind}"
    if kind == "json":
        as_json(row, tmp_path, path.name)
    else:
        frame = pd.DataFrame([row])
        (frame.to_csv if kind == "csv" else frame.to_parquet)(path, index=False)
    found = read_plans(path)["a"]
    assert found.site.plan == Plan(A=0.3, k=0.9, L=0.25, too_early_years=1.5)
    assert (found.site.hectares, found.site.slope_degrees, found.alpha, found.episode) == (12.5, 20.0, 0.02, 2)
    assert found.site.cohorts == ((date(2017, 4, 1), 0.5), (date(2018, 4, 1), 0.5))
    assert GrowingSeason.of(found.site).opens == GrowingSeason.of(SITE).opens


def test_both_names_of_a_number_may_be_given_where_they_agree(tmp_path):
    found = read_plans(as_json({**ROW, "A": 0.2, "plan_A": 0.2, "plan_k": None, "k": 0.3}, tmp_path))["a"]
    assert (found.site.plan.A, found.site.plan.k) == (0.2, 0.3)
    says = r"site 'a': A is 0\.2 and plan_A, the same, is 0\.3; keep one"
    refused(as_json({**ROW, "A": 0.2, "plan_A": 0.3}, tmp_path), says, read_plans)


@pytest.mark.parametrize(
    ("column", "nearest"),
    [("plan_a", "plan_A"), ("interventions", "intervention"), ("start_date", "start"), ("latitud", "latitude")],
)
def test_an_unknown_column_is_refused_with_the_nearest_known_name(column, nearest, tmp_path):
    pd.DataFrame([{**ROW, column: 1}]).to_csv(tmp_path / "p.csv", index=False)
    for path in (tmp_path / "p.csv", as_json({**ROW, column: 1}, tmp_path)):
        refused(path, f"column '{column}' is unknown; did you mean '{nearest}'", read_plans)


@pytest.mark.parametrize(("given", "says"), [
    ({"A": "x"}, "A is 'x', not a number"),
    ({"A": True}, "A is True, not a number"),
    ({"A": [0.2]}, "A is a list, not a number"),
    ({"k": 1e300}, "k is 1e[+]300; it must be the rate"),
    ({"hectares": 0}, "hectares is 0; it must be an area above 0"),
    ({"latitude": 91}, "latitude is 91; it must be degrees"),
    ({"slope_degrees": -1}, "slope_degrees is -1; it must be the mean slope"),
    ({"alpha": 0.2}, "alpha = 0.2 has no calibrated boundary"),
    ({"alpha": 0}, "alpha = 0 has no calibrated boundary"),
    ({"start": 20170401.5}, "start is '20170401.5'; a date such as"),
    ({"start": "2017-02-30"}, "start is '2017-02-30'; a date such as"),
    ({"start": None}, "start is absent"),
    ({"biome": {"deep": []}}, "biome is an object, not a text"),
    ({"site": ["a"]}, "site is a list, not a text"),
    ({"site": " "}, "plan 1: site is absent"),
    ({"cohorts": "2017-04-01:0.5;2018-04-01:0.6"}, "The shares of cohorts add up to 1.1, not 1"),
    ({"cohorts": "2018-04-01:1"}, "The first cohort was begun on 2018-04-01, but start is 2017-04-01"),
    ({"cohorts": "soon"}, "cohorts has 'soon'. Write day:share"),
    ({"plan_cover": "fields", "A": 0.2}, "plan_cover is 'fields'; did you mean 'field'"),
    ({"background": ["LOW_UPLIFT"]}, "background is a list; it must be a list of FEW_PIXELS"),
    ({"failing_area": {"hectares": 1}}, "failing_area lacks 'day'"),
    ({"failing_area": [1]}, "failing_area is a list, not an object"),
    ({"field_factor": {"value": 1, "low": 2, "high": 3, "rows": 0}}, "low <= value <= high"),
    ({"calibration": 3}, "calibration is 3, not an object"),
    ({"calibration": {"slow": 3}}, "calibration: column 'slow' is unknown; did you mean 'slow_sd'"),
    ({"calibration": {}}, "calibration lacks 'age_days'; it was published by another version"),
])  # fmt: skip
def test_a_bad_value_is_refused_in_one_line_that_names_the_site(given, says, tmp_path):
    refused(as_json({**ROW, **given}, tmp_path), says, read_plans)


@pytest.mark.parametrize(("content", "says"), [
    ("", "cannot be read as JSON"),
    ("[", "cannot be read as JSON"),
    ("[]", "columns .* are absent"),
    ("3", "plan 1 is 3, not an object"),
    ('[{"site": "a"}, null]', "plan 2 is None, not an object"),
    ('{"site": "a", "site": "b"}', "'site' is given twice"),
    ('{"site": "a", "A": NaN}', "NaN is not a number"),
    ('{"site": "a", "A": -Infinity}', "-Infinity is not a number"),
    (json.dumps({**ROW, "A": 0}).replace('"A": 0', '"A": 1e999'), "A is 'inf', not a finite number"),
    ('{"site": "a", "A": ' + "9" * 5000 + "}", "cannot be read as JSON"),
    ("[" * 100_000 + "]" * 100_000, "cannot be read as JSON: .*recursion"),
    (json.dumps(ROW).replace('"a"', "[" * 900 + "]" * 900), "site is a list, not a text"),
    ('{"site": "a"}', "columns 'start', 'intervention', 'biome' are absent; it has 'site'"),
    ('{"site": "\\ud800", "start": null, "intervention": "planting", "biome": "loess"}', "start is absent"),
], ids=range(14))  # fmt: skip
def test_a_hostile_file_is_refused_in_one_line(content, says, tmp_path):
    with pytest.raises(BadData, match=says) as caught:
        read_plans(as_json(content, tmp_path))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1500


def test_a_file_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / "plan.json").write_bytes('{"site": "民勤"}'.encode("gbk"))
    refused(tmp_path / "plan.json", "not UTF-8", read_plans)
    refused(tmp_path / "none.json", "no such file", read_plans)


@pytest.mark.parametrize("value", ["x", None, [], {}, True, 1e300, -1e300, [[0.05, 6], [0.02]], [[2, 3]], "2020"])
def test_a_constant_of_another_kind_is_refused(value, tmp_path):
    plan = plan_json(SITE, ASSESSMENT, CALIBRATION)
    for field in fields(Calibration):
        if field.name == "source" and isinstance(value, str):
            continue
        changed = {**plan, "calibration": {**plan["calibration"], field.name: value}}
        refused(as_json(changed, tmp_path), f"calibration: {field.name} (is|has) ", read_plans)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers(-(10**20), 10**20) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(
    changes=st.dictionaries(st.sampled_from(sorted(plan_json(SITE, ASSESSMENT, CALIBRATION))), json_values, max_size=3)
)
def test_any_value_of_a_published_plan_is_read_or_refused_in_one_line(changes, tmp_path_factory):
    path = as_json({**plan_json(SITE, ASSESSMENT, CALIBRATION), **changes}, tmp_path_factory.mktemp("fuzz"))
    try:
        plans = read_plans(path)
    except BadData as error:
        in_one_line(error, path)
    else:
        assert len(plans) == 1
