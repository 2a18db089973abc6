"""Real noise: differences between pieces of one real landscape, with an uplift of known size added; and real losses.

Nothing is scaled and nothing is mixed: a site's noise is the difference of one real hectare to the real hectares most
like it before the start, residual cloud, shadow, registration and phenology included. Only the control's level is set
to that of sparse ground (:data:`LEVEL`), in the shape of the season as the landscape shows it, and theta times the
plan is added in that shape. What there is:

- The sample of ``nrt`` 0.2.1: 140 Sentinel-2 acquisitions, 2015-08 to 2021-01, of one square kilometre of forest in
  Romania: 100 hectares, five seasons and the end of a sixth.
- In a folder of real series that is not part of the project (:data:`ELSEWHERE`), where it is there: two pixels of
  Harmonized Landsat Sentinel, one burnt and one logged in 2024, and a desert plot on which nothing was done.

**Stable ground.** The forest was logged in the winter of 2016/17 and again in 2019 and 2020. A hectare is taken as
stable by a rule laid down before any verdict was looked at, and by another index than the one judged: its summer
median (June to August) of the moisture index NDMI (B8A, B11, 20 m), against the median of all hectares, never fell by
more than :data:`LOGGED` from one year to the next. The others are losses that the monitor ought to find.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from scipy.ndimage import distance_transform_edt

from benchmarks.verdict.simulate import NEVER, PLAN, Case, site_of
from monitor.cover.fraction import ENDMEMBERS
from monitor.verdict.assessment import Series

START = date(2017, 1, 1)
"""Pretended start: two seasons before, four after."""
ROWS = 10
"""Hectares along a side of the sample."""
UNITS, LEAST_UNITS = 12, 10
"""Pieces that make a piece's control, and fewest of them in a scene."""
LOGGED = 0.05
"""Fall of a hectare's summer NDMI from one year to the next, against all hectares, that is no noise. [1]"""
LEVEL = 0.25
"""Cover of the control at the height of its season. [1]"""
GROUND, CLOUD, REACH = (4, 5), (3, 8, 9, 10), 60.0
"""Scene classes of ground, scene classes grown, and by how much [m]: the monitor's rule, held fixed here so that the
noise stays the same when that rule changes."""
BANDS = {"cover": ("B4", "B8"), "moisture": ("B11", "B8A")}
ELSEWHERE = Path(os.environ.get("REGROWTH_TEST_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"))
"""Folder of real series that are not part of the project."""
LOST_PIXELS = (("burnt", "1_hls_sc.csv", "2024-03-23"), ("logged", "7_logging_hls_w*.csv", "2024-04-08"))
"""Name, files and day of the loss."""
DESERT_YEARS = 9
"""Fewest years of a sensor's series that is used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Pieces of one landscape."""

    days: np.ndarray
    """(t,) datetime64[D], once each."""
    value: np.ndarray
    """(t, n) mean of an index or of cover over the piece; NaN where less than 60 % of it was seen."""


@cache
def pieces(kind: str) -> Ground:
    """Hectares of the sample: ``cover``, linear in NDVI, at 10 m, or NDMI (``moisture``) at 20 m."""
    side = 10 if kind == "cover" else 5
    name = f"nrt/data/sentinel2_cube_subset_romania_{'10m' if kind == 'cover' else '20m'}.nc"
    low, high = BANDS[kind]
    with xr.open_dataset(str(metadata.distribution("nrt").locate_file(name))) as data:
        less, more, scl = (data[band].values for band in (low, high, "SCL"))
        days = data.time.values.astype("datetime64[D]")
    ends = ENDMEMBERS["loess"]
    out = np.full((days.size, ROWS * ROWS), np.nan)
    for t in range(days.size):
        cloud = np.isin(scl[t], CLOUD)
        seen = np.isin(scl[t], GROUND) & (less[t] + more[t] > 0)
        if cloud.any():
            seen &= distance_transform_edt(~cloud, sampling=100.0 / side) > REACH
        with np.errstate(invalid="ignore", divide="ignore"):
            index = (more[t] - less[t]) / (more[t] + less[t])
        if kind != "moisture":
            index = (index - ends.soil) / (ends.vegetation - ends.soil)
        shape = (ROWS, side, ROWS, side)
        tiles = np.where(seen, index, 0.0).reshape(shape).sum(axis=(1, 3))
        counts = seen.reshape(shape).sum(axis=(1, 3))
        out[t] = np.where(counts >= 0.6 * side**2, tiles / np.maximum(counts, 1), np.nan).ravel()
    first = np.unique(days, return_index=True)[1]
    return Ground(days=days[first], value=out[first])


@cache
def logged() -> np.ndarray:
    """First summer (year) in which each hectare had lost moisture against the others; 0 where it never did."""
    ground = pieces("moisture")
    year, doy = ground.days.astype("datetime64[Y]").astype(int) + 1970, _day_of_year(ground.days)
    shared = np.isfinite(ground.value).mean(axis=1) > 0.8
    years = np.arange(2016, 2021)
    summers = np.array(
        [np.nanmedian(ground.value[(year == y) & (doy >= 152) & (doy <= 243) & shared], axis=0) for y in years]
    )
    summers -= np.median(summers, axis=1, keepdims=True)
    fell = np.diff(summers, axis=0) < -LOGGED
    return np.where(fell.any(axis=0), years[1:][np.argmax(fell, axis=0)], 0)


