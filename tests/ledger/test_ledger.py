"""The ledger in SQLite and PostgreSQL: what it stores, refuses and reports."""

import os
import shutil
import sqlite3
import subprocess
import threading
from collections import namedtuple
from contextlib import closing, suppress

import pytest
from sqlalchemy import event, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError

from monitor.errors import BadConfiguration, BadData, DiskFull, TryLater
from monitor.ledger import ledger as module
from monitor.ledger.ledger import FORMAT, Ledger, no_room
from monitor.ledger.models import LedgerRow
from tests.ledger.assessed import add_assessment


def test_a_new_version_of_a_site_replaces_the_current_one_and_leaves_the_others(ledger):
    with ledger.transaction() as t:
        for site in ("b", "a"):
            t.add_site(site, "v1", {"id": site, "name": "one"}, start="2021-04-01", now="n")
        t.add_site("a", "v2", {"id": "a", "name": "two"}, start="2021-04-01", now="n")
    with ledger.transaction() as t:
        assert t.versions() == {"a": "v2", "b": "v1"}
        assert [(site["id"], site["name"]) for site in t.sites()] == [("a", "two"), ("b", "one")]
        t.add_site("a", "v1", {"id": "a", "name": "one"}, start="2021-04-01", now="n")
        assert t.versions() == {"a": "v1", "b": "v1"}, "an earlier version is current again"
        t.retire_site("b")
        assert t.versions() == {"a": "v1"}
        t.retire_site("a")
        assert t.sites() == []


def test_an_episode_that_begins_closes_the_one_before_and_no_other(ledger):
    with ledger.transaction() as t:
        for site in ("a", "b"):
            t.add_site(site, "v1", {"id": site}, start="2021-04-01", now="n")
        for number, year in ((2, 2023), (3, 2025)):
            t.begin_episode("a", number, start=f"{year}-04-01", budget=0.5, why=f"frost of {year}", now=f"{year}")
        episodes = [(one["number"], one["start"], one["closed"], one["why"]) for one in t.episodes("a")]
        assert episodes == [
            (1, "2021-04-01", "2023", "frost of 2023"), (2, "2023-04-01", "2025", "frost of 2025"),
            (3, "2025-04-01", None, None),
        ]  # fmt: skip
        assert [(one["number"], one["closed"]) for one in t.episodes("b")] == [(1, None)]


CALIBRATION = {
    "tile": "48SUF", "biome": "loess", "season": 2025, "as_of": "2025-11-20", "stored": 3, "placebos": 120,
    "made_from": "k1",
}  # fmt: skip


@pytest.mark.parametrize("table", ["episodes", "sites", "calibrations"])
def test_the_tables_themselves_refuse_to_store_the_same_row_twice(in_sqlite, table):
    with in_sqlite.transaction() as t:
        t.add_site("a", "v1", {"id": "a"}, start="2021-04-01", now="n")
        t.add_calibration({}, hash="h1", **CALIBRATION)
    with in_sqlite._engine.connect() as connection:
        columns = [row[1] for row in connection.exec_driver_sql(f"pragma table_info({table})")]
        others = ", ".join(name for name in columns if name != "id")
        with pytest.raises(IntegrityError):
            connection.exec_driver_sql(f"insert into {table} ({others}) select {others} from {table}")


