"""The figures beside their goals: gathered from the trials, written as Markdown and as CSV.

A goal missed is printed as missed; no figure is rounded before it is held to its goal.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table: a figure, or a few of one kind."""

    name: str
    values: np.ndarray
    """(seeds, entries), or (entries,) where there is one draw only."""
    entries: tuple[str, ...] = ("",)
    goal: tuple[float, ...] = ()
    """One for each entry, or one for all; for a range, two."""
    aim: tuple[float, ...] = ()
    ceiling: tuple[float, ...] = ()
    sense: str = ">="
    """``>=`` at least, ``<=`` at most, ``in`` within the range."""
    spread: np.ndarray | None = None
    """(entries,) standard error, where it does not come from the seeds."""
    note: str = ""

    @property
    def found(self) -> np.ndarray:
        """(entries,) mean over seeds."""
        mean: np.ndarray = np.atleast_2d(self.values).mean(axis=0)
        return mean

    @property
    def deviation(self) -> np.ndarray:
        """(entries,) standard deviation between seeds, or the standard error given."""
        if self.spread is not None:
            return self.spread
        values = np.atleast_2d(self.values)
        sd: np.ndarray = values.std(axis=0, ddof=1) if values.shape[0] > 1 else np.full(values.shape[1], np.nan)
        return sd

    def reaches(self, wanted: tuple[float, ...]) -> np.ndarray:
        """(entries,) whether each figure is where it is wanted."""
        found = self.found.round(9)  # the mean of .05 and .07 is .06
        if self.sense == "in":
            inside: np.ndarray = (found >= wanted[0]) & (found <= wanted[1])
            return inside
        bound = np.broadcast_to(np.array(wanted), found.shape)
        good: np.ndarray = found >= bound if self.sense == ">=" else found <= bound
        return good

    @property
    def verdict(self) -> str:
        """``met``, with the aim if that is met too, or ``MISSED`` and where."""
        if not self.goal:
            return ""
        reached = self.reaches(self.goal)
        if not reached.all():
            where = [label for label, good in zip(self.entries, reached, strict=True) if not good and label]
            return "**MISSED**" + (f" ({', '.join(where)})" if where and not (~reached).all() else "")
        return "met, aim met" if self.aim and self.reaches(self.aim).all() else "met"


@dataclass(slots=True, kw_only=True)
class Section:
    """A heading, what to know of its lines, and the lines; or a table of another form."""

    title: str
    about: str = ""
    rows: list[Row] = field(default_factory=list)
    header: tuple[str, ...] = ()
    lines: list[tuple[str, ...]] = field(default_factory=list)
    """Where the section has columns of its own."""


def shown(value: float, digits: int = 3) -> str:
    """``.583`` for .583, ``1,234`` for thousands, a dash for nothing."""
    if not np.isfinite(value):
        return "–"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def several(values: Sequence[float] | np.ndarray, digits: int = 3) -> str:
    """Values with strokes between them."""
    return " / ".join(shown(float(v), digits) for v in values)


def wanted(row: Row, values: tuple[float, ...]) -> str:
    """A goal as it is printed."""
    if not values:
        return ""
    if row.sense == "in":
        return f"{shown(values[0], 2)} to {shown(values[1], 2)}"
    sign = "≥" if row.sense == ">=" else "≤"
    return f"{sign} {' / '.join(f'{v:,.0f}' if v >= 100 else f'{v:g}'.replace('0.', '.', 1) for v in values)}"


def markdown(head: str, sections: Sequence[Section]) -> str:
    """The whole table."""
    out = [head]
    for section in sections:
        out += [f"\n## {section.title}\n"]
        if section.about:
            out += [section.about + "\n"]
        if section.header:
            out += ["| " + " | ".join(section.header) + " |", "|---" + "|---:" * (len(section.header) - 1) + "|"]
            out += ["| " + " | ".join(line) + " |" for line in section.lines]
            out += [""]
        if section.rows:
            out += ["| figure | found | ± | goal | aim | ceiling known | |", "|---|---:|---:|---:|---:|---:|---|"]
        for row in section.rows:
            labels = " / ".join(row.entries)
            name = f"{row.name}: {labels}" if labels else row.name
            ceiling = several(row.ceiling, 2) if row.ceiling else ""
            cells = (
                name, several(row.found), several(row.deviation), wanted(row, row.goal), wanted(row, row.aim), ceiling,
                " ".join(filter(None, (row.verdict, row.note))),
            )  # fmt: skip
            out.append("| " + " | ".join(cells) + " |")
    return "\n".join(out) + "\n"


def write_csv(path: Path, sections: Sequence[Section]) -> None:
    """One line a figure; tables of another form as they are, one line a cell."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("section", "figure", "entry", "found", "spread", "goal", "aim", "ceiling", "verdict"))
        for section in sections:
            for row in section.rows:
                reached = row.reaches(row.goal) if row.goal else None
                for k, label in enumerate(row.entries):
                    writer.writerow(
                        (
                            section.title, row.name, label, f"{row.found[k]:.6g}", f"{row.deviation[k]:.3g}",
                            _one(row, row.goal, k), _one(row, row.aim, k), _one(row, row.ceiling, k),
                            "" if reached is None else ("met" if reached[k] else "MISSED"),
                        )
                    )  # fmt: skip
            for line in section.lines:
                for label, cell in zip(section.header[1:], line[1:], strict=True):
                    writer.writerow((section.title, line[0], label, cell, "", "", "", "", ""))


def _one(row: Row, values: tuple[float, ...], k: int) -> str:
    if not values:
        return ""
    if row.sense == "in" and values is not row.ceiling:
        return f"{values[0]:g} to {values[1]:g}"
    return f"{values[k] if len(values) > 1 else values[0]:g}"
