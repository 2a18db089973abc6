"""Fetch the history of new sites ahead of the night. Safe to run again.

    python -m jobs.backfill --site lowood

A night may run at the same time: it defers the landscapes that are being fetched here.
"""

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
from jobs.kernel_cache import choose_cache


def backfill(
    config: Config = None,
    site: Sites = None,
    as_json: AsJson = False,
) -> None:
    """Fetch ahead of the night, from [source] since to now; no verdicts, alerts or pages. Safe to run twice."""
    from jobs.settings import load

    settings = load(config)
    fail_if_locked(settings.store.root)
    choose_cache(settings.store.root)
    from jobs.pipeline import exit_status, fetch_history

    stop_on_sigterm()
    with progress("sites") as report:
        manifest = fetch_history(settings, only=site or [], progress=report)
    if as_json:
        print_json(manifest)
    else:
        print_registry_changes(manifest)
        for result in manifest["sites"]:
            new = f"{len(result['scenes_new'])} new scenes"
            print_line(f"{result['site']}: {result['state']}; {result['error'] or new}")
    raise typer.Exit(exit_status(manifest))


if __name__ == "__main__":
    start(backfill)
