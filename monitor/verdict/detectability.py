"""Detectability of failure: how soon a site on which nothing grows would be reported, before a single night has run.

A small plan, late growth, few clear scenes or few years before the start can mean that no verdict is possible for
years. Whoever registers a site should know that then, and count plants on the ground meanwhile.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from monitor.sites.growing_season import GrowingSeason
from monitor.sites.site import Site
from monitor.verdict.assess import DEFAULT, prior_of
from monitor.verdict.calibration import Calibration, boundary
from monitor.verdict.kernels.history import ReportingRules, SimulatedSites, first_reported
from monitor.verdict.kernels.types import SeasonState, Times
from monitor.verdict.plans import Plans

SIMULATED_SITES: Final = 200
"""Simulated sites: a probability of one half is known to 0.035."""
LIKELY: Final = 0.5
"""Probability from which red or a watch is called likely. [1]"""
MORE_SCENES: Final = 2.0
"""Factor on the clear scenes where more imagery is considered. Landsat 8 and 9 beside Sentinel-2 give 1.6 times the
passes where Sentinel-2 passes every five days, and more where its years are few. [1]"""
STRIP_DRIFT: Final = 0.78
STRIP_SCENE: Final = 0.62
"""Factors on the drift between years and on the noise of a scene where the control ground is within the site instead of
around it: standard deviation of the difference of two pieces of ground at most 130 m apart over that of pieces 500 to
1,200 m apart, .0156 / .0200 of their yearly means and .0130 / .0210 within a year (374 and 1,793 pairs, Sentinel-2, a
square kilometre of Romania, six years, 2026-11). [1]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detectability:
    """Probability that a site on which nothing grows has been reported, one year after its start."""

    year: int
    """Years since the start, at the end of which this applies."""
    until: int
    """Calendar year in which they end."""
    red: float
    """Probability that it has turned red by the failure rule. [1]"""
    watch: float
    """Probability that it has been watched, or turned red. [1]"""


def detectability(
    site: Site,
    *,
    seasons_before: int,
    scenes_a_year: float,
    calibration: Calibration = DEFAULT,
    alpha: float = 0.05,
    control: float = 0.2,
    drift: float = 1.0,
    scene: float = 1.0,
    years: int = 10,
) -> tuple[Detectability, ...]:
    """Probability that a failing site (theta = 0) is reported, by each year after its start.

    Monte Carlo simulation with a fixed seed. Each simulated site has its own noise, as sites differ. That noise and the
    season are taken as known and there is no second ring, so the result is somewhat optimistic with fewer than two
    seasons before the start.

    Parameters
    ----------
    site : Site, its plan, start, cohorts, biome, area and latitude are used
    seasons_before : int, growing seasons with scenes before the start
    scenes_a_year : float, clear scenes in a growing season: passes times clear share
    calibration : Calibration, its noise is simulated and its rules are applied
    alpha : float, false-alarm budget for ten years [1]
    control : float, cover of the ground around the site at the peak of its season [1]
    drift, scene : float
        Factors on the drift between site and control and on the seasons' own differences, and on the noise of a
        scene. [1]
    years : int, years after the start

    Returns
    -------
    tuple of Detectability
        One a year. Empty where nothing is promised (tending): no failure can be detected.

    Raises
    ------
    BadConfiguration
        `alpha` has no calibrated boundary.
    """
    plan, c = site.plan, calibration
    if not plan.A > 0:
        return ()
    growing = GrowingSeason.of(site)
    start = int(np.datetime64(site.start, "D").astype(np.int64))
    times, opened, chance_seen = _passes(growing, start, seasons_before, scenes_a_year, years)
    variance = np.full(times.day.size, c.scene_sd**2)
    if site.hectares > 0:
        variance += c.pixel_sd**2 * min(c.patch_hectares / site.hectares, 1.0)
    s = np.exp(-0.5 * ((times.position - growing.peak) / growing.width) ** 2)
    sites = _simulated_sites(
        times, opened, s, variance, chance_seen, c, seasons_before=seasons_before, control=control,
        factors=(drift, scene),
    )  # fmt: skip
    n, only = times.day.size, np.zeros(times.day.size, np.int64)
    plans = [Plans.of([replace(site, plan=replace(plan, L=plan.L + late))]) for late in (0.0, 0.5, 1.0)]
    curves = np.column_stack([one.expected(only, times.day) for one in plans])
    state = SeasonState(
        s, np.zeros(n), np.full(n, control), np.full(n, growing.peak), np.full(n, max(seasons_before, 1)),
        np.full(n, c.rain_sd), np.zeros(n), np.zeros(n), s,
    )  # fmt: skip
    baseline = c.baseline_sd if seasons_before > 0 else 2 * c.baseline_sd
    rules = ReportingRules(
        start, int(plans[0].most_begun[0]) + int(np.ceil(365.25 * plan.too_early_years)),
        growing.peak + c.look_after_peak_days, float(np.log(boundary(alpha, c.boundary))), np.array(c.surcharge),
        c.confident,
    )  # fmt: skip
    noise = c.noise._replace(baseline=baseline, own_wander=0.0, own_scene=0.0)
    reported = first_reported(times, sites, state, curves, variance, noise, prior_of(c, promised=True), rules)
    by_year = []
    for year in range(1, years + 1):
        end = start + int(365.25 * year)
        red, watch = (float(np.mean((days >= 0) & (days <= end))) for days in reported)
        until = int(str(np.datetime64(end - 1, "D"))[:4])
        by_year.append(Detectability(year=year, until=until, red=red, watch=watch))
    return tuple(by_year)


