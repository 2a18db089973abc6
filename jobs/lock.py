"""One run at a time: a kernel lock, which a dead process can not hold."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from monitor.errors import TryLater


@contextmanager
def held(root: Path, what: str) -> Iterator[None]:
    """Hold the lock of a store's root.

    Raises
    ------
    TryLater
        Another process holds it; the message names it.
    """
    root.mkdir(parents=True, exist_ok=True)
    path = root / "lock"
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            msg = f"{path} is held by {file.read().strip() or 'another process'}; try again when it is done"
            raise TryLater(msg) from error
        file.truncate(0)
        file.write(f"{what}, process {os.getpid()} on {os.uname().nodename}")
        file.flush()
        yield
