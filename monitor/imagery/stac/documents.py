"""Fetch and parse the JSON documents of a STAC catalogue, and read their values, which may have any type."""

import hashlib
import json
import math
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from monitor.errors import BadConfiguration, SceneRejected
from monitor.imagery.addresses import display_address, is_remote
from monitor.imagery.fetch_errors import FetchRefused
from monitor.imagery.transport import Fetcher

MAX_ANSWER_BYTES: Final = 16 << 20
"""Largest page of a search, item or catalogue file of a server: a hundred items have 3 MB, and parsed JSON that means
harm takes 25 times its size in memory. [byte]"""
MAX_DOCUMENT_BYTES: Final = 64 << 20  # largest local catalogue file [byte]
MAX_ID_LENGTH: Final = 128  # longest id that is stored [character]
MAX_TEXT_LENGTH: Final = 400  # longest text that is searched for a product name [character]
JSON_HEADERS: Final = {"Accept": "application/geo+json, application/json"}


def parse_json(text: str) -> Any:
    """Value of a JSON text; values beyond the standard (``NaN``) as Python's own parser reads them.

    Raises ValueError or RecursionError if it is not JSON, or nested too deeply.
    """
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return json.loads(text)


def read_document(fetcher: Fetcher, address: str) -> Mapping[str, Any]:
    """The JSON object at a remote address or in a local file.

    Errors as of :meth:`monitor.imagery.transport.Fetcher.get` and :meth:`monitor.imagery.transport.Fetcher.file`;
    FetchRefused also if it is too large or not UTF-8, BadConfiguration if it is not a JSON object.
    """
    if is_remote(address):
        body = fetcher.get(address, max_bytes=MAX_ANSWER_BYTES, headers=JSON_HEADERS).body
    else:
        path = fetcher.file(address)
        if path.stat().st_size > MAX_DOCUMENT_BYTES:
            raise FetchRefused(f"{display_address(address)} is larger than {MAX_DOCUMENT_BYTES:,} bytes")
        body = path.read_bytes()
    text = decode_text(body, address)
    try:
        document = parse_json(text)
    except (ValueError, RecursionError) as error:
        page = " but a web page: the address is wrong, or a proxy answers itself" if text.lstrip()[:1] == "<" else ""
        raise BadConfiguration(f"{display_address(address)} is not JSON{page}") from error
    if not isinstance(document, dict):
        raise BadConfiguration(f"{display_address(address)} is not STAC")
    return document


def decode_text(body: bytes, address: str) -> str:
    """Text of a body, FetchRefused if it is not UTF-8; `address` is for the message."""
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FetchRefused(f"{display_address(address)} is not text in UTF-8") from error


def links_by_relation(document: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    """Links of a document that have an address, by their relation."""
    links: dict[str, list[Mapping[str, Any]]] = {}
    for link in as_list(document.get("links")):
        if isinstance(link, dict) and isinstance(link.get("href"), str):
            links.setdefault(str(link.get("rel")), []).append(link)
    return links


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
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # an integer of more than 308 digits
        return None


def parse_time(text: str) -> datetime | None:
    """A time in ISO form, UTC, also where no zone is stated; None if the text is not one."""
    try:
        time = datetime.fromisoformat(text.strip())
        return (time.replace(tzinfo=UTC) if time.tzinfo is None else time).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def safe_text(value: object) -> str:
    """A text without control or direction characters, of limited length; safe to show anywhere.

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
