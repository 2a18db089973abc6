"""Locks, which a dead process cannot hold.

The lock of the ledger is held by a night, and by everything else that judges, sends or publishes: one at a time,
whatever host it runs on. Each landscape has its own lock, held by the night or backfill that stores scenes in it:
a file in the root of the stores, or, if they are in a bucket, a lock of the ledger's server. Another lock is held while
new landscapes are created. No lock compares clocks.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from monitor.cube.bucket import Place
from monitor.errors import TryLater, as_disk_full
from monitor.files import make_private_folder

if TYPE_CHECKING:
    from monitor.ledger.ledger import Ledger

LANDSCAPE_LOCKS: Final = ".locks"  # folder of the landscapes' locks, in the root of the stores
NEW_LANDSCAPES: Final = "begin"  # lock for creating new landscapes


class Locked(TryLater):
    """Another process holds the lock."""

    def __init__(self, place: str, holder: str) -> None:
        self.holder = holder  # its work, process, host, and since when; empty: unknown
        super().__init__(f"{place} is held by {holder or 'another process'}; try again when it is done")


@dataclass(frozen=True, slots=True)
class Lock:
    """A held lock. A file that was deleted and created again is another lock, which another run may hold."""

    path: Path
    what: str  # what the holder does
    inode: tuple[int, int]  # device and inode of the locked file

    def check(self) -> None:
        """Raise TryLater if the file was deleted or replaced; called before each commit to a store."""
        try:
            change = None if _inode(os.stat(self.path)) == self.inode else "replaced"
        except FileNotFoundError:
            change = "deleted"
        if change:
            raise TryLater(
                f"{self.what} stops: its lock {self.path} was {change} while it was held, so another run may be at "
                "work. Nothing was committed since; run again when no other run is at work"
            )


def ledger_lock(file: Path) -> Path:
    """Lock file of a ledger in SQLite: beside it, by whichever link it is named."""
    file = file.resolve()
    return file.with_name(f"{file.name}.lock")


@contextmanager
def hold_ledger(ledger: "Ledger", what: str) -> Iterator[None]:
    """Hold the lock of a ledger in a ``with`` block, and number its holders; `what` the holder does is named to others.

    That is a file lock beside an SQLite ledger, and a lock of the server of a PostgreSQL ledger; both end with the
    process. From now on `ledger` commits only while no other process has taken it, also if the lock was lost: see
    :meth:`monitor.ledger.ledger.Ledger.take`. A ledger in memory needs no lock. Raises Locked if another process holds
    it; TryLater if the file cannot be opened, or the server not be reached.
    """
    with ExitStack() as stack:
        if ledger.file:
            lock = ledger_lock(ledger.file)
            stack.enter_context(hold_lock(lock.parent, what, lock.name))
        elif ledger.is_on_server and not stack.enter_context(ledger.server_lock()):
            place = f"the ledger {ledger.name}"
            raise Locked(place, ledger.holder())
        ledger.take(_holder(what))
        yield


@contextmanager
def hold_landscape(ledger: "Ledger", root: Place, what: str, name: str) -> Iterator[Callable[[], None]]:
    """Hold the lock of a landscape, or :data:`NEW_LANDSCAPES`, in a ``with`` block; errors as of :func:`hold_ledger`.

    It is a file under `root`, or a lock of the ledger's server where the stores are in a bucket. The callable that is
    yielded raises TryLater if the lock was lost, and is called before each commit to a store.
    """
    if isinstance(root, Path):
        with hold_lock(root / LANDSCAPE_LOCKS, what, name) as lock:
            yield lock.check
        return
    with ledger.landscape_lock(name, _process(what)) as holder:
        if holder is not None:
            raise Locked(f"the landscape {name}", holder)
        yield ledger.check_landscape_locks


def _process(what: str) -> str:
    return f"{what}, process {os.getpid()} on {os.uname().nodename}"


def _holder(what: str) -> str:
    moment = datetime.now(UTC)
    return f"{_process(what)}, since {moment:%Y-%m-%d %H:%M} UTC"


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


@contextmanager
def hold_lock(root: Path, what: str, name: str) -> Iterator[Lock]:
    """Hold a file lock within a ``with`` block; `root` and its parent are created, for this user alone, if missing.

    Raises Locked if another process holds it, with the `what` of that process, TryLater if the file cannot be
    opened, and DiskFull.
    """
    path = root / name
    try:
        make_private_folder(root.parent)
        make_private_folder(root)
        opened = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "a+", encoding="utf-8")
    except OSError as error:
        msg = f"the lock {path} cannot be opened ({error.strerror}): let this user write it, then run again"
        raise as_disk_full(error, root) or TryLater(msg) from error
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise Locked(str(path), file.read().strip()) from error
        lock = Lock(path, what, _inode(os.fstat(file.fileno())))
        lock.check()  # the file may have been replaced between opening and locking
        try:
            file.truncate(0)
            os.write(file.fileno(), _holder(what).encode())  # unbuffered: closing the file has nothing left to write
        except OSError as error:
            if full := as_disk_full(error, root):
                raise full from error
            raise
        yield lock
