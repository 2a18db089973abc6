"""Control units that a user supplies: matched, screened and averaged as every night does it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import xarray as xr
from shapely.geometry import Point

from monitor.controls.control_means import control_mean
from monitor.controls.selection import MAX_YEARLY_DIFFERENCE, MIN_SELECTION_SCENES, MIN_UNITS, Unit, select_units
from monitor.errors import BadData
from monitor.sites.growing_season import GrowingSeason
from monitor.sites.names import shown
from monitor.sites.site import Site
from monitor.tables import Column, read
from monitor.verdict.assess import DEFAULT
from monitor.verdict.assessment import Series
from monitor.verdict.tables.plans import SitePlan
from monitor.verdict.tables.series import COVER, DATE, clip_covers, one_each_day, shared_dates

COLUMNS: Final = (Column("site", "id", True), DATE, Column("unit", "id", True), COVER)


class Units(NamedTuple):
    """The control units of one site."""

    cover: np.ndarray  # (scene, unit) mean cover, NaN where not seen [1]
    dates: np.ndarray  # (scene,) datetime64[D], ascending
    names: tuple[str, ...]  # id of each unit


def read_units(path: Path) -> tuple[dict[str, Units], dict[str, int]]:
    """Control units of each site (``site, date, unit, cover``), and how many covers were set to 0 or 1."""
    table = read(path, COLUMNS)
    (sites, of_site), (names, of_unit), dates = table.ids(), table.ids("unit"), table["date"]
    values = {"cover": table["cover"]}
    table.check()
    clipped = clip_covers(values, sites, of_site)
    counted = one_each_day(
        table, of_site * len(names) + of_unit, dates, values,
        lambda at: f"unit {shown(names[of_unit[at]])} of site {shown(sites[of_site[at]])}",
    )  # fmt: skip
    edges = np.searchsorted(of_site[counted], np.arange(len(sites) + 1))
    units = {}
    for k, name in enumerate(sites):
        rows = counted[edges[k] : edges[k + 1]]
        days, scene = np.unique(dates[rows], return_inverse=True)
        numbers, unit = np.unique(of_unit[rows], return_inverse=True)
        matrix = np.full((days.size, numbers.size), np.nan)
        matrix[scene, unit] = values["cover"][rows]
        units[name] = Units(matrix, days, tuple(names[number] for number in numbers))
    return units, clipped


def compare_with_units(
    observed: Mapping[str, Series], plans: Mapping[str, SitePlan], path: Path
) -> tuple[dict[str, Series], dict[str, int], list[str]]:
    """The series with the control ground of the units in a file; the covers that were set to 0 or 1, by site; and
    notes.

    Units are matched by their cover before the start, see :func:`monitor.controls.selection.select_units`. Of the
    matched ones, a unit that changed alone and, year by year, the third that rose most do not count, see
    :func:`monitor.controls.control_means.control_mean`. A control that a series has already is replaced.

    Raises ``BadData`` where a unit has two different rows for one date; for units of an unknown site, a site with
    neither units nor a control, a unit that is the site itself, and without a scene by which the units can be matched.
    """
    units, clipped = read_units(path)
    if unknown := sorted(units.keys() - observed.keys()):
        msg = f"{path}: has units of site {shown(unknown[0])}, which has no series"
        raise BadData(msg)
    compared, notes = dict(observed), list[str]()
    for name, series in observed.items():
        if name not in units:
            if not np.isfinite(series.control).any():
                msg = f"{path}: has no units of site {shown(name)}, whose series has no control either"
                raise BadData(msg)
            notes.append(f"site {name!r} has no units; its column control is used")
            continue
        theirs = units[name]
        _refuse_site_itself(path, name, series, theirs)
        matched, apart = _matched(path, series, theirs, plans[name].site)
        like = "are like it before its start and count"
        if apart > MAX_YEARLY_DIFFERENCE:
            like = f"count, although their mean differs from it by {apart:.2f} before its start: give ground like it"
        notes.append(f"site {name!r}: {matched.sum()} of {matched.size} units {like}")
        mean = control_mean(theirs.cover[:, matched], theirs.dates, plans[name].site.start)
        at = np.minimum(np.searchsorted(theirs.dates, series.dates), theirs.dates.size - 1)
        control = np.where(theirs.dates[at] == series.dates, mean[at], np.nan)
        compared[name] = replace(series, control=control)
        seen = np.isfinite(series.cover)
        if without := int((seen & ~np.isfinite(control)).sum()):
            notes.append(
                f"site {name!r}: {without} of {seen.sum()} scenes are left out, since fewer than {MIN_UNITS} units "
                "count and are seen in them"
            )
    return compared, clipped, notes


def _matched(path: Path, series: Series, units: Units, site: Site) -> tuple[np.ndarray, float]:
    """Units, (unit,) bool, that a night would select by their cover, from the scenes from which it would do so; and the
    root mean square of the difference of their yearly means from the site. [cover fraction]

    Those before the start; if there are none, the first growing seasons since then with three scenes or more.
    """
    days, own, theirs = np.intersect1d(series.dates, units.dates, return_indices=True)
    clear = np.ones(own.size) if series.clear is None else series.clear[own]
    seen = np.isfinite(series.cover[own]) & (clear >= DEFAULT.clear) & np.isfinite(units.cover[theirs]).any(axis=1)
    growing, before = GrowingSeason.of(site), seen & (days < np.datetime64(site.start, "D"))
    season, position = growing.locate(days.astype("datetime64[D]").astype(np.int64))
    since = seen & ~before & (position <= growing.length)
    if days.size:
        since &= season <= growing.last_ended(series.dates[-1].astype("datetime64[D]").item())[0]
    used = before
    for last in np.unique(season[since]) if not before.any() else ():
        used = since & (season <= last)
        if used.sum() >= MIN_SELECTION_SCENES:
            break
    if used.sum() < (1 if before.any() else MIN_SELECTION_SCENES):
        msg = (
            f"{path}: the units of site {shown(site.id)} cannot be matched: no scene before its start ({site.start}) "
            f"shows site and units, nor do {MIN_SELECTION_SCENES} scenes of the growing seasons that have ended since; "
            "add earlier scenes, or give a column control of matched ground instead"
        )
        raise BadData(msg)
    cover = np.column_stack([series.cover[own][used], units.cover[theirs][used]])
    values = np.full((*cover.shape, 3), np.nan)
    values[:, :, 0] = cover
    means = xr.DataArray(
        values, dims=("time", "unit", "measure"),
        coords={"time": days[used].astype("datetime64[ns]"), "measure": ["cover", "ndmi", "red"]},
    )  # fmt: skip
    candidates = [Unit(id=name, geometry=Point(), distance=0.0) for name in units.names]
    selected = select_units(means.isel(unit=0), means.isel(unit=slice(1, None)), candidates)
    chosen = {unit.id for unit in selected.units}
    return np.array([name in chosen for name in units.names]), selected.balance.get("rmspe", 0.0)


def _refuse_site_itself(path: Path, site: str, series: Series, units: Units) -> None:
    """Raise an error about a unit with the cover of the site."""
    _, own, theirs = np.intersect1d(series.dates, units.dates, return_indices=True)
    for number, name in enumerate(units.names):
        if count := shared_dates(series.cover[own], units.cover[theirs, number]):
            msg = (
                f"{path}: unit {shown(name)} has the cover of site {shown(site)} itself on {count} of {own.size} "
                "dates; leave it out"
            )
            raise BadData(msg)
