"""The arithmetic of the verdict, on plain arrays of one site's usable scenes in ascending order.

Everything is causal: what is written for scene i uses scenes up to i alone, so that a verdict drawn
later for an earlier date is, bit for bit, the verdict of that date. What is learnt of the control's
season comes from before the start; where there is too little of that, from finished seasons only.

Conventions: `day` counts days from 1970; `position` is the day within the window's year, from 1;
`season` is the year in which the window opened. Cover is a fraction.

All kernels stand in this one file because numba's cache notices a change of the caller's file alone
(numba 0.68): split, an edited callee would go on running in its old form.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, cast

import numpy as np
from numba import njit

type Array = np.ndarray


def kernel[F: Callable[..., object]](function: F) -> F:
    """Compile for plain arrays, once a machine; the interpreter lock is released while it runs."""
    return cast(F, njit(nogil=True, cache=True)(function))


LAGS = 3
"""Plans followed side by side: as written, half a year later, a year later."""
LOSSES = 3
"""Sudden losses whose size is followed to the end."""
BANK = 8
"""Dates of onset tried at any time, a new one every fifteen days: 120 days, most of a growing season. What has not
shown by then is mostly drift."""
ONSET_DAYS = 15
DROP = -0.08
"""Size of loss tried. Smaller ones drown, larger ones are found by it too; to try several beside it lets drift pass for
one of them, and at the same rate of false alarms finds less. [cover fraction]"""
CONFIRM_DAYS = 15
"""A loss is confirmed by three consecutive scenes of one season that span so many days: haze passes sooner, and
the first greenness of spring comes unevenly."""
WEIGHED_DAYS = 365
"""A confirmed loss is weighed for so long at most, from its onset; where scenes are many, until the bank is full."""
LOWER = 0.01
"""A loss is confirmed only where the site stands so much lower over its control than a year before at the same time of
the season: what greens later than its control lacks something every spring, without any loss. More would hide losses
from stands that grow fast. [cover fraction]"""
SAME_TIME = 15
"""Scenes of the year before that are at most so far from the same day count as seen at the same time. [day]"""
DOUBT_MOST = 9.0
"""Largest growth of a scene's variance as an outlier in the search for sudden losses: after a large loss every scene
looks like one, and would otherwise be believed the less the larger the loss."""
CALM = 0.8
"""A site's own drift, as a multiple of the usual, up to which it is calm: half of simulated sites are whose drift is
forgotten within a year. The search for sudden losses allows for what a site drifts beyond it."""
SEARCH_MEAN, SEARCH_SD = 0.9, 0.6
"""What is believed of theta in the search for sudden losses."""
FAILED = ((-0.4, 0.1), (-0.2, 0.15), (0.0, 0.4), (0.1, 0.2), (0.2, 0.15))
"""What a failed site's theta may be, and its weight."""
ELASTICITY_THETA = 1.5
"""Largest theta through which rain is taken to act on the uplift."""
RIDGE = 0.006
"""Keeps the rain of a season's first scenes near normal. [cover fraction squared]"""
SOIL = 0.05
"""Most of the control's cover that may be a constant offset and no vegetation. [cover fraction]"""
WIDTHS = (20.0, 30.0, 45.0, 65.0, 95.0)
"""Widths tried for a season. [day]"""
REFERENCE_SCENES = 5
"""Fewest scenes from which a season's shape is learnt."""
SEASON_SCENES = 3
"""Fewest scenes that make a season count as seen."""
RAIN_DAYS = 20.0
"""How long a scene of the control speaks for the state of the season: long enough to average the noise of a scene,
short enough to follow an early spring or a dry July. Judged by the season to date instead, theta of a site on plan errs
a tenth more, and false losses double."""
RAIN_SEASONS = 1.5
"""Seasons for which the usual spread of the rain counts, against those that the control has shown."""
LEARNT_SEASONS = 8
"""Seasons of the control that are enough to know a normal one. With fewer before the start, the control's later ones
are added as they end: it was not worked on, and one season alone leaves theta a fifth uncertain by its rain, six still
a tenth where rain varies as much as in the driest places."""
SEASONS_TO_CALL_DRY = 5
"""Seasons learnt from which on a dry one can be told: a normal of two is itself uncertain by an eighth."""
GROWN = (0.5, 0.75, 1.0, 1.25, 1.5)
"""What theta may be where the work has had an effect, equally likely."""
OWN = (-2.4, -2.0, -1.6, -1.2, -0.8, -0.4, 0.0, 0.4, 0.8, 1.2, 1.6, 2.0, 2.4)
"""Factors tried for a site's own noise: their logarithm's distance from 0, in standard deviations of it."""
NORMAL_95 = 1.959964
LEAST_FREE = 0.3
"""Where the gain is all but unknown, the interval of theta would have no end."""
SHARE = (1.0, 0.9, 0.8)
"""Plans as written, a tenth and a fifth smaller."""


class Noise(NamedTuple):
    """Standard deviations and memories of the difference between site and control; see ``Calibration``."""

    baseline: float
    harmonic: float
    slow: float
    slow_days: float
    fast: float
    fast_days: float
    year: float
    year_memory: float
    elasticity: float
    huber: float
    own_wander: float
    """How much sites differ in their wandering parts; standard deviation of a logarithm. 0: not at all."""
    own_scene: float
    """The same of the noise of a scene."""


class Prior(NamedTuple):
    """What is believed before a scene is seen, and what is judged."""

    mean: float
    """Of theta; of the change of cover where nothing was promised."""
    sd: float
    loss: float
    """Standard deviation of a sudden loss. [cover fraction]"""
    plan_weight: float
    thresholds: tuple[float, float, float, float]
    """Of theta (or of the change), below which a probability is wanted."""
    rain_sd: float
    widening: float = 1.0
    """By how much the standard deviation of theta is widened."""
    gain_sd: float = 0.0
    """How far an uplift may be seen too large or too small whatever the rain, as a share of it."""


class Reference(NamedTuple):
    """What the control does in a normal year: ``normal = offset + amplitude * shape(position)``."""

    pedestal: float
    bump: float
    peak: float
    width: float
    flat: bool
    offset: float
    amplitude: float
    seasons: int
    """Seasons it was learnt from; 0: the biome's default, and the normal level is unknown."""
    rain_sd: float


@kernel
def _bump(position: float, peak: float, width: float, flat: bool) -> float:
    days = position - peak + 182.625  # into one year by steps, since % is slow
    while days < 0.0:
        days += 365.25
    while days >= 365.25:
        days -= 365.25
    u = ((days - 182.625) / width) ** 2
    return math.exp(-0.5 * (u * u if flat else u))


def _bumps() -> Array:
    """Round and flat bumps of each of WIDTHS, (2, widths, 10, 74): [..., r, q] is 365 - 10 q - r days after the peak,
    so that the values for peaks ten days apart lie side by side.
    """
    away = (365 - np.arange(740).reshape(74, 10).T + 182.625) % 365.25 - 182.625
    u = (away / np.array(WIDTHS)[:, None, None]) ** 2
    return np.ascontiguousarray(np.exp(-0.5 * np.stack([u, u * u])))


_bump_of = _bumps()


@kernel
def _line(n: float, x: float, xx: float, y: float, xy: float, yy: float) -> tuple[float, float, float]:
    """Least squares of pedestal + bump by weighted sums of bump `x` and cover `y`: (sum of squares, pedestal, bump)."""
    det = n * xx - x * x
    bump = (n * xy - x * y) / det if det > 1e-12 else 0.0
    if bump < 0.0:
        bump = 0.0
    pedestal = (y - bump * x) / n
    square = yy - 2 * (pedestal * y + bump * xy) + pedestal**2 * n + 2 * pedestal * bump * x + bump**2 * xx
    return square, pedestal, bump


