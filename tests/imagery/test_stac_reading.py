"""Pixels of scenes: exactly the provider's integers, each block decoded once, and never a zero in place of an error."""

import json
import shutil
import time
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from shapely.geometry import box

from monitor.errors import BadConfiguration, SceneRejected, TryLater
from monitor.imagery import bands
from monitor.imagery.addresses import AllowList
from monitor.imagery.stac import scene_reader
from monitor.imagery.stac.source import SCENES_AHEAD, Stac
from monitor.imagery.transport import Fetcher
from tests.loopback.stac import Clock, Fault, StacServer, sentinel_item, value, write_cog

NAME = "S2A_MSIL2A_20200103T035141_N0213_R104_T48SUF_20200103T064512"
LATER = "S2A_MSIL2A_20200113T035141_N0213_R104_T48SUF_20200113T064512"
LATEST = "S2A_MSIL2A_20200123T035141_N0213_R104_T48SUF_20200123T064512"
LEFT, TOP = 600_000.0, 4_200_000.0
EVERYWHERE = box(-180, -90, 180, 90)
YEAR = (date(2020, 1, 1), date(2020, 12, 31))


def grid_at(column, row, width=40, height=30, epsg=32648, pixel=10.0):
    """A grid whose upper left corner lies at a pixel of 10 m of the granule."""
    return GeoBox(
        (height, width), Affine(pixel, 0, LEFT + column * 10, 0, -pixel, TOP - row * 10), f"EPSG:{epsg}"
    )  # fmt: skip


