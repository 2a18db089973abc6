"""Checks of the machine: Python, libraries, compiled kernels, folders, locks, clock."""

import errno
import fcntl
import importlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

from jobs.health.finding import Finding, broken, note, ok, one_line
from jobs.runtime import kernel_cache
from jobs.runtime.console import count_of
from jobs.runtime.lock import LANDSCAPE_LOCKS, ledger_lock
from monitor.cube.bucket import Place, landscape_folders
from monitor.errors import MonitorError

if TYPE_CHECKING:
    from jobs.runtime.settings import Settings

DISTRIBUTION: Final = "regrowth-monitor"
MUST_LOAD: Final = (  # libraries with compiled code, and those of the store: installed is not enough
    "numpy", "numba", "xarray", "rasterio", "pyogrio", "pyproj", "icechunk", "zarr", "sqlalchemy", "dask",
)  # fmt: skip
MIN_FREE_BYTES: Final = 1 << 30
MIN_FREE_FILES: Final = 100_000  # files that the disk must still be able to hold
MAX_LOCK_AGE: Final = timedelta(hours=24)  # a run that holds the lock for longer hangs: the next night is due
RELEASED: Final = datetime(2026, 11, 1, tzinfo=UTC)  # a clock that shows an earlier time is wrong


def python() -> Iterator[Finding]:
    """The version of Python is recent enough."""
    version = ".".join(map(str, sys.version_info[:3]))
    requirement = (metadata.metadata(DISTRIBUTION)["Requires-Python"] if installed(DISTRIBUTION) else None) or ">=3.12"
    if _numbers(version) < _numbers(requirement.lstrip(">= ")):
        yield broken("python", f"{version}, {requirement} is needed", "install a newer Python, then: make clean setup")
    else:
        yield ok("python", f"{version}, {sys.executable}")


def installed(distribution: str) -> str | None:
    """Version of an installed distribution; None if it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def packages() -> Iterator[Finding]:
    """All required libraries are installed, recent enough, and load."""
    try:
        requirements = [line for line in metadata.requires(DISTRIBUTION) or [] if "extra ==" not in line]
    except metadata.PackageNotFoundError:
        fix = "pip install --no-deps --editable .    (or: make setup)"
        yield broken("packages", f"{DISTRIBUTION} itself is not installed", fix)
        return
    problems = [problem for line in requirements if (problem := _unmet(line))]
    problems = problems or [problem for name in MUST_LOAD if (problem := _load_failure(name))]
    if problems:
        fix = "make clean setup    (or: pip install --no-deps --require-hashes -r requirements.lock)"
        yield broken("packages", "; ".join(problems), fix)
    else:
        yield ok("packages", f"{len(requirements)} libraries installed, all load")


def _unmet(requirement: str) -> str | None:
    """Problem with a requirement such as ``dask[array]>=2025.1``; None if it is met."""
    name = re.split(r"[\s\[<>=!~;(]", requirement, maxsplit=1)[0]
    version = installed(name)
    if version is None:
        return f"{name} is not installed"
    least = re.search(r">=\s*([\d.]+)", requirement)
    if least and _numbers(version) < _numbers(least[1]):
        return f"{name} is {version}, {least[1]} or newer is needed"
    return None


def _load_failure(name: str) -> str | None:
    try:
        importlib.import_module(name)
    except Exception as error:  # noqa: BLE001 - a library that does not load may raise anything
        return f"{name} is installed but does not load ({one_line(error)})"
    return None


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.match(r"[\d.]*", version)[0].split(".") if part]  # type: ignore[index]


def kernels(store_root: Path | None) -> Iterator[Finding]:
    """Compiled kernels can be stored; otherwise each process compiles for half a minute."""
    from_environment = os.environ.get(kernel_cache.CACHE_VARIABLE) if kernel_cache.temporary_folder is None else None
    for folder in [Path(from_environment)] if from_environment else kernel_cache.cache_folders(store_root):
        if not_writable(folder) is None:
            yield ok("kernels", f"compiled code is stored under {folder}")
            return
    message = "compiled code cannot be stored, so every process compiles for half a minute"
    yield broken("kernels", message, f"set {kernel_cache.CACHE_VARIABLE} to a folder that this user can write to")


def folder(check: str, root: Path) -> Iterator[Finding]:
    """A root folder can be written to and has room; the first run creates it."""
    larger = f"free some space, or set a larger disk by [{check}] root"
    if why := not_writable(root):
        read_only = "the disk is mounted read-only, often after an error (dmesg): repair it, or set another"
        fixes = {
            os.strerror(errno.EROFS): f"{read_only} [{check}] root",
            **dict.fromkeys(map(os.strerror, (errno.ENOSPC, errno.EDQUOT)), larger),
        }
        owner = f"chown the folder to the user of the job, or set another one by [{check}] root"
        yield broken(check, f"{root} cannot be written to: {why}", fixes.get(why, owner))
        return
    place = _nearest_existing(root)
    free, disk = shutil.disk_usage(place).free, os.statvfs(place)
    limited = disk.f_files and disk.f_favail < 10 * MIN_FREE_FILES  # else space is what runs out; some have no limit
    files = f", room for {disk.f_favail:,} files" if limited else ""
    message = f"{root}, {free / 1e9:.1f} GB free{files}{'' if root.exists() else ', created by the first run'}"
    if free < MIN_FREE_BYTES:
        yield broken(check, f"{message}; at least {MIN_FREE_BYTES / 1e9:.1f} GB are needed", larger)
    elif disk.f_files and disk.f_favail < MIN_FREE_FILES:
        fix = f"set a disk made for more files by [{check}] root (XFS, or ext4 made with 'mkfs.ext4 -i 4096')"
        yield broken(check, f"{message}; room for at least {MIN_FREE_FILES:,} is needed", fix)
    else:
        yield ok(check, message)


def store(root: Place) -> Iterator[Finding]:
    """The root of the stores can be read and written to."""
    if isinstance(root, Path):
        yield from folder("store", root)
        return
    count = len(landscape_folders(root))
    root.check_writing()
    yield ok("store", f"{root}, {count_of(count, 'landscape')}")


def _nearest_existing(path: Path) -> Path:
    """The path, or the nearest parent folder that exists."""
    return next(parent for parent in (path, *path.absolute().parents) if parent.exists())


def not_writable(root: Path) -> str | None:
    """Why a folder cannot be written to, or None. A file is created and removed: permissions alone do not suffice."""
    place = _nearest_existing(root)
    if not place.is_dir():
        return f"{place} is a file"
    try:
        with tempfile.TemporaryFile(dir=place, prefix=".doctor-"):
            pass
    except OSError as error:
        return error.strerror or str(error)
    return None


def lock_holder(path: Path) -> str | None:
    """Who holds a lock, as its file says; None if it is free."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            return file.read(300).decode(errors="replace").strip() or "another process"
    return None


