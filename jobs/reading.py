"""Scenes as seen by sites and their control units: pixels of the sites, means of the units.

Several sites near each other are read together: a source then reads a block of its own once for all the ground in it.
Only the pixels of sites leave this module; of units only means do.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, repeat

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from monitor.controls.units import BLOCK, Unit
from monitor.cover.fraction import ENDMEMBERS, Endmembers
from monitor.cover.means import MEASURES, means
from monitor.cube.grid import MARGIN, covering, crs_of, holds, inside
from monitor.cube.packed import LAYERS, pack, unpack
from monitor.errors import SceneRejected
from monitor.imagery import bands
from monitor.imagery.source import Frame, Scene, Source
from monitor.sites.projection import projected
from monitor.sites.site import Site

AT_ONCE = 16_000_000
"""Pixels of units whose means are drawn together. [byte]"""
LANDSAT_PIXEL = 30.0
"""Side of a pixel. [m]"""
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
    sizes: np.ndarray
    """(unit,) pixels of each unit."""

    @classmethod
    def of(cls, site: Site, grid: GeoBox, units: Sequence[Unit]) -> "Ground":
        """Lay a site and its units out on pixels."""
        crs, pixel = crs_of(grid), abs(grid.resolution.x)
        anchor = (grid.affine.c, grid.affine.f)
        sizes = []
        for unit in units:
            square = projected(unit.geometry, crs)
            local = covering(square.bounds, crs, resolution=pixel, anchor=anchor, margin=0.0)
            sizes.append(int(holds(square, local).sum()))
        return cls(
            site=site, grid=grid, units=tuple(units), own=inside(site.geometry, grid), sizes=np.array(sizes, dtype=int)
        )

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
    """For each scene in turn what every ground saw of it, or why the scene can not be read.

    Raises
    ------
    TryLater, BadConfiguration
        As the source raises them.
    """
    served = source.reduces and any(ground.units for ground in grounds)
    blocks = [] if source.reduces else _blocks(grounds)
    grids = [ground.grid for ground in grounds] + [block.grid for block in blocks]
    drawn: Iterator[list[np.ndarray] | SceneRejected | None] = (
        _served(source, scenes, grounds) if served else repeat(None)
    )
    waiting: list[tuple[Scene, list[np.ndarray], np.ndarray]] = []
    size = 0
    for scene, frames, units in zip(scenes, source.read(scenes, grids), drawn, strict=False):
        read_ = _packed(scene, frames, grounds, blocks)
        refused = next((one for one in (read_, units) if isinstance(one, SceneRejected)), None)
        if refused is not None or served:
            yield from _drained(waiting, grounds, blocks)
            waiting, size = [], 0
        if refused is not None:
            yield refused
            continue
        assert not isinstance(read_, SceneRejected)
        assert not isinstance(units, SceneRejected)
        own, chosen = read_
        if units is not None:
            yield [Seen(packed=packed, units=drawn_) for packed, drawn_ in zip(own, units, strict=True)]
            continue
        waiting.append((scene, own, chosen))
        size += chosen.nbytes + sum(packed.nbytes for packed in own)
        if size > AT_ONCE:
            yield from _drained(waiting, grounds, blocks)
            waiting, size = [], 0
    yield from _drained(waiting, grounds, blocks)


def bandpass(scene: Scene, grid: GeoBox) -> bool:
    """Whether a scene is brought to the bands of Sentinel-2: a Landsat scene of a site kept on Sentinel-2's pixels."""
    return bands.family(scene.sensor, scene.quality) == "oli" and abs(grid.resolution.x) < LANDSAT_PIXEL


