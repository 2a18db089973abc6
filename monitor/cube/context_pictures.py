"""Context pictures: a site and its surroundings in natural colour, in a few clear scenes. For people only.

Stored are the newest clear scene (``now``), the clearest before the start (``before``) and the clearest of each growing
season (its year). All are under one fixed stretch, so that pictures of different years and sites compare.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Final

import numpy as np
from odc.geo.geobox import GeoBox

from monitor.cube.grid import crs_of, site_grid
from monitor.cube.packed import PACKED_LAYERS
from monitor.cube.records import Picture, Record
from monitor.imagery import bands
from monitor.imagery.source import Scene
from monitor.sites.site import Site

CONTEXT_MARGIN: Final = 600.0
"""Surroundings shown on each side of a site. [m]"""
WHITE_REFLECTANCE: Final = 0.4
"""Reflectance that is white, brighter than dry sand; its square root is shown, so that forest is not black. [1]"""
CLEAR_ENOUGH: Final = 0.98
"""A picture of which so much is clear is not replaced by a clearer one. [1]"""
MIN_SITE_CLEAR: Final = 0.9
"""Share of the site that must be clear for a picture to be looked at at all. [1]"""
MIN_IMPROVEMENT: Final = 0.02
"""By how much clearer a picture must be to replace one. [1]"""
NEWEST_INTERVAL: Final = timedelta(days=10)
"""The newest picture is replaced when the scene is so much newer."""


def context_grid(site: Site, grid: GeoBox) -> GeoBox:
    """Grid of a site's pictures: the pixels of its own grid, with :data:`CONTEXT_MARGIN` around the site."""
    return site_grid(
        site.geometry, crs=crs_of(grid), resolution=abs(grid.resolution.x), anchor=(grid.affine.c, grid.affine.f),
        margin=CONTEXT_MARGIN,
    )  # fmt: skip


def picture_candidates(
    records: Sequence[Record], have: Mapping[str, Picture], *, start: date, seasons: Sequence[int | None]
) -> dict[str, Record]:
    """Scenes of which a picture would be new or better.

    Parameters
    ----------
    records : sequence of Record
        New scenes of a site.
    have : mapping
        Pictures that there are, by name.
    start : date
        Of the work.
    seasons : sequence of int or None
        Year of the growing season that each scene lies in; None: in none.

    Returns
    -------
    dict
        By name of the picture the scene to look at: the clearest over the site, of equal ones the newest.
    """
    chosen: dict[str, Record] = {}
    for record, season in zip(records, seasons, strict=True):
        if not record.accepted or record.clear_fraction < MIN_SITE_CLEAR:
            continue
        moment = datetime.fromisoformat(record.time)
        names = ["now"]
        if season is not None:
            names += [str(season)] + (["before"] if moment.date() < start else [])
        for name in names:
            old = have.get(name)
            if name == "now":
                if old is not None and moment < datetime.fromisoformat(old.time) + NEWEST_INTERVAL:
                    continue
                better = name not in chosen or record.time > chosen[name].time
            else:
                if old is not None and old.clear >= CLEAR_ENOUGH:
                    continue
                rival = chosen.get(name)
                better = rival is None or (record.clear_fraction, record.time) > (rival.clear_fraction, rival.time)
            if better:
                chosen[name] = record
    return chosen


def replaces_picture(name: str, clear: float, old: Picture | None) -> bool:
    """Whether a picture of which this share is clear takes the place of the old one of its name.

    The newest one does, for the site was seen; its surroundings may lie under cloud or beyond the swath.
    """
    return name == "now" or old is None or clear >= old.clear + MIN_IMPROVEMENT


def natural_colour(packed: np.ndarray, scene: Scene) -> tuple[np.ndarray, float]:
    """Picture of a packed scene.

    Parameters
    ----------
    packed : (layer, y, x) uint16 array
        See :func:`monitor.cube.packed.pack`.
    scene : Scene
        Gives scale and offset.

    Returns
    -------
    rgb : (y, x, 3) uint8 array
        1 to 255 by the square root of reflectance; 0 where there is no value.
    clear : float
        Share of the picture that shows the ground. [1]
    """
    visible = packed[[PACKED_LAYERS.index(name) for name in ("red", "green", "blue")]]
    known = bands.has_value(visible).all(axis=0)
    reflectance = scene.scale * visible.astype(np.float32) + scene.offset
    level = 1 + np.rint(254 * np.sqrt(np.clip(reflectance / WHITE_REFLECTANCE, 0.0, 1.0)))
    rgb = np.where(known, level, 0).astype(np.uint8)
    return np.moveaxis(rgb, 0, -1), float(packed[PACKED_LAYERS.index("clear")].mean())
