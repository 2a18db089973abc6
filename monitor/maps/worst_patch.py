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
DECIMALS: Final = 7  # of positions in degrees: about a centimetre


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstPatch:
    """The ground of a site where regrowth is most likely absent: the first place to look."""

    latitude: float  # of a point inside, WGS 84 [degree]
    longitude: float
    hectares: float  # area; of a patch with holes without them [ha]
    ring: tuple[tuple[float, float], ...]  # outline: closed, longitude and latitude (EPSG:4326)


def worst_patch(chance: np.ndarray, times: int, site: BaseGeometry, grid: GeoBox) -> WorstPatch | None:
    """The largest patch of blocks, joined by their sides, that fail more likely than not; None: no block does.

    `chance` has the probability of failing of blocks with `times` pixels along each side, as in
    :class:`monitor.maps.failing.FailingMap`; NaN where unknown. Of blocks on the edge of the site (longitude and
    latitude) only the part inside counts. Of equally large patches the northernmost.
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
        latitude=latitude, longitude=longitude, hectares=round(largest.area / 10_000, 4),
        ring=_degrees(largest.exterior, grid),
    )  # fmt: skip


def _degrees(shape: BaseGeometry, grid: GeoBox) -> tuple[tuple[float, float], ...]:
    """Vertices of a projected shape in longitude and latitude."""
    vertices = shapely.get_coordinates(lonlat(shape, crs_of(grid))).round(DECIMALS)
    return tuple((float(x), float(y)) for x, y in vertices)
