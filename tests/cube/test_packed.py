"""From a provider's frames to packed layers, and back to reflectance."""

from datetime import UTC, datetime

import dask.array as da
import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio import open as open_raster
from shapely.geometry import box

from monitor.cube.grid import site_grid
from monitor.cube.packed import PACKED_LAYERS, pack, unpack
from monitor.errors import SceneRejected
from monitor.imagery import bands
from monitor.imagery.source import Frame
from tests import builders

GRID = site_grid(box(103.800, 36.000, 103.801, 36.001))
DAYS = [datetime(2020, 1, day, tzinfo=UTC) for day in (1, 2)]


def scene(**changes):
    return builders.scene("a", DAYS[0], **({"baseline": "05.00", "offset": -0.1} | changes))


def frame(value=2000, quality=4):
    pixels = np.full((len(bands.OBSERVED), *GRID.shape), value, dtype=np.uint16)
    return Frame(grid=GRID, pixels=pixels, quality=np.full(GRID.shape, quality, dtype=np.uint16))


def packed(*values):
    """(time, layer, pixel) of one pixel a scene: clear vegetation, equal in all bands."""
    layers = np.ones((len(values), len(PACKED_LAYERS), 1), dtype=np.uint16)
    layers[:, : len(bands.OBSERVED)] = np.array(values).reshape(-1, 1, 1)
    return layers


def test_what_is_packed_is_what_was_delivered_and_where_it_is_clear():
    one = frame()
    one.quality[0, 0] = 9
    layers = pack(one, scene())
    np.testing.assert_array_equal(layers[: len(bands.OBSERVED)], one.pixels)
    np.testing.assert_array_equal(layers[PACKED_LAYERS.index("quality")], one.quality)
    seen = layers[PACKED_LAYERS.index("clear")]
    assert seen.max() == 1
    assert seen[-1, -1] == 1
    assert seen[0, :7].max() == 0


@pytest.mark.parametrize(("pixel", "hidden"), [(10.0, 7), (30.0, 3)])
def test_a_cloud_is_grown_by_metres_of_the_grid_that_it_lies_on(pixel, hidden):
    grid = GeoBox((12, 12), Affine(pixel, 0, 400_000, 0, -pixel, 4_000_000), "EPSG:32648")
    pixels = np.full((len(bands.OBSERVED), *grid.shape), 2000, dtype=np.uint16)
    quality = np.zeros(grid.shape, dtype=np.uint16)
    quality[0, 0] = 1 << 3  # of cells of 30 m, or of a lattice of 10 m that holds none of them whole
    seen = pack(Frame(grid=grid, pixels=pixels, quality=quality), scene(quality="fmask", offset=0.0))
    assert (seen[PACKED_LAYERS.index("clear")][0] == 0).sum() == hidden


@pytest.mark.parametrize(("offset", "clear"), [(-0.2, 1), (-0.3, 0)])
def test_the_scale_and_offset_of_the_scene_decide_which_landsat_reflectance_is_possible(offset, clear):
    layers = pack(frame(value=10_000, quality=64), scene(quality="qa_pixel", scale=2.75e-5, offset=offset))
    assert (layers[PACKED_LAYERS.index("clear")] == clear).all()


@pytest.mark.parametrize("lazy", [False, True], ids=["numpy", "dask"])
def test_reflectance_is_scaled_and_no_value_and_saturation_are_nan_in_every_band(lazy):
    layers = packed(0, 65535)
    layers[:, :, :] = np.concatenate([packed(0), packed(65535)])
    layers[0, bands.OBSERVED.index("green")] = 2500
    layers = da.from_array(layers) if lazy else layers
    cube = unpack(layers, ("pixel",), times=DAYS, scale=[1e-4, 1e-4], offset=[-0.1, 0.0])
    assert cube.green.dtype == np.float32
    np.testing.assert_allclose(cube.green.values[0], 0.15, rtol=1e-6)
    for band in bands.OBSERVED:
        assert np.isnan(cube[band].values[1]).all()
        assert np.isnan(cube[band].values[0]).all() == (band != "green")


def test_a_rejected_scene_of_unknown_scale_has_no_reflectance():
    one = packed(2000)
    one[:, : len(bands.OBSERVED)] = 0
    cube = unpack(one, ("pixel",), times=DAYS[:1], scale=[0.0], offset=[0.0])
    assert np.isnan(cube["red"].values).all()


def test_only_the_requested_layers_are_made():
    cube = unpack(packed(100), ("pixel",), times=DAYS[:1], scale=[1.0], offset=[0.0], layers=("red", "clear"))
    assert set(cube.data_vars) == {"red", "clear"}


# Reflectance .2 as Landsat sees it, brought to Sentinel-2 by hand: (.2 - intercept) / slope.
BY_HAND = {"blue": 0.2086316, "green": 0.1998408, "red": 0.2038914, "nir": 0.2004407, "swir16": 0.2013618,
           "swir22": 0.2005982}  # fmt: skip


@pytest.mark.parametrize("lazy", [False, True], ids=["numpy", "dask"])
def test_a_landsat_scene_beside_sentinel_2_is_brought_to_its_bands_and_the_other_is_not_touched(lazy):
    layers = da.from_array(packed(2000, 2000)) if lazy else packed(2000, 2000)
    cube = unpack(layers, ("pixel",), times=DAYS, scale=[1e-4] * 2, offset=[0.0] * 2, bandpass=[False, True])
    for band, value in BY_HAND.items():
        np.testing.assert_allclose(cube[band].values[:, 0], [0.2, value], rtol=2e-6)


