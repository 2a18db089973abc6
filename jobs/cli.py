"""``regrowth``: registers the commands.

Heavy libraries are imported inside the commands, so that help appears at once.
"""

from typing import Annotated

import typer

from jobs import __version__
from jobs.backfill import backfill
from jobs.commands import alerts, audit, field, keys, managers, notify, outbox, sites, source
from jobs.commands.assess import assess
from jobs.commands.backup import backup
from jobs.commands.calibrate import calibrate
from jobs.commands.demo import demo
from jobs.commands.doctor import doctor
from jobs.commands.evidence import evidence
from jobs.commands.explain import explain
from jobs.commands.export import export
from jobs.commands.failed_night import notify_failed_night
from jobs.commands.programme import programme
from jobs.commands.recompute import recompute
from jobs.commands.restore import restore
from jobs.commands.serve import serve
from jobs.commands.status import status
from jobs.commands.trends import trends
from jobs.commands.verify import verify
from jobs.nightly import run
from jobs.publish import publish
from jobs.runtime import console
from jobs.runtime.kernel_cache import choose_cache
from jobs.runtime.logs import set_up_logs

app = console.new_app(no_args_is_help=True)
COMMANDS = (
    run, backfill, status, explain, export, evidence, publish, demo, assess, calibrate, trends, doctor, programme,
    backup, restore, serve, verify, recompute,
)  # fmt: skip
QUICK_COMMANDS = ("status", "verify", "keys")  # they neither log nor compute, and leave nothing behind
for command in COMMANDS:
    app.command()(command)
alerts.app.command("outbox")(outbox.alerts_outbox)
alerts.app.command("release")(outbox.alerts_release)
notify.app.command("failed-night")(notify_failed_night)
for group in (alerts, audit, field, keys, managers, notify, sites, source):
    app.add_typer(group.app, name=group.__name__.rpartition(".")[2])


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with its status."""
    console.main(app, arguments)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _regrowth(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Is the restoration work taking hold? Every night, for every site."""
    if context.invoked_subcommand not in QUICK_COMMANDS:
        set_up_logs()
        choose_cache()


if __name__ == "__main__":
    main()
