"""What others would use for the same question, on the same series: the real packages where there are any.

Two questions are put to each. *Not taking hold*: a score at the end of each season, low where regrowth fails, and at
the tool's defaults whether it says that growth is there. *Sudden loss*: a statistic that runs with the scenes, high
where cover fell. Each tool is given the raw series and the difference to the control. Tools that look for breaks are
scored for the first question in two ways, of which training seeds choose the better: the mean standardised residual
of the last season, and the strongest positive break so far (an alarm is then "no positive break by the deadline").

nrt and pymannkendall are called as they are installed; what has no package (before-after and
difference-in-differences, RESTREND, harmonic trend) is written here from its formula. NDVI is a straight line of cover
in the simulator, and every one of these is blind to a shift and a scale, so cover stands for it. CCDC's own screening
of outliers asks for green and short-wave bands, which a series of means does not have; it runs without.
"""

import datetime as dt
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numba
import numpy as np
import pymannkendall
import scipy.stats
import xarray as xr
from nrt.monitor.ccdc import CCDC
from nrt.monitor.cusum import CuSum
from nrt.monitor.ewma import EWMA
from nrt.monitor.iqr import IQR
from nrt.monitor.mosum import MoSum

from benchmarks.verdict.simulate import Case

LEVEL = 0.05
"""Two-sided significance at which a trend or a difference counts at a tool's defaults."""
HARMONICS = 2
TOOLS = {"EWMA": EWMA, "CUSUM": CuSum, "MOSUM": MoSum, "CCDC": CCDC, "IQR": IQR}


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """The same series as the verdict's, as a cube: days in rows, sites in columns, NaN where a site was not seen."""

    days: np.ndarray
    """(t,) datetime64[D]"""
    start: np.datetime64
    site: np.ndarray
    """(t, n) cover. [1]"""
    difference: np.ndarray
    """(t, n) cover less that of the control. [1]"""
    rain: np.ndarray | None
    """(years, n) rain of each calendar year. [1]"""
    event: np.ndarray
    """(n,) datetime64[D]; NaT without a loss."""

    @classmethod
    def of(cls, cases: Sequence[Case], *, whole_year: bool = False) -> "Panel":
        """Cube of cases that share their start; only scenes inside the season that the verdict uses, or all."""
        days = np.unique(np.concatenate([case.series.dates for case in cases]))
        doy = (days - days.astype("datetime64[Y]")).astype(int) + 1
        if not whole_year:
            days = days[(doy >= 121) & (doy <= 288)]
        site, control = (np.full((days.size, len(cases)), np.nan) for _ in range(2))
        for i, case in enumerate(cases):
            at = np.searchsorted(days, case.series.dates)
            inside = (at < days.size) & (days[np.minimum(at, days.size - 1)] == case.series.dates)
            site[at[inside], i] = case.series.cover[inside]
            control[at[inside], i] = case.series.control[inside]
        site[np.isnan(control)] = np.nan
        rain = None if cases[0].rain is None else np.array([case.rain for case in cases]).T
        return cls(
            days=days, start=np.datetime64(cases[0].site.start, "D"), site=site, difference=site - control, rain=rain,
            event=np.array([case.event for case in cases]),
        )  # fmt: skip

    @property
    def year(self) -> np.ndarray:
        """(t,) calendar year."""
        years: np.ndarray = self.days.astype("datetime64[Y]").astype(int) + 1970
        return years

    @property
    def seasons(self) -> np.ndarray:
        """Calendar years whose season lies after the start."""
        return np.unique(self.year[self.days >= self.start])


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What one variant of one tool makes of a panel."""

    score: np.ndarray
    """(n, seasons) at the end of each season since the start; low: not taking hold; NaN: nothing to say."""
    holds: np.ndarray | None = None
    """(n, seasons) whether the tool, at its defaults, says that growth is there."""
    silent: np.ndarray | None = None
    """(n,) sites that the tool refuses to watch."""


type Opinions = dict[tuple[str, str], Opinion]
type Losses = dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]


def ask(panel: Panel, *, losses_of: np.ndarray) -> tuple[Opinions, Losses]:
    """Put both questions to every rival: answers by (tool, variant); of losses see :func:`alarms`.

    Parameters
    ----------
    losses_of : (n,) array of bool
        Sites to which the question of sudden losses is put.
    """
    found: Opinions = {}
    losses: Losses = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peers warn of short and constant series
        for name, values in (("raw", panel.site), ("D", panel.difference)):
            found |= _annual(panel, values, name)
            found |= _harmonic_trend(panel, values, name)
            for tool in TOOLS:
                for trend in (True, False):
                    if tool == "CCDC" and not trend:
                        continue  # nrt's stable fit refuses
                    watched = watch(panel, values, tool, trend=trend)
                    found |= _breaks(panel, watched, name, tool, trend=trend)
                    if losses_of.any():
                        kind = "with trend" if trend else "no trend"
                        losses[f"nrt {tool}, {name}", kind] = alarms(
                            panel, watched.falling[:, losses_of], panel.event[losses_of], FACTORS
                        )
                if losses_of.any():
                    falling = _refitted(panel, values[:, losses_of], tool)
                    losses[f"nrt {tool}, {name}", "refitted"] = alarms(panel, falling, panel.event[losses_of], FACTORS)
        if panel.rain is not None:
            found |= _restrend(panel)
    return found, losses


def yearly(panel: Panel, values: np.ndarray, *, percentile: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Calendar years, and (years, n) mean or percentile of each one's scenes; NaN with fewer than three."""
    years = np.unique(panel.year)
    out = np.full((years.size, values.shape[1]), np.nan)
    for k, y in enumerate(years):
        part = values[panel.year == y]
        enough = np.isfinite(part).sum(axis=0) >= 3
        if enough.any():
            some = part[:, enough]
            out[k, enough] = (
                np.nanmean(some, axis=0) if percentile is None else np.nanpercentile(some, percentile, axis=0)
            )
    return years, out


