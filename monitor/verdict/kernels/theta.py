"""Theta, the share of the promised uplift achieved: its filter, posterior and the evidence on it (numba)."""

import math
from typing import NamedTuple

import numpy as np

from monitor.verdict.kernels.constants import (
    ELASTICITY_THETA,
    FAILED,
    GROWN,
    LAGS,
    LEAST_FREE,
    LOSSES,
    NORMAL_95,
    SHARE,
)
from monitor.verdict.kernels.losses import Losses
from monitor.verdict.kernels.state_space import (
    decay_factors,
    initial_state,
    innovation,
    observe,
    predict,
    rain_before,
    trend_since,
    update,
)
from monitor.verdict.kernels.types import Array, Noise, Prior, SeasonState, Times, inlined, kernel


class Theta(NamedTuple):
    """Theta after each scene, the plan as written where not stated otherwise."""

    b: np.ndarray  # (n, 3) information vector of each plan: the likelihood of theta is exp(theta b - theta^2 c / 2)
    c: np.ndarray  # (n, 3) information matrix (scalar) of each plan
    mean: np.ndarray  # (n,) posterior mean [1]
    variance: np.ndarray  # (n,) posterior variance, the uncertain gain included [1]
    below: np.ndarray  # (n, 4) probability of being below each threshold, averaged over the plans [1]
    low: np.ndarray  # (n,) lower limit of the 95 % interval [1]
    high: np.ndarray  # (n,) upper limit of the 95 % interval [1]


class _Plans(NamedTuple):
    """Posterior under each of the nine plans, (9,) arrays, and the log prior probability of each."""

    mean: np.ndarray
    variance: np.ndarray
    weight: np.ndarray
    log_prior: np.ndarray
    room: np.ndarray  # (4 + LOSSES, 1 + LOSSES) scratch array


