"""An auditor's first inspection: what docs/auditors.md shows, run as it stands, each task in a folder of its own."""

import csv
import json
import re
import shutil
import sqlite3
import zipfile
from contextlib import closing

import pytest
from typer.testing import CliRunner

from jobs.cli import app
from monitor.evidence.crate import MEMBERS, part_of
from tests.conftest import ROOT
from tests.guide import run_script, tasks

GUIDE = ROOT / "docs" / "auditors.md"
TASKS = tasks(GUIDE)
SITE = "demo-02"
needs_programs = pytest.mark.skipif(
    any(shutil.which(program) is None for program in ("openssl", "sha256sum", "unzip")),
    reason="openssl, sha256sum or unzip is not installed",
)


@pytest.fixture(scope="module")
def evidence(demo, tmp_path_factory):
    """The files that the programme hands over: a pack of one site, and its public key."""
    folder = tmp_path_factory.mktemp("handed-over")
    run = CliRunner()
    assert run.invoke(app, ["keys", "new", str(folder)]).exit_code == 0
    environment = {"REGROWTH_EVIDENCE_KEY_FILE": str(folder / "signing.key")}
    arguments = ["evidence", SITE, "--out", str(folder / "pack.zip"), "--config", str(demo / "regrowth.toml")]
    written = run.invoke(app, arguments, env=environment)
    assert written.exit_code == 0, written.output
    return folder


def begin(name, evidence, place):
    """A folder with what the auditor was handed, and the files of the guide; returns the commands."""
    task = TASKS[name]
    for file in task.needs:
        (place / file).symlink_to(evidence / file) if file == "signing.pub" else shutil.copy(evidence / file, place)
    task.write_files(place)
    return task.script(ROOT)


def test_the_guide_has_these_tasks():
    assert list(TASKS) == [
        "with our software", "changed", "without our software", "series", "head", "sample", "findings",
    ]  # fmt: skip


@needs_programs
def test_a_pack_is_checked_without_our_software(evidence, demo, tmp_path):
    printed = run_script(begin("without our software", evidence, tmp_path), tmp_path, ROOT)
    published = next(row for row in json.loads((demo / "status.json").read_text("utf-8")) if row["site"] == SITE)
    assert "Signature Verified Successfully" in printed
    nights = re.search(r"^(\d+) nights; the head of the chain is ([0-9a-f]{64})$", printed, re.M)
    assert nights
    with closing(sqlite3.connect(f"file:{demo}/regrowth.db?mode=ro", uri=True)) as ledger:
        newest = ledger.execute("select number, hash from chain order by number desc").fetchone()
    assert (int(nights[1]), nights[2]) == newest
    assert f"the assessment of {published['as_of']} is in line {nights[1]} of the chain" in printed
    assert re.search(r"^\S+ \d+ clear pixels, NDVI 0\.\d+ published 0\.\d+$", printed, re.M)
    assert not [line for line in printed.splitlines() if line.startswith(("<", ">"))]


@needs_programs
@pytest.mark.parametrize(("member", "program"), [("chain.jsonl", "chain.py"), ("assessments.json", "proof.py")])
def test_each_check_of_the_guide_notices_what_was_changed(evidence, tmp_path, member, program):
    begin("without our software", evidence, tmp_path)
    shutil.unpack_archive(evidence / "pack.zip", tmp_path / "pack")
    content = (tmp_path / "pack" / member).read_text(encoding="utf-8")
    day = re.findall(r"20\d\d-\d\d-\d\d", content)[-1]
    before, _, after = content.rpartition(day)
    (tmp_path / "pack" / member).write_text(f"{before}2020-01-01{after}", encoding="utf-8")
    failed = run_script(f"python3 {program} 2>&1 || true; cd pack; sha256sum --check manifest-sha256.txt 2>&1 || true",
                        tmp_path, ROOT)  # fmt: skip
    assert "AssertionError: " in failed
    assert f"{member}: FAILED" in failed


def test_a_changed_byte_and_another_history_are_refused(evidence, tmp_path):
    printed = run_script(begin("changed", evidence, tmp_path), tmp_path, ROOT)
    assert re.search(r"^FAIL .+\nexit status 65$", printed, re.M)
    (tmp_path / "pack.zip").unlink()
    (tmp_path / "signing.pub").unlink()
    printed = run_script(begin("head", evidence, tmp_path), tmp_path, ROOT)
    assert re.search(r"^FAIL chain.jsonl: no line of the chain has the head 1{64}.*\nexit status 65$", printed, re.M)


@pytest.mark.slow
def test_a_pack_passes_and_its_verdict_is_computed_again_from_pixels_and_from_the_series(evidence, tmp_path):
    printed = run_script(begin("with our software", evidence, tmp_path), tmp_path, ROOT)
    assert re.search(rf"^PASS {SITE}", printed, re.M)
    assert re.search(r"^equal", printed, re.M)
    shutil.unpack_archive(evidence / "pack.zip", tmp_path / "pack")
    run_script(TASKS["series"].script(ROOT), tmp_path, ROOT)
    last = json.loads((tmp_path / "pack/assessments.json").read_text(encoding="utf-8"))[-1]
    with (tmp_path / "verdicts.csv").open(encoding="utf-8-sig") as file:
        row = [row for row in csv.DictReader(file) if row["as_of"] <= last["as_of"]][-1]
    assert (row["status"], row["alert"]) == (last["status"], last["alert"])
    assert float(row["theta"]) == pytest.approx(last["theta"], abs=1e-9)


@needs_programs
@pytest.mark.slow
def test_sites_are_drawn_and_a_sheet_that_was_filled_in_comes_back(demo, tmp_path):
    for name in ("regrowth.toml", "regrowth.db", "sites.geojson"):
        shutil.copy(demo / name, tmp_path)
    task = TASKS["sample"]
    printed = run_script(task.script(ROOT), tmp_path, ROOT)
    assert "6 of 10 sites drawn" in printed
    assert re.search(r"^[0-9a-f]{64}  -$", printed, re.M)
    lines = (tmp_path / "sheet.csv").read_text(encoding="utf-8").splitlines()
    example = GUIDE.read_text(encoding="utf-8").split("```\nsite,date,kind,value,n,lon,lat,note\n")[1].split("```")[0]
    values = {row[2]: row[3:5] for row in csv.reader(example.splitlines())} | {"density": ["1650", "4"]}
    filled = [line.split(",") for line in lines[1:]]
    rows = [[site, "2020-10-28", kind, *values[kind], *rest] for site, _, kind, _, _, *rest in filled]
    (tmp_path / "sheet.csv").write_text("\n".join([lines[0], *(",".join(row) for row in rows)]), encoding="utf-8")
    printed = run_script(TASKS["findings"].script(ROOT), tmp_path, ROOT)
    assert f"Field rows stored: {len(rows)} of 6 sites; stored before: 0." in printed


def test_the_table_names_every_member_of_a_pack(evidence):
    text = GUIDE.read_text(encoding="utf-8")
    table = text.split("## What a pack holds")[1].split("\n## ")[0]
    named = set(re.findall(r"`([\w./-]+)`", table))
    with zipfile.ZipFile(evidence / "pack.zip") as pack:
        names = {part_of(name) for name in pack.namelist()}
    assert names <= named
    assert set(MEMBERS) <= named
