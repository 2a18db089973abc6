"""Failing area on ground whose truth is known."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.special import ndtri

from monitor.trends.kernels import patches
from monitor.trends.kernels.failing import block_means, failing_area, pixel_theta, pixels_per_block
from monitor.trends.kernels.season_sums import block_sums

PIXEL = 20.0


def ground(truth, noise=0.12, seed=5):
    """Estimates of pixels of known theta, with noise of stated size, and the whole site inside."""
    rng = np.random.default_rng(seed)
    return truth + noise * rng.standard_normal(truth.shape), np.full(truth.shape, noise), np.ones(truth.shape, bool)


def judged(truth, *, site=None, variance=0.0025, **options):
    theta, error, inside = ground(truth, **options)
    site = truth.mean() if site is None else site
    return failing_area(theta, error, inside, site_theta=site, site_variance=variance, pixel=PIXEL)


def test_a_failed_corner_of_a_site_is_found_with_its_share_and_place():
    truth = np.ones((40, 40))
    truth[:20, :16] = 0
    found = judged(truth)
    assert found.reason == ""
    assert found.share_low <= (truth[1:-1, 1:-1] < 0.25).mean() <= found.share_high
    assert found.share == pytest.approx((truth[1:-1, 1:-1] < 0.25).mean(), abs=0.02)
    assert found.hectares == pytest.approx(40 * 40 * 0.04)
    agree = (found.failing == (truth < 0.25))[1:-1, 1:-1]
    assert agree.mean() > 0.97


@pytest.mark.parametrize(("level", "share"), [(1.0, 0.0), (0.0, 1.0)])
def test_a_site_that_stands_or_failed_as_a_whole(level, share):
    found = judged(np.full((30, 30), level))
    assert found.share == pytest.approx(share, abs=0.01)
    assert found.share_high - found.share_low > 0
    assert bool(found.failing.any()) is (share == 1)


def test_ground_at_half_the_plan_everywhere_is_not_half_failing():
    assert judged(np.full((30, 30), 0.5)).share < 0.02


def test_patches_under_half_a_hectare_are_not_shown_but_count():
    truth = np.ones((40, 40))
    truth[10:13, 10:13] = 0  # 9 pixels of 400 m2: .36 ha
    truth[20:26, 20:26] = 0  # 36 pixels: 1.44 ha
    found = judged(truth, noise=0.05)
    _, count = ndimage.label(found.failing)
    assert count == 1
    assert found.failing[22, 22]
    assert not found.failing[9:15, 9:15].any()
    assert found.share == pytest.approx(45 / 38**2, rel=0.15)


def test_the_level_is_that_of_the_site():
    """Pixels say how regrowth is spread, the site's verdict how much of it there is."""
    truth = np.ones((30, 30))
    assert judged(truth - 1.0, site=1.0).share < 0.02


def test_doubt_of_the_site_widens_the_interval():
    truth = np.ones((40, 40))
    truth[:, :20] = 0.15
    sure, unsure = judged(truth, variance=1e-4), judged(truth, variance=0.04)
    assert unsure.share_high - unsure.share_low > sure.share_high - sure.share_low


def test_the_same_pixels_give_the_same_interval():
    truth = np.ones((30, 30))
    truth[:12] = 0
    assert judged(truth).share_low == judged(truth).share_low


def test_edge_pixels_and_what_lies_outside_are_left_out():
    truth = np.ones((30, 30))
    theta, error, inside = ground(truth)
    inside[:, 15:] = False
    theta[:, 14] = -5.0  # the edge: half of it is a road
    theta[:, 15:] = -5.0
    found = failing_area(theta, error, inside, site_theta=1.0, site_variance=0.001, pixel=PIXEL)
    assert found.share < 0.02
    assert np.isnan(found.chance[:, 14:]).all()
    assert np.isnan(found.chance[0]).all()


@pytest.mark.parametrize(("spoil", "reason"), [
    (lambda theta, inside: np.zeros_like(inside), "EDGE_MIXED"),
    (lambda theta, inside: inside & (np.indices((30, 30))[0] < 1), "EDGE_MIXED"),
    (lambda theta, inside: inside & (np.indices((30, 30)).max(0) < 3), "EDGE_MIXED"),
    (lambda theta, inside: theta.fill(np.nan) or inside, "FEW_SCENES"),
], ids=["nothing inside", "edge alone", "under half a hectare", "never seen"])  # fmt: skip
def test_without_evidence_nothing_is_called_failing(spoil, reason):
    theta, error, inside = ground(np.ones((30, 30)))
    inside = spoil(theta, inside)
    found = failing_area(theta, error, inside, site_theta=1.0, site_variance=0.01, pixel=PIXEL)
    assert found.reason == reason
    assert np.isnan([found.share, found.share_low, found.share_high]).all()
    assert not found.failing.any()
    assert np.isnan(found.chance).all()


