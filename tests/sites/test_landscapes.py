"""Which sites share a landscape: those near each other and of one biome, within limits, in any order."""

import random
import re
from datetime import date

import pytest
from shapely.geometry import box

from monitor.sites.biomes import BIOMES, default_plan
from monitor.sites.landscapes import MAX_LANDSCAPE_HECTARES, SQUARE, group_into_landscapes, landscape_name
from monitor.sites.projection import projected, utm_zone
from monitor.sites.site import Site


def plot(name, east=104.6, north=35.5, *, hectares=10.0, biome="loess", start=date(2021, 4, 20)):
    return Site(
        id=name, name=name, geometry=box(east, north, east + 0.003, north + 0.003), start=start,
        intervention="planting", biome=biome, plan=default_plan("planting", BIOMES[biome], None), hectares=hectares,
    )  # fmt: skip


def many(n, **properties):
    """Sites of one square, some 300 m apart, in rows of ten."""
    return [plot(f"plot-{k:03d}", 104.6 + 0.004 * (k % 10), 35.5 + 0.004 * (k // 10), **properties) for k in range(n)]


def names(groups):
    return [[site.id for site in group] for group in groups]


def square_of(site):
    zone = utm_zone(site.geometry)
    point = projected(site.geometry, zone).centroid
    return str(zone), point.y // SQUARE, point.x // SQUARE


def test_sites_near_each_other_and_of_one_biome_share_a_landscape():
    assert names(group_into_landscapes(many(30))) == [[f"plot-{k:03d}" for k in range(30)]]
    assert group_into_landscapes([]) == []


def test_sites_of_other_squares_of_100_km_share_none():
    far = [plot("here", 104.6, 35.5), plot("east", 105.9, 35.5), plot("north", 104.6, 36.6)]
    assert len({square_of(site) for site in far}) == 3
    assert sorted(names(group_into_landscapes(far))) == [["east"], ["here"], ["north"]]


def test_the_square_is_that_of_the_centroid_and_not_of_a_corner():
    # the line of 4,000 km north crosses 104.6 degrees east at about 36.144 degrees north
    below, above, across = plot("below", 104.6, 36.120), plot("above", 104.6, 36.150), plot("across", 104.6, 36.142)
    bottom, top = projected(across.geometry, utm_zone(across.geometry)).bounds[1::2]
    assert bottom < 40 * SQUARE < top
    assert sorted(names(group_into_landscapes([below, above, across]))) == [["above"], ["across", "below"]]


def test_sites_of_two_zones_share_none_though_they_are_neighbours():
    west, east = plot("west", 107.995), plot("east", 108.001)
    assert {square_of(site)[0] for site in (west, east)} == {"EPSG:32648", "EPSG:32649"}
    assert names(group_into_landscapes([east, west])) == [["west"], ["east"]]


def test_sites_of_other_biomes_share_none_though_they_are_neighbours():
    mixed = [plot(f"{biome}-{k}", biome=biome) for k in range(2) for biome in BIOMES]
    assert sorted(names(group_into_landscapes(mixed))) == sorted([f"{biome}-0", f"{biome}-1"] for biome in BIOMES)


@pytest.mark.parametrize(("sites", "sizes"), [(64, [64]), (65, [32, 33]), (128, [64, 64]), (200, [50, 50, 50, 50])])
def test_a_full_square_gives_landscapes_of_32_to_64_sites(sites, sizes):
    assert sorted(len(group) for group in group_into_landscapes(many(sites))) == sizes


def test_pieces_of_a_full_square_lie_beside_each_other_and_not_across():
    west, east = group_into_landscapes(many(80) + [plot(f"far-{k}", 104.9, 35.5 + 0.004 * k) for k in range(40)])
    assert max(site.geometry.bounds[2] for site in west) <= min(site.geometry.bounds[0] for site in east) + 0.003


def test_a_landscape_holds_20000_hectares_at_most():
    found = group_into_landscapes(many(20, hectares=1900.0))
    assert all(sum(site.hectares for site in group) <= MAX_LANDSCAPE_HECTARES for group in found)
    assert sorted(map(len, found)) == [10, 10]
    assert len(group_into_landscapes(many(20, hectares=1000.0))) == 1


def test_a_larger_site_is_a_separate_landscape():
    giant = plot("giant", 104.62, 35.51, hectares=MAX_LANDSCAPE_HECTARES + 1)
    found = names(group_into_landscapes([*many(20), giant]))
    assert ["giant"] in found
    assert sorted(name for group in found for name in group) == sorted(["giant", *(site.id for site in many(20))])
    assert len(found) <= 1 + 5  # halving sets the giant apart, and does not shatter its neighbours


def test_sites_in_one_place_are_halved_all_the_same():
    found = group_into_landscapes([plot(f"plot-{k:03d}") for k in range(130)])
    assert sorted(map(len, found)) == [32, 32, 33, 33]


def test_the_same_sites_in_any_order_make_the_same_landscapes():
    sites = [*many(150), *many(70, biome="steppe"), plot("far", 105.9), plot("giant", 104.61, hectares=30_000.0)]
    sites = [plot(f"{k}-{site.id}", *site.geometry.bounds[:2], hectares=site.hectares, biome=site.biome)
             for k, site in enumerate(sites)]  # fmt: skip
    expected = names(group_into_landscapes(sites))
    for seed in range(5):
        shuffled = random.Random(seed).sample(sites, len(sites))
        assert names(group_into_landscapes(shuffled)) == expected
    assert sorted(name for group in expected for name in group) == sorted(site.id for site in sites)


def test_every_site_is_in_one_landscape_wherever_it_is():
    rng = random.Random(1)
    sites = [
        plot(f"plot-{k}", rng.uniform(-179.9, 179.9), rng.uniform(-60, 60), biome=rng.choice([*BIOMES]))
        for k in range(300)
    ]
    found = group_into_landscapes(sites)
    assert sorted(site.id for group in found for site in group) == sorted(site.id for site in sites)
    for group in found:
        assert len({(*square_of(site), site.biome) for site in group}) == 1


def test_names_of_landscapes_differ_and_are_safe_names_of_folders():
    groups = group_into_landscapes(
        [*many(150), *many(5, biome="north_mountain"), plot("south", -70.2, -33.4), plot("far", 105.9)]
    )
    found = [landscape_name([site.id for site in group], group[0].geometry, group[0].biome) for group in groups]
    assert len(set(found)) == len(groups)
    assert all(re.fullmatch(r"\d{5}-\d+-\d+-[a-z_]+-[0-9a-f]{8}", name) for name in found), found


def test_a_name_states_zone_square_and_biome_and_depends_on_the_ground_of_all_sites_in_any_order():
    site = plot("lowood")
    _, north, east = square_of(site)
    one, turned, other, part = (landscape_name(keys, site.geometry, "loess") for keys in ("ab", "ba", "ac", "a"))
    assert one.startswith(f"32648-{east:.0f}-{north:.0f}-loess-")
    assert one == turned
    assert one not in (other, part)
