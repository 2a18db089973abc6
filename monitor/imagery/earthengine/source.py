"""Earth Engine as a source: Sentinel-2 and Landsat 8 and 9, many scenes a request, unit means computed by the server.

Scenes are requested by name; their pixels come as integers on the grid of the site, many dates in one request. Where
the grid is not in the scene's own coordinate system or lattice the server takes the nearest pixel. Limits of one
request: 48 MB of pixels, 1,024 bands, 32,768 pixels a side; of one query: 5,000 images.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, timedelta
from functools import partial
from itertools import repeat
from typing import Any, Final

import ee
import numpy as np
import shapely
import structlog
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from monitor.errors import BadConfiguration, SceneRejected, TryLater, UnknownCollection
from monitor.imagery import bands
from monitor.imagery.earthengine import expressions
from monitor.imagery.earthengine.answers import ImageHandle, decode_pixels, decode_table, scene_from_feature
from monitor.imagery.earthengine.batches import (
    MAX_BANDS,
    MAX_PIXEL_BYTES,
    compute_pixels,
    epsg_crs,
    in_batches,
    windows,
)
from monitor.imagery.earthengine.connection import Connection, RequestRefused, compute_value
from monitor.imagery.earthengine.expressions import CLEAR, CLOUD, PRODUCTS, QUALITY
from monitor.imagery.earthengine.transport import WORKLOAD_TAG
from monitor.imagery.source import Cost, Frame, IsStored, Scene, Source
from monitor.sites.landscapes import SQUARE
from monitor.sites.projection import lonlat, projected

log = structlog.get_logger()

SCENE_LAYERS: Final = (*bands.OBSERVED, QUALITY)  # layers read of each scene, two bytes a pixel each
SCENE_BYTES: Final = 2 * len(SCENE_LAYERS)  # size of a pixel of a scene [byte]
MAX_HELD_BYTES: Final = 256_000_000  # most pixels, of all grids that are read at one time, held in memory [byte]
BATCHES_AHEAD: Final = 4  # batches of scenes requested before the previous one is used, if memory allows it
CLOUD_REACH: Final = 60.0  # cloud this close to a unit counts as well: server arithmetic cannot grow clouds [m]
MAX_CLOUD_SHARE: Final = 0.1  # a unit with more cloud, within `CLOUD_REACH` too, is not used [1]
MAX_SENT_VERTICES: Final = 200  # most vertices of a search area; of a larger one the convex hull is sent
UNIT_LAYERS: Final = 13  # layers that are averaged over each unit
EECU_PER_REQUEST: Final = 0.2
EECU_PER_SCENE: Final = 0.05
EECU_PER_MEGAPIXEL: Final = 1.0
"""Computing time: a rough guess made without an account and never measured. It serves for planning only; compare it
with the project's usage page before money depends on it. A megapixel is read of one band, or one arithmetic operation
on as many pixels. [EECU s]"""

type _Recipe = Callable[[Any], Any]


class EarthEngine(Source):
    """Earth Engine as a :class:`monitor.imagery.source.Source`.

    `collections` are keys of :data:`PRODUCTS`, else BadConfiguration is raised; empty: all of them, Landsat as far as
    it can be read.
    """

    name = "earthengine"
    reduces_on_server = True

    def __init__(self, connection: Connection, *, collections: Sequence[str] = ()) -> None:
        self.collections = tuple(collections) or tuple(PRODUCTS)
        self._by_default = not collections
        for collection in self.collections:
            if collection not in PRODUCTS:
                msg = f"[source] collections: {collection!r} is unknown; known are {', '.join(PRODUCTS)}"
                raise BadConfiguration(msg)
        self.connection = connection
        self._workers = ThreadPoolExecutor(connection.limit.in_flight, thread_name_prefix="earthengine")
        self._has_cloud_score: bool | None = None
        self._probing = threading.Lock()

    def grid(self, geometry: BaseGeometry) -> GeoBox:
        """Grid of one pixel in the UTM zone of the ground, on the pixel lattice of the finest collection."""
        product = min((PRODUCTS[name] for name in self.collections), key=lambda product: product.pixel)
        point = geometry.centroid
        side, corner = product.pixel, product.corner
        return GeoBox((1, 1), Affine(side, 0.0, corner, 0.0, -side, corner), CRS.utm(point.x, point.y))

    def search(self, area: BaseGeometry, since: date, until: date, stored: IsStored | None = None) -> list[Scene]:
        """Scenes over an area, see :meth:`monitor.imagery.source.Source.search`; in one request unless too many.

        Stored scenes are described like others, since this takes no further request.
        """
        if until < since:
            return []
        sent = area if shapely.get_num_coordinates(area) <= MAX_SENT_VERTICES else area.convex_hull
        scenes = []
        for collection, features in self._features(sent, since, until).items():
            scored = bool(self._has_cloud_score) and PRODUCTS[collection].quality_kind == "scl"
            scenes += [scene_from_feature(feature, collection, sent, self.name, scored=scored) for feature in features]
        return sorted((scene for scene in scenes if scene.touches(area)), key=lambda scene: (scene.time, scene.id))

    def read(self, scenes: Sequence[Scene], grids: Sequence[GeoBox]) -> Iterator[list[Frame] | SceneRejected]:
        """Read scenes on grids, see :meth:`monitor.imagery.source.Source.read`.

        One request covers many dates, and several requests run at one time; a scene that makes a request fail is found
        by halving. The first requests are under way when this returns.
        """
        sizes = [grid.shape[0] * grid.shape[1] for grid in grids]
        batch = _scenes_per_request(sizes)
        held = min(batch, len(scenes)) * sum(sizes) * SCENE_BYTES
        ahead = max(0, min(BATCHES_AHEAD, MAX_HELD_BYTES // max(held, 1) - 1))

        def frames(grid: GeoBox, members: Sequence[Scene], cancelled: threading.Event) -> list[Frame]:
            layers = self._pixels(members, grid, cancelled)
            return [Frame(grid=grid, pixels=scene[:-1], quality=scene[-1]) for scene in layers]

        streams = [
            in_batches(scenes, batch, partial(frames, grid), workers=self._workers, ahead=ahead) for grid in grids
        ]
        return _frames_by_scene(streams, len(scenes))

    def reduce(
        self, scenes: Sequence[Scene], units: Sequence[BaseGeometry], lattice: GeoBox, recipe: _Recipe
    ) -> Iterator[np.ndarray | SceneRejected]:
        """Means over the clear pixels of units, see :meth:`monitor.imagery.source.Source.reduce`.

        The server computes them. A unit has no means where more than :data:`MAX_CLOUD_SHARE` of it and of its
        surroundings within :data:`CLOUD_REACH` is cloud, since its clouds are not grown.
        """
        if not units:
            return iter([np.empty((0, 0))] * len(scenes))
        crs = epsg_crs(lattice)
        surroundings = [lonlat(projected(unit, crs).buffer(CLOUD_REACH, quad_segs=2), crs) for unit in units]
        layers = list(self.connection.build(lambda: recipe(ee.Image(0).rename("any"))))

        def means(
            members: Sequence[Scene], cancelled: threading.Event, first: int = 0, last: int = len(units)
        ) -> list[np.ndarray]:
            outlines = units[first:last], surroundings[first:last]
            try:
                return self._means(members, outlines, lattice, recipe, layers, cancelled)
            except RequestRefused as error:
                if len(members) > 1 or last - first == 1 or not error.is_limit:
                    raise
                middle = (first + last) // 2
                (lower,), (upper,) = means(members, cancelled, first, middle), means(members, cancelled, middle, last)
                return [np.concatenate([lower, upper])]

        batch = MAX_BANDS // (len(layers) + 2)
        return in_batches(scenes, batch, means, workers=self._workers, ahead=BATCHES_AHEAD)

    def cost(self, scenes: int, grid: GeoBox, units: int) -> Cost:
        """Cost, see :meth:`monitor.imagery.source.Source.cost`."""
        size = grid.shape[0] * grid.shape[1]
        batch = _scenes_per_request([size])
        pieces = len(windows(grid, max_pixels=MAX_PIXEL_BYTES // SCENE_BYTES))
        requests = -(-scenes // batch) * pieces + (-(-scenes // (MAX_BANDS // (UNIT_LAYERS + 2))) if units else 0)
        megapixels = scenes * size * (len(SCENE_LAYERS) + units * (len(SCENE_LAYERS) + UNIT_LAYERS)) / 1e6
        return Cost(
            requests=requests,
            megabytes=scenes * size * SCENE_BYTES / 1e6,
            eecu_seconds=requests * EECU_PER_REQUEST + scenes * EECU_PER_SCENE + megapixels * EECU_PER_MEGAPIXEL,
        )

    def _features(self, area: BaseGeometry, since: date, until: date) -> dict[str, list[dict[str, Any]]]:
        """Images of each collection as the server describes them; the first search finds out about Cloud Score+."""
        with self._probing:
            if self._has_cloud_score is None and any(PRODUCTS[c].quality_kind == "scl" for c in self.collections):
                return self._probe(area, since, until)
        return self._list(area, since, until, scored=bool(self._has_cloud_score))

    def _probe(self, area: BaseGeometry, since: date, until: date) -> dict[str, list[dict[str, Any]]]:
        """Search with Cloud Score+: an answer with images shows that it exists."""
        try:
            features = self._list(area, since, until, scored=True)
        except BadConfiguration as error:
            if not isinstance(error.__cause__, RequestRefused):
                raise
            try:
                features = self._list(area, since, until, scored=False)
            except UnknownCollection as unknown:
                if not self._by_default:
                    raise
                self.collections, self._by_default = self.collections[:1], False
                log.warning("only Sentinel-2 is used", source=self.name, error=str(unknown))
                return self._probe(area, since, until)
            self._has_cloud_score = False
        else:
            if any(features.values()):
                self._has_cloud_score = True
        return features

    def _list(self, area: BaseGeometry, since: date, until: date, *, scored: bool) -> dict[str, list[dict[str, Any]]]:
        """Images of each collection; the days are halved where one answer cannot hold all."""

        def expression() -> Any:
            searches = [
                expressions.search_images(
                    name, area, since, until, scored=scored and PRODUCTS[name].quality_kind == "scl"
                )
                for name in self.collections
            ]
            return searches[0] if len(searches) == 1 else ee.List(searches)

        try:
            answer = self.connection.request("search", lambda: compute_value(expression()))
        except RequestRefused as error:
            if since < until and (error.is_limit or "accumulating" in str(error)):
                middle = since + (until - since) // 2
                first = self._list(area, since, middle, scored=scored)
                second = self._list(area, middle + timedelta(days=1), until, scored=scored)
                return {name: first[name] + second[name] for name in self.collections}
            msg = f"Earth Engine cannot list [source] collections {', '.join(self.collections)}: {error}"
            permanent = UnknownCollection if "not found" in str(error) else BadConfiguration
            raise (TryLater if error.is_limit else permanent)(msg) from error
        answers = [answer] if len(self.collections) == 1 else answer
        try:
            return {name: list(images["features"]) for name, images in zip(self.collections, answers, strict=True)}
        except (KeyError, TypeError, ValueError):
            raise TryLater("Earth Engine's answer to a search is not a list of images") from None

    def _pixels(self, scenes: Sequence[Scene], grid: GeoBox, cancelled: threading.Event) -> np.ndarray:
        """(scene, layer, y, x) uint16 on a grid; 0, without a request, where a scene does not reach."""
        pixels = np.zeros((len(scenes), len(SCENE_LAYERS), *grid.shape), dtype=np.uint16)
        extent = lonlat(box(*grid.boundingbox.bbox), epsg_crs(grid))
        touching = [i for i, scene in enumerate(scenes) if scene.touches(extent)]
        if not touching:
            return pixels
        members = [scenes[i] for i in touching]
        max_pixels = MAX_PIXEL_BYTES // (SCENE_BYTES * len(touching))
        for rows, columns, window in windows(grid, max_pixels=max_pixels):
            pixels[touching, :, rows, columns] = self._window(members, window, cancelled)
        return pixels

    def _window(self, scenes: Sequence[Scene], grid: GeoBox, cancelled: threading.Event) -> np.ndarray:
        """(scene, layer, y, x) uint16 of one request."""
        names = expressions.stack_names(len(scenes), SCENE_LAYERS)

        def call() -> bytes:
            return compute_pixels(expressions.stack_bands(*_images(scenes), SCENE_LAYERS), grid)

        def decode(content: bytes) -> np.ndarray:
            pixels = decode_pixels(content, names, tuple(grid.shape))
            return pixels.reshape(len(scenes), len(SCENE_LAYERS), *grid.shape)

        with _tagged(grid):
            return self.connection.request_decoded("pixels", call, decode, cancelled)

    def _means(
        self, scenes: Sequence[Scene], outlines: tuple[Sequence[BaseGeometry], Sequence[BaseGeometry]],
        lattice: GeoBox, recipe: _Recipe, layers: Sequence[str], cancelled: threading.Event,
    ) -> list[np.ndarray]:  # fmt: skip
        """(unit, 1 + layer) of each scene of a batch; `outlines` are the units and their surroundings."""
        flags = (CLEAR, CLOUD)
        first = scenes[0]

        def call() -> Any:
            images, indices = _images(scenes)
            how = {"scale": first.scale, "offset": first.offset}
            values = images.map(lambda image: expressions.clear_layers(image, first.quality, recipe, **how))
            marks = images.map(lambda image: expressions.clear_and_cloud_bands(image, first.quality, **how))
            marked = expressions.stack_bands(marks, indices, flags)
            where = {"crs": f"EPSG:{epsg_crs(lattice).epsg}", "crsTransform": list(lattice.affine)[:6]}
            units, surroundings = (expressions.unit_features(shapes) for shapes in outlines)
            # Unweighted: pixels whose centre is inside, as here. Weighted reducers count each pixel by its share.
            mean, total = ee.Reducer.mean().unweighted(), ee.Reducer.sum().unweighted()
            tables = [
                expressions.stack_bands(values, indices, layers).reduceRegions(units, mean, **where),
                marked.reduceRegions(units, total, **where),
                marked.reduceRegions(surroundings, mean, **where),
            ]
            return compute_value(ee.List(tables))

        def decode(answers: Any) -> list[np.ndarray]:
            return _unit_means(answers, len(outlines[0]), len(scenes), layers)

        with _tagged(lattice):
            return self.connection.request_decoded("values", call, decode, cancelled)


@contextmanager
def _tagged(grid: GeoBox) -> Iterator[None]:
    """Tag the requests of the ``with`` block with the 100 km square of a grid, as the names of landscapes have it."""
    left, bottom, right, top = grid.boundingbox.bbox
    east, north = ((left + right) / 2) // SQUARE, ((bottom + top) / 2) // SQUARE
    token = WORKLOAD_TAG.set(f"regrowth-{epsg_crs(grid).epsg}-{east:.0f}-{north:.0f}")
    try:
        yield
    finally:
        WORKLOAD_TAG.reset(token)


def _images(scenes: Sequence[Scene]) -> tuple[Any, list[str]]:
    """Images of the scenes of a batch, as integers, and their ``system:index`` in order."""
    handle: ImageHandle = scenes[0].handle
    indices = [scene.handle.index for scene in scenes]
    days = [scene.time.astimezone(UTC).date() for scene in scenes]
    scored = scenes[0].quality == "scl_cs"
    span = handle.area, min(days), max(days)
    return expressions.images_by_index(handle.collection, *span, indices, scored=scored), indices


def _frames_by_scene(
    streams: Sequence[Iterator[Frame | SceneRejected]], scenes: int
) -> Iterator[list[Frame] | SceneRejected]:
    """Frames of each scene on all grids; a scene that cannot be read on one of them is rejected."""
    for answers in zip(*streams, strict=True) if streams else repeat((), scenes):
        rejected = next((answer for answer in answers if isinstance(answer, SceneRejected)), None)
        yield rejected or [answer for answer in answers if isinstance(answer, Frame)]


def _unit_means(answers: Any, units: int, scenes: int, layers: Sequence[str]) -> list[np.ndarray]:
    """(unit, 1 + layer) of each scene from the tables of means, of counts, and of clouds in the surroundings."""
    flags = (CLEAR, CLOUD)
    means, counts, around = (
        decode_table(answer, units, expressions.stack_names(scenes, names))
        for answer, names in zip(answers, (layers, flags, flags), strict=True)
    )
    counts = np.nan_to_num(counts[:, 0::2])
    if np.abs(counts - counts.round()).max() > 1e-6:
        raise ValueError("clear pixels counted by the server are not whole numbers")
    hidden = ~(around[:, 1::2] <= MAX_CLOUD_SHARE) | (counts == 0)
    stacked = means.reshape(units, scenes, len(layers))
    stacked[hidden] = np.nan
    return [np.column_stack([counts[:, i].round(), stacked[:, i]]) for i in range(scenes)]


def _scenes_per_request(sizes: Sequence[int]) -> int:
    """How many scenes are read together on grids of these sizes [pixel]: one request a grid, all held in memory."""
    by_request = MAX_PIXEL_BYTES // (SCENE_BYTES * max(sizes, default=1))
    by_memory = MAX_HELD_BYTES // (SCENE_BYTES * max(sum(sizes), 1))
    return max(1, min(MAX_BANDS // len(SCENE_LAYERS), by_request, by_memory))
