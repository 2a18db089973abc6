"""The chain of nights: one line a night that fixes all assessments, answers and promises until then.

A line holds the root of a hash tree over the records that are new since the line before, and the hash of that line. So
whoever notes the hash of the newest line, the head, can later tell whether anything before it was changed: a record, a
line, or their order. Lines hold no clock time and no random value: the same records in the same nights give the same
chain.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from datetime import date
from hashlib import sha256
from itertools import accumulate, pairwise, starmap
from typing import Any, Final, TypedDict

from monitor.errors import BadData, newer_format
from monitor.evidence.canonical import LARGEST_INTEGER, canonical, representable
from monitor.evidence.merkle import HASH_SIZE, inclusion_path, leaf_hash, merkle_root, root_of_path

FORMAT: Final = 1  # format of a line and of the records that it covers
BEFORE_THE_FIRST: Final = "0" * 64  # `previous` of the first line


class Line(TypedDict):
    """One line of the chain."""

    format: int  # format of the line, see `FORMAT`
    number: int  # from 1, without a gap
    night: str  # day of the night that appended it, ISO 8601. A night of an earlier day that ran later comes later.
    assessments: int  # number of assessments that it covers, the first leaves of its tree
    answers: int  # number of answers that it covers, the next leaves
    promises: int  # number of promises that it covers, the last leaves
    root: str  # root of its tree, see `monitor.evidence.merkle`; hexadecimal, like the other hashes
    previous: str  # `hash` of the line before; `BEFORE_THE_FIRST` for the first
    hash: str  # SHA-256 of the canonical JSON of the line without this entry


class Proof(TypedDict):
    """Where in the chain a record is, and the hashes that prove it."""

    line: int  # number of the line that covers it
    index: int  # its position among the leaves of the line, from 0
    path: str  # base64 of the hashes of `monitor.evidence.merkle.inclusion_path`, one after the other


def record_of(kind: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Record of an assessment or a promise (`kind`), from which its leaf is made.

    JSON values of an assessment are ``site, as_of, digest, version, snapshot, payload`` and whatever else is to be
    fixed, of a promise ``site`` and the entries of :func:`monitor.sites.promise.entries`; they become
    :func:`monitor.evidence.canonical.representable`.
    """
    return {"kind": kind, **representable(dict(values))}


def answer_record(answer: Mapping[str, Any], photos: Sequence[str]) -> dict[str, Any]:
    """Record of an answer: ``alert, number, time, payload`` of the event, and the SHA-256 of its photos, ascending."""
    return {**record_of("answer", answer), "photos": sorted(photos)}


def leaf_of(record: Mapping[str, Any]) -> bytes:
    """Leaf of a record (:func:`record_of`, :func:`answer_record`) in its line."""
    return leaf_hash(canonical(dict(record)))


def next_line(
    last: Line | None, night: str, assessments: Sequence[bytes], answers: Sequence[bytes],
    promises: Sequence[bytes] = (),
) -> Line:  # fmt: skip
    """The line that follows the newest one, for a night (ISO 8601), with the hash of its content.

    The leaves (:func:`leaf_of`) are those that no line covers yet, in the order of `site`, `as_of` and `digest`, of
    `alert` and `number`, and of `site` and `number`, compared by code point.
    """
    line = Line(
        format=FORMAT, number=last["number"] + 1 if last else 1, night=night, assessments=len(assessments),
        answers=len(answers), promises=len(promises), root=merkle_root([*assessments, *answers, *promises]).hex(),
        previous=last["hash"] if last else BEFORE_THE_FIRST, hash="",
    )  # fmt: skip
    return {**line, "hash": _hash_of(line)}


def check_chain(lines: Sequence[Mapping[str, Any]]) -> None:
    """Check that lines are a chain from its beginning, and well formed.

    Raises ``BadData`` about the first wrong line, with what is wrong: edited, dropped, inserted, or in another order.
    """
    before: Mapping[str, Any] | None = None
    for position, line in enumerate(lines, start=1):
        _check_form(line, position)
        name = f"line {line['number']} of the chain (night {line['night']})"
        place = f"{name}, at position {position}," if line["number"] != position else name
        if line["hash"] != _hash_of(line):
            raise BadData(f"{place} was edited: its content does not give its hash")
        if line["number"] > position:
            missing = position if line["number"] == position + 1 else f"{position} to {line['number'] - 1}"
            msg = f"line {missing} of the chain is missing before {name}: a night was dropped, or the order changed"
            raise BadData(msg)
        if line["number"] < position:
            raise BadData(f"{name} stands at position {position}: a night was inserted, or the order changed")
        expected = before["hash"] if before else BEFORE_THE_FIRST
        if line["previous"] != expected:
            after = f"line {before['number']} (night {before['night']})" if before else "the beginning"
            msg = f"{name} does not follow {after}: one of them was replaced, or a night was dropped or inserted"
            raise BadData(msg)
        before = line


