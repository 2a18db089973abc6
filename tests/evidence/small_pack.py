"""A small pack of one site, whose records are all written here, and variants of it that are signed again."""

import hashlib
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from monitor.evidence.chain import Line, answer_record, chain_bytes, leaf_of, next_line, proof, record_of
from monitor.evidence.container import FORMAT, MANIFEST, SIGNATURE, write_container
from monitor.evidence.crate import part_of

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
NIGHTS = ("2020-09-26", "2020-10-03", "2020-10-10")
OTHER = record_of("assessment", {"site": "other", "as_of": "2020-10-03", "payload": {}})


def assessment(day, *, site="lowood"):
    """Row of the ledger of an assessment."""
    payload = {"site": site, "as_of": day, "status": "on_track", "theta": 0.81, "episode": 1, "series_digest": "5d",
               "code_version": "0.1.0"}  # fmt: skip
    return {"site": site, "as_of": day, "digest": hashlib.sha256(day.encode()).hexdigest(), "version": "v1",
            "snapshot": "50-loess:12", "left_out": {}, "payload": payload}  # fmt: skip


ANSWER = {"alert": "lowood/failure", "number": 2, "time": "2020-10-03T04:00:00Z",
          "payload": {"day": "2020-10-03", "state": "acknowledged", "note": "fence broken 围栏破损"}}  # fmt: skip
PROMISE = {"number": 1, "from": "2018-05-01", "by": None, "why": None, "recorded": "2020-10-03", "plan_A": 0.12}
PHOTO = hashlib.sha256(b"a photo").hexdigest()


def chain(nights=NIGHTS):
    """Lines of the chain, and the leaves of each: an assessment a night; the second has all kinds of records."""
    lines: list[Line] = []
    leaves = []
    for night in nights:
        assessments = [leaf_of(record_of("assessment", assessment(night)))]
        answers, promises = [], []
        if night == NIGHTS[1]:
            assessments.append(leaf_of(OTHER))
            answers.append(leaf_of(answer_record(ANSWER, [PHOTO])))
            promises.append(leaf_of(record_of("promise", {"site": "lowood", **PROMISE})))
        lines.append(next_line(lines[-1] if lines else None, night, assessments, answers, promises))
        leaves.append([*assessments, *answers, *promises])
    return lines, leaves


def contents():
    """Content of each JSON member but the description, by name, and the lines of the chain."""
    lines, leaves = chain()
    rows = [assessment(night) for night in NIGHTS]
    proofs = [
        proof(line, of_line, leaf_of(record_of("assessment", row)))
        for line, of_line, row in zip(lines, leaves, rows, strict=True)
    ]
    answered = proof(lines[1], leaves[1], leaf_of(answer_record(ANSWER, [PHOTO])))
    promised = proof(lines[1], leaves[1], leaf_of(record_of("promise", {"site": "lowood", **PROMISE})))
    entry = ANSWER["payload"] | {"number": 2, "time": ANSWER["time"], "kind": "answered", "photos": [{"sha256": PHOTO}]}
    opened = {"number": 1, "time": "2020-09-26T20:00:00Z", "kind": "raised", "state": "open", "photos": []}
    return {
        "assessments.json": [
            row["payload"] | {name: row[name] for name in ("digest", "version", "snapshot", "left_out")} for row in rows
        ],
        "alerts.json": [{"id": "lowood/failure", "rule": "failure", "events": [opened, entry]}],
        "plan.json": {
            "site": "lowood", "as_of": NIGHTS[-1], "episode": 1, "series_digest": "5d", "code_version": "0.1.0",
            "promises": [{**PROMISE}],
        },
        "site.json": {
            "type": "Feature",
            "properties": {"id": "lowood", "version": "v1", "episode": 1, "promises": [{**PROMISE}]},
        },
        "data.zarr/zarr.json": {"attributes": {"site": "lowood"}},
        "chain-proofs.json": {
            "assessments": proofs,
            "answers": [{"alert": "lowood/failure", "number": 2, "proof": answered}],
            "promises": [promised],
        },
        "environment.json": {"format": FORMAT, "version": "0.1.0"},
        "observations.csv": "site,date\nlowood,2020-09-20\nlowood,2020-10-01\n",
        "data.zarr/pixels/c/0": "pixels",
        "chain.jsonl": lines,
    }  # fmt: skip


def encoded(name, content):
    """Content of a member as bytes."""
    if isinstance(content, bytes):
        return content
    if name == "chain.jsonl":
        return chain_bytes(content)
    return (content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)).encode()


def described(members):
    """Content of the description of members."""
    parts = [{"@id": name} for name in dict.fromkeys([*map(part_of, members), MANIFEST, SIGNATURE])]
    root = {"@id": "./", "@type": "Dataset", "datePublished": NIGHTS[-1], "hasPart": parts}
    return {"@graph": [{"@id": "ro-crate-metadata.json"}, root, *parts]}


def write_pack(path, contents, *, key=KEY, description=None):
    """Write a pack with these contents, by name, signed with a key."""
    members = {name: encoded(name, content) for name, content in contents.items()}
    crate = encoded("", description or described(members))
    write_container(path, [*members.items(), ("ro-crate-metadata.json", crate)], key)
    return path
