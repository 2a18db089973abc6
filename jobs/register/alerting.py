"""Record what happens to alerts in the ledger, and put notices of it into the outbox, in the same transaction."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from types import MappingProxyType
from typing import Any, Final

from jobs.runtime.clock import now
from jobs.runtime.records import to_json
from jobs.runtime.settings import Settings
from monitor.alerts.alert import LOT, REPORTED, Alert, AlertEvent
from monitor.alerts.lifecycle import next_alerts
from monitor.alerts.recipients import AddressBook, Recipient
from monitor.ledger.transaction import Transaction
from monitor.verdict.assessment import Assessment

NIGHT: Final = "night"  # who made an event that no person made


def address_book(settings: Settings) -> AddressBook:
    """The configured channels and recipients."""
    return AddressBook(
        kinds={name: channel.kind for name, channel in settings.channels.items()},
        default=settings.alerts.channels,
        operators=settings.operators.channels,
        operators_email=settings.operators.email,
    )


def record_event(
    t: Transaction,
    alert: Alert,
    event: AlertEvent,
    *,
    day: date,
    by: str,
    recipients: Iterable[Recipient] = (),
    link: str | None = None,
    **details: Any,
) -> int:
    """Store an alert after an event, append the event, report it to the recipients, and return its number.

    `by`: :data:`NIGHT`, or how a person did it (``command``, ``link``, ``import``). `recipients` are notified if the
    event is one of those that are reported. `link`: id of the answer link. `details`: further entries of the event, or
    other values of those that are taken from the alert; JSON values.
    """
    t.save_alert(to_json(alert))
    entry = {
        "day": day.isoformat(), "by": by, "state": alert.state.value, "level": alert.level.value,
        "answer": alert.answer, "reason": alert.answer_reason, "note": alert.note,
        "snoozed_until": alert.snoozed_until and alert.snoozed_until.isoformat(), **details,
    }  # fmt: skip
    number = t.add_event(alert.id, event.value, entry, time=now(), link=link)
    if event in REPORTED or event is AlertEvent.ESCALATED:
        is_lot = alert.rule == LOT
        kind = LOT if is_lot else "alert" if event in REPORTED else "escalation"
        payload = {"alert": to_json(alert), "event": event.value, "number": number}
        t.add_notice(
            f"{alert.id}/{number}", kind, payload, day=day.isoformat(), recipients=recipients,
            site=None if is_lot else alert.site, alert=alert.id,
        )  # fmt: skip
    return number


def update_alerts(
    t: Transaction,
    alerts: Sequence[Alert],
    assessment: Assessment,
    previous: Assessment | None,
    recipients: Iterable[Recipient],
    earlier: Mapping[int, Assessment] = MappingProxyType({}),
) -> None:
    """Open, change or resolve the alerts of a site after a night, and queue the messages about them.

    `alerts`: all of the site, also resolved ones; `earlier`: see :func:`monitor.alerts.lifecycle.next_alerts`.
    """
    for alert, event in next_alerts(alerts, assessment, previous, earlier):
        if event is None:
            t.save_alert(to_json(alert))
        else:
            record_event(t, alert, event, day=assessment.as_of, by=NIGHT, recipients=recipients)
