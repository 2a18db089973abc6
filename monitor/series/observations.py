"""``observations.csv``: the series of a site as a table, one line an acquisition.

It contains all that a verdict uses, so that ``regrowth assess`` gives the published verdict from it. Lines are
formatted once, as scenes arrive; the table of ten years is then joined from stored lines.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

OBSERVATION_COLUMNS: Final = (
    "site", "date", "scene", "source", "baseline", "clear_fraction", "n_pixels", "ndvi", "cover", "control_ndvi",
    "control_cover", "accepted", "reason", "control_2", "second_index", "control_second_index", "reference_cover",
)  # fmt: skip
MEAN_COLUMNS: Final = (
    "clear_fraction", "ndvi", "cover", "control_ndvi", "control_cover", "control_2", "second_index",
    "control_second_index", "reference_cover",
)  # fmt: skip
"""Columns with six decimals, empty where not seen."""
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
"""Begins a CSV with text that is not ASCII, so that spreadsheets read it as UTF-8."""
CSV_SPECIAL: Final = ',"\r\n'  # characters for which a cell of CSV is quoted
FORMULA_STARTS: Final = frozenset("=+-@＝＋－＠\t\r\n")
"""First characters that a spreadsheet takes for a formula."""


def observation_lines(table: Mapping[str, Any]) -> list[str]:
    """Format the lines of ``observations.csv`` from all :data:`OBSERVATION_COLUMNS` but ``site``.

    Values are empty where not seen (NaN); text that a spreadsheet would run as a formula is quoted.
    """
    cells: dict[str, Iterable[str]] = {
        "date": np.datetime_as_string(np.asarray(table["date"], "datetime64[D]")).tolist(),
        "n_pixels": map(str, table["n_pixels"]),
        "accepted": ["true" if accepted else "false" for accepted in table["accepted"]],
    }
    for name in MEAN_COLUMNS:
        cells[name] = map(_six_decimals, np.asarray(table[name], np.float64).tolist())
    for name in ("scene", "source", "baseline", "reason"):
        cells[name] = map(csv_cell, table[name])
    return [",".join(row) for row in zip(*(cells[name] for name in OBSERVATION_COLUMNS[1:]), strict=True)]


def observations_csv(site: str, lines: Iterable[bytes]) -> bytes:
    """``observations.csv`` from the lines of a site, in UTF-8."""
    start = f"\n{csv_cell(site)},".encode()  # in one join: a line at a time takes several times as long
    return marked(start.join([",".join(OBSERVATION_COLUMNS).encode(), *lines]) + b"\n")


def marked(table: bytes) -> bytes:
    """Content of a CSV in UTF-8 that begins with a byte order mark where it has text that is not ASCII."""
    return table if table.isascii() else BYTE_ORDER_MARK + table


def _six_decimals(value: float) -> str:
    """A number as text; empty for NaN, and never -0."""
    return "" if value != value else f"{value:z.6f}"


def csv_cell(text: str) -> str:
    """Text as a cell of CSV, inert in a spreadsheet."""
    inert = f"'{text}" if text[:1] in FORMULA_STARTS else text
    return '"' + inert.replace('"', '""') + '"' if any(mark in inert for mark in CSV_SPECIAL) else inert
