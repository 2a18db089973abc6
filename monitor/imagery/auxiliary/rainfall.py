"""Rain: how the season's rain compares with what is usual at a place, from one rainfall product.

Whatever a product's step, days or months, a place's rain becomes one value a day, NaN where it is not known; a month's
rain is spread evenly over its days. What is told of it is the season's sum to date against the same days of the years
before the work began.
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import rasterio.windows
import xarray as xr
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from monitor.errors import BadData
from monitor.imagery.auxiliary.files import NETCDF, opened_tiff, plain_file, tiffs
from monitor.sites.projection import LONLAT

DRY: Final = -1.0
"""A season is dry from this many standard deviations on (METHOD 5). [standard deviation]"""
YEARS: Final = 10
"""Fewest earlier years that say what is usual. [year]"""
SEASON: Final = 60
"""Days of a season from which on its rain to date is told; before, the last season stands. [day]"""
KNOWN: Final = 0.9
"""Least share of days known for a sum to stand; it is scaled up to all of them. [1]"""
LATE: Final = 2 / 3
"""Least share of the season to date that the product must have reached: CHIRPS comes three weeks late. [1]"""
MOST_BYTES: Final = 50_000_000
"""Largest table of one place. [byte]"""
WETTEST: Final = 2000.0
"""No day has had more rain (Foc-Foc, La Reunion, 1966: 1,825 mm). [mm]"""

DAY, MONTH = np.timedelta64(1, "D"), np.timedelta64(1, "M")
NAMES: Final = ("precipitation", "precip", "rain", "rainfall", "tp", "pr", "prcp")
"""What rain is called in NetCDF, where a file holds more than one variable: CHIRPS, ERA5-Land and others."""
_AXES: Final = {"t": "time", "lat": "y", "latitude": "y", "lon": "x", "longitude": "x"}
_TOTALS: Final = {"mm": 1.0, "millimeter": 1.0, "kgm-2": 1.0, "kg/m2": 1.0, "m": 1000.0, "mm/month": 1.0}
"""Millimetres of a unit that counts what fell in each step."""
_RATES: Final = {"mm/day": 1.0, "mm/d": 1.0, "mmday-1": 1.0, "mmd-1": 1.0, "m/day": 1000.0, "mday-1": 1000.0,
                 "kgm-2s-1": 86400.0, "mms-1": 86400.0}  # fmt: skip
"""Millimetres a day of a unit that is a rate."""
_DATED: Final = re.compile(r"(?<!\d)((?:19|20)\d\d)[-_.]?(0[1-9]|1[0-2])(?:[-_.]?(0[1-9]|[12]\d|3[01]))?(?!\d)")


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyRain:
    """Rain at one place, day by day."""

    first: date
    """Day of the first value."""
    mm: np.ndarray
    """(day,) NaN where not known. [mm/day]"""
    source: str
    """Name of the product."""

    @property
    def last(self) -> date:
        """Day of the last value."""
        return _date(_number(self.first) + self.mm.size - 1)

    def to_json(self) -> dict[str, Any]:
        """As plain values, to tenths of a millimetre; None where not known."""
        mm = [None if not np.isfinite(value) else round(float(value), 1) for value in self.mm]
        return {"first": self.first.isoformat(), "mm": mm, "source": self.source}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "DailyRain":
        """The rain written by :meth:`to_json`."""
        mm = np.array([np.nan if value is None else value for value in stored["mm"]], dtype=np.float64)
        return cls(first=date.fromisoformat(stored["first"]), mm=mm, source=stored["source"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Anomaly:
    """A season's rain against the years before the work began."""

    season: int
    """Year in which the season opened."""
    days: int
    """Of the season, counted from its opening. [day]"""
    total: float | None
    """Of those days; None where too little is known. [mm]"""
    normal: float | None
    """Mean of the same days in earlier years; None where too few are known. [mm]"""
    z: float | None
    """How many standard deviations of the earlier years the total lies above their mean; None: not known."""
    years: int
    """Earlier years that were compared with."""
    source: str

    @property
    def code(self) -> str | None:
        """Reason for the assessment: ``RAIN_UNKNOWN``, ``DROUGHT``, or None."""
        if self.z is None:
            return "RAIN_UNKNOWN"
        return "DROUGHT" if self.z < DRY else None

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        digits = {"total": 1, "normal": 1, "z": 3}
        return {k: round(v, digits[k]) if k in digits and v is not None else v for k, v in asdict(self).items()}


