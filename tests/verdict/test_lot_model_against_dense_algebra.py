"""The model of a lot against the same Gaussian written as one covariance over all members and seasons."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import logsumexp
from scipy.stats import norm

from monitor.verdict.kernels.constants import FAILED
from monitor.verdict.kernels.lot_model import (
    FACTORS,
    SHOCKS,
    Likelihood,
    LotNoise,
    LotSeasons,
    below,
    log_likelihood,
    lot_evidence,
    lot_likelihood,
    lot_posterior,
    mean_shock,
    quantile,
)

NOISE = LotNoise(baseline=0.3)


def lot(seed: int, n: int = 6, m: int = 7) -> LotSeasons:
    """Members with different plans and starts; some of their seasons are missing."""
    rng = np.random.default_rng(seed)
    years = np.arange(m) - rng.integers(3, 5, n)[:, None]
    expected = np.stack([0.2 * -np.expm1(-0.45 * np.maximum(years - lag, 0)) for lag in (0, 0.5, 1)], axis=2)
    expected *= rng.uniform(0.5, 1.0, n)[:, None, None]
    amplitude = 0.3 * expected[:, :, 0] + rng.normal(0, 0.03, (n, m)) + rng.normal(0, 0.1, (n, 1))
    amplitude[rng.random((n, m)) < 0.2] = np.nan
    return LotSeasons(
        amplitude, expected, rng.normal(0, 0.05, (n, m)), rng.uniform(1, 1.5, (n, m)), rng.uniform(1, 4, (n, m)) * 1e-4
    )


def dense(x: LotSeasons, lag: int, factor: float, shock: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Data, expected and covariance of all that was observed, entry by entry."""
    at = [
        (i, t) for i in range(len(x.amplitude)) for t in range(x.amplitude.shape[1]) if np.isfinite(x.amplitude[i, t])
    ]
    sigma = np.empty((len(at), len(at)))
    for p, (i, t) in enumerate(at):
        for q, (j, u) in enumerate(at):
            memory = math.exp(-abs(t - u) * 365.25 / NOISE.slow_days)
            value = NOISE.drift**2 * memory + shock**2 * (t == u)
            value += NOISE.shared_elasticity**2 * x.rain[i, t] * x.rain[j, u]
            if i == j:
                value += NOISE.baseline**2 + NOISE.elasticity**2 * x.rain[i, t] * x.rain[i, u]
                value += NOISE.spread**2 * x.expected[i, t, lag] * x.expected[i, u, lag]
                value += factor**2 * NOISE.slow**2 * memory * x.constant[i, t] * x.constant[i, u]
                value += factor**2 * (NOISE.year**2 + x.scene[i, t]) * (t == u)
            sigma[p, q] = value
    return np.array([x.amplitude[a] for a in at]), np.array([x.expected[a][lag] for a in at]), sigma


def dense_log_likelihood(theta: float | np.ndarray, x: LotSeasons, lag: int) -> np.ndarray:
    """Of theta, shock and factor summed over their grids; up to the constant of the normal distribution."""
    parts = []
    for factor, p_factor in FACTORS:
        for shock, p_shock in SHOCKS:
            y, g, sigma = dense(x, lag, factor, shock)
            rest = y[:, None] - np.multiply.outer(g, np.atleast_1d(theta))
            fit = -0.5 * np.einsum("ak,ak->k", rest, np.linalg.solve(sigma, rest))
            parts.append(fit - 0.5 * np.linalg.slogdet(sigma)[1] + math.log(p_factor * p_shock))
    return logsumexp(parts, axis=0)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_likelihood_of_theta_is_that_of_one_dense_gaussian(seed):
    x = lot(seed)
    ours = lot_likelihood(x, NOISE)
    for lag in range(3):
        for theta in (-0.4, 0.0, 0.5, 1.3):
            assert log_likelihood(theta, ours, lag, 0.0) == pytest.approx(
                dense_log_likelihood(theta, x, lag)[0], abs=1e-6
            )


def test_the_evidence_is_the_smaller_of_two_ratios_of_dense_likelihoods():
    x = lot(2)

    def ratio(lag: int, null: float) -> float:
        failed = [math.log(weight) + dense_log_likelihood(theta, x, lag)[0] for theta, weight in FAILED]
        return float(logsumexp(failed)) - dense_log_likelihood(null, x, lag)[0]

    expected = min(ratio(0, 0.4), ratio(2, 0.5))
    assert lot_evidence(lot_likelihood(x, NOISE), 0.0) == pytest.approx(expected, abs=1e-6)


def test_the_gain_is_integrated_out():
    """With a gain of 1 + N(0, v), b / c is normal about theta times the gain."""
    b, c, v, theta = 3.0, 25.0, 0.04, 0.7
    one = Likelihood(*(np.full((len(FACTORS), len(SHOCKS), 3), value) for value in (b, c, 0.0)))

    def integrand(gain: float) -> float:
        return math.exp(theta * gain * b - 0.5 * (theta * gain) ** 2 * c) * norm.pdf(gain, 1, math.sqrt(v))

    expected = math.log(quad(integrand, -2, 4)[0] * len(FACTORS) * len(SHOCKS))
    assert log_likelihood(theta, one, 0, v) == pytest.approx(expected, abs=1e-6)


def test_the_posterior_is_that_of_bayes_rule_on_a_grid():
    x, prior = lot(3), (0.6, 1.0)
    theta = np.linspace(-3, 4, 1401)
    logs = dense_log_likelihood(theta, x, 0)
    density = np.exp(logs - logs.max()) * norm.pdf(theta, *prior)
    cumulated = np.cumsum(density) / density.sum()
    ours = lot_posterior(lot_likelihood(x, NOISE), prior)
    for at in (600, 700, 800):
        assert below(float(theta[at] + 0.0025), ours, 0.0) == pytest.approx(cumulated[at], abs=1e-4)
    low, high = quantile(0.025, ours, 0.0), quantile(0.975, ours, 0.0)
    assert below(low, ours, 0.0) == pytest.approx(0.025, abs=1e-9)
    assert below(high, ours, 0.0) == pytest.approx(0.975, abs=1e-9)


def test_what_was_not_observed_changes_nothing():
    x = lot(4)
    more = LotSeasons(*(np.concatenate([values, np.full_like(values[:1], np.nan)]) for values in x))
    more = LotSeasons(*(np.concatenate([values, np.full_like(values[:, :1], np.nan)], axis=1) for values in more))
    for ours, theirs in zip(lot_likelihood(x, NOISE), lot_likelihood(more, NOISE), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


def test_the_shared_shock_is_seen_in_the_seasons_before_the_start():
    rng = np.random.default_rng(5)
    n, m = 20, 8
    own = rng.normal(0, 0.012, (n, m))
    ones, zero = np.ones((n, m)), np.zeros((n, m))

    def estimated(shock: float) -> float:
        shared = shock * np.array([1.0, -1.0, 1.2, -0.8, 1.0, -1.1, 0.7, -1.0])
        seasons = LotSeasons(own + shared, np.zeros((n, m, 3)), zero, ones, 1e-4 * ones)
        return mean_shock(lot_posterior(lot_likelihood(seasons, NOISE), (0.6, 1.0)))

    assert estimated(0.0) < 0.006
    assert 0.012 < estimated(0.02) < 0.03
