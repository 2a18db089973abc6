"""The difference between a site and its control as a linear Gaussian state-space model (numba).

The state has eight parts: lasting baseline, annual cosine and sine, slow and fast drift (both Ornstein-Uhlenbeck
processes), a season's own difference (autoregressive from season to season), response to rain, and last a lasting trend
or, in the loss search, theta. It is tracked by a Kalman filter [1]_; columns carried beside it give the generalised
least squares of effects that are not part of the state.

References
----------
.. [1] R. E. Kalman, "A new approach to linear filtering and prediction problems," J. Basic Eng., 1960,
   doi:10.1115/1.3662552.
"""

import math

import numpy as np

from monitor.verdict.kernels.constants import OWN, REFERENCE_SCENES, SEASON_SCENES
from monitor.verdict.kernels.types import Array, Noise, SeasonState, Times, inlined, kernel


@inlined
def decay_factors(days: int, seasons: int, noise: Noise) -> tuple[float, float, float]:
    """Factors by which slow drift, fast drift and a season's own difference decay over days and season borders."""
    return math.exp(-days / noise.slow_days), math.exp(-days / noise.fast_days), noise.year_memory**seasons


@kernel
def predict(x: Array, covariance: Array, columns: Array, decay: tuple[float, float, float], noise: Noise) -> None:
    """Prediction step: decay state, covariance and the columns beside them in place, and add process noise."""
    for k, keep, sd in ((3, decay[0], noise.slow), (4, decay[1], noise.fast), (5, decay[2], noise.year)):
        if keep == 1.0:
            continue
        x[k] *= keep
        for j in range(columns.shape[0]):
            columns[j, k] *= keep
        for i in range(8):
            covariance[i, k] *= keep
            covariance[k, i] *= keep
        covariance[k, k] += (1.0 - keep * keep) * sd * sd


@kernel
def initial_state(noise: Noise, last_mean: float, last_sd: float) -> tuple[Array, Array]:
    """Mean (8,) and covariance (8, 8) before the first scene, given the prior of the last part of the state."""
    x, covariance = np.zeros(8), np.zeros((8, 8))
    sds = (
        noise.baseline, noise.harmonic, noise.harmonic, noise.slow, noise.fast, noise.year, noise.elasticity, last_sd,
    )  # fmt: skip
    for k in range(8):
        covariance[k, k] = sds[k] ** 2
    x[7] = last_mean
    return x, covariance


@inlined
def observe(h: Array, s: float, mu: float, position: int) -> None:
    """Write the first six entries of the observation vector: baseline, harmonic, drifts, season's own difference."""
    angle = 2 * math.pi * position / 365.25
    h[0], h[1], h[2], h[3], h[4], h[5] = mu, math.cos(angle), math.sin(angle), 1.0, 1.0, s


@inlined
def rain_before(season: Array, rain: Array, i: int) -> float:
    """Rain at the scene before the i-th, to which the response is fitted; 0 at the first scene of a season.

    The control's noise is in the rain of its own scene and in the difference: a response would be fitted to it.
    """
    return rain[i - 1] if i > 0 and season[i] == season[i - 1] else 0.0


@inlined
def trend_since(first: int, day: int, mu: float) -> float:
    """What a trend of 1 a year, begun on the first day, has changed by a day of season and rain `mu`. [year]"""
    return mu * (day - first) / 365.25


@kernel
def innovation(x: Array, covariance: Array, h: Array, ph: Array, difference: float) -> tuple[float, float]:
    """Innovation and its variance without scene noise; writes P h into `ph`."""
    _project(covariance, h, ph)
    hph, e = 0.0, difference
    for k in range(8):
        hph += h[k] * ph[k]
        e -= h[k] * x[k]
    return e, hph


@inlined
def _project(covariance: Array, h: Array, out: Array) -> None:
    """`out` = P h. Rows of `covariance` are columns of P, here and below, so that inner loops vectorise."""
    for k in range(8):
        out[k] = 0.0
    for q in range(8):
        for k in range(8):
            out[k] += covariance[q, k] * h[q]


@kernel
def update(x: Array, covariance: Array, gain: Array, ph: Array, e: float) -> None:
    """Update step: add K e to `x` and subtract K (P h)' from P."""
    for k in range(8):
        x[k] += gain[k] * e
    for q in range(8):
        for k in range(8):
            covariance[q, k] -= gain[k] * ph[q]


@kernel
def scaled_noise(noise: Noise, baseline: float, wander: float, scene: float) -> Noise:
    """Noise with a site's own baseline and factors; the noise of a scene itself is scaled by the caller."""
    return Noise(
        baseline, noise.harmonic, noise.slow * wander, noise.slow_days, noise.fast * scene, noise.fast_days,
        noise.year * wander, noise.year_memory, noise.elasticity, noise.trend, noise.huber, noise.own_wander,
        noise.own_scene,
    )  # fmt: skip


