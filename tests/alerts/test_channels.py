"""Channels against receivers on loopback that speak the services' own protocols."""

import json
import socket
import time
from datetime import UTC, datetime
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.alerts.channels.channel import Message, NotDelivered, Undeliverable, Unreachable
from monitor.alerts.channels.dingtalk import DingTalk
from monitor.alerts.channels.feishu import Feishu
from monitor.alerts.channels.http_client import HttpClient
from monitor.alerts.channels.messenger import fitted
from monitor.alerts.channels.through_apprise import ThroughApprise
from monitor.alerts.channels.webhook import Webhook
from monitor.alerts.channels.wecom import WeCom
from monitor.errors import BadConfiguration
from tests.loopback import receivers
from tests.loopback.certificates import make_certificate

LINK = "https://answers.example.org/a/0123456789abcdef.token"
NEWS = "[红色警报] 民勤-03：未见成效\n最差地块 38.62400, 103.09100\n"


def message(**more) -> Message:
    given = {
        "id": "0123456789abcdef", "time": datetime(2026, 8, 20, tzinfo=UTC), "language": "zh",
        "subject": "[红色警报] 民勤-03", "text": "全文", "brief": NEWS, "links": f"答复：{LINK}",
        "record": {"id": "民勤-03/failure/1", "site": {"id": "民勤-03"}, "theta": 0.08},
    }  # fmt: skip
    return Message(**(given | more))


def client(server, **more) -> HttpClient:
    return HttpClient([server.host], section="[channels.x]", **more)


def wecom(server, **more):
    return WeCom(client(server, **more), url=server.url, token=server.token)


def dingtalk(server, **more):
    return DingTalk(client(server, **more), url=server.url, token=server.token, secret=server.secret)


def feishu(server, **more):
    return Feishu(client(server, **more), url=server.url, token=server.token, secret=server.secret)


def webhook(server, **more):
    return Webhook(client(server, **more), url=server.url, secret=server.secret)


def not_sent(channel, match: str, error=NotDelivered) -> None:
    """The channel says why it does not deliver a message: it waits, or is given up."""
    with pytest.raises(error, match=match):
        channel.send(message(), "")


CHATS = [(receivers.WeCom, wecom), (receivers.DingTalk, dingtalk), (receivers.Feishu, feishu)]
ALL = [*CHATS, (receivers.Hook, webhook)]
chats = pytest.mark.parametrize(("kind", "channel"), CHATS, ids=["wecom", "dingtalk", "feishu"])
every = pytest.mark.parametrize(("kind", "channel"), ALL, ids=["wecom", "dingtalk", "feishu", "webhook"])


@chats
@pytest.mark.parametrize("signed", [True, False])
def test_a_messenger_receives_the_text_and_the_link_with_a_signature_or_without(kind, channel, signed):
    with kind(**({} if signed or kind is receivers.WeCom else {"secret": None})) as server:
        answered = channel(server).send(message(), "")
        assert answered in ("errcode 0 ok", "code 0 success")
        assert server.messages == [f"{NEWS}\n答复：{LINK}"]


@pytest.mark.parametrize(("kind", "channel"), CHATS[1:], ids=["dingtalk", "feishu"])
def test_a_wrong_secret_leaves_the_message_waiting_until_it_is_corrected(kind, channel):
    with kind() as server:
        wrong = channel(Mock(wraps=server, host=server.host, url=server.url, token=server.token, secret="SECother"))
        not_sent(wrong, "sign")
        assert server.messages == []


@pytest.mark.parametrize(
    "secret", ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "plain-secret"]
)
def test_the_library_of_the_specification_verifies_the_signature_of_a_webhook(secret):
    with receivers.Hook(secret=secret) as server:
        assert webhook(server).send(message(), "") == "status 204"
        assert server.messages == [message().record]
        assert [name for name, _ in server.accepted] == ["0123456789abcdef"]


def test_a_webhook_without_secret_is_not_signed():
    with receivers.Hook(secret=None) as server:
        webhook(server).send(message(), "")
        assert "webhook-signature" not in server.requests[0].headers
        assert server.requests[0].headers["webhook-id"] == "0123456789abcdef"


def test_a_retry_keeps_the_webhook_id():
    with receivers.Hook() as server:
        server.answer(503, times=1)
        server.close_connection(times=1)
        channel = webhook(server)
        for _ in range(2):
            with pytest.raises(NotDelivered):
                channel.send(message(), "")
        channel.send(message(), "")
        assert {request.headers["webhook-id"] for request in server.requests} == {"0123456789abcdef"}
        assert [name for name, _ in server.accepted] == ["0123456789abcdef"]


