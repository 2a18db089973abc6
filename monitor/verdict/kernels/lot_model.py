"""The Gaussian model of a lot: what its members say about the mean theta of the lot.

The filter of a member (:mod:`.theta`) gives its own information on theta, b and c, in which all noise of the member
alone is accounted for. With theta of a member normal about that of the lot, these add up. What the members share does
not average out: a shock of each season and a drift, by which the estimates of all members err together. The standard
deviation of the shock is integrated over a grid, with the probabilities that the seasons before the start give it.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from scipy.special import logsumexp, ndtr

from monitor.verdict.kernels.constants import FAILED, LAGS

SHOCKS: Final = ((0.0, 0.25), (0.0075, 0.3), (0.015, 0.25), (0.025, 0.14), (0.045, 0.06))
"""(standard deviation, prior probability) of the shock that all members share in a season. [cover fraction, 1]"""
SPREAD: Final = 0.2
"""Standard deviation of theta of a member about that of the lot. [1]"""
DRIFT: Final = 0.005
"""Standard deviation of a lasting error that all members share, such as a drift of their ring. [cover fraction]"""
MIN_SEASON_SITES: Final = 5
"""Fewest sites that were seen in a season before the start from which a common shock is estimated."""
LATE: Final = LAGS - 1
"""Index of the plan a year late."""


class Information(NamedTuple):
    """What the members of a lot say about their theta, (n, LAGS) arrays: plan as written, half a year, a year late."""

    b: np.ndarray  # see :class:`monitor.verdict.kernels.theta.Theta`
    c: np.ndarray
    squares: np.ndarray  # sum of the squared promised amplitudes of the seasons [cover fraction squared]


class Likelihood(NamedTuple):
    """Likelihood of theta of a lot, exp(log_weight + theta b - theta^2 c / 2), (shocks, LAGS) arrays."""

    b: np.ndarray
    c: np.ndarray
    log_weight: np.ndarray  # with the probability of the shock


def shock_weights(before: Sequence[dict[int, float]]) -> np.ndarray:
    """Probability of each of :data:`SHOCKS`, from the seasons before the start.

    The mean over the sites of each season's difference, less each site's own mean, has the variance of the shock and
    the sites' own variance over their number.

    Parameters
    ----------
    before : sequence of dict
        By season the mean difference between site and control, of each site. [cover fraction]

    Returns
    -------
    (shocks,) array
        The prior with fewer than two seasons that :data:`MIN_SEASON_SITES` sites have.
    """
    sizes: np.ndarray
    prior: np.ndarray
    sizes, prior = np.array(SHOCKS).T
    found: dict[int, list[float]] = {}
    for own in before:
        mean = sum(own.values()) / max(len(own), 1)
        for season, difference in own.items() if len(own) > 1 else ():
            found.setdefault(season, []).append(difference - mean)
    common = [np.array(values) for values in found.values() if len(values) >= MIN_SEASON_SITES]
    if len(common) < 2:
        return prior
    freedom = 1 - 1 / len(common)  # of each difference from a site's own mean
    noise = sum(values.var(ddof=1) / values.size for values in common) / len(common) / freedom
    variance = sizes**2 + noise
    squares = sum(values.mean() ** 2 for values in common)
    logs = np.log(prior) - 0.5 * ((len(common) - 1) * np.log(variance) + squares / variance)
    weights: np.ndarray = np.exp(logs - logsumexp(logs))
    return weights


def lot_likelihood(members: Information, seasons: int, weights: np.ndarray) -> Likelihood:
    """Likelihood of the mean theta of a lot under each plan and shock.

    An error z of all members in theta, of variance 1 / squares for a shock of 1, moves the sum of their b by z times
    the sum of their c.

    Parameters
    ----------
    members : Information
    seasons : int
        Seasons since the start.
    weights : (shocks,) array, probability of each of :data:`SHOCKS`
    """
    own = 1.0 / (1.0 + SPREAD**2 * members.c)
    b, c = (own * members.b).sum(axis=0), (own * members.c).sum(axis=0)
    together = (own * members.c / np.sqrt(np.maximum(members.squares, 1e-9))).sum(axis=0) ** 2
    shocks = np.square([sd for sd, _ in SHOCKS])[:, None] + DRIFT**2 * seasons
    variance = np.maximum(c + shocks * together, 1e-12)
    log_weight = np.log(np.maximum(weights, 1e-300))[:, None] - 0.5 * (np.log(variance) + b**2 / variance)
    return Likelihood(b * c / variance, c**2 / variance, log_weight)


def log_likelihood(theta: float, likelihood: Likelihood, lag: int, gain_var: float) -> float:
    """Log likelihood of a theta under one plan; the gain and the shock are integrated out."""
    b, c = likelihood.b[:, lag], likelihood.c[:, lag]
    more = 1.0 + theta**2 * gain_var * c
    fit = (theta * b - 0.5 * theta**2 * c + 0.5 * theta**2 * gain_var * b**2) / more - 0.5 * np.log(more)
    return float(logsumexp(likelihood.log_weight[:, lag] + fit))


def lot_evidence(likelihood: Likelihood, gain_var: float) -> float:
    """Log evidence that a lot failed against "at least half the plan", guarded like that of a site.

    The smaller of two likelihood ratios of the failed mixture: against .4 of the plan as written, which may be a fifth
    too large, and against half of the plan a year late. See ``failure_evidence`` of :mod:`.theta`.
    """
    ratios = []
    for lag, null in ((0, 0.4), (LATE, 0.5)):
        failed = [np.log(weight) + log_likelihood(theta, likelihood, lag, gain_var) for theta, weight in FAILED]
        ratios.append(float(logsumexp(failed)) - log_likelihood(null, likelihood, lag, gain_var))
    return min(ratios)


class Mixture(NamedTuple):
    """Posterior of theta of a lot: a mixture of normal distributions, (shocks,) arrays."""

    weight: np.ndarray
    mean: np.ndarray
    variance: np.ndarray


def lot_posterior(likelihood: Likelihood, prior: tuple[float, float]) -> Mixture:
    """Posterior of theta of a lot, the plan as written.

    Parameters
    ----------
    likelihood : Likelihood
    prior : (float, float), mean and standard deviation of theta
    """
    centre, sd = prior
    variance = 1.0 / (1.0 / sd**2 + likelihood.c[:, 0])
    mean = variance * (centre / sd**2 + likelihood.b[:, 0])
    logs = likelihood.log_weight[:, 0] + 0.5 * (mean**2 / variance + np.log(variance))
    return Mixture(np.exp(logs - logsumexp(logs)), mean, variance)


def mean_shock(posterior: Mixture) -> float:
    """Posterior mean of the standard deviation of the shared shock. [cover fraction]"""
    return float(posterior.weight @ np.array([shock for shock, _ in SHOCKS]))


def below(threshold: float, posterior: Mixture, gain_var: float) -> float:
    """Probability that theta of a lot is below a threshold, with the relative variance of the gain."""
    sd = np.sqrt(posterior.variance + threshold**2 * gain_var)
    return float((posterior.weight * ndtr((threshold - posterior.mean) / sd)).sum())


def quantile(level: float, posterior: Mixture, gain_var: float) -> float:
    """Theta below which the lot is with a probability, by bisection."""
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if below(middle, posterior, gain_var) < level else (low, middle)
    return 0.5 * (low + high)
