"""Years and weeks of the film of a site, without the store, so that pages need not open one."""

from typing import Final, NamedTuple

from monitor.sites.growing_season import GrowingSeason
from monitor.sites.site import Site

WEEKS: Final = 50
"""Length of the part of the season shown, from its usual peak on, when the growth of the year is there. [day]"""


class FilmYear(NamedTuple):
    """One frame of the film."""

    scenes: int
    """Scenes of which it is the mean."""
    level: float
    """Measured difference: mean of the site less that of the control, less the same before the start. [1]"""


def peak_day(site: Site) -> int:
    """Day of the year from which the film of a site shows scenes."""
    window = GrowingSeason.of(site)
    return round(window.opens + window.peak - 1) % 365 + 1
