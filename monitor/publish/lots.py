"""Page of each lot, in English and in Chinese: verdict, theta by year, sites, and what it does not say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from monitor.alerts import words
from monitor.alerts.alert import Alert
from monitor.alerts.messages.lots import rate
from monitor.publish.page_files import PAGE_FILES
from monitor.publish.pages import render
from monitor.publish.products import write_files
from monitor.publish.view import NO_ANSWER
from monitor.sites.names import folder_name
from monitor.sites.site import Site
from monitor.verdict.assessment import Assessment
from monitor.verdict.explain import FAILING_SHARE, ON_TRACK_SHARE
from monitor.verdict.lots import MIN_MEMBERS, Lot, LotVerdict, Use

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
        pages = {PAGE_FILES[language]: lot_page(view, language).encode() for language in words.LANGUAGES}
        write_files(pages, root / "lots" / view.lot.id)


def lot_page(view: LotView, language: words.Language) -> str:
    """Page of one lot."""
    members = sorted(view.members, key=_worst_first)
    v, lot = view.verdict, view.lot
    return render(
        "lot.html", language, view=view, v=v, NO_ANSWER=NO_ANSWER,
        name=words.lot_name(lot.partner, lot.programme_year, lot.intervention, language),
        intervention=words.INTERVENTION_NAMES[lot.intervention][language],
        members=[
            (
                site, a, None if a is None else words.shown_status(site, a.status), words.TEXTS["lot_use"].get(use),
                f"../../sites/{quote(folder_name(site.id))}/{PAGE_FILES[language]}",
            )
            for site, a, use in members
        ],
        reasons=[words.text(f"lot_reason.{reason}", language, n=MIN_MEMBERS) for reason in v.reasons],
        claim=None if v.alert == "none" else words.text(f"lot.{v.alert}", language),
        rates=[rate(level, language) for level in ("watch", "red")], drawing=_drawing(view.looks)
    )  # fmt: skip


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
