"""Seasonal fit of every pixel: mean, slope and harmonics of the year, by least squares.

The model is ``mean + slope * u + sum over k of c_k cos(2 pi k t) + s_k sin(2 pi k t)``, with t in years of 365.25 days
since the start of 2000 and u = t less the middle of the record.

Dates are the outer loop, pixels the inner one: one pass over a tile of pixels sums what the normal equations need. The
products of two harmonics are sums and differences of harmonics of twice the order, so that two harmonics (six
coefficients) need 15 sums over the dates seen, 6 over the values and one over their squares. Time is centred and scaled
to -1 .. 1 first: otherwise sums in single precision are worthless.

Sums over the dates seen depend on these dates only: for each four dates a table holds the sums of all 16 cases, and a
pixel adds one row of it instead of 15 products a date. These sums are whole numbers, so they are exact. Values go into
short sums of eight dates, then of 32, then into long ones of double precision, which keeps them exact to 2e-8. Where a
fit leaves almost no residual, the residuals are summed directly, because a difference of large sums would be rounding.
"""

import math
from typing import Final, NamedTuple

import numpy as np

from monitor.kernel_cache import njit
from monitor.trends.kernels.harmonic_solve import LANES, VALUES_PER_COEFFICIENT, Solution, solve_block
from monitor.trends.kernels.vectors import ROW, add_rows, aligned, fma, full_width, prefetch

FIT_ROWS: Final = ("mean", "slope", "amplitude", "phase", "rmse")
"""Rows of the result of :func:`harmonic`, in order."""

SMALL_RESIDUAL: Final = 1e-3
"""Share of the sum of squares of the values below which the residuals are summed directly."""

TILE_PIXELS: Final = 512
"""Pixels summed side by side: the sums of a tile stay in the first-level cache."""

GROUP: Final = 8
"""Dates summed together."""

HALF: Final = GROUP // 2
"""Dates in one table of sums."""

CASES: Final = 1 << HALF
"""Combinations of dates seen in one table of sums."""

FLUSH: Final = 4
"""Groups whose sums are taken in single precision, and whose table rows are added at once."""


class Design(NamedTuple):
    """Everything that the dates determine, before any value is read."""

    basis: np.ndarray
    """(n, p) terms of the model."""
    orthogonal: np.ndarray
    """(whole groups of dates, p) float32 orthogonal columns; 0 beyond the last date."""
    mixing: np.ndarray
    """(p, p) matrix from the orthogonal columns to the basis."""
    table: np.ndarray
    """(splits, groups * 2 * CASES * ROW) int32 sums of features over the dates seen."""
    terms: np.ndarray
    weights: np.ndarray
    """(p, p, 2) entries of the normal matrix as weighted sums of two features."""
    unit: float
    """Value of 1 in the table."""
    half: float
    """Half of the length of the record. [year]"""


class Workspace(NamedTuple):
    """Space to sum a tile of pixels, aligned to lines of the cache."""

    values: np.ndarray
    """(GROUP, TILE_PIXELS) values of a group of dates, 0 where not seen."""
    cases: np.ndarray
    """(2 * FLUSH, TILE_PIXELS) dates seen of each half of a group, one bit a date."""
    date_sums: np.ndarray
    """(splits, TILE_PIXELS * ROW) int32 sums of the features of the dates seen."""
    short_sums: np.ndarray
    """(p + 1, TILE_PIXELS) float32 sums of the values with each orthogonal column, and of squares."""
    long_sums: np.ndarray
    """(p + 1, TILE_PIXELS) float64 totals of the short sums."""
    features: np.ndarray
    """(splits * ROW, LANES) float64 sums of the features of the dates seen."""
    right: np.ndarray
    """(p + 1, LANES) float64 right-hand side of the normal equations, and sum of squares."""


