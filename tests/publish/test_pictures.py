"""Maps and chips as pictures: colours that can be read back, nothing shown where nothing was seen."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from monitor.cube.context_pictures import stretch_of
from monitor.publish import pictures


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


def hexadecimal(rgb: np.ndarray) -> str:
    return "#{:02x}{:02x}{:02x}".format(*rgb)


@pytest.mark.parametrize("layer", pictures.MAP_LAYERS, ids=lambda layer: layer.name)
def test_a_map_has_the_colours_of_its_legend_and_those_of_the_ends_beyond_them(layer):
    stops = {int(place): colour for colour, place in re.findall(r"(#\w{6}) (\d+)%", pictures.ramp(layer))}
    middle = (layer.low + layer.high) / 2
    values = np.array([[layer.low - 9, layer.low, middle, layer.high, layer.high + 9, np.nan]], dtype=np.float32)
    shown = pixels(pictures.map_png(values, layer))
    ends = [stops[0], stops[0], hexadecimal(shown[0, 2, :3]), stops[100], stops[100]]
    assert [hexadecimal(rgb) for rgb in shown[0, :5, :3]] == ends
    assert stops[0] == f"#{pictures.PALETTES[layer.palette][:6]}"
    assert stops[100] == f"#{pictures.PALETTES[layer.palette][-6:]}"
    np.testing.assert_allclose(shown[0, 2, :3], [*bytes.fromhex(stops[50][1:])], atol=2)
    assert shown[0, :, 3].tolist() == [255] * 5 + [0]


SQUARE = np.array([[40.0, 40], [60, 40], [60, 60], [40, 60], [40, 40]])


def picture(level: int, shape: tuple[int, int] = (100, 100)) -> np.ndarray:
    noise = np.random.default_rng(1).integers(0, 20, (*shape, 3), dtype=np.uint8)
    return (level + noise).astype(np.uint8)


def test_brighter_ground_is_brighter_on_both_photographs():
    both = [picture(level, (10, 10)).repeat(10, axis=0).repeat(10, axis=1) for level in (110, 180)]
    before, now = (pixels(pictures.photograph(one, (0, 0, 100, 100), stretch_of(both))).mean(axis=2) for one in both)
    assert before.max() < now.min()
    assert before.shape == (pictures.PHOTOGRAPH_SIDE, pictures.PHOTOGRAPH_SIDE)


def test_the_frames_of_a_film_are_side_by_side_a_column_apart_and_small_on_large_sites():
    frames = np.stack([np.full((50, 100), level, np.float32) for level in (-0.3, 0.0, 0.3)])
    frames[1, :, 50:] = np.nan
    content, window = pictures.film_png(frames, (10, 0, 80, 50))
    image = pixels(content)
    assert (window, image.shape) == ((0, 0, 40, 25), (25, 3 * 41, 4))
    assert (image[:, 40, 3] == 0).all()  # between two frames
    brown, _, green = (image[10, column, :3].astype(int) for column in (5, 46, 87))
    assert brown[0] > brown[2]
    assert green[1] > green[0]
    assert (image[10, 41 + 19, 3], image[10, 41 + 25, 3]) == (255, 0)  # what was not seen


def test_a_photograph_of_a_large_site_stays_small():
    rough = np.random.default_rng(3).integers(1, 255, (900, 700, 3), dtype=np.uint8)
    for ground in (picture(100, (900, 700)), rough):
        assert len(pictures.photograph(ground, (0, 0, 700, 900), stretch_of([ground]))) < pictures.MAX_PHOTOGRAPH_BYTES


def test_blank_ground_outside_the_imagery_is_cut_off_alike_on_pictures_that_are_compared():
    left, top = picture(100), picture(100)
    left[:, :20] = top[:30] = 0
    assert pictures.seen_window([left, top], SQUARE) == (20, 30, 80, 70)
    left[:, :50] = 0
    x, y, width, height = pictures.seen_window([left], SQUARE)
    assert (x, y) < (40, 40), "never the site"
    assert (x + width, y + height) == (100, 100)
    assert pictures.seen_window([np.zeros((100, 100, 3), np.uint8)], SQUARE) == (0, 0, 100, 100)


def test_a_large_map_is_reduced_by_the_mean_of_what_was_seen():
    layer = next(layer for layer in pictures.MAP_LAYERS if layer.name == "cover")
    values = np.full((2 * pictures.MAX_MAP_SIDE, 50), 0.2, np.float32)
    values[::2], values[1::2] = 0.0, np.nan
    values[-2:, -2:] = np.nan
    small = pixels(pictures.map_png(values, layer))
    assert small.shape[:2] == (pictures.MAX_MAP_SIDE, 25)
    np.testing.assert_array_equal(small[0, 0], pixels(pictures.map_png(np.zeros((1, 1)), layer))[0, 0])
    assert small[-1, -1, 3] == 0


def test_only_outlines_in_the_window_are_drawn():
    apart = np.full((1, 2), np.nan)
    both = np.concatenate([SQUARE, apart, SQUARE + 200])
    assert pictures.outline_path(both).count("M") == 2
    assert pictures.outline_path(both, (0, 0, 100, 100)) == pictures.outline_path(SQUARE)
    assert pictures.outline_path(both, (0, 0, 10, 10)) == ""


def test_a_map_is_cut_to_the_site_and_a_tenth_around_it_but_never_beyond_its_edge_nor_without_an_outline():
    outline = np.array([[40, 50], [60, 50], [60, 70], [40, 70], [np.nan, np.nan]])
    assert pictures.frame(outline, (100, 120)) == (37, 47, 26, 26)
    assert pictures.frame(np.array([[0, 0], [100, 0], [100, 120], [0, 120]]), (100, 120)) == (0, 0, 100, 120)
    assert pictures.frame(None, (100, 120)) == (0, 0, 100, 120)
