"""Placebos: control units treated as sites to which nothing was done, and which of them calibrate which sites."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

import numpy as np
import shapely
import xarray as xr
from shapely.geometry.base import BaseGeometry

from monitor.controls.control_means import choose_units, mean_of_units
from monitor.controls.selection import MIN_UNITS
from monitor.series.columns import clearest_each_day
from monitor.sites.site import Site
from monitor.verdict.assess import DEFAULT
from monitor.verdict.assessment import Series
from monitor.verdict.plans import Plans
from monitor.verdict.usable_scenes import usable_scenes

MIN_SITES: Final = 5
"""Fewest stored sites of a biome whose units set its constants: the units of one site share its scenes and its rain, so
those of a few sites say little about how ground differs, however many they are."""
MAX_PLACEBOS: Final = 1000  # placebos that suffice; more would change nothing
MAX_NAMED_TILES: Final = 4  # most tiles that are named one by one


@dataclass(frozen=True, slots=True, kw_only=True)
class Placebo:
    """A control unit as a site with a plan, and its series against the other units."""

    site: Site
    """Only start, biome, plan, area and place are used."""
    series: Series
    unit: str = ""
    """Id of the control unit."""


def unit_placebos(site: Site, means: xr.DataArray, *, wanted: Collection[str] | None = None) -> list[Placebo]:
    """Placebos from the control units of a site: each unit against the others, as a site is against its units.

    `means`, (time, unit, measure), are those of ``StoredSite.unit_means``; with `wanted` only these units become
    placebos. Empty with fewer than eleven units or three years. Units that burnt, were cleared or planted are left out
    entirely; of the others, those that rose most count no more than they do for a site. The start is moved, see
    :func:`placebo_start`.
    """
    days = means.time.values.astype("datetime64[D]")
    start = placebo_start(days, site)
    if means.sizes["unit"] <= MIN_UNITS or start is None:
        return []
    means = means.transpose("time", "unit", "measure")
    every, units = means.sel(measure="cover").values.astype(np.float64), means["unit"].values.astype(str)
    quiet = ~choose_units(every, days, start).changed[:-1].any(axis=0)
    best = clearest_each_day(days, np.isfinite(every).sum(axis=1))
    days, cover, second = days[best], every[best], means.sel(measure="nbr").values[best].astype(np.float64)
    if not np.isfinite(second).any():
        second = means.sel(measure="ndmi").values[best].astype(np.float64)
    placebos = []
    for u in np.flatnonzero(quiet):
        if wanted is not None and units[u] not in wanted:
            continue
        others = quiet & (np.arange(units.size) != u)
        fit, risen = choose_units(cover[:, others], days, start).at(days)
        ground = mean_of_units(np.stack([cover[:, others], second[:, others]], axis=-1), fit, risen)
        control, change = np.clip(ground[:, 0], 0, 1), second[:, u] - ground[:, 1]
        series = Series(dates=days, cover=np.clip(cover[:, u], 0, 1), control=control, second=change)
        placebos.append(Placebo(site=replace(site, start=start), series=series, unit=str(units[u])))
    return placebos


def placebo_start(days: np.ndarray, site: Site) -> date | None:
    """Start of a placebo with scenes on some days, ascending: on the day of the year of the site's.

    A third of the years, two to five, are before it. None with fewer than three years.
    """
    first, last = (int(str(day)[:4]) for day in (days[0], days[-1])) if days.size else (0, 0)
    if last - first < 2:
        return None
    before = min(max((last - first + 1) // 3, 2), 5)
    return date(first + before, site.start.month, min(site.start.day, 28))


def pool_placebos(
    tiles: Sequence[str], of_tile: Callable[[str], Sequence[Placebo]], tile: str, biome: str
) -> tuple[list[Placebo], str]:
    """Placebos for the sites of one tile and biome, and their origin for the calibration's ``source``.

    Its own, then those of other tiles until there are 1,000; `tiles` are all 100 km tiles with placebos of the biome.
    The same for each tile of a biome that needs all of them.
    """
    used: dict[str, Sequence[Placebo]] = {}
    for name in sorted(tiles, key=lambda name: (name != tile, name)):
        if sum(map(len, used.values())) >= MAX_PLACEBOS:
            break
        used[name] = of_tile(name)
    names = sorted(used) if len(used) == len(tiles) else list(used)
    named = ", ".join(names) if len(names) <= MAX_NAMED_TILES else f"{names[0]} and {len(names) - 1} others"
    return [placebo for name in names for placebo in used[name]], f"placebos of {biome}, tile {named or 'none'}"


def has_enough_scenes(placebo: Placebo) -> bool:
    """Whether a placebo has enough scenes for a verdict, both before its start and after."""
    plans = Plans.of([placebo.site])
    scenes = usable_scenes(placebo.series, plans, DEFAULT)
    before = int(np.searchsorted(scenes.used_day, plans.start[0]))
    return min(before, scenes.used.size - before) >= DEFAULT.scenes


def independent_units(units: Sequence[BaseGeometry], worked: Sequence[BaseGeometry]) -> np.ndarray:
    """Which control units, in order of preference, overlap neither an earlier selected one nor a site."""
    free = np.ones(len(units), dtype=bool)
    if not len(units):
        return free
    tree = shapely.STRtree(units)
    free[tree.query(worked, predicate="intersects")[1]] = False
    later, earlier = tree.query(units, predicate="intersects")
    below = earlier < later
    order = np.argsort(later[below], kind="stable")
    later, earlier = later[below][order], earlier[below][order]
    edges = np.searchsorted(later, np.arange(len(units) + 1))
    for unit in np.flatnonzero(free):
        free[unit] = not free[earlier[edges[unit] : edges[unit + 1]]].any()
    return free
