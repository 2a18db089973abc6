"""Real series of ground: as they are, with an uplift of known size and shape added, or with a loss; and real losses.

Nothing is scaled and nothing is mixed: the noise of a site is that of a real piece of ground against the real pieces
around it, residual cloud, shadow, registration and phenology included. Cover is NDVI less a constant, so that the added
uplift has room. What there is:

- The sample of ``nrt`` 0.2.1: 140 Sentinel-2 acquisitions, 2015-08 to 2021-01, of one square kilometre of forest in
  Romania, a checkerboard of hectares, each a site whose control are those of the other colour, whatever happened on
  them. The forest was logged in the winter of 2016/17 and again in 2019 and 2020.
- In a folder that is not part of the project (:data:`ELSEWHERE`): Landsat series of 552 blocks of an Ethiopian forest,
  MODIS series of a square of Chilean scrub through six quiet years and through the drought of 2010 to 2015, two pixels
  of Harmonized Landsat Sentinel, one burnt and one logged in 2024, and a desert plot on which nothing was done.

**Stable ground** is chosen by rules laid down before any verdict was looked at. In Romania by another index than the
one judged: the summer median (June to August) of the moisture index NDMI (B8A, B11, 20 m), against the median of all
hectares, never fell by more than :data:`LOGGED` from one year to the next. In Ethiopia by the medians of 2000 to 2004
and of 2010 to 2013. In Chile by yearly means against the whole square, :meth:`Ground.fallen`.
"""

import os
from collections.abc import Iterator, Sequence
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
from monitor.controls.control_means import control_mean
from monitor.cover.fraction import ENDMEMBERS
from monitor.sites.biomes import BIOMES, default_plan
from monitor.verdict.assessment import Series

