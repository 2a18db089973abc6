"""Which pixels of a scene are read for the sites of a landscape, and the zones that they form.

Sites are read on their own grids, control units on blocks: grids that cover all units close to each other, so that a
provider's block is read once for all of them. Units may overlap: a zone is therefore not a label of a pixel but a list
of runs of pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from uuid import uuid4

import numpy as np
import shapely
from odc.geo.geobox import GeoBox
from shapely import GeometryCollection
from shapely.geometry.base import BaseGeometry

from monitor.cube.grid import GRID_MARGIN, covering_grid, crs_of, inside_projected, rectangle_spans
from monitor.sites.projection import projected

UNIT_BLOCK_SIDE: Final = 5120.0  # side of the blocks in which units are read, like a provider's block of 512 pixels [m]
MAX_UNIT_PIXELS: Final = 2500
"""Of a larger unit every second (third, ...) pixel of every second (third, ...) row is read, so that no more remain:
the mean is as precise, at a fraction of the time. [pixel]"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Zones:
    """Zones of pixels as runs: pixels ``start``, ``start + step``, ... before ``stop``."""

    runs: np.ndarray  # (run, 3) int64: start, stop and step, zone by zone
    edges: np.ndarray  # (zone + 1,) int64: zone k has the runs from `edges[k]` up to `edges[k + 1]`
    name: str = field(default_factory=lambda: uuid4().hex)

    def __dask_tokenize__(self) -> str:
        return self.name  # to hash the runs of thousands of units takes as long as to read them

    @classmethod
    def from_runs(cls, runs: Sequence[np.ndarray]) -> "Zones":
        """Zones from an (n, 3) array of runs each."""
        edges = np.cumsum([0, *(len(one) for one in runs)], dtype=np.int64)
        return cls(runs=np.concatenate([np.empty((0, 3), np.int64), *runs]), edges=edges)

    @classmethod
    def consecutive(cls, sizes: Sequence[int]) -> "Zones":
        """Zones of these numbers of pixels, one after the other."""
        first = np.cumsum([0, *sizes], dtype=np.int64)
        return cls(
            runs=np.column_stack([first[:-1], first[1:], np.ones(len(sizes), np.int64)]),
            edges=np.arange(len(sizes) + 1, dtype=np.int64),
        )

    def __len__(self) -> int:
        return len(self.edges) - 1

    @property
    def sizes(self) -> np.ndarray:
        """(zone,) int64: number of pixels."""
        start, stop, step = self.runs.T
        counted = np.concatenate([[0], np.cumsum((stop - start + step - 1) // step)])
        return np.asarray(np.diff(counted[self.edges]))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PixelLayout:
    """The pixels read of a scene: those inside the sites, site by site, and those of the blocks, row by row."""

    grids: tuple[GeoBox, ...]  # own grid of each site
    inside: tuple[np.ndarray, ...]  # pixels of each site's grid that lie inside the site, (y, x) bool
    sites: Zones  # the sites as zones of the site pixels
    blocks: tuple[GeoBox, ...]
    """Grids that cover the units, on the lattice of the sites; none where the provider averages the units."""
    units: Zones  # the units of all sites as zones of the block pixels; empty where the provider averages the units
    unit_geometries: tuple[tuple[BaseGeometry, ...], ...]  # control units of each site, longitude and latitude [degree]
    unit_sizes: np.ndarray  # (unit,) number of pixels of each unit that are averaged
    name: str  # unique name of this layout

    @classmethod
    def of(cls, sites: Sequence[tuple[GeoBox, np.ndarray, Sequence[BaseGeometry]]], *, averaged: bool) -> "PixelLayout":
        """Layout of sites: the grid of each, the pixels inside it, and its control units in longitude and latitude.

        All grids share one projected system and lattice. `averaged`: whether the provider averages the units, over all
        their pixels.
        """
        grids = tuple(grid for grid, _, _ in sites)
        inside = tuple(own for _, own, _ in sites)
        squares = tuple(tuple(units) for _, _, units in sites)
        lattice = grids[0]
        together = GeometryCollection([unit for some in squares for unit in some])
        shapes = shapely.get_parts(projected(together, crs_of(lattice)))
        lines = _lines(shapes, lattice, sampled=not averaged)
        edges = np.searchsorted(lines.unit, np.arange(len(shapes) + 1))
        if averaged:
            blocks: tuple[GeoBox, ...] = ()
            units = Zones.from_runs([])
            sizes = np.bincount(lines.unit, lines.stop - lines.first, len(shapes)).astype(np.int64)
        else:
            blocks, runs = _in_blocks(shapes, lines, lattice)
            units = Zones(runs=runs, edges=edges)
            sizes = units.sizes
        return cls(
            grids=grids, inside=inside, sites=Zones.consecutive([int(own.sum()) for own in inside]), blocks=blocks,
            units=units, unit_geometries=squares, unit_sizes=sizes, name=uuid4().hex,
        )  # fmt: skip

    @property
    def first_unit(self) -> np.ndarray:
        """(site + 1,) int64: units of site k are those from ``first_unit[k]`` up to ``first_unit[k + 1]``."""
        return np.cumsum([0, *(len(units) for units in self.unit_geometries)], dtype=np.int64)

    @property
    def first_block_pixel(self) -> np.ndarray:
        """(block + 1,) int64: pixels of block k are those from ``[k]`` up to ``[k + 1]``."""
        return np.cumsum([0, *(int(np.prod(block.shape)) for block in self.blocks)], dtype=np.int64)


class _Lines(NamedTuple):
    """Runs of pixels, row by row, unit by unit; rows and columns count from the corner of a lattice."""

    unit: np.ndarray
    row: np.ndarray
    first: np.ndarray  # column of the first pixel
    stop: np.ndarray  # column after the last pixel
    step: np.ndarray


def _lines(shapes: np.ndarray, lattice: GeoBox, *, sampled: bool) -> _Lines:
    """Pixels of units that are read, see :data:`MAX_UNIT_PIXELS`."""
    pixel, (x0, y1) = abs(lattice.resolution.x), (lattice.affine.c, lattice.affine.f)
    left, _, _, top = shapely.bounds(shapes).reshape(-1, 4).T
    corners = np.floor(np.column_stack([y1 - top, left - x0]) / pixel).astype(np.int64)
    spans = rectangle_spans(shapes, lattice)
    plain = np.flatnonzero([one is not None for one in spans])
    upper, lower, start, end = np.array([spans[k] for k in plain], np.int64).reshape(-1, 4).T
    unit = np.repeat(plain, lower - upper)
    before = np.cumsum(lower - upper) - (lower - upper)
    row = np.arange(len(unit)) + np.repeat(upper - before, lower - upper)
    parts = [np.stack([unit, row, np.repeat(start, lower - upper), np.repeat(end, lower - upper)])]
    for k in np.flatnonzero([one is None for one in spans]).tolist():
        local = covering_grid(shapes[k].bounds, crs_of(lattice), resolution=pixel, anchor=(x0, y1), margin=0.0)
        steps = np.diff(inside_projected(shapes[k], local).astype(np.int8), axis=1, prepend=0, append=0)
        (rows, first), (_, stop) = np.nonzero(steps == 1), np.nonzero(steps == -1)
        parts.append(
            np.stack([np.full_like(rows, k), rows + corners[k, 0], first + corners[k, 1], stop + corners[k, 1]])
        )
    every = np.concatenate(parts, axis=1)
    unit, row, first, stop = every[:, np.argsort(every[0], kind="stable")]
    sizes = np.bincount(unit, stop - first, len(shapes))
    steps = np.ones_like(sizes, np.int64)
    if sampled:
        steps = np.maximum(np.ceil(np.sqrt(sizes / MAX_UNIT_PIXELS)), 1).astype(np.int64)
    step, (upper, start) = steps[unit], corners[unit].T
    first = first + (step // 2 - (first - start)) % step
    is_read = ((row - upper) % step == step // 2) & (first < stop)
    return _Lines(*(column[is_read] for column in (unit, row, first, stop, step)))


def _in_blocks(shapes: np.ndarray, lines: _Lines, lattice: GeoBox) -> tuple[tuple[GeoBox, ...], np.ndarray]:
    """Blocks that hold all units, from north to south, and the runs of the units in their pixels."""
    pixel, (x0, y1) = abs(lattice.resolution.x), (lattice.affine.c, lattice.affine.f)
    centres = shapely.get_coordinates(shapely.centroid(shapes)).reshape(-1, 2)
    places = np.floor(centres / UNIT_BLOCK_SIDE).astype(np.int64)
    order = np.lexsort((places[:, 0], -places[:, 1]))
    cuts = np.flatnonzero(np.any(np.diff(places[order], axis=0) != 0, axis=1)) + 1
    blocks: list[GeoBox] = []
    corner, width = np.zeros(len(shapes), np.int64), np.zeros(len(shapes), np.int64)
    before = 0
    for members in np.split(order, cuts) if len(order) else []:
        block = covering_grid(
            tuple(shapely.total_bounds(shapes[members])), crs_of(lattice), resolution=pixel, anchor=(x0, y1),
            margin=GRID_MARGIN,
        )  # fmt: skip
        top, left = round((y1 - block.affine.f) / pixel), round((block.affine.c - x0) / pixel)
        width[members] = block.shape[1]
        corner[members] = before - top * block.shape[1] - left
        before += block.shape[0] * block.shape[1]
        blocks.append(block)
    start = corner[lines.unit] + lines.row * width[lines.unit]
    return tuple(blocks), np.column_stack([start + lines.first, start + lines.stop, lines.step])
