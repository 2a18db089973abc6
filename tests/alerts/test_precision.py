"""How often alerts were right: counted from answers known beforehand."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.alerts.precision import AnsweredOpening, answered_openings, measured_precision, wilson_interval
from monitor.verdict.assessment import AlertLevel

WATCH, RED = AlertLevel.WATCH, AlertLevel.RED
SITES = {
    "a": {"province": "甘肃", "intervention": "planting"}, "b": {"province": "甘肃", "intervention": "tending"},
    "c": {"province": None, "intervention": "planting"},
}  # fmt: skip


def events(alert, *steps):
    """Events of one alert: kind and level, or the answer, the opening that it is about and the day of the finding."""
    numbers = count(1)
    rows = []
    for kind, what, *rest in steps:
        row = {"alert": alert, "number": next(numbers), "kind": kind, "day": "2026-06-01", "level": "watch"}
        if kind == "answered":
            row |= {"answer": what, "opening": rest[0], "day": rest[1] if rest[1:] else "2026-06-02"}
            row["unreviewed"] = rest[2:] == ["unreviewed"]
        elif kind == "reviewed":
            row["decision"] = what
        else:
            row["level"] = what
        rows.append(row)
    return rows


def test_the_newest_answer_of_each_opening_counts():
    twice = events(
        "a/failure", ("opened", "red"), ("answered", "false-alarm", 1), ("answered", "confirmed", 1),
        ("reopened", "watch"), ("answered", "false-alarm", 4),
    )  # fmt: skip
    assert answered_openings(twice) == [
        AnsweredOpening("a", "failure", RED, is_right=True), AnsweredOpening("a", "failure", WATCH, is_right=False),
    ]  # fmt: skip


def test_an_answer_of_an_earlier_day_or_opening_does_not_replace_a_later_one():
    late = events(
        "a/failure", ("opened", "watch"), ("answered", "confirmed", 1, "2026-06-20"),
        ("answered", "false-alarm", 1, "2026-06-03"), ("reopened", "red"), ("answered", "treated", 1, "2026-06-21"),
    )  # fmt: skip
    assert answered_openings(late) == [AnsweredOpening("a", "failure", WATCH, is_right=True)]


def test_an_alert_counts_under_the_level_that_it_reached():
    assert answered_openings(
        events("a/erosion", ("opened", "watch"), ("worsened", "red"), ("answered", "treated", 1))
    ) == [AnsweredOpening("a", "erosion", RED, is_right=True)]


def test_an_unreviewed_answer_says_nothing_until_it_is_closed_and_one_that_is_opened_again_never_counts():
    opened, day = ("opened", "red"), "2026-06-02"
    answered = ("answered", "false-alarm", 1, day, "unreviewed")
    waiting, closed = (
        answered_openings(events("a/failure", opened, answered, *more)) for more in ([], [("reviewed", "close")])
    )
    assert waiting == [AnsweredOpening("a", "failure", RED, is_right=False, is_reviewed=False)]
    assert closed == [AnsweredOpening("a", "failure", RED, is_right=False)]
    assert answered_openings(events("a/failure", opened, answered, ("reviewed", "reopen"))) == []
    again = events("a/failure", opened, answered, ("reviewed", "reopen"), ("answered", "confirmed", 1))
    assert answered_openings(again) == [AnsweredOpening("a", "failure", RED, is_right=True)]
    row = measured_precision([*waiting, AnsweredOpening("b", "failure", RED, is_right=True)], SITES)[0]
    assert (row["right"], row["n"], row["unreviewed"]) == (1, 1, 1)
    alone = measured_precision(waiting, SITES)[0]
    assert (alone["n"], alone["share"], alone["low"], alone["unreviewed"]) == (0, None, None, 1)


def test_an_alert_without_an_answer_does_not_count():
    assert answered_openings(events("a/failure", ("opened", "red"), ("acknowledged", "red"), ("resolved", "red"))) == []


def test_answers_are_counted_by_rule_province_and_intervention_with_those_worked_out_by_hand():
    answered = [
        AnsweredOpening("a", "failure", RED, is_right=True), AnsweredOpening("b", "failure", RED, is_right=True),
        AnsweredOpening("c", "disturbance", RED, is_right=False),
        AnsweredOpening("gone", "failure", WATCH, is_right=True),
    ]  # fmt: skip
    rows = {
        (row["by"], row["value"], row["level"]): (row["right"], row["n"], row["false_alarms"], row["share"])
        for row in measured_precision(answered, SITES)
    }
    assert rows == {
        ("all", None, "red"): (2, 3, 1, 0.6667), ("all", None, "watch"): (1, 1, 0, 1.0),
        ("rule", "failure", "red"): (2, 2, 0, 1.0), ("rule", "disturbance", "red"): (0, 1, 1, 0.0),
        ("rule", "failure", "watch"): (1, 1, 0, 1.0),
        ("province", "甘肃", "red"): (2, 2, 0, 1.0), ("province", None, "red"): (0, 1, 1, 0.0),
        ("province", None, "watch"): (1, 1, 0, 1.0),
        ("intervention", "planting", "red"): (1, 2, 1, 0.5), ("intervention", "tending", "red"): (1, 1, 0, 1.0),
        ("intervention", None, "watch"): (1, 1, 0, 1.0),
    }  # fmt: skip
    assert measured_precision([], SITES) == []


@pytest.mark.parametrize(("k", "n", "low", "high"), [
    (8, 10, 0.4902, 0.9433), (0, 5, 0.0, 0.4345), (5, 5, 0.5655, 1.0), (1, 1, 0.2065, 1.0), (50, 100, 0.4038, 0.5962),
])  # fmt: skip
def test_the_interval_is_that_of_wilson(k, n, low, high):
    """Values of ``scipy.stats.binomtest(k, n).proportion_ci(method="wilson")``, SciPy 1, to four decimals."""
    assert wilson_interval(k, n) == pytest.approx((low, high), abs=5e-5)


@given(n=st.integers(1, 500), data=st.data())
def test_an_interval_holds_its_share_within_0_and_1_and_few_answers_leave_it_wide(n, data):
    k = data.draw(st.integers(0, n))
    low, high = wilson_interval(k, n)
    assert 0 <= low <= k / n <= high <= 1
    assert high - low > 0.4 or n > 5
