"""Latest changes and how the last nights ended, from the ledger, for the index and its pages."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Final

from jobs.messages.operator_notices import silent_sites
from jobs.reports.manifest import Manifest, exit_status, public, summary
from jobs.runtime.exits import Exit
from jobs.runtime.records import from_json
from monitor.ledger.rows import Payload
from monitor.ledger.transaction import Transaction
from monitor.publish.index.history import Changes, History, Night
from monitor.sites.site import Site
from monitor.verdict.assessment import Assessment

MAX_NIGHTS: Final = 30  # nights that the page of the last nights shows, at most
SINCE_DAYS: Final = (31, 92, 366)  # changes are shown over the first of these in which there are any [day]


def read_history(
    t: Transaction, rows: Sequence[tuple[Site, Assessment]], *, day: date, night: Manifest | None, silence_days: int
) -> History:
    """Latest changes and the last nights, for the pages of a day.

    `rows`: every assessed site with its newest assessment. `night`: the one that writes the pages, which the ledger
    does not show as ended yet. `silence_days`: without a usable scene, in the growing season, after which a site is
    unseen.
    """
    newest = {assessment.site: assessment.last_observed for _, assessment in rows}
    success, _ = t.last_success()
    nights = _nights(t, night)
    done = [one.day for one in nights if one.status == Exit.DONE]
    episodes = t.all_episodes()
    return History(
        nights=nights,
        last_success=max([*done, *([date.fromisoformat(success)] if success else [])], default=None),
        changes=_changes(t, rows, day, episodes),
        unseen=tuple(silent_sites([site for site, _ in rows], newest, episodes, silence_days, day)),
        silence_days=silence_days,
    )


def _nights(t: Transaction, night: Manifest | None) -> tuple[Night, ...]:
    """The last nights, newest first, without repetitions that brought nothing new."""
    shown: list[Night] = []
    for row in reversed(t.nights(3 * MAX_NIGHTS)):
        one = _night_of(row, night)
        newest = max((other.day for other in shown), default=date.min)
        same_day = [other for other in shown if other.day == one.day]
        is_repaired = bool(same_day) and same_day[-1].outcome != "done"
        if one.day > newest or one.outcome != "done" or one.scenes or one.sent or is_repaired:
            shown.append(one)
    return tuple(reversed(shown[-MAX_NIGHTS:]))


def _night_of(row: Payload, running: Manifest | None) -> Night:
    status, counts, error = row["status"], row["summary"], row["error"]
    if running is not None and running.run == row["id"]:
        status, counts = int(exit_status(running)), summary(running)
    if counts is None and row["finished"]:
        began, ended = (datetime.fromisoformat(row[name]) for name in ("started", "finished"))
        counts = {"seconds": (ended - began).total_seconds()}
    error = None if error is None else public(error)
    night = {"day": row["as_of"], "started": row["started"], "status": status, "error": error, **(counts or {})}
    return from_json(night, Night)


def _changes(
    t: Transaction, rows: Sequence[tuple[Site, Assessment]], day: date, episodes: Mapping[str, Sequence[Payload]]
) -> Changes | None:
    """Changes in the shortest of :data:`SINCE_DAYS` in which anything did; None: nothing is older than `day`."""
    first = date.fromisoformat(min(t.first_assessed().values(), default=day.isoformat()))
    changes = None
    for days in SINCE_DAYS:
        since = max(first, day - timedelta(days=days))
        if since < day and (changes is None or since < changes.since):
            changes = _changes_since(t, rows, since, episodes)
        if changes is None or changes.any:
            break
    return changes


def _changes_since(
    t: Transaction, rows: Sequence[tuple[Site, Assessment]], since: date, episodes: Mapping[str, Sequence[Payload]]
) -> Changes:
    statuses = {site: state.status for site, state in t.states(until=since.isoformat()).items() if state.status}
    assessed = {assessment.site: assessment.status for _, assessment in rows}
    night = t.finished_night_before((since + timedelta(days=1)).isoformat())
    judged = [] if night is None else from_json(night["manifest"], Manifest).sites
    gone = [one.site for one in judged if one.site not in assessed]
    current = t.versions() if gone else {}
    retired = [site for site in gone if site not in current]
    names = {site["id"]: (site["name"], site.get("name_zh")) for site in t.all_sites()} if retired else {}
    return Changes(
        since=since,
        before={
            site: statuses[site] for site, status in assessed.items() if site in statuses and status != statuses[site]
        },
        new=tuple(site for site in assessed if site not in statuses),
        replanted=tuple(
            (site, date.fromisoformat(last["start"]))
            for site in assessed
            for last in episodes.get(site, ())[-1:]
            if last["number"] > 1 and (night is None or last["opened"] > night["finished"])
        ),
        retired=tuple(
            {"en": name or site, "zh": name_zh or name or site}
            for site in retired
            for name, name_zh in [names.get(site, (None, None))]
        ),
    )
