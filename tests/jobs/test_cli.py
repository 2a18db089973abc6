"""The command line: quick help, one clear line for trouble, the right exit status."""

import errno
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from jobs.cli import main
from jobs.runtime.exits import Exit
from jobs.runtime.installation import open_ledger
from jobs.runtime.lock import hold_lock
from jobs.runtime.settings import load
from monitor.cube.store import LandscapeStore
from monitor.cube.stored_site import StoredSite
from monitor.errors import StoreBroken
from monitor.kernel_cache import cache_name
from monitor.publish.outdated import MADE_FROM
from tests.ledger.assessed import add_assessment


def run(*arguments, capsys=None):
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    out = capsys.readouterr() if capsys else None
    return left.value.code, out


def test_help_appears_without_loading_a_heavy_library():
    code = (
        "import sys\nfrom jobs.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit: pass\n"
        "print(sorted({'numpy', 'xarray', 'dask', 'pandas', 'numba', 'rasterio', 'sqlalchemy'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"


def test_the_version_is_printed_without_loading_a_library(root):
    code = (
        "import sys\nfrom jobs.cli import main\n"
        "try:\n    main(['--version'])\nexcept SystemExit as left: print(left.code)\n"
        "print(sorted({'numpy', 'pydantic', 'sqlalchemy', 'structlog'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert found.stdout.splitlines() == [project["version"], "0", "[]"]


def test_status_reads_the_ledger_without_loading_an_array_library(installation):
    row = {"site": "demo-02", "status": "failing", "alert": "red", "theta": 0.1, "as_of": "2018-08-01"}
    assert run("sites", "add", installation.root / "sites.geojson", "--config", installation.config)[0] == Exit.DONE
    with open_ledger(load(installation.config)) as ledger, ledger.transaction() as t:
        add_assessment(t, "demo-02", "2018-08-01", "d", row, version="v", snapshot="s", run="r")
    code = (
        "import sys\nfrom jobs.cli import main\n"
        f"try:\n    main(['status', '--config', {str(installation.config)!r}])\nexcept SystemExit as left: pass\n"
        "print(sorted({'numpy', 'xarray', 'numba', 'shapely', 'geopandas', 'pandas', 'dask'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    line = "demo-02: failing, alert red, 10% of the expected uplift (as of 2018-08-01)"
    assert found.stdout.splitlines() == [line, "[]"]


def test_status_of_an_unknown_site_exits_with_65(installation, capsys):
    config = ("--config", installation.config)
    status, out = run("status", *config, capsys=capsys)
    assert (status, "there is no site to judge" in out.err) == (Exit.BAD_DATA, True)
    run("sites", "add", installation.root / "sites.geojson", *config, capsys=capsys)
    status, out = run("status", *config, "--site", "nobody", capsys=capsys)
    assert (status, "no site 'nobody' in the ledger" in out.err) == (Exit.BAD_DATA, True)
    status, out = run("status", *config, capsys=capsys)
    assert (status, out.out) == (Exit.DONE, "No site has been assessed yet: regrowth run\n")


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
def test_an_invalid_command_line_exits_with_64(arguments, capsys):
    status, out = run(*arguments, capsys=capsys)
    assert status == Exit.USAGE
    assert out.err


def test_a_night_in_the_future_is_refused_so_that_no_later_one_is_shadowed(installation, capsys):
    for day, word in (("2999-01-01", "future"), ("0001-01-01", "Landsat 1")):
        status, out = run("run", "--config", installation.config, "--as-of", day, capsys=capsys)
        assert (status, word in out.err) == (Exit.USAGE, True)


def test_an_output_root_that_is_a_file_is_reported_in_one_line(installation, capsys):
    text = installation.config.read_text().replace('root = "."', 'root = "sites.geojson"')
    installation.config.write_text(text)
    status, out = run("run", "--config", installation.config, "--as-of", "2016-06-30", "--json", capsys=capsys)
    assert status == Exit.CONFIGURATION
    assert "Traceback" not in out.err.splitlines()[-1]
    assert "sites.geojson" in out.err.splitlines()[-1]


@pytest.mark.parametrize("what", ["jobs.night.pipeline.report_killed_nights", "jobs.pages.publishing.write_index"])
def test_a_full_disk_exits_with_20_and_asks_for_room(installation, capsys, monkeypatch, what):
    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(what, full)
    status, out = run("run", "--config", installation.config, "--as-of", "2016-06-30", capsys=capsys)
    assert status == Exit.ALL_FAILED
    assert out.err.splitlines()[-1].startswith("the disk is full: make room at ")


@pytest.mark.parametrize("what", ["the page", "the mark of what it was made from"])
def test_a_page_without_room_on_the_disk_is_reported_with_its_site(installation, capsys, monkeypatch, what):
    write = Path.write_bytes

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    if what == "the page":
        monkeypatch.setattr("monitor.publish.drafts.write_site", full)
    else:
        monkeypatch.setattr(Path, "write_bytes", lambda path, *a: full() if path.name == MADE_FROM else write(path, *a))
    night = ("run", "--config", installation.config, "--as-of", "2016-06-30")
    status, out = run(*night, capsys=capsys)
    assert status == Exit.SOME_FAILED
    registered, *lines = out.out.splitlines()
    assert registered == "registry: added: demo-02, demo-07, demo-10"
    assert len(lines) == 3
    assert all("; page not written: the disk is full: make room at " in line for line in lines)
    status, out = run(*night, "--json", capsys=capsys)
    assert status == Exit.SOME_FAILED
    failed = json.loads(out.out)["pages_failed"]
    assert list(failed) == ["demo-02", "demo-07", "demo-10"]
    assert all(why.startswith("the disk is full: make room at ") for why in failed.values())


@pytest.mark.slow
def test_a_site_whose_pixels_are_damaged_says_that_its_page_was_not_written_and_why(installation, capsys):
    night = ("run", "--config", installation.config, "--as-of", "2018-09-30")
    assert run(*night, capsys=capsys)[0] == Exit.DONE
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
    status, out = run("publish", "--config", installation.config, capsys=capsys)
    assert status == Exit.SOME_FAILED
    why = "the store [^ ]+ cannot be read .*checksum.* Nothing in it was changed.*regrowth run"
    assert re.match(f"demo-07: not written; {why}", out.out)
    status, again = run(*night, capsys=capsys)
    assert status == Exit.SOME_FAILED
    first, second, third = again.out.splitlines()
    assert "not written" not in first + third
    assert re.match(f"demo-07: done; .*; page not written: {why}", second)
    assert "Traceback" not in out.err + again.err


def test_a_ledger_server_that_is_down_means_try_later(installation, capsys, monkeypatch):
    pytest.importorskip("psycopg", reason="the PostgreSQL driver is in the extra 'postgresql'")
    monkeypatch.setenv("REGROWTH_LEDGER__URL", "postgresql+psycopg://user:hunter2@127.0.0.1:1/x")
    status, out = run("status", "--config", installation.config, capsys=capsys)
    assert status == Exit.TRY_LATER
    assert "hunter2" not in out.err


def test_a_run_that_finds_another_one_exits_with_75_before_it_loads_anything(installation, capsys):
    with hold_lock(installation.root, "a night", "regrowth.db.lock"):
        for command in (["run"], ["backfill"], ["publish"]):
            status, out = run(*command, "--config", installation.config, capsys=capsys)
            assert status == Exit.TRY_LATER
            assert "a night, process" in out.err


def test_a_missing_configuration_exits_with_78_in_one_line(tmp_path, capsys):
    status, out = run("run", "--config", tmp_path / "no.toml", capsys=capsys)
    assert status == Exit.CONFIGURATION
    assert len(out.err.splitlines()) == 1


def test_an_unknown_key_exits_with_78_and_names_the_nearest(tmp_path, capsys):
    (tmp_path / "r.toml").write_text('[source]\nkind = "sample"\nsinse = "2020-01-01"\n')
    status, out = run("status", "--config", tmp_path / "r.toml", capsys=capsys)
    assert status == Exit.CONFIGURATION
    assert "'since'" in out.err


@pytest.mark.parametrize("content", ['{"type": "FeatureCollection", "features": []}', None], ids=["empty", "missing"])
def test_a_registry_without_a_site_exits_with_65(installation, capsys, content):
    (installation.root / "sites.geojson").unlink()
    if content:
        (installation.root / "sites.geojson").write_text(content)
    status, out = run("run", "--config", installation.config, capsys=capsys)
    assert status == Exit.BAD_DATA
    assert len(out.err.splitlines()) == 1
    assert content or "sites.geojson" in out.err


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ('kind = "stac"', "needs url"),
        ('kind = "stac"\nurl = "http://127.0.0.1:9/"', "allow_hosts"),
        ('kind = "stac"\nurl = "/etc"', "allow_hosts"),
        ('kind = "earthengine"', "project"),
        ('kind = "earthengine"\nproject = "p"\nurl = "http://127.0.0.1:9"', "allow_hosts"),
        ('kind = "earthengine"\nproject = "p"\ncollections = ["S2"]', "S2_SR_HARMONIZED"),
    ],
)
def test_a_source_that_lacks_what_it_needs_exits_with_78_and_says_what(source, message, installation, capsys):
    installation.config.write_text(f'[registry]\npath = "sites.geojson"\n[source]\n{source}\n')
    status, out = run("run", "--config", installation.config, capsys=capsys)
    assert status == Exit.CONFIGURATION
    assert message in out.err


def test_a_run_prints_the_manifest_of_the_contract_and_status_and_explain_follow(installation, capsys):
    status, out = run("run", "--config", installation.config, "--as-of", "2018-08-01", "--json", capsys=capsys)
    assert status == Exit.DONE
    manifest = json.loads(out.out)
    assert manifest.keys() == {
        "run", "as_of", "sites", "registry", "messages_waiting", "pages_failed", "self_check", "unread_count", "unread",
    }  # fmt: skip
    assert (manifest["messages_waiting"], manifest["pages_failed"]) == (0, {})
    assert (manifest["unread_count"], manifest["unread"]) == (0, [])
    assert set(manifest["sites"][0]) == {
        "site", "state", "error", "scenes_new", "scenes_rejected", "scenes_unread", "status", "alert",
    }  # fmt: skip
    status, out = run("status", "--config", installation.config, "--site", "demo-10", "--json", capsys=capsys)
    (one,) = json.loads(out.out)
    assert one == next(x for x in json.loads(installation.status) if x["site"] == "demo-10")
    for language in ("en", "zh"):
        status, out = run("explain", "demo-10", "--config", installation.config, "--language", language, capsys=capsys)
        assert status == Exit.DONE
        assert 2 <= len(out.out.splitlines()) <= 6
    status, out = run("explain", "nobody", "--config", installation.config, capsys=capsys)
    assert status == Exit.BAD_DATA
    status, out = run("publish", "--config", installation.config, "--json", capsys=capsys)
    assert json.loads(out.out)["rewritten"] == []


def test_adding_a_registry_twice_changes_nothing_and_a_site_taken_out_is_named_and_stays(installation, capsys):
    config = ("--config", installation.config, "--json")
    file = installation.root / "sites.geojson"
    _, out = run("sites", "add", file, *config, capsys=capsys)
    assert json.loads(out.out)["added"] == ["demo-02", "demo-07", "demo-10"]
    _, out = run("sites", "add", file, *config, capsys=capsys)
    assert json.loads(out.out)["unchanged"] == ["demo-02", "demo-07", "demo-10"]
    registry = json.loads(file.read_text())
    registry["features"][0]["properties"]["name"] = "another name"
    del registry["features"][2]
    file.write_text(json.dumps(registry))
    _, out = run("sites", "add", file, *config, capsys=capsys)
    report = json.loads(out.out)
    assert (report["changed"], report["missing"], report["unchanged"]) == (["demo-02"], ["demo-10"], ["demo-07"])
    _, out = run("sites", "list", *config, capsys=capsys)
    assert [site["id"] for site in json.loads(out.out)] == ["demo-02", "demo-07", "demo-10"]
    _, out = run("sites", "add", file, "--config", installation.config, capsys=capsys)
    assert "missing from sites.geojson, kept: demo-10; to stop judging: regrowth sites retire demo-10" in out.out


def test_a_missing_mail_password_ends_a_night_before_anything_is_fetched(installation, capsys):
    channel = '[channels.mail]\nkind = "smtp"\nhost = "127.0.0.1"\nsender = "a@example.org"\nuser = "me"\n'
    installation.config.write_text(f"{installation.config.read_text()}\n{channel}")
    status, out = run("run", "--config", installation.config, "--as-of", "2018-09-30", capsys=capsys)
    assert status == Exit.CONFIGURATION
    assert "needs REGROWTH_CHANNEL_MAIL_PASSWORD" in out.err
    assert not list((installation.root / "store").glob("*/repo"))
