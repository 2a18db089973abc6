"""Find damage in a ledger: every row of every table is read."""

from collections.abc import Callable, Iterator
from datetime import date, datetime
from typing import Any

from sqlalchemy import Column, Connection, LargeBinary, String, Text, cast, select, type_coerce

from monitor.ledger.models import Base
from monitor.ledger.packed import Packed, unpacked

_DAYS = frozenset({"as_of", "start", "since", "night", "day", "date", "opened", "reported_day"})  # of 10 characters
_TIMES = frozenset({"started", "finished"})  # columns that hold times of runs


def damaged_rows(connection: Connection) -> Iterator[str]:
    """Describe each value whose checksum or form shows damage: table, key of the row, column, problem."""
    for table in Base.metadata.sorted_tables:
        keys = list(table.primary_key.columns)
        for column in table.columns:
            if (check := _check_of(column)) is None:
                continue
            stored = type_coerce(column, LargeBinary) if isinstance(column.type, Packed) else cast(column, Text)
            for *key, content in connection.execute(select(*keys, stored)):
                if content is None:
                    continue
                try:
                    check(content)
                except ValueError as error:
                    named = ", ".join(f"{k.name} {value!r}" for k, value in zip(keys, key, strict=True))
                    yield f"table {table.name}, {named}: {column.name} is damaged, {error}"


def _check_of(column: Column[Any]) -> Callable[[Any], object] | None:
    """Raises ValueError for a damaged value of a column; None: its values do not show damage."""
    if isinstance(column.type, Packed):
        return unpacked
    if column.name in _DAYS and isinstance(column.type, String) and column.type.length == 10:
        return date.fromisoformat
    return datetime.fromisoformat if column.name in _TIMES else None
