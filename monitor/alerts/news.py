"""Content of a message about an alert."""

from dataclasses import dataclass, field
from datetime import date

import numpy as np

from monitor.alerts.alert import Alert, AlertEvent
from monitor.maps.worst_patch import WorstPatch
from monitor.sites.site import Site
from monitor.verdict.assessment import Assessment


@dataclass(frozen=True, slots=True, kw_only=True)
class SitePicture:
    """A site and its surroundings in natural colour, or its cover above the control in colours."""

    date: date
    rgb: np.ndarray = field(repr=False)
    """(y, x, 3) uint8."""
    pixel: float
    """Side of a pixel. [m]"""
    outline: np.ndarray = field(repr=False)
    """(n, 2) outline of the site, x right, y down; rings separated by a row of NaN. [pixel]"""
    natural: bool = True
    """Whether it is natural colour, which is stretched for the eye."""
    patch: np.ndarray | None = field(default=None, repr=False)
    """(n, 2) outline of the worst patch; None: unknown. [pixel]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertNews:
    """One event of an alert, with all that its message states."""

    alert: Alert  # as it is now
    event: AlertEvent
    number: int = 1  # number of the event, from 1 for each alert
    day: date  # day of the event
    site: Site  # in the episode of the assessment
    assessment: Assessment  # the latest one
    patch: WorstPatch | None = None  # None: unknown
    before: SitePicture | None = None  # a clear scene before the start, or before the loss; None: unknown
    now: SitePicture | None = None
    """The newest clear scene of the same weeks, or the first that shows the loss; None: unknown."""
    of_loss: bool = False  # whether the two pictures are those before and after a loss
    page: str | None = None  # address of the page of the site; None: pages are not served
    answer: str | None = None  # address where the recipient can answer; None: answers are not served