def _annual(panel: Panel, values: np.ndarray, name: str) -> Opinions:
    """Mann-Kendall and Sen's slope of yearly values; the last season, and all since the start, less those before."""
    years, means = yearly(panel, values)
    _, peaks = yearly(panel, values, percentile=90)
    seasons = panel.seasons
    n = values.shape[1]
    mk, sen, rises = (
        np.full((n, seasons.size), np.nan),
        np.full((n, seasons.size), np.nan),
        np.zeros((n, seasons.size), bool),
    )
    last, every, better = mk.copy(), mk.copy(), rises.copy()
    annual = peaks if name == "raw" else means  # the usual greenness peak; a peak of a difference has no meaning
    begun = int(panel.start.astype("datetime64[Y]").astype(int)) + 1970
    before = means[years < begun]
    n_before, mean_before = np.isfinite(before).sum(axis=0), np.nanmean(before, axis=0)
    for k, y in enumerate(seasons):
        for i, row in enumerate(annual[years <= y].T if k else ()):  # nothing is asked of the first season
            row = row[np.isfinite(row)]
            if row.size < 4:
                continue
            test = pymannkendall.original_test(row, alpha=LEVEL)
            mk[i, k], sen[i, k], rises[i, k] = test.z, test.slope, test.trend == "increasing"
        since = means[(years >= begun) & (years <= y)]
        last[:, k] = since[-1] - mean_before
        mean, count = np.nanmean(since, axis=0), np.isfinite(since).sum(axis=0)
        every[:, k] = mean - mean_before
        square = np.nansum((since - mean) ** 2, axis=0) + np.nansum((before - mean_before) ** 2, axis=0)
        freedom = np.maximum(count + n_before - 2, 1)
        t = every[:, k] / np.sqrt(square / freedom * (1 / np.maximum(count, 1) + 1 / np.maximum(n_before, 1)))
        better[:, k] = (t > scipy.stats.t.ppf(1 - LEVEL / 2, freedom)) & (count + n_before > 2)
    compared = "before and after" if name == "raw" else "difference in differences, yearly"
    return {
        (f"Mann-Kendall (pymannkendall), {name}", "z"): Opinion(score=mk, holds=rises),
        (f"Sen's slope (pymannkendall), {name}", "slope"): Opinion(score=sen, holds=rises),
        (compared, "last season"): Opinion(score=last, holds=better),
        (compared, "all seasons"): Opinion(score=every, holds=better),
    }


