"""The control's growing season: its normal course, this year's rain, and whether it peaks in the season (numba)."""

import math
from typing import NamedTuple

import numpy as np

from monitor.verdict.kernels.constants import (
    LEARNT_SEASONS,
    RAIN_DAYS,
    RAIN_SEASONS,
    REFERENCE_SCENES,
    RIDGE,
    SEASON_SCENES,
    SOIL,
    WIDTHS,
)
from monitor.verdict.kernels.types import Array, SeasonState, Times, UsualSeason, inlined, kernel


class Reference(NamedTuple):
    """The control in a normal year: ``normal = offset + amplitude * shape(position)``."""

    pedestal: float  # cover outside the seasonal curve [cover fraction]
    bump: float  # height of the seasonal curve over the pedestal [cover fraction]
    peak: float  # position of the peak [day]
    width: float  # standard deviation of the curve [day]
    flat: bool  # whether the top of the curve is flat
    offset: float  # part of the cover that is no vegetation [cover fraction]
    amplitude: float  # vegetation cover at the peak [cover fraction]
    seasons: int  # seasons from which it was estimated; 0: the biome's default, and the normal level is unknown
    rain_sd: float  # standard deviation of the rain factor from year to year [1]


class _Curve(NamedTuple):
    """A fitted seasonal curve on a pedestal."""

    pedestal: float
    bump: float
    peak: float
    width: float
    flat: bool


@inlined
def _bump(position: float, peak: float, width: float, flat: bool) -> float:
    days = position - peak + 182.625  # into one year by steps, since % is slow
    while days < 0.0:
        days += 365.25
    while days >= 365.25:
        days -= 365.25
    u = ((days - 182.625) / width) ** 2
    return math.exp(-0.5 * (u * u if flat else u))


def _bumps() -> Array:
    """Round and flat curves of each of WIDTHS, (2, widths, 10, 74): [..., r, q] is 365 - 10 q - r days after the peak,
    so that the values for peaks ten days apart are adjacent.
    """
    away = (365 - np.arange(740).reshape(74, 10).T + 182.625) % 365.25 - 182.625
    u = (away / np.array(WIDTHS)[:, None, None]) ** 2
    return np.ascontiguousarray(np.exp(-0.5 * np.stack([u, u * u])))


_bump_of = _bumps()


@inlined
def _line(n: float, x: float, xx: float, y: float, xy: float, yy: float) -> tuple[float, float, float]:
    """Least squares of pedestal + bump by weighted sums of bump `x` and cover `y`: (sum of squares, pedestal, bump)."""
    det = n * xx - x * x
    bump = (n * xy - x * y) / det if det > 1e-12 else 0.0
    if bump < 0.0:
        bump = 0.0
    pedestal = (y - bump * x) / n
    square = yy - 2 * (pedestal * y + bump * xy) + pedestal**2 * n + 2 * pedestal * bump * x + bump**2 * xx
    return square, pedestal, bump


@inlined
def _penalised(square: float, peak: float, width: float, pedestal: float, usual: UsualSeason) -> float:
    """Cost of a curve: misfit over its noise, and penalties towards the biome's peak and width and the cover of soil.

    The last is that of a Cauchy prior: a wide season looks like a narrower one on a high pedestal where winter is not
    seen, yet evergreen ground has a high one.
    """
    doubt = ((peak - usual.peak) / 25) ** 2 + (math.log(width / usual.width) / 0.5) ** 2
    return square / 0.03**2 + doubt + 2.0 * math.log1p(((pedestal - 0.04) / SOIL) ** 2)


@inlined
def _best_of_grid(position: Array, cover: Array, usual: UsualSeason) -> _Curve:
    """Best curve of a grid of peaks ten days apart, all widths, round and flat."""
    n = position.size
    best = (np.inf, 0.0, 0.0)
    peak, width, flat = usual.peak, usual.width, False
    first, peaks = int(0.1 * usual.length), int(0.8 * usual.length / 10) + 1
    place = 365 + first - position
    ridge = (0.03 / 0.15) ** 2  # the pedestal is held weakly at .04
    known, y, yy = ridge, 0.04 * ridge, 0.04**2 * ridge
    for i in range(n):
        known, y, yy = known + 1.0, y + cover[i], yy + cover[i] * cover[i]
    x, xx, xy = np.empty(peaks), np.empty(peaks), np.empty(peaks)
    for try_flat in (False, True):
        for j in range(len(WIDTHS)):
            try_width = WIDTHS[j]
            x[:], xx[:], xy[:] = 0.0, 0.0, 0.0
            for i in range(n):  # all peaks side by side
                bumps, at = _bump_of[int(try_flat), j, place[i] % 10], place[i] // 10
                for k in range(peaks):
                    bump = bumps[at + k]
                    x[k] += bump
                    xx[k] += bump * bump
                    xy[k] += bump * cover[i]
            for k in range(peaks):
                try_peak = float(first + 10 * k)
                square, a, b = _line(known, x[k], xx[k], y, xy[k], yy)
                cost = _penalised(square, try_peak, try_width, a, usual)
                if cost < best[0]:
                    best = (cost, a, b)
                    peak, width, flat = try_peak, try_width, try_flat
    return _Curve(best[1], best[2], peak, width, flat)


