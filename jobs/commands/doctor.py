"""``regrowth doctor``: what is missing on this machine, and the command or the setting that fixes it.

It looks and changes nothing: no folder is made, no ledger created or migrated, and without ``--online`` nothing is
asked of anybody. Each part is looked at by itself, so that one that is broken does not hide the others; heavy libraries
are loaded only to see whether they load.
"""

import errno
import fcntl
import importlib
import json
import os
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from jobs import kernel_cache
from jobs.exits import Exit
from jobs.lock import LANDSCAPE_LOCKS
from jobs.logs import redacted
from monitor.errors import MonitorError

if TYPE_CHECKING:
    from jobs.settings import Settings, SourceSettings

DISTRIBUTION: Final = "regrowth-monitor"
LOADED: Final = ("numpy", "numba", "xarray", "rasterio", "pyogrio", "pyproj", "icechunk", "zarr", "sqlalchemy", "dask")
"""Libraries that bring compiled code or carry the store: installed is not enough, they must load."""
ROOM: Final = 1 << 30
"""Least free space that a night should begin with. [byte]"""
FILES: Final = 100_000
"""Least number of files that may still be made: a night adds nine small ones to the store of a site."""
LONG: Final = timedelta(hours=24)
"""A run that holds the lock for longer hangs: the next night is due."""
LOOKED_BACK: Final = 30
"""Nights that are asked how sites fared."""
OVERDUE: Final = timedelta(hours=36)
"""After this without a night the schedule is off."""
BUILT: Final = datetime(2026, 11, 1, tzinfo=UTC)
"""A clock that shows an earlier moment is wrong: this program is younger."""

OK, NOTE, BROKEN = "ok", "note", "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one look showed."""

    check: str
    """Part that was looked at."""
    state: str
    """``ok``; ``note``, which needs nothing now; ``broken``, which does."""
    message: str
    """What was found."""
    fix: str | None = None
    """Command or setting that fixes it."""