def seasons(theta, noise=0.0, scenes=10):
    """Means of nine seasons, four before the start, that hold a known theta; and the uplift expected."""
    rng = np.random.default_rng(3)
    expected = np.array([0, 0, 0, 0, 0.02, 0.06, 0.09, 0.11, 0.12])
    error = rng.standard_normal((9, *theta.shape)) * noise / np.sqrt(scenes)
    year = rng.normal(0, 0.03, 9)  # a dry season takes from all pixels alike
    over = 0.03 + theta * expected[:, None, None] + year[:, None, None] + error
    return over, np.full_like(over, scenes), expected


def test_theta_of_pixels_comes_out_as_it_was_put_in_with_an_honest_error():
    theta = np.tile([-0.5, 0.0, 1.0, 1.5], (300, 1))
    np.testing.assert_allclose(pixel_theta(*seasons(theta))[0], theta - theta.mean(), atol=1e-9)
    found, error = pixel_theta(*seasons(theta, noise=0.04))
    standard = (found - theta + theta.mean()) / error
    assert 0.93 < float(standard.std()) < 1.07


def by_regression(over, seen, expected):
    """Theta of pixels and their errors by weighted regression, one pixel after the other."""
    weight = np.where(np.isfinite(over), seen, 0.0)
    used = weight > 0
    shared = np.where(used, over, 0).sum(axis=1) / np.maximum(used.sum(axis=1), 1)
    own = over - shared[:, None]
    estimates, left, freedom = np.full((2, over.shape[1]), np.nan), 0.0, 0
    for pixel in range(over.shape[1]):
        use = used[:, pixel]
        if len(set(expected[use])) < 2:
            continue
        design = np.stack([np.ones(use.sum()), expected[use]], axis=1) * np.sqrt(weight[use, pixel])[:, None]
        best = np.linalg.lstsq(design, own[use, pixel] * np.sqrt(weight[use, pixel]))[0]
        estimates[:, pixel] = best[1], np.linalg.inv(design.T @ design)[1, 1]
        if use.sum() > 2:
            left += ((own[use, pixel] * np.sqrt(weight[use, pixel]) - design @ best) ** 2).sum()
            freedom += use.sum() - 2
    return estimates[0], np.sqrt(estimates[1] * left / freedom)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_theta_and_its_error_are_those_of_a_regression_of_each_pixel(dtype):
    rng = np.random.default_rng(11)
    over, seen = rng.normal(0, 0.1, (6, 40)).astype(dtype), rng.integers(0, 5, (6, 40)).astype(dtype)
    expected = np.array([0, 0, 0.02, 0.05, 0.05, 0.08])
    over[rng.random(over.shape) < 0.2] = np.nan
    over[3, :4] = np.inf
    seen[4] = 0
    seen[1:, 5] = 0
    theta, error = pixel_theta(over, seen, expected)
    for value, known in zip((theta, error), by_regression(over.astype(float), seen, expected), strict=True):
        np.testing.assert_allclose(value, known, rtol=1e-9 if dtype is np.float64 else 1e-5)
    assert np.isnan(theta[5])


def test_without_a_single_degree_of_freedom_there_are_thetas_but_no_error():
    theta, error = pixel_theta(np.ones((2, 3)), np.ones((2, 3)), np.array([0.0, 0.1]))
    assert np.isfinite(theta).all()
    assert np.isnan(error).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("times", [1, 2, 3])
def test_sums_of_blocks_count_what_lies_inside_alone(dtype, times):
    rng = np.random.default_rng(2)
    values, inside = rng.random((2, 3, 7, 5)).astype(dtype), rng.random((7, 5)) < 0.6
    values[..., ~inside] = np.nan
    found = block_sums(values, inside, times)
    assert found.dtype == dtype
    for y, x in np.ndindex(found.shape[-2:]):
        block = np.s_[y * times : (y + 1) * times, x * times : (x + 1) * times]
        np.testing.assert_allclose(found[..., y, x], values[(..., *block)][..., inside[block]].sum(axis=-1), rtol=1e-6)


