"""The sites of a run: which they are, what each needs, and fetching for all of them in parallel."""

import math
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import date
from functools import cache, partial
from itertools import batched, chain, compress
from pathlib import Path
from typing import Any, Final

import numpy as np
import shapely
import structlog
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from jobs.clock import now
from jobs.executor import Compute, exclude_from_garbage_collection
from jobs.fetch import FetchResult, Known, Outcome, SiteTask, SiteUpdate, Step, fetch
from jobs.lock import LANDSCAPE_LOCKS, NEW_LANDSCAPES, hold_lock
from jobs.logs import redacted
from jobs.records import from_json
from jobs.settings import Settings
from jobs.sources import Sources, describe_sources
from jobs.terrain_and_rain import elevation_model
from monitor.controls.selection import ControlSet
from monitor.cube.overpass import PendingDays, is_stored, pending_days
from monitor.cube.records import encode_texts
from monitor.cube.store import DERIVED_FOLDER, LandscapeStore
from monitor.cube.stored_site import StoredSite
from monitor.errors import BadConfiguration, BadData, MonitorError, NeverOffered, TryLater, UnknownCollection
from monitor.imagery.auxiliary.terrain import Terrain
from monitor.imagery.source import IsStored, Scene
from monitor.ledger.ledger import Ledger
from monitor.ledger.transaction import Transaction
from monitor.series.build import site_series
from monitor.series.columns import Columns, decode_texts
from monitor.sites.clusters import METRES_PER_DEGREE, group_nearby, split_by_tile
from monitor.sites.growing_season import GrowingSeason
from monitor.sites.landscapes import group_into_landscapes, landscape_name
from monitor.sites.named_controls import NamedControl, named_controls_near, read_named_controls
from monitor.sites.site import Site, ground_key
from monitor.verdict.explain import never_offered

log = structlog.get_logger()

AT_ONCE: Final = 256
"""Landscapes that are at work together, each with a lock of its own."""
_NOTHING: Final[Mapping[str, Mapping[str, str]]] = {}

Progress = Callable[[int, int], None]
"""Told how many sites are done, of how many."""


def site_tasks(
    settings: Settings, ledger: Ledger, sources: Sources, sites: Sequence[Site], *, until: date
) -> tuple[list[SiteTask], dict[str, MonitorError]]:
    """What each site needs: one search for all sites of a tile, then what the ledger knows of each.

    Returns
    -------
    tasks : list of SiteTask
        Of each site, with the landscape that it belongs to, or that it is to begin with other new sites.
    left_out : dict
        By site, why nothing can be fetched: ``TryLater`` where no source could be asked or the named control ground
        cannot be used, ``NeverOffered`` where nothing is stored and no source has ever had a scene, or a source does
        not have a collection.
    """
    offers: dict[str, _Offer] = {}
    missing_sources: dict[str, str] = {}
    areas: dict[str, BaseGeometry] = {}
    known: dict[str, Known] = {}
    choose: dict[str, int] = {}
    wanted: dict[str, list[Site]] = {}
    with ledger.reading() as t:
        snapshots, tried = t.snapshots(), t.all_ground_data("tried")
        homes = _homes(settings.store.root, snapshots, [ground_key(site) for site in sites])
        for site in sites:
            ground = ground_key(site)
            last, _ = GrowingSeason.of(site).last_ended(until)
            waits = ground in tried and tried[ground]["season"] < last and t.controls(ground) is None
            if waits and ground in homes:
                choose[site.id] = last  # it begins again, in another landscape, and all is fetched again
                continue
            if ground in homes:
                wanted.setdefault(homes[ground], []).append(site)
    for name, members in wanted.items():
        known |= _known(settings.store.root / name, members, homes)
    left_out: dict[str, MonitorError] = {}
    together = group_nearby(sites, apart=2 * sources.first.ring[1])
    for members in (some for group in together for some in split_by_tile(group)):
        try:
            searched = box(*shapely.total_bounds([site.geometry for site in members]))
            found, missing = sources.search(searched, until, _stored(members, known))
        except TryLater as error:
            left_out |= {site.id: error for site in members}
            continue
        except UnknownCollection as error:
            left_out |= {site.id: NeverOffered(f"site {site.id!r}: {error}") for site in members}
            continue
        except BadConfiguration:
            raise
        except Exception as error:
            if not isinstance(error, MonitorError):
                log.exception("a bug in a search", sites=len(members))
            why = redacted(f"its scenes could not be searched for: {type(error).__name__}: {error}")
            left_out |= {site.id: BadData(f"site {site.id!r}: {why}") for site in members}
            continue
        for site, offer in zip(members, _offers(members, known, found, searched), strict=True):
            missing_sources[site.id], areas[site.id] = missing, searched
            if offer.scenes or missing or ground_key(site) in homes:
                offers[site.id] = offer
            else:
                why = never_offered(site, sources=describe_sources(settings.source), until=until)
                left_out[site.id] = NeverOffered(f"site {site.id!r}: {why}")
    tasks = []
    with ledger.reading() as t:
        # restored ground, whether retired or not; in a dry run also that of sites yet to be added
        registered = {values["id"]: from_json(values, Site) for values in t.all_sites()}
        every = list((registered | {site.id: site for site in sites}).values())
        near = shapely.STRtree([other.geometry for other in every])
        given = cache(partial(_given_ground, settings, frozenset(t.versions() or (site.id for site in sites))))
        terrains, gone, chosen = t.all_ground_data("terrain"), t.all_ground_data("left_out"), t.all_controls()
        for site in (one for members in together for one in members if one.id in offers):
            ground = ground_key(site)
            frozen, lie = chosen.get(ground), terrains.get(ground)
            controls = None if frozen is None else ControlSet.from_json(frozen)
            within = None
            if controls is None:
                named = given()
                if isinstance(named, str):
                    left_out[site.id] = TryLater(named)
                    continue
                area = _area(site, sources)
                within = named_controls_near(named, site.id, area)
                around = {int(i) for place in (area, *(within or ())) for i in near.query(place)}
            else:
                units = np.array([unit.geometry for unit in controls.units], dtype=object)
                around = set(near.query(units, predicate="intersects")[1].tolist())
            others = [every[i] for i in sorted(around) if every[i].id != site.id]
            tasks.append(
                SiteTask(
                    site=site,
                    ground=ground,
                    folder=settings.store.root / ("" if site.id in choose else homes.get(ground, "")),
                    offered=offers[site.id].scenes,
                    asked=offers[site.id].asked,
                    searched=areas[site.id],
                    controls=controls,
                    terrain=None if lie is None else Terrain.from_json(lie),
                    known=known.get(site.id),
                    others=tuple((other.geometry, other.start) for other in others),
                    until=until,
                    left_out={unit: date.fromisoformat(day) for unit, day in gone.get(ground, {}).items()},
                    missing=missing_sources[site.id],
                    within=within,
                    waiting_in=settings.store.root / homes[ground] if site.id in choose else None,
                )
            )
    return _with_landscapes(tasks, settings.store.root, choose), left_out


