"""Scenes from STAC: an API, a static catalogue, a collection, an item collection or a folder of items.

APIs are searched by pystac-client; all that it fetches goes through :mod:`monitor.imagery.transport`, as do the files
of a scene. Items become scenes in :mod:`monitor.imagery.stac.items`; pixels are read in
:mod:`monitor.imagery.stac.scene_reader`.
"""

import contextlib
import dataclasses
import difflib
import json
import threading
import warnings
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.parse import quote, urlencode, urljoin, urlsplit

import msgspec
import numpy as np
import pystac
import structlog
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from pystac.errors import STACError
from pystac_client import Client
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from shapely.geometry.base import BaseGeometry

from monitor.errors import BadConfiguration, MonitorError, SceneRejected, TryLater, UnknownCollection
from monitor.imagery.source import Frame, IsStored, Scene
from monitor.imagery.stac import items
from monitor.imagery.stac.blocks import Layout, layout
from monitor.imagery.stac.items import Asset, Assets
from monitor.imagery.stac.scene_reader import Granule, Looks, Room
from monitor.imagery.transport import (
    BUDGET,
    Allowed,
    Cut,
    Denied,
    Endless,
    Gone,
    NoAnswer,
    PlainFile,
    Ranges,
    Refused,
    Rejected,
    Tally,
    Transport,
    is_remote,
    joined,
    local_path,
    shown,
)

log = structlog.get_logger()

MISSING: Final = "MISSING"
"""Why a scene is rejected of which a file cannot be had."""
NO_ANSWER: Final = "NO_ANSWER"
"""Why a scene is rejected for now: the server, which gives other files, gives no answer for one of it."""

PAGE: Final = 100
"""Items asked for at a time. An item of Sentinel-2 takes about 15 kB; some services fail beyond 6 MB a page."""
MOST_PAGES: Final = 1_000
MOST_BYTES: Final = 64 << 20
"""Of one page, item or catalogue file. [byte]"""
MOST_IN_ALL: Final = 2 << 30
"""Of all pages of one search. [byte]"""
MOST_FILES: Final = 50_000
"""Files of a static catalogue."""
IN_FLIGHT: Final = 32
"""Requests for parts of files at one time, for all threads of a process together."""
SCENES_AHEAD: Final = 4
"""Scenes that are fetched while one is being used."""
HEADERS: Final = 1024
"""Files whose headers are remembered. A header takes about 10 kB."""
TRIES: Final = 8
"""Scenes whose files are looked at in order to learn the lattice of a static catalogue."""
SEPARATE: Final = 0.5
"""Two items of one granule and baseline that share less of the smaller footprint are two pieces of it (a datatake
received by two ground stations); otherwise one is a copy of the other."""

type Sign = Callable[[str, bool], str]
"""Signs the address of an asset; if the second is true, anew, since the last signature is refused."""


