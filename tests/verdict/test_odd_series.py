"""Series with holes, too short, too early or plainly wrong: never a verdict that the data do not carry."""

from dataclasses import replace
from datetime import date
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from shapely.geometry import box

from monitor.errors import BadData
from monitor.sites.growing_season import GrowingSeason
from monitor.sites.site import Plan
from monitor.verdict.assess import assess
from monitor.verdict.assessment import AlertLevel, Assessment, Series, Status
from monitor.verdict.calibration import MAX_DAYS_OUTSIDE, WAVE_HEIGHT, WAVE_SCENES, WAVE_STANDARD_ERRORS
from monitor.verdict.usable_scenes import control_shape
from tests import builders
from tests.verdict.test_known_fates import assess_all

SITE = builders.site(
    "loess-1", start=date(2020, 4, 1), plan=Plan(A=0.2, k=0.6, L=0.3, too_early_years=1.5), hectares=40.0
)
END = date(2024, 12, 31)


def season(day_of_year: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * ((day_of_year - 215) / 45) ** 2)


def series(theta: float = 0.0, first: int = 2016, last: int = 2024, every: int = 10, seed: int = 0) -> Series:
    rng = np.random.default_rng(seed)
    days = np.arange(np.datetime64(f"{first}-01-05"), np.datetime64(f"{last}-12-31"), np.timedelta64(every, "D"))
    s = season((days - days.astype("datetime64[Y]")).astype(int) + 1)
    uplift = theta * np.array(
        [SITE.plan.uplift(float(t)) for t in (days - np.datetime64(SITE.start)).astype(int) / 365.25]
    )
    control = 0.04 + 0.2 * s + rng.normal(0, 0.01, days.size)
    return Series(
        dates=days, cover=np.clip(control + uplift * s + rng.normal(0, 0.015, days.size), 0, 1),
        control=np.clip(control, 0, 1),
    )  # fmt: skip


def quiet(found: Assessment) -> bool:
    return found.status is Status.INSUFFICIENT_DATA and found.alert is AlertLevel.NONE and found.probability is None


@pytest.mark.parametrize(("broken", "reason"), [
    (lambda s: replace(s, control=np.full(s.dates.size, np.nan)), "NO_CONTROL"),
    (lambda s: replace(s, cover=np.full(s.dates.size, np.nan)), "NO_CONTROL"),
    (lambda s: replace(s, clear=np.full(s.dates.size, 0.3)), "NO_CONTROL"),
    (lambda s: Series(dates=s.dates[-20:-19], cover=s.cover[-20:-19], control=s.control[-20:-19]), "FEW_SCENES"),
    (lambda s: Series(dates=s.dates[:0], cover=s.cover[:0], control=s.control[:0]), "NO_CONTROL"),
], ids=["control never seen", "site never seen", "never clear enough", "one scene", "nothing at all"])  # fmt: skip
def test_without_enough_to_see_nothing_is_judged_and_the_reason_is_named(broken, reason):
    found = assess(broken(series()), SITE, as_of=END)
    assert quiet(found)
    assert reason in found.reasons


def test_a_failing_site_that_is_no_longer_seen_falls_silent_and_not_green():
    seen = series(theta=0.0)
    assert assess(seen, SITE, as_of=END).status is Status.FAILING
    late = assess(seen, SITE, as_of=date(2026, 7, 1))
    assert quiet(late)
    assert "DATA_OLD" in late.reasons
    assert late.last_observed == seen.dates[-1].item()


def test_a_night_without_a_scene_has_the_verdict_of_the_last_scene():
    seen = series(theta=0.0)
    last = seen.dates[seen.dates <= np.datetime64("2024-09-20")][-1].item()
    one, next_night = assess(seen, SITE, as_of=last), assess(seen, SITE, as_of=date.fromordinal(last.toordinal() + 3))
    assert (one.status, one.alert, one.theta, one.e_failure) == (
        next_night.status, next_night.alert, next_night.theta, next_night.e_failure,
    )  # fmt: skip


def test_before_the_start_nothing_is_judged():
    found = assess(series(), SITE, as_of=date(2019, 9, 1))
    assert quiet(found)
    assert "START_IN_FUTURE" in found.reasons
    assert found.n_pre == found.n_scenes


def test_the_verdict_of_a_day_before_the_start_is_the_one_given_then():
    whole = series(first=2011)
    dry = (whole.dates >= np.datetime64("2014-01-01")) & (whole.dates < np.datetime64("2015-01-01"))
    whole = replace(whole, cover=np.where(dry, 0.4, 1) * whole.cover, control=np.where(dry, 0.4, 1) * whole.control)
    then = np.datetime64("2014-09-15")
    seen = whole.dates <= then
    short = Series(dates=whole.dates[seen], cover=whole.cover[seen], control=whole.control[seen])
    assert assess(whole, SITE, as_of=then.item()) == assess(short, SITE, as_of=then.item())


