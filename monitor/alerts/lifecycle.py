"""Life cycle of an alert, one step for each night. Only decisions: nothing is stored or sent here.

An alert stays the same alert until it is resolved, so that a value near its threshold is not reported again and again.
Missing data is neither confirmation nor recovery, so nights without new evidence change nothing.
"""

from dataclasses import replace
from datetime import date
from typing import Final

from monitor.alerts.alert import Alert, AlertEvent, AlertState
from monitor.verdict.assessment import AlertLevel, Assessment, Status

QUIET_DAYS: Final = 30
"""Time without a cause after which an alert is resolved, if an accepted scene confirms it. [day]"""

MASS_FALL_SHARE: Final = 0.6
"""Share of sites with new or worse alerts in one night from which a fault of sensor or provider is suspected. Messages
are then held until a person releases them. [1]"""
MASS_FALL_MIN_SITES: Final = 5
"""Number of sites below which no such fault is suspected: in a small programme they may fail together."""

_ORDER: Final = {AlertLevel.NONE: 0, AlertLevel.WATCH: 1, AlertLevel.RED: 2}


def next_alert(last: Alert | None, assessment: Assessment) -> tuple[Alert | None, AlertEvent | None]:
    """Apply the assessment of a night to the newest alert of its site, resolved or not (None: it never had one).

    Returns
    -------
    (Alert or None, AlertEvent or None)
        The alert after the night (None: none exists and none opens), and the event to report (None: nothing).
    """
    if assessment.status is Status.INSUFFICIENT_DATA:
        return last, None
    level, day = assessment.alert, assessment.as_of
    if last is not None and last.state is not AlertState.RESOLVED:
        return _continue(last, assessment)
    if level is AlertLevel.NONE:
        return (replace(last, clear_since=day) if last is not None and last.clear_since is None else last), None
    rule = assessment.alert_rule or "failure"
    if last is not None and already_answered(last, level, rule):
        return last, None
    name = f"{assessment.site}/{day.isoformat()}"
    if last is not None and last.opened == day:  # answered, with another cause on the same day
        name = f"{name}-{int(last.id.removeprefix(name).removeprefix('-') or 1) + 1}"
    alert = Alert(
        id=name, site=assessment.site, level=level, rule=rule, state=AlertState.OPEN,
        opened=day, updated=day,
    )  # fmt: skip
    return alert, AlertEvent.OPENED


def is_mass_fall(fell: int, sites: int) -> bool:
    """Whether so many sites got worse in one night that a fault of a sensor or provider is the likelier cause.

    `fell` sites have an alert that opened or got worse; `sites` had been assessed before the night.
    """
    return fell >= MASS_FALL_MIN_SITES and fell >= MASS_FALL_SHARE * sites


def _continue(alert: Alert, assessment: Assessment) -> tuple[Alert, AlertEvent | None]:
    level, day = assessment.alert, assessment.as_of
    if alert.state is AlertState.SNOOZED and alert.snoozed_until is not None and day >= alert.snoozed_until:
        alert = replace(alert, state=AlertState.OPEN, snoozed_until=None)
    if _ORDER[level] > _ORDER[alert.level]:
        rule = assessment.alert_rule or alert.rule
        worse = replace(alert, level=level, rule=rule, state=AlertState.OPEN, updated=day, clear_since=None)
        return replace(worse, snoozed_until=None), AlertEvent.WORSENED
    if level is not AlertLevel.NONE:
        return replace(alert, clear_since=None), None
    if alert.clear_since is None:
        return replace(alert, clear_since=day), None
    seen = assessment.last_observed is not None and assessment.last_observed >= alert.clear_since
    if seen and (day - alert.clear_since).days >= QUIET_DAYS:
        return replace(alert, state=AlertState.RESOLVED, updated=day), AlertEvent.RESOLVED
    return alert, None


def already_answered(last: Alert, level: AlertLevel, rule: str) -> bool:
    """Whether a person has answered an alert with this cause already, and it neither got worse nor was gone since."""
    same = last.answer is not None and last.rule == rule and last.clear_since is None
    return same and _ORDER[level] <= _ORDER[last.level]


def acknowledge(alert: Alert, *, note: str | None = None) -> Alert:
    """Alert after a person has taken charge of it."""
    return replace(alert, state=AlertState.ACKNOWLEDGED, note=note or alert.note)


def snooze(alert: Alert, until: date) -> Alert:
    """Alert that sends nothing until a day, unless it gets worse."""
    return replace(alert, state=AlertState.SNOOZED, snoozed_until=until)


def resolve(alert: Alert, *, answer: str, note: str | None, day: date) -> Alert:
    """Alert closed by a person on a day.

    Parameters
    ----------
    alert : Alert
        Alert that is not resolved.
    answer : str
        Finding from the field: ``confirmed``, ``false-alarm`` or ``treated``.
    note : str or None
        What was seen or done; None: the earlier note stays.
    """
    closed = replace(alert, state=AlertState.RESOLVED, answer=answer, updated=day, clear_since=None)
    return replace(closed, note=note or alert.note)
