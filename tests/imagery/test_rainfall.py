"""Daily rain from products of every shape, and real rain."""

import json
from datetime import date

import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
from affine import Affine
from pyproj import Transformer

from monitor.errors import BadData
from monitor.imagery.auxiliary.rainfall import DailyRain, LocalRain, daily_rain, merge_rain

HERE = (104.52, 36.03)


def test_a_month_is_spread_over_its_days():
    months = np.array(["2021-01-01", "2021-02-01", "2021-04-30"], dtype="datetime64[D]")
    rain = daily_rain(months, np.array([31.0, 14.0, 60.0]), rate=False, source="x")
    assert (rain.first, rain.last) == (date(2021, 1, 1), date(2021, 4, 30))
    assert (rain.mm[0], rain.mm[31], rain.mm[-1]) == (1.0, 0.5, 2.0)
    assert np.isnan(rain.mm[59:90]).all()
    rate = daily_rain(months, np.array([1.0, 0.5, 2.0]), rate=True, source="x")
    np.testing.assert_allclose(rate.mm, rain.mm)


@pytest.mark.parametrize("wrong", [-9999.0, -1.0, np.nan, np.inf, 2500.0])
def test_impossible_rain_is_unknown_rain(wrong):
    days = np.array(["2021-05-02", "2021-05-01"], dtype="datetime64[D]")
    np.testing.assert_array_equal(daily_rain(days, np.array([wrong, 3.0]), rate=False, source="x").mm, [3.0, np.nan])


def test_a_day_twice_is_refused_and_so_are_weeks():
    for days, message in (
        (["2021-05-01", "2021-05-01", "2021-05-02"], "two values for 2021-05-01"),
        (np.arange("2021-01-01", "2021-03-01", 7, dtype="datetime64[D]"), "every 7 days"), ([], "no rain"),
    ):  # fmt: skip
        with pytest.raises(BadData, match=message):
            daily_rain(np.array(days, "datetime64[D]"), np.ones(len(days)), rate=False, source="x")


def test_stored_rain_takes_in_new_and_corrected_days():
    stored = DailyRain(first=date(2021, 1, 1), mm=np.array([1.0, 2.0, np.nan, 4.0]), source="old")
    new = DailyRain(first=date(2021, 1, 3), mm=np.array([3.0, np.nan, 5.0, 6.0]), source="new")
    both = merge_rain(stored, new)
    assert (both.first, both.last, both.source) == (date(2021, 1, 1), date(2021, 1, 6), "new")
    np.testing.assert_array_equal(both.mm, [1, 2, 3, 4, 5, 6])
    apart = merge_rain(stored, DailyRain(first=date(2021, 1, 6), mm=np.array([9.0]), source="new"))
    np.testing.assert_array_equal(apart.mm, [1, 2, np.nan, 4, np.nan, 9])
    again = DailyRain.from_json(json.loads(json.dumps(apart.to_json(), allow_nan=False)))
    np.testing.assert_array_equal(again.mm, apart.mm)
    assert (again.first, again.source) == (apart.first, "new")


@pytest.fixture(scope="module")
def truth():
    rng = np.random.default_rng(5)
    days = np.arange(np.datetime64("2005-01-01"), np.datetime64("2007-01-01"))
    return days, rng.gamma(0.2, 10, days.size).astype("float32")


@pytest.fixture
def grids(truth):
    """The truth in the cell of HERE, twice as much elsewhere; CHIRPS cells of .05 degrees, latitude descending."""
    days, mm = truth
    lat, lon = 36.125 - 0.05 * np.arange(5), 104.425 + 0.05 * np.arange(5)
    row, column = np.abs(lat - HERE[1]).argmin(), np.abs(lon - HERE[0]).argmin()
    values = np.repeat(np.repeat(mm[:, None, None] * 2, 5, axis=1), 5, axis=2)
    values[:, row, column] = mm
    return days, lat, lon, values


def _netcdf(path, grids, *, factor=1.0, units="mm/day", flip=False, name="precip", east=0.0):
    days, lat, lon, values = grids
    cube = xr.DataArray(
        values * np.float32(factor),
        coords={"time": days.astype("datetime64[ns]"), "latitude": lat, "longitude": lon + east},
        dims=("time", "latitude", "longitude"),
        name=name,
        attrs={"units": units},
    )
    (cube.isel(latitude=slice(None, None, -1)) if flip else cube).to_netcdf(path, engine="netcdf4")
    return path


