"""``regrowth restore``: put ledger and stores of a backup back, where there are none."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from jobs.runtime.console import AsJson, Config, count_of, show


def restore(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that 'regrowth backup' made.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Restore a backup into an empty ledger and an empty folder of stores. Nothing is overwritten.

    All files are checked first. Exit status: 0 done, 65 the backup is incomplete or altered, 75 a run is at work, 78
    ledger or stores are not empty.
    """
    from jobs.install.restoring import restore as restore_backup
    from jobs.runtime.settings import load

    summary = restore_backup(load(config), folder)
    size = (
        f"{count_of(summary.landscapes, 'landscape')} and a ledger of {summary.rows} rows, {summary.bytes / 1e6:.1f} MB"
    )
    line = f"restored {size}; continue with: regrowth doctor, regrowth publish"
    show({"folder": str(folder), **asdict(summary)}, line, as_json=as_json)
