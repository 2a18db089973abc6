"""Read answers from a CSV file and record them: all of them or, if any line is wrong, none."""

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from jobs.register.answering import answer_alert
from jobs.runtime.clock import today
from monitor.alerts.alert import FalseAlarmReason, Verdict
from monitor.alerts.recipients import Recipient
from monitor.errors import BadData
from monitor.ledger.transaction import Transaction
from monitor.tables import Column, Table, read

COLUMNS: Final = (  # the last three may be empty or absent
    Column("id", required=True), Column("verdict", required=True, choices=tuple(Verdict)),
    Column("reason", choices=tuple(FalseAlarmReason)), Column("note"), Column("date", "day"),
)  # fmt: skip
FORM: Final = (  # questions of KoboToolbox or ODK, see docs/field.md
    Column("id", required=True, aliases=("alert",)),
    *COLUMNS[1:-1],
    Column("date", "day", aliases=("today",)),
)
_BY: Final = "import"


class Answer(NamedTuple):
    """One line of the file."""

    alert: str
    verdict: Verdict
    reason: FalseAlarmReason | None
    note: str | None
    date: date | None  # day of the finding; None: today


class Import(NamedTuple):
    """Result of importing a file; each list has ids of alerts."""

    recorded: list[str]
    already: list[str]  # recorded by an earlier import
    outdated: list[str]  # of those that were recorded: a finding of a later day stands


def import_answers(t: Transaction, path: Path, operators: Sequence[Recipient]) -> Import:
    """Record the answers of a file. Safe to run twice: the same line again records nothing.

    Raises BadData if the file cannot be read or lines are wrong; the message names each, and nothing was recorded.
    """
    table, answers = _read(path, known={alert["id"] for alert in t.alerts()})
    done = Import([], [], [])
    for at, answer in enumerate(answers):
        line = [answer.verdict, answer.reason, answer.note, answer.date and answer.date.isoformat()]
        if any(event["by"] == _BY and event["line"] == line for event in t.events(answer.alert)):
            done.already.append(answer.alert)
            continue
        try:
            recorded = answer_alert(
                t, answer.alert, answer.verdict, answer.reason, answer.note, answer.date or today(), _BY,
                operators=operators, line=line,
            )  # fmt: skip
        except BadData as error:
            table.add(at, str(error))
            continue
        done.recorded.append(answer.alert)
        if not recorded.is_newest:
            done.outdated.append(answer.alert)
    table.check_lines("recorded")
    return done


def _read(path: Path, known: set[str]) -> tuple[Table, list[Answer]]:
    """The answers of a file about alerts with known ids, and the table of its lines."""
    table = read(path, COLUMNS, empty=True, any_case=True, form=FORM)
    answers: list[Answer] = []
    for at, (name, verdict, reason, note, day) in enumerate(zip(*(table[one.name] for one in COLUMNS), strict=True)):
        written: date | None = day.item()
        if name and name not in known:
            table.add(at, f"no alert {name!r}; 'regrowth alerts list --all' lists all alerts")
        if reason and verdict and verdict != Verdict.FALSE_ALARM:
            table.add(at, f"only a false alarm has a reason, {verdict} has none")
        if written is not None and written > today() + timedelta(days=1):  # where it is tomorrow already
            table.add(at, f"date {written} is in the future")
        if not table.problems:
            cause = FalseAlarmReason(reason) if reason else None
            answers.append(Answer(name, Verdict(verdict), cause, note or None, written))
    table.check_lines("recorded")
    return table, answers
