"""No message is lost, none is sent twice under two ids, and a dead receiver delays nobody."""

import json
import re
import signal
import time
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest

from benchmarks.programme import assess, configure, register, report, site
from jobs.cli import main
from jobs.messages import outbox
from jobs.messages.handovers import add_handover_notes
from jobs.messages.outbox import SendResult, send
from jobs.messages.weekly import add_briefs
from jobs.proof.chain import append_line, chain_head
from jobs.register.alerting import address_book
from jobs.runtime.records import from_json, to_json
from monitor.alerts.alert import Alert, AlertEvent, Verdict
from monitor.alerts.channels.smtp import Smtp
from monitor.alerts.lifecycle import resolve
from monitor.errors import BadConfiguration, TryLater
from monitor.ledger.ledger import Ledger
from monitor.sites.site import Site
from tests import forked
from tests.loopback.mail import MailServer
from tests.loopback.receivers import Hook

DAY = date(2026, 6, 30)
KEY = "a key of thirty-two characters, or more"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(outbox, "QUICK_RETRIES", (0.01, 0.02))


@pytest.fixture
def server():
    with MailServer() as running:
        yield running


@pytest.fixture
def url(request):
    if getattr(request, "param", "sqlite") == "sqlite":
        return "sqlite:///regrowth.db"
    return request.getfixturevalue("postgresql")(template=request.getfixturevalue("migrated"))


@pytest.fixture
def settings(tmp_path, server, url):
    return configure(tmp_path, port=server.port, ledger=url)


both = pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)
"""Of a test that depends on the kind of database."""


def programme(ledger, managers, *, idle=True):
    """Register a site for each address, ``s1`` and so on; returns their names.

    As many others stay without alerts (`idle`), so that the night is not one on which most sites fall.
    """
    names = [f"s{number}" for number in range(1, len(managers) + 1)]
    register(ledger, [site(name, email) for name, email in zip(names, managers, strict=True)])
    register(ledger, [site(f"idle {name}", None) for name in names if idle])
    return names


def rows(ledger):
    with ledger.reading() as t:
        return t.notices("waiting", "held", "sent", "dead", "withdrawn")


def states(ledger):
    return {row["site"]: row["state"] for row in rows(ledger)}


def later(monkeypatch, after):
    """Advance the clock of the outbox."""
    moment = (datetime.now(UTC) + after).isoformat(timespec="milliseconds")
    monkeypatch.setattr(outbox, "now", lambda: moment)


@both
def test_each_alert_reaches_its_manager_once_however_often_it_is_sent(settings, ledger, server):
    names = programme(ledger, ["li@example.org", "wang@example.org"])
    report(ledger, settings, names, DAY)
    assert send(settings, ledger) == SendResult(sent=2, waiting=0, dead=0)
    assert send(settings, ledger) == SendResult(sent=0, waiting=0, dead=0)
    assert [mail.recipients for mail in server.mails] == [["li@example.org"], ["wang@example.org"]]
    assert {row["message"] in mail.id for row, mail in zip(rows(ledger), server.mails, strict=True)} == {True}


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA"])
def test_smtp_451_then_250_is_delivered_in_the_same_night(settings, ledger, server, stage):
    report(ledger, settings, programme(ledger, ["li@example.org"]), DAY)
    server.answer(stage, "451 try again", times=2)
    assert send(settings, ledger) == SendResult(sent=1, waiting=0, dead=0)
    (row,) = rows(ledger)
    assert (row["state"], row["attempts"], len(server.mails)) == ("sent", 3, 1)
    assert len({mail.id for mail in server.attempts}) == 1


@both
def test_550_for_one_of_two_recipients_is_dead_at_once_and_the_other_is_sent(settings, ledger, server):
    report(ledger, settings, programme(ledger, ["gone@example.org, li@example.org"]), DAY)
    server.answer("RCPT", "550 no such user", recipient="gone@example.org")
    assert send(settings, ledger) == SendResult(sent=1, waiting=0, dead=1)
    assert [mail.recipients for mail in server.mails] == [["li@example.org"]]
    found = {row["recipient"]: (row["state"], row["attempts"]) for row in rows(ledger)}
    assert found == {"gone@example.org": ("dead", 1), "li@example.org": ("sent", 1)}
    assert "no such user" in next(row["error"] for row in rows(ledger) if row["state"] == "dead")
    assert send(settings, ledger) == SendResult(sent=0, waiting=0, dead=0)


