"""One scene of GeoTIFFs, cut to many grids: each block is fetched and decoded once, for all the ground in it.

A pixel of a grid takes the value of the pixel of the file that holds its centre: ``floor((x - left) / width)``. In
the file's own system that is arithmetic on rows and columns; from another system every centre is projected by itself.
Nothing is interpolated or approximated. Centres outside the file get 0.
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
from pyproj import Transformer

from monitor.errors import SceneRejected
from monitor.imagery import bands
from monitor.imagery.source import Frame
from monitor.imagery.stac import blocks
from monitor.imagery.stac.blocks import Layout, Reader, Span
from monitor.imagery.stac.items import Asset
from monitor.imagery.transport import Tally

AHEAD: Final = 32 << 20
"""Decoded blocks of one file that are requested before a grid needs them, at most. [byte]"""
HELD: Final = 256 << 20
"""The same of all scenes of a call together. [byte]"""
WHOLE_NUMBERS: Final = ("uint16", "int16")
FMASK_FILL: Final = 255
NEAR: Final = 1e-6
"""Transforms of item and file that differ by less, in pixels, are the same."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Look:
    """Where the pixels of a grid lie in a file."""

    rows: np.ndarray
    """(y,) int32, or (y, x) int16, int32 of a file that is too large for that; -1 outside."""
    columns: np.ndarray
    """(x,) or (y, x), the same."""
    needed: tuple[int, ...]
    """Blocks that hold any of them, ascending."""
    used: int
    """Pixels of the file that are taken, each counted once. [pixel]"""


class Looks:
    """Where grids lie in files: the same for all scenes of a tile, so kept for the whole of a call."""

    def __init__(self, grids: Sequence[GeoBox]) -> None:
        self.grids = grids
        self._known: dict[tuple[object, ...], list[Look]] = {}
        self._lock = threading.Lock()

    def of(self, found: Layout) -> list[Look]:
        """One look a grid."""
        key = (_named(found), found.transform, found.shape, found.block)
        with self._lock:
            if key not in self._known:
                crs = CRS(_named(found))
                self._known[key] = [look(grid, found, crs) for grid in self.grids]
            return self._known[key]


class Room:
    """Bytes of blocks that the scenes of a call may hold before a grid needs them: so memory is bounded, however many
    scenes are read ahead.
    """

    def __init__(self) -> None:
        self._free = HELD
        self._lock = threading.Lock()

    def take(self, size: int, *, needed: bool) -> bool:
        """Whether there is room; what is needed at once is given it in any case."""
        with self._lock:
            if not needed and size > self._free:
                return False
            self._free -= size
            return True

    def give(self, size: int) -> None:
        """Make room again."""
        with self._lock:
            self._free += size


