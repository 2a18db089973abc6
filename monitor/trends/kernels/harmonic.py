"""Seasonal fit of every pixel: mean, slope and harmonics of the year, by least squares.

The model is ``mean + slope * u + sum over k of c_k cos(2 pi k t) + s_k sin(2 pi k t)``, with t in years of
365.25 days since the start of 2000 and u = t less the middle of the record.

Dates are outer, pixels inner: over a tile of pixels one pass adds up what the normal equations need. The
products of two harmonics are sums and differences of harmonics of twice the order, so that two harmonics
(six coefficients) take 15 sums of the dates seen and 6 of the values. Time is centred and scaled to -1 .. 1
first, without which sums in single precision are worthless. A second pass over the residuals gives their
size without cancellation, and refines the coefficients to the accuracy of double precision sums.
"""

import math
from typing import Any, Final

import numpy as np
from numba import njit
from numba.extending import intrinsic

PARTS: Final = ("mean", "slope", "amplitude", "phase", "rmse")
"""Rows of the result of :func:`harmonic`, in order."""

VALUES_PER_COEFFICIENT: Final = 2
"""Fewest values for each coefficient: 12 for two harmonics, the least that CCDC (Z. Zhu and C. E. Woodcock,
2014, doi:10.1016/j.rse.2014.01.011) asks for."""

DETERMINED: Final = 1e-3
"""A coefficient of whose own variance the others leave less than this share is not determined by the dates
seen: one date a year, or all within a month. Two harmonics over a short growing season (days 152 to 258) leave
3e-3, over May to October 6e-2."""

TILE: Final = 256
"""Pixels side by side: the sums of a tile stay in the first-level cache."""


def harmonic(t: np.ndarray, y: np.ndarray, *, harmonics: int) -> np.ndarray:
    """Least-squares fit of a mean, a slope and harmonics of the year.

    Parameters
    ----------
    t : (n,) array
        Time of each layer since the start of 2000, in years of 365.25 days, ascending. [year]
    y : (n, pixels) array
        Values, float32 or float64, not finite where there was none.
    harmonics : int
        Number of harmonics, 1 or more.

    Returns
    -------
    (5, pixels) array
        The rows of :data:`PARTS`: level in the middle of the record; slope in units of `y` per year; amplitude
        of the annual harmonic (half of trough to peak); day of the year of its peak, 1 = the start of
        1 January, 1 to 366.25; root of the mean square of the residuals. NaN where the values seen do not
        determine the fit: too few (:data:`VALUES_PER_COEFFICIENT`) or too alike in date (:data:`DETERMINED`).
    """
    out = np.full((len(PARTS), y.shape[1]), np.nan, y.dtype)
    coefficients = 2 + 2 * harmonics
    if t.size < VALUES_PER_COEFFICIENT * coefficients:
        return out
    centre, half = (t[0] + t[-1]) / 2, (t[-1] - t[0]) / 2
    basis, sums = _features(t, (t - centre) / half, harmonics)
    terms, weights = _normal_terms(harmonics)
    _fit(basis.astype(y.dtype), sums.astype(y.dtype), y, terms, weights, half, out)
    return out


def _features(t: np.ndarray, u: np.ndarray, harmonics: int) -> tuple[np.ndarray, np.ndarray]:
    """For each date the basis (1, u, c1, s1, c2, s2, ...), and what is summed: 1, u, uu, c.., s.., uc.., us.."""
    angle = 2 * np.pi * np.arange(1, 2 * harmonics + 1) * t[:, None]
    c, s = np.cos(angle), np.sin(angle)
    basis = [np.ones_like(u), u]
    for k in range(harmonics):
        basis += [c[:, k], s[:, k]]
    moments = np.stack([np.ones_like(u), u, u * u], axis=1)
    crossed = [u[:, None] * c[:, :harmonics], u[:, None] * s[:, :harmonics]]
    return np.stack(basis, axis=1), np.concatenate([moments, c, s, *crossed], axis=1)


