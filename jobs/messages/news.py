"""Collect what a message about an alert says, from the ledger and the store."""

from collections.abc import Mapping
from datetime import date
from typing import Any, Final
from urllib.parse import quote

import structlog
from shapely.geometry import Polygon

from jobs.register.alerting import address_book
from jobs.register.episodes import in_episode
from jobs.register.promises import judged_site
from jobs.runtime.records import from_json
from jobs.runtime.settings import Settings
from monitor.alerts import words
from monitor.alerts.alert import Alert, AlertEvent
from monitor.alerts.news import AlertNews, SitePicture
from monitor.alerts.words import Language
from monitor.errors import BadData, MonitorError
from monitor.ledger.transaction import Transaction
from monitor.maps.worst_patch import WorstPatch
from monitor.publish.page_files import PAGE_FILES
from monitor.sites.names import folder_name
from monitor.sites.site import Site, ground_key
from monitor.verdict.assessment import Assessment, Status

log = structlog.get_logger()

PULLS_DOWN: Final = 0.5  # share of the plan below which a site pulls its lot down [1]
MAX_MEMBERS: Final = 8  # sites of a lot that a message names, at most


def news_of(t: Transaction, settings: Settings, row: Mapping[str, Any], *, pictures: bool = True) -> AlertNews:
    """Content of the message about a notice of an alert of a site, except the address to answer at.

    `pictures`: a digest shows none. Raises BadData if the site is retired or was never assessed.
    """
    alert = from_json(row["payload"]["alert"], Alert)
    now = t.alert(alert.id)
    event = AlertEvent(row["payload"]["event"])
    values, latest = t.site(alert.site), t.latest_assessment(alert.site)
    if values is None or latest is None:
        raise BadData(f"site {alert.site!r} is retired or was never assessed: there is nothing to report about it")
    assessment = from_json(latest.payload, Assessment)
    registered = judged_site(t, from_json(values, Site), latest.version)
    ground = ground_key(registered)
    # the stored patch is that of the loss while a loss determines status or alert, else that of the failing area
    by_loss = assessment.status is Status.DISTURBED or assessment.alert_rule == "disturbance"
    rule = "disturbance" if by_loss else "failure"
    shown = alert.rule == rule and event is not AlertEvent.RESOLVED
    stored = t.ground_data(ground, "worst_patch") if shown else None
    patch = from_json(stored, WorstPatch) if stored else None
    site = in_episode(registered, t.episodes(alert.site), assessment.episode)
    of_loss = shown and by_loss and assessment.loss_on is not None
    snapshot = t.snapshots([ground]).get(ground) if pictures else None
    before, after = _pictures(settings, site, snapshot, patch, assessment if of_loss else None)
    return AlertNews(
        alert=alert if now is None else from_json(now, Alert),
        event=event,
        number=int(row["payload"]["number"]),
        day=date.fromisoformat(row["day"]),
        site=site,
        assessment=assessment,
        patch=patch,
        before=before,
        now=after,
        of_loss=of_loss,
        page=page_link(settings, alert.site, words.language_of(registered)),
    )


def page_link(settings: Settings, site: str | None, language: Language) -> str | None:
    """Address of the page of a site, or of the overview (None); None where pages are not served."""
    base = settings.outputs.base_url.rstrip("/")
    if not base:
        return None
    folder = "" if site is None else f"sites/{quote(folder_name(site))}/"
    return f"{base}/{folder}{PAGE_FILES[language]}"


def escalation_payload(t: Transaction, settings: Settings, row: Mapping[str, Any]) -> dict[str, Any]:
    """Text about an unanswered alert, for the operators, without the link; raises BadData if the site is retired."""
    alert = row["payload"]["alert"]
    facts = site_facts(t, settings, alert["site"])
    if not facts:
        raise BadData(f"site {alert['site']!r} is retired: there is nothing to report about it")
    days = (date.fromisoformat(row["day"]) - date.fromisoformat(alert["opened"])).days
    return {**row["payload"], **facts, "days": days}


def site_facts(t: Transaction, settings: Settings, key: str) -> dict[str, Any]:
    """Name, manager, addresses and pages of a site by its id, for the operators; nothing about a retired one."""
    values = t.site(key)
    if values is None:
        return {}
    site = from_json(values, Site)
    links = {language: page_link(settings, site.id, language) for language in words.LANGUAGES}
    return {
        "name": {each: words.site_name(site, each) for each in words.LANGUAGES},
        "manager": site.manager_name, "recipients": address_book(settings).of_manager(site),
        "pages": {language: page for language, page in links.items() if page},
    }  # fmt: skip


def lot_payload(t: Transaction, settings: Settings, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Content of the message about the alert of a lot, by its newest verdict; raises BadData if it was never judged."""
    lot = payload["alert"]["site"]
    _, _, record = t.latest_lot_verdicts().get(lot, (None, None, None))
    if record is None:
        raise BadData(f"lot {lot!r} was never judged: there is nothing to report about it")
    latest = t.latest_assessments()
    members = [latest[site].payload for site in record["verdict"]["members"] if site in latest]
    low = [one for one in members if one["theta"] is not None and one["theta"] < PULLS_DOWN]
    low.sort(key=lambda one: (one["theta"], one["site"]))
    base = settings.outputs.base_url.rstrip("/")
    return {
        **payload, "lot": record["lot"], "hectares": record["hectares"],
        "verdict": {name: value for name, value in record["verdict"].items() if name != "members"},
        "members": [{name: one[name] for name in ("site", "status", "theta")} for one in low[:MAX_MEMBERS]],
        "pages": {language: f"{base}/lots/{lot}/{file}" for language, file in PAGE_FILES.items()} if base else {},
    }  # fmt: skip


def _pictures(
    settings: Settings, site: Site, snapshot: str | None, patch: WorstPatch | None, lost: Assessment | None
) -> tuple[SitePicture | None, SitePicture | None]:
    """Pictures of before and after the work, or a loss; a message is sent without one that cannot be read."""
    if snapshot is None:
        return None, None
    from monitor.cube.context_pictures import same_weeks_pair  # these take a second, and the answer pages need none
    from monitor.cube.grid import outline
    from monitor.cube.store import LandscapeStore
    from monitor.cube.stored_site import StoredSite
    from monitor.maps.film import scene_frame
    from monitor.publish.drafts import loss_scenes
    from monitor.publish.pictures import film_rgb

    try:
        landscape = LandscapeStore(settings.store.root / snapshot.rpartition(":")[0])
        stored = StoredSite(landscape, ground_key(site))
        if lost is None:
            pair = same_weeks_pair(stored.pictures(), site.start)
            found = [None if one is None else (date.fromisoformat(one.time[:10]), one.rgb) for one in pair]
        else:
            columns = stored.columns(snapshot)
            scenes = loss_scenes(columns, lost)
            found = [
                None if one is None else (one[0], film_rgb(scene_frame(stored, snapshot, site, columns, one[1])))
                for one in scenes
            ]
        grid = stored.context if lost is None else stored.grid
        line, worst = outline(site.geometry, grid), None if patch is None else outline(Polygon(patch.ring), grid)
        shared: dict[str, Any] = {
            "pixel": abs(grid.resolution.x),
            "outline": line,
            "patch": worst,
            "natural": lost is None,
        }
        before, after = (None if one is None else SitePicture(date=one[0], rgb=one[1], **shared) for one in found)
        return before, after
    except (MonitorError, OSError) as error:
        log.warning("message without pictures", site=site.id, error=str(error))
        return None, None
