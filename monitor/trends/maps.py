"""Trends of every pixel of a map: functions on DataArrays, lazy if the data are.

A map is a ``(time, y, x)`` DataArray, time in UTC and ascending, at most one layer a day, not finite where not seen. A
year has 365.25 days. Values are read and results are given in single precision; results are on ``(y, x)``, with the CRS
of the input, and equal to the bit on numpy and dask, in any chunks.
"""

from typing import Any, Final

import numpy as np
import xarray as xr

from monitor.conventions import CONVENTIONS
from monitor.errors import BadData
from monitor.trends.bands import INDEX_NAMES, REFLECTANCES
from monitor.trends.kernels.harmonic import harmonic
from monitor.trends.kernels.monotonic import DAYS_PER_YEAR, monotonic
from monitor.trends.kernels.season_sums import season_means

MONOTONIC: Final = {
    "slope": "Theil-Sen slope",
    "slope_low": "lower 95 % confidence limit of the Theil-Sen slope",
    "slope_high": "upper 95 % confidence limit of the Theil-Sen slope",
    "tau": "Kendall's tau-b with time",
    "s": "Mann-Kendall score",
    "p": "two-sided p of the Mann-Kendall test, corrected for ties and continuity",
    "p_hamed_rao": "the same with the variance of Hamed and Rao (1998); missing where that is not positive",
    "n": "number of values",
}
HARMONIC: Final = {
    "harmonic_mean": "level at the middle of the period, season taken out",
    "harmonic_slope": "least-squares slope, season taken out",
    "harmonic_amplitude": "amplitude of the annual harmonic, half of its peak to trough",
    "harmonic_phase": "day of the year of the peak of the annual harmonic, 1 being the start of 1 January",
    "rmse": "root mean square residual of the harmonic fit",
}
RATES: Final = ("slope", "slope_low", "slope_high", "harmonic_slope")
UNITS: Final = {"harmonic_phase": "day"}
"""Units of results that differ from those of the values and their rates."""
TITLE: Final = "Trends of "
EPOCH: Final = np.datetime64("2000-01-01", "ns")
"""Start of the years of 365.25 days; their days of the year differ from the calendar by at most a day, 1901 to 2099."""
DENSE_LAYERS: Final = 12
"""Minimum density of layers for a second harmonic. [1/year]"""


def trend(cube: xr.DataArray | xr.Dataset) -> xr.Dataset:
    """Theil-Sen slope, Mann-Kendall test and harmonic fit of every pixel.

    Parameters
    ----------
    cube : xr.DataArray or xr.Dataset
        Values (time, y, x), numpy or dask, time ascending, one layer a day, not finite where not seen; scale and offset
        of the product applied. Of a Dataset its only such variable, or ``ndvi``; of the cube of
        :func:`monitor.open_site` the scenes that count.

    Returns
    -------
    xr.Dataset
        On (y, x): ``slope`` (Theil-Sen, a year of 365.25 days), ``slope_low``, ``slope_high``, ``tau``, ``s``, ``p``,
        ``p_hamed_rao`` (Mann-Kendall), ``n``, ``harmonic_mean``, ``harmonic_slope``, ``harmonic_amplitude``,
        ``harmonic_phase``, ``rmse``; ``docs/trends.md`` explains each. ``n`` is always a number, all else NaN with
        fewer than two values. The harmonic fit has two harmonics with twelve layers a year or more, else one
        (attribute ``harmonics``), and is NaN where the dates of a pixel do not determine it: too few of them, or one
        a year.

    Raises
    ------
    BadData
        No numbers, or integers under the name of a band or index; no dimension ``time``, no dates, dates of another
        calendar, out of order or repeated.

    See Also
    --------
    monitor.trends.kernels.monotonic.monotonic, monitor.trends.kernels.harmonic.harmonic : methods and sources.

    Examples
    --------
    >>> maps = trend(monitor.open_site("outputs/demo", "demo-02"))  # doctest: +SKIP
    >>> maps.slope.plot()  # doctest: +SKIP
    """
    long_names = {**MONOTONIC, **HARMONIC}
    da = _layers_of(cube) if isinstance(cube, xr.Dataset) else cube
    t = decimal_years(da)
    harmonics = 2 if t.size >= DENSE_LAYERS * (t[-1] - t[0]) else 1
    table = _by_pixel(_trend, da, "statistic", len(long_names), t=t, harmonics=harmonics)
    out = xr.Dataset(
        {
            name: with_attributes(
                table.isel(statistic=i).astype(np.int32 if name == "n" else table.dtype), da, name, long
            )
            for i, (name, long) in enumerate(long_names.items())
        }
    )
    out.attrs = {
        "Conventions": CONVENTIONS,
        "title": f"{TITLE}{'a series' if da.name is None else da.name}, {_day(da, 0)} to {_day(da, -1)}",
        "year": f"{DAYS_PER_YEAR} days",
        "middle": str((EPOCH + np.timedelta64(round((t[0] + t[-1]) / 2 * DAYS_PER_YEAR), "D")).astype("datetime64[D]")),
        "harmonics": harmonics,
    }
    return out


