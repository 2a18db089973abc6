"""The ledger: sites, episodes, controls, calibrations, runs, assessments, alerts and outbox, in SQLite or PostgreSQL.

Only the coordinator of a run writes. The results of a night for one site (assessment, alert, notices) are one
transaction: a run that is killed leaves each site as it was before its night or after it, never in between.
"""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError

from monitor.errors import BadConfiguration, BadData, DiskFull, MonitorError, TryLater, as_disk_full
from monitor.ledger.damage import damaged_rows
from monitor.ledger.models import Base
from monitor.ledger.sealed_json import JSON_OPTIONS, text_of
from monitor.ledger.transaction import Transaction

NEWEST_MIGRATION: Final = "0002"
"""Revision of the newest migration in the folder ``migrations``."""
LOCK_WAIT: Final = 60
"""Longest time to wait for another writer. [s]"""

_READ_ONLY_ERRORS: Final = ("unable to open database file", "attempt to write a readonly database")
"""SQLite's messages for a file or folder without write permission."""
_SQLITE_HEADROOM: Final = 1 << 20
"""Free space below which SQLite may fail to create its auxiliary files, which it reports as an I/O error. [byte]"""
_POSTGRESQL_REFUSALS: Final = re.compile(
    r'(?:database|role) ".*" does not exist|password authentication failed for user ".*"|no password supplied'
)
"""PostgreSQL's messages for a database, user or password that a person must correct: waiting does not help."""
_WRITER_LOCK: Final = 0x7265677277746800
"""Number of the PostgreSQL advisory lock that a writing transaction holds."""
_UNCHANGED: Final = "Nothing in it was changed"
_UNCONFIRMED: Final = "Its last transaction was not confirmed: it is stored as a whole or not at all"


@dataclass(slots=True)
class _State:
    """How far a transaction has come."""

    is_committing: bool = False


