"""Terrain and rain from Earth Engine and from STAC equal those of the same pixels in a local file."""

import json
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from affine import Affine
from shapely.geometry import Point, box, mapping

from monitor.errors import BadConfiguration, BadData, TryLater
from monitor.imagery.auxiliary.earthengine import CHIRPS, GLO30, EarthEngineElevation, EarthEngineRain
from monitor.imagery.auxiliary.elevation import LocalElevation
from monitor.imagery.auxiliary.rainfall import daily_rain
from monitor.imagery.auxiliary.stac import StacElevation
from monitor.imagery.auxiliary.terrain import terrain_of
from monitor.imagery.earthengine.connection import connect
from tests.loopback.earthengine import EarthEngineServer, documented_functions
from tests.loopback.stac import StacServer, write_cog

SECOND = 1 / 3600
SIDE = 240
"""Pixels of one second a side of the tiles of these tests, a fifteenth of a degree."""
MEETING = (104.0, 36.0)
"""Corner that four tiles share. [degree]"""


def height(lon, lat):
    """Hills of 150 m. [m]"""
    x, y = (lon - MEETING[0]) * 90_000, (lat - MEETING[1]) * 111_000
    return 1500 + 150 * np.sin(x / 400) * np.cos(y / 500) + 0.05 * x


def tiles():
    """Four tiles as GLO-30 has them, pixels centred on whole seconds: name, elevations, corner."""
    for east in (-1, 0):
        for north in (0, 1):
            left = MEETING[0] + east * SIDE * SECOND - SECOND / 2
            top = MEETING[1] + north * SIDE * SECOND + SECOND / 2
            lon, lat = np.meshgrid(left + (np.arange(SIDE) + 0.5) * SECOND, top - (np.arange(SIDE) + 0.5) * SECOND)
            affine = Affine(SECOND, 0, left, 0, -SECOND, top)
            yield f"tile_{east + 1}{north}", height(lon, lat).astype("float32"), affine


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dem")
    for name, z, affine in tiles():
        write_cog(folder / f"{name}.tif", z, affine, "EPSG:4326", nodata=-32767, blocksize=128, predictor="YES")
    return folder


GROUND = [
    Point(*MEETING).buffer(0.012),  # on all four tiles
    Point(MEETING[0] - 0.03, MEETING[1] + 0.03).buffer(0.004),
    Point(MEETING[0] + 0.02, MEETING[1] - 0.02).buffer(0.0001),
    Point(MEETING[0] + 0.2, MEETING[1]).buffer(0.004),  # on none
]


@pytest.fixture(scope="module")
def expected(local):
    found = terrain_of(LocalElevation(local), GROUND)
    assert [one is None for one in found] == [False, False, False, True]
    assert found[0].slope > 10
    assert found[0].known == 1
    return found


def same(found, expected, *, source):
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert one.source == source
            assert (one.elevation, one.slope) == (
                pytest.approx(other.elevation, abs=0.02), pytest.approx(other.slope, abs=0.02),
            )  # fmt: skip
            assert (one.northness, one.known) == (pytest.approx(other.northness, abs=0.005), other.known)


# Earth Engine

PUBLISHED = datetime(2010, 12, 1, tzinfo=UTC)


@pytest.fixture
def server():
    with EarthEngineServer() as made:
        yield made


@pytest.fixture
def connection(server):
    more = {"allow_hosts": ["127.0.0.1"], "in_flight": 4, "deadline": 20.0, "patience": 2.0}
    return connect(project="p", url=server.url, token="any", **more)


@pytest.fixture
def glo30(server):
    for name, z, affine in tiles():
        server.add(GLO30, name, bands={"DEM": z}, transform=affine, crs="EPSG:4326", time=PUBLISHED)


def test_terrain_from_earth_engine_is_that_of_the_same_tiles_in_files(server, glo30, connection, expected):
    model = EarthEngineElevation(connection)
    same(terrain_of(model, GROUND), expected, source=GLO30)
    assert server.counts["pixels"] == 1
    assert server.functions <= set(documented_functions())