def _layers_of(cube: xr.Dataset) -> xr.DataArray:
    """The variable of a Dataset that has a trend, without layers that were rejected."""
    names = [name for name, values in cube.data_vars.items() if "time" in values.dims and values.ndim > 1]
    if "time" not in cube.dims:
        raise BadData(_no_time("the Dataset", cube))
    if "ndvi" not in names and len(names) != 1:
        bands = {"red", "nir"} <= set(names)
        one = "monitor.ndvi(cube['red'], cube['nir'])" if bands else f"cube[{next(iter(names), 'name')!r}]"
        raise BadData(
            f"the Dataset has {len(names)} variables on time and place ({', '.join(map(str, names))}); give one, as in "
            f"monitor.trend({one})"
        )
    layers = cube["ndvi" if "ndvi" in names else names[0]]
    return layers[{"time": cube["accepted"].values}] if "accepted" in cube.coords else layers


def growing_season_means(da: xr.DataArray, window: tuple[int, int]) -> xr.DataArray:
    """Mean of each growing season.

    Parameters
    ----------
    da : xr.DataArray
        A map, see the module.
    window : tuple of int
        First and last day of the season, both included, 1 January being 1. A season whose last day is before its first
        crosses the new year and belongs to the year in which it began. [day of the year]

    Returns
    -------
    xr.DataArray
        On (time, y, x), one layer for each season with layers in `da`, dated at the middle of the window in years of
        exactly 365.25 days, so that slopes a year are also slopes a season. NaN where nothing was seen.

    Raises
    ------
    BadData
        As for :func:`decimal_years`; or no layer is inside the window.
    """
    decimal_years(da)
    first, last = window
    if not (1 <= first <= 366 and 1 <= last <= 366):
        raise BadData(f"season {first} to {last}: days of the year are between 1 and 366")
    day = da["time"].dt.dayofyear.values
    over_new_year = last < first
    inside = (day >= first) | (day <= last) if over_new_year else (day >= first) & (day <= last)
    season = da["time"].dt.year.values - (over_new_year & (day <= last))
    seasons = np.unique(season[inside])
    if seasons.size == 0:
        raise BadData(
            f"{_name(da)} has no layer from day {first} to day {last} of any year; its days of the year run from "
            f"{day.min()} to {day.max()}. Choose a growing season that it covers."
        )
    length = (last - first + 1) + DAYS_PER_YEAR * over_new_year
    layers = [np.flatnonzero(inside & (season == year)) for year in seasons]
    out = _by_pixel(_seasons, da, "season", seasons.size, seasons=layers)
    time = mid_season(seasons, first - 1 + length / 2)
    out = out.rename(season="time").transpose("time", ...).assign_coords(time=time)
    out = with_attributes(
        out, da, "value" if da.name is None else str(da.name), f"mean of days {first} to {last} of the year"
    )
    return out.assign_attrs({**da.attrs, "cell_methods": "time: mean"})


def mid_season(year: np.ndarray, day: float) -> np.ndarray:
    """Times exactly 365.25 days apart, one a year, rounded to hours.

    Parameters
    ----------
    year : (n,) array of int
    day : float, days after the start of the year

    Returns
    -------
    (n,) array of datetime64
    """
    hours = np.round(((np.asarray(year) - 2000) * DAYS_PER_YEAR + day) * 24).astype("timedelta64[h]")
    return EPOCH + hours