def _restrend(panel: Panel) -> Opinions:
    """Trend of what rain does not explain of the yearly peak, with the rain known perfectly.

    Evans and Geerken, J. Arid Environ., 2004, doi:10.1016/S0140-1963(03)00121-6.
    """
    years, peaks = yearly(panel, panel.site, percentile=90)
    assert panel.rain is not None
    rain = panel.rain[: years.size]
    n = peaks.shape[1]
    slope, t_value = np.full((n, panel.seasons.size), np.nan), np.full((n, panel.seasons.size), np.nan)
    for k, y in enumerate(panel.seasons):
        until = years <= y
        seen = np.isfinite(peaks[until])
        _, _, left = _lines(rain[until], peaks[until], seen)
        b, error, _ = _lines(np.broadcast_to(years[until, None].astype(float), seen.shape), left, seen)
        enough = seen.sum(axis=0) >= 5
        slope[:, k], t_value[:, k] = np.where(enough, b, np.nan), np.where(enough, b / np.maximum(error, 1e-9), np.nan)
    freedom = np.maximum(np.array([(years <= y).sum() for y in panel.seasons]) - 2, 1)
    rises = t_value > scipy.stats.t.ppf(1 - LEVEL / 2, freedom)
    name = "RESTREND, rain known perfectly, raw"
    return {(name, "slope"): Opinion(score=slope, holds=rises), (name, "t"): Opinion(score=t_value, holds=rises)}


