"""One run at a time."""

import time

import pytest

from jobs.lock import hold_lock
from monitor.errors import TryLater
from tests import forked


def test_a_second_run_names_the_holder_of_the_lock(tmp_path):
    with (
        hold_lock(tmp_path, "a night"),
        pytest.raises(TryLater, match=r"a night, process \d+"),
        hold_lock(tmp_path, "another"),
    ):
        pass


def test_the_lock_is_free_again_afterwards(tmp_path):
    for _ in range(2):
        with hold_lock(tmp_path, "a night"):
            pass


def test_a_dead_process_holds_nothing(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from jobs.lock import hold_lock\n"
        "with hold_lock(Path(sys.argv[1]), 'a night'): print('held', flush=True); time.sleep(60)"
    )
    with forked.Python(["-c", code, tmp_path]) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(TryLater, match=str(process.pid)), hold_lock(tmp_path, "another"):
            pass
    for _ in range(50):
        try:
            with hold_lock(tmp_path, "another"):
                return
        except TryLater:
            time.sleep(0.05)
    pytest.fail("the lock of a dead process was not taken over")


def test_a_lock_whose_file_is_deleted_while_it_is_held_is_lost(tmp_path):
    with hold_lock(tmp_path, "a night") as lock:
        lock.check()
        (tmp_path / "lock").unlink()
        with pytest.raises(TryLater, match=r"a night stops: its lock .* was deleted while it was held"):
            lock.check()
        with hold_lock(tmp_path, "another") as other:
            other.check()
            with pytest.raises(TryLater, match=r"was replaced while it was held.*Nothing was committed"):
                lock.check()