def _normal_terms(harmonics: int) -> tuple[np.ndarray, np.ndarray]:
    """Each entry of the normal matrix as two weighted sums: indices and weights, (p, p, 2)."""
    size = 2 + 2 * harmonics
    terms, weights = np.zeros((size, size, 2), np.int64), np.zeros((size, size, 2))

    def cosine(k: int) -> int:
        return 2 + k if k else 0

    def sine(k: int) -> int:
        return 2 + 2 * harmonics + k

    def put(row: int, column: int, *parts: tuple[int, float]) -> None:
        for place, (term, weight) in enumerate(parts):
            terms[row, column, place] = terms[column, row, place] = term
            weights[row, column, place] = weights[column, row, place] = weight

    put(0, 0, (0, 1))
    put(0, 1, (1, 1))
    put(1, 1, (2, 1))
    crossed = 3 + 4 * harmonics
    for a in range(1, harmonics + 1):
        put(0, 2 * a, (cosine(a), 1))
        put(0, 2 * a + 1, (sine(a), 1))
        put(1, 2 * a, (crossed + a - 1, 1))
        put(1, 2 * a + 1, (crossed + harmonics + a - 1, 1))
        for b in range(1, a + 1):
            put(2 * a, 2 * b, (cosine(a - b), 0.5), (cosine(a + b), 0.5))
            put(2 * a + 1, 2 * b + 1, (cosine(a - b), 0.5), (cosine(a + b), -0.5))
            difference = (sine(a - b), 0.5) if a > b else (0, 0.0)
            put(2 * a + 1, 2 * b, (sine(a + b), 0.5), difference)
            put(2 * a, 2 * b + 1, (sine(a + b), 0.5), (difference[0], -difference[1]))
    return terms, weights


