"""Sites with a known fate, simulated at the level of site means.

The truth of each site is kept beside its series. The simulator shares its components with the
filter, so it serves for sweeps; the real-noise variant is the test that counts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np
from shapely.geometry import Polygon

from monitor.sites.site import Plan, Site
from monitor.verdict.assessment import Series

FIRST_YEAR = 2016
DAYS_OF_YEAR = np.arange(121, 289, 5)
"""Passes inside the growing season; outside it nothing is judged."""
PLAN = Plan(A=0.20, k=0.45, L=1.0, too_early_years=2.0)
"""The plan that the figures are quoted for."""
FATES = ("success", "slow", "failed", "lost", "disturbed")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """How the simulated ground, weather and sensor behave. Cover is a fraction."""

    pre: int = 5
    """Seasons before the start."""
    post: int = 6
    """Seasons from the start on; every start is a 1 January."""
    clear: float = 0.45
    """Chance that a pass is clear."""
    plan: Plan = PLAN
    """What was promised."""
    truth: Plan | None = None
    """How growth really goes at theta = 1; None: as promised."""
    smaller: tuple[float, float] = (1.0, 1.0)
    """Each site's own uplift at maturity, as a share of the truth's: drawn evenly between the two. [1]"""
    later: tuple[float, float] = (0.0, 0.0)
    """How much later than the truth's each site's growth begins: drawn evenly between the two. [year]"""
    faster: float = 1.0
    """Each site's own rate: the truth's, times or divided by up to so much. [1]"""
    rain_sd: float = 0.18
    mismatch_sd: float = 0.15
    """How differently site and control answer to rain. [1]"""
    slow_sd: float = 0.015
    baseline_sd: float = 0.03
    scene_sd: float = 0.02
    heavy_tails: bool = False
    """Scene noise after Student's t with three degrees of freedom, of the same spread."""
    greening: float = 0.0
    """Greening of the first ring of controls alone. [1/year]"""
    two_rings: bool = False
    both_greening: bool = False
    """The second ring greens as the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A site, its series, and what was put into it."""

    site: Site
    series: Series
    fate: str
    theta: float
    """Share of the truth's curve, until the event where there is one. [1]"""
    event: np.datetime64
    """Day of the loss; NaT without one."""
    rain: np.ndarray | None = None
    """Rain of each calendar year against normal, from the year of the first date on, as a perfect gauge would have it;
    None where nobody measured it. [1]"""


def start_of(world: World) -> date:
    """First day of the intervention."""
    return date(FIRST_YEAR + world.pre, 1, 1)


