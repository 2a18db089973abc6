"""Means of the control ground in each scene: ring by ring, without units that changed on their own."""

from collections.abc import Mapping
from datetime import date

import numpy as np
import pytest
from shapely.geometry import Point

from monitor.controls import control_means as module
from monitor.controls.control_means import UnitChoice, choose_units, control_mean
from monitor.controls.selection import REFERENCE_RING, ControlSet, Unit

SINCE = date(2018, 4, 1)
DAYS = np.concatenate([np.arange(f"{y}-05-05", f"{y}-10-01", 14, dtype="datetime64[D]") for y in range(2015, 2022)])
YEAR = DAYS.astype("datetime64[Y]").astype(int) + 1970
UNITS = 24


def ground(seed: int = 0) -> np.ndarray:
    """(time, unit) cover: a season that rain shifts from year to year, each unit with a level and noise of its own."""
    rng = np.random.default_rng(seed)
    season = 0.2 + 0.1 * np.sin(np.pi * ((DAYS - DAYS.astype("datetime64[Y]")).astype(int) - 100) / 200)
    rain = rng.normal(1, 0.2, 7)[YEAR - 2015]
    return (season * rain)[:, None] + rng.normal(0, 0.02, UNITS) + rng.normal(0, 0.01, (DAYS.size, UNITS))


def compared(cover: np.ndarray, chosen: ControlSet, left_out: Mapping[str, date] | None = None) -> module.Comparison:
    """The control ground by (time, unit) cover."""
    ring = np.array([unit.ring for unit in chosen.units])
    since = np.array([(left_out or {}).get(unit.id, date.max) for unit in chosen.units], "datetime64[D]")
    gone = DAYS[:, None] >= since
    fit, risen = choose_units(cover.astype(np.float32).astype(float), DAYS, SINCE, ring=ring, present=~gone).at(DAYS)
    return module.compare(cover.astype(np.float32).astype(float)[:, :, None], ring, fit & ~gone, risen, cover=0)


def choice(cover: np.ndarray, dates: np.ndarray = DAYS, **more: np.ndarray) -> UnitChoice:
    return choose_units(cover, dates, SINCE, **more)


def fit_units(cover: np.ndarray, dates: np.ndarray = DAYS) -> np.ndarray:
    """(time, unit) bool: units that have not changed on their own."""
    return choice(cover, dates).at(dates)[0]


def counting(cover: np.ndarray, **more: np.ndarray) -> np.ndarray:
    """(time, unit) bool: units that have neither changed on their own nor risen most."""
    fit, risen = choice(cover, **more).at(DAYS)
    return fit & ~risen


def cover_of(cover: np.ndarray, chosen: ControlSet, ring: int = 1) -> np.ndarray:
    """(time,) cover of a ring."""
    return compared(cover, chosen).rings[ring - 1, :, 0]


def rings(last: int = 0, ring: int = 2) -> ControlSet:
    """Units of ring 1, but the last ones of another."""
    rings = [ring if k >= UNITS - last else 1 for k in range(UNITS)]
    units = [Unit(id=f"u{k}", geometry=Point(0, 0), distance=100.0 * k, ring=rings[k]) for k in range(UNITS)]
    return ControlSet(units=tuple(units), balance={}, candidates=UNITS)


@pytest.mark.parametrize("change", [-0.2, 0.2], ids=["burnt or cleared", "planted"])
def test_a_unit_that_changed_for_itself_is_left_out_from_the_next_year_on_and_never_comes_back(change):
    cover = ground()
    cover[(YEAR >= 2019) & (YEAR <= 2020), 5] += change  # and grown back in 2021
    fit = fit_units(cover)
    assert fit[YEAR <= 2019].all()
    assert not fit[YEAR >= 2020, 5].any()
    assert fit[:, np.arange(UNITS) != 5].all()


def test_a_dry_or_wet_year_on_all_ground_leaves_out_no_unit():
    cover = ground()
    cover[YEAR == 2020] *= 0.4
    assert fit_units(cover).all()


def test_what_was_fit_on_a_day_does_not_change_when_later_years_come_nor_with_the_order_of_scenes():
    cover = ground()
    cover[YEAR >= 2019, 5] -= 0.2
    cover[YEAR >= 2021, 9] += 0.3
    whole = np.stack(choice(cover).at(DAYS))
    assert whole[1].any()
    for last in (2017, 2018, 2019, 2020):
        known = last >= YEAR
        np.testing.assert_array_equal(choice(cover[known], DAYS[known]).at(DAYS[known]), whole[:, known])
    shuffled = np.random.default_rng(1).permutation(DAYS.size)
    there = choice(cover[shuffled], DAYS[shuffled]).at(DAYS[shuffled])
    np.testing.assert_array_equal(there, whole[:, shuffled])


def test_a_unit_hidden_all_spring_is_not_taken_for_one_that_stayed_green():
    cover = ground()
    spring = (YEAR == 2020) & ((DAYS - DAYS.astype("datetime64[Y]")).astype(int) < 200)
    cover[spring, 3] = np.nan
    assert fit_units(cover).all()


