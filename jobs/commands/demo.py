"""``regrowth demo``: the whole job on embedded imagery."""

from pathlib import Path
from typing import Annotated

import typer

from jobs.console import AsJson, fail_if_locked, stop_on_sigterm
from jobs.logs import set_up_logs


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demonstration makes.")] = Path("outputs/demo"),
    seed: Annotated[int, typer.Option(min=0, help="Assigns the fates to the sites.")] = 1,
    as_json: AsJson = False,
) -> None:
    """The whole job on real Sentinel-2 imagery with sites of known fate; no account, no network."""
    fail_if_locked(out / "store")
    from jobs.demonstration import demonstrate

    set_up_logs(quiet=True)
    stop_on_sigterm()
    raise typer.Exit(demonstrate(out, seed=seed, as_json=as_json))
