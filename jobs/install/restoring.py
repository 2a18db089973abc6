"""Restore a backup (:mod:`jobs.install.backup`) to an installation that has no history yet.

Everything is checked before anything is changed, and nothing is ever overwritten. Landscapes are put in place first,
the ledger last and in one transaction: until then every command refuses to run beside stores without history. So a
restore that was killed can be repeated, and leaves the landscapes that are in place.
"""

import json
import os
import re
import shutil
from contextlib import ExitStack, closing
from pathlib import Path, PurePosixPath
from typing import Any, Final

from jobs.install.backup import (
    FORMAT,
    LEDGER,
    LIST,
    STORES,
    BackupFile,
    Summary,
    copy_file,
    copy_tree,
    landscapes_locked,
    listed,
    summary,
)
from jobs.runtime.lock import hold_ledger
from jobs.runtime.settings import Settings
from monitor.cube.bucket import Place, landscape_folders
from monitor.errors import BadConfiguration, BadData, newer_format
from monitor.files import make_private_folder
from monitor.ledger.copying import copy_rows, is_empty
from monitor.ledger.ledger import FORMAT as LEDGER_FORMAT
from monitor.ledger.ledger import Ledger, other_format

WAITING: Final = ".restoring"  # folder in the root of the stores for landscapes before they are put in place
_LANDSCAPE: Final = re.compile(r"[\w-][\w.-]*")


def restore(settings: Settings, folder: Path) -> Summary:
    """Restore ledger and stores into an installation whose ledger and root of stores are empty or do not exist.

    Raises BadData if the backup is incomplete or altered, or of a newer version; BadConfiguration if ledger or root is
    not empty. Nothing was changed then. Raises TryLater if a run holds a lock. Raises DiskFull or OSError if it cannot
    be written.
    """
    folder, root = folder.absolute(), settings.store.root
    content, files = read_and_verify(folder)
    with ExitStack() as stack:
        stack.enter_context(landscapes_locked(root, "a restore"))
        missing = _missing_landscapes(root, content["landscapes"], files, folder / STORES)
        target = stack.enter_context(closing(Ledger(settings.ledger.url)))
        stack.enter_context(hold_ledger(target, "a restore"))
        if not is_empty(target):
            raise BadConfiguration(
                f"the ledger {target.name} is not empty: nothing was restored, since nothing is overwritten. Name "
                "another one by [ledger] url, and an empty folder by [store] root"
            )
        waiting = settings.store.local / WAITING
        shutil.rmtree(waiting, ignore_errors=True)
        make_private_folder(waiting)
        try:
            for name in missing:
                _check_copies(copy_tree(folder / STORES / name, waiting / STORES / name, waiting), files, folder)
            _check_copies([copy_file(folder / LEDGER, waiting / LEDGER, waiting)], files, folder)
            for name in missing:
                target.guard()
                os.rename(waiting / STORES / name, settings.store.local / name)
            # the copy: opening a ledger writes files beside it
            with closing(Ledger(f"sqlite:///{waiting / LEDGER}")) as source:
                copy_rows(source, target)
        finally:
            shutil.rmtree(waiting, ignore_errors=True)
    return summary(content)


def read_and_verify(folder: Path) -> tuple[dict[str, Any], dict[str, BackupFile]]:
    """The list of a backup, and its files by path, after the content of all of them was checked.

    Raises BadData if it is incomplete or altered, has something that is not listed, or is of a newer version.
    """
    try:
        content = json.loads((folder / LIST).read_text(encoding="utf-8"))
        files = {
            str(file["path"]): BackupFile(path=str(file["path"]), bytes=int(file["bytes"]), sha256=str(file["sha256"]))
            for file in content["files"]
        }
        landscapes = [str(name) for name in content["landscapes"]]
        version, ledger, _ = int(content["format"]), int(content.get("ledger_format", 0)), int(content["rows"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise BadData(
            f"{folder} is not a complete backup: its {LIST} cannot be read ({type(error).__name__})"
        ) from error
    if version > FORMAT:
        raise BadData(f"{folder} has {newer_format(version, FORMAT)}")
    if ledger != LEDGER_FORMAT:
        raise BadData(f"the ledger in {folder} has {other_format(ledger)}")
    if LEDGER not in files or not all(map(_LANDSCAPE.fullmatch, landscapes)):
        raise BadData(f"{folder}: {LIST} was altered: it lists no {LEDGER}, or a landscape without a proper name")
    for file in files.values():
        if problem := _problem(folder, file):
            raise BadData(f"{folder}: {file.path} {problem}; take another backup. Nothing was restored")
    for path in [path for name in landscapes for path in (folder / STORES / name).rglob("*")]:
        if path.is_symlink() or (not path.is_dir() and path.relative_to(folder).as_posix() not in files):
            msg = f"{folder}: {path.relative_to(folder)} is not listed in {LIST}; remove it. Nothing was restored"
            raise BadData(msg)
    return content, files


def _problem(folder: Path, file: BackupFile) -> str | None:
    """Difference of a file of a backup from the list; None: none."""
    parts = PurePosixPath(file.path).parts
    if not parts or parts[0] == "/" or ".." in parts:
        return "lies outside the backup"
    path = folder / file.path
    if any(folder.joinpath(*parts[: n + 1]).is_symlink() for n in range(len(parts))):
        return "is a symbolic link"
    if not path.is_file():
        return "is missing"
    if listed(path, folder) != file:
        return "has another content than when it was backed up"
    return None


def _missing_landscapes(root: Place, landscapes: list[str], files: dict[str, BackupFile], stores: Path) -> list[str]:
    """Landscapes of a backup that are not in place yet.

    Raises BadConfiguration if one in place differs from the backup, or if a bucket, which other tools fill, lacks one.
    """
    present = landscape_folders(root)
    names = {place.name for place in present}
    if not isinstance(root, Path) and (absent := sorted(set(landscapes) - names)):
        raise BadConfiguration(
            f"{root} lacks landscapes of the backup, for instance {absent[0]}: copy them first, for instance by "
            f"aws s3 sync {stores} {root}. Nothing was restored"
        )
    for landscape in present:
        if not isinstance(landscape, Path):
            continue
        prefix = f"{STORES}/{landscape.name}/"
        known = {path.removeprefix(prefix): file for path, file in files.items() if path.startswith(prefix)}
        stored = {path.relative_to(landscape).as_posix(): path for path in landscape.rglob("*") if not path.is_dir()}
        same = stored.keys() == known.keys() and all(
            listed(path, landscape).sha256 == known[name].sha256 for name, path in stored.items()
        )
        if not (landscape.name in landscapes and same):
            raise BadConfiguration(
                f"{root} has stores already, for instance {landscape.name}: nothing was restored, since nothing is "
                "overwritten. Name another, empty folder by [store] root, and another ledger by [ledger] url"
            )
    return [name for name in landscapes if name not in names]


def _check_copies(copies: list[BackupFile], files: dict[str, BackupFile], folder: Path) -> None:
    """Raise BadData if a copied file is not the one that was listed."""
    for copy in copies:
        if files.get(copy.path) != copy:
            msg = f"{folder}: {copy.path} was altered while it was restored; check the disk, then restore again"
            raise BadData(msg)
