"""Failing area against known truth: is it right on average, and does its interval hold the truth?

    python -m benchmarks.area

Sites of 60 x 60 pixels of 10 m. Failing patches are cut from a Gaussian field of range 50 to 300 m at a share of 0 to
100 %; inside theta is about 0, outside about 1. Scenes of 5 years before and some years after carry noise of the pixel
(AR1), noise that neighbours share (60 m), a year effect of the site, clouds, and 0.3 pixel of misregistration. The
site's own posterior is that of the same scenes' means, with the year effect in its law. Seeds are held out: those
looked at while the method was made (0 to 40) are not used.
"""

import sys

import numpy as np
from scipy import ndimage

from monitor.trends.kernels.failing import FAILING_THETA, block_means, failing_area, pixel_theta, pixels_per_block
from monitor.trends.kernels.patches import random_fields
from monitor.trends.kernels.season_sums import block_sums

SIDE = 60
PIXEL = 10.0
PRE_YEARS = 5
SCENES_A_YEAR = 8
YEAR_EFFECT = 0.01
MEAN_NOISE = 0.006  # standard deviations of the site's mean of a scene, by year and by scene


def site_means(difference: np.ndarray) -> np.ndarray:
    """Mean of the seen pixels of each scene."""
    seen = np.isfinite(difference)
    count = seen.sum(axis=(1, 2))
    return np.where(count > 0, np.where(seen, difference, 0).sum(axis=(1, 2)) / np.maximum(count, 1), np.nan)


def posterior(means: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    """Theta of the site from its means, prior N(.6, 1): least squares under the law they were drawn from."""
    seen = np.isfinite(means)
    year = np.arange(means.size) // SCENES_A_YEAR
    law = MEAN_NOISE**2 * np.eye(means.size) + YEAR_EFFECT**2 * (year[:, None] == year)
    weight = np.linalg.inv(law[np.ix_(seen, seen)])
    design = np.stack([np.ones(seen.sum()), expected[seen]], axis=1)
    precision = design.T @ weight @ design + np.diag([0, 1])
    best = np.linalg.solve(precision, design.T @ weight @ means[seen] + [0, 0.6])
    return float(best[1]), float(np.linalg.inv(precision)[1, 1])


def site(seed: int, years: int) -> tuple[float, float, bool, float]:
    """True share, estimated share, whether the interval holds the truth, and the interval's width."""
    rng = np.random.default_rng([101, seed])
    share = rng.uniform() if seed % 10 else float(seed % 20 == 0)
    field = random_fields((SIDE, SIDE), rng.uniform(5, 30), 1, seed)[0]
    field = ndimage.gaussian_filter(field, 1)
    bad = field < np.quantile(field, share) if 0 < share < 1 else np.full(field.shape, share == 1)
    theta = np.where(bad, rng.normal(0, 0.08, field.shape), rng.normal(1, 0.2, field.shape))
    scenes = (PRE_YEARS + years) * SCENES_A_YEAR
    age = np.arange(scenes) / SCENES_A_YEAR - PRE_YEARS
    season = np.tile(np.sin(np.pi * (np.arange(SCENES_A_YEAR) + 0.5) / SCENES_A_YEAR), PRE_YEARS + years)
    expected = 0.20 * (1 - np.exp(-0.45 * np.clip(age - 1, 0, None))) * season
    together = random_fields((SIDE, SIDE), 6, scenes, seed + 1) * 0.02
    difference = np.empty((scenes, SIDE, SIDE))
    memory = np.zeros((SIDE, SIDE))
    for i in range(scenes):
        memory = 0.4 * memory + np.sqrt(1 - 0.16) * rng.normal(0, 0.04, memory.shape)
        seen = ndimage.shift(theta, rng.normal(0, 0.3, 2), order=1, mode="nearest") * expected[i]
        difference[i] = seen + memory + together[i]
    difference += np.repeat(rng.normal(0, YEAR_EFFECT, PRE_YEARS + years), SCENES_A_YEAR)[:, None, None]
    difference[rng.random(scenes) < 0.5] = np.nan
    difference[rng.random(difference.shape) < 0.1] = np.nan
    seen = np.isfinite(difference)
    used = seen.any(axis=(1, 2))
    seasons = np.arange(scenes).reshape(-1, SCENES_A_YEAR)
    total, count = (
        np.array([values[season].sum(axis=0) for season in seasons])
        for values in (np.where(seen, difference, 0.0), seen.astype(float))
    )
    promised = [expected[season][used[season]].mean() if used[season].any() else 0.0 for season in seasons]
    inside, times = np.ones((SIDE, SIDE), bool), pixels_per_block(PIXEL)
    sums = (block_sums(values, inside, times) for values in (total, count))
    within = block_sums(inside.astype(np.float32), inside, times) >= times * times / 2
    pixel = PIXEL * times
    m, v = posterior(site_means(difference), expected)
    found = failing_area(
        *pixel_theta(*block_means(*sums, times), np.array(promised)), within, site_theta=m, site_variance=v, pixel=pixel
    )  # fmt: skip
    edge = round(pixel / PIXEL)
    truth = float((theta < FAILING_THETA)[edge:-edge, edge:-edge].mean())
    return truth, found.share, found.share_low <= truth <= found.share_high, found.share_high - found.share_low


def table(seeds: range) -> str:
    lines = [
        "# Failing area against known truth",
        "",
        f"{len(seeds)} sites of {SIDE} x {SIDE} pixels of {PIXEL:.0f} m a row; shares are of the site's pixels.",
        "",
        "| years after start | mean true share | bias (goal at most 10 % of it) | mean error | coverage (goal .90) | "
        "mean width | |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for years in (3, 4, 6):
        truth, estimate, held, width = (np.array(part) for part in zip(*(site(s, years) for s in seeds), strict=True))
        bias, error = (estimate.mean() - truth.mean()) / truth.mean(), np.abs(estimate - truth).mean()
        met = "met" if abs(bias) <= 0.10 and held.mean() >= 0.90 else "MISSED"
        lines.append(
            f"| {years} | {truth.mean():.3f} | {bias:+.1%} | {error:.3f} | {held.mean():.3f} | "
            f"{width.mean():.3f} | {met} |"
        )
    return "\n".join(lines) + "\n"


def main(seeds: range = range(1000, 1200)) -> None:
    print(table(seeds))


if __name__ == "__main__":
    main(range(1000, 1000 + int(sys.argv[1])) if len(sys.argv) > 1 else range(1000, 1200))
