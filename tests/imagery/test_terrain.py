"""Slope and aspect of ground of known shape, and of a real elevation model, against a plain double loop."""

import json
import math
import warnings

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from shapely import contains_xy
from shapely.geometry import MultiPolygon, Point, box

from monitor.errors import BadData
from monitor.imagery.auxiliary.elevation import LocalElevation, bilinear
from monitor.imagery.auxiliary.terrain import Terrain, gradient, northness_eastness, slope, terrain_of
from monitor.sites.projection import lonlat

UTM = CRS("EPSG:32648")
X, Y = 500_000.0, 4_000_000.0
"""Upper left corner of the ground of these tests."""


def looped(z, pixel):
    """Horn's slope and aspect, one pixel at a time, as the formula is printed. [degree]"""
    rows, columns = z.shape
    angle, aspect = np.full(z.shape, np.nan), np.full(z.shape, np.nan)
    for r in range(1, rows - 1):
        for c in range(1, columns - 1):
            near = z[r - 1 : r + 2, c - 1 : c + 2]
            if np.isnan(near).any():
                continue
            dx = (near[0, 2] + 2 * near[1, 2] + near[2, 2] - near[0, 0] - 2 * near[1, 0] - near[2, 0]) / (8 * pixel)
            dy = (near[2, 0] + 2 * near[2, 1] + near[2, 2] - near[0, 0] - 2 * near[0, 1] - near[0, 2]) / (8 * pixel)
            angle[r, c] = math.degrees(math.atan(math.sqrt(dx * dx + dy * dy)))
            if dx or dy:
                # dy grows southwards: the way down is (-dx, dy) in east and north.
                aspect[r, c] = math.degrees(math.atan2(-dx, dy)) % 360
    return angle, aspect


def write(path, z, *, affine=None, crs="EPSG:32648", nodata=None, dtype="float32"):
    height, width = z.shape
    options = {"crs": crs, "transform": affine or Affine(30, 0, X, 0, -30, Y), "nodata": nodata}
    with rasterio.open(path, "w", driver="GTiff", width=width, height=height, count=1, dtype=dtype, **options) as file:
        file.write(z.astype(dtype), 1)
    return path


def ground(rows, columns, pixel=30.0):
    """East and north of pixel centres, from the upper left corner. [m]"""
    return np.meshgrid((np.arange(columns) + 0.5) * pixel, -(np.arange(rows) + 0.5) * pixel)


def place(left, bottom, right, top):
    """A rectangle in longitude and latitude, given in metres from the upper left corner."""
    return lonlat(box(X + left, Y + bottom, X + right, Y + top), UTM)


@pytest.mark.parametrize(("rise_east", "rise_north", "faces"), [
    (0.1, 0, 270), (-0.1, 0, 90), (0, 0.1, 180), (0, -0.1, 0), (0.08, 0.06, 180 + 53.1301),
    (-0.06, 0.08, 180 - 36.8699),
])  # fmt: skip
def test_a_plane_of_ten_percent_slopes_by_5_71_degrees_and_faces_down(rise_east, rise_north, faces):
    east, north = ground(6, 7)
    gx, gy = gradient(1000 + rise_east * east + rise_north * north, 30.0)
    inner = np.s_[1:-1, 1:-1]
    np.testing.assert_allclose(slope(gx, gy)[inner], 5.710593137, atol=1e-8)
    northness, eastness = northness_eastness(gx, gy)
    aspect = np.degrees(np.arctan2(eastness[inner], northness[inner])) % 360
    np.testing.assert_allclose((aspect - faces + 180) % 360 - 180, 0, atol=1e-4)
    edge = np.ones(gx.shape, bool)
    edge[inner] = False
    assert np.isnan(slope(gx, gy)[edge]).all()


def test_flat_ground_faces_nowhere():
    gx, gy = gradient(np.full((3, 3), 7.0), 30.0)
    assert (slope(gx, gy)[1, 1], *(part[1, 1] for part in northness_eastness(gx, gy))) == (0, 0, 0)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), pixel=st.sampled_from([1.0, 30.0, 234.5]), holes=st.integers(0, 6))
