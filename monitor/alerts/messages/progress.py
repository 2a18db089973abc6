"""The progress of a site as one number, and as a bar for a mail."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from monitor.alerts.words import Language, percent, points, text
from monitor.day_in_words import month_in_words
from monitor.verdict.assessment import Assessment, Status
from monitor.verdict.growth import GrowthPoint, shown_points

COLOURS: Final = {
    "failing": "#b3261e", "disturbed": "#7d3c98", "lagging": "#a85b00", "undecided": "#5b6470",
    "insufficient_data": "#6a706d", "too_early": "#44679a", "on_track": "#1c7a48", "no_loss": "#5b6470",
    "recovered": "#0e6a6e",
}  # fmt: skip
"""Colours of statuses on white, by key of :data:`monitor.alerts.words.STATUS_NAMES`: those of the light pages."""


class Progress(NamedTuple):
    """Progress of a site."""

    number: str
    """The one number, ``32%``, ``at most 7%``, ``+21 → +5``."""
    unit: str
    """Meaning of the number, and its 95 % interval: ``of plan (15% to 53%)``."""


def progress(a: Assessment, seen: Sequence[GrowthPoint], language: Language) -> Progress | None:
    """The number that matters most at a site, beside the growth of its chart; None: none.

    After a sudden loss the difference as measured before and since, never a share of the plan, which would blend them.
    Where data are insufficient, the last estimate and when that was. Else the share of the plan, at most its upper
    limit where the estimate is not above zero; where nothing is promised, the measured difference.
    """
    if a.status is Status.INSUFFICIENT_DATA:
        if not (seen := shown_points(seen, a)):
            return None
        month = month_in_words(seen[-1].day.year, seen[-1].day.month, language)
        return Progress(points(seen[-1].uplift), text("growth.last_seen", language, month=month))
    if has_loss(a):
        if a.loss_from is None or a.loss_to is None:
            return None
        return Progress(f"{points(a.loss_from)} → {points(a.loss_to)}", text("growth.as_measured", language))
    if a.theta is None or a.theta_low is None or a.theta_high is None:
        measured = a.measured if a.measured_season is None else a.measured_season
        return None if measured is None else Progress(points(measured), text("growth.as_measured", language))
    if round(100 * a.theta) <= 0:
        most = percent(max(a.theta_high, 0.0))
        return Progress(text("growth.at_most", language, share=most), text("growth.of_plan", language))
    low, high = percent(a.theta_low), percent(a.theta_high)
    return Progress(percent(a.theta), text("growth.of_plan_between", language, low=low, high=high))


def has_loss(a: Assessment) -> bool:
    """Whether the verdict on a site is about a sudden loss."""
    return a.status is Status.DISTURBED or a.alert_rule == "disturbance"


def growth_bar(a: Assessment) -> str:
    """Share of the plan as table cells for a mail, HTML without image; empty where no share of the plan is stated."""
    if a.theta is None or a.status is Status.INSUFFICIENT_DATA or has_loss(a):
        return ""
    full = min(max(round(100 * a.theta), 0), 100)
    cells = "".join(
        f'<td width="{width}%" style="background:{colour};height:8px;padding:0;font-size:0;line-height:0">&nbsp;</td>'
        for width, colour in ((full, COLOURS[a.status]), (100 - full, "#ece8dc"))
        if width
    )
    return (
        '<table role="presentation" width="100%" cellspacing="0" cellpadding="0" style="border-collapse:collapse;'
        f'margin:4px 0 2px"><tr>{cells}</tr></table>'
    )
