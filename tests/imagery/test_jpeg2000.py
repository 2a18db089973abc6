"""A tile of a JPEG 2000 file is what the whole file holds there, read alone; a damaged file is reported as one."""

import logging
import struct

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine

from monitor.errors import SceneRejected
from monitor.imagery.stac import blocks, jpeg2000
from tests.imagery.test_stac_blocks import Bytes

SIDE = 549
PLACE = Affine(10, 0, 600_000, 0, -10, 4_200_000)


def written(folder, *, dtype="uint16", bands=1, tile=256, shape=(SIDE, SIDE), **options):
    """A file in memory with its pixels as GDAL reads them all."""
    random = np.random.default_rng(0)
    rough = random.integers(0, 200, (bands, shape[0] // 9 + 1, shape[1] // 9 + 1))
    pixels = rough.repeat(9, 1).repeat(9, 2)[:, : shape[0], : shape[1]] + random.integers(0, 40, (bands, *shape))
    with rasterio.open(
        folder / "a.tif", "w", driver="GTiff", height=shape[0], width=shape[1], count=bands, dtype=dtype,
        crs="EPSG:32648", transform=PLACE,
    ) as file:  # fmt: skip
        file.write(pixels.astype(dtype))
    lossless = {"QUALITY": 100, "REVERSIBLE": "YES"}
    rasterio.shutil.copy(
        folder / "a.tif", folder / "a.jp2", driver="JP2OpenJPEG", BLOCKXSIZE=tile, BLOCKYSIZE=tile,
        **(options or lossless),
    )  # fmt: skip
    with rasterio.open(folder / "a.jp2") as file:
        return Bytes((folder / "a.jp2").read_bytes()), file.read()


def read_tile(reader, number, band=0):
    """A tile without the pixels beyond the file, and where it lies."""
    layout = blocks.read_layout(reader)
    row, column = divmod(number, layout.grid[1])
    place = (slice(row * layout.block[0], min((row + 1) * layout.block[0], layout.shape[0])),
             slice(column * layout.block[1], min((column + 1) * layout.block[1], layout.shape[1])))  # fmt: skip
    stored = blocks.fetch_blocks(reader, layout, [number])
    tile = blocks.decode_blocks(layout, stored, band=band, name="file")[number]
    assert tile.shape == layout.block
    return tile[: place[0].stop - place[0].start, : place[1].stop - place[1].start], place


@pytest.mark.parametrize("make", [
    {}, {"dtype": "uint8"}, {"dtype": "int16"}, {"bands": 3, "dtype": "uint8"},
    {"QUALITY": 100, "REVERSIBLE": "YES", "NBITS": 15}, {"QUALITY": 20},
    {"QUALITY": 20, "RESOLUTIONS": 3, "PROGRESSION": "RPCL"},
    {"QUALITY": 100, "REVERSIBLE": "YES", "TLM": "YES", "PLT": "YES"},
    {"QUALITY": 100, "REVERSIBLE": "YES", "GeoJP2": "NO"}, {"tile": 1024}, {"tile": 1024, "shape": (1098, 1201)},
    {"shape": (513, 511)},
], ids=lambda make: " ".join(f"{key}={one}" for key, one in make.items()) or "default")  # fmt: skip
def test_each_tile_is_what_the_whole_file_holds_there(tmp_path, make):
    reader, pixels = written(tmp_path, **make)
    layout = blocks.read_layout(reader)
    assert (layout.epsg, layout.transform, layout.shape, layout.nodata) == (32648, PLACE, pixels.shape[1:], None)
    for number in range(layout.grid[0] * layout.grid[1]):
        for band in range(len(pixels)):
            tile, place = read_tile(reader, number, band)
            np.testing.assert_array_equal(tile, pixels[band][place])


@pytest.mark.parametrize("lengths", ["NO", "YES"])
def test_only_headers_and_the_tiles_that_are_needed_are_read(tmp_path, lengths):
    reader, _ = written(tmp_path, shape=(1100, 1100), QUALITY=100, REVERSIBLE="YES", TLM=lengths)
    layout = blocks.read_layout(reader)
    assert reader.read_of[0] == (0, blocks.HEADER_BYTES)
    assert sum(length for _, length in reader.read_of[1:]) <= (2 if lengths == "YES" else 25 * 1024)
    del reader.read_of[:]
    blocks.fetch_blocks(reader, layout, [12])
    assert reader.read_of == [tuple(layout.codestream.places[12])]


def test_a_tile_of_many_is_found_by_few_requests(tmp_path, monkeypatch):
    monkeypatch.setattr(jpeg2000, "PROBE_BYTES", (512, 2 << 20))
    reader, pixels = written(tmp_path, tile=32, shape=(400, 352))
    reached, wanted = [], [0, 5, 70, 71, 100, 142]
    for number in wanted:
        del reader.read_of[:]
        tile, place = read_tile(reader, number)
        np.testing.assert_array_equal(tile, pixels[0][place])
        reached.append(len(reader.read_of))
    assert max(reached) <= 8
    layout = blocks.read_layout(reader)
    stored = blocks.fetch_blocks(reader, layout, list(range(143)))
    assert [stored[number] for number in range(143)] == [
        reader.data[at : at + 12 + len(body)] for at, _, body in parts_of(reader.data)
    ]
    with pytest.raises(SceneRejected, match="cut short"):
        blocks.read_layout(Bytes(reader.data[:-9000]))


def test_many_tiles_in_several_parts_are_found_by_following_all(tmp_path):
    reader, pixels = written(tmp_path, tile=32, shape=(400, 352))
    found = list(parts_of(reader.data))
    halves = [(index, 0, body[: len(body) // 2]) for _, index, body in found]
    halves += [(index, 1, b"\xff\x93" + body[len(body) // 2 :]) for _, index, body in found]
    made = b"".join(struct.pack(">HHHIBB", 0xFF90, 10, i, 12 + len(body), n, 2) + body for i, n, body in halves)
    data = bytearray(reader.data[: found[0][0]] + made + b"\xff\xd9")
    at = data.index(b"jp2c") - 4
    data[at : at + 4] = (len(data) - at).to_bytes(4)
    tile, place = read_tile(Bytes(data), 77)
    np.testing.assert_array_equal(tile, pixels[0][place])


def parts_of(data):
    """Offset, tile and body of each tile-part."""
    position = data.index(b"\xff\x90\0\x0a")
    while data[position : position + 2] == b"\xff\x90":
        index, size = struct.unpack(">HI", data[position + 4 : position + 10])
        yield position, index, data[position + 12 : position + size]
        position += size


def test_a_tile_in_several_parts_between_those_of_other_tiles_is_read(tmp_path):
    reader, pixels = written(tmp_path)
    found = list(parts_of(reader.data))
    # Halves of the bodies, first halves of all tiles before the second.
    halves = [(index, 0, body[: len(body) // 2]) for _, index, body in found]
    halves += [(index, 1, b"\xff\x93" + body[len(body) // 2 :]) for _, index, body in found]
    made = b"".join(struct.pack(">HHHIBB", 0xFF90, 10, i, 12 + len(body), n, 2) + body for i, n, body in halves)
    data = bytearray(reader.data[: found[0][0]] + made + b"\xff\xd9")
    data[data.index(b"jp2c") - 4 : data.index(b"jp2c")] = bytes(4)  # up to the end of the file
    for number in range(9):
        tile, place = read_tile(Bytes(data), number)
        np.testing.assert_array_equal(tile, pixels[0][place])


def test_a_last_tile_up_to_the_end_of_the_file_is_read(tmp_path):
    reader, pixels = written(tmp_path)
    data = bytearray(reader.data)
    position, number, _ = list(parts_of(data))[-1]
    data[position + 6 : position + 10] = bytes(4)
    tile, place = read_tile(Bytes(data), number)
    np.testing.assert_array_equal(tile, pixels[0][place])


def test_stated_lengths_that_are_wrong_are_not_believed(tmp_path):
    reader, pixels = written(tmp_path, QUALITY=100, REVERSIBLE="YES", TLM="YES")
    data = bytearray(reader.data)
    at = data.index(b"\xff\x55") + 6
    data[at + 3] ^= 1  # another size
    tile, place = read_tile(Bytes(data), 4)
    np.testing.assert_array_equal(tile, pixels[0][place])
    data = bytearray(reader.data)
    entry = (int.from_bytes(data[at - 4 : at - 2]) - 4) // 9
    data[at : at + entry], data[at + entry : at + 2 * entry] = data[at + entry : at + 2 * entry], data[at : at + entry]
    with pytest.raises(SceneRejected, match="is stated to be"):
        read_tile(Bytes(data), 0)


def patched(data, marker, skip, new):
    """The file with bytes replaced after the first such marker."""
    at = data.index(marker) + skip
    return data[:at] + new + data[at + len(new) :]


@pytest.mark.parametrize(("change", "why"), [
    (lambda data: data[: len(data) // 2], "is cut short within its tiles"),
    (lambda data: data[:200], "cut short"),
    (lambda data: patched(data, b"\xff\x51", 6, struct.pack(">II", 1 << 30, 1 << 30)), "impossible sides"),
    (lambda data: patched(data, b"\xff\x51", 22, struct.pack(">II", 1, 1)), "tiles"),
    (lambda data: patched(data, b"\xff\x51", 6, struct.pack(">6I", 9999, 9999, 0, 0, 9999, 9999)), "too large"),
    (lambda data: patched(data, b"\xff\x51", 14, struct.pack(">II", 5, 5)), "offset of its grid"),
    (lambda data: patched(data, b"\xff\x90\0\x0a", 4, struct.pack(">HI", 0, 0)), "cut short"),
    (lambda data: patched(data, b"\xff\x90\0\x0a", 4, struct.pack(">HI", 0, 12)), "something else"),
    (lambda data: patched(data, b"\xff\x90\0\x0a", 4, struct.pack(">HI", 60_000, 900)), "something else"),
    (lambda data: patched(data, b"\xff\x90\0\x0a", 4, struct.pack(">HI", 0, 4_000_000_000)), "cut short"),
    (lambda data: data[:12] + b"\0\0\0\x08free" * 100 + data[12:], "boxes"),
    (lambda data: data[:12] + b"\0\0\0\x07free" + data[12:], "box"),
], ids=["half", "start", "huge", "tiny tiles", "one tile", "offset", "to the end", "empty", "other tile", "long",
        "boxes", "short box"])  # fmt: skip
def test_a_file_that_is_damaged_or_means_harm_is_broken(tmp_path, change, why):
    reader, _ = written(tmp_path)
    with pytest.raises(SceneRejected, match=why) as refused:
        read_tile(Bytes(change(reader.data)), 8)
    assert refused.value.reason == "BROKEN"


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_damage_is_a_rejected_scene_never_another_error(tmp_path):
    logging.getLogger("rasterio").setLevel(logging.CRITICAL)
    reader, _ = written(tmp_path, tile=1024)
    random = np.random.default_rng(3)
    start = reader.data.index(b"jp2c")
    rejected = 0
    for _ in range(60):
        damaged = bytearray(reader.data)
        for place in random.integers(start, start + 160, random.integers(1, 4)):
            damaged[place] = random.integers(256)
        try:
            read_tile(Bytes(damaged), 0)
        except SceneRejected as error:
            assert error.reason == "BROKEN"  # noqa: PT017 - not every damage is seen
            rejected += 1
    assert rejected > 20
