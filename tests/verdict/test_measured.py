"""The measured difference: plain means against the same weeks of the years before, and what they veto."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from monitor.sites.growing_season import GrowingSeason
from monitor.sites.site import Plan, Site
from monitor.verdict.assess import DEFAULT, assess, assessments, histories, judge_sites, verdicts
from monitor.verdict.assessment import AlertLevel, Assessment, Series, Status
from monitor.verdict.explain import NOT_MEASURED, explain, false_alarm_rate, measured_difference
from monitor.verdict.kernels.history import SiteHistory
from monitor.verdict.plans import Plans
from monitor.verdict.status import judge
from monitor.verdict.usable_scenes import usable_scenes
from tests import builders

START = date(2020, 2, 1)
SITE = builders.site(start=START, plan=Plan(A=0.2, k=0.45, L=0.5, too_early_years=1.0), hectares=40.0)
TENDED = replace(SITE, intervention="tending", plan=replace(SITE.plan, A=0.0))
GROWING = GrowingSeason.of(SITE)
END = date(2023, 12, 1)
SE = np.sqrt(2 * 0.02**2 / 5 * (1 + 1 / 4) + 0.03**2 / 21)
"""Standard error of a season of 21 scenes after four equal ones."""


def series(since: dict[int, float], first: int = 2016, *, season: float = 0.2) -> Series:
    """Scenes every eight days; the difference of each season since the start differs from before by a constant."""
    days = np.concatenate([_season_days(year) for year in range(first, max(since) + 1)])
    year = days.astype("datetime64[Y]").astype(int) + 1970
    bell = np.tile(np.exp(-0.5 * ((np.arange(21) - 11) / 5.5) ** 2), days.size // 21)
    control = 0.3 + season * bell
    offset = 0.02 + 0.05 * bell  # as before the start: site and control have different seasons
    return Series(dates=days, cover=control + offset + [since.get(y, 0.0) for y in year], control=control)


def _season_days(year: int) -> np.ndarray:
    first, last = (np.datetime64(day, "D") for day in GROWING.days_of(year))
    return np.arange(first, last, np.timedelta64(8, "D"))[:21]


def believed(seen: Series, site: Site = SITE, as_of: date = END, **beliefs: object) -> Assessment:
    """Verdict where the model believes something in all scenes since the start, whatever the series shows."""
    plans = Plans.of([site])
    scenes = usable_scenes(seen, plans, DEFAULT)
    history = histories(scenes, plans, DEFAULT)
    shape = {name: getattr(history, name).shape for name in SiteHistory._fields}
    history = history._replace(**{name: np.broadcast_to(value, shape[name]) for name, value in beliefs.items()})
    day = np.array([as_of], "datetime64[D]").astype(np.int64)
    table = judge(np.zeros(1, np.int64), day, scenes, history, plans, DEFAULT, np.array([0.05]))
    return assessments(table, [site], DEFAULT)[0]


ON_TRACK = {"below": 0.0, "surely_failing": False, "mean": 1.0, "sd": 0.1, "evidence_held": 0.0, "loss_day": -1}
FAILED = {"below": 1.0, "surely_failing": True, "mean": 0.0, "sd": 0.1, "evidence_held": 30.0, "loss_day": -1}


def lost(on: date) -> dict[str, object]:
    """The model is sure of a loss since a day, and that no more is wrong."""
    days = {name: np.datetime64(on, "D").astype(int) for name in ("loss_day", "loss_onset", "loss_first")}
    return ON_TRACK | {"loss_score": 30.0, "loss_now": 30.0, "loss_at_height": True, "loss_last": -1} | days


def plainly(seen: Series, site: Site, as_of: date) -> dict[int, tuple[float, float]]:
    """Mean and standard error of each season since the start, scene by scene."""
    whole = [
        (day, float(cover - control), *GrowingSeason.of(site).locate_date(day))
        for day, cover, control in zip(seen.dates.tolist(), seen.cover, seen.control, strict=True)
        if day <= as_of and np.isfinite(cover - control)
    ]
    used = [scene for scene in whole if scene[3] <= GrowingSeason.of(site).length]
    before = [scene for scene in used if scene[0] < site.start]
    change: dict[tuple[bool, int], list[float]] = {}
    for day, difference, season, position in used:
        same = [other[1] for other in before if abs(other[3] - position) <= 15]
        if same:
            change.setdefault((day < site.start, season), []).append(difference - np.mean(same))
    means = [np.mean(values) for (early, _), values in change.items() if early and len(values) >= 3]
    if not means:
        return {}
    m = len(means)
    year = ((np.var(means, ddof=1) * (m - 1) if m > 1 else 0.0) + 2 * 0.02**2) / (m - 1 + 2) * (1 + 1 / m)
    return {
        season: (float(np.mean(values)), float(np.sqrt(year + 0.03**2 / len(values))))
        for (early, season), values in change.items()
        if not early and len(values) >= 3
    }


def noisy(rng: np.random.Generator, first: int) -> Series:
    """Some scenes of a landscape with holes, also a whole year without the control."""
    seen = series(dict.fromkeys(range(2020, 2024), 0.05), first)
    control = seen.control + rng.normal(0, 0.03, seen.dates.size)
    control[seen.dates.astype("datetime64[Y]") == np.datetime64("2018")] = np.nan
    chosen = np.sort(rng.permutation(seen.dates.size)[: seen.dates.size // 2])
    return Series(dates=seen.dates[chosen], cover=seen.cover[chosen], control=control[chosen])


def test_all_sites_of_a_landscape_have_what_a_loop_over_the_scenes_of_each_gives():
    rng = np.random.default_rng(1)
    sites = [replace(SITE, id="a"), TENDED, replace(SITE, id="c", biome="karst"), replace(SITE, id="d")]
    parts = [noisy(rng, first) for first in (2016, 2019, 2017, 2020)]
    together = Series(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in ("dates", "cover", "control")},
        edge=np.cumsum([0, *(part.dates.size for part in parts)]),
    )
    for as_of in (date(2019, 8, 1), date(2021, 3, 1), date(2022, 8, 20), date(2023, 12, 1)):
        found = judge_sites(together, sites, calibration=DEFAULT, alpha=[0.05] * 4, as_of=as_of)
        for k, (site, part) in enumerate(zip(sites, parts, strict=True)):
            a, expected = found.assessment(k), plainly(part, site, as_of)
            growing = GrowingSeason.of(site)
            for season, values in (
                (growing.locate_date(as_of)[0], (a.measured, a.measured_se)),
                (growing.last_ended(as_of)[0], (a.measured_season, a.measured_season_se)),
            ):
                assert values == pytest.approx(expected.get(season, (None, None)), abs=2e-9)
            alone, cut = assess(part, site, as_of=as_of), assess(part.until(as_of), site, as_of=as_of)
            assert replace(alone, site=a.site) == a == cut


def test_a_site_six_points_higher_than_before_is_measured_six_points_higher():
    a = assess(series({2020: 0.0, 2021: 0.02, 2022: 0.04, 2023: 0.06}), SITE, as_of=date(2023, 8, 1))
    assert (a.measured, a.measured_season) == pytest.approx((0.06, 0.04), abs=2e-4)
    assert a.measured_season_se == pytest.approx(SE)
    assert assess(series({2023: 0.06}), SITE, as_of=END).measured_season == pytest.approx(0.06, abs=2e-4)
    assert measured_difference(replace(a, status=Status.ON_TRACK)) == [
        "Measured directly (mean over a season, against the same weeks before the start and the control ground), the "
        "site stands 6 points higher (give or take 2) in this season to date and 4 points higher (give or take 2) in "
        "the last full season."
    ]


def test_a_year_that_was_never_seen_changes_no_measured_difference():
    whole = series({2023: 0.06})
    control = np.where(whole.dates.astype("datetime64[Y]") == np.datetime64("2018"), np.nan, whole.control)
    a, known = (assess(replace(whole, control=c), SITE, as_of=END) for c in (control, whole.control))
    assert a.measured_season == pytest.approx(known.measured_season, abs=2e-4)
    assert a.measured_season_se > known.measured_season_se


def test_one_season_before_suffices_with_a_larger_error_and_so_does_a_control_without_a_season():
    one = assess(series({2023: 0.06}, first=2019), SITE, as_of=END)
    assert one.measured_season == pytest.approx(0.06, abs=2e-4)
    assert one.measured_season_se == pytest.approx(np.sqrt(2 * 0.02**2 + 0.03**2 / 21))
    assert assess(series({2023: 0.06}, season=0.0), SITE, as_of=END).measured_season == pytest.approx(0.06, abs=2e-4)


def test_without_years_before_the_start_nothing_is_measured_or_vetoed_and_the_page_says_what_is_lost():
    a = believed(series({2023: -0.2}, first=2020), **ON_TRACK)
    assert (a.measured, a.measured_se, a.measured_season, a.measured_season_se) == (None,) * 4
    assert (a.status, a.contradiction) == (Status.ON_TRACK, False)
    for pick, language in enumerate(("en", "zh")):
        assert measured_difference(a, language=language) == [NOT_MEASURED[pick]]


def test_a_site_whose_last_full_season_is_well_below_the_years_before_is_not_on_track():
    fine = believed(series({2022: 0.0, 2023: -0.04}), **ON_TRACK)
    low = believed(series({2022: 0.0, 2023: -0.06}), **ON_TRACK)
    assert (fine.status, low.status, low.probability) == (Status.ON_TRACK, Status.UNDECIDED, None)
    assert "MEASURED_LOWER" in low.reasons
    assert low.alert is AlertLevel.NONE


def test_a_site_surely_above_half_of_its_plan_is_neither_failing_nor_red():
    failed = believed(series({2023: 0.0}), **FAILED)
    assert (failed.status, failed.alert, failed.alert_rule) == (Status.FAILING, AlertLevel.RED, "failure")
    above = believed(series({2022: 0.1, 2023: 0.17}), **FAILED)
    assert (above.status, above.alert, above.probability) == (Status.UNDECIDED, AlertLevel.NONE, None)
    assert "MEASURED_HIGHER" in above.reasons
    assert measured_difference(above, brief=True)


@pytest.mark.parametrize(("site", "since", "red"), [
    (SITE, {2022: 0.08, 2023: -0.02}, True),
    (SITE, {2022: 0.30, 2023: 0.20}, False),  # it fell, and is still above half of the plan
    (TENDED, {2022: 0.0, 2023: -0.1}, True),
    (TENDED, {2022: 0.1, 2023: 0.0}, False),  # it fell to where it was before the work
])  # fmt: skip
def test_a_loss_is_not_red_above_half_of_the_plan_or_where_nothing_is_promised_as_before_the_work(site, since, red):
    a = believed(series(since), site, date(2023, 9, 1), **lost(date(2023, 6, 20)))
    assert (a.alert, a.alert_rule) == (AlertLevel.RED if red else AlertLevel.WATCH, "disturbance")


def test_a_site_surely_above_half_of_its_plan_is_not_lagging_where_that_contradicts_the_model():
    behind = {"mean": 0.1, "sd": 0.1, "below": np.array([0.1, 0.2, 1.0, 1.0]), "surely_failing": False}
    late = believed(series({2022: 0.0, 2023: 0.2}), **ON_TRACK | behind)
    assert (late.status, late.contradiction, late.probability) == (Status.UNDECIDED, True, None)
    assert "MEASURED_HIGHER" in late.reasons
    assert believed(series({2022: 0.0, 2023: 0.06}), **ON_TRACK | behind).status is Status.LAGGING


def fallen(on: date, by: float, since: dict[int, float]) -> Series:
    """A loss since a day, in the season of the site; 2023 is green again unless the loss is of more than .1."""
    seen = series(since)
    bell = (seen.control - 0.3) / 0.2
    lasts = (seen.dates >= np.datetime64(on)) & ((seen.dates < np.datetime64("2023-01-01")) | (by > 0.1))
    return replace(seen, cover=seen.cover - by * bell * lasts)


def test_a_red_loss_stays_red_in_the_spring_after_it_when_it_hardly_shows():
    on = date(2022, 7, 1)
    lost_all = fallen(on, 0.12, {2021: 0.06, 2022: 0.11, 2023: 0.11})
    tended = fallen(on, 0.1, {2022: 0.0, 2023: 0.0})
    for seen, site in ((lost_all, SITE), (tended, TENDED)):
        for day in (date(2022, 9, 20), date(2023, 5, 25)):
            assert believed(seen, site, day, **lost(on)).alert is AlertLevel.RED
    assert believed(tended, TENDED, date(2023, 9, 20), **lost(on) | {"loss_day": 19500}).alert is AlertLevel.WATCH


def test_a_veto_of_failure_holds_until_a_season_is_not_above_half_of_the_plan_at_all():
    above = believed(series({2022: 0.17, 2023: 0.055}), **FAILED)  # half of the plan and less than a standard error
    assert above.alert is AlertLevel.NONE
    assert believed(series({2022: 0.17, 2023: 0.02}), **FAILED).alert is AlertLevel.RED
    assert believed(series({2022: 0.02, 2023: 0.055}), **FAILED).alert is AlertLevel.RED


def test_an_uplift_that_is_green_all_the_year_round_does_not_contradict_the_model():
    promised = 0.2 * -np.expm1(-0.45 * (np.array([2.5, 3.5]) - 0.5))
    evergreen = series(dict(zip((2022, 2023), promised.tolist(), strict=True)))
    assert not believed(evergreen, **ON_TRACK).contradiction
    assert believed(series({2022: 0.1, 2023: 0.25}), **ON_TRACK).contradiction


def test_after_a_loss_the_measurement_of_the_year_before_and_since_then_is_stated():
    on = date(2023, 6, 20)
    seen = series({2022: 0.12, 2023: 0.12})
    fell = replace(seen, cover=seen.cover - 0.15 * (seen.dates >= np.datetime64(on)))
    a = believed(fell, SITE, date(2023, 9, 1), **lost(on))
    assert (a.loss_from, a.loss_to) == pytest.approx((0.12, -0.03), abs=5e-4)  # days of a season differ by one
    said = "+12 points in the year before the loss, −3 since."
    assert measured_difference(a) == [f"As measured against the control ground: {said}"]
    assert "受损前一年 +12 个百分点" in measured_difference(a, language="zh")[0]
    without = believed(series({2022: 0.12, 2023: 0.12}, 2020), SITE, date(2023, 9, 1), **lost(on))
    assert (without.loss_from, without.loss_to) == (None, None)  # no year before the start
    none = believed(seen, SITE, date(2023, 9, 1), **ON_TRACK | {"loss_first": -1})
    assert (none.loss_from, none.loss_to) == (None, None)


def test_where_nothing_is_promised_a_loss_of_the_last_weeks_of_the_season_alone_is_watched():
    seen = series({2022: 0.0, 2023: 0.0})
    late = seen.dates >= np.datetime64("2023-09-10")
    assert late.sum() >= 3
    a = believed(replace(seen, cover=seen.cover - 0.1 * late), TENDED, **lost(date(2023, 9, 10)))
    assert (a.alert, a.alert_rule) == (AlertLevel.WATCH, "disturbance")


def test_tended_ground_is_failing_after_two_full_seasons_surely_five_points_below_the_years_before():
    no_loss = ON_TRACK | {"mean": 0.0, "sd": 0.01}
    twice = series({2022: -0.1, 2023: -0.1})
    a = believed(twice, TENDED, **no_loss)
    assert (a.status, a.alert, a.alert_rule, a.probability) == (Status.FAILING, AlertLevel.WATCH, "failure", None)
    assert believed(twice, TENDED, date(2023, 8, 1), **no_loss).status is Status.UNDECIDED
    assert believed(series({2022: -0.1, 2023: -0.06}), TENDED, **no_loss).status is Status.UNDECIDED
    assert believed(series({2022: 0.0, 2023: 0.0}), TENDED, **no_loss).status is Status.ON_TRACK
    assert false_alarm_rate(a) == []  # was measured on sites with a plan


def test_tended_ground_that_has_more_likely_than_not_lost_five_points_is_undecided_and_not_without_loss():
    seen = series({2022: -0.04, 2023: -0.04})
    likely, unlikely = (believed(seen, TENDED, **ON_TRACK | {"below": chance}) for chance in (0.6, 0.4))
    assert (likely.status, likely.alert, likely.probability) == (Status.UNDECIDED, AlertLevel.NONE, None)
    assert explain(likely, TENDED)[0] == "Undecided: not yet clear whether vegetation has been lost."
    assert unlikely.status is Status.ON_TRACK


def test_model_and_measurement_contradict_each_other_at_season_ends_only():
    seen = series({2022: 0.0, 2023: 0.2})
    days = np.arange(np.datetime64("2023-06-01"), np.datetime64("2024-06-01"))
    estimated = {"mean": 0.0, "sd": 0.05, "below": 0.5, "surely_failing": False}
    flags = [believed(seen, as_of=day, **estimated).contradiction for day in days[::10].tolist()]
    ended = GROWING.days_of(2023)[1]
    assert flags == [day > ended for day in days[::10].tolist()]
    assert "MEASURED_HIGHER" in believed(seen, **estimated).reasons
    assert not believed(series({2022: 0.0, 2023: 0.04}), **estimated).contradiction  # four points apart


def test_columns_of_many_dates_are_the_assessments_of_each():
    seen = series({2020: 0.0, 2021: 0.03, 2022: -0.02, 2023: 0.05})
    dates = seen.dates[seen.dates >= np.datetime64(START)]
    columns = verdicts(seen, SITE, dates)
    for k in range(0, dates.size, 7):
        a = assess(seen, SITE, as_of=dates[k].item())
        assert columns.measured[k] == pytest.approx(np.nan if a.measured is None else a.measured, nan_ok=True)
        assert bool(columns.contradiction[k]) == a.contradiction


def test_a_control_without_the_season_that_the_site_had_before_the_start_gives_no_verdict():
    seen = series({2022: 0.1, 2023: 0.1})
    flat = 0.3 + 0.01 * np.cos(np.arange(seen.dates.size))
    a = assess(replace(seen, control=flat), SITE, as_of=END)
    assert (a.status, a.alert) == (Status.INSUFFICIENT_DATA, AlertLevel.NONE)
    assert a.reasons[0] == "CONTROL_CONSTANT"
    neither = replace(seen, cover=flat + 0.02, control=flat)
    assert "CONTROL_CONSTANT" not in assess(neither, SITE, as_of=END).reasons
