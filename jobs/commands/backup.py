"""``regrowth backup``: ledger and stores, consistent with each other, in a new folder."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from jobs.runtime.console import AsJson, Config, count_of, show


def backup(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New folder, best on another disk.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Back up ledger and stores to a new folder. A backup is complete if its folder exists.

    Exit status: 0 done, 75 a run is at work, 78 the folder is not new, 20 the disk is full.
    """
    from jobs.install.backup import back_up
    from jobs.runtime.settings import load

    summary = back_up(load(config), folder, config=config)
    size = f"{summary.files} files, {summary.bytes / 1e6:.1f} MB"
    line = f"{folder}: {count_of(summary.landscapes, 'landscape')} and a ledger of {summary.rows} rows, {size}"
    show({"folder": str(folder), **asdict(summary)}, line, as_json=as_json)
