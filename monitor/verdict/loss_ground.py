"""What only pixels and neighbouring sites show of a sudden loss: its area, and whether others lost cover with it."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from monitor.verdict.assessment import Assessment
from monitor.verdict.reasons import Reason

SAME_WEEKS: Final = 30
"""Largest distance between the first scenes that show two losses which are called simultaneous. [day]"""
MIN_TOGETHER: Final = 2
"""Fewest neighbours whose simultaneous loss suggests a common cause: among 63 sites that lost nothing one is disturbed
by chance within these weeks in one of five cases, two in one of fifty (.02 false losses a site and year)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossGround:
    """A sudden loss on the ground; None: unknown."""

    hectares: float | None = None
    """Area that lost a quarter of its cover or more. [ha]"""
    low: float | None = None
    """Lower limit of its 95 % interval. [ha]"""
    high: float | None = None
    """Upper limit of its 95 % interval. [ha]"""
    neighbours: int | None = None
    """Other sites of the same landscape."""
    together: int | None = None
    """How many of them lost cover in the same weeks."""


def lost_together(loss_on: date, others: Collection[date | None]) -> int:
    """How many of the losses of other sites (None: no loss) came in the same weeks."""
    return sum(other is not None and abs((other - loss_on).days) <= SAME_WEEKS for other in others)


def suggests_common_cause(together: int | None) -> bool:
    """Whether so many simultaneous losses are reported as a reason."""
    return together is not None and together >= MIN_TOGETHER


def with_loss_ground(assessment: Assessment, ground: LossGround) -> Assessment:
    """Add area and neighbours to an assessment with a sudden loss.

    A common cause is a reason, never a reason for silence: a fire that takes ten sites is ten losses.
    """
    codes = assessment.reasons
    if suggests_common_cause(ground.together) and Reason.NEIGHBOURS_LOST.value not in codes:
        codes = (*codes, Reason.NEIGHBOURS_LOST.value)
    return replace(
        assessment,
        hectares_lost=ground.hectares,
        hectares_lost_low=ground.low,
        hectares_lost_high=ground.high,
        neighbours=ground.neighbours,
        neighbours_lost=ground.together,
        reasons=codes,
    )
