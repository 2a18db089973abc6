"""The lines of the page, from what was measured."""

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.verdict.conditions import BASE, CONDITIONS, HALF
from benchmarks.verdict.lots import WORLDS as LOT_WORLDS
from benchmarks.verdict.lots import Lots
from benchmarks.verdict.rivals import Standing
from benchmarks.verdict.scores import Judged
from benchmarks.verdict.table import Figure, Row, several, shown
from monitor.verdict.assessment import Status

type Key = tuple[str, str, bool]
"""World, stress, and whether the constants were set on placebos of it."""
type Scores = Mapping[Key, Mapping[str, Judged]]
"""Verdicts of the sites, by condition and truth."""

RESTORED_10, TRENDS, NOISY = "10 % of controls restored", "trends sd .006", "noisy control, dry year 4"
TWICE, GRAZING = "twice the clear scenes", "grazing pulses"
PLANS = (BASE, *(stress for stress in CONDITIONS["present"] if "plan" in stress))  # plans of the present world
HEADLINE = (
    *(("present", stress) for stress in (*PLANS, TWICE)),
    *(("third", stress) for stress in (BASE, RESTORED_10, TRENDS, NOISY, GRAZING)),
    ("other", BASE),
)
"""Conditions that are scored on more sites."""
FIRST_TABLE = (("present", BASE), ("present", TWICE))
SLOW = PLANS[2:]
CALIBRATED = (("third", BASE), ("third", TRENDS), ("other", BASE))
TRIPLE = ("failed", "half", "full")
YEARS = (4, 5, 6)


def name_of(key: Key) -> str:
    """A condition as it is printed."""
    world, stress, calibrated = key
    return f"{world}: {stress}{', calibrated' if calibrated else ''}"


def _by(of: Judged, event: str, *years: float) -> list[Figure]:
    when = getattr(of, event)
    return [Figure.share(when <= year) for year in years]


def _ever(of: Judged, event: str) -> Figure:
    """Share of sites with an event at any look of ten years."""
    return Figure.share(np.isfinite(getattr(of, event)))


def _worst_red(found: Mapping[str, Judged]) -> Figure:
    """Share ever red by any rule: the worst of on plan, half, plan a fifth too large, growth a year late."""
    return max((_ever(found[truth], "red") for truth in ("full", *HALF)), key=lambda figure: figure.value)


def _half(found: Mapping[str, Judged]) -> list[Figure]:
    return [_by(found[truth], "failure", 6)[0] for truth in HALF]


def _first_called(failed: Judged) -> Figure:
    """Share called `on_track` in the first judged year."""
    year = failed.first_judged_year
    return Figure.share(failed.called(Status.ON_TRACK, year)) if year else Figure(np.nan)


def _coverage(found: Mapping[str, Judged]) -> list[Figure]:
    return [Figure.share((found[t].low <= found[t].theta) & (found[t].theta <= found[t].high)) for t in TRIPLE]


def _losses(found: Mapping[str, Judged]) -> str:
    named, false = Figure.share(found["disturbed"].named_after <= 1), Figure.mean(found["full"].losses)
    return f"{several([named], 2)}, false {several([false])}"


def _detection(found: Mapping[str, Judged]) -> str:
    return f"failed red by year 4/5/6 {several(_by(found['failed'], 'failure', *YEARS), 2)}"


def required(scores: Scores, lots: Mapping[tuple[str, str], Lots]) -> list[Row]:
    """The rows that have a figure to reach, and a few beside them."""
    return [*_alarms(scores), *_third(scores), *_present(scores), *_of_lots(lots), _labels(scores)]


