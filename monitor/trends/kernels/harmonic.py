"""Seasonal fit of every pixel: mean, slope and harmonics of the year, by least squares.

The model is ``mean + slope * u + sum over k of c_k cos(2 pi k t) + s_k sin(2 pi k t)``, with t in years of
365.25 days since the start of 2000 and u = t less the middle of the record.

Dates are outer, pixels inner: over a tile of pixels one pass adds up what the normal equations need. The
products of two harmonics are sums and differences of harmonics of twice the order, so that two harmonics
(six coefficients) take 15 sums of the dates seen, 6 of the values and one of their squares. Time is centred and
scaled to -1 .. 1 first, without which sums in single precision are worthless.

Sums of the dates seen depend on nothing but which dates those are: for each four dates a table holds the sums of all
16 cases, and a pixel adds one row of it instead of 15 products a date. These sums are whole numbers, so they are
exact. Values go into short sums of eight dates, then of 32, before they go into long ones of double precision, which
keeps them good to 2e-8. Where a fit leaves next to nothing, the residuals are gone through once more, so that their
size does not come from a difference of large sums.
"""

import math
from typing import Any, Final

import numpy as np
from numba import njit

from monitor.trends.kernels.vectors import ROW, add_rows, aligned, fma, full_width, prefetch

FIT_ROWS: Final = ("mean", "slope", "amplitude", "phase", "rmse")
"""Rows of the result of :func:`harmonic`, in order."""

VALUES_PER_COEFFICIENT: Final = 2
"""Fewest values for each coefficient: 12 for two harmonics, the least that CCDC (Z. Zhu and C. E. Woodcock,
2014, doi:10.1016/j.rse.2014.01.011) asks for."""

DETERMINED: Final = 1e-3
"""A coefficient of whose own variance the others leave less than this share is not determined by the dates
seen: one date a year, or all within a month. Two harmonics over a short growing season (days 152 to 258) leave
3e-3, over May to October 6e-2."""

NEXT_TO_NOTHING: Final = 1e-4
"""Share of the squares of the values below which what the fit leaves is added up again from the residuals."""

MIN_AMPLITUDE: Final = 5e-7
"""An amplitude of this share of the root mean square of the values or less is the rounding of single precision (of a
constant, up to a fifth of this): it has no peak."""

TILE_PIXELS: Final = 512
"""Pixels side by side while summing: the sums of a tile stay in the first-level cache."""

LANES: Final = 128
"""Pixels side by side while solving."""

LANE: Final = tuple(np.uint64(LANES * k) for k in range(15))
"""Where each sum begins, where they lie end to end."""

SIXTEENTH, EIGHTH, THREE_SIXTEENTHS = (math.tan(math.pi / 16 * k) for k in (1, 2, 3))
"""Tangents of these shares of a half-turn."""

GROUP: Final = 8
"""Dates that go through a tile together."""

HALF: Final = GROUP // 2
"""Dates that one table of sums is for."""

CASES: Final = 1 << HALF
"""Choices among them."""


