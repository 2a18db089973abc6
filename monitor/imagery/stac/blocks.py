"""Read a GeoTIFF, or a JPEG 2000 file, in blocks: its header once, then only the blocks that are needed.

GDAL decodes blocks and reads coordinate systems, but never opens an address or a file: it reads the blocks from a small
GeoTIFF in memory, one below the other, with the compression of the original. So addresses and sizes stay under the
rules of :mod:`monitor.imagery.transport`, and a block that cannot be decoded is an error, never a block of zeros.

Deflate, the compression of Sentinel-2 and Landsat, is decoded by zlib itself: GDAL ignores its checksum and silently
returned other values for a flipped bit. LZW, Zstandard and uncompressed blocks have no checksum: there a flipped bit
may remain undetected. (rasterio's ``opener`` is no alternative: with rasterio 1.5.2, closing a dataset in another
thread than the one that opened it ended the process.) A tile of JPEG 2000 is a block, see
:mod:`monitor.imagery.stac.jpeg2000`.
"""

import math
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, Protocol

import numpy as np
from affine import Affine
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile

from monitor.errors import BROKEN_SCENE, SceneRejected
from monitor.imagery.stac.jpeg2000 import (
    BadCodestream,
    Codestream,
    decode_tile,
    is_jpeg2000,
    locate,
    read_codestream,
    without_pixels,
)

HEADER_BYTES: Final = 32_768  # bytes read first from every file: the header of a cloud-optimised one [byte]
MAX_GAP_BYTES: Final = 16_384  # blocks with a smaller gap between them are fetched in one request [byte]
MAX_RANGE_BYTES: Final = 16 << 20  # longest range of several blocks in one request [byte]
MAX_TIFF_BLOCK_BYTES: Final = 128 << 20  # largest block, decoded or as stored, that is accepted [byte]
MAX_DECODED_BYTES: Final = 32 << 20  # most pixels of a band that are decoded at one time [byte]
MAX_TAG_BYTES: Final = 32 << 20  # longest header entry that is accepted [byte]
MAX_TAGS: Final = 1024  # most header entries that are accepted

_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Size of a value of each TIFF type. [byte]"""
_CODES: Final = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIP_OFFSETS, _SAMPLES, _ROWS_PER_STRIP, _STRIP_SIZES, _PLANAR, _PREDICTOR = 273, 277, 278, 279, 284, 317
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_SIZES = 322, 323, 324, 325
_EXTRA, _FORMAT, _JPEG_TABLES, _LERC = 338, 339, 347, 50674
_SCALE, _TIE, _MATRIX, _KEYS, _DOUBLES, _TEXTS, _NODATA = 33550, 33922, 34264, 34735, 34736, 34737, 42113
_METADATA: Final = 42112
_CODEC: Final = (
    _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _PREDICTOR, _EXTRA, _FORMAT, _JPEG_TABLES, _LERC,
)  # fmt: skip
_GEO: Final = (_SCALE, _TIE, _MATRIX, _KEYS, _DOUBLES, _TEXTS, _NODATA)

type BlockRun = list[tuple[int, int, int]]  # offset, size and number of the blocks of one request, by offset


class Reader(Protocol):
    """Reads bytes of one file."""

    name: str  # name of the file in messages

    def read(self, offset: int, length: int) -> bytes:
        """Bytes from an offset on, fewer than requested at the end of the file."""
        ...


@dataclass(frozen=True, slots=True)
class Tag:
    """One entry of a TIFF directory."""

    kind: int
    count: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TileLayout:
    """Header of a GeoTIFF or JPEG 2000 file."""

    shape: tuple[int, int]  # rows and columns [pixel]
    block: tuple[int, int]  # rows and columns of a block; a strip is a block as wide as the image [pixel]
    samples: int  # bands in the file
    dtype: str
    nodata: float | None
    transform: Affine
    epsg: int | None
    wkt: str
    offsets: np.ndarray  # (block,) int64 positions of the blocks, row by row, band by band if planar [byte]
    sizes: np.ndarray  # (block,) int64; 0: never written, without value; -1: see `locate_blocks` [byte]
    planar: bool  # whether the bands are stored in separate blocks
    order: str  # byte order, `<` or `>`
    tiled: bool
    tags: dict[int, Tag]
    codestream: Codestream | None = None  # header of a JPEG 2000 file; None: a GeoTIFF

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of blocks."""
        return math.ceil(self.shape[0] / self.block[0]), math.ceil(self.shape[1] / self.block[1])

    @property
    def block_bytes(self) -> int:
        """Size of the pixels of one band in a block. [byte]"""
        return math.prod(self.block) * np.dtype(self.dtype).itemsize

    def first_block(self, band: int) -> int:
        """Number of the first block of a band, counted from 0."""
        return band * math.prod(self.grid) if self.planar else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TiffMetadata:
    """Metadata that GDAL writes into a GeoTIFF beside its pixels."""

    names: tuple[str, ...]  # of each band; empty: no name
    radiometry: tuple[tuple[float, float], ...]  # scale and offset of each band; (1, 0) if not stated [1]
    texts: Mapping[str, str]  # texts about the whole file, by their names in lower case