def test_a_connection_dropped_after_data_is_tried_again_with_the_same_message_id(settings, ledger, server):
    report(ledger, settings, programme(ledger, ["li@example.org"]), DAY)
    server.drop_after_data(times=1)
    assert send(settings, ledger).sent == 1
    first, second = server.attempts
    assert first.id == second.id
    server.drop_after_data(times=3)
    report(ledger, settings, ["s1"], DAY + timedelta(days=1), event=AlertEvent.WORSENED)
    assert send(settings, ledger) == SendResult(sent=0, waiting=1, dead=0)
    assert send(settings, ledger) == SendResult(sent=1, waiting=0, dead=0)
    assert len({mail.id for mail in server.attempts[2:]}) == 1, "the next night sends it under the same id as well"


@pytest.mark.parametrize(("alerts", "mails"), [(3, 3), (4, 1)])
def test_more_alerts_to_one_manager_in_a_night_than_digest_above_are_one(settings, ledger, server, alerts, mails):
    names = programme(ledger, ["li@example.org"] * alerts)
    report(ledger, settings, names, DAY)
    assert send(settings, ledger) == SendResult(sent=mails, waiting=0, dead=0)
    texts = "".join(mail.text for mail in server.mails)
    assert all(name in texts for name in names)


def test_a_digest_states_the_head_of_the_chain_that_is_newest_when_it_is_sent(settings, ledger, server):
    report(ledger, settings, programme(ledger, ["li@example.org"] * 4), DAY)
    with ledger.transaction() as t:
        append_line(t, night=DAY)
        head = chain_head(t)
    send(settings, ledger)
    (mail,) = server.mails
    assert head.hash in mail.text


@both
def test_300_alerts_in_a_night_are_one_digest_that_names_every_site(settings, ledger, server):
    names = programme(ledger, ["li@example.org"] * 300)
    report(ledger, settings, names, DAY)
    assert send(settings, ledger) == SendResult(sent=1, waiting=0, dead=0)
    (mail,) = server.mails
    named = set(re.findall(r"\bs\d+\b", mail.text))
    assert set(names) <= named
    assert len(mail.raw) <= 100_000


def test_alerts_of_the_same_night_that_come_later_are_one_message_more(settings, ledger, server):
    names = programme(ledger, ["li@example.org"] * 6)
    report(ledger, settings, names[:3], DAY)
    assert send(settings, ledger).sent == 3
    report(ledger, settings, names[3:], DAY)
    assert send(settings, ledger).sent == 1
    assert len(server.mails) == 4


def test_which_notices_are_one_message_does_not_change_once_it_was_tried(settings, ledger, server):
    names = programme(ledger, ["li@example.org"] * 5)
    report(ledger, settings, names[:2], DAY)
    server.answer("DATA", "451 later", times=2 * 3)
    assert send(settings, ledger) == SendResult(sent=0, waiting=2, dead=0)
    before = [row["message"] for row in rows(ledger)]
    report(ledger, settings, names[2:], DAY)
    assert send(settings, ledger) == SendResult(sent=3, waiting=0, dead=0)
    assert [row["message"] for row in rows(ledger)][:2] == before
    assert Counter(mail.id for mail in server.mails).most_common(1)[0][1] == 1


def test_the_same_notices_give_the_same_id_in_another_ledger(tmp_path, server):
    found = []
    for folder in (tmp_path / "one", tmp_path / "restored"):
        folder.mkdir()
        settings = configure(folder, port=server.port)
        ledger = Ledger(settings.ledger.url)
        report(ledger, settings, programme(ledger, ["li@example.org"] * 4 + ["wang@example.org"]), DAY)
        send(settings, ledger)
        found.append({row["site"]: row["message"] for row in rows(ledger)})
        ledger.close()
    assert found[0] == found[1]
    assert len(set(found[0].values())) == 2


