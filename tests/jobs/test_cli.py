"""The command line: quick help, one clear line for trouble, the right exit status."""

import errno
import json
import re
import shutil
import subprocess
import sys
import tomllib
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pytest

from jobs.runtime.exits import Exit
from jobs.runtime.installation import open_ledger
from jobs.runtime.lock import hold_lock
from monitor.cube.store import LandscapeStore
from monitor.cube.stored_site import StoredSite
from monitor.errors import StoreBroken
from monitor.kernel_cache import cache_name
from monitor.publish.outdated import MADE_FROM
from tests.builders import edited_features, printed, printed_json, regrowth
from tests.ledger.assessed import add_assessment


@pytest.fixture
def run(installation):
    return partial(regrowth, config=installation.config)


@pytest.fixture
def night(run):
    return lambda day, *options: run("run", "--as-of", day, *options)


def written_and_loaded(*arguments, libraries):
    """Lines that a command writes in another process, and the last one: its status, and which libraries it loads."""
    code = (
        f"import sys\nfrom jobs.cli import main\ntry:\n    main({[*map(str, arguments)]})\n"
        f"except SystemExit as left:\n    print(left.code or 0, sorted({set(libraries.split())} & set(sys.modules)))"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()


def test_help_appears_without_loading_a_heavy_library():
    assert written_and_loaded("--help", libraries="numpy xarray dask pandas numba rasterio sqlalchemy")[-1] == "0 []"


def test_the_version_is_printed_without_loading_a_library(root):
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = written_and_loaded("--version", libraries="numpy pydantic sqlalchemy structlog")
    assert lines == [project["version"], "0 []"]


def test_status_reads_the_ledger_without_loading_an_array_library(installation, run):
    row = {"site": "demo-02", "status": "failing", "alert": "red", "theta": 0.1, "as_of": "2018-08-01"}
    assert run("sites", "add", installation.registry)[0] == Exit.DONE
    with open_ledger(installation.settings) as ledger, ledger.transaction() as t:
        add_assessment(t, "demo-02", "2018-08-01", "d", row, version="v", snapshot="s", run="r")
    libraries = "numpy xarray numba shapely geopandas pandas dask"
    line = "demo-02: failing, alert red, 10% of the expected uplift (as of 2018-08-01)"
    assert written_and_loaded("status", "--config", installation.config, libraries=libraries) == [line, "0 []"]


def test_status_of_an_unknown_site_exits_with_65(installation, run):
    status, _, error = run("status")
    assert (status, "there is no site to judge" in error) == (Exit.BAD_DATA, True)
    run("sites", "add", installation.registry)
    status, _, error = run("status", "--site", "nobody")
    assert (status, "no site 'nobody' in the ledger" in error) == (Exit.BAD_DATA, True)
    assert run("status")[:2] == (Exit.DONE, "No site has been assessed yet: regrowth run\n")


def test_compiled_kernels_are_not_used_again_once_the_code_that_they_call_has_changed(tmp_path):
    for name, text in (("a.py", "from numba import njit"), ("b.py", "from numba import njit"), ("c.py", "plain")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    before = cache_name(tmp_path)
    (tmp_path / "c.py").write_text("other", encoding="utf-8")
    assert cache_name(tmp_path) == before
    (tmp_path / "b.py").write_text("from numba import njit  # and other arithmetic", encoding="utf-8")
    assert cache_name(tmp_path) != before


@pytest.mark.parametrize(
    "arguments",
    [["runn"], ["run", "--as-of", "yesterday"], ["run", "--sites", "a"], ["explain"], ["demo", "--seed", "-1"], []],
)
def test_an_invalid_command_line_exits_with_64(arguments):
    assert printed(*arguments, status=Exit.USAGE)


@pytest.mark.parametrize(("day", "word"), [("2999-01-01", "future"), ("0001-01-01", "Landsat 1")])
def test_a_night_in_the_future_is_refused_so_that_no_later_one_is_shadowed(night, day, word):
    status, _, error = night(day)
    assert (status, word in error) == (Exit.USAGE, True)


def test_an_output_root_that_is_a_file_is_reported_in_one_line(installation, night):
    text = installation.config.read_text().replace('root = "."', 'root = "sites.geojson"')
    installation.config.write_text(text)
    status, _, error = night("2016-06-30", "--json")
    assert (status, "sites.geojson" in error.splitlines()[-1]) == (Exit.CONFIGURATION, True)


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("what", ["jobs.night.pipeline.report_killed_nights", "jobs.pages.publishing.write_index"])
def test_a_full_disk_exits_with_20_and_asks_for_room(night, monkeypatch, what):
    monkeypatch.setattr(what, Mock(side_effect=FULL))
    status, _, error = night("2016-06-30")
    assert status == Exit.ALL_FAILED
    assert error.splitlines()[-1].startswith("the disk is full: make room at ")


@pytest.mark.parametrize("what", ["the page", "the mark of what it was made from"])
def test_a_page_without_room_on_the_disk_is_reported_with_its_site(night, monkeypatch, what):
    write, full = Path.write_bytes, Mock(side_effect=FULL)
    if what == "the page":
        monkeypatch.setattr("monitor.publish.drafts.write_site", full)
    else:
        monkeypatch.setattr(Path, "write_bytes", lambda path, *a: full() if path.name == MADE_FROM else write(path, *a))
    status, out, _ = night("2016-06-30")
    assert status == Exit.SOME_FAILED
    registered, *lines = out.splitlines()
    assert registered == "registry: added: demo-02, demo-07, demo-10"
    assert len(lines) == 3
    assert all("; page not written: the disk is full: make room at " in line for line in lines)
    status, out, _ = night("2016-06-30", "--json")
    assert status == Exit.SOME_FAILED
    failed = json.loads(out)["pages_failed"]
    assert list(failed) == ["demo-02", "demo-07", "demo-10"]
    assert all(why.startswith("the disk is full: make room at ") for why in failed.values())


@pytest.mark.slow
def test_a_site_whose_pixels_are_damaged_says_that_its_page_was_not_written_and_why(installation, run, night):
    assert night("2018-09-30")[0] == Exit.DONE
    for file in (installation.root / "store").glob("*/chunks/*"):
        whole, landscape = file.read_bytes(), LandscapeStore(file.parent.parent)
        file.write_bytes(whole[:4] + b"\xff" * 8 + whole[12:])
        try:
            StoredSite(landscape, landscape.grounds[0]).unit_means()
        except StoreBroken:  # no pixels: what the series is made of
            file.write_bytes(whole)
    for made in (installation.root / "store").rglob("*.seasons"):
        shutil.rmtree(made)
    shutil.rmtree(installation.root / "sites" / "demo-07")
    status, out, _ = run("publish")
    assert status == Exit.SOME_FAILED
    why = "the store [^ ]+ cannot be read .*checksum.* Nothing in it was changed.*regrowth run"
    assert re.match(f"demo-07: not written; {why}", out)
    status, again, _ = night("2018-09-30")
    assert status == Exit.SOME_FAILED
    first, second, third = again.splitlines()
    assert "not written" not in first + third
    assert re.match(f"demo-07: done; .*; page not written: {why}", second)


def test_a_ledger_server_that_is_down_means_try_later(run, monkeypatch):
    pytest.importorskip("psycopg", reason="the PostgreSQL driver is in the extra 'postgresql'")
    monkeypatch.setenv("REGROWTH_LEDGER__URL", "postgresql+psycopg://user:hunter2@127.0.0.1:1/x")
    status, _, error = run("status")
    assert (status, "hunter2" in error) == (Exit.TRY_LATER, False)


@pytest.mark.parametrize("command", ["run", "backfill", "publish"])
def test_a_run_that_finds_another_one_exits_with_75_before_it_loads_anything(installation, run, command):
    with hold_lock(installation.root, "a night", "regrowth.db.lock"):
        status, _, error = run(command)
    assert (status, "a night, process" in error) == (Exit.TRY_LATER, True)


def test_a_missing_configuration_exits_with_78_in_one_line(tmp_path):
    status, _, error = regrowth("run", config=tmp_path / "no.toml")
    assert (status, len(error.splitlines())) == (Exit.CONFIGURATION, 1)


@pytest.mark.parametrize("content", ['{"type": "FeatureCollection", "features": []}', None], ids=["empty", "missing"])
def test_a_registry_without_a_site_exits_with_65(installation, run, content):
    installation.registry.unlink()
    if content:
        installation.registry.write_text(content)
    status, _, error = run("run")
    assert (status, len(error.splitlines())) == (Exit.BAD_DATA, 1)
    assert content or "sites.geojson" in error


@pytest.mark.parametrize(("source", "message"), [
    ('kind = "sample"\nsinse = "2020-01-01"', "'since'"), ('kind = "stac"', "needs url"),
    ('kind = "stac"\nurl = "http://127.0.0.1:9/"', "allow_hosts"), ('kind = "stac"\nurl = "/etc"', "allow_hosts"),
    ('kind = "earthengine"', "project"),
    ('kind = "earthengine"\nproject = "p"\nurl = "http://127.0.0.1:9"', "allow_hosts"),
    ('kind = "earthengine"\nproject = "p"\ncollections = ["S2"]', "S2_SR_HARMONIZED"),
])  # fmt: skip
def test_a_source_that_lacks_what_it_needs_exits_with_78_and_says_what(source, message, installation, run):
    installation.config.write_text(f'[registry]\npath = "sites.geojson"\n[source]\n{source}\n')
    status, _, error = run("run")
    assert (status, message in error) == (Exit.CONFIGURATION, True)


def test_a_run_prints_the_manifest_of_the_contract_and_status_and_explain_follow(installation):
    config = {"config": installation.config}
    manifest = printed_json("run", "--as-of", "2018-08-01", **config)
    assert manifest.keys() == {
        "run", "as_of", "sites", "registry", "messages_waiting", "pages_failed", "self_check", "unread_count", "unread",
    }  # fmt: skip
    assert (manifest["messages_waiting"], manifest["pages_failed"]) == (0, {})
    assert (manifest["unread_count"], manifest["unread"]) == (0, [])
    assert set(manifest["sites"][0]) == {
        "site", "state", "error", "scenes_new", "scenes_rejected", "scenes_unread", "status", "alert",
    }  # fmt: skip
    assert printed_json("status", "--site", "demo-10", **config) == [installation.verdicts["demo-10"]]
    for language in ("en", "zh"):
        assert 2 <= len(printed("explain", "demo-10", "--language", language, **config).splitlines()) <= 6
    printed("explain", "nobody", status=Exit.BAD_DATA, **config)
    assert printed_json("publish", **config)["rewritten"] == []


def test_adding_a_registry_twice_changes_nothing_and_a_site_taken_out_is_named_and_stays(installation):
    add = partial(printed_json, "sites", "add", installation.registry, config=installation.config)
    assert add()["added"] == ["demo-02", "demo-07", "demo-10"]
    assert add()["unchanged"] == ["demo-02", "demo-07", "demo-10"]
    with edited_features(installation.registry) as features:
        features[0]["properties"]["name"] = "another name"
        del features[2]
    report = add()
    assert (report["changed"], report["missing"], report["unchanged"]) == (["demo-02"], ["demo-10"], ["demo-07"])
    listed = printed_json("sites", "list", config=installation.config)
    assert [site["id"] for site in listed] == ["demo-02", "demo-07", "demo-10"]
    out = printed("sites", "add", installation.registry, config=installation.config)
    assert "missing from sites.geojson, kept: demo-10; to stop judging: regrowth sites retire demo-10" in out


def test_a_missing_mail_password_ends_a_night_before_anything_is_fetched(installation, night):
    channel = ("[channels.mail]", 'kind = "smtp"', 'host = "127.0.0.1"', 'sender = "a@example.org"', 'user = "me"')
    installation.configure(*channel)
    status, _, error = night("2018-09-30")
    assert (status, "needs REGROWTH_CHANNEL_MAIL_PASSWORD" in error) == (Exit.CONFIGURATION, True)
    assert not list((installation.root / "store").glob("*/repo"))
