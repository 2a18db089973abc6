"""Terrain of pieces of ground: elevation, slope and aspect, from one elevation model.

The slope is that of 30 m pixels, or of the model's own where they are larger: erosion grades and the choice of control
ground are about hillsides, not about furrows. Grids are in metres, row 0 in the north. NaN elevation is unknown ground
and never becomes a slope.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
import shapely
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from monitor.errors import BadData
from monitor.imagery.auxiliary.elevation import MAX_TERRAIN_PIXELS, ElevationModel
from monitor.sites.projection import projected, utm_zone
from monitor.sites.site import Site

MIN_TERRAIN_KNOWN: Final = 0.5  # least share of ground with a known slope for its means to be given [1]
FLAT_RISE: Final = 1e-6  # ground that rises less has no aspect: below the rounding of elevations [m/m]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terrain:
    """Terrain of one piece of ground: means over its pixels."""

    elevation: float  # height above sea level [m]
    slope: float  # angle of the steepest rise [degree]
    northness: float  # cosine of the aspect: 1 faces north, -1 south; 0 where the ground is flat [1]
    eastness: float  # sine of the aspect: 1 faces east, -1 west; 0 where the ground is flat [1]
    known: float  # share of the pixels whose slope is known [1]
    source: str  # name of the elevation model

    def to_json(self) -> dict[str, Any]:
        """Plain rounded values, stored with the frozen control units."""
        digits = {"elevation": 1, "slope": 2, "northness": 3, "eastness": 3, "known": 3}
        return {name: round(value, digits[name]) if name in digits else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "Terrain":
        """Terrain from the values of :meth:`to_json`."""
        return cls(**stored)


def terrain_of(model: ElevationModel, geometries: Sequence[BaseGeometry]) -> list[Terrain | None]:
    """Terrain of pieces of ground near each other, such as a site and its control units, from one read of the model.

    Geometries are in longitude and latitude. None where less than :data:`MIN_TERRAIN_KNOWN` of one is known. Raises
    BadData, TryLater or BadConfiguration if the model cannot be read, or one grid over all the ground would be too
    large.
    """
    if not geometries:
        return []
    crs = utm_zone(unary_union([shapely.box(*geometry.bounds) for geometry in geometries]))
    shapes = [projected(geometry, crs) for geometry in geometries]
    grid = _covering(unary_union([shapely.box(*shape.bounds) for shape in shapes]).bounds, crs, model.pixel)
    elevation = model.read(grid)
    east, north = gradient(elevation, model.pixel)
    return [_mean(shape, grid, elevation, east, north, source=model.name) for shape in shapes]


def with_slope(site: Site, terrain: Terrain | None) -> Site:
    """A site with the slope of its terrain, to .01 degrees, where the registry has none."""
    if terrain is None or site.slope_degrees is not None:
        return site
    return replace(site, slope_degrees=round(terrain.slope, 2))


def gradient(elevation: np.ndarray, pixel: float) -> tuple[np.ndarray, np.ndarray]:
    """Rise of the ground towards east and towards north, from the eight neighbours of each pixel [1]_. [m/m]

    Row 0 of `elevation` [m] is in the north; `pixel` is the side of a pixel [m]. NaN where a pixel or one of its
    neighbours is unknown, and in the outermost rows and columns: grids extend beyond the ground for this reason.

    References
    ----------
    .. [1] B. K. P. Horn, "Hill shading and the reflectance map," Proc. IEEE, 1981, doi:10.1109/PROC.1981.11918.
    """
    z = np.pad(np.asarray(elevation, dtype=np.float64), 1, constant_values=np.nan)
    a, b, c = z[:-2, :-2], z[:-2, 1:-1], z[:-2, 2:]
    d, e, f = z[1:-1, :-2], z[1:-1, 1:-1], z[1:-1, 2:]
    g, h, i = z[2:, :-2], z[2:, 1:-1], z[2:, 2:]
    east = ((c + 2 * f + i) - (a + 2 * d + g)) / (8 * pixel)
    north = ((a + 2 * b + c) - (g + 2 * h + i)) / (8 * pixel)
    known = np.isfinite(east + north + e)
    return np.where(known, east, np.nan), np.where(known, north, np.nan)


def slope(east: np.ndarray, north: np.ndarray) -> np.ndarray:
    """Angle of the steepest rise, from :func:`gradient`; NaN where unknown. [degree]"""
    angle: np.ndarray = np.degrees(np.arctan(np.hypot(east, north)))
    return angle


def northness_eastness(east: np.ndarray, north: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine of the aspect, the downhill direction, from :func:`gradient`; 0 if flat, NaN if unknown. [1]"""
    rise = np.hypot(east, north)
    flat = rise < FLAT_RISE
    divisor = np.where(flat, 1.0, rise)
    return np.where(flat, 0.0, -north / divisor), np.where(flat, 0.0, -east / divisor)


def _covering(bounds: tuple[float, float, float, float], crs: CRS, pixel: float) -> GeoBox:
    """Grid of whole pixels over bounds, two more on all sides so that every pixel inside has its neighbours."""
    left, bottom, right, top = bounds
    x0, y1 = (math.floor(left / pixel) - 2) * pixel, (math.ceil(top / pixel) + 2) * pixel
    width, height = math.ceil((right - x0) / pixel) + 2, math.ceil((y1 - bottom) / pixel) + 2
    if width * height > MAX_TERRAIN_PIXELS:
        raise BadData(
            f"ground {width * pixel / 1000:.0f} by {height * pixel / 1000:.0f} km is too large for one read of terrain"
        )
    return GeoBox((height, width), Affine(pixel, 0.0, x0, 0.0, -pixel, y1), crs)


def _mean(
    shape: BaseGeometry, grid: GeoBox, elevation: np.ndarray, east: np.ndarray, north: np.ndarray, *, source: str
) -> Terrain | None:
    """Means over the pixels with their centre in a shape; over the pixel under the shape if there are none."""
    left, bottom, right, top = shape.bounds
    first = ~grid.affine @ (left, top)
    last = ~grid.affine @ (right, bottom)
    columns, rows = (slice(math.floor(a), math.floor(b) + 1) for a, b in zip(first, last, strict=True))
    x = grid.affine.c + (np.arange(columns.start, columns.stop) + 0.5) * grid.affine.a
    y = grid.affine.f + (np.arange(rows.start, rows.stop) + 0.5) * grid.affine.e
    shapely.prepare(shape)
    inside = shapely.contains_xy(shape, *np.meshgrid(x, y))
    if not inside.any():
        point = ~grid.affine @ shape.representative_point().coords[0]
        columns, rows = (slice(math.floor(a), math.floor(a) + 1) for a in point)
        inside = np.ones((1, 1), dtype=bool)
    z, gx, gy = (layer[rows, columns][inside] for layer in (elevation, east, north))
    seen = np.isfinite(gx)
    known = float(seen.mean())
    if known < MIN_TERRAIN_KNOWN:
        return None
    northness, eastness = northness_eastness(gx[seen], gy[seen])
    return Terrain(
        elevation=float(z[seen].mean()), slope=float(slope(gx[seen], gy[seen]).mean()),
        northness=float(northness.mean()), eastness=float(eastness.mean()), known=known, source=source,
    )  # fmt: skip
