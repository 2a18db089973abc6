"""Context pictures: a site and its surroundings in natural colour, in a few clear scenes. For people only.

Stored are the newest clear scene (``now``), and of each growing season (its year) the clear scene nearest to its peak;
that of the last season before the start is ``before``, too. Two that are compared are shown under one stretch, that of
the place (:func:`stretch_of`), and are from the same weeks of their years (:func:`same_weeks_pair`).
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Final

import numpy as np
from odc.geo.geobox import GeoBox

from monitor.cube.grid import crs_of, site_grid
from monitor.cube.packed import PACKED_LAYERS
from monitor.cube.records import Picture, SiteScene
from monitor.imagery import bands
from monitor.imagery.source import Scene
from monitor.sites.growing_season import GrowingSeason
from monitor.sites.site import Site

CONTEXT_MARGIN: Final = 600.0  # surroundings shown on each side of a site [m]
WHITE_REFLECTANCE: Final = 0.4
"""Reflectance stored as 255, brighter than dry sand; square roots are stored, so that dark ground has enough levels.
[1]"""
type Stretch = tuple[np.ndarray, np.ndarray]  # reflectances of red, green, blue shown as black and as white [1]
SHOWN_PERCENTILES: Final = (2, 98)  # reflectances of a place shown as black, by band, and at most as white [%]
LEAST_SPAN: Final = 0.06  # least reflectance between black and white: less would show noise [1]
SAME_WEEKS: Final = 31  # days of the year between two pictures of the same weeks, at most [day]
GAMMA_SHOWN: Final = 1.5
SATURATION_SHOWN: Final = 1.4
"""Of what is shown: ground has little contrast and little colour, so both are raised, always by as much. [1]"""
CLEAR_ENOUGH: Final = 0.98  # clear share of the site from which a scene becomes the picture `now` before newer ones [1]
MIN_SITE_CLEAR: Final = 0.9  # clear share of the site that a scene needs for a picture [1]
NEWEST_INTERVAL: Final = timedelta(days=10)  # the picture `now` is replaced by a clear scene this much newer
NOW_CLEAR: Final = 0.9
"""Clear share of the ground in a picture, or relative to the clearest picture of the site, from which a scene replaces
``now``. [1]"""


def context_grid(site: Site, grid: GeoBox) -> GeoBox:
    """Grid of a site's pictures: the pixels of its own grid, with :data:`CONTEXT_MARGIN` around the site."""
    return site_grid(
        site.geometry, crs=crs_of(grid), resolution=abs(grid.resolution.x), anchor=(grid.affine.c, grid.affine.f),
        margin=CONTEXT_MARGIN,
    )  # fmt: skip


def picture_candidates(
    scenes: Sequence[SiteScene], have: Mapping[str, Picture], *, start: date, season: GrowingSeason
) -> dict[str, SiteScene]:
    """The scenes whose picture would be new or better than the stored one, by name of the picture.

    Of a growing season it is the one nearest to its peak in which the site is clear, and likewise of the last season
    before `start`, the first day of the intervention; for ``now`` the newest in which site and control ground are
    clear. Except for ``now``, the dates alone decide, so that the same pictures are stored however the scenes are
    divided into batches.
    """
    chosen: dict[str, SiteScene] = {}
    most_units = max((one.n_units for one in scenes if not one.reason), default=0)
    for one in scenes:
        if one.reason or one.clear_fraction < MIN_SITE_CLEAR:
            continue
        moment = one.scene.time
        rank, rival = _near_peak(moment, season), chosen.get("now")
        due = "now" not in have or moment >= datetime.fromisoformat(have["now"].time) + NEWEST_INTERVAL
        if due and (rival is None or _newest_clear(one, most_units) > _newest_clear(rival, most_units)):
            chosen["now"] = one
        if rank is None:
            continue
        for name in (str(rank[0]), *(["before"] if moment.date() < start else [])):
            others = [datetime.fromisoformat(have[name].time)] if name in have else []
            others += [chosen[name].scene.time] if name in chosen else []
            if all(rank > (_near_peak(other, season) or ()) for other in others):
                chosen[name] = one
    return chosen


def _near_peak(moment: datetime, season: GrowingSeason) -> tuple[int, float, datetime] | None:
    """Rank of a scene by its growing season, how near it is to the peak, and its time; None: outside the seasons."""
    years, positions = season.locate(np.array([moment.date()], "datetime64[D]").astype(np.int64))
    position = int(positions[0])
    return (int(years[0]), -abs(position - season.peak), moment) if 0 < position <= season.length else None


