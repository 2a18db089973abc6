"""What is let go of a history, and what never is."""

from contextlib import closing
from datetime import date, timedelta

import pytest
from shapely.geometry import box
from structlog.testing import capture_logs

from jobs import expiring
from jobs.expiring import ROUND, expire, named_snapshots
from jobs.fetch import ground_key
from jobs.gather import chosen_sites, opened, store_folder
from jobs.nightly import night
from jobs.settings import load
from monitor.cube.store import SiteStore
from monitor.errors import StoreBroken
from monitor.ledger.ledger import Ledger
from monitor.sites.plans import default_plan
from monitor.sites.site import Site

NIGHTS = [date(2016, 9, 30), date(2017, 7, 15), date(2017, 9, 30), date(2018, 9, 30)]


def plot(name="lowood", north=36.0):
    return Site(
        id=name, name=name, geometry=box(103.8, north, 103.801, north + 0.001), start=date(2020, 5, 1),
        intervention="planting", biome="loess", plan=default_plan("planting", "loess", None), hectares=1.0,
    )  # fmt: skip


def named(days, site, told=(), starts=("2020-05-01",)):
    return named_snapshots(site, [(day[:10], day, day in told) for day in days], [{"start": day} for day in starts])


def test_the_last_word_of_each_season_and_what_people_were_told_are_named():
    days = ["2020-06-01", "2020-09-20", "2020-10-05", "2021-04-30", "2021-06-01", "2021-07-01", "2021-08-01"]
    # the window of loess opens on 1 May; what is seen after its end still belongs to it
    assert named(days, plot(), told=["2021-06-01"]) == {"2021-04-30", "2021-06-01", "2021-08-01"}


def test_a_last_word_that_was_judged_again_is_named_as_it_stood_and_as_it_stands():
    days = ["2020-06-01", "2021-04-30 at first", "2021-04-30 again", "2021-06-01"]
    assert named(days, plot()) == {*days[1:]}


def test_the_last_word_of_an_episode_is_named():
    days = ["2020-06-01", "2020-06-20", "2020-07-01", "2020-08-01"]
    assert named(days, plot(), starts=["2020-05-01", "2020-07-01"]) == {"2020-06-20", "2020-08-01"}


def test_south_of_the_equator_the_season_ends_half_a_year_later():
    days = ["2020-12-31", "2021-01-01", "2021-05-01", "2021-12-01"]
    assert named(days, plot(north=-36.0)) == {"2021-05-01", "2021-12-01"}


def test_of_a_site_that_was_never_judged_nothing_is_named():
    assert named([], plot()) == set()


def test_in_a_round_of_nights_each_site_has_its_turn_once(settings, monkeypatch):
    sites, turns = [plot(f"plot-{n}") for n in range(50)], []
    monkeypatch.setattr(SiteStore, "expire", lambda store, *_: turns.append(store.path.parent.name) or 0)
    with opened(settings) as ledger:
        for n in range(ROUND):
            with ledger.transaction() as t:
                t.begin_run(f"backfill-{n}", "backfill", "2026-12-20", now="n")
                t.begin_run(f"night-{n}", "night", "2026-12-20", now="n")
            expire(settings, ledger, sites)
    assert len(turns) == len(set(turns)) == len(sites)


def test_a_site_that_could_not_be_updated_is_not_tidied(settings, monkeypatch):
    tidied = []
    monkeypatch.setattr("jobs.nightly.expire", lambda _settings, _ledger, sites: tidied.extend(s.id for s in sites))
    night(settings, as_of=NIGHTS[0])
    assert tidied == ["demo-02", "demo-07", "demo-10"]
    with opened(settings) as ledger:
        broken = store_folder(settings, chosen_sites(settings, ledger, ["demo-07"])[0])
    (broken / "repo").write_bytes(b"")
    tidied.clear()
    night(settings, as_of=NIGHTS[1])
    assert tidied == ["demo-02", "demo-10"]


def test_what_is_not_old_yet_is_ninety_days_of_a_store(settings, monkeypatch):
    asked = []
    monkeypatch.setattr(SiteStore, "expire", lambda *given: asked.append(given[2]) or 0)
    monkeypatch.setattr(expiring, "ROUND", 1)
    with opened(settings) as ledger:
        expire(settings, ledger, [plot()])
    assert asked == [timedelta(days=90)]  # as README says


@pytest.fixture(scope="module")
def histories(install, tmp_path_factory):
    """The same nights of two installations; one lets go of all it may, as each of them ends."""
    made = {}
    for name in ("all", "few"):
        made[name] = install(tmp_path_factory.mktemp(name))
        settings = load(made[name].config)
        with pytest.MonkeyPatch.context() as patch:
            if name == "few":
                patch.setattr(expiring, "KEPT", timedelta(0))
                patch.setattr(expiring, "ROUND", 1)
            for day in NIGHTS:
                manifest = night(settings, as_of=day)
                assert not any(site["error"] for site in manifest["sites"])
    return made


