"""Later versions open what a released version wrote: its ledger, stores, packs and backups, as they are."""

import shutil
import tarfile
from pathlib import Path

import pytest

import monitor
from tests.builders import regrowth

ARCHIVES = sorted(Path(__file__).parent.glob("frozen/*.tar.xz"))
STATUS = "terrace: lagging, alert none, -9% of the expected uplift, last season measured -1 points (± 3)"


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.name.removesuffix(".tar.xz"))
def installation(request, tmp_path):
    """The folder of an installation after its first night, on 2020-07-31."""
    pytest.importorskip("nrt.data", reason="the sample imagery is in the extra 'demo'")
    with tarfile.open(request.param) as tar:
        tar.extractall(tmp_path, filter="data")
    return tmp_path


def test_the_first_release_is_among_the_stored_installations():
    assert "1.0.tar.xz" in [path.name for path in ARCHIVES]


def test_the_next_night_goes_on_from_what_an_earlier_version_stored(installation):
    config = installation / "regrowth.toml"
    assert regrowth("status", config=config) == (0, f"{STATUS} (as of 2020-07-31)\n", "")
    assert monitor.open_site(installation / "outputs", "terrace").sizes["time"] == 115
    status, out, err = regrowth("run", "--as-of", "2020-10-31", config=config)
    assert (status, out) == (0, "terrace: done; failing, alert red, 10 new scenes\n"), err
    assert "self-check: equal" in err
    assert len(monitor.open_series(installation / "outputs", "terrace")) == 125
    assert "cover" in regrowth("field", "list", config=config)[1]
    assert "34TER loess, 1 site: " in regrowth("calibrate", config=config)[1]
    assert regrowth("doctor", "--deep", config=config)[0] == 0


def test_a_backup_of_an_earlier_version_is_restored(installation):
    config = installation / "regrowth.toml"
    shutil.rmtree(installation / "store")
    (installation / "regrowth.db").unlink()
    assert regrowth("restore", installation / "backup", config=config)[0] == 0
    assert regrowth("status", config=config)[1] == f"{STATUS} (as of 2020-07-31)\n"
    assert "alert red, 10 new scenes" in regrowth("run", "--as-of", "2020-10-31", config=config)[1]


def test_a_pack_of_an_earlier_version_is_verified_and_recomputed(installation):
    pack, key = installation / "pack.zip", installation / "keys" / "signing.pub"
    assert regrowth("verify", pack, "--key", key)[0] == 0
    status, out, err = regrowth("recompute", pack, "--key", key)
    assert status == 0, out + err
