"""How often the verdict is right, wrong, late, on sites with a known fate.

    python -m benchmarks.verdict.table [--sites 1000] [--seed 20261125]

Seeds are fixed and the figures the design was measured at stand beside ours; a goal missed is printed as missed.
"""

import argparse
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.verdict import real
from benchmarks.verdict.simulate import PLAN, Case, World, simulate, start_of
from monitor.sites.site import Plan
from monitor.verdict.assess import DEFAULT, verdicts
from monitor.verdict.assessment import AlertLevel, Status
from monitor.verdict.status import LEVELS, RULES, STATUSES, Verdicts

RED, WATCH = LEVELS.index(AlertLevel.RED), LEVELS.index(AlertLevel.WATCH)
FAILURE = RULES.index("failure")
DISTURBED = STATUSES.index(Status.DISTURBED)
SMALL = replace(PLAN, A=0.8 * PLAN.A)
LATE = replace(PLAN, L=PLAN.L + 1)
BOTH = replace(SMALL, L=PLAN.L + 1)
ENCLOSURE = Plan(A=0.12, k=0.35, L=0.5, too_early_years=2.0)
SHRUBS = Plan(A=0.12, k=0.25, L=1.5, too_early_years=3.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One site's nightly verdicts from its start on, against its truth."""

    case: Case
    years: np.ndarray
    """Since the start, of each row. [year]"""
    rows: Verdicts


def run(cases: Iterable[Case], alpha: float) -> tuple[list[Outcome], float]:
    """Judge every acquisition of every site; also how many assessments a second."""
    cases = list(cases)
    begun, found = time.perf_counter(), []
    for case in cases:
        start = np.datetime64(case.site.start, "D")
        dates = case.series.dates[case.series.dates >= start]
        rows = verdicts(case.series, case.site, dates, calibration=DEFAULT, alpha=alpha)
        found.append(Outcome(case=case, years=(dates - start).astype(int) / 365.25, rows=rows))
    return found, sum(o.years.size for o in found) / (time.perf_counter() - begun)


def ever(outcomes: list[Outcome], by: float, says: Callable[[Verdicts], np.ndarray]) -> float:
    """Share of sites of which something was said up to so many years after the start."""
    return float(np.mean([(says(o.rows) & (o.years <= by)).any() for o in outcomes]))


def red(rows: Verdicts) -> np.ndarray:
    """Red by the failure rule."""
    return (rows.alert == RED) & (rows.alert_rule == FAILURE)


def warned(rows: Verdicts) -> np.ndarray:
    """Watch or red, by the failure rule."""
    return (rows.alert >= WATCH) & (rows.alert_rule == FAILURE)


def covered(outcomes: list[Outcome]) -> tuple[float, float]:
    """Share of sites whose last 95 % interval holds the truth, and the mean error of theta."""
    last = [(o.rows.theta[-1], o.rows.theta_low[-1], o.rows.theta_high[-1], o.case.theta) for o in outcomes]
    theta, low, high, truth = np.array(last).T
    return float(np.mean((low <= truth) & (truth <= high))), float(np.mean(theta - truth))


def auc(good: np.ndarray, bad: np.ndarray) -> float:
    """Chance that a good site has the higher theta."""
    return float(np.mean((good[:, None] > bad[None, :]) + 0.5 * (good[:, None] == bad[None, :])))


def theta_at(outcomes: list[Outcome], years: float) -> np.ndarray:
    """Last theta up to so many years after the start; a site not yet seen: the prior mean."""
    found = []
    for o in outcomes:
        at = int(np.searchsorted(o.years, years, side="right")) - 1
        found.append(o.rows.theta[at] if at >= 0 and np.isfinite(o.rows.theta[at]) else DEFAULT.theta_mean)
    return np.array(found)


def _line(name: str, values: Iterable[float], beside: str = "") -> None:
    print(f"{name:<58}" + " ".join(f"{v:6.3f}" for v in values) + (f"   [{beside}]" if beside else ""))


def named_anew(rows: Verdicts) -> np.ndarray:
    """Rows at which a site begins to be called disturbed."""
    return np.diff((rows.status == DISTURBED).astype(int), prepend=0) == 1


def on_real_noise() -> None:
    """Print the lines that need no simulator; see :mod:`benchmarks.verdict.real`."""
    for name, plan in (("demonstration", real.DEMONSTRATION), ("A3", PLAN)):
        print(f"\nReal noise, one forest in hectares, {name} plan (A {plan.A} k {plan.k} L {plan.L}), under four years")
        for theta in (0.0, 0.5, 1.0):
            cases = list(real.cases(plan, theta))
            found, _ = run([case for case, _ in cases], 0.05)
            quiet = [o for o, (_, logged) in zip(found, cases, strict=True) if not logged]
            hit = [
                (named_anew(o.rows) & (o.rows.as_of.astype("datetime64[Y]") == np.datetime64(str(logged)))).any()
                for o, (_, logged) in zip(found, cases, strict=True)
                if logged
            ]
            head = f"theta {theta}, {len(quiet)} stable hectares: red by year 2/3/4; watch or red"
            _line(head, [*(ever(quiet, y, red) for y in (2, 3, 4)), ever(quiet, 4, warned)])
            losses = np.mean([named_anew(o.rows).sum() / o.years[-1] for o in quiet])
            _line("  coverage, error of theta; false losses a site and year", [*covered(quiet), losses])
            _line(f"  {len(hit)} logged hectares named in the year of logging", [np.mean(hit)])


def main(sites: int, seed: int) -> None:
    """Print the table."""
    on_real_noise()
    print()
    rng = np.random.default_rng(seed)
    world = World()
    print(f"{sites} simulated sites a line, seed {seed}; plan A {PLAN.A} k {PLAN.k} L {PLAN.L}, five pre-years")
    print(f"calibration {DEFAULT.hash[:12]} ({DEFAULT.dated}); in brackets: the figure of the design, else the goal\n")

    rates = []
    for alpha, beside in ((0.05, ".006 .039 .051 .133"), (0.02, ".001 .014 .015 .064")):
        false = []
        for truth in (PLAN, SMALL, LATE, BOTH):
            found, rate = run(simulate(replace(world, truth=truth), {"slow": sites}, rng, theta=0.5), alpha)
            false.append(ever(found, 6.0, red))
            rates.append(rate)
        _line(f"theta .5 ever red, right/small/late/both, alpha {alpha}", false, beside)
    for alpha, beside in ((0.05, ".11 .58 .84 .94"), (0.02, ".02 .39 .74 .89")):
        failed, rate = run(simulate(world, {"failed": sites}, rng, theta=0.0), alpha)
        rates.append(rate)
        _line(f"theta 0 red by year 3/4/5/6, alpha {alpha}", [ever(failed, y, red) for y in (3, 4, 5, 6)], beside)
    _line("theta 0 watch or red by year 2/3/4/5/6, alpha 0.02", [ever(failed, y, warned) for y in (2, 3, 4, 5, 6)])
    good, _ = run(simulate(world, {"success": sites}, rng), 0.05)
    true, _ = run(simulate(world, {"success": sites}, rng, theta=1.0), 0.05)
    half, _ = run(simulate(world, {"slow": sites}, rng, theta=0.5), 0.05)
    bad, _ = run(simulate(world, {"failed": sites}, rng), 0.05)
    _line("theta 1 ever red; ever watch or red", [ever(true, 6, red), ever(true, 6, warned)], "at most .005")
    _line("theta .5 ever watch or red in 6 years", [ever(half, 6, warned)])
    after = [PLAN.L + y for y in (1, 2, 3)]
    _line(
        "AUC of theta, success against failed, 1/2/3 years after L",
        [auc(theta_at(good, y), theta_at(bad, y)) for y in after],
        "at least .88 .96 .99",
    )
    print()

    print(
        "theta .5 ever red; then coverage of the 95 % interval and mean error of theta, at theta 0, .5 and 1 [.92-.98]"
    )
    for name, stress in (
        ("as above", world),
        ("slow drift .03", replace(world, slow_sd=0.03)),
        ("heavy tails", replace(world, heavy_tails=True)),
        ("rain .3, mismatch .3", replace(world, rain_sd=0.3, mismatch_sd=0.3)),
        ("one pre-year", replace(world, pre=1)),
        ("no pre-year", replace(world, pre=0)),
        ("quarter of the passes clear", replace(world, clear=0.25)),
        ("control greening .01 a year", replace(world, greening=0.01)),
        ("one of two rings greening .01 a year", replace(world, greening=0.01, two_rings=True)),
    ):
        cover = []
        for theta in (0.0, 0.5, 1.0):
            found, _ = run(simulate(stress, {"slow": sites}, rng, theta=theta), 0.05)
            cover += list(covered(found))
            if theta == 0.5:
                false = ever(found, 6.0, red)
        _line(name, [false, *cover])
    print()

    event, _ = run(simulate(world, {"disturbed": sites}, rng), 0.05)
    within_a_year = []
    for o in event:
        when = (o.case.event - np.datetime64(start_of(world))).astype(int) / 365.25
        named = o.years[(o.rows.status == DISTURBED) & (o.years >= when)]
        within_a_year.append(named.size > 0 and named[0] - when <= 1.0)
    per_year = [named_anew(o.rows).sum() / o.years[-1] for o in [*true, *half]]
    found_and_false = [np.mean(within_a_year), np.mean(per_year)]
    _line("sudden losses named within a year; false a site and year", found_and_false, "at least .60 at .02")
    lost, _ = run(simulate(world, {"lost": sites}, rng), 0.05)
    final = np.array([o.rows.status[-1] for o in lost])
    _line(
        "lost sites at the end: " + "/".join(s.value for s in STATUSES[2:6]), [np.mean(final == k) for k in range(2, 6)]
    )
    for name, plan in (("sandy enclosure", ENCLOSURE), ("shrubs", SHRUBS)):
        failed, _ = run(simulate(replace(world, plan=plan), {"failed": sites}, rng, theta=0.0), 0.05)
        half, _ = run(simulate(replace(world, plan=plan), {"slow": sites}, rng, theta=0.5), 0.05)
        _line(f"{name}: theta 0 red by year 4/5/6; theta .5 ever",
              [*(ever(failed, y, red) for y in (4, 5, 6)), ever(half, 6, red)])  # fmt: skip
    print(f"\n{np.median(rates):,.0f} assessments a second, one core, from series to verdict columns [at least 20,000]")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, default=1000, help="Simulated sites a line of the table.")
    parser.add_argument("--seed", type=int, default=20261125)
    options = parser.parse_args()
    main(options.sites, options.seed)
