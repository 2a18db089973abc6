"""Blocks of a GeoTIFF, fetched piece by piece: its header once, then only the blocks that are asked for.

GDAL decodes and reads coordinate systems, but never opens an address or a file: the blocks are laid one below the
other in a small GeoTIFF in memory, with the compression of the original, and that is what GDAL sees. So redirects,
hosts and sizes stay under the rules of :mod:`monitor.imagery.transport`, no other driver than GTiff can be reached,
and a block that cannot be decoded is an error, never a block of zeros.

Deflate, in which Sentinel-2 and Landsat are delivered, is decoded by zlib itself: GDAL does not look at its checksum
and gave other values for a flipped bit without a word. LZW, Zstandard and uncompressed blocks carry no checksum: there
a flipped bit may go unnoticed. (rasterio's own ``opener`` was tried instead: with rasterio 1.5.2, closing a dataset
in another thread than it was opened in ended the process.)
"""

import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Protocol

import numpy as np
from affine import Affine
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile

from monitor.errors import SceneRejected

HEAD: Final = 32_768
"""Read first of every file: what a cloud-optimised one describes itself in. [byte]"""
GAP: Final = 16_384
"""Ranges nearer than that are fetched as one. [byte]"""
LONGEST: Final = 16 << 20
"""Ranges are not joined beyond that. [byte]"""
LARGEST_BLOCK: Final = 128 << 20
"""Of one block, decoded or as stored: more is refused. [byte]"""
LARGEST_TAG: Final = 32 << 20
TAGS: Final = 1024
"""Most tags of a file."""

_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value of each TIFF type."""
_CODES: Final = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIP_OFFSETS, _SAMPLES, _ROWS_PER_STRIP, _STRIP_SIZES, _PLANAR, _PREDICTOR = 273, 277, 278, 279, 284, 317
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_SIZES = 322, 323, 324, 325
_EXTRA, _FORMAT, _JPEG_TABLES, _LERC = 338, 339, 347, 50674
_SCALE, _TIE, _MATRIX, _KEYS, _DOUBLES, _TEXTS, _NODATA = 33550, 33922, 34264, 34735, 34736, 34737, 42113
_CODEC: Final = (
    _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _PREDICTOR, _EXTRA, _FORMAT, _JPEG_TABLES, _LERC,
)  # fmt: skip
_GEO: Final = (_SCALE, _TIE, _MATRIX, _KEYS, _DOUBLES, _TEXTS, _NODATA)


type Span = list[tuple[int, int, int]]
"""Offset, size and number of blocks that are fetched by one request, ascending by offset. [byte]"""


class Reader(Protocol):
    """Bytes of one file."""

    name: str
    """Fit for a message."""

    def read(self, offset: int, length: int) -> bytes:
        """Bytes from an offset on, fewer than asked for where the file ends."""
        ...


@dataclass(frozen=True, slots=True)
class Tag:
    """One entry of a TIFF directory."""

    kind: int
    count: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layout:
    """What the header of a GeoTIFF says."""

    shape: tuple[int, int]
    """Rows and columns. [pixel]"""
    block: tuple[int, int]
    """Rows and columns of a block; strips are blocks as wide as the image. [pixel]"""
    samples: int
    """Bands in the file."""
    dtype: str
    nodata: float | None
    transform: Affine
    epsg: int | None
    wkt: str
    offsets: np.ndarray
    """(block,) int64; with planar bands one after the other. [byte]"""
    sizes: np.ndarray
    """(block,) int64, 0: a block that was not written, since it holds no value. [byte]"""
    planar: bool
    order: str
    """``<`` or ``>``."""
    tiled: bool
    tags: dict[int, Tag]

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of blocks."""
        return math.ceil(self.shape[0] / self.block[0]), math.ceil(self.shape[1] / self.block[1])


def layout(reader: Reader) -> Layout:
    """Read the header of a GeoTIFF.

    Raises
    ------
    SceneRejected
        ``BROKEN``: it is no GeoTIFF, or one that cannot be read in blocks.
    """
    file = _Header(reader)
    try:
        return _layout(file, reader.name)
    except (struct.error, KeyError, IndexError, ValueError, OverflowError, RasterioError) as error:
        raise _broken(reader.name, f"has a header that makes no sense ({type(error).__name__})") from error