def test_queries_for_all_sites_at_once_give_what_queries_for_each_give(ledger):
    with ledger.transaction() as t:
        for site in ("a", "b", "c", "gone"):
            t.add_site(site, "v", {"id": site}, start="2021-04-01", now="2021-04-01")
        t.begin_episode("b", 2, start="2023-04-01", budget=0.5, why="replanted", now="2023-01-01")
        for site, day, digest in (("a", "2021-06-02", "1"), ("a", "2021-06-01", "2"), ("b", "2021-06-01", "3"),
                                  ("b", "2021-06-01", "4"), ("gone", "2021-06-01", "5")):  # fmt: skip
            add_assessment(t, site, day, digest, {"status": digest}, version="v", snapshot="s", run="r")
        t.save_data({("g", "terrain"): {"slope": 2.0}})
        t.save_data({("g", "terrain"): {"slope": 3.0}})
        t.save_data({("g", "rain"): {}})
        assert (t.ground_data("g", "terrain"), t.ground_data("h", "rain")) == ({"slope": 3.0}, None)
        t.save_data({("h", "terrain"): {"slope": 4.0}})
        t.retire_site("gone")
        assert t.latest_assessments() == {site: t.latest_assessment(site) for site in ("a", "b")}
        statuses = {site: newest.payload["status"] for site, newest in t.latest_assessments().items()}
        assert statuses == {"a": "1", "b": "4"}
        assert t.latest_assessments() == {site: t.assessments_of(site)[-1] for site in ("a", "b")}
        assert {site: state.status for site, state in t.states().items()} == {"a": "1", "b": "4"}
        assert t.all_episodes() == {site: t.episodes(site) for site in ("a", "b", "c", "gone")}
        assert t.all_ground_data("terrain") == {ground: t.ground_data(ground, "terrain") for ground in ("g", "h")}


def test_each_piece_of_ground_has_the_snapshot_that_it_was_last_taken_from(ledger):
    with ledger.transaction() as t:
        t.save_snapshots({"g": ("a", "land:1")})
        t.save_snapshots({"h": ("b", "land:1")})
        t.save_snapshots({"g": ("a", "land:2")})
        assert t.snapshots() == {"g": "land:2", "h": "land:1"}
        assert t.has_history()


def test_an_assessment_is_never_edited_and_not_added_twice(ledger):
    origin = {"version": "v", "snapshot": "s", "run": "r"}
    with ledger.transaction() as t:
        assert add_assessment(t, "a", "2021-05-01", "d1", {"status": "on_track"}, **origin)
        assert not add_assessment(t, "a", "2021-05-01", "d1", {"status": "failing"}, **origin)
        assert t.latest_assessment("a").payload == {"status": "on_track"}
        assert add_assessment(t, "a", "2021-05-01", "d2", {"status": "failing"}, **origin)
        assert add_assessment(t, "a", "2021-04-01", "d3", {"status": "too_early"}, **origin)
        newest = t.latest_assessment("a")
        assert (newest.as_of, newest.digest, newest.payload) == ("2021-05-01", "d2", {"status": "failing"})
        assert t.latest_assessment("b") is None
        assert add_assessment(t, "b", "2021-05-01", "d2", {"status": "lagging"}, **origin)
        assert add_assessment(t, "a", "2021-05-02", "d2", {"status": "failing"}, **origin)
        assert t.latest_assessment("a").as_of == "2021-05-02"
        assert t.latest_assessment("b").payload == {"status": "lagging"}


def test_an_assessment_names_the_control_units_that_were_left_out_when_it_was_made(ledger):
    origin = {"version": "v", "snapshot": "s", "run": "r"}
    with ledger.transaction() as t:
        add_assessment(t, "a", "2021-05-02", "d2", {}, **origin, left_out={"u7": "2021-05-02"})
        add_assessment(t, "a", "2021-05-01", "d1", {}, **origin)
        add_assessment(t, "b", "2021-05-01", "d1", {}, **origin, left_out={"u1": "2020-01-01"})
        rows = t.assessments_of("a")
    assert [(row.as_of, row.left_out) for row in rows] == [("2021-05-01", {}), ("2021-05-02", {"u7": "2021-05-02"})]