@kernel
def fit_reference(
    position: Array, season: Array, cover: Array, length: float, peak0: float, width0: float, rain_sd: float
) -> Reference:
    """Fit the control's season to (n,) scenes, robustly; the biome's default shape where they are too few.

    The shape is a bump, round or flat-topped, on a pedestal: the best of a grid, drawn gently to the
    biome's peak and width so that a dozen scenes are enough.
    """
    n = position.size
    default = Reference(0.04, 1.0, peak0, width0, False, 0.04, 1.0, 0, rain_sd)
    if n < REFERENCE_SCENES:
        return default
    best = (np.inf, 0.0, 0.0)
    peak, width, flat = peak0, width0, False
    first, peaks = int(0.1 * length), int(0.8 * length / 10) + 1
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
                doubt = ((try_peak - peak0) / 25) ** 2 + (math.log(try_width / width0) / 0.5) ** 2
                cost = square / 0.03**2 + doubt
                if cost < best[0]:
                    best = (cost, a, b)
                    peak, width, flat = try_peak, try_width, try_flat
    miss = np.empty(n)
    for i in range(n):
        miss[i] = abs(cover[i] - best[1] - best[2] * _bump(position[i], peak, width, flat))
    scale = max(1.4826 * np.median(miss), 0.01)
    weight = np.empty(n)
    for i in range(n):
        weight[i] = min(1.0, 2.0 * scale / miss[i]) if miss[i] > 0 else 1.0
    best = (np.inf, 0.0, 0.0)
    coarse_peak, coarse_width = peak, width
    for stretch in (0.82, 0.9, 1.0, 1.11, 1.22):
        for shift in (-6.0, -3.0, 0.0, 3.0, 6.0):
            try_peak, try_width = coarse_peak + shift, coarse_width * stretch
            known, y, yy = ridge, 0.04 * ridge, 0.04**2 * ridge
            sx, sxx, sxy = 0.0, 0.0, 0.0
            for i in range(n):
                w, bump, c = weight[i], _bump(position[i], try_peak, try_width, flat), cover[i]
                known += w
                sx += w * bump
                sxx += w * bump * bump
                y += w * c
                sxy += w * bump * c
                yy += w * c * c
            square, a, b = _line(known, sx, sxx, y, sxy, yy)
            doubt = ((try_peak - peak0) / 25) ** 2 + (math.log(try_width / width0) / 0.5) ** 2
            cost = square / 0.03**2 + doubt
            if cost < best[0]:
                best = (cost, a, b)
                peak, width = try_peak, try_width
    pedestal, bump = best[1], best[2]
    offset = min(max(pedestal, 0.0), SOIL)
    amplitude = pedestal + bump - offset
    if amplitude < 0.02:
        pedestal, bump, peak, width, flat, offset, amplitude = 0.0, 0.02, peak0, width0, False, pedestal + bump, 0.02

    # Seasons it stands on, and how they differ in rain.
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
    rain = math.sqrt((RAIN_SEASONS * rain_sd**2 + spread) / (RAIN_SEASONS + seasons - 1))
    return Reference(pedestal, bump, peak, width, flat, offset, amplitude, seasons, rain)


@kernel
def references(
    position: Array, season: Array, day: Array, control: Array, start: int, length: float, peak0: float, width0: float,
    rain_sd: float,
) -> Array:  # fmt: skip
    """What a normal year was taken for, as it was learnt from (n,) scenes of the control.

    Parameters as for :func:`fit_reference`, and `day` and `start` in days from 1970.

    Returns
    -------
    (m, 10) array
        A row each time that it was learnt, one at least: the place of the scene from which on it was held, and the
        values of :class:`Reference` in their order.

    Notes
    -----
    Learnt once, from the scenes before the start, if they hold :data:`LEARNT_SEASONS`; else anew at the beginning of
    each season from all finished ones, until there are so many.
    """
    n = day.size
    before = 0
    while before < n and day[before] < start:
        before += 1
    found, m = np.empty((n + 1, 10)), 0
    for i in range(max(n, 1)):
        begins = i > before and season[i] != season[i - 1]
        if i > 0 and not begins:
            continue
        end = i if begins else before
        ref = fit_reference(position[:end], season[:end], control[:end], length, peak0, width0, rain_sd)
        found[m, 0], found[m, 1], found[m, 2], found[m, 3], found[m, 4] = i, ref.pedestal, ref.bump, ref.peak, ref.width
        found[m, 5], found[m, 6], found[m, 7] = 1.0 if ref.flat else 0.0, ref.offset, ref.amplitude
        found[m, 8], found[m, 9] = ref.seasons, ref.rain_sd
        m += 1
        if ref.seasons >= LEARNT_SEASONS:
            break
    return found[:m].copy()


@kernel
def season_and_rain(
    position: Array, season: Array, day: Array, control: Array, normal: Array
) -> tuple[Array, Array, Array, Array, Array, Array, Array]:
    """Shape of the season and rain of the season so far, as the control shows them.

    Parameters
    ----------
    position, season, day, control : (n,) arrays
        Of its scenes.
    normal : (m, 10) array
        Of :func:`references`.

    Returns
    -------
    s, rho, amplitude, peak, seasons, rain_sd, whole : (n,) arrays
        Shape, 0..1; growth above (> 0) or below normal of the last weeks, as a share, -.7..1; amplitude of the
        control's normal season; position of its peak; seasons learnt from; spread of the rain from year to year;
        growth above or below normal of the season to date.

    Notes
    -----
    Learnt once, from the scenes before the start, if they hold six seasons; else anew at the beginning of
    each season from all finished ones, until there are six.
    """
    n = day.size
    s, rho, amplitude, whole = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    peak, seasons, spread = np.empty(n), np.empty(n, np.int64), np.empty(n)
    m, ref = 0, _reference(normal[0])
    num, den, num_all, den_all = 0.0, 0.0, 0.0, 0.0
    for i in range(n):
        if i > 0 and season[i] != season[i - 1]:
            num, den, num_all, den_all = 0.0, 0.0, 0.0, 0.0
        if m + 1 < normal.shape[0] and normal[m + 1, 0] == i:
            m += 1
            ref = _reference(normal[m])
        part = ref.pedestal + ref.bump * _bump(position[i], ref.peak, ref.width, ref.flat)
        if ref.seasons == 0:
            s[i], rho[i] = _bump(position[i], ref.peak, ref.width, ref.flat), 0.0
            amplitude[i], whole[i] = 0.0, 0.0
        else:
            if ref.amplitude <= 0.02:
                s[i] = _bump(position[i], ref.peak, ref.width, ref.flat)
                part = ref.offset + ref.amplitude * s[i]
            else:
                s[i] = min(max((part - ref.offset) / ref.amplitude, 0.0), 1.0)
            amplitude[i] = ref.amplitude
            keep = math.exp(-(day[i] - day[i - 1]) / RAIN_DAYS) if i > 0 else 0.0
            more, weight = ref.amplitude * s[i] * (control[i] - part), (ref.amplitude * s[i]) ** 2
            num, den = keep * num + more, keep * den + weight
            num_all, den_all = num_all + more, den_all + weight
            rho[i] = min(max(num / (den + RIDGE), -0.7), 1.0)
            whole[i] = min(max(num_all / (den_all + RIDGE), -0.7), 1.0)
        peak[i], seasons[i], spread[i] = ref.peak, ref.seasons, ref.rain_sd
    return s, rho, amplitude, peak, seasons, spread, whole