def _fma_instruction(context: Any, a: Any, b: Any, c: Any) -> Any:
    """Compute a * b + c with one rounding: half the work, and the same bits however pixels are tiled."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return a(a, b, c), generate


_fma: Any = intrinsic(_fma_instruction)


@njit(nogil=True, cache=True)
def _add(features: np.ndarray, values: np.ndarray, sums: np.ndarray) -> None:
    """Add features (n, q), weighted by values (n, TILE), to sums (q, TILE), four dates at a time."""
    n, q = features.shape
    whole = n - n % 4
    for i in range(0, whole, 4):
        for k in range(q):
            f0, f1, f2, f3 = features[i, k], features[i + 1, k], features[i + 2, k], features[i + 3, k]
            for lane in range(TILE):
                part = _fma(values[i, lane], f0, sums[k, lane])
                part = _fma(values[i + 1, lane], f1, part)
                part = _fma(values[i + 2, lane], f2, part)
                sums[k, lane] = _fma(values[i + 3, lane], f3, part)
    for i in range(whole, n):
        for k in range(q):
            f0 = features[i, k]
            for lane in range(TILE):
                sums[k, lane] = _fma(values[i, lane], f0, sums[k, lane])


@njit(nogil=True, cache=True)
def _factor(matrix: np.ndarray, determined: np.ndarray) -> None:
    """Cholesky factors of (p, p, TILE) in place; `determined` becomes False where a pivot vanishes."""
    p = matrix.shape[0]
    for r in range(p):
        for c in range(r):
            for k in range(c):
                for lane in range(TILE):
                    matrix[r, c, lane] -= matrix[r, k, lane] * matrix[c, k, lane]
            for lane in range(TILE):
                matrix[r, c, lane] *= matrix[c, c, lane]
        for lane in range(TILE):
            own = matrix[r, r, lane]
            left = own
            for k in range(r):
                left -= matrix[r, k, lane] ** 2
            good = left > DETERMINED * own
            determined[lane] &= good
            # the diagonal holds the reciprocal of the pivot's root, so that solving needs no division
            matrix[r, r, lane] = 1 / math.sqrt(left if good else 1.0)


@njit(nogil=True, cache=True)
def _solve(factors: np.ndarray, right: np.ndarray, solution: np.ndarray) -> None:
    """Solve for (p, TILE) right-hand sides."""
    p = factors.shape[0]
    for r in range(p):
        for lane in range(TILE):
            solution[r, lane] = right[r, lane]
        for k in range(r):
            for lane in range(TILE):
                solution[r, lane] -= factors[r, k, lane] * solution[k, lane]
        for lane in range(TILE):
            solution[r, lane] *= factors[r, r, lane]
    for r in range(p - 1, -1, -1):
        for k in range(r + 1, p):
            for lane in range(TILE):
                solution[r, lane] -= factors[k, r, lane] * solution[k, lane]
        for lane in range(TILE):
            solution[r, lane] *= factors[r, r, lane]


@njit(nogil=True, cache=True)
def _load_tile(y: np.ndarray, start: int, tile: np.ndarray, seen: np.ndarray) -> int:
    """Copy a tile of pixels, 0 where not seen and beyond the edge, and whether each value was seen, 1 or 0."""
    one, zero = y.dtype.type(1), y.dtype.type(0)
    width: int = min(TILE, y.shape[1] - start)
    for i in range(y.shape[0]):
        values, row, mask = y[i, start : start + width], tile[i], seen[i]
        for lane in range(width):
            value = values[lane]
            clear = abs(value) < np.inf
            row[lane] = value if clear else zero
            mask[lane] = one if clear else zero
        row[width:] = zero
        mask[width:] = zero
    return width


@njit(nogil=True, cache=True)
def _take_away(basis: np.ndarray, beta: np.ndarray, seen: np.ndarray, tile: np.ndarray, squares: np.ndarray) -> None:
    """Leave the residuals in the tile, and add up their squares."""
    n, p = basis.shape
    squares[:] = 0
    for i in range(n):
        row, mask = tile[i], seen[i]
        for k in range(p):
            factor, part = -basis[i, k], beta[k]
            for lane in range(TILE):
                row[lane] = _fma(part[lane], factor, row[lane])
        for lane in range(TILE):
            left = row[lane] * mask[lane]
            row[lane] = left
            squares[lane] = _fma(left, left, squares[lane])


@njit(nogil=True, cache=True)
def _normal_matrix(terms: np.ndarray, weights: np.ndarray, sums: np.ndarray, matrix: np.ndarray) -> None:
    """Lower triangle of the normal matrix from the sums."""
    p = matrix.shape[0]
    for r in range(p):
        for c in range(r + 1):
            i, j = terms[r, c]
            a, b = weights[r, c]
            for lane in range(TILE):
                matrix[r, c, lane] = a * sums[i, lane] + b * sums[j, lane]


@njit(nogil=True, cache=True)
def _fit(
    basis: np.ndarray,
    features: np.ndarray,
    y: np.ndarray,
    terms: np.ndarray,
    weights: np.ndarray,
    half: float,
    out: np.ndarray,
) -> None:
    n, pixels = y.shape
    p, q = basis.shape[1], features.shape[1]
    tile, seen = np.empty((n, TILE), y.dtype), np.empty((n, TILE), y.dtype)
    sums, right = np.empty((q, TILE), y.dtype), np.empty((p, TILE), y.dtype)
    matrix, beta, change = np.empty((p, p, TILE)), np.empty((p, TILE)), np.empty((p, TILE))
    rounded = np.empty((p, TILE), y.dtype)
    squares, determined = np.empty(TILE, y.dtype), np.empty(TILE, np.bool_)
    for start in range(0, pixels, TILE):
        width = _load_tile(y, start, tile, seen)
        sums[:] = 0
        right[:] = 0
        _add(features, seen, sums)
        _add(basis, tile, right)
        determined[:] = sums[0] >= VALUES_PER_COEFFICIENT * p
        _normal_matrix(terms, weights, sums, matrix)
        _factor(matrix, determined)
        _solve(matrix, right, beta)
        rounded[:] = beta
        # the same sums over what the fit leaves: small numbers, so nothing is lost to rounding
        _take_away(basis, rounded, seen, tile, squares)
        right[:] = 0
        _add(basis, tile, right)
        _solve(matrix, right, change)
        for lane in range(width):
            if not determined[lane]:
                continue
            left = float(squares[lane])
            for k in range(p):
                left -= change[k, lane] * right[k, lane]
                beta[k, lane] = rounded[k, lane] + change[k, lane]
            out[0, start + lane] = beta[0, lane]
            out[1, start + lane] = beta[1, lane] / half
            out[2, start + lane] = math.sqrt(beta[2, lane] ** 2 + beta[3, lane] ** 2)
            out[3, start + lane] = 1 + 365.25 * (math.atan2(beta[3, lane], beta[2, lane]) / (2 * math.pi) % 1.0)
            out[4, start + lane] = math.sqrt(max(left, 0.0) / sums[0, lane])