def test_any_ground_equals_the_formula_pixel_by_pixel(seed, pixel, holes):
    rng = np.random.default_rng(seed)
    z = rng.normal(1500, 40, (9, 8)).round(2)
    z.flat[rng.choice(z.size, holes, replace=False)] = np.nan
    gx, gy = gradient(z, pixel)
    angle, aspect = looped(z, pixel)
    np.testing.assert_allclose(slope(gx, gy), angle, rtol=1e-12)
    northness, eastness = northness_eastness(gx, gy)
    np.testing.assert_allclose(northness, np.cos(np.radians(aspect)), atol=1e-9)
    np.testing.assert_allclose(eastness, np.sin(np.radians(aspect)), atol=1e-9)


def test_a_void_never_becomes_a_slope_nor_does_its_number():
    z = np.full((7, 7), 1200.0)
    z[3, 3] = np.nan
    steep = slope(*gradient(z, 30.0))
    assert np.isnan(steep[2:5, 2:5]).all()
    assert np.nanmax(steep) == 0


@pytest.mark.parametrize("mark", [-32767.0, -9999.0, 1e20, np.inf, np.nan])
@pytest.mark.parametrize("declared", [True, False])
def test_missing_values_of_a_file_are_unknown_whether_it_says_so_or_not(tmp_path, mark, declared):
    z = np.full((40, 40), 1200.0)
    z[:, :15] = mark
    model = LocalElevation(write(tmp_path / "dem.tif", z, nodata=mark if declared and np.isfinite(mark) else None))
    known, edge, gone = terrain_of(
        model, [place(600, -900, 1100, -300), place(300, -900, 900, -300), place(30, -900, 300, -300)]
    )
    assert (known.slope, known.known, known.northness) == (pytest.approx(0, abs=1e-9), 1, 0)
    assert edge.slope == pytest.approx(0, abs=1e-9)
    assert 0.5 < edge.known < 0.9
    assert gone is None


def test_sites_of_a_known_plane_have_its_slope_and_aspect(tmp_path):
    _, north = ground(80, 80)
    angles = [3.0, 6.0, 12.0, 20.0, 30.0, 40.0]
    for angle in angles:
        z = 3000 - math.tan(math.radians(angle)) * north
        model = LocalElevation(write(tmp_path / "dem.tif", z))
        (found,) = terrain_of(model, [place(400, -1600, 1500, -700)])
        assert found.slope == pytest.approx(angle, abs=1e-3)
        assert (found.northness, found.eastness) == (pytest.approx(1), pytest.approx(0, abs=1e-6))
        assert found.elevation == pytest.approx(3000 + math.tan(math.radians(angle)) * 1150, abs=30 * math.tan(0.7))


def test_the_same_hill_in_degrees_and_in_metres_has_the_same_slope(tmp_path):
    """A smooth hill sampled in one arc second, as GLO-30 is, and in 30 m UTM."""

    def height(x, y):
        return 1800 + 150 * np.sin((x - X) / 400) * np.cos((y - Y) / 500)

    east, north = ground(120, 120)
    metres = write(tmp_path / "utm.tif", height(X + east, Y + north))
    shape = place(900, -2400, 2400, -900)
    west, _, _, north_edge = place(0, -3600, 3600, 0).bounds
    second = 1 / 3600
    left, top = math.floor(west / second) * second, math.ceil(north_edge / second) * second
    lon, lat = np.meshgrid(left + (np.arange(150) + 0.5) * second, top - (np.arange(130) + 0.5) * second)
    x, y = Transformer.from_crs(4326, 32648, always_xy=True).transform(lon, lat)
    degrees = write(tmp_path / "ll.tif", height(x, y), affine=Affine(second, 0, left, 0, -second, top), crs="EPSG:4326")
    (one,), (other,) = (terrain_of(LocalElevation(path), [shape]) for path in (metres, degrees))
    assert LocalElevation(degrees).pixel == 30
    assert one.slope > 10
    assert other.slope == pytest.approx(one.slope, rel=0.02)
    assert other.elevation == pytest.approx(one.elevation, abs=1)
    assert (other.northness, other.eastness) == (
        pytest.approx(one.northness, abs=0.02), pytest.approx(one.eastness, abs=0.02),
    )  # fmt: skip


