"""Update a landscape: fetch and store what is offered for its sites and not stored yet.

Sites of a landscape are read together and stored in one commit, and an error in one of them stops no other.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import datetime

import structlog

from monitor.controls.selection import NOT_CHOSEN
from monitor.cube.arrays import granules_of
from monitor.cube.bucket import Place
from monitor.cube.context_pictures import context_grid
from monitor.cube.granules import MAX_GRANULES
from monitor.cube.records import Member, SiteScene
from monitor.cube.store import LandscapeStore
from monitor.cube.stored_site import StoredSite
from monitor.errors import MonitorError
from monitor.imagery.auxiliary.elevation import ElevationModel
from monitor.imagery.source import Source
from monitor.ingest.control_choice import choose_controls, known_terrain
from monitor.ingest.missing import missing_overpasses, search_again
from monitor.ingest.observations import new_site_scenes
from monitor.ingest.pictures import new_pictures
from monitor.ingest.site_update import SiteUpdate, errors_fail, for_each
from monitor.ingest.steps import Step, make_steps
from monitor.ingest.task import RankedSources, SiteTask
from monitor.sites.own_biome import biome_json

log = structlog.get_logger()

type CheckLock = Callable[[], None]  # called before each commit; what it raises prevents the commit


def update_landscape(
    tasks: Sequence[SiteTask],
    sources: RankedSources,
    elevation: ElevationModel | None,
    *,
    hold: Callable[[Place], AbstractContextManager[CheckLock]],
    check_time: Callable[[datetime], None],
) -> Generator[list[Step], None, list[SiteUpdate]]:
    """Fetch and store what is offered for the sites of a landscape and not stored yet, while its lock is held.

    The sites are of one landscape, or new ones that are to become one. The preferred source gives grid and ring of new
    sites, the model the terrain of sites and candidates. `hold` holds the lock of a landscape, and raises TryLater if
    others hold it; `check_time` raises TryLater if the clock is behind the time of the newest snapshot.

    Yields steps that must be computed, in any order, and taken before this continues. Returns the updates in the order
    of `tasks`. Raises BadConfiguration if a source refuses the credentials: every other site would fail too.
    """
    folder = tasks[0].folder
    updates = [SiteUpdate(task, LandscapeStore(folder)) for task in tasks]
    with errors_fail(updates), hold(folder) as check_lock:
        store, unchanged = _open_store(folder, tasks)
        for_each(updates, lambda update: update.open(store, sources.first, check_time, unchanged=unchanged))
        _search_missing_again([update for update in updates if update.alive], sources.all)
        new = [update for update in updates if update.alive and update.controls is None]
        yield from choose_controls(new, sources, elevation)
        waiting = [update for update in new if update.controls is None and update.task.waiting_in is not None]
        for_each(waiting, SiteUpdate.keep_waiting)
        for_each(updates, lambda update: _complete(update, elevation))
        _create(store, [update for update in updates if update.alive and update not in waiting], check_lock)
        missing = {update: update.missing for update in updates if update.alive and update.missing}
        units = {update: update.units for update in missing}
        yield make_steps(missing, units, sources, lambda seen: _store_observations(store, seen, sources, check_lock))
    return updates


def _open_store(folder: Place, tasks: Sequence[SiteTask]) -> tuple[LandscapeStore, bool]:
    """The store as it was read for the tasks, and True; or a new object if another run has stored scenes since."""
    with suppress(MonitorError):  # each site reports it when it is opened
        read = next((task.stored.landscape for task in tasks if task.stored.landscape is not None), None)
        if read is not None and read.is_newest:
            return read, True
    return LandscapeStore(folder), False


def _search_missing_again(updates: Sequence[SiteUpdate], sources: Sequence[Source]) -> None:
    tasks = search_again([(update.task, update.missing) for update in updates], sources)
    for update in updates:
        if update.task.site.id in tasks:
            update.task = tasks[update.task.site.id]
            update.missing = missing_overpasses(update.task, update.grid, update.baselines)


def _complete(update: SiteUpdate, elevation: ElevationModel | None) -> None:
    """Compute the terrain if it is unknown; a site without control units waits for a growing season."""
    if update.controls is None:
        update.controls = NOT_CHOSEN
    if update.terrain is None:
        (update.terrain,) = known_terrain(elevation, [update.task.site.geometry])


def _create(store: LandscapeStore, updates: Sequence[SiteUpdate], check_lock: CheckLock) -> None:
    """Create a new landscape of the sites that can start; the others are left out and join a later one.

    A landscape that was lost is created again: its sites keep their units and fetch their history again.
    """
    if not updates or store.exists:
        return
    members = [
        Member(
            ground=update.task.ground, site=update.task.site.id, grid=update.grid, inside=update.inside,
            context=context_grid(update.task.site, update.grid), units=tuple(unit.id for unit in update.units),
            controls=update.controls.to_json(),
        )
        for update in updates
        if update.controls is not None
    ]  # fmt: skip
    with errors_fail(updates):
        check_lock()
        site = updates[0].task.site
        definition = None if site.own_biome is None else biome_json(site.own_biome)
        store.create(members, biome=site.biome, definition=definition)

    def open_created(update: SiteUpdate) -> None:
        update.store = StoredSite(store, update.task.ground)
        update.snapshot = update.store.snapshot

    for_each(updates, open_created)


def _store_observations(
    store: LandscapeStore, updates: Sequence[SiteUpdate], sources: RankedSources, check_lock: CheckLock
) -> None:
    """Store the observations of a step in one commit."""
    new: dict[str, list[SiteScene]] = {}

    def judge(update: SiteUpdate) -> None:
        if update.observations:
            new[update.task.ground] = new_site_scenes(update)

    for_each(updates, judge)
    rows: dict[str, dict[str, SiteScene]] = {}
    for ground, site_scenes in new.items():
        for scene in site_scenes:
            rows.setdefault(scene.acquisition, {})[ground] = scene
    for name in [name for name, row in rows.items() if len(granules_of(row)) > MAX_GRANULES]:
        log.error("an overpass has more granules than can be stored", acquisition=name, most=MAX_GRANULES)
        del rows[name]
    if rows:
        ordered = sorted(rows.values(), key=lambda row: min(scene.scene.time for scene in row.values()))
        with errors_fail(updates):
            check_lock()
            message = f"{len(rows)} scenes of {len(new)} sites of {store.name}"
            store.append(ordered, message, new_pictures(updates, new, sources))
        for update in updates:
            stored = [row[update.task.ground] for row in ordered if update.task.ground in row]
            if stored and update.alive:
                update.snapshot = update.store.snapshot
                update.new += [scene.acquisition for scene in stored]
