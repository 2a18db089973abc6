"""The ledger: sites, episodes, controls, calibrations, runs, assessments, alerts and outbox, in SQLite or PostgreSQL.

Only the coordinator of a run writes. The results of a night for the sites of a landscape (assessments, alerts, notices)
are one transaction: a run that is killed leaves them as they were before its night or after it, never in between.
"""

import errno
import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, NullPool, create_engine, event, insert, inspect, select, text, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError, SQLAlchemyError

from monitor.errors import BadConfiguration, BadData, DiskFull, MonitorError, TryLater, as_disk_full, newer_format
from monitor.ledger.damage import damaged_rows
from monitor.ledger.models import Base, LedgerRow
from monitor.ledger.transaction import Transaction

FORMAT: Final = 6  # format of the tables; a ledger of another format is refused: nothing is migrated before 1.0
LOCK_WAIT: Final = 60  # longest time to wait for another writer [s]

_READ_ONLY_ERRORS: Final = ("unable to open database file", "attempt to write a readonly database")
"""SQLite's messages for a file or folder without write permission."""
_SQLITE_HEADROOM: Final = 1 << 20  # with less space, SQLite may report an I/O error for its auxiliary files [byte]
_POSTGRESQL_REFUSALS: Final = re.compile(
    r'(?:database|role) ".*" does not exist|password authentication failed for user ".*"|no password supplied'
)
"""PostgreSQL's messages for a database, user or password that a person must correct: waiting does not help."""
_LOCK_TIMEOUT: Final = "55P03"  # PostgreSQL's code for a lock that was waited for too long
_WRITER_LOCK: Final = 0x7265677277746800  # number of the PostgreSQL advisory lock that a writing transaction holds
_HOLDER_LOCK: Final = 0x7265677277746801  # number of the PostgreSQL advisory lock of the session that holds the ledger
_LANDSCAPE_LOCKS: Final = 0x72656777  # first number of advisory locks of landscapes; the second follows from the name
_HOLDER_SESSION: Final = """
    select set_config(name, value, false) from pg_settings join (values
        ('tcp_keepalives_idle', '60'), ('tcp_keepalives_interval', '10'), ('tcp_keepalives_count', '6'),
        ('idle_session_timeout', '0')
    ) as wanted(name, value) using (name)"""
"""Lets the server notice within two minutes that the host of a holder is gone, and wait for one that is alive."""
_RUN_AGAIN: Final = "Nothing was committed since; run again when no other run is at work"
_UNCHANGED: Final = "Nothing in it was changed"
_UNCONFIRMED: Final = "Its last transaction was not confirmed: it is stored as a whole or not at all"


@dataclass(slots=True)
class _State:
    is_committing: bool = False  # the end of the transaction was reached


