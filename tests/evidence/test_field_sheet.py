"""The points of an inspection sheet lie in the site, everywhere alike, and are the same for everybody."""

import csv
import io

import numpy as np
import pytest
from shapely.affinity import rotate
from shapely.geometry import MultiPolygon, Point, Polygon, box

from monitor.errors import BadData
from monitor.evidence.field_sheet import POINTS, field_sheet, kinds_to_measure, random_points
from monitor.sites.site import Plan
from tests import builders


def planned(geometry, *, site_id="yanchi-07", intervention="planting", biome="loess", **values):
    plan = Plan(A=0.2, k=0.5, L=1.0, too_early_years=2.0)
    return builders.site(
        site_id, geometry=geometry, intervention=intervention, biome=biome, hectares=1.0, plan=plan, **values
    )


HOLED = Polygon(box(100, 36, 100.1, 36.1).exterior.coords, [box(100.02, 36.02, 100.08, 36.08).exterior.coords])
TWO_PARTS = MultiPolygon([HOLED, box(103, 38, 103.05, 38.02)])


def test_no_point_lies_in_a_hole_or_between_the_parts():
    points = random_points(planned(TWO_PARTS), 3000, seed="s")
    assert all(TWO_PARTS.contains(Point(place)) for place in points)


def test_each_part_and_each_half_has_points_by_its_area():
    points = np.array(random_points(planned(TWO_PARTS), 6000, seed="s"))
    east = points[:, 0] > 102
    scale = np.cos(np.radians(38.01)) / np.cos(np.radians(36.05))
    share = 0.001 * scale / (0.001 * scale + 0.0064)
    assert east.mean() == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 6000))
    west = points[~east]
    assert (west[:, 1] > 36.05).mean() == pytest.approx(0.5, abs=0.03)
    assert (west[:, 0] > 100.05).mean() == pytest.approx(0.5, abs=0.03)


def test_on_a_tall_site_points_are_as_dense_in_the_north_as_in_the_south():
    lat = np.array(random_points(planned(box(100, 0, 101, 60)), 6000, seed="s"))[:, 1]
    assert (lat < 25.6589).mean() == pytest.approx(0.5, abs=0.026)  # half of the sphere between 0 and 60 degrees


def test_a_long_narrow_strip_has_points_along_its_whole_length():
    strip = rotate(box(100, 36, 100.1, 36.0001), 40, origin=(100.05, 36))  # 9 km by 11 m
    points = random_points(planned(strip), 200, seed="s")
    assert all(strip.contains(Point(place)) for place in points)
    along = np.array([(x - 100.05) * np.cos(np.radians(40)) + (y - 36) * np.sin(np.radians(40)) for x, y in points])
    assert np.histogram(along, bins=4, range=(-0.05, 0.05))[0].min() > 30


def test_an_outline_without_room_for_a_point_is_refused_by_name(monkeypatch):
    monkeypatch.setattr("monitor.evidence.field_sheet._MOST_TRIES", 600)
    with pytest.raises(BadData, match="site 'yanchi-07' is so narrow"):
        random_points(planned(Polygon([(100, 36), (101, 37), (101, 37.00000001)])), 5, seed="s")


def test_points_are_those_written_down_here_on_every_machine():
    site = planned(box(100, 36, 100.01, 36.01))
    assert random_points(site, 2, seed="2026") == GOLDEN
    assert random_points(site, 5, seed="2026")[:2] == GOLDEN
    assert random_points(planned(site.geometry, site_id="other"), 2, seed="2026") != GOLDEN


GOLDEN = [(100.003898, 36.004289), (100.005441, 36.006311)]
"""Python 3.12, 2026-11-28; independent of numpy."""


@pytest.mark.parametrize(("values", "kinds"), [
    ({"intervention": "planting"}, ("cover", "survival")),
    ({"intervention": "planting", "biome": "alpine"}, ("cover",)),  # grass is sown there
    ({"intervention": "planting", "biome": "alpine", "subtype": "shrub"}, ("cover", "survival")),
    ({"intervention": "assisted_regeneration"}, ("cover", "density")),
    ({"intervention": "assisted_regeneration", "subtype": "reseeding"}, ("cover",)),
    ({"intervention": "erosion_control"}, ("cover",)),
    ({"intervention": "tending"}, ("cover",)),
])  # fmt: skip
def test_what_is_measured_is_what_the_work_was_to_bring(values, kinds):
    assert kinds_to_measure(planned(box(100, 36, 100.01, 36.01), **values)) == kinds


def test_the_sheet_has_the_columns_of_field_add_and_leaves_day_and_value_open():
    sites = [planned(HOLED, site_id="民勤, 03"), planned(HOLED, site_id="=1+1", intervention="tending")]
    content = field_sheet(sites, seed="a" * 64)
    assert content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
    assert list(rows[0]) == ["site", "date", "kind", "value", "n", "lon", "lat", "note"]
    assert [row["site"] for row in rows] == ["民勤, 03"] * 2 * POINTS + ["'=1+1"] * POINTS
    assert {row["date"] + row["value"] + row["n"] for row in rows} == {""}
    assert rows[2]["note"] == "audit aaaaaaaaaaaa, point 2"
    assert all(HOLED.contains(Point(float(row["lon"]), float(row["lat"]))) for row in rows)
