"""Record what people found in the field: one way for the answer page, for ``alerts resolve`` and for ``alerts import``.

An answer is an appended event. It always wins over what nights say, and the newest one is the answer of the alert.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from enum import StrEnum
from typing import Any, Final, NamedTuple

import structlog

from jobs.register.alerting import record_event
from jobs.runtime.clock import today
from jobs.runtime.records import from_json, to_json
from monitor.alerts.alert import Alert, AlertEvent, AlertState, FalseAlarmReason, Verdict
from monitor.alerts.lifecycle import SURE, is_answered, is_sure, resolve, review, snooze
from monitor.alerts.precision import answered_openings, measured_precision
from monitor.alerts.recipients import Recipient
from monitor.errors import BadData
from monitor.ledger.transaction import Transaction
from monitor.sites.site import Site
from monitor.verdict.assessment import Assessment

log = structlog.get_logger()


LATER: Final = timedelta(days=7)  # time for which a manager puts an alert off
# Events after which a form that was opened before still fits the alert.
_UNCHANGED: Final = (AlertEvent.REMINDED, AlertEvent.ESCALATED, AlertEvent.HANDED_OVER, AlertEvent.WOKEN)


class Recorded(NamedTuple):
    """Result of an answer."""

    alert: Alert  # as it is now
    number: int  # number of the event
    is_newest: bool  # whether it is now the answer of the alert; False: a finding of a later day stands


def known_alert(t: Transaction, alert_id: str) -> Alert:
    """The alert with an id; raises BadData if it does not exist."""
    stored = t.alert(alert_id)
    if stored is None:
        raise BadData(f"no alert {alert_id!r}; 'regrowth alerts list --all' lists all alerts")
    return from_json(stored, Alert)


def answer_alert(
    t: Transaction,
    alert_id: str,
    verdict: Verdict,
    reason: FalseAlarmReason | None,
    note: str | None,
    day: date,
    by: str,
    link: str | None = None,
    photos: Iterable[Mapping[str, Any]] = (),
    operators: Sequence[Recipient] = (),
    **details: Any,
) -> Recorded:
    """Append an answer to an alert, and resolve the alert, also if it is resolved already.

    A false alarm about an alert that the monitor is sure of (:func:`monitor.alerts.lifecycle.is_sure`) needs a reason,
    and resolves nothing until the operators, who are notified, have reviewed it.

    An answer belongs to the opening of the alert that had begun by the day of the finding. One of an earlier opening,
    or of an earlier day than the answer that stands, is recorded but changes nothing.

    `by`: ``link``, ``command``, ``import`` or ``replant``. `photos`: columns of :class:`monitor.ledger.models.PhotoRow`
    without ``alert`` and ``number``. Raises BadData if the alert is unknown, the link was used, or the reason does not
    fit the verdict.
    """
    alert = known_alert(t, alert_id)
    if reason is not None and verdict is not Verdict.FALSE_ALARM:
        raise BadData(f"alert {alert_id!r}: only a false alarm has a reason, {verdict.value} has none")
    if link is not None and t.link_was_used(link):
        raise BadData(f"alert {alert_id!r} was answered by this link already")
    note = (note or "").strip() or None
    events = t.events(alert_id)
    opening = _opening_of(events, day)
    is_newest = _is_newest(events, opening, day)
    unreviewed = is_newest and verdict is Verdict.FALSE_ALARM and _is_sure(t, alert)
    if unreviewed and reason is None:
        raise BadData(
            f"alert {alert_id!r}: the probability of its cause is {SURE:.0%} or more, so a false alarm needs a reason: "
            f"{', '.join(FalseAlarmReason)}"
        )
    if is_newest:
        alert = resolve(alert, answer=verdict, reason=reason, note=note, day=day, needs_review=unreviewed)
    number = record_event(
        t, alert, AlertEvent.ANSWERED, day=day, by=by, link=link, answer=verdict.value,
        reason=reason and reason.value, note=note, opening=opening, unreviewed=unreviewed, **details,
    )  # fmt: skip
    if unreviewed:
        log.warning("a false alarm waits for a review", alert=alert_id, operators=len(operators))
        payload = {"alert": to_json(alert), "number": number}
        t.add_notice(f"review/{alert_id}/{number}", "review", payload, day=day.isoformat(), recipients=operators)
    for photo in photos:
        t.add_photo({**photo, "alert": alert_id, "number": number})
    return Recorded(alert, number, is_newest)


class Outcome(StrEnum):
    """Outcome of a manager's answer to one of many alerts: names of texts in the catalogue."""

    RECORDED = "recorded"
    ALREADY = "already"  # the same answer came by this link before
    CHANGED = "changed"  # since the form was opened somebody else answered, or the alert got worse or was resolved
    CLOSED = "closed"  # the alert is over
    NOT_YOURS = "not_yours"


