"""Bring what is stored of a site up to what its source offers. The same for a night and for a backfill.

What is left to do is offered minus stored, by acquisition and baseline, never "since the last date": scenes that
arrive late, and a new site's history, are found by the same question.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import batched
from pathlib import Path

import numpy as np
import xarray as xr
from odc.geo.geobox import GeoBox
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from monitor.controls.units import ENOUGH, ControlSet, Unit, blocks, candidates, match
from monitor.cover.fraction import ENDMEMBERS, Endmembers
from monitor.cover.means import MEASURES, means
from monitor.cube.grid import crs_of, inside, site_grid
from monitor.cube.masks import why_unseen
from monitor.cube.packed import LAYERS, pack, unpack
from monitor.cube.store import Entry, Record, SiteStore, digest, record_of
from monitor.errors import BadData, SceneRejected
from monitor.imagery.source import Frame, Scene, Source
from monitor.sites.site import Site

BATCH = 32
"""Scenes read and committed together: bounds memory, and what a killed backfill has to do again."""
SITE_CLEAR = 0.6
"""A scene counts when this share of the site was seen. [1]"""
METRES_PER_DEGREE = 111_000
"""Of latitude, roughly; rounded down, so that boxes are rather too large."""
UNIT_CLEAR = 0.6
"""A unit counts in a scene when this share of it was seen. [1]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What a fetch did for one site."""

    snapshot: str
    records: tuple[Record, ...] | None
    """The whole scene ledger of the site; None where it is as the caller knows it."""
    new: tuple[Record, ...]
    """Records stored by this fetch, in order of time."""
    controls: ControlSet
    megabytes: float
    """Of pixels read. [MB]"""


def ground_key(site: Site) -> str:
    """Key of what is stored of a site: a new outline, start or biome is new ground; a new manager is not."""
    content = site.geometry.normalize().wkb + f"|{site.start}|{site.biome}".encode()
    return hashlib.sha256(content).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the caller knows of a site's store, so that an unchanged one is not read again."""

    snapshot: str
    baselines: dict[str, str]
    """Baseline of each stored acquisition."""


def left_to_do(offered: Sequence[Scene], stored: dict[str, str]) -> list[Scene]:
    """Scenes offered that are not stored, or stored under an older baseline; one an acquisition, the newest.

    `stored` gives the baseline of each stored acquisition.
    """
    have = {acquisition: _baseline(baseline) for acquisition, baseline in stored.items()}
    wanted: dict[str, Scene] = {}
    for scene in offered:
        newest = have.get(scene.acquisition)
        if newest is not None and newest >= _baseline(scene.baseline):
            continue
        rival = wanted.get(scene.acquisition)
        if rival is None or _baseline(rival.baseline) < _baseline(scene.baseline):
            wanted[scene.acquisition] = scene
    return sorted(wanted.values(), key=lambda scene: (scene.time, scene.acquisition))


def fetch(
    site: Site,
    source: Source,
    offered: Sequence[Scene],
    folder: Path,
    *,
    controls: ControlSet | None,
    known: Known | None,
    others: Sequence[BaseGeometry],
) -> Fetched:
    """Store what is offered for a site and not yet stored.

    Parameters
    ----------
    site : Site
        The site.
    source : Source
        Where the scenes are read from.
    offered : sequence of Scene
        What the source offers over the site.
    folder : Path
        Of the site's store.
    controls : ControlSet, optional
        The frozen units; None: choose them from what lies before the start.
    known : Known, optional
        The store as the ledger knows it.
    others : sequence of shapely geometry
        Every other registered site, which control ground must avoid.

    Raises
    ------
    StoreBroken
        What is stored can not be read.
    """
    store = SiteStore(folder)
    lattice = source.grid(site.geometry)
    grid = site_grid(
        site.geometry,
        crs=crs_of(lattice),
        resolution=abs(lattice.resolution.x),
        anchor=(lattice.affine.c, lattice.affine.f),
    )
    if not inside(site.geometry, grid).any():
        pixel = abs(lattice.resolution.x)
        msg = f"site {site.id!r} holds no centre of a pixel of {pixel:g} m: it is too small to be seen"
        raise BadData(msg)
    reader = _Reader(site=site, source=source, grid=grid)
    begun = store.exists
    if controls is None:
        controls = _choose(reader, offered, lattice, others)
    if not begun:
        units = [unit.id for unit in controls.units]
        store.create(site=site.id, grid=grid, units=units, measures=MEASURES)
    snapshot = store.snapshot
    same = known is not None and known.snapshot == snapshot
    stored = known.baselines if same and known else {r.acquisition: r.baseline for r in store.records()}
    new: list[Record] = []
    pieces = blocks(controls.units, lattice)
    for batch in batched(left_to_do(offered, stored), BATCH):
        entries = list(reader.entries(batch, controls.units, pieces))
        snapshot = store.put(entries, f"{len(entries)} scenes of site {site.id}")
        new += [entry.record for entry in entries]
    return Fetched(
        snapshot=snapshot,
        records=None if same and not new else tuple(store.records()),
        new=tuple(new),
        controls=controls,
        megabytes=reader.read / 1e6,
    )


