"""Theil-Sen slope and Mann-Kendall test of every pixel.

All functions take times ``t`` of shape (n,), strictly ascending, in years of 365.25 days, and values ``y`` of shape
(n, pixels), float32 or float64. A value that is not finite was not seen and is ignored for its pixel. Arithmetic is in
the type of ``y``; counts and tests are exact.

The median of the slopes between all pairs is computed in two ways. Up to :data:`NETWORK_DATES` dates (yearly values) a
sorting network runs over a tile of pixels, also with gaps: it has no branches, so that it is vectorised. For more dates
the slopes of each pixel are narrowed to a small bracket around the requested ranks.
"""

import math
from functools import cache
from typing import Final

import numpy as np

from monitor.kernel_cache import njit

STATISTICS: Final = ("slope", "slope_low", "slope_high", "tau", "s", "p", "p_hamed_rao", "n")
"""Rows of the result of :func:`monotonic`, in order."""

NETWORK_DATES: Final = 16
"""Maximum number of dates for the sorting network: 120 slopes a pixel, of which a tile fits the first-level cache."""

NETWORK_TILE: Final = 64
"""Pixels side by side in the network; fewer leave vector units idle, more exceed the cache."""

RANK_SAMPLE: Final = 128
"""Size of the sample of slopes that brackets a rank."""

SAMPLE_MARGIN: Final = 15
"""Ranks in the sample on either side of the requested one, which is between them in 99 % of samples."""

DAYS_PER_YEAR: Final = 365.25
"""Days in a year."""

Z95: Final = 1.959963984540054
"""Two-sided 95 % point of the normal distribution: confidence limits, and significance of a lag."""

MIN_HAMED_RAO: Final = 10
"""Minimum number of values for estimating autocorrelation."""


