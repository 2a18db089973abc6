"""Failing area of a site: which pixels lack regrowth, and what share of the site they are, with an interval.

The level comes from the verdict of the site, which accounts for rain and season; pixels only show its distribution. The
area is the sum of the pixels' probabilities of failing, which is unbiased if these are calibrated; counting the pixels
of a mask is not. The interval comes from random draws in which neighbouring pixels are correlated, and in which the
uncertainty of the site shifts all pixels.

The input is sums over whole growing seasons, the same as for the maps, so that the cost does not grow with the history.
"""

from typing import Final, NamedTuple

import numpy as np
from scipy import ndimage

from monitor.kernel_cache import njit
from monitor.trends.kernels import patches

FAILING_THETA: Final = 0.25
"""Theta below which a pixel fails: under a quarter of what the plan promised."""

SHOWN_PROBABILITY: Final = 0.8
"""Smoothed probability above which a pixel is shown as failing. [1]"""

MIN_PATCH_HECTARES: Final = 0.5
"""Smallest patch shown. [ha]"""

MIN_SITE_HECTARES: Final = 0.5
"""Smallest site with a failing area. [ha]"""

BLOCK_SIDE: Final = 20.0
"""Side of the blocks of pixels for which theta is estimated: half of a pixel of 10 m is registration noise. [m]"""

ERROR_RANGE: Final = 100.0
"""Range of the exponential variogram of the errors, which is 60 to 150 m. [m]"""

PIXEL_PRIOR_VARIANCE: Final = 1.0 - patches.PIXEL_SPREAD**2
"""Prior variance of the theta of a pixel beyond :data:`patches.PIXEL_SPREAD`, so that the prior standard deviation is 1
as for any theta. A narrow prior would put pixels between failing and sound, where patches have few."""

DRAWS: Final = 200
"""Random draws for the interval, and of the uncertainty of the site."""

SEED: Final = 20210101
"""Seed of all draws: the same pixels give the same interval."""

SITE_NODES: Final[np.ndarray] = np.polynomial.hermite_e.hermegauss(5)[0]
"""Nodes that represent the uncertainty of the site's theta; the middle one is 0. [standard deviation]"""


class FailingArea(NamedTuple):
    """Share of a site that lacks regrowth, and its location."""

    chance: np.ndarray
    """(y, x) probability that theta is below :data:`FAILING_THETA`; NaN outside, at the edge and where not seen. [1]"""
    smoothed: np.ndarray
    """(y, x) `chance` after smoothing. [1]"""
    failing: np.ndarray
    """(y, x) bool: patches of at least :data:`MIN_PATCH_HECTARES` whose smoothed probability exceeds
    :data:`SHOWN_PROBABILITY`."""
    share: float
    """Failing share of the pixels with a probability; NaN if unknown. [1]"""
    share_low: float
    share_high: float
    """95 % interval. [1]"""
    hectares: float
    """Area of all pixels inside, edge included. [ha]"""
    reason: str
    """Empty, or why the area is unknown: ``EDGE_MIXED`` (too small, or only edge pixels), ``FEW_SCENES`` (not seen)."""


def pixels_per_block(pixel: float) -> int:
    """Number of pixels of a size [m] along each side of a block of about :data:`BLOCK_SIDE`."""
    return max(round(BLOCK_SIDE / pixel), 1)


