"""Failing pixels and patches of a site: probabilities, edges, patches and random draws.

The theta of a single pixel is noisy. The distribution of the true values over the site is estimated from all its
pixels: weights on a grid of values, which start as the site's posterior and are fitted to the pixels by EM
(nonparametric maximum likelihood: J. Kiefer and J. Wolfowitz, 1956). A normal distribution around the theta of the site
would be wrong where it matters: a site of which half has failed has pixels near 0 and near 1 and none in between.
"""

from functools import lru_cache
from typing import Final

import numpy as np
from scipy import fft, ndimage
from scipy.special import expit, logit, ndtri

from monitor.kernel_cache import njit

THETA_STEP: Final = 0.05
THETA_GRID: Final = THETA_STEP * np.arange(-32, 33)
"""Grid of the theta of pixels, minus that of their site; values beyond count at the ends."""

CLASS_WIDTHS: Final = (0.03, 1.1)
"""Width of the classes of pixels that are treated as equal: difference of theta, and ratio of errors."""

PIXEL_SPREAD: Final = 0.5
"""Prior standard deviation of the theta of pixels around that of their site."""

PRIOR_WEIGHT: Final = 10.0
"""Weight of the site's posterior. [pixel]"""

EM_STEPS: Final = 300
"""Number of EM steps."""

SMOOTHING_SD: Final = 1.0
"""Standard deviation of the Gaussian filter of logit(p). [pixel]"""

FIELD_SIDE_STEP: Final = 32
"""Sides of random fields are multiples of this, so that sites share them. [pixel]"""

MAX_DRAWN_SIDE: Final = 128
"""Longest side of a random field: pixels of larger sites are drawn in blocks, to limit memory. [pixel]"""

MIN_PROBABILITY: Final = 1e-6
"""Probabilities are clipped to this and to 1 minus this before their logit, which is infinite at 0 and 1."""


def failing_probability(
    theta: np.ndarray, error: np.ndarray, *, site: float, variance: float, below: float | np.ndarray
) -> np.ndarray:
    """P(true theta < below) of each pixel, calibrated over the site.

    Parameters
    ----------
    theta, error : (pixels,) arrays
        Estimate of each pixel and its standard error; finite, errors positive.
    site, variance : float
        Mean and variance of the site's posterior of theta.
    below : float or (limit,) array
        One limit, or several.

    Returns
    -------
    (pixels,) or (limit, pixels) array
        Probabilities, for each limit. [1]
    """
    kinds = np.stack([np.rint(theta / CLASS_WIDTHS[0]), np.rint(np.log(error) / np.log(CLASS_WIDTHS[1]))])
    # one integer each: sorting pairs took longer than all else here
    codes = (kinds[0].clip(-(2**40), 2**40) * 2**20 + kinds[1]).astype(np.int64)
    _, first, which, count = np.unique(codes, return_index=True, return_inverse=True, return_counts=True)
    kinds = kinds[:, first]
    fit = -(((kinds[0, :, None] * CLASS_WIDTHS[0] - site - THETA_GRID) / CLASS_WIDTHS[1] ** kinds[1, :, None]) ** 2) / 2
    likelihood = np.exp(fit - fit.max(axis=1, keepdims=True))
    start = np.exp(-(THETA_GRID**2) / (2 * (PIXEL_SPREAD**2 + variance)))
    start /= start.sum()
    share = likelihood * _spread(likelihood, count.astype(np.float64), start)
    share /= share.sum(axis=1, keepdims=True)
    # a grid value represents thetas within half a step
    failing = np.clip((np.atleast_1d(below) - site - THETA_GRID[:, None]) / THETA_STEP + 0.5, 0, 1)
    chance: np.ndarray = np.clip(np.einsum("kg,gl->lk", share, failing), 0, 1)[:, which.ravel()]
    return chance[0] if np.ndim(below) == 0 else chance


