"""Lines of the chain of nights, and the records that they cover."""

from typing import Any

from sqlalchemy import insert, select

from monitor.ledger.models import AlertEventRow, AlertRow, ChainRow, PhotoRow, PromiseRow
from monitor.ledger.rows import Payload, Rows

_CHAIN_COLUMNS = [column for column in ChainRow.__table__.c if column.name != "leaves"]


class Chain(Rows):
    """Queries and changes of the chain of nights."""

    def chain(self) -> list[Payload]:
        """Lines of the chain, first one first: columns of :class:`ChainRow` without the leaves."""
        return self._rows(select(*_CHAIN_COLUMNS).order_by(ChainRow.number))

    def newest_chain_line(self) -> Payload | None:
        """The newest line of the chain, see :meth:`chain`; None: there is none."""
        return self._row(select(*_CHAIN_COLUMNS).order_by(ChainRow.number.desc()))

    def chain_leaves(self, number: int) -> bytes:
        """Leaves of a line of the chain."""
        return self._connection.execute(select(ChainRow.leaves).where(ChainRow.number == number)).scalar_one()

    def add_chain_line(self, line: Payload, **covered: Any) -> None:
        """Append a line to the chain; `covered`: its other columns of :class:`ChainRow`."""
        self._connection.execute(insert(ChainRow), [{**line, **covered}])

    def chained_promises(self, after: int, until: int | None = None, site: str | None = None) -> list[Payload]:
        """Promises with an id above `after` and up to `until`, about all sites or one, by id."""
        query = select(PromiseRow.__table__).where(PromiseRow.id > after).order_by(PromiseRow.id)
        query = query if until is None else query.where(PromiseRow.id <= until)
        return self._rows(query if site is None else query.where(PromiseRow.site == site))

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