def check_head(lines: Sequence[Line], head: str) -> Line:
    """Line whose hash someone noted as the head of the chain, in lines that :func:`check_chain` accepts.

    Nothing up to this line was changed since then. Capitals and white space of `head` do not matter. Raises ``BadData``
    where no line has this hash, or it is not a hash.
    """
    noted = "".join(head.split()).lower()
    if not _is_hash(noted):
        raise BadData(f"{head[:100]!r} is not the head of a chain, which has 64 hexadecimal digits")
    for line in lines:
        if line["hash"] == noted:
            return line
    end = f"line {lines[-1]['number']}, night {lines[-1]['night']}" if lines else "no line"
    raise BadData(
        f"no line of the chain has the head {noted}: the chain was rewritten since the head was noted, perhaps from an "
        f"older backup, or it is older than the head (it ends with {end})"
    )


def proof(line: Line, leaves: Sequence[bytes], leaf: bytes) -> Proof:
    """Proof that a line with these leaves, in their order, covers one of them; about 600 characters for 10,000 leaves.

    Raises ``BadData`` where the leaf is not among them, or they do not give the root of the line.
    """
    index = leaves.index(leaf) if leaf in leaves else -1
    path = inclusion_path(leaves, index) if index >= 0 else []
    if index < 0 or root_of_path(leaf, index, len(leaves), path).hex() != line["root"]:
        msg = f"line {line['number']} of the chain (night {line['night']}) does not cover the record as it is now"
        raise BadData(msg)
    return {"line": line["number"], "index": index, "path": base64.b64encode(b"".join(path)).decode()}


def check_proof(lines: Sequence[Line], record: Mapping[str, Any], proof: Mapping[str, Any]) -> Line:
    """Line of a chain that :func:`check_chain` accepts which covers a record, by its proof.

    Raises ``BadData`` where the proof is malformed, or does not lead from the record to the root of its line.
    """
    number, index, text = (proof.get(name) for name in ("line", "index", "path"))
    if type(number) is not int or type(index) is not int or not isinstance(text, str) or len(proof) != 3:
        raise BadData("a proof is malformed: it has a line, an index and a path")
    if not 1 <= number <= len(lines):
        raise BadData(f"a proof names line {number} of the chain, which has {len(lines)}")
    line = lines[number - 1]
    ends = [*accumulate((line["assessments"], line["answers"], line["promises"]), initial=0)]
    places = dict(zip(("assessment", "answer", "promise"), starmap(range, pairwise(ends)), strict=True))
    of_its_kind = places.get(str(record.get("kind")), range(0))
    try:
        path = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        path = b"?"
    hashes = [path[at : at + HASH_SIZE] for at in range(0, len(path), HASH_SIZE)]
    fits = len(path) % HASH_SIZE == 0 and index in of_its_kind
    if not fits or root_of_path(leaf_of(record), index, ends[-1], hashes).hex() != line["root"]:
        raise BadData(f"line {number} of the chain (night {line['night']}) does not cover this record as it is")
    return line


def chain_bytes(lines: Sequence[Line]) -> bytes:
    """The chain as a file: the canonical JSON of each line, and a line feed after each."""
    return b"".join(canonical(dict(line)) + b"\n" for line in lines)


def read_chain(content: bytes) -> list[Line]:
    """Lines of a file that :func:`chain_bytes` made, whose content may be anything; :func:`check_chain` checks the
    chain.

    Raises ``BadData`` about the first line that is malformed or not canonical.
    """
    lines: list[Line] = []
    for position, text in enumerate(content.splitlines(keepends=True), start=1):
        try:
            line = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BadData(f"line {position} of the chain is no JSON") from error
        _check_form(line, position)
        if canonical(line) + b"\n" != text:
            raise BadData(f"line {position} of the chain is not written in canonical JSON (RFC 8785) with a line feed")
        lines.append(line)
    return lines


def check_format(line: Mapping[str, Any], position: int) -> None:
    """Raise ``BadData`` if a newer version made a line, at a position from 1."""
    if type(line.get("format")) is int and line["format"] > FORMAT:
        raise BadData(f"line {position} of the chain has {newer_format(line['format'], FORMAT)}")


def _hash_of(line: Mapping[str, Any]) -> str:
    return sha256(canonical({name: value for name, value in line.items() if name != "hash"})).hexdigest()


def _check_form(line: Any, position: int) -> None:
    """Raise unless a line has the entries of :class:`Line` with values of their kind."""
    numbers, hashes = ("format", "number", "assessments", "answers", "promises"), ("root", "previous", "hash")
    if isinstance(line, Mapping):
        check_format(line, position)
    well_formed = (
        isinstance(line, Mapping)
        and set(line) == {"night", *numbers, *hashes}
        and all(type(line[name]) is int and 0 <= line[name] <= LARGEST_INTEGER for name in numbers)
        and all(_is_hash(line[name]) for name in hashes)
        and _is_day(line["night"])
    )
    if not well_formed:
        raise BadData(f"line {position} of the chain is malformed: it has {', '.join(Line.__annotations__)}")


def _is_hash(text: Any) -> bool:
    return isinstance(text, str) and len(text) == 2 * HASH_SIZE and set(text) <= set("0123456789abcdef")


def _is_day(text: Any) -> bool:
    try:
        return isinstance(text, str) and date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
