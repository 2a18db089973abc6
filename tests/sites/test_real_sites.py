"""Outlines as programmes deliver them. Their known figures were computed by other means, named at each figure."""

import json
import re
import sqlite3

import numpy as np
import pytest
import shapely

from monitor.sites.formats.reader import read_features
from monitor.sites.registry import read_sites, repair, write_geojson


@pytest.fixture(scope="module")
def planted(shared_data):
    """Zipped shapefile of a tree-planting site in Cambodia, wound the wrong way (GDAL warns of it)."""
    return shared_data / "terramatch" / "test-shapefile.zip"


@pytest.fixture(scope="module")
def cambodia(shared_data, tmp_path_factory):
    """Outline of a country, 40 parts and more, as GeoJSON with what a registry asks for."""
    text = (shared_data / "terramatch" / "cambodia-geometry.ts").read_text(encoding="utf-8")
    coordinates = json.loads(re.search(r"coordinates:\s*(\[.*\])", text, re.DOTALL)[1])
    properties = {"id": "kh", "start": "2020-01-01", "intervention": "planting", "biome": "karst"}
    feature = {
        "type": "Feature",
        "properties": properties,
        "geometry": {"type": "MultiPolygon", "coordinates": coordinates},
    }
    path = tmp_path_factory.mktemp("kh") / "kh.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}), encoding="utf-8")
    return path


def plane_hectares(rings, lat):
    """Area by the shoelace formula on the tangent plane of the WGS 84 ellipsoid; good to 0.05 % below 5 km."""
    a, e2, phi = 6378137.0, 0.00669437999014, np.radians(lat)
    w = np.sqrt(1 - e2 * np.sin(phi) ** 2)
    per_degree = np.radians(a * np.cos(phi) / w), np.radians(a * (1 - e2) / w**3)
    x, y = ((rings - rings[0]) * per_degree).T
    return abs(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2 / 1e4


def test_a_real_site_wound_the_wrong_way_is_read_and_named(planted):
    (entry,) = read_sites(planted).entries
    assert "WINDING" in [problem.code for problem in entry.problems]
    assert not next(problem for problem in entry.problems if problem.code == "WINDING").refuses
    # It has its own columns, none of ours: each is reported as missing.
    assert [p.code for p in entry.problems if p.refuses] == ["ID_MISSING", "MISSING", "MISSING", "MISSING"]


def test_its_area_stays_within_a_thousandth_when_its_rings_are_turned(planted):
    report = read_sites(planted)
    (feature,) = read_features(planted)
    by_hand = sum(plane_hectares(polygon[0], polygon[0][:, 1].mean()) for polygon in feature.polygons)
    after = repair(report)
    assert report.entries[0].hectares == pytest.approx(by_hand, rel=1e-3)
    assert after.entries[0].hectares == pytest.approx(report.entries[0].hectares, rel=1e-9)
    assert "WINDING" in after.entries[0].repaired
    assert "WINDING" not in [problem.code for problem in after.entries[0].problems]


def test_a_country_is_read_repaired_and_read_again_with_the_same_area(cambodia, tmp_path):
    report = read_sites(cambodia)
    after = repair(report)
    (site,) = after.sites
    assert site.hectares == pytest.approx(18_160_000, rel=0.02)  # 181,035 km2 by survey; this outline is coarse
    assert site.hectares == pytest.approx(report.entries[0].hectares, rel=1e-3)
    assert "VERY_LARGE" in [problem.code for problem in after.entries[0].problems]
    out = tmp_path / "out.geojson"
    write_geojson(after.entries, out)
    (again,) = read_sites(out).sites
    assert again.hectares == pytest.approx(site.hectares, rel=1e-12)
    assert again.version == site.version


def test_a_geopackage_in_utm_has_the_area_of_its_own_projection(shared_data):
    path = shared_data / "bc06_wildfire" / "wildfire_516.gpkg"
    (entry,) = read_sites(path).entries
    projected = shapely.from_wkb(_blob(path)).area / 1e4  # EPSG:26910, square metres
    scale = 0.9996  # of UTM on its meridian, near which the site lies
    assert entry.hectares == pytest.approx(projected / scale**2, rel=1e-3)
    assert entry.hectares == pytest.approx(55, abs=1)
    west, south, east, north = shapely.MultiPoint(np.vstack([r for p in entry.feature.polygons for r in p])).bounds
    assert -123.2 < west < east < -123.0
    assert 53.8 < south < north < 53.9


def _blob(path):
    with sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True) as connection:
        (blob,) = connection.execute("SELECT geom FROM wildfires57to63").fetchone()
    connection.close()
    return blob[8 + (0, 32, 48, 48, 64)[(blob[3] >> 1) & 7] :]
