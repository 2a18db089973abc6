"""A night: once, again, late, broken, killed."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from functools import partial

import pytest

from jobs.night.pipeline import fetch_history as backfill
from jobs.night.pipeline import night, plan
from jobs.proof.chain import chain_lines, problems, unknown_published_head
from jobs.register.registry import add_sites
from jobs.reports.manifest import Manifest, exit_status
from jobs.runtime.exits import Exit
from jobs.runtime.installation import open_ledger
from jobs.runtime.lock import LANDSCAPE_LOCKS
from jobs.runtime.records import from_json
from jobs.runtime.settings import load
from monitor.cube.store import LandscapeStore
from monitor.cube.stored_site import StoredSite
from monitor.errors import BadConfiguration, TryLater
from monitor.imagery.sample import Sample
from monitor.ledger.ledger import Ledger
from monitor.sites.site import Site, ground_key
from tests import forked
from tests.loopback.mail import MAIL_TO_MANAGERS, MailServer

NIGHT = date(2018, 9, 30)


def latest(settings):
    with open_ledger(settings) as ledger, ledger.transaction() as t:
        return {site["id"]: t.latest_assessment(site["id"]) for site in t.sites()}


def contents(root):
    """Every file of an installation except the ledger and the locks."""
    return {
        path: path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.name.startswith(("regrowth.db", "lock")) and LANDSCAPE_LOCKS not in path.parts
    }


def chain_of(made):
    """Lines of the chain of nights of an installation."""
    with open_ledger(load(made.config)) as ledger, ledger.reading() as t:
        assert list(problems(t)) == []
        return chain_lines(t)


def without_head(page):
    """Text of an index without the line that states the head of the chain."""
    return re.sub(r"<p>[^<]*<time[^>]*>[^<]*</time>[^<]*<code.*?</p>", "", page)


@pytest.fixture(scope="module")
def unkilled(first_night, tmp_path_factory):
    """An undisturbed night, to compare with, and its manifest."""
    made = first_night.copied_to(tmp_path_factory.mktemp("unkilled"))
    with open_ledger(load(made.config)) as ledger, ledger.reading() as t:
        return made, from_json(t.newest_night()["manifest"], Manifest)


def test_a_night_judges_every_site_and_writes_what_the_contract_names(unkilled):
    made, manifest = unkilled
    assert exit_status(manifest) is Exit.DONE
    assert [site.state for site in manifest.sites] == ["done"] * 3
    for site in manifest.sites:
        assert len(site.scenes_new) == 68
        assert {rejected.reason for rejected in site.scenes_rejected} <= {"CLOUD", "SNOW", "NODATA", "CONTROL_HIDDEN"}
    found = json.loads(made.status)
    assert [one["site"] for one in found] == ["demo-02", "demo-07", "demo-10"]
    assert {one["as_of"] for one in found} == {NIGHT.isoformat()}
    maps = [f"sites/demo-02/{name}.tif" for name in ("ndvi", "cover", "slope", "uplift")]
    for name in ("index.html", "sites.parquet", *maps):
        assert (made.root / name).stat().st_size > 0


def test_the_observations_hold_one_row_an_acquisition_rejected_ones_too(unkilled):
    import pandas as pd

    made, _ = unkilled
    table = pd.read_csv(made.root / "sites/demo-10/observations.csv")
    assert list(table.columns) == [
        "site", "date", "scene", "source", "baseline", "clear_fraction", "n_pixels", "ndvi", "cover", "control_ndvi",
        "control_cover", "accepted", "reason", "control_2", "second_index", "control_second_index", "reference_cover",
    ]  # fmt: skip
    assert len(table) == 68
    assert table.date.is_monotonic_increasing
    assert table.ndvi.notna().equals(table.accepted)
    assert table.reason[~table.accepted].notna().all()
    assert table.reason[table.accepted].isna().all()


def test_a_second_run_of_a_night_changes_nothing_and_sends_nothing(unkilled, tmp_path):
    made, _ = unkilled
    settings = load(made.config)
    before, chain = made.files(), chain_of(made)
    snapshots = sorted((made.root / "store").rglob("*"))
    again = night(settings, as_of=NIGHT)
    assert made.files() == before
    assert chain_of(made) == chain
    assert [(line["night"], line["assessments"]) for line in chain] == [(NIGHT.isoformat(), 3)]
    with closing(Ledger(f"sqlite:///{tmp_path / 'older.db'}")) as older, older.reading() as t:
        assert unknown_published_head(t, made.root) == chain[-1]["hash"]
    assert sorted((made.root / "store").rglob("*")) == snapshots
    assert again.messages_sent == 0
    assert all(site.scenes_new == [] for site in again.sites)


def with_mail(installation, port):
    """An installation whose managers are reached by mail."""
    config, registry = installation.config, json.loads((installation.root / "sites.geojson").read_text())
    config.write_text(config.read_text(encoding="utf-8") + MAIL_TO_MANAGERS.format(port=port), encoding="utf-8")
    for feature in registry["features"]:
        feature["properties"]["manager_email"] = f"{feature['properties']['id']}@example.org"
    (installation.root / "sites.geojson").write_text(json.dumps(registry))
    return load(config)


def test_a_night_mails_what_it_finds_to_the_managers_and_ends_10_while_a_message_waits(stocked, monkeypatch):
    monkeypatch.setattr("jobs.messages.outbox.QUICK_RETRIES", ())
    with MailServer() as server:
        settings = with_mail(stocked, server.port)
        server.answer("DATA", "451 try again", times=1)
        manifest = night(settings, as_of=NIGHT)
        assert (manifest.messages_sent, manifest.messages_waiting) == (0, 1)
        assert exit_status(manifest) is Exit.SOME_FAILED
        assert plan(settings, as_of=NIGHT)["messages"] == 1
        manifest = night(settings, as_of=NIGHT)
        assert (manifest.messages_sent, manifest.messages_waiting) == (1, 0)
        assert exit_status(manifest) is Exit.DONE
    (mail,) = server.mails
    alerts = [one["site"] for one in json.loads(stocked.status) if one["alert"] != "none"]
    assert mail.recipients == [f"{site}@example.org" for site in alerts]
    assert len({one.id for one in server.attempts}) == 1
    assert not (stocked.root / "messages").exists()


def test_waiting_messages_are_sent_by_a_night_without_a_source_or_with_failed_sites(stocked, monkeypatch):
    monkeypatch.setattr("jobs.messages.outbox.QUICK_RETRIES", ())

    def down(*_):
        raise TryLater("the source is down")

    with MailServer() as server:
        settings = with_mail(stocked, server.port)
        server.answer("DATA", "451 try again", times=2)
        night(settings, as_of=NIGHT, pages=False)
        with monkeypatch.context() as patch:
            patch.setattr("jobs.night.pipeline.open_sources", down)
            with pytest.raises(TryLater, match="the source is down"):
                night(settings, as_of=NIGHT, pages=False)
        assert len(server.attempts) == 2
        shutil.rmtree(settings.store.root)
        with monkeypatch.context() as patch:
            patch.setattr(Sample, "search", down)
            manifest = night(settings, as_of=NIGHT, pages=False)
        assert {site.state for site in manifest.sites} == {"deferred"}
        assert (manifest.messages_sent, len(server.mails)) == (1, 1)


def test_without_the_key_for_links_a_night_ends_with_78_before_anything_is_fetched(installation):
    config = installation.config
    text = '[answers]\nbase_url = "https://answers.example.org"\n'
    config.write_text(config.read_text(encoding="utf-8") + text, encoding="utf-8")
    ended = forked.run(["-m", "jobs.nightly", "--config", config, "--as-of", NIGHT.isoformat()])
    assert ended.returncode == Exit.CONFIGURATION
    assert "REGROWTH_ANSWER_KEY" in ended.stderr
    assert not list((installation.root / "store").glob("*/repo"))


def test_an_earlier_night_run_later_changes_nothing_that_is_published(unkilled, tmp_path):
    made = unkilled[0].copied_to(tmp_path)  # other tests expect that the chain has one line
    before = made.files()
    for day in (date(2018, 6, 1), date(2015, 1, 1)):
        manifest = night(load(made.config), as_of=day)
        assert exit_status(manifest) is Exit.DONE
        after = made.files()
        head = chain_of(made)[-1]
        assert head["night"] == day.isoformat()
        # They state the new head of the chain, and no longer call the night the first one; nothing else changes.
        for page in ("index.html", "index.zh.html"):
            text = after.pop(page)[1].decode()
            assert text.count(head["hash"]) == 1
            both = (text, before[page][1].decode())
            now, then = (re.sub('<p class="since">.*?</p>', "", without_head(one), flags=re.DOTALL) for one in both)
            assert now == then
        assert after == {name: content for name, content in before.items() if name in after}


def test_a_dry_run_says_what_is_left_and_writes_nothing(settings, installation):
    before = sorted(installation.root.rglob("*"))
    planned = plan(settings, as_of=NIGHT)
    assert [len(site["scenes"]) for site in planned["sites"]] == [68, 68, 68]
    assert sorted(installation.root.rglob("*")) == before
    night(settings, as_of=date(2018, 9, 1), pages=False)
    planned = plan(settings, as_of=NIGHT)
    assert [len(site["scenes"]) for site in planned["sites"]] == [2, 2, 2]
    assert all(site["megabytes"] > 0 for site in planned["sites"])


def test_scenes_that_arrive_late_in_any_order_end_where_a_run_from_scratch_ends(settings, unkilled, monkeypatch):
    whole = Sample.search
    hidden = {f"romania-{day}" for day in ("2017-07-01", "2018-05-02", "2018-08-15")}
    monkeypatch.setattr(Sample, "search", lambda *a: [s for s in whole(*a) if s.id not in hidden])
    night(settings, as_of=date(2018, 8, 20), pages=False)
    night(settings, as_of=NIGHT, pages=False)
    monkeypatch.setattr(Sample, "search", lambda *a: [s for s in whole(*a) if s.id != "romania-2018-05-02"])
    night(settings, as_of=NIGHT, pages=False)
    monkeypatch.undo()
    manifest = night(settings, as_of=NIGHT)
    assert [site.scenes_new for site in manifest.sites] == [["romania-2018-05-02"]] * 3
    made, _ = unkilled
    root = settings.outputs.root
    for site in ("demo-02", "demo-07", "demo-10"):
        ours, theirs = (folder / "sites" / site / "observations.csv" for folder in (root, made.root))
        assert ours.read_bytes() == theirs.read_bytes()
    assert (root / "status.json").read_bytes() == made.status


@pytest.mark.slow
@pytest.mark.parametrize("replanted", [False, True])
def test_maps_of_sites_without_a_loss_are_those_of_a_run_from_scratch_and_read_no_season_that_is_over(
    installation, settings, monkeypatch, replanted
):
    read, check = [], StoredSite.check_stored

    def watched(self, acquisitions, stored):
        read.extend(acquisitions)
        return check(self, acquisitions, stored)

    before, after = date(2018, 8, 14), date(2018, 8, 15)
    night(settings, as_of=before)
    if replanted:
        with open_ledger(settings) as ledger, ledger.transaction() as t:
            t.begin_episode("demo-02", 2, start="2018-03-01", budget=0.5, why="replanted", now="2018-03-01")
        night(settings, as_of=before)
    monkeypatch.setattr(StoredSite, "check_stored", watched)
    manifest = night(settings, as_of=after)
    assert [site.scenes_new for site in manifest.sites] == [["romania-2018-08-15"]] * 3
    assert read
    assert all(b"2018" in name for name in read)
    shutil.rmtree(installation.root / "sites")
    night(settings, as_of=after)
    made = {path: path.read_bytes() for path in (installation.root / "sites").rglob("*.tif")}
    assert len(made) >= 12
    shutil.rmtree(installation.root / "sites")
    shutil.rmtree(installation.root / "store" / "derived")
    night(settings, as_of=after)
    assert {path: path.read_bytes() for path in made} == made


@pytest.mark.slow
def test_a_late_scene_from_before_the_start_counts_but_leaves_the_frozen_controls(settings, monkeypatch):
    whole = Sample.search
    monkeypatch.setattr(Sample, "search", lambda *a: [s for s in whole(*a) if s.id != "romania-2016-06-06"])
    night(settings, as_of=NIGHT, pages=False)
    with open_ledger(settings) as ledger, ledger.transaction() as t:
        frozen = {site["id"]: t.controls(ground_key(from_json(site, Site))) for site in t.sites()}
    monkeypatch.undo()
    manifest = night(settings, as_of=NIGHT, pages=False)
    assert all(site.scenes_new == ["romania-2016-06-06"] for site in manifest.sites)
    with open_ledger(settings) as ledger, ledger.transaction() as t:
        assert frozen == {site["id"]: t.controls(ground_key(from_json(site, Site))) for site in t.sites()}
        assert all(found.payload["n_pre"] > 0 for found in (t.latest_assessment(site["id"]) for site in t.sites()))


@pytest.mark.slow
def test_a_lost_store_and_all_that_was_derived_from_it_are_made_again_with_the_same_status(installation, settings):
    night(settings, as_of=NIGHT)
    before = installation.status
    shutil.rmtree(installation.root / "store")
    assert exit_status(night(settings, as_of=NIGHT)) is Exit.DONE
    assert installation.status == before


@pytest.mark.slow
def test_a_ledger_emptied_beside_filled_stores_is_refused_and_nothing_is_sent_or_changed(
    installation, settings, monkeypatch
):
    night(settings, as_of=NIGHT)
    ledger = installation.root / "regrowth.db"
    before, sound = contents(installation.root), ledger.read_bytes()
    for left in ("tables and sites", "tables", "an empty file", "no file"):
        ledger.unlink()
        if left == "an empty file":
            ledger.touch()
        elif left != "no file":
            with closing(Ledger(settings.ledger.url)) as empty:
                if left == "tables and sites":
                    add_sites(empty, settings.registry.path)
        for job in (partial(night, as_of=NIGHT), partial(plan, as_of=NIGHT), partial(backfill, until=NIGHT)):
            with pytest.raises(
                BadConfiguration, match=r"regrowth.db has no history, but .* stores of 1 landscapes: .*empty"
            ):
                job(settings)
        assert contents(installation.root) == before
        assert ledger.exists() == (left != "no file")
    monkeypatch.setenv("REGROWTH_STORE__ROOT", "another")
    assert exit_status(night(load(installation.config), as_of=NIGHT, pages=False)) is Exit.DONE
    monkeypatch.undo()
    ledger.write_bytes(sound)
    assert night(settings, as_of=NIGHT).messages_sent == 0


@pytest.mark.slow
def test_a_store_newer_than_the_clock_defers_its_landscape_alone_and_only_if_it_has_new_scenes(settings, monkeypatch):
    night(settings, as_of=date(2018, 6, 1))
    ahead = datetime.now(UTC) + timedelta(days=1)
    monkeypatch.setattr(LandscapeStore, "written", property(lambda _: ahead))
    assert exit_status(night(settings, as_of=date(2018, 6, 1), pages=False)) is Exit.DONE
    manifest = night(settings, as_of=NIGHT, pages=False)
    sites = {site.site: site for site in manifest.sites}
    assert {one.state for one in sites.values()} == {"deferred"}
    assert f"its store is of {ahead:%Y-%m-%d %H:%M} UTC, and no scene" in sites["demo-07"].error
    assert "timedatectl" in sites["demo-07"].error


@pytest.mark.slow
def test_a_polite_stop_exits_with_143_and_the_next_run_goes_on(installation, settings, unkilled):
    command = [sys.executable, "-m", "jobs.nightly", "--config", str(installation.config), "--as-of", NIGHT.isoformat()]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ})
    deadline = time.monotonic() + 60
    while not list((installation.root / "store").glob("*/repo")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.terminate()
    assert process.wait(timeout=30) == Exit.STOPPED
    night(settings, as_of=NIGHT)
    assert installation.status == unkilled[0].status
