"""Thin what the ledger stores of nights more than 90 days old, so that it stays small.

Of the assessments of such a night these stay: the first of a site; each whose status, alert, alert rule or episode
differs from the one before it; the last of a site in a calendar month; and those of a day on which something about
the site is recorded: an event of its alerts, a message, a self-check, a measurement in the field. So the status of a
site on any day is that of the newest stored assessment until then. The others are deleted, and stored in the chain
only: their leaves, SHA-256 of each, stay in its lines, and the line says how many they are. Of the run the summary
stays, its manifest is deleted. The 90 days are counted from the nights, not from the clock, which may be wrong.
"""

from collections.abc import Collection, Mapping
from datetime import date, timedelta
from typing import Any, Final

import structlog

from monitor.ledger.transaction import Transaction

log = structlog.get_logger()

RETENTION: Final = timedelta(days=90)
"""Assessments and manifests of nights this long before the newest nights all stay."""
NEWEST_NIGHTS: Final = 7
"""Lines of the chain from whose earliest night the time is counted: fewer nights with a clock ahead lose nothing."""
MAX_LINES: Final = 10
"""Lines of the chain that one night thins, at most: more than one a night only after nights that did not thin."""


def thin(t: Transaction) -> None:
    """Thin the assessments and manifests that are older than :data:`RETENTION`. Lines of the chain stay as they are.

    Parameters
    ----------
    t : Transaction
        Of the ledger.
    """
    newest, thinned = t.newest_chain_line(), 0
    if newest is None:
        return
    before = (date.fromisoformat(min(t.newest_nights(NEWEST_NIGHTS))) - RETENTION).isoformat()
    t.empty_manifests(before)
    for line in t.lines_to_thin(before, MAX_LINES):
        rows = t.assessment_states(line["after"], line["last_assessment"])
        named = t.named_days({row["as_of"] for row in rows})
        surplus = [row["id"] for row in rows if not stays(row, named)]
        if newest["last_assessment"] in surplus:  # SQLite would give its number to a new row
            surplus.remove(newest["last_assessment"])
        t.thin_line(line["number"], surplus)
        thinned += len(surplus)
    if thinned:
        log.info("old assessments were thinned", assessments=thinned)


def stays(row: Mapping[str, Any], named: Collection[tuple[str, str]]) -> bool:
    """Whether an assessment of an old night stays in the ledger.

    Parameters
    ----------
    row : mapping
        Of :meth:`monitor.ledger.transaction.Transaction.assessment_states`.
    named : collection of (site, day)
        Of :meth:`monitor.ledger.transaction.Transaction.named_days`.
    """
    return row["changed"] or row["last_of_month"] or (row["site"], row["as_of"]) in named