def test_a_pixel_seen_seldom_has_the_greater_error():
    over, seen, expected = seasons(np.ones((40, 40)), noise=0.04)
    seen[:, :, :20] = 2.5
    _, error = pixel_theta(over, seen, expected)
    np.testing.assert_allclose(error[:, :20], 2 * error[:, 20:])


def test_theta_of_pixels_is_nan_without_evidence():
    over, seen, expected = seasons(np.linspace(0, 1, 12).reshape(3, 4), noise=0.02)
    over[1:, 0, 0] = np.nan
    over[:, 0, 1] = np.inf
    seen[:, 0, 2] = 0
    theta, _ = pixel_theta(over, seen, expected)
    assert np.isnan(theta)[0].tolist() == [True, True, True, False]
    assert np.isnan(pixel_theta(over, seen, expected * 0)[0]).all()


def test_two_seasons_give_no_error_and_so_no_area():
    over, seen, expected = (part[[0, -1]] for part in seasons(np.ones((30, 30))))
    theta, error = pixel_theta(over, seen, expected)
    found = failing_area(theta, error, np.ones((30, 30), bool), site_theta=1, site_variance=0.01, pixel=PIXEL)
    assert found.reason == "FEW_SCENES"


def test_small_pixels_are_brought_together_inside_the_site_alone():
    over, seen, _ = seasons(np.ones((6, 5)))
    inside = np.ones((6, 5), bool)
    inside[:, 0] = False
    spoilt = np.where(inside, over * seen, -90.0)
    assert (pixels_per_block(10.0), pixels_per_block(20.0), pixels_per_block(30.0)) == (2, 1, 1)
    coarse, count = block_means(block_sums(spoilt, inside, 2), block_sums(seen, inside, 2), 2)
    assert coarse.shape == (9, 3, 3)
    np.testing.assert_allclose(coarse, over[:, :3, :3])
    assert count[0].tolist() == [[5, 10, 5]] * 3
    unseen, _ = block_means(np.zeros((1, 2)), np.array([[0.0, 3.0]]), 2)
    np.testing.assert_array_equal(unseen, [[np.nan, 0.0]])


def test_chances_are_calibrated_over_ground_of_two_kinds():
    rng = np.random.default_rng(8)
    truth = np.where(rng.random(4000) < 0.3, rng.normal(0, 0.05, 4000), rng.normal(1, 0.15, 4000))
    error = np.full(4000, 0.25)
    chance = patches.failing_probability(
        truth + error * rng.standard_normal(4000), error, site=truth.mean(), variance=0.01, below=0.25
    )
    assert chance.mean() == pytest.approx((truth < 0.25).mean(), rel=0.12)
    for low in (0.0, 0.3, 0.7):
        some = (chance >= low) & (chance < low + 0.3)
        assert (truth[some] < 0.25).mean() == pytest.approx(chance[some].mean(), abs=0.12)


def test_fields_have_the_requested_variance_and_reach():
    drawn = patches.random_fields((40, 40), 5.0, 300, 1)
    assert drawn.std() == pytest.approx(1, abs=0.03)
    assert (drawn[:, 20, 10] * drawn[:, 20, 15]).mean() == pytest.approx(np.exp(-1), abs=0.12)


