"""A small installation on the embedded series: three sites of known fate, a few seasons."""

import json
import shutil
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from monitor.errors import TryLater

pytest.importorskip("nrt.data", reason="the sample imagery is in the extra 'demo'")


NIGHT = date(2018, 9, 30)  # the night of the fixture `first_night`


@dataclass(frozen=True)
class Installation:
    """The folder of one installation, and the files in it."""

    root: Path

    def copied_to(self, root: Path) -> "Installation":
        """A copy in another folder, which may be changed; without the files of SQLite that go when a reader ends."""
        shutil.copytree(self.root, root, ignore=shutil.ignore_patterns("regrowth.db-*"), dirs_exist_ok=True)
        return Installation(root)

    @property
    def config(self) -> Path:
        return self.root / "regrowth.toml"

    @property
    def registry(self) -> Path:
        return self.root / "sites.geojson"

    @property
    def settings(self) -> Any:
        from jobs.runtime.settings import load

        return load(self.config)

    def configure(self, *lines: str) -> None:
        self.config.write_text("\n".join([self.config.read_text(encoding="utf-8"), *lines, ""]), encoding="utf-8")

    def replace(self, old: str, new: str) -> None:
        self.config.write_text(self.config.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")

    @property
    def status(self) -> bytes:
        return (self.root / "status.json").read_bytes()

    @property
    def verdicts(self) -> dict[str, dict[str, Any]]:
        """Entries of ``status.json`` by site."""
        return {one["site"]: one for one in json.loads(self.status)}

    def messages(self) -> dict[str, bytes]:
        """Content of every message that was sent, by file name."""
        return {path.name: path.read_bytes() for path in sorted((self.root / "messages").glob("*"))}

    def files(self) -> dict[str, tuple[int, bytes]]:
        """Every product with the time it was written."""
        products = [path for path in self.root.rglob("*") if path.is_file() and "store" not in path.parts]
        return {
            str(path.relative_to(self.root)): (path.stat().st_mtime_ns, path.read_bytes())
            for path in products
            if not path.name.startswith("regrowth.db")
        }


def assert_held(match: str, lock: Any) -> None:
    """A lock is not given, since somebody holds it."""
    with pytest.raises(TryLater, match=match), lock:
        pass


def _registry_text(places: list[int]) -> str:
    from jobs.install.demonstration import _registry
    from monitor.imagery.sample import Sample, deal_fates

    return _registry(Sample(1), [pair for pair in deal_fates(1) if pair[0] in places])


@pytest.fixture(scope="session")
def install():
    def _install(root: Path) -> Installation:
        from jobs.install.demonstration import CONFIGURATION

        made = Installation(root)
        made.config.write_text(CONFIGURATION.format(seed=1), encoding="utf-8")
        (root / "sites.geojson").write_text(_registry_text([1, 6, 9]), encoding="utf-8")
        return made

    return _install


@pytest.fixture
def installation(install, tmp_path) -> Installation:
    return install(tmp_path)


@pytest.fixture(scope="session")
def first_night(made_once, install) -> Installation:
    """An installation after its first night, of :data:`NIGHT`, made once for all test processes. Only read it."""
    from jobs.night.pipeline import night

    def fill(folder: Path) -> None:
        folder.mkdir()
        night(install(folder).settings, as_of=NIGHT)

    return Installation(made_once("first-night", fill))


@pytest.fixture
def judged_once(first_night, tmp_path) -> Installation:
    return first_night.copied_to(tmp_path)


@pytest.fixture(scope="session")
def _history(made_once, install) -> Installation:
    from jobs.night.pipeline import fetch_history

    def fill(folder: Path) -> None:
        folder.mkdir()
        fetch_history(install(folder).settings, until=date(2018, 4, 1))

    return Installation(made_once("history", fill))


@pytest.fixture
def stocked(_history, tmp_path) -> Installation:
    """An installation before its first night that has stored its scenes until the spring of 2018."""
    return _history.copied_to(tmp_path)


@pytest.fixture
def night_with(monkeypatch):
    """A night that takes its scenes from given sources, as those after it do."""
    from tests.builders import use_sources
    from tests.jobs.painted import night

    def run(settings, *sources, until=None, **more):
        use_sources(monkeypatch, *sources, until=until)
        return night(settings, **more)

    return run


@pytest.fixture
def settings(installation):
    return installation.settings


@pytest.fixture(scope="session")
def signing_key(tmp_path_factory):
    """The private key of a new pair."""
    from monitor.evidence.keys import new_keys, private_key

    folder = tmp_path_factory.mktemp("keys")
    new_keys(folder)
    return private_key((folder / "signing.key").read_bytes())
