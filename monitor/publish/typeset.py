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
        One cell a row, or the same in each row; at least one is an array.

    Returns
    -------
    bytes
        Without anything between cells or rows; empty where n is 0.
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


@cache
def _tenths() -> np.ndarray:
    tenth = np.arange(-10 * FAR, 10 * FAR + 1)
    whole = np.array([b"%d." % number for number in range(FAR + 1)])[abs(tenth) // 10]
    digit = np.array([b"%d" % number for number in range(10)])[abs(tenth) % 10]
    table: np.ndarray = np.strings.add(np.where(tenth < 0, b"-", b""), np.strings.add(whole, digit))
    return table
