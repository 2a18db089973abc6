"""Erosion grade of a slope from its vegetation cover, and whether the work has bettered it.

SL 190-2007 grades sheet erosion on uncultivated land by cover and slope. The grade table is quoted
from memory and unverified; the cover classes (30, 45, 60, 75 %) are sourced. Below 5 degrees the standard's
table does not apply and nothing is judged.
"""

import numpy as np
from scipy.special import ndtr

COVER = np.array([0.30, 0.45, 0.60, 0.75])
"""Borders of the cover classes. [1]"""
SLOPE = np.array([5.0, 8.0, 15.0, 25.0, 35.0])
"""Lower borders of the slope classes. [degree]"""
GRADES = np.array([
    [2, 2, 3, 4, 5],
    [1, 2, 2, 3, 4],
    [1, 1, 2, 2, 3],
    [1, 1, 1, 2, 2],
    [0, 0, 0, 0, 0],
])  # fmt: skip
"""Grade by cover class (rows, least cover first) and slope class: 0 slight, 1 light, 2 moderate, 3 intense, 4 very
intense, 5 extreme. Unverified."""


def grade(cover: np.ndarray, slope_degrees: np.ndarray) -> np.ndarray:
    """SL 190 grade, 0 (slight) to 5 (extreme); -1 where slope is below 5 degrees or something is NaN."""
    known = np.isfinite(cover) & (slope_degrees >= SLOPE[0])
    row = np.searchsorted(COVER, np.where(known, cover, 0.0), side="right")
    column = np.clip(np.searchsorted(SLOPE, np.where(known, slope_degrees, SLOPE[0]), side="right") - 1, 0, None)
    return np.where(known, GRADES[row, column], -1)


def not_improved(
    cover: np.ndarray, uplift: np.ndarray, uplift_sd: np.ndarray, expected: np.ndarray, slope_degrees: np.ndarray
) -> np.ndarray:
    """Probability that the work has not bettered the grade, where by the plan it should have.

    Parameters
    ----------
    cover, uplift, uplift_sd : (n,) arrays
        Cover of the season and the part of it owed to the work, with its standard deviation. [cover fraction]
    expected : (n,) array
        Uplift that the plan promised by now. [cover fraction]
    slope_degrees : (n,) array
        Mean slope; NaN where it is not known. [degree]

    Returns
    -------
    (n,) array
        NaN where nothing can be said or the plan itself would not have changed the grade yet. [1]

    Notes
    -----
    With the cover itself taken as seen, the grade is not improved where the counterfactual, cover less
    uplift, lies at or above the lowest cover of the same grade.
    """
    now = grade(cover, slope_degrees)
    without = grade(cover - uplift, slope_degrees)
    planned = grade(cover - uplift + expected, slope_degrees)
    due = (now >= 0) & (planned < without)
    column = np.clip(np.searchsorted(SLOPE, np.nan_to_num(slope_degrees), side="right") - 1, 0, None)
    # Lowest cover with the grade that the site has now.
    classes = np.argmax(GRADES[:, column] == np.maximum(now, 0), axis=0)
    lowest = np.where(classes == 0, -np.inf, COVER[np.maximum(classes - 1, 0)])
    with np.errstate(invalid="ignore", divide="ignore"):
        chance = ndtr((cover - lowest - uplift) / uplift_sd)
    return np.where(due, chance, np.nan)