class RainfallProduct(Protocol):
    """A rainfall product."""

    name: str
    """What it is called in the evidence."""

    def at(self, points: Sequence[tuple[float, float]], *, since: date, until: date) -> list[DailyRain | None]:
        """Rain at places (longitude, latitude), read together, of days from one to another; None where there is none.

        Raises
        ------
        BadData, TryLater, BadConfiguration
            The product cannot be read.
        """
        ...


def anomaly(rain: DailyRain, *, opens: int, length: int, start: date, as_of: date) -> Anomaly:
    """The season's rain to date against the same days of the years before the work began.

    Parameters
    ----------
    rain : DailyRain
        At the site.
    opens, length : int
        Days from 1 January to the opening of the growing season, and its length; it may run into the next year. [day]
    start : date
        First day of the work.
    as_of : date
        What fell later does not count.

    Returns
    -------
    Anomaly
        Of the season that `as_of` lies in or follows; of the one before in its first :data:`SEASON` days, when
        little rain says little.

    Notes
    -----
    Sums are compared as they are. Where rain is scarce they are skewed: a drought is then told rather too seldom.
    """
    day = _number(as_of)
    season = as_of.year - (day < _opening(as_of.year, opens))
    days = min(day - _opening(season, opens) + 1, length)
    if days < min(SEASON, length):
        season, days = season - 1, length
    reached = _number(min(rain.last, as_of)) - _opening(season, opens) + 1
    arrived = min(days, reached)
    if arrived < LATE * days:
        return Anomaly(season=season, days=days, total=None, normal=None, z=None, years=0, source=rain.source)
    total = _sum(rain, _opening(season, opens), arrived)
    before = [
        _sum(rain, _opening(year, opens), arrived)
        for year in range(rain.first.year - 1, season)
        if _opening(year, opens) + length <= _number(start)
    ]
    known = np.array([value for value in before if value is not None])
    usual = known.size >= YEARS
    spread = float(known.std(ddof=1)) if usual else 0.0
    return Anomaly(
        season=season,
        days=arrived,
        total=total,
        normal=float(known.mean()) if usual else None,
        z=None if total is None or not spread > 0 else (total - float(known.mean())) / spread,
        years=int(known.size),
        source=rain.source,
    )


def monthly(rain: DailyRain) -> tuple[np.ndarray, np.ndarray]:
    """Sums by calendar month.

    Returns
    -------
    months : (m,) datetime64[M] array
        From the first value's to the last value's.
    mm : (m,) array
        NaN where less than nine tenths (:data:`KNOWN`) of the month's days are known. [mm]
    """
    months = np.arange(np.datetime64(rain.first, "M"), np.datetime64(rain.last, "M") + MONTH)
    opened = months.astype("datetime64[D]").astype(np.int64)
    closed = (months + MONTH).astype("datetime64[D]").astype(np.int64)
    sums = [_sum(rain, int(a), int(b - a)) for a, b in zip(opened, closed, strict=True)]
    return months, np.array([np.nan if value is None else value for value in sums])


def merge_rain(known: DailyRain, later: DailyRain) -> DailyRain:
    """Rain that was kept, with days asked for since; where both tell, the later one holds."""
    first = min(known.first, later.first)
    last = max(known.last, later.last)
    mm = np.full(_number(last) - _number(first) + 1, np.nan)
    for one in (known, later):
        at = _number(one.first) - _number(first)
        mm[at : at + one.mm.size] = np.where(np.isfinite(one.mm), one.mm, mm[at : at + one.mm.size])
    return DailyRain(first=first, mm=mm, source=later.source)


