"""Earth Engine as a source: Sentinel-2 and Landsat 8 and 9, stacked into few requests, means drawn by the server.

Scenes are asked for by their own names; their pixels come as integers on the grid of the site, many dates in one
request. Where the grid is not in the scene's own system or lattice the server takes the nearest pixel. Limits of one
request: 48 MB of pixels, 1,024 bands, 32,768 pixels a side; of one query: 5,000 images.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, timedelta
from itertools import repeat
from pathlib import Path
from typing import Any, Final

import ee
import numpy as np
import shapely
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from monitor.errors import BadConfiguration, SceneRejected, TryLater, UnknownCollection
from monitor.imagery import bands
from monitor.imagery.earthengine import expressions as ee_graphs
from monitor.imagery.earthengine.answers import Asset, scene_of, table_of, unpacked
from monitor.imagery.earthengine.batches import MOST_BANDS, MOST_BYTES, in_stacks, pixel_grid, system, tiles
from monitor.imagery.earthengine.connection import Connection, Refused, compute_value
from monitor.imagery.earthengine.transport import HIGH_VOLUME, checked
from monitor.imagery.source import Cost, Frame, IsStored, Scene
from monitor.sites.projection import lonlat, projected

LAYERS: Final = (*bands.OBSERVED, ee_graphs.QUALITY)
"""Read of each scene, two bytes each."""
MOST_HELD: Final = 256_000_000
"""Of pixels of several grids, read together. [byte]"""
STACKS_AHEAD: Final = 4
"""Stacks of scenes that are asked for before the one before them was used, if that is not too many pixels."""
REACH: Final = 60.0
"""Round a unit, how far cloud is looked for: clouds cannot be grown by the server's arithmetic. [m]"""
CLOUDY: Final = 0.1
"""A unit is not used when more than this share of it and what lies within :data:`REACH` is cloud. [1]"""
CORNERS: Final = 200
"""Of an area that is sent as it is; of a larger one its hull is sent."""
EECU_A_REQUEST: Final = 0.2
EECU_A_SCENE: Final = 0.05
EECU_A_MEGAPIXEL: Final = 1.0
"""Guesses, made without an account and never measured: for planning, set against the project's own usage page before
money depends on it. Of reading a million pixels of one band, and as much again of arithmetic on them. [EECU s]"""


