"""Flipped bits in ledger, stores and published files: named, and never another number in what is published."""

import json
import random
import shutil
import sqlite3
from collections import Counter
from contextlib import closing

import pytest
from sqlalchemy import update

from jobs.health import damage
from jobs.health.finding import guarded
from jobs.health.ledger import read_ledger
from jobs.pages.publishing import publish_once
from jobs.runtime.exits import Exit
from jobs.runtime.installation import open_ledger
from jobs.runtime.progress import report_nothing
from monitor.cube.bucket import landscape_folders
from monitor.cube.store import LandscapeStore
from monitor.errors import BadData
from monitor.ledger.models import Base, ControlsRow
from monitor.ledger.packed import packed, unpacked
from monitor.publish.outdated import MADE_FROM
from tests.builders import regrowth
from tests.ledger.assessed import damage_assessments, edit_payload

NIGHT = "2018-09-30"  # the night of the fixture `first_night`
LATER = "2018-11-15"  # a night with new scenes
EXPECTED = {Exit.DONE, Exit.SOME_FAILED, Exit.ALL_FAILED, Exit.BAD_DATA, Exit.TRY_LATER, Exit.CONFIGURATION}


@pytest.fixture
def copied(first_night, tmp_path):
    return first_night.copied_to(tmp_path / "copy")


def changed(made, statement):
    with closing(sqlite3.connect(made.root / "regrowth.db")) as connection, connection:
        assert connection.execute(statement).rowcount > 0


def deep(made):
    """What the deep checks find that is not well."""
    settings = made.settings
    contents = read_ledger(settings)
    parts = (
        lambda: damage.ledger_rows(settings, contents), lambda: damage.stores(settings, contents, report_nothing),
        lambda: damage.published(settings),
    )  # fmt: skip
    return [finding for part in parts for finding in guarded("deep", part) if finding.state != "ok"]


def flip(path, at, bit):
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << bit
    path.unlink()
    path.write_bytes(content)


def test_a_value_of_the_ledger_is_read_as_it_was_written_or_not_at_all():
    for value in ({"n": 1, "text": "é", "list": [1, None]}, {}, [{"a": 0.1}]):
        assert unpacked(packed(value)) == value
    value = {"theta": 0.4, "status": "failing", "n": 12}
    content = packed(value)
    for at in range(len(content)):
        changes = [content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :] for bit in range(8)]
        assert all(read_or_error(changed) in (value, "checksum") for changed in changes), "a few bits have no meaning"
        assert read_or_error(content[:at]) == "checksum"


def read_or_error(content):
    try:
        return unpacked(content)
    except ValueError as error:
        return "checksum" if "its checksum is not" in str(error) else error


def damaged(made):
    with open_ledger(made.settings) as ledger, ledger.transaction() as t:
        damage_assessments(t)


def test_damaged_assessments_are_not_published_and_the_pages_stay(copied):
    damaged(copied)
    for made in (copied.root / "sites").glob(f"*/{MADE_FROM}"):
        made.unlink()  # all pages are to be written
    before = {path: path.read_bytes() for path in (copied.root / "sites").rglob("*") if path.is_file()}
    status, out, _ = regrowth("publish", config=copied.config)
    assert status == Exit.ALL_FAILED
    assert "demo-07: not written; site 'demo-07': its assessment of 2018-09-30 in the ledger is not as it was" in out
    assert "with those of its landscape: regrowth run --as-of 2018-09-30. " in out
    assert {path: path.read_bytes() for path in before} == before
    status, _, err = regrowth("status", "--site", "demo-07", config=copied.config)
    assert (status, "demo-07" in err) == (Exit.BAD_DATA, True)


def test_the_night_of_that_day_makes_the_assessments_again_as_they_were(copied):
    before = json.loads(copied.status)
    damaged(copied)
    assert any("table assessments" in finding.message for finding in deep(copied))
    assert regrowth("run", "--as-of", NIGHT, config=copied.config)[0] == Exit.DONE
    assert deep(copied) == []
    assert regrowth("publish", config=copied.config)[0] == Exit.DONE
    assert json.loads(copied.status) == before


