"""A backup is complete or absent, a restore overwrites nothing, and a restored programme goes on as if nothing was."""

import errno
import json
import os
import shutil
import signal
from contextlib import closing
from datetime import date
from unittest.mock import Mock

import pytest
from sqlalchemy import select

from jobs.install.backup import back_up
from jobs.install.restoring import restore
from jobs.night.pipeline import night
from jobs.runtime.console import print_error
from jobs.runtime.exits import Exit
from jobs.runtime.lock import LANDSCAPE_LOCKS, hold_lock
from jobs.runtime.settings import load
from monitor.errors import BadConfiguration, BadData, TryLater
from monitor.ledger.ledger import Ledger
from monitor.ledger.models import Base
from tests import forked
from tests.builders import regrowth
from tests.ledger.conftest import postgresql as postgresql

NIGHT = date(2018, 9, 30)
PASSWORD = "hunter2-Canary"


@pytest.fixture(scope="module")
def original(first_night, tmp_path_factory):
    return first_night.copied_to(tmp_path_factory.mktemp("original"))


@pytest.fixture(scope="module")
def saved(original, tmp_path_factory):
    folder = tmp_path_factory.mktemp("disk") / "backup"
    back_up(load(original.config), folder, config=original.config)
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    """A copy of the backup, to be altered."""
    return shutil.copytree(saved, tmp_path / "copy")


@pytest.fixture
def empty(original, tmp_path):
    """An installation with the same registry, without ledger and stores."""
    root = tmp_path / "empty"
    root.mkdir()
    for name in ("regrowth.toml", "sites.geojson"):
        shutil.copy(original.root / name, root / name)
    return root


def rows(url, *, without=()):
    with closing(Ledger(url)) as ledger, ledger.reading() as t:
        return {
            table.name: [tuple(row) for row in t._connection.execute(select(table).order_by(*table.primary_key))]
            for table in Base.metadata.sorted_tables
            if table.name not in {"ledger", *without}
        }


