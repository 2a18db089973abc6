"""The ledger: what the monitor remembers, in SQLite by default or PostgreSQL by URL.

Only the coordinator of a run writes. Each site's part of a night (assessment, alert, what is to be sent) is one
transaction, so that a run killed at any instant leaves each site before or after its night, never between.
"""

import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    JSON,
    Connection,
    Engine,
    Text,
    cast,
    create_engine,
    event,
    func,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError

from monitor.errors import BadConfiguration, BadData, DiskFull, MonitorError, TryLater, as_disk_full
from monitor.ledger.models import (
    AlertRow,
    AssessmentRow,
    Base,
    CalibrationRow,
    ControlsRow,
    EpisodeRow,
    GroundDataRow,
    NoticeRow,
    RunRow,
    SiteVersion,
    SnapshotRow,
)

NEWEST_MIGRATION: Final = "0001"
"""Newest migration; a test keeps it in step with the folder."""
LOCK_WAIT: Final = 60
"""How long another writer is waited for. [s]"""

READ_ONLY: Final = ("unable to open database file", "attempt to write a readonly database")
"""What SQLite says of a file, or of a folder, that cannot be written."""
BESIDE: Final = 1 << 20
"""With less room than this SQLite may fail to make the files that it keeps beside its own, and calls that an I/O
error. [byte]"""
REFUSED: Final = re.compile(
    r'(?:database|role) ".*" does not exist|password authentication failed for user ".*"|no password supplied'
)
"""What PostgreSQL says of a database, a user or a password that a person must correct: waiting does not help."""
WRITER: Final = 0x7265677277746800
"""Number of the advisory lock that a writing transaction holds in PostgreSQL."""


