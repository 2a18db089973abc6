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
"""Reflectance shown as white, brighter than dry sand; square roots are shown, so that forest is not black. [1]"""
CLEAR_ENOUGH: Final = 0.98
"""Clear share from which a picture is not replaced by a clearer one. [1]"""
MIN_SITE_CLEAR: Final = 0.9
"""Clear share of the site that a scene needs for a picture. [1]"""
MIN_IMPROVEMENT: Final = 0.02
"""Clear share by which a new picture must exceed the old one. [1]"""
NEWEST_INTERVAL: Final = timedelta(days=10)
"""The picture ``now`` is replaced by a scene this much newer."""


def context_grid(site: Site, grid: GeoBox) -> GeoBox:
    """Grid of a site's pictures: the pixels of its own grid, with :data:`CONTEXT_MARGIN` around the site."""
    return site_grid(
        site.geometry, crs=crs_of(grid), resolution=abs(grid.resolution.x), anchor=(grid.affine.c, grid.affine.f),
        margin=CONTEXT_MARGIN,
    )  # fmt: skip


def picture_candidates(
    records: Sequence[Record], have: Mapping[str, Picture], *, start: date, seasons: Sequence[int | None]
) -> dict[str, Record]:
    """Select the scenes whose picture would be new or better.

    Parameters
    ----------
    records : sequence of Record
        New scenes of a site.
    have : mapping
        Stored pictures, by name.
    start : date, first day of the intervention
    seasons : sequence of int or None
        Year of the growing season of each scene; None: outside the season.

    Returns
    -------
    dict
        Scene to read, by name of the picture: the clearest over the site, of equal ones the newest.
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
            old, rival = have.get(name), chosen.get(name)
            if name == "now":
                due = old is None or moment >= datetime.fromisoformat(old.time) + NEWEST_INTERVAL
                better = rival is None or record.time > rival.time
            else:
                due = old is None or old.clear < CLEAR_ENOUGH
                better = rival is None or (record.clear_fraction, record.time) > (rival.clear_fraction, rival.time)
            if due and better:
                chosen[name] = record
    return chosen


def replaces_picture(name: str, clear: float, old: Picture | None) -> bool:
    """Whether a picture replaces the old one of its name.

    Parameters
    ----------
    name : str
        ``now`` always replaces the old one: the site was seen, though its surroundings may be cloudy or outside the
        swath.
    clear : float
        Clear share of the new picture. [1]
    old : Picture or None
        None: there is none yet.

    Returns
    -------
    bool
    """
    return name == "now" or old is None or clear >= old.clear + MIN_IMPROVEMENT


def natural_colour(packed: np.ndarray, scene: Scene) -> tuple[np.ndarray, float]:
    """Natural colour picture of a packed scene.

    Parameters
    ----------
    packed : (layer, y, x) uint16 array
        See :func:`monitor.cube.packed.pack`.
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
    reflectance = scene.scale * visible.astype(np.float32) + scene.offset
    level = 1 + np.rint(254 * np.sqrt(np.clip(reflectance / WHITE_REFLECTANCE, 0.0, 1.0)))
    rgb = np.where(known, level, 0).astype(np.uint8)
    return np.moveaxis(rgb, 0, -1), float(packed[PACKED_LAYERS.index("clear")].mean())
