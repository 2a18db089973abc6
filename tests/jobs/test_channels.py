"""The configured channels with their secrets, and the command that tests them, against receivers on loopback."""

import contextlib
import json
import os
import re
import textwrap
from datetime import UTC, datetime
from unittest.mock import ANY

import pytest

from jobs.cli import main
from jobs.messages.channels import open_channels
from jobs.runtime.exits import Exit
from jobs.runtime.secrets import channel_variable, secret
from jobs.runtime.settings import load
from monitor.alerts.channels.channel import Message
from monitor.errors import BadConfiguration
from tests import forked
from tests.loopback import receivers
from tests.loopback.mail import MAIL_CHANNEL, MailServer

CANARY = "hunter2-Canary"
SECRETS = {
    "REGROWTH_CHANNEL_MAIL_PASSWORD": f"{CANARY}-0",
    "REGROWTH_CHANNEL_WE_COM_TOKEN": f"{CANARY}/1",
    "REGROWTH_CHANNEL_DING_TOKEN": f"{CANARY}&2",
    "REGROWTH_CHANNEL_DING_SECRET": f"SEC{CANARY}+3",
    "REGROWTH_CHANNEL_FEI_TOKEN": f"{CANARY} 4",
    "REGROWTH_CHANNEL_FEI_SECRET": f"{CANARY}é5",
    "REGROWTH_CHANNEL_OPS_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
}
CANARIES = [CANARY, "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]


def message() -> Message:
    return Message(
        id="0123456789abcdef", time=datetime(2026, 8, 20, tzinfo=UTC), language="en", subject="Test", text="Test\n",
        brief="Test", links="", record={"event": "test"},
    )  # fmt: skip


@pytest.fixture
def configured(tmp_path):
    """Write a configuration with some lines."""

    def write(lines: str):
        path = tmp_path / "regrowth.toml"
        path.write_text(f'[source]\nkind = "sample"\n{lines}\n', encoding="utf-8")
        return path

    return write


@pytest.fixture
def everything(configured):
    """One channel of each kind; yields the configuration, the environment and the receivers by channel."""
    with contextlib.ExitStack() as stack:
        servers = {
            "mail": MailServer(user="me", password=SECRETS["REGROWTH_CHANNEL_MAIL_PASSWORD"]),
            "we-com": receivers.WeCom(token=SECRETS["REGROWTH_CHANNEL_WE_COM_TOKEN"]),
            "ding": receivers.DingTalk(
                token=SECRETS["REGROWTH_CHANNEL_DING_TOKEN"], secret=SECRETS["REGROWTH_CHANNEL_DING_SECRET"]
            ),
            "fei": receivers.Feishu(
                token=SECRETS["REGROWTH_CHANNEL_FEI_TOKEN"].replace(" ", "%20"),  # as in a path
                secret=SECRETS["REGROWTH_CHANNEL_FEI_SECRET"],
            ),
            "ops": receivers.Hook(secret=SECRETS["REGROWTH_CHANNEL_OPS_SECRET"]),
            "other": receivers.Receiver(),
        }
        for server in servers.values():
            stack.enter_context(server)
        kinds = {"we-com": "wecom", "ding": "dingtalk", "fei": "feishu", "ops": "webhook"}
        sections = [
            f'[channels.{name}]\nkind = "{kind}"\nurl = "{servers[name].url}"\nallow_hosts = ["{servers[name].host}"]'
            for name, kind in kinds.items()
        ]
        sections += [
            MAIL_CHANNEL.format(port=servers["mail"].port) + 'user = "me"',
            '[channels.other]\nkind = "apprise"',
            '[operators]\nchannels = ["ops", "mail"]\nemail = "op1@example.org, op2@example.org"',
        ]
        address = f"json://user:{CANARY}6@{servers['other'].host}/{CANARY}7/?+X-Token={CANARY}8"
        environment = {**SECRETS, "REGROWTH_CHANNEL_OTHER_URL": address}
        yield configured("\n".join(sections)), environment, servers


def run(arguments) -> int:
    with pytest.raises(SystemExit) as left:
        main([*map(str, arguments)])
    return left.value.code


def test_a_test_message_reaches_every_configured_channel(everything, monkeypatch, capsys):
    config, environment, servers = everything
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert run(["notify", "test", "--config", config]) == Exit.DONE
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "we-com (wecom): delivered: errcode 0 ok",
        "ding (dingtalk): delivered: errcode 0 ok",
        "fei (feishu): delivered: code 0 success",
        "ops (webhook): delivered: status 204",
        "mail (smtp) to op1@example.org: delivered: 250 OK: queued as 1",
        "mail (smtp) to op2@example.org: delivered: 250 OK: queued as 2",
        "other (apprise): delivered: accepted by Apprise",
    ]
    for name in ("we-com", "ding", "fei"):
        [text] = servers[name].messages
        assert name in text
    assert servers["ops"].messages[0]["event"] == "test"
    assert len({mail.id for mail in servers["mail"].mails}) == 2
    assert len(servers["other"].requests) == 1