@kernel
def theta_filter(
    times: Times, difference: Array, state: SeasonState, curves: Array, scene_variance: Array, losses: Losses,
    promised: bool, noise: Noise, prior: Prior, evidence_only: bool,
) -> Theta:  # fmt: skip
    """Filter the difference between site and control and estimate theta beside it.

    A Kalman filter of the difference without uplift. What each plan (and each confirmed loss) would have added is
    filtered beside it with the same gain, which gives the generalised least squares of theta (de Jong's augmented
    filter). An outlier's variance is inflated by Huber's rule, with the standardised innovation that theta as known so
    far leaves.

    Parameters
    ----------
    times : Times
    difference : (n,) array, site minus control [cover fraction]
    state : SeasonState
    curves : (n, 3) array, promised uplift at each scene: as written, half a year late, a year late [cover fraction]
    scene_variance : (n,) array, variance of the noise of each scene [cover fraction squared]
    losses : Losses, confirmed sudden losses
    promised : bool
        Whether the plan promises uplift. If not, `curves` is 1 since the start and theta is the change itself.
    noise, prior : Noise, Prior
    evidence_only : bool, compute `b` and `c` only; the rest, which takes most of the time, is zero
    """
    day, season = times.day, times.season
    n = day.size
    gain_var = gain_variance(state.seasons, state.rain_sd, prior)
    out = _empty(n)
    begun, known, count = _first_losses(losses)
    columns = LAGS + count
    x, cov = initial_state(noise, 0.0, noise.trend)
    m, gain, h, ph = np.zeros((columns, 8)), np.zeros(8), np.zeros(8), np.zeros(8)
    b, c, ej = np.zeros(LAGS + LOSSES), np.zeros((LAGS + LOSSES, LAGS + LOSSES)), np.zeros(columns)
    plans = _prior_of_plans(promised, prior)
    theta, theta_var = prior.mean, prior.sd**2
    for i in range(n):
        if i > 0:
            predict(x, cov, m, decay_factors(day[i] - day[i - 1], season[i] - season[i - 1], noise), noise)
        mu = state.shape[i] * (1.0 + state.rain[i])
        observe(h, state.shape[i], mu, times.position[i])
        rain = min(max(theta, 0.0), ELASTICITY_THETA) * curves[i, 0]
        grown = state.bump[i] * (1.0 + state.rain[i])
        h[6] = (state.amplitude[i] * state.shape[i] + rain * state.bump[i]) * rain_before(season, state.rain, i)
        h[7] = trend_since(day[0], day[i], mu)
        e, hph = innovation(x, cov, h, ph, difference[i])
        for j in range(columns):
            ej[j] = curves[i, j] * grown if j < LAGS else (mu if i >= begun[j - LAGS] else 0.0)
            for k in range(8):
                ej[j] -= h[k] * m[j, k]
        # Whether a scene is an outlier is judged by the theta and the losses known by then.
        surprise, spread = e - theta * ej[0], hph + scene_variance[i] + theta_var * ej[0] ** 2
        for j in range(count):
            if known[j] < i:
                loss_var = 1.0 / (c[LAGS + j, LAGS + j] + 1.0 / prior.loss**2)
                loss = loss_var * (b[LAGS + j] - theta * c[0, LAGS + j])
                surprise -= loss * ej[LAGS + j]
                spread += loss_var * ej[LAGS + j] ** 2
        variance = hph + scene_variance[i] * max(1.0, surprise**2 / spread / noise.huber**2)
        for k in range(8):
            gain[k] = ph[k] / variance
        for j in range(columns):
            b[j] += e * ej[j] / variance
            for q in range(columns):
                c[j, q] += ej[j] * ej[q] / variance
            for k in range(8):
                m[j, k] += gain[k] * ej[j]
        update(x, cov, gain, ph, e)
        theta_var = 1.0 / (1.0 / prior.sd**2 + c[0, 0])
        theta = theta_var * (prior.mean / prior.sd**2 + b[0])
        for j in range(LAGS):
            out.b[i, j], out.c[i, j] = b[j], c[j, j]
        if evidence_only:
            continue
        if i > 0 and c[0, 0] == 0.0 and gain_var[i] == gain_var[i - 1]:  # nothing new is known
            out.mean[i], out.variance[i] = out.mean[i - 1], out.variance[i - 1]
            out.low[i], out.high[i], out.below[i] = out.low[i - 1], out.high[i - 1], out.below[i - 1]
            continue
        active = 0
        for j in range(count):
            active += known[j] <= i
        _conclude(out, i, b, c, active, curves[i], gain_var[i] if promised else 0.0, promised, prior, plans)
    return out


@inlined
def _empty(n: int) -> Theta:
    return Theta(
        np.zeros((n, LAGS)), np.zeros((n, LAGS)), np.zeros(n), np.zeros(n), np.zeros((n, 4)), np.zeros(n), np.zeros(n)
    )


@inlined
def _first_losses(losses: Losses) -> tuple[Array, Array, int]:
    """Onset and confirmation (indices of scenes) of the first losses, and how many there are."""
    n = losses.confirmed.size
    begun, known = np.full(LOSSES, n), np.full(LOSSES, n)
    count = 0
    for i in range(n):
        if losses.confirmed[i] and count < LOSSES:
            begun[count], known[count] = losses.onset[i], i
            count += 1
    return begun, known, count


@inlined
def _prior_of_plans(promised: bool, prior: Prior) -> _Plans:
    log_prior = np.zeros(9)
    if promised:
        log_prior[0], log_prior[1:] = math.log(prior.plan_weight), math.log((1.0 - prior.plan_weight) / 8)
    return _Plans(np.zeros(9), np.zeros(9), np.zeros(9), log_prior, np.empty((4 + LOSSES, 1 + LOSSES)))


