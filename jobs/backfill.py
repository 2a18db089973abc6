"""Fetch the history of new sites ahead of the night. Safe to run again.

    python -m jobs.backfill --site lowood

A night may run at the same time: it defers the landscapes that are being fetched here. With ``--replace`` the store of
a damaged landscape is set aside first (:mod:`jobs.register.replacing`).
"""

from typing import TYPE_CHECKING, Annotated

import typer

from jobs.runtime import console
from jobs.runtime.kernel_cache import choose_cache
from jobs.runtime.progress import progress

if TYPE_CHECKING:
    from jobs.register.replacing import Replaced
    from jobs.runtime.settings import Settings


Replace = Annotated[
    str | None, typer.Option("--replace", metavar="LANDSCAPE", help="Set its damaged store aside; fetch all again.")
]


def backfill(
    config: console.Config = None, site: console.Sites = None, replace: Replace = None, as_json: console.AsJson = False
) -> None:
    """Fetch ahead of the night, from [source] since to now; no verdicts, alerts or pages. Safe to run twice."""
    from jobs.runtime.settings import load

    if replace is not None and site:
        raise typer.BadParameter("a landscape is replaced with all its sites: leave out --site", param_hint="--replace")
    settings = load(config)
    from jobs.runtime.installation import locked_ledger

    with locked_ledger(settings, "a run that is starting"):  # before libraries are loaded, which takes seconds
        pass
    choose_cache(settings.store.local)
    from jobs.night.pipeline import fetch_history
    from jobs.reports.manifest import exit_status
    from jobs.runtime.records import to_json

    console.stop_on_sigterm()
    replaced = None if replace is None else _set_aside(settings, replace)
    with progress("scenes") as report:
        manifest = fetch_history(settings, only=replaced.sites if replaced else site or [], progress=report)
    if as_json:
        names = "as_of sites registry never_offered unread_count unread"
        values = to_json(manifest)
        console.print_json({name: values[name] for name in names.split()})
    else:
        console.print_registry_changes(manifest.registry)
        for result in manifest.sites:
            typer.echo(f"{result.site}: {result.state}; {result.error or f'{len(result.scenes_new)} new scenes'}")
    if replaced is not None and all(result.state == "done" for result in manifest.sites):
        from jobs.register.replacing import differences

        for sentence in differences(settings, replaced):
            typer.echo(f"{replaced.landscape}: {sentence}", err=as_json)
    raise typer.Exit(exit_status(manifest))


def _set_aside(settings: "Settings", landscape: str) -> "Replaced":
    """Set a damaged store aside, and say where it is."""
    from jobs.register.replacing import set_aside

    with progress("rows of the store") as report:
        replaced = set_aside(settings, landscape, progress=report)
    if replaced.damage is not None:
        size = f"{replaced.bytes / 1e6:.1f} MB"
        typer.echo(f"{landscape} is damaged: {replaced.damage}; set aside as {replaced.folder} ({size})", err=True)
    else:
        typer.echo(f"{landscape} was set aside before, or lost: its history is fetched again", err=True)
    return replaced


if __name__ == "__main__":
    console.start(backfill)
