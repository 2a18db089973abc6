"""Can a site be seen? The chances that a failure of it would be told, by its plan, its ground and its scenes.

Told when a site is registered, from stated assumptions, and on its page, from the scenes that there are. Sites that are
much alike share one simulation: two thousand of them take as long as some dozens.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import lru_cache
from typing import Any, Final

import numpy as np
from dask import compute, delayed
from shapely.geometry import Point

from monitor.publish.view import DetectionAssumptions, DetectionChance
from monitor.series.columns import Columns, decode_texts
from monitor.sites.geometry import TEN_PIXELS_HECTARES
from monitor.sites.growing_season import GrowingSeason
from monitor.sites.site import Plan, Site
from monitor.verdict.assess import DEFAULT
from monitor.verdict.calibration import Calibration
from monitor.verdict.detectability import Sight, in_words, power

PASSES: Final = 5
"""Days from one pass of Sentinel-2 to the next. [day]"""
CLEAR: Final = {"karst": 0.25, "southwest_mountain": 0.25}
"""Share of passes in which a site is seen, assumed where there are no scenes yet (design defaults, 2026-11). [1]"""
CLEAR_ELSEWHERE: Final = 0.45
COVER: Final = {
    "desert_steppe": 0.2, "sandy": 0.2, "hexi": 0.2, "loess": 0.4, "steppe": 0.4, "north_mountain": 0.4, "alpine": 0.4,
    "karst": 0.6, "southwest_mountain": 0.6,
}  # fmt: skip
"""Cover at the height of the season, assumed likewise. [1]"""
SEASONS: Final = 4
"""Seasons before the start, beyond which more change little."""
SCENES: Final = (2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0)
"""Clear scenes a season: the next lower of these counts."""
FEWEST: Final = 3
"""Scenes from which on a season counts as seen."""
MONTH: Final = 365.25 / 12
"""[day]"""
BLIND: Final = {
    "small": (
        "It will get no verdict: it holds fewer than ten pixels of 10 m. Join it with neighbours of the same start and "
        "kind.",
        "不会作出判断：地块不足十个 10 米像元。请与开工时间和措施相同的相邻地块合并。",
    ),
    "ground": (
        "New scenes bring no verdict: fewer than ten pieces of ground can be compared with it. Name ground on which "
        "nothing is restored ([registry] controls); once the outline is edited it is chosen again.",
        "新的影像不会带来判断：可供对比的地块不足十块。"
        "请指定未实施修复的对照地块（[registry] controls）；修改边界后将重新选取。",
    ),
}  # fmt: skip
"""What is said in place of chances where there can be no verdict."""
LARGE: Final = 16.0
"""Area from which on the noise of pixels is no matter. [ha]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """What the chances of a site depend on, in steps coarse enough that sites share them."""

    plan: Plan
    biome: str
    south: bool
    """Of the equator."""
    month: int
    """Of the start: 1, 4, 7 or 10."""
    hectares: float
    parts: tuple[tuple[int, float], ...]
    """Cohorts: months from the start, share of the area; empty: begun at once."""
    before: int
    """Seasons with scenes before the start."""
    scenes: float
    """Clear scenes a season."""
    control: float
    """Cover of the control ground at the height of the season. [1]"""
    alpha: float
    constants: Calibration
    unseen: bool = field(default=False, compare=False)
    """Whether scenes, seasons and cover are assumed: no season of the site has been seen yet."""
    blind: str = field(default="", compare=False)
    """Why there can be no verdict, of :data:`BLIND`; empty: there can."""

    @classmethod
    def assumed(cls, site: Site, *, since: date, alpha: float, constants: Calibration = DEFAULT) -> "Prospect":
        """Of a site of which there are no scenes yet, with imagery from a day on."""
        window = GrowingSeason.of(site)
        season, position = window.locate_date(since)
        whole = season + (position > 1)  # the first season of which all can be had
        passes = window.length / PASSES
        return cls._of(
            site, before=_first_not_before(site) - whole, scenes=passes * CLEAR.get(site.biome, CLEAR_ELSEWHERE),
            control=COVER[site.biome], alpha=alpha, constants=constants, unseen=True,
            blind="small" if site.hectares < TEN_PIXELS_HECTARES else "",
        )  # fmt: skip

    @classmethod
    def seen(
        cls, site: Site, observed: Columns, *, as_of: date, since: date, alpha: float, constants: Calibration,
    ) -> "Prospect":  # fmt: skip
        """Of a site with observations; until a season of them is over all is assumed.

        Parameters
        ----------
        site : Site
        observed : mapping
            ``date``, ``accepted``, ``control_cover`` and ``reason`` of its observations.
        as_of : date
            Seasons that are over by then are counted, those without a scene too; where there are any after the start,
            they say how often the site is seen.
        since, alpha, constants
            As for :meth:`assumed`.
        """
        window = GrowingSeason.of(site)
        used = np.array(observed["accepted"], bool) & np.isfinite(np.array(observed["control_cover"], np.float64))
        day = observed["date"][used].astype(np.int64)
        season, position = window.locate(day)
        inside = position <= window.length
        years = np.arange(season[inside].min(initial=9999), window.last_ended(as_of)[0] + 1)
        why = set(decode_texts(observed["reason"]))
        blind = "small" if "FEW_PIXELS" in why else "ground" if why & {"CONTROL_POOR", "CONTROL_FEW"} else ""
        if not years.size:
            found = cls.assumed(site, since=since, alpha=alpha, constants=constants)
            return replace(found, blind=blind or found.blind)
        count = (season[inside][:, None] == years).sum(axis=0)
        cover = np.array(observed["control_cover"], np.float64)[used][inside]
        early = years < _first_not_before(site)
        return cls._of(
            site, before=int((count[early] >= FEWEST).sum()),
            scenes=float(np.median(count if early.all() else count[~early])),
            control=float(np.quantile(cover, 0.9)), alpha=alpha, constants=constants, blind=blind,
        )  # fmt: skip

    @classmethod
    def _of(
        cls, site: Site, *, before: int, scenes: float, control: float, alpha: float, constants: Calibration,
        unseen: bool = False, blind: str = "",
    ) -> "Prospect":  # fmt: skip
        return cls(
            plan=site.plan, biome=site.biome, south=site.geometry.centroid.y < 0,
            month=(site.start.month - 1) // 3 * 3 + 1,
            hectares=min(2.0 ** round(math.log2(max(site.hectares, 0.0625))), LARGE),
            parts=_by_month(site),
            before=min(max(before, 0), SEASONS), scenes=max((n for n in SCENES if n <= scenes), default=SCENES[0]),
            control=max(round(control, 1), 0.1), alpha=alpha, constants=constants,
            unseen=unseen, blind=blind,
        )  # fmt: skip

    @property
    def key(self) -> str:
        """Short, for the ledger."""
        plan = self.plan
        return "/".join(
            map(str, (plan.A, plan.k, plan.L, plan.too_early_years, self.biome, self.south, self.month, self.hectares,
                      self.parts, self.before, self.scenes, self.control, self.alpha, self.constants.hash[:16],
                      *(["assumed"] if self.unseen else []), *([self.blind] if self.blind else [])))
        )  # fmt: skip


