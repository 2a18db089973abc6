"""Terrain and rain from Earth Engine: Copernicus GLO-30, and CHIRPS day by day.

Both are asked for pixel by pixel on their own lattice, so that the server resamples nothing; whatever lies between
pixels is done here, as for local files. A value that is missing comes as 0: what is sent is the value and an offset
that no real value reaches.
"""

import io
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
from monitor.imagery.auxiliary.rainfall import DailyRain, daily_rain
from monitor.imagery.auxiliary.terrain import PIXEL, Tile, mosaic
from monitor.imagery.earthengine.connection import Connection, Refused
from monitor.sites.projection import LONLAT, lonlat

GLO30: Final = "COPERNICUS/DEM/GLO30"
"""Collection of tiles; band ``DEM``. [m]"""
CHIRPS: Final = "UCSB-CHG/CHIRPS/DAILY"
"""An image a day since 1981, named by it (``19810101``), between 50 degrees south and north; band ``precipitation``.
[mm/day]"""
SECOND: Final = 1 / 3600
WIDTHS: Final = ((50, 1.0), (60, 1.5), (70, 2.0), (80, 3.0), (85, 5.0), (90, 10.0))
"""Pixels of GLO-30 are one second of latitude high and so many of longitude wide, up to a latitude. [degree, second]"""
DEEPEST: Final = 20_000
"""Added to elevations. [m]"""
CELL: Final = 0.05
"""Pixel of CHIRPS; corners lie on its multiples. [degree]"""
TOGETHER: Final = 1.0
"""Points within the same square of this side are asked for together. [degree]"""
DAYS: Final = 1000
"""Of one request: 1,024 bands are allowed."""
MOST_PIXELS: Final = 8_000_000
"""Of one request for elevations, in each tile. [pixel]"""


class EarthEngineElevation:
    """Copernicus GLO-30 from Earth Engine.

    Parameters
    ----------
    connection : Connection
        That of the imagery: the client has one session a process.
    """

    pixel = PIXEL

    def __init__(self, connection: Connection) -> None:
        self.name = GLO30
        self._connection = connection

    def read(self, grid: GeoBox) -> np.ndarray:
        """See :class:`monitor.imagery.auxiliary.terrain.ElevationModel`; one request.

        Raises
        ------
        BadData
            The collection cannot be read, or the ground is too large for one request.
        TryLater, BadConfiguration
            See :meth:`monitor.imagery.earthengine.connection.Connection.ask`.
        """
        assert grid.crs is not None
        area = lonlat(box(*grid.boundingbox.bbox), grid.crs)
        west, south, east, north = area.bounds
        wide = next(width for limit, width in WIDTHS if max(abs(south), abs(north)) <= limit) * SECOND
        # Pixels are centred on whole seconds; four more on all sides count in what lies between.
        left = (math.floor(west / wide) - 4) * wide - wide / 2
        top = (math.ceil(north / SECOND) + 4) * SECOND + SECOND / 2
        shape = math.ceil((top - south) / SECOND) + 4, math.ceil((east - left) / wide) + 4
        if shape[0] * shape[1] > MOST_PIXELS:
            msg = f"ground of {shape[0]} by {shape[1]} seconds is too large for one request of terrain"
            raise BadData(msg)
        affine = Affine(wide, 0.0, left, 0.0, -SECOND, top)
        layers = _pixels(self._connection, GLO30, "DEM", DEEPEST, area, shape, affine)
        if not layers:
            return np.full(grid.shape, np.nan)
        z = np.max(list(layers.values()), axis=0)  # tiles do not overlap: one of them at most is not 0
        z = np.where(z > 0, z - DEEPEST, np.nan)

        def values(window: Window) -> np.ndarray:
            rows, columns = window.toslices()
            part: np.ndarray = z[rows, columns]
            return part

        return mosaic([Tile(GLO30, shape=shape, affine=affine, crs=LONLAT, values=values)], grid)


