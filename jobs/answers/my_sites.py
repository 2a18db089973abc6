"""Read the sites of one manager from the ledger, for the page "my sites", the form of its alerts and its waypoints."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date

from jobs.messages.news import news_of, page_link
from jobs.register.alerting import address_book
from jobs.register.episodes import in_episode
from jobs.register.promises import judged_site
from jobs.runtime.records import from_json
from jobs.runtime.settings import Settings
from monitor.alerts import words
from monitor.alerts.alert import LOT, Alert, AlertEvent, AlertState, Verdict
from monitor.alerts.answer_page import Question, SiteLine
from monitor.alerts.lifecycle import is_answered, shown_alert
from monitor.alerts.messages.progress import progress
from monitor.alerts.recipients import Recipient
from monitor.ledger.transaction import Transaction
from monitor.maps.worst_patch import WorstPatch
from monitor.publish.growth_chart import growth_chart
from monitor.sites.site import Site, ground_key
from monitor.verdict.assessment import Assessment
from monitor.verdict.growth import growth_from_json


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerSites:
    """The sites that reach a manager now, with what is known about them."""

    manager: Recipient
    sites: Sequence[Site]
    language: words.Language  # of the first site
    lines: Sequence[SiteLine]
    alerts: Sequence[Alert]  # those that can be answered: not resolved, or answered while their cause is still seen
    patches: dict[str, WorstPatch]  # worst patch by site, where it is known

    @property
    def name(self) -> str:
        """Name of the manager, as the registry has it; empty: none."""
        return next((site.manager_name for site in self.sites if site.manager_name), "")


def sites_of_manager(t: Transaction, settings: Settings, manager: Recipient) -> list[Site]:
    """The registered sites that reach a manager, by id."""
    some = [values for values in t.sites() if manager.address in (values.get("manager_email") or "")]  # few are decoded
    return address_book(settings).managers(from_json(values, Site) for values in some).get(manager, [])


def read_manager_sites(
    t: Transaction, settings: Settings, manager: Recipient, language: words.Language | None
) -> ManagerSites:
    """The sites of a manager; `language`: of the charts, None: that of the first site."""
    sites = sites_of_manager(t, settings, manager)
    language = language or (words.language_of(sites[0]) if sites else "en")
    ids = [site.id for site in sites]
    latest, alerts = t.latest_assessments(ids), t.alerts_by_site(ids)
    data = t.data_of([ground_key(site) for site in sites])
    lines, answerable, patches = [], [], {}
    for site in sites:
        page, stored = page_link(settings, site.id, language), latest.get(site.id)
        if stored is None:
            lines.append(SiteLine(site=site, assessment=None, alert=None, page=page))
            continue
        theirs = [from_json(values, Alert) for values in alerts[site.id]]
        answerable += [one for one in theirs if one.rule != LOT and can_be_answered(one)]
        known, assessment = data[ground_key(site)], from_json(stored.payload, Assessment)
        if patch := known.get("worst_patch"):
            patches[site.id] = from_json(patch, WorstPatch)
        seen = growth_from_json(known.get("growth"))
        judged = in_episode(judged_site(t, site, stored.version), t.episodes(site.id), assessment.episode)
        line = SiteLine(
            site=judged, assessment=assessment, alert=shown_alert(theirs, assessment), page=page,
            progress=progress(assessment, seen, language),
            chart=growth_chart(seen, judged, assessment, size="row", language=language),
        )  # fmt: skip
        lines.append(line)
    return ManagerSites(
        manager=manager, sites=sites, language=language, lines=lines, alerts=answerable, patches=patches
    )


def can_be_answered(alert: Alert) -> bool:
    """Whether an alert waits for an answer, or has one that can still be changed."""
    return alert.state is not AlertState.RESOLVED or is_answered(alert)


def questions_of(
    t: Transaction, settings: Settings, theirs: ManagerSites, chosen: Collection[str] | None, most: int
) -> list[Question]:
    """At most `most` questions about alerts of a manager, those that have waited longest first.

    `chosen`: ids, of which those that cannot be answered are left out; None: all open alerts.
    """
    asked = [one for one in theirs.alerts if (one.state is AlertState.OPEN if chosen is None else one.id in chosen)]
    asked.sort(key=lambda alert: (alert.opened, alert.id))
    charts = {line.site.id: line.chart for line in theirs.lines}
    questions = []
    for alert in asked[:most]:
        events = t.events(alert.id)
        number, day = (events[-1]["number"], events[-1]["day"]) if events else (0, alert.updated.isoformat())
        values = t.alert(alert.id)
        row = {"payload": {"alert": values, "event": AlertEvent.OPENED, "number": number}, "day": day}
        news = news_of(t, settings, row, pictures=False)
        questions.append(
            Question(news=news, number=number, answered=answer_of(t, alert), chart=charts.get(alert.site, ""))
        )
    return questions


def answer_of(t: Transaction, alert: Alert) -> tuple[date, Verdict] | None:
    """Day and finding of the answer that counts; None: not answered."""
    if alert.answer is None:
        return None
    answers = [event for event in t.events(alert.id) if event["kind"] == AlertEvent.ANSWERED]
    return (date.fromisoformat(answers[-1]["day"]) if answers else alert.updated), alert.answer
