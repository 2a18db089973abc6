"""Locks of the kernel, which a dead process cannot hold.

``lock`` is held by a night, and by whatever else judges, sends or publishes: one at a time. Each landscape has a lock
of its own, held by whoever stores scenes in it, a night or a backfill beside it; and one lock is held by whoever
begins new landscapes.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from monitor.errors import TryLater

LANDSCAPES: Final = ".locks"
"""Folder of the locks of landscapes, in the root of the stores."""
NEW: Final = "begin"
"""Lock of whoever begins new landscapes."""


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock that is held. A file that was deleted and made again is another lock, which another run may hold."""

    path: Path
    what: str
    """What the holder does."""
    file: tuple[int, int]
    """Device and inode of the locked file."""

    def check(self) -> None:
        """Make sure that the lock still excludes others; called before each commit and before each message.

        Raises
        ------
        TryLater
            Its file was deleted or replaced.
        """
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            found = None
        if found is None or (found.st_dev, found.st_ino) != self.file:
            msg = (
                f"{self.what} stops: its lock {self.path} was {'deleted' if found is None else 'replaced'} while it "
                "was held, so another run may be at work. Nothing was committed since; run again when no other run is "
                "at work"
            )
            raise TryLater(msg)


@contextmanager
def held(root: Path, what: str, name: str = "lock") -> Iterator[Lock]:
    """Hold a lock.

    Parameters
    ----------
    root : Path
        Folder of the lock; made if need be.
    what : str
        What the holder does, for others who want it.
    name : str
        Of its file.

    Raises
    ------
    TryLater
        Another process holds it; the message names it.
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
            msg = f"{path} is held by {file.read().strip() or 'another process'}; try again when it is done"
            raise TryLater(msg) from error
        own = os.fstat(file.fileno())
        lock = Lock(path, what, (own.st_dev, own.st_ino))
        lock.check()  # it may have been replaced between the opening and the locking
        file.truncate(0)
        file.write(f"{what}, process {os.getpid()} on {os.uname().nodename}")
        file.flush()
        yield lock
