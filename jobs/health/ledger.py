"""Checks of the ledger and of the last nights. The ledger is not created."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jobs.health.finding import Finding, broken, list_ids, note, ok, one_line
from jobs.health.machine import lock_holder, not_writable
from jobs.runtime.console import count_of
from monitor.errors import BadData

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.engine import URL

    from jobs.reports.manifest import SiteResult
    from jobs.runtime.settings import Settings
    from monitor.cube.bucket import Place
    from monitor.ledger.transaction import Transaction

MAX_NIGHTS_READ: Final = 30  # number of past nights that are read for the state of each site
MAX_FAILED_SITES: Final = 5  # number of failed sites whose reasons are reported
MAX_NIGHT_AGE: Final = timedelta(hours=36)  # longer ago than this, the last night shows that the schedule does not work
RESTORE: Final = "regrowth doctor --deep; restore a backup of an earlier night (docs/operations.md, Restore)"
WRONG_LEDGER: Final = "set the right one by [ledger] url"


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerContents:
    """Contents of the ledger that the checks need."""

    name: str  # URL without password
    tables: list[str]
    format: int | None  # format of the tables; None: they are not those of a ledger
    is_current: bool  # whether the format is that of this program. Only then the fields below are filled.
    holder: str | None = None  # the process that holds it now; None: it is free
    of_landscapes: Sequence[str] = ()  # the processes that hold locks of landscapes on its server
    sites: int = 0  # number of sites, retired ones too
    current_sites: frozenset[str] = frozenset()
    nights: Sequence[Any] = ()  # rows of the last nights, newest first
    self_check: Mapping[str, Any] | None = None  # the last self-check; columns of its table. None: there was none.
    newest_run: tuple[str, datetime] | None = None  # id of the run that last began or ended, and when
    has_history: bool = False  # whether it contains a run or a snapshot


def read_ledger(settings: "Settings") -> LedgerContents | Finding:
    """Read the ledger, or return the finding that says why that is impossible or that it does not exist yet."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import DatabaseError, SQLAlchemyError

    from monitor.ledger.ledger import no_room

    url = make_url(settings.ledger.url)
    name, file = url.render_as_string(hide_password=True), _file_of(url)
    if file is not None and (finding := _missing_or_read_only(file, settings.store.root)):
        return finding
    try:
        with connected(settings.ledger.url) as connection:
            return _contents(connection, name, file)
    except BadData as error:
        return broken("ledger", one_line(error), RESTORE)
    except UnicodeDecodeError as error:  # a message of SQLite about its schema
        return broken("ledger", f"{name} cannot be read: {one_line(error)}", RESTORE)
    except ModuleNotFoundError as error:
        return broken("ledger", f"{name} needs a driver: {error.name}", "pip install 'regrowth-monitor[postgresql]'")
    except SQLAlchemyError as error:
        if file and isinstance(error, DatabaseError) and (full := no_room(error, file.parent)):
            return broken("ledger", f"{name}: {full}", f"make room at {file.parent}")
        if file and "locked" in str(getattr(error, "orig", error)):
            message = f"{name} is locked by another process, for longer than 5 s"
            return broken("ledger", message, f"end the program that has it open (fuser {file}); nothing is damaged")
        fix = "check its disk; set a sound copy by [ledger] url"
        fix = fix if file else "start the server, or correct [ledger] url"
        return broken("ledger", f"{name} cannot be read: {one_line(getattr(error, 'orig', None) or error)}", fix)


def _file_of(url: "URL") -> Path | None:
    """File of an SQLite ledger; None for a server."""
    return Path(url.database or "") if url.drivername.startswith("sqlite") else None


def _missing_or_read_only(file: Path, store_root: "Place") -> Finding | None:
    """Finding on an SQLite file that does not exist or cannot be written to; None if it can."""
    from jobs.runtime.installation import missing_history

    if file.is_file():
        why = not_writable(file.parent) or (None if os.access(file, os.W_OK) else "permission denied")
        fix = f"chown {file} and its folder to the user of the job"
        return broken("ledger", f"{file} cannot be written to: {why}", fix) if why else None
    if why := f"{file} is not a file" if file.exists() else not_writable(file.parent):
        return broken("ledger", why, f"set another place by [ledger] url, or make {file.parent} usable")
    if problem := missing_history(file.name, store_root):
        return broken("ledger", problem, WRONG_LEDGER)
    return ok("ledger", f"{file}, created by the first command")


@contextmanager
def reading(url: str) -> Iterator["Transaction"]:
    """A transaction of the ledger that changes nothing; errors as of :func:`connected`."""
    from monitor.ledger.transaction import Transaction

    with connected(url) as connection:
        yield Transaction(connection)


