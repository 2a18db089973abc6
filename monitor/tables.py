"""Tables that people supply, CSV, Parquet, JSON or in memory, read by a schema of columns; each problem names its row.

A CSV may have a byte order mark, and semicolons or tabs between its cells, as spreadsheets write it in some languages.
A column that is not known is refused: a misspelt one would otherwise be read as if it were not there. Values are
converted when a column is looked up; :meth:`Table.check` raises one error about all problems.
"""

import csv
import io
import json
import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from monitor.errors import BadData
from monitor.series.observations import FORMULA_STARTS
from monitor.sites.dates import read_day
from monitor.sites.names import shown

if TYPE_CHECKING:
    import pandas as pd

FORMATS: Final = (".csv", ".parquet")
"""Endings of the names of tables."""
MISSING_TEXTS: Final = ("", "nan", "NaN", "NA", "null", "None")
"""Texts that mean "not seen"."""
FLAGS: Final = {"true": True, "1": True, "false": False, "0": False}
NUMBERS: Final = (pa.types.is_floating, pa.types.is_integer, pa.types.is_decimal, pa.types.is_null)
"""Types of a Parquet file that are numbers."""
TEXTS: Final = pyarrow.csv.ConvertOptions(default_column_type=pa.string(), strings_can_be_null=False, null_values=[])
"""All cells of a CSV are texts."""
MAX_ROWS: Final = 50_000_000
"""Most rows of a Parquet file; 5000 sites with 60 control units have as many in five years of 33 scenes."""
SMALL_BYTES: Final = 2**28
"""Values of this size may be compressed as they like. [byte]"""
MAX_RATIO: Final = 400
"""Maximum size of the values by that of their file. [1]"""
MAX_TEXT_BYTES: Final = 2**32
"""Maximum size of the texts of a column, if all were as long as the longest. [byte]"""
MAX_UNEVEN_BYTES: Final = 20_000_000
"""Maximum size of a CSV whose lines have different numbers of cells, which is read line by line. [byte]"""
MAX_JSON_BYTES: Final = 100_000_000
MAX_PROBLEMS: Final = 1000
"""Number of wrong rows of a column that are counted."""
MAX_LISTED: Final = 50
"""Number of wrong lines that are listed."""


FORM_COLUMNS: Final = ({"_uuid", "_submission_time"}, {"key", "submissiondate"})
"""Columns that only an export of KoboToolbox has, and of ODK, in small letters."""


type Cells = tuple[list[str], list[pa.Array]]
"""Names and values of the columns of a file."""


class Column(NamedTuple):
    """A column that a table may have."""

    name: str
    kind: Literal["text", "id", "day", "number", "flag", "json"] = "text"
    """`json`: a text; of a JSON file any value, as JSON."""
    required: bool = False
    """It must be there, with a text, id or day in each row; a number may be empty: it was not seen."""
    aliases: tuple[str, ...] = ()
    """Other names of the column."""
    low: float = -math.inf
    high: float = math.inf
    meaning: str = ""
    """What a number from `low` to `high` is, as in "it must be a fraction 0..1"; of a day or text, the advice."""
    choices: tuple[str, ...] = ()
    """Texts that are known; empty: any."""


class Given(NamedTuple):
    """Rows that a caller gives instead of a file."""

    name: str
    """How messages name them."""
    rows: "pd.DataFrame | Sequence[Mapping[str, Any]]"