@pytest.mark.parametrize(("status", "error"), [
    *((status, NotDelivered) for status in (401, 403, 404, 408, 425, 429, 500, 502, 503)),
    *((status, Undeliverable) for status in (400, 410, 413, 422)),
])  # fmt: skip
def test_a_webhook_that_may_work_later_leaves_the_message_waiting_and_one_that_refuses_it_does_not(status, error):
    with receivers.Hook() as server:
        server.answer(status)
        not_sent(webhook(server), str(status), error)


@pytest.mark.parametrize("secret", ["whsec_", "whsec_é", "whsec_="])
def test_a_webhook_secret_that_is_not_base64_is_a_configuration_error(secret):
    with pytest.raises(BadConfiguration, match="not base64"):
        Webhook(HttpClient(section="[channels.x]"), url="https://example.org/hook", secret=secret)


@pytest.mark.parametrize(("kind", "channel", "answer", "error"), [
    (receivers.WeCom, wecom, {"errcode": 45009, "errmsg": "api freq out of limit"}, NotDelivered),
    (receivers.WeCom, wecom, {"errcode": 93000, "errmsg": "invalid webhook url"}, NotDelivered),
    (receivers.WeCom, wecom, {"errcode": -1, "errmsg": "system busy"}, NotDelivered),
    (receivers.WeCom, wecom, {"errcode": 40058, "errmsg": "too long"}, Undeliverable),
    (receivers.DingTalk, dingtalk, {"errcode": 130101, "errmsg": "send too fast"}, NotDelivered),
    (receivers.DingTalk, dingtalk, {"errcode": 310000, "errmsg": "keywords not in content"}, NotDelivered),
    (receivers.DingTalk, dingtalk, {"errcode": 460101, "errmsg": "message too long"}, Undeliverable),
    (receivers.Feishu, feishu, {"code": 11232, "msg": "frequency limited"}, NotDelivered),
    (receivers.Feishu, feishu, {"code": 9499, "msg": "Bad Request"}, Undeliverable),
])  # fmt: skip
def test_http_200_with_an_error_code_inside_is_a_failure(kind, channel, answer, error):
    with kind() as server:
        server.answer(200, answer, times=1)
        not_sent(channel(server), str(next(iter(answer.values()))), error)
        channel(server).send(message(), "")
        assert len(server.messages) == 1


@chats
@pytest.mark.parametrize("answer", [b"", b"ok", b"<html>", b"[]", b"null", b"[" * 9_000, {"a": 0}, {"errcode": "0"}])
def test_an_answer_that_confirms_nothing_is_a_failure(kind, channel, answer):
    with kind() as server:
        server.answer(200, answer)
        not_sent(channel(server), "without a confirmation")


@chats
def test_chinese_text_over_the_limit_is_cut_between_characters_in_one_message_and_keeps_the_link(kind, channel):
    limit = {receivers.WeCom: 2_048, receivers.DingTalk: 20_000, receivers.Feishu: 20_480}[kind]
    for more in range(6):  # so that the limit falls on each byte of a character
        with kind() as server:
            channel(server).send(message(brief="x" * more + "未见成效" * 3_000), "")
            assert len(server.requests) == 1
            [text] = server.messages
            sent = text.encode() if kind is receivers.WeCom else server.requests[0].body
        cut, _, link = text.rpartition("\n")
        assert link == f"答复：{LINK}"
        assert cut.endswith("…")
        assert set(cut[more:-1]) == set("未见成效")
        assert limit - 8 <= len(sent) <= limit


