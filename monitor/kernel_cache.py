"""Compiled kernels, and the folder in which numba stores them between processes."""

import atexit
import hashlib
import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final, cast

LIBRARY: Final = Path(__file__).parent
"""Folder of the code that contains the kernels."""

OLDER_FOLDERS: Final = 2
"""Folders of kernels of older code that stay beside a new one; each has about 15 MB."""
_DECLARING: Final = threading.Lock()


def njit[F: Callable[..., Any]](**options: Any) -> Callable[[F], F]:
    """``numba.njit`` with some options, for kernels that are stored (``cache=True``) in :func:`kernel_folder`.

    The folder is named to numba only while a kernel is declared, so that other functions of the user are stored where
    they always were. A folder that the user has named to numba is used as it is.
    """
    from numba import config, njit

    def declare(function: F) -> F:
        with _DECLARING:
            named = config.CACHE_DIR  # type: ignore[attr-defined]
            try:
                config.CACHE_DIR = named or str(kernel_folder())  # type: ignore[attr-defined]
                return cast(F, njit(**options)(function))
            finally:
                config.CACHE_DIR = named  # type: ignore[attr-defined]

    return declare


@cache
def kernel_folder() -> Path:
    """Folder of the kernels where none is named: next to the code, else in the home of the user, else a temporary one.

    Only a folder that no other user can write to is used.
    """
    parents = [LIBRARY / "__pycache__"]
    with suppress(RuntimeError):  # this user has no home
        parents.append(Path.home() / ".cache" / "regrowth")
    return first_usable(kernel_folders(parents)) or temporary_folder()


@cache
def temporary_folder() -> Path:
    """Folder of this process alone, used where no permanent one can be written; every process then compiles."""
    folder = Path(tempfile.mkdtemp(prefix="regrowth-kernels-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def first_usable(folders: Iterable[Path]) -> Path | None:
    """Create the first of some folders that is there then and that only this user can write to.

    If it is empty, it starts with the kernels that are installed next to the code: numba uses no folder that it cannot
    write to.
    """
    chosen = next((folder for folder in folders if _usable(folder)), None)
    if chosen is not None:
        _copy_installed(chosen)
    return chosen


def kernel_folders(parents: Iterable[Path]) -> list[Path]:
    """Folder of the kernels in each of some folders; a relative one is left out."""
    return [parent / cache_name() for parent in parents if parent.is_absolute()]


def cache_name(library: Path = LIBRARY) -> str:
    """Name of the folder of compiled kernels: it contains a hash of all modules that mention numba or its decorator.

    numba itself checks only the file of a function, not the files of functions that it calls: after an update in place
    it would use outdated code (numba's manual, "Caching limitations").
    """
    code = hashlib.sha256()
    for path in sorted(library.rglob("*.py")):
        text = path.read_bytes()
        if b"numba" in text or b"njit" in text:
            code.update(text)
    return f"kernels-{code.hexdigest()[:16]}"


def _copy_installed(folder: Path) -> None:
    """Fill an empty folder with the installed kernels, at once, if only root or this user can have written them."""
    installed = LIBRARY / "__pycache__" / folder.name
    trusted = (0, os.geteuid())
    with suppress(OSError, shutil.Error):
        if installed == folder or not installed.is_dir() or any(folder.iterdir()):
            return
        status = [path.lstat() for path in (installed, *installed.rglob("*"))]
        if any(s.st_uid not in trusted or s.st_mode & 0o022 or stat.S_ISLNK(s.st_mode) for s in status):
            return
        copy = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
        try:
            shutil.copytree(installed, copy, dirs_exist_ok=True)
            copy.chmod(0o700)
            copy.rename(folder)  # fails if another process has filled it since
        finally:
            shutil.rmtree(copy, ignore_errors=True)


def _remove_older(folder: Path) -> None:
    """Remove the kernels of older code beside a new folder, except the newest :data:`OLDER_FOLDERS`.

    A process of older code that still runs most likely uses one of these; else it compiles again.
    """
    with suppress(OSError):
        older = [other for other in folder.parent.glob("kernels-*") if other.is_dir() and other != folder]
        older.sort(key=lambda other: other.stat().st_mtime, reverse=True)
        for other in older[OLDER_FOLDERS:]:
            shutil.rmtree(other, ignore_errors=True)


def _usable(folder: Path) -> bool:
    """Create a folder for this user alone; False if that fails or if another user can write to it.

    numba stores pickles: whoever can write them controls this process.
    """
    try:
        is_new = not folder.exists()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if is_new:
            _remove_older(folder)
        with tempfile.TemporaryFile(dir=folder):
            status = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022
