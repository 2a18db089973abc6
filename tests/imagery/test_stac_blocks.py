"""Blocks of GeoTIFFs of every kind are the pixels that were written, and a damaged file is reported as one."""

import logging

import numpy as np
import pytest
import rasterio
from affine import Affine

from monitor.errors import SceneRejected
from monitor.imagery.stac import blocks

HEIGHT, WIDTH = 300, 420


class Bytes:
    """A file in memory that remembers what was read."""

    name = "file"

    def __init__(self, data):
        self.data = data
        self.read_of = []

    def read(self, offset, length):
        self.read_of.append((offset, length))
        return bytes(self.data[offset : offset + length])


def written(folder, driver="COG", dtype="uint16", count=1, **options):
    pixels = np.random.default_rng(0).integers(0, 200, (count, HEIGHT, WIDTH)).astype(dtype)
    path = folder / "a.tif"
    with rasterio.open(
        path, "w", driver=driver, height=HEIGHT, width=WIDTH, count=count, dtype=dtype, crs="EPSG:32648", nodata=0,
        transform=Affine(10, 0, 600_000, 0, -10, 4_200_000), **options,
    ) as file:  # fmt: skip
        file.write(pixels)
    return Bytes(path.read_bytes()), pixels


def read_all(reader, band):
    """All pixels of a band, block by block."""
    layout = blocks.read_layout(reader)
    down, across = layout.grid
    first = layout.first_block(band)
    stored = blocks.fetch_blocks(reader, layout, range(first, first + down * across))
    made = blocks.decode_blocks(layout, stored, band=band, name="file")
    strips = [np.hstack([made[first + row * across + n] for n in range(across)]) for row in range(down)]
    return np.concatenate(strips)[:HEIGHT, :WIDTH]


@pytest.mark.parametrize("make", [
    {"compress": "deflate", "blocksize": 128},
    {"compress": "deflate", "blocksize": 128, "predictor": 2},
    {"compress": "deflate", "blocksize": 128, "dtype": "int16", "predictor": 2},
    {"compress": "deflate", "blocksize": 128, "dtype": "uint8"},
    {"compress": "deflate", "blocksize": 128, "dtype": "float32", "predictor": 3},
    {"compress": "lzw", "blocksize": 128, "predictor": 2},
    {"compress": "zstd", "blocksize": 128, "predictor": 2},
    {"compress": "lerc", "blocksize": 128},
    {"compress": "none", "blocksize": 128},
    {"compress": "deflate", "blocksize": 128, "count": 3, "interleave": "pixel", "predictor": 2},
    {"compress": "lzw", "blocksize": 128, "count": 3, "interleave": "band"},
    {"driver": "GTiff"},
    {"driver": "GTiff", "compress": "deflate", "blockysize": 64},
    {"driver": "GTiff", "compress": "lzw", "blockysize": 64},
    {"driver": "GTiff", "compress": "deflate", "endianness": "big", "predictor": 2},
    {"driver": "GTiff", "compress": "zstd", "endianness": "big", "predictor": 2, "tiled": True, "blockxsize": 64,
     "blockysize": 128},
    {"driver": "GTiff", "compress": "deflate", "bigtiff": "yes", "tiled": True, "blockxsize": 64, "blockysize": 128},
    {"driver": "GTiff", "count": 3, "interleave": "band", "compress": "deflate", "tiled": True, "blockxsize": 64,
     "blockysize": 64},
], ids=lambda make: " ".join(f"{key}={one}" for key, one in make.items()))  # fmt: skip
def test_blocks_are_the_pixels_that_were_written(tmp_path, make):
    reader, pixels = written(tmp_path, **make)
    for band in range(len(pixels)):
        np.testing.assert_array_equal(read_all(reader, band), pixels[band])


def test_the_header_is_what_was_written(tmp_path):
    layout = blocks.read_layout(written(tmp_path, blocksize=128, dtype="int16")[0])
    assert (layout.shape, layout.block, layout.dtype, layout.nodata, layout.epsg) == (
        (300, 420), (128, 128), "int16", 0, 32648,
    )  # fmt: skip
    assert layout.transform == Affine(10, 0, 600_000, 0, -10, 4_200_000)


def test_the_header_is_read_once_and_neighbouring_blocks_together(tmp_path):
    reader, _ = written(tmp_path, blocksize=128, compress="deflate")
    layout = blocks.read_layout(reader)
    assert reader.read_of == [(0, blocks.HEADER_BYTES)]
    blocks.fetch_blocks(reader, layout, [0, 1, 2, 3, 4])
    assert len(reader.read_of) == 2


def test_blocks_far_apart_are_fetched_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "MAX_GAP_BYTES", 0)
    reader, _ = written(tmp_path, blocksize=128, compress="deflate")
    layout = blocks.read_layout(reader)
    blocks.fetch_blocks(reader, layout, [0, 7])
    requested = reader.read_of[1:]
    assert sorted(length for _, length in requested) == sorted(int(layout.sizes[n]) for n in (0, 7))


@pytest.mark.parametrize("compress", ["deflate", "lzw", "zstd"])
def test_a_damaged_header_is_a_rejected_scene_never_another_error(tmp_path, compress):
    logging.getLogger("rasterio").setLevel(logging.CRITICAL)
    reader, _ = written(tmp_path, blocksize=128, compress=compress)
    random = np.random.default_rng(3)
    rejected = 0
    for _ in range(150):
        damaged = bytearray(reader.data)
        for place in random.integers(0, 900, random.integers(1, 4)):
            damaged[place] = random.integers(256)
        broken = Bytes(damaged)
        try:
            layout = blocks.read_layout(broken)
            stored = blocks.fetch_blocks(broken, layout, [0])
            blocks.decode_blocks(layout, stored, band=0, name="file")
        except SceneRejected as error:
            assert error.reason == "BROKEN"  # noqa: PT017 - not every damage is seen
            rejected += 1
    assert rejected > 20


def test_a_deflated_block_of_the_wrong_length_is_broken(tmp_path):
    import zlib

    reader, _ = written(tmp_path, blocksize=128, compress="deflate")
    layout = blocks.read_layout(reader)
    for length in (10, 128 * 128 * 2 - 1, 128 * 128 * 2 + 1, 50_000_000):
        with pytest.raises(SceneRejected, match="cannot be decoded"):
            blocks.decode_blocks(layout, {0: zlib.compress(b"\0" * length)}, band=0, name="file")


def test_a_file_that_lies_nowhere_is_refused(tmp_path):
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning), rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", height=10, width=10, count=1, dtype="uint16"
    ) as file:  # fmt: skip
        file.write(np.ones((1, 10, 10), "uint16"))
    with pytest.raises(SceneRejected, match="where on Earth"):
        blocks.read_layout(Bytes((tmp_path / "a.tif").read_bytes()))
