"""Assessments of the sites and of the lots, and self-checks of them."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Text, cast, func, insert, select, update
from sqlalchemy.orm import aliased

from monitor.ledger.models import AssessmentRow, LotRow, SelfCheckRow, SiteVersion
from monitor.ledger.rows import Payload, Rows
from monitor.ledger.sealed_json import unsealed

_AS_STORED = [
    cast(column, Text).label(column.name) if column.name in ("payload", "left_out") else column
    for column in AssessmentRow.__table__.c
    if column.name != "run"
]
"""Columns of an assessment, its JSON as stored text: a damaged one does not stop the others."""
_MAX_DAMAGED: Final = 10
"""Newest assessments of a site that are read, at most, to get one that is not damaged."""


class Assessments(Rows):
    """Queries and changes of assessments, verdicts on lots and self-checks."""

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

    def chained_assessments(self, after: int, until: int | None = None, site: str | None = None) -> list[Payload]:
        """Assessments with an id above `after` and up to `until`, of all sites or of one, by id.

        Columns of :class:`AssessmentRow` without `run`, which the chain does not fix. The JSON of a damaged one is the
        stored text, which no line covers.
        """
        query = select(*_AS_STORED).where(AssessmentRow.id > after).order_by(AssessmentRow.id)
        query = query if until is None else query.where(AssessmentRow.id <= until)
        query = query if site is None else query.where(AssessmentRow.site == site)
        return [_sound(row) or dict(row._mapping) for row in self._connection.execute(query)]

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
            return set(self._connection.execute(select(SiteVersion.site).where(SiteVersion.current)).scalars())
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

    def first_assessed(self) -> dict[str, str]:
        """Day of the first assessment of each site that has one."""
        query = select(AssessmentRow.site, func.min(AssessmentRow.as_of)).group_by(AssessmentRow.site)
        return {site: day for site, day in self._connection.execute(query)}

    def add_lot_verdict(self, lot: str, as_of: str, digest: str, payload: Payload, *, run: str) -> None:
        """Append a verdict on a lot, unless that of the same day and digest is stored already."""
        row = {"lot": lot, "as_of": as_of, "digest": digest, "run": run, "payload": payload}
        self._upsert(LotRow, row, ("lot", "as_of", "digest"), keep=True)

    def latest_lot_verdicts(self) -> dict[str, tuple[str, str, Payload]]:
        """Day, digest and content of the newest verdict on every lot that was ever judged."""
        other = aliased(LotRow)
        newest = select(other.id).where(other.lot == LotRow.lot).order_by(other.as_of.desc(), other.id.desc()).limit(1)
        query = select(LotRow.lot, LotRow.as_of, LotRow.digest, LotRow.payload)
        query = query.where(LotRow.id == newest.correlate(LotRow).scalar_subquery()).order_by(LotRow.lot)
        return {row.lot: (row.as_of, row.digest, row.payload) for row in self._connection.execute(query)}

    def last_self_check(self) -> Payload | None:
        """The self-check of the latest night that did one; columns of :class:`SelfCheckRow`. None: there was none."""
        table = SelfCheckRow.__table__
        row = self._connection.execute(select(table).order_by(table.c.day.desc()).limit(1)).first()
        return None if row is None else dict(row._mapping)

    def add_self_check(self, day: str, site: str, payload: Payload) -> None:
        """Store the self-check of a night, unless it has one."""
        self._upsert(SelfCheckRow, {"day": day, "site": site, "payload": payload}, ("day",), keep=True)


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
