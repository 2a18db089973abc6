"""Bring what is stored of sites up to what the sources offer. The same for a night and for a backfill.

What is left to do is offered minus stored, by acquisition, granule and baseline, never "since the last date": scenes
that arrive late, and a new site's history, are found by the same question. Sites that share a provider's blocks are
read together; each has a store of its own, and one broken site does not stop the others.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import structlog
import xarray as xr
from dask import delayed
from dask.delayed import Delayed
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from jobs.clock import check_snapshot_time
from jobs.lock import LANDSCAPE_LOCKS, Lock, hold_lock
from jobs.logs import redacted
from jobs.sources import Sources
from monitor.controls.screening import LeftOut, left_out
from monitor.controls.selection import MIN_UNITS, REFERENCE_RING, ControlSet, Unit, candidate_units, select_units
from monitor.cover.fraction import ENDMEMBERS
from monitor.cover.observe import TRY_LATER, Refusal, needs_bandpass, observe, scale_and_offset
from monitor.cover.zonal_means import zonal_means
from monitor.cube.arrays import granules_of
from monitor.cube.context_pictures import context_grid, natural_colour, picture_candidates, replaces_picture
from monitor.cube.granules import MAX_GRANULES
from monitor.cube.grid import crs_of, inside, site_grid
from monitor.cube.layout import PixelLayout, Zones
from monitor.cube.masks import unseen_reason
from monitor.cube.overpass import Overpass, PendingDays, merge_granules, not_yet_stored, overpasses, pending_days
from monitor.cube.packed import PACKED_LAYERS, pack
from monitor.cube.records import MEASURES, Member, Picture, Record, SiteScene, digest, record_of
from monitor.cube.store import LandscapeStore
from monitor.cube.stored_site import StoredSite
from monitor.errors import BadConfiguration, BadData, MonitorError, SceneRejected, TryLater
from monitor.imagery import acquisition_id, bands
from monitor.imagery.auxiliary.elevation import ElevationModel
from monitor.imagery.auxiliary.terrain import Terrain, terrain_of
from monitor.imagery.source import Scene, Source
from monitor.sites.growing_season import GrowingSeason
from monitor.sites.site import Site

log = structlog.get_logger()

COMMIT_SIZE = 32
"""Overpasses committed together: bounds memory, and what a killed backfill has to do again."""
HELD = 128 << 20
"""Pixels of all sites of a landscape that are committed together, at most: with more sites fewer overpasses. As much is
remembered of what was read to choose control units by. [byte]"""
AGAIN = timedelta(days=30)
"""A scene that cannot be read is tried again by every night until so much later ones are offered: items are known to
come before their files, and a server to be out of order for a night."""
NO_ANSWER = "NO_ANSWER"
"""Why a scene cannot be read that is tried again by every night, however old: nothing is known against its files."""
UNREAD = ("MISSING", "BROKEN", NO_ANSWER)
"""Why a scene cannot be read that may be readable another day."""
FEWEST = 10
"""A site of fewer pixels is too small for its mean to mean anything: no scene of it counts. [pixel]"""
SITE_CLEAR = 0.6
"""A scene counts when this share of the site was seen. [1]"""
SEASON_SEEN = 3
"""Clear scenes that make a growing season seen: on fewer no control ground is chosen for a site that was begun before
all imagery, as fewer do not count as a season before the start either (:func:`monitor.verdict.kernels.balance`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is stored of a site."""

    landscape: LandscapeStore
    baselines: Mapping[str, Mapping[str, str]]
    """Of each stored acquisition the baseline of each granule; one object for sites of a landscape that have the
    same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteTask:
    """One site's part of a fetch: all that a worker needs."""

    site: Site
    ground: str
    folder: Path
    """Of the store of its landscape; of a site that has none yet, of the landscape that it is to begin."""
    offered: tuple[Scene, ...]
    """Over the site, in order of preference of their sources."""
    asked: PendingDays | None = None
    """What :func:`monitor.cube.overpass.pending_days` leaves of them where the store is as `known`; None: to be
    asked."""
    searched: BaseGeometry
    """The area in which they were found."""
    controls: ControlSet | None
    """The frozen units; None: those the store was made with, else chosen, see :func:`selection_scenes`."""
    known: Known | None
    others: tuple[tuple[BaseGeometry, date], ...]
    """Outline and start of every other site near the units or where they are sought, retired ones too: control ground
    is chosen outside them, and left out where one was registered later."""
    until: date
    """Last day of the scenes that are offered."""
    waiting_in: Path | None = None
    """Store of the landscape in which the site waits without control ground, where that is to be chosen tonight."""
    left_out: LeftOut = field(default_factory=dict)
    """Units left out, as the ledger has them; see :func:`monitor.controls.screening.left_out`."""
    within: tuple[BaseGeometry, ...] | None = None
    """Control ground that people have named; None: a ring round the site."""
    terrain: Terrain | None = None
    """Of the site, as the ledger knows it."""
    missing: str = ""
    """Why some source could not be asked: a new site is not begun on half of its history."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchResult:
    """What a fetch did for one site."""

    stored: StoredSite
    snapshot: str
    """Of the store."""
    new: tuple[str, ...]
    """Acquisitions stored by this fetch."""
    controls: ControlSet
    """Empty while they cannot be chosen yet."""
    new_controls: bool
    """Whether they were not in the ledger."""
    waits: bool
    """Whether no growing season has been seen yet to choose them on."""
    left_out: LeftOut
    """Units that do not count from a day on."""
    new_left_out: bool
    """Whether the ledger has others."""
    terrain: Terrain | None
    """Of the site, where it is known."""
    new_terrain: bool
    """Whether it was not in the ledger."""
    tried: int | None = None
    """The last growing season that was over when they were sought in vain; None: they were not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one site's part."""

    site: Site
    state: str
    """``done``, ``failed`` or ``deferred``."""
    error: str | None = None
    fetched: FetchResult | None = None
    never_offered: bool = False
    """Whether it failed because no source has ever offered a scene of it."""


def new_site_grid(site: Site, source: Source) -> GeoBox:
    """The site's own fixed grid, on the lattice of a source.

    Raises
    ------
    BadData
        The site holds no centre of a pixel.
    """
    theirs = source.grid(site.geometry)
    pixel = abs(theirs.resolution.x)
    anchor = (theirs.affine.c, theirs.affine.f)
    grid = site_grid(site.geometry, crs=crs_of(theirs), resolution=pixel, anchor=anchor)
    if not inside(site.geometry, grid).any():
        msg = f"site {site.id!r} holds no centre of a pixel of {pixel:g} m: it is too small to be seen"
        raise BadData(msg)
    return grid


def fetch(
    tasks: Sequence[SiteTask],
    sources: Sources,
    elevation: ElevationModel | None = None,
    guard: Callable[[], None] = lambda: None,
    what: str = "a run",
) -> Generator[list["Step"], None, list["SiteUpdate"]]:
    """Store what is offered for the sites of a landscape and not yet stored, while its lock is held.

    Parameters
    ----------
    tasks : sequence of SiteTask
        Sites of one landscape, or new ones that are to be one.
    sources : Sources
        The preferred one gives grid and ring.
    elevation : ElevationModel, optional
        Gives the terrain of sites and candidates.
    guard : callable
        Called before each commit: what it raises prevents the commit.
    what : str
        What holds the lock, for others who want it.

    Yields
    ------
    list of Step
        What is to be computed, in any order, and taken, before this goes on.

    Returns
    -------
    list of SiteUpdate
        What became of each site, in the order of `tasks`.

    Raises
    ------
    BadConfiguration
        A source refuses the credentials: no other site would fare better.
    """
    folder = tasks[0].folder
    parts = [SiteUpdate(task, LandscapeStore(folder), guard) for task in tasks]
    try:
        with hold_lock(folder.parent / LANDSCAPE_LOCKS, what, folder.name) as lock:
            yield from _fetch(parts, sources, elevation, lock)
    except TryLater as error:
        for part in parts:
            part.fail("deferred", str(error))
    except BadConfiguration:
        raise
    except Exception as error:
        if not isinstance(error, MonitorError):
            log.exception("a bug while fetching", landscape=folder.name)
        for part in parts:
            part.fail("failed", redacted(f"site {part.task.site.id!r}: {type(error).__name__}: {error}"))
    return parts


def _fetch(
    parts: Sequence["SiteUpdate"], sources: Sources, elevation: ElevationModel | None, lock: Lock
) -> Iterator[list["Step"]]:
    store = parts[0].landscape
    with suppress(MonitorError):  # each site reports it as it is opened
        # As it was read to see what is left to do, unless another run has stored scenes since.
        read = next((part.task.known.landscape for part in parts if part.task.known is not None), store)
        store = read if read.is_newest else store
    for part in parts:
        part.landscape = store
    _each(parts, lambda part: part.open(sources.first))
    _look_again([part for part in parts if part.alive], sources.all)
    new = [part for part in parts if part.alive and part.controls is None]
    yield from _choose(new, sources, elevation)
    waiting = [part for part in new if part.controls is None and part.task.waiting_in is not None]
    _each(waiting, SiteUpdate.wait_on)
    _each(parts, lambda part: part.survey(elevation))
    _begin(store, [part for part in parts if part.alive and part not in waiting], lock)
    yield _storing(store, [part for part in parts if part.alive and part.left], sources, lock)


@dataclass(slots=True, eq=False)
class SiteUpdate:
    """One site on its way through a fetch."""

    task: SiteTask
    landscape: LandscapeStore
    guard: Callable[[], None] = lambda: None
    """Called before anything is written; raises where it must not be."""
    error: str | None = None
    state: str = "done"
    store: StoredSite = field(init=False)
    grid: GeoBox = field(init=False)
    stored: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Of each stored acquisition the baseline of each granule."""
    left: list[Overpass] = field(init=False)
    """Offered and not stored."""
    controls: ControlSet | None = None
    waits: bool = False
    """Whether they cannot be chosen yet: scenes are stored without."""
    tried: int | None = None
    """See :class:`FetchResult`."""
    terrain: Terrain | None = None
    later: str = ""
    """Why some scene could not be asked for: its source is down."""
    waiting: list["_Look"] = field(default_factory=list)
    read_before: dict[str, "_Look"] = field(default_factory=dict)
    """By acquisition what was read to choose control ground, and is stored without being read again."""
    new: list[str] = field(default_factory=list)
    snapshot: str = ""

    @property
    def alive(self) -> bool:
        """Whether nothing went wrong so far."""
        return self.error is None

    @property
    def own(self) -> np.ndarray:
        """(y, x) bool: pixels of the grid that lie inside the site."""
        return inside(self.task.site.geometry, self.grid)

    @property
    def units(self) -> tuple[Unit, ...]:
        """The frozen control units; none while they cannot be chosen."""
        return self.controls.units if self.controls is not None else ()

    def fail(self, state: str, error: str) -> None:
        """Mark as failed or deferred, unless it is already."""
        if self.alive:
            self.state, self.error = state, error

    def open(self, source: Source) -> None:
        """Find grid, store and units, and what is left to do. The grid of a site that is stored stays what it is."""
        self.controls, self.terrain = self.task.controls, self.task.terrain
        if not self.landscape.exists:
            if self.task.missing:
                raise TryLater(self.task.missing)
            self.grid = new_site_grid(self.task.site, source)
            self.left = missing_overpasses(self.task, self.grid, self.stored)
            return
        self.store = StoredSite(self.landscape, self.task.ground)
        self.snapshot, self.grid = self.store.snapshot, self.store.grid
        if self.controls is None:
            self.controls = ControlSet.from_json(self.store.controls)
            self.waits = not self.controls.units
        known = self.task.known
        self.stored = known.baselines if known and known.landscape is self.landscape else self.store.baselines()
        self.left = missing_overpasses(self.task, self.grid, self.stored)
        if self.left:
            check_snapshot_time(self.landscape.written)

    def wait_on(self) -> None:
        """Go on waiting where the site is stored without control ground, since none could be chosen."""
        assert self.task.waiting_in is not None
        self.landscape = LandscapeStore(self.task.waiting_in)
        self.store = StoredSite(self.landscape, self.task.ground)
        self.snapshot, self.grid, self.left = self.store.snapshot, self.store.grid, []

    def survey(self, elevation: ElevationModel | None) -> None:
        """Compute the terrain if it is not known; without control ground the site waits for a growing season."""
        if self.controls is None:
            self.controls, self.waits = ControlSet(units=(), balance={}, candidates=0), True
        if self.terrain is None:
            (self.terrain,) = _terrain(elevation, [self.task.site.geometry])

    def entries(self) -> list[SiteScene]:
        """What is to be stored of the scenes that wait; what is stored already, to the last digit, is not."""
        found = _entries(self, self.waiting)
        again = {entry.record.acquisition for entry in found}.intersection(self.stored)
        have = {record.acquisition: _known(record) for record in self.store.records()} if again else {}
        return [entry for entry in found if have.get(entry.record.acquisition) != _known(entry.record)]

    def stored_now(self, entries: Sequence[SiteScene]) -> None:
        """Take note of what was committed."""
        self.snapshot = self.store.snapshot
        self.new += [entry.record.acquisition for entry in entries]

    def outcome(self) -> Outcome:
        """What became of it."""
        self.guard()
        if self.error is not None or self.controls is None:
            return Outcome(site=self.task.site, state=self.state, error=self.error)
        gone = left_out(self.controls.units, self.task.others)
        fetched = FetchResult(
            stored=self.store,
            snapshot=self.snapshot,
            new=tuple(self.new),
            controls=self.controls,
            new_controls=self.task.controls is None and not self.waits,
            waits=self.waits,
            tried=self.tried,
            left_out=gone,
            new_left_out=gone != self.task.left_out,
            terrain=self.terrain,
            new_terrain=self.task.terrain is None,
        )
        return Outcome(site=self.task.site, state="done", fetched=fetched)


def selection_scenes(task: SiteTask, left: Sequence[Overpass]) -> list[list[Overpass]]:
    """Scenes on which the control ground of a new site is chosen, in the order in which they are tried.

    Parameters
    ----------
    task : SiteTask
        Gives start, biome and the day up to which scenes are offered.
    left : sequence of Overpass
        All that is offered, ascending by time.

    Returns
    -------
    list of list of Overpass
        First those from before the start: one that shows the site is enough. Where none does, as where the work was
        begun before all imagery, each growing season since the start that is over, ascending: they are taken together
        until :data:`SEASON_SEEN` scenes show the site. Where even all of them are fewer the choice waits for the next
        season: what is chosen is frozen, and one scene in spring is too little to choose on for good. Until then scenes
        are stored without control ground, and none counts; they are fetched again with it.
    """
    start, window = task.site.start, GrowingSeason.of(task.site)
    days = np.array([one.main.time.date() for one in left], "datetime64[D]").astype(np.int64)
    season, position = window.locate(days)
    last, _ = window.last_ended(task.until)
    lots: dict[int, list[Overpass]] = {}
    for one, year, inside_it in zip(left, season.tolist(), (position <= window.length).tolist(), strict=True):
        if inside_it and year <= last and one.main.time.date() >= start:
            lots.setdefault(year, []).append(one)
    return [[one for one in left if one.main.time.date() < start], *(lots[year] for year in sorted(lots))]


def missing_overpasses(task: SiteTask, grid: GeoBox, stored: Mapping[str, Mapping[str, str]]) -> list[Overpass]:
    """What is left to do of what is offered over a site, ascending by time."""
    known = task.known is not None and stored is task.known.baselines
    asked = task.asked if known and task.asked is not None else pending_days(task.offered, stored)
    return not_yet_stored(overpasses(asked.scenes, str(crs_of(grid)), asked.stored), stored)


def search_again(
    wanted: Iterable[tuple[SiteTask, Sequence[Overpass]]], sources: Sequence[Source]
) -> dict[str, SiteTask]:
    """Tasks of which something is left to do that no search has looked at, with all of those days looked at.

    A scene that is stored is wanted once more where another granule of its overpass is new, perhaps of another source,
    and where a store has not what the ledger says.

    Parameters
    ----------
    wanted : iterable of (SiteTask, sequence of Overpass)
        Each with what is left to do of it.
    sources : sequence of Source
        In order of preference.

    Returns
    -------
    dict
        By site, with all that is offered; what is left to do of them is to be asked anew.
    """
    tasks: dict[str, SiteTask] = {}
    spans: dict[tuple[BaseGeometry, str], tuple[date, date]] = {}
    for task, left in wanted:
        again = {
            day
            for one in left
            if any(scene.handle is None for scene in one.granules)
            for day in acquisition_id.day_keys(one.acquisition)
        }
        for scene in task.offered if again else ():
            if scene.handle is None and not again.isdisjoint(acquisition_id.day_keys(scene.acquisition)):
                tasks[task.site.id] = task
                key, day = (task.searched, scene.source), scene.time.date()
                first, last = spans.get(key, (day, day))
                spans[key] = min(first, day), max(last, day)
    by_name = {source.name: source for source in sources}
    # A datatake is of the day on which it begins, a catalogue may name a granule by the next.
    found = {
        (area, name): by_name[name].search(area, first - timedelta(days=1), last + timedelta(days=1))
        for (area, name), (first, last) in spans.items()
    }
    for site, task in tasks.items():
        offered: list[Scene] = []
        for name in by_name:
            mine = [scene for scene in task.offered if scene.source == name]
            if (key := (task.searched, name)) in spans:
                first, last = spans[key]
                mine = [scene for scene in mine if not first <= scene.time.date() <= last]
                mine += [s for s in found[key] if first <= s.time.date() <= last and s.touches(task.site.geometry)]
            offered += mine
        tasks[site] = replace(task, offered=tuple(offered), asked=None)
    return tasks


def _look_again(parts: Sequence[SiteUpdate], sources: Sequence[Source]) -> None:
    """Look at what is left to do and was not looked at, since it was thought to be stored."""
    tasks = search_again([(part.task, part.left) for part in parts], sources)
    for part in parts:
        if part.task.site.id in tasks:
            part.task = tasks[part.task.site.id]
            part.left = missing_overpasses(part.task, part.grid, part.stored)


def _each(parts: Iterable[SiteUpdate], step: Callable[[SiteUpdate], None]) -> None:
    """Do a step for every site that is still well; one that fails stops alone."""
    for part in parts:
        if not part.alive:
            continue
        site = part.task.site.id
        try:
            step(part)
        except BadConfiguration:
            raise
        except TryLater as error:
            part.fail("deferred", str(error))
        except MonitorError as error:
            part.fail("failed", f"site {site!r}: {error}")
        except Exception as error:
            log.exception("a bug while fetching", site=site)
            part.fail("failed", redacted(f"site {site!r}: a bug, {type(error).__name__}: {error}"))


def _choose(parts: Sequence[SiteUpdate], sources: Sources, elevation: ElevationModel | None) -> Iterator[list["Step"]]:
    """Choose the units of new sites by how they and the site behaved before the start; where the site was not seen
    then, in the first growing season that was seen. Those that cannot be chosen yet stay None.
    """
    lots = {part: selection_scenes(part.task, part.left) for part in parts}
    pools: dict[SiteUpdate, tuple[Unit, ...]] = {}

    def look_round(part: SiteUpdate) -> None:
        site = part.task.site
        covered = unary_union([scene.footprint for scene in part.task.offered if scene.footprint is not None])
        pools[part] = tuple(
            candidate_units(
                site.geometry, [outline for outline, _ in part.task.others], part.grid, sources.first.ring,
                covered=covered, within=part.task.within,
            )
        )  # fmt: skip

    _each(parts, look_round)
    asked = dict.fromkeys(parts, 0)
    seen: dict[SiteUpdate, list[tuple[datetime, np.ndarray]]] = {part: [] for part in parts}
    unread: dict[SiteUpdate, list[Refusal]] = {part: [] for part in parts}
    room = HELD

    def take_down(part: SiteUpdate) -> None:
        nonlocal room
        for look in part.waiting:
            size = look.pixels.nbytes + look.units.nbytes
            if look.refusal is None and not look.unread and size <= room:
                room -= size
                part.read_before[look.overpass.acquisition] = replace(look, pixels=look.pixels.copy())
            if look.refusal is not None:
                if look.reason in UNREAD:
                    unread[part].append(look.refusal)
                continue
            enough = look.own[0] >= SITE_CLEAR * look.pixels.shape[1]
            own = look.own if enough else np.full_like(look.own, np.nan)
            seen[part].append((look.scene.time, np.concatenate([own[None], look.units])))

    def settle(part: SiteUpdate) -> None:
        if part.later:
            raise TryLater(part.later)
        site = part.task.site
        units, found, bad = pools[part], seen[part], unread[part]
        since = any(one.main.time.date() >= site.start for one in wanted[part])
        if len(bad) > len(found):  # what is chosen to compare with is never chosen again
            msg = (
                f"site {site.id!r} is not begun: of {asked[part]} scenes from "
                f"{'its first growing seasons' if since else 'before its start'} {len(bad)} cannot be read; "
                f"the first: {bad[0].why}"
            )
            raise TryLater(msg)
        clear = sum(bool(np.isfinite(means[0, MEASURES.index("cover")])) for _, means in found)
        if clear < (SEASON_SEEN if since else 1):
            part.tried = None if bad else GrowingSeason.of(site).last_ended(part.task.until)[0]
            return
        part.waits, part.tried = False, None
        found.sort(key=lambda pair: pair[0])
        times = np.array([time.astimezone(UTC).replace(tzinfo=None) for time, _ in found], dtype="datetime64[ns]")
        together = xr.DataArray(
            np.stack([means for _, means in found]), dims=("time", "unit", "measure"),
            coords={"time": times, "measure": list(MEASURES)},
        )  # fmt: skip
        around = _terrain(elevation, [site.geometry, *(unit.geometry for unit in units)])
        part.terrain = around[0]
        part.controls = select_units(
            together.isel(unit=0),
            together.isel(unit=slice(1, None)),
            units,
            promised=0.0 if since else site.plan.A,  # references tell how things stood before the start
            terrain=None if around[0] is None else (around[0], around[1:]),
        )

    trying = [part for part in parts if part.alive]
    while trying:
        wanted = {part: lots[part].pop(0) for part in trying}
        for part in trying:
            asked[part] += len(wanted[part])
        yield _steps(wanted, pools, sources, lambda some: _each(some, take_down))
        _each(trying, settle)
        trying = [part for part in trying if part.alive and part.controls is None and lots[part]]
    for part in parts:
        places = {unit.id: place for place, unit in enumerate(pools.get(part, ()))}
        chosen = [places[unit.id] for unit in part.units]
        part.read_before = {name: replace(look, units=look.units[chosen]) for name, look in part.read_before.items()}


def _terrain(elevation: ElevationModel | None, ground: Sequence[BaseGeometry]) -> list[Terrain | None]:
    """Terrain of pieces of ground; None where it is not known, which is told in the verdict and stops nothing."""
    if elevation is None:
        return [None] * len(ground)
    try:
        return terrain_of(elevation, ground)
    except MonitorError as error:
        log.warning("terrain is not known", error=str(error))
        return [None] * len(ground)


def _begin(store: LandscapeStore, parts: Sequence[SiteUpdate], lock: Lock) -> None:
    """Lay out a new landscape of the sites that can start; the others are left out and join a later one.

    So is one that was lost: its sites keep their units, and get their history again.
    """
    if not parts or store.exists:
        return
    parts[0].guard()
    members = []
    for part in parts:
        assert part.controls is not None
        members.append(
            Member(
                ground=part.task.ground,
                site=part.task.site.id,
                grid=part.grid,
                inside=part.own,
                context=context_grid(part.task.site, part.grid),
                units=tuple(unit.id for unit in part.controls.units),
                controls=part.controls.to_json(),
            )
        )

    def begun(part: SiteUpdate) -> None:
        part.store = StoredSite(store, part.task.ground)
        part.snapshot = part.store.snapshot

    if _together(parts, lock, lambda: store.create(members, biome=parts[0].task.site.biome)):
        _each(parts, begun)


def _together(parts: Sequence[SiteUpdate], lock: Lock, write: Callable[[], Any]) -> bool:
    """Write for all sites at once; where it fails each of them fails, and no other landscape does."""
    state = "failed"
    try:
        lock.check()
        write()
    except BadConfiguration:
        raise
    except MonitorError as error:
        why, state = str(error), "deferred" if isinstance(error, TryLater) else "failed"
    except Exception as error:
        log.exception("a bug while storing", sites=len(parts))
        why = redacted(f"a bug, {type(error).__name__}: {error}")
    else:
        return True
    for part in parts:
        part.fail(state, f"site {part.task.site.id!r}: {why}")
    return False


def _flush(store: LandscapeStore, parts: Sequence[SiteUpdate], sources: Sources, lock: Lock) -> None:
    """Commit what waits of all sites in one commit."""
    waiting: dict[str, list[SiteScene]] = {}

    def judge(part: SiteUpdate) -> None:
        if part.waiting:
            waiting[part.task.ground] = part.entries()

    _each(parts, judge)
    rows: dict[str, dict[str, SiteScene]] = {}
    for ground, entries in waiting.items():
        for entry in entries:
            rows.setdefault(entry.record.acquisition, {})[ground] = entry
    if not rows:
        return
    for name in [name for name, row in rows.items() if len(granules_of(row)) > MAX_GRANULES]:
        log.error("an overpass has more granules than can be stored", acquisition=name, most=MAX_GRANULES)
        del rows[name]
    if not rows:
        return
    ordered = sorted(rows.values(), key=lambda row: min(entry.record.time for entry in row.values()))
    message = f"{len(rows)} scenes of {len(waiting)} sites of {store.name}"

    def commit(part: SiteUpdate) -> None:
        if mine := [row[part.task.ground] for row in ordered if part.task.ground in row]:
            part.stored_now(mine)

    parts[0].guard()
    if _together(parts, lock, lambda: store.append(ordered, message, _pictures(parts, waiting, sources))):
        _each(parts, commit)


def _pictures(
    parts: Sequence[SiteUpdate], entries: Mapping[str, Sequence[SiteScene]], sources: Sources
) -> dict[str, list[Picture]]:
    """Context pictures of the scenes that wait, by the key of the ground; what cannot be read now is left out."""
    asked: dict[tuple[str, str], tuple[Scene, list[tuple[SiteUpdate, str, str]]]] = {}
    have: dict[str, dict[str, Picture]] = {}
    for part in parts:
        ground = part.task.ground
        if not part.alive or part.later or not entries.get(ground):
            continue
        have[ground] = part.store.pictures(pixels=False)
        records = [entry.record for entry in entries[ground]]
        scenes = {scene.id: scene for entry in entries[ground] for scene in entry.granules}
        wanted = picture_candidates(records, have[ground], start=part.task.site.start, seasons=_seasons(part, records))
        for name, record in wanted.items():
            scene = scenes[record.scene]
            asked.setdefault((scene.source, scene.id), (scene, []))[1].append((part, name, record.time))
    found: dict[str, list[Picture]] = {}
    for scene, wants in asked.values():
        grids = {part.task.ground: part.store.context for part, _, _ in wants}
        try:
            (frames,) = sources.by_name(scene.source).read([scene], list(grids.values()))
            if isinstance(frames, SceneRejected):
                continue
            drawn = {ground: natural_colour(pack(one, scene), scene) for ground, one in zip(grids, frames, strict=True)}
        except (SceneRejected, TryLater) as error:
            log.warning("no context picture of a scene", scene=scene.id, why=str(error))
            continue
        except Exception:  # pictures are for people only: what goes wrong with one stops nothing
            log.exception("a bug in a context picture", scene=scene.id)
            continue
        for part, name, moment in wants:
            rgb, clear = drawn[part.task.ground]
            if rgb.shape[:2] != part.store.context.shape:
                log.warning("no context picture of a scene", scene=scene.id, why="its shape is not what was asked for")
            elif replaces_picture(name, clear, have[part.task.ground].get(name)):
                picture = Picture(name=name, time=moment, clear=clear, rgb=rgb)
                found.setdefault(part.task.ground, []).append(picture)
    return found


def _seasons(part: SiteUpdate, records: Sequence[Record]) -> list[int | None]:
    """Year of the growing season that each scene lies in; None: in none."""
    window = GrowingSeason.of(part.task.site)
    days = np.array([record.time[:10] for record in records], "datetime64[D]").astype(np.int64)
    season, position = window.locate(days)
    return [int(year) if 0 < at <= window.length else None for year, at in zip(season, position, strict=True)]


def _storing(store: LandscapeStore, parts: Sequence[SiteUpdate], sources: Sources, lock: Lock) -> list["Step"]:
    """Read what is left to do and commit it, so many scenes at a time."""

    def take(some: Sequence[SiteUpdate]) -> None:
        _flush(store, some, sources, lock)
        for part in some:
            if part.later:
                part.fail("deferred", part.later)

    return _steps({part: part.left for part in parts}, {part: part.units for part in parts}, sources, take)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """One overpass as seen by one site and its units, granules merged."""

    overpass: Overpass
    scene: Scene
    """The granule that gave scale, offset and time."""
    pixels: np.ndarray
    """(layer, pixel) uint16 of the pixels inside the site; of a rejected one nothing but zeros."""
    own: np.ndarray
    """(measure,) float32 means of the site."""
    units: np.ndarray
    """(unit, measure) float32; of a rejected one nothing but NaN."""
    unread: frozenset[str] = frozenset()
    """Tiles of granules that cannot be read today."""
    unanswered: frozenset[str] = frozenset()
    """Of these the ones for which the server gives no answer."""
    refusal: Refusal | None = None
    """Why none of its granules can be read."""

    @property
    def reason(self) -> str:
        """The same, by code; empty: some can."""
        return "" if self.refusal is None else self.refusal.reason


class _Seen(NamedTuple):
    """One granule as seen by one site and its units; see :class:`_Look`."""

    pixels: np.ndarray
    own: np.ndarray
    units: np.ndarray


class _Run(NamedTuple):
    """Scenes of one source and family of sensors that the same sites want."""

    source: Source
    scenes: list[Scene]
    parts: list[SiteUpdate]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Overpasses of a landscape that are read by one graph and dealt with together."""

    rows: list[dict[SiteUpdate, Overpass]]
    """Of each overpass the sites that want it, by time."""
    runs: list[_Run]
    units: Mapping[SiteUpdate, tuple[Unit, ...]]
    """What is averaged around each site."""
    layouts: dict[tuple[str, ...], PixelLayout]
    """By the sites that are read together; shared by the steps of a landscape."""
    sources: Sources
    then: Callable[[Sequence[SiteUpdate]], None]
    """Deals with the looks that wait at the sites."""

    def graph(self) -> Delayed:
        """The lazy Datasets of all runs (:func:`monitor.cover.observe.observe`), or the error of building them."""
        try:
            lazy = [
                observe(
                    self.sources, run.source, run.scenes, self._layout(run), ENDMEMBERS[run.parts[0].task.site.biome]
                )
                for run in self.runs
            ]
        except Exception as error:
            log.exception("a bug while a graph is built", sites=len({part for row in self.rows for part in row}))
            return cast("Delayed", delayed(error, traverse=False))
        return cast("Delayed", delayed(lazy))

    def take(self, found: Any) -> None:
        """Deal with what was computed, or with the exception in its place."""
        parts = list(dict.fromkeys(part for row in self.rows for part in row))
        if isinstance(found, BaseException):
            why = redacted(f"its scenes could not be read: {type(found).__name__}: {found}")
            for part in parts:
                part.fail("failed", why)
            return
        self._look(found)
        self.then([part for part in parts if part.alive])
        for part in parts:
            part.waiting.clear()

    def apart(self) -> list["Step"]:
        """The same for each site by itself."""
        parts = dict.fromkeys(part for row in self.rows for part in row)
        found = []
        for part in parts:
            rows = [{part: row[part]} for row in self.rows if part in row]
            found.append(replace(self, rows=rows, runs=_runs(rows, self.sources)))
        return found

    def _layout(self, run: _Run) -> PixelLayout:
        key = tuple(part.task.site.id for part in run.parts)
        if key not in self.layouts:
            self.layouts[key] = PixelLayout.of(
                [(part.grid, part.own, [unit.geometry for unit in self.units[part]]) for part in run.parts],
                averaged=run.source.reduces_on_server,
            )
        return self.layouts[key]

    def _look(self, found: Sequence[xr.Dataset]) -> None:
        """Let the looks of all rows wait at their sites."""
        seen: dict[tuple[SiteUpdate, str, str], _Seen | Refusal] = {}
        for run, observed in zip(self.runs, found, strict=True):
            layout = self._layout(run)
            pixels, own, units, refused = (
                observed[name].values for name in ("pixels", "site_means", "unit_means", "refused")
            )
            for at, scene in enumerate(run.scenes):
                for why in {one for one in refused[at] if one is not None}:
                    log.warning("a scene cannot be used", scene=scene.id, reason=why.reason, why=why.why)
                for place, part in enumerate(run.parts):
                    first, stop, _ = layout.sites.runs[place]
                    mine = slice(*layout.first_unit[place : place + 2])
                    seen[part, scene.source, scene.id] = refused[at, place] or _Seen(
                        pixels[at, :, first:stop], own[at, place], units[at, mine]
                    )
        for row in self.rows:
            for part, one in row.items():
                if part.alive:
                    self._wait(part, one, seen)

    def _wait(
        self, part: SiteUpdate, one: Overpass, seen: Mapping[tuple[SiteUpdate, str, str], _Seen | Refusal]
    ) -> None:
        if _had(part, one) is not None:
            part.waiting.append(replace(part.read_before.pop(one.acquisition), overpass=one))
            return
        granules = [(scene, seen[part, scene.source, scene.id]) for scene in one.granules]
        later = [why.why for _, why in granules if isinstance(why, Refusal) and why.reason == TRY_LATER]
        if later:
            part.later = part.later or later[0]
            return
        part.waiting.append(_merged(part, len(self.units[part]), one, granules))


def _steps(
    wanted: Mapping[SiteUpdate, Sequence[Overpass]],
    units: Mapping[SiteUpdate, tuple[Unit, ...]],
    sources: Sources,
    then: Callable[[Sequence[SiteUpdate]], None],
) -> list[Step]:
    """What several sites want, at most :data:`COMMIT_SIZE` overpasses or :data:`HELD` bytes of pixels in a step."""
    rows: dict[str, dict[SiteUpdate, Overpass]] = {}
    for part, some in wanted.items():
        for one in some:
            rows.setdefault(one.acquisition, {})[part] = one
    ordered = sorted(rows.values(), key=lambda row: min((one.main.time, one.acquisition) for one in row.values()))
    steps: list[list[dict[SiteUpdate, Overpass]]] = []
    sizes = {part: 2 * len(PACKED_LAYERS) * int(part.own.sum()) for part in wanted}
    held = HELD
    for row in ordered:
        if held >= HELD or len(steps[-1]) >= COMMIT_SIZE:
            steps.append([])
            held = 0
        steps[-1].append(row)
        held += sum(sizes[part] for part in row)
    layouts: dict[tuple[str, ...], PixelLayout] = {}
    return [
        Step(rows=some, runs=_runs(some, sources), units=units, layouts=layouts, sources=sources, then=then)
        for some in steps
    ]


def _had(part: SiteUpdate, one: Overpass) -> _Look | None:
    """What was read of an overpass before, if it was read of the same granules."""
    look = part.read_before.get(one.acquisition)
    same = look is not None and [s.id for s in look.overpass.granules] == [s.id for s in one.granules]
    return look if same else None


def _runs(rows: Sequence[Mapping[SiteUpdate, Overpass]], sources: Sources) -> list[_Run]:
    """Every granule that some site wants and has not read before, once, with the sites that want it: by source, by
    family of sensors (Landsat is averaged otherwise among Sentinel-2), then by time.
    """
    scenes: dict[tuple[str, str], Scene] = {}
    users: dict[tuple[str, str], list[SiteUpdate]] = {}
    for row in rows:
        for part, one in row.items():
            for scene in one.granules if _had(part, one) is None else ():
                scenes.setdefault((scene.source, scene.id), scene)
                users.setdefault((scene.source, scene.id), []).append(part)
    families = {key: bands.sensor_family(scene.sensor, scene.quality) for key, scene in scenes.items()}
    groups: dict[tuple[str, str, tuple[str, ...]], list[tuple[str, str]]] = {}
    for key in sorted(scenes, key=lambda key: (scenes[key].time, scenes[key].acquisition, key)):
        who = tuple(part.task.site.id for part in users[key])
        groups.setdefault((key[0], families[key], who), []).append(key)
    return [
        _Run(sources.by_name(source), [scenes[key] for key in keys], users[keys[0]])
        for (source, _, _), keys in sorted(groups.items())
    ]


def _merged(part: SiteUpdate, units: int, one: Overpass, granules: Sequence[tuple[Scene, _Seen | Refusal]]) -> _Look:
    """An overpass of its granules, the preferred one first."""
    good = [(scene, seen) for scene, seen in granules if not isinstance(seen, Refusal)]
    bad = [(scene, why) for scene, why in granules if isinstance(why, Refusal)]
    unread = frozenset(scene.tile for scene, why in bad if why.reason in UNREAD)
    unanswered = frozenset(scene.tile for scene, why in bad if why.reason == NO_ANSWER)
    if not good:
        nothing = np.zeros((len(PACKED_LAYERS), int(part.own.sum())), dtype=np.uint16)
        own = np.full(len(MEASURES), np.nan, np.float32)
        return _Look(
            overpass=one, scene=one.main, pixels=nothing, own=own, units=_nothing(units), unread=unread,
            unanswered=unanswered, refusal=bad[0][1],
        )  # fmt: skip
    scene, seen = good[0]
    pixels, own = seen.pixels, seen.own
    if len(good) > 1:
        pixels = merge_granules([(scene, seen.pixels) for scene, seen in good])
        own = _own_means(part, scene, pixels)
    return _Look(
        overpass=one, scene=scene, pixels=pixels, own=own, units=_first_seen([seen.units for _, seen in good]),
        unread=unread, unanswered=unanswered,
    )  # fmt: skip


def _own_means(part: SiteUpdate, scene: Scene, pixels: np.ndarray) -> np.ndarray:
    """(measure,) means of a site over the clear ones of its pixels."""
    scale, offset = (xr.DataArray(one, dims=("time", "observed")) for one in scale_and_offset([scene], part.grid))
    means: np.ndarray = zonal_means(
        xr.DataArray(pixels[None], dims=("time", "band", "pixel")), Zones.consecutive([pixels.shape[1]]), scale=scale,
        offset=offset, endmembers=ENDMEMBERS[part.task.site.biome],
    ).values[0, 0]  # fmt: skip
    return means


def _entries(part: SiteUpdate, looks: Sequence[_Look]) -> list[SiteScene]:
    """What is stored of each overpass, judged; one that cannot be read is recorded as rejected.

    A granule that cannot be read, of an overpass of the last :data:`AGAIN` of what is offered, and one for which the
    server gives no answer, is not named among those stored: so it is tried again.
    """
    found = []
    offered = part.task.offered
    since = max(scene.time for scene in offered) - AGAIN if any(look.unread for look in looks) else None
    for look in looks:
        again = look.unread if since is not None and look.overpass.main.time > since else look.unanswered
        granules = {tile: told for tile, told in look.overpass.baselines.items() if tile not in again}
        if look.refusal is not None:
            found.append(_judged(part, look, granules, n=0, reason=look.reason, measures={}))
        else:
            found.append(_entry(part, look, granules))
    return found


def _known(record: Record) -> Record:
    """A record without the measures that it has no value of, to be compared."""
    return replace(record, measures={name: value for name, value in record.measures.items() if value})


def _first_seen(units: Sequence[np.ndarray]) -> np.ndarray:
    """Means of each unit from the first granule that saw enough of it."""
    chosen = units[0]
    for more in units[1:]:
        hidden = np.isnan(chosen[:, 1:]).all(axis=1)
        chosen = np.where(hidden[:, None] & (more[:, :1] >= chosen[:, :1]), more, chosen)
    return chosen


def _entry(part: SiteUpdate, look: _Look, granules: dict[str, str]) -> SiteScene:
    own, size = look.own, look.pixels.shape[1]
    n = int(own[0])
    units = look.units[[unit.ring != REFERENCE_RING for unit in part.units]]
    seen = int(np.isfinite(units[:, MEASURES.index("cover")]).sum())
    reason = ""
    if size < FEWEST:
        reason = "FEW_PIXELS"
    elif n < SITE_CLEAR * size:
        reason = unseen_reason(look.pixels[PACKED_LAYERS.index("quality")], look.scene.quality, np.ones(size, bool))
    elif seen < MIN_UNITS:
        reason = "CONTROL_HIDDEN" if len(units) >= MIN_UNITS else "CONTROL_POOR"
    measures: dict[str, float | None] = {"n_units": float(seen)}
    if not reason:
        for index, name in enumerate(MEASURES[1:], start=1):
            measures[name] = _rounded(own[index])
            known = units[:, index][np.isfinite(units[:, index])].astype(np.float64)
            measures[f"control_{name}"] = _rounded(known.mean()) if known.size else None
    return _judged(part, look, granules, n=n, reason=reason, measures=measures)


def _judged(
    part: SiteUpdate, look: _Look, granules: dict[str, str], *, n: int, reason: str, measures: dict[str, float | None]
) -> SiteScene:
    record = record_of(
        look.scene,
        acquisition=look.overpass.acquisition,
        granules=granules,
        bandpass=needs_bandpass(look.scene, part.grid),
        accepted=not reason,
        reason=reason,
        clear_fraction=round(n / look.pixels.shape[1], 4),
        n_pixels=n,
        measures=measures,
        digest=digest(look.pixels, look.units if part.units else _nothing(0)),
    )
    return SiteScene(record=record, pixels=look.pixels, units=look.units, granules=look.overpass.granules)


def _nothing(units: int) -> np.ndarray:
    return np.full((max(units, 1), len(MEASURES)), np.nan, dtype=np.float32)


def _rounded(value: float) -> float | None:
    """Six decimals: what is judged is exactly what the tables show."""
    return round(float(value), 6) if np.isfinite(value) else None
