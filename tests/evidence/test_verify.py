"""A pack signed by the right key may still contradict itself: each is refused, with the member named."""

import json
import re
import zipfile

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from monitor.evidence.chain import next_line
from monitor.evidence.container import FORMAT
from monitor.evidence.faults import PackRefused
from monitor.evidence.verify import verify_pack
from tests.evidence.small_pack import KEY, NIGHTS, PROMISE, chain, contents, described, encoded, write_pack


@pytest.fixture
def path(tmp_path):
    return tmp_path / "pack.zip"


def faults_of(path, contents=None, **options):
    """The faults of a pack, which is written with these contents first."""
    if contents is not None:
        write_pack(path, contents)
    with pytest.raises(PackRefused) as error:
        verify_pack(path, KEY.public_key(), **options)
    return [str(fault) for fault in error.value.faults]


def fault_of(path, contents=None, **options):
    (fault,) = faults_of(path, contents, **options)
    return fault


def check_refused(path, contents, beginning):
    """A pack with these contents has one fault, which is named in words that begin so."""
    assert fault_of(path, contents).startswith(beginning)


def test_a_whole_pack_passes_and_says_what_was_checked(path):
    verified = verify_pack(write_pack(path, contents()), KEY.public_key())
    assert (verified.site, verified.as_of, verified.status) == ("lowood", "2020-10-10", "on_track")
    assert (verified.members, verified.nights, verified.records, verified.uncovered) == (13, 3, 5, ())
    assert verified.head == chain()[0][-1]["hash"]
    assert verified.noted is None
    with zipfile.ZipFile(path) as archive:
        assert verified.size == sum(member.file_size for member in archive.infolist())


def test_a_head_noted_in_any_night_is_recognised(path):
    write_pack(path, contents())
    for line in chain()[0]:
        noted = verify_pack(path, KEY.public_key(), head=f" {line['hash'].upper()}\n").noted
        assert noted == line


def test_a_head_of_a_rewritten_chain_or_of_a_later_night_is_not_recognised(path):
    later = next_line(chain()[0][-1], "2020-10-17", [], [])
    write_pack(path, contents())
    for head in (later["hash"], "0" * 64):
        assert fault_of(path, head=head).startswith(f"chain.jsonl: no line of the chain has the head {head}")


def test_a_foreign_key_is_named(path):
    write_pack(path, contents(), key=Ed25519PrivateKey.generate())
    assert fault_of(path).startswith("manifest-sha256.txt: its signature was not made with the key given (SHA-256 ")


def changed(member, change):
    """Contents with one member changed in place."""
    content = contents()
    result = change(content[member])
    if result is not None:
        content[member] = result
    return content


CHAIN = [
    (lambda lines: lines[1:], "line 1 of the chain is missing before line 2 of the chain (night 2020-10-03)"),
    (
        lambda lines: [lines[0], lines[2]],
        "line 2 of the chain is missing before line 3 of the chain (night 2020-10-10)",
    ),
    (lambda lines: [lines[1], lines[0], lines[2]], "line 1 of the chain is missing before line 2"),
    (lambda lines: [lines[0], lines[0], *lines[1:]], "line 1 of the chain (night 2020-09-26) stands at position 2"),
    (
        lambda lines: [lines[0], next_line(lines[0], "2020-09-30", [], []), *lines[1:]],
        "line 2 of the chain (night 2020-10-03) stands at position 3: a night was inserted",
    ),
    (
        lambda lines: [lines[0], {**lines[1], "answers": 0}, lines[2]],
        "line 2 of the chain (night 2020-10-03) was edited",
    ),
    (lambda lines: b'{"number": 1}\n', "line 1 of the chain is malformed"),
    (lambda lines: b"\xff\n", "line 1 of the chain is no JSON"),
    (lambda lines: encoded("chain.jsonl", lines)[:-1], "line 3 of the chain is not written in canonical JSON"),
]


@pytest.mark.parametrize(("change", "message"), CHAIN)
def test_a_night_dropped_inserted_or_edited_before_signing_again_is_named(path, change, message):
    check_refused(path, changed("chain.jsonl", change), f"chain.jsonl: {message}")


