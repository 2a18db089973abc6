"""Terrain: elevation, slope and aspect of the ground, from one elevation model.

Slope is that of 30 m pixels, or of the model's own where they are larger: erosion grades and the choice of control
ground are about hillsides, not about furrows. Grids are in metres, row 0 in the north. NaN elevation is unknown ground
and never becomes a slope.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import shapely
from affine import Affine
from odc.geo import CRS
from odc.geo.geobox import GeoBox
from pyproj import CRS as System
from pyproj import Transformer
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from monitor.errors import BadData
from monitor.imagery.auxiliary.files import opened_tiff, tiffs
from monitor.sites.projection import projected
from monitor.sites.site import Site

PIXEL: Final = 30.0
"""Pixel that slope is told of: that of Copernicus GLO-30. [m]"""
BREAKS: Final = (5.0, 8.0, 15.0, 25.0, 35.0)
"""Lower borders of slope classes 1 to 5 (SL 190-2007; METHOD 6). [degree]"""
POSSIBLE: Final = (-500.0, 9000.0)
"""Elevations outside are none, whatever the file says of its missing values: the Dead Sea shore lies at -430, Everest
at 8,849. [m]"""
KNOWN: Final = 0.5
"""Least share of a piece of ground whose slope must be known for its mean to stand for it. [1]"""
MOST: Final = 4096 * 4096
"""Most pixels of one grid, and a quarter of a file under it that are held at once. A site with control ground 25 km
around it has 3 million of 30 m."""
WHOLE: Final = 1 - 1e-6
"""Share of a pixel from which on it counts as known as a whole: all but rounding. [1]"""
FINEST: Final = 8
"""Most samples a side that the mean of a pixel is made of, where the model is finer."""
FLAT: Final = 1e-6
"""Ground that rises less faces nowhere: below the rounding of elevations. [m/m]"""
_DEGREE: Final = 111_320.0
"""One degree of latitude. [m]"""
_METRE: Final = ("m", "metre", "metres", "meter", "meters", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terrain:
    """The lie of one piece of ground: means over its pixels."""

    elevation: float
    """[m]"""
    slope: float
    """[degree]"""
    northness: float
    """Cosine of the aspect: 1 faces north, -1 south; 0 where the ground is flat. [1]"""
    eastness: float
    """Sine of the aspect: 1 faces east, -1 west; 0 where the ground is flat. [1]"""
    known: float
    """Share of the pixels whose slope is known. [1]"""
    source: str
    """Name of the elevation model."""

    @property
    def slope_class(self) -> int:
        """0 (below 5 degrees) to 5 (35 degrees and more), by :data:`BREAKS`."""
        return int(np.searchsorted(BREAKS, self.slope, side="right"))

    @property
    def aspect(self) -> float:
        """Direction that the ground faces on the whole, clockwise from north; NaN where it faces none. [degree]"""
        if math.hypot(self.northness, self.eastness) < 1e-3:
            return math.nan
        return math.degrees(math.atan2(self.eastness, self.northness)) % 360.0

    def to_json(self) -> dict[str, Any]:
        """As plain values, to be kept with the frozen control units."""
        digits = {"elevation": 1, "slope": 2, "northness": 3, "eastness": 3, "known": 3}
        return {name: round(value, digits[name]) if name in digits else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "Terrain":
        """The terrain written by :meth:`to_json`."""
        return cls(**stored)


class ElevationModel(Protocol):
    """An elevation model."""

    name: str
    """What it is called in the evidence."""
    pixel: float
    """Pixel that it is best read at. [m]"""

    def read(self, grid: GeoBox) -> np.ndarray:
        """Elevation on a grid, (y, x) float64, NaN where it is unknown. [m]

        Raises
        ------
        BadData, TryLater, BadConfiguration
            The model cannot be read.
        """
        ...


def terrain_of(model: ElevationModel, geometries: Sequence[BaseGeometry]) -> list[Terrain | None]:
    """Terrain of pieces of ground that lie near each other, for instance a site and its control units, in one read.

    Parameters
    ----------
    model : ElevationModel
        Where elevations come from.
    geometries : sequence of shapely geometry
        Longitude and latitude. [degree]

    Returns
    -------
    list of Terrain or None
        In the order of `geometries`; None where less than half (:data:`KNOWN`) of the ground is known.

    Raises
    ------
    BadData
        They lie so far apart that one grid over them would have more than :data:`MOST` pixels.
    """
    if not geometries:
        return []
    together = unary_union([shapely.box(*one.bounds) for one in geometries])
    crs = _utm(together)
    shapes = [projected(one, crs) for one in geometries]
    grid = _covering(unary_union([shapely.box(*one.bounds) for one in shapes]).bounds, crs, model.pixel)
    elevation = model.read(grid)
    east, north = gradient(elevation, model.pixel)
    return [_mean(shape, grid, elevation, east, north, source=model.name) for shape in shapes]


def with_slope(site: Site, lie: Terrain | None) -> Site:
    """The site with the slope of its terrain, to .01 degrees, where that is known and the registry tells none."""
    if lie is None or site.slope_degrees is not None:
        return site
    return replace(site, slope_degrees=round(lie.slope, 2))


def gradient(elevation: np.ndarray, pixel: float) -> tuple[np.ndarray, np.ndarray]:
    """Rise of the ground towards east and towards north, from the eight neighbours of each pixel [1]_.

    Parameters
    ----------
    elevation : (y, x) array
        Row 0 in the north; NaN where unknown. [m]
    pixel : float
        Side of a pixel. [m]

    Returns
    -------
    east, north : (y, x) arrays
        NaN where a pixel or one of its neighbours is unknown, and so in the outermost rows and columns: the grids of
        :func:`terrain_of` reach beyond the ground that is asked about. [m/m]

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
    """Angle of the steepest rise, NaN where it is unknown. [degree]"""
    angle: np.ndarray = np.degrees(np.arctan(np.hypot(east, north)))
    return angle


