"""The chain of nights: whatever is changed in it is named, and a record's proof fits that record only."""

import json
from hashlib import sha256

import pytest

from monitor.errors import BadData
from monitor.evidence.canonical import canonical
from monitor.evidence.chain import (
    FORMAT,
    answer_record,
    chain_bytes,
    check_chain,
    check_head,
    check_proof,
    leaf_of,
    next_line,
    proof,
    read_chain,
    record_of,
)


def an_assessment(site, night):
    payload = {"status": "on_track", "probability": 0.75}
    return record_of(
        "assessment",
        {"site": site, "as_of": night, "digest": "d" * 64, "version": "v", "snapshot": "s:1", "payload": payload},
    )


def an_answer(number):
    payload = {"answer": "confirmed", "note": "整地后未补植"}
    return answer_record(
        {"alert": "a/failure", "number": number, "time": "2026-06-02T08:00:00+00:00", "payload": payload}, ["2f", "1e"]
    )


NIGHTS = {
    "2026-06-01": ([an_assessment(site, "2026-06-01") for site in "abc"], []),
    "2026-06-02": ([an_assessment(site, "2026-06-02") for site in "abcdefg"], [an_answer(2), an_answer(3)]),
    "2026-06-03": ([], []),
    "2026-06-04": ([an_assessment("a", "2026-06-04")], [an_answer(4)]),
    "2026-05-28": ([an_assessment("a", "2026-05-28")], []),  # a night of an earlier day that ran last
}


def leaves_of(night):
    return [[leaf_of(record) for record in records] for records in NIGHTS[night]]


def all_leaves(night):
    assessments, answers = leaves_of(night)
    return assessments + answers


def chain(nights=NIGHTS, last=None):
    lines = []
    for night in nights:
        last = next_line(last, night, *leaves_of(night))
        lines.append(last)
    return lines


def with_own_hash(line):
    """The line with the hash that its content gives, as a forger would write it."""
    content = {name: value for name, value in line.items() if name != "hash"}
    return {**content, "hash": sha256(canonical(content)).hexdigest()}


def test_a_line_is_what_is_documented():
    first, second = chain()[:2]
    names = "format number night assessments answers promises root previous hash"
    assert list(first) == names.split()
    assert (second["number"], second["night"], second["assessments"], second["answers"]) == (2, "2026-06-02", 7, 2)
    assert first["previous"] == "0" * 64
    assert second["previous"] == first["hash"] == with_own_hash(first)["hash"]


def test_a_chain_is_accepted_and_so_is_every_beginning_of_it():
    for n in range(len(NIGHTS) + 1):
        check_chain(chain()[:n])


def test_ten_years_of_nights_are_about_a_megabyte():
    line = {**chain()[1], "number": 3650, "assessments": 10_000, "answers": 100, "promises": 10}
    assert 3650 * len(chain_bytes([line])) < 1.2e6


@pytest.mark.parametrize(("change", "message"), [
    (lambda c: [c[0], *c[2:]], "line 2 of the chain is missing before line 3 of the chain (night 2026-06-03)"),
    (lambda c: c[3:], "line 1 to 3 of the chain is missing before line 4 of the chain"),
    (lambda c: [*c[:2], c[1], *c[2:]], "line 2 of the chain (night 2026-06-02) stands at position 3"),
    (lambda c: [c[0], c[2], c[1], *c[3:]], "line 2 of the chain is missing before line 3"),
    (lambda c: [c[0], {**c[1], "assessments": 6}, *c[2:]], "line 2 of the chain (night 2026-06-02) was edited"),
    (lambda c: [c[0], {**c[1], "night": "2026-06-05"}, *c[2:]], "(night 2026-06-05) was edited"),
    (lambda c: [c[0], {**c[1], "number": 9}, *c[2:]], "(night 2026-06-02), at position 2, was edited"),
    (lambda c: [c[0], with_own_hash({**c[1], "assessments": 6}), *c[2:]], "line 3 of the chain (night 2026-06-03) "
     "does not follow line 2 (night 2026-06-02): one of them was replaced"),
    (lambda c: [c[0], *(with_own_hash({**line, "number": line["number"] - 1}) for line in c[2:])],
     "line 2 of the chain (night 2026-06-03) does not follow line 1 (night 2026-06-01)"),
    (lambda c: [with_own_hash({**c[0], "previous": "1" * 64}), *c[1:]], "does not follow the beginning"),
], ids=[
    "dropped", "beginning dropped", "inserted", "swapped", "edited", "night edited", "number edited",
    "edited and hashed", "dropped and numbered", "another beginning",
])  # fmt: skip
def test_a_changed_chain_is_refused_and_the_first_wrong_line_is_named(change, message):
    with pytest.raises(BadData) as refused:
        check_chain(change(chain()))
    assert message in str(refused.value)


@pytest.mark.parametrize("line", [
    None, [], "line", {}, {"number": 1}, {**chain()[0], "more": 1}, {**chain()[0], "number": True},
    {**chain()[0], "number": 1.0}, {**chain()[0], "answers": -1}, {**chain()[0], "answers": 10**400},
    {**chain()[0], "hash": "A" * 64}, {**chain()[0], "root": 5}, {**chain()[0], "night": "yesterday"},
    {**chain()[0], "night": "20260601"},
])  # fmt: skip
def test_a_malformed_line_is_named(line):
    with pytest.raises(BadData, match="line 1 of the chain is malformed"):
        check_chain([line])