@kernel
def _reference(row: Array) -> Reference:
    return Reference(row[1], row[2], row[3], row[4], row[5] != 0.0, row[6], row[7], int(row[8]), row[9])


@kernel
def peaks_outside(
    cosine: Array, sine: Array, control: Array, inside: Array, told: Array, farthest: float, spread: float,
    sure: float, least: float,
) -> Array:  # fmt: skip
    """Whether a yearly wave through the scenes so far peaks outside the window for sure, at the scenes that are asked.

    Parameters
    ----------
    cosine, sine : (n,) arrays
        Of the days, as angles from the middle of the window.
    control : (n,) array
        Cover of the control ground. [1]
    inside, told : (n,) arrays of bool
        Whether a scene lies in the window, and whether it is asked: False where not.
    farthest : float
        Angle that a peak must be beyond, by two standard errors.
    spread : float
        Least determinant of the scatter of cosine and sine, a scene squared.
    sure, least : float
        Height that a wave must have: in standard errors, and in cover.

    Returns
    -------
    (n,) array of bool
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
        if not told[i]:
            continue
        a11, a12, a22 = cc - c * c / n, cs - s * c / n, ss - s * s / n
        b1, b2, rest = cy - y * c / n, sy - y * s / n, yy - y * y / n
        det = a11 * a22 - a12**2
        if not det > spread * n**2:
            continue
        a, b = (a22 * b1 - a12 * b2) / det, (a11 * b2 - a12 * b1) / det
        noise = max(rest - a * b1 - b * b2, 0.0) / (n - 3)
        height = max(math.hypot(a, b), 1e-300)
        error = math.sqrt(noise * max(a**2 * a22 - 2 * a * b * a12 + b**2 * a11, 0.0) / det) / height
        aside = math.sqrt(noise * max(b**2 * a22 + 2 * a * b * a12 + a**2 * a11, 0.0) / det) / height
        greener = (y - within) / max(n - n_within, 1.0) > within / max(n_within, 1.0)
        away = abs(math.atan2(b, a)) - 2 * aside / height
        out[i] = greener and height > max(sure * error, least) and away > farthest
    return out


@kernel
def balance(
    season: Array, day: Array, difference: Array, s: Array, start: int, baseline_sd: float
) -> tuple[float, float, int]:
    """How well site and control agreed before the start: prior sd of their lasting difference, ratio, seasons.

    The prior grows with the difference found; the ratio is that of the spread of the seasons' means to .03, 1 at
    least: above it the control is called poor (what widens the interval is :func:`own_noise`). Without a season before
    the start nothing vouches for the control: twice the prior.
    """
    seasons, total, squares = 0, 0.0, 0.0
    i, n = 0, day.size
    while i < n and day[i] < start:
        j, num, den = i, 0.0, 0.0
        while j < n and season[j] == season[i] and day[j] < start:
            num += s[j] * difference[j]
            den += s[j] * s[j]
            j += 1
        if j - i >= SEASON_SCENES and den > 0:
            seasons += 1
            total += num / den
            squares += (num / den) ** 2
        i = j
    if seasons == 0:
        return 2 * baseline_sd, 1.0, 0
    mean = total / seasons
    spread = math.sqrt(max(squares - seasons * mean * mean, 0.0) / (seasons - 1)) if seasons > 1 else 0.0
    return max(baseline_sd, abs(mean)), max(1.0, spread / 0.03), seasons


@kernel
def _kept(days: int, seasons: int, noise: Noise) -> tuple[float, float, float]:
    """What is left of slow drift, fast drift and a season's own difference after so many days and season borders."""
    return math.exp(-days / noise.slow_days), math.exp(-days / noise.fast_days), noise.year_memory**seasons


@kernel
def _forward(x: Array, covariance: Array, columns: Array, kept: tuple[float, float, float], noise: Noise) -> None:
    """Carry state, covariance and the columns (M_j) on, of which so much is left (:func:`_kept`)."""
    for k, keep, sd in ((3, kept[0], noise.slow), (4, kept[1], noise.fast), (5, kept[2], noise.year)):
        if keep == 1.0:
            continue
        x[k] *= keep
        for j in range(columns.shape[0]):
            columns[j, k] *= keep
        for i in range(8):
            covariance[i, k] *= keep
            covariance[k, i] *= keep
        covariance[k, k] += (1.0 - keep * keep) * sd * sd


@kernel
def _start(noise: Noise, theta_mean: float, theta_sd: float) -> tuple[Array, Array]:
    """State and covariance before the first scene: baseline, two halves of a harmonic, slow and fast drift, a season's
    own difference, answer to rain; and theta, where it is one of them.
    """
    x, covariance = np.zeros(8), np.zeros((8, 8))
    sds = (
        noise.baseline, noise.harmonic, noise.harmonic, noise.slow, noise.fast, noise.year, noise.elasticity, theta_sd,
    )  # fmt: skip
    for k in range(8):
        covariance[k, k] = sds[k] ** 2
    x[7] = theta_mean
    return x, covariance


@kernel
def _project(covariance: Array, h: Array, out: Array) -> None:
    """`out` = P h. Rows of `covariance` are columns of P, here and below: so the inner loops run side by side."""
    for k in range(8):
        out[k] = 0.0
    for q in range(8):
        for k in range(8):
            out[k] += covariance[q, k] * h[q]


@kernel
def _learn(x: Array, covariance: Array, gain: Array, ph: Array, innovation: float) -> None:
    """Add K e to `x` and take K (P h)' from P."""
    for k in range(8):
        x[k] += gain[k] * innovation
    for q in range(8):
        for k in range(8):
            covariance[q, k] -= gain[k] * ph[q]