class Ledger:
    """An open ledger, at a SQLAlchemy URL such as ``sqlite:////srv/regrowth.db``.

    `lock_wait` is the longest time to wait for another writer [s]. Opening and every transaction may raise

    - BadConfiguration: the URL is invalid, the file is read-only, or the server refuses database, user or password;
    - BadData: the database is not a ledger, is damaged, or has another format;
    - TryLater: another process has locked it for longer than `lock_wait`, or the server cannot be reached;
    - DiskFull.
    """

    def __init__(self, url: str, lock_wait: float | None = None) -> None:
        # Connection that holds the locks of landscapes, and its process on the server
        self._landscape_session: tuple[Connection, int] | None = None
        self._number: int | None = None  # number under which this process holds the ledger; None: it does not
        try:
            self._url = parsed = make_url(url)
            file = Path(parsed.database or "")
            self._folder = file.absolute().parent
            self._local = parsed.drivername.startswith("sqlite")
            # File of the database; None: it is in memory or on a server
            self.file = file if self._local and parsed.database not in (None, "", ":memory:") else None
            self.is_on_server = not self._local
            self.name = file.name if self._local else f"{parsed.database} on {parsed.host or 'this machine'}"
            if self.file:
                self._folder.mkdir(parents=True, exist_ok=True)
                with suppress(OSError):  # SQLite says what is wrong; its auxiliary files get the mode of this one
                    os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
            self._engine = _engine(url, LOCK_WAIT if lock_wait is None else lock_wait)
        except (ArgumentError, ModuleNotFoundError) as error:
            msg = f"[ledger] url is invalid ({error}); write for instance sqlite:///regrowth.db"
            raise BadConfiguration(msg) from error
        try:
            with self._translated_errors():
                self._create_tables()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close all connections."""
        if self._landscape_session is not None:
            with suppress(SQLAlchemyError):  # the server may be gone
                self._landscape_session[0].close()
        self._engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Begin a transaction that may write; it is committed at the end, or rolled back on an error.

        One such transaction is open at a time; others wait for up to `lock_wait`. So nobody else can change what it has
        read before it writes. TryLater also where this process held the ledger and another one holds it now.
        """
        with self._translated_errors() as state, self._engine.begin() as connection:
            yield Transaction(connection)
            self._check_number(connection)
            state.is_committing = True

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """Begin a transaction that only reads: it does not wait for a writer, nor a writer for it."""
        with self._translated_errors(), self._read_only_connection() as connection, connection.begin():
            yield Transaction(connection)

    @contextmanager
    def _read_only_connection(self) -> Iterator[Connection]:
        with self._engine.connect() as connection:
            yield connection.execution_options(reads=True)

    def take(self, holder: str) -> None:
        """Become the holder, named `holder`: each commit of the one before fails from now on.

        Called with the lock of the ledger held, see :func:`jobs.runtime.lock.hold_ledger`.
        """
        self._number = None
        with self.transaction() as t:
            taken = update(LedgerRow).values(number=LedgerRow.number + 1, holder=holder).returning(LedgerRow.number)
            number = t._connection.execute(taken).scalar_one()
        self._number = number

    def guard(self) -> None:
        """Raise TryLater if this process held the ledger and another one holds it now; called before each message."""
        if self._number is not None:
            with self.reading() as t:
                self._check_number(t._connection)

    def holder(self) -> str:
        """The process that took the ledger last; empty: none did."""
        with self.reading() as t:
            return str(t._connection.execute(select(LedgerRow.holder)).scalar_one())

    @contextmanager
    def server_lock(self) -> Iterator[bool]:
        """Hold the lock of a PostgreSQL ledger within the ``with`` block; yields False if another process holds it.

        It belongs to a connection for it alone, with which it ends, also where the process or its host is gone.
        """
        with self._translated_errors():
            connection = self._lock_session()
        with closing(connection):
            with self._translated_errors():
                taken = connection.exec_driver_sql(f"select pg_try_advisory_lock({_HOLDER_LOCK})").scalar_one()
            try:
                yield bool(taken)
            finally:
                with suppress(DatabaseError):  # the server may be gone
                    connection.exec_driver_sql(f"select pg_advisory_unlock({_HOLDER_LOCK})")

    def _lock_session(self, process: str = "") -> Connection:
        """A connection for locks alone; others see `process` as its name."""
        named = {"application_name": process[:63]} if process else {}  # the server cuts longer ones, with a notice
        options: dict[str, Any] = {"pool_reset_on_return": None, "isolation_level": "AUTOCOMMIT", "connect_args": named}
        connection = create_engine(self._url, poolclass=NullPool, **options).connect()
        connection.exec_driver_sql(_HOLDER_SESSION)
        return connection

    @contextmanager
    def landscape_lock(self, name: str, process: str) -> Iterator[str | None]:
        """Hold the lock of a landscape on the server of the ledger within the ``with`` block.

        All locks of landscapes belong to one connection, and end with the process. Yields None; or, if another process
        holds the lock, what is known of that one.
        """
        if self._landscape_session is not None:
            self.check_landscape_locks()
        number = zlib.crc32(name.encode()) - (1 << 31)  # signed
        with self._translated_errors():
            if self._landscape_session is None:
                connection = self._lock_session(process)
                server_process = connection.exec_driver_sql("select pg_backend_pid()").scalar_one()
                self._landscape_session = connection, server_process
            connection = self._landscape_session[0]
            lock = f"({_LANDSCAPE_LOCKS}, {number})"
            taken = connection.exec_driver_sql(f"select pg_try_advisory_lock{lock}").scalar_one()
            holders = [] if taken else landscape_holders(connection, number)
        try:
            yield None if taken else next(iter(holders), "")
        finally:
            if taken:
                with suppress(SQLAlchemyError):  # the server may be gone
                    connection.exec_driver_sql(f"select pg_advisory_unlock{lock}")

    def check_landscape_locks(self) -> None:
        """Raise TryLater if the connection that holds the locks of landscapes ended, and they with it."""
        assert self._landscape_session is not None
        connection, server_process = self._landscape_session
        try:
            is_alive = connection.exec_driver_sql("select pg_backend_pid()").scalar_one() == server_process
        except SQLAlchemyError:
            is_alive = False
        if not is_alive:
            why = f"its connection to the ledger {self.name} ended, and with it its locks of landscapes"
            raise TryLater(f"this run stops: {why}. {_RUN_AGAIN}")

    def _check_number(self, connection: Connection) -> None:
        if self._number is None:
            return
        number, holder = connection.execute(select(LedgerRow.number, LedgerRow.holder)).one()
        if number != self._number:
            raise TryLater(f"this run stops: the ledger {self.name} was taken over by {holder}. {_RUN_AGAIN}")

    def _create_tables(self) -> None:
        """Create the tables of a new ledger in one transaction, or check the format of one that exists."""
        with self._read_only_connection() as connection:
            if self._has_tables(connection):
                return
        with self._engine.begin() as connection:
            if not self._has_tables(connection):  # another process may have created them
                Base.metadata.create_all(connection, checkfirst=False)
                connection.execute(insert(LedgerRow).values(id=1, format=FORMAT, number=0, holder=""))

    def _has_tables(self, connection: Connection) -> bool:
        number = format_of(connection)
        if number is not None and number != FORMAT:
            raise BadData(f"the ledger {self.name} has {other_format(number)}. {_UNCHANGED}")
        return number is not None

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
                with self._read_only_connection() as connection:
                    damage = next(damaged_rows(connection), None)
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
            unconfirmed = f". {_UNCONFIRMED}" if state.is_committing else ""
            if "locked" in message or getattr(error.orig, "sqlstate", None) == _LOCK_TIMEOUT:
                held = f"the ledger {self.name} is held by another process ({_first_line(message)})"
                return TryLater(f"{held}; try again later{unconfirmed}")
            if not self._local:
                place = f"{self._url.host or 'this machine'}:{self._url.port or 5432}"
                return TryLater(
                    f"the ledger {self.name} cannot be reached ({_first_line(message)}): is the server running at "
                    f"{place}? If so, try again later{unconfirmed}"
                )
        return self._broken(_first_line(message), _UNCONFIRMED if state.is_committing else _UNCHANGED)

    def _broken(self, problem: str, outcome: str = _UNCHANGED) -> BadData:
        return BadData(
            f"the ledger {self.name} cannot be used ({problem}). {outcome}. Check its disk and run "
            "'regrowth doctor'; to continue with a backup, give its path in [ledger] url."
        )


