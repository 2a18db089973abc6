"""On ground without noise theta is what was put in, whatever the season of control and uplift, and after a loss."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from monitor.sites.site import Plan
from monitor.verdict.assess import assess
from monitor.verdict.assessment import AlertLevel, Series, Status
from tests import builders
from tests.verdict.test_known_fates import assess_all

PLAN = Plan(A=0.20, k=0.45, L=1.0, too_early_years=2.0)
SITE = builders.site(start=date(2021, 1, 1), plan=PLAN)
DOY = np.arange(121, 289, 5)
DAYS = (
    np.array([f"{year}-01-01" for year in range(2016, 2027)], "datetime64[D]")[:, None]
    + (DOY - 1).astype("timedelta64[D]")
).ravel()
YEARS = (DAYS - np.datetime64(SITE.start)).astype(int) / 365.25
LAST = date(2026, 12, 31)
SEASONS = {
    "a bell": {}, "wide": {"width": 65}, "narrow": {"width": 30}, "early": {"peak": 190}, "late": {"peak": 240},
    "flat-topped": {"power": 4}, "bare ground": {"base": 0.05}, "winter green": {"pedestal": 0.15},
    "evergreen": {"pedestal": 0.4}, "a large plan": {"A": 0.35},
}  # fmt: skip


def season(peak: float = 215, width: float = 45, power: int = 2) -> np.ndarray:
    return np.exp(-(np.abs((np.tile(DOY, 11) - peak) / width) ** power) / 2)


def grown(
    theta: float, *, base: float = 0.2, pedestal: float = 0.04, A: float = 0.2, constant: float = 0.0, **shape: float
) -> Series:
    """A site that gained theta of its plan above its control, of which a share is green all the year round."""
    s = season(**shape)
    control = base * s + pedestal
    uplift = theta * A * -np.expm1(-PLAN.k * np.maximum(YEARS - PLAN.L, 0)) * (constant + (1 - constant) * s)
    return Series(dates=DAYS, cover=control + uplift, control=control)


@pytest.mark.parametrize("theta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("of", SEASONS.values(), ids=SEASONS)
def test_theta_is_what_was_put_in(theta, of):
    site = replace(SITE, plan=replace(PLAN, A=of.get("A", PLAN.A)))
    found = assess(grown(theta, **of), site, as_of=LAST)
    assert found.theta == pytest.approx(theta, abs=0.04)
    assert found.theta_low < theta < found.theta_high


@pytest.mark.parametrize("constant", [0.5, 1.0])
def test_evergreen_shrubs_on_bare_ground_get_the_theta_that_they_have(constant):
    found = assess(grown(1.0, constant=constant), SITE, as_of=LAST)
    assert found.theta == pytest.approx(1.0, abs=0.04)
    assert found.status is Status.ON_TRACK


def after_a_loss(*, half_life: float) -> Series:
    """A site on plan that loses .15 of its cover in July of its third year, half of it back after a time."""
    series, since = grown(1.0), YEARS - 2.54
    loss = np.where(since >= 0, 0.15 * 0.5 ** (np.maximum(since, 0) / half_life), 0.0) * season()
    noise = np.random.default_rng(1).normal(0, 0.005, DAYS.size)
    return replace(series, cover=series.cover - loss + noise)


def test_a_loss_that_healed_is_not_held_against_a_site():
    healed, lasting = (assess(after_a_loss(half_life=h), SITE, as_of=LAST) for h in (1.0, 1e9))
    assert healed.theta == pytest.approx(1.0, abs=0.15)
    assert (healed.status, healed.alert) == (Status.ON_TRACK, AlertLevel.NONE)
    assert lasting.theta < 0.4
    assert lasting.status in (Status.FAILING, Status.LAGGING)


def test_leaf_out_and_leaf_fall_that_differ_alone_are_watched_and_not_red():
    """From its third year on a site is leafless longer than its control, and as green in summer."""
    series, s = grown(1.0, pedestal=0.1), season()
    flanks = 0.12 * ((s > 0.15) & (s < 0.65)) * (YEARS > 2)
    history = assess_all(replace(series, cover=np.clip(series.cover - flanks, 0, 1)), SITE)
    levels = {a.alert for a in history if a.alert_rule == "disturbance"}
    assert levels <= {AlertLevel.WATCH}
    lasting = assess_all(after_a_loss(half_life=1e9), SITE)
    assert AlertLevel.RED in {a.alert for a in lasting if a.alert_rule == "disturbance"}
