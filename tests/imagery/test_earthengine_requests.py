"""What Earth Engine's refusals mean, and how long they are waited for: the unpatched client on loopback."""

import json
import os
import re
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path

import ee
import numpy as np
import pytest
from affine import Affine
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from shapely.geometry import box

from monitor.errors import BadConfiguration, TryLater
from monitor.imagery.earthengine import connection, transport
from monitor.imagery.earthengine.connection import connect
from monitor.imagery.earthengine.source import EarthEngine
from monitor.imagery.transport import retry_after
from monitor.sites.projection import lonlat
from tests.loopback.earthengine import SENTINEL2, EarthEngineServer, add_sentinel2

TOKEN = "ya29.a-token-that-nobody-may-see"
AREA = box(102.78, 37.90, 102.80, 37.92)
DAYS = (date(2020, 1, 1), date(2020, 1, 31))


def put_scene(server, *, day=3):
    fine, coarse = np.full((300, 300), 1000, np.uint16), np.full((150, 150), 1000, np.uint16)
    layers = {**dict.fromkeys(("blue", "green", "red", "nir"), fine), **dict.fromkeys(("swir16", "swir22"), coarse)}
    add_sentinel2(
        server, datetime(2020, 1, day, 3, 51, 41, tzinfo=UTC), layers, np.full((150, 150), 4, np.uint8),
        transform=Affine(10, 0, 304000, 0, -10, 4199000), score=np.ones((300, 300)),
    )  # fmt: skip


@pytest.fixture
def server():
    with EarthEngineServer(token=TOKEN) as server:
        put_scene(server)
        yield server


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    monkeypatch.setattr(connection, "FIRST_RETRY_PAUSE", 0.01)


def source(server, **how):
    settings = {"token": TOKEN, "allow_hosts": ["127.0.0.1"], "patience": 20.0, **how}
    return EarthEngine(connect(project="a-project", url=server.url, **settings), collections=(SENTINEL2,))


def not_found(monitor, message=None, error=BadConfiguration):
    with pytest.raises(error, match=message) as caught:
        monitor.search(AREA, *DAYS)
    assert TOKEN not in str(caught.value)
    return caught


def test_a_search_starts_the_client_once_and_contacts_no_other_server(server, monkeypatch):
    def elsewhere():
        pytest.fail("the client opens an address of another host as it starts")

    monkeypatch.setattr(ee.deprecation, "_FetchDataCatalogStac", elsewhere)
    monitor = source(server)
    assert len(monitor.search(AREA, *DAYS)) == 1
    assert len(monitor.search(AREA, *DAYS)) == 1
    assert server.counts == {"discovery": 2, "algorithms": 1, "search": 2}
    assert monitor.connection.requests == {"start": 1, "search": 2}


def test_three_failures_and_an_answer_are_an_answer_and_the_retries_are_counted(server):
    monitor = source(server)
    server.fail("search", status=500, times=3)
    assert len(monitor.search(AREA, *DAYS)) == 1
    assert monitor.connection.requests["retry"] == 3
    assert server.counts["search"] == 4


@pytest.mark.parametrize("kind", ["discovery", "algorithms"])
def test_a_failure_while_the_client_starts_is_waited_for_too(server, kind):
    server.fail(kind, status=503, times=2)
    assert len(source(server).search(AREA, *DAYS)) == 1


def test_the_time_that_the_server_asks_to_wait_is_waited(server, monkeypatch):
    waited = []
    monkeypatch.setattr(connection.time, "sleep", waited.append)
    server.fail("search", status=429, retry_after=7, times=1)
    assert len(source(server).search(AREA, *DAYS)) == 1
    assert 7.0 in waited


