"""Back up an installation to a folder.

A backup has ``ledger.db`` (an SQLite file, also of a PostgreSQL ledger), ``store/`` (the landscapes as they are, unless
they are in a bucket, where rows are only appended: an older ledger goes on with newer stores),
``config/`` (configuration and registry, for reference, without secrets) and ``backup.json``, which lists every file
with its checksum. It is made under the locks of the ledger and of all landscapes, so that ledger and stores fit
together. Pages are not in it: they are made from these.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from jobs import __version__
from jobs.runtime.clock import now
from jobs.runtime.installation import locked_ledger
from jobs.runtime.lock import LANDSCAPE_LOCKS, NEW_LANDSCAPES, hold_lock
from jobs.runtime.logs import redacted
from jobs.runtime.settings import Settings, config_path
from monitor.cube.bucket import Place, landscape_folders
from monitor.errors import BadConfiguration, BadData
from monitor.files import make_private_folder, write_atomically
from monitor.ledger.copying import copy_rows
from monitor.ledger.ledger import FORMAT as LEDGER_FORMAT
from monitor.ledger.ledger import Ledger

FORMAT: Final = 1  # version of the layout of a backup
LIST: Final = "backup.json"
LEDGER: Final = "ledger.db"
STORES: Final = "store"
CONFIGURATION: Final = "config"
UNFINISHED: Final = ".unfinished"  # file in a backup that is being made
_BLOCK: Final = 1 << 20  # bytes that are read and written at once


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupFile:
    """One file of a backup."""

    path: str  # relative to the backup, with `/`
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Size of a backup."""

    landscapes: int
    files: int
    bytes: int
    rows: int  # rows of the ledger


