"""Record what people found in the field: one way for the answer page, for ``alerts resolve`` and for ``alerts import``.

An answer is an appended event. It always wins over what nights say, and the newest one is the answer of the alert.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

from jobs.register.alerting import record_event
from jobs.runtime.clock import today
from jobs.runtime.records import from_json
from monitor.alerts.alert import Alert, AlertEvent, FalseAlarmReason, Verdict
from monitor.alerts.lifecycle import resolve
from monitor.alerts.precision import answered_openings, measured_precision
from monitor.errors import BadData
from monitor.ledger.transaction import Transaction


class Recorded(NamedTuple):
    """What an answer has led to."""

    alert: Alert
    """As it is now."""
    number: int
    """Number of the event."""
    is_newest: bool
    """Whether it is now the answer of the alert; False: a finding of a later day stands."""


def known_alert(t: Transaction, alert_id: str) -> Alert:
    """The alert with an id.

    Raises
    ------
    BadData
        There is none.
    """
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
    **details: Any,
) -> Recorded:
    """Append an answer to an alert, and resolve the alert.

    An answer belongs to the opening of the alert that had begun by the day of the finding. One of an earlier opening,
    or of an earlier day than the answer that stands, is recorded but changes nothing.

    Parameters
    ----------
    t : Transaction
        One that may write: nobody else changes the alert before it is committed.
    alert_id : str
        Id of the alert; one that is resolved already can be answered again.
    verdict, reason, note
        Finding, cause of a false alarm (None: unknown), and what was seen or done (None or blank: nothing was noted).
    day : date
        Day of the finding.
    by : str
        How it came: ``link``, ``command``, ``import`` or ``replant``.
    link : str, optional
        Id of the answer link that was used.
    photos : iterable of mapping
        Columns of :class:`monitor.ledger.models.PhotoRow` other than ``alert`` and ``number``.
    **details
        Further entries of the event, JSON values.

    Raises
    ------
    BadData
        There is no such alert, the link was used already, or a reason was given although it is no false alarm.
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
    if is_newest:
        alert = resolve(alert, answer=verdict, reason=reason, note=note, day=day)
    number = record_event(
        t, alert, AlertEvent.ANSWERED, day=day, by=by, link=link, answer=verdict.value,
        reason=reason and reason.value, note=note, opening=opening, **details,
    )  # fmt: skip
    for photo in photos:
        t.add_photo({**photo, "alert": alert_id, "number": number})
    return Recorded(alert, number, is_newest)


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
    """Whether a finding of a day, about this opening, is newer than all others about the alert."""
    others = [event for event in events if event["kind"] == AlertEvent.ANSWERED]
    newest = max(((other["opening"], other["day"]) for other in others), default=(0, ""))
    return opening == _opening_of(events, today()) and (day >= today() or (opening, day.isoformat()) >= newest)
