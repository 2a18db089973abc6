"""A night beside a backfill: known sites are judged and reported first, and only locked landscapes are deferred."""

import pytest

from jobs.messages.outbox import send as sending
from jobs.night.pipeline import exit_status
from jobs.night.pipeline import fetch_history as backfill
from jobs.runtime.installation import locked_ledger
from jobs.runtime.lock import LANDSCAPE_LOCKS, NEW_LANDSCAPES, hold_lock
from monitor.cube.bucket import DERIVED_FOLDER
from tests.builders import use_sources
from tests.jobs.painted import Painted
from tests.jobs.test_several_sources import FEW as DAYS
from tests.jobs.test_several_sources import NIGHT, installed, night
from tests.landscape import records, stored_of

ROW = [(x, 12_000, x + 120, 12_120) for x in (8_000, 8_700, 9_400)]


@pytest.fixture
def offered(monkeypatch):
    """Let nights and backfills take their scenes from a painted source of so many days."""

    def use(days):
        only = Painted(days)
        use_sources(monkeypatch, only)
        return only

    return use


def states(manifest):
    return {site.site: site.state for site in manifest.sites}


def test_a_landscape_that_another_run_stores_in_is_deferred_and_no_other(tmp_path, offered):
    settings = installed(tmp_path, ROW)
    offered(DAYS[:-1])
    night(settings, as_of=NIGHT, only=["s1", "s2"])
    night(settings, as_of=NIGHT)
    offered(DAYS)
    locked = stored_of(settings, "s1").landscape.name
    with hold_lock(settings.store.root / LANDSCAPE_LOCKS, "a backfill", locked):
        manifest = night(settings, as_of=NIGHT)
    assert states(manifest) == {"s1": "deferred", "s2": "deferred", "s3": "done"}
    assert "a backfill, process" in manifest.sites[0].error
    assert exit_status(manifest) == 10
    assert [len(records(stored_of(settings, name))) for name in ("s1", "s3")] == [len(DAYS) - 1, len(DAYS)]
    assert states(night(settings, as_of=NIGHT)) == dict.fromkeys(("s1", "s2", "s3"), "done")
    assert len(records(stored_of(settings, "s1"))) == len(DAYS)


@pytest.mark.slow
def test_while_another_run_begins_new_sites_those_wait_and_known_ones_are_judged(tmp_path, offered):
    settings = installed(tmp_path, ROW)
    offered(DAYS)
    night(settings, as_of=NIGHT, only=["s1"])
    with hold_lock(settings.store.root / LANDSCAPE_LOCKS, "a backfill", NEW_LANDSCAPES):
        assert states(night(settings, as_of=NIGHT)) == {"s1": "done", "s2": "deferred", "s3": "deferred"}
    assert states(night(settings, as_of=NIGHT)) == dict.fromkeys(("s1", "s2", "s3"), "done")
    names = [path for path in settings.store.root.iterdir() if path.name != DERIVED_FOLDER and path.name[0] != "."]
    assert len([path for path in names if path.is_dir()]) == 2


def test_a_backfill_runs_while_a_night_holds_its_own_lock(tmp_path, offered):
    settings = installed(tmp_path, ROW[:1])
    offered(DAYS)
    with locked_ledger(settings, "a night"):
        assert states(backfill(settings, until=NIGHT)) == {"s1": "done"}
    assert len(records(stored_of(settings, "s1"))) == len(DAYS)


def test_messages_about_known_sites_are_sent_before_the_history_of_new_ones_is_read(tmp_path, offered, monkeypatch):
    settings = installed(tmp_path, ROW)
    offered(DAYS[:-1])
    night(settings, as_of=NIGHT, only=["s1"])
    only = offered(DAYS)
    reads = []

    def send(*given, **how):
        reads.append(len(only.read_scenes))
        return sending(*given, **how)

    monkeypatch.setattr("jobs.night.pipeline.send", send)
    assert set(states(night(settings, as_of=NIGHT)).values()) == {"done"}
    assert len(reads) == 2
    assert reads[0] < reads[1], "sent once before the new sites were read, and once at the end"
    assert reads[0] <= 2, "by then only what is new of the known site was read, and its picture"
