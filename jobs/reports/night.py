"""The end of a night: the record from which its report to the operators and the metrics are made."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final, Self

from jobs.reports.manifest import Manifest, to_correct
from jobs.runtime.clock import now
from jobs.runtime.exits import Exit
from jobs.runtime.logs import redacted
from jobs.runtime.records import from_json
from monitor.ledger.rows import Payload

MAX_FAILED_SITES: Final = 20  # number of failed sites that a message names
MAX_ERROR_LETTERS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """The end of one night."""

    as_of: date  # scenes acquired up to the end of this day were used
    status: int  # exit status
    began: str = field(default_factory=now)
    ended: str = field(default_factory=now)  # both times ISO 8601, UTC
    error: str | None = None  # what ended it, without secrets; None: it ran to its end
    manifest: Manifest | None = None  # None: it did not run to its end

    @classmethod
    def of(cls, row: Payload) -> Self:
        """A night that has ended, from its row in the ledger (:class:`monitor.ledger.models.RunRow`)."""
        return cls(
            as_of=date.fromisoformat(row["as_of"]), status=row["status"], began=row["started"], ended=row["finished"],
            error=row["error"], manifest=from_json(row["manifest"], Manifest) if row["manifest"] else None,
        )  # fmt: skip

    @property
    def event(self) -> str:
        """Event of the night in the outbox, if it failed: one a day."""
        return f"night/{self.as_of}"

    def failure(self) -> dict[str, Any] | None:
        """Report on the night for the operators; None if it did not fail.

        It failed with any status but 0, 10 and 64; with 10 if a site failed, a page was not written, or something in
        the registry could not be applied; not if messages or deferred sites only wait.
        """
        failed, deferred = (self.manifest.in_state(state) if self.manifest else [] for state in ("failed", "deferred"))
        corrections = to_correct(self.manifest) if self.manifest else []
        if self.status in (Exit.DONE, Exit.USAGE):
            return None
        if self.status == Exit.SOME_FAILED and not failed and not corrections:
            return None
        error = self.error or "; ".join(corrections) or None
        if error is None and self.status == Exit.TRY_LATER and deferred:  # all were: by the same source, as a rule
            error = Counter(site.reason for site in deferred).most_common(1)[0][0]
        return {
            "as_of": self.as_of.isoformat(),
            "status": int(self.status),
            "error": None if error is None else redacted(error)[:MAX_ERROR_LETTERS],
            "failed": [{"site": site.site, "error": site.reason} for site in failed[:MAX_FAILED_SITES]],
            "n_failed": len(failed),
            "n_deferred": len(deferred),
            "messages_waiting": self.manifest.messages_waiting if self.manifest else 0,
        }