def area(site: Site, source: Source) -> BaseGeometry:
    """Box that holds a site and its control ring, longitude and latitude."""
    left, bottom, right, top = site.geometry.bounds
    north = source.ring[1] / METRES_PER_DEGREE
    east = north / max(math.cos(math.radians(max(abs(bottom), abs(top)))), 0.05)
    return box(left - east, bottom - north, right + east, top + north)


def _baseline(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def _choose(reader: "_Reader", offered: Sequence[Scene], lattice: GeoBox, others: Sequence[BaseGeometry]) -> ControlSet:
    """Choose the units of a new site by how they and the site behaved before the start."""
    site = reader.site
    covered = unary_union([scene.footprint for scene in offered if scene.footprint is not None])
    units = candidates(site.geometry, others, lattice, reader.source.ring, covered=covered)
    pieces = blocks(units, lattice)
    before = [scene for scene in left_to_do(offered, {}) if scene.time.date() < site.start]
    seen: list[xr.DataArray] = []
    ground: list[xr.DataArray] = []
    for batch in batched(before, BATCH):
        read = [(scene, frames) for scene, frames in reader.frames(batch, pieces) if not isinstance(frames, Exception)]
        if not read:
            continue
        chosen = [scene for scene, _ in read]
        seen.append(reader.means(chosen, [frames[0] for _, frames in read], reader.piece).isel(unit=0))
        ground.append(reader.units(chosen, [frames[1:] for _, frames in read], units, pieces))
    if not seen:
        return ControlSet(units=tuple(units[:0]), balance={}, candidates=len(units))
    own, theirs = xr.concat(seen, "time"), xr.concat(ground, "time")
    clear = own.sel(measure="n_pixels") >= SITE_CLEAR * (reader.piece == 0).sum()
    return match(own.where(clear), theirs, units)


class _Reader:
    """Reads scenes for one site and draws its means: what ``fetch`` and the choice of units share."""

    def __init__(self, *, site: Site, source: Source, grid: GeoBox) -> None:
        self.site, self.source, self.grid = site, source, grid
        self.piece = np.where(inside(site.geometry, grid), 0, -1)
        self.endmembers: Endmembers = ENDMEMBERS[site.biome]
        self.read = 0

    def frames(
        self, scenes: Sequence[Scene], pieces: Sequence[tuple[GeoBox, np.ndarray]]
    ) -> Iterator[tuple[Scene, list[Frame] | Exception]]:
        """Frames of the site, then of each block of units, a scene at a time."""
        grids = [self.grid, *(grid for grid, _ in pieces)]
        for scene, frames in zip(scenes, self.source.read(scenes, grids), strict=True):
            if not isinstance(frames, Exception):
                self.read += sum(frame.pixels.nbytes + frame.quality.nbytes for frame in frames)
            yield scene, frames

    def means(self, scenes: Sequence[Scene], frames: Sequence[Frame], piece: np.ndarray) -> xr.DataArray:
        """(time, unit, measure) means of the pieces of one grid."""
        packed = np.stack([pack(frame, scene) for frame, scene in zip(frames, scenes, strict=True)])
        cube = unpack(
            packed,
            frames[0].grid,
            times=[scene.time for scene in scenes],
            scale=[scene.scale for scene in scenes],
            offset=[scene.offset for scene in scenes],
        )
        return means(cube, piece, self.endmembers)

    def units(
        self,
        scenes: Sequence[Scene],
        frames: Sequence[Sequence[Frame]],
        units: Sequence[Unit],
        pieces: Sequence[tuple[GeoBox, np.ndarray]],
    ) -> xr.DataArray:
        """(time, unit, measure) means of control units; all NaN where too little of a unit was seen."""
        found = np.full((len(scenes), len(units), len(MEASURES)), np.nan, dtype=np.float32)
        for index, (_, piece) in enumerate(pieces):
            numbers, piece_of = np.unique(piece[piece >= 0], return_inverse=True)
            renumbered = np.full(piece.shape, -1)
            renumbered[piece >= 0] = piece_of
            size = np.bincount(piece_of)
            values = self.means(scenes, [frame[index] for frame in frames], renumbered).values
            hidden = values[:, :, 0] < UNIT_CLEAR * size
            values[hidden] = np.nan
            found[:, numbers] = values
        coords = {"measure": list(MEASURES)}
        return xr.DataArray(found, dims=("time", "unit", "measure"), coords=coords)

    def entries(
        self, scenes: Sequence[Scene], units: Sequence[Unit], pieces: Sequence[tuple[GeoBox, np.ndarray]]
    ) -> Iterator[Entry]:
        """What is stored of each scene, judged; a scene that can not be read is recorded as rejected."""
        broken: list[tuple[Scene, SceneRejected]] = []
        read: list[tuple[Scene, list[Frame]]] = []
        for scene, frames in self.frames(scenes, pieces):
            if isinstance(frames, SceneRejected):
                broken.append((scene, frames))
            elif isinstance(frames, Exception):
                raise frames
            else:
                read.append((scene, frames))
        if read:
            chosen = [scene for scene, _ in read]
            own = self.means(chosen, [frames[0] for _, frames in read], self.piece).values[:, 0]
            ground = self.units(chosen, [frames[1:] for _, frames in read], units, pieces).values
            for index, (scene, frames) in enumerate(read):
                yield self._entry(scene, frames[0], own[index], ground[index])
        for scene, error in broken:
            pixels = np.zeros((len(LAYERS), *self.grid.shape), dtype=np.uint16)
            nothing = np.full((max(len(units), 1), len(MEASURES)), np.nan, dtype=np.float32)
            yield Entry(
                record=record_of(
                    scene, accepted=False, reason=error.reason, clear_fraction=0.0, n_pixels=0, measures={},
                    digest=digest(pixels, nothing),
                ),
                pixels=pixels,
                units=nothing,
            )  # fmt: skip

    def _entry(self, scene: Scene, frame: Frame, own: np.ndarray, ground: np.ndarray) -> Entry:
        total = int((self.piece == 0).sum())
        n = int(own[0])
        seen = int(np.isfinite(ground[:, MEASURES.index("cover")]).sum())
        needed = min(ENOUGH, math.ceil(UNIT_CLEAR * len(ground)))
        reason = ""
        if n < SITE_CLEAR * total:
            reason = why_unseen(frame.quality, scene.quality, self.piece == 0)
        elif seen < needed:
            reason = "CONTROL_HIDDEN"
        measures: dict[str, float | None] = {"n_units": float(seen)}
        if not reason:
            for index, name in enumerate(MEASURES[1:], start=1):
                measures[name] = _rounded(own[index])
                known = ground[:, index][np.isfinite(ground[:, index])].astype(np.float64)
                measures[f"control_{name}"] = _rounded(known.mean()) if known.size else None
        pixels = pack(frame, scene)
        if not len(ground):
            ground = np.full((1, len(MEASURES)), np.nan, dtype=np.float32)
        return Entry(
            record=record_of(
                scene, accepted=not reason, reason=reason, clear_fraction=round(n / total, 4), n_pixels=n,
                measures=measures, digest=digest(pixels, ground),
            ),
            pixels=pixels,
            units=ground,
        )  # fmt: skip


def _rounded(value: float) -> float | None:
    """Six decimals: what is judged is exactly what the tables show."""
    return round(float(value), 6) if np.isfinite(value) else None
