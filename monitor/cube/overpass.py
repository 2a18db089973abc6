"""Overpasses: granules of one acquisition are grouped, compared with those stored, and merged into one scene.

Ground in the overlap of two granules is observed once by an overpass, not twice. The granule in the site's own
projected system is preferred; the others only fill pixels where it has no value.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from monitor.cube.packed import PACKED_LAYERS
from monitor.imagery import acquisition_id, bands
from monitor.imagery.source import Scene


@dataclass(frozen=True, slots=True, kw_only=True)
class Overpass:
    """One acquisition as offered: it counts once, whatever the number of granules and catalogues."""

    acquisition: str
    granules: tuple[Scene, ...]  # the preferred one first

    @property
    def main(self) -> Scene:
        """The preferred granule, which gives time, sensor, scale and offset."""
        return self.granules[0]

    @property
    def baselines(self) -> dict[str, str]:
        """Processing baseline of each granule, by tile."""
        return {scene.tile: scene.baseline for scene in self.granules}


def overpasses(offered: Iterable[Scene], crs: str, stored: Iterable[str] = ()) -> list[Overpass]:
    """Group the scenes over one site into overpasses, ascending by time.

    `offered` is in order of preference of the sources: of one granule the newest baseline is used, of equal ones the
    first. `crs` is the projected system of the site, ``EPSG:32648``. Names of `stored` acquisitions are used where a
    catalogue names the same acquisition by another time.
    """
    offered = list(offered)
    names = _names([scene.acquisition for scene in offered], stored)
    newest: dict[tuple[str, str], Scene] = {}
    for scene in offered:
        key = (names[scene.acquisition], scene.tile)
        rival = newest.get(key)
        if rival is None or parse_baseline(rival.baseline) < parse_baseline(scene.baseline):
            newest[key] = scene
    groups: dict[str, list[Scene]] = {}
    for (acquisition, _), scene in newest.items():
        groups.setdefault(acquisition, []).append(scene)
    grouped = []
    for acquisition, scenes in groups.items():
        scenes.sort(key=lambda scene: (scene.crs not in ("", crs), scene.tile))
        grouped.append(Overpass(acquisition=acquisition, granules=tuple(scenes)))
    return sorted(grouped, key=lambda overpass: (overpass.main.time, overpass.acquisition))


class PendingDays(NamedTuple):
    """Days on which a scene is offered that is not stored yet."""

    scenes: tuple[Scene, ...]  # all scenes offered on these days, in the order in which they are offered
    stored: frozenset[str]  # acquisitions stored on these days


def pending_days(offered: Sequence[Scene], stored: Mapping[str, Mapping[str, str]]) -> PendingDays:
    """Limit the scenes offered over a site to the days on which one is not stored under its own name.

    :func:`not_yet_stored` gives the same for them as for all scenes, of ten years about one in a thousand. `stored` has
    the baseline of each granule, by acquisition and tile.
    """
    new = {
        day for scene in offered if not is_stored(stored, scene) for day in acquisition_id.day_keys(scene.acquisition)
    }
    if not new:
        return PendingDays((), frozenset())
    scenes = tuple(scene for scene in offered if not new.isdisjoint(acquisition_id.day_keys(scene.acquisition)))
    return PendingDays(scenes, _of_their_days([scene.acquisition for scene in scenes], stored))


def _of_their_days(offered: Iterable[str], stored: Iterable[str]) -> frozenset[str]:
    """Stored acquisitions that may be the same as one offered."""
    days = {day for name in offered for day in acquisition_id.day_keys(name)}
    return frozenset(name for name in stored if not days.isdisjoint(acquisition_id.day_keys(name)))


def _names(offered: Sequence[str], stored: Iterable[str]) -> dict[str, str]:
    """One name for each acquisition: the stored one, else the longest, of equal length the earliest."""
    known_names = _of_their_days(offered, stored)
    ranked = sorted({*offered, *known_names}, key=lambda name: (name not in known_names, -len(name), name))
    near: dict[str, list[str]] = {}
    names: dict[str, str] = {}
    for name in ranked:
        days = acquisition_id.day_keys(name)
        known = (other for day in days for other in near.get(day, ()) if acquisition_id.same_acquisition(name, other))
        names[name] = next(known, name)
        for day in days:
            near.setdefault(day, []).append(name)
    return names


def not_yet_stored(offered: Iterable[Overpass], stored: Mapping[str, Mapping[str, str]]) -> list[Overpass]:
    """Overpasses that are not stored, or stored without one of their granules or with an older baseline.

    `stored` has the baseline of each granule, by acquisition and tile.
    """
    return [
        overpass
        for overpass in offered
        if not all(_has(stored.get(overpass.acquisition), *granule) for granule in overpass.baselines.items())
    ]


def is_stored(stored: Mapping[str, Mapping[str, str]], scene: Scene) -> bool:
    """Whether a scene is stored under its own name with its baseline or a newer one."""
    return _has(stored.get(scene.acquisition), scene.tile, scene.baseline)


def _has(granules: Mapping[str, str] | None, tile: str, baseline: str) -> bool:
    if granules is None or (have := granules.get(tile)) is None:
        return False
    return have == baseline or parse_baseline(have) >= parse_baseline(baseline)


@cache  # few baselines, compared with every scene of every site
def parse_baseline(baseline: str) -> tuple[int, ...]:
    """Processing baseline as comparable numbers; an unknown one is the oldest."""
    return tuple(int(part) for part in baseline.split(".") if part.isdigit())


def merge_granules(parts: Sequence[tuple[Scene, np.ndarray]]) -> np.ndarray:
    """Merge the packed granules of an overpass on one grid, the preferred one first, into one packed scene.

    Pixels where the first has no value are filled from the next, its integers shifted to the first's offset. A granule
    of another scale or kind of quality layer cannot fill.
    """
    main, packed = parts[0]
    n = len(bands.OBSERVED)
    quality = PACKED_LAYERS.index("quality")
    for scene, more in parts[1:]:
        empty = (packed[:n] == bands.NODATA).all(axis=0) & (packed[quality] == 0)
        if not empty.any():
            break
        if scene.scale != main.scale or scene.quality != main.quality:
            continue
        fill = more[:, empty]
        shift = round((scene.offset - main.offset) / main.scale)
        if shift:
            moved = (fill[:n].astype(np.int32) + shift).clip(1, np.iinfo(np.uint16).max)
            fill = np.concatenate([np.where(fill[:n] == bands.NODATA, bands.NODATA, moved), fill[n:]]).astype(np.uint16)
        packed = packed.copy()
        packed[:, empty] = fill
    return packed
