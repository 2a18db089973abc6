"""Choose the control units of new sites by how site and units behaved before the start."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, NamedTuple

import numpy as np
import structlog
import xarray as xr
from odc.geo.geobox import GeoBox
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from monitor.controls.selection import (
    MIN_SELECTION_SCENES,
    MIN_UNITS,
    UNITS_PER_RING,
    Unit,
    candidate_units,
    select_units,
)
from monitor.cover.observe import Refusal
from monitor.cube.grid import crs_of
from monitor.cube.overpass import Overpass
from monitor.cube.records import MEASURES
from monitor.errors import UNREAD, MonitorError, TryLater
from monitor.imagery.auxiliary.elevation import ElevationModel
from monitor.imagery.auxiliary.terrain import Terrain, terrain_of
from monitor.ingest.observations import MIN_CLEAR_FRACTION
from monitor.ingest.site_update import SiteUpdate, for_each
from monitor.ingest.steps import Step, make_steps
from monitor.ingest.task import RankedSources, SiteTask
from monitor.sites.growing_season import GrowingSeason
from monitor.sites.projection import lonlat, projected

log = structlog.get_logger()

MAX_BUFFERED_BYTES: Final = 128 << 20
"""Observations made to choose units that stay in memory to be stored, all sites of a landscape; others are read again.
[byte]"""
REACH_STEP: Final = 500.0  # step of the distance that images should show around a site [m]


class ControlShortage(NamedTuple):
    """A new site for which the offered images, or the named ground, show too few candidates for control units."""

    candidates: int
    reach: float | None
    """Distance beyond the site that images should show, for :data:`monitor.controls.selection.UNITS_PER_RING`
    candidates; None: the ring does not hold as many, or the ground is named. [m]"""

    @property
    def sentence(self) -> str:
        """The shortage in words, and the remedy."""
        found = f"{self.candidates or 'no'} piece{'' if self.candidates == 1 else 's'} of control ground of its size"
        need = f"{found}, and without {MIN_UNITS} no failure is reported"
        if self.reach is None:
            return f"{need}; name control ground, or more of it: [registry] controls"
        return (
            f"{need}; images that show the ground up to {self.reach / 1000:g} km beyond the site would have "
            f"{UNITS_PER_RING}; or name control ground: [registry] controls"
        )


def selection_scenes(task: SiteTask, missing: Sequence[Overpass]) -> list[list[Overpass]]:
    """Overpasses by which the control units of a new site are chosen, in batches in the order in which they are tried.

    First all before the start: one that shows the site is enough. If none does, because the work began before all
    imagery, the complete growing seasons since the start, one after the other, until :data:`MIN_SELECTION_SCENES`
    scenes show the site. If there are too few, the choice waits for the next season, because units are frozen for good
    and one scene in spring is not enough. Until then scenes are stored without units, and none counts; they are fetched
    again with the units.

    `missing`: all offered overpasses, ascending by time.
    """
    start, season = task.site.start, GrowingSeason.of(task.site)
    days = np.array([overpass.main.time.date() for overpass in missing], "datetime64[D]").astype(np.int64)
    years, positions = season.locate(days)
    last, _ = season.last_ended(task.until)
    seasons: dict[int, list[Overpass]] = {}
    for overpass, year, in_season in zip(missing, years.tolist(), (positions <= season.length).tolist(), strict=True):
        if in_season and year <= last and overpass.main.time.date() >= start:
            seasons.setdefault(year, []).append(overpass)
    before = [overpass for overpass in missing if overpass.main.time.date() < start]
    return [before, *(seasons[year] for year in sorted(seasons))]


def task_candidates(task: SiteTask, grid: GeoBox, ring: tuple[float, float]) -> list[Unit]:
    """Candidates for the control units of a new site, where its offered scenes show the ground.

    `grid`, `ring`: of the site, and of the preferred source.
    """
    covered = unary_union([scene.footprint for scene in task.offered if scene.footprint is not None])
    others = [outline for outline, _ in task.others]
    return candidate_units(task.site.geometry, others, grid, ring, covered=covered, within=task.within)


def control_shortage(task: SiteTask, grid: GeoBox, ring: tuple[float, float]) -> ControlShortage | None:
    """Whether a new site would get too few control units from the scenes that it is offered; None: enough.

    Parameters as for :func:`task_candidates`. That candidates exist does not mean that they are like the site.
    """
    number = len(task_candidates(task, grid, ring))
    if number >= MIN_UNITS:
        return None
    if task.within is not None:
        return ControlShortage(number, None)
    crs, others = crs_of(grid), [outline for outline, _ in task.others]
    left, bottom, right, top = projected(task.site.geometry, crs).bounds

    def shown(step: int) -> int:
        """Candidates that images show which end a number of steps beyond the site."""
        reach = step * REACH_STEP
        covered = lonlat(box(left - reach, bottom - reach, right + reach, top + reach), crs)
        return len(candidate_units(task.site.geometry, others, grid, ring, covered=covered))

    steps = range(1, round(ring[1] / REACH_STEP) + 1)
    place = bisect_left(steps, UNITS_PER_RING, key=shown)
    return ControlShortage(number, steps[place] * REACH_STEP if place < len(steps) else None)


def choose_controls(
    updates: Sequence[SiteUpdate], sources: RankedSources, elevation: ElevationModel | None
) -> Iterator[list[Step]]:
    """Choose the control units of new sites of one landscape, by scenes before the start, else by the first seasons.

    Sites whose units cannot be chosen yet keep None. The preferred source gives the ring, `elevation` the terrain of
    sites and candidates. Yields steps that must be computed and taken before this continues.
    """
    selections = {update: _Selection(update, selection_scenes(update.task, update.missing)) for update in updates}
    for_each(updates, lambda update: selections[update].find_candidates(sources))
    candidates = {update: selection.candidates for update, selection in selections.items()}
    room = MAX_BUFFERED_BYTES

    def collect(update: SiteUpdate) -> None:
        nonlocal room
        room -= selections[update].collect(room)

    trying = [update for update in updates if update.alive]
    while trying:
        needed = {update: selections[update].next_batch() for update in trying}
        yield make_steps(needed, candidates, sources, lambda observed: for_each(observed, collect))
        for_each(trying, lambda update: selections[update].decide(elevation))
        trying = [u for u in trying if u.alive and u.controls is None and selections[u].batches]
    for update in updates:
        places = {unit.id: place for place, unit in enumerate(candidates[update])}
        chosen = [places[unit.id] for unit in update.units]
        update.read_already = {
            name: replace(observation, unit_means=observation.unit_means[chosen])
            for name, observation in update.read_already.items()
        }


def known_terrain(elevation: ElevationModel | None, geometries: Sequence[BaseGeometry]) -> list[Terrain | None]:
    """Terrain of some geometries; None where it is unknown, which the verdict reports and which stops nothing."""
    try:
        if elevation is not None:
            return terrain_of(elevation, geometries)
    except MonitorError as error:
        log.warning("terrain is not known", error=str(error))
    return [None] * len(geometries)


@dataclass(slots=True, eq=False)
class _Selection:
    """The choice of the control units of one site."""

    update: SiteUpdate
    batches: list[list[Overpass]]  # overpasses that have not been tried yet
    batch: list[Overpass] = field(default_factory=list)  # those that are tried now
    candidates: tuple[Unit, ...] = ()
    n_tried: int = 0
    means: list[tuple[datetime, np.ndarray]] = field(default_factory=list)
    """Time and (1 + candidate, measure) means of the site and the candidates, for each scene that was read."""
    unreadable: list[Refusal] = field(default_factory=list)  # refusals that may not hold on another day

    def find_candidates(self, sources: RankedSources) -> None:
        self.candidates = tuple(task_candidates(self.update.task, self.update.grid, sources.first.ring))

    def next_batch(self) -> list[Overpass]:
        self.batch = self.batches.pop(0)
        self.n_tried += len(self.batch)
        return self.batch

    def collect(self, room: int) -> int:
        """Add the observations of the current step; buffer them within `room`, and return their size. [byte]"""
        buffered = 0
        for observation in self.update.observations:
            size = observation.pixels.nbytes + observation.unit_means.nbytes
            if observation.refusal is not None:
                self.unreadable += [observation.refusal] if observation.refusal.reason in UNREAD else []
                continue
            if not observation.unread and size <= room - buffered:
                buffered += size
                copied = replace(observation, pixels=observation.pixels.copy())
                self.update.read_already[observation.overpass.acquisition] = copied
            means = observation.site_means
            if means[0] < MIN_CLEAR_FRACTION * observation.pixels.shape[1]:
                means = np.full_like(means, np.nan)
            self.means.append((observation.scene.time, np.concatenate([means[None], observation.unit_means])))
        return buffered

    def decide(self, elevation: ElevationModel | None) -> None:
        """Select the units, if the scenes so far are enough.

        Raises TryLater if most scenes cannot be read: units are selected once and for all.
        """
        update, site = self.update, self.update.task.site
        after_start = any(overpass.main.time.date() >= site.start for overpass in self.batch)
        if len(self.unreadable) > len(self.means):
            raise TryLater(
                f"site {site.id!r} is not begun: of {self.n_tried} scenes from "
                f"{'its first growing seasons' if after_start else 'before its start'} {len(self.unreadable)} cannot "
                f"be read; the first: {self.unreadable[0].why}"
            )
        clear = sum(bool(np.isfinite(means[0, MEASURES.index("cover")])) for _, means in self.means)
        if clear < (MIN_SELECTION_SCENES if after_start else 1):
            update.tried = None if self.unreadable else GrowingSeason.of(site).last_ended(update.task.until)[0]
            return
        update.tried = None
        self.means.sort(key=lambda pair: pair[0])
        times = np.array([time.astimezone(UTC).replace(tzinfo=None) for time, _ in self.means], dtype="datetime64[ns]")
        means = xr.DataArray(
            np.stack([means for _, means in self.means]), dims=("time", "unit", "measure"),
            coords={"time": times, "measure": list(MEASURES)},
        )  # fmt: skip
        own, *others = known_terrain(elevation, [site.geometry, *(unit.geometry for unit in self.candidates)])
        update.terrain = own
        promised = 0.0 if after_start else site.plan.index_A  # references show the state before the start
        update.controls = select_units(
            means.isel(unit=0), means.isel(unit=slice(1, None)), self.candidates, promised=promised,
            terrain=None if own is None else (own, others),
        )  # fmt: skip
