"""Nothing a catalogue writes makes the monitor reach where it should not, wait for ever or reveal a secret."""

import gzip
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import structlog

from monitor.errors import BadConfiguration, TryLater
from monitor.imagery import transport
from monitor.imagery.addresses import AllowList, display_address, join_address, parse_url
from monitor.imagery.byte_ranges import RemoteFile
from monitor.imagery.earthengine.transport import ClientTransport
from monitor.imagery.fetch_errors import AccessDenied, FetchRefused, NoAnswer, NotFound, RequestRejected, TooLarge
from monitor.imagery.transport import Fetcher
from tests.loopback.stac import Clock, StacServer


@pytest.fixture
def server(tmp_path):
    (tmp_path / "data").write_bytes(bytes(range(256)) * 40)
    with StacServer(tmp_path) as running:
        yield running


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def web(server, clock):
    return Fetcher(AllowList.parse([server.host]), sleep=clock.sleep, clock=clock)


def get(web, server, path="/files/data", **more):
    return web.get(f"{server.url}{path}", max_bytes=1 << 20, **more)


def not_got(error, web, server, path="/files/data", match=None, **more):
    """A request that fails; returns how."""
    with pytest.raises(error, match=match) as failed:
        get(web, server, path, **more)
    return failed.value


@pytest.mark.parametrize("url", [
    "http://127.0.0.1/a", "http://localhost/a", "http://[::1]/a", "http://10.1.2.3/a", "http://192.168.0.1/a",
    "http://172.16.0.1/a", "http://169.254.169.254/latest/meta-data", "http://0.0.0.0/a", "http://100.64.0.1/a",
    "http://[fe80::1]/a", "http://[fd00::1]/a", "http://[::ffff:127.0.0.1]/a", "http://[::ffff:169.254.169.254]/a",
    "http://[2002:7f00:1::]/a", "http://[64:ff9b::7f00:1]/a", "http://224.0.0.1/a", "http://2130706433/a",
    "http://0x7f.1/a", "http://017700000001/a", "http://127.1/a", "http://\u2460\u2461\u2466.0.0.1/a",
    "http://[::]/a", "http://[fec0::1]/a", "http://[::127.0.0.1]/a", "http://[::ffff:0:7f00:1]/a",
    "http://192.88.99.1/a", "http://[64:ff9b:1::7f00:1]/a", "http://[2001:0:7f00:1::80ff:fffe]/a",
    "http://[2002:5db8:d822::1]/a", "http://[fe80::1%lo]/a", "http://[ff02::1]/a", "http://[3fff::1]/a",
    "http://192.0.0.9/a", "http://198.18.0.1/a", "http://240.0.0.1/a", "http://255.255.255.255/a",
])  # fmt: skip
def test_private_and_local_addresses_are_refused_however_they_are_spelled(url):
    with pytest.raises(FetchRefused, match="private, local or reserved"):
        Fetcher(AllowList()).get(url, max_bytes=10)


@pytest.mark.parametrize("host", [
    "169.254.169.254", "[fd00:ec2::254]", "[fe80::1]", "100.100.100.200", "[::ffff:169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]", "10.1.2.3",
])  # fmt: skip
def test_an_address_of_credentials_is_never_advised_to_be_allowed(host):
    with pytest.raises(FetchRefused) as refused:
        Fetcher(AllowList()).get(f"http://{host}/latest", max_bytes=10)
    assert ("allow_hosts" in str(refused.value)) == (host == "10.1.2.3")


@pytest.mark.parametrize("url", [
    "file:///etc/passwd", "ftp://example.org/a", "gopher://example.org", "/vsicurl/http://127.0.0.1/a",
    "https://", "http://user:word@example.org/a", "http://example.org:99999/a", "data:text/plain,x", "jar:file:///x",
])  # fmt: skip
def test_only_https_and_http_without_a_user_are_fetched(url):
    with pytest.raises(FetchRefused):
        Fetcher(AllowList.parse(["example.org"])).get(url, max_bytes=10)


