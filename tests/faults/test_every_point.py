"""A night that fails at any write, commit, send or request: the next one ends where an undisturbed one ends."""

import os
import sys

import numpy as np
import pytest

from tests.faults.__main__ import table
from tests.faults.drill import Drill
from tests.faults.night import small_disks
from tests.faults.points import FULL, HANG, KILL, KILL_AFTER, RAISE, STOP, UNCONFIRMED
from tests.loopback import postgresql

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked and stopped as Linux does it")


@pytest.fixture(scope="module")
def drill(tmp_path_factory):
    pytest.importorskip("nrt.data", reason="the sample imagery is in the extra 'demo'")
    with Drill(tmp_path_factory.mktemp("drill")) as made:
        yield made


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def either(request, tmp_path_factory):
    """A drill on each kind of ledger."""
    if request.param == "sqlite":
        yield request.getfixturevalue("drill")
        return
    if why := postgresql.missing():
        pytest.skip(f"nights with a ledger in PostgreSQL cannot be tried here: {why}")
    with postgresql.server() as server, Drill(tmp_path_factory.mktemp("drill"), server) as made:
        yield made


def spread(numbers, count):
    """At most so many of the numbers, evenly spaced, from the first to the last."""
    return [
        numbers[int(place)] for place in np.linspace(0, len(numbers) - 1, min(count, len(numbers))).round() if numbers
    ]


def check(outcomes, capsys):
    """Print the table, and fail if an invariant was broken."""
    outcomes = [one for one in outcomes if one is not None]
    text = table(outcomes)
    with capsys.disabled():
        sys.stdout.write(f"\n{text}\n" if os.environ.get("REGROWTH_FAULT_TABLE") else "")
    assert "PROBLEM" not in text, text
    return outcomes


def test_every_change_of_a_file_is_a_point_at_which_a_night_can_fail(drill):
    kinds = [kind for kind, _ in drill.points]
    assert "missed" not in kinds
    assert {kinds.count(kind) > 3 for kind in ("file write", "file", "store", "ledger", "request")} == {True}


def test_twenty_nights_killed_one_after_the_other_lose_and_repeat_nothing(drill, capsys):
    outcomes = [one for start in (3, 8, 15) for one in drill.kill_repeatedly(range(start, start + 84, 12))]
    outcomes.append(drill.fail_at(drill.numbers(KILL, "store")[0], KILL))
    check(outcomes, capsys)
    assert len(outcomes) >= 20
    assert {one.ending for one in outcomes} == {"killed"}
    assert {"ledger", "request", "file"} <= {one.kind for one in outcomes}


def test_a_night_killed_at_its_first_ping_is_reported(drill, capsys):
    outcome = drill.kill_and_ask(number=drill.numbers(KILL_AFTER, "request")[0])
    check([outcome], capsys)
    assert outcome.ending == "killed, reported"


@pytest.mark.slow
def test_a_night_killed_at_any_half_second_since_its_start_is_reported(either, capsys):
    instants = np.arange(0.5, min(either.seconds, 12) + 0.5, 0.5)
    outcomes = check([either.kill_and_ask(seconds) for seconds in instants], capsys)
    assert "killed, reported" in {one.ending for one in outcomes}


@pytest.mark.slow
def test_two_hundred_nights_killed_anywhere_on_both_ledgers_lose_and_repeat_nothing(either, capsys):
    points = [(n, KILL) for n in spread(either.numbers(KILL), 54)]
    points += [(n, KILL_AFTER) for n in spread(either.numbers(KILL_AFTER), 44)]
    outcomes = [either.fail_at(*point) for point in points]
    outcomes += [either.kill_after(seconds) for seconds in np.linspace(0.05, 1.0, 10) * either.seconds]
    assert len([one for one in check(outcomes, capsys) if one.ending == "killed"]) >= 100


@pytest.mark.slow
@pytest.mark.parametrize("failure", [RAISE, FULL, STOP, HANG, UNCONFIRMED])
def test_a_night_that_fails_in_another_way_ends_as_it_should_and_the_next_one_is_as_undisturbed(
    either, failure, capsys
):
    numbers = either.numbers(failure, "store", "ledger", "request")
    check([either.fail_at(number, failure) for number in spread(numbers, 8)], capsys)
    numbers = either.numbers(failure, "file", "file write")
    check([either.fail_at(number, failure) for number in spread(numbers, 8)], capsys)


@pytest.mark.slow
def test_on_a_disk_that_fills_up_at_any_byte_products_stay_whole_and_nothing_is_lost(drill, capsys):
    if why := small_disks():
        pytest.skip(f"a full disk cannot be tried here: {why}")
    rooms = (0, 4, 12, 28, 60, 100, 150, 220, 300, 400, 550, 700)
    outcomes = check([drill.fill_disk(room) for room in rooms], capsys)
    assert {"exit 20", "exit 10"} >= {one.ending for one in outcomes[:6]}


@pytest.mark.slow
def test_a_stopped_night_that_wakes_after_another_ran_without_its_lock_commits_and_sends_nothing(drill, capsys):
    requests = [
        number for number, (_, point) in enumerate(drill.points, 1) if "POST /search" in point or "ehlo" in point
    ]
    points = [*requests, drill.numbers(STOP, "store")[0]]
    check([drill.wake_after_another(number) for number in points], capsys)
