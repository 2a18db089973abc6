"""Report a failed night to the operators: one message a night, however often it is run.

A night reports its own failure (:mod:`jobs.reports.night_report`). For one that was killed, it is done by
``regrowth notify failed-night``, or else by the next night when it begins. The message waits in the outbox and is sent
at once; what is not delivered is sent by the next night, under the same id. If the ledger cannot be written, the
message is sent without it, and a file in the root of the stores records that.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import structlog

from jobs.messages.channels import open_channels
from jobs.messages.outbox import Delivery, message_id, reason_not_sent, send_event
from jobs.register.alerting import address_book
from jobs.reports.manifest import Manifest, to_correct
from jobs.reports.metrics import write_metrics
from jobs.runtime.clock import now, today
from jobs.runtime.exits import Exit
from jobs.runtime.installation import locked_ledger
from jobs.runtime.lock import Locked
from jobs.runtime.logs import redacted
from jobs.runtime.records import from_json
from jobs.runtime.settings import Settings
from monitor.alerts.messages import compose_operators
from monitor.errors import MonitorError
from monitor.ledger.ledger import Ledger
from monitor.ledger.transaction import Transaction

log = structlog.get_logger()

KIND: Final = "failed_night"
KILLED: Final = 137
"""Exit status that a shell shows for a process that was killed by SIGKILL."""
RECENT: Final = timedelta(hours=16)
"""A night that ended longer ago is not the one that has just failed, since nights are a day apart."""
MAX_FAILED_SITES: Final = 20
"""Number of failed sites that a message names."""
MAX_ERROR_LETTERS: Final = 1000
DIRECT_REPORT: Final = ".failed-night"
"""File in the root of the stores: the event that was last reported without the ledger."""

type Payload = Mapping[str, Any]


def failed_night(
    as_of: str, status: int, *, error: str | None = None, manifest: Manifest | None = None
) -> dict[str, Any] | None:
    """What to report of a night to the operators; None if it did not fail.

    A night failed if it ended with any status but 0, 10 and 64. One that ended with 10 failed if a site failed, a page
    was not written, or something in the registry could not be applied; not if messages or deferred sites only wait.

    Parameters
    ----------
    as_of : str
        Day of the night, ISO 8601.
    status : int
        Its exit status.
    error : str, optional
        What ended it; None: it ran to its end.
    manifest : Manifest, optional
        Of a night that ran to its end.

    Returns
    -------
    dict or None
        ``as_of, status, error, failed, n_failed, n_deferred, messages_waiting``.
    """
    failed, deferred = (manifest.in_state(state) if manifest else [] for state in ("failed", "deferred"))
    corrections = to_correct(manifest) if manifest else []
    if status in (Exit.DONE, Exit.USAGE) or (status == Exit.SOME_FAILED and not failed and not corrections):
        return None
    text = error or "; ".join(corrections) or None
    if text is None and status == Exit.TRY_LATER and deferred:  # all were: by the same source, as a rule
        text = Counter(site.reason for site in deferred).most_common(1)[0][0]
    return {
        "as_of": as_of,
        "status": status,
        "error": None if text is None else redacted(text)[:MAX_ERROR_LETTERS],
        "failed": [{"site": site.site, "error": site.reason} for site in failed[:MAX_FAILED_SITES]],
        "n_failed": len(failed),
        "n_deferred": len(deferred),
        "messages_waiting": manifest.messages_waiting if manifest else 0,
    }


def event_of(payload: Payload) -> str:
    """Event of a failed night in the outbox: one a night."""
    return f"night/{payload['as_of']}"


def queue(t: Transaction, settings: Settings, payload: Payload) -> None:
    """Put the message into the outbox, unless that of this night is in it already or was sent without the ledger."""
    if not was_sent_directly(settings, payload):
        recipients = address_book(settings).of_operators()
        t.add_notice(event_of(payload), KIND, dict(payload), day=payload["as_of"], recipients=recipients)


def send_directly(settings: Settings, payload: Payload) -> list[Delivery]:
    """Send the message of a night without the ledger, under the id that it would have in the outbox.

    A file in the root of the stores, where there is one, records it, so that it is sent once.
    """
    if was_sent_directly(settings, payload):
        return []
    event, deliveries = event_of(payload), []
    with open_channels(settings) as channels:
        for channel, address in address_book(settings).of_operators():
            name, error = message_id([{"event": event, "channel": channel, "recipient": address}]), None
            try:
                message = compose_operators(KIND, [payload], id=name, time=datetime.now(UTC))
                channels[channel].send(message, address)
            except Exception as problem:  # noqa: BLE001 - one channel must not stop the others
                error = reason_not_sent(problem)
                log.warning("failed night not reported", channel=channel, error=error)
            deliveries.append(Delivery(channel, address, error))
    if any(delivery.error is None for delivery in deliveries):
        try:
            (settings.store.root / DIRECT_REPORT).write_text(event, encoding="utf-8")
        except FileNotFoundError:  # nothing was stored yet
            pass
        except OSError:
            log.warning("the report of the failed night may be repeated: no file can be written", folder="[store] root")
    return deliveries


def was_sent_directly(settings: Settings, payload: Payload) -> bool:
    """Whether the message of a night was sent without the ledger."""
    try:
        return (settings.store.root / DIRECT_REPORT).read_text(encoding="utf-8") == event_of(payload)
    except (OSError, ValueError):
        return False


def report_killed_nights(settings: Settings, ledger: Ledger, run: str) -> None:
    """Report earlier nights that were killed, if nobody has; called by the night `run`, which holds the ledger."""
    payloads = []
    with ledger.transaction() as t:
        for night in t.unfinished_nights():
            if night["id"] == run:
                continue
            payload = _record_last_night(
                t, night, KILLED, "the run was killed, memory ran out, or the machine went down"
            )
            if payload is not None:
                queue(t, settings, payload)
                payloads.append(payload)
    for payload in payloads:
        send_event(settings, ledger, event_of(payload))


def report_last_night(settings: Settings, *, status: int = KILLED, why: str) -> tuple[Payload | None, list[Delivery]]:
    """Report the night that has just failed, unless it has reported itself.

    Parameters
    ----------
    settings : Settings
        Of the installation.
    status : int
        Exit status of a night that left none in the ledger.
    why : str
        What ended such a night.

    Returns
    -------
    payload, deliveries
        What is reported, None if the last night did not fail; and what became of the messages that were not delivered
        before.

    Raises
    ------
    TryLater
        A run holds the ledger.
    """
    try:
        with locked_ledger(settings, "the report of a failed night") as ledger:
            with ledger.transaction() as t:
                night = t.newest_night()
                payload = _record_last_night(t, night, status, why)
                if payload is not None:
                    queue(t, settings, payload)
            if night is not None and night["finished"] is None:
                _write_metrics(settings, ledger, night["started"], status)
            return payload, [] if payload is None else send_event(settings, ledger, event_of(payload))
    except Locked:
        raise
    except MonitorError as error:
        payload = failed_night(today().isoformat(), status, error=f"{why}; {error}")
        assert payload is not None
        return payload, send_directly(settings, payload)


def _record_last_night(t: Transaction, night: Payload | None, status: int, why: str) -> Payload | None:
    """What is to be reported of the last night; records that it ended, if it left no exit status."""
    if night is not None and night["finished"] is None:
        t.end_run(night["id"], status=status, error=why, now=now())
        return failed_night(night["as_of"], status, error=why)
    if night is None or datetime.now(UTC) - datetime.fromisoformat(night["finished"]) > RECENT:
        return failed_night(today().isoformat(), status, error=f"{why}; it left no trace in the ledger")
    manifest = from_json(night["manifest"], Manifest) if night["manifest"] else None
    return failed_night(night["as_of"], night["status"], error=night["error"], manifest=manifest)


def _write_metrics(settings: Settings, ledger: Ledger, began: str, status: int) -> None:
    try:
        write_metrics(settings, ledger, status=status, began=began, ended=now())
    except OSError as error:
        log.warning("metrics not written", error=str(error))
