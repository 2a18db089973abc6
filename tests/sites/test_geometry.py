import errno
import json
import os

import numpy as np
import pytest
import shapely
from hypothesis import example, given
from hypothesis import strategies as st

from monitor.errors import BadData
from monitor.sites import gcj02
from monitor.sites.formats.feature import Feature
from monitor.sites.geometry import check_outline, repair_outline
from monitor.sites.registry import read_sites, repair, write_geojson
from tests.sites.conftest import BOW_TIE, codes, square

X, Y, D = 104.6, 35.5, 0.01
SQUARE = square()
SQUARE_HECTARES = 100.66
"""By hand, on the WGS 84 ellipsoid at 35.505 N: a degree of latitude is 110,950 m, of longitude 90,724 m."""


def test_a_good_outline_has_no_problem_and_its_geodesic_area(judged):
    found = judged(SQUARE)
    assert found.site
    assert found.problems == []
    assert found.hectares == pytest.approx(SQUARE_HECTARES, rel=1e-4)


@pytest.mark.parametrize(
    ("ring", "code"),
    [
        ([[y, x] for x, y in SQUARE], "SWAPPED"),
        ([[y, x] for x, y in [[80.0, 38.0], [80.01, 38.0], [80.01, 38.01], [80.0, 38.0]]], "SWAPPED"),
        (BOW_TIE, "SELF_CROSSING"), (SQUARE[:-1], "UNCLOSED"),
        ([[X, Y], [X + D, float("nan")], [X, Y + D], [X, Y]], "NOT_A_NUMBER"),
        ([[X, Y], [float("inf"), Y], [X, Y + D], [X, Y]], "NOT_A_NUMBER"),
        ([[500.0, Y], [500.1, Y], [500.1, Y + D], [500.0, Y]], "OUT_OF_RANGE"),
        ([[X, 200.0], [X + D, 200.0], [X, 200.1], [X, 200.0]], "OUT_OF_RANGE"),
        ([[X, Y], [X + D, Y + D], [X + 2 * D, Y + 2 * D], [X, Y]], "ZERO_AREA"),
        ([[X, Y], [X, Y], [X, Y], [X, Y]], "ZERO_AREA"), ([[X, Y], [X + D, Y], [X, Y]], "ZERO_AREA"),
        ([[X, Y], [X + 8e-5, Y], [X + 8e-5, Y + 8e-5], [X, Y + 8e-5], [X, Y]], "TOO_SMALL"),
        ([[179.99, 10.0], [-179.99, 10.0], [-179.99, 10.1], [179.99, 10.1], [179.99, 10.0]], "ANTIMERIDIAN"),
        ([[179.99, 10.0], [180.01, 10.0], [180.01, 10.1], [179.99, 10.1], [179.99, 10.0]], "ANTIMERIDIAN"),
        ([[492243.5, 5966916.5], [493422.0, 5966916.5], [493422.0, 5967882.0], [492243.5, 5966916.5]], "CRS_UNSTATED"),
    ],
)  # fmt: skip
def test_an_outline_that_cannot_be_right_refuses_the_site_and_says_what_to_do(judged, ring, code):
    found = judged(ring)
    assert not found.site
    assert codes(found) == [code]
    assert all(problem.message and problem.fix for problem in found.problems)


@pytest.mark.parametrize("geometry", [{"type": "Point", "coordinates": [X, Y]}, {"type": "Polygon", "coordinates": []}])
def test_a_geometry_without_an_area_is_refused(judged, geometry):
    assert codes(judged(geometry=geometry)) == ["NO_OUTLINE"]


@pytest.mark.parametrize(
    ("ring", "code"),
    [
        (SQUARE[::-1], "WINDING"),
        ([[X, Y], [X + 4e-4, Y], [X + 4e-4, Y + 4e-4], [X, Y + 4e-4], [X, Y]], "FEW_PIXELS"),
        ([[X, Y], [X + 2e-4, Y], [X + 2e-4, Y + 2e-4], [X, Y + 2e-4], [X, Y]], "FEW_PIXELS"),
        ([[X, Y], [X + 0.1, Y], [X + 0.1, Y + 8e-5], [X, Y + 8e-5], [X, Y]], "FEW_PIXELS"),
        ([[X, Y], [X + 0.2, Y], [X + 0.2, Y + 0.2], [X, Y + 0.2], [X, Y]], "VERY_LARGE"),
    ],
    ids=["clockwise", "forty metres wide", "twenty metres wide", "nine metres wide and long", "40,000 ha"],
)
def test_what_a_person_should_only_know_is_a_note(judged, ring, code):
    found = judged(ring)
    assert found.site
    assert codes(found) == [code]