def slope_and_score(t: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Theil-Sen slope [1]_ and Mann-Kendall score S [2]_, without limits or tests; for `t` and `y` see the module.

    Returns
    -------
    slope, s : (pixels,) arrays
        Median of the slopes between all pairs, in units of `y` per year, and the number of rising pairs minus that of
        falling pairs; NaN with fewer than two values.

    References
    ----------
    .. [1] P. K. Sen, "Estimates of the regression coefficient based on Kendall's tau," J. Am. Stat. Assoc.,
       1968, doi:10.1080/01621459.1968.10480934.
    .. [2] H. B. Mann, "Nonparametric tests against trend," Econometrica, 1945, doi:10.2307/1907187.
    """
    slope, s = np.full((2, y.shape[1]), np.nan, y.dtype)
    n = t.size
    if 2 <= n <= NETWORK_DATES:
        _slope_few(t, y, _network(n, whole=False), slope, s)
    elif n > NETWORK_DATES:
        _slope_many(t, y, slope, s)
    return slope, s


def monotonic(t: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Theil-Sen slope with its 95 % limits [1]_, tau-b [2]_, and the Mann-Kendall test, plain [3]_ and corrected [4]_.

    For `t` and `y` see the module.

    Returns
    -------
    (8, pixels) array
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
    out = np.full((len(STATISTICS), y.shape[1]), np.nan, y.dtype)
    n = t.size
    if 2 <= n <= NETWORK_DATES:
        _monotonic_few(t, y, _network(n, whole=True), out)
    elif n > NETWORK_DATES:
        _monotonic_many(t, y, out)
    else:
        out[-1] = np.isfinite(y).sum(axis=0)
    return out


@cache
def _network(n: int, *, whole: bool) -> np.ndarray:
    """Comparators (a, b), a < b, that sort the slopes of n dates (`whole`), or only put the two middle ones in place.

    Merge exchange: D. E. Knuth, "The art of computer programming" vol. 3, algorithm 5.2.2 M.
    """
    size = n * (n - 1) // 2
    comparators = []
    top = 1 << max(size - 1, 0).bit_length() - 1 if size > 1 else 0
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while True:
            comparators += [(i, i + d) for i in range(size - d) if i & p == r]
            if q == p:
                break
            d, q, r = q - p, q // 2, p
        p //= 2
    needed = set(range(size)) if whole else {max(size // 2 - 1, 0), size // 2}
    used = []
    for a, b in reversed(comparators):
        if a in needed or b in needed:
            needed |= {a, b}
            used.append((a, b))
    return np.array(used[::-1], np.int64).reshape(-1, 2)


@njit(nogil=True, cache=True)
def _load_tile(y: np.ndarray, start: int, tile: np.ndarray) -> int:
    """Copy a tile of pixels, NaN where not seen and beyond the edge; return its width."""
    n, pixels = y.shape
    width: int = min(NETWORK_TILE, pixels - start)
    for i in range(n):
        for lane in range(NETWORK_TILE):
            tile[i, lane] = np.nan
        for lane in range(width):
            value = y[i, start + lane]
            tile[i, lane] = value if np.isfinite(value) else np.nan
    return width


@njit(nogil=True, cache=True)
def _rises(
    values: np.ndarray, a: np.uint64, b: np.uint64, rate: float, slopes: np.ndarray, row: np.uint64, s: np.ndarray
) -> None:
    """Compute slopes between the dates at a and b in a tile without gaps, and add up scores."""
    one, zero = s.dtype.type(1), s.dtype.type(0)
    for lane in range(np.uint64(NETWORK_TILE)):
        rise = values[b + lane] - values[a + lane]
        slopes[row + lane] = rise * rate
        s[lane] += (one if rise > zero else zero) - (one if rise < zero else zero)


@njit(nogil=True, cache=True)
def _rises_with_gaps(
    values: np.ndarray,
    a: np.uint64,
    b: np.uint64,
    rate: float,
    slopes: np.ndarray,
    row: np.uint64,
    s: np.ndarray,
    fill: np.ndarray,
) -> None:
    """Compute slopes between the dates at a and b in a tile with gaps, and add up scores.

    Missing slopes are plus and minus infinity in turn, so that the median of the others stays in the middle rows: of k
    missing ones, k // 2 are below it.
    """
    one, zero = s.dtype.type(1), s.dtype.type(0)
    for lane in range(np.uint64(NETWORK_TILE)):
        rise = values[b + lane] - values[a + lane]
        seen = rise == rise
        slopes[row + lane] = rise * rate if seen else fill[lane]
        fill[lane] = fill[lane] if seen else -fill[lane]
        s[lane] += (one if rise > zero else zero) - (one if rise < zero else zero)


@njit(nogil=True, cache=True)
def _sorted_slopes(
    t: np.ndarray, tile: np.ndarray, network: np.ndarray, slopes: np.ndarray, fill: np.ndarray, s: np.ndarray
) -> bool:
    """Compute slopes between all pairs, sort them by the network, add up scores; return whether there are gaps."""
    fill[:] = np.inf
    s[:] = 0
    # flat and unsigned: otherwise each index is tested for being negative, and the loops are not vectorised
    values, flat = tile.ravel(), slopes.ravel()
    gaps = False
    for place in range(np.uint64(values.size)):
        gaps |= values[place] != values[place]
    row = np.uint64(0)
    for i in range(t.size):
        for j in range(i + 1, t.size):
            rate = tile.dtype.type(1 / (t[j] - t[i]))
            a, b = np.uint64(i * NETWORK_TILE), np.uint64(j * NETWORK_TILE)
            if gaps:
                _rises_with_gaps(values, a, b, rate, flat, row, s, fill)
            else:
                _rises(values, a, b, rate, flat, row, s)
            row += np.uint64(NETWORK_TILE)
    for c in range(network.shape[0]):
        a, b = np.uint64(network[c, 0] * NETWORK_TILE), np.uint64(network[c, 1] * NETWORK_TILE)
        for lane in range(np.uint64(NETWORK_TILE)):
            first, second = flat[a + lane], flat[b + lane]
            flat[a + lane] = first if first < second else second
            flat[b + lane] = second if first < second else first
    return gaps


@njit(nogil=True, cache=True)
def _slope_few(t: np.ndarray, y: np.ndarray, network: np.ndarray, slope: np.ndarray, s: np.ndarray) -> None:
    n, pixels = y.shape
    pairs = n * (n - 1) // 2
    tile = np.empty((n, NETWORK_TILE), y.dtype)
    slopes = np.empty((pairs, NETWORK_TILE), y.dtype)
    fill = np.empty(NETWORK_TILE, y.dtype)
    score = np.empty(NETWORK_TILE, y.dtype)
    half = y.dtype.type(0.5)
    for start in range(0, pixels, NETWORK_TILE):
        width = _load_tile(y, start, tile)
        gaps = _sorted_slopes(t, tile, network, slopes, fill, score)
        for lane in range(width):
            seen = n
            for i in range(n if gaps else 0):
                seen -= tile[i, lane] != tile[i, lane]
            if seen >= 2:
                seen_pairs = seen * (seen - 1) // 2
                below = (pairs - seen_pairs) // 2
                low, high = slopes[below + (seen_pairs - 1) // 2, lane], slopes[below + seen_pairs // 2, lane]
                slope[start + lane] = low + (high - low) * half
                s[start + lane] = score[lane]


@njit(nogil=True, cache=True)
def _monotonic_few(t: np.ndarray, y: np.ndarray, network: np.ndarray, out: np.ndarray) -> None:
    n, pixels = y.shape
    pairs = n * (n - 1) // 2
    tile = np.empty((n, NETWORK_TILE), y.dtype)
    slopes = np.empty((pairs, NETWORK_TILE), y.dtype)
    fill = np.empty(NETWORK_TILE, y.dtype)
    score = np.empty(NETWORK_TILE, y.dtype)
    seen_t, seen_y, residual = np.empty(n), np.empty(n, y.dtype), np.empty(n)
    order = np.empty(n)
    for start in range(0, pixels, NETWORK_TILE):
        width = _load_tile(y, start, tile)
        _sorted_slopes(t, tile, network, slopes, fill, score)
        for lane in range(width):
            seen = 0
            for i in range(n):
                if tile[i, lane] == tile[i, lane]:
                    seen_t[seen], seen_y[seen] = t[i], tile[i, lane]
                    seen += 1
            column = out[:, start + lane]
            column[7] = seen
            if seen < 2:
                continue
            seen_pairs = seen * (seen - 1) // 2
            below = (pairs - seen_pairs) // 2
            low, high = slopes[below + (seen_pairs - 1) // 2, lane], slopes[below + seen_pairs // 2, lane]
            column[0] = low + (high - low) / 2
            variance, tied = _ties(seen_y[:seen], order)
            first, last = _limit_ranks(seen_pairs, variance)
            if first >= 0:
                column[1] = slopes[below + first, lane]
            if last < seen_pairs:
                column[2] = slopes[below + last, lane]
            _test(seen_t[:seen], seen_y[:seen], float(score[lane]), variance, tied, residual, column)


@njit(nogil=True, cache=True)
def _slope_many(t: np.ndarray, y: np.ndarray, slope: np.ndarray, s: np.ndarray) -> None:
    n, pixels = y.shape
    days = _days(t).astype(y.dtype)
    seen_t, seen_y = np.empty(n + 1, y.dtype), np.empty(n + 1, y.dtype)
    slopes, work = np.empty((2, n * (n - 1) // 2), y.dtype)
    for pixel in range(pixels):
        seen = _seen(days, y, pixel, seen_t, seen_y)
        if seen >= 2:
            pairs = _slopes(seen_t[:seen], seen_y[:seen], slopes)
            slope[pixel] = _middle(slopes[:pairs], work)
            s[pixel] = _score(seen_y[:seen])


@njit(nogil=True, cache=True)
def _monotonic_many(t: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
    n, pixels = y.shape
    days = _days(t)
    short_days = days.astype(y.dtype)
    seen_t, seen_y = np.empty(n + 1, y.dtype), np.empty(n + 1, y.dtype)
    slopes, work = np.empty((2, n * (n - 1) // 2), y.dtype)
    residual, order = np.empty(n), np.empty(n)
    for pixel in range(pixels):
        seen = _seen(short_days, y, pixel, seen_t, seen_y)
        column = out[:, pixel]
        column[7] = seen
        if seen < 2:
            continue
        values = seen_y[:seen]
        pairs = _slopes(seen_t[:seen], values, slopes)
        column[0] = _middle(slopes[:pairs], work)
        variance, tied = _ties(values, order)
        first, last = _limit_ranks(pairs, variance)
        if first >= 0:
            column[1] = _ranked(slopes[:pairs], first, first, work)
        if last < pairs:
            column[2] = _ranked(slopes[:pairs], last, last, work)
        _test(seen_t[:seen] / DAYS_PER_YEAR, values, float(_score(values)), variance, tied, residual, column)


@njit(nogil=True, cache=True)
def _days(t: np.ndarray) -> np.ndarray:
    """Days since the middle of the record: whole days are exact in single precision, fractions of years are not."""
    days: np.ndarray = (t - (t[0] + t[-1]) / 2) * DAYS_PER_YEAR
    return days


@njit(nogil=True, cache=True)
def _seen(t: np.ndarray, y: np.ndarray, pixel: int, seen_t: np.ndarray, seen_y: np.ndarray) -> int:
    """Copy the values seen of one pixel, and their times, to the front of the arrays; return their number."""
    seen = 0
    for i in range(t.size):
        value = y[i, pixel]
        seen_t[seen] = t[i]
        seen_y[seen] = value
        seen += np.isfinite(value)
    return seen


@njit(nogil=True, cache=True)
def _score(y: np.ndarray) -> int:
    """Number of rising pairs minus number of falling pairs."""
    s = 0
    for i in range(y.size):
        later, now = y[i + 1 :], y[i]
        for k in range(later.size):
            s += (later[k] > now) - (later[k] < now)
    return s


@njit(nogil=True, cache=True)
def _slopes(t: np.ndarray, y: np.ndarray, slopes: np.ndarray) -> int:
    """Compute all pairwise slopes of one pixel per year, from times in days; return their number."""
    pairs = 0
    year = y.dtype.type(DAYS_PER_YEAR)
    for i in range(y.size - 1):
        later_t, later_y, now_t, now_y = t[i + 1 :], y[i + 1 :], t[i], y[i]
        row = slopes[pairs : pairs + later_y.size]
        for k in range(row.size):
            row[k] = (later_y[k] - now_y) / (later_t[k] - now_t) * year
        pairs += row.size
    return pairs


@njit(nogil=True, cache=True)
def _select(values: np.ndarray, k: int, low: int, high: int) -> None:
    """Put the k-th smallest of values[low:high + 1] in place, smaller ones before it, larger ones after (Hoare)."""
    while low < high:
        middle = (low + high) // 2
        pivot = max(min(values[low], values[high]), min(max(values[low], values[high]), values[middle]))
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            return


@njit(nogil=True, cache=True)
def _ranked(values: np.ndarray, first: int, last: int, work: np.ndarray) -> float:
    """Mean of the order statistics `first` and `last`, which are the same or neighbours; `values` are not changed.

    A sample brackets the requested ranks; one pass without branches copies the values in the bracket and counts those
    below it; this is repeated until few values are left to select from. The count makes the result exact: if a bracket
    misses the ranks, the selection is made from all values.
    """
    sample = np.empty(RANK_SAMPLE, values.dtype)
    source, size, skipped = values, values.size, 0
    while size > 2 * RANK_SAMPLE:
        step = size // RANK_SAMPLE
        for i in range(RANK_SAMPLE):
            sample[i] = source[i * step]
        rank = (first - skipped) * RANK_SAMPLE // size
        down, up = max(rank - SAMPLE_MARGIN, 0), min(rank + SAMPLE_MARGIN, RANK_SAMPLE - 1)
        _select(sample, down, 0, RANK_SAMPLE - 1)
        _select(sample, up, down, RANK_SAMPLE - 1)
        low = sample[down] if rank > SAMPLE_MARGIN else -np.inf
        high = sample[up] if rank + SAMPLE_MARGIN < RANK_SAMPLE else np.inf
        below, copied = _copy_between(source[:size], low, high, work)
        if not below <= first - skipped <= last - skipped < below + copied:
            source, size, skipped = values, values.size, 0
            break
        stuck = 2 * copied > size
        source, size, skipped = work, copied, skipped + below
        if stuck:
            break
    if size == values.size:
        work[:size] = values
    _select(work, first - skipped, 0, size - 1)
    value = work[first - skipped]
    if last == first:
        return float(value)
    beyond = work[last - skipped]
    for i in range(last - skipped, size):
        beyond = min(beyond, work[i])
    return float(value + (beyond - value) / 2)


@njit(nogil=True, cache=True)
def _copy_between(values: np.ndarray, low: float, high: float, work: np.ndarray) -> tuple[int, int]:
    """Copy the values from low to high into work; return how many are below, and how many were copied."""
    below, copied = 0, 0
    for i in range(values.size):
        value = values[i]
        work[copied] = value
        copied += (value >= low) & (value <= high)
        below += value < low
    return below, copied


@njit(nogil=True, cache=True)
def _middle(values: np.ndarray, work: np.ndarray) -> float:
    return _ranked(values, (values.size - 1) // 2, values.size // 2, work)


@njit(nogil=True, cache=True)
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


@njit(nogil=True, cache=True)
def _limit_ranks(pairs: int, variance: float) -> tuple[int, int]:
    """Ranks of the sorted slopes that bound the slope at 95 %; outside 0 .. pairs - 1 there is no bound."""
    half_width = Z95 * math.sqrt(variance)
    return round((pairs - half_width) / 2) - 1, round((pairs + half_width) / 2)


@njit(nogil=True, cache=True)
def _two_sided(s: float, variance: float) -> float:
    """Two-sided p of a score, continuity-corrected."""
    if s == 0:
        return 1.0
    return math.erfc((abs(s) - 1) / math.sqrt(2 * variance))


@njit(nogil=True, cache=True)
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
    same = 16 * np.finfo(y.dtype).eps * largest
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
