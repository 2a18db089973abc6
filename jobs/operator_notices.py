"""Notices to the operators that a night puts into the outbox: mass falls."""

from typing import NamedTuple

from monitor.alerts.lifecycle import is_mass_fall
from monitor.alerts.recipients import AddressBook
from monitor.ledger.transaction import Transaction


class MassFall(NamedTuple):
    """A night in which so many sites got worse at once that a fault of sensor or provider is suspected."""

    day: str
    """ISO 8601."""
    fell: int
    """Number of sites of which an alert opened, opened again or got worse."""
    sites: int
    """Number of sites to which that could have happened."""


def mass_fall(t: Transaction, day: str) -> MassFall | None:
    """The mass fall of the night of a day (ISO 8601); None: there was none."""
    fell, sites = t.sites_that_fell(day), t.sites_that_could_fall(day)
    return MassFall(day, len(fell), len(fell | sites)) if is_mass_fall(len(fell), len(fell | sites)) else None


def report_mass_fall(t: Transaction, fall: MassFall, messages: int, book: AddressBook) -> None:
    """Notify the operators, once, that this number of messages of a mass fall is held."""
    payload = {**fall._asdict(), "messages": messages}
    t.add_notice(f"mass/{fall.day}", "mass_fall", payload, day=fall.day, recipients=book.of_operators())
