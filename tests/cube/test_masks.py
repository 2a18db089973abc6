"""Which pixels show the ground."""

import numpy as np
import pytest

from monitor.cube import masks
from monitor.cube.masks import clear, unseen_reason
from monitor.imagery import bands

BLUE, GREEN, RED, NIR, SWIR = (bands.OBSERVED.index(band) for band in ("blue", "green", "red", "nir", "swir16"))
SENTINEL = {"scale": 1e-4, "offset": 0.0}
LANDSAT = {"scale": 2.75e-5, "offset": -0.2}
ALL_CLEAR = {"scl": 5, "scl_cs": 5 + (101 << 8), "qa_pixel": 1 << 6, "fmask": 0, "oa_fmask": 1}
CLOUDY = {"scl": 9, "scl_cs": 9, "qa_pixel": 1 << 3, "fmask": 1 << 1, "oa_fmask": 2}


def scene(side=21, value=1000, scene_class=5):
    pixels = np.full((len(bands.OBSERVED), side, side), value, dtype=np.uint16)
    return pixels, np.full((side, side), scene_class, dtype=np.uint16)


def seen_as(kind, value, *, resolution=10.0, **scaling):
    pixels, quality = scene(scene_class=value)
    pixels[:] = 10_000 if kind == "qa_pixel" else 1000  # .075 on Landsat, .1 elsewhere
    scaling = scaling or (LANDSAT if kind == "qa_pixel" else SENTINEL)
    seen = clear(pixels, quality, kind, resolution=resolution, **scaling)
    assert seen.all() == seen.any()
    return bool(seen.all())


def disc(side, centre, reach):
    y, x = np.indices((side, side))
    return np.hypot(y - centre[0], x - centre[1]) <= reach


@pytest.mark.parametrize("scene_class", range(14))
def test_only_vegetation_and_bare_soil_are_ground(scene_class):
    assert seen_as("scl", scene_class) == (scene_class in (4, 5))


def test_a_value_that_is_not_a_class_does_not_count_as_ground():
    assert not seen_as("scl", 4 + 256)
    assert not seen_as("fmask", 256, resolution=30.0)


@pytest.mark.parametrize("cloud", [3, 8, 9, 10])
def test_a_cloud_or_shadow_hides_the_ground_for_sixty_metres_around(cloud):
    pixels, quality = scene()
    quality[10, 10] = cloud
    seen = clear(pixels, quality, "scl", resolution=10.0, **SENTINEL)
    np.testing.assert_array_equal(seen, ~disc(21, (10, 10), 6))


@pytest.mark.parametrize("harmless", [1, 2, 6, 7, 11])
def test_classes_other_than_cloud_hide_nothing_around_them(harmless):
    pixels, quality = scene()
    quality[10, 10] = harmless
    assert (~clear(pixels, quality, "scl", resolution=10.0, **SENTINEL)).sum() == 1