FLUSH: Final = 4
"""Groups whose sums are taken in the precision of the values, and whose rows of the table are added at once."""


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
        The rows of :data:`FIT_ROWS`: level in the middle of the record; slope in units of `y` per year; amplitude
        of the annual harmonic (half of trough to peak); day of the year of its peak, 1 = the start of
        1 January, 1 to 366.25, NaN where there is none (:data:`MIN_AMPLITUDE`); root mean square of the residuals. NaN
        where the values seen do not determine the fit: too few (:data:`VALUES_PER_COEFFICIENT`) or too alike in date
        (:data:`DETERMINED`).
    """
    one = np.ones(t.size, y.dtype)
    return _summed_and_solved(t, y, np.empty((0, 0), np.uint16), 0, np.empty((0, 0), np.uint8), one, one, harmonics)


def harmonic_packed(
    t: np.ndarray,
    packed: np.ndarray,
    *,
    scale: np.ndarray,
    offset: np.ndarray,
    nodata: int,
    harmonics: int,
    clear: np.ndarray | None = None,
) -> np.ndarray:
    """Fit integers as they are stored, without a decoded copy of them.

    Parameters
    ----------
    t : (n,) array
        As for :func:`harmonic`. [year]
    packed : (n, pixels) array
        Values as stored, uint16 or int16.
    scale, offset : (n,) arrays
        Value = scale * integer + offset, a layer each.
    nodata : int
        Integer that marks no value.
    harmonics : int
        Number of harmonics, 1 or more.
    clear : (n, pixels) bool array, optional
        Where the ground was seen. None: wherever there is a value.

    Returns
    -------
    (5, pixels) float32 array
        As :func:`harmonic` gives it of the decoded values.
    """
    seen = np.empty((0, 0), np.uint8) if clear is None else clear.view(np.uint8)
    factor, shift = scale.astype(np.float32), offset.astype(np.float32)
    return _summed_and_solved(t, np.empty((0, 0), np.float32), packed, nodata, seen, factor, shift, harmonics)


def _summed_and_solved(
    t: np.ndarray,
    y: np.ndarray,
    packed: np.ndarray,
    nodata: int,
    clear: np.ndarray,
    scale: np.ndarray,
    offset: np.ndarray,
    harmonics: int,
) -> np.ndarray:
    pixels = y.shape[1] if y.size else packed.shape[1] if packed.size else max(y.shape[1], packed.shape[1])
    out = np.full((len(FIT_ROWS), pixels), np.nan, y.dtype)
    coefficients = 2 + 2 * harmonics
    if t.size < VALUES_PER_COEFFICIENT * coefficients:
        return out
    centre, half = (t[0] + t[-1]) / 2, (t[-1] - t[0]) / 2
    basis, features = _features(t, (t - centre) / half, harmonics)
    terms, weights = _normal_terms(harmonics)
    even, mixed = _even(basis)
    padded = np.zeros((-(-t.size // GROUP) * GROUP, coefficients), y.dtype)
    padded[: t.size] = even
    unit = 2.0 ** (8 * y.dtype.itemsize - 2 - math.ceil(math.log2(t.size)))
    table = _table(np.rint(features * unit), np.int32 if y.dtype == np.float32 else np.int64)
    none = packed.dtype.type(nodata)
    room = _room(coefficients, table, y.dtype)
    _fit(y, packed, none, clear, scale, offset, basis, padded, mixed, table, terms, weights, 1 / unit, half, room, out)
    return out


def _room(p: int, table: np.ndarray, kind: Any) -> tuple[np.ndarray, ...]:
    """What a tile is worked on in, on lines of the cache."""
    splits = table.shape[0]
    return (
        aligned((GROUP, TILE_PIXELS), kind),
        aligned((2 * FLUSH, TILE_PIXELS), np.int32),
        aligned((splits, TILE_PIXELS * ROW), table.dtype),
        aligned((p + 1, TILE_PIXELS), kind),
        aligned((p + 1, TILE_PIXELS), np.float64),
        aligned((splits * ROW, LANES), np.float64),
        aligned((p + 1, LANES), np.float64),
        aligned((p, p, LANES), np.float64),
        aligned((p, LANES), np.float64),
        aligned((len(FIT_ROWS), LANES), np.float64),
        np.empty(LANES, np.bool_),
    )


def _even(basis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Orthogonal columns for the sums of the values, the first all 1, and the matrix that makes the basis of them.

    Over a short season cosine and sine are nearly constant, and the fit lives on small differences: taken before the
    sums, they are not lost to single precision.
    """
    columns, mixed = np.linalg.qr(basis)
    size = 1 / columns[0, 0]
    return columns * size, mixed / size


