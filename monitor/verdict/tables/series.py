"""The series of sites and placebos as tables.

Any table with a site, a date and a cover is a series, and so is a published ``observations.csv``.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from monitor.errors import BadData
from monitor.series.observations import OBSERVATION_COLUMNS
from monitor.sites.names import shown
from monitor.tables import Column, Given, Table, read
from monitor.verdict.assessment import Series

COVERS: Final = ("cover", "control", "control_2", "reference_cover")
COVER_LIMITS: Final = (-0.1, 1.1)
"""Cover that is accepted. Unmixing gives values slightly outside 0..1, which are set to the nearer limit; what is
further out is not a cover. [1]"""
SAME_COVER: Final = 0.0005
"""Largest difference of two covers that may be one cover, rounded to three decimals. [1]"""
FRACTION: Final = "a fraction 0..1"
COVER: Final = Column("cover", "number", True, low=COVER_LIMITS[0], high=COVER_LIMITS[1], meaning=FRACTION)
CONTROL: Final = COVER._replace(name="control", required=False, aliases=("control_cover",))
DATE: Final = Column("date", "day", True, aliases=("time",))
USED: Final = (
    Column("site", "id", True), DATE, COVER, CONTROL, CONTROL._replace(name="control_2", aliases=()),
    Column("clear", "number", aliases=("clear_fraction",), low=0.0, high=1.0, meaning=FRACTION),
    Column("second_index", "number"), Column("control_second_index", "number"),
    CONTROL._replace(name="reference_cover", aliases=()), Column("accepted", "flag"), Column("scene", "id"),
)  # fmt: skip
COLUMNS: Final = (
    *USED,
    *(Column(name) for name in OBSERVATION_COLUMNS if not any(name in (c.name, *c.aliases) for c in USED)),
)
"""All columns that a series may have. Those of ``observations.csv`` that no verdict uses are not read."""
PLACEBO_COLUMNS: Final = (Column("placebo", "id", True), DATE, COVER, CONTROL._replace(required=True))
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


def read_series(source: Path | Given, *, control: bool = True, empty: bool = False) -> SeriesTable:
    """Read the series of each site.

    Rows with `accepted` false are left out, and rows that are repeated count once. Of several scenes of one day the
    clearest counts, of equally clear ones with different names (`scene`) the first. With `control` that column is
    required; with `empty` there may be no rows, as in the published series of a site without any scene.

    Raises ``BadData``, which names the row, where the file cannot be read, a column is missing or unknown, a value is
    not a date, number or fraction, or one date has two different rows of which none is clearer; also where a control is
    the site itself.
    """
    columns = [column._replace(required=column.required or (control and column is CONTROL)) for column in COLUMNS]
    table = read(source, columns, empty=empty)
    if ("second_index" in table) != ("control_second_index" in table):
        msg = f"{table.path}: second_index and control_second_index are used together; one of them is absent"
        raise BadData(msg)
    found = _series_of(table, "site")
    for name, series in found.series.items():
        if count := shared_dates(series.cover, series.control):
            msg = (
                f"{table.path}: site {shown(name)}: the control has the cover of the site itself on {count} of "
                f"{series.dates.size} dates; give the cover of ground where nothing is done"
            )
            raise BadData(msg)
    return found


def read_placebos(path: Path) -> SeriesTable:
    """Read the series of placebos, ``placebo, date, cover, control``, by their id; errors as :func:`read_series`."""
    return _series_of(read(path, PLACEBO_COLUMNS), "placebo")


def _series_of(table: Table, column: str) -> SeriesTable:
    """Series by the id in a column."""
    names, of_name = table.ids(column)
    table.check()
    if "accepted" in table:
        accepted = table["accepted"]
        table.check()
        table, of_name = table.where(accepted), of_name[accepted]
    dates = table["date"]
    values = {name: table[name] for name, given in table.schema.items() if given.kind == "number" and name in table}
    table.check()
    clipped = clip_covers(values, names, of_name)
    rows = one_each_day(table, of_name, dates, values, lambda at: f"{column} {shown(names[of_name[at]])}")
    edges = np.searchsorted(of_name[rows], np.arange(len(names) + 1))
    series = {}
    for k, name in enumerate(names):
        at = rows[edges[k] : edges[k + 1]]
        found = {measure: numbers[at] for measure, numbers in values.items()}
        second = found["second_index"] - found["control_second_index"] if "second_index" in found else None
        series[name] = Series(
            dates=dates[at], cover=found["cover"], control=found.get("control", np.full(at.size, np.nan)),
            control_2=found.get("control_2"), clear=found.get("clear"), second=second,
            reference=found.get("reference_cover"),
        )  # fmt: skip
    return SeriesTable(series, clipped)


def clip_covers(values: dict[str, np.ndarray], names: Sequence[str], of_name: np.ndarray) -> dict[str, int]:
    """Set covers slightly outside 0..1 to 0 or 1, in place, and count them by name."""
    clipped: Counter[str] = Counter()
    for column in values.keys() & {*COVERS}:
        outside = (values[column] < 0) | (values[column] > 1)
        clipped.update(names[number] for number in of_name[outside])
        values[column] = np.clip(values[column], 0.0, 1.0)
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


def one_each_day(
    table: Table, series: np.ndarray, dates: np.ndarray, values: dict[str, np.ndarray], name: Callable[[int], str]
) -> np.ndarray:
    """Rows that count, (k,), ascending by series and date: of each day the clearest, of equally clear ones the first.

    `series` numbers the series of each row, (n,), and `name` names that of one row in a message. Raises ``BadData``
    about two different rows of one day of which neither is clearer.
    """
    seen = np.isfinite(values["cover"]) & np.isfinite(values.get("control", values["cover"]))
    clear = np.where(seen, values.get("clear", np.ones(seen.size)), -1.0)
    order = np.lexsort((-clear, dates, series))  # stable
    days, whose = dates[order], series[order]
    first = np.ones(order.size, bool)
    first[1:] = (days[1:] != days[:-1]) | (whose[1:] != whose[:-1])
    best = order[first]
    again = order[~first]
    leader = best[np.cumsum(first)[~first] - 1]
    _, scenes = table.ids("scene") if "scene" in table else ([], np.zeros(dates.size))
    rival = (clear[again] == clear[leader]) & (scenes[again] == scenes[leader])
    differ = np.zeros(again.size, bool)
    for numbers in values.values():
        later, best_of_day = numbers[again], numbers[leader]
        differ |= (later != best_of_day) & ~(np.isnan(later) & np.isnan(best_of_day))
    if (wrong := np.flatnonzero(rival & differ)).size:
        one, other = int(leader[wrong[0]]), int(again[wrong[0]])
        hint = ", or say how clear each is" if "clear" in table.schema else ""
        msg = (
            f"{table.path}: {name(one)} has two different rows for {dates[one]} ({table.row(one)} and "
            f"{table.row(other)}); keep one row a date{hint}"
        )
        raise BadData(msg)
    return best


def empty_series() -> Series:
    """A series without any acquisition, for a site with a plan only."""
    return Series(dates=np.empty(0, "datetime64[D]"), cover=np.empty(0), control=np.empty(0))
