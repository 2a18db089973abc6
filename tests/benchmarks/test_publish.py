"""The publish that is timed part by part."""

from types import SimpleNamespace

from benchmarks.publish import PARTS, Night, table, timed_parts


def test_each_part_is_timed_and_restored_afterwards():
    module = SimpleNamespace(**{name: str for name in PARTS})
    night = Night({}, {}, 0)
    with timed_parts(module, night):
        assert [getattr(module, name)(0) for name in PARTS] == ["0"] * len(PARTS)
    assert set(night.seconds) == set(night.cpu) == set(PARTS)
    assert all(getattr(module, name) is str for name in PARTS)


def test_a_goal_that_is_missed_is_called_missed_and_set_for_a_thousand_sites_only():
    fast, slow = (Night({"all": seconds}, {"all": 1.0}, 5) for seconds in (2.9, 3.1))
    assert "met" in table([fast], 1000)
    assert "**missed**" in table([slow, slow, fast], 1000)
    assert "Goal" not in table([slow], 64)


def test_the_parts_are_those_of_a_publish():
    from jobs.pages import publishing

    assert all(hasattr(publishing, name) for name in PARTS)
