"""Intervals of summed hectares are those of enumeration by hand."""

from itertools import pairwise, product

import numpy as np
import pytest

from monitor.publish.programme_intervals import CELLS, Interval, probable_hectares, summed_intervals


def enumerated(hectares, chances, lots):
    """Mean and quantiles .025 and .975 of the hectares, by going through every outcome of every lot."""
    names = list(dict.fromkeys(lots))
    outcomes = []
    for name in names:
        theirs = [(p, area) for area, p, lot in zip(hectares, chances, lots, strict=True) if lot == name]
        limits = sorted({0.0, 1.0, *(p for p, _ in theirs)})
        outcomes.append(
            [(high - low, sum(area for p, area in theirs if (low + high) / 2 < p)) for low, high in pairwise(limits)]
        )
    rows = sorted(
        (sum(area for _, area in chosen), float(np.prod([p for p, _ in chosen]))) for chosen in product(*outcomes)
    )
    below, limits = 0.0, []
    for area, p in rows:
        below += p
        while len(limits) < 2 and below >= (0.025, 0.975)[len(limits)]:
            limits.append(area)
    mean = sum(area * p for area, p in rows)
    return mean, min(limits[0], mean), max(limits[1], mean)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("n_lots", [1, 3, 6])
def test_the_interval_is_that_of_enumerating_every_outcome(seed, n_lots):
    noise = np.random.default_rng(seed)
    hectares, chances = noise.uniform(5, 250, 9).tolist(), noise.uniform(0, 1, 9).round(3).tolist()
    lots = [f"lot {n % n_lots}" for n in range(9)]
    found = probable_hectares(hectares, chances, lots)
    grid = 3 * sum(hectares) / CELLS
    assert found == pytest.approx(enumerated(hectares, chances, lots), abs=grid)


def test_one_site_is_in_the_state_or_not():
    assert probable_hectares([10.0], [0.5], ["a"]) == (5, 0, pytest.approx(10))
    assert probable_hectares([10.0], [0.01], ["a"]) == pytest.approx((0.1, 0, 0.1))
    assert probable_hectares([10.0], [0.99], ["a"]) == pytest.approx((9.9, 9.9, 10))


def test_sites_that_are_certain_leave_no_interval():
    assert probable_hectares([10.0, 20.0, 30.0], [1, 0, 1], ["a", "b", "c"]) == pytest.approx((40, 40, 40), abs=0.03)
    assert probable_hectares([], [], []) == (0, 0, 0)
    assert probable_hectares([0.0], [0.4], ["a"]) == (0, 0, 0)


def test_a_lot_that_fails_together_is_less_certain_than_sites_that_fail_apart():
    hectares, chances = [10.0] * 400, [0.3] * 400
    together = probable_hectares(hectares, chances, ["a"] * 400)
    apart = probable_hectares(hectares, chances, list(range(400)))
    assert together[1:] == pytest.approx((0, 4000), abs=3)
    half = 1.96 * 10 * np.sqrt(400 * 0.3 * 0.7)  # the normal limit of the binomial
    assert apart == pytest.approx((1200, 1200 - half, 1200 + half), abs=10)


def test_limits_add_up_within_a_lot_and_in_squares_between_lots():
    parts = [Interval(10, 6, 20), Interval(5, 2, 9), Interval(1, 0, 3)]
    assert summed_intervals(parts, ["a", "a", "a"]) == (16, 8, 32)
    between = summed_intervals(parts, ["a", "b", "c"])
    assert between == pytest.approx((16, 16 - np.sqrt(16 + 9 + 1), 16 + np.sqrt(100 + 16 + 4)))
    assert summed_intervals([], []) == (0, 0, 0)


def test_intervals_of_independent_lots_hold_what_they_promise():
    """Against simulation: estimates that are normal about the truth with the limits that they state."""
    noise = np.random.default_rng(11)
    sd = noise.uniform(1, 5, 30)
    errors = noise.normal(0, sd, (4000, 30))
    found = summed_intervals([Interval(20.0, 20 - 1.96 * s, 20 + 1.96 * s) for s in sd], list(range(30)))
    covered = np.abs(errors.sum(axis=1)) <= found.high - found.hectares
    assert covered.mean() == pytest.approx(0.95, abs=0.015)
