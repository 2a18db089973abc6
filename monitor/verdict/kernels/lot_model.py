"""The Gaussian model of a lot: yearly amplitudes of its members, and what they say about the mean theta of the lot.

The amplitude of a member in a season is the mean difference between site and control, in units of the seasonal curve.
Its law, with theta of the member normal about that of the lot:

    amplitude = baseline + theta * expected + own drift + own season + scene noise + own elasticity * rain
                + shared shock of the season + shared drift + shared elasticity * rain

The first line is of the member alone, the second is shared by the lot. All terms are Gaussian, so that theta has an
exact likelihood for each standard deviation of the shared shock and each factor on the members' own noise; both are
integrated over a grid. The seasons before the start determine them mostly, since nothing is expected there.

Arrays over members and seasons are (n, m), NaN where a member was not observed in a season.
"""

from typing import Final, NamedTuple

import numpy as np
from scipy.special import logsumexp, ndtr

from monitor.verdict.kernels.constants import FAILED, LAGS

SHOCKS: Final = ((0.0, 0.25), (0.0075, 0.3), (0.015, 0.25), (0.025, 0.14), (0.045, 0.06))
"""(standard deviation, prior probability) of the shock that all members share in a season. [cover fraction, 1]"""
FACTORS: Final = ((0.75, 0.3), (1.0, 0.4), (1.3, 0.3))
"""(factor on the members' own noise, prior probability). [1]"""
LATE: Final = LAGS - 1
"""Index of the plan a year late."""


class LotNoise(NamedTuple):
    """Standard deviations of the model of a lot. [cover fraction] unless stated."""

    spread: float = 0.2  # theta of a member about that of the lot [1]
    baseline: float = 1.0  # lasting difference of a member; so wide that only changes since the start count
    slow: float = 0.02  # a member's own drift
    slow_days: float = 1095.0  # memory of both drifts [day]
    year: float = 0.012  # a member's own season
    elasticity: float = 0.2  # a member's own response to rain [1]
    drift: float = 0.008  # drift that all members share
    shared_elasticity: float = 0.12  # response to rain that all members share [1]


class LotSeasons(NamedTuple):
    """Members of a lot by season: (n, m) arrays, NaN where a member was not observed."""

    amplitude: np.ndarray  # mean difference between site and control [cover fraction]
    expected: np.ndarray  # (n, m, LAGS) amplitude that the plan promised: as written, half a year and a year late
    rain: np.ndarray  # growth of the control beyond normal [cover fraction]
    constant: np.ndarray  # amplitude that a difference of 1 without a season leaves [1]
    scene: np.ndarray  # variance by the noise of scenes [cover fraction squared]


class Likelihood(NamedTuple):
    """Likelihood of theta of a lot, exp(log_weight + theta b - theta^2 c / 2), (factors, shocks, LAGS) arrays."""

    b: np.ndarray
    c: np.ndarray
    log_weight: np.ndarray  # with the prior of factor and shock


def lot_likelihood(seasons: LotSeasons, noise: LotNoise) -> Likelihood:
    """Likelihood of the mean theta of a lot under each plan, factor and shock.

    What is shared has as many dimensions as there are seasons, and one: with the matrix inversion lemma [1]_ the cost
    grows with the number of members, not with its cube.

    Parameters
    ----------
    seasons : LotSeasons
    noise : LotNoise

    References
    ----------
    .. [1] H. V. Henderson and S. R. Searle, "On deriving the inverse of a sum of matrices," SIAM Rev., 1981,
       doi:10.1137/1023004.
    """
    shape = (len(FACTORS), len(SHOCKS), LAGS)
    b, c, log_weight = np.empty(shape), np.empty(shape), np.empty(shape)
    shared = [_shared_covariance(seasons.amplitude.shape[1], shock, noise) for shock, _ in SHOCKS]
    for f, (factor, prior) in enumerate(FACTORS):
        for lag in range(LAGS):
            own = _own_sums(seasons, lag, factor, noise)
            for t, (_, prior_shock) in enumerate(SHOCKS):
                b[f, t, lag], c[f, t, lag], fit = _with_shared(own, shared[t])
                log_weight[f, t, lag] = fit + np.log(prior) + np.log(prior_shock)
    return Likelihood(b, c, log_weight)


class _OwnSums(NamedTuple):
    """Sums over members, weighted by the inverse of each member's own covariance; y: data, g: expected, z: shared."""

    log_det: float
    yy: float
    gy: float
    gg: float
    zy: np.ndarray
    zg: np.ndarray
    zz: np.ndarray


