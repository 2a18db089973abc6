"""The constants of the verdict, set on placebos: ground where nothing is restored.

Each control unit, against the other units of its site, is a site to which nothing was done: any verdict of failure or
loss on it is false. How such ground varies from scene to scene and from year to year sets the noise of the filter. With
half of a plan's uplift added, under the two ways in which a plan is most often wrong, it sets the boundary of red; with
the whole uplift added, the bar for a sudden loss and the width of the interval.

What placebos cannot show: control ground that greens as a whole. Only the second ring and the yearly screening help
against that.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from typing import Any, Final, NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import ndtri

from monitor.sites.growing_season import GrowingSeason
from monitor.sites.site import Plan
from monitor.verdict.assess import DEFAULT, verdicts
from monitor.verdict.assessment import Series
from monitor.verdict.calibration import FAILURE_SHARE, SPENT, Calibration
from monitor.verdict.kernels.constants import NORMAL_95
from monitor.verdict.kernels.losses import detect_losses, search_noise
from monitor.verdict.kernels.season import fit_reference, reference_fits, season_state
from monitor.verdict.kernels.state_space import agreement_before, log_likelihood, observation_matrix, own_noise
from monitor.verdict.kernels.types import SeasonState, Times, UsualSeason
from monitor.verdict.placebos import MAX_PLACEBOS, Placebo, has_enough_scenes
from monitor.verdict.plans import Plans
from monitor.verdict.usable_scenes import usable_scenes

HALF_WEIGHT, HALF_WEIGHT_DOWN = 30, 100
"""Placebos that count as much as the defaults; the second where they would lower the boundary of red. Thirty know a
95 % quantile no better than it varies from one kind of ground to the next, and the units of one site share their scenes
and their rain; a boundary too low makes false reds. [1]"""
NOISE_PLACEBOS: Final = 300
"""Placebos, evenly selected, to which the noise is fitted."""
FALSE_LOSSES: Final = 0.02
"""Sudden losses confirmed falsely, a site and year."""
COVERAGE: Final = 0.94
"""Share of placebos whose interval must contain the uplift that was added."""
TRUST: Final = 0.4
"""Standard deviation of the logarithm of a constant about its default, in the penalty of the fit. [1]"""
FITTED: Final = {
    "slow_sd": (0.004, 0.05), "scene_sd": (0.012, 0.05), "year_sd": (0.002, 0.03), "year_memory": (0.3, 0.7),
    "elasticity_sd": (0.05, 0.5), "trend_sd": (0.001, 0.003),
}  # fmt: skip
"""Constants that are fitted, with their limits: wide below, since the boundary follows. Likelihood alone goes too far
where the control is noisy: with year noise of .06, which it chose, intervals contained the truth in .64 to .84 of cases
instead of .95, and with a trend of .012 no failed site turned red (simulated: control noise .03, a dry year four)."""
LOSS_SCORES: Final = (1.0, 6.0)
"""Smallest and largest bar for a sudden loss."""


class _Prepared(NamedTuple):
    """Usable scenes of a placebo and what its control shows of them."""

    times: Times
    difference: np.ndarray  # placebo minus control [cover fraction]
    second: np.ndarray  # second index, placebo minus control
    state: SeasonState
    pixel_variance: np.ndarray  # variance of the pixel noise of each scene [cover fraction squared]
    start: int  # days from 1970-01-01
    baseline: float  # prior standard deviation of its lasting difference [cover fraction]
    mu: np.ndarray  # season and rain of each scene by the control's own value, not smoothed, as for an uplift [1]
    years_known: int  # seasons from which the normal season was estimated at the start
    rain: tuple[float, int]  # sum of squares of the seasons' rain about their mean, and seasons less one


def _prepare(placebo: Placebo, c: Calibration) -> _Prepared:
    site, growing = placebo.site, GrowingSeason.of(placebo.site)
    scenes = usable_scenes(placebo.series, Plans.of([site]), c)
    day, season = scenes.used_day, scenes.season
    times = Times(day, scenes.position, season)
    start = int(np.datetime64(site.start, "D").astype(np.int64))
    usual = UsualSeason(float(growing.length), growing.peak, growing.width, c.rain_sd)
    state = season_state(times, scenes.control, reference_fits(times, scenes.control, start, usual))
    difference = scenes.cover - scenes.control
    baseline, _, _ = agreement_before(times, difference, state.shape, start, c.baseline_sd)
    ends = np.flatnonzero(np.diff(season, append=-1) != 0)
    count = np.diff(ends, prepend=-1)
    years = state.season_rain[ends[count >= 3]]  # the last scene of a season includes all of it
    square = float(np.sum((years - years.mean()) ** 2)) if years.size else 0.0
    pixel = np.zeros(day.size)
    if site.hectares > 0:
        pixel = c.pixel_sd**2 * np.minimum(c.patch_hectares / (site.hectares * scenes.clear), 1.0)
    amplitude = state.amplitude
    above = np.maximum(scenes.control - fit_reference(times.position, season, scenes.control, usual).offset, 0.0)
    mu = np.where(amplitude > 0, above / np.where(amplitude > 0, amplitude, 1.0), state.shape)
    return _Prepared(
        times, difference, scenes.second, state, pixel, start, baseline, mu,
        int(state.seasons[-1]) if state.seasons.size else 0, (square, max(years.size - 1, 0)),
    )  # fmt: skip


def calibrate(placebos: Sequence[Placebo], *, source: str, dated: date) -> Calibration:
    """Set the constants of the verdict on placebos.

    Parameters
    ----------
    placebos : sequence of Placebo
        Of one biome, see :func:`monitor.verdict.placebos.pool_placebos`. Their order only decides which of them the
        noise is fitted to.
    source : str, origin of the placebos, stated with every verdict
    dated : date, last day of the data, stated with every verdict

    Returns
    -------
    Calibration
        Drift, noise of a scene, a season's own difference and elasticity by robust penalised maximum likelihood
        (penalty towards the defaults); rain from its spread over the years; the boundary of red, lower or higher than
        that of the defaults, such that under this noise sites with half their plan keep the budget when the plan is a
        fifth too large or growth a year late; the bar for sudden losses at .02 false ones a site and year; theta's
        interval widened where it contains the truth too rarely. All are shrunk towards the defaults, the result without
        placebos: of n placebos the likelihood counts n / (n + 30), and the logarithm of the others goes that share of
        the way to what the placebos show, that of a lower boundary n / (n + 100).
    """
    usable = [p for p in placebos if has_enough_scenes(p)]
    if not usable:
        return replace(DEFAULT, source=f"{DEFAULT.source}; {source}: none has enough scenes", dated=dated)
    usable = usable[:: max(1, len(usable) // MAX_PLACEBOS)][:MAX_PLACEBOS] if len(usable) > MAX_PLACEBOS else usable
    prepared = [_prepare(p, DEFAULT) for p in usable]
    some = prepared[:: max(1, len(prepared) // NOISE_PLACEBOS)][:NOISE_PLACEBOS]
    squares, years = (sum(values) for values in zip(*(p.rain for p in prepared), strict=True))
    fitted = replace(
        _fit_noise(some, weight(len(usable))), source=source, dated=dated, placebos=len(usable),
        rain_sd=_rain(math.sqrt(squares / years), len(usable)) if years else DEFAULT.rain_sd,
    )  # fmt: skip
    # Calm ground does not sharpen the search for losses: its bar of red is set on the default drift.
    fitted = replace(fitted, stiff_slow_sd=DEFAULT.stiff_slow_sd * max(1.0, fitted.slow_sd / DEFAULT.slow_sd))
    fitted = replace(fitted, disturbance_score=_loss_score(usable, prepared, fitted))
    fitted = replace(fitted, boundary=_boundary(usable, prepared, fitted))
    return replace(fitted, widening=_widening(usable, prepared, fitted))


def weight(placebos: int) -> float:
    """Weight of so many placebos against the default, 0 to 1, in what is estimated from the worst of them. [1]"""
    return placebos / (placebos + HALF_WEIGHT)


def _rain(spread: float, placebos: int) -> float:
    """Year-to-year standard deviation of the rain factor, from its `spread` over the years of the placebos. [1]"""
    return float(DEFAULT.rain_sd * (np.clip(spread, 0.05, 0.5) / DEFAULT.rain_sd) ** weight(placebos))


def _shrunk(factor: float, placebos: int) -> float:
    """Factor on a default that `placebos` placebos show, at least 1, shrunk towards 1."""
    return float(max(factor, 1.0) ** weight(placebos))


def _fit_noise(prepared: Sequence[_Prepared], share: float) -> Calibration:
    names = list(FITTED)
    low, high = (np.log([FITTED[name][k] for name in names]) for k in (0, 1))
    origin = np.log([getattr(DEFAULT, name) for name in names])
    tolerance = TRUST / math.sqrt(NOISE_PLACEBOS)

    def constants(at: np.ndarray) -> Calibration:
        values: dict[str, Any] = dict(zip(names, np.exp(np.clip(at, low, high)).tolist(), strict=True))
        return replace(DEFAULT, **values)

    matrices = [observation_matrix(p.times, p.state, DEFAULT.noise) for p in prepared]
    seasons = [np.diff(p.times.season, prepend=p.times.season[:1]) for p in prepared]

    def cost(at: np.ndarray) -> float:
        c, total = constants(at), 0.0
        for p, (decay, h), passed in zip(prepared, matrices, seasons, strict=True):
            decay[:, 2] = c.year_memory**passed
            noise = c.noise._replace(baseline=p.baseline)
            total += log_likelihood(decay, h, p.difference, p.pixel_variance + c.scene_sd**2, noise)
        outside = np.sum((at - np.clip(at, low, high)) ** 2) * 1e4
        return -share * total + float(0.5 * np.sum(((at - origin) / TRUST) ** 2) + outside)

    simplex = np.vstack([origin, origin + 0.3 * np.eye(len(names))])
    best = minimize(
        cost, origin, method="Nelder-Mead",
        options={"initial_simplex": simplex, "xatol": tolerance, "fatol": 0.5, "maxfev": 240},
    )  # fmt: skip
    return constants(best.x)


def _uplift(placebo: _Prepared, k: int, c: Calibration, truth: Plan) -> np.ndarray:
    """Uplift at each scene of the k-th placebo, had the plan `truth` come true on it. [cover fraction]

    Ground without an uplift cannot show how an uplift responds to rain, nor how far the years before the start were
    from normal; both are drawn from the fitted distribution, evenly over the placebos.
    """
    years = (placebo.times.day - placebo.start) / 365.25
    curve = truth.index_A * -np.expm1(-truth.k * np.maximum(years - truth.L, 0.0)) * (years >= 0)
    response = c.elasticity_sd * ndtri(_van_der_corput(k, 2))
    normal = c.rain_sd * math.sqrt(1.5 / max(placebo.years_known, 0.5)) * ndtri(_van_der_corput(k, 3))
    moist = np.maximum(placebo.mu + response * placebo.state.shape * placebo.state.rain, 0.0) * max(1 + normal, 0.3)
    uplift: np.ndarray = curve * moist
    return uplift


def _van_der_corput(k: int, base: int) -> float:
    """The k-th number of van der Corput's sequence, which fills 0..1 evenly."""
    k, value, scale = k + 1, 0.0, 1.0
    while k:
        k, digit = divmod(k, base)
        scale /= base
        value += scale * digit
    return value


