"""The seasonal fit of :mod:`monitor.trends.kernels.harmonic` from running sums, so that a new image costs one pass.

What the normal equations need of a pixel is a few sums (:func:`rows`; 22 with two harmonics), kept in single
precision and one set a year. A new image is added to the sums of its year; a year one of whose images was replaced
is added up again from nothing, never corrected by taking away; a fit adds up the years in double precision. Images
go into a year in the order of acquisition: then sums brought up to date night by night and sums from scratch are
the same to the bit.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from monitor.trends.kernels.harmonic import (
    PARTS,
    TILE,
    VALUES_PER_COEFFICIENT,
    _factor,
    _features,
    _normal_matrix,
    _normal_terms,
    _solve,
)


class Frame(NamedTuple):
    """What must not change as long as sums are kept."""

    middle: float
    """Time that the fit calls 0, best near the middle of the years to come. Years of 365.25 days since the start of
    2000. [year]"""
    half: float
    """Time from there that the fit calls 1; within a few times this, single precision is enough. [year]"""
    harmonics: int
    """Number of harmonics of the year, 1 or more."""


def rows(frame: Frame) -> int:
    """Sums kept of a pixel and year: of the dates seen, of the values, and of their squares."""
    return (3 + 6 * frame.harmonics) + (2 + 2 * frame.harmonics) + 1


def add(sums: np.ndarray, t: float, y: np.ndarray, frame: Frame) -> None:
    """Add one image to the sums of its year, in place.

    Parameters
    ----------
    sums : (rows, pixels) float32 array
        See :func:`rows`; zeros before the first image of the year.
    t : float
        Time of the image. Years of 365.25 days since the start of 2000. [year]
    y : (pixels,) array
        Values, not finite where there was none.
    frame : Frame
        The same for all images.
    """
    when = np.array([t])
    basis, features = _features(when, (when - frame.middle) / frame.half, frame.harmonics)
    _add_image(sums, features[0].astype(sums.dtype), basis[0].astype(sums.dtype), y)


def fit(years: np.ndarray, frame: Frame) -> np.ndarray:
    """Least-squares fit of all years together.

    Parameters
    ----------
    years : (years, rows, pixels) float32 array
        Sums of each year.
    frame : Frame
        The same as when they were added up.

    Returns
    -------
    (5, pixels) array
        As :func:`monitor.trends.kernels.harmonic.harmonic`, but the mean is the level at `frame.middle`.
    """
    out = np.full((len(PARTS), years.shape[2]), np.nan, years.dtype)
    terms, weights = _normal_terms(frame.harmonics)
    _fit_sums(years, terms, weights, frame.half, out)
    return out


@njit(nogil=True, cache=True)
def _add_image(sums: np.ndarray, features: np.ndarray, basis: np.ndarray, y: np.ndarray) -> None:
    q, p = features.size, basis.size
    one, zero = sums.dtype.type(1), sums.dtype.type(0)
    values, seen = np.empty(TILE, sums.dtype), np.empty(TILE, sums.dtype)
    for start in range(0, y.size, TILE):
        width = min(TILE, y.size - start)
        for lane in range(width):
            value = y[start + lane]
            clear = abs(value) < np.inf
            values[lane] = value if clear else zero
            seen[lane] = one if clear else zero
        for k in range(q):
            row, factor = sums[k, start : start + width], features[k]
            for lane in range(width):
                row[lane] += seen[lane] * factor
        for k in range(p):
            row, factor = sums[q + k, start : start + width], basis[k]
            for lane in range(width):
                row[lane] += values[lane] * factor
        row = sums[q + p, start : start + width]
        for lane in range(width):
            row[lane] += values[lane] * values[lane]


@njit(nogil=True, cache=True)
def _fit_sums(years: np.ndarray, terms: np.ndarray, weights: np.ndarray, half: float, out: np.ndarray) -> None:
    count, size, pixels = years.shape
    p = terms.shape[0]
    q = size - p - 1
    total = np.empty((size, TILE))
    matrix, beta, determined = np.empty((p, p, TILE)), np.empty((p, TILE)), np.empty(TILE, np.bool_)
    for start in range(0, pixels, TILE):
        width = min(TILE, pixels - start)
        total[:] = 0
        for year in range(count):
            for k in range(size):
                part, row = years[year, k, start : start + width], total[k]
                for lane in range(width):
                    row[lane] += part[lane]
        determined[:] = total[0] >= VALUES_PER_COEFFICIENT * p
        _normal_matrix(terms, weights, total[:q], matrix)
        _factor(matrix, determined)
        _solve(matrix, total[q : q + p], beta)
        for lane in range(width):
            if not determined[lane]:
                continue
            left = total[q + p, lane]
            for k in range(p):
                left -= beta[k, lane] * total[q + k, lane]
            out[0, start + lane] = beta[0, lane]
            out[1, start + lane] = beta[1, lane] / half
            out[2, start + lane] = math.sqrt(beta[2, lane] ** 2 + beta[3, lane] ** 2)
            out[3, start + lane] = 1 + 365.25 * (math.atan2(beta[3, lane], beta[2, lane]) / (2 * math.pi) % 1.0)
            out[4, start + lane] = math.sqrt(max(left, 0.0) / total[0, lane])
