"""Requests of pystac-client, made by the monitor's own fetcher."""

import json
from typing import Any, Final, NoReturn
from urllib.parse import urlencode, urljoin, urlsplit

import pystac
from pystac_client.stac_api_io import StacApiIO

from monitor.errors import TryLater
from monitor.imagery.addresses import display_address
from monitor.imagery.stac.documents import JSON_HEADERS, MAX_ANSWER_BYTES, decode_text, parse_json
from monitor.imagery.transport import Fetcher

MAX_PAGES: Final = 1_000
"""Most pages of one search."""
MAX_SEARCH_BYTES: Final = 2 << 30
"""Largest total size of the pages of one search. [byte]"""
_FORBIDDEN_HEADERS: Final = ("host", "content-length", "transfer-encoding", "authorization", "cookie")
"""Headers that a link to the next page must not set."""


class FetcherIO(StacApiIO):
    """Input of pystac-client: requests made by the monitor's own fetcher, with limits on a search."""

    def __init__(self, fetcher: Fetcher) -> None:
        super().__init__(max_retries=None)
        self._fetcher = fetcher
        self._base = ""
        self._landing_page: dict[str, str] = {}
        self.begin_search()

    def set_landing_page(self, url: str, text: str) -> None:
        """Address and text of the API's landing page, which is not fetched again."""
        self._base = url.rstrip("/") + "/"
        self._landing_page = {url.rstrip("/"): text}

    def begin_search(self) -> None:
        """Reset the limits."""
        self._requested: set[tuple[str, str, str]] = set()
        self._bytes = 0

    def read_text(self, source: pystac.link.HREF, *args: Any, **kwargs: Any) -> str:
        """Text at a remote address; a local file is never read."""
        if isinstance(source, str) and source.rstrip("/") in self._landing_page and not kwargs.get("parameters"):
            return self._landing_page[source.rstrip("/")]
        if not isinstance(source, pystac.Link):
            return self.request(str(source), *args, **kwargs)
        return str(super().read_text(source, *args, **kwargs))

    def json_loads(self, txt: str, *_: Any, **__: Any) -> Any:
        """Value of a JSON text."""
        return parse_json(txt)

    def request(
        self,
        href: str,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> str:
        """Body of a response.

        Raises
        ------
        TryLater
            The search has too many pages or bytes, or leads back to an earlier page.
        """
        method = (method or "GET").upper()
        href = urljoin(self._base, href)
        if method not in ("GET", "POST"):
            stop_search(f"{display_address(href)} requires the method {method[:10]!r}, which a search does not need")
        body = json.dumps(parameters or {}, sort_keys=True).encode() if method == "POST" else None
        if method == "GET" and parameters:
            href += ("&" if urlsplit(href).query else "?") + urlencode(parameters, doseq=True)
        key = (method, href, body.decode() if body else "")
        if key in self._requested:
            stop_search(f"{display_address(href)} leads back to a page that was read already")
        self._requested.add(key)
        if len(self._requested) > MAX_PAGES:
            stop_search(f"{display_address(href)} has more than {MAX_PAGES} pages")
        sent = {**JSON_HEADERS, **({"Content-Type": "application/json"} if body else {}), **_safe_headers(headers)}
        response = self._fetcher.get(href, max_bytes=MAX_ANSWER_BYTES, method=method, headers=sent, body=body)
        self._bytes += len(response.body)
        if self._bytes > MAX_SEARCH_BYTES:
            stop_search(f"{display_address(href)} sends more than {MAX_SEARCH_BYTES:,} bytes in one search")
        return decode_text(response.body, href)


def stop_search(why: str) -> NoReturn:
    """Raise ``TryLater`` for a search that does not end properly."""
    raise TryLater(f"{why}; the search is stopped, try again later")


def _safe_headers(headers: object) -> dict[str, str]:
    """Headers that a link to the next page may set."""
    if not isinstance(headers, dict):
        return {}
    return {
        str(key): str(value)
        for key, value in headers.items()
        if str(key).lower() not in _FORBIDDEN_HEADERS and "\n" not in f"{key}{value}" and "\r" not in f"{key}{value}"
    }