@inlined
def _refined(position: Array, cover: Array, coarse: _Curve, usual: UsualSeason) -> _Curve:
    """Curve on a finer grid around a coarse one, with Huber weights from the coarse one's residuals."""
    n = position.size
    miss = np.empty(n)
    for i in range(n):
        fitted = coarse.bump * _bump(position[i], coarse.peak, coarse.width, coarse.flat)
        miss[i] = abs(cover[i] - coarse.pedestal - fitted)
    scale = max(1.4826 * np.median(miss), 0.01)
    weight = np.empty(n)
    for i in range(n):
        weight[i] = min(1.0, 2.0 * scale / miss[i]) if miss[i] > 0 else 1.0
    ridge = (0.03 / 0.15) ** 2
    best = (np.inf, 0.0, 0.0)
    peak, width = coarse.peak, coarse.width
    for stretch in (0.82, 0.9, 1.0, 1.11, 1.22):
        for shift in (-6.0, -3.0, 0.0, 3.0, 6.0):
            try_peak, try_width = coarse.peak + shift, coarse.width * stretch
            known, y, yy = ridge, 0.04 * ridge, 0.04**2 * ridge
            sx, sxx, sxy = 0.0, 0.0, 0.0
            for i in range(n):
                w, bump, c = weight[i], _bump(position[i], try_peak, try_width, coarse.flat), cover[i]
                known += w
                sx += w * bump
                sxx += w * bump * bump
                y += w * c
                sxy += w * bump * c
                yy += w * c * c
            square, a, b = _line(known, sx, sxx, y, sxy, yy)
            cost = _penalised(square, try_peak, try_width, a, usual)
            if cost < best[0]:
                best = (cost, a, b)
                peak, width = try_peak, try_width
    return _Curve(best[1], best[2], peak, width, coarse.flat)


@kernel
def fit_reference(position: Array, season: Array, cover: Array, usual: UsualSeason) -> Reference:
    """Fit the control's normal season robustly; the biome's default shape with too few scenes.

    Penalised weighted least squares: the curve is a bump, round (Gaussian) or flat-topped (super-Gaussian), on a
    pedestal; the best of a grid of peaks and widths, then once reweighted with Huber's weights [1]_ on a finer grid. A
    penalty towards the biome's peak and width makes a dozen scenes enough.

    Parameters
    ----------
    position, season : (n,) arrays of int, see :class:`Times`
    cover : (n,) array, cover of the control [cover fraction]
    usual : UsualSeason

    Returns
    -------
    Reference
        `seasons` is 0 where the scenes are too few.

    References
    ----------
    .. [1] P. J. Huber, "Robust estimation of a location parameter," Ann. Math. Stat., 1964,
       doi:10.1214/aoms/1177703732.
    """
    n = position.size
    default = Reference(0.04, 1.0, usual.peak, usual.width, False, 0.04, 1.0, 0, usual.rain_sd)
    if n < REFERENCE_SCENES:
        return default
    curve = _refined(position, cover, _best_of_grid(position, cover, usual), usual)
    pedestal, bump, peak, width, flat = curve.pedestal, curve.bump, curve.peak, curve.width, curve.flat
    offset = min(max(pedestal, 0.0), SOIL)
    amplitude = pedestal + bump - offset
    if amplitude < 0.02:
        pedestal, bump, peak, width, flat = 0.0, 0.02, usual.peak, usual.width, False
        offset, amplitude = curve.pedestal + curve.bump, 0.02

    # The seasons it rests on, and how they differ in rain.
    seasons, total, squares = 0, 0.0, 0.0
    i = 0
    while i < n:
        j, num, den = i, 0.0, RIDGE
        while j < n and season[j] == season[i]:
            part = pedestal + bump * _bump(position[j], peak, width, flat)
            num += (part - offset) * (cover[j] - part)
            den += (part - offset) ** 2
            j += 1
        if j - i >= SEASON_SCENES:
            seasons += 1
            total += num / den
            squares += (num / den) ** 2
        i = j
    if seasons == 0:
        return default
    spread = max(squares - total * total / seasons, 0.0)
    rain = math.sqrt((RAIN_SEASONS * usual.rain_sd**2 + spread) / (RAIN_SEASONS + seasons - 1))
    return Reference(pedestal, bump, peak, width, flat, offset, amplitude, seasons, rain)


