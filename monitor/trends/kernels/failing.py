"""The failing area of a site: which pixels lack regrowth, and what share of the site they are, with its interval.

The level comes from the site's own verdict, which knows rain and season; pixels say how it is spread. The area is the
sum of the pixels' chances of failing, which is right on average where chances are calibrated, as counting pixels of a
mask is not. Its interval is of draws in which neighbours fail together, and in which the site's own doubt shifts all.

All is made from the sums of whole growing seasons that the maps are made from, so that a night costs the same however
long the history is.
"""

from typing import Final, NamedTuple

import numpy as np
from numba import njit
from scipy import ndimage

from monitor.trends.kernels import patches

FAILING_THETA: Final = 0.25
"""Theta below which a pixel fails: under a quarter of what the plan promised."""

SHOWN_PROBABILITY: Final = 0.8
"""Smoothed chance from which a pixel is shown as failing."""

MIN_PATCH_HECTARES: Final = 0.5
"""Smallest patch that is shown. [ha]"""

MIN_SITE_HECTARES: Final = 0.5
"""Smallest site of which a failing area is told. [ha]"""

BLOCK_SIDE: Final = 20.0
"""Side of the pixels that theta is told of: a sensor's own of 10 m are half noise of registration. [m]"""

ERROR_RANGE: Final = 100.0
"""How far errors of neighbours go together: range of their exponential variogram, 60 to 150 m. [m]"""

PIXEL_PRIOR_VARIANCE: Final = 1.0 - patches.PIXEL_SPREAD**2
"""What is believed of a pixel before it is looked at is what is believed of any theta: standard deviation 1. A belief
close round the theta of its site puts pixels between failed and sound ground, where in patches there are few."""

DRAWS: Final = 200
"""Draws of the interval, and of the site's own doubt."""

SEED: Final = 20210101
"""The same pixels give the same interval."""

SITE_NODES: Final[np.ndarray] = np.polynomial.hermite_e.hermegauss(5)[0]
"""Five points of a site's own doubt stand for all of it; the middle one is no doubt. [standard deviation]"""


class FailingArea(NamedTuple):
    """What share of a site lacks regrowth, and where."""

    chance: np.ndarray
    """(y, x) P(theta of the pixel < :data:`FAILING_THETA`); NaN outside, at the edge and where not seen. [1]"""
    smoothed: np.ndarray
    """The same smoothed. [1]"""
    failing: np.ndarray
    """(y, x) bool: patches from :data:`MIN_PATCH_HECTARES` on, of smoothed chance over :data:`SHOWN_PROBABILITY`."""
    share: float
    """Failing share of the pixels told of; NaN where it cannot be told. [1]"""
    share_low: float
    share_high: float
    """95 % interval. [1]"""
    hectares: float
    """Area of all pixels inside, edge included. [ha]"""
    reason: str
    """Empty, or why nothing can be told: ``EDGE_MIXED`` (too small, or edge alone), ``FEW_SCENES`` (not seen)."""


def pixels_per_block(pixel: float) -> int:
    """How many pixels of such a side [m] go into one of :data:`BLOCK_SIDE`, along each axis."""
    return max(round(BLOCK_SIDE / pixel), 1)


