"""Which pixels of a scene are read, and which of them make up each site and each unit."""

import numpy as np
import pytest
from odc.geo import CRS as System
from shapely import contains_xy
from shapely.affinity import translate
from shapely.geometry import Polygon, box

from monitor.cube.grid import inside, site_grid
from monitor.cube.layout import PixelLayout, Zones
from monitor.sites.projection import lonlat
from tests.jobs.painted import BOTTOM, CRS, LEFT, ground

SITE = ground(12_000, 12_000, 12_120, 12_120)
GRID = site_grid(SITE, crs=System(CRS), resolution=10.0, anchor=(LEFT, BOTTOM))


def laid_out(units, *, averaged=False):
    return PixelLayout.of(
        [(GRID, inside(SITE, GRID), [lonlat(unit, System(CRS)) for unit in units])], averaged=averaged
    )


def places(layout, unit):
    """Row and column, from the corner of the site's grid, of the pixels of a unit in the order in which they count."""
    found = []
    for start, stop, step in layout.units.runs[slice(*layout.units.edges[unit : unit + 2])].tolist():
        for pixel in range(start, stop, step):
            block = int(np.searchsorted(layout.first_block_pixel, pixel, side="right")) - 1
            grid = layout.blocks[block]
            row, column = divmod(pixel - int(layout.first_block_pixel[block]), grid.shape[1])
            found.append([
                row + round((GRID.affine.f - grid.affine.f) / 10), column + round((grid.affine.c - GRID.affine.c) / 10)
            ])  # fmt: skip
    return found


@pytest.mark.parametrize("side", [120, 500, 510, 1200])
@pytest.mark.parametrize("lean", [0, 90], ids=["square", "askew"])
@pytest.mark.parametrize("averaged", [False, True])
def test_rows_and_columns_of_a_unit_are_skipped_so_that_few_pixels_remain_however_it_lies(side, lean, averaged):
    placed = translate(Polygon([(0, 0), (side, 0), (side + lean, side), (lean, side)]), LEFT + 14_003, BOTTOM + 9_001)
    found = laid_out([placed], averaged=averaged)
    left, _, right, top = placed.bounds
    first = [int((GRID.affine.f - top) // 10), int((left - GRID.affine.c) // 10)]
    x = GRID.affine.c + 10 * (first[1] + np.arange(-2, (right - left) // 10 + 3) + 0.5)
    y = GRID.affine.f - 10 * (first[0] + np.arange(-2, side // 10 + 3) + 0.5)
    pixels = np.argwhere(contains_xy(placed, *np.meshgrid(x, y))) - 2
    step = 1
    while not averaged and len(pixels) > 2500 * step**2:
        step += 1
    expected = [place for place in pixels.tolist() if place[0] % step == place[1] % step == step // 2]
    assert found.unit_sizes.tolist() == [len(expected)]
    if averaged:
        assert len(found.blocks) == len(found.units) == 0, "the provider averages it"
    else:
        assert places(found, 0) == [[row + first[0], column + first[1]] for row, column in expected]
        assert len(expected) <= 2600


def test_units_that_overlap_share_pixels_and_a_site_keeps_its_own():
    squares = [box(LEFT + x, BOTTOM + 14_000, LEFT + x + 120, BOTTOM + 14_120) for x in (10_000, 10_050)]
    found = laid_out(squares)
    one, other = (set(map(tuple, places(found, unit))) for unit in (0, 1))
    assert len(one) == len(other) == 144
    assert len(one & other) == 12 * 7
    assert found.sites.sizes.tolist() == [int(inside(SITE, GRID).sum())]


def test_units_far_apart_lie_in_blocks_of_their_own_from_north_to_south():
    squares = [box(LEFT + 12_000, BOTTOM + y, LEFT + 12_120, BOTTOM + y + 120) for y in (3_000, 21_000)]
    found = laid_out(squares)
    tops = [block.affine.f for block in found.blocks]
    assert len(tops) == 2
    assert tops == sorted(tops, reverse=True)
    assert [len(places(found, unit)) for unit in (0, 1)] == [144, 144]


def test_a_zone_without_pixels_is_empty_and_changes_no_other():
    zones = Zones.from_runs([np.array([[0, 3, 1]]), np.empty((0, 3), np.int64), np.array([[1, 8, 3], [9, 10, 1]])])
    assert zones.sizes.tolist() == [3, 0, 4]
    assert Zones.consecutive([3, 0, 2]).runs.tolist() == [[0, 3, 1], [3, 3, 1], [3, 5, 1]]
