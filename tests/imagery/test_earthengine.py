"""Earth Engine as a source: the unpatched client against a stand-in on loopback that evaluates its graphs."""

import io
import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from shapely.geometry import MultiPolygon, Point, box

from monitor.cover.earthengine import recipe
from monitor.cover.fraction import ENDMEMBERS
from monitor.cover.observe import needs_bandpass
from monitor.cube import masks
from monitor.errors import BadConfiguration, SceneRejected, TryLater, UnknownCollection
from monitor.imagery import bands
from monitor.imagery.earthengine import connection
from monitor.imagery.earthengine.answers import decode_pixels
from monitor.imagery.earthengine.batches import windows
from monitor.imagery.earthengine.connection import connect
from monitor.imagery.earthengine.source import EarthEngine
from monitor.sites.projection import lonlat
from tests.loopback import earthengine
from tests.loopback.earthengine import FUNCTIONS, SCORES, SENTINEL2, EarthEngineServer, add_landsat, add_sentinel2

UTM = CRS("EPSG:32648")
CORNER = (304000.0, 4199000.0)
TRANSFORM = Affine(10, 0, CORNER[0], 0, -10, CORNER[1])
LANDSAT = ("LANDSAT/LC08/C02/T1_L2", "LANDSAT/LC09/C02/T1_L2")
BANDS = bands.OBSERVED


def ground(left, top, right, bottom):
    """Box of metres right of and below the corner of the scenes, in longitude and latitude."""
    x, y = CORNER
    return lonlat(box(x + left, y - bottom, x + right, y - top), UTM)


def window(rows, columns, *, top=0, left=0, step=10.0):
    """Grid on the pixels of the scenes."""
    return GeoBox((rows, columns), TRANSFORM @ Affine.translation(left, top) @ Affine.scale(step / 10.0), UTM)


AREA = ground(100, 100, 1900, 1900)
SINCE, UNTIL = date(2020, 1, 1), date(2029, 12, 31)
FIRST = datetime(2020, 1, 3, 3, 51, 41, tzinfo=UTC)