@pytest.mark.parametrize(
    "character", ["é" * 1, "e\u0301", "👩\u200d🌾", "🇨🇳", "👍🏽", "\U0002000b", "各\ufe00"], ids=ascii
)
def test_no_character_of_several_code_points_is_cut(character):
    for limit in range(40, 90):
        text = fitted(message(brief=character * 40, links=LINK[:20]), limit, size=lambda text: len(text.encode()))
        cut = text.partition("\n")[0].removesuffix("…")
        assert cut == character * (len(cut) // len(character))
        assert len(text.encode()) <= limit


@given(brief=st.text(), links=st.text(max_size=40), limit=st.integers(4, 400))
def test_any_text_is_within_the_limit_and_begins_as_it_did(brief, links, limit):
    text = fitted(message(brief=brief, links=links), limit, size=lambda text: len(text.encode()))
    assert len(text.encode()) <= limit
    beginning = text.partition("…")[0]
    whole = "\n".join([brief, *links.splitlines()]).encode("utf-8", "replace").decode()
    assert whole.startswith(beginning) or "…" in brief


def test_lines_of_links_that_exceed_the_limit_are_left_out_whole():
    links = "\n".join(f"https://example.org/a/{number}" for number in range(1_000))
    text = fitted(message(links=links), 2_048, size=lambda text: len(text.encode()))
    assert len(text.encode()) <= 2_048
    assert set(text.splitlines()[1:]) <= set(links.splitlines())
    assert len(text.splitlines()) > 50


@chats
def test_a_name_cannot_mention_everybody(kind, channel):
    hostile = '<@all> <at user_id="all">所有人</at> <AT user_id="ou_1"> <script>alert(1)</script> {{7*7}}'
    with kind() as server:
        channel(server).send(message(brief=hostile), "")
        [text] = server.messages
        assert "{{7*7}}" in text
        if kind is receivers.WeCom:
            assert "<@" not in text
        if kind is receivers.Feishu:
            assert "<at" not in text.lower()
        assert "at" not in json.loads(server.requests[0].body)  # which mentions members in DingTalk


@chats
def test_a_name_of_a_thousand_characters_with_anything_in_it_arrives_as_json(kind, channel):
    name = '"\\\n\t\0\x1b\u2028\ud800\u202e' * 100 + "民" * 200
    with kind() as server:
        channel(server).send(message(brief=name), "")
        assert len(server.messages) == 1


@every
def test_a_private_address_is_refused_unless_it_is_allowed(kind, channel):
    with kind() as server:
        for hosts in ([], ["127.0.0.1:1"], ["localhost"], ["example.org"]):
            shut = channel(server)
            shut._http = HttpClient(hosts, section="[channels.x]")
            not_sent(shut, r"private.*refused.*allow_hosts.*to \[channels.x\]")
        assert server.requests == []
        channel(server).send(message(), "")
        assert len(server.requests) == 1


@pytest.mark.parametrize("host", [
    "127.0.0.1", "10.1.2.3", "169.254.169.254", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "100.100.100.200",
    "2130706433",
])  # fmt: skip
def test_no_private_loopback_or_metadata_host_is_contacted(host, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", Mock(side_effect=AssertionError("it was contacted")))
    channel = Webhook(HttpClient(section="[channels.ops]"), url=f"http://{host}/hook", secret=None)
    not_sent(channel, "refused")


def test_a_name_is_looked_up_once_and_the_connection_goes_to_the_address_that_was_checked(monkeypatch):
    with receivers.Hook() as server:
        found = Mock(side_effect=[[(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", server.port))]])
        connected = Mock(side_effect=ConnectionRefusedError)
        monkeypatch.setattr(socket, "getaddrinfo", lambda host, *a, **k: found() if host == "rebound.example" else
                            [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, server.port))])  # fmt: skip
        monkeypatch.setattr(socket.socket, "connect", connected)
        channel = Webhook(
            HttpClient(section="[channels.ops]"), url=f"http://rebound.example:{server.port}/hook", secret=None
        )
        not_sent(channel, "accepts no connection")
        assert connected.call_args.args[0][0] == "93.184.216.34"
        assert found.call_count == 1


@every
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_not_delivered(kind, channel, status):
    with kind() as server, receivers.Receiver() as elsewhere:
        server.redirect(elsewhere.url, status=status)
        http = HttpClient([server.host, elsewhere.host], section="[channels.x]")
        sender = channel(server)
        sender._http = http
        not_sent(sender, "redirects")
        assert elsewhere.requests == []


@every
def test_proxies_of_the_environment_are_not_used(kind, channel, monkeypatch):
    with kind() as server, receivers.Receiver() as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        channel(server).send(message(), "")
        assert proxy.requests == []
        assert len(server.messages) == 1


@every
@pytest.mark.parametrize(("never_ending", "seconds"), [("continue_for_ever", 0.02), ("drip", 0.05)])
def test_100_continue_without_end_and_headers_that_drip_end_at_the_deadline(kind, channel, never_ending, seconds):
    with kind() as server:
        getattr(server, never_ending)(seconds=seconds)
        started = time.monotonic()
        not_sent(channel(server, deadline=0.5), "in time")
        assert time.monotonic() - started < 3


def test_a_body_without_end_is_not_read():
    with receivers.Hook() as server:
        server.answer(200, b"x" * 3_000_000)
        assert webhook(server).send(message(), "") == "status 200"


@every
def test_a_closed_port_and_a_dropped_connection_leave_the_message_waiting(kind, channel):
    with kind() as server:
        server.close_connection(times=1)
        not_sent(channel(server), "no complete response")
        late = channel(server)
    not_sent(late, "accepts no connection")


@every
@pytest.mark.parametrize("key_ids", [True, False])
def test_an_untrusted_certificate_is_not_sent_to_and_a_trusted_one_is(kind, channel, key_ids, tmp_path, monkeypatch):
    certificate = make_certificate(tmp_path, key_ids=key_ids)  # other programs need no key identifiers either
    with kind(certificate=certificate) as server:
        not_sent(channel(server), r"not trusted.*SSL_CERT_FILE")
        assert server.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.authority))
        channel(server).send(message(), "")
        assert len(server.messages) == 1


@every
def test_a_certificate_of_another_host_is_not_sent_to(kind, channel, tmp_path, monkeypatch):
    certificate = make_certificate(tmp_path, names=("other.example",))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.authority))
    with kind(certificate=certificate) as server:
        not_sent(channel(server), "not trusted")
        assert server.requests == []


