"""Where on a site regrowth is absent: theta of every pixel, and how much of the site has next to none.

A pixel's own theta is a noisy number. How the true ones are spread over the site is learnt from all pixels together:
weights on a grid of values, which start as the site's own posterior and are moved by what the pixels say (J. Kiefer and
J. Wolfowitz, 1956, by the steps of EM). A bell round the site's theta, the plain form of shrinkage, is wrong where it
matters: a site of which half has failed has pixels near 0 and near 1 and none in between.
"""

from functools import lru_cache
from typing import Final

import numpy as np
from numba import njit
from scipy import fft, ndimage
from scipy.special import expit, logit, ndtri

THETA_STEP: Final = 0.05
THETA_GRID: Final = THETA_STEP * np.arange(-32, 33)
"""Values that the theta of pixels may have, less that of their site; those beyond belong to the ends."""

CLASS_WIDTHS: Final = (0.03, 1.1)
"""Pixels whose thetas lie within the first, and whose errors have a lesser ratio than the second, are taken as one."""

PIXEL_SPREAD: Final = 0.5
"""Standard deviation of the theta of pixels round that of their site before they are looked at."""

PRIOR_WEIGHT: Final = 10.0
"""How many pixels the site's own posterior counts for."""

EM_STEPS: Final = 300
"""Steps of EM."""

SMOOTHING_SD: Final = 1.0
"""Standard deviation of the bell by which the logit of p is smoothed. [pixel]"""

FIELD_SIDE_STEP: Final = 32
"""Fields are drawn on whole numbers of these, so that sites share them. [pixel]"""

MAX_DRAWN_SIDE: Final = 128
"""Of a site with a longer side, pixels are drawn in blocks: the draws of all fields fit into memory. [pixel]"""

MIN_PROBABILITY: Final = 1e-6
"""Least p, and greatest less than 1, that is smoothed: the logit of 0 has no end."""


def failing_probability(
    theta: np.ndarray, error: np.ndarray, *, site: float, variance: float, below: float | np.ndarray
) -> np.ndarray:
    """P(true theta < below) of each pixel, calibrated over the site.

    Parameters
    ----------
    theta, error : (pixels,) arrays
        Estimate of each pixel and its standard error, finite, errors positive.
    site, variance : float
        The site's posterior.
    below : float or (limit,) array
        The limit, or several.

    Returns
    -------
    (pixels,) or (limit, pixels) array
        0 to 1.
    """
    kinds = np.stack([np.rint(theta / CLASS_WIDTHS[0]), np.rint(np.log(error) / np.log(CLASS_WIDTHS[1]))])
    # as one number each: to sort pairs took more time than all else here
    codes = (kinds[0].clip(-(2**40), 2**40) * 2**20 + kinds[1]).astype(np.int64)
    _, first, which, count = np.unique(codes, return_index=True, return_inverse=True, return_counts=True)
    kinds = kinds[:, first]
    fit = -(((kinds[0, :, None] * CLASS_WIDTHS[0] - site - THETA_GRID) / CLASS_WIDTHS[1] ** kinds[1, :, None]) ** 2) / 2
    likelihood = np.exp(fit - fit.max(axis=1, keepdims=True))
    start = np.exp(-(THETA_GRID**2) / (2 * (PIXEL_SPREAD**2 + variance)))
    start /= start.sum()
    share = likelihood * _spread(likelihood, count.astype(np.float64), start)
    share /= share.sum(axis=1, keepdims=True)
    # a value of the grid stands for all thetas half a step around it
    failing = np.clip((np.atleast_1d(below) - site - THETA_GRID[:, None]) / THETA_STEP + 0.5, 0, 1)
    chance: np.ndarray = np.clip(np.einsum("kg,gl->lk", share, failing), 0, 1)[:, which.ravel()]
    return chance[0] if np.ndim(below) == 0 else chance