def _homes(root: Path, snapshots: Mapping[str, str], grounds: Collection[str]) -> dict[str, str]:
    """Name of the landscape of each piece of ground that is stored.

    The ledger's snapshots name it; one that was lost is begun again. Of ground that the ledger does not know, the
    landscapes that it does not name are asked: a night was killed between its two commits, or the ledger was lost.
    """
    homes = {ground: snapshot.rpartition(":")[0] for ground, snapshot in snapshots.items()}
    there = {name for name in {*homes.values()} if (root / name).is_dir()}
    homes = {ground: name for ground, name in homes.items() if name in there}
    if all(ground in homes for ground in grounds) or not root.is_dir():
        return homes
    for folder in sorted(root.iterdir()):
        if not folder.is_dir() or folder.name == DERIVED_FOLDER or folder.name.startswith("."):
            continue
        if folder.name in homes.values():
            continue
        try:
            if (store := LandscapeStore(folder)).exists:
                homes = dict.fromkeys(store.grounds, folder.name) | homes
        except MonitorError as error:
            log.warning("a landscape that the ledger does not know was left out", error=str(error))
    return homes


def _known(folder: Path, sites: Sequence[Site], homes: dict[str, str]) -> dict[str, Known]:
    """What is stored of some sites of a landscape; without those that cannot be read: fetching reports them.

    A landscape that was lost and begun again may lack a site: that has no home any more.
    """
    landscape, known = LandscapeStore(folder), {}
    for site in sites:
        with suppress(MonitorError):
            ground = ground_key(site)
            if ground not in landscape.grounds:
                del homes[ground]
                continue
            stored = StoredSite(landscape, ground)
            known[site.id] = Known(landscape=landscape, baselines=stored.baselines())
    return known


def _with_landscapes(tasks: Sequence[SiteTask], root: Path, again: Mapping[str, int]) -> list[SiteTask]:
    """Tasks of new sites with the landscapes that they are to begin; `again`: the season after which some begin again,
    since no control ground could be chosen before.
    """
    new = {task.site.id: task for task in tasks if task.folder == root}
    named: dict[str, Path] = {}
    for group in group_into_landscapes([task.site for task in new.values()]):
        keys = [f"{new[site.id].ground}{again.get(site.id, '')}" for site in group]
        name = landscape_name(keys, group[0].geometry, group[0].biome)
        named |= {site.id: root / name for site in group}
    return [replace(task, folder=named.get(task.site.id, task.folder)) for task in tasks]