def daily_rain(days: np.ndarray, values: np.ndarray, *, rate: bool, source: str) -> DailyRain:
    """Values of days or months as one value a day.

    Parameters
    ----------
    days : (n,) datetime64[D] array
        A day each, or any day of a month each, in any order.
    values : (n,) array
        NaN, negative or impossible (:data:`WETTEST`) where not known. [mm, or mm/day]
    rate : bool
        Whether values are millimetres a day; else they are what fell in the day or month.
    source : str
        Name of the product, for messages too.

    Raises
    ------
    BadData
        No value, a day or month twice, or steps that are neither days nor months.
    """
    if not days.size:
        msg = f"{source} holds no rain"
        raise BadData(msg)
    order = np.argsort(days, kind="stable")
    days, values = days[order].astype("datetime64[D]"), np.asarray(values, dtype=np.float64)[order]
    gaps = np.diff(days).astype(np.int64)
    step = int(gaps[gaps > 0].min(initial=10**6)) if (gaps > 0).any() else 1  # where days are left out they are gaps
    if 28 <= step <= 31:
        opened = days.astype("datetime64[M]")
        first, after = opened.astype("datetime64[D]"), (opened + MONTH).astype("datetime64[D]")
    elif step <= 1:
        first, after = days, days + DAY
    else:
        msg = f"{source} has a value every {step} days; give one a day or one a month"
        raise BadData(msg)
    twice = np.flatnonzero(np.diff(first.astype(np.int64)) == 0)
    if twice.size:
        msg = f"{source} has two values for {days[twice[0] + 1]}; keep one of them"
        raise BadData(msg)
    length = (after - first).astype(np.int64)
    with np.errstate(invalid="ignore"):
        mm = values if rate else values / length
        mm = np.where((mm >= 0) & (mm <= WETTEST), mm, np.nan)
    whole = np.full(int((after[-1] - first[0]).astype(np.int64)), np.nan)
    at = (first - first[0]).astype(np.int64)
    whole[np.repeat(at, length) + np.concatenate([np.arange(n) for n in length])] = np.repeat(mm, length)
    return DailyRain(first=first[0].item(), mm=whole, source=source)


def _part(rain: DailyRain, since: date | None, until: date | None) -> DailyRain | None:
    first, last = max(rain.first, since or rain.first), min(rain.last, until or rain.last)
    if first > last:
        return None
    start = _number(first) - _number(rain.first)
    return DailyRain(first=first, mm=rain.mm[start : start + _number(last) - _number(first) + 1], source=rain.source)


def _sum(rain: DailyRain, first: int, days: int) -> float | None:
    """Rain of so many days, scaled up for those not known; None where too many are."""
    start = first - _number(rain.first)
    part = rain.mm[max(start, 0) : max(start + days, 0)]
    seen = part[np.isfinite(part)]
    if not seen.size or seen.size < KNOWN * days:
        return None
    return float(seen.sum()) * days / seen.size


def _number(day: date) -> int:
    return int(np.datetime64(day, "D").astype(np.int64))


def _date(number: int) -> date:
    day: date = np.datetime64(number, "D").item()
    return day


def _opening(year: int, opens: int) -> int:
    return _number(date(year, 1, 1)) + opens


