"""Terrain and rain from Earth Engine: Copernicus GLO-30, and CHIRPS day by day.

Both are requested on their own pixel lattice, so that the server resamples nothing; interpolation between pixels is
done here, as for local files. The server gives a missing value as 0, so it is asked for the value plus an offset that
no real value reaches.
"""

import math
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, Final

import ee
import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.windows import Window
from shapely.geometry import box, mapping
from shapely.geometry.base import BaseGeometry

from monitor.errors import BadData, TryLater
from monitor.imagery.auxiliary.elevation import TERRAIN_PIXEL, ElevationTile, mosaic
from monitor.imagery.auxiliary.rainfall import DailyRain, daily_rain
from monitor.imagery.earthengine.answers import decode_array
from monitor.imagery.earthengine.batches import compute_pixels
from monitor.imagery.earthengine.connection import Connection, RequestRefused
from monitor.sites.projection import LONLAT, lonlat

GLO30: Final = "COPERNICUS/DEM/GLO30"  # collection of elevation tiles; band `DEM` [m]
CHIRPS: Final = "UCSB-CHG/CHIRPS/DAILY"
"""Daily images since 1981, named by date (``19810101``), from 50 degrees south to 50 north; band ``precipitation``.
[mm/day]"""
ARC_SECOND: Final = 1 / 3600
GLO30_WIDTHS: Final = ((50, 1.0), (60, 1.5), (70, 2.0), (80, 3.0), (85, 5.0), (90, 10.0))
"""Width of GLO-30 pixels up to each latitude; they are one second of latitude high. [degree, arc second]"""
ELEVATION_OFFSET: Final = 20_000  # added to elevations so that none is 0 [m]
CHIRPS_PIXEL: Final = 0.05  # side of a CHIRPS pixel; corners are at its multiples [degree]
GROUP_SIDE: Final = 1.0  # points in the same square of this side share requests [degree]
DAYS_PER_REQUEST: Final = 1000  # most days of one request: 1,024 bands are allowed
MAX_ELEVATION_PIXELS: Final = 8_000_000  # most pixels of one request for elevations, for each tile
_VALUE: Final = "value"


class EarthEngineElevation:
    """Copernicus GLO-30 from Earth Engine, an :class:`ElevationModel`; shares the connection of the imagery."""

    pixel = TERRAIN_PIXEL

    def __init__(self, connection: Connection) -> None:
        self.name = GLO30
        self._connection = connection

    def read(self, grid: GeoBox) -> np.ndarray:
        """Elevation on a grid, see :meth:`ElevationModel.read`; `BadData` also if one request cannot cover it. [m]"""
        assert grid.crs is not None
        area = lonlat(box(*grid.boundingbox.bbox), grid.crs)
        west, south, east, north = area.bounds
        width = next(width for limit, width in GLO30_WIDTHS if max(abs(south), abs(north)) <= limit) * ARC_SECOND
        # Pixels are centred on whole seconds; four more on all sides are needed for interpolation.
        left = (math.floor(west / width) - 4) * width - width / 2
        top = (math.ceil(north / ARC_SECOND) + 4) * ARC_SECOND + ARC_SECOND / 2
        shape = math.ceil((top - south) / ARC_SECOND) + 4, math.ceil((east - left) / width) + 4
        if shape[0] * shape[1] > MAX_ELEVATION_PIXELS:
            raise BadData(f"ground of {shape[0]} by {shape[1]} seconds is too large for one request of terrain")
        affine = Affine(width, 0.0, left, 0.0, -ARC_SECOND, top)
        layers = _layers(self._connection, GLO30, "DEM", ELEVATION_OFFSET, area, GeoBox(shape, affine, LONLAT))
        if not layers:
            return np.full(grid.shape, np.nan)
        z = np.max(list(layers.values()), axis=0)  # tiles do not overlap: at most one of them is not 0
        z = np.where(z > 0, z - ELEVATION_OFFSET, np.nan)

        def values(window: Window) -> np.ndarray:
            part: np.ndarray = z[window.toslices()]
            return part

        return mosaic([ElevationTile(GLO30, shape=shape, affine=affine, crs=LONLAT, values=values)], grid)


