"""Search of a STAC API [1]_, page by page, with limits on the whole search.

References
----------
.. [1] STAC API specification 1.0, item search and its paging, https://github.com/radiantearth/stac-api-spec.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, NoReturn
from urllib.parse import urlencode, urlsplit

from monitor.errors import TryLater
from monitor.imagery.addresses import display_address, join_address
from monitor.imagery.stac.documents import (
    JSON_HEADERS,
    MAX_ANSWER_BYTES,
    as_mapping,
    decode_text,
    links_by_relation,
    parse_json,
)
from monitor.imagery.transport import Fetcher

MAX_PAGES: Final = 1_000  # most pages of one search
MAX_SEARCH_BYTES: Final = 2 << 30  # largest total size of the pages of one search [byte]
_FORBIDDEN_HEADERS: Final = ("host", "content-length", "transfer-encoding", "authorization", "cookie")
"""Headers that a link to the next page must not set."""


def search_pages(fetcher: Fetcher, href: str, method: str, query: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Pages of a search, up to one without features or without a link to the next.

    `method` is ``GET`` or ``POST``; lists among the members of the `query` are written with commas for ``GET``. Raises
    TryLater for too many pages or bytes, or a link back to an earlier page; FetchError as
    :meth:`monitor.imagery.transport.Fetcher.get`; ValueError or AttributeError for a page that is not a JSON object.
    """
    requested: set[tuple[str, bytes | None]] = set()
    size = 0
    headers: dict[str, str] = {}
    parameters = dict(query)
    if method == "GET":
        plain = {name: ",".join(map(str, v)) if isinstance(v, list) else v for name, v in query.items()}
        href += ("&" if urlsplit(href).query else "?") + urlencode(plain)
    while True:
        if method not in ("GET", "POST"):
            stop_search(f"{display_address(href)} requires the method {method[:10]!r}, which a search does not need")
        body = json.dumps(parameters, sort_keys=True).encode() if method == "POST" else None
        if (href, body) in requested:
            stop_search(f"{display_address(href)} leads back to a page that was read already")
        requested.add((href, body))
        if len(requested) > MAX_PAGES:
            stop_search(f"{display_address(href)} has more than {MAX_PAGES} pages")
        sent = {**JSON_HEADERS, **({"Content-Type": "application/json"} if body else {}), **headers}
        response = fetcher.get(href, max_bytes=MAX_ANSWER_BYTES, method=method, headers=sent, body=body)
        size += len(response.body)
        if size > MAX_SEARCH_BYTES:
            stop_search(f"{display_address(href)} sends more than {MAX_SEARCH_BYTES:,} bytes in one search")
        page: dict[str, Any] = parse_json(decode_text(response.body, href))
        if not isinstance(page.get("features"), list):
            raise ValueError("a page of a search has no list of features")
        following = links_by_relation(page).get("next", [])
        yield page
        if not page["features"] or not following:
            return
        link = following[0]
        method, headers = str(link.get("method") or "GET").upper(), _safe_headers(link.get("headers"))
        href = join_address(href, link["href"])
        parameters = {**(query if link.get("merge") else {}), **as_mapping(link.get("body"))}


def stop_search(why: str) -> NoReturn:
    """Raise ``TryLater`` for a search that does not end properly."""
    raise TryLater(f"{why}; the search is stopped, try again later")


def _safe_headers(headers: object) -> dict[str, str]:
    """Headers that a link to the next page may set."""
    return {
        str(key): str(value)
        for key, value in as_mapping(headers).items()
        if str(key).lower() not in _FORBIDDEN_HEADERS and "\n" not in f"{key}{value}" and "\r" not in f"{key}{value}"
    }
