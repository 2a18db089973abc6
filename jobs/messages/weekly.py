"""The weekly brief: once a calendar week for every manager with sites, in its first night."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any, Final

from jobs.messages.news import page_link
from jobs.messages.operator_notices import silent_sites
from jobs.register.alerting import address_book
from jobs.runtime.clock import now
from jobs.runtime.records import from_json
from jobs.runtime.settings import Settings
from monitor.alerts import words
from monitor.alerts.alert import Alert, AlertState
from monitor.alerts.messages.weekly import WEEK, SiteWeek
from monitor.alerts.recipients import AddressBook, Recipient
from monitor.errors import BadData
from monitor.ledger.transaction import Transaction
from monitor.sites.site import Site
from monitor.verdict.assessment import Assessment, Status

GROWTH_DAYS: Final = 28  # time for which the first growth of a site that is too early to judge counts as news [day]


def brief_key(day: date) -> str:
    """Name, in the outbox, of the briefs of the calendar week of a day."""
    year, week, _ = day.isocalendar()
    return f"brief/{year}-W{week:02d}"


def add_briefs(t: Transaction, settings: Settings, sites: Sequence[Site], *, day: date) -> None:
    """Put the brief of the week into the outbox for each manager who has not got it yet.

    None before a week has passed since the first assessment of any of their sites, or in a night before the newest
    assessment.
    """
    if (t.newest_day() or "") > day.isoformat():
        return
    first_assessed, week_ago = t.first_assessed(), (day - timedelta(days=WEEK)).isoformat()
    for recipient, theirs in address_book(settings).managers(sites).items():
        ids = [site.id for site in theirs]
        if min((first_assessed[site] for site in ids if site in first_assessed), default=day.isoformat()) > week_ago:
            continue
        new = t.add_notice(brief_key(day), "weekly", {"sites": ids}, day=day.isoformat(), recipients=[recipient])
        if new and settings.answers.base_url:
            t.make_personal_link(*recipient, now=now())


def sites_of_week(t: Transaction, settings: Settings, row: Mapping[str, Any]) -> list[SiteWeek]:
    """The sites of a brief (row of the outbox) that are still its manager's, as they are now; BadData: none is left."""
    day, sites = date.fromisoformat(row["day"]), sites_left(t, address_book(settings), row)
    if not sites:
        raise BadData("the manager has no site left: there is nothing to report")
    ids = [site.id for site in sites]
    latest = {site: from_json(one.payload, Assessment) for site, one in t.latest_assessments(ids).items()}
    before = t.states(ids, until=(day - timedelta(days=WEEK)).isoformat())
    growing = {site for site, a in latest.items() if a.status is Status.TOO_EARLY and _grows(a.theta_low)}
    if growing:
        earlier = t.latest_assessments(growing, until=(day - timedelta(days=GROWTH_DAYS)).isoformat())
        growing -= {site for site, one in earlier.items() if _grows(one.payload["theta_low"])}
    newest = {site: a.last_observed for site, a in latest.items()}
    never = [site for site in ids if newest.get(site) is None]
    silent = silent_sites(sites, newest, {site: t.episodes(site) for site in never}, settings.alerts.silence_days, day)
    held = {notice["alert"] for notice in t.notices("held")}
    alerts = t.alerts_by_site(ids)
    weeks = []
    for site in sites:
        theirs = [_as_of(from_json(values, Alert), day) for values in alerts.get(site.id, [])]
        known = [alert for alert in theirs if alert.id not in held]
        a, past = latest.get(site.id), before.get(site.id)
        if a is not None and any(alert.held_by is not None for alert in known):
            a = replace(a, theta=None)
        weeks.append(SiteWeek(
            site=site, assessment=a, alerts=known, held=len(known) < len(theirs),
            before=past.status if past else None, unseen=site.id in silent or newest.get(site.id) is None,
            first_growth=site.id in growing,
            page=page_link(settings, site.id, words.language_of(sites[0])),
        ))  # fmt: skip
    return weeks


def sites_left(t: Transaction, book: AddressBook, row: Mapping[str, Any]) -> list[Site]:
    """Sites of a brief that are still those of its manager; `row`: row of the outbox."""
    sites = (from_json(values, Site) for values in t.sites(row["payload"]["sites"]))
    return [site for site in sites if Recipient(row["channel"], row["recipient"]) in book.of_manager(site)]


def _as_of(alert: Alert, day: date) -> Alert:
    """An alert on a day: one that was put off until an earlier day waits for an answer again."""
    over = alert.state is AlertState.SNOOZED and alert.snoozed_until is not None and alert.snoozed_until <= day
    return replace(alert, state=AlertState.OPEN) if over else alert


def _grows(theta_low: float | None) -> bool:
    return theta_low is not None and theta_low > 0