def harmonic(t: np.ndarray, y: np.ndarray, *, harmonics: int) -> np.ndarray:
    """Least-squares fit of a mean, a slope and harmonics of the year.

    Parameters
    ----------
    t : (n,) array
        Time of each layer since the start of 2000, in years of 365.25 days, ascending. [year]
    y : (n, pixels) array
        Values, read as float32, not finite where not seen.
    harmonics : int
        Number of harmonics, 1 or more.

    Returns
    -------
    (5, pixels) float32 array
        The rows of :data:`FIT_ROWS`: level in the middle of the record; slope in units of `y` per year; amplitude of
        the annual harmonic (half of trough to peak); day of the year of its peak, 1 = the start of 1 January, 1 to
        366.25, NaN without a peak (:data:`monitor.trends.kernels.harmonic_solve.MIN_AMPLITUDE`); root mean square of
        the residuals. NaN where the values seen do not determine the fit: too few of them (``VALUES_PER_COEFFICIENT``)
        or too similar in date (``DETERMINED``).
    """
    out = np.full((len(FIT_ROWS), y.shape[1]), np.nan, np.float32)
    p = 2 + 2 * harmonics
    if t.size < VALUES_PER_COEFFICIENT * p:
        return out
    design = _design(t, harmonics)
    splits = design.table.shape[0]
    work = Workspace(
        values=aligned((GROUP, TILE_PIXELS), np.float32),
        cases=aligned((2 * FLUSH, TILE_PIXELS), np.int32),
        date_sums=aligned((splits, TILE_PIXELS * ROW), np.int32),
        short_sums=aligned((p + 1, TILE_PIXELS), np.float32),
        long_sums=aligned((p + 1, TILE_PIXELS), np.float64),
        features=aligned((splits * ROW, LANES), np.float64),
        right=aligned((p + 1, LANES), np.float64),
    )
    solution = Solution(
        matrix=aligned((p, p, LANES), np.float64),
        beta=aligned((p, LANES), np.float64),
        determined=np.empty(LANES, np.bool_),
        rows=aligned((len(FIT_ROWS), LANES), np.float64),
    )
    _fit(np.ascontiguousarray(y, np.float32), design, work, solution, out)
    return out


