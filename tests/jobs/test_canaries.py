"""Secrets planted in every possible place appear in no output, whatever a command does and however it ends."""

import json
import logging
import secrets
import sys
import zipfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import pytest

from jobs.cli import main
from jobs.runtime import logs
from jobs.runtime.executor import open_executor
from jobs.runtime.exits import Exit
from tests.jobs.test_real_sources import TIMES, installed, item, offering
from tests.loopback import receivers
from tests.loopback.mail import MAIL_CHANNEL, MailServer
from tests.loopback.stac import StacServer

LIBRARIES = ("urllib3", "requests", "ee", "google", "googleapiclient", "google_auth_httplib2", "httplib2",
             "distributed", "sqlalchemy", "asyncio", "apprise", "dask")  # fmt: skip
"""Libraries whose logs are printed at DEBUG, as a notebook or a site's own set-up may have it."""


def canary():
    """A secret of letters and digits that is in no other text."""
    return f"Canary{secrets.token_hex(12)}"


@dataclass
class Planted:
    config: Path
    catalogue: StacServer
    receivers: dict[str, Any]
    canaries: dict[str, str]  # canaries by the place that holds them
    out: str = ""  # all that was written to stdout and stderr so far

    @property
    def text(self):
        """All canaries, as an error of a library may quote them."""
        known = [secret for place, secret in self.canaries.items() if place.startswith(("REGROWTH_", "P"))]
        return (
            f"asked https://me:{self.canaries['ledger url']}@host/a.tif?sig={self.canaries['asset']}&x=1 with "
            f"{known} and {{'private_key': '-----BEGIN PRIVATE KEY-----\\n{self.canaries['key file']}\\n'}}, "
            f"GET /{self.canaries['heartbeat']}/start"
        )


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Granules and items in a folder of files."""
    folder = tmp_path_factory.mktemp("scenes")
    for when in TIMES[-4:]:
        one = item(folder, when, lambda path: str(path.relative_to(folder)))
        (folder / f"{one['id']}.json").write_text(json.dumps(one), encoding="utf-8")
    return folder


@pytest.fixture
def planted(scenes, tmp_path, monkeypatch):
    found = {
        place: canary()
        for place in ("REGROWTH_CHANNEL_MAIL_PASSWORD", "REGROWTH_CHANNEL_WE_COM_TOKEN", "REGROWTH_CHANNEL_DING_TOKEN",
                      "REGROWTH_CHANNEL_DING_SECRET", "REGROWTH_CHANNEL_HOOK_SECRET", "REGROWTH_ANSWER_KEY",
                      "REGROWTH_EE_TOKEN", "REGROWTH_S3_KEY", "REGROWTH_S3_SECRET", "PGPASSWORD",
                      "PC_SDK_SUBSCRIPTION_KEY",
                      "REGROWTH_CHANNEL_APP_URL", "asset", "heartbeat", "key file",
                      "ledger url", "scheduler", "netrc", "proxy", "source url")
    }  # fmt: skip
    vault = tmp_path / "vault"
    vault.mkdir()
    in_files = ("REGROWTH_CHANNEL_DING_SECRET", "REGROWTH_CHANNEL_HOOK_SECRET", "REGROWTH_EE_TOKEN")
    for place, secret in found.items():
        if place in in_files:
            (vault / place).write_text(f"{secret}\n", encoding="utf-8")
            monkeypatch.setenv(f"{place}_FILE", str(vault / place))
        elif place.isupper() and place != "REGROWTH_CHANNEL_APP_URL":
            monkeypatch.setenv(place, secret)
    with pytest.raises(SystemExit):
        main(["keys", "new", str(vault / "keys")])
    found["REGROWTH_EVIDENCE_KEY"] = (vault / "keys" / "signing.key").read_text("ascii").splitlines()[1]
    monkeypatch.setenv("REGROWTH_EVIDENCE_KEY_FILE", str(vault / "keys" / "signing.key"))
    key = {"type": "service_account", "private_key": f"-----BEGIN PRIVATE KEY-----\n{found['key file']}\n"}
    (vault / "key.json").write_text(json.dumps(key), encoding="utf-8")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(vault / "key.json"))
    (vault / "netrc").write_text(f"machine 127.0.0.1 login me password {found['netrc']}\n", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(vault / "netrc"))
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{found['proxy']}@127.0.0.1:9")
    servers = {
        "mail": MailServer(user="me", password=found["REGROWTH_CHANNEL_MAIL_PASSWORD"]),
        "we-com": receivers.WeCom(token=found["REGROWTH_CHANNEL_WE_COM_TOKEN"]),
        "ding": receivers.DingTalk(
            token=found["REGROWTH_CHANNEL_DING_TOKEN"], secret=found["REGROWTH_CHANNEL_DING_SECRET"]
        ),
        "hook": receivers.Hook(secret=found["REGROWTH_CHANNEL_HOOK_SECRET"]),
        "app": receivers.Receiver(),
        "beat": receivers.Receiver(),
    }
    with ExitStack() as stack:
        for server in (catalogue := StacServer(scenes), *servers.values()):
            stack.enter_context(server)
        catalogue.token = found["asset"]
        table = offering(catalogue, scenes).replace(catalogue.url, f"{catalogue.url}/?key={found['source url']}")
        secret = found["REGROWTH_CHANNEL_APP_URL"]
        monkeypatch.setenv("REGROWTH_CHANNEL_APP_URL", f"json://me:{secret}@{servers['app'].host}/{secret}/")
        config = installed(tmp_path / "installed", table)
        lines = [
            f'[channels.{name}]\nkind = "{kind}"\nurl = "{servers[name].url}"\nallow_hosts = ["{servers[name].host}"]'
            for name, kind in {"we-com": "wecom", "ding": "dingtalk", "hook": "webhook"}.items()
        ]
        lines += [
            MAIL_CHANNEL.format(port=servers["mail"].port) + 'user = "me"',
            '[channels.app]\nkind = "apprise"',
            '[operators]\nchannels = ["mail", "we-com", "ding", "hook", "app"]\nemail = "operators@example.org"',
            f'[answers]\nbase_url = "https://answers.example"\n[heartbeat]\nurl = "{servers["beat"].url}'
            f'{found["heartbeat"]}"\nallow_hosts = ["127.0.0.1"]',
        ]
        with config.open("a", encoding="utf-8") as file:
            file.write("\n".join(lines))
        yield Planted(config, catalogue, servers, found)


@pytest.fixture(autouse=True)
def _debug(monkeypatch):
    """All libraries log at DEBUG to stderr, sqlalchemy its statements with their values."""
    handler = logging.StreamHandler()
    monkeypatch.setattr(handler, "emit", lambda record: sys.stderr.write(f"{handler.format(record)}\n"))
    levels = {library: library.level for library in map(logging.getLogger, LIBRARIES)}
    for library in levels:
        library.setLevel(logging.INFO if library.name == "sqlalchemy" else logging.DEBUG)
        monkeypatch.setattr(library, "handlers", [*library.handlers, handler])
    factory = logging.getLogRecordFactory()
    yield
    for library, level in levels.items():
        library.setLevel(level)
    logging.setLogRecordFactory(factory)


@pytest.fixture
def ran(planted, capfd, monkeypatch):
    """Run a command in this process, at a terminal or not; returns its exit status."""

    def run(*arguments, terminal=False):
        with monkeypatch.context() as patch:
            patch.setattr(type(sys.stderr), "isatty", lambda _: terminal, raising=False)
            with pytest.raises(SystemExit) as left:
                main([*map(str, arguments)])
        captured = capfd.readouterr()
        planted.out += captured.out + captured.err
        return left.value.code

    return run


def leaks(planted, *folders):
    """Places whose canary is in the outputs so far, where, and the text before it. A message holds its own ones."""
    content = {"output": planted.out.encode()}
    for name, server in planted.receivers.items():
        for number, one in enumerate(server.mails if name == "mail" else server.requests):
            content[f"{name} {number}"] = one.raw if name == "mail" else one.body
    for folder in (planted.config.parent, *folders):
        for path in folder.rglob("*"):
            if path.is_file() and path != planted.config:
                content[str(path)] = path.read_bytes()
                if path.suffix == ".zip":
                    with zipfile.ZipFile(path) as pack:
                        content |= {f"{path}/{name}": pack.read(name) for name in pack.namelist()}
    assert len(content) > 1
    return [
        (place, where, data.split(secret.encode())[0][-300:])
        for place, secret in planted.canaries.items()
        for where, data in content.items()
        if secret.encode() in data
    ]


def test_nights_and_commands_show_no_secret(planted, ran, tmp_path):
    settings = ("--config", planted.config)
    night = ("run", *settings, "--as-of", "2020-10-31")
    assert ran(*night, "--json") == Exit.DONE
    assert len(planted.catalogue.requests) > 8
    assert "sig=***" in planted.out  # libraries did log at DEBUG
    assert ran("notify", "test", *settings, terminal=True) == Exit.DONE
    assert all(server.mails if name == "mail" else server.requests for name, server in planted.receivers.items())
    planted.receivers["mail"].answer("RCPT", "550 no")
    assert ran("notify", "test", *settings) == Exit.SOME_FAILED
    for server in planted.receivers.values():
        server.answer("MAIL", "451 later") if isinstance(server, MailServer) else server.answer(500)
    assert ran("notify", "test", *settings) == Exit.ALL_FAILED
    planted.catalogue.fail("search", status=429, times=99, headers={"Retry-After": "1000"})
    assert ran(*night, terminal=True) == Exit.TRY_LATER
    planted.catalogue.faults.clear()
    planted.catalogue.fail("search", status=403, times=99)
    assert ran(*night) == Exit.CONFIGURATION
    planted.catalogue.faults.clear()
    assert ran("run", *settings, "--as-of", "yesterday") == Exit.USAGE
    assert ran("sites", "check", planted.config) == Exit.BAD_DATA
    for command in (
        ("status", "--json"), ("explain", "s0"), ("programme",), ("alerts", "outbox"), ("sites", "list"),
        ("evidence", "s0", "--out", tmp_path / "out" / "pack.zip"), ("backup", tmp_path / "out" / "backup"),
    ):  # fmt: skip
        assert ran(*command, *settings) == Exit.DONE, planted.out[-2000:]
    ran("doctor", "--json", *settings)
    ran("doctor", "--deep", *settings, terminal=True)
    assert (tmp_path / "out" / "backup" / "config" / "regrowth.toml").exists()
    assert leaks(planted, tmp_path / "out") == []


WRONG_SETTINGS = {
    '[ledger]\nurl = "postgresql+psycopg://me:{}@127.0.0.1:1/x"': Exit.TRY_LATER,
    '[ledger]\nurl = "postgresql+psycopg://127.0.0.1:1/x?password={}"': Exit.TRY_LATER,
    '[engine]\nscheduler = "tcp://me:{}@127.0.0.1:1"': Exit.CONFIGURATION,
    '[channels.x]\nkind = "webhook"\nurl = "https://me:{}@hook.example"': Exit.CONFIGURATION,
    '[channels.x]\nkind = "wecom"\ntoken = "{}"': Exit.CONFIGURATION,
    '[heartbeat]\nurl = "https://beat.example/?token={}"': Exit.CONFIGURATION,
    '[outputs]\nbase_url = "https://me:{}@pages.example"': Exit.CONFIGURATION,
    'secret = "{}': Exit.CONFIGURATION,
}


def test_a_setting_with_a_secret_in_it_fails_without_it(ran, planted):
    text = planted.config.read_text("utf-8").split("[channels.")[0]
    for lines, status in WRONG_SETTINGS.items():
        planted.config.write_text(text + lines.format(planted.canaries["ledger url"]), "utf-8")
        assert ran("run", "--config", planted.config, terminal=True) == status, lines
        assert ran("status", "--config", planted.config) != Exit.BUG, lines
        ran("doctor", "--config", planted.config)
    assert leaks(planted) == []


STAGES = {
    "settings": "jobs.runtime.settings._read", "lock": "jobs.runtime.installation.hold_ledger",
    "ledger": "jobs.runtime.installation.open_ledger", "registry": "jobs.night.pipeline.apply_registry",
    "search": "monitor.imagery.stac.source.Stac.search", "request": "monitor.imagery.transport.Fetcher.get",
    "ingest": "jobs.night.pipeline.update_sites", "verdict": "jobs.night.pipeline.judge_landscape",
    "pages": "jobs.pages.publishing._write_pages", "send": "jobs.night.pipeline.send",
    "heartbeat": "jobs.reports.heartbeat.HttpClient", "metrics": "jobs.reports.metrics.write_metrics",
    "self-check": "jobs.night.pipeline.self_check",
}  # fmt: skip
"""A function of each stage of a night."""
SITE_FAILS, UNAFFECTED = ("search", "request", "verdict"), ("heartbeat", "metrics")
"""Stages in which a bug fails the sites only, or nothing."""


def test_a_bug_in_any_stage_of_a_night_shows_no_secret(planted, ran, monkeypatch):
    night = ("run", "--config", planted.config, "--as-of")
    assert ran(*night, "2020-10-31") == Exit.DONE
    for number, (stage, target) in enumerate(STAGES.items()):
        with monkeypatch.context() as patch:

            def broken(*_, **__):
                text = planted.text
                raise RuntimeError(text)

            patch.setattr(target, broken)
            status = ran(*night, f"2020-11-{number + 1:02}", terminal=number % 2 == 1)
        expected = Exit.ALL_FAILED if stage in SITE_FAILS else Exit.DONE if stage in UNAFFECTED else Exit.BUG
        assert (stage, status) == (stage, expected)
    assert planted.out.count("this is a bug; please report it") == len(STAGES) - len(SITE_FAILS) - len(UNAFFECTED)
    assert len(planted.receivers["hook"].messages) > 3  # failed nights were reported
    assert leaks(planted) == []


def test_a_bug_in_a_channel_shows_no_secret(planted, ran, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError(planted.text)

    for kind in ("smtp.Smtp", "webhook.Webhook", "wecom.WeCom", "dingtalk.DingTalk", "through_apprise.ThroughApprise"):
        with monkeypatch.context() as patch:
            patch.setattr(f"monitor.alerts.channels.{kind}.send", broken)
            assert ran("notify", "test", "--config", planted.config) == Exit.BUG
    assert leaks(planted) == []


def test_a_bug_in_a_worker_process_shows_no_secret(planted, capfd):
    text = planted.text.partition(", GET /")[0]  # workers do not have the address of the heartbeat

    def broken():
        logging.getLogger("urllib3").warning(text)
        raise RuntimeError(text)

    def arguments():
        return Path("/proc/self/cmdline").read_bytes()  # which every user of the machine may read

    logs.set_up_logs()
    with open_executor("processes") as compute:
        results = dict(compute([dask.delayed(broken)(), dask.delayed(arguments)()]))
    assert isinstance(results[0], RuntimeError)
    assert b"spawn" in results[1]
    captured = capfd.readouterr()
    planted.out += captured.out + captured.err + results[1].decode()
    assert leaks(planted) == []