def files(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def stores(root):
    return {name: content for name, content in files(root / "store").items() if "/repo" in name or "/chunks/" in name}


def ledger_of(backup):
    return f"sqlite:///{backup}/ledger.db"


def test_a_backup_has_the_ledger_the_stores_and_a_list_of_every_file(original, saved):
    content = json.loads((saved / "backup.json").read_text())
    assert sorted(path.name for path in saved.iterdir()) == ["backup.json", "config", "ledger.db", "store"]
    assert {file["path"] for file in content["files"]} == files(saved).keys() - {"backup.json"}
    assert rows(ledger_of(saved)) == rows(original.settings.ledger.url)
    for landscape in content["landscapes"]:
        assert files(saved / "store" / landscape) == files(original.root / "store" / landscape)
    assert saved.stat().st_mode & 0o077 == 0


def test_after_a_restore_a_night_changes_nothing_and_sends_nothing(saved, empty):
    settings = load(empty / "regrowth.toml")
    assert regrowth("restore", saved, config=empty / "regrowth.toml")[0] == Exit.DONE
    before, stored = rows(settings.ledger.url, without={"runs"}), stores(empty)
    assert before == rows(ledger_of(saved), without={"runs"})
    manifest = night(settings, as_of=NIGHT, pages=False)
    assert [site.scenes_new for site in manifest.sites] == [[]] * 3
    assert manifest.messages_sent == 0
    assert (rows(settings.ledger.url, without={"runs"}), stores(empty)) == (before, stored)
    assert not (empty / "messages").exists()


def test_a_ledger_goes_to_postgresql_and_back_and_goes_on_numbering(saved, empty, postgresql, monkeypatch, tmp_path):
    url = postgresql()
    monkeypatch.setenv("REGROWTH_LEDGER__URL", url)
    settings = load(empty / "regrowth.toml")
    restore(settings, saved)
    assert rows(url) == rows(ledger_of(saved))
    manifest = night(settings, as_of=date(2018, 10, 5), pages=False)
    assert [site.state for site in manifest.sites] == ["done"] * 3
    back_up(settings, tmp_path / "again", config=empty / "regrowth.toml")
    assert rows(ledger_of(tmp_path / "again")) == rows(url)


def test_no_password_of_the_configuration_is_in_a_backup(original, tmp_path, monkeypatch):
    text = original.config.read_text(encoding="utf-8")
    config = original.root / "secret.toml"
    address = f"https://hc.example.org/{PASSWORD}"
    config.write_text(f'{text}\n[heartbeat]\nurl = "{address}"\n', encoding="utf-8")
    back_up(load(config), tmp_path / "backup", config=config)
    assert "hc.example.org" in (tmp_path / "backup" / "config" / "regrowth.toml").read_text(encoding="utf-8")
    assert not [name for name, content in files(tmp_path / "backup").items() if PASSWORD.encode() in content]
    config.unlink()


@pytest.mark.parametrize("holder", ["a night", "a backfill"])
def test_beside_a_run_a_backup_exits_with_75_and_says_so_and_leaves_nothing(original, tmp_path, holder):
    store = original.root / "store"
    landscape = next(path.name for path in store.iterdir() if (path / "repo").exists())
    where = (original.root, "regrowth.db.lock") if holder == "a night" else (store / LANDSCAPE_LOCKS, landscape)
    with hold_lock(where[0], holder, where[1]):
        status, _, error = regrowth("backup", tmp_path / "backup", config=original.config)
    assert status == Exit.TRY_LATER
    assert f"is held by {holder}, process {os.getpid()}" in error
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_new_is_left_as_it_is(original, tmp_path):
    settings = load(original.config)
    full, link, foreign = tmp_path / "full", tmp_path / "link", tmp_path / "other.partial"
    (full / "sub").mkdir(parents=True)
    foreign.mkdir()
    (foreign / "mine").touch()
    link.symlink_to(full)
    for folder in (full, link, tmp_path / "other", original.root / "store" / "backup"):
        with pytest.raises(BadConfiguration):
            back_up(settings, folder, config=original.config)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["full", "link", "mine", "other.partial", "sub"]
    assert not (original.root / "store" / "backup").exists()


def test_a_full_disk_leaves_no_half_backup(original, tmp_path, monkeypatch):
    full = Mock(side_effect=OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    monkeypatch.setattr("jobs.install.backup.copy_tree", full)
    status, _, error = regrowth("backup", tmp_path / "backup", config=original.config)
    assert (status, "the disk is full" in error) == (Exit.ALL_FAILED, True)
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from jobs.install import backup
from jobs.runtime.settings import load

config, folder = map(Path, sys.argv[1:])
backup.copy_tree = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
backup.back_up(load(config), folder, config=config)
"""


def test_a_killed_backup_is_never_taken_for_one_and_the_next_one_succeeds(original, tmp_path):
    arguments = ["-c", KILLED, str(original.config), str(tmp_path / "backup")]
    assert forked.run(arguments).returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == ["backup.partial"]
    with pytest.raises(BadData, match="is not a complete backup"):
        restore(load(original.config), tmp_path / "backup.partial")
    back_up(load(original.config), tmp_path / "backup", config=original.config)
    assert [path.name for path in tmp_path.iterdir()] == ["backup"]


def test_a_symbolic_link_in_a_store_is_named_and_not_followed(original, tmp_path):
    store = next(path for path in (original.root / "store").iterdir() if (path / "repo").exists())
    (store / "link").symlink_to("/etc/hostname")
    try:
        with pytest.raises(BadData, match="link is a symbolic link"):
            back_up(load(original.config), tmp_path / "backup", config=original.config)
    finally:
        (store / "link").unlink()
    assert list(tmp_path.iterdir()) == []


def test_an_installation_without_anything_has_nothing_to_back_up(empty, tmp_path):
    with pytest.raises(BadData, match="nothing to back up"):
        back_up(load(empty / "regrowth.toml"), tmp_path / "backup", config=empty / "regrowth.toml")
    assert not (empty / "regrowth.db").exists()


def rewritten(change):
    def alter(folder, _):
        content = json.loads((folder / "backup.json").read_text())
        change(content)
        (folder / "backup.json").write_text(json.dumps(content))

    return alter


def replaced_by_a_link(folder, chunk):
    chunk.rename(folder / "elsewhere")
    chunk.symlink_to(folder / "elsewhere")


ALTERED = {
    "one bit": lambda _, chunk: chunk.write_bytes(bytes([chunk.read_bytes()[0] ^ 1]) + chunk.read_bytes()[1:]),
    "a file less": lambda _, chunk: chunk.unlink(),
    "a file more": lambda folder, _: (next((folder / "store").iterdir()) / "more").touch(),
    "a link": replaced_by_a_link, "no list": lambda folder, _: (folder / "backup.json").unlink(),
    "outside": rewritten(lambda content: content["files"][0].update(path="../../etc/passwd")),
    "a folder outside": rewritten(lambda content: content["landscapes"].append("../../elsewhere")),
    "newer": rewritten(lambda content: content.update(format=99)),
    "endless": rewritten(lambda content: content.update(rows=float("inf"))),
    "no files": rewritten(lambda content: content.update(files="none")),
}  # fmt: skip


@pytest.mark.parametrize("alter", ALTERED.values(), ids=ALTERED)
def test_an_altered_backup_is_refused_with_65_and_nothing_is_touched(copy, empty, alter):
    files_of_stores = sorted((copy / "store").rglob("*"))
    alter(copy, next(path for path in files_of_stores if path.is_file() and path.stat().st_size > 100))
    before = files(empty)
    status, _, error = regrowth("restore", copy, config=empty / "regrowth.toml")
    assert (status, len(error.splitlines())) == (Exit.BAD_DATA, 1)
    assert files(empty) == before


def test_a_restore_overwrites_neither_a_ledger_nor_a_store(original, saved, empty):
    ledger_url = load(original.config).ledger.url
    before = rows(ledger_url), stores(original.root)
    assert regrowth("restore", saved, config=original.config)[0] == Exit.CONFIGURATION
    assert (rows(ledger_url), stores(original.root)) == before
    settings = load(empty / "regrowth.toml")
    with closing(Ledger(settings.ledger.url)) as ledger, ledger.transaction() as t:
        t.add_site("a", "1", {"id": "a"}, start="2020-01-01", now="2026-01-01T00:00:00+00:00")
    assert regrowth("restore", saved, config=empty / "regrowth.toml")[0] == Exit.CONFIGURATION
    assert not list((empty / "store").glob("*/repo"))
    with closing(Ledger(settings.ledger.url)) as ledger, ledger.reading() as t:
        assert t.versions() == {"a": "1"}


@pytest.mark.parametrize("stopped_in", [
    ["jobs.install.restoring.os.rename"], ["jobs.install.restoring.copy_rows"],
    ["monitor.ledger.copying._advance_sequences", "monitor.ledger.copying._batches"],
], ids=["copying", "before the ledger", "in the ledger"])  # fmt: skip
def test_a_restore_that_was_stopped_can_be_repeated(saved, empty, monkeypatch, stopped_in):
    settings = load(empty / "regrowth.toml")
    with monkeypatch.context() as patch:
        for name in stopped_in:
            patch.setattr(name, Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            restore(settings, saved)
    if "rename" not in stopped_in[0]:
        assert regrowth("alerts", "list", config=empty / "regrowth.toml")[0] == Exit.CONFIGURATION
    restore(settings, saved)
    assert rows(settings.ledger.url) == rows(ledger_of(saved))
    assert not (empty / "store" / ".restoring").exists()


def test_a_restore_beside_a_run_exits_with_75(saved, empty):
    with hold_lock(empty, "a night", "regrowth.db.lock"), pytest.raises(TryLater, match="held by a night"):
        restore(load(empty / "regrowth.toml"), saved)


def test_an_error_prints_no_control_characters_of_a_hostile_name(capsys):
    print_error(BadData("first \x1b[2J line\nsecond \x07 line"), Exit.BAD_DATA)
    assert capsys.readouterr().err == "first ?[2J line\nsecond ? line\n"
