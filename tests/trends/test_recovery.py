"""Recovery against a target: reached, not reached yet, not seen."""

import geopandas
import numpy as np
import pytest
import xarray as xr
from dask.callbacks import Callback
from rasterio.features import geometry_mask

from monitor.errors import BadData
from monitor.trends.cubes import open_series
from monitor.trends.maps import mid_season
from monitor.trends.recovery import recovery


def seasons(first, *pixels):
    values = np.array(pixels, float).T[:, None, :]
    time = mid_season(np.arange(first, first + len(values)), 182.625)
    return xr.DataArray(values, dims=("time", "y", "x"), coords={"time": time})


@pytest.mark.parametrize("lazy", [False, True], ids=["numpy", "dask"])
def test_ground_that_came_back_that_did_not_and_that_was_not_seen(lazy):
    yearly = seasons(2015, [0.6, 0.1, 0.3, 0.5, 0.5], [0.6, 0.1, 0.1, 0.2, 0.3], [0.6, np.nan, 0.4, 0.5, np.nan])
    found = recovery(yearly.chunk(time=1) if lazy else yearly, 0.5, mid_season(np.array([2016]), 182.625)[0])
    np.testing.assert_allclose(found["r80p"], [[1.25, 0.75, np.nan]])
    np.testing.assert_allclose(found["y2r"], [[2.0, np.nan, 1.0]])


def test_a_target_may_differ_from_pixel_to_pixel_and_may_be_missing():
    yearly = seasons(2015, [0.4, 0.4], [0.4, 0.4], [0.4, 0.4])
    target = xr.DataArray([[0.5, np.nan, -0.1]], dims=("y", "x"))
    found = recovery(yearly, target, mid_season(np.array([2014]), 182.625)[0])
    np.testing.assert_allclose(found["r80p"], [[1.0, np.nan, np.nan]])
    np.testing.assert_allclose(found["y2r"], [[1.0, np.nan, np.nan]])


def test_a_target_that_lies_elsewhere_is_refused_and_not_made_to_fit():
    yearly = seasons(2015, [0.4, 0.4], [0.4, 0.4]).assign_coords(y=[50.0], x=[10.0, 20.0])
    target = xr.DataArray([[0.5, 0.5]], dims=("y", "x"), coords={"y": [50.0], "x": [10.0, 20.0]})
    since = mid_season(np.array([2014]), 182.625)[0]
    np.testing.assert_allclose(recovery(yearly, target, since)["r80p"], [[1.0, 1.0]])
    for odd in (target.rename(y="lat", x="lon"), target.expand_dims("band"), target.astype(str)):
        with pytest.raises(BadData, match=r"numbers on \(y, x\)"):
            recovery(yearly, odd, since)
    for elsewhere in (target.assign_coords(x=[10.001, 20.001]), target.isel(x=[0]), target.assign_coords(y=[60.0])):
        with pytest.raises(BadData, match="is not on the coordinates"):
            recovery(yearly, elsewhere, since)


def test_units_and_system_are_those_of_the_seasons():
    yearly = seasons(2015, [0.4, 0.4]).rename("ndvi").assign_coords(spatial_ref=0)
    found = recovery(yearly, 0.5, np.datetime64("2015-01-01"))
    assert {name: (one.attrs["units"], one.encoding) for name, one in found.items()} == {
        "r80p": ("1", {"grid_mapping": "spatial_ref"}),
        "y2r": ("year", {"grid_mapping": "spatial_ref"}),
    }
    assert "spatial_ref" in found.coords


def test_nothing_is_computed_early():
    yearly = seasons(2015, [0.1, 0.5]).chunk(time=1)
    with Callback(start=lambda *_: pytest.fail("computed early")):
        recovery(yearly, 0.5, np.datetime64("2015-01-01"))


def test_a_start_after_the_last_season_is_refused():
    with pytest.raises(BadData, match="no season from 2020-01-01 on; the last is of 2016-07-01"):
        recovery(seasons(2015, [0.1, 0.5]), 0.5, np.datetime64("2020-01-01"))


