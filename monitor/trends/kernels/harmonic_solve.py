"""Normal equations of the seasonal fit, solved for a block of pixels side by side.

All arrays have pixels in their last dimension, :data:`LANES` of them, so that the loops over pixels are vectorised.
"""

import math
from typing import Final, NamedTuple

import numpy as np

from monitor.kernel_cache import njit
from monitor.trends.kernels.vectors import fma, full_width

VALUES_PER_COEFFICIENT: Final = 2
"""Minimum number of values for each coefficient: 12 for two harmonics, the minimum of CCDC (Z. Zhu and C. E. Woodcock,
2014, doi:10.1016/j.rse.2014.01.011)."""

DETERMINED: Final = 1e-3
"""A coefficient is undetermined if the others leave less than this share of its own variance: one date a year, or all
dates within a month. Two harmonics over a short growing season (days 152 to 258) leave 3e-3, over May to October
6e-2."""

MIN_AMPLITUDE: Final = 5e-7
"""Smallest amplitude with a peak, as a share of the root mean square of the values: smaller ones are rounding of single
precision (up to a fifth of this for a constant)."""

LANES: Final = 128
"""Pixels side by side."""

LANE: Final = tuple(np.uint64(LANES * k) for k in range(15))
"""Start of each sum in a flat array of sums."""

SIXTEENTH, EIGHTH, THREE_SIXTEENTHS = (math.tan(math.pi / 16 * k) for k in (1, 2, 3))
"""Tangents of these shares of a half-turn."""


class Solution(NamedTuple):
    """Results of a block of pixels, and the space to compute them in."""

    matrix: np.ndarray
    """(p, p, LANES) normal matrix, then its factors."""
    beta: np.ndarray
    """(p, LANES) coefficients."""
    determined: np.ndarray
    """(LANES,) bool: False where the dates do not determine the fit."""
    rows: np.ndarray
    """(5, LANES) :data:`monitor.trends.kernels.harmonic.FIT_ROWS`."""


@njit(nogil=True, cache=True, error_model="numpy")
def solve_block(
    flat_sums: np.ndarray,
    flat_right: np.ndarray,
    terms: np.ndarray,
    weights: np.ndarray,
    half: float,
    solution: Solution,
) -> None:
    """Coefficients and result rows of a block of pixels.

    Parameters
    ----------
    flat_sums : (q * LANES,) array
        Sums of the features of the dates seen, one after the other.
    flat_right : ((p + 1) * LANES,) array
        Right-hand side of the normal equations, and the sum of squares of the values.
    terms, weights : (p, p, 2) arrays
        Entries of the normal matrix as weighted sums of two features.
    half : float
        Half of the length of the record. [year]
    solution : Solution
        Overwritten.
    """
    full_width()
    matrix, beta, determined, rows = solution
    p = matrix.shape[0]
    sums, right = flat_sums.reshape(-1, LANES), flat_right.reshape(-1, LANES)
    if p == 6:
        _two_harmonics(flat_sums, flat_right, determined, beta.reshape(-1))
    else:
        for lane in range(LANES):
            determined[lane] = sums[0, lane] >= VALUES_PER_COEFFICIENT * p
        _normal_matrix(terms, weights, sums, matrix)
        _factor(matrix, determined)
        _substitute(matrix, right, beta)
    squares_left = rows[4]
    squares_left[:] = right[p]
    for k in range(p):
        coefficient, side = beta[k], right[k]
        for lane in range(LANES):
            squares_left[lane] = fma(-coefficient[lane], side[lane], squares_left[lane])
    level, slope, cosine, sine, count, squares = beta[0], beta[1], beta[2], beta[3], sums[0], right[p]
    rate = 1 / half
    for lane in range(LANES):
        good = determined[lane]
        c, s, mean_square = cosine[lane], sine[lane], squares_left[lane] / count[lane]
        rows[0, lane] = level[lane] if good else np.nan
        rows[1, lane] = slope[lane] * rate if good else np.nan
        rows[2, lane] = math.sqrt(c * c + s * s) if good else np.nan
        peaked = (c * c + s * s) * count[lane] > MIN_AMPLITUDE * MIN_AMPLITUDE * squares[lane]
        rows[3, lane] = 1 + 365.25 * _share_of_turn(s, c) if good & peaked else np.nan
        rows[4, lane] = math.sqrt(mean_square if mean_square > 0 else 0.0) if good else np.nan


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _normal_matrix(terms: np.ndarray, weights: np.ndarray, sums: np.ndarray, matrix: np.ndarray) -> None:
    """Compute the lower triangle of the normal matrix (p, p, LANES) from the sums (q, LANES)."""
    full_width()
    p = matrix.shape[0]
    for r in range(p):
        for c in range(r + 1):
            i, j = terms[r, c]
            a, b = weights[r, c]
            first, second, entry = sums[i], sums[j], matrix[r, c]
            for lane in range(LANES):
                entry[lane] = fma(b, second[lane], a * first[lane])