def test_ground_at_sea_level_is_known_and_a_hole_is_not(server, connection):
    z = np.zeros((SIDE, SIDE), dtype="float32")
    mask = np.ones(z.shape, dtype=bool)
    mask[100:140, 100:140] = False
    affine = Affine(SECOND, 0, MEETING[0] - SECOND / 2, 0, -SECOND, MEETING[1] + SECOND / 2)
    masks = {"DEM": mask}
    server.add(GLO30, "sea", bands={"DEM": z}, masks=masks, transform=affine, crs="EPSG:4326", time=PUBLISHED)
    shore, hole = (Point(MEETING[0] + i * SECOND, MEETING[1] - i * SECOND).buffer(10 * SECOND) for i in (50, 120))
    found = terrain_of(EarthEngineElevation(connection), [shore, hole])
    assert (found[0].elevation, found[0].slope) == pytest.approx((0, 0), abs=1e-6)
    assert found[1] is None


def test_refusals_of_earth_engine_are_reported_and_passing_faults_are_tried_later(server, glo30, connection, expected):
    model = EarthEngineElevation(connection)
    server.fail("pixels", status=400, message="Collection asset not found")
    with pytest.raises(BadData, match="GLO30"):
        terrain_of(model, GROUND)
    server.fail("pixels", status=403, message="permission denied")
    with pytest.raises(BadConfiguration):
        terrain_of(model, GROUND)
    server.fail("pixels", status=503, times=50)
    with pytest.raises(TryLater):
        terrain_of(model, GROUND[:1])


@pytest.mark.parametrize("how", ["shape", "truncated", "nonsense"])
def test_an_answer_of_another_shape_is_requested_once_more_and_then_deferred(server, glo30, connection, expected, how):
    model = EarthEngineElevation(connection)
    server.spoil("pixels", how)
    same(terrain_of(model, GROUND), expected, source=GLO30)
    server.spoil("pixels", how, times=20)
    with pytest.raises(TryLater):
        terrain_of(model, GROUND)


@pytest.fixture
def chirps(server):
    """Two squares of rain over 40 days; a day is missing, and one place has none on the tenth."""
    rng = np.random.default_rng(9)
    first = date(2020, 12, 20)
    values = rng.gamma(0.3, 8, (40, 60, 60)).astype("float32")
    values[:, :, ::7] = 0  # dry, and known to be
    affine = Affine(0.05, 0, 102.0, 0, -0.05, 38.0)
    for k in range(40):
        if k == 25:
            continue
        day = first + timedelta(days=k)
        mask = np.ones((60, 60), dtype=bool)
        mask[40, 50] = k != 10
        server.add(
            CHIRPS, f"{day:%Y%m%d}", bands={"precipitation": values[k]}, masks={"precipitation": mask},
            transform=affine, crs="EPSG:4326", time=datetime(day.year, day.month, day.day, tzinfo=UTC),
        )  # fmt: skip
    return first, values


def test_rain_from_earth_engine_is_that_of_its_own_cells(server, chirps, connection, monkeypatch):
    monkeypatch.setattr("monitor.imagery.auxiliary.earthengine.DAYS_PER_REQUEST", 15)
    first, values = chirps
    cells = [(3, 4), (3, 5), (40, 50), (3, 7), (59, 59)]
    points = [(102.0 + 0.05 * (c + 0.3), 38.0 - 0.05 * (r + 0.6)) for r, c in cells]
    found = EarthEngineRain(connection).at([*points, (120.0, 10.0)], since=first, until=first + timedelta(days=39))
    for (row, column), rain in zip(cells, found[:-1], strict=True):
        expected = values[:, row, column].astype(float)
        expected[25] = np.nan
        if (row, column) == (40, 50):
            expected[10] = np.nan
        days = np.datetime64(first, "D") + np.arange(40).astype("timedelta64[D]")
        assert rain.first == daily_rain(days, expected, rate=True, source="x").first
        np.testing.assert_allclose(rain.mm, expected, atol=2e-6)
    assert (found[3].mm[:25] == 0).all()
    assert found[-1] is None
    assert server.counts["pixels"] == 3 * 3  # three stretches of days, three squares of one degree
    assert server.functions <= set(documented_functions())


def test_years_of_rain_come_in_one_answer(server, connection):
    """The names of so many bands are longer than the header that numpy accepts by default."""
    first, affine = date(2015, 1, 1), Affine(0.05, 0, 102.0, 0, -0.05, 38.0)
    for day in (first + timedelta(days=k) for k in range(900)):
        server.add(
            CHIRPS, f"{day:%Y%m%d}", bands={"precipitation": np.full((2, 2), 1.5, "float32")}, transform=affine,
            crs="EPSG:4326", time=datetime(day.year, day.month, day.day, tzinfo=UTC),
        )  # fmt: skip
    (rain,) = EarthEngineRain(connection).at([(102.01, 37.99)], since=first, until=first + timedelta(days=899))
    assert rain.mm.tolist() == [1.5] * 900
    assert server.counts["pixels"] == 1


