"""Means of the control ground in each scene: one value a ring, over the units that can still be compared with.

Units are frozen, but ground changes. Once a year each unit is checked by its means in the years that are over:

- a unit that changed alone (burnt, cleared, planted) is excluded from all later scenes;
- of the others of each ring, the third that rose most since the years before the start does not count in the next year.
  Ground that is restored is seldom noticed unit by unit; in the mean it makes a success look like a failure.

The result is a function of the stored means: it does not depend on the order in which scenes arrived, and a later year
does not change the value of an earlier day. Units that another site covers are left out from that site's start on
(:mod:`monitor.controls.screening`).
"""

from collections.abc import Sequence
from datetime import date
from typing import Final, NamedTuple

import numpy as np

from monitor.controls.selection import MIN_UNITS, REFERENCE_RING

MIN_COVER_CHANGE: Final = 0.08  #: least change of a yearly mean against other units beyond noise [cover fraction]
MAX_DEVIATION: Final = 4.0  #: least such change in robust standard deviations (1.4826 median absolute deviations)
MIN_YEAR_SCENES: Final = 3  #: scenes with a unit in a year that are needed to judge it
RISEN_SHARE: Final = 1 / 3  #: of a ring's units, those that rose most: left out next year; ten always stay [1]
MIN_RISE: Final = 1e-6  #: above the median unit of its ring: less is rounding [cover fraction]


