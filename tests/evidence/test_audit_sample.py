"""A sample for inspectors is random, stratified, and the same everywhere; a site that joins hardly changes it."""

import hashlib
import itertools
from collections import Counter

import numpy as np
import pytest

from monitor.evidence.audit_sample import Cell, Stratum, design, draw_sample, random_number

SIZES = {
    Cell("failing", "Gansu"): 10, Cell("failing", "Qinghai"): 2, Cell("lagging", "Gansu"): 1,
    Cell("on_track", "Gansu"): 60, Cell("on_track", "Qinghai"): 27,
}  # fmt: skip


def frame(sizes):
    return {f"{cell.status}-{cell.province}-{k}": cell for cell, size in sizes.items() for k in range(size)}


def ids(sample):
    return [site for site, _ in sample.sites]


def variance(sizes, counts):
    """Variance of the estimated share with half of each stratum wrong, from the textbook; constant terms left out."""
    return sum(n * n / k for n, k in zip(sizes, counts, strict=True))


@pytest.mark.parametrize("n", [5, 6, 7, 9, 12])
def test_no_other_allocation_with_at_least_one_a_stratum_has_less_variance(n):
    sizes = [4, 1, 9, 2, 6]
    cells = {Cell("s", str(k)): size for k, size in enumerate(sizes)}
    chosen = [stratum.drawn for stratum in design(cells, n)]
    every = [counts for counts in itertools.product(*(range(1, size + 1) for size in sizes)) if sum(counts) == n]
    assert tuple(chosen) in every
    assert variance(sizes, chosen) == pytest.approx(min(variance(sizes, counts) for counts in every))


def test_every_stratum_has_its_share_to_one_site_and_at_least_one():
    strata = design(SIZES, 20)
    assert [(stratum.cells, stratum.sites) for stratum in strata] == [((cell,), size) for cell, size in SIZES.items()]
    assert [stratum.drawn for stratum in strata] == [2, 1, 1, 11, 5]  # shares of 20: 2, .4, .2, 12, 5.4
    assert sum(stratum.drawn * stratum.weight for stratum in strata) == pytest.approx(100)
    assert all(stratum.probability * stratum.weight == pytest.approx(1) for stratum in strata)


def test_small_strata_are_merged_within_their_status_first_and_across_statuses_last():
    four = design(SIZES, 4)
    assert [stratum.cells for stratum in four if len(stratum.cells) > 1] == [
        (Cell("failing", "Gansu"), Cell("failing", "Qinghai"))
    ]
    three = design(SIZES, 3)
    assert [sorted({cell.status for cell in stratum.cells}) for stratum in three] == [
        ["failing"], ["lagging"], ["on_track"]
    ]  # fmt: skip
    two = design(SIZES, 2)
    assert [stratum.sites for stratum in two] == [13, 87]
    assert [(stratum.sites, stratum.drawn) for stratum in design(SIZES, 1)] == [(100, 1)]


def test_all_sites_can_be_drawn_and_no_more():
    assert sorted(ids(draw_sample(frame(SIZES), 100, seed="s"))) == sorted(frame(SIZES))
    assert {stratum.probability for stratum in design(SIZES, 100)} == {1.0}
    for n in (0, 101):
        with pytest.raises(ValueError, match="cannot be drawn"):
            design(SIZES, n)


def test_the_sample_is_that_of_the_hash_that_anybody_can_compute():
    expected = sorted(
        (f"on_track--{k}" for k in range(30)), key=lambda site: hashlib.sha256(b"head\n" + site.encode()).hexdigest()
    )[:4]
    assert ids(draw_sample(frame({Cell("on_track", ""): 30}), 4, seed="head")) == sorted(expected)
    assert random_number("种子", "民勤-03") == hashlib.sha256("种子\n民勤-03".encode()).hexdigest()


def test_the_order_of_the_sites_does_not_matter_and_another_seed_draws_others():
    sites = frame(SIZES)
    backwards = dict(reversed(sites.items()))
    assert draw_sample(sites, 20, seed="a") == draw_sample(backwards, 20, seed="a")
    assert ids(draw_sample(sites, 20, seed="a")) != ids(draw_sample(sites, 20, seed="b"))


def test_a_larger_sample_contains_the_smaller_one():
    sites = frame(SIZES)
    samples = [set(ids(draw_sample(sites, n, seed="a"))) for n in range(len(SIZES), 101)]
    assert all(smaller < larger for smaller, larger in itertools.pairwise(samples))


def test_a_site_that_joins_elsewhere_changes_the_draw_by_a_site_or_two():
    sites = frame(SIZES)
    before = set(ids(draw_sample(sites, 20, seed="a")))
    changes = [
        len(before ^ set(ids(draw_sample({**sites, f"new-{k}": cell}, 20, seed="a"))))
        for k, cell in enumerate(list(SIZES) * 10)
    ]
    assert max(changes) <= 4
    assert np.mean(changes) < 1


def test_every_site_of_a_stratum_is_drawn_equally_often():
    sites = frame(SIZES)
    strata = {cell: stratum for stratum in design(SIZES, 20) for cell in stratum.cells}
    counts = Counter(site for seed in range(2000) for site in ids(draw_sample(sites, 20, seed=str(seed))))
    for site, cell in sites.items():
        p = strata[cell].probability
        assert abs(counts[site] / 2000 - p) <= 4.5 * np.sqrt(p * (1 - p) / 2000), site


def test_a_stratum_of_one_site_stands_for_itself():
    (stratum,) = design({Cell("failing", "Gansu"): 1}, 1)
    assert stratum == Stratum(cells=(Cell("failing", "Gansu"),), sites=1, drawn=1)
    assert (stratum.probability, stratum.weight) == (1, 1)
