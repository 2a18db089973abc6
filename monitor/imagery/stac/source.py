"""A STAC catalogue as a source of scenes.

Items come from :mod:`monitor.imagery.stac.catalogue` and become scenes in :mod:`monitor.imagery.stac.items`; pixels are
read by :mod:`monitor.imagery.stac.scene_reader`.
"""

import contextlib
import threading
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from itertools import islice
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from monitor.errors import BROKEN_SCENE, UNANSWERED_FILE, SceneRejected, TryLater
from monitor.imagery import bands
from monitor.imagery.addresses import AllowList, display_address, join_address
from monitor.imagery.fetch_errors import FetchRefused
from monitor.imagery.source import Frame, IsStored, Scene, Source
from monitor.imagery.stac.asset_reader import TOKENS, AssetAddresses, AssetReader, PlanetaryComputer, Sign
from monitor.imagery.stac.assets import SceneAssets
from monitor.imagery.stac.blocks import TileLayout, read_layout
from monitor.imagery.stac.buckets import S3Account, fetched_address, needs_account
from monitor.imagery.stac.catalogue import Catalogue
from monitor.imagery.stac.documents import safe_text
from monitor.imagery.stac.grid_index import GridIndexes, crs_name
from monitor.imagery.stac.items import rejected_scene, scene_from_item
from monitor.imagery.stac.scene_reader import BlockBudget, SceneReader
from monitor.imagery.transport import Fetcher, TransferCounts
from monitor.sites.projection import utm_zone

log = structlog.get_logger()

MAX_REQUESTS_IN_FLIGHT: Final = 32  # most concurrent requests for parts of files, for all threads of a process together
SCENES_AHEAD: Final = 4  # scenes that are fetched while one is being used
CACHED_HEADERS: Final = 1024  # most files whose headers are cached in memory; a header takes about 10 kB
GRID_ATTEMPTS: Final = 8  # most scenes of a static catalogue whose files are opened to determine its grid
COPY_OVERLAP: Final = 0.5
"""Two items of one granule and baseline are copies if they share this part of the smaller footprint; otherwise they are
two pieces of it (a datatake received by two ground stations). [1]"""


type _StaticScene = tuple[Scene, Mapping[str, Any], str]
"""Scene of an item of a static catalogue, without a handle unless the item cannot be used; the item; its document."""