def _baselines(site: Site, known: Mapping[str, Known]) -> Mapping[str, Mapping[str, str]]:
    """What is stored of a site: one object of sites that are alike; a new one has nothing."""
    return known[site.id].baselines if site.id in known else _NOTHING


def _stored(sites: Sequence[Site], known: Mapping[str, Known]) -> IsStored:
    """Tells what need not be looked at, since each of some sites that it touches has it."""
    alike: dict[int, tuple[Mapping[str, Mapping[str, str]], list[BaseGeometry]]] = {}
    for site in sites:
        shapely.prepare(site.geometry)
        baselines = _baselines(site, known)
        alike.setdefault(id(baselines), (baselines, []))[1].append(site.geometry)
    has_what = list(alike.values())

    def stored(scene: Scene) -> bool:
        without = [
            outline for baselines, outlines in has_what if not is_stored(baselines, scene) for outline in outlines
        ]
        return not without or (scene.footprint is not None and not shapely.intersects(without, scene.footprint).any())

    return stored


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offer:
    """What is offered over a site."""

    scenes: tuple[Scene, ...]
    asked: PendingDays
    """See :func:`monitor.cube.overpass.pending_days`."""


def _offers(
    sites: Sequence[Site], known: Mapping[str, Known], found: Sequence[Scene], searched: BaseGeometry
) -> Iterator[_Offer]:
    """Of each site what is offered over it, made once for all that are alike: in a programme nearly all of a tile."""
    footprints = np.array([scene.footprint for scene in found], dtype=object)
    everywhere = shapely.is_missing(footprints) | shapely.covers(footprints, searched)
    edge = np.flatnonzero(~everywhere)
    made: dict[tuple[bytes, int], _Offer] = {}
    for site in sites:
        over, baselines = everywhere.copy(), _baselines(site, known)
        over[edge] = shapely.intersects(site.geometry, footprints[edge])
        key = over.tobytes(), id(baselines)
        if key not in made:
            scenes = tuple(compress(found, over))
            made[key] = _Offer(scenes=scenes, asked=pending_days(scenes, baselines))
        yield made[key]


def _given_ground(settings: Settings, known: frozenset[str]) -> list[NamedControl] | str:
    """Control ground that people have named; or why it cannot be used: no site is begun without it."""
    path = settings.registry.controls
    if path is None:
        return []
    try:
        return read_named_controls(path, sites=known)
    except BadData as error:
        return f"[registry] controls: {error}"


def _area(site: Site, sources: Sources) -> BaseGeometry:
    """Box that holds a site and its control ring, longitude and latitude."""
    left, bottom, right, top = site.geometry.bounds
    north = sources.first.ring[1] / METRES_PER_DEGREE
    east = north / max(math.cos(math.radians(max(abs(bottom), abs(top)))), 0.05)
    return box(left - east, bottom - north, right + east, top + north)


def update_sites(
    settings: Settings,
    ledger: Ledger,
    sources: Sources,
    sites: Sequence[Site],
    work: Compute,
    *,
    until: date,
    progress: Progress | None,
    what: str = "a night",
) -> Iterator[Outcome]:
    """Fetch for all sites, in parallel by dask, one broken site never stopping the others.

    Landscapes that another run is storing scenes in are deferred, and no others.

    Parameters
    ----------
    settings : Settings
        Of the installation.
    ledger : Ledger
        Open.
    sources : Sources
        Opened.
    sites : sequence of Site
        Those that are fetched.
    work : callable
        See :func:`jobs.executor.open_executor`.
    until : date
        Scenes acquired up to the end of this day are fetched.
    progress : callable, optional
        Told how many sites are done.
    what : str
        What holds the locks of the landscapes.
    """
    tasks, left_out = site_tasks(settings, ledger, sources, sites, until=until)
    exclude_from_garbage_collection()
    postponed = [
        Outcome(
            site=site,
            state="deferred" if isinstance(error, TryLater) else "failed",
            error=str(error),
            never_offered=isinstance(error, NeverOffered),
        )
        for site in sites
        if (error := left_out.get(site.id)) is not None
    ]
    elevation = elevation_model(settings.terrain, settings.source)
    known = [task for task in tasks if task.folder.is_dir()]
    new = [task for task in tasks if not task.folder.is_dir()]
    with ExitStack() as stack:
        if new:
            try:
                stack.enter_context(hold_lock(settings.store.root / LANDSCAPE_LOCKS, what, NEW_LANDSCAPES))
            except TryLater as error:
                postponed += [Outcome(site=task.site, state="deferred", error=str(error)) for task in new]
                new = []
        lands = [*_by_landscape(known), *_by_landscape(new)]
        batches = (
            _all([fetch(land, sources, elevation, ledger.guard, what) for land in some], work)
            for some in batched(lands, AT_ONCE)
        )
        done = 0
        for found in chain([postponed], chain.from_iterable(batches)):
            for outcome in found:
                done += 1
                if progress is not None:
                    progress(done, len(sites))
                ledger.guard()
                if outcome.error is not None:
                    log.error("site not updated", site=outcome.site.id, state=outcome.state, error=outcome.error)
                yield outcome


