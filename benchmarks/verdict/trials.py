"""The trials: each a function of a seed and a number of sites, each a row or a few of the table.

A trial draws its own sites, judges them as the nightly job would, and gives back small arrays; what is to be pooled
over seeds (scores of rivals, first alarms) is given back whole. Trials of the seeds in :data:`TRAINING` serve to tune
thresholds only and are never scored.
"""

import zlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np

from benchmarks.verdict import other, real, rivals, scores
from benchmarks.verdict.simulate import PLAN, Case, World, simulate
from monitor.sites.site import Plan
from monitor.verdict import assess as judging
from monitor.verdict.assess import DEFAULT
from monitor.verdict.assessment import Status
from monitor.verdict.calibrate import calibrate
from monitor.verdict.calibration import Calibration
from monitor.verdict.kernels.constants import NORMAL_95
from monitor.verdict.placebos import Placebo
from monitor.verdict.status import STATUSES
from monitor.verdict.usable_scenes import usable_scenes

SEEDS = (1, 2, 3, 4, 5)
TRAINING = (101, 102, 103)
ALPHAS = (0.05, 0.02)
"""Lifetime false-alarm budgets of the failure rule that are shown."""
WORLD = World()
SMALL = replace(PLAN, A=0.8 * PLAN.A)
LATE = replace(PLAN, L=PLAN.L + 1)
BOTH = replace(SMALL, L=PLAN.L + 1)
TRUTHS = {"right": PLAN, "small": SMALL, "late": LATE, "both": BOTH}
GUARDED = ("right", "small", "late")
OTHER_PLANS = {
    "sandy enclosure": Plan(A=0.12, k=0.35, L=0.5, too_early_years=2.0),
    "shrubs": Plan(A=0.12, k=0.25, L=1.5, too_early_years=3.0),
}
STRESSES = {
    "as designed": WORLD,
    "slow drift sd .03": replace(WORLD, slow_sd=0.03),
    "heavy tails": replace(WORLD, heavy_tails=True),
    "rain sd .3, mismatch .3": replace(WORLD, rain_sd=0.3, mismatch_sd=0.3),
    "one pre-year": replace(WORLD, pre=1),
    "no pre-year": replace(WORLD, pre=0),
    "a quarter of the passes clear": replace(WORLD, clear=0.25),
    "one of two rings greening .01 a year": replace(WORLD, greening=0.01, two_rings=True),
    "controls greening .01 a year (known blind)": replace(WORLD, greening=0.01),
    "both rings greening .01 a year (known blind)": replace(WORLD, greening=0.01, two_rings=True, both_greening=True),
}
A4 = ("as designed", "slow drift sd .03", "heavy tails", "rain sd .3, mismatch .3", "one pre-year")
"""The stresses under which coverage is promised."""
PLACEBOS = 600
"""Pieces of control ground from which a calibration is made."""
POPULATION = {"success": 50, "slow": 12, "failed": 18}
"""Mix of fates, of 80, over which probabilities are held to what came true."""
MIXES = {
    "plan right": WORLD,
    "plan wrong: up to a fifth less, up to a year later": replace(WORLD, smaller=(0.8, 1.0), later=(0.0, 1.0)),
    "plan outside the guard: A x .75 to 1.33, L -1 to +1, k x or / 1.5": replace(
        WORLD, smaller=(0.75, 1.33), later=(-1.0, 1.0), faster=1.5
    ),
}
BARS = (1.7, 1.8, 1.9, 2.0, 2.2)
"""Scores tried for an alarm of sudden loss, the monitor's own among them."""

type Result = dict[str, np.ndarray]


def generator(seed: int, *what: str) -> np.random.Generator:
    """Numbers of one line of the table: other lines, added later, do not move it."""
    return np.random.default_rng([seed, zlib.crc32("/".join(what).encode())])