def test_a_line_of_a_newer_version_asks_for_an_update():
    lines = chain()
    newer = with_own_hash({**lines[1], "format": FORMAT + 1, "unknown": "entry"})
    with pytest.raises(BadData, match=r"line 2 of the chain has format 2, newer than 1,.* update the program"):
        read_chain(chain_bytes([lines[0], newer]))


def test_a_head_that_was_noted_is_recognised_for_ever_after():
    lines = chain()
    for line in lines:
        assert check_head(lines, f" {line['hash'].upper()}\n") == line


def test_a_rewritten_chain_does_not_have_the_old_head():
    rewritten = chain(list(NIGHTS)[1:])
    check_chain(rewritten)
    with pytest.raises(BadData, match="rewritten since the head was noted, perhaps from an older backup"):
        check_head(rewritten, chain()[-1]["hash"])


def test_a_chain_older_than_the_head_says_where_it_ends():
    with pytest.raises(BadData, match=r"older than the head.*line 2, night 2026-06-02"):
        check_head(chain()[:2], chain()[3]["hash"])


@pytest.mark.parametrize("head", ["", "12", "x" * 64, "'; drop table"])
def test_a_text_that_is_not_a_hash_is_not_accepted_as_a_head(head):
    with pytest.raises(BadData, match="is not the head of a chain"):
        check_head(chain(), head)


def test_every_record_has_a_proof_that_fits_it_alone():
    lines = chain()
    for line, (night, records) in zip(lines, NIGHTS.items(), strict=True):
        leaves = all_leaves(night)
        for kind in records:
            for record in kind:
                proven = proof(line, leaves, leaf_of(record))
                assert check_proof(lines, record, proven) == line
                with pytest.raises(BadData, match=f"line {line['number']} .*does not cover this record"):
                    check_proof(lines, {**record, "payload": {"status": "failing"}}, proven)


def test_a_proof_among_ten_thousand_is_a_few_hundred_bytes():
    record = an_assessment("a", "2026-06-01")
    leaves = [leaf_of(record), *(sha256(b"%d" % number).digest() for number in range(9_999))]
    line = next_line(None, "2026-06-01", leaves, [])
    assert len(json.dumps(proof(line, leaves, leaf_of(record)))) < 700


@pytest.mark.parametrize("change", [
    {"index": 1}, {"index": 8}, {"index": 10**9}, {"index": -1}, {"index": "0"}, {"line": 0}, {"line": 99}, {"line": 1},
    {"path": ""}, {"path": "AAAA"}, {"path": "!"}, {"path": "é"}, {"path": 7}, {"path": "A" * 10_000}, {"more": 1},
])  # fmt: skip
def test_a_changed_proof_is_refused(change):
    lines, records = chain(), NIGHTS["2026-06-02"][0]
    proven = proof(lines[1], all_leaves("2026-06-02"), leaf_of(records[0]))
    with pytest.raises(BadData):
        check_proof(lines, records[0], {**proven, **change})


def test_an_answer_cannot_pass_for_an_assessment():
    record = {**an_answer(1), "kind": "assessment"}
    line = next_line(None, "2026-06-01", [], [leaf_of(record)])
    with pytest.raises(BadData, match="does not cover"):
        check_proof([line], record, proof(line, [leaf_of(record)], leaf_of(record)))


def test_no_proof_is_made_of_a_record_that_the_line_does_not_cover():
    line, leaves = chain()[1], all_leaves("2026-06-02")
    with pytest.raises(BadData, match=r"line 2 of .*night 2026-06-02\) does not cover the record as it is now"):
        proof(line, leaves, leaf_of(an_assessment("z", "2026-06-02")))
    with pytest.raises(BadData, match="does not cover"):
        proof(line, leaves[1:], leaves[1])


def test_photos_are_fixed_in_any_order_and_notes_of_any_text_have_a_leaf():
    assert an_answer(1)["photos"] == ["1e", "2f"]
    for note in ("half \ud83d", "\x00", "\u2028", "$text", float("nan"), 2**70):
        leaf_of(record_of("assessment", {"site": "a", "payload": {"note": note}}))


def test_a_file_of_the_chain_is_read_as_it_was_written():
    written = chain_bytes(chain())
    assert written.count(b"\n") == len(NIGHTS)
    assert read_chain(written) == chain()
    assert read_chain(b"") == []


@pytest.mark.parametrize(("change", "message"), [
    (lambda text: text + b"\n", "line 6 of the chain is no JSON"),
    (lambda text: text[:-1], "line 5 of the chain is not written in canonical JSON"),
    (lambda text: text.replace(b":", b": ", 1), "line 1 of the chain is not written in canonical JSON"),
    (lambda text: text.replace(b"\n", b"\r\n", 1), "line 1 of the chain is not written in canonical JSON"),
    (lambda text: text.replace(b'{"answers":0', b'{"answers":0,"answers":0', 1), "line 1 .*canonical"),
    (lambda text: b"\xff" + text, "line 1 of the chain is no JSON"),
    (lambda text: b"[" * 100_000 + b"\n" + text, "line 1 of the chain is no JSON"),
    (lambda text: b"[]\n" + text, "line 1 of the chain is malformed"),
])  # fmt: skip
def test_a_changed_file_of_the_chain_is_refused_and_its_line_named(change, message):
    with pytest.raises(BadData, match=message):
        read_chain(change(chain_bytes(chain())))