class Stac(Source):
    """A STAC catalogue as a :class:`monitor.imagery.source.Source`.

    `url` is the address of an API, a static catalogue, a collection, an item collection or an item; or the path of such
    a file, or of a folder of them. `collections` are the ids that are searched; empty: of an API those of
    :data:`monitor.imagery.stac.catalogue.KNOWN_COLLECTIONS`, of another catalogue, or where an API lists none of them,
    all. `allow_hosts` are private or loopback hosts (``host`` or ``host:port``) and local folders that may be read,
    else BadConfiguration is raised. `sign` signs the addresses of assets, by default :class:`PlanetaryComputer` if
    `url` is its API; `account` those of files in buckets that need one, which are refused without it. `fetcher` makes
    the requests, by default one that allows `allow_hosts`; `in_flight` are the most concurrent ones for parts of files.
    """

    def __init__(
        self, url: str, *, collections: Sequence[str] = (), allow_hosts: Sequence[str] = (), name: str = "stac",
        sign: Sign | None = None, account: S3Account | None = None, fetcher: Fetcher | None = None,
        in_flight: int = MAX_REQUESTS_IN_FLIGHT,
    ) -> None:  # fmt: skip
        self.name = name
        self._fetcher = fetcher or Fetcher(AllowList.parse(allow_hosts))
        is_planetary_computer = urlsplit(url).hostname == urlsplit(TOKENS).hostname
        self._sign = sign or (PlanetaryComputer(self._fetcher) if is_planetary_computer else None)
        self._account = account or S3Account("", "")
        self._catalogue = Catalogue(url, collections, self._fetcher)
        self._static_scenes: list[_StaticScene] | None = None
        self._pool = ThreadPoolExecutor(in_flight, thread_name_prefix="stac")
        self._headers: OrderedDict[str, tuple[TileLayout, int | None]] = OrderedDict()
        self._headers_lock = threading.Lock()
        self._searching = threading.Lock()

    @property
    def transfers(self) -> TransferCounts:
        """Requests and bytes so far."""
        return self._fetcher.transfers

    def grid(self, geometry: BaseGeometry) -> GeoBox:
        """Grid of the scenes over a place, longitude and latitude.

        For a static catalogue that of the earliest scene over the place. Otherwise, also while the catalogue is down,
        the UTM zone of the centroid with pixels of 10 m, or of 30 m for HLS and for Landsat alone, which is delivered
        in northern zones with corners at odd multiples of 15 m. Raises BadConfiguration if the catalogue refuses
        access, or does not exist, and TryLater if no file of a static catalogue that may tell the grid can be reached.
        """
        with contextlib.suppress(TryLater):
            self._catalogue.open()
        native = self._native_grid(geometry) if self._catalogue.is_static else None
        if native is not None:
            return native
        names = " ".join(self._catalogue.collections).lower()
        sentinel2 = "sentinel-2" in names or "ga_s2" in names
        landsat, harmonised = ("landsat" in names or "ga_ls" in names) and not sentinel2, "hls" in names
        zone = utm_zone(geometry)
        crs = CRS(f"EPSG:{32600 + zone.epsg % 100}") if landsat and zone.epsg else zone
        pixel = 30.0 if landsat or harmonised else 10.0
        corner = 15.0 if landsat else 0.0
        return GeoBox((1, 1), Affine(pixel, 0.0, corner, 0.0, -pixel, corner), crs)

    def _native_grid(self, geometry: BaseGeometry) -> GeoBox | None:
        """Grid of the earliest readable scene of a static catalogue over a place; None if there is none.

        Raises TryLater where the only reason for that may be a host that cannot be reached: a grid is for good.
        """
        centre = geometry.centroid
        over = [static for static in self._all_static_scenes() if static[0].touches(centre)]
        over.sort(key=lambda static: (static[0].time, static[0].id))
        scenes = (scene for static in over if (scene := self._full_scene(static)) is not None)
        readable = (scene for scene in scenes if isinstance(scene.handle, SceneAssets))
        unreached: SceneRejected | None = None
        for scene in islice(readable, GRID_ATTEMPTS):
            assets: SceneAssets = scene.handle
            red = assets.bands[bands.OBSERVED.index("red")]
            assert red is not None  # a scene without it is rejected
            transform = Affine(*red.transform) if red.transform else None
            crs = CRS(scene.crs) if scene.crs else None
            if transform is None or crs is None:
                try:
                    layout = read_layout(AssetReader(self._fetcher, self._addresses(assets), red))
                except SceneRejected as error:
                    unreached = error if error.reason == UNANSWERED_FILE else unreached
                    continue
                transform, crs = layout.transform, CRS(crs_name(layout))
            if transform.b == transform.d == 0 and transform.a == -transform.e and crs.projected:
                return GeoBox((1, 1), transform, crs)
        if unreached is not None:
            raise TryLater(str(unreached))
        return None

    def search(self, area: BaseGeometry, since: date, until: date, stored: IsStored | None = None) -> list[Scene]:
        """Scenes that touch an area, ascending by time; see :meth:`monitor.imagery.source.Source.search`.

        An item that cannot be used is returned as a scene whose reading raises the reason; an entry without id or date
        is skipped with a warning.
        """
        self._catalogue.open()
        if self._catalogue.is_static:
            there = [s for s in self._all_static_scenes() if since <= s[0].time.date() <= until and s[0].touches(area)]
            scenes = [scene for static in there if (scene := self._full_scene(static, stored)) is not None]
        else:
            base = self._catalogue.url.rstrip("/") + "/search"
            with self._searching:
                converted = (self._scene(item, base, stored) for item in self._catalogue.search(area, since, until))
                scenes = [s for s in converted if s is not None and since <= s.time.date() <= until and s.touches(area)]
        return sorted(_without_copies(scenes), key=lambda scene: (scene.time, scene.acquisition, scene.tile, scene.id))

    def check_collections(self) -> None:
        """Check that the configured collections exist, see :meth:`monitor.imagery.source.Source.check_collections`."""
        self._catalogue.check_collections()

    def check_account(self, scenes: Sequence[Scene]) -> None:
        """Check that the credentials open the files of the last scene, if they are in a bucket of an account.

        Raises BadConfiguration if they do not, and SceneRejected if the file cannot be read.
        """
        handle = scenes[-1].handle if scenes else None
        if isinstance(handle, SceneAssets) and needs_account(handle.quality.href):
            AssetReader(self._fetcher, self._addresses(handle), handle.quality).read(0, 1)

    def read(self, scenes: Sequence[Scene], grids: Sequence[GeoBox]) -> Iterator[Iterable[Frame] | SceneRejected]:
        """Each scene on all grids; see :meth:`monitor.imagery.source.Source.read`."""
        indexes, budget = GridIndexes(grids), BlockBudget()
        upcoming = iter(scenes)
        started: deque[SceneReader | SceneRejected] = deque()
        try:
            for scene in scenes:
                if not started:
                    started.append(self._start(next(upcoming), indexes, budget))
                reader = started.popleft()
                frames: Iterable[Frame] | SceneRejected
                if isinstance(reader, SceneRejected):
                    frames = reader
                else:
                    try:
                        reader.wait_for_headers()
                        frames = _named_errors(scene, reader.frames())
                    except SceneRejected as error:
                        frames = _of_scene(scene, error)
                # Only now, since several scenes of a server that sends only whole files would fill the memory.
                ahead = 0 if self._fetcher.has_rangeless_server else SCENES_AHEAD
                started.extend(
                    self._start(next_scene, indexes, budget)
                    for next_scene in islice(upcoming, max(0, ahead - len(started)))
                )
                for waiting in started:
                    if isinstance(waiting, SceneReader):
                        waiting.read_ahead()
                yield frames
        finally:
            for waiting in started:
                if isinstance(waiting, SceneReader):
                    waiting.close()

    def _start(self, scene: Scene, indexes: GridIndexes, budget: BlockBudget) -> SceneReader | SceneRejected:
        """Start to fetch a scene; the error if it cannot be read."""
        if isinstance(scene.handle, SceneRejected):
            return scene.handle
        if not isinstance(scene.handle, SceneAssets):
            return SceneRejected(BROKEN_SCENE, f"scene {scene.id!r} is not of this source")
        assets = scene.handle
        addresses = self._addresses(assets)
        cancelled = threading.Event()
        readers = [
            None if asset is None else (asset, AssetReader(self._fetcher, addresses, asset, cancelled))
            for asset in (*assets.bands, assets.quality)
        ]
        return SceneReader(
            readers=readers, indexes=indexes, epsg=assets.epsg, quality=scene.quality, read_layout=self._read_layout,
            workers=self._pool, budget=budget, transfers=self.transfers, cancelled=cancelled,
        )  # fmt: skip

    def _addresses(self, assets: SceneAssets) -> AssetAddresses:
        sign = self._account if needs_account(assets.quality.href) else self._sign
        return AssetAddresses(self._fetcher, assets, sign)

    def _read_layout(self, reader: AssetReader) -> TileLayout:
        """The header of a file, fetched once."""
        with self._headers_lock:
            known = self._headers.get(reader.address)
        if known is not None:
            layout, reader.size = known
            return layout
        layout = read_layout(reader)
        with self._headers_lock:
            self._headers[reader.address] = layout, reader.size
            while len(self._headers) > CACHED_HEADERS:
                self._headers.popitem(last=False)
        return layout

    def _scene(self, item: Mapping[str, Any], base: str, stored: IsStored | None = None) -> Scene | None:
        """The scene of an item, its addresses checked; None, with a warning, if the item has no id or date."""
        try:
            scene = scene_from_item(item, base=base, source=self.name, stored=stored)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
            name = safe_text(item.get("id"))
            log.warning("an item that cannot be parsed is skipped", item=name, error=type(error).__name__)
            return None
        if scene is None:
            name = safe_text(item.get("id"))
            log.warning("an item without id or date is skipped", item=name, catalogue=display_address(base))
            return None
        if isinstance(scene.handle, SceneAssets):
            try:
                for asset in (*scene.handle.bands, scene.handle.quality):
                    if asset is not None:
                        self._fetcher.check(fetched_address(join_address(scene.handle.base, asset.href)))
            except FetchRefused as error:
                # Without a baseline it is replaced once the host or folder is allowed.
                return rejected_scene(scene, SceneRejected(BROKEN_SCENE, f"scene {scene.id!r}: {error}"))
        return scene

    def _all_static_scenes(self) -> list[_StaticScene]:
        """Every item of a static catalogue, converted once without its assets."""
        if self._static_scenes is None:
            self._static_scenes = [
                (summary, item, base)
                for item, base in self._catalogue.static_items()
                if (summary := self._scene(item, base, lambda _: True)) is not None
            ]
        return self._static_scenes

    def _full_scene(self, static: _StaticScene, stored: IsStored | None = None) -> Scene | None:
        """A scene of a static catalogue, with its assets unless it is stored; None if the item cannot be parsed."""
        summary, item, base = static
        if summary.handle is None and stored is not None and stored(summary):
            return summary
        return self._scene(item, base)