def facing(east: np.ndarray, north: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Northness and eastness of the way down: cosine and sine of the aspect, 0 on flat ground, NaN unknown. [1]"""
    steep = np.hypot(east, north)
    flat = steep < FLAT
    over = np.where(flat, 1.0, steep)
    return np.where(flat, 0.0, -north / over), np.where(flat, 0.0, -east / over)


def bilinear(values: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Values between the pixels of an array, linear along rows and columns.

    Parameters
    ----------
    values : (m, n) array
        At least two rows and columns; NaN where unknown.
    row, column : arrays of one shape
        Places, 0 in the middle of the first pixel. [pixel]

    Returns
    -------
    array
        NaN outside the pixels, and where a neighbour that counts is unknown. In the outer half of the outermost
        pixels the surface is carried on, so that neighbouring tiles leave no seam.
    """
    height, width = values.shape
    reach = 0.5 + 1e-6
    within = (row >= -reach) & (row <= height - 1 + reach) & (column >= -reach) & (column <= width - 1 + reach)
    row, column = np.where(within, row, 0.0), np.where(within, column, 0.0)
    top = np.clip(np.floor(row).astype(np.int64), 0, height - 2)
    left = np.clip(np.floor(column).astype(np.int64), 0, width - 2)
    down, right = row - top, column - left
    upper = _between(values[top, left], values[top, left + 1], right)
    lower = _between(values[top + 1, left], values[top + 1, left + 1], right)
    return np.where(within, _between(upper, lower, down), np.nan)


def cubic(values: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """As :func:`bilinear`, but by cubic convolution [1]_ where all sixteen neighbours are known.

    Notes
    -----
    Linear interpolation flattens ridges and valleys: on real mountains it took 3 to 4 % off the mean slope, this less
    than one (a test).

    References
    ----------
    .. [1] R. G. Keys, "Cubic convolution interpolation for digital image processing," IEEE Trans. Acoust., 1981,
       doi:10.1109/TASSP.1981.1163711. The parameter a is -1/2.
    """
    height, width = values.shape
    linear = bilinear(values, row, column)
    inner = (row >= 1) & (row < height - 2) & (column >= 1) & (column < width - 2)
    if not inner.any():
        return linear
    y, x = row[inner], column[inner]
    top, left = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
    total = np.zeros(y.shape)
    across = _keys(x - left)
    for i, weight in enumerate(_keys(y - top), start=-1):
        line = values[top + i, left - 1] * across[0]
        for j in (0, 1, 2):
            line = line + values[top + i, left + j] * across[j + 1]
        total += weight * line
    linear[inner] = np.where(np.isfinite(total), total, linear[inner])
    return linear


def _keys(way: np.ndarray) -> tuple[np.ndarray, ...]:
    """Weights of the four neighbours along a line, for a place so far from the second towards the third."""
    two, three = way**2, way**3
    return (
        (-three + 2 * two - way) / 2,
        (3 * three - 5 * two + 2) / 2,
        (-3 * three + 4 * two + way) / 2,
        (three - two) / 2,
    )


def _between(one: np.ndarray, other: np.ndarray, way: np.ndarray) -> np.ndarray:
    """So much of the way from one value to the other; at an end the other one does not count, known or not."""
    return np.where(way == 0, one, np.where(way == 1, other, one + way * (other - one)))


class LocalElevation:
    """An elevation model in a GeoTIFF, or in a folder of them: the tiles of GLO-30 as they are downloaded.

    Parameters
    ----------
    path : Path
        Of the file or folder. One band each, elevation in metres, any coordinate system; the first by name wins where
        files overlap.

    Raises
    ------
    BadData
        What lies there cannot be taken for an elevation model.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._tiles = [_local(one) for one in tiffs(path)]
        coarsest = max(tile.pixel for tile in self._tiles)
        self.pixel = PIXEL if coarsest < 1.1 * PIXEL else float(round(coarsest))

    def read(self, grid: GeoBox) -> np.ndarray:
        """See :class:`ElevationModel`."""
        return mosaic(self._tiles, grid)


def _local(path: Path) -> "Tile":
    with opened_tiff(path) as file:
        unit = (file.units[0] or "m").lower()
        if file.count != 1 or file.crs is None or min(file.shape) < 2 or unit not in _METRE:
            system = "no coordinate system" if file.crs is None else str(file.crs)
            msg = (
                f"{path} has {file.count} bands, {file.shape} pixels, unit {unit!r} and {system}; an elevation "
                "model has one band in metres, two pixels a side or more, and a coordinate system"
            )
            raise BadData(msg)
        shape, affine, crs = file.shape, file.transform, file.crs.to_wkt()

    def values(window: Window) -> np.ndarray:
        with opened_tiff(path) as file:
            read = file.read(1, window=window, masked=True)
            filled: np.ndarray = np.ma.filled(read.astype(np.float64), np.nan) * file.scales[0] + file.offsets[0]
            return filled

    return Tile(str(path), shape=shape, affine=affine, crs=crs, values=values)


def mosaic(tiles: "Sequence[Tile]", grid: GeoBox) -> np.ndarray:
    """Elevation on a grid from tiles that may meet or overlap under it, (y, x), NaN where none knows. [m]"""
    total, share = np.zeros(grid.shape), np.zeros(grid.shape)
    places: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for tile in tiles:
        if (share > WHOLE).all():
            break
        if tile.crs not in places:
            places[tile.crs] = _centres(grid, tile.crs)
        height, known = tile.at(*places[tile.crs], pixel=abs(grid.resolution.x))
        missing = share < WHOLE
        total += np.where(missing, height * known, 0.0)
        share += np.where(missing, known, 0.0)
    whole = share > WHOLE
    return np.where(whole, total / np.where(whole, share, 1.0), np.nan)


class Tile:
    """One piece of an elevation model.

    Parameters
    ----------
    name : str
        For messages.
    shape : tuple of int
        Rows and columns, two or more of each.
    affine : Affine
        From column and row to the system; not rotated.
    crs : str
        The system, as WKT or by its number.
    values : callable
        Reads a :class:`rasterio.windows.Window`, (y, x) float64, NaN where unknown. [m]

    Raises
    ------
    BadData
        The grid is rotated.
    """

    def __init__(
        self,
        name: str,
        *,
        shape: tuple[int, int],
        affine: Affine,
        crs: str,
        values: Callable[[Window], np.ndarray],
    ) -> None:
        self.name, self.shape, self.affine, self.crs = name, shape, affine, crs
        self._read = values
        if affine.b or affine.d:
            msg = f"{name} lies on a rotated grid; bring it onto one that is not"
            raise BadData(msg)
        system = System.from_user_input(crs)
        metres = _DEGREE if system.is_geographic else system.axis_info[0].unit_conversion_factor
        middle = math.radians(affine.f + affine.e * shape[0] / 2)
        narrow = max(math.cos(middle), 0.01) if system.is_geographic else 1.0
        self.pixel = metres * max(abs(affine.e), abs(affine.a) * narrow)
        """The longer side of a pixel. [m]"""

    def at(self, x: np.ndarray, y: np.ndarray, *, pixel: float) -> tuple[np.ndarray, np.ndarray]:
        """Elevation of pixels whose centres lie at `x`, `y` of the tile's own system, and how much of each is known.

        Where the tile is finer than asked for it is the mean of samples all over the pixel; 0 where none is known.
        """
        row = (y - self.affine.f) / self.affine.e - 0.5
        column = (x - self.affine.c) / self.affine.a - 0.5
        step = min(max(math.floor(pixel / self.pixel + 0.01), 1), FINEST)
        shifts = (np.arange(step) + 0.5) / step - 0.5
        row_by, column_by = np.gradient(row), np.gradient(column)
        total, known = np.zeros(x.shape), np.zeros(x.shape)
        # Lines at a time: a fine model has hundreds of pixels in each of those asked for.
        lines = max(int(MOST / 4 / (x.shape[1] * max(pixel / self.pixel, 1.0) ** 2)), 1)
        for first in range(0, x.shape[0], lines):
            part = np.s_[first : first + lines]
            window = self._window(row[part], column[part])
            if window is None:
                continue
            values = self._values(window)
            between = cubic if step == 1 else bilinear
            for down in shifts:
                for right in shifts:
                    z = between(
                        values,
                        row[part] + down * row_by[0][part] + right * row_by[1][part] - window.row_off,
                        column[part] + down * column_by[0][part] + right * column_by[1][part] - window.col_off,
                    )
                    total[part] += np.nan_to_num(z)
                    known[part] += np.isfinite(z)
        return total / np.maximum(known, 1), known / step**2

    def _window(self, row: np.ndarray, column: np.ndarray) -> Window | None:
        """What is to be read for some places, with the neighbours that count; None: they lie outside."""
        ends = []
        for place, n in zip((row, column), self.shape, strict=True):
            here = place[np.isfinite(place)]
            low, high = (math.floor(here.min()), math.ceil(here.max())) if here.size else (n, n)
            reach = 3 + math.ceil((high - low) / max(*row.shape, 1))
            low, high = max(low - reach, 0), min(high + reach, n - 1)
            if high - low < 1:
                return None
            ends += [low, high - low + 1]
        if ends[1] * ends[3] > 4 * MOST:
            msg = f"{self.name} is too fine to be read here ({self.pixel:.2g} m pixels); give one of {PIXEL:g} m"
            raise BadData(msg)
        return Window(ends[2], ends[0], ends[3], ends[1])

    def _values(self, window: Window) -> np.ndarray:
        z = self._read(window)
        with np.errstate(invalid="ignore"):
            return np.where((z >= POSSIBLE[0]) & (z <= POSSIBLE[1]), z, np.nan)


def _centres(grid: GeoBox, crs: str) -> tuple[np.ndarray, np.ndarray]:
    """Centres of the pixels of a grid in another system, x and y."""
    height, width = grid.shape
    x, y = np.meshgrid(
        grid.affine.c + (np.arange(width) + 0.5) * grid.affine.a,
        grid.affine.f + (np.arange(height) + 0.5) * grid.affine.e,
    )
    move = Transformer.from_crs(str(grid.crs), crs, always_xy=True)
    moved_x, moved_y = move.transform(x, y)
    return moved_x, moved_y


def _utm(geometry: BaseGeometry) -> CRS:
    point = geometry.centroid
    zone = min(60, int((point.x + 180.0) // 6.0) + 1)
    return CRS(f"EPSG:{(32600 if point.y >= 0 else 32700) + zone}")


def _covering(bounds: tuple[float, float, float, float], crs: CRS, pixel: float) -> GeoBox:
    """Grid of whole pixels over bounds, two more on all sides so that every pixel inside has its neighbours."""
    left, bottom, right, top = bounds
    x0, y1 = (math.floor(left / pixel) - 2) * pixel, (math.ceil(top / pixel) + 2) * pixel
    width, height = math.ceil((right - x0) / pixel) + 2, math.ceil((y1 - bottom) / pixel) + 2
    if width * height > MOST:
        msg = (
            f"ground {width * pixel / 1000:.0f} by {height * pixel / 1000:.0f} km is too large for one read of terrain"
        )
        raise BadData(msg)
    return GeoBox((height, width), Affine(pixel, 0.0, x0, 0.0, -pixel, y1), crs)


def _mean(
    shape: BaseGeometry, grid: GeoBox, elevation: np.ndarray, east: np.ndarray, north: np.ndarray, *, source: str
) -> Terrain | None:
    """Means over the pixels whose centre lies in a shape of the grid's own system; over the one it lies on if none."""
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
    if known < KNOWN:
        return None
    northness, eastness = facing(gx[seen], gy[seen])
    return Terrain(
        elevation=float(z[seen].mean()),
        slope=float(slope(gx[seen], gy[seen]).mean()),
        northness=float(northness.mean()),
        eastness=float(eastness.mean()),
        known=known,
        source=source,
    )
