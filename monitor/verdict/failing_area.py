"""How the failing area of a site changes its verdict: how many hectares fail, and that a site may fail in part."""

from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from monitor.sites.site import Site
from monitor.trends.kernels.failing import FailingArea
from monitor.verdict.assessment import AlertLevel, Assessment, Status
from monitor.verdict.calibration import Calibration
from monitor.verdict.reasons import Reason

STATUSES_WITH_AREA: Final = (Status.ON_TRACK, Status.UNDECIDED, Status.LAGGING, Status.FAILING)
"""Statuses of sites whose failing area is reported: only these rest on the share of the plan achieved."""
MAX_FAILING_SHARE: Final = 0.30
"""A site fails when at least this share of it fails, whatever its mean. [1]"""
LOWER_LIMIT_SURE: Final = 0.975
"""Probability that a quantity exceeds the lower limit of its 95 % interval. [1]"""
PATCHY_SHARES: Final = (0.05, 0.60)
"""Range of the failing share that is reported as patches; less is noise, more is the whole site. [1]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailingHectares:
    """Area of a site on which the work has not taken hold, with its uncertainty."""

    hectares: float  # estimated failing area [ha]
    low: float  # lower limit of its 95 % interval [ha]
    high: float  # upper limit of its 95 % interval [ha]
    patches: bool  # whether it forms patches that a map can show
    day: date  # date of the last scene used

    @classmethod
    def of(cls, area: FailingArea, hectares: float, day: date) -> "FailingHectares | None":
        """Failing area, from the pixels of a site of `hectares` [ha] last seen on `day`; None: too few pixels."""
        if area.reason:
            return None
        share = (area.share, area.share_low, area.share_high)
        failing, low, high = (round(part * hectares, 4) for part in share)
        return cls(hectares=failing, low=low, high=high, patches=bool(area.failing.any()), day=day)


def reports_failing_area(assessment: Assessment, site: Site) -> bool:
    """Whether the failing area of a site is reported: the plan promises uplift and the verdict rests on it."""
    promised = site.plan.A > 0 and assessment.theta is not None and assessment.hectares is not None
    return promised and assessment.status in STATUSES_WITH_AREA


def with_failing_area(
    assessment: Assessment, ground: FailingHectares, site: Site, calibration: Calibration
) -> Assessment:
    """Add the failing area to an assessment, and change its status where too much of the site fails.

    `assessment` is one for which :func:`reports_failing_area` is true. The status becomes `failing`, and watched, where
    the lower limit of the failing area exceeds :data:`MAX_FAILING_SHARE` of the site, even if its mean is fine; not
    where the site is measured higher than the model estimates, on whose mean the area rests. Never red: red needs the
    guarded evidence.
    """
    assert assessment.hectares is not None
    share = ground.hectares / assessment.hectares
    patchy = ground.patches and PATCHY_SHARES[0] <= share <= PATCHY_SHARES[1]
    codes = {*assessment.reasons, *([Reason.SPATIAL_PATCH.value] if patchy else [])}
    extended = replace(
        assessment, hectares_failing=ground.hectares, hectares_failing_low=ground.low,
        hectares_failing_high=ground.high, hectares_failing_on=ground.day,
        reasons=tuple(reason.value for reason in Reason if reason.value in codes)
    )  # fmt: skip
    years = (assessment.as_of - site.start).days / 365.25
    fails = ground.low > MAX_FAILING_SHARE * assessment.hectares and years >= calibration.certain_years
    if not fails or assessment.status is Status.FAILING or Reason.MEASURED_HIGHER in codes:
        return extended
    if extended.alert is AlertLevel.NONE:
        extended = replace(extended, alert=AlertLevel.WATCH, alert_rule="failure")
    return replace(extended, status=Status.FAILING, probability=LOWER_LIMIT_SURE)