@both
def test_a_sender_killed_between_sending_and_marking_sends_that_message_again_with_its_id_and_no_other(
    tmp_path, settings, ledger, server
):
    names = programme(ledger, ["li@example.org", "wang@example.org", "zhao@example.org"])
    report(ledger, settings, names, DAY)
    killed = forked.run(["-m", "tests.alerts.killed_sender", tmp_path / "regrowth.toml", "2"])
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [row["state"] for row in rows(ledger)] == ["sent", "waiting", "waiting"]
    assert [row["lease"] is None for row in rows(ledger)] == [True, False, True]
    assert send(settings, ledger) == SendResult(sent=2, waiting=0, dead=0)
    sent = [(mail.recipients[0][:2], mail.id) for mail in server.mails]
    assert [to for to, _ in sent] == ["li", "wa", "wa", "zh"]
    assert sent[1] == sent[2]
    assert len(set(sent)) == 3
    assert {row["lease"] for row in rows(ledger)} == {None}


@both
def test_a_sender_whose_lease_was_taken_over_marks_nothing(settings, ledger, server, monkeypatch):
    report(ledger, settings, programme(ledger, ["li@example.org"]), DAY)
    whole = Smtp.send

    def overtaken(self, message, recipient):
        monkeypatch.setattr(Smtp, "send", whole)
        assert send(settings, ledger).sent == 1
        whole(self, message, recipient)
        return "250 of the first sender"

    monkeypatch.setattr(Smtp, "send", overtaken)
    assert send(settings, ledger) == SendResult(sent=0, waiting=0, dead=0)
    (row,) = rows(ledger)
    assert (row["state"], row["attempts"], row["lease"]) == ("sent", 2, None)
    assert "first sender" not in row["error"]
    assert len({mail.id for mail in server.mails}) == 1


@both
def test_a_sender_that_lost_the_ledger_sends_nothing_more(settings, ledger, server, monkeypatch):
    report(ledger, settings, programme(ledger, ["li@example.org", "wang@example.org"]), DAY)
    whole = Smtp.send

    def taken_over(self, message, recipient):
        other = Ledger(settings.ledger.url)
        other.take("a night of another host")
        other.close()
        return whole(self, message, recipient)

    monkeypatch.setattr(Smtp, "send", taken_over)
    ledger.take("a night")
    with pytest.raises(TryLater, match="taken over by a night of another host"):
        send(settings, ledger)
    assert len(server.mails) == 1


def test_a_dead_server_costs_no_connection_for_each_message(tmp_path, monkeypatch):
    settings = configure(tmp_path, port=1)  # never given to a server of another test, as a port that was free might be
    ledger = Ledger(settings.ledger.url)
    names = programme(ledger, [f"manager{n}@example.org" for n in range(50)])
    report(ledger, settings, names, DAY)
    import socket

    connect, tries = socket.create_connection, []
    monkeypatch.setattr(socket, "create_connection", lambda *a, **k: (tries.append(1), connect(*a, **k))[1])
    begun = time.monotonic()
    assert send(settings, ledger) == SendResult(sent=0, waiting=50, dead=0)
    assert time.monotonic() - begun < 10
    assert len(tries) <= 3
    assert {row["attempts"] for row in rows(ledger)} == {1, 2}
    assert len({row["error"] for row in rows(ledger)}) == 1
    assert all(row["next_try"] for row in rows(ledger))
    ledger.close()


def test_a_server_that_answers_too_slowly_is_not_waited_for_by_each_message(settings, ledger, server, monkeypatch):
    monkeypatch.setattr(outbox, "SLOW", 0.2)
    monkeypatch.setattr(outbox, "RETRY_TIME", 0.0)
    report(ledger, settings, programme(ledger, [f"manager{n}@example.org" for n in range(10)]), DAY)
    server.delay("DATA", 0.3)
    server.answer("DATA", "451 later")
    assert send(settings, ledger) == SendResult(sent=0, waiting=10, dead=0)
    assert len(server.attempts) == 2
    assert {row["attempts"] for row in rows(ledger)} == {1}


