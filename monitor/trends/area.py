"""The failing area of a site: which pixels lack regrowth, and what share of the site they are, with its interval.

The level comes from the site's own verdict, which knows rain and season; pixels say how it is spread. The area is the
sum of the pixels' chances of failing, which is right on average where chances are calibrated, as counting pixels of a
mask is not. Its interval is of draws in which neighbours fail together, and in which the site's own doubt shifts all.
"""

from dataclasses import dataclass
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
    difference: xr.DataArray, inside: xr.DataArray, *, pixel: float
) -> tuple[xr.DataArray, xr.DataArray, float]:
    """Bring small pixels together to ones of :data:`SUPPORT`.

    Parameters
    ----------
    difference : xr.DataArray
        As for :func:`pixel_theta`, (time, y, x), lazy or not.
    inside : xr.DataArray
        Pixels whose centre lies in the site, bool (y, x).
    pixel : float
        Side of a pixel. [m]

    Returns
    -------
    difference, inside : xr.DataArray
        Means of what was seen inside; a new pixel lies inside if half of its old ones do.
    pixel : float
        Side of the new pixels. [m]
    """
    times = max(round(SUPPORT / pixel), 1)
    if times == 1:
        return difference, inside, pixel
    block = {"y": times, "x": times}
    coarse = difference.where(inside).coarsen(block, boundary="pad").mean(keep_attrs=True)
    within = inside.astype(float).coarsen(block, boundary="pad").mean() >= 0.5
    return coarse, within, pixel * times


def pixel_theta(difference: xr.DataArray, expected: xr.DataArray) -> xr.Dataset:
    """Theta of every pixel, without the site's help.

    Parameters
    ----------
    difference : xr.DataArray
        Cover of the pixel less that of the control in the same scene, (time, y, x), lazy or not, time ascending;
        NaN where not seen. [1]
    expected : xr.DataArray
        Uplift that the plan expects at each scene, season included, (time); 0 before the start. [1]

    Returns
    -------
    xr.Dataset
        ``theta`` and its standard error ``theta_se``, on (y, x), CRS kept; NaN where fewer than six scenes or no
        expectation tell. [1]
    """
    if difference.chunks is not None:
        difference = difference.chunk(time=-1)
    found: xr.DataArray = xr.apply_ufunc(
        _theta,
        difference,
        kwargs={"expected": expected.values.astype(float)},
        input_core_dims=[["time"]],
        output_core_dims=[["part"]],
        dask="parallelized",
        output_dtypes=[np.float64],
        dask_gufunc_kwargs={"output_sizes": {"part": 2}},
        keep_attrs=True,
    )
    names = {"theta": "share of the expected uplift achieved", "theta_se": "standard error of theta"}
    out = xr.Dataset({name: found.isel(part=i) for i, name in enumerate(names)})
    for name, long_name in names.items():
        out[name].attrs = {"long_name": long_name, "units": "1"}
        if "spatial_ref" in out.coords:
            out[name].encoding["grid_mapping"] = "spatial_ref"
    return out


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
        Theta of each pixel by itself and its standard error, (y, x), as :func:`pixel_theta` gives them, or uplift and
        its standard error divided by the uplift expected. [1]
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

    level = blank.copy()
    level[known] = values

    def chances(shift: float) -> np.ndarray:
        told = blank.copy()
        told[known] = patches.chances(
            values + shift, errors, site=site_theta + shift, variance=site_variance, below=FAILING
        )
        return told

    def parts(told: np.ndarray) -> np.ndarray:
        part: np.ndarray = patches.parts(told, level)[known]
        return part

    chance, doubt = chances(0.0), np.sqrt(site_variance)
    smooth = patches.smoothed(chance)
    least = int(np.ceil(LEAST_PATCH / hectares_of_one - 1e-9))
    shown = patches.patches(np.nan_to_num(smooth) > SHOWN, least)
    generator = np.random.default_rng(SEED)
    drawn_from = blank.copy()
    drawn_from[known] = parts(chance)
    drawn = patches.shares(drawn_from, reach / pixel, DRAWS, generator)
    # five points of the site's own doubt stand for all of it
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    means = np.array([parts(chances(node * doubt)).mean() for node in nodes])
    shifts = np.interp(generator.standard_normal(DRAWS), nodes, means)
    share = float(np.clip(weights @ means / weights.sum(), 0, 1))
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


def _theta(block: np.ndarray, *, expected: np.ndarray) -> np.ndarray:
    layers = np.moveaxis(block, -1, 0).reshape(block.shape[-1], -1)
    return np.moveaxis(patches.theta_of_pixels(layers, expected).reshape(2, *block.shape[:-1]), 0, -1)
