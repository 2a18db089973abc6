"""The benchmark must not flatter: what it puts in comes out, and what it counts is counted right."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from shapely.geometry import Polygon

pytest.importorskip("nrt.monitor", reason="the peers of the benchmarks are not installed")
pytest.importorskip("pymannkendall", reason="the peers of the benchmarks are not installed")

from benchmarks.verdict import other, real, rivals, scores, simulate, trials
from benchmarks.verdict.table import Row
from monitor.sites.site import Site
from monitor.verdict.assessment import Series

CALM = simulate.World(rain_sd=0.0, mismatch_sd=0.0, slow_sd=0.0, baseline_sd=0.0, scene_sd=0.0)


def difference(cases, *, after, doy=(200, 230)):
    """Mean of site less control near the peak of the season, in one year."""
    found = []
    for case in cases:
        days = case.series.dates
        year, of_year = (
            days.astype("datetime64[Y]").astype(int) + 1970,
            (days - days.astype("datetime64[Y]")).astype(int),
        )
        part = (year == case.site.start.year + after) & (of_year >= doy[0]) & (of_year <= doy[1])
        found.append((case.series.cover - case.series.control)[part])
    return np.nanmean(np.concatenate(found))


def test_simulated_sites_rise_by_theta_times_the_plan():
    low, high = (
        list(simulate.simulate(CALM, {"slow": 200}, np.random.default_rng(3), theta=theta)) for theta in (0.0, 0.5)
    )
    promised = simulate.PLAN.uplift(4.58)
    assert difference(high, after=4) - difference(low, after=4) == pytest.approx(0.5 * promised, rel=0.12)
    assert difference(high, after=0) - difference(low, after=0) == pytest.approx(0.0, abs=1e-9)


def test_a_plan_a_fifth_too_large_and_a_year_early_is_what_the_wrong_truths_say():
    late = replace(CALM, truth=trials.LATE)
    small = replace(CALM, truth=trials.SMALL)
    right, small_rise, late_rise = (
        difference(simulate.simulate(w, {"slow": 200}, np.random.default_rng(3), theta=1.0), after=4)
        - difference(simulate.simulate(w, {"slow": 200}, np.random.default_rng(3), theta=0.0), after=4)
        for w in (CALM, small, late)
    )
    assert small_rise / right == pytest.approx(0.8, rel=0.02)
    assert late_rise / right == pytest.approx(simulate.PLAN.uplift(3.58) / simulate.PLAN.uplift(4.58), rel=0.03)


def test_other_simulator_rises_too_though_it_makes_ndvi_and_saturates():
    def rise(saturation):
        world = other.Otherworld(saturation=saturation)
        low, high = (
            list(other.simulate(world, {"slow": 300}, np.random.default_rng(4), theta=theta)) for theta in (0.0, 1.0)
        )
        return difference(high, after=4) - difference(low, after=4)

    promised = simulate.PLAN.uplift(4.58)
    assert rise(0.01) == pytest.approx(promised, rel=0.15)
    assert rise(1.2) > 1.1 * rise(0.01)  # sparse cover is overrated by a straight line through a bent one


def test_seeds_of_one_line_do_not_depend_on_other_lines():
    first = trials.generator(1, "half", "right").random(4)
    assert np.array_equal(first, trials.generator(1, "half", "right").random(4))
    assert not np.array_equal(first, trials.generator(1, "half", "small").random(4))
    assert not set(trials.SEEDS) & set(trials.TRAINING)


def test_auc_counts_ties_as_half_and_the_unscored_as_the_middle():
    assert scores.auc(np.array([1.0, 2.0]), np.array([0.0, 1.0])) == pytest.approx(3.5 / 4)
    assert scores.auc(np.array([np.nan, np.nan]), np.array([0.0, 2.0])) == pytest.approx(0.5)


def test_calibration_error_of_chances_that_come_true_as_told_is_zero():
    chance = np.repeat([0.05, 0.55], 100)
    happened = np.concatenate([np.arange(100) < 5, np.arange(100) < 55])
    assert scores.calibration_error(chance, happened) == pytest.approx(0.0, abs=1e-12)
    assert scores.calibration_error(chance, ~happened) == pytest.approx((0.9 + 0.1) / 2)


def test_tuned_thresholds_keep_the_budget_under_every_null():
    rng = np.random.default_rng(5)
    nulls = {"right": rng.normal(0.2, 1, (4000, 6)), "late": rng.normal(0, 1, (4000, 6))}
    at = scores.tuned(nulls, 0.05)
    false = {name: scores.called(v, at)[:, -1].mean() for name, v in nulls.items()}
    assert max(false.values()) <= 0.05
    assert max(false.values()) > 0.045
    assert not np.isfinite(at[: scores.FIRST_LOOK]).any()  # too early to accuse anybody


def test_an_alarm_is_counted_once_a_year_and_one_before_the_loss_finds_nothing():
    days = np.arange(np.datetime64("2021-01-05"), np.datetime64("2023-12-31"), np.timedelta64(10, "D"))
    panel = rivals.Panel(
        days=days, start=np.datetime64("2021-01-01"), site=np.zeros((days.size, 4)),
        difference=np.zeros((days.size, 4)), rain=None, event=np.full(4, np.datetime64("NaT", "D")),
    )  # fmt: skip
    event = np.array(["NaT", "NaT", "2022-06-01", "2022-06-01"], "datetime64[D]")
    statistic = np.zeros((days.size, 4))
    at = {text: int(np.searchsorted(days, np.datetime64(text))) for text in ("2021-05-01", "2021-08-01", "2022-08-01")}
    statistic[[at["2021-05-01"], at["2021-08-01"], at["2022-08-01"]], 0] = 2.0  # the second within a year: not counted
    statistic[at["2022-08-01"], 2] = 2.0
    statistic[at["2021-08-01"] :, 3] = 2.0  # began before the loss
    rate, found = rivals.alarms(panel, statistic, event, np.array([1.0, 3.0]))
    years = (days[-1] - panel.start).astype(int) / 365.25
    assert rate == pytest.approx([2 / 2 / years, 0.0])
    assert found[0, 1] == 0.0  # not within two months: sixty-five days
    assert found[0, 2] == 0.5
    assert found[1].max() == 0.0


@pytest.fixture(scope="module")
def plain_panel():
    """Thirty sites that rise steeply against their control from the start on, thirty that do not, in little noise."""
    rng = np.random.default_rng(6)
    days = np.concatenate(
        [
            np.arange(np.datetime64(f"{y}-05-01"), np.datetime64(f"{y}-10-14"), np.timedelta64(10, "D"))
            for y in range(2016, 2025)
        ]
    )
    doy = (days - days.astype("datetime64[Y]")).astype(int)
    s = np.exp(-0.5 * ((doy - 215) / 45) ** 2)
    tau = np.maximum((days - np.datetime64("2020-01-01")).astype(int) / 365.25, 0)
    cases = []
    for k in range(60):
        control = 0.2 * s + 0.04
        cover = control + (0.06 * tau * s if k < 30 else 0.0) + rng.normal(0, 0.01, days.size)
        site = Site(
            id=str(k), name="", geometry=Polygon(), start=date(2020, 1, 1), intervention="planting", biome="loess",
            plan=simulate.PLAN, hectares=100.0,
        )  # fmt: skip
        cases.append(
            simulate.Case(
                site=site, series=Series(dates=days, cover=np.clip(cover, 0, 1), control=control), fate="", theta=0.0,
                event=np.datetime64("NaT", "D"), rain=np.zeros(9),
            )
        )  # fmt: skip
    return rivals.Panel.of(cases)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_every_rival_tells_a_steep_rise_from_none(plain_panel):
    opinions, _ = rivals.ask(plain_panel, losses_of=np.zeros(60, bool))
    for (tool, variant), opinion in opinions.items():
        assert scores.auc(opinion.score[:30, 4], opinion.score[30:, 4]) > 0.95, (tool, variant)
    for tool in ("Mann-Kendall (pymannkendall), D", "harmonic trend, D", "difference in differences, yearly"):
        holds = next(o.holds for (name, _), o in opinions.items() if name == tool)
        assert holds[:30, 4].all()
        assert holds[30:, 4].mean() < 0.3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::RuntimeWarning")
def test_a_rival_that_no_history_is_long_enough_for_watches_nobody_and_breaks_nothing(plain_panel):
    seen = plain_panel.difference.copy()
    before = np.flatnonzero(plain_panel.days < plain_panel.start)
    seen[before[9:]] = np.nan  # nine scenes are left
    found = rivals.watch(plain_panel, seen, "MOSUM", trend=True)
    assert found.silent.all()
    assert np.isnan(found.rising).all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_our_reading_of_a_monitor_of_nrt_crosses_where_nrt_itself_breaks(plain_panel):
    """Positive breaks as nrt's own mask has them, scene by scene, against the ratio that is tuned."""
    import datetime as dt

    import xarray as xr
    from nrt.monitor.ccdc import CCDC
    from nrt.monitor.mosum import MoSum

    values = plain_panel.difference
    after = np.flatnonzero(plain_panel.days >= plain_panel.start)
    for tool, cls in (("CCDC", CCDC), ("MOSUM", MoSum)):
        cube = xr.DataArray(
            values[:, None, :], dims=("time", "y", "x"),
            coords={"time": plain_panel.days.astype("datetime64[ns]"), "y": [0.0], "x": np.arange(60.0)},
        )  # fmt: skip
        monitor = cls(trend=True)
        monitor.fit(cube[plain_panel.days < plain_panel.start], **({"screen_outliers": None} if tool == "CCDC" else {}))
        broke = np.full(60, after.size)
        watchable = (monitor.mask == 1).ravel()
        for k, t in enumerate(after):
            when = plain_panel.days[t].astype(object)
            monitor.monitor(values[t][None, :], dt.datetime(when.year, when.month, when.day))  # noqa: DTZ001  (it asks for that)
            broke[(monitor.mask.ravel() == 3) & (broke == after.size)] = k
        watched = rivals.watch(plain_panel, values, tool, trend=True)
        with np.errstate(invalid="ignore"):
            reached = np.maximum(np.nan_to_num(watched.rising), np.nan_to_num(watched.falling)) >= 1
        first = np.where(reached.any(axis=0), reached.argmax(axis=0), after.size)
        assert watchable[:30].mean() > 0.9
        assert np.mean((first == broke)[:30][watchable[:30]]) > 0.9, tool


