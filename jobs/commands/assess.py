"""Bring your own series: any site series and plans in, assessments out.

No account, no store and no ledger are touched. What the tables hold is checked before anything is judged, and the
result appears whole or not at all.
"""

import unicodedata
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.errors import BadData

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    from monitor.sites.site import Site
    from monitor.verdict.assessment import Series
    from monitor.verdict.status import Verdicts

SERIES_COLUMNS = ("site", "date", "cover", "control")
OPTIONAL_SERIES = ("control_2", "clear")
PLAN_COLUMNS = ("site", "start", "intervention", "biome")
PLAN_NUMBERS = ("A", "k", "L", "too_early_years")
LATITUDE = "latitude"
FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r")
"""First signs of a text that a spreadsheet would run; it is made inert by an apostrophe."""
UNSEEN = ["", "nan", "NaN", "NA", "null", "None"]
"""How a CSV may say that nothing was seen."""


def assess(
    series: Annotated[
        Path, typer.Argument(help="CSV or Parquet: site, date, cover, control; optionally control_2, clear.")
    ],
    plans: Annotated[
        Path,
        typer.Option(
            help="CSV or Parquet: site, start, intervention, biome; optionally subtype, A, k, L, too_early_years, "
            "and latitude (below 0 the season is half a year later)."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Where the assessments go, .csv or .parquet; replaced if it is there.")],
    at: Annotated[
        list[datetime] | None,
        typer.Option(
            formats=["%Y-%m-%d"], help="Judge as of this date; repeat for several. Default: every acquisition."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Say what was done as JSON on stdout.")] = False,
) -> None:
    """Judge sites from their series: one row a site and acquisition date from the start on.

    Cover is a fraction 0..1, one row an acquisition, empty where not seen. Safe to run twice.
    Exit status: 0 done, 65 a table that a person must mend.
    """
    import json
    from collections import Counter

    import numpy as np

    from monitor.verdict.assess import verdicts
    from monitor.verdict.status import STATUSES

    try:
        _kind(out)
    except BadData as error:
        raise typer.BadParameter(str(error), param_hint="--out") from error
    if any(out.exists() and given.exists() and out.samefile(given) for given in (series, plans)):
        msg = f"{out} is what is read; give the assessments another name"
        raise typer.BadParameter(msg, param_hint="--out")
    if not out.parent.is_dir():
        msg = f"{out}: the folder {out.parent} is not there; make it first"
        raise BadData(msg)
    sites = read_plans(plans)
    seen = read_series(series)
    unplanned = sorted(set(seen) - set(sites))
    if unplanned:
        msg = f"{plans}: no plan for site {unplanned[0]!r}, which {series} has" + (
            f" (and {len(unplanned) - 1} more)" if len(unplanned) > 1 else ""
        )
        raise BadData(msg)
    asked = None if at is None else np.unique(np.array([moment.date() for moment in at], "datetime64[D]"))
    parts, rows, latest = [], [], Counter[str]()
    for name in sorted(sites if asked is not None else seen):
        site, one = sites[name], seen.get(name, _nothing())
        dates = one.dates[one.dates >= np.datetime64(site.start, "D")] if asked is None else asked
        if asked is None and not dates.size:  # all before the start: one row says so
            dates = one.dates[-1:]
        part = verdicts(one, site, dates)
        if dates.size:
            latest[STATUSES[int(part.status[-1])].value] += 1
        parts.append(part)
        rows.append((name, dates.size))
    table = _table(rows, parts)
    _write(table, out)
    if as_json:
        typer.echo(json.dumps({"out": str(out), "sites": len(rows), "assessments": len(table), "latest": dict(latest)}))
    else:
        told = ", ".join(f"{count} {status}" for status, count in sorted(latest.items()))
        typer.echo(
            f"{len(table)} assessments of {len(rows)} sites in {out}; at the last date of each: {told or 'none'}"
        )


def read_series(path: Path) -> "dict[str, Series]":
    """Series of each site, ascending by date; rows that say the same twice count once.

    Raises
    ------
    BadData
        A column is absent, a value is no date or number, or one date has two different rows; the row is named.
    """
    import numpy as np

    from monitor.verdict.assessment import Series

    frame = _read(path, SERIES_COLUMNS, (*SERIES_COLUMNS[2:], *OPTIONAL_SERIES))
    names = _names(frame, path)
    dates = _dates(frame, "date", path)
    numbers = {
        name: _numbers(frame, name, path) for name in (*SERIES_COLUMNS[2:], *OPTIONAL_SERIES) if name in frame.columns
    }
    codes, labels = names.factorize(sort=True)
    order = np.lexsort((dates, codes))
    codes, dates = codes[order], dates[order]
    numbers = {name: values[order] for name, values in numbers.items()}
    again = np.flatnonzero((codes[1:] == codes[:-1]) & (dates[1:] == dates[:-1])) + 1
    for values in numbers.values():
        differs = again[
            ~((values[again] == values[again - 1]) | (np.isnan(values[again]) & np.isnan(values[again - 1])))
        ]
        if differs.size:
            one, other = sorted(_line(path, int(order[at])) for at in (differs[0] - 1, differs[0]))
            msg = (
                f"{path}: site {labels[codes[differs[0]]]!r} has two different rows for {dates[differs[0]]} "
                f"({one} and {other}); keep one row a date"
            )
            raise BadData(msg)
    once = np.ones(codes.size, bool)
    once[again] = False
    codes, dates = codes[once], dates[once]
    numbers = {name: values[once] for name, values in numbers.items()}
    edges = np.searchsorted(codes, np.arange(len(labels) + 1))
    return {
        str(label): Series(
            dates=dates[edges[i] : edges[i + 1]],
            **{name: values[edges[i] : edges[i + 1]] for name, values in numbers.items()},
        )
        for i, label in enumerate(labels)
    }


def read_plans(path: Path) -> "dict[str, Site]":
    """Sites with their plans; what a row leaves out is the default of its intervention, biome and subtype.

    Raises
    ------
    BadData
        A column is absent, a name is unknown (the nearest is named), or a number is out of range.
    """
    from dataclasses import replace

    import numpy as np
    from shapely.geometry import Point, Polygon

    from monitor.sites.biomes import BIOMES, default_plan
    from monitor.sites.site import INTERVENTIONS, SUBTYPES, Site

    frame = _read(path, PLAN_COLUMNS, (*PLAN_NUMBERS, LATITUDE))
    names = _names(frame, path)
    twice = names[names.duplicated()]
    if len(twice):
        msg = f"{path}: site {twice.iloc[0]!r} has more than one plan; keep one row a site"
        raise BadData(msg)
    starts = _dates(frame, "start", path)
    numbers = {name: _numbers(frame, name, path) for name in PLAN_NUMBERS if name in frame.columns}
    latitudes = _numbers(frame, LATITUDE, path) if LATITUDE in frame.columns else np.full(len(frame), np.nan)
    words = {name: frame[name].tolist() for name in ("intervention", "biome", "subtype") if name in frame.columns}
    sites = {}
    for i, name in enumerate(names.tolist()):
        where = f"{path}: site {name!r}"
        intervention = _one_of(words["intervention"][i], "intervention", INTERVENTIONS, where)
        biome = _one_of(words["biome"][i], "biome", tuple(BIOMES), where)
        subtype = None
        if "subtype" in words and not _blank(words["subtype"][i]):
            subtype = _one_of(words["subtype"][i], "subtype", SUBTYPES, where)
        given = {key: float(values[i]) for key, values in numbers.items() if not np.isnan(values[i])}
        for key, value in given.items():
            wrong = not 0 <= value <= (1 if key == "A" else 100) or (key == "k" and value == 0)
            if wrong:
                span = {"A": "a cover fraction 0..1", "k": "a rate above 0, a year"}.get(key, "years, 0..100")
                msg = f"{where}: {key} is {value:g}; it must be {span}"
                raise BadData(msg)
        plan = replace(default_plan(intervention, biome, subtype), **given)
        if plan.A == 0 and intervention != "tending":
            msg = (
                f"{where}: A is 0, but {intervention} promises uplift; give the promised uplift, "
                "or call the intervention tending, which is judged by losses alone"
            )
            raise BadData(msg)
        if abs(latitudes[i]) > 90:
            msg = f"{where}: latitude is {latitudes[i]:g}; it must be degrees from -90 to 90, below 0 in the south"
            raise BadData(msg)
        sites[name] = Site(
            id=name,
            name=name,
            geometry=Polygon() if np.isnan(latitudes[i]) else Point(0.0, latitudes[i]).buffer(1e-6),
            start=starts[i].astype(object),
            intervention=intervention,
            biome=biome,
            subtype=subtype,
            plan=plan,
            hectares=float("nan"),
        )
    return sites


def _kind(path: Path) -> str:
    kind = path.suffix.lower()
    if kind not in (".csv", ".parquet"):
        msg = f"{path}: the name must end in .csv or .parquet"
        raise BadData(msg)
    return kind


def _line(path: Path, row: int) -> str:
    return f"line {row + 2}" if _kind(path) == ".csv" else f"row {row}"


def _read(path: Path, needed: tuple[str, ...], numbers: tuple[str, ...]) -> "pd.DataFrame":
    import pandas as pd
    import pyarrow as pa

    kind = _kind(path)
    if not path.is_file():
        msg = f"{path}: no such file"
        raise BadData(msg)
    try:
        if kind == ".parquet":
            frame = pd.read_parquet(path)
        else:
            frame = pd.read_csv(
                path, dtype={name: str for name in (*needed, "subtype") if name not in numbers}, encoding="utf-8-sig",
                keep_default_na=False, na_values=dict.fromkeys(numbers, UNSEEN), low_memory=False,
            )  # fmt: skip
    except UnicodeDecodeError as error:
        msg = f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8"
        raise BadData(msg) from error
    except (ValueError, pa.ArrowException, OSError) as error:  # the parser's errors are ValueErrors
        msg = f"{path}: cannot be read as {kind[1:]}: {str(error).splitlines()[0]}"
        raise BadData(msg) from error
    frame.columns = frame.columns.astype(str).str.strip()
    absent = [name for name in needed if name not in frame.columns]
    if absent:
        msg = f"{path}: column {', '.join(map(repr, absent))} is absent; it has {', '.join(map(repr, frame.columns))}"
        raise BadData(msg)
    if frame.columns.has_duplicates:
        msg = f"{path}: column {frame.columns[frame.columns.duplicated()][0]!r} comes twice"
        raise BadData(msg)
    if frame.empty:
        msg = f"{path}: holds no rows"
        raise BadData(msg)
    return frame


def _names(frame: "pd.DataFrame", path: Path) -> "pd.Series[str]":
    given = frame["site"]
    missing = given.isna() | (given.astype(str).str.strip() == "")
    if missing.any():
        msg = f"{path}: {_line(path, int(missing.to_numpy().argmax()))} has no site"
        raise BadData(msg)
    plain = {name: unicodedata.normalize("NFC", str(name)).strip() for name in given.unique()}
    return given.map(plain).astype(str)


def _dates(frame: "pd.DataFrame", column: str, path: Path) -> "np.ndarray":
    import pandas as pd

    given = frame[column].astype(str)  # whatever a Parquet holds: dates, moments or text
    days = pd.to_datetime(given, errors="coerce", format="ISO8601", utc=True)
    wrong = (days.isna() | ~given.str.match(r"\s*\d{4}[-/]?\d{2}[-/]?\d{2}")).to_numpy()  # no year or month alone
    if wrong.any():
        row = int(wrong.argmax())
        msg = (
            f"{path}: {_line(path, row)} (site {frame['site'].iloc[row]!r}): {column} is "
            f"{str(frame[column].iloc[row])!r}; a date such as 2021-07-15 is expected"
        )
        raise BadData(msg)
    return days.dt.tz_localize(None).to_numpy().astype("datetime64[D]")


def _numbers(frame: "pd.DataFrame", column: str, path: Path) -> "np.ndarray":
    import numpy as np
    import pandas as pd

    values = pd.to_numeric(frame[column], errors="coerce")
    wrong = (values.isna() & frame[column].notna()).to_numpy()
    if wrong.any():
        row = int(wrong.argmax())
        msg = (
            f"{path}: {_line(path, row)} (site {frame['site'].iloc[row]!r}): {column} is "
            f"{str(frame[column].iloc[row])!r}, not a number"
        )
        raise BadData(msg)
    return values.to_numpy(dtype=np.float64, na_value=np.nan)


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


def _nothing() -> "Series":
    import numpy as np

    from monitor.verdict.assessment import Series

    return Series(dates=np.empty(0, "datetime64[D]"), cover=np.empty(0), control=np.empty(0))


def _table(rows: "list[tuple[str, int]]", parts: "list[Verdicts]") -> "pa.Table":
    """Columns of the contract, in its order; text from the codes of the verdicts."""
    import numpy as np
    import pyarrow as pa

    from monitor.verdict.assess import codes
    from monitor.verdict.status import GRADES, LEVELS, NOTES, RULES, STATUSES, Verdicts

    def words(values: np.ndarray, meanings: "list[str]") -> pa.Array:
        codes = pa.array(values, mask=values < 0)
        return pa.DictionaryArray.from_arrays(codes, pa.array(meanings, pa.string())).cast(pa.string())

    columns: dict[str, pa.Array] = {
        "site": words(np.repeat(np.arange(len(rows)), [count for _, count in rows]), [name for name, _ in rows])
    }
    meanings: dict[str, list[str]] = {
        "status": [*STATUSES], "alert": [*LEVELS], "alert_rule": [*RULES], "erosion_grade": [*GRADES],
        "erosion_grade_without": [*GRADES], "notes": [*NOTES],
    }  # fmt: skip
    for name in Verdicts._fields:
        values = np.concatenate([getattr(part, name) for part in parts])
        if name == "reasons":
            bits, place = np.unique(values, return_inverse=True)
            columns[name] = words(place, [";".join(codes(int(b))) for b in bits])
        elif name in meanings:
            columns[name] = words(values, meanings[name])
        else:
            columns[name] = pa.array(values, from_pandas=True)
    size = len(columns["site"])
    columns["hectares"] = columns["hectares_failing"] = pa.nulls(size, pa.float64())
    return pa.table(columns)


def _write(table: "pa.Table", out: Path) -> None:
    """Write beside, then put in place in one step."""
    import os

    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    beside = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        if _kind(out) == ".csv":
            names = ["'" + name if name[:1] in FORMULA else name for name in table["site"].to_pylist()]
            table = table.set_column(table.schema.get_field_index("site"), "site", pa.array(names, pa.string()))
            pyarrow.csv.write_csv(table, beside, pyarrow.csv.WriteOptions(quoting_style="needed"))
        else:
            pyarrow.parquet.write_table(table, beside)
        beside.replace(out)
    finally:
        beside.unlink(missing_ok=True)
