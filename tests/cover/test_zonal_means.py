"""Zonal means against the same in double precision, pixel by pixel, and against values worked out by hand."""

import numpy as np
import pytest
import xarray as xr

from monitor.cover.fraction import ENDMEMBERS, Endmembers
from monitor.cover.zonal_means import zonal_means
from monitor.cube.layout import Zones
from monitor.cube.packed import PACKED_LAYERS
from monitor.cube.records import MEASURES
from monitor.imagery import bands
from tests.cover import reference
from tests.cover.reference import product

SIZES = (7, 1, 0, 400, 33)
EDGES = np.cumsum([0, *SIZES])
CLEAR = PACKED_LAYERS.index("clear")


def scene(seed):
    rng = np.random.default_rng(seed)
    packed = rng.integers(0, 7000, (len(PACKED_LAYERS), EDGES[-1])).astype(np.uint16)
    packed[: len(bands.OBSERVED)][rng.uniform(size=(len(bands.OBSERVED), EDGES[-1])) < 0.1] = bands.NODATA
    packed[: len(bands.OBSERVED)][rng.uniform(size=(len(bands.OBSERVED), EDGES[-1])) < 0.05] = bands.SATURATED
    packed[CLEAR] = rng.uniform(size=EDGES[-1]) < 0.7
    return packed


def plain(*, offset=0.0, endmembers=ENDMEMBERS["loess"]):
    return {"scale": np.full(6, 1e-4), "offset": np.full(6, offset), "endmembers": endmembers}


def test_a_mean_is_over_the_clear_pixels_of_a_zone_and_taken_pixel_by_pixel():
    packed = np.zeros((len(PACKED_LAYERS), 4), np.uint16)
    packed[PACKED_LAYERS.index("red")] = [1000, 2000, 3000, 1000]
    packed[PACKED_LAYERS.index("nir")] = [3000, 2000, 1000, 4000]
    packed[CLEAR] = [1, 1, 1, 0]
    ends = Endmembers(index="ndvi", soil=0.0, vegetation=1.0)
    found = dict(zip(MEASURES, product(packed, np.array([0, 2, 4]), **plain(endmembers=ends)).T, strict=True))
    np.testing.assert_array_equal(found["n_pixels"], [2, 1])
    np.testing.assert_allclose(found["ndvi"], [(0.5 + 0.0) / 2, -0.5], rtol=1e-6)
    np.testing.assert_allclose(found["cover"], [0.25, 0.0], rtol=1e-6)
    np.testing.assert_allclose(found["red"], [0.15, 0.3], rtol=1e-6)
    assert np.isnan([found["ndmi"], found["nbr"], found["blue"]]).all()


@pytest.mark.parametrize("biome", ["loess", "sandy", "karst"])
@pytest.mark.parametrize(("scale", "offset"), [(1e-4, 0.0), (1e-4, -0.1), (2.75e-5, -0.2)])
def test_the_same_counts_and_means_as_in_double_precision(biome, scale, offset):
    packed, known = (
        scene(1),
        {"scale": np.full(6, scale), "offset": np.full(6, offset), "endmembers": ENDMEMBERS[biome]},
    )
    found, expected = product(packed, EDGES, **known), reference.means(packed, EDGES, **known)
    np.testing.assert_array_equal(product(packed, EDGES, **known, lazy=True), found)
    assert found.shape == (len(SIZES), len(MEASURES))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_array_equal(found[:, 0], expected[:, 0])
    # MSAVI2 and indices with a small denominator lose digits in float32; nothing else may differ by more than 1e-5.
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-5)


def test_the_same_ground_under_another_offset_gives_the_same_bits():
    packed = scene(2)
    packed[: len(bands.OBSERVED)] = packed[: len(bands.OBSERVED)].clip(300, 6000)
    moved = packed.copy()
    moved[: len(bands.OBSERVED)] += 1000
    np.testing.assert_array_equal(
        product(packed, EDGES, **plain()), product(moved, EDGES, **plain(offset=-0.1))
    )  # fmt: skip


def test_a_zone_that_was_not_seen_has_a_count_of_zero_and_no_mean():
    packed = scene(3)
    packed[CLEAR] = 0
    found = product(packed, EDGES, **plain())
    assert (found[:, 0] == 0).all()
    assert np.isnan(found[:, 1:]).all()


def test_a_zone_may_share_pixels_with_others_and_take_every_second_of_a_row():
    packed = scene(4)[None]
    pixels = xr.DataArray(packed, dims=("time", "band", "pixel"))
    runs = [np.array([[0, 100, 1], [200, 240, 1]]), np.array([[50, 250, 2], [301, 400, 3]])]
    scale, offset = (xr.DataArray(np.full((1, 6), one), dims=("time", "observed")) for one in (1e-4, 0.0))
    known = {"scale": scale, "offset": offset, "endmembers": ENDMEMBERS["loess"]}
    found = zonal_means(pixels, Zones.from_runs(runs), **known).values[0]
    for zone, mine in enumerate(runs):
        chosen = np.concatenate([np.arange(*run) for run in mine])
        alone = product(packed[0][:, chosen], np.array([0, len(chosen)]), **plain())
        np.testing.assert_array_equal(found[zone], alone[0])
