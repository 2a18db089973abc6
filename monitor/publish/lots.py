"""Page of each lot, in English and in Chinese: verdict, theta by year, sites, and what it does not say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from monitor.alerts import words
from monitor.alerts.alert import Alert
from monitor.alerts.messages.lots import rate
from monitor.publish.page_files import PAGE_FILES
from monitor.publish.pages import render
from monitor.publish.products import replace_if_changed
from monitor.publish.view import NO_ANSWER
from monitor.sites.names import folder_name
from monitor.sites.site import Site
from monitor.verdict.assessment import Assessment
from monitor.verdict.explain import FAILING_SHARE, ON_TRACK_SHARE
from monitor.verdict.lots import MIN_MEMBERS, Lot, LotVerdict, Use

REASONS: Final = {
    "FEW_SITES": {
        "en": f"No verdict: it takes at least {MIN_MEMBERS} sites whose growth can be judged, half of them seen in the "
        "last season. Each site keeps its own verdict.",
        "zh": f"暂无结论：至少需要 {MIN_MEMBERS} 个可评价的地块，且其中一半在最近一个生长季有观测。"
        "各地块仍有各自的结论。",
    },
    "NO_PLAN": {
        "en": "No verdict: the plans of these sites promise no uplift, so that only losses are judged, site by site.",
        "zh": "暂无结论：这些地块的规划不承诺增量，只逐个地块判断损失。",
    },
    "NO_COMMON_SEASON": {
        "en": f"No verdict: in no season before the start were at least {MIN_MEMBERS} of the sites seen, so that it is "
        "unknown what good and bad years do to all of them.",
        "zh": f"暂无结论：开工前没有任何一个生长季同时观测到至少 {MIN_MEMBERS} 个地块，"
        "无法得知丰歉年份对它们的共同影响。",
    },
    "TOO_EARLY": {
        "en": "No verdict yet: no season has ended in which the plans promised growth.",
        "zh": "暂无结论：规划承诺出现增量的生长季尚未结束。",
    },
}
"""Why nothing can be said of a lot."""
USES: Final = {
    Use.UNSEEN: {"en": "left out: no season seen yet", "zh": "未计入：尚无观测到的生长季"},
    Use.REPLANTED: {"en": "left out: new work has begun there", "zh": "未计入：已重新施工"},
    Use.NO_PLAN: {"en": "left out: its plan promises no uplift", "zh": "未计入：规划不承诺增量"},
    Use.NO_PAST: {"en": "left out: not seen before its start", "zh": "未计入：开工前没有观测"},
    Use.NO_SEASON: {"en": "left out: not seen since growth was due", "zh": "未计入：应见效后没有观测"},
}
"""Why a site is not used."""

WIDTH, HEIGHT = 560, 260  # size of the drawing of theta by year [pixel]
_LOW, _HIGH = -0.5, 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class LotView:
    """Content of the page of one lot."""

    lot: Lot
    hectares: float
    """Area of all its sites. [ha]"""
    verdict: LotVerdict
    looks: Sequence[LotVerdict]
    """Verdicts of each season's end, ascending."""
    members: Sequence[tuple[Site, Assessment | None, Use]]
    """Sites with their newest assessment, and whether they are used, in any order; empty: it has no sites any more."""
    alert: Alert | None = None
    """The alert that is not resolved, or that a person has resolved while its cause is still seen; None: no alert."""
    notice: Mapping[str, str] | None = None


def write_lots(views: Sequence[LotView], root: Path) -> None:
    """Write ``lots/<id>/`` of each lot under the output root; unchanged files are not written."""
    for view in views:
        folder = root / "lots" / view.lot.id
        folder.mkdir(parents=True, exist_ok=True)
        for language in words.LANGUAGES:
            replace_if_changed(folder / PAGE_FILES[language], lot_page(view, language).encode())


def lot_page(view: LotView, language: words.Language) -> str:
    """Page of one lot."""
    members = sorted(view.members, key=_worst_first)
    v = view.verdict
    return render(
        "lot.html", language, view=view, v=v, NO_ANSWER=NO_ANSWER, name=lot_title(view.lot, language),
        intervention=words.INTERVENTION_NAMES[view.lot.intervention][language],
        members=[
            (site, a, None if a is None else words.shown_status(site, a.status), USES.get(use), _href(site, language))
            for site, a, use in members
        ],
        reasons=[REASONS[reason][language] for reason in v.reasons],
        claim=None if v.alert == "none" else words.text(f"lot.{v.alert}", language),
        rates=[rate(level, language) for level in ("watch", "red")], drawing=_drawing(view.looks)
    )  # fmt: skip


def lot_title(lot: Lot, language: words.Language) -> str:
    """Partner, programme year and intervention, not cleaned."""
    intervention = words.INTERVENTION_NAMES[lot.intervention][language]
    return words.text("lot.name", language, partner=lot.partner, year=lot.programme_year, intervention=intervention)


def _href(site: Site, language: words.Language) -> str:
    return f"../../sites/{quote(folder_name(site.id))}/{PAGE_FILES[language]}"


def _worst_first(row: tuple[Site, Assessment | None, Use]) -> tuple[bool, float, str]:
    site, a, use = row
    return use is not Use.USED, 9.0 if a is None or a.theta is None else a.theta, site.id


def _drawing(looks: Sequence[LotVerdict]) -> dict[str, Any]:
    """Positions of theta by year with its interval, and of the lines of the scale. [pixel]"""
    step = (WIDTH - 90) / max(len(looks), 4)

    def height(share: float | None) -> float:
        inside = min(max(0.0 if share is None else share, _LOW), _HIGH)
        return round(20 + (_HIGH - inside) / (_HIGH - _LOW) * (HEIGHT - 80), 1)

    years = [
        {
            "x": round(60 + step * (i + 0.5), 1), "year": look.as_of.year, "alert": look.alert, "theta": look.theta,
            "y": height(look.theta), "low": height(look.theta_low), "high": height(look.theta_high),
        }
        for i, look in enumerate(looks)
    ]  # fmt: skip
    ticks = [(share, height(share)) for share in (_LOW, 0.0, FAILING_SHARE, ON_TRACK_SHARE, 1.0, _HIGH)]
    return {"years": years, "ticks": ticks, "width": WIDTH, "height": HEIGHT}