def simulate(
    world: World, fates: dict[str, int], rng: np.random.Generator, *, theta: float | None = None
) -> Iterator[Case]:
    """So many sites of each fate; `theta` overrides the fates' own share."""
    fate = np.repeat(list(fates), list(fates.values()))
    n, years = fate.size, world.pre + world.post
    start = np.datetime64(start_of(world), "D")
    first_days = np.array([f"{FIRST_YEAR + y}-01-01" for y in range(years)], "datetime64[D]")
    days = (first_days[:, None] + (DAYS_OF_YEAR - 1).astype("timedelta64[D]")).ravel()
    year = np.repeat(np.arange(years), DAYS_OF_YEAR.size)
    tau = (days - start).astype(int) / 365.25

    base = rng.uniform(0.12, 0.30, (n, 1))
    peak = rng.normal(215, 15, (n, 1)) + rng.normal(0, 7, (n, years))[:, year]
    s = np.exp(-0.5 * ((np.tile(DAYS_OF_YEAR, years) - peak) / 45) ** 2)
    rain = rng.normal(0, world.rain_sd, (n, years))
    for y in range(1, years):
        rain[:, y] = 0.2 * rain[:, y - 1] + np.sqrt(1 - 0.2**2) * rain[:, y]
    rain = np.maximum(rain, -0.8)
    of_year, rain = rain, rain[:, year]
    site_rain = np.maximum(1 + rain * rng.normal(1, world.mismatch_sd, (n, 1)), 0.1)

    mean = {"success": 1.0, "slow": 0.4, "failed": 0.0, "lost": 1.0, "disturbed": 1.0}
    spread = {"success": 0.2, "slow": 0.07, "failed": 0.08, "lost": 0.2, "disturbed": 0.2}
    achieved = rng.normal([mean[f] for f in fate], [spread[f] for f in fate])
    if theta is not None:
        achieved = np.full(n, theta)
    grown = world.truth or world.plan
    mature = grown.A * rng.uniform(*world.smaller, (n, 1))
    lag = np.maximum(grown.L + rng.uniform(*world.later, (n, 1)), 0.0)
    rate = grown.k * world.faster ** rng.uniform(-1, 1, (n, 1))
    uplift = achieved[:, None] * mature * -np.expm1(-rate * np.maximum(tau - lag, 0))
    moment = rng.uniform(1.5, world.post - 1.5, (n, 1))
    after = tau > moment
    uplift = np.where((fate == "lost")[:, None] & after, 0.0, uplift)
    recovery = 0.5 ** (np.maximum(tau - moment, 0) / rng.uniform(1, 4, (n, 1)))
    drop = rng.uniform(0.06, 0.14, (n, 1)) * recovery
    uplift = np.where((fate == "disturbed")[:, None] & after, uplift - drop, uplift)

    shape = (n, days.size)
    own = _wandering(rng, days, 365, world.slow_sd, n) + _wandering(rng, days, 15, 0.012, n)
    noise = world.scene_sd * (rng.standard_t(3, shape) / np.sqrt(3) if world.heavy_tails else rng.normal(0, 1, shape))
    missed = np.where(rng.random(shape) < 0.04, -np.abs(rng.normal(0, 0.08, shape)), 0.0)
    shared = rng.normal(0, 0.01, shape)
    offset = rng.normal(0, world.baseline_sd, (n, 1))
    cover = (base + offset + uplift) * s * site_rain + 0.04 + own + noise + missed + shared
    greener = world.greening * np.maximum(tau, 0)
    greener_2 = greener if world.both_greening else 0.0
    control, control_2 = (
        (base + extra) * s * (1 + rain) + 0.04 + shared + rng.normal(0, 0.004, shape) for extra in (greener, greener_2)
    )
    clear = rng.random(shape) < world.clear
    for i in range(1, days.size):  # clouds persist: half of the passes are as the one before
        clear[:, i] = np.where(rng.random(n) < 0.3, clear[:, i - 1], clear[:, i])

    event = start + (moment[:, 0] * 365.25).astype("timedelta64[D]")
    event[~np.isin(fate, ["lost", "disturbed"])] = np.datetime64("NaT", "D")
    for i in range(n):
        seen = clear[i]
        yield Case(
            site=Site(
                id=f"{fate[i]}-{i:05d}", name="", geometry=Polygon(), start=start_of(world), intervention="planting",
                biome="loess", plan=world.plan, hectares=100.0,
            ),
            series=Series(
                dates=days[seen],
                cover=np.clip(cover[i, seen], 0, 1),
                control=np.clip(control[i, seen], 0, 1),
                control_2=np.clip(control_2[i, seen], 0, 1) if world.two_rings else None,
            ),
            fate=str(fate[i]),
            theta=float(achieved[i]),
            event=event[i],
            rain=of_year[i],
        )  # fmt: skip


def _wandering(rng: np.random.Generator, days: np.ndarray, memory: float, sd: float, n: int) -> np.ndarray:
    """Ornstein-Uhlenbeck paths, (n, days)."""
    keep = np.exp(-np.diff(days).astype(float) / memory)
    path = rng.normal(0, sd, (n, days.size))
    for i in range(1, days.size):
        path[:, i] = keep[i - 1] * path[:, i - 1] + np.sqrt(1 - keep[i - 1] ** 2) * path[:, i]
    return path
