"""Where a run connects to: watched from outside its process, by every system call that names an address, and when the
name server changes its answer between two look-ups."""

import functools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from unittest.mock import Mock

import pytest

from jobs.reports.heartbeat import Heartbeat
from jobs.runtime.settings import HeartbeatSettings
from monitor.alerts.channels.channel import Message, NotDelivered
from monitor.alerts.channels.http_client import HttpClient
from monitor.alerts.channels.smtp import Smtp
from monitor.alerts.channels.webhook import Webhook
from monitor.errors import TryLater
from monitor.imagery.addresses import AllowList
from monitor.imagery.fetch_errors import FetchRefused
from monitor.imagery.transport import Fetcher
from tests.jobs.test_real_sources import TIMES, installed, item, offering
from tests.loopback.mail import MAIL_CHANNEL, MailServer
from tests.loopback.receivers import Hook
from tests.loopback.stac import StacServer

MESSAGE = Message(
    id="1" * 40, time=datetime(2026, 8, 20, tzinfo=UTC), language="en", subject="s", text="t", brief="b", links=""
)
CALLS = "connect,sendto,sendmsg,sendmmsg,bind,listen"
"""Every system call that takes an address to send to or to listen at."""
DEMO = """
from datetime import date
from jobs.install import demonstration
from jobs.cli import main
demonstration.FIRST_NIGHT = date(2020, 10, 28)
main(["demo", "--out", {out!r}])
"""


@functools.cache
def strace():
    """Path of strace; the test is skipped where it is missing or may not trace."""
    path = shutil.which("strace")
    if path is None:
        pytest.skip("strace is not installed (Debian: apt-get install strace)")
    tried = subprocess.run([path, "-o", os.devnull, "true"], capture_output=True, check=False, timeout=60)
    if tried.returncode:
        pytest.skip(f"strace may not trace processes here: {tried.stderr.decode(errors='replace').strip()[:200]}")
    return path


@dataclass
class Trace:
    status: int
    output: str
    peers: set[str]
    """Addresses that something was sent or connected to: ``host:port``, or the path of a local socket."""
    bound: set[str]  # addresses that sockets were given, apart from those that the kernel chose
    listeners: list[str]  # calls that wait for connections


def traced(arguments, folder, *, seconds=None):
    """Run a command under strace; after `seconds`, if given, it is stopped by SIGTERM."""
    log = folder / f"trace-{len(list(folder.glob('trace-*')))}"
    command = [strace(), "-f", "--seccomp-bpf", "-qq", "-s", "0", "-e", f"trace={CALLS}", "-o", str(log)]
    with subprocess.Popen(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    ) as process:
        try:
            output, _ = process.communicate(timeout=seconds or 300)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGTERM)
            output, _ = process.communicate(timeout=60)
    text = log.read_text("utf-8", "replace")
    bound = {address for address in _addresses(text, "bind") if not address.endswith(":0")}
    return Trace(
        process.returncode, output.decode(), _addresses(text, "connect|sendto|sendmsg|sendmmsg"), bound,
        re.findall(r"\blisten\(.*", text),
    )  # fmt: skip


def _addresses(text, calls):
    """Addresses in the arguments of some system calls."""
    peers = set()
    for call in re.findall(rf"\b(?:{calls})\((.*)", text):
        for family in re.findall(r"sa_family=(AF_\w+)", call):
            if family == "AF_UNIX":
                peers.add("unix:" + (re.findall(r'sun_path=@?"([^"]*)"', call) or ["?"])[0])
            elif family == "AF_INET":
                peers |= {
                    f"{host}:{port}"
                    for port, host in re.findall(r'sin_port=htons\((\d+)\), sin_addr=inet_addr\("([^"]+)"\)', call)
                }
            elif family == "AF_INET6":
                ports, hosts = re.findall(r"sin6_port=htons\((\d+)\)", call), re.findall(r'"([0-9a-f:.]+)"', call)
                peers |= {f"[{host}]:{port}" for port, host in zip(ports, hosts, strict=True)}
            elif family not in ("AF_NETLINK", "AF_UNSPEC"):  # the first asks the kernel, the second disconnects
                peers.add(call)
    return peers