@pytest.fixture
def server(tmp_path):
    with StacServer(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def granules(tmp_path_factory):
    """Files and items of the granules that most tests read, made once."""
    folder = tmp_path_factory.mktemp("granules")

    def href(path):
        return f"@/{path.relative_to(folder)}"

    whole = sentinel_item(folder / "whole", NAME, href=href)
    small = [
        sentinel_item(folder / "small", n, href=href, size=300, shift=i) for i, n in enumerate((NAME, LATER, LATEST))
    ]
    return folder, whole, small


def placed(server, made):
    """A granule on a server."""
    return json.loads(
        json.dumps(made).replace("@/whole", f"{server.url}/files").replace("@/small", f"{server.url}/files")
    )


@pytest.fixture
def item(server, granules):
    folder, whole, _ = granules
    shutil.copytree(folder / "whole", server.folder, dirs_exist_ok=True)
    server.items.append(placed(server, whole))
    return server.items[0]


@pytest.fixture
def three(server, granules):
    """Three scenes of 300 by 300 pixels, their reflectances 0, 1 and 2 higher."""
    folder, _, small = granules
    shutil.copytree(folder / "small", server.folder, dirs_exist_ok=True)
    server.items += [placed(server, made) for made in small]


@pytest.fixture
def source(server):
    clock = Clock()
    return Stac(server.url, fetcher=Fetcher(AllowList.parse([server.host]), sleep=clock.sleep, clock=clock))


def scenes_of(source):
    return source.search(EVERYWHERE, *YEAR)


def read(source, grids, scenes=None):
    """Frames of each scene, or why it cannot be read."""
    found = []
    for frames in source.read(scenes if scenes is not None else scenes_of(source), grids):
        if isinstance(frames, SceneRejected):
            found.append(frames)
            continue
        try:
            found.append(list(frames))
        except SceneRejected as error:
            found.append(error)
    return found


def only(source, grids):
    (found,) = read(source, grids)
    return found


def expected(column, row, width, height, size=600):
    """Pixels and quality by the rule ``floor((x - left) / width)``."""
    rows, columns = np.mgrid[row : row + height, column : column + width]
    inside = (rows >= 0) & (rows < size) & (columns >= 0) & (columns < size)
    layers = [value(n, rows, columns) if n < 4 else value(n, rows // 2, columns // 2) for n in range(7)]
    layers = [np.where(inside, layer, 0) for layer in layers]
    return np.stack(layers[:6]), layers[6]


@pytest.mark.parametrize(("column", "row"), [(0, 0), (101, 57), (250, 240), (-20, -11), (580, 590), (560, -29)])
def test_every_pixel_is_the_one_that_holds_its_centre_and_20_m_is_repeated(item, source, column, row):
    (frame,) = only(source, [grid_at(column, row)])
    pixels, quality = expected(column, row, 40, 30)
    np.testing.assert_array_equal(frame.pixels, pixels)
    np.testing.assert_array_equal(frame.quality, quality)
    assert frame.pixels.dtype == frame.quality.dtype == np.uint16


def test_ground_beyond_the_granule_has_no_value_and_reads_no_block(item, source, server):
    (frame,) = only(source, [grid_at(5_000, 5_000)])
    assert not frame.pixels.any()
    assert not frame.quality.any()
    assert server.counts["file"] == 7


@pytest.mark.parametrize("pixel", [30.0, 60.0])
def test_coarser_grids_take_the_pixel_under_the_centre(item, source, pixel):
    (frame,) = only(source, [grid_at(90, 60, 20, 20, pixel=pixel)])
    step = int(pixel / 10)
    rows, columns = np.mgrid[60 : 60 + 20 * step : step, 90 : 90 + 20 * step : step] + step // 2
    np.testing.assert_array_equal(frame.pixels[2], value(2, rows, columns))
    np.testing.assert_array_equal(frame.quality, value(6, rows // 2, columns // 2))


@pytest.mark.parametrize("epsg", [32647, 3035, 3857])
def test_from_another_system_each_centre_is_projected_by_itself(item, source, epsg):
    to_grid = Transformer.from_crs(32648, epsg, always_xy=True)
    x, y = to_grid.transform(LEFT + 2_000, TOP - 2_000)
    grid = GeoBox((50, 60), Affine(10, 0, round(x, -1), 0, -10, round(y, -1)), f"EPSG:{epsg}")
    (frame,) = only(source, [grid])
    back = Transformer.from_crs(epsg, 32648, always_xy=True)
    for row, column in [(0, 0), (49, 59), (17, 33), (49, 0), (25, 25)]:
        east, north = back.transform(grid.affine.c + (column + 0.5) * 10, grid.affine.f - (row + 0.5) * 10)
        r, c = np.array([int((TOP - north) // 10)]), np.array([int((east - LEFT) // 10)])
        assert frame.pixels[2, row, column] == value(2, r, c)[0]
        assert frame.quality[row, column] == value(6, r // 2, c // 2)[0]


def test_a_cluster_of_64_sites_decodes_each_block_once(server, source):
    server.items.append(sentinel_item(server.folder, NAME, href=server.file, size=1400))
    places = [(20 + 150 * i, 20 + 150 * j) for j in range(8) for i in range(8)]
    frames = only(source, [grid_at(column, row, 150, 150) for column, row in places])
    for frame, (column, row) in zip(frames, places, strict=True):
        np.testing.assert_array_equal(frame.pixels, expected(column, row, 150, 150, 1400)[0])
    transfers = source.transfers
    fine, coarse = 5 * 5 * 256 * 256, 3 * 3 * 256 * 256  # 20..1220 in blocks of 256; 10..610 at 20 m
    assert transfers.bytes_decoded == fine * 2 * 4 + coarse * (2 + 2 + 1)
    assert transfers.bytes_used == 1200 * 1200 * 2 * 4 + 600 * 600 * (2 + 2 + 1)
    assert transfers.bytes_decoded <= 1.5 * transfers.bytes_used
    headers = [entry for entry in server.requests if entry[2].get("Range") == "bytes=0-32767"]
    assert len(headers) == 7


def test_the_order_of_sites_changes_nothing_and_decodes_nothing_twice(item, source):
    places = [(400, 300), (10, 20), (405, 310), (560, 560), (12, 25), (200, 5), (400, 300)]
    frames = only(source, [grid_at(*place) for place in places])
    for frame, place in zip(frames, places, strict=True):
        np.testing.assert_array_equal(frame.pixels, expected(*place, 40, 30)[0])
    whole = 3 * 3 * 256 * 256 * 2 * 4 + 2 * 2 * 256 * 256 * 5
    assert source.transfers.bytes_decoded <= whole


def test_http_and_a_local_folder_give_the_same_frames(item, source, tmp_path):
    folder = tmp_path / "local"
    folder.mkdir()
    local = json.loads(json.dumps(item))
    for key, asset in local["assets"].items():
        asset["href"] = f"../{NAME}/{key}.tif"
    (folder / "item.json").write_text(json.dumps(local))
    grids = [grid_at(100, 100), grid_at(-5, 7)]
    plain = Stac(str(folder), allow_hosts=[str(tmp_path)])
    for one, other in zip(only(source, grids), only(plain, grids), strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)
        np.testing.assert_array_equal(one.quality, other.quality)
    assert plain.transfers.requests == 0
    assert plain.transfers.bytes_read > 0


GRIDS = [grid_at(20, 20), grid_at(250, 250)]


def file_of(server, name=LATER, key="B04"):
    return server.folder / name / f"{key}.tif"


def shifted(pixels, shift):
    return np.where(pixels > 0, pixels + shift, 0)


def vrt(server):
    inner = f"<SimpleSource><SourceFilename>/vsicurl/{server.url}/files/secret</SourceFilename></SimpleSource>"
    band = f'<VRTRasterBand dataType="UInt16" band="1">{inner}</VRTRasterBand>'
    file_of(server).write_text(f'<VRTDataset rasterXSize="300" rasterYSize="300">{band}</VRTDataset>')


def rewritten(key="B04", dtype="uint16", side=300, pixel=10.0, left=LEFT, crs="EPSG:32648", scale=1.0):
    def change(server):
        rows, columns = np.mgrid[:side, :side]
        pixels = (value(2, rows, columns) * scale).astype(dtype)
        write_cog(file_of(server, key=key), pixels, Affine(pixel, 0, left, 0, -pixel, TOP), crs)

    return change


def cut(share):
    def change(server):
        data = file_of(server).read_bytes()
        file_of(server).write_bytes(data[: int(len(data) * share)])

    return change


def flipped(server):
    data = bytearray(file_of(server).read_bytes())
    data[len(data) // 2] ^= 0x10
    file_of(server).write_bytes(bytes(data))


@pytest.mark.parametrize(("change", "reason", "word"), [
    (lambda server: file_of(server).unlink(), "MISSING", "nothing at"),
    (lambda server: file_of(server, key="SCL").unlink(), "MISSING", "nothing at"), (cut(0.9), "BROKEN", "cut short"),
    (cut(0.5), "BROKEN", "cut short"), (cut(0.005), "BROKEN", ""), (flipped, "BROKEN", "cannot be decoded"),
    (lambda server: file_of(server).write_bytes(b""), "BROKEN", ""),
    (lambda server: file_of(server).write_text("<html>log in</html>"), "BROKEN", "not a GeoTIFF"),
    (vrt, "BROKEN", "not a GeoTIFF"),
    (rewritten(dtype="float32", scale=1e-4), "RADIOMETRY", "stretched or already scaled"),
    (rewritten(dtype="float64"), "RADIOMETRY", "stretched or already scaled"),
    (rewritten(dtype="uint8", scale=0.02), "RADIOMETRY", "stretched or already scaled"),
    (rewritten(dtype="int32"), "RADIOMETRY", "stretched or already scaled"),
    (rewritten(crs="EPSG:32649"), "BROKEN", "EPSG:32649"), (rewritten(side=299), "BROKEN", "299"),
    (rewritten(left=LEFT + 10), "BROKEN", "elsewhere"), (rewritten(pixel=20.0), "BROKEN", "elsewhere"),
    (rewritten(key="SCL", dtype="float32", side=150, pixel=20.0), "BROKEN", "classes"),
])  # fmt: skip
def test_a_broken_scene_is_rejected_with_its_reason_and_stops_no_other(three, server, source, change, reason, word):
    change(server)
    first, second, third = read(source, GRIDS)
    assert isinstance(second, SceneRejected)
    assert second.reason == reason
    assert word in str(second)
    assert LATER in str(second)
    for frames, shift in ((first, 0), (third, 2)):
        np.testing.assert_array_equal(frames[1].pixels, shifted(expected(250, 250, 40, 30, 300)[0], shift))
    assert not any("secret" in entry[1] for entry in server.requests)


def test_no_flipped_bit_of_a_compressed_block_goes_unnoticed(three, server, source):
    whole = file_of(server).read_bytes()
    (scene,) = [scene for scene in scenes_of(source) if scene.id == LATER]
    grids = [grid_at(0, 0, 300, 300)]
    right = expected(0, 0, 300, 300, 300)[0] + 1
    random = np.random.default_rng(1)
    noticed = 0
    for place in random.integers(4096, len(whole), 40):
        data = bytearray(whole)
        data[place] ^= 1 << int(random.integers(8))
        file_of(server).write_bytes(bytes(data))
        (found,) = read(source, grids, [scene])
        if isinstance(found, SceneRejected):
            noticed += 1
        else:  # between blocks, or in an overview that is not read
            np.testing.assert_array_equal(found[0].pixels, right)
    assert noticed >= 20


def test_500_three_times_then_200_is_read(item, source, server):
    server.fail("file", status=500, times=3)
    (frame,) = only(source, [grid_at(5, 5)])
    np.testing.assert_array_equal(frame.pixels, expected(5, 5, 40, 30)[0])
    assert source.transfers.retries == 3


@pytest.mark.parametrize("after", [0, 5, 8, 20])
def test_a_provider_that_goes_down_midway_leaves_the_other_scenes_for_later(three, server, source, after):
    latest = json.dumps(server.items[-1])
    server.items += [json.loads(latest.replace("20200123", day)) for day in ("20200202", "20200212")]
    scenes = scenes_of(source)
    server.fail("file", status=503, after=after)
    found = read(source, GRIDS, scenes)
    assert {getattr(one, "reason", "read") for one in found} | {"read"} == {"read", "NO_ANSWER"}


def test_one_file_at_500_for_ever_rejects_its_scene_for_now_and_nothing_else(three, server, source):
    server.fail("file", status=500, match=f"{LATER}/B04")
    first, second, third = read(source, GRIDS)
    assert second.reason == "NO_ANSWER"
    assert f"{LATER}/B04" in str(second)
    assert len(first) == len(third) == 2
    server.faults.clear()
    again = Stac(server.url, allow_hosts=[server.host])
    assert all(len(one) == 2 for one in read(again, GRIDS))


def test_two_scenes_without_an_answer_do_not_stop_the_third(three, server, source):
    server.fail("file", status=500, match=NAME)
    server.fail("file", status=500, match=LATER)
    first, second, third = read(source, GRIDS)
    assert first.reason == second.reason == "NO_ANSWER"
    assert len(third) == 2


def test_files_that_need_credentials_are_a_matter_of_configuration(item, source, server):
    server.fail("file", status=401)
    with pytest.raises(BadConfiguration, match="credentials"):
        only(source, GRIDS)


def test_one_file_that_is_forbidden_where_others_are_not_is_missing(three, server, source):
    server.fail("file", status=403, match=f"{LATER}/B04")
    first, second, third = read(source, GRIDS)
    assert second.reason == "MISSING"
    assert len(first) == len(third) == 2


def test_if_all_is_forbidden_it_is_a_matter_of_configuration(item, source, server):
    folder = server.folder / "l"
    folder.mkdir()
    (folder / "item.json").write_text(json.dumps(item))
    server.fail("file", status=403)
    with pytest.raises(BadConfiguration, match="credentials"):
        only(Stac(str(folder), allow_hosts=[str(folder), server.host]), GRIDS)


def test_a_signature_that_expires_midway_is_renewed_once(server, monkeypatch):
    monkeypatch.setattr(scene_reader, "MAX_FILE_AHEAD_BYTES", 1)
    server.items.append(sentinel_item(server.folder, NAME, href=server.file))
    server.token = "1"
    given = []

    def sign(href, again):
        if again:
            given.append(href)
        return f"{href}?sig={server.token if again else '1'}"

    source = Stac(server.url, allow_hosts=[server.host], sign=sign)
    scenes = scenes_of(source)
    frames = iter(next(iter(source.read(scenes, [grid_at(5, 5), grid_at(500, 500)]))))
    np.testing.assert_array_equal(next(frames).pixels, expected(5, 5, 40, 30)[0])
    server.token = "2"
    np.testing.assert_array_equal(next(frames).pixels, expected(500, 500, 40, 30)[0])
    assert 1 <= len(given) <= 7


def test_an_expired_signed_address_of_an_item_is_requested_again_from_the_catalogue(server, source):
    server.token = "old"
    made = sentinel_item(server.folder, NAME, href=server.file)
    server.items.append(made)
    scenes = scenes_of(source)
    server.token = "new"
    for key, asset in made["assets"].items():
        asset["href"] = server.file(server.folder / NAME / f"{key}.tif")
    (frames,) = read(source, [grid_at(5, 5)], scenes)
    np.testing.assert_array_equal(frames[0].pixels, expected(5, 5, 40, 30)[0])
    assert server.counts["item"] == 1


def test_a_signature_that_is_refused_again_rejects_the_scene_and_is_shown_to_nobody(server, source):
    server.token = "c2VjcmV0"
    server.items.append(sentinel_item(server.folder, NAME, href=server.file))
    scenes = scenes_of(source)
    server.token = "other"
    (found,) = read(source, GRIDS, scenes)
    assert found.reason == "MISSING"
    assert "c2VjcmV0" not in f"{found!r} {found}"
    assert server.counts["item"] == 1


@pytest.mark.parametrize("target", ["http://169.254.169.254/a.tif", "file:///etc/passwd", "http://10.0.0.1/a"])
def test_a_file_that_redirects_inside_rejects_its_scene(three, server, source, target):
    server.fail("file", status=302, headers={"Location": target}, match=LATER)
    first, second, third = read(source, GRIDS)
    assert isinstance(second, SceneRejected)
    assert "refused" in str(second) or "only https and http" in str(second)
    assert len(first) == len(third) == 2


def test_a_server_that_knows_no_ranges_is_read_all_the_same(item, source, server):
    server.fail("file", act=whole)
    (frame,) = only(source, [grid_at(5, 5)])
    np.testing.assert_array_equal(frame.pixels, expected(5, 5, 40, 30)[0])
    assert server.counts["file"] == 7


def test_a_scene_of_another_source_is_rejected(item, source):
    (scene,) = scenes_of(source)
    (found,) = read(source, GRIDS, [replace(scene, handle=3)])
    assert found.reason == "BROKEN"


def plain_item(assets, **properties):
    return {
        "type": "Feature", "stac_version": "1.1.0", "id": "plain", "links": [], "bbox": [-180, -90, 180, 90],
        "assets": assets,
        "properties": {"datetime": "2020-06-01T03:00:00Z", **properties},
    }  # fmt: skip


PLACE = Affine(10, 0, LEFT, 0, -10, TOP)


def local(tmp_path, item):
    (tmp_path / "item.json").write_text(json.dumps(item))
    return Stac(str(tmp_path), allow_hosts=[str(tmp_path)])


@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_one_file_of_all_bands_is_read_by_number(tmp_path, interleave):
    rows, columns = np.mgrid[:300, :300]
    pixels = np.stack([value(n, rows, columns) for n in range(4)]).astype("uint16")
    write_cog(tmp_path / "all.tif", pixels, PLACE, "EPSG:32648", interleave=interleave)
    write_cog(tmp_path / "scl.tif", value(6, rows, columns).astype("uint8"), PLACE, "EPSG:32648")
    described = [{"eo:common_name": name, "raster:scale": 1e-4} for name in ("blue", "green", "red", "nir")]
    assets = {"all": {"href": "all.tif", "bands": described}, "scl": {"href": "scl.tif"}}
    source = local(tmp_path, plain_item(assets))
    (frame,) = only(source, [grid_at(250, 250, 100, 100)])
    np.testing.assert_array_equal(frame.pixels[:4, :50, :50], pixels[:, 250:, 250:])
    assert not frame.pixels[4:].any()
    assert not frame.pixels[:, 50:].any()


@pytest.mark.parametrize("options", [
    {"compress": "deflate"}, {"compress": "lzw", "predictor": 2}, {"compress": "zstd"}, {"compress": "none"},
    {"compress": "deflate", "bigtiff": "yes"},
], ids=str)  # fmt: skip
def test_every_usual_compression_gives_the_same_pixels(tmp_path, options):
    rows, columns = np.mgrid[:300, :300]
    assets = {}
    for n, name in enumerate(bands.OBSERVED):
        write_cog(tmp_path / f"{name}.tif", value(n, rows, columns).astype("uint16"), PLACE, "EPSG:32648", **options)
        assets[name] = {"href": f"{name}.tif", "bands": [{"eo:common_name": name, "raster:scale": 1e-4}]}
    write_cog(tmp_path / "scl.tif", value(6, rows, columns).astype("uint8"), PLACE, "EPSG:32648")
    assets["scl"] = {"href": "scl.tif"}
    (frame,) = only(local(tmp_path, plain_item(assets)), [grid_at(200, 200)])
    np.testing.assert_array_equal(frame.pixels[3], value(3, rows, columns)[200:230, 200:240])


def test_fill_negative_and_unwritten_values_are_missing_and_saturated_ones_stay(tmp_path):
    pixels = np.full((512, 512), 1234, dtype="int16")
    pixels[0, :5] = [-9999, -1, 0, 1, 32767]
    fmask = np.zeros((512, 512), dtype="uint8")
    fmask[0, 10:13] = [255, 2, 64]
    name = "HLS.S30.T48SUF.2020003T035141.v2.0"
    assets = {}
    for key in ("B02", "B03", "B04", "B8A", "B11", "B12"):
        write_cog(tmp_path / f"{name}.{key}.tif", pixels, PLACE, "EPSG:32648", nodata=-9999)
        assets[key] = {"href": f"{name}.{key}.tif"}
    write_cog(tmp_path / f"{name}.Fmask.tif", fmask, PLACE, "EPSG:32648", nodata=255)
    assets["Fmask"] = {"href": f"{name}.Fmask.tif"}
    (frame,) = only(local(tmp_path, {**plain_item(assets), "id": name}), [grid_at(0, 0, 20, 20)])
    np.testing.assert_array_equal(frame.pixels[2, 0, :6], [0, 0, 0, 1, 32767, 1234])
    np.testing.assert_array_equal(frame.quality[0, 9:14], [0, 0, 2, 64, 0])
    np.testing.assert_array_equal(frame.pixels[2, 0, 9:12], [1234, 0, 1234])


def test_blocks_that_were_never_written_hold_no_value(tmp_path):
    import rasterio

    rows, columns = np.mgrid[:512, :512]
    assets = {}
    for n, name in enumerate(bands.OBSERVED):
        with rasterio.open(
            tmp_path / f"{name}.tif", "w", driver="GTiff", height=512, width=512, count=1, dtype="uint16",
            crs="EPSG:32648", transform=PLACE, tiled=True, blockxsize=256, blockysize=256, sparse_ok=True, nodata=0,
        ) as file:  # fmt: skip
            file.write(value(n, rows, columns)[:256, :256].astype("uint16"), 1, window=((0, 256), (0, 256)))
        assets[name] = {"href": f"{name}.tif", "bands": [{"eo:common_name": name, "raster:scale": 1e-4}]}
    write_cog(tmp_path / "scl.tif", value(6, rows, columns).astype("uint8"), PLACE, "EPSG:32648")
    assets["scl"] = {"href": "scl.tif"}
    (frame,) = only(local(tmp_path, plain_item(assets)), [grid_at(236, 236)])
    np.testing.assert_array_equal(frame.pixels[2, :20, :20], value(2, rows, columns)[236:256, 236:256])
    assert not frame.pixels[:, 20:].any()


def test_landsat_is_read_on_its_own_lattice(tmp_path):
    rows, columns = np.mgrid[:200, :200]
    place = Affine(30, 0, LEFT + 15, 0, -30, TOP - 15)
    assets = {}
    for n, key in enumerate(("blue", "green", "red", "nir08", "swir16", "swir22")):
        write_cog(tmp_path / f"{key}.tif", value(n, rows, columns).astype("uint16"), place, "EPSG:32648")
        assets[key] = {"href": f"{key}.tif", "eo:bands": [{"common_name": key}]}
    quality = np.full((200, 200), 21824, dtype="uint16")
    write_cog(tmp_path / "qa.tif", quality, place, "EPSG:32648", nodata=1)
    assets["qa_pixel"] = {"href": "qa.tif"}
    item = {**plain_item(assets, platform="landsat-8"), "id": "LC08_L2SP_129034_20200103_20200824_02_T1"}
    source = local(tmp_path, item)
    grid = GeoBox((50, 60), Affine(30, 0, LEFT + 15 + 300, 0, -30, TOP - 15 - 600), "EPSG:32648")
    (frame,) = only(source, [grid])
    np.testing.assert_array_equal(frame.pixels[3], value(3, rows, columns)[20:70, 10:70])
    assert (frame.quality == 21824).all()
    assert source.grid(box(102, 36, 103, 37)).affine[:6] == (30, 0, LEFT + 15, 0, -30, TOP - 15)


def test_a_grid_is_not_guessed_while_the_only_files_that_state_it_cannot_be_reached(tmp_path):
    names = ("red", "nir", "scl")
    assets = {name: {"href": f"http://127.0.0.1:1/{name}.tif", "bands": [{"eo:common_name": name}]} for name in names}
    for asset in assets.values():
        asset["bands"][0]["raster:scale"] = 1e-4
    (tmp_path / "item.json").write_text(json.dumps(plain_item(assets)))
    web = Fetcher(AllowList.parse([str(tmp_path), "127.0.0.1"]), budget=1.0)
    with pytest.raises(TryLater, match="gives no answer"):
        Stac(str(tmp_path / "item.json"), fetcher=web).grid(box(102.5, 35.9, 103.5, 36.5))


def test_what_is_counted_is_what_the_server_sent(item, source, server):
    only(source, [grid_at(5, 5)])
    sent = 0
    for _, path, headers, _ in server.requests:
        if path.startswith("/files/"):
            first, last = (int(side) for side in headers["Range"].removeprefix("bytes=").split("-"))
            size = (server.folder / path.removeprefix("/files/")).stat().st_size
            sent += min(last, size - 1) - first + 1
    transfers = source.transfers
    assert transfers.requests == server.counts.total() == 17
    before = Stac(server.url, allow_hosts=[server.host])
    scenes_of(before)
    assert transfers.bytes_read == sent + before.transfers.bytes_read


def test_when_a_scene_is_given_up_no_thread_goes_on_waiting_for_it(item, server):
    source = Stac(server.url, allow_hosts=[server.host])
    server.fail("file", status=503, headers={"Retry-After": "60"}, match="B02")
    server.fail("file", status=404, match="B04")
    begun = time.monotonic()
    (found,) = read(source, GRIDS)
    assert found.reason == "MISSING"
    source._pool.shutdown(wait=True)
    assert time.monotonic() - begun < 30


def several(server, n):
    """Scenes of the files of one, each by addresses of its own, a day apart."""
    made = json.dumps(server.items[0])
    for day in range(4, 3 + n):
        name = NAME.replace("20200103", f"202001{day:02d}")
        (server.folder / name).symlink_to(server.folder / NAME, target_is_directory=True)
        again = made.replace("20200103", f"202001{day:02d}").replace("2020-01-03", f"2020-01-{day:02d}")
        server.items.append(json.loads(again))


def test_files_of_several_scenes_are_fetched_at_once_and_scenes_come_in_their_order(three, server):
    server.together = (LATER, 8)
    found = read(Stac(server.url, allow_hosts=[server.host]), GRIDS)
    assert server.peak > 7
    for shift, frames in enumerate(found):
        np.testing.assert_array_equal(frames[1].pixels, shifted(expected(250, 250, 40, 30, 300)[0], shift))


@pytest.mark.parametrize("in_flight", [1, 3])
def test_no_more_requests_are_in_flight_than_allowed_and_the_bits_are_the_same(item, server, in_flight):
    several(server, 4)
    grids = [grid_at(column, row, 170, 120) for column, row in [(430, 470), (0, 0), (240, 250), (5_000, 0)]]
    many = read(Stac(server.url, allow_hosts=[server.host]), grids)
    server.forget()
    server.delay, server.together = 0.02, ("", in_flight)
    few = read(Stac(server.url, allow_hosts=[server.host], in_flight=in_flight), grids)
    assert server.peak == in_flight
    assert len(few) == len(many) == 4
    for one, other in zip(few, many, strict=True):
        for frame, same in zip(one, other, strict=True):
            assert frame.pixels.tobytes() == same.pixels.tobytes()
            assert frame.quality.tobytes() == same.quality.tobytes()


def test_a_slow_file_does_not_hold_up_the_scene_after_it(three, server):
    fetched_meanwhile = []

    def act(handler):
        until = time.monotonic() + 30
        while time.monotonic() < until and not fetched_meanwhile:
            if sum(LATEST in path for _, path, _, _ in list(server.requests)) >= 14:  # seven headers, seven blocks
                fetched_meanwhile.append(True)
            time.sleep(0.01)
        handler._file(handler.path.removeprefix("/files/"))

    server.fail("file", match=f"{LATER}/B04", act=act, times=1)
    assert all(len(frames) == 2 for frames in read(Stac(server.url, allow_hosts=[server.host]), GRIDS))
    assert fetched_meanwhile


def test_who_stops_reading_leaves_no_request_and_no_waiting_thread_behind(item, server):
    several(server, 12)
    server.fail("file", status=503, headers={"Retry-After": "60"}, match="20200105T035141_N0213_R104_T48SUF")
    source = Stac(server.url, allow_hosts=[server.host])
    reading = source.read(scenes_of(source), GRIDS)
    frames = iter(next(reading))
    next(frames)
    begun = time.monotonic()
    del frames
    reading.close()
    source._pool.shutdown(wait=True)
    assert time.monotonic() - begun < 30
    requests = server.counts["file"]
    time.sleep(0.3)
    assert server.counts["file"] == requests
    scenes = {path.split("/")[2] for _, path, _, _ in server.requests if path.startswith("/files/")}
    assert len(scenes) <= 1 + SCENES_AHEAD


def test_what_is_fetched_ahead_is_bounded_and_all_is_read_all_the_same(item, server, monkeypatch):
    monkeypatch.setattr(scene_reader, "MAX_AHEAD_BYTES", 3_000_000)
    several(server, 6)
    source = Stac(server.url, allow_hosts=[server.host])
    reading = source.read(scenes_of(source), [grid_at(0, 0, 600, 600)])
    whole = 9 * 256 * 256 * 2 * 4 + 4 * 256 * 256 * (2 + 2 + 1)
    for number, frames in enumerate(reading):
        deadline, before = time.monotonic() + 5, -1
        while source.transfers.bytes_decoded != before and time.monotonic() < deadline:  # until nothing more comes
            before = source.transfers.bytes_decoded
            time.sleep(0.1)
        assert before - number * whole <= 3_000_000
        (frame,) = frames
        np.testing.assert_array_equal(frame.pixels, expected(0, 0, 600, 600)[0])
    assert source.transfers.bytes_decoded == 6 * whole


def test_a_header_is_fetched_once_a_run_and_a_file_of_another_size_has_changed(three, server):
    source = Stac(server.url, allow_hosts=[server.host])
    scenes = scenes_of(source)
    read(source, GRIDS, scenes)
    read(source, GRIDS, scenes)
    assert sum(headers.get("Range") == "bytes=0-32767" for *_, headers, _ in server.requests) == 21
    with file_of(server).open("ab") as file:
        file.write(b"more")
    _, second, _ = read(source, GRIDS, scenes)
    assert second.reason == "BROKEN"
    assert "changed" in str(second)


def test_a_file_without_an_answer_in_each_of_four_scenes_does_not_mean_that_the_host_is_down(item, server):
    several(server, 6)
    server.fail("file", status=500, match="B04")
    for day in ("03", "08"):  # the first and the last are whole
        server.faults.insert(0, Fault("file", match=f"R104_T48SUF_202001{day}T064512/B04", act=plain))
    source = Stac(server.url, fetcher=Fetcher(AllowList.parse([server.host]), budget=3.0))  # for whole files too
    found = read(source, GRIDS)
    assert [len(found[0]), len(found[5])] == [2, 2]
    assert [one.reason for one in found[1:5]] == ["NO_ANSWER"] * 4


def plain(handler):
    """Serve the requested file as usual."""
    handler._file(handler.path.removeprefix("/files/"))


def test_several_scenes_are_not_requested_at_once_from_a_server_that_sends_only_whole_files(item, server):
    several(server, 4)
    server.fail("file", act=whole)
    source = Stac(server.url, allow_hosts=[server.host])
    reading = source.read(scenes_of(source), GRIDS)
    next(reading)
    ends = time.monotonic() + 30
    while server.counts["file"] < 7 and time.monotonic() < ends:
        time.sleep(0.01)
    time.sleep(0.2)
    assert server.counts["file"] == 7
    assert [len(list(frames)) for frames in reading] == [2] * 3


def whole(handler):
    """Send a whole file, whatever range was requested."""
    handler.send(200, (handler.server_of.folder / handler.path.removeprefix("/files/")).read_bytes())
