"""Read a table of a user, CSV or Parquet, column by column; errors name the file and the row.

A CSV may have semicolons or tabs between its cells, as spreadsheets write it in some languages.

A column that is not known is refused: a misspelt one would otherwise be read as if it were not there.
"""

import codecs
import unicodedata
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from monitor.errors import BadData
from monitor.sites.checked_feature import shown
from monitor.sites.dates import read_day

FORMULA_SIGNS: Final = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r")
"""First characters of a text that a spreadsheet would run as a formula; an apostrophe prevents that."""
MISSING_TEXTS: Final = ("", "nan", "NaN", "NA", "null", "None")
"""Texts of a CSV that mean "not seen"."""
_DATE: Final = r"\s*\d{4}[-/]?\d{2}[-/]?\d{2}"
"""Beginning of a date; a year or a month alone is none."""
MAX_ROWS: Final = 50_000_000
"""Most rows of a Parquet file; 5000 sites with 60 control units have as many in five years of 33 scenes."""
SMALL_BYTES: Final = 2**28
"""Values of this size may be compressed as they like. [byte]"""
MAX_RATIO: Final = 400
"""Maximum size of the values by that of their file. [1]"""
MAX_TEXT_BYTES: Final = 2**32
"""Maximum size of the texts of a column, if all were as long as the longest. [byte]"""
_HEADER_BYTES: Final = 100_000
"""Most bytes of the first line that are looked at."""


class Table(NamedTuple):
    """Columns of a file as they were read, by name."""

    path: Path
    columns: Mapping[str, pa.Array]
    rows: np.ndarray
    """Number of each row in the file, from 0."""

    @property
    def size(self) -> int:
        """Number of rows."""
        return self.rows.size

    def row(self, at: int) -> str:
        """How a message names a row: the line of a CSV, as an editor counts it if no cell has line ends."""
        number = int(self.rows[at])
        return f"line {number + 2}" if table_format(self.path) == ".csv" else f"row {number}"

    def where(self, chosen: np.ndarray) -> "Table":
        """The rows where a (n,) bool array is true."""
        at = np.flatnonzero(chosen)
        return Table(
            self.path, {name: column.take(pa.array(at)) for name, column in self.columns.items()}, self.rows[at]
        )


def table_format(path: Path) -> str:
    """``.csv`` or ``.parquet``; raises ``BadData`` for any other ending."""
    kind = path.suffix.lower()
    if kind not in (".csv", ".parquet"):
        msg = f"{path}: the name must end in .csv or .parquet"
        raise BadData(msg)
    return kind


def read_table(
    path: Path, *, needed: Sequence[str], known: Sequence[str], same: Mapping[str, str], empty: bool = False
) -> Table:
    """Read a table.

    Parameters
    ----------
    path : Path, CSV (UTF-8, with or without byte order mark) or Parquet
    needed, known : sequence of str
        Columns that must be there, and all that may be.
    same : mapping
        Names that mean another column, which is the one returned.
    empty : bool
        Whether there may be no rows.

    Raises
    ------
    BadData
        The file is missing, cannot be read, is empty, has a column twice, an unknown one, or lacks one.
    """
    kind = table_format(path)
    if not path.is_file():
        msg = f"{path}: no such file"
        raise BadData(msg)
    try:
        read = _read_parquet(path) if kind == ".parquet" else _read_csv(path)
    except (ValueError, pa.ArrowException, OSError) as error:
        first = str(error).partition("\n")[0]
        if "UTF8" in first:
            msg = f"{path}: not UTF-8 text; save it as UTF-8 (in Excel: CSV UTF-8)"
        else:
            msg = f"{path}: cannot be read as {kind[1:]}: {first[:300]}"
        raise BadData(msg) from error
    names = [name.strip() for name in read.column_names]
    columns: dict[str, pa.Array] = {}
    for name, column in zip(names, read.columns, strict=True):
        if name in ("", "__index_level_0__"):  # the row numbers that pandas adds
            continue
        check_known(name, known, str(path))
        named = same.get(name, name)
        if named in columns:
            spelt = " or ".join(dict.fromkeys(repr(other) for other in names if same.get(other, other) == named))
            msg = f"{path}: column {spelt} is given more than once; keep one"
            raise BadData(msg)
        columns[named] = column.combine_chunks()
    if absent := [name for name in needed if name not in columns]:
        msg = f"{path}: column {', '.join(map(repr, absent))} is absent; it has {', '.join(map(shown, names[:40]))}"
        raise BadData(msg)
    if not read.num_rows and not empty:
        msg = f"{path}: has no rows"
        raise BadData(msg)
    return Table(path, columns, np.arange(read.num_rows))


