"""After the first message: the weekly message, reminders of open alerts, managers who change, escalation."""

import re
from datetime import date, timedelta

import pytest

from benchmarks.programme import assess, configure, register, report, site
from jobs.messages import outbox
from jobs.messages.operator_notices import notify_operators
from jobs.messages.outbox import send
from jobs.messages.reminders import remind_managers
from jobs.register.alerting import record_event
from jobs.register.answering import answer_alert
from jobs.reports.quiet import add_quiet_notices
from jobs.runtime.records import from_json
from monitor.alerts.alert import Alert, AlertEvent, Verdict
from monitor.alerts.lifecycle import acknowledge, snooze
from monitor.ledger.ledger import Ledger
from monitor.sites.site import Site
from monitor.verdict.assessment import AlertLevel, Status
from tests.loopback.mail import MailServer

JUNE = date(2026, 6, 1)
MORE = """
[operators]
channels = ["mail"]
email = "ops@example.org"
[outputs]
base_url = "https://pages.example.org"
[answers]
base_url = "https://answers.example.org"
"""


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(outbox, "QUICK_RETRIES", ())
    monkeypatch.setenv("REGROWTH_ANSWER_KEY", "a key of thirty-two characters, or more")
    with MailServer() as running:
        yield running


@pytest.fixture
def settings(tmp_path, server):
    return configure(tmp_path, port=server.port, more=MORE)


@pytest.fixture
def ledger(settings):
    opened = Ledger(settings.ledger.url)
    yield opened
    opened.close()


def assessed(ledger, names, day, **more):
    with ledger.transaction() as t:
        for name in names:
            assess(t, name, day, **more)


def night(ledger, settings, server, day):
    """Mails that the night of a day sends: recipient, subject and text of each."""
    before = len(server.mails)
    with ledger.reading() as t:
        sites = [from_json(values, Site) for values in t.sites()]
    notify_operators(settings, ledger, sites, as_of=day)
    with ledger.transaction() as t:
        remind_managers(t, settings, sites, day=day)
        add_quiet_notices(t, settings, sites, day=day)
    send(settings, ledger)
    return [(mail.recipients[0], str(mail.message["Subject"]), mail.text) for mail in server.mails[before:]]


def nights(ledger, settings, server, *numbers, to="li@example.org"):
    """By number of the night after 1 June the subjects of the mails to somebody; nights without any are left out."""
    found = {}
    for number in numbers:
        mails = night(ledger, settings, server, JUNE + timedelta(days=number))
        found[number] = [subject for recipient, subject, _ in mails if recipient == to]
    return {number: subjects for number, subjects in found.items() if subjects}


def opened(ledger, settings, names=("s1",), manager="li@example.org"):
    """Red alerts of 1 June that their manager was sent."""
    register(ledger, [site(name, manager) for name in names])
    report(ledger, settings, names, JUNE)
    send(settings, ledger)


def handed_over(ledger, name, to):
    register(ledger, [site(name, to, version=f"version of {to}")])


def links(mail):
    return set(re.findall(r"https://answers\.example\.org/a/\S+", mail.text))


# the weekly message


def test_a_week_is_not_all_quiet_while_sites_lag_or_were_not_seen_for_three_months(ledger, settings, server):
    names = [f"s{n}" for n in range(1, 13)]
    register(ledger, [site(name, "li@example.org") for name in names])
    september = date(2026, 9, 1)
    assessed(ledger, names[4:], september)
    assessed(ledger, names[:2], september, status=Status.LAGGING, theta=0.33)
    assessed(ledger, names[2:4], september, last_observed=JUNE)
    mails = night(ledger, settings, server, september + timedelta(days=7))
    ((subject, text),) = [(subject, text) for to, subject, text in mails if to == "li@example.org"]
    assert subject == "Weekly report on your sites: 8 quiet, 4 to look at"
    assert "Site s1 (s1): lagging, 33% of the planned uplift" in text
    assert "Site s3 (s3): not seen since 1 June 2026" in text
    attention, quiet = text.split("Quiet sites (8):")
    assert set(re.findall(r"\((s\d+)\)", attention)) == set(names[:4])
    assert set(re.findall(r"Site (s\d+)", quiet)) == set(names[4:])
    assert "1 September 2026 (7 days ago) or later" in quiet


@pytest.mark.parametrize(
    ("last", "called_quiet"), [(date(2026, 7, 17), True), (date(2026, 7, 16), False), (None, False)]
)
def test_a_site_is_quiet_if_it_was_seen_within_45_days_of_its_growing_season(
    ledger, settings, server, last, called_quiet
):
    register(ledger, [site("s1", "li@example.org")])
    assessed(ledger, ["s1"], date(2026, 8, 1), last_observed=last)
    mails = night(ledger, settings, server, date(2026, 8, 30))
    assert any(subject.startswith("All quiet") for _, subject, _ in mails) is called_quiet


def test_a_winter_without_scenes_is_quiet(ledger, settings, server):
    register(ledger, [site("s1", "li@example.org")])
    assessed(ledger, ["s1"], date(2026, 10, 10))
    ((_, subject, text),) = night(ledger, settings, server, date(2027, 4, 20))
    assert subject == "All quiet at your site"
    assert "little was seen" in text