class EarthEngineRain:
    """CHIRPS from Earth Engine, a :class:`RainfallProduct`; a request covers 1,000 days of one square degree."""

    def __init__(self, connection: Connection) -> None:
        self.name = CHIRPS
        self._connection = connection

    def at(self, points: Sequence[tuple[float, float]], *, since: date, until: date) -> list[DailyRain | None]:
        """Daily rain at points, see :meth:`RainfallProduct.at`."""
        groups: dict[tuple[int, int], list[int]] = {}
        for index, (lon, lat) in enumerate(points):
            groups.setdefault((math.floor(lon / GROUP_SIDE), math.floor(lat / GROUP_SIDE)), []).append(index)
        rains: list[DailyRain | None] = [None] * len(points)
        for members in groups.values():
            columns = [math.floor(points[i][0] / CHIRPS_PIXEL + 1e-9) for i in members]
            rows = [math.floor(points[i][1] / CHIRPS_PIXEL + 1e-9) for i in members]
            left, top = min(columns), max(rows) + 1
            shape = top - min(rows), max(columns) + 1 - left
            affine = Affine(CHIRPS_PIXEL, 0.0, left * CHIRPS_PIXEL, 0.0, -CHIRPS_PIXEL, top * CHIRPS_PIXEL)
            days, values = self._series(GeoBox(shape, affine, LONLAT), since, until)
            for i, row, column in zip(members, rows, columns, strict=True):
                series = values[:, top - 1 - row, column - left] if days.size else np.empty(0)
                if np.isfinite(series).any():
                    rains[i] = daily_rain(days, series, rate=True, source=self.name)
        return rains

    def _series(self, grid: GeoBox, since: date, until: date) -> tuple[np.ndarray, np.ndarray]:
        """Days, and (day, y, x) rain, NaN where unknown. [mm/day]"""
        left, top = grid.affine.c, grid.affine.f
        # Slightly smaller than the grid, so that it touches no neighbouring pixel.
        area = box(left, top - grid.shape[0] * CHIRPS_PIXEL, left + grid.shape[1] * CHIRPS_PIXEL, top)
        area = area.buffer(-CHIRPS_PIXEL / 10)
        days: list[date] = []
        layers: list[np.ndarray] = []
        first = since
        while first <= until:
            last = min(until, first + timedelta(days=DAYS_PER_REQUEST - 1))
            answer = _layers(self._connection, CHIRPS, "precipitation", 1, area, grid, days=(first, last))
            for name, values in answer.items():
                day = name.removesuffix("_" + _VALUE)
                try:
                    days.append(date.fromisoformat(day))
                except ValueError:
                    raise BadData(f"{CHIRPS} holds an image named {day[:40]!r}, which is not a day") from None
                layers.append(np.where(values > 0, values - 1.0, np.nan))
            first = last + timedelta(days=1)
        return np.array(days, dtype="datetime64[D]"), np.array(layers)


def _layers(
    connection: Connection, collection: str, band: str, offset: int, area: BaseGeometry, grid: GeoBox, *,
    days: tuple[date, date] | None = None,
) -> dict[str, np.ndarray]:  # fmt: skip
    """One band of each image of a collection over an area, by image name: value plus offset, 0 where there is none."""

    def expression() -> Any:
        images = ee.ImageCollection(collection)
        if days is not None:
            images = images.filterDate(days[0].isoformat(), (days[1] + timedelta(days=1)).isoformat())
        images = images.filterBounds(ee.Geometry(mapping(area), None, False))

        def shifted(image: Any) -> Any:
            # The result of arithmetic has lost the name of the image, which names the bands of the stack.
            value = image.select(band).add(offset).unmask(0, False).rename(_VALUE)
            return image.select([band]).addBands(value).select([_VALUE])

        return images.map(shifted).toBands()

    def decode(content: bytes) -> dict[str, np.ndarray]:
        array = decode_array(content)
        names = array.dtype.names or ()
        if array.shape != tuple(grid.shape) or any(not name.endswith("_" + _VALUE) for name in names):
            msg = f"{array.shape} pixels of {', '.join(names[:3])}, not {tuple(grid.shape)} of {_VALUE} ({collection})"
            raise ValueError(msg)
        return {name: np.nan_to_num(array[name].astype(np.float64)) for name in names}

    try:
        return connection.request_decoded("pixels", lambda: compute_pixels(expression(), grid), decode)
    except RequestRefused as error:
        if error.is_limit:
            raise TryLater(f"{collection} of Earth Engine cannot be read now: {error}") from error
        if "no bands" in str(error).lower():
            return {}  # no image over the area
        raise BadData(f"{collection} of Earth Engine cannot be read: {error}") from error
