"""Fetch and parse the JSON documents of a STAC catalogue."""

import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from monitor.errors import BadConfiguration
from monitor.imagery.addresses import display_address, is_remote
from monitor.imagery.fetch_errors import FetchRefused
from monitor.imagery.stac.fields import as_list
from monitor.imagery.transport import Fetcher

MAX_DOCUMENT_BYTES: Final = 64 << 20
"""Largest page of a search, item or catalogue file. [byte]"""
JSON_HEADERS: Final = {"Accept": "application/geo+json, application/json"}


def read_text(fetcher: Fetcher, address: str) -> str:
    """Text at a remote address or in a local file.

    Raises
    ------
    FetchRefused, NotFound, AccessDenied, RequestRejected, TryLater
        See :meth:`monitor.imagery.transport.Fetcher.get` and :meth:`monitor.imagery.transport.Fetcher.file`;
        `FetchRefused` also if it is too large or not UTF-8.
    """
    if is_remote(address):
        response = fetcher.get(address, max_bytes=MAX_DOCUMENT_BYTES, headers=JSON_HEADERS)
        return decode_text(response.body, address)
    path = fetcher.file(address)
    if path.stat().st_size > MAX_DOCUMENT_BYTES:
        msg = f"{display_address(address)} is larger than {MAX_DOCUMENT_BYTES:,} bytes"
        raise FetchRefused(msg)
    return decode_text(path.read_bytes(), address)


def parse_json(text: str) -> Any:
    """Value of a JSON text; values beyond the standard (``NaN``) as Python's own parser reads them.

    Raises
    ------
    ValueError, RecursionError
        It is not JSON, or nested too deeply.
    """
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return json.loads(text)


def parse_document(text: str, address: str) -> Mapping[str, Any]:
    """The JSON object in a text; `address` is for the message.

    Raises
    ------
    BadConfiguration
        It is not a JSON object.
    """
    try:
        document = parse_json(text)
    except (ValueError, RecursionError) as error:
        msg = f"{display_address(address)} is no JSON"
        raise BadConfiguration(msg) from error
    if not isinstance(document, dict):
        msg = f"{display_address(address)} is no STAC"
        raise BadConfiguration(msg)
    return document


def decode_text(body: bytes, address: str) -> str:
    """UTF-8 text of a body; `address` is for the message.

    Raises
    ------
    FetchRefused
        It is not UTF-8.
    """
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        msg = f"{display_address(address)} is no text in UTF-8"
        raise FetchRefused(msg) from error


def links_by_relation(document: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    """Links of a document that have an address, by their relation."""
    links: dict[str, list[Mapping[str, Any]]] = {}
    for link in as_list(document.get("links")):
        if isinstance(link, dict) and isinstance(link.get("href"), str):
            links.setdefault(str(link.get("rel")), []).append(link)
    return links
