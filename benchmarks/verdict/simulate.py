"""Sites with a known fate, simulated at the level of site means.

The truth of each site is stored beside its series. The simulator shares its components with the
filter: what goes wrong here is wrong with the method itself. :mod:`benchmarks.verdict.other` and
:mod:`benchmarks.verdict.third` have another structure.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np
from shapely.geometry import Polygon

from monitor.sites.site import Plan, Site
from monitor.verdict.assessment import Series

FIRST_YEAR = 2016
OPENS, CLOSES = 121, 289  # days of the year between which a site is seen; outside them nothing is judged
STRIP_NOISE, RING_NOISE = 0.010, 0.004
"""Noise of a scene's control mean: untreated strips, and a ring of units. [cover fraction]"""
PLAN = Plan(A=0.20, k=0.45, L=1.0, too_early_years=2.0)  # the plan that the figures are quoted for
FATES = {"success": (1.0, 0.2), "slow": (0.4, 0.07), "failed": (0.0, 0.08), "lost": (1.0, 0.2), "disturbed": (1.0, 0.2)}
"""Mean and spread of theta by fate. A `lost` site loses all it gained, a `disturbed` one .06 to .14 of cover, which
comes back over years."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """How the simulated ground, weather and sensor behave. Cover is a fraction."""

    pre: int = 5  # seasons before the start
    post: int = 6  # seasons from the start on; every start is a 1 January
    clear: float = 0.45  # chance that a pass is clear
    plan: Plan = PLAN  # what was promised
    truth: Plan | None = None  # how growth really goes at theta = 1; None: as promised
    rain_sd: float = 0.18
    mismatch_sd: float = 0.15  # how differently site and control answer to rain [1]
    slow_sd: float = 0.015
    baseline_sd: float = 0.03
    scene_sd: float = 0.02
    pass_days: float = 5.0  # time between passes: 2.5 with Landsat beside Sentinel-2 [day]
    strips: float = 0.0
    """Above 0, the control is untreated strips of the site itself: the share of the site's own level, drift and
    response to rain that they have too. Strips are small: their mean has a noise of .010, that of a ring .004. [1]"""
    drought_year: int = 0  # year since the start with .6 less rain than normal everywhere; 0: none
    lot: int = 0  # sites of one lot, which share what follows; 0: each site is alone
    shared_rain: bool = False  # all sites of a lot have the same rain
    shock_sd: float = 0.0  # what all sites of a lot gain or lose against their controls in a year [cover fraction]
    ring_sd: float = 0.0
    """Drift over three years of the one ring of controls that all sites of a lot have. [cover fraction]"""


NEVER = np.datetime64("NaT", "D")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A site, its series, and what was put into it."""

    site: Site
    series: Series
    theta: float  # share of the truth's curve, until the event where there is one [1]
    event: np.datetime64 = NEVER  # day of the loss; NaT without one
    units: np.ndarray | None = None  # (scenes, units) cover of the control units, where the world has them


def site_of(name: str, start: date, plan: Plan = PLAN, hectares: float = 100.0) -> Site:
    """A planted site on loess without a place."""
    return Site(
        id=name, name="", geometry=Polygon(), start=start, intervention="planting", biome="loess", plan=plan,
        hectares=hectares,
    )  # fmt: skip


def series_of(days: np.ndarray, cover: np.ndarray, control: np.ndarray, seen: np.ndarray) -> Series:
    """The scenes that were seen, cover from 0 to 1."""
    return Series(dates=days[seen], cover=np.clip(cover[seen], 0, 1), control=np.clip(control[seen], 0, 1))


def start_of(world: World) -> date:
    """First day of the intervention."""
    return date(FIRST_YEAR + world.pre, 1, 1)