ROWS = 10  # hectares along a side of the sample
LOGGED = 0.05  # least fall of a hectare's summer NDMI in a year, against all hectares, that counts as felling [1]
FELL, HEALED = -0.05, -0.02
"""Yearly mean difference from the square, against the years before the start, at which a block of scrub fell, and at
which it has come back. [cover fraction]"""
LEVEL = 0.25  # cover of the control of a series that stands alone, at the height of its season [1]
GROUND, CLOUD, REACH = (4, 5), (3, 8, 9, 10), 60.0
"""Scene classes of ground, scene classes grown, and by how much [m]: the monitor's rule, held fixed here so that the
noise stays the same when that rule changes."""
BANDS = {"ndvi": ("B4", "B8"), "moisture": ("B11", "B8A")}
SHAPES = ("bell", "half", "constant")
"""Shape of an added uplift through the season: as the ground around is green, half so, the same all year."""
ELSEWHERE = Path(os.environ.get("REGROWTH_TEST_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"))
"""Folder of real series that are not part of the project."""
LOST_PIXELS = (("burnt", "1_hls_sc.csv", "2024-03-23"), ("logged", "7_logging_hls_w*.csv", "2024-04-08"))
"""Name, files and day of the loss."""
DESERT_YEARS = 9  # fewest years of a sensor's series that is used


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Pieces of one landscape: sites, and what their control is the mean of."""

    days: np.ndarray  # (t,) datetime64[D], once each
    cover: np.ndarray  # (t, site) NDVI less a constant; NaN where less than 60 % was seen
    units: np.ndarray  # (t, unit) the same of the control ground
    chosen: Sequence[np.ndarray]  # of each site, the units that are compared with it
    start: date  # pretended start
    biome: str
    hectares: float

    @property
    def years(self) -> np.ndarray:
        """(t,) time since the start. [year]"""
        since: np.ndarray = (self.days - np.datetime64(self.start, "D")).astype(int) / 365.25
        return since

    def bell(self) -> np.ndarray:
        """(t,) 0 to 1 as the ground around is green in the usual year before the start, times the green of the year."""
        level, doy = np.nanmedian(self.units, axis=1), _day_of_year(self.days)
        before, every = self.years < 0, np.arange(1, 366)
        near = [level[before & (np.abs((doy - day + 182) % 365 - 182) <= 30)] for day in every]
        known = np.array([some.size > 0 for some in near])
        usual = np.interp(doy, every[known], [np.median(some) for some in near if some.size], period=365)
        year = self.days.astype("datetime64[Y]")
        rain = np.array([level[year == y].sum() / usual[year == y].sum() for y in year])
        bell: np.ndarray = (usual - usual.min()) / (usual.max() - usual.min()) * rain
        return bell

    def cases(
        self, sites: Sequence[int], theta: float = 0.0, shape: str = "bell", *, loss: float = 0.0, tending: bool = False
    ) -> Iterator[Case]:
        """Sites on which theta of the plan came, in a shape of :data:`SHAPES`.

        A `loss` [cover fraction at the greenest] stays; it comes in July or August, on another day and in another year
        on each site, so that a year or more follows. A site that is only tended has no plan.
        """
        bell, years = self.bell(), self.years
        uplift = theta * np.array([PLAN.uplift(float(year)) for year in years])
        share = {"bell": bell, "half": 0.5 + 0.5 * bell, "constant": np.ones(years.size)}[shape]
        level = np.nanmedian(self.units, axis=1)
        green = np.clip(level / np.nanpercentile(level, 90), 0, 1.2)
        for i in sites:
            year = self.start.year + 1 + i % (int(years[-1]) - 2)
            event = np.datetime64(f"{year}-07-01") + np.timedelta64(7 * i % 60, "D")
            control = control_mean(self.units[:, self.chosen[i]], self.days, self.start)
            cover = self.cover[:, i] + uplift * share - np.where(self.days >= event, loss * green, 0.0)
            site = replace(site_of(f"piece-{i:03d}", self.start, hectares=self.hectares), biome=self.biome)
            if tending:
                plan = default_plan("tending", BIOMES[self.biome])
                site = replace(site, intervention="tending", plan=plan)
            yield Case(
                site=site,
                series=Series(dates=self.days, cover=np.clip(cover, 0, 1), control=np.clip(control, 0, 1)),
                theta=theta,
                event=event if loss else NEVER,
            )

    def fallen(self) -> tuple[np.ndarray, np.ndarray]:
        """(site,) bool: those that fell for good, and those that fell and came back, by yearly means; see FELL."""
        apart, year = self.cover - np.nanmedian(self.units, axis=1, keepdims=True), np.floor(self.years)
        apart -= np.nanmean(apart[year < 0], axis=0)
        full = [y for y in np.unique(year[year >= 0]) if (year == y).sum() >= 6]
        yearly = np.array([np.nanmean(apart[year == y], axis=0) for y in full])
        fell, last = (yearly <= FELL).any(axis=0), yearly[-1]
        return fell & (last <= FELL), fell & (last >= HEALED)


@cache
def forest() -> tuple[Ground, np.ndarray, np.ndarray]:
    """Blocks of 180 m in Ethiopia, 2005 to 2013; the stable ones, and those that fell for good.

    The control of a block are the 24 nearest stable ones that do not adjoin it.
    """
    with np.load(ELSEWHERE / "tura" / "blocks.npz") as data:
        cover = np.where(data["clear"] >= 0.6, np.clip(data["mean"].astype(float) - 0.35, 0, 1), np.nan)
        days, before, after, columns = data["days"].astype("datetime64[D]"), data["m1"], data["m2"], int(data["nc"])
    stable = (before > 0.75) & (np.abs(after - before) < 0.03)
    row, column = np.divmod(np.arange(before.size), columns)
    away = np.hypot(row[:, None] - row, column[:, None] - column)
    away[(away < 2) | ~stable] = np.inf  # itself and the eight around it
    chosen = np.argsort(away, axis=1, kind="stable")[:, :24]
    ground = Ground(
        **_seen(days, cover, cover), chosen=list(chosen), start=date(2005, 1, 1), biome="southwest_mountain",
        hectares=3.24,
    )  # fmt: skip
    return ground, np.flatnonzero(stable), np.flatnonzero(after - before < -0.12)


@cache
def scrub(start: int, end: int) -> Ground:
    """Blocks of 25 ha of Chilean scrub from 2000 to the end of a year. Control: all pixels not adjoining."""
    with np.load(ELSEWHERE / "chile_drought" / "ndvi.npz") as data:
        days = data["days"].astype("datetime64[D]")
        some = days < np.datetime64(f"{end + 1}-01-01")
        days, pixels = days[some], np.clip(data["x"][some] - 0.2, 0, 1)
    row, column = np.divmod(np.arange(64), 8)
    corners = [(2 * (i // 4), 2 * (i % 4)) for i in range(16)]
    away = [np.maximum(np.abs(row - r - 0.5), np.abs(column - c - 0.5)) for r, c in corners]
    cover = np.stack([_mean(pixels[:, one < 1], 3) for one in away], axis=1)
    return Ground(
        **_seen(days, cover, pixels), chosen=[np.flatnonzero(one > 2) for one in away],
        start=date(start, 1, 1), biome="southwest_mountain", hectares=25.0,
    )  # fmt: skip


@cache
def checkerboard() -> tuple[Ground, np.ndarray]:
    """Hectares of the sample from 2017; and the summer (year) in which each was logged, 0 where it never was.

    The control of a hectare are those of the other colour that do not touch it.
    """
    days, ndvi = pieces("ndvi")
    row, column = np.divmod(np.arange(ROWS * ROWS), ROWS)
    colour = (row + column) % 2
    apart = np.maximum(np.abs(row[:, None] - row), np.abs(column[:, None] - column)) > 1
    cover = np.clip(ndvi - 0.35, 0, 1)
    ground = Ground(
        **_seen(days, cover, cover), chosen=[np.flatnonzero(one) for one in apart & (colour[:, None] != colour)],
        start=date(2017, 1, 1), biome="loess", hectares=1.0,
    )  # fmt: skip
    return ground, logged()


@cache
def pieces(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Days of the sample, once each, and the (day, hectare) NDVI at 10 m, or NDMI (``moisture``) at 20 m."""
    side = 10 if kind == "ndvi" else 5
    name = f"nrt/data/sentinel2_cube_subset_romania_{'10m' if kind == 'ndvi' else '20m'}.nc"
    low, high = BANDS[kind]
    with xr.open_dataset(str(metadata.distribution("nrt").locate_file(name))) as data:
        less, more, scl = (data[band].values for band in (low, high, "SCL"))
        days = data.time.values.astype("datetime64[D]")
    out = np.full((days.size, ROWS * ROWS), np.nan)
    for t in range(days.size):
        cloud = np.isin(scl[t], CLOUD)
        seen = np.isin(scl[t], GROUND) & (less[t] + more[t] > 0)
        if cloud.any():
            seen &= distance_transform_edt(~cloud, sampling=100.0 / side) > REACH
        with np.errstate(invalid="ignore", divide="ignore"):
            index = (more[t] - less[t]) / (more[t] + less[t])
        shape = (ROWS, side, ROWS, side)
        tiles = np.where(seen, index, 0.0).reshape(shape).sum(axis=(1, 3))
        counts = seen.reshape(shape).sum(axis=(1, 3))
        out[t] = np.where(counts >= 0.6 * side**2, tiles / np.maximum(counts, 1), np.nan).ravel()
    first = np.unique(days, return_index=True)[1]
    return days[first], out[first]


