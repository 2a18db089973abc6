"""Run all trials on the cores there are, and write the table and the picture."""

import contextlib
import importlib.metadata
import io
import multiprocessing
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.verdict import contest, picture, real, scores, trials
from benchmarks.verdict.simulate import PLAN, simulate
from benchmarks.verdict.table import Row, Section, markdown, several, shown, write_csv
from benchmarks.verdict.trials import Result
from monitor.verdict.assess import DEFAULT, verdicts
from monitor.verdict.calibration import Calibration

RESULTS = Path(__file__).parent.parent / "results"
CORES = len(os.sched_getaffinity(0))
QUICK_SITES, QUICK_SEEDS = 100, (1, 2)
FEWER = 2
"""Seeds of the lines that are of least account, for the whole must not take long."""
CALIBRATED = trials.A4
"""Stresses that are run again with constants set on placebos of their own ground."""
OTHER_CALIBRATED = next(iter(trials.OTHERWORLDS))
"""The other world that is: an installation has placebos of its own too."""
CONSTANTS = ("slow_sd", "scene_sd", "year_sd", "elasticity_sd", "rain_sd", "widening", "disturbance_score")
ELSEWHERE = Path(os.environ.get("REGROWTH_TEST_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"))
"""Folder of real series that are not part of the project."""
NOT_TAKING_HOLD = (
    "The same simulated sites for all. At its defaults a tool accuses a site that it does not see growing "
    "significantly (or break upwards) by year 4. Tuned: one quantile of the null at the end of every season from the "
    f"third on, set on training seeds so that at most {contest.BUDGET:.0%} of sites at half the plan are ever accused "
    "in six years; *guarded*: plan right, a fifth too large or a year late; *trusting*: plan right only, which accuses "
    "unjustly where it is not (last column: worst of the three). Our red is not tuned here. The rivals get rain known "
    "perfectly (RESTREND), tuning under the exact law of the simulator, the better of all their variants, and one look "
    "a season."
)
LOSSES = (
    "A loss of .06 to .14 cover on a recovering site, at most one alarm a year; false alarms are counted on sites at "
    "theta 1 and .5 without a loss. At its defaults a tool is fitted once, before the start, as its examples do; "
    "tuned: the best of that, with trend and without, and of a fit anew each spring to the three years before."
)
PACKAGES = ("numpy", "numba", "nrt", "pymannkendall")


def main(*, quick: bool = False, sites: int = 1000, seeds: tuple[int, ...] = trials.SEEDS) -> None:
    """Run, print and write."""
    if quick:
        sites, seeds = QUICK_SITES, QUICK_SEEDS
    begun = time.perf_counter()
    load = os.getloadavg()[0]
    speed = speeds(50 if quick else 400)
    with ProcessPoolExecutor(CORES, mp_context=multiprocessing.get_context("spawn")) as pool:
        gathered = gather(pool, sites, seeds, quick=quick)
    standings = contest.standings(gathered["training"], gathered["compared"])
    searches = contest.searches(
        gathered["training"], gathered["compared"],
        {"training": gathered["sudden training"], "held out": gathered["sudden"]},
    )  # fmt: skip
    seconds = time.perf_counter() - begun
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    processor = sum(u.ru_utime + u.ru_stime for u in used)
    mode = f"{sites:,} sites a line, {len(seeds)} seeds"
    sections = [
        *on_real_noise(gathered, quick=quick), goals(gathered, searches[0], speed), watch(gathered),
        *stresses(gathered, quick=quick),
        plans(gathered), otherwise(gathered), *rivals(gathered, standings, searches),
    ]  # fmt: skip
    text = markdown(head(sites, seeds, seconds, processor, load, quick=quick) + "\n" + tally(sections), sections)
    name = "verdict-quick" if quick else "verdict"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
    write_csv(RESULTS / f"{name}.csv", sections)
    first = np.concatenate([r["ours first red"][r["which"] == "failed"] for r in gathered["compared"]])
    picture.draw(RESULTS / f"{name}.png", first, ours_false(gathered), standings, searches, mode)
    print(text)
    print(f"written: {RESULTS.name}/{name}.md, .csv, .png")


