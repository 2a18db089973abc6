"""The benchmark must not flatter: what it puts in comes out, and what it counts is counted right."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from tests import builders

pytest.importorskip("nrt.monitor", reason="the peers of the benchmarks are not installed")
pytest.importorskip("pymannkendall", reason="the peers of the benchmarks are not installed")

from benchmarks.verdict import conditions, lots, other, real, rivals, rows, scores, simulate, third
from benchmarks.verdict.table import Figure, Row
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
    late = replace(CALM, truth=replace(simulate.PLAN, L=2.0))
    small = replace(CALM, truth=replace(simulate.PLAN, A=0.16))
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


def third_difference(theta):
    """Mean of site less the monitor's control at the peak of the fifth year, sites with noise of their own."""
    cases = third.simulate(conditions.THIRD, "slow", 60, np.random.default_rng(8), theta=theta)
    return difference(conditions.as_monitored(cases), after=4)


def test_third_simulator_rises_by_theta_times_the_plan_and_its_units_do_not():
    promised = simulate.PLAN.uplift(4.58)
    assert third_difference(1.0) - third_difference(0.0) == pytest.approx(promised, rel=0.1)
    assert third_difference(0.0) == pytest.approx(0.0, abs=0.02)


def test_restored_control_units_make_a_success_look_smaller_less_so_as_the_monitor_chooses_them():
    cases = list(third.simulate(third.Thirdworld(restored=0.3), "slow", 60, np.random.default_rng(8), theta=1.0))
    every, chosen = difference(cases, after=4), difference(conditions.as_monitored(cases), after=4)
    promised = simulate.PLAN.uplift(4.58)
    assert every == pytest.approx(0.7 * promised, rel=0.1)
    assert every + 0.01 < chosen < 1.1 * promised


def test_statistics_of_the_third_world_are_those_it_was_described_with():
    """Measured once on 300 sites of a reference simulator of the same description."""
    cases = list(third.simulate(third.Thirdworld(), "slow", 100, np.random.default_rng(9), theta=0.0))
    gap = [case.series.cover - case.series.control for case in cases]
    apart = [case.units - case.units.mean(axis=1, keepdims=True) for case in cases]
    assert np.concatenate(gap).std() == pytest.approx(0.0289, rel=0.08)
    assert np.concatenate(apart).std() == pytest.approx(0.0297, rel=0.05)
    assert np.mean([case.series.dates.size for case in cases]) in (
        pytest.approx(349, rel=0.02),
        pytest.approx(233, rel=0.02),
    )


@pytest.mark.parametrize("world", conditions.CONDITIONS)
def test_a_sudden_loss_shows_in_every_world(world):
    case = next(iter(conditions.cases(world, conditions.BASE, "disturbed", sites=1, seed=1)))
    start = np.datetime64(case.site.start)
    assert start + np.timedelta64(540, "D") < case.event < case.series.dates[-1] - np.timedelta64(360, "D")


def test_sites_of_a_lot_share_a_shock_and_lots_do_not():
    world = replace(CALM, lot=5, shock_sd=0.05, clear=1.0)
    cases = list(simulate.simulate(world, {"slow": 10}, np.random.default_rng(3), theta=0.0))
    gap = np.array([case.series.cover - case.series.control for case in cases])
    alike = np.corrcoef(gap)
    assert alike[0, 1:5].min() > 0.55 > 0.45 > np.abs(alike[0, 5:]).max()


def test_strips_share_the_sites_own_drift():
    def spread(strips):
        cases = simulate.simulate(replace(CALM, slow_sd=0.03, strips=strips), {"slow": 40}, np.random.default_rng(3))
        return np.std([np.mean((c.series.cover - c.series.control)[:30]) for c in cases])

    assert spread(0.6) == pytest.approx(0.4 * spread(0.0), rel=0.15)