class UnitChoice(NamedTuple):
    """Control units that do not count, year by year. Row k of a mask applies when k of `years` are over."""

    years: np.ndarray  #: (year,) calendar years with scenes, ascending
    changed: np.ndarray  #: (year + 1, unit) bool: changed alone; from then on for good
    risen: np.ndarray  #: (year + 1, unit) bool: rose most; chosen again each year

    def at(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Units that are fit (have not changed) and that have risen, each (scene, unit) bool, at UTC times (scene,)."""
        row = np.searchsorted(self.years, _year(times))
        return ~self.changed[row], self.risen[row]


def choose_units(
    cover: np.ndarray, dates: np.ndarray, start: date | None, *, ring: np.ndarray | None = None,
    present: np.ndarray | None = None, orbits: Sequence[str] | None = None,
) -> UnitChoice:  # fmt: skip
    """Choose the control units that do not count, once a year, from the years that are over.

    Parameters
    ----------
    cover : (scene, unit) array
        Mean of each unit in each scene, in any order; NaN where it was not seen. [cover fraction]
    dates : (scene,) datetime64 array
        UTC.
    start : date or None
        First day of the intervention: each unit is compared with its calendar years before that of `start`; with its
        first year if there are none, or if `start` is None.
    ring : (unit,) int array, optional
        Ring of each unit, :data:`monitor.controls.selection.REFERENCE_RING` for reference units; default: all in one.
        Reference units are compared with each other, and only with regard to change.
    present : (scene, unit) bool array, optional
        False from the scene on from which a unit is left out for another reason; default: all present.
    orbits : (scene,) sequence of str, optional
        Orbit of each scene: a unit on a slope is then compared with its years before the start in the same orbit.

    Returns
    -------
    UnitChoice
        `changed`: in a year that is over, the unit's yearly mean, less the median of all units, had moved by more than
        .08 of cover and by four robust standard deviations. `risen`: the unit's yearly means since the start, weighted
        by 1, 2, 3 ... in their order, less its mean before, are among the highest third of the unchanged units of its
        ring; fewer are left out where fewer than ten would stay.

    Notes
    -----
    Differences are taken scene by scene, so that a unit hidden in spring is not taken for one that stayed bare. A
    unit that changes with the others is not detected: the second ring covers that case.

    All years since the start decide, so that one odd year matters less; later ones count more, because what is planted
    grows. Where nothing is restored, leaving out the highest third lowers the mean of the next year by chance: by .002
    of cover in the growing half of the season (150 simulated sites with 16, and with 40, units).
    """
    year = _year(dates)
    years = np.unique(year)
    shape = (years.size + 1, cover.shape[1])
    choice = UnitChoice(years, np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool))
    if not cover.size:
        return choice
    ring = np.ones(cover.shape[1], dtype=int) if ring is None else ring
    present = np.ones(cover.shape, dtype=bool) if present is None else present
    staying = np.array([present[year == each].all(axis=0) for each in years])
    before = int(np.searchsorted(years, start.year if start is not None else 0)) or 1
    for reference in (True, False):
        group = (ring == REFERENCE_RING) == reference
        own, here = np.where(present, cover, np.nan)[:, group], present[:, group]
        difference = own - _median(own, np.maximum(here.sum(axis=1) / 2, 1))[:, None]
        difference -= _usual(difference, np.isin(year, years[:before]), orbits)
        changes = np.full((years.size, own.shape[1]), np.nan)
        for k in range(before, years.size):
            changes[k] = _yearly(difference, year == years[k])
            choice.changed[k + 1 :, group] |= _changed_alone(changes[k])
            if not reference:
                fit = staying[k, group] & ~choice.changed[k + 1, group]
                choice.risen[k + 1, group] = _risen_most(changes[before : k + 1], fit, ring[group])
    return choice


def control_mean(cover: np.ndarray, dates: np.ndarray, start: date | None) -> np.ndarray:
    """Mean of the control ground in each scene, over the units of one ring that count.

    Parameters
    ----------
    cover, dates, start : see :func:`choose_units`

    Returns
    -------
    (scene,) array
        NaN where fewer than ten units count and were seen, see :func:`mean_of_units`. [cover fraction]
    """
    return mean_of_units(cover[:, :, None], *choose_units(cover, dates, start).at(dates))[:, 0]


def mean_of_units(values: np.ndarray, fit: np.ndarray, risen: np.ndarray) -> np.ndarray:
    """Mean over the units of one ring that count, in each scene.

    Parameters
    ----------
    values : (..., scene, unit, measure) array
        NaN where a unit was not seen.
    fit, risen : (..., scene, unit) bool arrays
        See :meth:`UnitChoice.at`. Where fewer than ten units that are fit and have not risen were seen, those that have
        risen count as well: a scene is not lost because of them.

    Returns
    -------
    (..., scene, measure) array
        NaN where fewer than ten fit units were seen.
    """
    seen = np.isfinite(values)
    best = seen & (fit & ~risen)[..., None]
    seen = np.where((best.sum(axis=-2) >= MIN_UNITS)[..., None, :], best, seen & fit[..., None])
    count = seen.sum(axis=-2)
    mean = np.where(seen, values, 0.0).sum(axis=-2) / np.maximum(count, 1)
    return np.asarray(np.where(count >= MIN_UNITS, mean, np.nan))


def _usual(difference: np.ndarray, before: np.ndarray, orbits: Sequence[str] | None) -> np.ndarray:
    """Mean difference of each unit in the scenes `before`, (scene, unit): those in the orbit of the scene, or in all
    orbits where fewer than three of them show the unit.
    """
    usual = np.broadcast_to(_yearly(difference, before), difference.shape).copy()
    if orbits is not None:
        names, orbit = np.unique(np.array(orbits, dtype=str), return_inverse=True)
        for number in range(names.size if names.size > 1 else 0):
            mean = _yearly(difference, before & (orbit == number))
            usual[orbit == number] = np.where(np.isfinite(mean), mean, usual[orbit == number])
    return usual


def _year(times: np.ndarray) -> np.ndarray:
    return times.astype("datetime64[Y]").astype(int) + 1970


def _changed_alone(change: np.ndarray) -> np.ndarray:
    """Units, (unit,) bool, whose yearly mean has moved apart from that of the others."""
    known = np.isfinite(change)
    if known.sum() < MIN_UNITS:
        return np.zeros(change.size, dtype=bool)
    apart = np.abs(change - np.median(change[known]))
    return np.asarray(apart > max(MIN_COVER_CHANGE, MAX_DEVIATION * 1.4826 * np.median(apart[known])))


def _risen_most(changes: np.ndarray, fit: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """Units, (unit,) bool, that rose most in each ring, from their (year, unit) changes since the years before."""
    known = np.isfinite(changes)
    weights = known * np.arange(1.0, len(changes) + 1)[:, None]
    total = weights.sum(axis=0)
    rise = (np.where(known, changes, 0.0) * weights).sum(axis=0)
    rise = np.where(total > 0, rise / np.maximum(total, 1.0), -np.inf)
    risen = np.zeros(ring.size, dtype=bool)
    for number in np.unique(ring):
        mine = np.flatnonzero(fit & (ring == number))
        most = min(int(mine.size * RISEN_SHARE + 1e-9), mine.size - MIN_UNITS)
        if most <= 0:
            continue
        highest = mine[np.argsort(-rise[mine], kind="stable")[:most]]
        risen[highest[rise[highest] > np.median(rise[mine]) + MIN_RISE]] = True
    return risen


class Comparison(NamedTuple):
    """Values of the control ground in each scene, of one site or, along a first dimension, of several."""

    rings: np.ndarray
    """(ring, ..., scene, measure), ring 1 and 2: mean over its units that count, see :func:`mean_of_units`. Where the
    first ring has fewer than ten fit units left, the second replaces it; where neither has ten, both together do. Ring
    2 is NaN throughout where there is only one ring. [1]"""
    reference: np.ndarray
    """(..., scene) cover of ground that had the planned cover before the start: median of the fit reference units; NaN
    with fewer than ten of them. [1]"""
    near: np.ndarray  #: (..., scene, unit) bool: units of both rings that are fit
    few: np.ndarray  #: (..., scene) bool: fewer than ten units of both rings are fit, seen or not


def compare(means: np.ndarray, ring: np.ndarray, fit: np.ndarray, risen: np.ndarray, *, cover: int) -> Comparison:
    """Values of the control ground in each scene, without the units that do not count.

    Parameters
    ----------
    means : (..., scene, unit, measure) array
        NaN where a unit was not seen. [1]
    ring : (..., unit) int array
        Ring of each unit; -1: there is none at this place.
    fit, risen : (..., scene, unit) bool arrays
        See :meth:`UnitChoice.at`; units that another site covers are not fit either.
    cover : int
        Place of the cover among the measures.

    Returns
    -------
    Comparison
        NaN where fewer than ten units were seen.
    """
    of = ring[..., None, :]  # along scene, unit
    standing = fit & (of == REFERENCE_RING)
    near = fit & (of > 0)
    ones, twos = near & (of == 1), near & (of == 2)
    first, second = (mean_of_units(means, mine, risen) for mine in (ones, twos))
    enough, enough_2 = (mine.sum(axis=-1) >= MIN_UNITS for mine in (ones, twos))
    first = np.where((~enough & enough_2)[..., None], second, first)
    scattered = ~enough & ~enough_2
    if scattered.any():
        first = np.where(scattered[..., None], mean_of_units(means, near, risen), first)
    reference = _median(np.where(standing, means[..., cover], np.nan), MIN_UNITS)
    return Comparison(np.stack([first, second]), reference, near, near.sum(axis=-1) < MIN_UNITS)


def unit_spread(cover: np.ndarray, near: np.ndarray) -> np.ndarray:
    """10th and 90th percentile of the cover of the control units of a site in each scene.

    Parameters
    ----------
    cover : (..., scene, unit) array
        NaN where a unit was not seen. [cover fraction]
    near : (..., scene, unit) bool array
        Units of both rings that are fit, see :class:`Comparison`.

    Returns
    -------
    (2, ..., scene) array
        NaN with fewer than ten units. [cover fraction]
    """
    return _quantiles(np.where(near, cover, np.nan), (0.1, 0.9), MIN_UNITS)


def _median(values: np.ndarray, fewest: float | np.ndarray) -> np.ndarray:
    """Median over the last dimension; NaN with fewer than `fewest` values, one number or one for each median."""
    return np.asarray(_quantiles(values, (0.5,), fewest)[0])


def _quantiles(values: np.ndarray, shares: Sequence[float], fewest: float | np.ndarray) -> np.ndarray:
    """Quantiles over the last dimension, linear between ranks, along a new first one; NaN with fewer than `fewest`."""
    found = np.full((len(shares), *values.shape[:-1]), np.nan)
    if values.shape[-1]:
        ranked, n = np.sort(values, axis=-1), np.isfinite(values).sum(axis=-1)  # NaN last
        for quantile, share in zip(found, shares, strict=True):
            rank = share * np.maximum(n - 1, 0)
            low = rank.astype(np.int64)
            high = np.minimum(low + (rank > low), values.shape[-1] - 1)
            lower, upper = (np.take_along_axis(ranked, place[..., None], -1)[..., 0] for place in (low, high))
            quantile[...] = np.where(n >= fewest, lower * (1 - (rank - low)) + upper * (rank - low), np.nan)
    return found


def _yearly(difference: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Mean difference of each unit over the chosen scenes; NaN where fewer than three show it."""
    rows = difference[chosen]
    seen = np.isfinite(rows)
    count = seen.sum(axis=0)
    total = np.where(seen, rows, 0.0).sum(axis=0)
    return np.asarray(np.where(count >= MIN_YEAR_SCENES, total / np.maximum(count, 1), np.nan))
