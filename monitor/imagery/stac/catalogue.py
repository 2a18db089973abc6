"""Items of a STAC catalogue: an API, a static catalogue, a collection, an item collection, an item, or a folder.

Every address is fetched by :mod:`monitor.imagery.transport`.
"""

import difflib
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import structlog
from shapely.geometry.base import BaseGeometry

from monitor.errors import BadConfiguration, MonitorError, TryLater, UnknownCollection
from monitor.imagery.addresses import display_address, is_remote, join_address, local_path
from monitor.imagery.fetch_errors import AccessDenied, FetchError, FetchRefused, NoAnswer, NotFound, TooLarge, Truncated
from monitor.imagery.stac.api_io import search_pages, stop_search
from monitor.imagery.stac.documents import as_list, links_by_relation, read_document, safe_text
from monitor.imagery.stac.items import item_address
from monitor.imagery.transport import Fetcher

log = structlog.get_logger()

ITEMS_PER_PAGE: Final = 100  # a Sentinel-2 item takes about 15 kB, and some services fail beyond 6 MB a page
MAX_FILES: Final = 50_000  # most files of a static catalogue
MAX_COLLECTION_PAGES: Final = 100  # most pages of an API's list of collections; common servers list ten a page

KNOWN_COLLECTIONS: Final = (
    "sentinel-2-l2a", "sentinel-2-c1-l2a", "landsat-c2-l2",
    "ga_s2am_ard_3", "ga_s2bm_ard_3", "ga_s2cm_ard_3", "ga_ls8c_ard_3", "ga_ls9c_ard_3",
)  # fmt: skip
"""Collections searched where none is configured, as far as an API has them. Either of the first two may lack scenes
that the other has; a scene of both counts once, with its newest processing baseline."""
NEEDS_ACCOUNT: Final = {"earth-search.aws.element84.com": ("landsat-c2-l2",)}
"""Collections of an API (by host) whose files are not open: those of Landsat are in a bucket whose reader pays."""

type Document = Mapping[str, Any]  # a JSON object


