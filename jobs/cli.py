"""``regrowth``: every command a person types.

Data goes to stdout, logs to stderr. Heavy libraries are imported inside the commands, so that help appears at once.
"""

import errno
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from jobs import __version__
from jobs.exits import Exit, status_of
from jobs.kernels import choose_cache
from jobs.logs import redacted, set_up_logs
from monitor.errors import MonitorError, full_disk

LANDSAT_1 = date(1972, 7, 23)
"""Day of its launch: no verdict is asked for a day before."""
UsageError: Any = typer.BadParameter.__base__
"""What is raised for a command line that does not hold: typer has a name of its own for one kind of it only."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
alerts_app = typer.Typer(help="What people have been told, and what they answered.", no_args_is_help=True)
app.add_typer(alerts_app, name="alerts")

Config = Annotated[Path | None, typer.Option("--config", help="Default: REGROWTH_CONFIG, else ./regrowth.toml.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
Sites = Annotated[list[str] | None, typer.Option("--site", help="Only this site; repeat for several. Default: all.")]


def main(arguments: list[str] | None = None) -> None:
    """Run a command and leave with its exit status."""
    if sys.getfilesystemencoding().lower() not in ("utf-8", "utf8"):
        sys.stderr.write("names of files would not be UTF-8, as those of sites are: set LANG=C.UTF-8\n")
        sys.exit(Exit.CONFIGURATION)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(Exit.STOPPED))  # what is half written is taken away first
    try:
        _load_parts()
        outcome = app(args=arguments, standalone_mode=False)
    except UsageError as error:
        _say(error.format_message())
        sys.exit(Exit.USAGE)
    except typer.Exit as error:
        sys.exit(error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(Exit.STOPPED)
    except MonitorError as error:
        _say(str(error))
        sys.exit(status_of(error))
    except BrokenPipeError:
        sys.exit(Exit.DONE)
    except OSError as error:
        if full := full_disk(error, error.filename or "the roots of [store], [ledger] and [outputs]"):
            _say(str(full))
            sys.exit(status_of(full))
        _say(f"{error.filename or 'a file'} cannot be used: {error.strerror or error}")
        sys.exit(Exit.ALL_FAILED if error.errno == errno.EIO else Exit.CONFIGURATION)
    except Exception:  # noqa: BLE001 - the last resort: a bug is told as one, whatever it is
        import structlog

        set_up_logs()
        structlog.get_logger().exception("this is a bug; please report it with the lines above")
        sys.exit(Exit.BUG)
    sys.exit(outcome if isinstance(outcome, int) else Exit.DONE)


def _say(line: str) -> None:
    """One line for a person, on stderr."""
    sys.stderr.write(f"{redacted(line)}\n")


def _version(asked: bool) -> None:
    if asked:
        print_line(__version__)
        raise typer.Exit


@app.callback()
def _regrowth(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Is the restoration work taking hold? Every night, for every site."""
    if context.invoked_subcommand != "status":  # which loads nothing that logs or computes, and is to be quick
        set_up_logs()
        choose_cache()


@app.command()
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
        free(settings.store.root)
        choose_cache(settings.store.root)
    from jobs.nightly import exit_status, night, plan, stop_on_sigterm

    if dry_run:
        planned = plan(settings, as_of=day, only=site or [])
        failed = Exit.SOME_FAILED if planned["sites"] or planned["deferred"] else Exit.CONFIGURATION
        status = failed if planned["failed"] else Exit.DONE
        if as_json:
            echo(planned)
            raise typer.Exit(status)
        print_registry(planned)
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
        echo({key: manifest[key] for key in ("run", "as_of", "sites", "registry", "messages_waiting", "pages_failed")})
    else:
        print_registry(manifest)
        unwritten = dict(manifest["pages_failed"])
        for one in manifest["sites"]:
            told_ = one["error"] or f"{one['status']}, alert {one['alert']}, {len(one['scenes_new'])} new scenes"
            why = unwritten.pop(one["site"], None)
            print_line(f"{one['site']}: {one['state']}; {told_}{f'; page not written: {why}' if why else ''}")
        for site_id, why in unwritten.items():
            print_line(f"{site_id}: page not written: {why}")
    raise typer.Exit(exit_status(manifest))