class LocalRain:
    """A rainfall product in a file: a table of one place, a NetCDF, or a folder of GeoTIFFs.

    Parameters
    ----------
    path : Path
        CSV with the columns ``date`` (ISO 8601) and ``mm`` (what fell on that day or in that month) or ``mm_per_day``,
        taken for every site; NetCDF with time, latitude and longitude (or y, x and a coordinate system); or a folder of
        GeoTIFFs with a date or month in each name, in millimetres a day or month, as CHIRPS is handed out.
    variable : str, optional
        Of a NetCDF that holds several. Default: one called as in :data:`NAMES`.

    Raises
    ------
    BadData
        What lies there is none of these.
    """

    def __init__(self, path: Path, variable: str | None = None) -> None:
        self.name = path.name
        self._variable = variable
        self._files: list[Path] = []
        if path.is_dir():
            self._files = tiffs(path)
            self._read = self._from_tiffs
        elif path.suffix.lower() == ".csv":
            self._path = plain_file(path, (), "CSV")
            self._read = self._from_table
        else:
            self._path = plain_file(path, NETCDF, "NetCDF, CSV or folder of GeoTIFFs")
            self._read = self._from_netcdf

    def at(
        self, points: Sequence[tuple[float, float]], *, since: date | None = None, until: date | None = None
    ) -> list[DailyRain | None]:
        """See :class:`RainfallProduct`; without days all that there is."""
        return [rain and _part(rain, since, until) for rain in self._read(points)] if points else []

    def _from_table(self, points: Sequence[tuple[float, float]]) -> list[DailyRain | None]:
        if self._path.stat().st_size > MOST_BYTES:
            msg = f"{self.name} is over {MOST_BYTES / 1e6:.0f} MB; give a table of one place, a row a day or month"
            raise BadData(msg)
        days, values = [], []
        try:
            with self._path.open(encoding="utf-8-sig", newline="") as file:
                rows = csv.DictReader(file)
                column = next((one for one in ("mm", "mm_per_day") if one in (rows.fieldnames or ())), None)
                if column is None or "date" not in (rows.fieldnames or ()):
                    found = ", ".join(rows.fieldnames or ()) or "nothing"
                    msg = f"{self.name} has the columns {found}; it needs 'date' and 'mm' (or 'mm_per_day')"
                    raise BadData(msg)
                for number, row in enumerate(rows, start=2):
                    try:
                        days.append(date.fromisoformat((row["date"] or "").strip()))
                        values.append(float((row[column] or "").strip() or "nan"))
                    except ValueError as error:
                        msg = f"{self.name}, line {number}: {error}; write for instance 2021-07-15,12.5"
                        raise BadData(msg) from error
        except (UnicodeDecodeError, csv.Error) as error:
            msg = f"{self.name} is no CSV in UTF-8: {error}"
            raise BadData(msg) from error
        days_ = np.array(days, dtype="datetime64[D]")
        one = daily_rain(days_, np.array(values), rate=column == "mm_per_day", source=self.name)
        return [one] * len(points)

    def _from_netcdf(self, points: Sequence[tuple[float, float]]) -> list[DailyRain | None]:
        try:
            with xr.open_dataset(self._path, engine="netcdf4", decode_coords="all", cache=False) as file:
                rain, factor, rate = self._layer(file)
                days = rain["time"].values.astype("datetime64[D]")
                cells = _cells(rain, points)
                series = {
                    cell: rain.isel(y=cell[0], x=cell[1]).values.astype(np.float64) * factor
                    for cell in sorted({cell for cell in cells if cell is not None})
                }
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError) as error:
            msg = f"{self.name} cannot be read as NetCDF: {error}"
            raise BadData(msg) from error
        rains = {cell: daily_rain(days, values, rate=rate, source=self.name) for cell, values in series.items()}
        return [None if cell is None else rains[cell] for cell in cells]

    def _layer(self, file: xr.Dataset) -> tuple[xr.DataArray, float, bool]:
        """The rain of a NetCDF on (time, y, x), the factor to millimetres, and whether it is a rate."""
        file = file.rename({old: new for old, new in _AXES.items() if old in file.dims and new not in file.dims})
        maps = [str(name) for name, one in file.data_vars.items() if set(one.dims) == {"time", "y", "x"}]
        wanted = [self._variable] if self._variable else [name for name in maps if name.lower() in NAMES] or maps
        if len(wanted) != 1 or wanted[0] not in maps:
            held = ", ".join(maps) or "nothing on (time, y, x)"
            msg = f"{self.name} holds {held}; name one variable of rain by [rain] variable"
            raise BadData(msg)
        rain = file[wanted[0]]
        if rain["time"].dtype.kind != "M" or not {"y", "x"} <= set(rain.coords):
            msg = f"{self.name}: {wanted[0]!r} has no times of the ordinary calendar, or no coordinates"
            raise BadData(msg)
        unit = re.sub(r"[\s*^_.]", "", str(rain.attrs.get("units", ""))).lower()
        if unit not in _TOTALS and unit not in _RATES:
            msg = f"{self.name}: {wanted[0]!r} is in {rain.attrs.get('units')!r}; give mm, m, mm/day or kg m-2 s-1"
            raise BadData(msg)
        return rain, {**_TOTALS, **_RATES}[unit], unit in _RATES

    def _from_tiffs(self, points: Sequence[tuple[float, float]]) -> list[DailyRain | None]:
        days = np.array([_date_in(path) for path in self._files], dtype="datetime64[D]")
        values = np.full((len(self._files), len(points)), np.nan)
        places: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        covered = np.zeros(len(points), dtype=bool)
        for row, path in enumerate(self._files):
            with opened_tiff(path) as file:
                if file.count != 1 or file.crs is None:
                    msg = f"{path} has {file.count} bands and the system {file.crs}; rain has one band and a system"
                    raise BadData(msg)
                if (crs := file.crs.to_wkt()) not in places:
                    places[crs] = _moved(crs, points)
                column, line = (np.floor(one) for one in ~file.transform @ places[crs])
                inside = (column >= 0) & (column < file.width) & (line >= 0) & (line < file.height)
                covered |= inside
                read: dict[tuple[int, int], float] = {}
                for index in np.flatnonzero(inside):
                    cell = int(line[index]), int(column[index])
                    if cell not in read:
                        window = rasterio.windows.Window(cell[1], cell[0], 1, 1)
                        value = np.ma.filled(file.read(1, window=window, masked=True).astype(np.float64), np.nan)
                        read[cell] = float(value[0, 0]) * file.scales[0] + file.offsets[0]
                    values[row, index] = read[cell]
        return [
            daily_rain(days, values[:, i], rate=False, source=self.name) if covered[i] else None
            for i in range(len(points))
        ]


