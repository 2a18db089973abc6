"""Rain of a growing season against its normal, and the reason of a verdict that follows from it."""

from datetime import date, timedelta
from typing import Final, NamedTuple

import numpy as np

from monitor.imagery.auxiliary.rainfall import DailyRain
from monitor.sites.growing_season import GrowingSeason
from monitor.sites.site import Site
from monitor.verdict.reasons import Reason

DRY_SEASON_Z: Final = -1.0  # a season below this is dry [standard deviation]
NORMAL_YEARS: Final = 15
"""Years of rain before the start that are requested for the normal. [year]"""
MIN_NORMAL_YEARS: Final = 10
"""Fewest earlier years from which a normal is computed. [year]"""
MIN_SEASON_DAYS: Final = 60
"""In the first days of a season, up to this one, the season before is compared instead. [day]"""
MIN_SHARE_ARRIVED: Final = 2 / 3
"""Least share of the season to date that the product must cover: CHIRPS is three weeks late. [1]"""


class SeasonAnomaly(NamedTuple):
    """Rain of a season against the same days of the years before the work began."""

    season: int  # year in which the season opened
    days: int  # days compared, from the opening of the season [day]
    total: float | None  # rain of these days; None: too few days are known [mm]
    normal: float | None  # mean rain of the same days in earlier years; None: too few years are known [mm]
    z: float | None  # difference of total and normal in standard deviations of the earlier years; None: unknown [1]
    years: int  # number of earlier years compared

    @property
    def reason(self) -> Reason | None:
        """Reason that it adds to a verdict: ``RAIN_UNKNOWN``, ``RAIN_LOW``, or none."""
        if self.z is None:
            return Reason.RAIN_UNKNOWN
        return Reason.RAIN_LOW if self.z < DRY_SEASON_Z else None


def first_rain_day(site: Site) -> date:
    """First day whose rain is needed to judge the seasons of a site."""
    return date(site.start.year - NORMAL_YEARS, 1, 1)


def rain_reason(rain: DailyRain | None, site: Site, *, as_of: date) -> Reason | None:
    """Reason that the rain of the season adds to a verdict; `rain` None: unknown, later than `as_of`: not read."""
    if rain is None:
        return Reason.RAIN_UNKNOWN
    return season_anomaly(rain, GrowingSeason.of(site), start=site.start, as_of=as_of).reason


def season_anomaly(rain: DailyRain, season: GrowingSeason, *, start: date, as_of: date) -> SeasonAnomaly:
    """Compare the rain of a season to date with the same days of the years before the work began.

    The season is that of `as_of`, or the last one; in its first :data:`MIN_SEASON_DAYS` days, when little rain means
    little, the season before. Only seasons that ended before `start`, the first day of the work, count as normal. Sums
    are compared without transformation. Where rain is scarce their distribution is skewed, so that droughts are
    reported rather too seldom.
    """
    year, position = season.locate_date(as_of)
    days = min(position, season.length)
    if days < min(MIN_SEASON_DAYS, season.length):
        year, days = year - 1, season.length
    opening = _opening(year, season)
    arrived = min(days, (min(rain.last, as_of) - opening).days + 1)
    if arrived < MIN_SHARE_ARRIVED * days:
        return SeasonAnomaly(season=year, days=days, total=None, normal=None, z=None, years=0)
    total = rain.total(opening, arrived)
    before = [
        rain.total(_opening(earlier, season), arrived)
        for earlier in range(rain.first.year - 1, year)
        if _opening(earlier, season) + timedelta(days=season.length) <= start
    ]
    known = np.array([value for value in before if value is not None])
    enough = known.size >= MIN_NORMAL_YEARS
    spread = float(known.std(ddof=1)) if enough else 0.0
    return SeasonAnomaly(
        season=year, days=arrived, total=total, normal=float(known.mean()) if enough else None,
        z=None if total is None or not spread > 0 else (total - float(known.mean())) / spread, years=int(known.size),
    )  # fmt: skip


def _opening(year: int, season: GrowingSeason) -> date:
    return date(year, 1, 1) + timedelta(days=season.opens)