def _design(t: np.ndarray, harmonics: int) -> Design:
    centre, half = (t[0] + t[-1]) / 2, (t[-1] - t[0]) / 2
    basis, features = model_terms(t, (t - centre) / half, harmonics)
    # Orthogonal columns for the sums of the values, the first all 1. Over a short season cosine and sine are nearly
    # constant, and the fit rests on small differences: taken before the sums, they survive single precision.
    columns, mixing = np.linalg.qr(basis)
    size = 1 / columns[0, 0]
    orthogonal = np.zeros((-(-t.size // GROUP) * GROUP, basis.shape[1]), np.float32)
    orthogonal[: t.size] = columns * size
    unit = 2.0 ** (30 - math.ceil(math.log2(t.size)))
    table = _table(np.rint(features * unit))
    return Design(basis, orthogonal, mixing / size, table, *_normal_terms(harmonics), unit=1 / unit, half=half)


def _table(features: np.ndarray) -> np.ndarray:
    """Sums of the features (n, q), whole numbers, over every combination of dates in each half of a group.

    The shape is (splits, groups * 2 * CASES * ROW), with empty groups up to a whole number of :data:`FLUSH`.
    """
    n, q = features.shape
    groups, splits = -(-n // (GROUP * FLUSH)) * FLUSH, -(-q // ROW)
    padded = np.zeros((groups * GROUP, splits * ROW), np.int32)
    padded[:n, :q] = features
    each = padded.reshape(groups, 2, HALF, splits, ROW).transpose(2, 3, 0, 1, 4)
    sums = aligned((splits, groups, 2, CASES, ROW), np.int32)
    for bit in range(HALF):
        sums[..., 1 << bit : 2 << bit, :] = sums[..., : 1 << bit, :] + each[bit][..., None, :]
    return sums.reshape(splits, -1)


def model_terms(t: np.ndarray, u: np.ndarray, harmonics: int) -> tuple[np.ndarray, np.ndarray]:
    """For each date the basis (1, u, c1, s1, c2, s2, ...), and the features summed: 1, u, uu, c.., s.., uc.., us.."""
    angle = 2 * np.pi * np.arange(1, 2 * harmonics + 1) * t[:, None]
    c, s = np.cos(angle), np.sin(angle)
    basis = [np.ones_like(u), u]
    for k in range(harmonics):
        basis += [c[:, k], s[:, k]]
    moments = np.stack([np.ones_like(u), u, u * u], axis=1)
    crossed = [u[:, None] * c[:, :harmonics], u[:, None] * s[:, :harmonics]]
    return np.stack(basis, axis=1), np.concatenate([moments, c, s, *crossed], axis=1)


def _normal_terms(harmonics: int) -> tuple[np.ndarray, np.ndarray]:
    """Each entry of the normal matrix as two weighted features: their indices and weights, (p, p, 2)."""
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
def _read_group(y: np.ndarray, first: int, start: int, width: int, values: np.ndarray, case: np.ndarray) -> None:
    """Read a whole group of dates of a tile: values, 0 where not seen, and the dates seen, one bit each."""
    full_width()
    zero, one, two, four, eight = np.float32(0), np.float32(1), np.float32(2), np.float32(4), np.float32(8)
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


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _read_date(y: np.ndarray, layer: int, start: int, width: int, row: np.ndarray, case: np.ndarray, bit: int) -> None:
    """Read one date of a tile."""
    full_width()
    zero, values = np.float32(0), y[layer, start : start + width]
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


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _transpose(sums: np.ndarray, unit: float, out: np.ndarray) -> None:
    """Sums by pixel (LANES * ROW) as values by sum (ROW, LANES)."""
    for lane in range(LANES):
        for k in range(ROW):
            out[k, lane] = unit * sums[lane * ROW + k]


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _rmse(y: np.ndarray, basis: np.ndarray, beta: np.ndarray, pixel: int) -> float:
    """Root mean square of the residuals of one pixel, from the residuals themselves."""
    squares, seen = 0.0, 0
    for i in range(basis.shape[0]):
        there = abs(y[i, pixel]) < np.inf
        residual = float(y[i, pixel])
        if there:
            for k in range(beta.size):
                residual -= basis[i, k] * beta[k]
            squares += residual * residual
            seen += 1
    return math.sqrt(squares / seen)


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _prefetch_group(layers: np.ndarray, first: int, start: int, n: int) -> None:
    """Prefetch a group of dates of a tile, or the first group of the next tile, while others are added.

    A tile reads so little of each date that the processor does not detect the pattern.
    """
    if first >= n:
        first, start = 0, start + TILE_PIXELS
    step = 64 // layers.itemsize
    for layer in range(first, min(first + GROUP, n)):
        for pixel in range(start, min(start + TILE_PIXELS, layers.shape[1]), step):
            prefetch(layers, layer, pixel)


@njit(nogil=True, cache=True, error_model="numpy")
def _sum_tile(y: np.ndarray, design: Design, work: Workspace, start: int, width: int) -> None:
    """Sum the features of the dates seen, and the values, of a tile of pixels."""
    full_width()
    n, p = design.basis.shape
    groups, splits = -(-n // GROUP), design.table.shape[0]
    values, cases = work.values, work.cases
    date_sums, short_sums, long_sums = work.date_sums, work.short_sums, work.long_sums
    date_sums[:] = 0
    long_sums[:] = 0
    for group in range(groups):
        first, turn = group * GROUP, group % FLUSH
        case = cases[2 * turn : 2 * turn + 2]
        _prefetch_group(y, first + GROUP, start, n)
        if first + GROUP > n:
            case[:] = 0
            values[:] = 0
            for bit in range(n - first):
                _read_date(y, first + bit, start, width, values[bit], case, bit)
        else:
            _read_group(y, first, start, width, values, case)
        if width < TILE_PIXELS:
            values[:, width:] = 0
            case[:, width:] = 0
        if turn == 0:
            short_sums[:] = 0
        _add_values(values, design.orthogonal[first : first + GROUP], short_sums)
        if turn == FLUSH - 1 or group == groups - 1:
            cases[2 * turn + 2 :] = 0
            for k in range(p + 1):
                for lane in range(TILE_PIXELS):
                    long_sums[k, lane] += short_sums[k, lane]
            for split in range(splits):
                _add_cases(cases, design.table[split], group - turn, date_sums[split])


@njit(nogil=True, cache=True, error_model="numpy")
def _prepare_block(design: Design, work: Workspace, block: int) -> None:
    """Bring the sums of a block of pixels of a tile into the form of the normal equations."""
    full_width()
    p, splits = design.mixing.shape[0], design.table.shape[0]
    long_sums, features, right = work.long_sums, work.features, work.right
    for split in range(splits):
        sums = work.date_sums[split, block * ROW : (block + LANES) * ROW]
        _transpose(sums, design.unit, features[split * ROW : (split + 1) * ROW])
    right[p] = long_sums[p, block : block + LANES]
    for k in range(p):
        right[k] = 0
        for j in range(k + 1):
            share, known = design.mixing[j, k], long_sums[j, block : block + LANES]
            for lane in range(LANES):
                right[k, lane] = fma(share, known[lane], right[k, lane])


@njit(nogil=True, cache=True, error_model="numpy")
def _fit(y: np.ndarray, design: Design, work: Workspace, solution: Solution, out: np.ndarray) -> None:
    full_width()
    p, pixels = design.basis.shape[1], out.shape[1]
    q = 3 + 3 * (p - 2)
    flat_features, flat_right = work.features.reshape(-1)[: q * LANES], work.right.reshape(-1)
    squares, seen, rmse = work.right[p], work.features[0], solution.rows[4]
    for start in range(0, pixels, TILE_PIXELS):
        width = min(TILE_PIXELS, pixels - start)
        _sum_tile(y, design, work, start, width)
        for block in range(0, width, LANES):
            _prepare_block(design, work, block)
            solve_block(flat_features, flat_right, design.terms, design.weights, design.half, solution)
            count, small = min(LANES, width - block), 0
            for lane in range(LANES):
                small += rmse[lane] * rmse[lane] * seen[lane] < SMALL_RESIDUAL * squares[lane]
            for lane in range(count if small else 0):
                if rmse[lane] * rmse[lane] * seen[lane] < SMALL_RESIDUAL * squares[lane]:
                    rmse[lane] = _rmse(y, design.basis, solution.beta[:, lane], start + block + lane)
            for k in range(len(FIT_ROWS)):
                out[k, start + block : start + block + count] = solution.rows[k, :count]
