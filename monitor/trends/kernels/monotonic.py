"""Theil-Sen slope and Mann-Kendall test of every pixel.

All functions take times ``t`` of shape (n,), strictly ascending, in years of 365.25 days, and values
``y`` of shape (n, pixels), float32 or float64. A value that is not finite was not seen and is left out
of its pixel alone. Arithmetic is in the type of ``y``; counts and tests are exact.

Two ways to the median of the slopes between all pairs. Up to :data:`NETWORK_DATES` dates (yearly values) a
sorting network runs over a tile of pixels: no branches, so the processor's vector units do the work,
gaps included. Beyond that each pixel's slopes are narrowed to a small bracket round the wanted ranks.
"""

import math
from functools import cache
from typing import Final

import numpy as np
from numba import njit

STATISTICS: Final = ("slope", "slope_low", "slope_high", "tau", "s", "p", "p_hamed_rao", "n")
"""Rows of the result of :func:`monotonic`, in order."""

NETWORK_DATES: Final = 16
"""Most dates for which the sorting network is used: 120 slopes a pixel, a tile of which fits the first-level cache."""

NETWORK_TILE: Final = 64
"""Pixels side by side in the network; fewer leave the vector units idle, more leave the cache."""

RANK_SAMPLE: Final = 128
"""Slopes drawn to bracket a rank among many."""

SAMPLE_MARGIN: Final = 15
"""Places in the sample to either side of the wanted rank: it lies between them in all but 1 % of draws."""

DAYS_PER_YEAR: Final = 365.25
"""Days in a year."""

Z95: Final = 1.959963984540054
"""Two-sided 95 % point of the normal distribution: confidence limits, and significance of a lag."""

MIN_HAMED_RAO: Final = 10
"""Fewest values for which autocorrelation is estimated at all."""


