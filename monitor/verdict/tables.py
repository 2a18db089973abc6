"""Tables supplied by users: site series and plans in, assessments out (CSV or Parquet)."""

import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from shapely.geometry import Point, Polygon

from monitor.errors import BadData
from monitor.sites.biomes import BIOMES, default_plan, in_field_cover
from monitor.sites.cover_scale import PLAN_COVERS
from monitor.sites.site import INTERVENTIONS, SUBTYPES, Site
from monitor.verdict.assessment import Series
from monitor.verdict.erosion import GRADE_NAMES
from monitor.verdict.status import LEVELS, NOTES, RULES, STATUSES, Verdicts, reason_codes

SERIES_COLUMNS: Final = ("site", "date", "cover", "control")
OPTIONAL_SERIES_COLUMNS: Final = ("control_2", "clear")
PLAN_COLUMNS: Final = ("site", "start", "intervention", "biome")
PLAN_TEXTS: Final = ("intervention", "biome", "subtype", "plan_cover")
PLAN_NUMBERS: Final = ("A", "k", "L", "too_early_years")
LATITUDE: Final = "latitude"
FORMULA_SIGNS: Final = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r")
"""First characters of a text that a spreadsheet would run as a formula; an apostrophe prevents that."""
MISSING_TEXTS: Final = ["", "nan", "NaN", "NA", "null", "None"]
"""Texts of a CSV that mean "not seen"."""


def read_series(path: Path) -> dict[str, Series]:
    """Read the series of each site, ascending by date; identical rows count once.

    Parameters
    ----------
    path : Path, CSV or Parquet

    Returns
    -------
    dict of str to Series
        By site id.

    Raises
    ------
    BadData
        The file cannot be read, a column is missing, a value is no date or number, or one date has two different rows;
        names the row.
    """
    measures = (*SERIES_COLUMNS[2:], *OPTIONAL_SERIES_COLUMNS)
    frame = _read(path, SERIES_COLUMNS, measures)
    numbers = {name: _numbers(frame, name, path) for name in measures if name in frame.columns}
    rows = pd.DataFrame({"site": _names(frame, path).tolist(), "date": _dates(frame, "date", path), **numbers})
    rows = rows.drop_duplicates().sort_values(["site", "date"], kind="stable")
    twice = rows[rows.duplicated(["site", "date"], keep=False)]
    if len(twice):
        first, second = sorted(_line(path, int(row)) for row in twice.index[:2])
        msg = (
            f"{path}: site {twice['site'].iloc[0]!r} has two different rows for {twice['date'].iloc[0].date()} "
            f"({first} and {second}); keep one row a date"
        )
        raise BadData(msg)
    return {
        str(name): Series(
            dates=part["date"].to_numpy().astype("datetime64[D]"), **{name: part[name].to_numpy() for name in numbers}
        )
        for name, part in rows.groupby("site")
    }


def read_plans(path: Path) -> dict[str, Site]:
    """Read sites with their plans; a missing number is the default of the intervention, biome and subtype.

    Parameters
    ----------
    path : Path, CSV or Parquet

    Returns
    -------
    dict of str to Site
        By site id.

    Raises
    ------
    BadData
        The file cannot be read, a column is missing, a name is unknown, or a number is out of range.
    """
    frame = _read(path, PLAN_COLUMNS, (*PLAN_NUMBERS, LATITUDE))
    names = _names(frame, path)
    twice = names[names.duplicated()]
    if len(twice):
        msg = f"{path}: site {twice.iloc[0]!r} has more than one plan; keep one row a site"
        raise BadData(msg)
    starts = _dates(frame, "start", path)
    numbers = {name: _numbers(frame, name, path) for name in PLAN_NUMBERS if name in frame.columns}
    latitudes = _numbers(frame, LATITUDE, path) if LATITUDE in frame.columns else np.full(len(frame), np.nan)
    texts = frame[[name for name in PLAN_TEXTS if name in frame.columns]].to_dict("records")
    sites = {}
    for i, (name, text) in enumerate(zip(names.tolist(), texts, strict=True)):
        plan = {key: float(values[i]) for key, values in numbers.items() if not np.isnan(values[i])}
        sites[name] = _site(name, starts[i], text, plan, float(latitudes[i]), f"{path}: site {name!r}")
    return sites


