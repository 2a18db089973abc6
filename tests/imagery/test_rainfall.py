"""A season's rain against its normal: sums known beforehand, products of every shape, and real rain."""

import json
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
from affine import Affine

from monitor.errors import BadData
from monitor.imagery.auxiliary.rainfall import DailyRain, LocalRain, anomaly, daily_rain, merge_rain, monthly

HERE = (104.52, 36.03)
OPENS, LENGTH = 120, 168
"""May to mid October, as in the north of China."""


def season_of(totals, *, first=2000, wet=lambda day: True):
    """Rain that falls evenly on the wet days of each season, nothing outside, from the first year on. [mm]"""
    last = first + len(totals) - 1
    days = np.arange(np.datetime64(f"{first}-01-01"), np.datetime64(f"{last + 1}-01-01"))
    mm = np.zeros(days.size)
    for year, total in enumerate(totals, start=first):
        opened = np.datetime64(f"{year}-01-01") + np.timedelta64(OPENS, "D")
        inside = (days >= opened) & (days < opened + np.timedelta64(LENGTH, "D"))
        mm[inside] = total / LENGTH
    return DailyRain(first=days[0].item(), mm=mm, source="made up")


def told(rain, as_of, *, start=date(2012, 4, 1)):
    return anomaly(rain, opens=OPENS, length=LENGTH, start=start, as_of=as_of)


TWELVE = [90.0, 110.0] * 6
"""Totals of 2000 to 2011: mean 100, standard deviation 10 sqrt(12/11)."""


def test_a_season_is_told_in_standard_deviations_of_the_years_before_the_work():
    found = told(season_of([*TWELVE, 500, 500, 80]), date(2014, 12, 1))
    assert (found.season, found.days, found.years) == (2014, LENGTH, 12)
    assert (found.total, found.normal) == (pytest.approx(80), pytest.approx(100))
    assert found.z == pytest.approx(-20 / (10 * (12 / 11) ** 0.5))
    assert found.code == "DROUGHT"


def test_years_after_the_start_do_not_change_what_is_usual():
    dry = told(season_of([*TWELVE, 80, 20, 80]), date(2014, 12, 1))
    wet = told(season_of([*TWELVE, 80, 900, 80]), date(2014, 12, 1))
    assert dry == wet


@pytest.mark.parametrize(("total", "code"), [(89.4, "DROUGHT"), (89.7, None), (100, None), (150, None)])
def test_a_season_is_dry_below_one_standard_deviation(total, code):
    assert told(season_of([*TWELVE, total]), date(2012, 11, 1)).code == code


def test_the_season_to_date_is_held_against_the_same_days():
    """Half way through, at the usual pace, nothing is wrong; the whole normal would say half is missing."""
    found = told(season_of([*TWELVE, 100]), date(2012, 1, 1) + timedelta(days=OPENS + 83))
    assert (found.season, found.days) == (2012, 84)
    assert (found.total, found.normal) == (pytest.approx(50), pytest.approx(50))
    assert found.z == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("as_of", [date(2013, 1, 15), date(2013, 5, 1), date(2013, 6, 20)])
def test_before_and_early_in_a_season_the_last_one_stands(as_of):
    found = told(season_of([*TWELVE, 70, 0]), as_of)
    assert (found.season, found.days) == (2012, LENGTH)
    assert found.total == pytest.approx(70)


def test_rain_after_the_day_does_not_count():
    rain = season_of([*TWELVE, 100])
    day = date(2012, 8, 1)
    later = rain.mm.copy()
    later[(day - rain.first).days + 1 :] = 77.0
    assert told(rain, day) == told(DailyRain(first=rain.first, mm=later, source=rain.source), day)


def test_a_product_that_comes_late_is_compared_over_the_days_it_has():
    rain = season_of([*TWELVE, 100])
    day = date(2012, 1, 1) + timedelta(days=OPENS + 99)

    def until(days_short):
        short = rain.mm[: (day - rain.first).days + 1 - days_short]
        return told(DailyRain(first=rain.first, mm=short, source=rain.source), day)

    assert (until(21).days, until(21).z) == (79, pytest.approx(0, abs=1e-9))
    assert (until(40).total, until(40).code) == (None, "RAIN_UNKNOWN")
    assert until(400).code == "RAIN_UNKNOWN"


