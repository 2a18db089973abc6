"""Theil-Sen and Mann-Kendall against independent implementations: scipy, pymannkendall, and a plain transcription."""

import warnings

import numpy as np
import pymannkendall
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from monitor.trends.kernels.monotonic import LANES, MIN_HAMED_RAO, STATISTICS, monotonic, slope_and_score

EVEN = np.arange(200.0)
SINGLE = {"rtol": 5e-7, "atol": 1e-9}
"""Agreement of slopes in single precision: 1e-8 at .02 a year."""


def series(n: int, pixels: int, *, gaps: float = 0.0, decimals: int = 6, seed: int = 1) -> np.ndarray:
    """Wandering series, rounded so far that some values repeat."""
    rng = np.random.default_rng(seed)
    y = np.round(rng.normal(scale=0.1, size=(n, pixels)).cumsum(axis=0), decimals).astype(np.float32)
    y[rng.random(y.shape) < gaps] = np.nan
    return y


def dates(n: int, seed: int = 2) -> np.ndarray:
    """Whole days, uneven, over ten years. [year]"""
    days = np.sort(np.random.default_rng(seed).choice(3652, n, replace=False))
    return 17 + days / 365.25


def one(t: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Statistics of one series by name."""
    return dict(zip(STATISTICS, monotonic(t, np.asarray(y)[:, None])[:, 0].tolist(), strict=True))


@pytest.mark.parametrize("decimals", [6, 3, 1], ids=["few ties", "some ties", "many ties"])
@pytest.mark.parametrize("gaps", [0.0, 0.2, 0.6])
@pytest.mark.parametrize("n", [2, 3, 5, 10, 17, 60, 195])
def test_slope_score_limits_tau_and_p_are_those_of_scipy_and_pymannkendall(n, gaps, decimals):
    t, y = dates(n), series(n, LANES + 6 if n < 60 else 8, gaps=gaps, decimals=decimals)
    found = dict(zip(STATISTICS, monotonic(t, y), strict=True))
    for pixel, values in enumerate(y.T):
        seen = np.isfinite(values)
        tt, yy = t[seen], values[seen].astype(float)
        assert found["n"][pixel] == yy.size
        if yy.size < 2:
            assert all(np.isnan(found[name][pixel]) for name in STATISTICS if name != "n")
            continue
        expected = scipy.stats.theilslopes(yy, tt)
        np.testing.assert_allclose(found["slope"][pixel], expected.slope, **SINGLE)
        for name, limit in (("slope_low", expected.low_slope), ("slope_high", expected.high_slope)):
            if np.isfinite(found[name][pixel]):
                np.testing.assert_allclose(found[name][pixel], limit, **SINGLE)
            else:
                assert yy.size < 5 or np.unique(yy).size < 4
        plain = pymannkendall.original_test(yy)
        assert found["s"][pixel] == plain.s
        assert found["p"][pixel] == pytest.approx(plain.p, rel=1e-5, abs=1e-12)
        tau = scipy.stats.kendalltau(tt, yy).statistic if np.ptp(yy) > 0 else np.nan
        assert found["tau"][pixel] == pytest.approx(tau, rel=1e-6, nan_ok=True)


@pytest.mark.parametrize("middle", [-0.3, 0.0, 0.02])
@pytest.mark.parametrize("n", [9, 10, 40, 41])
def test_slopes_have_the_right_ranks_on_a_line_with_and_without_jumps_and_gaps(n, middle):
    t, y = EVEN[:n], middle * EVEN[:n, None] * np.ones((1, 3))
    y[::4, 1] += 2.0
    y[1::2, 2] += 0.25 * EVEN[:n][1::2] ** 2
    y = y.astype(np.float32)
    found = dict(zip(STATISTICS, monotonic(t, y), strict=True))
    for pixel, values in enumerate(y.T.astype(float)):
        i, j = np.triu_indices(n, 1)
        slopes = np.sort((values[j] - values[i]) / (t[j] - t[i]))
        np.testing.assert_allclose(found["slope"][pixel], np.median(slopes), **SINGLE)
        expected = scipy.stats.theilslopes(values, t)
        np.testing.assert_allclose(found["slope_low"][pixel], expected.low_slope, **SINGLE)
        np.testing.assert_allclose(found["slope_high"][pixel], expected.high_slope, **SINGLE)


@pytest.mark.parametrize("n", [2, 7, 10, 60, 195])
def test_the_light_kernel_gives_the_same_slope_and_score(n):
    t, y = dates(n), series(n, 3 * LANES + 1, gaps=0.3, decimals=2)
    slope, s = slope_and_score(t, y)
    whole = monotonic(t, y)
    np.testing.assert_array_equal(slope, whole[0])
    np.testing.assert_array_equal(s, whole[4])


@pytest.mark.parametrize("n", [12, 13, 16, 17, 60])
def test_hamed_rao_is_that_of_pymannkendall_where_its_variance_is_positive(n):
    # of these lengths the number of pairs is even: no pair of residuals is equal by construction
    y = series(n, 24)
    found = monotonic(EVEN[:n], y)[STATISTICS.index("p_hamed_rao")]
    positive = 0
    for p, values in zip(found, y.T, strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # it takes the root of a negative variance
            expected = pymannkendall.hamed_rao_modification_test(values.astype(float))
        if expected.var_s > 0:
            positive += 1
            assert p == pytest.approx(expected.p, rel=1e-6, abs=1e-12)
        else:
            assert np.isnan(p)
    assert positive >= 18


def hamed_rao(t: np.ndarray, y: np.ndarray) -> float:
    """Transcription of Hamed and Rao (1998), equations 10 to 16, with equal residuals sharing a rank."""
    n = y.size
    s = sum(np.sign(y[j] - y[i]) for i in range(n) for j in range(i + 1, n))
    _, runs = np.unique(y, return_counts=True)
    variance = (n * (n - 1) * (2 * n + 5) - (runs * (runs - 1) * (2 * runs + 5)).sum()) / 18
    residual = np.round(y - scipy.stats.theilslopes(y, t).slope * (t - t[0]), 6)
    rank = scipy.stats.rankdata(residual)
    rank -= rank.mean()
    total = 0.0
    for lag in range(1, n):
        r = (rank[lag:] * rank[:-lag]).sum() / (rank**2).sum()
        if abs(r) > scipy.stats.norm.ppf(0.975) / np.sqrt(n):
            total += (n - lag) * (n - lag - 1) * (n - lag - 2) * r
    variance *= 1 + 2 * total / (n * (n - 1) * (n - 2))
    return 2 * scipy.stats.norm.sf(max(abs(s) - 1, 0) / np.sqrt(variance)) if variance > 0 else np.nan


@pytest.mark.parametrize("n", [10, 11, 15, 40])
def test_hamed_rao_follows_the_paper_on_uneven_dates_with_gaps_and_ties(n):
    t, y = dates(n), series(n, 12, gaps=0.1, decimals=2)
    found = monotonic(t, y)[STATISTICS.index("p_hamed_rao")]
    for p, values in zip(found, y.T, strict=True):
        seen = np.isfinite(values)
        expected = hamed_rao(t[seen], values[seen].astype(float)) if seen.sum() >= MIN_HAMED_RAO else np.nan
        assert p == pytest.approx(expected, rel=1e-6, nan_ok=True)


def test_a_negative_corrected_variance_gives_nan_and_not_a_missing_trend():
    rising = np.array([1, 3, 3, 9, 1, 8, 4, 5, 2, 6, 5, 5], float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        expected = pymannkendall.hamed_rao_modification_test(rising)
    assert expected.var_s < 0
    assert expected.trend == "no trend"
    found = one(EVEN[:12], rising)
    assert np.isnan(found["p_hamed_rao"])
    assert found["s"] == 17
    assert np.isfinite(found["p"])


def test_a_hand_worked_example():
    # pairs: (1-0)/1, (3-0)/2, (2-0)/4, (3-1)/1, (2-1)/3, (2-3)/2 = 1, 1.5, .5, 2, 1/3, -.5
    found = one(np.array([0.0, 1.0, 2.0, 4.0]), np.array([0.0, 1.0, 3.0, 2.0]))
    assert found["slope"] == pytest.approx(0.75)
    assert found["s"] == 4
    assert found["tau"] == pytest.approx(4 / 6)
    assert found["p"] == pytest.approx(2 * scipy.stats.norm.sf(3 / np.sqrt(4 * 3 * 13 / 18)))
    assert np.isnan(found["slope_low"])
    assert np.isnan(found["slope_high"])


@pytest.mark.parametrize("n", [8, 40])
def test_one_missed_cloud_in_five_does_not_move_the_slope_by_much(n):
    y = 0.3 + 0.02 * EVEN[:n]
    y[::5] = -0.5
    found = one(EVEN[:n], y)
    assert found["slope"] == pytest.approx(0.02, abs=0.012)
    assert one(EVEN[:n], 0.3 + 0.02 * EVEN[:n])["slope"] == pytest.approx(0.02, rel=1e-6)


@pytest.mark.parametrize("n", [10, 40])
def test_a_series_that_never_changes_has_no_slope_no_trend_and_no_correlation(n):
    found = one(EVEN[:n], np.full(n, 0.3))
    assert (found["slope"], found["s"], found["p"], found["n"]) == (0, 0, 1, n)
    assert np.isnan(found["tau"])
    assert np.isnan(found["p_hamed_rao"])


@pytest.mark.parametrize("n", [0, 1, 5, 40])
@pytest.mark.parametrize("nothing", [np.nan, np.inf, -np.inf])
def test_nothing_seen_gives_no_number_but_n(n, nothing):
    y = np.full((n, 3), nothing)
    if n > 1:
        y[1, 0] = 0.5  # one value is no trend either
    found = monotonic(EVEN[:n], y)
    assert np.isnan(found[:-1]).all()
    np.testing.assert_array_equal(found[-1], [n > 1, 0, 0])


def test_scenes_a_day_apart_count_as_a_day_apart():
    t = 24 + np.arange(40) / 365.25
    y = (0.3 + 0.001 * np.arange(40)).astype(np.float32)[:, None]
    np.testing.assert_allclose(monotonic(t, y)[0], 0.36525, rtol=1e-5)


@pytest.mark.parametrize("size", [1e-20, 1e30])
def test_values_of_any_size_have_their_slopes(size):
    t, y = dates(40), series(40, 3) * np.float32(size)
    expected = [scipy.stats.theilslopes(values.astype(float), t).slope for values in y.T]
    np.testing.assert_allclose(monotonic(t, y)[0], expected, rtol=1e-6)


def test_how_pixels_are_tiled_changes_no_bit():
    for n in (10, 40):
        t, y = dates(n), series(n, 200, gaps=0.2)
        parts = [monotonic(t, np.ascontiguousarray(part)) for part in np.split(y, [1, 64, 77], axis=1)]
        np.testing.assert_array_equal(np.concatenate(parts, axis=1), monotonic(t, y))


values = arrays(np.float64, st.integers(2, 24), elements=st.floats(-1, 1).map(lambda v: round(v, 3)) | st.just(np.nan))


@settings(max_examples=40, deadline=None)
@given(y=values, shift=st.integers(-4, 4))
def test_an_offset_changes_neither_slope_nor_test(y, shift):
    y = np.round(y * 1024) / 1024  # exact, so that the offset makes and breaks no ties
    np.testing.assert_allclose(
        monotonic(EVEN[: y.size], (y + shift)[:, None]), monotonic(EVEN[: y.size], y[:, None]), rtol=1e-6, atol=1e-7
    )


@settings(max_examples=40, deadline=None)
@given(y=values, factor=st.sampled_from([0.25, 2.0, 64.0]))
def test_a_scale_stretches_the_slope_and_leaves_the_test(y, factor):
    plain, scaled = monotonic(EVEN[: y.size], y[:, None]), monotonic(EVEN[: y.size], y[:, None] * factor)
    np.testing.assert_allclose(scaled[:3], plain[:3] * factor, rtol=1e-6, atol=1e-12)
    np.testing.assert_array_equal(scaled[3:], plain[3:])


@settings(max_examples=40, deadline=None)
@given(y=values)
def test_time_run_backwards_turns_the_slope_and_the_score_round(y):
    t = EVEN[: y.size]
    forward, backward = monotonic(t, y[:, None]), monotonic(t, y[::-1, None].copy())
    rounding = np.finfo(np.float32).eps * np.nanmax(np.abs(y), initial=0)  # of two slopes of which the mean is taken
    np.testing.assert_allclose(backward[0], -forward[0], rtol=1e-6, atol=rounding)
    np.testing.assert_array_equal(backward[[4, 5, 7]], forward[[4, 5, 7]] * [[-1], [1], [1]])


@settings(max_examples=40, deadline=None)
@given(y=values, between=st.sets(st.integers(0, 24)))
def test_layers_that_saw_nothing_change_nothing(y, between):
    t = EVEN[: y.size]
    empty = np.array(sorted(between), float) + 0.5
    order = np.argsort(np.concatenate([t, empty]))
    padded = np.concatenate([y, np.full(empty.size, np.nan)])[order]
    found = monotonic(np.concatenate([t, empty])[order], padded[:, None])
    np.testing.assert_allclose(found, monotonic(t, y[:, None]), rtol=1e-6, atol=1e-12)
