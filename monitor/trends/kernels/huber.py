"""Robust seasonal fit: values far from the curve get less weight, so that missed clouds do not bend it.

Iteratively reweighted least squares with the weights of Huber (1964, doi:10.1214/aoms/1177703732), one pixel at a time
until convergence. It is run on request only and need not be as fast as :mod:`monitor.trends.kernels.harmonic`.
"""

import math
from typing import Final

import numpy as np
from numba import njit

from monitor.trends.kernels.harmonic import harmonic, model_terms
from monitor.trends.kernels.harmonic_solve import MIN_AMPLITUDE

TUNING: Final = 1.345
"""Residual in scales beyond which a value gets less weight: 95 % of the efficiency of least squares on normal noise."""

MAD_OF_NORMAL: Final = 0.6744897501960817
"""Median absolute residual of a normal distribution of variance 1."""

MAX_ROUNDS: Final = 50
"""Maximum number of rounds; a few suffice."""

CONVERGED: Final = 1e-8
"""Largest change of a coefficient, in scales, at convergence."""


def robust_harmonic(t: np.ndarray, y: np.ndarray, *, harmonics: int) -> np.ndarray:
    """Huber fit of a mean, a slope and harmonics of the year.

    Parameters
    ----------
    t : (n,) array
        Time of each layer since the start of 2000, in years of 365.25 days, ascending. [year]
    y : (n, pixels) array
        Values, float32 or float64, not finite where not seen.
    harmonics : int
        Number of harmonics, 1 or more.

    Returns
    -------
    (5, pixels) array
        Rows of :func:`monitor.trends.kernels.harmonic.harmonic`, except that ``rmse`` is replaced by the scale of the
        residuals: their median absolute value over :data:`MAD_OF_NORMAL`, which outliers do not change.
    """
    out = harmonic(t, y, harmonics=harmonics)
    if np.isfinite(out[0]).any():
        centre, half = (t[0] + t[-1]) / 2, (t[-1] - t[0]) / 2
        basis, _ = model_terms(t, (t - centre) / half, harmonics)
        _refit(basis, y, half, out)
    return out


@njit(nogil=True, cache=True, error_model="numpy")
def _refit(basis: np.ndarray, y: np.ndarray, half: float, out: np.ndarray) -> None:
    """Replace each fit in `out` by the robust one."""
    n, p = basis.shape
    x, values = np.empty((n, p)), np.empty(n)
    for pixel in range(y.shape[1]):
        if not np.isfinite(out[0, pixel]):
            continue
        seen = 0
        for i in range(n):
            if abs(y[i, pixel]) < np.inf:
                x[seen] = basis[i]
                values[seen] = y[i, pixel]
                seen += 1
        weights = np.ones(seen)
        beta, scale = np.zeros(p), 0.0
        for step in range(MAX_ROUNDS):
            before = beta.copy()
            beta = _weighted_fit(x[:seen], values[:seen], weights)
            residuals = values[:seen] - x[:seen] @ beta
            scale = np.median(np.abs(residuals)) / MAD_OF_NORMAL
            if scale <= 1e-12 * np.abs(values[:seen]).max():
                break  # more than half of the values are on the curve
            if step > 0 and np.abs(beta - before).max() < CONVERGED * scale:
                break
            for i in range(seen):
                weights[i] = min(1.0, TUNING * scale / abs(residuals[i])) if residuals[i] != 0 else 1.0
        out[0, pixel] = beta[0]
        out[1, pixel] = beta[1] / half
        out[2, pixel] = math.sqrt(beta[2] ** 2 + beta[3] ** 2)
        peaked = math.hypot(beta[2], beta[3]) > MIN_AMPLITUDE * math.sqrt(np.square(values[:seen]).mean())
        out[3, pixel] = 1 + 365.25 * (math.atan2(beta[3], beta[2]) / (2 * math.pi) % 1.0) if peaked else np.nan
        out[4, pixel] = scale


@njit(nogil=True, cache=True, error_model="numpy")
def _weighted_fit(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted least squares by the normal equations."""
    p = x.shape[1]
    matrix, right = np.zeros((p, p)), np.zeros(p)
    for i in range(y.size):
        for r in range(p):
            share = weights[i] * x[i, r]
            right[r] += share * y[i]
            for c in range(p):
                matrix[r, c] += share * x[i, c]
    solution: np.ndarray = np.linalg.solve(matrix, right)
    return solution