def _read_parquet(path: Path) -> pa.Table:
    """All columns; a few bytes of a Parquet file can stand for any number of values, so they are counted before."""
    head = pyarrow.parquet.ParquetFile(path)
    flat = [head.schema.column(at) for at in range(len(head.schema))]
    if nested := next((column for column in flat if column.path != column.name or column.max_repetition_level), None):
        msg = f"{path}: column {shown(nested.path)} is nested; give it one text or number a row"
        raise BadData(msg)
    rows, stored = head.metadata.num_rows, path.stat().st_size
    size = 8 * rows * len(flat)
    if rows > MAX_ROWS or (size > SMALL_BYTES and size > MAX_RATIO * stored):
        msg = (
            f"{path}: has {rows} rows of {len(flat)} columns in {stored} bytes; at most {MAX_ROWS} rows are read, and "
            f"values at most {MAX_RATIO} times as large as the file"
        )
        raise BadData(msg)
    texts = [column.name for column in flat if column.physical_type == "BYTE_ARRAY"]
    read = pyarrow.parquet.ParquetFile(path, read_dictionary=texts).read()
    for at, column in enumerate(read.columns):
        if pa.types.is_dictionary(column.type):  # each different text once
            longest = max((pc.max(pc.binary_length(c.dictionary)).as_py() or 0 for c in column.chunks), default=0)
            if longest * rows > MAX_TEXT_BYTES:
                name = shown(read.column_names[at])
                msg = f"{path}: column {name} has {rows} texts of up to {longest} bytes; shorten them"
                raise BadData(msg)
            read = read.set_column(at, read.column_names[at], column.cast(column.type.value_type))
    read.validate(full=True)  # texts may be damaged, so not UTF-8
    return read


def _read_csv(path: Path) -> pa.Table:
    """All cells as text."""
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True, delimiter=_delimiter(path))
    with pyarrow.csv.open_csv(path, parse_options=parse, convert_options=_text_of(())) as file:
        names = file.schema.names
    return pyarrow.csv.read_csv(path, parse_options=parse, convert_options=_text_of(names))


def _delimiter(path: Path) -> str:
    """What stands between the names of columns: a comma, else a semicolon or tab."""
    with path.open("rb") as file:
        first = file.readline(_HEADER_BYTES)
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        msg = "UTF8 expected, UTF-16 given"
        raise ValueError(msg)
    return next((mark for mark in ",;\t" if mark.encode() in first), ",")


def _text_of(names: Sequence[str]) -> pyarrow.csv.ConvertOptions:
    return pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False, null_values=[], check_utf8=True
    )


def check_known(name: str, known: Sequence[str], where: str) -> None:
    """Raise an error that names the nearest known name unless a column is known."""
    if name not in known:
        plain = {one.lower(): one for one in reversed(known)}
        near = get_close_matches(name.lower()[:100], plain, n=1, cutoff=0.01)  # not one without a letter in common
        hint = f"did you mean {plain[near[0]]!r}? " if near else "rename or remove it. "
        msg = f"{where}: column {shown(name)} is unknown; {hint}Known are {', '.join(known)}"
        raise BadData(msg)


def names_of(table: Table, column: str = "site") -> tuple[list[str], np.ndarray]:
    """Ids in a column, ascending, and for each row (n,) the place of its id among them.

    Ids are in Unicode form NFC, without spaces around them and without the apostrophe before a formula.
    """
    texts, place = _distinct(table, column)
    plain = [_plain_name(text) for text in texts]
    names = sorted(set(plain))
    number = {name: at for at, name in enumerate(names)}
    of_row: np.ndarray = np.array([number[name] for name in plain], np.int64)[place]
    if names[:1] == [""]:
        msg = f"{table.path}: {table.row(int((of_row == 0).argmax()))} has no {column}"
        raise BadData(msg)
    return names, of_row


def _plain_name(text: str | None) -> str:
    name = unicodedata.normalize("NFC", text or "").strip()
    return name[1:] if name[:1] == "'" and name[1:2] in FORMULA_SIGNS else name


def texts_of(table: Table, column: str) -> list[str]:
    """Texts of a column without spaces around them; empty where there is none, or no such column."""
    if column not in table.columns:
        return [""] * table.size
    texts, place = _distinct(table, column)
    plain = ["" if text is None else text.strip() for text in texts]
    return [plain[at] for at in place]


def _distinct(table: Table, column: str) -> tuple[list[str | None], np.ndarray]:
    """The different texts of a column, and for each row (n,) the place of its text among them."""
    values = table.columns[column]
    try:
        coded = pc.cast(values, pa.string()).dictionary_encode(null_encoding="encode")
    except pa.ArrowException as error:
        msg = f"{table.path}: column {column!r} is {values.type}, which is neither text nor a number"
        raise BadData(msg) from error
    return coded.dictionary.to_pylist(), coded.indices.to_numpy(zero_copy_only=False)


