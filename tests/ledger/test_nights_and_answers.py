"""Nights and people change the same alerts: nothing that either did is lost, and people have the last word."""

import threading
from collections import defaultdict
from dataclasses import replace
from datetime import date, timedelta
from types import SimpleNamespace
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from jobs.messages.reminders import WEEKLY, remind_managers
from jobs.register.alerting import address_book, record_event, update_alerts
from jobs.register.answering import answer_alert
from jobs.register.episodes import replant
from jobs.register.registry import retire
from jobs.runtime.records import from_json, to_json
from jobs.runtime.settings import AlertsSettings, ChannelSettings, OperatorsSettings
from monitor.alerts.alert import CALLS, REPORTED, Alert, AlertEvent, AlertState, FalseAlarmReason, Verdict
from monitor.alerts.lifecycle import QUIET_DAYS, acknowledge, snooze
from monitor.alerts.recipients import Recipient
from monitor.errors import BadData
from monitor.ledger.ledger import Ledger
from monitor.ledger.transaction import Transaction
from monitor.sites.site import Plan
from monitor.verdict.assessment import AlertLevel, Status
from tests import builders
from tests.alerts.nights import assessment

NONE, WATCH, RED = AlertLevel.NONE, AlertLevel.WATCH, AlertLevel.RED
ORDER = {NONE: 0, WATCH: 1, RED: 2}
RULES = ("failure", "disturbance", "erosion")
FIRST = date(2026, 3, 1)
TO = [Recipient("post", "li@example.org")]
PLAN = Plan(A=0.2, k=0.5, L=1.0, too_early_years=2.0)
SITE = builders.site("lowood", name="Low Wood", hectares=90.0, plan=PLAN, manager_email="li@example.org")
SETTINGS = SimpleNamespace(
    alerts=AlertsSettings(channels=("post",)), operators=OperatorsSettings(),
    channels={"post": ChannelSettings(kind="smtp", host="mail.example.org", sender="regrowth@example.org")},
)  # fmt: skip


@pytest.fixture
def day(monkeypatch):
    """A day on which people act, and a night after it."""
    monkeypatch.setattr("jobs.register.answering.today", lambda: FIRST)
    return FIRST


def fold(events):
    """The alert that its events add up to: what the night needs to know besides is left out."""
    alert = {}
    for event in events:
        kind = AlertEvent(event["kind"])
        if kind in (AlertEvent.OPENED, AlertEvent.REOPENED):
            alert = {
                "state": "open", "level": event["level"], "opened": event["day"], "answer": None,
                "answer_reason": None, "note": None, "snoozed_until": None,
            }  # fmt: skip
            opening, answered = event["number"], ""
        elif kind is AlertEvent.WORSENED:
            alert |= {"state": "open", "level": event["level"], "snoozed_until": None}
        elif kind is AlertEvent.WOKEN:
            alert |= {"state": "open", "snoozed_until": None}
        elif kind in (AlertEvent.RESOLVED, AlertEvent.CLOSED):
            alert |= {"state": "resolved", "snoozed_until": None}
            alert |= {"note": alert["note"] or "the site was retired"} if kind is AlertEvent.CLOSED else {}
        elif kind is AlertEvent.ACKNOWLEDGED:
            alert |= {"state": "acknowledged", "note": event["note"], "snoozed_until": None}
        elif kind is AlertEvent.SNOOZED:
            alert |= {"state": "snoozed", "snoozed_until": event["snoozed_until"]}
        elif kind is AlertEvent.ANSWERED:
            if event["opening"] != opening or event["day"] < answered:
                continue
            answered = event["day"]
            alert |= {"state": "resolved", "answer": event["answer"], "answer_reason": event["reason"]}
            alert |= {"note": event["note"] or alert["note"], "snoozed_until": None}
        else:
            continue
        alert["updated"] = max(event["day"], alert.get("updated", "")) if kind is AlertEvent.ANSWERED else event["day"]
    return alert


