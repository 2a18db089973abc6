"""Landscapes: sites near each other and of one biome, the unit of searching, storing, computing and committing."""

import hashlib
import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from shapely.geometry.base import BaseGeometry

from monitor.sites.projection import projected, utm_zone
from monitor.sites.site import Site

SQUARE: Final = 100_000.0
"""Side of the square that the centroids of a landscape's sites share, in their UTM zone. [m]"""
MAX_LANDSCAPE_SITES: Final = 64
"""Sites in a landscape at most. More are halved, so that a full square gives landscapes of 32 to 64 sites."""
MAX_LANDSCAPE_HECTARES: Final = 20_000.0
"""Area of a landscape's sites at most: two million pixels of 10 m. A larger site is a landscape of its own. [ha]"""


def group_into_landscapes(sites: Sequence[Site]) -> list[list[Site]]:
    """Group sites into landscapes.

    Parameters
    ----------
    sites : sequence of Site
        That belong to no landscape yet.

    Returns
    -------
    list of list of Site
        Every site once, in the order of their squares. The same for the same sites in any order.
    """
    squares: dict[tuple[str, int, int, str], list[tuple[float, float, Site]]] = {}
    for site in sites:
        zone = utm_zone(site.geometry)
        point = projected(site.geometry, zone).centroid
        key = (str(zone), math.floor(point.y / SQUARE), math.floor(point.x / SQUARE), site.biome)
        squares.setdefault(key, []).append((point.x, point.y, site))
    return [part for _, members in sorted(squares.items(), key=lambda item: item[0]) for part in _halved(members)]


def landscape_name(keys: Sequence[str], geometry: BaseGeometry, biome: str) -> str:
    """Name of a new landscape, also that of its folder: zone, square and biome, and a hash of its sites.

    Parameters
    ----------
    keys : sequence of str
        Key of the ground of each site, see :func:`monitor.sites.site.ground_key`.
    geometry : shapely geometry
        Of one of the sites, longitude and latitude. [degree]
    biome : str
        Of all of them.
    """
    zone = utm_zone(geometry)
    point = projected(geometry, zone).centroid
    digest = hashlib.sha256("\n".join(sorted(keys)).encode()).hexdigest()[:8]
    square = f"{math.floor(point.x / SQUARE)}-{math.floor(point.y / SQUARE)}"
    return f"{str(zone).removeprefix('EPSG:')}-{square}-{biome}-{digest}"


def _halved(members: list[tuple[float, float, Site]]) -> list[list[Site]]:
    """Pieces within the limits, halved along the longer side so that few blocks of imagery belong to two."""
    hectares = sum(site.hectares for *_, site in members)
    if len(members) == 1 or (len(members) <= MAX_LANDSCAPE_SITES and hectares <= MAX_LANDSCAPE_HECTARES):
        return [[site for *_, site in sorted(members, key=lambda member: member[2].id)]]
    places = np.array([member[:2] for member in members])
    axis = int(np.argmax(np.ptp(places, axis=0)))
    order = sorted(members, key=lambda member: (member[axis], member[2].id))
    middle = len(order) // 2
    return _halved(order[:middle]) + _halved(order[middle:])
