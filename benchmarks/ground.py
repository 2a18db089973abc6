"""The verdict on real ground: untouched, with an uplift of known size and shape added, with a loss, as it fell.

    python -m benchmarks.ground             # a minute; writes results/ground.md and the table of docs/method.md
    python -m benchmarks.ground --before    # what is found becomes the column "before" of later runs

The grounds are described in :mod:`benchmarks.verdict.real`; most are in a folder that is not part of the project.
Controls and verdicts come from the functions that a night and `regrowth assess` call. The last table is of simulated
worlds: what sites of a known truth are called.
"""

import argparse
import json
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import default_rng

from benchmarks.verdict import pictures, real
from benchmarks.verdict.conditions import BASE, SEEDS, score
from benchmarks.verdict.real import SHAPES, Ground
from benchmarks.verdict.scores import RED, Outcome, judged, names_a_loss, run
from benchmarks.verdict.table import markdown, shown
from monitor.verdict.assess import DEFAULT
from monitor.verdict.assessment import Status
from monitor.verdict.status import STATUSES

RESULTS = Path(__file__).parent / "results"
METHOD = Path(__file__).parents[1] / "docs" / "method.md"
MARKS = "<!-- truth by status: python -m benchmarks.ground -->\n", "<!-- end of truth by status -->\n"
"""Lines of METHOD between which the last table stands."""
STABLE_BLOCKS = 60  # stable blocks of the forest that are drawn
DEPTHS = (0.06, 0.10, 0.15, 0.25)  # losses that are put in [cover fraction]
THETAS = (0.0, 0.5, 1.0)
WORLDS = ("present", "third")
TRUTHS = {
    "failed": "failed, theta 0",
    "half": "half, theta .5",
    "full": "on plan, theta 1",
    "disturbed": "loss of .06-.14",
}
MUSTS: dict[str, tuple[str, Sequence[float]]] = {
    "forest: ever red, theta 0": ("≥", (57,)),
    "forest: ever red, theta .5, by shape": ("≤", (1, 1, 1)),
    "forest: ever red, theta 1, by shape": ("≤", (0, 0, 0)),
    "forest: ever red, tended, nothing added": ("≤", (0,)),
    "forest: fallen for good, tended, on_track at the end": ("≤", (2,)),
    "forest: fallen for good, tended, failing or disturbed at the end": ("≥", (18,)),
    "quiet scrub: median estimate at theta 1, by shape": ("≥", (0.70, 0.75, 0.80)),
    "quiet scrub: interval holds theta 1, by shape, share": ("≥", (0.90, 0.90, 0.90)),
    "quiet scrub: ever red, theta .5, by shape": ("≤", (1, 1, 1)),
    "drought scrub: ever red by loss, theta 1, bell": ("≤", (4,)),
    "drought scrub: fell and came back, failing or red at the end, theta 0 / 1": ("≤", (0, 0)),
}
"""Required bounds of figures, by name."""
ABSENT = (
    "The series of forest, scrub, single pixels and desert are not part of the project and not here; name their folder "
    "by REGROWTH_TEST_DATA."
)


class Found(NamedTuple):
    """One line of the table."""

    values: list[float]
    of: int  # sites


type Table = dict[str, Found]


def ever(outcomes: Sequence[Outcome], event: str = "red") -> int:
    """Sites with an event, a field of times of :class:`Judged`."""
    return int(np.isfinite(getattr(judged(outcomes), event)).sum())


def at_end(outcomes: Sequence[Outcome], *statuses: Status, red: bool = False) -> int:
    """Sites with one of the statuses at the end, or red."""
    codes = [STATUSES.index(status) for status in statuses]
    return sum(bool(o.rows.status[-1] in codes or (red and o.rows.alert[-1] == RED)) for o in outcomes)


