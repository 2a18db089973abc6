"""The life of an alert, a step a night: decisions only, nothing is stored or sent here.

An alert opens once and stays one alert until it is resolved: a value that dithers round a threshold does not ring
twice. Nothing seen is neither confirmation nor recovery, so nights without new evidence change nothing.
"""

from dataclasses import replace
from datetime import date
from typing import Final

from monitor.alerts.alert import Alert, AlertEvent, AlertState
from monitor.verdict.assessment import AlertLevel, Assessment, Status

QUIET_DAYS: Final = 30
"""An alert resolves by itself after so many days without cause, seen in at least one scene on either side. [day]"""

MASS_FALL_SHARE: Final = 0.6
"""Share of the sites from which on their falling in one night is the fault of what they are seen by, until a person
says otherwise. [1]"""
MASS_FALL_MIN_SITES: Final = 5
"""Fewer sites than that may fall together in a small programme all the same."""

_ORDER: Final = {AlertLevel.NONE: 0, AlertLevel.WATCH: 1, AlertLevel.RED: 2}


def next_alert(last: Alert | None, assessment: Assessment) -> tuple[Alert | None, AlertEvent | None]:
    """What one assessment does to a site's newest alert.

    Parameters
    ----------
    last : Alert or None
        The newest alert of the site, resolved or not.
    assessment : Assessment
        Of the night.

    Returns
    -------
    (Alert or None, Event or None)
        The alert as it now stands (None: there is none and none opens), and what is to be told.
    """
    if assessment.status is Status.INSUFFICIENT_DATA:
        return last, None
    level, day = assessment.alert, assessment.as_of
    if last is not None and last.state is not AlertState.RESOLVED:
        return _continue(last, assessment)
    if level is AlertLevel.NONE:
        if last is not None and last.clear_since is None:
            return replace(last, clear_since=day), None
        return last, None
    rule = assessment.alert_rule or "failure"
    if last is not None and already_answered(last, level, rule):
        return last, None
    name = f"{assessment.site}/{day.isoformat()}"
    if last is not None and last.opened == day:  # answered, and there is another cause on the very day
        name = f"{name}-{int(last.id.removeprefix(name).removeprefix('-') or 1) + 1}"
    alert = Alert(
        id=name, site=assessment.site, level=level, rule=rule, state=AlertState.OPEN,
        opened=day, updated=day,
    )  # fmt: skip
    return alert, AlertEvent.OPENED


def is_mass_fall(fell: int, sites: int) -> bool:
    """Whether too many sites fell in one night to be believed: a sensor or a provider is the likelier cause.

    Parameters
    ----------
    fell : int
        Sites with an alert that opened or got worse in the night.
    sites : int
        Sites that were judged before that night, so that they could fall.

    Returns
    -------
    bool
        True from :data:`MASS_FALL_MIN_SITES` sites on, if they are :data:`MASS_FALL_SHARE` of those judged.
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
    """Whether a person has already answered for this: the same cause, no worse, never gone in between."""
    same = last.answer is not None and last.rule == rule and last.clear_since is None
    return same and _ORDER[level] <= _ORDER[last.level]


def acknowledge(alert: Alert, *, note: str | None = None) -> Alert:
    """Someone has taken it on."""
    return replace(alert, state=AlertState.ACKNOWLEDGED, note=note or alert.note)


def snooze(alert: Alert, until: date) -> Alert:
    """Quiet until a day, unless it gets worse."""
    return replace(alert, state=AlertState.SNOOZED, snoozed_until=until)


def resolve(alert: Alert, *, answer: str, note: str | None, day: date) -> Alert:
    """Closed by a person, with what was found in the field."""
    return replace(
        alert, state=AlertState.RESOLVED, answer=answer, note=note or alert.note, updated=day, clear_since=None
    )