def own_means(scenes: Sequence[Scene], packed: Sequence[np.ndarray], ground: Ground) -> xr.DataArray:
    """(time, measure) means over the clear pixels of a site, of packed scenes on its grid."""
    pixels = np.stack([one[:, ground.own] for one in packed])
    return _means(scenes, pixels, np.zeros(pixels.shape[-1], dtype=int), ground).isel(unit=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Block:
    """Ground that is read together, and which of its pixels belong to which unit."""

    grid: GeoBox
    places: np.ndarray
    """Flat indices of pixels, unit after unit; units of different sites may share pixels."""
    labels: np.ndarray
    """Number of the unit of each place, over all grounds."""


def _blocks(grounds: Sequence[Ground]) -> list[_Block]:
    """Grids that hold all units, those near each other on one grid, so that a provider's block is read once."""
    made = []
    numbered = list(enumerate(unit for ground in grounds for unit in ground.units))
    lattices = list(chain.from_iterable(repeat(ground.grid, len(ground.units)) for ground in grounds))
    groups: dict[tuple[str, int, int], list[tuple[int, BaseGeometry]]] = {}
    for (number, unit), lattice in zip(numbered, lattices, strict=True):
        square = projected(unit.geometry, crs_of(lattice))
        point = square.centroid
        key = (str(lattice.crs), math.floor(point.y / BLOCK), math.floor(point.x / BLOCK))
        groups.setdefault(key, []).append((number, square))
    for _, members in sorted(groups.items()):
        lattice = lattices[members[0][0]]
        grid = covering(
            unary_union([square for _, square in members]).bounds, crs_of(lattice),
            resolution=abs(lattice.resolution.x), anchor=(lattice.affine.c, lattice.affine.f), margin=MARGIN,
        )  # fmt: skip
        places = [np.flatnonzero(holds(square, grid)) for _, square in members]
        labels = [np.full(place.size, number) for (number, _), place in zip(members, places, strict=True)]
        made.append(_Block(grid=grid, places=np.concatenate(places), labels=np.concatenate(labels)))
    return made


def _packed(
    scene: Scene, frames: object, grounds: Sequence[Ground], blocks: Sequence[_Block]
) -> tuple[list[np.ndarray], np.ndarray] | SceneRejected:
    """Packed scenes of the sites, and the pixels of all units in a row; frames are dropped as soon as they are used."""
    if isinstance(frames, SceneRejected):
        return frames
    own: list[np.ndarray] = []
    chosen: list[np.ndarray] = []
    try:
        for number, frame in enumerate(_checked(frames, [g.grid for g in grounds] + [b.grid for b in blocks])):
            packed = pack(frame, scene)
            if number < len(grounds):
                own.append(packed)
            else:
                chosen.append(packed.reshape(len(LAYERS), -1)[:, blocks[number - len(grounds)].places])
    except SceneRejected as error:
        return error
    return own, np.concatenate(chosen, axis=1) if chosen else np.zeros((len(LAYERS), 0), dtype=np.uint16)


def _checked(frames: object, grids: Sequence[GeoBox]) -> Iterator[Frame]:
    """Frames as they come, none on another grid than was asked for."""
    for frame, grid in zip(frames, grids, strict=True):  # type: ignore[call-overload]
        if frame.pixels.shape[1:] != grid.shape or frame.quality.shape != grid.shape:
            reason, msg = "BROKEN", f"asked for {grid.shape} pixels, got {frame.pixels.shape[1:]}"
            raise SceneRejected(reason, msg)
        yield frame


def _drained(
    waiting: Sequence[tuple[Scene, list[np.ndarray], np.ndarray]],
    grounds: Sequence[Ground],
    blocks: Sequence[_Block],
) -> Iterator[list[Seen]]:
    """Draw the means of the units of several scenes at once."""
    if not waiting:
        return
    scenes = [scene for scene, _, _ in waiting]
    pixels = np.stack([chosen for _, _, chosen in waiting])
    labels = np.concatenate([block.labels for block in blocks]) if blocks else np.zeros(0, dtype=int)
    edges = np.cumsum([0, *(len(ground.units) for ground in grounds)])
    by_ground = []
    for number, ground in enumerate(grounds):
        first, last = edges[number], edges[number + 1]
        mine = np.flatnonzero((labels >= first) & (labels < last))
        if not mine.size:
            by_ground.append(np.full((len(scenes), len(ground.units), len(MEASURES)), np.nan, dtype=np.float32))
            continue
        found = _means(scenes, pixels[..., mine], labels[mine] - first, ground).values
        by_ground.append(_enough(found, ground.sizes))
    for place, (_, own, _) in enumerate(waiting):
        yield [Seen(packed=packed, units=found[place]) for packed, found in zip(own, by_ground, strict=True)]


def _served(
    source: Source, scenes: Sequence[Scene], grounds: Sequence[Ground]
) -> Iterator[list[np.ndarray] | SceneRejected]:
    """Means of units as the provider draws them."""
    from monitor.cover.served import recipe  # brings the provider's client with it

    streams = [
        source.reduce(scenes, [unit.geometry for unit in g.units], g.grid, recipe(g.endmembers)) for g in grounds
    ]  # fmt: skip
    for together in zip(*streams, strict=True):
        refused = next((one for one in together if isinstance(one, SceneRejected)), None)
        if refused is not None:
            yield refused
            continue
        yield [
            _enough(found[None].astype(np.float32), ground.sizes)[0]
            for found, ground in zip(together, grounds, strict=True)
        ]


def _means(scenes: Sequence[Scene], pixels: np.ndarray, labels: np.ndarray, ground: Ground) -> xr.DataArray:
    cube = unpack(
        pixels,
        ("pixel",),
        times=[scene.time for scene in scenes],
        scale=[scene.scale for scene in scenes],
        offset=[scene.offset for scene in scenes],
        bandpass=[bandpass(scene, ground.grid) for scene in scenes],
    )
    return means(cube, xr.DataArray(labels, dims="pixel"), ground.endmembers)


def _enough(found: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Blank the means of units of which too little was seen."""
    enough = found[..., :1] >= UNIT_CLEAR * sizes[:, None]
    kept: np.ndarray = np.where(enough | (np.arange(len(MEASURES)) == 0), found, np.float32(np.nan))
    return kept