class Stac:
    """A STAC catalogue as a source.

    Parameters
    ----------
    url : str
        Of an API, a static catalogue, a collection, an item collection or an item; or the path of such a file, or of
        a folder of them.
    collections : sequence of str
        Ids of the collections that are searched; empty: all.
    allow_hosts : sequence of str
        Private or loopback hosts (``host`` or ``host:port``) and local folders that may be read from.
    name : str
        Of the source.
    sign : callable, optional
        Signs the addresses of assets. Default: Microsoft Planetary Computer's own package where `url` is its API,
        else nothing.
    transport : Transport, optional
        Fetches; default: one that allows `allow_hosts`.
    in_flight : int
        Most requests for parts of files at one time.

    Raises
    ------
    BadConfiguration
        `allow_hosts` names something that is neither host nor folder.
    """

    ring = (300.0, 10_000.0)
    reduces_on_server = False

    def __init__(
        self,
        url: str,
        *,
        collections: Sequence[str] = (),
        allow_hosts: Sequence[str] = (),
        name: str = "stac",
        sign: Sign | None = None,
        transport: Transport | None = None,
        in_flight: int = IN_FLIGHT,
    ) -> None:
        self.name = name
        self.url = url
        self.collections = tuple(collections)
        self._transport = transport or Transport(Allowed.of(allow_hosts))
        self._sign = sign or _signer(url)
        self._io = _SafeIO(self._transport)
        self._static: list[tuple[Mapping[str, Any], str]] | None = None
        self._names: list[_Named] | None = None
        self._scenes: dict[_Named, Scene | None] = {}
        self._client: Client | None = None
        self._pool = ThreadPoolExecutor(in_flight, thread_name_prefix="stac")
        self._headers: OrderedDict[str, tuple[Layout, int | None]] = OrderedDict()
        self._remembering = threading.Lock()
        self._opened = False
        self._checked = False
        """Whether the catalogue has the collections."""
        self._searching = threading.Lock()  # sites that are read at once may each look at something again

    @property
    def tally(self) -> Tally:
        """What was fetched, decoded and used so far."""
        return self._transport.tally

    def grid(self, geometry: BaseGeometry) -> GeoBox:
        """The lattice that suits the ground.

        Of a static catalogue that of the earliest scene over the ground, since there may be any. Else (also while the
        catalogue is down) the UTM zone of the centroid with pixels of 10 m, or of 30 m for HLS and for Landsat, which
        is delivered in northern zones with corners at odd multiples of 15 m.
        """
        with contextlib.suppress(TryLater):
            self._open()
        native = self._native(geometry) if self._static is not None else None
        if native is not None:
            return native
        point = geometry.centroid
        names = " ".join(self.collections).lower()
        landsat, harmonised = "landsat" in names, "hls" in names
        zone = min(60, int((point.x + 180.0) // 6.0) + 1)
        crs = CRS(f"EPSG:{(32600 if point.y >= 0 or landsat else 32700) + zone}")
        pixel = 30.0 if landsat or harmonised else 10.0
        corner = 15.0 if landsat else 0.0
        return GeoBox((1, 1), Affine(pixel, 0.0, corner, 0.0, -pixel, corner), crs)

    def _native(self, geometry: BaseGeometry) -> GeoBox | None:
        """The lattice of the earliest scene of a static catalogue over some ground; None: there is none."""
        centre = geometry.centroid
        over = [one for one in self._named() if one.name.touches(centre)]
        over.sort(key=lambda one: (one.name.time, one.name.id))
        looked_at = (scene for one in over if (scene := self._looked_at(one)) and isinstance(scene.handle, Assets))
        for scene in islice(looked_at, TRIES):
            assets: Assets = scene.handle
            red = next(asset for asset in assets.bands[2:3] if asset is not None)
            said = Affine(*red.transform) if red.transform else None
            system = CRS(scene.crs) if scene.crs else None
            if said is None or system is None:
                try:
                    reader = _AssetReader(self._transport, _Addresses(self._transport, assets, self._sign), red)
                    found = layout(reader)
                except SceneRejected:
                    continue
                said, system = found.transform, CRS(f"EPSG:{found.epsg}" if found.epsg else found.wkt)
            if said.b == said.d == 0 and said.a == -said.e and system.projected:
                return GeoBox((1, 1), said, system)
        return None

    def search(self, area: BaseGeometry, since: date, until: date, stored: IsStored | None = None) -> list[Scene]:
        """Scenes that touch an area, ascending by time; see :class:`monitor.imagery.source.Source`.

        An item that cannot be read is a scene whose reading tells why; what is no item at all is left out, with a
        line in the log.

        Raises
        ------
        TryLater
            The catalogue is down, asks to wait too long, goes in circles or never ends.
        BadConfiguration
            The catalogue refuses access, or there is none.
        """
        self._open()
        if self._client is None:
            there = [one for one in self._named() if since <= one.name.time.date() <= until]
            looked_at = (self._looked_at(one, stored) for one in there if one.name.touches(area))
            found = [scene for scene in looked_at if scene is not None]
        else:
            with self._searching:
                found = [
                    scene
                    for scene in self._searched(area, since, until, stored)
                    if since <= scene.time.date() <= until and scene.touches(area)
                ]
        return sorted(_distinct(found), key=lambda scene: (scene.time, scene.acquisition, scene.tile, scene.id))

    def check_collections(self) -> None:
        """See :class:`monitor.imagery.source.Source`; one request a collection, once.

        An API that lists no collections says nothing about them, and is believed.
        """
        self._open()
        with self._searching:
            for collection in () if self._checked else self.collections:
                there: list[str] = []
                if self._client is None:
                    named = {item.get("collection") for item, _ in self._static or ()}
                    there = [] if None in named else [items.inert(one) for one in named]
                elif not self._has(collection):
                    there = self._listed()
                if there and collection not in there:
                    raise self._unknown(collection, sorted({*there}))
            self._checked = True

    def _has(self, collection: str) -> bool:
        """Whether an API knows a collection by its own address; whatever else goes wrong there proves nothing."""
        address = f"{self.url.rstrip('/')}/collections/{quote(collection, safe='')}"
        try:
            self._transport.get(address, cap=MOST_BYTES, headers=_JSON)
        except Gone:
            return False
        except (Denied, Refused, Rejected):
            return True
        return True

    def _listed(self) -> list[str]:
        """Ids of the collections that an API lists, on its first page; empty where it lists none."""
        try:
            listed = _parsed(self._text(f"{self.url.rstrip('/')}/collections"), self.url).get("collections")
        except (Gone, Denied, Refused, Rejected, BadConfiguration):
            return []
        named = [one.get("id") for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        return [items.inert(one) for one in named if isinstance(one, str)]

    def _unknown(self, collection: str, there: Sequence[str]) -> UnknownCollection:
        near = difflib.get_close_matches(collection, there, n=3, cutoff=0.5)
        told = f"did you mean {' or '.join(map(repr, near))}?" if near else f"it has {', '.join(there[:20])}"
        return UnknownCollection(f"[source] collections: {shown(self.url)} has no collection {collection!r}; {told}")

    def read(self, scenes: Sequence[Scene], grids: Sequence[GeoBox]) -> Iterator[Iterable[Frame] | SceneRejected]:
        """Each scene on all grids; see :class:`monitor.imagery.source.Source`."""
        looks, room = Looks(grids), Room()
        upcoming = iter(scenes)
        begun: deque[Granule | SceneRejected] = deque()
        try:
            for scene in scenes:
                if not begun:
                    begun.append(self._begun(next(upcoming), looks, room))
                granule = begun.popleft()
                try:
                    if isinstance(granule, SceneRejected):
                        raise granule
                    granule.opened()
                    found: Iterable[Frame] | SceneRejected = self._frames(scene, granule.frames())
                except SceneRejected as error:
                    found = error if error is granule else _of(scene, error)
                # Once the first files are open: of a server that sends only whole files several scenes fill the memory.
                ahead = 0 if self._transport.sends_whole else SCENES_AHEAD
                begun.extend(self._begun(one, looks, room) for one in islice(upcoming, max(0, ahead - len(begun))))
                for one in begun:
                    if isinstance(one, Granule):
                        one.read_ahead()
                yield found
        finally:
            for one in begun:
                if isinstance(one, Granule):
                    one.close()

    def reduce(
        self, scenes: Sequence[Scene], units: Sequence[BaseGeometry], lattice: GeoBox, recipe: Callable[[Any], Any]
    ) -> Iterator[np.ndarray | SceneRejected]:
        """Units are read as pixels here."""
        msg = "a STAC catalogue has no server that could reduce"
        raise BadConfiguration(msg)

    def cost(self, scenes: int, grid: GeoBox, units: int) -> None:
        """Not known before files are opened."""

    def _frames(self, scene: Scene, frames: Iterator[Frame]) -> Iterator[Frame]:
        try:
            yield from frames
        except SceneRejected as error:
            raise _of(scene, error) from error

    def _begun(self, scene: Scene, looks: Looks, room: Room) -> Granule | SceneRejected:
        """A scene whose files are being fetched, or why it cannot be read."""
        if isinstance(scene.handle, SceneRejected):
            return scene.handle
        if not isinstance(scene.handle, Assets):
            return SceneRejected(items.BROKEN, f"scene {scene.id!r} is not of this source")
        assets = scene.handle
        addresses = _Addresses(self._transport, assets, self._sign)
        over = threading.Event()
        readers = [
            None if asset is None else (asset, _AssetReader(self._transport, addresses, asset, over))
            for asset in (*assets.bands, assets.quality)
        ]
        return Granule(
            readers, looks=looks, epsg=assets.epsg, kind=scene.quality, layout=self._layout, workers=self._pool,
            room=room, tally=self.tally, over=over,
        )  # fmt: skip

    def _layout(self, reader: "_AssetReader") -> Layout:
        """The header of a file, which is fetched once."""
        with self._remembering:
            known = self._headers.get(reader.place)
        if known is not None:
            found, reader.size = known
            return found
        found = layout(reader)
        with self._remembering:
            self._headers[reader.place] = found, reader.size
            while len(self._headers) > HEADERS:
                self._headers.popitem(last=False)
        return found

    def _scene(self, item: Mapping[str, Any], base: str, stored: IsStored | None = None) -> Scene | None:
        try:
            scene = items.scene_of(item, base=base, source=self.name, stored=stored)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
            log.warning("an item makes no sense and is left out", item=_id(item), error=type(error).__name__)
            return None
        if scene is None:
            log.warning("an item without id or date is left out", item=_id(item), catalogue=shown(base))
            return None
        if isinstance(scene.handle, Assets):
            try:
                for asset in (*scene.handle.bands, scene.handle.quality):
                    if asset is not None:
                        self._transport.check(joined(scene.handle.base, asset.href))
            except Refused as error:
                # Without a baseline it gives way once the host or folder is allowed.
                return items.refused(scene, SceneRejected(items.BROKEN, f"scene {scene.id!r}: {error}"))
        return scene

    def _named(self) -> list["_Named"]:
        """All items of a static catalogue, each looked at for its name alone, and once."""
        if self._names is None:
            wanted = (None, *self.collections) if self.collections else None
            chosen = [(i, base) for i, base in self._static or () if wanted is None or i.get("collection") in wanted]
            self._names = [
                _Named(name=name, item=item, base=base)
                for item, base in chosen
                if (name := self._scene(item, base, lambda _: True)) is not None
            ]
        return self._names

    def _looked_at(self, one: "_Named", stored: IsStored | None = None) -> Scene | None:
        """A scene of a static catalogue, looked at unless it is stored, and once; None: its item makes no sense."""
        if one not in self._scenes:
            if one.name.handle is None and stored is not None and stored(one.name):
                return one.name
            self._scenes[one] = self._scene(one.item, one.base)
        return self._scenes[one]

    def _searched(self, area: BaseGeometry, since: date, until: date, stored: IsStored | None) -> Iterator[Scene]:
        """Scenes of an API."""
        client = self._client
        assert client is not None
        self._io.begin()
        with self._told():
            pages = client.search(
                collections=list(self.collections) or None,
                bbox=area.bounds,
                datetime=f"{since}/{until}",
                limit=PAGE,
                method="GET" if self._io.only_get else "POST",
            ).pages_as_dicts()
        known: set[str] = set()
        while (page := self._next(pages)) is not None:
            features = page.get("features")
            found = [one for one in features if isinstance(one, dict)] if isinstance(features, list) else []
            if isinstance(features, list) and len(found) < len(features):
                log.warning("things that are no items are left out", catalogue=shown(self.url))
            ids = [_id(one) for one in found]
            if ids and known.issuperset(ids):
                _circles(f"{shown(self.url)} sends the same items over and over")
            known.update(ids)
            for item in found:
                scene = self._scene(self._with_address(item), self.url.rstrip("/") + "/search", stored)
                if scene is not None:
                    yield scene

    def _next(self, pages: Iterator[dict[str, Any]]) -> dict[str, Any] | None:
        with self._told(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pystac-client, about what a catalogue does not declare
            return next(pages, None)

    def _with_address(self, item: Mapping[str, Any]) -> Mapping[str, Any]:
        """An item of an API, with the address under which it can be had again."""
        if items.address(item) or not item.get("collection"):
            return item
        href = f"{self.url.rstrip('/')}/collections/{quote(str(item['collection']))}/items/{quote(str(item.get('id')))}"
        return {**item, "links": [{"rel": "self", "href": href}]}

    def _open(self) -> None:
        """Find out what kind of catalogue it is, once."""
        if self._opened:
            return
        with self._told():
            if not is_remote(self.url):
                path = self._transport.allowed.file(Path(local_path(self.url)))
                if path.is_dir():
                    self._static = list(self._folder(path))
                    self._opened = True
                    return
            text = self._text(self.url)
            document = _parsed(text, self.url)
            links = _links(document)
            if is_remote(self.url) and ("search" in links or document.get("conformsTo")):
                self._client = self._api(self.url, text, links)
            elif is_remote(self.url) and document.get("type") == "Collection" and "items" in links and "root" in links:
                root = joined(self.url, links["root"][0]["href"])
                text = self._text(root)
                self.collections = (str(document.get("id")),)
                self.url = root
                self._client = self._api(root, text, _links(_parsed(text, root)))
            else:
                self._static = list(self._walked(document, self.url))
        self._opened = True

    def _api(self, url: str, text: str, links: Mapping[str, list[Mapping[str, Any]]]) -> Client:
        self._io.prime(url, text, links.get("search", []))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Client.open(url, stac_io=self._io)

    def _folder(self, path: Path) -> Iterator[tuple[Mapping[str, Any], str]]:
        """Items of a folder: of its catalogue if it has one, else of all its JSON files."""
        for name in ("catalog.json", "collection.json"):
            if (path / name).is_file():
                yield from self._walked(_parsed(self._text(str(path / name)), str(path / name)), str(path / name))
                return
        files = sorted(file for end in ("*.json", "*.geojson") for file in path.rglob(end))
        if not files:
            msg = f"folder {shown(str(path))!r} holds no .json or .geojson file with STAC items"
            raise BadConfiguration(msg)
        for file in files[:MOST_FILES]:
            document = self._leaf(str(file))
            if document is not None and document.get("type") in ("Feature", "FeatureCollection"):
                yield from self._walked(document, str(file))

    def _walked(self, document: Mapping[str, Any], place: str) -> Iterator[tuple[Mapping[str, Any], str]]:
        """All items of a document and of what it links to, each file once."""
        seen = {place}
        level = [(document, place)]
        while level:
            ahead: list[str] = []
            for one, where in level:
                kind = one.get("type")
                if kind == "Feature":
                    yield one, where
                elif kind == "FeatureCollection":
                    features = one.get("features")
                    for feature in features if isinstance(features, list) else ():
                        if isinstance(feature, dict):
                            yield feature, where
                elif "links" in one and (kind in ("Catalog", "Collection") or "stac_version" in one):
                    links = _links(one)
                    for relation in ("child", "item"):
                        for link in links.get(relation, []):
                            target = joined(where, link["href"])
                            if target not in seen:
                                seen.add(target)
                                ahead.append(target)
                elif where == place:
                    msg = f"{shown(place)} is no STAC catalogue, collection, item collection or item"
                    raise BadConfiguration(msg)
            if len(seen) > MOST_FILES:
                msg = f"{shown(self.url)} leads to more than {MOST_FILES:,} files; name a collection, or use an API"
                raise BadConfiguration(msg)
            level = [(leaf, where) for where in ahead if (leaf := self._leaf(where)) is not None]

    def _leaf(self, place: str) -> Mapping[str, Any] | None:
        """A file of a static catalogue; None, with a line in the log, where it cannot be had."""
        try:
            return _parsed(self._text(place), place)
        except (Refused, Gone, Denied, Rejected, NoAnswer, BadConfiguration) as error:
            log.warning("a file of the catalogue is left out", file=shown(place), error=str(error))
            return None

    def _text(self, place: str) -> str:
        if is_remote(place):
            return _decoded(self._transport.get(place, cap=MOST_BYTES, headers=_JSON).body, place)
        path = self._transport.file(place)
        if path.stat().st_size > MOST_BYTES:
            msg = f"{shown(place)} is larger than {MOST_BYTES:,} bytes"
            raise Refused(msg)
        return _decoded(path.read_bytes(), place)

    def _told(self) -> "_Told":
        return _Told(self.url, self.collections)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Named:
    """An item of a static catalogue."""

    name: Scene
    """Without a handle, unless it cannot be read."""
    item: Mapping[str, Any]
    base: str
    """Address of what it came in."""


class _Told:
    """Tells what goes wrong with a catalogue in the terms of the monitor."""

    def __init__(self, url: str, collections: Sequence[str]) -> None:
        self.place = shown(url)
        self.collections = collections

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, Denied):
            msg = (
                f"{error}; this version sends no credentials to STAC catalogues: "
                "name an open catalogue, or a proxy that adds them, as [source] url"
            )
            raise BadConfiguration(msg) from None
        if isinstance(error, Endless | Cut):
            msg = f"{error}; try again later"
            raise TryLater(msg) from None
        if isinstance(error, Gone | Rejected):
            named = f" and collections {list(self.collections)}" if self.collections else ""
            msg = f"{error}; check [source] url{named}"
            raise BadConfiguration(msg) from None
        if isinstance(error, Refused):
            raise BadConfiguration(str(error)) from None
        if isinstance(error, MonitorError):
            return
        if isinstance(
            error, APIError | STACError | ValueError | KeyError | TypeError | AttributeError | RecursionError
        ):
            msg = f"{self.place} answers with something that is no STAC ({type(error).__name__}); try again later"
            raise TryLater(msg) from error


class _SafeIO(StacApiIO):
    """What pystac-client reads through: every request goes by the rules of the transport, with caps on a search."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(max_retries=None)
        self.transport = transport
        self.base = ""
        self.only_get = False
        self._primed: dict[str, str] = {}
        self.begin()

    def begin(self) -> None:
        """A new search."""
        self._asked: set[tuple[str, str, str]] = set()
        self._bytes = 0

    def prime(self, url: str, text: str, search: Sequence[Mapping[str, Any]]) -> None:
        """The landing page, which was read already."""
        self.base = url.rstrip("/") + "/"
        self._primed = {url.rstrip("/"): text}
        methods = {str(link.get("method") or "GET").upper() for link in search}
        self.only_get = bool(search) and "POST" not in methods and any("method" in link for link in search)

    def read_text(self, source: pystac.link.HREF, *args: Any, **kwargs: Any) -> str:
        """Text at an address; nothing local is ever read for an API."""
        if isinstance(source, str) and source.rstrip("/") in self._primed and not kwargs.get("parameters"):
            return self._primed[source.rstrip("/")]
        if not isinstance(source, pystac.Link):
            return self.request(str(source), *args, **kwargs)
        return str(super().read_text(source, *args, **kwargs))

    def json_loads(self, txt: str, *_: Any, **__: Any) -> Any:
        """What a text says."""
        return _json(txt)

    def request(
        self,
        href: str,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> str:
        """One answer of the API."""
        method = (method or "GET").upper()
        href = urljoin(self.base, href)
        body: bytes | None = None
        if method == "POST":
            body = json.dumps(parameters or {}, sort_keys=True).encode()
        elif method == "GET":
            if parameters:
                href += ("&" if urlsplit(href).query else "?") + urlencode(parameters, doseq=True)
        else:
            _circles(f"{shown(href)} wants the method {method[:10]!r}, which a search does not need")
        key = (method, href, body.decode() if body else "")
        if key in self._asked:
            _circles(f"{shown(href)} leads back to a page that was read already")
        self._asked.add(key)
        if len(self._asked) > MOST_PAGES:
            _circles(f"{shown(href)} has more than {MOST_PAGES} pages")
        answer = self.transport.get(
            href,
            cap=MOST_BYTES,
            method=method,
            headers={**_JSON, **({"Content-Type": "application/json"} if body else {}), **_plain(headers)},
            body=body,
        )
        self._bytes += len(answer.body)
        if self._bytes > MOST_IN_ALL:
            _circles(f"{shown(href)} sends more than {MOST_IN_ALL:,} bytes in one search")
        return _decoded(answer.body, href)


class _Addresses:
    """Where the files of a scene are, signed, and signed once more if need be."""

    def __init__(self, transport: Transport, assets: Assets, sign: Sign | None) -> None:
        self._transport = transport
        self._assets = assets
        self._sign = sign
        self._fresh: dict[str, str] | None = None
        self._lock = threading.Lock()

    def unsigned(self, asset: Asset) -> str:
        """The address of a file as the item names it."""
        return joined(self._assets.base, asset.href)

    def of(self, asset: Asset) -> str:
        """The address of a file."""
        href = self.unsigned(asset)
        return self._sign(href, False) if self._sign and is_remote(href) else href

    def renewable(self, asset: Asset) -> bool:
        """Whether the address carries a signature that can be had anew."""
        return self._sign is not None or bool(urlsplit(asset.href).query and self._assets.again)

    def renewed(self, asset: Asset) -> str:
        """The address with a new signature: signed again, or as the item says it now."""
        href = self.unsigned(asset)
        if self._sign is not None:
            return self._sign(href, True)
        with self._lock:
            if self._fresh is None:
                place = joined(self._assets.base, self._assets.again)
                text = _decoded(self._transport.get(place, cap=MOST_BYTES, headers=_JSON).body, place)
                said = _parsed(text, place).get("assets")
                self._fresh = {
                    str(key): joined(self._assets.base, str(one["href"]))
                    for key, one in (said.items() if isinstance(said, dict) else ())
                    if isinstance(one, dict) and "href" in one
                }
        return self._fresh.get(asset.key, href)


class _AssetReader:
    """Bytes of one file of a scene; what goes wrong is told as of the scene."""

    def __init__(
        self, transport: Transport, addresses: _Addresses, asset: Asset, over: threading.Event | None = None
    ) -> None:
        self._over = over
        self.name = f"asset {items.inert(asset.key)!r}"
        self._transport = transport
        self._addresses = addresses
        self._asset = asset
        self._inner: Ranges | PlainFile | None = None
        self._opening = threading.Lock()
        self.place = addresses.unsigned(asset)
        """Address as the item names it."""
        self.size: int | None = None
        """Of the file, once it is known. [byte]"""

    def read(self, offset: int, length: int) -> bytes:
        """See :class:`monitor.imagery.stac.blocks.Reader`; ranges of a file may be read at the same time."""
        try:
            with self._opening:
                if self._inner is None:
                    self._inner = self._opened()
            data = self._inner.read(offset, length)
            self.size = self._inner.size
            return data
        except NoAnswer as error:
            raise SceneRejected(NO_ANSWER, str(error)) from None
        except Gone as error:
            raise SceneRejected(MISSING, str(error)) from None
        except Denied as error:
            if self._addresses.renewable(self._asset):
                msg = f"{error}, with a new signature too"
                raise SceneRejected(MISSING, msg) from None
            if error.status == 403 and isinstance(self._inner, Ranges) and self._transport.answered(self._inner.url):
                raise SceneRejected(MISSING, str(error)) from None  # how object stores say that there is none
            msg = f"{error}; this version sends no credentials: name a catalogue whose files are open or signed"
            raise BadConfiguration(msg) from None
        except (Refused, Rejected, OSError) as error:
            raise SceneRejected(items.BROKEN, str(error)) from None

    def _opened(self) -> Ranges | PlainFile:
        address = self._addresses.of(self._asset)
        if not is_remote(address):
            return PlainFile(self._transport.file(address), self._transport.tally)
        renewed = (lambda: self._addresses.renewed(self._asset)) if self._addresses.renewable(self._asset) else None
        return Ranges(self._transport, address, renewed, self._over, size=self.size)


def _signer(url: str) -> Sign | None:
    """The signer of Planetary Computer where its API is named."""
    if (urlsplit(url).hostname or "") != "planetarycomputer.microsoft.com":
        return None

    def sign(href: str, again: bool) -> str:
        try:
            import planetary_computer  # type: ignore[import-untyped]
            from planetary_computer import sas
        except ImportError as error:
            msg = (
                "files of Planetary Computer must be signed; "
                "install the signing package: pip install 'regrowth-monitor[planetary-computer]'"
            )
            raise BadConfiguration(msg) from error
        if again:
            sas.TOKEN_CACHE.clear()
        try:
            return _in_time(lambda: str(planetary_computer.sign_url(href)))
        except OSError as error:  # all errors of requests are, and TimeoutError
            msg = f"Planetary Computer gives no signature ({type(error).__name__}); try again later"
            raise TryLater(msg) from None

    return sign


def _in_time(call: Callable[[], str]) -> str:
    """What a call of another package gives, which knows no deadline: after it the call is left to itself.

    Raises
    ------
    TimeoutError
        It takes longer than a request may.
    """
    found: Future[str] = Future()

    def run() -> None:
        try:
            found.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            found.set_exception(error)

    threading.Thread(target=run, daemon=True, name="signature").start()
    return found.result(BUDGET)


def _distinct(scenes: Iterable[Scene]) -> list[Scene]:
    """Copies of a granule dropped, its pieces told apart.

    Two items of one acquisition, tile and baseline are copies if their footprints overlap: what can be read goes
    first, then the greatest id, since ids end in the time of processing. If they do not, they are pieces, and the
    later ones are given tiles of their own.
    """
    groups: dict[tuple[str, str, str], list[Scene]] = {}
    for scene in sorted(scenes, key=lambda s: (not isinstance(s.handle, SceneRejected), s.id), reverse=True):
        group = groups.setdefault((scene.acquisition, scene.tile, scene.baseline), [])
        if not any(_overlap(scene, other) for other in group):
            group.append(scene)
    kept: list[Scene] = []
    for group in groups.values():
        pieces = sorted(group, key=lambda s: s.id)
        kept.append(pieces[0])
        kept += [
            dataclasses.replace(piece, tile=f"{piece.tile}.{n}".lstrip("."))
            for n, piece in enumerate(pieces[1:], start=1)
        ]
    return kept


def _overlap(one: Scene, other: Scene) -> bool:
    if one.footprint is None or other.footprint is None:
        return True
    smaller = min(one.footprint.area, other.footprint.area)
    return bool(one.footprint.intersection(other.footprint).area >= SEPARATE * smaller)


def _of(scene: Scene, error: SceneRejected) -> SceneRejected:
    return SceneRejected(error.reason, f"scene {scene.id!r}: {error}")


def _links(document: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    """Links that can be followed, by relation."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    links = document.get("links")
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and isinstance(link.get("href"), str):
            found.setdefault(str(link.get("rel")), []).append(link)
    return found


def _id(item: object) -> str:
    return items.inert(item.get("id")) if isinstance(item, dict) else ""


def _json(text: str) -> Any:
    """What a JSON text says; what goes beyond the standard (``NaN``) in the way of Python's own parser."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return json.loads(text)


def _parsed(text: str, place: str) -> Mapping[str, Any]:
    try:
        document = _json(text)
    except (ValueError, RecursionError) as error:
        msg = f"{shown(place)} is no JSON"
        raise BadConfiguration(msg) from error
    if not isinstance(document, dict):
        msg = f"{shown(place)} is no STAC"
        raise BadConfiguration(msg)
    return document


def _decoded(body: bytes, place: str) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        msg = f"{shown(place)} is no text in UTF-8"
        raise Refused(msg) from error


def _plain(headers: object) -> dict[str, str]:
    """Headers that a next link asks to send along, but none that would change who is asked."""
    if not isinstance(headers, dict):
        return {}
    return {
        str(key): str(value)
        for key, value in headers.items()
        if str(key).lower() not in ("host", "content-length", "transfer-encoding", "authorization", "cookie")
        and "\n" not in f"{key}{value}"
        and "\r" not in f"{key}{value}"
    }


def _circles(what: str) -> NoReturn:
    msg = f"{what}; the search is stopped, try again later"
    raise TryLater(msg)


_JSON: Final = {"Accept": "application/geo+json, application/json"}
