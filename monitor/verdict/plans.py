"""Plans and places of some sites as columns for the verdict: one entry a site."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monitor.errors import BadData
from monitor.sites.biomes import biome_of
from monitor.sites.growing_season import GrowingSeason
from monitor.sites.site import Site
from monitor.verdict.erosion import lowest_covers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plans:
    """Plans and places of sites, (site,) arrays unless stated. Days are counted from 1970-01-01."""

    sites: tuple[Site, ...]
    begun: np.ndarray  # (cohort,) day on which each cohort was started, site after site; ascending within a site
    share: np.ndarray  # (cohort,) share of the area of its site; 1 in all of a site [1]
    edge: np.ndarray  # (site + 1,) cohorts of site k are those from `edge[k]` up to `edge[k + 1]`
    start: np.ndarray  # day on which the first cohort was started
    most_begun: np.ndarray  # day by which work had started on at least half of the area
    uplift: np.ndarray  # promised uplift at maturity [cover fraction]
    rate: np.ndarray  # rate of approach [1/year]
    lag: np.ndarray  # lag before growth can be seen [year]
    promised: np.ndarray  # whether the plan promises uplift
    too_early: np.ndarray  # time after the start during which no failure is reported [year]
    hectares: np.ndarray  # area; 0: unknown [ha]
    erosion: np.ndarray  # whether the work is erosion control, with a promised uplift
    by_wind: np.ndarray  # whether the erosion is by wind: checkerboards, stated or usual in the biome
    lowest_cover: np.ndarray  # (site, 6) lowest field cover with each erosion grade, see `lowest_covers` [1]
    factor: np.ndarray
    """(site, 3) index cover per field cover: value, lower and upper end of its range; 1 where unknown. [1]"""
    opens: np.ndarray  # days from 1 January to the opening of the growing season [day]
    usual: np.ndarray  # (site, 3) length, peak and width of the usual season [day]

    @classmethod
    def of(cls, sites: Sequence[Site]) -> "Plans":
        """Columns of some sites; ``BadData`` names one whose cohorts do not ascend from its start or do not add up to
        1.
        """
        cohorts = [_cohorts(site) for site in sites]
        seasons = [GrowingSeason.of(site) for site in sites]
        plans = [site.plan for site in sites]
        promised = np.array([plan.A > 0 for plan in plans], bool)
        erosion = promised & np.array([site.intervention == "erosion_control" for site in sites], bool)
        by_wind = np.array([(s.subtype or biome_of(s).erosion_control) == "checkerboard" for s in sites], bool)
        slope = np.array([np.nan if site.slope_degrees is None else site.slope_degrees for site in sites], np.float64)
        return cls(
            sites=tuple(sites),
            begun=np.concatenate([np.empty(0, np.int64), *(begun for begun, _ in cohorts)]),
            share=np.concatenate([np.empty(0), *(share for _, share in cohorts)]),
            edge=np.cumsum([0, *(begun.size for begun, _ in cohorts)]),
            start=np.array([begun[0] for begun, _ in cohorts], np.int64),
            most_begun=np.array(
                [begun[np.searchsorted(np.cumsum(share), 0.5 - 1e-9)] for begun, share in cohorts], np.int64
            ),
            uplift=np.array([plan.index_A for plan in plans], np.float64),
            rate=np.array([plan.k for plan in plans], np.float64),
            lag=np.array([plan.L for plan in plans], np.float64),
            promised=promised,
            too_early=np.array([plan.too_early_years for plan in plans], np.float64),
            hectares=np.array([site.hectares for site in sites], np.float64),
            erosion=erosion,
            by_wind=by_wind,
            lowest_cover=np.where(erosion[:, None], lowest_covers(slope, by_wind), np.nan),
            factor=np.array([_factor(site) for site in sites], np.float64).reshape(-1, 3),
            opens=np.array([season.opens for season in seasons], np.int64),
            usual=np.array([[season.length, season.peak, season.width] for season in seasons]).reshape(-1, 3),
        )

    def expected(self, site: np.ndarray, day: np.ndarray) -> np.ndarray:
        """Uplift promised on some days to sites by their place, (n,) each, averaged over the area; 0 before the lag of
        the first cohort is over. [cover fraction]
        """
        total = np.zeros(day.size)
        for k in range(int(np.diff(self.edge).max(initial=0))):
            has = self.edge[site] + k < self.edge[site + 1]
            at = np.where(has, self.edge[site] + k, 0)
            years = np.maximum((day - self.begun[at]) / 365.25 - self.lag[site], 0.0)
            grown = self.uplift[site] * -np.expm1(-self.rate[site] * years) * self.share[at]
            total += np.where(has, grown, 0.0)
        return total

    def locate(self, site: np.ndarray, day: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Growing season of each entry and position in it, see :meth:`GrowingSeason.locate`; (n,) arrays."""
        season, position = np.zeros(day.size, np.int64), np.zeros(day.size, np.int64)
        opens = self.opens[site]
        for first in np.unique(opens).tolist():
            same = opens == first
            season[same], position[same] = GrowingSeason(first, 0, 0.0, 0.0).locate(day[same])
        return season, position

    @property
    def length(self) -> np.ndarray:
        """Length of the growing season. [day]"""
        return self.usual[:, 0]


def _factor(site: Site) -> tuple[float, float, float]:
    """Index cover per field cover in the biome of a site, and its range; 1 where unknown."""
    factor = biome_of(site).field_factor
    return (1.0, 1.0, 1.0) if factor is None else (factor.value, factor.low, factor.high)


def _cohorts(site: Site) -> tuple[np.ndarray, np.ndarray]:
    """Days on which the cohorts of a site were started, and their shares; one at its start where none are stated."""
    cohorts = site.cohorts or ((site.start, 1.0),)
    begun = np.array([day for day, _ in cohorts], "datetime64[D]").astype(np.int64)
    share = np.array([part for _, part in cohorts], np.float64)
    ascending = cohorts[0][0] == site.start and (np.diff(begun) > 0).all()
    if not ascending or not (share > 0).all() or abs(share.sum() - 1) > 1e-6:
        msg = (
            f"cohorts of site {site.id!r}: their days must ascend from its start, {site.start}, and their shares of "
            f"the area be above 0 and add up to 1; they are {[(str(day), part) for day, part in cohorts]}"
        )
        raise BadData(msg)
    return begun, share
