"""After the first message: the weekly brief, reminders of open alerts, managers who change, escalation."""

import re
import time
from datetime import date, timedelta
from functools import partial
from itertools import batched

import pytest

from benchmarks.programme import assess, assessment_of, configure, register, report, site
from jobs.messages import outbox
from jobs.messages.handovers import add_handover_notes
from jobs.messages.operator_notices import notify_operators
from jobs.messages.outbox import send
from jobs.messages.reminders import remind_managers
from jobs.messages.weekly import add_briefs
from jobs.register.alerting import record_event
from jobs.register.answering import answer_alert
from jobs.runtime.records import from_json
from monitor.alerts.alert import Alert, AlertEvent, Verdict
from monitor.alerts.lifecycle import acknowledge, snooze
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
        add_handover_notes(t, settings, sites, day=day)
        add_briefs(t, settings, sites, day=day)
        remind_managers(t, settings, sites, day=day)
    send(settings, ledger)
    return [(mail.recipients[0], str(mail.message["Subject"]), mail.text) for mail in server.mails[before:]]


def subject_and_text(mails, to="li@example.org"):
    ((subject, text),) = [(subject, text) for recipient, subject, text in mails if recipient == to]
    return subject, text


def react(ledger, name, event, until=None):
    """An alert is acknowledged, or put off until a day, on 1 June."""
    with ledger.transaction() as t:
        alert = from_json(t.alert(f"{name}/failure"), Alert)
        changed = acknowledge(alert, day=JUNE) if until is None else snooze(alert, until=until, day=JUNE)
        record_event(t, changed, event, day=JUNE, by="command")


def answer(ledger, name, verdict):
    with ledger.transaction() as t:
        answer_alert(t, f"{name}/failure", verdict, None, None, JUNE, "command")


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


def test_a_brief_is_not_calm_while_sites_lag_or_were_not_seen_for_three_months(ledger, settings, server):
    names = [f"s{n}" for n in range(1, 13)]
    register(ledger, [site(name, "li@example.org") for name in names])
    september = date(2026, 9, 1)
    assessed(ledger, names[4:], september)
    assessed(ledger, names[:2], september, status=Status.LAGGING, theta=0.33)
    assessed(ledger, names[2:4], september, last_observed=JUNE)
    mails = night(ledger, settings, server, september + timedelta(days=7))
    subject, text = subject_and_text(mails)
    assert subject == "Weekly brief, 8 September 2026: 2 lagging, 2 cannot be seen"
    assert "Site s1 94.6 ha: 33% of the plan (−7% to 23%). Last usable scene 1 September." in text
    assert "Site s3 94.6 ha: Last usable scene 1 June, 99 days ago. Please go and look" in text
    lagging, unseen, on_track = (text.index(f"\n{title} (") for title in ("Lagging", "Cannot be seen", "On track"))
    assert lagging < unseen < on_track
    assert set(re.findall(r"Site (s\d+)", text[on_track:])) == set(names[4:])


@pytest.mark.parametrize(
    ("last", "called_unseen"), [(date(2026, 7, 17), False), (date(2026, 7, 16), True), (None, True)]
)
def test_a_site_without_a_scene_for_45_days_of_its_season_cannot_be_seen(ledger, settings, server, last, called_unseen):
    register(ledger, [site("s1", "li@example.org")])
    assessed(ledger, ["s1"], date(2026, 8, 23), last_observed=last)
    mails = night(ledger, settings, server, date(2026, 8, 30))
    assert any("1 cannot be seen" in subject for _, subject, _ in mails) is called_unseen


def test_a_winter_without_scenes_is_on_track_with_the_age_of_the_imagery(ledger, settings, server):
    register(ledger, [site("s1", "li@example.org")])
    assessed(ledger, ["s1"], date(2026, 10, 10))
    assessed(ledger, ["s1"], date(2027, 4, 20), last_observed=date(2026, 10, 10))
    ((_, subject, text),) = night(ledger, settings, server, date(2027, 4, 20))
    assert subject == "Weekly brief, 20 April 2027: all on track"
    assert "Site s1 (8%, last usable scene 10 October 2026, 192 days ago)" in text


