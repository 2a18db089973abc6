"""The chain of nights in the ledger: append a line, prove what it covers, and check that ledger and chain fit."""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from monitor.alerts.chain_head import ChainHead
from monitor.errors import BadData
from monitor.evidence.chain import (
    Line,
    Proof,
    answer_record,
    check_chain,
    check_format,
    leaf_of,
    next_line,
    proof,
    record_of,
)
from monitor.evidence.merkle import HASH_SIZE, merkle_root
from monitor.ledger.assessments import StoredAssessment
from monitor.ledger.rows import Payload
from monitor.ledger.transaction import Transaction

RESTORE: Final = "'regrowth doctor --deep' names all that is damaged; docs/operations.md, Restore, says how to go on"
_HEAD_ON_PAGE: Final = re.compile(r'<code class="code">([0-9a-f]{64})</code>')


class Proven(NamedTuple):
    """A record of the ledger and where the chain covers it."""

    record: dict[str, Any]  # from a function of `monitor.evidence.chain`, such as `answer_record`
    proof: Proof | None  # None: no line covers it yet; the next night does


def append_line(t: Transaction, *, night: date) -> None:
    """Append the line of a night to the chain: all assessments, answers and promises that no line covers yet.

    A night that runs again adds a line only if some came since.
    """
    last = t.newest_chain_line()
    ends = _end(last)
    new = t.chained_assessments(ends[0])
    if damaged := next((one for one in new if not one.payload), None):
        raise BadData(f"{_assessment(damaged).name} is damaged: its checksum is not that of its content. {RESTORE}")
    assessments, last_assessment = _new_leaves(map(_assessment, new))
    answers, last_event = _new_leaves(map(_answer, t.chained_answers(ends[1])))
    promises, last_promise = _new_leaves(map(_promise, t.chained_promises(ends[2])))
    leaves = [*assessments, *answers, *promises]
    if not leaves and any(row["night"] == night.isoformat() for row in t.chain()):
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
    """The newest line of the chain, whose hash is the head; None: the chain is empty."""
    row = t.newest_chain_line()
    return None if row is None else _line(row)


def chain_head(t: Transaction) -> ChainHead | None:
    """Head of the chain as pages and messages state it; None: the chain is empty."""
    line = newest_line(t)
    return None if line is None else ChainHead(date.fromisoformat(line["night"]), line["hash"])


def unknown_published_head(t: Transaction, outputs: Path) -> str | None:
    """Head that the published index states although no line of the chain has it; None: not so.

    The ledger is then older than the page, perhaps from a backup, or its newest lines were changed.
    """
    page = outputs / "index.html"
    stated = _HEAD_ON_PAGE.search(page.read_text(encoding="utf-8", errors="replace")) if page.is_file() else None
    return stated[1] if stated and all(row["hash"] != stated[1] for row in t.chain()) else None


def proven_assessments(t: Transaction, site: str) -> list[Proven]:
    """All stored assessments of a site with their proofs, in the order in which they were made.

    Raises BadData if an assessment is not what its line covers, so the ledger was changed.
    """
    stored = sorted(t.assessments_of(site), key=lambda one: one.row)
    return _proven(t, map(_assessment, stored), "last_assessment")


def proven_answers(t: Transaction, site: str) -> list[Proven]:
    """All answers to the alerts of a site, or of a lot, with their proofs; as :func:`proven_assessments`."""
    return _proven(t, map(_answer, t.chained_answers(0, site=site)), "last_event")


def proven_promises(t: Transaction, site: str) -> list[Proven]:
    """All promises about a site with their proofs; as :func:`proven_assessments`."""
    return _proven(t, map(_promise, t.chained_promises(0, site=site)), "last_promise")


class CoveredAssessments:
    """Compares assessments with the leaves of the lines that cover them; each line is read once."""

    def __init__(self, t: Transaction) -> None:
        self._t = t
        self._lines = t.chain()
        self._ends = [line["last_assessment"] for line in self._lines]
        self._leaves: dict[int, set[bytes]] = {}

    def has(self, assessment: StoredAssessment) -> bool:
        """Whether an assessment is what its line covers; true where no line covers it yet."""
        at = bisect_left(self._ends, assessment.row)
        if at == len(self._lines):
            return True
        if at not in self._leaves:
            self._leaves[at] = {*_leaves(self._t, self._lines[at]["number"])}
        return leaf_of(_assessment(assessment).record) in self._leaves[at]


