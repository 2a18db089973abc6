"""Rows of the tables, as the queries of a transaction read and write them."""

from collections.abc import Collection, Sequence
from importlib import import_module
from typing import Any

from sqlalchemy import Connection, Select, select

from monitor.ledger.models import Base

type Payload = dict[str, Any]
type Query = Select[*tuple[Any, ...]]


class Rows:
    """Base class of the queries and changes within a transaction.

    Parameters and results are plain values: `site`, `lot`, `alert` and `run` are ids, `ground` is a key of
    :func:`monitor.sites.site.ground_key`; `day`, `as_of` and `start` are days (``2026-06-28``), `now`, `time` and the
    like times in UTC, both ISO 8601; `payload` is a record as plain JSON values. See :mod:`monitor.ledger.models`.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def _rows(self, query: Query) -> list[Payload]:
        """Rows of a query, by name of the column."""
        return [dict(row) for row in self._connection.execute(query).mappings()]

    def _scalar(self, query: Query) -> Any:
        """First column of the first row of a query; None: there is none."""
        return self._connection.execute(query).scalar()

    def _pairs(self, query: Query) -> dict[Any, Any]:
        """Second column of the rows of a query, by the first."""
        return {key: value for key, value in self._connection.execute(query)}

    def _row(self, query: Query) -> Payload | None:
        """First row of a query, see :meth:`_rows`; None: there is none."""
        return next(iter(self._rows(query.limit(1))), None)

    def _by_site(self, model: Any, order: Any, sites: Collection[str] | None) -> dict[str, list[Payload]]:
        """Rows of a table with a column `site`, those of all sites or of some, by site."""
        query = select(model.__table__).order_by(model.site, order, model.id)
        query = query if sites is None else query.where(model.site.in_(sites))
        rows: dict[str, list[Payload]] = {}
        for row in self._rows(query):
            rows.setdefault(row["site"], []).append(row)
        return rows

    def _upsert(self, model: type[Base], rows: Sequence[Payload], keys: tuple[str, ...], *, keep: bool = False) -> None:
        """Insert rows with the same columns; where one with the same `keys` exists, update it, or keep it as it is."""
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
