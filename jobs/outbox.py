"""Hand over the messages that wait in the outbox."""

from collections.abc import Container, Sequence

import structlog

from jobs.clock import now
from jobs.episodes import in_episode
from jobs.logs import redacted
from jobs.records import from_json
from jobs.settings import Settings
from monitor.alerts.alert import AlertEvent, AlertState, Notice
from monitor.alerts.lifecycle import is_mass_fall
from monitor.alerts.messages import write_message
from monitor.ledger.ledger import Ledger
from monitor.ledger.transaction import Transaction
from monitor.sites.site import Site
from monitor.verdict.assessment import Assessment

log = structlog.get_logger()


def send(settings: Settings, ledger: Ledger, *, release: bool = False) -> tuple[int, int]:
    """Hand over what is in the outbox; what cannot be handed over is tried again by the next run.

    What comes of a night in which too many sites fell at once is held until a person releases it (`release`). What is
    no news any more by the time it could be sent is withdrawn (:func:`_stale`).

    Returns
    -------
    tuple of int
        How many were handed over, and how many still wait.
    """
    with ledger.transaction() as t:
        waiting = [from_json(values, Notice) for values in t.unsent_notices()]
        held = set() if release else _held(t, waiting)
        sites = {values["id"]: values for values in t.sites()} if waiting else {}
    sent = withdrawn = 0
    for notice in waiting:
        if notice.id in held:
            continue
        ledger.guard()
        with ledger.transaction() as t:
            latest, episodes = t.latest_assessment(notice.alert.site), t.episodes(notice.alert.site)
            why = _stale(t, notice, sites)
            if why is not None:
                t.withdraw_notice(notice.id, why=why, now=now())
        if why is not None:
            log.info("message withdrawn", notice=notice.id, why=why)
            withdrawn += 1
            continue
        assert latest is not None  # that raised the alert
        found = from_json(latest[2], Assessment)
        site = in_episode(from_json(sites[notice.alert.site], Site), episodes, found.episode)
        try:
            write_message(notice, site, found, settings.outputs.root)
        except Exception as error:
            with ledger.transaction() as t:
                t.mark_unsent(notice.id, error=redacted(f"{type(error).__name__}: {error}"))
            log.exception("message not written", notice=notice.id)
            continue
        with ledger.transaction() as t:
            t.mark_sent(notice.id, now=now(), reported_day=latest[0])
        sent += 1
    return sent, len(waiting) - withdrawn - sent


def _stale(t: Transaction, notice: Notice, sites: Container[str]) -> str | None:
    """Why a notice that has waited tells nobody anything; None where it does."""
    if notice.alert.site not in sites:
        return "its site is retired"
    if notice.event is AlertEvent.RESOLVED:
        return None if t.any_notice_sent(notice.alert.id) else "nobody was told of its alert"
    last = t.last_alert(notice.alert.site)
    live = last is not None and last["id"] == notice.alert.id and last["state"] != AlertState.RESOLVED
    return None if live else "its alert is resolved by now"


def _held(t: Transaction, waiting: Sequence[Notice]) -> set[str]:
    """Notices of nights in which too many sites fell at once; operators are told by the log and the exit status."""
    bad = [notice for notice in waiting if notice.event is not AlertEvent.RESOLVED]
    held: set[str] = set()
    for day in sorted({notice.day for notice in bad}):
        of_the_day = [notice for notice in bad if notice.day == day]
        judged = t.sites_assessed_before(day.isoformat())
        fell = judged & {notice.alert.site for notice in of_the_day}
        if is_mass_fall(len(fell), len(judged)):
            why = (
                f"{len(fell)} of {len(judged)} sites fell on {day}; look at their scenes, then: regrowth alerts release"
            )
            log.error("messages are held", messages=len(of_the_day), why=why)
            for notice in of_the_day:
                t.mark_unsent(notice.id, error=f"held: {why}")
            held |= {notice.id for notice in of_the_day}
    return held