def test_without_a_mixture_of_sensors_nothing_is_adjusted():
    layers = packed(2000, 3000)
    plain = unpack(layers, ("pixel",), times=DAYS, scale=[1e-4] * 2, offset=[0.0] * 2)
    unadjusted = unpack(layers, ("pixel",), times=DAYS, scale=[1e-4] * 2, offset=[0.0] * 2, bandpass=[False, False])
    assert plain.identical(unadjusted)


def test_a_scene_is_scaled_the_same_alone_and_among_others():
    together = unpack(packed(2000, 9000), ("pixel",), times=DAYS, scale=[1e-4, 2.75e-5], offset=[0.0, -0.2],
                      bandpass=[False, True])  # fmt: skip
    alone = unpack(packed(9000), ("pixel",), times=DAYS[1:], scale=[2.75e-5], offset=[-0.2], bandpass=[True])
    assert together.isel(time=[1]).identical(alone)


SCALINGS = st.sampled_from([(1e-4, 0.0), (2.75e-5, -0.2)])


@given(band=st.sampled_from(bands.OBSERVED), integer=st.integers(1, 65534), scaling=SCALINGS)
def test_what_sentinel_2_would_see_is_seen_by_landsat_as_it_was(band, integer, scaling):
    scale, offset = bands.scaled_to_msi(band, *scaling)
    slope, intercept = bands.BANDPASS[band]
    seen = slope * (scale * integer + offset) + intercept
    assert seen == pytest.approx(scaling[0] * integer + scaling[1], rel=1e-7, abs=1e-12)


@pytest.mark.parametrize(("sensor", "quality", "family"), [
    ("sentinel-2a", "scl", "msi"), ("sentinel-2c", "scl_cs", "msi"), ("sentinel-2", "scl", "msi"),
    ("sentinel-2a", "fmask", "oli"), ("landsat-8", "qa_pixel", "oli"), ("landsat-9", "fmask", "oli"),
])  # fmt: skip
def test_harmonised_scenes_of_sentinel_2_have_the_bands_of_landsat(sensor, quality, family):
    assert bands.sensor_family(sensor, quality) == family


def integers(path):
    """A raster of six bands of reflectance as integers of 1e-4, no value where it has none."""
    with open_raster(path) as raster:
        return np.rint(np.nan_to_num(raster.read()) * 10_000).clip(0, 65534).astype(np.uint16)


def cut(pixels, scene_class=4):
    grid = site_grid(box(103.800, 36.000, 103.801, 36.001)).crop(pixels.shape[1:])
    return Frame(grid=grid, pixels=pixels, quality=np.full(pixels.shape[1:], scene_class, dtype=np.uint16))


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_the_real_composites_stretched_for_display_are_refused_and_the_true_ones_pass(shared_data):
    stretched = sorted((shared_data / "bc06_stretched").glob("*.tif"))
    true = sorted((shared_data / "bc06_wildfire" / "annual_composites").glob("*.tif"))
    assert len(stretched) == 2
    assert len(true) == 22
    for path in stretched:
        with pytest.raises(SceneRejected, match="stretched") as refused:
            pack(cut(integers(path)), scene(offset=0.0))
        assert refused.value.reason == "RADIOMETRY"
    for path in true:
        assert pack(cut(integers(path)), scene(offset=0.0))[PACKED_LAYERS.index("clear")].any()


def test_fractions_cut_off_to_whole_numbers_are_refused():
    rng = np.random.default_rng(1)
    fractions = rng.uniform(0.01, 1.2, (len(bands.OBSERVED), *GRID.shape))
    with pytest.raises(SceneRejected, match="scaled already"):
        pack(cut(fractions.astype(np.uint16)), scene())


@pytest.mark.parametrize(
    ("place", "value"),
    [(np.s_[:, 2:4, 2:4], 10_000), (np.s_[:, 2:4, 2:4], 65_535), ((np.arange(6), np.arange(6), 3), bands.SATURATED)],
    ids=["a bright cloud", "a cloud that saturates every band", "glints that saturate each band elsewhere"],
)
def test_what_is_bright_is_not_taken_for_a_stretch(place, value):
    rng = np.random.default_rng(1)
    pixels = rng.integers(500, 4000, (len(bands.OBSERVED), *GRID.shape)).astype(np.uint16)
    pixels[place] = value
    assert not bands.is_stretched(pixels)


def test_bands_stretched_to_bytes_are_recognised_though_a_sensor_lacks_one():
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 250, (len(bands.OBSERVED), *GRID.shape)).astype(np.uint16)
    pixels[np.arange(6), np.arange(6), 3] = 255
    pixels[5] = bands.NODATA
    assert bands.is_stretched(pixels)


def test_a_scene_without_any_value_is_not_called_stretched():
    assert not bands.is_stretched(np.zeros((len(bands.OBSERVED), *GRID.shape), dtype=np.uint16))
    assert not bands.is_stretched(np.full((len(bands.OBSERVED), *GRID.shape), np.nan))
