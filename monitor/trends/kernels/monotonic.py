"""Theil-Sen slope and Mann-Kendall test of every pixel.

All functions take times ``t`` of shape (n,), strictly ascending, in years of 365.25 days, and values
``y`` of shape (n, pixels), float32 or float64. A value that is not finite was not seen and is left out
of its pixel alone. Arithmetic is in the type of ``y``; counts and tests are exact.

Two ways to the median of the slopes between all pairs. Up to :data:`FEW` dates (yearly values) a
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

FEW: Final = 16
"""Most dates for which the sorting network is used: 120 slopes a pixel, a tile of which fits the first-level cache."""

TILE: Final = 64
"""Pixels side by side in the network; fewer leave the vector units idle, more leave the cache."""

Z95: Final = 1.959963984540054
"""Two-sided 95 % point of the normal distribution: confidence limits, and significance of a lag."""

HAMED_RAO_FROM: Final = 10
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
    if 2 <= n <= FEW:
        _slope_few(t, y, _network(n, whole=False), slope, s)
    elif n > FEW:
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
        Further NaN: a limit that so few values can not bound (fewer than five, without ties), ``tau`` where
        all values are equal, ``p_hamed_rao`` with fewer than :data:`HAMED_RAO_FROM` values, without
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
    if 2 <= n <= FEW:
        _monotonic_few(t, y, _network(n, whole=True), out)
    elif n > FEW:
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
    width = min(TILE, pixels - start)
    for i in range(n):
        for lane in range(TILE):
            tile[i, lane] = np.nan
        for lane in range(width):
            value = y[i, start + lane]
            tile[i, lane] = value if np.isfinite(value) else np.nan
    return width


@njit(nogil=True, cache=True)
def _sorted_slopes(
    t: np.ndarray, tile: np.ndarray, network: np.ndarray, slopes: np.ndarray, fill: np.ndarray, s: np.ndarray
) -> None:
    """Slopes between all pairs, sorted by the network as far as it goes, and the scores.

    A missing slope is taken as plus and minus infinity in turn, so that the median of what remains stays
    in the middle rows: with k missing, k // 2 lie below.
    """
    one, zero = tile.dtype.type(1), tile.dtype.type(0)
    for lane in range(TILE):
        fill[lane] = np.inf
        s[lane] = zero
    row = 0
    for i in range(t.size):
        for j in range(i + 1, t.size):
            rate = tile.dtype.type(1 / (t[j] - t[i]))
            for lane in range(TILE):
                rise = tile[j, lane] - tile[i, lane]
                seen = rise == rise
                slopes[row, lane] = rise * rate if seen else fill[lane]
                fill[lane] = fill[lane] if seen else -fill[lane]
                s[lane] += (one if rise > zero else zero) - (one if rise < zero else zero)
            row += 1
    for c in range(network.shape[0]):
        a, b = network[c]
        for lane in range(TILE):
            first, second = slopes[a, lane], slopes[b, lane]
            slopes[a, lane] = first if first < second else second
            slopes[b, lane] = second if first < second else first


@njit(nogil=True, cache=True)
def _slope_few(t: np.ndarray, y: np.ndarray, network: np.ndarray, slope: np.ndarray, s: np.ndarray) -> None:
    n, pixels = y.shape
    pairs = n * (n - 1) // 2
    tile = np.empty((n, TILE), y.dtype)
    slopes = np.empty((pairs, TILE), y.dtype)
    fill = np.empty(TILE, y.dtype)
    score = np.empty(TILE, y.dtype)
    half = y.dtype.type(0.5)
    for start in range(0, pixels, TILE):
        width = _load_tile(y, start, tile)
        _sorted_slopes(t, tile, network, slopes, fill, score)
        for lane in range(width):
            seen = 0
            for i in range(n):
                seen += tile[i, lane] == tile[i, lane]
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
    tile = np.empty((n, TILE), y.dtype)
    slopes = np.empty((pairs, TILE), y.dtype)
    fill = np.empty(TILE, y.dtype)
    score = np.empty(TILE, y.dtype)
    seen_t, seen_y, residual = np.empty(n), np.empty(n, y.dtype), np.empty(n)
    order = np.empty(n)
    for start in range(0, pixels, TILE):
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
        for j in range(i + 1, y.size):
            s += (y[j] > y[i]) - (y[j] < y[i])
    return s


@njit(nogil=True, cache=True)
def _slopes(t: np.ndarray, y: np.ndarray, slopes: np.ndarray) -> int:
    """All pairwise slopes of one pixel; how many."""
    found = 0
    for i in range(y.size):
        for j in range(i + 1, y.size):
            slopes[found] = (y[j] - y[i]) / (t[j] - t[i])
            found += 1
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
def _median(values: np.ndarray, size: int) -> float:
    """Middle of values[:size], which is left partitioned about it."""
    k = size // 2
    _select(values, k, 0, size - 1)
    if size % 2:
        return values[k]
    below = values[0]
    for i in range(1, k):
        below = max(below, values[i])
    return below + (values[k] - below) / 2


@njit(nogil=True, cache=True)
def _slope_many(t: np.ndarray, y: np.ndarray, slope: np.ndarray, s: np.ndarray) -> None:
    n, pixels = y.shape
    seen_t, seen_y = np.empty(n + 1, y.dtype), np.empty(n + 1, y.dtype)
    slopes = np.empty(n * (n - 1) // 2, y.dtype)
    for pixel in range(pixels):
        seen = _seen(t, y, pixel, seen_t, seen_y)
        if seen >= 2:
            found = _slopes(seen_t[:seen], seen_y[:seen], slopes)
            slope[pixel] = _median(slopes, found)
            s[pixel] = _score(seen_y[:seen])


@njit(nogil=True, cache=True)
def _monotonic_many(t: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
    n, pixels = y.shape
    seen_t, seen_y = np.empty(n + 1, y.dtype), np.empty(n + 1, y.dtype)
    slopes = np.empty(n * (n - 1) // 2, y.dtype)
    residual, order = np.empty(n), np.empty(n)
    for pixel in range(pixels):
        seen = _seen(t, y, pixel, seen_t, seen_y)
        column = out[:, pixel]
        column[7] = seen
        if seen < 2:
            continue
        values = seen_y[:seen]
        found = _slopes(seen_t[:seen], values, slopes)
        column[0] = _median(slopes, found)
        variance, tied = _ties(values, order)
        first, last = _limit_ranks(found, variance)
        if first >= 0:
            _select(slopes, first, 0, found // 2)
            column[1] = slopes[first]
        if last < found:
            _select(slopes, last, found // 2, found - 1)
            column[2] = slopes[last]
        _test(seen_t[:seen], values, float(_score(values)), variance, tied, residual, column)


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
    if n >= HAMED_RAO_FROM:
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