def format_of(connection: Connection) -> int | None:
    """Format of the tables in a database, 0 if it was made by an early version; None: it is not a ledger yet."""
    tables = inspect(connection).get_table_names()
    if LedgerRow.__tablename__ in tables:
        return int(connection.execute(select(LedgerRow.format)).scalar_one())
    return 0 if "alembic_version" in tables else None


def other_format(number: int) -> str:
    """Why a ledger of another format is refused, and what to do, as the end of a sentence."""
    if number > FORMAT:
        return newer_format(number, FORMAT)
    return (
        f"format {number}, older than {FORMAT}, that of this program, and is not migrated: use the version that made "
        "it, or set [ledger] url and [store] root to new, empty places"
    )


def server_holder(connection: Connection) -> str | None:
    """The process that holds a PostgreSQL ledger now; None: none does."""
    held = text(
        "select holder from ledger where exists (select from pg_locks where locktype = 'advisory' and granted "
        "and database = (select oid from pg_database where datname = current_database()) "
        f"and (classid::bigint << 32) + objid::bigint = {_HOLDER_LOCK})"
    )
    return connection.execute(held).scalar()


def landscape_holders(connection: Connection, number: int | None = None) -> list[str]:
    """The processes that hold locks of landscapes on a PostgreSQL server, or the one with a number: see `Ledger`."""
    one = "" if number is None else f"and objid::bigint = {number % (1 << 32)} "
    held = text(
        "select distinct application_name, backend_start from pg_locks join pg_stat_activity using (pid) "
        "where locktype = 'advisory' and granted and objsubid = 2 "
        "and database = (select oid from pg_database where datname = current_database()) "
        f"and classid::bigint = {_LANDSCAPE_LOCKS} {one}order by backend_start"
    )
    return [
        f"{process}, since {began.astimezone(UTC):%Y-%m-%d %H:%M} UTC" for process, began in connection.execute(held)
    ]


def text_of(stored: bytes) -> str:
    """Text of SQLite, also where damage left no UTF-8: what reads it then names it."""
    return stored.decode(errors="replace")


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
    engine = create_engine(url, **options)

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _: Any) -> None:
        if not local:
            return
        connection.isolation_level = None  # the driver would commit before every DDL statement
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
