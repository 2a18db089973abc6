"""The control ground of a site as people see it: ``controls.geojson``, and how many units count now."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import shapely
from shapely.geometry import MultiPolygon, Polygon, mapping

from monitor.controls.control_means import UnitChoice
from monitor.controls.screening import LeftOut
from monitor.controls.selection import REFERENCE_RING, ControlSet


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlGround:
    """Control units of a site on one day."""

    geojson: bytes
    """One feature a unit, longitude and latitude: ``unit``, ``ring`` (1 near, 2 far, null for a reference), ``role``
    (``control`` or ``reference``), ``distance_m``, ``counts`` in the year of the verdict and, where it does not, the
    ``reason``, the first that applies in the section ``control_reason`` of the catalogue."""
    units: int  # units, without references
    counting: int  # of these, those that count
    reasons: Mapping[str, int]  # number of units that do not count, by reason
    ground: MultiPolygon = field(repr=False)  # outlines of the units that count, longitude and latitude


def control_ground(
    controls: ControlSet, names: Sequence[str], choice: UnitChoice, left_out: LeftOut, day: date
) -> ControlGround:
    """Control units of a site on the day of a verdict.

    `names` are the ids of the stored units, `choice` says which of them are left out
    (:func:`monitor.controls.control_means.choose_units`), and `left_out` has the first day on which units are covered
    by another site.
    """
    row = int(np.searchsorted(choice.years, day.year))
    features, reasons, counting = [], Counter[str](), []
    places = {name: place for place, name in enumerate(names)}
    for unit in controls.units:
        reason, place = None, places[unit.id]
        if left_out.get(unit.id, date.max) <= day:
            reason = "COVERED"
        elif choice.changed[row, place]:
            reason = "CHANGED"
        elif choice.risen[row, place]:
            reason = "RISEN"
        compared = unit.ring != REFERENCE_RING
        if reason and compared:
            reasons[reason] += 1
        elif compared:
            counting += [part for part in shapely.get_parts(unit.geometry).tolist() if isinstance(part, Polygon)]
        properties = {
            "unit": unit.id,
            "role": "control" if compared else "reference",
            "ring": unit.ring if compared else None,
            "distance_m": round(unit.distance),
            "counts": reason is None,
            "reason": reason,
        }
        features.append({"type": "Feature", "properties": properties, "geometry": mapping(unit.geometry)})
    lines = ",\n".join(json.dumps(feature, ensure_ascii=False) for feature in features)
    units = int(controls.compared.sum())
    return ControlGround(
        geojson=f'{{"type": "FeatureCollection", "features": [\n{lines}\n]}}\n'.encode(), units=units,
        counting=units - reasons.total(), reasons=dict(reasons), ground=MultiPolygon(counting),
    )  # fmt: skip
