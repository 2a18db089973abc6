"""``regrowth alerts``: list alerts, answer them, and release held messages."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from jobs.console import AsJson, Config, new_app, print_json, print_line
from jobs.exits import Exit

app = new_app(help="What people have been told, and what they answered.", no_args_is_help=True)


@app.command("list")
def alerts_list(
    config: Config = None,
    every: Annotated[bool, typer.Option("--all", help="Resolved ones too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Alerts that are not resolved, oldest first."""
    from jobs.installation import open_ledger
    from jobs.settings import load

    with open_ledger(load(config)) as ledger, ledger.reading() as t:
        found = t.alerts(None if every else ["open", "acknowledged", "snoozed"])
    if as_json:
        print_json(found)
        return
    for one in found:
        note = f" - {' '.join(one['note'].split())}" if one["note"] else ""
        print_line(f"{one['id']}: {one['level']} by {one['rule']}, {one['state']}, opened {one['opened']}{note}")
    if not found:
        print_line("No open alert.")


Alert = Annotated[str, typer.Argument(help="Id of the alert, as `alerts list` shows it.")]
Note = Annotated[str | None, typer.Option(help="What was seen or done, in words.")]


@app.command("ack")
def alerts_ack(alert: Alert, config: Config = None, note: Note = None, as_json: AsJson = False) -> None:
    """Someone has taken it on."""
    from monitor.alerts.lifecycle import acknowledge

    _change(config, alert, lambda found: acknowledge(found, note=note), as_json=as_json)


@app.command("snooze")
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


@app.command("resolve")
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


@app.command("release")
def alerts_release(config: Config = None, as_json: AsJson = False) -> None:
    """Send what is held since too many sites fell in one night. Safe to run twice.

    Exit status: 0 all is sent, 10 some could not be, 75 a night is under way.
    """
    from jobs.installation import open_ledger
    from jobs.lock import hold_lock
    from jobs.outbox import send
    from jobs.settings import load

    settings = load(config)
    with hold_lock(settings.store.root, "the sending of messages") as lock, open_ledger(settings, lock.check) as ledger:
        sent, waiting = send(settings, ledger, release=True)
    if as_json:
        print_json({"messages_sent": sent, "messages_waiting": waiting})
    else:
        print_line(f"{sent} messages sent, {waiting} still waiting.")
    raise typer.Exit(Exit.SOME_FAILED if waiting else Exit.DONE)


def _change(config: Path | None, alert: str, change: Any, *, as_json: bool) -> None:
    from jobs.installation import open_ledger
    from jobs.records import from_json, to_json
    from jobs.settings import load
    from monitor.alerts.alert import Alert
    from monitor.errors import BadData

    with open_ledger(load(config)) as ledger, ledger.transaction() as t:
        found = [one for one in t.alerts() if one["id"] == alert]
        if not found:
            msg = f"no alert {alert!r}; 'regrowth alerts list --all' names those there are"
            raise BadData(msg)
        if found[0]["state"] == "resolved":
            msg = f"alert {alert!r} is resolved already"
            raise BadData(msg)
        changed = to_json(change(from_json(found[0], Alert)))
        t.save_alert(changed)
    if as_json:
        print_json(changed)
    else:
        print_line(f"{alert}: {changed['state']}")