@njit(nogil=True, cache=True, error_model="numpy")
def _factor(matrix: np.ndarray, determined: np.ndarray) -> None:
    """Factor (p, p, LANES) into L D L^T in place; `determined` becomes False where a pivot vanishes.

    L is stored below the diagonal, L D above it and 1 / D on it: no roots, and no other divisions.
    """
    full_width()
    p = matrix.shape[0]
    left = np.empty(LANES)
    for r in range(p):
        for c in range(r):
            here, there = matrix[r, c], matrix[c, r]
            for lane in range(LANES):
                there[lane] = here[lane]
            for k in range(c):
                lower, upper = matrix[c, k], matrix[k, r]
                for lane in range(LANES):
                    there[lane] = fma(-lower[lane], upper[lane], there[lane])
            pivot = matrix[c, c]
            for lane in range(LANES):
                here[lane] = there[lane] * pivot[lane]
        own = matrix[r, r]
        for lane in range(LANES):
            left[lane] = own[lane]
        for k in range(r):
            lower, upper = matrix[r, k], matrix[k, r]
            for lane in range(LANES):
                left[lane] = fma(-lower[lane], upper[lane], left[lane])
        for lane in range(LANES):
            good = left[lane] > DETERMINED * own[lane]
            determined[lane] &= good
            own[lane] = 1 / (left[lane] if good else 1.0)


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _substitute(factors: np.ndarray, right: np.ndarray, solution: np.ndarray) -> None:
    """Solve the factored equations for (p, LANES) right-hand sides."""
    full_width()
    p = factors.shape[0]
    for r in range(p):
        here, side = solution[r], right[r]
        for lane in range(LANES):
            here[lane] = side[lane]
        for k in range(r):
            lower, known = factors[r, k], solution[k]
            for lane in range(LANES):
                here[lane] = fma(-lower[lane], known[lane], here[lane])
    for r in range(p - 1, -1, -1):
        here, pivot = solution[r], factors[r, r]
        for lane in range(LANES):
            here[lane] *= pivot[lane]
        for k in range(r + 1, p):
            lower, known = factors[k, r], solution[k]
            for lane in range(LANES):
                here[lane] = fma(-lower[lane], known[lane], here[lane])


