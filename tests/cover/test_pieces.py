"""Means drawn in one pass say what the decoded cube says."""

from datetime import UTC, datetime

import numpy as np
import pytest
import xarray as xr

from monitor.cover.fraction import ENDMEMBERS
from monitor.cover.means import MEASURES, means
from monitor.cover.pieces import piece_means
from monitor.cube.packed import LAYERS, unpack
from monitor.imagery import bands

SIZES = (7, 1, 0, 400, 33)
EDGES = np.cumsum([0, *SIZES])


def scene(seed):
    rng = np.random.default_rng(seed)
    packed = rng.integers(0, 7000, (len(LAYERS), EDGES[-1])).astype(np.uint16)
    packed[: len(bands.OBSERVED)][rng.uniform(size=(len(bands.OBSERVED), EDGES[-1])) < 0.1] = bands.NODATA
    packed[: len(bands.OBSERVED)][rng.uniform(size=(len(bands.OBSERVED), EDGES[-1])) < 0.05] = bands.SATURATED
    packed[LAYERS.index("clear")] = rng.uniform(size=EDGES[-1]) < 0.7
    return packed


def decoded(packed, scale, offset, endmembers):
    now = datetime(2020, 1, 1, tzinfo=UTC)
    cube = unpack(packed[None], ("pixel",), times=[now], scale=[scale], offset=[offset])
    pieces = xr.DataArray(np.repeat(np.arange(len(SIZES)), SIZES), dims="pixel")
    return means(cube, pieces, endmembers).values[0]


@pytest.mark.parametrize("biome", ["loess", "sandy", "karst"])
@pytest.mark.parametrize(("scale", "offset"), [(1e-4, 0.0), (1e-4, -0.1), (2.75e-5, -0.2)])
def test_the_same_counts_and_means_as_the_decoded_cube(biome, scale, offset):
    packed = scene(1)
    found = piece_means(packed, EDGES, scale=np.full(6, scale), offset=np.full(6, offset), endmembers=ENDMEMBERS[biome])
    expected = decoded(packed, scale, offset, ENDMEMBERS[biome])
    assert found.shape == (len(SIZES), len(MEASURES))
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_array_equal(found[:, 0], expected[:, 0])
    # MSAVI2 and indices with a small denominator lose digits in float32; nothing else may differ by more than 1e-5.
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-5)


def test_the_same_ground_under_another_offset_gives_the_same_bits():
    packed = scene(2)
    packed[: len(bands.OBSERVED)] = packed[: len(bands.OBSERVED)].clip(300, 6000)
    moved = packed.copy()
    moved[: len(bands.OBSERVED)] += 1000
    draw = [
        piece_means(one, EDGES, scale=np.full(6, 1e-4), offset=np.full(6, offset), endmembers=ENDMEMBERS["loess"])
        for one, offset in ((packed, 0.0), (moved, -0.1))
    ]
    np.testing.assert_array_equal(*draw)


def test_a_piece_nobody_saw_has_a_count_of_zero_and_no_mean():
    packed = scene(3)
    packed[LAYERS.index("clear")] = 0
    found = piece_means(packed, EDGES, scale=np.full(6, 1e-4), offset=np.zeros(6), endmembers=ENDMEMBERS["loess"])
    assert (found[:, 0] == 0).all()
    assert np.isnan(found[:, 1:]).all()