def gather(pool: ProcessPoolExecutor, sites: int, seeds: Sequence[int], *, quick: bool) -> dict[str, Any]:
    """Results of every trial, a list over seeds each; longest trials first."""
    training = trials.TRAINING[:1] if quick else trials.TRAINING
    asked: dict[str, list[Future[Any]]] = {}
    first = seeds[:FEWER]

    def ask(name: str, function: Callable[..., Result], each: Sequence[int], *args: object) -> None:
        asked[name] = [pool.submit(function, seed, *args) for seed in each]

    ask("compared", trials.compared, seeds[:1] if quick else seeds, sites)
    ask("training", trials.compared, training, max(sites // 2, 50))
    ask("sudden training", trials.sudden, training, sites, trials.BARS)
    ask("plans", trials.plans, seeds, sites)
    ask("half", trials.half_plan, seeds, sites)
    for name in trials.OTHERWORLDS:
        ask(f"other: {name}", trials.otherwise, seeds, sites, name)
    ask("fates", trials.fates, seeds, sites)
    for name in trials.STRESSES:
        ask(f"stress: {name}", trials.stress, first if "greening" in name else seeds, sites, name)
        if name in CALIBRATED and not quick:
            seed = trials.TRAINING[0]
            asked[f"calibration: {name}"] = [pool.submit(trials.calibrated, seed, trials.PLACEBOS, name)]
    ask("mixes", trials.mixes, seeds, sites)
    for start in real.STARTS[-1:] if quick else real.STARTS:
        if not quick and start != real.STARTS[0]:  # with one season before, nrt refuses every site
            asked[f"real rivals {start}"] = [pool.submit(trials.rivals_on_real_noise, start)]
        for kind in ("10m",) if quick else ("10m", "20m"):
            asked[f"real {kind} {start}"] = [pool.submit(trials.on_real_noise, start, kind)]
    if not quick:
        name, seed = OTHER_CALIBRATED, trials.TRAINING[0]
        asked[f"calibration: {name}"] = [pool.submit(trials.calibrated, seed, trials.PLACEBOS, name)]
    for name in CALIBRATED if not quick else ():
        constants = asked[f"calibration: {name}"][0].result()
        ask(f"calibrated: {name}", trials.stress, first, sites, name, constants)
    if not quick:
        constants = asked[f"calibration: {OTHER_CALIBRATED}"][0].result()
        ask(f"other calibrated: {OTHER_CALIBRATED}", trials.otherwise, first, sites, OTHER_CALIBRATED, constants)
    tuned = contest.bar([future.result() for future in asked["sudden training"]])
    ask("sudden", trials.sudden, seeds, sites, (tuned, DEFAULT.disturbance_score))
    total = sum(map(len, asked.values()))
    found: dict[str, Any] = {}
    done = 0
    for name, futures in asked.items():
        found[name] = [future.result() for future in futures]
        done += len(futures)
        print(f"{done} of {total} trials: {name}", file=sys.stderr, flush=True)
    return found


def head(sites: int, seeds: Sequence[int], seconds: float, processor: float, load: float, *, quick: bool) -> str:
    """What was run, with what, and how to read it."""
    versions = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in PACKAGES)
    command = "python -m benchmarks.verdict" + (" --quick" if quick else "")
    return "\n".join(
        (
            "# The verdict: how often it is right, wrong, late",
            "",
            f"{'**Quick run: too few sites to hold a figure to its goal.** ' if quick else ''}Made by `{command}` in "
            f"{seconds:,.0f} s on {CORES} cores, of which {processor / CORES:,.0f} s of work on each (load average when"
            f" it began: {load:.1f}: above {CORES} others were working too; Python {platform.python_version()}, "
            f"{versions}).",
            f"Simulated: {sites:,} sites a line and seed, seeds {', '.join(map(str, seeds))} (lines on greening "
            f"controls, and those with constants set on placebos: the first {FEWER}); thresholds of rivals "
            f"come from seeds {', '.join(map(str, trials.TRAINING[:1] if quick else trials.TRAINING))}. ± is the "
            "standard deviation between seeds, on real noise the bootstrap's over hectares.",
            f"Plan, unless a line says otherwise: A {PLAN.A}, k {PLAN.k}, L {PLAN.L}; five pre-years, six years of "
            f"looks at every acquisition. Calibration {DEFAULT.hash[:12]} of {DEFAULT.dated}.",
            "Goals, aims and ceilings are those the design set; a goal missed says MISSED.",
        )
    )  # fmt: skip


def tally(sections: Sequence[Section]) -> str:
    """How many rows with a goal meet it, and which do not."""
    held = [(section.title, row) for section in sections for row in section.rows if row.goal]
    missed = [f"- {title} — {row.name}: {row.verdict}" for title, row in held if "MISSED" in row.verdict]
    return "\n".join((f"\n{len(held) - len(missed)} of {len(held)} rows with a goal meet it. Missed:\n", *missed))


def stack(results: Sequence[Result], key: str) -> np.ndarray:
    """(seeds, entries) of one figure."""
    return np.array([np.atleast_1d(r[key]) for r in results])


def ours_false(gathered: dict[str, Any]) -> float:
    """Share of sites at half the plan ever red, the worst of the three truths, on the sites of the contest."""
    compared = gathered["compared"]
    return max(
        float(np.mean(np.concatenate([np.isfinite(r["ours first red"][r["which"] == name]) for r in compared])))
        for name in trials.GUARDED
    )


def goals(gathered: dict[str, Any], search: contest.Search, speed: dict[str, float]) -> Section:
    """The figures that have goals, on the simulator of the design."""
    fates, half, mixes = gathered["fates"], gathered["half"], gathered["mixes"]
    truths = ("plan right", "a fifth too large", "a year late")
    years = ("year 4", "year 5", "year 6")
    rows = [
        Row(
            name="AUC of theta, success against failed, years after the lag", entries=("1", "2", "3"),
            values=stack(fates, "auc"), goal=(0.88, 0.96, 0.99), aim=(0.93, 0.99, 1.0),
        ),
        Row(
            name="ever red at theta = .5 in six years, alpha .05", entries=truths,
            values=stack(half, "half red 0.05")[:, :3], goal=(0.06,), aim=(0.05,), ceiling=(0.05,), sense="<=",
        ),
        Row(name="the same, both wrong (outside the guard)", values=stack(half, "half red 0.05")[:, 3:]),
        Row(name="ever red at theta = .5, alpha .02", entries=(*truths, "both"), values=stack(half, "half red 0.02")),
        Row(
            name="failed sites (theta = 0) red, alpha .05", entries=years,
            values=stack(fates, "failed red 0.05")[:, 1:],
            goal=(0.50, 0.78, 0.90), aim=(0.61, 0.86, 0.94), ceiling=(0.66, 0.89, 0.96),
        ),
        Row(
            name="failed sites (theta = 0) red, alpha .02", entries=years,
            values=stack(fates, "failed red 0.02")[:, 1:],
            goal=(0.35, 0.68, 0.85), aim=(0.47, 0.79, 0.91), ceiling=(0.54, 0.83, 0.94),
        ),
        Row(name="failed sites red by year 3, alpha .05", values=stack(fates, "failed red 0.05")[:, :1]),
        Row(
            name="true successes ever red", entries=("theta 1", "theta about 1 (sd .2)"),
            values=np.hstack([stack(fates, "whole red"), stack(fates, "success red")]),
            goal=(0.005,), aim=(0.0,), sense="<=",
        ),
        Row(
            name="calibration error of P(theta < .5), years 3 to 6: plan right", values=stack(mixes, "plan right"),
            goal=(0.06,), aim=(0.03,), sense="<=",
        ),
        *(
            Row(
                name=f"the same: {name}", values=stack(mixes, name), goal=(0.08,) if "wrong" in name else (),
                aim=(0.04,) if "wrong" in name else (), sense="<=",
            )
            for name in list(trials.MIXES)[1:]
        ),
        Row(
            name=f"sudden losses named within a year, bar {search.threshold:g} from training seeds",
            values=stack(gathered["sudden"], "found")[:, 0, 11:12], goal=(0.60,), aim=(0.68,), ceiling=(0.69,),
            note=f"at {shown(search.rate)} false a site and year on these seeds",
        ),
        Row(
            name=f"the same at the monitor's own bar, {DEFAULT.disturbance_score:g}: named, false a site and year",
            entries=("named", "false"),
            values=np.hstack(
                [stack(gathered["sudden"], "found")[:, 1, 11:12], stack(gathered["sudden"], "rate")[:, 1:]]
            ),
        ),
        Row(
            name=f"the same: red (probability {DEFAULT.disturbance_red:g} or more) within a year, and sites without a "
            "loss ever red by one in six years",
            entries=("red", "ever red"),
            values=np.hstack(
                [stack(gathered["sudden"], "red")[:, 1, 11:12], stack(gathered["sudden"], "ever red")[:, 1:]]
            ),
        ),
        Row(
            name="sites that lost everything, at the end", entries=trials.LOST_STATUSES,
            values=stack(gathered["sudden"], "lost"),
        ),
        Row(
            name="assessments a second of one core (processor time): Parquet in, Parquet out (`regrowth assess`)",
            values=np.array([speed["files"]]), goal=(20_000.0,), aim=(200_000.0,), spread=np.array([np.nan]),
        ),
        Row(
            name="the same: table in memory to columns of verdicts", values=np.array([speed["memory"]]),
            spread=np.array([np.nan]),
        ),
    ]  # fmt: skip
    return Section(title="Simulated sites: the goals", rows=rows)


def watch(gathered: dict[str, Any]) -> Section:
    """Early news and what it costs."""
    fates, half = gathered["fates"], gathered["half"]
    return Section(
        title="Watch: P(theta < .25) ≥ .9 at two looks ten days apart",
        about="No guarantee goes with it; this is its measured rate, in six years of nightly looks. Red counts as "
        "watched.",
        rows=[
            Row(
                name="ever watched", entries=("theta 1", "theta about 1 (sd .2)", "theta .5"),
                values=np.hstack(
                    [stack(fates, "whole watched"), stack(fates, "success watched"), stack(half, "half watched")]
                ),
            ),
            Row(
                name="failed sites watched by", entries=tuple(f"year {y}" for y in (2, 3, 4, 5, 6)),
                values=stack(fates, "failed watched"),
            ),
        ],
    )  # fmt: skip


def stresses(gathered: dict[str, Any], *, quick: bool) -> list[Section]:
    """Coverage and false reds under every stress, with the constants as they come and as placebos set them."""
    sections = [
        Section(
            title="Under stress, with the default calibration",
            about="Goals are set for the stresses that the design names. Controls that green with nobody knowing are "
            "what this method cannot see.",
            rows=[row for name in trials.STRESSES for row in _stress(name, gathered[f"stress: {name}"])],
        )
    ]
    if quick:
        return sections
    rows = []
    for name in CALIBRATED:
        rows.append(_constants(name, gathered[f"calibration: {name}"][0]))
        rows += _stress(name, gathered[f"calibrated: {name}"])
    sections.append(
        Section(
            title="Under stress, with constants set on placebos",
            about=f"{trials.PLACEBOS} placebos of each world (its ground with nothing done to it), from training seed "
            f"{trials.TRAINING[0]}; the same sites as above.",
            rows=rows,
        )
    )
    return sections


def _constants(name: str, constants: Calibration) -> Row:
    return Row(
        name=f"{name}: constants set (default)",
        entries=(*(f"{c} ({getattr(DEFAULT, c):g})" for c in CONSTANTS), "boundary at .05"),
        values=np.array([*(getattr(constants, c) for c in CONSTANTS), dict(constants.boundary)[0.05]]),
        spread=np.full(len(CONSTANTS) + 1, np.nan),
    )


def _stress(name: str, results: Sequence[Result]) -> list[Row]:
    promised = name in trials.A4
    return [
        Row(
            name=f"{name}: coverage of the 95 % interval", entries=("theta 0", ".5", "1"),
            values=stack(results, "coverage"), goal=(0.92, 0.98) if promised else (),
            aim=(0.94, 0.96) if promised else (), sense="in",
        ),
        Row(
            name=f"{name}: ever red at theta .5", entries=("plan right", "a fifth too large", "a year late"),
            values=stack(results, "false"), goal=(0.06,) if promised else (), sense="<=",
        ),
        Row(
            name=f"{name}: mean error of theta; failed red by year 4 and 6",
            entries=("theta 0", ".5", "1", "year 4", "year 6"),
            values=np.hstack([stack(results, "error"), stack(results, "found")]),
        ),
    ]  # fmt: skip


def plans(gathered: dict[str, Any]) -> Section:
    """The failure rows of plans that promise less, more slowly."""
    rows = []
    for name, plan in trials.OTHER_PLANS.items():
        for alpha in (0.05, 0.02):
            values = stack(gathered["plans"], f"{name} {alpha}")
            rows.append(
                Row(
                    name=f"{name} (A {plan.A}, k {plan.k}, L {plan.L}), alpha {alpha}: failed red by",
                    entries=("year 4", "year 5", "year 6"), values=values[:, :3],
                )
            )  # fmt: skip
            if alpha == 0.05:
                rows.append(
                    Row(
                        name=f"{name}, alpha {alpha}: ever red at theta .5",
                        entries=("plan right", "a fifth too large", "a year late"), values=values[:, 3:],
                    )
                )  # fmt: skip
        rows.append(
            Row(
                name=f"{name}: failed watched or red by", entries=tuple(f"year {y}" for y in (3, 4, 5, 6)),
                values=stack(gathered["plans"], f"{name} watched"),
            )
        )  # fmt: skip
        for fate in ("failed", "success"):
            rows.append(
                Row(
                    name=f"{name}: {fate}, share called",
                    entries=tuple(f"{label}, year {y}" for label in trials.LABELS for y in (3, 4, 6)),
                    values=stack(gathered["plans"], f"{name} {fate} called"),
                )
            )  # fmt: skip
    return Section(title="Other plans", rows=rows)


def otherwise(gathered: dict[str, Any]) -> Section:
    """The figures on the simulator that does not think as the filter does."""
    rows = []
    told = {name: gathered[f"other: {name}"] for name in trials.OTHERWORLDS}
    calibrated = f"{OTHER_CALIBRATED}, constants set on {trials.PLACEBOS} placebos of it"
    if f"other calibrated: {OTHER_CALIBRATED}" in gathered:
        told[calibrated] = gathered[f"other calibrated: {OTHER_CALIBRATED}"]
    for name, results in told.items():
        if name == calibrated:
            rows.append(_constants(name, gathered[f"calibration: {OTHER_CALIBRATED}"][0]))
        rows += [
            Row(
                name=f"{name}: AUC of theta, years after the lag", entries=("1", "2", "3"),
                values=stack(results, "auc"), goal=(0.88, 0.96, 0.99),
            ),
            Row(
                name=f"{name}: ever red at theta .5", entries=("plan right", "a fifth too large", "a year late"),
                values=stack(results, "false"), goal=(0.06,), sense="<=",
            ),
            Row(
                name=f"{name}: failed red by", entries=("year 4", "year 5", "year 6"), values=stack(results, "found"),
                goal=(0.50, 0.78, 0.90),
            ),
            Row(name=f"{name}: theta 1 ever red", values=stack(results, "whole red"), goal=(0.005,), sense="<="),
            Row(
                name=f"{name}: coverage of the 95 % interval", entries=("theta 0", ".5", "1"),
                values=stack(results, "coverage"), goal=(0.92, 0.98), sense="in",
            ),
            Row(name=f"{name}: mean error of theta", entries=("theta 0", ".5", "1"), values=stack(results, "error")),
            Row(
                name=f"{name}: losses named falsely, a site and year", entries=("theta .5", "theta 1"),
                values=np.hstack([stack(results, "losses 0.5"), stack(results, "losses 1.0")]),
            ),
        ]  # fmt: skip
    return Section(
        title="Other simulator",
        about="NDVI with saturation, soil moisture, moving springs, orbits and sensors, ground on a random walk, noise "
        "with a memory, 4 % residual haze: nothing of it in the filter's form. The goals of the first simulator are "
        "held to it.",
        rows=rows,
    )


def on_real_noise(gathered: dict[str, Any], *, quick: bool) -> list[Section]:
    """The headline: verdicts on real differences with an uplift added."""
    rng = np.random.default_rng(5)

    def mean(values: np.ndarray) -> tuple[float, float]:
        draws = values[rng.integers(0, values.size, (2000, values.size))].mean(axis=1)
        return float(values.mean()), float(draws.std())

    def row(name: str, entries: Sequence[str], values: Sequence[np.ndarray], **others: Any) -> Row:
        pairs = np.array([mean(v.astype(float)) for v in values])
        return Row(name=name, entries=tuple(entries), values=pairs[:, 0], spread=pairs[:, 1], **others)

    main_runs = {key: gathered[key][0] for key in gathered if key.startswith("real 10m")}
    stable = int(np.sum(real.logged() == 0))

    def over_starts(key: str, change: Callable[[np.ndarray], np.ndarray] = lambda v: v) -> np.ndarray:
        """Mean over the starts first: a hectare is one draw, however many starts are pretended on it."""
        averaged: np.ndarray = np.mean([change(r[key]) for r in main_runs.values()], axis=0)
        return averaged

    names = ("theta 1", "theta .5")
    rows = [
        row(
            "real stable ground ever red, all starts together", names,
            [over_starts(f"red {theta}", np.isfinite) for theta in (1.0, 0.5)], goal=(0.0, 0.05), sense="<=",
        ),
        row(
            "coverage of the 95 % interval, all starts together", ("theta 0", ".5", "1"),
            [over_starts(f"held {theta}") for theta in (0.0, 0.5, 1.0)],
            goal=(0.92, 0.98), aim=(0.94, 0.96), sense="in",
            note=f"were {stable} hectares independent, all would hold it with chance {shown(0.95**stable)} at a true "
            f"coverage of .95, {shown(0.98**stable)} at .98",
        ),
        row(
            "mean square of theta's error over half its interval, in standard deviations (1: as wide as needed)",
            ("theta 0", ".5", "1"), [over_starts(f"off {theta}") for theta in (0.0, 0.5, 1.0)],
        ),
        row(
            "mean error of theta", ("theta 0", ".5", "1"),
            [over_starts(f"error {theta}") for theta in (0.0, 0.5, 1.0)],
        ),
        row(
            "losses named falsely, a site and year", ("theta 0", ".5", "1"),
            [over_starts(f"losses {theta}") for theta in (0.0, 0.5, 1.0)],
        ),
    ]  # fmt: skip
    for key in gathered:
        if key.startswith("real ") and "rivals" not in key:
            result = gathered[key][0]
            _, kind, start = key.split(" ")
            after = 2020 - date.fromisoformat(start).year + 1
            label = f"{kind[:2]} m, start {start[:4]}, {after} seasons after"
            rows.append(
                row(f"{label}: ever red", (*names, "theta 0 (found)"),
                    [np.isfinite(result[f"red {theta}"]) for theta in (1.0, 0.5, 0.0)])
            )  # fmt: skip
            rows.append(
                row(f"{label}: ever watched or red", (*names, "theta 0"),
                    [np.isfinite(result[f"watched {theta}"]) for theta in (1.0, 0.5, 0.0)])
            )  # fmt: skip
            rows.append(
                row(f"{label}: coverage", ("theta 0", ".5", "1"),
                    [result[f"held {theta}"] for theta in (0.0, 0.5, 1.0)])
            )  # fmt: skip
            rows.append(
                row(f"{label}: scenes before the start, in all", ("before", "all"),
                    [result["scenes before"], result["scenes"]])
            )  # fmt: skip
            if result["hit 1.0"].size:
                rows.append(
                    row(f"{label}: logged hectares named in the year of logging ({result['hit 1.0'].size})",
                        ("theta 1", "theta 0"), [result["hit 1.0"], result["hit 0.0"]])
                )  # fmt: skip
    sections = [
        Section(
            title="Real noise, unmixed, with a known uplift added (headline)",
            about="One square kilometre of real forest in hectares, Sentinel-2, 2015-08 to 2021-01 (sample of nrt "
            f"0.2.1). {stable} of 100 hectares are stable by the rule laid down beforehand (summer NDMI, an index that "
            f"is not judged, never fell by more than {real.LOGGED} against the others from one year to the next); the "
            "others were logged or damaged. One landscape: the hectares share its weather and its sensors, and the "
            "bootstrap does not know that. No run reaches the six years of the simulated rows.",
            rows=rows,
        )
    ]
    lines = []
    for name, theta, outcomes in trials.elsewhere(ELSEWHERE):
        held, error = scores.coverage(outcomes)
        last = [o.rows for o in outcomes]
        lines.append(
            (
                name, shown(theta, 1), str(len(outcomes)), f"{int(np.isfinite(scores.first(outcomes)).sum())}",
                shown(held, 2), shown(error, 2), f"{np.mean([r.theta_high[-1] - r.theta_low[-1] for r in last]):.2f}",
                f"{np.mean([r.n_scenes[-1] for r in last]):.0f}",
            )
        )  # fmt: skip
    sections.append(
        Section(
            title="Real noise elsewhere: few sites, shown for what they are",
            about="Not usable, and left out: fields in Spain (one season, 33 dates), fields in Belgium (twelve monthly "
            "composites), yearly composites of a burnt forest, one desert plot without another beside it."
            + ("" if lines else " The folder of these series is not here."),
            header=("what", "theta", "sites", "ever red", "coverage", "error of theta", "width of interval", "scenes"),
            lines=lines,
        )
    )
    if not quick:
        chosen = contest.chosen(gathered["training"])
        columns: dict[str, list[str]] = {}
        for start in real.STARTS[1:]:
            result = gathered[f"real rivals {start}"][0]
            good, bad = (result["which"] == name for name in ("success", "failed"))
            for tool, key in chosen.items():
                if key not in result:
                    columns.setdefault(tool, []).append("no rain gauge there")
                    continue
                score = result[key]
                told = [
                    scores.auc(score[good, k], score[bad, k]) if np.isfinite(score[:, k]).any() else np.nan
                    for k in contest.AFTER
                    if k < score.shape[1]
                ]
                columns.setdefault(tool, []).append(several(told))
        sections.append(
            Section(
                title="Real noise: rivals on the same hectares",
                about="AUC of theta 1 against theta 0, one, two (and three) years after the lag. The variant of each "
                "tool is the one that training seeds of the simulator chose. A dash: the tool refuses every site (its "
                "history is shorter than 1.5 times its regressors).",
                header=("tool", *(f"start {s.year}, {2020 - s.year + 1} seasons after" for s in real.STARTS[1:])),
                lines=[(tool, *cells) for tool, cells in columns.items()],
            )
        )  # fmt: skip
    return sections


def rivals(
    gathered: dict[str, Any], standings: Sequence[contest.Standing], searches: Sequence[contest.Search]
) -> list[Section]:
    """Two tables: not taking hold, and sudden losses."""
    compared = gathered["compared"]
    first = np.concatenate([r["ours first red"][r["which"] == "failed"] for r in compared])
    false = ours_false(gathered)
    ours = next(s for s in standings if s.tool == contest.OURS)
    spared = [
        float(np.mean(np.concatenate([r["ours first red"][r["which"] == name] for r in compared]) <= 4))
        for name in ("success", "right", "failed")
    ]
    rows = [
        (
            "**this project, red, nightly looks, alpha .05**", several(ours.auc), several(spared, 2), "0",
            several(scores.by(first, 4, 5, 6), 2), shown(false), "–", "–",
        ),
        *(
            (
                s.tool, several(s.auc), several(s.default, 2) if s.default else "–", shown(s.silent, 2),
                several(s.guarded[3:6], 2), shown(s.guarded_false), several(s.trusting[3:6], 2),
                shown(s.trusting_false),
            )
            for s in standings
        ),
    ]  # fmt: skip
    return [
        Section(
            title="Not taking hold: rivals at the same false-alarm rate",
            about=NOT_TAKING_HOLD,
            header=(
                "tool", "AUC 1 / 2 / 3 years after the lag", "defaults, year 4: accused at theta 1 / .5 / 0", "refuses",
                "guarded: found by year 4 / 5 / 6", "false", "trusting: found by 4 / 5 / 6", "false if plan wrong",
            ),
            lines=rows,
        ),
        Section(
            title="Sudden losses: rivals at the same false-alarm rate",
            about=LOSSES,
            header=(
                "tool", "default: false a site and year", "default: found within a year",
                "tuned: false a site and year", "tuned: found within 3 / 6 / 12 / 24 months",
            ),
            lines=[
                (
                    s.tool, shown(s.default[0]) if s.default else "–", shown(s.default[1]) if s.default else "–",
                    shown(s.rate), several(s.found[[2, 5, 11, 23]]),
                )
                for s in searches
            ],
        ),
    ]  # fmt: skip


def speeds(sites: int) -> dict[str, float]:
    """Assessments a second on one core, from a table of series: through files, and in memory; best of three.

    By the processor, so that a busy machine does not slow it.
    """
    from jobs.commands.assess import assess
    from monitor.verdict.tables import read_series

    cases = list(simulate(trials.WORLD, {"success": sites}, np.random.default_rng(9)))
    table = pd.concat(
        [
            pd.DataFrame(
                {"site": c.site.id, "date": c.series.dates, "cover": c.series.cover, "control": c.series.control}
            )
            for c in cases
        ]
    )
    plan = pd.DataFrame(
        {
            "site": [c.site.id for c in cases], "start": [c.site.start for c in cases], "intervention": "planting",
            "biome": "loess", "A": PLAN.A, "k": PLAN.k, "L": PLAN.L, "too_early_years": PLAN.too_early_years,
        }
    )  # fmt: skip
    count = sum(int((c.series.dates >= np.datetime64(c.site.start)).sum()) for c in cases)
    best = {"files": np.inf, "memory": np.inf}
    with tempfile.TemporaryDirectory() as folder:
        series, promised, out = (Path(folder) / name for name in ("series.parquet", "plans.parquet", "out.parquet"))
        table.to_parquet(series)
        plan.to_parquet(promised)
        for _ in range(3):
            begun = time.process_time()
            with contextlib.redirect_stdout(io.StringIO()):
                assess(series, promised, out)
            best["files"] = min(best["files"], time.process_time() - begun)
            seen = read_series(series)
            begun = time.process_time()
            for case in cases:
                one = seen[case.site.id]
                verdicts(one, case.site, one.dates[one.dates >= np.datetime64(case.site.start)])
            best["memory"] = min(best["memory"], time.process_time() - begun)
    return {name: count / seconds for name, seconds in best.items()}
