"""What control ground says of each scene: one value a ring, of the units that are still fit to compare with.

Units are frozen, but ground does not keep still: one burns, one is cleared, one is planted by somebody else. Once a
year each is looked at, and what changed for itself alone is left out of all later scenes, never to come back. All of it
is a function of the stored means, so that it comes out the same in whatever order scenes arrived, and what was said of
a day is not changed by a later year.
"""

from datetime import date
from typing import Final

import numpy as np
import xarray as xr

from monitor.controls.units import ENOUGH, REFERENCE, ControlSet

CHANGED: Final = 0.08
"""Least change of a unit's season against the other units that may be more than noise. [cover fraction]"""
UNLIKE: Final = 4.0
"""The same in robust standard deviations of the units' changes in that year."""
SEASON_SCENES: Final = 3
"""Scenes that show a unit in a year, at least, to judge it."""


def screened(means: xr.DataArray, *, since: date | None = None) -> xr.DataArray:
    """Which units are still fit to compare with, scene by scene.

    Parameters
    ----------
    means : xr.DataArray
        (time, unit, measure) with ``cover``, as ``SiteStore.unit_means`` gives them; in any order.
    since : date, optional
        First day of the intervention: units are compared with the years before it. None, or no year before it:
        with the first year.

    Returns
    -------
    xr.DataArray
        (time, unit) bool. False from the first scene of the year after the one in which the unit's yearly mean, less
        the median of all units, had moved by more than .08 of cover and by four robust standard deviations: burnt,
        cleared, planted.

    Notes
    -----
    Differences are taken scene by scene, so that a unit hidden in spring is not taken for one that stayed bare. A
    unit that moves with the others is not seen: against that there is the second ring.
    """
    cover = means.sel(measure="cover").transpose("time", "unit").values.astype(np.float64)
    days = means.time.values.astype("datetime64[D]")
    year = days.astype("datetime64[Y]").astype(int) + 1970
    fit = np.ones(cover.shape, dtype=bool)
    if not cover.size:
        return xr.DataArray(fit, dims=("time", "unit"), coords={"time": means.time, "unit": means.unit})
    difference = cover - _median(cover)
    begun = since.year if since is not None else 0
    years = np.unique(year)
    before = years[years < begun] if (years < begun).any() else years[:1]
    usual = _yearly(difference, np.isin(year, before))
    for one in years[years > before[-1]]:
        change = _yearly(difference, year == one) - usual
        known = np.isfinite(change)
        if known.sum() < ENOUGH:
            continue
        middle = np.median(change[known])
        spread = 1.4826 * np.median(np.abs(change[known] - middle))
        gone = known & (np.abs(change - middle) > max(CHANGED, UNLIKE * spread))
        fit[np.ix_(year > one, gone)] = False
    return xr.DataArray(fit, dims=("time", "unit"), coords={"time": means.time, "unit": means.unit})


def control(means: xr.DataArray, controls: ControlSet, *, since: date | None = None) -> xr.DataArray:
    """Means of the control ground in each scene, ring by ring.

    Parameters
    ----------
    means : xr.DataArray
        (time, unit, measure) of the units of `controls`, as ``SiteStore.unit_means`` gives them.
    controls : ControlSet
        Frozen; gives the ring of each unit.
    since : date, optional
        First day of the intervention, see :func:`screened`.

    Returns
    -------
    xr.DataArray
        (ring, time, measure), ring 1 and 2, each the plain mean over its fit units that were seen; NaN where they were
        fewer than ten. Where the first ring has fewer than ten fit units left, the second stands in for it. Ring 2 is
        NaN throughout where there is but one. ``n_pixels`` is the sum.
    """
    ring = _rings(means, controls)
    means, ring = means.isel(unit=ring != REFERENCE), ring[ring != REFERENCE]
    fit = screened(means, since=since)
    ordered = means.transpose("time", "unit", "measure")
    values = np.where(fit.values[:, :, None], ordered.values.astype(np.float64), np.nan)
    seen = np.isfinite(values)
    names = [str(name) for name in ordered.measure.values]
    found = np.full((2, ordered.sizes["time"], len(names)), np.nan)
    enough = np.zeros((2, ordered.sizes["time"]), dtype=bool)
    for k in (0, 1):
        mine = ring == k + 1
        count = seen[:, mine].sum(axis=1)
        total = np.where(seen[:, mine], values[:, mine], 0.0).sum(axis=1)
        mean = np.where(count >= ENOUGH, total / np.maximum(count, 1), np.nan)
        if "n_pixels" in names:
            mean[:, names.index("n_pixels")] = total[:, names.index("n_pixels")]
        found[k] = mean
        enough[k] = fit.values[:, mine].sum(axis=1) >= ENOUGH
    lost = ~enough[0] & enough[1]
    found[0, lost] = found[1, lost]
    coords = {"ring": [1, 2], "time": ordered.time, "measure": ordered.measure}
    return xr.DataArray(found, dims=("ring", "time", "measure"), coords=coords)


def reference(means: xr.DataArray, controls: ControlSet, *, since: date | None = None) -> xr.DataArray:
    """Cover, scene by scene, of ground that stood before the start where the plan wants the site to be.

    Returns
    -------
    xr.DataArray
        (time,) median of the fit reference units; NaN with fewer than ten of them. [1]
    """
    means = means.isel(unit=_rings(means, controls) == REFERENCE)
    cover = means.sel(measure="cover").transpose("time", "unit").values.astype(np.float64)
    cover = np.where(screened(means, since=since).values, cover, np.nan)
    enough = np.isfinite(cover).sum(axis=1) >= ENOUGH
    found = np.full(cover.shape[0], np.nan)
    if enough.any():
        found[enough] = np.nanmedian(cover[enough], axis=1)
    return xr.DataArray(found, dims="time", coords={"time": means.time})


def _rings(means: xr.DataArray, controls: ControlSet) -> np.ndarray:
    rings = {unit.id: unit.ring for unit in controls.units}
    return np.array([rings.get(str(name), 1) for name in means.unit.values], dtype=int)


def _median(values: np.ndarray) -> np.ndarray:
    """Median of the units in each scene, (n, 1); NaN with fewer than half of them."""
    seen = np.isfinite(values).sum(axis=1)
    found = np.full((values.shape[0], 1), np.nan)
    enough = seen >= max(values.shape[1] / 2, 1)
    if enough.any():
        found[enough, 0] = np.nanmedian(values[enough], axis=1)
    return found


def _yearly(difference: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Mean difference of each unit over the chosen scenes; NaN where fewer than three show it."""
    rows = difference[chosen]
    seen = np.isfinite(rows)
    count = seen.sum(axis=0)
    mean: np.ndarray = np.where(
        count >= SEASON_SCENES, np.where(seen, rows, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan
    )
    return mean
