"""The life of an alert, night by night."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.alerts.alert import AlertEvent, AlertState
from monitor.alerts.lifecycle import QUIET_DAYS, acknowledge, is_mass_fall, resolve, snooze
from monitor.alerts.lifecycle import next_alerts as next_alert
from monitor.verdict.assessment import AlertLevel, Assessment, Status

FIRST = date(2026, 6, 1)
NONE, WATCH, RED = AlertLevel.NONE, AlertLevel.WATCH, AlertLevel.RED


def night(number, level, *, status=None, seen=True, rule="failure"):
    day = FIRST + timedelta(days=number)
    if status is None:
        status = Status.ON_TRACK if level is NONE else Status.FAILING
    numbers = dict.fromkeys(
        ("probability", "theta", "theta_low", "theta_high", "uplift", "uplift_low", "uplift_high", "expected", "cover",
         "control_cover", "e_failure", "hectares", "hectares_failing")
    )  # fmt: skip
    return Assessment(
        site="lowood", as_of=day, last_observed=day if seen else FIRST - timedelta(days=1), status=status, alert=level,
        alert_rule=None if level is NONE else rule, n_scenes=9, n_pre=3, reasons=(), **numbers,
    )  # fmt: skip


def live(levels, start=0, alert=None):
    events = []
    for number, level in enumerate(levels, start=start):
        alert, event = next_alert(alert, night(number, level))
        events += [event] if event else []
    return alert, events


def test_nothing_wrong_opens_nothing():
    assert live([NONE] * 40) == (None, [])


def test_an_alert_opens_once_however_long_it_lasts():
    alert, events = live([RED] * 100)
    assert events == [AlertEvent.OPENED]
    assert alert.state is AlertState.OPEN
    assert alert.id == "lowood/2026-06-01"


def test_dithering_round_a_threshold_for_thirty_nights_tells_once():
    _, events = live([WATCH, NONE] * 15)
    assert events == [AlertEvent.OPENED]


def test_it_resolves_by_itself_only_after_thirty_quiet_days():
    alert, events = live([WATCH] + [NONE] * QUIET_DAYS)
    assert events == [AlertEvent.OPENED]
    alert, event = next_alert(alert, night(QUIET_DAYS + 1, NONE))
    assert event is AlertEvent.RESOLVED
    assert alert.state is AlertState.RESOLVED


def test_forty_nights_of_cloud_neither_confirm_nor_resolve():
    alert, _ = live([WATCH])
    for number in range(1, 41):
        alert, event = next_alert(alert, night(number, NONE, seen=False))
        assert event is None
    assert alert.state is AlertState.OPEN


def test_insufficient_data_changes_nothing_at_all():
    alert, _ = live([RED])
    same, event = next_alert(alert, night(50, NONE, status=Status.INSUFFICIENT_DATA))
    assert same is alert
    assert event is None


def test_a_watch_that_turns_red_says_so_even_after_acknowledgement_or_snooze():
    for change in (acknowledge, lambda alert: snooze(alert, FIRST + timedelta(days=300))):
        alert, _ = live([WATCH])
        alert, event = next_alert(change(alert), night(1, RED))
        assert event is AlertEvent.WORSENED
        assert (alert.level, alert.state) == (RED, AlertState.OPEN)


def test_a_red_that_sinks_to_watch_stays_red():
    alert, events = live([RED, WATCH, WATCH])
    assert alert.level is RED
    assert events == [AlertEvent.OPENED]


def test_a_snooze_ends_on_its_day_without_a_word():
    alert, _ = live([WATCH])
    alert = snooze(alert, FIRST + timedelta(days=10))
    alert, events = live([WATCH] * 9, start=1, alert=alert)
    assert (alert.state, events) == (AlertState.SNOOZED, [])
    alert, events = live([WATCH], start=10, alert=alert)
    assert (alert.state, events) == (AlertState.OPEN, [])


@pytest.mark.parametrize("answer", ["confirmed", "false-alarm", "treated"])
def test_what_a_person_has_answered_is_not_asked_again_until_it_was_gone_or_got_worse(answer):
    alert, _ = live([WATCH])
    alert = resolve(alert, answer=answer, note="seen", day=FIRST)
    alert, events = live([WATCH] * 50, start=1, alert=alert)
    assert events == []
    _, events = live([RED], start=60, alert=alert)
    assert events == [AlertEvent.OPENED]
    _, events = live([NONE, WATCH], start=60, alert=alert)
    assert events == [AlertEvent.OPENED]


def test_another_cause_on_the_day_of_an_alert_that_was_answered_is_an_alert_of_its_own():
    names = set()
    alert = None
    for rule in ("failure", "disturbance", "erosion"):
        alert, event = next_alert(alert, night(0, RED, rule=rule))
        assert event is AlertEvent.OPENED
        names.add(alert.id)
        alert = resolve(alert, answer="treated", note=None, day=FIRST)
    assert names == {f"lowood/{FIRST}", f"lowood/{FIRST}-2", f"lowood/{FIRST}-3"}


@given(levels=st.lists(st.sampled_from([NONE, WATCH, RED]), max_size=120))
def test_whatever_happens_openings_and_resolutions_alternate_and_levels_never_fall_while_it_lives(levels):
    alert, events, before = None, [], None
    for number, level in enumerate(levels):
        alert, event = next_alert(alert, night(number, level))
        events += [event] if event else []
        if before and alert and before.id == alert.id and before.level is RED:
            assert alert.level is RED
        before = alert
    turns = [event for event in events if event is not AlertEvent.WORSENED]
    assert turns == [AlertEvent.OPENED, AlertEvent.RESOLVED] * (len(turns) // 2) + [AlertEvent.OPENED] * (
        len(turns) % 2
    )


@given(levels=st.lists(st.sampled_from([NONE, WATCH, RED]), max_size=40))
def test_the_same_night_twice_tells_nothing_twice(levels):
    alert = None
    for number, level in enumerate(levels):
        alert, _ = next_alert(alert, night(number, level))
        again, event = next_alert(alert, night(number, level))
        assert event is None
        assert again == alert


@pytest.mark.parametrize(("fell", "sites", "so"), [
    (6, 10, True), (5, 10, False), (1200, 2000, True), (1199, 2000, False), (5, 8, True), (4, 4, False), (1, 1, False),
    (0, 0, False),
])  # fmt: skip
def test_that_three_sites_of_five_fall_in_one_night_is_doubted_but_not_that_a_handful_does(fell, sites, so):
    assert is_mass_fall(fell, sites) is so