def test_a_name_that_leads_to_a_private_address_is_refused_before_anything_is_sent(server, monkeypatch):
    answers = [[(socket.AF_INET, socket.SOCK_STREAM, 6, "", (place, 80))] for place in ("93.184.216.34", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers[0] + answers[1])
    with pytest.raises(FetchRefused, match="private"):
        Fetcher(AllowList()).get(f"http://innocent.example:{server.host.rpartition(':')[2]}/files/data", max_bytes=10)
    assert not server.requests


def test_a_connection_goes_to_the_address_that_was_checked(server, monkeypatch):
    port = int(server.host.rpartition(":")[2])
    hosts = []

    def once(host, *_, **__):
        hosts.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    web = Fetcher(AllowList.parse(["named.example"]))
    with monkeypatch.context() as patch:
        patch.setattr(transport.socket, "getaddrinfo", once)
        web._pool(parse_url(f"http://named.example:{port}/files/data"))
    assert hosts == ["named.example"]
    assert web.get(f"http://named.example:{port}/files/data", max_bytes=1 << 20).status == 200
    assert server.requests[-1][2]["Host"] == f"named.example:{port}"


@pytest.mark.parametrize("target", [
    "http://169.254.169.254/latest/meta-data", "file:///etc/passwd", "http://10.0.0.1/", "ftp://x/",
])  # fmt: skip
def test_a_redirect_is_held_to_the_same_rules(web, server, target):
    server.fail("file", status=302, headers={"Location": target})
    not_got(FetchRefused, web, server)
    assert server.counts["file"] == 1


def test_a_redirect_within_what_is_allowed_is_followed_and_a_circle_is_left(web, server):
    server.fail("file", status=307, headers={"Location": "/files/data"}, times=2)
    assert len(get(web, server).body) == 10_240
    server.fail("file", status=302, headers={"Location": "/files/data"})
    not_got(FetchRefused, web, server, match="redirects more than")


def test_https_is_not_left_for_http():
    with pytest.raises(FetchRefused, match="not https"):
        transport._redirect_target("https://a.example/x", "http://a.example/x")


def test_a_host_is_allowed_on_its_port_only_if_one_is_named(server):
    other = Fetcher(AllowList.parse(["127.0.0.1:1"]))
    with pytest.raises(FetchRefused):
        other.get(f"{server.url}/files/data", max_bytes=1 << 20)
    assert Fetcher(AllowList.parse(["127.0.0.1"])).get(f"{server.url}/files/data", max_bytes=1 << 20).status == 200


def test_500_three_times_then_200_is_a_success_with_the_retries_counted(web, server, clock):
    server.fail("file", status=500, times=3)
    assert get(web, server).status == 200
    assert web.transfers.retries == 3
    assert clock.waits == [0.5, 1.0, 2.0]


@pytest.mark.parametrize("spelled", ["seconds", "date"])
def test_retry_after_is_waited_for_within_the_budget(web, server, clock, spelled):
    after = "30" if spelled == "seconds" else format_datetime(datetime.now(UTC) + timedelta(seconds=31))
    server.fail("file", status=429, headers={"Retry-After": after}, times=1)
    assert get(web, server).status == 200
    assert 15 <= clock.waits[0] <= 31  # a busy machine asks later


def test_a_longer_wait_than_the_budget_is_not_begun(web, server, clock):
    server.fail("file", status=503, headers={"Retry-After": "3600"})
    not_got(TryLater, web, server, match="3600 s")
    assert clock.waits == []


def test_a_server_that_stays_down_is_left_within_the_budget(web, server, clock):
    server.fail("file", status=503)
    not_got(TryLater, web, server)
    assert clock.now <= transport.REQUEST_BUDGET


def test_a_server_that_was_down_is_left_alone_for_a_while_and_then_tried_again(web, server, clock):
    server.fail("file", status=503, times=100)
    not_got(TryLater, web, server)
    requests = server.counts["file"]
    not_got(TryLater, web, server, match="a short while ago")
    assert server.counts["file"] == requests
    server.faults.clear()
    clock.now += transport.BLOCKED_FOR
    assert get(web, server).status == 200


def test_a_server_that_is_not_there_is_down(clock):
    with pytest.raises(TryLater):
        Fetcher(AllowList.parse(["127.0.0.1"]), sleep=clock.sleep, clock=clock).get("http://127.0.0.1:1/", max_bytes=10)


@pytest.mark.parametrize(("status", "kind"), [
    (401, AccessDenied), (403, AccessDenied), (404, NotFound), (410, NotFound), (400, RequestRejected),
    (416, RequestRejected), (405, RequestRejected),
])  # fmt: skip
def test_an_answer_that_will_not_change_is_not_requested_again(web, server, clock, status, kind):
    server.fail("file", status=status)
    not_got(kind, web, server)
    assert server.counts["file"] == 1
    assert clock.waits == []


def test_a_body_beyond_the_cap_is_left(web, server):
    with pytest.raises(TooLarge):
        web.get(f"{server.url}/files/data", max_bytes=1000)


def endless(handler):
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b"x" * 65536)
    finally:
        handler.close_connection = True


