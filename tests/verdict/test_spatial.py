"""How the failing ground within a site changes its verdict."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from monitor.sites.site import Plan
from monitor.trends.kernels.failing import failing_area
from monitor.verdict.assess import DEFAULT
from monitor.verdict.assessment import AlertLevel, Assessment, Status
from monitor.verdict.explain import explain
from monitor.verdict.failing_area import FailingHectares, reports_failing_area, with_failing_area
from tests import builders

SITE = builders.site(start=date(2019, 4, 1), plan=Plan(A=0.22, k=0.22, L=2.0, too_early_years=1.5), hectares=20.0)
FINE = Assessment(
    site="a", as_of=date(2024, 9, 1), last_observed=date(2024, 8, 30), status=Status.ON_TRACK, probability=0.7,
    alert=AlertLevel.NONE, alert_rule=None, theta=0.75, theta_low=0.5, theta_high=1.0, uplift=0.1, uplift_low=0.07,
    uplift_high=0.13, expected=0.14, cover=0.3, control_cover=0.2, e_failure=1.0, n_scenes=90, n_pre=30,
    reasons=("CONTROL_POOR", "RAIN_UNKNOWN"), hectares=20.0, hectares_failing=None,
)  # fmt: skip
LARGE = FailingHectares(hectares=8.0, low=6.1, high=9.5, patches=True, day=date(2024, 8, 25))


def test_a_site_with_a_large_failing_part_is_failing_and_watched_but_never_red_by_that():
    found = with_failing_area(FINE, LARGE, SITE, DEFAULT)
    assert (found.status, found.probability) == (Status.FAILING, 0.975)
    assert (found.alert, found.alert_rule) == (AlertLevel.WATCH, "failure")
    assert (found.hectares_failing, found.hectares_failing_low, found.hectares_failing_high) == (8.0, 6.1, 9.5)
    assert found.hectares_failing_on == date(2024, 8, 25)
    assert found.reasons == ("SPATIAL_PATCH", "CONTROL_POOR", "RAIN_UNKNOWN")
    sentences = explain(found, SITE)
    assert sentences[0] == "A large part is not taking hold."
    assert "Regrowth is absent on about 8.0 of 20.0 hectares (6.1 to 9.5): the map shows where." in sentences
    assert "300.0 亩中约有 120.0 亩（91.5 至 142.5）未见成效，位置见地图。" in explain(found, SITE, language="zh")


def test_a_small_failing_part_is_reported_and_leaves_the_verdict():
    found = with_failing_area(FINE, replace(LARGE, hectares=3.0, low=2.0, high=4.2), SITE, DEFAULT)
    assert (found.status, found.alert) == (Status.ON_TRACK, AlertLevel.NONE)
    assert "SPATIAL_PATCH" in found.reasons
    scattered = with_failing_area(FINE, replace(LARGE, patches=False), SITE, DEFAULT)
    assert "SPATIAL_PATCH" not in scattered.reasons


def test_no_failure_is_named_by_the_area_before_the_third_year():
    young = replace(FINE, as_of=date(2021, 9, 1))
    assert with_failing_area(young, LARGE, SITE, DEFAULT).status is Status.ON_TRACK


def test_a_red_verdict_stays_as_it_is():
    red = replace(FINE, status=Status.FAILING, probability=0.97, alert=AlertLevel.RED, alert_rule="failure", theta=0.1)
    found = with_failing_area(red, replace(LARGE, hectares=18.0, low=14.0, high=20.0), SITE, DEFAULT)
    fields = ("hectares_failing", "hectares_failing_low", "hectares_failing_high", "hectares_failing_on")
    assert replace(found, **dict.fromkeys(fields)) == red


@pytest.mark.parametrize("status", [Status.TOO_EARLY, Status.INSUFFICIENT_DATA, Status.DISTURBED, Status.RECOVERED])
def test_sites_that_are_not_judged_by_their_share_of_the_plan_report_no_failing_ground(status):
    assert reports_failing_area(FINE, SITE)
    assert not reports_failing_area(replace(FINE, status=status), SITE)
    assert not reports_failing_area(replace(FINE, theta=None), SITE)
    assert not reports_failing_area(FINE, replace(SITE, plan=replace(SITE.plan, A=0.0)))


def test_half_failed_ground_is_reported_as_half_however_noisy_its_pixels_and_doubtful_its_mean():
    """Three years in, a pixel errs by a third of the plan, and the mean of the site by an eighth."""
    rng = np.random.default_rng(3)
    truth = np.ones((40, 40))
    truth[:, :20] = 0
    theta = truth + 0.3 * rng.standard_normal(truth.shape)
    within = np.ones(theta.shape, bool)
    sure, unsure = (
        failing_area(theta, np.full(theta.shape, 0.3), within, site_theta=0.5, site_variance=doubt**2, pixel=20.0)
        for doubt in (0.01, 0.125)
    )
    assert unsure.share == sure.share == pytest.approx(0.5, abs=0.05)
    assert unsure.share_high - unsure.share_low > 1.5 * (sure.share_high - sure.share_low)
