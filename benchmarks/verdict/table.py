"""Figures with their error, beside what is required of them, in Markdown. A figure missed is printed as missed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of the page."""

    value: float
    error: float = np.nan  # standard error

    @classmethod
    def share(cls, hits: np.ndarray) -> "Figure":
        """Share of sites, with the spread of its posterior (Jeffreys' prior): none of many has an error too."""
        value, chance = float(np.mean(hits)), (float(np.sum(hits)) + 0.5) / (hits.size + 1)
        return cls(value, float(np.sqrt(chance * (1 - chance) / (hits.size + 2))))

    @classmethod
    def mean(cls, values: np.ndarray) -> "Figure":
        """Mean over sites that are not NaN."""
        seen = values[np.isfinite(values)]
        if not seen.size:
            return cls(np.nan)
        return cls(float(seen.mean()), float(seen.std() / np.sqrt(seen.size)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the first table."""

    name: str
    figures: Sequence[Figure]
    required: Sequence[float] = ()  # one a figure
    sense: str = "≤"  # `≤` at most, `≥` at least
    beside: str = ""  # what the figure costs, or what it is worth without: detection of the same world, and the like

    @property
    def verdict(self) -> str:
        """``met``, or ``MISSED`` with the places of the figures that miss. Nothing is rounded before."""
        if not self.required:
            return ""
        missed = [
            k for k, (figure, bound) in enumerate(zip(self.figures, self.required, strict=True), 1)
            if not (figure.value <= bound if self.sense == "≤" else figure.value >= bound)
        ]  # fmt: skip
        if not missed:
            return "met"
        where = "" if len(missed) == len(self.figures) else f" ({', '.join(map(str, missed))})"
        return f"**MISSED**{where}"


def shown(value: float, digits: int = 3) -> str:
    """``.583`` for .583; a dash for nothing."""
    if not np.isfinite(value):
        return "–"
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def several(figures: Sequence[Figure], digits: int = 3) -> str:
    """Values with strokes between them, and the largest of their standard errors."""
    errors = [figure.error for figure in figures if np.isfinite(figure.error)]
    values = " / ".join(shown(figure.value, digits) for figure in figures)
    return f"{values} ±{shown(max(errors), digits)}" if errors else values


def requirement(row: Row) -> str:
    """What is required, as it is printed."""
    return f"{row.sense} {' / '.join(shown(bound, 2) for bound in row.required)}" if row.required else ""


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table."""
    out = ["| " + " | ".join(header) + " |", "|---|" + "---:|" * (len(header) - 2) + "---|"]
    return "\n".join(out + ["| " + " | ".join(line) + " |" for line in lines]) + "\n"


def goals(rows: Sequence[Row]) -> str:
    """The table of rows with what is required of them."""
    lines = [(row.name, several(row.figures), requirement(row), row.verdict, row.beside) for row in rows]
    return markdown(("figure", "measured", "required", "", "beside it"), lines)