@pytest.mark.parametrize("pixel", [30.0, 7.0, 2.5])
def test_tiles_that_meet_under_a_site_leave_no_seam(tmp_path, pixel):
    n = round(3000 / pixel)
    east, north = ground(n, n, pixel)
    z = 2000 + 0.2 * east + 0.1 * north
    half = n // 2
    whole, split = tmp_path / "whole", tmp_path / "split"
    whole.mkdir()
    split.mkdir()
    write(whole / "a.tif", z, affine=Affine(pixel, 0, X, 0, -pixel, Y))
    write(split / "a.tif", z[:, :half], affine=Affine(pixel, 0, X, 0, -pixel, Y))
    write(split / "b.tif", z[:, half:], affine=Affine(pixel, 0, X + half * pixel, 0, -pixel, Y))
    shape = place(1000, -2000, 2000, -1000)
    for folder in (whole, split):
        (found,) = terrain_of(LocalElevation(folder), [shape])
        assert found.known == 1
        assert found.slope == pytest.approx(math.degrees(math.atan(math.hypot(0.2, 0.1))), abs=2e-3)


def test_furrows_finer_than_the_pixel_are_not_taken_for_a_slope(tmp_path):
    east, _ = ground(600, 600, 3.0)
    z = 1000 + 0.5 * (np.floor(east / 3.0) % 2)  # ridges of half a metre, 3 m apart: 9 degrees pixel by pixel
    (found,) = terrain_of(
        LocalElevation(write(tmp_path / "dem.tif", z, affine=Affine(3, 0, X, 0, -3, Y))),
        [place(400, -1400, 1400, -400)],
    )
    assert found.slope < 0.5


def test_a_site_smaller_than_a_pixel_has_the_slope_of_the_pixel_it_lies_on(tmp_path):
    east, _ = ground(40, 40)
    model = LocalElevation(write(tmp_path / "dem.tif", 1000 + 0.1 * east))
    (found,) = terrain_of(model, [place(602, -606, 606, -602)])
    assert (found.slope, found.known) == (pytest.approx(5.7106, abs=1e-3), 1)


def test_ground_beyond_the_model_is_unknown_and_the_rest_stands(tmp_path):
    model = LocalElevation(write(tmp_path / "dem.tif", np.full((40, 40), 900.0)))
    site, far = terrain_of(model, [place(300, -600, 600, -300), place(9000, -9600, 9600, -9000)])
    assert (site.elevation, far) == (pytest.approx(900, abs=1e-9), None)
    assert terrain_of(model, []) == []


def test_ground_spread_over_a_country_is_not_read_in_one_go(tmp_path):
    model = LocalElevation(write(tmp_path / "dem.tif", np.full((40, 40), 900.0)))
    with pytest.raises(BadData, match="too large"):
        terrain_of(model, [Point(100, 36).buffer(0.01), Point(105, 38).buffer(0.01)])


@pytest.mark.parametrize(
    ("change", "message"),
    [({"crs": None}, "no coordinate system"), ({"affine": Affine(30, 5, X, 5, -30, Y)}, "rotated")],
)
def test_a_file_that_is_not_an_elevation_model_is_refused_with_the_reason(tmp_path, change, message):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the file about to be refused has no place on earth
        path = write(tmp_path / "dem.tif", np.zeros((5, 5)), **change)
    with pytest.raises(BadData, match=message):
        LocalElevation(path)


def test_terrain_survives_the_ledger():
    one = Terrain(elevation=1234.56, slope=12.345, northness=-0.5, eastness=0.25, known=1.0, source="dem.tif")
    stored = json.loads(json.dumps(one.to_json(), allow_nan=False))
    again = Terrain.from_json(stored)
    assert again.to_json() == stored
    assert (again.elevation, again.slope, again.source) == (1234.6, 12.35, "dem.tif")


def test_between_pixels_a_plane_stays_a_plane_to_the_rim_and_ends_there():
    rows, columns = np.mgrid[0:4, 0:5]
    plane = 3.0 * rows - 2.0 * columns
    row, column = np.array([-0.5, 0.0, 1.25, 3.5, 3.7]), np.array([4.5, 0.0, 2.5, -0.5, 1.0])
    found = bilinear(plane, row, column)
    np.testing.assert_allclose(found[:4], (3 * row - 2 * column)[:4])
    assert np.isnan(found[4])
    plane[1, 3] = np.nan
    found = bilinear(plane, np.array([1.0, 1.0, 1.0]), np.array([2.0, 2.5, 4.0]))
    np.testing.assert_array_equal(found, [3 - 4, np.nan, 3 - 8])


