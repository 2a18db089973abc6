"""The filter and the search for losses against the same model written as one dense Gaussian: no recursion, no gain."""

import math

import numpy as np
import pytest

from monitor.verdict.kernels.constants import FLANK_DAYS, HALF_LIVES, PHASE_DAYS, PROFILES
from monitor.verdict.kernels.losses import Losses, detect_losses, search_noise
from monitor.verdict.kernels.state_space import own_noise
from monitor.verdict.kernels.theta import failure_evidence, theta_filter
from monitor.verdict.kernels.types import Noise, Prior, SeasonState, Times

NOISE = Noise(0.03, 0.01, 0.018, 365.0, 0.010, 15.0, 0.010, 0.5, 0.2, 0.004, 2.0, 0.6, 0.3)
PRIOR = Prior(0.6, 1.0, 0.1, 0.5, (0.0, 0.25, 0.5, 0.7), 1.0, 0.08)
START = 17_897  # 2019-01-01
R2 = 0.0245**2
WEIGHTS = np.array([weight for _, weight in PROFILES])
GAIN = 0.18**2 * 1.5 / 2 + 0.08**2  # variance of the gain: two seasons known, and what the calibration adds


class Scenes:
    """Fifty scenes in four seasons, with rain, outliers and a plan."""

    def __init__(self, seed: int, theta: float = 0.3) -> None:
        rng = np.random.default_rng(seed)
        position = np.sort(rng.choice(168, (4, 12), replace=True), axis=1) + 1
        position = np.concatenate([np.unique(p) for p in position])
        season = 2017 + np.cumsum(np.concatenate([[0], np.diff(position) < 0]))
        self.position, self.season = position, season
        self.day = (season - 1970) * 365 + (season - 1969) // 4 + 120 + position
        self.s = np.exp(-0.5 * ((position - 95) / 45) ** 2)
        self.rho = rng.normal(0, 0.3, 4)[season - 2017] + rng.normal(0, 0.05, position.size)
        self.rho_before = np.where(np.diff(season, prepend=0) == 0, np.roll(self.rho, 1), 0.0)
        self.mu = self.s * (1 + self.rho)
        self.slope = -self.s * (position - 95) / 45**2
        self.amplitude = np.full(position.size, 0.2)
        years = (self.day - START) / 365.25
        self.curves = 0.2 * -np.expm1(-0.45 * np.maximum(years[:, None] - 0.2 - np.array([0.0, 0.5, 1.0]), 0))
        self.difference = theta * self.curves[:, 0] * self.mu + 0.02 * self.mu + rng.normal(0, 0.025, position.size)
        self.difference[rng.choice(position.size, 4, replace=False)] -= 0.2  # clouds the mask missed
        self.variance = np.full(position.size, R2) * rng.uniform(1, 1.5, position.size)

    @property
    def size(self) -> int:
        return self.day.size

    @property
    def times(self) -> Times:
        return Times(self.day, self.position, self.season)

    def state(self, rain_sd: float = 0.18) -> SeasonState:
        peak, rain_to_date = np.full(self.size, 95.0), np.zeros(self.size)
        seasons, spread = np.full(self.size, 2), np.full(self.size, rain_sd)
        return SeasonState(self.s, self.rho, self.amplitude, peak, seasons, spread, rain_to_date, self.slope, self.s)


def covariance(x: Scenes, elastic: np.ndarray, noise: Noise = NOISE) -> np.ndarray:
    """Covariance of the differences without scene noise and without any uplift."""
    angle = 2 * np.pi * x.position / 365.25
    gap = np.abs(x.day[:, None] - x.day[None, :])
    between = np.abs(x.season[:, None] - x.season[None, :])
    years = (x.day - x.day[0]) / 365.25
    return (
        noise.baseline**2 * np.outer(x.mu, x.mu)
        + noise.harmonic**2 * np.cos(angle[:, None] - angle[None, :])
        + noise.slow**2 * np.exp(-gap / noise.slow_days)
        + noise.fast**2 * np.exp(-gap / noise.fast_days)
        + noise.year**2 * noise.year_memory**between * np.outer(x.s, x.s)
        + noise.elasticity**2 * np.outer(elastic, elastic)
        + noise.trend**2 * np.outer(x.mu * years, x.mu * years)
    )


