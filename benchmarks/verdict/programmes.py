"""Programmes of 600 sites of known fate: how many of the failed are listed, how much of the list is wrong.

python -m benchmarks.verdict.programmes                # plan A .20 in three worlds, and slow plans on strips

A quarter of the sites failed, a sixth are at half their plan, the others about on plan. Wrong is a listed site with
theta of .5 or more. Sites on strips are judged with constants set on strips.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date

import numpy as np

from benchmarks.verdict import simulate
from benchmarks.verdict.conditions import BASE, CONDITIONS, SEEDS, STRIPS, as_monitored, cases, generator
from monitor.verdict.assess import DEFAULT
from monitor.verdict.calibrate import calibrate
from monitor.verdict.calibration import Calibration
from monitor.verdict.lots import member_of
from monitor.verdict.placebos import Placebo
from monitor.verdict.programme_list import FAILING, programme_posterior

MIX = {"failed": 150, "half": 100, "success": 350}  # sites of each truth
YEARS = (4, 5, 6)
SLOW = {
    name.split()[0]: world.plan
    for name, world in CONDITIONS["present"].items()
    if isinstance(world, simulate.World) and "plan" in name
}


def listed(some: Sequence[simulate.Case], calibration: Calibration = DEFAULT) -> Iterator[str]:
    """Share of the failed on the list / share of the list that is wrong / failing share with its interval, by year."""
    theta = {f"s{n:04d}": case.theta for n, case in enumerate(some)}
    members = [
        member_of(case.series, replace(case.site, id=name), calibration=calibration, as_of=date.max)
        for name, case in zip(theta, some, strict=True)
    ]
    for year in YEARS:
        last = some[0].site.start.year + year - 1
        found = programme_posterior(
            [replace(member, seasons=tuple(s for s in member.seasons if s.season <= last)) for member in members]
        )
        if found is None:
            yield "none"
            continue
        names = {found.sites[place] for place in found.to_visit()}
        failed = [name for name, share in theta.items() if share <= 0.2]
        wrong = np.mean([theta[name] >= 0.5 for name in names]) if names else 0.0
        share, low, high = found.failing_share(range(len(found.sites)))
        truth = np.mean([value < FAILING for value in theta.values()])
        yield (
            f"y{year} {np.mean([name in names for name in failed]):.2f} / {wrong:.3f} / "
            f"{share:.2f} ({low:.2f} to {high:.2f}; true {truth:.2f})"
        )


def on_strips(plan: simulate.Plan, seed: int) -> tuple[list[simulate.Case], Calibration]:
    """Sites of a slow plan on strips, and constants set on two hundred placebos of the same design."""
    rng = generator(seed, "strips", str(plan))
    ground = list(simulate.simulate(STRIPS, {"slow": 200}, rng, theta=0.0))
    constants = calibrate(
        [Placebo(site=case.site, series=case.series) for case in ground], source="strips", dated=DEFAULT.dated
    )
    some: list[simulate.Case] = []
    for truth, count in MIX.items():
        theta = {"failed": 0.0, "half": 0.5}.get(truth)
        fate = "success" if theta is None else "slow"
        some += simulate.simulate(replace(STRIPS, plan=plan), {fate: count}, rng, theta=theta)
    return some, constants


def main(seed: int = SEEDS[0]) -> None:
    """Print."""
    for world in ("present", "other", "third"):
        some = [
            case for truth, n in MIX.items() for case in as_monitored(cases(world, BASE, truth, sites=n, seed=seed))
        ]
        print(f"{world}, plan A .20:", *listed(list(as_monitored(some))), sep="\n  ", flush=True)
    for name, plan in SLOW.items():
        print(f"{name} plan on strips:", *listed(*on_strips(plan, seed)), sep="\n  ", flush=True)


if __name__ == "__main__":
    main()
