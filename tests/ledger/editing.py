"""Edits of a ledger by somebody who knows how its JSON is sealed."""

import json
from typing import Any

from sqlalchemy import JSON, Connection, Text, cast, select, text, update

from monitor.ledger.models import Base
from monitor.ledger.sealed_json import SEAL, sealed


def edit(connection: Connection, statement: str, **values: Any) -> int:
    """Execute a statement and seal again the JSON that it changed; returns the number of changed rows.

    The connection is that of a ledger, which seals what it writes.
    """
    changed = connection.execute(text(statement), values).rowcount
    for table in Base.metadata.sorted_tables:
        for column in (column for column in table.columns if isinstance(column.type, JSON)):
            keys = list(table.primary_key.columns)
            for *key, content in connection.execute(select(*keys, cast(column, Text)).where(column.is_not(None))).all():
                value = json.loads(content)
                value.pop(SEAL, None)
                if sealed(value) != content:
                    row = [one == own for one, own in zip(keys, key, strict=True)]
                    connection.execute(update(table).where(*row).values({column: value}))
    return changed
