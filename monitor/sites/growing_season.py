"""The growing season of a site: the days of the year on which vegetation is compared, by biome and hemisphere.

A season is named by the year in which it opens. Days are counted from 1970-01-01.
"""

from datetime import date, timedelta
from typing import Final, NamedTuple

import numpy as np

from monitor.sites.biomes import biome_of
from monitor.sites.site import Site

HALF_YEAR: Final = 182  #: shift of the growing season south of the equator [day]


class GrowingSeason(NamedTuple):
    """Growing season of a site: when it opens, how long it lasts, and its usual shape."""

    opens: int  #: days from 1 January to the opening [day]
    length: int  #: duration [day]
    peak: float  #: usual day of the peak, 1 on the day of opening [day]
    width: float  #: usual standard deviation of the seasonal curve [day]

    @classmethod
    def of(cls, site: Site) -> "GrowingSeason":
        """Growing season of a site's biome; half a year later south of the equator, unless its days are local."""
        biome = biome_of(site)
        (first, last), (peak, width) = biome.season, biome.season_shape
        south = not site.geometry.is_empty and site.geometry.centroid.y < 0
        shift = HALF_YEAR if south and not biome.local_season else 0
        return cls(first - 1 + shift, last - first + 1, float(peak - first + 1), float(width))

    def locate(self, day: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Season of each of (n,) days from 1970-01-01, and position in it.

        Returns
        -------
        season : (n,) array of int
            Year in which the season last opened.
        position : (n,) array of int
            1 on the day of opening; above `length` after the season has ended. [day]
        """
        if not day.size:
            return day, day
        first, last = np.array([day.min(), day.max()]).astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64)
        years = np.arange(first - 1, last + 1)
        opened = years.astype("datetime64[Y]").astype("datetime64[D]").astype(np.int64) + self.opens
        at = np.searchsorted(opened, day, side="right") - 1
        return years[at] + 1970, day - opened[at] + 1

    def locate_date(self, day: date) -> tuple[int, int]:
        """Season of one date and position in it, see :meth:`locate`."""
        season, position = self.locate(np.array([day], "datetime64[D]").astype(np.int64))
        return int(season[0]), int(position[0])

    def count_days(self, after: date, until: date) -> int:
        """Number of days in a season after one date and up to another.

        Parameters
        ----------
        after, until : date
            The first is not counted, the last is.

        Returns
        -------
        int
        """
        first, last = (np.datetime64(day, "D").astype(np.int64) for day in (after, until))
        _, position = self.locate(np.arange(first + 1, last + 1))
        return int((position <= self.length).sum())

    def last_ended(self, day: date) -> tuple[int, date]:
        """The last season that had ended before a date, and the last day of that season."""
        season, position = self.locate_date(day)
        last = season - (position <= self.length)
        return last, self.days_of(last)[1]

    def days_of(self, season: int) -> tuple[date, date]:
        """First and last day of a season."""
        first = date(season, 1, 1) + timedelta(days=self.opens)
        return first, first + timedelta(days=self.length - 1)