class EarthEngineRain:
    """CHIRPS from Earth Engine: one request for a thousand days of all points in a square of one degree.

    Parameters
    ----------
    connection : Connection
        That of the imagery.
    """

    def __init__(self, connection: Connection) -> None:
        self.name = CHIRPS
        self._connection = connection

    def at(self, points: Sequence[tuple[float, float]], *, since: date, until: date) -> list[DailyRain | None]:
        """Rain at places from a day to a day; see :class:`monitor.imagery.auxiliary.rainfall.RainfallProduct`.

        New days are added to known ones by :func:`monitor.imagery.auxiliary.rainfall.merge_rain`.

        Raises
        ------
        BadData
            The collection cannot be read.
        TryLater, BadConfiguration
            See :meth:`monitor.imagery.earthengine.connection.Connection.ask`.
        """
        groups: dict[tuple[int, int], list[int]] = {}
        for index, (lon, lat) in enumerate(points):
            groups.setdefault((math.floor(lon / TOGETHER), math.floor(lat / TOGETHER)), []).append(index)
        found: list[DailyRain | None] = [None] * len(points)
        for members in groups.values():
            columns = [math.floor(points[i][0] / CELL + 1e-9) for i in members]
            rows = [math.floor(points[i][1] / CELL + 1e-9) for i in members]
            left, top = min(columns), max(rows) + 1
            shape = top - min(rows), max(columns) + 1 - left
            affine = Affine(CELL, 0.0, left * CELL, 0.0, -CELL, top * CELL)
            days, values = self._series(shape, affine, since, until)
            for i, row, column in zip(members, rows, columns, strict=True):
                here = values[:, top - 1 - row, column - left] if days.size else np.empty(0)
                if np.isfinite(here).any():
                    found[i] = daily_rain(days, here, rate=True, source=self.name)
        return found

    def _series(
        self, shape: tuple[int, int], affine: Affine, since: date, until: date
    ) -> tuple[np.ndarray, np.ndarray]:
        """Days, and (day, y, x) rain, NaN where unknown."""
        left, top = affine.c, affine.f
        # A little within, so that no neighbour is touched.
        area = box(left, top - shape[0] * CELL, left + shape[1] * CELL, top).buffer(-CELL / 10)
        days: list[date] = []
        layers: list[np.ndarray] = []
        first = since
        while first <= until:
            last = min(until, first + timedelta(days=DAYS - 1))
            answer = _pixels(self._connection, CHIRPS, "precipitation", 1, area, shape, affine, (first, last))
            for name, values in answer.items():
                day = name.removesuffix("_" + LAYER)
                try:
                    days.append(date.fromisoformat(day))
                except ValueError:
                    msg = f"{CHIRPS} holds an image named {day[:40]!r}, which is no day"
                    raise BadData(msg) from None
                layers.append(np.where(values > 0, values - 1.0, np.nan))
            first = last + timedelta(days=1)
        return np.array(days, dtype="datetime64[D]"), np.array(layers)


LAYER: Final = "value"


def _pixels(
    connection: Connection,
    collection: str,
    band: str,
    offset: int,
    area: BaseGeometry,
    shape: tuple[int, int],
    affine: Affine,
    days: tuple[date, date] | None = None,
) -> dict[str, np.ndarray]:
    """One layer an image of a collection over an area, value plus offset, 0 where there is none, by the image's name.

    The functions used are ``filterBounds``, ``filterDate``, ``map``, ``select``, ``add``, ``unmask``, ``rename``,
    ``addBands`` and ``toBands``.
    """

    def graph() -> Any:
        images = ee.ImageCollection(collection)
        if days is not None:
            images = images.filterDate(days[0].isoformat(), (days[1] + timedelta(days=1)).isoformat())
        images = images.filterBounds(ee.Geometry(mapping(area), None, False))

        def shifted(image: Any) -> Any:
            # What arithmetic returns has lost the image's name, which the bands of the stack are named by.
            value = image.select(band).add(offset).unmask(0, False).rename(LAYER)
            return image.select([band]).addBands(value).select([LAYER])

        return images.map(shifted).toBands()

    def call() -> bytes:
        asked = {
            "expression": graph(),
            "fileFormat": "NPY",
            "grid": {
                "dimensions": {"width": shape[1], "height": shape[0]},
                "affineTransform": {
                    "scaleX": affine.a, "shearX": 0.0, "translateX": affine.c,
                    "shearY": 0.0, "scaleY": affine.e, "translateY": affine.f,
                },
                "crsCode": LONLAT,
            },
        }  # fmt: skip
        return bytes(ee.data.computePixels(asked))

    wrong = ""
    for _ in range(2):
        try:
            answer = connection.ask("pixels", call)
        except Refused as error:
            if error.too_much:
                msg = f"{collection} of Earth Engine cannot be read now: {error}"
                raise TryLater(msg) from error
            if "no bands" in str(error).lower():
                return {}  # no image over the area
            msg = f"{collection} of Earth Engine cannot be read: {error}"
            raise BadData(msg) from error
        try:
            found = np.load(io.BytesIO(answer), allow_pickle=False)
            names = found.dtype.names or ()
            if found.shape != shape or any(not name.endswith("_" + LAYER) for name in names):
                wrong = f"{found.shape} pixels of {', '.join(names[:3])}, not {shape} of {LAYER}"
                continue
            return {name: np.nan_to_num(found[name].astype(np.float64)) for name in names}
        except (ValueError, EOFError, OSError) as error:
            wrong = f"no array ({error})"
    msg = f"{collection} of Earth Engine answers twice with other pixels than asked for: {wrong}"
    raise TryLater(msg)
