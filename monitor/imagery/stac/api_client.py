"""Search a STAC API with pystac-client, with every request made by the monitor's own fetcher."""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any, Final, NoReturn
from urllib.parse import urlencode, urljoin, urlsplit

import pystac
from pystac_client import Client
from pystac_client.stac_api_io import StacApiIO
from shapely.geometry.base import BaseGeometry

from monitor.errors import TryLater
from monitor.imagery.addresses import display_address
from monitor.imagery.stac.documents import JSON_HEADERS, MAX_DOCUMENT_BYTES, decode_text, parse_json
from monitor.imagery.transport import Fetcher

ITEMS_PER_PAGE: Final = 100
"""Items requested at a time. A Sentinel-2 item takes about 15 kB, and some services fail beyond 6 MB a page."""
MAX_PAGES: Final = 1_000
"""Most pages of one search."""
MAX_SEARCH_BYTES: Final = 2 << 30
"""Largest total size of the pages of one search. [byte]"""
_FORBIDDEN_HEADERS: Final = ("host", "content-length", "transfer-encoding", "authorization", "cookie")
"""Headers that a link to the next page must not set."""


class ApiClient:
    """A STAC API.

    Parameters
    ----------
    fetcher : Fetcher
        Makes the requests.
    url : str
        Address of the landing page.
    landing_page : str
        Text of the landing page.
    search_links : sequence of mapping
        Its links with the relation ``search``.
    """

    def __init__(
        self, fetcher: Fetcher, url: str, landing_page: str, search_links: Sequence[Mapping[str, Any]]
    ) -> None:
        self._io = _FetcherIO(fetcher, url, landing_page)
        methods = {str(link.get("method") or "GET").upper() for link in search_links}
        only_get = search_links and "POST" not in methods and any("method" in link for link in search_links)
        self._method = "GET" if only_get else "POST"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._client = Client.open(url, stac_io=self._io)

    def pages(
        self, collections: Sequence[str], area: BaseGeometry, since: date, until: date
    ) -> Iterator[dict[str, Any]]:
        """Pages of a search, as JSON; one search at a time.

        Parameters
        ----------
        collections : sequence of str
            Ids; empty: all.
        area : shapely geometry
            Longitude and latitude. [degree]
        since, until : date
            Both included.

        Raises
        ------
        TryLater
            The search has too many pages, or leads back to an earlier one.
        """
        self._io.begin_search()
        return self._client.search(
            collections=list(collections) or None,
            bbox=area.bounds,
            datetime=f"{since}/{until}",
            limit=ITEMS_PER_PAGE,
            method=self._method,
        ).pages_as_dicts()


class _FetcherIO(StacApiIO):
    """Input of pystac-client: requests made by the fetcher, with limits on a search."""

    def __init__(self, fetcher: Fetcher, url: str, landing_page: str) -> None:
        super().__init__(max_retries=None)
        self._fetcher = fetcher
        self._base = url.rstrip("/") + "/"
        self._landing_page = {url.rstrip("/"): landing_page}
        self.begin_search()

    def begin_search(self) -> None:
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
        return parse_json(txt)

    def request(
        self,
        href: str,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> str:
        method = (method or "GET").upper()
        href = urljoin(self._base, href)
        body: bytes | None = None
        if method == "POST":
            body = json.dumps(parameters or {}, sort_keys=True).encode()
        elif method == "GET":
            if parameters:
                href += ("&" if urlsplit(href).query else "?") + urlencode(parameters, doseq=True)
        else:
            stop_search(f"{display_address(href)} requires the method {method[:10]!r}, which a search does not need")
        key = (method, href, body.decode() if body else "")
        if key in self._requested:
            stop_search(f"{display_address(href)} leads back to a page that was read already")
        self._requested.add(key)
        if len(self._requested) > MAX_PAGES:
            stop_search(f"{display_address(href)} has more than {MAX_PAGES} pages")
        content_type = {"Content-Type": "application/json"} if body else {}
        response = self._fetcher.get(
            href,
            max_bytes=MAX_DOCUMENT_BYTES,
            method=method,
            headers={**JSON_HEADERS, **content_type, **_safe_headers(headers)},
            body=body,
        )
        self._bytes += len(response.body)
        if self._bytes > MAX_SEARCH_BYTES:
            stop_search(f"{display_address(href)} sends more than {MAX_SEARCH_BYTES:,} bytes in one search")
        return decode_text(response.body, href)


def stop_search(why: str) -> NoReturn:
    """Raise the error for a search that does not end properly.

    Raises
    ------
    TryLater
        Always.
    """
    msg = f"{why}; the search is stopped, try again later"
    raise TryLater(msg)


def _safe_headers(headers: object) -> dict[str, str]:
    """Headers that a link to the next page may set."""
    if not isinstance(headers, dict):
        return {}
    return {
        str(key): str(value)
        for key, value in headers.items()
        if str(key).lower() not in _FORBIDDEN_HEADERS and "\n" not in f"{key}{value}" and "\r" not in f"{key}{value}"
    }
