"""Fits from running sums: the same as from scratch, whatever the night-by-night history."""

import numpy as np
import pytest

from monitor.trends.kernels.harmonic import harmonic
from monitor.trends.kernels.running import Frame, add, add_all, add_history, add_packed, fit, octets, rows, terms, total

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


def by_year(t):
    """Which of ascending times lie in each year, a slice each."""
    year = np.floor(t)
    return [slice(*np.searchsorted(year, [one, one + 1])) for one in np.unique(year)]


def nothing(years, dates, pixels=PIXELS, frame=FRAME):
    """Sums and bits of years without an image, with room for so many a year."""
    return np.zeros((years, rows(frame), pixels), np.float32), np.zeros((years, octets(dates), pixels), np.uint8)


def summed(t, y, frame=FRAME):
    """Sums of each year, image by image, the dates seen, and the times."""
    years = by_year(t)
    sums, seen = nothing(len(years), 40, y.shape[1], frame)
    for one, bits, some in zip(sums, seen, years, strict=True):
        for place, (when, image) in enumerate(zip(t[some], y[some], strict=True)):
            add(one, bits, place, when, image, frame)
    return sums, seen, [t[some] for some in years]


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


def test_a_fit_of_two_harmonics_is_made_from_22_sums_of_which_7_and_a_bit_a_date_are_kept_of_a_year():
    assert (terms(FRAME), rows(FRAME)) == (22, 7)
    assert [octets(dates) for dates in (0, 1, 8, 9, 73)] == [0, 1, 1, 2, 10]


def test_ten_years_of_updates_drift_by_less_than_a_thousandth_of_the_standard_error(record):
    t, y = record
    found = fit(*summed(t, y), FRAME)
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
    np.testing.assert_allclose(fit(*summed(t, y, frame), frame), harmonic(t, y, harmonics=2), rtol=1e-4, atol=1e-5)


def test_a_year_rebuilt_equals_one_that_never_saw_the_replaced_image(record):
    t, y = record
    mended = y.copy()
    mended[40] += 0.1  # a reprocessed scene
    mended[40, :300] = np.nan
    sums, seen, times = summed(t, y)
    (year,) = (place for place, some in enumerate(by_year(t)) if some.start <= 40 < some.stop)
    again = summed(t[by_year(t)[year]], mended[by_year(t)[year]])
    sums[year], seen[year] = again[0][0], again[1][0]
    fresh = summed(t, mended)
    np.testing.assert_array_equal(sums, fresh[0])
    np.testing.assert_array_equal(seen, fresh[1])
    np.testing.assert_array_equal(fit(sums, seen, times, FRAME), fit(*fresh, FRAME))


def test_years_that_are_over_may_be_kept_as_one(record):
    t, y = record
    sums, seen, times = summed(t, y)
    closed = total(sums[:-1], seen[:-1], times[:-1], FRAME)
    found = fit(sums[-1:], seen[-1:], times[-1:], FRAME, closed)
    assert closed.shape == (22, PIXELS)
    for pixel in range(0, PIXELS, 50):
        beta, rmse, error = by_lstsq(t, y[:, pixel])
        assert abs(found[1, pixel] - beta[1]) < 1e-3 * error
        np.testing.assert_allclose(found[[0, 2, 4], pixel], [beta[0], np.hypot(beta[2], beta[3]), rmse], atol=1e-5)


def test_what_a_fit_is_made_from_are_the_sums_that_their_names_say(record):
    t, y = record
    found = total(*summed(t, y), FRAME)
    seen, u = np.isfinite(y), ((t - FRAME.middle) / FRAME.half)[:, None]
    values, angle = np.nan_to_num(y).astype(float), 2 * np.pi * t[:, None]
    features = [np.ones_like(u), u, u * u]
    features += [np.cos(k * angle) for k in (1, 2, 3, 4)] + [np.sin(k * angle) for k in (1, 2, 3, 4)]
    features += [u * np.cos(k * angle) for k in (1, 2)] + [u * np.sin(k * angle) for k in (1, 2)]
    basis = [np.ones_like(u), u, np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle)]
    np.testing.assert_allclose(found[:15], [(seen * one).sum(axis=0) for one in features], atol=3e-5)
    np.testing.assert_allclose(found[15:21], [(values * one).sum(axis=0) for one in basis], atol=3e-5)
    np.testing.assert_allclose(found[21], (values**2).sum(axis=0), rtol=1e-5)


@pytest.mark.parametrize("harmonics", [1, 3])
def test_any_number_of_harmonics_is_fitted(record, harmonics):
    t, y = record
    frame = FRAME._replace(harmonics=harmonics)
    found = fit(*summed(t, y, frame), frame)
    for pixel in range(0, PIXELS, 100):
        beta, rmse, _ = by_lstsq(t, y[:, pixel], frame)
        expected = [beta[0], beta[1], np.hypot(beta[2], beta[3]), rmse]
        np.testing.assert_allclose(found[[0, 1, 2, 4], pixel], expected, atol=1e-5)