def date_error(outcome: Outcome) -> float:
    """Days between the first scene after the loss and that which its first alert names; NaN: not named. [day]"""
    rows, case = outcome.rows, outcome.case
    named = np.flatnonzero(names_a_loss(rows) & (rows.loss_confirmed_on >= case.event))
    seen = np.isfinite(case.series.cover) & np.isfinite(case.series.control) & (case.series.dates >= case.event)
    if not named.size:
        return np.nan
    return float(abs(rows.loss_on[named[0]] - case.series.dates[seen][0]).astype(int))


def untouched_and_added(
    name: str, ground: Ground, sites: Sequence[int], estimates: dict[str, dict[float, np.ndarray]]
) -> Table:
    """Figures of stable ground; `estimates` gets theta of each site by ground and shape."""
    n = len(sites)
    none = run(ground.cases(sites))
    grown = {(theta, shape): run(ground.cases(sites, theta, shape)) for theta in THETAS[1:] for shape in SHAPES}
    estimates |= {
        f"{name}, {shape}": {0.0: judged(none).estimate}
        | {theta: judged(grown[theta, shape]).estimate for theta in THETAS[1:]}
        for shape in SHAPES
    }

    def by_shape(theta: float, what: str) -> Found:
        some = [judged(grown[theta, shape]) for shape in SHAPES]
        return Found([float(np.median(j.estimate)) if what == "estimate" else j.coverage for j in some], n)

    tended = run(ground.cases(sites, tending=True))
    found = {
        "ever red, theta 0": Found([ever(none)], n),
        "ever red, theta .5, by shape": Found([ever(grown[0.5, shape]) for shape in SHAPES], n),
        "ever red, theta 1, by shape": Found([ever(grown[1.0, shape]) for shape in SHAPES], n),
        "ever red, tended, nothing added": Found([ever(tended)], n),
        "median estimate at theta .5, by shape": by_shape(0.5, "estimate"),
        "median estimate at theta 1, by shape": by_shape(1.0, "estimate"),
        "interval holds theta 0, share": Found([judged(none).coverage], n),
        "interval holds theta .5, by shape, share": by_shape(0.5, "coverage"),
        "interval holds theta 1, by shape, share": by_shape(1.0, "coverage"),
    }
    lost = [run(ground.cases(sites, 1.0, loss=depth)) for depth in DEPTHS]
    delays, depths = [judged(some) for some in lost], " / ".join(shown(depth, 2) for depth in DEPTHS)
    errors = [np.array([date_error(o) for o in some]) for some in lost]
    found |= {
        f"loss of {depths} at theta 1: named in a year, share": Found([np.mean(j.named_after <= 1) for j in delays], n),
        f"loss of {depths} at theta 1: red in a year, share": Found([np.mean(j.red_after <= 1) for j in delays], n),
        f"loss of {depths} at theta 1: median error of its date, days": Found([_median(some) for some in errors], n),
    }
    return {f"{name}: {what}": line for what, line in found.items()}


def _median(values: np.ndarray) -> float:
    seen = values[np.isfinite(values)]
    return float(np.median(seen)) if seen.size else np.nan


def romania(every: int, estimates: dict[str, dict[float, np.ndarray]]) -> Table:
    """The checkerboard: stable hectares, and those that were logged after the start."""
    ground, logged = real.checkerboard()
    found = untouched_and_added("checkerboard", ground, np.flatnonzero(logged == 0)[::every].tolist(), estimates)
    sites = np.flatnonzero(logged > ground.start.year)[::every].tolist()
    events = [np.datetime64(f"{logged[i]}-01-01") for i in sites]
    cases = ground.cases(sites, tending=True)
    outcomes = run(replace(case, event=event) for case, event in zip(cases, events, strict=True))
    delays = [getattr(judged(outcomes), when) for when in ("named_after", "red_after")]
    low = [o for i, o in zip(sites, outcomes, strict=True) if ground.fallen()[0][i]]
    return found | {
        "checkerboard: logged, tended, named / red in the year of logging, share": Found(
            [float(np.mean(when <= 1)) for when in delays], len(outcomes)
        ),
        "checkerboard: logged and lower at the end, tended, on_track at the end": Found(
            [at_end(low, Status.ON_TRACK)], len(low)
        ),
    }


