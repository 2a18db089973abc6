"""Paths of drawings as text: to format ten years of scenes number by number takes longer than all else on a page."""

from typing import Final

import numpy as np
from numba import njit

FAR: Final = 2000
"""Beyond this a place on a drawing is not told apart: its canvas is half as large. [pixel]"""

_LONGEST: Final = len(f"M{-FAR:.1f},{-FAR:.1f}")


def dots(x: np.ndarray, y: np.ndarray, mark: bytes = b"h0") -> str:
    """A mark at each place.

    Parameters
    ----------
    x, y : (n,) float64 arrays
        Places, set with one decimal; where `y` is NaN there is none. [pixel]
    mark : bytes
        What is drawn from each; by default a stroke of no length, which round ends make a dot.

    Returns
    -------
    str
        Commands of an SVG path.
    """
    return _path(x, y, np.zeros(x.size, np.int64), -1, mark)


def line(x: np.ndarray, y: np.ndarray, day: np.ndarray, gap: int) -> str:
    """A line through the places, lifted where the next is farther away in time; where one begins there is a dot.

    Parameters
    ----------
    x, y : (n,) float64 arrays
        Places, as for :func:`dots`.
    day : (n,) int array
        Days of them, ascending.
    gap : int
        Longest time that is drawn across. [day]

    Returns
    -------
    str
        Commands of an SVG path.
    """
    return _path(x, y, day, gap, b"h0")


def _path(x: np.ndarray, y: np.ndarray, day: np.ndarray, gap: int, mark: bytes) -> str:
    out = np.empty(x.size * (_LONGEST + len(mark)), np.uint8)
    size = _set(x, y, day, gap, np.frombuffer(mark, np.uint8), out)
    return out[:size].tobytes().decode("ascii")


@njit(cache=True)
def _set(x: np.ndarray, y: np.ndarray, day: np.ndarray, gap: int, mark: np.ndarray, out: np.ndarray) -> int:
    """Set a path into `out`; how many bytes it takes."""
    size, last, begun = 0, 0, False
    for i in range(x.size):
        if np.isnan(y[i]):
            continue
        lifted = not begun or day[i] - last > gap
        begun, last = True, day[i]
        out[size] = ord("M") if lifted else ord("L")
        size = _set_number(x[i], out, size + 1)
        out[size] = ord(",")
        size = _set_number(y[i], out, size + 1)
        if lifted:
            out[size : size + mark.size] = mark
            size += mark.size
    return size


@njit(cache=True)
def _set_number(value: float, out: np.ndarray, at: int) -> int:
    """Set a number with one decimal into `out` from a place on; the place after it."""
    tenths = np.int64(np.rint(10 * min(max(value, -FAR), FAR)))
    if tenths < 0:
        out[at] = ord("-")
        at, tenths = at + 1, -tenths
    power = 10
    while power * 10 <= tenths:
        power *= 10
    while power:
        if power == 1:
            out[at] = ord(".")
            at += 1
        out[at] = ord("0") + tenths // power % 10
        at, power = at + 1, power // 10
    return at
