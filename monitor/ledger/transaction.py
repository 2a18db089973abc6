"""Queries and changes of the ledger within one transaction.

Parameters and results are plain values: sites, grounds and alerts are ids, days are ISO 8601, `payload` is the JSON of
the record. `ground` is the key of :func:`monitor.sites.site.ground_key`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

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

type Payload = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Registered:
    """A site that was added to the ledger at some time."""

    version: str
    start: str
    """First day of the intervention, ISO 8601."""
    current: bool
    """False: the site is retired."""


class Transaction:
    """One open transaction. Queries see the state at its beginning and its own changes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # sites and episodes

    def sites(self) -> list[Payload]:
        """Current version of each site, by id."""
        query = select(SiteVersion.payload).where(SiteVersion.current).order_by(SiteVersion.site)
        return [row.payload for row in self._connection.execute(query)]

    def all_sites(self) -> list[Payload]:
        """Newest version of each site, retired ones included, by id."""
        newest_last = (SiteVersion.site, SiteVersion.current, SiteVersion.added, SiteVersion.id)
        query = select(SiteVersion.site, SiteVersion.payload).order_by(*newest_last)
        return list({row.site: row.payload for row in self._connection.execute(query)}.values())

    def versions(self) -> dict[str, str]:
        """Current version of each site."""
        query = select(SiteVersion.site, SiteVersion.version).where(SiteVersion.current)
        return {row.site: row.version for row in self._connection.execute(query)}

    def is_current(self, site: str) -> bool:
        """Whether a site was added and is not retired."""
        query = select(SiteVersion.id).where(SiteVersion.current, SiteVersion.site == site)
        return self._connection.execute(query).first() is not None

    def registered(self) -> dict[str, Registered]:
        """Every site, retired ones included, with its current version or, if retired, its last one."""
        start = SiteVersion.payload["start"].as_string().label("start")
        query = select(SiteVersion.site, SiteVersion.version, SiteVersion.current, start)
        query = query.order_by(SiteVersion.current, SiteVersion.added, SiteVersion.id)
        return {row.site: Registered(row.version, row.start, row.current) for row in self._connection.execute(query)}

    def add_site(self, site: str, version: str, payload: Payload, *, start: str, now: str) -> None:
        """Make a version of a site the current one; its first episode begins at `start`."""
        self.retire_site(site)
        row = {"site": site, "version": version, "current": True, "added": now, "payload": payload}
        self._upsert(SiteVersion, row, ("site", "version"))
        first = update(EpisodeRow).where(EpisodeRow.site == site, EpisodeRow.number == 1).values(start=start)
        if self._connection.execute(first).rowcount == 0:
            episode = {"site": site, "number": 1, "start": start, "opened": now, "budget": 1.0}
            self._connection.execute(insert(EpisodeRow), [episode])

    def retire_site(self, site: str) -> None:
        """Stop judging a site; all its records stay."""
        self._connection.execute(update(SiteVersion).where(SiteVersion.site == site).values(current=False))

    def episodes(self, site: str) -> list[Payload]:
        """Episodes of a site, first one first: ``number, start, opened, closed, why, budget``."""
        table = EpisodeRow.__table__
        query = select(table).where(table.c.site == site).order_by(table.c.number)
        return [dict(row._mapping) for row in self._connection.execute(query)]

    def all_episodes(self) -> dict[str, list[Payload]]:
        """Episodes of every site, see :meth:`episodes`."""
        table = EpisodeRow.__table__
        episodes: dict[str, list[Payload]] = {}
        for row in self._connection.execute(select(table).order_by(table.c.site, table.c.number)):
            episodes.setdefault(row.site, []).append(dict(row._mapping))
        return episodes

    def begin_episode(self, site: str, number: int, *, start: str, budget: float, why: str, now: str) -> None:
        """Close the previous episode of a site and open episode `number`.

        `budget` is its share of the site's false-alarm budget [1], `why` the reason for closing the previous one.
        """
        previous = update(EpisodeRow).where(EpisodeRow.site == site, EpisodeRow.number == number - 1)
        self._connection.execute(previous.values(closed=now, why=why))
        row = {"site": site, "number": number, "start": start, "opened": now, "budget": budget}
        self._connection.execute(insert(EpisodeRow), [row])

    # control units, stored rows, terrain and other data of a ground

    def controls(self, ground: str) -> Payload | None:
        """Frozen control units of a ground; None: none yet."""
        return self._connection.execute(select(ControlsRow.payload).where(ControlsRow.ground == ground)).scalar()

    def all_controls(self) -> dict[str, Payload]:
        """Frozen control units of every ground that has any."""
        query = select(ControlsRow.ground, ControlsRow.payload)
        return {row.ground: row.payload for row in self._connection.execute(query)}

    def freeze_controls(self, ground: str, site: str, payload: Payload, *, digest: str, now: str) -> None:
        """Store the control units of a ground, unless it has some already."""
        row = {"ground": ground, "site": site, "hash": digest, "frozen": now, "payload": payload}
        self._upsert(ControlsRow, row, ("ground",), keep=True)

    def save_snapshot(self, ground: str, site: str, snapshot: str) -> None:
        """Store which landscape, and how many of its rows, a ground was last read from."""
        self._upsert(SnapshotRow, {"ground": ground, "site": site, "snapshot": snapshot}, ("ground",))

    def snapshots(self) -> dict[str, str]:
        """Landscape and number of rows that each ground was last read from."""
        query = select(SnapshotRow.ground, SnapshotRow.snapshot)
        return {row.ground: row.snapshot for row in self._connection.execute(query)}

    def ground_data(self, ground: str, kind: str) -> Payload | None:
        """Data of one kind of :class:`GroundDataRow` about a ground; None: not known."""
        query = select(GroundDataRow.payload).where(GroundDataRow.ground == ground, GroundDataRow.kind == kind)
        return self._connection.execute(query).scalar()

    def all_ground_data(self, kind: str) -> dict[str, Payload]:
        """Data of one kind about every ground that has it."""
        query = select(GroundDataRow.ground, GroundDataRow.payload).where(GroundDataRow.kind == kind)
        return {row.ground: row.payload for row in self._connection.execute(query)}

    def save_ground_data(self, ground: str, kind: str, payload: Payload) -> None:
        """Store data of one kind about a ground; earlier data of that kind is replaced."""
        self._upsert(GroundDataRow, {"ground": ground, "kind": kind, "payload": payload}, ("ground", "kind"))

    # constants of the verdict

    def calibrations(self) -> list[Payload]:
        """All constants of the verdict, in the order in which they were added; columns of :class:`CalibrationRow`."""
        table = CalibrationRow.__table__
        return [dict(row._mapping) for row in self._connection.execute(select(table).order_by(table.c.id))]

    def add_calibration(self, payload: Payload, **columns: Any) -> None:
        """Store constants, unless their tile, biome, season and grounds have some already."""
        row = {**columns, "payload": payload}
        self._upsert(CalibrationRow, row, ("tile", "biome", "season", "grounds"), keep=True)

    # assessments

    def add_assessment(self, site: str, as_of: str, digest: str, payload: Payload, **origin: str) -> bool:
        """Store an assessment; False if one of the same site, day and digest is stored already."""
        row = {"site": site, "as_of": as_of, "digest": digest}
        if self._connection.execute(select(AssessmentRow.id).filter_by(**row)).first() is not None:
            return False
        self._connection.execute(insert(AssessmentRow), [{**row, "payload": payload, **origin}])
        return True

    def latest_assessment(self, site: str) -> tuple[str, str, Payload] | None:
        """Day, digest and content of the newest assessment of a site; None: not assessed yet."""
        query = (
            select(AssessmentRow.as_of, AssessmentRow.digest, AssessmentRow.payload)
            .where(AssessmentRow.site == site)
            .order_by(AssessmentRow.as_of.desc(), AssessmentRow.id.desc())
        )
        row = self._connection.execute(query.limit(1)).first()
        return None if row is None else (row.as_of, row.digest, row.payload)

    def latest_assessments(self) -> dict[str, tuple[str, str, Payload]]:
        """Day, digest and content of the newest assessment of every current site that has one."""
        of_site = select(AssessmentRow.id).where(AssessmentRow.site == SiteVersion.site)
        newest = of_site.order_by(AssessmentRow.as_of.desc(), AssessmentRow.id.desc()).limit(1).correlate(SiteVersion)
        query = select(SiteVersion.site, AssessmentRow.as_of, AssessmentRow.digest, AssessmentRow.payload)
        query = query.join(AssessmentRow, AssessmentRow.id == newest.scalar_subquery()).where(SiteVersion.current)
        return {row.site: (row.as_of, row.digest, row.payload) for row in self._connection.execute(query)}

    def sites_assessed_before(self, day: str) -> set[str]:
        """Sites that have an assessment of an earlier day."""
        query = select(AssessmentRow.site).where(AssessmentRow.as_of < day).distinct()
        return set(self._connection.execute(query).scalars())

    # alerts and the outbox

    def last_alert(self, site: str) -> Payload | None:
        """Newest alert of a site, resolved or not; None: it never had one."""
        newest = (AlertRow.opened.desc(), AlertRow.id.desc())
        query = select(AlertRow.payload).where(AlertRow.site == site).order_by(*newest).limit(1)
        return self._connection.execute(query).scalar()

    def last_alerts(self) -> dict[str, Payload]:
        """Newest alert of every current site that had one, resolved or not."""
        of_site = select(AlertRow.id).where(AlertRow.site == SiteVersion.site)
        newest = of_site.order_by(AlertRow.opened.desc(), AlertRow.id.desc()).limit(1).correlate(SiteVersion)
        query = select(SiteVersion.site, AlertRow.payload)
        query = query.join(AlertRow, AlertRow.id == newest.scalar_subquery()).where(SiteVersion.current)
        return {row.site: row.payload for row in self._connection.execute(query)}

    def alerts(self, states: Iterable[str] | None = None) -> list[Payload]:
        """Alerts in the given states, or all alerts, oldest first."""
        query = select(AlertRow.payload).order_by(AlertRow.opened, AlertRow.id)
        if states is not None:
            query = query.where(AlertRow.state.in_(list(states)))
        return [row.payload for row in self._connection.execute(query)]

    def save_alert(self, alert: Payload) -> None:
        """Store an alert; its earlier state is replaced."""
        row = {key: alert[key] for key in ("id", "site", "state", "opened")}
        self._upsert(AlertRow, {**row, "payload": alert}, ("id",))

    def add_notice(self, notice: Payload, *, site: str) -> None:
        """Put a notice into the outbox, unless one of the same id is there."""
        row = {"id": notice["id"], "alert": notice["alert"]["id"], "site": site, "day": notice["day"]}
        self._upsert(NoticeRow, {**row, "payload": notice}, ("id",), keep=True)

    def count_notices(self, alert: str) -> int:
        """Number of notices of an alert, sent or not."""
        return self._connection.execute(select(func.count()).where(NoticeRow.alert == alert)).scalar_one()

    def unsent_notices(self) -> list[Payload]:
        """Notices that wait to be sent, oldest first."""
        query = select(NoticeRow.payload).where(NoticeRow.sent.is_(None)).order_by(NoticeRow.day, NoticeRow.id)
        return [row.payload for row in self._connection.execute(query)]

    def any_notice_sent(self, alert: str) -> bool:
        """Whether any notice of an alert was sent; withdrawn ones do not count."""
        query = select(NoticeRow.id).where(NoticeRow.alert == alert)
        query = query.where(NoticeRow.sent.is_not(None), NoticeRow.error.is_(None))
        return self._connection.execute(query).first() is not None

    def withdraw_notice(self, notice: str, *, why: str, now: str) -> None:
        """Take a notice that is out of date from the outbox without sending it."""
        self._change_notice(notice, sent=now, error=f"withdrawn: {why}")

    def mark_sent(self, notice: str, *, now: str, reported_day: str) -> None:
        """Mark a notice as sent; its message described the assessment of `reported_day`."""
        self._change_notice(notice, sent=now, reported_day=reported_day, error=None)

    def mark_unsent(self, notice: str, *, error: str) -> None:
        """Store why a notice could not be sent; the next run tries again."""
        self._change_notice(notice, error=error)

    def _change_notice(self, notice: str, **columns: str | None) -> None:
        self._connection.execute(update(NoticeRow).where(NoticeRow.id == notice).values(**columns))

    # runs

    def begin_run(self, run: str, kind: str, as_of: str, *, now: str) -> None:
        """Store that a run has begun."""
        self._upsert(RunRow, {"id": run, "kind": kind, "as_of": as_of, "started": now}, ("id",))

    def end_run(self, run: str, manifest: Payload, *, now: str) -> None:
        """Store the manifest of a run that has ended."""
        self._connection.execute(update(RunRow).where(RunRow.id == run).values(finished=now, manifest=manifest))

    def count_nights(self) -> int:
        """Number of nights that have begun."""
        return self._connection.execute(select(func.count()).where(RunRow.kind == "night")).scalar_one()

    def last_night(self, site: str) -> Payload | None:
        """Manifest of the newest finished night that included a site; None: there is none."""
        query = select(RunRow.manifest).where(RunRow.kind == "night", RunRow.manifest.is_not(None))
        for manifest in self._connection.execute(query.order_by(RunRow.started.desc())).scalars():
            if manifest is not None and any(entry["site"] == site for entry in manifest["sites"]):
                return dict(manifest)
        return None

    def last_activity(self) -> str | None:
        """Time at which a run last began or ended; None: there was no run."""
        times = self._connection.execute(select(func.max(RunRow.started), func.max(RunRow.finished))).one()
        return max(filter(None, times), default=None)

    def has_history(self) -> bool:
        """Whether any run has begun or any observation was stored."""
        return any(self._connection.execute(select(key).limit(1)).first() for key in (RunRow.id, SnapshotRow.ground))

    def _upsert(self, model: type[Base], row: Payload, keys: tuple[str, ...], *, keep: bool = False) -> None:
        """Insert a row; where one with the same `keys` exists, update it, or keep it as it is."""
        dialect = import_module(f"sqlalchemy.dialects.{self._connection.dialect.name}")  # both would take 40 ms
        table: Any = model.__table__
        statement: Any = dialect.insert(table)
        changed = {name: statement.excluded[name] for name in row if name not in keys}
        if keep:
            statement = statement.on_conflict_do_nothing(index_elements=list(keys))
        else:
            statement = statement.on_conflict_do_update(index_elements=list(keys), set_=changed)
        self._connection.execute(statement, [row])
