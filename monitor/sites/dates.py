"""Read days as people and programs write them, year first; what could be read in two ways is refused."""

import re
import unicodedata
from datetime import date
from typing import Final

from monitor.errors import BadData

FIRST_YEAR, LAST_YEAR = 1980, 2100  # accepted starts: Landsat has seen 30 m since 1982; others are typing errors
MAX_LENGTH: Final = 60  # length above which no text is a day [characters]
_TIME: Final = r"(?:[T ]\s*[\d:.]+\s*(?:Z|[+-]\d{2}(?::?\d{2})?)?)?"  # time of day, which GIS programs add
_FORMS: Final = tuple(
    re.compile(form + _TIME, re.ASCII)
    for form in (
        r"(\d{4})-(\d{1,2})-(\d{1,2})", r"(\d{4})/(\d{1,2})/(\d{1,2})", r"(\d{4})\.(\d{1,2})\.(\d{1,2})",
        r"(\d{4})(\d{2})(\d{2})", r"(\d{4})\s*年\s*(\d{1,2})\s*月\s*(\d{1,2})\s*[日号]",
    )
)  # fmt: skip
_YEAR_LAST: Final = re.compile(r"\d{1,2}([-/.])\d{1,2}\1(\d{2}|\d{4})" + _TIME, re.ASCII)
_NO_DAY: Final = re.compile(r"\d{4}(\s*年)?([-/.]?\s*\d{1,2}\s*月?)?", re.ASCII)
_SPREADSHEET: Final = re.compile(r"[2-7]\d{4}(\.\d+)?", re.ASCII)  # days since 1900: 20000 is in 1954, 80000 in 2119


def read_day(text: str) -> date:
    """Day in a text: ``2021-4-1``, ``2021/4/1``, ``2021.04.01``, ``20210401`` or ``2021年4月1日``.

    A time of day after it is ignored, and full-width digits are digits. BadData for another text or a year outside 1980
    to 2100; its message goes on from ``start is '...'``.

    >>> read_day("2021年4月1日")
    datetime.date(2021, 4, 1)
    >>> read_day("2021/4/1 00:00:00")
    datetime.date(2021, 4, 1)
    """
    plain = unicodedata.normalize("NFKC", text).strip() if len(text) <= MAX_LENGTH else ""
    written = next((match for form in _FORMS if (match := form.fullmatch(plain))), None)
    if written is None:
        raise BadData(_why_not(plain))
    try:
        day = date(*map(int, written.groups()))
    except ValueError:
        raise BadData("which is no day of the calendar") from None
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise BadData(f"not a date from {FIRST_YEAR} to {LAST_YEAR}")
    return day


def _why_not(plain: str) -> str:
    if _YEAR_LAST.fullmatch(plain):
        return "where day and month could be either way round"
    if _SPREADSHEET.fullmatch(plain):
        return "which looks like a day as a spreadsheet counts it; format that column as a date and save it"
    if _NO_DAY.fullmatch(plain):
        return "which names no day"
    return f"not a date from {FIRST_YEAR} to {LAST_YEAR}"
