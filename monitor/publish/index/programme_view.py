"""Content of the pages of the whole programme, ready to be written."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from monitor.alerts import words
from monitor.alerts.alert import Alert, AlertState
from monitor.alerts.chain_head import ChainHead
from monitor.day_in_words import month_in_words
from monitor.publish.index.basemap import Basemap
from monitor.publish.index.ground import Ground
from monitor.publish.index.history import NO_HISTORY, History
from monitor.sites.names import comparable_id, folder_name, without_invisible
from monitor.sites.site import Site
from monitor.verdict.assessment import Assessment
from monitor.verdict.growth import GrowthPoint
from monitor.verdict.lots import Lot, LotVerdict, lot_of

type LotRow = tuple[Lot, int, float, LotVerdict]
"""A lot, the number of its sites and their hectares, and the newest verdict on it."""

_MAIL: Final = re.compile(r"[^\s<>()\[\],;:：，；（）]+@[^\s<>()\[\],;：，；（）]+")
_TELEPHONE: Final = re.compile(r"[+(（]{0,2}\d(?:[\s()（）./·-]{0,3}\d){5,}[)）]?")
_EMPTY: Final = re.compile(r"[<(\[（]\s*[>)\]）]|[\s,;:：，；/|·-]+$|^[\s,;:：，；/|·-]+")


class Standing(NamedTuple):
    """The alert of a site as the index shows it."""

    level: str
    rule: str | None  # None: the newest verdict shows none, but the alert is still open; or the status says as much
    state: str  # `open`, or a key of the section `alert_state` of the catalogue
    answer: str | None
    days: int | None  # time since it opened; None: unknown [day]

    @property
    def needs_someone(self) -> bool:
        """Whether it is red and without an answer."""
        return self.level == "red" and self.state != "resolved"

    def badge(self, language: words.Language) -> str:
        """Level, cause and state in words."""
        cause = words.cause(self.rule, self.level, language) if self.rule else ""
        answer = words.ANSWER_NAMES.get(self.answer or "", {}).get(language, "")
        since = state = ""
        if self.days is not None and self.state != "resolved":
            key = "new" if self.days <= 0 else "one" if self.days == 1 else "more"
            since = words.text(f"days_open.{key}", language, n=self.days)
        if self.state != "open":
            state = words.text(f"alert_state.{self.state}", language, answer=answer)
        parts = (words.ALERT_LEVEL_NAMES[self.level][language], cause, since, state)
        return ("，" if language == "zh" else ", ").join(filter(None, parts))


class SiteRow(NamedTuple):
    """One site in a list, the same in every language; figures without meaning for its status are None."""

    id: str
    name: Mapping[str, str]
    """By language."""
    folder: str
    """Of its page, quoted for an address."""
    status: str
    alert: Standing | None
    finding: tuple[str, str]
    """Finding beside the status, in English and Chinese; with places for ``theta``, ``low`` and ``high``."""
    theta: int | None
    """Share of the plan, and its interval. [%]"""
    low: int | None
    high: int | None
    hectares: float
    seen: date | None
    province: str | None
    partner: str | None
    lot: Lot | None
    manager: str | None

    def other_name(self, language: words.Language) -> str:
        """Name in the other language; empty if one of the two has the other in it."""
        name, other = (self.name[one] for one in (language, "en" if language == "zh" else "zh"))
        return "" if name in other or other in name else other

    def says(self, language: words.Language) -> str:
        """Status and finding in words."""
        shares = zip(("theta", "low", "high"), (self.theta, self.low, self.high), strict=True)
        known = {name: words.percent(None if share is None else share / 100) for name, share in shares}
        finding = self.finding[words.LANGUAGES.index(language)].format(**known)
        colon = words.text("unit.colon", language) if finding else ""
        return f"{words.STATUS_NAMES[self.status][language]}{colon}{finding}"


@dataclass(frozen=True, kw_only=True)
class ProgrammeView:
    """Content of the pages of the whole programme."""

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
    growth: Mapping[str, Sequence[GrowthPoint]] = field(default_factory=dict)
    """Points of the growth charts, by id of a site; one without any is not in it."""
    notice: Mapping[str, str] | None = None
    """By language, a notice shown first."""
    history: History = NO_HISTORY
    basemap: Basemap | None = None
    grounds: Sequence[Ground] = ()
    """Pictures under the map."""
    head: ChainHead | None = None
    """Head of the chain of nights; None: there is none yet."""
    manager_names: bool = False
    """Whether the names of managers are published."""

    @cached_property
    def ordered(self) -> list[tuple[Site, Assessment]]:
        """The sites with their assessments, worst first."""
        return sorted(self.rows, key=_worst_first)

    @cached_property
    def sites(self) -> list[SiteRow]:
        """The sites as lists show them, in the order of :attr:`ordered`; a province is spelt as by its first site."""
        spelt: dict[str, str] = {}
        rows = [self._site_row(site, assessment) for site, assessment in self.ordered]
        return [
            row._replace(province=spelt.setdefault(comparable_id(row.province), row.province)) if row.province else row
            for row in rows
        ]

    def _site_row(self, site: Site, a: Assessment) -> SiteRow:
        judged = a.status != "insufficient_data"
        said = (a.status, a.alert_rule) in (("failing", "failure"), ("disturbed", "disturbance"))
        rule = None if said else a.alert_rule
        return SiteRow(
            id=without_invisible(site.id),
            name={language: words.site_name(site, language) for language in words.LANGUAGES},
            folder=quote(folder_name(site.id)), status=words.shown_status(site, a.status),
            alert=standing(a, rule, self.alerts.get(site.id), self.as_of), finding=_finding(site, a),
            theta=_whole(a.theta if judged else None), low=_whole(a.theta_low if judged else None),
            high=_whole(a.theta_high if judged else None), hectares=site.hectares, seen=a.last_observed,
            province=without_invisible(site.province or "") or None,
            partner=without_invisible(site.partner or "") or None, lot=lot_of(site),
            manager=public_name(site.manager_name) if self.manager_names else None,
        )  # fmt: skip


def standing(verdict: Assessment | LotVerdict, rule: str | None, known: Alert | None, day: date) -> Standing | None:
    """Alert of a site as its newest verdict has it; else that of an alert that is still open; None: there is none."""
    days = None if known is None else (day - known.opened).days
    if verdict.alert != "none":
        state = "open" if known is None else "unreviewed" if known.unreviewed else str(known.state)
        return Standing(str(verdict.alert), rule, state, None if known is None else known.answer, days)
    if known is not None and known.state is not AlertState.RESOLVED:
        return Standing(str(known.level), None, "still" if known.held_by is None else "held", None, days)
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


def _finding(site: Site, a: Assessment) -> tuple[str, str]:
    """See :attr:`SiteRow.finding`."""
    kinds, day = ["begun"] if a.status == "too_early" else [], None
    if a.status == "insufficient_data":
        kinds, day = ["seen" if a.last_observed else "unseen"], a.last_observed
    elif a.status == "disturbed":  # a share of the plan would blend what was before the loss with what is left
        kinds, day = ["loss"] if a.loss_on and a.loss_from is not None else [], a.loss_on
    elif a.theta is not None:
        kinds.append("share" if a.theta > 0 else "most" if (a.theta_high or 0) >= 0.005 else "nothing")
    english, chinese = (
        ("；" if language == "zh" else "; ").join(
            words.text(
                f"site_finding.{kind}", language, day=day and words.day(day, language),
                month=month_in_words(site.start.year, site.start.month, language),
                before=words.points(a.loss_from), after=words.points(a.loss_to),
                theta="{theta}", low="{low}", high="{high}",
            )
            for kind in kinds
        )
        for language in words.LANGUAGES
    )  # fmt: skip
    return english, chinese


def _whole(value: float | None) -> int | None:
    """Whole percent or points of a fraction."""
    return None if value is None else round(100 * value)


def counts(view: ProgrammeView) -> dict[str, Any]:
    """Numbers at the head of the index."""
    statuses, areas = Counter(row.status for row in view.sites), Counter[str]()
    for row in view.sites:
        areas[row.status] += row.hectares  # type: ignore[assignment]
    total = sum(row.hectares for row in view.sites)
    waiting = [row.alert for row in view.sites if row.alert and row.alert.needs_someone]
    lots = [standing(verdict, None, view.alerts.get(lot.id), view.as_of) for lot, _, _, verdict in view.lots]
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
        "n_taking_hold": statuses["on_track"] + statuses["recovered"],
        "n_waiting": len(waiting),
        "longest": max((alert.days for alert in waiting if alert.days is not None), default=None),
        "n_red_lots": sum(one is not None and one.level == "red" for one in lots),
        "false_reds": view.alpha * len(view.sites),
        "confirmed": [site.hectares for site, a in view.ordered if a.uplift_confirmed],
        "lotless": sum(row.lot is None for row in view.sites),
    }  # fmt: skip