def test_a_chain_without_its_newest_night_no_longer_covers_the_assessment_of_that_night(path):
    assert fault_of(path, changed("chain.jsonl", lambda lines: lines[:-1])) == (
        "assessments.json: the assessment of 2020-10-10: a proof names line 3 of the chain, which has 2"
    )


def test_a_chain_written_again_from_its_first_night_is_noticed_by_whoever_noted_a_head(path):
    noted, (lines, leaves) = chain()[0][0]["hash"], chain()
    forged = [next_line(None, NIGHTS[0], [bytes(32)], [])]
    for line, of_line in zip(lines[1:], leaves[1:], strict=True):
        first, second = line["assessments"], line["assessments"] + line["answers"]
        parts = of_line[:first], of_line[first:second], of_line[second:]
        forged.append(next_line(forged[-1], line["night"], *parts))
    content = {**contents(), "chain.jsonl": forged}
    check_refused(path, content, "assessments.json: the assessment of 2020-09-26: line 1 of the chain")
    content["assessments.json"].pop(0)
    content["chain-proofs.json"]["assessments"].pop(0)
    write_pack(path, content)
    assert verify_pack(path, KEY.public_key()).records == 4
    assert fault_of(path, head=noted).startswith("chain.jsonl: no line of the chain has the head")


def test_a_promise_edited_before_signing_again_is_named(path):
    content = contents()
    for member in (content["site.json"]["properties"], content["plan.json"]):
        member["promises"] = [{**PROMISE, "plan_A": 0.01}]
    check_refused(path, content, "site.json: promise 1: line 2 of the chain (night 2020-10-03) does not cover")
    write_pack(path, changed("plan.json", lambda plan: {**plan, "promises": []}))
    assert fault_of(path) == "plan.json: its promises are not those of site.json"


def test_assessments_and_answers_edited_before_signing_again_are_named(path):
    content = contents()
    content["assessments.json"][0]["theta"] = 0.99
    content["alerts.json"][0]["events"][1]["note"] = "all well"
    first, second = faults_of(path, content)
    assert first.startswith("assessments.json: the assessment of 2020-09-26: line 1 of the chain (night 2020-09-26)")
    assert second.startswith("alerts.json: event 2 of alert lowood/failure: line 2 of the chain (night 2020-10-03)")


@pytest.mark.parametrize("change", [
    lambda proofs: proofs["assessments"].pop(),
    lambda proofs: proofs["answers"].pop(),
    lambda proofs: proofs["answers"].append(proofs["answers"][0]),
    lambda proofs: proofs.pop("answers"),
    lambda proofs: [],
])  # fmt: skip
def test_a_proof_too_few_or_too_many_is_named(path, change):
    def in_place(proofs):
        changed = change(proofs)
        return changed if changed == [] else None

    check_refused(path, changed("chain-proofs.json", in_place), "chain-proofs.json: ")


@pytest.mark.parametrize(("proof", "message"), [
    ({"line": 1, "index": 0, "path": "AAAA"}, "does not cover this record"),
    ({"line": 1, "index": 1, "path": ""}, "does not cover this record"),
    ({"line": 0, "index": 0, "path": ""}, "a proof names line 0"),
    ({"line": 10**30, "index": 0, "path": ""}, "a proof names line 1"),
    ({"line": "1", "index": 0, "path": ""}, "a proof is malformed"),
])  # fmt: skip
def test_a_proof_that_does_not_lead_to_its_line_is_named(path, proof, message):
    write_pack(path, changed("chain-proofs.json", lambda proofs: proofs["assessments"].__setitem__(0, proof)))
    assert message in fault_of(path)


