"""The ground under the map of the index: pictures in their places, drawn once, and only for programmes that fit."""

import io
from types import SimpleNamespace

import numpy as np
from PIL import Image

from jobs.pages import ground
from monitor.cube.context_pictures import CONTEXT_MARGIN, context_grid
from monitor.cube.grid import site_grid
from monitor.publish.index.ground import draw_ground, ground_bounds
from monitor.publish.index.locator import locator
from tests import builders


def stored(site, colour, *, day="2021-08-01"):
    """A site whose newest picture is dark but for its north-east quarter, which has a brightness."""
    context = context_grid(site, site_grid(site.geometry))
    rgb = np.full((*context.shape, 3), 40, np.uint8)
    rows, columns = context.shape
    rgb[: rows // 2, columns // 2 :] = colour
    picture = SimpleNamespace(time=day, rgb=rgb)
    return SimpleNamespace(context=context, pictures=lambda names: {"now": picture} if "now" in names else {})


def test_a_picture_lies_in_its_place_and_is_pale():
    site = builders.site()
    bounds = ground_bounds([site])
    assert abs((site.geometry.bounds[1] - bounds[1]) * 111_200 - CONTEXT_MARGIN) < 1
    content = draw_ground([stored(site, 200)], bounds)
    with Image.open(io.BytesIO(content)) as image:
        grey, clear = (np.asarray(image.convert("RGBA"))[..., band].astype(float) for band in (0, 3))
    height, width = grey.shape
    west, south, east, north = bounds
    assert abs(width / height - (east - west) * np.cos(np.radians((south + north) / 2)) / (north - south)) < 0.02
    assert clear[height // 2, width // 2] == 255
    north_east = grey[height // 4, 3 * width // 4]
    others = [grey[3 * height // 4, 3 * width // 4], grey[height // 4, width // 4]]
    assert north_east > 220
    assert all(110 < value < 150 for value in others)
    assert len(content) < 2_000


def test_without_a_picture_there_is_no_ground():
    site = builders.site()
    nothing = SimpleNamespace(context=None, pictures=lambda names: {})
    assert draw_ground([nothing], ground_bounds([site])) is None


def test_the_ground_is_drawn_again_when_a_scene_was_stored_and_old_pictures_go(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(ground, "_drawn", lambda path, *_: drawn.append(path.name) or b"picture")
    site = builders.site()

    def write(snapshot, sites=1):
        return ground.write_grounds([(site, "0123", snapshot)] * sites, tmp_path / "store", tmp_path)

    (first,) = write("square-1:5")
    assert write("square-1:5") == [first]
    (second,) = write("square-1:6")
    assert drawn == ["square-1"] * 2
    assert [f"assets/ground/{file.name}" for file in (tmp_path / "assets/ground").iterdir()] == [second.file]
    assert write("square-1:6", sites=201) == []
    assert list((tmp_path / "assets/ground").iterdir()) == []
    monkeypatch.setattr(ground, "MAX_BYTES", 3)
    assert write("square-1:7") == []


def test_on_the_drawn_map_the_ground_is_where_its_sites_are():
    site = builders.site()
    bounds = ground_bounds([site])
    drawing = locator([(site, "failing")], [ground.Ground("a.webp", bounds)])
    ((_, left, top, width, height),) = drawing["grounds"]
    ((x, _, named),) = drawing["labels"]
    assert named is site
    assert abs(left + width / 2 - x) < 0.5
    assert abs(top + height / 2 - drawing["height"] / 2) < 0.5
