"""Which scenes of the series of some sites a verdict uses, and whether each control is greenest in its season."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from monitor.errors import BadData
from monitor.verdict.assessment import Series
from monitor.verdict.calibration import MAX_DAYS_OUTSIDE, WAVE_HEIGHT, WAVE_SCENES, WAVE_STANDARD_ERRORS, Calibration
from monitor.verdict.kernels.season import WaveTest, controls_so_far
from monitor.verdict.plans import Plans

MIN_WAVE_SCATTER: Final = 1e-9
"""Smallest determinant of the scatter of cosine and sine of the day of the year with which a yearly wave is fitted: a
quarter where days are even, less than this is rounding. [1]"""
SEASONLESS: Final = (0.07, 0.05, 0.12, 0.25)
"""A control lacks the season of its site where it is greener than the first on average, its season lower by the second
and by the third over the root of the scenes' sum of squares (four standard errors) [cover fraction], and lower than the
last as a share of that of the site [1]: theta of a site without uplift was .16 to .67 (simulated, season of the site .1
to .25)."""
_FAR: Final = 1 << 32
"""More than any day or year: site times this plus a day ascends over the sites."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UsableScenes:
    """Acquisitions of some sites that a verdict may use, site after site, ascending by day within a site.

    (n,) arrays of those on which site and control were seen and the site was clear enough, and (m,) arrays of those of
    them within the growing season. Days are counted from 1970-01-01.
    """

    edge: np.ndarray  # (site + 1,) the acquisitions of site k are those from `edge[k]` up to `edge[k + 1]`
    day: np.ndarray  # (n,)
    every: np.ndarray  # (n,) cover of the control [1]
    used: np.ndarray  # (m,) indices in `day` of those within the season, which the verdict uses
    used_edge: np.ndarray  # (site + 1,) as `edge`, of the used ones
    site: np.ndarray  # (m,) place of the site
    used_day: np.ndarray  # (m,)
    season: np.ndarray  # (m,) year in which the season opened
    position: np.ndarray  # (m,) day within the season, from 1
    cover: np.ndarray  # (m,) cover of the site [1]
    control: np.ndarray  # (m,) cover of the control [1]
    control_2: np.ndarray  # (m,) cover of the second ring; NaN: not seen [1]
    second: np.ndarray  # (m,) a second index, site minus control; NaN: not seen
    clear: np.ndarray  # (m,) clear share of the site [1]
    reference: np.ndarray  # (m,) cover of the reference ground; NaN: not seen [1]

    def count(self, site: np.ndarray, day: np.ndarray) -> np.ndarray:
        """Number of acquisitions of a site up to the end of a day, for (n,) entries of both."""
        every = np.repeat(np.arange(self.edge.size - 1), np.diff(self.edge)) * _FAR + self.day
        count: np.ndarray = np.searchsorted(every, site * _FAR + day, side="right") - self.edge[site]
        return count

    def last_used(self, site: np.ndarray, day: np.ndarray) -> np.ndarray:
        """Index of the last used one up to the end of a day, for (n,) entries; below ``used_edge[site]``: none."""
        last: np.ndarray = np.searchsorted(self.site * _FAR + self.used_day, site * _FAR + day, side="right") - 1
        return last

    def used_since_season(self, site: np.ndarray, season: np.ndarray) -> np.ndarray:
        """Index of the first used one of a site in a season or later, for (n,) entries."""
        first: np.ndarray = np.searchsorted(self.site * _FAR + self.season, site * _FAR + season)
        return first

    def first_since(self, start: np.ndarray) -> np.ndarray:
        """(site,) day of the first used one since a start; without one, of the last used one, or the start itself.

        A loss that it shows came before the work or with it: ground made ready.
        """
        sites = np.arange(start.size)
        first = np.minimum(self.last_used(sites, start - 1) + 1, self.used_edge[1:] - 1)
        some = np.diff(self.used_edge) > 0
        return np.where(some, self.used_day[np.where(some, first, 0)], start) if self.used_day.size else start


def usable_scenes(series: Series, plans: Plans, calibration: Calibration) -> UsableScenes:
    """Select the acquisitions of some sites that a verdict may use.

    Raises ``BadData``, which names the site and the date, where dates do not strictly ascend, lengths differ, or cover
    is outside 0 to 1.
    """
    day = series.dates.astype("datetime64[D]").astype(np.int64)
    of = np.repeat(np.arange(len(plans.sites)), np.diff(series.edges))
    _check(series, plans, of, day)
    nothing = np.full(day.size, np.nan)
    clear = np.ones(day.size) if series.clear is None else series.clear
    control_2, second, reference = (
        nothing if values is None else values for values in (series.control_2, series.second, series.reference)
    )
    accepted = np.isfinite(series.cover) & np.isfinite(series.control) & (clear >= calibration.clear)
    season, position = plans.locate(of, day)
    inside = accepted & (position <= plans.length[of])
    sites = np.arange(len(plans.sites) + 1)
    return UsableScenes(
        edge=np.searchsorted(of[accepted], sites), day=day[accepted], every=series.control[accepted],
        used=np.flatnonzero(inside[accepted]), used_edge=np.searchsorted(of[inside], sites), site=of[inside],
        used_day=day[inside], season=season[inside], position=position[inside], cover=series.cover[inside],
        control=series.control[inside], control_2=control_2[inside], second=second[inside], clear=clear[inside],
        reference=reference[inside],
    )  # fmt: skip


