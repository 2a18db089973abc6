"""The page of the account: hectares pledged, registered, taking hold, not, and unknown and why."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final
from urllib.parse import quote

from monitor.alerts import words
from monitor.publish.page_files import PAGE_FILES
from monitor.publish.pages import render
from monitor.publish.period import Period
from monitor.publish.period_view import STATUS_WORDS, period_view
from monitor.publish.programme import STATES, Account
from monitor.publish.statuses import SIDES
from monitor.sites.biomes import biome_of
from monitor.sites.names import folder_name, without_invisible
from monitor.verdict.lots import lot_of
from monitor.verdict.reasons import sentence

ACCOUNT_PAGES: Final = {"en": "programme.html", "zh": "programme.zh.html"}
"""File name of the page in each language."""
MOVES_FILE: Final = "programme-moves.csv"  # file name of the table of the period
MAX_ROWS: Final = 200
"""Rows of one table that the page shows, at most: the tables have all."""


def account_page(
    account: Account | None, language: words.Language, *, as_of: date, period: Period | None = None,
    notice: Mapping[str, str] | None = None, pledge: float | None = None, twin: str | None = None,
    csv: str = MOVES_FILE,
) -> str:  # fmt: skip
    """The page in one language.

    `account` is that of the newest night; None: the page is about a period only, and `pledge` has the hectares pledged.
    Without `period` no night has run. `twin` and `csv` are the names of the page in the other language and of the table
    of the period.
    """
    view = (
        None
        if period is None
        else period_view(period, language, pledge=account.summary["pledge_hectares"] if account else pledge)
    )
    context: dict[str, Any] = {
        "s": None, "p": view, "csv": csv, "notice": notice, "as_of": as_of, "pages": (),
        "ha": lambda value: f"{value:,.2f}", "twin": twin or ACCOUNT_PAGES["zh" if language == "en" else "en"],
    }  # fmt: skip
    context |= {} if account is None else _today(account, language, as_of)
    return render("programme.html", language, **context)


def _today(account: Account, language: words.Language, as_of: date) -> dict[str, Any]:
    """Content of the page about the newest night."""
    summary = account.summary
    today = as_of.isoformat()
    older = [member for member in account.sites if member.assessment.get("as_of", today) < today]
    reasons = _why_rows(summary, language)
    return {
        "s": summary,
        "pages": {f"lots/{lot['lot']}/{PAGE_FILES[language]}" for lot in summary.get("lots", ())},
        "twice": summary["registered_hectares"] - summary["total_hectares"],
        "unknown": [
            (
                STATUS_WORDS[status][language], row, words.text(f"account_why.{status}", language),
                reasons.get(status, []),
            )
            for status in SIDES["unknown"] if (row := summary["by_status"][status])["sites"]
        ],
        "states": [(state, words.text(f"account_state.{state}", language)) for state in STATES],
        "columns": [
            (status, STATUS_WORDS[status][language]) for status, area in summary["hectares"].items() if area > 0
        ],
        "groups": [
            (name[language], *_group_rows(account, by, language)) for by, name in words.TEXTS["account_group"].items()
        ],
        "claims": _claim_rows(account, language)[:MAX_ROWS],
        "more_claims": max(len(account.double) - MAX_ROWS, 0),
        "across": sum(claim["across_partners"] for claim in summary["double_registrations"]),
        **_visits(account, language),
        "older": older,
        "oldest": min((date.fromisoformat(member.assessment["as_of"]) for member in older), default=None),
    }  # fmt: skip


def _why_rows(summary: Mapping[str, Any], language: words.Language) -> dict[str, list[tuple[str, int, float]]]:
    """Reasons by status, with sites and hectares."""
    rows: dict[str, list[tuple[str, int, float]]] = {}
    for row in summary["why_unknown"]:
        if row["reason"] is not None:
            rows.setdefault(row["status"], []).append(
                (sentence(row["reason"], language), row["sites"], row["hectares"])
            )
    return rows


def _group_rows(
    account: Account, by: str, language: words.Language
) -> tuple[list[tuple[str, str | None, Mapping[str, Any]]], int]:
    """Rows of a grouping: name, address of its page, sums; the largest if there are too many, and how many are not."""
    rows = [row for row in account.summary["groups"] if row["by"] == by]
    left = max(len(rows) - MAX_ROWS, 0)
    if left:
        least = sorted(row["total_hectares"] for row in rows)[left]
        rows = [row for row in rows if row["total_hectares"] >= least][:MAX_ROWS]
    lots = {member.lot: lot_of(member.site) for member in account.sites}
    judged = {lot["lot"] for lot in account.summary.get("lots", ())}

    def name(value: Any) -> str:
        if value is None:
            return "未登记" if language == "zh" else "Not stated"
        if by == "intervention":
            return words.INTERVENTION_NAMES[value][language]
        if by == "lot" and (lot := lots[value]) is not None:
            intervention = words.INTERVENTION_NAMES[lot.intervention][language]
            return ("，" if language == "zh" else ", ").join(
                (without_invisible(lot.partner), str(lot.programme_year), intervention)
            )
        return without_invisible(str(value))

    def address(value: Any) -> str | None:
        return f"lots/{value}/{PAGE_FILES[language]}" if by == "lot" and value in judged else None

    return [(name(row["value"]), address(row["value"]), row) for row in rows], left


def _visits(account: Account, language: words.Language) -> dict[str, Any]:
    """Sites to visit first with names and addresses of their pages, and the failing share of each group by name."""
    rows, places = account.summary["to_visit"]["sites"], {m.site.id: k for k, m in enumerate(account.sites)}
    biomes = {member.site.biome: biome_of(member.site).names[language] for member in account.sites}

    def name(row: Mapping[str, Any]) -> str:
        if row["by"] == "programme":
            return "开工四年及以上的全部地块" if language == "zh" else "All sites from their fourth year on"
        if row["value"] is None:
            return "实施单位未登记" if language == "zh" else "Partner not stated"
        return biomes[row["value"]] if row["by"] == "biome" else without_invisible(row["value"])

    return {
        "visits": [(_shown(account, places[row["site"]], language), row) for row in rows[:MAX_ROWS]],
        "more_visits": max(len(rows) - MAX_ROWS, 0),
        "visit_hectares": sum(row["hectares"] for row in rows),
        "shares": [(name(row), row) for row in account.summary["failing_share"]],
    }


def _claim_rows(account: Account, language: words.Language) -> Sequence[Mapping[str, Any]]:
    """Pairs of sites that claim the same ground, with names and addresses of their pages."""
    return [
        {
            "sites": (_shown(account, one.first, language), _shown(account, one.second, language)),
            "across": claim["across_partners"],
            "kind": words.text(f"account_claim.{one.kind}", language),
            "hectares": one.hectares,
            "share": one.share,
        }
        for one, claim in zip(account.double, account.summary["double_registrations"], strict=True)
    ]


def _shown(account: Account, place: int, language: words.Language) -> dict[str, Any]:
    """Names of a site, and the address of its page if it has one."""
    member = account.sites[place]
    page = f"sites/{quote(folder_name(member.site.id))}/{PAGE_FILES[language]}" if member.assessment else None
    return {
        "id": without_invisible(member.site.id),
        "name": words.site_name(member.site, language),
        "partner": without_invisible(member.site.partner or ""),
        "page": page,
    }
