"""Queries and changes of the ledger within one transaction.

Parameters and results are plain values: sites, grounds and alerts are ids, days are ISO 8601, `payload` is the JSON of
the record. `ground` is the key of :func:`monitor.sites.site.ground_key`.
"""

import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from sqlalchemy import Connection, String, Text, cast, delete, func, insert, select, tuple_, update
from sqlalchemy.orm import aliased

from monitor.ledger.models import (
    AlertEventRow,
    AlertRow,
    AssessmentRow,
    Base,
    CalibrationRow,
    ChainRow,
    ControlsRow,
    EecuRow,
    EpisodeRow,
    FieldRow,
    GroundDataRow,
    LotRow,
    NoticeRow,
    PhotoRow,
    PromiseRow,
    RunRow,
    SelfCheckRow,
    SiteVersion,
    SnapshotRow,
)
from monitor.ledger.sealed_json import unsealed

type Payload = dict[str, Any]

_EVENT_COLUMNS = (
    AlertEventRow.alert, AlertEventRow.number, AlertEventRow.kind, AlertEventRow.time, AlertEventRow.link,
    AlertEventRow.payload,
)  # fmt: skip
_AS_STORED = [
    cast(column, Text).label(column.name) if column.name in ("payload", "left_out") else column
    for column in AssessmentRow.__table__.c
    if column.name != "run"
]
"""Columns of an assessment, its JSON as stored text: a damaged one does not stop the others."""
_REPEATS = ("escalated", "reminded", "handed_over")
"""Events by which nights repeat what is known, on days with or without an assessment."""
_MAX_DAMAGED = 10
"""Newest assessments of a site that are read, at most, to get one that is not damaged."""
_CHAIN_COLUMNS = [column for column in ChainRow.__table__.c if column.name != "leaves"]
_IDS_AT_ONCE: Final = 500
"""Rows that one statement deletes, at most."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A site that was added to the ledger at some time."""

    version: str
    start: str
    """First day of the intervention, ISO 8601."""
    current: bool
    """False: the site is retired."""


