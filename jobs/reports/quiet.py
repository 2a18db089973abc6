"""The weekly message to managers: a manager who hears nothing cannot know whether all is well or nobody looks.

A site is called quiet if no alert is open, it is not failing, disturbed or lagging, and it was seen lately.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Any, Final

from jobs.messages.operator_notices import silent_sites
from jobs.register.alerting import address_book
from jobs.runtime.records import from_json
from jobs.runtime.settings import Settings
from monitor.alerts import words
from monitor.alerts.alert import Alert, AlertState
from monitor.alerts.lifecycle import is_answered
from monitor.alerts.recipients import Recipient
from monitor.ledger.rows import Payload
from monitor.ledger.transaction import Transaction
from monitor.sites.site import Site
from monitor.verdict.assessment import Status

QUIET_DAYS: Final = 7
"""Time without a message, and since the first assessment of any site of the manager, before a weekly one. [day]"""
NOT_QUIET: Final = (Status.FAILING, Status.DISTURBED, Status.LAGGING)


def add_quiet_notices(
    t: Transaction, settings: Settings, sites: Sequence[Site], *, day: date, not_done: Collection[str] = ()
) -> None:
    """Put the weekly message into the outbox for each manager who got no message for a week.

    Parameters
    ----------
    t : Transaction
        Reads assessments and alerts.
    settings : Settings
        Recipients, and the time after which a site counts as not seen.
    sites : sequence of Site
        All current sites.
    day : date
        The night. One before the newest assessment of a manager's sites adds nothing.
    not_done : collection of str
        Ids of sites that this night failed or deferred: of these nobody knows, and their managers get no message.
    """
    book = address_book(settings)
    sites_of: dict[Recipient, list[Site]] = {}
    for site in sites:
        for recipient in book.of_manager(site):
            sites_of.setdefault(recipient, []).append(site)
    last_messages = t.last_message_days()
    due = {
        recipient: theirs
        for recipient, theirs in sites_of.items()
        if _is_week_before(last_messages.get(recipient), day)
    }
    if not due:
        return
    first_assessed = t.first_assessed()
    latest = {site: one.payload for site, one in t.latest_assessments().items()}
    seen = {site: payload["last_observed"] for site, payload in latest.items()}
    newest_scenes = {site: date.fromisoformat(last) for site, last in seen.items() if last}
    silent = silent_sites(sites, newest_scenes, t.all_episodes(), settings.alerts.silence_days, day)
    alerts: dict[str, list[Alert]] = {}
    for values in t.alerts():
        alert = from_json(values, Alert)
        alerts.setdefault(alert.site, []).append(alert)
    year, week, _ = day.isocalendar()
    for recipient, theirs in due.items():
        ids = [site.id for site in theirs]
        first = min((first_assessed[site] for site in ids if site in first_assessed), default=None)
        newest = max((latest[site]["as_of"] for site in ids if site in latest), default="")
        if first is None or not _is_week_before(first, day) or newest > day.isoformat() or set(not_done) & set(ids):
            continue
        entries = [
            _entry(site, latest.get(site.id, {}), alerts.get(site.id, []), unseen=site.id in silent) for site in theirs
        ]
        quiet = [entry for entry in entries if _is_quiet(entry)]
        payload = {
            "sites": [entry["site"] for entry in quiet], "names": [entry["name"] or entry["site"] for entry in quiet],
            "seen": min((entry["last_observed"] for entry in quiet), default=None),
            "others": [entry for entry in entries if not _is_quiet(entry)],
            "language": words.language_of(theirs[0]),
        }  # fmt: skip
        t.add_notice(f"quiet/{year}-W{week:02d}", "quiet", payload, day=day.isoformat(), recipients=[recipient])


def _entry(site: Site, latest: Mapping[str, Any], alerts: Sequence[Alert], *, unseen: bool) -> Payload:
    """Facts of the weekly message about one site; `latest`: its newest assessment, empty: it has none."""
    unresolved = [alert for alert in alerts if alert.state is not AlertState.RESOLVED]
    return {
        "site": site.id, "name": site.name, "status": latest.get("status"), "theta": latest.get("theta"),
        "last_observed": latest.get("last_observed"), "unseen": unseen or latest.get("last_observed") is None,
        "alerts": [[alert.rule, alert.level.value, alert.opened.isoformat()] for alert in unresolved],
        "answers": [alert.answer for alert in alerts if is_answered(alert)],
    }  # fmt: skip


def _is_quiet(entry: Mapping[str, Any]) -> bool:
    return not entry["alerts"] and not entry["unseen"] and entry["status"] not in NOT_QUIET


def _is_week_before(earlier: str | None, day: date) -> bool:
    """Whether a day is at least a week before another; None, which is never, is."""
    return earlier is None or (day - date.fromisoformat(earlier)).days >= QUIET_DAYS
