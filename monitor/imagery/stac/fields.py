"""Read values of an item's JSON, in which any value may have any type."""

import hashlib
import math
import unicodedata
from collections.abc import Mapping
from typing import Any, Final

from monitor.errors import SceneRejected

MAX_ID_LENGTH: Final = 128
"""Longest id that is stored. [character]"""
MAX_TEXT_LENGTH: Final = 400
"""Longest text that is searched for a product name. [character]"""


def as_mapping(value: object) -> dict[str, Any]:
    """A JSON object; empty if the value is not one."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """A JSON array; empty if the value is not one."""
    return value if isinstance(value, list) else []


def first_value(properties: Mapping[str, Any], *keys: str) -> Any:
    """Value of the first key that is present and not null; None if there is none."""
    for key in keys:
        if (value := properties.get(key)) is not None:
            return value
    return None


def first_text(properties: Mapping[str, Any], *keys: str) -> str:
    """The same as text of limited length; empty if it is absent, or neither text nor a whole number."""
    value = first_value(properties, *keys)
    return str(value)[:MAX_TEXT_LENGTH] if isinstance(value, str | int) else ""


def as_number(value: object) -> float | None:
    """A finite number; None if the value is not one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def safe_text(value: object) -> str:
    """A text without control or direction characters, of limited length; safe to show anywhere.

    Examples
    --------
    >>> safe_text("S2A" + chr(13) + chr(10) + "Bcc: x" + chr(0x202E))
    'S2ABcc: x'
    """
    if not isinstance(value, str | int | float):
        return ""
    text = str(value)
    if not (text.isascii() and text.isprintable()):
        text = "".join(letter for letter in text if unicodedata.category(letter)[0] not in "CZ" or letter == " ")
    text = text.strip()
    if len(text) <= MAX_ID_LENGTH:
        return text
    return f"{text[: MAX_ID_LENGTH - 17]}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def listed_keys(assets: Mapping[str, Any]) -> str:
    """Keys of the first assets of an item, for a message."""
    names = [safe_text(key) for key in assets][:12]
    return ", ".join(names) + (", ..." if len(assets) > len(names) else "") if names else "none"


def item_rejected(reason: str, why: str) -> SceneRejected:
    """The error for an item that cannot be used."""
    return SceneRejected(reason, f"the item {why}")