def listed(values: pa.Array, where: str) -> list[Any]:
    """Values as Python has them, None where there is none; an error about one begins with `where`."""
    try:
        python_values: list[Any] = values.to_pylist()
    except (OverflowError, ValueError) as error:
        msg = f"{where} has a value that is out of range: {error}"
        raise BadData(msg) from error
    return python_values


def places_of(table: Table, column: str) -> np.ndarray:
    """A number for each row (n,): the same for the same text; 0 throughout where there is no such column."""
    return _distinct(table, column)[1] if column in table.columns else np.zeros(table.size, np.int64)


def _text_at(table: Table, column: str, at: int) -> str | None:
    texts, place = _distinct(table, column)
    return texts[place[at]] if table.size else None


def dates_of(table: Table, column: str = "date") -> np.ndarray:
    """(n,) datetime64[D] of a column of dates, moments or text.

    Raises
    ------
    BadData
        One is no date; names the row.
    """
    texts, place = _distinct(table, column)
    given = pd.Series(texts, dtype="object").fillna("")
    read = pd.to_datetime(given, errors="coerce", format="ISO8601", utc=True).where(given.str.match(_DATE))
    days: np.ndarray = read.dt.tz_localize(None).to_numpy().astype("datetime64[D]")
    for at in np.flatnonzero(np.isnat(days)):
        try:
            days[at] = np.datetime64(read_day(given[at]), "D")
        except BadData as error:
            refuse(table, int((place == at).argmax()), column, f"; a date such as 2021-07-15 is expected ({error})")
    found: np.ndarray = days[place]
    return found


def numbers_of(table: Table, column: str) -> np.ndarray:
    """(n,) float64 of a column; NaN where there is no value.

    Raises
    ------
    BadData
        A value is no number, or infinite; names the row.
    """
    values = table.columns[column]
    if pa.types.is_boolean(values.type):
        refuse(table, 0, column, ", not a number")
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        values = pc.utf8_trim_whitespace(values)
        values = pc.if_else(pc.is_in(values, pa.array(MISSING_TEXTS)), None, values)
    try:
        numbers = pc.cast(values, pa.float64(), safe=False)
    except pa.ArrowException:
        for at, value in enumerate(listed(values, f"{table.path}: column {column!r}")):
            try:
                pc.cast(pa.array([value]), pa.float64(), safe=False)
            except pa.ArrowException:
                refuse(table, at, column, ", not a number" + ("; write a decimal point" if "," in str(value) else ""))
        raise
    found: np.ndarray = numbers.to_numpy(zero_copy_only=False).astype(np.float64)
    if np.isinf(found).any():
        refuse(table, int(np.isinf(found).argmax()), column, ", not a finite number")
    return found


def flags_of(table: Table, column: str) -> np.ndarray:
    """(n,) bool of a column of true and false, in any case.

    Raises
    ------
    BadData
        A value is neither; names the row.
    """
    words = {"true": True, "1": True, "false": False, "0": False}
    given = [text.lower() for text in texts_of(table, column)]
    for at, text in enumerate(given):
        if text not in words:
            refuse(table, at, column, ", neither true nor false")
    return np.array([words[text] for text in given], bool)


def refuse(table: Table, at: int, column: str, why: str) -> None:
    """Raise an error about the value of a column at a row."""
    try:
        value = str(table.columns[column][at].as_py())
    except (OverflowError, ValueError):  # a day or time that Python does not have
        value = str(table.columns[column].type)
    whose = next((name for name in ("site", "placebo") if name in table.columns), None)
    named = f" ({whose} {shown(_text_at(table, whose, at))})" if whose else ""
    msg = f"{table.path}: {table.row(at)}{named}: {column} is {shown(value)}{why}"
    raise BadData(msg)


def described(value: Any) -> str:
    """A value as messages show it; of a list or an object only what it is, since it may be deep."""
    if isinstance(value, list):
        return "a list"
    return "an object" if isinstance(value, dict) else shown(value)


def one_of(value: Any, column: str, known: Sequence[str], where: str) -> str:
    """A word that must be one of those known; the error names the nearest."""
    word = "" if value is None or value != value else value if isinstance(value, str) else described(value)
    word = word.strip()
    if word in known:
        return word
    near = get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]!r}? " if near else ""
    msg = f"{where}: {column} is {shown(word)}; {hint}known are {', '.join(known)}"
    raise BadData(msg)