def test_slow_recipients_do_not_delay_messages_to_others(settings, ledger, server, monkeypatch):
    monkeypatch.setattr(outbox, "SLOW", 0.2)
    report(ledger, settings, programme(ledger, [f"manager{n}@example.org" for n in range(6)]), DAY)
    hangs = [f"manager{n}@example.org" for n in (0, 1, 2)]
    for recipient in hangs:
        server.delay("RCPT", 0.3, recipient=recipient)
        server.answer("RCPT", "451 the host of the recipient does not answer", recipient=recipient)
    assert send(settings, ledger) == SendResult(sent=3, waiting=3, dead=0)
    assert {row["recipient"] for row in rows(ledger) if row["state"] == "waiting"} == set(hangs)


def test_a_message_to_the_operators_does_not_queue_behind_all_mails(settings, ledger, server, tmp_path):
    with Hook(secret=None) as hook:
        ops = f'[channels.ops]\nkind = "webhook"\nurl = "{hook.url}"\nallow_hosts = ["127.0.0.1"]\n'
        settings = configure(tmp_path, port=server.port, more=f'{ops}[operators]\nchannels = ["ops"]\n')
        report(ledger, settings, programme(ledger, [f"manager{n}@example.org" for n in range(4)]), DAY)
        with ledger.transaction() as t:
            payload = {"site": "s1", "last_observed": DAY.isoformat(), "days": 50}
            recipients = address_book(settings).of_operators()
            t.add_notice("silence/s1", "silence", payload, day=DAY.isoformat(), recipients=recipients, site="s1")
        mails_before, check = [], hook.check
        hook.check = lambda request: mails_before.append(len(server.mails)) or check(request)
        send(settings, ledger)
        assert mails_before == [0]
        assert (len(hook.messages), len(server.mails)) == (1, 4)


def test_a_server_that_is_back_the_next_night_gets_everything(settings, ledger, server, tmp_path):
    names = programme(ledger, ["li@example.org", "wang@example.org"])
    report(ledger, settings, names, DAY)
    assert send(configure(tmp_path, port=1), ledger).waiting == 2
    assert send(settings, ledger) == SendResult(sent=2, waiting=0, dead=0), "a night does not wait for the next try"
    assert {row["next_try"] for row in rows(ledger)} == {None}


def test_between_nights_the_wait_doubles_up_to_a_day_and_ends_after_a_week(settings, ledger, server, monkeypatch):
    report(ledger, settings, programme(ledger, ["li@example.org"]), DAY)
    server.answer("DATA", "451 later")
    waits, after = [], timedelta()
    while rows(ledger)[0]["state"] == "waiting":
        later(monkeypatch, after)
        send(settings, ledger, night=False)
        (row,) = rows(ledger)
        if row["next_try"]:
            wait = datetime.fromisoformat(row["next_try"]) - datetime.fromisoformat(outbox.now())
            waits.append(wait)
            assert send(settings, ledger, night=False) == SendResult(sent=0, waiting=1, dead=0)
            assert rows(ledger)[0]["attempts"] == row["attempts"], "before its time only a night tries it"
            after += wait
    assert waits[0] == timedelta(minutes=10)
    assert waits[-1] == timedelta(days=1)
    assert all(a <= b for a, b in pairwise(waits))
    assert timedelta(days=7) <= after <= timedelta(days=8)
    assert (row["state"], row["error"].count("451")) == ("dead", 1)
    assert send(settings, ledger) == SendResult(sent=0, waiting=0, dead=0)


@pytest.mark.parametrize("night", [True, False])
def test_a_night_tries_every_message_whatever_its_backoff(settings, ledger, server, night):
    report(ledger, settings, programme(ledger, ["li@example.org"]), DAY)
    server.answer("DATA", "451 later", times=3)
    assert send(settings, ledger).waiting == 1
    assert send(settings, ledger, night=night).sent == night


