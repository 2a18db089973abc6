"""Record how a night ended, and report a failed one to the operators: one message a night, however often it is run.

A night does so itself (:mod:`jobs.reports.night_report`). For one that was killed, it is done by ``regrowth notify
failed-night``, or else by the next night when it begins. The message waits in the outbox and is sent at once; what is
not delivered is sent by the next night, under the same id. If the ledger cannot be used, the outbox is one in memory,
and a file in the root of the stores records that the message was sent.
"""

from contextlib import closing, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from jobs.messages.outbox import Delivery, send_event
from jobs.register.alerting import address_book
from jobs.reports.metrics import write_metrics
from jobs.reports.night import Night
from jobs.runtime.clock import now, today
from jobs.runtime.installation import locked_ledger
from jobs.runtime.lock import Locked, hold_ledger
from jobs.runtime.settings import Settings
from monitor.errors import MonitorError
from monitor.ledger.ledger import Ledger
from monitor.ledger.rows import Payload
from monitor.ledger.transaction import Transaction

log = structlog.get_logger()

KIND: Final = "failed_night"
KILLED: Final = 137  # exit status that a shell shows for a process that was killed by SIGKILL
WHY_KILLED: Final = "the run was killed, memory ran out, or the machine went down"
RECENT: Final = timedelta(hours=16)  # a night that ended longer ago has not just failed: nights are a day apart
WITHOUT_LEDGER: Final = ".failed-night"  # file in the root of the stores: last event reported without the ledger


def send_now(settings: Settings, ledger: Ledger, night: Night, *, locked: bool) -> None:
    """Send the message of a failed night that waits in the outbox; `locked`: whether the night holds the ledger."""
    try:
        with nullcontext() if locked else hold_ledger(ledger, "the report of a failed night"):
            send_event(settings, ledger, night.event)
    except Locked as error:  # the other run sends it
        log.info("the report of the failed night waits in the outbox", why=str(error))


def report_without_ledger(settings: Settings, night: Night) -> list[Delivery]:
    """Send the message of a failed night from an outbox in memory, under the id that it would have in the ledger.

    A file in the root of the stores, where there is one, records it, so that it is sent once.
    """
    with closing(Ledger("sqlite://")) as outbox:
        with outbox.transaction() as t:
            queue(t, settings, night)
        deliveries = send_event(settings, outbox, night.event)
    if any(delivery.error is None for delivery in deliveries):
        try:
            (settings.store.local / WITHOUT_LEDGER).write_text(night.event, encoding="utf-8")
        except FileNotFoundError:  # nothing was stored yet
            pass
        except OSError:
            log.warning("the report of the failed night may be repeated: no file can be written", folder="[store] root")
    return deliveries


def queue(t: Transaction, settings: Settings, night: Night) -> None:
    """Put the message of a failed night into the outbox, unless it is there already or was sent without the ledger."""
    failure = night.failure()
    try:
        was_sent = (settings.store.local / WITHOUT_LEDGER).read_text(encoding="utf-8") == night.event
    except (OSError, ValueError):
        was_sent = False
    if failure is not None and not was_sent:
        recipients = address_book(settings).of_operators()
        t.add_notice(night.event, KIND, failure, day=night.as_of.isoformat(), recipients=recipients)


def report_killed_nights(settings: Settings, ledger: Ledger, run: str) -> None:
    """Report earlier nights that were killed, if nobody has; called by the night `run`, which holds the ledger."""
    with ledger.transaction() as t:
        nights = [_end(t, row, KILLED, WHY_KILLED) for row in t.unfinished_nights() if row["id"] != run]
        for night in nights:
            queue(t, settings, night)
    for night in nights:
        send_event(settings, ledger, night.event)


def report_last_night(
    settings: Settings, *, status: int = KILLED, why: str = WHY_KILLED
) -> tuple[Night, list[Delivery]]:
    """Report the night that has just ended if it failed and has not reported itself; return it and its deliveries.

    `status`, `why`: of a night that left none in the ledger. Raises TryLater if a run holds the ledger.
    """
    try:
        with locked_ledger(settings, "the report of a failed night") as ledger:
            with ledger.transaction() as t:
                night = _last_night(t, status, why)
                queue(t, settings, night)
            try:
                write_metrics(settings, ledger, night)
            except OSError as error:
                log.warning("metrics not written", error=str(error))
            return night, send_event(settings, ledger, night.event) if night.failure() else []
    except Locked:
        raise
    except MonitorError as error:
        night = Night(as_of=today(), status=status, error=f"{why}; {error}")
        return night, report_without_ledger(settings, night)


def _last_night(t: Transaction, status: int, why: str) -> Night:
    """The night that has just ended; one that left no exit status gets this one."""
    row = t.newest_night()
    if row is not None and row["finished"] is None:
        return _end(t, row, status, why)
    if row is None or datetime.now(UTC) - datetime.fromisoformat(row["finished"]) > RECENT:
        return Night(as_of=today(), status=status, error=f"{why}; it left no trace in the ledger")
    return Night.of(row)


def _end(t: Transaction, row: Payload, status: int, why: str) -> Night:
    """Record the end of a night that left no exit status."""
    night = Night.of({**row, "status": status, "error": why, "finished": now()})
    t.end_run(row["id"], status=status, error=why, now=night.ended)
    return night
