"""The chain of nights in the ledger: append a line, prove what it covers, and check that ledger and chain fit."""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from jobs.proof.thinning import RETENTION
from monitor.alerts.chain_head import ChainHead
from monitor.errors import BadData
from monitor.evidence.chain import (
    Line,
    Proof,
    answer_record,
    assessment_record,
    check_chain,
    leaf_of,
    next_line,
    promise_record,
    proof,
)
from monitor.evidence.merkle import HASH_SIZE, merkle_root
from monitor.ledger.rows import Payload
from monitor.ledger.transaction import Transaction

RESTORE: Final = "'regrowth doctor --deep' names all that is damaged; docs/operations.md, Restore, says how to go on"
_HEAD_ON_PAGE: Final = re.compile(r'<code class="code">([0-9a-f]{64})</code>')


class Proven(NamedTuple):
    """A record of the ledger and where the chain covers it."""

    record: dict[str, Any]
    """From a function of :mod:`monitor.evidence.chain`, such as :func:`monitor.evidence.chain.assessment_record`."""
    proof: Proof | None
    """None: no line covers it yet; the next night does."""


def append_line(t: Transaction, *, night: date) -> None:
    """Append the line of a night to the chain: all assessments, answers and promises that no line covers yet.

    A night that runs again adds a line only if some came since.

    Parameters
    ----------
    t : Transaction, of the ledger
    night : date, its day
    """
    last = t.newest_chain_line()
    ends = _end(last)
    assessments, last_assessment = _new_leaves(t.chained_assessments(ends[0]), _assessment)
    answers, last_event = _new_leaves(t.chained_answers(ends[1]), _answer)
    promises, last_promise = _new_leaves(t.chained_promises(ends[2]), _promise)
    leaves = [*assessments, *answers, *promises]
    if not leaves and t.has_chain_line(night.isoformat()):
        return
    line = next_line(_line(last) if last else None, night.isoformat(), assessments, answers, promises)
    t.add_chain_line(
        {**line}, last_assessment=last_assessment or ends[0], last_event=last_event or ends[1],
        last_promise=last_promise or ends[2], leaves=b"".join(leaves),
    )  # fmt: skip


def chain_lines(t: Transaction) -> list[Line]:
    """All lines of the chain, first one first."""
    return [_line(row) for row in t.chain()]


def newest_line(t: Transaction) -> Line | None:
    """The newest line of the chain, whose hash is the head; None: there is no line yet."""
    row = t.newest_chain_line()
    return None if row is None else _line(row)


def chain_head(t: Transaction) -> ChainHead | None:
    """Head of the chain as pages and messages state it; None: there is no line yet."""
    line = newest_line(t)
    return None if line is None else ChainHead(date.fromisoformat(line["night"]), line["hash"])


def unknown_published_head(t: Transaction, outputs: Path) -> str | None:
    """Head that the published index states although no line of the chain has it; None: there is no such head.

    The ledger is then older than the page, perhaps from a backup, or its newest lines were changed.
    """
    page = outputs / "index.html"
    stated = _HEAD_ON_PAGE.search(page.read_text(encoding="utf-8", errors="replace")) if page.is_file() else None
    return stated[1] if stated and all(row["hash"] != stated[1] for row in t.chain()) else None


def proven_assessments(t: Transaction, site: str) -> list[Proven]:
    """All stored assessments of a site with their proofs, in the order in which they were made.

    Parameters
    ----------
    t : Transaction, of the ledger
    site : str, id of the site

    Returns
    -------
    list of Proven
        The leaves of one line are in memory at a time.

    Raises
    ------
    BadData
        An assessment is not what its line covers: the ledger was changed.
    """
    return _proven(t, t.chained_assessments(0, site=site), "last_assessment", _assessment)


def proven_answers(t: Transaction, site: str) -> list[Proven]:
    """All answers to the alerts of a site, or of a lot, with their proofs; as :func:`proven_assessments`."""
    return _proven(t, t.chained_answers(0, site=site), "last_event", _answer)


def proven_promises(t: Transaction, site: str) -> list[Proven]:
    """All promises about a site with their proofs; as :func:`proven_assessments`."""
    return _proven(t, t.chained_promises(0, site=site), "last_promise", _promise)


class CoveredAssessments:
    """Compares assessments with the leaves of the lines that cover them; each line is read once.

    Parameters
    ----------
    t : Transaction, of the ledger
    """

    def __init__(self, t: Transaction) -> None:
        self._t = t
        self._lines = t.chain()
        self._ends = [line["last_assessment"] for line in self._lines]
        self._leaves: dict[int, set[bytes]] = {}

    def has(self, row: Payload) -> bool:
        """Whether an assessment is what its line covers; true where no line covers it yet.

        `row` has the columns of :class:`monitor.ledger.models.AssessmentRow` without `run`.
        """
        at = bisect_left(self._ends, row["id"])
        if at == len(self._lines):
            return True
        if at not in self._leaves:
            self._leaves[at] = {*_leaves(self._t, self._lines[at]["number"])}
        return leaf_of(_assessment(row).record) in self._leaves[at]


