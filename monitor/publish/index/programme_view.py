"""What the pages of the whole programme show, ready to be written."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from monitor.alerts import words
from monitor.alerts.alert import Alert, AlertState
from monitor.alerts.chain_head import ChainHead
from monitor.publish.index.basemap import Basemap
from monitor.publish.index.history import NO_HISTORY, History
from monitor.publish.index.wording import ALERT_STATES
from monitor.sites.names import comparable_id, folder_name, without_invisible
from monitor.sites.site import Site
from monitor.verdict.assessment import Assessment
from monitor.verdict.lots import Lot, LotVerdict, lot_of

type LotRow = tuple[Lot, int, float, LotVerdict]
"""A lot, the number of its sites and their hectares, and the newest verdict on it."""

_MAIL: Final = re.compile(r"[^\s<>()\[\],;:：，；（）]+@[^\s<>()\[\],;：，；（）]+")
_TELEPHONE: Final = re.compile(r"[+(（]{0,2}\d(?:[\s()（）./·-]{0,3}\d){5,}[)）]?")
_EMPTY: Final = re.compile(r"[<(\[（]\s*[>)\]）]|[\s,;:：，；/|·-]+$|^[\s,;:：，；/|·-]+")


class Standing(NamedTuple):
    """The alert of a site as the index shows it."""

    level: str
    rule: str | None
    """None: the newest verdict shows none, but the alert is still open."""
    state: str
    """Key of :data:`monitor.publish.index.wording.ALERT_STATES`, or ``open``."""
    answer: str | None

    def note(self, language: words.Language) -> str:
        """Cause and state in words."""
        cause = words.cause(self.rule, self.level, language) if self.rule else ""
        answer = words.ANSWER_NAMES.get(self.answer or "", {}).get(language, "")
        state = ALERT_STATES.get(self.state, {}).get(language, "").format(answer=answer)
        return ("，" if language == "zh" else ", ").join(filter(None, (cause, state)))


class SiteRow(NamedTuple):
    """One site in a list, the same in every language; figures that are no finding are None."""

    id: str
    name: str
    folder: str
    """Of its page, quoted for an address."""
    status: str
    alert: Standing | None
    theta: int | None
    """Share of the plan, and its interval. [%]"""
    low: int | None
    high: int | None
    uplift: int | None
    """[percentage point]"""
    expected: int | None
    """[percentage point]"""
    probability: float | None
    """Of the status. [1]"""
    hectares: float
    seen: date | None
    confirmed: date | None
    """Day on which an uplift was confirmed."""
    province: str | None
    partner: str | None
    lot: Lot | None
    manager: str | None

    @property
    def pale(self) -> bool:
        """Whether the share of the plan is no verdict."""
        return self.status in ("insufficient_data", "too_early", "undecided")


@dataclass(frozen=True, kw_only=True)
class ProgrammeView:
    """All that the pages of the whole programme are made from."""

    rows: Sequence[tuple[Site, Assessment]]
    """Every assessed site, in any order."""
    alerts: Mapping[str, Alert]
    """By id of a site or lot: alerts that are not resolved, or answered while their cause is still seen."""
    as_of: date
    """Day of the assessments."""
    alpha: float
    """False-alarm budget for ten years of one site. [1]"""
    precision: Sequence[Mapping[str, Any]] = ()
    """See :func:`monitor.alerts.precision.measured_precision`; empty: no alert was answered."""
    lots: Sequence[LotRow] = ()
    notice: Mapping[str, str] | None = None
    """By language, a notice shown first."""
    history: History = NO_HISTORY
    basemap: Basemap | None = None
    head: ChainHead | None = None
    """Head of the chain of nights; None: there is none yet."""

    @cached_property
    def ordered(self) -> list[tuple[Site, Assessment]]:
        """The sites with their assessments, worst first."""
        return sorted(self.rows, key=_worst_first)

    @cached_property
    def sites(self) -> list[SiteRow]:
        """The sites as lists show them, in the order of :attr:`ordered`; a province is spelt as by its first site."""
        spelt: dict[str, str] = {}
        rows = [_site_row(site, assessment, self.alerts.get(site.id)) for site, assessment in self.ordered]
        return [
            row._replace(province=spelt.setdefault(comparable_id(row.province), row.province)) if row.province else row
            for row in rows
        ]


def standing(verdict: Assessment | LotVerdict, rule: str | None, known: Alert | None) -> Standing | None:
    """Alert of a site as its newest verdict has it; else that of an alert that is still open; None: there is none."""
    if verdict.alert != "none":
        state = "open" if known is None else str(known.state)
        return Standing(str(verdict.alert), rule, state, None if known is None else known.answer)
    if known is not None and known.state is not AlertState.RESOLVED:
        return Standing(str(known.level), None, "still" if known.held_by is None else "held", None)
    return None


def public_name(name: str | None) -> str | None:
    """Name of a person without mail addresses and telephone numbers; None where nothing is left.

    >>> public_name("Li Ming, +86 139 1234 5678"), public_name("王芳（wang@example.org）"), public_name("13912345678")
    ('Li Ming', '王芳', None)
    """
    if name is None:
        return None
    text = without_invisible(_TELEPHONE.sub("", _MAIL.sub("", name)))
    while (shorter := _EMPTY.sub("", text).strip()) != text:
        text = shorter
    return text or None


def _worst_first(row: tuple[Site, Assessment]) -> tuple[int, int, float, str]:
    site, a = row
    return (
        _STATUS_RANK[words.shown_status(site, a.status)],
        _LEVEL_RANK[a.alert],
        9.0 if a.theta is None else a.theta,
        site.id,
    )


_STATUS_RANK: Final = {status: rank for rank, status in enumerate(words.STATUS_NAMES)}
_LEVEL_RANK: Final = {level: rank for rank, level in enumerate(words.ALERT_LEVEL_NAMES)}


def _site_row(site: Site, a: Assessment, known: Alert | None) -> SiteRow:
    judged = a.status != "insufficient_data"
    return SiteRow(
        id=without_invisible(site.id),
        name=without_invisible(site.name),
        folder=quote(folder_name(site.id)),
        status=words.shown_status(site, a.status),
        alert=standing(a, a.alert_rule, known),
        theta=_whole(a.theta if judged else None),
        low=_whole(a.theta_low if judged else None),
        high=_whole(a.theta_high if judged else None),
        uplift=_whole(a.uplift if judged else None),
        expected=_whole(a.expected),
        probability=a.probability,
        hectares=site.hectares,
        seen=a.last_observed,
        confirmed=a.uplift_confirmed_on if judged else None,
        province=_clean(site.province),
        partner=_clean(site.partner),
        lot=lot_of(site),
        manager=public_name(site.manager_name),
    )


def _clean(text: str | None) -> str | None:
    return (without_invisible(text) or None) if text else None


def _whole(value: float | None) -> int | None:
    """Whole percent or points of a fraction."""
    return None if value is None else round(100 * value)


def counts(view: ProgrammeView) -> dict[str, Any]:
    """Numbers at the head of the index."""
    levels = [row.alert.level if row.alert else "none" for row in view.sites]
    lot_levels = [
        one.level for lot, _, _, verdict in view.lots if (one := standing(verdict, None, view.alerts.get(lot.id)))
    ]
    statuses, areas = Counter(row.status for row in view.sites), Counter[str]()
    for row in view.sites:
        areas[row.status] += row.hectares  # type: ignore[assignment]
    total = sum(row.hectares for row in view.sites)
    return {
        "n_sites": len(view.sites),
        "total": total,
        "totals": [
            {
                "status": status, "sites": statuses[status], "hectares": areas[status],
                "share": areas[status] / total if total else 0.0,
            }
            for status in words.STATUS_NAMES
        ],
        "n_red": levels.count("red"),
        "n_watch": levels.count("watch"),
        "n_answered": sum(
            row.alert is not None and row.alert.level == "red" and row.alert.state == "resolved" for row in view.sites
        ),
        "false_reds": view.alpha * len(view.sites),
        "confirmed": [site.hectares for site, a in view.ordered if a.uplift_confirmed],
        "n_red_lots": lot_levels.count("red"),
        "n_watched_lots": lot_levels.count("watch"),
        "lotless": sum(row.lot is None for row in view.sites),
    }  # fmt: skip