@inlined
def _conclude(
    out: Theta, i: int, b: Array, c: Array, losses: int, curve: Array, off: float, promised: bool, prior: Prior,
    plans: _Plans,
) -> None:  # fmt: skip
    """Write the posterior after scene i, by Bayesian model averaging over the plans; `off` is the gain's variance."""
    shares = len(SHARE) if promised else 1
    lags = LAGS if promised else 1
    means, variances, weights = plans.mean, plans.variance, plans.weight
    top = -np.inf
    for lag in range(lags):
        for share in range(shares):
            k = lag * shares + share
            mean, var, weight = _posterior(b, c, lag, SHARE[share], losses, curve[lag], prior, plans.room)
            means[k], variances[k], weights[k] = mean, var, weight + plans.log_prior[k]
            top = max(top, weights[k])
    out.mean[i], out.variance[i] = means[0], prior.widening**2 * (variances[0] + means[0] ** 2 * off)
    out.low[i], out.high[i] = _fieller(means[0], prior.widening**2 * variances[0], prior.widening**2 * off)
    total = 0.0
    for k in range(lags * shares):
        weights[k] = math.exp(weights[k] - top)
        total += weights[k]
    for k in range(lags * shares):
        for q in range(4):
            threshold = prior.thresholds[q]
            sd = prior.widening * math.sqrt(variances[k] + threshold * threshold * off)
            out.below[i, q] += weights[k] / total * _below(threshold, means[k], sd)
    if promised:  # the uncertain gain doubts a higher threshold more, yet what is below the lower is below it too
        for q in range(1, 4):
            out.below[i, q] = max(out.below[i, q], out.below[i, q - 1])


@inlined
def _posterior(
    b: Array, c: Array, lag: int, share: float, losses: int, curve: float, prior: Prior, room: Array
) -> tuple[float, float, float]:
    """Posterior of theta now under one plan: mean, variance, log marginal likelihood.

    With confirmed losses, theta now is theta + sum(loss) / curve, from their joint Gaussian posterior.
    """
    size = 1 + losses
    lam, eta, half, want = room[3:], room[0], room[1], room[2]
    prior_eta = prior.mean / prior.sd**2
    for i in range(size):
        p, scale_p = (lag, share) if i == 0 else (LAGS + i - 1, 1.0)
        eta[i] = scale_p * b[p] + (prior_eta if i == 0 else 0.0)
        for j in range(size):
            q, scale_q = (lag, share) if j == 0 else (LAGS + j - 1, 1.0)
            lam[i, j] = scale_p * scale_q * c[p, q]
        lam[i, i] += 1.0 / prior.sd**2 if i == 0 else 1.0 / prior.loss**2
    # Cholesky: lam = L L'
    for i in range(size):
        for j in range(i + 1):
            t = lam[i, j]
            for k in range(j):
                t -= lam[i, k] * lam[j, k]
            lam[i, j] = math.sqrt(t) if i == j else t / lam[j, j]
    log_det, fit = 0.0, 0.0
    for i in range(size):
        half[i] = eta[i]
        want[i] = 1.0 if i == 0 else 1.0 / max(share * curve, 0.01)
        for k in range(i):
            half[i] -= lam[i, k] * half[k]
            want[i] -= lam[i, k] * want[k]
        half[i] /= lam[i, i]
        want[i] /= lam[i, i]
        log_det += 2 * math.log(lam[i, i])
        fit += half[i] ** 2
    mean, variance = 0.0, 0.0
    for i in range(size):
        mean += half[i] * want[i]
        variance += want[i] ** 2
    return mean, variance, 0.5 * (fit - log_det)


@inlined
def _below(threshold: float, mean: float, sd: float) -> float:
    return 0.5 * math.erfc((mean - threshold) / (sd * math.sqrt(2.0)))