@app.command()
def backfill(
    config: Config = None,
    site: Sites = None,
    as_json: AsJson = False,
) -> None:
    """Fetch ahead of the night, from [source] since to now; no verdicts, alerts or pages. Safe to run twice."""
    from jobs.settings import load

    settings = load(config)
    free(settings.store.root)
    choose_cache(settings.store.root)
    from jobs.backfill import backfill as fill
    from jobs.nightly import exit_status, stop_on_sigterm

    stop_on_sigterm()
    with progress("sites") as tell:
        manifest = fill(settings, only=site or [], progress=tell)
    if as_json:
        echo(manifest)
    else:
        print_registry(manifest)
        for one in manifest["sites"]:
            new = f"{len(one['scenes_new'])} new scenes"
            print_line(f"{one['site']}: {one['state']}; {one['error'] or new}")
    raise typer.Exit(exit_status(manifest))


@app.command()
def status(config: Config = None, site: Sites = None, as_json: AsJson = False) -> None:
    """Latest assessment of each site."""
    from jobs.settings import load
    from monitor.errors import BadData
    from monitor.ledger.ledger import Ledger

    settings = load(config)
    with closing(Ledger(settings.ledger.url)) as ledger, ledger.reading() as t:
        sites, newest = t.versions().keys(), t.newest()
    if not sites:
        msg = f"there is no site to judge: add one to {settings.registry.path.name}, then: regrowth sites add FILE"
        raise BadData(msg)
    if unknown := sorted(set(site or ()) - sites):
        msg = f"no site {unknown[0]!r} in the ledger; 'regrowth sites list' names those there are"
        raise BadData(msg)
    found = [latest for one, (_, _, latest) in sorted(newest.items()) if not site or one in site]
    if as_json:
        echo(found)
        return
    for one in found:
        told = one["theta"] is not None and one["status"] not in ("insufficient_data", "too_early")
        share = f", {one['theta']:z.0%} of the expected uplift" if told else ""
        print_line(f"{one['site']}: {one['status']}, alert {one['alert']}{share} (as of {one['as_of']})")
    if not found:
        print_line("No site has been assessed yet: regrowth run")


@app.command()
def explain(
    site: Annotated[str, typer.Argument(help="Id of the site.")],
    config: Config = None,
    language: Annotated[str, typer.Option(help="en or zh.")] = "en",
    as_json: AsJson = False,
) -> None:
    """Why a site is judged as it is, in sentences, and what would clear it.

    Exit status: 0 done, 65 it has not been assessed yet; where no scene of it has ever been offered 10, or 78 if that
    holds for all sites.
    """
    from jobs.calibration import used_for
    from jobs.episodes import in_episode
    from jobs.fetch import ground_key
    from jobs.pipeline import chosen_sites, opened
    from jobs.records import assessment_from_json
    from jobs.settings import load
    from jobs.sources import described
    from monitor.errors import BadData
    from monitor.verdict.calibrate import table
    from monitor.verdict.explain import chances, early_news, never_offered
    from monitor.verdict.explain import explain as explanation

    if language not in ("en", "zh"):
        msg = f"{language!r} is neither en nor zh"
        raise typer.BadParameter(msg, param_hint="--language")
    settings = load(config)
    with opened(settings) as ledger:
        (chosen,) = chosen_sites(settings, ledger, [site])
        with ledger.reading() as t:
            latest, records, sight = t.latest(site), t.calibrations(), t.background(ground_key(chosen), "sight")
            episodes, night = t.episodes(site), t.last_night(site)
    if night is not None and site in night.get("never_offered", ()):
        until = date.fromisoformat(night["as_of"])
        why = partial(never_offered, chosen, sources=described(settings.source), until=until)
        sentences = [why(language=language)]
        error = next(one["error"] for one in night["sites"] if one["site"] == site).removeprefix(f"site {site!r}: ")
        if error != why():  # a source has said why
            sentences.append(error)
        if as_json:
            echo({"site": site, "as_of": night["as_of"], "sentences": sentences})
        else:
            print_line("\n".join(sentences))
        everywhere = len(night["never_offered"]) == len(night["sites"])
        raise typer.Exit(Exit.CONFIGURATION if everywhere else Exit.SOME_FAILED)
    if latest is None:
        msg = f"site {site!r} has not been assessed yet: regrowth run"
        raise BadData(msg)
    found = assessment_from_json(latest[2])
    chosen = in_episode(chosen, episodes, found.episode)
    sentences = explanation(found, chosen, language=language)
    sentences += chances(found, language=language) + early_news(found, language=language)
    if as_json:
        used = used_for(found, chosen, records)
        calibration = {
            "hash": found.calibration, "source": found.calibration_source, "dated": found.calibration_dated,
            "placebos": None if used is None else used[1], "table": None if used is None else table(used[0]),
        }  # fmt: skip
        echo(
            {"site": site, "as_of": latest[0], "episode": found.episode, "start": chosen.start, "sentences": sentences,
             "calibration": calibration, "sight": sight}
        )  # fmt: skip
        return
    for sentence in sentences:
        print_line(sentence)