def problems(t: Transaction, *, newest: int | None = None) -> Iterator[str]:
    """What does not fit between the ledger and its chain.

    Parameters
    ----------
    t : Transaction, of the ledger
    newest : int, optional
        Number of lines, from the newest, whose records are compared; the links of all lines are checked always.
        None: all.

    Yields
    ------
    str
        One problem: which line or record, and what is wrong.
    """
    rows = t.chain()
    try:
        check_chain([_line(row) for row in rows])
    except BadData as error:
        yield str(error)
        return
    recent = (date.fromisoformat(max((row["night"] for row in rows), default="0001-04-01")) - RETENTION).isoformat()
    for row in rows:
        if row["thinned"] and row["night"] >= recent:
            yield f"{_name(row)} says that {row['thinned']} of its assessments were thinned, too soon after that night"
    if newest is None:
        for event in t.events_without_assessment():
            what = f"event {event['number']} of alert {event['alert']!r}, by the night of {event['day']}"
            yield f"{what}: the assessment of site {event['site']!r} of that day is missing in the ledger"
    first = 0 if newest is None else max(0, len(rows) - newest)
    for before, row in zip([None, *rows][first:], rows[first:], strict=False):
        yield from _problems_of_line(t, before, row)


class _Row(NamedTuple):
    """A row of the ledger that the chain covers."""

    key: tuple[str, ...] | tuple[str, int]
    """Its place among the leaves of its line."""
    record: dict[str, Any]
    name: str
    """For messages."""


def _assessment(row: Payload) -> _Row:
    record = assessment_record({name: value for name, value in row.items() if name != "id"})
    name = f"the assessment of site {row['site']!r} of {row['as_of']} (row {row['id']})"
    return _Row((row["site"], row["as_of"], row["digest"]), record, name)


def _answer(row: Payload) -> _Row:
    content = {name: value for name, value in row.items() if name not in ("id", "photos")}
    name = f"the answer to alert {row['alert']!r}, event {row['number']} (row {row['id']})"
    return _Row((row["alert"], row["number"]), answer_record(content, row["photos"]), name)


def _promise(row: Payload) -> _Row:
    name = f"promise {row['number']} about site {row['site']!r} (row {row['id']})"
    from monitor.sites.promise import entry  # with outlines, which `status` does not load

    return _Row((row["site"], row["number"]), promise_record({"site": row["site"], **entry(row)}), name)


def _new_leaves(rows: Iterable[Payload], read: Callable[[Payload], _Row]) -> tuple[list[bytes], int]:
    """Leaves of rows in the order of their keys, and the highest id; 0 without rows."""
    keyed, last = [], 0
    for values in rows:
        row, last = read(values), values["id"]
        if isinstance(values["payload"], str):
            raise BadData(f"{row.name} is damaged: its checksum is not that of its content. {RESTORE}")
        keyed.append((row.key, leaf_of(row.record)))
    return [leaf for _, leaf in sorted(keyed)], last


def _name(row: Mapping[str, Any]) -> str:
    return f"line {row['number']} of the chain (night {row['night']})"


def _line(row: Mapping[str, Any]) -> Line:
    return cast("Line", {name: row[name] for name in Line.__annotations__})


def _end(row: Mapping[str, Any] | None) -> tuple[int, int, int]:
    """Highest ids of assessments, of events and of promises that a line and those before it cover."""
    return (0, 0, 0) if row is None else (row["last_assessment"], row["last_event"], row["last_promise"])


def _leaves(t: Transaction, number: int) -> list[bytes]:
    content = t.chain_leaves(number)
    return [content[at : at + HASH_SIZE] for at in range(0, len(content), HASH_SIZE)]


def _proven(t: Transaction, rows: Iterable[Payload], last: str, read: Callable[[Payload], _Row]) -> list[Proven]:
    lines = t.chain()
    ends = [line[last] for line in lines]
    proven, at, leaves = [], -1, []
    for values in rows:
        row, covering = read(values), bisect_left(ends, values["id"])
        if covering == len(lines):
            proven.append(Proven(row.record, None))
            continue
        if covering != at:
            at, leaves = covering, _leaves(t, lines[covering]["number"])
        try:
            proven.append(Proven(row.record, proof(_line(lines[at]), leaves, leaf_of(row.record))))
        except BadData as error:
            msg = f"{row.name} is not as it was when the chain was written: {error}. Compare it with a backup"
            raise BadData(msg) from error
    return proven


def _problems_of_line(t: Transaction, before: Payload | None, row: Payload) -> Iterator[str]:
    """What does not fit between one line, its stored leaves, and the rows of the ledger that it covers."""
    name = _name(row)
    leaves = _leaves(t, row["number"])
    counts = row["assessments"], row["answers"], row["promises"]
    if len(leaves) != sum(counts) or merkle_root(leaves).hex() != row["root"]:
        yield f"{name}: its stored leaves were changed, they do not give its root"
        return
    starts, ends, thinned = _end(before), _end(row), row["thinned"] or 0
    assessments, answers, promises = (set(leaves[first:end]) for first, end in pairwise(accumulate(counts, initial=0)))
    parts: Sequence[tuple[str, set[bytes], int, Iterable[Payload], Callable[[Payload], _Row]]] = (
        ("assessments", assessments, thinned, t.chained_assessments(starts[0], ends[0]), _assessment),
        ("answers", answers, 0, t.chained_answers(starts[1], ends[1]), _answer),
        ("promises", promises, 0, t.chained_promises(starts[2], ends[2]), _promise),
    )
    for (kind, covered, absent, rows, read), last, end in zip(parts, starts, ends, strict=True):
        present = 0
        for values in rows:
            record, last = read(values), values["id"]
            present += 1
            if leaf_of(record.record) not in covered:
                yield f"{record.name} is not as it was when {name} was written: it was changed or added later"
        missing = len(covered) - absent - present
        in_chain = f", {absent} of them stored in the chain only" if absent else ""
        if missing > 0:
            yield f"{name} covers {len(covered)} {kind}{in_chain}; missing in the ledger: {missing}"
        elif missing < 0 and absent:
            yield f"{name} covers {len(covered)} {kind}{in_chain}, but {present} are in the ledger"
        elif last != end and not absent:
            yield f"{name}: the number of the last row of {kind} that it covers was changed from {last} to {end}"
