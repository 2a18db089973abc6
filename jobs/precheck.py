"""What is compared before anything is written: the clock with what earlier runs left, the ledger with the stores.

A store takes no snapshot older than its newest one: after a night with a fast clock nothing can be stored until that
time is reached. And a ledger without history beside filled stores is not the one that they were made with: a night
would build it again without its alerts, and send again what was sent. In both cases stores and ledger may be sound,
and nothing here changes them.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from monitor.errors import BadConfiguration, TryLater

if TYPE_CHECKING:
    from monitor.ledger.ledger import Ledger

SKEW: Final = timedelta(minutes=5)
"""By how much what earlier runs left may be newer than now."""
CLOCK: Final = (
    "Check the clock (timedatectl, chronyc tracking). If it is slow, correct it and run again; if it was fast then, "
    "runs go on by themselves from that time on. Stores and ledger are sound"
)
"""What to do about a clock that is behind."""


def check_clock(ledger: "Ledger") -> None:
    """Compare the clock with the newest run.

    Raises
    ------
    TryLater
        The clock is behind it; the message names both times.
    """
    with ledger.reading() as t:
        newest = t.last_activity()
    if newest is not None and (found := behind(datetime.fromisoformat(newest), "the newest run in the ledger")):
        msg = f"nothing was done: {found}. {CLOCK}."
        raise TryLater(msg)


def behind(moment: datetime, what: str) -> str | None:
    """What to say of a clock that is behind the moment of something recorded; None where it is not."""
    now = datetime.now(UTC)
    if moment <= now + SKEW:
        return None
    return f"the clock shows {now:%Y-%m-%d %H:%M} UTC, but {what} is of {moment:%Y-%m-%d %H:%M} UTC"


def check_history(ledger: "Ledger", root: Path) -> None:
    """Compare the ledger with the stores.

    Parameters
    ----------
    ledger : Ledger
        Open.
    root : Path
        Of the stores.

    Raises
    ------
    BadConfiguration
        There are stores, and the ledger knows of no run and of no store.
    """
    with ledger.reading() as t:
        known = t.has_history()
    if not known and (found := without_history(ledger.name, root)):
        raise BadConfiguration(found)


def without_history(ledger: str, root: Path) -> str | None:
    """What to say of a ledger that knows of no run and of no store; None where there are no stores either."""
    stores = list(root.glob("*/repo"))
    if not stores:
        return None
    return (
        f"the ledger {ledger} has no history, but {root} holds the stores of {len(stores)} landscapes: it is not the "
        "ledger that they were made with. Nothing was sent or published. Name the right ledger, or a copy from a "
        "backup, by [ledger] url. If there is none any more, name another, empty folder by [store] root: all scenes "
        f"are then fetched again, and alerts begin without their past; {root} stays as it is"
    )
