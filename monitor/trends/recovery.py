"""How far and how fast vegetation recovered to a target: the two measures of restoration reports."""

from typing import Final

import numpy as np
import xarray as xr

from monitor.conventions import CONVENTIONS
from monitor.errors import BadData
from monitor.trends.kernels.monotonic import DAYS_PER_YEAR
from monitor.trends.maps import decimal_years, with_attributes

RECOVERED_SHARE: Final = 0.8
"""Share of the target at which ground counts as recovered (J. C. White et al., Remote Sens. Environ., 2017,
doi:10.1016/j.rse.2017.03.035)."""


def recovery(yearly: xr.DataArray, target: xr.DataArray | float, since: np.datetime64) -> xr.Dataset:
    """R80P and Y2R [1]_ of every pixel.

    Parameters
    ----------
    yearly : xr.DataArray
        Values (time, y, x) of :func:`monitor.trends.maps.growing_season_means`, lazy or not; not finite where not seen.
    target : xr.DataArray or float
        Target level, on the same (y, x) or one number for all; preferably that of undisturbed ground nearby, because
        degraded ground was below it before the disturbance. [units of `yearly`]
    since : np.datetime64
        Start of the restoration.

    Returns
    -------
    xr.Dataset
        ``r80p``, value of the last season as a multiple of 80 % of the target [1], exactly 1 within rounding, NaN where
        that season was not seen or the target is not positive; ``y2r``, time from `since` to the first season at 80 %
        of the target [year], NaN where it has not been reached.

    Raises
    ------
    BadData
        No dates, dates out of order or repeated, or none from `since` on; a target that is not numeric or is on other
        coordinates.

    References
    ----------
    .. [1] J. C. White et al., "A nationwide annual characterization of 25 years of forest disturbance and recovery
       for Canada using Landsat time series," Remote Sens. Environ., 2017, doi:10.1016/j.rse.2017.03.035.
    """
    decimal_years(yearly)
    after = yearly.isel(time=np.flatnonzero(yearly["time"].values >= since))
    if after.sizes["time"] == 0:
        msg = f"no season from {since} on; the last is of {str(yearly['time'].values[-1])[:10]}"
        raise BadData(msg)
    level = xr.DataArray(target)
    if not set(level.dims) <= set(after.dims) - {"time"} or level.dtype.kind not in "biuf":
        msg = f"the target must be numbers on (y, x) like the seasons; it is {level.dtype} on {level.dims}"
        raise BadData(msg)
    try:
        xr.align(after, level, join="exact")
    except ValueError as error:
        msg = f"the target is not on the coordinates of the seasons; resample it (rio.reproject_match): {error}"
        raise BadData(msg) from error
    kind = np.result_type(yearly.dtype, np.float32)
    # in the type of the result, so that both measures agree on what has reached the target
    ratio = (after.where(abs(after) < np.inf) / (RECOVERED_SHARE * level.where(level > 0))).astype(kind)
    # 80 % of a target is rounded: equal within rounding counts as reached
    ratio = ratio.where(~(abs(ratio - 1) <= 4 * np.finfo(kind).eps), kind.type(1))
    elapsed = (after["time"] - since) / np.timedelta64(1, "D") / DAYS_PER_YEAR
    reached = elapsed.where(ratio >= 1, np.inf).min("time")
    r80p = ratio.isel(time=-1, drop=True)
    y2r = reached.where(np.isfinite(reached)).astype(kind)
    out = {
        "r80p": with_attributes(r80p, yearly, "r80p", "last season as a multiple of 80 % of the target"),
        "y2r": with_attributes(y2r, yearly, "y2r", "time until 80 % of the target was first reached"),
    }
    return xr.Dataset(out, attrs={"Conventions": CONVENTIONS})
