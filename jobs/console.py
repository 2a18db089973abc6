"""What every command shares: shared options, output, progress, and the way an error becomes an exit status."""

import errno
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from jobs.exits import Exit, status_of
from jobs.kernel_cache import choose_cache
from jobs.logs import redacted, set_up_logs
from monitor.errors import MonitorError, as_disk_full

UsageError: Any = typer.BadParameter.__base__
"""Raised for an invalid command line: typer has a name of its own for one kind of it only."""

Config = Annotated[Path | None, typer.Option("--config", help="Default: REGROWTH_CONFIG, else ./regrowth.toml.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
Sites = Annotated[list[str] | None, typer.Option("--site", help="Only this site; repeat for several. Default: all.")]


def new_app(**options: Any) -> typer.Typer:
    """A typer application with the settings that all commands share."""
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, **options)


def start(command: Any) -> None:
    """Run one command by itself, as ``python -m jobs.<entry point>`` does."""
    set_up_logs()
    choose_cache()
    app = new_app()
    app.command()(command)
    main(app)


def main(app: typer.Typer, arguments: list[str] | None = None) -> None:
    """Run a command of an application and exit with its status."""
    if sys.getfilesystemencoding().lower() not in ("utf-8", "utf8"):
        sys.stderr.write("names of files would not be UTF-8, as those of sites are: set LANG=C.UTF-8\n")
        sys.exit(Exit.CONFIGURATION)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(Exit.STOPPED))  # what is half written is taken away first
    try:
        outcome = app(args=arguments, standalone_mode=False)
    except UsageError as error:
        _say(error.format_message())
        sys.exit(Exit.USAGE)
    except typer.Exit as error:
        sys.exit(error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(Exit.STOPPED)
    except MonitorError as error:
        _say(str(error))
        sys.exit(status_of(error))
    except BrokenPipeError:
        sys.exit(Exit.DONE)
    except OSError as error:
        if full := as_disk_full(error, error.filename or "the roots of [store], [ledger] and [outputs]"):
            _say(str(full))
            sys.exit(status_of(full))
        _say(f"{error.filename or 'a file'} cannot be used: {error.strerror or error}")
        sys.exit(Exit.ALL_FAILED if error.errno == errno.EIO else Exit.CONFIGURATION)
    except Exception:  # noqa: BLE001 - the last resort: a bug is told as one, whatever it is
        import structlog

        set_up_logs()
        structlog.get_logger().exception("this is a bug; please report it with the lines above")
        sys.exit(Exit.BUG)
    sys.exit(outcome if isinstance(outcome, int) else Exit.DONE)


def _say(line: str) -> None:
    """One line for a person, on stderr."""
    sys.stderr.write(f"{redacted(line)}\n")


def echo(value: Any) -> None:
    """JSON on stdout; null, never NaN."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False, default=_plain))


def _plain(value: Any) -> str:
    if isinstance(value, date):
        return value.isoformat()
    msg = f"{type(value).__name__} has no JSON form"
    raise TypeError(msg)


def print_line(text: str) -> None:
    """One line of data on stdout."""
    typer.echo(text)


def print_registry(manifest: dict[str, Any]) -> None:
    """How the registry differed from the ledger."""
    for sentence in manifest["registry"]["said"]:
        print_line(f"registry: {sentence}")


@contextmanager
def progress(what: str) -> Iterator[Any]:
    """A progress bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def free(root: Path) -> None:
    """Leave at once where another run is at work: before the libraries are loaded, which takes seconds."""
    from jobs.lock import held

    if root.is_dir():
        with held(root, "a run that is starting"):
            pass


def stop_on_sigterm() -> None:
    """A polite stop is as safe as a hard one: what is committed stays, the next run goes on from there."""
    import structlog

    def stop(_signal: int, _frame: object) -> None:
        structlog.get_logger().warning("stopped by a signal; the next run goes on from here")
        os._exit(Exit.STOPPED)

    signal.signal(signal.SIGTERM, stop)