class Catalogue:
    """A STAC catalogue of any kind; parameters as of :class:`monitor.imagery.stac.source.Stac`."""

    def __init__(self, url: str, collections: Sequence[str], fetcher: Fetcher) -> None:
        self.url = url
        self.collections = tuple(collections)
        self._fetcher = fetcher
        self._static: list[tuple[Document, str]] | None = None
        self._search, self._search_method = "", "POST"
        self._opened = False
        self._collections_checked = False
        self._checking = threading.Lock()

    @property
    def is_static(self) -> bool:
        """Whether it is not an API; known once :meth:`open` was called."""
        return self._static is not None

    def open(self) -> None:
        """Determine the kind of the catalogue, once.

        Raises TryLater if it is down or too large, and BadConfiguration if it refuses access, does not exist, or is not
        STAC.
        """
        if self._opened:
            return
        with self._converted_errors():
            path = None if is_remote(self.url) else self._fetcher.allowed.resolve_path(Path(local_path(self.url)))
            if path is not None and path.is_dir():
                self._static = list(self._folder_items(path))
            else:
                self._open_document()
        self._opened = True

    def _open_document(self) -> None:
        document = read_document(self._fetcher, self.url)
        links = links_by_relation(document)
        if is_remote(self.url) and ("search" in links or document.get("conformsTo")):
            self._open_api(links.get("search", []))
        elif is_remote(self.url) and document.get("type") == "Collection" and "items" in links and "root" in links:
            root = join_address(self.url, links["root"][0]["href"])
            search_links = links_by_relation(read_document(self._fetcher, root)).get("search", [])
            self.collections, self.url = (str(document.get("id")),), root
            self._open_api(search_links)
        else:
            self._static = list(self._linked_items(document, self.url))

    def _open_api(self, search_links: Sequence[Document]) -> None:
        methods = {str(link.get("method") or "GET").upper() for link in search_links}
        if search_links and "POST" not in methods and any("method" in link for link in search_links):
            self._search_method = "GET"
        base = f"{self.url.rstrip('/')}/"
        self._search = join_address(base, search_links[0]["href"] if search_links else "search")
        if not self.collections:
            self.collections = self._known_collections()

    def static_items(self) -> list[tuple[Document, str]]:
        """Items of the searched collections of a static catalogue, and the address of the document of each."""
        items = self._static or []
        if not self.collections:
            return items
        searched = (None, *self.collections)
        return [(item, address) for item, address in items if item.get("collection") in searched]

    def search(self, area: BaseGeometry, since: date, until: date) -> Iterator[Document]:
        """Items of an API that may touch an area, both days included; not safe for several threads.

        Raises TryLater if the API is down, has pages without end, or answers with something else than STAC, and
        BadConfiguration if it refuses the request.
        """
        query: dict[str, Any] = {
            "bbox": list(area.bounds), "datetime": f"{since}T00:00:00Z/{until}T23:59:59Z", "limit": ITEMS_PER_PAGE,
        }  # fmt: skip
        if self.collections:
            query["collections"] = list(self.collections)
        pages = search_pages(self._fetcher, self._search, self._search_method, query)
        seen: set[str] = set()
        while (page := self._next_page(pages)) is not None:
            features = page["features"]
            items = [feature for feature in features if isinstance(feature, dict)]
            if len(items) < len(features):
                log.warning("features that are not items are skipped", catalogue=display_address(self.url))
            ids = [safe_text(item.get("id")) for item in items]
            if ids and seen.issuperset(ids):
                stop_search(f"{display_address(self.url)} sends the same items over and over")
            seen.update(ids)
            for item in items:
                yield self._with_address(item)

    def _next_page(self, pages: Iterator[dict[str, Any]]) -> dict[str, Any] | None:
        with self._converted_errors():
            return next(pages, None)

    def _with_address(self, item: Document) -> Document:
        """An item with a ``self`` link, under which it can be fetched again."""
        if item_address(item) or not item.get("collection"):
            return item
        href = f"{self.url.rstrip('/')}/collections/{quote(str(item['collection']))}/items/{quote(str(item.get('id')))}"
        return {**item, "links": [{"rel": "self", "href": href}]}

    def check_collections(self) -> None:
        """Check that the searched collections exist, once, with one request for each; an API that lists none passes.

        Raises UnknownCollection for one that does not exist, and TryLater if the catalogue is down.
        """
        self.open()
        with self._checking:
            for collection in () if self._collections_checked else self.collections:
                existing: list[str] = []
                if self._static is not None:
                    named = {item.get("collection") for item, _ in self._static}
                    existing = [] if None in named else [safe_text(name) for name in named]
                elif not self._has_collection(collection):
                    existing = self._listed_collections()
                if existing and collection not in existing:
                    raise self._unknown_collection(collection, sorted({*existing}))
            self._collections_checked = True

    def _has_collection(self, collection: str) -> bool:
        """Whether an API has a collection at its own address; only status 404 or 410 proves that it has not."""
        try:
            read_document(self._fetcher, f"{self.url.rstrip('/')}/collections/{quote(collection, safe='')}")
        except NotFound:
            return False
        except (FetchError, BadConfiguration):
            pass
        return True

    def _known_collections(self) -> tuple[str, ...]:
        """Collections to search where none is configured; empty, that is all, if the API lists none that is known."""
        listed = set(self._listed_collections()).difference(NEEDS_ACCOUNT.get(urlsplit(self.url).hostname or "", ()))
        chosen = tuple(name for name in KNOWN_COLLECTIONS if name in listed)
        if chosen:
            log.info("collections chosen", catalogue=display_address(self.url), collections=", ".join(chosen))
        return chosen

    def _listed_collections(self) -> list[str]:
        """Ids of the collections that an API lists, of all its pages; those of the pages before one that is broken."""
        ids: list[str] = []
        address, seen = f"{self.url.rstrip('/')}/collections", set[str]()
        while address and address not in seen and len(seen) < MAX_COLLECTION_PAGES:
            seen.add(address)
            try:
                document = read_document(self._fetcher, address)
            except (FetchError, BadConfiguration):
                break
            entries = [entry for entry in as_list(document.get("collections")) if isinstance(entry, dict)]
            ids += [safe_text(entry["id"]) for entry in entries if isinstance(entry.get("id"), str)]
            following = links_by_relation(document).get("next", [])
            address = join_address(address, following[0]["href"]) if following else ""
        return ids

    def _unknown_collection(self, collection: str, existing: Sequence[str]) -> UnknownCollection:
        similar = difflib.get_close_matches(collection, existing, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, similar))}?" if similar else f"it has {', '.join(existing[:20])}"
        return UnknownCollection(
            f"[source] collections: {display_address(self.url)} has no collection {collection!r}; {hint}"
        )

    def _folder_items(self, folder: Path) -> Iterator[tuple[Document, str]]:
        """Items of the catalogue in a folder, else of all its JSON files."""
        for name in ("catalog.json", "collection.json"):
            if (folder / name).is_file():
                address = str(folder / name)
                yield from self._linked_items(read_document(self._fetcher, address), address)
                return
        files = sorted(file for ending in ("*.json", "*.geojson") for file in folder.rglob(ending))
        if not files:
            msg = f"folder {display_address(str(folder))!r} holds no .json or .geojson file with STAC items"
            raise BadConfiguration(msg)
        for file in files[:MAX_FILES]:
            document = self._linked_document(str(file))
            if document is not None and document.get("type") in ("Feature", "FeatureCollection"):
                yield from self._linked_items(document, str(file))

    def _linked_items(self, document: Document, address: str) -> Iterator[tuple[Document, str]]:
        """Items in a document and in the documents that it links to, each document once."""
        seen = {address}
        level = [(document, address)]
        while level:
            targets: list[str] = []
            for current, where in level:
                kind = current.get("type")
                if kind == "Feature":
                    yield current, where
                elif kind == "FeatureCollection":
                    for feature in as_list(current.get("features")):
                        if isinstance(feature, dict):
                            yield feature, where
                elif "links" in current and (kind in ("Catalog", "Collection") or "stac_version" in current):
                    links = links_by_relation(current)
                    for link in (*links.get("child", []), *links.get("item", [])):
                        target = join_address(where, link["href"])
                        if target not in seen:
                            seen.add(target)
                            targets.append(target)
                elif where == address:
                    msg = f"{display_address(address)} is not a STAC catalogue, collection, item collection or item"
                    raise BadConfiguration(msg)
            if len(seen) > MAX_FILES:
                raise BadConfiguration(
                    f"{display_address(self.url)} leads to more than {MAX_FILES:,} files; "
                    "name a collection, or use an API"
                )
            level = [(linked, where) for where in targets if (linked := self._linked_document(where)) is not None]

    def _linked_document(self, address: str) -> Document | None:
        """A document of a static catalogue; None, with a warning, if it cannot be read."""
        try:
            return read_document(self._fetcher, address)
        except (FetchError, NoAnswer, BadConfiguration) as error:
            log.warning("a file of the catalogue is skipped", file=display_address(address), error=str(error))
            return None

    @contextmanager
    def _converted_errors(self) -> Iterator[None]:
        """Convert errors of fetching and parsing to ``BadConfiguration`` and ``TryLater``."""
        try:
            yield
        except AccessDenied as error:
            raise BadConfiguration(
                f"{error}; this version sends no credentials to STAC catalogues: "
                "name an open catalogue, or a proxy that adds them, as [source] url"
            ) from None
        except (TooLarge, Truncated) as error:
            raise TryLater(f"{error}; try again later") from None
        except FetchRefused as error:
            raise BadConfiguration(str(error)) from None
        except FetchError as error:
            named = f" and collections {list(self.collections)}" if self.collections else ""
            raise BadConfiguration(f"{error}; check [source] url{named}") from None
        except MonitorError:
            raise
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            what = f"something that is not STAC ({type(error).__name__})"
            raise TryLater(f"{display_address(self.url)} answers with {what}; try again later") from error
