"""Trends of whole maps: functions on DataArrays, lazy where the data are.

A map is a ``(time, y, x)`` DataArray, time in UTC and ascending, at most one layer a day. What is not finite
was not seen. A year has 365.25 days. Results are on ``(y, x)``, with the CRS of the input, in the precision of
the input (integers of 16 bits become float32), and the same to the bit on numpy and dask, however it is chunked.
"""

from typing import Any, Final

import numpy as np
import xarray as xr

from monitor.errors import BadData
from monitor.trends.kernels.harmonic import harmonic
from monitor.trends.kernels.huber import robust_harmonic
from monitor.trends.kernels.monotonic import DAYS_PER_YEAR, monotonic, slope_and_score
from monitor.trends.kernels.seasons import season_means

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
UNITS: Final = {"harmonic_phase": "day", "r80p": "1", "y2r": "year"}
"""Units of results that are neither of the values nor of their change."""

TITLE: Final = "Trends of "

EPOCH: Final = np.datetime64("2000-01-01", "ns")
"""Where the year of 365.25 days begins; its days of the year stay within a day of the calendar's in 1901 to 2099."""

DENSE_LAYERS: Final = 12
"""Layers a year from which a second harmonic is fitted. [1/year]"""


def slope(da: xr.DataArray) -> xr.DataArray:
    """Theil-Sen slope of every pixel; see :func:`monitor.trends.kernels.monotonic.slope_and_score`.

    Parameters
    ----------
    da : xr.DataArray
        A map, see the module.

    Returns
    -------
    xr.DataArray
        On (y, x), NaN with fewer than two values. [units of `da` per year]

    Raises
    ------
    BadData
        No dates, dates of another calendar, out of order or repeated.
    """
    found = _by_pixel(_slope, da, "statistic", 1, t=decimal_years(da)).isel(statistic=0)
    return with_attributes(found, da, "slope", MONOTONIC["slope"])


def trend(da: xr.DataArray) -> xr.Dataset:
    """Theil-Sen slope, Mann-Kendall test and harmonic fit of every pixel.

    Parameters
    ----------
    da : xr.DataArray
        A map, see the module.

    Returns
    -------
    xr.Dataset
        On (y, x), the variables of :data:`MONOTONIC` and :data:`HARMONIC`. ``n`` is always a number, all else NaN
        with fewer than two values. The harmonic fit has two harmonics with :data:`DENSE_LAYERS` layers a year or
        more, else one (attribute ``harmonics``), and is NaN where the dates of a pixel do not determine it:
        too few of them, or one a year.

    Raises
    ------
    BadData
        No dates, dates of another calendar, out of order or repeated.

    See Also
    --------
    monitor.trends.kernels.monotonic.monotonic, monitor.trends.kernels.harmonic.harmonic : methods and sources.
    """
    t = decimal_years(da)
    harmonics = 2 if t.size >= DENSE_LAYERS * (t[-1] - t[0]) else 1
    names = (*MONOTONIC, *HARMONIC)
    table = _by_pixel(_trend, da, "statistic", len(names), t=t, harmonics=harmonics)
    layers = {name: table.isel(statistic=i) for i, name in enumerate(names)}
    layers["n"] = layers["n"].astype(np.int32)
    long_names = {**MONOTONIC, **HARMONIC}
    out = xr.Dataset({name: with_attributes(layer, da, name, long_names[name]) for name, layer in layers.items()})
    out.attrs = {
        "Conventions": "CF-1.11",
        "title": f"{TITLE}{da.name or 'a series'}, {_day(da, 0)} to {_day(da, -1)}",
        "year": f"{DAYS_PER_YEAR} days",
        "middle": str((EPOCH + np.timedelta64(round((t[0] + t[-1]) / 2 * DAYS_PER_YEAR), "D")).astype("datetime64[D]")),
        "harmonics": harmonics,
    }
    return out