def test_what_is_newer_than_the_chain_is_counted_and_what_the_chain_left_out_is_named(path):
    def without(proofs, number):
        proofs["assessments"][number] = None

    newer = changed("chain-proofs.json", lambda proofs: without(proofs, 2)) | {"chain.jsonl": chain()[0][:-1]}
    verified = verify_pack(write_pack(path, newer), KEY.public_key())
    assert (verified.records, verified.uncovered) == (4, ("the assessment of 2020-10-10",))
    left_out = changed("chain-proofs.json", lambda proofs: without(proofs, 1))
    earlier_day = next_line(chain()[0][-1], "2020-09-01", [], [])  # a night that ran last
    for lines in (chain()[0], [*chain()[0], earlier_day]):
        assert fault_of(path, left_out | {"chain.jsonl": lines}) == (
            "chain-proofs.json: the assessment of 2020-10-03 is in no line of the chain, "
            "although there is one of 2020-10-10"
        )


def test_a_last_verdict_made_up_by_the_holder_of_the_key_is_named_since_its_night_has_a_line(path):
    content = changed("assessments.json", lambda rows: rows[-1].update(status="failing"))
    content["chain-proofs.json"]["assessments"][-1] = None
    check_refused(path, content, "chain-proofs.json: the assessment of 2020-10-10 is in no line of the chain")


def test_another_format_is_named_with_the_version_that_reads_it(path):
    write_pack(path, changed("environment.json", lambda environment: environment.update(format=2, version="3.1.4")))
    assert fault_of(path) == (
        "environment.json: the pack has format 2, and this program reads format 3; it was written by version 3.1.4 of "
        "regrowth-monitor, which reads it"
    )


def test_a_pack_of_a_newer_version_asks_for_an_update(path):
    write_pack(path, changed("environment.json", lambda environment: environment.update(format=FORMAT + 1)))
    assert re.search(r"the pack has format 4, newer than 3,.* update the program$", fault_of(path))


@pytest.mark.parametrize("environment", [{}, [], {"format": "1"}, {"format": True}, None])
def test_a_pack_that_states_no_format_is_named(path, environment):
    write_pack(path, {**contents(), "environment.json": encoded("", environment)})
    assert fault_of(path) == "environment.json: it does not state the format of the pack"


@pytest.mark.parametrize("member", [
    "assessments.json", "alerts.json", "plan.json", "site.json", "chain-proofs.json", "chain.jsonl", "environment.json",
    "observations.csv", "data.zarr/zarr.json",
])  # fmt: skip
def test_a_member_that_is_missing_is_named(path, member):
    content = contents()
    del content[member]
    assert fault_of(path, content) == f"{member}: the pack has no such member"


@pytest.mark.parametrize("member", ["assessments.json", "alerts.json", "plan.json", "site.json", "chain-proofs.json"])
@pytest.mark.parametrize("body", [
    b"", b"{", b"null", b"1", b'"x"', b"[1]", b'[{"a": 1, "a": 2}]', b'{"a": NaN}', b"[" * 100_000, b"\xff\xfe",
    b"\xef\xbb\xbf{}", "{}".encode("utf-16"), b"1" * 10_000, b'{"assessments": 1, "answers": 1}',
    b'[{"id": 1, "site": []}]', b'[{"events": [{"kind": []}]}]',
])  # fmt: skip
def test_a_member_that_has_another_form_is_named(path, member, body):
    write_pack(path, {**contents(), member: body})
    named = fault_of(path).split(":")[0]
    assert named in {member, "chain-proofs.json"}


@pytest.mark.parametrize(("member", "change", "message"), [
    ("plan.json", lambda plan: plan.update(site="other"), "it is about site 'other', and the last"),
    ("plan.json", lambda plan: plan.update(as_of="2020-10-03"), "its as_of is '2020-10-03', and the last"),
    ("plan.json", lambda plan: plan.update(series_digest="6e"), "its series_digest is '6e', and the last"),
    ("plan.json", lambda plan: plan.pop("code_version") and None, "its code_version is 'None', and the last"),
    ("site.json", lambda site: site["properties"].update(version="v2"), "its version is 'v2', and the last"),
    ("data.zarr/zarr.json", lambda group: group["attributes"].update(site="other"), "it is about site 'other'"),
    ("site.json", lambda site: site["properties"].update(id="other"), "promise 1: line 2 of the chain"),
    ("alerts.json", lambda of: of.append({"id": "other/failure", "events": []}), "it is about site 'other'"),
    ("observations.csv", lambda text: text.replace("lowood,2020-10", "other,2020-10"), "it is about site 'other'"),
    ("observations.csv", lambda text: "date\n2020-09-20\n", "it does not have the form of this member"),
    ("observations.csv", lambda text: text + '"' + "x" * 200_000, "it does not have the form of this member"),
])  # fmt: skip
def test_members_that_are_about_something_else_are_named(path, member, change, message):
    def in_place(content):
        result = change(content)
        return result if isinstance(result, str) else None

    check_refused(path, changed(member, in_place), f"{member}: {message}")