@app.command()
def publish(config: Config = None, as_json: AsJson = False) -> None:
    """Pages, maps and tables from what is stored; no network."""
    from jobs.settings import load

    settings = load(config)
    choose_cache(settings.store.root)
    from jobs.publish import main_publish

    outcomes, sites = main_publish(settings)
    broken = {site: error for site, error in outcomes.items() if error}
    written = sorted(set(outcomes) - set(broken))
    if as_json:
        echo({"rewritten": written, "failed": broken, "root": str(settings.outputs.root)})
    else:
        for site_id, error in broken.items():
            print_line(f"{site_id}: not written; {error}")
        print_line(f"{len(written)} sites rewritten; open {settings.outputs.root / 'index.html'}")
    if broken:
        raise typer.Exit(Exit.SOME_FAILED if len(broken) < sites else Exit.ALL_FAILED)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demonstration makes.")] = Path("outputs/demo"),
    seed: Annotated[int, typer.Option(min=0, help="Deals the fates to the sites.")] = 1,
    as_json: AsJson = False,
) -> None:
    """The whole job on real Sentinel-2 imagery with sites of known fate; no account, no network."""
    free(out / "store")
    from jobs.demo import demo as show
    from jobs.nightly import stop_on_sigterm

    set_up_logs(quiet=True)
    stop_on_sigterm()
    raise typer.Exit(show(out, seed=seed, as_json=as_json))