@njit(nogil=True, cache=True, error_model="numpy")
def _spread(likelihood: np.ndarray, count: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Weights of the grid values by EM, from (class, value) likelihoods and the number of pixels of each class."""
    kinds, values = likelihood.shape
    turned = likelihood.T.copy()
    weights, total = start.copy(), count.sum() + PRIOR_WEIGHT
    density, posterior = np.empty(kinds), np.empty(values)
    for _ in range(EM_STEPS):
        _weighted_sum(turned, weights, density)
        _weighted_sum(likelihood, count / density, posterior)
        weights = (weights * posterior + PRIOR_WEIGHT * start) / total
    return weights


@njit(nogil=True, cache=True, inline="always")
def _weighted_sum(rows: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None:
    """Weighted sum of (n, m) rows, into (m,) `out`.

    The loop adds whole rows, which is vectorised and has one order of additions; four rows at a time, so that sums are
    loaded and stored a quarter as often.
    """
    out[:] = 0.0
    whole = len(rows) // 4 * 4
    for i in range(0, whole, 4):
        a, b, c, d = weights[i], weights[i + 1], weights[i + 2], weights[i + 3]
        for j in range(out.size):
            out[j] = out[j] + rows[i, j] * a + rows[i + 1, j] * b + rows[i + 2, j] * c + rows[i + 3, j] * d
    for i in range(whole, len(rows)):
        for j in range(out.size):
            out[j] += rows[i, j] * weights[i]


def smooth(chance: np.ndarray) -> np.ndarray:
    """Smooth the logit of a map of probabilities by a Gaussian filter that ignores NaN; NaN stays NaN."""
    known = np.isfinite(chance)
    value = np.where(known, logit(np.clip(np.where(known, chance, 0.5), MIN_PROBABILITY, 1 - MIN_PROBABILITY)), 0.0)
    total = ndimage.gaussian_filter(value, SMOOTHING_SD, mode="constant")
    weight = ndimage.gaussian_filter(known.astype(float), SMOOTHING_SD, mode="constant")
    return np.where(known, expit(total / np.where(known, weight, 1.0)), np.nan)


@njit(nogil=True, cache=True, error_model="numpy")
def failing_fraction(chance: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Failing fraction of each pixel: its probability of failing, or, at the edges of patches, by linear unmixing.

    A pixel half in a patch has a theta in the middle and would count as sound: small patches would lose a quarter of
    their area. Where a pixel and its eight neighbours are both failing and sound, its fraction is
    ``(sound - theta) / (sound - failing)``, with the means of the pixels that are surely sound and surely failing. It
    is not clipped to 0 and 1, so that it is right on average.

    Parameters
    ----------
    chance : (y, x) array
        Probability of failing; NaN where unknown. [1]
    theta : (y, x) array
        Estimate of each pixel; its level matters. [1]

    Returns
    -------
    (y, x) array
        NaN where `chance` is NaN. [1]
    """
    edge, out = _edge(chance), chance.copy()
    total, count = np.zeros((2, 2)), np.zeros((2, 2), np.int64)  # (failing, sound) x (all, not at an edge)
    for y, x in np.ndindex(chance.shape):
        surely, sound = chance[y, x] > 0.9, chance[y, x] < 0.1
        if surely or sound:
            for inside in range(1 if edge[y, x] else 2):
                total[int(sound), inside] += theta[y, x]
                count[int(sound), inside] += 1
    if count[0, 0] and count[1, 0]:
        # pixels at an edge are mixed themselves: prefer the others
        low, high = [total[i, int(count[i, 1] > 0)] / count[i, int(count[i, 1] > 0)] for i in range(2)]
        for y, x in np.ndindex(chance.shape):
            if edge[y, x] and np.isfinite(chance[y, x]):
                out[y, x] = (high - theta[y, x]) / (high - low)
    return out


@njit(nogil=True, cache=True, inline="always")
def _edge(chance: np.ndarray) -> np.ndarray:
    """Whether each pixel and its eight neighbours include values above .5 and below .5, (y, x) bool."""
    height, width = chance.shape
    side = np.zeros((height + 2, width + 2), np.uint8)  # bits: 1 above, 2 below
    for y in range(height):
        for x in range(width):
            side[y + 1, x + 1] = np.uint8(chance[y, x] > 0.5) | np.uint8(chance[y, x] < 0.5) << np.uint8(1)
    out = np.empty(chance.shape, np.bool_)
    for y in range(height):
        here = side[y] | side[y + 1] | side[y + 2]
        for x in range(width):
            out[y, x] = (here[x] | here[x + 1] | here[x + 2]) == 3
    return out


def large_patches(mask: np.ndarray, least: int) -> np.ndarray:
    """Remove patches of fewer than `least` pixels from a mask; pixels that touch at a corner are connected."""
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    large: np.ndarray = (sizes >= least)[labels] & mask
    return large


@lru_cache(maxsize=8)
def random_fields(shape: tuple[int, int], reach: float, count: int, seed: int) -> np.ndarray:
    """Gaussian random fields (count, *shape) of variance 1 with correlation exp(-distance / reach), reach in pixels.

    They are cached and read-only: sites of one size share them.
    """
    generator = np.random.default_rng(seed)
    padded = [fft.next_fast_len(int(side + 6 * reach) + 1, real=True) for side in shape]
    lag = [np.minimum(np.arange(side), side - np.arange(side)) for side in padded]
    covariance = np.exp(-np.hypot(lag[0][:, None], lag[1][None, :]) / reach)
    power = np.sqrt(np.clip(fft.rfft2(covariance).real, 0, None))
    out = np.empty((count, *shape), np.float32)
    for i in range(count):
        white = generator.standard_normal(padded)
        out[i] = fft.irfft2(fft.rfft2(white) * power, s=padded)[: shape[0], : shape[1]]
    out.flags.writeable = False
    return out


def draw_shares(part: np.ndarray, reach: float, count: int, seed: int) -> np.ndarray:
    """Share of failing pixels in `count` random draws, in which each pixel fails with its own probability.

    Parameters
    ----------
    part : (y, x) array
        Failing fraction of each pixel, NaN outside; clipped to 0 and 1. [1]
    reach : float
        Range of the correlation between pixels. [pixel]
    count, seed : int
        Number of draws, and seed of the random fields.

    Returns
    -------
    (count,) array
        Shares. [1]
    """
    rows, columns = (np.flatnonzero(np.isfinite(part).any(axis=axis)) for axis in (1, 0))
    part = np.clip(part[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 0, 1)
    weight = np.isfinite(part).astype(float)
    step = -(-max(part.shape) // MAX_DRAWN_SIDE)
    if step > 1:  # pixels of a large site fail or not in blocks
        total, weight = (_summed(values, step) for values in (np.nan_to_num(part), weight))
        part, reach = total / np.where(weight > 0, weight, np.nan), reach / step
    size = [FIELD_SIDE_STEP * -(-side // FIELD_SIDE_STEP) for side in part.shape]
    drawn = random_fields((size[0], size[1]), reach, count, seed)
    limit = ndtri(np.nan_to_num(part)).astype(np.float32)
    share: np.ndarray = _failing(drawn, limit, weight.astype(np.float32)) / weight.sum()
    return share


@njit(nogil=True, cache=True)
def _failing(drawn: np.ndarray, limit: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Sum of the weights of pixels below their limit (y, x), for each draw (draw, y, x), which may be larger.

    Weights are whole numbers, so that no sum is rounded.
    """
    height, width = limit.shape
    out = np.zeros(drawn.shape[0])
    for i in range(out.size):
        below = np.zeros(width, np.float32)  # adds whole rows, which is vectorised
        for y in range(height):
            for x in range(width):
                below[x] += weight[y, x] if drawn[i, y, x] < limit[y, x] else np.float32(0)
        for x in range(width):
            out[i] += below[x]
    return out


def _summed(values: np.ndarray, step: int) -> np.ndarray:
    """Sums of blocks of step x step pixels; missing pixels at the far edges count as 0."""
    height, width = (-(-side // step) for side in values.shape)
    full = np.zeros((height * step, width * step))
    full[: values.shape[0], : values.shape[1]] = values
    sums: np.ndarray = full.reshape(height, step, width, step).sum(axis=(1, 3))
    return sums