@kernel
def disturbance(
    day: Array, position: Array, season: Array, difference: Array, s: Array, rho: Array, amplitude: Array, curve: Array,
    noise_variance: Array, second: Array, start: int, noise: Noise, loss_sd: float, bar: float,
) -> tuple[Array, Array, Array, Array]:  # fmt: skip
    """Sudden losses: a bank of steps, one for each date on which the loss may have begun.

    Each date speaks for the days since the one before it: a loss may come on any day of the year, most of which lie
    outside the season, and what then happened shows at the season's first scenes.

    A confirmed loss goes on being weighed until the bank needs its place, so that it becomes surer as it goes on
    showing; until then no other is confirmed. Then it joins the baseline, and the search begins afresh.

    Parameters
    ----------
    curve : (n,) array
        Promised uplift at each scene. [cover fraction]
    second : (n,) array
        A second index, site minus control; NaN where there is none. It must have fallen too.
    bar : float
        Score that three consecutive scenes of a season must reach, over :data:`CONFIRM_DAYS` or more; and the site
        must stand lower than a year before, see :func:`_lower_than_a_year_before`.

    Returns
    -------
    score : (n,) array
        Log evidence for a loss at some recent date, were one a year to be expected; 0 where no date has been tried yet.
    alarm : (n,) array of bool
        A loss was confirmed at this scene.
    onset : (n,) array of int
        Scene at which the loss that is being weighed began, from its `alarm` on; -1 where there is none.
    denied : (n,) array of bool
        The score would have made an alarm; the second index did not fall.

    Notes
    -----
    The filter of no loss and, beside it, what a step would have changed: the generalised likelihood ratio [1]_, here
    with a fixed size of step.

    References
    ----------
    .. [1] A. S. Willsky and H. L. Jones, "A generalized likelihood ratio approach to the detection and estimation of
       jumps in linear systems," IEEE Trans. Autom. Control, 1976, doi:10.1109/TAC.1976.1101146.
    """
    n = day.size
    score, alarm, onset, denied = np.zeros(n), np.zeros(n, np.bool_), np.full(n, -1), np.zeros(n, np.bool_)
    x, cov = _start(noise, SEARCH_MEAN, SEARCH_SD)
    columns, gain, h, ph = np.zeros((BANK, 8)), np.zeros(8), np.zeros(8), np.zeros(8)
    b, c, first, years = np.zeros(BANK), np.zeros(BANK), np.full(BANK, -1), np.zeros(BANK)
    used, newest, run, since, weighed = 0, -(10**9), 0, 0, -1
    for i in range(n):
        if i > 0:
            _forward(x, cov, columns, _kept(day[i] - day[i - 1], season[i] - season[i - 1], noise), noise)
        due = day[i] >= start and day[i] - newest >= ONSET_DAYS
        if weighed >= 0 and ((due and used % BANK == weighed) or day[i] - day[first[weighed]] > WEIGHED_DAYS):
            _absorb(x, cov, columns[weighed], b[weighed], c[weighed], loss_sd)
            first[:] = -1  # and the search begins afresh
            used, newest, run, weighed, due = 0, -(10**9), 0, -1, True
        if due:
            slot = used % BANK
            columns[slot, :] = 0.0
            b[slot], c[slot], first[slot], years[slot] = 0.0, 0.0, i, min((day[i] - newest) / 365.25, 1.0)
            used, newest = used + 1, day[i]
        mu = s[i] * (1.0 + rho[i])
        angle = 2 * math.pi * position[i] / 365.25
        rain = min(max(x[7], 0.0), ELASTICITY_THETA) * curve[i]
        # Of the scene before: with the control's own noise in both, the answer to rain would be learnt from noise.
        before = rho[i - 1] if i > 0 and season[i] == season[i - 1] else 0.0
        h[0], h[1], h[2], h[3], h[4], h[5] = mu, math.cos(angle), math.sin(angle), 1.0, 1.0, s[i]
        h[6], h[7] = (amplitude[i] + rain) * s[i] * before, curve[i] * mu
        hph, e = 0.0, difference[i]
        _project(cov, h, ph)
        for k in range(8):
            hph += h[k] * ph[k]
            e -= h[k] * x[k]
        z2 = e * e / (hph + noise_variance[i])
        variance = hph + noise_variance[i] * min(max(1.0, z2 / noise.huber**2), DOUBT_MOST)
        for k in range(8):
            gain[k] = ph[k] / variance
        total, live, best, best_value = 0.0, 0, -1, -np.inf
        for j in range(BANK):
            if first[j] < 0:
                continue
            ej = mu
            for k in range(8):
                ej -= h[k] * columns[j, k]
            b[j] += e * ej / variance
            c[j] += ej * ej / variance
            for k in range(8):
                columns[j, k] += gain[k] * ej
            mine = years[j] * math.exp(min(DROP * b[j] - 0.5 * DROP * DROP * c[j], 500.0))
            live += 1
            total += mine
            if mine > best_value:
                best, best_value = j, mine
        _learn(x, cov, gain, ph, e)
        if live == 0:
            continue
        top = math.log(total)
        score[i] = top
        if top < bar or (run > 0 and season[i] != season[i - 1]):
            run = 0
        if top >= bar:
            run += 1
            if run == 1:
                since = day[i]
        if weighed >= 0:
            onset[i] = first[weighed]
            continue
        if run < 3 or day[i] - since < CONFIRM_DAYS or not _lower_than_a_year_before(day, difference, first[best], i):
            continue
        change, doubt = _change_of_second(second, day, first[best], i)
        if change >= -doubt:  # False where the second index was not seen
            denied[i] = True
            continue
        alarm[i], onset[i], weighed = True, first[best], best
    return score, alarm, onset, denied


@kernel
def _absorb(x: Array, cov: Array, column: Array, b: float, c: float, loss_sd: float) -> None:
    """Make a loss part of the baseline, exactly as if its date had been known."""
    spread = 1.0 / (c + 1.0 / loss_sd**2)
    size = spread * b
    shift = np.zeros(8)
    for k in range(8):
        shift[k] = (1.0 if k == 0 else 0.0) - column[k]
    for k in range(8):
        x[k] += size * shift[k]
        for q in range(8):
            cov[q, k] += spread * shift[k] * shift[q]
    # Whether what is left goes on growing as before is open again: else a stand that was lost whole, and no
    # longer grows with the plan, would look as if it were lost anew each season.
    cov[7, 7] += SEARCH_SD**2


@kernel
def _lower_than_a_year_before(day: Array, difference: Array, onset: int, now: int) -> bool:
    """Whether the site stands lower over its control since `onset` than a year before at the same time of the season.

    Each scene is compared with the mean of those a year before it, :data:`SAME_TIME` earlier or later at most; the mean
    of the changes must be a fall of :data:`LOWER`. True where nothing was seen at that time.
    """
    change, compared = 0.0, 0
    for i in range(onset, now + 1):
        total, seen = 0.0, 0
        for j in range(onset):
            if abs(day[i] - day[j] - 365) <= SAME_TIME:
                total += difference[j]
                seen += 1
        if seen > 0:
            change += difference[i] - total / seen
            compared += 1
    return compared == 0 or change / compared <= -LOWER


@kernel
def _change_of_second(second: Array, day: Array, onset: int, now: int) -> tuple[float, float]:
    """How much a second index changed, and the standard deviation of that; NaN where it was not seen.

    The last three scenes since the onset against the year before it.
    """
    total, squares, count = 0.0, 0.0, 0
    for i in range(onset):
        if day[onset] - day[i] <= 365 and not math.isnan(second[i]):
            total += second[i]
            squares += second[i] ** 2
            count += 1
    late, seen = 0.0, 0
    for i in range(max(onset, now - 2), now + 1):
        if not math.isnan(second[i]):
            late += second[i]
            seen += 1
    if count < 5 or seen == 0:
        return math.nan, math.nan
    mean = total / count
    variance = max(squares - count * mean * mean, 0.0) / (count - 1)
    return late / seen - mean, math.sqrt(variance * (1.0 / seen + 1.0 / count))


@kernel
def _conclude(
    b: Array, c: Array, lag: int, share: float, losses: int, curve: float, prior: Prior, room: Array
) -> tuple[float, float, float]:
    """Posterior of what stands now under one plan: mean, variance, log weight of the plan.

    With confirmed losses the share that stands is theta + sum(loss) / curve, from their joint posterior. `room` is a
    (4 + LOSSES, 1 + LOSSES) array to reckon in.
    """
    size = 1 + losses
    lam, eta, half, want = room[3:], room[0], room[1], room[2]
    prior_eta = prior.mean / prior.sd**2
    for i in range(size):
        p, scale_p = (lag, share) if i == 0 else (LAGS + i - 1, 1.0)
        eta[i] = scale_p * b[p] + (prior_eta if i == 0 else 0.0)
        for j in range(size):
            q, scale_q = (lag, share) if j == 0 else (LAGS + j - 1, 1.0)
            lam[i, j] = scale_p * scale_q * c[p, q]
        lam[i, i] += 1.0 / prior.sd**2 if i == 0 else 1.0 / prior.loss**2
    # Cholesky: lam = L L'
    for i in range(size):
        for j in range(i + 1):
            t = lam[i, j]
            for k in range(j):
                t -= lam[i, k] * lam[j, k]
            lam[i, j] = math.sqrt(t) if i == j else t / lam[j, j]
    log_det, fit = 0.0, 0.0
    for i in range(size):
        half[i] = eta[i]
        want[i] = 1.0 if i == 0 else 1.0 / max(share * curve, 0.01)
        for k in range(i):
            half[i] -= lam[i, k] * half[k]
            want[i] -= lam[i, k] * want[k]
        half[i] /= lam[i, i]
        want[i] /= lam[i, i]
        log_det += 2 * math.log(lam[i, i])
        fit += half[i] ** 2
    mean, variance = 0.0, 0.0
    for i in range(size):
        mean += half[i] * want[i]
        variance += want[i] ** 2
    return mean, variance, 0.5 * (fit - log_det)


