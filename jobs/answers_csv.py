"""Read answers from a CSV file and record them: all of them or, if any line is wrong, none."""

import csv
import io
import re
import unicodedata
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from jobs.answering import answer_alert
from jobs.clock import today
from jobs.console import printable
from monitor.alerts.alert import FalseAlarmReason, Verdict
from monitor.errors import BadData
from monitor.ledger.transaction import Transaction

COLUMNS: Final = ("id", "verdict", "reason", "note", "date")
"""Columns of the file; the last three may be empty or absent."""
_DATE: Final = re.compile(r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2})")
"""Also as spreadsheets write it: ``2026/4/1``."""
_BY: Final = "import"


class Answer(NamedTuple):
    """One line of the file."""

    alert: str
    verdict: Verdict
    reason: FalseAlarmReason | None
    note: str | None
    date: date | None
    """Day of the finding; None: today."""


class Import(NamedTuple):
    """What was done with the lines of a file; each names an alert."""

    recorded: list[str]
    already: list[str]
    """Recorded by an earlier import."""
    outdated: list[str]
    """Of those that were recorded: a finding of a later day stands."""


def import_answers(t: Transaction, path: Path) -> Import:
    """Record the answers of a file. Safe to run twice: the same line again records nothing.

    Raises
    ------
    BadData
        The file cannot be read, or lines are wrong; the message names each. Nothing was recorded.
    """
    answers = _read(path, known={alert["id"] for alert in t.alerts()})
    done = Import([], [], [])
    for answer in answers:
        line = [answer.verdict, answer.reason, answer.note, answer.date and answer.date.isoformat()]
        if any(event["by"] == _BY and event["line"] == line for event in t.events(answer.alert)):
            done.already.append(answer.alert)
            continue
        recorded = answer_alert(
            t, answer.alert, answer.verdict, answer.reason, answer.note, answer.date or today(), _BY, line=line
        )
        done.recorded.append(answer.alert)
        if not recorded.is_newest:
            done.outdated.append(answer.alert)
    return done


def _read(path: Path, known: set[str]) -> list[Answer]:
    """The answers of a file about alerts with known ids."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror or error}"
        raise BadData(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{path} is not UTF-8, so nothing was recorded; save it as 'CSV UTF-8'"
        raise BadData(msg) from error
    answers: list[Answer] = []
    problems: list[str] = []
    for number, cells in _lines(path, text):
        read = _answer(cells, known)
        if isinstance(read, Answer):
            answers.append(read)
        else:
            problems.append(f"line {number}: {printable('; '.join(read))}")
    if problems:
        msg = "\n".join([f"{path}: wrong lines ({len(problems)}), so nothing was recorded", *problems])
        raise BadData(msg)
    return answers


def _lines(path: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Number of each line that is not empty, and its cells by column; raises BadData where the columns are wrong."""
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    columns: Sequence[str] = ()
    first = 1
    try:
        for row in rows:
            number, first = first, rows.line_num + 1  # of its first line: a note may have several
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if not columns:
                columns = [cell.lower() for cell in cells]
                named = [column for column in columns if column]
                if not {"id", "verdict"} <= set(named) <= set(COLUMNS) or len(set(named)) < len(named):
                    msg = f"{path}: its first line must name the columns, {','.join(COLUMNS)}; nothing was recorded"
                    raise BadData(msg)
                continue
            surplus = [cell for cell in cells[len(columns) :] if cell]
            cells += [""] * (len(columns) - len(cells))
            yield number, {**dict(zip(columns, cells, strict=False)), "surplus": ", ".join(surplus)}
    except csv.Error as error:
        msg = f"{path}: line {rows.line_num} is not CSV ({error}), so nothing was recorded"
        raise BadData(msg) from error


def _answer(cells: dict[str, str], known: set[str]) -> Answer | list[str]:
    """The answer of a line, or what is wrong with it."""
    problems = []
    name, verdict = unicodedata.normalize("NFC", cells["id"]), cells["verdict"].lower()
    reason, written = cells.get("reason", "").lower(), cells.get("date", "")
    if name not in known:
        problems.append(f"no alert {name!r}; 'regrowth alerts list --all' lists all alerts")
    if verdict not in tuple(Verdict):
        problems.append(f"verdict {verdict!r} is none of {', '.join(Verdict)}")
    elif reason and verdict != Verdict.FALSE_ALARM:
        problems.append(f"only a false alarm has a reason, {verdict} has none")
    if reason and reason not in tuple(FalseAlarmReason):
        problems.append(f"reason {reason!r} is none of {', '.join(FalseAlarmReason)}")
    day = _day(written)
    if written and day is None:
        problems.append(f"{written!r} is no date; write it as {today()}")
    elif day is not None and day > today() + timedelta(days=1):  # where it is tomorrow already
        problems.append(f"{written} is in the future")
    if cells["surplus"]:
        problems.append(f"more cells than columns ({cells['surplus']!r}); a note with a comma needs quotation marks")
    if problems:
        return problems
    cause = FalseAlarmReason(reason) if reason else None
    return Answer(name, Verdict(verdict), cause, cells.get("note") or None, day)


def _day(text: str) -> date | None:
    written = _DATE.fullmatch(text)
    try:
        return date(int(written[1]), int(written[3]), int(written[4])) if written else None
    except ValueError:
        return None
