"""The life of an alert, night by night."""

from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.alerts import lifecycle
from monitor.alerts.alert import AlertEvent, AlertState, Verdict
from monitor.alerts.lifecycle import QUIET_DAYS, close, next_alerts, resolve
from monitor.verdict.assessment import AlertLevel, Status
from tests.alerts.nights import assessment

FIRST = date(2026, 6, 1)
NONE, WATCH, RED = AlertLevel.NONE, AlertLevel.WATCH, AlertLevel.RED


def day(number):
    return FIRST + timedelta(days=number)


def assessed(number, level, *, scene=None, **more):
    return assessment(day(number), level, scene=None if scene is None else day(scene), **more)


class Story:
    """A site through its nights: its alerts by rule, and what happened."""

    def __init__(self):
        self.alerts, self.events, self.last, self.number = {}, [], None, 0

    def night(self, level, *, days=1, **more):
        self.number += days
        self.take(assessed(self.number, level, **more))
        return self

    def nights(self, *levels, **more):
        for level in levels:
            self.night(level, **more)
        return self

    def cloudy(self, nights, **more):
        """Nights without a new scene, on which the verdict may say anything."""
        for _ in range(nights):
            self.number += 1
            scene = (self.last.last_observed - FIRST).days
            self.take(assessed(self.number, more.get("level", NONE), scene=scene))
        return self

    def take(self, assessment):
        for alert, event in next_alerts(list(self.alerts.values()), assessment, self.last):
            self.alerts[alert.rule] = alert
            if event:
                self.events.append(event if alert.rule == "failure" else (alert.rule, event))
        self.last = assessment

    def person(self, change, rule="failure"):
        self.alerts[rule] = change(self.alerts[rule], day(self.number))
        return self

    def answered(self, verdict=Verdict.CONFIRMED, rule="failure"):
        return self.person(lambda alert, today: resolve(alert, answer=verdict, note="seen", day=today), rule)

    @property
    def alert(self):
        return self.alerts["failure"]


OPENED, WORSENED, REOPENED = AlertEvent.OPENED, AlertEvent.WORSENED, AlertEvent.REOPENED
RESOLVED, WOKEN = AlertEvent.RESOLVED, AlertEvent.WOKEN


def acknowledged(alert, today):
    return lifecycle.acknowledge(alert, note="on my way", day=today)


def snoozed(days):
    return lambda alert, today: lifecycle.snooze(alert, until=today + timedelta(days=days), day=today)


def test_nothing_wrong_opens_nothing():
    story = Story().nights(*[NONE] * 40)
    assert (story.alerts, story.events) == ({}, [])


def test_an_alert_opens_once_however_long_it_lasts_and_is_named_by_site_and_rule_not_by_date():
    story = Story().nights(*[RED] * 100)
    assert story.events == [OPENED]
    assert (story.alert.id, story.alert.state, story.alert.opened) == ("lowood/failure", AlertState.OPEN, day(1))


@pytest.mark.parametrize("answer_on", [None, 0, 1, 7, 15])
@pytest.mark.parametrize("pair", [(WATCH, NONE), (RED, NONE), (RED, WATCH)])
def test_a_value_that_dithers_round_a_threshold_for_thirty_nights_opens_at_most_one_alert(pair, answer_on):
    story = Story()
    for number in range(15):
        story.nights(*pair)
        if number == answer_on:
            story.answered(Verdict.FALSE_ALARM)
    assert story.events == [OPENED]


def test_dithering_between_clouds_is_one_message_too_also_after_an_answer():
    story = Story().night(WATCH).answered().night(NONE).cloudy(40)
    assert story.nights(WATCH, NONE).events == [OPENED], "one clear night does not show that it was gone for a month"
    story.cloudy(QUIET_DAYS).night(NONE).night(WATCH)
    assert story.events == [OPENED, REOPENED], "two clear scenes a month apart do"


def test_it_resolves_by_itself_only_after_thirty_quiet_days():
    story = Story().night(WATCH).nights(*[NONE] * QUIET_DAYS)
    assert story.events == [OPENED]
    assert story.night(NONE).events == [OPENED, RESOLVED]
    assert story.alert.state is AlertState.RESOLVED
    assert story.night(WATCH).events == [OPENED, RESOLVED, REOPENED]
    assert (story.alert.opened, story.alert.clear_since) == (day(QUIET_DAYS + 3), None)


def test_forty_nights_of_cloud_neither_open_nor_confirm_nor_resolve():
    story = Story().night(NONE).cloudy(40, level=RED)
    assert (story.alerts, story.events) == ({}, [])
    story.night(WATCH)
    before = story.alert
    assert story.cloudy(40, level=NONE).alert == before
    assert story.cloudy(40, level=RED).alert == before
    assert story.events == [OPENED]