def _site(
    name: str, start: np.datetime64, text: Mapping[Any, object], numbers: dict[str, Any], latitude: float, where: str
) -> Site:
    """Site of one row of the plans: `text` and `numbers` are its values, `where` begins each message."""
    intervention = _one_of(text["intervention"], "intervention", INTERVENTIONS, where)
    biome = _one_of(text["biome"], "biome", tuple(BIOMES), where)
    subtype = None
    if "subtype" in text and not _blank(text["subtype"]):
        subtype = _one_of(text["subtype"], "subtype", SUBTYPES, where)
    for key, value in numbers.items():
        if not 0 <= value <= (1 if key == "A" else 100) or (key == "k" and value == 0):
            span = {"A": "a cover fraction 0..1", "k": "a rate above 0, a year"}.get(key, "years, 0..100")
            msg = f"{where}: {key} is {value:g}; it must be {span}"
            raise BadData(msg)
    plan = replace(default_plan(intervention, biome, subtype), **numbers)
    if plan.A == 0 and intervention != "tending":
        msg = (
            f"{where}: A is 0, but {intervention} promises uplift; give the promised uplift, "
            "or call the intervention tending, which is judged by losses alone"
        )
        raise BadData(msg)
    if intervention != "tending" and _field_cover_promised(text, numbers, where):
        try:
            plan = in_field_cover(plan, biome)
        except BadData as error:
            msg = f"{where}: plan_cover is 'field', but {error}; give A in index cover"
            raise BadData(msg) from error
    if abs(latitude) > 90:
        msg = f"{where}: latitude is {latitude:g}; it must be degrees from -90 to 90, below 0 in the south"
        raise BadData(msg)
    geometry = Polygon() if np.isnan(latitude) else Point(0.0, latitude).buffer(1e-6)
    return Site(
        id=name, name=name, geometry=geometry, start=start.astype(object), intervention=intervention, biome=biome,
        subtype=subtype, plan=plan, hectares=float("nan"),
    )  # fmt: skip


def _field_cover_promised(text: Mapping[Any, object], numbers: Mapping[str, Any], where: str) -> bool:
    """Whether a plan promises field cover; it must then say how much."""
    if "plan_cover" not in text or _blank(text["plan_cover"]):
        return False
    if _one_of(text["plan_cover"], "plan_cover", PLAN_COVERS, where) == "index":
        return False
    if "A" not in numbers:
        msg = f"{where}: plan_cover is 'field', but A is empty: the default uplift is of index cover; give A"
        raise BadData(msg)
    return True


def table_format(path: Path) -> str:
    """``.csv`` or ``.parquet``; raises ``BadData`` for any other ending."""
    kind = path.suffix.lower()
    if kind not in (".csv", ".parquet"):
        msg = f"{path}: the name must end in .csv or .parquet"
        raise BadData(msg)
    return kind


def _line(path: Path, row: int) -> str:
    return f"line {row + 2}" if table_format(path) == ".csv" else f"row {row}"


def _read(path: Path, needed: tuple[str, ...], numbers: tuple[str, ...]) -> pd.DataFrame:
    kind = table_format(path)
    if not path.is_file():
        msg = f"{path}: no such file"
        raise BadData(msg)
    try:
        if kind == ".parquet":
            frame = pd.read_parquet(path)
        else:
            frame = pd.read_csv(
                path, dtype={name: str for name in (*needed, *PLAN_TEXTS) if name not in numbers}, encoding="utf-8-sig",
                keep_default_na=False, na_values=dict.fromkeys(numbers, MISSING_TEXTS), low_memory=False,
            )  # fmt: skip
    except UnicodeDecodeError as error:
        msg = f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8"
        raise BadData(msg) from error
    except (ValueError, pa.ArrowException, OSError) as error:  # the parser's errors are ValueErrors
        msg = f"{path}: cannot be read as {kind[1:]}: {str(error).splitlines()[0]}"
        raise BadData(msg) from error
    frame.columns = frame.columns.astype(str).str.strip()
    if absent := [name for name in needed if name not in frame.columns]:
        msg = f"{path}: column {', '.join(map(repr, absent))} is absent; it has {', '.join(map(repr, frame.columns))}"
        raise BadData(msg)
    if frame.columns.has_duplicates:
        msg = f"{path}: column {frame.columns[frame.columns.duplicated()][0]!r} is repeated"
        raise BadData(msg)
    if frame.empty:
        msg = f"{path}: has no rows"
        raise BadData(msg)
    return frame