def cases(theta: float, start: date = START) -> Iterator[tuple[Case, int]]:
    """Every hectare as a site that achieved `theta` of the plan; beside it the year in which it was logged, or 0.

    The control of a hectare is the mean of the stable hectares most like it before the start, its neighbours left out.
    """
    ground, lost = pieces("cover"), logged()
    days, cover = ground.days, ground.value
    row, column = np.divmod(np.arange(lost.size), ROWS)
    near = np.maximum(abs(row[:, None] - row), abs(column[:, None] - column)) < 2
    eligible = (lost == 0) & ~near
    common = lost == 0
    seen = np.isfinite(cover[:, common]).sum(axis=1) >= LEAST_UNITS
    level = np.full(days.size, np.nan)
    level[seen] = np.nanmedian(cover[seen][:, common], axis=1)
    shape = np.clip(level / np.nanpercentile(level, 80), 0, 1.2)
    before = seen & (days < np.datetime64(start))
    years = (days - np.datetime64(start)).astype(int) / 365.25
    uplift = theta * np.array([PLAN.uplift(float(y)) for y in years])
    for i in range(lost.size):
        apart = np.abs(cover[before] - cover[before, i][:, None])
        unlike = np.nan_to_num(apart).sum(axis=0) / np.maximum(np.isfinite(apart).sum(axis=0), 1)
        units = np.flatnonzero(eligible[i])
        some = cover[:, units[np.argsort(unlike[units], kind="stable")[:UNITS]]]
        count = np.isfinite(some).sum(axis=1)
        control = np.where(count >= LEAST_UNITS, np.nansum(some, axis=1) / np.maximum(count, 1), np.nan)
        yield Case(
            site=site_of(f"hectare-{i:03d}", start, hectares=1.0),
            series=Series(
                dates=days,
                cover=np.clip(LEVEL * shape + cover[:, i] - control + uplift * shape, 0, 1),
                control=np.where(np.isfinite(control), np.clip(LEVEL * shape, 0, 1), np.nan),
            ),
            theta=theta,
            event=np.datetime64(f"{lost[i]}-01-01", "D") if lost[i] else NEVER,
        ), int(lost[i])  # fmt: skip


def pixels(theta: float) -> dict[str, Case]:
    """The two pixels with a loss, each against its own years before the start, 2018; empty where they are absent."""
    folder = ELSEWHERE / "pyxccd"
    found = {}
    for name, files, event in LOST_PIXELS:
        tables = [pd.read_csv(path).rename(columns=str.lower) for path in sorted(folder.glob(files))]
        if tables:
            table = pd.concat(tables)
            table = table[(table.qa <= 1) & (table.red + table.nir > 0)].drop_duplicates("dates").sort_values("dates")
            days = np.array([date.fromordinal(int(d)) for d in table.dates], "datetime64[D]")
            ndvi = ((table.nir - table.red) / (table.nir + table.red)).to_numpy()
            case = _alone(days, ndvi, theta, date(2018, 1, 1), name)
            found[name] = replace(case, event=np.datetime64(event, "D"))
    return found


def desert(theta: float) -> dict[str, Case]:
    """The desert plot, by sensor, against its own years before the start, 2005 or 2018; empty where it is absent."""
    path = ELSEWHERE / "portal" / "ndvi.csv"
    if not path.is_file():
        return {}
    table = pd.read_csv(path, parse_dates=["date"])
    table = table[table.ndvi.between(0, 1)].drop_duplicates(["date", "sensor"]).sort_values("date")
    found = {}
    for sensor, part in table.groupby("sensor"):
        days = part.date.to_numpy().astype("datetime64[D]")
        years = np.unique(days.astype("datetime64[Y]").astype(int) + 1970)
        if years.size >= DESERT_YEARS:
            start = date(int(years[years.size // 3]), 1, 1)
            found[str(sensor)] = _alone(days, part.ndvi.to_numpy(), theta, start, str(sensor))
    return found


def _alone(days: np.ndarray, ndvi: np.ndarray, theta: float, start: date, name: str) -> Case:
    """One series of NDVI against two harmonics of its own years before the start, as nothing else is beside it."""
    ends = ENDMEMBERS["loess"]
    cover = (ndvi - ends.soil) / (ends.vegetation - ends.soil)
    angle = 2 * np.pi * _day_of_year(days) / 365.25
    design = np.stack([np.ones(days.size), np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle)], axis=1)
    before = days < np.datetime64(start)
    usual = design @ np.linalg.lstsq(design[before], cover[before], rcond=None)[0]
    shape = np.clip(usual / np.percentile(usual, 80), 0, 1.2)
    years = (days - np.datetime64(start)).astype(int) / 365.25
    uplift = theta * np.array([PLAN.uplift(float(y)) for y in years])
    cover, control = LEVEL * shape + cover - usual + uplift * shape, LEVEL * shape
    series = Series(dates=days, cover=np.clip(cover, 0, 1), control=control)
    return Case(site=site_of(name, start, hectares=0.09), series=series, theta=theta)


def _day_of_year(days: np.ndarray) -> np.ndarray:
    of_year: np.ndarray = (days - days.astype("datetime64[Y]")).astype(int) + 1
    return of_year
