"""The current time, and a check that the clock is not behind what earlier runs recorded.

A store accepts no snapshot older than its newest one: after a night with a fast clock nothing can be stored until that
time is reached. Stores and ledger may be sound then, and nothing here changes them.
"""

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

from monitor.errors import TryLater

if TYPE_CHECKING:
    from monitor.ledger.ledger import Ledger

MAX_CLOCK_SKEW: Final = timedelta(minutes=5)  # a recorded time may be this much later than the current time
MAX_WAIT: Final = timedelta(days=1)  # a recorded time may be this much later for waiting to be the advice
CLOCK_ADVICE: Final = (
    "Check the clock (timedatectl, chronyc tracking). If it is slow, correct it and run again; if it was fast then, "
    "runs continue by themselves from that time on. Stores and ledger are sound"
)
WAY_OUT: Final = (
    "to go on before then, set [ledger] url and [store] root to new, empty places and run 'regrowth restore' with the "
    "newest backup from before that run (docs/operations.md, A run with a wrong clock)"
)


def today() -> date:
    """Current date, UTC."""
    return datetime.now(UTC).date()


def now() -> str:
    """Current UTC time, ISO 8601, in milliseconds so that two runs in one second keep their order."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def check_clock(ledger: "Ledger") -> None:
    """Raise TryLater if the clock is behind the newest run; the message gives both times."""
    with ledger.reading() as t:
        newest = t.last_activity()
        if newest is None:
            return
        run, moment = newest[0], datetime.fromisoformat(newest[1])  # a damaged time is named by the ledger
    if problem := clock_behind(moment, f"the newest run in the ledger, {run},"):
        raise TryLater(f"nothing was done: {problem}. {CLOCK_ADVICE}{way_out(moment)}.")


def check_snapshot_time(written: datetime) -> None:
    """Raise TryLater if the clock is behind the newest snapshot of a store, which would refuse a new one."""
    if problem := clock_behind(written, "the newest snapshot of its store"):
        raise TryLater(f"{problem}, and no scene can be stored until then. {CLOCK_ADVICE}{way_out(written)}")


def way_out(moment: datetime) -> str:
    """Advice about a recorded time that is too far ahead to wait for it, as the end of a sentence; else empty."""
    return f"; {WAY_OUT}" if moment > datetime.now(UTC) + MAX_WAIT else ""


def clock_behind(moment: datetime, what: str) -> str | None:
    """Message that the clock is behind the recorded time of `what`; None if it is not."""
    current = datetime.now(UTC)
    if moment <= current + MAX_CLOCK_SKEW:
        return None
    return f"the clock shows {current:%Y-%m-%d %H:%M} UTC, but {what} is of {moment:%Y-%m-%d %H:%M} UTC"