def answer_by_manager(
    t: Transaction,
    alert_id: str,
    verdict: Verdict | None,
    reason: FalseAlarmReason | None,
    note: str | None,
    *,
    link: str,
    is_theirs: Callable[[Site], bool],
    seen: int | None,
    photos: Sequence[Mapping[str, Any]] = (),
    operators: Sequence[Recipient] = (),
) -> Outcome:
    """Append an answer that came by a personal link, or put the alert off for :data:`LATER` (`verdict` None).

    The same answer by the same link is recorded once, however often its form is sent. `seen`: number of the newest
    event when the form was opened; None: unknown, and only the answer that stands is compared. Raises BadData if a
    false alarm needs a reason.
    """
    stored = t.alert(alert_id)
    values = t.site(stored["site"]) if stored else None
    if stored is None or values is None or not is_theirs(from_json(values, Site)):
        return Outcome.NOT_YOURS
    alert, events = from_json(stored, Alert), t.events(alert_id)
    until = today() + LATER
    acts = [event for event in events if event["kind"] in (AlertEvent.ANSWERED, AlertEvent.SNOOZED)]
    since = acts[-1:] if seen is None else [event for event in events if event["number"] > seen]
    new_photos = {photo["id"] for photo in photos} - {photo["id"] for photo in t.photos(alert_id)}
    given = (verdict, reason, note) if verdict else (None, None, until.isoformat())
    if any(event.get("personal_link") == link and _given(event) == given for event in since) and not new_photos:
        return Outcome.ALREADY
    if seen is not None and any(event["kind"] not in _UNCHANGED for event in since):
        return Outcome.CHANGED
    is_over = alert.state is AlertState.RESOLVED and not is_answered(alert)
    if is_over or (verdict is None and alert.answer is not None):
        return Outcome.CLOSED
    if verdict is None:
        snoozed = snooze(alert, until=until, day=today())
        record_event(t, snoozed, AlertEvent.SNOOZED, day=today(), by="link", personal_link=link)
    else:
        answer_alert(
            t, alert_id, verdict, reason, note, today(), "link", photos=photos, operators=operators, personal_link=link
        )
    return Outcome.RECORDED


def _given(event: Mapping[str, Any]) -> tuple[str | None, ...]:
    """Content of a person's event: answer, reason and note, or the day until which the alert is snoozed."""
    if event["kind"] == AlertEvent.SNOOZED:
        return None, None, event["snoozed_until"]
    return event["answer"], event["reason"], event["note"]


def review_alert(
    t: Transaction, alert_id: str, *, close: bool, why: str, managers: Callable[[Site], Sequence[Recipient]]
) -> Alert:
    """Review a false alarm: close the alert by it, or open it again and notify the manager (:func:`review`).

    Raises BadData if the alert does not exist, none of its answers waits for a review, or no reason is given.
    """
    alert = known_alert(t, alert_id)
    if not alert.unreviewed:
        raise BadData(f"alert {alert_id!r} has no answer that waits for a review; 'regrowth alerts list' shows them")
    if not (why := why.strip()):
        raise BadData("a review needs a reason: --why TEXT")
    alert = review(alert, close=close, why=why, day=today())
    values = t.site(alert.site)
    notified = [] if close or values is None else managers(from_json(values, Site))
    decision = "close" if close else "reopen"
    record_event(
        t, alert, AlertEvent.REVIEWED, day=today(), by="command", recipients=notified, decision=decision, why=why
    )
    return alert


def _is_sure(t: Transaction, alert: Alert) -> bool:
    """:func:`is_sure` by the newest assessment of its site; False where it has none, as a lot."""
    latest = t.latest_assessment(alert.site)
    return latest is not None and is_sure(alert, from_json(latest.payload, Assessment))


def precision(t: Transaction) -> list[dict[str, Any]]:
    """How often alerts were right, from all answers ever; see :func:`monitor.alerts.precision.measured_precision`."""
    openings = answered_openings(t.all_events())
    return measured_precision(openings, {site["id"]: site for site in t.all_sites()}) if openings else []


def _opening_of(events: Sequence[Mapping[str, Any]], day: date) -> int:
    """Number of the event that opened the alert and that a finding of a day belongs to; 0: none is recorded."""
    openings = [event for event in events if event["kind"] in (AlertEvent.OPENED, AlertEvent.REOPENED)]
    begun = [event for event in openings if day >= today() or event["day"] <= day.isoformat()]
    return int((begun or openings[:1])[-1]["number"]) if openings else 0


def _is_newest(events: Sequence[Mapping[str, Any]], opening: int, day: date) -> bool:
    """Whether a finding of a day, about this opening, is newer than all others that no review has rejected."""
    reopened = [event["number"] for event in events if event.get("decision") == "reopen"]
    others = [
        event for event in events if event["kind"] == AlertEvent.ANSWERED and event["number"] > max(reopened, default=0)
    ]
    newest = max(((other["opening"], other["day"]) for other in others), default=(0, ""))
    return opening == _opening_of(events, today()) and (day >= today() or (opening, day.isoformat()) >= newest)
