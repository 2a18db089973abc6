"""Read one scene of GeoTIFFs on many grids; each block is fetched and decoded once for all grids that need it.

Values are taken as :mod:`monitor.imagery.stac.grid_index` describes. Pixels outside a file are 0.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Executor, Future, wait
from dataclasses import dataclass, field
from typing import Any, Final, cast

import numpy as np
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox

from monitor.errors import BROKEN_SCENE, WRONG_RADIOMETRY, SceneRejected
from monitor.imagery import bands
from monitor.imagery.source import Frame
from monitor.imagery.stac import blocks
from monitor.imagery.stac.assets import ItemAsset
from monitor.imagery.stac.blocks import BlockRun, Reader, TileLayout, file_rejected
from monitor.imagery.stac.grid_index import GridIndex, GridIndexes, crs_name
from monitor.imagery.transport import TransferCounts

MAX_FILE_AHEAD_BYTES: Final = 32 << 20  # most decoded blocks of a file requested before a grid needs them [byte]
MAX_AHEAD_BYTES: Final = 256 << 20  # most decoded blocks of all scenes requested before a grid needs them [byte]
INTEGER_TYPES: Final = ("uint16", "int16")  # data types of reflectance as delivered
FMASK_NO_VALUE: Final = 255  # fill value of Fmask
TRANSFORM_TOLERANCE: Final = 1e-6  # greatest difference of equal transforms, for each pixel of the file [pixel]


class BlockBudget:
    """Bytes of blocks that the scenes of a call may hold before a grid needs them, which limits memory."""

    def __init__(self) -> None:
        self._free = MAX_AHEAD_BYTES
        self._lock = threading.Lock()

    def take(self, size: int, *, required: bool) -> bool:
        """Reserve bytes, beyond the budget if `required`; False if they are not available. [byte]"""
        with self._lock:
            if not required and size > self._free:
                return False
            self._free -= size
            return True

    def give_back(self, size: int) -> None:
        """Release reserved bytes. [byte]"""
        with self._lock:
            self._free += size


@dataclass(slots=True, kw_only=True, eq=False)
class _Layer:
    """One file of a scene while it is read."""

    asset: ItemAsset
    reader: Reader
    layout: TileLayout = field(init=False)
    indexes: list[GridIndex] = field(default_factory=list)  # index of each grid
    order: list[int] = field(default_factory=list)  # numbers of the needed blocks, by their first use
    uses: dict[int, int] = field(default_factory=dict)  # number of grids that still need each block
    requested: dict[int, Future[dict[int, np.ndarray]]] = field(default_factory=dict)
    """Requested blocks that are not in `decoded` yet, each with the request that fetches it."""
    decoded: dict[int, np.ndarray] = field(default_factory=dict)  # pixels of blocks that grids still need
    ahead: set[int] = field(default_factory=set)  # requested blocks that no grid has used yet
    next: int = 0  # position in `order` of the first block that is not requested yet
    error: SceneRejected | None = None  # what is wrong with the file according to its header


@dataclass(kw_only=True, eq=False)
class SceneReader:
    """One scene being read; its headers and first blocks are requested when this object is created."""

    readers: Sequence[tuple[ItemAsset, Reader] | None]  # of `bands.OBSERVED`, then the quality layer; None: missing
    indexes: GridIndexes  # the grids to read on
    epsg: int | None  # EPSG code that the item states
    quality: str  # kind of the quality layer, see `monitor.imagery.source.Scene`
    read_layout: Callable[[Any], TileLayout]  # see `monitor.imagery.stac.blocks.read_layout`
    workers: Executor  # fetches and decodes; a task is a header or a run of blocks
    budget: BlockBudget  # shared by the scenes of a call
    transfers: TransferCounts  # counts the bytes that are decoded and used
    cancelled: threading.Event  # set when the scene is no longer needed, so that requests in other threads end soon

    def __post_init__(self) -> None:
        self._requesting = threading.RLock()  # reentrant: a garbage-collected generator may call close() within
        self._layers = [None if one is None else _Layer(asset=one[0], reader=one[1]) for one in self.readers]
        self._present = [layer for layer in self._layers if layer is not None]
        self._opening = [self.workers.submit(self._open, layer) for layer in self._present]

    def wait_for_headers(self) -> None:
        """Wait until the headers are read.

        Raises SceneRejected: ``BROKEN`` if a file is not a GeoTIFF, or differs from what the item states,
        ``RADIOMETRY`` if its values are not integers as delivered.
        """
        try:
            _wait(self._opening)
            for layer in self._present:
                if layer.error is not None:
                    raise layer.error
            if len({crs_name(layer.layout) for layer in self._present}) > 1:
                raise SceneRejected(BROKEN_SCENE, "its files are in different coordinate systems")
        except BaseException:
            self.close()
            raise

    def frames(self) -> Iterator[Frame]:
        """The scene on each grid in turn, each read on demand; call :meth:`wait_for_headers` first.

        Raises SceneRejected (``BROKEN``) if a block cannot be read or decoded.
        """
        frames = self._frames()
        next(frames)  # started, so that dropping the generator closes the scene
        return cast("Iterator[Frame]", frames)

    def read_ahead(self) -> None:
        """Request more blocks if the budget allows."""
        for layer, opening in zip(self._present, self._opening, strict=True):
            if opening.done() and not opening.cancelled() and opening.exception() is None and layer.error is None:
                self._request(layer, set())

    def close(self) -> None:
        """Cancel all requests and release their memory."""
        with self._requesting:
            self.cancelled.set()
            for layer in self._present:
                for request in layer.requested.values():
                    request.cancel()
                self._release(layer, layer.ahead)
        for opening in self._opening:
            opening.cancel()

    def _frames(self) -> Iterator[Frame | None]:
        try:
            yield None
            for number, grid in enumerate(self.indexes.grids):
                missing = [
                    (layer, {b for b in layer.indexes[number].blocks if b not in layer.decoded})
                    for layer in self._present
                ]
                for layer, needed in missing:
                    self._request(layer, {b for b in needed if b not in layer.requested})
                _wait([layer.requested[b] for layer, needed in missing for b in needed if b in layer.requested])
                for layer, needed in missing:
                    for b in needed.intersection(layer.requested):
                        layer.decoded[b] = layer.requested.pop(b).result()[b]
                    self._release(layer, layer.ahead.intersection(layer.indexes[number].blocks))
                yield self._frame(grid, number)
        finally:
            self.close()

    def _open(self, layer: _Layer) -> None:
        """Read the header of a file, and request its first blocks."""
        layer.layout = self.read_layout(layer.reader)
        try:
            _check_header(layer, self.epsg, is_quality=layer is self._layers[-1])
        except SceneRejected as error:
            layer.error = error
            return
        layer.indexes = self.indexes.of(layer.layout)
        for index in layer.indexes:
            for b in index.blocks:
                layer.uses[b] = layer.uses.get(b, 0) + 1
        layer.order = list(layer.uses)
        blocks.locate_blocks(layer.reader, layer.layout, layer.order)
        self._request(layer, set())

    def _request(self, layer: _Layer, needed: set[int]) -> None:
        """Request blocks in the order of use: up to the needed ones, and ahead as far as the budget allows.

        Nothing is requested ahead while half of the file's share is unused, so that neighbours are fetched together.
        """
        size = layer.layout.block_bytes
        with self._requesting:
            if self.cancelled.is_set() or (not needed and len(layer.ahead) * size > MAX_FILE_AHEAD_BYTES // 2):
                return
            chosen: list[int] = []
            while layer.next < len(layer.order):
                if not needed and (len(layer.ahead) + 1) * size > MAX_FILE_AHEAD_BYTES:
                    break
                if not self.budget.take(size, required=bool(needed)):
                    break
                block = layer.order[layer.next]
                layer.next += 1
                chosen.append(block)
                layer.ahead.add(block)
                needed.discard(block)
            first = layer.layout.first_block(layer.asset.band)
            for b in chosen:
                if layer.layout.sizes[first + b] <= 0:  # never written: no value
                    empty = np.zeros((1, 1), dtype=layer.layout.dtype)
                    layer.decoded[b] = np.broadcast_to(empty, layer.layout.block)
            for run in blocks.block_runs(layer.layout, [first + b for b in chosen]):
                request = self.workers.submit(self._load, layer, run, first)
                layer.requested.update((number - first, request) for *_, number in run)

    def _load(self, layer: _Layer, run: BlockRun, first: int) -> dict[int, np.ndarray]:
        """Pixels of the blocks of one request; `first` is the number of the first block of the band."""
        layout, band = layer.layout, layer.asset.band
        stored = blocks.fetch_run(layer.reader, run)
        decoded = blocks.decode_blocks(layout, stored, band=band, name=layer.reader.name)
        size = sum(pixels.nbytes for pixels in decoded.values())
        self.transfers.add(bytes_decoded=size * (1 if layout.planar else layout.samples))
        return {number - first: pixels for number, pixels in decoded.items()}

    def _release(self, layer: _Layer, used: set[int]) -> None:
        """Return the bytes of blocks that are in use, or no longer needed, to the budget."""
        if used:
            self.budget.give_back(len(used) * layer.layout.block_bytes)
            layer.ahead = layer.ahead - used

    def _frame(self, grid: GeoBox, number: int) -> Frame:
        pixels = np.zeros((len(bands.OBSERVED), *grid.shape), dtype=np.uint16)
        for index, layer in enumerate(self._layers[:-1]):
            if layer is not None:
                cut = self._cut(layer, number)
                pixels[index] = _reflectance(cut, layer.asset.factor, layer.layout.nodata, layer.asset.nodata)
        last = self._layers[-1]
        assert last is not None
        quality = self._cut(last, number)
        if self.quality == "none":
            quality = pixels[bands.OBSERVED.index("red")]
        elif quality.dtype.kind == "f":
            quality = np.where(np.isfinite(quality) & (quality > 0), quality, 0)
            if (quality != np.rint(quality)).any():
                raise file_rejected(last.reader.name, "holds classes between whole numbers: scaled or interpolated")
        if quality.dtype != np.uint8:
            quality = quality.astype(np.uint16)
        if self.quality == "fmask":
            empty = quality == FMASK_NO_VALUE
            pixels[:, empty] = bands.NODATA
            quality = np.where(empty, 0, quality)
        return Frame(grid=grid, pixels=pixels, quality=quality.astype(np.uint16))

    def _cut(self, layer: _Layer, number: int) -> np.ndarray:
        """Pixels of a file on a grid; blocks that no other grid needs are dropped."""
        index = layer.indexes[number]
        separable = index.rows.ndim == 1
        rows, columns = (index.rows, index.columns) if separable else (index.rows.ravel(), index.columns.ravel())
        shape = (rows.size, columns.size) if separable else index.rows.shape
        cut = np.zeros(shape if separable else rows.size, dtype=layer.layout.dtype)
        height, width = layer.layout.block
        block_rows, block_columns = rows // height, columns // width  # -1 // n is -1: outside
        for b in index.blocks:
            down, right = divmod(b, layer.layout.grid[1])
            block = layer.decoded[b]
            if separable:
                here, there = np.flatnonzero(block_rows == down), np.flatnonzero(block_columns == right)
                cut[np.ix_(here, there)] = block[np.ix_(rows[here] - down * height, columns[there] - right * width)]
            else:
                here = np.flatnonzero((block_rows == down) & (block_columns == right))
                cut[here] = block[rows[here] - down * height, columns[here] - right * width]
            layer.uses[b] -= 1
            if not layer.uses[b]:
                del layer.decoded[b]
        self.transfers.add(bytes_used=index.pixels_used * cut.itemsize)
        return cut.reshape(shape)


def _wait(tasks: Sequence[Future[Any]]) -> None:
    """Wait for all tasks; an error is raised as soon as one fails, not in the order of the tasks."""
    done, _ = wait(tasks, return_when=FIRST_EXCEPTION)
    for task in tasks:
        if task in done:
            task.result()


def _reflectance(cut: np.ndarray, factor: float | None, *nodata: float | None) -> np.ndarray:
    """Integers as delivered, or floats times their factor; 0 where there is no value, also for negative reflectance.

    Where nothing states a value for no data, the largest int16 is one (some exports write no tag), or a number that was
    cut off: never a measurement.
    """
    empty = ~(cut > 0)
    if cut.dtype == np.int16 and set(nodata) == {None}:
        empty |= cut == np.iinfo(np.int16).max
    for value in nodata:
        if value is not None:
            empty |= cut == value
    if factor is not None:
        cut = np.rint(np.where(empty, 0, cut.astype(np.float64)) * factor)
        empty |= cut >= bands.SATURATED
    return np.where(empty, bands.NODATA, cut).astype(np.uint16)


def _check_header(layer: _Layer, epsg: int | None, *, is_quality: bool) -> None:
    """Compare a file with what the item states."""
    asset, layout, name = layer.asset, layer.layout, layer.reader.name
    if not layout.wkt:
        raise file_rejected(name, "names no coordinate system")
    if epsg is not None and layout.epsg != epsg and CRS(layout.wkt) != CRS(f"EPSG:{epsg}"):
        raise file_rejected(name, f"is in {crs_name(layout)[:60]}, where the item says EPSG:{epsg}")
    if asset.shape is not None and asset.shape != layout.shape:
        raise file_rejected(name, f"has {layout.shape} pixels, where the item says {asset.shape}")
    if asset.transform is not None:
        stated = Affine(*asset.transform)
        corners = [(0.0, 0.0), (float(layout.shape[1]), float(layout.shape[0]))]
        pixel = abs(layout.transform.a) or abs(layout.transform.b)
        apart = max(
            abs(a - b) for corner in corners for a, b in zip(stated @ corner, layout.transform @ corner, strict=True)
        )
        if not apart <= TRANSFORM_TOLERANCE * pixel * max(layout.shape):
            raise file_rejected(name, f"is elsewhere than the item says, by {apart:g}")
    if asset.band >= layout.samples:
        raise file_rejected(name, f"has {layout.samples} bands, where the item names number {asset.band + 1}")
    is_known_float = asset.factor is not None and layout.dtype in ("float32", "float64")
    if is_quality:
        if layout.dtype not in ("uint8", "uint16", "int16") and not is_known_float:
            raise file_rejected(name, f"holds {layout.dtype}, not classes or bits")
    elif layout.dtype not in INTEGER_TYPES and not is_known_float:
        why = "stretched or already scaled, not integers as delivered"
        raise SceneRejected(WRONG_RADIOMETRY, f"{name} holds {layout.dtype}: {why}")