@kernel
def reference_fits(times: Times, control: Array, start: int, usual: UsualSeason) -> Array:
    """Normal season of the control as it was known at each scene.

    Fitted once, from the scenes before the start, if they span :data:`LEARNT_SEASONS` seasons; otherwise refitted at
    the beginning of each season from all ended ones, until there are that many.

    Parameters
    ----------
    times : Times
    control : (n,) array, cover of the control [cover fraction]
    start : int, start of the work, days from 1970-01-01
    usual : UsualSeason

    Returns
    -------
    (m, 10) array
        One row a fit, at least one: index of the first scene for which it holds, then the values of :class:`Reference`
        in their order.
    """
    day, position, season = times.day, times.position, times.season
    n = day.size
    before = 0
    while before < n and day[before] < start:
        before += 1
    fits, m = np.empty((n + 1, 10)), 0
    for i in range(max(n, 1)):
        begins = i > before and season[i] != season[i - 1]
        if i > 0 and not begins:
            continue
        end = i if begins else before
        ref = fit_reference(position[:end], season[:end], control[:end], usual)
        fits[m, 0], fits[m, 1], fits[m, 2], fits[m, 3], fits[m, 4] = i, ref.pedestal, ref.bump, ref.peak, ref.width
        fits[m, 5], fits[m, 6], fits[m, 7] = 1.0 if ref.flat else 0.0, ref.offset, ref.amplitude
        fits[m, 8], fits[m, 9] = ref.seasons, ref.rain_sd
        m += 1
        if ref.seasons >= LEARNT_SEASONS:
            break
    return fits[:m].copy()


@kernel
def season_state(times: Times, control: Array, fits: Array) -> SeasonState:
    """Seasonal curve and rain at each scene, as the control shows them.

    New growth is expected above the curve's pedestal only: with the pedestal in its season, the drift of the difference
    would absorb what is missing of it, and theta be too high (1.08 to 1.19 of 1 without noise).

    Rain is the ridge regression of the control's departure from normal on its normal course, with exponential
    forgetting (:data:`RAIN_DAYS`); `season_rain` is the same over the season to date.

    Parameters
    ----------
    times : Times
    control : (n,) array, cover of the control [cover fraction]
    fits : (m, 10) array, see :func:`reference_fits`
    """
    day, position, season = times.day, times.position, times.season
    n = day.size
    s, rho, amplitude, whole = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    peak, seasons, spread = np.empty(n), np.empty(n, np.int64), np.empty(n)
    slope, bump = np.empty(n), np.empty(n)
    m, ref = 0, _reference(fits[0])
    num, den, num_all, den_all = 0.0, 0.0, 0.0, 0.0
    for i in range(n):
        if i > 0 and season[i] != season[i - 1]:
            num, den, num_all, den_all = 0.0, 0.0, 0.0, 0.0
        if m + 1 < fits.shape[0] and fits[m + 1, 0] == i:
            m += 1
            ref = _reference(fits[m])
        bump[i] = _bump(position[i], ref.peak, ref.width, ref.flat)
        part = ref.pedestal + ref.bump * bump[i]
        s[i] = _shape(ref, position[i])
        slope[i] = 0.5 * (_shape(ref, position[i] + 1) - _shape(ref, position[i] - 1))
        if ref.seasons == 0:
            rho[i], amplitude[i], whole[i] = 0.0, 0.0, 0.0
        else:
            if ref.amplitude <= 0.02:
                part = ref.offset + ref.amplitude * s[i]
            amplitude[i] = ref.amplitude
            keep = math.exp(-(day[i] - day[i - 1]) / RAIN_DAYS) if i > 0 else 0.0
            more, weight = ref.amplitude * s[i] * (control[i] - part), (ref.amplitude * s[i]) ** 2
            num, den = keep * num + more, keep * den + weight
            num_all, den_all = num_all + more, den_all + weight
            rho[i] = min(max(num / (den + RIDGE), -0.7), 1.0)
            whole[i] = min(max(num_all / (den_all + RIDGE), -0.7), 1.0)
        peak[i], seasons[i], spread[i] = ref.peak, ref.seasons, ref.rain_sd
    return SeasonState(s, rho, amplitude, peak, seasons, spread, whole, slope, bump)