def _own_sums(seasons: LotSeasons, lag: int, factor: float, noise: LotNoise) -> _OwnSums:
    observed = np.isfinite(seasons.amplitude)
    y, g, x, constant, scene = (
        np.where(observed, values, 0.0)
        for values in (seasons.amplitude, seasons.expected[:, :, lag], seasons.rain, seasons.constant, seasons.scene)
    )
    m = y.shape[1]
    apart = np.abs(np.subtract.outer(np.arange(m), np.arange(m)))
    drift = noise.slow**2 * np.exp(-365.25 * apart / noise.slow_days)
    own = factor**2 * (_outer(constant) * drift + np.eye(m) * (noise.year**2 + scene)[:, None, :])
    own += noise.baseline**2 + noise.elasticity**2 * _outer(x) + noise.spread**2 * _outer(g)
    own = np.where(_outer(observed), own, np.eye(m))  # a season that was not observed adds nothing
    precision = np.where(_outer(observed), np.linalg.inv(own), 0.0)
    _, log_det = np.linalg.slogdet(own)
    z = np.concatenate([np.broadcast_to(np.eye(m), (*y.shape, m)), x[:, :, None]], axis=2)
    py, pg = np.einsum("iab,ib->ia", precision, y), np.einsum("iab,ib->ia", precision, g)
    return _OwnSums(
        log_det=float(log_det.sum()),
        yy=float((y * py).sum()),
        gy=float((g * py).sum()),
        gg=float((g * pg).sum()),
        zy=np.einsum("iak,ia->k", z, py),
        zg=np.einsum("iak,ia->k", z, pg),
        zz=np.einsum("iak,iab,ibl->kl", z, precision, z, optimize=True),
    )


def _outer(values: np.ndarray) -> np.ndarray:
    outer: np.ndarray = values[:, :, None] * values[:, None, :]
    return outer


def _shared_covariance(m: int, shock: float, noise: LotNoise) -> np.ndarray:
    """Covariance of the shared effect of each of m seasons, and of the shared elasticity, (m + 1, m + 1)."""
    apart = np.abs(np.subtract.outer(np.arange(m), np.arange(m)))
    out = np.zeros((m + 1, m + 1))
    out[:m, :m] = noise.drift**2 * np.exp(-365.25 * apart / noise.slow_days) + shock**2 * np.eye(m)
    out[m, m] = noise.shared_elasticity**2
    return out


def _with_shared(own: _OwnSums, shared: np.ndarray) -> tuple[float, float, float]:
    """b, c and the log likelihood at theta = 0, once what is shared is integrated out."""
    inside = np.eye(shared.shape[0]) + shared @ own.zz
    solved = np.linalg.solve(inside, shared @ np.stack([own.zy, own.zg], axis=1))
    b = own.gy - own.zg @ solved[:, 0]
    c = own.gg - own.zg @ solved[:, 1]
    rest = own.yy - own.zy @ solved[:, 0]
    return float(b), max(float(c), 0.0), float(-0.5 * (own.log_det + np.linalg.slogdet(inside)[1] + rest))


def log_likelihood(theta: float, likelihood: Likelihood, lag: int, gain_var: float) -> float:
    """Log likelihood of a theta under one plan; the gain, the shock and the factor are integrated out."""
    b, c = likelihood.b[:, :, lag], likelihood.c[:, :, lag]
    more = 1.0 + theta**2 * gain_var * c
    fit = (theta * b - 0.5 * theta**2 * c + 0.5 * theta**2 * gain_var * b**2) / more - 0.5 * np.log(more)
    return float(logsumexp(likelihood.log_weight[:, :, lag] + fit))


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
    """Posterior of theta of a lot: a mixture of normal distributions, (factors, shocks) arrays."""

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
    variance = 1.0 / (1.0 / sd**2 + likelihood.c[:, :, 0])
    mean = variance * (centre / sd**2 + likelihood.b[:, :, 0])
    logs = likelihood.log_weight[:, :, 0] + 0.5 * (mean**2 / variance + np.log(variance))
    return Mixture(np.exp(logs - logsumexp(logs)), mean, variance)


def mean_shock(posterior: Mixture) -> float:
    """Posterior mean of the standard deviation of the shared shock. [cover fraction]"""
    return float(posterior.weight.sum(axis=0) @ np.array([shock for shock, _ in SHOCKS]))


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
