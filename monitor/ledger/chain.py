"""Lines of the chain of nights, and the records that they cover."""

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import String, Text, cast, delete, func, insert, select, tuple_, update
from sqlalchemy.orm import aliased

from monitor.ledger.models import (
    AlertEventRow,
    AlertRow,
    AssessmentRow,
    ChainRow,
    FieldRow,
    NoticeRow,
    PhotoRow,
    PromiseRow,
    SelfCheckRow,
)
from monitor.ledger.rows import Payload, Rows
from monitor.ledger.sealed_json import unsealed

_REPEATS = ("escalated", "reminded", "handed_over")
"""Events by which nights repeat what is known, on days with or without an assessment."""
_CHAIN_COLUMNS = [column for column in ChainRow.__table__.c if column.name != "leaves"]
_IDS_AT_ONCE: Final = 500
"""Rows that one statement deletes, at most."""


class Chain(Rows):
    """Queries and changes of the chain of nights."""

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


def _state(payload: str | None) -> tuple[Any, ...] | None:
    """What makes a change of an assessment, from its stored text; None: there is none, or it is damaged."""
    try:
        values = unsealed(payload or "")
    except ValueError:
        return None
    return tuple(values.get(name) for name in ("status", "alert", "alert_rule", "episode"))
