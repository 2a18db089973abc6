"""Means of the control ground in each scene: one value a ring, over the units that can still be compared with.

Units are frozen, but ground changes: a unit burns, is cleared, or is planted. Once a year each unit is checked, and one
that changed alone is excluded from all later scenes. The result is a function of the stored means: it does not depend
on the order in which scenes arrived, and a later year does not change the value of an earlier day. Units that another
site covers are left out from that site's start on (:mod:`monitor.controls.screening`).
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
NEVER_CHANGED: Final = 9999
"""Last fit year of a unit that did not change."""


def unchanged_units(means: xr.DataArray, *, since: date | None = None) -> xr.DataArray:
    """Units that can still be compared with, scene by scene.

    Parameters
    ----------
    means : xr.DataArray
        (time, unit, measure) with ``cover``, in any order.
    since : date, optional
        First day of the intervention: each unit is compared with its years before that day; with its first year if
        None or if there are none.

    Returns
    -------
    xr.DataArray
        (time, unit) bool. False from the first scene of the year after the one in which the unit's yearly mean, less
        the median of all units, had moved by more than .08 of cover and by four robust standard deviations: burnt,
        cleared, planted.

    Notes
    -----
    Differences are taken scene by scene, so that a unit hidden in spring is not taken for one that stayed bare. A
    unit that changes with the others is not detected: the second ring covers that case.
    """
    cover = means.sel(measure="cover").transpose("time", "unit").values.astype(np.float64)
    last = _last_fit(cover, np.ones(cover.shape, dtype=bool), means.time.values, since)
    fit, coords = _year(means.time.values)[:, None] <= last, {"time": means.time, "unit": means.unit}
    return xr.DataArray(fit, dims=("time", "unit"), coords=coords)


def _year(times: np.ndarray) -> np.ndarray:
    return times.astype("datetime64[Y]").astype(int) + 1970


def _last_fit(cover: np.ndarray, present: np.ndarray, times: np.ndarray, since: date | None) -> np.ndarray:
    """Last year in which each unit can be compared with, (unit,), from (time, unit) cover where `present`."""
    year = _year(times)
    last = np.full(cover.shape[1], NEVER_CHANGED)
    if not cover.size:
        return last
    cover = np.where(present, cover, np.nan)
    difference = cover - _median(cover, np.maximum(present.sum(axis=1) / 2, 1))[:, None]
    begun = since.year if since is not None else 0
    years = np.unique(year)
    before = years[years < begun] if (years < begun).any() else years[:1]
    usual = _yearly(difference, np.isin(year, before))
    for each in years[years > before[-1]]:
        change = _yearly(difference, year == each) - usual
        known = np.isfinite(change)
        if known.sum() < MIN_UNITS:
            continue
        middle = np.median(change[known])
        spread = 1.4826 * np.median(np.abs(change[known] - middle))
        gone = known & (np.abs(change - middle) > max(MIN_COVER_CHANGE, MAX_DEVIATION * spread))
        last[gone] = np.minimum(last[gone], each)
    return last


class Comparison(NamedTuple):
    """Values of the control ground in each scene."""

    rings: np.ndarray
    """(ring, time, measure), ring 1 and 2: mean over its fit units that were seen, NaN with fewer than ten; for
    ``n_pixels`` the sum. Where the first ring has fewer than ten fit units left, the second replaces it; where neither
    has ten, both together do. Ring 2 is NaN throughout where there is only one ring. [1]"""
    reference: np.ndarray
    """(time,) cover of ground that had the planned cover before the start: median of the fit reference units; NaN with
    fewer than ten of them. [1]"""
    units: np.ndarray
    """(time, unit, measure) means of the units of both rings; NaN where they are not fit or were not seen. [1]"""
    few: np.ndarray
    """(time,) bool: fewer than ten units of both rings are fit, seen or not."""


def last_fit_year(
    means: xr.DataArray, controls: ControlSet, *, since: date | None = None, left_out: LeftOut | None = None
) -> np.ndarray:
    """Last year in which each unit can be compared with, (unit,); :data:`NEVER_CHANGED`: every year.

    See :func:`unchanged_units`; it follows from that year and those before it. Reference units are compared with each
    other. Parameters are those of :func:`compare`.
    """
    units, times = means.unit.values, means.time.values
    cover = means.sel(measure="cover").transpose("time", "unit").values.astype(np.float64)
    reference, present = _rings(units, controls) == REFERENCE_RING, ~left_out_mask(units, times, left_out or {})
    last = np.full(units.size, NEVER_CHANGED)
    for group in (reference, ~reference):
        last[group] = _last_fit(cover[:, group], present[:, group], times, since)
    return last


def compare(
    means: xr.DataArray, controls: ControlSet, *, since: date | None = None, left_out: LeftOut | None = None
) -> Comparison:
    """Values of the control ground in each scene, without the units that changed alone.

    Parameters
    ----------
    means : xr.DataArray
        (time, unit, measure) of the units of `controls`, see ``StoredSite.unit_means``.
    controls : ControlSet
        Frozen units with the ring of each.
    since : date, optional
        First day of the intervention, see :func:`unchanged_units`.
    left_out : mapping, optional
        First day on which units no longer count, see :func:`monitor.controls.screening.left_out`. Values of earlier
        scenes do not depend on it.
    """
    last = last_fit_year(means, controls, since=since, left_out=left_out)
    every, names = means.transpose("time", "unit", "measure").values, [str(name) for name in means.measure.values]
    return compare_fit_units(every, means.time.values, means.unit.values, names, controls, last, left_out=left_out)


def compare_fit_units(
    means: np.ndarray, times: np.ndarray, units: Sequence[str], names: Sequence[str], controls: ControlSet,
    last: np.ndarray, *, left_out: LeftOut | None = None,
) -> Comparison:  # fmt: skip
    """:func:`compare` with the last fit year of each unit given: a scene then depends on no other.

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
    last : (unit,) int array
        See :func:`last_fit_year`.
    left_out : mapping, optional
        See :func:`compare`.
    """
    fit = (_year(times)[:, None] <= last) & ~left_out_mask(units, times, left_out or {})
    every = np.where(fit[:, :, None], means, np.nan).astype(np.float64)
    ring, cover = _rings(units, controls), names.index("cover")
    standing, values = every[:, ring == REFERENCE_RING, cover], every[:, ring != REFERENCE_RING]
    near, ring = fit[:, ring != REFERENCE_RING], ring[ring != REFERENCE_RING]
    seen = np.isfinite(values)
    rings = np.full((2, len(every), len(names)), np.nan)
    enough = np.zeros((2, len(every)), dtype=bool)

    def mean_of(mine: np.ndarray) -> np.ndarray:
        """(time, measure) means over some units."""
        count = seen[:, mine].sum(axis=1)
        total = np.where(seen[:, mine], values[:, mine], 0.0).sum(axis=1)
        mean: np.ndarray = np.where(count >= MIN_UNITS, total / np.maximum(count, 1), np.nan)
        if "n_pixels" in names:
            mean[:, names.index("n_pixels")] = total[:, names.index("n_pixels")]
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
