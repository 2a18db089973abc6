"""The account of a programme, from the ledger."""

from jobs.answering import precision
from jobs.lots import lot_rows
from jobs.records import from_json
from jobs.settings import Settings
from monitor.ledger.transaction import Transaction
from monitor.publish.programme import Account, programme_account
from monitor.sites.site import Site


def read_account(settings: Settings, t: Transaction) -> Account:
    """The account of all current sites: what ``regrowth programme`` prints and the night publishes."""
    place = {site: number for number, site in enumerate(t.sites_as_registered())}
    sites = sorted((from_json(values, Site) for values in t.sites()), key=lambda site: place[site.id])
    return programme_account(
        sites,
        {site: payload for site, (_, _, payload) in t.latest_assessments().items()},
        pledge=settings.programme.pledge_hectares,
        alpha=settings.alerts.alpha,
        more={"lots": lot_rows(t, sites), "precision": precision(t)},
    )
