"""JSON objects of the ledger, each with a checksum of its own text.

A database notices a damaged page only where its structure suffers. A changed digit in a value passes for another
value, so the last member of every stored object is the CRC-32C of the text before it, compared whenever it is read.
All JSON columns hold objects. Any other text than an object with its seal, or an empty object, is damaged.
"""

import json
from typing import Any, Final

import google_crc32c

SEAL: Final = "crc32c"
"""Name of the last member of a stored object. Values that are read do not have it."""
_LENGTH: Final = len(f', "{SEAL}": "01234567"}}')


def sealed(value: dict[str, Any]) -> str:
    """Text of a JSON object; unless it is empty, it ends with its seal.

    >>> sealed({"n": 1})
    '{"n": 1, "crc32c": "82b96b25"}'
    """
    content = json.dumps(value)[:-1]
    return content + _seal(content) if value else "{}"


def unsealed(text: str | bytes) -> dict[str, Any]:
    """Object of a text from :func:`sealed`.

    Raises
    ------
    ValueError
        The text was damaged since it was stored, or was never sealed.
    """
    text = text if isinstance(text, str) else bytes(text).decode()
    if text == "{}":
        return {}
    content, seal = text[:-_LENGTH], text[-_LENGTH:]
    if seal != _seal(content):
        msg = "its checksum is not that of its content"
        raise ValueError(msg)
    value: dict[str, Any] = json.loads(content + "}")
    return value


def text_of(stored: bytes) -> str:
    """Text of SQLite, also where damage left no UTF-8: its checksum, or what reads it, then names it."""
    return stored.decode(errors="replace")


def _seal(content: str) -> str:
    return f', "{SEAL}": "{int(google_crc32c.value(content.encode("utf-8", "surrogatepass"))):08x}"}}'


JSON_OPTIONS: Final[dict[str, Any]] = {"json_serializer": sealed, "json_deserializer": unsealed}
"""Options of an SQLAlchemy engine by which JSON values are sealed and compared."""