def forest(every: int, estimates: dict[str, dict[float, np.ndarray]]) -> Table:
    """The Ethiopian forest: stable blocks, and those that fell for good."""
    ground, stable, fell = real.forest()
    drawn = default_rng(1).choice(stable, STABLE_BLOCKS, replace=False)[::every].tolist()
    fallen = run(ground.cases(fell[::every].tolist(), tending=True))
    return untouched_and_added("forest", ground, drawn, estimates) | {
        "forest: fallen for good, tended, on_track at the end": Found([at_end(fallen, Status.ON_TRACK)], len(fallen)),
        "forest: fallen for good, tended, failing or disturbed at the end": Found(
            [at_end(fallen, Status.FAILING, Status.DISTURBED)], len(fallen)
        ),
        "forest: fallen for good, tended, ever red": Found([ever(fallen)], len(fallen)),
    }


def scrub(every: int, estimates: dict[str, dict[float, np.ndarray]]) -> Table:
    """Chilean scrub, in quiet years and in the drought, where blocks fell and came back."""
    sites = list(range(0, 16, every))
    found = untouched_and_added("quiet scrub", real.scrub(2004, 2009), sites, estimates)
    drought = real.scrub(2009, 2015)
    grown = [run(drought.cases(sites, 1.0, shape)) for shape in SHAPES]
    _, healed = drought.fallen()
    back = [run(drought.cases(np.flatnonzero(healed).tolist(), theta)) for theta in (0.0, 1.0)]
    tended, n = run(drought.cases(sites, tending=True)), len(sites)
    return found | {
        "drought scrub: ever red by loss, theta 1, bell": Found([ever(grown[0], "red_by_loss")], n),
        "drought scrub: ever red by loss, theta 1, half / constant": Found(
            [ever(some, "red_by_loss") for some in grown[1:]], n
        ),
        "drought scrub: ever red by failure, theta 1, by shape": Found([ever(some, "failure") for some in grown], n),
        "drought scrub: ever red, tended, nothing added": Found([ever(tended)], n),
        "drought scrub: fell and came back, failing or red at the end, theta 0 / 1": Found(
            [at_end(some, Status.FAILING, red=True) for some in back], int(healed.sum())
        ),
    }


def alone() -> Table:
    """Series without a control beside them, which the monitor itself refuses: against their own years before."""
    lost = {name: run([case]) for name, case in real.pixels(1.0).items()}
    found = {
        f"{name} pixel, theta 1: days until named / red": Found(
            [365.25 * float(when[0]) for when in (judged(some).named_after, judged(some).red_after)], 1
        )
        for name, some in lost.items()
    }
    plots = [judged(run(real.desert(theta).values())) for theta in THETAS]
    return found | {
        "desert plot by sensor: ever red, theta 0 / .5 / 1": Found(
            [float(np.isfinite(j.red).sum()) for j in plots], plots[0].sites
        ),
        "desert plot by sensor: interval holds theta 0 / .5 / 1, share": Found(
            [j.coverage for j in plots], plots[0].sites
        ),
    }


def truth_by_status(sites: int, seeds: Sequence[int]) -> str:
    """Status at the end of each year of sites whose truth is known, in two simulated worlds."""
    lines, used = [], set[int]()
    for truth, name in TRUTHS.items():
        status = [score(world, BASE, truth, sites=sites, seeds=seeds).status for world in WORLDS]
        for year in (3, 4, 5, 6):
            shares = [np.bincount(one[:, year - 1], minlength=len(STATUSES)) / len(one) for one in status]
            used |= {code for code in range(len(STATUSES)) if max(share[code] for share in shares) >= 0.005}
            lines.append((name, year, shares))
    codes = sorted(used)
    cells = [
        (name, str(year), *(" / ".join(shown(share[code], 2) for share in shares) for code in codes), "")
        for name, year, shares in lines
    ]
    return markdown(("truth", "year", *(f"`{STATUSES[code].value}`" for code in codes), ""), cells)


