"""Notices to the operators: unanswered red alerts, sites without scenes, and nights on which most sites fall."""

from contextlib import closing
from dataclasses import replace
from datetime import date, timedelta
from types import SimpleNamespace

import pytest
from shapely.geometry import box

from jobs.messages.operator_notices import mass_fall, notify_operators
from jobs.register.alerting import record_event, update_alerts
from jobs.register.answering import answer_alert
from jobs.runtime.records import from_json, to_json
from jobs.runtime.settings import AlertsSettings, ChannelSettings, OperatorsSettings
from monitor.alerts.alert import Alert, AlertEvent, Verdict
from monitor.alerts.lifecycle import acknowledge, snooze
from monitor.alerts.recipients import Recipient
from monitor.ledger.ledger import Ledger
from monitor.verdict.assessment import AlertLevel
from tests import builders
from tests.alerts.nights import assessment
from tests.ledger.assessed import add_assessment

SPRING = date(2026, 5, 1)  # Within the growing season of the loess, 1 May to 15 October
MANAGER = Recipient("post", "li@example.org")
OPERATORS = [("ops", "")]
SETTINGS = SimpleNamespace(
    alerts=AlertsSettings(escalate_days=14, silence_days=45),
    channels={"ops": ChannelSettings(kind="webhook", url="https://example.org/hook")},
    operators=OperatorsSettings(channels=("ops",)),
)


def site(name, *, start=date(2021, 4, 1), south=False):
    outline = box(100, -36, 100.01, -35.99) if south else box(100, 36, 100.01, 36.01)
    return builders.site(name, geometry=outline, start=start)


@pytest.fixture
def ledger():
    with closing(Ledger("sqlite://")) as opened:
        yield opened


def register(ledger, *sites, day=SPRING):
    with ledger.transaction() as t:
        for one in sites:
            t.add_site(one.id, "v1", to_json(one), start=one.start.isoformat(), now=f"{day}T01:00:00")


def seen(ledger, name, last, *, on):
    """A night assesses a site whose newest accepted scene is of a day."""
    payload = {"last_observed": last and last.isoformat(), "n_scenes": 9}
    with ledger.transaction() as t:
        add_assessment(t, name, on.isoformat(), f"{on} {last}", payload)


def night(ledger, sites, day, settings=SETTINGS):
    with ledger.reading() as t:
        before = {row["id"] for row in t.notices("waiting")}
    notify_operators(settings, ledger, sites, as_of=day)
    with ledger.reading() as t:
        return [row for row in t.notices("waiting") if row["id"] not in before]


def opened(ledger, level=AlertLevel.RED, day=SPRING, name="lowood"):
    alert = builders.alert(name, opened=day, level=level)
    change(ledger, alert, AlertEvent.OPENED, day)
    return alert


def change(ledger, alert, event, day):
    with ledger.transaction() as t:
        record_event(t, alert, event, day=day, by="night", recipients=[MANAGER])
        t.change_notices([row["id"] for row in t.notices("waiting")], state="sent")


def escalations(*night_of):
    return [row for row in night(*night_of) if row["kind"] == "escalation"]


def day(number):
    return SPRING + timedelta(days=number)


LOWOOD = site("lowood")


def test_a_red_alert_that_nobody_answers_goes_to_the_operators_once(ledger):
    register(ledger, LOWOOD)
    alert = opened(ledger)
    assert escalations(ledger, [LOWOOD], day(13)) == []
    (row,) = escalations(ledger, [LOWOOD], day(14))
    assert (row["kind"], row["alert"], row["site"]) == ("escalation", alert.id, "lowood")
    assert [(row["channel"], row["recipient"])] == OPERATORS, "the manager has it already"
    assert (row["payload"]["event"], row["payload"]["number"]) == ("escalated", 2)
    assert from_json(row["payload"]["alert"], Alert) == alert
    assert [escalations(ledger, [LOWOOD], day(number)) for number in range(15, 60)] == [[]] * 45
    with ledger.reading() as t:
        assert [event["kind"] for event in t.events(alert.id)] == ["opened", "escalated"]
        assert from_json(t.alert(alert.id), Alert) == alert, "an escalation changes nothing about the alert"


