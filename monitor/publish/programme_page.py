"""The page of the account: what was pledged, registered, takes hold, does not, and is unknown and why."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from monitor.alerts import words
from monitor.publish.page_files import PAGE_FILES
from monitor.publish.pages import render
from monitor.publish.programme import SHOWN_STATUSES, SIDES, STATES, UNJUDGED, Account
from monitor.sites.biomes import biome_of
from monitor.sites.names import folder_name, without_invisible
from monitor.verdict.lots import lot_of
from monitor.verdict.reasons import sentence

ACCOUNT_PAGES: Final = {"en": "programme.html", "zh": "programme.zh.html"}
"""File name of the page in each language."""
MAX_ROWS: Final = 200
"""Rows of one table that the page shows, at most: the tables have all."""
STATUS_WORDS: Final[Mapping[str, Mapping[str, str]]] = {
    **{status: words.STATUS_NAMES[status] for status in SHOWN_STATUSES if status in words.STATUS_NAMES},
    "no_loss_seen": words.STATUS_NAMES["no_loss"],
    "loss_suspected": {"en": "Sudden loss suspected", "zh": "疑似突然受损"},
    UNJUDGED: {"en": "Not yet judged", "zh": "尚未评价"},
}
SIDE_WORDS: Final = {
    "works": {"en": "Taking hold", "zh": "见效"},
    "no_loss_seen": {"en": "No uplift promised, no loss seen", "zh": "未承诺增量，未见损失"},
    "below_plan": {"en": "Below plan", "zh": "低于规划"},
    "fails": {"en": "Not taking hold, or disturbed", "zh": "未见成效或突然受损"},
    "unknown": {"en": "Unknown, and why", "zh": "未知及其原因"},
}
SIDE_NOTES: Final = {
    "works": {
        "en": "On track: more likely than not at 70% of the plan or more. How much of it may not be is under “What the "
        "probabilities expect”. Recovered: close to undisturbed ground two seasons running.",
        "zh": "符合规划：达到规划 70% 以上的概率不低于一半，其余可能见“按概率的期望面积”。已经恢复：连续两个生长季接近"
        "未受干扰的参照地。",
    },
    "no_loss_seen": {
        "en": "The plans of these sites promise no uplift (tending): only loss is judged, and none is seen. That is "
        "not growth.",
        "zh": "这些地块的规划（抚育）不承诺增量，只判断损失，目前未见损失。这不等于见效。",
    },
    "below_plan": {
        "en": "Below 70% of the plan with a probability of at least 80%.",
        "zh": "低于规划 70% 的概率不低于 80%。",
    },
    "fails": {
        "en": "Not taking hold: below a quarter of the plan with a probability of at least 90%, a red alert, or more "
        "than 30% of the site not taking hold by its pixels. Disturbed: a sudden loss within the last year with a "
        "probability of at least 80%.",
        "zh": "未见成效：低于规划四分之一的概率不低于 90%，或已发红色警报，或按像元超过 30% 的面积未见成效。突然受损："
        "近一年内突然受损的概率不低于 80%。",
    },
    "unknown": {
        "en": "Unknown is neither taking hold nor failing. A site may have several reasons.",
        "zh": "未知既不算见效，也不算失败。一个地块可能有多个原因。",
    },
}
GROUP_WORDS: Final = {
    "province": {"en": "Province", "zh": "省份"},
    "intervention": {"en": "Intervention", "zh": "措施"},
    "partner": {"en": "Partner", "zh": "实施单位"},
    "lot": {"en": "Lot", "zh": "批次"},
    "programme_year": {"en": "Programme year", "zh": "年度"},
}
STATE_WORDS: Final = {
    "failing": {"en": "Not taking hold", "zh": "未见成效"},
    "lagging": {"en": "Below plan", "zh": "低于规划"},
    "on_track": {"en": "On plan", "zh": "达到规划"},
}
CLAIM_WORDS: Final = {
    "OUTLINE_DUPLICATE": {"en": "The same outline", "zh": "边界相同"},
    "OVERLAP": {"en": "Overlap", "zh": "重叠"},
    "GCJ02_SUSPECTED": {
        "en": "Shifted copy (GCJ-02, Chinese web maps): what the two do not share counts twice",
        "zh": "疑为按网络地图坐标（GCJ-02）偏移的副本；更正前两者不重合的部分重复计入",
    },
}
WHY: Final = {
    "undecided": {
        "en": "No status is likely enough yet. By their probabilities, these hectares are shared out further below.",
        "zh": "尚无足够可能的状态。按概率的分配见下文。",
    },
    "loss_suspected": {
        "en": "Vegetation may have been lost suddenly, with a probability below 80%.",
        "zh": "植被可能突然受损，概率低于 80%。",
    },
    "too_early": {"en": "The work is too recent to be seen from above.", "zh": "开工不久，遥感尚不能看出。"},
    "insufficient_data": {"en": "The scenes or the control ground do not suffice.", "zh": "影像或对照地块不足。"},
    UNJUDGED: {
        "en": "No night has judged these sites as they are registered now: new, edited or replanted since.",
        "zh": "按目前登记的内容尚未经过夜间评价：新登记，或在上次评价后修改、补植。",
    },
}


class Part(NamedTuple):
    """A part of the bar, and a row of a table."""

    status: str
    mark: str
    """Ending of the classes that mark it."""
    name: str
    sites: int
    hectares: float
    share: float
    """Of the registered ground. [1]"""


def account_page(
    account: Account, language: words.Language, *, as_of: date, notice: Mapping[str, str] | None = None
) -> str:
    """The page in one language; parameters as for :func:`monitor.publish.programme_files.write_account`."""
    summary = account.summary
    parts = _parts(summary, language)
    bar = [part for rows in parts.values() for part in rows if part.hectares > 0]
    total, pledge = summary["total_hectares"], summary["pledge_hectares"]
    today = as_of.isoformat()
    older = [member for member in account.sites if member.assessment.get("as_of", today) < today]
    return render(
        "programme.html",
        language,
        s=summary,
        as_of=as_of,
        notice=notice,
        twin=ACCOUNT_PAGES["zh" if language == "en" else "en"],
        twice=summary["registered_hectares"] - total,
        sides=[
            (side, SIDE_WORDS[side][language], SIDE_NOTES[side][language], sum(part.hectares for part in rows), rows)
            for side, rows in parts.items()
        ],
        bar=bar,
        missing=max(pledge - total, 0.0) if pledge else 0.0,
        length=max(pledge or 0.0, total) or 1.0,
        why={status: texts[language] for status, texts in WHY.items()},
        why_rows=_why_rows(summary, language),
        states=[(state, STATE_WORDS[state][language]) for state in STATES],
        columns=[(part.status, part.name) for part in bar],
        groups=[(GROUP_WORDS[by][language], *_group_rows(account, by, language)) for by in GROUP_WORDS],
        claims=_claim_rows(account, language)[:MAX_ROWS],
        more_claims=max(len(account.double) - MAX_ROWS, 0),
        across=sum(claim["across_partners"] for claim in summary["double_registrations"]),
        **_visits(account, language),
        older=older,
        oldest=min((date.fromisoformat(member.assessment["as_of"]) for member in older), default=None),
        ha=lambda value: f"{value:,.2f}",
    )


def _parts(summary: Mapping[str, Any], language: words.Language) -> dict[str, list[Part]]:
    """Statuses by side, in the order of the page."""
    total = summary["total_hectares"]

    def part(status: str) -> Part:
        row = summary["by_status"][status]
        area = row["total_hectares"]
        mark = "no_loss" if status == "no_loss_seen" else status
        return Part(status, mark, STATUS_WORDS[status][language], row["sites"], area, area / total if total else 0.0)

    return {side: [part(status) for status in statuses] for side, statuses in SIDES.items()}


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
            "kind": CLAIM_WORDS[one.kind][language],
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
