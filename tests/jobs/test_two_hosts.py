"""Two hosts, each with a store, that share one ledger; and who can read what a night stores."""

import os
import re
import stat
from datetime import date

import pytest

from jobs.cli import main
from jobs.install.backup import back_up
from jobs.night.pipeline import night
from jobs.runtime.exits import Exit
from jobs.runtime.settings import load
from tests.jobs.test_night_report import started
from tests.ledger.conftest import migrated as migrated
from tests.ledger.conftest import postgresql as postgresql

NIGHT = date(2016, 6, 30)


@pytest.fixture(params=["sqlite", "postgresql"])
def shared(request, installation):
    """The installation of one host, whose ledger is on a shared disk or a server, and the configuration of another."""
    url = f"sqlite:///{installation.root}/regrowth.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql")(template=request.getfixturevalue("migrated"))
    text = installation.config.read_text().replace("sqlite:///regrowth.db", url)
    installation.config.write_text(text)
    other = installation.config.with_name("other.toml")
    other.write_text(text.replace('root = "store"', 'root = "store-of-the-other"'))
    return installation, other


def test_a_night_of_another_host_with_another_store_ends_with_75_and_names_the_first(shared, capsys):
    first, other = shared

    def run():
        with pytest.raises(SystemExit) as left:
            main(["run", "--config", str(other), "--as-of", NIGHT.isoformat()])
        return left.value.code, capsys.readouterr().err

    with started(first, where="jobs.night.pipeline.apply_registry") as process:
        status, printed = run()
        assert status == Exit.TRY_LATER
        assert re.search(rf"held by a night, process {process.pid} on {os.uname().nodename}, since 20.* UTC", printed)
        process.kill()
    assert run()[0] == Exit.DONE


def test_under_umask_0_no_other_user_reaches_ledger_stores_or_backup(installation, tmp_path):
    before = os.umask(0)
    try:
        settings = load(installation.config)
        night(settings, as_of=NIGHT, pages=False)
        back_up(settings, tmp_path / "backup", config=installation.config)
    finally:
        os.umask(before)
    landscapes = [path for path in settings.store.root.iterdir() if (path / "repo").exists()]
    assert landscapes
    for path in (settings.store.root, *landscapes, settings.store.root / ".locks", tmp_path / "backup"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700, path
    ledger = [*installation.root.glob("regrowth.db*"), *(tmp_path / "backup").glob("ledger.db*")]
    assert len(ledger) >= 3
    for path in ledger:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