def test_an_image_without_a_day_in_its_name_is_refused(server, connection):
    server.add(CHIRPS, "latest", bands={"precipitation": np.ones((60, 60), "float32")}, crs="EPSG:4326",
               transform=Affine(0.05, 0, 102.0, 0, -0.05, 38.0), time=datetime(2021, 1, 1, tzinfo=UTC))  # fmt: skip
    with pytest.raises(BadData, match="latest"):
        EarthEngineRain(connection).at([(103.0, 37.0)], since=date(2021, 1, 1), until=date(2021, 1, 2))


def item(name, href, affine, *, key="data", **more):
    left, top = affine.c, affine.f
    area = box(left, top - SIDE * SECOND, left + SIDE * SECOND, top)
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "collection": "cop-dem-glo-30", "links": [],
        "geometry": mapping(area), "bbox": list(area.bounds), "properties": {"datetime": "2021-04-22T00:00:00Z"},
        "assets": {key: {"href": href, "type": "image/tiff; application=geotiff", "roles": ["data"]}, **more},
    }  # fmt: skip


def test_terrain_from_a_stac_api_is_that_of_the_same_files_and_only_what_is_needed_is_fetched(local, expected):
    with StacServer(local, page=2) as server:
        server.items = [item(name, server.file(local / f"{name}.tif"), affine) for name, _, affine in tiles()]
        model = StacElevation(server.url, collection="cop-dem-glo-30", allow_hosts=[server.host])
        same(terrain_of(model, GROUND), expected, source="cop-dem-glo-30")
        before = server.counts["file"]
        same(terrain_of(model, GROUND[1:2]), expected[1:2], source="cop-dem-glo-30")
        assert 1 <= server.counts["file"] - before <= 3  # one tile: its header, then blocks


def test_terrain_from_a_folder_of_items_is_the_same(local, expected, tmp_path):
    for name, _, affine in tiles():
        more = {"thumbnail": {"href": "x.tif", "type": "image/tiff", "roles": ["thumbnail"]}}
        text = json.dumps(item(name, str(local / f"{name}.tif"), affine, key="elevation_file", **more))
        (tmp_path / f"{name}.json").write_text(text)
    model = StacElevation(str(tmp_path), collection="cop-dem-glo-30", allow_hosts=[str(tmp_path), str(local)])
    same(terrain_of(model, GROUND), expected, source="cop-dem-glo-30")


def test_a_file_in_a_folder_that_is_not_allowed_is_not_read(local, tmp_path):
    name, _, affine = next(tiles())
    (tmp_path / "one.json").write_text(json.dumps(item(name, str(local / f"{name}.tif"), affine)))
    model = StacElevation(str(tmp_path), collection="cop-dem-glo-30", allow_hosts=[str(tmp_path)])
    with pytest.raises(BadData, match="terrain from cop-dem-glo-30"):
        terrain_of(model, GROUND[:1])


def test_a_broken_or_missing_file_of_terrain_is_refused_and_never_read_as_flat(local, tmp_path):
    with StacServer(local) as server:
        server.items = [item(name, server.file(local / f"{name}.tif"), affine) for name, _, affine in tiles()]
        server.items[0]["assets"]["data"]["href"] = server.url + "/files/none.tif"
        model = StacElevation(server.url, collection="cop-dem-glo-30", allow_hosts=[server.host])
        with pytest.raises(BadData, match="terrain from"):
            terrain_of(model, GROUND[:1])
        server.items[0]["assets"] = {}
        with pytest.raises(BadData, match="no single GeoTIFF"):
            terrain_of(model, GROUND[:1])


def test_elevations_lie_where_they_were_put(local):
    (found,) = terrain_of(LocalElevation(local), [Point(MEETING[0] + 0.02, MEETING[1] + 0.02).buffer(0.0003)])
    assert found.elevation == pytest.approx(height(MEETING[0] + 0.02, MEETING[1] + 0.02), abs=1.0)
