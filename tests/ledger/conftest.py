"""Ledgers in SQLite, and in a PostgreSQL server of its own: in a temporary folder, reached by a socket in it."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from monitor.ledger.ledger import Ledger


def _programs() -> Path | None:
    """Folder of PostgreSQL's programs; None where it is not installed."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return folders[-1].parent if folders else None


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Callable[..., str]]:
    """Makes URLs of fresh databases; the server refuses to run as root and then runs as the user ``postgres``."""
    programs = _programs()
    if programs is None:
        pytest.skip("needs a PostgreSQL server, and none is installed (apt-get install postgresql)")
    pytest.importorskip("psycopg", reason="the driver of PostgreSQL is in the extra 'postgresql'")
    user = {}
    if os.getuid() == 0:
        try:
            account = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL refuses to run as root, and this machine has no user 'postgres' to run it")
        user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    root = Path(tempfile.mkdtemp(prefix="pg"))  # short: the name of a socket has at most 107 bytes
    if user:
        os.chown(root, user["user"], user["group"])

    def do(program: str, *arguments: str) -> None:
        command = [str(programs / program), *arguments]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, **user)
        assert done.returncode == 0, done.stdout + done.stderr

    do("initdb", "-D", f"{root}/data", "-A", "trust", "-U", "regrowth", "-E", "UTF8", "--locale=C", "-N")
    settings = f"-c listen_addresses='' -c unix_socket_directories={root} -c fsync=off"
    do("pg_ctl", "-D", f"{root}/data", "-w", "-l", f"{root}/log", "-o", settings, "start")
    numbers = count(1)

    def fresh(template: str = "template1") -> str:
        name = f"ledger{next(numbers)}"
        do("createdb", "-h", str(root), "-U", "regrowth", "-T", template, name)
        return f"postgresql+psycopg://regrowth@/{name}?host={root}"

    try:
        yield fresh
    finally:
        do("pg_ctl", "-D", f"{root}/data", "-w", "-m", "immediate", "stop")
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated(postgresql: Callable[..., str]) -> str:
    """Name of a database that has the tables: copied, it is ready sooner."""
    from sqlalchemy.engine import make_url

    url = postgresql()
    Ledger(url).close()
    return str(make_url(url).database)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'regrowth.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request, url):
    """URL of a ledger of each kind."""
    if request.param == "sqlite":
        return url
    return request.getfixturevalue("postgresql")(template=request.getfixturevalue("migrated"))


@pytest.fixture
def ledger(either):
    opened = Ledger(either)
    yield opened
    opened.close()


@pytest.fixture
def ledgers(either):
    """The same ledger, opened by a night and by a person."""
    night, person = Ledger(either), Ledger(either)
    yield night, person
    night.close()
    person.close()


@pytest.fixture
def in_sqlite(url):
    opened = Ledger(url)
    yield opened
    opened.close()
