"""Where a command stores compiled kernels: what the environment and the configuration add to the library's choice."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from monitor import kernel_cache

CACHE_VARIABLE: Final = "NUMBA_CACHE_DIR"  # environment variable from which numba takes the folder when it is imported

temporary_folder: Path | None = None  # folder of this process alone, used where no permanent one can be written


def choose_cache(store: Path | None = None) -> None:
    """Choose the folder of compiled kernels, before numba is imported. A folder set in the environment is not changed.

    The first folder is used that only this user can write to: next to the code, in the user's cache, in the root of
    the stores (`store`). If there is none, every process uses a temporary folder and compiles for half a minute.
    """
    global temporary_folder
    if CACHE_VARIABLE in os.environ and (temporary_folder is None or store is None):
        return
    chosen = kernel_cache.first_usable(cache_folders(store))
    if chosen is None:
        chosen = temporary_folder = kernel_cache.temporary_folder()
    os.environ[CACHE_VARIABLE] = str(chosen)


def cache_folders(store: Path | None) -> list[Path]:
    """Folders in which compiled kernels may be stored permanently, the preferred one first."""
    parents = [kernel_cache.LIBRARY / "__pycache__"]
    if cache := os.environ.get("XDG_CACHE_HOME"):
        parents.append(Path(cache) / "regrowth")
    elif home := os.environ.get("HOME"):
        parents.append(Path(home) / ".cache" / "regrowth")
    if store is not None and _only_ours(store):
        parents.append(store / ".kernels")
    return kernel_cache.kernel_folders(parents)


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


def _only_ours(root: Path) -> bool:
    """Whether no other user can replace a folder in a root by one of their own."""
    try:
        status = root.stat()
    except FileNotFoundError:  # this user will create it
        return True
    except OSError:
        return False
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o022