def test_an_endless_body_without_a_length_is_left(web, server):
    server.fail("file", act=endless)
    not_got(TooLarge, web, server)


def test_a_small_body_that_unpacks_to_a_huge_one_is_left(web, server):
    bomb = gzip.compress(b"\0" * (64 << 20))

    def act(handler):
        handler.send(200, bomb, headers={"Content-Encoding": "gzip"})

    server.fail("file", act=act)
    not_got(TooLarge, web, server)


SLOWLY = {
    "the status line": (b"HTTP/1.", b"1"),
    "a header": (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"a"),
    "interim answers without end": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "the body": (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"x"),
    "the length of a chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0"),
    "a redirect to itself": (b"HTTP/1.1 302 Found\r\nLocation: /\r\nX-Slow: ", b"a"),
}


@contextmanager
def dripping(first, then, *, seconds=0.05, longest=8.0):
    """Address of a server that sends some bytes at once, and then others again and again."""
    over = threading.Event()

    def answer(connection):
        with connection, suppress(OSError):
            connection.recv(65536)
            connection.sendall(first)
            ends = time.monotonic() + longest
            while not over.is_set() and time.monotonic() < ends:
                connection.sendall(then)
                time.sleep(seconds)

    def serve(listening):
        with suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listening.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            over.set()


@pytest.mark.parametrize("how", SLOWLY)
def test_a_server_that_sends_a_byte_at_a_time_is_left_at_the_deadline_whatever_it_is_sending(how):
    with dripping(*SLOWLY[how]) as host:
        begun = time.monotonic()
        with pytest.raises(TryLater, match="too slowly"):
            Fetcher(AllowList.parse([host]), budget=0.6).get(f"http://{host}/", max_bytes=1 << 30)
        assert time.monotonic() - begun < 4


@pytest.mark.parametrize("how", SLOWLY)
def test_earth_engine_is_left_at_the_deadline_too(how):
    with dripping(*SLOWLY[how]) as host:
        begun = time.monotonic()
        with pytest.raises(TimeoutError, match=r"no complete answer within 0\.6 s"):
            ClientTransport(in_flight=1, deadline=0.6).request(f"http://{host}/")
        assert time.monotonic() - begun < 4


def test_a_server_that_does_not_finish_to_encrypt_is_left_at_the_deadline():
    with dripping(b"\x16\x03\x03\x40\x00", b"\x02") as host:
        begun = time.monotonic()
        with pytest.raises(TryLater):
            Fetcher(AllowList.parse([host]), budget=0.6).get(f"https://{host}/", max_bytes=1 << 30)
        with pytest.raises(TimeoutError):
            ClientTransport(in_flight=1, deadline=0.6).request(f"https://{host}/")
        assert time.monotonic() - begun < 6


def test_redirects_share_one_deadline(server):
    def act(handler):
        time.sleep(0.5)
        handler.send(302, b"", headers={"Location": "/files/data"})

    server.fail("file", act=act)
    with pytest.raises(TryLater):  # and not refused for the number of its redirects, after 3 s
        Fetcher(AllowList.parse([server.host]), budget=1.2).get(f"{server.url}/files/data", max_bytes=10)