def test_where_nothing_was_promised_only_loss_is_judged():
    tended = replace(SITE, intervention="tending", plan=Plan(A=0.0, k=0.35, L=0.0, too_early_years=0.0))
    stable = assess(series(theta=0.0), tended, as_of=END)
    assert stable.status is Status.ON_TRACK
    assert (stable.theta, stable.e_failure, stable.expected) == (None, None, 0.0)
    assert stable.uplift_low < 0 < stable.uplift_high
    lost = assess(series(theta=-0.7), tended, as_of=END)
    assert lost.status in (Status.FAILING, Status.DISTURBED)
    assert lost.alert is not AlertLevel.NONE


def test_without_seasons_before_the_start_the_verdict_says_what_it_lacks():
    found = assess(series(theta=0.0, first=2020), SITE, as_of=END)
    with_them = assess(series(theta=0.0), SITE, as_of=END)
    assert "NO_PRE_SEASONS" in found.reasons
    assert "NO_PRE_SEASONS" not in with_them.reasons
    assert found.theta_high - found.theta_low > with_them.theta_high - with_them.theta_low


def test_scenes_outside_the_growing_season_count_as_observed_and_move_nothing():
    seen = series(theta=0.5)
    doy = (seen.dates - seen.dates.astype("datetime64[Y]")).astype(int) + 1
    winter = (doy < 121) | (doy > 288)
    snowed = replace(seen, cover=np.where(winter, 0.9, seen.cover), control=np.where(winter, 0.0, seen.control))
    one, other = assess(seen, SITE, as_of=END), assess(snowed, SITE, as_of=END)
    assert one == other
    assert one.n_scenes == seen.dates.size


def moved(seen: Series, days: int) -> Series:
    """The same cover and control so many days later in the year: the site still begins in April."""
    dates = seen.dates + np.timedelta64(days, "D")
    return replace(seen, dates=dates)


@pytest.mark.parametrize("days", [130, 182, 230])
@pytest.mark.parametrize("theta", [0.0, 1.0])
def test_where_the_control_is_green_at_another_time_than_its_biome_nothing_is_judged(theta, days):
    found = assess_all(moved(series(theta=theta), days), SITE)
    late = [one for one in found if one.as_of > date(2020, 12, 31)]
    assert all(quiet(one) and "SEASON_ELSEWHERE" in one.reasons for one in late)
    assert not any(one.alert is AlertLevel.RED for one in found)
    all_year = assess(moved(series(theta=theta), days), replace(SITE, biome="karst"), as_of=END)
    assert "SEASON_ELSEWHERE" not in all_year.reasons
    assert all_year.theta == pytest.approx(theta, abs=0.25)


@pytest.mark.parametrize("days", [-80, -40, 0, 40, 60])
def test_a_season_that_is_early_or_late_is_judged_all_the_same(days):
    found = assess(moved(series(theta=1.0), days), SITE, as_of=END)
    assert "SEASON_ELSEWHERE" not in found.reasons
    assert found.theta_low <= 1.0 <= found.theta_high


@pytest.mark.parametrize("ground", [lambda s: 0.08, lambda s: 0.08 + 0.03 * s, lambda s: 0.3 - 0.015 * s])
def test_ground_that_hardly_greens_has_no_season_to_be_elsewhere(ground):
    seen = series(theta=1.0)
    s = season((seen.dates - seen.dates.astype("datetime64[Y]")).astype(int) + 1)
    rest = seen.control - 0.04 - 0.2 * s
    flat = replace(seen, control=ground(s) + rest, cover=np.clip(seen.cover - seen.control + ground(s) + rest, 0, 1))
    assert "SEASON_ELSEWHERE" not in assess(flat, SITE, as_of=END).reasons


def test_south_of_the_equator_the_season_is_half_a_year_away():
    north = series(theta=1.0)
    south = replace(north, dates=north.dates + np.timedelta64(182, "D"))
    there = replace(SITE, geometry=box(20.0, -31.0, 20.1, -30.9), start=date(2020, 10, 1))
    found = assess(south, there, as_of=date(2025, 6, 30))
    assert found.status is Status.ON_TRACK
    assert found.theta == pytest.approx(1.0, abs=0.25)


def test_a_second_ring_that_greens_with_the_site_withholds_red():
    seen = series(theta=0.0)
    years = np.maximum((seen.dates - np.datetime64(SITE.start)).astype(int) / 365.25, 0)
    browning = seen.control * (1 - 0.1 * years)  # against this ring the site does well
    alone, both = assess(seen, SITE, as_of=END), assess(replace(seen, control_2=browning), SITE, as_of=END)
    assert alone.alert is AlertLevel.RED
    assert both.alert is not AlertLevel.RED
    assert both.e_failure < alone.e_failure


@pytest.mark.parametrize(("wrong", "message"), [
    (lambda s: replace(s, cover=s.cover * 100), "percent"),
    (lambda s: replace(s, control=np.where(np.arange(s.dates.size) == 7, -0.2, s.control)), str(series().dates[7])),
    (lambda s: replace(s, dates=s.dates[::-1]), "order"),
    (lambda s: replace(s, dates=np.repeat(s.dates[::2], 2)[: s.dates.size]), "repeated"),
    (lambda s: replace(s, cover=s.cover[:-1]), "values"),
], ids=["percent", "negative", "descending", "repeated", "short"])  # fmt: skip
def test_a_wrong_series_is_refused_by_site_and_place(wrong, message):
    with pytest.raises(BadData, match=message) as refusal:
        assess(wrong(series()), SITE, as_of=END)
    assert "loess-1" in str(refusal.value)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(seed=0, holes=0.0, theta=-1.0, size=266)  # shares of a probability that add up to more than 1 in the last bit
