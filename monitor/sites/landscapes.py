"""Landscapes: groups of nearby sites of one biome, the unit of searching, storing, computing and committing."""

import hashlib
import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from monitor.sites.projection import projected, utm_zone
from monitor.sites.site import Site

SQUARE: Final = 100_000.0  # side of the square, in a UTM zone, that contains the centroids of a landscape's sites [m]
MAX_LANDSCAPE_SITES: Final = 64  # larger groups are halved: full squares give landscapes of 32 to 64 sites
MAX_LANDSCAPE_HECTARES: Final = 20_000.0  # two million pixels of 10 m; a larger site is a landscape by itself [ha]


def group_into_landscapes(sites: Sequence[Site]) -> list[list[Site]]:
    """Group sites without a landscape into new ones, in the order of their squares, whatever the order of `sites`."""
    squares: dict[tuple[str, int, int, str], list[tuple[float, float, Site]]] = {}
    for site in sites:
        zone = utm_zone(site.geometry)
        point = projected(site.geometry, zone).centroid
        key = (str(zone), math.floor(point.y / SQUARE), math.floor(point.x / SQUARE), site.biome_key)
        squares.setdefault(key, []).append((point.x, point.y, site))
    return [part for _, members in sorted(squares.items(), key=lambda item: item[0]) for part in _halved(members)]


def landscape_name(keys: Sequence[str], geometry: BaseGeometry, biome: str) -> str:
    """Name of a new landscape and of its folder: UTM zone, square, biome, and a hash of its sites.

    `keys` are the ground keys of the sites, `geometry` is the outline of any of them, longitude and latitude [degree],
    `biome` the :attr:`monitor.sites.site.Site.biome_key` of all.
    """
    digest = hashlib.sha256("\n".join(sorted(keys)).encode()).hexdigest()[:8]
    return f"{landscape_place(geometry, biome)}-{digest}"


def landscape_place(geometry: BaseGeometry, biome: str) -> str:
    """Name of a landscape without the hash of its sites: UTM zone, square and biome; parameters as there."""
    zone = utm_zone(geometry)
    point = projected(geometry, zone).centroid
    square = f"{math.floor(point.x / SQUARE)}-{math.floor(point.y / SQUARE)}"
    return f"{str(zone).removeprefix('EPSG:')}-{square}-{biome}"


def tile_name(site: Site) -> str:
    """Name of the 100 km square of the military grid that contains the centroid of a site, such as ``48SXF``."""
    crs, middle = utm_zone(site.geometry), site.geometry.centroid
    zone = int(str(crs)[-2:])
    east, north = (int(value // 100_000) for value in shapely.get_coordinates(projected(middle, crs))[0])
    band = "CDEFGHJKLMNPQRSTUVWX"[min(max(int((middle.y + 80) // 8), 0), 19)]
    column = "ABCDEFGHJKLMNPQRSTUVWXYZ"[((zone - 1) % 3 * 8 + east - 1) % 24]
    row = "ABCDEFGHJKLMNPQRSTUV"[(north + (5 if zone % 2 == 0 else 0)) % 20]
    return f"{zone:02d}{band}{column}{row}"


def _halved(members: list[tuple[float, float, Site]]) -> list[list[Site]]:
    """Split a group along its longer side until it is within the limits, so that few image blocks belong to two."""
    hectares = sum(site.hectares for *_, site in members)
    if len(members) == 1 or (len(members) <= MAX_LANDSCAPE_SITES and hectares <= MAX_LANDSCAPE_HECTARES):
        return [[site for *_, site in sorted(members, key=lambda member: member[2].id)]]
    places = np.array([member[:2] for member in members])
    axis = int(np.argmax(np.ptp(places, axis=0)))
    order = sorted(members, key=lambda member: (member[axis], member[2].id))
    middle = len(order) // 2
    return _halved(order[:middle]) + _halved(order[middle:])