def test_a_connection_that_was_slow_once_serves_the_next_request_of_another_deadline(server):
    web = Fetcher(AllowList.parse([server.host]), budget=60.0)
    for _ in range(3):
        assert len(web.get(f"{server.url}/files/data", max_bytes=1 << 20).body) == 10_240
    (pool,) = web._pools.values()
    assert pool.num_connections == 1


def test_a_host_that_gives_no_answer_for_three_addresses_in_a_row_is_down_and_for_two_it_is_not(web, server, clock):
    server.fail("file", status=500)
    for name in ("a", "b"):
        not_got(NoAnswer, web, server, f"/files/{name}")
    assert clock.now <= transport.REQUEST_BUDGET + transport.SHORT_BUDGET
    not_got(NoAnswer, web, server, "/files/a", match="a short while ago")
    down = not_got(TryLater, web, server, "/files/c")
    assert not isinstance(down, NoAnswer)
    server.faults.clear()
    requests = server.counts["file"]
    not_got(TryLater, web, server, match="a short while ago")
    assert server.counts["file"] == requests


def test_what_a_host_gives_in_between_shows_that_it_is_not_down(web, server):
    for name in "abcdef":
        server.fail("file", status=500, match=f"/files/{name}.tif")
        not_got(NoAnswer, web, server, f"/files/{name}.tif")
        assert get(web, server).status == 200


def test_files_of_one_scene_count_once_and_a_host_that_takes_no_connection_is_down_at_once(web, server, clock):
    server.fail("file", status=500)
    scene = threading.Event()
    for name in "abcdef":
        not_got(NoAnswer, web, server, f"/files/{name}", cancelled=scene)
    with pytest.raises(TryLater) as down:
        Fetcher(AllowList.parse(["127.0.0.1"]), sleep=clock.sleep, clock=clock).get("http://127.0.0.1:1/", max_bytes=10)
    assert not isinstance(down.value, NoAnswer)


def test_a_host_that_redirects_one_address_to_a_dead_host_is_not_down(web, server):
    dead = {"status": 302, "headers": {"Location": "http://127.0.0.1:1/data"}}
    server.fail("file", match="/files/gone", **dead)
    web.allowed = AllowList.parse(["127.0.0.1"])
    for expected in (r"it redirects to 127\.0\.0\.1:1", "a short while ago"):
        not_got(NoAnswer, web, server, "/files/gone", match=expected)
    assert get(web, server).status == 200


def test_a_body_cut_short_again_and_again_is_broken_not_down(web, server, clock):
    def act(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"x" * 10)
        handler.close_connection = True

    server.fail("file", act=act)
    not_got(FetchRefused, web, server, match="ends before")
    assert server.counts["file"] == transport.MAX_TRUNCATIONS


def test_ranges_give_what_is_there_and_fewer_at_the_end(web, server):
    file = RemoteFile(web, f"{server.url}/files/data")
    assert file.read(256, 4) == bytes([0, 1, 2, 3])
    assert file.read(10_238, 100) == bytes([254, 255])
    assert file.read(20_000, 5) == b""


@pytest.mark.parametrize("content_range", ["bytes 0-3/10240", "bytes 256-300/10240", "", "nonsense"])
def test_a_range_that_was_not_requested_is_refused(web, server, content_range):
    server.fail("file", act=lambda handler: handler.send(206, b"abcd", headers={"Content-Range": content_range}))
    with pytest.raises(FetchRefused, match="another range"):
        RemoteFile(web, f"{server.url}/files/data").read(256, 4)


def test_a_file_that_changes_while_it_is_read_is_refused(web, server):
    file = RemoteFile(web, f"{server.url}/files/data")
    file.read(0, 4)
    (server.folder / "data").write_bytes(b"shorter now")
    with pytest.raises(FetchRefused, match="changed"):
        file.read(4, 4)