class Ledger:
    """An open ledger.

    Parameters
    ----------
    url : str
        SQLAlchemy URL, for instance ``sqlite:////srv/regrowth.db``.
    guard : callable, optional
        Called before each commit; an error that it raises prevents the commit. A night checks here that it still
        holds its lock.
    lock_wait : float, optional
        Longest time to wait for another writer, :data:`LOCK_WAIT` if not given. [s]

    Raises
    ------
    BadConfiguration
        The URL is invalid, the file is read-only, or the server refuses the database, user or password.
    BadData
        The database is not a ledger, is damaged, or belongs to a newer version of this program.
    TryLater
        Another process has locked it for longer than `lock_wait`, or the server cannot be reached.
    DiskFull
        The disk has no space left.
    """

    def __init__(self, url: str, guard: Callable[[], None] = lambda: None, lock_wait: float | None = None) -> None:
        self.guard = guard
        try:
            parsed = make_url(url)
            file = Path(parsed.database or "")
            self._folder = file.absolute().parent
            self._local = parsed.drivername.startswith("sqlite")
            self.name = file.name if self._local else f"{parsed.database} on {parsed.host or 'this machine'}"
            if self._local:
                self._folder.mkdir(parents=True, exist_ok=True)
            self._engine = _engine(url, LOCK_WAIT if lock_wait is None else lock_wait)
        except (ArgumentError, ModuleNotFoundError) as error:
            msg = f"[ledger] url is invalid ({error}); write for instance sqlite:///regrowth.db"
            raise BadConfiguration(msg) from error
        try:
            with self._translated_errors():
                self._migrate()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Begin a transaction that may write; it is committed at the end, or rolled back on an error.

        One such transaction is open at a time; others wait for up to `lock_wait`. So nobody else can change
        what it has read before it writes.

        Raises
        ------
        TryLater
            Another transaction was open for too long.
        BadConfiguration, BadData, DiskFull
            As for :class:`Ledger`.
        """
        with self._translated_errors() as state, self._engine.begin() as connection:
            yield Transaction(connection)
            self.guard()
            state.is_committing = True

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """Begin a transaction that only reads: it does not wait for a writer, nor a writer for it.

        Raises
        ------
        BadConfiguration, BadData, TryLater
            As for :class:`Ledger`.
        """
        with self._translated_errors(), self._read_only_connection() as connection, connection.begin():
            yield Transaction(connection)

    @contextmanager
    def _read_only_connection(self) -> Iterator[Connection]:
        """Connection for transactions that only read."""
        with self._engine.connect() as connection:
            yield connection.execution_options(reads=True)

    def _migrate(self) -> None:
        """Create the tables of a new ledger, or bring those of an older one up to date, in one transaction."""
        with self._read_only_connection() as connection:
            if "alembic_version" in inspect(connection).get_table_names():
                version = connection.execute(text("select version_num from alembic_version")).scalar()
                if version == NEWEST_MIGRATION:
                    return
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with self._engine.begin() as connection:
            config.attributes["connection"] = connection
            if "alembic_version" not in inspect(connection).get_table_names():
                Base.metadata.create_all(connection, checkfirst=False)
                command.stamp(config, "head")
                return
            try:
                command.upgrade(config, "head")
            except CommandError as error:  # of a newer program, or damaged
                problem = f"its version is unknown to this program, whose own is {NEWEST_MIGRATION}: {error}"
                raise self._broken(problem) from error

    @contextmanager
    def _translated_errors(self) -> Iterator[_State]:
        state = _State()
        try:
            yield state
        except DatabaseError as error:
            raise self._translate(error, state) from error
        except UnicodeDecodeError as error:  # a message of SQLite about its schema
            raise self._broken(str(error)) from error
        except ValueError as error:
            try:
                damage = self._damaged_row()
            except DatabaseError as worse:
                raise self._translate(worse, state) from error
            if damage is None:
                raise
            raise self._broken(damage) from error

    def _translate(self, error: DatabaseError, state: _State) -> MonitorError:
        """Error of this program for an error of the database."""
        if full := no_room(error, self._folder if self._local else self.name):
            return full
        message = str(error.orig).strip()
        if isinstance(error, OperationalError):
            if self._local and any(part in message for part in _READ_ONLY_ERRORS):
                return BadConfiguration(
                    f"the ledger {self.name} cannot be opened for writing in {self._folder}, which is needed even for "
                    "reading: allow that, or work on a copy in a folder that can be written"
                )
            if not self._local and (refused := _POSTGRESQL_REFUSALS.search(message)):
                return BadConfiguration(
                    f"[ledger] url: {refused[0]}, says its server; correct the url, or create what is missing there "
                    "(createdb, createuser)"
                )
            if "locked" in message or not self._local:
                return TryLater(
                    f"the ledger {self.name} is held by another process or out of reach ({_first_line(message)}); "
                    f"try again later{f'. {_UNCONFIRMED}' if state.is_committing else ''}"
                )
        return self._broken(_first_line(message), _UNCONFIRMED if state.is_committing else _UNCHANGED)

    def _broken(self, problem: str, outcome: str = _UNCHANGED) -> BadData:
        return BadData(
            f"the ledger {self.name} cannot be used ({problem}). {outcome}. Check its disk and run "
            "'regrowth doctor'; to continue with a backup, give its path in [ledger] url."
        )

    def _damaged_row(self) -> str | None:
        """Description of the first value that is damaged; None: no such value."""
        with self._read_only_connection() as connection:
            return next(damaged_rows(connection), None)


def _first_line(message: str) -> str:
    return next(iter(message.splitlines()), "no details")


def no_room(error: DatabaseError, place: object) -> DiskFull | None:
    """Error to raise if a database ran out of disk space for its file or its auxiliary files; None: another cause.

    `place` is the folder of the SQLite file, or the name of a server.
    """
    cause = error.orig or error  # the driver's message: that of SQLAlchemy repeats the values of the statement
    auxiliary = getattr(cause, "sqlite_errorname", "") in ("SQLITE_IOERR_SHMSIZE", "SQLITE_IOERR_SHMOPEN")
    unclear = any(words in str(cause) for words in ("disk I/O error", "unable to open database file"))
    if auxiliary or (unclear and isinstance(place, Path) and _is_full(place)):
        cause = OSError(errno.ENOSPC, str(cause))
    return as_disk_full(cause, place)


def _is_full(folder: Path) -> bool:
    """Whether no file of :data:`_SQLITE_HEADROOM` can be created; tried, since a quota or inodes may run out first."""
    if shutil.disk_usage(folder).free < _SQLITE_HEADROOM:
        return True
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=".room-") as file:
            os.posix_fallocate(file.fileno(), 0, _SQLITE_HEADROOM)
    except OSError as error:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return False


def _engine(url: str, lock_wait: float) -> Engine:
    local = url.startswith("sqlite")
    options: dict[str, Any] = {"connect_args": {"timeout": lock_wait}} if local else {"pool_pre_ping": True}
    engine = create_engine(url, **options, **JSON_OPTIONS)

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _: Any) -> None:
        if not local:
            return
        connection.isolation_level = None  # the driver would commit before every DDL statement: a migration is one step
        connection.text_factory = text_of
        cursor = connection.cursor()
        cursor.execute("pragma journal_mode=wal")
        cursor.execute("pragma foreign_keys=on")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        reads = connection.get_execution_options().get("reads", False)
        if local:
            # SQLite waits for other writers only at the beginning of a transaction: one that reads first and then
            # writes fails at once if another has written.
            connection.exec_driver_sql("begin" if reads else "begin immediate")
        elif reads:
            connection.exec_driver_sql("set transaction isolation level repeatable read, read only")
        else:
            # one writer at a time, as in SQLite: what was read is still true when it is written
            wait = f"select set_config('lock_timeout', '{lock_wait}s', true), pg_advisory_xact_lock({_WRITER_LOCK})"
            connection.exec_driver_sql(wait)

    return engine