def test_stable_hectares_of_the_sample_are_told_by_moisture_and_are_less_than_all():
    logged = real.logged()
    assert logged.size == 100
    assert 30 <= np.sum(logged == 0) <= 90
    assert set(np.unique(logged)) <= {0, 2017, 2018, 2019, 2020}


def test_real_noise_is_neither_scaled_nor_mixed_and_the_uplift_is_the_plan():
    none, whole = ([case for case, _ in real.cases(simulate.PLAN, theta, start=real.STARTS[0])] for theta in (0.0, 1.0))
    for low, high in zip(none[:5], whole[:5], strict=True):
        added = high.series.cover - low.series.cover
        late = (low.series.dates >= np.datetime64("2020-06-15")) & (low.series.dates < np.datetime64("2020-08-20"))
        inside = late & (low.series.cover > 0) & (high.series.cover < 1)
        assert np.nanmedian(added[inside]) == pytest.approx(simulate.PLAN.uplift(4.55), rel=0.15)
        assert np.nanmax(np.abs(added[low.series.dates < np.datetime64("2017-01-01")])) == 0.0  # the lag


def test_a_missed_goal_is_printed_as_missed_and_never_rounded_up():
    row = Row(name="x", values=np.array([[0.0604], [0.0602]]), goal=(0.06,), sense="<=")
    assert row.verdict == "**MISSED**"
    two = Row(name="x", entries=("a", "b"), values=np.array([[0.5, 0.7]]), goal=(0.5, 0.78), aim=(0.6, 0.8))
    assert two.verdict == "**MISSED** (b)"
    assert (
        Row(name="x", values=np.array([0.95]), goal=(0.92, 0.98), aim=(0.94, 0.96), sense="in").verdict
        == "met, aim met"
    )