@contextmanager
def connected(url: str) -> Iterator["Connection"]:
    """A connection to the ledger that changes nothing.

    Raises SQLAlchemyError if it cannot be reached within 5 s or read, BadData if a row that was read is damaged, and
    ModuleNotFoundError if its driver is not installed.
    """
    from sqlalchemy import create_engine

    from monitor.ledger.damage import damaged_rows
    from monitor.ledger.ledger import text_of

    options = {"timeout": 5} if url.startswith("sqlite") else {"connect_timeout": 5}
    engine = create_engine(url, connect_args=options)
    try:
        with engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                driver: Any = connection.connection.driver_connection
                driver.text_factory = text_of
            try:
                yield connection
            except ValueError as error:
                if (problem := next(damaged_rows(connection), None)) is None:
                    raise
                raise BadData(problem) from error
    finally:
        engine.dispose()


def _contents(connection: "Connection", name: str, file: Path | None) -> LedgerContents:
    from sqlalchemy import inspect, select, text
    from sqlalchemy.exc import SQLAlchemyError

    from jobs.runtime.lock import ledger_lock
    from monitor.ledger.ledger import FORMAT, format_of, landscape_holders, server_holder
    from monitor.ledger.models import RunRow
    from monitor.ledger.transaction import Transaction

    tables = inspect(connection).get_table_names()
    number = format_of(connection)
    if file is not None:  # all pages: the queries above read few of them, and any may be damaged
        damage = connection.execute(text("pragma quick_check(1)")).scalar()
        if damage != "ok":
            raise SQLAlchemyError(damage)
    contents = LedgerContents(name=name, tables=tables, format=number, is_current=number == FORMAT)
    if not contents.is_current:
        return contents
    t = Transaction(connection)
    newest, nights = t.last_activity(), select(RunRow.__table__).where(RunRow.kind == "night")
    return replace(
        contents,
        holder=server_holder(connection) if file is None else lock_holder(ledger_lock(file)),
        of_landscapes=landscape_holders(connection) if file is None else (),
        sites=len(t.registered()),
        current_sites=frozenset(t.versions()),
        nights=connection.execute(nights.order_by(RunRow.started.desc()).limit(MAX_NIGHTS_READ)).all(),
        self_check=t.last_self_check(),
        newest_run=None if newest is None else (newest[0], datetime.fromisoformat(newest[1])),
        has_history=t.has_history(),
    )


def ledger(contents: LedgerContents | Finding, store_root: "Place") -> Iterator[Finding]:
    """The ledger belongs to the stores, has the format of this program, and the last night was a success."""
    if isinstance(contents, Finding):
        yield contents
        return
    from jobs.runtime.installation import missing_history
    from monitor.ledger.ledger import other_format

    name = contents.name
    if contents.is_current:
        if not contents.has_history and (problem := missing_history(name, store_root)):
            yield broken("ledger", problem, WRONG_LEDGER)
            return
        yield ok("ledger", f"{name}, format {contents.format}, {count_of(contents.sites, 'site')}")
        if contents.nights:
            yield last_night(contents.nights, contents.current_sites, at_work=contents.holder is not None)
        yield from unread_scenes(contents.nights)
        yield from stale_sources(contents.nights)
        if contents.self_check:
            yield last_self_check(contents.self_check)
    elif contents.format is not None:
        yield broken("ledger", f"{name} has {other_format(contents.format)}", WRONG_LEDGER)
    elif contents.tables:
        message = f"{name} contains tables of something else: {', '.join(sorted(contents.tables)[:3])}"
        yield broken("ledger", message, "set another database by [ledger] url")
    else:
        yield ok("ledger", f"{name}, empty; the first command creates its tables")


def last_night(nights: Sequence[Any], current_sites: frozenset[str], *, at_work: bool) -> Finding:
    """Result of the last night, or that no night has run lately, which nothing else reports.

    `nights`: newest first; a site that was not part of the last night is looked up in earlier ones.
    """
    from jobs.reports.manifest import Manifest
    from jobs.runtime.records import from_json

    last = nights[0]
    started = datetime.fromisoformat(last.started)
    if last.finished is None:
        message = f"night of {last.as_of}: started {started:%Y-%m-%d %H:%M} UTC and has not ended"
        if at_work:
            return note("night", f"{message}: it is running")
        return broken("night", f"{message}: it was stopped, or an error ended it", "regrowth run    (continues there)")
    ended = f"night of {last.as_of}, ended {last.finished[:16].replace('T', ' ')} UTC with exit status {last.status}"
    if last.manifest is None:
        fix = "correct that, then: regrowth run    (docs/operations.md explains each exit status)"
        return broken("night", f"{ended}: {one_line(last.error or 'no error was recorded')}", fix)
    by_state = _sites_by_state(nights, current_sites)
    failed, deferred = by_state["failed"], by_state["deferred"]
    message = f"{ended}: {len(by_state['done'])} of {sum(map(len, by_state.values()))} sites assessed"
    if failed:
        reasons = [one_line(site.error or "no reason was recorded") for site in failed[:MAX_FAILED_SITES]]
        message = f"{message}, {len(failed)} failed; {'; '.join(reasons)}"
        return broken("night", message, f"correct that, then run: regrowth run --site {failed[0].site}")
    manifest = from_json(last.manifest, Manifest)
    if pages := manifest.pages_failed:
        site, error = next(iter(pages.items()))
        message = f"{message}; {count_of(len(pages), 'page')} could not be written, that of {site}: {one_line(error)}"
        return broken("night", message, "correct that, then run: regrowth publish")
    if datetime.now(UTC) - started > MAX_NIGHT_AGE:
        message = f"{message}; no night since {started:%Y-%m-%d %H:%M} UTC"
        return broken("night", message, "check the timer or the crontab line, see the README; then: regrowth run")
    if waiting := manifest.messages_waiting:
        fix = "regrowth alerts outbox    (those that are held: regrowth alerts release)"
        return note("night", f"{message}; {'1 message is' if waiting == 1 else f'{waiting} messages are'} waiting", fix)
    if deferred:
        reason = one_line(deferred[0].error or "no reason was recorded")
        return note("night", f"{message}, {len(deferred)} deferred to the next night; {reason}")
    return ok("night", message)