def _alarms(scores: Scores) -> list[Row]:
    present = {plan: scores["present", plan, False] for plan in PLANS}
    third = {stress: scores["third", stress, False] for stress in (BASE, RESTORED_10, NOISY, TRENDS)}
    grazed, found = scores["third", GRAZING, False]["full"], present[BASE]
    lost = [Figure.share(found["disturbed"].named_after <= 1), Figure.share(found["disturbed"].red_after <= 1)]
    worst = [_worst_red(of) for of in present.values()]
    upper = max(figure.value + 2 * figure.error for figure in worst)
    return [
        Row(
            name="ever red by any rule in ten years, the worst of on plan and three truths at half: plan A .20 / .35 / "
            "sandy / shrub / small", figures=worst, required=(0.05,) * len(PLANS),
            beside=f"largest upper limit {shown(upper)}, at most .065",
        ),
        Row(
            name="the same, third world: as it is / 10 % of controls restored / noisy control and dry year / trends",
            figures=[_worst_red(of) for of in third.values()], required=(0.08, 0.08, 0.11, 0.21),
            beside=f"on plan {several([_ever(of['full'], 'red') for of in third.values()])}",
        ),
        Row(
            name="on plan, red by any rule within six years, third world with grazing pulses",
            figures=_by(grazed, "red", 6), required=(0.10,),
            beside=f"by losses, which these are, {several(_by(grazed, 'red_by_loss', 6))}",
        ),
        Row(
            name="small sudden losses within a year: named / red", figures=lost, required=(0.70, 0.38), sense="≥",
            beside="without a loss, on plan / at half: named a site and year "
            f"{several([Figure.mean(found[truth].losses) for truth in ('full', 'half')])}, ever red by a loss "
            f"{several([_ever(found[truth], 'red_by_loss') for truth in ('full', 'half')])}",
        ),
        Row(
            name="undamaged, on plan / at half: ever called `disturbed`",
            figures=[_ever(found[truth], "disturbed") for truth in ("full", "half")], required=(0.07, 0.07),
        ),
    ]  # fmt: skip


def _third(scores: Scores) -> list[Row]:
    third, trends = scores["third", BASE, False], scores["third", TRENDS, False]
    covered = {BASE: third, "noisy control, dry year": scores["third", NOISY, False], "trends": trends}
    return [
        Row(
            name="failed red by year 6, third world: base / trends",
            figures=[_by(found["failed"], "failure", 6)[0] for found in (third, trends)], required=(0.78, 0.60),
            sense="≥",
            beside=f"red by failure at half within six years: {several(_half(third))}; {several(_half(trends))}",
        ),
        Row(
            name="coverage of the 95 % interval, third world, the worst of theta 0, .5, 1: base / noisy control and "
            "dry year / trends",
            figures=[min(_coverage(found), key=lambda figure: figure.value) for found in covered.values()],
            required=(0.88, 0.88, 0.60), sense="≥",
            beside="; ".join(f"{name} {several(_coverage(found), 2)}" for name, found in covered.items()),
        ),
    ]  # fmt: skip


def _present(scores: Scores) -> list[Row]:
    plain, twice = scores["present", BASE, False], scores["present", TWICE, False]
    watched = _by(plain["failed"], "watch", 2, 3)
    wrongly = [_by(plain[truth], "watch", 6)[0] for truth in ("full", "half")]
    return [
        Row(
            name="failed red by year 4 / 5 / 6, present world", figures=_by(plain["failed"], "failure", *YEARS),
            required=(0.44, 0.72, 0.83), sense="≥",
            beside=f"with twice the clear scenes {several(_by(twice['failed'], 'failure', *YEARS), 2)}; watched by "
            f"year 2/3 {several(watched, 2)}; watched within six years, on plan / at half: {several(wrongly)}",
        )
    ]  # fmt: skip


def _labels(scores: Scores) -> Row:
    found = scores["present", BASE, False]
    slow = [_first_called(scores["present", stress, False]["failed"]) for stress in SLOW]
    return Row(
        name="failed called on_track in the first judged year; sites on plan called so in year 6",
        figures=[_first_called(found["failed"]), Figure.share(found["full"].called(Status.ON_TRACK, 6))],
        beside=f"failed on sandy / shrub / small plans {several(slow)}; theta about 1 (sd .2) in year 6 "
        f"{several([Figure.share(found['success'].called(Status.ON_TRACK, 6))])}",
    )  # fmt: skip


