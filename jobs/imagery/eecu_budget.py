"""The monthly budget of computing time of Earth Engine, ``[source] eecu_hours_per_month``.

Earth Engine does not say what an interactive request has used: its metrics show it later, in the Cloud project. So what
counts here is the estimate of :mod:`jobs.imagery.cost_estimate`, of the requests for scenes, means of control units and
pictures; searches, terrain and rain are not counted.

What a step of a landscape will use is recorded before its first request. A killed run thus counts the steps that were
under way, which the next one reads and counts again: never less than was requested.
"""

from calendar import monthrange
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

from jobs.runtime.clock import today
from jobs.runtime.settings import SourceSettings
from monitor.ledger.ledger import Ledger
from monitor.ledger.transaction import Transaction

if TYPE_CHECKING:
    from monitor.ingest.steps import Step


class OverBudget(NamedTuple):
    """The result of a step that was not computed."""

    why: str


class EecuUse(NamedTuple):
    """Use of Earth Engine in the present month."""

    used: float  # estimated [EECU h]
    budget: float | None  # None: no limit [EECU h]
    last_day: date  # last day of the month, UTC

    @property
    def used_up(self) -> bool:
        """Whether nothing more is requested in this month."""
        return self.budget is not None and self.used >= self.budget

    def __str__(self) -> str:
        month, of = f"{self.last_day:%Y-%m}", "" if self.budget is None else f" of {self.budget:g}"
        return f"Earth Engine has used {self.used:.2f}{of} EECU hours in {month}, as estimated here"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"used_hours": round(self.used, 3), "budget_hours": self.budget, "until": self.last_day.isoformat()}


def eecu_use(t: Transaction, sources: Sequence[SourceSettings]) -> EecuUse | None:
    """Use of the present month; None if no source is Earth Engine. Of several budgets the smallest holds for all."""
    if not uses_earth_engine(sources):
        return None
    budgets = [source.eecu_hours_per_month for source in sources if source.eecu_hours_per_month is not None]
    day = today()
    last_day = day.replace(day=monthrange(day.year, day.month)[1])
    return EecuUse(t.eecu_seconds(_month(day)) / 3600, min(budgets, default=None), last_day)


def uses_earth_engine(sources: Sequence[SourceSettings]) -> bool:
    """Whether any source is Earth Engine."""
    return any(source.kind == "earthengine" for source in sources)


def spend(sources: Sequence[SourceSettings], ledger: Ledger, step: "Step") -> str | None:
    """Record what a step will use; if the budget is used up, record nothing and return why it must wait."""
    from jobs.imagery.cost_estimate import estimate_eecu_seconds

    if not uses_earth_engine(sources) or (seconds := estimate_eecu_seconds(step)) == 0:
        return None
    with ledger.transaction() as t:
        use = eecu_use(t, sources)
        if use is None or not use.used_up:
            t.add_eecu_seconds(_month(today()), seconds)
            return None
    return (
        f"the budget of the month is used: {use}; [source] eecu_hours_per_month = {use.budget:g} holds until "
        f"{use.last_day} (UTC). The first night after it goes on; a larger budget, the next one"
    )


def _month(day: date) -> str:
    return f"{day:%Y-%m}"
