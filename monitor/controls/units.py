"""Control units: pieces of ground like a site, nearby, where nothing is being restored.

Candidates lie on a lattice in a ring round the site, outside every registered site. Those that behaved
most like the site before the start are kept, and frozen for good: what grows there later is what
would have grown on the site. Their list is part of the evidence.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox
from shapely.geometry import box, mapping, shape
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union
from shapely.prepared import prep

from monitor.cube.grid import MARGIN, covering, crs_of, holds, site_grid
from monitor.sites.projection import lonlat, projected

CANDIDATES: Final = 240
"""Most candidates looked at: eight times as many as are kept, thinned evenly over the ring."""
WANTED: Final = 30
"""Units kept, the least of the 30 to 60 that the method asks for: more would be less alike."""
ENOUGH: Final = 10
"""Fewer units than this, in all or in a scene, and no verdict of failure is given."""
BLOCK: Final = 5120.0
"""Side of the blocks in which units are read together: 512 pixels of 10 m, a provider's own block. [m]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One piece of control ground."""

    id: str
    geometry: BaseGeometry
    """Square, longitude and latitude. [degree]"""
    distance: float
    """From the site, edge to edge. [m]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlSet:
    """The frozen units of one version of a site, and how alike they were."""

    units: tuple[Unit, ...]
    balance: dict[str, float]
    """Standardised mean difference between units and site by feature, before the start. [standard deviation]"""
    candidates: int
    """How many were looked at."""

    def to_json(self) -> dict[str, Any]:
        """As plain values, for the ledger."""
        units = [
            {"id": u.id, "geometry": mapping(u.geometry), "distance": round(u.distance, 1)} for u in self.units
        ]  # fmt: skip
        return {"units": units, "balance": self.balance, "candidates": self.candidates}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "ControlSet":
        """The set written by :meth:`to_json`."""
        units = tuple(
            Unit(id=u["id"], geometry=shape(u["geometry"]), distance=u["distance"]) for u in stored["units"]
        )  # fmt: skip
        return cls(units=units, balance=stored["balance"], candidates=stored["candidates"])

    @property
    def hash(self) -> str:
        """SHA-256 of the set."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()


def candidates(
    site: BaseGeometry,
    others: Sequence[BaseGeometry],
    lattice: GeoBox,
    ring: tuple[float, float],
    *,
    covered: BaseGeometry | None = None,
) -> list[Unit]:
    """Pieces of ground of the site's size, in a ring round it, outside every registered site.

    Parameters
    ----------
    site : shapely geometry
        Longitude and latitude. [degree]
    others : sequence of shapely geometry
        Every other registered site: ground within the inner distance of one is left out as well.
    lattice : GeoBox
        Gives the projected system and the pixels that units are made of.
    ring : tuple of float
        Nearest and farthest distance from the site. [m]
    covered : shapely geometry, optional
        Ground of which there are scenes, longitude and latitude; None or empty: everywhere. [degree]

    Returns
    -------
    list of Unit
        At most :data:`CANDIDATES`, thinned evenly, nearest first; the same for the same input.
    """
    crs, pixel = crs_of(lattice), abs(lattice.resolution.x)
    shape_ = projected(site, crs)
    side = max(5, round(math.sqrt(shape_.area) / pixel))
    step = (side + 1) * pixel
    inner, outer = ring
    closed = prep(unary_union([shape_, *(projected(other, crs) for other in others)]).buffer(inner))
    seen = prep(projected(covered, crs)) if covered is not None and not covered.is_empty else None
    grid = site_grid(site, crs=crs, resolution=pixel, anchor=(lattice.affine.c, lattice.affine.f), margin=0.0)
    left, top = grid.affine.c, grid.affine.f
    reach = math.ceil(outer / step)
    inset = pixel / 3
    found: list[Unit] = []
    for row in range(-reach, reach + 1):
        for column in range(-reach, reach + 1):
            x, y = left + column * step, top - row * step
            square = box(x + inset, y - side * pixel + inset, x + side * pixel - inset, y - inset)
            distance = square.distance(shape_)
            if not inner < distance <= outer or closed.intersects(square):
                continue
            if seen is None or seen.contains(square):
                found.append(Unit(id=f"r{row}c{column}", geometry=square, distance=distance))
    found.sort(key=lambda unit: (unit.distance, unit.id))
    if len(found) > CANDIDATES:
        chosen = np.unique(np.linspace(0, len(found) - 1, CANDIDATES).round().astype(int))
        found = [found[index] for index in chosen]
    return [Unit(id=u.id, geometry=lonlat(u.geometry, crs), distance=u.distance) for u in found]