def _of_lots(lots: Mapping[tuple[str, str], Lots]) -> list[Row]:
    """What is required of lots of twenty sites, by shared shock."""
    names = list(LOT_WORLDS)

    def by(world: str, truth: str, event: str, *years: float) -> list[Figure]:
        when = getattr(lots[world, truth], event)
        return [Figure.share(when <= year) for year in years]

    half = {name: [by(name, truth, "red", 6)[0] for truth in ("half", "half late")] for name in names}
    return [
        Row(
            name="lot of 20 failed sites red: shock .01 by year 3 / 4; shock .02 by year 4 / 5",
            figures=[*by("shock .01", "failed", "red", 3, 4), *by("shock .02", "failed", "red", 4, 5)],
            required=(0.15, 0.80, 0.40, 0.75), sense="≥",
            beside="lots at half ever red, plan right / late: "
            + "; ".join(f"{name} {several(half[name])}" for name in ("shock .01", "shock .02")),
        ),
        Row(
            name=f"lot at half ever red, the worse of plan right and a year late: {' / '.join(names)}",
            figures=[max(half[name], key=lambda figure: figure.value) for name in names],
            required=(0.05,) * len(names),
            beside="failed red by year 5 "
            f"{several([by(name, 'failed', 'red', 5)[0] for name in names], 2)}",
        ),
        Row(
            name="failed lot watched by year 2 / 3, shock .02", figures=by("shock .02", "failed", "watch", 2, 3),
            required=(0.10, 0.45), sense="≥",
            beside=f"lots at half ever watched: {several(by('shock .02', 'half', 'watch', 6))}; a year late "
            f"{several(by('shock .02', 'half late', 'watch', 6))}",
        ),
    ]  # fmt: skip


UNDER_STRESS = (
    "world: stress", "ever red at half", "failed red by year 4 / 5 / 6", "on plan ever red, all rules",
    "loss named within a year, and falsely", "failed watched by year 3 / 4 / 6, on plan ever",
    "coverage at theta 0 / .5 / 1",
)  # fmt: skip


def under_stress(key: Key, found: Mapping[str, Judged]) -> tuple[str, ...]:
    """One line of the second table."""
    return (
        name_of(key), several(_half(found)), several(_by(found["failed"], "failure", *YEARS), 2),
        several(_by(found["full"], "red", 6)), _losses(found),
        f"{several(_by(found['failed'], 'watch', 3, 4, 6), 2)}, {several(_by(found['full'], 'watch', 6))}",
        several(_coverage(found), 2),
    )  # fmt: skip


def stresses(scores: Scores) -> list[tuple[str, ...]]:
    """Every condition whose figures do not all stand in the first table."""
    order = [(world, stress, False) for world in CONDITIONS for stress in CONDITIONS[world]]
    order += [(world, stress, True) for world, stress in CALIBRATED]
    return [under_stress(k, scores[k]) for k in order if k in scores and (k[2] or k[:2] not in FIRST_TABLE)]


OTHERS = (
    "tool", "failed accused by year 3 / 4 / 5 / 6", "at half ever accused, worst of three",
    "by default, year 4: failed / half / on plan accused", "",
)  # fmt: skip


def others(scores: Scores, standings: Sequence[Standing]) -> list[tuple[str, ...]]:
    """Lines of this project, then of the others."""
    present = scores["present", BASE, False]
    found = _by(present["failed"], "failure", 3, 4, 5, 6)
    worst = max(_half(present), key=lambda figure: figure.value)
    default = [_by(present[truth], "failure", 4)[0] for truth in TRIPLE]
    ours = ("this project, red by failure", several(found, 2), several([worst]), several(default, 2),
            "looks at every scene; not tuned here")  # fmt: skip
    return [ours, *(
        (s.tool, several([Figure(v) for v in s.found[2:6]], 2), shown(s.false),
         several([Figure(v) for v in s.default], 2), "looks at season ends")
        for s in standings
    )]  # fmt: skip
