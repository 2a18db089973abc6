"""Measurements on the ground beside the series: what stands beside them, and the factor that they give."""

import csv
import io
from datetime import date, timedelta

import numpy as np
import pytest
from scipy import stats

from monitor.series import field_rows
from monitor.series.field_rows import FieldRow, biome_factor, field_csv, index_cover_beside, local_factor
from monitor.sites.cover_scale import FieldFactor

DAY = date(2024, 8, 1)
UNTIL = date(2025, 1, 1)


def observed(cover=0.2, *, days=range(0, 120, 10), accepted=True):
    dates = np.datetime64("2024-06-01", "D") + np.array(list(days), "timedelta64[D]")
    return {"date": dates, "accepted": np.full(dates.size, accepted), "cover": np.full(dates.size, cover)}


def rows(values, *, kind="cover", n=1):
    return [FieldRow(site="a", date=DAY, kind=kind, value=value, n=n, note=str(k)) for k, value in enumerate(values)]


def test_index_cover_beside_a_row_is_the_mean_of_the_accepted_scenes_within_twenty_days():
    seen = observed(days=[39, 41, 61, 81, 82])  # 1 August is day 61
    seen["cover"] = np.array([0.1, 0.2, 0.3, 0.4, 0.9])
    seen["accepted"][2] = False
    assert index_cover_beside(rows([0.5]), seen) == pytest.approx([0.3])
    seen["cover"][1] = np.nan
    assert index_cover_beside(rows([0.5]), seen) == pytest.approx([0.4])
    older = FieldRow(site="a", date=date(2023, 8, 1), kind="cover", value=0.4)
    assert np.isnan(index_cover_beside([older], seen)).all()


def test_the_factor_is_the_ratio_of_the_means_with_students_interval_over_rows_left_out():
    values = np.array([0.3, 0.45, 0.35, 0.5, 0.4, 0.38])
    factor = local_factor(rows(values), observed(0.2), until=UNTIL)
    assert (factor.value, factor.rows) == (pytest.approx(0.2 / values.mean()), 6)
    left_out = np.array([0.2 / np.delete(values, k).mean() for k in range(6)])
    sd = np.sqrt(5 / 6 * ((left_out - left_out.mean()) ** 2).sum())
    assert factor.high - factor.value == pytest.approx(stats.t.ppf(0.975, 5) * sd)
    assert factor.value - factor.low == pytest.approx(factor.high - factor.value)


def test_the_interval_holds_the_true_factor_in_about_95_of_100_surveys():
    rng, held = np.random.default_rng(3), 0
    for _ in range(400):
        factor = local_factor(rows(np.clip(rng.normal(0.4, 0.1, 12), 0, 1)), observed(0.24), until=UNTIL)
        held += factor.low <= 0.6 <= factor.high
    assert 0.92 <= held / 400 <= 0.98


def test_a_row_of_many_plots_weighs_as_much_as_they_do():
    many = [*rows([0.5] * 4, n=1), FieldRow(site="a", date=DAY, kind="cover", value=0.4, n=16)]
    assert local_factor(many, observed(0.2), until=UNTIL).value == pytest.approx(0.2 / (0.4 * 0.8 + 0.5 * 0.2))


@pytest.mark.parametrize("given", [
    rows([0.4] * (field_rows.MIN_FACTOR_ROWS - 1)),
    rows([0.4] * 20, kind="survival"),
    rows([0.0] * 8),
    rows([0.0, 0.0, 0.0, 0.0, 0.9]),  # the interval reaches zero
    [FieldRow(site="a", date=DAY - timedelta(days=365), kind="cover", value=0.4)] * 8,  # no scene then
], ids=["few", "other kind", "bare", "too uncertain", "not seen"])  # fmt: skip
def test_without_enough_rows_there_is_no_factor(given):
    assert local_factor(given, observed(), until=UNTIL) is None


def test_later_rows_and_rejected_scenes_are_not_used():
    assert local_factor(rows([0.4] * 8), observed(), until=DAY - timedelta(days=1)) is None
    assert local_factor(rows([0.4] * 8), observed(accepted=False), until=UNTIL) is None
    assert local_factor(rows([0.4] * 8), observed(), until=DAY).rows == 8


def test_a_biome_has_the_geometric_mean_of_its_sites_and_with_two_no_factor():
    factors = [FieldFactor(value=value, low=0.0, high=9.0, rows=7) for value in (0.4, 0.6, 0.9, 0.6)]
    assert biome_factor(factors[:2]) is None
    found = biome_factor(factors)
    logs = np.log([0.4, 0.6, 0.9, 0.6])
    low, high = np.exp(stats.t.interval(0.95, 3, logs.mean(), stats.sem(logs)))
    assert (found.low, found.high) == (pytest.approx(low, abs=0.005), pytest.approx(high, abs=0.005))
    assert (found.value, found.rows) == (0.6, 28)


def test_the_table_has_the_columns_that_are_read_and_its_texts_are_inert():
    given = [
        FieldRow(site="a", date=DAY, kind="cover", value=0.35, n=20, lon=104.00125, lat=38.5, note='say "5, or so"'),
        FieldRow(site="=a", date=DAY, kind="density", value=1650.0),
    ]
    content = field_csv(given)
    first, second = csv.DictReader(io.StringIO(content.decode("ascii")))
    assert tuple(first) == field_rows.FIELD_COLUMNS
    assert (first["value"], first["n"], first["lon"], first["note"]) == ("0.35", "20", "104.00125", 'say "5, or so"')
    assert (second["site"], second["value"], second["lat"]) == ("'=a", "1650", "")


def test_a_table_with_chinese_text_begins_with_a_byte_order_mark():
    assert field_csv([FieldRow(site="民勤", date=DAY, kind="survival", value=0.9)]).startswith(b"\xef\xbb\xbfsite,")
