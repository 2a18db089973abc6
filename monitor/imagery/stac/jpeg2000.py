"""Read a JPEG 2000 file [1]_ in tiles: its boxes and main header once, then only the tiles that are needed.

A file is boxes, one of which is the codestream: a main header, then the tiles, each of one or several tile-parts. GDAL
reads the position on Earth from a file of these boxes and headers without pixels, and decodes each tile from a
codestream in memory that holds this tile alone, at its place on the reference grid, so that the pixels are those of the
whole file. There is no checksum: a flipped bit within a tile may remain undetected, a tile cut short does not.

References
----------
.. [1] ITU-T Rec. T.800, "JPEG 2000 image coding system: Core coding system," annexes A and I.
"""

import re
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile

MAX_BOXES: Final = 64  # most boxes before the codestream
MAX_BOX_BYTES: Final = 1 << 20  # longest box that is read [byte]
MAX_MAIN_HEADER_BYTES: Final = 4 << 20  # longest main header of a codestream [byte]
MAX_LAST_TILE_BYTES: Final = 128 << 20  # longest last tile that does not state its size [byte]
MAX_TILE_PIXELS: Final = 32 << 20  # most pixels of all bands of a tile; each is decoded as a number of 32 bits [pixel]
MAX_TILE_PARTS: Final = 16_384  # most tile-parts of a file; one of Sentinel-2 has 121 at most
MAX_WALKED_TILES: Final = 32
"""With more tiles those that are needed are searched, instead of following the chain of all: products of Sentinel-2
from before February 2026 do not state the lengths of their 121 tiles."""
MAX_PROBES: Final = 16  # most parts of a file that are read to find a tile
PROBE_BYTES: Final = (64 << 10, 2 << 20)  # least and most bytes of such a part, which is as long as a tile on average
WALK_BYTES: Final = 1024  # bytes read at the header of a tile-part that is looked for [byte]

_SIGNATURE: Final = b"\0\0\0\x0cjP  \r\n\x87\n"
_START, _SIZE, _TILE_LENGTHS, _PACKED_LENGTHS, _PACKED_HEADERS = 0xFF4F, 0xFF51, 0xFF55, 0xFF57, 0xFF60
_TILE_PART, _DATA, _END = 0xFF90, 0xFF93, 0xFFD9
_PART_HEADER: Final = struct.Struct(">HHHIBB")
"""Marker, length, tile, bytes of the tile-part, its number within the tile, tile-parts of the tile."""
_SIZE_HEADER: Final = struct.Struct(">HHH8IH")
"""Marker, length, capabilities, sides and corner of the image, sides and corner of the first tile, components."""

_PART_START: Final = re.compile(rb"\xff\x90\x00\x0a")

type Read = Callable[[int, int], bytes]  # bytes of a file from an offset on, fewer at its end


