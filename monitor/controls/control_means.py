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
import xarray as xr

from monitor.controls.screening import LeftOut, left_out_mask
from monitor.controls.selection import MIN_UNITS, REFERENCE_RING, ControlSet

MIN_COVER_CHANGE: Final = 0.08
"""Least change of a unit's yearly mean against the other units that may be more than noise. [cover fraction]"""
MAX_DEVIATION: Final = 4.0
"""Least change in robust standard deviations (1.4826 times the median absolute deviation) of the units' changes."""
MIN_YEAR_SCENES: Final = 3
"""Scenes with a unit in a year that are needed to judge it."""
RISEN_SHARE: Final = 1 / 3
"""Share of the units of a ring, those that rose most, that do not count in the next year; ten always stay. [1]"""
MIN_RISE: Final = 1e-6
"""Rise above the median unit of its ring below which a unit has not risen: less is rounding. [cover fraction]"""


class UnitChoice(NamedTuple):
    """Control units that do not count, year by year. Row k of a mask applies when k of `years` are over."""

    years: np.ndarray
    """(year,) calendar years with scenes, ascending."""
    changed: np.ndarray
    """(year + 1, unit) bool: changed alone; from then on for good."""
    risen: np.ndarray
    """(year + 1, unit) bool: rose most; chosen again each year."""

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
    return mean_of_units(cover, *choose_units(cover, dates, start).at(dates))


def mean_of_units(values: np.ndarray, fit: np.ndarray, risen: np.ndarray) -> np.ndarray:
    """Mean over the units of one ring that count, in each scene.

    Parameters
    ----------
    values : (scene, unit) or (scene, unit, measure) array
        NaN where a unit was not seen.
    fit, risen : (scene, unit) bool arrays
        See :meth:`UnitChoice.at`. Where fewer than ten units that are fit and have not risen were seen, those that have
        risen count as well: a scene is not lost because of them.

    Returns
    -------
    (scene,) or (scene, measure) array
        NaN where fewer than ten fit units were seen.
    """
    each = values[:, :, None] if values.ndim == 2 else values
    seen = np.isfinite(each)
    best = seen & (fit & ~risen)[:, :, None]
    seen = np.where((best.sum(axis=1) >= MIN_UNITS)[:, None, :], best, seen & fit[:, :, None])
    count = seen.sum(axis=1)
    mean = np.where(seen, each, 0.0).sum(axis=1) / np.maximum(count, 1)
    enough: np.ndarray = np.where(count >= MIN_UNITS, mean, np.nan)
    return enough[:, 0] if values.ndim == 2 else enough


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
    gone: np.ndarray = apart > max(MIN_COVER_CHANGE, MAX_DEVIATION * 1.4826 * np.median(apart[known]))
    return gone


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
    """Values of the control ground in each scene."""

    rings: np.ndarray
    """(ring, time, measure), ring 1 and 2: mean over its units that count, see :func:`mean_of_units`; for ``n_pixels``
    the sum over its fit units. Where the first ring has fewer than ten fit units left, the second replaces it; where
    neither has ten, both together do. Ring 2 is NaN throughout where there is only one ring. [1]"""
    reference: np.ndarray
    """(time,) cover of ground that had the planned cover before the start: median of the fit reference units; NaN with
    fewer than ten of them. [1]"""
    units: np.ndarray
    """(time, unit, measure) means of the units of both rings; NaN where they are not fit or were not seen. [1]"""
    few: np.ndarray
    """(time,) bool: fewer than ten units of both rings are fit, seen or not."""


def unit_choice(
    means: xr.DataArray, controls: ControlSet, *, since: date | None = None, left_out: LeftOut | None = None,
    orbits: Sequence[str] | None = None,
) -> UnitChoice:  # fmt: skip
    """:func:`choose_units` for the units of a site.

    Parameters
    ----------
    means, controls, since, left_out, orbits : see :func:`compare`

    Returns
    -------
    UnitChoice
        Units that changed alone or rose most, for each year.
    """
    units, times = means.unit.values, means.time.values
    cover = means.sel(measure="cover").transpose("time", "unit").values.astype(np.float64)
    present = ~left_out_mask(units, times, left_out or {})
    return choose_units(cover, times, since, ring=_rings(units, controls), present=present, orbits=orbits)


