"""Control units on which another site was begun: left out from its start on, whichever site it is."""

from datetime import date

from shapely.geometry import box

from monitor.controls.screening import left_out, too_few_units
from monitor.controls.selection import REFERENCE_RING, ControlSet, Unit

UNITS = tuple(Unit(id=f"u{k}", geometry=box(k, 0, k + 0.9, 1), distance=100.0, ring=1 + k % 2) for k in range(12))


def test_a_unit_is_left_out_from_the_earliest_start_of_the_sites_that_touch_it_and_others_never_are():
    sites = [
        (box(0.5, 0.5, 1.5, 2), date(2022, 4, 1)),  # on u0 and u1
        (box(1.5, -1, 1.7, 0.5), date(2020, 4, 1)),  # on u1 alone, begun earlier
        (box(2.95, 0, 2.98, 1), date(2019, 4, 1)),  # between u2 and u3
    ]
    assert left_out(UNITS, sites) == {"u0": date(2022, 4, 1), "u1": date(2020, 4, 1)}
    assert left_out(UNITS, []) == left_out([], sites) == {}


def test_with_nine_units_left_there_is_too_little_to_compare_with_from_that_day_on():
    reference = Unit(id="r", geometry=box(0, 5, 1, 6), distance=100.0, ring=REFERENCE_RING)
    controls = ControlSet(units=(*UNITS, reference), balance={}, candidates=40)
    left = {"u0": date(2020, 4, 1), "u1": date(2020, 4, 1), "u2": date(2021, 4, 1)}
    assert [too_few_units(controls, left, date(year, 4, 1)) for year in (2020, 2021, 2022)] == [False, True, True]
    assert not too_few_units(controls, left, date(2021, 3, 31))