@njit(nogil=True, cache=True, error_model="numpy")
def _two_harmonics(sums: np.ndarray, right: np.ndarray, determined: np.ndarray, beta: np.ndarray) -> None:
    """Do the work of the three functions above for two harmonics, in registers, from flat sums.

    Written out because those functions spend their time on storing and loading again. l is L, i is 1 / D, and v, w, x
    and y are columns of L D.
    """
    full_width()
    least = VALUES_PER_COEFFICIENT * 6.0
    # flat and unsigned: otherwise each index is tested for being negative, and the loop is not vectorised
    for lane in range(np.uint64(LANES)):
        n, u, uu = sums[lane], sums[LANE[1] + lane], sums[LANE[2] + lane]
        c1, c2, c3, c4 = sums[LANE[3] + lane], sums[LANE[4] + lane], sums[LANE[5] + lane], sums[LANE[6] + lane]
        s1, s2, s3, s4 = sums[LANE[7] + lane], sums[LANE[8] + lane], sums[LANE[9] + lane], sums[LANE[10] + lane]
        uc1, uc2, us1, us2 = sums[LANE[11] + lane], sums[LANE[12] + lane], sums[LANE[13] + lane], sums[LANE[14] + lane]
        m22, m32, m33 = 0.5 * (n + c2), 0.5 * s2, 0.5 * (n - c2)
        m42, m43, m44 = 0.5 * (c1 + c3), 0.5 * (s3 - s1), 0.5 * (n + c4)
        m52, m53, m54, m55 = 0.5 * (s1 + s3), 0.5 * (c1 - c3), 0.5 * s4, 0.5 * (n - c4)

        good = n >= least
        i0 = 1 / (n if good else 1.0)
        l10, l20, l30, l40, l50 = u * i0, c1 * i0, s1 * i0, c2 * i0, s2 * i0

        d = fma(-l10, u, uu)
        good &= d > DETERMINED * uu
        i1 = 1 / (d if good else 1.0)
        v2, v3, v4, v5 = fma(-l10, c1, uc1), fma(-l10, s1, us1), fma(-l10, c2, uc2), fma(-l10, s2, us2)
        l21, l31, l41, l51 = v2 * i1, v3 * i1, v4 * i1, v5 * i1

        d = fma(-l21, v2, fma(-l20, c1, m22))
        good &= d > DETERMINED * m22
        i2 = 1 / (d if good else 1.0)
        w3, w4 = fma(-l21, v3, fma(-l20, s1, m32)), fma(-l21, v4, fma(-l20, c2, m42))
        w5 = fma(-l21, v5, fma(-l20, s2, m52))
        l32, l42, l52 = w3 * i2, w4 * i2, w5 * i2

        d = fma(-l32, w3, fma(-l31, v3, fma(-l30, s1, m33)))
        good &= d > DETERMINED * m33
        i3 = 1 / (d if good else 1.0)
        x4, x5 = fma(-l32, w4, fma(-l31, v4, fma(-l30, c2, m43))), fma(-l32, w5, fma(-l31, v5, fma(-l30, s2, m53)))
        l43, l53 = x4 * i3, x5 * i3

        d = fma(-l43, x4, fma(-l42, w4, fma(-l41, v4, fma(-l40, c2, m44))))
        good &= d > DETERMINED * m44
        i4 = 1 / (d if good else 1.0)
        y5 = fma(-l43, x5, fma(-l42, w5, fma(-l41, v5, fma(-l40, s2, m54))))
        l54 = y5 * i4

        d = fma(-l54, y5, fma(-l53, x5, fma(-l52, w5, fma(-l51, v5, fma(-l50, s2, m55)))))
        good &= d > DETERMINED * m55
        i5 = 1 / (d if good else 1.0)

        b0 = right[lane]
        b1 = fma(-l10, b0, right[LANE[1] + lane])
        b2 = fma(-l21, b1, fma(-l20, b0, right[LANE[2] + lane]))
        b3 = fma(-l32, b2, fma(-l31, b1, fma(-l30, b0, right[LANE[3] + lane])))
        b4 = fma(-l43, b3, fma(-l42, b2, fma(-l41, b1, fma(-l40, b0, right[LANE[4] + lane]))))
        b5 = fma(-l53, b3, fma(-l52, b2, fma(-l51, b1, fma(-l50, b0, right[LANE[5] + lane]))))
        b5 = i5 * fma(-l54, b4, b5)
        b4 = fma(-l54, b5, i4 * b4)
        b3 = fma(-l53, b5, fma(-l43, b4, i3 * b3))
        b2 = fma(-l52, b5, fma(-l42, b4, fma(-l32, b3, i2 * b2)))
        b1 = fma(-l51, b5, fma(-l41, b4, fma(-l31, b3, fma(-l21, b2, i1 * b1))))
        b0 = fma(-l50, b5, fma(-l40, b4, fma(-l30, b3, fma(-l20, b2, fma(-l10, b1, i0 * b0)))))
        beta[lane], beta[LANE[1] + lane], beta[LANE[2] + lane] = b0, b1, b2
        beta[LANE[3] + lane], beta[LANE[4] + lane], beta[LANE[5] + lane] = b3, b4, b5
        determined[lane] = good


@njit(nogil=True, cache=True, error_model="numpy")
def _share_of_turn(s: float, c: float) -> float:
    """Angle of (c, s) as a share of a turn, 0 to below 1, without branches or library calls.

    The angle is reduced below 45 degrees, then by one or three sixteenths of a half-turn by the addition theorem of
    tangents: the tangent of the rest is below 0.2, where 11 terms of the power series leave an error of 3e-18.
    """
    x, y = abs(c), abs(s)
    long, short = max(x, y), min(x, y)
    wide = short > EIGHTH * long
    tangent = THREE_SIXTEENTHS if wide else SIXTEENTH
    below = long + tangent * short
    z = (short - tangent * long) / (below if below > 0 else 1.0)
    w = -z * z
    series = fma(w, fma(w, fma(w, 1 / 21, 1 / 19), 1 / 17), 1 / 15)
    series = fma(w, fma(w, fma(w, fma(w, series, 1 / 13), 1 / 11), 1 / 9), 1 / 7)
    series = fma(w, fma(w, fma(w, series, 1 / 5), 1 / 3), 1.0)
    angle = max(fma(z, series, (3 if wide else 1) * (math.pi / 16)), 0.0)
    angle = math.pi / 2 - angle if y > x else angle
    angle = math.pi - angle if c < 0 else angle
    angle = 2 * math.pi - angle if s < 0 else angle
    turn: float = angle * (1 / (2 * math.pi))
    return turn if (turn < 1) & (long > 0) else 0.0
