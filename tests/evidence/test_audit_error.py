"""Bounds from a sample equal independent computations that count every case, and hold in simulated inspections."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import hypergeom

from monitor.evidence.audit_error import design_effect, margin, most_wrong, sites_needed
from monitor.evidence.audit_sample import Cell, Stratum, design, draw_sample


def strata(*pairs):
    return [Stratum(cells=(), sites=sites, drawn=drawn) for sites, drawn in pairs]


SIZES = {
    Cell("failing", "Gansu"): 60, Cell("failing", "Qinghai"): 12, Cell("lagging", "Gansu"): 30,
    Cell("on_track", "Gansu"): 300, Cell("on_track", "Qinghai"): 198,
}  # fmt: skip


@pytest.mark.parametrize(("sites", "drawn"), [(10, 3), (20, 19), (100, 30), (1000, 58), (1000, 1), (10_000, 370)])
def test_without_strata_the_bound_on_wrong_sites_is_the_hypergeometric_one(sites, drawn):
    wrong = np.arange(sites + 1)
    missed = hypergeom.pmf(0, sites, wrong, drawn)
    assert most_wrong(strata((sites, drawn))) == wrong[missed >= 0.05 * (1 - 1e-9)].max()


@pytest.mark.parametrize(
    "pairs", [[(5, 2), (4, 1)], [(8, 3), (3, 1), (6, 2)], [(4, 4), (7, 2)], [(1, 1), (1, 1), (9, 4)], [(6, 1)] * 3]
)
def test_with_strata_the_bound_is_that_of_the_worst_place_for_the_wrong_sites(pairs):
    largest = 0
    for wrong in itertools.product(*(range(sites + 1) for sites, _ in pairs)):
        missed = math.prod(
            math.comb(sites - d, drawn) / math.comb(sites, drawn)
            for (sites, drawn), d in zip(pairs, wrong, strict=True)
        )
        if missed >= 0.05 - 1e-12:
            largest = max(largest, sum(wrong))
    assert most_wrong(strata(*pairs)) == largest


def test_a_chance_of_exactly_one_in_twenty_still_counts_as_possible():
    assert most_wrong(strata((20, 19))) == 1


@pytest.mark.parametrize(("sites", "drawn"), [(6, 2), (7, 3), (8, 5)])
def test_the_margin_is_that_of_all_samples_of_a_small_half_wrong_population(sites, drawn):
    population = np.arange(sites) % 2 if sites % 2 == 0 else np.r_[np.arange(sites - 1) % 2, 0.5]
    shares = [np.mean(chosen) for chosen in itertools.combinations(population, drawn)]
    if sites % 2 == 0:
        assert margin(strata((sites, drawn))) == pytest.approx(min(1.959964 * np.std(shares), 1), rel=1e-5)
    else:  # half of an odd number is no number of sites: the margin is on the safe side
        assert margin(strata((sites, drawn))) >= 1.959964 * np.std(shares)


def test_the_margin_of_strata_is_worked_out_by_hand():
    # variances of the means: 1/4 * 10/9 * (1 - 2/10) / 2 = 1/9, and 1/4 * 30/29 * (1 - 3/30) / 3 = 9/116
    by_hand = 1.959964 * math.sqrt(0.25**2 / 9 + 0.75**2 * 9 / 116)
    assert margin(strata((10, 2), (30, 3))) == pytest.approx(by_hand, rel=1e-6)
    alone = 0.25 * 40 / 39 * (1 - 5 / 40) / 5
    assert design_effect(strata((10, 2), (30, 3))) == pytest.approx((by_hand / 1.959964) ** 2 / alone)


def test_when_every_site_is_visited_nothing_is_left_open():
    everything = strata((10, 10), (3, 3))
    assert (margin(everything), most_wrong(everything), design_effect(everything)) == (0, 0, None)


def test_five_points_of_a_large_programme_need_the_sites_that_the_textbook_says():
    # n0 = 384.15 of an infinite population; n0 / (1 + (n0 - 1) / N) of a finite one: 369.98 and 382.68
    assert sites_needed({Cell("on_track", ""): 10_000}) == 370
    assert sites_needed({Cell("on_track", ""): 100_000}) == 383
    assert sites_needed({Cell("on_track", ""): 10}) == 10
    needed = sites_needed(SIZES)
    assert margin(design(SIZES, needed)) <= 0.05 < margin(design(SIZES, needed - 1))


def wrong_sites(share, seed):
    """Sites by id with their cells; in each stratum a share of them has a wrong verdict."""
    frame = {f"{cell.status}-{cell.province}-{k}": cell for cell, size in SIZES.items() for k in range(size)}
    generator = np.random.default_rng(seed)
    wrong = set()
    for cell, size in SIZES.items():
        members = [site for site, of in frame.items() if of == cell]
        wrong |= set(generator.choice(members, round(share * size), replace=False))
    return frame, wrong


def estimates(frame, wrong, n, samples):
    """Horvitz-Thompson estimates of the share, one a seed."""
    for seed in range(samples):
        sample = draw_sample(frame, n, seed=f"inspection {seed}")
        yield sum(sample.strata[place].weight for site, place in sample.sites if site in wrong) / len(frame)


@pytest.mark.parametrize("samples", [300, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("share", "low", "high"), [(0.5, 0.93, 0.97), (0.1, 0.99, 1.0)])
def test_simulated_inspections_are_off_by_more_than_the_margin_in_one_of_twenty_at_most(share, low, high, samples):
    frame, wrong = wrong_sites(share, seed=1)
    off = np.array(list(estimates(frame, wrong, 80, samples))) - len(wrong) / len(frame)
    slack = 3 * math.sqrt(0.05 * 0.95 / samples)
    assert low - slack <= np.mean(np.abs(off) <= margin(design(SIZES, 80))) <= high + slack
    assert abs(off.mean()) < 4 * off.std() / math.sqrt(samples)  # without bias


@pytest.mark.slow
def test_with_more_wrong_sites_than_the_bound_an_inspection_that_finds_none_is_rarer_than_one_in_twenty():
    plan = design(SIZES, 40)
    frame, _ = wrong_sites(0, seed=1)
    left = {stratum.cells[0]: stratum for stratum in plan}
    for extra, rare in ((1, True), (0, False)):
        # the worst place for them: where the sample is thinnest
        counts = dict.fromkeys(SIZES, 0)
        for _ in range(most_wrong(plan) + extra):
            rate = {cell: (s.sites - counts[cell] - s.drawn) / (s.sites - counts[cell]) for cell, s in left.items()}
            counts[max(rate, key=rate.get)] += 1
        wrong = {f"{cell.status}-{cell.province}-{k}" for cell, count in counts.items() for k in range(count)}
        none = [not share for share in estimates(frame, wrong, 40, 2000)]
        chance = math.prod(hypergeom.pmf(0, s.sites, counts[cell], s.drawn) for cell, s in left.items())
        assert (chance < 0.05) == rare
        assert np.mean(none) == pytest.approx(chance, abs=3.5 * math.sqrt(0.05 * 0.95 / 2000))