@inlined
def _fieller(mean: float, variance: float, off: float) -> tuple[float, float]:
    """95 % interval of theta estimated as `mean` through a gain with relative variance `off` (Fieller's theorem, 1954).

    All theta for which (mean - theta)^2 <= 1.96^2 (variance + theta^2 off). With a low gain, `mean` and its own share
    of the variance are both low: an interval about the mean would contain the truth least often just there.
    """
    z2 = NORMAL_95**2
    free = max(1.0 - z2 * off, LEAST_FREE)
    half = NORMAL_95 * math.sqrt(free * variance + mean * mean * off)
    return (mean - half) / free, (mean + half) / free


@kernel
def gain_variance(seasons: Array, rain_sd: Array, prior: Prior) -> Array:
    """Variance (n,) of the factor by which an uplift is seen too large or small, as the normal season is uncertain."""
    out: Array = rain_sd**2 * 1.5 / np.maximum(seasons, 0.5) + prior.gain_sd**2
    return out


@inlined
def _log_likelihood(theta: float, b: float, c: float, gain_var: float) -> float:
    """Log likelihood of theta, the gain integrated out: b / c is distributed as N(theta, 1 / c + theta^2 gain_var)."""
    square = theta * theta
    more = 1.0 + square * gain_var * c
    return (theta * b - 0.5 * square * c + 0.5 * square * gain_var * b * b) / more - 0.5 * math.log(more)


@inlined
def _failed_against(b: float, c: float, null: float, gain_var: float) -> float:
    """Log likelihood ratio of a failed site (a mixture) against theta = `null`."""
    top = -np.inf
    for theta, weight in FAILED:
        top = max(top, math.log(weight) + _log_likelihood(theta, b, c, gain_var))
    total = 0.0
    for theta, weight in FAILED:
        total += math.exp(math.log(weight) + _log_likelihood(theta, b, c, gain_var) - top)
    return top + math.log(total) - _log_likelihood(null, b, c, gain_var)


@kernel
def failure_evidence(b: Array, c: Array, gain_var: Array) -> Array:
    """Log evidence against "at least half the plan" at each scene.

    A mixture likelihood ratio [1]_: under its null hypothesis it is a test martingale, so by Ville's inequality it
    exceeds 1 / alpha with probability at most alpha however often one looks [2]_. The smaller of two guards against a
    wrong plan: against theta = 0.4 of the plan as written (it may be a fifth too large), and against theta = 0.5 of the
    plan a year late.

    Parameters
    ----------
    b, c : (n, 3) arrays, information on theta under each plan, see :class:`Theta`
    gain_var : (n,) array, see :func:`gain_variance`

    Returns
    -------
    (n,) array
        Natural logarithm of an e-value.

    References
    ----------
    .. [1] H. Robbins, "Statistical methods related to the law of the iterated logarithm," Ann. Math. Stat., 1970,
       doi:10.1214/aoms/1177696786.
    .. [2] G. Shafer, "Testing by betting: a strategy for statistical and scientific communication," J. R. Stat. Soc. A,
       2021, doi:10.1111/rssa.12647.
    """
    out = np.empty(b.shape[0])
    for i in range(out.size):
        small = _failed_against(b[i, 0], c[i, 0], 0.4, gain_var[i])
        out[i] = min(small, _failed_against(b[i, 2], c[i, 2], 0.5, gain_var[i]))
    return out


@kernel
def uplift_evidence(b: Array, c: Array) -> Array:
    """Log evidence against "no uplift at all" at each scene, (n,), from (n, 3) `b` and `c`.

    The same kind of e-value as :func:`failure_evidence`, the smaller of two: plan as written and a year late.
    """
    out = np.empty(b.shape[0])
    for i in range(out.size):
        out[i] = np.inf
        for lag in (0, 2):
            top = -np.inf
            for theta in GROWN:
                top = max(top, theta * b[i, lag] - 0.5 * theta * theta * c[i, lag])
            total = 0.0
            for theta in GROWN:
                total += math.exp(theta * b[i, lag] - 0.5 * theta * theta * c[i, lag] - top)
            out[i] = min(out[i], top + math.log(total / len(GROWN)))
    return out
