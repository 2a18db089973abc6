"""The failing area of a site: which pixels lack regrowth, and what share of the site they are, with its interval.

The level comes from the site's own verdict, which knows rain and season; pixels say how it is spread. The area is the
sum of the pixels' chances of failing, which is right on average where chances are calibrated, as counting pixels of a
mask is not. Its interval is of draws in which neighbours fail together, and in which the site's own doubt shifts all.

All is made from the sums of whole growing seasons that the maps are made from, so that a night costs the same however
long the history is.
"""

import operator
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final

import numpy as np
import xarray as xr
from scipy import ndimage

from monitor.trends.kernels import patches

FAILING: Final = 0.25
"""Theta below which a pixel fails: under a quarter of what the plan promised."""

SHOWN: Final = 0.8
"""Smoothed chance from which a pixel is shown as failing."""

LEAST_PATCH: Final = 0.5
"""Smallest patch that is shown. [ha]"""

LEAST_SITE: Final = 0.5
"""Smallest site of which a failing area is told. [ha]"""

SUPPORT: Final = 20.0
"""Side of the pixels that theta is told of: a sensor's own of 10 m are half noise of registration. [m]"""

REACH: Final = 100.0
"""How far errors of neighbours go together: range of their exponential variogram, 60 to 150 m. [m]"""

OPEN: Final = 1.0 - patches.SPREAD**2
"""What is believed of a pixel before it is looked at is what is believed of any theta: standard deviation 1. A belief
close round the theta of its site puts pixels between failed and sound ground, where in patches there are few."""

DRAWS: Final = 200
"""Draws of the interval, and of the site's own doubt."""