def test_nine_earlier_years_do_not_say_what_is_usual_and_ten_do():
    rain = season_of([*TWELVE, 50])
    nine = told(rain, date(2012, 12, 1), start=date(2009, 4, 1))
    assert (nine.years, nine.z, nine.normal, nine.code) == (9, None, None, "RAIN_UNKNOWN")
    assert nine.total == pytest.approx(50)
    assert told(rain, date(2012, 12, 1), start=date(2010, 4, 1)).code == "DROUGHT"


def test_the_season_in_which_the_work_began_is_no_year_before_it():
    assert told(season_of([*TWELVE, 50]), date(2012, 12, 1), start=date(2011, 7, 1)).years == 11


def test_gaps_are_no_drought():
    rain = season_of([*TWELVE, 100])
    opened = (date(2012, 1, 1) - rain.first).days + OPENS
    few, many = rain.mm.copy(), rain.mm.copy()
    few[opened + 10 : opened + 26] = np.nan
    many[opened + 10 : opened + 27] = np.nan
    day = date(2012, 12, 1)
    assert told(DailyRain(first=rain.first, mm=few, source="x"), day).total == pytest.approx(100)
    found = told(DailyRain(first=rain.first, mm=many, source="x"), day)
    assert (found.total, found.z, found.code) == (None, None, "RAIN_UNKNOWN")


def test_where_it_never_rains_nothing_is_dry():
    assert told(season_of([0.0] * 13), date(2012, 12, 1)).code == "RAIN_UNKNOWN"


def test_a_season_that_runs_into_the_next_year_is_one_season():
    days = np.arange(np.datetime64("2000-01-01"), np.datetime64("2013-06-01"))
    wet = np.isin(days.astype("datetime64[M]").astype(int) % 12, [11, 0])  # December and January
    mm = wet.astype(float) * (1 + (days.astype("datetime64[Y]").astype(int) % 2))
    rain = DailyRain(first=date(2000, 1, 1), mm=mm, source="x")
    found = anomaly(rain, opens=304, length=181, start=date(2012, 1, 1), as_of=date(2013, 3, 1))
    assert (found.season, found.days) == (2012, 122)  # 2012 leaps: from 31 October on
    assert found.total == pytest.approx(31 * 1 + 31 * 2)  # even 2012: 1 mm a day, odd 2013: 2


def test_a_month_is_spread_over_its_days_and_summed_back():
    months = np.array(["2021-01-01", "2021-02-01", "2021-04-30"], dtype="datetime64[D]")
    rain = daily_rain(months, np.array([31.0, 14.0, 60.0]), rate=False, source="x")
    assert (rain.first, rain.last) == (date(2021, 1, 1), date(2021, 4, 30))
    assert (rain.mm[0], rain.mm[31], rain.mm[-1]) == (1.0, 0.5, 2.0)
    assert np.isnan(rain.mm[59:90]).all()
    labels, sums = monthly(rain)
    assert labels.astype(str).tolist() == ["2021-01", "2021-02", "2021-03", "2021-04"]
    np.testing.assert_allclose(sums, [31, 14, np.nan, 60])
    rate = daily_rain(months, np.array([1.0, 0.5, 2.0]), rate=True, source="x")
    np.testing.assert_allclose(rate.mm, rain.mm)


@pytest.mark.parametrize("wrong", [-9999.0, -1.0, np.nan, np.inf, 2500.0])
def test_impossible_rain_is_unknown_rain(wrong):
    days = np.array(["2021-05-02", "2021-05-01"], dtype="datetime64[D]")
    np.testing.assert_array_equal(daily_rain(days, np.array([wrong, 3.0]), rate=False, source="x").mm, [3.0, np.nan])