def test_seeds_of_one_case_do_not_depend_on_other_cases():
    first = conditions.generator(1, "half", "right").random(4)
    assert np.array_equal(first, conditions.generator(1, "half", "right").random(4))
    assert not np.array_equal(first, conditions.generator(1, "half", "small").random(4))
    assert not set(conditions.SEEDS) & set(conditions.TRAINING)


def test_counts_of_a_case_agree_with_its_verdicts():
    some = list(conditions.cases("present", conditions.BASE, "failed", sites=12, seed=101))
    outcomes = scores.run(some)
    found = scores.pooled([scores.judged(outcomes[:5]), scores.judged(outcomes[5:])])
    assert found.sites == 12
    assert found.ever("failure") == np.mean([scores.red(o.rows).any() for o in outcomes])
    assert found.ever("disturbed") == np.mean([(o.rows.status == scores.DISTURBED).any() for o in outcomes])
    assert found.by("red", 6)[0] >= found.by("failure", 6)[0]
    assert found.by("watch", 3)[0] >= found.by("failure", 3)[0]
    assert np.array_equal(found.estimate, [o.rows.theta[-1] for o in outcomes])
    assert found.first_judged_year == 3
    assert np.isinf(found.named_after).all()  # nothing was lost


def test_tuned_thresholds_keep_the_budget_under_every_null():
    rng = np.random.default_rng(5)
    nulls = {"right": rng.normal(0.2, 1, (4000, 6)), "late": rng.normal(0, 1, (4000, 6))}
    at = rivals.tuned(nulls, 0.05)
    false = {name: rivals.called(v, at)[:, -1].mean() for name, v in nulls.items()}
    assert max(false.values()) <= 0.05
    assert max(false.values()) > 0.045
    assert not np.isfinite(at[: rivals.FIRST_LOOK]).any()  # too early to accuse anybody


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
        site = builders.site(str(k), start=date(2020, 1, 1), plan=simulate.PLAN)
        cases.append(
            simulate.Case(
                site=site, series=Series(dates=days, cover=np.clip(cover, 0, 1), control=control), theta=0.0,
                event=np.datetime64("NaT", "D"),
            )
        )  # fmt: skip
    return rivals.Panel.of(cases)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_every_rival_distinguishes_a_steep_rise_from_none(plain_panel):
    found = rivals.opinions(plain_panel)
    for name, score in found.items():
        if name.startswith("default|"):
            assert score[:30].mean() < 0.1, name
            assert score[30:].mean() > 0.7, name
        else:
            assert np.median(score[:30, 4]) > np.max(score[30:, 4]), name


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_our_reading_of_a_monitor_of_nrt_crosses_where_nrt_itself_breaks(plain_panel):
    """Positive breaks as nrt's own mask has them, scene by scene, against the ratio that is tuned."""
    import datetime as dt

    import xarray as xr
    from nrt.monitor.cusum import CuSum

    values = plain_panel.difference
    after = np.flatnonzero(plain_panel.days >= plain_panel.start)
    cube = xr.DataArray(
        values[:, None, :], dims=("time", "y", "x"),
        coords={"time": plain_panel.days.astype("datetime64[ns]"), "y": [0.0], "x": np.arange(60.0)},
    )  # fmt: skip
    monitor = CuSum(trend=True)
    monitor.fit(cube[plain_panel.days < plain_panel.start])
    broke = np.full(60, after.size)
    watchable = (monitor.mask == 1).ravel()
    for k, t in enumerate(after):
        when = plain_panel.days[t].astype(object)
        monitor.monitor(values[t][None, :], dt.datetime(when.year, when.month, when.day))  # noqa: DTZ001  (it asks for that)
        broke[(monitor.mask.ravel() == 3) & (broke == after.size)] = k
    reach, _ = rivals.watch(plain_panel, CuSum, trend=True)
    reached = np.abs(np.nan_to_num(reach)) >= 1
    first = np.where(reached.any(axis=0), reached.argmax(axis=0), after.size)
    assert watchable[:30].mean() > 0.9
    assert np.mean((first == broke)[:30][watchable[:30]]) > 0.9