def test_a_brief_has_what_was_put_off_until_its_day_and_what_was_taken_on_and_answered(ledger, settings, server):
    names = ["s1", "s2", "s3", "s4"]
    opened(ledger, settings, names)
    react(ledger, "s1", AlertEvent.ACKNOWLEDGED)
    react(ledger, "s2", AlertEvent.SNOOZED, until=JUNE + timedelta(days=10))
    answer(ledger, "s3", Verdict.CONFIRMED)
    answer(ledger, "s4", Verdict.FALSE_ALARM)
    ((_, subject, text),) = night(ledger, settings, server, JUNE + timedelta(days=7))
    assert subject == "Weekly brief, 8 June 2026: nothing needs an answer"
    later, answered = text.split("\nAnswered, not yet better (2 sites")
    assert "Later (2 sites" in later
    assert "Site s1 94.6 ha: Regrowth absent. Taken on, not yet answered." in later
    assert "Site s2 94.6 ha: Regrowth absent. Put off until 11 June." in later
    assert "Site s3 94.6 ha: Answer: confirmed in the field. Not taking hold." in answered
    assert "Site s4 94.6 ha: Answer: false alarm. Not taking hold." in answered
    ((_, subject, text),) = night(ledger, settings, server, JUNE + timedelta(days=14))
    assert subject == "Weekly brief, 15 June 2026: 1 needs an answer"
    assert "Site s2 94.6 ha: Waiting for 14 days." in text


def test_messages_that_are_held_are_not_given_away_by_the_brief(ledger, settings, server):
    opened(ledger, settings, ["s1", "s2"])
    with ledger.transaction() as t:
        t.change_notices([row["id"] for row in t.notices(alert="s1/failure")], state="held")
    ((_, subject, text),) = night(ledger, settings, server, JUNE + timedelta(days=7))
    assert "1 needs an answer" in subject
    assert "Site s1 (being checked)" in text


def test_first_growth_is_news_for_four_weeks(ledger, settings, server):
    register(ledger, [site("s1", "li@example.org")])
    found = {}
    for number in range(0, 43, 7):
        low = -0.1 if number == 0 else 0.1
        assessed(ledger, ["s1"], JUNE + timedelta(days=number), status=Status.TOO_EARLY, theta=0.6, theta_low=low)
        found |= nights(ledger, settings, server, number)
    improving = [number for number, (subject,) in found.items() if subject.endswith("1 improving")]
    assert improving == [7, 14, 21, 28]
    assert list(found) == [7, 14, 21, 28, 35, 42]


def reminders(ledger, alert="s1/failure"):
    """Days after 1 June on which an alert was repeated."""
    with ledger.reading() as t:
        days = [event["day"] for event in t.events(alert) if event["kind"] == AlertEvent.REMINDED]
    return [(date.fromisoformat(day) - JUNE).days for day in days]


def test_an_open_alert_stands_in_each_weekly_brief_and_nothing_else_is_sent_in_those_weeks(ledger, settings, server):
    opened(ledger, settings)
    found = nights(ledger, settings, server, *range(1, 43))
    weeks = [7, 14, 21, 28, 35, 42]
    assert list(found) == weeks == reminders(ledger)
    assert all(len(subjects) == 1 and subjects[0].endswith("1 needs an answer") for subjects in found.values())
    briefs = [mail for mail in server.mails if "Weekly brief" in mail.message["Subject"]]
    for number, mail in zip(weeks, briefs, strict=True):
        assert f"Site s1 94.6 ha: Waiting for {number} days. Regrowth absent. 8% of the plan" in mail.text
        assert len(set(re.findall(r"https://answers\.example\.org/m/\S+", mail.text))) == 1
        assert not links(mail)


def test_without_a_manager_the_operators_are_reminded_weekly_four_times_then_monthly(ledger, settings, server):
    opened(ledger, settings, manager=None)
    found = nights(ledger, settings, server, *range(1, 120), to="ops@example.org")
    reminder = "[Red alert, reminder] Site s1: regrowth absent"
    days = [number for number, subjects in found.items() if reminder in subjects]
    assert days == [7, 14, 21, 28, 58, 88, 118] == reminders(ledger)
    repeated = [mail for mail in server.mails if "reminder" in mail.message["Subject"]]
    assert len(set.union(*map(links, repeated))) == 7, "each with a fresh link"
    assert "open since 1 June 2026, and nobody has answered it" in repeated[0].text