def _with_uplift(placebo: Placebo, prepared: _Prepared, uplift: np.ndarray) -> Series:
    """The series with an uplift added to its usable scenes."""
    series = placebo.series
    cover = series.cover.copy()
    at = np.searchsorted(series.dates.astype("datetime64[D]").astype(np.int64), prepared.times.day)
    cover[at] = np.clip(cover[at] + uplift, 0, 1)
    return replace(series, cover=cover)


def _late(plan: Plan) -> Plan:
    return replace(plan, L=plan.L + 1)


def _small(plan: Plan) -> Plan:
    return replace(plan, A=0.8 * plan.A)


def _evidence(
    placebos: Sequence[Placebo], prepared: Sequence[_Prepared], c: Calibration, truth: Callable[[Plan], Plan]
) -> np.ndarray:
    """Highest evidence of failure of each placebo with half of what `truth` makes of its plan."""
    highest = []
    for k, (placebo, ready) in enumerate(zip(placebos, prepared, strict=True)):
        series = _with_uplift(placebo, ready, 0.5 * _uplift(ready, k, c, truth(placebo.site.plan)))
        last = verdicts(series, placebo.site, series.dates[-1:], calibration=c)
        highest.append(np.nan_to_num(last.e_failure[0], nan=1.0))
    return np.array(highest)