SEED: Final = 20210101
"""The same pixels give the same interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailingArea:
    """What share of a site lacks regrowth, and where."""

    chance: xr.DataArray
    """P(theta of the pixel < :data:`FAILING`), on (y, x); NaN outside, at the edge and where not seen. [1]"""
    smoothed: xr.DataArray
    """The same smoothed. [1]"""
    failing: xr.DataArray
    """bool on (y, x): patches of at least :data:`LEAST_PATCH` whose smoothed chance exceeds :data:`SHOWN`."""
    share: float
    """Failing share of the pixels told of; NaN where it can not be told. [1]"""
    share_low: float
    share_high: float
    """95 % interval. [1]"""
    hectares: float
    """Share times the area of all pixels inside, edge included. [ha]"""
    hectares_low: float
    hectares_high: float
    reason: str
    """Empty, or why it can not be told: ``EDGE_MIXED`` (too small, or edge alone), ``FEW_SCENES`` (pixels not seen)."""


def supported(
    total: xr.DataArray, seen: xr.DataArray, inside: xr.DataArray, *, pixel: float
) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray, float]:
    """Means of seasons, of pixels of :data:`SUPPORT` or more.

    Parameters
    ----------
    total, seen : xr.DataArray
        Sum over the scenes of a season of the pixel's cover over that of the control [cover fraction], and in how many
        it was seen; (season, y, x), lazy or not.
    inside : xr.DataArray
        Pixels whose centre lies in the site, bool (y, x).
    pixel : float
        Side of a pixel. [m]

    Returns
    -------
    over, seen : xr.DataArray
        Mean of what was seen inside, NaN where nothing was [cover fraction], and the mean number of scenes.
    inside : xr.DataArray
        A new pixel lies inside if half of its old ones do.
    pixel : float
        Side of the new pixels. [m]
    """
    times = max(round(SUPPORT / pixel), 1)
    middles = {
        dim: inside[dim].coarsen({dim: times}, boundary="pad").mean() for dim in ("y", "x") if dim in inside.coords
    }

    def summed(values: xr.DataArray) -> xr.DataArray:
        found: xr.DataArray = xr.apply_ufunc(
            _summed, values, inside, kwargs={"times": times}, input_core_dims=[["y", "x"]] * 2,
            output_core_dims=[["y", "x"]], exclude_dims={"y", "x"}, dask="allowed",
        )  # fmt: skip
        return found.assign_coords(middles)

    count = summed(seen)
    return summed(total) / count.where(count > 0), count / times**2, summed(inside) >= times * times / 2, pixel * times


def _summed(values: np.ndarray, inside: np.ndarray, *, times: int) -> np.ndarray:
    """Sums inside of blocks of so many pixels, (..., y, x); the last ones may be cut. Arrays of numpy or dask."""
    rows, columns = (-side % times for side in inside.shape)
    full = np.pad(np.where(inside, values, 0), [(0, 0)] * (values.ndim - 2) + [(0, rows), (0, columns)])
    parts = (full[..., down::times, across::times] for down in range(times) for across in range(times))
    total: np.ndarray = reduce(operator.add, parts)
    return total


def pixel_theta(over: xr.DataArray, seen: xr.DataArray, expected: xr.DataArray) -> xr.Dataset:
    """Theta of every pixel less that of the site.

    Parameters
    ----------
    over : xr.DataArray
        Cover of the pixel less that of the control in the same scenes, mean over a season, (season, y, x), lazy or
        not; NaN where not seen. [1]
    seen : xr.DataArray
        How many scenes that is the mean of.
    expected : xr.DataArray
        Uplift that the plan expects of the scenes of each season, (season); 0 before the start. [1]

    Returns
    -------
    xr.Dataset
        ``theta`` and its standard error ``theta_se``, on (y, x), CRS kept; NaN where fewer than two seasons or no
        expectation tell, and the error wherever no pixel has three. [1]

    Notes
    -----
    Least squares, ``over = level + theta * expected``, seasons weighted by their scenes. What all pixels share in a
    season is taken off first: the site's own verdict has weighed it, and it is no noise of a pixel. What is left is
    pooled over the site: a pixel has too few seasons to tell its own noise.
    """
    space = [dim for dim in over.dims if dim != "season"]
    theta, error = xr.apply_ufunc(
        _pixel_theta, over, seen, expected, input_core_dims=[["season", *space]] * 2 + [["season"]],
        output_core_dims=[space] * 2, dask="allowed",
    )  # fmt: skip
    out = xr.Dataset({"theta": theta, "theta_se": error})
    names = {"theta": "share of the expected uplift achieved, less that of the site", "theta_se": "its standard error"}
    for name, long_name in names.items():
        out[name].attrs = {"long_name": long_name, "units": "1"}
        if "spatial_ref" in out.coords:
            out[name].encoding["grid_mapping"] = "spatial_ref"
    return out


def _pixel_theta(over: np.ndarray, seen: np.ndarray, expected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """See :func:`pixel_theta`; arrays of numpy or dask."""
    space = tuple(range(1, over.ndim))
    expected = expected.reshape(-1, *(1 for _ in space))
    weight = np.where(np.isfinite(over), seen, 0.0)
    used = weight > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        common = np.where(used, over, 0.0).sum(axis=space, keepdims=True) / used.sum(axis=space, keepdims=True)
        own = np.where(used, over - common, 0.0)
        total = weight.sum(axis=0)
        total = np.where(total > 0, total, np.nan)
        x = expected - (weight * expected).sum(axis=0) / total
        own = own - (weight * own).sum(axis=0) / total
        spread = (weight * x * x).sum(axis=0)
        spread = np.where(spread > 1e-9, spread, np.nan)
        theta = (weight * x * own).sum(axis=0) / spread
        left = own - theta * x
        freedom = np.where(np.isfinite(spread), used.sum(axis=0) - 2, 0).clip(min=0)
        noise = np.where(freedom > 0, (weight * left * left).sum(axis=0), 0.0).sum() / freedom.sum()
        return theta, np.sqrt(noise / spread)


def failing_area(
    theta: xr.DataArray,
    theta_se: xr.DataArray,
    inside: xr.DataArray,
    *,
    site_theta: float,
    site_variance: float,
    pixel: float,
    reach: float = REACH,
) -> FailingArea:
    """Failing pixels and failing area of one site.

    Parameters
    ----------
    theta, theta_se : xr.DataArray
        Theta of each pixel, its level left open, and its standard error, (y, x), as :func:`pixel_theta` gives them. [1]
    inside : xr.DataArray
        Pixels whose centre lies in the site, bool (y, x).
    site_theta, site_variance : float
        The site's posterior of theta. [1]
    pixel : float
        Side of a pixel. [m]
    reach : float
        See :data:`REACH`. [m]

    Returns
    -------
    FailingArea
        Numbers are NaN and maps empty where `reason` says why.
    """
    within = inside.values.astype(bool)
    hectares_of_one = pixel * pixel / 10_000
    # the outermost pixels are part of something else
    core = ndimage.binary_erosion(within, np.ones((3, 3)))
    known = core & np.isfinite(theta.values) & (theta_se.values > 0) & np.isfinite(theta_se.values)
    blank = np.full(within.shape, np.nan)
    if within.sum() * hectares_of_one < LEAST_SITE or not core.any():
        return _told(inside, blank, blank, np.zeros_like(within), np.full(3, np.nan), 0.0, "EDGE_MIXED")
    if known.sum() < max(0.5 * core.sum(), 1) or not np.isfinite([site_theta, site_variance]).all():
        return _told(inside, blank, blank, np.zeros_like(within), np.full(3, np.nan), 0.0, "FEW_SCENES")
    values, errors = theta.values[known].astype(float), theta_se.values[known].astype(float)
    values = values + site_theta - values.mean()
    doubt = np.sqrt(site_variance)
    # five points of the site's own doubt stand for all of it; the middle one is no doubt
    nodes, _ = np.polynomial.hermite_e.hermegauss(5)
    chances = patches.chances(
        values, errors, site=site_theta, variance=OPEN, below=FAILING - np.concatenate([[0.0], nodes * doubt])
    )

    def laid(told: np.ndarray) -> np.ndarray:
        layer = blank.copy()
        layer[known] = told
        return layer

    level, chance = laid(values), laid(chances[0])
    smooth = patches.smoothed(chance)
    least = int(np.ceil(LEAST_PATCH / hectares_of_one - 1e-9))
    shown = patches.patches(np.nan_to_num(smooth) > SHOWN, least)
    drawn = patches.shares(patches.parts(chance, level), reach / pixel, DRAWS, SEED)
    means = np.array([patches.parts(laid(told), level)[known].mean() for told in chances[1:]])
    generator = np.random.default_rng(SEED)
    shifts = np.interp(generator.standard_normal(DRAWS), nodes, means)
    # The site's doubt is for the interval. Averaged into the share it would carry failed ground, which stands at none
    # of the plan however the site is judged, over the limit from one side alone.
    share = float(np.clip(means[nodes.size // 2], 0, 1))
    low, high = np.percentile(np.clip(drawn - drawn.mean() + shifts, 0, 1), [2.5, 97.5])
    # of so many pixels none was seen to fail, or none to stand: up to three in as many may yet (the rule of three)
    few = 3 / values.size
    low, high = min(low, share, 1 - few), max(high, share, few)
    told = np.array([share, low, high])
    return _told(inside, chance, smooth, shown, told, within.sum() * hectares_of_one, "")


def _told(
    like: xr.DataArray,
    chance: np.ndarray,
    smooth: np.ndarray,
    shown: np.ndarray,
    share: np.ndarray,
    hectares: float,
    reason: str,
) -> FailingArea:
    def layer(values: np.ndarray, long_name: str) -> xr.DataArray:
        made = xr.DataArray(values, dims=like.dims, coords=like.coords, attrs={"long_name": long_name, "units": "1"})
        if "spatial_ref" in made.coords:
            made.encoding["grid_mapping"] = "spatial_ref"
        return made

    area: Any = share * hectares if not reason else np.full(3, np.nan)
    return FailingArea(
        chance=layer(chance, f"probability that theta is below {FAILING}"),
        smoothed=layer(smooth, f"probability that theta is below {FAILING}, smoothed"),
        failing=layer(shown, "patches without regrowth"),
        share=float(share[0]),
        share_low=float(share[1]),
        share_high=float(share[2]),
        hectares=float(area[0]),
        hectares_low=float(area[1]),
        hectares_high=float(area[2]),
        reason=reason,
    )