def test_a_rerun_repeats_nothing_and_ten_missed_nights_are_one_brief(ledger, settings, server):
    opened(ledger, settings)
    assert nights(ledger, settings, server, 17).keys() == {17}
    assert nights(ledger, settings, server, 17, 18, 16, 20) == {}
    assert nights(ledger, settings, server, 24).keys() == {24}
    assert reminders(ledger) == [17, 24]


@pytest.mark.parametrize("act", [
    partial(react, event=AlertEvent.ACKNOWLEDGED), partial(answer, verdict=Verdict.CONFIRMED),
    partial(react, event=AlertEvent.SNOOZED, until=date(2027, 1, 1)),
], ids=["acknowledged", "answered", "snoozed"])  # fmt: skip
def test_an_alert_with_a_reaction_is_not_repeated(ledger, settings, server, act):
    opened(ledger, settings)
    act(ledger, "s1")
    found = nights(ledger, settings, server, *range(1, 20))
    assert list(found) == [7, 14]
    assert all("nothing needs an answer" in subject for (subject,) in found.values())
    assert reminders(ledger) == []


def test_a_reminder_that_waits_is_not_joined_by_another_and_is_withdrawn_by_a_reaction(ledger, settings, server):
    opened(ledger, settings, manager=None)
    server.answer("DATA", "451 later")
    assert nights(ledger, settings, server, 7, 14, 21) == {}
    with ledger.transaction() as t:
        assert [row["event"] for row in t.notices("waiting") if row["kind"] == "alert"] == ["s1/failure/2"]
    react(ledger, "s1", AlertEvent.ACKNOWLEDGED)
    send(settings, ledger)
    with ledger.reading() as t:
        assert [row["event"] for row in t.notices("withdrawn")] == ["s1/failure/2", "s1/failure/3"]


@pytest.mark.parametrize("manager", ["li@example.org", None])
def test_a_reminder_says_that_the_cause_is_no_longer_seen(ledger, settings, server, manager):
    opened(ledger, settings, manager=manager)
    with ledger.transaction() as t:
        t.save_alert(t.alert("s1/failure") | {"clear_since": "2026-06-05"})
    night(ledger, settings, server, JUNE + timedelta(days=7))
    assert re.search("not( been)? seen since 5 June", server.mails[-1].text)


def test_many_reminders_of_a_night_are_one_digest_and_a_mass_fall_holds_none_of_them(ledger, settings, server):
    old, new = [f"s{n}" for n in range(1, 5)], [f"t{n}" for n in range(5)]
    opened(ledger, settings, old, manager=None)
    register(ledger, [site(name, "wang@example.org") for name in new])
    assessed(ledger, new, JUNE)
    report(ledger, settings, new, JUNE + timedelta(days=7))  # all five sites with new scenes decline
    found = night(ledger, settings, server, JUNE + timedelta(days=7))
    text = next(text for to, subject, text in found if (to, subject) == ("ops@example.org", "4 alerts, 4 of them red"))
    assert "[Red alert, reminder] s1 Site s1: regrowth absent, 8% of the planned uplift, open since 1 June 2026" in text
    assert "please look at these sites, and answer" in text
    subject, text = subject_and_text(found, "wang@example.org")
    assert "nothing needs an answer" in subject
    assert text.count("being checked") == len(new)


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


STORY = {
    "en": {
        3: ["[Red alert] Site s1: regrowth absent"], 7: ["Weekly brief, 8 June 2026: 1 needs an answer, 1 lagging"],
        14: ["Weekly brief, 15 June 2026: 1 needs an answer, 1 lagging"], 21: ["Weekly brief, 22 June 2026: 1 lagging"],
        28: ["Weekly brief, 29 June 2026: 1 improving"],
    },
    "zh": {
        3: ["[红色警报] 石坎s1：未见成效"], 7: ["每周简报（2026年6月8日）：1 块等您答复，1 块滞后"],
        14: ["每周简报（2026年6月15日）：1 块等您答复，1 块滞后"], 21: ["每周简报（2026年6月22日）：1 块滞后"],
        28: ["每周简报（2026年6月29日）：1 块好转"],
    },
}  # fmt: skip
SAID = {
    "en": {
        7: "Site s1 94.6 ha: New this week. Regrowth absent.", 14: "Site s1 94.6 ha: Waiting for 11 days.",
        21: "Site s1 94.6 ha: Answer: confirmed in the field. Not taking hold.",
        28: "Site s2 94.6 ha: Was lagging, now on track.",
    },
    "zh": {
        7: "石坎s1 1,419 亩：本周新警报。未见成效。", 14: "石坎s1 1,419 亩：已等 11 天。",
        21: "石坎s1 1,419 亩：答复：属实。未见成效。", 28: "石坎s2 1,419 亩：由“进展滞后”转为“符合规划”。",
    },
}  # fmt: skip