def _boundary(
    placebos: Sequence[Placebo], prepared: Sequence[_Prepared], c: Calibration
) -> tuple[tuple[float, float], ...]:
    """Boundaries of red: quantiles of the highest evidence, at most the second highest, shrunk towards the default.

    No single piece of ground decides: one of sixty that lost a third of its cover unnoticed would raise the boundary a
    hundredfold at a budget of .05, and for good at smaller ones. Placebos are looked at for fewer years than a site:
    they may use the part of the budget that is spent by then.
    """
    worst = [np.log(np.maximum(_evidence(placebos, prepared, c, truth), 1.0)) for truth in (_small, _late)]
    second = [float(np.sort(values)[-2]) if values.size > 1 else 0.0 for values in worst]
    years = np.median([(p.times.day[-1] - p.start) / 365.25 if p.times.day.size else 0.0 for p in prepared])
    used = float(np.interp(years, *np.array(SPENT).T)) / SPENT[-1][1]
    n, boundaries, factor = len(placebos), [], 0.0
    for alpha, default in sorted(DEFAULT.boundary, reverse=True):
        share = 1 - FAILURE_SHARE * alpha * used
        shown = max(min(np.quantile(v, share, method="weibull"), most) for v, most in zip(worst, second, strict=True))
        apart = math.exp(shown) / default
        factor = max(factor, apart ** (weight(n) if apart > 1 else n / (n + HALF_WEIGHT_DOWN)))
        boundaries.append((alpha, default * factor))
    return tuple(boundaries)


