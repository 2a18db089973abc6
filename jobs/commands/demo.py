"""``regrowth demo``: the whole job on embedded imagery."""

from pathlib import Path
from typing import Annotated

import typer

from jobs.runtime.console import AsJson, stop_on_sigterm
from jobs.runtime.kernel_cache import announcing_compilation
from jobs.runtime.lock import hold_lock, ledger_lock
from jobs.runtime.logs import set_up_logs


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demonstration makes.")] = Path("outputs/demo"),
    seed: Annotated[int, typer.Option(min=0, help="Assigns the fates to the sites.")] = 1,
    as_json: AsJson = False,
) -> None:
    """The whole job on real Sentinel-2 imagery with sites of known fate; no account, no network."""
    if (ledger := out / "regrowth.db").is_file():
        with hold_lock(out, "a demonstration that is starting", ledger_lock(ledger).name):
            pass
    from jobs.install.demonstration import demonstrate

    set_up_logs(quiet=True)
    stop_on_sigterm()
    with announcing_compilation(_announce_compilation):
        raise typer.Exit(demonstrate(out, seed=seed, as_json=as_json))


def _announce_compilation() -> None:
    typer.echo("compiling the kernels once, one to two minutes on two cores", err=True)
