"""Mails against a mail server on loopback."""

import contextlib
import socket
import threading
import time
from datetime import UTC, datetime
from unittest.mock import Mock

import pytest

from monitor.alerts.channels.channel import Message, NotDelivered, Undeliverable, Unreachable
from monitor.alerts.channels.smtp import Smtp, _address_literal
from monitor.errors import BadConfiguration
from tests.loopback.certificates import make_certificate
from tests.loopback.mail import MailServer

CANARY = "hunter2-Canary"
HOSTILE = "<script>alert(1)</script>\r\nBcc: all@example.org\r\n.\r\nRCPT TO:<all@example.org>\u202e"


def message(number: int = 1, **more) -> Message:
    given = {
        "id": f"{number:040x}", "time": datetime(2026, 8, 20, tzinfo=UTC), "language": "zh",
        "subject": "[红色警报] 民勤-03：未见成效", "text": "民勤-03\n.\n..\nhttps://example.org/a/token\n",
        "brief": "民勤-03", "links": "",
    }  # fmt: skip
    return Message(**(given | more))


def not_sent(mail, match: str, error=Unreachable) -> pytest.ExceptionInfo:
    """The server does not take a mail, and the error says why."""
    with pytest.raises(error, match=match) as caught:
        mail.send(message(), "li@example.org")
    return caught


@contextlib.contextmanager
def channel(server, **more):
    given = {"host": "127.0.0.1", "port": server.port, "starttls": False, "sender": "regrowth@example.org"}
    made = Smtp(**(given | more))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def certificate(tmp_path):
    return make_certificate(tmp_path)


@pytest.fixture
def trusted(certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.authority))
    return certificate


def test_many_mails_go_over_one_connection():
    with MailServer() as server, channel(server) as mail:
        for number in range(20):
            assert mail.send(message(number), f"m{number}@example.org") == f"250 OK: queued as {number + 1}"
        assert server.connections == 1
        assert [got.recipients for got in server.mails] == [[f"m{number}@example.org"] for number in range(20)]
        assert server.mails[3].id == f"<{3:040x}@example.org>"
        assert server.mails[3].sender == "regrowth@example.org"
        assert server.mails[3].text.replace("\r\n", "\n") == message().text


def test_a_connection_that_was_closed_is_opened_again():
    with MailServer() as server, channel(server) as mail:
        mail.send(message(1), "li@example.org")
        server.close_connections()
        mail.send(message(2), "li@example.org")
        assert [got.id[1:41] for got in server.mails] == [f"{1:040x}", f"{2:040x}"]
        assert server.connections == 2


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA"])
def test_smtp_451_then_250(stage):
    with MailServer() as server, channel(server) as mail:
        server.answer(stage, "451 4.7.1 greylisted, try again", times=1)
        caught = not_sent(mail, r"451 4\.7\.1 greylisted", NotDelivered)
        assert not isinstance(caught.value, Unreachable)
        assert server.mails == []
        mail.send(message(), "li@example.org")
        assert [got.id for got in server.mails] == [f"<{1:040x}@example.org>"]
        assert server.connections == 1


@pytest.mark.parametrize(("stage", "reply", "error"), [
    ("MAIL", "550 5.7.1 sender not allowed", NotDelivered),  # the operator can correct it
    ("RCPT", "530 5.7.0 authentication required", NotDelivered),
    ("RCPT", "552 5.2.2 mailbox full", Undeliverable),
    ("DATA", "554 5.7.1 looks like spam", Undeliverable),
    ("DATA", "452 4.3.1 no space", NotDelivered),
])  # fmt: skip
def test_what_the_server_refuses_for_good_is_not_tried_again(stage, reply, error):
    with MailServer() as server, channel(server) as mail:
        server.answer(stage, reply)
        not_sent(mail, reply[:9], error)


def test_a_server_that_takes_its_time_to_confirm_a_mail_gets_it_once():
    with MailServer() as server, channel(server, step_timeout=1.0, deadline=30) as mail:
        server.delay("DATA", 1.5)
        assert mail.send(message(), "li@example.org").startswith("250")
        assert len(server.attempts) == 1


def test_a_mail_is_encrypted_and_the_login_too(trusted):
    with MailServer(certificate=trusted, user="me", password=CANARY) as server:
        with channel(server, starttls=True, user="me", password=CANARY) as mail:
            mail.send(message(), "li@example.org")
        assert server.logins == [("me", CANARY, True)]
        assert server.mails[0].encrypted


def test_port_465_is_encrypted_from_the_first_byte_and_its_certificate_is_checked(certificate, monkeypatch):
    with MailServer(certificate=certificate, encrypted=True) as server:
        monkeypatch.setattr("monitor.alerts.channels.smtp.TLS_PORT", server.port)
        with channel(server, starttls=True) as mail:
            not_sent(mail, "not trusted")
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate.authority))
            mail.send(message(), "li@example.org")
        assert [got.encrypted for got in server.mails] == [True]


