"""Daily rain at places, from a rainfall product.

Whatever the time step of a product, days or months, the rain of a place becomes one value per day, NaN where unknown;
the rain of a month is spread evenly over its days.
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import xarray as xr
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError
from rasterio.windows import Window

from monitor.errors import BadData
from monitor.imagery.auxiliary.files import geotiff_paths, open_geotiff, plain_file, read_window
from monitor.sites.projection import LONLAT

MIN_DAYS_KNOWN: Final = 0.9  # least share of known days for a sum to be given; it is scaled up to all days [1]
REVISED_PERIOD: Final = timedelta(days=60)  # products correct their newest days for about this long
MAX_TABLE_BYTES: Final = 50_000_000  # largest table of one place [byte]
MAX_DAILY_RAIN: Final = 2000.0  # no day has had more rain (Foc-Foc, La Reunion, 1966: 1,825 mm) [mm]
RAIN_VARIABLES: Final = ("precipitation", "precip", "rain", "rainfall", "tp", "pr", "prcp")
"""Names of rain in NetCDF files with more than one variable: CHIRPS, ERA5-Land and others."""

_DAY, _MONTH = np.timedelta64(1, "D"), np.timedelta64(1, "M")
_AXES: Final = {"t": "time", "lat": "y", "latitude": "y", "lon": "x", "longitude": "x"}
_TOTALS: Final = {"mm": 1.0, "millimeter": 1.0, "kgm-2": 1.0, "kg/m2": 1.0, "m": 1000.0, "mm/month": 1.0}
"""Factor to millimetres, by unit of the rain of a whole step."""
_RATES: Final = {
    "mm/day": 1.0, "mm/d": 1.0, "mmday-1": 1.0, "mmd-1": 1.0, "m/day": 1000.0, "mday-1": 1000.0,
    "kgm-2s-1": 86400.0, "mms-1": 86400.0,
}  # fmt: skip
"""Factor to millimetres a day, by unit of a rate."""
_DATED: Final = re.compile(r"(?<!\d)((?:19|20)\d\d)[-_.]?(0[1-9]|1[0-2])(?:[-_.]?(0[1-9]|[12]\d|3[01]))?(?!\d)")


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyRain:
    """Rain at one place, one value per day."""

    first: date  # day of the first value
    mm: np.ndarray  # (day,) array, NaN where unknown [mm/day]
    source: str  # name of the product

    @property
    def last(self) -> date:
        """Day of the last value."""
        return self.first + timedelta(days=self.mm.size - 1)

    def total(self, first: date, days: int) -> float | None:
        """Rain of a number of days from `first` on, scaled up for unknown ones. [mm]

        None where fewer than the share :data:`MIN_DAYS_KNOWN` of the days is known.
        """
        start = (first - self.first).days
        part = self.mm[max(start, 0) : max(start + days, 0)]
        known = part[np.isfinite(part)]
        if not known.size or known.size < MIN_DAYS_KNOWN * days:
            return None
        return float(known.sum()) * days / known.size

    def between(self, since: date | None, until: date | None) -> "DailyRain | None":
        """Rain from `since` to `until`, both included (None: unlimited); None if no day remains."""
        first, last = max(self.first, since or self.first), min(self.last, until or self.last)
        if first > last:
            return None
        start = (first - self.first).days
        mm = self.mm[start : start + (last - first).days + 1]
        return DailyRain(first=first, mm=mm, source=self.source)

    def to_json(self) -> dict[str, Any]:
        """Plain values, to a tenth of a millimetre; None where unknown."""
        mm = [None if not np.isfinite(value) else round(float(value), 1) for value in self.mm]
        return {"first": self.first.isoformat(), "mm": mm, "source": self.source}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "DailyRain":
        """Rain from the values of :meth:`to_json`."""
        mm = np.array([np.nan if value is None else value for value in stored["mm"]], dtype=np.float64)
        return cls(first=date.fromisoformat(stored["first"]), mm=mm, source=stored["source"])


class RainfallProduct(Protocol):
    """A rainfall product."""

    name: str  # its name in the evidence

    def at(self, points: Sequence[tuple[float, float]], *, since: date, until: date) -> list[DailyRain | None]:
        """Daily rain at points (longitude and latitude), in their order; None where the product has no rain.

        Both days are included. Raises BadData, TryLater or BadConfiguration if the product cannot be read.
        """
        ...


def merge_rain(stored: DailyRain, newer: DailyRain) -> DailyRain:
    """Merge two records of the same place: `newer` counts where both know a day; days between them are NaN."""
    first = min(stored.first, newer.first)
    last = max(stored.last, newer.last)
    mm = np.full((last - first).days + 1, np.nan)
    for rain in (stored, newer):
        start = (rain.first - first).days
        days = slice(start, start + rain.mm.size)
        mm[days] = np.where(np.isfinite(rain.mm), rain.mm, mm[days])
    return DailyRain(first=first, mm=mm, source=newer.source)


def daily_rain(days: np.ndarray, values: np.ndarray, *, rate: bool, source: str) -> DailyRain:
    """Convert values of days or months to one per day, from the first to the last day; NaN where unknown.

    `days` (n,) are days, or any day of each month, in any order. `values` (n,) are millimetres a day if `rate`, else of
    the whole day or month; unknown where NaN, negative or above :data:`MAX_DAILY_RAIN` a day. Raises BadData if there
    is no value, a day or month occurs twice, or the steps are neither days nor months.
    """
    if not days.size:
        raise BadData(f"{source} holds no rain")
    order = np.argsort(days, kind="stable")
    days, values = days[order].astype("datetime64[D]"), np.asarray(values, dtype=np.float64)[order]
    gaps = np.diff(days).astype(np.int64)
    step = int(gaps[gaps > 0].min(initial=10**6)) if (gaps > 0).any() else 1  # larger gaps are missing days
    if 28 <= step <= 31:
        months = days.astype("datetime64[M]")
        first, after = months.astype("datetime64[D]"), (months + _MONTH).astype("datetime64[D]")
    elif step <= 1:
        first, after = days, days + _DAY
    else:
        raise BadData(f"{source} has a value every {step} days; give one a day or one a month")
    twice = np.flatnonzero(np.diff(first.astype(np.int64)) == 0)
    if twice.size:
        raise BadData(f"{source} has two values for {days[twice[0] + 1]}; keep one of them")
    length = (after - first).astype(np.int64)
    with np.errstate(invalid="ignore"):
        mm = values if rate else values / length
        mm = np.where((mm >= 0) & (mm <= MAX_DAILY_RAIN), mm, np.nan)
    series = np.full(int((after[-1] - first[0]).astype(np.int64)), np.nan)
    start = (first - first[0]).astype(np.int64)
    series[np.repeat(start, length) + np.concatenate([np.arange(n) for n in length])] = np.repeat(mm, length)
    return DailyRain(first=first[0].item(), mm=series, source=source)


class LocalRain:
    """A :class:`RainfallProduct` in files: a table of one place, a NetCDF file, or a folder of GeoTIFFs.

    The path is a CSV with the columns ``date`` (ISO 8601) and ``mm`` (rain of that day or month) or ``mm_per_day``,
    used for every site; NetCDF with time, latitude and longitude (or y, x and a coordinate system); or a folder of
    GeoTIFFs with a date or month in each name, in millimetres a day or month, as CHIRPS is distributed. `variable`
    names that of a NetCDF file with several; default: the one with a name of :data:`RAIN_VARIABLES`. Raises BadData if
    the path is none of these.
    """

    def __init__(self, path: Path, variable: str | None = None) -> None:
        self.name = path.name
        self._variable = variable
        if path.is_dir():
            self._files, self._read = geotiff_paths(path), self._from_geotiffs
        else:
            self._path = plain_file(path)
            self._read = self._from_table if path.suffix.lower() == ".csv" else self._from_netcdf

    def at(
        self, points: Sequence[tuple[float, float]], *, since: date | None = None, until: date | None = None
    ) -> list[DailyRain | None]:
        """Daily rain at points, see :meth:`RainfallProduct.at`; by default of all days."""
        return [rain and rain.between(since, until) for rain in self._read(points)] if points else []

    def _from_table(self, points: Sequence[tuple[float, float]]) -> list[DailyRain | None]:
        if self._path.stat().st_size > MAX_TABLE_BYTES:
            msg = f"{self.name} is over {MAX_TABLE_BYTES / 1e6:.0f} MB; give a table of one place, a row a day or month"
            raise BadData(msg)
        days, values = [], []
        try:
            with self._path.open(encoding="utf-8-sig", newline="") as file:
                rows = csv.DictReader(file)
                columns = rows.fieldnames or ()
                column = next((name for name in ("mm", "mm_per_day") if name in columns), None)
                if column is None or "date" not in columns:
                    present = ", ".join(columns) or "nothing"
                    raise BadData(f"{self.name} has the columns {present}; it needs 'date' and 'mm' (or 'mm_per_day')")
                for number, row in enumerate(rows, start=2):
                    try:
                        days.append(date.fromisoformat((row["date"] or "").strip()))
                        values.append(float((row[column] or "").strip() or "nan"))
                    except ValueError as error:
                        msg = f"{self.name}, line {number}: {error}; write for instance 2021-07-15,12.5"
                        raise BadData(msg) from error
        except (UnicodeDecodeError, csv.Error) as error:
            raise BadData(f"{self.name} is not a CSV file in UTF-8: {error}") from error
        dates = np.array(days, dtype="datetime64[D]")
        rain = daily_rain(dates, np.array(values), rate=column == "mm_per_day", source=self.name)
        return [rain] * len(points)

    def _from_netcdf(self, points: Sequence[tuple[float, float]]) -> list[DailyRain | None]:
        try:
            with xr.open_dataset(self._path, engine="netcdf4", decode_coords="all", cache=False) as file:
                rain, factor, rate = self._variable_of(file)
                days = rain["time"].values.astype("datetime64[D]")
                cells = _cells(rain, points)
                series = {
                    cell: rain.isel(y=cell[0], x=cell[1]).values.astype(np.float64) * factor
                    for cell in sorted({cell for cell in cells if cell is not None})
                }
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError) as error:
            raise BadData(f"{self.name} cannot be read as NetCDF: {error}") from error
        rains = {cell: daily_rain(days, values, rate=rate, source=self.name) for cell, values in series.items()}
        return [None if cell is None else rains[cell] for cell in cells]

    def _variable_of(self, file: xr.Dataset) -> tuple[xr.DataArray, float, bool]:
        """Rain of a NetCDF file on (time, y, x), the factor to millimetres, and whether it is a rate."""
        file = file.rename({old: new for old, new in _AXES.items() if old in file.dims and new not in file.dims})
        maps = [str(name) for name, array in file.data_vars.items() if set(array.dims) == {"time", "y", "x"}]
        named = [self._variable] if self._variable else [name for name in maps if name.lower() in RAIN_VARIABLES]
        candidates = named or maps
        if len(candidates) != 1 or candidates[0] not in maps:
            present = ", ".join(maps) or "nothing on (time, y, x)"
            raise BadData(f"{self.name} holds {present}; name one variable of rain by [rain] variable")
        rain = file[candidates[0]]
        if rain["time"].dtype.kind != "M" or not {"y", "x"} <= set(rain.coords):
            raise BadData(f"{self.name}: {candidates[0]!r} has no times of the ordinary calendar, or no coordinates")
        unit = re.sub(r"[\s*^_.]", "", str(rain.attrs.get("units", ""))).lower()
        if unit not in _TOTALS and unit not in _RATES:
            msg = f"{self.name}: {candidates[0]!r} is in {rain.attrs.get('units')!r}; give mm, m, mm/day or kg m-2 s-1"
            raise BadData(msg)
        return rain, {**_TOTALS, **_RATES}[unit], unit in _RATES

    def _from_geotiffs(self, points: Sequence[tuple[float, float]]) -> list[DailyRain | None]:
        days = np.array([_date_in_name(path) for path in self._files], dtype="datetime64[D]")
        values = np.full((len(self._files), len(points)), np.nan)
        projected: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        covered = np.zeros(len(points), dtype=bool)
        for number, path in enumerate(self._files):
            with open_geotiff(path) as file:
                if file.count != 1 or file.crs is None:
                    msg = f"{path} has {file.count} bands and the system {file.crs}; rain has one band and a system"
                    raise BadData(msg)
                if (crs := file.crs.to_wkt()) not in projected:
                    projected[crs] = _project(crs, points)
                column, row = (np.floor(axis) for axis in ~file.transform @ projected[crs])
                inside = (column >= 0) & (column < file.width) & (row >= 0) & (row < file.height)
                covered |= inside
                read: dict[tuple[int, int], float] = {}
                for index in np.flatnonzero(inside):
                    cell = int(row[index]), int(column[index])
                    if cell not in read:
                        read[cell] = float(read_window(file, Window(cell[1], cell[0], 1, 1))[0, 0])
                    values[number, index] = read[cell]
        return [
            daily_rain(days, series, rate=False, source=self.name) if inside else None
            for series, inside in zip(values.T, covered, strict=True)
        ]


def _cells(rain: xr.DataArray, points: Sequence[tuple[float, float]]) -> list[tuple[int, int] | None]:
    """Row and column of the cell that contains each point; None: outside all."""
    mapping = next((rain[name].attrs for name in rain.coords if "crs_wkt" in rain[name].attrs), None)
    east, north = _project(mapping["crs_wkt"] if mapping else LONLAT, points)
    x, y = rain["x"].values.astype(np.float64), rain["y"].values.astype(np.float64)
    if mapping is None and x.max() > 180:
        east = np.where(east < x.min() - 1, east + 360, east)
    cells: list[tuple[int, int] | None] = []
    for point_x, point_y in zip(east, north, strict=True):
        row, column = _cell_index(y, point_y), _cell_index(x, point_x)
        cells.append(None if row is None or column is None else (row, column))
    return cells


def _cell_index(centres: np.ndarray, value: float) -> int | None:
    """Index of the cell, of uniform width, that contains a value; None: outside all."""
    side = float(np.median(np.abs(np.diff(centres)))) if centres.size > 1 else 0.5
    index = int(np.abs(centres - value).argmin())
    return index if abs(centres[index] - value) <= side * 0.5 + 1e-9 else None


def _project(crs: str, points: Sequence[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Points in another coordinate system, x and y."""
    try:
        transformer = Transformer.from_crs(LONLAT, CRS.from_user_input(crs), always_xy=True)
    except ProjError as error:
        raise BadData(f"the coordinate system of the rain is not one: {error}") from error
    lon, lat = (np.array(part, dtype=np.float64) for part in zip(*points, strict=True))
    x, y = transformer.transform(lon, lat)
    return np.asarray(x), np.asarray(y)


def _date_in_name(path: Path) -> date:
    """Day in the name of a file; the first of the month where there is only a month."""
    match = _DATED.search(path.stem)
    try:
        if match:
            return date(int(match[1]), int(match[2]), int(match[3] or 1))
    except ValueError:
        pass
    raise BadData(f"{path}: no date in its name; call it for instance rain_2021-07-15.tif or rain_2021-07.tif")
