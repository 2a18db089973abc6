"""Group nearby sites, so that one search serves all sites of a tile and one read serves all sites of a file's block.

Distances are computed on a plane, to about 1 %; only the order of the work depends on them.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from monitor.sites.site import Site

MAX_SEARCH_EXTENT: Final = 115_000.0  # of one search: a Sentinel-2 tile has 109.8 km, rotated by up to 2° [m]
METRES_PER_DEGREE: Final = 110_574.0  # of latitude at the equator, where it is shortest: boxes are never too small [m]


def group_nearby(sites: Sequence[Site], *, apart: float) -> list[list[Site]]:
    """Group sites that are nearer to each other than `apart` [m], and join groups that fit into one tile.

    A group is larger than :data:`MAX_SEARCH_EXTENT` only where its sites form an unbroken chain.
    """
    if not sites:
        return []
    centres = _centres(sites)
    points = np.asarray(shapely.points(_metres(centres)))
    first, second = shapely.STRtree(points).query(points, predicate="dwithin", distance=apart)
    pairs = coo_array((np.ones(first.size, dtype=bool), (first, second)), shape=(len(sites), len(sites)))
    _, labels = connected_components(pairs, directed=False)
    order = np.argsort(labels, kind="stable")
    chains = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    chains.sort(key=lambda chain: (*centres[chain].min(axis=0)[::-1], sites[chain[0]].id))
    groups: list[list[int]] = []
    corners = np.empty((len(chains), 2, 2))  # south-west and north-east of each group
    for chain in chains:
        own = np.stack([centres[chain].min(axis=0), centres[chain].max(axis=0)])
        boxes = corners[: len(groups)]
        joint = np.stack([np.minimum(boxes[:, 0], own[0]), np.maximum(boxes[:, 1], own[1])], axis=1)
        fits = np.flatnonzero(_extent(joint).max(axis=-1) <= MAX_SEARCH_EXTENT)
        if fits.size:
            groups[fits[0]] += chain.tolist()
            corners[fits[0]] = joint[fits[0]]
        else:
            corners[len(groups)] = own
            groups.append(chain.tolist())
    return [[sites[k] for k in group] for group in groups]


def split_by_tile(sites: Sequence[Site]) -> list[list[Site]]:
    """Split a group into parts that are searched one by one, each within :data:`MAX_SEARCH_EXTENT`."""
    return [tile for slab in _slabs(sites, axis=1) for tile in _slabs(slab, axis=0)]


def _slabs(sites: Sequence[Site], axis: int) -> list[list[Site]]:
    centres = _centres(sites)
    number = max(1, math.ceil(_extent(centres)[axis] / MAX_SEARCH_EXTENT))
    edges = np.linspace(centres[:, axis].min(), centres[:, axis].max(), number + 1)[1:-1]
    which = np.searchsorted(edges, centres[:, axis])
    return [[site for site, n in zip(sites, which, strict=True) if n == slab] for slab in np.unique(which)]


def _centres(sites: Sequence[Site]) -> np.ndarray:
    """(site, 2) longitude and latitude of centroids. [degree]"""
    return np.asarray(shapely.get_coordinates(shapely.centroid([site.geometry for site in sites])))


def _metres(places: np.ndarray) -> np.ndarray:
    """(..., place, 2) longitude and latitude as metres on a plane, scaled at the middle latitude of the places. [m]"""
    north = places[..., 1]
    width = np.cos(np.radians((north.min(axis=-1) + north.max(axis=-1)) / 2))
    return np.asarray(METRES_PER_DEGREE * places * np.stack([width, np.ones_like(width)], axis=-1)[..., None, :])


def _extent(places: np.ndarray) -> np.ndarray:
    """(..., 2) extent in longitude and in latitude. [m]"""
    return np.asarray(np.ptp(_metres(places), axis=-2))