def test_sites_with_a_new_scene_could_fall_and_on_the_first_night_all(ledger):
    def night(day, **scenes):
        for site, (n, last) in scenes.items():
            payload = {"n_scenes": n, "last_observed": last}
            add_assessment(t, site, day, f"{day} {n}", payload, version="v", snapshot="s", run="r")

    with ledger.transaction() as t:
        for site in ("a", "b", "c", "d", "gone"):
            t.add_site(site, "v", {"id": site}, start="2021-04-01", now="n")
        t.retire_site("gone")
        night("2021-05-01", a=(3, "2021-04-30"), b=(0, None), gone=(3, "2021-04-30"))
        assert t.sites_that_could_fall("2021-05-01") == {"a", "b", "c", "d"}
        night("2021-05-02", a=(3, "2021-04-30"), b=(0, None))
        assert t.sites_that_could_fall("2021-05-02") == set(), "a cloudy night shows nothing"
        night("2021-05-03", a=(4, "2021-04-30"), b=(1, "2021-05-03"), c=(9, "2021-05-02"), gone=(4, "2021-05-03"))
        assert t.sites_that_could_fall("2021-05-03") == {"a", "b", "c"}, "c is judged for the first time"
        night("2021-05-03", a=(3, "2021-04-30"))
        assert t.sites_that_could_fall("2021-05-03") == {"b", "c"}, "the newest assessment of a day counts"


def test_a_site_falls_when_an_alert_opens_opens_again_or_gets_worse(ledger):
    def happened(site, rule, kind, day):
        t.save_alert({"id": f"{site}/{rule}", "site": site, "rule": rule, "state": "open", "opened": "2021-05-01"})
        t.add_event(f"{site}/{rule}", kind, {"day": day}, time="n")

    with ledger.transaction() as t:
        for site, kind in (("a", "opened"), ("b", "worsened"), ("c", "reopened"), ("d", "woken"), ("e", "resolved")):
            happened(site, "failure", kind, "2021-05-02")
        happened("a", "failure", "worsened", "2021-05-03")
        happened("lot-2021-planting", "lot", "opened", "2021-05-02")
        assert t.sites_that_fell("2021-05-02") == {"a", "b", "c"}, "a lot is no site"
        assert t.sites_that_fell("2021-05-03") == {"a"}


def test_events_are_numbered_for_each_alert_and_come_back_in_their_order(ledger):
    with ledger.transaction() as t:
        for alert, kind in (("a/failure", "opened"), ("b/failure", "opened"), ("a/failure", "answered")):
            t.add_event(alert, kind, {"day": "2021-05-01", "by": "night"}, time="n")
        assert [(e["number"], e["kind"]) for e in t.events("a/failure")] == [(1, "opened"), (2, "answered")]
        assert [(e["alert"], e["number"]) for e in t.all_events()] == [
            ("a/failure", 1), ("b/failure", 1), ("a/failure", 2),
        ]  # fmt: skip
        assert t.events("c/failure") == []


@pytest.mark.parametrize("table", ["alert_events", "outbox"])
def test_an_answer_link_counts_once_and_an_event_is_reported_to_each_recipient_once(ledger, table):
    with ledger.transaction() as t:
        t.add_event("a/failure", "answered", {}, time="n", link="l1")
        assert (t.link_was_used("l1"), t.link_was_used("l2")) == (True, False)
        t.add_notice("a/failure/1", "alert", {}, day="2021-05-01", recipients=[("post", "x@example.org")])
    if table == "alert_events":
        columns, values = "alert, number, kind, time, link, payload", "'b', 1, 'k', 'n', 'l1', '{}'"
        statement = f"insert into alert_events ({columns}) values ({values})"
    else:
        columns = "event, channel, recipient, kind, day, payload, state, attempts"
        statement = f"insert into outbox ({columns}) select {columns} from outbox"
    with ledger._engine.connect() as connection, pytest.raises(IntegrityError):
        connection.exec_driver_sql(statement)


