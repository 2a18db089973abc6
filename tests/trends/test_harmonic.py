"""The seasonal fit against numpy's least squares in double precision, and against seasons that were put in."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.trends.kernels.harmonic import FIT_ROWS, TILE_PIXELS, harmonic
from monitor.trends.kernels.harmonic_solve import _share_of_turn

LEAP_CYCLE = 365.25


def dates(n: int, seed: int = 2) -> np.ndarray:
    """Uneven dates over ten years. [years since 2000]"""
    return 15.3 + np.sort(np.random.default_rng(seed).uniform(0, 10, n))


def cloudy(t: np.ndarray, pixels: int, *, noise: float = 0.05, gaps: float = 0.35) -> np.ndarray:
    rng = np.random.default_rng(3)
    year = 2 * np.pi * (t[:, None] - 200 / LEAP_CYCLE)
    y = 0.4 + 0.02 * (t[:, None] - 20) + 0.2 * np.cos(year) + 0.05 * np.sin(2 * year)
    y = (y + rng.normal(scale=noise, size=(t.size, pixels))).astype(np.float32)
    y[rng.random(y.shape) < gaps] = np.nan
    return y


def least_squares(t: np.ndarray, y: np.ndarray, harmonics: int) -> np.ndarray:
    """The same quantities by ``numpy.linalg.lstsq``, one pixel at a time."""
    columns = [np.ones_like(t), t - (t[0] + t[-1]) / 2]
    for k in range(1, harmonics + 1):
        columns += [np.cos(2 * np.pi * k * t), np.sin(2 * np.pi * k * t)]
    design = np.stack(columns, axis=1)
    found = []
    for values in y.T.astype(float):
        seen = np.isfinite(values)
        beta = np.linalg.lstsq(design[seen], values[seen], rcond=None)[0]
        phase = 1 + np.arctan2(beta[3], beta[2]) / (2 * np.pi) % 1 * LEAP_CYCLE
        rmse = np.sqrt(np.mean((values[seen] - design[seen] @ beta) ** 2))
        found.append([beta[0], beta[1], np.hypot(beta[2], beta[3]), phase, rmse])
    return np.transpose(found)


@pytest.mark.parametrize("harmonics", [1, 2, 3])
@pytest.mark.parametrize("n", [60, 299, 300])
def test_coefficients_and_residuals_are_those_of_double_precision_least_squares(n, harmonics):
    t = dates(n)
    y = cloudy(t, TILE_PIXELS + 40)
    found, expected = harmonic(t, y, harmonics=harmonics), least_squares(t, y, harmonics)
    for part in ("mean", "slope", "amplitude", "rmse"):
        i = FIT_ROWS.index(part)
        np.testing.assert_allclose(found[i], expected[i], rtol=0, atol=1e-6, err_msg=part)
    turned = found[3] - expected[3]
    np.testing.assert_allclose((turned + 180) % LEAP_CYCLE - 180, 0, atol=3e-4)


def test_a_season_seen_only_in_summer_is_fitted_to_a_thousandth_of_its_standard_error():
    t = np.concatenate([np.arange(152, 259, 4) + LEAP_CYCLE * year for year in range(15, 22)]) / LEAP_CYCLE
    y = cloudy(t, 60, gaps=0.0)
    year = 2 * np.pi * t
    design = np.stack([t * 0 + 1, t - t.mean(), np.cos(year), np.sin(year), np.cos(2 * year), np.sin(2 * year)], axis=1)
    errors = 0.05 * np.sqrt(np.diag(np.linalg.inv(design.T @ design)))[:2, None]
    found, expected = harmonic(t, y, harmonics=2)[:2], least_squares(t, y, 2)[:2]
    assert (np.abs(found - expected) < errors / 1000).all()


def test_what_was_put_in_comes_out_and_leaves_nothing():
    t = dates(150)
    y = cloudy(t, 5, noise=0)
    middle = (t[0] + t[-1]) / 2
    expected = [0.4 + 0.02 * (middle - 20), 0.02, 0.2, 201, 0]
    np.testing.assert_allclose(harmonic(t, y, harmonics=2).T, np.tile(expected, (5, 1)), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("day", ["2019-01-20", "2020-07-18", "2021-12-30"])
def test_the_phase_is_the_day_of_the_year_of_the_peak(day):
    peak = (np.datetime64(day) - np.datetime64("2000-01-01")) / np.timedelta64(1, "D") / LEAP_CYCLE
    t = 15 + np.arange(0, 8, 0.05)
    found = harmonic(t, 0.3 + 0.1 * np.cos(2 * np.pi * (t - peak))[:, None], harmonics=1)[3, 0]
    day_of_year = 1 + (np.datetime64(day) - np.datetime64(day[:4] + "-01-01")) / np.timedelta64(1, "D")
    assert found == pytest.approx(day_of_year, abs=1)


@pytest.mark.parametrize("harmonics", [1, 2])
def test_what_has_no_season_has_no_peak_and_what_has_a_faint_one_has_its_own(harmonics):
    t = dates(150)
    level = np.random.default_rng(5).uniform(-1, 1, 500)
    flat = np.repeat(level[None], t.size, axis=0).astype(np.float32)
    trending = (0.3 + 0.02 * t[:, None] + 0 * flat[:, :3]).astype(np.float32)
    found = harmonic(t, np.concatenate([flat, trending, 0 * trending], axis=1), harmonics=harmonics)
    assert np.isnan(found[3]).all()
    assert np.isfinite(np.delete(found, 3, axis=0)).all()
    faint = (0.3 + 1e-5 * np.cos(2 * np.pi * (t - 200 / LEAP_CYCLE)))[:, None].astype(np.float32)
    assert harmonic(t, faint, harmonics=harmonics)[3, 0] == pytest.approx(201, abs=1)


@pytest.mark.parametrize("harmonics", [1, 2])
def test_one_date_a_year_determines_no_season(harmonics):
    for offset in (0.0, 0.25, 0.5):  # yearly stamps, and calendar dates that leap years move by hours
        for calendar in (0, np.array([0, -0.25, -0.5, -0.75] * 6)[:22]):
            t = 2 + offset + np.arange(22) + calendar / LEAP_CYCLE
            y = np.random.default_rng(1).normal(size=(22, 4))
            assert np.isnan(harmonic(t, y, harmonics=harmonics)).all()


def test_images_of_one_month_alone_determine_no_season():
    rng = np.random.default_rng(0)
    days = np.concatenate([90 + rng.choice(25, 4, replace=False) + LEAP_CYCLE * year for year in range(15, 25)])
    t = np.sort(days) / LEAP_CYCLE
    y = rng.normal(0.5, 0.05, (40, 200)).astype(np.float32)
    assert np.isnan(harmonic(t, y, harmonics=2)).all()
    assert np.isnan(harmonic(t, y, harmonics=1)).all()


@pytest.mark.parametrize("n", [0, 1, 11, 30])
def test_too_few_values_give_no_number(n):
    t = dates(n)
    y = np.full((n, 3), 0.5)
    y[11:, 0], y[:, 1], y[:, 2] = np.nan, np.nan, np.inf
    assert np.isnan(harmonic(t, y, harmonics=2)).all()


def test_twelve_values_spread_over_the_year_are_enough_for_two_harmonics():
    t = 20 + np.arange(12) * 0.41
    assert np.isfinite(harmonic(t, np.random.default_rng(1).normal(size=(12, 1)), harmonics=2)).all()


def test_infinite_values_count_as_not_seen():
    t = dates(80)
    y = cloudy(t, 4)
    infinite = np.where(np.isnan(y), np.float32(np.inf), y)
    np.testing.assert_array_equal(harmonic(t, infinite, harmonics=2), harmonic(t, y, harmonics=2))


def test_how_pixels_are_tiled_changes_no_bit():
    t = dates(90)
    y = cloudy(t, 600)
    parts = [harmonic(t, np.ascontiguousarray(p), harmonics=2) for p in np.split(y, [1, 100, 357], axis=1)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), harmonic(t, y, harmonics=2))


@settings(max_examples=40, deadline=None)
@given(shift=st.floats(-2, 2), factor=st.floats(0.01, 100), seed=st.integers(0, 1000))
def test_offset_and_scale_pass_through(shift, factor, seed):
    t = dates(40, seed)
    y = cloudy(t, 3, gaps=0.2)
    plain, changed = harmonic(t, y, harmonics=2), harmonic(t, y * factor + shift, harmonics=2)
    expected = plain * np.array([factor, factor, factor, 1, factor])[:, None] + np.array([shift, 0, 0, 0, 0])[:, None]
    # Single precision rounds a value in proportion to its level, and the phase in proportion to level over amplitude.
    rounding = 1e-5 * (abs(shift) + factor)
    for i in (0, 1, 2, 4):
        np.testing.assert_allclose(changed[i], expected[i], rtol=0, atol=rounding, err_msg=FIT_ROWS[i])
    turned = (changed[3] - expected[3] + 180) % LEAP_CYCLE - 180
    assert (abs(turned) * expected[2] <= rounding * LEAP_CYCLE / (2 * np.pi)).all()


@settings(max_examples=40, deadline=None)
@given(order=st.permutations(range(30)))
def test_where_the_missing_layers_stand_does_not_matter(order):
    t = dates(60)
    y = cloudy(t, 1, gaps=0)
    hidden = sorted(order[:12])
    masked = y.copy()
    masked[hidden] = np.nan
    visible = np.setdiff1d(np.arange(60), hidden)
    if 0 in hidden:  # the middle of the record is that of its layers, seen or not
        return
    np.testing.assert_allclose(
        harmonic(t, masked, harmonics=2), harmonic(t[visible], y[visible], harmonics=2), rtol=1e-6, atol=1e-6
    )


def test_a_series_that_does_not_vary_leaves_nothing():
    fitted = harmonic(dates(97), np.full((97, 2), 0.37, np.float32), harmonics=2)
    np.testing.assert_allclose(fitted[[0, 1, 2, 4]], [[0.37] * 2, [0] * 2, [0] * 2, [0] * 2], atol=2e-8)


def test_the_angle_is_that_of_the_library_in_every_direction():
    around = np.concatenate([np.linspace(0, 2 * np.pi, 2001), np.arange(9) * np.pi / 4])
    for angle in around:
        s, c = np.sin(angle), np.cos(angle)
        turn = _share_of_turn(s, c)
        assert 0 <= turn < 1
        expected = np.arctan2(s, c) / (2 * np.pi)
        assert abs((turn - expected + 0.5) % 1 - 0.5) < 4e-16  # two units in the last place of a turn
    assert _share_of_turn(0.0, 0.0) == 0
    assert _share_of_turn(-1e-300, 1.0) == 0