def test_a_date_in_retry_after_counts_from_the_date_of_the_answer():
    headers = {"retry-after": "Wed, 21 Oct 2015 07:28:30 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}
    assert retry_after(headers) == 30.0
    assert retry_after({"retry-after": "soon"}) is None


def test_a_wait_beyond_the_patience_defers_at_once_and_later_searches_without_a_request(server):
    monitor = source(server)
    server.fail("search", status=429, retry_after=3600, times=9)
    not_found(monitor, "asks to wait 3600 s", TryLater)
    assert server.counts["search"] == 1
    not_found(monitor, "asks to wait 3600 s", TryLater)
    assert server.counts["search"] == 1


def test_a_server_that_is_down_defers(server):
    monitor = source(server, patience=0.2)
    monitor.search(AREA, *DAYS)
    server.fail("any", status=503, times=1000)
    not_found(monitor, "status 503", TryLater)
    assert monitor.connection.requests["retry"] >= 1


def test_nothing_listens_at_the_endpoint(server):
    with EarthEngineServer() as closed:
        url = closed.url
    monitor = EarthEngine(connect(project="p", url=url, token=TOKEN, allow_hosts=["127.0.0.1"], patience=0.1))
    not_found(monitor, "does not answer", TryLater)


@pytest.mark.parametrize(("how", "deadline", "message"), [
    ("slow", 0.5, "no complete answer within"), ("drip", 0.5, "no complete answer within"), ("cut", 60.0, "Incomplete"),
    ("huge", 60.0, "longer than 64 MiB"), ("truncated", 60.0, "no value"), ("nonsense", 60.0, "no value"),
])  # fmt: skip
def test_an_answer_that_takes_too_long_or_ends_early_or_never_is_not_waited_for(server, how, deadline, message):
    monitor = source(server, patience=0.001)
    monitor.search(AREA, *DAYS)  # the client starts, which may take longer
    monitor.connection._transport.timeout = deadline
    server.spoil("search", how, times=1, seconds=2.0 if how == "slow" else 0.05)
    not_found(monitor, message, TryLater)


def test_a_redirect_is_not_followed(server):
    monitor = source(server)
    monitor.search(AREA, *DAYS)
    server.spoil("search", "redirect")
    not_found(monitor)


def test_a_wrong_token_names_the_variable_and_stays_unseen(server):
    wrong = "ya29.another-token-that-nobody-may-see"
    caught = not_found(source(server, token=wrong), "REGROWTH_EE_TOKEN")
    assert wrong not in str(caught.value)
    assert "retry" not in source(server, token=wrong).connection.requests
    chain = caught.value.__cause__, caught.value.__suppress_context__
    assert chain == (None, True)


@pytest.mark.parametrize("token", ["ya29.one\r\nX-Other: two", "ya29.one two", "ya29.täken"])
def test_what_cannot_be_a_token_is_refused_at_once_and_stays_unseen(token):
    with pytest.raises(BadConfiguration, match="REGROWTH_EE_TOKEN is not a token") as refused:
        connect(project="p", token=token)
    assert "ya29" not in str(refused.value)


def test_a_token_that_the_server_repeats_is_taken_out_of_the_message(server):
    monitor = source(server)
    server.fail("search", status=403, message=f"the token {TOKEN} may not do that")
    not_found(monitor, r"the token \(token\) may not do that")


def test_no_log_shows_the_token(server, caplog):
    with caplog.at_level("DEBUG"):
        monitor = source(server)
        server.fail("search", status=500)
        monitor.search(AREA, *DAYS)
        not_found(source(server, token="ya29.another-token-that-nobody-may-see"))
    assert caplog.records
    assert "nobody-may-see" not in caplog.text


def test_a_password_of_netrc_never_replaces_the_token(server, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password hunter2-Canary\n", encoding="utf-8")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert len(source(server).search(AREA, *DAYS)) == 1


def test_a_proxy_of_the_environment_never_sees_the_token(server, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    assert len(source(server).search(AREA, *DAYS)) == 1  # by http: not through the proxy


def test_by_https_a_proxy_of_the_environment_gets_the_name_of_the_host_only(monkeypatch):
    sent = []

    def tunnel(proxy):
        client, _ = proxy.accept()
        with client:
            sent.append(client.recv(65536))
            client.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as proxy:
        thread = threading.Thread(target=tunnel, args=(proxy,))
        thread.start()
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.setenv("NO_PROXY", "")
        client = transport.ClientTransport(in_flight=1, deadline=10.0)
        with pytest.raises(ConnectionError):
            client.request("https://earthengine.example/v1?x=1", headers={"Authorization": f"Bearer {TOKEN}"})
        client.close()
        thread.join(10)
    (request,) = sent
    assert request.startswith(b"CONNECT earthengine.example:443 ")
    assert TOKEN.encode() not in request


def test_a_file_of_credentials_that_is_a_pipe_is_refused_and_not_waited_for(server, tmp_path):
    os.mkfifo(tmp_path / "key.json")
    not_found(source(server, token=None, key_file=tmp_path / "key.json"), "not a plain file")


def test_a_project_that_is_not_registered_is_named(server):
    server.fail("algorithms", status=403, message="Project 'a-project' is not registered to use Earth Engine.")
    not_found(source(server), r"'a-project' cannot be used.*register")


def test_a_refusal_for_the_rate_is_not_taken_for_wrong_credentials(server):
    monitor = source(server)
    server.fail("search", status=403, message="User Rate Limit Exceeded", times=2)
    assert len(monitor.search(AREA, *DAYS)) == 1
    assert monitor.connection.requests["retry"] == 2


def test_an_address_without_earth_engine_is_a_matter_of_the_configuration(server):
    server.fail("discovery", status=404)
    not_found(source(server), r"\[source\] url")


def test_without_credentials_the_command_that_gets_some_is_named(server, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    not_found(source(server, token=None), "Run: earthengine authenticate")
    assert server.counts == {}


@pytest.fixture
def key_file(server, tmp_path) -> Path:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = tmp_path / "key.json"
    content = {
        "type": "service_account", "project_id": "a-project", "private_key_id": "1", "private_key": pem.decode(),
        "client_email": "monitor@a-project.iam.gserviceaccount.com", "client_id": "1",
        "token_uri": f"{server.url}/token",
    }  # fmt: skip
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_the_key_of_a_service_account_gets_its_own_token(server, key_file):
    assert len(source(server, token=None, key_file=key_file).search(AREA, *DAYS)) == 1
    assert server.counts["token"] == 1


def test_a_withdrawn_key_is_named_by_its_file(server, key_file):
    server.fail("token", status=400, message="invalid_grant", times=5)
    caught = not_found(source(server, token=None, key_file=key_file), r"key\.json")
    assert "PRIVATE KEY" not in str(caught.value)
    assert server.counts["search"] == 0


@pytest.mark.parametrize("content", [None, "no json", "[]", "{}", '{"type": "service_account"}'])
def test_a_file_that_is_not_a_key_is_named_with_the_fix(server, tmp_path, content):
    path = tmp_path / "key.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    not_found(source(server, token=None, key_file=path), r"key\.json.*GOOGLE_APPLICATION_CREDENTIALS")


@pytest.mark.parametrize("url", [
    "http://127.0.0.1:8080", "https://127.0.0.1", "https://localhost", "https://[::1]", "https://10.0.0.5",
    "https://169.254.169.254", "http://example.com", "ftp://example.com", "https://user:word@example.com", "nothing",
])  # fmt: skip
def test_a_private_or_open_endpoint_is_refused_unless_its_host_is_named(url):
    with pytest.raises(BadConfiguration, match="url"):
        transport.checked_endpoint(url, [])


def test_a_named_host_is_let_in_by_name_or_by_name_and_port():
    assert transport.checked_endpoint("http://127.0.0.1:8080/", ["127.0.0.1"]) == "http://127.0.0.1:8080"
    assert transport.checked_endpoint("http://127.0.0.1:8080", ["127.0.0.1:8080"]) == "http://127.0.0.1:8080"
    with pytest.raises(BadConfiguration):
        transport.checked_endpoint("http://127.0.0.1:8080", ["127.0.0.2"])


def test_all_threads_together_keep_to_the_requests_in_flight(server):
    monitor = source(server, in_flight=3)
    monitor.search(AREA, *DAYS)
    server.forget()
    server.spoil("search", "slow", times=12, seconds=0.05)
    with ThreadPoolExecutor(12) as pool:
        assert len(list(pool.map(lambda _: monitor.search(AREA, *DAYS), range(12)))) == 12
    assert server.counts["search"] == 12
    assert 2 <= server.most_in_flight <= 3


def test_two_endpoints_in_one_process_take_turns_and_are_never_confused(server):
    with EarthEngineServer(token=TOKEN) as other:
        put_scene(other, day=20)

        def look(where):
            return {scene.time.day for _ in range(3) for scene in where.search(AREA, *DAYS)}

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(look, [source(server), source(other)] * 2)) == [{3}, {20}] * 2


def test_sources_of_one_endpoint_share_one_connection_and_its_limits(server):
    one, other = source(server), source(server)
    one.search(AREA, *DAYS)
    other.search(AREA, *DAYS)
    assert server.counts["discovery"] == 2
    assert other.connection.requests["search"] == 2


def test_every_computation_has_a_workload_tag_that_names_its_landscapes(server):
    monitor = source(server)
    scenes = monitor.search(AREA, *DAYS)
    grid = GeoBox((6, 6), Affine(10, 0, 305000, 0, -10, 4198000), "EPSG:32648")
    list(monitor.read(scenes, [grid]))
    list(monitor.reduce(scenes, [lonlat(box(305000, 4197900, 305060, 4198000), CRS("EPSG:32648"))], grid, ndvi_of))
    tags = {request.kind: request.body.get("workloadTag") for request in server.requests}
    place = "regrowth-32648-3-41"
    assert tags == {
        "discovery": None, "algorithms": None, "search": "regrowth", "pixels": place, "values": place,
    }  # fmt: skip
    assert all(re.fullmatch(r"[a-z0-9][-_a-z0-9]{0,61}[a-z0-9]", tag) for tag in tags.values() if tag)


def ndvi_of(image):
    near, red = image.select("nir"), image.select("red")
    return {"ndvi": near.subtract(red).divide(near.add(red)).rename("ndvi")}
