"""Many scenes in one request, and what a request may hold."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from itertools import islice
from typing import Any, Final, cast

from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox

from monitor.errors import SceneRejected, TryLater
from monitor.imagery.earthengine.answers import Asset
from monitor.imagery.earthengine.connection import Refused
from monitor.imagery.source import Scene

MOST_BANDS: Final = 1024
"""Of one request."""
MOST_BYTES: Final = 48_000_000
"""Of the pixels of one request, unpacked. [byte]"""
LONGEST_SIDE: Final = 32_768
"""Of the grid of one request. [pixel]"""
STRIKES: Final = 4
"""Scenes that cannot be read one after the other, and none that can: then it is not the scenes."""


def in_stacks[T](
    scenes: Sequence[Scene],
    most: int,
    ask: Callable[[Sequence[Scene], threading.Event], Sequence[T]],
    *,
    workers: Executor,
    ahead: int,
) -> Iterator[T | SceneRejected]:
    """Answers for scenes in their order, asked for in stacks of one kind.

    Parameters
    ----------
    scenes : sequence of Scene
        Any number.
    most : int
        Scenes of a stack.
    ask : callable
        Gives the answers for a stack; the event is set when nobody waits for them any more.
    workers : Executor
        Does the requests. The first ones are under way when this returns; closing the iterator ends them.
    ahead : int
        Stacks that are asked for before the answers of the one before are used.
    """
    answers = _answers(scenes, most, ask, workers, ahead)
    next(answers)
    return cast("Iterator[T | SceneRejected]", answers)


def _answers[T](
    scenes: Sequence[Scene],
    most: int,
    ask: Callable[[Sequence[Scene], threading.Event], Sequence[T]],
    workers: Executor,
    ahead: int,
) -> Iterator[T | SceneRejected | None]:
    over = threading.Event()
    left = iter(_stacks(scenes, most))
    asked: deque[tuple[list[int], Future[list[T | SceneRejected]]]] = deque()

    def ask_for(number: int) -> None:
        for stack in islice(left, number):
            some = [scenes[k] for k in stack]
            asked.append((stack, workers.submit(_halved, some, lambda part: ask(part, over))))

    ready: dict[int, T | SceneRejected] = {}
    try:
        ask_for(1 + ahead)
        yield None
        for i, scene in enumerate(scenes):
            if not isinstance(scene.handle, Asset):
                yield SceneRejected("BROKEN", f"scene {scene.id!r} is not one of Earth Engine's")
                continue
            if i not in ready:
                ask_for(0 if asked else 1)
                stack, answer = asked.popleft()
                ask_for(ahead - len(asked))
                ready.update(zip(stack, answer.result(), strict=True))
            yield ready.pop(i)
    finally:
        over.set()
        for _, answer in asked:
            answer.cancel()


def _stacks(scenes: Sequence[Scene], most: int) -> list[list[int]]:
    """Places of scenes that are asked for together, those of one kind, in the order in which they are needed."""
    stacks: list[list[int]] = []
    newest: dict[tuple[Any, ...], list[int]] = {}
    for i, scene in enumerate(scenes):
        kind = _kind(scene)
        if kind is None:
            continue
        if kind not in newest or len(newest[kind]) == most:
            newest[kind] = []
            stacks.append(newest[kind])
        newest[kind].append(i)
    return stacks


def _kind(scene: Scene) -> tuple[Any, ...] | None:
    """What scenes of one stack share; None: not a scene of this source."""
    if not isinstance(scene.handle, Asset):
        return None
    return scene.handle.collection, scene.handle.area.wkb, scene.quality, scene.scale, scene.offset


def _halved[T](scenes: Sequence[Scene], ask: Callable[[Sequence[Scene]], Sequence[T]]) -> list[T | SceneRejected]:
    """Answers for a stack; one that is refused is halved until the scene that breaks it stands alone.

    Raises
    ------
    TryLater
        No scene of several can be read: then it is not the scenes.
    """
    refused: list[Refused] = []
    answered = False

    def halves(part: Sequence[Scene]) -> list[T | SceneRejected]:
        nonlocal answered
        try:
            found = ask(part)
        except Refused as error:
            if len(part) > 1:
                middle = len(part) // 2
                return halves(part[:middle]) + halves(part[middle:])
            refused.append(error)
            if error.too_much or (not answered and len(refused) >= min(STRIKES, max(2, len(scenes)))):
                msg = f"Earth Engine can read none of {len(scenes)} scenes, among them {part[0].id}: {error}"
                raise TryLater(msg) from None
            return [SceneRejected("BROKEN", f"Earth Engine cannot read scene {part[0].id!r}: {error}")]
        answered = True
        return list(found)

    return halves(scenes)


def tiles(grid: GeoBox, *, most: int) -> list[tuple[slice, slice, GeoBox]]:
    """Rows, columns and grids of the windows of a grid, of at most so many pixels each and not too long a side."""
    height, width = grid.shape
    across = min(width, LONGEST_SIDE, max(1, most))
    down = min(height, LONGEST_SIDE, max(1, most // across))
    found = []
    for top in range(0, height, down):
        for left in range(0, width, across):
            rows, columns = slice(top, min(top + down, height)), slice(left, min(left + across, width))
            size = (rows.stop - top, columns.stop - left)
            found.append((rows, columns, GeoBox(size, grid.affine @ Affine.translation(left, top), grid.crs)))
    return found


def system(grid: GeoBox) -> CRS:
    """System of a grid, one that has an EPSG number."""
    if grid.crs is None or grid.crs.epsg is None:
        msg = f"Earth Engine is asked for grids of EPSG systems only, not for {grid}"
        raise ValueError(msg)
    return grid.crs


def pixel_grid(grid: GeoBox) -> dict[str, Any]:
    """A grid as a request says it."""
    affine = grid.affine
    return {
        "dimensions": {"width": grid.shape[1], "height": grid.shape[0]},
        "affineTransform": {
            "scaleX": affine.a, "shearX": affine.b, "translateX": affine.c,
            "shearY": affine.d, "scaleY": affine.e, "translateY": affine.f,
        },
        "crsCode": f"EPSG:{system(grid).epsg}",
    }  # fmt: skip
