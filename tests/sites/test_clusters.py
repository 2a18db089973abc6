"""Which sites are searched and read together."""

from datetime import date

import numpy as np
import pytest
from odc.geo import CRS
from shapely.geometry import box

from monitor.sites.clusters import MAX_SEARCH_EXTENT, group_nearby, split_by_tile
from monitor.sites.projection import lonlat
from monitor.sites.site import Plan, Site

LOESS, TILE_SIDE = "EPSG:32648", 109_800.0


def site(name, x, y, crs=LOESS, side=1140.0):
    """A square, metres of its lower left corner."""
    return Site(
        id=name, name=name, start=date(2022, 4, 1), intervention="planting", biome="loess",
        geometry=lonlat(box(x, y, x + side, y + side), CRS(crs)), hectares=side**2 / 1e4,
        plan=Plan(A=0.3, k=0.9, L=0.3, too_early_years=1.5),
    )  # fmt: skip


def over_a_tile(n, left=600_000.0, bottom=4_090_200.0, crs=LOESS):
    """Sites evenly over one tile of Sentinel-2, up to its very corners."""
    across = int(np.ceil(np.sqrt(n)))
    step = (TILE_SIDE - 1140) / (across - 1)
    return [
        site(f"{left:.0f}-{bottom:.0f}-{k:04d}", left + k % across * step, bottom + k // across * step, crs)
        for k in range(n)
    ]


def searches(sites, apart=20_000.0):
    return [part for group in group_nearby(sites, apart=apart) for part in split_by_tile(group)]


def ids(groups):
    return sorted(one.id for group in groups for one in group)


@pytest.mark.parametrize(("left", "bottom", "crs"), [
    (600_000.0, 4_090_200.0, LOESS),
    (199_980.0, 2_690_220.0, "EPSG:32647"),  # at the western edge of a zone, in Yunnan
    (699_960.0, 5_390_220.0, "EPSG:32650"),  # at the eastern edge of one, in the north-east, turned by two degrees
])  # fmt: skip
@pytest.mark.parametrize("n", [4, 64, 1000])
def test_all_sites_of_one_tile_are_one_search(n, left, bottom, crs):
    sites = over_a_tile(n, left, bottom, crs)
    assert [len(part) for part in searches(sites)] == [n]


def test_sites_all_over_a_row_of_tiles_are_no_more_searches_than_tiles():
    sites = [one for k in range(3) for one in over_a_tile(400, left=300_000.0 + 100_000.0 * k)]
    found = searches(sites)
    assert len(found) <= 3
    assert ids(found) == ids([sites])


def test_a_search_is_never_much_larger_than_a_tile():
    rng = np.random.default_rng(0)
    sites = [site(f"{k:03d}", *rng.uniform((300_000, 3_500_000), (700_000, 4_400_000))) for k in range(600)]
    for part in searches(sites):
        corners = np.array([one.geometry.bounds for one in part])
        north = corners[:, 3].max() - corners[:, 1].min()
        east = (corners[:, 2].max() - corners[:, 0].min()) * np.cos(np.radians(corners[:, 1].mean()))
        assert max(north, east) * 111_200 <= 1.03 * MAX_SEARCH_EXTENT + 2 * 1140
    assert ids(searches(sites)) == ids([sites])


def test_two_villages_apart_are_two_neighbourhoods_and_one_search_if_they_lie_in_one_tile():
    village = [site(f"a{k}", 610_000 + 2000 * k, 4_100_000) for k in range(5)]
    near = [site(f"b{k}", 670_000 + 2000 * k, 4_180_000) for k in range(5)]
    far = [site(f"c{k}", 350_000 + 2000 * k, 4_100_000) for k in range(5)]
    assert [len(part) for part in searches([*village, *near, *far])] == [5, 10]


def test_neighbours_in_a_cluster_of_sites_are_never_parted_by_the_edge_of_a_grid():
    village = [site(f"{k:02d}", 699_000 + 300 * k, 4_099_500 + 200 * k, side=120.0) for k in range(20)]
    others = [site(f"far{k}", 400_000 + 70_000 * k, 4_000_000) for k in range(6)]
    (group,) = [some for some in group_nearby([*others, *village], apart=20_000.0) if village[0] in some]
    assert set(ids([village])) <= set(ids([group]))


def test_no_sites_make_no_search():
    assert group_nearby([], apart=1.0) == []
