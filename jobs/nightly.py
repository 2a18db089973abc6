"""One night: new scenes, assessments, alerts, messages and pages. Safe to run twice.

    python -m jobs.nightly --as-of 2026-06-30

The stages of a night are in :mod:`jobs.night.pipeline`.
"""

from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from jobs.runtime import console
from jobs.runtime.clock import today
from jobs.runtime.exits import Exit
from jobs.runtime.kernel_cache import announcing_compilation, choose_cache
from jobs.runtime.progress import progress
from monitor.errors import BadConfiguration

if TYPE_CHECKING:
    from jobs.reports.manifest import Manifest
    from jobs.runtime.settings import Settings

LANDSAT_1_LAUNCH = date(1972, 7, 23)  # no night is run for an earlier day: no satellite observed the land
DryRun = Annotated[bool, typer.Option("--dry-run", help="Report what would be fetched and sent; write nothing.")]


def run(
    config: console.Config = None,
    as_of: Annotated[
        datetime | None, typer.Option(formats=console.DAY_FORMS, help="Scenes up to the end of this day, UTC.")
    ] = None,
    site: console.Sites = None,
    dry_run: DryRun = False,
    as_json: console.AsJson = False,
) -> None:
    """One night: new scenes, assessments, alerts, messages, pages. Safe to run twice.

    Exit status: 0 all sites done, 10 part of it failed, 20 all failed, 65 bad data, 75 try later, 78 configuration.
    """
    from jobs.runtime.settings import load

    day = as_of.date() if as_of else today()
    if dry_run:
        _check_day(day)
        _dry_run(load(config), day, site or [], as_json=as_json)
    from jobs.reports.night_report import reported

    try:
        settings = load(config)
    except BadConfiguration as error:
        _report_unreadable(config, day, error)
    with reported(settings, day) as report:
        _check_day(day)
        from jobs.register.begin import begun_night

        with begun_night(settings, day, report.run) as ledger:
            report.heartbeat.start()
            choose_cache(settings.store.local)
            from jobs.night.pipeline import night
            from jobs.reports.manifest import exit_status
            from jobs.runtime.records import to_json

            begun = ledger, report.run
            with progress("scenes") as show, announcing_compilation(_announce_compilation):
                manifest = report.manifest = night(settings, as_of=day, only=site or [], progress=show, begun=begun)
        if as_json:
            names = "run as_of sites registry messages_waiting pages_failed self_check unread_count unread"
            values = to_json(manifest)
            console.print_json({name: values[name] for name in names.split()})
        else:
            _print_manifest(manifest)
        raise typer.Exit(exit_status(manifest))


def _announce_compilation() -> None:
    import structlog

    structlog.get_logger().info("compiling the kernels once, one to two minutes on two cores")


def _check_day(day: date) -> None:
    if day > today():
        msg = f"{day} is in the future; a night cannot run ahead of the scenes"
        raise typer.BadParameter(msg, param_hint="--as-of")
    if day < LANDSAT_1_LAUNCH:
        msg = f"{day} is before {LANDSAT_1_LAUNCH}, the launch of Landsat 1, the first satellite to observe the land"
        raise typer.BadParameter(msg, param_hint="--as-of")


def _dry_run(settings: "Settings", day: date, only: list[str], *, as_json: bool) -> NoReturn:
    from jobs.night.pipeline import plan

    planned = plan(settings, as_of=day, only=only)
    (console.print_json if as_json else _print_plan)(planned)
    if planned["failed"]:
        raise typer.Exit(Exit.SOME_FAILED if planned["sites"] or planned["deferred"] else Exit.CONFIGURATION)
    raise typer.Exit(Exit.TRY_LATER if planned["deferred"] and not planned["sites"] else Exit.DONE)


def _report_unreadable(config: Path | None, day: date, error: BadConfiguration) -> NoReturn:
    """Report that the configuration is invalid, by the sections that are not."""
    from jobs.reports.night_report import reported
    from jobs.runtime.settings import load_readable

    readable = load_readable(config)
    if readable is not None:
        with reported(readable, day, readable=False):
            raise error
    raise error


def _print_plan(planned: dict[str, Any]) -> None:
    console.print_registry_changes(planned["registry"])
    for error in planned["failed"].values():
        typer.echo(error)
    for site, reason in planned["deferred"].items():
        typer.echo(f"{site}: deferred; {reason}")
    for site, reason in planned["few_controls"].items():
        typer.echo(f"{site}: {reason}")
    sites = planned["sites"]
    scenes = sum(len(site["scenes"]) for site in sites)
    megabytes = sum(site["megabytes"] for site in sites)
    what = f"{console.count_of(scenes, 'scene')} of {console.count_of(len(sites), 'site')}"
    typer.echo(f"Would fetch {what}, about {megabytes:.1f} MB of pixels.")
    requests, seconds = ([site[name] for site in sites] for name in ("requests", "eecu_seconds"))
    if any(requests) and None not in requests:
        typer.echo(f"That is {sum(requests)} requests and, roughly estimated, {sum(seconds):.0f} EECU seconds.")
    if (use := planned["earthengine"]) is not None:
        of = "" if use["budget_hours"] is None else f" of {use['budget_hours']:g}"
        more = sum(value or 0 for value in seconds) / 3600
        used = f"{use['used_hours']:.2f}{of} EECU hours used in this month"
        typer.echo(f"Earth Engine, estimated: {used}, {more:.2f} more needed.")
    typer.echo(f"{planned['messages']} messages are waiting to be sent; new scenes may add more.")


def _print_manifest(manifest: "Manifest") -> None:
    from jobs.reports.manifest import source_sentences, unread_sentence

    console.print_registry_changes(manifest.registry)
    page_errors = dict(manifest.pages_failed)
    for result in manifest.sites:
        new = f"{result.status}, alert {result.alert}, {len(result.scenes_new)} new scenes"
        page_error = page_errors.pop(result.site, None)
        page = f"; page not written: {page_error}" if page_error else ""
        typer.echo(f"{result.site}: {result.state}; {result.error or new}{page}")
    for site, page_error in page_errors.items():
        typer.echo(f"{site}: page not written: {page_error}")
    for sentence in (*source_sentences(manifest), unread_sentence(manifest)):
        if sentence:
            typer.echo(sentence)


if __name__ == "__main__":
    console.start(run)