def robust_season(da: xr.DataArray) -> xr.Dataset:
    """Harmonic fit of every pixel that missed clouds do not bend.

    Parameters
    ----------
    da : xr.DataArray
        A map, see the module.

    Returns
    -------
    xr.Dataset
        On (y, x), the variables of :data:`HARMONIC` as :func:`trend` names them, but ``scale`` instead of ``rmse``:
        the size of ordinary residuals, outliers aside. NaN where the dates of a pixel do not determine the fit.

    Raises
    ------
    BadData
        No dates, dates of another calendar, out of order or repeated.

    See Also
    --------
    monitor.trends.kernels.huber.robust_harmonic : method and source.
    """
    t = decimal_years(da)
    harmonics = 2 if t.size >= DENSE_LAYERS * (t[-1] - t[0]) else 1
    names = [*[*HARMONIC][:-1], "scale"]
    table = _by_pixel(_robust, da, "statistic", len(names), t=t, harmonics=harmonics)
    long_names = {**HARMONIC, "scale": "robust standard deviation of the residuals of the harmonic fit"}
    out = {name: with_attributes(table.isel(statistic=i), da, name, long_names[name]) for i, name in enumerate(names)}
    return xr.Dataset(out, attrs={"Conventions": "CF-1.11", "year": f"{DAYS_PER_YEAR} days", "harmonics": harmonics})


def growing_season_means(da: xr.DataArray, window: tuple[int, int]) -> xr.DataArray:
    """Mean of each growing season.

    Parameters
    ----------
    da : xr.DataArray
        A map, see the module.
    window : tuple of int
        First and last day of the season, both included, 1 January being 1. A season whose last day comes before
        its first runs over the new year and belongs to the year in which it began. [day of the year]

    Returns
    -------
    xr.DataArray
        On (time, y, x), a layer for each season of which there is one in `da`, dated at the middle of the window in
        years of exactly 365.25 days, so that slopes between seasons are per season too. NaN where nothing was seen.

    Raises
    ------
    BadData
        No dates, dates of another calendar, out of order or repeated, or none inside the window.
    """
    decimal_years(da)
    first, last = window
    if not (1 <= first <= 366 and 1 <= last <= 366):
        msg = f"season {first} to {last}: days of the year lie between 1 and 366"
        raise BadData(msg)
    day = da["time"].dt.dayofyear.values
    over_new_year = last < first
    inside = (day >= first) | (day <= last) if over_new_year else (day >= first) & (day <= last)
    season = da["time"].dt.year.values - (over_new_year & (day <= last))
    found = np.unique(season[inside])
    if found.size == 0:
        msg = (
            f"{_name(da)} has no layer from day {first} to day {last} of any year; its days of the year run from "
            f"{day.min()} to {day.max()}. Name the growing season that it covers."
        )
        raise BadData(msg)
    length = (last - first + 1) + DAYS_PER_YEAR * over_new_year
    out = _by_pixel(_seasons, da, "season", found.size, seasons=[np.flatnonzero(inside & (season == s)) for s in found])
    out = out.rename(season="time").transpose("time", ...).assign_coords(time=mid_season(found, first - 1 + length / 2))
    out = with_attributes(out, da, str(da.name or "value"), f"mean of days {first} to {last} of the year")
    return out.assign_attrs({**da.attrs, "cell_methods": "time: mean"})


def mid_season(year: np.ndarray, day: float) -> np.ndarray:
    """Times exactly 365.25 days apart, so many days after the new year. [datetime64]"""
    hours = np.round(((np.asarray(year) - 2000) * DAYS_PER_YEAR + day) * 24).astype("timedelta64[h]")
    return EPOCH + hours


def decimal_years(da: xr.DataArray) -> np.ndarray:
    """Time of each layer since :data:`EPOCH`, after a look at whether the layers are fit for a trend. [year]

    Raises
    ------
    BadData
        No numbers, no dates, dates of another calendar, out of order or repeated.
    """
    if da.dtype.kind not in "biuf":
        msg = f"{_name(da)} holds no real numbers ({da.dtype}), and only those have a trend"
        raise BadData(msg)
    if "time" not in da.dims or da.sizes["time"] == 0 or da.size == 0:
        msg = f"{_name(da)} is empty: its dimensions are {dict(da.sizes)}; a trend needs layers along 'time'"
        raise BadData(msg)
    time: np.ndarray = da["time"].values if "time" in da.coords else np.empty(0)
    if time.dtype.kind == "O":  # as xarray reads a calendar of its own, of 360 days for instance
        msg = f"{_name(da)} has times that are none of the common calendar ({time[0]!r}, ...); give them as datetime64"
        raise BadData(msg)
    if time.dtype.kind != "M" or np.isnat(time).any():
        msg = f"{_name(da)} has a layer without a date; give each layer its time in UTC (datetime64)"
        raise BadData(msg)
    back = np.flatnonzero(time[1:] < time[:-1])
    if back.size:
        msg = f"{_name(da)}: {_day(da, back[0] + 1)} comes after {_day(da, back[0])}; sort the layers by time"
        raise BadData(msg)
    day = time.astype("datetime64[D]")
    twice = np.flatnonzero(day[1:] == day[:-1])
    if twice.size:
        msg = (
            f"{_name(da)} has {day.size} layers of {day.size - twice.size} days, {day[twice[0]]} more than once; "
            "a day counts once: keep one layer of it or average them"
        )
        raise BadData(msg)
    since: np.ndarray = (
        (time.astype("datetime64[us]") - EPOCH.astype("datetime64[us]")) / np.timedelta64(1, "D") / DAYS_PER_YEAR
    )
    return since


