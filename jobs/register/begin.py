"""Begin a run: a night takes the ledger and records itself before it loads, reports or fetches anything.

The next command reports a night that was killed, since its run did not end.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

from jobs.runtime.clock import check_clock, now
from jobs.runtime.installation import locked_ledger
from jobs.runtime.settings import Settings
from monitor.ledger.ledger import Ledger


def new_run(kind: str, day: date) -> str:
    """Id of a new run."""
    return f"{kind}-{day}-{os.urandom(4).hex()}"


def record_run(ledger: Ledger, run: str, kind: str, day: date) -> None:
    """Check the clock, and record that a run begins."""
    check_clock(ledger)
    with ledger.transaction() as t:
        t.begin_run(run, kind, day.isoformat(), now=now())


@contextmanager
def begun_night(settings: Settings, as_of: date, run: str) -> Iterator[Ledger]:
    """Lock the ledger, record that the night has begun, and yield the ledger.

    Raises TryLater if another process holds it, it cannot be reached, or the clock is behind the last run; else as of
    :func:`jobs.runtime.installation.open_ledger`.
    """
    with locked_ledger(settings, "a night") as ledger:
        record_run(ledger, run, "night", as_of)
        yield ledger