def _names(frame: pd.DataFrame, path: Path) -> "pd.Series[str]":
    given = frame["site"]
    missing = given.isna() | (given.astype(str).str.strip() == "")
    if missing.any():
        msg = f"{path}: {_line(path, int(missing.to_numpy().argmax()))} has no site"
        raise BadData(msg)
    plain = {name: unicodedata.normalize("NFC", str(name)).strip() for name in given.unique()}
    return given.map(plain).astype(str)


def _dates(frame: pd.DataFrame, column: str, path: Path) -> np.ndarray:
    given = frame[column].astype(str)  # whatever a Parquet holds: dates, moments or text
    days = pd.to_datetime(given, errors="coerce", format="ISO8601", utc=True)
    wrong = days.isna() | ~given.str.match(r"\s*\d{4}[-/]?\d{2}[-/]?\d{2}")  # no year or month alone
    _reject(wrong, frame, column, path, "; a date such as 2021-07-15 is expected")
    return days.dt.tz_localize(None).to_numpy().astype("datetime64[D]")


def _numbers(frame: pd.DataFrame, column: str, path: Path) -> np.ndarray:
    values = pd.to_numeric(frame[column], errors="coerce")
    _reject(values.isna() & frame[column].notna(), frame, column, path, ", not a number")
    return values.to_numpy(dtype=np.float64, na_value=np.nan)


def _reject(wrong: "pd.Series[bool]", frame: pd.DataFrame, column: str, path: Path, why: str) -> None:
    """Raise an error that names the first wrong row, if there is one."""
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        site, value = frame["site"].iloc[row], str(frame[column].iloc[row])
        msg = f"{path}: {_line(path, row)} (site {site!r}): {column} is {value!r}{why}"
        raise BadData(msg)


def _blank(value: object) -> bool:
    return value is None or value != value or str(value).strip() == ""


def _one_of(value: object, column: str, known: tuple[str, ...], where: str) -> str:
    word = "" if _blank(value) else str(value).strip()
    if word in known:
        return word
    near = get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]!r}? " if near else ""
    msg = f"{where}: {column} is {word!r}; {hint}known are {', '.join(known)}"
    raise BadData(msg)


def empty_series() -> Series:
    """A series without any acquisition, for a site with a plan only."""
    return Series(dates=np.empty(0, "datetime64[D]"), cover=np.empty(0), control=np.empty(0))


def assessment_table(rows: Sequence[tuple[str, int]], parts: Sequence[Verdicts]) -> pa.Table:
    """Assessments as a table with the columns of an assessment, codes as text.

    Parameters
    ----------
    rows : sequence of (str, int)
        Id of each site, and its number of verdicts.
    parts : sequence of Verdicts
        Of each site, in the same order.
    """

    def words(codes: np.ndarray, meanings: Sequence[str]) -> pa.Array:
        return pa.array(meanings, pa.string()).take(pa.array(codes, mask=codes < 0))

    names, counts = zip(*rows, strict=True)
    columns: dict[str, pa.Array] = {"site": words(np.repeat(np.arange(len(rows)), counts), names)}
    meanings: dict[str, tuple[str, ...]] = {
        "status": STATUSES, "alert": LEVELS, "alert_rule": RULES, "erosion_grade": GRADE_NAMES,
        "erosion_grade_without": GRADE_NAMES, "notes": NOTES,
    }  # fmt: skip
    for name in Verdicts._fields:
        values = np.concatenate([getattr(part, name) for part in parts])
        if name == "reasons":
            bits, place = np.unique(values, return_inverse=True)
            columns[name] = words(place, [";".join(reason_codes(int(b))) for b in bits])
        elif name in meanings:
            columns[name] = words(values, meanings[name])
        else:
            columns[name] = pa.array(values, from_pandas=True)
    size = len(columns["site"])
    columns["hectares"] = columns["hectares_failing"] = pa.nulls(size, pa.float64())
    return pa.table(columns)


def write_table(table: pa.Table, out: Path) -> None:
    """Write a table as CSV or Parquet, by the ending of `out`, which it replaces in one step."""
    partial = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        if table_format(out) == ".csv":
            names = ["'" + name if name[:1] in FORMULA_SIGNS else name for name in table["site"].to_pylist()]
            table = table.set_column(table.schema.get_field_index("site"), "site", pa.array(names, pa.string()))
            pyarrow.csv.write_csv(table, partial, pyarrow.csv.WriteOptions(quoting_style="needed"))
        else:
            pyarrow.parquet.write_table(table, partial)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
