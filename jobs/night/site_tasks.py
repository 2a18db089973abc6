"""Tasks of the update of each site: one search for all sites of a tile, then the ledger's knowledge of each site."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np
import shapely
import structlog
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from jobs.imagery.sources import Sources, describe_sources
from jobs.runtime.logs import redacted
from jobs.runtime.records import from_json
from monitor.controls.screening import left_out_from_json
from monitor.controls.selection import ControlSet
from monitor.cube.bucket import Place, landscape_folders
from monitor.cube.overpass import PendingDays
from monitor.cube.store import LandscapeStore
from monitor.errors import (
    BadConfiguration,
    BadData,
    MonitorError,
    NeverOffered,
    StoreBroken,
    TryLater,
    UnknownCollection,
)
from monitor.imagery.auxiliary.terrain import Terrain
from monitor.imagery.source import Scene
from monitor.ingest.missing import is_stored_everywhere, offers, stored_granules
from monitor.ingest.task import NOTHING_STORED, SiteTask, StoredGranules
from monitor.ledger.ledger import Ledger
from monitor.ledger.transaction import Transaction
from monitor.sites.clusters import METRES_PER_DEGREE, group_nearby, split_by_tile
from monitor.sites.growing_season import GrowingSeason
from monitor.sites.landscapes import group_into_landscapes, landscape_name
from monitor.sites.named_controls import NamedControl, named_controls_near, read_named_controls
from monitor.sites.site import Site, ground_key
from monitor.verdict.explain import never_offered

log = structlog.get_logger()


class _Offer(NamedTuple):
    """Result of the search for one site."""

    scenes: tuple[Scene, ...]
    pending: PendingDays
    searched: BaseGeometry
    missing_source: str  # why some source could not be searched


def site_tasks(
    ledger: Ledger, sources: Sources, sites: Sequence[Site], *, root: Place, named_controls: Path | None, until: date
) -> tuple[list[SiteTask], dict[str, MonitorError]]:
    """Tasks for sites, and by site id why nothing can be fetched for others.

    Each task has its landscape, or the one that the site is to form with other new sites. Left out are sites with
    ``TryLater``: no source could be searched, or the file of named controls cannot be used; ``NeverOffered``: nothing
    is stored and no source has ever had a scene, or a source lacks a collection; ``BadData``: the search failed.
    BadConfiguration is raised if a source refuses the credentials.
    """
    with ledger.reading() as t:
        homes = _homes(root, t.snapshots(), [ground_key(site) for site in sites])
        restarts = _restarts(t, sites, homes, until)
    stored = _stored(root, [site for site in sites if site.id not in restarts], homes)
    groups = group_nearby(sites, apart=2 * sources.first.ring[1])
    offered, left_out = _search(sources, groups, stored, homes, until)
    searched = [site for group in groups for site in group if site.id in offered]
    with ledger.reading() as t:
        registered = {values["id"]: from_json(values, Site) for values in t.all_sites()}  # retired ones too
        every = list((registered | {site.id: site for site in sites}).values())
        tree = shapely.STRtree([other.geometry for other in every])
        terrain, unit_days, frozen = t.all_ground_data("terrain"), t.all_ground_data("left_out"), t.all_controls()
        unread = t.all_ground_data("unread")
        known = frozenset(t.versions() or (site.id for site in sites))
    complete = all(ground_key(site) in frozen for site in searched)
    named = [] if complete else _named_controls(named_controls, known)
    tasks = []
    for site in searched:
        ground, offer = ground_key(site), offered[site.id]
        controls = ControlSet.from_json(frozen[ground]) if ground in frozen else None
        within = None
        if controls is not None:
            units = np.array([unit.geometry for unit in controls.units], dtype=object)
            near = tree.query(units, predicate="intersects")[1]
        elif isinstance(named, str):
            left_out[site.id] = TryLater(named)
            continue
        else:
            area = _ring_box(site, sources)
            within = named_controls_near(named, site.id, area)
            near = tree.query([area, *(within or ())])[1]
        others = [every[i] for i in np.unique(near) if every[i].id != site.id]
        task = SiteTask(
            site=site, ground=ground, folder=root if site.id in restarts else root / homes.get(ground, ""),
            offered=offer.scenes, pending=offer.pending, searched=offer.searched,
            stored=stored.get(site.id, NOTHING_STORED), controls=controls,
            terrain=Terrain.from_json(terrain[ground]) if ground in terrain else None,
            others=tuple((other.geometry, other.start) for other in others), until=until,
            left_out=left_out_from_json(unit_days.get(ground, {})), unread_since=unread.get(ground, {}),
            missing_source=offer.missing_source, within=within,
            waiting_in=root / homes[ground] if site.id in restarts else None,
        )  # fmt: skip
        tasks.append(task)
    return _with_new_landscapes(tasks, root, restarts), left_out


def _homes(root: Place, snapshots: Mapping[str, str], grounds: Collection[str]) -> dict[str, str]:
    """Name of the landscape in which each ground is stored, by the ledger's snapshots, unless it was lost.

    For grounds that the ledger does not know, all landscapes are read: a night was killed between its two commits,
    perhaps after it recorded other sites of the landscape, or the ledger was lost.
    """
    homes = {ground: snapshot.rpartition(":")[0] for ground, snapshot in snapshots.items()}
    folders = {folder.name: folder for folder in landscape_folders(root)}
    homes = {ground: name for ground, name in homes.items() if name in folders}
    if all(ground in homes for ground in grounds):
        return homes
    for name, folder in folders.items():
        try:
            if (store := LandscapeStore(folder)).exists:
                homes = dict.fromkeys(store.grounds, name) | homes
        except StoreBroken as error:
            log.warning("a landscape that the ledger does not know was left out", error=str(error))
    return homes


def _restarts(t: Transaction, sites: Sequence[Site], homes: Mapping[str, str], until: date) -> dict[str, int]:
    """Last complete season of stored sites whose control units could not be chosen before that season, by site id.

    They start again in another landscape, and everything is fetched again.
    """
    tried, restarts = t.all_ground_data("tried"), {}
    for site in sites:
        ground = ground_key(site)
        if ground in tried and ground in homes:
            last, _ = GrowingSeason.of(site).last_ended(until)
            if tried[ground]["season"] < last and t.controls(ground) is None:
                restarts[site.id] = last
    return restarts


def _stored(root: Place, sites: Sequence[Site], homes: dict[str, str]) -> dict[str, StoredGranules]:
    """Stored granules of each site; a ground that its landscape does not have loses its home.

    A landscape that was lost and created again may lack sites.
    """
    members: dict[str, list[Site]] = {}
    for site in sites:
        if (ground := ground_key(site)) in homes:
            members.setdefault(homes[ground], []).append(site)
    stored: dict[str, StoredGranules] = {}
    for name, some in members.items():
        landscape = LandscapeStore(root / name)
        stored |= stored_granules(landscape, some)
        for site in some:
            if site.id not in stored and _lacks(landscape, ground_key(site)):
                del homes[ground_key(site)]
    return stored


def _lacks(landscape: LandscapeStore, ground: str) -> bool:
    """Whether a landscape can be read and does not have a ground."""
    try:
        return ground not in landscape.grounds
    except MonitorError:  # the update of its sites reports it
        return False


def _search(
    sources: Sources,
    groups: Sequence[Sequence[Site]],
    stored: Mapping[str, StoredGranules],
    homes: Mapping[str, str],
    until: date,
) -> tuple[dict[str, _Offer], dict[str, MonitorError]]:
    """Search once for all sites of a tile; by site id what is offered, or why nothing can be fetched."""
    offered: dict[str, _Offer] = {}
    left_out: dict[str, MonitorError] = {}
    for members in (tile for group in groups for tile in split_by_tile(group)):
        try:
            area = box(*shapely.total_bounds([site.geometry for site in members]))
            scenes, missing_source = sources.search(area, until, is_stored_everywhere(members, stored))
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
        for site, (over, pending) in zip(members, offers(members, stored, scenes, area), strict=True):
            if over or missing_source or ground_key(site) in homes:
                offered[site.id] = _Offer(over, pending, area, missing_source)
            else:
                why = never_offered(
                    site, sources=describe_sources([period for _, period in sources.opened]), until=until
                )
                left_out[site.id] = NeverOffered(f"site {site.id!r}: {why}")
    return offered, left_out


def _named_controls(path: Path | None, known: frozenset[str]) -> list[NamedControl] | str:
    """Control areas named by people; or why they cannot be used, since no site is begun without them."""
    if path is None:
        return []
    try:
        return read_named_controls(path, sites=known)
    except BadData as error:
        return f"[registry] controls: {error}"


def _ring_box(site: Site, sources: Sources) -> BaseGeometry:
    """Box that contains a site and its control ring, longitude and latitude."""
    left, bottom, right, top = site.geometry.bounds
    north = sources.first.ring[1] / METRES_PER_DEGREE
    east = north / max(math.cos(math.radians(max(abs(bottom), abs(top)))), 0.05)
    return box(left - east, bottom - north, right + east, top + north)


def _with_new_landscapes(tasks: Sequence[SiteTask], root: Place, restarts: Mapping[str, int]) -> list[SiteTask]:
    """Tasks in which new and restarted sites have the landscape that they are to form."""
    new = {task.site.id: task for task in tasks if task.folder == root}
    folders: dict[str, Place] = {}
    for group in group_into_landscapes([task.site for task in new.values()]):
        keys = [f"{new[site.id].ground}{restarts.get(site.id, '')}" for site in group]
        name = landscape_name(keys, group[0].geometry, group[0].biome_key)
        folders |= {site.id: root / name for site in group}
    return [replace(task, folder=folders.get(task.site.id, task.folder)) for task in tasks]
