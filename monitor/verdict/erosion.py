"""Erosion grade of a slope from its vegetation cover, and whether the work has improved it.

The Chinese standard SL 190-2007 grades sheet erosion on uncultivated land by cover and slope. The grade table is quoted
from memory and unverified; the cover classes (30, 45, 60, 75 %) are from the standard. Below 5 degrees the table does
not apply and nothing is judged.
"""

import numpy as np
from scipy.special import ndtr

COVER_CLASSES = np.array([0.30, 0.45, 0.60, 0.75])
"""Borders of the cover classes. [1]"""
GRADE_SLOPES = np.array([5.0, 8.0, 15.0, 25.0, 35.0])
"""Lower borders of the slope classes. [degree]"""
GRADE_TABLE = np.array([
    [2, 2, 3, 4, 5],
    [1, 2, 2, 3, 4],
    [1, 1, 2, 2, 3],
    [1, 1, 1, 2, 2],
    [0, 0, 0, 0, 0],
])  # fmt: skip
"""Grade by cover class (rows, least cover first) and slope class: 0 slight, 1 light, 2 moderate, 3 intense, 4 very
intense, 5 extreme. Unverified."""


GRADE_NAMES = ("slight", "light", "moderate", "intense", "very_intense", "extreme")
"""Names of the grades, in order."""
UNVERIFIED = "SL 190 grade table and coefficients of the C factor (Cai 2000) quoted from memory, unverified"
"""Note in every verdict that uses the grade table or the C factor."""
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
    ratio falls monotonically with `uplift`: the limits of the uplift give those of the ratio.

    Parameters
    ----------
    cover, uplift : arrays, cover of the season and the part of it due to the work [cover fraction]

    Returns
    -------
    array
        NaN where the ground would lose no soil without the work. [1]
    """
    without = cover_factor(np.clip(cover - uplift, 0.0, 1.0))
    known = without > 0
    return np.where(known, cover_factor(cover) / np.where(known, without, 1.0), np.nan)


def grade(cover: np.ndarray, slope_degrees: np.ndarray) -> np.ndarray:
    """Erosion grade by SL 190-2007 (table unverified), 0 (slight) to 5 (extreme).

    Parameters
    ----------
    cover : array
        Vegetation cover, as a fraction. [1]
    slope_degrees : array
        Slope of the ground. [degree]

    Returns
    -------
    array of int
        -1 (not judged) where the slope is below 5 degrees, or cover or slope is NaN.
    """
    known = np.isfinite(cover) & (slope_degrees >= GRADE_SLOPES[0])
    row = np.searchsorted(COVER_CLASSES, np.where(known, cover, 0.0), side="right")
    column = np.clip(
        np.searchsorted(GRADE_SLOPES, np.where(known, slope_degrees, GRADE_SLOPES[0]), side="right") - 1, 0, None
    )
    return np.where(known, GRADE_TABLE[row, column], -1)


def not_improved(
    cover: np.ndarray, uplift: np.ndarray, uplift_sd: np.ndarray, expected: np.ndarray, slope_degrees: np.ndarray
) -> np.ndarray:
    """Probability that the work has not improved the grade, and would have with the expected uplift.

    Taking cover as observed, the grade is not improved where the counterfactual, cover minus uplift, is at or above the
    lowest cover of the same grade; it would have been where the counterfactual and the expected uplift together reach
    the lowest cover of a better grade. Both limit the uplift from above, so the expected one is not reached either.

    Parameters
    ----------
    cover, uplift, uplift_sd : (n,) arrays
        Cover of the season and the part of it due to the work, with its standard deviation. [cover fraction]
    expected : (n,) array, uplift by now with which the grade must be better [cover fraction]
    slope_degrees : (n,) array, mean slope; NaN where unknown [degree]

    Returns
    -------
    (n,) array
        NaN where it is unknown, or by the estimate the expected uplift would not have changed the grade yet. [1]
    """
    now = grade(cover, slope_degrees)
    without = grade(cover - uplift, slope_degrees)
    planned = grade(cover - uplift + expected, slope_degrees)
    due = (now >= 0) & (planned < without)
    column = np.clip(np.searchsorted(GRADE_SLOPES, np.nan_to_num(slope_degrees), side="right") - 1, 0, None)
    # Lowest cover with the grade that the site has now, and with a better one, if there is.
    grades = GRADE_TABLE[:, column]
    lowest = np.append(-np.inf, COVER_CLASSES)[np.argmax(grades == np.maximum(now, 0), axis=0)]
    better = np.append(-np.inf, COVER_CLASSES)[np.argmax(grades < np.maximum(now, 1), axis=0)]
    most = np.minimum(cover - lowest, cover + expected - better)
    with np.errstate(invalid="ignore", divide="ignore"):
        chance = ndtr((most - uplift) / uplift_sd)
    return np.where(due, chance, np.nan)
