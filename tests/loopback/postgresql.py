"""A PostgreSQL server of its own, in a temporary folder, reached by a socket in it.

with server() as fresh:
    fresh()                       # URL of a new database
    fresh(template="ledger1")     # of a copy of another one
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path


def missing() -> str | None:
    """Why no server can be run; None: it can."""
    if programs() is None:
        return "needs a PostgreSQL server, and none is installed (apt-get install postgresql)"
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "the driver of PostgreSQL is in the extra 'postgresql'"
    if os.getuid() == 0:
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            return "PostgreSQL refuses to run as root, and this machine has no user 'postgres' to run it"
    return None


def programs() -> Path | None:
    """Folder of PostgreSQL's programs; None where it is not installed."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return folders[-1].parent if folders else None


@contextmanager
def server() -> Iterator[Callable[..., str]]:
    """Run a server; gives a function that creates databases. For root, the user ``postgres`` runs it."""
    folder = programs()
    assert folder is not None, missing()
    user = {}
    if os.getuid() == 0:
        account = pwd.getpwnam("postgres")
        user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    root = Path(tempfile.mkdtemp(prefix="pg"))  # short: the name of a socket has at most 107 bytes
    if user:
        os.chown(root, user["user"], user["group"])

    def do(program: str, *arguments: str) -> None:
        command = [str(folder / program), *arguments]
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