def _by_pixel(function: Any, da: xr.DataArray, dim: str, size: int, **known: Any) -> xr.DataArray:
    """Apply a function of all dates of a block, lazily where the data are."""
    kind = np.result_type(da.dtype, np.float32)
    if da.chunks is not None and len(da.chunksizes["time"]) > 1:
        da = da.chunk({d: -1 if d == "time" else "auto" for d in da.dims})
    found: xr.DataArray = xr.apply_ufunc(
        function,
        da,
        kwargs={**known, "kind": kind},
        input_core_dims=[["time"]],
        output_core_dims=[[dim]],
        dask="parallelized",
        output_dtypes=[kind],
        dask_gufunc_kwargs={"output_sizes": {dim: size}},
        keep_attrs=True,  # else those of the coordinates go too, and the CRS is one of them
    )
    return found


def _layers(block: np.ndarray, kind: np.dtype[Any]) -> np.ndarray:
    """(..., n) to (n, pixels), without a copy where time came first in memory."""
    return np.moveaxis(block, -1, 0).reshape(block.shape[-1], -1).astype(kind, copy=False)


def _slope(block: np.ndarray, *, t: np.ndarray, kind: np.dtype[Any]) -> np.ndarray:
    found, _ = slope_and_score(t, _layers(block, kind))
    return found.reshape(*block.shape[:-1], 1)


def _trend(block: np.ndarray, *, t: np.ndarray, harmonics: int, kind: np.dtype[Any]) -> np.ndarray:
    y = _layers(block, kind)
    rows = np.concatenate([monotonic(t, y), harmonic(t, y, harmonics=harmonics)])
    return np.moveaxis(rows.reshape(-1, *block.shape[:-1]), 0, -1)


def _robust(block: np.ndarray, *, t: np.ndarray, harmonics: int, kind: np.dtype[Any]) -> np.ndarray:
    rows = robust_harmonic(t, _layers(block, kind), harmonics=harmonics)
    return np.moveaxis(rows.reshape(-1, *block.shape[:-1]), 0, -1)


def _seasons(block: np.ndarray, *, seasons: list[np.ndarray], kind: np.dtype[Any]) -> np.ndarray:
    return np.moveaxis(season_means(np.moveaxis(block, -1, 0).astype(kind, copy=False), seasons), 0, -1)


def with_attributes(found: xr.DataArray, da: xr.DataArray, name: str, long_name: str) -> xr.DataArray:
    """Name a result, and give it its units and the grid mapping of what it was made from.

    Parameters
    ----------
    found : xr.DataArray
        The result, on (y, x) or more.
    da : xr.DataArray
        The map that it was made from, see the module.
    name, long_name : str
        Of the result.

    Returns
    -------
    xr.DataArray
        `found`, its attributes replaced. Units: of a rate those of `da` per year, else what :data:`UNITS` says, 1 for
        :data:`MONOTONIC`, or those of `da`.
    """
    units = str(da.attrs.get("units") or "1")
    if name in RATES:
        units = "year-1" if units == "1" else f"{units} year-1"
    else:
        units = UNITS.get(name, "1" if name in MONOTONIC else units)
    found = found.rename(name)
    found.attrs = {"long_name": long_name, "units": units}
    mapping = da.encoding.get("grid_mapping", da.attrs.get("grid_mapping", "spatial_ref"))
    if mapping in da.coords:
        found.encoding["grid_mapping"] = mapping
    return found


def _name(da: xr.DataArray) -> str:
    return f"series {da.name!r}" if da.name is not None else "the series"


def _day(da: xr.DataArray, layer: int) -> str:
    return str(da["time"].values[layer].astype("datetime64[D]"))
