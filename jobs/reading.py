"""Scenes as seen by sites and their control units: pixels of the sites, means of the units.

Several sites near each other are read together: a source then reads a block of its own once for all the ground in it.
Only the pixels of sites leave this module; of units only means do.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
import shapely
from odc.geo.geobox import GeoBox
from shapely import GeometryCollection
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from monitor.controls.units import BLOCK, Unit
from monitor.cover.fraction import ENDMEMBERS, Endmembers
from monitor.cover.zonal_means import MEASURES, zonal_means
from monitor.cube.grid import MARGIN, covering, crs_of, holds, inside, rectangles
from monitor.cube.packed import LAYERS, pack
from monitor.errors import SceneRejected
from monitor.imagery import bands
from monitor.imagery.source import Frame, Scene, Source
from monitor.sites.projection import projected
from monitor.sites.site import Site

SAMPLED = 2500
"""Of a larger unit every second (third, ...) pixel of every second (third, ...) row is taken, so that no more remain:
its mean is as good with them, and a night draws those of a whole programme in a fraction of the time. [pixel]"""
UNIT_CLEAR = 0.6
"""A unit counts in a scene when this share of it was seen. [1]"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ground:
    """What is read of one site."""

    site: Site
    grid: GeoBox
    """The site's own fixed grid."""
    units: tuple[Unit, ...]
    own: np.ndarray
    """(y, x) bool, pixels of the site."""
    places: tuple[np.ndarray, ...]
    """Of each unit (n, 2) int16: row and column of its pixels, from its own corner."""
    corners: np.ndarray
    """(unit, 2) int: row and column of each unit's corner on the lattice of the grid, from the grid's corner."""
    squares: tuple[BaseGeometry, ...]
    """The units in the projected system of the grid."""
    sizes: np.ndarray
    """(unit,) pixels of each unit: those that are read, or all where the provider draws the means."""

    @classmethod
    def of(cls, site: Site, grid: GeoBox, units: Sequence[Unit], *, reduced: bool) -> "Ground":
        """Lay a site and its units out on pixels.

        Parameters
        ----------
        site : Site
            The site.
        grid : GeoBox
            Its own.
        units : sequence of Unit
            Those that are read.
        reduced : bool
            Whether the provider draws their means, of all their pixels.
        """
        crs, pixel = crs_of(grid), abs(grid.resolution.x)
        anchor = (grid.affine.c, grid.affine.f)
        squares = shapely.get_parts(projected(GeometryCollection([unit.geometry for unit in units]), crs))
        left, _, _, top = shapely.bounds(squares).reshape(-1, 4).T
        corners = np.floor(np.column_stack([anchor[1] - top, left - anchor[0]]) / pixel).astype(int)
        places = []
        for square, corner, spans in zip(squares, corners, rectangles(squares, grid), strict=True):
            if spans is None:
                local = covering(square.bounds, crs, resolution=pixel, anchor=anchor, margin=0.0)
                place = np.argwhere(holds(square, local))
                step = _step(len(place), reduced=reduced)
                place = place[(place % step == step // 2).all(axis=1)]
            else:
                lines = [np.arange(*span) - first for span, first in zip(spans, corner, strict=True)]
                step = _step(lines[0].size * lines[1].size, reduced=reduced)
                rows, columns = (line[line % step == step // 2] for line in lines)
                place = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
            places.append(place.astype(np.int16))  # short: a night lays out tens of thousands of units
        sizes = np.array([place.shape[0] for place in places], dtype=int)
        own = inside(site.geometry, grid)
        return cls(
            site=site, grid=grid, units=tuple(units), own=own, places=tuple(places),
            corners=corners, squares=tuple(squares), sizes=sizes,
        )  # fmt: skip

    @property
    def endmembers(self) -> Endmembers:
        """Of the site's biome."""
        return ENDMEMBERS[self.site.biome]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One scene as seen by one site and its units."""

    packed: np.ndarray
    """(layer, y, x) uint16 on the site's grid."""
    units: np.ndarray
    """(unit, measure) float32; of a unit of which too little was seen the count alone."""


def read(source: Source, scenes: Sequence[Scene], grounds: Sequence[Ground]) -> Iterator[list[Seen] | SceneRejected]:
    """For each scene in turn what every ground saw of it, or why the scene cannot be read.

    Raises
    ------
    TryLater, BadConfiguration
        As the source raises them.
    """
    blocks = [] if source.reduces else _blocks(grounds)
    # In bands from north to south, those of sites among those of units: few of a provider's blocks are held at a time.
    pieces: list[Ground | _Block] = sorted([*grounds, *blocks], key=_along)
    grids = [piece.grid for piece in pieces]
    drawn: Iterator[list[np.ndarray] | SceneRejected | None] = (
        _served(source, scenes, grounds) if source.reduces else repeat(None)
    )
    for scene, frames, units in zip(scenes, source.read(scenes, grids), drawn, strict=False):
        refused = next((one for one in (frames, units) if isinstance(one, SceneRejected)), None)
        try:
            if refused is not None:
                raise refused
            own, drawn_here = _taken(scene, _packed(scene, frames, grids), pieces, grounds)
        except SceneRejected as error:
            yield error
            continue
        means = units if isinstance(units, list) else drawn_here
        yield [
            Seen(packed=mine, units=_enough(theirs, ground.sizes))
            for mine, theirs, ground in zip(own, means, grounds, strict=True)
        ]


def bandpass(scene: Scene, grid: GeoBox) -> bool:
    """Whether a scene is brought to the bands of Sentinel-2: a Landsat scene of a site kept on Sentinel-2's pixels."""
    return bands.resampled(scene.sensor, scene.quality, abs(grid.resolution.x))


def _step(pixels: int, *, reduced: bool) -> int:
    """Every how-manieth row and column is read of a unit of so many pixels; 1: all."""
    return 1 if reduced else max(1, math.ceil(math.sqrt(pixels / SAMPLED)))


def own_means(scene: Scene, packed: np.ndarray, ground: Ground) -> np.ndarray:
    """(measure,) means over the clear pixels of a site, of a packed scene on its grid."""
    pixels = packed[:, ground.own]
    means: np.ndarray = _means(scene, pixels, np.array([0, pixels.shape[1]]), ground)[0]
    return means


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """Ground that is read together, and the pixels of the units in it."""

    grid: GeoBox
    members: tuple[tuple[int, int], ...]
    """Number of the ground, and of the unit of that ground."""
    corners: np.ndarray
    """(unit, 2) int: row and column of the corner of each unit; units of different sites may share pixels."""


def _blocks(grounds: Sequence[Ground]) -> list[_Block]:
    """Grids that hold all units, those near each other on one grid, so that a provider's block is read once."""
    groups: dict[tuple[str, int, int], list[tuple[int, int, BaseGeometry]]] = {}
    for number, ground in enumerate(grounds):
        for which, square in enumerate(ground.squares):
            point = square.centroid
            key = (str(ground.grid.crs), math.floor(point.y / BLOCK), math.floor(point.x / BLOCK))
            groups.setdefault(key, []).append((number, which, square))
    made = []
    for _, members in sorted(groups.items()):
        lattice = grounds[members[0][0]].grid
        pixel = abs(lattice.resolution.x)
        grid = covering(
            unary_union([square for *_, square in members]).bounds, crs_of(lattice), resolution=pixel,
            anchor=(lattice.affine.c, lattice.affine.f), margin=MARGIN,
        )  # fmt: skip
        corners = []
        for number, which, _ in members:
            corner = grounds[number].grid.affine
            offset = round((grid.affine.f - corner.f) / pixel), round((corner.c - grid.affine.c) / pixel)
            corners.append(grounds[number].corners[which] + offset)
        made.append(_Block(grid=grid, members=tuple((n, w) for n, w, _ in members), corners=np.stack(corners)))
    return made


def _along(piece: Ground | _Block) -> tuple[str, int, float]:
    place = piece.grid.affine
    return str(piece.grid.crs), -math.floor(place.f / BLOCK), place.c


def _packed(scene: Scene, frames: Any, grids: Sequence[GeoBox]) -> Iterator[np.ndarray]:
    """Frames packed as they come, none on another grid than was asked for."""
    frame: Frame
    for frame, grid in zip(frames, grids, strict=True):
        if frame.pixels.shape[1:] != grid.shape or frame.quality.shape != grid.shape:
            reason, msg = "BROKEN", f"asked for {grid.shape} pixels, got {frame.pixels.shape[1:]}"
            raise SceneRejected(reason, msg)
        yield pack(frame, scene)


def _taken(
    scene: Scene, packed: Iterator[np.ndarray], pieces: Sequence[Ground | _Block], grounds: Sequence[Ground]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Pixels of every site, and means of its units, (unit, measure) each; a block is dropped as soon as it is used."""
    numbers = {ground: number for number, ground in enumerate(grounds)}
    own = [np.empty(0, dtype=np.uint16)] * len(grounds)
    means = [np.full((len(ground.units), len(MEASURES)), np.nan, dtype=np.float32) for ground in grounds]
    for piece, layers in zip(pieces, packed, strict=True):
        if isinstance(piece, Ground):
            own[numbers[piece]] = layers
            continue
        flat, width = layers.reshape(len(LAYERS), -1), piece.grid.shape[1]
        # Units of one ground lie next to each other, for grounds differ in their biome.
        for number, some in _by_ground(piece.members):
            units = [piece.members[k][1] for k in some]
            at = [grounds[number].places[unit] + piece.corners[k] for unit, k in zip(units, some, strict=True)]
            edges = np.cumsum([0, *(place.shape[0] for place in at)])
            rows, columns = np.concatenate(at).T
            means[number][units] = _means(scene, flat[:, rows * width + columns], edges, grounds[number])
    return own, means


def _by_ground(members: Sequence[tuple[int, int]]) -> Iterator[tuple[int, list[int]]]:
    grounds: dict[int, list[int]] = {}
    for k, (number, _) in enumerate(members):
        grounds.setdefault(number, []).append(k)
    yield from grounds.items()


def _served(
    source: Source, scenes: Sequence[Scene], grounds: Sequence[Ground]
) -> Iterator[list[np.ndarray] | SceneRejected]:
    """Means of units as the provider draws them; the first requests are under way when this returns."""
    from monitor.cover.served import recipe  # brings the provider's client with it

    streams: list[Iterator[np.ndarray | SceneRejected]] = []
    for ground in grounds:
        wanted = [unit.geometry for unit in ground.units]
        layers = recipe(ground.endmembers, bandpass=any(bandpass(scene, ground.grid) for scene in scenes))
        nothing = np.empty((0, len(MEASURES)))
        streams.append(source.reduce(scenes, wanted, ground.grid, layers) if wanted else repeat(nothing, len(scenes)))
    return map(_all_or_none, zip(*streams, strict=True))


def _all_or_none(together: Sequence[np.ndarray | SceneRejected]) -> list[np.ndarray] | SceneRejected:
    """Means of one scene for all sites, or why it cannot be read."""
    refused = next((one for one in together if isinstance(one, SceneRejected)), None)
    return refused or [np.asarray(found, dtype=np.float32) for found in together]


def _means(scene: Scene, pixels: np.ndarray, edges: np.ndarray, ground: Ground) -> np.ndarray:
    both = [
        bands.as_msi(band, scene.scale, scene.offset) if bandpass(scene, ground.grid) else (scene.scale, scene.offset)
        for band in bands.OBSERVED
    ]
    scale, offset = np.array(both).T
    return zonal_means(pixels, edges, scale=scale, offset=offset, endmembers=ground.endmembers)


def _enough(found: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Blank the means of units of which too little was seen."""
    enough = found[:, :1] >= UNIT_CLEAR * sizes[:, None]
    kept: np.ndarray = np.where(enough | (np.arange(len(MEASURES)) == 0), found, np.float32(np.nan))
    return kept