def _passes(
    growing: GrowingSeason, start: int, seasons_before: int, scenes_a_year: float, years: int
) -> tuple[Times, np.ndarray, float]:
    """Passes in the growing season (twice as many as clear scenes), all seasons, and the chance that one is clear."""
    first = start - 366 * (max(seasons_before, 0) + 1)
    step = min(max(1, int(growing.length / (2 * scenes_a_year + 1e-9))), 10)
    every = np.arange(first, start + int(365.25 * years) + 1, step)
    season, position = growing.locate(every)
    inside = (position <= growing.length) & (season >= season[np.searchsorted(every, start)] - seasons_before)
    times = Times(every[inside], position[inside].astype(np.int64), season[inside].astype(np.int64))
    per_season = times.day.size / max(np.unique(times.season).size, 1)
    return times, np.unique(season), scenes_a_year / max(per_season, 1e-9)


def _simulated_sites(
    times: Times, opened: np.ndarray, s: np.ndarray, variance: np.ndarray, chance_seen: float, c: Calibration, *,
    seasons_before: int, control: float, factors: tuple[float, float],
) -> SimulatedSites:  # fmt: skip
    """Draw series of sites without uplift from the calibration's own model of the difference."""
    rng, sites = np.random.default_rng(20261125), (SIMULATED_SITES, 1)
    place, n = np.searchsorted(opened, times.season), times.day.size
    years, of_year = (times.day - times.day[0]) / 365.25, np.arange(opened.size)
    memory = c.year_memory ** np.abs(of_year[:, None] - of_year)
    rain = np.maximum(rng.normal(0, c.rain_sd, (SIMULATED_SITES, opened.size)), -0.7)[:, place]
    angle = 2 * np.pi * times.position / 365.25
    wander, scene = np.ones(sites), np.ones(sites)
    if seasons_before > 0:  # else a site is taken as the usual one
        wander, scene = (rng.lognormal(-0.5 * sd**2, sd, sites) for sd in (c.own_wander, c.own_scene))
    wander, scene = wander * factors[0], scene * factors[1]
    difference = (
        (rng.normal(0, c.baseline_sd, sites) + rng.normal(0, c.trend_sd, sites) * years) * (s * (1 + rain))
        + rng.normal(0, c.harmonic_sd, sites) * np.cos(angle)
        + rng.normal(0, c.harmonic_sd, sites) * np.sin(angle)
        + _drift(rng, times.day, c.slow_days, c.slow_sd) * wander
        + _drift(rng, times.day, c.fast_days, c.fast_sd) * scene
        + c.year_sd * rng.multivariate_normal(0 * of_year, memory, SIMULATED_SITES)[:, place] * s * wander
        + rng.normal(0, c.elasticity_sd, sites) * control * s * rain
        + rng.normal(0, 1, (SIMULATED_SITES, n)) * np.sqrt(variance) * scene
    )
    difference[rng.random((SIMULATED_SITES, n)) >= chance_seen] = np.nan
    return SimulatedSites(difference, rain, wander[:, 0], scene[:, 0])


def _drift(rng: np.random.Generator, day: np.ndarray, memory: float, sd: float) -> np.ndarray:
    """Ornstein-Uhlenbeck paths, (sites, days)."""
    keep = np.exp(-np.diff(day) / memory)
    path = rng.normal(0, sd, (SIMULATED_SITES, day.size))
    for i in range(1, day.size):
        path[:, i] = keep[i - 1] * path[:, i - 1] + np.sqrt(1 - keep[i - 1] ** 2) * path[:, i]
    return path


NO_UPLIFT: Final = (
    "No uplift was promised here, so there is no failure to see; only loss is judged.",
    "此处未承诺增量，无从判断是否失败，只判断损失。",
)
NEVER_RED: Final = (
    "If nothing grows here, red is not likely even by {0.until} (chance {0.red:.0%})",
    "若此处毫无恢复，{0.until} 年底前也不大可能变红（概率 {0.red:.0%}）",
)
RED_FROM: Final = (
    "If nothing grows here, red is not likely before {0.until} (chance {0.red:.0%} by its end)",
    "若此处毫无恢复，{0.until} 年之前不大可能变红（到该年底概率 {0.red:.0%}）",
)
NEVER_WATCHED: Final = (", nor is a watch: count plants on the ground.", "，预警亦然；请以实地调查为准。")
WATCHED_FROM: Final = (
    "; a watch not before {0.until} ({0.watch:.0%}).",
    "；预警不早于 {0.until} 年（{0.watch:.0%}）。",
)


def in_words(years: tuple[Detectability, ...], *, language: str = "en") -> str:
    """When a failure of a site is likely to be reported, in one sentence.

    Parameters
    ----------
    years : tuple of Detectability
    language : str, ``zh`` for Chinese; anything else is English

    Returns
    -------
    str
    """
    pick = language == "zh"
    if not years:
        return NO_UPLIFT[pick]
    red = next((year for year in years if year.red >= LIKELY), None)
    watch = next((year for year in years if year.watch >= LIKELY), None)
    red_words = NEVER_RED[pick].format(years[-1]) if red is None else RED_FROM[pick].format(red)
    return red_words + (NEVER_WATCHED[pick] if watch is None else WATCHED_FROM[pick].format(watch))