def locks(store_root: Place, on_server: Sequence[str | None]) -> Iterator[Finding]:
    """Holders of the ledger and of landscapes, on the server and by files, and whether they hang."""
    files = sorted((store_root / LANDSCAPE_LOCKS).glob("*")) if isinstance(store_root, Path) else []
    held = [holder for holder in dict.fromkeys((*on_server, *map(lock_holder, files))) if holder is not None]
    if not held:
        yield ok("lock", "free")
    for holder in held:
        yield _held_lock(holder)


def _held_lock(holder: str) -> Finding:
    since = re.search(r"since (.+) UTC$", holder)
    began = datetime.strptime(since[1], "%Y-%m-%d %H:%M").replace(tzinfo=UTC) if since else datetime.now(UTC)
    age = datetime.now(UTC) - began
    process = re.search(r"process (\d+) on (\S+), since", holder)
    pid = process[1] if process and process[2] == os.uname().nodename else None
    if pid is not None and _paused(int(pid)):
        return broken("lock", f"held by {holder}, which is paused", f"kill -CONT {pid}    (or: kill {pid})")
    if age > MAX_LOCK_AGE:
        fix = f"kill {pid}" if pid is not None else "end that process; the lock is free when it is gone"
        return broken("lock", f"held by {holder}, {age.total_seconds() / 3600:.0f} hours ago: it hangs", fix)
    return note("lock", f"held by {holder}: a run is at work")


def _paused(process: int) -> bool:
    try:
        after_name = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (OSError, UnicodeDecodeError):
        return False
    return after_name[:1] in (["T"], ["t"])


def clock(settings: "Settings", newest_run: tuple[str, datetime] | None) -> Iterator[Finding]:
    """The clock is not behind the newest run in the ledger or the files of earlier runs."""
    from sqlalchemy.engine import make_url

    from jobs.runtime.clock import clock_behind, way_out

    now = datetime.now(UTC)
    ledger = Path(make_url(settings.ledger.url).database or "")
    files = [ledger, ledger_lock(ledger), settings.outputs.root / "status.json", settings.registry.path]
    times = [] if newest_run is None else [(newest_run[1], f"the newest run in the ledger, {newest_run[0]},")]
    root = settings.store.root
    for path in (*files, *(root.glob("*/repo") if isinstance(root, Path) else ())):
        if path.is_file():
            times.append((datetime.fromtimestamp(path.stat().st_mtime, UTC), str(path)))
    if now < RELEASED:
        message = f"shows {now:%Y-%m-%d %H:%M} UTC, before this program was released"
        yield broken("clock", message, "timedatectl set-ntp true")
    elif times and (problem := clock_behind(*max(times))):
        after = "runs continue after that time" + ("" if newest_run is None else way_out(newest_run[1]))
        fix = f"timedatectl set-ntp true    (if it was fast then and is right now: {after})"
        yield broken("clock", f"{problem}; stores and ledger are sound", fix)
    else:
        yield ok("clock", f"{now:%Y-%m-%d %H:%M} UTC")


def scheduler(settings: "Settings", *, online: bool) -> Iterator[Finding]:
    """With `online`, the dask scheduler answers; threads and processes of this machine need no check."""
    address = settings.engine.scheduler
    if address in ("", "processes"):
        return
    if not online:
        yield note("scheduler", f"dask at {one_line(address)}; --online asks it")
        return
    from jobs.runtime.executor import open_executor

    try:
        with open_executor(address, settings.engine.tls_files):
            yield ok("scheduler", f"dask at {one_line(address)} answers")
    except MonitorError as error:
        fix = f"start it (dask scheduler), or leave [engine] scheduler empty: {one_line(address)}"
        yield broken("scheduler", one_line(error), fix)
