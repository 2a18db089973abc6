"""What a person is told about a site, and its life: open, acknowledged, snoozed, resolved."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from monitor.verdict.assessment import AlertLevel


class AlertState(StrEnum):
    """Where an alert is in its life."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    SNOOZED = "snoozed"
    RESOLVED = "resolved"


class AlertEvent(StrEnum):
    """What happened to an alert that a person is told about."""

    OPENED = "opened"
    WORSENED = "worsened"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert on one site. At most one is not resolved at any time."""

    id: str
    """Site and day of opening: the same however often a night is run again."""
    site: str
    level: AlertLevel
    """``watch`` or ``red``; may rise, never falls, while the alert lives."""
    rule: str
    """``failure``, ``disturbance`` or ``erosion``."""
    state: AlertState
    opened: date
    updated: date
    """Day of the last assessment that changed it."""
    clear_since: date | None = None
    """First day without cause since there last was one; None while there is."""
    snoozed_until: date | None = None
    answer: str | None = None
    """What was found in the field: ``confirmed``, ``false-alarm`` or ``treated``."""
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One thing to tell: an event of an alert. Its id makes sending it twice harmless."""

    id: str
    """Alert id and number of the event: becomes the Message-ID and the idempotency key."""
    alert: Alert
    event: AlertEvent
    day: date
