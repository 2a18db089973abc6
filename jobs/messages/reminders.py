"""Send open alerts again: to a manager who does not answer, and to one who took the site over."""

from collections.abc import Sequence
from datetime import date
from typing import Final

from jobs.messages.weekly import brief_key
from jobs.register.alerting import NIGHT, address_book, record_event
from jobs.runtime.records import from_json
from jobs.runtime.settings import Settings
from monitor.alerts.alert import CALLS, LOT, Alert, AlertEvent, AlertState
from monitor.alerts.messages.weekly import WEEK
from monitor.alerts.recipients import FILES, AddressBook, Recipient
from monitor.ledger.transaction import Transaction
from monitor.sites.site import Site

MONTH: Final = 30  # time between two reminders of a lot, and of any alert after `WEEKLY` of them [day]
WEEKLY: Final = 4  # reminders after a week each


def remind_managers(t: Transaction, settings: Settings, sites: Sequence[Site], *, day: date) -> None:
    """Put reminders of unanswered alerts, and alerts for managers who took a site over, into the outbox.

    Managers find reminders of alerts that nobody acknowledged, snoozed or resolved in their weekly brief, which is
    there already; others get a message. A recipient who has had no message about an alert since it opened gets it once,
    an acknowledged or snoozed one too. Alerts whose messages are held are left out, and none is repeated while a
    message about it waits, nor twice after missed nights, nor by a night before its last message.
    """
    book, registered = address_book(settings), {site.id: site for site in sites}
    briefs = t.recipients_of(brief_key(day))
    for alert in (from_json(values, Alert) for values in t.alerts(["open", "acknowledged", "snoozed"])):
        if alert.rule != LOT and alert.site not in registered:
            continue
        recipients = _recipients(alert, registered.get(alert.site), book)
        calls = [event for event in t.events(alert.id) if event["kind"] in (*CALLS, AlertEvent.REMINDED)]
        notices = [row for row in t.notices(alert=alert.id) if row["kind"] != "escalation"]
        states = {row["state"] for row in notices}
        waited = (day - date.fromisoformat(calls[-1]["day"])).days if calls else -1
        if waited < 0 or "held" in states:
            continue
        openings = [event["number"] for event in calls if event["kind"] in (AlertEvent.OPENED, AlertEvent.REOPENED)]
        opened = max(openings, default=0)
        reached = {(row["channel"], row["recipient"]) for row in notices if row["payload"]["number"] >= opened}
        if new := [recipient for recipient in recipients if recipient not in reached]:
            record_event(t, alert, AlertEvent.HANDED_OVER, day=day, by=NIGHT, recipients=new)
        elif alert.state is AlertState.OPEN and "waiting" not in states:
            by_brief = [briefs[one] for one in recipients if one in briefs and alert.rule != LOT]
            if waited > 0 and day.isoformat() in by_brief:
                record_event(t, alert, AlertEvent.REMINDED, day=day, by=NIGHT)
            elif not by_brief and waited >= _wait(alert, calls):
                record_event(t, alert, AlertEvent.REMINDED, day=day, by=NIGHT, recipients=recipients)


def _recipients(alert: Alert, site: Site | None, book: AddressBook) -> list[Recipient]:
    return book.of_operators() or [Recipient(FILES, "")] if site is None else book.of_site(site)


def _wait(alert: Alert, calls: Sequence[dict[str, object]]) -> int:
    """Time after the last message about an alert until it is repeated. [day]"""
    last_call = max(number for number, event in enumerate(calls) if event["kind"] != AlertEvent.REMINDED)
    return MONTH if alert.rule == LOT or len(calls) - 1 - last_call >= WEEKLY else WEEK