def four_weeks(ledger, settings, server, language):
    """Mails to the manager of three sites by number of the night: an alert, no answer, reminders, an answer."""
    names = ["s1", "s2", "s3"]
    register(ledger, [site(name, "li@example.org", name_zh=f"石坎{name}", manager_language=language) for name in names])
    assessed(ledger, names, JUNE)
    mails = {}
    for number in (1, 3, 5, 7, 10, 14, 17, 18, 21, 25, 28):
        day, before = JUNE + timedelta(days=number), len(server.mails)
        status, theta = (Status.LAGGING, 0.4) if number < 25 else (Status.ON_TRACK, 0.8)
        assessed(ledger, ["s2"], day, status=status, theta=theta)
        assessed(ledger, ["s3"], day)
        if number == 3:
            report(ledger, settings, ["s1"], day)
        else:
            assessed(ledger, ["s1"], day, status=Status.FAILING if number > 3 else Status.ON_TRACK)
        if number == 18:
            with ledger.transaction() as t:
                answer_alert(t, "s1/failure", Verdict.CONFIRMED, None, "goats", day, "link")
        night(ledger, settings, server, day)
        mails[number] = [mail for mail in server.mails[before:] if mail.recipients == ["li@example.org"]]
    return {number: theirs for number, theirs in mails.items() if theirs}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_four_weeks_of_a_manager_alert_no_answer_reminder_answer(ledger, settings, server, language):
    mails = four_weeks(ledger, settings, server, language)
    assert {number: [mail.message["Subject"] for mail in theirs] for number, theirs in mails.items()} == STORY[language]
    for number, said in SAID[language].items():
        assert said in mails[number][0].text
    assert reminders(ledger) == [7, 14]
    addresses = [re.findall(r"https://answers\.example\.org/m/\S+", mails[number][0].text) for number in SAID[language]]
    assert all(len(found) == 1 for found in addresses)
    (escalation,) = [mail for mail in server.mails if mail.recipients == ["ops@example.org"]]
    assert "1 red alert without an answer" in escalation.message["Subject"]


@pytest.mark.slow
def test_the_briefs_of_three_hundred_managers_take_less_than_thirty_seconds_of_processor_time(ledger, settings, server):
    managers = {f"m{n}@example.org": [f"m{n}x{k}" for k in range(10)] for n in range(300)}
    register(ledger, [site(name, manager) for manager, names in managers.items() for name in names])
    every = [name for names in managers.values() for name in names]
    with ledger.transaction() as t:
        for number, names in enumerate(batched(every, 60)):  # a landscape each
            t.add_assessments([assessment_of(name, JUNE, snapshot=f"{number}:1") for name in names], run="run")
    begun = time.process_time()
    night(ledger, settings, server, JUNE + timedelta(days=7))
    assert time.process_time() - begun < 30
    assert sorted(mail.recipients[0] for mail in server.mails) == sorted(managers)
    assert all(name in mail.text for mail in server.mails for name in managers[mail.recipients[0]])


@pytest.mark.parametrize(("alerts", "mails"), [(1, 1), (4, 1)])
def test_a_new_manager_gets_the_open_alerts_once_in_that_night(ledger, settings, server, alerts, mails):
    names = [f"s{n}" for n in range(alerts)]
    opened(ledger, settings, names)
    for name in names:
        handed_over(ledger, name, "wang@example.org")
    found = {to: (subject, text) for to, subject, text in night(ledger, settings, server, JUNE + timedelta(days=3))}
    subject, text = found.pop("wang@example.org")
    assert subject == ("[Red alert, now yours] Site s0: regrowth absent" if alerts == 1 else "4 alerts, 4 of them red")
    assert "open since 1 June 2026" in text
    new = next(mail for mail in reversed(server.mails) if mail.recipients == ["wang@example.org"])
    assert len(links(new)) == alerts
    assert not links(new) & links(server.mails[0])
    subject, text = found.pop("li@example.org")
    assert subject == ("No longer yours: Site s0" if alerts == 1 else "No longer yours: 4 sites")
    assert all(f"Site {name}" in text for name in names)
    assert "wang" not in text
    assert found == {}
    assert nights(ledger, settings, server, 3, *range(4, 10)) == {}, "the former manager gets nothing more"
    assert [mail.recipients for mail in server.mails].count(["wang@example.org"]) == 2, "the alerts, and the brief"