def test_a_notice_of_an_event_waits_once_for_each_recipient(ledger):
    manager, operators = ("post", "li@example.org"), ("ops", "")
    with ledger.transaction() as t:
        notice = {"day": "2021-05-01", "site": "a", "alert": "a/failure"}
        assert t.add_notice("a/failure/1", "alert", {"n": 1}, recipients=[manager, operators, manager], **notice) == 2
        assert t.add_notice("a/failure/1", "alert", {"n": 2}, recipients=[manager], **notice) == 0
        assert t.add_notice("a/failure/1", "alert", {"n": 2}, recipients=[("files", "")], **notice) == 1
        rows = t.notices("waiting")
        assert [(row["channel"], row["recipient"], row["payload"]["n"]) for row in rows] == [
            (*manager, 1), (*operators, 1), ("files", "", 2),
        ]  # fmt: skip
        t.change_notices([rows[0]["id"]], state="sent")
        assert t.add_notice("a/failure/1", "alert", {"n": 3}, recipients=[manager], **notice) == 0
        assert len(t.notices("waiting")) == 2
        assert [row["state"] for row in t.notices(alert="a/failure")] == ["sent", "waiting", "waiting"]
        assert t.notices(alert="b/failure") == []


def test_the_alerts_of_a_site_are_as_last_saved(ledger):
    def alert(site, rule, state, opened="2021-05-01"):
        return {"id": f"{site}/{rule}", "site": site, "state": state, "opened": opened}

    with ledger.transaction() as t:
        for one in (("a", "failure", "open", "2021-07-01"), ("a", "erosion", "open"), ("b", "failure", "open")):
            t.save_alert(alert(*one))
        t.save_alert(alert("a", "erosion", "resolved"))
        assert t.alert("a/erosion") == alert("a", "erosion", "resolved")
        assert t.alert("c/erosion") is None
        assert [one["id"] for one in t.alerts_of("a")] == ["a/erosion", "a/failure"]
        assert t.alerts_of("c") == []
        assert [one["id"] for one in t.alerts()] == ["a/erosion", "b/failure", "a/failure"]
        assert [one["id"] for one in t.alerts(["resolved"])] == ["a/erosion"]


def test_the_same_photo_of_two_alerts_belongs_to_both(ledger):
    photo = {"id": "f" * 64, "number": 2, "taken": None, "latitude": 36.1, "longitude": None, "content": b"\xff\xd8"}
    with ledger.transaction() as t:
        for alert in ("a/failure", "b/failure", "a/failure"):
            t.add_photo({**photo, "alert": alert})
        assert t.photos("a/failure") == [{**photo, "alert": "a/failure"}]
        assert len(t.photos("b/failure")) == 1


def test_a_run_ends_alone_and_the_last_night_is_the_newest_that_ended(ledger):
    with ledger.transaction() as t:
        assert t.last_activity() is None
        for run, started in (("second", "2021-05-02"), ("first", "2021-05-01")):
            t.begin_run(run, "night", started, now=started)
        assert t.last_activity() == ("second", "2021-05-02")
        t.end_run("first", status=0, manifest={"sites": [{"site": "a"}]}, now="2021-05-03")
        assert (t.last_night("a"), t.last_activity()) == ({"sites": [{"site": "a"}]}, ("first", "2021-05-03"))
        t.end_run("second", status=0, manifest={"sites": [{"site": "b"}, {"site": "a"}]}, now="2021-05-04")
        assert t.last_night("a") == {"sites": [{"site": "b"}, {"site": "a"}]}
        assert t.last_night("c") is None


def test_a_failed_transaction_stores_nothing(ledger):
    def broken():
        with ledger.transaction() as t:
            t.add_site("a", "v1", {"id": "a"}, start="2021-04-01", now="n")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken()
    with ledger.transaction() as t:
        assert t.sites() == []


def test_a_ledger_whose_creation_was_killed_midway_is_created_again(tmp_path, url, monkeypatch):
    def killed(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "insert", killed)
    with pytest.raises(KeyboardInterrupt):
        Ledger(url)
    monkeypatch.undo()
    with closing(Ledger(url)) as opened, opened.transaction() as t:
        assert t.sites() == []