class NightsAndPeople(RuleBasedStateMachine):
    """Nights and people change the alerts of one site through the functions that the program uses."""

    @initialize()
    def begin(self):
        self.ledger = Ledger("sqlite://")
        self.day, self.scene, self.n_scenes, self.last, self.start = FIRST, FIRST, 1, None, SITE.start
        self.site = SITE
        self.before = {}  # events of each alert after the step before
        self.seen = defaultdict(list)
        """By rule since its last opening: day and newest scene of each night with evidence, and the level seen (None:
        another rule spoke)."""
        self.limit = {}  # by rule the level that was answered
        with self.ledger.transaction() as t:
            t.add_site("lowood", "v1", to_json(SITE), start=SITE.start.isoformat(), now="2021-01-01")

    def teardown(self):
        if hasattr(self, "ledger"):
            self.ledger.close()

    def alerts(self):
        with self.ledger.reading() as t:
            return {values["rule"]: from_json(values, Alert) for values in t.alerts_of("lowood")}

    # nights

    @rule(
        level=st.sampled_from([NONE, WATCH, RED]), alert_rule=st.sampled_from(["failure", *RULES]),
        days=st.sampled_from([1, 5, 16]), lag=st.sampled_from([0, 0, 2]),
        sky=st.sampled_from(["clear", "clear", "clear", "cloud", "insufficient"]),
    )  # fmt: skip
    def night(self, level, alert_rule, days, sky, lag):
        self.one_night(level, alert_rule, days, sky, lag)

    def one_night(self, level, alert_rule, days, sky, lag):
        self.day += timedelta(days=days)
        if sky != "cloud":
            self.scene, self.n_scenes = max(self.scene, self.day - timedelta(days=lag)), self.n_scenes + 1
        status = Status.INSUFFICIENT_DATA if sky == "insufficient" else Status.FAILING
        verdict = assessment(self.day, level, rule=alert_rule, status=status, scene=self.scene, n_scenes=self.n_scenes)
        alerts = self.alerts()
        with self.ledger.transaction() as t:
            if t.site("lowood") is None:
                return
            update_alerts(t, stored_alerts(t), verdict, self.last, address_book(SETTINGS).of_site(self.site))
            remind_managers(t, SETTINGS, [self.site], day=self.day)
            remind_managers(t, SETTINGS, [self.site], day=self.day)  # a rerun repeats nothing
            sent = [row["id"] for row in t.notices("waiting")]
            t.change_notices(sent, state="sent")
        evidence = sky == "clear" or (sky == "cloud" and self.last is None)
        self.last = verdict
        self.check_night(alerts, verdict, len(sent), evidence=evidence)
        self.check_messages(alerts)
        self.events_are_never_lost_and_add_up_to_the_alerts()

    @rule(level=st.sampled_from([NONE, WATCH]), alert_rule=st.sampled_from(RULES[:2]), nights=st.integers(2, 4))
    def spell(self, level, alert_rule, nights):
        """Weeks without a change."""
        for _ in range(nights):
            self.one_night(level, alert_rule, days=16, sky="clear", lag=0)

    def check_night(self, alerts, verdict, messages, *, evidence):
        after = self.alerts()
        with self.ledger.reading() as t:
            events = {name: t.events(f"lowood/{name}")[len(self.before.get(name, ())) :] for name in after}
        assert all(len(new) <= 1 for new in events.values()), "at most one event a night and alert"
        assert messages == sum(AlertEvent(event["kind"]) in REPORTED for new in events.values() for event in new)
        assert evidence or alerts == after, "a night without evidence changes nothing"
        if not evidence:
            return
        for name, old in alerts.items():
            spoke = verdict.alert is not NONE
            seen = (verdict.alert if verdict.alert_rule == name else None) if spoke else NONE
            self.seen[name].append((verdict.as_of, verdict.last_observed, seen))
            kinds = {AlertEvent(event["kind"]) for event in events[name]}
            if old.answer is not None and old.state is AlertState.RESOLVED:
                assert (AlertEvent.REOPENED in kinds) is self.is_news(name, seen), self.seen[name]
                assert kinds or after[name].answer is old.answer
                assert kinds <= {AlertEvent.REOPENED}
            if old.state is not AlertState.RESOLVED:
                assert ORDER[after[name].level] >= ORDER[old.level]
                assert (AlertEvent.WORSENED in kinds) is (seen is not None and ORDER[seen] > ORDER[old.level])
            if AlertEvent.RESOLVED in kinds:
                assert self.lasted(name, WATCH)

    def check_messages(self, alerts):
        """The manager of today has each alert that is not resolved, and is reminded of each open one in time."""
        for name, alert in self.alerts().items():
            with self.ledger.reading() as t:
                events, notices = t.events(f"lowood/{name}"), t.notices(alert=f"lowood/{name}")
            calls = [event for event in events if event["kind"] in (*CALLS, AlertEvent.REMINDED)]
            opened = max(event["number"] for event in calls if event["kind"] in ("opened", "reopened"))
            reached = {row["recipient"] for row in notices if row["payload"]["number"] >= opened}
            assert alert.state is AlertState.RESOLVED or self.site.manager_email in reached
            days = [date.fromisoformat(event["day"]) for event in calls]
            kinds = [event["kind"] for event in calls]
            weekly = kinds[-WEEKLY:].count("reminded") < WEEKLY
            if alert.state is AlertState.OPEN:
                assert (self.day - days[-1]).days < (7 if weekly else 30)
            if events[-1]["kind"] == "reminded" and len(events) > len(self.before[name]):
                assert alerts[name].state is AlertState.OPEN
                assert (days[-1] - days[-2]).days >= 7

    def is_news(self, name, level):
        """Whether a level is above the answered one, or was not seen for a month since."""
        if level in (None, NONE):
            return False
        return ORDER[level] > ORDER[self.limit[name]] or self.lasted(name, level)

    def lasted(self, name, level):
        """Whether only levels below this one were seen for a month since it was seen last, which a scene confirms."""
        nights = self.seen[name]
        last = max((k for k, (*_, seen) in enumerate(nights[:-1]) if seen and ORDER[seen] >= ORDER[level]), default=-1)
        nights = nights[last + 1 :]
        return any(
            (scene - first).days >= QUIET_DAYS
            and all(value is not None and ORDER[value] < ORDER[level] for *_, value in nights[i : j + 1])
            for i, (first, _, _) in enumerate(nights)
            for j, (_, scene, _) in enumerate(nights[i:], start=i)
        )

    # people

    @rule(data=st.data(), act=st.sampled_from([*["ack", "snooze", "answer"] * 4, "retire", "replant"]))
    def person(self, data, act):
        if act == "retire":
            self.retires_the_site_and_takes_it_back()
        elif act == "replant":
            self.replants()
        else:
            states = set(AlertState) - ({AlertState.RESOLVED} if act != "answer" else set())
            names = sorted(name for name, alert in self.alerts().items() if alert.state in states)
            if names:
                name = data.draw(st.sampled_from(names))
                (self.answers if act == "answer" else self.takes_charge)(data, name, act)

    def takes_charge(self, data, name, act):
        alert, until = self.alerts()[name], self.day + timedelta(days=data.draw(st.sampled_from([1, 10, 60])))
        acknowledged = acknowledge(alert, note=f"noted {self.day}", day=self.day)
        changed = acknowledged if act == "ack" else snooze(alert, until=until, day=self.day)
        event = AlertEvent.ACKNOWLEDGED if act == "ack" else AlertEvent.SNOOZED
        with self.ledger.transaction() as t:
            record_event(t, changed, event, day=self.day, by="command")

    def answers(self, data, name, _):
        verdict, note = data.draw(st.sampled_from(list(Verdict))), data.draw(st.sampled_from([None, "fenced", "=cmd"]))
        ago, old = data.draw(st.sampled_from([0, 0, 0, 3, 50])), self.alerts()[name]
        reason = FalseAlarmReason.SNOW if verdict is Verdict.FALSE_ALARM else None
        with mock.patch("jobs.register.answering.today", return_value=self.day), self.ledger.transaction() as t:
            finding = self.day - timedelta(days=ago)
            given = answer_alert(t, f"lowood/{name}", verdict, reason, note, finding, "command")
        after = self.alerts()[name]
        assert given.alert == after
        if given.is_newest:
            assert (after.state, after.answer, after.answer_reason) == (AlertState.RESOLVED, verdict, reason)
            if old.answer is None:
                over = old.state is AlertState.RESOLVED and old.clear_since is not None
                self.limit[name] = NONE if over else old.level
        else:
            assert ago
            assert after == old

    def retires_the_site_and_takes_it_back(self):
        retire(self.ledger, ["lowood"], today=self.day)
        assert all(alert.state is AlertState.RESOLVED for alert in self.alerts().values())
        with self.ledger.transaction() as t:
            t.add_site("lowood", "v1", to_json(self.site), start=SITE.start.isoformat(), now="2026-01-01")

    @rule(address=st.sampled_from(["li@example.org", "wang@example.org"]))
    def manager_changes(self, address):
        self.site = replace(SITE, manager_email=address)

    def replants(self):
        if self.day == self.start:
            return
        self.start = self.day
        with mock.patch("jobs.register.answering.today", return_value=self.day):
            replant(self.ledger, "lowood", start=self.day, why="frost", alpha=0.05, today=self.day)
        alerts = self.alerts()
        assert all(alert.state is AlertState.RESOLVED for alert in alerts.values())
        self.limit = dict.fromkeys(alerts, NONE)

    # what always holds

    @invariant()
    def events_are_never_lost_and_add_up_to_the_alerts(self):
        if not hasattr(self, "ledger"):
            return
        with self.ledger.reading() as t:
            stored = t.alerts()
            events = {alert["rule"]: t.events(alert["id"]) for alert in stored}
        assert len({(alert["site"], alert["rule"]) for alert in stored}) == len(stored)
        for alert in stored:
            name = alert["rule"]
            assert alert["id"] == f"lowood/{name}"
            assert events[name][: len(self.before.get(name, ()))] == self.before.get(name, [])
            assert [event["number"] for event in events[name]] == list(range(1, len(events[name]) + 1))
            added = fold(events[name])
            assert {key: alert[key] for key in added} == added
            for event in events[name][len(self.before.get(name, ())) :]:
                if event["kind"] in ("opened", "reopened"):
                    self.seen[name] = []
        self.before = events