def block_means(total: np.ndarray, seen: np.ndarray, times: int) -> tuple[np.ndarray, np.ndarray]:
    """Means of blocks of pixels.

    Parameters
    ----------
    total, seen : (season, y, x) arrays
        Sums over the scenes and pixels of each block: of values, and of scenes in which a pixel was seen.
    times : int
        Pixels along each side of a block.

    Returns
    -------
    mean, scenes : (season, y, x) arrays
        Mean value, in the unit of `total`, NaN where not seen; mean number of scenes of a pixel.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return total / np.where(seen > 0, seen, np.nan), seen / times**2


def pixel_theta(over: np.ndarray, seen: np.ndarray, expected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Theta of every pixel minus that of the site, and its standard error.

    Parameters
    ----------
    over : (season, ...) array
        Cover of the pixel minus that of the control, mean over a season; NaN where not seen. [1]
    seen : (season, ...) array
        Number of scenes in the mean.
    expected : (season,) array
        Uplift that the plan expects for the scenes of each season. [1]

    Returns
    -------
    theta, error : (...) float64 arrays
        NaN where fewer than two seasons or no expected uplift determine it; all errors are NaN if no pixel has three
        seasons. [1]

    Notes
    -----
    Least squares of ``over = level + theta * expected``, with seasons weighted by their scenes. The mean of all pixels
    in a season is subtracted first: it is part of the verdict of the site, and no noise of a pixel. Residuals are
    pooled over the site, because a pixel has too few seasons to estimate its own noise.
    """
    seasons, space = over.shape[0], over.shape[1:]
    over, seen = (np.ascontiguousarray(values).reshape(seasons, -1) for values in (over, seen))
    theta, spread, noise = _theta(over, seen, np.asarray(expected, np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        return theta.reshape(space), np.sqrt(noise / spread).reshape(space)


@njit(nogil=True, cache=True, error_model="numpy")
def _theta(over: np.ndarray, seen: np.ndarray, expected: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Theta of each pixel, weighted sum of squares of its expected uplift, and residual variance of all pixels.

    Inputs are (season, pixel) arrays; results are NaN where not determined.
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
        if wide > 1e-9:  # excludes pixels that were never seen
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
    below: float = FAILING_THETA,
    reach: float = ERROR_RANGE,
) -> FailingArea:
    """Failing pixels and failing share of one site.

    Parameters
    ----------
    theta, error : (y, x) arrays
        Theta of each pixel up to a constant, and its standard error, from :func:`pixel_theta`; NaN where unknown. [1]
    within : (y, x) bool array
        Pixels of the site.
    site_theta, site_variance : float
        Mean and variance of the site's posterior of theta. [1]
    pixel : float
        Side of a pixel. [m]
    below : float
        Theta below which a pixel fails. [1]
    reach : float
        Range of the exponential variogram of the errors. [m]

    Returns
    -------
    FailingArea
        If its `reason` is not empty, numbers are NaN and maps empty.
    """
    hectares_of_one = pixel * pixel / 10_000
    hectares = float(within.sum() * hectares_of_one)
    # the outermost pixels also show ground outside
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
        values, errors, site=site_theta, variance=PIXEL_PRIOR_VARIANCE, below=below - shifts
    )
    smooth = patches.smooth(chances[0])
    least = int(np.ceil(MIN_PATCH_HECTARES / hectares_of_one - 1e-9))
    shown = patches.large_patches(np.nan_to_num(smooth) > SHOWN_PROBABILITY, least)
    drawn = patches.draw_shares(patches.failing_fraction(chances[0], level), reach / pixel, DRAWS, SEED)
    shares = np.array([patches.failing_fraction(chance, level)[known].mean() for chance in chances[1:]])
    generator = np.random.default_rng(SEED)
    shifts_of_share = np.interp(generator.standard_normal(DRAWS), SITE_NODES, shares)
    # The uncertainty of the site is only for the interval. Averaged into the share it would bias it: failed ground is
    # at 0 whatever the theta of the site, and would cross the limit in one direction only.
    share = float(np.clip(shares[SITE_NODES.size // 2], 0, 1))
    low, high = np.percentile(np.clip(drawn - drawn.mean() + shifts_of_share, 0, 1), [2.5, 97.5])
    # rule of three: if none of n pixels fails, or all do, up to 3 / n may be otherwise
    few = min(3 / values.size, 1.0)
    low, high = min(low, share, 1 - few), max(high, share, few)
    return FailingArea(chances[0], smooth, shown, share, float(low), float(high), hectares, "")