def test_frozen_controls_and_constants_stay_frozen(ledger):
    with ledger.transaction() as t:
        t.freeze_controls("g", "a", {"units": [1]}, digest="h1", now="n")
        t.freeze_controls("g", "a", {"units": [2]}, digest="h2", now="n")
        assert t.controls("g") == {"units": [1]}
        t.add_calibration({"found": 120}, hash="h1", **CALIBRATION)
        t.add_calibration({"found": 130}, hash="h2", **CALIBRATION)
        t.add_calibration({"found": 130}, hash="h2", **{**CALIBRATION, "season": 2026})
        t.add_calibration({"found": 140}, hash="h3", **{**CALIBRATION, "made_from": "k2"})
        rows = [(row["season"], row["hash"]) for row in t.calibrations()]
    assert rows == [(2025, "h1"), (2026, "h2"), (2025, "h3")]


def test_a_damaged_ledger_is_named_with_what_to_do(tmp_path, url):
    (tmp_path / "regrowth.db").write_bytes(b"this is no database" * 100)
    message = r"regrowth\.db cannot be used \(file is not a database\)\. Nothing in it was changed.*doctor"
    with pytest.raises(BadData, match=message):
        Ledger(url)


def test_a_ledger_that_cannot_grow_asks_for_room_and_loses_nothing(tmp_path, in_sqlite):
    with in_sqlite.transaction() as t:
        t.add_site("a", "v1", {"id": "a"}, start="2021-04-01", now="n")
    in_sqlite.close()
    event.listen(in_sqlite._engine, "connect", lambda made, _: made.execute("pragma max_page_count=1").close())
    with (
        pytest.raises(DiskFull, match=rf"^the disk is full: make room at {tmp_path}, then run again") as refused,
        in_sqlite.transaction() as t,
    ):
        t.save_data({("g", "rain"): {"values": os.urandom(250_000).hex()}})
    assert "move" not in str(refused.value)
    with in_sqlite.transaction() as t:
        assert t.versions() == {"a": "v1"}


def test_a_read_error_is_a_full_disk_only_where_there_is_no_room(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    error = OperationalError("select 'database or disk is full'", None, sqlite3.OperationalError("disk I/O error"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 0))
    assert isinstance(no_room(error, tmp_path), DiskFull)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 0, 10**9))
    assert no_room(error, tmp_path) is None
    error.orig.sqlite_errorname = "SQLITE_IOERR_SHMSIZE"  # a file of shared memory that cannot grow has no other reason
    assert isinstance(no_room(error, tmp_path), DiskFull)


@pytest.mark.parametrize("spent", ["bytes", "files"])
def test_a_disk_too_full_for_the_files_beside_the_ledger_is_named_as_full_and_not_as_damage(tmp_path, spent):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m,nr_inodes=30", "tmpfs", str(disk)]
    if os.getuid() != 0 or shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("filling a disk needs a small tmpfs, which only root can mount")
    try:
        url = f"sqlite:///{disk / 'regrowth.db'}"
        Ledger(url).close()
        with suppress(OSError):
            if spent == "bytes":
                (disk / "else").write_bytes(bytes(3 << 20))
            else:
                for number in range(40):
                    (disk / f"else-{number}").touch()
        with pytest.raises(DiskFull, match=f"the disk is full: make room at {disk}, then run again; nothing is lost"):
            Ledger(url)
        for file in disk.glob("else*"):
            file.unlink()
        Ledger(url).close()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_ledger_held_by_another_process_is_waited_for_and_then_named(url, tmp_path, monkeypatch):
    Ledger(url).close()
    monkeypatch.setattr(module, "LOCK_WAIT", 0.2)
    other = sqlite3.connect(tmp_path / "regrowth.db", isolation_level=None)
    other.execute("begin immediate")
    with closing(Ledger(url)) as opened, pytest.raises(TryLater, match="another process"), opened.transaction() as t:
        t.retire_site("a")
    other.close()


