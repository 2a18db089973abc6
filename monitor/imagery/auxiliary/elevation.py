"""Elevation models on the grids that they are requested for: local files, and the interpolation all models share.

Grids are in metres, row 0 in the north. NaN elevation is unknown ground.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from rasterio.windows import Window

from monitor.errors import BadData
from monitor.imagery.auxiliary.files import geotiff_paths, open_geotiff, read_window

TERRAIN_PIXEL: Final = 30.0  # pixel on which slopes are computed: that of Copernicus GLO-30 [m]
VALID_ELEVATION: Final = (-500.0, 9000.0)
"""Elevations outside are missing values, whatever the file declares: the shore of the Dead Sea is at -430, Everest at
8,849. [m]"""
MAX_TERRAIN_PIXELS: Final = 4096 * 4096
"""Most pixels of one grid, and four times the most pixels of a file under it held at one time. A site with control
ground 25 km around it has 3 million pixels of 30 m."""
FULLY_KNOWN: Final = 1 - 1e-6  # share of a pixel from which on all of it counts as known; the rest is rounding [1]
MAX_SAMPLES_PER_SIDE: Final = 8  # most samples along a side of a pixel where the model is finer
_DEGREE: Final = 111_320.0  # one degree of latitude [m]
_METRE: Final = ("m", "metre", "metres", "meter", "meters", "")


class ElevationModel(Protocol):
    """An elevation model."""

    name: str  # its name in the evidence
    pixel: float  # pixel on which it is best read [m]

    def read(self, grid: GeoBox) -> np.ndarray:
        """Elevation on a grid, (y, x) float64, NaN where unknown. [m]

        Raises BadData, TryLater or BadConfiguration if the model cannot be read.
        """
        ...


class LocalElevation:
    """An :class:`ElevationModel` in a GeoTIFF, or in a folder of them, such as downloaded tiles of GLO-30.

    One band each, in metres, in any coordinate system; where files overlap, the first by name counts. Raises BadData if
    the path does not hold an elevation model.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._tiles = [_local_tile(file) for file in geotiff_paths(path)]
        coarsest = max(tile.pixel for tile in self._tiles)
        self.pixel = TERRAIN_PIXEL if coarsest < 1.1 * TERRAIN_PIXEL else float(round(coarsest))

    def read(self, grid: GeoBox) -> np.ndarray:
        """Elevation on a grid, see :meth:`ElevationModel.read`."""
        return mosaic(self._tiles, grid)


def _local_tile(path: Path) -> "ElevationTile":
    with open_geotiff(path) as file:
        unit = (file.units[0] or "m").lower()
        if file.count != 1 or file.crs is None or min(file.shape) < 2 or unit not in _METRE:
            system = "no coordinate system" if file.crs is None else str(file.crs)
            raise BadData(
                f"{path} has {file.count} bands, {file.shape} pixels, unit {unit!r} and {system}; an elevation "
                "model has one band in metres, two pixels a side or more, and a coordinate system"
            )
        shape, affine, crs = file.shape, file.transform, file.crs.to_wkt()

    def values(window: Window) -> np.ndarray:
        with open_geotiff(path) as file:
            return read_window(file, window)

    return ElevationTile(str(path), shape=shape, affine=affine, crs=crs, values=values)


def mosaic(tiles: "Sequence[ElevationTile]", grid: GeoBox) -> np.ndarray:
    """Elevation on a grid in metres from tiles that may overlap, in order of preference; NaN where unknown. [m]

    Raises BadData if a tile cannot be read, or is too fine for the grid.
    """
    total, share = np.zeros(grid.shape), np.zeros(grid.shape)
    centres: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for tile in tiles:
        if (share > FULLY_KNOWN).all():
            break
        if tile.crs not in centres:
            centres[tile.crs] = _pixel_centres(grid, tile.crs)
        elevation, known = tile.at(*centres[tile.crs], pixel=abs(grid.resolution.x))
        missing = share < FULLY_KNOWN
        total += np.where(missing, elevation * known, 0.0)
        share += np.where(missing, known, 0.0)
    complete = share > FULLY_KNOWN
    return np.where(complete, total / np.where(complete, share, 1.0), np.nan)


