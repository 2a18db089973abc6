"""Requests that cover many scenes at once, and the limits of one request."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from itertools import islice
from typing import Any, Final, cast

import ee
from odc.geo import CRS
from odc.geo.geobox import GeoBox

from monitor.errors import BROKEN_SCENE, SceneRejected, TryLater
from monitor.imagery.earthengine.answers import ImageHandle
from monitor.imagery.earthengine.connection import RequestRefused
from monitor.imagery.source import Scene

MAX_BANDS: Final = 1024  # most bands of one request
MAX_PIXEL_BYTES: Final = 48_000_000  # most pixels of one request, uncompressed [byte]
MAX_GRID_SIDE: Final = 32_768  # longest side of the grid of one request [pixel]
MAX_UNREADABLE: Final = 4  # this many unreadable scenes in a row, and none readable: the service fails, not the scenes

type BatchRequest[T] = Callable[[Sequence[Scene], threading.Event], Sequence[T]]
"""Returns one answer for each scene of a batch; the event is set when nobody waits for the answers any more."""


def in_batches[T](
    scenes: Sequence[Scene], size: int, request: BatchRequest[T], *, workers: Executor, ahead: int
) -> Iterator[T | SceneRejected]:
    """Request answers for scenes in batches of at most `size`, and yield them in the order of the scenes.

    Scenes that one request can cover (same collection, quality and scaling) share batches. The first requests are under
    way when this returns, `ahead` batches are requested before the answers of the previous one are used, and closing
    the iterator ends them. A scene that Earth Engine cannot read, or of another source, is answered by SceneRejected.
    Errors as of :meth:`Connection.request`; TryLater also if no scene of several can be read.
    """
    answers = _answers(scenes, size, request, workers, ahead)
    next(answers)
    return cast("Iterator[T | SceneRejected]", answers)


def _answers[T](
    scenes: Sequence[Scene], size: int, request: BatchRequest[T], workers: Executor, ahead: int
) -> Iterator[T | SceneRejected | None]:
    """The answers, after a first None once the first requests are under way."""
    cancelled = threading.Event()
    batches = iter(_batches(scenes, size))
    pending: deque[tuple[list[int], Future[list[T | SceneRejected]]]] = deque()

    def submit(number: int) -> None:
        for batch in islice(batches, number):
            members = [scenes[k] for k in batch]
            pending.append((batch, workers.submit(_halving, members, lambda part: request(part, cancelled))))

    ready: dict[int, T | SceneRejected] = {}
    try:
        submit(1 + ahead)
        yield None
        for i, scene in enumerate(scenes):
            if not isinstance(scene.handle, ImageHandle):
                yield SceneRejected(BROKEN_SCENE, f"scene {scene.id!r} is not one of Earth Engine's")
                continue
            if i not in ready:
                submit(0 if pending else 1)
                batch, answer = pending.popleft()
                submit(ahead - len(pending))
                ready.update(zip(batch, answer.result(), strict=True))
            yield ready.pop(i)
    finally:
        cancelled.set()
        for _, answer in pending:
            answer.cancel()


def _batches(scenes: Sequence[Scene], size: int) -> list[list[int]]:
    """Indices of the scenes of each batch, in the order in which the batches are needed."""
    batches: list[list[int]] = []
    newest: dict[tuple[Any, ...], list[int]] = {}
    for i, scene in enumerate(scenes):
        if not isinstance(scene.handle, ImageHandle):
            continue
        shared = scene.handle.collection, scene.handle.area.wkb, scene.quality, scene.scale, scene.offset
        if shared not in newest or len(newest[shared]) == size:
            newest[shared] = []
            batches.append(newest[shared])
        newest[shared].append(i)
    return batches


def _halving[T](scenes: Sequence[Scene], request: Callable[[Sequence[Scene]], Sequence[T]]) -> list[T | SceneRejected]:
    """Answers for a batch; a refused batch is halved until the scene that cannot be read is alone."""
    refused: list[RequestRefused] = []
    answered = False

    def answers(part: Sequence[Scene]) -> list[T | SceneRejected]:
        nonlocal answered
        try:
            received = request(part)
        except RequestRefused as error:
            if len(part) > 1:
                middle = len(part) // 2
                return answers(part[:middle]) + answers(part[middle:])
            refused.append(error)
            if error.is_limit or (not answered and len(refused) >= min(MAX_UNREADABLE, max(2, len(scenes)))):
                msg = f"Earth Engine can read none of {len(scenes)} scenes, among them {part[0].id}: {error}"
                raise TryLater(msg) from None
            return [SceneRejected(BROKEN_SCENE, f"Earth Engine cannot read scene {part[0].id!r}: {error}")]
        answered = True
        return list(received)

    return answers(scenes)


def windows(grid: GeoBox, *, max_pixels: int) -> list[tuple[slice, slice, GeoBox]]:
    """Split a grid into windows that one request can return: rows, columns and grid of each.

    They have at most `max_pixels`, and :data:`MAX_GRID_SIDE` a side.
    """
    height, width = grid.shape
    across = min(width, MAX_GRID_SIDE, max(1, max_pixels))
    down = min(height, MAX_GRID_SIDE, max(1, max_pixels // across))
    parts = []
    for top in range(0, height, down):
        for left in range(0, width, across):
            rows, columns = slice(top, min(top + down, height)), slice(left, min(left + across, width))
            parts.append((rows, columns, grid[rows, columns]))
    return parts


def epsg_crs(grid: GeoBox) -> CRS:
    """The coordinate system of a grid; ValueError if it has no EPSG code."""
    if grid.crs is None or grid.crs.epsg is None:
        raise ValueError(f"Earth Engine needs grids with an EPSG code, not {grid}")
    return grid.crs


def compute_pixels(expression: Any, grid: GeoBox) -> bytes:
    """Evaluate an image on a grid, by one request; the answer is in NPY format."""
    names = ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")
    lattice = {
        "dimensions": {"width": grid.shape[1], "height": grid.shape[0]},
        "affineTransform": dict(zip(names, list(grid.affine)[:6], strict=True)),
        "crsCode": f"EPSG:{epsg_crs(grid).epsg}",
    }
    return bytes(ee.data.computePixels({"expression": expression, "fileFormat": "NPY", "grid": lattice}))
