"""Read answers from a CSV file and record them: all of them or, if any line is wrong, none."""

import unicodedata
from datetime import date, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from jobs.answering import answer_alert
from jobs.clock import today
from jobs.console import printable
from jobs.csv_file import read_lines, written_day
from monitor.alerts.alert import FalseAlarmReason, Verdict
from monitor.errors import BadData
from monitor.ledger.transaction import Transaction

COLUMNS: Final = ("id", "verdict", "reason", "note", "date")
"""Columns of the file; the last three may be empty or absent."""
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
    answers: list[Answer] = []
    problems: list[str] = []
    for number, cells in read_lines(path, required=("id", "verdict"), columns=COLUMNS):
        read = _answer(cells, known)
        if isinstance(read, Answer):
            answers.append(read)
        else:
            problems.append(f"line {number}: {printable('; '.join(read))}")
    if problems:
        msg = "\n".join([f"{path}: wrong lines ({len(problems)}), so nothing was recorded", *problems])
        raise BadData(msg)
    return answers


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
    day = written_day(written)
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
