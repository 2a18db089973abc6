"""Untreated strips within a site: control ground for it, and no part of what is judged."""

import math
import sys

import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry import box, mapping
from shapely.ops import unary_union

from monitor.controls.selection import MIN_UNITS, candidate_units
from monitor.sites.geometry import geodesic_hectares
from monitor.sites.named_controls import (
    SURROUNDINGS,
    NamedControl,
    leave_out_strips,
    named_controls_near,
    read_named_controls,
)
from monitor.sites.registry import read_sites
from tests.builders import feature, write_features
from tests.sites.conftest import codes

WEST, SOUTH = 107.4, 37.8
EAST_METRE, NORTH_METRE = 1 / (111_320 * math.cos(math.radians(SOUTH))), 1 / 111_000
"""Degrees of longitude and latitude in a metre there."""


def square(west, south, east, north):
    """A rectangle, in metres from the corner of the site."""
    return box(
        WEST + west * EAST_METRE, SOUTH + south * NORTH_METRE, WEST + east * EAST_METRE, SOUTH + north * NORTH_METRE
    )


SITE = square(0, 0, 400, 400)


@pytest.fixture
def entry(tmp_path):
    """The only entry of a registry, 16 ha, after its strips were cut out."""

    def cut(*strips):
        write_features(tmp_path / "sites.geojson", [feature("a", SITE, start="2024-04-20")])
        report = read_sites(tmp_path / "sites.geojson")
        before = report.entries[0].site
        leave_out_strips(report.entries, [NamedControl(geometry=ground, site=site) for ground, site in strips])
        return before, report.entries[0]

    return cut


@pytest.mark.parametrize("site", ["a", None], ids=["for the site", "for all"])
def test_a_strip_within_a_site_is_not_judged_and_the_site_is_smaller_by_it(entry, site):
    strip = square(100, -50, 130, 500)  # reaches beyond the outline
    before, after = entry((strip, site))
    assert codes(after) == ["STRIPS"]
    assert after.site.hectares == pytest.approx(before.hectares - geodesic_hectares(strip.intersection(SITE)), rel=1e-9)
    assert after.site.hectares == pytest.approx(14.8, abs=0.1)
    assert after.hectares == after.site.hectares
    assert after.site.geometry.intersection(strip).area < 1e-15
    assert after.site.version != before.version, "another outline is another version"
    assert "1.2" in after.problems[0].message


@pytest.mark.parametrize(
    "strips",
    [
        [(square(405, 0, 440, 400), "a")], [(square(100, 0, 130, 400), "b")], [(square(400, 0, 440, 400), None)],
        [(square(-1000, -1000, 1400, 1400), "a")], [],
    ],
    ids=["beside it", "for another site", "with a common border", "all around it", "none"],
)  # fmt: skip
def test_ground_beside_a_site_or_for_another_one_changes_nothing(entry, strips):
    before, after = entry(*strips)
    assert after.site == before
    assert after.problems == []


@pytest.mark.parametrize(
    "strips",
    [
        [(SITE, "a")], [(SITE.buffer(0.001), None)], [(square(4, 4, 396, 396), "a")],
        [(square(0, 0, 200, 400), "a"), (square(199, 0, 399, 400), None)],
    ],
    ids=["the outline itself", "more than the site", "drawn again a little inside", "two that leave a metre"],
)  # fmt: skip
def test_strips_that_cover_the_whole_site_refuse_it(entry, strips):
    _, after = entry(*strips)
    assert after.site is None
    assert codes(after) == ["STRIPS_COVER_SITE"]
    assert after.problems[0].fix


@pytest.mark.parametrize("site", ["a", None], ids=["for the site", "for all"])
def test_strips_without_ten_whole_pixels_refuse_the_site(entry, site):
    for strip in (square(100, 0, 110, 400), square(100, 100, 130, 140)):
        _, after = entry((strip, site))
        assert after.site is None
        assert codes(after) == ["STRIPS_TOO_SMALL"]
    _, after = entry((square(100, 0, 110, 400), site), (square(500, 0, 600, 100), site))
    assert codes(after) == ["STRIPS"], "with ground beside the site there is enough"


def test_a_strip_in_a_narrow_site_leaves_it_judged_though_few_of_its_pixels_are_whole(entry, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "SITE", square(0, 0, 20, 100))
    _, after = entry((square(0, 0, 20, 20), None), (square(300, 0, 400, 100), None))
    assert codes(after)[-1] == "STRIPS"
    assert after.site.hectares == pytest.approx(0.16, abs=0.01)


def test_strips_of_many_small_sites_in_one_feature_count_for_each_site(tmp_path):
    strips = shapely.MultiPolygon([square(900 * k, 0, 900 * k + 60, 400) for k in range(150)])
    path = tmp_path / "controls.geojson"
    write_features(path, [{"type": "Feature", "properties": {"site": None}, "geometry": mapping(strips)}])
    controls = read_named_controls(path, sites=["a"])
    assert len(controls) == 150
    assert strips.area > SURROUNDINGS * SITE.area
    near = named_controls_near(controls, "a", SITE.buffer(0.01))
    assert sum(part.area for part in near) < 3 * square(0, 0, 60, 400).area, "and far ones are not compared with"


@pytest.mark.parametrize("written", [7, 7.0, "7", " 7 "])
def test_ground_names_a_site_by_a_number_as_the_registry_does(tmp_path, written):
    path = tmp_path / "controls.geojson"
    write_features(path, [{"type": "Feature", "properties": {"site": written}, "geometry": mapping(SITE)}])
    assert read_named_controls(path, sites=["7"])[0].site == "7"


@pytest.mark.parametrize("width", [20, 30, 60, 120])
def test_units_are_cut_from_a_strip_as_small_as_needed_and_lie_in_it_alone(entry, width):
    strip = square(100, 0, 100 + width, 400)
    _, after = entry((strip, "a"))
    lattice = GeoBox((1, 1), Affine(10, 0, 0, 0, -10, 0), "EPSG:32648")
    units = candidate_units(after.site.geometry, [], lattice, (500.0, 3000.0), within=[strip])
    assert len(units) >= MIN_UNITS
    every = unary_union([unit.geometry for unit in units])
    assert strip.buffer(1e-9).contains(every)
    assert not after.site.geometry.intersects(every)
    areas = [geodesic_hectares(unit.geometry) for unit in units]
    assert geodesic_hectares(every) == pytest.approx(sum(areas), rel=1e-6), "none overlap"
    assert max(areas) < {20: 0.015, 30: 0.05, 60: 0.3, 120: 0.4}[width]
