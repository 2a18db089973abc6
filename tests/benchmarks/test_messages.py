"""The night of many alerts that is timed."""

import pytest

from benchmarks.messages import Sent, measure, table


@pytest.mark.parametrize(
    ("alerts", "managers", "messages"), [(60, 8, 8), pytest.param(6, 3, 6, marks=pytest.mark.slow)]
)
def test_the_alerts_of_a_night_reach_their_managers_through_a_real_mail_server(alerts, managers, messages):
    sent = measure(alerts, managers)
    assert sent == Sent(alerts, managers, messages, sent.seconds, sent.memory, named=alerts, repeated=0)
    assert sent.seconds < 30
    assert sent.memory < 64


def test_a_goal_that_is_missed_is_called_missed():
    fast, slow = Sent(300, 40, 40, 4.0, 4.0, 300, 0), Sent(300, 40, 40, 31.0, 4.0, 299, 1)
    assert "missed" not in table([fast])
    assert table([slow]).count("**missed**") == 3