def fetch(reader: Reader, found: Layout, blocks: Sequence[int]) -> dict[int, bytes]:
    """Blocks as stored, those that lie near each other in one request.

    Parameters
    ----------
    blocks : sequence of int
        Numbers of blocks, row by row (of planar bands, band by band). Blocks that were not written are left out.

    Raises
    ------
    SceneRejected
        ``BROKEN``: the file ends before a block does.
    """
    taken: dict[int, bytes] = {}
    for span in spans(found, blocks):
        taken |= fetch_span(reader, span)
    return taken


def spans(found: Layout, blocks: Sequence[int]) -> list[Span]:
    """Blocks in the requests in which they are fetched; those that were not written are left out."""
    places = sorted((int(found.offsets[b]), int(found.sizes[b]), b) for b in blocks if found.sizes[b] > 0)
    joined: list[Span] = []
    end = 0
    for offset, size, number in places:
        near = joined and offset - end <= GAP and offset + size - joined[-1][0][0] <= LONGEST
        if near:
            joined[-1].append((offset, size, number))
        else:
            joined.append([(offset, size, number)])
        end = max(end, offset + size) if near else offset + size
    return joined


def fetch_span(reader: Reader, span: Span) -> dict[int, bytes]:
    """The blocks of one request, as stored.

    Raises
    ------
    SceneRejected
        ``BROKEN``: the file ends before a block does, or a block is larger than any should be.
    """
    for _, size, _ in span:
        if size > LARGEST_BLOCK:
            raise _broken(reader.name, f"names a block of {size:,} bytes")
    first = span[0][0]
    data = reader.read(first, max(offset + size for offset, size, _ in span) - first)
    taken: dict[int, bytes] = {}
    for offset, size, number in span:
        block = data[offset - first : offset - first + size]
        if len(block) < size:
            raise _broken(reader.name, f"is cut short: it ends within block {number}")
        taken[number] = block
    return taken


def decode(found: Layout, stored: Sequence[bytes], *, band: int, rows: int, name: str) -> np.ndarray:
    """Pixels of blocks.

    Parameters
    ----------
    stored : sequence of bytes
        Blocks as stored, all of the same number of rows.
    band : int
        From 0, of a file whose bands lie together.
    rows : int
        Of each block: the lowest strip of a file may have fewer. [pixel]
    name : str
        Of the file, for messages.

    Returns
    -------
    (block, y, x) array

    Raises
    ------
    SceneRejected
        ``BROKEN``: a block cannot be decoded.
    """
    height, width = rows, found.block[1]
    if _is_deflate(found):
        try:
            return np.stack([_inflated(found, block, rows)[..., 0 if found.planar else band] for block in stored])
        except (zlib.error, ValueError) as error:
            raise _broken(name, f"holds a block that cannot be decoded ({error})") from error
    with_bands = 1 if found.planar else found.samples
    small = _assemble(found, stored, height=height * len(stored), width=width, rows=rows, samples=with_bands)
    try:
        with MemoryFile(small, ext=".tif") as memory, memory.open(driver="GTiff") as opened:
            pixels: np.ndarray = opened.read(1 if found.planar else band + 1)
    except RasterioError as error:
        raise _broken(name, "holds a block that cannot be decoded") from error
    return pixels.reshape(len(stored), height, width)


def _is_deflate(found: Layout) -> bool:
    """Whether blocks are deflated whole numbers, in the usual order of bits."""
    return (
        _of(found, _COMPRESSION, 1) in (8, 32946)
        and _of(found, _PREDICTOR, 1) in (1, 2)
        and _of(found, _FILL_ORDER, 1) == 1
        and found.dtype in ("uint8", "uint16", "int16", "uint32", "int32")
        and _of(found, _BITS, 1) == 8 * np.dtype(found.dtype).itemsize
    )


def _of(found: Layout, tag: int, default: int) -> int:
    """First value of a tag of small numbers."""
    entry = found.tags.get(tag)
    return struct.unpack_from(f"{found.order}{_CODES[entry.kind]}", entry.data)[0] if entry else default


def _inflated(found: Layout, block: bytes, rows: int) -> np.ndarray:
    """(y, x, band) pixels of a deflated block, its checksum verified."""
    samples = 1 if found.planar else found.samples
    kind = np.dtype(f"{found.order}{np.dtype(found.dtype).str[1:]}")
    due = rows * found.block[1] * samples * kind.itemsize
    inflate = zlib.decompressobj()
    data = inflate.decompress(block, due + 1)
    if len(data) != due or inflate.decompress(inflate.unconsumed_tail, 1) or not inflate.eof:
        msg = f"{len(data)} bytes where {due} are due"
        raise ValueError(msg)
    pixels = np.frombuffer(data, dtype=kind).reshape(rows, found.block[1], samples).astype(found.dtype)
    if _of(found, _PREDICTOR, 1) == 2:  # differences along each row, modulo the width of the type
        pixels = np.cumsum(pixels, axis=1, dtype=found.dtype)
    return pixels