def test_a_missing_secret_or_channel_makes_its_messages_wait_until_it_is_there_and_no_others(
    tmp_path, server, monkeypatch
):
    more = """
[channels.login]
kind = "smtp"
host = "127.0.0.1"
port = 1
starttls = false
sender = "a@example.org"
user = "regrowth"
[channels.old]
kind = "wecom"
"""
    settings = configure(tmp_path, port=server.port, more=more)
    ledger = Ledger(settings.ledger.url)
    channels = {"s1": "login", "s2": "old", "s3": None}
    register(ledger, [site(name, "li@example.org", manager_channel=channel) for name, channel in channels.items()])
    report(ledger, settings, channels, DAY)
    without = configure(tmp_path, port=server.port, more=more.partition("[channels.old]")[0])
    assert send(without, ledger) == SendResult(sent=1, waiting=2, dead=0)
    found = {row["site"]: row["error"] for row in rows(ledger)}
    assert "REGROWTH_CHANNEL_LOGIN_PASSWORD" in found["s1"]
    assert "[channels.old]" in found["s2"]
    later(monkeypatch, timedelta(days=8))
    assert send(without, ledger) == SendResult(sent=0, waiting=2, dead=0), "they were never tried"
    ledger.close()


def fallen(ledger, settings, *, managers=6):
    """A night on which most sites fall at once."""
    names = programme(ledger, [f"manager{n}@example.org" for n in range(managers)], idle=False)
    with ledger.transaction() as t:
        for name in names:
            assess(t, name, DAY - timedelta(days=5))
    report(ledger, settings, names, DAY)
    return names


def test_messages_held_by_a_mass_fall_wait_until_they_are_released(settings, ledger, server):
    names = fallen(ledger, settings)
    for _ in range(2):
        assert send(settings, ledger) == SendResult(sent=0, waiting=len(names), dead=0)
    assert set(states(ledger).values()) == {"held"}
    assert server.mails == []
    server.answer("DATA", "451 later", recipient="manager0@example.org", times=3)
    assert send(settings, ledger, release=True, night=False) == SendResult(sent=5, waiting=1, dead=0)
    assert send(settings, ledger) == SendResult(sent=1, waiting=0, dead=0), "what was released is not held again"
    assert len({mail.id for mail in server.mails}) == len(server.mails) == 6


def test_a_release_that_was_killed_is_not_forgotten_by_the_next_night(settings, ledger, server, monkeypatch):
    fallen(ledger, settings)
    assert send(settings, ledger).waiting == 6

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(outbox._Sender, "_claim", killed)
        with pytest.raises(KeyboardInterrupt):
            send(settings, ledger, release=True, night=False)
    assert send(settings, ledger) == SendResult(sent=6, waiting=0, dead=0)


def test_operators_hear_once_how_many_messages_a_mass_fall_holds(settings, ledger, server, tmp_path):
    settings = configure(tmp_path, port=server.port, more=OPERATORS)
    names = programme(ledger, ["li@example.org"] * 5 + ["wang@example.org"], idle=False)
    report(ledger, settings, names, DAY)
    assert send(settings, ledger) == SendResult(sent=1, waiting=2, dead=0), "five alerts to one manager are one message"
    assert send(settings, ledger) == SendResult(sent=0, waiting=2, dead=0)
    (mail,) = server.mails
    assert mail.recipients == ["ops@example.org"]
    assert "6 of 6 sites" in mail.text
    assert "2 messages to managers are held" in mail.text


def answered(ledger, name):
    """A person answers the alert of a site."""
    with ledger.transaction() as t:
        alert = from_json(t.alert(f"{name}/failure"), Alert)
        t.save_alert(to_json(resolve(alert, answer=Verdict.TREATED, note=None, day=DAY)))


@both
def test_what_is_answered_or_retired_while_it_waits_is_withdrawn(settings, ledger, server):
    names = programme(ledger, ["li@example.org"] * 3)
    report(ledger, settings, names, DAY)
    answered(ledger, "s1")
    with ledger.transaction() as t:
        t.retire_site("s2")
    assert send(settings, ledger) == SendResult(sent=1, waiting=0, dead=0)
    assert states(ledger) == {"s1": "withdrawn", "s2": "withdrawn", "s3": "sent"}
    report(ledger, settings, ["s1"], DAY + timedelta(days=40), event=AlertEvent.RESOLVED)
    assert send(settings, ledger).sent == 0, "an alert that was never reported is not reported as resolved"