class Ledger:
    """An open ledger. Parameters and results are plain values; the parts that own them give them meaning.

    Parameters
    ----------
    url : str
        SQLAlchemy URL, for instance ``sqlite:////srv/regrowth.db``.
    guard : callable, optional
        Called before each commit: what it raises prevents the commit. A night checks here that it still holds its lock.

    Raises
    ------
    BadConfiguration
        The URL does not hold.
    BadData
        What lies there is no ledger, or is damaged.
    TryLater
        Another process holds it for longer than a minute.
    DiskFull
        It cannot grow.
    """

    def __init__(self, url: str, guard: Callable[[], None] = lambda: None) -> None:
        self.name = "?"
        self.guard = guard
        try:
            parsed = make_url(url)
            self._place = Path(parsed.database or "").absolute().parent
            self._local = parsed.drivername.startswith("sqlite")
            self.name = Path(parsed.database or "").name
            if not self._local:
                self.name = f"{parsed.database} on {parsed.host or 'this machine'}"
            if self._local and parsed.database:
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
            self._engine = _engine(url)
        except (ArgumentError, ModuleNotFoundError) as error:
            msg = f"[ledger] url does not hold ({error}); write for instance sqlite:///regrowth.db"
            raise BadConfiguration(msg) from error
        try:
            with self._told():
                self._migrate()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Release the connections."""
        self._engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator["Transaction"]:
        """All or nothing. One transaction writes at a time, and others wait for it for :data:`LOCK_WAIT`: what is read
        within it, such as the state of an alert, cannot be changed by anybody else before it is written.
        """
        with self._told(), self._engine.begin() as connection:
            yield Transaction(connection)
            self.guard()

    @contextmanager
    def reading(self) -> Iterator["Transaction"]:
        """A transaction that only reads: it waits for no writer, and no writer waits for it."""
        with self._told(), self._connected() as connection, connection.begin():
            yield Transaction(connection)

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """A connection whose transactions only read."""
        with self._engine.connect() as connection:
            yield connection.execution_options(reads=True)

    def _migrate(self) -> None:
        with self._connected() as connection:
            if "alembic_version" in inspect(connection).get_table_names():
                found = connection.execute(text("select version_num from alembic_version")).scalar()
                if found == NEWEST_MIGRATION:
                    return
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with self._engine.begin() as connection:
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as error:  # of a newer program, or damaged
                found = f"its version is unknown to this program, whose own is {NEWEST_MIGRATION}: {error}"
                raise self._broken(found) from error

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except DatabaseError as error:
            raise self._named(error) from error
        except ValueError as error:
            if (damage := self._damaged_row()) is None:
                raise
            raise self._broken(damage) from error

    def _named(self, error: DatabaseError) -> MonitorError:
        """The error to raise for one of the database."""
        if full := no_room(error, self._place if self._local else self.name):
            return full
        said = str(error.orig).strip()
        if isinstance(error, OperationalError):
            if self._local and any(words in said for words in READ_ONLY):
                return BadConfiguration(
                    f"the ledger {self.name} cannot be opened for writing in {self._place}, which even reading needs: "
                    "allow that, or work on a copy in a folder that can be written"
                )
            if not self._local and (refused := REFUSED.search(said)):
                return BadConfiguration(
                    f"[ledger] url: {refused[0]}, says its server; correct the url, or create what is missing there "
                    "(createdb, createuser)"
                )
            if "locked" in said or not self._local:
                return TryLater(
                    f"the ledger {self.name} is held by another process or out of reach ({_first_line(said)}); try "
                    "again later"
                )
        return self._broken(_first_line(said))

    def _broken(self, found: str) -> BadData:
        return BadData(
            f"the ledger {self.name} cannot be used ({found}). Nothing in it was changed. Check its disk, and "
            "'regrowth doctor'; to go on with a backup of it, name that copy by [ledger] url."
        )

    def _damaged_row(self) -> str | None:
        """Table and key of the first row whose content is no JSON; None where there is none."""
        with self._connected() as connection:
            for table in Base.metadata.sorted_tables:
                for column in table.columns:
                    if not isinstance(column.type, JSON):
                        continue
                    keys = list(table.primary_key.columns)
                    for *key, content in connection.execute(select(*keys, cast(column, Text))):
                        try:
                            json.loads(content or "null")
                        except ValueError as error:
                            named = ", ".join(f"{k.name} {value!r}" for k, value in zip(keys, key, strict=True))
                            return f"table {table.name}, {named}: {column.name} is damaged, {error}"
        return None


def _first_line(said: str) -> str:
    return next(iter(said.splitlines()), "no more is known")


def no_room(error: DatabaseError, place: object) -> DiskFull | None:
    """What to raise where a database found no room for its file, or for those that it keeps beside it.

    Parameters
    ----------
    error : DatabaseError
        As SQLAlchemy raises it.
    place : Path or str
        Folder of the file; the name of a server.

    Returns
    -------
    DiskFull or None
        None where something else is wrong.
    """
    cause = error.orig or error  # the driver's words alone: those of SQLAlchemy repeat the values of the statement
    beside = getattr(cause, "sqlite_errorname", "") in ("SQLITE_IOERR_SHMSIZE", "SQLITE_IOERR_SHMOPEN")
    unclear = any(words in str(cause) for words in ("disk I/O error", "unable to open database file"))
    if beside or (unclear and isinstance(place, Path) and _no_room_in(place)):
        cause = OSError(errno.ENOSPC, str(cause))
    return as_disk_full(cause, place)


def _no_room_in(folder: Path) -> bool:
    """Whether no file of :data:`BESIDE` can be made there; tried, for a quota or the number of files may end first."""
    if shutil.disk_usage(folder).free < BESIDE:
        return True
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=".room-") as file:
            os.posix_fallocate(file.fileno(), 0, BESIDE)
    except OSError as error:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return False


@dataclass(frozen=True, slots=True)
class Registered:
    """What the ledger has of a site in the registry."""

    version: str
    start: str
    """First day of the intervention, ISO 8601."""
    current: bool
    """False: it was retired."""


class Transaction:
    """What can be asked and said within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # sites and episodes

    def sites(self) -> list[dict[str, Any]]:
        """Current version of each site, by id."""
        query = select(SiteVersion.payload).where(SiteVersion.current).order_by(SiteVersion.site)
        return [row.payload for row in self._connection.execute(query)]

    def all_sites(self) -> list[dict[str, Any]]:
        """Newest version of each site there ever was, retired ones too, by id."""
        newest_last = (SiteVersion.site, SiteVersion.current, SiteVersion.added, SiteVersion.id)
        query = select(SiteVersion.site, SiteVersion.payload).order_by(*newest_last)
        return list({row.site: row.payload for row in self._connection.execute(query)}.values())

    def versions(self) -> dict[str, str]:
        """Current version of each site."""
        query = select(SiteVersion.site, SiteVersion.version).where(SiteVersion.current)
        return {row.site: row.version for row in self._connection.execute(query)}

    def is_current(self, site: str) -> bool:
        """Whether a site is judged: it was added, and not retired since."""
        query = select(SiteVersion.id).where(SiteVersion.current, SiteVersion.site == site)
        return self._connection.execute(query).first() is not None

    def registered(self) -> dict[str, "Registered"]:
        """Every site that was ever added, by its current version, else by the last one before it was retired."""
        start = SiteVersion.payload["start"].as_string().label("start")
        query = select(SiteVersion.site, SiteVersion.version, SiteVersion.current, start)
        query = query.order_by(SiteVersion.current, SiteVersion.added, SiteVersion.id)
        return {row.site: Registered(row.version, row.start, row.current) for row in self._connection.execute(query)}

    def add_site(self, site: str, version: str, payload: dict[str, Any], *, start: str, now: str) -> None:
        """A new version of a site becomes the current one; the first episode begins at its start."""
        self.retire_site(site)
        row = {"site": site, "version": version, "current": True, "added": now, "payload": payload}
        self._upsert(SiteVersion, [row], ("site", "version"))
        first = update(EpisodeRow).where(EpisodeRow.site == site, EpisodeRow.number == 1).values(start=start)
        if self._connection.execute(first).rowcount == 0:
            episode = {"site": site, "number": 1, "start": start, "opened": now, "budget": 1.0}
            self._connection.execute(insert(EpisodeRow), [episode])

    def retire_site(self, site: str) -> None:
        """A site is judged no longer; what is known of it stays."""
        self._connection.execute(update(SiteVersion).where(SiteVersion.site == site).values(current=False))

    def episodes(self, site: str) -> list[dict[str, Any]]:
        """Episodes of a site, the first one first."""
        table = EpisodeRow.__table__
        query = select(table).where(table.c.site == site).order_by(table.c.number)
        return [dict(row._mapping) for row in self._connection.execute(query)]

    def all_episodes(self) -> dict[str, list[dict[str, Any]]]:
        """Episodes of every site, the first one first."""
        table = EpisodeRow.__table__
        found: dict[str, list[dict[str, Any]]] = {}
        for row in self._connection.execute(select(table).order_by(table.c.site, table.c.number)):
            found.setdefault(row.site, []).append(dict(row._mapping))
        return found

    def begin_episode(self, site: str, number: int, *, start: str, budget: float, why: str, now: str) -> None:
        """Close the episode before, and open one."""
        before = update(EpisodeRow).where(EpisodeRow.site == site, EpisodeRow.number == number - 1)
        self._connection.execute(before.values(closed=now, why=why))
        row = {"site": site, "number": number, "start": start, "opened": now, "budget": budget}
        self._connection.execute(insert(EpisodeRow), [row])

    # controls, what is stored

    def controls(self, ground: str) -> dict[str, Any] | None:
        """The frozen units of a piece of ground, or None."""
        return self._connection.execute(select(ControlsRow.payload).where(ControlsRow.ground == ground)).scalar()

    def all_controls(self) -> dict[str, dict[str, Any]]:
        """The frozen units of every piece of ground that has any."""
        return {
            row.ground: row.payload for row in self._connection.execute(select(ControlsRow.ground, ControlsRow.payload))
        }

    def freeze_controls(self, ground: str, site: str, payload: dict[str, Any], *, digest: str, now: str) -> None:
        """Freeze units; what is frozen already stays."""
        row = {"ground": ground, "site": site, "hash": digest, "frozen": now, "payload": payload}
        self._upsert(ControlsRow, [row], ("ground",), keep=True)

    def save_snapshot(self, ground: str, site: str, snapshot: str) -> None:
        """The landscape and its rows that a piece of ground was last taken from."""
        self._upsert(SnapshotRow, [{"ground": ground, "site": site, "snapshot": snapshot}], ("ground",))

    def snapshots(self) -> dict[str, str]:
        """The same of every piece of ground."""
        return {
            row.ground: row.snapshot
            for row in self._connection.execute(select(SnapshotRow.ground, SnapshotRow.snapshot))
        }

    def ground_data(self, ground: str, kind: str) -> dict[str, Any] | None:
        """What is known of a piece of ground beside its imagery, of a kind of :class:`GroundDataRow`; None: nothing."""
        chosen = select(GroundDataRow.payload).where(GroundDataRow.ground == ground, GroundDataRow.kind == kind)
        return self._connection.execute(chosen).scalar()

    def all_ground_data(self, kind: str) -> dict[str, dict[str, Any]]:
        """What is known, of a kind, of every piece of ground of which it is known."""
        chosen = select(GroundDataRow.ground, GroundDataRow.payload).where(GroundDataRow.kind == kind)
        return {row.ground: row.payload for row in self._connection.execute(chosen)}

    def save_ground_data(self, ground: str, kind: str, payload: dict[str, Any]) -> None:
        """What is now known of a piece of ground."""
        self._upsert(GroundDataRow, [{"ground": ground, "kind": kind, "payload": payload}], ("ground", "kind"))

    # constants of the verdict

    def calibrations(self) -> list[dict[str, Any]]:
        """Every record of constants, in the order in which they were made."""
        table = CalibrationRow.__table__
        return [dict(row._mapping) for row in self._connection.execute(select(table).order_by(table.c.id))]

    def add_calibration(self, payload: dict[str, Any], **about: Any) -> None:
        """Freeze constants; of one tile, biome, season and ground what is frozen already stays."""
        self._upsert(CalibrationRow, [{**about, "payload": payload}], ("tile", "biome", "season", "grounds"), keep=True)

    # assessments

    def add_assessment(self, site: str, as_of: str, digest: str, payload: dict[str, Any], **origin: str) -> bool:
        """A new assessment; False if the very same is there already."""
        same = select(AssessmentRow.id).where(
            AssessmentRow.site == site, AssessmentRow.as_of == as_of, AssessmentRow.digest == digest
        )
        if self._connection.execute(same).first() is not None:
            return False
        row = {"site": site, "as_of": as_of, "digest": digest, "payload": payload, **origin}
        self._connection.execute(insert(AssessmentRow), [row])
        return True

    def latest_assessment(self, site: str) -> tuple[str, str, dict[str, Any]] | None:
        """Day, digest and content of the newest assessment of a site."""
        query = (
            select(AssessmentRow.as_of, AssessmentRow.digest, AssessmentRow.payload)
            .where(AssessmentRow.site == site)
            .order_by(AssessmentRow.as_of.desc(), AssessmentRow.id.desc())
        )
        row = self._connection.execute(query.limit(1)).first()
        return None if row is None else (row.as_of, row.digest, row.payload)

    def latest_assessments(self) -> dict[str, tuple[str, str, dict[str, Any]]]:
        """The same of every current site that has one."""
        of_site = select(AssessmentRow.id).where(AssessmentRow.site == SiteVersion.site)
        newest = of_site.order_by(AssessmentRow.as_of.desc(), AssessmentRow.id.desc()).limit(1).correlate(SiteVersion)
        query = select(SiteVersion.site, AssessmentRow.as_of, AssessmentRow.digest, AssessmentRow.payload)
        query = query.join(AssessmentRow, AssessmentRow.id == newest.scalar_subquery()).where(SiteVersion.current)
        return {row.site: (row.as_of, row.digest, row.payload) for row in self._connection.execute(query)}

    def sites_assessed_before(self, day: str) -> set[str]:
        """Sites that have an assessment of an earlier day."""
        return set(
            self._connection.execute(select(AssessmentRow.site).where(AssessmentRow.as_of < day).distinct()).scalars()
        )

    def assessment_snapshots(self, site: str) -> list[tuple[str, str, bool]]:
        """Day and snapshot of each assessment of a site, oldest first, and whether it counts as told: there was a
        notice on that day, or one of an earlier day that had to wait told how the site stood on it.
        """
        notices = select(NoticeRow.day, NoticeRow.told).where(NoticeRow.site == site)
        told = {day for row in self._connection.execute(notices) for day in row}
        query = select(AssessmentRow.as_of, AssessmentRow.snapshot).where(AssessmentRow.site == site)
        found = self._connection.execute(query.order_by(AssessmentRow.as_of, AssessmentRow.id))
        return [(day, snapshot, day in told) for day, snapshot in found]

    # alerts, outbox

    def last_alert(self, site: str) -> dict[str, Any] | None:
        """The newest alert of a site, resolved or not."""
        newest = (AlertRow.opened.desc(), AlertRow.id.desc())
        query = select(AlertRow.payload).where(AlertRow.site == site).order_by(*newest).limit(1)
        return self._connection.execute(query).scalar()

    def last_alerts(self) -> dict[str, dict[str, Any]]:
        """The same of every current site that had one."""
        of_site = select(AlertRow.id).where(AlertRow.site == SiteVersion.site)
        newest = of_site.order_by(AlertRow.opened.desc(), AlertRow.id.desc()).limit(1).correlate(SiteVersion)
        query = select(SiteVersion.site, AlertRow.payload)
        query = query.join(AlertRow, AlertRow.id == newest.scalar_subquery()).where(SiteVersion.current)
        return {row.site: row.payload for row in self._connection.execute(query)}

    def alerts(self, states: Iterable[str] | None = None) -> list[dict[str, Any]]:
        """Alerts in the given states (all without), oldest first."""
        query = select(AlertRow.payload).order_by(AlertRow.opened, AlertRow.id)
        if states is not None:
            query = query.where(AlertRow.state.in_(list(states)))
        return [row.payload for row in self._connection.execute(query)]

    def save_alert(self, alert: dict[str, Any]) -> None:
        """An alert as it now stands."""
        row = {key: alert[key] for key in ("id", "site", "state", "opened")}
        self._upsert(AlertRow, [{**row, "payload": alert}], ("id",))

    def add_notice(self, notice: dict[str, Any], *, site: str) -> None:
        """Something to tell; the same thing is told once."""
        row = {
            "id": notice["id"],
            "alert": notice["alert"]["id"],
            "site": site,
            "day": notice["day"],
            "payload": notice,
        }
        self._upsert(NoticeRow, [row], ("id",), keep=True)

    def count_notices(self, alert: str) -> int:
        """How many notices an alert has had."""
        return len(self._connection.execute(select(NoticeRow.id).where(NoticeRow.alert == alert)).all())

    def unsent_notices(self) -> list[dict[str, Any]]:
        """What is still to be sent, oldest first."""
        query = select(NoticeRow.payload).where(NoticeRow.sent.is_(None)).order_by(NoticeRow.day, NoticeRow.id)
        return [row.payload for row in self._connection.execute(query)]

    def any_notice_sent(self, alert: str) -> bool:
        """Whether any notice of an alert has been handed over."""
        sent = select(NoticeRow.id).where(
            NoticeRow.alert == alert, NoticeRow.sent.is_not(None), NoticeRow.error.is_(None)
        )
        return self._connection.execute(sent).first() is not None

    def withdraw_notice(self, notice: str, *, why: str, now: str) -> None:
        """A notice is no news any more and is not to be sent."""
        self._connection.execute(
            update(NoticeRow).where(NoticeRow.id == notice).values(sent=now, error=f"withdrawn: {why}")
        )

    def mark_sent(self, notice: str, *, now: str, reported_day: str) -> None:
        """A notice has been handed over; its message told how the site stood on the day `reported_day`."""
        self._connection.execute(
            update(NoticeRow).where(NoticeRow.id == notice).values(sent=now, told=reported_day, error=None)
        )

    def mark_unsent(self, notice: str, *, error: str) -> None:
        """A notice could not be handed over; it is tried again by the next run."""
        self._connection.execute(update(NoticeRow).where(NoticeRow.id == notice).values(error=error))

    # runs

    def begin_run(self, run: str, kind: str, as_of: str, *, now: str) -> None:
        """A run has begun."""
        self._upsert(RunRow, [{"id": run, "kind": kind, "as_of": as_of, "started": now}], ("id",))

    def end_run(self, run: str, manifest: dict[str, Any], *, now: str) -> None:
        """A run is done."""
        self._connection.execute(update(RunRow).where(RunRow.id == run).values(finished=now, manifest=manifest))

    def count_nights(self) -> int:
        """How many nights have begun."""
        return self._connection.execute(select(func.count()).where(RunRow.kind == "night")).scalar_one()

    def last_night(self, site: str) -> dict[str, Any] | None:
        """Manifest of the newest finished night that a site was part of."""
        query = (
            select(RunRow.manifest)
            .where(RunRow.kind == "night", RunRow.manifest.is_not(None))
            .order_by(RunRow.started.desc())
        )
        for manifest in self._connection.execute(query).scalars():
            if manifest is not None and any(one["site"] == site for one in manifest["sites"]):
                return dict(manifest)
        return None

    def last_run(self) -> dict[str, Any] | None:
        """The newest run."""
        table = RunRow.__table__
        row = self._connection.execute(select(table).order_by(table.c.started.desc()).limit(1)).first()
        return None if row is None else dict(row._mapping)

    def last_activity(self) -> str | None:
        """When a run last began or ended; None: there was none."""
        moments = self._connection.execute(select(func.max(RunRow.started), func.max(RunRow.finished))).one()
        return max(filter(None, moments), default=None)

    def has_history(self) -> bool:
        """Whether any run has begun, or anything stored was taken over."""
        return any(self._connection.execute(select(key).limit(1)).first() for key in (RunRow.id, SnapshotRow.ground))

    def _upsert(
        self, model: type[Base], rows: list[dict[str, Any]], keys: tuple[str, ...], *, keep: bool = False
    ) -> None:
        dialect = import_module(f"sqlalchemy.dialects.{self._connection.dialect.name}")  # both would take 40 ms
        table: Any = model.__table__
        statement: Any = dialect.insert(table)
        changed = {name: statement.excluded[name] for name in rows[0] if name not in keys}
        if keep:
            statement = statement.on_conflict_do_nothing(index_elements=list(keys))
        else:
            statement = statement.on_conflict_do_update(index_elements=list(keys), set_=changed)
        self._connection.execute(statement, rows)


def _engine(url: str) -> Engine:
    local = url.startswith("sqlite")
    engine = (
        create_engine(url, connect_args={"timeout": LOCK_WAIT}) if local else create_engine(url, pool_pre_ping=True)
    )

    @event.listens_for(engine, "connect")
    def _settle(connection: Any, _: Any) -> None:
        if not local:
            return
        connection.isolation_level = None  # the driver would commit before every DDL statement: a migration is one step
        cursor = connection.cursor()
        cursor.execute("pragma journal_mode=wal")
        cursor.execute("pragma foreign_keys=on")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        reads = connection.get_execution_options().get("reads", False)
        if local:
            # A transaction that has read and then writes fails at once where another has written: SQLite waits for
            # its turn only at the beginning.
            connection.exec_driver_sql("begin" if reads else "begin immediate")
        elif reads:
            connection.exec_driver_sql("set transaction isolation level repeatable read, read only")
        else:
            # as in SQLite one writer at a time: what was read is still so when it is written
            wait = f"select set_config('lock_timeout', '{LOCK_WAIT}s', true), pg_advisory_xact_lock({WRITER})"
            connection.exec_driver_sql(wait)

    return engine