def test_a_cloudy_month_after_one_clear_night_does_not_resolve():
    story = Story().nights(WATCH, NONE).cloudy(60)
    assert story.events == [OPENED]
    late = assessed(story.number + 1, NONE, scene=5, n_scenes=10**6)  # a scene of long ago that arrived late
    story.take(late)
    assert story.events == [OPENED], "it confirms nothing about the last month"


def test_insufficient_data_changes_nothing_at_all():
    story = Story().night(RED)
    before = story.alert
    story.nights(*[NONE] * 40, status=Status.INSUFFICIENT_DATA)
    assert story.alert == before
    assert story.events == [OPENED]


@pytest.mark.parametrize("act", [acknowledged, snoozed(300)], ids=["acknowledged", "snoozed"])
def test_worse_after_acknowledgement_is_an_update(act):
    story = Story().night(WATCH).person(act).night(RED)
    assert story.events == [OPENED, WORSENED]
    assert (story.alert.level, story.alert.state, story.alert.snoozed_until) == (RED, AlertState.OPEN, None)


def test_a_red_that_falls_to_watch_stays_red_until_it_is_resolved():
    story = Story().nights(RED, *[WATCH] * 100, RED)
    assert (story.alert.level, story.events) == (RED, [OPENED])


def test_a_snooze_ends_on_its_day_if_the_cause_is_seen():
    story = Story().night(WATCH).person(snoozed(10)).nights(*[WATCH] * 9)
    assert (story.alert.state, story.events) == (AlertState.SNOOZED, [OPENED])
    story.night(WATCH)
    assert (story.alert.state, story.alert.snoozed_until) == (AlertState.OPEN, None)
    assert story.nights(WATCH, WATCH).events == [OPENED, WOKEN]


def test_a_snooze_that_ends_under_clouds_wakes_with_the_next_scene():
    story = Story().night(WATCH).person(snoozed(10)).cloudy(20, level=WATCH)
    assert story.events == [OPENED]
    assert story.night(WATCH).events == [OPENED, WOKEN]


def test_a_snoozed_alert_whose_cause_is_gone_is_resolved_and_does_not_wake():
    story = Story().night(WATCH).person(snoozed(5)).nights(*[NONE] * (QUIET_DAYS + 1))
    assert story.events == [OPENED, RESOLVED]
    assert story.alert.snoozed_until is None


def test_whoever_acknowledges_a_snoozed_alert_is_not_woken():
    story = Story().night(WATCH).person(snoozed(5)).person(acknowledged).nights(*[WATCH] * 20)
    assert (story.alert.state, story.events) == (AlertState.ACKNOWLEDGED, [OPENED])


@pytest.mark.parametrize("answer", list(Verdict))
def test_what_a_person_has_answered_is_not_reported_again_until_it_was_gone_or_got_worse(answer):
    def story():
        return Story().night(WATCH).answered(answer).nights(*[WATCH] * 50)

    assert story().events == [OPENED]
    assert lifecycle.is_answered(story().alert)
    assert story().night(RED).events == [OPENED, REOPENED]
    assert story().night(RED).alert.answer is None
    assert story().nights(*[NONE] * QUIET_DAYS, WATCH).events == [OPENED]
    assert story().nights(*[NONE] * (QUIET_DAYS + 1), WATCH).events == [OPENED, REOPENED]


def test_an_answered_red_that_was_only_watch_for_a_month_is_reported_when_it_is_red_again():
    story = Story().night(RED).answered(Verdict.TREATED).nights(*[WATCH] * QUIET_DAYS)
    story.nights(RED, *[WATCH] * (QUIET_DAYS + 1))
    assert story.events == [OPENED], "dithering round red is covered by the answer, and so is the watch"
    assert story.night(RED).events == [OPENED, REOPENED]
    assert (story.alert.level, story.alert.answer) == (RED, None)
    before = Story().nights(RED, *[WATCH] * (QUIET_DAYS + 1)).answered().night(WATCH)
    assert before.night(RED).events == [OPENED, REOPENED], "nor does an answer that came after that month cover it"


def test_an_answer_to_what_is_gone_already_does_not_cover_what_comes_later():
    story = Story().night(RED).nights(*[NONE] * (QUIET_DAYS + 1))
    assert story.answered().alert.answer is Verdict.CONFIRMED
    assert story.night(WATCH).events == [OPENED, RESOLVED, REOPENED]


def test_an_answer_that_is_answered_again_covers_no_more_than_before():
    story = Story().night(RED).answered().nights(*[NONE] * (QUIET_DAYS + 1)).answered(Verdict.FALSE_ALARM)
    assert story.alert.answer is Verdict.FALSE_ALARM
    assert story.night(WATCH).events == [OPENED, REOPENED]


def test_each_rule_has_a_separate_alert():
    story = Story().night(RED, rule="failure").answered()
    story.night(RED, rule="disturbance").night(WATCH, rule="erosion")
    assert story.events == [OPENED, ("disturbance", OPENED), ("erosion", OPENED)]
    assert {alert.id for alert in story.alerts.values()} == {
        "lowood/failure", "lowood/disturbance", "lowood/erosion",
    }  # fmt: skip


