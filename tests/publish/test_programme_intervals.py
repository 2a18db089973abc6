"""Intervals of summed hectares are those of enumeration by hand."""

from itertools import pairwise, product

import numpy as np
import pytest

from monitor.publish.programme_intervals import CELLS, Interval, probable_hectares, summed_intervals


def enumerated(hectares, chances, lots):
    """Means of the hectares, of their lowest and of their highest .025, by going through every outcome of every lot."""
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
    ends = []
    for ordered in (rows, rows[::-1]):
        left, end = 0.025, 0.0
        for area, p in ordered:
            end += area * min(p, left)
            left -= min(p, left)
        ends.append(end / 0.025)
    return sum(area * p for area, p in rows), *ends


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
    assert probable_hectares([10.0], [0.01], ["a"]) == pytest.approx((0.1, 0, 4))
    assert probable_hectares([10.0], [0.99], ["a"]) == pytest.approx((9.9, 6, 10))


def test_sites_that_are_certain_leave_no_interval():
    assert probable_hectares([10.0, 20.0, 30.0], [1, 0, 1], ["a", "b", "c"]) == pytest.approx((40, 40, 40), abs=0.03)
    assert probable_hectares([], [], []) == (0, 0, 0)
    assert probable_hectares([0.0], [0.4], ["a"]) == (0, 0, 0)


def test_a_lot_that_fails_together_is_less_certain_than_sites_that_fail_apart():
    hectares, chances = [10.0] * 400, [0.3] * 400
    together = probable_hectares(hectares, chances, ["a"] * 400)
    apart = probable_hectares(hectares, chances, list(range(400)))
    assert together[1:] == pytest.approx((0, 4000), abs=3)
    half = 2.338 * 10 * np.sqrt(400 * 0.3 * 0.7)  # mean of the last .025 of a normal distribution
    assert apart == pytest.approx((1200, 1200 - half, 1200 + half), abs=10)


@pytest.mark.parametrize("chance", [0.004, 0.02, 0.1, 0.5, 0.97])
@pytest.mark.parametrize("block", [1, 3, 10, 50, 100])
def test_an_interval_holds_however_far_the_sites_of_a_lot_go_together(chance, block):
    """Two lots of a hundred sites of one hectare each; blocks of so many sites fail together."""
    found = probable_hectares([1.0] * 200, [chance] * 200, ["a"] * 100 + ["b"] * 100)
    noise = np.random.default_rng(block)
    size = np.diff([*range(0, 100, block), 100])
    hectares = sum((noise.random((20_000, size.size)) < chance) @ size for _ in "ab")
    assert np.mean((found.low - 0.1 <= hectares) & (hectares <= found.high + 0.1)) >= 0.95


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
