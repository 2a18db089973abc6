"""What control ground says of a scene: ring by ring, without the ground that changed for itself alone."""

from datetime import date

import numpy as np
import pytest
import xarray as xr
from shapely.geometry import Point

from monitor.controls.comparison import control, reference, screened
from monitor.controls.units import REFERENCE, ControlSet, Unit

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


def means(cover: np.ndarray) -> xr.DataArray:
    values = np.stack([np.where(np.isfinite(cover), 64.0, np.nan), cover], axis=2).astype(np.float32)
    coords = {"time": DAYS.astype("datetime64[ns]"), "unit": [f"u{k}" for k in range(UNITS)],
              "measure": ["n_pixels", "cover"]}  # fmt: skip
    return xr.DataArray(values, dims=("time", "unit", "measure"), coords=coords)


def rings(second: int = 0) -> ControlSet:
    units = [
        Unit(id=f"u{k}", geometry=Point(0, 0), distance=100.0 * k, ring=2 if k >= UNITS - second else 1)
        for k in range(UNITS)
    ]
    return ControlSet(units=tuple(units), balance={}, candidates=UNITS)


@pytest.mark.parametrize("change", [-0.2, 0.2], ids=["burnt or cleared", "planted"])
def test_a_unit_that_changed_for_itself_is_left_out_from_the_next_year_on_and_never_comes_back(change):
    cover = ground()
    cover[(YEAR >= 2019) & (YEAR <= 2020), 5] += change  # and grown back in 2021
    fit = screened(means(cover), since=SINCE)
    assert fit.values[YEAR <= 2019].all()
    assert not fit.values[YEAR >= 2020, 5].any()
    assert fit.values[:, np.arange(UNITS) != 5].all()


def test_a_dry_year_or_a_wet_one_that_hits_all_ground_leaves_out_nobody():
    cover = ground()
    cover[YEAR == 2020] *= 0.4
    assert screened(means(cover), since=SINCE).all()


def test_what_was_fit_on_a_day_does_not_change_when_later_years_come_nor_with_the_order_of_scenes():
    cover = ground()
    cover[YEAR >= 2019, 5] -= 0.2
    cover[YEAR >= 2021, 9] += 0.3
    whole = means(cover)
    fit = screened(whole, since=SINCE)
    for last in (2018, 2019, 2020):
        short = screened(whole.isel(time=last >= YEAR), since=SINCE)
        xr.testing.assert_equal(short, fit.isel(time=last >= YEAR))
    shuffled = np.random.default_rng(1).permutation(DAYS.size)
    xr.testing.assert_equal(screened(whole.isel(time=shuffled), since=SINCE), fit.isel(time=shuffled))


def test_a_unit_hidden_all_spring_is_not_taken_for_one_that_stayed_green():
    cover = ground()
    spring = (YEAR == 2020) & ((DAYS - DAYS.astype("datetime64[Y]")).astype(int) < 200)
    cover[spring, 3] = np.nan
    assert screened(means(cover), since=SINCE).all()


def test_each_ring_is_the_plain_mean_of_its_fit_units():
    cover = ground()
    cover[YEAR >= 2019, 5] -= 0.2
    found = control(means(cover), rings(second=11), since=SINCE).sel(measure="cover")
    last = YEAR == 2021
    near = [k for k in range(13) if k != 5]
    np.testing.assert_allclose(found.sel(ring=1).values[last], cover[last][:, near].mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(found.sel(ring=2).values[last], cover[last][:, 13:].mean(axis=1), rtol=1e-6)


def test_with_one_ring_the_second_says_nothing():
    assert np.isnan(control(means(ground()), rings(), since=SINCE).sel(ring=2, measure="cover")).all()


def test_a_scene_that_shows_fewer_than_ten_units_gives_no_control():
    cover = ground()
    cover[4, 9:] = np.nan
    found = control(means(cover), rings(), since=SINCE).sel(ring=1)
    assert np.isnan(found.sel(measure="cover").values[4])
    assert np.isfinite(found.sel(measure="cover").values[3])
    assert found.sel(measure="n_pixels").values[3] == 64 * UNITS


def test_where_the_first_ring_is_lost_the_second_stands_in_for_it():
    cover = ground()
    cover[np.ix_(YEAR >= 2019, range(4))] -= 0.25  # 4 of 13: nine are left
    found = control(means(cover), rings(second=11), since=SINCE).sel(measure="cover")
    after, before = YEAR >= 2020, YEAR <= 2019
    np.testing.assert_array_equal(found.sel(ring=1).values[after], found.sel(ring=2).values[after])
    assert (found.sel(ring=1).values[before] != found.sel(ring=2).values[before]).all()


def test_the_reference_is_the_middle_of_the_reference_units_and_they_count_for_nothing_else():
    cover = np.tile(np.linspace(0.1, 0.33, UNITS), (DAYS.size, 1))
    units = [
        Unit(id=f"u{k}", geometry=Point(0, 0), distance=1.0, ring=REFERENCE if k >= 13 else 1) for k in range(UNITS)
    ]
    chosen = ControlSet(units=tuple(units), balance={}, candidates=UNITS)
    np.testing.assert_allclose(reference(means(cover), chosen, since=SINCE), np.median(cover[0, 13:]), rtol=1e-6)
    both = control(means(cover), chosen, since=SINCE).sel(measure="cover")
    np.testing.assert_allclose(both.sel(ring=1), cover[0, :13].mean(), rtol=1e-6)
    assert np.isnan(both.sel(ring=2)).all()
    assert np.isnan(reference(means(cover), rings(), since=SINCE)).all()
    cover[0, 15:] = np.nan
    assert np.isnan(reference(means(cover), chosen, since=SINCE)[0])
