"""Observe sites and control units in scenes: a lazy Dataset, from the source to zonal means.

A dask task reads the pixels of one scene; zonal means are functions on DataArrays. Nothing is read before the Dataset
is computed, by any scheduler. What cannot be read is part of the result, so that one broken file, or one broken block,
stops neither the other scenes nor the other sites.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import repeat
from math import isfinite
from typing import Final, NamedTuple, Protocol

import dask.array as da
import numpy as np
import xarray as xr
from dask import delayed
from odc.geo.geobox import GeoBox

from monitor.cover.fraction import Endmembers
from monitor.cover.zonal_means import zonal_means
from monitor.cube import masks
from monitor.cube.grid import crs_of
from monitor.cube.layout import UNIT_BLOCK_SIDE, PixelLayout
from monitor.cube.packed import PACKED_LAYERS, pack
from monitor.cube.records import MEASURES
from monitor.errors import BROKEN_SCENE, UNANSWERED_FILE, SceneRejected, TryLater
from monitor.imagery import bands
from monitor.imagery.source import Frame, Scene, Source

MIN_UNIT_CLEAR: Final = 0.6  # least clear share of a unit that counts in a scene [1]
SERVER_BATCH_SCENES: Final = 32  # scenes of one task where the provider averages the units: many go into one request


class Refusal(NamedTuple):
    """Why a scene cannot be used for a site."""

    reason: str  # the code that is stored for it, see monitor.errors
    why: str  # explanation for people


class SourceLookup(Protocol):
    """The sources of a run, in whatever process a task runs."""

    read_failures: dict[str, str]  # error of the source that failed to read scenes, by name of the layout

    def by_name(self, name: str) -> Source:
        """The source with this name."""

    def scene_read(self) -> None:
        """Called after each scene that is read, in the process where a task runs."""


def needs_bandpass(scene: Scene, grid: GeoBox) -> bool:
    """Whether a scene is adjusted to the bands of Sentinel-2: a Landsat scene on the pixels of Sentinel-2."""
    return bands.is_adjusted_to_msi(scene.sensor, scene.quality, abs(grid.resolution.x))


def observe(
    sources: SourceLookup, source: Source, scenes: Sequence[Scene], layout: PixelLayout, endmembers: Endmembers
) -> xr.Dataset:
    """Pixels of sites, and zonal means of sites and units, in scenes of one source and one family of sensors; lazy.

    `sources` finds the source in the process where a task runs. The Dataset has

    - ``pixels`` (time, band, pixel) uint16: :data:`monitor.cube.packed.PACKED_LAYERS` of the pixels inside the sites;
    - ``site_means`` (time, site, measure) and ``unit_means`` (time, unit, measure) float32: measures of
      :data:`monitor.cube.records.MEASURES`, NaN where nothing was seen, or less than MIN_UNIT_CLEAR of a unit, which
      then has the count alone;
    - ``refused`` (time, site): a :class:`Refusal`, or None.
    """
    cube = _cube(sources, source, scenes, layout, endmembers)
    how = {"scale": cube.scale, "offset": cube.offset, "endmembers": endmembers}
    site_means = zonal_means(cube.pixels, layout.sites, **how).rename(zone="site")
    if not len(layout.unit_sizes):
        nothing = np.zeros((len(scenes), 0, len(MEASURES)), np.float32)
        unit_means = xr.DataArray(nothing, dims=("time", "unit", "measure"), coords={"measure": list(MEASURES)})
        return cube[["pixels", "refused"]].assign(site_means=site_means, unit_means=unit_means)
    if source.reduces_on_server:
        unit_means = cube.averaged
    else:
        unit_means = zonal_means(cube.block_pixels.rename(block_pixel="pixel"), layout.units, **how).rename(zone="unit")
    unit_means = xr.apply_ufunc(
        _seen_enough, unit_means, kwargs={"least": MIN_UNIT_CLEAR * layout.unit_sizes}, input_core_dims=[["unit",
        "measure"]], output_core_dims=[["unit", "measure"]], dask="parallelized", output_dtypes=[np.float32],
    )  # fmt: skip
    # Depends on the means, so that the blocks of a scene are freed before those of the next are read.
    pixels = xr.apply_ufunc(
        _in_turn, cube.pixels, unit_means, input_core_dims=[["band", "pixel"], ["unit", "measure"]],
        output_core_dims=[["band", "pixel"]], dask="parallelized", output_dtypes=[np.uint16],
    )  # fmt: skip
    return cube[["refused"]].assign(pixels=pixels, site_means=site_means, unit_means=unit_means)


def _seen_enough(means: np.ndarray, *, least: np.ndarray) -> np.ndarray:
    """(..., unit, measure) means, but for the count NaN where that is less than (unit,) `least`."""
    known = (means[..., :1] >= least[:, None]) | (np.arange(means.shape[-1]) == 0)
    return np.where(known, means, np.float32(np.nan))


def _in_turn(pixels: np.ndarray, _: np.ndarray) -> np.ndarray:
    return pixels


def unusable_reason(scene: Scene) -> str | None:
    """Why no pixel of a scene can be used, judged by its metadata; None: it can."""
    if not (isfinite(scene.scale) and isfinite(scene.offset) and scene.scale > 0):
        return f"scene {scene.id!r}: reflectance = {scene.scale} * integer + {scene.offset} is no reflectance"
    if scene.quality not in masks.QUALITY_LAYERS:
        known = ", ".join(masks.QUALITY_LAYERS)
        return f"scene {scene.id!r}: its quality layer is of kind {scene.quality!r}; known are {known}"
    return None


def scale_and_offset(scenes: Sequence[Scene], grid: GeoBox) -> tuple[np.ndarray, np.ndarray]:
    """Scale and offset, (scene, band) each, of :func:`band_scales`; 1 and 0 for a scene that cannot be used. [1]"""
    used = [not unusable_reason(scene) for scene in scenes]
    own = [(scene.scale, scene.offset) if good else (1.0, 0.0) for scene, good in zip(scenes, used, strict=True)]
    bandpass = [good and needs_bandpass(scene, grid) for scene, good in zip(scenes, used, strict=True)]
    return band_scales([scale for scale, _ in own], [offset for _, offset in own], bandpass)


def band_scales(
    scale: Sequence[float], offset: Sequence[float], bandpass: Sequence[bool]
) -> tuple[np.ndarray, np.ndarray]:
    """Scale and offset, (scene, band) float64 each, from those of the scenes: reflectance = scale * integer + offset.

    Bands are :data:`monitor.imagery.bands.OBSERVED`; `bandpass`: whether a scene is adjusted from those of Landsat to
    those of Sentinel-2. [1]
    """
    both = [
        [bands.scaled_to_msi(band, *own) if adjusted else own for band in bands.OBSERVED]
        for *own, adjusted in zip(scale, offset, bandpass, strict=True)
    ]
    scales, offsets = np.moveaxis(np.array(both, np.float64).reshape(-1, len(bands.OBSERVED), 2), -1, 0)
    return scales, offsets


def _cube(
    sources: SourceLookup, source: Source, scenes: Sequence[Scene], layout: PixelLayout, endmembers: Endmembers
) -> xr.Dataset:
    """The scenes as read: ``pixels``, ``refused``, and ``block_pixels`` (time, band, block_pixel) of the
    blocks that hold the units, or else ``averaged`` (time, unit, measure) as the provider averages them.
    """
    kind: type[np.generic] = np.uint16
    size, name, dims = 1, "block_pixels", ("band", "block_pixel")
    around: tuple[int, ...] = (len(PACKED_LAYERS), int(layout.first_block_pixel[-1]))
    if source.reduces_on_server:
        size, name, dims, kind = SERVER_BATCH_SCENES, "averaged", ("unit", "measure"), np.float32
        around = (len(layout.unit_sizes), len(MEASURES))
    shapes = ((len(PACKED_LAYERS), int(layout.sites.sizes.sum())), around, (len(layout.grids),))
    # Once each in the graph: a layout of thousands of units is large.
    known = [delayed(one, pure=False, traverse=False) for one in (sources, layout, endmembers)]
    columns: list[list[da.Array]] = [[], [], []]
    for first in range(0, len(scenes), size):
        batch = list(scenes[first : first + size])
        read = delayed(partial(_read, source.name, batch), pure=False, nout=3, traverse=False)(*known)
        for column, part, shape, dtype in zip(columns, read, shapes, (np.uint16, kind, object), strict=True):
            column.append(da.from_delayed(part, (len(batch), *shape), dtype))
    pixels, units, refused = (da.concatenate(column) for column in columns)
    scale, offset = scale_and_offset(scenes, layout.grids[0])
    chunks = pixels.chunks[0]
    cube = xr.Dataset(
        {
            "pixels": (("time", "band", "pixel"), pixels), name: (("time", *dims), units),
            "refused": (("time", "site"), refused),
            "scale": (("time", "observed"), da.from_array(scale, chunks=(chunks, -1))),
            "offset": (("time", "observed"), da.from_array(offset, chunks=(chunks, -1))),
        },
        coords={"scene": ("time", [scene.id for scene in scenes])},
    )  # fmt: skip
    return cube.assign_coords(measure=list(MEASURES)) if source.reduces_on_server else cube


def _read(
    name: str, scenes: Sequence[Scene], sources: SourceLookup, layout: PixelLayout, endmembers: Endmembers
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read scenes: (scene, band, pixel) of the sites, the same of the blocks or the means of the units, refusals."""
    source, many = sources.by_name(name), len(layout.grids)
    pixels = np.zeros((len(scenes), len(PACKED_LAYERS), int(layout.sites.sizes.sum())), np.uint16)
    blocks = np.zeros((len(scenes), len(PACKED_LAYERS), int(layout.first_block_pixel[-1])), np.uint16)
    refused = np.full((len(scenes), many), None, object)
    means = np.full((len(scenes), len(layout.unit_sizes), len(MEASURES)), np.nan, np.float32)
    k = 0
    try:
        if layout.name in sources.read_failures:
            raise TryLater(sources.read_failures[layout.name])
        grids = [*layout.grids, *layout.blocks]
        order = sorted(range(len(grids)), key=lambda piece: _along(grids[piece]))
        stream = iter(source.read(scenes, [grids[piece] for piece in order]))
        averaged = _averaged(source, scenes, layout, endmembers) if source.reduces_on_server else repeat(means[0])
        for k, scene in enumerate(scenes):
            try:
                frames, averages = next(stream, None), next(averaged, None)
                if (why := unusable_reason(scene)) or frames is None or averages is None:
                    raise SceneRejected(BROKEN_SCENE, why or f"scene {scene.id!r}: its source returned nothing")
                if isinstance(averages, SceneRejected):
                    raise averages
                if isinstance(frames, SceneRejected):
                    raise frames
                means[k] = averages
                _take(scene, frames, layout, order, pixels[k], blocks[k])
            except SceneRejected as error:
                refusals: list[Refusal | None] = [Refusal(error.reason, str(error))] * many
                if error.reason == BROKEN_SCENE and len(grids) > 1 and not unusable_reason(scene):
                    refusals = _piecewise(source, scene, layout, pixels[k], blocks[k])
                for site, one in enumerate(refusals):
                    refused[k, site] = one
            sources.scene_read()
    except TryLater as error:
        sources.read_failures[layout.name] = str(error)
        for place in np.ndindex(len(scenes) - k, many):
            refused[k + place[0], place[1]] = Refusal(UNANSWERED_FILE, str(error))
    return pixels, means if source.reduces_on_server else blocks, refused