@cache
def logged() -> np.ndarray:
    """First summer (year) in which each hectare had lost moisture against the others; 0 where it never did."""
    days, moisture = pieces("moisture")
    year, doy = days.astype("datetime64[Y]").astype(int) + 1970, _day_of_year(days)
    shared = np.isfinite(moisture).mean(axis=1) > 0.8
    years = np.arange(2016, 2021)
    summers = np.array(
        [np.nanmedian(moisture[(year == y) & (doy >= 152) & (doy <= 243) & shared], axis=0) for y in years]
    )
    summers -= np.median(summers, axis=1, keepdims=True)
    fell = np.diff(summers, axis=0) < -LOGGED
    return np.where(fell.any(axis=0), years[1:][np.argmax(fell, axis=0)], 0)


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


def _seen(days: np.ndarray, cover: np.ndarray, units: np.ndarray) -> dict[str, np.ndarray]:
    """The days on which a unit was seen."""
    some = np.isfinite(units).any(axis=1)
    return {"days": days[some], "cover": cover[some], "units": units[some]}


def _mean(values: np.ndarray, fewest: int) -> np.ndarray:
    """Mean over the last dimension; NaN where fewer than so many are seen."""
    seen = np.isfinite(values)
    count = seen.sum(axis=-1)
    mean: np.ndarray = np.where(
        count >= fewest, np.where(seen, values, 0.0).sum(axis=-1) / np.maximum(count, 1), np.nan
    )
    return mean


def _day_of_year(days: np.ndarray) -> np.ndarray:
    of_year: np.ndarray = (days - days.astype("datetime64[Y]")).astype(int) + 1
    return of_year
