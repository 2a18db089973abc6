"""A message leads to the right place: map links that declare their datum, GPX and KML files."""

import math
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import shapely
from shapely.geometry import MultiPolygon, Point, Polygon, box

from monitor.alerts.alert import AlertEvent
from monitor.alerts.messages import compose_alert
from monitor.alerts.messages.places import AMAP_GROUND, map_link, position
from tests.alerts.sample_news import HOSTILE, ID, PATCH, TIME, news, site

GPX = "{http://www.topografix.com/GPX/1/1}"
KML = "{http://www.opengis.net/kml/2.2}"


@pytest.mark.parametrize(("place", "latitude", "longitude", "inside"), [
    ("Beijing", 39.904, 116.407, True), ("Kashgar", 39.47, 75.99, True), ("Mohe", 52.97, 122.54, True),
    ("Sanya", 18.25, 109.5, True), ("Lhasa", 29.65, 91.14, True), ("Kunming", 25.04, 102.71, True),
    ("Minqin", 38.62, 103.09, True), ("Xishuangbanna", 22.0, 100.8, True), ("Shanghai", 31.23, 121.47, True),
    ("Hulunbuir", 49.21, 119.77, True), ("Yining", 43.91, 81.28, True), ("Chifeng", 42.26, 118.89, True),
    ("Ulaanbaatar", 47.92, 106.92, False), ("Hanoi", 21.03, 105.85, False), ("Delhi", 28.61, 77.21, False),
    ("Kathmandu", 27.72, 85.32, False), ("Almaty", 43.24, 76.89, False), ("Seoul", 37.57, 126.98, False),
    ("Vladivostok", 43.12, 131.89, False), ("Pyongyang", 39.03, 125.75, False), ("Bishkek", 42.87, 74.59, False),
    ("Nairobi", -1.29, 36.82, False), ("Madrid", 40.42, -3.7, False), ("Thimphu", 27.47, 89.64, False),
])  # fmt: skip
def test_chinese_maps_are_linked_in_china_and_openstreetmap_elsewhere(place, latitude, longitude, inside):
    assert urlsplit(map_link(latitude, longitude, place)).netloc == (
        "uri.amap.com" if inside else "www.openstreetmap.org"
    )


def test_the_ground_of_chinese_maps_is_a_sound_polygon_from_the_pamirs_to_the_amur():
    assert AMAP_GROUND.is_valid
    west, south, east, north = AMAP_GROUND.bounds
    assert (round(west), round(south), round(east), round(north)) == (74, 18, 135, 54)


def test_a_link_to_a_chinese_map_carries_the_position_as_it_is_and_declares_its_datum():
    """Amap shifts a position that is declared as WGS 84 itself; shifted here as well, it would be off twice."""
    query = parse_qs(urlsplit(map_link(38.62345, 103.09876, "民勤三号")).query)
    assert query["position"] == ["103.09876,38.62345"]  # longitude first
    assert query["coordinate"] == ["wgs84"]
    assert query["name"] == ["民勤三号"]


def test_the_link_is_that_of_the_point_that_the_message_names():
    message = compose_alert(news(), id=ID, time=TIME)
    assert "position=106.90534,40.10512&" in message.text
    assert "40.10512°N, 106.90534°E" in message.text
    assert Polygon(PATCH.ring).contains(Point(106.90534, 40.10512))
    abroad = news(site=site(geometry=box(-70.02, -33.02, -70.0, -33.0)), patch=None)
    message = compose_alert(abroad, id=ID, time=TIME)
    assert "https://www.openstreetmap.org/?mlat=-33.01000&mlon=-70.01000#map=16/-33.01000/-70.01000" in message.text
    assert "33.01000°S, 70.01000°W" in message.text
    assert "Chinese map apps" not in message.text
    assert "Chinese map apps move typed coordinates" in compose_alert(news(), id=ID, time=TIME).text


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_adds_nothing_to_a_link(name):
    link = map_link(38.6, 103.1, name)
    assert link.isascii()
    assert len(link) < 350
    assert set(parse_qs(urlsplit(link).query)) <= {"position", "name", "src", "coordinate"}
    assert not set(link) & set("<>\"' \r\n{}")


def test_positions_on_any_hemisphere():
    assert position(-0.5, 179.99999) == "0.50000°S, 179.99999°E"


def attached(item) -> dict[str, bytes]:
    """Content of the attachments by ending."""
    message = compose_alert(item, id=ID, time=TIME)
    assert all(each.name.isascii() for each in message.attachments)
    return {each.name[-3:]: each.content for each in message.attachments}


def points_of_gpx(element) -> list[tuple[float, float]]:
    return [(float(point.get("lon")), float(point.get("lat"))) for point in element.iter(f"{GPX}trkpt")]


def ring_of_kml(element) -> list[tuple[float, float]]:
    return [tuple(map(float, pair.split(","))) for pair in element.find(f".//{KML}coordinates").text.split()]


