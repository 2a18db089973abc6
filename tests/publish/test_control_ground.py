"""Which control units count in the year of a verdict, and why the others do not, as people read it."""

import json
from datetime import date

import numpy as np
import pytest
from shapely.geometry import box

from monitor.controls.control_means import UnitChoice
from monitor.controls.selection import REFERENCE_RING, ControlSet, Unit
from monitor.publish.control_ground import control_ground

NAMES = ["changed", "risen", "covered", "reference", "counts"]
RINGS = {"reference": REFERENCE_RING, "covered": 2}
UNITS = ControlSet(
    units=tuple(
        Unit(id=name, geometry=box(k, 0, k + 1, 1), distance=99.6, ring=RINGS.get(name, 1))
        for k, name in enumerate(reversed(NAMES))
    ),
    balance={},
    candidates=5,
)
YEARS = np.array([2020, 2021])


def choice():
    changed, risen = np.zeros((3, 5), dtype=bool), np.zeros((3, 5), dtype=bool)
    changed[1:, 0] = True
    risen[2, [1, 2]] = True
    return UnitChoice(YEARS, changed, risen)


@pytest.mark.parametrize(("day", "reasons"), [
    (date(2020, 12, 31), {}),
    (date(2021, 1, 1), {"CHANGED": 1}),
    (date(2022, 3, 1), {"CHANGED": 1, "RISEN": 2}),
    (date(2022, 7, 1), {"CHANGED": 1, "RISEN": 1, "COVERED": 1}),
    (date(2026, 7, 1), {"CHANGED": 1, "RISEN": 1, "COVERED": 1}),
])  # fmt: skip
def test_each_unit_counts_or_has_the_first_reason_why_not_in_the_year_of_the_verdict(day, reasons):
    shown = control_ground(UNITS, NAMES, choice(), {"covered": date(2022, 7, 1)}, day)
    assert (shown.units, shown.counting, shown.reasons) == (4, 4 - sum(reasons.values()), reasons)
    features = json.loads(shown.geojson)["features"]
    assert [one["properties"]["unit"] for one in features] == [unit.id for unit in UNITS.units]
    given = [one["properties"]["reason"] for one in features]
    assert {reason: given.count(reason) for reason in set(given) - {None}} == reasons
    assert [one["properties"]["counts"] for one in features] == [reason is None for reason in given]


def test_references_are_shown_but_do_not_count_as_control_ground():
    features = json.loads(control_ground(UNITS, NAMES, choice(), {}, date(2022, 1, 1)).geojson)["features"]
    by_unit = {one["properties"]["unit"]: one for one in features}
    for unit, ground in (("reference", ("reference", None)), ("covered", ("control", 2))):
        assert (by_unit[unit]["properties"]["role"], by_unit[unit]["properties"]["ring"]) == ground
    assert by_unit["counts"]["properties"]["distance_m"] == 100
    assert by_unit["counts"]["geometry"]["type"] == "Polygon"