def test_pixels_do_not_depend_on_their_neighbours(record):
    t, y = record
    alone, all_ = summed(t, y[:, 300:301]), summed(t, y)
    np.testing.assert_array_equal(alone[0][..., 0], all_[0][..., 300])
    np.testing.assert_array_equal(alone[1][..., 0], all_[1][..., 300])
    np.testing.assert_array_equal(fit(*alone, FRAME)[:, 0], fit(*all_, FRAME)[:, 300])


def test_an_image_in_which_nothing_was_seen_changes_nothing(record):
    t, y = record
    sums, seen, times = summed(t, y)
    before = sums.copy(), seen.copy()
    for none in (np.nan, np.inf, -np.inf):
        add(sums[-1], seen[-1], times[-1].size, 26.9, np.full(PIXELS, none, np.float32), FRAME)
    np.testing.assert_array_equal(sums, before[0])
    np.testing.assert_array_equal(seen, before[1])


def test_too_few_images_tell_nothing(record):
    t, y = record
    assert np.isnan(fit(*summed(t[:11], y[:11]), FRAME)).all()


def test_no_image_at_all_tells_nothing():
    assert np.isnan(fit(*nothing(1, 8), [np.empty(0)], FRAME)).all()
    assert np.isnan(fit(*nothing(0, 8), [], FRAME)).all()


def as_stored(y, masked):
    """Integers of values, scale and offset of each image, and which pixels were clear."""
    packed = np.where(np.isnan(y), 0, np.round(y * 10_000) + 1000).astype(np.uint16)
    clear = np.random.default_rng(2).random(y.shape) > 0.2 if masked else None
    return packed, np.full(len(y), 1e-4), np.where(np.arange(len(y)) % 2, -0.1, -0.05), clear


def part(clear, some):
    return None if clear is None else clear[some]


@pytest.mark.parametrize("masked", [False, True], ids=["by nodata", "by mask too"])
def test_integers_add_what_their_values_add(record, masked):
    t, y = record
    packed, scale, offset, clear = as_stored(y, masked)
    sums, seen = nothing(1, t.size)
    for i, when in enumerate(t):
        kept = {"scale": scale[i], "offset": offset[i], "nodata": 0, "clear": part(clear, i)}
        add_packed(sums[0], seen[0], i, when, packed[i], FRAME, **kept)
    there = (packed != 0) & (clear if masked else True)
    decoded = np.where(there, packed * scale[:, None] + offset[:, None], np.nan)
    np.testing.assert_array_equal(np.unpackbits(seen[0], axis=0, bitorder="little")[: t.size], there)
    for pixel in range(0, PIXELS, 50):
        beta, rmse, error = by_lstsq(t, decoded[:, pixel])
        fitted = fit(sums, seen, [t], FRAME)[:, pixel]
        np.testing.assert_allclose(fitted[[0, 2, 4]], [beta[0], np.hypot(beta[2], beta[3]), rmse], atol=1e-5)
        assert abs(fitted[1] - beta[1]) < 1e-3 * error


@pytest.mark.parametrize("masked", [False, True], ids=["by nodata", "by mask too"])
def test_a_year_at_once_gives_the_bits_of_its_images_one_after_the_other(record, masked):
    t, y = record
    packed, scale, offset, clear = as_stored(y, masked)
    one_by_one, at_once, in_parts = (nothing(1, t.size) for _ in range(3))
    for i, when in enumerate(t):
        kept = {"scale": scale[i], "offset": offset[i], "nodata": 0, "clear": part(clear, i)}
        add_packed(one_by_one[0][0], one_by_one[1][0], i, when, packed[i], FRAME, **kept)

    def all_at_once(sums, seen, first, last):
        some = slice(first, last)
        kept = {"scale": scale[some], "offset": offset[some], "nodata": 0, "clear": part(clear, some)}
        add_all(sums[0], seen[0], first, t[some], packed[some], FRAME, **kept)

    all_at_once(*at_once, 0, t.size)
    for first, last in ((0, 3), (3, 5), (5, 6), (6, 29), (29, 29), (29, t.size)):
        all_at_once(*in_parts, first, last)
    for found in (at_once, in_parts):
        np.testing.assert_array_equal(found[0], one_by_one[0])
        np.testing.assert_array_equal(found[1], one_by_one[1])


@pytest.mark.parametrize("masked", [False, True], ids=["by nodata", "by mask too"])
def test_the_history_at_once_gives_the_bits_of_its_years_one_after_the_other(record, masked):
    t, y = record
    packed, scale, offset, clear = as_stored(y, masked)
    years = by_year(t)
    sums, seen = nothing(len(years), 40)
    for place, some in enumerate(years):
        kept = {"scale": scale[some], "offset": offset[some], "nodata": 0, "clear": part(clear, some)}
        add_all(sums[place], seen[place], 0, t[some], packed[some], FRAME, **kept)
    again = np.full_like(sums, np.nan), np.full_like(seen, 255)  # whatever was there before
    times, kept = [t[some] for some in years], {"scale": scale, "offset": offset, "nodata": 0, "clear": clear}
    fitted = add_history(*again, times, packed, FRAME, **kept)
    np.testing.assert_array_equal(again[0], sums)
    np.testing.assert_array_equal(again[1], seen)
    np.testing.assert_array_equal(fitted, fit(sums, seen, times, FRAME))
