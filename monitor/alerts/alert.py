"""Alerts about sites, their states, and the events that change them."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final

from monitor.verdict.assessment import AlertLevel


class AlertState(StrEnum):
    """State of an alert."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    SNOOZED = "snoozed"
    RESOLVED = "resolved"


class AlertEvent(StrEnum):
    """Change of an alert."""

    OPENED = "opened"
    WORSENED = "worsened"
    REOPENED = "reopened"  # it was resolved, and its cause is back
    WOKEN = "woken"  # the time for which it was snoozed is over, and its cause is still seen
    RESOLVED = "resolved"  # by a night: its cause is gone
    ACKNOWLEDGED = "acknowledged"
    SNOOZED = "snoozed"
    ANSWERED = "answered"  # resolved by a person
    CLOSED = "closed"  # resolved without an answer about the field: the site was retired
    REMINDED = "reminded"  # no answer: the manager was sent the alert again
    HANDED_OVER = "handed_over"  # it was sent to a manager who took the site over
    REVIEWED = "reviewed"
    """The operators accepted a false alarm that needed a review, or opened the alert again for its manager."""
    ESCALATED = "escalated"  # no answer in time: the operators were notified


LOT: Final = "lot"
"""Rule of the alerts about lots, which go to the operators."""
CALLS: Final = frozenset(
    {
        AlertEvent.OPENED, AlertEvent.WORSENED, AlertEvent.REOPENED, AlertEvent.WOKEN, AlertEvent.HANDED_OVER,
        AlertEvent.REVIEWED,
    }
)  # fmt: skip
"""Events that ask the manager for an answer, from which the time to answer counts."""
REPEATED: Final = frozenset({AlertEvent.REMINDED, AlertEvent.HANDED_OVER, AlertEvent.REVIEWED})
"""Events by which an alert that was reported before is sent again."""
REPORTED: Final = CALLS | REPEATED | {AlertEvent.RESOLVED}
"""Events that are reported to the manager of the site."""


class Verdict(StrEnum):
    """Finding from the field."""

    CONFIRMED = "confirmed"
    FALSE_ALARM = "false-alarm"
    TREATED = "treated"


class FalseAlarmReason(StrEnum):
    """Cause of a false alarm."""

    HARVEST = "harvest"
    SNOW = "snow"
    CLOUD = "cloud"
    GRAZING = "grazing"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert: a site or lot and the rule that it is about. It opens again rather than being raised a second time."""

    id: str
    """See :func:`alert_id`."""
    site: str
    """Id of the site; of the lot, where the rule is :data:`LOT`."""
    level: AlertLevel
    """``watch`` or ``red``; may rise but never falls until the alert is resolved."""
    rule: str
    """``failure``, ``disturbance`` or ``erosion``; :data:`LOT` for a lot."""
    state: AlertState
    opened: date
    """Day on which it opened, or opened again."""
    updated: date
    """Day of the last change."""
    clear_since: date | None = None
    """First day since which no rule raises an alert; None: a rule does."""
    lower_since: date | None = None
    """First day since which a red alert is no longer seen as red; None: it is, or the alert is not red."""
    snoozed_until: date | None = None
    """Day from which it is reported again if its cause is seen; None: not snoozed."""
    answer: Verdict | None = None
    """Newest finding from the field since it opened; None: no answer yet."""
    answer_reason: FalseAlarmReason | None = None
    """Of a false alarm."""
    unreviewed: bool = False
    """Whether the answer is a false alarm that the operators have to review, and have not: until then the alert is not
    resolved by it."""
    note: str | None = None
    """Words of a person since it opened."""
    promise: int | None = None
    """Number of the promise that it was raised under, if another one has replaced it while the alert was open: until it
    is resolved, its evidence is judged by that one. None: by the newest."""
    covered: AlertLevel = AlertLevel.NONE
    """Highest level that does not open it again, because a person has answered it and it has not been gone since."""

    @property
    def held_by(self) -> int | None:
        """Number of the earlier promise by which its evidence is judged; None: the newest."""
        return self.promise if self.waits else None

    @property
    def waits(self) -> bool:
        """Whether it is open, or was closed with its site while its cause was seen and without an answer."""
        return self.state is not AlertState.RESOLVED or (self.answer is None and self.clear_since is None)


def alert_id(site: str, rule: str) -> str:
    """Id of the alert about a site by a rule."""
    return f"{site}/{rule}"