class BadCodestream(Exception):
    """A file is not JPEG 2000 that can be read in tiles; the message says why, without a subject."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Codestream:
    """Boxes and main header of a file."""

    place: bytes  # boxes that say where on Earth it is
    header: bytes  # main header, without the lengths of tiles
    shape: tuple[int, int]  # rows and columns [pixel]
    tile: tuple[int, int]  # rows and columns of a tile [pixel]
    components: int
    places: np.ndarray
    """(tile, 2) int64 offset and size of each tile, row by row: from its first tile-part to the end of its last; -1:
    not located yet, see :func:`locate`. [byte]"""
    extent: tuple[int, int]  # offsets of the first tile-part and of the end of the last; 0: the end is unknown [byte]


def is_jpeg2000(start: bytes) -> bool:
    """Whether the first twelve bytes are those of a JPEG 2000 file."""
    return start[:12] == _SIGNATURE


def read_codestream(read: Read, beginning: bytes) -> Codestream:
    """Read the boxes and the main header of a file, and the offset and size of each tile. [byte]

    `beginning` holds the first bytes of the file, which are not read again. Raises BadCodestream if it cannot be read
    in tiles.
    """

    def read_once(offset: int, length: int) -> bytes:
        is_known = offset + length <= len(beginning)
        return beginning[offset : offset + length] if is_known else read(offset, length)

    place, start, end = _boxes(read_once)
    if not place:
        raise BadCodestream("does not say where on Earth it is")
    header, lengths, first = _main_header(read_once, start)
    _, _, _, right, bottom, left, top, width, height, tile_left, tile_top, components = _SIZE_HEADER.unpack_from(
        header, 2
    )
    if left or top or tile_left or tile_top:
        raise BadCodestream("begins at an offset of its grid; write it again, for instance by gdal_translate")
    subsampled = header[2 + _SIZE_HEADER.size :][: 3 * components]
    if len(subsampled) < 3 * components or any(subsampled[n] != 1 for n in range(3 * components) if n % 3):
        raise BadCodestream("has bands of different resolution")
    if not all(0 < side <= 1 << 20 for side in (right, bottom)) or not (width and height and 0 < components <= 64):
        raise BadCodestream(f"has impossible sides {(bottom, right)} or tiles {(height, width)}")
    tile = min(height, bottom), min(width, right)
    if tile[0] * tile[1] * components > MAX_TILE_PIXELS:
        raise BadCodestream(f"has tiles of {tile[0]} by {tile[1]} pixels, which is too large")
    number = -(-bottom // tile[0]) * -(-right // tile[1])
    if number > MAX_TILE_PARTS:
        raise BadCodestream(f"has {number:,} tiles")
    codestream = Codestream(
        place=place, header=header, shape=(bottom, right), tile=tile, components=components,
        places=np.full((number, 2), -1, dtype=np.int64), extent=(first, end or 0),
    )  # fmt: skip
    if parts := _stated_parts(read, lengths, first):
        _place(codestream, parts)
    elif number <= MAX_WALKED_TILES or end is None:
        _place(codestream, _found_parts(read_once, first, end, number))
    elif len(read(end - 2, 2)) < 2:
        raise BadCodestream("is cut short within its tiles")
    return codestream


def locate(read: Read, codestream: Codestream, tiles: Iterable[int]) -> None:
    """Find tiles, and write them into the places of the codestream; BadCodestream if they are missing."""
    for tile in tiles:
        if codestream.places[tile, 0] < 0 and not _search(read, codestream, tile):
            first, end = codestream.extent
            _place(codestream, _found_parts(read, first, end, len(codestream.places)))


def without_pixels(codestream: Codestream) -> bytes:
    """A file with the boxes and headers alone, for GDAL to read what they say."""
    return _file(codestream, codestream.header, codestream.shape, [_part(b"", 0, 1)])


def decode_tile(codestream: Codestream, stored: bytes, band: int) -> np.ndarray:
    """Pixels of a tile as stored, (y, x), fewer at the right and lower side of the file; BadCodestream if broken."""
    parts: list[bytes] = []
    position, tile = 0, -1
    while position + _PART_HEADER.size <= len(stored):
        marker, _, index, size, number, count = _PART_HEADER.unpack_from(stored, position)
        if marker == _END and parts:
            break
        size = size or len(stored) - position
        if marker != _TILE_PART or size <= _PART_HEADER.size or position + size > len(stored):
            raise BadCodestream("holds something else where a tile is stated to be")
        tile = index if tile < 0 else tile
        if index == tile:
            body = stored[position + _PART_HEADER.size : position + size]
            parts.append(
                _part(body.removesuffix(_END.to_bytes(2)) if size == len(stored) - position else body, number, count)
            )
        position += size
    if not 0 <= tile < len(codestream.places) or codestream.places[tile, 1] != len(stored):
        raise BadCodestream("holds another tile where one is stated to be")
    height, width = codestream.tile
    row, column = divmod(tile, -(-codestream.shape[1] // width))
    top, left = row * height, column * width
    bottom, right = min(top + height, codestream.shape[0]), min(left + width, codestream.shape[1])
    sides = struct.pack(">8I", right, bottom, left, top, width, height, left, top)
    header = codestream.header[:8] + sides + codestream.header[8 + len(sides) :]
    shape = bottom - top, right - left
    try:
        with (
            rasterio.Env(GDAL_NUM_THREADS="1"),
            MemoryFile(_file(codestream, header, shape, parts)) as memory,
            memory.open(driver="JP2OpenJPEG") as opened,
        ):
            pixels: np.ndarray = opened.read(band + 1)
    except (RasterioError, IndexError) as error:
        raise BadCodestream("holds a tile that cannot be decoded") from error
    if pixels.shape != shape:
        raise BadCodestream("holds a tile of another size than its header states")
    return pixels


def _boxes(read: Read) -> tuple[bytes, int, int | None]:
    """Boxes that say where on Earth the file is; offset of the codestream, and its end (None: that of the file)."""
    place, position = b"", 0
    for _ in range(MAX_BOXES):
        start = read(position, 16)
        if len(start) < 8:
            raise BadCodestream("is cut short within its header")
        size, kind = struct.unpack(">I4s", start[:8])
        head = 8
        if size == 1 and len(start) == 16:
            size, head = struct.unpack(">Q", start[8:])[0], 16
        if kind == b"jp2c":
            return place, position + head, position + size if size else None
        if size < head:
            raise BadCodestream("has a box without codestream to the end of the file")
        if kind in (b"uuid", b"asoc") and size <= MAX_BOX_BYTES:
            place += read(position, size)
        position += size
    raise BadCodestream(f"has more than {MAX_BOXES} boxes before its codestream")


def _main_header(read: Read, start: int) -> tuple[bytes, list[bytes], int]:
    """Main header without the lengths of tiles; these, in order; offset of the first tile-part."""
    segments, position = [_START.to_bytes(2)], start + 2
    lengths: list[tuple[int, bytes]] = []
    if read(start, 2) != segments[0]:
        raise BadCodestream("has no codestream where it is stated to be")
    while position - start < MAX_MAIN_HEADER_BYTES:
        marker, length = struct.unpack(">HH", read(position, 4).ljust(4, b"\0"))
        if marker == _TILE_PART:
            if len(segments) < 2 or len(segments[1]) < _SIZE_HEADER.size or segments[1][:2] != _SIZE.to_bytes(2):
                raise BadCodestream("does not state its size")
            return b"".join(segments), [data for _, data in sorted(lengths)], position
        segment = read(position, 2 + length)
        if marker < 0xFF00 or length < 2 or len(segment) < 2 + length:
            raise BadCodestream("is cut short or damaged within its header")
        if marker == _PACKED_HEADERS:
            raise BadCodestream("has the headers of its packets in one place (PPM), which is not read")
        if marker == _TILE_LENGTHS and length > 3:
            lengths.append((segment[4], segment[5:]))
        elif marker not in (_TILE_LENGTHS, _PACKED_LENGTHS):
            segments.append(segment)
        position += len(segment)
    raise BadCodestream("has a header that does not end")


def _stated_parts(read: Read, lengths: Sequence[bytes], first: int) -> list[tuple[int, int, int]]:
    """Tile, offset and size of each tile-part, as the main header states; empty if it does not end there."""
    parts: list[tuple[int, int, int]] = []
    for data in lengths:
        index_bytes, size_bytes = data[0] >> 4 & 3, 4 if data[0] & 64 else 2
        step = index_bytes + size_bytes
        for entry in range(1, len(data) - step + 1, step):
            stated = int.from_bytes(data[entry : entry + index_bytes]) if index_bytes else len(parts)
            size = int.from_bytes(data[entry + index_bytes : entry + step])
            parts.append((stated, first, size))
            first += size
    is_whole = 0 < len(parts) <= MAX_TILE_PARTS and read(first, 2) == _END.to_bytes(2)
    return parts if is_whole and all(size > _PART_HEADER.size for *_, size in parts) else []


def _found_parts(read: Read, first: int, end: int | None, tiles: int) -> list[tuple[int, int, int]]:
    """Tile, offset and size of each tile-part, each from the header of the one before."""
    parts: list[tuple[int, int, int]] = []
    page, page_start = b"", first
    while end is None or first < end:
        if first + _PART_HEADER.size > page_start + len(page):
            page, page_start = read(first, WALK_BYTES), first
        header = page[first - page_start :][: _PART_HEADER.size]
        if header[:2] == _END.to_bytes(2):
            break
        if len(header) < _PART_HEADER.size:
            raise BadCodestream(f"is cut short within its tiles, after {len(parts)} parts of {tiles} tiles")
        marker, length, index, size, *_ = _PART_HEADER.unpack(header)
        if marker != _TILE_PART or length != _PART_HEADER.size - 2 or index >= tiles or 0 < size <= _PART_HEADER.size:
            raise BadCodestream("holds something else where a tile is stated to be")
        if len(parts) == MAX_TILE_PARTS:
            raise BadCodestream(f"has more than {MAX_TILE_PARTS:,} parts of tiles")
        if not size:  # up to the end
            size = len(read(first, MAX_LAST_TILE_BYTES + 1)) if end is None else end - first
            if size > MAX_LAST_TILE_BYTES:
                raise BadCodestream("does not state where its last tile ends")
        parts.append((index, first, size))
        first += size
    return parts


def _place(codestream: Codestream, parts: Iterable[tuple[int, int, int]]) -> None:
    """Write the places of all tiles."""
    spans: dict[int, tuple[int, int]] = {}
    for index, offset, size in parts:
        since = spans.get(index, (offset, 0))[0]
        spans[index] = since, offset + size - since
    number = len(codestream.places)
    if spans.keys() != set(range(number)):
        raise BadCodestream(f"is cut short: it holds {len(spans)} of {number} tiles")
    codestream.places[:] = [spans[index] for index in range(number)]


def _search(read: Read, codestream: Codestream, tile: int) -> bool:
    """Find a tile where the tiles lie one after the other, each in one part; False: they do not, or it was not found.

    The bytes of a header of a tile-part do not occur within compressed data.
    """
    places = codestream.places
    first, end = codestream.extent
    for probe in range(MAX_PROBES):
        known = np.flatnonzero(places[:, 0] >= 0)
        before, after = known[known < tile], known[known > tile]
        # Offset of one tile at or before the wanted one, and of one after it.
        low, start = (int(before[-1]) + 1, int(places[before[-1]].sum())) if before.size else (0, first)
        high, stop = (int(after[0]), int(places[after[0], 0])) if after.size else (len(places), end)
        average = (stop - start) // (high - low)
        length = min(max(average, PROBE_BYTES[0]), PROBE_BYTES[1])
        near = tile - low <= 2
        guess = start if near else start + average * (tile - low) + (probe - 1) * length // 2
        offset = max(start, min(guess, stop - length))
        data = read(offset, _PART_HEADER.size if near else min(length, stop - offset))
        for found in _PART_START.finditer(data):
            if found.start() + _PART_HEADER.size > len(data):
                break
            _, _, index, size, number, count = _PART_HEADER.unpack_from(data, found.start())
            at = offset + found.start()
            if number or count > 1 or size <= _PART_HEADER.size or not low <= index < high or at + size > stop:
                return False
            places[index] = at, size
        if places[tile, 0] >= 0:
            return True
        if near and places[low, 0] < 0:
            return False
    return False


def _part(body: bytes, number: int, count: int) -> bytes:
    """A tile-part of the first tile of a codestream."""
    body = body or _DATA.to_bytes(2)
    return _PART_HEADER.pack(_TILE_PART, _PART_HEADER.size - 2, 0, _PART_HEADER.size + len(body), number, count) + body


def _file(codestream: Codestream, header: bytes, shape: tuple[int, int], parts: Sequence[bytes]) -> bytes:
    """A JPEG 2000 file of a main header and tile-parts, without colours, at the place of the original."""
    described = struct.pack(">IIHBBBB", *shape, codestream.components, header[2 + _SIZE_HEADER.size], 7, 0, 0)
    colours = b"\1\0\0" + struct.pack(">I", 17)
    boxes = _box(b"ftyp", b"jp2 \0\0\0\0jp2 ") + _box(b"jp2h", _box(b"ihdr", described) + _box(b"colr", colours))
    stream = _box(b"jp2c", b"".join((header, *parts, _END.to_bytes(2))))
    return _SIGNATURE + boxes + codestream.place + stream


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content
