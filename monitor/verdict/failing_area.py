"""What the lie of the failing ground adds to a verdict: how much there is, and that a site may fail in part."""

from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from monitor.sites.site import Site
from monitor.trends.kernels.failing import FailingArea
from monitor.verdict.assessment import AlertLevel, Assessment, Status
from monitor.verdict.calibration import Calibration
from monitor.verdict.reasons import Reason

TOLD: Final = (Status.ON_TRACK, Status.UNDECIDED, Status.LAGGING, Status.FAILING)
"""Statuses of sites whose failing ground is told: the others are judged by something else than their share of the
plan, or not at all."""
PART: Final = 0.30
"""A site fails when at least so much of it does, whatever its mean. [1]"""
SURE: Final = 0.975
"""How sure the lower limit of a 95 % interval is. [1]"""
PATCHY: Final = (0.05, 0.60)
"""Shares of a site that are told as patches; less is noise, more is the site. [1]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailingGround:
    """Ground of a site on which the work has not taken hold."""

    hectares: float
    low: float
    high: float
    """95 % interval. [ha]"""
    patches: bool
    """Whether it lies in patches that can be shown."""
    day: date
    """Of the last scene that was looked at."""

    @classmethod
    def of(cls, area: FailingArea, hectares: float, day: date) -> "FailingGround | None":
        """From the pixels of a site of so many hectares; None where they do not tell."""
        if area.reason:
            return None
        share = (area.share, area.share_low, area.share_high)
        told, low, high = (round(part * hectares, 4) for part in share)
        return cls(hectares=told, low=low, high=high, patches=bool(area.failing.any()), day=day)


def tells_failing_ground(assessment: Assessment, site: Site) -> bool:
    """Whether the failing ground of a site is asked for: something was promised, and its mean is judged by that."""
    promised = site.plan.A > 0 and assessment.theta is not None and assessment.hectares is not None
    return promised and assessment.status in TOLD


def with_failing_ground(
    assessment: Assessment, ground: FailingGround, site: Site, calibration: Calibration
) -> Assessment:
    """The assessment with its failing ground beside it, and by it.

    Parameters
    ----------
    assessment : Assessment
        Of which :func:`tells_failing_ground` holds.
    ground : FailingGround
        Of the site on that day.
    site : Site
        Gives the start of the work.
    calibration : Calibration
        Says from which year on a failure may be called so by its probability.

    Returns
    -------
    Assessment
        `failing`, and watched, where the lower limit of the failing ground is more than :data:`PART` of the site
        though its mean may be fine; never red, for that is for the guarded evidence alone.
    """
    assert assessment.hectares is not None
    share = ground.hectares / assessment.hectares
    patchy = ground.patches and PATCHY[0] <= share <= PATCHY[1]
    codes = {*assessment.reasons, *([Reason.SPATIAL_PATCH.value] if patchy else [])}
    told = replace(
        assessment,
        hectares_failing=ground.hectares,
        hectares_failing_low=ground.low,
        hectares_failing_high=ground.high,
        hectares_failing_on=ground.day,
        reasons=tuple(reason.value for reason in Reason if reason.value in codes),
    )
    years = (assessment.as_of - site.start).days / 365.25
    fails = ground.low > PART * assessment.hectares and years >= calibration.certain_years
    if not fails or assessment.status is Status.FAILING:
        return told
    if told.alert is AlertLevel.NONE:
        told = replace(told, alert=AlertLevel.WATCH, alert_rule="failure")
    return replace(told, status=Status.FAILING, probability=SURE)
