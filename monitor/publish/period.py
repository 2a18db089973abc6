"""The account of a period: opening, moves and closing by status, months and years, against the path to the pledge."""

import calendar
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from monitor.publish.moves import REASONS, STATUSES, TAKING_HOLD, Move, balance
from monitor.series.observations import csv_cell, marked
from monitor.sites.site import Site

CSV_COLUMNS: Final = (
    "row", "day", "site", "name", "status", "from", "to", "hectares", "reason", "province", "partner",
    "programme_year", "intervention",
)  # fmt: skip
"""Columns of ``programme-moves.csv``."""

type Path = Mapping[int, float]
"""Hectares that should be taking hold, by the end of each year."""


@dataclass(frozen=True, kw_only=True)
class Period:
    """The account of a period."""

    first: date
    last: date
    night: str | None  # newest night up to its last day, ISO 8601; None: the first one came later
    before: Sequence[Move]  # moves before the period
    moves: Sequence[Move]  # moves in the period
    path: Path  # path to the pledge; may be empty

    @property
    def every(self) -> list[Move]:
        """Moves up to its last day."""
        return [*self.before, *self.moves]

    @property
    def opening(self) -> dict[str, float]:
        """Hectares by status at the end of the day before."""
        return balance(self.before)

    @property
    def closing(self) -> dict[str, float]:
        """Hectares by status at its end."""
        return balance(self.every)

    @property
    def summary(self) -> dict[str, Any]:
        """JSON values that ``regrowth programme --from --to --json`` prints."""
        moves = [
            {
                "site": move.site, "date": move.date, "from": move.old, "to": move.new, "hectares": move.hectares,
                "reason": move.reason,
            }
            for move in self.moves if move.old != move.new
        ]  # fmt: skip
        return {
            "from": self.first.isoformat(), "to": self.last.isoformat(), "as_of": self.night,
            "opening": self.opening, "moves": moves, "closing": self.closing,
            "path_hectares": path_on(self.path, self.last),
        }  # fmt: skip


def period_of(moves: Sequence[Move], nights: Sequence[str], first: date, last: date, path: Path) -> Period:
    """The account of a period; `moves`: all, by day; `nights`: days of the nights, ascending."""
    begin, end = first.isoformat(), last.isoformat()
    return Period(
        first=first, last=last, night=max((night for night in nights if night <= end), default=None),
        before=[move for move in moves if move.date < begin],
        moves=[move for move in moves if begin <= move.date <= end], path=path,
    )  # fmt: skip


def path_on(path: Path, day: date) -> float | None:
    """Hectares that should be taking hold on a day, linear between the ends of years; None before the first. [ha]"""
    years = sorted(path)
    reached = day.year if (day.month, day.day) == (12, 31) else day.year - 1
    if not years or reached < years[0]:
        return None
    if reached >= years[-1]:
        return path[years[-1]]
    after = next(year for year in years if year > reached)
    start = max(year for year in years if year <= reached)
    begin, end = date(start, 12, 31), date(after, 12, 31)
    return path[start] + (path[after] - path[start]) * ((day - begin) / (end - begin))


def months_of(moves: Sequence[Move], last: date) -> list[tuple[date, date]]:
    """First and last day of each month from the first move on; the last month ends on `last`."""
    if not moves:
        return []
    first = date.fromisoformat(moves[0].date).replace(day=1)
    months = []
    while first <= last:
        end = first.replace(day=calendar.monthrange(first.year, first.month)[1])
        months.append((first, min(end, last)))
        first = end + timedelta(days=1)
    return months


def by_month[Group](
    moves: Iterable[Move], months: Sequence[tuple[date, date]], group: Callable[[Site], Group]
) -> dict[Group, dict[str, list[float]]]:
    """Hectares at the end of each month by group and status; `moves` none of which is after the last month. [ha]"""
    ends = [end.isoformat() for _, end in months]
    changes: dict[Group, dict[str, list[list[float]]]] = defaultdict(dict)
    at = 0
    for move in moves:
        while move.date > ends[at]:
            at += 1
        for site, status, hectares in ((move.before, move.old, -move.hectares), (move.after, move.new, move.hectares)):
            if site is not None and status is not None:
                of_status = changes[group(site)].setdefault(status, [[] for _ in months])
                of_status[at].append(hectares)
    series: dict[Group, dict[str, list[float]]] = {}
    for key, statuses in changes.items():
        for status, parts in statuses.items():
            total, totals = 0.0, []
            for areas in parts:
                total = math.fsum([total, *areas])
                totals.append(max(round(total, 9), 0.0))
            series.setdefault(key, {})[status] = totals
    return series


def taking_hold(hectares: Mapping[str, float]) -> float:
    """Hectares that are taking hold. [ha]"""
    return math.fsum(hectares[status] for status in TAKING_HOLD)


def by_reason(moves: Iterable[Move]) -> dict[str, list[Move]]:
    """Moves into and out of ground that is taking hold, by reason in the order of :data:`REASONS`."""
    chosen: dict[str, list[Move]] = {reason: [] for reason in REASONS}
    for move in moves:
        if move.taking_hold:
            chosen[move.reason].append(move)
    return chosen


def period_csv(period: Period) -> bytes:
    """``programme-moves.csv``: opening, every move, closing, and hectares at the end of each month."""
    rows: list[dict[str, Any]] = []
    opening_day = (period.first - timedelta(days=1)).isoformat()
    for name, day, hectares in (
        ("opening", opening_day, period.opening), ("closing", period.last.isoformat(), period.closing),
    ):  # fmt: skip
        rows += [{"row": name, "day": day, "status": status, "hectares": hectares[status]} for status in STATUSES]
    moves = [
        {
            "row": "move", "day": move.date, "site": move.site, "name": move.name, "from": move.old, "to": move.new,
            "hectares": move.hectares, "reason": move.reason, "province": site.province, "partner": site.partner,
            "programme_year": site.programme_year, "intervention": site.intervention,
        }
        for move in period.moves if move.old != move.new and (site := move.after or move.before) is not None
    ]  # fmt: skip
    rows[len(STATUSES) : len(STATUSES)] = moves
    months = months_of(period.every, period.last)
    sums, zeros = by_month(period.every, months, lambda _: None).get(None, {}), [0.0] * len(months)
    for place, (_, end) in enumerate(months):
        rows += [
            {"row": "month", "day": end.isoformat(), "status": status, "hectares": sums.get(status, zeros)[place]}
            for status in STATUSES
        ]
    return csv_of(CSV_COLUMNS, rows)


def csv_of(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """CSV of some columns, empty where a row has no value."""
    lines = [",".join(columns), *(",".join(_cell(row.get(name)) for name in columns) for row in rows)]
    return marked(("\n".join(lines) + "\n").encode("utf-8", "replace"))


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6f}" if isinstance(value, float) else csv_cell(str(value))