def read_layout(reader: Reader) -> TileLayout:
    """Read the header of a GeoTIFF or JPEG 2000 file; SceneRejected (``BROKEN``) if it cannot be read in blocks."""
    file = _HeaderPages(reader)
    try:
        return _jpeg2000_layout(file) if is_jpeg2000(file.pages[0][1]) else _parse_layout(file, reader.name)
    except BadCodestream as error:
        raise file_rejected(reader.name, str(error)) from error
    except (struct.error, KeyError, IndexError, ValueError, OverflowError, RasterioError) as error:
        raise file_rejected(reader.name, f"has a header that makes no sense ({type(error).__name__})") from error


def read_metadata(reader: Reader, layout: TileLayout) -> TiffMetadata:
    """Names, scale and offset of the bands of a file, and its texts; those that GDAL cannot read are not stated.

    A JPEG 2000 file states none. Raises SceneRejected (``BROKEN``) if the file is cut short.
    """
    unstated = TiffMetadata(names=("",) * layout.samples, radiometry=((1.0, 0.0),) * layout.samples, texts={})
    if layout.codestream is not None:
        return unstated
    tags = _tags(_HeaderPages(reader), reader.name, frozenset((_METADATA,)))[1]
    described = replace(layout, planar=False, tags=layout.tags | tags)
    small = _assemble(described, [b""], height=16, width=16, rows=16, samples=layout.samples)
    try:
        with MemoryFile(small, ext=".tif") as memory, memory.open(driver="GTiff") as opened:
            return TiffMetadata(
                names=tuple(name or "" for name in opened.descriptions),
                radiometry=tuple(zip(opened.scales, opened.offsets, strict=True)),
                texts={key.lower(): text for key, text in (opened.tags(ns="IMAGERY") | opened.tags()).items()},
            )
    except (RasterioError, ValueError):  # ValueError: not UTF-8
        return unstated


def fetch_blocks(reader: Reader, layout: TileLayout, blocks: Sequence[int]) -> dict[int, bytes]:
    """Fetch blocks as stored, by number; neighbouring ones in one request, without those that were never written.

    Blocks are numbered row by row; those of planar bands band by band. Errors as of :func:`fetch_run`.
    """
    locate_blocks(reader, layout, blocks)
    fetched: dict[int, bytes] = {}
    for run in block_runs(layout, blocks):
        fetched |= fetch_run(reader, run)
    return fetched


def locate_blocks(reader: Reader, layout: TileLayout, blocks: Iterable[int]) -> None:
    """Find the blocks whose place the header does not state, as in JPEG 2000; SceneRejected (``BROKEN``) if missing."""
    if layout.codestream is not None:
        try:
            locate(reader.read, layout.codestream, blocks)
        except BadCodestream as error:
            raise file_rejected(reader.name, str(error)) from error


def block_runs(layout: TileLayout, blocks: Sequence[int]) -> list[BlockRun]:
    """Group blocks that are located into requests, without those that were never written."""
    if (layout.sizes[list(blocks)] < 0).any():
        raise ValueError("blocks are fetched before they are located")
    located = sorted((int(layout.offsets[b]), int(layout.sizes[b]), b) for b in blocks if layout.sizes[b] > 0)
    runs: list[BlockRun] = []
    end = 0
    for offset, size, number in located:
        if runs and offset - end <= MAX_GAP_BYTES and offset + size - runs[-1][0][0] <= MAX_RANGE_BYTES:
            runs[-1].append((offset, size, number))
            end = max(end, offset + size)
        else:
            runs.append([(offset, size, number)])
            end = offset + size
    return runs


