"""The weekly message "all quiet": a manager who hears nothing cannot know whether all is well or nobody looks."""

from collections.abc import Collection, Sequence
from datetime import date
from typing import Final

from jobs.alerting import address_book
from jobs.records import from_json
from jobs.settings import Settings
from monitor.alerts import words
from monitor.alerts.alert import Alert, AlertState, Verdict
from monitor.alerts.lifecycle import is_answered
from monitor.alerts.recipients import Recipient
from monitor.ledger.transaction import Transaction
from monitor.sites.site import Site

QUIET_DAYS: Final = 7
"""Time without a message, and since the first assessment of any site of the manager, before "all quiet". [day]"""


def add_quiet_notices(
    t: Transaction, settings: Settings, sites: Sequence[Site], *, day: date, not_done: Collection[str] = ()
) -> None:
    """Put a message "all quiet" into the outbox for each manager who got no message for a week and has no open alert.

    Sites with a failure or loss that the manager knows of, and that is still seen, are not among the quiet ones.

    Parameters
    ----------
    t : Transaction
        Reads assessments and alerts.
    settings : Settings
        Recipients.
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
    first_assessed, latest = t.first_assessed(), t.latest_assessments()
    alerts = [from_json(values, Alert) for values in t.alerts()]
    alerted = {alert.site for alert in alerts if alert.state is not AlertState.RESOLVED}
    known = {alert.site for alert in alerts if is_answered(alert) and alert.answer is not Verdict.FALSE_ALARM}
    year, week, _ = day.isocalendar()
    for recipient, theirs in due.items():
        ids = [site.id for site in theirs if site.id not in known]
        first = min((first_assessed[site] for site in ids if site in first_assessed), default=None)
        newest = max((latest[site][0] for site in ids if site in latest), default="")
        unknown = alerted.union(not_done).intersection(ids)
        if first is None or not _is_week_before(first, day) or newest > day.isoformat() or unknown:
            continue
        seen = [latest[site][2]["last_observed"] for site in ids if site in latest]
        newest_scene = max(filter(None, seen), default=None)
        payload = {"sites": ids, "newest": newest_scene, "language": words.language_of(theirs[0])}
        t.add_notice(f"quiet/{year}-W{week:02d}", "quiet", payload, day=day.isoformat(), recipients=[recipient])


def _is_week_before(earlier: str | None, day: date) -> bool:
    """Whether a day is at least a week before another; None, which is never, is."""
    return earlier is None or (day - date.fromisoformat(earlier)).days >= QUIET_DAYS
