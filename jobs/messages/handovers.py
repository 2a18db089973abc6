"""A note to a manager whose site was handed to somebody else, once."""

from collections.abc import Sequence
from datetime import date

from jobs.register.alerting import address_book
from jobs.runtime.records import from_json
from jobs.runtime.settings import Settings
from monitor.alerts import words
from monitor.alerts.recipients import Recipient
from monitor.ledger.transaction import Transaction
from monitor.sites.site import Site


def add_handover_notes(t: Transaction, settings: Settings, sites: Sequence[Site], *, day: date) -> None:
    """Put a note into the outbox for each recipient who was sent messages about a site as its manager and is not now.

    An address or channel under which the same person (`manager_name`) is still the manager gets none: that person hears
    of the site at the new one. No note names the new manager.
    """
    book = address_book(settings)
    current = {site.id: site for site in sites}
    for (key, *address), notice in t.last_notices_about_sites().items():
        recipient, site = Recipient(*address), current.get(key)
        if site is None or recipient in book.of_manager(site):
            continue
        versions = (from_json(values, Site) for values in t.site_versions(key))
        before = next((version for version in versions if recipient in book.of_manager(version)), None)
        if before is None or (before.manager_name and before.manager_name == site.manager_name):
            continue
        language = words.language_of(before)
        payload = {
            "site": key, "name": words.site_name(site, language), "language": language, "day": day.isoformat(),
            "to": "manager" if book.of_manager(site) else "operators",
        }  # fmt: skip
        event = f"handover/{key}/{notice}"
        t.add_notice(event, "handover", payload, day=day.isoformat(), recipients=[recipient], site=key)