def fetch_run(reader: Reader, run: BlockRun) -> dict[int, bytes]:
    """Fetch the blocks of one request, as stored, by number.

    Raises SceneRejected (``BROKEN``) if the file ends before a block does, or a block is larger than the limit.
    """
    for _, size, _ in run:
        if size > MAX_TIFF_BLOCK_BYTES:
            raise file_rejected(reader.name, f"names a block of {size:,} bytes")
    first = run[0][0]
    data = reader.read(first, max(offset + size for offset, size, _ in run) - first)
    fetched: dict[int, bytes] = {}
    for offset, size, number in run:
        block = data[offset - first : offset - first + size]
        if len(block) < size:
            raise file_rejected(reader.name, f"is cut short: it ends within block {number}")
        fetched[number] = block
    return fetched


def decode_blocks(layout: TileLayout, stored: Mapping[int, bytes], *, band: int, name: str) -> dict[int, np.ndarray]:
    """Pixels (y, x) of one band, counted from 0, of blocks as stored, by number; the last strip has fewer rows.

    `name` is that of the file in messages. Raises SceneRejected (``BROKEN``) if a block cannot be decoded.
    """
    by_rows: dict[int, list[int]] = {}
    for number in stored:
        above = number % math.prod(layout.grid) // layout.grid[1] * layout.block[0]
        rows = layout.block[0] if layout.tiled else min(layout.block[0], layout.shape[0] - above)
        by_rows.setdefault(rows, []).append(number)
    decoded: dict[int, np.ndarray] = {}
    step = max(1, MAX_DECODED_BYTES // layout.block_bytes)
    for rows, numbers in by_rows.items():
        for start in range(0, len(numbers), step):
            part = numbers[start : start + step]
            pixels = _decode_alike(layout, [stored[number] for number in part], band=band, rows=rows, name=name)
            decoded.update(zip(part, pixels, strict=True))
    return decoded


def _decode_alike(layout: TileLayout, stored: Sequence[bytes], *, band: int, rows: int, name: str) -> np.ndarray:
    """Pixels (block, y, x) of blocks that have the same number of rows."""
    shape = len(stored), rows, layout.block[1]
    if layout.codestream is not None:
        tiles = np.zeros(shape, dtype=layout.dtype)
        try:
            for tile, block in zip(tiles, stored, strict=True):
                part = decode_tile(layout.codestream, block, band)
                tile[: part.shape[0], : part.shape[1]] = part
        except BadCodestream as error:
            raise file_rejected(name, str(error)) from error
        return tiles
    samples, band = (1, 0) if layout.planar else (layout.samples, band)
    if _is_checked_deflate(layout):
        try:
            return np.stack([_inflate(layout, block, (rows, layout.block[1], samples))[..., band] for block in stored])
        except (zlib.error, ValueError) as error:
            raise file_rejected(name, f"holds a block that cannot be decoded ({error})") from error
    small = _assemble(layout, stored, height=rows * len(stored), width=layout.block[1], rows=rows, samples=samples)
    try:
        with MemoryFile(small, ext=".tif") as memory, memory.open(driver="GTiff") as opened:
            pixels: np.ndarray = opened.read(band + 1)
    except RasterioError as error:
        raise file_rejected(name, "holds a block that cannot be decoded") from error
    return pixels.reshape(shape)


def _is_checked_deflate(layout: TileLayout) -> bool:
    """Whether blocks are deflated integers in the usual bit order, which zlib decodes and verifies."""
    return (
        _first_value(layout, _COMPRESSION, 1) in (8, 32946)
        and _first_value(layout, _PREDICTOR, 1) in (1, 2)
        and _first_value(layout, _FILL_ORDER, 1) == 1
        and layout.dtype in ("uint8", "uint16", "int16", "uint32", "int32")
        and _first_value(layout, _BITS, 1) == 8 * np.dtype(layout.dtype).itemsize
    )


def _first_value(layout: TileLayout, tag: int, default: int) -> int:
    """First value of an integer tag."""
    entry = layout.tags.get(tag)
    return struct.unpack_from(f"{layout.order}{_CODES[entry.kind]}", entry.data)[0] if entry else default


def _inflate(layout: TileLayout, block: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    """Pixels (y, x, band) of a deflated block; zlib verifies the checksum."""
    kind = np.dtype(f"{layout.order}{np.dtype(layout.dtype).str[1:]}")
    due = math.prod(shape) * kind.itemsize
    inflate = zlib.decompressobj()
    data = inflate.decompress(block, due + 1)
    if len(data) != due or inflate.decompress(inflate.unconsumed_tail, 1) or not inflate.eof:
        raise ValueError(f"{len(data)} bytes instead of {due}")
    pixels = np.frombuffer(data, dtype=kind).reshape(shape).astype(layout.dtype)
    if _first_value(layout, _PREDICTOR, 1) == 2:  # differences along each row, modulo the width of the type
        pixels = np.cumsum(pixels, axis=1, dtype=layout.dtype)
    return pixels


class _HeaderPages:
    """Parts of a file that contain its header, each read once."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.pages = [(0, reader.read(0, HEADER_BYTES))]

    def at(self, offset: int, length: int) -> bytes:
        if length > MAX_TAG_BYTES:
            raise file_rejected(self.reader.name, f"has a header entry of {length:,} bytes")
        for start, page in self.pages:
            if start <= offset and offset + length <= start + len(page):
                return page[offset - start : offset - start + length]
        page = self.reader.read(offset, max(length, HEADER_BYTES))
        self.pages.append((offset, page))
        if len(page) < length:
            raise file_rejected(self.reader.name, "is cut short within its header")
        return page[:length]


def _parse_layout(file: _HeaderPages, name: str) -> TileLayout:
    order, tags = _tags(file, name, _USED_TAGS)

    def numbers(tag: int, default: int | None = None) -> list[int]:
        if tag not in tags:
            if default is None:
                raise file_rejected(name, f"lacks tag {tag}")
            return [default]
        entry = tags[tag]
        return list(struct.unpack(f"{order}{entry.count}{_CODES[entry.kind]}", entry.data))

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
        raise file_rejected(name, f"has impossible sides {shape} or blocks {block}")
    if block[0] * block[1] * samples * max(numbers(_BITS, 1)) // 8 > MAX_TIFF_BLOCK_BYTES:
        raise file_rejected(name, f"has blocks of {block[0]} by {block[1]} pixels, which is too large")
    expected = math.ceil(shape[0] / block[0]) * math.ceil(shape[1] / block[1]) * (samples if planar else 1)
    if len(offsets) != expected or len(sizes) != expected:
        raise file_rejected(name, f"lists {len(offsets)} blocks instead of {expected}")
    if not (_KEYS in tags and ((_SCALE in tags and _TIE in tags) or _MATRIX in tags)):
        raise file_rejected(name, "does not say where on Earth it is")
    layout = TileLayout(
        shape=shape, block=block, samples=samples, dtype="", nodata=None, transform=Affine.identity(), epsg=None,
        wkt="", offsets=np.array(offsets, dtype=np.int64), sizes=np.array(sizes, dtype=np.int64), planar=planar,
        order=order, tiled=tiled, tags=tags,
    )  # fmt: skip
    small = _assemble(layout, [b""], height=16, width=16, rows=16, samples=samples, geo=True)
    needed = {key: tags[key] for key in _CODEC if key in tags}
    return replace(layout, **_read_by_gdal(small, "GTiff"), tags=needed)


def _jpeg2000_layout(file: _HeaderPages) -> TileLayout:
    codestream = read_codestream(file.reader.read, file.pages[0][1])
    return TileLayout(
        shape=codestream.shape, block=codestream.tile, samples=codestream.components, planar=False, order=">",
        offsets=codestream.places[:, 0], sizes=codestream.places[:, 1], tiled=True, tags={}, codestream=codestream,
        **_read_by_gdal(without_pixels(codestream), "JP2OpenJPEG"),
    )  # fmt: skip


@lru_cache(maxsize=256)  # equal for all files of a band and tile, and an EPSG code takes a millisecond
def _read_by_gdal(small: bytes, driver: str) -> dict[str, Any]:
    with MemoryFile(small) as memory, memory.open(driver=driver) as opened:
        return {
            "dtype": opened.dtypes[0],
            "nodata": opened.nodata,
            "transform": opened.transform,
            "epsg": opened.crs.to_epsg() if opened.crs else None,
            "wkt": opened.crs.to_wkt() if opened.crs else "",
        }


def _tags(file: _HeaderPages, name: str, wanted: frozenset[int]) -> tuple[str, dict[int, Tag]]:
    start = file.at(0, 16)
    order = {b"II": "<", b"MM": ">"}.get(start[:2])
    version = struct.unpack(f"{order}H", start[2:4])[0] if order else 0
    if order is None or version not in (42, 43):
        raise file_rejected(name, f"is not a GeoTIFF: it starts with {start[:8]!r}")
    big = version == 43
    entry, offset_code = (20, "Q") if big else (12, "I")
    place = struct.unpack(f"{order}Q", start[8:16])[0] if big else struct.unpack(f"{order}I", start[4:8])[0]
    count = struct.unpack(f"{order}{'Q' if big else 'H'}", file.at(place, 8 if big else 2))[0]
    if not 0 < count <= MAX_TAGS:
        raise file_rejected(name, f"has {count} header entries")
    table = file.at(place + (8 if big else 2), count * entry)
    tags: dict[int, Tag] = {}
    for index in range(count):
        row = table[index * entry : (index + 1) * entry]
        tag, kind, number = struct.unpack(f"{order}HH{offset_code}", row[: 12 if big else 8])
        if kind not in _SIZES or tag not in wanted:
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


_USED_TAGS: Final = frozenset(
    (_WIDTH, _HEIGHT, _SAMPLES, _PLANAR, _STRIP_OFFSETS, _STRIP_SIZES, _ROWS_PER_STRIP, _TILE_WIDTH, _TILE_HEIGHT,
     _TILE_OFFSETS, _TILE_SIZES, *_CODEC, *_GEO)
)  # fmt: skip


def _assemble(
    layout: TileLayout, stored: Sequence[bytes], *, height: int, width: int, rows: int, samples: int, geo: bool = False
) -> bytes:
    """A GeoTIFF in memory with blocks one below the other, as stored."""
    order = layout.order

    def number(tag: int, *values: int) -> None:
        tags[tag] = Tag(4, len(values), struct.pack(f"{order}{len(values)}I", *values))

    tags = {key: layout.tags[key] for key in (*_CODEC, _METADATA, *(_GEO if geo else ())) if key in layout.tags}
    if layout.planar and not geo:  # one band of several
        tags.pop(_EXTRA, None)
        for key in (_BITS, _FORMAT):
            if key in tags:
                tags[key] = Tag(tags[key].kind, 1, tags[key].data[: _SIZES[tags[key].kind]])
    if not geo:  # any place: rasterio warns of a file without georeferencing
        tags[_SCALE] = Tag(12, 3, struct.pack(f"{order}3d", 2.0, 2.0, 0.0))
        tags[_TIE] = Tag(12, 6, struct.pack(f"{order}6d", 0.0, 0.0, 0.0, 0.0, 0.0, 0.0))
    number(_WIDTH, width)
    number(_HEIGHT, height)
    number(_SAMPLES, samples)
    number(_PLANAR, 1)
    tiled = layout.tiled or geo
    if tiled:
        number(_TILE_WIDTH, width)
        number(_TILE_HEIGHT, rows)
    else:
        number(_ROWS_PER_STRIP, rows)
    offset_tag, size_tag = (_TILE_OFFSETS, _TILE_SIZES) if tiled else (_STRIP_OFFSETS, _STRIP_SIZES)
    number(offset_tag, *([0] * len(stored)))
    number(size_tag, *(len(block) for block in stored))
    start = 8 + 2 + 12 * len(tags) + 4
    extra = sum((len(tag.data) + 1) // 2 * 2 for tag in tags.values() if len(tag.data) > 4)
    position = start + extra
    offsets = []
    for block in stored:
        offsets.append(position if block else 0)
        position += len(block)
    number(offset_tag, *offsets)
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


def file_rejected(name: str, why: str) -> SceneRejected:
    """The error for a file that cannot be read."""
    return SceneRejected(BROKEN_SCENE, f"{name} {why}")