LIBRARIES = r"""(?x)^\s*(?:import|from)\s+(?:socket|http\.client|urllib\.request|urllib3|requests|smtplib|httplib2|ee|
google|googleapiclient|apprise|distributed|aiohttp|ftplib|fsspec)\b"""
"""Lines that import what can open a connection."""


def test_only_sources_channels_buckets_the_scheduler_and_the_answer_pages_import_what_can_open_a_connection(root):
    paths = [path for part in ("monitor", "jobs") for path in (root / part).rglob("*.py")]
    users = {
        str(path.relative_to(root)) for path in paths if re.search(LIBRARIES, path.read_text("utf-8"), re.MULTILINE)
    }
    elsewhere = {name for name in users if not name.startswith(("monitor/imagery/", "monitor/alerts/channels/"))}
    assert elsewhere == {"jobs/runtime/executor.py", "jobs/answers/serve.py", "monitor/cube/bucket.py"}


PUBLIC, PRIVATE = "93.184.216.34", "127.0.0.1"


def fetch(host):
    with pytest.raises((FetchRefused, TryLater)):
        Fetcher(AllowList(), budget=2.0, sleep=lambda _: None).get(f"http://{host}:9/a.tif", max_bytes=10)


def post(host):
    with pytest.raises(NotDelivered):
        Webhook(HttpClient(section="[channels.ops]"), url=f"http://{host}:9/hook", secret=None).send(MESSAGE, "")


def mail(host):
    with pytest.raises(NotDelivered):
        Smtp(host=host, port=9, starttls=False, sender="a@example.org").send(MESSAGE, "b@example.org")


def beat(host):
    heart = Heartbeat(HeartbeatSettings(url=f"http://{host}:9/id"))
    heart.start()
    heart.end(0)


@pytest.mark.parametrize("send", [fetch, post, mail, beat])
def test_no_connection_follows_a_name_that_resolves_elsewhere_at_the_second_look_up(send, monkeypatch):
    answers, connected = [PUBLIC], []

    def look_up(host, port, *_, **__):
        ip = host if host[0].isdigit() else answers.pop(0) if answers else PRIVATE
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port))]

    def connect(_socket, address):
        connected.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(socket.socket, "connect", connect)
    send("rebound.example")
    assert connected == [PUBLIC]


@pytest.mark.parametrize("send", [fetch, post, beat])
@pytest.mark.parametrize(
    "ip",
    ["169.254.169.254", "100.100.100.200", "fd00:ec2::254", "fe80::1%lo", "::ffff:10.0.0.1", "64:ff9b::a00:1",
     "2002:a00:1::", "fec0::1"],
)  # fmt: skip
def test_a_host_name_with_a_private_address_is_not_connected_to(ip, send, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(0, 0, 6, "", (PUBLIC, 9)), (0, 0, 6, "", (ip, 9))])
    monkeypatch.setattr(socket.socket, "connect", Mock(side_effect=AssertionError("it was connected to")))
    for host in ("metadata.google.internal", "innocent.example.", "2852039166"):
        send(host)


def regrowth(*arguments):
    return [sys.executable, "-m", "jobs.cli", *map(str, arguments)]


@pytest.fixture
def everything(tmp_path):
    """An installation with a catalogue, both kinds of channels and a heartbeat on loopback; yields it and its hosts."""
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    for when in TIMES[-6:]:
        one = item(scenes, when, lambda path: str(path.relative_to(scenes)))
        (scenes / f"{one['id']}.json").write_text(json.dumps(one), encoding="utf-8")
    with StacServer(scenes) as catalogue, MailServer() as mail, Hook(secret=None) as hook:
        config = installed(tmp_path / "installed", offering(catalogue, scenes))
        with config.open("a", encoding="utf-8") as file:
            file.write(f"""{MAIL_CHANNEL.format(port=mail.port)}
[channels.hook]
kind = "webhook"
url = "{hook.url}"
allow_hosts = ["{hook.host}"]
[operators]
channels = ["mail", "hook"]
email = "operators@example.org"
[heartbeat]
url = "{hook.url}"
allow_hosts = ["{hook.host}"]
""")
        yield config, {"catalogue": catalogue.host, "mail": f"127.0.0.1:{mail.port}", "hook": hook.host}


