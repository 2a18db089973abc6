"""95 % intervals of hectares that are summed over many sites.

Sites of one lot share partner, year, weather and much of their control ground, so that the errors of their verdicts go
together. How far is not known: the model of a lot (:mod:`monitor.verdict.kernels.lot_model`) estimates it for the
average of a lot, not for its hectares. Intervals therefore hold however far they do. Different lots are taken as
independent, which they are not where one drought or one sensor step touches several: that is not covered. Sites without
a lot are taken as one lot in each province.
"""

from collections.abc import Hashable, Sequence
from typing import Final, NamedTuple

import numpy as np

CELLS: Final = 4_000
"""Cells of the grid of hectares: limits are known to some 1/4,000 of the hectares summed."""
TAIL: Final = 0.025  # probability of each end of a distribution [1]


class Interval(NamedTuple):
    """A sum of hectares with its 95 % interval. [ha]"""

    hectares: float
    low: float
    high: float


def probable_hectares(hectares: Sequence[float], probability: Sequence[float], lots: Sequence[Hashable]) -> Interval:
    """Hectares of the sites that are in one state, such as failing, from the probability of that state at each site.

    Let the state come and go together in a lot: a number that is uniform between 0 and 1 is drawn for the lot, and each
    site whose probability exceeds it is in the state. Of all dependences within lots, this one has the most extreme
    ends, in the mean over an end, not in its quantile: of a hundred sites with a probability of .02 none is in the
    state with .98, and yet two or more are likelier than not if they are independent. So the mean of the lowest .025 is
    the lower limit, and that of the highest .025 the upper one: the quantiles lie between them whatever the dependence
    [1]_. The interval holds at least .95 of the distribution, which is computed, not simulated.

    References
    ----------
    .. [1] J. Dhaene et al., "Risk measures and comonotonicity: a review," Stochastic Models, 2006,
       doi:10.1080/15326340600878016.
    """
    numbers: dict[Hashable, int] = {}
    lot = np.array([numbers.setdefault(one, len(numbers)) for one in lots], np.intp)
    area, chance = np.asarray(hectares, float), np.clip(np.asarray(probability, float), 0.0, 1.0)
    total, expected = float(area.sum()), float(area @ chance)
    if total <= 0:
        return Interval(0.0, 0.0, 0.0)
    cell = total / CELLS
    parts = _lot_distributions(area / cell, chance, lot)
    while len(parts) > 1:
        parts = [_sum_of_two(*parts[i : i + 2]) for i in range(0, len(parts), 2)]
    weights, values = parts[0] / parts[0].sum(), np.arange(parts[0].size) * cell
    low, high = _mean_of_first(weights, values), _mean_of_first(weights[::-1], values[::-1])
    return Interval(expected, min(low, expected), max(min(high, total), expected))


def _mean_of_first(weights: np.ndarray, values: np.ndarray) -> float:
    """Mean of the values that come first, until their weights sum to :data:`TAIL`; weights sum to 1."""
    share = np.diff(np.minimum(np.cumsum(weights), TAIL), prepend=0.0)
    return float(share @ values) / TAIL


def _lot_distributions(cells: np.ndarray, chance: np.ndarray, lot: np.ndarray) -> list[np.ndarray]:
    """Probability of each number of cells in the state, by lot; index 0: none of its ground is in the state.

    All are (n,): the area of each site in cells, its probability of the state, and the number of its lot, from 0
    without gaps.
    """
    order = np.lexsort((-chance, lot))  # the likely ones of a lot come first
    cells, chance, lot = cells[order], chance[order], lot[order]
    last = np.append(lot[1:] != lot[:-1], True)
    first = np.roll(last, 1)
    sums = np.cumsum(cells)
    value = sums - (sums - cells)[first][lot]  # of a site and the likelier ones of its lot
    just_these = chance - np.where(last, 0.0, np.roll(chance, -1))
    # A value between two cells is shared out so that its mean stays.
    lower = np.floor(value + 1e-9).astype(np.intp)
    upper = np.clip(value - lower, 0.0, 1.0)
    size = lower[last] + 2
    begin = np.cumsum(size) - size
    place = begin[lot] + lower
    weights = np.concatenate([1.0 - chance[first], just_these * (1.0 - upper), just_these * upper])
    flat = np.bincount(np.concatenate([begin, place, place + 1]), weights=weights, minlength=int(size.sum()))
    return np.split(flat, begin[1:])


def _sum_of_two(first: np.ndarray, second: np.ndarray | None = None) -> np.ndarray:
    """Distribution of the sum of two independent numbers of cells; of the first one where there is no second."""
    if second is None:
        return first
    size = first.size + second.size - 1
    fast = 1 << (size - 1).bit_length()
    both: np.ndarray = np.fft.irfft(np.fft.rfft(first, fast) * np.fft.rfft(second, fast), fast)
    return both[:size].clip(0.0)


def summed_intervals(parts: Sequence[Interval], lots: Sequence[Hashable]) -> Interval:
    """Sum of estimates with 95 % intervals, such as the failing area of each site. [ha]

    Limits of the sites of a lot add up, since these are fully dependent; between lots the distances of limits from
    estimates are added in squares, each side by itself [1]_.

    References
    ----------
    .. [1] G. Y. Zou and A. Donner, "Construction of confidence limits about effect measures: A general approach,"
       Stat. Med., 2008, doi:10.1002/sim.3095.
    """
    sums: dict[Hashable, np.ndarray] = {}
    for part, lot in zip(parts, lots, strict=True):
        sums[lot] = sums.get(lot, np.zeros(3)) + np.asarray(part)
    if not sums:
        return Interval(0.0, 0.0, 0.0)
    estimate, low, high = np.array(list(sums.values())).T
    total = float(estimate.sum())
    below, above = np.sqrt(np.sum((estimate - low) ** 2)), np.sqrt(np.sum((high - estimate) ** 2))
    return Interval(total, total - float(below), total + float(above))
