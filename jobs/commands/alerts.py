"""``regrowth alerts``: list alerts, and answer them."""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.runtime.clock import today
from jobs.runtime.console import DAY_FORMS, AsJson, Config, installation, new_group, show
from monitor.errors import BadData

if TYPE_CHECKING:
    from monitor.alerts.alert import Alert, AlertEvent

app = new_group("Alerts that were raised, and the answers to them.")

AlertId = Annotated[str, typer.Argument(metavar="ALERT", help="Id of the alert, as `alerts list` shows it.")]
Note = Annotated[str | None, typer.Option(help="What was seen or done, in words.")]


@app.command("list")
def alerts_list(
    config: Config = None,
    every: Annotated[bool, typer.Option("--all", help="Include resolved alerts.")] = False,
    as_json: AsJson = False,
) -> None:
    """Alerts that are not resolved, oldest first."""
    with installation(config) as (_, ledger), ledger.reading() as t:
        alerts = t.alerts(None if every else ["open", "acknowledged", "snoozed"])
    show(alerts, map(_in_words, alerts) if alerts else "No alert." if every else "No open alert.", as_json=as_json)


def _in_words(alert: Mapping[str, Any]) -> str:
    """One line about an alert."""
    answer = f", {alert['answer']}" if alert["answer"] else ""
    reason = f" ({alert['answer_reason']})" if alert["answer_reason"] else ""
    reason += ", unreviewed" if alert.get("unreviewed") else ""
    until = f" until {alert['snoozed_until']}" if alert["snoozed_until"] else ""
    note = f" - {' '.join(alert['note'].split())}" if alert["note"] else ""
    about = f"{alert['level']} by {alert['rule']}, opened {alert['opened']}, {alert['state']}{until}{answer}{reason}"
    return f"{alert['id']}: {about}{note}"


@app.command("ack")
def alerts_ack(alert_id: AlertId, config: Config = None, note: Note = None, as_json: AsJson = False) -> None:
    """Acknowledge an alert: someone is dealing with it."""
    from monitor.alerts.alert import AlertEvent
    from monitor.alerts.lifecycle import acknowledge

    change = partial(acknowledge, note=note, day=today())
    _change(config, alert_id, AlertEvent.ACKNOWLEDGED, change, as_json=as_json)


@app.command("snooze")
def alerts_snooze(
    alert_id: AlertId,
    until: Annotated[datetime, typer.Option(formats=DAY_FORMS, help="Day on which the alert is open again.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Silence an alert until a day, unless it gets worse or its cause is gone."""
    from monitor.alerts.alert import AlertEvent
    from monitor.alerts.lifecycle import snooze

    if until.date() <= today():
        raise typer.BadParameter(f"{until.date()} is not after today", param_hint="--until")
    change = partial(snooze, until=until.date(), day=today())
    _change(config, alert_id, AlertEvent.SNOOZED, change, as_json=as_json)


@app.command("resolve")
def alerts_resolve(
    alert_id: AlertId,
    verdict: Annotated[str, typer.Option(help="confirmed, false-alarm or treated.")],
    config: Config = None,
    reason: Annotated[
        str | None, typer.Option(help="Cause of a false alarm: harvest, snow, cloud, grazing or other.")
    ] = None,
    note: Note = None,
    as_json: AsJson = False,
) -> None:
    """Close an alert with the finding from the field; a newer finding replaces it, and both stay on record.

    A false alarm about a red alert of 95 % or more needs a reason, and does not close it before `alerts review`.
    """
    from jobs.register.alerting import address_book
    from jobs.register.answering import answer_alert
    from jobs.runtime.records import to_json
    from monitor.alerts.alert import FalseAlarmReason, Verdict

    if verdict not in tuple(Verdict):
        raise typer.BadParameter(f"{verdict!r} is none of {', '.join(Verdict)}", param_hint="--verdict")
    if reason is not None and (verdict != Verdict.FALSE_ALARM or reason not in tuple(FalseAlarmReason)):
        msg = f"a false alarm has one of the reasons {', '.join(FalseAlarmReason)}; another verdict has none"
        raise typer.BadParameter(msg, param_hint="--reason")
    cause = FalseAlarmReason(reason) if reason else None
    with installation(config) as (settings, ledger), ledger.transaction() as t:
        operators = address_book(settings).of_operators()
        alert = answer_alert(t, alert_id, Verdict(verdict), cause, note, today(), "command", operators=operators).alert
    waits = ", unreviewed: regrowth alerts review" if alert.unreviewed else ""
    show(to_json(alert), f"{alert_id}: {alert.state}, {alert.answer}{waits}", as_json=as_json)


@app.command("review")
def alerts_review(
    alert_id: AlertId,
    close: Annotated[bool, typer.Option("--close/--reopen", help="Accept the false alarm; or not.")],
    why: Annotated[str, typer.Option(help="Reason, in words. Of an alert that is opened again its manager reads it.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Review a false alarm about a red alert of 95 % or more: close the alert, or open it again for its manager.

    Exit status: 0 reviewed, 65 the alert does not exist, or none of its answers waits for a review.
    """
    from jobs.register.alerting import address_book
    from jobs.register.answering import review_alert
    from jobs.runtime.records import to_json

    with installation(config) as (settings, ledger), ledger.transaction() as t:
        alert = review_alert(t, alert_id, close=close, why=why, managers=address_book(settings).of_site)
    show(to_json(alert), f"{alert_id}: {alert.state}", as_json=as_json)


@app.command("import")
def alerts_import(
    file: Annotated[Path, typer.Argument(help="CSV: id, verdict, reason, note, date; the last three may be empty.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Record findings from the field from a CSV file in UTF-8. Safe to run twice.

    The first line names the columns. The date is the day of the finding; without one it is today. A finding of an
    earlier day than the one that stands is recorded, but does not replace it. Exit status: 0 all lines are recorded,
    65 some are wrong: each is named, and none was recorded.
    """
    from jobs.answers.answers_csv import import_answers
    from jobs.register.alerting import address_book

    with installation(config) as (settings, ledger), ledger.transaction() as t:
        done = import_answers(t, file, address_book(settings).of_operators())
    counts = f"Answers recorded: {len(done.recorded)}; recorded before: {len(done.already)}."
    outdated = [f"{alert_id}: a finding of a later day stands." for alert_id in done.outdated]
    show(done._asdict(), [counts, *outdated], as_json=as_json)


def _change(
    config: Path | None, alert_id: str, event: "AlertEvent", change: Callable[["Alert"], "Alert"], *, as_json: bool
) -> None:
    from jobs.register.alerting import record_event
    from jobs.register.answering import known_alert
    from jobs.runtime.records import to_json

    with installation(config) as (_, ledger), ledger.transaction() as t:
        alert = known_alert(t, alert_id)
        if alert.state == "resolved":
            raise BadData(f"alert {alert_id!r} is resolved already")
        changed = change(alert)
        record_event(t, changed, event, day=today(), by="command")
    show(to_json(changed), f"{alert_id}: {changed.state}", as_json=as_json)