def back_up(settings: Settings, folder: Path, *, config: Path | None = None) -> Summary:
    """Back up ledger and stores to a new or empty folder.

    It is made beside it, as ``<folder>.partial``, and renamed at the end: where the folder exists, it is complete. What
    a killed or failed backup left is removed. Raises TryLater if a run holds a lock, BadConfiguration if the folder is
    not new or lies among the stores, and BadData if nothing is stored, or a store has something other than files.
    """
    folder = folder.absolute()
    root = settings.store.root
    with locked_ledger(settings, "a backup", create=False) as ledger, landscapes_locked(root, "a backup"):
        partial = _begin(folder, root)
        try:
            rows = _copy_ledger(ledger, partial / LEDGER)
            landscapes = [folder for folder in landscape_folders(root) if isinstance(folder, Path)]
            if not rows and not landscapes:
                raise BadData(f"there is nothing to back up: the ledger {ledger.name} and {root} are empty")
            files = [listed(partial / LEDGER, partial)]
            for landscape in landscapes:
                files += copy_tree(landscape, partial / STORES / landscape.name, partial)
            files += _copy_configuration(settings, config_path(config), partial)
            content = {
                "format": FORMAT, "program": __version__, "ledger_format": LEDGER_FORMAT, "time": now(),
                "rows": rows, "landscapes": [path.name for path in landscapes],
                "files": [asdict(file) for file in files],
            }  # fmt: skip
            text = json.dumps(content, ensure_ascii=False, indent=1) + "\n"
            write_atomically(partial / LIST, text.encode(), lasting=True)
            ledger.guard()
            (partial / UNFINISHED).unlink()
            os.rename(partial, folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    _flush(folder.parent)
    return summary(content)


def summary(content: Mapping[str, Any]) -> Summary:
    """Summary of a backup from its list."""
    files = content["files"]
    size = sum(file["bytes"] for file in files)
    return Summary(landscapes=len(content["landscapes"]), files=len(files), bytes=size, rows=content["rows"])


@contextmanager
def landscapes_locked(root: Place, what: str) -> Iterator[None]:
    """Hold the locks of all landscapes, and that for creating new ones; none of stores in a bucket.

    Raises TryLater if a run holds one of them.
    """
    with ExitStack() as stack:
        if isinstance(root, Path):
            make_private_folder(root)
            for name in (NEW_LANDSCAPES, *(folder.name for folder in landscape_folders(root))):
                stack.enter_context(hold_lock(root / LANDSCAPE_LOCKS, what, name))
        yield


def _begin(folder: Path, root: Place) -> Path:
    """Create the folder in which a backup is made."""
    if isinstance(root, Path) and folder.resolve().is_relative_to(root.resolve()):
        msg = f"{folder} lies in {root}, among the stores: choose a folder elsewhere, best on another disk"
        raise BadConfiguration(msg)
    if os.path.lexists(folder) and (folder.is_symlink() or not folder.is_dir() or any(folder.iterdir())):
        raise BadConfiguration(f"{folder} exists: a backup needs a new folder, for instance {folder}-2")
    partial = folder.with_name(f"{folder.name}.partial")
    if os.path.lexists(partial):
        ours = not partial.is_symlink() and any((partial / name).exists() for name in (UNFINISHED, LIST))
        if not ours:
            msg = f"{partial} exists and is not an unfinished backup: move it away, or choose another folder"
            raise BadConfiguration(msg)
        shutil.rmtree(partial)
    partial.mkdir(mode=0o700, parents=True)  # the ledger has mail addresses and photos
    (partial / UNFINISHED).touch()
    return partial


def _copy_ledger(ledger: Ledger, path: Path) -> int:
    """Copy a ledger into one SQLite file; returns the number of rows."""
    with closing(Ledger(f"sqlite:///{path}")) as copy:
        rows = copy_rows(ledger, copy)
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return rows


def copy_tree(source: Path, target: Path, top: Path) -> list[BackupFile]:
    """Copy a folder to a new one; `target` and the paths that are returned are within `top`.

    Raises BadData if something inside is neither a file nor a folder, for instance a symbolic link.
    """
    make_private_folder(target)
    files: list[BackupFile] = []
    for entry in sorted(os.scandir(source), key=lambda entry: entry.name):
        if entry.is_dir(follow_symlinks=False):
            files += copy_tree(Path(entry.path), target / entry.name, top)
        elif entry.is_file(follow_symlinks=False):
            files.append(copy_file(Path(entry.path), target / entry.name, top))
        else:
            raise BadData(f"{entry.path} is a symbolic link or not a file: put the file itself there, then try again")
    _flush(target)
    return files


def copy_file(source: Path, target: Path, top: Path) -> BackupFile:
    """Copy a file to a new one, and wait until it is on the disk."""
    digest, size = hashlib.sha256(), 0
    with source.open("rb") as old, open(target, "xb", opener=partial(os.open, mode=0o600)) as new:
        while block := old.read(_BLOCK):
            digest.update(block)
            new.write(block)
            size += len(block)
        new.flush()
        os.fsync(new.fileno())
    return BackupFile(path=target.relative_to(top).as_posix(), bytes=size, sha256=digest.hexdigest())


def listed(path: Path, top: Path) -> BackupFile:
    """A file within `top`, with its checksum."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return BackupFile(path=path.relative_to(top).as_posix(), bytes=path.stat().st_size, sha256=digest)


def _copy_configuration(settings: Settings, config: Path, top: Path) -> list[BackupFile]:
    """Copy the configuration, without passwords and secret addresses, and the files of the registry."""
    folder = top / CONFIGURATION
    make_private_folder(folder)
    copy = folder / "regrowth.toml"
    write_atomically(copy, redacted(config.read_text(encoding="utf-8")).encode(), lasting=True)
    files = [listed(copy, top)]
    for path in (settings.registry.path, settings.registry.controls):
        parts = [] if path is None else sorted(path.parent.glob(f"{path.stem}.*")) if path.suffix == ".shp" else [path]
        for part in parts:
            target = folder / part.name
            if part.is_file() and not target.exists():
                files.append(copy_file(part, target, top))
            elif part.is_dir() and not target.exists():
                files += copy_tree(part, target, top)
    return files


def _flush(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