def test_a_gpx_file_has_the_outline_and_the_patch_as_tracks_and_the_place_to_go_as_a_waypoint():
    root = ET.fromstring(attached(news())["gpx"])
    assert root.tag == f"{GPX}gpx"
    assert root.get("version") == "1.1"
    assert [child.tag for child in root] == [GPX + tag for tag in ("metadata", "wpt", "trk", "trk")]  # in this order
    (waypoint,) = root.findall(f"{GPX}wpt")
    assert (waypoint.get("lat"), waypoint.get("lon")) == ("40.10512", "106.90534")
    outline, patch = root.findall(f"{GPX}trk")
    assert outline.find(f"{GPX}name").text == "Ulan Buh, plot 3"
    assert Polygon(points_of_gpx(outline)).equals(site().geometry)
    assert patch.find(f"{GPX}name").text == "Worst patch"
    assert Polygon(points_of_gpx(patch)).equals(Polygon(PATCH.ring))


def test_a_kml_file_has_the_outline_and_the_patch_as_polygons_and_the_place_to_go_as_a_point():
    root = ET.fromstring(attached(news())["kml"])
    assert root.tag == f"{KML}kml"
    document = root.find(f"{KML}Document")
    point, outline, patch = document.findall(f"{KML}Placemark")
    assert point.find(f"{KML}Point/{KML}coordinates").text == "106.90534,40.10512"  # longitude first
    assert Polygon(ring_of_kml(outline)).equals(site().geometry)
    assert Polygon(ring_of_kml(patch)).equals(Polygon(PATCH.ring))
    styles = {f"#{style.get('id')}" for style in document.findall(f"{KML}Style")}
    assert {outline.find(f"{KML}styleUrl").text, patch.find(f"{KML}styleUrl").text} <= styles


def test_without_a_patch_the_files_have_the_outline_and_a_point_inside_the_site():
    files = attached(news(rule="disturbance", language="zh"))
    root = ET.fromstring(files["gpx"])
    waypoint = root.find(f"{GPX}wpt")
    assert site().geometry.contains(Point(float(waypoint.get("lon")), float(waypoint.get("lat"))))
    assert waypoint.find(f"{GPX}name").text == "地块内一点"
    assert len(root.findall(f"{GPX}trk")) == 1
    assert len(ET.fromstring(files["kml"]).findall(f".//{KML}Placemark")) == 2


def test_holes_and_parts_are_all_drawn():
    parts = MultiPolygon([box(0, 0, 0.01, 0.01) - box(0.004, 0.004, 0.006, 0.006), box(0.02, 0, 0.03, 0.01)])
    files = attached(news(site=site(geometry=parts), patch=None))
    assert len(ET.fromstring(files["gpx"]).findall(f".//{GPX}trkseg")) == 3
    kml = ET.fromstring(files["kml"])
    assert (len(kml.findall(f".//{KML}Polygon")), len(kml.findall(f".//{KML}innerBoundaryIs"))) == (2, 1)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_only_a_name_in_both_files(name):
    files = attached(news(site=site(id=name, name=name, name_zh=name)))
    for content, space, children in ((files["gpx"], GPX, 4), (files["kml"], KML, 6)):
        root = ET.fromstring(content)
        assert len(root if space == GPX else root[0]) == children
        assert not [element for element in root.iter() if "script" in element.tag or "img" in element.tag]
        for element in root.iter(f"{space}name"):
            assert element.text
            assert "\u202e" not in element.text
            assert len(element.text) <= 60


def _star(points: int, *, seed: int = 0) -> Polygon:
    """A jagged outline of many points, of about two kilometres."""
    radius = 0.01 * (1 + 0.3 * np.random.default_rng(seed).random(points))
    angle = np.linspace(0, 2 * math.pi, points, endpoint=False)
    return Polygon(np.column_stack([103 + radius * np.cos(angle), 38 + radius * np.sin(angle)]))


def test_an_outline_of_any_length_is_simplified_until_the_files_are_small():
    patch = PATCH.__class__(latitude=38, longitude=103, hectares=9, ring=tuple(_star(3000, seed=1).exterior.coords))
    shape = _star(20_000)
    files = attached(news(site=site(geometry=shape), patch=patch))
    for content in files.values():
        assert len(content) <= 12_000
    drawn = Polygon(points_of_gpx(ET.fromstring(files["gpx"]).find(f"{GPX}trk")))
    assert drawn.intersection(shape).area / drawn.union(shape).area > 0.7


def test_a_site_of_very_many_parts_keeps_its_largest_ones():
    small = [
        box(x, y, x + 0.0005, y + 0.0005) for x in np.arange(103, 103.1, 0.002) for y in np.arange(38, 38.04, 0.002)
    ]
    large = box(103.2, 38, 103.25, 38.05)
    files = attached(news(site=site(geometry=MultiPolygon([*small, large])), patch=None))
    for content in files.values():
        assert len(content) <= 12_000
    tracks = [Polygon(points_of_gpx(each)) for each in ET.fromstring(files["gpx"]).iter(f"{GPX}trkseg")]
    assert any(shapely.equals_exact(track.normalize(), large.normalize(), 1e-3) for track in tracks)


def test_a_resolved_alert_has_no_files():
    assert attached(news(AlertEvent.RESOLVED)) == {}
