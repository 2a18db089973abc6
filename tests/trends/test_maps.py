"""Whole maps: what goes in comes out, lazily, the same on numpy and dask, and never a number from nothing."""

import dask
import numpy as np
import pytest
import scipy.stats
import xarray as xr
from dask.callbacks import Callback
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.errors import BadData
from monitor.trends import maps

DAY = np.timedelta64(1, "D")


def make_map(*, slope=0.03, amplitude=0.2, peak=200.0, noise=0.0, days=16, layers=160, kind="float32", unseen=0.0):
    """A map of known trend and season on dates some days apart, some of it unseen."""
    rng = np.random.default_rng(4)
    time = np.datetime64("2017-01-05", "ns") + np.arange(layers) * days * DAY
    year = (time - np.datetime64("2000-01-01", "ns")) / DAY / 365.25
    wave = amplitude * np.cos(2 * np.pi * (year - (peak - 1) / 365.25))
    series = 0.4 + slope * (year - (year[0] + year[-1]) / 2) + wave
    values = series[:, None, None] + noise * rng.standard_normal((layers, 5, 7))
    values[rng.random(values.shape) < unseen] = np.nan
    return xr.DataArray(
        values.astype(kind), dims=("time", "y", "x"), name="ndvi",
        coords={"time": time, "y": np.arange(5) * -10.0, "x": np.arange(7) * 10.0,
                "spatial_ref": xr.DataArray(0, attrs={"crs_wkt": "a system"})},
        attrs={"units": "1", "grid_mapping": "spatial_ref"},
    )  # fmt: skip


def no_early_computation(*_):
    pytest.fail("computed before it was needed")


CHUNKS = {"scenes": {"time": 1}, "ragged": {"time": 50, "y": 2, "x": 3}, "columns": {"time": -1, "y": 5, "x": 1}}


@pytest.mark.parametrize("chunks", [None, *CHUNKS.values()], ids=["numpy", *CHUNKS])
def test_the_fit_recovers_the_trend_and_the_season_that_were_put_in(chunks):
    da = make_map(unseen=0.4)
    found = maps.trend(da.chunk(chunks) if chunks else da).compute()
    np.testing.assert_allclose(found["harmonic_mean"], 0.4, rtol=1e-6)
    np.testing.assert_allclose(found["harmonic_slope"], 0.03, rtol=1e-6)
    np.testing.assert_allclose(found["harmonic_amplitude"], 0.2, rtol=1e-6)
    np.testing.assert_allclose(found["harmonic_phase"], 200.0, rtol=1e-6)
    np.testing.assert_allclose(found["rmse"], 0.0, atol=1e-7)
    np.testing.assert_array_equal(found["n"], np.isfinite(da).sum("time"))


@pytest.mark.parametrize("kind", ["float32", "float64", "int16"])
@pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS)
def test_numpy_and_dask_agree_to_the_bit_however_it_is_chunked(chunks, kind):
    da = make_map(noise=0.1, unseen=0.3)
    da = (da.fillna(0) * 10_000).astype(kind).rename("grains") if kind == "int16" else da.astype(kind)
    xr.testing.assert_identical(maps.trend(da.chunk(chunks)).compute(), maps.trend(da))
    seasons = maps.growing_season_means(da, (121, 288))
    xr.testing.assert_identical(maps.growing_season_means(da.chunk(chunks), (121, 288)).compute(), seasons)


def test_nothing_is_computed_before_it_is_needed():
    da = make_map().chunk(time=10, y=2)
    with Callback(start=no_early_computation), dask.config.set(scheduler="threads"):
        found = maps.trend(maps.growing_season_means(da, (121, 288)))
    assert all(dask.is_dask_collection(variable.data) for variable in found.data_vars.values())


@pytest.mark.parametrize("layers", [8, 160])
def test_slope_and_test_are_those_of_scipy(layers):
    da = make_map(noise=0.1, unseen=0.3, layers=layers)
    found = maps.trend(da)
    year = (da["time"].values - da["time"].values[0]) / DAY / 365.25
    for y, x in np.ndindex(5, 7):
        series = da.values[:, y, x].astype(float)
        seen = np.isfinite(series)
        expected = scipy.stats.theilslopes(series[seen], year[seen], alpha=0.95)
        here = found.isel(y=y, x=x)
        np.testing.assert_allclose(here["slope"], expected.slope, rtol=5e-7)
        np.testing.assert_allclose(here["tau"], scipy.stats.kendalltau(year[seen], series[seen]).statistic, rtol=1e-6)
        assert here["slope_low"].isnull() or here["slope_low"] <= expected.slope
        assert here["slope_high"].isnull() or here["slope_high"] >= expected.slope