class EarthEngine:
    """Earth Engine as a source (see the module).

    Parameters
    ----------
    project : str or None
        Cloud project that is charged; None: the one of the service account.
    url : str, optional
        Endpoint; default: the one for many small requests.
    collections : sequence of str
        Of :data:`monitor.imagery.earthengine.expressions.PRODUCTS`; empty: Sentinel-2.
    token : str, optional
        Bearer token.
    key_file : Path, optional
        Service account key. Without it and without a token the credentials of ``earthengine authenticate`` count, or
        the application-default ones.
    allow_hosts : sequence of str
        Private or loopback hosts that the endpoint may be on.
    in_flight, a_minute : int
        Most requests at one time (the service allows 40) and in a minute (6,000), for all threads together.
    deadline : float
        Longest that one request may take; the service itself gives up after 5 minutes. [s]
    patience : float
        Longest from the first failure of a request to giving up. [s]

    Raises
    ------
    BadConfiguration
        A collection is not known, or the endpoint is not allowed.
    """

    name = "earthengine"
    ring = (300.0, 10_000.0)
    reduces_on_server = True

    def __init__(
        self,
        *,
        project: str | None,
        url: str | None = None,
        collections: Sequence[str] = (),
        token: str | None = None,
        key_file: Path | None = None,
        allow_hosts: Sequence[str] = (),
        in_flight: int = 20,
        a_minute: int = 3000,
        deadline: float = 310.0,
        patience: float = 300.0,
    ) -> None:
        self.collections = tuple(collections) or (next(iter(ee_graphs.PRODUCTS)),)
        for collection in self.collections:
            if collection not in ee_graphs.PRODUCTS:
                known = ", ".join(ee_graphs.PRODUCTS)
                msg = f"[source] collections: {collection!r} is not known; known are {known}"
                raise BadConfiguration(msg)
        if not project and key_file is None:
            msg = '[source] kind = "earthengine" needs project = "<your Cloud project>"'
            raise BadConfiguration(msg)
        self.connection = Connection.shared(
            project=project,
            url=checked(url, allow_hosts) if url else HIGH_VOLUME,
            token=token,
            key_file=key_file,
            in_flight=in_flight,
            a_minute=a_minute,
            deadline=deadline,
            patience=patience,
        )
        self._workers = ThreadPoolExecutor(in_flight, thread_name_prefix="earthengine")
        self._scored: bool | None = None
        self._probing = threading.Lock()

    @property
    def requests(self) -> Counter[str]:
        """Requests so far by kind: ``start``, ``search``, ``pixels``, ``values``; ``retry`` counts those repeated."""
        return Counter(self.connection.requests)

    @property
    def received(self) -> int:
        """Bytes received so far, unpacked. [byte]"""
        return self.connection.received

    def grid(self, geometry: BaseGeometry) -> GeoBox:
        """UTM zone of the ground, pixels of the finest collection, on the lattice of its own tiles."""
        product = min((ee_graphs.PRODUCTS[name] for name in self.collections), key=lambda product: product.pixel)
        point = geometry.centroid
        side, corner = product.pixel, product.corner
        return GeoBox((1, 1), Affine(side, 0.0, corner, 0.0, -side, corner), CRS.utm(point.x, point.y))

    def search(self, area: BaseGeometry, since: date, until: date, stored: IsStored | None = None) -> list[Scene]:
        """Scenes over an area, in one request; in more only where they are too many for one.

        What is stored is looked at like the rest: it is no work beyond the request.
        """
        if until < since:
            return []
        sent = area if shapely.get_num_coordinates(area) <= CORNERS else area.convex_hull
        found = []
        for collection, features in self._offered(sent, since, until).items():
            scored = bool(self._scored) and ee_graphs.PRODUCTS[collection].quality == "scl"
            found += [scene_of(feature, collection, sent, self.name, scored=scored) for feature in features]
        over = [scene for scene in found if scene.footprint is None or scene.footprint.intersects(area)]
        return sorted(over, key=lambda scene: (scene.time, scene.id))

    def check_collections(self) -> None:
        """A search says by itself where a collection is not there."""

    def read(self, scenes: Sequence[Scene], grids: Sequence[GeoBox]) -> Iterator[list[Frame] | SceneRejected]:
        """Pixels of many dates a request, several requests at one time; a scene that breaks a stack is found by halving
        it. The first requests are under way when this returns.
        """
        sizes = [grid.shape[0] * grid.shape[1] for grid in grids]
        most = _scenes_a_request(sizes)
        held = min(most, len(scenes)) * sum(sizes) * 2 * len(LAYERS)
        ahead = max(0, min(STACKS_AHEAD, MOST_HELD // max(held, 1) - 1))

        def pixels(grid: GeoBox) -> Callable[[Sequence[Scene], threading.Event], list[Frame]]:
            def ask(together: Sequence[Scene], over: threading.Event) -> list[Frame]:
                found = self._pixels(together, grid, over)
                return [Frame(grid=grid, pixels=one[:-1], quality=one[-1]) for one in found]

            return ask

        streams = [in_stacks(scenes, most, pixels(grid), workers=self._workers, ahead=ahead) for grid in grids]
        return self._together(streams, len(scenes))

    def _together(
        self, streams: Sequence[Iterator[Frame | SceneRejected]], scenes: int
    ) -> Iterator[list[Frame] | SceneRejected]:
        """Of each scene the frames on all grids; one that cannot be read on one of them cannot be read."""
        for together in zip(*streams, strict=True) if streams else repeat((), scenes):
            refused = next((one for one in together if isinstance(one, SceneRejected)), None)
            yield refused or [one for one in together if isinstance(one, Frame)]

    def reduce(
        self, scenes: Sequence[Scene], units: Sequence[BaseGeometry], lattice: GeoBox, recipe: Callable[[Any], Any]
    ) -> Iterator[np.ndarray | SceneRejected]:
        """Means over the clear pixels of units, drawn by the server; `recipe` returns single-band layers by name.

        A unit of which more than :data:`CLOUDY` is cloud, itself and what lies within :data:`REACH` of it, has no
        means, since its clouds are not grown.
        """
        if not units:
            return iter([np.empty((0, 0))] * len(scenes))
        crs = system(lattice)
        grown = [lonlat(projected(unit, crs).buffer(REACH, quad_segs=2), crs) for unit in units]
        layers = list(self.connection.make(lambda: recipe(ee.Image(0).rename("any"))))

        def ask(
            together: Sequence[Scene], over: threading.Event, first: int = 0, last: int = len(units)
        ) -> list[np.ndarray]:
            try:
                return self._means(together, (units[first:last], grown[first:last]), lattice, recipe, layers, over)
            except Refused as error:
                if len(together) > 1 or last - first == 1 or not error.too_much:
                    raise
                middle = (first + last) // 2
                ((one,), (other,)) = ask(together, over, first, middle), ask(together, over, middle, last)
                return [np.concatenate([one, other])]

        most = MOST_BANDS // (len(layers) + 2)
        return in_stacks(scenes, most, ask, workers=self._workers, ahead=STACKS_AHEAD)

    def cost(self, scenes: int, grid: GeoBox, units: int, *, layers: int = 13) -> Cost:
        """See :class:`monitor.imagery.source.Source`; `layers` are averaged over each unit."""
        size = grid.shape[0] * grid.shape[1]
        most = _scenes_a_request([size])
        pieces = len(tiles(grid, most=MOST_BYTES // (2 * len(LAYERS))))
        asked = -(-scenes // most) * pieces + (-(-scenes // (MOST_BANDS // (layers + 2))) if units else 0)
        megapixels = scenes * size * (len(LAYERS) + units * (len(LAYERS) + layers)) / 1e6
        return Cost(
            requests=asked,
            megabytes=scenes * size * len(LAYERS) * 2 / 1e6,
            eecu_seconds=asked * EECU_A_REQUEST + scenes * EECU_A_SCENE + megapixels * EECU_A_MEGAPIXEL,
        )

    def _offered(self, area: BaseGeometry, since: date, until: date) -> dict[str, list[dict[str, Any]]]:
        """What each collection offers, as the server describes it; too much for one answer is asked for by halves."""
        with self._probing:
            probe = self._scored is None and any(ee_graphs.PRODUCTS[c].quality == "scl" for c in self.collections)
            if probe:
                return self._probed(area, since, until)
        return self._listed(area, since, until, scored=bool(self._scored))

    def _probed(self, area: BaseGeometry, since: date, until: date) -> dict[str, list[dict[str, Any]]]:
        """The first search asks for Cloud Score+ as well: an answer shows that it is there."""
        try:
            found = self._listed(area, since, until, scored=True)
        except BadConfiguration as error:
            if not isinstance(error.__cause__, Refused):
                raise
            found = self._listed(area, since, until, scored=False)
            self._scored = False
        else:
            if any(found.values()):
                self._scored = True
        return found

    def _listed(self, area: BaseGeometry, since: date, until: date, *, scored: bool) -> dict[str, list[dict[str, Any]]]:
        def graph() -> Any:
            asked = [
                ee_graphs.offered(name, area, since, until, scored=scored and ee_graphs.PRODUCTS[name].quality == "scl")
                for name in self.collections
            ]
            return asked[0] if len(asked) == 1 else ee.List(asked)

        try:
            answer = self.connection.ask("search", lambda: compute_value(graph()))
        except Refused as error:
            if since < until and (error.too_much or "accumulating" in str(error)):
                middle = since + (until - since) // 2
                first = self._listed(area, since, middle, scored=scored)
                second = self._listed(area, middle + timedelta(days=1), until, scored=scored)
                return {name: first[name] + second[name] for name in self.collections}
            msg = f"Earth Engine cannot list [source] collections {', '.join(self.collections)}: {error}"
            absent = UnknownCollection if "not found" in str(error) else BadConfiguration
            raise (TryLater if error.too_much else absent)(msg) from error
        answers = [answer] if len(self.collections) == 1 else answer
        try:
            return {name: list(one["features"]) for name, one in zip(self.collections, answers, strict=True)}
        except (KeyError, TypeError, ValueError):
            msg = "Earth Engine's answer to a search is no list of images"
            raise TryLater(msg) from None

    def _images(self, scenes: Sequence[Scene]) -> tuple[Any, list[str]]:
        """The images of scenes of one group, as delivered, and their names in order."""
        asset: Asset = scenes[0].handle
        names = [scene.handle.index for scene in scenes]
        days = [scene.time.astimezone(UTC).date() for scene in scenes]
        scored = scenes[0].quality == "scl_cs"
        found = ee_graphs.named(asset.collection, asset.area, min(days), max(days), names, scored=scored)
        return found, names

    def _pixels(self, scenes: Sequence[Scene], grid: GeoBox, over: threading.Event) -> np.ndarray:
        """(scene, layer, y, x) uint16 of a grid; 0 without asking where a scene does not reach."""
        found = np.zeros((len(scenes), len(LAYERS), *grid.shape), dtype=np.uint16)
        extent = lonlat(box(*grid.boundingbox.bbox), system(grid))
        touching = [i for i, s in enumerate(scenes) if s.footprint is None or s.footprint.intersects(extent)]
        if not touching:
            return found
        for rows, columns, window in tiles(grid, most=MOST_BYTES // (2 * len(LAYERS) * len(touching))):
            found[touching, :, rows, columns] = self._asked([scenes[i] for i in touching], window, over)
        return found

    def _asked(self, scenes: Sequence[Scene], grid: GeoBox, over: threading.Event) -> np.ndarray:
        names = ee_graphs.stacked(len(scenes), LAYERS)

        def call() -> bytes:
            images, order = self._images(scenes)
            asked = {
                "expression": ee_graphs.stack(images, order, LAYERS),
                "fileFormat": "NPY",
                "grid": pixel_grid(grid),
            }
            return bytes(ee.data.computePixels(asked))

        wrong = ""
        for _ in range(2):
            try:
                found = unpacked(self.connection.ask("pixels", call, over), names, tuple(grid.shape))
            except ValueError as error:
                wrong = str(error)
            else:
                return found.reshape(len(scenes), len(LAYERS), *grid.shape)
        msg = f"Earth Engine answers twice with other pixels than asked for: {wrong}"
        raise TryLater(msg)

    def _means(
        self,
        scenes: Sequence[Scene],
        units: tuple[Sequence[BaseGeometry], Sequence[BaseGeometry]],
        lattice: GeoBox,
        recipe: Callable[[Any], Any],
        layers: Sequence[str],
        over: threading.Event,
    ) -> list[np.ndarray]:
        """(unit, 1 + layer) of each scene of one group."""
        seen = (ee_graphs.CLEAR, ee_graphs.CLOUD)
        first = scenes[0]

        def call() -> Any:
            images, order = self._images(scenes)
            values = images.map(
                lambda image: ee_graphs.layered(image, first.quality, recipe, scale=first.scale, offset=first.offset)
            )
            marks = images.map(
                lambda image: ee_graphs.flagged(image, first.quality, scale=first.scale, offset=first.offset)
            )
            marked = ee_graphs.stack(marks, order, seen)
            where = {"crs": f"EPSG:{system(lattice).epsg}", "crsTransform": list(lattice.affine)[:6]}
            inner, outer = (ee_graphs.features(shapes) for shapes in units)
            # Unweighted: the pixels whose centre lies within, as here. Weighted ones count every pixel by its share.
            mean, total = ee.Reducer.mean().unweighted(), ee.Reducer.sum().unweighted()
            asked = [
                ee_graphs.stack(values, order, layers).reduceRegions(inner, mean, **where),
                marked.reduceRegions(inner, total, **where),
                marked.reduceRegions(outer, mean, **where),
            ]
            return compute_value(ee.List(asked))

        n = len(units[0])
        wrong = ""
        for _ in range(2):
            try:
                answers = self.connection.ask("values", call, over)
                means, counts, around = (
                    table_of(answer, n, ee_graphs.stacked(len(scenes), names))
                    for answer, names in zip(answers, (layers, seen, seen), strict=True)
                )
                counts = np.nan_to_num(counts[:, 0::2])
                if np.abs(counts - counts.round()).max() > 1e-6:
                    msg = "clear pixels counted by the server are no whole numbers"
                    raise ValueError(msg)
            except ValueError as error:
                wrong = str(error)
            else:
                hidden = ~(around[:, 1::2] <= CLOUDY) | (counts == 0)
                stacked = means.reshape(n, len(scenes), len(layers))
                stacked[hidden] = np.nan
                return [np.column_stack([counts[:, i].round(), stacked[:, i]]) for i in range(len(scenes))]
        msg = f"Earth Engine answers twice with other means than asked for: {wrong}"
        raise TryLater(msg)


def _scenes_a_request(sizes: Sequence[int]) -> int:
    """How many scenes are read together on grids of so many pixels each: one request a grid, all held in memory."""
    a_scene = 2 * len(LAYERS)
    most = min(MOST_BYTES // (a_scene * max(sizes, default=1)), MOST_HELD // (a_scene * max(sum(sizes), 1)))
    return max(1, min(MOST_BANDS // len(LAYERS), most))
