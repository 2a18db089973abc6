"""Paths of SVG drawings as text."""

import math
from itertools import pairwise
from typing import Final

import numpy as np

MAX_COORDINATE: Final = 2000
"""Coordinates beyond this are drawn here: the canvas of a drawing is half as large. [pixel]"""


def dots(x: np.ndarray, y: np.ndarray, mark: str = "h0") -> str:
    """SVG path of a mark at each point, (n,) rounded to one decimal [pixel]; no mark where `y` is NaN.

    `mark` has path commands drawn from each point; by default a stroke of no length, which round ends make a dot.
    """
    return _path(x, y, np.ones(x.size, bool), mark)


def line(x: np.ndarray, y: np.ndarray, day: np.ndarray, gap: int) -> str:
    """SVG path of a line through points, (n,) [pixel], interrupted where the next one is more than `gap` days later.

    Days ascend. Each piece begins with a dot, so that a single point is visible; points where `y` is NaN are skipped.
    """
    seen = ~np.isnan(y)
    x, y, day = x[seen], y[seen], day[seen]
    return _path(x, y, np.diff(day, prepend=day[:1] - gap - 1) > gap, "h0")


def area(x: np.ndarray, low: np.ndarray, high: np.ndarray, day: np.ndarray, gap: int) -> str:
    """SVG path of the areas between two lines, interrupted like those of :func:`line`; NaN is skipped."""
    seen = ~np.isnan(low + high)
    x, low, high, day = x[seen], low[seen], high[seen], day[seen]
    edges = [0, *(np.flatnonzero(np.diff(day) > gap) + 1).tolist(), day.size]
    across = _numbers(x)
    lower, upper = ([f"{a},{b}" for a, b in zip(across, _numbers(y), strict=True)] for y in (low, high))
    pieces = [[*lower[first:end], *reversed(upper[first:end])] for first, end in pairwise(edges) if end > first]
    return "".join(f"M{'L'.join(piece)}Z" for piece in pieces)


def _path(x: np.ndarray, y: np.ndarray, starts: np.ndarray, mark: str) -> str:
    seen = ~np.isnan(y)
    points = zip(_numbers(x[seen]), _numbers(y[seen]), starts[seen].tolist(), strict=True)
    return "".join(f"M{a},{b}{mark}" if start else f"L{a},{b}" for a, b, start in points)


def _numbers(values: np.ndarray) -> list[str]:
    tenths = np.rint(10 * np.clip(values, -MAX_COORDINATE, MAX_COORDINATE)).astype(np.int64)
    return [f"{n / 10:.1f}" for n in tenths.tolist()]


def round_below(value: float) -> float:
    """Largest of 1, 2, 5 times a power of ten that is not above a value."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(m * power for m in (5.0, 2.0, 1.0) if m * power <= value)