@pytest.mark.parametrize("place", [(20.0, 78.0), (-62.0, -3.0), (36.8, -1.3), (-179.5, -16.5)])
def test_sites_outside_china_are_fine(judged, place):
    x, y = place
    assert judged([[x, y], [x + D, y], [x + D, y + D], [x, y + D], [x, y]]).problems == []


def test_a_hole_does_not_count_in_the_area(judged):
    q = D / 4
    hole = [[X + q, Y + q], [X + q, Y + 3 * q], [X + 3 * q, Y + 3 * q], [X + 3 * q, Y + q], [X + q, Y + q]]
    found = judged(geometry={"type": "Polygon", "coordinates": [SQUARE, hole]})
    assert found.site
    assert found.hectares == pytest.approx(0.75 * judged(SQUARE).hectares, rel=1e-5)


def repaired(found_path):
    report = repair(read_sites(found_path))
    return report, [found for found in report.entries if found.repaired]


def test_an_open_ring_is_closed_and_the_area_is_that_of_the_closed_one(entry, registry, judged):
    report, (repair_made,) = repaired(registry(entry(ring=SQUARE[:-1])))
    assert report.sites[0].hectares == pytest.approx(judged(SQUARE).hectares, rel=1e-12)
    assert repair_made.repaired == ("UNCLOSED",)


def test_both_wings_of_a_bow_tie_remain(entry, registry, judged):
    report, (repair_made,) = repaired(registry(entry(ring=BOW_TIE)))
    assert report.sites[0].hectares == pytest.approx(judged(SQUARE).hectares / 2, rel=1e-3)  # buffer(0): a quarter
    assert len(report.sites[0].geometry.geoms) == 2
    assert repair_made.hectares_before < 1  # the two wings count against each other


def test_turning_a_ring_round_changes_neither_area_nor_version(entry, registry, judged):
    report, (repair_made,) = repaired(registry(entry(ring=SQUARE[::-1])))
    assert report.problems == []
    assert repair_made.hectares_before == report.sites[0].hectares
    assert report.sites[0].version == judged(SQUARE).site.version


@pytest.mark.parametrize("code", ["SWAPPED", "NOT_A_NUMBER", "ZERO_AREA"])
def test_what_would_need_guessing_is_not_repaired(entry, registry, code):
    ring = {
        "SWAPPED": [[y, x] for x, y in SQUARE],
        "NOT_A_NUMBER": [[X, float("nan")], *SQUARE[1:]],
        "ZERO_AREA": [[X, Y], [X + D, Y], [X, Y]],
    }[code]
    report, _ = repaired(registry(entry(ring=ring)))
    assert [problem.code for _, problem in report.problems][-1] == code
    assert report.sites == []


@example([(0, 1), (1, 0), (0, 0), (1, 0), (0, 1), (0, 0)])
@example([(0, 1), (1, 1), (0, 1), (0, 0), (1, 1)])
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=3, max_size=12))
def test_a_repaired_outline_has_nothing_left_to_repair(points):
    ring = np.array(points, dtype=float) * 1e-3 + [X, Y]
    polygons = repair_outline(Feature(properties={}, polygons=[[ring]], winding_checked=True), from_gcj02=False)
    if polygons is None:  # lines there and back, or round twice: no face lies within an odd number of turns
        edges = shapely.node(shapely.LineString([*points, points[0]]))
        ends = np.array(points, dtype=float)
        before = np.roll(ends, 1, axis=0)
        for face in shapely.polygonize([edges]).geoms:
            inner = face.representative_point()
            crossed = (before[:, 1] > inner.y) != (ends[:, 1] > inner.y)
            (x0, y0), (x1, y1) = before[crossed].T, ends[crossed].T
            assert np.sum(x0 + (inner.y - y0) / (y1 - y0) * (x1 - x0) > inner.x) % 2 == 0
        return
    outline = check_outline(Feature(properties={}, polygons=polygons, winding_checked=True))
    assert not {problem.code for problem in outline.problems} & {"UNCLOSED", "SELF_CROSSING", "RINGS", "WINDING"}


