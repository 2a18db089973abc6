"""Old snapshots of landscapes expire; every row stays, and with it the data of every past night."""

from datetime import date, timedelta

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from jobs.night import snapshot_expiry as expiring
from jobs.night.pipeline import night
from jobs.night.snapshot_expiry import EXPIRY_CYCLE, expire_snapshots
from jobs.runtime.installation import open_ledger
from monitor.cube.bucket import DERIVED_FOLDER, landscape_folders
from monitor.cube.store import LandscapeStore
from monitor.errors import StoreBroken
from tests.landscape import records, stored_of

NIGHTS = [date(2016, 9, 30), date(2017, 7, 15), date(2017, 9, 30), date(2018, 9, 30)]
SITES = ("demo-02", "demo-07", "demo-10")


def landscape(number):
    return f"32634-5-50-loess-{number:08x}"


def snapshots(settings):
    folders = landscape_folders(settings.store.root)
    return [len(list(LandscapeStore(folder)._open().ancestry(branch="main"))) for folder in folders]


def evidence_of(t, site):
    """Day and snapshot of each assessment of a site, oldest first, and whether a message described it."""
    query = text("select day, reported_day from outbox where site = :site")
    sent = {day for days in t._connection.execute(query, {"site": site}) for day in days}
    return [(one.as_of, one.snapshot, one.as_of in sent) for one in t.assessments_of(site)]


def test_in_a_round_of_nights_each_landscape_has_its_turn_once(settings, monkeypatch):
    turns = []
    monkeypatch.setattr(LandscapeStore, "expire", lambda store, age: turns.append((store.name, age)) or 0)
    for n in range(50):
        (settings.store.root / landscape(n)).mkdir(parents=True)
    with open_ledger(settings) as ledger:
        for n in range(EXPIRY_CYCLE):
            with ledger.transaction() as t:
                t.begin_run(f"backfill-{n}", "backfill", "2026-12-20", now="n")
                t.begin_run(f"night-{n}", "night", "2026-12-20", now="n")
            expire_snapshots(settings.store.root, ledger)
    assert len(turns) == len(set(turns)) == 50
    assert {age for _, age in turns} == {timedelta(days=90)}  # as README says


def test_folders_beside_the_landscapes_are_not_expired(settings, monkeypatch):
    turns = []
    monkeypatch.setattr(LandscapeStore, "expire", lambda store, _: turns.append(store.name) or 0)
    monkeypatch.setattr(expiring, "EXPIRY_CYCLE", 1)
    for name in (DERIVED_FOLDER, ".half.new", "valley", landscape(1)):
        (settings.store.root / name).mkdir(parents=True)
    (settings.store.root / ".failed-night").touch()
    with open_ledger(settings) as ledger:
        expire_snapshots(settings.store.root, ledger)
    assert turns == [landscape(1)]


@pytest.fixture(scope="module")
def histories(install, tmp_path_factory):
    """The same nights of two installations; one expires every snapshot that it may after each of them."""
    made = {}
    for name in ("all", "few"):
        made[name] = install(tmp_path_factory.mktemp(name))
        settings = made[name].settings
        with pytest.MonkeyPatch.context() as patch:
            if name == "few":
                patch.setattr(expiring, "RETENTION", timedelta(0))
                patch.setattr(expiring, "EXPIRY_CYCLE", 1)
            for day in NIGHTS:
                manifest = night(settings, as_of=day)
                assert not any(site.error for site in manifest.sites)
    return made


@pytest.mark.slow
def test_products_and_messages_are_the_same_with_and_without_the_old_snapshots(histories):
    found = [
        {name: content for name, (_, content) in histories[one].files().items() if "sites/" in name or "status" in name}
        for one in ("all", "few")
    ]
    assert len(found[0]) > 20
    assert found[0] == found[1]
    assert histories["all"].messages() == histories["few"].messages()


@pytest.mark.slow
def test_every_night_that_evidence_names_is_read_as_it_was_stored_then(histories):
    whole, few = (histories[name].settings for name in ("all", "few"))
    compared = 0
    for site in SITES:
        with open_ledger(few) as ledger, ledger.transaction() as t:
            evidence = evidence_of(t, site)
        for _, snapshot, _ in evidence:
            assert records(stored_of(few, site), snapshot) == records(stored_of(whole, site), snapshot)
            assert stored_of(few, site).unit_means(snapshot).equals(stored_of(whole, site).unit_means(snapshot))
            compared += 1
        assert len({snapshot for _, snapshot, _ in evidence}) == len(evidence)
    assert compared >= 9  # three seasons of three sites


@pytest.mark.slow
def test_the_old_snapshots_are_gone_and_so_are_their_files(histories):
    whole, few = (histories[name].settings for name in ("all", "few"))
    assert all(found > len(NIGHTS) for found in snapshots(whole))
    assert all(found <= 2 for found in snapshots(few))
    assert sum(path.is_file() for path in few.store.root.rglob("*")) < sum(
        path.is_file() for path in whole.store.root.rglob("*")
    )


def test_a_store_that_cannot_be_read_stops_no_other(settings, monkeypatch):
    tried = []

    def damaged(store, _):
        tried.append(store.name)
        if store.name == landscape(2):
            raise StoreBroken("the store b cannot be read")
        return 2

    monkeypatch.setattr(LandscapeStore, "expire", damaged)
    monkeypatch.setattr(expiring, "EXPIRY_CYCLE", 1)
    for n in (1, 2, 3):
        (settings.store.root / landscape(n)).mkdir(parents=True)
    with open_ledger(settings) as ledger, capture_logs() as logged:
        expire_snapshots(settings.store.root, ledger)
    assert tried == [landscape(n) for n in (1, 2, 3)]
    assert [line["log_level"] for line in logged] == ["warning", "info"]
    assert logged[0]["landscape"] == landscape(2)
    assert logged[1]["snapshots"] == 4


def test_a_landscape_that_is_really_damaged_leaves_the_night_as_it_is(judged_once, monkeypatch):
    monkeypatch.setattr(expiring, "EXPIRY_CYCLE", 1)
    settings = judged_once.settings
    (folder,) = landscape_folders(settings.store.root)
    (folder / "repo").write_bytes(b"")
    states = {site.state for site in night(settings, as_of=date(2018, 11, 15)).sites}
    assert states == {"failed"}
    assert (folder / "repo").read_bytes() == b""


def test_a_message_that_had_to_wait_describes_the_assessments_of_both_days(stocked, monkeypatch):
    settings = stocked.settings
    begun, sent = date(2018, 9, 30), date(2018, 10, 20)
    with monkeypatch.context() as patch:
        patch.setattr("jobs.messages.outbox.compose", lambda *_, **__: 1 / 0)
        assert night(settings, as_of=begun).messages_waiting == 1
    assert night(settings, as_of=sent).messages_sent == 1
    with open_ledger(settings) as ledger, ledger.transaction() as t:
        (alert,) = t.alerts()
        evidence = {day: news for day, _, news in evidence_of(t, alert["site"])}
    assert evidence == {begun.isoformat(): True, sent.isoformat(): True}
