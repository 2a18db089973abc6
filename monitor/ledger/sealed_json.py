"""JSON values of the ledger, each with a checksum of its own text.

A database notices a damaged page only where its structure suffers. A changed digit in a value passes for another
value, so the last member of every stored object is the CRC-32C of the text before it, compared whenever it is read.
A text without that member, from an edit or an older version, is read as it is: the chain of nights covers edits.
"""

import json
from typing import Any, Final

import google_crc32c

SEAL: Final = "crc32c"
"""Name of the last member of a stored object. Values that are read do not have it."""
_LENGTH: Final = len(f', "{SEAL}": "01234567"}}')
_MOST_DAMAGED: Final = 8
"""Characters in which a seal that does not fit may differ from the right one; an unsealed text differs in more."""


def sealed(value: Any) -> str:
    """Text of a JSON value; an object that is not empty ends with its seal.

    >>> sealed({"n": 1})
    '{"n": 1, "crc32c": "82b96b25"}'
    """
    text = json.dumps(value)
    return text[:-1] + _seal(text[:-1]) if isinstance(value, dict) and value else text


def unsealed(text: str | bytes) -> Any:
    """Value of a text from :func:`sealed`, or of plain JSON.

    Raises
    ------
    ValueError
        The text was damaged since it was stored.
    """
    text = text if isinstance(text, str) else bytes(text).decode()
    content, seal = text[:-_LENGTH], text[-_LENGTH:]
    right = _seal(content)
    if seal == right:
        return json.loads(content + "}")
    if len(seal) == _LENGTH and sum(a != b for a, b in zip(seal, right, strict=True)) <= _MOST_DAMAGED:
        msg = "its checksum is not that of its content"
        raise ValueError(msg)
    value = json.loads(text)
    if isinstance(value, dict):
        value.pop(SEAL, None)
    return value


def text_of(stored: bytes) -> str:
    """Text of SQLite, also where damage left no UTF-8: its checksum, or what reads it, then names it."""
    return stored.decode(errors="replace")


def _seal(content: str) -> str:
    return f', "{SEAL}": "{int(google_crc32c.value(content.encode("utf-8", "surrogatepass"))):08x}"}}'


JSON_OPTIONS: Final[dict[str, Any]] = {"json_serializer": sealed, "json_deserializer": unsealed}
"""Options of an SQLAlchemy engine by which JSON values are sealed and compared."""