def test_a_star_of_millions_of_crossings_is_refused_and_not_sorted_out(entry, registry, cpu_seconds):
    turns = np.arange(20_001) * np.pi * (1 + 1e-4)
    turns[-1] = 0
    star = np.column_stack([X + D * np.cos(turns), Y + D * np.sin(turns)])
    path = registry(entry(ring=star.tolist()))
    with cpu_seconds(at_most=2.0):  # sorted out, it takes minutes
        report, repairs = repaired(path)
    assert repairs == []
    assert [problem.code for _, problem in report.problems] == ["SELF_CROSSING"]


def test_a_sound_outline_of_many_points_is_not_taken_for_an_attack(entry, registry):
    turns = np.linspace(0, 2 * np.pi, 20_001)
    shore = 1 + 0.1 * np.sin(200 * turns)
    ring = np.column_stack([X + 0.02 * shore * np.cos(turns), Y + 0.02 * shore * np.sin(turns)])
    report = read_sites(registry(entry(ring=[*ring[:-1].tolist(), ring[0].tolist()])))
    assert report.problems == []


def test_the_offset_of_chinese_web_maps_is_that_of_its_published_example():
    # wandergis/coordtransform, README: wgs84togcj02(116.404, 39.915)
    shown = gcj02.from_wgs84(np.array([[116.404, 39.915]]))
    np.testing.assert_allclose(shown, [[116.41024449916938, 39.91640428150164]], atol=1e-9)


@given(st.floats(75, 134), st.floats(18, 53))
def test_the_offset_is_taken_back_to_a_millimetre(x, y):
    place = np.array([[x, y]])
    np.testing.assert_allclose(gcj02.to_wgs84(gcj02.from_wgs84(place)), place, atol=1e-8)


def test_an_outline_stated_to_be_gcj02_is_refused_and_moved_back_on_repair(entry, registry, judged):
    shown = gcj02.from_wgs84(np.array(SQUARE)).tolist()
    path = registry(entry(ring=shown, datum="GCJ-02"))
    assert "GCJ02" in [problem.code for _, problem in read_sites(path).problems]
    report, (repair_made,) = repaired(path)
    assert repair_made.repaired == ("GCJ02",)
    np.testing.assert_allclose(
        shapely.normalize(report.sites[0].geometry).exterior.coords,
        shapely.normalize(judged(SQUARE).site.geometry).exterior.coords,
        atol=1e-8,
    )


def test_baidu_coordinates_are_refused_but_not_guessed_back(entry, registry):
    report, _ = repaired(registry(entry(datum="BD-09")))
    assert report.sites == []


def test_what_was_written_is_read_back_without_a_problem(entry, registry, tmp_path):
    there = [[x + 1, y] for x, y in SQUARE]
    report, _ = repaired(
        registry(entry(ring=BOW_TIE, id="盐池\u202e"), entry(ring=there, id="盐池 7", name="x\r\ny", remark="kept"))
    )
    out = tmp_path / "out.geojson"
    write_geojson(report.entries, out)
    again = read_sites(out)
    assert [site.id for site in again.sites] == ["盐池 7"]
    assert [site.version for site in again.sites] == [site.version for site in report.sites]
    assert json.loads(out.read_text(encoding="utf-8"))["features"][0]["properties"]["remark"] == "kept"


def test_a_registry_that_cannot_be_written_leaves_the_old_one_and_no_scraps(entry, registry, tmp_path, monkeypatch):
    report = read_sites(registry(entry()))
    old = tmp_path / "out.geojson"
    old.write_text("old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BadData, match="No space left on device"):
        write_geojson(report.entries, old)
    assert old.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.geojson", "sites.geojson"]
    with pytest.raises(BadData, match="a folder that exists"):
        write_geojson(report.entries, tmp_path / "none" / "out.geojson")