class Problem(NamedTuple):
    """A problem of one row."""

    row: int
    """Number of the row in the file, from 0."""
    text: str
    """The column, what was found, and what to do."""


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a file, with the columns of a schema as typed arrays."""

    path: Path
    schema: Mapping[str, Column]
    cells: Mapping[str, pa.Array]
    """Columns as they were read, by name."""
    rows: np.ndarray
    """Number of each row in the file, from 0."""
    problems: list[Problem] = field(default_factory=list)
    """Those found so far."""

    @property
    def size(self) -> int:
        """Number of rows."""
        return self.rows.size

    def __contains__(self, name: object) -> bool:
        return name in self.cells

    def __getitem__(self, name: str) -> np.ndarray:
        """Values of a column by its kind: float64 with NaN, datetime64[D] with NaT, bool, or str (object).

        A column that the file does not have is empty in each row. Wrong values are empty too, and are problems.
        """
        column = self.schema[name]
        if name not in self.cells:
            return np.full(self.size, *KINDS[column.kind][1:])
        return self._numbers(column) if column.kind == "number" else self._each(column)

    def where(self, chosen: np.ndarray) -> "Table":
        """The rows where a (n,) bool array is true; problems found are added to those of the whole table."""
        at = np.flatnonzero(chosen)
        cells = {name: column.take(pa.array(at)) for name, column in self.cells.items()}
        return replace(self, cells=cells, rows=self.rows[at])

    def empty(self, name: str) -> np.ndarray:
        """(n,) whether the text of a column is empty; true throughout without the column."""
        if name not in self.cells:
            return np.ones(self.size, bool)
        texts, place = self._distinct(name)
        return np.isin(place, [k for k, text in enumerate(texts) if not (text or "").strip()])

    def row(self, at: int) -> str:
        """How a message names a row, such as "line 5": as an editor counts it, the first of several."""
        return self._names([int(self.rows[at])])[0]

    def _names(self, numbers: Sequence[int]) -> list[str]:
        kind = self.path.suffix.lower()
        if kind != ".csv":
            return [f"plan {number + 1}" if kind == ".json" else f"row {number}" for number in numbers]
        lines = _lines(self.path, max(numbers))
        return [f"line {lines[number] if number < len(lines) else number + 2}" for number in numbers]

    def add(self, at: int, text: str) -> None:
        """Add a problem of a row."""
        self.problems.append(Problem(int(self.rows[at]), text))

    def check(self) -> None:
        """Raise ``BadData`` about the first row with a problem, in one line, if there is any."""
        if self.problems:
            first = min(self.problems, key=lambda problem: problem.row)  # of one row the first that was found
            more = f"; {len(self.problems) - 1} more values are wrong" if len(self.problems) > 1 else ""
            raise BadData(f"{self.path}: {self._where(first)}: {first.text}{more}")

    def check_lines(self, undone: str) -> None:
        """Raise ``BadData`` that lists each wrong line, if there is any; `undone` says what did not happen."""
        texts: dict[int, list[str]] = {}
        for problem in self.problems:
            texts.setdefault(problem.row, []).append(problem.text)
        if texts:
            rows = sorted(texts)[:MAX_LISTED]
            listed = [
                f"{name}: {'; '.join(dict.fromkeys(texts[row]))}"
                for name, row in zip(self._names(rows), rows, strict=True)
            ]
            more = [f"and {len(texts) - MAX_LISTED} more"] if len(texts) > MAX_LISTED else []
            heading = f"{self.path}: wrong lines ({len(texts)}), so nothing was {undone}"
            raise BadData("\n".join([heading, *listed, *more]))

    def ids(self, name: str = "site") -> tuple[list[str], np.ndarray]:
        """Ids in a column, ascending, and for each row (n,) the place of its id among them; (n,) 0 without the column.

        Ids are in Unicode form NFC, without spaces around them and without the apostrophe before a formula.
        """
        if name not in self.cells:
            return [""], np.zeros(self.size, np.int64)
        texts, place = self._distinct(name)
        plain = [_plain_id(text) for text in texts]
        names = sorted(set(plain))
        number = {text: at for at, text in enumerate(names)}
        of_row: np.ndarray = np.array([number[text] for text in plain], np.int64)[place]
        if names[:1] == [""] and self.schema[name].required:
            self._add_where(of_row == 0, f"{name} is absent")
        return names, of_row

    def _where(self, problem: Problem) -> str:
        """The row of a problem with its id and date, unless the problem is about these."""
        where = self._names([problem.row])[0]
        ids = next((name for name, column in self.schema.items() if column.kind == "id" and name in self.cells), None)
        at = np.flatnonzero(self.rows == problem.row)
        if ids is None or not at.size:
            return where
        if not problem.text.startswith(f"{ids} is ") and (name := _plain_id(self._shown(ids, at[0]))):
            where += f", {ids} {shown(name)}"
        if "date" in self.cells and not problem.text.startswith("date is "):
            day = self._shown("date", at[0])[:10]
            where += f", {day if day.isprintable() else shown(day)}"
        return where

    def _shown(self, name: str, at: int) -> str:
        try:
            return str(self.cells[name][at].cast(pa.string()).as_py() or "")
        except pa.ArrowException:  # a type without texts
            return ""

    def _add_where(self, wrong: np.ndarray, text: str) -> None:
        """Add a problem to the first rows where `wrong` is true."""
        for at in np.flatnonzero(wrong)[:MAX_PROBLEMS].tolist():
            self.add(at, text)

    def _distinct(self, name: str) -> tuple[list[str | None], np.ndarray]:
        """The different texts of a column, and for each row (n,) the place of its text among them."""
        values = self.cells[name]
        try:
            coded = pc.cast(values, pa.string()).dictionary_encode(null_encoding="encode")
        except pa.ArrowException as error:
            msg = f"{self.path}: column {name!r} is {values.type}, which is neither text nor a number"
            raise BadData(msg) from error
        return coded.dictionary.to_pylist(), coded.indices.to_numpy(zero_copy_only=False)

    def _each(self, column: Column) -> np.ndarray:
        """Values of a column, of which each different text is converted once."""
        convert, empty, kind = KINDS[column.kind]
        texts, place = self._distinct(column.name)
        values, wrong = [empty] * len(texts), 0
        for k, text in enumerate(texts):
            try:
                values[k] = convert(column, unicodedata.normalize("NFC", text or "").strip())
            except BadData as error:
                self._add_where(place == k, str(error))
                wrong += 1
                if wrong == MAX_PROBLEMS:
                    break
        found: np.ndarray = np.array(values, kind)[place]
        return found

    def _numbers(self, column: Column) -> np.ndarray:
        values = self.cells[column.name]
        if pa.types.is_boolean(values.type):
            values = pc.cast(values, pa.string())
        if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            values = pc.utf8_trim_whitespace(values)
            values = pc.if_else(pc.is_in(values, pa.array(MISSING_TEXTS)), None, values)
        elif not any(is_kind(values.type) for is_kind in NUMBERS):
            raise BadData(f"{self.path}: column {column.name!r} is {values.type}, not a number")
        try:
            read = pc.cast(values, pa.float64(), safe=False)
        except pa.ArrowException:  # one of the texts is not a number
            return self._each(column)
        numbers: np.ndarray = read.to_numpy(zero_copy_only=False).astype(np.float64)
        with np.errstate(invalid="ignore"):
            wrong = np.isinf(numbers) | (numbers < column.low) | (numbers > column.high)
        for at in np.flatnonzero(wrong)[:MAX_PROBLEMS].tolist():
            self.add(at, _outside(column, float(numbers[at])))
        return numbers


def _text(column: Column, text: str) -> str:
    if column.required and not text and not column.choices:
        raise BadData(_absent(column))
    if not column.choices or not (text or column.required):
        return text
    folded = {choice.lower(): choice for choice in column.choices}
    if text.lower() not in folded:
        raise BadData(unknown_choice(column.name, text, column.choices))
    return folded[text.lower()]


def _flag(column: Column, text: str) -> bool:
    if text.lower() not in FLAGS:
        raise BadData(f"{column.name} is {shown(text)}, neither true nor false")
    return FLAGS[text.lower()]


def _day(column: Column, text: str) -> date | None:
    if not text:
        if column.required:
            raise BadData(_absent(column))
        return None
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo is None else moment.astimezone(UTC)).date()
    except (ValueError, OverflowError):
        pass
    try:
        return read_day(text)
    except BadData as error:
        raise BadData(f"{column.name} is {shown(text)}; a date such as 2021-07-15 is expected ({error})") from error


def _number(column: Column, text: str) -> float:
    if text in MISSING_TEXTS:
        return math.nan
    try:
        number = float(pa.scalar(text).cast(pa.float64()).as_py())
    except pa.ArrowException as error:
        hint = "; write a decimal point" if "," in text else ""
        raise BadData(f"{column.name} is {shown(text)}, not a number{hint}") from error
    if math.isinf(number) or not column.low <= number <= column.high:
        raise BadData(_outside(column, number))
    return number


KINDS: Final[Mapping[str, tuple[Callable[[Column, str], Any], Any, Any]]] = {
    **dict.fromkeys(("text", "id", "json"), (_text, "", object)),
    "day": (_day, None, "datetime64[D]"), "number": (_number, math.nan, np.float64), "flag": (_flag, False, np.bool_),
}  # fmt: skip
"""How a text of each kind of column is converted, the value of an empty or wrong cell, and the type of an array."""


def _absent(column: Column) -> str:
    return f"{column.name} is absent" + (f"; {column.meaning}" if column.meaning else "")


def _outside(column: Column, number: float) -> str:
    if math.isinf(number):
        return f"{column.name} is {shown(str(number))}, not a finite number"
    hint = "; it seems to be in percent: divide by 100" if column.high < 1.5 < number <= 100 else ""
    return f"{column.name} is {number:g}; it must be {column.meaning}{hint}"


def _plain_id(text: str | None) -> str:
    name = unicodedata.normalize("NFC", text or "").strip()
    return name[1:] if name[:1] == "'" and name[1:2] in FORMULA_STARTS else name


def described(value: Any) -> str:
    """A value as messages show it; of a list or an object only what it is, since it may be deep."""
    if isinstance(value, list):
        return "a list"
    return "an object" if isinstance(value, dict) else shown(value)


def unknown_choice(name: str, text: str, choices: Sequence[str]) -> str:
    """The problem of a text that is not among the choices; it names the nearest."""
    near = get_close_matches(text.lower()[:100], choices, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{name} is {shown(text)}; {hint}known are {', '.join(choices)}"


def check_known(name: str, known: Sequence[str], where: str) -> None:
    """Raise an error that names the nearest known name unless a column is known."""
    if name not in known:
        plain = {one.lower(): one for one in reversed(known)}
        near = get_close_matches(name.lower()[:100], plain, n=1, cutoff=0.01)  # not one without a letter in common
        hint = f"did you mean {plain[near[0]]!r}? " if near else "rename or remove it. "
        raise BadData(f"{where}: column {shown(name)} is unknown; {hint}Known are {', '.join(known)}")


def table_format(path: Path, formats: Sequence[str] = FORMATS) -> str:
    """Ending of a name, in small letters; raises ``BadData`` unless it is one of `formats`."""
    kind = path.suffix.lower()
    if kind not in formats:
        raise BadData(f"{path}: the name must end in {' or '.join(formats)}")
    return kind


def read(
    source: Path | Given,
    columns: Sequence[Column],
    *,
    empty: bool = False,
    any_case: bool = False,
    formats: Sequence[str] = FORMATS,
    form: Sequence[Column] = (),
) -> Table:
    """Read a table: CSV (UTF-8), Parquet, or JSON, an object or a list of them; or rows in memory, checked alike.

    Parameters
    ----------
    source : Path or Given
    columns : sequence of Column
        All columns that the table may have.
    empty : bool
        Whether there may be no rows.
    any_case : bool
        Whether the names of columns may be in capitals.
    formats : sequence of str
        Endings that its name may have; ``.json`` is read, too.
    form : sequence of Column
        Columns instead of `columns` if the file is an export of a form by KoboToolbox or ODK, whose other questions are
        left out; empty: such files are not read.

    Raises
    ------
    BadData
        The file is missing, cannot be read, is empty, has a column twice, an unknown one, or lacks one.
    """
    problems: list[Problem] = []
    if isinstance(source, Given):
        path, (names, values) = Path(source.name), _given_cells(source, columns, problems)
    else:
        path, (names, values) = source, _file_cells(source, columns, formats, problems)
    if form and any(marks <= {name.strip().lower() for name in names} for marks in FORM_COLUMNS):
        columns, any_case = form, True
        asked = {name for column in form for name in (column.name, *column.aliases)}
        answers = [(_question(name), one) for name, one in zip(names, values, strict=True)]
        answers = [answer for answer in answers if answer[0] in asked]
        names, values = [question for question, _ in answers], [one for _, one in answers]
    same = {alias: column.name for column in columns for alias in column.aliases}
    known = [name for column in columns for name in (column.name, *column.aliases)]
    names = [name.strip().lower() if any_case else name.strip() for name in names]
    cells: dict[str, pa.Array] = {}
    for name, one in zip(names, values, strict=True):
        if name in ("", "__index_level_0__"):  # the row numbers that pandas adds
            continue
        check_known(name, known, str(path))
        named = same.get(name, name)
        if named in cells:
            spelt = " or ".join(dict.fromkeys(repr(other) for other in names if same.get(other, other) == named))
            raise BadData(f"{path}: column {spelt} is given more than once; keep one")
        cells[named] = one
    absent = [column.name for column in columns if column.required and column.name not in cells]
    if absent and (names or not empty):
        has = f"; it has {', '.join(map(shown, names[:40]))}" if names else ""
        missing = f"column {absent[0]!r} is" if len(absent) == 1 else f"columns {', '.join(map(repr, absent))} are"
        raise BadData(f"{path}: {missing} absent{has}")
    size = len(values[0]) if values else 0
    table = Table(path, {column.name: column for column in columns}, cells, np.arange(size), problems)
    if (blank := _blank(table)).any():
        table = table.where(~blank)
    if not table.size and not empty:
        raise BadData(f"{path}: has no rows")
    return table


def _file_cells(path: Path, columns: Sequence[Column], formats: Sequence[str], problems: list[Problem]) -> Cells:
    kind = table_format(path, formats)
    try:
        if not path.is_file():
            raise BadData(f"{path}: no such file")
        cells_of = {".csv": _read_csv, ".parquet": _read_parquet, ".json": _read_json}[kind]
        return cells_of(path, columns, problems)
    except (ValueError, RecursionError, pa.ArrowException, OSError) as error:
        first = str(error).partition("\n")[0]
        if "UTF8" in first or isinstance(error, UnicodeDecodeError):
            msg = f"{path}: not UTF-8 text; save it as UTF-8 (in Excel: CSV UTF-8)"
        else:
            msg = f"{path}: cannot be read as {kind[1:].upper()}: {first[:300]}"
        raise BadData(msg) from error


def _given_cells(given: Given, columns: Sequence[Column], problems: list[Problem]) -> Cells:
    if isinstance(given.rows, Sequence):
        return _cells_of_objects(given.rows, columns, problems)
    try:
        return _named(pa.Table.from_pandas(given.rows, preserve_index=False))
    except (ValueError, TypeError, pa.ArrowException) as error:
        first = str(error).partition("\n")[0]
        raise BadData(f"{given.name}: has a column that is neither text, numbers nor dates: {first[:300]}") from error


def _question(name: str) -> str:
    """Question of a form that a column of its export answers, in small letters: without the groups that it is in.

    The parts of a position have columns of their own: ``_place_latitude`` (KoboToolbox) or ``place-Latitude`` (ODK).
    """
    question = name.strip().lower().rpartition("/")[2].rpartition("-")[2]
    part = question.rpartition("_")[2]
    return {"latitude": "lat", "longitude": "lon"}.get(part, question)


def _blank(table: Table) -> np.ndarray:
    """(n,) whether all cells of a row are empty; texts only, and no further than the first column without any."""
    blank = np.full(table.size, bool(table.cells))
    for name, values in table.cells.items():
        if not blank.any() or not pa.types.is_string(values.type):
            return np.zeros(table.size, bool)
        blank &= table.empty(name)
    return blank


def _named(table: pa.Table) -> Cells:
    return table.column_names, [values.combine_chunks() for values in table.columns]


def _read_parquet(path: Path, columns: Sequence[Column], problems: list[Problem]) -> Cells:
    """All columns; a few bytes of a Parquet file can stand for any number of values, so they are counted before."""
    head = pyarrow.parquet.ParquetFile(path)
    flat = [head.schema.column(at) for at in range(len(head.schema))]
    if nested := next((column for column in flat if column.path != column.name or column.max_repetition_level), None):
        raise BadData(f"{path}: column {shown(nested.path)} is nested; give it one text or number a row")
    rows, stored = head.metadata.num_rows, path.stat().st_size
    size = 8 * rows * len(flat)
    if rows > MAX_ROWS or (size > SMALL_BYTES and size > MAX_RATIO * stored):
        raise BadData(
            f"{path}: has {rows} rows of {len(flat)} columns in {stored} bytes; at most {MAX_ROWS} rows are read, and "
            f"values at most {MAX_RATIO} times as large as the file"
        )
    texts = [column.name for column in flat if column.physical_type == "BYTE_ARRAY"]
    found = pyarrow.parquet.ParquetFile(path, read_dictionary=texts).read()
    for at, column in enumerate(found.columns):
        if pa.types.is_dictionary(column.type):  # each different text once
            longest = max((pc.max(pc.binary_length(c.dictionary)).as_py() or 0 for c in column.chunks), default=0)
            if longest * rows > MAX_TEXT_BYTES:
                name = shown(found.column_names[at])
                raise BadData(f"{path}: column {name} has {rows} texts of up to {longest} bytes; shorten them")
            found = found.set_column(at, found.column_names[at], column.cast(column.type.value_type))
    found.validate(full=True)  # texts may be damaged, so not UTF-8
    return _named(found)


def _read_csv(path: Path, columns: Sequence[Column], problems: list[Problem]) -> Cells:
    """All cells as text."""
    content = path.read_bytes()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError("UTF8 expected, UTF-16 given")
    if not content.strip(b"\xef\xbb\xbf \r\n"):
        return [], []
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True, delimiter=_delimiter(content))
    try:
        if content.count(b'"') % 2:
            raise pa.ArrowInvalid("a quotation mark is not closed")
        return _named(pyarrow.csv.read_csv(pa.BufferReader(content), parse_options=parse, convert_options=TEXTS))
    except pa.ArrowInvalid:
        if len(content) > MAX_UNEVEN_BYTES:
            raise
    return _read_uneven_csv(path, content.decode("utf-8-sig"), parse.delimiter, columns, problems)


def _read_uneven_csv(
    path: Path, text: str, delimiter: str, columns: Sequence[Column], problems: list[Problem]
) -> Cells:
    """All cells of a CSV whose lines may have fewer cells than the first, as text; surplus cells are problems."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    try:
        header, *lines = [cells for cells in reader if cells]
    except csv.Error as error:
        raise BadData(f"{path}: line {reader.line_num} is not CSV ({error}); close each quotation mark") from error
    required = {name for column in columns if column.required for name in (column.name, *column.aliases)}
    fewest = max((at + 1 for at, name in enumerate(header) if name.strip().lower() in required), default=0)
    for number, cells in enumerate(lines):
        if surplus := [cell.strip() for cell in cells[len(header) :] if cell.strip()]:
            many = f"more cells than columns ({', '.join(surplus)!r}); a note with a comma needs quotation marks"
            problems.append(Problem(number, many))
        elif len(cells) < fewest and any(map(str.strip, cells)):
            problems.append(Problem(number, f"has {len(cells)} cells for {len(header)} columns"))
    padded = [[*cells[: len(header)], *[""] * (len(header) - len(cells))] for cells in lines]
    values = zip(*padded, strict=True) if padded else ([] for _ in header)
    return header, [pa.array(list(one), pa.string()) for one in values]


