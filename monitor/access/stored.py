"""Find what is stored and published of a site.

The ledger is not read: the store names the sites and the grounds in it, and the published table of sites has the
current outline of each.
"""

import difflib
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import icechunk
import pyarrow.parquet as pq
import shapely
from pyarrow import ArrowException

from monitor.access.installation import Installation, bucket_folder, find_installation
from monitor.cube.bucket import SCHEME, Place, landscape_folders
from monitor.cube.store import LandscapeStore
from monitor.cube.stored_site import StoredSite
from monitor.errors import BadData, MonitorError
from monitor.sites.landscapes import landscape_place
from monitor.sites.registry import read_sites

SITES_TABLE = "sites.parquet"
NOWHERE: Final = Path(os.devnull)  # in place of the files of an installation of which only the stores are given
_COLUMNS = ("site", "name", "start", "intervention", "biome", "partner", "ground", "geometry")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedSite:
    """A row of the published table of sites."""

    values: dict[str, Any]  # `site`, `name`, `start`, `intervention`, `biome`, `partner`
    ground: str  # key of its ground, see monitor.sites.site.ground_key
    place: str  # begin of the names of the landscapes that may have it


def installation_of(path: str | Path, site: str) -> Installation:
    """The installation at a path, or stores in a bucket, for a caller that gives the id of a site.

    BadConfiguration where `path` is not an installation, BadData where `site` is not a text.
    """
    if str(path).startswith(SCHEME):
        store = bucket_folder(str(path), NOWHERE)
        places = Installation(config=NOWHERE, store=store, outputs=NOWHERE, registry=NOWHERE)
    else:
        places = find_installation(path)
    if not isinstance(site, str):
        nearest = _nearest(site, _registered(places))
        raise BadData(f"{site!r} is of type {type(site).__name__}, and the id of a site is a text{nearest}")
    return places


def published_site(places: Installation, site: str) -> PublishedSite | None:
    """Row of a site in the published table; None: the table or the row is missing."""
    with suppress(OSError, ArrowException, KeyError, ValueError, shapely.errors.ShapelyError):
        table = pq.read_table(places.outputs / SITES_TABLE, columns=list(_COLUMNS), filters=[("site", "==", site)])
        for values in table.to_pylist():
            place = landscape_place(shapely.from_wkb(values.pop("geometry")), values["biome"])
            return PublishedSite(values=values, ground=values.pop("ground"), place=place)
    return None


def stored_site(places: Installation, site: str, published: PublishedSite | None) -> StoredSite:
    """Open what is stored of a site, without the right to change it.

    Where several outlines or starts of a site are stored, the published one counts, else the one that was begun last.
    BadData where nothing is stored, or nothing of this site; StoreBroken where the store cannot be read.
    """
    folders = landscape_folders(places.store)
    if not folders:
        root = "[store] root" if places.config == NOWHERE else f"[store] root of {places.config}"
        raise BadData(f"nothing is stored yet under {places.store}, which is {root}; fetch first: regrowth run")
    near = [folder for folder in folders if published is not None and folder.name.startswith(published.place)]
    icechunk.set_logs_filter("error")  # it warns of concurrent commits, and nothing is committed here
    broken: list[MonitorError] = []
    names: set[str] = set()
    for some in (near, [folder for folder in folders if folder not in near]):
        landscapes = _readable(some, broken)
        grounds = {one: dict(zip(one.grounds, map(str, one.fixed["site"]), strict=True)) for one in landscapes}
        if published is not None and (homes := [one for one in landscapes if published.ground in grounds[one]]):
            return StoredSite(_newest(homes), published.ground)
        if published is not None and broken:
            raise broken[0]
        if homes := [one for one in landscapes if site in grounds[one].values()]:
            home = _newest(homes)
            return StoredSite(home, next(ground for ground, name in grounds[home].items() if name == site))
        names.update(*(known.values() for known in grounds.values()))
    if broken:
        raise broken[0]
    raise BadData(_not_stored(places, site, names, known=published is not None))


def _readable(folders: Iterable[Place], broken: list[MonitorError]) -> list[LandscapeStore]:
    """Landscapes that can be read; errors of the others are added to `broken`."""
    landscapes = []
    for folder in folders:
        landscape = LandscapeStore(folder, read_only=True)
        try:
            if landscape.exists and len(landscape.grounds) == len(landscape.fixed["site"]):
                landscapes.append(landscape)
        except MonitorError as error:
            broken.append(error)
    return landscapes


def _newest(landscapes: list[LandscapeStore]) -> LandscapeStore:
    return landscapes[0] if len(landscapes) == 1 else max(landscapes, key=lambda landscape: landscape.created)


def _not_stored(places: Installation, site: str, names: set[str], *, known: bool) -> str:
    """Why a site cannot be opened: it was not fetched yet, or nobody knows it."""
    registered = _registered(places)
    if known or site in registered:
        yet = f"is registered, but no scene of it is stored yet under {places.store}"
        return f"site {site!r} {yet}; fetch first: regrowth run"
    or_in = "" if places.registry == NOWHERE else f" or in {places.registry}"
    return f"site {site!r} was not found under {places.store}{or_in}{_nearest(site, names | registered)}"


def _registered(places: Installation) -> set[str]:
    with suppress(MonitorError, OSError):
        return {one.id for one in read_sites(places.registry).sites}
    return set()


def _nearest(site: object, names: set[str]) -> str:
    near = difflib.get_close_matches(str(site), sorted(names), n=3, cutoff=0.0)
    return f"; the nearest names are {', '.join(map(repr, near))}" if near else ""
