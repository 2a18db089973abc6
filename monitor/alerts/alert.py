"""Alerts about sites, their states, and notices of their changes."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from monitor.verdict.assessment import AlertLevel


class AlertState(StrEnum):
    """State of an alert."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    SNOOZED = "snoozed"
    RESOLVED = "resolved"


class AlertEvent(StrEnum):
    """Change of an alert that is reported to a person."""

    OPENED = "opened"
    WORSENED = "worsened"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert about one site. A site has at most one alert that is not resolved."""

    id: str
    """Site and day of opening, so that a repeated night gives the same id."""
    site: str
    level: AlertLevel
    """``watch`` or ``red``; may rise but never falls until the alert is resolved."""
    rule: str
    """``failure``, ``disturbance`` or ``erosion``."""
    state: AlertState
    opened: date
    updated: date
    """Day of the last assessment that changed it."""
    clear_since: date | None = None
    """First day on which the cause was gone; None: the cause is present."""
    snoozed_until: date | None = None
    answer: str | None = None
    """Finding from the field: ``confirmed``, ``false-alarm`` or ``treated``; None: no answer yet."""
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Notice of one event of an alert. Receivers recognise a repeated notice by its id."""

    id: str
    """Id of the alert and number of the event: used as Message-ID and idempotency key."""
    alert: Alert
    event: AlertEvent
    day: date
