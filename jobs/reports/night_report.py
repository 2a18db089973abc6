"""Record how a night ended, notify the operators and write the metrics.

Nothing here changes the exit status of the night, hides its error, or holds it up for long. Heavy libraries are
imported at the end: a night that cannot start must not take seconds to say so.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Final

import structlog

from jobs.register.begin import new_run
from jobs.reports.heartbeat import Heartbeat
from jobs.runtime import console
from jobs.runtime.clock import now
from jobs.runtime.exits import Exit
from jobs.runtime.lock import Locked
from jobs.runtime.logs import redacted
from monitor.errors import MonitorError

if TYPE_CHECKING:
    from jobs.reports.manifest import Manifest
    from jobs.runtime.settings import Settings

log = structlog.get_logger()

NIGHTS: Final = ("a night", "a run that is starting")  # a second night beside these holders is not a failure
LEDGER_WAIT: Final = 3  # for a ledger that the stopped night may hold, or that it waited for already [s]


@dataclass
class NightReport:
    """State of a night while it runs."""

    settings: "Settings"
    as_of: date
    readable: bool  # whether the whole configuration was read; otherwise ledger and outputs are unknown
    heartbeat: Heartbeat
    manifest: "Manifest | None" = None  # set when the night ran to its end
    began: str = field(default_factory=now)
    run: str = field(init=False)  # id under which the night is recorded
    _ended: bool = False

    def __post_init__(self) -> None:
        self.run = new_run("night", self.as_of)

    def end(self, error: BaseException | None, *, stopped: bool = False) -> None:
        """Report how the night ended, once; `stopped`: by a signal, while it holds its locks."""
        if self._ended:
            return
        self._ended = True
        status = Exit.STOPPED if stopped else Exit.DONE if error is None else console.exit_status_of(error)
        _attempt(lambda: self.heartbeat.end(status))
        beside_a_night = isinstance(error, Locked) and error.holder.startswith(NIGHTS)
        if not beside_a_night and status != Exit.USAGE:
            line = "stopped by a signal" if status == Exit.STOPPED else console.error_line(error) if error else None
            _attempt(lambda: self._report(status, line and redacted(line), stopped=stopped))

    def _report(self, status: int, error: str | None, *, stopped: bool) -> None:
        from jobs.reports.failed_night import queue, report_without_ledger, send_now
        from jobs.reports.metrics import write_metrics
        from jobs.reports.night import Night
        from jobs.runtime.installation import open_ledger

        settings = self.settings
        night = Night(as_of=self.as_of, status=status, began=self.began, error=error, manifest=self.manifest)
        if not self.readable:
            report_without_ledger(settings, night)
            return
        try:
            brief = stopped or status == Exit.TRY_LATER
            with open_ledger(settings, lock_wait=LEDGER_WAIT if brief else None) as ledger:
                with ledger.transaction() as t:
                    t.begin_run(self.run, "night", night.as_of.isoformat(), now=night.began)
                    t.end_run(self.run, status=status, error=error, now=night.ended)
                    queue(t, settings, night)
                if night.failure():
                    _attempt(lambda: send_now(settings, ledger, night, locked=stopped))
                _attempt(lambda: write_metrics(settings, ledger, night))
                return
        except Exception as problem:  # noqa: BLE001 - whatever it is, it must not hide the error of the night
            log.warning("the end of the night was not recorded in the ledger", error=str(problem))
        _attempt(lambda: report_without_ledger(settings, night))
        _attempt(lambda: write_metrics(settings, None, night))


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
    """Report the night that runs in the ``with`` block when it ends; its error or exit passes on."""
    report = NightReport(settings, as_of, readable, Heartbeat(settings.heartbeat))
    console.stop_on_sigterm(lambda: report.end(None, stopped=True))
    try:
        yield report
    except BaseException as error:
        report.end(error)
        raise
    report.end(None)
