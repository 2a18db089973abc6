"""Where on a site regrowth is absent: theta of every pixel, and how much of the site has next to none.

A pixel's own theta is a noisy number. How the true ones are spread over the site is learnt from all pixels together:
weights on a grid of values, which start as the site's own posterior and are moved by what the pixels say (J. Kiefer and
J. Wolfowitz, 1956, by the steps of EM). A bell round the site's theta, the plain form of shrinkage, is wrong where it
matters: a site of which half has failed has pixels near 0 and near 1 and none in between.
"""

from typing import Final

import numpy as np
from numba import njit
from scipy import fft, ndimage
from scipy.special import expit, logit, ndtr

GRID: Final = np.linspace(-1.0, 2.0, 61)
"""Values of theta that pixels may have; those beyond belong to the ends."""

SPREAD: Final = 0.5
"""Standard deviation of the theta of pixels round that of their site before they are looked at."""

FAITH: Final = 10.0
"""How many pixels the site's own posterior counts for."""

STEPS: Final = 300
"""Steps of EM."""

SMOOTHING: Final = 1.0
"""Standard deviation of the bell by which the logit of p is smoothed. [pixel]"""

CERTAIN: Final = 1e-6
"""Least p, and greatest less than 1, that is smoothed: the logit of 0 has no end."""


@njit(nogil=True, cache=True, error_model="numpy")
def theta_of_pixels(difference: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Least-squares theta of every pixel, ``difference = level + theta * expected``, and its standard error.

    Parameters
    ----------
    difference : (n, pixels) array
        Site less control, not finite where not seen; in order of time. [cover fraction]
    expected : (n,) array
        What the plan expects of each scene; 0 before the start. [cover fraction]

    Returns
    -------
    (2, pixels) array
        Theta, and its standard error with the autocorrelation of lag 1 of the residuals in it; NaN with fewer than six
        values or where nothing was expected of them.
    """
    n, pixels = difference.shape
    out = np.full((2, pixels), np.nan)
    for pixel in range(pixels):
        seen, x, y = 0, 0.0, 0.0
        for i in range(n):
            value = difference[i, pixel]
            if abs(value) < np.inf:
                seen += 1
                x += expected[i]
                y += value
        if seen < 6:
            continue
        x, y = x / seen, y / seen
        xx, xy = 0.0, 0.0
        for i in range(n):
            value = difference[i, pixel]
            if abs(value) < np.inf:
                xx += (expected[i] - x) ** 2
                xy += (expected[i] - x) * (value - y)
        if xx <= 1e-12:
            continue
        theta = xy / xx
        squares, products, before = 0.0, 0.0, 0.0
        for i in range(n):
            value = difference[i, pixel]
            if abs(value) < np.inf:
                left = value - y - theta * (expected[i] - x)
                squares += left * left
                products += left * before
                before = left
        memory = min(max(products / squares, 0.0), 0.9) if squares > 0 else 0.0
        out[0, pixel] = theta
        out[1, pixel] = np.sqrt(squares / (seen - 2) / xx * (1 + memory) / (1 - memory))
    return out


def chances(theta: np.ndarray, error: np.ndarray, *, site: float, variance: float, below: float) -> np.ndarray:
    """P(true theta < below) of each pixel, calibrated over the site.

    Parameters
    ----------
    theta, error : (pixels,) arrays
        Estimate of each pixel and its standard error, finite, errors positive.
    site, variance : float
        The site's posterior.
    below : float
        The limit.

    Returns
    -------
    (pixels,) array
        0 to 1.
    """
    bell = np.exp(-((GRID - site) ** 2) / (2 * (SPREAD**2 + variance)))
    start = bell / bell.sum()
    fit = -(((theta[:, None] - GRID) / error[:, None]) ** 2) / 2
    likelihood = np.exp(fit - fit.max(axis=1, keepdims=True))
    weights = start
    for _ in range(STEPS):
        share = likelihood * weights
        share /= share.sum(axis=1, keepdims=True)
        weights = (share.sum(axis=0) + FAITH * start) / (theta.size + FAITH)
    share = likelihood * weights
    chance: np.ndarray = (share @ (below > GRID)) / share.sum(axis=1)
    return chance


def smoothed(chance: np.ndarray) -> np.ndarray:
    """The same map with its logit smoothed by a bell; NaN stays, and counts for nothing in its neighbours."""
    known = np.isfinite(chance)
    value = np.where(known, logit(np.clip(np.where(known, chance, 0.5), CERTAIN, 1 - CERTAIN)), 0.0)
    total = ndimage.gaussian_filter(value, SMOOTHING, mode="constant")
    weight = ndimage.gaussian_filter(known.astype(float), SMOOTHING, mode="constant")
    return np.where(known, expit(total / np.where(known, weight, 1.0)), np.nan)


def parts(chance: np.ndarray, theta: np.ndarray) -> np.ndarray:
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
    surely, sound = chance > 0.9, chance < 0.1
    if not (surely.any() and sound.any()):
        return chance
    around = np.ones((3, 3))
    edge = ndimage.binary_dilation(chance > 0.5, around) & ndimage.binary_dilation(chance < 0.5, around)
    # pixels at the edge are mixed themselves: those inside tell what either is like
    inner, outer = surely & ~edge, sound & ~edge
    low = theta[inner if inner.any() else surely].mean()
    high = theta[outer if outer.any() else sound].mean()
    return np.where(edge & np.isfinite(chance), (high - theta) / (high - low), chance)


def patches(mask: np.ndarray, least: int) -> np.ndarray:
    """The mask without its patches of fewer than so many pixels; pixels that touch at a corner belong together."""
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    kept: np.ndarray = (sizes >= least)[labels] & mask
    return kept


def fields(shape: tuple[int, int], reach: float, count: int, generator: np.random.Generator) -> np.ndarray:
    """Gaussian fields of variance 1 whose correlation falls off as exp(-distance / reach), reach in pixels."""
    padded = [fft.next_fast_len(int(side + 6 * reach) + 1, real=True) for side in shape]
    lag = [np.minimum(np.arange(side), side - np.arange(side)) for side in padded]
    covariance = np.exp(-np.hypot(lag[0][:, None], lag[1][None, :]) / reach)
    power = np.sqrt(np.clip(fft.rfft2(covariance).real, 0, None))
    out = np.empty((count, *shape))
    for i in range(count):
        white = generator.standard_normal(padded)
        out[i] = fft.irfft2(fft.rfft2(white) * power, s=padded)[: shape[0], : shape[1]]
    return out


def shares(chance: np.ndarray, reach: float, count: int, generator: np.random.Generator) -> np.ndarray:
    """Shares of the pixels that fail in so many draws, in each of which each fails with its own chance.

    Neighbours fail together: the draws are cut from fields whose correlation falls off with `reach` [pixel].
    """
    known = np.isfinite(chance)
    limit = chance[known]
    drawn = fields(chance.shape, reach, count, generator)
    return np.array([(ndtr(field[known]) < limit).mean() for field in drawn])