def test_an_edited_assessment_with_a_checksum_that_fits_is_stopped_by_the_chain(copied):
    with open_ledger(copied.settings) as ledger, ledger.transaction() as t:
        edit_payload(t, "demo-02", theta=2.0)
    outcomes, sites = publish_once(copied.settings)
    assert (sites, list(outcomes)) == (3, ["demo-02"])
    assert "the chain of nights does not cover it as it is now" in outcomes["demo-02"]
    assert next(finding.message for finding in deep(copied)) == outcomes["demo-02"]


def test_a_page_whose_series_is_not_the_one_that_was_judged_stays_as_it_is(copied):
    with open_ledger(copied.settings) as ledger, ledger.transaction() as t:
        for ground, chosen in t.all_controls().items():
            of_site = update(ControlsRow).where(ControlsRow.ground == ground, ControlsRow.site == "demo-07")
            t._connection.execute(of_site.values(payload={**chosen, "units": []}))
    (copied.root / "sites" / "demo-07" / MADE_FROM).unlink()
    before = (copied.root / "sites" / "demo-07" / "observations.csv").read_bytes()
    outcomes, _ = publish_once(copied.settings)
    assert "the series of 2018-09-30 is not the one that was judged" in outcomes["demo-07"]
    assert (copied.root / "sites" / "demo-07" / "observations.csv").read_bytes() == before
    (finding,) = deep(copied)
    assert (finding.check, finding.fix) == ("series", "regrowth run    (judges them again)")
    assert finding.message.endswith("judged: demo-07")


@pytest.mark.parametrize("table", ["sites", "controls", "background", "runs", "lots"])
def test_a_damaged_row_of_any_table_is_named_and_never_read(copied, table):
    column = "manifest" if table == "runs" else "payload"
    changed(copied, f"update {table} set {column} = substr({column}, 2)")
    named = [finding for finding in deep(copied) if finding.message.startswith(f"table {table}, ")]
    assert all(finding.state == "broken" and "Restore" in finding.fix for finding in named)
    assert named
    status, _, err = regrowth("run", "--as-of", NIGHT, config=copied.config)
    if table in ("sites", "controls", "background"):
        assert (status, f"table {table}" in err) == (Exit.BAD_DATA, True)
    with pytest.raises(BadData, match=f"table {table}"), open_ledger(copied.settings) as ledger, ledger.reading() as t:
        t._connection.execute(Base.metadata.tables[table].select()).all()


def test_a_state_that_is_not_that_of_the_assessment_is_named(copied):
    changed(copied, "update states set status = 'on_track' where site = 'demo-07'")
    (finding,) = deep(copied)
    assert finding.message == "table states: not as the newest assessments of demo-07"


def test_a_damaged_time_of_a_run_is_named(copied):
    changed(copied, "update runs set started = replace(started, '-', '-9')")
    (finding,) = guarded("ledger", lambda: [read_ledger(copied.settings)])
    assert "table runs, id " in finding.message
    status, _, err = regrowth("run", "--as-of", NIGHT, config=copied.config)
    assert (status, "started is damaged" in err) == (Exit.BAD_DATA, True)