def doctor(
    config: Annotated[
        Path | None, typer.Option("--config", help="Default: REGROWTH_CONFIG, else ./regrowth.toml.")
    ] = None,
    online: Annotated[bool, typer.Option("--online", help="Ask the sources for scenes too; else no network.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Say what is missing, and the command that fixes it. Looks only; changes nothing.

    Exit status: 0 all is well, 78 something needs correction.
    """
    found = list(findings(config, online=online))
    broken = [one for one in found if one.state == BROKEN]
    if as_json:
        report = {"ok": not broken, "checks": [asdict(one) for one in found]}
        typer.echo(json.dumps(report, ensure_ascii=False, indent=2))
    else:
        for one in found:
            typer.echo(f"{one.state.upper() if one.state == BROKEN else one.state:<7} {one.check:<10} {one.message}")
            if one.fix:
                typer.echo(f"{'':<18} -> {one.fix}")
        typer.echo("All is well." if not broken else f"{len(broken)} of {len(found)} need correction.")
    raise typer.Exit(Exit.CONFIGURATION if broken else Exit.DONE)


def findings(config: Path | None, *, online: bool = False) -> Iterator[Finding]:
    """Look at each part in turn.

    Parameters
    ----------
    config : Path or None
        As for every command.
    online : bool
        Whether the sources are asked for scenes.

    Yields
    ------
    Finding
        One or more of each part; parts that need the configuration are left out where it cannot be read.
    """
    yield from _looked("python", _python)
    yield from _looked("packages", _packages)
    settings: list[Settings] = []
    read = list(_looked("config", lambda: _config(config, settings)))
    yield from _looked("kernels", lambda: _kernels(settings[0].store.root if settings else None))
    yield from read
    if not settings:
        return
    chosen = settings[0]
    yield from _looked("registry", lambda: _registry(chosen))
    yield from _looked("store", lambda: _folder("store", chosen.store.root))
    runs: list[datetime] = []
    yield from _looked("ledger", lambda: _ledger(chosen, runs))
    yield from _looked("registry", lambda: _drift(chosen))
    yield from _looked("outputs", lambda: _folder("outputs", chosen.outputs.root))
    yield from _looked("lock", lambda: _lock(chosen.store.root))
    yield from _looked("clock", lambda: _clock(chosen, runs))
    silent: list[Finding] = []
    for number, source in enumerate(chosen.source, start=1):
        name = "source" if len(chosen.source) == 1 else f"source {number}"
        yield from _looked(name, partial(_source, name, source))
        if online:
            answers = list(_looked(name, partial(_asked, name, source, chosen)))
            silent += [one for one in answers if one.state != OK]
            yield from answers
    if online and not silent:
        yield from _looked("imagery", lambda: _imagery(chosen))


def _looked(check: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What a look shows; trouble on the way is a finding too."""
    try:
        for one in look():
            yield replace(one, message=redacted(one.message))
    except MonitorError as error:
        yield Finding(check=check, state=BROKEN, message=_line(error))
    except Exception as error:  # noqa: BLE001 - the doctor must outlive whatever is broken, and says what it met
        yield Finding(check=check, state=BROKEN, message=f"cannot be looked at: {type(error).__name__}: {_line(error)}")


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    least = (metadata.metadata(DISTRIBUTION)["Requires-Python"] if _installed(DISTRIBUTION) else None) or ">=3.12"
    if _numbers(version) < _numbers(least.lstrip(">= ")):
        fix = "install a newer Python, then: make clean setup"
        yield Finding(check="python", state=BROKEN, message=f"{version}, {least} is needed", fix=fix)
    else:
        yield Finding(check="python", state=OK, message=f"{version}, {sys.executable}")


def _installed(name: str) -> str | None:
    """Version of a distribution, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _packages() -> Iterator[Finding]:
    try:
        asked = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        fix = "pip install --no-deps --editable .    (or: make setup)"
        yield Finding(check="packages", state=BROKEN, message=f"{DISTRIBUTION} itself is not installed", fix=fix)
        return
    wrong = [message for line in asked if "extra ==" not in line and (message := _unmet(line))]
    if not wrong:
        for name in LOADED:
            try:
                importlib.import_module(name)
            except Exception as error:  # noqa: BLE001 - a library that does not load may raise anything
                wrong.append(f"{name} is installed but does not load ({_line(error)})")
    if wrong:
        fix = "make clean setup    (or: pip install --no-deps --require-hashes -r requirements.lock)"
        yield Finding(check="packages", state=BROKEN, message="; ".join(wrong), fix=fix)
    else:
        message = f"{len([line for line in asked if 'extra ==' not in line])} libraries installed, all load"
        yield Finding(check="packages", state=OK, message=message)


def _unmet(line: str) -> str | None:
    """What is wrong with one requirement, such as ``dask[array]>=2025.1``."""
    name = re.split(r"[\s\[<>=!~;(]", line, maxsplit=1)[0]
    have = _installed(name)
    if have is None:
        return f"{name} is not installed"
    least = re.search(r">=\s*([\d.]+)", line)
    if least and _numbers(have) < _numbers(least[1]):
        return f"{name} is {have}, {least[1]} or newer is needed"
    return None


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.match(r"[\d.]*", version)[0].split(".") if part]  # type: ignore[index]


def _kernels(store: Path | None) -> Iterator[Finding]:
    """Whether compiled kernels can be kept: without, each process compiles for half a minute."""
    named = os.environ.get(kernel_cache.CACHE_VARIABLE) if kernel_cache.temporary_folder is None else None
    for place in [Path(named)] if named else kernel_cache.cache_folders(store):
        if _writable(place) is None:
            yield Finding(check="kernels", state=OK, message=f"compiled code is kept under {place}")
            return
    yield Finding(
        check="kernels",
        state=BROKEN,
        message="compiled code cannot be kept, so every process compiles for half a minute",
        fix="set NUMBA_CACHE_DIR to a folder that this user may write to",
    )


def _config(path: Path | None, settings: list["Settings"]) -> Iterator[Finding]:
    from jobs.settings import load

    chosen = path or Path(os.environ.get("REGROWTH_CONFIG") or "regrowth.toml")
    try:
        settings.append(load(path))
    except MonitorError as error:
        fix = (
            f"correct {chosen}"
            if chosen.exists()
            else "write a regrowth.toml as the README shows, or: regrowth doctor --config FILE"
        )
        yield Finding(check="config", state=BROKEN, message=_line(error), fix=fix)
        return
    yield Finding(check="config", state=OK, message=f"{chosen}, {len(settings[0].source)} sources")


def _registry(settings: "Settings") -> Iterator[Finding]:
    from monitor.sites.named_controls import read_named_controls
    from monitor.sites.registry import read_sites

    path = settings.registry.path
    try:
        report = read_sites(path)
    except MonitorError as error:
        fix = f"regrowth sites check {path}"
        yield Finding(check="registry", state=BROKEN, message=_line(error), fix=fix)
        return
    message = f"{len(report.sites)} sites in {path}"
    if report.refused:
        fix = f"regrowth sites check {path}"
        yield Finding(check="registry", state=BROKEN, message=f"{message}, {len(report.refused)} more refused", fix=fix)
    else:
        yield Finding(check="registry", state=OK, message=message)
    if settings.registry.controls is None:
        return
    try:
        ground = read_named_controls(settings.registry.controls, sites={site.id for site in report.sites})
    except MonitorError as error:
        fix = "correct the file that [registry] controls names; until then new sites wait"
        yield Finding(check="registry", state=BROKEN, message=_line(error), fix=fix)
    else:
        yield Finding(check="registry", state=OK, message=f"{len(ground)} outlines of control ground")


def _drift(settings: "Settings") -> Iterator[Finding]:
    """How the registry differs from the ledger, and the command that settles each thing."""
    from sqlalchemy import create_engine, inspect, text
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError

    from jobs.registry import columns_in_words, compare, start_edited
    from monitor.ledger.ledger import NEWEST_MIGRATION, Transaction
    from monitor.sites.registry import read_sites

    path, url = settings.registry.path, make_url(settings.ledger.url)
    file = shlex.quote(str(path))
    try:
        report = read_sites(path)
    except MonitorError:
        return  # said above
    if report.columns:
        message = f"columns that are not read: {columns_in_words(report.columns)}"
        yield Finding(check="registry", state=NOTE, message=message)
    if url.drivername.startswith("sqlite") and not Path(url.database or "").is_file():
        return
    engine = create_engine(settings.ledger.url)
    try:
        with engine.connect() as connection:
            if "alembic_version" not in inspect(connection).get_table_names():
                return
            if connection.execute(text("select version_num from alembic_version")).scalar() != NEWEST_MIGRATION:
                return
            found = compare(path, report, Transaction(connection))
    except SQLAlchemyError:
        return  # said by the ledger
    finally:
        engine.dispose()
    if not (found.unchanged or found.changed or found.missing or found.start_edited):
        if found.added:
            message = f"{len(found.added)} sites are not in the ledger yet; the first night takes them in"
            yield Finding(check="registry", state=NOTE, message=message)
        return
    fix = f"regrowth sites add {file}    (or the next night does it)"
    if found.added:
        message = f"in {path.name} and not in the ledger: {_few([site.id for site in found.added])}"
        yield Finding(check="registry", state=BROKEN, message=message, fix=fix)
    if found.changed:
        message = f"changed in {path.name}: {_few([site.id for site in found.changed])}"
        yield Finding(check="registry", state=BROKEN, message=message, fix=fix)
    if found.missing:
        message = f"missing from {path.name} and still judged: {_few(found.missing)}"
        fix = f"put them back, or: {shlex.join(['regrowth', 'sites', 'retire', *found.missing])}"
        yield Finding(check="registry", state=BROKEN, message=message, fix=fix)
    for site, (before, after) in found.start_edited.items():
        message, _, fix = start_edited(site, before, after).partition("; ")
        yield Finding(check="registry", state=BROKEN, message=message, fix=fix)
    if found.retired:
        message = f"retired, and still in {path.name}: {_few(found.retired)}"
        fix = f"take them out of the file, or back in: regrowth sites add {file}"
        yield Finding(check="registry", state=NOTE, message=message, fix=fix)


def _few(sites: Sequence[str]) -> str:
    """The first ids of many."""
    return ", ".join(sites[:20]) + (f" and {len(sites) - 20} more" if len(sites) > 20 else "")


def _folder(check: str, root: Path) -> Iterator[Finding]:
    """Whether a root can be written to and has room; one that is not there yet is made by the first run."""
    why = _writable(root)
    if why:
        fix = f"chown the folder to the user of the job, or name another one by [{check}] root"
        yield Finding(check=check, state=BROKEN, message=f"{root} cannot be written to: {why}", fix=fix)
        return
    place = _nearest(root)
    free, disk = shutil.disk_usage(place).free, os.statvfs(place)
    message = f"{root}, {free / 1e9:.1f} GB free"
    message += f", room for {disk.f_favail:,} files" if disk.f_files else ""  # some file systems have no such limit
    message += "" if root.exists() else ", made by the first run"
    if free < ROOM:
        fix = f"make room, or name a larger disk by [{check}] root"
        yield Finding(check=check, state=BROKEN, message=f"{message}; {ROOM / 1e9:.1f} GB should be", fix=fix)
    elif disk.f_files and disk.f_favail < FILES:
        fix = f"name a disk made for more files by [{check}] root (XFS, or ext4 made with 'mkfs.ext4 -i 4096')"
        yield Finding(check=check, state=BROKEN, message=f"{message}; for {FILES:,} there should be", fix=fix)
    else:
        yield Finding(check=check, state=OK, message=message)


def _nearest(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return next(one for one in (path, *path.absolute().parents) if one.exists())


def _writable(root: Path) -> str | None:
    """Why a folder cannot be written to, or None. A file is made and taken away: permissions alone do not tell."""
    place = _nearest(root)
    if not place.is_dir():
        return f"{place} is a file"
    try:
        with tempfile.TemporaryFile(dir=place, prefix=".doctor-"):
            pass
    except OSError as error:
        return error.strerror or str(error)
    return None


def _ledger(settings: "Settings", moments: list[datetime]) -> Iterator[Finding]:
    """Look at the ledger; the moment at which a run last began or ended is added to `moments`."""
    from sqlalchemy import create_engine, inspect, select, text
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import DatabaseError, SQLAlchemyError

    from jobs.installation import missing_history
    from monitor.ledger.ledger import NEWEST_MIGRATION, Transaction, no_room
    from monitor.ledger.models import RunRow, SiteVersion

    url = make_url(settings.ledger.url)
    shown = url.render_as_string(hide_password=True)
    local = url.drivername.startswith("sqlite")
    if local:
        path = Path(url.database or "")
        if not path.is_file():
            why = f"{path} is no file" if path.exists() else _writable(path.parent)
            if why is None and (lost := missing_history(path.name, settings.store.root)):
                yield Finding(check="ledger", state=BROKEN, message=lost, fix="name the right one by [ledger] url")
                return
            state = BROKEN if why else OK
            fix = f"name another place by [ledger] url, or make {path.parent} usable" if why else None
            yield Finding(check="ledger", state=state, message=why or f"{path}, made by the first command", fix=fix)
            return
        if why := _writable(path.parent) or (None if os.access(path, os.W_OK) else "permission denied"):
            fix = f"chown {path} and its folder to the user of the job"
            yield Finding(check="ledger", state=BROKEN, message=f"{path} cannot be written to: {why}", fix=fix)
            return
    options: dict[str, Any] = {"timeout": 5} if local else {"connect_timeout": 5}
    try:
        engine = create_engine(settings.ledger.url, connect_args=options)
    except ModuleNotFoundError as error:
        fix = "pip install 'regrowth-monitor[postgresql]'"
        yield Finding(check="ledger", state=BROKEN, message=f"{shown} needs a driver: {error.name}", fix=fix)
        return
    try:
        with engine.connect() as connection:
            tables = inspect(connection).get_table_names()
            found = (
                connection.execute(text("select version_num from alembic_version")).scalar()
                if "alembic_version" in tables
                else None
            )
            sites = (
                connection.execute(text("select count(distinct site) from sites")).scalar() if "sites" in tables else 0
            )
            if local:
                # all pages: what was asked above lies on few of them, and a damaged one may be any
                damage = connection.execute(text("pragma quick_check(1)")).scalar()
                if damage != "ok":
                    raise SQLAlchemyError(damage)
            nights = (
                select(RunRow.__table__)
                .where(RunRow.kind == "night")
                .order_by(RunRow.started.desc())
                .limit(LOOKED_BACK)
            )
            runs = connection.execute(nights).all() if found == NEWEST_MIGRATION else []
            lost = None
            if found == NEWEST_MIGRATION:
                t = Transaction(connection)
                newest = t.last_activity()
                moments += [] if newest is None else [datetime.fromisoformat(newest)]
                lost = None if t.has_history() else missing_history(shown, settings.store.root)
            current = select(SiteVersion.site).where(SiteVersion.current)
            now = set(connection.execute(current).scalars()) if runs else set()
    except SQLAlchemyError as error:
        if local and isinstance(error, DatabaseError) and (full := no_room(error, path.parent)):
            yield Finding(check="ledger", state=BROKEN, message=f"{shown}: {full}", fix=f"make room at {path.parent}")
            return
        why = _line(getattr(error, "orig", None) or error)
        fix = (
            "check its disk; name a sound copy by [ledger] url"
            if local
            else "start the server, or correct [ledger] url"
        )
        yield Finding(check="ledger", state=BROKEN, message=f"{shown} cannot be read: {why}", fix=fix)
        return
    finally:
        engine.dispose()
    if lost:
        yield Finding(check="ledger", state=BROKEN, message=lost, fix="name the right one by [ledger] url")
    elif found == NEWEST_MIGRATION:
        yield Finding(check="ledger", state=OK, message=f"{shown}, version {found}, {sites} sites")
        if runs:
            yield _night(runs, now, at_work=_holder(settings.store.root / "lock") is not None)
    elif found is None and tables:
        message = f"{shown} holds tables of something else: {', '.join(sorted(tables)[:3])}"
        yield Finding(check="ledger", state=BROKEN, message=message, fix="name a database of its own by [ledger] url")
    elif found is None or found < NEWEST_MIGRATION:
        message = f"{shown} is of version {found or 'none'}; the next command brings it to {NEWEST_MIGRATION}"
        yield Finding(check="ledger", state=NOTE, message=message, fix="regrowth sites list")
    else:
        message = f"{shown} is of version {found}, newer than this program ({NEWEST_MIGRATION})"
        yield Finding(check="ledger", state=BROKEN, message=message, fix="bring the program up to date: make setup")


def _night(nights: Sequence[Any], current: Collection[str], *, at_work: bool) -> Finding:
    """How the last night went; that no night comes any more is seen nowhere else.

    Parameters
    ----------
    nights : sequence
        Rows of the ledger, the newest first: what a night of some sites does not tell of the others, earlier ones do.
    current : collection of str
        Sites that there are.
    at_work : bool
        Whether a run is under way.
    """
    last = nights[0]
    begun = datetime.fromisoformat(last.started)
    if last.finished is None:
        message = f"that of {last.as_of} began {begun:%Y-%m-%d %H:%M} UTC and has not ended"
        if at_work:
            return Finding(check="night", state=NOTE, message=f"{message}: it is at work")
        message, fix = f"{message}: it was stopped, or left with an error", "regrowth run    (goes on from there)"
        return Finding(check="night", state=BROKEN, message=message, fix=fix)
    manifest: dict[str, Any] = last.manifest
    results: dict[str, dict[str, Any]] = {}
    for one in nights:
        for site in one.manifest["sites"] if one.manifest else ():
            if site["site"] in current:
                results.setdefault(site["site"], site)
    by_state: dict[str, list[dict[str, Any]]] = {"done": [], "failed": [], "deferred": []}
    for _, site in sorted(results.items()):
        by_state[site["state"]].append(site)
    message = f"that of {last.as_of}: {len(by_state['done'])} of {len(results)} sites judged"
    if failed := by_state["failed"]:
        message = f"{message}, {len(failed)} failed; {_line(failed[0]['error'])}"
        fix = f"correct that, then run: regrowth run --site {failed[0]['site']}"
        return Finding(check="night", state=BROKEN, message=message, fix=fix)
    if pages := manifest["pages_failed"]:
        site, error = next(iter(pages.items()))
        message = f"{message}; {len(pages)} pages could not be written, that of {site}: {_line(error)}"
        return Finding(check="night", state=BROKEN, message=message, fix="correct that, then run: regrowth publish")
    if datetime.now(UTC) - begun > OVERDUE:
        message = f"{message}; no night since {begun:%Y-%m-%d %H:%M} UTC"
        fix = "see that the timer or the crontab line is on, as the README says; then: regrowth run"
        return Finding(check="night", state=BROKEN, message=message, fix=fix)
    if waiting := manifest["messages_waiting"]:
        message = f"{message}; {waiting} messages wait"
        return Finding(
            check="night", state=NOTE, message=message, fix="look at the log; if they are held: regrowth alerts release"
        )
    if late := by_state["deferred"]:
        message = f"{message}, {len(late)} put off to the next night; {_line(late[0]['error'])}"
        return Finding(check="night", state=NOTE, message=message)
    return Finding(check="night", state=OK, message=message)


def _holder(path: Path) -> str | None:
    """Who holds a lock; None: nobody."""
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


def _lock(root: Path) -> Iterator[Finding]:
    """Who is at work, of nights and of whoever stores scenes in landscapes."""
    held: dict[str, Path] = {}
    for path in (root / "lock", *sorted((root / LANDSCAPE_LOCKS).glob("*"))):
        if (holder := _holder(path)) is not None:
            held.setdefault(holder, path)
    if not held:
        message = "free" if (root / "lock").is_file() else "free; no night has been here yet"
        yield Finding(check="lock", state=OK, message=message)
    for holder, path in held.items():
        yield _at_work(holder, path)


def _at_work(holder: str, path: Path) -> Finding:
    age = timedelta(seconds=max(time.time() - path.stat().st_mtime, 0))
    named = re.search(r"process (\d+) on (\S+)$", holder)
    here = named is not None and named[2] == os.uname().nodename
    if here and named is not None and _paused(int(named[1])):
        message = f"held by {holder}, which is paused"
        return Finding(
            check="lock", state=BROKEN, message=message, fix=f"kill -CONT {named[1]}    (or: kill {named[1]})"
        )
    if age > LONG:
        message = f"held by {holder} for {age.total_seconds() / 3600:.0f} hours: it hangs"
        fix = f"kill {named[1]}" if here and named is not None else "end that process; the lock is free when it is gone"
        return Finding(check="lock", state=BROKEN, message=message, fix=fix)
    return Finding(check="lock", state=NOTE, message=f"held by {holder}: a run is at work")


def _paused(process: int) -> bool:
    try:
        after_name = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (OSError, UnicodeDecodeError):
        return False
    return after_name[:1] in (["T"], ["t"])


def _clock(settings: "Settings", runs: Sequence[datetime]) -> Iterator[Finding]:
    from sqlalchemy.engine import make_url

    from jobs.clock import clock_behind

    now = datetime.now(UTC)
    ledger = Path(make_url(settings.ledger.url).database or "")
    files = [ledger, settings.store.root / "lock", settings.outputs.root / "status.json", settings.registry.path]
    seen = [(moment, "the newest run in the ledger") for moment in runs]
    for path in (*files, *settings.store.root.glob("*/repo")):
        if path.is_file():
            seen.append((datetime.fromtimestamp(path.stat().st_mtime, UTC), str(path)))
    ahead = clock_behind(*max(seen)) if seen else None
    if now < BUILT:
        message = f"shows {now:%Y-%m-%d %H:%M} UTC, before this program was made"
        yield Finding(check="clock", state=BROKEN, message=message, fix="timedatectl set-ntp true")
    elif ahead:
        fix = "timedatectl set-ntp true    (if it was fast then and is right now: runs go on after that time)"
        message = f"{ahead}; stores and ledger are sound"
        yield Finding(check="clock", state=BROKEN, message=message, fix=fix)
    else:
        yield Finding(check="clock", state=OK, message=f"{now:%Y-%m-%d %H:%M} UTC")


def _source(name: str, source: "SourceSettings") -> Iterator[Finding]:
    """Whether what a source needs is there; nobody is asked."""
    if source.kind == "sample":
        have = _installed("nrt") or "missing"
        if have == "0.2.1":
            yield Finding(check=name, state=OK, message="the embedded sample, nrt 0.2.1")
        else:
            message = f"the embedded sample needs nrt 0.2.1; it is {have}"
            yield Finding(check=name, state=BROKEN, message=message, fix="pip install 'regrowth-monitor[demo]'")
        return
    if source.kind == "stac":
        yield from _stac(name, source)
        return
    where, why = _credentials()
    if why:
        fix = "earthengine authenticate    (or set GOOGLE_APPLICATION_CREDENTIALS, or REGROWTH_EE_TOKEN)"
        yield Finding(check=name, state=BROKEN, message=f"Earth Engine: {why}", fix=fix)
    elif not source.project and not os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
        fix = '[source] project = "<your Cloud project>"'
        yield Finding(check=name, state=BROKEN, message="Earth Engine: no Cloud project is named", fix=fix)
    else:
        message = f"Earth Engine, credentials: {where}; --online tries them"
        yield Finding(check=name, state=OK, message=message)


def _stac(name: str, source: "SourceSettings") -> Iterator[Finding]:
    url = source.url or ""
    if not url:
        fix = '[source] url = "https://earth-search.aws.element84.com/v1"'
        yield Finding(check=name, state=BROKEN, message="STAC: no url is given", fix=fix)
    elif re.match(r"https?://", url):
        yield Finding(check=name, state=OK, message=f"STAC, {_bare(url)}; --online asks it")
    else:
        path = Path(url.removeprefix("file://"))
        if path.exists():
            yield Finding(check=name, state=OK, message=f"STAC, {path}")
        else:
            yield Finding(check=name, state=BROKEN, message=f"STAC, {path} is not there", fix="correct [source] url")


def _bare(url: str) -> str:
    """An address without what may be secret in it: a user, a password, a query."""
    return re.sub(r"[?#].*", "", re.sub(r"//[^/@]*@", "//", url))


def _credentials() -> tuple[str, str | None]:
    """Where Earth Engine's credentials come from, and what is wrong with them. None is printed."""
    if os.environ.get("REGROWTH_EE_TOKEN"):
        return "REGROWTH_EE_TOKEN", None
    if token := os.environ.get("REGROWTH_EE_TOKEN_FILE"):
        return token, _no_file(Path(token))
    if key := os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
        why = _no_file(Path(key))
        if why is None:
            try:
                kind = json.loads(Path(key).read_text(encoding="utf-8")).get("type")
            except (ValueError, AttributeError):
                kind = None
            if kind not in ("service_account", "authorized_user"):
                why = f"GOOGLE_APPLICATION_CREDENTIALS names {key}, which is no key of a service account"
        return key, why
    home = Path.home() / ".config"
    places = (home / "earthengine" / "credentials", home / "gcloud" / "application_default_credentials.json")
    for place in places:
        if place.is_file():
            return str(place), _no_file(place)
    return "", "there are no credentials"


def _no_file(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return None if file.read(1) else f"{path} is empty"
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"


def _asked(name: str, source: "SourceSettings", settings: "Settings") -> Iterator[Finding]:
    """Ask a source for the scenes of the last twenty days over the first site."""
    from jobs.sources import open_sources
    from monitor.sites.registry import read_sites

    sites = read_sites(settings.registry.path).sites
    if not sites:
        yield Finding(
            check=name, state=NOTE, message="there is no site yet to ask it about", fix="regrowth sites add FILE"
        )
        return
    today = datetime.now(UTC).date()
    began = time.monotonic()
    (opened,) = open_sources([source]).all
    opened.check_collections()
    scenes = opened.search(sites[0].geometry, today - timedelta(days=20), today)
    took = time.monotonic() - began
    message = f"answers in {took:.1f} s: {len(scenes)} scenes of the last 20 days over {sites[0].id}"
    yield Finding(check=name, state=OK, message=message)


def _imagery(settings: "Settings") -> Iterator[Finding]:
    """Whether every site was ever offered a scene: of the last 20 days, else of all that a night would ask for."""
    import shapely

    from jobs.sources import describe_sources, open_sources
    from monitor.sites.clusters import group_nearby, split_by_tile
    from monitor.sites.registry import read_sites
    from monitor.verdict.explain import never_offered

    sites = read_sites(settings.registry.path).sites
    today = datetime.now(UTC).date()
    sources = open_sources(settings.source)
    unseen = []
    for members in (some for group in group_nearby(sites, apart=0.0) for some in split_by_tile(group)):
        left = members
        for source, asked in sources.opened:
            last = min(today, asked.until or today)
            for first in (max(asked.since, last - timedelta(days=20)), asked.since):
                if left and first <= last:
                    area = shapely.box(*shapely.total_bounds([site.geometry for site in left]))
                    scenes = source.search(area, first, last)
                    left = [site for site in left if not any(scene.touches(site.geometry) for scene in scenes)]
        unseen += left
    if not unseen:
        yield Finding(check="imagery", state=OK, message=f"scenes are offered of all {len(sites)} sites")
        return
    why = never_offered(unseen[0], sources=describe_sources(settings.source), until=today)
    message = f"{len(unseen)} of {len(sites)} sites were never offered a scene: {_few([site.id for site in unseen])}"
    fix = f"correct the outline, or [source] url, collections or since; {unseen[0].id}: {why}"
    yield Finding(check="imagery", state=BROKEN, message=message, fix=fix)


def _line(error: BaseException | str) -> str:
    """What an error says, in one line."""
    return " ".join(redacted(str(error)).split())[:300] or type(error).__name__