@pytest.mark.parametrize("shape", [(30, 44), (140, 90)], ids=["pixel by pixel", "in blocks"])
def test_shares_are_those_counted_draw_by_draw(shape):
    rng = np.random.default_rng(4)
    chance = np.where(rng.random(shape) < 0.8, rng.random(shape), np.nan)
    step = 2 if max(shape) > patches.MAX_DRAWN_SIDE else 1
    known = np.isfinite(chance)
    places = [[np.s_[y : y + step, x : x + step] for x in range(0, shape[1], step)] for y in range(0, shape[0], step)]
    count, total = (
        np.array([[part[place].sum() for place in row] for row in places])
        for part in (known, np.where(known, chance, 0))
    )
    size = [-(-side // patches.FIELD_SIDE_STEP) * patches.FIELD_SIDE_STEP for side in count.shape]
    drawn = patches.random_fields((size[0], size[1]), 5.0 / step, 20, 7)[:, : count.shape[0], : count.shape[1]]
    fails = drawn < ndtri(np.divide(total, count, out=np.zeros_like(total), where=count > 0)).astype(np.float32)
    expected = [(one * count).sum() / count.sum() for one in fails]
    np.testing.assert_allclose(patches.draw_shares(chance, 5.0, 20, 7), expected)


def test_a_large_site_is_drawn_in_blocks_with_the_same_mean_and_spread():
    chance = np.clip(0.5 + 0.4 * np.sin(np.arange(240) / 20)[:, None] * np.cos(np.arange(240) / 30), 0, 1)
    chance[:40] = np.nan
    drawn = patches.draw_shares(chance, 10.0, 200, 3)  # in blocks of 2 x 2
    assert drawn.mean() == pytest.approx(np.nanmean(chance), abs=0.01)
    fine = patches.draw_shares(chance[40:168, :128], 10.0, 200, 3).std() * np.sqrt(128 * 128 / (200 * 240))
    assert drawn.std() == pytest.approx(fine, rel=0.25)


def test_several_limits_give_what_each_gives_alone():
    theta, error = np.linspace(-0.5, 1.5, 200), np.full(200, 0.2)
    both = patches.failing_probability(theta, error, site=0.5, variance=0.01, below=np.array([0.0, 0.25]))
    for limit, chance_below in zip((0.0, 0.25), both, strict=True):
        alone = patches.failing_probability(theta, error, site=0.5, variance=0.01, below=limit)
        np.testing.assert_allclose(chance_below, alone, rtol=1e-12)
    assert (both[1] >= both[0]).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (6, 1), (23, 17)])
def test_pixels_at_an_edge_are_those_that_touch_both_failing_and_sound_ground(shape):
    rng = np.random.default_rng(sum(shape))
    chance = rng.integers(0, 5, shape) / 4  # some of just a half, which is neither
    chance[rng.random(shape) < 0.3] = np.nan
    around = np.ones((3, 3))
    both = ndimage.binary_dilation(chance > 0.5, around) & ndimage.binary_dilation(chance < 0.5, around)
    np.testing.assert_array_equal(patches._edge(chance), both)
    assert both.any() or min(shape) == 1


@pytest.mark.parametrize("level", [0.0, 0.9])
def test_a_share_and_its_interval_lie_between_none_and_all_however_few_pixels_count(level):
    within = np.zeros((7, 9), bool)
    within[1:4, 1:4] = within[1, 4:9] = within[4:6, 1] = True  # of 16 pixels, .64 ha, one is no edge
    theta, error = np.full(within.shape, level), np.full(within.shape, 0.2)
    found = failing_area(theta, error, within, site_theta=level, site_variance=0.04, pixel=PIXEL)
    assert found.reason == ""
    assert 0 <= found.share_low <= found.share <= found.share_high <= 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 2), (17, 23)])
def test_pixels_at_an_edge_count_by_how_far_they_lie_between_what_is_inside(shape):
    rng = np.random.default_rng(5)
    for of in range(40):
        chance = rng.choice([0.0, 0.05, 0.3, 0.5, 0.95, 1.0, np.nan], shape, p=rng.dirichlet(np.full(7, 0.4)))
        theta = rng.normal(0.5, 0.4, shape)
        surely, sound, edge = chance > 0.9, chance < 0.1, patches._edge(chance)
        expected = chance.copy()
        if surely.any() and sound.any():
            failed, stood = (theta[some & ~edge if (some & ~edge).any() else some].mean() for some in (surely, sound))
            mixed = edge & np.isfinite(chance)
            expected[mixed] = (stood - theta[mixed]) / (stood - failed)
        np.testing.assert_allclose(
            patches.failing_fraction(chance, theta), expected, rtol=1e-9, atol=1e-12, err_msg=str(of)
        )


@pytest.mark.parametrize("kinds", [1, 3, 4, 117])
def test_the_spread_of_thetas_is_that_of_so_many_steps_of_em(kinds):
    rng = np.random.default_rng(kinds)
    likelihood = np.exp(-(((rng.normal(0, 0.6, (kinds, 1)) - patches.THETA_GRID) / 0.25) ** 2) / 2)
    count, start = rng.integers(1, 5, kinds).astype(float), np.exp(-(patches.THETA_GRID**2) / 2)
    start /= start.sum()
    weights = start
    for _ in range(patches.EM_STEPS):
        share = likelihood * weights
        share *= (count / share.sum(axis=1))[:, None]
        weights = (share.sum(axis=0) + patches.PRIOR_WEIGHT * start) / (count.sum() + patches.PRIOR_WEIGHT)
    np.testing.assert_allclose(patches._spread(likelihood, count, start), weights, rtol=1e-9, atol=1e-14)