def slope_and_score(t: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Theil-Sen slope [1]_ and Mann-Kendall score S [2]_, without limits or tests.

    Parameters
    ----------
    t : (n,) array
        Time of each layer, strictly ascending. [year]
    y : (n, pixels) array
        Values, not finite where there was none.

    Returns
    -------
    slope, s : (pixels,) arrays
        Median of the slopes between all pairs, in units of `y` per year, and the number of pairs that rise
        less those that fall; NaN with fewer than two values.

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

    Parameters
    ----------
    t : (n,) array
        Time of each layer, strictly ascending. [year]
    y : (n, pixels) array
        Values, not finite where there was none.

    Returns
    -------
    (8, pixels) array
        The rows of :data:`STATISTICS`. ``n`` is always a number; all else is NaN with fewer than two values.
        Further NaN: a limit that so few values cannot bound (fewer than five, without ties), ``tau`` where
        all values are equal, ``p_hamed_rao`` with fewer than :data:`MIN_HAMED_RAO` values, without
        residuals to correlate, or where the corrected variance is not positive.

    Notes
    -----
    ``p`` is two-sided, from the normal approximation with corrections for ties and for continuity. The
    correction of Hamed and Rao takes the lags whose autocorrelation, of the ranks of the residuals from
    the Theil-Sen line, is significant at 5 %. Lags count observations, so it means most on even dates.

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
    """Find comparators (a, b), a < b, that sort the slopes of n dates, or bring only the two middle ones home.

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
    kept = []
    for a, b in reversed(comparators):
        if a in needed or b in needed:
            needed |= {a, b}
            kept.append((a, b))
    return np.array(kept[::-1], np.int64).reshape(-1, 2)


@njit(nogil=True, cache=True)
def _load_tile(y: np.ndarray, start: int, tile: np.ndarray) -> int:
    """Copy a tile of pixels, NaN where not seen and beyond the edge."""
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
    """Slopes between the dates that begin at a and b in a tile without gaps; scores are counted up."""
    one, zero = s.dtype.type(1), s.dtype.type(0)
    for lane in range(np.uint64(NETWORK_TILE)):
        rise = values[b + lane] - values[a + lane]
        slopes[row + lane] = rise * rate
        s[lane] += (one if rise > zero else zero) - (one if rise < zero else zero)


@njit(nogil=True, cache=True)
def _rises_with_gaps(
    values: np.ndarray, a: np.uint64, b: np.uint64, rate: float, slopes: np.ndarray, row: np.uint64, s: np.ndarray,
    fill: np.ndarray,
) -> None:  # fmt: skip
    """The same of a tile with gaps.

    A missing slope is taken as plus and minus infinity in turn, so that the median of what remains stays in the
    middle rows: with k missing, k // 2 lie below.
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
    """Slopes between all pairs, sorted by the network as far as it goes, and the scores; whether there are gaps."""
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
                found = seen * (seen - 1) // 2
                below = (pairs - found) // 2
                low, high = slopes[below + (found - 1) // 2, lane], slopes[below + found // 2, lane]
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
            found = seen * (seen - 1) // 2
            below = (pairs - found) // 2
            low, high = slopes[below + (found - 1) // 2, lane], slopes[below + found // 2, lane]
            column[0] = low + (high - low) / 2
            variance, tied = _ties(seen_y[:seen], order)
            first, last = _limit_ranks(found, variance)
            if first >= 0:
                column[1] = slopes[below + first, lane]
            if last < found:
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
            found = _slopes(seen_t[:seen], seen_y[:seen], slopes)
            slope[pixel] = _middle(slopes[:found], work)
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
        found = _slopes(seen_t[:seen], values, slopes)
        column[0] = _middle(slopes[:found], work)
        variance, tied = _ties(values, order)
        first, last = _limit_ranks(found, variance)
        if first >= 0:
            column[1] = _ranked(slopes[:found], first, first, work)
        if last < found:
            column[2] = _ranked(slopes[:found], last, last, work)
        _test(seen_t[:seen] / DAYS_PER_YEAR, values, float(_score(values)), variance, tied, residual, column)


@njit(nogil=True, cache=True)
def _days(t: np.ndarray) -> np.ndarray:
    """Days from the middle of the record: whole days are exact in single precision, fractions of years are not."""
    days: np.ndarray = (t - (t[0] + t[-1]) / 2) * DAYS_PER_YEAR
    return days


@njit(nogil=True, cache=True)
def _seen(t: np.ndarray, y: np.ndarray, pixel: int, seen_t: np.ndarray, seen_y: np.ndarray) -> int:
    """Bring what was seen of one pixel to the front; how many values."""
    seen = 0
    for i in range(t.size):
        value = y[i, pixel]
        seen_t[seen] = t[i]
        seen_y[seen] = value
        seen += np.isfinite(value)
    return seen


@njit(nogil=True, cache=True)
def _score(y: np.ndarray) -> int:
    """Pairs that rise less pairs that fall."""
    s = 0
    for i in range(y.size):
        later, now = y[i + 1 :], y[i]
        for k in range(later.size):
            s += (later[k] > now) - (later[k] < now)
    return s


@njit(nogil=True, cache=True)
def _slopes(t: np.ndarray, y: np.ndarray, slopes: np.ndarray) -> int:
    """All pairwise slopes of one pixel per year, from times in days; how many."""
    found = 0
    year = y.dtype.type(DAYS_PER_YEAR)
    for i in range(y.size - 1):
        later_t, later_y, now_t, now_y = t[i + 1 :], y[i + 1 :], t[i], y[i]
        row = slopes[found : found + later_y.size]
        for k in range(row.size):
            row[k] = (later_y[k] - now_y) / (later_t[k] - now_t) * year
        found += row.size
    return found


@njit(nogil=True, cache=True)
def _select(values: np.ndarray, k: int, low: int, high: int) -> None:
    """Put the k-th smallest of values[low:high + 1] in place, smaller ones before it, larger after (Hoare)."""
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
    """Mean of the order statistics `first` and `last`, which are the same or neighbours; `values` stay as they are.

    A sample brackets the wanted ranks; one pass without branches keeps what lies in the bracket and counts what
    lies below; and again on what was kept, until few are left to select from. The count makes the answer exact:
    a bracket that missed is seen, and then all values are selected from.
    """
    sample = np.empty(RANK_SAMPLE, values.dtype)
    source, size, skipped = values, values.size, 0
    while size > 2 * RANK_SAMPLE:
        step = size // RANK_SAMPLE
        for i in range(RANK_SAMPLE):
            sample[i] = source[i * step]
        place = (first - skipped) * RANK_SAMPLE // size
        down, up = max(place - SAMPLE_MARGIN, 0), min(place + SAMPLE_MARGIN, RANK_SAMPLE - 1)
        _select(sample, down, 0, RANK_SAMPLE - 1)
        _select(sample, up, down, RANK_SAMPLE - 1)
        low = sample[down] if place > SAMPLE_MARGIN else -np.inf
        high = sample[up] if place + SAMPLE_MARGIN < RANK_SAMPLE else np.inf
        below, kept = _kept(source[:size], low, high, work)
        if not below <= first - skipped <= last - skipped < below + kept:
            source, size, skipped = values, values.size, 0
            break
        stuck = 2 * kept > size
        source, size, skipped = work, kept, skipped + below
        if stuck:
            break
    if size == values.size:
        work[:size] = values
    _select(work, first - skipped, 0, size - 1)
    found = work[first - skipped]
    if last == first:
        return float(found)
    beyond = work[last - skipped]
    for i in range(last - skipped, size):
        beyond = min(beyond, work[i])
    return float(found + (beyond - found) / 2)


@njit(nogil=True, cache=True)
def _kept(values: np.ndarray, low: float, high: float, work: np.ndarray) -> tuple[int, int]:
    """Copy values from low to high into work; how many lie below, how many were kept."""
    below, kept = 0, 0
    for i in range(values.size):
        value = values[i]
        work[kept] = value
        kept += (value >= low) & (value <= high)
        below += value < low
    return below, kept


@njit(nogil=True, cache=True)
def _middle(values: np.ndarray, work: np.ndarray) -> float:
    return _ranked(values, (values.size - 1) // 2, values.size // 2, work)


@njit(nogil=True, cache=True)
def _ties(y: np.ndarray, order: np.ndarray) -> tuple[float, int]:
    """Variance of S under no trend, less what ties take from it, and the number of tied pairs."""
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
def _limit_ranks(found: int, variance: float) -> tuple[int, int]:
    """Ranks of the sorted slopes that bound the slope at 95 %; outside 0 .. found - 1 there is no bound."""
    half_width = Z95 * math.sqrt(variance)
    return round((found - half_width) / 2) - 1, round((found + half_width) / 2)


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
    """Fill in tau-b, S, p and the p of Hamed and Rao."""
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
    """Factor of the variance of S for autocorrelation; NaN where the line leaves nothing but rounding.

    The slope is often that of one pair, whose two residuals are then equal: residuals that differ by no more
    than rounding share a rank, so that the answer does not hang on the last bit.
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
