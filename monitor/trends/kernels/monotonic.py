"""Theil-Sen slope and Mann-Kendall test of every pixel.

All functions take times ``t`` of shape (n,), strictly ascending, in years of 365.25 days, and values ``y`` of shape
(n, pixels), read as float32. A value that is not finite was not seen and is ignored for its pixel. Counts and tests are
exact for these values; slopes are rounded to single precision.

The slopes between all pairs of dates are neither stored nor sorted. A slope m has the rank that is the number of pairs
with ``rise < m * interval``. The kernel counts these for :data:`LANES` pixels side by side, without a branch or a
division, and moves m until its rank is the requested one; a last pass finds the slopes on either side of m. A missing
value is NaN: it is below nothing, and only changes the number of pairs of its pixel.
"""

import math
from typing import Final, NamedTuple

import numpy as np

from monitor.kernel_cache import njit
from monitor.trends.kernels.vectors import full_width

STATISTICS: Final = ("slope", "slope_low", "slope_high", "tau", "s", "p", "p_hamed_rao", "n")
"""Rows of the result of :func:`monotonic`, in order."""

LANES: Final = 64
"""Pixels side by side; fewer leave vector units idle, more exceed the cache."""

GROUP: Final = 4
"""Later dates that are compared at once with an earlier one."""

MAX_PASSES: Final = 100
"""Limit of the search; most ranks are found in 5 to 12 passes."""

FIRST_STEP_UP: Final = 7
"""Pass from which every other one moves up to the next slope, because equal slopes are never separated."""

TOLERANCE: Final = 2.0**-21
"""Slopes that differ by less are equal: four units in the last place. [relative]"""

TINY: Final = 1e-30
"""A slope below all that are positive."""

DAYS_PER_YEAR: Final = 365.25
"""Days in a year."""

Z95: Final = 1.959963984540054
"""Two-sided 95 % point of the normal distribution: confidence limits, and significance of a lag."""

MIN_HAMED_RAO: Final = 10
"""Minimum number of values for estimating autocorrelation."""


class Lanes(NamedTuple):
    """Numbers of the pixels of a tile, (LANES,) arrays."""

    m: np.ndarray
    """Slope whose rank is counted, float32 as all down to `slope`."""
    step: np.ndarray
    """Slope a rank, about."""
    low: np.ndarray
    high: np.ndarray
    """Slopes between which the requested rank lies."""
    short: np.ndarray
    over: np.ndarray
    """Ranks by which `low` is below the requested one, and `high` above it; 0 where there is no such slope yet."""
    side: np.ndarray
    """1 after a move up, -1 after a move down."""
    under: np.ndarray
    above: np.ndarray
    """Nearest slopes below a given one, and from it on."""
    found: np.ndarray
    """Slope of the requested rank, or the mean of two."""
    slope: np.ndarray
    """Median of the slopes."""
    below: np.ndarray
    """Number of slopes below `m`, int32 as all that follow."""
    falls: np.ndarray
    level: np.ndarray
    """Number of falling pairs, and of pairs that do not rise."""
    pairs: np.ndarray
    first: np.ndarray
    last: np.ndarray
    """Requested ranks from 0, one or two neighbours; none if `last` is less than `first`."""
    going: np.ndarray
    """1 while the rank is searched."""


