"""Send the messages that wait in the outbox."""

from collections.abc import Container, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import structlog

from jobs.clock import now
from jobs.episodes import in_episode
from jobs.logs import redacted
from jobs.operator_notices import mass_fall
from jobs.records import from_json
from monitor.alerts.alert import Alert, AlertEvent, AlertState, Notice
from monitor.alerts.messages import write_message
from monitor.alerts.recipients import FILES
from monitor.ledger.ledger import Ledger
from monitor.ledger.transaction import Transaction
from monitor.sites.site import Site
from monitor.verdict.assessment import Assessment

log = structlog.get_logger()


def send(ledger: Ledger, outputs_root: Path, *, release: bool = False) -> tuple[int, int]:
    """Send the messages in the outbox. What cannot be sent stays there for the next run.

    Messages of a night in which too many sites failed at once are held until a person releases them. Messages that are
    outdated by the time they could be sent are withdrawn.

    Parameters
    ----------
    ledger : Ledger
        Opened; its guard is called before each message.
    outputs_root : Path
        Folder under which messages are written.
    release : bool
        Whether held messages are sent too.

    Returns
    -------
    tuple of int
        Number of messages sent, and number of those that still wait.

    Raises
    ------
    TryLater
        The lock was lost: nothing more is sent.
    """
    with ledger.transaction() as t:
        waiting = t.notices("waiting", "held")
        held = set() if release else _hold_mass_falls(t, waiting)
        sites = {values["id"]: values for values in t.sites()} if waiting else {}
    sent = withdrawn = 0
    for row in waiting:
        if row["id"] in held or row["channel"] != FILES:
            continue
        ledger.guard()
        alert = from_json(row["payload"]["alert"], Alert)
        event = AlertEvent(row["payload"]["event"])
        notice = Notice(id=row["event"], alert=alert, event=event, day=date.fromisoformat(row["day"]))
        with ledger.transaction() as t:
            latest, episodes = t.latest_assessment(alert.site), t.episodes(alert.site)
            why = _outdated(t, notice, sites)
            if why is not None:
                t.change_notices([row["id"]], state="withdrawn", error=why)
        if why is not None:
            log.info("message withdrawn", notice=notice.id, why=why)
            withdrawn += 1
            continue
        assert latest is not None  # the assessment that raised the alert
        day, _, values = latest
        assessment = from_json(values, Assessment)
        site = in_episode(from_json(sites[alert.site], Site), episodes, assessment.episode)
        try:
            write_message(notice, site, assessment, outputs_root)
        except Exception as error:
            with ledger.transaction() as t:
                t.change_notices([row["id"]], error=redacted(f"{type(error).__name__}: {error}"))
            log.exception("message not written", notice=notice.id)
            continue
        with ledger.transaction() as t:
            t.change_notices([row["id"]], state="sent", sent=now(), reported_day=day, error=None)
        sent += 1
    return sent, len(waiting) - withdrawn - sent


def _outdated(t: Transaction, notice: Notice, sites: Container[str]) -> str | None:
    """Why a notice that has waited is no news any more; None if it still is."""
    if notice.alert.site not in sites:
        return "its site is retired"
    if notice.event is AlertEvent.RESOLVED:
        return None if t.any_notice_sent(notice.alert.id) else "its alert was never reported"
    alert = t.alert(notice.alert.id)
    is_open = alert is not None and alert["state"] != AlertState.RESOLVED
    return None if is_open else "its alert is resolved by now"


def _hold_mass_falls(t: Transaction, waiting: Sequence[Mapping[str, Any]]) -> set[int]:
    """Hold the notices of nights in which too many sites failed at once; returns their ids.

    Operators learn of it from the log and the exit status.
    """
    bad_news = [row for row in waiting if row["payload"]["event"] != AlertEvent.RESOLVED]
    held: set[int] = set()
    for day in sorted({row["day"] for row in bad_news}):
        notices = [row for row in bad_news if row["day"] == day]
        if fall := mass_fall(t, day):
            why = f"{fall.fell} of {fall.sites} sites fell on {day}"
            why = f"{why}; look at their scenes, then: regrowth alerts release"
            log.error("messages are held", messages=len(notices), why=why)
            t.change_notices([row["id"] for row in notices], state="held", error=why)
            held |= {row["id"] for row in notices}
    return held