def match(site: xr.DataArray, ground: xr.DataArray, units: Sequence[Unit]) -> ControlSet:
    """The units that behaved most like the site before the start.

    Parameters
    ----------
    site : xr.DataArray
        (time, measure) means of the site, of scenes before the start; NaN where not seen.
    ground : xr.DataArray
        (time, unit, measure) means of the candidates in the same scenes.
    units : sequence of Unit
        The candidates, in the order of ``ground``.

    Returns
    -------
    ControlSet
        At most :data:`WANTED` units, nearest to the site in the space of the features.

    Notes
    -----
    The features are differences from the site in the same scene, so that scenes in which a candidate was hidden do
    not matter: mean cover and its change from the first to the second half, moisture, and brightness of the red
    band; each over its standard deviation among the candidates. Terrain joins them where it is known.
    """
    if not units:
        return ControlSet(units=(), balance={}, candidates=0)
    difference = (ground - site).transpose("time", "unit", "measure")
    half = difference.sizes["time"] // 2
    features: dict[str, np.ndarray] = {}
    for name in ("cover", "ndmi", "red"):
        values = difference.sel(measure=name).values
        features[name] = _mean(values)
        if name == "cover" and half >= 3:
            features["cover_change"] = _mean(values[half:]) - _mean(values[:half])
    usable = np.isfinite(features["cover"])
    distance = np.where(usable, 0.0, np.inf)
    for values in features.values():
        spread = float(np.std(values[usable])) if usable.any() else 0.0
        if spread > 0 and np.isfinite(spread):
            distance = distance + np.where(np.isfinite(values), (values / spread) ** 2, 0.0)
    order = [int(i) for i in np.argsort(distance, kind="stable") if np.isfinite(distance[i])][:WANTED]
    balance = {}
    for name, values in features.items():
        spread = float(np.nanstd(values)) if np.isfinite(values).any() else 0.0
        if order and spread > 0:
            balance[name] = round(float(np.nanmean(values[order])) / spread, 3)
    return ControlSet(units=tuple(units[i] for i in order), balance=balance, candidates=len(units))


def _mean(values: np.ndarray) -> np.ndarray:
    seen = np.isfinite(values)
    n = seen.sum(axis=0)
    mean: np.ndarray = np.divide(np.where(seen, values, 0.0).sum(axis=0), n, out=np.full(n.shape, np.nan), where=n > 0)
    return mean


def blocks(units: Sequence[Unit], lattice: GeoBox) -> list[tuple[GeoBox, np.ndarray]]:
    """Grids that hold all units, those near each other on one grid, so that a provider's block is read once.

    Returns
    -------
    list of (GeoBox, (y, x) int array)
        Each grid, with the margin that masks need, and the number of the unit that each pixel belongs to; -1: none.
    """
    crs, pixel = crs_of(lattice), abs(lattice.resolution.x)
    anchor = (lattice.affine.c, lattice.affine.f)
    groups: dict[tuple[int, int], list[int]] = {}
    shapes = [projected(unit.geometry, crs) for unit in units]
    for index, square in enumerate(shapes):
        point = square.centroid
        key = (math.floor((point.x - anchor[0]) / BLOCK), math.floor((point.y - anchor[1]) / BLOCK))
        groups.setdefault(key, []).append(index)
    made = []
    for members in groups.values():
        bounds = unary_union([shapes[i] for i in members]).bounds
        grid = covering(bounds, crs, resolution=pixel, anchor=anchor, margin=MARGIN)
        piece = np.full(grid.shape, -1)
        for index in members:
            piece[holds(shapes[index], grid)] = index
        made.append((grid, piece))
    return made
