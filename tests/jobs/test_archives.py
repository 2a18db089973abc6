"""A night on each public archive, from a new installation to a verdict, through a server that writes as it does."""

import csv
import json
from datetime import date
from itertools import islice

import pytest
from affine import Affine

from jobs.imagery.sources import open_sources
from jobs.runtime.exits import Exit
from jobs.runtime.settings import SourceSettings
from monitor.imagery.stac import asset_reader, buckets, source
from tests import builders
from tests.builders import feature, regrowth
from tests.jobs.test_real_sources import CORNER, TIMES, outlined, painted
from tests.loopback.archives import Granule, of_cdse, of_dea, of_earth_search, of_planetary_computer
from tests.loopback.stac import StacServer

NIGHT = date(2020, 10, 31)
ACCOUNT = buckets.S3Account("made-up-key", "made-up-secret")


def scenes():
    for when in TIMES:
        pixels, classes = painted(when, "02.09")
        place = Affine(10, 0, CORNER[0], 0, -10, CORNER[1])
        yield Granule(when=when, tile="48SXH", transform=place, epsg=32648, pixels=pixels, classes=classes)


@pytest.fixture
def api(tmp_path):
    with StacServer(tmp_path / "api") as running:
        yield running


@pytest.fixture
def store(tmp_path):
    """Where the files of a bucket are: another host than the API."""
    with StacServer(tmp_path / "bucket") as running:
        yield running


@pytest.fixture
def credentials(monkeypatch):
    monkeypatch.setenv("REGROWTH_S3_KEY", ACCOUNT.key)
    monkeypatch.setenv("REGROWTH_S3_SECRET", ACCOUNT.secret)


def earth_search(api, store, monkeypatch):
    """A third of the scenes is in the older collection alone, a third in the newer one alone."""
    api.collections = ["sentinel-2-l2a", "sentinel-2-c1-l2a", "sentinel-1-grd"]
    for number, scene in enumerate(scenes()):
        in_one = {0: api.collections[:1], 1: api.collections[1:2]}.get(number % 3, api.collections[:2])
        api.items += [of_earth_search(api.folder, scene, name, href=api.file) for name in in_one]


def planetary_computer(api, store, monkeypatch):
    """Files are given to addresses with a token."""
    monkeypatch.setattr(asset_reader, "TOKENS", f"{api.url}/token")
    monkeypatch.setattr(source, "TOKENS", f"{api.url}/token")
    monkeypatch.setattr(asset_reader, "STORAGE", f":{api.host.partition(':')[2]}")
    api.collections = ["sentinel-2-l2a", "cop-dem-glo-30"]
    api.items = [of_planetary_computer(api.folder, scene, href=api.file) for scene in scenes()]
    api.token = "c2VjcmV0"
    api.fail("other", match="/token/", act=lambda handler: handler.json({"token": f"sig={api.token}"}))


def cdse(api, store, monkeypatch):
    monkeypatch.setitem(buckets.SIGNED, "eodata", f"{store.url}/files/")
    store.account = ACCOUNT
    api.collections = ["sentinel-2-l2a", "sentinel-2-l1c"]
    api.items = [of_cdse(store.folder, scene) for scene in scenes()]


def dea(api, store, monkeypatch):
    monkeypatch.setitem(buckets.PUBLIC, "dea-public-data", f"{store.url}/files/")
    api.collections = ["ga_s2am_ard_3", "ga_s2bm_ard_3", "ga_ls8c_ard_3", "ga_ls_fc_3"]
    api.items = [of_dea(store.folder, scene) for scene in scenes()]


def installed(root, api, store):
    outline = feature("s0", outlined(0), start="2019-04-01", intervention="tending")
    hosts = f"allow_hosts = {json.dumps([api.host, store.host])}"
    builders.installed(root, [outline], f'kind = "stac"\nurl = "{api.url}"\nsince = "2018-01-01"\n{hosts}')
    return root / "regrowth.toml"


def observations(config):
    with (config.parent / "outputs/sites/s0/observations.csv").open(encoding="utf-8") as file:
        return [(row["date"], row["n_pixels"], row["ndvi"], row["control_cover"]) for row in csv.DictReader(file)]


@pytest.mark.slow
def test_every_archive_leads_to_the_same_observations_and_verdict(tmp_path, api, store, monkeypatch, credentials):
    found = {}
    for offer in (earth_search, planetary_computer, cdse, dea):
        api.items, api.token, api.collections = [], "", None
        with monkeypatch.context() as patch:
            offer(api, store, patch)
            config = installed(tmp_path / offer.__name__, api, store)
            status, printed, errors = regrowth("run", "--as-of", NIGHT, config=config)
            assert status == 0, errors
            status, printed, _ = regrowth("status", "--json", config=config)
            (site,) = json.loads(printed)
            found[offer.__name__] = (site["status"], observations(config))
        store.account = None
    assert {status for status, _ in found.values()} == {"on_track"}
    (rows,) = {tuple(rows) for _, rows in found.values()}
    assert len(rows) == len(TIMES)


@pytest.mark.parametrize(("key", "secret"), [("", ""), (ACCOUNT.key, "0therwise")])
def test_wrong_credentials_end_a_night_with_78_and_say_what_to_set(tmp_path, api, store, monkeypatch, key, secret):
    monkeypatch.setenv("REGROWTH_S3_KEY", key)
    monkeypatch.setenv("REGROWTH_S3_SECRET", secret)
    monkeypatch.setitem(buckets.SIGNED, "eodata", f"{store.url}/files/")
    store.account, api.collections = ACCOUNT, ["sentinel-2-l2a"]
    api.items = [of_cdse(store.folder, scene) for scene in islice(scenes(), 1)]
    config = installed(tmp_path / "programme", api, store)
    status, printed, errors = regrowth("run", "--as-of", NIGHT, config=config)
    assert status == Exit.CONFIGURATION
    assert "set REGROWTH_S3_KEY and REGROWTH_S3_SECRET" in errors
    assert "0therwise" not in printed + errors
    assert ACCOUNT.key not in printed + errors


def test_an_archive_that_answers_with_a_web_page_ends_the_night_with_78(tmp_path, api, store):
    api.fail("landing", act=lambda handler: handler.send(200, b"<html>Please log in</html>"))
    status, _, errors = regrowth("run", "--as-of", NIGHT, config=installed(tmp_path / "programme", api, store))
    assert status == Exit.CONFIGURATION
    assert "is not JSON but a web page" in errors


def test_an_archive_that_allows_four_connections_gets_four_requests_at_one_time():
    (one,) = open_sources([SourceSettings(kind="stac", url="https://stac.dataspace.copernicus.eu/v1")]).all
    assert one._pool._max_workers == buckets.ACCOUNT_CONNECTIONS == 4
