"""History of the nights: changes since a day, and how the last ones ended."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One reason for which sites were not done in a night, or something that a person must correct."""

    state: str  # `failed`, `deferred` or `correct`
    reason: str  # as in the log, without secrets and paths
    sites: tuple[str, ...] = ()  # ids of some of the sites
    n_sites: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """One run of the night."""

    day: date  # the night: scenes up to this day were used
    started: datetime  # with time zone
    status: int | None  # exit status; None: it ended without leaving one
    error: str | None = None
    """Error that ended it early, without secrets and paths; None: it ran to its end, or the cause is unknown."""
    done: int | None = None  # number of sites; None, as for the next five, of a night that did not run to its end
    failed: int | None = None
    deferred: int | None = None
    scenes: int | None = None  # new scenes, each counted once
    sent: int | None = None  # messages
    waiting: int | None = None
    seconds: float | None = None  # duration until the pages were written; None: unknown [s]
    problems: tuple[Problem, ...] = ()

    @property
    def outcome(self) -> str:
        """Key of the section ``outcome`` of the catalogue."""
        if self.status == 10:  # several things end a night with 10
            return "failed" if self.failed else "deferred" if self.deferred else "waits" if self.waiting else "correct"
        names = {0: "done", 20: "all_failed", 65: "data", 70: "bug", 75: "later", 78: "configuration", 137: "killed"}
        return "trace" if self.status is None else names.get(self.status, "stopped")


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Changes since a day."""

    since: date
    before: dict[str, str] = field(default_factory=dict)
    """Status on that day of each site whose status is another now, by id."""
    new: tuple[str, ...] = ()
    """Ids of the sites that were assessed for the first time since."""
    replanted: tuple[tuple[str, date], ...] = ()
    """Ids of the sites whose next episode was opened, each with the first day of the new work."""
    retired: tuple[Mapping[str, str], ...] = ()
    """Names by language of the sites that are judged no more."""

    @property
    def any(self) -> bool:
        """Whether anything changed."""
        return bool(self.before or self.new or self.replanted or self.retired)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Nights of a programme, as its pages state them."""

    nights: tuple[Night, ...] = ()  # newest first
    last_success: date | None = None  # latest night without any failure; None: there was none
    changes: Changes | None = None  # None: no site was assessed on an earlier day
    unseen: tuple[str, ...] = ()
    """Ids of the sites without a usable scene for longer than `silence_days` of their growing season."""
    silence_days: int = 45  # [day]


NO_HISTORY = History()  # that of a programme whose nights are unknown