def half_plan(seed: int, sites: int) -> Result:
    """Sites with exactly half of what was promised: how often they are ever red, and watched."""
    found: Result = {}
    false = []
    for name, truth in TRUTHS.items():
        world = replace(WORLD, truth=truth)
        cases = simulate(world, {"slow": sites}, generator(seed, "half", name), theta=0.5)
        by_alpha = scores.run_at(cases, ALPHAS)
        false.append([scores.by(scores.first(outcomes), scores.LAST_YEAR) for outcomes in by_alpha])
        if name == "right":
            found["half watched"] = np.array(scores.by(scores.first(by_alpha[0], scores.watched), scores.LAST_YEAR))
    for alpha, values in zip(ALPHAS, np.array(false)[:, :, 0].T, strict=True):
        found[f"half red {alpha}"] = values
    return found


def fates(seed: int, sites: int) -> Result:
    """Failed and successful sites: found, spared, distinguished."""
    found: Result = {}
    by_alpha = scores.run_at(simulate(WORLD, {"failed": sites}, generator(seed, "failed"), theta=0.0), ALPHAS)
    for alpha, failed in zip(ALPHAS, by_alpha, strict=True):
        found[f"failed red {alpha}"] = np.array(scores.by(scores.first(failed), 3, 4, 5, 6))
    found["failed watched"] = np.array(scores.by(scores.first(failed, scores.watched), 2, 3, 4, 5, 6))
    good = scores.run(simulate(WORLD, {"success": sites}, generator(seed, "success")))
    whole = scores.run(simulate(WORLD, {"success": sites}, generator(seed, "whole"), theta=1.0))
    bad = scores.run(simulate(WORLD, {"failed": sites}, generator(seed, "bad")))
    for name, outcomes in (("success", good), ("whole", whole)):
        found[f"{name} red"] = np.array(scores.by(scores.first(outcomes), scores.LAST_YEAR))
        found[f"{name} watched"] = np.array(scores.by(scores.first(outcomes, scores.watched), scores.LAST_YEAR))
    found["auc"] = np.array(
        [scores.auc(*(scores.theta_at(o, PLAN.L + y) for o in (good, bad))) for y in (1.0, 2.0, 3.0)]
    )
    return found


def stress(seed: int, sites: int, name: str, calibration: Calibration = DEFAULT) -> Result:
    """Under one stress: false reds at half the plan (plan right, small, late), coverage and error of theta."""
    world = STRESSES[name]
    held, false = [], []
    for theta in (0.0, 0.5, 1.0):
        cases = simulate(world, {"slow": sites}, generator(seed, name, str(theta)), theta=theta)
        outcomes = scores.run(cases, calibration=calibration)
        held.append(scores.coverage(outcomes))
        if theta == 0.5:
            false += scores.by(scores.first(outcomes), scores.LAST_YEAR)
        if theta == 0.0:
            found = scores.by(scores.first(outcomes), 4, 6)
    for truth in (SMALL, LATE):
        cases = simulate(replace(world, truth=truth), {"slow": sites}, generator(seed, name, str(truth)), theta=0.5)
        false += scores.by(scores.first(scores.run(cases, calibration=calibration)), scores.LAST_YEAR)
    held_, error = np.array(held).T
    return {"coverage": held_, "error": error, "false": np.array(false), "found": np.array(found)}


def calibrated(seed: int, count: int, name: str) -> Calibration:
    """Constants set on placebos of a stress or other world: ground to which nothing was done, from a training seed."""
    drawn = generator(seed, "placebos", name)
    if name in STRESSES:
        ground = simulate(STRESSES[name], {"failed": count}, drawn, theta=0.0)
    else:
        ground = other.simulate(OTHERWORLDS[name], {"failed": count}, drawn, theta=0.0)
    placebos = [Placebo(site=case.site, series=case.series) for case in ground]
    return calibrate(placebos, source=f"simulated, {name}", dated=DEFAULT.dated)


