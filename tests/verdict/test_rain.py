"""A season's rain against its normal: sums known beforehand, and real rain."""

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from monitor.imagery.auxiliary.rainfall import DailyRain, LocalRain
from monitor.sites.growing_season import GrowingSeason
from monitor.verdict.rain import season_anomaly
from monitor.verdict.reasons import Reason

HERE = (104.52, 36.03)

OPENS, LENGTH = 120, 168
"""May to mid October, as in the north of China."""
SEASON = GrowingSeason(OPENS, LENGTH, 95.0, 45.0)


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


def anomaly(rain, as_of, *, start=date(2012, 4, 1)):
    return season_anomaly(rain, SEASON, start=start, as_of=as_of)


TWELVE = [90.0, 110.0] * 6
"""Totals of 2000 to 2011: mean 100, standard deviation 10 sqrt(12/11)."""


def test_a_season_is_measured_in_standard_deviations_of_the_years_before_the_work():
    found = anomaly(season_of([*TWELVE, 500, 500, 80]), date(2014, 12, 1))
    assert (found.season, found.days, found.years) == (2014, LENGTH, 12)
    assert (found.total, found.normal) == (pytest.approx(80), pytest.approx(100))
    assert found.z == pytest.approx(-20 / (10 * (12 / 11) ** 0.5))
    assert found.reason == Reason.RAIN_LOW


def test_years_after_the_start_do_not_change_what_is_usual():
    dry = anomaly(season_of([*TWELVE, 80, 20, 80]), date(2014, 12, 1))
    wet = anomaly(season_of([*TWELVE, 80, 900, 80]), date(2014, 12, 1))
    assert dry == wet


@pytest.mark.parametrize(("total", "reason"), [(89.4, Reason.RAIN_LOW), (89.7, None), (100, None), (150, None)])
def test_a_season_is_dry_below_one_standard_deviation(total, reason):
    assert anomaly(season_of([*TWELVE, total]), date(2012, 11, 1)).reason == reason


def test_the_season_to_date_is_held_against_the_same_days():
    """Half way through, at the usual pace, nothing is wrong; the whole normal would say half is missing."""
    found = anomaly(season_of([*TWELVE, 100]), date(2012, 1, 1) + timedelta(days=OPENS + 83))
    assert (found.season, found.days) == (2012, 84)
    assert (found.total, found.normal) == (pytest.approx(50), pytest.approx(50))
    assert found.z == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("as_of", [date(2013, 1, 15), date(2013, 5, 1), date(2013, 6, 20)])
def test_before_and_early_in_a_season_the_last_one_stands(as_of):
    found = anomaly(season_of([*TWELVE, 70, 0]), as_of)
    assert (found.season, found.days) == (2012, LENGTH)
    assert found.total == pytest.approx(70)


def test_rain_after_the_day_does_not_count():
    rain = season_of([*TWELVE, 100])
    day = date(2012, 8, 1)
    later = rain.mm.copy()
    later[(day - rain.first).days + 1 :] = 77.0
    assert anomaly(rain, day) == anomaly(DailyRain(first=rain.first, mm=later, source=rain.source), day)


def test_a_product_that_comes_late_is_compared_over_the_days_it_has():
    rain = season_of([*TWELVE, 100])
    day = date(2012, 1, 1) + timedelta(days=OPENS + 99)

    def until(days_short):
        short = rain.mm[: (day - rain.first).days + 1 - days_short]
        return anomaly(DailyRain(first=rain.first, mm=short, source=rain.source), day)

    assert (until(21).days, until(21).z) == (79, pytest.approx(0, abs=1e-9))
    assert (until(40).total, until(40).reason) == (None, Reason.RAIN_UNKNOWN)
    assert until(400).reason == Reason.RAIN_UNKNOWN


def test_nine_earlier_years_do_not_say_what_is_usual_and_ten_do():
    rain = season_of([*TWELVE, 50])
    nine = anomaly(rain, date(2012, 12, 1), start=date(2009, 4, 1))
    assert (nine.years, nine.z, nine.normal, nine.reason) == (9, None, None, Reason.RAIN_UNKNOWN)
    assert nine.total == pytest.approx(50)
    assert anomaly(rain, date(2012, 12, 1), start=date(2010, 4, 1)).reason == Reason.RAIN_LOW
    assert anomaly(rain, date(2012, 12, 1), start=date(2011, 7, 1)).years == 11  # not that in which the work began


def test_gaps_are_not_taken_for_drought():
    rain = season_of([*TWELVE, 100])
    opened = (date(2012, 1, 1) - rain.first).days + OPENS
    few, many = rain.mm.copy(), rain.mm.copy()
    few[opened + 10 : opened + 26] = np.nan
    many[opened + 10 : opened + 27] = np.nan
    day = date(2012, 12, 1)
    assert anomaly(DailyRain(first=rain.first, mm=few, source="x"), day).total == pytest.approx(100)
    found = anomaly(DailyRain(first=rain.first, mm=many, source="x"), day)
    assert (found.total, found.z, found.reason) == (None, None, Reason.RAIN_UNKNOWN)


def test_where_it_never_rains_nothing_is_dry():
    assert anomaly(season_of([0.0] * 13), date(2012, 12, 1)).reason == Reason.RAIN_UNKNOWN


def test_a_season_that_runs_into_the_next_year_is_one_season():
    days = np.arange(np.datetime64("2000-01-01"), np.datetime64("2013-06-01"))
    wet = np.isin(days.astype("datetime64[M]").astype(int) % 12, [11, 0])  # December and January
    mm = wet.astype(float) * (1 + (days.astype("datetime64[Y]").astype(int) % 2))
    rain = DailyRain(first=date(2000, 1, 1), mm=mm, source="x")
    found = season_anomaly(rain, GrowingSeason(304, 181, 90.0, 45.0), start=date(2012, 1, 1), as_of=date(2013, 3, 1))
    assert (found.season, found.days) == (2012, 122)  # 2012 leaps: from 31 October on
    assert found.total == pytest.approx(31 * 1 + 31 * 2)  # even 2012: 1 mm a day, odd 2013: 2


def test_droughts_of_the_real_monthly_rain_are_those_of_a_plain_sum(shared_data, tmp_path):
    """GPCP, 1979 to 2025, mean millimetres a day of each month; June to September against all years before 2010."""
    table = pd.read_csv(shared_data / "pyxccd" / "5_precip_gpcp.csv", parse_dates=["time"], date_format="%m/%d/%Y")
    table.rename(columns={"time": "date", "precip": "mm_per_day"}).to_csv(tmp_path / "gpcp.csv", index=False)
    (rain,) = LocalRain(tmp_path / "gpcp.csv").at([HERE])
    summer = table.time.dt.year.where(table.time.dt.month.between(6, 9))
    sums = (table.precip * table.time.dt.days_in_month).groupby(summer).sum()
    usual = sums[sums.index < 2010]
    expected = (sums - usual.mean()) / usual.std()
    found = {}
    for year in range(2010, 2025):
        summer = GrowingSeason(151 + (year % 4 == 0), 122, 60.0, 45.0)
        one = season_anomaly(rain, summer, start=date(2010, 1, 1), as_of=date(year, 11, 1))
        assert one.years == 31
        assert one.total == pytest.approx(sums[year], rel=0.03)  # a day earlier in years that do not leap alike
        found[year] = one.z
    np.testing.assert_allclose([*found.values()], [expected[year] for year in found], atol=0.06)
    dry = {year for year, z in found.items() if z < -1}
    assert dry == {int(year) for year in expected.loc[2010:2024].index if expected[year] < -1}