def test_errors_of_receivers_are_reported_and_the_others_are_tried(everything, monkeypatch, capsys):
    config, environment, servers = everything
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("REGROWTH_CHANNEL_DING_TOKEN")
    servers["mail"].answer("RCPT", "550 no such user", recipient="op2@example.org")
    servers["we-com"].answer(200, {"errcode": 45009, "errmsg": "api freq out of limit"})
    assert run(["notify", "test", "--json", "--config", config]) == Exit.SOME_FAILED
    results = {(each["channel"], each["recipient"]): each for each in json.loads(capsys.readouterr().out)}
    assert results["ding", ""] == {
        "channel": "ding", "kind": "dingtalk", "recipient": "", "delivered": False,
        "answer": ANY,
    }  # fmt: skip
    assert "needs REGROWTH_CHANNEL_DING_TOKEN or REGROWTH_CHANNEL_DING_TOKEN_FILE" in results["ding", ""]["answer"]
    assert results["we-com", ""]["answer"] == "WeCom answers errcode 45009: api freq out of limit"
    assert "550 no such user" in results["mail", "op2@example.org"]["answer"]
    assert results["mail", "op1@example.org"] == {
        "channel": "mail", "kind": "smtp", "recipient": "op1@example.org", "delivered": True, "answer": ANY
    }  # fmt: skip


def test_one_channel_can_be_tested_and_no_delivery_exits_with_20(everything, monkeypatch):
    config, environment, servers = everything
    monkeypatch.setenv("REGROWTH_CHANNEL_OPS_SECRET", environment["REGROWTH_CHANNEL_OPS_SECRET"])
    assert run(["notify", "test", "--channel", "ops", "--config", config]) == Exit.DONE
    assert servers["mail"].connections == 0
    servers["ops"].answer(500)
    assert run(["notify", "test", "--channel", "ops", "--config", config]) == Exit.ALL_FAILED


@pytest.mark.parametrize("arguments", [[], ["--channel", "mail"]])
def test_without_a_channel_there_is_nothing_to_test(arguments, configured, capsys):
    assert run(["notify", "test", *arguments, "--config", configured("")]) == Exit.CONFIGURATION
    assert "[channels." in capsys.readouterr().err


def test_a_mail_goes_to_its_own_sender_if_the_operators_have_no_address(configured, capsys):
    with MailServer() as server:
        config = configured(MAIL_CHANNEL.format(port=server.port))
        assert run(["notify", "test", "--config", config]) == Exit.DONE
        assert server.mails[0].recipients == ["regrowth@example.org"]


