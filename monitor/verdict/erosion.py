"""Erosion grade of a site from its vegetation cover, and whether the work has improved it.

The Chinese standard SL 190-2007 grades sheet erosion by water, on uncultivated land, by cover and slope, and erosion by
wind by cover alone. The table for water is quoted from memory and unverified; its cover classes (30, 45, 60, 75 %) are
from the standard, and so is the table for wind. Below 5 degrees the table for water does not apply and nothing is
judged. Cover is meant as people estimate it in the field (:mod:`monitor.sites.cover_scale`).
"""

import numpy as np
from scipy.special import ndtr

COVER_CLASSES = np.array([0.30, 0.45, 0.60, 0.75])  # borders of the cover classes [1]
GRADE_SLOPES = np.array([5.0, 8.0, 15.0, 25.0, 35.0])  # lower borders of the slope classes [degree]
GRADE_TABLE = np.array([
    [2, 2, 3, 4, 5],
    [1, 2, 2, 3, 4],
    [1, 1, 2, 2, 3],
    [1, 1, 1, 2, 2],
    [0, 0, 0, 0, 0],
])  # fmt: skip
"""Grade of erosion by water by cover class (rows, least cover first) and slope class: 0 slight, 1 light, 2 moderate, 3
intense, 4 very intense, 5 extreme. Unverified."""
WIND_COVER = (0.70, 0.50, 0.30, 0.10, -np.inf, -np.inf)
"""Lowest cover of each grade of erosion by wind; bare ground may be very intense or extreme, and counts as the former.
[1]"""
GRADE_NAMES = ("slight", "light", "moderate", "intense", "very_intense", "extreme")
"""Names of the grades, in order."""
UNVERIFIED = "SL 190 grade table and coefficients of the C factor (Cai 2000) quoted from memory, unverified"
"""Note in every verdict that uses the grade table of erosion by water or the C factor."""
BARE, CLOSED = 0.001, 0.783
"""Cover up to which ground counts as bare, and from which it loses no soil (the latter from the source). [1]"""


def cover_factor(cover: np.ndarray) -> np.ndarray:
    """Soil loss under vegetation as a share of that from bare ground: the C factor of Cai Chongfa et al. (2000). [1]

    ``0.6508 - 0.3436 log10(100 cover)``, clipped to 0..1; 1 on bare ground and 0 from 78.3 % of cover. Coefficients
    unverified. NaN where cover is NaN.
    """
    percent = 100 * np.clip(cover, BARE, 1.0)
    between: np.ndarray = np.where(cover >= CLOSED, 0.0, np.clip(0.6508 - 0.3436 * np.log10(percent), 0.0, 1.0))
    return np.where(np.isnan(cover), np.nan, np.where(cover <= BARE, 1.0, between))


def soil_loss_ratio(cover: np.ndarray, uplift: np.ndarray) -> np.ndarray:
    """Soil loss relative to that without the work: C(cover) / C(cover - uplift).

    Rain, soil, slope and slope length are the same, so only the cover factor of the soil-loss equation remains. The
    ratio falls monotonically with `uplift`: the limits of the uplift give those of the ratio. Both are field cover of
    the season. [cover fraction] NaN where the ground would lose no soil without the work. [1]
    """
    without = cover_factor(np.clip(cover - uplift, 0.0, 1.0))
    known = without > 0
    return np.where(known, cover_factor(cover) / np.where(known, without, 1.0), np.nan)


def lowest_covers(slope_degrees: np.ndarray, by_wind: np.ndarray) -> np.ndarray:
    """Lowest cover with which a site has each grade of SL 190-2007 or a better one, (n, 6), slight to extreme. [1]

    `slope_degrees` is NaN where unknown, and does not matter where `by_wind`. Infinite: no cover reaches this grade
    (above), or all of it does (below). NaN where nothing is graded: erosion by water on a slope below 5 degrees or
    unknown.
    """
    bounds = np.append(-np.inf, COVER_CLASSES)
    by_slope = np.array([[bounds[np.argmax(column <= k)] for k in range(len(GRADE_NAMES))] for column in GRADE_TABLE.T])
    sloping = slope_degrees >= GRADE_SLOPES[0]
    column = np.searchsorted(GRADE_SLOPES, np.where(sloping, slope_degrees, GRADE_SLOPES[0]), side="right") - 1
    by_water = np.where(sloping[:, None], by_slope[column], np.nan)
    return np.where(by_wind[:, None], np.array(WIND_COVER), by_water)


def grade(cover: np.ndarray, lowest: np.ndarray) -> np.ndarray:
    """Erosion grade by SL 190-2007, 0 (slight) to 5 (extreme); -1 (not judged) where an input is NaN.

    `cover` is field cover, (n,) [1], and `lowest` is that of :func:`lowest_covers`.
    """
    return np.where(np.isnan(cover + lowest[:, -1]), -1, np.argmax(cover[:, None] >= lowest, axis=1))


def not_improved(
    cover: np.ndarray, uplift: np.ndarray, uplift_sd: np.ndarray, expected: np.ndarray, lowest: np.ndarray,
    scale_sd: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Probability that the work has not improved the grade, and would have with the expected uplift.

    Taking cover as observed, the grade is not improved where the counterfactual, cover minus uplift, is at or above the
    lowest cover of the same grade; it would have been where the counterfactual and the expected uplift together reach
    the lowest cover of a better grade. Both limit the uplift from above, so the expected one is not reached either.
    How much field cover an index cover stands for is uncertain, and with it where the lower limit lies.

    `cover` and `uplift` are field cover of the season and the part of it due to the work, `expected` the uplift by now
    with which the grade must be better, all (n,) [cover fraction]; `lowest` is that of :func:`lowest_covers`, and
    `scale_sd` the relative standard deviation of the factor from index cover to field cover. [1] NaN where the
    probability is unknown, or by the estimate the expected uplift would not have changed the grade yet. [1]
    """
    now = grade(cover, lowest)
    without, planned = grade(cover - uplift, lowest), grade(cover - uplift + expected, lowest)
    due = (now >= 0) & (planned < without)
    each = np.arange(cover.size)
    same, better = lowest[each, np.maximum(now, 0)], lowest[each, np.maximum(now, 1) - 1]
    by_better = cover + expected - better < cover - same
    most = np.where(by_better, cover + expected - better, cover - same)
    limit_sd = scale_sd * np.where(np.isfinite(most), np.where(by_better, better, same), 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        chance = ndtr((most - uplift) / np.hypot(uplift_sd, limit_sd))
    return np.where(due, chance, np.nan)