def unread_scenes(nights: Sequence[Any]) -> Iterator[Finding]:
    """Scenes that the last finished night could not read, which wait for later nights."""
    from jobs.reports.manifest import Manifest, unread_sentence
    from jobs.runtime.records import from_json

    stored = next((night.manifest for night in nights if night.manifest), None)
    if stored is not None and (sentence := unread_sentence(from_json(stored, Manifest))):
        fix = "check the way to that host; later nights try again until scenes 30 days newer are offered"
        yield note("scenes", one_line(sentence), fix)


def stale_sources(nights: Sequence[Any]) -> Iterator[Finding]:
    """Sources that offered nothing newer in the last night of all sites, although they usually would."""
    from jobs.reports.manifest import Manifest
    from jobs.runtime.records import from_json

    stored = (from_json(night.manifest, Manifest) for night in nights if night.manifest)
    for source in next((manifest.sources for manifest in stored if manifest.sources), ()):
        if source.stale:
            message = f"{source.source} ({source.provider}) offers nothing newer than {source.newest}"
            fix = "look at the status page of the provider; a second [[source]] fills the gap    (docs/sources.md)"
            yield broken("source", message, fix)


def last_self_check(row: Mapping[str, Any]) -> Finding:
    """Result of the last self-check: whether a random site, recomputed from its pixels, is as published."""
    from jobs.reports.manifest import self_check_problems

    check = {"site": row["site"], **row["payload"]}
    if problems := self_check_problems(check):
        fix = "compare ledger, stores and outputs with a backup    (docs/operations.md)"
        return broken("self-check", f"night of {row['day']}: {one_line(problems[0])}", fix)
    message = (
        f"night of {row['day']}: {row['site']} as of {check['as_of']}, recomputed from its pixels, is as published"
    )
    return ok("self-check", message)


def _sites_by_state(nights: Sequence[Any], current_sites: frozenset[str]) -> "dict[str, list[SiteResult]]":
    """The latest result of each current site, by state (``done``, ``failed``, ``deferred``), sorted by id."""
    from jobs.reports.manifest import Manifest
    from jobs.runtime.records import from_json

    results: dict[str, SiteResult] = {}
    for night in nights:
        if night.manifest and len(results) < len(current_sites):
            found = {one.site: one for one in from_json(night.manifest, Manifest).sites if one.site in current_sites}
            results = found | results
    by_state: dict[str, list[SiteResult]] = {"done": [], "failed": [], "deferred": []}
    for _, result in sorted(results.items()):
        by_state[result.state].append(result)
    return by_state


def data_age(settings: "Settings", contents: LedgerContents | Finding) -> Iterator[Finding]:
    """Each site had an accepted scene lately, in its growing season."""
    if not isinstance(contents, LedgerContents) or not contents.is_current or not contents.nights:
        return
    from jobs.messages.operator_notices import silent_sites
    from jobs.runtime.clock import today
    from jobs.runtime.records import current_sites

    days = settings.alerts.silence_days
    with reading(settings.ledger.url) as t:
        sites = current_sites(t)
        stated = {site: one.payload["last_observed"] for site, one in t.latest_assessments().items()}
        newest = {site: day and date.fromisoformat(day) for site, day in stated.items()}
        silent = silent_sites(sites, newest, t.all_episodes(), days, today())
    if silent:
        seen = max((day for day in silent.values() if day is not None), default=None)
        message = f"no scene was accepted for {days:g} days of the growing season: {list_ids(sorted(silent))}"
        message += "" if seen is None else f"; the newest is of {seen}"
        fix = "regrowth doctor --online; if the source offers scenes, observations.csv of a site has why none counts"
        yield broken("data", message, fix)
    elif sites and any(newest.values()):
        yield ok("data", f"newest accepted scene of {max(filter(None, newest.values()))}")
