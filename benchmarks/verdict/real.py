"""Real noise: differences between pieces of one real landscape, with an uplift of known size added.

Nothing is scaled and nothing is mixed: a site's noise is the difference of one real hectare to the real hectares most
like it before the start, residual cloud, shadow, registration and phenology included. Only the control's level is set
to that of sparse ground (:data:`LEVEL`), in the shape of the season as the landscape shows it, and theta times the
plan is added in that shape. What there is:

- The sample of ``nrt`` 0.2.1: 140 Sentinel-2 acquisitions, 2015-08 to 2021-01, of one square kilometre of forest in
  Romania, at 10 m (NDVI of B8 and B4) and at 20 m (B8A and B4): 100 hectares, five seasons and the end of a sixth.
- Beside the checkout, where it is there (see :func:`elsewhere`): two pixels of Harmonized Landsat Sentinel, 2015 to
  2024, and a piece of shrubland in Chile, 2018 and 2019.

**Stable ground.** The forest was logged in the winter of 2016/17 and again in 2019 and 2020. A hectare is taken as
stable by a rule laid down before any verdict was looked at, and by another index than the one judged: its summer
median (June to August) of the moisture index NDMI (B8A, B11, 20 m), against the median of all hectares, never fell by
more than :data:`LOGGED` from one year to the next. The others are losses that the monitor ought to find.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
import xarray as xr
from scipy.ndimage import distance_transform_edt
from shapely.geometry import Polygon, box

from benchmarks.verdict.simulate import Case
from monitor.cover.fraction import ENDMEMBERS
from monitor.sites.site import Plan, Site
from monitor.verdict.assessment import Series

STARTS = (date(2016, 1, 1), date(2017, 1, 1), date(2018, 1, 1))
"""Pretended starts: one, two and three seasons before, five, four and three after."""
ROWS = 10
"""Hectares along a side of the sample."""
UNITS = 12
"""Pieces that make a piece's control."""
LOGGED = 0.05
"""Fall of a hectare's summer NDMI from one year to the next, against all hectares, that is no noise. [1]"""
LEVEL = 0.25
"""Cover of the control at the height of its season. [1]"""
GROUND, CLOUD, REACH = (4, 5), (3, 8, 9, 10), 60.0
"""Scene classes kept, scene classes grown, and by how much [m]: the monitor's rule, held fixed here so that the noise
stays the same when that rule changes."""
BANDS = {"10m": ("B4", "B8"), "20m": ("B4", "B8A"), "moisture": ("B11", "B8A")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Pieces of one landscape."""

    days: np.ndarray
    """(t,) datetime64[D], once each."""
    value: np.ndarray
    """(t, n) mean of an index or of cover over the piece; NaN where less than 60 % of it was seen."""


@cache
def pieces(kind: str) -> Ground:
    """Hectares of the sample: cover, linear in NDVI, from the ``10m`` or the ``20m`` bands, or NDMI (``moisture``)."""
    side = 10 if kind == "10m" else 5
    name = f"nrt/data/sentinel2_cube_subset_romania_{'10m' if kind == '10m' else '20m'}.nc"
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


def cases(plan: Plan, theta: Sequence[float] | float, *, start: date, kind: str = "10m") -> Iterator[tuple[Case, int]]:
    """Every hectare as a site that achieved `theta` of a plan; beside it the year in which it was logged, or 0."""
    ground, lost = pieces(kind), logged()
    row, column = np.divmod(np.arange(lost.size), ROWS)
    near = np.maximum(abs(row[:, None] - row), abs(column[:, None] - column)) < 2
    achieved = np.broadcast_to(np.asarray(theta, float), lost.shape)
    for i, case in enumerate(_planted(ground, plan, achieved, start, eligible=(lost == 0) & ~near, name="hectare")):
        yield case, int(lost[i])


def elsewhere(folder: Path, plan: Plan, theta: float) -> dict[str, list[Case]]:
    """Short or single series of other places, by a line that says what they are; empty where the folder is absent.

    Left out, for they hold no ground that could count as stable beside a control: one season of fields in Spain
    (33 dates), twelve monthly composites of fields in Belgium, yearly composites of a burnt forest.
    """
    found = {}
    shrubs = folder / "phenopy" / "ndvi_test.tif"
    if shrubs.is_file():
        ground = _shrubland(shrubs)
        eligible = ~np.eye(ground.value.shape[1], dtype=bool)
        name = (
            f"shrubland, Chile, Sentinel-2: {ground.value.shape[1]} pieces of 12 pixels, {ground.days.size} dates in "
            "2018 and 2019, taken as years 5 and 6, no pre-year"
        )
        found[name] = list(
            _planted(
                ground, plan, np.full(ground.value.shape[1], theta), date(2014, 1, 1), eligible=eligible, name="piece",
                geometry=box(-71, -34.4, -70.9, -34.3),
            )
        )  # fmt: skip
    pixels = [folder / "pyxccd" / f for f in ("1_hls_sc.csv", "7_logging_hls_w0.csv")]
    if all(path.is_file() for path in pixels):
        for start in (date(2017, 1, 1), date(2018, 1, 1)):
            name = (
                f"2 single pixels of HLS against their own pre-years (no control at all), start {start.year}, to 2023"
            )
            found[name] = [_pixel(path, plan, theta, start) for path in pixels]
    return found


def _planted(
    ground: Ground, plan: Plan, theta: np.ndarray, start: date, *, eligible: np.ndarray, name: str,
    geometry: Polygon | None = None,
) -> Iterator[Case]:  # fmt: skip
    """Each piece against the eligible pieces most like it before the start, with theta times the plan added."""
    days, cover = ground.days, ground.value
    first = np.datetime64(start, "D")
    common = eligible.any(axis=0)
    least = min(UNITS, 10, int(common.sum()) - 1)
    seen = np.isfinite(cover[:, common]).sum(axis=1) >= least
    level = np.full(days.size, np.nan)
    level[seen] = np.nanmedian(cover[seen][:, common], axis=1)
    shape = np.clip(level / np.nanpercentile(level, 80), 0, 1.2)
    before = seen & (days < first)
    years = (days - first).astype(int) / 365.25
    uplift = plan.A * -np.expm1(-plan.k * np.maximum(years - plan.L, 0.0))
    for i in range(cover.shape[1]):
        apart = np.abs(cover[before] - cover[before, i][:, None])
        unlike = np.nan_to_num(apart).sum(axis=0) / np.maximum(np.isfinite(apart).sum(axis=0), 1)
        units = np.flatnonzero(eligible[i])
        units = units[np.argsort(unlike[units], kind="stable")[:UNITS]]
        some = cover[:, units]
        count = np.isfinite(some).sum(axis=1)
        control = np.where(count >= min(least, units.size), np.nansum(some, axis=1) / np.maximum(count, 1), np.nan)
        yield Case(
            site=Site(
                id=f"{name}-{i:03d}", name="", geometry=geometry or Polygon(), start=start, intervention="planting",
                biome="loess", plan=plan, hectares=1.0,
            ),
            series=Series(
                dates=days,
                cover=np.clip(LEVEL * shape + cover[:, i] - control + theta[i] * uplift * shape, 0, 1),
                control=np.where(np.isfinite(control), np.clip(LEVEL * shape, 0, 1), np.nan),
            ),
            fate="real",
            theta=float(theta[i]),
            event=np.datetime64("NaT", "D"),
        )  # fmt: skip


def _shrubland(path: Path) -> Ground:
    """Pieces of 4 x 3 pixels; it has no mask, so scenes .1 below the median of the ninety days about are left out."""
    with rasterio.open(path) as source:
        ndvi = source.read()
    when = pd.to_datetime(pd.read_csv(path.with_name("dates_ndvi.csv"), header=None)[0])
    days, first = np.unique(when.to_numpy().astype("datetime64[D]"), return_index=True)
    ndvi = ndvi[first]
    whole = np.nanmean(ndvi, axis=(1, 2))
    about = abs(days[:, None].astype(int) - days.astype(int)) <= 45
    clear = whole > np.array([np.median(whole[near]) for near in about]) - 0.1
    ends = ENDMEMBERS["loess"]
    cover = (ndvi[clear, :12, :9] - ends.soil) / (ends.vegetation - ends.soil)
    tiles = np.nanmean(cover.reshape(clear.sum(), 3, 4, 3, 3), axis=(2, 4))
    return Ground(days=days[clear], value=tiles.reshape(clear.sum(), -1))


def _pixel(path: Path, plan: Plan, theta: float, start: date) -> Case:
    """One pixel against two harmonics of its own years before the start."""
    table = pd.read_csv(path)
    table.columns = [name.lower() for name in table.columns]
    table = table[(table.qa <= 1) & (table.red + table.nir > 0)].drop_duplicates("dates")
    days = np.array([date.fromordinal(int(d)) for d in table.dates], "datetime64[D]")
    ends = ENDMEMBERS["loess"]
    ndvi = ((table.nir - table.red) / (table.nir + table.red)).to_numpy()
    kept = days < np.datetime64("2024-01-01")  # a fire and a felling follow
    days, cover = days[kept], (ndvi[kept] - ends.soil) / (ends.vegetation - ends.soil)
    angle = 2 * np.pi * _day_of_year(days) / 365.25
    design = np.stack([np.ones(days.size), np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle)], axis=1)
    before = days < np.datetime64(start)
    usual = design @ np.linalg.lstsq(design[before], cover[before], rcond=None)[0]
    shape = np.clip(usual / np.percentile(usual, 80), 0, 1.2)
    uplift = theta * np.array([plan.uplift(float(d)) for d in (days - np.datetime64(start)).astype(int) / 365.25])
    return Case(
        site=Site(
            id=path.stem, name="", geometry=Polygon(), start=start, intervention="planting", biome="loess", plan=plan,
            hectares=0.09,
        ),
        series=Series(
            dates=days, cover=np.clip(LEVEL * shape + cover - usual + uplift * shape, 0, 1), control=LEVEL * shape
        ),
        fate="real",
        theta=theta,
        event=np.datetime64("NaT", "D"),
    )  # fmt: skip


def _day_of_year(days: np.ndarray) -> np.ndarray:
    of_year: np.ndarray = (days - days.astype("datetime64[Y]")).astype(int) + 1
    return of_year
