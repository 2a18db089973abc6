"""Behind a proxy: every request of a source goes through it, and the address rules hold all the same."""

from datetime import date

import pytest
from shapely.geometry import box

from monitor.errors import BadConfiguration, TryLater
from monitor.imagery.addresses import AllowList
from monitor.imagery.fetch_errors import FetchRefused
from monitor.imagery.stac.source import Stac
from monitor.imagery.transport import Fetcher
from tests.loopback.proxy import Proxy
from tests.loopback.stac import Clock, StacServer, sentinel_item

AREA, DAYS = box(106.14, 37.9, 106.16, 37.93), (date(2020, 1, 1), date(2020, 12, 31))
NAME = "S2A_MSIL2A_20200103T035141_N0213_R104_T48SUF_20200103T064512"


@pytest.fixture
def server(tmp_path):
    (tmp_path / "data").write_bytes(b"0123456789" * 40)
    with StacServer(tmp_path) as running:
        yield running


@pytest.fixture
def through(monkeypatch):
    """Name a proxy in the environment, in small letters or capitals."""

    def named(address, *, https=None, no_proxy=""):
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("http_proxy", address)
        monkeypatch.setenv("HTTPS_PROXY", https or address)
        monkeypatch.setenv("NO_PROXY", no_proxy)

    return named


def get(url, *allowed, clock=None):
    clock = clock or Clock()
    web = Fetcher(AllowList.parse(allowed), sleep=clock.sleep, clock=clock)
    return web.get(url, max_bytes=1 << 20)


def test_every_request_of_a_catalogue_goes_through_the_proxy(server, tmp_path, through):
    server.items.append(sentinel_item(tmp_path, NAME, href=server.file))
    with Proxy() as proxy:
        through(proxy.url)
        source = Stac(server.url, collections=["sentinel-2-l2a"], fetcher=Fetcher(AllowList.parse([server.host])))
        found = source.search(AREA, *DAYS)
        assert found
    assert len(proxy.requests) == sum(server.counts.values()) > 0
    assert all(server.url in request for request in proxy.requests)


def test_a_host_that_only_the_proxy_can_look_up_is_fetched(server, through):
    with Proxy(names={"archive.example": server.host}) as proxy:
        through(proxy.url)
        assert get("http://archive.example/files/data").body == b"0123456789" * 40
    assert proxy.requests == ["GET http://archive.example/files/data"]


@pytest.mark.parametrize("host", [
    "127.0.0.1", "10.1.2.3", "169.254.169.254", "[::1]", "localhost", "intranet", "files.corp", "nas.local",
    "db.internal",
])  # fmt: skip
def test_a_private_target_is_refused_and_the_proxy_hears_nothing(host, through):
    with Proxy() as proxy:
        through(proxy.url)
        with pytest.raises(FetchRefused, match="which is refused"):
            get(f"http://{host}/a")
    assert proxy.requests == []


def test_a_redirect_through_the_proxy_is_held_to_the_same_rules(server, through):
    with Proxy() as proxy:
        through(proxy.url)
        server.fail("file", status=302, headers={"Location": "http://10.1.2.3/a"})
        with pytest.raises(FetchRefused, match=r"10\.1\.2\.3"):
            get(f"{server.url}/files/data", server.host)
    assert len(proxy.requests) == 1


def test_a_host_of_no_proxy_is_reached_directly(server, through):
    with Proxy() as proxy:
        through(proxy.url, no_proxy="example.org, 127.0.0.1")
        assert get(f"{server.url}/files/data", server.host).status == 200
    assert proxy.requests == []


def test_by_https_the_proxy_gets_the_name_of_the_host_only(through):
    with Proxy() as proxy:
        through(proxy.url)
        with pytest.raises(TryLater, match="the proxy of the environment gives no answer, or refuses"):
            get("https://archive.example/a.tif?signature=secret")
    assert set(proxy.requests) == {"CONNECT archive.example:443"}


def test_a_login_is_sent_to_the_proxy_and_shown_nowhere(server, through):
    with Proxy() as proxy:
        through(proxy.url.replace("://", "://me:secret@"))
        assert get(f"{server.url}/files/data", server.host).status == 200
        assert proxy.logins == ["Basic bWU6c2VjcmV0"]
    with pytest.raises(TryLater) as error:  # the proxy is gone
        get(f"{server.url}/files/data", server.host)
    assert "the proxy of the environment" in str(error.value)
    assert "secret" not in str(error.value)


def test_a_proxy_that_answers_with_a_page_of_its_own_is_named_as_a_wrong_answer(server, through):
    with Proxy(answer=(200, b"<html>Please log in</html>")) as proxy:
        through(proxy.url)
        with pytest.raises(BadConfiguration, match=r"is not JSON but a web page: .*a proxy answers itself"):
            Stac(server.url, collections=["sentinel-2-l2a"], fetcher=Fetcher(AllowList.parse([server.host]))).search(
                AREA, *DAYS
            )


def test_a_proxy_of_another_kind_is_refused_in_words(server, through):
    through("socks5://me:secret@127.0.0.1:9")
    with pytest.raises(BadConfiguration, match="HTTP_PROXY") as error:
        get(f"{server.url}/files/data", server.host)
    assert "secret" not in str(error.value)