def look(grid: GeoBox, found: Layout, crs: CRS) -> Look:
    """Where the pixels of a grid lie in a file."""
    height, width = found.shape
    if grid.crs == crs and _upright(grid.affine) and _upright(found.transform):
        x = grid.affine.c + (np.arange(grid.shape[1]) + 0.5) * grid.affine.a
        y = grid.affine.f + (np.arange(grid.shape[0]) + 0.5) * grid.affine.e
        columns = np.floor((x - found.transform.c) / found.transform.a)
        rows = np.floor((y - found.transform.f) / found.transform.e)
        columns = np.where((columns >= 0) & (columns < width), columns, -1).astype(np.int32)
        rows = np.where((rows >= 0) & (rows < height), rows, -1).astype(np.int32)
        of_rows, of_columns = np.unique(rows[rows >= 0]), np.unique(columns[columns >= 0])
        across = found.grid[1]
        down, right = np.unique(of_rows // found.block[0]), np.unique(of_columns // found.block[1])
        needed = (down[:, None] * across + right).ravel()
        return Look(rows=rows, columns=columns, needed=tuple(needed.tolist()), used=of_rows.size * of_columns.size)
    centre_x, centre_y = np.meshgrid(np.arange(grid.shape[1]) + 0.5, np.arange(grid.shape[0]) + 0.5)
    x, y = _applied(grid.affine, centre_x, centre_y)
    if grid.crs != crs:
        x, y = Transformer.from_crs(str(grid.crs), crs.to_wkt(), always_xy=True).transform(x, y)
    column, row = _applied(~found.transform, x, y)
    with np.errstate(invalid="ignore"):
        column, row = np.floor(column), np.floor(row)
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    kind = np.int16 if max(*found.shape, *found.block) <= np.iinfo(np.int16).max else np.int32
    there = row[inside].astype(np.int64), column[inside].astype(np.int64)
    numbers = (there[0] // found.block[0]) * found.grid[1] + there[1] // found.block[1]
    return Look(
        rows=np.where(inside, row, -1).astype(kind), columns=np.where(inside, column, -1).astype(kind),
        needed=tuple(np.unique(numbers).tolist()), used=np.unique(there[0] * width + there[1]).size,
    )  # fmt: skip


@dataclass(slots=True, kw_only=True, eq=False)
class _Layer:
    """One asset of a scene while it is cut."""

    asset: Asset
    reader: Reader
    found: Layout = field(init=False)
    looks: list[Look] = field(default_factory=list)
    order: list[int] = field(default_factory=list)
    """Blocks by their first use."""
    uses: dict[int, int] = field(default_factory=dict)
    """Grids that still need each block."""
    coming: dict[int, Future[dict[int, np.ndarray]]] = field(default_factory=dict)
    """Requested blocks that were not taken over yet, each with the request that brings it."""
    held: dict[int, np.ndarray] = field(default_factory=dict)
    unused: set[int] = field(default_factory=set)
    """Requested blocks that no grid has needed yet."""
    next: int = 0
    """Place in `order` of the first block that was not requested yet."""
    wrong: SceneRejected | None = None
    """What is wrong with the file, by its header."""

    @property
    def block_bytes(self) -> int:
        return self.found.block[0] * self.found.block[1] * np.dtype(self.found.dtype).itemsize


class Granule:
    """A scene that is being read: its headers and first blocks are requested when it is made.

    Parameters
    ----------
    readers : sequence of (Asset, Reader) or None
        In the order of :data:`monitor.imagery.bands.OBSERVED`, then the quality layer; None: the scene lacks the band.
    looks : Looks
        The grids that it is cut to.
    epsg : int or None
        System that the item names.
    kind : str
        What the quality layer holds, see :class:`monitor.imagery.source.Scene`.
    layout : callable
        Reads the header of a file, or knows it: :func:`monitor.imagery.stac.blocks.layout`.
    workers : Executor
        Fetches and decodes: a header or a range of blocks at a time.
    room : Room
        Shared by the scenes of a call.
    tally : Tally
        Counts what is decoded and used.
    over : Event
        Is set when nothing more of the scene is wanted, so that what is still under way in other threads ends soon.
    """

    def __init__(
        self,
        readers: Sequence[tuple[Asset, Reader] | None],
        *,
        looks: Looks,
        epsg: int | None,
        kind: str,
        layout: Callable[[Any], Layout],
        workers: Executor,
        room: Room,
        tally: Tally,
        over: threading.Event,
    ) -> None:
        self._looks = looks
        self._epsg = epsg
        self._kind = kind
        self._layout = layout
        self._workers = workers
        self._room = room
        self._tally = tally
        self._over = over
        self._filling = threading.RLock()  # a collected generator may close the scene within
        self._layers = [None if one is None else _Layer(asset=one[0], reader=one[1]) for one in readers]
        self._present = [layer for layer in self._layers if layer is not None]
        self._opening = [workers.submit(self._open, layer) for layer in self._present]

    def opened(self) -> None:
        """Wait for the headers.

        Raises
        ------
        SceneRejected
            ``BROKEN``: a file is no GeoTIFF, or not the one that the item describes. ``RADIOMETRY``: its values are
            not integers as delivered.
        """
        try:
            _all(self._opening)
            for layer in self._present:
                if layer.wrong is not None:
                    raise layer.wrong
            if len({_named(layer.found) for layer in self._present}) > 1:
                raise SceneRejected(_BROKEN, "its files are in different coordinate systems")
        except BaseException:
            self.close()
            raise

    def frames(self) -> Iterator[Frame]:
        """The scene on each grid in turn, made as it is asked for, once :meth:`opened`.

        Raises
        ------
        SceneRejected
            ``BROKEN``: a block cannot be read or decoded.
        """
        frames = self._frames()
        next(frames)  # under way: whoever drops it closes the scene
        return cast("Iterator[Frame]", frames)

    def read_ahead(self) -> None:
        """Request more blocks if there is room."""
        for layer, opening in zip(self._present, self._opening, strict=True):
            if opening.done() and not opening.cancelled() and opening.exception() is None and layer.wrong is None:
                self._fill(layer, set())

    def close(self) -> None:
        """Request nothing more, and let go what was requested."""
        with self._filling:
            self._over.set()
            for layer in self._present:
                for coming in layer.coming.values():
                    coming.cancel()
                self._let_go(layer, layer.unused)
        for opening in self._opening:
            opening.cancel()

    def _frames(self) -> Iterator[Frame | None]:
        try:
            yield None
            for number, grid in enumerate(self._looks.grids):
                missing = [
                    (layer, {b for b in layer.looks[number].needed if b not in layer.held}) for layer in self._present
                ]
                for layer, some in missing:
                    self._fill(layer, {b for b in some if b not in layer.coming})
                _all(list(dict.fromkeys(layer.coming[b] for layer, some in missing for b in some if b in layer.coming)))
                for layer, some in missing:
                    for b in some.intersection(layer.coming):
                        layer.held[b] = layer.coming.pop(b).result()[b]
                    self._let_go(layer, layer.unused.intersection(layer.looks[number].needed))
                yield self._frame(grid, number)
        finally:
            self.close()

    def _open(self, layer: _Layer) -> None:
        """Read the header of a file, and request its first blocks."""
        layer.found = self._layout(layer.reader)
        try:
            _checked(layer, self._epsg, quality=layer is self._layers[-1])
        except SceneRejected as error:
            layer.wrong = error
            return
        layer.looks = self._looks.of(layer.found)
        for seen in layer.looks:
            for b in seen.needed:
                layer.uses[b] = layer.uses.get(b, 0) + 1
        layer.order = list(layer.uses)
        self._fill(layer, set())

    def _fill(self, layer: _Layer, needed: set[int]) -> None:
        """Request blocks in the order of their use: up to those that are needed now, and as many more as may be held.

        While half of what may be held waits for its use no more are requested, so that neighbours come together.
        """
        size = layer.block_bytes
        with self._filling:
            if self._over.is_set() or (not needed and len(layer.unused) * size > AHEAD // 2):
                return
            wanted: list[int] = []
            while layer.next < len(layer.order):
                if not needed and (len(layer.unused) + 1) * size > AHEAD:
                    break
                if not self._room.take(size, needed=bool(needed)):
                    break
                block = layer.order[layer.next]
                layer.next += 1
                wanted.append(block)
                layer.unused.add(block)
                needed.discard(block)
            down, across = layer.found.grid
            first = layer.asset.band * down * across if layer.found.planar else 0
            for b in wanted:
                if layer.found.sizes[first + b] <= 0:  # never written: no value
                    nothing = np.zeros((1, 1), dtype=layer.found.dtype)
                    layer.held[b] = np.broadcast_to(nothing, layer.found.block)
            for span in blocks.spans(layer.found, [first + b for b in wanted]):
                coming = self._workers.submit(self._load, layer, span, first)
                layer.coming.update((number - first, coming) for *_, number in span)

    def _load(self, layer: _Layer, span: Span, first: int) -> dict[int, np.ndarray]:
        """Pixels of blocks that are fetched by one request; `first` is the number of the first block of the band."""
        stored = blocks.fetch_span(layer.reader, span)
        across = layer.found.grid[1]
        by_height: dict[int, list[int]] = {}
        for number in stored:
            rows = layer.found.block[0]
            if not layer.found.tiled:
                rows = min(rows, layer.found.shape[0] - (number - first) // across * rows)
            by_height.setdefault(rows, []).append(number)
        loaded: dict[int, np.ndarray] = {}
        step = max(1, AHEAD // layer.block_bytes)
        for rows, some in by_height.items():
            for start in range(0, len(some), step):
                part = some[start : start + step]
                pixels = blocks.decode(
                    layer.found, [stored.pop(number) for number in part], band=layer.asset.band, rows=rows,
                    name=layer.reader.name,
                )  # fmt: skip
                self._tally.add(bytes_decoded=pixels.nbytes * (1 if layer.found.planar else layer.found.samples))
                loaded.update(zip((number - first for number in part), pixels, strict=True))
        return loaded

    def _let_go(self, layer: _Layer, used: set[int]) -> None:
        """Make room: blocks are needed now, or not any more."""
        if used:
            self._room.give(len(used) * layer.block_bytes)
            layer.unused = layer.unused - used

    def _frame(self, grid: GeoBox, number: int) -> Frame:
        pixels = np.zeros((len(bands.OBSERVED), *grid.shape), dtype=np.uint16)
        for index, layer in enumerate(self._layers[:-1]):
            if layer is not None:
                pixels[index] = _values(self._cut(layer, number), layer.found.nodata, layer.asset.nodata)
        last = self._layers[-1]
        assert last is not None
        quality = self._cut(last, number)
        if quality.dtype != np.uint8:
            quality = quality.astype(np.uint16)
        if self._kind == "fmask":
            empty = quality == FMASK_FILL
            pixels[:, empty] = bands.NODATA
            quality = np.where(empty, 0, quality)
        return Frame(grid=grid, pixels=pixels, quality=quality.astype(np.uint16))

    def _cut(self, layer: _Layer, number: int) -> np.ndarray:
        """Pixels of a file on a grid; blocks that no other grid needs are let go."""
        seen = layer.looks[number]
        flat = seen.rows.ndim == 1
        rows, columns = (seen.rows, seen.columns) if flat else (seen.rows.ravel(), seen.columns.ravel())
        shape = (rows.size, columns.size) if flat else seen.rows.shape
        cut = np.zeros(shape if flat else rows.size, dtype=layer.found.dtype)
        height, width = layer.found.block
        block_rows, block_columns = rows // height, columns // width  # -1 // n is -1: outside
        for b in seen.needed:
            down, right = divmod(b, layer.found.grid[1])
            block = layer.held[b]
            if flat:
                here, there = np.flatnonzero(block_rows == down), np.flatnonzero(block_columns == right)
                cut[np.ix_(here, there)] = block[np.ix_(rows[here] - down * height, columns[there] - right * width)]
            else:
                here = np.flatnonzero((block_rows == down) & (block_columns == right))
                cut[here] = block[rows[here] - down * height, columns[here] - right * width]
            layer.uses[b] -= 1
            if not layer.uses[b]:
                del layer.held[b]
        self._tally.add(bytes_used=seen.used * cut.itemsize)
        return cut.reshape(shape)


def _all[T](tasks: Sequence[Future[T]]) -> list[T]:
    """Results of all tasks; the first that fails is told at once, not when its turn comes."""
    done, _ = wait(tasks, return_when=FIRST_EXCEPTION)
    for task in tasks:
        if task in done:
            task.result()
    return [task.result() for task in tasks]


def _values(cut: np.ndarray, *nodata: float | None) -> np.ndarray:
    """Integers as delivered, 0 where there is no value; a negative reflectance is none."""
    empty = cut <= 0
    for value in nodata:
        if value is not None:
            empty |= cut == value
    return np.where(empty, bands.NODATA, cut).astype(np.uint16)


def _checked(layer: _Layer, epsg: int | None, *, quality: bool) -> None:
    """Compare a file with what the item says of it."""
    asset, found, name = layer.asset, layer.found, layer.reader.name
    if not found.wkt:
        raise SceneRejected(_BROKEN, f"{name} names no coordinate system")
    if epsg is not None and found.epsg != epsg and CRS(found.wkt) != CRS(f"EPSG:{epsg}"):
        raise SceneRejected(_BROKEN, f"{name} is in {_named(found)[:60]}, where the item says EPSG:{epsg}")
    if asset.shape is not None and asset.shape != found.shape:
        raise SceneRejected(_BROKEN, f"{name} has {found.shape} pixels, where the item says {asset.shape}")
    if asset.transform is not None:
        said = Affine(*asset.transform)
        corners = [(0.0, 0.0), (float(found.shape[1]), float(found.shape[0]))]
        pixel = abs(found.transform.a) or abs(found.transform.b)
        apart = max(
            abs(a - b) for corner in corners for a, b in zip(said @ corner, found.transform @ corner, strict=True)
        )
        if not apart <= NEAR * pixel * max(found.shape):
            raise SceneRejected(_BROKEN, f"{name} lies elsewhere than the item says, by {apart:g}")
    if asset.band >= found.samples:
        raise SceneRejected(_BROKEN, f"{name} has {found.samples} bands, where the item names number {asset.band + 1}")
    if quality:
        if found.dtype not in ("uint8", "uint16", "int16"):
            raise SceneRejected(_BROKEN, f"{name} holds {found.dtype}, not classes or bits")
    elif found.dtype not in WHOLE_NUMBERS:
        raise SceneRejected(
            _RADIOMETRY, f"{name} holds {found.dtype}: stretched or already scaled, not integers as delivered"
        )


def _named(found: Layout) -> str:
    """The coordinate system, by its number if it has one."""
    return f"EPSG:{found.epsg}" if found.epsg else found.wkt


def _applied(affine: Affine, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return affine.a * x + affine.b * y + affine.c, affine.d * x + affine.e * y + affine.f


def _upright(affine: Affine) -> bool:
    return affine.b == 0 and affine.d == 0


_BROKEN: Final = "BROKEN"
_RADIOMETRY: Final = "RADIOMETRY"
