"""The robust fit against its own definition, and against clouds that the mask missed."""

import numpy as np
import pytest
import xarray as xr
from dask.callbacks import Callback

from monitor.trends import maps
from monitor.trends.kernels.harmonic import harmonic
from monitor.trends.kernels.huber import MAD_OF_NORMAL, TUNING, robust_harmonic

DAY = np.timedelta64(1, "D")


def record(clouds=0.0, gaps=0.3, noise=0.02, pixels=20, kind=np.float64):
    """Eight years of a known season, a share of it under clouds that were not masked."""
    rng = np.random.default_rng(11)
    t = np.arange(16.0, 24.0, 12 / 365.25)
    y = 0.4 + 0.01 * (t - 20)[:, None] + 0.2 * np.cos(2 * np.pi * (t[:, None] - 0.55)) + 0.0 * np.zeros(pixels)
    y = y + noise * rng.standard_normal(y.shape)
    y[rng.random(y.shape) < clouds] -= 0.35
    y[rng.random(y.shape) < gaps] = np.nan
    return t, y.astype(kind)


def test_clouds_that_the_mask_missed_hardly_bend_it():
    t, y = record(clouds=0.08)
    robust, plain = robust_harmonic(t, y, harmonics=2), harmonic(t, y, harmonics=2)
    middle = 0.4 + 0.01 * ((t[0] + t[-1]) / 2 - 20)
    np.testing.assert_allclose(robust[0], middle, atol=0.01)
    assert np.abs(robust[0] - middle).mean() < np.abs(plain[0] - middle).mean() / 4
    np.testing.assert_allclose(robust[2], 0.2, atol=0.015)
    np.testing.assert_allclose(robust[4], 0.02, atol=0.008)
    assert (plain[4] > 0.06).all()


def test_it_is_where_the_weighted_residuals_are_square_to_every_term():
    """The definition of the estimate, checked by its own equations in plain numpy."""
    t, y = record(clouds=0.1, pixels=6)
    fitted = robust_harmonic(t, y, harmonics=1)
    u = t - (t[0] + t[-1]) / 2
    design = np.stack([np.ones_like(t), u, np.cos(2 * np.pi * t), np.sin(2 * np.pi * t)], axis=1)
    for mean, slope, amplitude, phase, scale in fitted.T:
        angle = 2 * np.pi * (phase - 1) / 365.25
        beta = np.array([mean, slope, amplitude * np.cos(angle), amplitude * np.sin(angle)])
        column = y[:, np.flatnonzero(fitted[0] == mean)[0]]
        seen = np.isfinite(column)
        left = column[seen] - design[seen] @ beta
        assert scale == pytest.approx(np.median(np.abs(left)) / MAD_OF_NORMAL, rel=1e-6)
        pulled = np.clip(left, -TUNING * scale, TUNING * scale)
        np.testing.assert_allclose(design[seen].T @ pulled / seen.sum(), 0, atol=1e-7 * scale)


def test_noise_without_outliers_gives_nearly_the_plain_fit():
    t, y = record()
    np.testing.assert_allclose(robust_harmonic(t, y, harmonics=2)[0], harmonic(t, y, harmonics=2)[0], atol=2e-3)


def test_a_series_without_noise_is_found_exactly():
    t, y = record(noise=0.0, clouds=0.1)
    np.testing.assert_allclose(robust_harmonic(t, y, harmonics=1)[2], 0.2, atol=1e-6)


@pytest.mark.parametrize("n", [0, 1, 11])
def test_too_few_values_give_no_number(n):
    t, y = record()
    assert np.isnan(robust_harmonic(t[:n], y[:n], harmonics=2)).all()


def test_unseen_pixels_are_left_out_and_infinity_was_not_seen():
    t, y = record(kind=np.float32)
    y[:, 3] = np.nan
    infinite = np.where(np.isnan(y), np.float32(-np.inf), y)
    found = robust_harmonic(t, y, harmonics=2)
    assert np.isnan(found[:, 3]).all()
    assert np.isfinite(np.delete(found, 3, axis=1)).all()
    np.testing.assert_array_equal(robust_harmonic(t, infinite, harmonics=2), found)


@pytest.fixture
def season():
    t, y = record(clouds=0.05)
    time = np.datetime64("2016-01-01", "ns") + (np.arange(t.size) * 12) * DAY
    coords = {"time": time, "spatial_ref": xr.DataArray(0, attrs={"crs_wkt": "a system"})}
    return xr.DataArray(y.reshape(-1, 4, 5), dims=("time", "y", "x"), coords=coords, name="ndvi", attrs={"units": "1"})


def test_the_map_is_lazy_and_the_same_in_any_chunks(season):
    with Callback(start=lambda *_: pytest.fail("computed early")):
        lazy = maps.robust_season(season.chunk(time=30, y=2, x=3))
    xr.testing.assert_identical(lazy.compute(), maps.robust_season(season))


def test_the_map_keeps_units_and_system(season):
    found = maps.robust_season(season.assign_attrs(units="kg m-2"))
    assert list(found) == ["harmonic_mean", "harmonic_slope", "harmonic_amplitude", "harmonic_phase", "scale"]
    assert found["harmonic_slope"].attrs["units"] == "kg m-2 year-1"
    assert found["scale"].attrs["units"] == "kg m-2"
    assert found["spatial_ref"].attrs == {"crs_wkt": "a system"}
    assert all(layer.encoding["grid_mapping"] == "spatial_ref" for layer in found.values())
