"""A second simulator, which does not think as the filter does.

It makes NDVI, not cover: canopies saturate, greenness follows a soil that drinks storms, spring comes earlier on one
side than on the other, what was planted greens for longer than what was there, orbits and sensors see site and
control differently, ground drifts by a random walk, scene noise remembers the scene before. Cover is then taken
from NDVI by the straight line that the monitor uses. Where these sites and those of
:mod:`benchmarks.verdict.simulate` give the same figures, the figures do not stand on the simulator.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from benchmarks.verdict.simulate import (
    FATES,
    FIRST_YEAR,
    NEVER,
    PLAN,
    Case,
    World,
    series_of,
    site_of,
    start_of,
    sudden_losses,
)
from monitor.cover.fraction import ENDMEMBERS
from monitor.sites.site import Plan

PASSES = np.arange(96, 314, 5)  # passes of a year, wider than the season that the verdict uses [day of the year]


@dataclass(frozen=True, slots=True, kw_only=True)
class Otherworld:
    """What may be made harsher."""

    pre: int = 5
    post: int = 6
    plan: Plan = PLAN
    truth: Plan | None = None
    saturation: float = 0.4
    """NDVI goes as 1 - exp(-saturation x cover): the second unit of cover is worth exp(-saturation) of the first."""
    clear: float = 0.45


def simulate(
    world: Otherworld, fates: dict[str, int], rng: np.random.Generator, *, theta: float | np.ndarray | None = None
) -> Iterator[Case]:
    """So many sites of each fate (any but ``lost``); `theta` overrides the fates' own share."""
    fate = np.repeat(list(fates), list(fates.values()))
    n, years = fate.size, world.pre + world.post
    begun = start_of(World(pre=world.pre))
    start = np.datetime64(begun, "D")
    first = np.array([f"{FIRST_YEAR + y}-01-01" for y in range(years)], "datetime64[D]")
    days = (first[:, None] + (PASSES - 1).astype("timedelta64[D]")).ravel()
    year, doy = np.repeat(np.arange(years), PASSES.size), np.tile(PASSES, years)
    tau = (days - start).astype(int) / 365.25
    shape = (n, days.size)

    achieved = rng.normal([FATES[f][0] for f in fate], [FATES[f][1] for f in fate])
    if theta is not None:
        achieved = np.broadcast_to(np.asarray(theta, float), (n,))
    grown = world.truth or world.plan
    uplift = achieved[:, None] * np.array([grown.uplift(float(t)) for t in tau])
    drop, moment = sudden_losses(n, world.post, tau, rng)
    uplift = np.where((fate == "disturbed")[:, None], uplift - drop, uplift)

    # Seasons: green-up and senescence as logistic curves, each year's own, and not quite the same on either side.
    spring = rng.normal(152, 6, (n, 1)) + rng.normal(0, 6, (n, years))[:, year]
    autumn = rng.normal(268, 6, (n, 1)) + rng.normal(0, 4, (n, years))[:, year]
    moved = rng.normal(0, 2, (n, 1)) + rng.normal(0, 2, (n, years))[:, year]

    def season(onset: np.ndarray, end: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-(doy - onset) / 11)) / (1 + np.exp((doy - end) / 9))

    # A soil that holds rain for forty days, filled by storms; what grows answers to it within the season.
    storms = rng.gamma(0.35, 1.0, (n, years * 365)) * (rng.random((n, years * 365)) < 0.15)
    wet_year = np.exp(rng.normal(0, 0.18, (n, years)))
    storms *= np.repeat(wet_year, 365, axis=1)
    soil = lfilter([1 / 40], [1, -(1 - 1 / 40)], storms, axis=1)
    at = np.minimum(year * 365 + doy, years * 365 - 1)
    normal = soil[:, 400:].mean(axis=1, keepdims=True)
    wetness = np.clip(0.45 * (soil[:, at] / normal - 1), -0.7, 1.0)
    wetness_late = np.clip(0.45 * (soil[:, np.maximum(at - 6, 0)] / normal - 1), -0.7, 1.0)

    base = rng.uniform(0.12, 0.30, (n, 1))
    lasting = rng.uniform(-0.05, 0.05, (n, 1))
    steps = np.diff(days, prepend=days[0]).astype(int) / 365.25
    walk = np.cumsum(rng.normal(0, 1, shape) * 0.010 * np.sqrt(steps), axis=1)
    response = wetness_late * rng.normal(1, 0.15, (n, 1))
    ground = (base + lasting) * season(spring + moved, autumn + moved) * (1 + response)
    ground += uplift * season(spring - 8, autumn + 8) * (1 + wetness_late) + 0.03 + walk
    control = base * season(spring, autumn) * (1 + wetness) + 0.03

    # What the sensors make of it.
    ends = ENDMEMBERS["loess"]

    def greenness(cover: np.ndarray) -> np.ndarray:
        canopy = -np.expm1(-world.saturation * np.clip(cover, 0, 1)) / -np.expm1(-world.saturation)
        return ends.soil + (ends.vegetation - ends.soil) * canopy

    sensor, orbit = rng.integers(0, 4, days.size), np.arange(days.size) % 2
    apart = rng.normal(0, 0.003, (n, 4))[:, sensor] + rng.normal(0, 0.004, (n, 2))[:, orbit]
    both = rng.normal(0, 0.008, (1, 4))[:, sensor] + rng.normal(0, 0.01, shape)
    noise = lfilter([1], [1, -0.5], rng.normal(0, 0.011, shape), axis=1) + rng.standard_t(4, shape) * 0.009
    haze = np.where(rng.random(shape) < 0.04, -rng.uniform(0, 0.15, shape), 0.0)
    seen_site = greenness(ground) + apart + both + noise + haze
    seen_control = greenness(control) + both + rng.normal(0, 0.004, shape)
    clear = rng.random(shape) < world.clear
    for i in range(1, days.size):
        clear[:, i] = np.where(rng.random(n) < 0.3, clear[:, i - 1], clear[:, i])

    def linear(ndvi: np.ndarray) -> np.ndarray:
        return (ndvi - ends.soil) / (ends.vegetation - ends.soil)

    cover, reference = linear(seen_site), linear(seen_control)
    event = start + (moment * 365.25).astype("timedelta64[D]")
    event[fate != "disturbed"] = NEVER
    for i in range(n):
        site = site_of(f"{fate[i]}-{i:05d}", begun, world.plan)
        yield Case(
            site=site, series=series_of(days, cover[i], reference[i], clear[i]), theta=achieved[i], event=event[i]
        )
