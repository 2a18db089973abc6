"""Missing scenes: offered by a source, and not stored under the same or a newer processing baseline.

What is missing is always offered minus stored, by acquisition and granule, never "since the last date": late scenes and
the history of a new site are found by the same rule.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta
from itertools import compress

import numpy as np
import shapely
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from monitor.cube.grid import crs_of, inside, site_grid
from monitor.cube.overpass import Overpass, PendingDays, is_stored, not_yet_stored, overpasses, pending_days
from monitor.cube.store import LandscapeStore
from monitor.cube.stored_site import StoredSite
from monitor.errors import BadData, MonitorError
from monitor.imagery import acquisition_id
from monitor.imagery.source import IsStored, Scene, Source
from monitor.ingest.task import NOTHING_STORED, Baselines, SiteTask, StoredGranules
from monitor.sites.site import Site, ground_key


def new_site_grid(site: Site, source: Source) -> GeoBox:
    """Fixed grid of a new site, just large enough for it, on the lattice of the preferred source.

    Raises BadData if the site contains no pixel centre.
    """
    native = source.grid(site.geometry)
    pixel, anchor = abs(native.resolution.x), (native.affine.c, native.affine.f)
    grid = site_grid(site.geometry, crs=crs_of(native), resolution=pixel, anchor=anchor)
    if not inside(site.geometry, grid).any():
        raise BadData(f"site {site.id!r} holds no centre of a pixel of {pixel:g} m: it is too small to be seen")
    return grid


def stored_granules(landscape: LandscapeStore, sites: Iterable[Site]) -> dict[str, StoredGranules]:
    """Granules that a landscape has stored for some of its sites, by site id.

    Sites that the landscape does not have, or that cannot be read (their update reports that), are missing.
    """
    groups: list[StoredGranules] = []
    by_site: dict[str, StoredGranules] = {}
    for site in sites:
        with suppress(MonitorError):
            if (ground := ground_key(site)) not in landscape.grounds:
                continue
            baselines = StoredSite(landscape, ground).baselines()
            group = next((group for group in groups if group.baselines == baselines), None)
            if group is None:
                key = (landscape.name, len(groups))
                groups.append(group := StoredGranules(landscape=landscape, baselines=baselines, key=key))
            by_site[site.id] = group
    return by_site


def is_stored_everywhere(sites: Sequence[Site], stored: Mapping[str, StoredGranules]) -> IsStored:
    """Predicate for a search: whether every site that a scene touches has it already.

    `stored` gives the granules by site id (:func:`stored_granules`); a site that is missing there is new.
    """
    groups: dict[tuple[str, int], tuple[Baselines, list[BaseGeometry]]] = {}
    for site in sites:
        shapely.prepare(site.geometry)
        granules = stored.get(site.id, NOTHING_STORED)
        groups.setdefault(granules.key, (granules.baselines, []))[1].append(site.geometry)

    def check(scene: Scene) -> bool:
        lacking = [o for known, outlines in groups.values() if not is_stored(known, scene) for o in outlines]
        return not lacking or (scene.footprint is not None and not shapely.intersects(lacking, scene.footprint).any())

    return check


def offers(
    sites: Sequence[Site], stored: Mapping[str, StoredGranules], scenes: Sequence[Scene], searched: BaseGeometry
) -> Iterator[tuple[tuple[Scene, ...], PendingDays]]:
    """For each site the scenes offered over it, and those of the days that may lack a scene.

    They are computed once for all sites with the same scenes and stored granules: nearly all sites of a tile. `scenes`
    are the result of the search of the area `searched`, in order of preference of the sources.
    """
    footprints = np.array([scene.footprint for scene in scenes], dtype=object)
    everywhere = shapely.is_missing(footprints) | shapely.covers(footprints, searched)
    edge = np.flatnonzero(~everywhere)
    computed: dict[tuple[bytes, tuple[str, int]], tuple[tuple[Scene, ...], PendingDays]] = {}
    for site in sites:
        over, granules = everywhere.copy(), stored.get(site.id, NOTHING_STORED)
        over[edge] = shapely.intersects(site.geometry, footprints[edge])
        key = over.tobytes(), granules.key
        if key not in computed:
            offered = tuple(compress(scenes, over))
            computed[key] = offered, pending_days(offered, granules.baselines)
        yield computed[key]


def missing_overpasses(task: SiteTask, grid: GeoBox, baselines: Baselines | None = None) -> list[Overpass]:
    """Missing overpasses of a site, ascending by time; granules in the projected system of its grid are preferred.

    `baselines` are the stored granules, if the store has changed since the task was made; default: those of the task.
    """
    pending = task.pending if baselines is None else None
    baselines = task.stored.baselines if baselines is None else baselines
    pending = pending or pending_days(task.offered, baselines)
    return not_yet_stored(overpasses(pending.scenes, str(crs_of(grid)), pending.stored), baselines)


def search_again(
    missing: Iterable[tuple[SiteTask, Sequence[Overpass]]], sources: Sequence[Source]
) -> dict[str, SiteTask]:
    """Search again where a missing overpass has a scene without a handle, which was skipped because it is stored.

    Such a scene is needed again where another granule of its overpass is new, perhaps of another source, and where a
    store lacks what the ledger says it has. `missing` are tasks with their missing overpasses. Returns by site id the
    tasks with newly searched scenes; their missing overpasses must be computed again. Errors as of
    :meth:`monitor.imagery.source.Source.search`.
    """
    tasks: dict[str, SiteTask] = {}
    spans: dict[tuple[BaseGeometry, str], tuple[date, date]] = {}
    for task, site_overpasses in missing:
        skipped = [o.acquisition for o in site_overpasses if any(scene.handle is None for scene in o.granules)]
        days = {day for acquisition in skipped for day in acquisition_id.day_keys(acquisition)}
        for scene in task.offered if days else ():
            if scene.handle is None and not days.isdisjoint(acquisition_id.day_keys(scene.acquisition)):
                tasks[task.site.id] = task
                key, day = (task.searched, scene.source), scene.time.date()
                first, last = spans.get(key, (day, day))
                spans[key] = min(first, day), max(last, day)
    by_name = {source.name: source for source in sources}
    # A datatake is named by the day on which it begins; a catalogue may name a granule by the next day.
    results = {
        (area, name): by_name[name].search(area, first - timedelta(days=1), last + timedelta(days=1))
        for (area, name), (first, last) in spans.items()
    }
    for site_id, task in tasks.items():
        offered: list[Scene] = []
        for name in by_name:
            scenes = [scene for scene in task.offered if scene.source == name]
            if (key := (task.searched, name)) in spans:
                first, last = spans[key]
                scenes = [scene for scene in scenes if not first <= scene.time.date() <= last]
                again = [scene for scene in results[key] if first <= scene.time.date() <= last]
                scenes += [scene for scene in again if scene.touches(task.site.geometry)]
            offered += scenes
        tasks[site_id] = replace(task, offered=tuple(offered), pending=None)
    return tasks