@pytest.mark.parametrize(("name", "helo"), [("short", "[127.0.0.1]"), ("full.example.org", "full.example.org")])
def test_no_name_server_is_queried_for_the_name_of_this_machine(name, helo, monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    monkeypatch.setattr(socket, "getfqdn", Mock(side_effect=AssertionError("a name server was queried")))
    with MailServer() as server, channel(server) as smtp:
        smtp.send(message(), "li@example.org")
        assert [mail.helo for mail in server.mails] == [helo]


def test_the_address_of_a_machine_without_a_full_name_is_written_as_mail_servers_read_it():
    assert _address_literal("fe80::1%eth0") == "[IPv6:fe80::1]"


def test_a_server_without_starttls_gets_nothing():
    with MailServer() as server, channel(server, starttls=True, user="me", password=CANARY) as mail:
        not_sent(mail, r"offers no encryption.*starttls = false")
        assert server.attempts == []
        assert server.logins == []


@pytest.mark.parametrize("names", [("127.0.0.1",), ("other.example",)], ids=["unknown authority", "another host"])
def test_an_untrusted_certificate_is_not_sent_to(names, tmp_path, monkeypatch):
    certificate = make_certificate(tmp_path / "a", names=names)
    if names == ("other.example",):
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.authority))
    with (
        MailServer(certificate=certificate, user="me", password=CANARY) as server,
        channel(server, starttls=True, user="me", password=CANARY) as mail,
    ):
        not_sent(mail, r"not trusted.*nothing was sent.*SSL_CERT_FILE")
        assert server.attempts == []
        assert server.logins == []


def test_a_wrong_password_leaves_the_message_waiting_and_is_not_shown(trusted):
    with (
        MailServer(certificate=trusted, user="me", password="right") as server,
        channel(server, starttls=True, user="me", password=CANARY) as mail,
    ):
        caught = not_sent(mail, r"refuses the login of 'me' \(535\)")
        assert CANARY not in str(caught.value)
        assert server.attempts == []


@pytest.mark.parametrize("host", ["mail.example.org", "10.0.0.1", "127.0.0.1.example.org"])
def test_a_password_is_never_sent_in_the_clear(host):
    with pytest.raises(BadConfiguration, match="unencrypted"):
        Smtp(host=host, port=25, starttls=False, sender="r@example.org", user="me", password=CANARY)


def test_a_password_that_no_login_can_send_is_a_configuration_error_without_it():
    with pytest.raises(BadConfiguration, match="ASCII") as caught:
        Smtp(host="127.0.0.1", port=25, starttls=True, sender="r@example.org", user="me", password=f"é{CANARY}")
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.2"])
def test_a_relay_on_this_machine_may_have_a_login_without_encryption(host):
    Smtp(host=host, port=25, starttls=False, sender="r@example.org", user="me", password=CANARY)


@pytest.mark.parametrize("sender", ["", "nobody", "a@b.c\r\nBcc: x@y.z", "a@b.c, x@y.z"])
def test_a_sender_that_is_not_an_address_is_a_configuration_error(sender):
    with pytest.raises(BadConfiguration, match="sender"):
        Smtp(host="127.0.0.1", port=25, starttls=False, sender=sender)


def test_the_error_says_that_there_is_no_server_or_no_host():
    for host, reason in (
        ("127.0.0.1", "accepts no connection"),
        ("nowhere.invalid", "host without address"),
        ("x" * 70 + ".cn", "without"),
    ):
        mail = Smtp(host=host, port=1, starttls=False, sender="r@example.org")
        not_sent(mail, reason)


@pytest.mark.parametrize(("stage", "limit"), [("RCPT", {"step_timeout": 0.3}), ("DATA", {"deadline": 0.5})])
def test_a_slow_server_is_given_up(stage, limit):
    with MailServer() as server, channel(server, **limit) as mail:
        server.delay(stage, 60.0)
        started = time.monotonic()
        not_sent(mail, "too slow", NotDelivered)
        assert time.monotonic() - started < 20


@pytest.mark.parametrize("line", [b"220-hello\r\n", b"2"])
def test_answers_that_drip_end_at_the_deadline(line):
    with dripping(line) as port:
        mail = Smtp(host="127.0.0.1", port=port, starttls=False, sender="r@example.org", deadline=0.5)
        started = time.monotonic()
        with pytest.raises(Unreachable):
            mail.send(message(), "li@example.org")
        assert time.monotonic() - started < 3


@pytest.mark.parametrize("greeting", [b"220-hello\r\n" * 1000, b"220 hello\r\n" + b"250-hello\r\n" * 1000])
def test_a_reply_without_end_is_left_after_some_lines(greeting):
    with dripping(greeting) as port:
        mail = Smtp(host="127.0.0.1", port=port, starttls=False, sender="r@example.org", deadline=60)
        started = time.monotonic()
        not_sent(mail, "closed the connection, or was too slow")
        assert time.monotonic() - started < 20


def test_what_a_server_says_is_one_printable_line_in_an_error():
    with MailServer() as server, channel(server) as mail:
        server.answer("RCPT", "550-\x1b[31mred\r\n550 " + "x" * 400)
        with pytest.raises(Undeliverable) as caught:
            mail.send(message(), "li@example.org")
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "recipient", ["", "li", "li@example.org\r\nRCPT TO:<all@example.org>", "a@b.c,d@e.f", "李@b.c"]
)
def test_an_invalid_address_is_refused_and_no_command_is_sent(recipient):
    with MailServer() as server, channel(server) as mail:
        with pytest.raises(Undeliverable, match="recipient"):
            mail.send(message(), recipient)
        assert server.connections == 0


def test_no_name_ends_a_header_or_the_mail():
    with MailServer() as server, channel(server) as mail:
        mail.send(message(subject=HOSTILE, text=HOSTILE), "li@example.org")
        [got] = server.mails
        assert got.recipients == ["li@example.org"]
        assert got.message["Bcc"] is None
        assert "\u202e" not in got.message["Subject"]
        assert "alert(1)" in got.text


@contextlib.contextmanager
def dripping(line: bytes):
    """A server that begins to answer and never ends."""
    stop = threading.Event()

    def serve() -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                while not stop.wait(0.05):
                    connection.sendall(line)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        stop.set()
    thread.join(5)
