"""A random sample of sites for inspectors, stratified by status and province.

Which sites are drawn depends on the seed, the ids, statuses and provinces alone, so that anybody who has these can draw
the sample again. Policies, in the order in which they apply:

- Sites of one status and province are a stratum. Where there are more strata than sites to draw, the smallest stratum
  is merged with the next smallest one of its status, again and again; once each status is one stratum, the two
  smallest strata are merged. Equal sizes go by status and province.
- Each stratum gets one site. Each further one goes to the stratum where it reduces the variance most while nothing is
  known about the shares: equal proportions, which is nearly proportional to the sites [1]_. A larger sample
  with the same seed contains the smaller one, as long as no strata were merged.
- Within a stratum the sites with the smallest SHA-256 of seed, line end and id are drawn: permanent random numbers
  [2]_. A site that joins or leaves changes the draw by one site in its own stratum, and by the few that the allocation
  then moves between strata.

References
----------
.. [1] T. Wright, "The equivalence of Neyman optimum allocation for sampling and equal proportions for apportioning the
   U.S. House of Representatives," Am. Stat., 2012, doi:10.1080/00031305.2012.733679.
.. [2] A. Lindblom, "On precision in estimates of change over time where samples are positively coordinated by
   permanent random numbers," J. Off. Stat., 2014, doi:10.2478/jos-2014-0047, and the articles it cites.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import NamedTuple


class Cell(NamedTuple):
    """Status and province of a stratum."""

    status: str
    province: str
    """Empty: the registry names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """Sites among which some are drawn with equal probability."""

    cells: tuple[Cell, ...]  # several: they were merged
    sites: int  # number of sites
    drawn: int  # number of sites that are drawn, 1 or more

    @property
    def probability(self) -> float:
        """Probability of each site to be drawn. [1]"""
        return self.drawn / self.sites

    @property
    def weight(self) -> float:
        """Number of sites that a drawn one stands for: 1 / probability. [1]"""
        return self.sites / self.drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Sites that were drawn, and how."""

    strata: tuple[Stratum, ...]
    """By status and province."""
    sites: tuple[tuple[str, int], ...]
    """Id of each site drawn and the place of its stratum in `strata`; by stratum, then by id."""


def draw_sample(frame: Mapping[str, Cell], n: int, *, seed: str) -> Sample:
    """Draw `n` sites at random from those of a frame (by id), see the policies of this module.

    The share of sites with some property, such as a wrong verdict, is estimated without bias by the sum of the weights
    of the drawn sites that have it, divided by the number of all sites (Horvitz and Thompson [1]_). `seed` is any text
    without a line end; the same one gives the same sample.

    References
    ----------
    .. [1] D. G. Horvitz and D. J. Thompson, "A generalization of sampling without replacement from a finite universe,"
       J. Am. Stat. Assoc., 1952, doi:10.1080/01621459.1952.10483446.

    Examples
    --------
    >>> frame = {"a": Cell("failing", "Gansu"), "b": Cell("on_track", "Gansu"), "c": Cell("on_track", "Gansu")}
    >>> [site for site, _ in draw_sample(frame, 2, seed="2026").sites]
    ['a', 'b']
    """
    members: dict[Cell, list[str]] = defaultdict(list)
    for site, cell in frame.items():
        members[cell].append(site)
    strata = design({cell: len(ids) for cell, ids in members.items()}, n)
    drawn: list[tuple[str, int]] = []
    for place, stratum in enumerate(strata):
        ids = [site for cell in stratum.cells for site in members[cell]]
        first = sorted(ids, key=lambda site: (random_number(seed, site), site))[: stratum.drawn]
        drawn += [(site, place) for site in sorted(first)]
    return Sample(strata=strata, sites=tuple(drawn))


def random_number(seed: str, site: str) -> str:
    r"""Permanent random number of a site: SHA-256 of the seed, a line end and its id in UTF-8, in hexadecimal digits.

    >>> random_number("2026", "demo-01")[:12]  # printf '2026\ndemo-01' | sha256sum
    'e1e5494dde9e'
    """
    return hashlib.sha256(f"{seed}\n{site}".encode()).hexdigest()


def design(sizes: Mapping[Cell, int], n: int) -> tuple[Stratum, ...]:
    """Strata of a sample of `n` sites, and how many are drawn in each, from the number of sites of each status and
    province.

    Raises ``ValueError`` where `n` is less than 1 or more than there are sites.
    """
    if not 1 <= n <= sum(sizes.values()):
        raise ValueError(f"{n} of {sum(sizes.values())} sites cannot be drawn")
    groups = sorted(_merged(sizes, n), key=lambda group: group[1])
    drawn = _allocated([size for size, _ in groups], n)
    return tuple(
        Stratum(cells=cells, sites=size, drawn=count) for (size, cells), count in zip(groups, drawn, strict=True)
    )


_Group = tuple[int, tuple[Cell, ...]]  # number of sites of a stratum, and its cells


def _merged(sizes: Mapping[Cell, int], most: int) -> list[_Group]:
    """At most so many strata: first within each status, then across statuses."""
    by_status: dict[str, list[_Group]] = defaultdict(list)
    for cell, size in sizes.items():
        heappush(by_status[cell.status], (size, (cell,)))
    for _ in range(len(sizes) - most):
        several = [groups for groups in by_status.values() if len(groups) > 1]
        if not several:
            break
        _merge_smallest(min(several, key=lambda groups: groups[0]))
    strata = [group for groups in by_status.values() for group in groups]
    heapify(strata)
    while len(strata) > most:
        _merge_smallest(strata)
    return strata


def _merge_smallest(heap: list[_Group]) -> None:
    """Merge the two smallest groups of a heap."""
    (size, cells), (more, others) = heappop(heap), heappop(heap)
    heappush(heap, (size + more, tuple(sorted((*cells, *others)))))


def _allocated(sizes: Sequence[int], n: int) -> list[int]:
    """Number of sites drawn in each stratum, by equal proportions.

    A further site goes to the stratum with the largest N² / (k (k + 1)), of N sites with k drawn. Python's quotient of
    two integers is rounded correctly, so that every machine has the same order.
    """
    drawn = [1] * len(sizes)
    waiting = [(-(size**2) / 2, place) for place, size in enumerate(sizes) if size > 1]
    heapify(waiting)
    for _ in range(n - len(sizes)):
        _, place = heappop(waiting)
        drawn[place] += 1
        if (k := drawn[place]) < sizes[place]:
            heappush(waiting, (-(sizes[place] ** 2) / (k * (k + 1)), place))
    return drawn
