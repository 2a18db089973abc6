"""What others would say of the same sites, at their best: Mann-Kendall, difference in differences, break detection.

Each is given the difference of site and control, and gives a score at the end of each season, low where regrowth fails.
nrt's monitors look for breaks; they are scored by the last season's mean standardised residual and by the strongest
positive break so far, with a trend in their fit and without, and training seeds choose the best. pymannkendall and nrt
are called as they are installed; difference in differences has no package and is written from its formula.
"""

import datetime as dt
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
import pymannkendall
import scipy.stats
import xarray as xr
from nrt.monitor.cusum import CuSum
from nrt.monitor.ewma import EWMA

from benchmarks.verdict import simulate
from benchmarks.verdict.conditions import BASE, HALF, cases
from benchmarks.verdict.simulate import Case

LEVEL = 0.05  # two-sided significance at which a trend or a difference counts at a tool's defaults
BUDGET = 0.05  # share of sites at half the plan that may ever be called failed [1]
FIRST_LOOK = 2  # first season (from 0) at whose end a site may be called failed: it is too early before
DEFAULT_YEAR = 4
TRUTHS = ("failed", *HALF, "full")
MANN_KENDALL, DIFFERENCES = "Mann-Kendall (pymannkendall)", "difference in differences"
BREAKS = "break detection (nrt CUSUM, EWMA)"

type Scores = dict[str, np.ndarray]
"""``tool|variant``: (sites, seasons), NaN: nothing to say; ``default|tool``: (sites,) not seen growing by year 4."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """The same series as the verdict's: days in rows, sites in columns, NaN where a site was not seen."""

    days: np.ndarray  # (t,) datetime64[D]
    start: np.datetime64
    difference: np.ndarray  # (t, n) cover less that of the control, in the season that the verdict uses [1]

    @classmethod
    def of(cls, some: Sequence[Case]) -> "Panel":
        """Cube of cases that share their start."""
        days = np.unique(np.concatenate([case.series.dates for case in some]))
        doy = (days - days.astype("datetime64[Y]")).astype(int) + 1
        days = days[(doy >= simulate.OPENS) & (doy < simulate.CLOSES)]
        difference = np.full((days.size, len(some)), np.nan)
        for i, case in enumerate(some):
            inside = np.isin(case.series.dates, days)
            at = np.searchsorted(days, case.series.dates[inside])
            difference[at, i] = (case.series.cover - case.series.control)[inside]
        return cls(days=days, start=np.datetime64(some[0].site.start, "D"), difference=difference)

    @property
    def year(self) -> np.ndarray:
        """(t,) calendar year."""
        years: np.ndarray = self.days.astype("datetime64[Y]").astype(int) + 1970
        return years

    @property
    def seasons(self) -> np.ndarray:
        """Calendar years whose season lies after the start."""
        return np.unique(self.year[self.days >= self.start])


def scored(seed: int, sites: int) -> dict[str, Scores]:
    """Scores of every tool on the present world's sites, by truth."""
    panels = {truth: Panel.of(list(cases("present", BASE, truth, sites=sites, seed=seed))) for truth in TRUTHS}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peers warn of short and constant series
        return {truth: opinions(panel) for truth, panel in panels.items()}


def opinions(panel: Panel) -> Scores:
    """Scores of every tool on one panel."""
    return _yearly_tools(panel) | _breaks(panel)


def _yearly_tools(panel: Panel) -> Scores:
    """Mann-Kendall's z over the yearly means; the mean of the seasons since the start less that of those before."""
    years = np.unique(panel.year)
    means = np.array([np.nanmean(panel.difference[panel.year == y], axis=0) for y in years])
    seasons, n = panel.seasons, panel.difference.shape[1]
    before = means[years < seasons[0]]
    z, last, every = (np.full((n, seasons.size), np.nan) for _ in range(3))
    rises, better = np.zeros(n, bool), np.zeros(n, bool)
    for k, y in enumerate(seasons):
        since = means[(years >= seasons[0]) & (years <= y)]
        last[:, k] = since[-1] - np.nanmean(before, axis=0)
        every[:, k] = np.nanmean(since, axis=0) - np.nanmean(before, axis=0)
        for i, row in enumerate(means[years <= y].T):
            row = row[np.isfinite(row)]
            if row.size < 4:
                continue
            test = pymannkendall.original_test(row, alpha=LEVEL)
            z[i, k] = test.z
            if k == DEFAULT_YEAR - 1:
                rises[i] = test.trend == "increasing"
        if k == DEFAULT_YEAR - 1:
            t = scipy.stats.ttest_ind(since, before, nan_policy="omit")
            better = (np.asarray(t.pvalue) < LEVEL) & (np.asarray(t.statistic) > 0)
    return {
        f"{MANN_KENDALL}|z": z, f"{DIFFERENCES}|last season": last, f"{DIFFERENCES}|all seasons": every,
        f"default|{MANN_KENDALL}": ~rises, f"default|{DIFFERENCES}": ~better,
    }  # fmt: skip


