"""Propose the offset of scenes that do not state it, from scenes of the same ground.

The rule is that of :mod:`monitor.cube.offset_check`: whichever offset is assumed, scenes with the other one stand
out from the season of the rest by a tenth, in all bands and on all ground. A scene has the offset with which it does
not stand out, if it does with the other. Where all scenes are alike neither shows, and nothing is proposed.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import shapely
import structlog
import xarray as xr
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from monitor.cube.masks import clear
from monitor.cube.offset_check import OFFSET_REASON, check_offsets
from monitor.errors import SceneRejected
from monitor.imagery import bands
from monitor.imagery.source import Scene, Source
from monitor.imagery.stac.scaling import BOA_OFFSET
from monitor.sites.projection import projected, utm_zone

log = structlog.get_logger()

GROUNDS: Final = ((0.25, 0.25), (0.75, 0.75), (0.25, 0.75), (0.75, 0.25))
"""Places of four grounds within what all scenes show, as shares of its sides; two of them are compared as one. [1]"""
GROUND_SIDE: Final = 640.0  # side of a ground [m]
GROUND_PIXEL: Final = 20.0  # side of a pixel of the grounds [m]
MIN_CLEAR: Final = 0.2  # least share of clear pixels of two grounds together in a scene that is compared [1]


class Proposal(NamedTuple):
    """Offset of one scene."""

    offset: float | None  # None: nothing tells [1]
    by_pixels: bool  # whether its own pixels tell; else it is that of the scenes before and after it


def propose_offsets(source: Source, scenes: Sequence[Scene], is_known: Sequence[bool]) -> list[Proposal]:
    """Offset of each scene by its pixels; where they do not tell, that of the scenes before and after it if it is one.

    Scenes have outlines. The offset of one that `is_known` is returned as it is, and the others are compared with it.
    """
    proposed = np.full(len(scenes), np.nan)
    outlines = np.array([scene.footprint for scene in scenes])
    left = np.arange(len(scenes))
    while left.size:
        here = shapely.intersects(outlines[left], outlines[left[0]].centroid)
        group, left = left[here], left[~here]
        common = shapely.intersection_all(outlines[group])
        some = [scenes[number] for number in group]
        means = _means(source, some, outlines[group[0]] if common.is_empty else common)
        proposed[group] = _propose(some, np.array(is_known)[group], means)
    by_time = np.argsort([scene.time.timestamp() for scene in scenes], kind="stable")
    unknown = by_time[~np.array(is_known, bool)[by_time]]
    by_pixels, filled = proposed.copy(), proposed.copy()
    by_pixels[unknown], filled[unknown] = _beside_neighbours(proposed[unknown])
    return [
        Proposal(None if np.isnan(offset) else float(offset), not np.isnan(own))
        for offset, own in zip(filled, by_pixels, strict=True)
    ]


def _beside_neighbours(offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offsets in order of time without those that none of the two before and after share; the same with gaps filled.

    A gap is filled where the nearest offsets before and after it are equal.
    """
    sure = np.flatnonzero(~np.isnan(offsets))
    padded = np.pad(offsets[sure], 2, constant_values=np.nan)
    shared = np.stack([padded[first : first + sure.size] for first in (0, 1, 3, 4)]) == offsets[sure]
    sure = sure[shared.any(axis=0)]
    supported = np.full(offsets.size, np.nan)
    supported[sure] = offsets[sure]
    values, place = np.pad(offsets[sure], 1, constant_values=np.nan), np.searchsorted(sure, np.arange(offsets.size))
    before, after = values[place], values[place + 1]
    return supported, np.where(np.isnan(supported) & (before == after), before, supported)


def _propose(scenes: Sequence[Scene], is_known: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Offsets of scenes of one ground, NaN where unknown; `means` (scene, ground, band) without offset."""
    stated = np.where(is_known, [scene.offset for scene in scenes], np.nan)
    proposed = np.full(len(scenes), np.nan)
    while True:
        decided = np.where(np.isnan(stated), proposed, stated)
        with_none, with_offset = (
            _contradicted(scenes, np.where(np.isnan(decided), assumed, decided), means) for assumed in (0.0, BOA_OFFSET)
        )
        fits = np.where(with_none & ~with_offset, BOA_OFFSET, np.where(with_offset & ~with_none, 0.0, np.nan))
        found = np.isnan(decided) & ~np.isnan(fits)
        if not found.any():
            break
        proposed[found] = fits[found]
    wrong = _contradicted(scenes, np.where(np.isnan(decided), 0.0, decided), means)
    return np.where(wrong & ~is_known, np.nan, decided)


def _contradicted(scenes: Sequence[Scene], offsets: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Which scenes the others contradict, (scene,) bool."""
    texts = {
        "sensor": [scene.sensor for scene in scenes], "quality": [scene.quality for scene in scenes],
        "baseline": [scene.baseline for scene in scenes], "reason": [""] * len(scenes),
    }  # fmt: skip
    days = np.array([scene.time.replace(tzinfo=None) for scene in scenes], dtype="datetime64[D]")
    values = {name: np.array(column, dtype="S32") for name, column in texts.items()}
    # Each from a source by itself: an assumption about some scenes is not evidence about those near them.
    values |= {"date": days, "offset": offsets, "source": np.arange(len(scenes)).astype("S")}
    values |= {name: np.ones(len(scenes), bool) for name in ("there", "accepted")}
    dataset = xr.Dataset(
        {name: (("site", "time"), one[None]) for name, one in values.items()}
        | {
            name: (("site", "time", "measure"), (means[:, ground] + offsets[:, None])[None])
            for ground, name in enumerate(("site_means", "control_means"))
        },
        coords={"measure": list(bands.OBSERVED)},
    )
    return np.asarray(check_offsets(dataset)["reason"].values[0] == OFFSET_REASON.encode())


def _means(source: Source, scenes: Sequence[Scene], common: BaseGeometry) -> np.ndarray:
    """Means of the clear pixels of two grounds, without offset, (scene, ground, band); NaN where too few are clear. [1]

    `common` is what all scenes show, longitude and latitude. [degree]
    """
    zone = utm_zone(common)
    left, bottom, right, top = projected(common, zone).bounds
    half = GROUND_SIDE / 2
    grids = [
        GeoBox.from_bbox((x - half, y - half, x + half, y + half), zone, resolution=GROUND_PIXEL)
        for along, up in GROUNDS
        for x, y in [(left + along * (right - left), bottom + up * (top - bottom))]
    ]
    means = np.full((len(scenes), 2, len(bands.OBSERVED)), np.nan)
    for of_scene, scene, frames in zip(means, scenes, source.read(scenes, grids), strict=True):
        try:
            if isinstance(frames, SceneRejected):
                raise frames
            read = list(frames)
        except SceneRejected as error:
            log.warning("a scene cannot be read", scene=scene.id, why=str(error))
            continue
        scaling = {"resolution": GROUND_PIXEL, "scale": scene.scale, "offset": 0.0}
        for ground, frames in enumerate((read[:2], read[2:])):
            shown = [clear(frame.pixels, frame.quality, scene.quality, **scaling) for frame in frames]
            if np.mean(shown) >= MIN_CLEAR:
                pixels = np.hstack([frame.pixels[:, seen] for frame, seen in zip(frames, shown, strict=True)])
                for number, band in enumerate(pixels):
                    if (seen := bands.has_value(band)).any():
                        of_scene[ground, number] = scene.scale * band[seen].mean()
    return means