def block_means(total: np.ndarray, seen: np.ndarray, times: int) -> tuple[np.ndarray, np.ndarray]:
    """From (season, y, x) sums of blocks of `times` pixels along each side the mean of what was seen, NaN where nothing
    was, in the unit of `total`, and the mean number of scenes a pixel.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return total / np.where(seen > 0, seen, np.nan), seen / times**2


def pixel_theta(over: np.ndarray, seen: np.ndarray, expected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Theta of every pixel less that of the site, and its standard error.

    Parameters
    ----------
    over : (season, ...) array
        Cover of the pixel less that of the control, mean over a season; NaN where not seen. [1]
    seen : (season, ...) array
        How many scenes that is the mean of.
    expected : (season,) array
        Uplift that the plan expects of the scenes of each season. [1]

    Returns
    -------
    theta, error : (...) float64 arrays
        NaN where fewer than two seasons or no expectation tell, and the error wherever no pixel has three. [1]

    Notes
    -----
    Least squares, ``over = level + theta * expected``, seasons weighted by their scenes. What all pixels share in a
    season is taken off first: the site's own verdict has weighed it, and it is no noise of a pixel. What is left is
    pooled over the site: a pixel has too few seasons to tell its own noise.
    """
    seasons, space = over.shape[0], over.shape[1:]
    over, seen = (np.ascontiguousarray(values).reshape(seasons, -1) for values in (over, seen))
    theta, spread, noise = _theta(over, seen, np.asarray(expected, np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        return theta.reshape(space), np.sqrt(noise / spread).reshape(space)


@njit(nogil=True, cache=True, error_model="numpy")
def _theta(over: np.ndarray, seen: np.ndarray, expected: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Of (season, pixel) arrays theta of each pixel, the weighted spread of its expectations, and what is left of all
    of them by degree of freedom; NaN where nothing tells.
    """
    seasons, pixels = over.shape
    weight, own = np.zeros((seasons, pixels)), np.zeros((seasons, pixels))
    for i in range(seasons):
        total, count = 0.0, 0
        for j in range(pixels):
            if np.isfinite(over[i, j]) and seen[i, j] > 0:
                weight[i, j] = seen[i, j]
                total += over[i, j]
                count += 1
        for j in range(pixels):
            if weight[i, j] > 0:
                own[i, j] = over[i, j] - total / count
    theta, spread = np.full(pixels, np.nan), np.full(pixels, np.nan)
    noise, freedom = 0.0, 0
    for j in range(pixels):
        total, due, stood, used = 0.0, 0.0, 0.0, 0
        for i in range(seasons):
            total += weight[i, j]
            due += weight[i, j] * expected[i]
            stood += weight[i, j] * own[i, j]
            used += weight[i, j] > 0
        wide, along = 0.0, 0.0
        for i in range(seasons):
            x = expected[i] - due / total
            wide += weight[i, j] * x * x
            along += weight[i, j] * x * (own[i, j] - stood / total)
        if wide > 1e-9:  # no pixel that was never seen
            spread[j], theta[j] = wide, along / wide
            if used > 2:
                freedom += used - 2
                for i in range(seasons):
                    left = own[i, j] - stood / total - theta[j] * (expected[i] - due / total)
                    noise += weight[i, j] * left * left
    return theta, spread, noise / freedom


def failing_area(
    theta: np.ndarray,
    error: np.ndarray,
    within: np.ndarray,
    *,
    site_theta: float,
    site_variance: float,
    pixel: float,
    reach: float = ERROR_RANGE,
) -> FailingArea:
    """Failing pixels and failing share of one site.

    Parameters
    ----------
    theta, error : (y, x) arrays
        Theta of each pixel, its level left open, and its standard error, as :func:`pixel_theta` gives them; NaN where
        a pixel tells nothing. [1]
    within : (y, x) bool array
        Pixels whose centre lies in the site.
    site_theta, site_variance : float
        The site's posterior of theta. [1]
    pixel : float
        Side of a pixel. [m]
    reach : float
        How far errors of neighbours go together: range of their exponential variogram. [m]

    Returns
    -------
    FailingArea
        Numbers are NaN and maps empty where its `reason` says why.
    """
    hectares_of_one = pixel * pixel / 10_000
    hectares = float(within.sum() * hectares_of_one)
    # the outermost pixels are part of something else
    core = ndimage.binary_erosion(within, np.ones((3, 3)))
    known = core & np.isfinite(theta) & (error > 0) & np.isfinite(error)
    reason = ""
    if hectares < MIN_SITE_HECTARES or not core.any():
        reason = "EDGE_MIXED"
    elif known.sum() < max(0.5 * core.sum(), 1) or not np.isfinite([site_theta, site_variance]).all():
        reason = "FEW_SCENES"
    blank = np.full(within.shape, np.nan)
    if reason:
        return FailingArea(blank, blank, np.zeros_like(within), np.nan, np.nan, np.nan, hectares, reason)
    values, errors = theta[known].astype(float), error[known].astype(float)
    values = values + site_theta - values.mean()
    shifts = np.concatenate([[0.0], SITE_NODES * np.sqrt(site_variance)])
    level, chances = blank.copy(), np.full((shifts.size, *within.shape), np.nan)
    level[known] = values
    chances[:, known] = patches.failing_probability(
        values, errors, site=site_theta, variance=PIXEL_PRIOR_VARIANCE, below=FAILING_THETA - shifts
    )
    smooth = patches.smooth(chances[0])
    least = int(np.ceil(MIN_PATCH_HECTARES / hectares_of_one - 1e-9))
    shown = patches.large_patches(np.nan_to_num(smooth) > SHOWN_PROBABILITY, least)
    drawn = patches.draw_shares(patches.failing_fraction(chances[0], level), reach / pixel, DRAWS, SEED)
    doubted = np.array([patches.failing_fraction(chance, level)[known].mean() for chance in chances[1:]])
    generator = np.random.default_rng(SEED)
    doubts = np.interp(generator.standard_normal(DRAWS), SITE_NODES, doubted)
    # The site's doubt is for the interval. Averaged into the share it would carry failed ground, which stands at none
    # of the plan however the site is judged, over the limit from one side alone.
    share = float(np.clip(doubted[SITE_NODES.size // 2], 0, 1))
    low, high = np.percentile(np.clip(drawn - drawn.mean() + doubts, 0, 1), [2.5, 97.5])
    # of so many pixels none was seen to fail, or none to stand: up to three in as many may yet (the rule of three)
    few = min(3 / values.size, 1.0)
    low, high = min(low, share, 1 - few), max(high, share, few)
    return FailingArea(chances[0], smooth, shown, share, float(low), float(high), hectares, "")