@pytest.mark.parametrize("act", ["acknowledged", "snoozed", "answered"])
def test_a_red_alert_with_a_reaction_is_not_escalated(ledger, act):
    register(ledger, LOWOOD)
    alert = opened(ledger)
    if act == "answered":
        with ledger.transaction() as t:
            answer_alert(t, alert.id, Verdict.CONFIRMED, None, None, day(2), "link")
    elif act == "snoozed":
        change(ledger, snooze(alert, until=day(90), day=day(2)), AlertEvent.SNOOZED, day(2))
    else:
        change(ledger, acknowledge(alert, day=day(2)), AlertEvent.ACKNOWLEDGED, day(2))
    assert escalations(ledger, [LOWOOD], day(40)) == []


def test_the_time_to_answer_counts_from_the_last_call(ledger):
    register(ledger, LOWOOD)
    alert = opened(ledger, AlertLevel.WATCH)
    assert escalations(ledger, [LOWOOD], day(30)) == [], "a watch does not hurry"
    red = replace(alert, level=AlertLevel.RED)
    change(ledger, red, AlertEvent.WORSENED, day(40))
    assert escalations(ledger, [LOWOOD], day(53)) == []
    assert len(escalations(ledger, [LOWOOD], day(54))) == 1
    change(ledger, red, AlertEvent.REOPENED, day(100))
    assert escalations(ledger, [LOWOOD], day(113)) == []
    assert len(escalations(ledger, [LOWOOD], day(114))) == 1


def test_an_alert_whose_message_is_held_or_whose_site_is_not_judged_is_not_escalated(ledger):
    elsewhere = site("elsewhere")
    register(ledger, LOWOOD, elsewhere)
    alert = opened(ledger)
    with ledger.transaction() as t:
        t.change_notices([row["id"] for row in t.notices("sent")], state="held")
    assert escalations(ledger, [LOWOOD], day(20)) == []
    with ledger.transaction() as t:
        t.change_notices([row["id"] for row in t.notices("held")], state="sent")
    assert escalations(ledger, [elsewhere], day(20)) == []
    assert [row["alert"] for row in escalations(ledger, [LOWOOD, elsewhere], day(20))] == [alert.id]


def test_without_operators_nothing_is_recorded_and_operators_added_later_are_notified(ledger):
    register(ledger, LOWOOD)
    opened(ledger)
    nobody = SimpleNamespace(alerts=SETTINGS.alerts, channels={}, operators=OperatorsSettings())
    assert escalations(ledger, [LOWOOD], day(20), nobody) == []
    assert len(escalations(ledger, [LOWOOD], day(21))) == 1


def test_silence_goes_to_the_operators_once_and_never_to_a_manager(ledger):
    register(ledger, LOWOOD)
    seen(ledger, "lowood", SPRING, on=SPRING)
    assert night(ledger, [LOWOOD], day(44)) == []
    (row,) = night(ledger, [LOWOOD], day(45))
    assert (row["kind"], row["event"], row["site"]) == ("silence", "silence/lowood/2026-05-01", "lowood")
    assert row["payload"] == {"site": "lowood", "last_observed": "2026-05-01", "days": 45}
    assert [(row["channel"], row["recipient"])] == OPERATORS
    assert [night(ledger, [LOWOOD], day(number)) for number in range(46, 100)] == [[]] * 54
    seen(ledger, "lowood", day(100), on=day(100))
    assert night(ledger, [LOWOOD], day(144)) == []
    assert [row["event"] for row in night(ledger, [LOWOOD], day(145))] == ["silence/lowood/2026-08-09"]


def test_only_days_within_the_growing_season_count(ledger):
    south = site("south", south=True)
    register(ledger, LOWOOD, south)
    autumn = date(2026, 10, 5)  # ten days of the season are left
    for name in ("lowood", "south"):
        seen(ledger, name, autumn, on=autumn)
    assert night(ledger, [LOWOOD], date(2027, 4, 30)) == [], "half a year of winter"
    season = 35
    assert night(ledger, [LOWOOD], date(2027, 4, 30) + timedelta(days=season - 1)) == []
    (row,) = night(ledger, [LOWOOD], date(2027, 4, 30) + timedelta(days=season))
    assert row["payload"]["days"] == (date(2027, 4, 30) + timedelta(days=season) - autumn).days
    assert [row["site"] for row in night(ledger, [south], date(2027, 1, 10))] == ["south"], "it is summer there"


