"""The measured difference: how a site stands against its control, without a model of season, rain or growth.

In each scene since the start, site minus control is compared with its mean in the same weeks of the years before the
start. The mean of a season, with its standard error, is published beside the modelled uplift and vetoes what it
contradicts. Without years before the start it is unknown, and nothing is vetoed by it.

Sums are of whole billionths, so that a site judged alone and with its landscape agrees to the last bit.
"""

from typing import Final, NamedTuple

import numpy as np

from monitor.verdict.kernels.constants import SEASON_SCENES
from monitor.verdict.kernels.history import SiteHistory
from monitor.verdict.plans import Plans
from monitor.verdict.usable_scenes import UsableScenes

SAME_WEEKS: Final = 15
"""Largest distance from the same day of the season at which scenes are of the same weeks. [day]"""
SEASON_SD: Final = 0.02
"""Usual standard deviation of the difference from year to year, weighted as two years of the site. [cover fraction]"""
SCENE_SD: Final = 0.03  # standard deviation of one scene [cover fraction]
BELOW: Final = 0.05
"""A season this far below the years before the start speaks against growth. [cover fraction]"""
DECLINED: Final = 1.28
"""Standard errors by which two seasons must be lower than that: each is then sure to nine tenths."""
FALL: Final = 0.03
"""How far the season to date must be below the years before the start for a red loss where nothing is promised. With a
promise the growth since the start hides a loss from this comparison: of simulated ones three in ten would stay red.
[cover fraction]"""
CONTRADICTS: Final = 2.0
"""Standard errors of the two from which model and measurement contradict each other, beside :data:`BELOW`."""
_UNIT: Final = 1e-9  # of all sums [cover fraction]
_SITE: Final = 1 << 32  # more than any season or position


class Measured(NamedTuple):
    """Measured differences of (n,) entries; the first seven are columns of a verdict. [cover fraction]"""

    measured: np.ndarray
    """Mean of this season to date; NaN with fewer than three scenes, or without years before the start."""
    measured_se: np.ndarray
    measured_season: np.ndarray
    """Mean of the last season that has ended; NaN as `measured`."""
    measured_season_se: np.ndarray
    contradiction: np.ndarray
    """Whether model and measurement of the last season that has ended contradict each other."""
    loss_from: np.ndarray
    """Mean of the year before the last sudden loss; NaN without a loss, with fewer than three scenes, or without years
    before the start."""
    loss_to: np.ndarray
    """Mean since that loss; NaN as `loss_from`."""
    higher: np.ndarray
    """Whether the measurement is the higher one."""
    above: np.ndarray
    """Surely above half of what the plan expected: vetoes failure."""
    below: np.ndarray
    """The last season that has ended is well below the years before the start: vetoes ``on_track``."""
    declined: np.ndarray
    """Nothing is promised, and two seasons in a row are surely well below the years before the start."""
    not_lost: np.ndarray
    """Vetoes a red loss, if there is one: the scenes since then are above half of what the plan expected; where nothing
    is promised, the season to date is not below the years before the start."""


