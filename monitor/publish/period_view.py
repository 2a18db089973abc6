"""Content of the page about a period, in one language: a finding against the path, drawings, tables and changes."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final

from markupsafe import Markup

from monitor.alerts import words
from monitor.publish.moves import TAKING_HOLD, Move, balance
from monitor.publish.page_files import PAGE_FILES
from monitor.publish.period import Period, by_month, by_reason, months_of, path_on, taking_hold
from monitor.publish.period_chart import LAYERS, Bar, small_stacked, stacked, waterfall
from monitor.publish.statuses import UNJUDGED
from monitor.sites.names import without_invisible
from monitor.sites.site import Site
from monitor.verdict.lots import lot_of

STATUS_WORDS: Final[Mapping[str, Mapping[str, str]]] = {
    **{status: words.STATUS_NAMES[status] for status in LAYERS if status in words.STATUS_NAMES},
    **words.TEXTS["account_status"],
}
REASON_WORDS: Final = words.TEXTS["account_reason"]
FILLS: Final = {
    "taking_hold": "on_track", "new": "on_track", "fell_below": "lagging", "loss": "disturbed",
    "not_seen": "insufficient_data",
}  # fmt: skip
"""Pattern of a line by reason; that of others: ``undecided``."""
MARKS: Final = {"no_loss_seen": "no_loss", UNJUDGED: "undecided"}  # of statuses whose mark has another name
MAX_NAMES: Final = 4
MAX_NOTE: Final = 60
MAX_NAME: Final = 40
MAX_YEARS: Final = 6
MAX_CHANGES: Final = 12
MAX_LOTS: Final = 24
"""Lots that the page draws, at most; if there are more, it draws provinces."""


class _Words:
    """Numbers and names of one period in one language: whole units from a thousand hectares on."""

    def __init__(self, language: words.Language, total: float) -> None:
        self.zh = language == "zh"
        self.language = language
        self._factor, small = (int(words.MU_PER_HECTARE), 1) if self.zh else (1, 2)
        self._digits, self._hectare_digits = (0, 0) if total >= 1000 else (small, 2)

    def __call__(self, english: str, chinese: str) -> str:
        return chinese if self.zh else english

    def number(self, hectares: float) -> str:
        """An area in the unit of the language, without it."""
        return f"{abs(hectares) * self._factor:,.{self._digits}f}"

    def signed(self, hectares: float) -> str:
        return f"{'−' if hectares < 0 else '+'}{self.number(hectares)}"

    def area(self, hectares: float) -> str:
        """An area with its unit; in Chinese mu first."""
        exact = f"{abs(hectares):,.{self._hectare_digits}f}"
        return f"{self.number(hectares)} 亩（{exact} 公顷）" if self.zh else f"{exact} ha"

    def day(self, day: date) -> str:
        return words.day(day, self.language)

    def sites(self, n: int) -> str:
        return f"{n:,} 个地块" if self.zh else "1 site" if n == 1 else f"{n:,} sites"

    def name(self, move: Move) -> str:
        """Name of the site of a move on its day."""
        site = move.after or move.before
        short = site.name_zh if site and self.zh else None
        return _inert(short or move.name) or _inert(move.site)

    def names(self, moves: Iterable[Move]) -> str:
        """Names of the sites of some moves, the largest first, or how many they are."""
        largest = sorted(moves, key=lambda move: -move.hectares)
        shown = list(dict.fromkeys(self.name(move) for move in largest))
        if len(shown) > MAX_NAMES:
            return self.sites(len({move.site for move in largest}))
        return self(", ", "、").join(shown)


def period_view(period: Period, language: words.Language, *, pledge: float | None) -> dict[str, Any]:
    """Content of the page about a period, for its template; `pledge`: hectares pledged, if known. [ha]"""
    closing, opening = period.closing, period.opening
    total, grown = sum(closing.values()), taking_hold(closing)
    say = _Words(language, max(total, pledge or 0.0))
    names = {status: STATUS_WORDS[status][language] for status in LAYERS}
    every = period.every
    months = months_of(every, period.last)
    series = by_month(every, months, lambda _: None).get(None, {})
    by_lot = 1 < len({_lot_key(move.after) for move in every if move.after}) <= MAX_LOTS
    changed = grown - taking_hold(opening)
    title = _title(period, say, grown, total, changed)
    return {
        "title": title, "lead": _lead(period, say, closing, pledge), "path": bool(period.path),
        "pledge": pledge,
        "chart": Markup(
            stacked(
                months, series, names, title, path=period.path, pledge=_pledge_words(period, say, pledge),
                format_area=say.number,
            )
        ) if months else "",
        "account": Markup(_waterfall(period, say, opening, closing)),
        "account_title": _account_title(period, say),
        "years": _years(period, say), **_changes(period, say),
        "groups": _groups(period, say, months, names, by_lot=by_lot) if months else [], "by_lot": by_lot,
    }  # fmt: skip


def _since(period: Period, say: _Words) -> str:
    if (period.first.month, period.first.day) == (1, 1):
        return say("at New Year", "年初")
    day = say.day(period.first - timedelta(days=1))
    return say(f"on {day}", day)


def _title(period: Period, say: _Words, grown: float, total: float, changed: float) -> str:
    """The finding: against the path where there is one, else against the opening."""
    target = path_on(period.path, period.last)
    if target is not None:
        behind = target - grown
        if say.number(behind) == say.number(0.0):
            return say(f"{say.area(grown)} are taking hold, as the path to the pledge wants",
                       f"{say.area(grown)}见效，与承诺进度一致")  # fmt: skip
        return say(
            f"{say.area(grown)} are taking hold: {say.area(behind)} "
            f"{'behind' if behind > 0 else 'ahead of'} the path to the pledge",
            f"{say.area(grown)}见效，{'落后' if behind > 0 else '超前'}于承诺进度 {say.area(behind)}",
        )
    finding = say(
        f"{say.number(grown)} of {say.area(total)} are taking hold", f"{say.area(total)}中有 {say.area(grown)}见效"
    )
    if not period.before:
        return finding
    if say.number(changed) == say.number(0.0):
        return finding + say(f", as {_since(period, say)}", f"，与{_since(period, say)}持平")
    more = say("more", "增加") if changed > 0 else say("fewer", "减少")
    since = _since(period, say)
    return finding + say(f", {say.area(changed)} {more} than {since}", f"，比{since}{more} {say.area(changed)}")


def _lead(period: Period, say: _Words, closing: Mapping[str, float], pledge: float | None) -> str:
    total, grown = sum(closing.values()), taking_hold(closing)
    unknown = ("too_early", "insufficient_data", "no_loss_seen", UNJUDGED)
    judged = total - sum(closing[status] for status in unknown)
    parts = [say(f"{say.day(period.last)}.", f"{say.day(period.last)}。")]
    if pledge:
        parts.append(
            say(f"{say.area(total)} registered of {say.area(pledge)} pledged.",
                f"承诺 {say.area(pledge)}，已登记 {say.area(total)}。")
        )  # fmt: skip
    parts.append(
        say("Every hectare counts once, with all of its site, under the verdict published then.",
            "每块地只计一次，按当时发布的结论整块计入。")
    )  # fmt: skip
    if judged > 0:
        share = f"{grown / judged:.0%}"
        parts.append(
            say(f"Of the {say.area(judged)} that are old enough and seen, {share} are taking hold.",
                f"已到可评价年限且看得清的 {say.area(judged)}中，{share} 见效。")
        )  # fmt: skip
    return say(" ", "").join(parts)


def _pledge_words(period: Period, say: _Words, pledge: float | None) -> str:
    if not period.path:
        return ""
    year = max(period.path)
    if period.path[year] == pledge:
        return say(f"pledge {say.area(period.path[year])}, {year}", f"承诺：{year} 年 {say.area(period.path[year])}")
    return say(f"path: {say.area(period.path[year])}, {year}", f"承诺进度：{year} 年 {say.area(period.path[year])}")


def _account_title(period: Period, say: _Words) -> str:
    last = period.last
    if (period.first.month, period.first.day, period.first.year) == (1, 1, last.year):
        if (last.month, last.day) == (12, 31):
            return say(f"Taking hold: account for {last.year}", f"{last.year} 年见效面积账")
        return say(
            f"Taking hold: account for {last.year}, to {say.day(last)}",
            f"{last.year} 年见效面积账，截至{say.day(last)}",
        )
    first = say.day(period.first)
    return say(f"Taking hold: account from {first} to {say.day(last)}", f"见效面积账：{first}至{say.day(last)}")


def _holding(moves: Iterable[Move]) -> int:
    """Number of sites that are taking hold after some moves."""
    standing: dict[str, str | None] = {}
    for move in moves:
        if move.reason != "outline" or move.old == move.new:
            standing[move.site] = move.new
    return sum(status in TAKING_HOLD for status in standing.values())


def _waterfall(period: Period, say: _Words, opening: Mapping[str, float], closing: Mapping[str, float]) -> str:
    bars = []
    for reason, moves in by_reason(period.moves).items():
        change = sum(move.taking_hold for move in moves)
        if moves:
            label = REASON_WORDS[reason][say.language]
            bars.append(
                Bar(
                    label, _short(say.names(moves), MAX_NOTE), change, say.signed(change),
                    FILLS.get(reason, "undecided"),
                )
            )  # fmt: skip
    ends = (period.first - timedelta(days=1), period.last)
    notes = [
        f"{say.day(day)}{say(', ', '，')}{say.sites(_holding(moves))}"
        for day, moves in zip(ends, (period.before, period.every), strict=True)
    ]
    begin, end = taking_hold(opening), taking_hold(closing)
    return waterfall(
        (say("Opening balance", "期初"), notes[0], begin, say.number(begin)), bars,
        (say("Closing balance", "期末"), notes[1], say.number(end)), say("Account of the period", "本期账"),
    )  # fmt: skip


def _years(period: Period, say: _Words) -> dict[str, Any]:
    """The account by year: headings, and rows of (kind, name, note, cells); a cell is a number with a note."""
    every = period.every
    if not every:
        return {"headings": [], "rows": []}
    first = max(date.fromisoformat(every[0].date).year, period.last.year - MAX_YEARS + 1)
    years = range(first, period.last.year + 1)
    ends = [min(date(year, 12, 31), period.last) for year in years]
    parts = [[move for move in every if move.date[:4] == str(year)] for year in years]
    days = [day.isoformat() for day in (date(first - 1, 12, 31), *ends)]
    until = [balance(move for move in every if move.date <= day) for day in days]
    held = [taking_hold(hectares) for hectares in until]
    rows = [("sum", say("Opening balance", "期初"), "", [(say.number(area), "") for area in held[:-1]])]
    reasons = [by_reason(part) for part in parts]
    for reason, label in REASON_WORDS.items():
        if any(one[reason] for one in reasons):
            cells = [
                (say.signed(sum(move.taking_hold for move in one[reason])), say.names(one[reason]))
                if one[reason]
                else ("·", "")
                for one in reasons
            ]
            rows.append(("", label[say.language], "", cells))
    rows.append(("sum", say("Closing balance", "期末"), "", [(say.number(area), "") for area in held[1:]]))
    totals = [sum(hectares.values()) for hectares in until[1:]]
    new = [sum(move.hectares for move in part if move.reason == "new") for part in parts]
    cells = [
        (say.number(total), say.signed(area) if area else say("none", "无"))
        for total, area in zip(totals, new, strict=True)
    ]
    rows.append(("", say("Registered at the end", "期末登记"), say("of it new in the period", "其中本期新登记"), cells))
    shares = [(f"{area / total:.0%}" if total else "–", "") for area, total in zip(held[1:], totals, strict=True)]
    rows.append(("", say("Share taking hold", "见效占比"), "", shares))
    targets = [path_on(period.path, end) for end in ends]
    if any(target is not None for target in targets):
        cells = [
            ("–", "") if target is None else (say.number(target), say.signed(area - target))
            for area, target in zip(held[1:], targets, strict=True)
        ]
        rows.append(("", say("Path to the pledge", "承诺进度"), say("ahead or behind", "超前或落后"), cells))
    headings = [str(year) for year in years]
    if ends[-1] != date(period.last.year, 12, 31):
        headings[-1] = say(f"{headings[-1]} to {say.day(period.last)[:-5]}", f"截至{say.day(period.last)}")
    return {"headings": headings, "rows": rows}


def _changes(period: Period, say: _Words) -> dict[str, Any]:
    """Changes in the last month, and before: the newest first."""
    every = [move for move in period.every if move.old != move.new]
    month = period.last.replace(day=1)
    recent = [move for move in every if move.date >= month.isoformat()]
    earlier = [move for move in every if move.date < month.isoformat()]
    shown = _change_rows(recent, say)
    if len(shown) > MAX_CHANGES:
        shown, earlier = _reason_rows(recent, say), []
    before = _change_rows(earlier, say)[: MAX_CHANGES - len(shown)]
    return {
        "month": say(say.day(month)[2:], f"{month.year}年{month.month}月"), "changes": shown, "before": before,
    }  # fmt: skip


def _change_rows(moves: Sequence[Move], say: _Words) -> list[dict[str, Any]]:
    """Moves of one day, reason and pair of statuses together."""

    def key(move: Move) -> tuple[str, str, str, str]:
        return move.date, move.reason, move.old or "", move.new or ""

    rows = []
    for (day, reason, old, new), together in itertools.groupby(sorted(moves, key=key, reverse=True), key=key):
        part = list(together)
        area = sum(move.hectares for move in part)
        steps = say(" → ", "→").join(STATUS_WORDS[status][say.language].lower() for status in (old, new) if status)
        if not old:
            sign, steps = "+", say(f"registered: {steps}", f"新登记：{steps}") if reason == "new" else steps
        else:
            sign = "−" if not new else ""
        is_act = reason in ("promise", "outline", "replanted", "retired")
        why = REASON_WORDS[reason][say.language].lower() if is_act else ""
        rows.append(
            {
                "day": date.fromisoformat(day), "mark": MARKS.get(new or old, new or old), "names": say.names(part),
                "text": say(", ", "，").join(filter(None, (why, steps, f"{sign}{say.area(area)}"))),
            }
        )  # fmt: skip
    return rows


def _reason_rows(moves: Sequence[Move], say: _Words) -> list[dict[str, Any]]:
    """Moves of one reason together."""
    rows = []
    for reason, label in REASON_WORDS.items():
        if part := [move for move in moves if move.reason == reason]:
            area = say.area(sum(move.hectares for move in part))
            name = label[say.language].lower()
            mark = FILLS.get(reason, "undecided")
            text = say(f"{name}, {say.names(part)}", f"{name}，{say.names(part)}")
            rows.append({"day": None, "mark": mark, "names": area, "text": text})
    return rows


def _lot_key(site: Site | None) -> str | None:
    return None if site is None or (lot := lot_of(site)) is None else lot.id


def _groups(
    period: Period, say: _Words, months: Sequence[tuple[date, date]], names: Mapping[str, str], *, by_lot: bool
) -> list[tuple[Markup, str, str | None, str]]:
    """Drawing, name, address and sentence of each lot; of each province where there are too many lots."""
    lots = {_lot_key(move.after): lot_of(move.after) for move in period.every if move.after}

    def group(site: Site) -> str | None:
        return _lot_key(site) if by_lot else site.province

    series, changes = by_month(period.every, months, group), dict[str | None, float]()
    for move in period.moves:
        for site, status, area in ((move.before, move.old, -move.hectares), (move.after, move.new, move.hectares)):
            if site is not None and status in TAKING_HOLD:
                changes[group(site)] = changes.get(group(site), 0.0) + area
    if len(series) < 2:
        return []
    several = len({lot and lot.partner for lot in lots.values()}) > 1
    is_year = period.first == date(period.last.year, 1, 1)
    this = say("this year", "今年") if is_year else say("in the period", "本期")
    rows = []
    for key, statuses in series.items():
        held = sum(statuses[status][-1] for status in TAKING_HOLD if status in statuses)
        total = sum(areas[-1] for areas in statuses.values())
        if total <= 0:
            continue
        name = _inert(key or "") or say("Not stated", "未登记")
        if by_lot and (lot := lots[key]) is not None:
            kind = words.INTERVENTION_NAMES[lot.intervention][say.language]
            kind = kind[:1].upper() + kind[1:]
            partner = [_inert(lot.partner)] if several else []
            name = say(", ", "，").join((kind, str(lot.programme_year), *partner))
        change = changes.get(key, 0.0)
        moved = say("unchanged", "无变化") if say.number(change) == say.number(0.0) else say.signed(change)
        sentence = say(
            f"{say.number(held)} of {say.area(total)} taking hold; {this} {moved}"
            f"{'' if moved == 'unchanged' else ' ha'}",
            f"{say.area(total)}中 {say.area(held)}见效；{this}{moved}{'' if moved == '无变化' else ' 亩'}",
        )
        picture = small_stacked(months, statuses, names, f"{name}: {sentence}", say.number)
        address = f"lots/{key}/{PAGE_FILES[say.language]}" if by_lot and key else None
        rows.append((total, (Markup(picture), name, address, sentence)))
    return [row for _, row in sorted(rows, key=lambda one: -one[0])]


def _inert(name: str) -> str:
    return _short(without_invisible(name), MAX_NAME)


def _short(shown: str, room: int) -> str:
    """The text, or as much of it as has this width; a Chinese character is twice as wide as a letter."""
    for end, width in enumerate(itertools.accumulate(2 if char > "\u2e7f" else 1 for char in shown)):
        if width > room:
            return f"{shown[:end]}…"
    return shown