def test_a_site_that_is_too_early_counts_and_one_whose_start_is_still_to_come_does_not(ledger):
    young, planned = site("young", start=date(2025, 9, 1)), site("planned", start=date(2026, 6, 1))
    register(ledger, young, planned)
    for name in ("young", "planned"):
        seen(ledger, name, SPRING, on=SPRING)
    assert [row["site"] for row in night(ledger, [young, planned], day(60))] == ["young"]
    assert night(ledger, [young, planned], date(2026, 7, 15)) == []
    assert [row["site"] for row in night(ledger, [young, planned], date(2026, 7, 16))] == ["planned"]


def test_a_site_without_any_scene_counts_from_the_day_on_which_it_was_registered(ledger):
    register(ledger, LOWOOD, site("unjudged"))
    seen(ledger, "lowood", None, on=SPRING)
    sites = [LOWOOD, site("unjudged")]
    assert night(ledger, sites, day(44)) == []
    rows = night(ledger, sites, day(45))
    assert [row["event"] for row in rows] == ["silence/lowood/never", "silence/unjudged/never"]
    assert rows[0]["payload"] == {"site": "lowood", "last_observed": None, "days": None}
    assert night(ledger, sites, day(46)) == []


def test_a_night_of_an_earlier_day_reports_nothing(ledger):
    register(ledger, LOWOOD)
    seen(ledger, "lowood", day(100), on=day(100))
    opened(ledger, day=day(100))
    assert night(ledger, [LOWOOD], day(50)) == []


TEN = [site(f"site-{number}") for number in range(10)]


def stored_alerts(t, name):
    return [from_json(values, Alert) for values in t.alerts_of(name)]


def judged(ledger, day, fallen, standing, *, cloudy=()):
    """A night that judges sites: some turn red, some do not, and some show no new scene."""
    with ledger.transaction() as t:
        for level, names in ((AlertLevel.RED, fallen), (AlertLevel.NONE, standing)):
            for name in names:
                verdict = assessment(day, level, site=name)
                add_assessment(t, name, day.isoformat(), f"{day}", to_json(verdict))
                update_alerts(t, stored_alerts(t, name), verdict, None, [MANAGER])
        for name in cloudy:
            add_assessment(t, name, day.isoformat(), f"{day}", t.latest_assessment(name).payload)


def names(first, last):
    return [one.id for one in TEN[first:last]]


@pytest.mark.parametrize(("fell", "is_one"), [(10, True), (6, True), (5, False), (3, False)])
def test_a_first_night_on_which_most_sites_fall_is_a_mass_fall(ledger, fell, is_one):
    register(ledger, *TEN)
    judged(ledger, SPRING, names(0, fell), names(fell, 10))
    with ledger.reading() as t:
        assert mass_fall(t, SPRING.isoformat()) == (("2026-05-01", fell, 10) if is_one else None)


def test_on_a_first_night_sites_that_could_not_be_judged_count_too(ledger):
    register(ledger, *TEN)
    judged(ledger, SPRING, names(0, 5), [])  # the source did not answer for the other five
    with ledger.reading() as t:
        assert mass_fall(t, SPRING.isoformat()) is None


def test_on_a_later_night_only_sites_with_a_new_scene_count(ledger):
    register(ledger, *TEN)
    judged(ledger, SPRING, [], names(0, 10))
    judged(ledger, day(1), names(0, 5), names(5, 7), cloudy=names(7, 10))
    with ledger.reading() as t:
        assert mass_fall(t, day(1).isoformat()) == ("2026-05-02", 5, 7)
        assert mass_fall(t, SPRING.isoformat()) is None


def test_alerts_that_wake_or_are_resolved_do_not_count_as_a_fall(ledger):
    register(ledger, *TEN)
    judged(ledger, SPRING, [], names(0, 10))
    for name in names(0, 10):
        alert = opened(ledger, name=name)
        change(ledger, alert, AlertEvent.WOKEN, day(5))
        change(ledger, alert, AlertEvent.RESOLVED, day(5))
    with ledger.reading() as t:
        assert mass_fall(t, day(5).isoformat()) is None
