"""Lots of twenty sites that share a shock each year, and perhaps rain, a dry year and one ring of controls."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np

from benchmarks.verdict.conditions import PRESENT, TRUTHS, generator
from benchmarks.verdict.simulate import simulate, start_of
from monitor.verdict.assessment import AlertLevel
from monitor.verdict.lots import lot_verdicts, member_of

SITES = 20
SPREAD = 0.2  # standard deviation of theta between the sites of a lot [1]
LOT = replace(PRESENT, lot=SITES)
WORLDS = {
    "no shock": LOT,
    "shock .01": replace(LOT, shock_sd=0.01),
    "shock .02": replace(LOT, shock_sd=0.02),
    "shock .03": replace(LOT, shock_sd=0.03),
    "shock .01, shared rain, dry year 3, one ring": replace(
        LOT, shock_sd=0.01, shared_rain=True, drought_year=3, ring_sd=0.008
    ),
}
LAST_DAY = start_of(LOT) + timedelta(days=6 * 365)
LOT_TRUTHS = ("failed", "half", "half late")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lots:
    """Alerts of lots: (lots,) arrays, years since the start; infinite: never."""

    red: np.ndarray
    watch: np.ndarray  # watch or red


def judged_lots(seed: int, count: int, name: str, truth: str) -> Lots:
    """So many lots of a world, looked at after every season of six years."""
    theta, share, later = TRUTHS[truth]
    world, rng = WORLDS[name], generator(seed, "lots", name, truth)
    plan = world.plan
    world = replace(world, truth=replace(plan, A=share * plan.A, L=plan.L + later))
    red, watch = np.full(count, np.inf), np.full(count, np.inf)
    for k in range(count):
        achieved = rng.normal(theta, SPREAD, SITES)
        cases = list(simulate(world, {"slow": SITES}, rng, theta=achieved))
        members = [member_of(case.series, case.site, as_of=LAST_DAY) for case in cases]
        for look in lot_verdicts(members, as_of=LAST_DAY):
            years = (look.as_of - cases[0].site.start).days / 365.25
            if look.alert is AlertLevel.RED:
                red[k] = min(red[k], years)
            if look.alert is not AlertLevel.NONE:
                watch[k] = min(watch[k], years)
    return Lots(red=red, watch=watch)


def together(parts: Sequence[Lots]) -> Lots:
    """The lots of several seeds as one."""
    return Lots(red=np.concatenate([p.red for p in parts]), watch=np.concatenate([p.watch for p in parts]))