def lived(examples):
    """Settings of the machine."""
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    return settings(max_examples=examples, stateful_step_count=40, deadline=None, suppress_health_check=checks)


def test_nights_and_people_never_lose_or_overwrite_what_the_other_did():
    run_state_machine_as_test(NightsAndPeople, settings=lived(5))


@pytest.mark.slow
def test_nights_and_people_never_lose_or_overwrite_what_the_other_did_in_many_lives():
    run_state_machine_as_test(NightsAndPeople, settings=lived(100))


def test_an_answer_that_comes_while_a_night_is_writing_has_the_last_word(ledgers, day):
    night, person = ledgers
    update(night, assessment(day, WATCH))
    writing = threading.Event()

    def answer():
        writing.wait(10)
        with person.transaction() as t:
            answer_alert(t, "lowood/failure", Verdict.CONFIRMED, None, "dead", day, "link", link="l1")

    answering = threading.Thread(target=answer)
    answering.start()
    with night.transaction() as t:
        writing.set()
        answering.join(1)  # it waits for the night
        update_alerts(t, stored_alerts(t), assessment(day + timedelta(days=1), RED), None, TO)
    answering.join(20)
    with night.reading() as t:
        alert, events = t.alert("lowood/failure"), t.events("lowood/failure")
    assert (alert["state"], alert["answer"], alert["level"]) == ("resolved", "confirmed", "red")
    assert [event["kind"] for event in events] == ["opened", "worsened", "answered"]