def test_an_answer_that_comes_while_others_are_sent_withdraws_the_rest(settings, ledger, server, monkeypatch):
    report(ledger, settings, programme(ledger, ["li@example.org", "wang@example.org"]), DAY)
    whole = Smtp.send
    monkeypatch.setattr(Smtp, "send", lambda *a: (answered(ledger, "s2"), whole(*a))[1])
    assert send(settings, ledger) == SendResult(sent=1, waiting=0, dead=0)
    assert states(ledger) == {"s1": "sent", "s2": "withdrawn"}


def test_a_message_that_cannot_be_composed_waits_and_the_others_are_sent(settings, ledger, server, monkeypatch):
    report(ledger, settings, programme(ledger, ["li@example.org", "wang@example.org"]), DAY)
    whole = outbox.compose

    def broken(t, settings, notices, *, key):
        if notices[0]["site"] == "s1":
            msg = "a bug"
            raise ZeroDivisionError(msg)
        return whole(t, settings, notices, key=key)

    monkeypatch.setattr(outbox, "compose", broken)
    assert send(settings, ledger) == SendResult(sent=1, waiting=1, dead=0)
    assert next(row["error"] for row in rows(ledger) if row["site"] == "s1") == "ZeroDivisionError: a bug"
    monkeypatch.undo()
    assert send(settings, ledger) == SendResult(sent=1, waiting=0, dead=0)


def test_later_messages_about_an_alert_are_listed_under_its_first_one_to_the_same_recipient(settings, ledger, server):
    report(ledger, settings, programme(ledger, ["li@example.org", "wang@example.org"]), DAY)
    send(settings, ledger)
    report(ledger, settings, ["s1"], DAY + timedelta(days=5), event=AlertEvent.WORSENED)
    send(settings, ledger)
    report(ledger, settings, ["s1"], DAY + timedelta(days=9), event=AlertEvent.RESOLVED)
    send(settings, ledger)
    first, _, second, third = server.mails
    assert "References" not in first.message
    assert second.message["References"] == third.message["References"] == first.id
    assert len({mail.id for mail in server.mails}) == 4


ANSWERS = '[answers]\nbase_url = "https://answers.example.org"\nvalid_days = 2.0\n'


def links(mail):
    return re.findall(r"https://answers\.example\.org/a/\S+", mail.text)


@pytest.mark.parametrize("alerts", [1, 4])
def test_each_alert_has_a_link_to_answer_that_counts_from_the_moment_of_sending(
    settings, ledger, server, tmp_path, monkeypatch, alerts
):
    from monitor.alerts.links import LinkExpired, read_link

    settings = configure(tmp_path, port=server.port, more=ANSWERS)
    monkeypatch.setenv("REGROWTH_ANSWER_KEY", KEY)
    report(ledger, settings, programme(ledger, ["li@example.org"] * alerts), DAY)
    server.answer("DATA", "451 later", times=3)
    send(settings, ledger)
    assert send(settings, ledger).sent == 1
    (mail,) = server.mails
    found = dict.fromkeys(links(mail))
    assert len(found) == alerts
    tokens = [link.rpartition("/")[2] for link in found]
    now = datetime.now(UTC)
    assert {read_link(token, KEY, now) for token in tokens} == {row["link"] for row in rows(ledger)}
    with pytest.raises(LinkExpired):
        read_link(tokens[0], KEY, now + timedelta(days=2))
    read_link(tokens[0], KEY, now + timedelta(days=1.99))


def test_no_link_stands_in_a_message_that_an_alert_is_over(settings, ledger, server, tmp_path, monkeypatch):
    settings = configure(tmp_path, port=server.port, more=ANSWERS)
    monkeypatch.setenv("REGROWTH_ANSWER_KEY", KEY)
    report(ledger, settings, programme(ledger, ["li@example.org"]), DAY)
    send(settings, ledger)
    report(ledger, settings, ["s1"], DAY + timedelta(days=40), event=AlertEvent.RESOLVED)
    send(settings, ledger)
    assert [len(links(mail)) for mail in server.mails] == [1, 0]


def test_without_a_key_for_links_nothing_is_sent_and_the_error_says_what_to_set(settings, ledger, server, tmp_path):
    settings = configure(tmp_path, port=server.port, more=ANSWERS)
    report(ledger, settings, programme(ledger, ["li@example.org"]), DAY)
    with pytest.raises(BadConfiguration, match="REGROWTH_ANSWER_KEY"):
        send(settings, ledger)
    assert server.mails == []