@kernel
def _below(threshold: float, mean: float, sd: float) -> float:
    return 0.5 * math.erfc((mean - threshold) / (sd * math.sqrt(2.0)))


@kernel
def _interval(mean: float, variance: float, off: float) -> tuple[float, float]:
    """95 % interval of theta seen as `mean` through a gain that may be off (Fieller's theorem).

    All theta for which (mean - theta)^2 <= 1.96^2 (variance + theta^2 off). Where the gain is low, `mean` is low and so
    is its own share of the doubt: an interval about the mean would hold the truth least often just there.
    """
    z2 = NORMAL_95**2
    free = max(1.0 - z2 * off, LEAST_FREE)
    half = NORMAL_95 * math.sqrt(free * variance + mean * mean * off)
    return (mean - half) / free, (mean + half) / free


@kernel
def theta_filter(
    day: Array, position: Array, season: Array, difference: Array, s: Array, rho: Array, amplitude: Array,
    curves: Array, noise_variance: Array, alarm: Array, onset: Array, seasons: Array, rain_sd: Array, promised: bool,
    noise: Noise, prior: Prior, evidence_alone: bool = False,
) -> tuple[Array, Array, Array, Array, Array, Array, Array]:  # fmt: skip
    """Follow the difference and, beside it, what each plan would have added: theta and the evidence on it.

    Parameters
    ----------
    curves : (n, 3) array
        Promised uplift at each scene: as written, half a year and a year later. [cover fraction]
    alarm, onset : (n,) arrays
        Confirmed sudden losses, of :func:`disturbance`.
    promised : bool
        Whether there is a plan to doubt; if not, `curves` is 1 since the start and theta is the change itself.
    evidence_alone : bool
        Whether `b` and `c` are all that is asked for: of the rest, which takes most of the time, there are zeros.

    Returns
    -------
    b, c : (n, 3) arrays
        Information on theta: the likelihood of theta is exp(theta b - theta^2 c / 2), a plan each.
    mean, variance : (n,) arrays
        Of theta as it stands now, the plan as written, the doubt on the gain included.
    below : (n, 4) array
        Probability of theta below each threshold, averaged over the plan's doubt.
    low, high : (n,) arrays
        95 % interval of theta as it stands now, the plan as written.
    """
    n = day.size
    gain_var = gain_variance(seasons, rain_sd, prior)
    out_b, out_c = np.zeros((n, LAGS)), np.zeros((n, LAGS))
    out_mean, out_var, below = np.zeros(n), np.zeros(n), np.zeros((n, 4))
    size = LAGS + LOSSES
    begun, known = np.full(LOSSES, n), np.full(LOSSES, n)
    losses = 0
    for i in range(n):
        if alarm[i] and losses < LOSSES:
            begun[losses], known[losses] = onset[i], i
            losses += 1
    columns = LAGS + losses
    x, cov = _start(noise, 0.0, 0.0)
    m, gain, h, ph = np.zeros((columns, 8)), np.zeros(8), np.zeros(8), np.zeros(8)
    b, c, ej = np.zeros(size), np.zeros((size, size)), np.zeros(columns)
    shares = len(SHARE) if promised else 1
    lags = LAGS if promised else 1
    means, variances, weights, believed = np.zeros(9), np.zeros(9), np.zeros(9), np.zeros(9)
    if promised:
        believed[0], believed[1:] = math.log(prior.plan_weight), math.log((1.0 - prior.plan_weight) / 8)
    room = np.empty((4 + LOSSES, 1 + LOSSES))
    low, high = np.zeros(n), np.zeros(n)
    theta, theta_var = prior.mean, prior.sd**2
    for i in range(n):
        if i > 0:
            _forward(x, cov, m, _kept(day[i] - day[i - 1], season[i] - season[i - 1], noise), noise)
        mu = s[i] * (1.0 + rho[i])
        angle = 2 * math.pi * position[i] / 365.25
        rain = min(max(theta, 0.0), ELASTICITY_THETA) * curves[i, 0]
        h[0], h[1], h[2], h[3], h[4], h[5] = mu, math.cos(angle), math.sin(angle), 1.0, 1.0, s[i]
        h[6] = (amplitude[i] + rain) * s[i] * rho[i]
        hph, e = 0.0, difference[i]
        _project(cov, h, ph)
        for k in range(8):
            hph += h[k] * ph[k]
            e -= h[k] * x[k]
        for j in range(columns):
            ej[j] = curves[i, j] * mu if j < LAGS else (mu if i >= begun[j - LAGS] else 0.0)
            for k in range(8):
                ej[j] -= h[k] * m[j, k]
        # Whether a scene is an outlier is asked of what is believed of theta and of the losses known by then.
        surprise, spread = e - theta * ej[0], hph + noise_variance[i] + theta_var * ej[0] ** 2
        for j in range(losses):
            if known[j] < i:
                loss_var = 1.0 / (c[LAGS + j, LAGS + j] + 1.0 / prior.loss**2)
                loss = loss_var * (b[LAGS + j] - theta * c[0, LAGS + j])
                surprise -= loss * ej[LAGS + j]
                spread += loss_var * ej[LAGS + j] ** 2
        variance = hph + noise_variance[i] * max(1.0, surprise**2 / spread / noise.huber**2)
        for k in range(8):
            gain[k] = ph[k] / variance
        for j in range(columns):
            b[j] += e * ej[j] / variance
            for q in range(columns):
                c[j, q] += ej[j] * ej[q] / variance
            for k in range(8):
                m[j, k] += gain[k] * ej[j]
        _learn(x, cov, gain, ph, e)
        theta_var = 1.0 / (1.0 / prior.sd**2 + c[0, 0])
        theta = theta_var * (prior.mean / prior.sd**2 + b[0])
        for j in range(LAGS):
            out_b[i, j], out_c[i, j] = b[j], c[j, j]
        if evidence_alone:
            continue
        if i > 0 and c[0, 0] == 0.0 and gain_var[i] == gain_var[i - 1]:  # nothing has been learnt yet
            out_mean[i], out_var[i], low[i], high[i] = out_mean[i - 1], out_var[i - 1], low[i - 1], high[i - 1]
            below[i] = below[i - 1]
            continue

        active = 0
        for j in range(losses):
            active += known[j] <= i
        off = gain_var[i] if promised else 0.0
        top = -np.inf
        for lag in range(lags):
            for share in range(shares):
                k = lag * shares + share
                mean, var, weight = _conclude(b, c, lag, SHARE[share], active, curves[i, lag], prior, room)
                means[k], variances[k], weights[k] = mean, var, weight + believed[k]
                top = max(top, weights[k])
        out_mean[i], out_var[i] = means[0], prior.widening**2 * (variances[0] + means[0] ** 2 * off)
        low[i], high[i] = _interval(means[0], prior.widening**2 * variances[0], prior.widening**2 * off)
        total = 0.0
        for k in range(lags * shares):
            weights[k] = math.exp(weights[k] - top)
            total += weights[k]
        for k in range(lags * shares):
            for q in range(4):
                threshold = prior.thresholds[q]
                sd = prior.widening * math.sqrt(variances[k] + threshold * threshold * off)
                below[i, q] += weights[k] / total * _below(threshold, means[k], sd)
    return out_b, out_c, out_mean, out_var, below, low, high


