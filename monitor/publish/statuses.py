"""Statuses of the account of hectares, and on which side each stands."""

from collections.abc import Mapping
from typing import Final

SHOWN_STATUSES: Final = (
    "on_track", "recovered", "no_loss_seen", "undecided", "lagging", "failing", "disturbed", "loss_suspected",
    "too_early", "insufficient_data",
)  # fmt: skip
"""In the order shown; sites without an assessment follow."""
UNJUDGED: Final = "not_assessed"  # status of a site without an assessment
SIDES: Final[Mapping[str, tuple[str, ...]]] = {
    "works": ("on_track", "recovered"),
    "no_loss_seen": ("no_loss_seen",),
    "below_plan": ("lagging",),
    "fails": ("failing", "disturbed"),
    "unknown": ("undecided", "loss_suspected", "too_early", "insufficient_data", UNJUDGED),
}
"""On which side ground stands, by status."""