def stores(made):
    settings = load(made.config)
    with opened(settings) as ledger, ledger.transaction() as t:
        sites = chosen_sites(settings, ledger, [])
        return {site.id: (SiteStore(store_folder(settings, site)), site, t.evidence(site.id)) for site in sites}


def test_what_is_told_is_the_same_with_and_without_the_old_snapshots(histories):
    found = [
        {name: content for name, (_, content) in histories[one].files().items() if "sites/" in name or "status" in name}
        for one in ("all", "few")
    ]
    assert len(found[0]) > 20
    differs = {name for name in found[0] if found[0][name] != found[1].get(name)}
    assert {name.rpartition("/")[2] for name in differs} <= {".made-from"}  # which names snapshots
    assert found[0].keys() == found[1].keys()
    assert histories["all"].told() == histories["few"].told()


def test_every_snapshot_that_evidence_names_can_be_read_and_tells_what_was_stored_then(histories):
    whole, thin = stores(histories["all"]), stores(histories["few"])
    compared = 0
    for name, (store, site, evidence) in thin.items():
        kept, every = named_snapshots(site, evidence, []), {day: snapshot for day, snapshot, _ in whole[name][2]}
        for day, snapshot, _ in evidence:
            if snapshot in kept:
                assert store.records(snapshot) == whole[name][0].records(every[day])
                compared += 1
    assert compared >= 9  # three seasons of three sites


def test_what_nothing_names_is_gone(histories):
    whole, thin = (
        {name: len(list((store.path / "snapshots").iterdir())) for name, (store, *_) in stores(histories[one]).items()}
        for one in ("all", "few")
    )
    assert all(thin[name] < whole[name] for name in whole)


def test_a_store_that_can_not_be_read_stops_no_other(histories, monkeypatch):
    settings, tidied, real = load(histories["all"].config), [], SiteStore.expire
    monkeypatch.setattr(expiring, "KEPT", timedelta(0))
    monkeypatch.setattr(expiring, "ROUND", 1)

    def damaged(store, spent, kept):
        if not tidied:
            tidied.append(0)
            raise StoreBroken(store.path.name)
        tidied.append(real(store, spent, kept))
        return tidied[-1]

    monkeypatch.setattr(SiteStore, "expire", damaged)
    with opened(settings) as ledger, capture_logs() as told:
        expire(settings, ledger, chosen_sites(settings, ledger, []))
    assert tidied[0] == 0
    assert len(tidied) == 3
    assert all(tidied[1:])
    assert [line["log_level"] for line in told] == ["warning", "info"]
    assert told[1]["snapshots"] == sum(tidied)


@pytest.fixture
def spent_of(histories, monkeypatch):
    """What may go of each store, by the ledger of an installation."""

    def asked(ledger, sites):
        found = {}
        with monkeypatch.context() as patch:
            patch.setattr(expiring, "ROUND", 1)
            patch.setattr(SiteStore, "expire", lambda store, spent, _: found.update({store.path: spent}) or 0)
            expire(load(histories["few"].config), ledger, sites)
        return [found[store_folder(load(histories["few"].config), site)] for site in sites]

    return asked


def test_what_a_ledger_that_lags_behind_its_stores_goes_by_may_not_go(histories, spent_of, monkeypatch):
    settings = load(histories["few"].config)
    with opened(settings) as ledger:
        sites = chosen_sites(settings, ledger, [])
        midsummer = [evidence[1][1] for _, _, evidence in stores(histories["few"]).values()]
        assert spent_of(ledger, sites) == [{snapshot} for snapshot in midsummer]
        lagging = {ground_key(site): snapshot for site, snapshot in zip(sites, midsummer, strict=True)}
        monkeypatch.setattr("monitor.ledger.ledger.Transaction.snapshots", lambda _: lagging)
        assert spent_of(ledger, sites) == [set()] * 3


def test_a_ledger_that_was_lost_lets_nothing_go(histories, spent_of, tmp_path):
    settings = load(histories["few"].config)
    with opened(settings) as ledger:
        sites = chosen_sites(settings, ledger, [])
    with closing(Ledger(f"sqlite:///{tmp_path / 'new.db'}")) as fresh:
        assert spent_of(fresh, sites) == [set()] * 3


def test_a_message_that_had_to_wait_keeps_what_it_tells(installation, settings, monkeypatch):
    begun, told = date(2018, 9, 30), date(2018, 10, 20)
    with monkeypatch.context() as patch:
        patch.setattr("jobs.nightly.write_message", lambda *_: 1 / 0)
        assert night(settings, as_of=begun)["messages_waiting"] == 1
    assert night(settings, as_of=told)["messages_sent"] == 1
    with opened(settings) as ledger, ledger.transaction() as t:
        (alert,) = t.alerts()
        evidence = {day: news for day, _, news in t.evidence(alert["site"])}
    assert evidence == {begun.isoformat(): True, told.isoformat(): True}
