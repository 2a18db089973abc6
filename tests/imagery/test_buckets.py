"""Files in buckets: signed for one file and host, readable by the right account, and refused in words otherwise."""

import json
from datetime import UTC, date, datetime

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry import box

from monitor.errors import BadConfiguration, SceneRejected
from monitor.imagery.stac import buckets
from monitor.imagery.stac.buckets import S3Account
from monitor.imagery.stac.source import Stac
from tests.loopback.archives import Granule, of_cdse, of_dea
from tests.loopback.stac import StacServer, value

ACCOUNT = S3Account("the-key", "the-secret")
AREA, DAYS = box(106.14, 37.9, 106.16, 37.93), (date(2020, 1, 1), date(2020, 12, 31))
GRID = GeoBox((30, 40), Affine(10, 0, 600_050, 0, -10, 4_199_950), "EPSG:32648")
ROWS, COLUMNS = np.mgrid[:600, :600]
SHOWN = np.stack([value(band, ROWS, COLUMNS)[5:35, 5:45] for band in range(4)])


@pytest.fixture
def api(tmp_path):
    with StacServer(tmp_path / "api") as running:
        yield running


@pytest.fixture
def store(tmp_path, monkeypatch):
    with StacServer(tmp_path / "store") as running:
        monkeypatch.setitem(buckets.SIGNED, "eodata", f"{running.url}/files/")
        running.account = ACCOUNT
        yield running


@pytest.fixture
def scene():
    pixels = np.stack([value(band, ROWS, COLUMNS) for band in range(6)]).astype(np.uint16)
    return Granule(
        when=datetime(2020, 1, 3, 3, 51, 41, tzinfo=UTC), tile="48SUF", epsg=32648, pixels=pixels,
        transform=Affine(10, 0, 600_000, 0, -10, 4_200_000), classes=np.full((300, 300), 4, np.uint8),
    )  # fmt: skip


def read(api, store, account=ACCOUNT, **more):
    source = Stac(api.url, allow_hosts=[api.host, store.host], account=account, **more)
    (found,) = source.search(AREA, *DAYS)
    (frames,) = source.read([found], [GRID])
    if isinstance(frames, SceneRejected):
        raise frames
    return next(iter(frames))