def _take(
    scene: Scene, frames: Iterable[Frame], layout: PixelLayout, order: Sequence[int], pixels: np.ndarray,
    blocks: np.ndarray,
) -> None:  # fmt: skip
    """Copy the frames of a scene, of the grids in `order`, to their places in `pixels` and `blocks`."""
    grids, sites = [*layout.grids, *layout.blocks], len(layout.grids)
    given = iter(frames)
    for piece in order:
        frame, shape = next(given, None), tuple(grids[piece].shape)
        if frame is None:
            raise SceneRejected(BROKEN_SCENE, f"scene {scene.id!r}: its source gives fewer grids than requested")
        layers = ("pixels", frame.pixels, (len(bands.OBSERVED), *shape)), ("quality", frame.quality, shape)
        for what, got, expected in layers:
            if got.shape != expected or got.dtype != np.uint16:
                msg = f"scene {scene.id!r}: its {what} are {got.dtype} {got.shape}; requested were uint16 {expected}"
                raise SceneRejected(BROKEN_SCENE, msg)
        packed = pack(frame, scene)
        if piece < sites:
            first, stop, _ = layout.sites.runs[piece]
            pixels[:, first:stop] = packed[:, layout.inside[piece]]
        else:
            first, stop = layout.first_block_pixel[piece - sites : piece - sites + 2]
            blocks[:, first:stop] = packed.reshape(len(PACKED_LAYERS), -1)


