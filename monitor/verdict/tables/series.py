"""The series of sites and placebos as tables.

Any table with a site, a date and a cover is a series, and so is a published ``observations.csv``.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from monitor.errors import BadData
from monitor.series.columns import clearest_each_day
from monitor.series.observations import OBSERVATION_COLUMNS
from monitor.sites.checked_feature import shown
from monitor.verdict.assessment import Series
from monitor.verdict.tables.reading import Table, dates_of, flags_of, names_of, numbers_of, places_of, read_table

NEEDED: Final = ("site", "date", "cover")
OPTIONAL: Final = ("control", "control_2", "clear", "second_index", "control_second_index", "reference_cover")
SAME: Final = {"control_cover": "control", "clear_fraction": "clear"}
"""Names of columns of ``observations.csv`` that mean the same as a column of a series."""
KNOWN: Final = tuple(dict.fromkeys((*NEEDED, *OPTIONAL, "accepted", *OBSERVATION_COLUMNS)))
"""All columns that a series may have. Those of ``observations.csv`` that no verdict uses are not read."""
COVERS: Final = ("cover", "control", "control_2", "reference_cover")
COVER_LIMITS: Final = (-0.1, 1.1)
"""Cover that is accepted. Unmixing gives values slightly outside 0..1, which are set to the nearer limit; what is
further out is no cover. [1]"""
SAME_COVER: Final = 0.0005
"""Largest difference of two covers that may be one cover, rounded to three decimals. [1]"""
MIN_SHARED: Final = 6
"""Fewest dates with the same cover on which two series are taken for the same ground."""
SHARED_SHARE: Final = 0.5
"""Share of the dates of both on which they must have the same cover. [1]"""


class SeriesTable(NamedTuple):
    """The series of each site, or placebo, of a file."""

    series: dict[str, Series]
    """By id; ascending by date. Without a column `control` that of every series is NaN."""
    clipped: dict[str, int]
    """Number of cover values slightly outside 0..1 that were set to 0 or 1, by id; only those with any."""


def read_series(path: Path, *, control: bool = True, empty: bool = False) -> SeriesTable:
    """Read the series of each site.

    Rows with `accepted` false are left out, and rows that are repeated count once. Of several scenes of one day the
    clearest counts, of equally clear ones with different names (`scene`) the first.

    Parameters
    ----------
    path : Path, CSV or Parquet
    control : bool
        Whether there must be a column `control`.
    empty : bool
        Whether there may be no rows, as in the published series of a site without any scene.

    Raises
    ------
    BadData
        The file cannot be read, a column is missing or unknown, a value is no date, number or fraction, or one date has
        two different rows of which none is clearer; names the row. Or a control is the site itself.
    """
    needed = (*NEEDED, "control") if control else NEEDED
    table = read_table(path, needed=needed, known=KNOWN, same=SAME, empty=empty)
    if ("second_index" in table.columns) != ("control_second_index" in table.columns):
        msg = f"{path}: second_index and control_second_index are used together; one of them is absent"
        raise BadData(msg)
    read = _series_of(table, "site", OPTIONAL)
    for name, series in read.series.items():
        if count := shared_dates(series.cover, series.control):
            msg = (
                f"{path}: site {shown(name)}: the control has the cover of the site itself on {count} of "
                f"{series.dates.size} dates; give the cover of ground where nothing is done"
            )
            raise BadData(msg)
    return read


def read_placebos(path: Path) -> SeriesTable:
    """Read the series of placebos, ``placebo, date, cover, control``, by their id.

    Raises
    ------
    BadData
        As for :func:`read_series`.
    """
    columns = ("placebo", *NEEDED[1:], "control")
    return _series_of(read_table(path, needed=columns, known=columns, same=SAME), "placebo", ("control",))


def _series_of(table: Table, column: str, optional: Sequence[str]) -> SeriesTable:
    """Series by the id in a column."""
    names, of_name = names_of(table, column)
    if "accepted" in table.columns:
        accepted = flags_of(table, "accepted")
        table, of_name = table.where(accepted), of_name[accepted]
    dates = dates_of(table)
    values = {name: numbers_of(table, name) for name in ("cover", *optional) if name in table.columns}
    clipped = clip_covers(table, values, names, of_name)
    scenes = places_of(table, "scene")
    order = np.lexsort((dates, of_name))
    edges = np.searchsorted(of_name[order], np.arange(len(names) + 1))
    series = {}
    for k, name in enumerate(names):
        rows = _one_each_day(table, order[edges[k] : edges[k + 1]], dates, values, scenes, f"{column} {shown(name)}")
        series[name] = _series(dates[rows], {measure: numbers[rows] for measure, numbers in values.items()})
    return SeriesTable(series, clipped)


def clip_covers(
    table: Table, values: dict[str, np.ndarray], names: Sequence[str], of_name: np.ndarray
) -> dict[str, int]:
    """Set covers slightly outside 0..1 to 0 or 1, in place, and count them by name.

    Raises
    ------
    BadData
        A cover is outside :data:`COVER_LIMITS`, or a clear share outside 0..1; names the row.
    """
    clipped: Counter[str] = Counter()
    for column in values.keys() & {*COVERS, "clear"}:
        numbers = values[column]
        low, high = (0.0, 1.0) if column == "clear" else COVER_LIMITS
        wrong = np.flatnonzero((numbers < low) | (numbers > high))
        if wrong.size:
            at = int(wrong[0])
            hint = "; it seems to be in percent: divide by 100" if 1.5 < numbers[at] <= 100 else ""
            day = dates_of(table)[at]
            msg = (
                f"{table.path}: {table.row(at)}, site {shown(names[of_name[at]])}, {day}: {column} is "
                f"{numbers[at]:g}, not a fraction 0..1{hint}"
            )
            raise BadData(msg)
        outside = (numbers < 0) | (numbers > 1)
        if outside.any():
            clipped.update(names[number] for number in of_name[outside])
            values[column] = np.clip(numbers, 0.0, 1.0)
    return dict(sorted(clipped.items()))


def is_distinctive(cover: np.ndarray) -> np.ndarray:
    """Whether each cover, any shape, can tell two grounds apart; 0 and 1, which much ground has, cannot."""
    partial: np.ndarray = (cover > SAME_COVER) & (cover < 1 - SAME_COVER)
    return partial


def shared_dates(cover: np.ndarray, other: np.ndarray) -> int:
    """Number of dates with the same cover in two series, (n,) on the same dates; 0 where they are two grounds."""
    same = is_distinctive(cover) & (np.abs(cover - other) <= SAME_COVER)
    both = np.isfinite(cover) & np.isfinite(other)
    return int(same.sum()) if is_same_ground(int(same.sum()), int(both.sum())) else 0


def is_same_ground(shared: int, both: int) -> bool:
    """Whether two series with the same cover on `shared` of `both` dates are taken for the same ground."""
    return shared >= max(MIN_SHARED, SHARED_SHARE * both)


def _one_each_day(
    table: Table, rows: np.ndarray, dates: np.ndarray, values: Mapping[str, np.ndarray], scenes: np.ndarray, whose: str
) -> np.ndarray:
    """The rows that count: one a day, ascending; `rows` are ascending by date, then as in the file.

    `scenes` (n,) numbers the scenes of the rows.
    """
    days = dates[rows]
    if not (days[1:] == days[:-1]).any():
        return rows
    seen = np.isfinite(values["cover"]) & np.isfinite(values.get("control", values["cover"]))
    clear = np.where(seen, values.get("clear", np.ones(seen.size)), -1.0)
    best: np.ndarray = rows[clearest_each_day(days, clear[rows])]
    for row in rows[~np.isin(rows, best)].tolist():
        first = int(best[np.searchsorted(dates[best], dates[row])])
        rivals = clear[row] == clear[first] and scenes[row] == scenes[first]
        if rivals and not _same(values, row, first):
            msg = (
                f"{table.path}: {whose} has two different rows for {dates[row]} ({table.row(first)} and "
                f"{table.row(row)}); keep one row a date, or say how clear each is"
            )
            raise BadData(msg)
    return best


def _same(values: Mapping[str, np.ndarray], one: int, other: int) -> bool:
    return all(np.array_equal(column[one], column[other], equal_nan=True) for column in values.values())


def _series(dates: np.ndarray, values: Mapping[str, np.ndarray]) -> Series:
    second = None
    if "second_index" in values:
        second = values["second_index"] - values["control_second_index"]
    control = values.get("control")
    return Series(
        dates=dates, cover=values["cover"], control=np.full(dates.size, np.nan) if control is None else control,
        control_2=values.get("control_2"), clear=values.get("clear"), second=second,
        reference=values.get("reference_cover"),
    )  # fmt: skip


def empty_series() -> Series:
    """A series without any acquisition, for a site with a plan only."""
    return Series(dates=np.empty(0, "datetime64[D]"), cover=np.empty(0), control=np.empty(0))