@pytest.mark.parametrize("shape", [
    {}, {"flip": True}, {"units": "mm"}, {"units": "m", "factor": 1e-3, "name": "tp"},
    {"units": "kg m-2 s-1", "factor": 1 / 86400},
])  # fmt: skip
def test_a_netcdf_gives_the_rain_of_the_cell_that_a_site_lies_in(tmp_path, truth, grids, shape):
    product = LocalRain(_netcdf(tmp_path / "rain.nc", grids, **shape))
    here, near, far = product.at([HERE, (HERE[0] + 0.06, HERE[1]), (110.0, 30.0)])
    np.testing.assert_allclose(here.mm, truth[1], rtol=1e-5)
    np.testing.assert_allclose(near.mm, 2 * truth[1], rtol=1e-5)
    assert (here.first, here.source, far) == (date(2005, 1, 1), "rain.nc", None)
    assert product.at([]) == []
    (part,) = product.at([HERE], since=date(2006, 3, 1), until=date(2006, 3, 9))
    assert (part.first, part.last) == (date(2006, 3, 1), date(2006, 3, 9))
    np.testing.assert_allclose(part.mm, truth[1][424:433], rtol=1e-5)
    assert product.at([HERE], since=date(2030, 1, 1), until=date(2030, 3, 9)) == [None]


def test_longitudes_from_0_to_360_are_the_same_places(tmp_path, truth, grids):
    days, lat, lon, values = grids
    west = (days, lat, lon - 200, values)  # 95.6 degrees west
    product = LocalRain(_netcdf(tmp_path / "rain.nc", west, east=360.0))
    (here,) = product.at([(HERE[0] - 200, HERE[1])])
    np.testing.assert_allclose(here.mm, truth[1], rtol=1e-5)


def test_a_folder_of_geotiffs_gives_the_same_rain_as_the_netcdf(tmp_path, truth, grids):
    days, lat, lon, values = grids
    folder = tmp_path / "chirps"
    folder.mkdir()
    affine = Affine(0.05, 0, lon[0] - 0.025, 0, -0.05, lat[0] + 0.025)
    some = np.arange(100, 140)
    for k in some:
        layer = values[k].copy()
        if k == 120:
            layer[:] = -9999
        path = folder / f"chirps-v2.0.{str(days[k]).replace('-', '.')}.tif"
        profile = {"width": 5, "height": 5, "count": 1, "dtype": "float32", "crs": "EPSG:4326", "transform": affine}
        with rasterio.open(path, "w", driver="GTiff", **profile) as file:
            file.write(layer, 1)
    here, far = LocalRain(folder).at([HERE, (110.0, 30.0)])
    expected = truth[1][some].copy()
    expected[20] = np.nan
    np.testing.assert_allclose(here.mm, expected, rtol=1e-6)
    assert (here.first, far) == (days[100].item(), None)


@pytest.mark.parametrize("column", ["mm", "mm_per_day"])
def test_a_table_gives_the_same_rain_to_every_site(tmp_path, truth, column):
    days, mm = truth
    rows = [f"{day},{value},x" for day, value in zip(days, mm, strict=True)]
    path = tmp_path / "gauge.csv"
    path.write_text("\ufeff" + f"date,{column},note\n" + "\n".join(rows), encoding="utf-8")
    one, other = LocalRain(path).at([HERE, (0.0, 0.0)])
    np.testing.assert_allclose(one.mm, mm, rtol=1e-6)
    np.testing.assert_array_equal(other.mm, one.mm)


@pytest.mark.parametrize(("text", "message"), [
    ("day,rain\n2021-01-01,3\n", "columns day, rain"), ("date,mm\n01/02/2021,3\n", "line 2"),
    ("date,mm\n2021-01-01,3\n2021-01-02,lots\n", "line 3"), ("", "columns nothing"), ("date,mm\n", "no rain"),
])  # fmt: skip
def test_an_invalid_table_is_refused_with_the_line(tmp_path, text, message):
    (tmp_path / "gauge.csv").write_text(text)
    with pytest.raises(BadData, match=message):
        LocalRain(tmp_path / "gauge.csv").at([HERE])


