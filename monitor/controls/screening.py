"""Control units on which restoration has begun since they were chosen: a programme grows into its own rings."""

from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from monitor.controls.selection import MIN_UNITS, REFERENCE_RING, ControlSet, Unit

type LeftOut = Mapping[str, date]
"""By id of a control unit, the first day on which it no longer counts; units that always count are not in it."""


def left_out(units: Sequence[Unit], sites: Sequence[tuple[BaseGeometry, date]]) -> dict[str, date]:
    """From which day on control units are left out: the earliest start of another site that touches them.

    Parameters
    ----------
    units : sequence of Unit
        Of one site, references included.
    sites : sequence of (shapely geometry, date)
        Outline (longitude and latitude [degree]) and start of every other site, retired ones included.

    Returns
    -------
    dict
        See :data:`LeftOut`; empty where no site touches a unit.

    Notes
    -----
    Units are chosen outside every site that is registered at the time, so a site that touches one was registered, or
    its outline changed, later. Scenes acquired before its start still count the unit, so their control means, and the
    verdicts on them, stay as they were; scenes from that day on do not. The rule is the same

    - where the later site began before the site that the unit belongs to: the unit then leaves in the years before
      that site's start, which are compared without it from that day on;
    - for ground that people have named as control ground: naming it does not undo the work that has begun there;
    - for a site that has been retired: restored ground does not go back to what it would have been, so its units stay
      left out. Only the newest version of a site counts; the outline of one that was registered by mistake is to be
      corrected before it is retired.
    """
    if not units or not sites:
        return {}
    outlines = np.array([outline for outline, _ in sites], dtype=object)
    ground = np.array([unit.geometry for unit in units], dtype=object)
    touched = shapely.intersects(ground[:, None], outlines[None, :])
    begun = np.array([start for _, start in sites], dtype="datetime64[D]")
    return {
        unit.id: begun[touching].min().item() for unit, touching in zip(units, touched, strict=True) if touching.any()
    }


def left_out_mask(units: Sequence[str], days: np.ndarray, left: LeftOut) -> np.ndarray:
    """Which units do not count in which scenes, because they are left out from a day on.

    Parameters
    ----------
    units : sequence of str
        Ids.
    days : (time,) datetime64 array
        UTC.
    left : mapping
        See :data:`LeftOut`.

    Returns
    -------
    (time, unit) bool array
    """
    since = np.array([left.get(str(unit), date.max) for unit in units], dtype="datetime64[D]")
    gone: np.ndarray = days.astype("datetime64[D]")[:, None] >= since
    return gone


def too_few_units(controls: ControlSet, left: LeftOut, day: date) -> bool:
    """Whether fewer than :data:`monitor.controls.selection.MIN_UNITS` units can be compared with on a day."""
    compared = [unit for unit in controls.units if unit.ring != REFERENCE_RING and left.get(unit.id, date.max) > day]
    return len(compared) < MIN_UNITS