def test_a_signature_that_expires_during_many_requests_of_ranges_is_renewed_once(web, server):
    server.token = "new"
    renewals, together = [], threading.Barrier(8)

    def renewed():
        renewals.append(1)
        return f"{server.url}/files/data?sig=new"

    ranges = RemoteFile(web, f"{server.url}/files/data?sig=old", renewed)

    def read(n):
        together.wait()
        return ranges.read(256 * n, 256)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(read, range(8))) == {bytes(range(256))}
    server.token = "newer still"
    with pytest.raises(AccessDenied):
        ranges.read(1, 2)
    assert renewals == [1]


def test_no_message_or_log_shows_a_signature(web, server, clock, capsys):
    secret = "sig=c2VjcmV0LXNpZ25hdHVyZQ"
    errors = []
    with structlog.testing.capture_logs() as logs:
        for status in (401, 403, 404, 400, 503):
            server.faults.clear()
            server.fail("file", status=status)
            for url in (f"{server.url}/files/data?{secret}", f"http://127.0.0.1:1/a?{secret}"):
                try:
                    web.get(url, max_bytes=10)
                except Exception as error:  # noqa: BLE001 - whatever is raised must not reveal it
                    errors.append(f"{error!r} {error.__cause__!r}")
    assert len(errors) == 10
    assert secret not in json.dumps(errors) + json.dumps(logs, default=repr) + "".join(capsys.readouterr())


def test_what_is_shown_holds_no_query_user_or_control_character():
    assert display_address("https://u:p@h/a\r\nb.tif?x=1#y") == "https://h/ab.tif"
    assert len(display_address("https://h/" + "a" * 1000)) < 200


def test_local_files_are_read_below_named_folders_only(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (inside / "a.json").write_text("{}")
    (outside / "b.json").write_text("{}")
    (inside / "link.json").symlink_to(outside / "b.json")
    web = Fetcher(AllowList.parse([str(inside)]))
    assert web.file(str(inside / "a.json")).name == "a.json"
    assert web.file(f"file://{inside}/a.json").name == "a.json"
    for path in (outside / "b.json", inside / ".." / "out" / "b.json", inside / "link.json", Path("/etc/passwd")):
        with pytest.raises(FetchRefused, match="allow_hosts"):
            web.file(str(path))
        for _ in range(2):
            with pytest.raises(FetchRefused, match="allow_hosts"):
                web.check(str(path))
    web.check(str(inside / "a.json"))
    (outside / "back.json").symlink_to(inside / "a.json")
    web.check(str(outside / "back.json"))
    for path in (outside / "b.json", inside / "link.json", f"file://{inside}/..", f"file://{inside}/%2e%2e"):
        with pytest.raises(FetchRefused, match="allow_hosts"):
            web.check(str(path))
    with pytest.raises(FetchRefused, match="plain file"):
        web.file(str(inside))
    with pytest.raises(NotFound):
        web.file(str(inside / "none.json"))


@pytest.mark.parametrize("name", ["http://127.0.0.1:80", "a b", "", "host:name", "http://x"])
def test_allow_hosts_takes_hosts_and_folders_only(name):
    with pytest.raises(BadConfiguration, match="allow_hosts"):
        AllowList.parse([name])


@pytest.mark.parametrize(("base", "reference", "expected"), [
    ("https://h/a/b.json", "c/d.tif", "https://h/a/c/d.tif"), ("https://h/a/b.json", "/d.tif", "https://h/d.tif"),
    ("https://h/a/b.json", "https://o/d.tif", "https://o/d.tif"), ("/x/b.json", "./c.tif", "/x/c.tif"),
    ("/x/b.json", "/y/c.tif", "/y/c.tif"), ("file:///x/b.json", "c.tif", "/x/c.tif"),
    ("https://h/a/b.json", "file:///etc/passwd", "file:///etc/passwd"),
    ("https://h/a/b.json", "//169.254.169.254/x", "https://169.254.169.254/x"),
])  # fmt: skip
def test_relative_addresses_count_from_where_they_are_written(base, reference, expected):
    assert str(Path(join_address(base, reference))) == str(Path(expected))