def _without_copies(scenes: Iterable[Scene]) -> list[Scene]:
    """Remove copies of a granule, and give pieces of a granule a tile each.

    Items of one acquisition, tile and baseline are copies if their footprints overlap: a readable one is preferred,
    then the greatest id, since ids end in the time of processing. Otherwise they are pieces of one granule.
    """
    groups: dict[tuple[str, str, str], list[Scene]] = {}
    for scene in sorted(scenes, key=lambda s: (not isinstance(s.handle, SceneRejected), s.id), reverse=True):
        group = groups.setdefault((scene.acquisition, scene.tile, scene.baseline), [])
        if not any(_overlap(scene, other) for other in group):
            group.append(scene)
    distinct: list[Scene] = []
    for group in groups.values():
        first, *others = sorted(group, key=lambda s: s.id)
        distinct.append(first)
        distinct += [
            replace(piece, tile=f"{piece.tile}.{number}".lstrip(".")) for number, piece in enumerate(others, start=1)
        ]
    return distinct


def _overlap(one: Scene, other: Scene) -> bool:
    if one.footprint is None or other.footprint is None:
        return True
    smaller = min(one.footprint.area, other.footprint.area)
    return bool(one.footprint.intersection(other.footprint).area >= COPY_OVERLAP * smaller)


def _named_errors(scene: Scene, frames: Iterator[Frame]) -> Iterator[Frame]:
    try:
        yield from frames
    except SceneRejected as error:
        raise _of_scene(scene, error) from error


def _of_scene(scene: Scene, error: SceneRejected) -> SceneRejected:
    return SceneRejected(error.reason, f"scene {scene.id!r}: {error}")