ANSWERED = {"id": "a/failure", "site": "a", "opened": "2021-05-01"}


def test_an_answer_given_between_a_nights_reading_and_writing_of_an_alert_stays(ledgers):
    night, person = ledgers
    with night.transaction() as t:
        t.save_alert({**ANSWERED, "state": "open", "level": "watch", "note": None})
    read = threading.Event()

    def answer():
        read.wait(10)
        with person.transaction() as t:
            (alert,) = t.alerts()
            t.save_alert({**alert, "state": "acknowledged", "note": "fenced"})

    answering = threading.Thread(target=answer)
    answering.start()
    with night.transaction() as t:
        alert = t.alert("a/failure")
        read.set()
        answering.join(1)  # as long as the night goes on, the answer waits
        t.save_alert({**alert, "level": "red"})
    answering.join(20)
    with night.transaction() as t:
        assert t.alert("a/failure") == {**ANSWERED, "state": "acknowledged", "level": "red", "note": "fenced"}


def test_a_night_that_has_read_what_a_person_then_changes_still_writes(ledgers):
    night, person = ledgers
    with night.transaction() as t:
        t.save_alert({**ANSWERED, "state": "open"})

    def answer():
        with person.transaction() as t:
            t.save_alert({**ANSWERED, "state": "resolved"})

    answering = threading.Thread(target=answer)
    with night.transaction() as t:
        t.sites()
        answering.start()
        answering.join(1)
        t.add_notice("a/failure/1", "alert", {}, day="2021-05-01", recipients=[("files", "")], alert="a/failure")
    answering.join(20)
    with night.transaction() as t:
        assert (len(t.notices("waiting")), t.alert("a/failure")["state"]) == (1, "resolved")


def test_a_reader_does_not_wait_and_sees_one_state(ledgers):
    night, person = ledgers
    with night.transaction() as t:
        t.save_alert({**ANSWERED, "state": "open"})
        with person.reading() as seen:
            assert seen.alerts() == []
    with person.reading() as seen:
        assert len(seen.alerts()) == 1
        with night.transaction() as t:
            t.save_alert({**ANSWERED, "state": "resolved"})
        assert seen.alert("a/failure")["state"] == "open"


def test_a_writer_waits_its_time_for_another_and_then_gives_up_for_now(either, monkeypatch):
    monkeypatch.setattr(module, "LOCK_WAIT", 1)
    with (
        closing(Ledger(either)) as night, closing(Ledger(either)) as person, night.transaction(),
        pytest.raises(TryLater, match="held by another process"), person.transaction(),
    ):  # fmt: skip
        pass


def test_a_holder_that_lost_the_ledger_to_another_commits_nothing(ledgers):
    first, second = ledgers
    first.take("a night, process 1 on one")
    second.take("a night, process 2 on two")
    with pytest.raises(TryLater, match="was taken over by a night, process 2 on two"), first.transaction() as t:
        t.save_alert({**ANSWERED, "state": "open"})
    with second.transaction() as t:
        assert t.alerts() == []
    with pytest.raises(TryLater, match="was taken over"):
        first.guard()


def test_a_commit_whose_confirmation_was_lost_is_not_called_no_change(postgresql):
    url = postgresql()

    def end_all_connections(_):
        with closing(Ledger(url)) as other, other.reading() as t:
            t._connection.exec_driver_sql(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where datname = current_database() and pid <> pg_backend_pid()"
            )

    with closing(Ledger(url)) as opened:
        event.listen(opened._engine, "commit", end_all_connections)
        with (
            pytest.raises(TryLater, match=r"try again later\. Its last transaction was not confirmed"),
            opened.transaction() as t,
        ):
            t.save_alert({**ANSWERED, "state": "open"})


