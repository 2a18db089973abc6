"""File locks of the operating system, which a dead process cannot hold.

``lock`` is held by a night, and by everything else that judges, sends or publishes: one at a time. Each landscape has
its own lock, held by the night or backfill that stores scenes in it; another lock is held while new landscapes are
created.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from monitor.errors import TryLater

LANDSCAPE_LOCKS: Final = ".locks"
"""Folder of the landscapes' locks, in the root of the stores."""
NEW_LANDSCAPES: Final = "begin"
"""Lock for creating new landscapes."""


class Locked(TryLater):
    """Another process holds the lock."""

    def __init__(self, path: Path, holder: str) -> None:
        self.holder = holder
        """What it does, and which process it is, as its lock file says; empty: unknown."""
        super().__init__(f"{path} is held by {holder or 'another process'}; try again when it is done")


@dataclass(frozen=True, slots=True)
class Lock:
    """A held lock. A file that was deleted and created again is another lock, which another run may hold."""

    path: Path
    what: str
    """What the holder does."""
    inode: tuple[int, int]
    """Device and inode of the locked file."""

    def check(self) -> None:
        """Raise TryLater if the file was deleted or replaced; called before each commit and before each message."""
        try:
            change = None if _inode(os.stat(self.path)) == self.inode else "replaced"
        except FileNotFoundError:
            change = "deleted"
        if change:
            msg = (
                f"{self.what} stops: its lock {self.path} was {change} while it was held, so another run may be at "
                "work. Nothing was committed since; run again when no other run is at work"
            )
            raise TryLater(msg)


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


@contextmanager
def hold_lock(root: Path, what: str, name: str = "lock") -> Iterator[Lock]:
    """Hold a lock within a ``with`` block.

    Parameters
    ----------
    root : Path
        Folder of the lock; created if missing.
    what : str
        What the holder does, for the message to others.
    name : str
        File name of the lock.

    Raises
    ------
    Locked
        Another process holds it; the message names that process.
    TryLater
        The file cannot be opened.
    """
    path = root / name
    try:
        root.mkdir(parents=True, exist_ok=True)
        opened = path.open("a+", encoding="utf-8")
    except OSError as error:
        msg = f"the lock {path} cannot be opened ({error.strerror}): let this user write it, then run again"
        raise TryLater(msg) from error
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise Locked(path, file.read().strip()) from error
        lock = Lock(path, what, _inode(os.fstat(file.fileno())))
        lock.check()  # the file may have been replaced between opening and locking
        file.truncate(0)
        file.write(f"{what}, process {os.getpid()} on {os.uname().nodename}")
        file.flush()
        yield lock
