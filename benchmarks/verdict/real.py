"""Real noise: the differences between pieces of one real forest, with an uplift of known size added.

The wheel ``nrt`` 0.2.1 carries 140 Sentinel-2 acquisitions, 2015 to 2021, of one square
kilometre of forest. Cut into hectares, each hectare less the mean of the hectares most like it
before the start is noise that no simulator made: residual cloud, shadow, registration, phenology. It is
neither scaled nor mixed; only the control's level is set to that of sparse ground, and theta times the plan
is added, both in the shape of the season as the forest shows it.

The forest is not stable throughout: its north was logged in the winter of 2016/17, patches of it in
2019 and 2020. Hectares whose summer fell against the others by more than :data:`LOGGED` from one year
to the next are set apart: they are losses that the monitor ought to find, not noise. That choice looks at the outcome
(summer medians of whole years), so the false-alarm rate on the others is somewhat flattered.
"""

from collections.abc import Iterator
from datetime import date
from importlib import metadata

import numpy as np
import xarray as xr
from scipy.ndimage import distance_transform_edt
from shapely.geometry import Polygon

from benchmarks.verdict.simulate import Case
from monitor.cover.fraction import ENDMEMBERS
from monitor.cube.masks import classes
from monitor.sites.site import Plan, Site
from monitor.verdict.assessment import Series

START = date(2017, 4, 1)
DEMONSTRATION = Plan(A=0.30, k=0.9, L=0.3, too_early_years=2.0)
SIDE = 10
"""Side of a piece. [pixel of 10 m]"""
UNITS = 12
"""Pieces that make a piece's control."""
LOGGED = 0.05
"""Fall of a hectare's summer median from one year to the next, against all hectares, that is no noise. [1]"""
LEVEL = 0.25
"""Cover of the control at the height of its season. [1]"""


def pieces() -> tuple[np.ndarray, np.ndarray]:
    """Days (n,) and mean cover (n, 100) of the hectares, linear in NDVI; NaN where less than 60 % was seen."""
    path = metadata.distribution("nrt").locate_file("nrt/data/sentinel2_cube_subset_romania_10m.nc")
    with xr.open_dataset(str(path)) as data:
        red, nir, scl = (data[name].values for name in ("B4", "B8", "SCL"))
        days = data.time.values.astype("datetime64[D]")
    ends = ENDMEMBERS["loess"]
    rows = red.shape[1] // SIDE
    out = np.full((days.size, rows * rows), np.nan)
    for t in range(days.size):
        ground, cloud, _ = classes(np.nan_to_num(scl[t]).astype(np.uint16), "scl")
        seen = ground & (red[t] + nir[t] > 0)
        if cloud.any():
            seen &= distance_transform_edt(~cloud, sampling=10.0) > 60.0
        with np.errstate(invalid="ignore", divide="ignore"):
            cover = ((nir[t] - red[t]) / (nir[t] + red[t]) - ends.soil) / (ends.vegetation - ends.soil)
        tiles = np.where(seen, cover, 0.0).reshape(rows, SIDE, rows, SIDE).sum(axis=(1, 3))
        counts = seen.reshape(rows, SIDE, rows, SIDE).sum(axis=(1, 3))
        enough = counts >= 0.6 * SIDE**2
        out[t] = np.where(enough, tiles / np.maximum(counts, 1), np.nan).ravel()
    first = np.unique(days, return_index=True)[1]
    return days[first], out[first]


def losses(days: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """First summer (year) in which each hectare had lost cover against the others; 0 where it never did."""
    year, doy = days.astype("datetime64[Y]").astype(int) + 1970, _day_of_year(days)
    shared = np.isfinite(cover).mean(axis=1) > 0.8
    years = np.arange(2016, 2021)
    summers = np.array([np.nanmedian(cover[(year == y) & (doy >= 152) & (doy <= 243) & shared], axis=0) for y in years])
    summers -= np.median(summers, axis=1, keepdims=True)
    fell = np.diff(summers, axis=0) < -LOGGED
    return np.where(fell.any(axis=0), years[1:][np.argmax(fell, axis=0)], 0)


def cases(plan: Plan, theta: float) -> Iterator[tuple[Case, int]]:
    """Every hectare as a site that achieved `theta` of a plan; beside it the year in which it was logged, or 0."""
    days, cover = pieces()
    logged = losses(days, cover)
    start = np.datetime64(START, "D")
    rows = int(np.sqrt(cover.shape[1]))
    row, column = np.divmod(np.arange(cover.shape[1]), rows)
    stable = logged == 0
    seen = np.isfinite(cover[:, stable]).sum(axis=1) >= UNITS
    forest = np.full(days.size, np.nan)
    forest[seen] = np.nanmedian(cover[seen][:, stable], axis=1)
    doy = _day_of_year(days)
    shape = np.clip(forest / np.median(forest[seen & (doy >= 152) & (doy <= 243)]), 0, 1.2)
    before = seen & (days < start) & (doy >= 121) & (doy <= 288)
    uplift = theta * np.array([plan.uplift(float(d)) for d in (days - start).astype(int) / 365.25])
    for i in range(cover.shape[1]):
        apart = np.maximum(abs(row - row[i]), abs(column - column[i])) >= 2
        unlike = np.nanmean((cover[before] - cover[before, i][:, None]) ** 2, axis=0)
        units = cover[:, np.argsort(np.where(apart & stable, unlike, np.inf))[:UNITS]]
        count = np.isfinite(units).sum(axis=1)
        control = np.where(count >= 10, np.nansum(units, axis=1) / np.maximum(count, 1), np.nan)
        case = Case(
            site=Site(
                id=f"hectare-{i:03d}", name="", geometry=Polygon(), start=START, intervention="planting", biome="loess",
                plan=plan, hectares=1.0,
            ),
            series=Series(
                dates=days,
                cover=np.clip(LEVEL * shape + cover[:, i] - control + uplift * shape, 0, 1),
                control=np.where(np.isfinite(control), np.clip(LEVEL * shape, 0, 1), np.nan),
            ),
            fate="real",
            theta=theta,
            event=np.datetime64("NaT", "D"),
        )  # fmt: skip
        yield case, int(logged[i])


def _day_of_year(days: np.ndarray) -> np.ndarray:
    return (days - days.astype("datetime64[Y]")).astype(int) + 1