@kernel
def gain_variance(seasons: Array, rain_sd: Array, prior: Prior) -> Array:
    """Variance, (n,), of the factor by which an uplift is seen too large or too small: the normal season may be off."""
    out: Array = rain_sd**2 * 1.5 / np.maximum(seasons, 0.5) + prior.gain_sd**2
    return out


@kernel
def _seen(theta: float, b: float, c: float, gain_var: float) -> float:
    """Log likelihood of theta, the gain integrated out: b / c is distributed as N(theta, 1 / c + theta^2 gain_var)."""
    square = theta * theta
    more = 1.0 + square * gain_var * c
    return (theta * b - 0.5 * square * c + 0.5 * square * gain_var * b * b) / more - 0.5 * math.log(more)


@kernel
def _failed_against(b: float, c: float, null: float, gain_var: float) -> float:
    """Log likelihood ratio of a failed site against theta = null."""
    top = -np.inf
    for theta, weight in FAILED:
        top = max(top, math.log(weight) + _seen(theta, b, c, gain_var))
    total = 0.0
    for theta, weight in FAILED:
        total += math.exp(math.log(weight) + _seen(theta, b, c, gain_var) - top)
    return top + math.log(total) - _seen(null, b, c, gain_var)


@kernel
def failure_evidence(b: Array, c: Array, gain_var: Array) -> Array:
    """Log evidence against "at least half the plan" at each scene, guarded: (n,) from (n, 3) `b` and `c`.

    The smaller of two: against theta = .4 of the plan as written (it may be a fifth too large), and
    against theta = .5 of the plan a year later.
    """
    out = np.empty(b.shape[0])
    for i in range(out.size):
        small = _failed_against(b[i, 0], c[i, 0], 0.4, gain_var[i])
        out[i] = min(small, _failed_against(b[i, 2], c[i, 2], 0.5, gain_var[i]))
    return out


@kernel
def uplift_evidence(b: Array, c: Array) -> Array:
    """Log evidence against "no uplift at all" at each scene: (n,) from (n, 3) `b` and `c`.

    The smaller of two, as for failure: for the plan as written, and for the plan a year later.
    """
    out = np.empty(b.shape[0])
    for i in range(out.size):
        out[i] = np.inf
        for lag in (0, 2):
            top = -np.inf
            for theta in GROWN:
                top = max(top, theta * b[i, lag] - 0.5 * theta * theta * c[i, lag])
            total = 0.0
            for theta in GROWN:
                total += math.exp(theta * b[i, lag] - 0.5 * theta * theta * c[i, lag] - top)
            out[i] = min(out[i], top + math.log(total / len(GROWN)))
    return out


@kernel
def without_uplift(
    day: Array, position: Array, season: Array, s: Array, rho: Array, amplitude: Array, noise: Noise
) -> tuple[Array, Array]:
    """What :func:`log_likelihood` knows of each scene, however large the noise is: `kept` and `seen` as there."""
    kept, seen = np.zeros((day.size, 3)), np.zeros((day.size, 8))
    for i in range(day.size):
        if i > 0:
            kept[i, 0], kept[i, 1], kept[i, 2] = _kept(day[i] - day[i - 1], season[i] - season[i - 1], noise)
        angle = 2 * math.pi * position[i] / 365.25
        seen[i, 0], seen[i, 1], seen[i, 2] = s[i] * (1.0 + rho[i]), math.cos(angle), math.sin(angle)
        seen[i, 3], seen[i, 4], seen[i, 5], seen[i, 6] = 1.0, 1.0, s[i], amplitude[i] * s[i] * rho[i]
    return kept, seen


@kernel
def log_likelihood(kept: Array, seen: Array, difference: Array, noise_variance: Array, noise: Noise) -> float:
    """Log likelihood of a difference without any uplift, robust: innovations beyond `huber` count linearly.

    Parameters
    ----------
    kept : (n, 3) array
        Of each scene, what :func:`_kept` tells of the time since the one before.
    seen : (n, 8) array
        What each scene shows of each state.
    difference : (n,) array
        Site less control. [cover fraction]
    noise_variance : (n,) array
        Of one scene's difference. [cover fraction squared]
    """
    x, cov = _start(noise, 0.0, 0.0)
    gain, ph, none = np.zeros(8), np.zeros(8), np.zeros((0, 8))
    total = 0.0
    for i in range(difference.size):
        if i > 0:
            _forward(x, cov, none, (kept[i, 0], kept[i, 1], kept[i, 2]), noise)
        h, hph, e = seen[i], 0.0, difference[i]
        _project(cov, h, ph)
        for k in range(8):
            hph += h[k] * ph[k]
            e -= h[k] * x[k]
        spread = hph + noise_variance[i]
        z = abs(e) / math.sqrt(spread)
        loss = 0.5 * z * z if z <= noise.huber else noise.huber * (z - 0.5 * noise.huber)
        total -= 0.5 * math.log(spread) + loss
        variance = hph + noise_variance[i] * max(1.0, z * z / noise.huber**2)
        for k in range(8):
            gain[k] = ph[k] / variance
        _learn(x, cov, gain, ph, e)
    return total


@kernel
def own_noise(
    day: Array, position: Array, season: Array, difference: Array, s: Array, rho: Array, amplitude: Array,
    noise_variance: Array, start: int, noise: Noise,
) -> tuple[float, float]:  # fmt: skip
    """How much more or less than usual a site strays from its control, by its years before the start alone.

    Returns
    -------
    wander, scene : float
        Factors on the standard deviations of the slow drift and of a season's own difference; on those of a scene and
        of the fast drift. Posterior means, the scene's first; 1 with fewer than five scenes.

    Notes
    -----
    Sites differ more than the usual noise of a biome can tell. With that for all, 95 % intervals of ground that drifts
    twice as far held the truth on 84 to 91 of 100 simulated sites; with their own noise (and a longer memory of drift)
    on 93 to 95. The years after the start are not asked: a failing site could hide in its own noise.
    """
    before = 0
    while before < day.size and day[before] < start:
        before += 1
    kept, seen = without_uplift(
        day[:before], position[:before], season[:before], s[:before], rho[:before], amplitude[:before], noise
    )
    factors = np.ones(2)
    for which, sd in ((1, noise.own_scene), (0, noise.own_wander)):
        if before < REFERENCE_SCENES or sd == 0.0:
            continue
        logs, tried = np.empty(len(OWN)), np.empty(len(OWN))
        for k in range(len(OWN)):
            tried[k] = factors[which] = math.exp(sd * OWN[k])
            logs[k] = log_likelihood(
                kept, seen, difference[:before], noise_variance[:before] * factors[1] ** 2,
                _scaled(noise, noise.baseline, factors[0], factors[1]),
            ) - 0.5 * (OWN[k] + 0.5 * sd) ** 2  # the usual noise is the mean of all sites' own  # fmt: skip
        weight = np.exp(logs - logs.max())
        factors[which] = np.sum(weight * tried) / np.sum(weight)
    return factors[0], factors[1]


