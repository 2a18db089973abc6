"""Theta, the share of the promised uplift achieved: its filter, posterior and the evidence on it (numba)."""

import math
from typing import NamedTuple

import numpy as np

from monitor.verdict.kernels.constants import (
    ELASTICITY_THETA,
    FAILED,
    GROWN,
    HALF_LIVES,
    HEALED_SD,
    HEALED_SHARE,
    HEALS,
    LAGS,
    LEAST_FREE,
    LOSSES,
    NORMAL_95,
    PROFILES,
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

PLANS = LAGS * len(PROFILES)
"""Columns of plans: of each profile of the season, as written, half a year late, a year late."""
LOSS = 1 + len(HALF_LIVES)
"""Columns of a loss: what stays lost, and what has healed by each half-life."""
CONSTANT = np.array([share for share, _ in PROFILES])
LOG_PROFILE = np.log(np.array([weight for _, weight in PROFILES]))
FAILED_THETA, FAILED_LOG = np.array([theta for theta, _ in FAILED]), np.log(np.array([w for _, w in FAILED]))
GROWN_THETA, GROWN_LOG = np.array(GROWN), np.full(len(GROWN), -math.log(len(GROWN)))


class Theta(NamedTuple):
    """Theta after each scene, the plan as written where not stated otherwise."""

    b: np.ndarray  # (n, PLANS) information vector of each plan: the likelihood of theta is exp(theta b - theta^2 c / 2)
    c: np.ndarray  # (n, PLANS) information matrix (scalar) of each plan
    mean: np.ndarray  # (n,) posterior mean [1]
    variance: np.ndarray  # (n,) posterior variance, the uncertain gain included [1]
    below: np.ndarray  # (n, 4) probability of being below each threshold, averaged over the plans [1]
    low: np.ndarray  # (n,) lower limit of the 95 % interval [1]
    high: np.ndarray  # (n,) upper limit of the 95 % interval [1]


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

    An uplift need not be green when the control is: each plan has a column for each of :data:`PROFILES`, whose constant
    part does not follow the rain either. A loss may heal: beside its step, each has a column for each of
    :data:`HALF_LIVES`, which says what would have come back.

    Parameters
    ----------
    times : Times
    difference : (n,) array, site minus control [cover fraction]
    state : SeasonState
    curves : (n, 3) array, promised uplift at each scene: as written, half a year late, a year late [cover fraction]
    scene_variance : (n,) array, variance of the noise of each scene [cover fraction squared]
    losses : Losses, confirmed sudden losses
    promised : bool
        Whether the plan promises uplift. If not, `curves` is 1 since the start and theta is the change itself, which
        follows the season of the control, its pedestal included.
    noise, prior : Noise, Prior
    evidence_only : bool, compute `b` and `c` only; the rest, which takes most of the time, is zero
    """
    day, season = times.day, times.season
    n = day.size
    gain_var = gain_variance(state.seasons, state.rain_sd, prior)
    out = _empty(n)
    begun, known, count = _first_losses(losses)
    profiles, columns = len(PROFILES) if promised else 1, PLANS + count * LOSS
    x, cov = initial_state(noise, 0.0, noise.trend)
    m, gain, h, ph = np.zeros((columns, 8)), np.zeros(8), np.zeros(8), np.zeros(8)
    b, c, ej = np.zeros(columns), np.zeros((columns, columns)), np.zeros(columns)
    healed = np.zeros((LOSSES, LOSS))  # the first is 0: permanent
    room = np.empty((4 + 2 * LOSSES + 1, 1 + 2 * LOSSES))
    theta, theta_var, profile = prior.mean, prior.sd**2, 0
    live = 0  # columns that differ from 0: none before anything is promised or lost
    for i in range(n):
        if i > 0:
            predict(x, cov, m[:live], decay_factors(day[i] - day[i - 1], season[i] - season[i - 1], noise), noise)
        if curves[i, 0] > 0.0 or i >= begun[0]:
            live = columns
        mu = state.shape[i] * (1.0 + state.rain[i])
        curve = state.bump[i] if promised else state.shape[i]
        observe(h, state.shape[i], mu, times.position[i])
        uplift = min(max(theta, 0.0), ELASTICITY_THETA) * curves[i, 0] * (1.0 - CONSTANT[profile]) * curve
        h[6] = (state.amplitude[i] * state.shape[i] + uplift) * rain_before(season, state.rain, i)
        h[7] = trend_since(day[0], day[i], mu)
        e, hph = innovation(x, cov, h, ph, difference[i])
        for j in range(profiles):
            grown = CONSTANT[j] + (1.0 - CONSTANT[j]) * curve * (1.0 + state.rain[i])
            for lag in range(LAGS):
                ej[j * LAGS + lag] = curves[i, lag] * grown
        for q in range(count):
            for rate in range(LOSS):
                if rate > 0:
                    since = max(day[i] - day[begun[q]], 0) / 365.25
                    healed[q, rate] = 1.0 - 0.5 ** (since / HALF_LIVES[rate - 1])
                ej[PLANS + q * LOSS + rate] = 0.0 if i < begun[q] else mu * (healed[q, rate] if rate > 0 else 1.0)
        for j in range(live):
            for k in range(8):
                ej[j] -= h[k] * m[j, k]
        # Whether a scene is an outlier is judged by the theta and the losses known by then.
        at = LAGS * profile
        surprise, spread = e - theta * ej[at], hph + scene_variance[i] + theta_var * ej[at] ** 2
        for q in range(count):
            if known[q] < i:
                change, doubt = _loss_at(PLANS + q * LOSS, at, theta, b, c, ej, prior.loss)
                surprise -= change
                spread += doubt
        variance = hph + scene_variance[i] * max(1.0, surprise**2 / spread / noise.huber**2)
        for k in range(8):
            gain[k] = ph[k] / variance
        for j in range(live):
            b[j] += e * ej[j] / variance
            c[j, j] += ej[j] * ej[j] / variance
            if j >= PLANS:  # two plans are never considered together
                for q in range(j):
                    c[j, q] += ej[j] * ej[q] / variance
            for k in range(8):
                m[j, k] += gain[k] * ej[j]
        update(x, cov, gain, ph, e)
        top = -np.inf if live > 0 else np.inf
        for j in range(profiles):
            v = 1.0 / (1.0 / prior.sd**2 + c[j * LAGS, j * LAGS])
            mean = v * (prior.mean / prior.sd**2 + b[j * LAGS])
            fit = 0.5 * (mean * mean / v + math.log(v)) + LOG_PROFILE[j]
            if fit > top:
                top, theta, theta_var, profile = fit, mean, v, j
        for j in range(PLANS):
            out.b[i, j], out.c[i, j] = b[j], c[j, j]
        if evidence_only:
            continue
        if i > 0 and c[0, 0] == 0.0 and gain_var[i] == gain_var[i - 1]:  # nothing new is known
            out.mean[i], out.variance[i] = out.mean[i - 1], out.variance[i - 1]
            out.low[i], out.high[i], out.below[i] = out.low[i - 1], out.high[i - 1], out.below[i - 1]
            continue
        active = 0
        for q in range(count):
            active += known[q] <= i
        _conclude(out, i, b, c, active, healed, curves[i], gain_var[i] if promised else 0.0, promised, prior, room)
    return out


@inlined
def _empty(n: int) -> Theta:
    return Theta(
        np.zeros((n, PLANS)), np.zeros((n, PLANS)), np.zeros(n), np.zeros(n), np.zeros((n, 4)), np.zeros(n), np.zeros(n)
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
def _loss_at(first: int, plan: int, theta: float, b: Array, c: Array, ej: Array, loss_sd: float) -> tuple[float, float]:
    """Change of this scene by a loss, and its variance: the loss and what healed of it at the middle half-life."""
    then, doubt = first + LOSS // 2, HEALED_SD**-2
    l00 = c[first, first] + loss_sd**-2 + HEALED_SHARE**2 * doubt
    l01, l11 = c[then, first] + HEALED_SHARE * doubt, c[then, then] + doubt
    det = l00 * l11 - l01 * l01
    e0, e1 = b[first] - theta * c[first, plan], b[then] - theta * c[then, plan]
    lost, back = (l11 * e0 - l01 * e1) / det, (l00 * e1 - l01 * e0) / det
    x, y = ej[first], ej[then]
    return lost * x + back * y, (l11 * x * x - 2.0 * l01 * x * y + l00 * y * y) / det


@kernel
def _conclude(
    out: Theta, i: int, b: Array, c: Array, losses: int, healed: Array, curve: Array, off: float, promised: bool,
    prior: Prior, room: Array,
) -> None:  # fmt: skip
    """Write the posterior after scene i, by Bayesian model averaging over plans, their profiles and how losses heal.

    `off` is the variance of the gain.
    """
    shares, lags, profiles = (len(SHARE), LAGS, len(PROFILES)) if promised else (1, 1, 1)
    rates = LOSS if losses > 0 else 1
    shapes = rates * profiles  # of one plan
    size = lags * (shapes + (shares - 1) * rates)
    means, variances, weights = np.empty(size), np.empty(size), np.empty(size)
    top, k = -np.inf, 0
    for lag in range(lags):
        for share in range(shares):
            log_plan = 0.0
            if promised:
                first = lag == 0 and share == 0
                log_plan = math.log(prior.plan_weight if first else (1.0 - prior.plan_weight) / (lags * shares - 1))
            for profile in range(profiles if share == 0 else 1):  # smaller plans have the control's season
                log_prior = log_plan + (LOG_PROFILE[profile] if promised else 0.0)
                for rate in range(rates):
                    mean, var, weight = _posterior(
                        b, c, profile * LAGS + lag, SHARE[share], losses, rate, healed, curve[lag], prior, room
                    )
                    if rates > 1:
                        weight += math.log(1.0 - HEALS if rate == 0 else HEALS / len(HALF_LIVES))
                    means[k], variances[k], weights[k] = mean, var, weight + log_prior
                    top = max(top, weights[k])
                    k += 1
    written = np.exp(weights[:shapes] - weights[:shapes].max())
    written /= written.sum()
    mean = np.sum(written * means[:shapes])
    variance = np.sum(written * (variances[:shapes] + (means[:shapes] - mean) ** 2))
    out.mean[i], out.variance[i] = mean, prior.widening**2 * (variance + mean**2 * off)
    out.low[i], out.high[i] = _fieller(mean, prior.widening**2 * variance, prior.widening**2 * off)
    weights = np.exp(weights - top)
    weights /= weights.sum()
    for k in range(weights.size):
        if weights[k] < 1e-9:
            continue
        for q in range(4):
            threshold = prior.thresholds[q]
            sd = prior.widening * math.sqrt(variances[k] + threshold * threshold * off)
            out.below[i, q] += weights[k] * _below(threshold, means[k], sd)
    if promised:  # the uncertain gain doubts a higher threshold more, yet what is below the lower is below it too
        for q in range(1, 4):
            out.below[i, q] = max(out.below[i, q], out.below[i, q - 1])


@inlined
def _posterior(
    b: Array, c: Array, plan: int, share: float, losses: int, rate: int, healed: Array, curve: float, prior: Prior,
    room: Array,
) -> tuple[float, float, float]:  # fmt: skip
    """Posterior of theta now under one plan: mean, variance, log marginal likelihood.

    With confirmed losses, theta now is theta + sum(loss + healed share of it) / curve, from their joint Gaussian
    posterior. At rate 0 losses stay; at others what comes back in the end is normal about a share of the loss.
    """
    each = 2 if rate > 0 else 1
    size = 1 + losses * each
    lam, eta, half, want, place = room[4:], room[0], room[1], room[2], room[3]
    for i in range(size):
        q, heals = (i - 1) // each, each == 2 and i % 2 == 0
        p = plan if i == 0 else PLANS + q * LOSS + (rate if heals else 0)
        place[i] = p
        scale = share if i == 0 else 1.0
        eta[i] = scale * b[p] + (prior.mean / prior.sd**2 if i == 0 else 0.0)
        for j in range(i + 1):
            lam[i, j] = scale * (share if j == 0 else 1.0) * c[p, int(place[j])]
        want[i] = 1.0 if i == 0 else (healed[q, rate] if heals else 1.0) / max(share * curve, 0.01)
        if i == 0:
            lam[i, i] += 1.0 / prior.sd**2
        elif heals:
            lam[i, i] += HEALED_SD**-2
            lam[i, i - 1] += HEALED_SHARE * HEALED_SD**-2
        else:
            lam[i, i] += 1.0 / prior.loss**2 + (HEALED_SHARE**2 * HEALED_SD**-2 if each == 2 else 0.0)
    # Cholesky: lam = L L'
    for i in range(size):
        for j in range(i + 1):
            t = lam[i, j]
            for k in range(j):
                t -= lam[i, k] * lam[j, k]
            lam[i, j] = math.sqrt(t) if i == j else t / lam[j, j]
    log_det, fit = (each - 1) * losses * math.log(HEALED_SD**2), 0.0
    mean, variance = 0.0, 0.0
    for i in range(size):
        half[i] = eta[i]
        for k in range(i):
            half[i] -= lam[i, k] * half[k]
            want[i] -= lam[i, k] * want[k]
        half[i] /= lam[i, i]
        want[i] /= lam[i, i]
        log_det += 2 * math.log(lam[i, i])
        fit += half[i] ** 2
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
def _log_mixture(b: Array, c: Array, lag: int, thetas: Array, log_weights: Array, gain_var: float) -> float:
    """Log likelihood of a mixture of thetas and of the profiles of the season, of one scene."""
    top, total = -np.inf, 0.0
    for j in range(len(PROFILES)):
        at = j * LAGS + lag
        for k in range(thetas.size):
            part = LOG_PROFILE[j] + log_weights[k] + _log_likelihood(thetas[k], b[at], c[at], gain_var)
            if part > top:
                total, top = total * math.exp(top - part) + 1.0, part
            else:
                total += math.exp(part - top)
    return top + math.log(total)


@kernel
def failure_evidence(b: Array, c: Array, gain_var: Array) -> Array:
    """Log evidence against "at least half the plan" at each scene.

    A mixture likelihood ratio [1]_: were the filter's model exact, it would be a test martingale under its null
    hypothesis [2]_. It is not (outliers count less, the season is refitted, the noise is estimated), so the bar of red
    rests on simulation. The smaller of two guards against a wrong plan: against theta = 0.4 of the plan as written (it
    may be a fifth too large), and against theta = 0.5 of the plan a year late. Numerator and null average over
    :data:`PROFILES`.

    Parameters
    ----------
    b, c : (n, PLANS) arrays, information on theta under each plan, see :class:`Theta`
    gain_var : (n,) array, see :func:`gain_variance`

    Returns
    -------
    (n,) array
        Natural logarithm.

    References
    ----------
    .. [1] H. Robbins, "Statistical methods related to the law of the iterated logarithm," Ann. Math. Stat., 1970,
       doi:10.1214/aoms/1177696786.
    .. [2] G. Shafer, "Testing by betting: a strategy for statistical and scientific communication," J. R. Stat. Soc. A,
       2021, doi:10.1111/rssa.12647.
    """
    out = np.zeros(b.shape[0])
    for i in range(out.size):
        if c[i, 0] == 0.0:
            continue
        out[i] = np.inf
        for lag, null in ((0, 0.4), (LAGS - 1, 0.5)):
            failed = _log_mixture(b[i], c[i], lag, FAILED_THETA, FAILED_LOG, gain_var[i])
            out[i] = min(out[i], failed - _log_mixture(b[i], c[i], lag, np.array([null]), np.zeros(1), gain_var[i]))
    return out


@kernel
def uplift_evidence(b: Array, c: Array) -> Array:
    """Log evidence against "no uplift at all" at each scene, (n,), from (n, PLANS) `b` and `c`.

    The same kind of ratio as :func:`failure_evidence`, the smaller of two: plan as written and a year late.
    """
    out = np.zeros(b.shape[0])
    for i in range(out.size):
        if c[i, 0] == 0.0:
            continue
        out[i] = np.inf
        for lag in (0, LAGS - 1):
            out[i] = min(out[i], _log_mixture(b[i], c[i], lag, GROWN_THETA, GROWN_LOG, 0.0))
    return out