def search_covariance(x: Scenes, noise: Noise) -> np.ndarray:
    """Covariance in the search for losses: a shift of the season in place of the annual harmonic, seasons of growth."""
    growth = np.zeros((x.size, x.size))
    for first in np.flatnonzero(np.diff(x.season)) + 1:
        since = np.where(x.season >= x.season[first], noise.year_memory ** (x.season - x.season[first]) * x.s, 0.0)
        growth += (0.08 * x.curves[first, 0]) ** 2 * np.outer(since, since)
    a_day = x.slope * (1 + x.rho) * (x.amplitude + 0.9 * x.curves[:, 0])  # change of cover were it a day earlier
    return (
        covariance(x, np.zeros(x.size), noise._replace(harmonic=0.0))
        + PHASE_DAYS**2 * np.outer(a_day, a_day)
        + growth
        + np.diag(x.variance + FLANK_DAYS**2 * a_day**2)
    )


def information(sigma: np.ndarray, columns: np.ndarray, difference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    solved = np.linalg.solve(sigma, np.column_stack([columns, difference]))
    return columns.T @ solved[:, -1], columns.T @ solved[:, :-1]


def plan_columns(x: Scenes) -> np.ndarray:
    """(n, 9) uplift of each plan: by profile of the season, then by lag."""
    return np.column_stack([x.curves * (share + (1 - share) * x.mu)[:, None] for share, _ in PROFILES])


def likely(b: np.ndarray, c: np.ndarray, prior: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Posterior means and variances of theta under some plans, and their weights."""
    v = 1 / (1 + c)
    m = v * (0.6 + b)
    weights = prior * np.sqrt(v) * np.exp(m * m / (2 * v))
    return m, v, weights / weights.sum()


def dense_theta(x: Scenes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(b, c, variance used of each scene), scene by scene, each from the whole past at once."""
    n = x.size
    columns = plan_columns(x)
    elastic, used = np.zeros(n), np.zeros(n)
    b, c = np.zeros((n, 9)), np.zeros((n, 9))
    theta, profile = PRIOR.mean, 0
    for i in range(n):
        growing = min(max(theta, 0), 1.5) * x.curves[i, 0] * (1 - PROFILES[profile][0]) * x.s[i]
        elastic[i] = (0.2 * x.s[i] + growing) * x.rho_before[i]
        now = slice(i + 1)
        sigma = covariance(x, elastic)[now, now]
        g = columns[now, 3 * profile]
        past = sigma[:i, :i] + np.diag(used[:i])
        # What was expected of this scene, theta and its doubt included.
        whole = past + PRIOR.sd**2 * np.outer(g[:i], g[:i])
        cross = sigma[:i, i] + PRIOR.sd**2 * g[:i] * g[i]
        weights = np.linalg.solve(whole, cross) if i else np.zeros(0)
        surprise = x.difference[i] - PRIOR.mean * g[i] - weights @ (x.difference[:i] - PRIOR.mean * g[:i])
        spread = sigma[i, i] + PRIOR.sd**2 * g[i] ** 2 - weights @ cross + x.variance[i]
        used[i] = x.variance[i] * max(1.0, surprise**2 / spread / NOISE.huber**2)
        b_i, c_i = information(sigma + np.diag(used[now]), columns[now], x.difference[now])
        b[i], c[i] = b_i, np.diag(c_i)
        means, _, weights = likely(b[i, ::3], c[i, ::3], WEIGHTS)
        profile = int(np.argmax(weights))
        theta = means[profile]
    return b, c, used


def follow(x: Scenes, alarm: np.ndarray | None = None, onset: np.ndarray | None = None):
    losses = no_losses(x) if alarm is None else no_losses(x)._replace(confirmed=alarm, onset=onset)
    return theta_filter(x.times, x.difference, x.state(), x.curves, x.variance, losses, True, NOISE, PRIOR, False)


def no_losses(x: Scenes) -> Losses:
    return Losses(np.zeros(x.size), np.zeros(x.size, bool), np.full(x.size, -1), np.zeros(x.size, bool))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_information_on_theta_is_that_of_generalised_least_squares(seed):
    x = Scenes(seed)
    b, c, used = dense_theta(x)
    assert (used > x.variance).any(), "the outliers must make the robust part speak"
    got_b, got_c, *_ = follow(x)
    np.testing.assert_allclose(got_b, b, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(got_c, c, rtol=1e-9, atol=1e-9)


def test_theta_and_its_variance_are_the_posterior_with_the_doubt_on_the_gain():
    x = Scenes(4)
    b, c, _ = dense_theta(x)
    _, _, mean, variance, _, low, high = follow(x)
    means, variances, weights = (
        np.array(v) for v in zip(*map(likely, b[:, ::3], c[:, ::3], [WEIGHTS] * x.size), strict=True)
    )
    expected = (weights * means).sum(axis=1)
    plain = (weights * (variances + means**2)).sum(axis=1) - expected**2
    np.testing.assert_allclose(mean, expected, rtol=1e-9)
    np.testing.assert_allclose(variance, plain + expected**2 * GAIN, rtol=1e-9)
    for end in (low, high):  # where the truth, seen through an uncertain gain, would lie just 1.96 off
        np.testing.assert_allclose((expected - end) ** 2, 1.959964**2 * (plain + end**2 * GAIN), rtol=1e-9)
    assert (low < expected).all()
    assert (expected < high).all()


def test_probabilities_average_over_nine_plans_and_three_profiles_of_the_season():
    x = Scenes(5)
    b, c, _ = dense_theta(x)
    _, _, _, _, below, _, _ = follow(x)
    i = x.size - 1
    weights, chances = [], []
    for plan in range(9):
        for share in (1.0, 0.9, 0.8) if plan < 3 else (1.0,):
            v = 1 / (1 + share**2 * c[i, plan])
            m = v * (0.6 + share * b[i, plan])
            prior = (0.5 if (plan % 3, share) == (0, 1.0) else 0.5 / 8) * WEIGHTS[plan // 3]
            weights.append(prior * math.sqrt(v) * math.exp(m * m / (2 * v)))
            chances.append(
                [0.5 * math.erfc((m - t) / math.sqrt(v + t * t * GAIN) / math.sqrt(2)) for t in PRIOR.thresholds]
            )
    expected = np.average(chances, axis=0, weights=weights)
    np.testing.assert_allclose(below[i], expected, rtol=1e-9)


@pytest.mark.parametrize("theta", [-0.3, -0.15, -0.05])
def test_what_is_surely_below_a_quarter_of_the_plan_is_below_seven_tenths_of_it_too(theta):
    """However little the normal season is known: the doubt on the gain widens a higher threshold more."""
    x = Scenes(6)
    exact = theta * x.curves[:, 0] * x.mu
    quiet = NOISE._replace(harmonic=1e-3, slow=1e-3, fast=1e-3, year=1e-3, elasticity=1e-3, trend=1e-4)
    below = theta_filter(
        x.times, exact, x.state(rain_sd=0.4), x.curves, np.full(x.size, 1e-6), no_losses(x), True, quiet, PRIOR, False
    ).below
    assert (np.diff(below, axis=1) >= 0).all()


def test_after_a_known_loss_theta_is_what_still_stands():
    x = Scenes(6, theta=1.0)
    onset_at, known_at = 30, 32
    x.difference[onset_at:] -= 0.1 * x.mu[onset_at:]
    alarm, onset = np.zeros(x.size, bool), np.full(x.size, -1)
    alarm[known_at], onset[known_at] = True, onset_at
    quiet, informed = follow(x), follow(x, alarm, onset)
    np.testing.assert_array_equal(informed[2][:known_at], quiet[2][:known_at])

    calm = NOISE._replace(huber=1e9, elasticity=0.0)  # one Gaussian for the whole series
    got = theta_filter(
        x.times, x.difference, x.state(rain_sd=0.0), x.curves, x.variance,
        no_losses(x)._replace(confirmed=alarm, onset=onset), True, calm, PRIOR._replace(gain_sd=0.0), False,
    )  # fmt: skip
    sigma = covariance(x, np.zeros(x.size), calm) + np.diag(x.variance)
    after = np.arange(x.size) >= onset_at
    years = np.where(after, x.day - x.day[onset_at], 0) / 365.25
    models = []  # log weight, mean and variance of theta now: by profile of the season, and by how the loss heals
    for profile, weight in enumerate(WEIGHTS):
        uplift = plan_columns(x)[:, 3 * profile]
        for half_life in (None, *HALF_LIVES):
            back = np.zeros(x.size) if half_life is None else 1 - 0.5 ** (years / half_life)
            prior = np.diag([1.0, 0.01, 0.25 * 0.01 + 0.08**2])
            prior[1, 2] = prior[2, 1] = -0.5 * 0.01  # half of the loss comes back, give or take .08
            design = np.column_stack([uplift, np.where(after, x.mu, 0.0), np.where(after, x.mu, 0.0) * back])
            start = np.array([0.6, 0.0, 0.0])
            whole = sigma + design @ prior @ design.T
            rest = x.difference - design @ start
            fit = -0.5 * np.linalg.slogdet(whole)[1] - 0.5 * rest @ np.linalg.solve(whole, rest)
            gain = np.linalg.solve(whole, design @ prior).T
            want = np.array([1.0, 1.0, back[-1]]) / np.array([1.0, x.curves[-1, 0], x.curves[-1, 0]])
            share = 0.5 if half_life is None else 0.5 / len(HALF_LIVES)
            posterior = prior - gain @ design @ prior
            models.append((fit + math.log(weight * share), want @ (start + gain @ rest), want @ posterior @ want))
    fits, means, variances = np.array(models).T
    weights = np.exp(fits - fits.max())
    weights /= weights.sum()
    expected = weights @ means
    np.testing.assert_allclose(got[2][-1], expected, rtol=1e-8)
    np.testing.assert_allclose(got[3][-1], weights @ (variances + means**2) - expected**2, rtol=1e-7)


def test_score_of_a_loss_is_the_bayes_factor_over_onsets_by_the_days_each_speaks_for():
    x = Scenes(7, theta=0.8)
    calm = NOISE._replace(huber=1e9, elasticity=0.0, trend=0.0)
    score, alarm, _, _ = detect_losses(
        x.times, x.difference, x.state(), x.curves[:, 0].copy(), x.variance, np.full(x.size, np.nan), START, calm, 0.1,
        1e9,
    )  # fmt: skip
    assert not alarm.any()
    uplift = x.curves[:, 0] * x.mu
    sigma = search_covariance(x, calm) + 0.36 * np.outer(uplift, uplift)
    onsets: list[int] = []
    for i in range(x.size):
        if x.day[i] >= START and (not onsets or x.day[i] - x.day[onsets[-1]] >= 15):
            onsets.append(i)
        factors = []
        for k, first in list(enumerate(onsets))[-8:]:
            years = min((x.day[first] - x.day[onsets[k - 1]]) / 365.25, 1.0) if k else 1.0
            step = np.where(np.arange(i + 1) >= first, x.mu[: i + 1], 0.0)
            b, c = information(sigma[: i + 1, : i + 1], step[:, None], (x.difference - 0.9 * uplift)[: i + 1])
            factors.append(years * math.exp(-0.08 * b[0] - 0.08**2 * c[0, 0] / 2))
        expected = math.log(sum(factors)) if factors else 0.0
        assert score[i] == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_a_loss_that_was_weighed_joins_the_baseline_as_if_its_date_had_been_known():
    x = Scenes(8, theta=0.8)
    x.difference[28:] -= 0.15 * x.mu[28:]
    calm = NOISE._replace(huber=1e9, elasticity=0.0, trend=0.0)
    score, alarm, onset, _ = detect_losses(
        x.times, x.difference, x.state(), x.curves[:, 0].copy(), x.variance, np.full(x.size, np.nan), START, calm, 0.1,
        2.25,
    )  # fmt: skip
    at = int(np.flatnonzero(alarm)[0])
    i = int(np.flatnonzero(onset >= 0)[-1]) + 1  # one new onset is being tried
    assert (onset[at:i] == onset[at]).all()
    uplift = x.curves[:, 0] * x.mu
    old = np.where(np.arange(x.size) >= onset[at], x.mu, 0.0)
    sigma = search_covariance(x, calm)
    later_uplift = np.where(np.arange(x.size) >= i, uplift, 0.0)  # whether growth goes on is open again
    sigma += 0.36 * np.outer(uplift, uplift) + 0.01 * np.outer(old, old) + 0.36 * np.outer(later_uplift, later_uplift)
    step = np.zeros(i + 1)
    step[i] = x.mu[i]
    b, c = information(sigma[: i + 1, : i + 1], step[:, None], (x.difference - 0.9 * uplift)[: i + 1])
    assert score[i] == pytest.approx(-0.08 * b[0] - 0.08**2 * c[0, 0] / 2, rel=1e-9)


def test_evidence_of_failure_is_guarded_by_a_smaller_and_a_later_plan():
    b = np.array([[-12.0, -9.0, -6.0, -10.0, -8.0, -5.0, -2.0, -1.0, 1.0]])
    c = np.array([[60.0, 50.0, 40.0, 45.0, 35.0, 25.0, 20.0, 15.0, 10.0]])

    def average(k: int, theta: float) -> float:
        return sum(
            w * math.exp(theta * b[0, k + j] - theta**2 * c[0, k + j] / 2)
            for j, w in zip((0, 3, 6), WEIGHTS, strict=True)
        )

    def against(k: int, null: float) -> float:
        failed = zip((-0.4, -0.2, 0.0, 0.1, 0.2), (0.1, 0.15, 0.4, 0.2, 0.15), strict=True)
        return math.log(sum(w * average(k, a) for a, w in failed) / average(k, null))

    exact = np.zeros(1)
    assert failure_evidence(b, c, exact)[0] == pytest.approx(min(against(0, 0.4), against(2, 0.5)), rel=1e-12)


def test_evidence_of_failure_integrates_the_gain_out():
    b, c, gain = np.array([[4.0, 5.0, 6.0] * 3]), np.array([[60.0, 50.0, 40.0] * 3]), 0.03  # profiles agree
    errors, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()

    def likelihood(theta: float, k: int) -> float:
        seen = theta * (1 + math.sqrt(gain) * errors)
        return float(np.sum(weights * np.exp(seen * b[0, k] - seen**2 * c[0, k] / 2)))

    def against(k: int, null: float) -> float:
        mixture = zip((-0.4, -0.2, 0.0, 0.1, 0.2), (0.1, 0.15, 0.4, 0.2, 0.15), strict=True)
        return math.log(sum(w * likelihood(a, k) for a, w in mixture) / likelihood(null, k))

    got = failure_evidence(b, c, np.full(1, gain))[0]
    assert got == pytest.approx(min(against(0, 0.4), against(2, 0.5)), rel=1e-9)
    assert got < failure_evidence(b, c, np.zeros(1))[0], "an uncertain gain is doubt, and doubt spares the site"


def test_own_noise_is_the_mean_of_what_the_years_before_the_start_leave_likely():
    x = Scenes(9)
    x.difference *= 2.0  # a restless site
    calm = NOISE._replace(huber=1e9)  # one Gaussian
    before = x.day < START
    elastic = 0.2 * x.s * x.rho_before

    def posterior(tried: np.ndarray, sd: float, fits: list[float]) -> float:
        logs = np.array(fits) - 0.5 * (np.log(tried) / sd + sd / 2) ** 2
        weights = np.exp(logs - logs.max())
        return float(np.average(tried, weights=weights))

    def fit(wander: float, scene: float) -> float:
        noise = calm._replace(slow=calm.slow * wander, year=calm.year * wander, fast=calm.fast * scene)
        sigma = (covariance(x, elastic, noise) + np.diag(x.variance * scene**2))[np.ix_(before, before)]
        y = x.difference[before]
        return float(-0.5 * np.linalg.slogdet(sigma)[1] - 0.5 * y @ np.linalg.solve(sigma, y))

    steps = np.arange(-2.4, 2.41, 0.4)
    scene = posterior(np.exp(0.3 * steps), 0.3, [fit(1.0, f) for f in np.exp(0.3 * steps)])
    wander = posterior(np.exp(0.6 * steps), 0.6, [fit(f, scene) for f in np.exp(0.6 * steps)])
    got = own_noise(x.times, x.difference, x.state(), x.variance, START, calm)
    np.testing.assert_allclose(got, (wander, scene), rtol=1e-9)
    assert scene > 1.1

    later = np.where(before, x.difference, 9.0)
    again = own_noise(x.times, later, x.state(), x.variance, START, calm)
    assert again == got, "the years after the start do not count"
    none = own_noise(x.times, x.difference, x.state(), x.variance, int(x.day[4]), calm)
    assert none == (1.0, 1.0), "four scenes are too few"


@pytest.mark.parametrize(("wander", "more"), [(0.3, 0.0), (0.8, 0.0), (1.0, 0.36), (2.0, 3.36)])
def test_the_search_for_losses_allows_for_what_a_site_drifts_beyond_calm_ground(wander, more):
    stiff = NOISE._replace(slow=0.014, year=0.003)
    found = search_noise(stiff, NOISE, 0.05, wander, 1.5)
    wider = math.sqrt(0.014**2 + more * NOISE.slow**2) / 0.014
    assert (found.slow, found.year) == pytest.approx((0.014 * wider, 0.003 * wider))
    assert (found.fast, found.baseline) == pytest.approx((1.5 * stiff.fast, 0.05))
