"""The account of a programme, from the ledger."""

from collections.abc import Mapping
from datetime import date

from jobs.proof.sound_assessments import sound_or_error
from jobs.register.answering import precision
from jobs.register.lots import lot_rows
from jobs.runtime.records import current_sites, from_json
from jobs.runtime.settings import Settings
from monitor.ledger.assessments import StoredAssessment
from monitor.ledger.rows import Payload
from monitor.ledger.transaction import Transaction
from monitor.publish.programme import Account, programme_account
from monitor.sites.promise import promised_on
from monitor.sites.site import Site, ground_key
from monitor.verdict.lots import Member
from monitor.verdict.programme_list import programme_posterior


def read_account(settings: Settings, t: Transaction, latest: Mapping[str, StoredAssessment] | None = None) -> Account:
    """The account of all current sites, as ``regrowth programme`` prints it and the night publishes it.

    `latest`: sound assessments by site; None: they are read, and BadData is raised if a newest one is damaged.
    """
    latest = sound_or_error(t) if latest is None else latest
    place = {site: number for number, site in enumerate(t.sites_as_registered())}
    sites = sorted(current_sites(t), key=lambda site: place[site.id])
    valid, stored = _valid_assessments(t, sites, latest), t.all_ground_data("seasons")
    judged = [site for site in sites if site.id in valid and ground_key(site) in stored]
    return programme_account(
        sites,
        valid,
        pledge=settings.programme.pledge_hectares,
        alpha=settings.alerts.alpha,
        posterior=programme_posterior([from_json(stored[ground_key(site)]["member"], Member) for site in judged]),
        more={"lots": lot_rows(t, sites), "precision": precision(t)},
    )


def _valid_assessments(t: Transaction, sites: list[Site], latest: Mapping[str, StoredAssessment]) -> dict[str, Payload]:
    """Latest assessment of each site, unless what is judged was edited, or the site was replanted, since.

    One of a day before its promise was changed stays. Without one, the next night judges what is registered now.
    """
    episodes, versions, promises = t.all_episodes(), t.versions(), t.all_promises()
    valid = {}
    for site in (site for site in sites if site.id in latest):
        newest = latest[site.id]
        then = promised_on(site, promises.get(site.id, ()), date.fromisoformat(newest.as_of))
        edited = newest.version != versions[site.id]
        if edited and not _judged_alike(t.site_version(site.id, newest.version), then):
            continue
        if newest.payload.get("episode", 1) == episodes[site.id][-1]["number"]:
            valid[site.id] = newest.payload
    return valid


def _judged_alike(before: Payload | None, site: Site) -> bool:
    """Whether a verdict on an earlier version of a site, None: unknown, is also one on this version."""
    if before is None:
        return False
    old = from_json(before, Site)
    names = ("plan", "intervention", "cohorts")
    return ground_key(old) == ground_key(site) and all(getattr(old, name) == getattr(site, name) for name in names)
