"""Means drawn by a server equal those drawn here of the same pixels: the stand-in of Earth Engine on loopback."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from shapely.geometry import box

from monitor.cover.earthengine import SERVER_INDICES, recipe
from monitor.cover.fraction import ENDMEMBERS
from monitor.cover.indices import INDICES
from monitor.cube import masks
from monitor.cube.grid import inside_projected
from monitor.cube.packed import pack
from monitor.cube.records import MEASURES
from monitor.imagery import bands
from monitor.imagery.earthengine.connection import connect
from monitor.imagery.earthengine.source import EarthEngine
from monitor.sites.projection import lonlat
from tests.cover.reference import product
from tests.loopback.earthengine import SCORES, EarthEngineServer, add_landsat, add_sentinel2

UTM = CRS("EPSG:32648")
SIDE = 96
X, Y = 304000.0, 4199000.0
BIOMES = {ends.index: biome for biome, ends in ENDMEMBERS.items()}


@pytest.fixture(scope="module")
def server():
    with EarthEngineServer() as server:
        server.create(SCORES)
        keeper = source_of(server, "scl")  # as long as it lives, the connection does
        yield server
        del keeper


def every_kind_of_pixel(rng, low, high, shape):
    """Reflectances of all sorts from .02 up, with some that have no value or too much.

    Nearer to 0, sums of two lose their digits in the float32 of cubes: the server, in float64, is then the righter one.
    """
    values = rng.integers(low, high, shape).astype(np.uint16)
    values[rng.random(shape) < 0.02] = bands.NODATA
    values[rng.random(shape) < 0.02] = bands.SATURATED
    return values


def put(server, kind, seed):
    """A scene whose quality changes from pixel to pixel; its day."""
    rng = np.random.default_rng(seed)
    day = datetime(2020, 1 + seed, {"scl": 1, "scl_cs": 11, "qa_pixel": 21}[kind], 3, 51, 41, tzinfo=UTC)
    if kind == "qa_pixel":
        layers = {band: every_kind_of_pixel(rng, 8500, 45000, (SIDE, SIDE)) for band in bands.OBSERVED}
        qa = rng.integers(0, 1 << 16, (SIDE, SIDE)).astype(np.uint16)
        qa[rng.random(qa.shape) < 0.7] = 21824
        add_landsat(
            server, day, layers, qa, transform=Affine(30, 0, X, 0, -30, Y), saturated=rng.random(qa.shape) < 0.02
        )
        return day
    layers = {
        band: every_kind_of_pixel(rng, 200, 9000, (SIDE // 2,) * 2 if band.startswith("swir") else (SIDE, SIDE))
        for band in bands.OBSERVED
    }
    # Where 3 green = 7 swir16 the snow index is its limit to the last digit, and rounding decides: not meant here.
    layers["green"][(layers["green"] % 7 == 0) & (layers["green"] > 0)] += 1
    classes = rng.choice([*range(12), *[4] * 20, *[5] * 20], (SIDE // 2, SIDE // 2)).astype(np.uint8)
    score = rng.beta(6, 1, (SIDE, SIDE)) if kind == "scl_cs" else None
    add_sentinel2(server, day, layers, classes, transform=Affine(10, 0, X, 0, -10, Y), score=score)
    return day


def source_of(server, kind):
    collections = ["LANDSAT/LC08/C02/T1_L2"] if kind == "qa_pixel" else []
    connection = connect(project="p", url=server.url, token="any-token", allow_hosts=["127.0.0.1"])
    return EarthEngine(connection, collections=collections)


def at_day(server, kind, day):
    source = source_of(server, kind)
    step = 30.0 if kind == "qa_pixel" else 10.0
    area = lonlat(box(X + 100, Y - 800, X + 800, Y - 100), UTM)
    scenes = source.search(area, day.date(), day.date())
    grid = GeoBox((SIDE, SIDE), Affine(step, 0, X, 0, -step, Y), UTM)
    return source, scenes, grid


def pieces(grid, side=12):
    """Squares of the grid, a third of a pixel inside the edges: shapes, and the number of each pixel's square."""
    step = grid.resolution.x
    labels = np.full(grid.shape, -1)
    shapes = []
    for row in range(0, SIDE, side):
        for column in range(0, SIDE, side):
            left, top = grid.affine @ (column, row)
            square = box(
                left + step / 3, top - (side - 1 / 3) * step, left + (side - 1 / 3) * step, top - step / 3
            )  # fmt: skip
            labels[inside_projected(square, grid)] = len(shapes)
            shapes.append(lonlat(square, UTM))
    assert (labels >= 0).all()
    return shapes, labels


