"""The first place of a site to look at: the largest patch on which regrowth is most likely absent."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import shapely
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from monitor.cube.grid import crs_of
from monitor.sites.projection import lonlat, projected

LIKELY: Final = 0.5
"""Probability of failing from which a block of pixels belongs to a patch: it is more likely than not. [1]"""

DECIMALS: Final = 7
"""Of positions in degrees: about a centimetre."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstPatch:
    """The ground of a site where regrowth is most likely absent: the first place to look."""

    latitude: float
    """Of a point inside, WGS 84. [degree]"""
    longitude: float
    hectares: float
    """Area; of a patch with holes without them. [ha]"""
    ring: tuple[tuple[float, float], ...]
    """Outline: closed, longitude and latitude (EPSG:4326)."""


def worst_patch(chance: np.ndarray, times: int, site: BaseGeometry, grid: GeoBox) -> WorstPatch | None:
    """The largest patch of blocks, joined by their sides, that fail more likely than not.

    Parameters
    ----------
    chance : (block, block) array
        Probability of failing of blocks of pixels, as in :class:`monitor.maps.failing.FailingMap`; NaN where unknown.
    times : int
        Pixels of the grid along each side of a block.
    site : shapely geometry
        Outline of the site, longitude and latitude. Of blocks on its edge only the part inside counts.
    grid : GeoBox
        Grid of the site, north up, of square pixels.

    Returns
    -------
    WorstPatch or None
        None where no block fails more likely than not. Of equally large patches the northernmost.
    """
    rows, columns = np.nonzero(chance >= LIKELY)  # NaN is not
    if not rows.size:
        return None
    side = abs(grid.resolution.x) * times
    left, top = grid.affine.c + columns * side, grid.affine.f - rows * side
    failing = shapely.union_all(shapely.box(left, top - side, left + side, top))
    inside = shapely.intersection(failing, projected(site, crs_of(grid)))
    polygons = [part for part in shapely.get_parts(inside).tolist() if isinstance(part, shapely.Polygon)]
    if not polygons:
        return None
    largest = max(polygons, key=lambda part: (round(part.area, 3), part.bounds[3], -part.bounds[0]))
    ((longitude, latitude),) = _degrees(largest.representative_point(), grid)
    return WorstPatch(
        latitude=latitude,
        longitude=longitude,
        hectares=round(largest.area / 10_000, 4),
        ring=_degrees(largest.exterior, grid),
    )


def _degrees(shape: BaseGeometry, grid: GeoBox) -> tuple[tuple[float, float], ...]:
    """Vertices of a projected shape in longitude and latitude."""
    vertices = shapely.get_coordinates(lonlat(shape, crs_of(grid))).round(DECIMALS)
    return tuple((float(x), float(y)) for x, y in vertices)
