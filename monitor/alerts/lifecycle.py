"""Life cycle of an alert, one step for each night and for each act of a person. Nothing is stored or sent here.

An alert stays the same alert until it is resolved, so that a value near its threshold is not reported again and again.
Missing data is neither confirmation nor recovery, so nights without new evidence change nothing. An answer from the
field holds until what was answered was gone for :data:`QUIET_DAYS`, or until it gets worse.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from types import MappingProxyType
from typing import Final

from monitor.alerts.alert import LOT, Alert, AlertEvent, AlertState, FalseAlarmReason, Verdict, alert_id
from monitor.verdict.assessment import AlertLevel, Assessment, Status

QUIET_DAYS: Final = 30
"""Time without a cause after which an alert is resolved, if an accepted scene confirms it. [day]"""
MASS_FALL_SHARE: Final = 0.6
"""Share of sites with new or worse alerts in one night from which a fault of sensor or provider is suspected. Messages
are then held until a person releases them. [1]"""
MASS_FALL_MIN_SITES: Final = 5
"""Number of sites below which no such fault is suspected: in a small programme they may fail together."""
SURE: Final = 0.95
"""Probability of the cause from which a false alarm needs a reason and a review. [1]"""
_ORDER: Final = {AlertLevel.NONE: 0, AlertLevel.WATCH: 1, AlertLevel.RED: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """Finding of a night on one site or lot."""

    site: str
    """Its id."""
    alert: AlertLevel
    as_of: date
    last_observed: date | None


def next_lot_alert(
    last: Alert | None, lot: str, level: AlertLevel, *, looked: date, day: date
) -> tuple[Alert, AlertEvent | None] | None:
    """Apply a new verdict on a lot to its alert; None: nothing changed.

    A lot is looked at once a year, so that one verdict without an alert resolves it. `last` is its alert, resolved or
    not; `looked` the last day of the season that the verdict rests on, and `day` that of the night.
    """
    seen = Sighting(site=lot, alert=level, as_of=day, last_observed=looked)
    if level is not AlertLevel.NONE:
        alert, event = _with_cause(last, seen, LOT)
    elif last is None:
        return None
    else:
        gone = replace(last, clear_since=last.clear_since or day, covered=AlertLevel.NONE)
        is_over = last.state is AlertState.RESOLVED
        alert = gone if is_over else replace(gone, state=AlertState.RESOLVED, updated=day, snoozed_until=None)
        event = None if is_over else AlertEvent.RESOLVED
    return None if alert == last else (alert, event)


def next_alerts(
    alerts: Sequence[Alert],
    assessment: Assessment,
    previous: Assessment | None,
    earlier: Mapping[int, Assessment] = MappingProxyType({}),
) -> list[tuple[Alert, AlertEvent | None]]:
    """Apply the assessment of a night, and the one before it, to all alerts of its site, resolved or not.

    A night without a new scene changes nothing: it neither confirms nor resolves. An assessment names one rule only:
    while it raises an alert, nothing is known about the causes of the other rules, and their quiet time starts again.

    An alert that was open when the promise was changed (:attr:`monitor.alerts.alert.Alert.held_by`) follows the
    assessment under its earlier promise, or that of the night where it is worse: a new promise alone resolves nothing.
    `earlier` has the assessments of this night under earlier promises, by number. Where one is missing, nothing stored
    shows what its alerts rest on, and they stay as they are.

    Returns
    -------
    list of (Alert, AlertEvent or None)
        The alerts that changed, each with the event (None: only what the next nights need to know changed).
    """
    if assessment.status is Status.INSUFFICIENT_DATA or not _sees_more(assessment, previous):
        return []
    steps = [_step(alert, _followed(alert, assessment, earlier)) for alert in alerts]
    rule = _rule_of(assessment)
    if rule is not None and all(alert.rule != rule for alert in alerts):
        steps.append(_with_cause(None, assessment, rule))
    known = {alert.id: alert for alert in alerts}
    return [(alert, event) for alert, event in steps if alert != known.get(alert.id)]


def _step(alert: Alert, assessment: Assessment | None) -> tuple[Alert, AlertEvent | None]:
    """An alert after a night with the assessment that it follows; None: without one."""
    if assessment is None:
        return alert, None
    rule = _rule_of(assessment)
    if rule is None:
        return _without_cause(alert, assessment)
    return _with_cause(alert, assessment, rule) if alert.rule == rule else (_unknown(alert), None)


def _followed(alert: Alert, assessment: Assessment, earlier: Mapping[int, Assessment]) -> Assessment | None:
    """Assessment of a night that an alert follows."""
    if alert.held_by is None:
        return assessment
    held = earlier.get(alert.held_by)
    if held is not None and held.status is Status.INSUFFICIENT_DATA:
        held = None
    levels = [_ORDER[one.alert] if one and _rule_of(one) == alert.rule else 0 for one in (held, assessment)]
    return assessment if levels[1] > levels[0] else held


def _rule_of(assessment: Assessment) -> str | None:
    """Rule by which an assessment raises an alert; None: it raises none."""
    return None if assessment.alert is AlertLevel.NONE else assessment.alert_rule or "failure"


def _sees_more(assessment: Assessment, previous: Assessment | None) -> bool:
    """Whether an assessment rests on scenes that the previous one did not have."""
    seen = (assessment.n_scenes, assessment.last_observed)
    return previous is None or seen != (previous.n_scenes, previous.last_observed)


def is_mass_fall(fell: int, sites: int) -> bool:
    """Whether so many sites got worse in one night that a fault of a sensor or provider is the likelier cause.

    Of `sites` with a new scene, or of all on the first night, `fell` have an alert that opened or got worse.
    """
    return fell >= MASS_FALL_MIN_SITES and fell >= MASS_FALL_SHARE * sites


def _with_cause(last: Alert | None, assessment: Assessment | Sighting, rule: str) -> tuple[Alert, AlertEvent | None]:
    """The alert of a rule after a night on which the rule raises it."""
    level, day = assessment.alert, assessment.as_of
    if last is None:
        name = alert_id(assessment.site, rule)
        opened = Alert(
            id=name, site=assessment.site, level=level, rule=rule, state=AlertState.OPEN, opened=day, updated=day
        )
        return opened, AlertEvent.OPENED
    seen = _below_red(replace(last, clear_since=None), assessment)
    if last.state is AlertState.RESOLVED:
        if _ORDER[level] <= _ORDER[seen.covered]:
            return seen, None
        again = replace(seen, level=level, state=AlertState.OPEN, opened=day, updated=day, lower_since=None)
        again = replace(again, promise=last.held_by)
        unanswered = replace(again, answer=None, answer_reason=None, unreviewed=False, note=None)
        return replace(unanswered, covered=AlertLevel.NONE), AlertEvent.REOPENED
    if _ORDER[level] > _ORDER[last.level]:
        return replace(seen, level=level, state=AlertState.OPEN, updated=day, snoozed_until=None), AlertEvent.WORSENED
    if last.state is AlertState.SNOOZED and last.snoozed_until is not None and day >= last.snoozed_until:
        return replace(seen, state=AlertState.OPEN, updated=day, snoozed_until=None), AlertEvent.WOKEN
    return seen, None


def _without_cause(alert: Alert, assessment: Assessment) -> tuple[Alert, AlertEvent | None]:
    """An alert after a night on which no rule raises an alert."""
    alert = _below_red(alert, assessment)
    if alert.clear_since is None:
        return replace(alert, clear_since=assessment.as_of), None
    if not _lasted(alert.clear_since, assessment):
        return alert, None
    if alert.state is AlertState.RESOLVED:
        return replace(alert, covered=AlertLevel.NONE), None
    resolved = replace(alert, state=AlertState.RESOLVED, updated=assessment.as_of, snoozed_until=None)
    return resolved, AlertEvent.RESOLVED


def _unknown(alert: Alert) -> Alert:
    """An alert after a night on which another rule raised one: its quiet time, if it is still needed, starts again."""
    is_over = alert.state is AlertState.RESOLVED and alert.covered is AlertLevel.NONE
    return alert if is_over else replace(alert, clear_since=None, lower_since=None)


def _below_red(alert: Alert, assessment: Assessment | Sighting) -> Alert:
    """An alert with the time for which its red was not seen; an answer to it holds no longer than a quiet month."""
    if alert.level is not AlertLevel.RED or assessment.alert is AlertLevel.RED:
        return replace(alert, lower_since=None)
    since = alert.lower_since or assessment.as_of
    is_worn = alert.covered is AlertLevel.RED and _lasted(since, assessment)
    return replace(alert, lower_since=since, covered=AlertLevel.WATCH if is_worn else alert.covered)


def _lasted(since: date, assessment: Assessment | Sighting) -> bool:
    """Whether an accepted scene confirms that what began on a day has lasted for :data:`QUIET_DAYS`."""
    return assessment.last_observed is not None and (assessment.last_observed - since).days >= QUIET_DAYS


def is_answered(alert: Alert) -> bool:
    """Whether a person has answered an alert whose cause is still seen."""
    return alert.state is AlertState.RESOLVED and alert.answer is not None and alert.clear_since is None


def shown_alert(alerts: Sequence[Alert], assessment: Assessment) -> Alert | None:
    """The alert of a site to show: one that is not resolved, the worst and newest first, else an answered one.

    An answered alert is shown as long as its cause is still seen.
    """
    shown = [alert for alert in alerts if alert.state is not AlertState.RESOLVED]
    shown = shown or [alert for alert in alerts if is_answered(alert) and alert.rule == assessment.alert_rule]
    return max(shown, key=lambda alert: (alert.level is AlertLevel.RED, alert.updated), default=None)


def acknowledge(alert: Alert, *, note: str | None = None, day: date) -> Alert:
    """Alert after a person has taken charge of it on a day; without a `note` the earlier one remains."""
    return replace(alert, state=AlertState.ACKNOWLEDGED, note=note or alert.note, updated=day, snoozed_until=None)


def snooze(alert: Alert, *, until: date, day: date) -> Alert:
    """Alert that a person does not want to be reminded of before a day (`until`), unless it gets worse or is over."""
    return replace(alert, state=AlertState.SNOOZED, snoozed_until=until, updated=day)


def close(alert: Alert, *, day: date, why: str = "the site was retired") -> Alert:
    """Alert after its site was retired; a cause that is still seen when the site returns opens it again.

    `why` is its note, where it has none.
    """
    note = alert.note or why
    return replace(alert, state=AlertState.RESOLVED, updated=day, snoozed_until=None, note=note)


def forget_answer(alert: Alert) -> Alert:
    """Alert whose answers say nothing about what is seen from now on, since new work begins on its site."""
    return replace(alert, covered=AlertLevel.NONE, lower_since=None)


def resolve(
    alert: Alert, *, answer: Verdict, reason: FalseAlarmReason | None = None, note: str | None, day: date,
    needs_review: bool = False,
) -> Alert:  # fmt: skip
    """Alert closed by a person, with the finding of a day; one that is resolved already gets a newer answer.

    `reason` is the cause of a false alarm; without a `note` the earlier one remains. With `needs_review` the alert only
    counts as acknowledged until the operators have reviewed the answer.
    """
    is_new = (alert.answer is None or alert.unreviewed) and (
        alert.state is not AlertState.RESOLVED or alert.clear_since is None
    )
    updated = max(day, alert.updated)  # a finding may be recorded later
    state = AlertState.ACKNOWLEDGED if needs_review else AlertState.RESOLVED
    answered = replace(
        alert, state=state, answer=answer, answer_reason=reason, unreviewed=needs_review, updated=updated
    )
    # a cause that is gone already is not covered: it may come back
    covered = alert.level if is_new and not needs_review else alert.covered
    return replace(answered, note=note or alert.note, snoozed_until=None, covered=covered)


def is_sure(alert: Alert, assessment: Assessment) -> bool:
    """Whether an alert is red and the probability of its cause at least :data:`SURE`, by the newest assessment."""
    of_rule = assessment.probability if alert.rule == assessment.alert_rule else None
    probability = assessment.p_failing if alert.rule == "failure" else of_rule
    return alert.level is AlertLevel.RED and probability is not None and probability >= SURE


def review(alert: Alert, *, close: bool, why: str, day: date) -> Alert:
    """Alert after the operators have reviewed a false alarm: resolved by it, or without it and open for its manager.

    A night may have resolved it since, as its cause is gone. `why` becomes the note of an alert that is opened again.
    """
    is_over = alert.state is AlertState.RESOLVED
    reviewed = replace(alert, unreviewed=False, updated=day)
    if close:
        return replace(reviewed, state=AlertState.RESOLVED, covered=alert.covered if is_over else alert.level)
    state = AlertState.RESOLVED if is_over else AlertState.OPEN
    return replace(reviewed, state=state, answer=None, answer_reason=None, note=why, covered=AlertLevel.NONE)