def _breaks(panel: Panel) -> Scores:
    """Last season's residual, and the strongest positive break so far, of each monitor."""
    year, seasons = panel.year[panel.days >= panel.start], panel.seasons
    found: Scores = {}
    for name, tool in (("CUSUM", CuSum), ("EWMA", EWMA)):
        for trend in (True, False):
            reach, residual = watch(panel, tool, trend=trend)
            last = np.array([np.nanmean(residual[year == y], axis=0) for y in seasons]).T
            top = np.array([np.nanmax(reach[year <= y], axis=0) for y in seasons]).T
            kind = f"{name}, {'with' if trend else 'no'} trend"
            found[f"{BREAKS}|residual, {kind}"], found[f"{BREAKS}|break, {kind}"] = last, top
            if trend and name == "CUSUM":
                found[f"default|{BREAKS}"] = ~(top[:, DEFAULT_YEAR - 1] >= 1)
    return found


def watch(panel: Panel, tool: type, *, trend: bool) -> tuple[np.ndarray, np.ndarray]:
    """(scenes since the start, sites): reach to a positive break, 1 at the default; residual over the fit's spread."""
    numba.set_num_threads(1)
    n = panel.difference.shape[1]
    cube = xr.DataArray(
        panel.difference[:, None, :], dims=("time", "y", "x"),
        coords={"time": panel.days.astype("datetime64[ns]"), "y": np.arange(1.0), "x": np.arange(float(n))},
    )  # fmt: skip
    after = np.flatnonzero(panel.days >= panel.start)
    monitor = tool(trend=trend, update_mask=False)
    monitor.fit(cube[panel.days < panel.start])
    monitor.mask[monitor.mask == 2] = 1  # sites that the tool would refuse are watched all the same
    spread = monitor.sigma.ravel()
    later = xr.DataArray(np.empty(after.size), dims="time", coords={"time": cube.time.values[after]})
    design = monitor.build_design_matrix(later, trend=trend, harmonic_order=monitor.harmonic_order)
    expected = design @ monitor.beta.reshape(design.shape[1], n)
    rows = iter(design[:, None])
    monitor._regressors = lambda _: next(rows)  # its own, of all dates at once: one by one they were most of the work
    reach, residual = np.full((after.size, n), np.nan), np.full((after.size, n), np.nan)
    for k, t in enumerate(after):
        values, when = panel.difference[t], panel.days[t].astype(object)
        monitor.monitor(values[None, :], dt.datetime(when.year, when.month, when.day))  # noqa: DTZ001  (nrt: naive)
        with np.errstate(invalid="ignore", divide="ignore"):
            residual[k] = np.where(spread > 0, (values - expected[k]) / spread, np.nan)
            reach[k] = np.where(np.isfinite(values), (monitor.process / monitor.boundary).ravel(), np.nan)
    residual[~np.isfinite(residual)] = np.nan
    reach[~np.isfinite(reach)] = np.nan
    return reach, residual


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What one tool does; shares of held-out sites."""

    tool: str
    found: np.ndarray  # (seasons,) failed sites called failed
    false: float  # sites at half the plan ever called so, the worst of plan right, a fifth too large and a year late
    default: tuple[float, float, float]  # not seen growing by year 4 at the tool's defaults: failed, half, full


def standings(training: Sequence[dict[str, Scores]], held_out: Sequence[dict[str, Scores]]) -> list[Standing]:
    """Every tool, the best of its variants on the training seeds with thresholds from there, scored on the others."""

    def together(results: Sequence[dict[str, Scores]], truth: str, key: str) -> np.ndarray:
        return np.concatenate([result[truth][key] for result in results])

    found = []
    for tool in (DIFFERENCES, BREAKS, MANN_KENDALL):
        variants = [key for key in training[0]["failed"] if key.startswith(f"{tool}|")]
        at = {key: tuned({truth: together(training, truth, key) for truth in HALF}, BUDGET) for key in variants}
        best = max(variants, key=lambda key: called(together(training, "failed", key), at[key]).mean(axis=0)[4])
        found.append(
            Standing(
                tool=tool, found=called(together(held_out, "failed", best), at[best]).mean(axis=0),
                false=max(float(called(together(held_out, t, best), at[best])[:, -1].mean()) for t in HALF),
                default=tuple(
                    float(together(held_out, t, f"default|{tool}").mean()) for t in ("failed", "half", "full")
                ),
            )
        )  # fmt: skip
    return found


def tuned(nulls: dict[str, np.ndarray], budget: float) -> np.ndarray:
    """Thresholds of a score, one a season, at which a site is called failed.

    The same quantile of the null at every look from :data:`FIRST_LOOK` on, the lowest of the nulls', as high as it may
    be for the share of sites ever called failed to stay within `budget` under each null: (n, seasons) scores of sites
    that achieve just half of what was promised; NaN: nothing to say.
    """
    seasons = next(iter(nulls.values())).shape[1]

    def thresholds(share: float) -> np.ndarray:
        out = np.full(seasons, -np.inf)
        for k in range(FIRST_LOOK, seasons):
            seen = [v[:, k][np.isfinite(v[:, k])] for v in nulls.values()]
            if all(s.size for s in seen):
                out[k] = min(np.quantile(s, share, method="lower") for s in seen)
        return out

    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        at = thresholds(middle)
        false = max(float(np.mean(called(v, at)[:, -1])) for v in nulls.values())
        low, high = (middle, high) if false <= budget else (low, middle)
    return thresholds(low)


def called(score: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """(n, seasons) whether a site was called failed at the end of that season or before."""
    with np.errstate(invalid="ignore"):
        so_far: np.ndarray = np.maximum.accumulate(score < thresholds, axis=1)
    return so_far