OPERATORS = '[operators]\nchannels = ["mail"]\nemail = "ops@example.org"\n'


def test_silent_sites_of_one_night_are_one_message_to_the_operators(settings, ledger, server, tmp_path):
    settings = configure(tmp_path, port=server.port, more=OPERATORS)
    names = programme(ledger, ["li@example.org"] * 2)
    with ledger.transaction() as t:
        for name in names:
            assess(t, name, DAY, last_observed=date(2026, 5, 1))
            payload = {"site": name, "last_observed": "2026-05-01", "days": 60}
            t.add_notice(
                f"silence/{name}/2026-05-01", "silence", payload, day=DAY.isoformat(), site=name,
                recipients=address_book(settings).of_operators(),
            )  # fmt: skip
    assert send(settings, ledger) == SendResult(sent=1, waiting=0, dead=0)
    (mail,) = server.mails
    assert mail.recipients == ["ops@example.org"]
    assert all(name in mail.text for name in names)


def briefs(ledger, settings, day):
    """Who gets a brief on a day."""
    before = {row["id"] for row in rows(ledger)}
    with ledger.transaction() as t:
        add_briefs(t, settings, [from_json(values, Site) for values in t.sites()], day=day)
    return sorted(row["recipient"] for row in rows(ledger) if row["id"] not in before)


def assessed(ledger, names, day, **more):
    with ledger.transaction() as t:
        for name in names:
            assess(t, name, day, **more)


@both
def test_a_manager_gets_one_brief_a_calendar_week_that_names_every_site_and_none_in_the_first_week(
    settings, ledger, server
):
    names = programme(ledger, ["li@example.org", "li@example.org", "wang@example.org"])
    assessed(ledger, names, DAY)
    assert DAY.isoweekday() == 2
    found = {}
    for later_days in range(22):
        day = DAY + timedelta(days=later_days)
        if to := briefs(ledger, settings, day):
            found[later_days] = to
            assert briefs(ledger, settings, day) == []
            send(settings, ledger)
    assert found == {days: ["li@example.org", "wang@example.org"] for days in (7, 13, 20)}
    assert {row["event"] for row in rows(ledger)} == {"brief/2026-W28", "brief/2026-W29", "brief/2026-W30"}
    to_li = [mail for mail in server.mails if mail.recipients == ["li@example.org"]]
    assert len(to_li) == 3
    assert all("s1" in mail.text and "s2" in mail.text for mail in to_li)


def test_who_has_an_open_alert_or_got_a_message_this_week_gets_the_brief_too(settings, ledger):
    names = programme(ledger, ["li@example.org", "wang@example.org"])
    assessed(ledger, names, DAY)
    report(ledger, settings, ["s1"], DAY + timedelta(days=6))
    assert briefs(ledger, settings, DAY + timedelta(days=7)) == ["li@example.org", "wang@example.org"]


def test_operators_in_place_of_a_manager_and_files_get_no_brief(settings, ledger, server, tmp_path):
    names = programme(ledger, [None])
    assessed(ledger, names, DAY)
    for settings in (configure(tmp_path, port=server.port, more=OPERATORS), configure(tmp_path, port=server.port)):
        assert briefs(ledger, settings, DAY + timedelta(days=10)) == []


def test_a_night_of_an_earlier_day_adds_no_brief(settings, ledger):
    names = programme(ledger, ["li@example.org"])
    for day in (0, 30):
        assessed(ledger, names, DAY + timedelta(days=day))
    assert briefs(ledger, settings, DAY + timedelta(days=20)) == []
    assert briefs(ledger, settings, DAY + timedelta(days=30)) == ["li@example.org"]


