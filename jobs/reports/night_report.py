"""What is done at the end of a night, however it ends: record it, notify the operators, write the metrics.

Nothing here changes the exit status of the night, hides its error, or holds it up for long. Heavy libraries are
imported at the end: a night that cannot start must not take seconds to say so.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, Final

import structlog

from jobs.register.begin import new_run
from jobs.reports.heartbeat import Heartbeat
from jobs.runtime import console
from jobs.runtime.clock import now
from jobs.runtime.exits import Exit
from jobs.runtime.lock import Locked, hold_ledger
from jobs.runtime.logs import redacted
from monitor.errors import MonitorError

if TYPE_CHECKING:
    from jobs.reports.manifest import Manifest
    from jobs.runtime.settings import Settings
    from monitor.ledger.ledger import Ledger

log = structlog.get_logger()

NIGHTS: Final = ("a night", "a run that is starting")
"""Holders of the ledger beside which a second night is not a failure: the first one is at work."""
LEDGER_WAIT: Final = 3
"""Longest time that a report waits for a ledger that the stopped night may hold, or for which it waited already. [s]"""


@dataclass
class NightReport:
    """What is known of a night while it runs."""

    settings: "Settings"
    as_of: date
    readable: bool
    """Whether the whole configuration was read; otherwise ledger and outputs are unknown."""
    heartbeat: Heartbeat
    manifest: "Manifest | None" = None
    """Set when the night ran to its end."""
    began: str = field(default_factory=now)
    run: str = field(init=False)
    """Id under which the night is recorded."""
    _ended: bool = False

    def __post_init__(self) -> None:
        self.run = new_run("night", self.as_of)

    def end(self, error: BaseException | None, *, stopped: bool = False) -> None:
        """Report how the night ended, once; `stopped`: by a signal, while it holds its locks."""
        if self._ended:
            return
        self._ended = True
        status = Exit.STOPPED if stopped else Exit.DONE if error is None else console.exit_status_of(error)
        line = "stopped by a signal" if status == Exit.STOPPED else console.error_line(error) if error else None
        text = None if line is None else redacted(line)
        beside_a_night = isinstance(error, Locked) and error.holder.startswith(NIGHTS)
        _attempt(lambda: self.heartbeat.end(status))
        if beside_a_night or status == Exit.USAGE:
            return
        _attempt(lambda: self._report(status, text, stopped=stopped))

    def _report(self, status: int, error: str | None, *, stopped: bool) -> None:
        from jobs.reports.failed_night import failed_night, send_directly
        from jobs.reports.metrics import write_metrics
        from jobs.runtime.installation import open_ledger

        payload = failed_night(self.as_of.isoformat(), status, error=error, manifest=self.manifest)
        if not self.readable:
            if payload is not None:
                _attempt(lambda: send_directly(self.settings, payload))
            return
        times = {"began": self.began, "ended": now()}
        try:
            brief = stopped or status == Exit.TRY_LATER
            with open_ledger(self.settings, lock_wait=LEDGER_WAIT if brief else None) as ledger:
                self._record(ledger, status, error)
                if payload is not None:
                    _queue_and_send(self.settings, ledger, payload, locked=stopped)
                _attempt(lambda: write_metrics(self.settings, ledger, status=status, **times))
        except Exception as problem:  # noqa: BLE001 - whatever it is, it must not hide the error of the night
            log.warning("the end of the night was not recorded in the ledger", error=str(problem))
            if payload is not None:
                _attempt(lambda: send_directly(self.settings, payload))
            _attempt(lambda: write_metrics(self.settings, None, status=status, **times))

    def _record(self, ledger: "Ledger", status: int, error: str | None) -> None:
        """Store how the night ended, unless it did so itself."""
        with ledger.transaction() as t:
            t.begin_run(self.run, "night", self.as_of.isoformat(), now=self.began)
            t.end_run(self.run, status=status, error=error, now=now())


def _queue_and_send(settings: "Settings", ledger: "Ledger", payload: dict[str, Any], *, locked: bool) -> None:
    from jobs.messages.outbox import send_event
    from jobs.reports.failed_night import event_of, queue

    with ledger.transaction() as t:
        queue(t, settings, payload)
    if locked:
        send_event(settings, ledger, event_of(payload))
        return
    try:
        with hold_ledger(ledger, "the report of a failed night"):
            send_event(settings, ledger, event_of(payload))
    except Locked as error:  # the other run sends it
        log.info("the report of the failed night waits in the outbox", why=str(error))


def _attempt(step: Callable[[], object]) -> None:
    """Do one step of a report; an error is logged, since it must not hide that of the night."""
    what = "a step of the report of the night failed; the night itself is unaffected"
    try:
        step()
    except (MonitorError, OSError) as error:
        log.warning(what, error=str(error))
    except Exception:
        log.exception(what)


@contextmanager
def reported(settings: "Settings", as_of: date, *, readable: bool = True) -> Iterator[NightReport]:
    """Report the night that runs in the ``with`` block, which records and reports itself that it begins.

    Its error or exit passes on.
    """
    report = NightReport(settings, as_of, readable, Heartbeat(settings.heartbeat))
    console.stop_on_sigterm(lambda: report.end(None, stopped=True))
    try:
        yield report
    except BaseException as error:
        report.end(error)
        raise
    report.end(None)