class Learnt(NamedTuple):
    """What is learnt of a site from the seasons before the last and the years before the start, and then stays."""

    normal: np.ndarray
    """Of :func:`references`."""
    wander: float
    """Of :func:`own_noise`, as the next."""
    scene: float


@kernel
def learn(
    day: Array, position: Array, season: Array, cover: Array, control: Array, variance: Array, start: int,
    length: float, peak0: float, width0: float, noise: Noise, rain_sd: float,
) -> Learnt:  # fmt: skip
    """What :func:`follow` needs to know first; parameters as there. No scene counts but those before the start and
    those before the last season.
    """
    normal = references(position, season, day, control, start, length, peak0, width0, rain_sd)
    s, rho, amplitude, _, _, _, _ = season_and_rain(position, season, day, control, normal)
    difference = cover - control
    baseline, _, _ = balance(season, day, difference, s, start, noise.baseline)
    usual = _scaled(noise, baseline, 1.0, 1.0)
    wander, scene = own_noise(day, position, season, difference, s, rho, amplitude, variance, start, usual)
    return Learnt(normal, wander, scene)


@kernel
def searched(stiff: Noise, noise: Noise, baseline: float, wander: float, scene: float) -> Noise:
    """Noise of the search for sudden losses on a site with so much of its own.

    The search is blind to the drift of calm ground, which would swallow the loss; not to what this site drifts beyond.
    """
    beyond = noise.slow**2 * max(wander**2 - CALM**2, 0.0)
    return _scaled(stiff, baseline, math.sqrt(1.0 + beyond / stiff.slow**2), scene)


class Standing(NamedTuple):
    """What holds after each scene, (n,) arrays; what a verdict on any later day reads, until the next scene."""

    mean: np.ndarray
    """Theta as it stands, the plan as written; the change of cover where nothing was promised."""
    sd: np.ndarray
    low: np.ndarray
    """Its 95 % interval."""
    high: np.ndarray
    below: np.ndarray
    """(n, 4) probability of theta below each threshold of ``Prior``."""
    information: np.ndarray
    """Precision on theta that scenes have brought; 0: only the prior speaks."""
    look: np.ndarray
    """The last scene late enough in its season for evidence of failure to be looked at; -1: none yet."""
    evidence: np.ndarray
    """Log evidence of failure at that scene. 0 before the first."""
    highest: np.ndarray
    """The highest of it so far."""
    standing: np.ndarray
    """The highest of it since the site was last shown to be above half its plan."""
    uplift: np.ndarray
    """The highest log evidence so far, late enough in a season, that there is an uplift at all."""
    surely_failing: np.ndarray
    """P(theta below the second threshold) has been high at all scenes for ten days or more."""
    surely_negative: np.ndarray
    """The same for the first threshold."""
    alarm_day: np.ndarray
    """Day on which the last sudden loss was confirmed; -1: none."""
    alarm_onset: np.ndarray
    """Day from which on it is taken to show; -1: none."""
    alarm_score: np.ndarray
    """Highest log evidence for that loss since it was confirmed; 0: none."""
    alarm_second: np.ndarray
    """By how much the second index had changed at that alarm; NaN where it was not seen."""
    alarm_whole: np.ndarray
    """Growth of the control at that alarm, of its season to date; NaN where a normal one is not known well."""
    denied: np.ndarray
    """The second index spoke against a loss at this scene."""
    cover: np.ndarray
    """Mean of the season so far. [1]"""
    control: np.ndarray
    mu: np.ndarray
    """Mean of season and rain over the same scenes: what turns an uplift at the peak into one of the mean. [1]"""
    whole: np.ndarray
    """Growth of the control above or below normal, of the season to date; NaN where a normal one is not known well."""
    before: np.ndarray
    """Seasons before the start in which site and control were compared."""
    poor: np.ndarray
    """Site and control did not agree before the start."""
    b: np.ndarray
    c: np.ndarray


@kernel
def _plan_curves(
    day: Array, begun: Array, share: Array, plan_a: float, plan_k: float, plan_lag: float, promised: bool
) -> Array:
    """Promised uplift at each scene, (n, 3), summed over the parts of a site by the days on which they began."""
    out = np.zeros((day.size, LAGS))
    for i in range(day.size):
        for part in range(begun.size):
            years = (day[i] - begun[part]) / 365.25
            for j in range(LAGS):
                if promised:
                    grown = 1.0 - math.exp(-plan_k * max(years - plan_lag - 0.5 * j, 0.0))
                    out[i, j] += share[part] * plan_a * grown
                elif years >= 0:
                    out[i, j] += share[part]
    return out


@kernel
def _scaled(noise: Noise, baseline: float, wander: float, scene: float) -> Noise:
    """`noise` with a site's own baseline and factors; that of a scene itself stands in `noise_variance`."""
    return Noise(
        baseline, noise.harmonic, noise.slow * wander, noise.slow_days, noise.fast * scene, noise.fast_days,
        noise.year * wander, noise.year_memory, noise.elasticity, noise.huber, noise.own_wander, noise.own_scene,
    )  # fmt: skip


@kernel
def _second_ring(
    day: Array, position: Array, season: Array, cover: Array, control: Array, variance: Array, start: int,
    curves: Array, promised: bool, noise: Noise, prior: Prior, learnt: Learnt,
) -> tuple[Array, Array]:  # fmt: skip
    """Log evidence of failure and of uplift against the second ring alone, at each of its scenes."""
    n = day.size
    s, rho, amplitude, _, seasons, rain, _ = season_and_rain(position, season, day, control, learnt.normal)
    difference = cover - control
    baseline, _, _ = balance(season, day, difference, s, start, noise.baseline)
    wander, scene = learnt.wander, learnt.scene
    b, c, _, _, _, _, _ = theta_filter(
        day, position, season, difference, s, rho, amplitude, curves, variance * scene**2, np.zeros(n, np.bool_),
        np.full(n, -1), seasons, rain, promised, _scaled(noise, baseline, wander, scene), prior, True,
    )  # fmt: skip
    return failure_evidence(b, c, gain_variance(seasons, rain, prior)), uplift_evidence(b, c)


