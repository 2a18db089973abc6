"""One run at a time, wherever it runs."""

import errno
import os
import time
from contextlib import closing

import pytest

from jobs.runtime.lock import hold_ledger, hold_lock
from monitor.errors import DiskFull, TryLater
from monitor.ledger.ledger import Ledger
from tests import forked
from tests.jobs.conftest import assert_held
from tests.ledger.conftest import either as either
from tests.ledger.conftest import ledgers as ledgers
from tests.ledger.conftest import migrated as migrated
from tests.ledger.conftest import postgresql as postgresql
from tests.ledger.conftest import url as url


def test_a_second_run_names_the_holder_of_the_ledger(ledgers):
    first, second = ledgers
    with hold_ledger(first, "a night"):
        held = r"is held by a night, process \d+ on .+, since 2.* UTC; try again"
        assert_held(held, hold_ledger(second, "another"))


def test_the_ledger_is_free_again_afterwards(ledgers):
    for ledger in (*ledgers, *ledgers):
        with hold_ledger(ledger, "a night"):
            pass


def test_a_killed_process_holds_nothing(either):
    code = (
        "import sys, time; from jobs.runtime.lock import hold_ledger; from monitor.ledger.ledger import Ledger\n"
        "with hold_ledger(Ledger(sys.argv[1]), 'a night'): print('held', flush=True); time.sleep(60)"
    )
    with forked.Python(["-c", code, either]) as process, closing(Ledger(either)) as ledger:
        assert process.stdout.readline() == "held\n"
        assert_held(str(process.pid), hold_ledger(ledger, "another"))
        process.kill()
        for _ in range(50):
            try:
                with hold_ledger(ledger, "another"):
                    return
            except TryLater:
                time.sleep(0.05)
        pytest.fail("the lock of a killed process was not taken over")


def test_a_run_whose_lock_was_lost_stops_once_another_has_taken_the_ledger(ledgers):
    first, second = ledgers
    with hold_ledger(first, "a night"):
        if first.file:
            first.file.with_name(f"{first.file.name}.lock").unlink()
        else:  # the connection that holds the lock ends
            with second.transaction() as t:
                others = "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and pid <> "
                t._connection.exec_driver_sql(f"{others} pg_backend_pid()")
        first.guard()
        with hold_ledger(second, "another"):
            second.guard()
            with pytest.raises(TryLater, match="was taken over by another, process"):
                first.guard()
            assert_held("was taken over", first.transaction())


def test_a_file_lock_whose_file_is_deleted_while_it_is_held_is_lost(tmp_path):
    with hold_lock(tmp_path, "a night", "lock") as lock:
        lock.check()
        (tmp_path / "lock").unlink()
        with pytest.raises(TryLater, match=r"a night stops: its lock .* was deleted while it was held"):
            lock.check()
        with hold_lock(tmp_path, "another", "lock") as other:
            other.check()
            with pytest.raises(TryLater, match=r"was replaced while it was held.*Nothing was committed"):
                lock.check()


def test_a_full_disk_is_named_where_the_holder_of_a_lock_cannot_be_written(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(DiskFull, match="make room at"), hold_lock(tmp_path / "locks", "a night", "valley"):
        pass


def test_a_ledger_that_is_named_by_a_link_has_the_same_lock(tmp_path):
    (tmp_path / "link.db").symlink_to(tmp_path / "regrowth.db")
    with (
        closing(Ledger(f"sqlite:///{tmp_path / 'regrowth.db'}")) as first,
        closing(Ledger(f"sqlite:///{tmp_path / 'link.db'}")) as second,
        hold_ledger(first, "a night"),
    ):
        assert_held("held by a night", hold_ledger(second, "a night"))
