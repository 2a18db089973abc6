"""Score every case on the cores there are, and write one page and two pictures."""

import importlib.metadata
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.verdict import lots, pictures, rivals, rows
from benchmarks.verdict.conditions import CONDITIONS, PLACEBO_SITES, SEEDS, TRAINING, TRUTHS, calibrated, score
from benchmarks.verdict.rows import CALIBRATED, HEADLINE, Scores
from benchmarks.verdict.scores import pooled
from benchmarks.verdict.simulate import PLAN
from benchmarks.verdict.table import goals, markdown
from monitor.verdict.assess import DEFAULT

RESULTS = Path(__file__).parent.parent / "results"
CORES = len(os.sched_getaffinity(0))
PACKAGES = ("numpy", "numba", "nrt", "pymannkendall")


class Sizes(NamedTuple):
    """Sites of a seed by where they stand, lots of a seed, and seeds."""

    headline: int = 200
    stress: int = 60
    rivals: int = 300
    lots: int = 40
    seeds: Sequence[int] = SEEDS
    training: Sequence[int] = TRAINING[:2]


QUICK = Sizes(headline=40, stress=20, rivals=100, lots=4, seeds=SEEDS[:2], training=TRAINING[:1])


def main(*, quick: bool = False, sizes: Sizes | None = None) -> None:
    """Run, print and write."""
    begun = time.perf_counter()
    sizes = sizes or (QUICK if quick else Sizes())
    with ProcessPoolExecutor(CORES, mp_context=multiprocessing.get_context("spawn")) as pool:
        gathered = gather(pool, sizes, calibrate=not quick)
    name = "verdict-quick" if quick else "verdict"
    RESULTS.mkdir(exist_ok=True)
    pictures.detection(RESULTS / f"{name}-detection.svg", gathered["scores"])
    pictures.coverage(RESULTS / f"{name}-coverage.svg", gathered["scores"])
    seconds = time.perf_counter() - begun
    command = "python -m benchmarks.verdict" + (" --quick" if quick else "")
    head = HEAD.format(
        warning="**Quick run: too few sites to hold a figure to what is required.** " if quick else "",
        command=command, seconds=seconds, cores=CORES, python=platform.python_version(),
        versions=", ".join(f"{p} {importlib.metadata.version(p)}" for p in PACKAGES), calibration=DEFAULT.hash[:12],
        dated=DEFAULT.dated, seeds=", ".join(map(str, sizes.seeds)), training=", ".join(map(str, TRAINING)),
        headline=sizes.headline * len(sizes.seeds), stress=sizes.stress * len(sizes.seeds), A=PLAN.A, k=PLAN.k,
        L=PLAN.L, name=name, placebos=16 * PLACEBO_SITES,
    )  # fmt: skip
    text = head + page(gathered)
    (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
    print(text)


def only(world: str, *, sites: int, seeds: Sequence[int]) -> None:
    """Print the lines of one world; nothing is written."""
    with ProcessPoolExecutor(CORES, mp_context=multiprocessing.get_context("spawn")) as pool:
        pending = {(world, stress, False): _submit(pool, world, stress, sites, seeds) for stress in CONDITIONS[world]}
        scores = _scores(pending)
    print(markdown(rows.UNDER_STRESS, [rows.under_stress(key, scores[key]) for key in scores]))


def page(gathered: dict[str, Any]) -> str:
    """The tables."""
    scores: Scores = gathered["scores"]
    required = rows.required(scores, gathered["lots"])
    missed = [row for row in required if "MISSED" in row.verdict]
    held = [row for row in required if row.required]
    return "\n".join(
        (
            f"{len(held) - len(missed)} of {len(held)} rows meet what is required of them.\n",
            goals(required),
            STRESS,
            markdown(rows.UNDER_STRESS, rows.stresses(scores)),
            OTHERS,
            markdown(rows.OTHERS, rows.others(scores, gathered["others"])),
        )
    )


def gather(pool: ProcessPoolExecutor, n: Sizes, *, calibrate: bool) -> dict[str, Any]:
    """Everything that is measured, longest first."""
    constants = {key: pool.submit(calibrated, *key) for key in (CALIBRATED if calibrate else ())}
    pending: dict[tuple[str, str, bool], dict[str, list[Future[Any]]]] = {}
    for world in ("third", "other", "present"):
        for name in CONDITIONS[world]:
            sites = n.headline if (world, name) in HEADLINE else n.stress
            pending[world, name, False] = _submit(pool, world, name, sites, n.seeds)
    training, held_out = (
        [pool.submit(rivals.scored, seed, n.rivals) for seed in some]
        for some in (n.training, n.seeds[: len(n.training)])
    )
    pending_lots = {
        (name, truth): [pool.submit(lots.judged_lots, seed, n.lots, name, truth) for seed in n.seeds]
        for name in lots.WORLDS
        for truth in lots.LOT_TRUTHS
    }
    for (world, name), future in constants.items():
        pending[world, name, True] = _submit(pool, world, name, n.stress, n.seeds, future.result())
    return {
        "scores": _scores(pending),
        "lots": {key: lots.together([f.result() for f in futures]) for key, futures in pending_lots.items()},
        "others": rivals.standings([f.result() for f in training], [f.result() for f in held_out]),
    }


def _submit(
    pool: ProcessPoolExecutor, world: str, stress: str, sites: int, seeds: Sequence[int], calibration: Any = DEFAULT
) -> dict[str, list[Future[Any]]]:
    truths = [*TRUTHS, "disturbed", *(["success"] if (world, stress) in HEADLINE else [])]
    return {
        truth: [
            pool.submit(score, world, stress, truth, sites=sites, seeds=(seed,), calibration=calibration)
            for seed in seeds
        ]
        for truth in truths
    }


def _scores(pending: dict[tuple[str, str, bool], dict[str, list[Future[Any]]]]) -> Scores:
    found: Scores = {}
    for done, (key, truths) in enumerate(pending.items(), 1):
        found[key] = {truth: pooled([future.result() for future in futures]) for truth, futures in truths.items()}
        print(f"{done} of {len(pending)}: {rows.name_of(key)}", file=sys.stderr, flush=True)
    return found


HEAD = """# The verdict: how often it is right, wrong, late

{warning}Made by `{command}` in {seconds:,.0f} s on {cores} cores (Python {python}, {versions}).
Calibration {calibration} of {dated}. Constants were fitted on seeds {training} and above, and are scored here on
seeds {seeds}: {headline:,} sites a figure in the first table, {stress:,} in the second. ± is the largest standard error
of the figures before it.

**What is asked.** A site was promised an uplift of cover, A (1 - exp(-k (t - L))), from L years after its start on:
A {A}, k {k}, L {L} unless a line says otherwise. Theta is the share of it that came: 0 at a *failed* site, .5 at a site
*at half*, 1 at a site *on plan*. Each is looked at after every clear scene for ten years, with five years before and a
false-alarm budget of .05 for ten years. A site at half must hardly ever be red, even where the plan is a fifth too
large (*small*) or growth comes a year late (*late*): triples are plan right / small / late.

**Three worlds**, in which the truth is known. *Present* has the structure of the filter. *Other* makes NDVI that
saturates, from a soil that drinks storms, springs that move, sensors that differ. *Third* gives the site and each of 16
control units their own response to soil moisture, springs, good and bad years and trends, with monsoon clouds,
heavy-tailed haze and noise with a memory; the control is what the monitor makes of the units. *Calibrated* lines use
constants set on {placebos} placebos of the same world, as an installation sets them; all others use the defaults.

![Failed sites found, and sites at half falsely red, by year and world]({name}-detection.svg)

![Coverage and error of theta by stress]({name}-coverage.svg)

## What is required

"""
STRESS = """## Under stress

A loss is one of .06 to .14 of cover on a site about on plan: share named within a year, and losses named falsely a site
and year on sites on plan.
"""
OTHERS = """## Others on the same sites, at equal false alarms

Each at its best on the difference of site and control: thresholds at each season's end from the third on, from training
seeds, so that at most .05 of sites at half are ever accused, plan right, small or late. By default a tool accuses a
site that it does not see growing (or break upwards) by year 4.
"""