def mixes(seed: int, sites: int) -> Result:
    """Whether what is called probable comes true as often: P(theta < .5) at the end of years 3 to 6."""
    found: Result = {}
    share = {fate: sites * part // 80 for fate, part in POPULATION.items()}
    for name, world in MIXES.items():
        chance, happened = [], []
        for case in simulate(world, share, generator(seed, "mix", name)):
            probability = below_half(case)
            chance.append(probability)
            happened.append(np.full(probability.size, case.theta < 0.5))
        found[name] = np.array([scores.calibration_error(np.concatenate(chance), np.concatenate(happened))])
    return found


def below_half(case: Case) -> np.ndarray:
    """P(theta < .5), averaged over the plan's doubt as the statuses' probabilities are, at the end of years 3 to 6."""
    seen = usable_scenes(case.series, case.site, DEFAULT)
    parts = judging.cohorts_of(case.site, ())
    history = judging.site_history(seen, case.site, parts, DEFAULT)
    years = (seen.day[seen.used] - int(np.datetime64(case.site.start, "D").astype(int))) / 365.25
    at = np.searchsorted(years, [3.0, 4.0, 5.0, 6.0], side="right") - 1
    probability: np.ndarray = history.below[at[at >= 0], 2]
    return probability


def plans(seed: int, sites: int) -> Result:
    """The failure rows for plans that promise less and more slowly."""
    found: Result = {}
    for name, plan in OTHER_PLANS.items():
        world = replace(WORLD, plan=plan)
        by_alpha = scores.run_at(simulate(world, {"failed": sites}, generator(seed, name), theta=0.0), ALPHAS)
        false: list[float] = []
        for truth in (plan, replace(plan, A=0.8 * plan.A), replace(plan, L=plan.L + 1)):
            cases = simulate(replace(world, truth=truth), {"slow": sites}, generator(seed, str(truth)), theta=0.5)
            false += scores.by(scores.first(scores.run(cases)), scores.LAST_YEAR)
        for alpha, failed in zip(ALPHAS, by_alpha, strict=True):
            also = false if alpha == ALPHAS[0] else []
            found[f"{name} {alpha}"] = np.array([*scores.by(scores.first(failed), 4, 5, 6), *also])
        found[f"{name} watched"] = np.array(scores.by(scores.first(failed, scores.watched), 3, 4, 5, 6))
        good = scores.run(simulate(world, {"success": sites}, generator(seed, name, "success")))
        for fate, outcomes in (("failed", failed), ("success", good)):
            called = [[scores.share_called(outcomes, status, year) for year in (3, 4, 6)] for status in LABELS]
            found[f"{name} {fate} called"] = np.concatenate(called)
    return found


def sudden(seed: int, sites: int, bars: tuple[float, ...]) -> Result:
    """Sudden losses: (bars,) named falsely a site and year, and ever red, on sites without; (bars, months) share named
    so soon, and red so soon.
    """
    quiet = [*simulate(WORLD, {"success": sites // 2}, generator(seed, "quiet"), theta=1.0),
             *simulate(WORLD, {"slow": sites // 2}, generator(seed, "quiet half"), theta=0.5)]  # fmt: skip
    event = list(simulate(WORLD, {"disturbed": sites}, generator(seed, "event")))
    lost = list(simulate(WORLD, {"lost": sites // 2}, generator(seed, "lost")))
    rate, ever_red, found, red = [], [], [], []
    for bar in bars:
        calibration = replace(DEFAULT, disturbance_score=bar)
        spared = scores.run(quiet, calibration=calibration)
        rate.append(np.mean([scores.loss_alarms(o).size / o.years[-1] for o in spared]))
        ever_red += scores.by(scores.first(spared, scores.red_by_loss), scores.LAST_YEAR)
        named_after, red_after = [], []
        for outcome in scores.run(event, calibration=calibration):
            delay = scores.loss_alarms(outcome) - scores.event_years(outcome.case)
            named_after.append(delay[delay >= 0].min(initial=np.inf))
            red_after.append(scores.red_loss_delay(outcome))
        found.append([np.mean(np.array(named_after) <= m / 12) for m in rivals.MONTHS])
        red.append([np.mean(np.array(red_after) <= m / 12) for m in rivals.MONTHS])
    last = np.array([o.rows.status[-1] for o in scores.run(lost)])
    final = np.array([np.mean(last == STATUSES.index(status)) for status in LOST_STATUSES])
    return {
        "rate": np.array(rate), "ever red": np.array(ever_red), "found": np.array(found), "red": np.array(red),
        "lost": final,
    }  # fmt: skip


LOST_STATUSES = (Status.UNDECIDED, Status.ON_TRACK, Status.LAGGING, Status.FAILING, Status.DISTURBED)
LABELS = (Status.ON_TRACK, Status.UNDECIDED)
"""Statuses that a benchmark counts at the ends of years."""
SETS = ("success", "failed", *GUARDED, "disturbed")


def compared(seed: int, sites: int) -> Result:
    """Ours and the rivals on the very same sites: scores at the end of each season, our first reds, losses."""
    cases, label = [], []
    for name in SETS:
        truth = TRUTHS.get(name, PLAN)
        fate = name if name in ("success", "failed", "disturbed") else "slow"
        theta = 0.5 if name in GUARDED else None
        some = simulate(replace(WORLD, truth=truth), {fate: sites}, generator(seed, "compared", name), theta=theta)
        cases += list(some)
        label += [name] * sites
    which = np.array(label)
    panel = rivals.Panel.of(cases)
    opinions, losses = rivals.ask(panel, losses_of=np.isin(which, ("success", "right", "disturbed")))
    outcomes = scores.run([case for case, name in zip(cases, label, strict=True) if name != "disturbed"])
    ends = np.arange(1.0, panel.seasons.size + 1)
    theta = np.full((which.size, ends.size), np.nan)
    at = which != "disturbed"
    theta[at] = np.array([scores.theta_at(outcomes, y) for y in ends]).T
    first = np.full(which.size, np.inf)
    first[at] = scores.first(outcomes)
    found: Result = {"which": which, "ours first red": first}
    opinions["theta of this project, thresholds tuned alike", ""] = rivals.Opinion(score=theta)
    for (tool, variant), opinion in opinions.items():
        found[f"score|{tool}|{variant}"] = opinion.score.astype(np.float32)
        if opinion.holds is not None:
            found[f"holds|{tool}|{variant}"] = opinion.holds
        if opinion.silent is not None:
            found[f"silent|{tool}|{variant}"] = opinion.silent
    for (tool, variant), (rate, share) in losses.items():
        found[f"rate|{tool}|{variant}"], found[f"found|{tool}|{variant}"] = rate, share
    return found


OTHERWORLDS = {
    "as it is": other.Otherworld(),
    "stronger saturation (1.2)": other.Otherworld(saturation=1.2),
    "a quarter of the passes clear": other.Otherworld(clear=0.25),
}


def otherwise(seed: int, sites: int, name: str, calibration: Calibration = DEFAULT) -> Result:
    """The main figures from the simulator that does not think as the filter does."""
    world = OTHERWORLDS[name]
    held, false = [], []
    result: Result = {}
    for theta in (0.0, 0.5, 1.0):
        cases = other.simulate(world, {"slow": sites}, generator(seed, name, str(theta)), theta=theta)
        outcomes = scores.run(cases, calibration=calibration)
        held.append(scores.coverage(outcomes))
        when = scores.first(outcomes)
        if theta == 0.0:
            result["found"] = np.array(scores.by(when, 4, 5, 6))
        elif theta == 0.5:
            false += scores.by(when, scores.LAST_YEAR)
        else:
            result["whole red"] = np.array(scores.by(when, scores.LAST_YEAR))
        if theta > 0:
            result[f"losses {theta}"] = np.array(
                [np.mean([scores.loss_alarms(o).size / o.years[-1] for o in outcomes])]
            )
    for truth in (SMALL, LATE):
        cases = other.simulate(
            replace(world, truth=truth), {"slow": sites}, generator(seed, name, str(truth)), theta=0.5
        )
        false += scores.by(scores.first(scores.run(cases, calibration=calibration)), scores.LAST_YEAR)
    pair = [
        scores.run(other.simulate(world, {fate: sites}, generator(seed, name, fate)), calibration=calibration)
        for fate in ("success", "failed")
    ]
    result["auc"] = np.array([scores.auc(*(scores.theta_at(o, PLAN.L + y) for o in pair)) for y in (1.0, 2.0, 3.0)])
    result["coverage"], result["error"] = np.array(held).T
    result["false"] = np.array(false)
    return result


def on_real_noise(start: date, kind: str) -> Result:
    """Hectares of the real forest with an uplift added: what is counted, one entry a stable hectare, by theta."""
    found: Result = {}
    ahead = (date(2021, 1, 1) - start).days / 365.25
    for theta in (0.0, 0.5, 1.0):
        cases = list(real.cases(PLAN, theta, start=start, kind=kind))
        outcomes = scores.run([case for case, _ in cases])
        year = np.array([y for _, y in cases])
        stable = [o for o, y in zip(outcomes, year, strict=True) if not y]
        found[f"red {theta}"] = scores.first(stable)
        found[f"watched {theta}"] = scores.first(stable, scores.watched)
        last = np.array([(o.rows.theta_low[-1], o.rows.theta_high[-1], o.rows.theta[-1]) for o in stable])
        found[f"held {theta}"] = ((last[:, 0] <= theta) & (theta <= last[:, 1])).astype(float)
        found[f"error {theta}"] = last[:, 2] - theta
        off = (theta - last[:, :2].mean(axis=1)) / (last[:, 1] - last[:, 0]) * 2 * NORMAL_95
        found[f"off {theta}"] = off**2
        found[f"theta {theta}"] = np.array([scores.theta_at(stable, y) for y in np.arange(1.0, ahead + 0.01)]).T
        found[f"losses {theta}"] = np.array([scores.loss_alarms(o).size / o.years[-1] for o in stable])
        hit = []
        for o, y in zip(outcomes, year, strict=True):
            begin = (np.datetime64(f"{y}-01-01") - np.datetime64(start)).astype(int) / 365.25 if y else np.nan
            if y and begin >= 0:
                alarms = scores.loss_alarms(o)
                hit.append(bool(((alarms >= begin) & (alarms < begin + 1)).any()))
        found[f"hit {theta}"] = np.array(hit, float)
    found["scenes before"] = np.array([o.rows.n_pre[-1] for o in stable])
    found["scenes"] = np.array([o.rows.n_scenes[-1] for o in stable])
    return found


def rivals_on_real_noise(start: date) -> Result:
    """Scores of ours and the rivals on the same hectares at theta 1 and 0; nrt is given scenes of the whole year."""
    good, bad = ([c for c, y in real.cases(PLAN, theta, start=start) if not y] for theta in (1.0, 0.0))
    cases = [*good, *bad]
    none = np.zeros(len(cases), bool)
    opinions = {
        key: o
        for key, o in rivals.ask(rivals.Panel.of(cases), losses_of=none)[0].items()
        if not key[0].startswith("nrt")
    }
    whole, _ = rivals.ask(rivals.Panel.of(cases, whole_year=True), losses_of=none)
    opinions |= {key: o for key, o in whole.items() if key[0].startswith("nrt")}
    outcomes = scores.run(cases)
    seasons = next(iter(opinions.values())).score.shape[1]
    theta = np.array([scores.theta_at(outcomes, y) for y in np.arange(1.0, seasons + 1)]).T
    opinions["theta of this project, thresholds tuned alike", ""] = rivals.Opinion(score=theta)
    found: Result = {"which": np.array(["success"] * len(good) + ["failed"] * len(bad))}
    for (tool, variant), opinion in opinions.items():
        found[f"score|{tool}|{variant}"] = opinion.score.astype(np.float32)
    return found


def elsewhere(folder: Path) -> Iterator[tuple[str, float, list[scores.Outcome]]]:
    """Verdicts on the other real series there are: what they are, theta, outcomes."""
    for theta in (0.0, 0.5, 1.0):
        for name, cases in real.elsewhere(folder, PLAN, theta).items():
            yield name, theta, scores.run(cases)
