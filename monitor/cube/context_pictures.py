"""Context pictures: a site and its surroundings in natural colour, in a few clear scenes. For people only.

Stored are the newest clear scene (``now``), the clearest before the start (``before``) and the clearest of each growing
season (its year). All are under one fixed stretch (:func:`for_the_eye`), so that pictures of different years and sites
compare.
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
from monitor.sites.site import Site

CONTEXT_MARGIN: Final = 600.0
"""Surroundings shown on each side of a site. [m]"""
WHITE_REFLECTANCE: Final = 0.4
"""Reflectance stored as 255, brighter than dry sand; square roots are stored, so that dark ground has enough levels.
[1]"""
BLACK_SHOWN: Final = (0.04, 0.045, 0.035)
WHITE_SHOWN: Final = (0.32, 0.27, 0.21)
"""Reflectances of red, green and blue that are shown as black and white: those of deep shadow and of bright dry sand
[1]. The range of forest, grass and bare soil lies between; blue has the narrower one, as dry ground is yellow."""
GAMMA_SHOWN: Final = 1.5
SATURATION_SHOWN: Final = 1.4
"""Of what is shown: dry ground has little contrast and little colour, so both are raised, always by as much. [1]"""
CLEAR_ENOUGH: Final = 0.98
"""Clear share from which a picture is not replaced by a clearer one. [1]"""
MIN_SITE_CLEAR: Final = 0.9
"""Clear share of the site that a scene needs for a picture. [1]"""
MIN_IMPROVEMENT: Final = 0.02
"""Clear share by which a new picture must exceed the old one. [1]"""
NEWEST_INTERVAL: Final = timedelta(days=10)
"""The picture ``now`` is replaced by a clear scene this much newer."""
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
    scenes: Sequence[SiteScene], have: Mapping[str, Picture], *, start: date, seasons: Sequence[int | None]
) -> dict[str, SiteScene]:
    """Select the scenes whose picture would be new or better.

    Parameters
    ----------
    scenes : sequence of SiteScene, new scenes of a site
    have : mapping, stored pictures, by name
    start : date, first day of the intervention
    seasons : sequence of int or None
        Year of the growing season of each scene; None: outside the season.

    Returns
    -------
    dict
        Scene to read, by name of the picture: the clearest over the site, of equal ones the newest. For ``now`` the
        newest in which site and control ground are clear, if there is one.
    """
    chosen: dict[str, SiteScene] = {}
    most_units = max((one.n_units for one in scenes if not one.reason), default=0)
    for one, season in zip(scenes, seasons, strict=True):
        if one.reason or one.clear_fraction < MIN_SITE_CLEAR:
            continue
        moment = one.scene.time
        names = ["now"]
        if season is not None:
            names += [str(season)] + (["before"] if moment.date() < start else [])
        for name in names:
            old, rival = have.get(name), chosen.get(name)
            if name == "now":
                due = old is None or moment >= datetime.fromisoformat(old.time) + NEWEST_INTERVAL
                better = rival is None or _newest_clear(one, most_units) > _newest_clear(rival, most_units)
            else:
                due = old is None or old.clear < CLEAR_ENOUGH
                better = rival is None or (one.clear_fraction, moment) > (rival.clear_fraction, rival.scene.time)
            if due and better:
                chosen[name] = one
    return chosen


def _newest_clear(one: SiteScene, most_units: int) -> tuple[bool, datetime]:
    """Rank of a scene for ``now``; units lie around the site, so few are seen where it is cloudy there."""
    return one.clear_fraction >= CLEAR_ENOUGH and one.n_units >= NOW_CLEAR * most_units, one.scene.time


def replaces_picture(name: str, clear: float, seen: float, have: Mapping[str, Picture]) -> bool:
    """Whether a new picture replaces the stored one of its name.

    Parameters
    ----------
    name : str
    clear, seen : float
        Share of the picture that is clear, and that has any value: the rest lies outside the imagery. [1]
    have : mapping, stored pictures of the site, by name

    Returns
    -------
    bool
        For ``now``: whether the ground in it is clear; water and other ground that is never called clear is allowed
        for by the other pictures of the site. For others: whether it is clearer.
    """
    if name not in have:
        return True
    if name == "now":
        return clear >= NOW_CLEAR * min(seen, max(picture.clear for picture in have.values()))
    return clear >= have[name].clear + MIN_IMPROVEMENT


def for_the_eye(rgb: np.ndarray) -> np.ndarray:
    """A stored picture as people see it, under a stretch that is the same for all sites and years.

    Parameters
    ----------
    rgb : (..., 3) uint8 array
        As stored, see :func:`natural_colour`; 0 where there is no value.

    Returns
    -------
    (..., 3) uint8 array
        0 only where there is no value.
    """
    levels = np.arange(256, dtype=np.float32)[:, None]
    reflectance = WHITE_REFLECTANCE * (np.maximum(levels - 1, 0) / 254) ** 2
    black, white = np.array(BLACK_SHOWN, np.float32), np.array(WHITE_SHOWN, np.float32)
    table = np.clip((reflectance - black) / (white - black), 0, 1) ** (1 / GAMMA_SHOWN)
    shown = np.stack([table[rgb[..., band], band] for band in range(3)], axis=-1)
    grey = shown.mean(axis=-1, keepdims=True)
    shown = 1 + np.rint(254 * np.clip(grey + SATURATION_SHOWN * (shown - grey), 0, 1))
    return np.where(rgb.any(axis=-1, keepdims=True), shown, 0).astype(np.uint8)


def natural_colour(packed: np.ndarray, scene: Scene) -> tuple[np.ndarray, float]:
    """Natural colour picture of a packed scene.

    Parameters
    ----------
    packed : (layer, y, x) uint16 array, see :func:`monitor.cube.packed.pack`
    scene : Scene, scale and offset are used

    Returns
    -------
    rgb : (y, x, 3) uint8 array
        1 to 255 by the square root of reflectance; 0 where there is no value.
    clear : float
        Clear share of the picture. [1]
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
