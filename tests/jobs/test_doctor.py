"""The doctor reports what is missing and what fixes it, changes nothing, and prints no secret."""

import errno
import json
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import sys
import tempfile
import threading
import time
from collections import namedtuple
from contextlib import closing, suppress
from datetime import UTC, date, datetime, timedelta
from importlib import metadata
from pathlib import Path
from unittest.mock import Mock

import pytest
from shapely.geometry import box, mapping
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from jobs.health.ledger import data_age, read_ledger
from jobs.health.machine import RELEASED
from jobs.health.messages import certificates
from jobs.proof.chain import append_line, newest_line
from jobs.register.registry import add_sites
from jobs.runtime.exits import Exit
from jobs.runtime.installation import open_ledger
from jobs.runtime.lock import LANDSCAPE_LOCKS, hold_lock
from monitor.alerts.channels.certificate import certificate_end
from monitor.errors import BadConfiguration, TryLater
from monitor.evidence.keys import fingerprint, new_keys
from monitor.imagery.stac import buckets
from monitor.imagery.stac.buckets import S3Account
from monitor.ledger.ledger import FORMAT, Ledger
from tests import forked
from tests.builders import edited_features, printed, regrowth
from tests.ledger.assessed import add_assessment, edit_assessments
from tests.loopback.certificates import make_certificate
from tests.loopback.earthengine import EarthEngineServer
from tests.loopback.stac import StacServer, sentinel_item