def test_a_brief_that_waits_gives_way_to_the_next_one_and_to_nothing_without_a_site_left(settings, ledger, server):
    names = programme(ledger, ["li@example.org", "wang@example.org"])
    assessed(ledger, names, DAY)
    server.answer("DATA", "451 later", times=100)
    for days in (7, 14):
        assert briefs(ledger, settings, DAY + timedelta(days=days))
        send(settings, ledger)
    assert Counter(row["state"] for row in rows(ledger)) == {"withdrawn": 2, "waiting": 2}
    with ledger.transaction() as t:
        t.retire_site("s1")
    send(settings, ledger)
    last = {row["recipient"]: row["error"] for row in rows(ledger) if row["event"] == "brief/2026-W29"}
    assert last["li@example.org"] == "the manager has no site left"
    assert "451" in last["wang@example.org"]


@both
def test_a_former_manager_gets_one_note_on_a_handover(settings, ledger, server):
    names = programme(ledger, ["li@example.org", "li@example.org"])
    report(ledger, settings, names, DAY)
    send(settings, ledger)
    register(ledger, [site(name, "wang@example.org", version="2") for name in names])
    for days in (1, 2):
        with ledger.transaction() as t:
            sites = [from_json(values, Site) for values in t.sites()]
            add_handover_notes(t, settings, sites, day=DAY + timedelta(days=days))
        send(settings, ledger)
    *_, note = [mail for mail in server.mails if mail.recipients == ["li@example.org"]]
    assert len(server.mails) == 3, "two alerts, and one note about both sites"
    assert note.message["Subject"] == "No longer yours: 2 sites"
    assert all(name in note.text for name in names)


def run(tmp_path, capsys, *arguments):
    """Exit status and stdout of a command."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        main(["alerts", *arguments, "--config", str(tmp_path / "regrowth.toml")])
    return left.value.code, capsys.readouterr().out


def test_the_outbox_lists_messages_with_their_state_attempts_and_error(settings, ledger, server, tmp_path, capsys):
    addresses = ["li@example.org"] * 4 + ["gone@example.org", "busy@example.org"]
    report(ledger, settings, programme(ledger, addresses), DAY)
    server.answer("RCPT", "550 no such user", recipient="gone@example.org")
    server.answer("DATA", "451 try again", recipient="busy@example.org")
    send(settings, ledger)
    code, out = run(tmp_path, capsys, "outbox", "--json")
    listed = {one["recipient"]: one for one in json.loads(out)}
    assert code == 0
    assert {name: (one["state"], one["attempts"]) for name, one in listed.items()} == {
        "li@example.org": ("sent", 1), "gone@example.org": ("dead", 1), "busy@example.org": ("waiting", 3),
    }  # fmt: skip
    assert listed["li@example.org"].keys() == {"message_id", "channel", "recipient", "state", "attempts", "error"}
    assert listed["li@example.org"]["message_id"] in server.mails[0].id
    assert (listed["li@example.org"]["error"], listed["li@example.org"]["channel"]) == (None, "mail")
    assert "451" in listed["busy@example.org"]["error"]
    code, out = run(tmp_path, capsys, "outbox")
    assert code == 0
    assert "1 waiting:\n  mail to busy@example.org: alert of 2026-06-30 (s6); attempts: 3, since" in out
    assert "1 given up:\n  mail to gone@example.org: alert of 2026-06-30 (s5); attempts: 1, since" in out
    assert "no such user" in out
    assert "regrowth sites add" in out
    assert out.endswith("Messages: 1 waiting, 0 held, 1 given up, 1 sent.\n")


def test_the_outbox_says_how_to_release_held_messages_and_release_sends_them(
    settings, ledger, tmp_path, capsys, server
):
    fallen(ledger, settings)
    send(settings, ledger)
    _, out = run(tmp_path, capsys, "outbox")
    assert "6 held:\n" in out
    assert "regrowth alerts release" in out
    assert {one["state"] for one in json.loads(run(tmp_path, capsys, "outbox", "--json")[1])} == {"held"}
    code, out = run(tmp_path, capsys, "release", "--json")
    assert (code, json.loads(out)) == (0, {"messages_sent": 6, "messages_waiting": 0})
    server.answer("RCPT", "550 no such user")
    report(ledger, settings, ["s1"], DAY + timedelta(days=1), event=AlertEvent.WORSENED)
    code, out = run(tmp_path, capsys, "release")
    assert (code, "1 given up" in out) == (10, True)