def test_a_new_manager_gets_an_acknowledged_alert_and_no_resolved_one(ledger, settings, server):
    opened(ledger, settings, ["s1", "s2"])
    react(ledger, "s1", AlertEvent.ACKNOWLEDGED)
    answer(ledger, "s2", Verdict.TREATED)
    for name in ("s1", "s2"):
        handed_over(ledger, name, "wang@example.org")
    found = night(ledger, settings, server, JUNE + timedelta(days=1))
    subjects = [subject for to, subject, _ in found if to == "wang@example.org"]
    assert subjects == ["[Red alert, now yours] Site s1: regrowth absent"]


def test_who_got_only_briefs_gets_a_note_on_a_handover_too_and_again_after_the_site_came_back(ledger, settings, server):
    register(ledger, [site("s1", "li@example.org"), site("s2", "li@example.org")])
    assessed(ledger, ["s1", "s2"], JUNE)
    assert list(nights(ledger, settings, server, 7)) == [7]
    handed_over(ledger, "s1", None)
    ((subject, text),) = [mail[1:] for mail in night(ledger, settings, server, JUNE + timedelta(days=8))]
    assert subject == "No longer yours: Site s1"
    assert "the operators of the programme look after" in text
    handed_over(ledger, "s1", "li@example.org")
    found = nights(ledger, settings, server, *range(9, 15))
    assert list(found) == [14]
    handed_over(ledger, "s1", "wang@example.org")
    assert nights(ledger, settings, server, 15, 16) == {15: ["No longer yours: Site s1"]}


def sites_in(mails):
    return {to: re.findall(r"Site (s\d)", text) for to, _, text in mails}


def test_a_new_address_of_the_same_person_a_retired_site_and_a_new_province_need_no_note(ledger, settings, server):
    names = ["s1", "s2", "s3"]
    register(ledger, [site(name, "li@example.org", manager_name="Li Na", province="Gansu") for name in names])
    assessed(ledger, names, JUNE)
    night(ledger, settings, server, JUNE + timedelta(days=7))
    moved = site("s1", "lina@example.org", manager_name="Li Na", version="2")
    register(ledger, [moved, site("s3", "li@example.org", manager_name="Li Na", province="Ningxia", version="2")])
    with ledger.transaction() as t:
        t.retire_site("s2")
    found = night(ledger, settings, server, JUNE + timedelta(days=14))
    assert sites_in(found) == {"lina@example.org": ["s1"], "li@example.org": ["s3"]}


def test_two_managers_of_one_site_each_get_the_brief_of_all_their_sites(ledger, settings, server):
    register(ledger, [site("s1", "li@example.org, wang@example.org"), site("s2", "wang@example.org")])
    assessed(ledger, ["s1", "s2"], JUNE)
    found = night(ledger, settings, server, JUNE + timedelta(days=7))
    assert sites_in(found) == {"li@example.org": ["s1"], "wang@example.org": ["s1", "s2"]}


def test_a_second_address_gets_the_alert_and_the_first_one_does_not_get_it_again(ledger, settings, server):
    opened(ledger, settings)
    handed_over(ledger, "s1", "li@example.org, wang@example.org")
    found = night(ledger, settings, server, JUNE + timedelta(days=1))
    assert [to for to, *_ in found] == ["wang@example.org"]


def test_three_unanswered_red_alerts_are_one_message_with_site_manager_address_and_links(ledger, settings, server):
    names = ["s1", "s2", "s3"]
    register(ledger, [site(name, f"{name}@example.org", manager_name=f"Manager {name}") for name in names])
    report(ledger, settings, names, JUNE)
    send(settings, ledger)
    found = night(ledger, settings, server, JUNE + timedelta(days=14))
    subject, text = subject_and_text(found, "ops@example.org")
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