@njit(nogil=True, cache=True, error_model="numpy")
def _spread(likelihood: np.ndarray, count: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Weights of the grid's values by EM, from (kind, value) likelihoods of kinds of pixels and how many each has."""
    kinds, values = likelihood.shape
    turned = likelihood.T.copy()
    weights, total = start.copy(), count.sum() + PRIOR_WEIGHT
    density, found = np.empty(kinds), np.empty(values)
    for _ in range(EM_STEPS):
        _weighted(turned, weights, density)
        _weighted(likelihood, count / density, found)
        weights = (weights * found + PRIOR_WEIGHT * start) / total
    return weights


@njit(nogil=True, cache=True)
def _weighted(rows: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None:
    """Sum of (n, m) rows by their weights, into (m,) `out`.

    Sums run over whole rows, not along them: they are quick, and their order is one; four rows at a time, so that a sum
    is fetched and put back a quarter as often.
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
    """The same map with its logit smoothed by a bell; NaN stays, and counts for nothing in its neighbours."""
    known = np.isfinite(chance)
    value = np.where(known, logit(np.clip(np.where(known, chance, 0.5), MIN_PROBABILITY, 1 - MIN_PROBABILITY)), 0.0)
    total = ndimage.gaussian_filter(value, SMOOTHING_SD, mode="constant")
    weight = ndimage.gaussian_filter(known.astype(float), SMOOTHING_SD, mode="constant")
    return np.where(known, expit(total / np.where(known, weight, 1.0)), np.nan)


@njit(nogil=True, cache=True, error_model="numpy")
def failing_fraction(chance: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Failing part of each pixel: its chance of failing, and at the edges of patches by how far theta lies between.

    A pixel half in a patch has a theta in the middle and would pass as sound: with such pixels taken for whole, small
    patches lose a quarter of their area. Where a pixel and its eight neighbours are both failing and sound, its part is
    ``(sound - theta) / (sound - failing)``, both being means over the pixels that are surely one or the other. Taken as
    it is, below 0 and above 1 too, it is right on average.

    Parameters
    ----------
    chance : (y, x) array
        NaN where not told of.
    theta : (y, x) array
        Estimate of each pixel.

    Returns
    -------
    (y, x) array
        NaN where `chance` is.
    """
    edge, out = _edge(chance), chance.copy()
    total, count = np.zeros((2, 2)), np.zeros((2, 2), np.int64)  # of failing and of sound ones; of all, of those inside
    for y, x in np.ndindex(chance.shape):
        surely, sound = chance[y, x] > 0.9, chance[y, x] < 0.1
        if surely or sound:
            for inside in range(1 if edge[y, x] else 2):
                total[int(sound), inside] += theta[y, x]
                count[int(sound), inside] += 1
    if count[0, 0] and count[1, 0]:
        # pixels at the edge are mixed themselves: those inside tell what either is like
        low, high = [total[i, int(count[i, 1] > 0)] / count[i, int(count[i, 1] > 0)] for i in range(2)]
        for y, x in np.ndindex(chance.shape):
            if edge[y, x] and np.isfinite(chance[y, x]):
                out[y, x] = (high - theta[y, x]) / (high - low)
    return out


@njit(nogil=True, cache=True)
def _edge(chance: np.ndarray) -> np.ndarray:
    """Pixels of a (y, x) map that have one above .5 and one below among themselves and their eight neighbours."""
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
    """The mask without its patches of fewer than so many pixels; pixels that touch at a corner belong together."""
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    kept: np.ndarray = (sizes >= least)[labels] & mask
    return kept


@lru_cache(maxsize=8)
def random_fields(shape: tuple[int, int], reach: float, count: int, seed: int) -> np.ndarray:
    """Gaussian fields of variance 1 whose correlation falls off as exp(-distance / reach), reach in pixels.

    Kept, and not to be written to: sites of one size share them.
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
    """Shares of the pixels that fail in so many draws, in each of which each fails with its own chance.

    Neighbours fail together: the draws are cut from fields whose correlation falls off with `reach` [pixel]. Of a
    `part` (y, x), NaN outside, values below 0 and above 1 count as 0 and 1.
    """
    rows, columns = (np.flatnonzero(np.isfinite(part).any(axis=axis)) for axis in (1, 0))
    part = np.clip(part[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 0, 1)
    weight = np.isfinite(part).astype(float)
    step = -(-max(part.shape) // MAX_DRAWN_SIDE)
    if step > 1:  # of a large site so many pixels fail or stand together
        total, weight = (_summed(values, step) for values in (np.nan_to_num(part), weight))
        part, reach = total / np.where(weight > 0, weight, np.nan), reach / step
    size = [FIELD_SIDE_STEP * -(-side // FIELD_SIDE_STEP) for side in part.shape]
    drawn = random_fields((size[0], size[1]), reach, count, seed)
    limit = ndtri(np.nan_to_num(part)).astype(np.float32)
    share: np.ndarray = _failing(drawn, limit, weight.astype(np.float32)) / weight.sum()
    return share


@njit(nogil=True, cache=True)
def _failing(drawn: np.ndarray, limit: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weights of what lies below its limit (y, x), summed up for each of the draws (draw, y, x), which may be larger.

    Weights are whole numbers, so that no sum is rounded.
    """
    height, width = limit.shape
    out = np.zeros(drawn.shape[0])
    for i in range(out.size):
        below = np.zeros(width, np.float32)  # sums run over whole rows, not along them: they are quick
        for y in range(height):
            for x in range(width):
                below[x] += weight[y, x] if drawn[i, y, x] < limit[y, x] else np.float32(0)
        for x in range(width):
            out[i] += below[x]
    return out


def _summed(values: np.ndarray, step: int) -> np.ndarray:
    """Sums of blocks of step x step pixels; what is missing at the far edges counts as 0."""
    height, width = (-(-side // step) for side in values.shape)
    full = np.zeros((height * step, width * step))
    full[: values.shape[0], : values.shape[1]] = values
    sums: np.ndarray = full.reshape(height, step, width, step).sum(axis=(1, 3))
    return sums