@pytest.mark.parametrize("scheduler", ["", pytest.param("processes", marks=pytest.mark.slow)])
def test_a_night_connects_to_configured_hosts_only_and_waits_for_no_connection(scheduler, everything, tmp_path):
    config, hosts = everything
    with config.open("a", encoding="utf-8") as file:
        file.write(f'[engine]\nscheduler = "{scheduler}"\n')
    night = traced(regrowth("run", "--config", config, "--as-of", "2020-10-31"), tmp_path)
    assert night.status == 0, night.output
    assert night.peers == {hosts["catalogue"], hosts["hook"]}
    assert night.listeners == []
    messages = traced(regrowth("notify", "test", "--config", config), tmp_path)
    assert messages.status == 0, messages.output
    assert messages.peers == {hosts["mail"], hosts["hook"]}
    assert messages.listeners == []


@pytest.mark.slow
def test_the_demonstration_connects_to_nothing(tmp_path):
    pytest.importorskip("nrt.data", reason="the sample imagery is in the extra 'demo'")
    demo = traced([sys.executable, "-c", DEMO.format(out=str(tmp_path / "demo"))], tmp_path)
    assert demo.status == 0, demo.output
    assert "10 of 10" in demo.output
    assert demo.peers == set()
    assert demo.listeners == []


@pytest.mark.slow
def test_other_commands_connect_to_nothing_or_to_the_catalogue_on_request(everything, tmp_path, monkeypatch):
    config, hosts = everything
    assert traced(regrowth("run", "--config", config, "--as-of", "2020-10-31"), tmp_path).status == 0
    assert traced(regrowth("keys", "new", tmp_path / "keys"), tmp_path).peers == set()
    monkeypatch.setenv("REGROWTH_EVIDENCE_KEY_FILE", str(tmp_path / "keys" / "signing.key"))
    monkeypatch.setenv("REGROWTH_ANSWER_KEY", "a key of at least 32 characters, as is wanted")
    settings = ("--config", config)
    pack, cube = tmp_path / "pack.zip", tmp_path / "cube.nc"
    for peers, command in (
        (set(), ("doctor", "--deep", *settings)),
        ({hosts["catalogue"]}, ("doctor", "--online", *settings)),
        (set(), ("publish", *settings)),
        (set(), ("status", *settings)),
        (set(), ("explain", "s0", *settings)),
        (set(), ("programme", *settings)),
        (set(), ("export", "s0", cube, *settings)),
        (set(), ("trends", cube, tmp_path / "trends.nc", "--variable", "ndvi")),
        (set(), ("evidence", "s0", "--out", pack, *settings)),
        (set(), ("verify", pack, "--key", tmp_path / "keys" / "signing.pub")),
        (set(), ("recompute", pack, "--key", tmp_path / "keys" / "signing.pub")),
        (set(), ("backup", tmp_path / "backup", *settings)),
    ):
        done = traced(regrowth(*command), tmp_path)
        assert "Traceback" not in done.output
        status = 78 if command[0] == "doctor" else 0  # its newest scene is of 2020: stale
        assert (command[0], done.status, done.peers, done.listeners) == (command[0], status, peers, []), done.output


@pytest.mark.slow
def test_the_answer_pages_are_served_on_loopback_only_and_connect_to_nothing(everything, tmp_path, monkeypatch):
    config, _ = everything
    assert traced(regrowth("run", "--config", config, "--as-of", "2020-10-31"), tmp_path).status == 0
    monkeypatch.setenv("REGROWTH_ANSWER_KEY", "a key of at least 32 characters, as is wanted")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    served = traced(regrowth("serve", "--port", port, "--config", config), tmp_path, seconds=15)
    assert served.peers == set(), served.output
    assert len({call.partition(",")[0] for call in served.listeners}) == 1  # of one socket
    assert served.bound == {f"127.0.0.1:{port}"}