def number(value: float) -> str:
    """``57``, ``.83``, ``never``."""
    if np.isinf(value):
        return "never"
    return f"{value:.0f}" if float(value).is_integer() or value >= 10 else shown(value, 2)


def line(name: str, now: Found | None, before: Sequence[float] | None) -> tuple[str, ...]:
    """A row of the table, in text."""
    sense, bounds = MUSTS.get(name, ("", ()))
    values = now.values if now else []
    met = ""
    if bounds and now:
        pairs = zip(values, bounds, strict=True)
        met = "met" if all(v <= bound if sense == "≤" else v >= bound for v, bound in pairs) else "**MISSED**"
    columns = [" / ".join(map(number, some)) for some in (bounds, before or [], values)]
    must = f"{sense} {columns[0]}".strip()
    return name, str(now.of) if now else "", must, columns[1], columns[2] or "not run", met


def main(*, every: int = 1, sites: int = 150, store: bool = False) -> None:
    """Judge, print and write; one of `every` so many sites."""
    estimates: dict[str, dict[float, np.ndarray]] = {}
    found = romania(every, estimates)
    here = (real.ELSEWHERE / "tura").is_dir()
    if here:
        found |= forest(every, estimates) | scrub(every, estimates) | alone()
    else:
        print(ABSENT)
    RESULTS.mkdir(exist_ok=True)
    earlier = RESULTS / "ground-before.json"
    if store:
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True)
        figures = {name: [round(float(value), 4) for value in one.values] for name, one in found.items()}
        earlier.write_text(json.dumps({"commit": commit.stdout.strip(), "figures": figures}) + "\n", encoding="utf-8")
    before = json.loads(earlier.read_text(encoding="utf-8")) if earlier.is_file() else {"commit": "", "figures": {}}
    names = dict.fromkeys([*found, *before["figures"]])
    lines = [line(name, found.get(name), before["figures"].get(name)) for name in names]
    header = ("figure", "of", "must", f"before ({before['commit']})", "now", "")
    matrix = truth_by_status(sites, SEEDS[:2])
    pictures.real_ground(RESULTS / "ground.svg", estimates)
    page = HEAD.format(calibration=DEFAULT.hash[:12], absent="" if here else f"**{ABSENT}**\n\n")
    text = page + markdown(header, lines) + MATRIX.format(sites=2 * sites) + matrix
    (RESULTS / "ground.md").write_text(text, encoding="utf-8")
    around = METHOD.read_text(encoding="utf-8")
    first, last = (around.index(mark) for mark in MARKS)
    METHOD.write_text(f"{around[: first + len(MARKS[0])]}{matrix}{around[last:]}", encoding="utf-8")
    print(text)


HEAD = """# The verdict on real ground

Made by `python -m benchmarks.ground`, calibration {calibration}. Plan A .20, k .45, L 1. Uplift at theta .5 and 1 is
added in three shapes: *bell*, as the ground around is green through the year; *half* that, half constant; *constant*.
Figures *by shape* are in this order. Counts are of as many sites as the second column says.

- **Checkerboard**: the hectares of the demonstration's ground in Romania (Sentinel-2, start 2017, end 2021) where
  nothing was logged, and those that were. The control of a hectare are those of the other colour, logged or not.
- **Forest**: 60 stable blocks of 180 m in Ethiopia (Landsat, start 2005, end 2013), and those that fell for good.
- **Quiet scrub**, **drought scrub**: 16 blocks of 25 ha in Chile (MODIS), 2004 to 2009, and 2009 to 2015 in the
  mega-drought. Two blocks fell and came back.
- A burnt and a logged pixel, and a desert plot by five sensors, without a control beside them.

{absent}![Theta as estimated, by ground and shape](ground.svg)

"""
MATRIX = """
## Truth by status and year

Simulated worlds, present / third, {sites} sites a truth: share with each status at the end of a year since the start. A
loss comes after 1.5 to 4.5 years on a site about on plan.

"""

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", action="store_true", help="Store what is found as the column that later runs show.")
    main(store=parser.parse_args().before)