def _delimiter(content: bytes) -> str:
    """Separator of the names of columns: a comma, else a semicolon or tab."""
    first = content[:100_000].lstrip(b"\r\n").partition(b"\n")[0]
    return next((mark for mark in ",;\t" if mark.encode() in first), ",")


def _lines(path: Path, last: int) -> list[int]:
    """First line of each row of a CSV up to the row `last`; cells may have line ends, and lines may be empty."""
    content = path.read_bytes()
    reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), delimiter=_delimiter(content))
    lines, first = list[int](), 1
    while len(lines) < last + 2 and (cells := next(reader, None)) is not None:
        lines += [first] if cells else []
        first = reader.line_num + 1
    return lines[1:]


def _read_json(path: Path, columns: Sequence[Column], problems: list[Problem]) -> Cells:
    """The members of all objects as text."""
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ValueError(f"larger than {MAX_JSON_BYTES // 1_000_000} MB, which is too large for a table of plans")
    found = json.loads(path.read_bytes().decode("utf-8-sig"), object_pairs_hook=_members, parse_constant=_no_constant)
    objects: list[dict[str, Any]] = found if isinstance(found, list) else [found]
    for number, row in enumerate(objects, start=1):
        if not isinstance(row, dict):
            msg = f"plan {number} is {described(row)}, not an object with site, start, intervention and biome"
            raise ValueError(msg)
    return _cells_of_objects(objects, columns, problems)


def _cells_of_objects(
    objects: Sequence[Mapping[str, Any]], columns: Sequence[Column], problems: list[Problem]
) -> Cells:
    kinds = {column.name: column.kind for column in columns}
    names = list(dict.fromkeys(name for row in objects for name in row))
    texts = [
        [_json_text(name, row.get(name), kinds.get(name), at, problems) for at, row in enumerate(objects)]
        for name in names
    ]
    return names, [pa.array(each, pa.string()) for each in texts]


def _json_text(name: str, value: Any, kind: str | None, row: int, problems: list[Problem]) -> str:
    """A JSON value as the text that a CSV would have; a number to its last bit."""
    if value is None:
        return ""
    if kind in ("json", None):
        return json.dumps(value, default=str)
    if isinstance(value, list | dict | bool) or (isinstance(value, float) and kind in ("id", "text")):
        wanted = "number" if kind == "number" else "text"
        problems.append(Problem(row, f"{name} is {described(value)}, not a {wanted}"))
        return ""
    return str(value).encode("utf-8", "replace").decode()


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{shown(twice)} is given twice")
    return members


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number; write null where there is none")
