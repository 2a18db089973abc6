"""Which scenes of a series a verdict uses, and whether the control is greenest in the growing season at all."""

from typing import Final, NamedTuple

import numpy as np

from monitor.errors import BadData
from monitor.sites.growing_season import GrowingSeason
from monitor.sites.site import Site
from monitor.verdict.assessment import Series
from monitor.verdict.calibration import MAX_DAYS_OUTSIDE, WAVE_HEIGHT, WAVE_SCENES, WAVE_STANDARD_ERRORS, Calibration
from monitor.verdict.kernels.season import WaveTest, peaks_outside

MIN_WAVE_SCATTER: Final = 1e-9
"""Smallest determinant of the scatter of cosine and sine of the day of the year with which a yearly wave is fitted: a
quarter where days are even, less than this is rounding. [1]"""


class UsableScenes(NamedTuple):
    """Accepted acquisitions of a site, (n,) arrays ascending by day, and those within the growing season, (m,)."""

    day: np.ndarray  # (n,) days from 1970-01-01 on which site and control were seen and the site was clear enough
    every: np.ndarray  # (n,) cover of the control [1]
    used: np.ndarray  # (m,) indices in `day` of those within the season, which the verdict uses
    season: np.ndarray  # (m,) year in which the season opened
    position: np.ndarray  # (m,) day within the season, from 1
    cover: np.ndarray  # (m,) cover of the site [1]
    control: np.ndarray  # (m,) cover of the control [1]
    control_2: np.ndarray  # (m,) cover of the second ring; NaN where not seen [1]
    second: np.ndarray  # (m,) a second index, site minus control; NaN where not seen
    clear: np.ndarray  # (m,) clear share of the site [1]
    reference: np.ndarray  # (m,) cover of the reference ground; NaN where not seen [1]

    def first_since(self, start: int) -> int:
        """Day of the first used scene since a start; without one, of the last used scene, or the start itself.

        A loss that it shows came before the work or with it: ground made ready.
        """
        day = self.day[self.used]
        return int(day[min(int(np.searchsorted(day, start)), day.size - 1)]) if day.size else start


def usable_scenes(series: Series, site: Site, calibration: Calibration) -> UsableScenes:
    """Select the accepted acquisitions of a series.

    Parameters
    ----------
    series : Series
    site : Site, gives the growing season; named in errors
    calibration : Calibration, gives the least clear share

    Raises
    ------
    BadData
        Dates not strictly ascending, lengths that differ, or cover outside 0 to 1; names the site and the date.
    """
    day = series.dates.astype("datetime64[D]").astype(np.int64)
    _check(series, site, day)
    clear = np.ones(day.size) if series.clear is None else series.clear
    accepted = np.isfinite(series.cover) & np.isfinite(series.control) & (clear >= calibration.clear)
    growing = GrowingSeason.of(site)
    season, position = growing.locate(day)
    inside = accepted & (position <= growing.length)
    control_2, second, reference = (
        np.full(day.size, np.nan) if values is None else values
        for values in (series.control_2, series.second, series.reference)
    )
    measures = (season, position, series.cover, series.control, control_2, second, clear, reference)
    return UsableScenes(
        day[accepted], series.control[accepted], np.flatnonzero(inside[accepted]), *(m[inside] for m in measures)
    )


def greenest_outside(
    day: np.ndarray, control: np.ndarray, used: np.ndarray, growing: GrowingSeason, requested: np.ndarray | None = None
) -> np.ndarray:
    """Whether the control is greenest outside the growing season, judged after each scene from the scenes so far.

    A yearly wave is fitted by least squares to all scenes so far. It counts when its height exceeds its noise, when two
    standard errors of its peak do not reach :data:`MAX_DAYS_OUTSIDE` days from the season, and when scenes outside the
    season are greener on average: where winter is never seen a wave alone can be wrong.

    Parameters
    ----------
    day : (n,) array of int, days from 1970-01-01, ascending
    control : (n,) array, cover of the control [1]
    used : array of int, indices of the days within the season
    growing : GrowingSeason
    requested : (n,) bool array, optional
        Scenes after which the answer is requested. Default: all.

    Returns
    -------
    (n,) bool array
        False where it is not requested.
    """
    farthest = growing.length / 2 + MAX_DAYS_OUTSIDE  # from the middle of the season
    enough = (np.arange(day.size) >= WAVE_SCENES[0] - 1) & (day - day[:1] >= WAVE_SCENES[1])
    if requested is not None:
        enough &= requested
    if farthest >= 365.25 / 2 or not enough.any():
        return np.zeros(day.size, bool)
    inside = np.zeros(day.size, bool)
    inside[used] = True
    angle = 2 * np.pi * (day - growing.opens - growing.length / 2) / 365.25
    test = WaveTest(2 * np.pi * farthest / 365.25, MIN_WAVE_SCATTER, WAVE_STANDARD_ERRORS, WAVE_HEIGHT)
    return peaks_outside(np.cos(angle), np.sin(angle), control, inside, enough, test)


def _check(series: Series, site: Site, day: np.ndarray) -> None:
    back = np.flatnonzero(np.diff(day) <= 0)
    if back.size:
        at = day[back[0] + 1].astype("datetime64[D]")
        msg = f"series of site {site.id!r}: {at} is repeated or out of order; give one row a date, ascending"
        raise BadData(msg)
    for name in ("cover", "control", "control_2", "clear", "reference"):
        if (values := getattr(series, name)) is None:
            continue
        if values.shape != day.shape:
            msg = f"series of site {site.id!r}: {name} has {values.size} values for {day.size} dates"
            raise BadData(msg)
        with np.errstate(invalid="ignore"):
            wrong = np.flatnonzero((values < 0) | (values > 1))
        if wrong.size:
            at = day[wrong[0]].astype("datetime64[D]")
            hint = "; it seems to be in percent: divide by 100" if 1.5 < values[wrong[0]] <= 100 else ""
            msg = f"series of site {site.id!r}, {at}: {name} is {values[wrong[0]]:g}, not a fraction 0..1{hint}"
            raise BadData(msg)
