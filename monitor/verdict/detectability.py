"""Can this site be seen? How soon a site on which nothing grows would be told, before a single night has run.

A small plan, late growth, few clear scenes or few years before the start can all mean that no verdict is to be had for
years. Whoever registers a site should know that then, and count plants on the ground meanwhile.
"""

from dataclasses import dataclass, replace

import numpy as np

from monitor.sites.growing_season import GrowingSeason
from monitor.sites.site import Site
from monitor.verdict.assess import DEFAULT, cohorts_of
from monitor.verdict.calibration import Calibration, boundary
from monitor.verdict.kernels import Prior, first_told

SITES = 200
"""Simulated sites: a chance of one half is known to .035."""
LIKELY = 0.5
"""Chance from which red or a watch is called likely. [1]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detectability:
    """Chances for one year after the start, of a site on which nothing grows."""

    year: int
    """Years since the start, at the end of which this holds."""
    until: int
    """Calendar year in which they are over."""
    red: float
    """Chance that it has turned red by the failure rule. [1]"""
    watch: float
    """Chance that it has been watched, or turned red. [1]"""


def detectability(
    site: Site,
    *,
    seasons_before: int,
    scenes_a_year: float,
    calibration: Calibration = DEFAULT,
    alpha: float = 0.05,
    control: float = 0.2,
    years: int = 10,
) -> tuple[Detectability, ...]:
    """Chance that a site that fails (theta = 0) is told, by each year after its start.

    Parameters
    ----------
    site : Site
        Plan, start, cohorts, biome, area and latitude count.
    seasons_before : int
        Growing seasons before the start of which there are scenes.
    scenes_a_year : float
        Scenes in a growing season in which the site is clear: passes times clear rate.
    calibration : Calibration
        Its noise is what is simulated, and its rules are what is asked.
    alpha : float
        Lifetime false-alarm budget. [1]
    control : float
        Cover of the ground round the site at the height of its season. [1]

    Returns
    -------
    tuple of Detectability
        One a year. Empty where nothing is promised (tending): there is no failure to see.

    Notes
    -----
    Each simulated site has its own noise, as sites differ. That and the season are taken as known and no second ring is
    asked, so that the chances are somewhat hopeful with fewer than two seasons before the start. The same numbers come
    out each time.
    """
    plan, c = site.plan, calibration
    if not plan.A > 0:
        return ()
    window, rng = GrowingSeason.of(site), np.random.default_rng(20261125)
    start = int(np.datetime64(site.start, "D").astype(np.int64))
    first = start - 366 * (max(seasons_before, 0) + 1)
    step = min(max(1, int(window.length / (2 * scenes_a_year + 1e-9))), 10)  # twice as many passes as clear scenes
    every = np.arange(first, start + int(365.25 * years) + 1, step)
    season, position = window.locate(every)
    opened = np.unique(season)
    begun = season[np.searchsorted(every, start)]
    kept = (position <= window.length) & (season >= begun - seasons_before)
    day, season, position = every[kept], season[kept].astype(np.int64), position[kept].astype(np.int64)
    per_season = day.size / max(np.unique(season).size, 1)
    n, place = day.size, np.searchsorted(opened, season)

    s = np.exp(-0.5 * ((position - window.peak) / window.width) ** 2)
    rain = np.maximum(rng.normal(0, c.rain_sd, (SITES, opened.size)), -0.7)[:, place]
    mu = s * (1 + rain)
    scene = np.full(n, c.scene_sd**2)
    if site.hectares > 0:
        scene += c.pixel_sd**2 * min(c.patch_hectares / site.hectares, 1.0)
    angle = 2 * np.pi * position / 365.25
    wander, seen = np.ones((SITES, 1)), np.ones((SITES, 1))
    if seasons_before > 0:  # else a site is taken as the usual one
        wander, seen = (rng.lognormal(-0.5 * sd**2, sd, (SITES, 1)) for sd in (c.own_wander, c.own_scene))
    difference = (
        rng.normal(0, c.baseline_sd, (SITES, 1)) * mu
        + rng.normal(0, c.harmonic_sd, (SITES, 1)) * np.cos(angle)
        + rng.normal(0, c.harmonic_sd, (SITES, 1)) * np.sin(angle)
        + _wandering(rng, day, c.slow_days, c.slow_sd) * wander
        + _wandering(rng, day, c.fast_days, c.fast_sd) * seen
        + rng.normal(0, c.year_sd, (SITES, opened.size))[:, place] * s * wander
        + rng.normal(0, c.elasticity_sd, (SITES, 1)) * control * s * rain
        + rng.normal(0, 1, (SITES, n)) * np.sqrt(scene) * seen
    )
    difference[rng.random((SITES, n)) >= scenes_a_year / max(per_season, 1e-9)] = np.nan
    parts = cohorts_of(site, site.cohorts)
    curves = np.column_stack(
        [parts.promised(replace(site, plan=replace(plan, L=plan.L + later)), day) for later in (0.0, 0.5, 1.0)]
    )
    baseline = c.baseline_sd if seasons_before > 0 else 2 * c.baseline_sd
    noise = c.noise._replace(baseline=baseline, own_wander=0.0, own_scene=0.0)
    prior = Prior(
        c.theta_mean, c.theta_sd, c.loss_sd, c.plan_weight, (0.0, 0.25, 0.5, 0.7), c.rain_sd, c.widening,
        c.gain_sd,
    )  # fmt: skip
    red, watch = first_told(
        day, position, season, difference, s, rain, np.full(n, control), curves, scene,
        np.full(n, max(seasons_before, 1)), np.full(n, c.rain_sd), noise, wander[:, 0], seen[:, 0],
        prior, start, parts.most_begun + int(np.ceil(365.25 * plan.too_early_years)),
        window.peak + c.look_after_peak_days, float(np.log(boundary(alpha, c.boundary))), c.confident,
    )  # fmt: skip
    found = []
    for year in range(1, years + 1):
        end = start + int(365.25 * year)
        until = int(str(np.datetime64(end - 1, "D"))[:4])
        chances = (float(np.mean((days >= 0) & (days <= end))) for days in (red, watch))
        found.append(Detectability(year=year, until=until, red=next(chances), watch=next(chances)))
    return tuple(found)


def _wandering(rng: np.random.Generator, day: np.ndarray, memory: float, sd: float) -> np.ndarray:
    """Ornstein-Uhlenbeck paths, (sites, days)."""
    keep = np.exp(-np.diff(day) / memory)
    path = rng.normal(0, sd, (SITES, day.size))
    for i in range(1, day.size):
        path[:, i] = keep[i - 1] * path[:, i - 1] + np.sqrt(1 - keep[i - 1] ** 2) * path[:, i]
    return path


def in_words(sights: tuple[Detectability, ...], *, language: str = "en") -> str:
    """Plainly, when a failure of this site is likely to be told.

    Parameters
    ----------
    sights : tuple of Detectability
        Of :func:`detectability`.
    language : str
        ``zh`` for Chinese; anything else is English.
    """
    chinese = language == "zh"
    if not sights:
        return (
            "此处未承诺增量，无从判断是否失败，只判断损失。"
            if chinese
            else "No uplift was promised here, so there is no failure to see; only loss is judged."
        )
    red = next((one for one in sights if one.red >= LIKELY), None)
    watch = next((one for one in sights if one.watch >= LIKELY), None)
    last = sights[-1]
    if red is None:
        said = (
            f"若此处毫无恢复，{last.until} 年底前也不大可能变红（概率 {last.red:.0%}）"
            if chinese
            else f"If nothing grows here, red is not likely even by {last.until} (chance {last.red:.0%})"
        )
    else:
        said = (
            f"若此处毫无恢复，{red.until} 年之前不大可能变红（到该年底概率 {red.red:.0%}）"
            if chinese
            else f"If nothing grows here, red is not likely before {red.until} (chance {red.red:.0%} by its end)"
        )
    if watch is None:
        return said + ("，预警亦然；请以实地调查为准。" if chinese else ", nor is a watch: count plants on the ground.")
    return said + (
        f"；预警不早于 {watch.until} 年（{watch.watch:.0%}）。"
        if chinese
        else f"; a watch not before {watch.until} ({watch.watch:.0%})."
    )
