"""``regrowth notify failed-night``: for a night that was killed, and so cannot report itself."""

import os
import signal
from typing import Final

import typer

from jobs.runtime.console import AsJson, Config, print_json, printable
from jobs.runtime.exits import Exit

RESULTS: Final = {  # results of a systemd service; with any other it was killed
    "oom-kill": "the run was killed because memory ran out",
    "timeout": "the run was killed because it exceeded the time limit of its unit",
    "watchdog": "the run was killed because it hung",
    "exit-code": "the run ended before it could report itself",
    "resources": "the run could not be started",
}


def notify_failed_night(config: Config = None, as_json: AsJson = False) -> None:
    """Report the last night to the operators if it failed and did not report itself: for OnFailure= of systemd.

    Exit status: 0 it was reported, now or before, or did not fail; 10 an operator could not be reached, and the message
    waits for the next night; 75 a run is at work.
    """
    from jobs.register.alerting import address_book
    from jobs.reports.failed_night import WHY_KILLED, report_last_night
    from jobs.runtime.settings import load

    settings = load(config)
    why = RESULTS.get(os.environ.get("MONITOR_SERVICE_RESULT", ""), WHY_KILLED)
    night, deliveries = report_last_night(settings, status=_exit_status(), why=why)
    failed = night.failure() is not None
    undelivered = [delivery for delivery in deliveries if delivery.error is not None]
    if as_json:
        rows = [delivery._asdict() for delivery in deliveries]
        print_json({"as_of": night.as_of if failed else None, "status": night.status if failed else None, "sent": rows})
    elif not failed:
        typer.echo("The last night did not fail.")
    elif not address_book(settings).of_operators():
        typer.echo(f"The night of {night.as_of} failed. Nobody was notified: [operators] channels is empty.")
    elif not deliveries:
        typer.echo(f"The night of {night.as_of} failed and was reported before.")
    else:
        for delivery in deliveries:
            to = f" to {delivery.recipient}" if delivery.recipient else ""
            state = "reported" if delivery.error is None else f"NOT reported: {delivery.error}"
            typer.echo(printable(f"night of {night.as_of}, {delivery.channel}{to}: {state}"))
    raise typer.Exit(Exit.SOME_FAILED if undelivered else Exit.DONE)


def _exit_status() -> int:
    """Exit status of the unit that failed, which systemd passes to the unit in its OnFailure=; else that of SIGKILL."""
    code, status = (os.environ.get(f"MONITOR_EXIT_{name}", "") for name in ("CODE", "STATUS"))
    if code == "exited" and status.isdigit():
        return int(status)
    number = signal.Signals.__members__.get(f"SIG{status}", signal.SIGKILL)
    return 128 + int(number)