def test_a_day_twice_is_refused_and_so_are_weeks():
    with pytest.raises(BadData, match="two values for 2021-05-01"):
        daily_rain(
            np.array(["2021-05-01", "2021-05-01", "2021-05-02"], "datetime64[D]"), np.ones(3), rate=False, source="x"
        )
    with pytest.raises(BadData, match="every 7 days"):
        daily_rain(np.arange("2021-01-01", "2021-03-01", 7, dtype="datetime64[D]"), np.ones(9), rate=False, source="x")
    with pytest.raises(BadData, match="no rain"):
        daily_rain(np.array([], "datetime64[D]"), np.array([]), rate=False, source="x")


def test_rain_that_was_kept_takes_in_new_days_and_those_that_were_corrected():
    kept = DailyRain(first=date(2021, 1, 1), mm=np.array([1.0, 2.0, np.nan, 4.0]), source="old")
    new = DailyRain(first=date(2021, 1, 3), mm=np.array([3.0, np.nan, 5.0, 6.0]), source="new")
    both = merge_rain(kept, new)
    assert (both.first, both.last, both.source) == (date(2021, 1, 1), date(2021, 1, 6), "new")
    np.testing.assert_array_equal(both.mm, [1, 2, 3, 4, 5, 6])
    apart = merge_rain(kept, DailyRain(first=date(2021, 1, 6), mm=np.array([9.0]), source="new"))
    np.testing.assert_array_equal(apart.mm, [1, 2, np.nan, 4, np.nan, 9])
    again = DailyRain.from_json(json.loads(json.dumps(apart.to_json(), allow_nan=False)))
    np.testing.assert_array_equal(again.mm, apart.mm)
    assert (again.first, again.source) == (apart.first, "new")


# One rain in every shape that products come in.


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


@pytest.mark.parametrize(
    "shape",
    [{}, {"flip": True}, {"units": "mm"}, {"units": "m", "factor": 1e-3, "name": "tp"},
     {"units": "kg m-2 s-1", "factor": 1 / 86400}],
)  # fmt: skip
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


@pytest.mark.parametrize(
    ("text", "told_"),
    [
        ("day,rain\n2021-01-01,3\n", "columns day, rain"),
        ("date,mm\n01/02/2021,3\n", "line 2"),
        ("date,mm\n2021-01-01,3\n2021-01-02,lots\n", "line 3"),
        ("", "columns nothing"),
        ("date,mm\n", "no rain"),
    ],
)
def test_a_table_that_is_none_is_refused_with_the_line(tmp_path, text, told_):
    (tmp_path / "gauge.csv").write_text(text)
    with pytest.raises(BadData, match=told_):
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


def test_a_netcdf_cut_short_is_told_with_its_name(tmp_path, grids):
    whole = _netcdf(tmp_path / "a.nc", grids).read_bytes()
    (tmp_path / "cut.nc").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadData, match=r"cut\.nc"):
        LocalRain(tmp_path / "cut.nc").at([HERE])


def test_a_geotiff_without_a_date_in_its_name_is_told(tmp_path):
    profile = {"width": 2, "height": 2, "count": 1, "dtype": "float32", "crs": "EPSG:4326",
               "transform": Affine(1, 0, 104, 0, -1, 37)}  # fmt: skip
    with rasterio.open(tmp_path / "rain.tif", "w", driver="GTiff", **profile) as file:
        file.write(np.zeros((2, 2), "float32"), 1)
    with pytest.raises(BadData, match="no date in its name"):
        LocalRain(tmp_path).at([HERE])


def test_an_anomaly_is_written_as_plain_values():
    stored = json.dumps(told(season_of([*TWELVE, 80]), date(2012, 12, 1)).to_json(), allow_nan=False)
    assert json.loads(stored) == {
        "season": 2012, "days": LENGTH, "total": 80.0, "normal": 100.0, "z": -1.915, "years": 12, "source": "made up",
    }  # fmt: skip


# Real rain.