def test_the_weekly_message_names_an_acknowledged_alert_and_what_was_answered(ledger, settings, server):
    opened(ledger, settings, ["s1", "s2", "s3"])
    register(ledger, [site("s4", "li@example.org")])
    assessed(ledger, ["s4"], JUNE)
    with ledger.transaction() as t:
        alert = from_json(t.alert("s1/failure"), Alert)
        record_event(t, acknowledge(alert, day=JUNE), AlertEvent.ACKNOWLEDGED, day=JUNE, by="command")
        answer_alert(t, "s2/failure", Verdict.CONFIRMED, None, None, JUNE, "command")
        answer_alert(t, "s3/failure", Verdict.FALSE_ALARM, None, None, JUNE, "command")
    ((_, subject, text),) = night(ledger, settings, server, JUNE + timedelta(days=7))
    assert subject == "Weekly report on your sites: 1 quiet, 3 to look at"
    assert "Site s1 (s1): Red alert since 1 June 2026: regrowth absent" in text
    assert "Site s2 (s2): not taking hold, 8% of the planned uplift; answered: confirmed in the field" in text
    assert "Site s3 (s3): not taking hold, 8% of the planned uplift; answered: false alarm" in text


# reminders


def test_an_open_alert_is_repeated_weekly_four_times_then_monthly_and_nothing_else_is_sent_in_those_weeks(
    ledger, settings, server
):
    opened(ledger, settings)
    reminder = ["[Red alert, reminder] Site s1: regrowth absent"]
    found = nights(ledger, settings, server, *range(1, 34))
    assert found == dict.fromkeys((7, 14, 21, 28), reminder)
    assert list(nights(ledger, settings, server, *range(34, 120))) == [
        35,
        42,
        49,
        56,
        58,
        65,
        72,
        79,
        86,
        88,
        95,
        102,
        109,
        116,
        118,
    ]
    first, *repeated = [mail for mail in server.mails if mail.recipients == ["li@example.org"] and links(mail)]
    assert len(set.union(*map(links, [first, *repeated]))) == 1 + 7, "each with a fresh link"
    assert "open since 1 June 2026, and nobody has answered it" in repeated[0].text
    assert repeated[0].message["References"] == first.id


def test_a_rerun_repeats_nothing_and_ten_missed_nights_are_one_reminder(ledger, settings, server):
    opened(ledger, settings)
    assert nights(ledger, settings, server, 17).keys() == {17}
    assert nights(ledger, settings, server, 17, 18, 16, 23) == {}
    assert nights(ledger, settings, server, 24).keys() == {24}


@pytest.mark.parametrize("act", ["acknowledged", "snoozed", "answered"])
def test_an_alert_with_a_reaction_is_not_repeated(ledger, settings, server, act):
    opened(ledger, settings)
    with ledger.transaction() as t:
        alert = from_json(t.alert("s1/failure"), Alert)
        if act == "answered":
            answer_alert(t, alert.id, Verdict.CONFIRMED, None, None, JUNE, "command")
        elif act == "snoozed":
            record_event(t, snooze(alert, until=date(2027, 1, 1), day=JUNE), AlertEvent.SNOOZED, day=JUNE, by="command")
        else:
            record_event(t, acknowledge(alert, day=JUNE), AlertEvent.ACKNOWLEDGED, day=JUNE, by="command")
    found = nights(ledger, settings, server, *range(1, 20))
    assert found == {day: ["Weekly report on your sites: 0 quiet, 1 to look at"] for day in (7, 14)}


def test_a_reminder_that_waits_is_not_joined_by_another_and_is_withdrawn_by_a_reaction(ledger, settings, server):
    opened(ledger, settings)
    server.answer("DATA", "451 later")
    assert nights(ledger, settings, server, 7, 14, 21) == {}
    with ledger.transaction() as t:
        assert [row["event"] for row in t.notices("waiting") if row["kind"] == "alert"] == ["s1/failure/2"]
        alert = from_json(t.alert("s1/failure"), Alert)
        record_event(t, acknowledge(alert, day=JUNE), AlertEvent.ACKNOWLEDGED, day=JUNE, by="command")
    send(settings, ledger)
    with ledger.reading() as t:
        assert [row["event"] for row in t.notices("withdrawn")] == ["s1/failure/2", "s1/failure/3"]


def test_a_reminder_says_that_the_cause_is_no_longer_seen(ledger, settings, server):
    opened(ledger, settings)
    with ledger.transaction() as t:
        t.save_alert(t.alert("s1/failure") | {"clear_since": "2026-06-05"})
    night(ledger, settings, server, JUNE + timedelta(days=7))
    assert "has not been seen since 5 June 2026, but an answer is still needed" in server.mails[-1].text


