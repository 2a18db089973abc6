"""Which pixels show the ground."""

import numpy as np
import pytest

from monitor.cube.masks import clear, why_unseen
from monitor.imagery import bands

RED, NIR = bands.OBSERVED.index("red"), bands.OBSERVED.index("nir")


def scene(side=21, value=1000, scene_class=5):
    pixels = np.full((len(bands.OBSERVED), side, side), value, dtype=np.uint16)
    return pixels, np.full((side, side), scene_class, dtype=np.uint16)


@pytest.mark.parametrize("scene_class", range(12))
def test_only_vegetation_and_bare_soil_are_ground(scene_class):
    pixels, quality = scene(scene_class=scene_class)
    assert clear(pixels, quality, "scl", resolution=10.0).all() == (scene_class in (4, 5))


@pytest.mark.parametrize("cloud", [3, 8, 9, 10])
def test_a_cloud_or_shadow_hides_the_ground_for_sixty_metres_around(cloud):
    pixels, quality = scene()
    quality[10, 10] = cloud
    seen = clear(pixels, quality, "scl", resolution=10.0)
    y, x = np.indices(seen.shape)
    np.testing.assert_array_equal(seen, np.hypot(y - 10, x - 10) * 10.0 > 60.0)


@pytest.mark.parametrize("harmless", [1, 2, 6, 7, 11])
def test_what_is_no_cloud_hides_nothing_around_it(harmless):
    pixels, quality = scene()
    quality[10, 10] = harmless
    assert (~clear(pixels, quality, "scl", resolution=10.0)).sum() == 1


@pytest.mark.parametrize("band", [RED, NIR])
@pytest.mark.parametrize("value", [0, 65535])
def test_a_pixel_without_value_or_saturated_in_red_or_infrared_is_not_seen(band, value):
    pixels, quality = scene()
    pixels[band, 3, 4] = value
    seen = clear(pixels, quality, "scl", resolution=10.0)
    assert not seen[3, 4]
    assert seen.sum() == seen.size - 1


@pytest.mark.parametrize(("bit", "hides"), [(0, True), (1, True), (2, True), (3, True), (4, True), (5, True), (7, True),
                                            (6, False), (8, False)])  # fmt: skip
def test_landsat_bits_hide_the_ground_as_usgs_defines_them(bit, hides):
    pixels, quality = scene(scene_class=1 << bit)
    assert clear(pixels, quality, "qa_pixel", resolution=30.0).any() != hides


def test_an_unknown_quality_layer_is_an_error_and_not_a_clear_sky():
    pixels, quality = scene()
    with pytest.raises(ValueError, match="'fmask'"):
        clear(pixels, quality, "fmask", resolution=10.0)


@pytest.mark.parametrize(("most", "reason"), [(9, "CLOUD"), (3, "CLOUD"), (11, "SNOW"), (0, "NODATA")])
def test_the_reason_named_is_that_of_most_of_the_site(most, reason):
    _, quality = scene(scene_class=most)
    quality[0, :5] = 8
    assert why_unseen(quality, "scl", np.ones(quality.shape, dtype=bool)) == reason
