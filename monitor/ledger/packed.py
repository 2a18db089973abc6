"""JSON values of the ledger as compressed bytes.

A database notices a damaged page only where its structure suffers. The checksum of zlib is compared whenever a value is
read, so that damage does not pass for another value.
"""

import json
import zlib
from typing import Any

from sqlalchemy import Dialect, LargeBinary
from sqlalchemy.types import TypeDecorator


def packed(value: Any) -> bytes:
    """A JSON value as compressed bytes."""
    return zlib.compress(json.dumps(value).encode())


def unpacked(content: bytes) -> Any:
    """Value of bytes from :func:`packed`; ValueError where they were damaged since."""
    try:
        return json.loads(zlib.decompress(content))
    except (zlib.error, TypeError) as error:  # TypeError: damage made it a text
        raise ValueError(f"its checksum is not that of its content ({error})") from error


class Packed(TypeDecorator[Any]):
    """A column with a JSON value as compressed bytes, or NULL."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> bytes | None:
        """Bytes to store."""
        return None if value is None else packed(value)

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> Any:
        """Value of stored bytes."""
        return None if value is None else unpacked(value)
