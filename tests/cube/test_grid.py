"""The fixed grid of a site."""

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely import contains_xy
from shapely.geometry import MultiPolygon, Point, Polygon, box

from monitor.cube import grid as grids
from monitor.cube.grid import GRID_MARGIN, inside, inside_projected, outline, rectangle_spans, site_grid, utm_zone
from monitor.sites.projection import lonlat, projected


@pytest.mark.parametrize(
    ("longitude", "latitude", "code"),
    [(103.8, 36.0, 32648), (107.4, 38.6, 32648), (108.01, 38.6, 32649), (-70.0, -33.4, 32719), (179.999, 10.0, 32660)],
)
def test_the_zone_is_that_of_the_centroid(longitude, latitude, code):
    assert utm_zone(box(longitude - 0.001, latitude - 0.001, longitude + 0.001, latitude + 0.001)).epsg == code


def test_a_grid_is_snapped_to_whole_pixels_and_holds_the_margin_on_all_sides():
    site = box(103.80, 36.00, 103.81, 36.01)
    grid = site_grid(site)
    left, bottom, right, top = projected(site, grid.crs).bounds
    assert grid.affine.c % 10 == 0
    assert grid.affine.f % 10 == 0
    held = grid.extent.boundingbox
    assert 0 <= left - held.left - GRID_MARGIN < 10
    assert 0 <= held.top - top - GRID_MARGIN < 10
    assert held.right - right >= GRID_MARGIN
    assert bottom - held.bottom >= GRID_MARGIN


def test_a_grid_lies_on_the_lattice_that_it_is_given():
    grid = site_grid(box(103.80, 36.00, 103.81, 36.01), resolution=30.0, anchor=(15.0, 5.0))
    left, _, _, top = projected(box(103.80, 36.00, 103.81, 36.01), grid.crs).bounds
    assert (grid.affine.c % 30, grid.affine.f % 30) == (15, 5)
    assert 0 <= left - grid.affine.c - GRID_MARGIN < 30
    assert 0 <= grid.affine.f - top - GRID_MARGIN < 30


def test_pixels_are_inside_when_their_centre_is():
    lattice = site_grid(box(103.80, 36.00, 103.801, 36.001))
    left, top = lattice.affine @ (8, 8)
    right, bottom = lattice.affine @ (11, 10)
    square = lonlat(box(left + 1, bottom + 1, right - 1, top - 1), lattice.crs)
    found = inside(square, lattice)
    expected = np.zeros(lattice.shape, dtype=bool)
    expected[8:10, 8:11] = True
    np.testing.assert_array_equal(found, expected)


def test_an_outline_is_given_in_pixels_with_rings_apart():
    lattice = site_grid(box(103.80, 36.00, 103.802, 36.002))
    left, top = lattice.affine @ (4, 4)
    right, bottom = lattice.affine @ (12, 12)
    hole = box(left + 20, bottom + 20, right - 20, top - 20)
    ring = lonlat(box(left, bottom, right, top).difference(hole), lattice.crs)
    points = outline(ring, lattice)
    assert np.isnan(points).any(axis=1).sum() == 1
    np.testing.assert_allclose(np.nanmin(points, axis=0), [4, 4], atol=1e-3)
    np.testing.assert_allclose(np.nanmax(points, axis=0), [12, 12], atol=1e-3)


@pytest.mark.parametrize("place", [(103.80, 36.00), (-60.30, -10.00)], ids=["China", "Brazil"])
def test_a_grid_comes_back_from_the_store_as_it_was(place):
    grid = site_grid(Point(place).buffer(0.005))
    assert grids.grid_from_json(grids.grid_to_json(grid)) == grid


@pytest.mark.parametrize("offset", [0.0, 3.3, 4.99995, 5.0, 5.004, 9.996, 10.0], ids=lambda value: f"{value} m")
@pytest.mark.parametrize("lean", [0.0, 1e-9, 1e-4, 3.0], ids=lambda value: f"{value} m askew")
def test_a_rectangle_along_the_grid_holds_the_centres_that_geos_says_even_on_its_edges(offset, lean):
    grid = site_grid(box(103.80, 36.00, 103.81, 36.01))
    left, top = grid.affine.c + 100 + offset, grid.affine.f - 100 - offset
    square = Polygon([(left, top), (left + 200, top), (left + 200 + lean, top - 150), (left, top - 150)])
    x = grid.affine.c + 10 * (np.arange(grid.shape[1]) + 0.5)
    y = grid.affine.f - 10 * (np.arange(grid.shape[0]) + 0.5)
    held = contains_xy(square, *np.meshgrid(x, y))
    np.testing.assert_array_equal(inside_projected(square, grid), held)
    (spans,) = rectangle_spans(np.array([square]), grid)
    near = lean > 0.01 or offset in (4.99995, 5.0, 5.004)
    assert (spans is None) == near, "askew, or too near to a centre for a rule: the shape itself decides"
    if spans is not None:
        rows, columns = spans
        expected = np.zeros(grid.shape, dtype=bool)
        expected[slice(*rows), slice(*columns)] = True
        np.testing.assert_array_equal(expected, held)


@pytest.mark.parametrize("x", [-60.0, 10.0])
@pytest.mark.parametrize("y", [60.0, -10.0])
def test_only_the_part_of_a_shape_within_the_grid_is_inside(x, y):
    grid = GeoBox((20, 20), Affine(10, 0, 400_000, 0, -10, 4_000_000), "EPSG:32648")
    left, top = 400_000 + x, 4_000_000 + y
    expected = np.zeros(grid.shape, dtype=bool)
    rows, columns = slice(int(max(-y, 0)) // 10, int(100 - y) // 10), slice(int(max(x, 0)) // 10, int(100 + x) // 10)
    expected[rows, columns] = True
    square = box(left, top - 100, left + 100, top)
    np.testing.assert_array_equal(inside_projected(square, grid), expected)
    row, column = round(-y) // 10, round(x) // 10
    assert rectangle_spans(np.array([square]), grid) == [((row, row + 10), (column, column + 10))], "wherever it lies"


def test_a_square_on_its_corner_is_not_taken_for_a_rectangle_along_the_grid():
    grid = site_grid(box(103.80, 36.00, 103.81, 36.01))
    x, y = grid.affine.c + 300, grid.affine.f - 300
    diamond = Polygon([(x, y + 100), (x + 100, y), (x, y - 100), (x - 100, y)])
    assert inside_projected(diamond, grid).sum() == pytest.approx(200, abs=20)  # half of the 400 pixels of its box
    several = [diamond, box(x, y - 100, x + 100, y), diamond.buffer(10), MultiPolygon([box(x, y, x + 100, y + 100)])]
    assert [spans is None for spans in rectangle_spans(np.array(several), grid)] == [True, False, True, True]
    assert rectangle_spans(np.array([], dtype=object), grid) == []