def test_an_address_is_signed_as_in_the_example_of_amazon():
    account = S3Account("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    address, when = "https://examplebucket.s3.amazonaws.com/test.txt", datetime(2013, 5, 24, tzinfo=UTC)
    signed = account.signed(address, when, region="us-east-1", valid_for=86_400)
    assert signed.endswith("X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404")
    assert "EXAMPLE" not in repr(account)


def test_a_bucket_has_one_address_and_an_unknown_one_none():
    fetched = buckets.fetched_address
    assert fetched("s3://eodata/Sentinel-2/a.jp2") == "https://eodata.dataspace.copernicus.eu/eodata/Sentinel-2/a.jp2"
    assert fetched("s3://dea-public-data/b/c.tif") == "https://dea-public-data.s3.ap-southeast-2.amazonaws.com/b/c.tif"
    for other in ("s3://usgs-landsat/a.tif", "https://eodata.example/a.jp2", "a.tif", "s3://eodata"):
        assert fetched(other) == other or other == "s3://eodata"
    assert not buckets.needs_account("https://eodata.dataspace.copernicus.eu.evil.example/eodata/a.jp2")


def test_jpeg_2000_of_the_copernicus_data_space_is_read_in_windows_by_its_account(api, store, scene):
    api.items.append(of_cdse(store.folder, scene))
    frame = read(api, store)
    np.testing.assert_array_equal(frame.pixels[:4], SHOWN + 1000)
    for _, address, headers, _ in store.requests:
        assert address.endswith(".jp2") or "X-Amz-Signature=" in address
        assert "the-secret" not in address + str(headers)
        assert headers["Range"].startswith("bytes=")


def test_signed_integers_of_digital_earth_australia_are_read_without_an_account(api, store, scene, monkeypatch):
    store.account = None
    monkeypatch.setitem(buckets.SIGNED, "eodata", "https://eodata.example/")
    monkeypatch.setitem(buckets.PUBLIC, "dea-public-data", f"{store.url}/files/")
    scene.pixels[2, 10, 10] = 0  # no value, -999 in the file
    api.items.append(of_dea(store.folder, scene))
    frame = read(api, store, None)
    assert frame.pixels[2, 5, 5] == 0
    np.testing.assert_array_equal(np.where(frame.pixels[:4] > 0, frame.pixels[:4], SHOWN), SHOWN)
    assert np.unique(frame.quality).tolist() == [1]
    assert not any("X-Amz" in address for _, address, *_ in store.requests)


@pytest.mark.parametrize("account", [S3Account("", ""), S3Account("the-key", ""), S3Account("the-key", "wrong")])
def test_without_the_right_credentials_the_run_ends_and_says_which_to_set(api, store, scene, account):
    api.items.append(of_cdse(store.folder, scene))
    with pytest.raises(BadConfiguration, match="set REGROWTH_S3_KEY and REGROWTH_S3_SECRET") as error:
        read(api, store, account)
    assert "the-key" not in str(error.value)
    if not account.secret:
        assert store.requests == [], "nothing is sent that must fail"


@pytest.mark.parametrize("status", [401, 403])
def test_credentials_that_expired_are_a_matter_of_configuration_too(api, store, scene, status):
    api.items.append(of_cdse(store.folder, scene))
    store.fail("file", status=status)
    with pytest.raises(BadConfiguration, match="that have not expired"):
        read(api, store)


def test_a_signature_that_expires_midway_is_made_again(api, store, scene):
    api.items.append(of_cdse(store.folder, scene))
    store.fail("file", status=403, match="B04_10m", after=1, times=1)
    np.testing.assert_array_equal(read(api, store).pixels[:4], SHOWN + 1000)
    assert store.faults[0].times == 0


def test_a_file_that_one_account_may_not_read_where_it_reads_others_is_missing(api, store, scene):
    api.items.append(of_cdse(store.folder, scene))
    store.fail("file", status=403, match="B04", after=1)
    with pytest.raises(SceneRejected) as error:
        read(api, store)
    assert error.value.reason == "MISSING"


def test_a_redirect_to_another_host_carries_no_credentials(api, store, scene, tmp_path):
    api.items.append(of_cdse(store.folder, scene))
    with StacServer(tmp_path / "other") as other:
        store.fail("file", status=302, headers={"Location": f"{other.url}/files/a.jp2"})
        source = Stac(api.url, allow_hosts=[api.host, store.host, other.host], account=ACCOUNT)
        (found,) = source.search(AREA, *DAYS)
        (outcome,) = source.read([found], [GRID])
        assert outcome.reason == "MISSING"
        assert other.requests
        assert "the-key" not in str(other.requests)
        assert "X-Amz" not in str(other.requests)


def test_an_item_of_another_catalogue_gets_no_signature_for_its_own_host(api, store, scene):
    item = of_cdse(store.folder, scene)
    for asset in item["assets"].values():
        asset["href"] = asset["href"].replace("s3://eodata/", f"{api.url}/files/")
    api.items.append(item)
    with pytest.raises(SceneRejected, match="there is nothing at"):
        read(api, store)
    assert not any("X-Amz" in address for _, address, *_ in api.requests)


def test_an_item_with_half_of_its_bands_is_rejected_and_its_neighbours_are_read(api, store, scene):
    whole = of_cdse(store.folder, scene)
    half = json.loads(json.dumps(whole).replace("20200103T", "20200108T").replace("2020-01-03T", "2020-01-08T"))
    half["assets"] = {key: asset for key, asset in half["assets"].items() if key[:3] in ("B02", "B03", "SCL")}
    api.items += [whole, half]
    source = Stac(api.url, allow_hosts=[api.host, store.host], account=ACCOUNT)
    scenes = source.search(AREA, *DAYS)
    first, second = source.read(scenes, [GRID])
    assert not isinstance(first, SceneRejected)
    assert (second.reason, "no asset for red and nir" in str(second)) == ("BROKEN", True)


def test_a_bucket_that_answers_with_a_web_page_breaks_its_scene(api, store, scene):
    api.items.append(of_cdse(store.folder, scene))
    store.fail("file", act=lambda handler: handler.send(200, b"<html>Please log in</html>"))
    with pytest.raises(SceneRejected, match="is not a GeoTIFF"):
        read(api, store)
