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

RESTORED_10, RESTORED_30 = "10 % of controls restored", "30 % of controls restored"
TRENDS, NOISY, TWICE = "trends sd .006", "noisy control, dry year 4", "twice the clear scenes"
REQUIRED = (("present", BASE), ("present", TWICE), *(("third", s) for s in (BASE, RESTORED_10, RESTORED_30, TRENDS)))
"""Conditions whose every figure stands in the first table."""
HEADLINE = (*REQUIRED, ("third", NOISY), ("other", BASE))
"""Conditions that are scored on more sites."""
SLOW = tuple(stress for stress in CONDITIONS["present"] if "plan" in stress)
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
    found = scores["present", BASE, False]
    full, half = found["full"], found["half"]
    lost = [Figure.share(found["disturbed"].named_after <= 1), Figure.share(found["disturbed"].red_after <= 1)]
    return [
        Row(
            name="sites on plan ever red, all rules, six years", figures=_by(full, "red", 6), required=(0.04,),
            beside=f"by losses {several(_by(full, 'red_by_loss', 6))}; {_detection(found)}",
        ),
        Row(
            name="sudden losses within a year: named / red", figures=lost, required=(0.65, 0.43), sense="≥",
            beside="without a loss, on plan / at half: named a site and year "
            f"{several([Figure.mean(full.losses), Figure.mean(half.losses)])}, ever red "
            f"{several([*_by(full, 'red_by_loss', 6), *_by(half, 'red_by_loss', 6)])}",
        ),
    ]  # fmt: skip


def _third(scores: Scores) -> list[Row]:
    third, trends = scores["third", BASE, False], scores["third", TRENDS, False]
    covered = {BASE: third, "noisy control, dry year": scores["third", NOISY, False], "trends": trends}
    half_rows = []
    for stress, bounds in (
        (BASE, (0.06, 0.08, 0.10)),
        (RESTORED_10, (0.08, 0.10, 0.12)),
        (RESTORED_30, (0.10, 0.15, 0.27)),
        (TRENDS, (0.08, 0.14, 0.15)),
    ):
        found = scores["third", stress, False]
        ever = several(_by(found["full"], "red", 6))
        half_rows.append(
            Row(
                name=f"red by failure at half, third world, {stress}", figures=_half(found), required=bounds,
                beside=f"{_detection(found)}; on plan ever red, all rules, {ever}; loss named {_losses(found)}",
            )
        )  # fmt: skip
    return [
        *half_rows,
        Row(
            name="failed red by year 6, third world: base / trends",
            figures=[_by(found["failed"], "failure", 6)[0] for found in (third, trends)], required=(0.78, 0.60),
            sense="≥", beside=f"red at half: {several(_half(third))}; {several(_half(trends))}",
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
            name="failed red by year 4 / 5 / 6, present world; with twice the clear scenes",
            figures=[f for found in (plain, twice) for f in _by(found["failed"], "failure", *YEARS)],
            required=(0.43, 0.69, 0.83, 0.55, 0.80, 0.92), sense="≥",
            beside=f"red at half: {several(_half(plain))}; {several(_half(twice))}; watched by year 2/3 "
            f"{several(watched, 2)}; ever watched, on plan / at half: {several(wrongly)}",
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
    """Every condition that does not stand in the first table."""
    order = [(world, stress, False) for world in CONDITIONS for stress in CONDITIONS[world]]
    order += [(world, stress, True) for world, stress in CALIBRATED]
    return [under_stress(k, scores[k]) for k in order if k in scores and (k[2] or k[:2] not in REQUIRED)]


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
