"""Ground that several sites share counts once, for the one registered first, and double registrations are named."""

import numpy as np
import pytest
import shapely
from pyproj import Geod
from shapely.geometry import MultiPolygon, Point, Polygon, box
from shapely.geometry.base import BaseGeometry

from monitor.sites import gcj02
from monitor.sites.geometry import geodesic_hectares
from monitor.sites.shared_ground import counted_hectares, double_registrations, overlaps

DEGREE = 1 / 111_000  # one metre [degree]


def square(east, north, width, height=None) -> Polygon:
    """A rectangle at so many metres from a place in Ningxia."""
    x, y = 107.4 + east * DEGREE, 37.8 + north * DEGREE
    return box(x, y, x + width * DEGREE, y + (height or width) * DEGREE)


def counted(*outlines: BaseGeometry) -> list[float]:
    return counted_hectares(outlines, [geodesic_hectares(one) for one in outlines], overlaps(outlines))


def claims(*outlines: BaseGeometry):
    return double_registrations(outlines, overlaps(outlines))


def union_hectares(outlines) -> float:
    """Area of the union by pyproj alone."""
    union = shapely.orient_polygons(shapely.union_all(outlines))
    return abs(Geod(ellps="WGS84").geometry_area_perimeter(union)[0]) / 10_000


A, B = square(0, 0, 400), square(200, 0, 400)


def test_shared_ground_counts_for_the_site_registered_first():
    first, second = counted(A, B)
    assert (first, second) == (geodesic_hectares(A), pytest.approx(first / 2, abs=1e-4))
    assert counted(B, A)[0] == geodesic_hectares(B)


@pytest.mark.parametrize(
    "outlines",
    [
        pytest.param([A, B], id="two that overlap"), pytest.param([A, A, A], id="copies"),
        pytest.param([A, square(400, 0, 400)], id="two that share a border"),
        pytest.param([A, square(400, 400, 100)], id="two that share a corner"),
        pytest.param([A, square(100, 100, 50)], id="one in the other"),
        pytest.param([square(100, 100, 50), A], id="one around the other"),
        pytest.param([A.difference(square(100, 100, 100)), square(50, 50, 200)], id="one that fills a hole, and more"),
        pytest.param([MultiPolygon([A, square(900, 0, 100)]), square(350, 0, 600, 50)], id="two parts"),
        pytest.param([A, B, square(100, 100, 400), square(300, -100, 90, 600)], id="ground of four"),
        pytest.param([A, square(399.5, 0, 400)], id="a sliver"), pytest.param([A, Polygon()], id="an empty one"),
        pytest.param([square(0, 0, 8_000), square(4_000, 3_000, 9_000), square(-500, -500, 5_000)], id="large ones"),
        pytest.param([box(179.99, 40, 180, 40.01), box(-180, 40, -179.99, 40.01)], id="at the 180th meridian"),
    ],
)  # fmt: skip
def test_hectares_that_count_add_up_to_those_of_the_union(outlines):
    assert sum(counted(*outlines)) == pytest.approx(union_hectares(outlines), abs=0.01)


def test_random_sites_in_a_heap_add_up_to_their_union_and_each_counts_what_the_earlier_ones_left():
    noise = np.random.default_rng(3)
    heap = [
        Point(107 + x, 37 + y).buffer(r, 12) for x, y, r in noise.uniform((0, 0, 0.001), (0.05, 0.05, 0.006), (60, 3))
    ]
    hectares = counted(*heap)
    assert sum(hectares) == pytest.approx(union_hectares(heap), abs=0.01)
    for place, outline in enumerate(heap):
        left = geodesic_hectares(shapely.difference(outline, shapely.union_all(heap[:place])))
        assert hectares[place] == pytest.approx(left, abs=0.01)


def test_an_invalid_outline_is_counted_without_what_it_shares():
    bow_tie = Polygon([(107.4, 37.8), (107.41, 37.81), (107.41, 37.8), (107.4, 37.81)])
    (shared,) = overlaps([box(107.4, 37.8, 107.403, 37.81), bow_tie])
    assert shared.ground.is_valid
    assert shared.ground.area > 0
    assert counted_hectares([bow_tie], [7.0], []) == [7.0]


def test_a_pair_that_shares_much_is_named_with_its_ground():
    (one,) = claims(A, B)
    assert (one.first, one.second, one.kind) == (0, 1, "OVERLAP")
    assert one.share == pytest.approx(0.5, abs=1e-6)
    assert one.hectares == pytest.approx(geodesic_hectares(A) / 2, abs=1e-3)
    assert one.ground.equals(A.intersection(B))


@pytest.mark.parametrize(
    ("copy", "kind"),
    [
        (A, "OUTLINE_DUPLICATE"), (shapely.reverse(A), "OUTLINE_DUPLICATE"), (square(1, 1, 400), "OUTLINE_DUPLICATE"),
        (square(20, 0, 400), "OVERLAP"),
    ],
    ids=["exact", "turned", "a metre off", "twenty metres off"],
)  # fmt: skip
def test_exact_and_near_copies_are_distinguished_from_overlaps(copy, kind):
    assert [one.kind for one in claims(A, copy)] == [kind]


@pytest.mark.parametrize(("outline", "apart"), [(A, True), (square(0, 0, 3_000), False)], ids=["apart", "overlapping"])
def test_a_copy_shifted_by_a_web_map_is_named_also_where_it_lies_elsewhere(outline, apart):
    moved = shapely.transform(outline, gcj02.from_wgs84)
    for outlines in ((outline, moved), (moved, outline)):
        (one,) = claims(*outlines)
        assert one.kind == "GCJ02_SUSPECTED"
        assert (one.hectares == 0, one.ground is None) == (apart, apart)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (square(400, 0, 400), False), (square(397, 0, 400), False), (square(370, 0, 400), True),
        (square(392, -20_000, 400, 40_000), False), (square(398, 0, 9, 9), True),
    ],
    ids=["touching", "3 m of border", "30 m of border", "8 m beside a long strip", "most of a small one"],
)  # fmt: skip
def test_slivers_along_a_border_are_not_a_double_registration(other, named):
    assert bool(claims(A, other)) is named


def test_a_wide_overlap_of_two_large_sites_is_named_though_it_is_a_small_share():
    (one,) = claims(square(0, 0, 4_000), square(3_900, 0, 4_000))
    assert one.share < 0.05
    # 100 m by 4 km; a degree of longitude is .79 of one of latitude
    assert one.hectares == pytest.approx(31.6, abs=0.5)


@pytest.mark.parametrize("n", [6000, 60_000])
def test_borders_that_cross_millions_of_times_are_named_without_computing_them(n):
    teeth = np.linspace(0, 0.1, n)
    comb = Polygon([*zip(107 + teeth, 37 + 0.1 * (np.arange(n) % 2), strict=True), (107.1, 36.9), (107, 36.9)])
    other = shapely.affinity.rotate(comb, 90, origin=(107.05, 37.05))
    outlines = [comb, other]
    (one,) = claims(*outlines)
    assert (one.kind, one.hectares, one.ground) == ("OVERLAP", None, None)
    assert counted_hectares(outlines, [5.0, 6.0], overlaps(outlines)) == [5.0, 6.0]


def test_a_thousand_separate_sites_share_nothing():
    assert overlaps([square(500 * (n % 40), 500 * (n // 40), 400) for n in range(1000)]) == []