@pytest.mark.parametrize("phase", [(0, 0), (1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("kind", ["scl", "scl_cs"])
def test_one_cloudy_cell_of_twenty_metres_hides_the_cells_within_three_and_all_their_pixels(kind, phase):
    # Rows of cells 0, 1, 2 and 3 away: 7, 5, 5 and 1 cells lie within 60 m from centre to centre. 29 cells, 116 pixels.
    cells = np.zeros((16, 16), dtype=bool)
    for away, half in ((0, 3), (1, 2), (2, 2), (3, 0)):
        for row in (8 - away, 8 + away):
            cells[row, 8 - half : 8 + half + 1] = True
    expected = cells.repeat(2, axis=0).repeat(2, axis=1)[phase[0] :, phase[1] :]
    assert expected.sum() == 116
    native = np.full((16, 16), 5, dtype=np.uint16)
    native[8, 8] = 9
    quality = native.repeat(2, axis=0).repeat(2, axis=1)[phase[0] :, phase[1] :]
    pixels = np.full((len(bands.OBSERVED), *quality.shape), 1000, dtype=np.uint16)
    seen = clear(pixels, quality, kind, resolution=10.0, **SENTINEL)
    np.testing.assert_array_equal(seen, ~expected)


@pytest.mark.parametrize(("kind", "cell"), [("scl", 20.0), ("qa_pixel", 30.0), ("fmask", 30.0)])
def test_clouds_are_grown_the_same_on_the_native_grid_and_on_one_that_repeats_it(kind, cell):
    rng = np.random.default_rng(3)
    native = np.where(rng.random((24, 30)) < 0.01, CLOUDY[kind], ALL_CLEAR[kind]).astype(np.uint16)
    assert (native == CLOUDY[kind]).any()
    times = int(cell // 10)

    def seen(quality, resolution):
        pixels = np.full((len(bands.OBSERVED), *quality.shape), 10_000 if kind == "qa_pixel" else 1000, dtype=np.uint16)
        scaling = LANDSAT if kind == "qa_pixel" else SENTINEL
        return clear(pixels, quality, kind, resolution=resolution, **scaling)

    coarse = seen(native, cell)
    fine = seen(native.repeat(times, axis=0).repeat(times, axis=1)[1:, 2:], 10.0)
    np.testing.assert_array_equal(fine, coarse.repeat(times, axis=0).repeat(times, axis=1)[1:, 2:])


def test_classes_that_were_brought_to_another_lattice_are_grown_pixel_by_pixel():
    pixels, quality = scene(side=30)
    quality[10:12, 10:12] = 9
    quality[21:23, 10:12] = 9  # an odd distance: no lattice of 20 m holds both
    seen = clear(pixels, quality, "scl", resolution=10.0, **SENTINEL)
    corners = [(row, column) for row in (10, 11, 21, 22) for column in (10, 11)]
    expected = np.logical_or.reduce([disc(30, corner, 6) for corner in corners])
    np.testing.assert_array_equal(seen, ~expected)


@pytest.mark.parametrize("band", [RED, NIR])
@pytest.mark.parametrize("value", [0, 65535])
@pytest.mark.parametrize("kind", list(ALL_CLEAR))
def test_a_pixel_without_value_or_saturated_in_red_or_infrared_is_not_seen(kind, band, value):
    pixels, quality = scene(value=10_000 if kind == "qa_pixel" else 1000, scene_class=ALL_CLEAR[kind])
    pixels[band, 3, 4] = value
    # An offset of 0 keeps no value and saturation between the limits of reflectance: the mask itself must act.
    seen = clear(pixels, quality, kind, resolution=10.0, scale=1e-5, offset=0.01)
    assert not seen[3, 4]
    assert seen.sum() == seen.size - 1


@pytest.mark.parametrize(("bit", "hides"), [(0, True), (1, True), (2, True), (3, True), (4, True), (5, True), (7, True),
                                            (6, False), (8, False)])  # fmt: skip
def test_landsat_bits_hide_the_ground_as_usgs_defines_them(bit, hides):
    assert seen_as("qa_pixel", 1 << bit, resolution=30.0) != hides
    assert seen_as("qa_pixel", (1 << bit) | (1 << 6) | (1 << 8), resolution=30.0) != hides


def test_landsat_quality_zero_is_a_missing_value_and_not_a_clear_sky():
    assert not seen_as("qa_pixel", 0, resolution=30.0)


@pytest.mark.parametrize(("bit", "hides"), [(0, False), (1, True), (2, True), (3, True), (4, True), (5, True),
                                            (6, False), (7, False)])  # fmt: skip
def test_bits_of_harmonised_scenes_hide_the_ground_as_nasa_defines_them(bit, hides):
    assert seen_as("fmask", 1 << bit, resolution=30.0) != hides
    assert seen_as("fmask", (1 << bit) | (3 << 6), resolution=30.0) == (not hides)


@pytest.mark.parametrize(("value", "ground"), [(0, False), (1, True), (2, False), (3, False), (4, False), (5, False)])
def test_classes_of_digital_earth_australia_are_numbers_and_not_the_bits_of_harmonised_scenes(value, ground):
    assert seen_as("oa_fmask", value, resolution=30.0) == ground


@pytest.mark.parametrize(
    ("kind", "fill"), [("fmask", 255), ("qa_pixel", 1), ("qa_pixel", 0xFFFF), ("oa_fmask", 0), ("oa_fmask", 5)]
)
def test_fill_is_a_missing_value_and_hides_nothing_around_it(kind, fill):
    pixels, quality = scene(value=10_000 if kind == "qa_pixel" else 1000, scene_class=ALL_CLEAR[kind])
    quality[10, 10] = fill
    seen = clear(pixels, quality, kind, resolution=30.0, **(LANDSAT if kind == "qa_pixel" else SENTINEL))
    assert not seen[10, 10]
    assert seen.sum() == seen.size - 1


@pytest.mark.parametrize(("kind", "bit", "reach"), [
    ("qa_pixel", 2, 2), ("qa_pixel", 3, 2), ("qa_pixel", 4, 2), ("qa_pixel", 1, 0), ("qa_pixel", 5, 0),
    ("qa_pixel", 0, 0), ("qa_pixel", 7, 0), ("fmask", 1, 2), ("fmask", 3, 2), ("fmask", 2, 0), ("fmask", 4, 0),
    ("fmask", 5, 0),
])  # fmt: skip
def test_clouds_and_shadows_are_grown_by_two_cells_of_thirty_metres_unless_the_provider_grew_them(kind, bit, reach):
    pixels, quality = scene(value=10_000, scene_class=ALL_CLEAR[kind])
    quality[10, 10] = 1 << bit
    seen = clear(pixels, quality, kind, resolution=30.0, **LANDSAT)
    np.testing.assert_array_equal(seen, ~disc(21, (10, 10), reach))


@pytest.mark.parametrize("band", [RED, NIR])
@pytest.mark.parametrize(("integer", "possible"), [(7272, False), (7273, True), (43_636, True), (43_637, False)])
def test_landsat_reflectance_must_lie_between_zero_and_one(band, integer, possible):
    # 2.75e-5 x 7272 - .2 = -.00002; x 43,636 - .2 = .99999
    pixels, quality = scene(value=10_000, scene_class=ALL_CLEAR["qa_pixel"])
    pixels[band, 5, 5] = integer
    seen = clear(pixels, quality, "qa_pixel", resolution=30.0, **LANDSAT)
    assert seen[5, 5] == possible
    assert seen.sum() == seen.size - (not possible)


@pytest.mark.parametrize(("integer", "possible"), [(9_999, True), (10_000, False), (10_001, False)])
def test_harmonised_reflectance_must_lie_between_zero_and_one(integer, possible):
    pixels, quality = scene(scene_class=0)
    pixels[NIR] = integer
    assert clear(pixels, quality, "fmask", resolution=30.0, **SENTINEL).all() == possible


def test_dark_ground_of_a_sentinel_2_scene_with_a_wrong_offset_stays_clear_so_that_the_offset_is_noticed():
    pixels, quality = scene(value=400)
    assert clear(pixels, quality, "scl", resolution=10.0, scale=1e-4, offset=-0.1).all()


@pytest.mark.parametrize(("scene_class", "percent", "ground"), [
    (4, 60, True), (5, 100, True), (4, 59, False), (4, 0, False), (9, 60, True), (8, 80, True), (3, 61, True),
    (7, 70, True), (2, 90, True), (10, 60, True), (0, 100, False), (1, 100, False), (6, 100, False), (11, 100, False),
    (12, 100, False),
])  # fmt: skip
def test_where_cloud_score_is_known_it_decides_except_on_water_snow_and_missing_values(scene_class, percent, ground):
    assert seen_as("scl_cs", scene_class | ((percent + 1) << 8)) == ground


@pytest.mark.parametrize("scene_class", range(12))
def test_where_no_cloud_score_is_known_the_classes_decide(scene_class):
    assert seen_as("scl_cs", scene_class) == (scene_class in (4, 5))


def test_a_low_cloud_score_hides_the_ground_for_sixty_metres_around_and_a_cloudy_class_with_a_high_one_does_not():
    pixels, quality = scene(side=30, scene_class=ALL_CLEAR["scl_cs"])
    quality[10, 10] = 4 | (60 << 8)
    quality[24, 24] = 9 | (91 << 8)
    seen = clear(pixels, quality, "scl_cs", resolution=10.0, **SENTINEL)
    np.testing.assert_array_equal(seen, ~disc(30, (10, 10), 6))


def test_cloud_score_is_grown_on_its_own_ten_metres_though_classes_are_made_at_twenty():
    pixels, quality = scene(side=30, scene_class=ALL_CLEAR["scl_cs"])
    quality[10:12, 10:12] = 4 | (1 << 8)
    seen = clear(pixels, quality, "scl_cs", resolution=10.0, **SENTINEL)
    expected = np.logical_or.reduce([disc(30, (row, column), 6) for row in (10, 11) for column in (10, 11)])
    np.testing.assert_array_equal(seen, ~expected)


@pytest.mark.parametrize("kind", list(ALL_CLEAR))
@pytest.mark.parametrize(("green", "swir", "snowy"), [
    (0.5, 0.1, True), (0.5, 0.22, False), (0.14, 0.05, True), (0.09, 0.01, False), (0.18, 0.36, False),
    (0.35, 0.45, False), (0.6, 0.6, False),
], ids=["snow", "index .39", "thin snow", "dark water", "loess", "bright sand", "salt"])  # fmt: skip
def test_bright_pixels_that_are_dark_at_short_waves_are_snow_and_bright_bare_ground_is_not(kind, green, swir, snowy):
    scale, offset = (2.75e-5, -0.2) if kind == "qa_pixel" else (1e-4, -0.1)
    pixels, quality = scene(scene_class=ALL_CLEAR[kind])
    pixels[:] = round((0.3 - offset) / scale)
    pixels[GREEN], pixels[SWIR] = round((green - offset) / scale), round((swir - offset) / scale)
    seen = clear(pixels, quality, kind, resolution=10.0, scale=scale, offset=offset)
    assert seen.any() != snowy


@pytest.mark.parametrize("band", [GREEN, SWIR])
@pytest.mark.parametrize("value", [0, 65535])
def test_without_green_or_short_waves_no_pixel_is_called_snow_by_its_colour(band, value):
    pixels, quality = scene(value=5000)
    pixels[SWIR] = 1000
    pixels[band] = value
    assert clear(pixels, quality, "scl", resolution=10.0, **SENTINEL).all()


def test_an_unknown_quality_layer_is_an_error_and_not_a_clear_sky():
    pixels, quality = scene()
    with pytest.raises(ValueError, match="'msk_cldprb' is unknown; known are 'scl', 'scl_cs', 'qa_pixel', 'fmask'"):
        clear(pixels, quality, "msk_cldprb", resolution=10.0, **SENTINEL)


@pytest.mark.parametrize(("most", "reason"), [(9, "CLOUD"), (3, "CLOUD"), (11, "SNOW"), (0, "NODATA"), (1, "NODATA")])
def test_the_reason_named_is_that_of_most_of_the_site(most, reason):
    _, quality = scene(scene_class=most)
    quality[0, :5] = 8
    assert unseen_reason(quality, "scl") == reason


@pytest.mark.parametrize(("kind", "most", "reason"), [
    ("qa_pixel", 1 << 1, "CLOUD"), ("qa_pixel", 1 << 4, "CLOUD"), ("qa_pixel", 1 << 5, "SNOW"),
    ("qa_pixel", 1, "NODATA"), ("fmask", 1 << 2, "CLOUD"), ("fmask", 1 << 4, "SNOW"), ("fmask", 255, "NODATA"),
    ("scl_cs", 4 | (20 << 8), "CLOUD"), ("scl_cs", 11 | (99 << 8), "SNOW"), ("scl_cs", 11 | (20 << 8), "CLOUD"),
    ("scl_cs", 0, "NODATA"), ("oa_fmask", 3, "CLOUD"), ("oa_fmask", 4, "SNOW"), ("oa_fmask", 0, "NODATA"),
])  # fmt: skip
def test_the_reason_is_read_from_every_kind_of_quality_layer(kind, most, reason):
    _, quality = scene(scene_class=most)
    assert unseen_reason(quality, kind) == reason


def test_the_reason_is_that_of_the_site_and_not_of_its_surroundings():
    _, quality = scene(scene_class=9)
    inside = np.zeros(quality.shape, dtype=bool)
    inside[:3, :3] = True
    quality[inside] = 11
    assert unseen_reason(quality[inside], "scl") == "SNOW"


def test_no_distance_is_computed_where_all_is_cloud_or_none(monkeypatch):
    def computed(*_args, **_kwargs):
        raise AssertionError("a distance was computed")

    monkeypatch.setattr(masks, "distance_transform_edt", computed)
    for kind in ALL_CLEAR:
        for value in (ALL_CLEAR[kind], CLOUDY[kind]):
            seen_as(kind, value)
