"""The folder of compiled kernels: where numba stores them between processes."""

import atexit
import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Final

LIBRARY: Final = Path(__file__).parents[1] / "monitor"
VARIABLE: Final = "NUMBA_CACHE_DIR"
"""Where numba looks for the folder, when it is loaded."""

temporary: Path | None = None
"""The folder of this process alone, where nothing better was found."""


def name_of_cache(library: Path = LIBRARY) -> str:
    """Name of the folder of compiled kernels, another one whenever the code of any of them is another.

    numba looks at the file of a function only, not at what that calls in other files: after an update in place it would
    go on with the old arithmetic (numba's manual, "Caching limitations").
    """
    code = hashlib.sha256()
    for path in sorted(library.rglob("*.py")):
        text = path.read_bytes()
        if b"numba" in text:
            code.update(text)
    return f"kernels-{code.hexdigest()[:16]}"


def choose_cache(store: Path | None = None) -> None:
    """Choose where compiled kernels are kept, before numba is loaded; a folder that the environment names stays.

    The first of these that only this user can write to: beside the code, in the user's cache, in the root of the
    stores (`store`), else a temporary folder of this process: then every process compiles for half a minute.
    """
    global temporary
    if VARIABLE in os.environ and (temporary is None or store is None):
        return
    chosen = next((folder for folder in candidates(store) if _usable(folder)), None)
    if chosen is None and temporary is None:
        chosen = temporary = Path(tempfile.mkdtemp(prefix="regrowth-kernels-"))
        atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    if chosen is not None:
        os.environ[VARIABLE] = str(chosen)


def candidates(store: Path | None) -> list[Path]:
    """Folders where compiled kernels may be kept from one process to the next, the best one first."""
    places = [LIBRARY / "__pycache__"]
    if home := os.environ.get("XDG_CACHE_HOME") or os.environ.get("HOME"):
        places.append(Path(home) / ("" if os.environ.get("XDG_CACHE_HOME") else ".cache") / "regrowth")
    if store is not None and _closed(store):
        places.append(store / ".kernels")
    return [place / name_of_cache() for place in places if place.is_absolute()]


def _usable(folder: Path) -> bool:
    """Make a folder, for this user alone; False where that fails, or where another user can write to what is there.

    What numba keeps are pickles: whoever writes them decides what this process does.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


def _closed(root: Path) -> bool:
    """Whether no other user can put a folder of their own into a root in the place of one that is there."""
    try:
        found = root.stat()
    except FileNotFoundError:  # it will be made, by this user
        return True
    except OSError:
        return False
    return found.st_uid in (0, os.geteuid()) and not found.st_mode & 0o022
