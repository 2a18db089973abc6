"""The alert of a lot: one a lot, opened, made worse and resolved by yearly verdicts, and closed by an answer."""

from datetime import date

from monitor.alerts.alert import AlertEvent, AlertState, Verdict
from monitor.alerts.lifecycle import next_lot_alert, resolve
from monitor.verdict.assessment import AlertLevel


def after(alert, level, year):
    """Alert and event after the verdict of a year; None: nothing changed."""
    return next_lot_alert(alert, "lot-1", level, looked=date(year, 10, 15), day=date(year, 10, 20))


def test_a_watch_opens_then_worsens_and_one_good_year_resolves_it():
    alert, event = after(None, AlertLevel.WATCH, 2023)
    assert (alert.id, alert.site, alert.rule, event) == ("lot-1/lot", "lot-1", "lot", AlertEvent.OPENED)
    assert after(alert, AlertLevel.WATCH, 2024) is None
    alert, event = after(alert, AlertLevel.RED, 2024)
    assert (alert.level, event) == (AlertLevel.RED, AlertEvent.WORSENED)
    alert, event = after(alert, AlertLevel.NONE, 2025)
    assert (alert.state, event) == (AlertState.RESOLVED, AlertEvent.RESOLVED)
    assert after(alert, AlertLevel.NONE, 2026) is None
    alert, event = after(alert, AlertLevel.WATCH, 2027)
    assert (alert.level, alert.state, event) == (AlertLevel.WATCH, AlertState.OPEN, AlertEvent.REOPENED)


def test_a_lot_that_never_had_an_alert_has_none():
    assert after(None, AlertLevel.NONE, 2023) is None


def test_an_answered_alert_opens_again_only_if_it_gets_worse():
    alert, _ = after(None, AlertLevel.WATCH, 2023)
    answered = resolve(alert, answer=Verdict.FALSE_ALARM, note=None, day=date(2023, 11, 1))
    assert after(answered, AlertLevel.WATCH, 2024) is None
    worse, event = after(answered, AlertLevel.RED, 2024)
    assert (worse.level, worse.answer, event) == (AlertLevel.RED, None, AlertEvent.REOPENED)


def test_a_year_without_a_cause_ends_what_an_answer_covered():
    alert, _ = after(None, AlertLevel.RED, 2023)
    answered = resolve(alert, answer=Verdict.TREATED, note=None, day=date(2023, 11, 1))
    quiet, event = after(answered, AlertLevel.NONE, 2024)
    assert event is None
    _, event = after(quiet, AlertLevel.RED, 2025)
    assert event is AlertEvent.REOPENED