@pytest.mark.parametrize(
    ("lon", "lat", "radius"),
    [(-105.70, 40.36, 0.05), (-105.65, 40.30, 0.02), (-105.80, 40.45, 0.03), (-105.60, 40.25, 0.03)],
)
def test_real_mountains_have_the_slope_of_their_own_pixels(shared_data, lon, lat, radius):
    """The Rocky Mountains in 234 m pixels of degrees: Horn's loop over the file as it is, its pixels in metres."""
    path = shared_data / "dem" / "rmnp-dem.tif"
    shape = Point(lon, lat).buffer(radius)
    with rasterio.open(path) as file:
        raw, affine = file.read(1).astype(float), file.transform
    x, y = np.meshgrid(
        affine.c + affine.a * (np.arange(raw.shape[1]) + 0.5), affine.f + affine.e * (np.arange(raw.shape[0]) + 0.5)
    )
    rows, columns = np.nonzero(contains_xy(shape, x, y))
    angles, north = [], []
    high, wide = 111_035 * -affine.e, 111_320 * math.cos(math.radians(lat)) * affine.a
    for r, c in zip(rows, columns, strict=True):
        a, b, d, e, _, g, h, i, j = raw[r - 1 : r + 2, c - 1 : c + 2].ravel()
        dx, dy = (d + 2 * g + j - a - 2 * e - h) / (8 * wide), (h + 2 * i + j - a - 2 * b - d) / (8 * high)
        angles.append(math.degrees(math.atan(math.hypot(dx, dy))))
        north.append(dy / math.hypot(dx, dy) if dx or dy else 0.0)
    model = LocalElevation(path)
    (found,) = terrain_of(model, [shape])
    assert model.pixel == 235
    assert found.slope == pytest.approx(np.mean(angles), rel=0.01)
    assert found.elevation == pytest.approx(raw[rows, columns].mean(), abs=8)  # the pixels of the rim differ
    assert found.northness == pytest.approx(np.mean(north), abs=0.02)
    assert found.known == 1


def test_real_lowland_agrees_with_the_slope_that_others_computed(shared_data, tmp_path):
    """Whole metres of elevation in 10 m pixels, and openEO's own slope of the model they came from."""
    with xr.open_dataset(shared_data / "worldcereal" / "worldcereal_preprocessed_inputs.nc") as cube:
        z, theirs = cube["elevation"].values[0].astype(float), cube["slope"].values[0].astype(float)
        left, top = float(cube.x[0]) - 5, float(cube.y[0]) + 5
    path = write(tmp_path / "dem.tif", z, affine=Affine(10, 0, left, 0, -10, top), crs="EPSG:32631")
    shape = lonlat(box(left + 100, top - 900, left + 900, top - 100), CRS("EPSG:32631"))
    (found,) = terrain_of(LocalElevation(path), [shape])
    assert found.elevation == pytest.approx(z[10:90, 10:90].mean(), abs=0.3)
    assert found.slope == pytest.approx(theirs[10:90, 10:90].mean(), abs=1.0)


def test_a_site_of_several_parts_is_one_mean(tmp_path):
    east, _ = ground(60, 60)
    model = LocalElevation(write(tmp_path / "dem.tif", 1000 + np.where(east < 900, 0.0, 0.2 * (east - 900))))
    flat, steep = place(210, -810, 510, -510), place(1200, -810, 1500, -510)
    (both,) = terrain_of(model, [MultiPolygon([flat, steep])])
    ((one,), (other,)) = (terrain_of(model, [part]) for part in (flat, steep))
    assert both.slope == pytest.approx((one.slope + other.slope) / 2, abs=0.05)


def test_reading_in_strips_changes_nothing(tmp_path, monkeypatch):
    rng = np.random.default_rng(3)
    z = 1500 + rng.normal(0, 5, (300, 300)).cumsum(axis=0)
    model = LocalElevation(write(tmp_path / "dem.tif", z, affine=Affine(10, 0, X, 0, -10, Y)))
    grid = GeoBox((90, 90), Affine(30, 0, X + 60, 0, -30, Y - 60), UTM)
    whole = model.read(grid)
    monkeypatch.setattr("monitor.imagery.auxiliary.elevation.MAX_TERRAIN_PIXELS", 4 * 9 * 90)
    np.testing.assert_array_equal(model.read(grid), whole)
    assert np.isfinite(whole).all()
