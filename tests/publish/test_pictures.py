"""Maps and chips as pictures: colours that can be read back, nothing shown where nothing was seen."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from monitor.publish.pictures import MAP_LAYERS, PALETTES, chip_png, frame, map_png, ramp


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


def hexadecimal(rgb: np.ndarray) -> str:
    return "#{:02x}{:02x}{:02x}".format(*rgb)


@pytest.mark.parametrize("layer", MAP_LAYERS, ids=lambda layer: layer.name)
def test_a_map_has_the_colours_of_its_legend_and_those_of_the_ends_beyond_them(layer):
    stops = {int(place): colour for colour, place in re.findall(r"(#\w{6}) (\d+)%", ramp(layer))}
    middle = (layer.low + layer.high) / 2
    values = np.array([[layer.low - 9, layer.low, middle, layer.high, layer.high + 9, np.nan]], dtype=np.float32)
    shown = pixels(map_png(values, layer))
    ends = [stops[0], stops[0], hexadecimal(shown[0, 2, :3]), stops[100], stops[100]]
    assert [hexadecimal(rgb) for rgb in shown[0, :5, :3]] == ends
    assert stops[0] == f"#{PALETTES[layer.palette][:6]}"
    assert stops[100] == f"#{PALETTES[layer.palette][-6:]}"
    np.testing.assert_allclose(shown[0, 2, :3], [*bytes.fromhex(stops[50][1:])], atol=2)
    assert shown[0, :, 3].tolist() == [255] * 5 + [0]


def test_brighter_ground_is_brighter_on_both_chips_and_unseen_ground_is_left_open():
    noise = np.random.default_rng(1).integers(0, 20, (20, 20, 3), dtype=np.uint8)
    dark, bright = 50 + noise, 150 + noise
    bright[0, 0] = 0
    before, now = chip_png(dark), chip_png(bright)
    assert pixels(before)[..., :3].max() < pixels(now)[1:, 1:, :3].min()
    assert pixels(now)[0, 0, 3] == 0
    assert (pixels(now)[1:, 1:, 3] == 255).all()


def test_a_map_is_cut_to_the_site_and_a_tenth_around_it():
    outline = np.array([[40, 50], [60, 50], [60, 70], [40, 70], [np.nan, np.nan]])
    assert frame(outline, (100, 120)) == (37, 47, 26, 26)


def test_a_map_is_never_cut_beyond_its_edge_nor_without_an_outline():
    assert frame(np.array([[0, 0], [100, 0], [100, 120], [0, 120]]), (100, 120)) == (0, 0, 100, 120)
    assert frame(None, (100, 120)) == (0, 0, 100, 120)