def test_units_grid_and_system_are_those_of_the_input():
    da = make_map().assign_attrs(units="kg m-2")
    found = maps.trend(da)
    assert list(found.data_vars) == [
        *("slope", "slope_low", "slope_high", "tau", "s", "p", "p_hamed_rao", "n"),
        *("harmonic_mean", "harmonic_slope", "harmonic_amplitude", "harmonic_phase", "rmse"),
    ]
    assert all(variable.dims == ("y", "x") for variable in found.data_vars.values())
    assert found["spatial_ref"].attrs == {"crs_wkt": "a system"}
    assert all(variable.encoding["grid_mapping"] == "spatial_ref" for variable in found.data_vars.values())
    np.testing.assert_array_equal(found["y"], da["y"])
    units = {name: variable.attrs["units"] for name, variable in found.data_vars.items()}
    assert units["slope"] == units["harmonic_slope"] == "kg m-2 year-1"
    assert units["rmse"] == "kg m-2"
    assert units["harmonic_phase"] == "day"
    assert units["tau"] == units["n"] == "1"
    assert found["n"].dtype.kind == "i"


def test_a_pixel_seen_once_or_never_has_a_count_and_nothing_else():
    da = make_map(noise=0.1)
    da[:, 0, 0] = np.nan
    da[1:, 0, 1] = np.inf
    found = maps.trend(da)
    assert found["n"].values[0, :2].tolist() == [0, 1]
    rest = found.drop_vars("n").isel(y=0, x=slice(2)).to_dataarray()
    assert rest.isnull().all()
    assert found["slope"].isel(y=slice(1, None)).notnull().all()


def test_one_layer_gives_no_trend():
    found = maps.trend(make_map(layers=1))
    assert (found["n"] == 1).all()
    assert found.drop_vars("n").to_dataarray().isnull().all()


def test_yearly_values_give_a_slope_and_no_season():
    seasons = maps.growing_season_means(make_map(slope=0.03, amplitude=0.0), (121, 288))
    found = maps.trend(seasons)
    np.testing.assert_allclose(found["slope"], 0.03, atol=1e-3)
    assert found["harmonic_amplitude"].isnull().all()


def test_seasons_are_a_year_of_365_and_a_quarter_days_apart():
    seasons = maps.growing_season_means(make_map(), (121, 288))
    assert (np.diff(seasons["time"].values) == np.timedelta64(8766, "h")).all()
    assert seasons["time"].dt.year.values.tolist() == list(range(2017, 2024))


def test_a_season_is_the_mean_of_what_was_seen_in_its_window():
    time = np.array(["2020-04-29", "2020-05-01", "2020-10-14", "2020-10-15", "2021-06-01"], "datetime64[ns]")
    values = np.array([9, 1, 2, 9, np.nan], np.float32)  # 2020 is a leap year: day 122 is 1 May, day 288 14 October
    da = xr.DataArray(values[:, None, None], dims=("time", "y", "x"), coords={"time": time})
    seasons = maps.growing_season_means(da, (122, 288))
    np.testing.assert_array_equal(seasons.values.ravel(), [1.5, np.nan])


def test_a_season_over_the_new_year_belongs_to_the_year_in_which_it_began():
    time = np.array(["2019-12-01", "2020-02-01", "2020-06-01", "2020-11-10", "2021-01-10"], "datetime64[ns]")
    da = xr.DataArray(
        np.array([1.0, 3.0, 50.0, 5.0, 7.0])[:, None, None], dims=("time", "y", "x"), coords={"time": time}
    )
    seasons = maps.growing_season_means(da, (305, 90))
    np.testing.assert_array_equal(seasons.values.ravel(), [2.0, 6.0])
    assert seasons["time"].values.astype("datetime64[D]").astype(str).tolist() == ["2020-01-15", "2021-01-14"]


