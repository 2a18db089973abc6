"""A third simulator: cover follows the water in the soil, and each piece of ground answers in its own way.

Daily rain fills a soil that forgets over forty-five days. A site and its sixteen control units share the weather, but
each has its own sensitivity to it, its own spring, its own good and bad years and, where the world says so, its own
trend. Clouds come with the monsoon, haze has a heavy tail, scene noise remembers the scene before. Nothing of this has
the filter's form. The control is what the monitor itself makes of the units, see :func:`monitor_control`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.signal import lfilter

from benchmarks.verdict.simulate import FATES, NEVER, PLAN, Case, World, series_of, site_of, start_of, sudden_losses
from monitor.controls.control_means import control_mean
from monitor.sites.site import Plan
from monitor.verdict.assessment import Series
from monitor.verdict.placebos import Placebo, unit_placebos

UNITS = 16
UNIT_NOISE = 0.024  # noise of a scene in one unit [cover fraction]
SOIL_MEMORY = 45.0  # time after which the soil has lost all but a third (1 / e) of its water [day]
YEAR = 365.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Thirdworld:
    """How ground, weather and sensor behave, and what may be made harsher. Cover is a fraction."""

    pre: int = 5
    post: int = 6
    plan: Plan = PLAN
    truth: Plan | None = None  # how growth really goes at theta = 1; None: as promised
    base: tuple[float, float] = (0.12, 0.30)  # cover of the unrestored ground at the peak of a normal season
    sensitivity: tuple[float, float] = (0.8, 1.2)
    """The site's response to wet and dry soil, against the region's; units have .8 to 1.2. [1]"""
    drought_year: int = 0  # year since the start in which a quarter of the rain falls; 0: none
    phase_sd: float = 3.0  # how far apart springs are, lastingly, between pieces of ground [day]
    clear: float = 0.0  # chance that a pass is clear; 0: .60, and .25 at the height of the monsoon
    cloud_memory: float = 0.3  # chance that the sky is as it was at the pass before, within a week
    haze: float = 0.03
    """Share of scenes with haze that the mask missed, which lowers cover; the control sees half of it."""
    haze_freedom: float = 2.5  # degrees of freedom of Student's t that haze follows
    grazing: float = 0.0  # chance of a grazing pulse a year on the site; half as many on units
    restored: float = 0.0  # share of control units that somebody restores too, as the plan says
    trend_sd: float = 0.0  # spread of the site's own trend; units have half of it [1/year]
    walk: float = 0.006  # random walk of the site [1 / square root of a year]
    control_noise: float = 0.006
    """Noise of a scene's control mean. .006 comes from the units' own .024; what is above is shared by all of them."""
    saturation: float = 0.0
    """Greenness goes as 1 - exp(-saturation x cover), and cover is taken from it by a straight line."""


def simulate(
    world: Thirdworld, fate: str, sites: int, rng: np.random.Generator, *, theta: float | None = None
) -> Iterator[Case]:
    """So many sites of a fate (any but ``lost``), with their units; `theta` overrides the fate's own share."""
    begun, years = start_of(World(pre=world.pre)), world.pre + world.post
    before = round(world.pre * YEAR)
    passes = _passes(years, rng)
    doy, year = passes % YEAR, (passes // YEAR).astype(int)
    achieved = rng.normal(*FATES[fate], sites) if theta is None else np.full(sites, theta)
    wetness = _wetness(world, sites, years, passes, rng)
    spring = rng.normal(0, 4, (sites, 1, years))
    base = rng.uniform(*world.base, (sites, 1))
    grown = world.truth or world.plan
    tau = (passes - before) / YEAR
    uplift = grown.A * -np.expm1(-grown.k * np.maximum(tau - grown.L, 0.0))

    def ground(n: int, sensitivity: np.ndarray, share: np.ndarray, trend: np.ndarray, grazing: float) -> np.ndarray:
        """(sites, n, passes) cover of n pieces of ground of each site."""
        own_base = base * np.exp(rng.normal(0, 0.12, (sites, n)))
        own_year = 1 + _remembering(rng.normal(0, 0.08, (sites, n, years)), 0.6)[:, :, year]
        shift = spring + rng.normal(0, world.phase_sd, (sites, n, 1)) + rng.normal(0, 2, (sites, n, years))
        shift = shift[:, :, year]
        season = _season(doy, shift)
        response = 0.30 * sensitivity[:, :, None] * wetness[:, None]
        cover = own_base[:, :, None] * own_year * season * (1 + response)
        cover += share[:, :, None] * uplift * _season(doy, shift - 3, later=6) * (1 + 0.8 * response)
        cover += trend[:, :, None] * tau * season + 0.03
        return np.clip(_grazed(cover, passes, years, grazing, rng) if grazing else cover, 0, 1)

    site = ground(
        1, rng.uniform(*world.sensitivity, (sites, 1)), achieved[:, None],
        rng.normal(0, world.trend_sd, (sites, 1)), world.grazing,
    )[:, 0]  # fmt: skip
    lost, moment = sudden_losses(sites, world.post, tau, rng)
    event = np.full(sites, NEVER)
    days = np.datetime64(begun, "D") + (passes - before)
    if fate == "disturbed":
        site = np.clip(site - lost * _season(doy, np.zeros(1)), 0, 1)
        event = np.datetime64(begun, "D") + (moment * YEAR).astype("timedelta64[D]")
    steps = np.diff(passes, prepend=passes[0]) / YEAR
    site = np.clip(site + np.cumsum(rng.normal(0, world.walk, site.shape) * np.sqrt(steps), axis=1), 0, 1)
    units = ground(
        UNITS, rng.uniform(0.8, 1.2, (sites, UNITS)), (rng.random((sites, UNITS)) < world.restored) * 1.0,
        rng.normal(0, world.trend_sd / 2, (sites, UNITS)), world.grazing / 2,
    )  # fmt: skip
    site, units = _sensed(world, site, units, rng)
    clear = _clear(world, passes, sites, rng)
    for i in range(sites):
        yield Case(
            site=site_of(f"{fate}-{i:05d}", begun, world.plan),
            series=series_of(days, site[i], units[i].mean(axis=0), clear[i]),
            theta=achieved[i], event=event[i], units=units[i, :, clear[i]],
        )  # fmt: skip


def monitor_control(case: Case) -> Series:
    """The series with the control that the monitor makes of the units, without those that changed or rose most."""
    assert case.units is not None
    control = control_mean(case.units, case.series.dates, case.site.start)
    return Series(dates=case.series.dates, cover=case.series.cover, control=np.clip(control, 0, 1))


def placebos(case: Case) -> list[Placebo]:
    """Each unit against the others, as the monitor makes placebos of its control ground."""
    assert case.units is not None
    values = np.full((*case.units.shape, 3), np.nan)
    values[:, :, 0] = case.units
    means = xr.DataArray(
        values, dims=("time", "unit", "measure"),
        coords={
            "time": case.series.dates.astype("datetime64[ns]"), "unit": [f"u{k:02d}" for k in range(UNITS)],
            "measure": ["cover", "nbr", "ndmi"],
        },
    )  # fmt: skip
    return unit_placebos(case.site, means)


def _passes(years: int, rng: np.random.Generator) -> np.ndarray:
    """Days of passes in season and shoulders: every fifth day, and one in ten more where orbits overlap."""
    every = np.arange(int(years * YEAR))
    seen = (every % 5 == rng.integers(5)) | (every % 10 == 3)
    doy = every % YEAR
    return every[seen & (doy > 95) & (doy < 315)]


def _wetness(world: Thirdworld, sites: int, years: int, passes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(sites, passes) water in the soil against what is usual on that day of the year: -.76 to .96."""
    days = np.arange(int(years * YEAR))
    doy, year = days % YEAR, np.minimum((days / YEAR).astype(int), years - 1)
    chance = 0.05 + 0.15 * np.exp(-0.5 * ((doy - 205) / 40) ** 2)
    rain = rng.gamma(0.3, 1.0, (sites, days.size)) * (rng.random((sites, days.size)) < chance)
    rain *= np.exp(rng.normal(0, 0.30, (sites, years)))[:, year]
    if world.drought_year:
        rain[:, year == world.pre + world.drought_year - 1] *= 0.25
    keep = np.exp(-1 / SOIL_MEMORY)
    full = rain[:, :400].mean(axis=1, keepdims=True) * SOIL_MEMORY
    water, _ = lfilter([1.0], [1.0, -keep], rain, axis=1, zi=full * keep)
    usual = np.array([water[:, doy.astype(int) == d].mean() for d in range(366)])
    usual = np.convolve(np.concatenate([usual[-15:], usual, usual[:15]]), np.ones(31) / 31, "valid")
    wetness: np.ndarray = np.tanh(np.clip(water[:, passes] / usual[doy[passes].astype(int)] - 1, -1, 2))
    return wetness


def _season(doy: np.ndarray, shift: np.ndarray, *, later: float = 0.0) -> np.ndarray:
    """Green-up about day 153 and senescence about day 270, both logistic, moved by `shift` and half of it."""
    spring, autumn = 153 + shift, 270 + shift / 2 + later
    return 1 / (1 + np.exp(-(doy - spring) / 10)) / (1 + np.exp((doy - autumn) / 13))


def _remembering(draws: np.ndarray, memory: float) -> np.ndarray:
    """Autoregressive along the last axis, of the spread of the draws."""
    for y in range(1, draws.shape[-1]):
        draws[..., y] = memory * draws[..., y - 1] + np.sqrt(1 - memory**2) * draws[..., y]
    return draws


def _grazed(cover: np.ndarray, passes: np.ndarray, years: int, chance: float, rng: np.random.Generator) -> np.ndarray:
    """Cover after pulses that take 15 to 50 % of it and heal within months."""
    pieces = (*cover.shape[:2], 1)
    for _ in range(years):
        since = passes - rng.uniform(0, years * YEAR, pieces)
        taken = rng.uniform(0.15, 0.5, pieces) * (rng.random(pieces) < chance)
        cover = cover * (1 - taken * np.where(since >= 0, np.exp(-np.maximum(since, 0) / 70), 0))
    return cover


def _sensed(
    world: Thirdworld, site: np.ndarray, units: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Site (sites, passes) and units (sites, units, passes) as the sensor gives them."""
    if world.saturation:
        site, units = (np.expm1(-world.saturation * v) / np.expm1(-world.saturation) for v in (site, units))
    shared = rng.normal(0, 0.010, site.shape)
    noise = lfilter([1.0], [1.0, -0.4], rng.normal(0, 0.012, site.shape), axis=1)
    hazy = rng.random(site.shape) < world.haze
    haze = np.where(hazy, -0.06 * np.abs(rng.standard_t(world.haze_freedom, site.shape)), 0.0)
    of_all = rng.normal(0, np.sqrt(max(world.control_noise**2 - UNIT_NOISE**2 / UNITS, 0.0)), site.shape)
    units = units + (shared + haze / 2 + of_all)[:, None] + rng.normal(0, UNIT_NOISE, units.shape)
    return site + shared + noise + haze, units


def _clear(world: Thirdworld, passes: np.ndarray, sites: int, rng: np.random.Generator) -> np.ndarray:
    """(sites, passes) bool: whether a pass shows the ground."""
    monsoon = 0.60 - 0.35 * np.exp(-0.5 * ((passes % YEAR - 205) / 30) ** 2)
    clear = rng.random((sites, passes.size)) < (world.clear or monsoon)
    stays = rng.random(clear.shape) < world.cloud_memory
    for j in range(1, passes.size):
        if passes[j] - passes[j - 1] < 8:
            clear[:, j] = np.where(stays[:, j], clear[:, j - 1], clear[:, j])
    return clear