def _cells(rain: xr.DataArray, points: Sequence[tuple[float, float]]) -> list[tuple[int, int] | None]:
    """Row and column of the cell that each point lies in."""
    mapping = next((rain[name].attrs for name in rain.coords if "crs_wkt" in rain[name].attrs), None)
    east, north = _moved(mapping["crs_wkt"] if mapping else LONLAT, points)
    x, y = rain["x"].values.astype(np.float64), rain["y"].values.astype(np.float64)
    if mapping is None and x.max() > 180:
        east = np.where(east < x.min() - 1, east + 360, east)
    found: list[tuple[int, int] | None] = []
    for one, other in zip(east, north, strict=True):
        row, column = _nearest(y, other), _nearest(x, one)
        found.append(None if row is None or column is None else (row, column))
    return found


def _nearest(centres: np.ndarray, value: float) -> int | None:
    """Place of the cell, of even width, that holds a value; None outside all."""
    side = float(np.median(np.abs(np.diff(centres)))) if centres.size > 1 else 0.5
    index = int(np.abs(centres - value).argmin())
    return index if abs(centres[index] - value) <= side * 0.5 + 1e-9 else None


def _moved(crs: str, points: Sequence[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    try:
        move = Transformer.from_crs(LONLAT, CRS.from_user_input(crs), always_xy=True)
    except ProjError as error:
        msg = f"the coordinate system of the rain is not one: {error}"
        raise BadData(msg) from error
    lon, lat = (np.array(part, dtype=np.float64) for part in zip(*points, strict=True))
    x, y = move.transform(lon, lat)
    return np.asarray(x), np.asarray(y)


def _date_in(path: Path) -> date:
    """Day in the name of a file, the first of the month where there is only a month."""
    found = _DATED.search(path.stem)
    try:
        if found:
            return date(int(found[1]), int(found[2]), int(found[3] or 1))
    except ValueError:
        pass
    msg = f"{path}: no date in its name; call it for instance rain_2021-07-15.tif or rain_2021-07.tif"
    raise BadData(msg)