def decimal_years(da: xr.DataArray) -> np.ndarray:
    """Time of each layer since :data:`EPOCH`, in years of 365.25 days; also check that the layers are fit for a trend.
    [year]

    Raises
    ------
    BadData
        Not a DataArray, no numbers, or integers under the name of a band or index; no dimension ``time``, no dates,
        dates of another calendar, out of order or repeated.
    """
    if not isinstance(da, xr.DataArray):
        raise BadData(
            f"a trend needs an xarray.DataArray on (time, y, x) with dates along time, not a {type(da).__name__}: "
            "xarray.DataArray(values, dims=('time', 'y', 'x'), coords={'time': dates}), or one variable of a Dataset"
        )
    if da.dtype.kind not in "biuf":
        raise BadData(f"{_name(da)} holds no real numbers ({da.dtype}), and only those have a trend")
    if da.dtype.kind in "iu" and str(da.name).lower() in INDEX_NAMES | REFLECTANCES:
        raise BadData(
            f"{_name(da)} holds whole numbers ({da.dtype}); apply scale and offset of the product, and set what marks "
            "no value to NaN"
        )
    if "time" not in da.dims:
        raise BadData(_no_time(_name(da), da))
    if da.size == 0:
        raise BadData(f"{_name(da)} is empty: its dimensions are {dict(da.sizes)}; a trend needs layers along 'time'")
    time: np.ndarray = da["time"].values if "time" in da.coords else np.empty(0)
    if time.dtype.kind == "O":  # xarray reads other calendars so, of 360 days for instance
        msg = f"{_name(da)} has times that are none of the common calendar ({time[0]!r}, ...); give them as datetime64"
        raise BadData(msg)
    if time.dtype.kind != "M" or np.isnat(time).any():
        raise BadData(f"{_name(da)} has a layer without a date; give each layer its time in UTC (datetime64)")
    if (back := np.flatnonzero(time[1:] < time[:-1])).size:
        raise BadData(f"{_name(da)}: {_day(da, back[0] + 1)} comes after {_day(da, back[0])}; sort the layers by time")
    day = time.astype("datetime64[D]")
    twice = np.flatnonzero(day[1:] == day[:-1])
    if twice.size:
        raise BadData(
            f"{_name(da)} has {day.size} layers of {day.size - twice.size} days, {day[twice[0]]} more than once; "
            "a day counts once: keep one layer of it or average them"
        )
    elapsed = time.astype("datetime64[us]") - EPOCH.astype("datetime64[us]")
    years: np.ndarray = elapsed / np.timedelta64(1, "D") / DAYS_PER_YEAR
    return years


def _by_pixel(function: Any, da: xr.DataArray, dim: str, size: int, **options: Any) -> xr.DataArray:
    """Apply a function to all dates of each block, lazily if the data are."""
    if da.chunks is not None and len(da.chunksizes["time"]) > 1:
        da = da.chunk({d: -1 if d == "time" else "auto" for d in da.dims})
    result: xr.DataArray = xr.apply_ufunc(
        function,
        da,
        kwargs=options,
        input_core_dims=[["time"]],
        output_core_dims=[[dim]],
        dask="parallelized",
        output_dtypes=[np.float32],
        dask_gufunc_kwargs={"output_sizes": {dim: size}},
        keep_attrs=True,  # otherwise those of the coordinates are lost too, which include the CRS
    )
    return result


def _layers(block: np.ndarray) -> np.ndarray:
    """Reshape (..., n) to (n, pixels), without a copy if it is float32 and time is first in memory."""
    with np.errstate(over="ignore"):  # numbers beyond single precision become infinite: not seen
        return np.ascontiguousarray(np.moveaxis(block, -1, 0), np.float32).reshape(block.shape[-1], -1)


def _trend(block: np.ndarray, *, t: np.ndarray, harmonics: int) -> np.ndarray:
    y = _layers(block)
    rows = np.concatenate([monotonic(t, y), harmonic(t, y, harmonics=harmonics)])
    return np.moveaxis(rows.reshape(-1, *block.shape[:-1]), 0, -1)


def _seasons(block: np.ndarray, *, seasons: list[np.ndarray]) -> np.ndarray:
    return np.moveaxis(season_means(np.moveaxis(block, -1, 0), seasons), 0, -1)


def with_attributes(result: xr.DataArray, da: xr.DataArray, name: str, long_name: str) -> xr.DataArray:
    """Name a result that was computed from a map, and set its long name, units and grid mapping.

    Parameters
    ----------
    result, da : xr.DataArray
        Result, on any dimensions, and the map. Units: those of `da` per year for a rate, else those of :data:`UNITS`, 1
        for :data:`MONOTONIC`, or those of `da`.
    name, long_name : str

    Returns
    -------
    xr.DataArray
        `result` itself, named.
    """
    units = str(da.attrs.get("units") or "1")
    if name in RATES:
        units = "year-1" if units == "1" else f"{units} year-1"
    else:
        units = UNITS.get(name, "1" if name in MONOTONIC else units)
    result = result.rename(name)
    result.attrs = {"long_name": long_name, "units": units}
    mapping = da.encoding.get("grid_mapping", da.attrs.get("grid_mapping", "spatial_ref"))
    if mapping in da.coords:
        result.encoding["grid_mapping"] = mapping
    return result


def _no_time(what: str, layers: xr.DataArray | xr.Dataset) -> str:
    found = ", ".join(repr(str(dim)) for dim in layers.dims)
    return (
        f"{what} has no dimension 'time'{f', only {found}' if found else ''}; rename the one along the dates to 'time'"
    )


def _name(da: xr.DataArray) -> str:
    return f"series {da.name!r}" if da.name is not None else "the series"


def _day(da: xr.DataArray, layer: int) -> str:
    return str(da["time"].values[layer].astype("datetime64[D]"))