class Differences:
    """Measured differences of the used scenes of some sites, as sums."""

    def __init__(self, scenes: UsableScenes, history: SiteHistory, plans: Plans) -> None:
        site, difference = scenes.site, np.round((scenes.cover - scenes.control) / _UNIT).astype(np.int64)
        before = scenes.used_day < plans.start[site]
        of_year = site * _SITE + scenes.position
        order = np.flatnonzero(before)[np.argsort(of_year[before], kind="stable")]
        first = np.searchsorted(of_year[order], of_year - SAME_WEEKS)
        end = np.searchsorted(of_year[order], of_year + SAME_WEEKS, side="right")
        total, n = _sums(difference[order]), end - first
        own = difference - np.round((total[end] - total[first]) / np.maximum(n, 1)).astype(np.int64)
        known = ~before & (n > 0)
        self.count, self.total = _sums(known), _sums(np.where(known, own, 0))
        of_season = site * _SITE + scenes.season
        nth = np.arange(site.size) - np.searchsorted(of_season, of_season)
        to_date = history.mu * (nth + 1)
        mu = to_date - np.where(nth > 0, np.roll(to_date, 1), 0.0)
        promised = np.where(plans.promised[site], plans.expected(site, scenes.used_day), 1.0)
        self.expected, self.at_peak = (
            _sums(np.where(known, np.round(values / _UNIT).astype(np.int64), 0)) for values in (promised * mu, promised)
        )
        seasons, of = np.unique(of_season, return_inverse=True)
        scenes_before = np.bincount(of[before], minlength=seasons.size)
        seen = scenes_before >= SEASON_SCENES
        mean = np.bincount(of[before], own[before], seasons.size)[seen] / scenes_before[seen] * _UNIT
        place = (seasons // _SITE)[seen]
        by_season = zip(place.tolist(), (seasons % _SITE)[seen].tolist(), strict=True)
        self.seasons_before = dict(zip(by_season, mean.tolist(), strict=True))  # before the start, by site and year
        years = np.bincount(place, minlength=len(plans.sites))
        centre = np.bincount(place, mean, years.size) / np.maximum(years, 1)
        squares = np.bincount(place, (mean - centre[place]) ** 2, years.size)
        variance = (squares + 2 * SEASON_SD**2) / (np.maximum(years - 1, 0) + 2) * (1 + 1 / np.maximum(years, 1))
        self.season_sd = np.where(years > 0, np.sqrt(variance), np.nan)

    def mean(self, site: np.ndarray, first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, ...]:
        """Mean of the scenes from one index to another and its standard error; the uplift promised for these scenes in
        the control's season, and all the year round. Where nothing is promised, the latter are those of an uplift of 1.
        """
        end = np.maximum(last + 1, first)
        n = self.count[end] - self.count[first]
        known, n = (n >= SEASON_SCENES) & np.isfinite(self.season_sd[site]), np.maximum(n, 1)
        se = np.sqrt(self.season_sd[site] ** 2 + SCENE_SD**2 / n)
        sums = (self.total, self.expected, self.at_peak)
        mean, expected, at_peak = ((total[end] - total[first]) / n * _UNIT for total in sums)
        return np.where(known, mean, np.nan), np.where(known, se, np.nan), expected, at_peak


def measure(site: np.ndarray, day: np.ndarray, scenes: UsableScenes, history: SiteHistory, plans: Plans) -> Measured:
    """Measured differences of some sites on some days.

    `site` and `day` are (n,): the place of the site of each entry, and the day, from 1970-01-01.
    """
    sums = Differences(scenes, history, plans)
    promised, first = plans.promised[site], scenes.used_edge[site]
    season, position = plans.locate(site, day)
    last = scenes.last_used(site, day)
    ended = season - (position <= plans.length[site])

    def of_season(which: np.ndarray, until: np.ndarray) -> tuple[np.ndarray, ...]:
        return sums.mean(site, scenes.used_since_season(site, which), until)

    def at(values: np.ndarray, index: np.ndarray) -> np.ndarray:
        return values[np.clip(index, 0, values.size - 1)] if values.size else np.zeros(index.size)

    now, now_se, *_ = of_season(season, last)
    end = scenes.used_since_season(site, ended + 1) - 1
    full, full_se, expected, at_peak = of_season(ended, end)
    earlier, earlier_se, *_ = of_season(ended - 1, scenes.used_since_season(site, ended) - 1)
    estimates = at(history.mean, end) * np.stack([expected, np.where(promised, at_peak, expected)])
    apart = full - np.clip(full, estimates.min(axis=0), estimates.max(axis=0))
    contradiction = np.abs(apart) > np.maximum(BELOW, CONTRADICTS * np.hypot(full_se, at(history.sd, end) * expected))
    lost_on = at(history.loss_first, last)
    lost = (last >= first) & (lost_on >= 0)
    since, year_before = (scenes.last_used(site, lost_on - days) + 1 for days in (1, 366))
    grown, stands = (at(vetoes, last) for vetoes in _vetoes(sums, scenes, history, plans))
    loss_from, loss_to = sums.mean(site, year_before, since - 1)[0], sums.mean(site, since, last)[0]
    return Measured(
        now, now_se, full, full_se, contradiction,
        np.where(lost, loss_from, np.nan), np.where(lost, loss_to, np.nan), apart > 0, grown > 0,
        full < -np.maximum(BELOW, full_se),
        ~promised & (full + DECLINED * full_se < -BELOW) & (earlier + DECLINED * earlier_se < -BELOW),
        stands > 0,
    )  # fmt: skip


def _vetoes(
    sums: Differences, scenes: UsableScenes, history: SiteHistory, plans: Plans
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """(m,) whether the measurement vetoes failure after each scene; and a red alert by the last loss, if there is one.

    Failure: the season to a late scene is surely above half of what the plan expected, until one is not above that half
    at all. Loss: so are the scenes since then; where nothing is promised, the season to date is not below the years
    before the start, and once it was, is not so late in a season, since a loss shows little in spring. A veto that came
    and went would alarm twice.
    """
    of, every, promised = scenes.site, np.arange(scenes.site.size), plans.promised[scenes.site]
    late = history.late_scene == every - scenes.used_edge[of]

    def holds(veto: np.ndarray, ends: np.ndarray, since: np.ndarray) -> np.ndarray:
        vetoed, ended = (np.maximum.accumulate(np.where(here, every, -1)) for here in (veto, ends))
        held: np.ndarray = (vetoed >= since) & (vetoed > ended)
        return held

    now, se, expected, _ = sums.mean(of, scenes.used_since_season(of, scenes.season), every)
    grown = holds(late & (now - se > 0.5 * expected), late & (now <= 0.5 * expected), scenes.used_edge[of])
    lost, since = history.loss_first >= 0, scenes.last_used(of, history.loss_first - 1) + 1
    left, se, expected, _ = sums.mean(of, since, every)
    fallen = lost & np.where(promised, left <= 0.5 * expected, now < -FALL)
    not_yet = np.maximum.accumulate(np.where(fallen, every, -1)) < since
    stands = np.where(promised, left - se > 0.5 * expected, (now >= -FALL) & (late | not_yet))
    return grown, holds(lost & stands, fallen, since)


def _sums(values: np.ndarray) -> np.ndarray:
    """(n + 1,) sum of the values before each."""
    return np.concatenate([[0], np.cumsum(values, dtype=np.int64)])