def test_a_flipped_byte_of_a_scene_is_named_with_its_day_its_sites_and_the_command(copied):
    (folder,) = landscape_folders(copied.root / "store")
    (folder,) = landscape_folders(copied.root / "store")
    days = LandscapeStore(folder).dataset().time.values.astype("datetime64[us]").astype("datetime64[D]").astype(str)
    largest = max((folder / "chunks").iterdir(), key=lambda path: path.stat().st_size)
    chunks = [path for path in (folder / "chunks").iterdir() if 1100 < path.stat().st_size < 1700]
    found = None
    for path in [*chunks, largest]:
        flip(path, path.stat().st_size // 2, 3)
        found = next((one for one in deep(copied) if "the scene of" in one.message), None)
        flip(path, path.stat().st_size // 2, 3)
        if found:
            break
    assert found is not None
    day = found.message.partition("the scene of ")[2][:10]
    assert day in days
    assert found.message.startswith(folder.name)
    assert found.message.endswith("; sites: demo-02, demo-07, demo-10")
    assert found.fix.startswith(f"regrowth backfill --replace {folder.name}")


def test_a_published_file_that_was_changed_is_named_and_written_again_by_the_command(copied):
    file = copied.root / "sites" / "demo-02" / "observations.csv"
    before = file.read_bytes()
    flip(file, 40, 2)
    (finding,) = deep(copied)
    assert finding.message == "sites/demo-02/observations.csv is not the file that was written"
    assert finding.fix.startswith(f"rm {file.parent / MADE_FROM}; regrowth publish")
    (file.parent / MADE_FROM).unlink()
    publish_once(copied.settings)
    assert file.read_bytes() == before
    assert deep(copied) == []


def test_a_sound_installation_is_read_in_full_without_a_finding(first_night):
    assert deep(first_night) == []


def numbers(root):
    """What is published of each site: its files, and its entry of the list."""
    files = {
        str(path.relative_to(root)): path.read_bytes()
        for path in (root / "sites").rglob("*")
        if path.is_file() and path.name != MADE_FROM
    }
    return files | {f"status {entry['site']}": entry for entry in json.loads((root / "status.json").read_text())}


def flips(first_night, tmp_path, files, count, seed, *, whole):
    """Flip one bit at a time; count which check noticed it, and assert that nothing wrong is published."""
    rng, noticed = random.Random(seed), Counter()
    later = first_night.copied_to(tmp_path / "later")
    assert regrowth("run", "--as-of", LATER, config=later.config)[0] == Exit.DONE
    right = numbers(first_night.root), numbers(later.root)
    sizes = [path.stat().st_size for path in files]
    for number in range(count):
        shutil.rmtree(tmp_path / "work", ignore_errors=True)
        made = first_night.copied_to(tmp_path / "work")
        source = rng.choices(files, sizes)[0]
        content = source.read_bytes()
        used = [at for at in range(0, len(content)) if content[at]]
        path = made.root / source.relative_to(first_night.root)
        at, bit = rng.choice(used), rng.randrange(8)
        flip(path, at, bit)
        where = f"{number}: bit {bit} of byte {at} of {source.name}"
        found = bool(deep(made)) if whole else None
        codes = []
        for command in (["status"], ["publish"], ["run", "--as-of", LATER]):
            status, _, err = regrowth(*command, config=made.config)
            assert status in EXPECTED, (where, command, err[-2000:])
            assert "Traceback" not in err, (where, command, err[-2000:])
            codes.append(int(status))
        wrong = [name for name, value in numbers(made.root).items() if all(value != known.get(name) for known in right)]
        assert wrong == [], (where, codes, wrong)
        noticed["deep" if found else "a command" if any(codes) else "nothing, and all is right"] += 1
    return noticed


def ledger_file(made):
    return [made.root / "regrowth.db"]


def store_files(made):
    (folder,) = landscape_folders(made.root / "store")
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(("files", "count"), [(ledger_file, 10), (store_files, 6)])
def test_a_flipped_bit_never_becomes_a_bug_or_another_number(first_night, tmp_path, files, count):
    flips(first_night, tmp_path, files(first_night), count, seed=1, whole=False)


def test_a_page_stays_where_the_ledger_has_lost_where_its_ground_is_stored(copied):
    page = copied.root / "sites" / "demo-02" / "observations.csv"
    before = page.read_bytes()
    changed(copied, "update stored set ground = 'x' || substr(ground, 2) where site = 'demo-02'")
    assert regrowth("publish", config=copied.config)[0] == 0
    assert page.read_bytes() == before
    assert regrowth("run", "--as-of", LATER, config=copied.config)[0] == 0
    assert len(page.read_bytes().splitlines()) > len(before.splitlines())


@pytest.mark.slow
@pytest.mark.parametrize("files", [ledger_file, store_files])
def test_many_flipped_bits_never_become_a_bug_or_another_number(first_night, tmp_path, files):
    noticed = flips(first_night, tmp_path, files(first_night), 150, seed=7, whole=True)
    print(noticed)
    assert noticed["deep"] > noticed["a command"]