def test_while_another_rule_speaks_nothing_is_known_about_this_one():
    story = Story().nights(WATCH, *[NONE] * 10).nights(*[RED] * 40, rule="disturbance")
    story.nights(*[NONE] * QUIET_DAYS)
    assert story.events == [OPENED, ("disturbance", OPENED)]
    story.night(NONE)
    assert story.events[2:] == [RESOLVED, ("disturbance", RESOLVED)]


def test_an_answer_holds_while_another_rule_speaks_and_what_was_gone_stays_gone():
    story = Story().nights(WATCH).answered().nights(NONE).nights(*[RED] * 40, rule="disturbance")
    assert story.nights(WATCH).events == [OPENED, ("disturbance", OPENED)]
    story = Story().nights(WATCH).answered().nights(*[NONE] * (QUIET_DAYS + 1)).nights(RED, rule="disturbance")
    assert story.nights(WATCH).events == [OPENED, ("disturbance", OPENED), REOPENED]


def test_an_alert_of_a_retired_site_opens_again_if_its_cause_is_still_seen_when_the_site_returns():
    story = Story().night(RED).person(lambda alert, today: close(alert, day=today))
    assert (story.alert.state, story.alert.note) == (AlertState.RESOLVED, "the site was retired")
    assert story.night(RED).events == [OPENED, REOPENED]
    noted = Story().night(RED).person(acknowledged).person(lambda alert, today: close(alert, day=today))
    assert noted.alert.note == "on my way", "what a person wrote stays"


def test_a_loss_after_new_work_is_reported_although_the_old_one_was_answered():
    story = Story().night(RED).answered(Verdict.TREATED).person(lambda alert, _: lifecycle.forget_answer(alert))
    assert story.night(RED).events == [OPENED, REOPENED]


LEVELS = st.lists(st.sampled_from([NONE, WATCH, RED]), max_size=120)


@given(levels=LEVELS)
def test_whatever_happens_openings_and_resolutions_alternate_and_levels_never_fall_while_it_is_open(levels):
    story, before = Story(), None
    for level in levels:
        story.night(level)
        after = story.alerts.get("failure")
        if before and before.level is RED and before.state is not AlertState.RESOLVED:
            assert after.level is RED
        before = after
    turns = [event for event in story.events if event is not WORSENED]
    assert turns == [OPENED, *[RESOLVED, REOPENED] * len(turns)][: len(turns)]


@given(levels=LEVELS)
def test_the_same_night_twice_reports_nothing_twice(levels):
    story = Story()
    for level in levels:
        story.night(level)
        before, events = dict(story.alerts), list(story.events)
        story.take(story.last)
        assert (story.alerts, story.events) == (before, events)


@pytest.mark.parametrize(("fell", "sites", "expected"), [
    (6, 10, True), (5, 10, False), (1200, 2000, True), (1199, 2000, False), (5, 8, True), (4, 4, False), (1, 1, False),
    (3, 10, False), (0, 0, False),
])  # fmt: skip
def test_three_sites_of_five_that_fall_in_one_night_are_a_mass_fall_but_a_handful_is_not(fell, sites, expected):
    assert lifecycle.is_mass_fall(fell, sites) is expected


def test_a_new_promise_alone_resolves_no_alert_and_the_fall_of_its_evidence_does():
    story = Story().night(RED, rule="failure")
    (alert,) = story.alerts.values()
    held = replace(alert, promise=1)
    for number, under, state in ((40, RED, "open"), (80, NONE, "open"), (120, NONE, "resolved")):
        now, before = assessed(number, NONE), assessed(number, under, rule="failure")
        steps = next_alerts([held], now, None, {1: before})
        held = steps[0][0] if steps else held
        assert held.state == state
    assert next_alerts([replace(alert, promise=1)], assessed(40, NONE), None) == [], "its evidence cannot be seen"


def test_an_alert_under_an_earlier_promise_gets_worse_by_the_new_one():
    watch = replace(next(iter(Story().night(WATCH, rule="failure").alerts.values())), promise=1)
    under = assessed(20, NONE)
    ((alert, event),) = next_alerts([watch], assessed(20, RED, rule="failure"), None, {1: under})
    assert (event, alert.level) == (AlertEvent.WORSENED, RED)


def test_a_red_that_was_closed_with_its_site_comes_back_by_the_promise_that_it_was_raised_under():
    story = Story().night(RED, rule="failure").person(lambda alert, today: close(alert, day=today))
    (closed,) = (replace(alert, promise=1) for alert in story.alerts.values())
    before = assessed(20, RED, rule="failure")
    ((alert, event),) = next_alerts([closed], assessed(20, NONE), None, {1: before})
    assert (event, alert.level, alert.held_by) == (AlertEvent.REOPENED, RED, 1)
    gone = replace(closed, clear_since=day(1))
    assert gone.held_by is None, "its cause was gone when it was closed"
