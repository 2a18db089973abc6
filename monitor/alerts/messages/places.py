"""Positions as people use them: a text to type in, and a link that opens a map at the right place."""

from typing import Final
from urllib.parse import urlencode

import shapely

from monitor.alerts.messages.rendering import short
from monitor.alerts.words import coordinates
from monitor.maps.worst_patch import WorstPatch
from monitor.sites.names import without_invisible
from monitor.sites.site import Site

AMAP_GROUND: Final = shapely.Polygon([
    (73.5, 39.3), (76.0, 40.4), (80.0, 42.0), (80.3, 45.0), (82.6, 45.3), (85.6, 47.2), (87.8, 49.1), (91.0, 46.8),
    (90.9, 45.3), (95.4, 44.2), (96.4, 42.7), (101.8, 42.5), (105.0, 41.6), (109.4, 42.4), (111.9, 43.7),
    (111.9, 45.0), (114.5, 45.3), (116.6, 46.3), (119.7, 46.7), (118.5, 47.9), (115.6, 47.8), (116.7, 49.8),
    (119.2, 50.2), (120.0, 52.6), (121.0, 53.3), (123.6, 53.6), (126.0, 52.6), (127.5, 50.1), (130.6, 48.9),
    (134.8, 48.4), (133.1, 45.1), (131.2, 44.8), (131.2, 42.9), (130.5, 42.5), (128.1, 42.0), (126.9, 41.7),
    (124.3, 39.9), (123.0, 38.5), (123.0, 31.0), (122.3, 29.0), (120.3, 25.0), (117.3, 22.9), (112.0, 20.0),
    (109.5, 17.9), (108.3, 18.4), (108.2, 21.4), (106.8, 22.0), (106.6, 22.9), (105.0, 23.2), (103.9, 22.6),
    (102.2, 22.5), (101.7, 21.2), (100.1, 21.5), (99.1, 22.1), (98.8, 24.1), (97.6, 24.1), (98.7, 27.6),
    (97.3, 28.3), (96.0, 29.2), (92.0, 27.8), (88.9, 27.4), (86.0, 28.0), (81.1, 30.1), (78.8, 31.5), (78.9, 34.0),
    (75.0, 37.0),
])  # fmt: skip
"""Rough outline of the ground for which a Chinese map is linked, longitude and latitude. Near its edge either link
opens at the right place."""


def look_at(site: Site, patch: WorstPatch | None) -> tuple[float, float]:
    """Latitude and longitude of the first place to look at: in the worst patch, else a point inside the site."""
    if patch is not None:
        return round(patch.latitude, 5), round(patch.longitude, 5)
    return coordinates(site)


def position(latitude: float, longitude: float) -> str:
    """Position as GPS devices show it.

    >>> position(40.105, 106.905), position(-12.5, -0.25)
    ('40.10500°N, 106.90500°E', '12.50000°S, 0.25000°W')
    """
    north, east = "N" if latitude >= 0 else "S", "E" if longitude >= 0 else "W"
    return f"{abs(latitude):.5f}°{north}, {abs(longitude):.5f}°{east}"


def on_chinese_map(latitude: float, longitude: float) -> bool:
    """Whether a position (WGS 84) is linked to a Chinese map. [degree]"""
    return bool(AMAP_GROUND.contains(shapely.Point(longitude, latitude)))


def map_link(latitude: float, longitude: float, name: str) -> str:
    """Link that opens a map with a marker, with or without a name, at a position (WGS 84). [degree]

    In China the map of Amap, which draws its maps in the shifted system GCJ-02 and converts a position that is declared
    as WGS 84 [1]_; elsewhere OpenStreetMap.

    References
    ----------
    .. [1] Amap URI API, "marker", parameter `coordinate`: https://lbs.amap.com/api/uri-api/guide/mobile-web/point
    """
    if on_chinese_map(latitude, longitude):
        query = {"position": f"{longitude:.5f},{latitude:.5f}", "src": "regrowth", "coordinate": "wgs84"}
        query |= {"name": short(without_invisible(name), 20)} if name else {}
        return f"https://uri.amap.com/marker?{urlencode(query, safe=',', errors='replace')}"
    return (
        f"https://www.openstreetmap.org/?mlat={latitude:.5f}&mlon={longitude:.5f}#map=16/{latitude:.5f}/{longitude:.5f}"
    )