class _Header:
    """The pages of a file around its header, each read once."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.pages = [(0, reader.read(0, HEAD))]

    def at(self, offset: int, length: int) -> bytes:
        if length > LARGEST_TAG:
            raise _broken(self.reader.name, f"has a header entry of {length:,} bytes")
        for start, page in self.pages:
            if start <= offset and offset + length <= start + len(page):
                return page[offset - start : offset - start + length]
        page = self.reader.read(offset, max(length, HEAD))
        self.pages.append((offset, page))
        if len(page) < length:
            raise _broken(self.reader.name, "is cut short within its header")
        return page[:length]


def _layout(file: _Header, name: str) -> Layout:
    order, tags = _tags(file, name)

    def numbers(tag: int, default: int | None = None) -> list[int]:
        if tag not in tags:
            if default is None:
                raise _broken(name, f"lacks tag {tag}")
            return [default]
        found = tags[tag]
        return list(struct.unpack(f"{order}{found.count}{_CODES[found.kind]}", found.data))

    shape = numbers(_HEIGHT)[0], numbers(_WIDTH)[0]
    tiled = _TILE_OFFSETS in tags
    samples, planar = numbers(_SAMPLES, 1)[0], numbers(_PLANAR, 1)[0] == 2
    if tiled:
        block = numbers(_TILE_HEIGHT)[0], numbers(_TILE_WIDTH)[0]
        offsets, sizes = numbers(_TILE_OFFSETS), numbers(_TILE_SIZES)
    else:
        block = min(numbers(_ROWS_PER_STRIP, shape[0])[0], shape[0]), shape[1]
        offsets, sizes = numbers(_STRIP_OFFSETS), numbers(_STRIP_SIZES)
    if not all(0 < side <= 1 << 20 for side in (*shape, *block)) or not 0 < samples <= 64:
        raise _broken(name, f"has impossible sides {shape} or blocks {block}")
    if block[0] * block[1] * samples * max(numbers(_BITS, 1)) // 8 > LARGEST_BLOCK:
        raise _broken(name, f"has blocks of {block[0]} by {block[1]} pixels, which is too large")
    wanted = math.ceil(shape[0] / block[0]) * math.ceil(shape[1] / block[1]) * (samples if planar else 1)
    if len(offsets) != wanted or len(sizes) != wanted:
        raise _broken(name, f"lists {len(offsets)} blocks where {wanted} are due")
    if not (_KEYS in tags and ((_SCALE in tags and _TIE in tags) or _MATRIX in tags)):
        raise _broken(name, "does not say where on Earth it lies")
    found = Layout(
        shape=shape, block=block, samples=samples, dtype="", nodata=None, transform=Affine.identity(), epsg=None,
        wkt="", offsets=np.array(offsets, dtype=np.int64), sizes=np.array(sizes, dtype=np.int64), planar=planar,
        order=order, tiled=tiled, tags=tags,
    )  # fmt: skip
    return _described(found)


def _described(found: Layout) -> Layout:
    """The layout with what GDAL makes of its tags."""
    values = _read_by_gdal(_assemble(found, [b""], height=16, width=16, rows=16, samples=found.samples, geo=True))
    kept = {key: found.tags[key] for key in _CODEC if key in found.tags}
    plain = {name: getattr(found, name) for name in found.__dataclass_fields__}
    return Layout(**{**plain, **values, "tags": kept})


@lru_cache(maxsize=256)  # the same for all files of a band and tile
def _read_by_gdal(small: bytes) -> dict[str, Any]:
    with MemoryFile(small, ext=".tif") as memory, memory.open(driver="GTiff") as opened:
        return {
            "dtype": opened.dtypes[0],
            "nodata": opened.nodata,
            "transform": opened.transform,
            "epsg": opened.crs.to_epsg() if opened.crs else None,
            "wkt": opened.crs.to_wkt() if opened.crs else "",
        }


def _tags(file: _Header, name: str) -> tuple[str, dict[int, Tag]]:
    start = file.at(0, 16)
    order = {b"II": "<", b"MM": ">"}.get(start[:2])
    version = struct.unpack(f"{order}H", start[2:4])[0] if order else 0
    if order is None or version not in (42, 43):
        raise _broken(name, f"is no GeoTIFF: it starts with {start[:8]!r}")
    big = version == 43
    entry, offset_code = (20, "Q") if big else (12, "I")
    place = struct.unpack(f"{order}Q", start[8:16])[0] if big else struct.unpack(f"{order}I", start[4:8])[0]
    count = struct.unpack(f"{order}{'Q' if big else 'H'}", file.at(place, 8 if big else 2))[0]
    if not 0 < count <= TAGS:
        raise _broken(name, f"has {count} header entries")
    table = file.at(place + (8 if big else 2), count * entry)
    tags: dict[int, Tag] = {}
    for index in range(count):
        row = table[index * entry : (index + 1) * entry]
        tag, kind, number = struct.unpack(f"{order}HH{offset_code}", row[: 12 if big else 8])
        if kind not in _SIZES or tag not in _READ:
            continue
        length = _SIZES[kind] * number
        inline = row[12 if big else 8 :]
        data = (
            inline[:length]
            if length <= len(inline)
            else file.at(struct.unpack(f"{order}{offset_code}", inline)[0], length)
        )
        tags[tag] = Tag(kind, number, data)
    return order, tags


_READ: Final = frozenset(
    (_WIDTH, _HEIGHT, _SAMPLES, _PLANAR, _STRIP_OFFSETS, _STRIP_SIZES, _ROWS_PER_STRIP, _TILE_WIDTH, _TILE_HEIGHT,
     _TILE_OFFSETS, _TILE_SIZES, *_CODEC, *_GEO)
)  # fmt: skip


def _assemble(
    found: Layout, stored: Sequence[bytes], *, height: int, width: int, rows: int, samples: int, geo: bool = False
) -> bytes:
    """A GeoTIFF of blocks one below the other, each as it was stored."""
    order = found.order

    def number(tag: int, *values: int) -> None:
        tags[tag] = Tag(4, len(values), struct.pack(f"{order}{len(values)}I", *values))

    tags = {key: found.tags[key] for key in (*_CODEC, *(_GEO if geo else ())) if key in found.tags}
    if found.planar and not geo:  # one band of several
        tags.pop(_EXTRA, None)
        for key in (_BITS, _FORMAT):
            if key in tags:
                tags[key] = Tag(tags[key].kind, 1, tags[key].data[: _SIZES[tags[key].kind]])
    if not geo:  # anywhere: a file without a place makes rasterio warn
        tags[_SCALE] = Tag(12, 3, struct.pack(f"{order}3d", 2.0, 2.0, 0.0))
        tags[_TIE] = Tag(12, 6, struct.pack(f"{order}6d", 0.0, 0.0, 0.0, 0.0, 0.0, 0.0))
    number(_WIDTH, width)
    number(_HEIGHT, height)
    number(_SAMPLES, samples)
    number(_PLANAR, 1)
    tiled = found.tiled or geo
    if tiled:
        number(_TILE_WIDTH, width)
        number(_TILE_HEIGHT, rows)
    else:
        number(_ROWS_PER_STRIP, rows)
    places, lengths = (_TILE_OFFSETS, _TILE_SIZES) if tiled else (_STRIP_OFFSETS, _STRIP_SIZES)
    number(places, *([0] * len(stored)))
    number(lengths, *(len(block) for block in stored))
    start = 8 + 2 + 12 * len(tags) + 4
    extra = sum((len(tag.data) + 1) // 2 * 2 for tag in tags.values() if len(tag.data) > 4)
    position = start + extra
    offsets = []
    for block in stored:
        offsets.append(position if block else 0)
        position += len(block)
    number(places, *offsets)
    head = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8) + struct.pack(f"{order}H", len(tags))
    tail = b""
    for key in sorted(tags):
        tag = tags[key]
        head += struct.pack(f"{order}HHI", key, tag.kind, tag.count)
        if len(tag.data) <= 4:
            head += tag.data.ljust(4, b"\0")
        else:
            head += struct.pack(f"{order}I", start + len(tail))
            tail += tag.data + b"\0" * (len(tag.data) % 2)
    return b"".join((head, struct.pack(f"{order}I", 0), tail, *stored))


def _broken(name: str, why: str) -> SceneRejected:
    return SceneRejected("BROKEN", f"{name} {why}")
