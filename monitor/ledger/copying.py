"""Copy all rows of a ledger into another one, of either database."""

from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import Connection, func, insert, select, text

from monitor.errors import BadConfiguration
from monitor.ledger.ledger import Ledger
from monitor.ledger.models import Base, LedgerRow

ROWS_AT_ONCE: Final = 500
_TABLES: Final = [table for table in Base.metadata.sorted_tables if table is not LedgerRow.__table__]


def is_empty(ledger: Ledger) -> bool:
    """Whether no table of a ledger has a row."""
    with ledger.reading() as t:
        return _is_empty(t._connection)


def copy_rows(source: Ledger, target: Ledger) -> int:
    """Copy all rows into an empty ledger (BadConfiguration: it is not), in one transaction of each; their number."""
    copied = 0
    with source.reading() as old, target.transaction() as new:
        if not _is_empty(new._connection):
            raise BadConfiguration(f"the ledger {target.name} is not empty; it stays as it is")
        for table in _TABLES:
            for rows in _batches(old._connection, table):
                new._connection.execute(insert(table), rows)
                copied += len(rows)
        if new._connection.dialect.name == "postgresql":
            _advance_sequences(new._connection)
    return copied


def _is_empty(connection: Connection) -> bool:
    return not any(connection.execute(select(table).limit(1)).first() for table in _TABLES)


def _batches(connection: Connection, table: Any) -> Iterator[list[dict[str, Any]]]:
    query = select(table).order_by(*table.primary_key.columns)
    result = connection.execution_options(yield_per=ROWS_AT_ONCE).execute(query)
    for rows in result.mappings().partitions():
        yield [dict(row) for row in rows]


def _advance_sequences(connection: Connection) -> None:
    """Let PostgreSQL number new rows after the copied ones, which came with their numbers."""
    for table in _TABLES:
        key = table.autoincrement_column
        if key is not None and (highest := connection.execute(select(func.max(key))).scalar()) is not None:
            advance = text("select setval(pg_get_serial_sequence(:table, :column), :highest)")
            connection.execute(advance, {"table": table.name, "column": key.name, "highest": highest})