def _by_landscape(tasks: Sequence[SiteTask]) -> list[list[SiteTask]]:
    found: dict[Path, list[SiteTask]] = {}
    for task in tasks:
        found.setdefault(task.folder, []).append(task)
    return list(found.values())


def _all(lands: Sequence[Generator[list[Step], None, list[SiteUpdate]]], work: Compute) -> Iterator[list[Outcome]]:
    """Go on with all landscapes, round by round: the steps of all of them are computed in one stream. What became of
    the sites of a landscape is given as soon as its last step was taken.
    """
    waiting: list[tuple[int, Step]] = []
    left: Counter[int] = Counter()
    done: list[list[SiteUpdate]] = []

    def add(land: int, steps: Sequence[Step]) -> None:
        waiting.extend((land, step) for step in steps)
        left[land] += len(steps)

    def go_on(land: int) -> None:
        """To the next steps of a landscape, or to its end."""
        try:
            while not left[land]:
                add(land, next(lands[land]))
        except StopIteration as end:
            done.append(end.value)

    def finished() -> Iterator[list[Outcome]]:
        while done:
            parts = done.pop()
            yield [part.outcome() for part in parts]
            for part in parts:
                part.landscape.release()

    for land in range(len(lands)):
        go_on(land)
        yield from finished()
    while waiting:
        steps = waiting.copy()
        waiting.clear()
        for number, found in work(step.graph() for _, step in steps):
            land, step = steps[number]
            failed = isinstance(found, BaseException) and not isinstance(found, TimeoutError)
            apart = step.apart() if failed else []
            if len(apart) > 1:  # one of its sites may be to blame
                add(land, apart)
            else:
                step.take(found)
            left[land] -= 1
            go_on(land)
            yield from finished()


def record_observations(t: Transaction, outcome: Outcome, fetched: FetchResult) -> None:
    """What a fetch found, in the ledger."""
    controls, ground, site = fetched.controls, ground_key(outcome.site), outcome.site.id
    if fetched.tried is not None:
        t.save_ground_data(ground, "tried", {"season": fetched.tried})
    if fetched.new_controls:
        t.freeze_controls(ground, site, controls.to_json(), digest=controls.hash, now=now())
    if fetched.terrain is not None and fetched.new_terrain:
        t.save_ground_data(ground, "terrain", fetched.terrain.to_json())
    if fetched.new_left_out:
        t.save_ground_data(ground, "left_out", {unit: str(day) for unit, day in fetched.left_out.items()})
    t.save_snapshot(ground, site, fetched.snapshot)


def observation_series(site: Site, fetched: FetchResult) -> Columns:
    """The series of a site after its fetch."""
    return site_series(
        fetched.stored, fetched.controls, site, left_out=fetched.left_out, snapshot=fetched.snapshot
    )  # fmt: skip


def site_result(outcome: Outcome, series: Columns | None = None) -> dict[str, Any]:
    """One site's entry in the manifest of a run; the scenes that are new are named where its series is given."""
    scenes: list[str] = []
    rejected: list[dict[str, str]] = []
    if series is not None and outcome.fetched is not None and outcome.fetched.new:
        new = np.isin(series["acquisition"], encode_texts(outcome.fetched.new))
        scenes = decode_texts(series["scene"][new])
        reasons = zip(scenes, decode_texts(series["reason"][new]), series["accepted"][new].tolist(), strict=True)
        rejected = [{"scene": scene, "reason": reason} for scene, reason, accepted in reasons if not accepted]
    return {
        "site": outcome.site.id,
        "state": outcome.state,
        "error": outcome.error,
        "scenes_new": scenes,
        "scenes_rejected": rejected,
        "status": None,
        "alert": None,
    }
