"""Which scenes a verdict uses, and where in its growing season each of them lies."""

from datetime import date
from typing import NamedTuple

import numpy as np

from monitor.errors import BadData
from monitor.sites.growing_season import GrowingSeason
from monitor.sites.site import Site
from monitor.verdict.assessment import Series
from monitor.verdict.calibration import HEIGHT, LEARNT, OUTSIDE, SURE, Calibration
from monitor.verdict.kernels import peaks_outside

YEAR = 365.25
"""[day]"""
SPREAD = 1e-9
"""A wave can be told where the days of the year spread more than this: determinant of the scatter of its cosine and
sine, a quarter where they are even; less is rounding. [1]"""


class Scenes(NamedTuple):
    """Acquisitions of a site, (n,) arrays ascending by day, and which of them the verdict uses."""

    day: np.ndarray
    """Of accepted acquisitions: site and control seen, the site clear enough. Days from 1970."""
    every: np.ndarray
    """Cover of the control in each of them. [1]"""
    used: np.ndarray
    """Places in `day` of those inside the window."""
    season: np.ndarray
    """Of the used ones, as all that follows."""
    position: np.ndarray
    cover: np.ndarray
    control: np.ndarray
    control_2: np.ndarray
    second: np.ndarray
    clear: np.ndarray
    reference: np.ndarray


def scenes(series: Series, site: Site, window: GrowingSeason, calibration: Calibration) -> Scenes:
    """Keep the accepted acquisitions of a series.

    Raises
    ------
    BadData
        Dates not strictly ascending, lengths that differ, or cover outside 0..1; the site and the date are named.
    """
    day = series.dates.astype("datetime64[D]").astype(np.int64)
    _check(series, site, day)
    empty = np.full(day.size, np.nan)
    clear = np.ones(day.size) if series.clear is None else series.clear
    accepted = np.isfinite(series.cover) & np.isfinite(series.control) & (clear >= calibration.clear)
    season, position = window.locate(day)
    inside = accepted & (position <= window.length)
    control_2 = empty if series.control_2 is None else series.control_2
    second = empty if series.second is None else series.second
    reference = empty if series.reference is None else series.reference
    return Scenes(
        day[accepted], series.control[accepted], np.flatnonzero(inside[accepted]), season[inside], position[inside],
        series.cover[inside], series.control[inside], control_2[inside], second[inside], clear[inside],
        reference[inside],
    )  # fmt: skip


def elsewhere(
    day: np.ndarray, control: np.ndarray, used: np.ndarray, window: GrowingSeason, asked: np.ndarray | None = None
) -> np.ndarray:
    """Whether the control is greenest outside the window, as far as scenes tell it one after the other.

    A yearly wave is fitted by least squares to all scenes so far. It is believed when it stands out of its noise, its
    peak when two standard errors do not reach back to :data:`OUTSIDE`, and both only when the scenes outside the window
    are greener in the mean: where winter is never seen a wave alone can be led astray.

    Parameters
    ----------
    day : (n,) array of int
        Days from 1970, ascending.
    control : (n,) array
        Cover of the control ground. [1]
    used : array of int
        Places of the days that lie in the window.
    window : GrowingSeason
    asked : (n,) bool array, optional
        After which scenes it is asked. Default: after each.

    Returns
    -------
    (n,) bool array
        False where it is not asked.
    """
    farthest = window.length / 2 + OUTSIDE  # from the middle of the window
    told = (np.arange(day.size) >= LEARNT[0] - 1) & (day - day[:1] >= LEARNT[1])
    if asked is not None:
        told &= asked
    if farthest >= YEAR / 2 or not told.any():
        return np.zeros(day.size, bool)
    inside = np.zeros(day.size, bool)
    inside[used] = True
    angle = 2 * np.pi * (day - window.opens - window.length / 2) / YEAR
    return peaks_outside(
        np.cos(angle), np.sin(angle), control, inside, told, 2 * np.pi * farthest / YEAR, SPREAD, SURE, HEIGHT
    )


def _check(series: Series, site: Site, day: np.ndarray) -> None:
    back = np.flatnonzero(np.diff(day) <= 0)
    if back.size:
        at = date.fromordinal(int(day[back[0] + 1]) + date(1970, 1, 1).toordinal())
        msg = f"series of site {site.id!r}: {at} comes twice or out of order; give one row a date, ascending"
        raise BadData(msg)
    for name in ("cover", "control", "control_2", "clear", "reference"):
        values = getattr(series, name)
        if values is None:
            continue
        if values.shape != day.shape:
            msg = f"series of site {site.id!r}: {name} has {values.size} values for {day.size} dates"
            raise BadData(msg)
        with np.errstate(invalid="ignore"):
            wrong = np.flatnonzero((values < 0) | (values > 1))
        if wrong.size:
            at = date.fromordinal(int(day[wrong[0]]) + date(1970, 1, 1).toordinal())
            hint = "; it seems to be in percent: divide by 100" if 1.5 < values[wrong[0]] <= 100 else ""
            msg = f"series of site {site.id!r}, {at}: {name} is {values[wrong[0]]:g}, not a fraction 0..1{hint}"
            raise BadData(msg)