def test_a_burnt_forest_reached_80_percent_three_years_after_its_restoration(shared_data):
    folder = shared_data / "bc06_wildfire"
    nir, swir = (open_series(folder / "annual_composites", band).series for band in ("nir", "swir2"))
    outline = geopandas.read_file(folder / "wildfire_516.gpkg").to_crs(nir.rio.crs).geometry
    inside = geometry_mask(outline, nir.shape[1:], nir.rio.transform(), invert=True)
    pixels = ((nir - swir) / (nir + swir)).values[:, inside]
    nbr = dict(zip(nir["time"].dt.year.values.tolist(), np.nanmedian(pixels, axis=1), strict=True))
    known = {2004: 0.617, 2006: 0.443, 2009: 0.543, 2022: 0.628}
    assert {year: round(float(nbr[year]), 3) for year in known} == known
    target = (nbr[2003] + nbr[2004]) / 2
    assert target == pytest.approx(0.633, abs=5e-4)
    site = xr.DataArray(np.array([*nbr.values()])[:, None, None], dims=("time", "y", "x"), coords={"time": nir["time"]})
    found = recovery(site, target, mid_season(np.array([2006]), 182.625)[0])
    assert found["y2r"].item() == pytest.approx(2009 - 2006, abs=0.01)
    assert 1.0 < found["r80p"].item() < 1.25  # past 80 %, short of 100 %
    assert max(value for year, value in nbr.items() if year >= 2006) < target


@pytest.mark.parametrize("type", ["int8", "uint8", "int16", "int32", "float32"])
def test_percent_in_whole_numbers_recover_as_they_would_in_floats(type):
    yearly = seasons(2015, [80, 20, 30, 40, 70, 71], [80, 20, 30, 40, 45, 46])
    since = mid_season(np.array([2016]), 182.625)[0]
    wanted, found = recovery(yearly, 90.0, since), recovery(yearly.astype(type), 90.0, since)
    assert found["r80p"].dtype.kind == found["y2r"].dtype.kind == "f"
    np.testing.assert_allclose(found["r80p"], [[71 / 72, 46 / 72]], rtol=1e-6)
    xr.testing.assert_allclose(found, wanted)
    np.testing.assert_allclose(recovery(yearly.astype(type), 85.0, since)["y2r"], [[3.0, np.nan]], rtol=1e-6)


def test_what_is_infinite_was_not_seen():
    yearly = seasons(2015, [0.8, 0.1, np.inf, 0.2, np.inf])
    found = recovery(yearly, 0.5, mid_season(np.array([2016]), 182.625)[0])
    assert np.isnan(found["r80p"]).all()
    assert np.isnan(found["y2r"]).all()


def test_both_measures_say_the_same_of_ground_that_just_reached_its_target():
    yearly = seasons(2015, [0.1, 0.48, 0.48]).astype(np.float32)  # a little less than .48, and .8 of .6 a little more
    found = recovery(yearly, 0.6, mid_season(np.array([2015]), 182.625)[0])
    assert found["r80p"].item() == 1
    assert found["y2r"].item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("type", [np.float32, np.float64])
def test_four_fifths_of_any_target_in_decimals_are_enough(type):
    start, targets = mid_season(np.array([2015]), 182.625)[0], np.arange(1, 1000) / 1000
    yearly = seasons(2015, *([0.0, round(0.8 * target, 6)] for target in targets)).astype(type)
    found = recovery(yearly, xr.DataArray(targets[None], dims=("y", "x")), start)
    np.testing.assert_array_equal(found["r80p"], 1)
    np.testing.assert_allclose(found["y2r"], 1, atol=0.01)
    short = recovery(seasons(2015, [0.0, 0.3999]).astype(type), 0.5, start)
    assert short["r80p"].item() < 1
    assert np.isnan(short["y2r"]).all()
