"""The series of sites as a table: any table with a site, a date and a cover, or published ``observations.csv``."""

from collections import Counter
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from monitor.errors import BadData
from monitor.series.columns import clearest_each_day
from monitor.series.observations import OBSERVATION_COLUMNS
from monitor.sites.checked_feature import shown
from monitor.verdict.assessment import Series
from monitor.verdict.tables.reading import (
    Table,
    dates_of,
    flags_of,
    names_of,
    numbers_of,
    read_table,
    texts_of,
)

NEEDED: Final = ("site", "date", "cover", "control")
OPTIONAL: Final = ("control_2", "clear", "second_index", "control_second_index", "reference_cover", "accepted")
SAME: Final = {"control_cover": "control", "clear_fraction": "clear"}
"""Names of columns of ``observations.csv`` that mean the same as a column of a series."""
KNOWN: Final = tuple(dict.fromkeys((*NEEDED, *OPTIONAL, *OBSERVATION_COLUMNS)))
"""All columns that a series may have. Those of ``observations.csv`` that no verdict uses are not read."""
COVERS: Final = ("cover", "control", "control_2", "reference_cover")
COVER_LIMITS: Final = (-0.1, 1.1)
"""Cover that is accepted. Unmixing gives values slightly outside 0..1, which are set to the nearer limit; what is
further out is no cover. [1]"""


class SeriesTable(NamedTuple):
    """The series of each site of a file."""

    series: dict[str, Series]
    """By site id; ascending by date."""
    clipped: dict[str, int]
    """Number of cover values slightly outside 0..1 that were set to 0 or 1, by site id; only sites with any."""


def read_series(path: Path) -> SeriesTable:
    """Read the series of each site.

    Rows with `accepted` false are left out, and rows that are repeated count once. Of several scenes of one day the
    clearest counts, of equally clear ones with different names (`scene`) the first.

    Parameters
    ----------
    path : Path, CSV or Parquet

    Raises
    ------
    BadData
        The file cannot be read, a column is missing or unknown, a value is no date, number or fraction, or one date has
        two different rows of which none is clearer; names the row.
    """
    table = read_table(path, needed=NEEDED, known=KNOWN, same=SAME)
    names = np.array(names_of(table), dtype=object)
    sites, of_site = np.unique(names, return_inverse=True)
    if "accepted" in table.columns:
        accepted = flags_of(table, "accepted")
        table, names, of_site = table.where(accepted), names[accepted], of_site[accepted]
    if ("second_index" in table.columns) != ("control_second_index" in table.columns):
        msg = f"{path}: second_index and control_second_index are used together; one of them is absent"
        raise BadData(msg)
    dates = dates_of(table)
    values = {name: numbers_of(table, name) for name in (*NEEDED[2:], *OPTIONAL[:-1]) if name in table.columns}
    clipped = clip_covers(table, values, names)
    order = np.lexsort((dates, of_site))
    edges = np.searchsorted(of_site[order], np.arange(sites.size + 1))
    series = {}
    for k, name in enumerate(sites.tolist()):
        rows = _one_each_day(table, order[edges[k] : edges[k + 1]], dates, values)
        series[name] = _series(dates[rows], {column: numbers[rows] for column, numbers in values.items()})
    return SeriesTable(series, clipped)


def clip_covers(table: Table, values: dict[str, np.ndarray], names: np.ndarray) -> dict[str, int]:
    """Set covers slightly outside 0..1 to 0 or 1, in place, and count them by name.

    Parameters
    ----------
    table : Table, for messages
    values : dict of (n,) arrays, by column; those of :data:`COVERS` and ``clear`` are checked
    names : (n,) array, whom each row belongs to

    Raises
    ------
    BadData
        A cover is outside :data:`COVER_LIMITS`, or a clear share outside 0..1; names the row.
    """
    clipped: Counter[str] = Counter()
    for column in values:
        if column not in (*COVERS, "clear"):
            continue
        numbers = values[column]
        low, high = (0.0, 1.0) if column == "clear" else COVER_LIMITS
        wrong = np.flatnonzero((numbers < low) | (numbers > high))
        if wrong.size:
            at = int(wrong[0])
            hint = "; it seems to be in percent: divide by 100" if 1.5 < numbers[at] <= 100 else ""
            day = dates_of(table)[at]
            msg = (
                f"{table.path}: {table.row(at)}, site {shown(names[at])}, {day}: {column} is {numbers[at]:g}, "
                f"not a fraction 0..1{hint}"
            )
            raise BadData(msg)
        outside = (numbers < 0) | (numbers > 1)
        if outside.any():
            clipped.update(names[outside].tolist())
            values[column] = np.clip(numbers, 0.0, 1.0)
    return dict(clipped)


def _one_each_day(table: Table, rows: np.ndarray, dates: np.ndarray, values: dict[str, np.ndarray]) -> np.ndarray:
    """The rows of one site that count: one a day, ascending; `rows` are ascending by date, then as in the file."""
    days = dates[rows]
    if not (days[1:] == days[:-1]).any():
        return rows
    seen = np.isfinite(values["cover"]) & np.isfinite(values.get("control", values["cover"]))
    clear = np.where(seen, values.get("clear", np.ones(seen.size)), -1.0)
    best: np.ndarray = rows[clearest_each_day(days, clear[rows])]
    for row in rows[~np.isin(rows, best)].tolist():
        first = int(best[np.searchsorted(dates[best], dates[row])])
        if clear[row] == clear[first] and not _same(values, row, first):
            scene, rival = (texts_of(table, "scene")[at] for at in (row, first))
            if scene == rival:
                msg = (
                    f"{table.path}: site {shown(names_of(table)[row])} has two different rows for {dates[row]} "
                    f"({table.row(first)} and {table.row(row)}); keep one row a date, or say how clear each is"
                )
                raise BadData(msg)
    return best


def _same(values: dict[str, np.ndarray], one: int, other: int) -> bool:
    return all(np.array_equal(column[one], column[other], equal_nan=True) for column in values.values())


def _series(dates: np.ndarray, values: dict[str, np.ndarray]) -> Series:
    second = None
    if "second_index" in values:
        second = values["second_index"] - values["control_second_index"]
    return Series(
        dates=dates, cover=values["cover"], control=values["control"], control_2=values.get("control_2"),
        clear=values.get("clear"), second=second, reference=values.get("reference_cover"),
    )  # fmt: skip


def empty_series() -> Series:
    """A series without any acquisition, for a site with a plan only."""
    return Series(dates=np.empty(0, "datetime64[D]"), cover=np.empty(0), control=np.empty(0))