def problems(t: Transaction, *, newest: int | None = None) -> Iterator[str]:
    """Each line or record in which ledger and chain differ, and how.

    The links of all lines are checked; records of the `newest` lines only, None: of all.
    """
    rows = t.chain()
    try:
        check_chain([_line(row) for row in rows])
    except BadData as error:
        yield str(error)
        return
    first = 0 if newest is None else max(0, len(rows) - newest)
    for before, row in zip([None, *rows][first:], rows[first:], strict=False):
        yield from _problems_of_line(t, before, row)


class _Row(NamedTuple):
    """A row of the ledger that the chain covers."""

    id: int
    key: tuple[str, ...] | tuple[str, int]  # its place among the leaves of its line
    record: dict[str, Any]
    name: str  # for messages


def _assessment(stored: StoredAssessment) -> _Row:
    name = f"the assessment of site {stored.site!r} of {stored.as_of} (row {stored.row})"
    return _Row(stored.row, (stored.site, stored.as_of, stored.digest), record_of("assessment", stored.record), name)


def _answer(row: Payload) -> _Row:
    content = {name: value for name, value in row.items() if name not in ("id", "photos")}
    name = f"the answer to alert {row['alert']!r}, event {row['number']} (row {row['id']})"
    return _Row(row["id"], (row["alert"], row["number"]), answer_record(content, row["photos"]), name)


def _promise(row: Payload) -> _Row:
    name = f"promise {row['number']} about site {row['site']!r} (row {row['id']})"
    from monitor.sites.promise import entry  # with outlines, which `status` does not load

    return _Row(
        row["id"], (row["site"], row["number"]), record_of("promise", {"site": row["site"], **entry(row)}), name
    )


def _new_leaves(rows: Iterable[_Row]) -> tuple[list[bytes], int]:
    """Leaves of rows in the order of their keys, and the highest id; 0 without rows."""
    keyed, last = [], 0
    for row in rows:
        keyed.append((row.key, leaf_of(row.record)))
        last = row.id
    return [leaf for _, leaf in sorted(keyed)], last


def _line(row: Mapping[str, Any]) -> Line:
    check_format(row, row["number"])
    return cast("Line", {name: row[name] for name in Line.__annotations__})


def _end(row: Mapping[str, Any] | None) -> tuple[int, int, int]:
    """Highest ids of assessments, of events and of promises that a line and those before it cover."""
    return (0, 0, 0) if row is None else (row["last_assessment"], row["last_event"], row["last_promise"])


def _leaves(t: Transaction, number: int) -> list[bytes]:
    content = t.chain_leaves(number)
    return [content[at : at + HASH_SIZE] for at in range(0, len(content), HASH_SIZE)]


def _proven(t: Transaction, rows: Iterable[_Row], last: str) -> list[Proven]:
    lines = t.chain()
    ends = [line[last] for line in lines]
    proven, at, leaves = [], -1, []
    for row in rows:
        covering = bisect_left(ends, row.id)
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
    """Differences between one line, its stored leaves, and the rows of the ledger that it covers."""
    name = f"line {row['number']} of the chain (night {row['night']})"
    leaves = _leaves(t, row["number"])
    counts = row["assessments"], row["answers"], row["promises"]
    if len(leaves) != sum(counts) or merkle_root(leaves).hex() != row["root"]:
        yield f"{name}: its stored leaves were changed, they do not give its root"
        return
    starts, ends = _end(before), _end(row)
    assessments, answers, promises = (set(leaves[first:end]) for first, end in pairwise(accumulate(counts, initial=0)))
    parts = (
        ("assessments", assessments, map(_assessment, t.chained_assessments(starts[0], ends[0]))),
        ("answers", answers, map(_answer, t.chained_answers(starts[1], ends[1]))),
        ("promises", promises, map(_promise, t.chained_promises(starts[2], ends[2]))),
    )
    for (kind, covered, rows), last, end in zip(parts, starts, ends, strict=True):
        present = 0
        for record in rows:
            present, last = present + 1, record.id
            if leaf_of(record.record) not in covered:
                yield f"{record.name} is not as it was when {name} was written: it was changed or added later"
        if present < len(covered):
            yield f"{name} covers {len(covered)} {kind}; missing in the ledger: {len(covered) - present}"
        elif last != end:
            yield f"{name}: the number of the last row of {kind} that it covers was changed from {last} to {end}"
