"""One night: new scenes, assessments, alerts, messages and pages. Safe to run twice.

    python -m jobs.nightly --as-of 2026-06-30

The stages of a night are in :mod:`jobs.pipeline`.
"""

from datetime import UTC, date, datetime
from typing import Annotated

import typer

from jobs.console import (
    AsJson,
    Config,
    Sites,
    fail_if_locked,
    print_json,
    print_line,
    print_registry_changes,
    progress,
    start,
    stop_on_sigterm,
)
from jobs.exits import Exit
from jobs.kernel_cache import choose_cache

LANDSAT_1 = date(1972, 7, 23)
"""Day of its launch: no verdict is asked for a day before."""


def run(
    config: Config = None,
    as_of: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Scenes up to the end of this day, UTC.")
    ] = None,
    site: Sites = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be fetched and sent; write nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """One night: new scenes, assessments, alerts, messages, pages. Safe to run twice.

    Exit status: 0 all sites done, 10 some failed, 20 all failed, 65 bad data, 75 try later, 78 configuration.
    """
    from jobs.settings import load

    today = datetime.now(UTC).date()
    day = as_of.date() if as_of else today
    if day > today:
        msg = f"{day} is in the future; a verdict cannot run ahead of the scenes"
        raise typer.BadParameter(msg, param_hint="--as-of")
    if day < LANDSAT_1:
        msg = f"{day} is before the first satellite that saw the land, Landsat 1 of {LANDSAT_1}"
        raise typer.BadParameter(msg, param_hint="--as-of")
    settings = load(config)
    if not dry_run:
        fail_if_locked(settings.store.root)
        choose_cache(settings.store.root)
    from jobs.pipeline import exit_status, night, plan

    if dry_run:
        planned = plan(settings, as_of=day, only=site or [])
        failed = Exit.SOME_FAILED if planned["sites"] or planned["deferred"] else Exit.CONFIGURATION
        status = failed if planned["failed"] else Exit.DONE
        if as_json:
            print_json(planned)
            raise typer.Exit(status)
        print_registry_changes(planned)
        deferred = (f"{one}: deferred; {why}" for one, why in planned["deferred"].items())
        for error in (*planned["failed"].values(), *deferred):
            print_line(error)
        scenes = sum(len(s["scenes"]) for s in planned["sites"])
        megabytes = sum(s["megabytes"] for s in planned["sites"])
        print_line(f"Would fetch {scenes} scenes of {len(planned['sites'])} sites, about {megabytes:.1f} MB of pixels.")
        requests, seconds = ([s[name] for s in planned["sites"]] for name in ("requests", "eecu_seconds"))
        if requests and None not in requests:
            print_line(f"That is {sum(requests)} requests, and by a rough guess {sum(seconds):.0f} EECU seconds.")
        print_line(f"{planned['messages']} messages are waiting to be sent; more may follow from new scenes.")
        raise typer.Exit(status)
    stop_on_sigterm()
    with progress("sites") as tell:
        manifest = night(settings, as_of=day, only=site or [], progress=tell)
    if as_json:
        print_json(
            {key: manifest[key] for key in ("run", "as_of", "sites", "registry", "messages_waiting", "pages_failed")}
        )
    else:
        print_registry_changes(manifest)
        unwritten = dict(manifest["pages_failed"])
        for one in manifest["sites"]:
            told_ = one["error"] or f"{one['status']}, alert {one['alert']}, {len(one['scenes_new'])} new scenes"
            why = unwritten.pop(one["site"], None)
            print_line(f"{one['site']}: {one['state']}; {told_}{f'; page not written: {why}' if why else ''}")
        for site_id, why in unwritten.items():
            print_line(f"{site_id}: page not written: {why}")
    raise typer.Exit(exit_status(manifest))


if __name__ == "__main__":
    start(run)