def noise(seed, side=200):
    """Ground without snow: green is darker than snow is."""
    rng = np.random.default_rng(seed)
    return {
        band: rng.integers(
            300, 900 if band == "green" else 4000, (side // 2, side // 2) if band.startswith("swir") else (side, side)
        ).astype("u2")
        for band in BANDS
    }


def at(array, grid, step=1):
    """Pixels of a scene's array on a grid of its own lattice."""
    column, row = ~TRANSFORM @ (grid.affine.c, grid.affine.f)
    rows, columns = (np.arange(n) + round(first) for n, first in zip(grid.shape, (row, column), strict=True))
    return array[np.ix_(rows // step, columns // step)]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    monkeypatch.setattr(connection, "FIRST_RETRY_PAUSE", 0.01)


@pytest.fixture(scope="module")
def standing():
    """A server, and the client started for it once."""
    with EarthEngineServer() as server:
        keeper = source(server)  # as long as it lives, the connection does
        yield server
        del keeper


@pytest.fixture
def server(standing):
    standing.reset()
    standing.create(SCORES)
    return standing


def source(server, collections=(), **how):
    settings = {"patience": 5.0, "token": "any-token", "allow_hosts": ["127.0.0.1"], **how}
    return EarthEngine(connect(project="a-project", url=server.url, **settings), collections=collections)


def scl(value=4, side=100):
    return np.full((side, side), value, np.uint8)


def fill(server, n, *, every=5, **how):
    """Scenes of noise; what was put in, by id."""
    found = {}
    for i in range(n):
        layers = noise(i)
        found[add_sentinel2(server, FIRST + timedelta(days=every * i), layers, scl(), transform=TRANSFORM, **how)] = (
            layers
        )
    return found


def put_landsat(server, day, layers=None, qa=None, **how):
    """A scene of Landsat 8, or of another, of one level in all bands or of other layers."""
    layers = {band: np.full((50, 50), 9000 + i, "u2") for i, band in enumerate(BANDS)} if layers is None else layers
    qa, when = np.full((50, 50), 21824, "u2") if qa is None else qa, datetime(2022, 7, day, 3, 40, tzinfo=UTC)
    return add_landsat(server, when, layers, qa, transform=TRANSFORM @ Affine.scale(3), **how)


def searched(server, n=0, **how):
    """The source, after so many scenes of noise were added, and all that it offers."""
    fill(server, n, **how)
    monitor = source(server)
    return monitor, monitor.search(AREA, SINCE, UNTIL)


class TestSearch:
    def test_a_scene_is_as_the_catalogue_describes_it(self, server):
        fill(server, 1, score=np.ones((200, 200)))
        (scene,) = source(server).search(AREA, SINCE, UNTIL)
        fields = (scene.id, scene.acquisition, scene.tile, scene.sensor, scene.baseline, scene.orbit, scene.crs)
        assert fields == (
            f"{SENTINEL2}/20200103T035141_20200103T035141_T48SUF", "S2A/20200103T035141", "48SUF", "sentinel-2a",
            "05.09", "104", "EPSG:32648",
        )  # fmt: skip
        assert (scene.time, scene.source, scene.scale, scene.offset) == (FIRST, "earthengine", 1e-4, 0.0)
        assert scene.quality == "scl_cs"
        assert scene.footprint.contains(AREA)

    def test_landsat_8_and_9_come_in_order_of_time_from_one_request(self, server):
        for day, number in ((1, 8), (9, 9), (17, 8)):
            put_landsat(server, day, number=number)
        scenes = source(server, LANDSAT).search(ground(100, 100, 1400, 1400), SINCE, UNTIL)
        assert [(s.acquisition, s.sensor) for s in scenes] == [
            ("LC08/129/20220701", "landsat-8"), ("LC09/129/20220709", "landsat-9"), ("LC08/129/20220717", "landsat-8"),
        ]  # fmt: skip
        first = scenes[0]
        assert (first.quality, first.scale, first.offset, first.tile, first.orbit) == (
            "qa_pixel", 2.75e-5, -0.2, "034", "129",
        )  # fmt: skip
        assert first.baseline == "02.20210823"
        assert server.counts["search"] == 1

    def test_both_days_count_and_scenes_elsewhere_do_not(self, server):
        fill(server, 3)
        monitor = source(server)
        first, second = FIRST.date(), FIRST.date() + timedelta(days=5)
        assert [s.time.date() for s in monitor.search(AREA, first, second)] == [first, second]
        assert monitor.search(box(100, 30, 101, 31), SINCE, UNTIL) == []
        assert monitor.search(AREA, second, first) == []

    def test_a_scene_that_the_outline_of_a_wide_area_misses_is_left_out(self, server):
        fill(server, 1)
        hollow = Point(102.78, 37.91).buffer(0.5, quad_segs=64).difference(Point(102.78, 37.91).buffer(0.2, 64))
        assert source(server).search(hollow, SINCE, UNTIL) == []
        parts = MultiPolygon([AREA, box(100, 30, 101, 31)])
        assert len(source(server).search(parts, SINCE, UNTIL)) == 1

    def test_without_named_collections_landsat_comes_beside_sentinel_2_on_its_lattice(self, server):
        fill(server, 2)
        for number in (8, 9):
            put_landsat(server, 1, number=number)
        monitor, scenes = searched(server)
        assert {scene.sensor for scene in scenes} == {"sentinel-2a", "landsat-8", "landsat-9"}
        grid = monitor.grid(AREA)
        assert grid.resolution.x == 10
        assert {scene.sensor for scene in scenes if needs_bandpass(scene, grid)} == {"landsat-8", "landsat-9"}

    @pytest.mark.parametrize("scores", [True, False])
    def test_landsat_that_cannot_be_read_is_left_out_unless_it_was_named(self, standing, scores):
        standing.reset()
        if scores:
            standing.create(SCORES)
        fill(standing, 2)
        monitor = source(standing)
        assert {scene.sensor for scene in monitor.search(AREA, SINCE, UNTIL)} == {"sentinel-2a"}
        searches = standing.counts["search"]
        assert len(monitor.search(AREA, SINCE, UNTIL)) == 2
        assert standing.counts["search"] == searches + 1, "not searched again"
        with pytest.raises(UnknownCollection, match="LANDSAT/LC08"):
            source(standing, (SENTINEL2, LANDSAT[0])).search(AREA, SINCE, UNTIL)

    def test_without_cloud_scores_the_classes_decide_and_no_further_request_is_made(self):
        with EarthEngineServer() as server:
            fill(server, 2)
            monitor = source(server, (SENTINEL2,))
            assert {s.quality for s in monitor.search(AREA, SINCE, UNTIL)} == {"scl"}
            assert server.counts["search"] == 2
            monitor.search(AREA, SINCE, UNTIL)
            assert server.counts["search"] == 3

    def test_an_empty_first_search_decides_nothing_about_cloud_scores(self):
        with EarthEngineServer() as server:
            server.create(SENTINEL2)
            monitor = source(server)
            assert monitor.search(AREA, SINCE, UNTIL) == []
            fill(server, 1)
            assert [s.quality for s in monitor.search(AREA, SINCE, UNTIL)] == ["scl"]

    def test_more_scenes_than_one_query_may_hold_are_requested_by_halves(self, server):
        fill(server, 12)
        server.most_elements = 5
        scenes = source(server).search(AREA, FIRST.date(), FIRST.date() + timedelta(days=60))
        assert len({s.id for s in scenes}) == 12
        assert [s.time for s in scenes] == sorted(s.time for s in scenes)
        assert 4 <= server.counts["search"] <= 9

    def test_a_collection_that_is_not_known_or_not_there_is_a_matter_of_the_configuration(self, server):
        with pytest.raises(BadConfiguration, match="S2_SR_HARMONIZED"):
            source(server, ["COPERNICUS/S2"])
        with pytest.raises(BadConfiguration, match=r"LC09.*not found"):
            source(server, LANDSAT[1:]).search(AREA, SINCE, UNTIL)
        with pytest.raises(BadConfiguration, match="project"):
            connect(project=None, token="any-token")

    @pytest.mark.parametrize(
        "spoilt", [{"system:index": "a b'); x"}, {"system:time_start": None}, {"system:time_start": "x"}]
    )
    def test_an_image_without_a_usable_name_or_time_is_not_passed_over(self, server, spoilt):
        fill(server, 1)
        (image,) = server.collections[SENTINEL2].values()
        image.properties.update(spoilt)
        if spoilt.get("system:time_start", 0) != 0:
            image.properties["system:time_start"] = 1e30
        server.most_elements = 5000
        with pytest.raises(TryLater), _every_image(server):
            source(server).search(AREA, SINCE, UNTIL)

    def test_a_search_answered_by_something_else_is_repeated(self, server):
        fill(server, 1)
        monitor = source(server)
        server.spoil("search", "nonsense")
        assert len(monitor.search(AREA, SINCE, UNTIL)) == 1


class _every_image:
    """Dates are not filtered, so that images with broken times are offered."""

    def __init__(self, server):
        self.original = FUNCTIONS["Filter.dateRangeContains"]

    def __enter__(self):
        FUNCTIONS["Filter.dateRangeContains"] = lambda _, leftValue, rightField: lambda image: True

    def __exit__(self, *_):
        FUNCTIONS["Filter.dateRangeContains"] = self.original


class TestGrid:
    def test_sentinel_2_stays_on_its_own_lattice_of_10_m_and_landsat_on_that_of_30(self, server):
        assert source(server).grid(AREA).affine == Affine(10, 0, 0, 0, -10, 0)
        assert source(server).grid(AREA).crs == UTM
        landsat = source(server, LANDSAT).grid(AREA)
        assert landsat.resolution.x == 30
        assert (347385 - landsat.affine.c) % 30 == 0  # corner of a real scene of Collection 2
        assert source(server, (SENTINEL2, *LANDSAT)).grid(AREA).resolution.x == 10


class TestRead:
    def test_pixels_are_those_of_the_scene_to_the_last_digit(self, server):
        classes = np.random.default_rng(5).integers(0, 12, (100, 100)).astype("u1")
        score = np.random.default_rng(6).random((200, 200))
        layers = noise(1)
        add_sentinel2(server, FIRST, layers, classes, transform=TRANSFORM, score=score)
        monitor = source(server)
        grids = [window(33, 41, top=20, left=30), window(5, 7, top=101, left=99)]
        ((first, second),) = monitor.read(monitor.search(AREA, SINCE, UNTIL), grids)
        for frame, grid in ((first, grids[0]), (second, grids[1])):
            assert frame.grid == grid
            assert frame.pixels.dtype == frame.quality.dtype == np.uint16
            for number, band in enumerate(BANDS):
                expected = at(layers[band], grid, 2 if band.startswith("swir") else 1)
                np.testing.assert_array_equal(frame.pixels[number], expected)
            np.testing.assert_array_equal(frame.quality & 255, at(classes, grid, 2))
            np.testing.assert_array_equal((frame.quality >> 8) - 1, np.floor(at(score, grid) * 100 + 0.5))
        assert server.counts["pixels"] == 2

    def test_what_has_no_value_is_0_and_a_pixel_without_a_score_says_so(self, server):
        masked = np.ones((200, 200), bool)
        masked[3, 4] = False
        fill(server, 1, masks={"B4": masked})
        score_at = np.ones((200, 200))
        server.add(SCORES, "20200103T035141_20200103T035141_T48SUF", bands={"cs_cdf": score_at}, transform=TRANSFORM,
                   crs="EPSG:32648", time=FIRST, masks={"cs_cdf": masked})  # fmt: skip
        monitor = source(server)
        ((frame,),) = monitor.read(monitor.search(AREA, SINCE, UNTIL), [window(10, 10, top=-2, left=-1)])
        red = frame.pixels[BANDS.index("red")]
        assert (red[:2] == 0).all()
        assert (red[:, 0] == 0).all()
        assert (frame.quality[:2] == 0).all()
        assert red[5, 5] == 0
        assert (red[2:, 1:] == 0).sum() == 1
        assert frame.quality[5, 5] == 4
        assert frame.quality[5, 6] == 4 + 256 * 101

    def test_a_pixel_without_a_class_keeps_its_score(self, server):
        there = np.ones((100, 100), bool)
        there[1, 1] = False
        fill(server, 1, masks={"SCL": there}, score=np.full((200, 200), 0.5))
        monitor = source(server)
        ((frame,),) = monitor.read(monitor.search(AREA, SINCE, UNTIL), [window(4, 4)])
        assert frame.quality[2:, 2:].tolist() == [[51 * 256] * 2] * 2
        assert frame.quality[0, 0] == 51 * 256 + 4

    def test_another_system_gets_the_nearest_pixels(self, server):
        layers = noise(1)
        add_sentinel2(server, FIRST, layers, scl(), transform=TRANSFORM)
        x, y = Transformer.from_crs("EPSG:32648", "EPSG:32647", always_xy=True).transform(
            CORNER[0] + 900, CORNER[1] - 900
        )
        grid = GeoBox((20, 20), Affine(10, 0, x, 0, -10, y), CRS("EPSG:32647"))
        monitor = source(server)
        ((frame,),) = monitor.read(monitor.search(AREA, SINCE, UNTIL), [grid])
        column, row = np.meshgrid(np.arange(20) + 0.5, np.arange(20) + 0.5)
        east, north = Transformer.from_crs("EPSG:32647", "EPSG:32648", always_xy=True).transform(
            *(grid.affine @ (column, row))
        )
        there = (np.floor((CORNER[1] - north) / 10).astype(int), np.floor((east - CORNER[0]) / 10).astype(int))
        np.testing.assert_array_equal(frame.pixels[BANDS.index("nir")], layers["nir"][there])

    def test_ten_years_of_a_site_of_130_ha_are_few_requests(self, server):
        layers = noise(1)
        for i in range(730):
            add_sentinel2(server, FIRST + timedelta(days=5 * i), layers, scl(), transform=TRANSFORM)
        monitor = source(server)
        scenes = monitor.search(AREA, SINCE, UNTIL + timedelta(days=400))
        planned = monitor.cost(730, window(130, 130), 0)
        assert planned.requests == 5
        assert planned.megabytes == pytest.approx(730 * 130 * 130 * 14 / 1e6)
        assert 146 * 130 * 130 * 14 < 48e6
        grid = window(30, 30, top=10, left=10)  # as many a request: the number of bands is what limits it
        frames = monitor.read(scenes, [grid])
        *_, (last,) = frames
        assert server.counts["pixels"] == planned.requests == 5
        assert server.counts["pixels"] <= 12
        np.testing.assert_array_equal(last.pixels[0], at(layers["blue"], grid))
        assert max(r.sent for r in server.requests if r.kind == "pixels") < 48e6

    def test_several_requests_are_under_way_at_one_time_within_the_limit_and_the_bits_are_the_same(
        self, server, monkeypatch
    ):
        monkeypatch.setattr("monitor.imagery.earthengine.source.MAX_BANDS", 2 * 7)  # two scenes a request
        layers = fill(server, 6)
        grids = [window(30, 30, top=10, left=10), window(20, 25, top=60, left=90), window(9, 9, top=150, left=3)]
        scenes = source(server).search(AREA, SINCE, UNTIL)
        found, most = {}, {}
        for in_flight, seconds in ((1, 0.05), (20, 30.0)):
            server.most_in_flight = 0
            server.spoil("pixels", "slow", times=9, seconds=seconds, together=9)
            found[in_flight] = list(source(server, in_flight=in_flight).read(scenes, grids))
            most[in_flight] = server.most_in_flight
        assert most[1] == 1
        assert most[20] == 9
        for scene, one, other in zip(scenes, found[1], found[20], strict=True):
            for grid, few, many in zip(grids, one, other, strict=True):
                np.testing.assert_array_equal(few.pixels, many.pixels)
                np.testing.assert_array_equal(few.quality, many.quality)
                np.testing.assert_array_equal(many.pixels[BANDS.index("red")], at(layers[scene.id]["red"], grid))

    def test_no_more_pixels_are_requested_ahead_than_may_be_held(self, server, monkeypatch):
        fill(server, 8)
        grid = window(30, 30, top=10, left=10)
        monkeypatch.setattr("monitor.imagery.earthengine.source.MAX_BANDS", 7)
        monkeypatch.setattr("monitor.imagery.earthengine.source.MAX_HELD_BYTES", 2 * 30 * 30 * 14)
        monitor = source(server)
        frames = monitor.read(monitor.search(AREA, SINCE, UNTIL), [grid])
        for number in range(1, 9):
            next(frames)
            time.sleep(0.05)
            assert server.counts["pixels"] <= number + 1
        assert server.counts["pixels"] == 8

    def test_who_stops_reading_leaves_no_thread_that_asks_again(self, server, monkeypatch):
        monkeypatch.setattr(connection, "FIRST_RETRY_PAUSE", 30.0)
        fill(server, 2)
        monitor = source(server, patience=100.0)
        scenes = monitor.search(AREA, SINCE, UNTIL)
        server.fail("pixels", status=503, times=9)
        frames = monitor.read(scenes, [window(3, 3)])
        begun = time.monotonic()
        while server.counts["pixels"] < 1 and time.monotonic() - begun < 30:
            time.sleep(0.01)
        begun = time.monotonic()
        del frames
        monitor._workers.shutdown(wait=True)
        assert time.monotonic() - begun < 10
        assert server.counts["pixels"] == 1

    def test_scenes_that_miss_the_grid_are_empty_and_cost_nothing(self, server):
        monitor, scenes = searched(server, 2)
        away = window(4, 4, top=1000, left=1000)
        for frames in monitor.read(scenes, [away]):
            assert not frames[0].pixels.any()
        assert server.counts["pixels"] == 0
        here = replace(scenes[0], footprint=None)
        assert not next(monitor.read([here], [away]))[0].pixels.any()
        assert server.counts["pixels"] == 1

    def test_a_grid_too_large_for_one_request_is_read_in_pieces(self, server, monkeypatch):
        layers = fill(server, 2)
        monitor, scenes = searched(server)
        grid = window(50, 60, top=5, left=5)
        (whole,), _ = monitor.read(scenes, [grid])
        monkeypatch.setattr("monitor.imagery.earthengine.source.MAX_PIXEL_BYTES", 14 * 700)
        server.forget()
        (pieces,), _ = monitor.read(scenes, [grid])
        assert server.counts["pixels"] == monitor.cost(2, grid, 0).requests > 2
        np.testing.assert_array_equal(pieces.pixels, whole.pixels)
        np.testing.assert_array_equal(pieces.quality, whole.quality)
        np.testing.assert_array_equal(whole.pixels[0], at(layers[scenes[0].id]["blue"], grid))

    def test_many_grids_are_read_in_smaller_stacks_so_that_memory_holds_them(self, server, monkeypatch):
        layers = fill(server, 6)
        monitor, scenes = searched(server)
        grids = [window(10, 10, top=10 * i) for i in range(4)]
        monkeypatch.setattr("monitor.imagery.earthengine.source.MAX_HELD_BYTES", 14 * 400 * 2)
        found = list(monitor.read(scenes, grids))
        assert server.counts["pixels"] == 3 * 4
        for scene, frames in zip(scenes, found, strict=True):
            for frame, grid in zip(frames, grids, strict=True):
                np.testing.assert_array_equal(frame.pixels[3], at(layers[scene.id]["nir"], grid))

    def test_pieces_cover_a_grid_once_and_no_side_is_too_long(self):
        grid = window(7, 40_000)
        seen = np.zeros(grid.shape, int)
        for rows, columns, piece in windows(grid, max_pixels=100_000):
            seen[rows, columns] += 1
            assert piece.shape == seen[rows, columns].shape
            assert max(piece.shape) <= 32_768
            assert piece.affine @ (0, 0) == grid.affine @ (columns.start, rows.start)
        assert (seen == 1).all()

    @pytest.mark.parametrize("which", [0, 4, 8])
    def test_one_broken_scene_does_not_stop_the_others_of_its_stack(self, server, which):
        layers = fill(server, 9)
        monitor, scenes = searched(server)
        add_sentinel2(server, scenes[which].time, noise(0), scl(), transform=TRANSFORM, broken=True)
        grid = window(6, 6)
        found = list(monitor.read(scenes, [grid]))
        assert [i for i, one in enumerate(found) if isinstance(one, SceneRejected)] == [which]
        assert found[which].reason == "BROKEN"
        assert scenes[which].id in str(found[which])
        for scene, frames in zip(scenes, found, strict=True):
            if scene is not scenes[which]:
                np.testing.assert_array_equal(frames[0].pixels[2], at(layers[scene.id]["red"], grid))
        assert server.counts["pixels"] <= 2 * 4 + 1

    def test_a_single_broken_scene_is_rejected_and_one_that_is_gone_too(self, server):
        fill(server, 1, broken=True)
        monitor = source(server)
        (scene,) = monitor.search(AREA, SINCE, UNTIL)
        (found,) = monitor.read([scene], [window(4, 4)])
        assert isinstance(found, SceneRejected)
        server.collections[SENTINEL2].clear()
        (found,) = monitor.read([scene], [window(4, 4)])
        assert isinstance(found, SceneRejected)

    def test_when_no_scene_at_all_can_be_read_the_site_waits(self, server):
        fill(server, 40, broken=True)
        monitor = source(server)
        with pytest.raises(TryLater, match="none of 40 scenes"):
            list(monitor.read(monitor.search(AREA, SINCE, UNTIL), [window(4, 4)]))
        assert server.counts["pixels"] < 20

    def test_a_request_that_is_too_much_is_made_smaller_and_never_called_a_broken_scene(self, server):
        monitor, scenes = searched(server, 8)
        server.fail("pixels", status=400, message="User memory limit exceeded.", times=2)
        assert len([f for f in monitor.read(scenes, [window(4, 4)]) if not isinstance(f, SceneRejected)]) == 8
        server.fail("pixels", status=400, message="Computation timed out.", times=100)
        with pytest.raises(TryLater, match="timed out"):
            list(monitor.read(scenes[:1], [window(4, 4)]))

    @pytest.mark.parametrize("how", ["shape", "type", "bands", "truncated", "nonsense"])
    def test_pixels_that_were_not_requested_are_requested_once_more_and_then_the_site_waits(self, server, how):
        layers = fill(server, 1)
        monitor, scenes = searched(server)
        server.spoil("pixels", how)
        ((frame,),) = monitor.read(scenes, [window(6, 6)])
        np.testing.assert_array_equal(frame.pixels[0], next(iter(layers.values()))["blue"][:6, :6])
        assert server.counts["pixels"] == 2
        server.spoil("pixels", how, times=2)
        with pytest.raises(TryLater, match="other pixels"):
            list(monitor.read(scenes, [window(6, 6)]))
        assert server.counts["pixels"] == 4

    @pytest.mark.parametrize(("found", "message"), [
        (np.zeros((3, 1), [("a", "u2")]), "array of"), (np.zeros((1, 2), [("a", "u2")]), "array of"),
        (np.full((3, 2), -1, [("a", "i2")]), "16 bits"), (np.full((3, 2), 70_000, [("a", "i4")]), "16 bits"),
        (np.zeros((3, 2), [("b", "u2")]), "bands"), (np.zeros((3, 2), "u2"), "bands"),
    ])  # fmt: skip
    def test_an_array_of_another_size_type_or_name_is_refused(self, found, message):
        out = io.BytesIO()
        np.save(out, found)
        with pytest.raises(ValueError, match=message):
            decode_pixels(out.getvalue(), ["a"], (3, 2))

    def test_an_answer_that_would_run_code_is_not_opened(self):
        out = io.BytesIO()
        np.save(out, np.array([print], dtype=object), allow_pickle=True)
        with pytest.raises(ValueError, match="not a complete array"):
            decode_pixels(out.getvalue(), ["a"], (1, 1))

    def test_a_provider_that_is_down_defers_the_site(self, server):
        fill(server, 1)
        monitor = source(server, patience=0.4)
        scenes = monitor.search(AREA, SINCE, UNTIL)
        server.fail("pixels", status=503, times=1000)
        with pytest.raises(TryLater):
            list(monitor.read(scenes, [window(6, 6)]))

    def test_a_scene_of_another_source_is_rejected_without_stopping_the_rest(self, server):
        monitor, scenes = searched(server, 2)
        first, second = monitor.read([replace(scenes[0], handle=7), scenes[1]], [window(4, 4)])
        assert isinstance(first, SceneRejected)
        assert first.reason == "BROKEN"
        assert len(second) == 1

    def test_saturated_pixels_of_landsat_are_marked_in_all_bands(self, server):
        saturated = np.zeros((50, 50), "u2")
        saturated[2, 3] = 4
        put_landsat(server, 1, saturated=saturated)
        monitor = source(server, LANDSAT[:1])
        scenes = monitor.search(ground(100, 100, 1400, 1400), SINCE, UNTIL)
        ((frame,),) = monitor.read(scenes, [window(6, 6, step=30.0)])
        assert (frame.pixels[:, 2, 3] == 65535).all()
        assert frame.pixels[:, 0, 0].tolist() == [9000, 9001, 9002, 9003, 9004, 9005]
        assert (frame.quality == 21824).all()
        seen = masks.clear(frame.pixels, frame.quality, "qa_pixel", resolution=30.0, scale=2.75e-5, offset=-0.2)
        assert (~seen).sum() == 1

    def test_scenes_of_two_collections_are_stacked_apart_and_come_back_in_order(self, server):
        for i in range(8):
            layers = {band: np.full((50, 50), 9000 + i, "u2") for band in BANDS}
            put_landsat(server, 1 + i, layers, number=8 + i % 2)
        monitor = source(server, LANDSAT)
        scenes = monitor.search(ground(100, 100, 1400, 1400), SINCE, UNTIL)
        read = monitor.read(scenes, [window(3, 3, step=30.0)])
        assert [int(frame.pixels[0, 0, 0]) for (frame,) in read] == [9000 + i for i in range(8)]
        assert server.counts["pixels"] == 2


def units(*corners, side=54.0):
    """Squares whose upper left corner lies so many pixels right and down, a third of a pixel inside their edges."""
    return [ground(c * 10 + 3, r * 10 + 3, c * 10 + 3 + side, r * 10 + 3 + side) for r, c in corners]


class TestReduce:
    lattice = window(1, 1)

    def reduced(self, monitor, scenes, where, biome="loess"):
        return list(monitor.reduce(scenes, where, self.lattice, recipe(ENDMEMBERS[biome])))

    def test_counts_are_of_whole_pixels_and_means_over_them(self, server):
        layers = {band: np.full((100, 100) if band.startswith("swir") else (200, 200), 1000, "u2") for band in BANDS}
        layers["red"] = np.arange(200, dtype="u2")[None, :] + np.full((200, 1), 2000, "u2")
        add_sentinel2(server, FIRST, layers, scl(), transform=TRANSFORM)
        monitor = source(server)
        (found,) = self.reduced(monitor, monitor.search(AREA, SINCE, UNTIL), units((10, 20), (50, 60)))
        assert found.shape == (2, 14)
        assert found[:, 0].tolist() == [36, 36]  # 6 by 6: the edge pixels' centres lie inside
        assert found[:, 1 + BANDS.index("red")] == pytest.approx([0.2 + 22.5e-4, 0.2 + 62.5e-4], abs=1e-12)
        assert found[:, 1] == pytest.approx([0.1, 0.1], abs=1e-12)
        assert server.counts["values"] == 1

    def test_many_scenes_and_units_are_one_request(self, server):
        layers = noise(1)
        for i in range(70):
            add_sentinel2(server, FIRST + timedelta(days=5 * i), layers, scl(), transform=TRANSFORM)
        monitor, scenes = searched(server)
        where = units(*((r, c) for r in range(10, 160, 30) for c in range(10, 190, 30)))
        found = self.reduced(monitor, scenes, where)
        assert len(found) == 70
        assert all(one.shape == (30, 14) for one in found)
        assert server.counts["values"] == 2 == monitor.cost(70, window(6, 6), 30).requests - 1

    @pytest.mark.parametrize("cloud", [3, 8, 9, 10])
    def test_a_unit_next_to_cloud_has_a_count_and_no_means(self, server, cloud):
        classes = scl()
        classes[10:13, 13:19] = cloud  # 60 m high, 120 m wide: rows 20 to 25, columns 26 to 37
        add_sentinel2(server, FIRST, noise(1), classes, transform=TRANSFORM)
        monitor = source(server)
        near, touching, far = units((20, 20), (20, 25), (60, 60))
        (found,) = self.reduced(monitor, monitor.search(AREA, SINCE, UNTIL), [near, touching, far])
        assert found[:, 0].tolist() == [36, 6, 36]
        assert np.isnan(found[:2, 1:]).all()
        assert np.isfinite(found[2, 1:]).all()

    @pytest.mark.parametrize("bit", [2, 3, 4])
    def test_a_unit_next_to_cirrus_cloud_or_shadow_of_landsat_has_a_count_and_no_means(self, server, bit):
        qa = np.full((50, 50), 21824, "u2")
        qa[10:16, 16:20] |= 1 << bit  # right beside the first unit
        put_landsat(server, 1, qa=qa)
        monitor = source(server, LANDSAT[:1])
        where = [ground(left + 3, 303, left + 177, 477) for left in (300, 900)]
        scenes = monitor.search(ground(100, 100, 1400, 1400), SINCE, UNTIL)
        (found,) = monitor.reduce(scenes, where, window(1, 1, step=30.0), recipe(ENDMEMBERS["loess"]))
        assert found[:, 0].tolist() == [36, 36]
        assert np.isnan(found[0, 1:]).all()
        assert np.isfinite(found[1, 1:]).all()

    @pytest.mark.parametrize(
        ("scene_class", "score", "clear"), [(9, 0.9, True), (4, 0.5, False), (9, None, False), (4, None, True)]
    )
    def test_where_there_is_a_cloud_score_it_alone_says_what_cloud_nearby_is(self, server, scene_class, score, clear):
        classes, scores, there = scl(), np.full((200, 200), 0.9), np.ones((200, 200), bool)
        classes[10:13, 13:19] = scene_class
        if score is None:
            there[20:26, 26:38] = False
        else:
            scores[20:26, 26:38] = score
        add_sentinel2(server, FIRST, noise(1), classes, transform=TRANSFORM)
        server.add(SCORES, "20200103T035141_20200103T035141_T48SUF", bands={"cs_cdf": scores}, transform=TRANSFORM,
                   crs="EPSG:32648", time=FIRST, masks={"cs_cdf": there})  # fmt: skip
        monitor, scenes = searched(server)
        assert scenes[0].quality == "scl_cs"
        (found,) = self.reduced(monitor, scenes, units((20, 20)))
        assert found[0, 0] == 36
        assert np.isfinite(found[0, 1:]).all() == clear

    def test_a_speck_of_cloud_nearby_does_not_cost_a_unit(self, server):
        classes = scl()
        classes[10, 14] = 9
        add_sentinel2(server, FIRST, noise(1), classes, transform=TRANSFORM)
        monitor = source(server)
        (found,) = self.reduced(monitor, monitor.search(AREA, SINCE, UNTIL), units((20, 20)))
        assert np.isfinite(found).all()

    def test_units_beyond_the_scene_and_under_cloud_are_counted_as_unseen(self, server):
        fill(server, 1)
        add_sentinel2(server, FIRST + timedelta(days=5), noise(1), scl(9), transform=TRANSFORM)
        monitor, scenes = searched(server)
        first, second = self.reduced(monitor, scenes, [*units((10, 10)), ground(5000, 5000, 5100, 5100)])
        assert first[:, 0].tolist() == [36, 0]
        assert np.isnan(first[1, 1:]).all()
        assert second[:, 0].tolist() == [0, 0]
        assert np.isnan(second[:, 1:]).all()

    def test_a_scene_with_its_own_scale_is_averaged_by_it(self, server):
        monitor, scenes = searched(server, 2)
        plain = self.reduced(monitor, scenes, units((10, 10)))
        moved = self.reduced(monitor, [scenes[0], replace(scenes[1], offset=-0.1)], units((10, 10)))
        np.testing.assert_array_equal(moved[0], plain[0])
        assert moved[1][0, 1:7] == pytest.approx(plain[1][0, 1:7] - 0.1, abs=1e-12)

    def test_one_broken_scene_does_not_stop_the_others(self, server):
        monitor, scenes = searched(server, 5)
        add_sentinel2(server, scenes[2].time, noise(0), scl(), transform=TRANSFORM, broken=True)
        found = self.reduced(monitor, scenes, units((10, 10)))
        assert [isinstance(one, SceneRejected) for one in found] == [False, False, True, False, False]

    def test_units_that_are_too_much_for_one_request_are_halved(self, server):
        monitor, scenes = searched(server, 1)
        where = units((10, 10), (10, 60), (60, 10), (60, 60), (90, 90))
        (whole,) = self.reduced(monitor, scenes, where)
        server.fail("values", status=400, message="Computation timed out.", times=2)
        (halves,) = self.reduced(monitor, scenes, where)
        np.testing.assert_array_equal(halves, whole)

    @pytest.mark.parametrize("how", ["nonsense", "truncated"])
    def test_an_answer_that_does_not_fit_is_requested_again(self, server, how):
        monitor, scenes = searched(server, 1)
        server.spoil("values", how)
        (found,) = self.reduced(monitor, scenes, units((10, 10)))
        assert found[0, 0] == 36

    def test_parts_of_pixels_are_refused(self, server, monkeypatch):
        monitor, scenes = searched(server, 1)
        monkeypatch.setitem(FUNCTIONS, "Reducer.unweighted", lambda _, reducer: reducer)
        with pytest.raises(TryLater, match="whole numbers"):
            self.reduced(monitor, scenes, units((10, 10)))
        assert server.counts["values"] == 2

    def test_without_units_nothing_is_requested(self, server):
        monitor, scenes = searched(server, 2)
        assert [one.shape[0] for one in self.reduced(monitor, scenes, [])] == [0, 0]
        assert server.counts["values"] == 0


def test_the_functions_in_requests_are_those_that_are_listed(server):
    """The functions that an independent server must know, no more and no less."""
    fill(server, 1, score=np.ones((200, 200)))
    put_landsat(server, 1)
    monitor = source(server, (SENTINEL2, LANDSAT[0]))
    parts = MultiPolygon([ground(100, 100, 700, 700), ground(800, 800, 900, 900)])
    scenes = monitor.search(parts, SINCE, UNTIL)
    assert len(scenes) == 2
    list(monitor.read(scenes, [window(4, 4)]))
    for biome in ("loess", "sandy", "karst"):  # an index each
        list(monitor.reduce(scenes, units((10, 10)), window(1, 1), recipe(ENDMEMBERS[biome])))
    listed = earthengine.documented_functions()
    assert server.functions == set(listed)
    assert sorted(listed) == listed
