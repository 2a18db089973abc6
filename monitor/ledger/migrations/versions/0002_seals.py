"""Every JSON object ends with its seal; the table ``eecu`` and the column ``thinned`` of the chain.

Ledgers of version 0001 have these or not, depending on the day on which they were created.
"""

import json
from typing import Any

from alembic import op
from sqlalchemy import JSON, Column, Float, Integer, MetaData, String, Table, Text, cast, select, update

from monitor.ledger.sealed_json import SEAL

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLES = (
    "sites", "episodes", "controls", "stored", "background", "calibrations", "runs", "assessments", "self_checks",
    "lots", "alerts", "alert_events", "photos", "chain", "field_rows", "outbox", "eecu",
)  # fmt: skip
"""Tables of the ledger: a database may also have those of other programs."""
ROWS_AT_ONCE = 1000
"""Rows in memory at a time."""


def upgrade() -> None:
    tables = MetaData()
    tables.reflect(op.get_bind(), only=lambda name, _: name in TABLES)
    if "eecu" not in tables.tables:
        op.create_table("eecu", Column("month", String(7), primary_key=True), Column("seconds", Float, nullable=False))
    if "thinned" not in tables.tables["chain"].columns:
        op.add_column("chain", Column("thinned", Integer))
    for table in tables.sorted_tables:
        for column in [column for column in table.columns if isinstance(column.type, JSON)]:
            _seal(table, column)


def _seal(table: Table, column: Column[Any]) -> None:
    """Seal the values of a column that have no seal. One whose seal does not fit, or without JSON, stays as it is."""
    connection, keys = op.get_bind(), list(table.primary_key.columns)
    query = select(*keys, cast(column, Text)).where(column.is_not(None))
    for *values, text in connection.execute(query, execution_options={"yield_per": ROWS_AT_ONCE}):
        try:
            value = json.loads(text)
        except ValueError:
            continue
        if isinstance(value, dict) and text != "{}" and SEAL not in value:  # the engine seals what it writes
            row = [key == own for key, own in zip(keys, values, strict=True)]
            connection.execute(update(table).where(*row).values({column: value}))
