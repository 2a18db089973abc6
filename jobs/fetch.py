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
from monitor.imagery.source import Scene, Source
from monitor.sites.site import Site

BATCH = 32
"""Scenes read and committed together: bounds memory, and what a killed backfill has to do again."""
FEWEST = 10
"""A site of fewer pixels is too small for its mean to mean anything: no scene of it counts. [pixel]"""
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
        The frozen units; None: those the store was made with, else chosen from what lies before the start.
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
    begun = store.exists
    if controls is None:
        controls = ControlSet.from_json(store.controls) if begun else _choose(site, source, offered, grid, others)
    reader = _Reader(site, source, grid, controls.units)
    if not begun:
        units = [unit.id for unit in controls.units]
        store.create(site=site.id, grid=grid, units=units, measures=MEASURES, controls=controls.to_json())
    snapshot = store.snapshot
    same = known is not None and known.snapshot == snapshot
    stored = known.baselines if same and known else {r.acquisition: r.baseline for r in store.records()}
    new: list[Record] = []
    for batch in batched(left_to_do(offered, stored), BATCH):
        entries = list(reader.entries(batch))
        snapshot = store.put(entries, f"{len(entries)} scenes of site {site.id}")
        new += [entry.record for entry in entries]
    return Fetched(
        snapshot=snapshot,
        records=None if same and not new else tuple(store.records()),
        new=tuple(new),
        controls=controls,
        megabytes=reader.bytes_read / 1e6,
    )


def area(site: Site, source: Source) -> BaseGeometry:
    """Box that holds a site and its control ring, longitude and latitude."""
    left, bottom, right, top = site.geometry.bounds
    north = source.ring[1] / METRES_PER_DEGREE
    east = north / max(math.cos(math.radians(max(abs(bottom), abs(top)))), 0.05)
    return box(left - east, bottom - north, right + east, top + north)


