"""Fetch the history of new sites ahead of the night. Safe to run again.

    python -m jobs.backfill --site lowood

A night may run at the same time: it defers the landscapes that are being fetched here.
"""

import typer

from jobs import console
from jobs.kernel_cache import choose_cache
from jobs.progress import progress


def backfill(config: console.Config = None, site: console.Sites = None, as_json: console.AsJson = False) -> None:
    """Fetch ahead of the night, from [source] since to now; no verdicts, alerts or pages. Safe to run twice."""
    from jobs.settings import load

    settings = load(config)
    console.fail_if_locked(settings.store.root)
    choose_cache(settings.store.root)
    from jobs.manifest import exit_status
    from jobs.pipeline import fetch_history

    console.stop_on_sigterm()
    with progress("scenes") as report:
        manifest = fetch_history(settings, only=site or [], progress=report)
    if as_json:
        console.print_json(manifest)
    else:
        console.print_registry_changes(manifest)
        for result in manifest["sites"]:
            new = f"{len(result['scenes_new'])} new scenes"
            typer.echo(f"{result['site']}: {result['state']}; {result['error'] or new}")
    raise typer.Exit(exit_status(manifest))


if __name__ == "__main__":
    console.start(backfill)