def test_each_ring_is_the_plain_mean_of_its_units_that_count():
    cover = ground()
    cover[YEAR >= 2019, 5] -= 0.2
    chosen, last = rings(11), YEAR == 2021
    there = counting(cover, ring=np.where(np.arange(UNITS) >= 13, 2, 1))[last][0]
    assert not there[5]
    near, far = np.flatnonzero(there[:13]), 13 + np.flatnonzero(there[13:])
    assert (near.size, far.size) == (10, 10)
    np.testing.assert_allclose(cover_of(cover, chosen)[last], cover[last][:, near].mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(cover_of(cover, chosen, 2)[last], cover[last][:, far].mean(axis=1), rtol=1e-6)
    assert np.isnan(cover_of(cover, rings(), 2)).all(), "with one ring the second says nothing"


def test_a_scene_that_shows_fewer_than_ten_units_gives_no_control():
    cover = ground()
    cover[4, 9:] = np.nan
    found = cover_of(cover, rings())
    assert np.isnan(found[4])
    assert np.isfinite(found[3])


def test_where_the_first_ring_is_lost_the_second_stands_in_for_it():
    cover = ground()
    cover[np.ix_(YEAR >= 2019, range(4))] -= 0.25  # 4 of 13: nine are left
    first, second = (cover_of(cover, rings(11), ring) for ring in (1, 2))
    after, before = YEAR >= 2020, YEAR <= 2019
    np.testing.assert_array_equal(first[after], second[after])
    assert (first[before] != second[before]).all()


def test_the_reference_is_the_middle_of_the_reference_units_and_they_count_for_nothing_else():
    cover = np.tile(np.linspace(0.1, 0.33, UNITS), (DAYS.size, 1))
    chosen = rings(11, REFERENCE_RING)
    found = compared(cover, chosen)
    np.testing.assert_allclose(found.reference, np.median(cover[0, 13:]), rtol=1e-6)
    np.testing.assert_allclose(found.rings[0, :, 0], cover[0, :13].mean(), rtol=1e-6)
    assert np.isnan(found.rings[1, :, 0]).all()
    assert found.near.tolist() == [[k < 13 for k in range(UNITS)]] * DAYS.size
    assert np.isnan(compared(cover, rings()).reference).all()
    cover[0, 15:], cover[1, 13] = np.nan, np.nan
    found = compared(cover, chosen)
    assert np.isnan(found.reference[0])
    np.testing.assert_allclose(found.reference[1], np.median(cover[1, 14:]), rtol=1e-6)


def mean_of_ring(cover: np.ndarray, present: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """(time,) mean of the units of ring 1 that are present, fit and have not risen, written out."""
    fit, risen = choice(cover, ring=ring, present=present).at(DAYS)
    means = []
    for scene in range(DAYS.size):
        there = [k for k in range(UNITS) if ring[k] == 1 and present[scene, k] and fit[scene, k]]
        best = [k for k in there if not risen[scene, k]]
        means.append(cover[scene, best if len(best) >= 10 else there].mean())
    return np.array(means)


BEGUN = date(2019, 7, 1)
LATER = np.datetime64(BEGUN) <= DAYS


def test_a_unit_that_is_left_out_counts_until_that_day_and_not_from_it_on():
    cover = ground()
    cover[np.ix_(LATER, [2, 3])] += 0.02  # planted there, too little to be noticed
    whole = compared(cover, rings(11))
    found = compared(cover, rings(11), {"u2": BEGUN, "u3": BEGUN})
    for ours, theirs in ((found.rings[:, ~LATER], whole.rings[:, ~LATER]), (found.rings[1], whole.rings[1])):
        np.testing.assert_array_equal(ours, theirs)
    gone = LATER[:, None] & np.isin(np.arange(UNITS), [2, 3])
    expected = mean_of_ring(cover, ~gone, np.where(np.arange(UNITS) >= 13, 2, 1))
    np.testing.assert_allclose(found.rings[0, LATER, 0], expected[LATER], rtol=1e-6)
    assert not found.near[LATER][:, [2, 3]].any()
    assert not found.few.any()


def test_ground_that_greens_because_sites_were_begun_there_puts_no_other_ground_in_doubt():
    cover, sites = ground(), {f"u{k}": BEGUN for k in range(13)}
    cover[np.ix_(YEAR >= 2020, range(13))] += 0.3  # more than half of all
    found = compared(cover, rings(), sites)
    assert found.near.tolist() == [[k > 12 or not late for k in range(UNITS)] for late in LATER]
    expected = mean_of_ring(cover, found.near, np.ones(UNITS, dtype=int))
    np.testing.assert_allclose(found.rings[0, LATER, 0], expected[LATER], rtol=1e-6)


@pytest.mark.parametrize(("left", "few"), [(9, True), (10, False), (18, False)])
def test_with_fewer_than_ten_units_left_nothing_is_compared_and_two_thin_rings_stand_together(left, few):
    staying = [*range(left // 2), *range(UNITS - left + left // 2, UNITS)]
    gone = {f"u{k}": BEGUN for k in range(UNITS) if k not in staying}
    cover = ground()
    found = compared(cover, rings(12), gone)
    np.testing.assert_array_equal(found.few, LATER & few)
    assert np.isfinite(found.rings[:, ~LATER, 0]).all()
    assert np.isnan(found.rings[1, LATER, 0]).all()
    assert np.isnan(found.rings[0, LATER & few, 0]).all()
    if not few:
        here = ~(LATER[:, None] & ~np.isin(np.arange(UNITS), staying))
        fit, risen = choice(cover, ring=np.where(np.arange(UNITS) >= 12, 2, 1), present=here).at(DAYS)
        expected = module.mean_of_units(cover[:, :, None], fit & here, risen)[:, 0]
        np.testing.assert_allclose(found.rings[0, LATER, 0], expected[LATER], rtol=1e-6)


def test_the_third_of_a_ring_that_rose_most_does_not_count_in_the_next_year_and_may_come_back():
    cover = ground()
    planted = [1, 4, 7, 10, 13, 16, 19, 22]
    cover[np.ix_(YEAR >= 2019, planted)] += 0.05  # too little to be noticed one by one
    cover[np.ix_(YEAR >= 2020, planted)] -= 0.15  # and gone again
    fit, risen = choice(cover).at(DAYS)
    assert fit[YEAR <= 2020].all()
    assert not risen[YEAR <= 2018].any(), "no year since the start is over"
    np.testing.assert_array_equal(np.flatnonzero(risen[YEAR == 2020][0]), planted)
    assert not risen[YEAR == 2021][:, planted].any()
    counted = np.delete(cover, planted, axis=1)
    np.testing.assert_allclose(control_mean(cover, DAYS, SINCE)[YEAR == 2020], counted[YEAR == 2020].mean(axis=1))


def test_the_rise_is_the_weighted_mean_of_the_years_since_the_start_less_the_years_before():
    cover = ground(3)
    difference = cover - np.median(cover, axis=1)[:, None]
    yearly = {year: difference[year == YEAR].mean(axis=0) for year in range(2015, 2022)}
    usual = difference[YEAR < 2018].mean(axis=0)
    rise = (1 * yearly[2018] + 2 * yearly[2019] + 3 * yearly[2020]) / 6 - usual
    expected = np.sort(np.argsort(rise)[-8:])
    np.testing.assert_array_equal(np.flatnonzero(choice(cover).at(DAYS)[1][YEAR == 2021][0]), expected)


def test_each_ring_loses_its_own_third_and_never_more_than_leaves_ten():
    cover = ground()
    cover[np.ix_(YEAR >= 2018, range(13))] += 0.04  # the nearer ring greens as a whole
    ring = np.where(np.arange(UNITS) >= 13, 2, 1)
    risen = choice(cover, ring=ring).at(DAYS)[1][YEAR == 2021][0]
    assert (risen[:13].sum(), risen[13:].sum()) == (3, 1)


def test_ground_that_never_changes_does_not_rise():
    cover = np.tile(np.linspace(0.1, 0.3, UNITS), (DAYS.size, 1))
    fit, risen = choice(cover).at(DAYS)
    assert fit.all()
    assert not risen.any()


def test_a_scene_that_shows_ten_units_only_with_those_that_rose_is_not_lost():
    cover = ground()
    cover[np.ix_(YEAR >= 2019, range(8))] += 0.06
    scene = np.flatnonzero(YEAR == 2021)[4]
    cover[scene, 12:] = np.nan
    control = control_mean(cover, DAYS, SINCE)
    np.testing.assert_allclose(control[scene], cover[scene, :12].mean())
    np.testing.assert_allclose(control[scene + 1], cover[scene + 1, 8:].mean())
    assert np.isfinite(control).all()


def test_a_unit_that_was_seen_too_seldom_to_be_ranked_counts():
    cover = ground()
    cover[np.ix_((YEAR >= 2018) & (YEAR < 2021), [5])] = np.nan
    cover[YEAR == 2021, 5] += 0.2
    assert not choice(cover).at(DAYS)[1][:, 5].any()


def test_units_that_rise_are_left_out_where_the_site_itself_began_before_all_imagery():
    cover = ground()
    cover[np.ix_(YEAR >= 2016, range(8))] += 0.05
    risen = choose_units(cover, DAYS, date(2012, 4, 1)).at(DAYS)[1]
    np.testing.assert_array_equal(np.flatnonzero(risen[YEAR == 2018][0]), np.arange(8))
    assert not risen[YEAR <= 2016].any()


def test_the_spread_is_the_tenth_and_ninetieth_percentile_of_the_units_that_are_fit():
    cover = np.append(np.arange(11.0), [99.0, np.nan])[None, :]
    near = np.array([[True] * 11 + [False, True]])
    np.testing.assert_allclose(module.unit_spread(cover, near)[:, 0], [1.0, 9.0])
    assert np.isnan(module.unit_spread(cover[:, :9], near[:, :9])).all()