@pytest.mark.parametrize(
    ("kind", "bandpass"), [("scl", False), ("scl_cs", False), ("qa_pixel", False), ("qa_pixel", True)]
)
@pytest.mark.parametrize("index", BIOMES)
def test_the_server_counts_and_averages_what_would_be_counted_and_averaged_here(
    server, kind, index, bandpass, monkeypatch
):
    seed = list(BIOMES).index(index) + 4 * bandpass
    day = put(server, kind, seed)
    source, scenes, grid = at_day(server, kind, day)
    # Clouds are recognised pixel by pixel here, so they are grown neither there nor here.
    monkeypatch.setattr("monitor.imagery.earthengine.source.MAX_CLOUD_SHARE", 1.1)
    monkeypatch.setattr(masks, "CLOUD_BUFFER", 0.0)
    monkeypatch.setattr(masks, "_near", lambda clouds, **_: clouds)
    ends = ENDMEMBERS[BIOMES[index]]
    shapes, labels = pieces(grid)
    (scene,) = scenes
    assert scene.quality in (kind, "scl_cs")
    (served,) = source.reduce(scenes, shapes, grid, recipe(ends, bandpass=bandpass))
    ((frame,),) = source.read(scenes, [grid])
    packed = pack(frame, scene)
    order = np.argsort(labels, axis=None, kind="stable")
    edges = np.searchsorted(labels.ravel()[order], np.arange(len(shapes) + 1))
    delivered = scene.scale, scene.offset
    scale, offset = np.array(
        [bands.scaled_to_msi(band, *delivered) if bandpass else delivered for band in bands.OBSERVED]
    ).T
    pixels = packed.reshape(len(packed), -1)[:, order]
    here = product(pixels, edges, scale=scale, offset=offset, endmembers=ends)
    assert served.shape == here.shape == (len(shapes), len(MEASURES))
    np.testing.assert_array_equal(served[:, 0], here[:, 0])
    assert 0 < here[:, 0].mean() < 144
    np.testing.assert_allclose(served, here, rtol=0, atol=1e-6)
    assert np.isfinite(served[:, MEASURES.index("cover")]).mean() > 0.9


def test_pixels_without_an_index_are_left_out_of_its_mean_and_counted_as_seen(server):
    layers = {
        band: np.full((SIDE // 2,) * 2 if band.startswith("swir") else (SIDE, SIDE), 2000, np.uint16)
        for band in bands.OBSERVED
    }
    for band in ("red", "nir"):
        layers[band][:, 3] = 400  # reflectance -.06 with the offset: no sum to divide by
        layers[band][20:, :] = 400
    layers["nir"][:, 4:] += 1000
    day = datetime(2021, 1, 1, tzinfo=UTC)
    add_sentinel2(server, day, layers, np.full((SIDE // 2,) * 2, 4, np.uint8), transform=Affine(10, 0, X, 0, -10, Y))
    source, scenes, grid = at_day(server, "scl", day)
    shapes, _ = pieces(grid)
    moved = replace(scenes[0], offset=-0.1)
    (found,) = source.reduce([moved], [shapes[0], shapes[16]], grid, recipe(ENDMEMBERS["loess"]))
    ndvi = MEASURES.index("ndvi")
    assert found[:, 0].tolist() == [144, 144]
    assert found[0, ndvi] == pytest.approx((3 * 0.0 + 8 * (0.2 - 0.1) / (0.2 + 0.1)) / 11, abs=1e-12)
    assert np.isfinite(found[0]).all()
    assert found[1, 3] == pytest.approx(-0.06, abs=1e-12)
    assert np.isnan(found[1, ndvi])


def test_the_names_and_bands_are_those_of_the_indices():
    ours, theirs = ([(name, needed) for name, (_, needed) in one.items()] for one in (INDICES, SERVER_INDICES))
    assert theirs == ours