@alerts_app.command("list")
def alerts_list(
    config: Config = None,
    every: Annotated[bool, typer.Option("--all", help="Resolved ones too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Alerts that are not resolved, oldest first."""
    from jobs.pipeline import opened
    from jobs.settings import load

    with opened(load(config)) as ledger, ledger.reading() as t:
        found = t.alerts(None if every else ["open", "acknowledged", "snoozed"])
    if as_json:
        echo(found)
        return
    for one in found:
        note = f" - {' '.join(one['note'].split())}" if one["note"] else ""
        print_line(f"{one['id']}: {one['level']} by {one['rule']}, {one['state']}, opened {one['opened']}{note}")
    if not found:
        print_line("No open alert.")


Alert = Annotated[str, typer.Argument(help="Id of the alert, as `alerts list` shows it.")]
Note = Annotated[str | None, typer.Option(help="What was seen or done, in words.")]


@alerts_app.command("ack")
def alerts_ack(alert: Alert, config: Config = None, note: Note = None, as_json: AsJson = False) -> None:
    """Someone has taken it on."""
    from monitor.alerts.lifecycle import acknowledge

    _change(config, alert, lambda found: acknowledge(found, note=note), as_json=as_json)


@alerts_app.command("snooze")
def alerts_snooze(
    alert: Alert,
    until: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="Quiet until this day, unless it gets worse.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Quiet until a day, unless it gets worse."""
    from monitor.alerts.lifecycle import snooze

    if until.date() <= datetime.now(UTC).date():
        msg = f"{until.date()} is not after today"
        raise typer.BadParameter(msg, param_hint="--until")
    _change(config, alert, lambda found: snooze(found, until.date()), as_json=as_json)


@alerts_app.command("resolve")
def alerts_resolve(
    alert: Alert,
    verdict: Annotated[str, typer.Option(help="confirmed, false-alarm or treated.")],
    config: Config = None,
    note: Note = None,
    as_json: AsJson = False,
) -> None:
    """Close it with what was found in the field."""
    from monitor.alerts.lifecycle import resolve

    if verdict not in ("confirmed", "false-alarm", "treated"):
        msg = f"{verdict!r} is none of confirmed, false-alarm, treated"
        raise typer.BadParameter(msg, param_hint="--verdict")
    day = datetime.now(UTC).date()
    _change(config, alert, lambda found: resolve(found, answer=verdict, note=note, day=day), as_json=as_json)


@alerts_app.command("release")
def alerts_release(config: Config = None, as_json: AsJson = False) -> None:
    """Send what is held since too many sites fell in one night. Safe to run twice.

    Exit status: 0 all is sent, 10 some could not be, 75 a night is under way.
    """
    from jobs.lock import held
    from jobs.nightly import send
    from jobs.pipeline import opened
    from jobs.settings import load

    settings = load(config)
    with held(settings.store.root, "the sending of messages") as lock, opened(settings, lock.check) as ledger:
        sent, waiting = send(settings, ledger, release=True)
    if as_json:
        echo({"messages_sent": sent, "messages_waiting": waiting})
    else:
        print_line(f"{sent} messages sent, {waiting} still waiting.")
    raise typer.Exit(Exit.SOME_FAILED if waiting else Exit.DONE)


def _change(config: Path | None, alert: str, change: Any, *, as_json: bool) -> None:
    from jobs.pipeline import opened
    from jobs.records import alert_from_json, alert_to_json
    from jobs.settings import load
    from monitor.errors import BadData

    with opened(load(config)) as ledger, ledger.transaction() as t:
        found = [one for one in t.alerts() if one["id"] == alert]
        if not found:
            msg = f"no alert {alert!r}; 'regrowth alerts list --all' names those there are"
            raise BadData(msg)
        if found[0]["state"] == "resolved":
            msg = f"alert {alert!r} is resolved already"
            raise BadData(msg)
        changed = alert_to_json(change(alert_from_json(found[0])))
        t.save_alert(changed)
    if as_json:
        echo(changed)
    else:
        print_line(f"{alert}: {changed['state']}")


def free(root: Path) -> None:
    """Leave at once where another run is at work: before the libraries are loaded, which takes seconds."""
    from jobs.lock import held

    if root.is_dir():
        with held(root, "a run that is starting"):
            pass


def _load_parts() -> None:
    from jobs.assess import assess
    from jobs.calibrate import calibrate
    from jobs.doctor import doctor
    from jobs.programme import programme
    from jobs.sites import app as sites_app
    from jobs.trends import trends

    if not any(group.name == "sites" for group in app.registered_groups):
        app.add_typer(sites_app, name="sites")
        app.command()(assess)
        app.command()(calibrate)
        app.command()(trends)
        app.command()(doctor)
        app.command()(programme)


def echo(value: Any) -> None:
    """JSON on stdout; null, never NaN."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False, default=_plain))


def _plain(value: Any) -> str:
    if isinstance(value, date):
        return value.isoformat()
    msg = f"{type(value).__name__} has no JSON form"
    raise TypeError(msg)


def print_line(text: str) -> None:
    """One line of data on stdout."""
    typer.echo(text)


def print_registry(manifest: dict[str, Any]) -> None:
    """How the registry differed from the ledger."""
    for sentence in manifest["registry"]["said"]:
        print_line(f"registry: {sentence}")


@contextmanager
def progress(what: str) -> Iterator[Any]:
    """A progress bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


if __name__ == "__main__":
    main()