class ElevationTile:
    """One raster of an elevation model, of two or more rows and columns; BadData if it is rotated.

    `affine` leads from column and row to coordinates in `crs` (WKT or EPSG code); `values` reads a window, (y, x)
    float64, NaN where unknown [m].
    """

    def __init__(
        self, name: str, *, shape: tuple[int, int], affine: Affine, crs: str, values: Callable[[Window], np.ndarray]
    ) -> None:
        self.name, self.shape, self.affine, self.crs = name, shape, affine, crs
        self._read = values
        if affine.b or affine.d:
            raise BadData(f"{name} is on a rotated grid; bring it onto one that is not")
        system = CRS.from_user_input(crs)
        metres = _DEGREE if system.is_geographic else system.axis_info[0].unit_conversion_factor
        middle = math.radians(affine.f + affine.e * shape[0] / 2)
        narrowing = max(math.cos(middle), 0.01) if system.is_geographic else 1.0
        self.pixel = metres * max(abs(affine.e), abs(affine.a) * narrowing)  # longer side of a pixel [m]

    def at(self, x: np.ndarray, y: np.ndarray, *, pixel: float) -> tuple[np.ndarray, np.ndarray]:
        """Mean elevation of pixels with these centres, (y, x) in the system of the tile, and the known share of each.

        Means are over samples all over each pixel where the tile is finer, 0 where unknown [m]; `pixel` is the side of
        the pixels [m]. Raises BadData if the tile cannot be read, or is too fine for the grid.
        """
        row = (y - self.affine.f) / self.affine.e - 0.5
        column = (x - self.affine.c) / self.affine.a - 0.5
        step = min(max(math.floor(pixel / self.pixel + 0.01), 1), MAX_SAMPLES_PER_SIDE)
        shifts = (np.arange(step) + 0.5) / step - 0.5
        row_by, column_by = np.gradient(row), np.gradient(column)
        total, known = np.zeros(x.shape), np.zeros(x.shape)
        # A few lines at a time: a fine model has hundreds of pixels in each pixel of the grid.
        lines = max(int(MAX_TERRAIN_PIXELS / 4 / (x.shape[1] * max(pixel / self.pixel, 1.0) ** 2)), 1)
        for first in range(0, x.shape[0], lines):
            part = np.s_[first : first + lines]
            window = self._window(row[part], column[part])
            if window is None:
                continue
            values = self._read(window)
            with np.errstate(invalid="ignore"):
                values = np.where((values >= VALID_ELEVATION[0]) & (values <= VALID_ELEVATION[1]), values, np.nan)
            interpolate = cubic if step == 1 else bilinear
            for down in shifts:
                for right in shifts:
                    z = interpolate(
                        values,
                        row[part] + down * row_by[0][part] + right * row_by[1][part] - window.row_off,
                        column[part] + down * column_by[0][part] + right * column_by[1][part] - window.col_off,
                    )
                    total[part] += np.nan_to_num(z)
                    known[part] += np.isfinite(z)
        return total / np.maximum(known, 1), known / step**2

    def _window(self, row: np.ndarray, column: np.ndarray) -> Window | None:
        """Window to be read for some positions, including the neighbours for interpolation; None: all are outside."""
        ends = []
        for position, n in zip((row, column), self.shape, strict=True):
            finite = position[np.isfinite(position)]
            low, high = (math.floor(finite.min()), math.ceil(finite.max())) if finite.size else (n, n)
            margin = 3 + math.ceil((high - low) / max(*row.shape, 1))
            low, high = max(low - margin, 0), min(high + margin, n - 1)
            if high - low < 1:
                return None
            ends += [low, high - low + 1]
        if ends[1] * ends[3] > 4 * MAX_TERRAIN_PIXELS:
            raise BadData(
                f"{self.name} is too fine to be read here ({self.pixel:.2g} m pixels); give one of {TERRAIN_PIXEL:g} m"
            )
        return Window(ends[2], ends[0], ends[3], ends[1])