def _piecewise(
    source: Source, scene: Scene, layout: PixelLayout, pixels: np.ndarray, blocks: np.ndarray
) -> list[Refusal | None]:
    """Read a partly broken scene grid by grid; it is refused for sites with pixels or units in a broken grid."""
    sites = len(layout.grids)
    why: dict[int, Refusal] = {}
    for piece, grid in enumerate((*layout.grids, *layout.blocks)):
        try:
            frames = next(iter(source.read([scene], [grid])), ())
            if isinstance(frames, SceneRejected):
                raise frames
            _take(scene, frames, layout, [piece], pixels, blocks)
        except SceneRejected as error:
            why[piece] = Refusal(error.reason, str(error))
    refusals: list[Refusal | None] = []
    stops = layout.first_block_pixel[1:]
    for site in range(sites):
        units = range(*layout.first_unit[site : site + 2])
        starts = layout.units.runs[layout.units.edges[units.start] : layout.units.edges[units.stop], 0]
        mine = {site, *(sites + np.unique(np.searchsorted(stops, starts, side="right"))).tolist()}
        refusals.append(next((why[piece] for piece in sorted(mine & why.keys())), None))
    return refusals


def _averaged(
    source: Source, scenes: Sequence[Scene], layout: PixelLayout, endmembers: Endmembers
) -> Iterator[np.ndarray | SceneRejected]:
    """Means of the units of all sites, averaged by the provider; the first requests are sent before it returns."""
    from monitor.cover.earthengine import recipe  # brings the provider's client with it

    streams = []
    for grid, units in zip(layout.grids, layout.unit_geometries, strict=True):
        layers = recipe(endmembers, bandpass=any(needs_bandpass(scene, grid) for scene in scenes))
        if units:
            streams.append(source.reduce(scenes, units, grid, layers))

    def together(means: Sequence[np.ndarray | SceneRejected]) -> np.ndarray | SceneRejected:
        refused = next((one for one in means if isinstance(one, SceneRejected)), None)
        nothing = np.empty((0, len(MEASURES)), np.float32)
        return refused or np.concatenate([nothing, *(np.asarray(one, np.float32) for one in means)])

    return map(together, zip(*streams, strict=True) if streams else repeat((), len(scenes)))


def _along(grid: GeoBox) -> tuple[str, int, float]:
    """Order from north to south, sites among blocks, so that few of a provider's blocks are in memory at a time."""
    return str(crs_of(grid)), -int(grid.affine.f // UNIT_BLOCK_SIDE), grid.affine.c