def _by_month(site: Site) -> tuple[tuple[int, float], ...]:
    shares: dict[int, float] = {}
    for begun, share in site.cohorts:
        months = round((begun - site.start).days / MONTH)
        shares[months] = shares.get(months, 0.0) + share
    return tuple(shares.items()) if len(shares) > 1 else ()


def _first_not_before(site: Site) -> int:
    """The first growing season that was not over at the start."""
    window = GrowingSeason.of(site)
    season, position = window.locate_date(site.start)
    return season + (position > window.length)


@lru_cache(maxsize=4096)
def _simulated(prospect: Prospect) -> tuple[Sight, ...]:
    start = date(2021, prospect.month + 1, 15)
    site = Site(
        id="", name="", geometry=Point(0, -1 if prospect.south else 1), start=start, intervention="",
        biome=prospect.biome, plan=prospect.plan, hectares=prospect.hectares,
        cohorts=tuple((start + timedelta(days=round(MONTH * months)), share) for months, share in prospect.parts),
    )  # fmt: skip
    return power(
        site, seasons_before=prospect.before, scenes_a_year=prospect.scenes, control=prospect.control,
        alpha=prospect.alpha, calibration=prospect.constants,
    )  # fmt: skip


def sights(prospect: Prospect, start: date) -> tuple[Sight, ...]:
    """Chances by year after a start."""
    return tuple(
        replace(one, until=(start + timedelta(days=int(365.25 * one.year) - 1)).year) for one in _simulated(prospect)
    )


def simulate(prospects: Sequence[Prospect]) -> None:
    """Have the chances of many sites ready, each kind simulated once, on all cores."""
    some = dict.fromkeys(one for one in prospects if not one.blind)
    compute(*(delayed(_simulated, pure=False)(one) for one in some), scheduler="threads")


def to_json(prospect: Prospect, start: date) -> dict[str, Any]:
    """Chances of a site as plain values: for the ledger, and for ``sites add --json``."""
    found = () if prospect.blind else sights(prospect, start)
    said = BLIND.get(prospect.blind) or [in_words(found, language=language) for language in ("en", "zh")]
    return {
        "made_from": prospect.key,
        "seasons_before": prospect.before,
        "scenes_a_year": prospect.scenes,
        "assumed": prospect.unseen,
        "years": [one.year for one in found],
        "until": [one.until for one in found],
        "red": [one.red for one in found],
        "watch": [one.watch for one in found],
        "said": dict(zip(("en", "zh"), said, strict=True)),
    }


def chances(stored: Mapping[str, Any] | None) -> tuple[DetectionChance, ...]:
    """Chances that :func:`to_json` wrote, as the page shows them."""
    if stored is None:
        return ()
    return tuple(
        DetectionChance(years=years, red=red, watch=watch)
        for years, red, watch in zip(stored["years"], stored["red"], stored["watch"], strict=True)
    )


def assumptions(stored: Mapping[str, Any] | None) -> DetectionAssumptions | None:
    """What the chances that :func:`to_json` wrote assume; None where they are told from scenes."""
    if stored is None or not stored.get("assumed"):
        return None
    return DetectionAssumptions(scenes=stored["scenes_a_year"], before=stored["seasons_before"])
