"""Assessments of the sites and of the lots, and self-checks of them.

The assessments of the sites of one landscape and night are one row, compressed: those of neighbours differ little. The
state of a site (status, alert, hectares, episode) also has a table of its changes.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from itertools import accumulate
from typing import Any, Final

from sqlalchemy import LargeBinary, Row, Select, func, insert, select, type_coerce, update
from sqlalchemy.orm import aliased

from monitor.ledger.models import AssessmentsRow, LotRow, SelfCheckRow, SiteVersion, StateRow
from monitor.ledger.packed import unpacked
from monitor.ledger.rows import Payload, Rows

LAST_DAY: Final = "9999-12-31"  # no day is later


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """State of a site from a day on, as its assessment says; None as there."""

    landscape: str
    version: str  # version of the site
    status: str | None
    alert: str | None
    alert_rule: str | None
    hectares: float | None
    episode: int | None
    loss_on: str | None  # first scene of a sudden loss, ISO 8601


_STATE = tuple(State.__annotations__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAssessment:
    """One assessment of a site, and what it was made from."""

    site: str
    as_of: str  # day, ISO 8601
    digest: str  # hash of everything that it depends on
    version: str  # version of the site
    snapshot: str  # landscape and number of its rows that were read
    left_out: dict[str, Any] = field(default_factory=dict)  # by control unit, first day (ISO 8601) without it
    payload: Payload  # the assessment as JSON values; empty: it is damaged
    row: int = 0  # id of its row; 0: it is not stored yet

    @property
    def landscape(self) -> str:
        """Name of the landscape of its snapshot."""
        return self.snapshot.rpartition(":")[0]

    @property
    def state(self) -> State:
        """State of the site by it."""
        values = {name: self.payload.get(name) for name in _STATE[2:]}
        return State(landscape=self.landscape, version=self.version, **values)

    @property
    def record(self) -> Payload:
        """Everything but the id of its row, by name: the chain of nights covers it."""
        names = ("site", "as_of", "digest", "version", "snapshot", "left_out", "payload")
        return {name: getattr(self, name) for name in names}


class Assessments(Rows):
    """Queries and changes of assessments, verdicts on lots and self-checks."""

    def add_assessments(self, assessments: Sequence[StoredAssessment], *, run: str) -> set[str]:
        """Store assessments of one day and landscape as one row; ids of the sites of which it is new.

        One with the site and digest of a stored one is not stored again. If a stored row is damaged and all its
        assessments are among these, it is written again: the same inputs give the same assessment.
        """
        if not assessments:
            return set()
        as_of, landscape = assessments[0].as_of, assessments[0].landscape
        payloads = {(one.site, one.digest): one.payload for one in assessments}
        of_day = _assessments(AssessmentsRow.as_of == as_of, _of_sites([one.site for one in assessments]))
        for row in self._connection.execute(of_day).all():
            stored = {(one.site, one.digest): one.payload for one in _unpacked(row)}
            if not all(stored.values()) and payloads.keys() >= stored.keys():
                again = update(AssessmentsRow).where(AssessmentsRow.id == row.id)
                self._connection.execute(again.values(payloads=[payloads[key] for key in stored]))
            assessments = [one for one in assessments if (one.site, one.digest) not in stored]
        if assessments:
            new = {
                "landscape": landscape, "as_of": as_of, "run": run, "payloads": [one.payload for one in assessments],
                "origins": [[one.site, one.digest, one.version, one.snapshot, one.left_out] for one in assessments],
            }  # fmt: skip
            self._connection.execute(insert(AssessmentsRow), [new])
            self._add_states(as_of, assessments)
        return {one.site for one in assessments}

    def _add_states(self, as_of: str, assessments: Sequence[StoredAssessment]) -> None:
        """Store the states that differ from those before."""
        sites = [one.site for one in assessments]
        before, next_days = self.states(sites, until=as_of), self._next_days(as_of, assessments)
        rows: list[Payload] = []
        for one in assessments:
            known = before.get(one.site)
            if one.state != known:
                rows.append({"site": one.site, "since": as_of, **asdict(one.state)})
                if known is not None and one.site in next_days:  # of an earlier day: the state after it stays
                    rows.append({"site": one.site, "since": next_days[one.site], **asdict(known)})
        if rows:
            newest = self._connection.execute(select(newest_night())).scalar_one()
            self._connection.execute(insert(StateRow), [{**row, "newest_night": newest} for row in rows])

    def _next_days(self, as_of: str, assessments: Sequence[StoredAssessment]) -> dict[str, str]:
        """Day of the next assessment of each site that has a later one, unless its state changes on that day."""
        sites = {one.site for one in assessments}
        later = select(AssessmentsRow.as_of, AssessmentsRow.origins).order_by(AssessmentsRow.as_of)
        later = later.where(AssessmentsRow.as_of > as_of, AssessmentsRow.landscape == assessments[0].landscape)
        days: dict[str, str] = {}
        for row in self._connection.execute(later):
            for site in sites.intersection(origin[0] for origin in row.origins):
                days.setdefault(site, row.as_of)
        changes = select(StateRow.site, StateRow.since).where(StateRow.since > as_of, StateRow.site.in_(sites))
        for site, since in self._connection.execute(changes):
            if since <= days.get(site, ""):
                del days[site]
        return days

    def states(self, sites: Collection[str] | None = None, *, until: str = LAST_DAY) -> dict[str, State]:
        """State of every current site, or of some sites, at the end of a day; one not assessed by then is left out."""
        wanted = (
            select(SiteVersion.site).where(SiteVersion.current).subquery()
            if sites is None
            else select(StateRow.site).where(StateRow.site.in_(list(sites))).distinct().subquery()
        )
        other = aliased(StateRow)
        newest = select(other.id).where(other.site == wanted.c.site, other.since <= until)
        newest = newest.order_by(other.since.desc(), other.id.desc()).limit(1).correlate(wanted)
        columns = [StateRow.__table__.c[name] for name in _STATE]
        query = select(wanted.c.site, *columns).select_from(wanted)
        rows = self._connection.execute(query.join(StateRow, StateRow.id == newest.scalar_subquery()))
        return {site: State(**dict(zip(_STATE, values, strict=True))) for site, *values in rows}

    def night_days(self) -> list[str]:
        """Days of the nights with an assessment, ascending, without those that were run after a later one."""
        first = func.min(AssessmentsRow.id)
        days = self._connection.execute(select(AssessmentsRow.as_of).group_by(AssessmentsRow.as_of).order_by(first))
        return sorted(set(accumulate(days.scalars(), max)))

    def state_changes(self) -> list[Payload]:
        """All states by site, each where it begins: columns of :class:`StateRow`; of one day the last one counts."""
        row = StateRow
        query = select(row.site, row.since, row.newest_night, row.version, row.status, row.episode)
        return self._rows(query.order_by(row.site, row.since, row.id))

    def first_assessed(self) -> dict[str, str]:
        """Day of the first assessment of each site that has one."""
        return self._pairs(select(StateRow.site, func.min(StateRow.since)).group_by(StateRow.site))

    def newest_day(self) -> str | None:
        """Day of the newest assessment of any site; None: there is none."""
        return self._connection.execute(select(func.max(AssessmentsRow.as_of))).scalar()

    def latest_assessment(self, site: str) -> StoredAssessment | None:
        """The newest assessment of a site that is not damaged; None: there is none."""
        return self.latest_assessments([site]).get(site)

    def latest_assessments(
        self, sites: Collection[str] | None = None, *, until: str = LAST_DAY, damaged: bool = False
    ) -> dict[str, StoredAssessment]:
        """The newest assessment up to a day of every current site, or of some sites, that has one.

        One that is damaged is passed over for the newest that is not, unless `damaged`.
        """
        missing: dict[str, set[str]] = {}
        for site, state in self.states(sites, until=until).items():
            missing.setdefault(state.landscape, set()).add(site)
        latest: dict[str, StoredAssessment] = {}
        for landscape, theirs in missing.items():
            for one in self._newest_first(_assessments(AssessmentsRow.landscape == landscape), until):
                if one.site in theirs and (one.payload or damaged):
                    latest[one.site] = one
                    theirs.remove(one.site)
                if not theirs:
                    break
        return latest

    def earlier_assessments(self, site: str) -> Iterator[StoredAssessment]:
        """All assessments of a site that are not damaged, the newest first."""
        every = self._newest_first(_assessments(_of_sites([site])), LAST_DAY)
        return (one for one in every if one.site == site and one.payload)

    def _newest_first(self, query: Select[Any], until: str) -> Iterator[StoredAssessment]:
        """Assessments of a query up to a day, the newest first; few rows are read at a time."""
        query = query.where(AssessmentsRow.as_of <= until)
        query = query.order_by(AssessmentsRow.as_of.desc(), AssessmentsRow.id.desc())
        with self._connection.execute(query, execution_options={"yield_per": 2}) as rows:
            for row in rows:
                yield from _unpacked(row)

    def assessments_of(self, site: str, *, day: str | None = None) -> list[StoredAssessment]:
        """All assessments of a site, or those of a day, damaged ones too, the newest one last."""
        query = _assessments(_of_sites([site])).order_by(AssessmentsRow.as_of, AssessmentsRow.id)
        query = query if day is None else query.where(AssessmentsRow.as_of == day)
        return [one for row in self._connection.execute(query) for one in _unpacked(row) if one.site == site]

    def chained_assessments(self, after: int, until: int | None = None) -> list[StoredAssessment]:
        """Assessments in rows with an id above `after` and up to `until`, by id."""
        query = _assessments(AssessmentsRow.id > after).order_by(AssessmentsRow.id)
        query = query if until is None else query.where(AssessmentsRow.id <= until)
        return [one for row in self._connection.execute(query) for one in _unpacked(row)]

    def sites_that_could_fall(self, day: str) -> set[str]:
        """Current sites whose alerts the night of a day could open or make worse.

        Those whose assessment of that day rests on other scenes than the one of the last day before, or is the first;
        on the first night of all, every site.
        """
        if self._row(select(StateRow.id).where(StateRow.since < day)) is None:
            return set(self._connection.execute(select(SiteVersion.site).where(SiteVersion.current)).scalars())
        latest = self.latest_assessments(until=day)
        judged = {site: _scenes(one) for site, one in latest.items() if one.as_of == day}
        before = (date.fromisoformat(day) - timedelta(days=1)).isoformat()
        earlier = {site: _scenes(one) for site, one in self.latest_assessments(judged, until=before).items()}
        return {site for site, scenes in judged.items() if scenes != earlier.get(site)}

    # lots

    def add_lot_verdict(self, lot: str, as_of: str, digest: str, payload: Payload, *, run: str) -> None:
        """Append a verdict on a lot, unless that of the same day and digest is stored already."""
        row = {"lot": lot, "as_of": as_of, "digest": digest, "run": run, "payload": payload}
        self._upsert(LotRow, [row], ("lot", "as_of", "digest"), keep=True)

    def latest_lot_verdicts(self) -> dict[str, tuple[str, str, Payload]]:
        """Day, digest and content of the newest verdict on every lot that was ever judged."""
        other = aliased(LotRow)
        newest = select(other.id).where(other.lot == LotRow.lot).order_by(other.as_of.desc(), other.id.desc()).limit(1)
        query = select(LotRow.lot, LotRow.as_of, LotRow.digest, LotRow.payload)
        query = query.where(LotRow.id == newest.correlate(LotRow).scalar_subquery()).order_by(LotRow.lot)
        return {row.lot: (row.as_of, row.digest, row.payload) for row in self._connection.execute(query)}

    def last_self_check(self) -> Payload | None:
        """The self-check of the latest night that did one; columns of :class:`SelfCheckRow`. None: there was none."""
        return self._row(select(SelfCheckRow.__table__).order_by(SelfCheckRow.day.desc()))

    def add_self_check(self, day: str, site: str, payload: Payload) -> None:
        """Store the self-check of a night, unless it has one."""
        self._upsert(SelfCheckRow, [{"day": day, "site": site, "payload": payload}], ("day",), keep=True)


def newest_night() -> Any:
    """Query of the day of the newest night with an assessment; an empty text without one."""
    return func.coalesce(select(func.max(AssessmentsRow.as_of)).scalar_subquery(), "")


def _assessments(*where: Any) -> Select[Any]:
    """Query of rows of assessments; their payloads are stored bytes, so that a damaged row does not stop the others."""
    payloads = type_coerce(AssessmentsRow.payloads, LargeBinary).label("payloads")
    return select(AssessmentsRow.id, AssessmentsRow.as_of, AssessmentsRow.origins, payloads).where(*where)


def _of_sites(sites: Sequence[str]) -> Any:
    """Rows of the landscapes that some sites were ever assessed in."""
    return AssessmentsRow.landscape.in_(select(StateRow.landscape).where(StateRow.site.in_(sites)))


def _unpacked(row: Row[Any]) -> list[StoredAssessment]:
    """Assessments of a row."""
    try:
        payloads = unpacked(row.payloads)
    except ValueError:
        payloads = [{}] * len(row.origins)
    return [
        StoredAssessment(
            site=site, as_of=row.as_of, digest=digest, version=version, snapshot=snapshot, left_out=left_out,
            payload=payload, row=row.id,
        )
        for (site, digest, version, snapshot, left_out), payload in zip(row.origins, payloads, strict=True)
    ]  # fmt: skip


def _scenes(assessment: StoredAssessment) -> tuple[Any, Any]:
    """Number of scenes that an assessment rests on, and day of the newest."""
    return assessment.payload.get("n_scenes"), assessment.payload.get("last_observed")