def _losses(prepared: Sequence[_Prepared], placebos: Sequence[Placebo], c: Calibration, bar: float) -> float:
    """Sudden losses confirmed a site and year, on placebos that grow by half their plan or by all of it, in turns."""
    confirmed, years = 0, 0.0
    for k, (placebo, ready) in enumerate(zip(placebos, prepared, strict=True)):
        plan, day = placebo.site.plan, ready.times.day
        curve = plan.index_A * -np.expm1(-plan.k * np.maximum((day - ready.start) / 365.25 - plan.L, 0.0))
        theta, noise = 1.0 if k % 2 else 0.5, c.noise._replace(baseline=ready.baseline)
        variance = ready.pixel_variance + c.scene_sd**2
        wander, scene = own_noise(ready.times, ready.difference, ready.state, variance, ready.start, noise)
        loud = max(1.0, scene)
        losses = detect_losses(
            ready.times, ready.difference + theta * _uplift(ready, k, c, plan), ready.state, curve,
            variance * loud**2, ready.second, ready.start,
            search_noise(c.stiff, noise, ready.baseline, wander, loud), c.loss_sd, bar,
        )  # fmt: skip
        confirmed += int(losses.confirmed.sum())
        years += max(float(day[-1] - ready.start) / 365.25, 0.0) if day.size else 0.0
    return confirmed / years if years else 0.0


def _loss_score(placebos: Sequence[Placebo], prepared: Sequence[_Prepared], c: Calibration) -> float:
    low, high = least, _ = LOSS_SCORES
    if _losses(prepared, placebos, c, low) <= FALSE_LOSSES:
        return low
    for _ in range(6):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _losses(prepared, placebos, c, middle) > FALSE_LOSSES else (low, middle)
    return round(least * _shrunk(high / least, len(placebos)), 3)


def _errors(placebos: Sequence[Placebo], prepared: Sequence[_Prepared], c: Calibration, theta: float) -> np.ndarray:
    """Error of theta at the end over its interval's half width on that side, with that share of the plan added.

    In standard deviations: 1.96 where the truth is on the interval's limit.
    """
    errors = []
    for k, (placebo, ready) in enumerate(zip(placebos, prepared, strict=True)):
        series = _with_uplift(placebo, ready, theta * _uplift(ready, k, c, placebo.site.plan))
        last = verdicts(series, placebo.site, series.dates[-1:], calibration=c)
        middle = (last.theta_high[0] + last.theta_low[0]) / 2
        errors.append(NORMAL_95 * (theta - middle) / (last.theta_high[0] - middle))
    finite = np.array(errors)
    return finite[np.isfinite(finite)]


def _widening(placebos: Sequence[Placebo], prepared: Sequence[_Prepared], c: Calibration) -> float:
    some = slice(None, None, max(1, len(placebos) // NOISE_PLACEBOS))
    needed = [
        float(np.quantile(np.abs(errors), COVERAGE)) / NORMAL_95
        for theta in (0.0, 1.0)
        if (errors := _errors(placebos[some], prepared[some], c, theta)).size
    ]
    return round(c.widening * _shrunk(max([1.0, *needed]), len(placebos)), 3)


def constants_table(calibration: Calibration) -> list[dict[str, Any]]:
    """Constants set by a calibration beside the defaults: ``constant``, ``default`` and ``calibrated`` of each."""
    names = (*FITTED, "rain_sd", "stiff_slow_sd", "disturbance_score", "widening")
    rows = [
        {"constant": name, "default": getattr(DEFAULT, name), "calibrated": round(getattr(calibration, name), 4)}
        for name in names
    ]
    before, after = dict(DEFAULT.boundary), dict(calibration.boundary)
    return rows + [
        {"constant": f"boundary at {alpha:g}", "default": before.get(alpha), "calibrated": round(after[alpha], 2)}
        for alpha in sorted(after, reverse=True)
    ]