def test_droughts_of_the_real_monthly_rain_are_those_of_a_plain_sum(shared_data, tmp_path):
    """GPCP, 1979 to 2025, mean millimetres a day of each month; June to September against all years before 2010."""
    table = pd.read_csv(shared_data / "pyxccd" / "5_precip_gpcp.csv", parse_dates=["time"], date_format="%m/%d/%Y")
    table.rename(columns={"time": "date", "precip": "mm_per_day"}).to_csv(tmp_path / "gpcp.csv", index=False)
    (rain,) = LocalRain(tmp_path / "gpcp.csv").at([HERE])
    sums = (
        (table.precip * table.time.dt.days_in_month)
        .groupby(table.time.dt.year.where(table.time.dt.month.between(6, 9)))
        .sum()
    )
    usual = sums[sums.index < 2010]
    expected = (sums - usual.mean()) / usual.std()
    found = {}
    for year in range(2010, 2025):
        leap = year % 4 == 0
        one = anomaly(rain, opens=151 + leap, length=122, start=date(2010, 1, 1), as_of=date(year, 11, 1))
        assert one.years == 31
        assert one.total == pytest.approx(sums[year], rel=0.03)  # a day earlier in years that do not leap alike
        found[year] = one.z
    np.testing.assert_allclose(
        [found[y] for y in range(2010, 2025)], [expected[y] for y in range(2010, 2025)], atol=0.06
    )
    dry = {year for year, z in found.items() if z < -1}
    assert dry == {int(year) for year in expected.loc[2010:2024].index if expected[year] < -1}


def test_a_real_gauge_is_summed_where_it_was_read_and_unknown_where_it_was_not(shared_data, tmp_path):
    """San Simon, Arizona: read nearly daily in 2010 and 2011, only now and then from 2014 on."""
    table = pd.read_csv(shared_data / "portal" / "Sansimon_regional_weather.csv")
    table[["date", "prcp"]].rename(columns={"prcp": "mm"}).to_csv(tmp_path / "gauge.csv", index=False)
    (rain,) = LocalRain(tmp_path / "gauge.csv").at([HERE])
    months, sums = monthly(rain)
    day = pd.to_datetime(table.date)
    by_month = table.groupby(day.dt.to_period("M")).prcp.agg(["count", "sum"])
    length = by_month.index.days_in_month
    read = by_month["count"] >= 0.9 * length
    assert read.sum() >= 12
    at = {str(month): value for month, value in zip(months, sums, strict=True)}
    for month, row in by_month[read].iterrows():
        assert at[str(month)] == pytest.approx(row["sum"] * month.days_in_month / row["count"])
    for month in by_month[~read].index:
        assert np.isnan(at[str(month)]), month
    found = anomaly(rain, opens=181, length=92, start=date(2020, 1, 1), as_of=date(2024, 12, 1))
    assert (found.total, found.code) == (None, "RAIN_UNKNOWN")


def test_a_real_reanalysis_in_hundredths_is_refused_until_its_unit_is_said(shared_data, tmp_path):
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
    xr.Dataset({"rain": rain.drop_vars("crs", errors="ignore"), "crs": ((), 0, {"crs_wkt": wkt})}).to_netcdf(
        tmp_path / "r.nc"
    )
    from pyproj import Transformer

    lon, lat = Transformer.from_crs(32631, 4326, always_xy=True).transform(*middle)
    here, far = LocalRain(tmp_path / "r.nc").at([(lon, lat), (lon + 1, lat)])
    months, sums = monthly(here)
    assert months.astype(str).tolist()[0] == "2020-11"
    np.testing.assert_allclose(
        sums, [35.76, 119.22, 134.30, 77.33, 65.27, 51.30, 103.76, 160.17, 160.72, 128.61, 47.74, 103.95]
    )
    assert far is None
    found = anomaly(here, opens=OPENS, length=LENGTH, start=date(2021, 1, 1), as_of=date(2021, 10, 31))
    assert (found.code, found.years) == ("RAIN_UNKNOWN", 0)
    assert found.total == pytest.approx(103.76 + 160.17 + 160.72 + 128.61 + 47.74 + 103.95 * 15 / 31, abs=0.1)