def test_many_reminders_of_a_night_are_one_digest_and_a_mass_fall_holds_none_of_them(ledger, settings, server):
    old, new = [f"s{n}" for n in range(1, 5)], [f"t{n}" for n in range(5)]
    opened(ledger, settings, old)
    register(ledger, [site(name, "wang@example.org") for name in new])
    assessed(ledger, new, JUNE)
    report(ledger, settings, new, JUNE + timedelta(days=7))  # all five sites with new scenes decline
    found = night(ledger, settings, server, JUNE + timedelta(days=7))
    assert [(to, subject) for to, subject, _ in found if to != "ops@example.org"] == [
        ("li@example.org", "4 alerts, 4 of them red")
    ]
    text = next(text for to, _, text in found if to == "li@example.org")
    assert "[Red alert, reminder] s1 Site s1: regrowth absent, 8% of the planned uplift, open since 1 June 2026" in text
    assert "please look at these sites, and answer" in text


def test_the_alert_of_a_lot_is_repeated_monthly_to_the_operators(ledger, settings, server):
    values = {"id": "lot-1/lot", "site": "lot-1", "level": AlertLevel.RED, "rule": "lot", "state": "open"}
    alert = from_json({**values, "opened": JUNE.isoformat(), "updated": JUNE.isoformat()}, Alert)
    with ledger.transaction() as t:
        record_event(t, alert, AlertEvent.OPENED, day=JUNE, by="night", recipients=[("mail", "ops@example.org")])
        for number in range(1, 70):
            t.change_notices([row["id"] for row in t.notices("waiting")], state="sent")
            remind_managers(t, settings, [], day=JUNE + timedelta(days=number))
        events = [(event["kind"], event["day"]) for event in t.events("lot-1/lot")]
    assert events == [("opened", "2026-06-01"), ("reminded", "2026-07-01"), ("reminded", "2026-07-31")]


# managers who change


@pytest.mark.parametrize(("alerts", "mails"), [(1, 1), (4, 1)])
def test_a_new_manager_gets_the_open_alerts_once_in_that_night(ledger, settings, server, alerts, mails):
    names = [f"s{n}" for n in range(alerts)]
    opened(ledger, settings, names)
    for name in names:
        handed_over(ledger, name, "wang@example.org")
    found = [mail for mail in night(ledger, settings, server, JUNE + timedelta(days=3))]
    assert [to for to, *_ in found] == ["wang@example.org"] * mails
    assert found[0][1] == (
        "[Red alert, now yours] Site s0: regrowth absent" if alerts == 1 else "4 alerts, 4 of them red"
    )
    assert "open since 1 June 2026" in found[0][2]
    assert len(links(server.mails[-1])) == alerts
    assert not links(server.mails[-1]) & links(server.mails[0])
    assert nights(ledger, settings, server, 3, *range(4, 10)) == {}, "the former manager gets nothing more"
    assert nights(ledger, settings, server, 3, *range(4, 12), to="wang@example.org").keys() == {10}


def test_a_new_manager_gets_an_acknowledged_alert_and_no_resolved_one(ledger, settings, server):
    opened(ledger, settings, ["s1", "s2"])
    with ledger.transaction() as t:
        alert = from_json(t.alert("s1/failure"), Alert)
        record_event(t, acknowledge(alert, day=JUNE), AlertEvent.ACKNOWLEDGED, day=JUNE, by="command")
        answer_alert(t, "s2/failure", Verdict.TREATED, None, None, JUNE, "command")
    for name in ("s1", "s2"):
        handed_over(ledger, name, "wang@example.org")
    found = night(ledger, settings, server, JUNE + timedelta(days=1))
    assert [(to, subject) for to, subject, _ in found] == [
        ("wang@example.org", "[Red alert, now yours] Site s1: regrowth absent")
    ]


def test_a_second_address_gets_the_alert_and_the_first_one_does_not_get_it_again(ledger, settings, server):
    opened(ledger, settings)
    handed_over(ledger, "s1", "li@example.org, wang@example.org")
    found = night(ledger, settings, server, JUNE + timedelta(days=1))
    assert [to for to, *_ in found] == ["wang@example.org"]


# the operators


def test_three_unanswered_red_alerts_are_one_message_with_site_manager_address_and_links(ledger, settings, server):
    names = ["s1", "s2", "s3"]
    register(ledger, [site(name, f"{name}@example.org", manager_name=f"Manager {name}") for name in names])
    report(ledger, settings, names, JUNE)
    send(settings, ledger)
    found = night(ledger, settings, server, JUNE + timedelta(days=14))
    ((subject, text),) = [(subject, text) for to, subject, text in found if to == "ops@example.org"]
    assert subject.startswith("Regrowth monitor: 3 red alerts without an answer")
    for name in names:
        line = f"Site {name} ({name}/failure): regrowth absent, open since 1 June 2026, 14 days without an answer. "
        assert f"{line}Manager: Manager {name}, {name}@example.org (mail)" in text
        assert f"https://pages.example.org/sites/{name}/index.html" in text
    mail = next(mail for mail in server.mails if mail.recipients == ["ops@example.org"])
    assert len(links(mail)) == 3
    assert nights(ledger, settings, server, 14, 15, 30, to="ops@example.org") == {}
    with ledger.reading() as t:
        kinds = [[event["kind"] for event in t.events(f"{name}/failure")] for name in names]
    assert all(found.count("escalated") == 1 for found in kinds)