@pytest.fixture(autouse=True)
def nobody(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    for name in ("REGROWTH_EE_TOKEN", "REGROWTH_EE_TOKEN_FILE", "GOOGLE_APPLICATION_CREDENTIALS", "REGROWTH_CONFIG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def doctor(installation):
    """Runs the doctor on the installation; returns its findings by part, and its exit status."""

    def examine(*options, config=installation.config):
        status, out, _ = regrowth("doctor", "--json", *options, config=config)
        report = json.loads(out)
        assert report["ok"] == all(one["state"] != "broken" for one in report["checks"])
        assert status == (Exit.DONE if report["ok"] else Exit.CONFIGURATION)
        return {one["check"]: one for one in report["checks"]}, status

    return examine


@pytest.fixture
def the_broken(doctor):
    """Runs the doctor; returns its finding about the only part that is broken."""

    def examine(part, *options):
        checks, _ = doctor(*options)
        assert broken(checks) == {part}
        return checks[part]

    return examine


def broken(checks):
    return {check for check, one in checks.items() if one["state"] == "broken"}


def files(root):
    return {str(path): (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in root.rglob("*")}


def test_a_sound_installation_is_well_before_its_first_night_and_after_and_nothing_is_touched(installation, doctor):
    before = files(installation.root)
    checks, status = doctor()
    assert (status, broken(checks)) == (Exit.DONE, set())
    assert {check for check, one in checks.items() if one["state"] != "ok"} == {"evidence"}  # no key is set
    assert list(checks) == ["python", "packages", "kernels", "config", "registry", "store", "ledger", "outputs", "lock",
                          "clock", "evidence", "source"]  # fmt: skip
    assert files(installation.root) == before
    with open_ledger(installation.settings) as ledger:
        add_sites(ledger, installation.registry)
    before = files(installation.root)
    checks, status = doctor()
    assert (status, checks["ledger"]["state"]) == (Exit.DONE, "ok")
    assert "3 sites" in checks["ledger"]["message"]
    assert files(installation.root) == before


def test_one_site_and_one_source_are_named_in_the_singular(installation, doctor):
    with edited_features(installation.registry) as features:
        del features[1:]
    checks, _ = doctor()
    assert checks["registry"]["message"] == f"1 site in {installation.registry}"
    assert checks["config"]["message"].endswith(", 1 source")


def test_the_printed_report_has_a_line_for_each_part_and_each_fix_below_its_line(installation):
    installation.registry.unlink()
    lines = printed("doctor", config=installation.config, status=Exit.CONFIGURATION).splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.startswith("BROKEN")]
    assert "registry" in lines[at]
    assert lines[at + 1].strip().startswith("-> regrowth sites check")
    assert lines[-1] == "1 of 12 need correction."


def test_without_a_configuration_the_machine_is_still_checked(tmp_path, doctor):
    checks, _ = doctor(config=tmp_path / "no.toml")
    assert list(checks) == ["python", "packages", "kernels", "config"]
    assert broken(checks) == {"config"}
    assert "README" in checks["config"]["fix"]


def test_an_unknown_key_is_named(installation, the_broken):
    installation.configure("[stroe]")
    finding = the_broken("config")
    assert "'store'" in finding["message"]
    assert finding["fix"] == f"correct {installation.config}"


@pytest.mark.parametrize("content", ["{", '{"type": "FeatureCollection", "features": []}', None])
def test_a_registry_that_cannot_be_read_is_named_with_the_command_that_says_more(installation, the_broken, content):
    installation.registry.unlink()
    if content:
        installation.registry.write_text(content)
    assert the_broken("registry")["fix"] == f"regrowth sites check {installation.registry}"


def test_a_registry_with_refused_sites_needs_correction(installation, the_broken):
    with edited_features(installation.registry) as features:
        features[0]["properties"]["biome"] = "taiga"
    assert "1 more refused" in the_broken("registry")["message"]


def test_a_library_that_is_missing_old_or_does_not_load_is_named(doctor, monkeypatch):
    monkeypatch.setattr(metadata, "requires", lambda _: ["nosuch>=1", "numpy>=999", "scipy>=1", 'gone; extra == "x"'])
    checks, _ = doctor()
    assert "nosuch is not installed; numpy is" in checks["packages"]["message"]
    assert "gone" not in checks["packages"]["message"]
    assert "make" in checks["packages"]["fix"]
    monkeypatch.setattr(metadata, "requires", lambda _: ["numpy>=2"])
    monkeypatch.setitem(sys.modules, "pyogrio", None)
    checks, _ = doctor()
    assert "pyogrio is installed but does not load" in checks["packages"]["message"]


def test_the_sample_that_is_not_installed_is_named_with_its_extra(the_broken, monkeypatch):
    real = metadata.version

    def without(name):
        if name == "nrt":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", without)
    assert "[demo]" in the_broken("source")["fix"]


def test_a_store_root_that_is_a_file_is_broken(installation, the_broken):
    (installation.root / "store").write_text("x")
    assert "[store] root" in the_broken("store")["fix"]


def test_a_disk_that_is_nearly_full_is_reported(doctor, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 10**12 - 10**8, 10**8))
    checks, _ = doctor()
    assert broken(checks) == {"store", "outputs"}
    assert "0.1 GB free" in checks["store"]["message"]


def test_a_disk_with_room_but_few_free_inodes_is_reported(doctor, monkeypatch):
    disk = namedtuple("disk", "f_files f_favail f_frsize f_blocks f_bfree f_bavail")
    scarce = "room for 9,000 files, created by the first run; room for at least 100,000 is needed"
    for files, free in ((16_000_000, 9_000), (0, 0), (16_000_000, 3_085_416)):  # 0: it sets no number
        monkeypatch.setattr(os, "statvfs", lambda _, n=(files, free): disk(*n, 4096, 10**8, 10**7, 10**7))
        checks, _ = doctor()
        message = checks["store"]["message"]
        assert broken(checks) == ({"store", "outputs"} if free == 9_000 else set())
        assert (scarce in message, "room for" in message) == (free == 9_000, free == 9_000)


def _ledger(installation, number):
    path = installation.root / "regrowth.db"
    Ledger(f"sqlite:///{path}").close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("update ledger set format = ?", (number,))
    return path


def test_an_older_ledger_is_left_as_it_is_and_a_newer_one_asks_for_a_newer_program(installation, the_broken):
    path = _ledger(installation, FORMAT - 1)
    content = path.read_bytes()
    assert f"format {FORMAT - 1}, older than" in the_broken("ledger")["message"]
    assert path.read_bytes() == content
    path.unlink()
    _ledger(installation, FORMAT + 1)
    assert "newer than" in the_broken("ledger")["message"]


def test_damage_in_a_part_of_the_ledger_that_no_query_reads_is_found(installation, doctor, the_broken):
    with ledger_of(installation) as ledger, ledger.transaction() as t:
        for number in range(200):
            t.save_data({(f"ground {number}", "rain"): {"values": random.Random(number).randbytes(1000).hex()}})
    assert doctor()[0]["ledger"]["state"] == "ok"
    with (installation.root / "regrowth.db").open("r+b") as content:
        content.seek(-20 * 4096, os.SEEK_END)
        content.write(random.Random(1).randbytes(20 * 4096))
    assert the_broken("ledger")["fix"] == "check its disk; set a sound copy by [ledger] url"


def test_a_ledger_without_room_to_be_opened_needs_room_and_no_restore(installation, the_broken, monkeypatch):
    _ledger(installation, FORMAT)

    def full(*_):
        raise OperationalError("select", None, sqlite3.OperationalError("database or disk is full"))

    monkeypatch.setattr("sqlalchemy.inspect", full)
    assert the_broken("ledger")["fix"] == f"make room at {installation.root}"


def ledger_of(installation):
    return closing(Ledger(f"sqlite:///{installation.root / 'regrowth.db'}"))


@pytest.fixture
def last_night(installation, doctor):
    """The finding of the doctor about a last night with the given outcome."""

    def manifest(pages=None, waiting=0, unread=(), **states):
        sites = [{"site": name, "state": state, "error": f"{name}: it is so"} for name, state in states.items()]
        return {
            "run": "r", "as_of": "2026-06-30", "sites": sites, "pages_failed": pages or {}, "messages_waiting": waiting,
            "unread_count": len(unread), "unread": list(unread),
        }  # fmt: skip

    def finding_of_a_night(*, ago=timedelta(hours=5), finished=True, before=None, error=None, **last):
        (installation.root / "regrowth.db").unlink(missing_ok=True)
        begun = datetime.now(UTC) - ago
        with ledger_of(installation) as ledger, ledger.transaction() as t:
            for name in "abcd":
                t.add_site(name, "1", {"id": name}, start="2020-01-01", now="2026-01-01T00:00:00+00:00")
            t.begin_run("older", "night", "2026-06-01", now="2026-06-01T02:00:00+00:00")
            then = "2026-06-01T02:00:00+00:00"
            t.end_run("older", status=10, manifest=manifest(**(before or {}), gone="failed"), now=then)
            t.begin_run(f"night-{begun}", "night", "2026-06-30", now=begun.isoformat(timespec="seconds"))
            t.begin_run("later", "backfill", "2026-07-01", now=datetime.now(UTC).isoformat(timespec="seconds"))
            if finished:
                ended = {"status": 78, "error": error} if error else {"status": 0, "manifest": manifest(**last)}
                t.end_run(f"night-{begun}", now=begun.isoformat(timespec="seconds"), **ended)
        night = doctor()[0]["night"]
        return night | {"message": re.sub(r", ended .* UTC with exit status 0", "", night["message"])}

    return finding_of_a_night


def test_scenes_that_wait_unread_are_named_with_their_number_age_reason_and_host(last_night, doctor):
    reason = "https://assets.example/B04.tif gives no answer (the host has no address) within 90 s"
    waiting = {"scene": "x", "since": "2026-06-25", "age_days": 5, "reason": reason, "sites": ["a"], "n_sites": 1}
    last_night(a="done", unread=[waiting])
    scenes = doctor()[0]["scenes"]
    assert (scenes["state"], scenes["message"]) == ("note", f"1 scene waits unread, the oldest for 5 days: {reason}")


def test_a_sound_chain_is_shown_by_its_head_and_a_changed_assessment_is_named(installation, doctor):
    with ledger_of(installation) as ledger:
        heads = []
        for day in range(1, 6):
            with ledger.transaction() as t:
                payload = {"status": "on_track"}
                add_assessment(t, "a", f"2026-06-0{day}", "d", payload, version="1", snapshot="s:1", run="r")
                append_line(t, night=date(2026, 6, day))
                heads.append(newest_line(t)["hash"])
        chain = doctor()[0]["chain"]
        assert (chain["state"], chain["message"]) == ("ok", f"5 lines, head {heads[-1]} (night of 2026-06-05)")

        def set_payload(day, payload):
            with ledger.transaction() as t:
                edit_assessments(t, "a", day, payload=payload)

        set_payload("2026-06-05", {})
        chain = doctor()[0]["chain"]
        assert chain["state"] == "broken"
        assert "the assessment of site 'a' of 2026-06-05" in chain["message"]
        set_payload("2026-06-05", {"status": "on_track"})
        set_payload("2026-06-01", {})
        assert doctor()[0]["chain"]["state"] == "ok", "the newest few are compared"
        assert "the assessment of site 'a' of 2026-06-01" in doctor("--deep")[0]["chain"]["message"]


def test_a_head_on_the_published_index_that_the_chain_does_not_have_is_named(installation, doctor):
    """An older or shortened ledger is consistent in itself; only the published head shows what is missing."""
    with ledger_of(installation) as ledger:
        heads = []
        for day in (1, 2):
            with ledger.transaction() as t:
                append_line(t, night=date(2026, 6, day))
                heads.append(newest_line(t)["hash"])
        page = installation.root / "index.html"
        for head in heads:  # an older one too: the last night wrote no pages
            page.write_text(f'<p>Head: <code class="code">{head}</code></p>', encoding="utf-8")
            assert doctor()[0]["chain"]["state"] == "ok"
        for number in (2, 1):
            with ledger.transaction() as t:
                t._connection.execute(text(f"delete from chain where number = {number}"))
            chain = doctor()[0]["chain"]
            assert (chain["state"], chain["fix"]) == ("broken", "docs/operations.md, Restore")
            assert f"no line has the head that the published index states, {heads[1]}" in chain["message"]


def test_a_good_night_is_ok_and_one_that_waits_for_a_service_needs_no_fix(last_night):
    good = last_night(a="done", b="done")
    assert (good["state"], good["message"]) == ("ok", "night of 2026-06-30: 2 of 2 sites assessed")
    late = last_night(a="done", b="deferred")
    message = "night of 2026-06-30: 1 of 2 sites assessed, 1 deferred to the next night; b: it is so"
    assert (late["state"], late["message"]) == ("note", message)


def test_a_site_that_failed_last_night_is_named_with_its_error_and_the_command(last_night):
    finding = last_night(a="done", b="failed", c="failed", d="deferred")
    assert finding["state"] == "broken"
    assert finding["message"] == "night of 2026-06-30: 1 of 4 sites assessed, 2 failed; b: it is so; c: it is so"
    assert finding["fix"] == "correct that, then run: regrowth run --site b"


def test_pages_that_could_not_be_written_and_messages_that_wait_are_reported(last_night):
    pages = last_night(a="done", pages={"a": "no room"})
    assert (pages["state"], pages["fix"]) == ("broken", "correct that, then run: regrowth publish")
    assert "1 page could not be written, that of a: no room" in pages["message"]
    waiting = last_night(a="done", waiting=7)
    message = "night of 2026-06-30: 1 of 1 sites assessed; 7 messages are waiting"
    assert (waiting["state"], waiting["message"]) == ("note", message)


def test_sites_missing_from_the_last_night_are_reported_from_earlier_nights(last_night):
    finding = last_night(before={"a": "failed", "b": "failed", "c": "done"}, a="done")
    assert finding["state"] == "broken"
    assert finding["message"] == "night of 2026-06-30: 2 of 3 sites assessed, 1 failed; b: it is so"


def test_a_night_that_did_not_end_is_a_fault_unless_it_is_at_work(last_night, installation):
    finding = last_night(finished=False)
    assert finding["state"] == "broken"
    assert "it was stopped, or an error ended it" in finding["message"]
    assert finding["fix"].startswith("regrowth run")
    with hold_lock(installation.root, "a night", "regrowth.db.lock"):
        finding = last_night(finished=False)
    assert (finding["state"], finding["message"][-10:]) == ("note", "is running")


def test_a_night_that_an_error_ended_is_named_with_its_time_its_status_and_the_error(last_night):
    finding = last_night(error="the source refuses the credentials")
    assert finding["state"] == "broken"
    assert re.fullmatch(
        r"night of 2026-06-30, ended \d{4}-\d\d-\d\d \d\d:\d\d UTC with exit status 78: "
        "the source refuses the credentials",
        finding["message"],
    )
    assert finding["fix"].startswith("correct that, then: regrowth run")


def test_no_night_for_two_days_is_a_fault(last_night):
    finding = last_night(a="done", ago=timedelta(hours=40))
    assert finding["state"] == "broken"
    assert "no night since" in finding["message"]
    assert "crontab" in finding["fix"]
    assert last_night(a="done", ago=timedelta(hours=30))["state"] == "ok"


def test_a_file_that_is_not_a_ledger_is_reported(installation, the_broken):
    path = installation.root / "regrowth.db"
    path.write_bytes(b"not a database at all, but long enough to be looked at as one" * 20)
    the_broken("ledger")
    path.unlink()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("create table recipes (id integer)")
    assert "something else: recipes" in the_broken("ledger")["message"]


def test_a_ledger_server_that_is_down_is_reported_without_its_password(the_broken, monkeypatch):
    pytest.importorskip("psycopg", reason="the PostgreSQL driver is in the extra 'postgresql'")
    monkeypatch.setenv("REGROWTH_LEDGER__URL", "postgresql+psycopg://user:hunter2@127.0.0.1:1/x")
    assert "hunter2" not in json.dumps(the_broken("ledger"))


@pytest.fixture
def holder(installation):
    code = (
        "import sys, time; from jobs.runtime.lock import hold_ledger; from monitor.ledger.ledger import Ledger\n"
        "with hold_ledger(Ledger(sys.argv[1]), 'a night'): print('held', flush=True); time.sleep(60)"
    )
    with forked.Python(["-c", code, f"sqlite:///{installation.root / 'regrowth.db'}"]) as process:
        assert process.stdout.readline() == "held\n"
        yield process


def test_a_paused_or_hanging_run_is_a_fault_and_one_at_work_or_dead_is_not(installation, doctor, holder):
    finding, status = doctor()
    assert (status, finding["lock"]["state"]) == (Exit.DONE, "note")
    assert f"a night, process {holder.pid}" in finding["lock"]["message"]

    def lock_once(is_so):
        for _ in range(100):
            finding, _ = doctor()
            if is_so(finding["lock"]):
                break
            time.sleep(0.02)
        return finding["lock"]

    os.kill(holder.pid, signal.SIGSTOP)
    assert lock_once(lambda lock: lock["state"] == "broken")["fix"].startswith(f"kill -CONT {holder.pid}")
    os.kill(holder.pid, signal.SIGCONT)

    lock, long_ago = installation.root / "regrowth.db.lock", datetime.now(UTC) - timedelta(hours=30)
    lock.write_text(re.sub("since .* UTC", f"since {long_ago:%Y-%m-%d %H:%M} UTC", lock.read_text()))
    found = lock_once(lambda lock: "hangs" in lock["message"])
    assert ("30 hours ago" in found["message"], found["fix"]) == (True, f"kill {holder.pid}")

    holder.kill()
    holder.join()
    finding, status = doctor()
    assert (status, finding["lock"]["message"]) == (Exit.DONE, "free")


@pytest.mark.parametrize("seconds", [3600, 300_000])
def test_files_of_the_future_reveal_a_clock_that_was_set_back_and_need_no_restore(installation, the_broken, seconds):
    ahead = time.time() + seconds
    os.utime(installation.registry, (ahead, ahead))
    fix = the_broken("clock")["fix"]
    assert ("ntp" in fix, "restore" in fix) == (True, False)


@pytest.mark.parametrize("what", ["a run", "a store"])
def test_a_clock_behind_a_run_or_a_store_of_a_night_that_was_fast_is_named_and_stores_are_called_sound(
    installation, the_broken, what
):
    ahead = datetime.now(UTC) + timedelta(days=1)
    with ledger_of(installation) as ledger, ledger.transaction() as t:
        t.begin_run("fast", "backfill", "2026-06-30", now=(ahead if what == "a run" else RELEASED).isoformat())
    if what == "a store":
        repository = _repository(installation)
        os.utime(repository, (ahead.timestamp(), ahead.timestamp()))
    finding = the_broken("clock")
    assert f"{ahead:%Y-%m-%d %H:%M} UTC; stores and ledger are sound" in finding["message"]
    assert "ntp" in finding["fix"]


def _repository(installation):
    path = installation.root / "store" / "landscape" / "repo"
    path.parent.mkdir(parents=True)
    path.touch()
    return path


@pytest.mark.parametrize("left", ["no file", "tables"])
def test_an_emptied_ledger_beside_filled_stores_is_found_broken(installation, doctor, the_broken, left):
    _repository(installation)
    if left == "tables":
        Ledger(f"sqlite:///{installation.root / 'regrowth.db'}").close()
    finding = the_broken("ledger")
    assert "has no history, but" in finding["message"]
    assert "stores of 1 landscapes" in finding["message"]
    assert finding["fix"] == "set the right one by [ledger] url"
    with ledger_of(installation) as ledger, ledger.transaction() as t:
        t.begin_run("night", "night", "2026-06-30", now="2026-06-30T02:00:00+00:00")
    assert "ledger" not in broken(doctor()[0])


def _earth_engine(installation):
    _source(installation, 'kind = "earthengine"\nproject = "some-project"')


def test_missing_credentials_are_reported_with_the_command_and_present_ones_never_printed(
    installation, doctor, the_broken, monkeypatch, tmp_path
):
    _earth_engine(installation)
    assert the_broken("source")["fix"].startswith("earthengine authenticate")

    key = tmp_path / "key.json"
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
    assert "cannot be read" in doctor()[0]["source"]["message"]
    key.write_text('{"type": "something", "private_key": "tops3cret"}')
    assert "is not the key of a service account" in doctor()[0]["source"]["message"]
    key.write_text('{"type": "service_account", "private_key": "tops3cret"}')
    finding, status = doctor()
    assert (status, "tops3cret" in json.dumps(finding)) == (Exit.DONE, False)

    monkeypatch.setenv("REGROWTH_EE_TOKEN", "ya29.tops3cret")
    finding, status = doctor()
    assert status == Exit.DONE
    assert "REGROWTH_EE_TOKEN" in finding["source"]["message"]
    assert "tops3cret" not in json.dumps(finding)


def test_the_credentials_of_the_earth_engine_client_are_found_where_it_stores_them(installation, doctor):
    _earth_engine(installation)
    place = Path.home() / ".config" / "earthengine" / "credentials"
    place.parent.mkdir(parents=True)
    place.write_text('{"refresh_token": "x"}')
    finding, status = doctor()
    assert status == Exit.DONE
    assert str(place) in finding["source"]["message"]


def test_addresses_of_catalogues_are_shown_without_what_may_be_secret(installation, doctor):
    text = installation.config.read_text()
    for url, state, shown in (
        ("https://user:tops3cret@stac.example/v1?sig=tops3cret", "ok", "https://stac.example/v1"),
        ("ftp://user:tops3cret@stac.example", "broken", "STAC, "), ("items.json", "broken", "does not exist"),
    ):  # fmt: skip
        installation.config.write_text(text.replace('kind = "sample"', f'kind = "stac"\nurl = "{url}"', 1))
        finding, _ = doctor()
        assert (finding["source"]["state"], shown in finding["source"]["message"]) == (state, True)
        assert "tops3cret" not in json.dumps(finding)


def test_online_a_source_says_what_it_offers(doctor):
    finding, status = doctor("--online")
    assert status == Exit.DONE
    assert "scenes of the last 20 days over demo-02" in finding["source"]["message"]


def _source(installation, text):
    lines = installation.config.read_text().splitlines()
    start = lines.index("[source]")
    end = next((n for n in range(start + 1, len(lines)) if lines[n].startswith("[")), len(lines))
    installation.config.write_text("\n".join([*lines[:start], "[source]", text, *lines[end:]]) + "\n")


def test_online_a_catalogue_and_earth_engine_answer_or_say_why_not(
    installation, doctor, the_broken, monkeypatch, tmp_path
):
    with StacServer(tmp_path) as server:
        _source(installation, f'kind = "stac"\nurl = "{server.url}"\nallow_hosts = ["{server.host}"]')
        finding, _ = doctor("--online")
        assert (broken(finding), "0 scenes of the last 20 days" in finding["source"]["message"]) == ({"imagery"}, True)
        assert "controls" not in finding, "no image, so no control ground"
        server.items = [over_the_sample(tmp_path, "20200103T035141", "20200103T064512")]
        finding, status = doctor("--online")
        assert (status, finding["imagery"]["message"]) == (Exit.DONE, "all 3 sites are offered scenes")
        server.fail("search", status=401)
        the_broken("source", "--online")
        doctor()
        before = len(server.requests)
        doctor()
        assert len(server.requests) == before
    monkeypatch.setenv("REGROWTH_EE_TOKEN", "tops3cret")
    with EarthEngineServer(token="tops3cret") as server:
        server.create("COPERNICUS/S2_SR_HARMONIZED")
        there = f'kind = "earthengine"\nproject = "p"\nurl = "{server.url}"\nallow_hosts = ["127.0.0.1"]'
        _source(installation, there)
        finding, _ = doctor("--online")
        assert (broken(finding), "0 scenes" in finding["source"]["message"]) == ({"imagery"}, True)
        monkeypatch.setenv("REGROWTH_EE_TOKEN", "0therwise")
        refused = the_broken("source", "--online")
        assert "REGROWTH_EE_TOKEN" in refused["message"]
        assert "0therwise" not in json.dumps(refused)


def over_the_sample(folder, day, made, **more):
    item = sentinel_item(folder, f"S2A_MSIL2A_{day}_N0{more.pop('baseline', 213)}_R104_T48SUF_{made}", size=20, **more)
    return {**item, "geometry": mapping(box(22, 45, 22.3, 45.4)), "bbox": [22, 45, 22.3, 45.4]}


def test_credentials_of_the_copernicus_data_space_are_asked_for_offline_and_tried_online(
    installation, doctor, the_broken, monkeypatch, tmp_path
):
    _source(installation, 'kind = "stac"\nurl = "https://stac.dataspace.copernicus.eu/v1"')
    assert "REGROWTH_S3_KEY" in the_broken("source")["fix"]
    monkeypatch.setenv("REGROWTH_S3_KEY", "a-key")
    monkeypatch.setenv("REGROWTH_S3_SECRET", "tops3cret")
    assert broken(doctor()[0]) == set()
    with StacServer(tmp_path) as server, StacServer(tmp_path) as store:
        monkeypatch.setitem(buckets.SIGNED, "eodata", f"{store.url}/files/")
        now = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
        href = {"href": lambda path: f"s3://eodata/{path.relative_to(tmp_path)}"}
        server.items = [over_the_sample(tmp_path, now, now, baseline=510, **href)]
        _source(installation, f'kind = "stac"\nurl = "{server.url}"\nallow_hosts = ["127.0.0.1"]')
        for secret, expected in (("tops3cret", set()), ("0therwise", {"source"})):
            store.account = S3Account("a-key", secret)
            finding, _ = doctor("--online")
            assert broken(finding) == expected
            assert "tops3cret" not in json.dumps(finding)
    assert "set REGROWTH_S3_KEY" in finding["source"]["message"]


def test_an_unexpected_error_in_one_check_does_not_hide_the_others(doctor, monkeypatch):
    monkeypatch.setattr("monitor.sites.registry.read_sites", Mock(side_effect=RuntimeError("never seen before")))
    finding, _ = doctor()
    assert "never seen before" in finding["registry"]["message"]
    assert broken(finding) == {"registry"}
    assert finding["clock"]["state"] == "ok"


def test_a_backfill_that_is_at_work_is_named_though_no_night_is(installation, doctor):
    with hold_lock(installation.root / "store" / LANDSCAPE_LOCKS, "a backfill", "valley"):
        finding, status = doctor()
    assert (status, finding["lock"]["state"]) == (Exit.DONE, "note")
    holder = f"a backfill, process {os.getpid()} on {os.uname().nodename}, since "
    assert finding["lock"]["message"].startswith(f"held by {holder}")


MAIL = ('[channels.mail]', 'kind = "smtp"', 'host = "mail.example.org"', 'sender = "r@example.org"')  # fmt: skip


def test_a_channel_without_its_secret_is_named_and_one_that_has_it_is_well(installation, doctor, monkeypatch, tmp_path):
    monkeypatch.delenv("REGROWTH_CHANNEL_GROUP_TOKEN", raising=False)
    installation.configure("[channels.group]", 'kind = "wecom"')
    assert doctor()[1] == Exit.CONFIGURATION
    monkeypatch.setenv("REGROWTH_CHANNEL_GROUP_TOKEN", "hunter2-Canary")
    finding, status = doctor()
    assert (status, finding["channels"]["state"]) == (Exit.DONE, "note")
    assert "nobody is notified of failed nights" in finding["channels"]["message"]
    assert "Canary" not in json.dumps(finding)
    monkeypatch.delenv("REGROWTH_CHANNEL_GROUP_TOKEN")
    monkeypatch.setenv("REGROWTH_CHANNEL_GROUP_TOKEN_FILE", str(tmp_path / "missing"))
    assert doctor()[1] == Exit.CONFIGURATION


def _sites(installation, **columns):
    """Add the sites to the ledger, with these columns of the registry."""
    with edited_features(installation.registry) as features:
        for feature in features:
            feature["properties"] |= columns
    with open_ledger(installation.settings) as ledger:
        add_sites(ledger, installation.registry)


def test_sites_without_recipients_and_unknown_channels_are_named(installation, doctor, the_broken):
    without_channels = installation.config.read_text()
    installation.configure(*MAIL, "[alerts]", 'channels = ["mail"]')
    _sites(installation, manager_email=None)
    assert "nobody receives the alerts of demo-02, demo-07, demo-10" in the_broken("recipients")["message"]
    _sites(installation, manager_email="li@example.org")
    assert doctor()[0]["recipients"]["state"] == "ok"
    _sites(installation, manager_channel="wechat")
    installation.configure("[operators]", 'channels = ["mail"]', 'email = "ops@example.org"')
    for configuration in (installation.config.read_text(), without_channels):
        installation.config.write_text(configuration)
        assert "(wechat): demo-02, demo-07, demo-10" in the_broken("recipients")["message"]


@pytest.mark.parametrize(("url", "key", "state"), [
    ("https://answers.example.org", "k" * 32, "ok"), ("http://answers.example.org/a", "k" * 32, "broken"),
    ("http://127.0.0.1:8000", "k" * 32, "ok"), ("https://answers.example.org", None, "broken"),
])  # fmt: skip
def test_answers_need_a_key_and_https(installation, doctor, monkeypatch, url, key, state):
    monkeypatch.delenv("REGROWTH_ANSWER_KEY", raising=False)
    if key:
        monkeypatch.setenv("REGROWTH_ANSWER_KEY", key)
    installation.configure("[answers]", f'base_url = "{url}"')
    finding, _ = doctor()
    assert finding["answers"]["state"] == state
    assert "k" * 32 not in json.dumps(finding)


def test_the_key_of_evidence_is_shown_by_its_fingerprint_only(installation, doctor, monkeypatch, tmp_path):
    monkeypatch.delenv("REGROWTH_EVIDENCE_KEY_FILE", raising=False)
    checks, status = doctor()
    assert (status, checks["evidence"]["state"]) == (Exit.DONE, "note")
    assert checks["evidence"]["fix"].startswith("regrowth keys new DIR")
    public, file = new_keys(tmp_path / "keys"), tmp_path / "keys" / "signing.key"
    monkeypatch.setenv("REGROWTH_EVIDENCE_KEY_FILE", str(file))
    checks, status = doctor()
    assert (status, checks["evidence"]["state"]) == (Exit.DONE, "ok")
    assert fingerprint(public) in checks["evidence"]["message"]
    assert file.read_text().splitlines()[1] not in json.dumps(checks)
    file.chmod(0o640)
    checks, status = doctor()
    assert (status, checks["evidence"]["state"]) == (Exit.DONE, "note")
    assert "other users" in checks["evidence"]["message"]
    file.write_text("hunter2")
    checks, status = doctor()
    assert (status, checks["evidence"]["state"]) == (Exit.CONFIGURATION, "broken")
    assert "hunter2" not in json.dumps(checks)


def test_the_heartbeat_is_shown_by_its_host_only_and_not_requested(installation, doctor):
    installation.configure("[heartbeat]", 'url = "https://hc.example.org/0f9b3c5e-canary"')
    finding, status = doctor()
    assert (status, finding["heartbeat"]["message"]) == (Exit.DONE, "each night reports to hc.example.org")
    assert "canary" not in json.dumps(finding)


def test_messages_that_wait_are_held_or_were_given_up_are_named_with_the_reason(installation):
    now = datetime.now(UTC).isoformat()
    with ledger_of(installation) as ledger, ledger.transaction() as t:
        for state, why in (("waiting", "451 later"), ("held", "3 of 4 sites fell"), ("dead", "550 no such user")):
            t.add_notice(state, "silence", {}, day="2026-06-30", recipients=[("mail", "li@example.org")])
            (row,) = [row for row in t.notices("waiting") if row["event"] == state]
            t.change_notices([row["id"]], state=state, error=why, message=state, first_tried=now)
    out = printed("doctor", config=installation.config, status=Exit.CONFIGURATION)
    lines = [line.split(maxsplit=2) for line in out.splitlines() if " outbox " in line]
    assert [(state, text) for state, _, text in lines] == [
        ("BROKEN", "1 message is given up: mail to li@example.org: 550 no such user"),
        ("note", "1 message is waiting since 2026-06-30: mail to li@example.org: 451 later"),
        ("note", "1 message is held: mail to li@example.org: 3 of 4 sites fell"),
    ]


def test_a_ledger_that_another_program_locks_is_not_called_damaged(installation, the_broken):
    _ledger(installation, FORMAT)
    with closing(sqlite3.connect(installation.root / "regrowth.db", isolation_level=None)) as other:
        other.execute("pragma locking_mode = exclusive")
        other.execute("begin exclusive")
        other.execute("create table x (y)")
        finding = the_broken("ledger")
    assert "is locked by another process" in finding["message"]
    assert finding["fix"].endswith("nothing is damaged")


@pytest.mark.parametrize(
    ("code", "fix"), [(errno.EROFS, "mounted read-only"), (errno.ENOSPC, "free some space"), (errno.EACCES, "chown")]
)
def test_a_disk_that_cannot_be_written_is_broken_everywhere_with_the_fix_of_its_cause(doctor, monkeypatch, code, fix):
    monkeypatch.setattr(tempfile, "TemporaryFile", Mock(side_effect=OSError(code, os.strerror(code))))
    checks, _ = doctor()
    assert broken(checks) == {"kernels", "store", "ledger", "outputs"}
    assert "NUMBA_CACHE_DIR" in checks["kernels"]["fix"]
    assert os.strerror(code) in checks["store"]["message"]
    assert fix in checks["store"]["fix"]


def test_a_source_that_is_out_of_reach_is_named_with_what_to_do(installation, doctor, monkeypatch):
    for wait in ("FIRST_RETRY_WAIT", "MAX_RETRY_WAIT"):  # too long for the time of a request: it is not repeated
        monkeypatch.setattr(f"monitor.imagery.transport.{wait}", 1000.0)
    _source(installation, 'kind = "stac"\nurl = "http://127.0.0.1:9"\nallow_hosts = ["127.0.0.1:9"]')
    source = doctor("--online")[0]["source"]
    assert (source["state"], source["fix"].startswith("check the network")) == ("broken", True)


def test_a_scheduler_is_contacted_online_only_and_one_that_is_down_is_named(installation, doctor, monkeypatch):
    monkeypatch.setattr("jobs.runtime.executor.SCHEDULER_TIMEOUT", 2)
    installation.configure("[engine]", 'scheduler = "tcp://127.0.0.1:9"')
    checks, _ = doctor()
    assert (checks["scheduler"]["state"], "--online asks it" in checks["scheduler"]["message"]) == ("note", True)
    checks, _ = doctor("--online")
    assert checks["scheduler"]["state"] == "broken"
    assert checks["scheduler"]["fix"].startswith("start it (dask scheduler), or leave [engine] scheduler empty")


@pytest.mark.parametrize(("days", "state"), [(1, "broken"), (14, "broken"), (15, "ok"), (90, "ok")])
def test_a_certificate_that_ends_soon_is_named(settings, monkeypatch, days, state):
    end = datetime.now(UTC) + timedelta(days=days, minutes=-1 if days == 14 else 1)
    requests = []
    monkeypatch.setattr("monitor.alerts.channels.certificate.certificate_end", lambda *at: requests.append(at) or end)
    outputs = settings.outputs.model_copy(update={"base_url": "https://regrowth.example.org/pages"})
    settings = settings.model_copy(update={"outputs": outputs})
    (finding,) = certificates(settings)
    assert (finding.state, requests) == (state, [("regrowth.example.org", 443)])
    assert finding.message.startswith("that of regrowth.example.org is valid for ")


def test_a_certificate_is_read_from_its_server_and_a_foreign_one_is_refused(tmp_path, monkeypatch):
    made = make_certificate(tmp_path / "own")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def serve():
            for _ in range(2):
                plain, _ = listener.accept()
                with plain, suppress(OSError), made.server_context().wrap_socket(plain, server_side=True):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(BadConfiguration, match=r"the certificate of 127\.0\.0\.1 is refused"):
            certificate_end("127.0.0.1", port)
        monkeypatch.setenv("SSL_CERT_FILE", str(made.authority))
        assert timedelta(hours=23) < certificate_end("127.0.0.1", port) - datetime.now(UTC) < timedelta(days=1)
        thread.join()
    with pytest.raises(TryLater, match="does not answer"):
        certificate_end("127.0.0.1", port)


def test_sites_without_a_scene_for_a_season_are_named_and_fresh_ones_are_well(first_night, monkeypatch):
    settings = first_night.settings
    for day, state in ((date(2018, 10, 1), "ok"), (date(2019, 8, 30), "broken")):
        monkeypatch.setattr("jobs.runtime.clock.today", lambda day=day: day)
        (finding,) = data_age(settings, read_ledger(settings))
        assert finding.state == state
    assert finding.message.startswith("no scene was accepted for 45 days of the growing season: demo-02, demo-07")
    assert "regrowth doctor --online" in finding.fix


def test_the_demonstration_whose_imagery_ends_in_2020_is_well(demo, doctor):
    checks, left = doctor(config=demo / "regrowth.toml")
    assert (broken(checks), left) == (set(), Exit.DONE)
