"""Fits from running sums: the same as from scratch, whatever the night-by-night history."""

import numpy as np
import pytest

from monitor.trends.kernels.harmonic import harmonic
from monitor.trends.kernels.running import Frame, add, add_all, add_packed, fit, rows

FRAME = Frame(middle=22.0, half=5.0, harmonics=2)
PIXELS = 700  # not a whole number of tiles


@pytest.fixture(scope="module")
def record():
    """Ten years of images twelve days apart, a third unseen: times and (n, pixels) values."""
    rng = np.random.default_rng(6)
    t = np.arange(17.0, 27.0, 12 / 365.25)
    season = 0.2 * np.cos(2 * np.pi * (t - 0.55)) + 0.05 * np.sin(4 * np.pi * t)
    y = (
        0.4
        + 0.01 * (t - 22)[:, None] * rng.random(PIXELS)
        + season[:, None]
        + 0.03 * rng.standard_normal((t.size, PIXELS))
    )
    y[rng.random(y.shape) < 0.35] = np.nan
    return t, y.astype(np.float32)


def summed(t, y, frame=FRAME):
    """Sums of each year, image by image."""
    year = np.floor(t).astype(int)
    sums = np.zeros((np.unique(year).size, rows(frame), y.shape[1]), np.float32)
    for when, image, place in zip(t, y, year - year[0], strict=True):
        add(sums[place], when, image, frame)
    return sums


def by_lstsq(t, y, frame=FRAME):
    """Coefficients and root mean square residual of one pixel in double precision."""
    seen = np.isfinite(y)
    t, y = t[seen], y[seen].astype(float)
    columns = [np.ones_like(t), t - frame.middle]
    for k in range(1, frame.harmonics + 1):
        columns += [np.cos(2 * np.pi * k * t), np.sin(2 * np.pi * k * t)]
    design = np.stack(columns, axis=1)
    beta = np.linalg.lstsq(design, y, rcond=None)[0]
    left = y - design @ beta
    error = np.sqrt(left @ left / (y.size - beta.size) * np.linalg.inv(design.T @ design)[1, 1])
    return beta, np.sqrt(np.mean(left**2)), error


def test_a_pixel_takes_22_numbers_with_two_harmonics():
    assert rows(FRAME) == 22


def test_ten_years_of_updates_drift_by_less_than_a_thousandth_of_the_standard_error(record):
    t, y = record
    found = fit(summed(t, y), FRAME)
    for pixel in range(0, PIXELS, 50):
        beta, rmse, error = by_lstsq(t, y[:, pixel])
        assert abs(found[1, pixel] - beta[1]) < 1e-3 * error
        np.testing.assert_allclose(found[0, pixel], beta[0], atol=1e-5)
        np.testing.assert_allclose(found[2, pixel], np.hypot(beta[2], beta[3]), atol=1e-5)
        np.testing.assert_allclose(found[4, pixel], rmse, atol=1e-5)


def test_the_fit_is_that_of_the_whole_record_at_once(record):
    t, y = record
    middle = (t[0] + t[-1]) / 2
    frame = Frame(middle=middle, half=(t[-1] - t[0]) / 2, harmonics=2)
    np.testing.assert_allclose(fit(summed(t, y, frame), frame), harmonic(t, y, harmonics=2), rtol=1e-4, atol=1e-5)


def test_a_year_rebuilt_equals_one_that_never_saw_the_replaced_image(record):
    t, y = record
    mended = y.copy()
    mended[40] += 0.1  # a reprocessed scene
    nightly = summed(t, y)
    year = np.floor(t[40]).astype(int)
    same_year = np.floor(t) == year
    nightly[year - 17] = summed(t[same_year], mended[same_year])[0]
    np.testing.assert_array_equal(nightly, summed(t, mended))
    np.testing.assert_array_equal(fit(nightly, FRAME), fit(summed(t, mended), FRAME))


def test_pixels_do_not_depend_on_their_neighbours(record):
    t, y = record
    np.testing.assert_array_equal(summed(t, y[:, 300:301])[:, :, 0], summed(t, y)[:, :, 300])


def test_an_image_in_which_nothing_was_seen_changes_nothing(record):
    t, y = record
    sums = summed(t, y)
    before = sums.copy()
    for nothing in (np.nan, np.inf, -np.inf):
        add(sums[-1], 26.9, np.full(PIXELS, nothing, np.float32), FRAME)
    np.testing.assert_array_equal(sums, before)


def test_too_few_images_tell_nothing(record):
    t, y = record
    assert np.isnan(fit(summed(t[:11], y[:11]), FRAME)).all()


@pytest.mark.parametrize("masked", [False, True], ids=["by nodata", "by mask too"])
def test_integers_add_what_their_values_add(record, masked):
    t, y = record
    clear = np.random.default_rng(2).random(y.shape) > 0.2 if masked else np.ones(y.shape, bool)
    packed = np.where(np.isnan(y), 0, np.round(y * 10_000) + 1000).astype(np.uint16)
    found = np.zeros((1, rows(FRAME), PIXELS), np.float32)
    for when, image, mask in zip(t, packed, clear, strict=True):
        kept = {"clear": mask} if masked else {}
        add_packed(found[0], when, image, FRAME, scale=1e-4, offset=-0.1, nodata=0, **kept)
    decoded = np.where((packed != 0) & clear, packed * 1e-4 - 0.1, np.nan)
    for pixel in range(0, PIXELS, 50):
        beta, rmse, error = by_lstsq(t, decoded[:, pixel])
        fitted = fit(found, FRAME)[:, pixel]
        np.testing.assert_allclose(fitted[[0, 2, 4]], [beta[0], np.hypot(beta[2], beta[3]), rmse], atol=1e-5)
        assert abs(fitted[1] - beta[1]) < 1e-3 * error


@pytest.mark.parametrize("masked", [False, True], ids=["by nodata", "by mask too"])
def test_a_year_at_once_gives_the_bits_of_its_images_one_after_the_other(record, masked):
    t, y = record
    packed = np.where(np.isnan(y), 0, np.round(y * 10_000) + 1000).astype(np.uint16)
    clear = np.random.default_rng(2).random(y.shape) > 0.2 if masked else None
    scale, offset = np.full(t.size, 1e-4), np.where(np.arange(t.size) % 2, -0.1, 0.0)
    one_by_one, at_once = np.zeros((2, rows(FRAME), PIXELS), np.float32)
    for i, when in enumerate(t):
        mask = None if clear is None else clear[i]
        add_packed(one_by_one, when, packed[i], FRAME, scale=scale[i], offset=offset[i], nodata=0, clear=mask)
    add_all(at_once, t, packed, FRAME, scale=scale, offset=offset, nodata=0, clear=clear)
    np.testing.assert_array_equal(at_once, one_by_one)
    half = np.zeros_like(at_once)
    add_all(half, t[:50], packed[:50], FRAME, scale=scale[:50], offset=offset[:50], nodata=0,
            clear=None if clear is None else clear[:50])  # fmt: skip
    add_all(half, t[50:], packed[50:], FRAME, scale=scale[50:], offset=offset[50:], nodata=0,
            clear=None if clear is None else clear[50:])  # fmt: skip
    np.testing.assert_array_equal(half, at_once)
