"""Shared by all commands: options, output, and the mapping of errors to exit statuses."""

import errno
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from jobs.runtime.exits import Exit, status_of
from jobs.runtime.kernel_cache import choose_cache
from jobs.runtime.logs import redacted, set_up_logs
from monitor.errors import MonitorError, as_disk_full

if TYPE_CHECKING:
    from jobs.runtime.settings import Settings
    from monitor.ledger.ledger import Ledger

INTERRUPTED: Final = 130  # what typer returns after an interrupt from the keyboard
REPORT_SECONDS: Final = 10  # longest time that a stopped run takes to report that it was stopped [s]

UsageError: Any = typer.BadParameter.__base__  # raised for invalid usage. typer exports only a subclass of it.

DAY_FORMS: Final = ["%Y-%m-%d", "%Y/%m/%d"]  # forms of a day in options

Config = Annotated[Path | None, typer.Option("--config", help="Default: REGROWTH_CONFIG, else ./regrowth.toml.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
Sites = Annotated[list[str] | None, typer.Option("--site", help="Only this site; repeat for several. Default: all.")]


def new_app(**options: Any) -> typer.Typer:
    """Create a typer application with the settings that all commands share."""
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, **options)


def new_group(help: str) -> typer.Typer:
    """Create an application of named commands, even if there is only one."""
    app = new_app(help=help, no_args_is_help=True)
    app.callback()(lambda: None)
    return app


def start(command: Callable[..., None]) -> None:
    """Run a single command, as ``python -m jobs.<entry point>`` does."""
    set_up_logs()
    choose_cache()
    app = new_app()
    app.command()(command)
    main(app)


def main(app: typer.Typer, arguments: list[str] | None = None) -> None:
    """Run a command of an application and exit with its status."""
    if sys.getfilesystemencoding().lower() not in ("utf-8", "utf8"):
        sys.stderr.write("file names must be UTF-8, because site ids are: set LANG=C.UTF-8\n")
        sys.exit(Exit.CONFIGURATION)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(Exit.STOPPED))  # so that partly written files are removed
    try:
        status = app(args=arguments, standalone_mode=False)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the last resort: any other error is reported as a bug
        status = exit_status_of(error)
        print_error(error, status)
    if status == INTERRUPTED:
        status = Exit.STOPPED
    sys.exit(status if isinstance(status, int) else Exit.DONE)


def exit_status_of(error: BaseException) -> int:
    """Exit status of a command that an error, a signal or a request to exit ends."""
    match error:
        case typer.Exit():
            return int(error.exit_code)
        case SystemExit():
            return error.code if isinstance(error.code, int) else Exit.DONE if error.code is None else Exit.BUG
        case typer.Abort() | KeyboardInterrupt():
            return Exit.STOPPED
        case MonitorError():
            return status_of(error)
        case BrokenPipeError():
            return Exit.DONE
        case OSError():
            if full := _disk_full(error):
                return status_of(full)
            return Exit.ALL_FAILED if error.errno == errno.EIO else Exit.CONFIGURATION
    return Exit.USAGE if isinstance(error, UsageError) else Exit.BUG


def error_line(error: BaseException) -> str | None:
    """The error in one line, with secrets still in it; None: nothing to report."""
    match error:
        case typer.Exit() | SystemExit() | typer.Abort() | KeyboardInterrupt() | BrokenPipeError():
            return None
        case OSError() if not isinstance(error, MonitorError):
            if full := _disk_full(error):
                return str(full)
            return f"{error.filename or 'a file'} cannot be used: {error.strerror or error}"
        case MonitorError():
            return str(error)
    if isinstance(error, UsageError):
        return str(error.format_message()).replace("Value error, ", "")
    return f"{type(error).__name__}: {error}"


def _disk_full(error: OSError) -> MonitorError | None:
    return as_disk_full(error, error.filename or "the roots of [store], [ledger] and [outputs]")


def print_error(error: BaseException, status: int) -> None:
    """Print what went wrong on stderr: one line, and of a bug where it happened. Called where the error is handled."""
    if status == Exit.BUG:
        import structlog

        set_up_logs()
        structlog.get_logger().exception("this is a bug; please report it with the lines above")
    elif line := error_line(error):
        sys.stderr.write("".join(f"{printable(part)}\n" for part in redacted(line).split("\n")))


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout; missing numbers are null, never NaN."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False, default=date.isoformat))


def count_of(number: int, what: str) -> str:
    """A number of things, in words.

    >>> count_of(1, "site"), count_of(0, "site")
    ('1 site', '0 sites')
    """
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def show(value: Any, lines: str | Iterable[str], *, as_json: bool) -> None:
    """Print a result as JSON, or as lines for people, without control characters."""
    if as_json:
        print_json(value)
        return
    for line in [lines] if isinstance(lines, str) else lines:
        typer.echo(printable(line))


def print_registry_changes(registry: Mapping[str, Any]) -> None:
    """Print how the registry differed from the ledger; `registry`: that member of a manifest."""
    for sentence in registry["said"]:
        typer.echo(f"registry: {sentence}")


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, width: int, right: bool = False) -> None:
    """Print a table at least `width` columns wide, after an empty line; `right`: align all but the first column so."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console, table = Console(width=max(width, Console().width)), Table(box=None, pad_edge=False)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if right and number else "left")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))  # text, not markup: names come from the registry
    console.print()
    console.print(table)


def printable(text: str) -> str:
    """Text in which control characters, for instance in names from a registry, are replaced by question marks."""
    return "".join(c if c.isprintable() else "?" for c in text)


@contextmanager
def installation(config: Path | None) -> Iterator[tuple["Settings", "Ledger"]]:
    """The settings of an installation and its ledger, which is closed at the end of the ``with`` block."""
    from jobs.runtime.installation import open_ledger
    from jobs.runtime.settings import load

    settings = load(config)
    with open_ledger(settings) as ledger:
        yield settings, ledger


def stop_on_sigterm(report: Callable[[], None] | None = None) -> None:
    """Exit at once on SIGTERM. What is committed stays, and the next run continues from there.

    `report` is called before, in a thread: the interrupted code may hold any lock. It has :data:`REPORT_SECONDS`.
    """
    import structlog

    def stop(_signal: int, _frame: object) -> None:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(Exit.STOPPED))
        try:
            structlog.get_logger().warning("stopped by a signal; the next run continues from here")
            if report is not None:
                thread = threading.Thread(target=report, daemon=True)
                thread.start()
                thread.join(REPORT_SECONDS)
        finally:
            os._exit(Exit.STOPPED)

    signal.signal(signal.SIGTERM, stop)