@every
def test_no_token_and_no_path_is_in_the_text_of_an_error(kind, channel):
    with kind() as server:
        late, canary = channel(server), getattr(server, "token", "hook")
        server.answer(200, {"errcode": 1, "errmsg": f"no {canary}", "code": 1, "msg": f"no {canary}"}, times=1)
        server.answer(302, times=1)
        server.answer(500, times=1)
        texts = []
        for _ in range(3):
            try:
                texts.append(late.send(message(), ""))
            except (NotDelivered, Undeliverable) as error:
                texts.append(str(error))
    with pytest.raises(NotDelivered) as caught:
        late.send(message(), "")
    assert len(texts) == 3
    assert not any(canary in text for text in [*texts, str(caught.value)])


@pytest.mark.parametrize("name", ["", "a b", "http://127.0.0.1", "/srv/folder", "127.0.0.1/8"])
def test_an_invalid_host_in_allow_hosts_is_a_configuration_error(name):
    with pytest.raises(BadConfiguration, match=r"\[channels.x\] allow_hosts"):
        HttpClient([name], section="[channels.x]")


@pytest.mark.parametrize(
    "url",
    ["ftp://example.org/", "http:///hook", "https://me:word@example.org/", "https://例子.cn/hook", "https://a.cn/\0"],
)
def test_an_address_that_cannot_be_used_is_a_configuration_error(url):
    with pytest.raises(BadConfiguration, match=r"\[channels.x\] url"):
        Webhook(HttpClient(section="[channels.x]"), url=url, secret=None)


@pytest.mark.parametrize("host", ["nowhere.invalid", "x" * 70 + ".cn"])
def test_a_host_without_address_leaves_the_messages_of_the_channel_waiting(host):
    channel = Webhook(HttpClient(section="[channels.x]"), url=f"http://{host}/hook", secret=None)
    not_sent(channel, "host without address", Unreachable)


def test_the_services_have_their_own_addresses():
    http = Mock()
    http.request.return_value = Mock(status=200, body=b'{"errcode": 0, "code": 0}')
    WeCom(http, url="", token="t/?&").send(message(), "")
    DingTalk(http, url="", token="t&", secret="SEC", clock=lambda: 1_600_000_000.0).send(message(), "")
    Feishu(http, url="", token="t/", secret=None).send(message(), "")
    assert [call.args[1] for call in http.request.call_args_list] == [
        "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=t%2F%3F%26",
        "https://oapi.dingtalk.com/robot/send?access_token=t%26&timestamp=1600000000000"
        "&sign=C72kx4c0NUGpRzKRqG%2FYBFvxO6ddH42i13qMig%2BaiB8%3D",
        "https://open.feishu.cn/open-apis/bot/v2/hook/t%2F",
    ]


def test_apprise_delivers_to_its_service_and_its_failure_leaves_the_message_waiting():
    with receivers.Receiver() as server:
        channel = ThroughApprise(f"json://{server.host}/secret-token")
        assert channel.send(message(), "") == "accepted by Apprise"
        got = json.loads(server.requests[0].body)
        assert got["title"] == "[红色警报] 民勤-03"
        assert got["message"].endswith(LINK)
        server.answer(500, times=1)
        not_sent(channel, "could not deliver")
        server.redirect(server.url)
        not_sent(channel, "could not deliver")


def test_headers_that_drip_do_not_keep_apprise_beyond_its_deadline():
    with receivers.Receiver() as server:
        server.drip(seconds=0.05)
        begun = time.monotonic()
        not_sent(ThroughApprise(f"json://{server.host}/", deadline=0.5), "no answer in time")
        assert time.monotonic() - begun < 5


def test_an_address_that_apprise_does_not_know_is_a_configuration_error_without_it():
    with pytest.raises(BadConfiguration) as caught:
        ThroughApprise("nonsense://secret-token")
    assert "secret-token" not in str(caught.value)


def test_without_the_library_apprise_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "apprise", None)
    with pytest.raises(BadConfiguration, match="pip install"):
        ThroughApprise("json://example.org")