@inlined
def _shape(ref: Reference, position: float) -> float:
    """Seasonal curve at a position, 0 to 1."""
    bump = _bump(position, ref.peak, ref.width, ref.flat)
    if ref.seasons == 0 or ref.amplitude <= 0.02:
        return bump
    return min(max((ref.pedestal + ref.bump * bump - ref.offset) / ref.amplitude, 0.0), 1.0)


@inlined
def _reference(row: Array) -> Reference:
    return Reference(row[1], row[2], row[3], row[4], row[5] != 0.0, row[6], row[7], int(row[8]), row[9])


class WaveTest(NamedTuple):
    """When a yearly wave counts as peaking outside the growing season."""

    farthest: float  # angle from the middle of the season that the peak must exceed by two standard errors [radian]
    spread: float  # smallest determinant of the scatter of cosine and sine, per scene squared [1]
    sure: float  # smallest height of the wave [standard errors]
    height: float  # smallest height of the wave [cover fraction]


@kernel
def peaks_outside(cosine: Array, sine: Array, control: Array, inside: Array, requested: Array, test: WaveTest) -> Array:
    """Whether a yearly wave through the scenes so far peaks outside the growing season beyond doubt.

    Least squares of mean, cosine and sine from running sums; standard errors of the wave's height and peak by
    propagation of the coefficients' covariance.

    Parameters
    ----------
    cosine, sine : (n,) arrays, of the angle of each day from the middle of the season
    control : (n,) array, cover of the control [cover fraction]
    inside, requested : (n,) bool arrays
        Whether a scene is within the season, and whether the answer is requested after it.
    test : WaveTest

    Returns
    -------
    (n,) bool array
        False where it was not requested.
    """
    out = np.zeros(control.size, np.bool_)
    c, s, y, cc, cs, ss, cy, sy, yy = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    n, n_within, within = 0.0, 0.0, 0.0
    for i in range(control.size):
        u, v, w = cosine[i], sine[i], control[i]
        n, c, s, y = n + 1.0, c + u, s + v, y + w
        cc, cs, ss, cy, sy, yy = cc + u * u, cs + v * u, ss + v * v, cy + w * u, sy + w * v, yy + w * w
        if inside[i]:
            n_within, within = n_within + 1.0, within + w
        if not requested[i]:
            continue
        a11, a12, a22 = cc - c * c / n, cs - s * c / n, ss - s * s / n
        b1, b2, rest = cy - y * c / n, sy - y * s / n, yy - y * y / n
        det = a11 * a22 - a12**2
        if not det > test.spread * n**2:
            continue
        a, b = (a22 * b1 - a12 * b2) / det, (a11 * b2 - a12 * b1) / det
        noise = max(rest - a * b1 - b * b2, 0.0) / (n - 3)
        height = max(math.hypot(a, b), 1e-300)
        error = math.sqrt(noise * max(a**2 * a22 - 2 * a * b * a12 + b**2 * a11, 0.0) / det) / height
        aside = math.sqrt(noise * max(b**2 * a22 + 2 * a * b * a12 + a**2 * a11, 0.0) / det) / height
        greener = (y - within) / max(n - n_within, 1.0) > within / max(n_within, 1.0)
        away = abs(math.atan2(b, a)) - 2 * aside / height
        out[i] = greener and height > max(test.sure * error, test.height) and away > test.farthest
    return out


@kernel
def controls_so_far(
    edge: Array, cosine: Array, sine: Array, control: Array, inside: Array, requested: Array, farthest: Array,
    test: WaveTest,
) -> tuple[Array, Array]:  # fmt: skip
    """:func:`peaks_outside` for several sites, and the range of the control's cover so far.

    Parameters
    ----------
    edge : (site + 1,) array of int, scenes of site k are those from ``edge[k]`` up to ``edge[k + 1]``
    cosine, sine, control, inside, requested : (n,) arrays, see :func:`peaks_outside`
    farthest : (site,) array, `farthest` of the test of each site [radian]
    test : WaveTest, all else

    Returns
    -------
    outside, spread : (n,) arrays
        The range. [cover fraction]
    """
    outside, spread = np.zeros(control.size, np.bool_), np.zeros(control.size)
    for k in range(edge.size - 1):
        a, b = edge[k], edge[k + 1]
        own = WaveTest(farthest[k], test.spread, test.sure, test.height)
        outside[a:b] = peaks_outside(cosine[a:b], sine[a:b], control[a:b], inside[a:b], requested[a:b], own)
        low, high = np.inf, -np.inf
        for i in range(a, b):
            low, high = min(low, control[i]), max(high, control[i])
            spread[i] = high - low
    return outside, spread