@kernel
def follow(
    day: Array, position: Array, season: Array, cover: Array, control: Array, control_2: Array, second: Array,
    variance: Array, begun: Array, share: Array, plan_a: float, plan_k: float, plan_lag: float, promised: bool,
    noise: Noise, stiff: Noise, prior: Prior, look_after_peak: float, confident: float, bar: float, learnt: Learnt,
    learnt_2: Learnt,
) -> Standing:  # fmt: skip
    """One causal pass over the usable scenes of a site.

    Parameters
    ----------
    day, position, season : (n,) arrays of int
        See the module.
    cover, control, control_2, second : (n,) arrays
        `control_2` and `second` may be NaN throughout. [1]
    variance : (n,) array
        Of one scene's difference. [cover fraction squared]
    begun, share : (m,) arrays
        Days on which the parts of the site were begun, ascending, and each one's share of the area.
    promised : bool
        Whether the plan promises any uplift.
    noise, stiff : Noise
        Of the theta filter and of the search for sudden losses.
    look_after_peak : float
        Days after the season's peak from which evidence of failure is looked at.
    confident : float
        Probability that `surely_failing` asks for.
    bar : float
        See :func:`disturbance`.
    learnt, learnt_2 : Learnt
        Of `control`, and of the scenes that show `control_2`; any where none does.
    """
    n, start = day.size, begun[0]
    s, rho, amplitude, peak, seasons, rain, whole = season_and_rain(position, season, day, control, learnt.normal)
    difference = cover - control
    baseline, ratio, before = balance(season, day, difference, s, start, noise.baseline)
    curves = _plan_curves(day, begun, share, plan_a, plan_k, plan_lag, promised)
    plan = curves[:, 0].copy() if promised else np.zeros(n)
    wander, scene = learnt.wander, learnt.scene
    loud = max(1.0, scene)  # noise that was learnt too small would name false losses; real ones stand out anyway
    score, alarm, onset, denied = disturbance(
        day, position, season, difference, s, rho, amplitude, plan, variance * loud**2, second, start,
        searched(stiff, noise, baseline, wander, loud), prior.loss, bar,
    )  # fmt: skip
    b, c, mean, var, below, low, high = theta_filter(
        day, position, season, difference, s, rho, amplitude, curves, variance * scene**2, alarm, onset, seasons, rain,
        promised, _scaled(noise, baseline, wander, scene), prior,
    )  # fmt: skip
    evidence = failure_evidence(b, c, gain_variance(seasons, rain, prior))
    growth = uplift_evidence(b, c)
    seen_2 = np.flatnonzero(~np.isnan(control_2))
    evidence_2, growth_2 = np.empty(0), np.empty(0)
    if promised and seen_2.size > 0:
        evidence_2, growth_2 = _second_ring(
            day[seen_2], position[seen_2], season[seen_2], cover[seen_2], control_2[seen_2], variance[seen_2], start,
            curves[seen_2], promised, noise, prior, learnt_2,
        )  # fmt: skip

    now, highest, standing, uplift = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n)
    failing, negative = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    alarm_day, alarm_onset, alarm_score, looks = np.full(n, -1), np.full(n, -1), np.zeros(n), np.empty(n, np.int64)
    alarm_second, alarm_whole = np.full(n, np.nan), np.full(n, np.nan)
    mean_cover, mean_control, mean_mu = np.empty(n), np.empty(n), np.empty(n)
    failing_since, negative_since, ring_2 = -1, -1, -1
    last, top, latch, grown, last_alarm, last_onset, last_score = 0.0, 0.0, 0.0, 0.0, -1, -1, 0.0
    last_second, last_whole = math.nan, math.nan
    first, look = 0, -1
    sum_cover, sum_control, sum_mu = 0.0, 0.0, 0.0
    for i in range(n):
        if seasons[i] < SEASONS_TO_CALL_DRY:
            whole[i] = math.nan
        if season[i] != season[first]:
            first, sum_cover, sum_control, sum_mu = i, 0.0, 0.0, 0.0
        sum_cover, sum_control = sum_cover + cover[i], sum_control + control[i]
        sum_mu += s[i] * (1.0 + rho[i])
        mean_cover[i], mean_control[i] = sum_cover / (i + 1 - first), sum_control / (i + 1 - first)
        mean_mu[i] = sum_mu / (i + 1 - first)
        while ring_2 + 1 < seen_2.size and seen_2[ring_2 + 1] <= i:
            ring_2 += 1
        if day[i] >= start:
            if position[i] >= peak[i] + look_after_peak:
                look = i
            if promised and look == i:
                last, growing = evidence[i], growth[i]
                if ring_2 >= 0:
                    last, growing = min(last, evidence_2[ring_2]), min(growing, growth_2[ring_2])
                top, latch, grown = max(top, last), max(latch, last), max(grown, growing)
            if below[i, 2] <= 1.0 - confident:
                latch = 0.0
            if below[i, 1] < confident:
                failing_since = -1
            elif failing_since < 0:
                failing_since = day[i]
            if below[i, 0] < confident:
                negative_since = -1
            elif negative_since < 0:
                negative_since = day[i]
            failing[i] = failing_since >= 0 and day[i] - failing_since >= 10
            negative[i] = negative_since >= 0 and day[i] - negative_since >= 10
            if alarm[i]:
                last_alarm, last_onset, last_score, last_whole = day[i], day[onset[i]], score[i], whole[i]
                last_second, _ = _change_of_second(second, day, onset[i], i)
            elif onset[i] >= 0:  # a loss does not become less certain again
                last_score = max(last_score, score[i])
        now[i], highest[i], standing[i], uplift[i] = last, top, latch, grown
        alarm_day[i], alarm_onset[i], alarm_score[i], looks[i] = last_alarm, last_onset, last_score, look
        alarm_second[i], alarm_whole[i] = last_second, last_whole
    poor = ratio > 1.0 or (before > 0 and baseline > 2 * noise.baseline)
    return Standing(
        mean, np.sqrt(var), low, high, below, c[:, 0].copy(), looks, now, highest, standing, uplift, failing, negative,
        alarm_day, alarm_onset, alarm_score, alarm_second, alarm_whole, denied, mean_cover, mean_control, mean_mu,
        whole, np.full(n, before), np.full(n, poor), b, c,
    )  # fmt: skip


@kernel
def first_told(
    day: Array, position: Array, season: Array, difference: Array, s: Array, rho: Array, amplitude: Array,
    curves: Array, variance: Array, seasons: Array, rain_sd: Array, noise: Noise, wander: Array, scene: Array,
    prior: Prior, start: int, judged_from: int, look_from: float, bar: float, confident: float,
) -> tuple[Array, Array]:  # fmt: skip
    """Days on which each of many simulated series first turns red by failure, and first is watched or red.

    Parameters
    ----------
    difference, rho : (m, n) arrays
        Site less control, NaN where not seen, and rain; the season is taken as known.
    wander, scene : (m,) arrays
        Each site's own noise, taken as known, see :func:`own_noise`.
    judged_from : int
        Day before which it is too early.
    look_from : float
        Position from which evidence is looked at.

    Returns
    -------
    (m,) arrays of int
        -1: never.
    """
    m = difference.shape[0]
    red, watch = np.full(m, -1), np.full(m, -1)
    for r in range(m):
        seen = np.flatnonzero(~np.isnan(difference[r]))
        if seen.size == 0:
            continue
        b, c, _, _, below, _, _ = theta_filter(
            day[seen], position[seen], season[seen], difference[r][seen], s[seen], rho[r][seen], amplitude[seen],
            curves[seen], variance[seen] * scene[r] ** 2, np.zeros(seen.size, np.bool_), np.full(seen.size, -1),
            seasons[seen], rain_sd[seen], True, _scaled(noise, noise.baseline, wander[r], scene[r]), prior,
        )  # fmt: skip
        evidence = failure_evidence(b, c, gain_variance(seasons[seen], rain_sd[seen], prior))
        latch, since, since_negative = 0.0, -1, -1
        for k in range(seen.size):
            today = day[seen[k]]
            if today < start:
                continue
            if position[seen[k]] >= look_from:
                latch = max(latch, evidence[k])
            if below[k, 2] <= 1.0 - confident:
                latch = 0.0
            if below[k, 1] < confident:
                since = -1
            elif since < 0:
                since = today
            if below[k, 0] < confident:
                since_negative = -1
            elif since_negative < 0:
                since_negative = today
            early = today < judged_from
            doubted = since_negative if early else since
            told = not early and latch >= bar
            if told and red[r] < 0:
                red[r] = today
            if (told or (doubted >= 0 and today - doubted >= 10)) and watch[r] < 0:
                watch[r] = today
            if red[r] >= 0:
                break
    return red, watch
