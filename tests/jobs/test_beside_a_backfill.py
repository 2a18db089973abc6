"""A night beside a backfill: known sites are judged and reported first, and only locked landscapes are deferred."""

import pytest

from jobs.messages.outbox import send as sending
from jobs.night.pipeline import exit_status
from jobs.night.pipeline import fetch_history as backfill
from jobs.runtime.installation import locked_ledger
from jobs.runtime.lock import LANDSCAPE_LOCKS, NEW_LANDSCAPES, hold_lock
from monitor.cube.bucket import landscape_folders
from tests.builders import use_sources
from tests.jobs.painted import FEW as DAYS
from tests.jobs.painted import NIGHT, ROW, Painted, installed, night, states
from tests.landscape import records, stored_of


@pytest.fixture
def settings(tmp_path):
    return installed(tmp_path, ROW)


def test_a_landscape_that_another_run_stores_in_is_deferred_and_no_other(settings, night_with):
    night_with(settings, Painted(DAYS[:-1]), only=["s1", "s2"])
    night(settings)
    locked = stored_of(settings, "s1").landscape.name
    with hold_lock(settings.store.root / LANDSCAPE_LOCKS, "a backfill", locked):
        manifest = night_with(settings, Painted(DAYS))
    assert states(manifest) == {"s1": "deferred", "s2": "deferred", "s3": "done"}
    assert "a backfill, process" in manifest.sites[0].error
    assert exit_status(manifest) == 10
    assert [len(records(stored_of(settings, name))) for name in ("s1", "s3")] == [len(DAYS) - 1, len(DAYS)]
    assert states(night(settings)) == dict.fromkeys(("s1", "s2", "s3"), "done")
    assert len(records(stored_of(settings, "s1"))) == len(DAYS)


@pytest.mark.slow
def test_while_another_run_begins_new_sites_those_wait_and_known_ones_are_judged(settings, night_with):
    night_with(settings, Painted(DAYS), only=["s1"])
    with hold_lock(settings.store.root / LANDSCAPE_LOCKS, "a backfill", NEW_LANDSCAPES):
        assert states(night(settings)) == {"s1": "done", "s2": "deferred", "s3": "deferred"}
    assert states(night(settings)) == dict.fromkeys(("s1", "s2", "s3"), "done")
    assert len(landscape_folders(settings.store.root)) == 2


def test_a_backfill_runs_while_a_night_holds_its_own_lock(tmp_path, monkeypatch):
    settings = installed(tmp_path, ROW[:1])
    use_sources(monkeypatch, Painted(DAYS))
    with locked_ledger(settings, "a night"):
        assert states(backfill(settings, until=NIGHT)) == {"s1": "done"}
    assert len(records(stored_of(settings, "s1"))) == len(DAYS)


def test_messages_about_known_sites_are_sent_before_the_history_of_new_ones_is_read(settings, night_with, monkeypatch):
    night_with(settings, Painted(DAYS[:-1]), only=["s1"])
    only, reads = Painted(DAYS), []

    def send(*given, **how):
        reads.append(len(only.read_scenes))
        return sending(*given, **how)

    monkeypatch.setattr("jobs.night.pipeline.send", send)
    assert set(states(night_with(settings, only)).values()) == {"done"}
    assert len(reads) == 2
    assert reads[0] < reads[1], "sent once before the new sites were read, and once at the end"
    assert reads[0] <= 2, "by then only what is new of the known site was read, and its picture"