@kernel
def agreement_before(
    times: Times, difference: Array, s: Array, start: int, baseline_sd: float
) -> tuple[float, float, int]:
    """How well site and control agreed before the start.

    Parameters
    ----------
    times : Times
    difference : (n,) array, site minus control [cover fraction]
    s : (n,) array, seasonal curve [1]
    start : int, days from 1970-01-01
    baseline_sd : float, usual prior standard deviation of the lasting difference [cover fraction]

    Returns
    -------
    sd : float
        Prior standard deviation of the lasting difference at this site: larger the larger the difference before the
        start, twice the usual without a season before it. [cover fraction]
    ratio : float
        Spread of the seasons' means over 0.03, at least 1; above 1 the control counts as poor. [1]
    seasons : int
        Observed seasons before the start.
    """
    day, season = times.day, times.season
    seasons, total, squares = 0, 0.0, 0.0
    i, n = 0, day.size
    while i < n and day[i] < start:
        j, num, den = i, 0.0, 0.0
        while j < n and season[j] == season[i] and day[j] < start:
            num += s[j] * difference[j]
            den += s[j] * s[j]
            j += 1
        if j - i >= SEASON_SCENES and den > 0:
            seasons += 1
            total += num / den
            squares += (num / den) ** 2
        i = j
    if seasons == 0:
        return 2 * baseline_sd, 1.0, 0
    mean = total / seasons
    spread = math.sqrt(max(squares - seasons * mean * mean, 0.0) / (seasons - 1)) if seasons > 1 else 0.0
    return max(baseline_sd, abs(mean)), max(1.0, spread / 0.03), seasons


@kernel
def observation_matrix(times: Times, season: SeasonState, noise: Noise) -> tuple[Array, Array]:
    """Decay factors (n, 3) and observation vectors (n, 8) of ground without uplift, whatever the size of the noise."""
    day, position = times.day, times.position
    decay, h = np.zeros((day.size, 3)), np.zeros((day.size, 8))
    s, rho = season.shape, season.rain
    for i in range(day.size):
        if i > 0:
            decay[i, 0], decay[i, 1], decay[i, 2] = decay_factors(
                day[i] - day[i - 1], times.season[i] - times.season[i - 1], noise
            )
        mu = s[i] * (1.0 + rho[i])
        observe(h[i], s[i], mu, position[i])
        h[i, 6] = season.amplitude[i] * s[i] * rain_before(times.season, rho, i)
        h[i, 7] = trend_since(day[0], day[i], mu)
    return decay, h


@kernel
def log_likelihood(decay: Array, h: Array, difference: Array, scene_variance: Array, noise: Noise) -> float:
    """Robust log likelihood of a difference without uplift.

    Parameters
    ----------
    decay : (n, 3) array, decay factors since the scene before, see :func:`observation_matrix`
    h : (n, 8) array, observation vectors
    difference : (n,) array, site minus control [cover fraction]
    scene_variance : (n,) array, variance of the noise of each scene [cover fraction squared]
    noise : Noise

    Returns
    -------
    float
        Sum over the innovations of the Kalman filter, with Huber's loss instead of the square: beyond `huber` standard
        deviations they count linearly.
    """
    x, cov = initial_state(noise, 0.0, noise.trend)
    gain, ph, none = np.zeros(8), np.zeros(8), np.zeros((0, 8))
    total = 0.0
    for i in range(difference.size):
        if i > 0:
            predict(x, cov, none, (decay[i, 0], decay[i, 1], decay[i, 2]), noise)
        e, hph = innovation(x, cov, h[i], ph, difference[i])
        spread = hph + scene_variance[i]
        z = abs(e) / math.sqrt(spread)
        loss = 0.5 * z * z if z <= noise.huber else noise.huber * (z - 0.5 * noise.huber)
        total -= 0.5 * math.log(spread) + loss
        variance = hph + scene_variance[i] * max(1.0, z * z / noise.huber**2)
        for k in range(8):
            gain[k] = ph[k] / variance
        update(x, cov, gain, ph, e)
    return total


@kernel
def own_noise(
    times: Times, difference: Array, season: SeasonState, scene_variance: Array, start: int, noise: Noise
) -> tuple[float, float]:
    """A site's own noise relative to the usual, from its years before the start only.

    Sites differ more than the usual noise of a biome. With the usual noise for all, 95 % intervals of ground that
    drifts twice as much contained the truth at 84 to 91 of 100 simulated sites; with their own noise (and a longer
    memory of drift) at 93 to 95. Years after the start are not used: a failing site could hide in its own noise.

    Parameters
    ----------
    times : Times
    difference : (n,) array, site minus control [cover fraction]
    season : SeasonState
    scene_variance : (n,) array, variance of the noise of each scene [cover fraction squared]
    start : int, days from 1970-01-01
    noise : Noise, usual noise

    Returns
    -------
    wander, scene : float
        Factors on the standard deviations of slow drift and a season's own difference, and on those of a scene and
        fast drift: posterior means on a grid, the second first (empirical Bayes). 1 with fewer than five scenes. [1]
    """
    before = 0
    while before < times.day.size and times.day[before] < start:
        before += 1
    early = Times(times.day[:before], times.position[:before], times.season[:before])
    state = SeasonState(
        season.shape[:before], season.rain[:before], season.amplitude[:before], season.peak[:before],
        season.seasons[:before], season.rain_sd[:before], season.season_rain[:before],
        season.slope[:before], season.bump[:before],
    )  # fmt: skip
    decay, h = observation_matrix(early, state, noise)
    factors = np.ones(2)
    for which, sd in ((1, noise.own_scene), (0, noise.own_wander)):
        if before < REFERENCE_SCENES or sd == 0.0:
            continue
        logs, tried = np.empty(len(OWN)), np.empty(len(OWN))
        for k in range(len(OWN)):
            tried[k] = factors[which] = math.exp(sd * OWN[k])
            logs[k] = log_likelihood(
                decay, h, difference[:before], scene_variance[:before] * factors[1] ** 2,
                scaled_noise(noise, noise.baseline, factors[0], factors[1]),
            ) - 0.5 * (OWN[k] + 0.5 * sd) ** 2  # the usual noise is the mean of all sites' own  # fmt: skip
        weight = np.exp(logs - logs.max())
        factors[which] = np.sum(weight * tried) / np.sum(weight)
    return factors[0], factors[1]