class Transaction:
    """One open transaction. Queries see the state at its beginning and its own changes.

    Of all methods: `site` and `lot` are ids, `ground` is a key of :func:`monitor.sites.site.ground_key`, `alert` an id
    of :func:`monitor.alerts.alert.alert_id`, `run` the id of a run; `day`, `as_of` and `start` are days
    (``2026-06-28``), `now`, `time` and the like times in UTC, both ISO 8601; `payload` is a record as plain JSON
    values. What arguments mean is said at the columns of :mod:`monitor.ledger.models`.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # sites and episodes

    def sites(self) -> list[Payload]:
        """Current version of each site, by id."""
        query = select(SiteVersion.payload).where(SiteVersion.current).order_by(SiteVersion.site)
        return [row.payload for row in self._connection.execute(query)]

    def sites_as_registered(self) -> list[str]:
        """Ids of all sites, retired ones included, in the order in which they were first added."""
        query = select(SiteVersion.site).group_by(SiteVersion.site).order_by(func.min(SiteVersion.id))
        return list(self._connection.execute(query).scalars())

    def site(self, site: str) -> Payload | None:
        """Current version of a site; None: it is retired or unknown."""
        query = select(SiteVersion.payload).where(SiteVersion.current, SiteVersion.site == site)
        return self._connection.execute(query).scalar()

    def site_version(self, site: str, version: str) -> Payload | None:
        """A version of a site, also one that is no longer current; None: it is unknown."""
        query = select(SiteVersion.payload).where(SiteVersion.site == site, SiteVersion.version == version)
        return self._connection.execute(query).scalar()

    def snapshot(self, ground: str) -> str | None:
        """Landscape and number of rows that a ground was last read from; None: it was never read."""
        return self._connection.execute(select(SnapshotRow.snapshot).where(SnapshotRow.ground == ground)).scalar()

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

    def store_version(self, site: str, version: str, payload: Payload, *, now: str) -> None:
        """Store a version of a site that assessments name, without making it the current one."""
        row = {"site": site, "version": version, "current": False, "added": now, "payload": payload}
        self._upsert(SiteVersion, row, ("site", "version"), keep=True)

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
        return self.all_episodes([site]).get(site, [])

    def all_episodes(self, sites: Collection[str] | None = None) -> dict[str, list[Payload]]:
        """Episodes of every site, or of some, see :meth:`episodes`."""
        return self._by_site(EpisodeRow, EpisodeRow.number, sites)

    def current_of(self, sites: Collection[str]) -> set[str]:
        """Those of some sites that were added and are not retired."""
        query = select(SiteVersion.site).where(SiteVersion.current, SiteVersion.site.in_(sites))
        return set(self._connection.execute(query).scalars())

    def begin_episode(self, site: str, number: int, *, start: str, budget: float, why: str, now: str) -> None:
        """Close the previous episode of a site and open episode `number`.

        `budget` is its share of the site's false-alarm budget [1], `why` the reason for closing the previous one.
        """
        previous = update(EpisodeRow).where(EpisodeRow.site == site, EpisodeRow.number == number - 1)
        self._connection.execute(previous.values(closed=now, why=why))
        row = {"site": site, "number": number, "start": start, "opened": now, "budget": budget}
        self._connection.execute(insert(EpisodeRow), [row])

    # promises

    def promises(self, site: str) -> list[Payload]:
        """Promises about a site, first one first; columns of :class:`PromiseRow`."""
        return self.all_promises([site]).get(site, [])

    def all_promises(self, sites: Collection[str] | None = None) -> dict[str, list[Payload]]:
        """Promises about every site that was judged, or those of some, see :meth:`promises`."""
        return self._by_site(PromiseRow, PromiseRow.id, sites)

    def add_promise(self, site: str, payload: Payload, **columns: Any) -> int:
        """Append a promise about a site; returns its number. `columns`: others of :class:`PromiseRow`."""
        number = len(self.promises(site)) + 1
        row = {"site": site, "number": number, "payload": payload, **columns}
        self._connection.execute(insert(PromiseRow), [row])
        return number

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

    def save_snapshots(self, snapshots: Mapping[str, tuple[str, str]]) -> None:
        """Store, by ground, the site and which landscape, and how many of its rows, it was last read from."""
        rows = [
            {"ground": ground, "site": site, "snapshot": snapshot} for ground, (site, snapshot) in snapshots.items()
        ]
        self._upsert_all(SnapshotRow, rows, ("ground",))

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

    def data_of(self, grounds: Collection[str]) -> dict[str, dict[str, Payload]]:
        """All data about some grounds, by ground and kind; a ground without any is there too."""
        query = select(GroundDataRow.ground, GroundDataRow.kind, GroundDataRow.payload)
        data: dict[str, dict[str, Payload]] = {ground: {} for ground in grounds}
        for row in self._connection.execute(query.where(GroundDataRow.ground.in_(grounds))):
            data[row.ground][row.kind] = row.payload
        return data

    def save_ground_data(self, ground: str, kind: str, payload: Payload) -> None:
        """Store data of one kind about a ground; earlier data of that kind is replaced."""
        self.save_data({(ground, kind): payload})

    def save_data(self, data: Mapping[tuple[str, str], Payload]) -> None:
        """Store data by ground and kind; earlier data is replaced."""
        rows = [{"ground": ground, "kind": kind, "payload": payload} for (ground, kind), payload in data.items()]
        self._upsert_all(GroundDataRow, rows, ("ground", "kind"))

    # constants of the verdict

    def calibrations(self) -> list[Payload]:
        """All constants of the verdict, in the order in which they were added; columns of :class:`CalibrationRow`."""
        table = CalibrationRow.__table__
        return [dict(row._mapping) for row in self._connection.execute(select(table).order_by(table.c.id))]

    def add_calibration(self, payload: Payload, **columns: Any) -> None:
        """Store constants, unless their tile, biome, season, number of stored sites and code have some already."""
        row = {**columns, "payload": payload}
        self._upsert(CalibrationRow, row, ("tile", "biome", "season", "stored", "made_from"), keep=True)

    # assessments

    def add_assessment(self, site: str, as_of: str, digest: str, payload: Payload, **origin: Any) -> bool:
        """Store an assessment; False if one of the same site, day and digest is stored already.

        What is damaged of that one is replaced: the same inputs give the same assessment. Its other columns stay
        as they were: the chain of nights covers them. `origin`: the other columns of :class:`AssessmentRow`.
        """
        row = {"site": site, "as_of": as_of, "digest": digest}
        stored = self._connection.execute(select(*_AS_STORED).filter_by(**row)).first()
        if stored is None:
            self._connection.execute(insert(AssessmentRow), [{**row, "payload": payload, **origin}])
        elif _sound(stored) is None:
            again = {"payload": payload, "left_out": origin.get("left_out")}
            damaged = {name: value for name, value in again.items() if not _is_sound(stored._mapping[name])}
            self._connection.execute(update(AssessmentRow).where(AssessmentRow.id == stored.id).values(**damaged))
        return stored is None

    def add_assessments(self, rows: Sequence[Payload]) -> set[str]:
        """Store assessments of one day, columns of :class:`AssessmentRow`; ids of the sites of which it is new.

        See :meth:`add_assessment`.
        """
        days = {row["as_of"] for row in rows}
        query = select(AssessmentRow.site, AssessmentRow.digest).where(AssessmentRow.as_of.in_(days))
        query = query.where(AssessmentRow.site.in_([row["site"] for row in rows]))
        stored = {tuple(row) for row in self._connection.execute(query)}
        new = [row for row in rows if (row["site"], row["digest"]) not in stored]
        for row in rows:
            if (row["site"], row["digest"]) in stored:
                self.add_assessment(**row)  # what is damaged of it is replaced
        if new:
            self._connection.execute(insert(AssessmentRow), new)
        return {row["site"] for row in new}

    def has_assessment(self, site: str, as_of: str, digest: str) -> bool:
        """Whether an assessment of a site, day and digest is stored, damaged or not."""
        query = select(AssessmentRow.id).filter_by(site=site, as_of=as_of, digest=digest)
        return self._connection.execute(query).first() is not None

    def latest_assessment(self, site: str) -> tuple[str, str, Payload] | None:
        """Day, digest and content of the newest assessment of a site that is not damaged; None: there is none."""
        row = next(self.sound_assessments(site), None)
        return None if row is None else (row["as_of"], row["digest"], row["payload"])

    def latest_of(self, sites: Collection[str]) -> dict[str, tuple[str, str, Payload]]:
        """:meth:`latest_assessment` of those of some sites that have one."""
        newest_first = (AssessmentRow.as_of.desc(), AssessmentRow.id.desc())
        rank = func.row_number().over(partition_by=AssessmentRow.site, order_by=newest_first).label("rank")
        ranked = select(AssessmentRow.id, rank).where(AssessmentRow.site.in_(sites)).subquery()
        query = select(*_AS_STORED).join(ranked, ranked.c.id == AssessmentRow.id).where(ranked.c.rank == 1)
        rows = {
            row.site: _sound(row) or next(self.sound_assessments(row.site), None)
            for row in self._connection.execute(query).all()
        }
        return {site: (row["as_of"], row["digest"], row["payload"]) for site, row in rows.items() if row is not None}

    def sound_assessments(self, site: str) -> Iterator[Payload]:
        """Assessments of a site that are not damaged, newest first; columns of :class:`AssessmentRow` without `run`."""
        query = select(*_AS_STORED).where(AssessmentRow.site == site)
        query = query.order_by(AssessmentRow.as_of.desc(), AssessmentRow.id.desc()).limit(_MAX_DAMAGED)
        for row in self._connection.execute(query):
            if (sound := _sound(row)) is not None:
                yield sound

    def assessments_of(self, site: str) -> list[Payload]:
        """All stored assessments of a site, the newest one last; columns of :class:`AssessmentRow`."""
        table = AssessmentRow.__table__
        query = select(table).where(table.c.site == site).order_by(table.c.as_of, table.c.id)
        return [dict(row._mapping) for row in self._connection.execute(query)]

    def assessments_on(self, site: str, day: str) -> list[Payload]:
        """The assessments of a site on a day, the newest one last; columns of :class:`AssessmentRow`."""
        table = AssessmentRow.__table__
        query = select(table).where(table.c.site == site, table.c.as_of == day).order_by(table.c.id)
        return [dict(row._mapping) for row in self._connection.execute(query)]

    def latest_assessments(self) -> dict[str, tuple[str, str, Payload]]:
        """Day, digest and content of the newest assessment that is not damaged, of every current site that has one."""
        rows = {site: row or next(self.sound_assessments(site), None) for site, (_, row) in self.latest_rows().items()}
        return {site: (row["as_of"], row["digest"], row["payload"]) for site, row in rows.items() if row is not None}

    def latest_rows(self) -> dict[str, tuple[str, Payload | None]]:
        """Day of the newest assessment of every current site that has one, and its row.

        Columns of :class:`AssessmentRow` without `run`; None: the row is damaged.
        """
        of_site = select(AssessmentRow.id).where(AssessmentRow.site == SiteVersion.site)
        newest = of_site.order_by(AssessmentRow.as_of.desc(), AssessmentRow.id.desc()).limit(1).correlate(SiteVersion)
        query = select(SiteVersion.site.label("current"), *_AS_STORED)
        query = query.join(AssessmentRow, AssessmentRow.id == newest.scalar_subquery()).where(SiteVersion.current)
        return {row.current: (row.as_of, _sound(row)) for row in self._connection.execute(query)}

    def edited_since_assessed(self) -> dict[str, Payload | None]:
        """Current sites that were edited since their newest assessment: the version that was judged; None: unknown."""
        of_site = select(AssessmentRow.id).where(AssessmentRow.site == SiteVersion.site)
        newest = of_site.order_by(AssessmentRow.as_of.desc(), AssessmentRow.id.desc()).limit(1).correlate(SiteVersion)
        judged = aliased(SiteVersion)
        query = select(SiteVersion.site, judged.payload)
        query = query.join(AssessmentRow, AssessmentRow.id == newest.scalar_subquery())
        same = (judged.site == AssessmentRow.site) & (judged.version == AssessmentRow.version)
        query = query.outerjoin(judged, same).where(SiteVersion.current, AssessmentRow.version != SiteVersion.version)
        return {row.site: row.payload for row in self._connection.execute(query)}

    def statuses_on(self, day: str) -> dict[str, str]:
        """Status that each current site had at the end of a day; sites not assessed until then are left out."""
        of_site = select(AssessmentRow.id).where(AssessmentRow.site == SiteVersion.site, AssessmentRow.as_of <= day)
        newest = of_site.order_by(AssessmentRow.as_of.desc(), AssessmentRow.id.desc()).limit(1).correlate(SiteVersion)
        query = select(SiteVersion.site, AssessmentRow.payload)  # read whole, so that its seal is compared
        query = query.join(AssessmentRow, AssessmentRow.id == newest.scalar_subquery()).where(SiteVersion.current)
        return {site: payload["status"] for site, payload in self._connection.execute(query)}

    def assessed_before(self, day: str) -> set[str]:
        """Current sites with an assessment of an earlier day."""
        earlier = select(AssessmentRow.id).where(AssessmentRow.site == SiteVersion.site, AssessmentRow.as_of < day)
        query = select(SiteVersion.site).where(SiteVersion.current, earlier.exists())
        return {row.site for row in self._connection.execute(query)}

    def losses_before(self, sites: Collection[str], day: str) -> dict[str, str | None]:
        """First scene of a sudden loss in the newest assessment before a day, by current site; None: none is known."""
        of_site = select(AssessmentRow.id).where(AssessmentRow.site == SiteVersion.site, AssessmentRow.as_of < day)
        newest = of_site.order_by(AssessmentRow.as_of.desc(), AssessmentRow.id.desc()).limit(1).correlate(SiteVersion)
        query = select(SiteVersion.site, AssessmentRow.payload)
        query = query.outerjoin(AssessmentRow, AssessmentRow.id == newest.scalar_subquery())
        query = query.where(SiteVersion.current, SiteVersion.site.in_(sites))
        return {site: (payload or {}).get("loss_on") for site, payload in self._connection.execute(query)}

    def sites_that_could_fall(self, day: str) -> set[str]:
        """Current sites whose alerts the night of a day could open or make worse.

        Those whose assessment of that day rests on other scenes than the one of the last day before, or is the first;
        on the first night of all, every site.
        """
        if self._connection.execute(select(AssessmentRow.id).where(AssessmentRow.as_of < day).limit(1)).first() is None:
            return set(self.versions())
        of_site = select(AssessmentRow.id).where(AssessmentRow.site == SiteVersion.site)
        of_site = of_site.order_by(AssessmentRow.as_of.desc(), AssessmentRow.id.desc()).limit(1).correlate(SiteVersion)
        new, old = aliased(AssessmentRow), aliased(AssessmentRow)
        query = select(SiteVersion.site).where(SiteVersion.current)
        query = query.join(new, new.id == of_site.where(AssessmentRow.as_of == day).scalar_subquery())
        query = query.outerjoin(old, old.id == of_site.where(AssessmentRow.as_of < day).scalar_subquery())
        scenes = [func.coalesce(row.payload["n_scenes"].as_integer(), -1) for row in (old, new)]
        newest = [func.coalesce(row.payload["last_observed"].as_string(), "") for row in (old, new)]
        query = query.where((scenes[0] != scenes[1]) | (newest[0] != newest[1]))
        return set(self._connection.execute(query).scalars())

    def sites_that_fell(self, day: str) -> set[str]:
        """Sites of which an alert opened, opened again or got worse on a day; alerts of lots do not count."""
        query = select(AlertRow.site).join(AlertEventRow, AlertEventRow.alert == AlertRow.id)
        query = query.where(AlertRow.payload["rule"].as_string() != "lot")
        query = query.where(AlertEventRow.kind.in_(("opened", "worsened", "reopened")))
        query = query.where(AlertEventRow.payload["day"].as_string() == day)
        return set(self._connection.execute(query).scalars())

    def first_assessed(self) -> dict[str, str]:
        """Day of the first assessment of each site that has one."""
        query = select(AssessmentRow.site, func.min(AssessmentRow.as_of)).group_by(AssessmentRow.site)
        return {site: day for site, day in self._connection.execute(query)}

    # lots

    def add_lot_verdict(self, lot: str, as_of: str, digest: str, payload: Payload, *, run: str) -> None:
        """Append a verdict on a lot, unless that of the same day and digest is stored already."""
        row = {"lot": lot, "as_of": as_of, "digest": digest, "run": run, "payload": payload}
        self._upsert(LotRow, row, ("lot", "as_of", "digest"), keep=True)

    def latest_lot_verdict(self, lot: str) -> Payload | None:
        """Newest verdict on a lot; None: it was not judged yet."""
        query = select(LotRow.payload).where(LotRow.lot == lot).order_by(LotRow.as_of.desc(), LotRow.id.desc())
        return self._connection.execute(query.limit(1)).scalar()

    def latest_lot_verdicts(self) -> dict[str, tuple[str, str, Payload]]:
        """Day, digest and content of the newest verdict on every lot that was ever judged."""
        other = aliased(LotRow)
        newest = select(other.id).where(other.lot == LotRow.lot).order_by(other.as_of.desc(), other.id.desc()).limit(1)
        query = select(LotRow.lot, LotRow.as_of, LotRow.digest, LotRow.payload)
        query = query.where(LotRow.id == newest.correlate(LotRow).scalar_subquery()).order_by(LotRow.lot)
        return {row.lot: (row.as_of, row.digest, row.payload) for row in self._connection.execute(query)}

    # self-checks

    def last_self_check(self) -> Payload | None:
        """The self-check of the latest night that did one; columns of :class:`SelfCheckRow`. None: there was none."""
        table = SelfCheckRow.__table__
        row = self._connection.execute(select(table).order_by(table.c.day.desc()).limit(1)).first()
        return None if row is None else dict(row._mapping)

    def add_self_check(self, day: str, site: str, payload: Payload) -> None:
        """Store the self-check of a night, unless it has one."""
        self._upsert(SelfCheckRow, {"day": day, "site": site, "payload": payload}, ("day",), keep=True)

    # alerts

    def alert(self, alert: str) -> Payload | None:
        """Alert with an id; None: there is none."""
        return self._connection.execute(select(AlertRow.payload).where(AlertRow.id == alert)).scalar()

    def alerts_of(self, site: str) -> list[Payload]:
        """All alerts of a site, resolved or not, by id."""
        query = select(AlertRow.payload).where(AlertRow.site == site).order_by(AlertRow.id)
        return list(self._connection.execute(query).scalars())

    def alerts_by_site(self, sites: Collection[str]) -> dict[str, list[Payload]]:
        """:meth:`alerts_of` some sites; a site without any is there too."""
        query = select(AlertRow.site, AlertRow.payload).where(AlertRow.site.in_(sites)).order_by(AlertRow.id)
        alerts: dict[str, list[Payload]] = {site: [] for site in sites}
        for row in self._connection.execute(query):
            alerts[row.site].append(row.payload)
        return alerts

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

    def add_event(self, alert: str, kind: str, payload: Payload, *, time: str, link: str | None = None) -> int:
        """Append an event to an alert; returns its number."""
        query = select(func.count()).where(AlertEventRow.alert == alert)
        number = self._connection.execute(query).scalar_one() + 1
        row = {"alert": alert, "number": number, "kind": kind, "time": time, "link": link, "payload": payload}
        self._connection.execute(insert(AlertEventRow), [row])
        return number

    def events(self, alert: str) -> list[Payload]:
        """Events of an alert, first one first: ``number, kind, time, link`` and the entries of their payload."""
        query = select(*_EVENT_COLUMNS).where(AlertEventRow.alert == alert).order_by(AlertEventRow.number)
        return [_event(row) for row in self._connection.execute(query)]

    def all_events(self) -> list[Payload]:
        """Events of all alerts, oldest first, see :meth:`events`; each also with ``alert``."""
        return [_event(row) for row in self._connection.execute(select(*_EVENT_COLUMNS).order_by(AlertEventRow.id))]

    def events_after(self, time: str) -> list[Payload]:
        """Events of all alerts that were recorded after a time, oldest first, see :meth:`all_events`."""
        query = select(*_EVENT_COLUMNS).where(AlertEventRow.time > time)
        return [_event(row) for row in self._connection.execute(query.order_by(AlertEventRow.id))]

    def answers(self) -> list[Payload]:
        """Answers to all alerts, oldest first; each as in :meth:`events`, with ``alert``."""
        query = select(*_EVENT_COLUMNS).where(AlertEventRow.kind == "answered").order_by(AlertEventRow.id)
        return [_event(row) for row in self._connection.execute(query)]

    def link_was_used(self, link: str) -> bool:
        """Whether an answer came by this link already."""
        query = select(AlertEventRow.id).where(AlertEventRow.link == link)
        return self._connection.execute(query).first() is not None

    def add_photo(self, photo: Payload) -> None:
        """Store a photo of an answer, unless the alert has it already; columns of :class:`PhotoRow`."""
        self._upsert(PhotoRow, photo, ("id", "alert"), keep=True)

    def photos(self, alert: str) -> list[Payload]:
        """Photos of the answers to an alert; columns of :class:`PhotoRow`."""
        table = PhotoRow.__table__
        query = select(table).where(table.c.alert == alert).order_by(table.c.number, table.c.id)
        return [dict(row._mapping) for row in self._connection.execute(query)]

    def photo_list(self) -> list[Payload]:
        """Photos of all answers without their content; the other columns of :class:`PhotoRow`."""
        columns = [column for column in PhotoRow.__table__.c if column.name != "content"]
        query = select(*columns).order_by(PhotoRow.alert, PhotoRow.number, PhotoRow.id)
        return [dict(row._mapping) for row in self._connection.execute(query)]

    # the chain of nights

    def chain(self) -> list[Payload]:
        """Lines of the chain, first one first: columns of :class:`ChainRow` without the leaves."""
        query = select(*_CHAIN_COLUMNS).order_by(ChainRow.number)
        return [dict(row._mapping) for row in self._connection.execute(query)]

    def newest_chain_line(self) -> Payload | None:
        """The newest line of the chain, see :meth:`chain`; None: there is none."""
        row = self._connection.execute(select(*_CHAIN_COLUMNS).order_by(ChainRow.number.desc()).limit(1)).first()
        return None if row is None else dict(row._mapping)

    def newest_nights(self, limit: int) -> list[str]:
        """Days of the nights of the newest lines of the chain, at most `limit`, newest line first."""
        query = select(ChainRow.night).order_by(ChainRow.number.desc()).limit(limit)
        return list(self._connection.execute(query).scalars())

    def has_chain_line(self, night: str) -> bool:
        """Whether a line of the chain was appended by the night of a day."""
        return self._connection.execute(select(ChainRow.number).where(ChainRow.night == night)).first() is not None

    def chain_leaves(self, number: int) -> bytes:
        """Leaves of a line of the chain."""
        return self._connection.execute(select(ChainRow.leaves).where(ChainRow.number == number)).scalar_one()

    def add_chain_line(self, line: Payload, **covered: Any) -> None:
        """Append a line to the chain; `covered`: its other columns of :class:`ChainRow`."""
        self._connection.execute(insert(ChainRow), [{**line, **covered}])

    def chained_promises(self, after: int, until: int | None = None, site: str | None = None) -> list[Payload]:
        """Promises with an id above `after` and up to `until`, about all sites or one, by id."""
        table = PromiseRow.__table__
        query = select(table).where(table.c.id > after).order_by(table.c.id)
        query = query if until is None else query.where(table.c.id <= until)
        query = query if site is None else query.where(table.c.site == site)
        return [dict(row._mapping) for row in self._connection.execute(query)]

    def chained_assessments(self, after: int, until: int | None = None, site: str | None = None) -> list[Payload]:
        """Assessments with an id above `after` and up to `until`, of all sites or of one, by id.

        Columns of :class:`AssessmentRow` without `run`, which the chain does not fix. The JSON of a damaged one is the
        stored text, which no line covers.
        """
        query = select(*_AS_STORED).where(AssessmentRow.id > after).order_by(AssessmentRow.id)
        query = query if until is None else query.where(AssessmentRow.id <= until)
        query = query if site is None else query.where(AssessmentRow.site == site)
        return [_sound(row) or dict(row._mapping) for row in self._connection.execute(query)]

    def lines_to_thin(self, before: str, limit: int) -> list[Payload]:
        """The first lines of the chain that are not thinned yet, up to the first of a night on or after `before`.

        At most `limit` lines, see :meth:`chain`, and each with ``after``: the `last_assessment` of the line before it.
        The newest line of all is never among them.
        """
        done = select(ChainRow.number, ChainRow.last_assessment).where(ChainRow.thinned.is_not(None))
        last = self._connection.execute(done.order_by(ChainRow.number.desc()).limit(1)).first()
        number, after = last or (0, 0)
        newest = select(func.max(ChainRow.number)).scalar_subquery()
        query = select(*_CHAIN_COLUMNS).where(ChainRow.number > number, ChainRow.number < newest)
        lines: list[Payload] = []
        for row in self._connection.execute(query.order_by(ChainRow.number).limit(limit)):
            if row.night >= before:
                break
            lines.append({**row._mapping, "after": after})
            after = row.last_assessment
        return lines

    def assessment_states(self, after: int, until: int) -> list[Payload]:
        """What decides whether an assessment stays: of those with an id above `after` and up to `until`, by id.

        Each has ``id, site, as_of``; ``changed``: its status, alert, alert rule or episode differs from that of the
        stored assessment of the site before it, or it is the first, or one of the two is damaged; ``last_of_month``.
        """
        this, before, later = aliased(AssessmentRow), aliased(AssessmentRow), aliased(AssessmentRow)
        place = tuple_(this.as_of, this.id)
        previous = select(before.id).where(before.site == this.site, tuple_(before.as_of, before.id) < place)
        previous = previous.order_by(before.as_of.desc(), before.id.desc()).limit(1)
        same_month = later.as_of <= func.substr(this.as_of, 1, 7, type_=String).concat("-31")
        follows = select(later.id).where(later.site == this.site, tuple_(later.as_of, later.id) > place, same_month)
        query = select(
            this.id, this.site, this.as_of, cast(this.payload, Text).label("now"),
            cast(before.payload, Text).label("then"), follows.exists().label("followed"),
        )  # fmt: skip
        query = query.outerjoin(before, before.id == previous.correlate(this).scalar_subquery())
        query = query.where(this.id > after, this.id <= until).order_by(this.id)
        return [
            {
                "id": row.id, "site": row.site, "as_of": row.as_of, "last_of_month": not row.followed,
                "changed": (state := _state(row.now)) is None or state != _state(row.then),
            }
            for row in self._connection.execute(query)
        ]  # fmt: skip

    def named_days(self, days: Collection[str]) -> set[tuple[str, str]]:
        """Site and day of what is recorded of some days.

        Events of the alerts of the site, messages about it, self-checks of its assessment, measurements in the field.
        """
        event_day, checked_day = AlertEventRow.payload["day"].as_string(), SelfCheckRow.payload["as_of"].as_string()
        events = select(AlertRow.site, event_day).join(AlertEventRow, AlertEventRow.alert == AlertRow.id)
        queries = [
            events.where(event_day.in_(days)),
            select(NoticeRow.site, NoticeRow.day).where(NoticeRow.day.in_(days)),
            select(NoticeRow.site, NoticeRow.reported_day).where(NoticeRow.reported_day.in_(days)),
            select(SelfCheckRow.site, checked_day).where(checked_day.in_(days)),
            select(FieldRow.site, FieldRow.date).where(FieldRow.date.in_(days)),
        ]
        return {(site, day) for query in queries for site, day in self._connection.execute(query)}

    def is_thinned_since(self, day: str) -> bool:
        """Whether assessments of nights of a day or later are stored in the chain only."""
        query = select(ChainRow.number).where(ChainRow.night >= day, ChainRow.thinned > 0)
        return self._connection.execute(query.limit(1)).first() is not None

    def thin_line(self, number: int, assessments: Collection[int]) -> None:
        """Delete some assessments that a line of the chain covers, by id; the line says how many."""
        ids = sorted(assessments)
        for at in range(0, len(ids), _IDS_AT_ONCE):
            these = AssessmentRow.id.in_(ids[at : at + _IDS_AT_ONCE])
            self._connection.execute(delete(AssessmentRow).where(these))
        self._connection.execute(update(ChainRow).where(ChainRow.number == number).values(thinned=len(ids)))

    def events_without_assessment(self) -> list[Payload]:
        """Events of sites' alerts, by a night, of a day for which no assessment of the site is stored.

        Each has ``alert, number, site, day``.
        """
        day = AlertEventRow.payload["day"].as_string()
        there = select(AssessmentRow.id).where(AssessmentRow.site == AlertRow.site, AssessmentRow.as_of == day)
        query = select(AlertEventRow.alert, AlertEventRow.number, AlertRow.site, day.label("day"))
        query = query.join(AlertRow, AlertRow.id == AlertEventRow.alert)
        query = query.where(AlertEventRow.payload["by"].as_string() == "night", AlertEventRow.kind.not_in(_REPEATS))
        query = query.where(AlertRow.payload["rule"].as_string() != "lot", ~there.exists())
        return [dict(row._mapping) for row in self._connection.execute(query.order_by(AlertEventRow.id))]

    def chained_answers(self, after: int, until: int | None = None, site: str | None = None) -> list[Payload]:
        """Answers to alerts with an id above `after` and up to `until`, of all sites and lots or of one, by id.

        Each has ``id, alert, number, time, payload``, and ``photos``: the SHA-256 of each of its photos, ascending.
        """
        event, photo = AlertEventRow, PhotoRow
        with_photos = (photo.alert == event.alert) & (photo.number == event.number)
        query = select(event.id, event.alert, event.number, event.time, event.payload, photo.id.label("photo"))
        query = query.outerjoin(photo, with_photos).order_by(event.id, photo.id)
        query = query.where(event.kind == "answered", event.id > after)
        query = query if until is None else query.where(event.id <= until)
        query = query if site is None else query.join(AlertRow, AlertRow.id == event.alert).where(AlertRow.site == site)
        answers: dict[int, Payload] = {}
        for row in self._connection.execute(query):
            answer = dict(row._mapping)
            photos = [picture] if (picture := answer.pop("photo")) else []
            answers.setdefault(row.id, {**answer, "photos": []})["photos"] += photos
        return list(answers.values())

    # the outbox

    def add_notice(
        self,
        event: str,
        kind: str,
        payload: Payload,
        *,
        day: str,
        recipients: Iterable[tuple[str, str]],
        site: str | None = None,
        alert: str | None = None,
    ) -> int:
        """Put a notice for each recipient (channel, address) into the outbox, unless the event is there for it.

        Returns the number of recipients that are new.
        """
        known = select(NoticeRow.channel, NoticeRow.recipient).where(NoticeRow.event == event)
        there = {tuple(row) for row in self._connection.execute(known)}
        rows = [
            {
                "event": event, "channel": channel, "recipient": address, "kind": kind, "day": day, "site": site,
                "alert": alert, "payload": payload, "link": secrets.token_hex(8), "state": "waiting", "attempts": 0,
            }
            for channel, address in dict.fromkeys(recipients)
            if (channel, address) not in there
        ]  # fmt: skip
        if rows:
            self._connection.execute(insert(NoticeRow), rows)
        return len(rows)

    def notices(self, *states: str) -> list[Payload]:
        """Notices in the given states, oldest first; columns of :class:`NoticeRow`."""
        table = NoticeRow.__table__
        query = select(table).where(table.c.state.in_(states)).order_by(table.c.day, table.c.id)
        return [dict(row._mapping) for row in self._connection.execute(query)]

    def notice_of_link(self, link: str) -> Payload | None:
        """Notice that an answer link belongs to; columns of :class:`NoticeRow`. None: there is none."""
        table = NoticeRow.__table__
        row = self._connection.execute(select(table).where(table.c.link == link)).first()
        return None if row is None else dict(row._mapping)

    def notices_of(self, message: str) -> list[Payload]:
        """Notices of one message, in any state; columns of :class:`NoticeRow`."""
        table = NoticeRow.__table__
        query = select(table).where(table.c.message == message).order_by(table.c.day, table.c.id)
        return [dict(row._mapping) for row in self._connection.execute(query)]

    def all_notices(self) -> list[Payload]:
        """Every notice, oldest first; columns of :class:`NoticeRow` without the payload."""
        columns = [column for column in NoticeRow.__table__.columns if column.name != "payload"]
        query = select(*columns).order_by(NoticeRow.day, NoticeRow.id)
        return [dict(row._mapping) for row in self._connection.execute(query)]

    def change_notices(self, ids: Iterable[int], *, leased_until: str | None = None, **columns: Any) -> int:
        """Set columns of :class:`NoticeRow` of some notices; returns how many were changed.

        With `leased_until` only those that still have this lease are changed: another sender may have taken them over.
        """
        changed = update(NoticeRow).where(NoticeRow.id.in_(list(ids)))
        if leased_until is not None:
            changed = changed.where(NoticeRow.lease == leased_until)
        return self._connection.execute(changed.values(**columns)).rowcount

    def count_messages(self, *states: str) -> int:
        """Number of messages with notices in the given states; a notice without a message counts as one."""
        waits = NoticeRow.state.in_(states)
        grouped = select(func.count(NoticeRow.message.distinct())).where(waits)
        alone = select(func.count()).where(waits, NoticeRow.message.is_(None))
        return self._connection.execute(grouped).scalar_one() + self._connection.execute(alone).scalar_one()

    def count_grouped(self, kind: str, *, day: str, channel: str, recipient: str) -> int:
        """Number of notices of a kind to one recipient on one day that have a message already."""
        query = select(func.count()).where(
            NoticeRow.kind == kind, NoticeRow.day == day, NoticeRow.channel == channel,
            NoticeRow.recipient == recipient, NoticeRow.message.is_not(None), NoticeRow.state != "withdrawn",
        )  # fmt: skip
        return self._connection.execute(query).scalar_one()

    def first_message(self, alert: str, *, channel: str, recipient: str) -> str | None:
        """Id of the first message about an alert that was sent to a recipient; None: there is none."""
        query = select(NoticeRow.message).where(
            NoticeRow.alert == alert, NoticeRow.channel == channel, NoticeRow.recipient == recipient,
            NoticeRow.state == "sent",
        )  # fmt: skip
        return self._connection.execute(query.order_by(NoticeRow.id).limit(1)).scalar()

    def notices_about(self, alert: str) -> list[Payload]:
        """Notices about an alert, oldest first; columns of :class:`NoticeRow`."""
        table = NoticeRow.__table__
        query = select(table).where(table.c.alert == alert).order_by(table.c.id)
        return [dict(row._mapping) for row in self._connection.execute(query)]

    def last_message_days(self) -> dict[tuple[str, str], str]:
        """Newest day of the notices to each recipient (channel, address) that were sent or are to be sent."""
        query = select(NoticeRow.channel, NoticeRow.recipient, func.max(NoticeRow.day))
        query = query.where(NoticeRow.state.in_(("waiting", "held", "sent")))
        rows = self._connection.execute(query.group_by(NoticeRow.channel, NoticeRow.recipient))
        return {(channel, recipient): day for channel, recipient, day in rows}

    def any_notice_sent(self, alert: str) -> bool:
        """Whether any notice of an alert was sent."""
        query = select(NoticeRow.id).where(NoticeRow.alert == alert, NoticeRow.state == "sent")
        return self._connection.execute(query).first() is not None

    # measurements on the ground

    def field_rows(self, site: str | None = None) -> list[Payload]:
        """Measurements of a site, or of all sites, by site and date; columns of :class:`FieldRow`."""
        by_site = self.field_rows_of(None if site is None else [site])
        return [row for rows in by_site.values() for row in rows]

    def field_rows_of(self, sites: Collection[str] | None = None) -> dict[str, list[Payload]]:
        """Measurements of all sites, or of some, by site, those of each by date; columns of :class:`FieldRow`."""
        return self._by_site(FieldRow, FieldRow.date, sites)

    def add_field_rows(self, rows: Iterable[Payload]) -> list[Payload]:
        """Append the measurements whose digest is not stored yet; returns them."""
        stored = set(self._connection.execute(select(FieldRow.digest)).scalars())
        fresh = {row["digest"]: row for row in rows if row["digest"] not in stored}
        if fresh:
            self._connection.execute(insert(FieldRow), list(fresh.values()))
        return list(fresh.values())

    # runs

    def begin_run(self, run: str, kind: str, as_of: str, *, now: str) -> None:
        """Store that a run has begun, unless that is stored."""
        self._upsert(RunRow, {"id": run, "kind": kind, "as_of": as_of, "started": now}, ("id",), keep=True)

    def end_run(
        self,
        run: str,
        *,
        status: int,
        now: str,
        manifest: Payload | None = None,
        summary: Payload | None = None,
        error: str | None = None,
    ) -> None:
        """Store how a run ended, unless it has: its exit status, and its manifest with a summary or its error."""
        ended = {"finished": now, "status": status, "manifest": manifest, "summary": summary, "error": error}
        running = (RunRow.id == run) & RunRow.finished.is_(None)
        self._connection.execute(update(RunRow).where(running).values(**ended))

    def empty_manifests(self, before: str) -> None:
        """Remove the manifests of runs of days before `before`, except the newest of a night; summaries stay."""
        old = (RunRow.as_of < before) & RunRow.manifest.is_not(None)
        newest = select(RunRow.id).where(old, RunRow.kind == "night")
        newest = newest.order_by(RunRow.as_of.desc(), RunRow.started.desc()).limit(1)
        emptied = update(RunRow).where(old, RunRow.id != func.coalesce(newest.scalar_subquery(), ""))
        self._connection.execute(emptied.values(manifest=None))

    def newest_night(self) -> Payload | None:
        """The night that began last; columns of :class:`RunRow`. None: there was none."""
        table = RunRow.__table__
        query = select(table).where(table.c.kind == "night").order_by(table.c.started.desc()).limit(1)
        row = self._connection.execute(query).first()
        return None if row is None else dict(row._mapping)

    def unfinished_nights(self) -> list[Payload]:
        """Nights that did not end, the oldest first: columns of :class:`RunRow`."""
        table = RunRow.__table__
        query = select(table).where(table.c.kind == "night", table.c.finished.is_(None)).order_by(table.c.started)
        return [dict(row._mapping) for row in self._connection.execute(query)]

    def nights(self, limit: int) -> list[Payload]:
        """The nights that began last, newest first: columns of :class:`RunRow` without the manifest."""
        table = RunRow.__table__
        columns = [column for column in table.c if column.name != "manifest"]
        query = select(*columns).where(table.c.kind == "night").order_by(table.c.started.desc()).limit(limit)
        return [dict(row._mapping) for row in self._connection.execute(query)]

    def finished_night_before(self, day: str) -> Payload | None:
        """Columns of :class:`RunRow` of the last night before that of a day that ran to its end; None: none did.

        A night of an earlier day that was run later does not count.
        """
        first = select(func.min(RunRow.started)).where(RunRow.kind == "night", RunRow.as_of == day).scalar_subquery()
        query = select(RunRow.__table__).where(RunRow.kind == "night", RunRow.manifest.is_not(None))
        query = query.where(RunRow.as_of < day, RunRow.started < func.coalesce(first, "9"))
        query = query.order_by(RunRow.as_of.desc(), RunRow.started.desc()).limit(1)
        row = self._connection.execute(query).first()
        return None if row is None else dict(row._mapping)

    def last_success_day(self) -> str | None:
        """Latest day of a night that ended with exit status 0; None: none has."""
        query = select(func.max(RunRow.as_of)).where(RunRow.kind == "night", RunRow.status == 0)
        return self._connection.execute(query).scalar()

    def last_success(self) -> str | None:
        """Time at which a night last ended with exit status 0; None: none has."""
        query = select(func.max(RunRow.finished)).where(RunRow.kind == "night", RunRow.status == 0)
        return self._connection.execute(query).scalar()

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

    def run_at(self, time: str) -> str | None:
        """Id of a run that began or ended at a time, which has its kind and day; None: there is none."""
        return self._connection.execute(
            select(RunRow.id).where((RunRow.started == time) | (RunRow.finished == time)).limit(1)
        ).scalar()

    def has_history(self) -> bool:
        """Whether any run has begun or any observation was stored."""
        return any(self._connection.execute(select(key).limit(1)).first() for key in (RunRow.id, SnapshotRow.ground))

    def eecu_seconds(self, month: str) -> float:
        """Computing time of Earth Engine that the runs of a month (``2026-11``) have used, estimated. [EECU s]"""
        query = select(EecuRow.seconds).where(EecuRow.month == month)
        return self._connection.execute(query).scalar() or 0.0

    def add_eecu_seconds(self, month: str, seconds: float) -> None:
        """Add to the computing time of a month. [EECU s]"""
        self._upsert(EecuRow, {"month": month, "seconds": 0.0}, ("month",), keep=True)
        added = EecuRow.seconds + seconds
        self._connection.execute(update(EecuRow).where(EecuRow.month == month).values(seconds=added))

    def _by_site(self, model: Any, order: Any, sites: Collection[str] | None) -> dict[str, list[Payload]]:
        """Rows of a table with a column `site`, those of all sites or of some, by site."""
        query = select(model.__table__).order_by(model.site, order, model.id)
        query = query if sites is None else query.where(model.site.in_(sites))
        rows: dict[str, list[Payload]] = {}
        for row in self._connection.execute(query):
            rows.setdefault(row.site, []).append(dict(row._mapping))
        return rows

    def _upsert(self, model: type[Base], row: Payload, keys: tuple[str, ...], *, keep: bool = False) -> None:
        """Insert a row; where one with the same `keys` exists, update it, or keep it as it is."""
        self._upsert_all(model, [row], keys, keep=keep)

    def _upsert_all(
        self, model: type[Base], rows: Sequence[Payload], keys: tuple[str, ...], *, keep: bool = False
    ) -> None:  # fmt: skip
        """:meth:`_upsert` for rows with the same columns."""
        if not rows:
            return
        dialect = import_module(f"sqlalchemy.dialects.{self._connection.dialect.name}")  # both would take 40 ms
        table: Any = model.__table__
        statement: Any = dialect.insert(table)
        changed = {name: statement.excluded[name] for name in rows[0] if name not in keys}
        if keep:
            statement = statement.on_conflict_do_nothing(index_elements=list(keys))
        else:
            statement = statement.on_conflict_do_update(index_elements=list(keys), set_=changed)
        self._connection.execute(statement, list(rows))


def _state(payload: str | None) -> tuple[Any, ...] | None:
    """What makes a change of an assessment, from its stored text; None: there is none, or it is damaged."""
    try:
        values = unsealed(payload or "")
    except ValueError:
        return None
    return tuple(values.get(name) for name in ("status", "alert", "alert_rule", "episode"))


def _event(row: Any) -> Payload:
    columns = dict(row._mapping)
    return {**columns.pop("payload"), **columns}


def _is_sound(content: str) -> bool:
    """Whether a stored JSON value is as it was stored."""
    try:
        unsealed(content)
    except ValueError:
        return False
    return True


def _sound(row: Any) -> Payload | None:
    """Values of a row with the columns :data:`_AS_STORED`; None: its JSON is damaged."""
    columns = {column.name: row._mapping[column.name] for column in _AS_STORED}
    try:
        return columns | {name: unsealed(columns[name]) for name in ("payload", "left_out")}
    except ValueError:
        return None
