"""The cases that are scored: a world under a stress, and the truth of its sites.

    from benchmarks.verdict.conditions import TRAINING, score
    found = score("third", "10 % of controls restored", "half late", sites=300, seeds=TRAINING[:1], calibration=mine)
    found.ever("failure"), found.coverage, score("third", truth="failed").by("failure", 4, 5, 6)

Constants are fitted on the seeds in :data:`TRAINING` and scored on :data:`SEEDS`.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from benchmarks.verdict import other, simulate, third
from benchmarks.verdict.scores import Judged, judged, pooled, run
from benchmarks.verdict.simulate import Case
from monitor.sites.site import Plan
from monitor.verdict.assess import DEFAULT
from monitor.verdict.calibrate import calibrate
from monitor.verdict.calibration import Calibration
from monitor.verdict.placebos import Placebo

SEEDS = (1, 2, 3, 4, 5)
TRAINING = (101, 102, 103)
BASE = "as it is"
TEN_YEARS = 10  # years of looks: the time of the false-alarm budget [year]
PRESENT = simulate.World(post=TEN_YEARS)
OTHER = other.Otherworld(post=TEN_YEARS)
THIRD = third.Thirdworld(post=TEN_YEARS)
TWICE = replace(PRESENT, pass_days=2.5)
STRIPS = replace(PRESENT, strips=0.6)

type World = simulate.World | other.Otherworld | third.Thirdworld

CONDITIONS: dict[str, dict[str, World]] = {
    "present": {
        BASE: PRESENT,
        "twice the clear scenes": TWICE,
        "untreated strips as control": STRIPS,
        "strips and twice the clear scenes": replace(STRIPS, pass_days=2.5),
        "large plan (A .35)": replace(PRESENT, plan=Plan(A=0.35, k=0.45, L=1.0, too_early_years=2.0)),
        "sandy plan (A .12, k .35, L .5)": replace(PRESENT, plan=Plan(A=0.12, k=0.35, L=0.5, too_early_years=2.0)),
        "shrub plan (A .12, k .25, L 1.5)": replace(PRESENT, plan=Plan(A=0.12, k=0.25, L=1.5, too_early_years=3.0)),
        "small plan (A .08, k .45, L 1)": replace(PRESENT, plan=Plan(A=0.08, k=0.45, L=1.0, too_early_years=2.0)),
    },
    "other": {
        BASE: OTHER,
        "stronger saturation": replace(OTHER, saturation=1.2),
        "a quarter of the passes clear": replace(OTHER, clear=0.25),
    },
    "third": {
        BASE: THIRD,
        "10 % of controls restored": replace(THIRD, restored=0.1),
        "30 % of controls restored": replace(THIRD, restored=0.3),
        "trends sd .006": replace(THIRD, trend_sd=0.006),
        "noisy control, dry year 4": replace(THIRD, control_noise=0.03, drought_year=4),
        "sensitivity .6 to 1.4, dry year 3": replace(THIRD, sensitivity=(0.6, 1.4), drought_year=3),
        "springs 10 days apart": replace(THIRD, phase_sd=10.0),
        "20 % clear, long gaps": replace(THIRD, clear=0.2, cloud_memory=0.6),
        "haze in 10 % of scenes": replace(THIRD, haze=0.10, haze_freedom=1.5),
        "grazing pulses": replace(THIRD, grazing=0.35),
        "random walk .02": replace(THIRD, walk=0.02),
        "saturation, base cover .45 to .65": replace(THIRD, saturation=1.2, base=(0.45, 0.65)),
    },
}
"""Stresses by world."""
TRUTHS: dict[str, tuple[float, float, float]] = {
    "failed": (0.0, 1.0, 0.0),
    "half": (0.5, 1.0, 0.0),
    "half small": (0.5, 0.8, 0.0),
    "half late": (0.5, 1.0, 1.0),
    "full": (1.0, 1.0, 0.0),
}
"""Theta, and how much of the plan's A there is to reach and how many years later: plan right, a fifth too large, a year
late."""
HALF = ("half", "half small", "half late")
FATES = ("success", "disturbed")  # truths with a spread: theta about 1 (.2); the same with a sudden loss of .06 to .14
PLACEBO_SITES = 25  # sites of the third world whose sixteen units each are placebos: 400
CHUNK = 100  # sites simulated at once, for the memory's sake


def generator(seed: int, *what: str) -> np.random.Generator:
    """Numbers of one case: other cases, added later, do not move it."""
    return np.random.default_rng([seed, zlib.crc32("/".join(what).encode())])


def cases(world: str, stress: str, truth: str, *, sites: int, seed: int) -> Iterator[Case]:
    """Sites of a condition and truth."""
    made = CONDITIONS[world][stress]
    rng = generator(seed, world, stress, truth)
    fate, theta = (truth, None) if truth in FATES else ("slow", None)
    if truth in TRUTHS:
        theta, share, later = TRUTHS[truth]
        plan = made.plan
        made = replace(made, truth=replace(plan, A=share * plan.A, L=plan.L + later))
    for begin in range(0, sites, CHUNK):
        n = min(CHUNK, sites - begin)
        if isinstance(made, third.Thirdworld):
            yield from third.simulate(made, fate, n, rng, theta=theta)
        elif isinstance(made, other.Otherworld):
            yield from other.simulate(made, {fate: n}, rng, theta=theta)
        else:
            yield from simulate.simulate(made, {fate: n}, rng, theta=theta)


def as_monitored(some: Iterable[Case]) -> Iterator[Case]:
    """The cases with the control that the monitor makes of the units, where the world has units."""
    for case in some:
        yield case if case.units is None else replace(case, series=third.monitor_control(case))


def score(
    world: str, stress: str = BASE, truth: str = "half", *, sites: int = 300, seeds: Sequence[int] = TRAINING[:1],
    calibration: Calibration = DEFAULT,
) -> Judged:  # fmt: skip
    """Judge so many sites a seed of a condition, by its names in :data:`CONDITIONS` and :data:`TRUTHS` or `FATES`."""
    parts = [
        judged(run(as_monitored(cases(world, stress, truth, sites=sites, seed=seed)), calibration=calibration))
        for seed in seeds
    ]
    return pooled(parts)


def calibrated(world: str, stress: str = BASE, *, seed: int = TRAINING[0]) -> Calibration:
    """Constants set on placebos of a condition as the monitor sets them, from a training seed."""
    if world == "third":
        some = cases(world, stress, "failed", sites=PLACEBO_SITES, seed=seed)
        placebos = [placebo for case in some for placebo in third.placebos(case)]
    else:  # a world without units: as many pieces of ground on which nothing was done
        some = cases(world, stress, "failed", sites=16 * PLACEBO_SITES, seed=seed)
        placebos = [Placebo(site=case.site, series=case.series) for case in some]
    return calibrate(placebos, source=f"simulated, {world}", dated=DEFAULT.dated)
