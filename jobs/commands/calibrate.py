"""``regrowth calibrate``: the constants of the verdict, set on control ground. No network."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer


def calibrate(
    config: Annotated[
        Path | None, typer.Option("--config", help="Default: REGROWTH_CONFIG, else ./regrowth.toml.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Set the constants of the verdict on control ground where that is due, and show those that hold.

    Safe to run twice: what is set holds until the next growing season is over. A night does the same, one set at a
    time. Exit status: 0 done, 65 there is no site, 75 another run is at work, or the clock is behind the newest run.
    """
    from jobs.kernel_cache import choose_cache
    from jobs.settings import load

    settings = load(config)
    choose_cache(settings.store.root)
    from jobs.calibration import calibrate_due, calibration_json
    from jobs.clock import check_clock
    from jobs.installation import open_ledger, selected_sites
    from jobs.lock import hold_lock

    today = datetime.now(UTC).date()
    with hold_lock(settings.store.root, "a calibration") as lock, open_ledger(settings, lock.check) as ledger:
        check_clock(ledger)
        constants = calibrate_due(settings, ledger, selected_sites(settings, ledger, []), as_of=today, most=None)
    told = [calibration_json(pool, constants) for pool in sorted(constants.members)]
    if as_json:
        typer.echo(json.dumps(told, ensure_ascii=False, indent=2, allow_nan=False))
        return
    for one in told:
        few = "" if one["placebos"] else f"; {one['found']} of the {one['needed']} placebos needed"
        typer.echo(f"{one['tile']} {one['biome']}, {one['sites']} sites: {one['source']}{few} ({one['hash'][:12]})")
        for row in one["table"] if one["placebos"] else ():
            typer.echo(f"  {row['constant']:<20} {row['calibrated']:>9g}  default {row['default']:g}")
