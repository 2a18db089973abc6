"""The folder in which numba stores compiled kernels between processes."""

import atexit
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

LIBRARY: Final = Path(__file__).parents[1] / "monitor"
"""Folder of the code that contains the kernels."""
CACHE_VARIABLE: Final = "NUMBA_CACHE_DIR"
"""Environment variable from which numba takes the folder when it is imported."""

temporary_folder: Path | None = None
"""Folder of this process alone, used where no permanent one can be written."""


def cache_name(library: Path = LIBRARY) -> str:
    """Name of the folder of compiled kernels: it contains a hash of all modules that mention numba.

    numba itself checks only the file of a function, not the files of functions that it calls: after an update in place
    it would use outdated code (numba's manual, "Caching limitations").
    """
    code = hashlib.sha256()
    for path in sorted(library.rglob("*.py")):
        text = path.read_bytes()
        if b"numba" in text:
            code.update(text)
    return f"kernels-{code.hexdigest()[:16]}"


def choose_cache(store: Path | None = None) -> None:
    """Choose the folder of compiled kernels, before numba is imported. A folder set in the environment is not changed.

    The first folder is used that only this user can write to: next to the code, in the user's cache, in the root of
    the stores (`store`). If there is none, every process uses a temporary folder and compiles for half a minute.
    """
    global temporary_folder
    if CACHE_VARIABLE in os.environ and (temporary_folder is None or store is None):
        return
    chosen = next((folder for folder in cache_folders(store) if _usable(folder)), None)
    if chosen is None and temporary_folder is None:
        chosen = temporary_folder = Path(tempfile.mkdtemp(prefix="regrowth-kernels-"))
        atexit.register(shutil.rmtree, temporary_folder, ignore_errors=True)
    if chosen is not None:
        os.environ[CACHE_VARIABLE] = str(chosen)


def cache_folders(store: Path | None) -> list[Path]:
    """Folders in which compiled kernels may be stored permanently, the preferred one first."""
    parents = [LIBRARY / "__pycache__"]
    if cache := os.environ.get("XDG_CACHE_HOME"):
        parents.append(Path(cache) / "regrowth")
    elif home := os.environ.get("HOME"):
        parents.append(Path(home) / ".cache" / "regrowth")
    if store is not None and _only_ours(store):
        parents.append(store / ".kernels")
    return [parent / cache_name() for parent in parents if parent.is_absolute()]


@contextmanager
def announcing_compilation(announce: Callable[[], None]) -> Iterator[None]:
    """Call `announce` when a kernel is compiled in the ``with`` block, once, and not if all come from the cache."""
    from numba.core import event

    class FirstCompilation(event.Listener):
        announced = False

        def on_start(self, event: Any) -> None:
            if not self.announced:
                self.announced = True
                announce()

        def on_end(self, event: Any) -> None:
            pass

    with event.install_listener("numba:compile", FirstCompilation()):
        yield


def _usable(folder: Path) -> bool:
    """Create a folder for this user alone; False if that fails or if another user can write to it.

    numba stores pickles: whoever can write them controls this process.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022


def _only_ours(root: Path) -> bool:
    """Whether no other user can replace a folder in a root by one of their own."""
    try:
        status = root.stat()
    except FileNotFoundError:  # this user will create it
        return True
    except OSError:
        return False
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o022