def _lines(x: np.ndarray, y: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Least-squares line of each column over what was seen: slope, its standard error, what is left."""
    count = np.maximum(seen.sum(axis=0), 1)
    dx = np.where(seen, x - np.where(seen, x, 0).sum(axis=0) / count, 0.0)
    dy = np.where(seen, y - np.where(seen, y, 0).sum(axis=0) / count, 0.0)
    square = np.maximum((dx**2).sum(axis=0), 1e-12)
    slope = (dx * dy).sum(axis=0) / square
    left = dy - slope * dx
    error = np.sqrt((left**2).sum(axis=0) / np.maximum(count - 2, 1) / square)
    return slope, error, left


def _harmonic_trend(panel: Panel, values: np.ndarray, name: str) -> Opinions:
    """Slope of ``a + b t`` beside two harmonics of the year, by least squares over all scenes so far."""
    t = (panel.days - panel.start).astype(int) / 365.25
    columns = [np.ones(t.size), t]
    for k in range(1, HARMONICS + 1):
        columns += [np.cos(2 * np.pi * k * t), np.sin(2 * np.pi * k * t)]
    design = np.stack(columns, axis=1)
    n = values.shape[1]
    slope, t_value = np.full((n, panel.seasons.size), np.nan), np.full((n, panel.seasons.size), np.nan)
    for k, y in enumerate(panel.seasons):
        until = panel.year <= y
        x, v = design[until], values[until]
        seen = np.isfinite(v)
        y0 = np.where(seen, v, 0.0)
        gram = np.einsum("ti,tn,tj->nij", x, seen, x) + 1e-9 * np.eye(x.shape[1])
        coefficients = np.linalg.solve(gram, (x.T @ y0).T[:, :, None])[:, :, 0]
        left = np.where(seen, v - x @ coefficients.T, 0.0)
        freedom = np.maximum(seen.sum(axis=0) - x.shape[1], 1)
        error = np.sqrt(np.linalg.inv(gram)[:, 1, 1] * (left**2).sum(axis=0) / freedom)
        enough = seen.sum(axis=0) > x.shape[1] + 2
        slope[:, k] = np.where(enough, coefficients[:, 1], np.nan)
        t_value[:, k] = np.where(enough, coefficients[:, 1] / error, np.nan)
    holds = t_value > scipy.stats.norm.ppf(1 - LEVEL / 2)
    return {
        (f"harmonic trend, {name}", "slope"): Opinion(score=slope, holds=holds),
        (f"harmonic trend, {name}", "t"): Opinion(score=t_value, holds=holds),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A monitor of nrt after its fit, run over the scenes since the start."""

    rising: np.ndarray
    """(scenes, n) how far each scene reaches to a positive break, 1 at the default sensitivity; NaN if not seen."""
    falling: np.ndarray
    """The same for a negative break."""
    residual: np.ndarray
    """(scenes, n) residual over the fit's own spread; NaN if not seen."""
    silent: np.ndarray
    """(n,) history unstable or too short by the tool's own test: it would not watch the site."""


def watch(panel: Panel, values: np.ndarray, tool: str, *, trend: bool) -> Watched:
    """Fit a monitor of nrt to the scenes before the start and feed it the others one by one."""
    numba.set_num_threads(1)
    n = values.shape[1]
    cube = xr.DataArray(
        values[:, None, :], dims=("time", "y", "x"),
        coords={"time": panel.days.astype("datetime64[ns]"), "y": np.arange(1.0), "x": np.arange(float(n))},
    )  # fmt: skip
    after = np.flatnonzero(panel.days >= panel.start)
    shape = (after.size, n)
    monitor = TOOLS[tool](trend=trend, update_mask=False)
    kwargs = {"screen_outliers": None} if tool == "CCDC" else {}
    try:
        monitor.fit(cube[panel.days < panel.start], **kwargs)
        fitted = tool != "MOSUM" or monitor.winsize.any()  # nrt 0.2.1 fails on a window without a scene
    except ValueError:  # no site has a history long enough
        fitted = False
    if not fitted:
        nothing = np.full(shape, np.nan)
        return Watched(rising=nothing, falling=nothing, residual=nothing, silent=np.ones(n, bool))
    silent = (monitor.mask != 1).ravel()
    # A site that the tool would not watch is watched all the same, for the tuned rows: more than its authors promise.
    monitor.mask[monitor.mask == 2] = 1
    if tool == "IQR":
        spread = (monitor.q75 - monitor.q25).ravel() / 1.349
    elif tool == "CCDC":
        spread = monitor.rmse.ravel()
    else:
        spread = monitor.sigma.ravel()
    rising, falling, residual = (np.full(shape, np.nan) for _ in range(3))
    run = np.full((3, n), np.nan)
    later = xr.DataArray(np.empty(after.size), dims="time", coords={"time": cube.time.values[after]})
    design = monitor.build_design_matrix(later, trend=trend, harmonic_order=monitor.harmonic_order)
    expected = design @ monitor.beta.reshape(design.shape[1], n)
    rows = iter(design[:, None])
    monitor._regressors = lambda _: next(rows)  # its own, of all dates at once: one by one they were most of the work
    for k, t in enumerate(after):
        when = panel.days[t].astype(object)
        moment = dt.datetime(when.year, when.month, when.day)  # noqa: DTZ001  (nrt asks for a naive one)
        seen = np.isfinite(values[t])
        left = values[t] - expected[k]
        residual[k] = np.where(spread > 0, left / spread, np.nan)
        monitor.monitor(values[t][None, :], moment)
        if tool in ("CCDC", "IQR"):
            # Three in a row beyond the limit on one side: reached as far as the weakest of the three.
            if tool == "CCDC":
                up, down = residual[k] / monitor.sensitivity, -residual[k] / monitor.sensitivity
            else:
                width = (monitor.q75 - monitor.q25).ravel() * monitor.sensitivity
                up, down = (left - monitor.q75.ravel()) / width, (monitor.q25.ravel() - left) / width
            signed = np.where(up > down, np.maximum(up, 0), -np.maximum(down, 0))
            run[:, seen] = np.vstack([run[1:, seen], signed[None, seen]])
            up, down = run.min(axis=0), -run.max(axis=0)
        else:
            with np.errstate(invalid="ignore", divide="ignore"):
                up = (monitor.process / monitor.boundary).ravel()
            down = -up
        rising[k] = np.where(seen, up, np.nan)
        falling[k] = np.where(seen, down, np.nan)
    for each in (rising, falling, residual):
        each[~np.isfinite(each)] = np.nan
    return Watched(rising=rising, falling=falling, residual=residual, silent=silent)


def _refitted(panel: Panel, values: np.ndarray, tool: str) -> np.ndarray:
    """(scenes, n) reach to a negative break, the tool fitted anew each spring to the three years before."""
    found = []
    for year in panel.seasons:
        part = (panel.year >= year - 3) & (panel.year <= year)
        one = replace(panel, days=panel.days[part], start=np.datetime64(f"{year}-01-01"))
        found.append(watch(one, values[part], tool, trend=tool == "CCDC").falling)
    return np.concatenate(found)


def _breaks(panel: Panel, watched: Watched, name: str, tool: str, *, trend: bool) -> Opinions:
    year = panel.year[panel.days >= panel.start]
    seasons = panel.seasons
    n = watched.silent.size
    last, top = np.full((n, seasons.size), np.nan), np.full((n, seasons.size), np.nan)
    for k, y in enumerate(seasons):
        last[:, k] = np.nanmean(watched.residual[year == y], axis=0)
        top[:, k] = np.nanmax(watched.rising[year <= y], axis=0)
    # At its defaults the first break of either sign ends the watch; so a loss before the growth hides the growth.
    broke = {sign: np.nan_to_num(w, nan=-1.0) >= 1 for sign, w in (("up", watched.rising), ("down", watched.falling))}
    first_up, first_down = (np.where(b.any(axis=0), b.argmax(axis=0), year.size) for b in broke.values())
    ends = np.searchsorted(year, seasons, side="right") - 1
    holds = (first_up[:, None] <= ends[None, :]) & (first_up <= first_down)[:, None]
    label, kind = f"nrt {tool}, {name}", "with trend" if trend else "no trend"
    default = holds if trend else None
    return {
        (label, f"last season's residual, {kind}"): Opinion(score=last, holds=default, silent=watched.silent),
        (label, f"positive break, {kind}"): Opinion(score=top, holds=default, silent=watched.silent),
    }


FACTORS = np.unique(np.append(np.geomspace(0.1, 10, 48), 1.0))
"""Thresholds tried for sudden losses, as a multiple of a tool's default."""
MONTHS = np.arange(1, 25)
"""Delays at which the share of losses found is reported. [month]"""


def alarms(
    panel: Panel, statistic: np.ndarray, event: np.ndarray, thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """False alarms a site and year, (thresholds,), and the share of losses found so long after, (thresholds, months).

    Sites without an event give the first, those with one the second. An alarm is a rise of the statistic above the
    threshold, at most one in a year; one that began before the event is no detection.

    Parameters
    ----------
    statistic : (scenes since the start, n) array
        NaN where not seen.
    event : (n,) array
        Day of the loss; NaT: none.
    """
    days = panel.days[panel.days >= panel.start].astype(int)
    years = (days[-1] - int(panel.start.astype(int))) / 365.25
    lost = ~np.isnat(event)
    when = np.where(lost, event.astype("datetime64[D]").astype(int), 10**9)
    shape = (thresholds.size, event.size)
    count, last, delay = np.zeros(shape, np.int32), np.full(shape, -(10**6)), np.full(shape, np.inf)
    was = np.zeros(shape, bool)
    for t, day in enumerate(days):
        seen = np.isfinite(statistic[t])
        above = seen & (statistic[t] >= thresholds[:, None])
        new = above & ~was & (day - last > 365)
        was = np.where(seen, above, was)
        last[new] = day
        count += new
        found = new & (day >= when)
        delay[found] = np.minimum(delay, day - when)[found]
    rate = count[:, ~lost].mean(axis=1) / years if (~lost).any() else np.full(thresholds.size, np.nan)
    if not lost.any():
        return rate, np.full((thresholds.size, MONTHS.size), np.nan)
    return rate, (delay[:, lost, None] <= MONTHS * 30.4375).mean(axis=1)
