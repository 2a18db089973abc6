"""Steps between orbits: a slope seen from two sides, or registered twice, looks greener from one orbit.

What is common to a scene cancels in the difference of site and control ground; what depends on the slope and aspect of
each piece of ground does not. Steps differ between pieces, since their slopes do; so the site's own step is estimated
from how its difference alternates between scenes a few days apart, which growth does not explain. How reliable it is
follows from the control units: if the steps of each unit against the others in even years agree with those of odd
years, steps are real on this ground; if not, they are noise and nothing is corrected.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from monitor.controls.selection import MIN_UNITS

MAX_PAIR_DAYS: Final = 16.0  #: between two scenes compared, three revisits of Sentinel-2: growth is small [day]
MIN_PAIRS: Final = 10  #: pairs of scenes needed in even and in odd years
MIN_AGREEMENT: Final = 2.0  #: standard deviations by which the agreement of even and odd years must exceed zero


def orbit_steps(
    times: np.ndarray, orbits: Sequence[str], difference: np.ndarray, units: np.ndarray
) -> dict[str, np.ndarray]:
    """Estimate the step in the difference of site and control ground, by orbit; it is to be subtracted.

    Parameters
    ----------
    times : (scene,) datetime64 array
        Ascending, UTC.
    orbits : sequence of str
        Orbit of each scene; empty: unknown.
    difference : (scene, kind) array
        Site minus control ground, for several kinds of control ground; NaN where not seen. [1]
    units : (scene, unit) array
        Values of each control unit; NaN where not seen. [1]

    Returns
    -------
    dict of (kind,) array
        Steps, 0 on average over the scenes in which the site was seen: the level stays. [1] Empty with one orbit, with
        fewer than :data:`monitor.controls.selection.MIN_UNITS` units or :data:`MIN_PAIRS`, or where the steps of the
        units do not repeat.

    Notes
    -----
    Shrunk by the share of the units' squared steps that repeats: sum(even * odd) / sum(all years ** 2), an empirical
    Bayes estimate that needs no model of the noise. A function of all scenes together: nothing depends on their order
    of arrival. Pass only scenes of years that are over, so that a new scene changes the values of earlier ones once a
    year and not every night.
    """
    known = np.flatnonzero(np.array(orbits, dtype=str) != "")
    times, difference, units = times[known], difference[known], units[known]
    names, orbit = np.unique(np.array(orbits, dtype=str)[known], return_inverse=True)
    if names.size < 2 or units.shape[1] < MIN_UNITS:
        return {}
    year = times.astype("datetime64[Y]").astype(np.int64)
    seen = np.isfinite(units)
    total, count = np.where(seen, units, 0.0).sum(axis=1, keepdims=True), seen.sum(axis=1, keepdims=True)
    rest = (total - np.where(seen, units, 0.0)) / np.maximum(count - seen, 1)
    each = np.where(count - seen > 0, units - rest, np.nan)
    days = (times - np.datetime64("1970-01-01")) / np.timedelta64(1, "D")
    near = (np.diff(days) <= MAX_PAIR_DAYS) & (np.diff(orbit) != 0)
    halves = [near & (year[1:] % 2 == parity) for parity in (0, 1)]
    if min(half.sum() for half in halves) < MIN_PAIRS:
        return {}
    even, odd = (_steps(each, orbit, half) for half in halves)
    together = even * odd
    if together.sum() <= MIN_AGREEMENT * np.sqrt((together**2).sum()):
        return {}
    share = min(1.0, float(together.sum() / (_steps(each, orbit, near) ** 2).sum()))
    return dict(zip(names.tolist(), share * _steps(difference, orbit, near), strict=True))


def _steps(series: np.ndarray, orbit: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Level of each orbit minus the mean over all scenes, (orbit, column), by least squares on (scene, column) series.

    The differences of neighbours in time are used, where `pairs` (scene - 1,).
    """
    n = int(orbit.max()) + 1
    first = np.flatnonzero(pairs)
    signs = np.zeros((first.size, n))
    signs[np.arange(first.size), orbit[first + 1]] = 1.0
    signs[np.arange(first.size), orbit[first]] = -1.0
    jump = series[first + 1] - series[first]
    valid = np.isfinite(jump)
    size = _middle(np.where(valid, np.abs(jump), np.inf), valid.sum(axis=0))
    jump = np.where(valid, np.clip(jump, -4.4 * size, 4.4 * size), 0.0)  # three standard deviations: 3 x 1.48
    both = (signs[:, :, None] * signs[:, None, :]).reshape(first.size, n * n)
    normal = (valid.T.astype(np.float64) @ both).reshape(-1, n, n)
    steps = (np.linalg.pinv(normal, hermitian=True) @ np.einsum("pc,po->co", jump, signs)[:, :, None])[:, :, 0].T
    weights = np.stack([np.isfinite(series[orbit == number]).sum(axis=0) for number in range(n)])
    return np.asarray(steps - (weights * steps).sum(axis=0) / np.maximum(weights.sum(axis=0), 1))


def _middle(sizes: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Median of the `count` smallest values of each column; 0 if there are none."""
    ordered = np.sort(sizes, axis=0)
    column = np.arange(sizes.shape[1])
    low, high = ordered[np.maximum(count - 1, 0) // 2, column], ordered[np.minimum(count // 2, len(sizes) - 1), column]
    return np.where(count > 0, (low + high) / 2, 0.0)