@pytest.mark.parametrize("files", [pytest.param(False, marks=pytest.mark.slow), True], ids=["variables", "files"])
@pytest.mark.parametrize("fault", [pytest.param("none", marks=pytest.mark.slow), "answers", "down"])
def test_secrets_planted_in_the_environment_are_in_no_log_at_debug(fault, files, everything, tmp_path):
    """Secrets planted in the environment => found in no log (DEBUG too)."""
    config, environment, servers = everything
    if fault == "answers":
        for name in ("we-com", "ding", "fei", "ops", "other"):
            reply = f"unknown {CANARY}/1 {CANARY}&2 {CANARY} 4"
            servers[name].answer(
                200 if name != "ops" else 302, {"errcode": 1, "code": 1, "errmsg": reply, "msg": reply}
            )
        servers["mail"].answer("MAIL", f"550 who is {SECRETS['REGROWTH_CHANNEL_MAIL_PASSWORD']}")
    if fault == "down":
        for server in servers.values():
            server.__exit__()
    if files:
        for number, (name, value) in enumerate(list(environment.items())):
            (tmp_path / f"secret{number}").write_text(f"{value}\n", encoding="utf-8")
            environment[f"{name}_FILE"] = str(tmp_path / f"secret{number}")
            del environment[name]
    code = textwrap.dedent("""
        import logging, sys
        import apprise, asyncio, urllib3
        logging.basicConfig(level=1)
        for name in list(logging.root.manager.loggerDict):
            logging.getLogger(name).setLevel(1)
        from jobs.cli import main
        main(sys.argv[1:])
    """)
    command = ["-c", code, "notify", "test", "--config", str(config)]
    done = forked.run(command, env={**os.environ, **environment})
    printed = done.stdout + done.stderr
    assert done.returncode == {"none": Exit.DONE, "answers": Exit.SOME_FAILED, "down": Exit.ALL_FAILED}[fault], printed
    assert "urllib3" in printed
    assert "***" in printed or fault == "down"
    for canary in CANARIES:
        assert canary not in printed


def test_a_channel_is_built_when_it_is_used_and_one_connection_serves_all_mails(everything, monkeypatch):
    config, environment, servers = everything
    with open_channels(load(config)) as channels:
        with pytest.raises(BadConfiguration, match="REGROWTH_CHANNEL_MAIL_PASSWORD or "):
            channels["mail"]
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        for number in range(3):
            channels["mail"].send(message(), f"m{number}@example.org")
    assert servers["mail"].connections == 1
    assert len(servers["mail"].mails) == 3


def test_a_channel_that_left_the_configuration_leaves_its_messages_waiting(configured):
    with (
        open_channels(load(configured(""))) as channels,
        pytest.raises(BadConfiguration, match=r"no \[channels.gone\]"),
    ):
        channels["gone"]


def test_every_installation_writes_files(configured, tmp_path):
    with open_channels(load(configured('[outputs]\nroot = "out"'))) as channels:
        assert channels["files"].send(message(), "") == "written to messages/test_0123456789abcdef.eml"
    assert (tmp_path / "out" / "messages" / "test_0123456789abcdef.json").exists()


def test_a_secret_comes_from_a_variable_or_from_the_file_that_one_names(tmp_path, monkeypatch):
    assert secret("ANSWER_KEY") is None
    (tmp_path / "key").write_text("  from the file\n", encoding="utf-8")
    monkeypatch.setenv("REGROWTH_ANSWER_KEY_FILE", str(tmp_path / "key"))
    assert secret("ANSWER_KEY") == "from the file"
    monkeypatch.setenv("REGROWTH_ANSWER_KEY", " from the variable ")
    assert secret("ANSWER_KEY") == "from the variable"
    monkeypatch.setenv("REGROWTH_ANSWER_KEY", "")
    (tmp_path / "key").write_text("\n", encoding="utf-8")
    assert secret("ANSWER_KEY") is None


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"x" * 70_000])
def test_a_secret_file_that_cannot_be_used_is_named_by_its_variable(content, tmp_path, monkeypatch):
    if content is not None:
        (tmp_path / CANARY).write_bytes(content)
    monkeypatch.setenv("REGROWTH_ANSWER_KEY_FILE", str(tmp_path / CANARY))
    with pytest.raises(BadConfiguration, match="REGROWTH_ANSWER_KEY_FILE") as caught:
        secret("ANSWER_KEY")
    assert CANARY not in str(caught.value)


def test_every_example_of_a_channel_is_a_configuration(root, configured):
    text = (root / "docs" / "channels.md").read_text(encoding="utf-8")
    [example] = re.findall(r"^```toml\n(.*?)^```", text, re.M | re.S)
    assert list(load(configured(example)).channels) == ["mail", "county-group", "ops"]


def test_the_secret_of_a_channel_has_its_name_in_capitals():
    assert channel_variable("site-managers_2", "TOKEN") == "CHANNEL_SITE_MANAGERS_2_TOKEN"
