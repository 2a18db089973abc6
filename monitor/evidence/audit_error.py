"""Error of a sample of sites: the share of wrong verdicts that it can show, before anybody has looked.

Two statements, which need no assumption about which verdicts are wrong:

- the estimated share is off by at most the margin, in 95 of 100 samples;
- if no wrong verdict is found in the sample, at most so many of all sites have one, with 95 % confidence.

Both hold for one question that was asked before the sites were visited. Margins of single strata do not hold for all
of them at once.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import Final

from scipy.special import ndtri

from monitor.evidence.audit_sample import Cell, Stratum, design

CONFIDENCE: Final = 0.95  # probability with which each statement holds [1]
FIVE_POINTS: Final = 0.05  # margin that is usual in inspections [1]
_ONE_IN: Final = 20
"""1 / (1 - CONFIDENCE): an exact integer, for comparisons without rounding."""


def margin(strata: Sequence[Stratum]) -> float:
    """Half-width of the 95 % interval of the estimated share, where the shares are such that it is widest [1]_.

    That is half of the sites of every stratum. Finite population; normal approximation, which is rough for fewer than
    some thirty sites drawn and for shares near 0 or 1: there :func:`most_wrong` is exact. 0 where all sites are drawn.
    From 0 to 1. [1]

    References
    ----------
    .. [1] W. G. Cochran, "Sampling Techniques," 3rd ed., Wiley, 1977, equation 5.52.
    """
    z = float(ndtri(0.5 + CONFIDENCE / 2))
    return min(z * math.sqrt(_variance(strata)), 1.0)


def design_effect(strata: Sequence[Stratum]) -> float | None:
    """Variance behind :func:`margin`, relative to that of as many sites drawn without strata.

    Above 1: strata with few sites got more than their share, since each gets at least one. None: all sites are drawn.
    """
    sites, drawn = sum(s.sites for s in strata), sum(s.drawn for s in strata)
    if sites == drawn:
        return None
    return _variance(strata) / _variance([Stratum(cells=(), sites=sites, drawn=drawn)])


def _variance(strata: Sequence[Stratum]) -> float:
    """Variance of the estimated share if half of the sites of each stratum have the property. [1]"""
    sites = sum(stratum.sites for stratum in strata)
    return sum(
        (s.sites / sites) ** 2 * (1 - s.drawn / s.sites) * s.sites / (4 * (s.sites - 1)) / s.drawn
        for s in strata
        if s.drawn < s.sites
    )


def most_wrong(strata: Sequence[Stratum]) -> int:
    """Most sites that can have a wrong verdict, with 95 % confidence, if the sample contains none of them.

    An exact upper confidence limit, from the hypergeometric distribution [1]_: the largest number of wrong sites that
    a sample can miss entirely with a probability of 5 % or more, when they lie in the strata where missing them is
    most likely. If a stratum has N sites, n of them drawn, and D wrong sites that were missed, one more wrong site is
    missed too with the probability (N - D - n) / (N - D). This falls as D grows. So the worst case for any number is
    reached by adding wrong sites one by one, each to the stratum with the largest such probability.

    References
    ----------
    .. [1] W. G. Cochran, "Sampling Techniques," 3rd ed., Wiley, 1977, section 3.6.

    Examples
    --------
    >>> most_wrong([Stratum(cells=(), sites=1000, drawn=58)])
    48
    """
    left = [(-(s.sites - s.drawn) / s.sites, s.sites, s.drawn) for s in strata]
    heapify(left)
    missed, all_draws, wrong = 1, 1, 0
    while True:
        _, sites, drawn = heappop(left)
        missed, all_draws = missed * (sites - drawn), all_draws * sites
        if missed * _ONE_IN < all_draws:
            return wrong
        wrong += 1
        heappush(left, (-(sites - 1 - drawn) / (sites - 1), sites - 1, drawn))


def sites_needed(sizes: Mapping[Cell, int]) -> int:
    """Number of sites to draw for a margin of at most :data:`FIVE_POINTS`: enough, while one fewer is not.

    `sizes` has the number of sites of each status and province.
    """
    numbers = range(1, sum(sizes.values()) + 1)
    return 1 + bisect_left(numbers, -FIVE_POINTS, key=lambda n: -margin(design(sizes, n)))
