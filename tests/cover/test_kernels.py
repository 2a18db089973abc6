"""One pass over integers gives what the functions on arrays give, to the bit."""

import numpy as np
import pytest
import xarray as xr

from monitor.cover.fraction import ENDMEMBERS, cover
from monitor.cover.indices import ndvi
from monitor.cover.kernels import ndvi_and_cover


def scene(kind, seed=1, shape=(61, 83)):
    """Red, near infrared and clear of one scene: dark and bright ground, empty pixels, sums below zero."""
    rng = np.random.default_rng(seed)
    red, nir = (rng.integers(0, 12_000, shape).astype(kind) for _ in range(2))
    red[:5], nir[:5] = rng.integers(0, 2100, (2, 5, shape[1]))
    for band in (red, nir):
        band[rng.random(shape) < 0.05] = 0
    return red, nir, rng.random(shape) < 0.7


@pytest.mark.parametrize("kind", [np.uint16, np.int16])
@pytest.mark.parametrize("offset", [0.0, -0.1])
def test_every_bit_is_that_of_the_functions_on_decoded_bands(kind, offset):
    red, nir, clear = scene(kind)
    loess = ENDMEMBERS["loess"]
    found, share, seen = ndvi_and_cover(red, nir, clear, scale=1e-4, offset=offset, nodata=0, endmembers=loess)
    bands = [
        xr.DataArray(np.where(band != 0, band.astype(np.float32) * np.float32(1e-4) + np.float32(offset), np.nan))
        for band in (red, nir)
    ]
    expected = ndvi(*(band.astype(np.float32) for band in bands)).where(clear)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(share, cover(expected, loess))
    np.testing.assert_array_equal(seen, expected.notnull())
    assert found.dtype == share.dtype == np.float32
    assert 0.4 < seen.mean() < 0.7


def test_known_ground():
    red, nir = np.array([1000, 1000, 4000, 0], np.uint16), np.array([3000, 9000, 4000, 3000], np.uint16)
    clear = np.array([True, True, True, True])
    found, share, seen = ndvi_and_cover(
        red, nir, clear, scale=1e-4, offset=0.0, nodata=0, endmembers=ENDMEMBERS["steppe"]
    )
    np.testing.assert_allclose(found, [0.5, 0.8, 0.0, np.nan], atol=1e-7)
    np.testing.assert_allclose(share, [(0.5 - 0.09) / 0.66, 1.0, 0.0, np.nan], atol=1e-6)
    assert seen.tolist() == [True, True, True, False]


def test_parts_of_a_scene_give_the_bits_of_the_whole():
    red, nir, clear = scene(np.uint16)
    kept = {"scale": 1e-4, "offset": -0.1, "nodata": 0, "endmembers": ENDMEMBERS["alpine"]}
    whole = ndvi_and_cover(red, nir, clear, **kept)
    for i in range(3):
        parts = ndvi_and_cover(red[i::3], nir[i::3], clear[i::3], **kept)
        for part, layer in zip(parts, whole, strict=True):
            np.testing.assert_array_equal(part, layer[i::3])


def test_cover_of_another_index_and_bands_of_other_shapes_are_refused():
    red, nir, clear = scene(np.uint16)
    kept = {"scale": 1e-4, "offset": 0.0, "nodata": 0}
    with pytest.raises(ValueError, match="made of 'msavi2'"):
        ndvi_and_cover(red, nir, clear, **kept, endmembers=ENDMEMBERS["sandy"])
    with pytest.raises(ValueError, match="differ in shape"):
        ndvi_and_cover(red, nir[:-1], clear, **kept, endmembers=ENDMEMBERS["loess"])
