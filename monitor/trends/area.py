"""The failing area of a site: which pixels lack regrowth, and what share of the site they are, with its interval.

The level comes from the site's own verdict, which knows rain and season; pixels say how it is spread. The area is the
sum of the pixels' chances of failing, which is right on average where chances are calibrated, as counting pixels of a
mask is not. Its interval is of draws in which neighbours fail together, and in which the site's own doubt shifts all.

All is made from the sums of whole growing seasons that the maps are made from, so that a night costs the same however
long the history is. The arithmetic is that of :mod:`monitor.trends.kernels.failing`, which a night calls itself.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from monitor.errors import BadData
from monitor.trends.kernels import failing
from monitor.trends.kernels.failing import FAILING, REACH
from monitor.trends.kernels.yearly import inner_sums


@dataclass(frozen=True, slots=True, kw_only=True)
class FailingArea:
    """What share of a site lacks regrowth, and where."""

    chance: xr.DataArray
    """P(theta of the pixel < .25), on (y, x); NaN outside, at the edge and where not seen. [1]"""
    smoothed: xr.DataArray
    """The same smoothed. [1]"""
    failing: xr.DataArray
    """bool on (y, x): patches of half a hectare or more whose smoothed chance exceeds .8."""
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
    """Means of seasons, of pixels of 20 m or more.

    Parameters
    ----------
    total, seen : xr.DataArray
        Sum over the scenes of a season of the pixel's cover over that of the control [cover fraction], which counts
        where it was seen, and in how many it was; (season, y, x), lazy or not.
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
    times = failing.times_of(pixel)
    middles = {
        dim: inside[dim].coarsen({dim: times}, boundary="pad").mean() for dim in ("y", "x") if dim in inside.coords
    }
    sides = {dim: -(-inside.sizes[dim] // times) for dim in ("y", "x")}

    def summed(values: xr.DataArray) -> xr.DataArray:
        found: xr.DataArray = xr.apply_ufunc(
            inner_sums, values, inside, kwargs={"times": times}, input_core_dims=[["y", "x"]] * 2,
            output_core_dims=[["y", "x"]], exclude_dims={"y", "x"}, dask="parallelized",
            output_dtypes=[values.dtype], dask_gufunc_kwargs={"output_sizes": sides, "allow_rechunk": True},
        )  # fmt: skip
        return found.assign_coords(middles)

    within = summed(inside.astype(np.float32)) >= times * times / 2
    over, count = xr.apply_ufunc(
        failing.means, summed(total.where(seen > 0, 0)), summed(seen), kwargs={"times": times},
        output_core_dims=[[], []], dask="parallelized", output_dtypes=[total.dtype, seen.dtype],
    )  # fmt: skip
    return over, count, within, pixel * times


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
        failing.pixel_theta, over, seen, expected, input_core_dims=[["season", *space]] * 2 + [["season"]],
        output_core_dims=[space] * 2, dask="parallelized", output_dtypes=[np.float64] * 2,
        dask_gufunc_kwargs={"allow_rechunk": True},
    )  # fmt: skip
    out = xr.Dataset({"theta": theta, "theta_se": error})
    names = {"theta": "share of the expected uplift achieved, less that of the site", "theta_se": "its standard error"}
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
        Theta of each pixel, its level left open, and its standard error, (y, x), as :func:`pixel_theta` gives them. [1]
    inside : xr.DataArray
        Pixels whose centre lies in the site, bool (y, x).
    site_theta, site_variance : float
        The site's posterior of theta. [1]
    pixel : float
        Side of a pixel. [m]
    reach : float
        How far errors of neighbours go together: range of their exponential variogram. [m]

    Returns
    -------
    FailingArea
        On the (y, x) of `theta`. Numbers are NaN and maps empty where `reason` says why.

    Raises
    ------
    BadData
        The three do not lie on the same (y, x), `inside` is no mask, or the variance is negative.
    """
    if inside.dtype.kind != "b" or site_variance < 0:
        msg = f"inside is {inside.dtype}, and is to be bool; the site's variance is {site_variance}, and no less than 0"
        raise BadData(msg)
    try:
        theta, theta_se, inside = xr.align(theta, theta_se, inside, join="exact")
        theta_se, inside = theta_se.transpose(*theta.dims), inside.transpose(*theta.dims)
    except ValueError as error:
        msg = f"theta, its error and the pixels inside do not lie on the same coordinates: {error}"
        raise BadData(msg) from error
    found = failing.find(
        theta.values, theta_se.values, inside.values, site_theta=site_theta,
        site_variance=site_variance, pixel=pixel, reach=reach,
    )  # fmt: skip

    def layer(values: np.ndarray, long_name: str) -> xr.DataArray:
        made = xr.DataArray(values, dims=theta.dims, coords={**inside.coords, **theta.coords})
        made.attrs = {"long_name": long_name, "units": "1"}
        if "spatial_ref" in made.coords:
            made.encoding["grid_mapping"] = "spatial_ref"
        return made

    return FailingArea(
        chance=layer(found.chance, f"probability that theta is below {FAILING}"),
        smoothed=layer(found.smoothed, f"probability that theta is below {FAILING}, smoothed"),
        failing=layer(found.failing, "patches without regrowth"),
        share=found.share,
        share_low=found.share_low,
        share_high=found.share_high,
        hectares=found.share * found.hectares,
        hectares_low=found.share_low * found.hectares,
        hectares_high=found.share_high * found.hectares,
        reason=found.reason,
    )