def test_a_window_without_any_image_is_named():
    da = make_map().isel(time=slice(0, 3))
    with pytest.raises(BadData, match="no layer from day 121 to day 288"):
        maps.growing_season_means(da, (121, 288))
    with pytest.raises(BadData, match="between 1 and 366"):
        maps.growing_season_means(da, (0, 288))


BROKEN = {
    "unsorted": (lambda da: da.isel(time=[0, 2, 1]), "2017-01-21 comes after 2017-02-06; sort"),
    "repeated": (lambda da: da.isel(time=[0, 1, 1]), "3 layers of 2 days, 2017-01-21 more than once"),
    "two of a day": (
        lambda da: xr.concat([da[:1], da[:1].assign_coords(time=da["time"][:1] + np.timedelta64(30, "s"))], "time"),
        "2 layers of 1 days",
    ),
    "words": (lambda da: da.astype(str), "holds no real numbers"),
    "complex": (lambda da: da.astype(complex), "holds no real numbers"),
    "empty": (lambda da: da.isel(time=slice(0)), "is empty"),
    "no pixels": (lambda da: da.isel(x=slice(0)), "is empty"),
    "no time": (lambda da: da.isel(time=0), "has no dimension 'time', only 'y', 'x'"),
    "another name of time": (lambda da: da.rename(time="t"), "has no dimension 'time', only 't', 'y', 'x'; rename"),
    "packed": (lambda da: (da * 10_000).astype(np.int16), r"holds whole numbers \(int16\); apply scale"),
    "undated": (lambda da: da.drop_vars("time"), "without a date"),
    "numbered": (lambda da: da.assign_coords(time=np.arange(da.sizes["time"])), "without a date"),
    "a gap in the dates": (
        lambda da: da.isel(time=slice(2)).assign_coords(time=np.array(["2020-01-01", "NaT"], "datetime64[ns]")),
        "without a date",
    ),
}


@pytest.mark.parametrize(("spoil", "message"), BROKEN.values(), ids=BROKEN)
def test_a_series_unfit_for_a_trend_is_refused_with_the_reason(spoil, message):
    da = spoil(make_map())
    for function in (maps.trend, lambda da: maps.growing_season_means(da, (1, 366))):
        with pytest.raises(BadData, match=message):
            function(da)


def test_a_plain_array_is_refused_with_what_to_give():
    with pytest.raises(
        BadData, match=r"needs an xarray.DataArray on \(time, y, x\) .* not a ndarray: xarray.DataArray\("
    ):
        maps.trend(np.zeros((3, 2, 2)))


def test_a_map_that_runs_from_south_to_north_stays_in_its_own_order():
    da = make_map(noise=0.1)
    xr.testing.assert_identical(
        maps.trend(da.isel(y=slice(None, None, -1))), maps.trend(da).isel(y=slice(None, None, -1))
    )


@settings(max_examples=30, deadline=None)
@given(
    values=st.lists(st.floats(-1, 1, width=32) | st.just(np.nan), min_size=18, max_size=40),
    offset=st.integers(-3, 3),
    scale=st.sampled_from([-4.0, -0.5, 0.5, 2.0]),
    padding=st.integers(1, 30),
)
def test_offset_scale_and_unseen_layers_do_what_they_should(values, offset, scale, padding):
    def trend(series):
        time = np.datetime64("2017-01-05", "ns") + np.arange(len(series)) * 16 * DAY
        da = xr.DataArray(np.array(series)[:, None, None], dims=("time", "y", "x"), coords={"time": time})
        return maps.trend(da).isel(y=0, x=0)

    was = trend(values)
    moved = trend([scale * v + offset for v in values])
    np.testing.assert_allclose(moved["slope"], scale * was["slope"], rtol=1e-6, atol=2e-5)  # float32
    np.testing.assert_allclose(moved["harmonic_slope"], scale * was["harmonic_slope"], atol=2e-5)
    np.testing.assert_allclose(moved["rmse"], abs(scale) * was["rmse"], atol=1e-5)
    padded = trend(values + [np.nan] * padding)
    for name in ("slope", "slope_low", "slope_high", "tau", "s", "p", "p_hamed_rao", "n"):
        np.testing.assert_allclose(padded[name], was[name], rtol=1e-6, err_msg=name)
