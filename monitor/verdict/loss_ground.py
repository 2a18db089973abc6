"""Area of a sudden loss from pixels, and whether neighbouring sites lost cover with it."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from monitor.sites.site import Site
from monitor.verdict.assessment import Assessment
from monitor.verdict.reasons import Reason

SAME_WEEKS: Final = 30
"""Largest distance between the first scenes that show two losses which are called simultaneous. [day]"""
MIN_TOGETHER: Final = 2
"""Fewest neighbours whose simultaneous loss suggests a common cause: among 63 sites that lost nothing one is disturbed
by chance within these weeks in one of five cases, two in one of fifty (.02 false losses a site and year)."""
MAX_NEIGHBOURS: Final = 63
"""Nearest sites whose losses are compared: with all of a large programme, two would be simultaneous by chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossGround:
    """A sudden loss on the ground; None: unknown."""

    hectares: float | None = None  # area that lost a quarter of its cover or more [ha]
    low: float | None = None  # lower limit of its 95 % interval [ha]
    high: float | None = None  # upper limit of its 95 % interval [ha]
    neighbours: int | None = None  # sites nearby, see `neighbours`
    together: int | None = None  # how many of them lost cover in the same weeks


def neighbours(site: Site, sites: Sequence[Site]) -> list[str]:
    """Ids of the nearest other sites, at most :data:`MAX_NEIGHBOURS`, nearest first.

    They follow from the registry alone, so that a night that was killed counts them as any other. `sites` are those of
    the same 100 km square and biome; `site` among them does not count.
    """
    here = site.geometry.centroid
    east = math.cos(math.radians(here.y))

    def distance(other: Site) -> float:
        there = other.geometry.centroid
        return math.hypot((there.x - here.x) * east, there.y - here.y)

    others = [other for other in sites if other.id != site.id]
    return [other.id for other in sorted(others, key=lambda other: (distance(other), other.id))[:MAX_NEIGHBOURS]]


def lost_together(loss_on: date, others: Collection[date | None]) -> int:
    """Number of losses of other sites (None: no loss) in the same weeks, by the first scene that shows each."""
    return sum(other is not None and abs((other - loss_on).days) <= SAME_WEEKS for other in others)


def with_loss_ground(assessment: Assessment, ground: LossGround) -> Assessment:
    """Add area and neighbours to an assessment with a sudden loss.

    Where many sites lost cover together the reason ``NEIGHBOURS_LOST`` is added: a reason, never a cause for silence,
    since a fire that takes ten sites is ten losses.
    """
    codes, together = assessment.reasons, ground.together
    if together is not None and together >= MIN_TOGETHER and Reason.NEIGHBOURS_LOST.value not in codes:
        codes = (*codes, Reason.NEIGHBOURS_LOST.value)
    return replace(
        assessment, hectares_lost=ground.hectares, hectares_lost_low=ground.low, hectares_lost_high=ground.high,
        neighbours=ground.neighbours, neighbours_lost=ground.together, reasons=codes,
    )  # fmt: skip
