"""Which sites are searched and read together: those near each other, so that a tile is asked for once and a block of
a provider's files is read once for all the ground in it.

Distances are those of a plane laid along latitude and longitude, good to a hundredth: nothing but the order of the work
depends on them.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from monitor.sites.site import Site

MAX_SEARCH_EXTENT: Final = 115_000.0
"""Most extent of what is searched at once, north to south and west to east: a tile of Sentinel-2, 109.8 km, may be
turned against north by two degrees. [m]"""
METRES_PER_DEGREE: Final = 110_574.0
"""Of latitude, where it is shortest, on the equator: a box of so many degrees is nowhere too small. [m]"""


def group_nearby(sites: Sequence[Site], *, apart: float) -> list[list[Site]]:
    """Sites whose surroundings touch, and others of the same tile.

    Parameters
    ----------
    sites : sequence of Site
        Any number.
    apart : float
        Sites nearer to each other than this share ground that is read. [m]

    Returns
    -------
    list of list of Site
        Every site once. A group is larger than :data:`MAX_SEARCH_EXTENT` only where its sites form an unbroken chain.
    """
    if not sites:
        return []
    centres = _centres(sites)
    points = np.asarray(shapely.points(_metres(centres)))
    one, other = shapely.STRtree(points).query(points, predicate="dwithin", distance=apart)
    pairs = coo_array((np.ones(one.size, dtype=bool), (one, other)), shape=(len(sites), len(sites)))
    _, labels = connected_components(pairs, directed=False)
    order = np.argsort(labels, kind="stable")
    chains = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    chains.sort(key=lambda chain: (*centres[chain].min(axis=0)[::-1], sites[chain[0]].id))
    found: list[list[int]] = []
    corners = np.empty((len(chains), 2, 2))  # south-west and north-east of each neighbourhood
    for chain in chains:
        own = np.stack([centres[chain].min(axis=0), centres[chain].max(axis=0)])
        known = corners[: len(found)]
        joint = np.stack([np.minimum(known[:, 0], own[0]), np.maximum(known[:, 1], own[1])], axis=1)
        fits = np.flatnonzero(_extent(joint).max(axis=-1) <= MAX_SEARCH_EXTENT)
        if fits.size:
            found[fits[0]] += chain.tolist()
            corners[fits[0]] = joint[fits[0]]
        else:
            corners[len(found)] = own
            found.append(chain.tolist())
    return [[sites[k] for k in group] for group in found]


def split_by_tile(sites: Sequence[Site]) -> list[list[Site]]:
    """A neighbourhood in pieces that are searched one by one, no more of them than there are tiles in line under it."""
    pieces = [list(sites)]
    for axis in (1, 0):
        pieces = [part for piece in pieces for part in _slabs(piece, axis)]
    return pieces


def compact(sites: Sequence[Site], most: int) -> list[list[Site]]:
    """A neighbourhood in pieces of at most `most` sites, as square as may be, so that few blocks belong to two."""
    if len(sites) <= most:
        return [list(sites)] if sites else []
    places = _metres(_centres(sites))
    axis = int(np.argmax(np.ptp(places, axis=0)))
    order = sorted(range(len(sites)), key=lambda k: (places[k, axis], sites[k].id))
    middle = len(sites) // 2
    return [piece for half in (order[:middle], order[middle:]) for piece in compact([sites[k] for k in half], most)]


def _slabs(sites: Sequence[Site], axis: int) -> list[list[Site]]:
    centres = _centres(sites)
    number = max(1, math.ceil(_extent(centres)[axis] / MAX_SEARCH_EXTENT))
    edges = np.linspace(centres[:, axis].min(), centres[:, axis].max(), number + 1)[1:-1]
    which = np.searchsorted(edges, centres[:, axis])
    return [[site for site, n in zip(sites, which, strict=True) if n == slab] for slab in np.unique(which)]


def _centres(sites: Sequence[Site]) -> np.ndarray:
    """(site, 2) longitude and latitude."""
    found: np.ndarray = shapely.get_coordinates(shapely.centroid([site.geometry for site in sites]))
    return found


def _metres(places: np.ndarray) -> np.ndarray:
    """(..., place, 2) longitude and latitude in metres, degrees of longitude as wide as in the middle of the places."""
    north = places[..., 1]
    wide = np.cos(np.radians((north.min(axis=-1) + north.max(axis=-1)) / 2))
    found: np.ndarray = METRES_PER_DEGREE * places * np.stack([wide, np.ones_like(wide)], axis=-1)[..., None, :]
    return found


def _extent(places: np.ndarray) -> np.ndarray:
    """(..., 2) west to east and south to north. [m]"""
    found: np.ndarray = np.ptp(_metres(places), axis=-2)
    return found
