"""Life cycle of an alert, one step for each night. Only decisions: nothing is stored or sent here.

An alert stays the same alert until it is resolved, so that a value near its threshold is not reported again and again.
Missing data is neither confirmation nor recovery, so nights without new evidence change nothing.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Final

from monitor.alerts.alert import Alert, AlertEvent, AlertState, FalseAlarmReason, Verdict, alert_id
from monitor.verdict.assessment import AlertLevel, Assessment, Status

QUIET_DAYS: Final = 30
"""Time without a cause after which an alert is resolved, if an accepted scene confirms it. [day]"""

MASS_FALL_SHARE: Final = 0.6
"""Share of sites with new or worse alerts in one night from which a fault of sensor or provider is suspected. Messages
are then held until a person releases them. [1]"""
MASS_FALL_MIN_SITES: Final = 5
"""Number of sites below which no such fault is suspected: in a small programme they may fail together."""

_ORDER: Final = {AlertLevel.NONE: 0, AlertLevel.WATCH: 1, AlertLevel.RED: 2}


def next_alerts(
    alerts: Sequence[Alert], assessment: Assessment, previous: Assessment | None
) -> list[tuple[Alert, AlertEvent | None]]:
    """Apply the assessment of a night to the alerts of its site.

    A night without a new scene changes nothing: it neither confirms nor resolves. While one rule raises an alert, those
    of the other rules stay as they are, since an assessment names one rule only.

    Parameters
    ----------
    alerts : sequence of Alert
        All alerts of the site, resolved or not.
    assessment, previous : Assessment
        Of this night, and the one before it (None: there is none).

    Returns
    -------
    list of (Alert, AlertEvent or None)
        The alerts that changed, each with the event (None: only what the next nights need to know changed).
    """
    if assessment.status is Status.INSUFFICIENT_DATA or not _sees_more(assessment, previous):
        return []
    if assessment.alert is AlertLevel.NONE:
        steps = [_without_cause(alert, assessment) for alert in alerts]
    else:
        rule = assessment.alert_rule or "failure"
        last = next((alert for alert in alerts if alert.rule == rule), None)
        steps = [_with_cause(last, assessment, rule)]
    known = {alert.id: alert for alert in alerts}
    return [(alert, event) for alert, event in steps if alert != known.get(alert.id)]


def _sees_more(assessment: Assessment, previous: Assessment | None) -> bool:
    """Whether an assessment rests on scenes that the previous one did not have."""
    seen = (assessment.n_scenes, assessment.last_observed)
    return previous is None or seen != (previous.n_scenes, previous.last_observed)


def is_mass_fall(fell: int, sites: int) -> bool:
    """Whether so many sites got worse in one night that a fault of a sensor or provider is the likelier cause.

    `fell` sites have an alert that opened or got worse; `sites` had been assessed before the night.
    """
    return fell >= MASS_FALL_MIN_SITES and fell >= MASS_FALL_SHARE * sites


def _with_cause(last: Alert | None, assessment: Assessment, rule: str) -> tuple[Alert, AlertEvent | None]:
    """The alert of a rule after a night on which the rule raises it."""
    level, day = assessment.alert, assessment.as_of
    if last is None:
        name = alert_id(assessment.site, rule)
        opened = Alert(
            id=name, site=assessment.site, level=level, rule=rule, state=AlertState.OPEN, opened=day, updated=day
        )
        return opened, AlertEvent.OPENED
    worse = _ORDER[level] > _ORDER[last.level]
    if last.state is AlertState.RESOLVED:
        was_gone = last.clear_since is not None and (day - last.clear_since).days >= QUIET_DAYS
        if last.answer is not None and not worse and not was_gone:
            return replace(last, clear_since=None), None
        again = replace(last, level=level, state=AlertState.OPEN, opened=day, updated=day, clear_since=None)
        return replace(again, answer=None, answer_reason=None, note=None), AlertEvent.REOPENED
    if worse:
        alert = replace(last, level=level, state=AlertState.OPEN, updated=day, clear_since=None, snoozed_until=None)
        return alert, AlertEvent.WORSENED
    if last.state is AlertState.SNOOZED and last.snoozed_until is not None and day >= last.snoozed_until:
        alert = replace(last, state=AlertState.OPEN, updated=day, clear_since=None, snoozed_until=None)
        return alert, AlertEvent.WOKEN
    return replace(last, clear_since=None), None


def _without_cause(alert: Alert, assessment: Assessment) -> tuple[Alert, AlertEvent | None]:
    """An alert after a night on which no rule raises an alert."""
    day = assessment.as_of
    if alert.clear_since is None:
        return replace(alert, clear_since=day), None
    if alert.state is AlertState.RESOLVED:
        return alert, None
    seen = assessment.last_observed is not None and assessment.last_observed >= alert.clear_since
    if seen and (day - alert.clear_since).days >= QUIET_DAYS:
        return replace(alert, state=AlertState.RESOLVED, updated=day, snoozed_until=None), AlertEvent.RESOLVED
    return alert, None


def is_answered(alert: Alert) -> bool:
    """Whether a person has answered an alert whose cause is still seen."""
    return alert.state is AlertState.RESOLVED and alert.answer is not None and alert.clear_since is None


def acknowledge(alert: Alert, *, note: str | None = None) -> Alert:
    """Alert after a person has taken charge of it."""
    return replace(alert, state=AlertState.ACKNOWLEDGED, note=note or alert.note)


def snooze(alert: Alert, until: date) -> Alert:
    """Alert that sends nothing until a day, unless it gets worse."""
    return replace(alert, state=AlertState.SNOOZED, snoozed_until=until)


def resolve(
    alert: Alert, *, answer: Verdict, reason: FalseAlarmReason | None = None, note: str | None, day: date
) -> Alert:
    """Alert closed by a person on a day.

    Parameters
    ----------
    alert : Alert
        The alert; one that is resolved already gets a newer answer.
    answer : Verdict
        Finding from the field.
    reason : FalseAlarmReason or None
        Cause of a false alarm.
    note : str or None
        What was seen or done; None: the earlier note stays.
    """
    closed = replace(alert, state=AlertState.RESOLVED, answer=answer, answer_reason=reason, updated=day)
    return replace(closed, note=note or alert.note, snoozed_until=None)