def _table(features: np.ndarray, kind: type) -> np.ndarray:
    """Sums of the features (n, q), whole numbers, over every choice in each half of a group.

    In the shape (parts, groups * 2 * CASES * ROW), with groups of no dates up to a whole number of :data:`FLUSH`.
    """
    n, q = features.shape
    groups, parts = -(-n // (GROUP * FLUSH)) * FLUSH, -(-q // ROW)
    padded = np.zeros((groups * GROUP, parts * ROW), kind)
    padded[:n, :q] = features
    each = padded.reshape(groups, 2, HALF, parts, ROW).transpose(2, 3, 0, 1, 4)
    sums = aligned((parts, groups, 2, CASES, ROW), kind)
    for bit in range(HALF):
        sums[..., 1 << bit : 2 << bit, :] = sums[..., : 1 << bit, :] + each[bit][..., None, :]
    return sums.reshape(parts, -1)


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


@njit(nogil=True, cache=True, error_model="numpy")
def _read_floats(y: np.ndarray, first: int, start: int, width: int, values: np.ndarray, case: np.ndarray) -> None:
    """Bring a whole group of dates of a tile in, 0 where not seen, and which of them were seen, a bit each."""
    full_width()
    kind, zero = y.dtype.type, y.dtype.type(0)
    one, two, four, eight = kind(1), kind(2), kind(4), kind(8)
    y0, y1 = y[first, start : start + width], y[first + 1, start : start + width]
    y2, y3 = y[first + 2, start : start + width], y[first + 3, start : start + width]
    y4, y5 = y[first + 4, start : start + width], y[first + 5, start : start + width]
    y6, y7 = y[first + 6, start : start + width], y[first + 7, start : start + width]
    for lane in range(width):
        s0, s1, s2, s3 = abs(y0[lane]) < np.inf, abs(y1[lane]) < np.inf, abs(y2[lane]) < np.inf, abs(y3[lane]) < np.inf
        s4, s5, s6, s7 = abs(y4[lane]) < np.inf, abs(y5[lane]) < np.inf, abs(y6[lane]) < np.inf, abs(y7[lane]) < np.inf
        values[0, lane] = y0[lane] if s0 else zero
        values[1, lane] = y1[lane] if s1 else zero
        values[2, lane] = y2[lane] if s2 else zero
        values[3, lane] = y3[lane] if s3 else zero
        values[4, lane] = y4[lane] if s4 else zero
        values[5, lane] = y5[lane] if s5 else zero
        values[6, lane] = y6[lane] if s6 else zero
        values[7, lane] = y7[lane] if s7 else zero
        low = (one if s0 else zero) + (two if s1 else zero) + (four if s2 else zero) + (eight if s3 else zero)
        high = (one if s4 else zero) + (two if s5 else zero) + (four if s6 else zero) + (eight if s7 else zero)
        case[0, lane], case[1, lane] = np.int32(low), np.int32(high)


@njit(nogil=True, cache=True, error_model="numpy")
def _read_packed(
    packed: np.ndarray,
    none: int,
    scale: np.ndarray,
    offset: np.ndarray,
    first: int,
    start: int,
    width: int,
    values: np.ndarray,
    case: np.ndarray,
) -> None:
    """The same of integers, decoded on the way."""
    full_width()
    kind, zero, none = values.dtype.type, values.dtype.type(0), packed.dtype.type(none)
    one, two, four, eight = kind(1), kind(2), kind(4), kind(8)
    p0, a0, b0 = packed[first + 0, start : start + width], scale[first + 0], offset[first + 0]
    p1, a1, b1 = packed[first + 1, start : start + width], scale[first + 1], offset[first + 1]
    p2, a2, b2 = packed[first + 2, start : start + width], scale[first + 2], offset[first + 2]
    p3, a3, b3 = packed[first + 3, start : start + width], scale[first + 3], offset[first + 3]
    p4, a4, b4 = packed[first + 4, start : start + width], scale[first + 4], offset[first + 4]
    p5, a5, b5 = packed[first + 5, start : start + width], scale[first + 5], offset[first + 5]
    p6, a6, b6 = packed[first + 6, start : start + width], scale[first + 6], offset[first + 6]
    p7, a7, b7 = packed[first + 7, start : start + width], scale[first + 7], offset[first + 7]
    for lane in range(width):
        i0, i1, i2, i3 = p0[lane], p1[lane], p2[lane], p3[lane]
        i4, i5, i6, i7 = p4[lane], p5[lane], p6[lane], p7[lane]
        s0, s1, s2, s3 = i0 != none, i1 != none, i2 != none, i3 != none
        s4, s5, s6, s7 = i4 != none, i5 != none, i6 != none, i7 != none
        values[0, lane] = fma(kind(i0), a0, b0) if s0 else zero
        values[1, lane] = fma(kind(i1), a1, b1) if s1 else zero
        values[2, lane] = fma(kind(i2), a2, b2) if s2 else zero
        values[3, lane] = fma(kind(i3), a3, b3) if s3 else zero
        values[4, lane] = fma(kind(i4), a4, b4) if s4 else zero
        values[5, lane] = fma(kind(i5), a5, b5) if s5 else zero
        values[6, lane] = fma(kind(i6), a6, b6) if s6 else zero
        values[7, lane] = fma(kind(i7), a7, b7) if s7 else zero
        low = (one if s0 else zero) + (two if s1 else zero) + (four if s2 else zero) + (eight if s3 else zero)
        high = (one if s4 else zero) + (two if s5 else zero) + (four if s6 else zero) + (eight if s7 else zero)
        case[0, lane], case[1, lane] = np.int32(low), np.int32(high)


@njit(nogil=True, cache=True, error_model="numpy")
def _take_out(clear: np.ndarray, first: int, start: int, width: int, values: np.ndarray, case: np.ndarray) -> None:
    """Take out of a whole group what was not clear (0)."""
    full_width()
    kind, zero = values.dtype.type, values.dtype.type(0)
    one, two, four, eight = kind(1), kind(2), kind(4), kind(8)
    c0 = clear[first + 0, start : start + width]
    c1 = clear[first + 1, start : start + width]
    c2 = clear[first + 2, start : start + width]
    c3 = clear[first + 3, start : start + width]
    c4 = clear[first + 4, start : start + width]
    c5 = clear[first + 5, start : start + width]
    c6 = clear[first + 6, start : start + width]
    c7 = clear[first + 7, start : start + width]
    for lane in range(width):
        s0, s1, s2, s3 = c0[lane] != 0, c1[lane] != 0, c2[lane] != 0, c3[lane] != 0
        s4, s5, s6, s7 = c4[lane] != 0, c5[lane] != 0, c6[lane] != 0, c7[lane] != 0
        values[0, lane] = values[0, lane] if s0 else zero
        values[1, lane] = values[1, lane] if s1 else zero
        values[2, lane] = values[2, lane] if s2 else zero
        values[3, lane] = values[3, lane] if s3 else zero
        values[4, lane] = values[4, lane] if s4 else zero
        values[5, lane] = values[5, lane] if s5 else zero
        values[6, lane] = values[6, lane] if s6 else zero
        values[7, lane] = values[7, lane] if s7 else zero
        low = (one if s0 else zero) + (two if s1 else zero) + (four if s2 else zero) + (eight if s3 else zero)
        high = (one if s4 else zero) + (two if s5 else zero) + (four if s6 else zero) + (eight if s7 else zero)
        case[0, lane] &= np.int32(low)
        case[1, lane] &= np.int32(high)


@njit(nogil=True, cache=True, error_model="numpy")
def _read_integer(
    packed: np.ndarray,
    none: int,
    clear: np.ndarray,
    factor: float,
    shift: float,
    layer: int,
    start: int,
    width: int,
    row: np.ndarray,
    case: np.ndarray,
    bit: int,
) -> None:
    """Bring one date of a tile of integers in."""
    full_width()
    kind, zero, mark = row.dtype.type, row.dtype.type(0), np.int32(1 << bit % HALF)
    integers, marks = packed[layer, start : start + width], case[bit // HALF]
    for lane in range(width):
        seen = integers[lane] != none
        row[lane] = fma(kind(integers[lane]), factor, shift) if seen else zero
        marks[lane] |= mark if seen else np.int32(0)
    if clear.size:
        mask = clear[layer, start : start + width]
        for lane in range(width):
            seen = mask[lane] != 0
            row[lane] = row[lane] if seen else zero
            marks[lane] = marks[lane] if seen else marks[lane] & ~mark


@njit(nogil=True, cache=True, error_model="numpy")
def _read_float(y: np.ndarray, layer: int, start: int, width: int, row: np.ndarray, case: np.ndarray, bit: int) -> None:
    """Bring one date of a tile in."""
    full_width()
    zero, values = y.dtype.type(0), y[layer, start : start + width]
    for lane in range(width):
        seen = abs(values[lane]) < np.inf
        row[lane] = values[lane] if seen else zero
        case[bit // HALF, lane] |= seen << bit % HALF


@njit(nogil=True, cache=True, error_model="numpy")
def _add_values(values: np.ndarray, basis: np.ndarray, right: np.ndarray) -> None:
    """Add a group of dates to the sums of the values (p + 1, TILE_PIXELS): with each basis, and the squares."""
    full_width()
    p = basis.shape[1]
    u0, u1, u2, u3 = basis[0, 1], basis[1, 1], basis[2, 1], basis[3, 1]
    u4, u5, u6, u7 = basis[4, 1], basis[5, 1], basis[6, 1], basis[7, 1]
    plain, timed, squares = right[0], right[1], right[p]
    v0r, v1r, v2r, v3r = values[0], values[1], values[2], values[3]
    v4r, v5r, v6r, v7r = values[4], values[5], values[6], values[7]
    for lane in range(TILE_PIXELS):
        v0, v1, v2, v3 = v0r[lane], v1r[lane], v2r[lane], v3r[lane]
        v4, v5, v6, v7 = v4r[lane], v5r[lane], v6r[lane], v7r[lane]
        plain[lane] += ((v0 + v1) + (v2 + v3)) + ((v4 + v5) + (v6 + v7))
        a = fma(v3, u3, fma(v2, u2, fma(v1, u1, v0 * u0)))
        b = fma(v7, u7, fma(v6, u6, fma(v5, u5, v4 * u4)))
        timed[lane] += a + b
        a = fma(v3, v3, fma(v2, v2, fma(v1, v1, v0 * v0)))
        b = fma(v7, v7, fma(v6, v6, fma(v5, v5, v4 * v4)))
        squares[lane] += a + b
    for k in range(2, p, 2):
        c0, c1, c2, c3 = basis[0, k], basis[1, k], basis[2, k], basis[3, k]
        c4, c5, c6, c7 = basis[4, k], basis[5, k], basis[6, k], basis[7, k]
        s0, s1, s2, s3 = basis[0, k + 1], basis[1, k + 1], basis[2, k + 1], basis[3, k + 1]
        s4, s5, s6, s7 = basis[4, k + 1], basis[5, k + 1], basis[6, k + 1], basis[7, k + 1]
        cosine, sine = right[k], right[k + 1]
        for lane in range(TILE_PIXELS):
            v0, v1, v2, v3 = v0r[lane], v1r[lane], v2r[lane], v3r[lane]
            v4, v5, v6, v7 = v4r[lane], v5r[lane], v6r[lane], v7r[lane]
            a = fma(v3, c3, fma(v2, c2, fma(v1, c1, v0 * c0)))
            b = fma(v7, c7, fma(v6, c6, fma(v5, c5, v4 * c4)))
            cosine[lane] += a + b
            a = fma(v3, s3, fma(v2, s2, fma(v1, s1, v0 * s0)))
            b = fma(v7, s7, fma(v6, s6, fma(v5, s5, v4 * s4)))
            sine[lane] += a + b


@njit(nogil=True, cache=True, error_model="numpy")
def _add_cases(case: np.ndarray, table: np.ndarray, first: int, sums: np.ndarray) -> None:
    """Add to each pixel's sums (TILE_PIXELS * ROW) the rows of the table for the dates seen from a group on."""
    full_width()
    half, start = CASES * ROW, first * 2 * CASES * ROW
    c0, c1, c2, c3, c4, c5, c6, c7 = case[0], case[1], case[2], case[3], case[4], case[5], case[6], case[7]
    for lane in range(TILE_PIXELS):
        places = (
            start + c0[lane] * ROW,
            start + half + c1[lane] * ROW,
            start + 2 * half + c2[lane] * ROW,
            start + 3 * half + c3[lane] * ROW,
            start + 4 * half + c4[lane] * ROW,
            start + 5 * half + c5[lane] * ROW,
            start + 6 * half + c6[lane] * ROW,
            start + 7 * half + c7[lane] * ROW,
        )
        add_rows(table, places, sums, lane * ROW)


@njit(nogil=True, cache=True, error_model="numpy")
def _turned(sums: np.ndarray, unit: float, turned: np.ndarray) -> None:
    """From sums pixel by pixel (LANES * ROW) to one sum of all pixels after the other (ROW, LANES)."""
    for lane in range(LANES):
        for k in range(ROW):
            turned[k, lane] = unit * sums[lane * ROW + k]


@njit(nogil=True, cache=True, error_model="numpy")
def _normal_matrix(terms: np.ndarray, weights: np.ndarray, sums: np.ndarray, matrix: np.ndarray) -> None:
    """Lower triangle of the normal matrix (p, p, LANES) from the sums (q, LANES)."""
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
    """Factors L D L^T of (p, p, LANES) in place; `determined` becomes False where a pivot vanishes.

    Below the diagonal L, above it L D, on it 1 / D: no roots, and no division but for these.
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


@njit(nogil=True, cache=True, error_model="numpy")
def _solve(factors: np.ndarray, right: np.ndarray, solution: np.ndarray) -> None:
    """Solve for (p, LANES) right-hand sides."""
    full_width()
    p = factors.shape[0]
    for r in range(p):
        here, wanted = solution[r], right[r]
        for lane in range(LANES):
            here[lane] = wanted[lane]
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
    """What the three functions above do for two harmonics, in registers, from sums laid end to end.

    Written out because they spend their time on storing and fetching again what this holds. Of the factors, l is L,
    i is 1 / D, and v, w, x and y are columns of L D.
    """
    full_width()
    least = VALUES_PER_COEFFICIENT * 6.0
    # flat and unsigned, as in the network of slopes, so that the loop over pixels is vectorised
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
def _turn(s: float, c: float) -> float:
    """Angle of (c, s) as a share of a turn, 0 to below 1, without a branch and without a library.

    The angle is brought below 45 degrees, then one or three sixteenths of a half-turn are taken off it by the theorem
    of addition of tangents: the tangent of what remains is below 0.2, where 11 terms of the power series leave 3e-18.
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


@njit(nogil=True, cache=True, error_model="numpy")
def _solved(
    flat_sums: np.ndarray,
    flat_right: np.ndarray,
    terms: np.ndarray,
    weights: np.ndarray,
    half: float,
    matrix: np.ndarray,
    beta: np.ndarray,
    determined: np.ndarray,
    parts: np.ndarray,
) -> None:
    """Coefficients and the rows of :data:`FIT_ROWS` (5, LANES) from flat sums, q and p + 1 times LANES."""
    full_width()
    p = matrix.shape[0]
    sums, right = flat_sums.reshape(-1, LANES), flat_right.reshape(-1, LANES)
    if p == 6:
        _two_harmonics(flat_sums, flat_right, determined, beta.reshape(-1))
    else:
        for lane in range(LANES):
            determined[lane] = sums[0, lane] >= VALUES_PER_COEFFICIENT * p
        _normal_matrix(terms, weights, sums, matrix)
        _factor(matrix, determined)
        _solve(matrix, right, beta)
    left = parts[4]
    left[:] = right[p]
    for k in range(p):
        found, wanted = beta[k], right[k]
        for lane in range(LANES):
            left[lane] = fma(-found[lane], wanted[lane], left[lane])
    level, slope, cosine, sine, count, squares = beta[0], beta[1], beta[2], beta[3], sums[0], right[p]
    rate = 1 / half
    for lane in range(LANES):
        good = determined[lane]
        c, s, rest = cosine[lane], sine[lane], left[lane] / count[lane]
        parts[0, lane] = level[lane] if good else np.nan
        parts[1, lane] = slope[lane] * rate if good else np.nan
        parts[2, lane] = math.sqrt(c * c + s * s) if good else np.nan
        peaked = (c * c + s * s) * count[lane] > MIN_AMPLITUDE * MIN_AMPLITUDE * squares[lane]
        parts[3, lane] = 1 + 365.25 * _turn(s, c) if good & peaked else np.nan
        parts[4, lane] = math.sqrt(rest if rest > 0 else 0.0) if good else np.nan


@njit(nogil=True, cache=True, error_model="numpy")
def _left(
    y: np.ndarray,
    packed: np.ndarray,
    none: int,
    clear: np.ndarray,
    scale: np.ndarray,
    offset: np.ndarray,
    basis: np.ndarray,
    beta: np.ndarray,
    pixel: int,
) -> float:
    """Root mean square of the residuals of one pixel, from the residuals themselves."""
    squares, seen = 0.0, 0
    for i in range(basis.shape[0]):
        if packed.size:
            there = packed[i, pixel] != none
            if clear.size:
                there &= clear[i, pixel] != 0
            residual = float(fma(scale.dtype.type(packed[i, pixel]), scale[i], offset[i]))
        else:
            there = abs(y[i, pixel]) < np.inf
            residual = float(y[i, pixel])
        if there:
            for k in range(beta.size):
                residual -= basis[i, k] * beta[k]
            squares += residual * residual
            seen += 1
    return math.sqrt(squares / seen)


@njit(nogil=True, cache=True, error_model="numpy")
def _ask_for(layers: np.ndarray, first: int, start: int, n: int) -> None:
    """Have a group of dates of a tile, or the first of the next tile, on its way from memory while others are added.

    A tile takes so little of each date that the processor does not see the pattern by itself.
    """
    if first >= n:
        first, start = 0, start + TILE_PIXELS
    step = 64 // layers.itemsize
    for layer in range(first, min(first + GROUP, n)):
        for pixel in range(start, min(start + TILE_PIXELS, layers.shape[1]), step):
            prefetch(layers, layer, pixel)


@njit(nogil=True, cache=True, error_model="numpy")
def _fit(
    y: np.ndarray,
    packed: np.ndarray,
    none: int,
    clear: np.ndarray,
    scale: np.ndarray,
    offset: np.ndarray,
    basis: np.ndarray,
    padded: np.ndarray,
    mixed: np.ndarray,
    table: np.ndarray,
    terms: np.ndarray,
    weights: np.ndarray,
    unit: float,
    half: float,
    room: tuple[np.ndarray, ...],
    out: np.ndarray,
) -> None:
    full_width()
    n, p = basis.shape
    groups, splits = -(-n // GROUP), table.shape[0]
    q = 3 + 3 * (p - 2)
    pixels = out.shape[1]
    values, cases, sums, right, long, some, wanted, matrix, beta, parts, determined = room
    for start in range(0, pixels, TILE_PIXELS):
        width = min(TILE_PIXELS, pixels - start)
        sums[:] = 0
        long[:] = 0
        for group in range(groups):
            first, turn = group * GROUP, group % FLUSH
            case = cases[2 * turn : 2 * turn + 2]
            if packed.size:
                _ask_for(packed, first + GROUP, start, n)
                if clear.size:
                    _ask_for(clear, first + GROUP, start, n)
            else:
                _ask_for(y, first + GROUP, start, n)
            if first + GROUP > n:
                case[:] = 0
                values[:] = 0
                for bit in range(n - first):
                    layer, row = first + bit, values[bit]
                    if packed.size:
                        factor, shift = scale[layer], offset[layer]
                        _read_integer(packed, none, clear, factor, shift, layer, start, width, row, case, bit)
                    else:
                        _read_float(y, layer, start, width, row, case, bit)
            elif packed.size:
                _read_packed(packed, none, scale, offset, first, start, width, values, case)
                if clear.size:
                    _take_out(clear, first, start, width, values, case)
            else:
                _read_floats(y, first, start, width, values, case)
            if width < TILE_PIXELS:
                values[:, width:] = 0
                case[:, width:] = 0
            if turn == 0:
                right[:] = 0
            _add_values(values, padded[first : first + GROUP], right)
            if turn == FLUSH - 1 or group == groups - 1:
                cases[2 * turn + 2 :] = 0
                for k in range(p + 1):
                    for lane in range(TILE_PIXELS):
                        long[k, lane] += right[k, lane]
                for split in range(splits):
                    _add_cases(cases, table[split], group - turn, sums[split])
        for block in range(0, width, LANES):
            for split in range(splits):
                _turned(sums[split, block * ROW : (block + LANES) * ROW], unit, some[split * ROW : (split + 1) * ROW])
            wanted[p] = long[p, block : block + LANES]
            for k in range(p):
                wanted[k] = 0
                for j in range(k + 1):
                    share, known = mixed[j, k], long[j, block : block + LANES]
                    for lane in range(LANES):
                        wanted[k, lane] = fma(share, known[lane], wanted[k, lane])
            _solved(
                some.reshape(-1)[: q * LANES], wanted.reshape(-1), terms, weights, half, matrix, beta, determined, parts
            )
            count = min(LANES, width - block)
            squares, seen, rest, close = wanted[p], some[0], parts[4], 0
            for lane in range(LANES):
                close += rest[lane] * rest[lane] * seen[lane] < NEXT_TO_NOTHING * squares[lane]
            for lane in range(count if close else 0):
                if rest[lane] * rest[lane] * seen[lane] < NEXT_TO_NOTHING * squares[lane]:
                    pixel = start + block + lane
                    rest[lane] = _left(y, packed, none, clear, scale, offset, basis, beta[:, lane], pixel)
            for k in range(len(FIT_ROWS)):
                out[k, start + block : start + block + count] = parts[k, :count]