@given(seed=st.integers(0, 10_000), holes=st.floats(0, 1), theta=st.floats(-1, 2), size=st.integers(0, 330))
def test_whatever_is_missing_every_row_is_well_formed(seed, holes, theta, size):
    seen, rng = series(theta=theta), np.random.default_rng(seed)

    def torn(values: np.ndarray) -> np.ndarray:
        return np.where(rng.random(values.size) < holes, np.nan, values)[:size]

    one = Series(
        dates=seen.dates[:size], cover=torn(seen.cover), control=torn(seen.control), control_2=torn(seen.control)
    )
    rows = assess_all(one, SITE)
    assert [row.as_of for row in rows] == [d.item() for d in one.dates if d >= np.datetime64(SITE.start)]
    for row in rows:
        assert row.probability is None or 0 <= row.probability <= 1
        assert (row.theta is None) == (row.theta_low is None) == (row.uplift is None)
        assert row.theta is None or row.theta_low < row.theta < row.theta_high
        assert row.e_failure is None or 1 <= row.e_failure <= 1e12
        assert (row.alert is AlertLevel.NONE) == (row.alert_rule is None)
        assert row.alert is AlertLevel.NONE or row.status is not Status.INSUFFICIENT_DATA
        assert row.n_pre <= row.n_scenes
        assert row.reasons or row.status is not Status.INSUFFICIENT_DATA


def greenest_outside(day, cover, used, window, requested=None):
    """Whether the control of one site is greenest outside its season, after each requested scene."""
    scenes = SimpleNamespace(edge=np.array([0, day.size]), day=day, every=cover, used=used)
    plans = SimpleNamespace(sites=[SITE], opens=np.array([window.opens]), length=np.array([window.length]))
    return control_shape(scenes, plans, np.ones(day.size, bool) if requested is None else requested)[0]


@pytest.mark.parametrize("seed", range(12))
def test_the_wave_of_a_season_is_that_of_least_squares_scene_by_scene(seed):
    rng = np.random.default_rng(seed)
    window = GrowingSeason(opens=120, length=[90, 168, 230][seed % 3], peak=80.0, width=35.0)
    day = np.unique(rng.integers(16000, 18500, rng.integers(5, 160)))
    if seed % 4 == 3:
        day = day[day % 365 < 120]  # months of the year alone
    peak, height = rng.uniform(0, 365), rng.uniform(0.0, 0.2)
    cover = 0.3 + height * np.cos(2 * np.pi * (day - peak) / 365.25) + rng.normal(0, 0.03, day.size)
    inside = window.locate(day)[1] <= window.length

    expected = np.zeros(day.size, bool)
    angle = 2 * np.pi * (day - 120 - window.length / 2) / 365.25
    design = np.stack([np.ones(day.size), np.cos(angle), np.sin(angle)], axis=1)
    for n in range(WAVE_SCENES[0], day.size + 1):
        if day[n - 1] - day[0] < WAVE_SCENES[1] or inside[:n].all():
            continue
        x, y = design[:n], cover[:n]
        fit = np.linalg.lstsq(x, y)[0]
        covariance = np.linalg.inv(x.T @ x) * ((y - x @ fit) ** 2).sum() / (n - 3)
        size, at = np.hypot(*fit[1:]), np.arctan2(fit[2], fit[1])
        slope = np.array([[np.cos(at), np.sin(at)], [-np.sin(at) / size, np.cos(at) / size]])
        of_size, of_at = np.sqrt(np.diag(slope @ covariance[1:, 1:] @ slope.T))
        sure = size > max(WAVE_STANDARD_ERRORS * of_size, WAVE_HEIGHT)
        away = (abs(at) - 2 * of_at) * 365.25 / (2 * np.pi) > window.length / 2 + MAX_DAYS_OUTSIDE
        greener = not inside[:n].any() or y[~inside[:n]].mean() > y[inside[:n]].mean()
        expected[n - 1] = sure and away and greener
    used = np.flatnonzero(inside)
    np.testing.assert_array_equal(greenest_outside(day, cover, used, window), expected)
    requested = rng.random(day.size) < 0.2
    np.testing.assert_array_equal(greenest_outside(day, cover, used, window, requested), expected & requested)


def test_scenes_of_two_days_of_the_year_alone_show_no_season():
    day = np.sort(np.concatenate([np.arange(16100, 20000, 1461), np.arange(16280, 20000, 1461)]))
    day = np.concatenate([day, day + 1461 * 3, day + 1461 * 6])
    window = GrowingSeason(opens=120, length=168, peak=80.0, width=35.0)
    assert day.size >= WAVE_SCENES[0]
    assert not greenest_outside(day, np.where(np.arange(day.size) % 2, 0.6, 0.1), np.arange(0), window).any()
