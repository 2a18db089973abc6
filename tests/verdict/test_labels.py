"""What a status may say: `on_track` only of a site that is more likely on track than not, `undecided` where nothing is
likely enough, and never silence about what is surely low.
"""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.verdict import scores
from benchmarks.verdict.simulate import World, simulate
from monitor.alerts.lifecycle import next_alerts
from monitor.sites.site import Plan
from monitor.verdict.assessment import AlertLevel, Status
from monitor.verdict.status import LEVELS, RULES, STATUSES
from tests.verdict.test_known_fates import PLAN, SITE, Story, assess_all, series_of

PLANS = {
    "A .20": (Plan(A=0.20, k=0.45, L=1.0, too_early_years=2.0), 3),
    "sandy": (Plan(A=0.12, k=0.35, L=0.5, too_early_years=2.0), 3),
    "shrub": (Plan(A=0.12, k=0.25, L=1.5, too_early_years=2.0), 4),
    "small": (Plan(A=0.08, k=0.45, L=1.0, too_early_years=2.0), 3),
}
"""Plans of dry provinces, and the first year after the start at whose end most of their sites are judged."""


@pytest.mark.parametrize("name", PLANS)
def test_failed_sites_are_hardly_ever_called_on_track_in_the_first_judged_year(name):
    plan, year = PLANS[name]
    failed = scores.run(simulate(World(plan=plan, post=year + 1), {"failed": 100}, np.random.default_rng(61)))
    unjudged = (Status.TOO_EARLY, Status.INSUFFICIENT_DATA)
    assert sum(scores.share_called(failed, status, year) for status in unjudged) < 0.5, "judged by then"
    assert scores.share_called(failed, Status.ON_TRACK, year) <= 0.12


def test_sites_on_plan_are_still_called_on_track_in_year_six():
    good = scores.run(simulate(World(plan=PLANS["A .20"][0]), {"success": 100}, np.random.default_rng(62)))
    assert scores.share_called(good, Status.ON_TRACK, 6) >= 0.85


def test_the_three_probabilities_sum_to_one_wherever_there_is_a_theta_and_agree_with_the_status():
    world = World(plan=PLANS["sandy"][0], post=4)
    judged = scores.run(simulate(world, {"failed": 20, "success": 20, "slow": 20}, np.random.default_rng(63)))
    for rows in (o.rows for o in judged):
        known = np.isfinite(rows.theta)
        total = rows.p_failing + rows.p_lagging + rows.p_on_track
        np.testing.assert_allclose(total[known], 1.0, atol=1e-12)
        assert np.isnan(total[~known]).all()
        status = np.array(STATUSES)[rows.status]
        assert (rows.p_on_track[status == Status.ON_TRACK] >= 0.5).all()
        assert (rows.p_failing + rows.p_lagging)[status == Status.LAGGING].min(initial=1) >= 0.8
        undecided = status == Status.UNDECIDED
        assert (rows.p_on_track[undecided] < 0.5).all()
        assert np.isnan(rows.probability[undecided]).all()
        level = np.array(LEVELS)[rows.alert[undecided]]
        by_loss = rows.alert_rule[undecided] == RULES.index("disturbance")  # a loss that is less likely true than not
        assert ((level == AlertLevel.NONE) | by_loss).all()


def test_an_undecided_site_opens_no_alert_and_says_so():
    history = [a for seed in range(8) for a in assess_all(series_of(Story(theta=0.55, post=4), seed), SITE)]
    undecided = [a for a in history if a.status is Status.UNDECIDED]
    assert undecided
    assert all(next_alerts([], a, None) == [] for a in undecided)
    assert all("UNCERTAIN" in a.reasons and a.probability is None for a in undecided)


def test_a_site_whose_plan_promises_nothing_is_on_track_without_probabilities():
    tended = replace(SITE, intervention="tending", plan=replace(PLAN, A=0.0))
    last = assess_all(series_of(Story(theta=0.0), 1), tended)[-1]
    assert last.status is Status.ON_TRACK
    assert (last.probability, last.p_failing, last.p_lagging, last.p_on_track) == (None, None, None, None)


@pytest.mark.parametrize("seed", range(3))
def test_a_harvest_is_not_silenced_by_the_width_of_its_own_interval(seed):
    """Theta of -4 on a small plan has a wide interval, all of it far below a quarter of the plan."""
    small = replace(SITE, plan=Plan(A=0.05, k=0.45, L=0.5, too_early_years=2.0))
    series = series_of(Story(theta=-1.0, noise=0.03, clear=0.25), seed)  # what was promised to PLAN, taken away
    history = assess_all(series, small)
    low = [a for a in history if a.theta_high is not None and a.theta_high < 0.25 and a.as_of.year >= 2023]
    assert low
    assert not [a for a in low if "INTERVAL_WIDE" in a.reasons]
    red = next(i for i, a in enumerate(history) if a.alert is AlertLevel.RED and a.alert_rule == "failure")
    assert all(a.status is Status.FAILING for a in history[red:] if a.alert_rule == "failure")
    assert not [a for a in history[red:] if a.status is Status.INSUFFICIENT_DATA]