def test_a_netcdf_without_a_unit_of_rain_or_with_two_variables_is_refused(tmp_path, grids):
    with pytest.raises(BadData, match="'K'"):
        LocalRain(_netcdf(tmp_path / "a.nc", grids, units="K")).at([HERE])
    path = _netcdf(tmp_path / "b.nc", grids, name="one")
    with xr.open_dataset(path) as file:
        two = file.load().assign(two=file["one"])
    two.to_netcdf(tmp_path / "c.nc", engine="netcdf4")
    with pytest.raises(BadData, match=r"one, two.*variable"):
        LocalRain(tmp_path / "c.nc").at([HERE])
    assert LocalRain(tmp_path / "c.nc", "one").at([HERE])[0] is not None
    with pytest.raises(BadData, match="holds one, two"):
        LocalRain(tmp_path / "c.nc", "no_such").at([HERE])


def test_a_netcdf_cut_short_is_refused_by_name(tmp_path, grids):
    whole = _netcdf(tmp_path / "a.nc", grids).read_bytes()
    (tmp_path / "cut.nc").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadData, match=r"cut\.nc"):
        LocalRain(tmp_path / "cut.nc").at([HERE])


def test_a_geotiff_without_a_date_in_its_name_is_refused(tmp_path):
    profile = {"width": 2, "height": 2, "count": 1, "dtype": "float32", "crs": "EPSG:4326",
               "transform": Affine(1, 0, 104, 0, -1, 37)}  # fmt: skip
    with rasterio.open(tmp_path / "rain.tif", "w", driver="GTiff", **profile) as file:
        file.write(np.zeros((2, 2), "float32"), 1)
    with pytest.raises(BadData, match="no date in its name"):
        LocalRain(tmp_path).at([HERE])


def test_a_real_gauge_is_summed_where_it_was_read_and_unknown_where_it_was_not(shared_data, tmp_path):
    """San Simon, Arizona: read nearly daily in 2010 and 2011, only now and then from 2014 on."""
    table = pd.read_csv(shared_data / "portal" / "Sansimon_regional_weather.csv")
    table[["date", "prcp"]].rename(columns={"prcp": "mm"}).to_csv(tmp_path / "gauge.csv", index=False)
    (rain,) = LocalRain(tmp_path / "gauge.csv").at([HERE])
    day = pd.to_datetime(table.date)
    by_month = table.groupby(day.dt.to_period("M")).prcp.agg(["count", "sum"])
    length = by_month.index.days_in_month
    read = by_month["count"] >= 0.9 * length
    assert read.sum() >= 12
    for month, row in by_month.iterrows():
        total = rain.total(month.start_time.date(), month.days_in_month)
        expected = row["sum"] * month.days_in_month / row["count"] if read[month] else None
        assert total == (None if expected is None else pytest.approx(expected)), month
    assert rain.total(date(2024, 6, 30), 92) is None


def test_a_real_reanalysis_in_hundredths_is_refused_until_its_unit_is_stated(shared_data, tmp_path):
    """AgERA5 over Belgium, twelve months of uint16; known only to those who know: hundredths of a millimetre."""
    source = shared_data / "worldcereal" / "worldcereal_preprocessed_inputs.nc"
    place = (5.33, 50.63)
    with xr.open_dataset(source, decode_coords="all") as cube:
        rain = cube["AGERA5-PRECIP"].load().astype("float64") / 100
        middle = float(rain.x[50]), float(rain.y[50])
        wkt = cube["crs"].attrs["crs_wkt"]
    with pytest.raises(BadData, match="is in ''"):
        LocalRain(source, "AGERA5-PRECIP").at([place])
    rain.attrs = {"units": "mm", "grid_mapping": "crs"}
    stated = xr.Dataset({"rain": rain.drop_vars("crs", errors="ignore"), "crs": ((), 0, {"crs_wkt": wkt})})
    stated.to_netcdf(tmp_path / "r.nc")
    lon, lat = Transformer.from_crs(32631, 4326, always_xy=True).transform(*middle)
    here, far = LocalRain(tmp_path / "r.nc").at([(lon, lat), (lon + 1, lat)])
    months = pd.period_range("2020-11", periods=12, freq="M")
    assert here.first == date(2020, 11, 1)
    sums = [here.total(month.start_time.date(), month.days_in_month) for month in months]
    np.testing.assert_allclose(
        sums, [35.76, 119.22, 134.30, 77.33, 65.27, 51.30, 103.76, 160.17, 160.72, 128.61, 47.74, 103.95]
    )
    assert far is None
    summer = 103.76 + 160.17 + 160.72 + 128.61 + 47.74 + 103.95 * 15 / 31
    assert here.total(date(2021, 5, 1), 168) == pytest.approx(summer, abs=0.1)