def bilinear(values: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Interpolate an array, NaN where unknown, linearly at positions, 0 in the middle of its first pixel. [pixel]

    NaN outside the pixels, and where a neighbour with a weight is unknown. In the outer half of the outermost pixels
    the surface is extrapolated, so that neighbouring tiles leave no seam.
    """
    height, width = values.shape
    margin = 0.5 + 1e-6
    inside = (row >= -margin) & (row <= height - 1 + margin) & (column >= -margin) & (column <= width - 1 + margin)
    row, column = np.where(inside, row, 0.0), np.where(inside, column, 0.0)
    top = np.clip(np.floor(row).astype(np.int64), 0, height - 2)
    left = np.clip(np.floor(column).astype(np.int64), 0, width - 2)
    down, right = row - top, column - left
    upper = _between(values[top, left], values[top, left + 1], right)
    lower = _between(values[top + 1, left], values[top + 1, left + 1], right)
    return np.where(inside, _between(upper, lower, down), np.nan)


def cubic(values: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Interpolate as :func:`bilinear`, but by cubic convolution [1]_ where all sixteen neighbours are known.

    Linear interpolation flattens ridges and valleys: on real mountains it lowered the mean slope by 3 to 4 %, cubic
    convolution by less than one (a test).

    References
    ----------
    .. [1] R. G. Keys, "Cubic convolution interpolation for digital image processing," IEEE Trans. Acoust., 1981,
       doi:10.1109/TASSP.1981.1163711. The parameter a is -1/2.
    """
    height, width = values.shape
    result = bilinear(values, row, column)
    inner = (row >= 1) & (row < height - 2) & (column >= 1) & (column < width - 2)
    if not inner.any():
        return result
    y, x = row[inner], column[inner]
    top, left = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
    total = np.zeros(y.shape)
    across = _cubic_weights(x - left)
    for i, weight in enumerate(_cubic_weights(y - top), start=-1):
        line = values[top + i, left - 1] * across[0]
        for j in (0, 1, 2):
            line = line + values[top + i, left + j] * across[j + 1]
        total += weight * line
    result[inner] = np.where(np.isfinite(total), total, result[inner])
    return result


def _cubic_weights(fraction: np.ndarray) -> tuple[np.ndarray, ...]:
    """Weights of four neighbours along a line, for a position this far from the second towards the third."""
    two, three = fraction**2, fraction**3
    return (
        (-three + 2 * two - fraction) / 2,
        (3 * three - 5 * two + 2) / 2,
        (-3 * three + 4 * two + fraction) / 2,
        (three - two) / 2,
    )


def _between(start: np.ndarray, end: np.ndarray, fraction: np.ndarray) -> np.ndarray:
    """Linear interpolation; at fraction 0 or 1 the other value does not count, even if unknown."""
    return np.where(fraction == 0, start, np.where(fraction == 1, end, start + fraction * (end - start)))


def _pixel_centres(grid: GeoBox, crs: str) -> tuple[np.ndarray, np.ndarray]:
    """Centres of the pixels of a grid in another coordinate system, x and y."""
    height, width = grid.shape
    x, y = np.meshgrid(
        grid.affine.c + (np.arange(width) + 0.5) * grid.affine.a,
        grid.affine.f + (np.arange(height) + 0.5) * grid.affine.e,
    )
    transformer = Transformer.from_crs(str(grid.crs), crs, always_xy=True)
    other_x, other_y = transformer.transform(x, y)
    return other_x, other_y
