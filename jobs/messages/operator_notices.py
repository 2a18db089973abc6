"""Notices to the operators that a night puts into the outbox: unanswered red alerts, silent sites, stale sources, and
mass falls.

Managers receive none of them.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import NamedTuple

import structlog

from jobs.imagery.freshness import SourceResult
from jobs.register.alerting import NIGHT, address_book, record_event
from jobs.runtime.records import from_json
from jobs.runtime.settings import Settings
from monitor.alerts.alert import CALLS, Alert, AlertEvent
from monitor.alerts.lifecycle import is_mass_fall
from monitor.alerts.recipients import AddressBook, Recipient
from monitor.ledger.ledger import Ledger
from monitor.ledger.rows import Payload
from monitor.ledger.transaction import Transaction
from monitor.sites.growing_season import GrowingSeason
from monitor.sites.site import Site
from monitor.verdict.assessment import AlertLevel

log = structlog.get_logger()


class MassFall(NamedTuple):
    """A night in which so many sites got worse at once that a fault of sensor or provider is suspected."""

    day: str  # ISO 8601
    fell: int  # number of sites of which an alert opened, opened again or got worse
    sites: int  # number of sites to which that could have happened


def mass_fall(t: Transaction, day: str) -> MassFall | None:
    """The mass fall of the night of a day (ISO 8601); None: there was none."""
    fell, sites = t.sites_that_fell(day), t.sites_that_could_fall(day)
    return MassFall(day, len(fell), len(fell | sites)) if is_mass_fall(len(fell), len(fell | sites)) else None


def report_mass_fall(t: Transaction, fall: MassFall, messages: int, book: AddressBook) -> None:
    """Notify the operators, once, that this number of messages of a mass fall is held."""
    payload = {**fall._asdict(), "messages": messages}
    t.add_notice(f"mass/{fall.day}", "mass_fall", payload, day=fall.day, recipients=book.of_operators())


def notify_operators(
    settings: Settings, ledger: Ledger, sites: Sequence[Site], sources: Sequence[SourceResult] = (), *, as_of: date
) -> None:
    """Put notices about red alerts without answer, silent sites and stale sources into the outbox, else log them."""
    operators = address_book(settings).of_operators()
    with ledger.transaction() as t:
        stale = _newly_stale(t, sources, as_of)
        unanswered = _unanswered(t, {site.id for site in sites}, settings.alerts.escalate_days, as_of)
        written = {site: one.payload["last_observed"] for site, one in t.latest_assessments().items()}
        newest = {site: date.fromisoformat(day) for site, day in written.items() if day is not None}
        silent = silent_sites(sites, newest, t.all_episodes(), settings.alerts.silence_days, as_of)
        if operators:
            for alert in unanswered:
                record_event(t, alert, AlertEvent.ESCALATED, day=as_of, by=NIGHT, recipients=operators)
            for site, last_observed in silent.items():
                _report_silence(t, site, last_observed, operators, as_of)
            for source in stale:
                payload = _stale_payload(source, sources, as_of)
                event = f"source/{source.source}/{source.newest}"
                t.add_notice(event, "source_stale", payload, day=as_of.isoformat(), recipients=operators)
    if (unanswered or silent or stale) and not operators:
        alerts, names, late = [alert.id for alert in unanswered], list(silent), [one.provider for one in stale]
        log.warning(
            "no [operators] to notify", unanswered=alerts[:20], silent=names[:20], sites=len(names), stale=late
        )  # fmt: skip


def _newly_stale(t: Transaction, sources: Sequence[SourceResult], as_of: date) -> list[SourceResult]:
    """Sources that are stale, and were not in the last night: one may offer single scenes, but stay behind."""
    stale = [source for source in sources if source.stale]
    last = t.finished_night_before(as_of.isoformat()) if stale else None
    before = {one["source"] for one in last["manifest"].get("sources", ()) if one["stale"]} if last else ()
    return [source for source in stale if source.source not in before]


def _stale_payload(source: SourceResult, sources: Sequence[SourceResult], as_of: date) -> Payload:
    assert source.newest is not None
    return {
        "provider": source.provider, "newest": source.newest.isoformat(), "days": (as_of - source.newest).days,
        "usual_gap": source.usual_gap,
        "others": [[one.provider, one.scenes_new] for one in sources if one is not source and one.scenes_new],
    }  # fmt: skip


def _unanswered(t: Transaction, sites: set[str], escalate_days: int, as_of: date) -> list[Alert]:
    """Red alerts that nobody has reacted to for so long [day], and that were not escalated since.

    An alert whose message is held is left out: the operators know of it, and the manager does not.
    """
    held = {row["alert"] for row in t.notices("held")}
    due = []
    for alert in (from_json(values, Alert) for values in t.alerts(["open"])):
        if alert.level is not AlertLevel.RED or alert.site not in sites or alert.id in held:
            continue
        events = [event for event in t.events(alert.id) if event["kind"] in (*CALLS, AlertEvent.ESCALATED)]
        waits = events and events[-1]["kind"] != AlertEvent.ESCALATED
        if waits and (as_of - date.fromisoformat(events[-1]["day"])).days >= escalate_days:
            due.append(alert)
    return due


def silent_sites(
    sites: Sequence[Site],
    newest: Mapping[str, date | None],
    episodes: Mapping[str, Sequence[Payload]],
    silence_days: int,
    as_of: date,
) -> dict[str, date | None]:
    """Sites without an accepted scene for so long [day], each with the day of its newest one; None: it has none at all.

    Only days in the growing season count, and none before the start. A site that is too early to judge counts: its
    verdict will rest on the scenes of now. One without any scene counts from the day on which it was registered.
    """
    silent: dict[str, date | None] = {}
    for site in sites:
        last_observed = newest.get(site.id)
        since = max(last_observed or date.fromisoformat(episodes[site.id][0]["opened"][:10]), site.start)
        if (as_of - since).days < silence_days:
            continue
        if GrowingSeason.of(site).count_days(since, as_of) >= silence_days:
            silent[site.id] = last_observed
    return silent


def _report_silence(
    t: Transaction, site: str, last_observed: date | None, operators: Sequence[Recipient], as_of: date
) -> None:
    """Notify the operators of the silence of a site, once until it has a scene again."""
    written = last_observed and last_observed.isoformat()
    payload = {"site": site, "last_observed": written, "days": (as_of - last_observed).days if last_observed else None}
    event = f"silence/{site}/{written or 'never'}"
    t.add_notice(event, "silence", payload, day=as_of.isoformat(), recipients=operators, site=site)
