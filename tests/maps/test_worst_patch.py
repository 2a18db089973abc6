"""The first place to look at, on maps whose worst patch is known beforehand."""

import numpy as np
import pytest
import shapely
from odc.geo.geobox import GeoBox
from shapely.geometry import MultiPolygon, box

from monitor.maps.worst_patch import worst_patch
from monitor.sites.projection import lonlat, projected

X, Y, BLOCK = 500_000.0, 4_400_000.0, 20.0
"""Upper left corner of the grid in UTM zone 48 N, and side of a block of two pixels of 10 m. [m]"""
GRID = GeoBox.from_bbox((X, Y - 400, X + 400, Y), "EPSG:32648", resolution=10)


def blocks(*rectangles: tuple[int, int, int, int], chance: float = 0.9) -> np.ndarray:
    """Probabilities of 20 x 20 blocks: `chance` on rectangles (first row, first column, height, width), else .1."""
    values = np.full((20, 20), 0.1, np.float32)
    for row, column, height, width in rectangles:
        values[row : row + height, column : column + width] = chance
    return values


def ground(row: float, column: float, height: float, width: float) -> shapely.Polygon:
    """Rectangle of blocks, projected."""
    left, top = X + BLOCK * column, Y - BLOCK * row
    return box(left, top - BLOCK * height, left + BLOCK * width, top)


def in_degrees(shape):
    return lonlat(shape, GRID.crs)


WHOLE = in_degrees(ground(0, 0, 20, 20))


def outline(patch) -> shapely.Polygon:
    """Outline of a patch, projected."""
    return projected(shapely.Polygon(patch.ring), GRID.crs)


def point(patch) -> shapely.Point:
    return projected(shapely.Point(patch.longitude, patch.latitude), GRID.crs)


def same_ground(a, b) -> bool:
    return a.symmetric_difference(b).area < 5.0  # [m2]; the ring is rounded to a tenth of a metre


def test_the_larger_of_two_patches_is_the_worst():
    patch = worst_patch(blocks((2, 2, 3, 3), (10, 10, 4, 5)), 2, WHOLE, GRID)
    assert patch.hectares == pytest.approx(20 * 0.04)
    assert same_ground(outline(patch), ground(10, 10, 4, 5))
    assert point(patch).within(ground(10, 10, 4, 5))


def test_one_block_is_a_patch():
    patch = worst_patch(blocks((7, 3, 1, 1)), 2, WHOLE, GRID)
    assert patch.hectares == pytest.approx(0.04)
    assert same_ground(outline(patch), ground(7, 3, 1, 1))
    assert patch.ring[0] == patch.ring[-1]


def test_the_point_of_a_patch_with_a_hole_is_on_the_patch_and_the_hole_is_not_counted():
    ring = blocks((4, 4, 9, 9))
    ring[6:11, 6:11] = 0.1
    patch = worst_patch(ring, 2, WHOLE, GRID)
    assert patch.hectares == pytest.approx((81 - 25) * 0.04)
    assert same_ground(outline(patch), ground(4, 4, 9, 9))
    assert not point(patch).intersects(ground(6, 6, 5, 5))
    assert point(patch).within(ground(4, 4, 9, 9))


def test_blocks_that_touch_at_a_corner_only_are_two_patches():
    patch = worst_patch(blocks((2, 2, 2, 2), (4, 4, 3, 3)), 2, WHOLE, GRID)
    assert same_ground(outline(patch), ground(4, 4, 3, 3))


def test_only_ground_inside_either_part_of_a_site_counts():
    parts = MultiPolygon([in_degrees(ground(0, 0, 20, 8)), in_degrees(ground(0, 12, 20, 8))])
    patch = worst_patch(blocks((5, 4, 6, 11)), 2, parts, GRID)  # 4 columns in the left part, 3 in the right one
    assert patch.hectares == pytest.approx(6 * 4 * 0.04, rel=1e-4)
    assert same_ground(outline(patch), ground(5, 4, 6, 4))
    assert point(patch).within(ground(5, 4, 6, 4))


def test_ground_beyond_the_outline_of_the_site_is_cut_off():
    patch = worst_patch(blocks((0, 0, 20, 20)), 2, in_degrees(ground(2.5, 2.5, 8, 8)), GRID)
    assert patch.hectares == pytest.approx(64 * 0.04, rel=1e-4)
    assert same_ground(outline(patch), ground(2.5, 2.5, 8, 8))


def test_a_patch_is_what_fails_more_likely_than_not_and_unknown_ground_belongs_to_none():
    assert worst_patch(blocks((3, 3, 4, 4), chance=0.49), 2, WHOLE, GRID) is None
    assert worst_patch(np.full((20, 20), np.nan, np.float32), 2, WHOLE, GRID) is None
    half_seen = blocks((3, 3, 4, 4), chance=0.5)
    half_seen[:, 5:] = np.nan
    assert same_ground(outline(worst_patch(half_seen, 2, WHOLE, GRID)), ground(3, 3, 4, 2))


def test_the_northern_one_of_equal_patches_is_chosen_each_time():
    chosen = {worst_patch(blocks((12, 1, 2, 2), (3, 9, 2, 2)), 2, WHOLE, GRID) for _ in range(3)}
    assert len(chosen) == 1
    assert same_ground(outline(chosen.pop()), ground(3, 9, 2, 2))