@pytest.mark.parametrize(("at", "message"), [("commit", "was not confirmed"), ("begin", "Nothing in it was changed")])
def test_an_error_of_the_database_says_no_change_only_before_the_commit(in_sqlite, at, message):
    @event.listens_for(in_sqlite._engine, at)
    def fail(_):
        raise DatabaseError(at, None, sqlite3.DatabaseError("database disk image is malformed"))

    with pytest.raises(BadData, match=message), in_sqlite.transaction() as t:
        t.save_alert({**ANSWERED, "state": "open"})


def test_a_missing_database_is_a_configuration_error_and_not_waited_for(postgresql):
    url = make_url(postgresql()).set(database="elsewhere").render_as_string(hide_password=False)
    with pytest.raises(BadConfiguration, match='database "elsewhere" does not exist, says its server; correct'):
        Ledger(url)
    with pytest.raises(BadConfiguration, match='role "nobody" does not exist'):
        Ledger(make_url(postgresql()).set(username="nobody").render_as_string(hide_password=False))
    message = r"cannot be reached \(.*Connection refused.*is the server running at 127\.0\.0\.1:1\?"
    with pytest.raises(TryLater, match=message):
        Ledger("postgresql+psycopg://regrowth:secret@127.0.0.1:1/regrowth")


@pytest.mark.parametrize(("number", "what"), [(FORMAT - 1, "older than"), (FORMAT + 1, "newer than")])
def test_a_ledger_of_another_format_is_called_older_or_newer_and_left_as_it_is(url, in_sqlite, number, what):
    with in_sqlite._engine.begin() as connection:
        connection.execute(update(LedgerRow).values(format=number))
    with pytest.raises(BadData, match=rf"regrowth\.db has format {number}, {what} {FORMAT}.*Nothing in it was changed"):
        Ledger(url)


def test_a_ledger_of_an_early_version_is_called_older(url, tmp_path):
    with closing(sqlite3.connect(tmp_path / "regrowth.db")) as connection:
        connection.execute("create table alembic_version (version_num text)")
    with pytest.raises(BadData, match="has format 0, older than"):
        Ledger(url)


@pytest.mark.parametrize("table", ["alerts", "sites"])
def test_damaged_content_is_named_by_table_and_row(in_sqlite, table):
    with in_sqlite.transaction() as t:
        t.save_alert({**ANSWERED, "state": "open"})
        t.add_site("a", "v1", {"id": "a"}, start="2021-04-01", now="n")
    with in_sqlite._engine.begin() as connection:
        connection.exec_driver_sql(f"update {table} set payload = substr(payload, 2)")
    key = "id 'a/failure'" if table == "alerts" else "id 1"
    with pytest.raises(BadData, match=rf"table {table}, {key}: payload is damaged"), in_sqlite.transaction() as t:
        (t.alerts if table == "alerts" else t.sites)()


def test_a_ledger_held_for_a_moment_is_simply_waited_for(url, tmp_path):
    Ledger(url).close()
    other = sqlite3.connect(tmp_path / "regrowth.db", isolation_level=None, check_same_thread=False)
    other.execute("begin immediate")
    timer = threading.Timer(0.5, other.rollback)
    timer.start()
    with closing(Ledger(url)) as opened, opened.transaction() as t:
        t.add_site("a", "v1", {"id": "a"}, start="2021-04-01", now="n")
        assert t.versions() == {"a": "v1"}
    timer.join()
    other.close()


@pytest.mark.parametrize("bad", ["", "nonsense", "mysql+nodriver://host/x"])
def test_an_invalid_url_is_a_configuration_error(bad):
    with pytest.raises(BadConfiguration, match="url"):
        Ledger(bad)


def test_a_ledger_that_cannot_be_written_is_not_called_damaged(tmp_path):
    with pytest.raises(BadConfiguration, match=r"opened for writing in .*copy"):
        Ledger(f"sqlite:///{tmp_path}")  # a folder, which root cannot write to either
