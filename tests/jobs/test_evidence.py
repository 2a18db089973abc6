"""An evidence pack says what was published, of any site and any night, or nothing is written."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from datetime import date
from functools import partial

import pytest
from sqlalchemy import text

from jobs.night.pipeline import fetch_history, night
from jobs.pages.publishing import publish_once
from jobs.proof import evidence
from jobs.proof.evidence import write_evidence
from jobs.register.answering import answer_alert
from jobs.register.episodes import replant
from jobs.runtime.clock import now
from jobs.runtime.exits import Exit
from jobs.runtime.installation import open_ledger
from jobs.runtime.records import to_json
from monitor.alerts.alert import Verdict
from monitor.errors import BadData, DiskFull, StoreBroken
from monitor.evidence.crate import part_of
from monitor.evidence.documents import site_from_json
from monitor.evidence.keys import new_keys
from monitor.evidence.verify import verify_pack
from monitor.sites.names import folder_name
from tests import builders
from tests.builders import edited_features, regrowth
from tests.jobs.reproduction import verified_and_recomputed
from tests.ledger.assessed import edit_assessments, edit_payload

AUTUMN, LATER = date(2018, 9, 10), date(2018, 9, 30)
FORMULA, PATH, OWN = "=cmd|'/C calc'!A0", "../../泾川 {0} <b>", "demo-10"
BIOME = """
[biomes.wallachia]
like = "steppe"
season = ["04-15", "10-31"]
"""
PUBLISHED = ("plan.json", "observations.csv", "controls.geojson")
SECRETS = ("Wang Xiaoming", "wang@example.org", "77aa88bb")


@pytest.fixture(scope="module")
def programme(install, tmp_path_factory):
    """Three sites with hostile ids and a biome of its own, two nights, an answer, a replanted and a retired site."""
    made = install(tmp_path_factory.mktemp("programme"))
    made.configure(BIOME)
    with edited_features(made.registry) as features:
        for site, name in zip(features, (FORMULA, PATH, OWN), strict=True):
            site["properties"] |= {"id": name, "manager_name": SECRETS[0], "manager_email": SECRETS[1]}
        features[2]["properties"]["biome"] = "wallachia"
    settings = made.settings
    night(settings, as_of=AUTUMN)
    shutil.copytree(made.root / "sites", made.root / "autumn")
    with open_ledger(settings) as ledger:
        answer(ledger)
        replant(ledger, PATH, start=date(2018, 5, 2), why="reseeded", alpha=0.05, today=date(2018, 9, 15))
    night(settings, as_of=LATER)
    return made


def answer(ledger):
    """A red alert about a site, and what was found there, with a photo."""
    alert = builders.alert(FORMULA, opened=AUTUMN)
    photo = {"id": "ab" * 32, "taken": "2018-09-12T10:00:00", "latitude": 45.2, "longitude": 22.1, "content": b"JPEG"}
    with ledger.transaction() as t:
        t.save_alert(to_json(alert))
        opened = {"day": AUTUMN.isoformat(), "by": "night", "state": "open", "level": "red"}
        t.add_event(alert.id, "opened", opened, time=now())
        answer_alert(
            t, alert.id, Verdict.CONFIRMED, None, "很干 {0}", date(2018, 9, 12), "link", link=SECRETS[2], photos=[photo]
        )


@pytest.fixture(scope="module")
def key(signing_key):
    return signing_key


@pytest.fixture(scope="module")
def packs(programme, key, tmp_path_factory):
    folder, settings = tmp_path_factory.mktemp("packs"), programme.settings
    before = sorted(path for path in programme.root.rglob("*") if not path.name.startswith("regrowth.db"))
    with open_ledger(settings) as ledger:
        for number, site in enumerate((FORMULA, PATH, OWN)):
            write_evidence(settings, ledger, site, folder / f"{number}.zip", key=key)
    assert sorted(path for path in programme.root.rglob("*") if not path.name.startswith("regrowth.db")) == before
    assert sorted(os.listdir(folder)) == ["0.zip", "1.zip", "2.zip"]
    return {site: folder / f"{number}.zip" for number, site in enumerate((FORMULA, PATH, OWN))}


def read(pack, member, *, as_bytes=False):
    with zipfile.ZipFile(pack) as archive:
        content = archive.read(member)
    return json.loads(content) if member.endswith("json") and not as_bytes else content


def write(programme, key, site, out, **options):
    settings = programme.settings
    with open_ledger(settings) as ledger:
        return write_evidence(settings, ledger, site, out, key=key, **options)


def assert_bytes_of(pack, folder):
    for name in PUBLISHED:
        assert read(pack, name, as_bytes=True) == (folder / name).read_bytes(), name


@pytest.mark.parametrize("site", [FORMULA, PATH, OWN])
def test_a_pack_has_the_bytes_that_were_published(programme, packs, site):
    assert_bytes_of(packs[site], programme.root / "sites" / folder_name(site))
    status = programme.verdicts[site]
    *_, last = read(packs[site], "assessments.json")
    assert {name: last[name] for name in status} == status


@pytest.mark.parametrize("site", [FORMULA, PATH, OWN])
def test_a_pack_is_verified_gives_the_same_verdict_again_and_every_record_is_in_the_chain(packs, key, site, tmp_path):
    verified = verified_and_recomputed(packs[site], key.public_key(), tmp_path / "recomputed")
    assert (verified.site, verified.as_of, verified.nights) == (site, LATER.isoformat(), 2)
    n_records = 3 if site == OWN else 4  # an answer; the replanting answers a watch
    assert (verified.records, verified.uncovered) == (n_records, ())


def test_the_same_ledger_and_key_give_the_same_bytes_in_another_year(programme, packs, key, tmp_path, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 4e9)
    write(programme, key, PATH, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == packs[PATH].read_bytes()


def test_no_pack_has_the_manager_or_another_site_in_it(packs):
    for site, pack in packs.items():
        content = pack.read_bytes()
        with zipfile.ZipFile(pack) as archive:
            content += b"".join(archive.read(name) for name in archive.namelist())
        for secret in SECRETS:
            assert secret.encode() not in content
        for other in {FORMULA, PATH, OWN} - {site}:
            assert other.encode() not in content
            assert json.dumps(other)[1:-1].encode() not in content


def test_alerts_have_their_answers_and_photos_by_hash(packs):
    (alert,) = read(packs[FORMULA], "alerts.json")
    assert [event["kind"] for event in alert["events"]][:2] == ["opened", "answered"]
    answered = alert["events"][1]
    found = (answered["note"], answered["answer"], answered["photos"][0]["sha256"])
    assert found == ("很干 {0}", "confirmed", "ab" * 32)
    assert read(packs[OWN], "alerts.json") == []
    assert b"JPEG" not in packs[FORMULA].read_bytes()


def test_a_replanted_site_has_its_episodes_and_an_own_biome_its_definition(packs):
    document = read(packs[PATH], "site.json")
    first, second = document["properties"]["episodes"]
    assert (first["why"], second["start"], document["properties"]["episode"]) == ("reseeded", "2018-05-02", 2)
    assert read(packs[PATH], "plan.json")["start"] == "2018-05-02"
    assert site_from_json(document).start.isoformat() == first["start"]
    assert site_from_json(read(packs[OWN], "site.json")).own_biome is not None


def test_the_readme_is_in_both_languages_and_names_every_member(packs):
    for site, pack in packs.items():
        text = read(pack, "readme.txt").decode()
        assert site in text
        with zipfile.ZipFile(pack) as archive:
            names = {*map(part_of, archive.namelist())} - {"readme.txt"}
        assert all(name in text for name in names)
        assert "sha256sum --check" in text
        assert "如何核验" in text


@pytest.mark.parametrize("site", [FORMULA, PATH, OWN])
def test_a_pack_of_an_earlier_night_is_what_was_published_then(programme, key, tmp_path, site):
    written = write(programme, key, site, tmp_path / "then.zip", until=date(2018, 9, 29))
    assert (written.as_of, written.assessments) == (AUTUMN, 1)
    assert_bytes_of(tmp_path / "then.zip", programme.root / "autumn" / folder_name(site))
    assert len(read(tmp_path / "then.zip", "site.json")["properties"]["episodes"]) == 1
    verified = verified_and_recomputed(tmp_path / "then.zip", key.public_key(), tmp_path / "recomputed")
    assert (verified.as_of, verified.nights) == (AUTUMN.isoformat(), 2)


def test_answers_after_the_day_are_left_out(programme, key, tmp_path):
    write(programme, key, FORMULA, tmp_path / "then.zip", until=date(2018, 9, 11))
    (alert,) = read(tmp_path / "then.zip", "alerts.json")
    assert (alert["state"], [event["kind"] for event in alert["events"]]) == ("open", ["opened"])
    assert read(tmp_path / "then.zip", "chain-proofs.json")["answers"] == []


@pytest.fixture
def copied(programme, tmp_path):
    shutil.copytree(programme.root, tmp_path / "copy")
    return type(programme)(tmp_path / "copy")


def test_a_retired_site_and_one_whose_outline_changed_have_the_pack_of_their_assessment(copied, packs, key, tmp_path):
    with edited_features(copied.registry) as features:
        ring = features[1]["geometry"]["coordinates"][0]
        ring[:] = [[x + 1e-5, y] for x, y in ring]
    for command, site in ((("retire", OWN), OWN), (("add", copied.registry), PATH)):
        assert regrowth("sites", *command, config=copied.config)[0] == 0
        write(copied, key, site, tmp_path / f"{command[0]}.zip")
        assert (tmp_path / f"{command[0]}.zip").read_bytes() == packs[site].read_bytes()


def test_a_scene_that_was_fetched_since_changes_nothing(copied, packs, key, tmp_path):
    fetch_history(copied.settings, until=date(2018, 11, 30))
    write(copied, key, PATH, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == packs[PATH].read_bytes()


def test_a_scene_that_came_after_the_verdict_is_on_the_page_with_the_next_one(copied):
    """The page and the pack show the series that the verdict was made from, also after ``backfill`` and ``publish``."""
    published = copied.root / "sites" / OWN / "observations.csv"
    before = published.read_bytes().splitlines()
    with open_ledger(copied.settings) as ledger, ledger.transaction() as t:
        newest = t.latest_assessment(OWN)
        landscape, _, rows = newest.snapshot.rpartition(":")
        t._connection.execute(text("delete from chain"))
        edit_assessments(  # as if the last three had not been there yet, for an earlier version of the program
            t, OWN, newest.as_of, snapshot=f"{landscape}:{int(rows) - 3}",
            payload={**newest.payload, "code_version": "0"},
        )  # fmt: skip
    assert publish_once(copied.settings)[0] == {OWN: None}
    assert published.read_bytes().splitlines() == before[:-3]


def test_an_answer_since_the_last_night_is_in_the_pack_and_not_in_the_chain_yet(copied, key, tmp_path):
    with open_ledger(copied.settings) as ledger, ledger.transaction() as t:
        answer_alert(t, f"{FORMULA}/failure", Verdict.TREATED, None, None, date(2018, 10, 2), "command")
    assert write(copied, key, FORMULA, tmp_path / "new.zip").uncovered == 1
    *_, last = read(tmp_path / "new.zip", "chain-proofs.json")["answers"]
    assert last["proof"] is None
    verified = verify_pack(tmp_path / "new.zip", key.public_key())
    assert (verified.records, len(verified.uncovered)) == (4, 1)


def test_no_pack_is_written_of_an_assessment_that_came_after_the_line_of_its_night(copied, key, tmp_path):
    with open_ledger(copied.settings) as ledger, ledger.transaction() as t:
        t._connection.execute(text("update chain set last_assessment = 0"))
    with pytest.raises(BadData, match=rf"is in no line of the chain, .*'regrowth run --as-of {LATER}' adds a line"):
        write(copied, key, FORMULA, tmp_path / "new.zip")


def test_a_unit_that_a_new_site_covers_is_marked_so_in_published_files_too(copied, key, tmp_path):
    """Also before a first scene is measured without that unit."""
    published = copied.root / "sites" / OWN / "controls.geojson"
    units = json.loads(published.read_bytes())["features"]
    (covered, *_) = [unit for unit in units if unit["properties"]["counts"]]
    with edited_features(copied.registry) as features:
        properties = features[0]["properties"] | {"id": "fresh", "start": LATER.isoformat()}
        features.append(features[0] | {"geometry": covered["geometry"], "properties": properties})
    night(copied.settings, as_of=date(2018, 10, 1))
    write(copied, key, OWN, tmp_path / "new.zip")
    units = read(tmp_path / "new.zip", "controls.geojson")["features"]
    (unit,) = [one for one in units if one["geometry"] == covered["geometry"]]
    assert (unit["properties"]["counts"], unit["properties"]["reason"]) == (False, "COVERED")
    assert read(tmp_path / "new.zip", "controls.geojson", as_bytes=True) == published.read_bytes()


def test_missing_rows_of_the_ledger_are_named_and_nothing_is_written(copied, key, tmp_path):
    def left_out(t):
        edit_assessments(t, PATH, left_out={"u": "2018-01-01"})

    def no_constants(t):
        t._connection.execute(text("delete from calibrations"))
        edit_payload(t, PATH, calibration="x")

    for change, problem in (
        (left_out, "is not as it was when the chain was written"),
        (no_constants, "no longer has its constants"),
        (lambda t: t._connection.execute(text("delete from sites")), "no longer has version"),
    ):
        with open_ledger(copied.settings) as ledger, ledger.transaction() as t:
            change(t)
        with pytest.raises(BadData, match=problem):
            write(copied, key, PATH, tmp_path / "new.zip")
    assert sorted(os.listdir(tmp_path)) == ["copy"]


def test_a_lost_store_or_one_that_gives_another_series_is_named_and_no_pack_written(copied, key, tmp_path, monkeypatch):
    original = evidence.pack_members

    def other_units(stored, inputs):
        inputs.rows[-1]["left_out"] |= {stored.units[0]: "2015-01-01", stored.units[1]: "2015-01-01"}
        return original(stored, inputs)

    with monkeypatch.context() as patch:
        patch.setattr(evidence, "pack_members", other_units)
        with pytest.raises(BadData, match="no longer gives the series that its assessment of 2018-09-30 was made from"):
            write(copied, key, PATH, tmp_path / "new.zip")
    shutil.rmtree(copied.root / "store")
    with pytest.raises(StoreBroken, match=r"is not under .*store; if it is in a backup"):
        write(copied, key, PATH, tmp_path / "new.zip")
    assert sorted(os.listdir(tmp_path)) == ["copy"]


def test_a_full_disk_leaves_nothing_behind(programme, key, tmp_path, monkeypatch):
    original = evidence.pack_members

    def full(stored, inputs):
        for name, content in original(stored, inputs):
            yield name, content
            if name.startswith("data.zarr/pixels"):
                raise OSError(28, "No space left on device")

    monkeypatch.setattr(evidence, "pack_members", full)
    with pytest.raises(DiskFull):
        write(programme, key, PATH, tmp_path / "new.zip")
    assert os.listdir(tmp_path) == []


def test_the_command_reports_what_it_wrote_and_refuses_impossible_arguments(programme, packs, tmp_path, monkeypatch):
    config, out = f"--config={programme.config}", tmp_path / "new.zip"
    new_keys(tmp_path / "keys")
    monkeypatch.setenv("REGROWTH_EVIDENCE_KEY_FILE", str(tmp_path / "keys" / "signing.key"))
    run = partial(regrowth, "evidence")
    code, printed, _ = run(OWN, "--out", out, "--as-of", "2018/9/30", config, "--json")
    assert code == Exit.DONE
    assert json.loads(printed) | {"bytes": 0, "fingerprint": ""} == {
        "out": str(out), "site": OWN, "as_of": "2018-09-30", "status": json.loads(printed)["status"], "assessments": 2,
        "bytes": 0, "fingerprint": "", "uncovered": 0,
    }  # fmt: skip
    written = out.read_bytes()
    (tmp_path / "link.zip").symlink_to(tmp_path / "nowhere")
    for arguments, status, problem in (
        ((OWN, "--out", out), Exit.BAD_DATA, "exists, and is not replaced"),
        ((OWN, "--out", tmp_path / "link.zip"), Exit.BAD_DATA, "exists, and is not replaced"),
        ((OWN, "--out", tmp_path / "new.tar"), Exit.USAGE, "it must end in .zip"),
        ((OWN, "--out", programme.root / "store" / "new.zip"), Exit.USAGE, "is inside the store"),
        ((OWN, "--out", tmp_path / "a.zip", "--as-of", "soon"), Exit.USAGE, "soon"),
        (("demo-11", "--out", tmp_path / "a.zip"), Exit.BAD_DATA, "the nearest names are 'demo-10'"),
        ((OWN, "--out", tmp_path / "a.zip", "--as-of", "2017-01-01"), Exit.BAD_DATA, "first assessment is of 2018"),
        ((OWN,), Exit.USAGE, "--out"),
    ):  # fmt: skip
        code, _, error = run(*arguments, config)
        assert code == status
        assert problem in error
    assert out.read_bytes() == written
    monkeypatch.delenv("REGROWTH_EVIDENCE_KEY_FILE")
    code, _, error = run(OWN, "--out", tmp_path / "a.zip", config)
    assert (code, "regrowth keys new" in error) == (Exit.CONFIGURATION, True)
    assert sorted(os.listdir(tmp_path)) == ["keys", "link.zip", "new.zip"]


def test_a_site_that_was_not_assessed_yet_has_no_pack(installation, key, tmp_path):
    regrowth("sites", "add", installation.registry, config=installation.config)
    with pytest.raises(BadData, match="has not been assessed yet: regrowth run"):
        write(installation, key, "demo-02", tmp_path / "new.zip")


@pytest.mark.slow
def test_a_killed_command_leaves_no_pack(programme, tmp_path):
    new_keys(tmp_path / "keys")
    script = (
        "import os, signal, sys\n"
        "from jobs.proof import evidence\n"
        "original = evidence.pack_members\n"
        "def dying(*arguments):\n"
        "    for name, content in original(*arguments):\n"
        "        yield name, content\n"
        "        if name.startswith('data.zarr/pixels'):\n"
        "            os.kill(os.getpid(), getattr(signal, sys.argv.pop()))\n"
        "evidence.pack_members = dying\n"
        "from jobs.cli import main\n"
        "main(sys.argv[1:-1])\n"
    )
    environment = {**os.environ, "REGROWTH_EVIDENCE_KEY_FILE": str(tmp_path / "keys" / "signing.key")}
    for name, status in (("SIGKILL", -signal.SIGKILL), ("SIGTERM", Exit.STOPPED)):
        folder = tmp_path / name
        arguments = ["evidence", OWN, "--out", str(folder / "new.zip"), "--config", str(programme.config), name]
        ended = subprocess.run([sys.executable, "-c", script, *arguments], env=environment, check=False)
        assert ended.returncode == status
        assert not (folder / "new.zip").exists()
        left = os.listdir(folder)  # by SIGKILL hidden, and no zip of that name
        assert all(name.startswith(".new.zip.") for name in left) if status < 0 else left == []
