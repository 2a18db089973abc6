"""The configured channels with their secrets, and the command that tests them, against receivers on loopback."""

import contextlib
import json
import re
from datetime import UTC, datetime
from unittest.mock import ANY

import pytest

from jobs.messages.channels import open_channels
from jobs.runtime.exits import Exit
from jobs.runtime.secrets import secret
from jobs.runtime.settings import load
from monitor.alerts.channels.channel import Message
from monitor.errors import BadConfiguration
from tests.builders import regrowth
from tests.loopback import receivers
from tests.loopback.mail import MAIL_CHANNEL, MailServer

CANARY = "hunter2-Canary"
SECRETS = {
    "REGROWTH_CHANNEL_MAIL_PASSWORD": f"{CANARY}-0", "REGROWTH_CHANNEL_WE_COM_TOKEN": f"{CANARY}/1",
    "REGROWTH_CHANNEL_DING_TOKEN": f"{CANARY}&2", "REGROWTH_CHANNEL_DING_SECRET": f"SEC{CANARY}+3",
    "REGROWTH_CHANNEL_FEI_TOKEN": f"{CANARY} 4", "REGROWTH_CHANNEL_FEI_SECRET": f"{CANARY}é5",
    "REGROWTH_CHANNEL_OPS_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
}  # fmt: skip


def message() -> Message:
    return Message(
        id="0123456789abcdef", time=datetime(2026, 8, 20, tzinfo=UTC), language="en", subject="Test", text="Test\n",
        brief="Test", links="", record={"event": "test"},
    )  # fmt: skip


@pytest.fixture
def configured(tmp_path):
    def write(lines: str):
        path = tmp_path / "regrowth.toml"
        path.write_text(f'[source]\nkind = "sample"\n{lines}\n', encoding="utf-8")
        return path

    return write


@pytest.fixture
def everything(configured, monkeypatch):
    """One channel of each kind; yields the configuration and the receivers by channel. Secrets are set."""
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
        for name, value in {**SECRETS, "REGROWTH_CHANNEL_OTHER_URL": address}.items():
            monkeypatch.setenv(name, value)
        yield configured("\n".join(sections)), servers


def test_a_test_message_reaches_every_configured_channel(everything):
    config, servers = everything
    status, printed, _ = regrowth("notify", "test", config=config)
    assert status == Exit.DONE
    assert printed.splitlines() == [
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


def test_errors_of_receivers_are_reported_and_the_others_are_tried(everything, monkeypatch):
    config, servers = everything
    monkeypatch.delenv("REGROWTH_CHANNEL_DING_TOKEN")
    servers["mail"].answer("RCPT", "550 no such user", recipient="op2@example.org")
    servers["we-com"].answer(200, {"errcode": 45009, "errmsg": "api freq out of limit"})
    status, printed, _ = regrowth("notify", "test", "--json", config=config)
    assert status == Exit.SOME_FAILED
    results = {(each["channel"], each["recipient"]): each for each in json.loads(printed)}
    ding = {"channel": "ding", "kind": "dingtalk", "recipient": "", "delivered": False, "answer": ANY}
    assert results["ding", ""] == ding
    assert "needs REGROWTH_CHANNEL_DING_TOKEN or REGROWTH_CHANNEL_DING_TOKEN_FILE" in results["ding", ""]["answer"]
    assert results["we-com", ""]["answer"] == "WeCom answers errcode 45009: api freq out of limit"
    assert "550 no such user" in results["mail", "op2@example.org"]["answer"]
    assert results["mail", "op1@example.org"] == {
        "channel": "mail", "kind": "smtp", "recipient": "op1@example.org", "delivered": True, "answer": ANY
    }  # fmt: skip


def test_one_channel_can_be_tested_and_no_delivery_exits_with_20(everything):
    config, servers = everything
    assert regrowth("notify", "test", "--channel", "ops", config=config)[0] == Exit.DONE
    assert servers["mail"].connections == 0
    servers["ops"].answer(500)
    assert regrowth("notify", "test", "--channel", "ops", config=config)[0] == Exit.ALL_FAILED


@pytest.mark.parametrize("arguments", [[], ["--channel", "mail"]])
def test_without_a_channel_there_is_nothing_to_test(arguments, configured):
    status, _, error = regrowth("notify", "test", *arguments, config=configured(""))
    assert (status, "[channels." in error) == (Exit.CONFIGURATION, True)


def test_a_mail_goes_to_its_own_sender_if_the_operators_have_no_address(configured):
    with MailServer() as server:
        config = configured(MAIL_CHANNEL.format(port=server.port))
        assert regrowth("notify", "test", config=config)[0] == Exit.DONE
        assert server.mails[0].recipients == ["regrowth@example.org"]


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