def _newest_clear(one: SiteScene, most_units: int) -> tuple[bool, datetime]:
    """Rank of a scene for ``now``; units lie around the site, so few are seen where it is cloudy there."""
    return one.clear_fraction >= CLEAR_ENOUGH and one.n_units >= NOW_CLEAR * most_units, one.scene.time


def is_clear_around(clear: float, seen: float, have: Mapping[str, Picture]) -> bool:
    """Whether the ground in a picture is clear enough to replace ``now`` among the stored pictures.

    `clear` and `seen` are the shares of the picture that are clear, and that have any value [1]. Water and other ground
    that is never called clear is allowed for by the other pictures of the site.
    """
    return "now" not in have or clear >= NOW_CLEAR * min(seen, max(picture.clear for picture in have.values()))


def same_weeks_pair(pictures: Mapping[str, Picture], start: date) -> tuple[Picture | None, Picture | None]:
    """A picture before the start of the work and the newest one that is from the same weeks of its year.

    Where no two are of the same weeks, the two whose days of the year are closest; None: there is no picture.
    """
    newest = sorted(pictures.values(), key=lambda picture: picture.time, reverse=True)
    before = [picture for picture in newest if date.fromisoformat(picture.time[:10]) < start]
    now = [picture for picture in newest if picture not in before]
    if not before or not now:
        return next(iter(before), None), next(iter(now), None)

    def apart(pair: tuple[Picture, Picture]) -> int:
        first, second = (date.fromisoformat(picture.time[:10]).timetuple().tm_yday for picture in pair)
        days = min(abs(first - second), 365 - abs(first - second))
        return max(days, SAME_WEEKS)

    return min(((first, second) for second in now for first in before), key=apart)


def stretch_of(pictures: Sequence[np.ndarray]) -> Stretch:
    """The stretch under which some pictures of a place, (y, x, 3) uint8 as stored, are shown.

    Black of each band is its darkest ground, so that haze is left out; the span to white is the same for all bands.
    """
    seen = np.concatenate([np.empty((0, 3), np.uint8), *(rgb[rgb.any(axis=2)] for rgb in pictures)])
    if not seen.size:
        return np.zeros(3), np.full(3, WHITE_REFLECTANCE)
    black, white = WHITE_REFLECTANCE * ((np.percentile(seen, SHOWN_PERCENTILES, axis=0) - 1) / 254) ** 2
    return black, black + max(float((white - black).max()), LEAST_SPAN)


def for_the_eye(rgb: np.ndarray, stretch: Stretch) -> np.ndarray:
    """A picture as stored, (..., 3) uint8, as people see it; 0 only where it has no value."""
    levels = np.arange(256, dtype=np.float32)[:, None]
    reflectance = WHITE_REFLECTANCE * (np.maximum(levels - 1, 0) / 254) ** 2
    black, white = stretch
    table = np.clip((reflectance - black) / (white - black), 0, 1) ** (1 / GAMMA_SHOWN)
    shown = np.stack([table[rgb[..., band], band] for band in range(3)], axis=-1)
    grey = shown.mean(axis=-1, keepdims=True)
    shown = 1 + np.rint(254 * np.clip(grey + SATURATION_SHOWN * (shown - grey), 0, 1))
    return np.where(rgb.any(axis=-1, keepdims=True), shown, 0).astype(np.uint8)


def natural_colour(packed: np.ndarray, scene: Scene) -> tuple[np.ndarray, float]:
    """Natural colour, (y, x, 3) uint8, of a packed scene (:func:`monitor.cube.packed.pack`), and its clear share [1].

    Colours are 1 to 255 by the square root of reflectance; 0 where there is no value.
    """
    visible = packed[[PACKED_LAYERS.index(name) for name in ("red", "green", "blue")]]
    known = bands.has_value(visible).all(axis=0)
    reflectance = np.where(known, scene.scale * visible.astype(np.float32) + scene.offset, np.float32(np.nan))
    return stored_colours(reflectance), float(packed[PACKED_LAYERS.index("clear")].mean())


def stored_colours(reflectance: np.ndarray) -> np.ndarray:
    """(y, x, 3) uint8 of (3, y, x) reflectances of red, green and blue, NaN where there is none [1]."""
    known = np.isfinite(reflectance).all(axis=0)
    share = np.clip(np.nan_to_num(reflectance) / np.float32(WHITE_REFLECTANCE), 0.0, 1.0)
    return np.moveaxis(np.where(known, 1 + np.rint(254 * np.sqrt(share)), 0).astype(np.uint8), 0, -1)