def simulate(
    world: World, fates: dict[str, int], rng: np.random.Generator, *, theta: float | np.ndarray | None = None
) -> Iterator[Case]:
    """So many sites of each fate, see :data:`FATES`; `theta` overrides the fates' own share."""
    fate = np.repeat(list(fates), list(fates.values()))
    n, years = fate.size, world.pre + world.post
    start = np.datetime64(start_of(world), "D")
    passes = np.arange(OPENS, CLOSES, world.pass_days).astype(int)
    first_days = np.array([f"{FIRST_YEAR + y}-01-01" for y in range(years)], "datetime64[D]")
    days = (first_days[:, None] + (passes - 1).astype("timedelta64[D]")).ravel()
    year = np.repeat(np.arange(years), passes.size)
    tau = (days - start).astype(int) / 365.25

    base = rng.uniform(0.12, 0.30, (n, 1))
    peak = rng.normal(215, 15, (n, 1)) + rng.normal(0, 7, (n, years))[:, year]
    s = np.exp(-0.5 * ((np.tile(passes, years) - peak) / 45) ** 2)
    rain = _rain(world, n, years, rng)[:, year]
    response = rng.normal(1, world.mismatch_sd, (n, 1))
    achieved = rng.normal([FATES[f][0] for f in fate], [FATES[f][1] for f in fate])
    if theta is not None:
        achieved = np.broadcast_to(np.asarray(theta, float), (n,))
    uplift, moment = _uplift(world, fate, achieved, tau, rng)

    shape = (n, days.size)
    own = _wandering(rng, days, 365, world.slow_sd, n) + _wandering(rng, days, 15, 0.012, n)
    noise = rng.normal(0, world.scene_sd, shape)
    missed = np.where(rng.random(shape) < 0.04, -np.abs(rng.normal(0, 0.08, shape)), 0.0)
    shared = rng.normal(0, 0.01, shape)
    offset = rng.normal(0, world.baseline_sd, (n, 1))
    cover = (base + offset + uplift) * s * np.maximum(1 + rain * response, 0.1) + 0.04 + own + noise + missed + shared
    if world.lot:
        cover += _of_lot(rng.normal(0, world.shock_sd, (n, years)), world.lot)[:, year] * s
        cover += _of_lot(_wandering(rng, days, 1095, world.ring_sd, n), world.lot)
    alike = world.strips
    control = (base + alike * offset) * s * np.maximum(1 + rain * (1 + alike * (response - 1)), 0.1)
    control += 0.04 + alike * own + shared + rng.normal(0, STRIP_NOISE if alike else RING_NOISE, shape)
    clear = rng.random(shape) < world.clear
    for i in range(1, days.size):  # clouds persist: three passes of ten are as the one before
        clear[:, i] = np.where(rng.random(n) < 0.3, clear[:, i - 1], clear[:, i])

    event = start + (moment * 365.25).astype("timedelta64[D]")
    event[~np.isin(fate, ["lost", "disturbed"])] = NEVER
    for i in range(n):
        site = site_of(f"{fate[i]}-{i:05d}", start_of(world), world.plan)
        yield Case(site=site, series=series_of(days, cover[i], control[i], clear[i]), theta=achieved[i], event=event[i])


def _rain(world: World, n: int, years: int, rng: np.random.Generator) -> np.ndarray:
    """(sites, years) rain against normal. [1]"""
    rain = rng.normal(0, world.rain_sd, (n, years))
    for y in range(1, years):
        rain[:, y] = 0.2 * rain[:, y - 1] + np.sqrt(1 - 0.2**2) * rain[:, y]
    if world.drought_year:
        rain[:, world.pre + world.drought_year - 1] = -0.6
    return np.maximum(_of_lot(rain, world.lot) if world.shared_rain else rain, -0.8)


def _of_lot(values: np.ndarray, lot: int) -> np.ndarray:
    """(sites, ...) values, those of a lot's first site for all of its sites."""
    return values[np.arange(len(values)) // lot * lot] if lot else values


def _uplift(
    world: World, fate: np.ndarray, achieved: np.ndarray, tau: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(sites, scenes) uplift, and (sites,) when it is lost where the fate is to lose it. [cover fraction, year]"""
    n = fate.size
    grown = world.truth or world.plan
    uplift = achieved[:, None] * grown.A * -np.expm1(-grown.k * np.maximum(tau - grown.L, 0))
    drop, moment = sudden_losses(n, world.post, tau, rng)
    uplift = np.where((fate == "lost")[:, None] & (tau > moment[:, None]), 0.0, uplift)
    return np.where((fate == "disturbed")[:, None], uplift - drop, uplift), moment


def sudden_losses(n: int, post: int, tau: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(sites, scenes) cover lost at the season's peak, half of it back in one to four years; (sites,) when. [year]"""
    moment = rng.uniform(1.5, post - 1.5, (n, 1))
    recovery = 0.5 ** (np.maximum(tau - moment, 0) / rng.uniform(1, 4, (n, 1)))
    return rng.uniform(0.06, 0.14, (n, 1)) * recovery * (tau > moment), moment[:, 0]


def _wandering(rng: np.random.Generator, days: np.ndarray, memory: float, sd: float, n: int) -> np.ndarray:
    """Ornstein-Uhlenbeck paths, (n, days)."""
    keep = np.exp(-np.diff(days).astype(float) / memory)
    path = rng.normal(0, sd, (n, days.size))
    for i in range(1, days.size):
        path[:, i] = keep[i - 1] * path[:, i - 1] + np.sqrt(1 - keep[i - 1] ** 2) * path[:, i]
    return path
