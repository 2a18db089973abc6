"""Numbers as text, a column at once: to format ten years of scenes one by one takes longer than all else on a page.

A column is an (n,) array of bytes; what pads its cells to one width, NUL, is left out where they are joined.
"""

from functools import cache
from typing import Final

import numpy as np

FAR: Final = 2000
"""Beyond this a place on a drawing is not told apart: its canvas is half as large. [pixel]"""


def rows(*cells: np.ndarray | bytes) -> bytes:
    """Cells side by side, row after row.

    Parameters
    ----------
    cells : (n,) array of bytes, or bytes
        One cell a row, or the same in each row.
    """
    columns = {str(place): np.asarray(cell) for place, cell in enumerate(cells)}
    length = max(column.shape for column in columns.values())
    table = np.empty(length, [(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        table[name] = column
    return table.tobytes().translate(None, b"\0")


def tenths(places: np.ndarray) -> np.ndarray:
    """Places on a drawing with one decimal, (n,) from finite (n,) `places`. [pixel]"""
    return _tenths().take(np.rint(10 * places).astype(np.int64) + 10 * FAR, mode="clip")


def millionths(values: np.ndarray) -> np.ndarray:
    """Numbers with six decimals, same shape: empty where there is none (NaN), and no zero below zero."""
    if np.fmax.reduce(np.abs(values), axis=None, initial=0.0) >= 9:  # an index over dark ground may be anything
        text = [b"" if np.isnan(v) else b"%.6f" % (round(v, 6) + 0.0) for v in values.ravel().tolist()]
        return np.array(text).reshape(values.shape)
    whole, thousand = _wholes(), _thousands()
    none = np.isnan(values)
    count = np.rint(1e6 * np.abs(np.where(none, 0.0, values))).astype(np.int64)
    table = np.empty(values.shape, [("whole", "S3"), ("thousandths", "S3"), ("rest", "S3")])
    table["whole"] = whole[count // 1_000_000 + np.where((values < 0) & (count > 0), 10, 0)]
    table["thousandths"] = thousand[count // 1000 % 1000]
    table["rest"] = thousand[count % 1000]
    table[none] = (b"", b"", b"")
    return table.view("S9")


@cache
def _tenths() -> np.ndarray:
    tenth = np.arange(-10 * FAR, 10 * FAR + 1)
    whole = np.array([b"%d." % number for number in range(FAR + 1)])[abs(tenth) // 10]
    digit = np.array([b"%d" % number for number in range(10)])[abs(tenth) % 10]
    table: np.ndarray = np.strings.add(np.where(tenth < 0, b"-", b""), np.strings.add(whole, digit))
    return table


@cache
def _wholes() -> np.ndarray:
    """From 0 to 9 and, after them, below zero."""
    return np.array([b"%s%d." % (sign, whole) for sign in (b"", b"-") for whole in range(10)])


@cache
def _thousands() -> np.ndarray:
    return np.array([b"%03d" % number for number in range(1000)])