def compare(
    means: xr.DataArray, controls: ControlSet, *, since: date | None = None, left_out: LeftOut | None = None,
    orbits: Sequence[str] | None = None,
) -> Comparison:  # fmt: skip
    """Values of the control ground in each scene, without the units that changed alone or rose most.

    Parameters
    ----------
    means : xr.DataArray
        (time, unit, measure) of the units of `controls`, see ``StoredSite.unit_means``.
    controls : ControlSet
        Frozen units with the ring of each.
    since : date, optional
        First day of the intervention, see :func:`choose_units`.
    left_out : mapping, optional
        First day on which units no longer count, see :func:`monitor.controls.screening.left_out`. Values of earlier
        scenes do not depend on it.
    orbits : (time,) sequence of str, optional
        Orbit of each scene, see :func:`choose_units`.

    Returns
    -------
    Comparison
        NaN where fewer than ten units were seen.
    """
    choice = unit_choice(means, controls, since=since, left_out=left_out, orbits=orbits)
    every, names = means.transpose("time", "unit", "measure").values, [str(name) for name in means.measure.values]
    return compare_counting(every, means.time.values, means.unit.values, names, controls, choice, left_out=left_out)


def compare_counting(
    means: np.ndarray, times: np.ndarray, units: Sequence[str], names: Sequence[str], controls: ControlSet,
    choice: UnitChoice, *, left_out: LeftOut | None = None,
) -> Comparison:  # fmt: skip
    """:func:`compare` with the choice of units given: a scene then depends on no other.

    Parameters
    ----------
    means : (time, unit, measure) array
        NaN where a unit was not seen.
    times : (time,) datetime64 array
        UTC.
    units, names : sequence of str
        Ids of the units; names of the measures, including ``cover``.
    controls : ControlSet
        Frozen units with the ring of each.
    choice : UnitChoice
        See :func:`unit_choice`.
    left_out : mapping, optional
        See :func:`compare`.

    Returns
    -------
    Comparison
        NaN where fewer than ten units were seen.
    """
    fit, risen = choice.at(times)
    fit &= ~left_out_mask(units, times, left_out or {})
    every = np.where(fit[:, :, None], means, np.nan).astype(np.float64)
    ring, cover = _rings(units, controls), names.index("cover")
    standing, values = every[:, ring == REFERENCE_RING, cover], every[:, ring != REFERENCE_RING]
    near, risen = fit[:, ring != REFERENCE_RING], risen[:, ring != REFERENCE_RING]
    ring = ring[ring != REFERENCE_RING]
    rings = np.full((2, len(every), len(names)), np.nan)
    enough = np.zeros((2, len(every)), dtype=bool)

    def mean_of(mine: np.ndarray) -> np.ndarray:
        """(time, measure) means over some units."""
        mean = mean_of_units(values[:, mine], near[:, mine], risen[:, mine])
        if "n_pixels" in names:
            mean[:, names.index("n_pixels")] = np.nansum(values[:, mine, names.index("n_pixels")], axis=1)
        return mean

    for k in (0, 1):
        mine = ring == k + 1
        rings[k] = mean_of(mine)
        enough[k] = near[:, mine].sum(axis=1) >= MIN_UNITS
    lost = ~enough[0] & enough[1]
    rings[0, lost] = rings[1, lost]
    scattered = ~enough.any(axis=0)
    rings[0, scattered] = mean_of(np.ones(ring.size, dtype=bool))[scattered]
    return Comparison(rings, _median(standing, MIN_UNITS), values, near.sum(axis=1) < MIN_UNITS)


def _rings(units: Sequence[str], controls: ControlSet) -> np.ndarray:
    of = {unit.id: unit.ring for unit in controls.units}
    return np.array([of.get(str(name), 1) for name in units], dtype=int)


def _median(values: np.ndarray, fewest: float | np.ndarray) -> np.ndarray:
    """Median of the units in each scene, (n,); NaN with fewer than `fewest` units, one number or one a scene."""
    medians = np.full(values.shape[0], np.nan)
    if values.shape[1]:
        ranked, n = np.sort(values, axis=1), np.isfinite(values).sum(axis=1)  # NaN last
        scene = np.arange(n.size)
        middle = (ranked[scene, np.maximum(n - 1, 0) // 2] + ranked[scene, np.minimum(n // 2, values.shape[1] - 1)]) / 2
        medians = np.where(n >= fewest, middle, medians)
    return medians


def _yearly(difference: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Mean difference of each unit over the chosen scenes; NaN where fewer than three show it."""
    rows = difference[chosen]
    seen = np.isfinite(rows)
    count = seen.sum(axis=0)
    total = np.where(seen, rows, 0.0).sum(axis=0)
    mean: np.ndarray = np.where(count >= MIN_YEAR_SCENES, total / np.maximum(count, 1), np.nan)
    return mean