def control_shape(scenes: UsableScenes, plans: Plans, requested: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether each control is greenest outside the growing season, and its range, from the acquisitions so far.

    A yearly wave is fitted by least squares to all of them. It counts when its height exceeds its noise, when two
    standard errors of its peak do not reach :data:`MAX_DAYS_OUTSIDE` days from the season, and when scenes outside the
    season are greener on average: where winter is never seen a wave alone can be wrong.

    Both are (n,) arrays; `requested`, (n,) bool, says after which acquisitions they are wanted, and the first is False
    elsewhere. The range is in cover. [1]
    """
    inside = np.zeros(scenes.day.size, bool)
    inside[scenes.used] = True
    of = np.repeat(np.arange(len(plans.sites)), np.diff(scenes.edge))
    since = scenes.day - scenes.day[np.minimum(scenes.edge[of], scenes.day.size - 1)] if scenes.day.size else scenes.day
    enough = (np.arange(scenes.day.size) - scenes.edge[of] >= WAVE_SCENES[0] - 1) & (since >= WAVE_SCENES[1])
    farthest = plans.length / 2 + MAX_DAYS_OUTSIDE  # from the middle of the season
    requested = requested & enough & (farthest[of] < 365.25 / 2)
    angle = 2 * np.pi * (scenes.day - plans.opens[of] - plans.length[of] / 2) / 365.25
    test = WaveTest(0.0, MIN_WAVE_SCATTER, WAVE_STANDARD_ERRORS, WAVE_HEIGHT)
    outside, spread = controls_so_far(
        scenes.edge, np.cos(angle), np.sin(angle), scenes.every, inside, requested, 2 * np.pi * farthest / 365.25, test
    )  # fmt: skip
    return outside, spread


def lacks_season(scenes: UsableScenes, plans: Plans) -> np.ndarray:
    """Whether the control of each site hardly has a season before the start, while the site has one, (site,) bool.

    Amplitudes are slopes of cover on the usual season of the biome.
    """
    before = scenes.used_day < plans.start[scenes.site]
    of, sites = scenes.site[before], len(plans.sites)
    usual = np.exp(-0.5 * ((scenes.position[before] - plans.usual[of, 1]) / plans.usual[of, 2]) ** 2)

    def mean(values: np.ndarray) -> np.ndarray:
        means: np.ndarray = np.bincount(of, values, sites) / np.maximum(np.bincount(of, minlength=sites), 1)
        return means

    season = usual - mean(usual)[of]
    spread = np.maximum(mean(season**2), 1e-9)
    own, control = (mean(season * cover[before]) / spread for cover in (scenes.cover, scenes.control))
    green, lower, doubt, share = SEASONLESS
    lower = np.maximum(lower, doubt / np.sqrt(np.maximum(np.bincount(of, minlength=sites), 1) * spread))
    lacks: np.ndarray = (mean(scenes.control[before]) > green) & (own - control > lower) & (control < share * own)
    return lacks


def _check(series: Series, plans: Plans, of: np.ndarray, day: np.ndarray) -> None:
    def name(at: int) -> str:
        return f"series of site {plans.sites[of[at]].id!r}"

    back = np.flatnonzero((np.diff(day) <= 0) & (np.diff(of) == 0))
    if back.size:
        at = day[back[0] + 1].astype("datetime64[D]")
        msg = f"{name(back[0])}: {at} is repeated or out of order; give one row a date, ascending"
        raise BadData(msg)
    for column in ("cover", "control", "control_2", "clear", "reference"):
        if (values := getattr(series, column)) is None:
            continue
        if values.shape != day.shape:
            msg = f"{name(0) if of.size else 'series'}: {column} has {values.size} values for {day.size} dates"
            raise BadData(msg)
        with np.errstate(invalid="ignore"):
            wrong = np.flatnonzero((values < 0) | (values > 1))
        if wrong.size:
            at = day[wrong[0]].astype("datetime64[D]")
            hint = "; it seems to be in percent: divide by 100" if 1.5 < values[wrong[0]] <= 100 else ""
            msg = f"{name(wrong[0])}, {at}: {column} is {values[wrong[0]]:g}, not a fraction 0..1{hint}"
            raise BadData(msg)