def slope_and_score(t: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Theil-Sen slope [1]_ and Mann-Kendall score S [2]_, without limits or tests; for `t` and `y` see the module.

    Returns
    -------
    slope, s : (pixels,) float32 arrays
        Median of the slopes between all pairs, in units of `y` per year, and the number of rising pairs minus that of
        falling pairs; NaN with fewer than two values.

    References
    ----------
    .. [1] P. K. Sen, "Estimates of the regression coefficient based on Kendall's tau," J. Am. Stat. Assoc.,
       1968, doi:10.1080/01621459.1968.10480934.
    .. [2] H. B. Mann, "Nonparametric tests against trend," Econometrica, 1945, doi:10.2307/1907187.
    """
    slope, s = np.full((2, y.shape[1]), np.nan, np.float32)
    _slope(np.asarray(t, np.float64), np.ascontiguousarray(y, np.float32), _lanes(), slope, s)
    return slope, s


def monotonic(t: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Theil-Sen slope with its 95 % limits [1]_, tau-b [2]_, and the Mann-Kendall test, plain [3]_ and corrected [4]_.

    For `t` and `y` see the module.

    Returns
    -------
    (8, pixels) float32 array
        The rows of :data:`STATISTICS`. ``n`` is always a number; all others are NaN with fewer than two values. Also
        NaN: a limit that too few values cannot bound (fewer than five, without ties), ``tau`` where all values are
        equal, ``p_hamed_rao`` with fewer than :data:`MIN_HAMED_RAO` values, without residuals to correlate, or where
        the corrected variance is not positive.

    Notes
    -----
    ``p`` is two-sided, from the normal approximation with corrections for ties and continuity. The correction of Hamed
    and Rao uses the lags at which the ranks of the residuals from the Theil-Sen line are autocorrelated at 5 %. Lags
    count observations, so it is most meaningful for evenly spaced dates.

    References
    ----------
    .. [1] P. K. Sen, J. Am. Stat. Assoc., 1968, doi:10.1080/01621459.1968.10480934; ranks as in R. O. Gilbert,
       "Statistical methods for environmental pollution monitoring," 1987, section 16.5.
    .. [2] M. G. Kendall, "The treatment of ties in ranking problems," Biometrika, 1945, doi:10.1093/biomet/33.3.239.
    .. [3] H. B. Mann, Econometrica, 1945, doi:10.2307/1907187.
    .. [4] K. H. Hamed and A. R. Rao, J. Hydrology, 1998, doi:10.1016/S0022-1694(97)00125-X.
    """
    out = np.full((len(STATISTICS), y.shape[1]), np.nan, np.float32)
    _monotonic(np.asarray(t, np.float64), np.ascontiguousarray(y, np.float32), _lanes(), out)
    return out


def _lanes() -> Lanes:
    return Lanes(*np.zeros((11, LANES), np.float32), *np.zeros((7, LANES), np.int32))


@njit(nogil=True, cache=True)
def _slope(t: np.ndarray, y: np.ndarray, lanes: Lanes, slope: np.ndarray, s: np.ndarray) -> None:
    tile, years = np.empty((t.size + GROUP, LANES), np.float32), np.empty(t.size + GROUP)
    for start in range(0, y.shape[1], LANES):
        _median(tile, years, _load(t, y, start, tile, years), lanes)
        for lane in range(min(LANES, y.shape[1] - start)):
            if lanes.pairs[lane]:
                slope[start + lane] = lanes.slope[lane]
                s[start + lane] = lanes.pairs[lane] - lanes.level[lane] - lanes.falls[lane]


@njit(nogil=True, cache=True)
def _monotonic(t: np.ndarray, y: np.ndarray, lanes: Lanes, out: np.ndarray) -> None:
    tile, years = np.empty((t.size + GROUP, LANES), np.float32), np.empty(t.size + GROUP)
    seen_t, seen_y, residual, order = np.empty((4, t.size))
    limits = np.empty((2, LANES), np.int64)
    for start in range(0, y.shape[1], LANES):
        n = _load(t, y, start, tile, years)
        _median(tile, years, n, lanes)
        width = min(LANES, y.shape[1] - start)
        limits[:] = -1
        for lane in range(width):
            column, pairs, seen = out[:, start + lane], lanes.pairs[lane], 0
            for i in range(n):
                if tile[i, lane] == tile[i, lane]:
                    seen_t[seen], seen_y[seen] = years[i], tile[i, lane]
                    seen += 1
            column[7] = seen
            if pairs:
                column[0] = lanes.slope[lane]
                variance, tied = _ties(seen_y[:seen], order)
                limits[0, lane], limits[1, lane] = _limit_ranks(pairs, variance)
                s = float(pairs - lanes.level[lane] - lanes.falls[lane])
                _test(seen_t[:seen], seen_y[:seen], s, variance, tied, residual, column)
        for side in range(2):
            for lane in range(LANES):
                rank, pairs = limits[side, lane], lanes.pairs[lane]
                lanes.first[lane], lanes.last[lane] = rank, rank if 0 <= rank < pairs else -2
                lanes.m[lane] = lanes.slope[lane] + (rank - pairs / 2) * lanes.step[lane]
            _search(tile, years, n, lanes)
            for lane in range(width):
                if lanes.last[lane] >= 0:
                    out[1 + side, start + lane] = lanes.found[lane]


@njit(nogil=True, cache=True)
def _load(t: np.ndarray, y: np.ndarray, start: int, tile: np.ndarray, years: np.ndarray) -> int:
    """Copy the dates of a tile on which any pixel was seen; return their number.

    NaN where not seen, beyond the edge, and in one more group of dates.
    """
    n, width = 0, min(LANES, y.shape[1] - start)
    for i in range(t.size):
        row, values, some = tile[n], y[i, start : start + width], False
        for lane in range(width):
            seen = abs(values[lane]) < np.inf
            row[lane] = values[lane] if seen else np.nan
            some |= seen
        row[width:] = np.nan
        years[n] = t[i] - t[0]
        n += some
    tile[n:], years[n:] = np.nan, 0
    return n


@njit(nogil=True, cache=True, error_model="numpy")
def _median(tile: np.ndarray, years: np.ndarray, n: int, lanes: Lanes) -> None:
    """Count pairs and scores of a tile, and find the median of the slopes."""
    lanes.m[:] = 0
    _count(tile.ravel(), years, n, lanes.m, lanes.falls)
    lanes.m[:] = TINY
    _count(tile.ravel(), years, n, lanes.m, lanes.level)
    seen, mean_t, mean_y, tt, ty, yy = np.zeros((6, LANES))
    for i in range(n):
        row, year = tile[i], years[i]
        for lane in range(LANES):
            there = row[lane] == row[lane]
            seen[lane] += there
            mean_t[lane] += year if there else 0
            mean_y[lane] += row[lane] if there else 0
    mean_t /= seen
    mean_y /= seen
    for i in range(n):
        row, year = tile[i], years[i]
        for lane in range(LANES):
            there = row[lane] == row[lane]
            u, v = year - mean_t[lane], row[lane] - mean_y[lane]
            tt[lane] += u * u if there else 0
            ty[lane] += u * v if there else 0
            yy[lane] += v * v if there else 0
    for lane in range(LANES):
        k = int(seen[lane])
        lanes.pairs[lane] = pairs = k * (k - 1) // 2
        lanes.first[lane], lanes.last[lane] = (pairs - 1) // 2, pairs // 2 if pairs else -2
        # of normal residuals: the density of the slopes at their centre is 0.33 sd(t) / sd(residual)
        lanes.m[lane] = ty[lane] / tt[lane] if pairs else 0
        spread = max(yy[lane] - ty[lane] * lanes.m[lane], TOLERANCE * yy[lane])
        lanes.step[lane] = 3 * math.sqrt(spread / tt[lane]) / pairs if pairs else 0
    _search(tile, years, n, lanes)
    lanes.slope[:] = lanes.found


@njit(nogil=True, cache=True)
def _search(tile: np.ndarray, years: np.ndarray, n: int, lanes: Lanes) -> None:
    """Find the slopes of the requested ranks, from a first guess in `m`; `found` is their mean."""
    m, low, high, short, over, below = lanes.m, lanes.low, lanes.high, lanes.short, lanes.over, lanes.below
    first, last, step = lanes.first, lanes.last, lanes.step.copy()
    low[:], high[:], lanes.side[:] = 0, 0, 0
    for lane in range(LANES):  # what is known of the slope 0
        wanted = 0.5 * (first[lane] + last[lane] + 1)
        short[lane], over[lane] = max(wanted - lanes.level[lane], 0), max(lanes.falls[lane] - wanted, 0)
        lanes.going[lane] = (last[lane] >= first[lane]) & (short[lane] + over[lane] > 0)
        if not lanes.going[lane]:
            m[lane] = TINY if last[lane] >= lanes.level[lane] else 0
        elif m[lane] * (short[lane] - over[lane]) <= 0:  # the guess has the wrong sign
            m[lane] = (short[lane] - over[lane]) * step[lane]
    flat = tile.ravel()
    for turn in range(MAX_PASSES):
        _count(flat, years, n, m, below)
        if not _advance(lanes, step):
            break
        if turn >= FIRST_STEP_UP and turn % 2:
            _nearest(flat, years, n, low, lanes.under, lanes.above)
            for lane in range(LANES):
                if lanes.going[lane] and short[lane] > 0:
                    little = abs(lanes.above[lane]) * np.float32(0.4 * TOLERANCE)
                    low[lane], m[lane] = lanes.above[lane] - little, lanes.above[lane] + little
    _nearest(flat, years, n, m, lanes.under, lanes.above)
    for lane in range(LANES):
        one = lanes.under[lane] if below[lane] > first[lane] else lanes.above[lane]
        other = lanes.under[lane] if below[lane] > last[lane] else lanes.above[lane]
        lanes.found[lane] = one + (other - one) / 2


@njit(nogil=True, cache=True, error_model="numpy")
def _advance(lanes: Lanes, step: np.ndarray) -> int:
    """Move each slope closer to its rank, by false position with the Illinois rule; return how many have moved."""
    m, low, high, short, over, side = lanes.m, lanes.low, lanes.high, lanes.short, lanes.over, lanes.side
    moved, half, one, two = 0, np.float32(0.5), np.float32(1), np.float32(2)
    for lane in range(np.uint64(LANES)):
        off = half * np.float32(lanes.first[lane] + lanes.last[lane] + 1 - 2 * lanes.below[lane])
        going, up, now = lanes.going[lane] & (abs(off) > half), off > 0, m[lane]
        left, right = now if up else low[lane], high[lane] if up else now
        a = off if up else short[lane] * (half if side[lane] < 0 else one)
        b = over[lane] * (half if side[lane] > 0 else one) if up else -off
        between = (a > 0) & (b > 0)
        equal = between & (right - left <= np.float32(TOLERANCE) * max(abs(left), abs(right)))
        to = left if equal else (left + (right - left) * (a / (a + b)) if between else now + off * step[lane])
        m[lane] = to if going else now
        low[lane], high[lane], short[lane], over[lane], side[lane] = left, right, a, b, one if up else -one
        step[lane] *= two
        moved += going
        lanes.going[lane] = going & (not equal)
    return moved


@njit(nogil=True, cache=True)
def _count(flat: np.ndarray, years: np.ndarray, n: int, m: np.ndarray, below: np.ndarray) -> None:
    """Count the pairs of each pixel whose slope is below m."""
    full_width()
    below[:] = 0
    # flat and unsigned: otherwise each index is tested for being negative, and the loops are not vectorised
    size = np.uint64(LANES)
    for i in range(n - 1):
        a = np.uint64(i * LANES)
        for j in range(i + 1, n, GROUP):
            b0 = np.uint64(j * LANES)
            b1, b2, b3 = b0 + size, b0 + size + size, b0 + size + size + size
            d0, d1 = np.float32(years[j] - years[i]), np.float32(years[j + 1] - years[i])
            d2, d3 = np.float32(years[j + 2] - years[i]), np.float32(years[j + 3] - years[i])
            for lane in range(size):
                now, rate = flat[a + lane], m[lane]
                c0, c1 = flat[b0 + lane] - now < rate * d0, flat[b1 + lane] - now < rate * d1
                c2, c3 = flat[b2 + lane] - now < rate * d2, flat[b3 + lane] - now < rate * d3
                below[lane] += (np.int32(c0) + np.int32(c1)) + (np.int32(c2) + np.int32(c3))


@njit(nogil=True, cache=True)
def _nearest(flat: np.ndarray, years: np.ndarray, n: int, m: np.ndarray, under: np.ndarray, above: np.ndarray) -> None:
    """Find the nearest slopes of each pixel below m, and from m on."""
    full_width()
    under[:], above[:], none = -np.inf, np.inf, np.float32(np.inf)
    for i in range(n - 1):
        a = np.uint64(i * LANES)
        for j in range(i + 1, n):
            b, interval = np.uint64(j * LANES), np.float32(years[j] - years[i])
            per_year = np.float32(1 / (years[j] - years[i]))
            for lane in range(np.uint64(LANES)):
                rise = flat[b + lane] - flat[a + lane]
                low = rise * per_year if rise < m[lane] * interval else -none
                high = rise * per_year if rise >= m[lane] * interval else none
                under[lane] = low if low > under[lane] else under[lane]
                above[lane] = high if high < above[lane] else above[lane]


@njit(nogil=True, cache=True, inline="always")
def _ties(y: np.ndarray, order: np.ndarray) -> tuple[float, int]:
    """Variance of S without a trend, corrected for ties, and the number of tied pairs."""
    n = y.size
    order[:n] = y
    order[:n].sort()
    spread, tied, run = n * (n - 1) * (2 * n + 5), 0, 1
    for i in range(1, n + 1):
        if i < n and order[i] == order[i - 1]:
            run += 1
        else:
            spread -= run * (run - 1) * (2 * run + 5)
            tied += run * (run - 1) // 2
            run = 1
    return spread / 18, tied


@njit(nogil=True, cache=True, inline="always")
def _limit_ranks(pairs: int, variance: float) -> tuple[int, int]:
    """Ranks of the sorted slopes that bound the slope at 95 %; outside 0 .. pairs - 1 there is no bound."""
    half_width = Z95 * math.sqrt(variance)
    return round((pairs - half_width) / 2) - 1, round((pairs + half_width) / 2)


@njit(nogil=True, cache=True, inline="always")
def _two_sided(s: float, variance: float) -> float:
    """Two-sided p of a score, continuity-corrected."""
    if s == 0:
        return 1.0
    return math.erfc((abs(s) - 1) / math.sqrt(2 * variance))


@njit(nogil=True, cache=True, inline="always")
def _test(
    t: np.ndarray, y: np.ndarray, s: float, variance: float, tied: int, residual: np.ndarray, column: np.ndarray
) -> None:
    """Store tau-b, S, p and the p of Hamed and Rao in a column of the result."""
    n = y.size
    pairs = n * (n - 1) // 2
    if tied < pairs:
        column[3] = s / math.sqrt(pairs * float(pairs - tied))
    column[4] = s
    column[5] = _two_sided(s, variance)
    if n >= MIN_HAMED_RAO:
        inflation = _inflation(t, y, float(column[0]), residual)
        if inflation > 0:
            column[6] = _two_sided(s, variance * inflation)


@njit(nogil=True, cache=True)
def _inflation(t: np.ndarray, y: np.ndarray, slope: float, rank: np.ndarray) -> float:
    """Factor of the variance of S for autocorrelation; NaN if the residuals are only rounding.

    The slope is often that of one pair, whose two residuals are then equal: residuals that differ only by rounding
    share a rank, so that the result does not depend on the last bit.
    """
    n = y.size
    residual = np.empty(n)
    largest = 0.0
    for i in range(n):
        residual[i] = y[i] - slope * (t[i] - t[0])
        largest = max(largest, abs(y[i]))
    same = 4 * np.finfo(np.float32).eps * largest
    order = np.argsort(residual, kind="mergesort")
    power = 0.0
    i = 0
    while i < n:
        j = i
        while j + 1 < n and residual[order[j + 1]] - residual[order[j]] <= same:
            j += 1
        for k in range(i, j + 1):
            rank[order[k]] = (i + j) / 2 - (n - 1) / 2
            power += rank[order[k]] ** 2
        i = j + 1
    if power == 0:
        return np.nan
    total = 0.0
    for lag in range(1, n):
        correlation = 0.0
        for i in range(n - lag):
            correlation += rank[i] * rank[i + lag]
        correlation /= power
        if abs(correlation) > Z95 / math.sqrt(n):
            total += (n - lag) * (n - lag - 1) * (n - lag - 2) * correlation
    return 1 + 2 * total / (n * (n - 1) * (n - 2))