def test_an_assessment_that_is_there_twice_is_named(path):
    content = contents()
    for entries in (content["assessments.json"], content["chain-proofs.json"]["assessments"]):
        entries.insert(1, entries[0])
    assert fault_of(path, content) == "assessments.json: the assessment of 2020-09-26 is there twice"


def test_another_answer_in_the_place_of_one_that_the_chain_covers_is_named(path):
    content = contents()
    events = content["alerts.json"][0]["events"]
    events.insert(1, {**events[1], "note": "all well"})
    check_refused(path, content, "chain-proofs.json: ")


def test_a_description_that_does_not_fit_is_named(path):
    content = contents()
    members = {name: encoded(name, body) for name, body in content.items()}
    for graph, message in (
        (
            described({name: body for name, body in members.items() if name != "plan.json"}),
            "it does not list plan.json",
        ),
        (described({**members, "other.csv": b""}), "it lists 'other.csv', which is not in the pack"),
        ({"@graph": [{"@id": "./", "name": "another"}, *described(members)["@graph"]]}, "it describes something twice"),
        ({"@graph": []}, "it does not have the form of this member"),
        ({"@graph": [{"@id": "./", "hasPart": [{"@id": {}}]}]}, "it does not have the form of this member"),
    ):
        write_pack(path, content, description=graph)
        assert faults_of(path)[0].startswith(f"ro-crate-metadata.json: {message}")


def test_a_pack_without_an_assessment_is_named(path):
    content = contents()
    content["assessments.json"] = []
    content["chain-proofs.json"]["assessments"] = []
    assert fault_of(path, content) == "assessments.json: it has no assessment"


def test_a_pack_before_the_first_night_has_no_chain_yet(path):
    content = contents()
    content["chain.jsonl"] = []
    content["chain-proofs.json"] = {
        "assessments": [None, None, None],
        "answers": [{"alert": "lowood/failure", "number": 2, "proof": None}],
        "promises": [None],
    }
    verified = verify_pack(write_pack(path, content), KEY.public_key())
    assert (verified.nights, verified.head, len(verified.uncovered)) == (0, None, 5)
    assert json.dumps(verified.noted) == "null"


ODD = [None, True, -1, 10**20, 1.5, "", "x", "2020-10-03", "\ud83d", [], {}, [[]], {"id": 1}]


def places(value, path=()):
    """Paths to all values inside a JSON value."""
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


def test_whatever_stands_in_a_signed_pack_it_passes_or_a_member_is_named(path):
    random = np.random.default_rng(3)
    names = [name for name, content in contents().items() if isinstance(content, dict | list)]
    for _ in range(400):
        content = contents()
        name = names[random.integers(len(names))]
        all_places = list(places(content[name]))
        *way, last = (name, *all_places[random.integers(len(all_places))])
        inner = content
        for key in way:
            inner = inner[key]
        inner[last] = ODD[random.integers(len(ODD))]
        if name == "chain.jsonl":
            lines = content[name] if isinstance(content[name], list) else [content[name]]
            content[name] = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        else:
            content[name] = json.dumps(content[name]).encode()
        write_pack(path, content)
        try:
            verify_pack(path, KEY.public_key())
        except PackRefused as error:
            named = {fault.member for fault in error.faults}
        else:
            named = set()
        assert named <= {*content, "ro-crate-metadata.json"}