def test_stable_hectares_of_the_sample_are_recognised_by_moisture_and_are_not_all():
    logged = real.logged()
    assert logged.size == 100
    assert 30 <= np.sum(logged == 0) <= 90
    assert set(np.unique(logged)) <= {0, 2017, 2018, 2019, 2020}


def test_real_noise_is_neither_scaled_nor_mixed_and_the_uplift_is_the_plan_in_its_shape():
    ground, _ = real.checkerboard()
    none, constant, bell = (list(ground.cases(range(5), *how)) for how in ((), (1.0, "constant"), (1.0, "bell")))
    days = none[0].series.dates
    july, winter = (days >= np.datetime64("2020-07-01")) & (days < np.datetime64("2020-08-01")), ground.bell() < 0.1
    for low, high, green in zip(none, constant, bell, strict=True):
        assert np.array_equal(low.series.control, high.series.control, equal_nan=True)
        added, in_shape = high.series.cover - low.series.cover, green.series.cover - low.series.cover
        assert np.nanmax(np.abs(added[days < np.datetime64("2018-01-01")])) == 0.0  # the lag
        assert np.nanmean(added[july]) == pytest.approx(simulate.PLAN.uplift(3.54), rel=0.02)
        assert 0.6 < np.nanmean(in_shape[july]) / np.nanmean(added[july]) <= 1.05
        assert np.nanmax(in_shape[winter]) < 0.02


def test_a_loss_that_is_put_in_stays_and_a_year_follows():
    ground, _ = real.checkerboard()
    for before, after in zip(ground.cases(range(9)), ground.cases(range(9), loss=0.1), strict=True):
        lost, late = before.series.cover - after.series.cover, before.series.dates >= after.event
        assert np.nanmax(np.abs(lost[~late])) == 0.0
        assert np.nanmax(lost[late]) == pytest.approx(0.1, abs=0.03)
        assert before.series.dates[-1] - after.event > np.timedelta64(365, "D")


def test_blocks_that_fell_for_good_are_not_those_that_came_back(shared_data, monkeypatch):
    monkeypatch.setattr(real, "ELSEWHERE", shared_data)
    _, healed = real.scrub(2009, 2015).fallen()
    assert np.flatnonzero(healed).tolist() == [0, 4]  # block 0: .2 below its control in 2011, .17 above it in 2014
    ground, stable, fell = real.forest()
    assert (stable.size, fell.size) == (175, 24)
    assert not any(set(ground.chosen[i]) & ({i} | set(fell.tolist())) for i in fell)


def test_a_missed_figure_is_printed_as_missed_and_never_rounded_up():
    assert Row(name="x", figures=[Figure(0.0603)], required=(0.06,)).verdict == "**MISSED**"
    two = [Figure(0.5), Figure(0.7)]
    assert Row(name="x", figures=two, required=(0.5, 0.78), sense="≥").verdict == "**MISSED** (2)"
    assert Row(name="x", figures=two, required=(0.5, 0.7), sense="≥").verdict == "met"


def test_a_share_has_its_binomial_error_and_a_share_of_zero_too():
    found = Figure.share(np.arange(100) < 10)
    assert (found.value, found.error) == (0.1, pytest.approx(0.03, rel=0.02))
    assert 0.001 < Figure.share(np.zeros(300)).error < 0.003


def test_the_page_is_short_enough_to_be_read():
    stresses = sum(len(by_stress) for by_stress in conditions.CONDITIONS.values())
    lines = 12 + stresses - len(rows.FIRST_TABLE) + len(rows.CALIBRATED) + 4
    assert lines <= 40


def test_a_failed_lot_without_a_shock_is_red_and_what_is_counted_of_lots_is_pooled():
    parts = [lots.judged_lots(seed, 1, "no shock", "failed") for seed in (101, 102)]
    found = lots.together(parts)
    assert (found.red <= 6).all()
    assert (found.watch <= found.red).all()
    assert found.red[1] == parts[1].red[0]
