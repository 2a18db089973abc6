"""Conditions on which the detectability of a site depends: its plan, its place, and how often it is seen.

Similar sites share one simulation, so the conditions are rounded to coarse steps.
"""

import math
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import lru_cache
from typing import Any, Final

import numpy as np
from shapely.geometry import Point

from monitor.series.columns import Columns, decode_texts
from monitor.sites.biomes import biome_of
from monitor.sites.geometry import TEN_PIXELS_HECTARES
from monitor.sites.growing_season import GrowingSeason
from monitor.sites.site import Biome, Plan, Site
from monitor.verdict.assess import DEFAULT
from monitor.verdict.calibration import Calibration
from monitor.verdict.detectability import MORE_SCENES, STRIP_DRIFT, STRIP_SCENE, Detectability, detectability, in_words

REVISIT_DAYS: Final = 5  # revisit time of Sentinel-2 [day]
MAX_SEASONS_BEFORE: Final = 4
"""Seasons before the start above which more of them change little."""
SCENE_STEPS: Final = (2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0)
"""Steps of the number of clear scenes a season: the next lower one is used."""
SEEN_SCENES: Final = 3  # scenes from which a season counts as seen
MONTH_DAYS: Final = 365.25 / 12  # mean length of a month [day]
MAX_HECTARES: Final = 16.0  # area above which pixel noise no longer matters [ha]
NO_VERDICT: Final = {
    "small": (
        "It will get no verdict: it holds fewer than ten pixels of 10 m. Join it with neighbours of the same start and "
        "kind.",
        "不会作出判断：地块不足十个 10 米像元。请与开工时间和措施相同的相邻地块合并。",
    ),
    "ground": (
        "New scenes bring no verdict: fewer than ten control units can be compared with it. Name control ground where "
        "nothing is restored ([registry] controls); control ground is selected again after the outline is edited.",
        "新的影像不会带来判断：可供对比的地块不足十块。"
        "请指定未实施修复的对照地块（[registry] controls）；修改边界后将重新选取。",
    ),
}  # fmt: skip
"""(English, Chinese) explanation for sites that cannot get a verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteConditions:
    """Plan, place and observation frequency of a site, rounded so that similar sites share one simulation."""

    plan: Plan
    biome: str
    own_biome: Biome | None = None
    """Definition of an own biome; None: the built-in one."""
    south: bool
    """South of the equator."""
    month: int
    """First month of the quarter of the start: 1, 4, 7 or 10."""
    hectares: float
    """Area, rounded to a power of two. [ha]"""
    parts: tuple[tuple[int, float], ...]
    """Cohorts as (months from the start, share of the area); empty: started at once."""
    before: int
    """Seasons with scenes before the start."""
    scenes: float
    """Clear scenes a season."""
    control: float
    """Cover of the control ground at the peak of the season. [1]"""
    alpha: float
    """False-alarm budget for ten years. [1]"""
    constants: Calibration
    strips: bool = False
    """The control ground is within the site, not around it."""
    unseen: bool = field(default=False, compare=False)
    """Scenes, seasons and cover are assumed: no season of the site has been observed yet."""
    blind: str = field(default="", compare=False)
    """Key of :data:`NO_VERDICT` for a site that cannot get a verdict; empty: it can."""

    @classmethod
    def assumed(cls, site: Site, *, since: date, alpha: float, constants: Calibration = DEFAULT) -> "SiteConditions":
        """Conditions of a site without scenes, assumed from its biome; `since` is the first day of imagery."""
        growing = GrowingSeason.of(site)
        season, position = growing.locate_date(since)
        first_whole = season + (position > 1)
        passes = growing.length / REVISIT_DAYS
        blind = "small" if site.hectares < TEN_PIXELS_HECTARES else ""
        return cls._rounded(
            site, before=_first_open_season(site) - first_whole, scenes=passes * biome_of(site).clear_share,
            control=biome_of(site).peak_cover, alpha=alpha, constants=constants, unseen=True, blind=blind,
        )  # fmt: skip

    @classmethod
    def seen(
        cls, site: Site, observed: Columns, *, as_of: date, since: date, alpha: float, constants: Calibration,
        strips: bool = False,
    ) -> "SiteConditions":  # fmt: skip
        """Conditions of a site with observations; assumed until its first observed season has ended.

        `observed` has ``date``, ``accepted``, ``control_cover`` and ``reason``. Seasons that ended before `as_of` are
        counted, also those without a scene; scenes a season come from the seasons after the start, if there are any.
        """
        growing = GrowingSeason.of(site)
        used = np.array(observed["accepted"], bool) & np.isfinite(np.array(observed["control_cover"], np.float64))
        season, position = growing.locate(observed["date"][used].astype(np.int64))
        inside = position <= growing.length
        years = np.arange(season[inside].min(initial=9999), growing.last_ended(as_of)[0] + 1)
        reasons = set(decode_texts(observed["reason"]))
        blind = "small" if "FEW_PIXELS" in reasons else "ground" if reasons & {"CONTROL_POOR", "CONTROL_FEW"} else ""
        if not years.size:
            assumed = cls.assumed(site, since=since, alpha=alpha, constants=constants)
            return replace(assumed, blind=blind or assumed.blind, strips=strips)
        count = (season[inside][:, None] == years).sum(axis=0)
        cover = np.array(observed["control_cover"], np.float64)[used][inside]
        early = years < _first_open_season(site)
        return cls._rounded(
            site, before=int((count[early] >= SEEN_SCENES).sum()), control=float(np.quantile(cover, 0.9)),
            scenes=float(np.median(count if early.all() else count[~early])), alpha=alpha, constants=constants,
            blind=blind, strips=strips,
        )  # fmt: skip

    @classmethod
    def _rounded(
        cls, site: Site, *, before: int, scenes: float, control: float, alpha: float, constants: Calibration,
        unseen: bool = False, blind: str = "", strips: bool = False,
    ) -> "SiteConditions":  # fmt: skip
        return cls(
            plan=site.plan, biome=site.biome, own_biome=site.own_biome, south=site.geometry.centroid.y < 0,
            month=(site.start.month - 1) // 3 * 3 + 1,
            hectares=min(2.0 ** round(math.log2(max(site.hectares, 0.0625))), MAX_HECTARES),
            parts=_cohorts_by_month(site), before=min(max(before, 0), MAX_SEASONS_BEFORE),
            scenes=max((step for step in SCENE_STEPS if step <= scenes), default=SCENE_STEPS[0]),
            control=max(round(control, 1), 0.1), alpha=alpha, constants=constants, unseen=unseen, blind=blind,
            strips=strips,
        )  # fmt: skip

    @property
    def improved(self) -> "dict[str, SiteConditions]":
        """The conditions if more were done: ``more_scenes``; and ``strips`` and ``both``, unless it has strips."""
        if self.strips:
            return {"more_scenes": replace(self, scenes=MORE_SCENES * self.scenes)}
        more, strips = replace(self, scenes=MORE_SCENES * self.scenes), replace(self, strips=True)
        return {"more_scenes": more, "strips": strips, "both": replace(more, strips=True)}

    def by_year(self, start: date) -> tuple[Detectability, ...]:
        """Detectability of failure by year after a start; empty where there can be no verdict or no failure."""
        if self.blind:
            return ()
        return tuple(
            replace(year, until=(start + timedelta(days=int(365.25 * year.year) - 1)).year) for year in simulate(self)
        )


def detectability_json(conditions: SiteConditions, start: date) -> dict[str, Any]:
    """Detectability of failure at a site as plain values, for the ledger and for ``sites add --json``.

    ``improved`` has the chance of red by year with twice the clear scenes, and for a site with a ring of control ground
    with strips within the site instead, and with both.
    """
    years = conditions.by_year(start)
    said = NO_VERDICT.get(conditions.blind) or [in_words(years, language=language) for language in ("en", "zh")]
    return {
        "seasons_before": conditions.before,
        "scenes_a_year": conditions.scenes,
        "assumed": conditions.unseen,
        "strips": conditions.strips,
        "years": [year.year for year in years],
        "until": [year.until for year in years],
        "red": [year.red for year in years],
        "watch": [year.watch for year in years],
        "improved": {
            name: [year.red for year in better.by_year(start)] for name, better in conditions.improved.items()
        },
        "said": dict(zip(("en", "zh"), said, strict=True)),
    }


@lru_cache(maxsize=4096)
def simulate(conditions: SiteConditions) -> tuple[Detectability, ...]:
    """Detectability of failure under such conditions, for a nominal start in 2021."""
    start = date(2021, conditions.month + 1, 15)
    site = Site(
        id="", name="", geometry=Point(0, -1 if conditions.south else 1), start=start, intervention="",
        biome=conditions.biome, own_biome=conditions.own_biome, plan=conditions.plan, hectares=conditions.hectares,
        cohorts=tuple(
            (start + timedelta(days=round(MONTH_DAYS * months)), share) for months, share in conditions.parts
        ),
    )  # fmt: skip
    return detectability(
        site, seasons_before=conditions.before, scenes_a_year=conditions.scenes, control=conditions.control,
        alpha=conditions.alpha, calibration=conditions.constants, drift=STRIP_DRIFT if conditions.strips else 1.0,
        scene=STRIP_SCENE if conditions.strips else 1.0,
    )  # fmt: skip


def _cohorts_by_month(site: Site) -> tuple[tuple[int, float], ...]:
    shares: dict[int, float] = {}
    for begun, share in site.cohorts:
        months = round((begun - site.start).days / MONTH_DAYS)
        shares[months] = shares.get(months, 0.0) + share
    return tuple(shares.items()) if len(shares) > 1 else ()


def _first_open_season(site: Site) -> int:
    """The first growing season that had not ended at the start."""
    growing = GrowingSeason.of(site)
    season, position = growing.locate_date(site.start)
    return season + (position > growing.length)
