"""Control units that another site has covered since they were selected: they are left out from its start on."""

from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from monitor.controls.selection import MIN_UNITS, REFERENCE_RING, ControlSet, Unit

type LeftOut = Mapping[str, date]
"""First day on which a control unit no longer counts, by id; units that always count are missing."""


def left_out(units: Sequence[Unit], sites: Sequence[tuple[BaseGeometry, date]]) -> dict[str, date]:
    """First day on which control units are left out: the earliest start of another site that touches them.

    Parameters
    ----------
    units : sequence of Unit
        Units of one site, references included.
    sites : sequence of (shapely geometry, date)
        Outline (longitude and latitude [degree]) and start of every other site, retired ones included.

    Returns
    -------
    dict
        See :data:`LeftOut`; empty where no site touches a unit.

    Notes
    -----
    Units are selected outside every site that is registered at the time, so a site that touches one was registered, or
    its outline changed, later. Scenes from before its start still count the unit, so verdicts on them stay as they
    were. The rule is the same where the later site began before the site of the unit, for named control ground, and for
    a retired site: restored ground does not go back to what it would have been. Only the newest version of a site
    counts; the outline of one that was registered by mistake is to be corrected before it is retired.
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


def left_out_json(left: LeftOut) -> dict[str, str]:
    """JSON values of :data:`LeftOut`: days as ISO 8601."""
    return {unit: day.isoformat() for unit, day in left.items()}


def left_out_from_json(values: Mapping[str, str]) -> dict[str, date]:
    """:data:`LeftOut` from its JSON values."""
    return {unit: date.fromisoformat(day) for unit, day in values.items()}


def too_few_units(controls: ControlSet, left: LeftOut, day: date) -> bool:
    """Whether fewer than :data:`monitor.controls.selection.MIN_UNITS` units can be compared with on a day.

    Parameters
    ----------
    controls : ControlSet
        Units of the site; references do not count.
    left : mapping
        See :data:`LeftOut`.
    day : date

    Returns
    -------
    bool
    """
    compared = [unit for unit in controls.units if unit.ring != REFERENCE_RING and left.get(unit.id, date.max) > day]
    return len(compared) < MIN_UNITS
