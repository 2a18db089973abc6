"""Read CSV files that people have written: every line or none, and each wrong line by its number."""

import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Final

from monitor.errors import BadData

_DATE: Final = re.compile(r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2})", re.ASCII)
"""Also as spreadsheets write it: ``2026/4/1``."""
MAX_BYTES: Final = 20_000_000
"""Size of the largest file that is read. [byte]"""


def read_lines(
    path: Path, *, required: Collection[str], columns: Sequence[str]
) -> Iterator[tuple[int, dict[str, str]]]:
    """Number of each line that is not empty, and its cells by column; ``surplus`` has cells beyond the columns.

    The first line names the columns. Columns that the file does not have are missing from the cells.

    Parameters
    ----------
    path : Path
        CSV in UTF-8.
    required, columns : collection of str
        Columns that the file must have, and all that it may have.

    Raises
    ------
    BadData
        The file cannot be read, is too large, or its columns are wrong.
    """
    try:
        size = path.stat().st_size
        content = path.read_bytes() if size <= MAX_BYTES else b""
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror or error}"
        raise BadData(msg) from error
    if size > MAX_BYTES:
        msg = f"{path} has {size:,} bytes, more than {MAX_BYTES:,}; split it. Nothing was recorded"
        raise BadData(msg)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        msg = f"{path} is not UTF-8, so nothing was recorded; save it as 'CSV UTF-8'"
        raise BadData(msg) from error
    yield from _lines(path, text, required, columns)


def _lines(
    path: Path, text: str, required: Collection[str], columns: Sequence[str]
) -> Iterator[tuple[int, dict[str, str]]]:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: Sequence[str] = ()
    first = 1
    try:
        for row in rows:
            number, first = first, rows.line_num + 1  # of its first line: a note may have several
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if not header:
                header = [cell.lower() for cell in cells]
                named = [column for column in header if column]
                if not set(required) <= set(named) <= set(columns) or len(set(named)) < len(named):
                    msg = f"{path}: its first line must name the columns, {','.join(columns)}; nothing was recorded"
                    raise BadData(msg)
                continue
            surplus = [cell for cell in cells[len(header) :] if cell]
            cells += [""] * (len(header) - len(cells))
            yield number, {**dict(zip(header, cells, strict=False)), "surplus": ", ".join(surplus)}
    except csv.Error as error:
        msg = f"{path}: line {rows.line_num} is not CSV ({error}), so nothing was recorded"
        raise BadData(msg) from error


def written_day(text: str) -> date | None:
    """Date as people write it, year first; None: it is none."""
    written = _DATE.fullmatch(text)
    try:
        return date(int(written[1]), int(written[3]), int(written[4])) if written else None
    except ValueError:
        return None