def test_a_night_that_comes_while_a_person_answers_leaves_the_answer(ledgers, day):
    night, person = ledgers
    update(night, assessment(day, RED))
    answering = threading.Event()

    def judge():
        answering.wait(10)
        update(night, assessment(day + timedelta(days=1), RED))

    judging = threading.Thread(target=judge)
    judging.start()
    with person.transaction() as t:
        alert = t.alert("lowood/failure")
        answering.set()
        judging.join(1)  # it waits for the answer
        answer_alert(t, alert["id"], Verdict.FALSE_ALARM, FalseAlarmReason.SNOW, None, day, "link")
    judging.join(20)
    with night.reading() as t:
        alert, events, rows = t.alert("lowood/failure"), t.events("lowood/failure"), t.notices("waiting")
    assert (alert["state"], alert["answer"], alert["answer_reason"]) == ("resolved", "false-alarm", "snow")
    assert [event["kind"] for event in events] == ["opened", "answered"]
    assert len(rows) == 1


def stored_alerts(t):
    return [from_json(values, Alert) for values in t.alerts_of("lowood")]


def update(ledger, verdict, previous=None):
    with ledger.transaction() as t:
        update_alerts(t, stored_alerts(t), verdict, previous, TO)


def test_an_event_and_its_messages_are_stored_together_or_not_at_all(ledger, day, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError

    monkeypatch.setattr(Transaction, "add_notice", broken)
    with pytest.raises(RuntimeError):
        update(ledger, assessment(day, RED))
    with ledger.reading() as t:
        assert (t.alerts(), t.all_events(), t.notices("waiting")) == ([], [], [])


def test_an_answer_link_answers_once(ledger, day):
    update(ledger, assessment(day, RED))
    with ledger.transaction() as t:
        answer_alert(t, "lowood/failure", Verdict.CONFIRMED, None, None, day, "link", link="l1")
    with pytest.raises(BadData, match="was answered by this link already"), ledger.transaction() as t:
        answer_alert(t, "lowood/failure", Verdict.TREATED, None, None, day, "link", link="l1")
    with ledger.reading() as t:
        assert (len(t.events("lowood/failure")), t.alert("lowood/failure")["answer"]) == (2, "confirmed")


def test_a_photo_belongs_to_the_answer_that_it_came_with(ledger, day):
    update(ledger, assessment(day, RED))
    photo = {"id": "f" * 64, "taken": "2026-03-01T10:00:00", "latitude": 36.0, "longitude": 100.0, "content": b"jpeg"}
    with ledger.transaction() as t:
        given = answer_alert(t, "lowood/failure", Verdict.CONFIRMED, None, " ", day, "link", photos=[photo])
        assert t.photos("lowood/failure") == [{**photo, "alert": "lowood/failure", "number": given.number}]
        assert given.alert.note is None


def test_a_finding_about_an_earlier_opening_does_not_close_the_present_one(ledger, day):
    later = day + timedelta(days=60)
    update(ledger, assessment(day, RED))
    update(ledger, assessment(day + timedelta(days=1), NONE))
    update(ledger, assessment(day + timedelta(days=40), NONE))
    update(ledger, assessment(later, RED))
    finding = day - timedelta(days=3)  # the manager was there before the satellite
    with ledger.transaction() as t:
        given = answer_alert(t, "lowood/failure", Verdict.CONFIRMED, None, "dead", finding, "import")
        assert not given.is_newest
    with ledger.reading() as t:
        assert (t.alert("lowood/failure")["state"], t.alert("lowood/failure")["answer"]) == ("open", None)
        assert [event.get("opening") for event in t.events("lowood/failure")] == [None, None, None, 1]