def _baseline(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def _choose(
    site: Site, source: Source, offered: Sequence[Scene], grid: GeoBox, others: Sequence[BaseGeometry]
) -> ControlSet:
    """Choose the units of a new site by how they and the site behaved before the start."""
    covered = unary_union([scene.footprint for scene in offered if scene.footprint is not None])
    units = candidates(site.geometry, others, grid, source.ring, covered=covered)
    reader = _Reader(site, source, grid, units)
    before = [scene for scene in left_to_do(offered, {}) if scene.time.date() < site.start]
    seen: list[xr.DataArray] = []
    for batch in batched(before, BATCH):
        read = [looked for looked in reader.read(batch) if isinstance(looked, _Looked)]
        if read:
            seen.append(reader.means(read))
    if not seen:
        return ControlSet(units=(), balance={}, candidates=len(units))
    together = xr.concat(seen, "time")
    own, ground = together.isel(unit=0), together.isel(unit=slice(1, None))
    return match(own.where(own.sel(measure="n_pixels") >= SITE_CLEAR * reader.sizes[0]), ground, units)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Looked:
    """One scene as read for one site."""

    scene: Scene
    packed: np.ndarray
    """(layer, y, x) uint16 on the site's grid."""
    pixels: np.ndarray
    """(layer, pixel) uint16: the pixels of the site, then of its units."""


class _Reader:
    """Reads scenes for a site and the given units, and draws their means: what choosing and storing share."""

    def __init__(self, site: Site, source: Source, grid: GeoBox, units: Sequence[Unit]) -> None:
        self.source = source
        self.endmembers: Endmembers = ENDMEMBERS[site.biome]
        self.units = units
        self.ground = inside(site.geometry, grid)
        pieces = [(grid, np.where(self.ground, 0, -1))]
        pieces += [(block, np.where(piece >= 0, piece + 1, -1)) for block, piece in blocks(units, grid)]
        self.grids = [grid for grid, _ in pieces]
        self.places = [np.flatnonzero(piece >= 0) for _, piece in pieces]
        self.labels = np.concatenate([piece[piece >= 0] for _, piece in pieces])
        self.sizes = np.bincount(self.labels, minlength=len(units) + 1)
        self.bytes_read = 0

    def read(self, scenes: Sequence[Scene]) -> Iterator[_Looked | tuple[Scene, SceneRejected]]:
        """Each scene in turn, or why it can not be read."""
        for scene, frames in zip(scenes, self.source.read(scenes, self.grids), strict=True):
            if isinstance(frames, SceneRejected):
                yield scene, frames
                continue
            if isinstance(frames, Exception):
                raise frames
            self.bytes_read += sum(frame.pixels.nbytes + frame.quality.nbytes for frame in frames)
            packed = [pack(frame, scene) for frame in frames]
            chosen = [one.reshape(len(LAYERS), -1)[:, place] for one, place in zip(packed, self.places, strict=True)]
            yield _Looked(scene=scene, packed=packed[0], pixels=np.concatenate(chosen, axis=1))

    def means(self, looked: Sequence[_Looked]) -> xr.DataArray:
        """(time, unit, measure) means: of the site first; all NaN but the count where too little of a unit was seen."""
        cube = unpack(
            np.stack([one.pixels for one in looked]),
            ("pixel",),
            times=[one.scene.time for one in looked],
            scale=[one.scene.scale for one in looked],
            offset=[one.scene.offset for one in looked],
        )
        found = means(cube, xr.DataArray(self.labels, dims="pixel"), self.endmembers)
        enough = found.sel(measure="n_pixels", drop=True) >= UNIT_CLEAR * xr.DataArray(self.sizes, dims="unit")
        enough[:, 0] = True
        return found.where(enough | (found["measure"] == "n_pixels"))

    def entries(self, scenes: Sequence[Scene]) -> Iterator[Entry]:
        """What is stored of each scene, judged; a scene that can not be read is recorded as rejected."""
        read = list(self.read(scenes))
        looked = [one for one in read if isinstance(one, _Looked)]
        if looked:
            found = self.means(looked).transpose("time", "unit", "measure").values
            for one, values in zip(looked, found, strict=True):
                yield self._entry(one, values[0], values[1:])
        for other in read:
            if not isinstance(other, _Looked):
                scene, error = other
                pixels = np.zeros((len(LAYERS), *self.ground.shape), dtype=np.uint16)
                yield self._judged(scene, pixels, self._nothing(), n=0, reason=error.reason, measures={})

    def _entry(self, one: _Looked, own: np.ndarray, ground: np.ndarray) -> Entry:
        n = int(own[0])
        seen = int(np.isfinite(ground[:, MEASURES.index("cover")]).sum())
        reason = ""
        if self.sizes[0] < FEWEST:
            reason = "FEW_PIXELS"
        elif n < SITE_CLEAR * self.sizes[0]:
            reason = why_unseen(one.packed[LAYERS.index("quality")], one.scene.quality, self.ground)
        elif seen < ENOUGH:
            reason = "CONTROL_HIDDEN" if len(self.units) >= ENOUGH else "CONTROL_POOR"
        measures: dict[str, float | None] = {"n_units": float(seen)}
        if not reason:
            for index, name in enumerate(MEASURES[1:], start=1):
                measures[name] = _rounded(own[index])
                known = ground[:, index][np.isfinite(ground[:, index])].astype(np.float64)
                measures[f"control_{name}"] = _rounded(known.mean()) if known.size else None
        units = ground if len(self.units) else self._nothing()
        return self._judged(one.scene, one.packed, units, n=n, reason=reason, measures=measures)

    def _judged(
        self,
        scene: Scene,
        pixels: np.ndarray,
        units: np.ndarray,
        *,
        n: int,
        reason: str,
        measures: dict[str, float | None],
    ) -> Entry:
        record = record_of(
            scene,
            accepted=not reason,
            reason=reason,
            clear_fraction=round(n / int(self.sizes[0]), 4),
            n_pixels=n,
            measures=measures,
            digest=digest(pixels, units),
        )
        return Entry(record=record, pixels=pixels, units=units)

    def _nothing(self) -> np.ndarray:
        return np.full((max(len(self.units), 1), len(MEASURES)), np.nan, dtype=np.float32)


def _rounded(value: float) -> float | None:
    """Six decimals: what is judged is exactly what the tables show."""
    return round(float(value), 6) if np.isfinite(value) else None
