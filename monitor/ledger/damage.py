"""What is damaged in a ledger: every row of every table is read."""

from collections.abc import Iterator
from datetime import date, datetime

from sqlalchemy import JSON, Connection, String, Text, cast, select

from monitor.ledger.models import Base
from monitor.ledger.sealed_json import unsealed

_DAYS = frozenset({"as_of", "start", "night", "day", "date", "opened", "reported_day"})
"""Columns of ten characters that hold days."""
_TIMES = frozenset({"started", "finished"})
"""Columns that hold times of runs."""


def damaged_rows(connection: Connection) -> Iterator[str]:
    """Each value that is not as it was stored, as far as its row alone shows: by checksum or form.

    Yields
    ------
    str
        Table, key of the row, column, and the problem.
    """
    for table in Base.metadata.sorted_tables:
        keys = list(table.primary_key.columns)
        for column in table.columns:
            is_json = isinstance(column.type, JSON)
            is_day = column.name in _DAYS and isinstance(column.type, String) and column.type.length == 10
            if not (is_json or is_day or column.name in _TIMES):
                continue
            check = unsealed if is_json else date.fromisoformat if is_day else datetime.fromisoformat
            for *key, content in connection.execute(select(*keys, cast(column, Text))):
                if content is None:
                    continue
                try:
                    check(content)
                except ValueError as error:
                    named = ", ".join(f"{k.name} {value!r}" for k, value in zip(keys, key, strict=True))
                    yield f"table {table.name}, {named}: {column.name} is damaged, {error}"
