"""The points of a growth chart: one estimate a season, a measured difference before the start and after a loss."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from monitor.verdict.assess import DEFAULT, JudgedSites, judge_sites, verdicts
from monitor.verdict.assessment import Series
from monitor.verdict.growth import GrowthPoint, growth_from_json, growth_points, growth_to_json
from tests.verdict.test_measured import END, SITE, START, TENDED, lost, series


def points(seen: Series, site=SITE, as_of: date = END, **beliefs: object) -> tuple[GrowthPoint, ...]:
    return growth_points(judged(seen, site, as_of, **beliefs))[0]


def judged(seen: Series, site=SITE, as_of: date = END, **beliefs: object) -> JudgedSites:
    found = judge_sites(seen, [site], calibration=DEFAULT, alpha=[0.05], as_of=as_of)
    filled = {name: np.full_like(getattr(found.history, name), value) for name, value in beliefs.items()}
    return replace(found, history=found.history._replace(**filled))


def test_each_season_since_the_start_has_the_verdict_of_the_day_of_its_last_scene():
    seen = series({2020: 0.0, 2021: 0.04, 2022: 0.08, 2023: 0.12})
    found = [point for point in points(seen) if point.day > START]
    assert [point.day.year for point in found] == [2020, 2021, 2022, 2023]
    then = verdicts(seen, SITE, np.array([point.day for point in found], "datetime64[D]"))
    expected = np.stack([then.uplift, then.uplift_low, then.uplift_high], axis=1)
    np.testing.assert_allclose([point[1:] for point in found], expected, atol=5.1e-5)


def test_a_season_before_the_start_has_its_difference_from_the_other_years_without_an_interval():
    seen = series({2023: 0.1})
    raised = np.where(seen.dates.astype("datetime64[Y]") == np.datetime64("2017"), seen.cover + 0.04, seen.cover)
    before = [point for point in points(replace(seen, cover=raised)) if point.day < START]
    assert [point.day.year for point in before] == [2016, 2017, 2018, 2019]
    assert [point.uplift for point in before] == pytest.approx([-0.01, 0.03, -0.01, -0.01], abs=2e-4)
    assert {point[2:] for point in before} == {(None, None)}


def test_scenes_after_the_day_change_nothing_and_one_season_or_none_is_enough():
    seen = series({2020: 0.0, 2021: 0.04, 2022: 0.08})
    assert points(seen, as_of=date(2021, 8, 1)) == points(seen.until(date(2021, 8, 1)), as_of=date(2021, 8, 1))
    (only,) = points(series({2020: 0.05}, first=2020))
    assert (only.day.year, only.low is None) == (2020, False)
    assert points(seen.until(date(2016, 1, 1))) == ()


def test_after_a_loss_its_season_has_the_estimate_before_and_the_difference_measured_since():
    seen = series({2021: 0.15, 2022: 0.15, 2023: 0.15})
    day = date(2023, 8, 1)
    fallen = replace(seen, cover=seen.cover - np.where(seen.dates >= np.datetime64(day), 0.12, 0.0))
    *_, year_before, before, since = points(fallen, **lost(day))
    assert (year_before.day.year, before.day < day, since.day > day) == (2022, True, True)
    assert before.low is not None
    assert since == GrowthPoint(since.day, pytest.approx(0.03, abs=2e-3), None, None)


def test_where_nothing_is_promised_the_points_are_changes_of_cover():
    *_, last = points(series({2020: 0.0, 2021: 0.0, 2022: 0.0, 2023: 0.0}), TENDED)
    assert last.low < last.uplift < last.high
    assert last.uplift == pytest.approx(0.0, abs=0.02)


def test_each_site_of_a_landscape_has_the_points_that_it_has_alone():
    parts = [
        series({2021: 0.02, 2022: 0.1}),
        series({2022: 0.1}, first=2019),
        series({2023: 0.0}).until(date(2012, 1, 1)),
    ]
    together = Series(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in ("dates", "cover", "control")},
        edge=np.cumsum([0, *(part.dates.size for part in parts)]),
    )
    sites = [SITE, TENDED, replace(SITE, id="c")]
    found = judge_sites(together, sites, calibration=DEFAULT, alpha=[0.05] * 3, as_of=END)
    assert growth_points(found) == [points(part, site) for part, site in zip(parts, sites, strict=True)]


def test_points_are_stored_and_read_again():
    seen = (GrowthPoint(date(2019, 9, 1), 0.01), GrowthPoint(date(2020, 9, 1), 0.1, 0.05, 0.2))
    assert growth_from_json(growth_to_json(seen)) == seen
    assert growth_from_json(None) == ()
