"""Check a pack with nothing but the public key: it is what was signed, and its chain of nights holds.

This proves who signed and that nothing changed since; that the verdict follows from the pixels is for ``recompute``.
Only the standard library, `cryptography` and the small parts of this package are loaded, so that it starts quickly.
"""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from monitor.errors import BadData, newer_format
from monitor.evidence.chain import Line, check_chain, check_head, check_proof, read_chain
from monitor.evidence.container import FORMAT, MANIFEST, SIGNATURE, Container
from monitor.evidence.crate import METADATA, part_of
from monitor.evidence.documents import records_and_proofs
from monitor.evidence.faults import Fault, PackRefused

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

ENVIRONMENT: Final = "environment.json"
CHAIN: Final = "chain.jsonl"
PROOFS: Final = "chain-proofs.json"
ASSESSMENTS: Final = "assessments.json"
_MEMBER: Final = {"assessment": ASSESSMENTS, "answer": "alerts.json", "promise": "site.json"}
"""Member that holds the records of a kind."""
SCENES: Final = "data.zarr/zarr.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """Findings on a pack in which everything holds."""

    site: str
    as_of: str  # day of the published assessment, the last one
    status: str
    members: int  # number of members, manifest and signature included
    size: int  # of their content together [byte]
    records: int  # number of assessments, answers and promises that the chain covers
    uncovered: tuple[str, ...]
    """Records that are newer than the chain, in words: the next night adds them, and until then nothing proves them."""
    nights: int  # number of lines of the chain
    head: str | None  # hash of the newest line; None: no line yet
    noted: Line | None  # line of the head that was noted earlier; None: none was given


def verify_pack(path: Path, key: "Ed25519PublicKey", *, head: str | None = None) -> Verified:
    """Check a pack: layout, manifest, signature, description, chain, proofs, and that its members agree.

    Nothing is written. `head` is that of the chain as someone noted it: a line of the chain must have this hash. Raises
    ``PackRefused`` with every difference (only those of the bytes, where they are not those that were signed), and
    ``BadData`` where `path` is not a plain file, or cannot be read.
    """
    with Container(path, key) as pack:
        _check_format(pack.read_json(ENVIRONMENT))
        lines = _of(CHAIN, lambda: read_chain(pack.read(CHAIN)))
        _of(CHAIN, lambda: check_chain(lines))
        noted = None if head is None else _of(CHAIN, lambda: check_head(lines, head))
        assessments, alerts = pack.read_json(ASSESSMENTS), pack.read_json("alerts.json")
        records, uncovered = _prove(pack, lines, assessments, alerts)
        if not assessments:
            raise PackRefused(Fault(ASSESSMENTS, "it has no assessment"))
        last = assessments[-1]
        faults = _of(METADATA, lambda: list(_crate_faults(pack, last["as_of"])))
        faults += _of(ASSESSMENTS, lambda: list(_disagreements(pack, assessments, alerts)))
        if faults:
            raise PackRefused(*faults)
        return Verified(
            site=last["site"], as_of=last["as_of"], status=str(last.get("status")), members=len(pack.names) + 2,
            size=pack.total_size, records=records, uncovered=tuple(uncovered), nights=len(lines),
            head=lines[-1]["hash"] if lines else None, noted=noted,
        )  # fmt: skip


def _check_format(environment: Any) -> None:
    """Raise if this program does not read the format of the pack."""
    stated = environment.get("format") if isinstance(environment, dict) else None
    if type(stated) is not int:
        raise PackRefused(Fault(ENVIRONMENT, "it does not state the format of the pack"))
    if stated > FORMAT:
        raise PackRefused(Fault(ENVIRONMENT, f"the pack has {newer_format(stated, FORMAT)}"))
    if stated != FORMAT:
        version = str(environment.get("version"))[:40]
        difference = (
            f"the pack has format {stated}, and this program reads format {FORMAT}; it was written by version "
            f"{version} of regrowth-monitor, which reads it"
        )
        raise PackRefused(Fault(ENVIRONMENT, difference))


def _crate_faults(pack: Container, day: str) -> Iterator[Fault]:
    """Differences of the description from the members of the pack, and from the day of the published assessment."""
    graph = pack.read_json(METADATA)["@graph"]
    entities = {entity["@id"]: entity for entity in graph}
    if len(entities) < len(graph):
        yield Fault(METADATA, "it describes something twice: an @id is not its own")
    root = entities["./"]
    listed = {str(part["@id"]) for part in root["hasPart"]}
    present = {*map(part_of, pack.names), MANIFEST, SIGNATURE} - {METADATA}
    for name in sorted(present - listed):
        yield Fault(METADATA, f"it does not list {name}")
    for name in sorted(listed - present):
        yield Fault(METADATA, f"it lists {name[:80]!r}, which is not in the pack")
    if root["datePublished"] != day:
        yield Fault(METADATA, f"it is about the assessment of {root['datePublished']}, and the last one is of {day}")


def _prove(pack: Container, lines: Sequence[Line], assessments: Any, alerts: Any) -> tuple[int, list[str]]:
    """Number of records that the chain covers, and those that are newer than it."""
    faults: list[Fault] = []
    places: set[tuple[int, int]] = set()
    uncovered: list[str] = []
    newest = max((line["night"] for line in lines), default="")
    proofs = pack.read_json(PROOFS)
    site = pack.read_json("site.json")
    for what, record, proof in _of(PROOFS, lambda: list(records_and_proofs(assessments, alerts, site, proofs))):
        if proof is not None:
            member = _MEMBER[record["kind"]]
            try:
                check_proof(lines, record, proof if isinstance(proof, dict) else {})
            except BadData as error:
                faults.append(Fault(member, f"{what}: {error}"))
                continue
            if (place := (proof["line"], proof["index"])) in places:
                faults.append(Fault(member, f"{what} is there twice"))
            places.add(place)
        elif str(record.get("as_of", record.get("time", record.get("recorded")))) > newest:
            uncovered.append(what)
        else:
            difference = f"{what} is in no line of the chain, although there is one of {newest}"
            faults.append(Fault(PROOFS, difference))
    if faults:
        raise PackRefused(*faults)
    return len(places), uncovered


def _disagreements(pack: Container, assessments: Any, alerts: Any) -> Iterator[Fault]:
    """Members that are about another site, or rest on something else, than the last assessment."""
    last = assessments[-1]
    about: dict[str, Callable[[], set[Any]]] = {
        ASSESSMENTS: lambda: {entry["site"] for entry in assessments},
        "alerts.json": lambda: {alert["id"].rpartition("/")[0] for alert in alerts},
        "site.json": lambda: {pack.read_json("site.json")["properties"]["id"]},
        SCENES: lambda: {pack.read_json(SCENES)["attributes"]["site"]},
        "plan.json": lambda: {pack.read_json("plan.json")["site"]},
        # an apostrophe keeps spreadsheets from running a cell as a formula
        "observations.csv": lambda: _column(pack, "observations.csv", "site") - {f"'{last['site']}"},
    }
    for member, sites in about.items():
        for other in _of(member, sites) - {last["site"]}:
            yield Fault(member, f"it is about site {str(other)[:80]!r}, and the last assessment about {last['site']!r}")
    if any(before["as_of"] > after["as_of"] for before, after in pairwise(assessments)):
        yield Fault(ASSESSMENTS, "its assessments are not in the order of their days")
    plan, site = pack.read_json("plan.json"), pack.read_json("site.json")["properties"]
    shared = {("plan.json", name): plan.get(name) for name in ("as_of", "episode", "series_digest", "code_version")}
    shared |= {("site.json", name): site.get(name) for name in ("version", "episode")}
    for (member, name), value in shared.items():
        if value != last.get(name):
            shown = f"{str(value)[:80]!r}, and the last assessment has {str(last.get(name))[:80]!r}"
            yield Fault(member, f"its {name} is {shown}")
    if plan.get("promises") != site.get("promises"):
        yield Fault("plan.json", "its promises are not those of site.json")


def _of[T](member: str, read: Callable[[], T]) -> T:
    """Result of a function; what it refuses becomes a fault of a member."""
    try:
        return read()
    except PackRefused:
        raise
    except BadData as error:
        raise PackRefused(Fault(member, str(error))) from None
    except (TypeError, KeyError, ValueError, AttributeError, csv.Error) as error:
        difference = f"it does not have the form of this member: {type(error).__name__}: {error}"
        raise PackRefused(Fault(member, difference)) from None


def _column(pack: Container, member: str, name: str) -> set[str]:
    """Distinct values of a column of a CSV member."""
    rows = csv.DictReader(io.StringIO(pack.read(member).decode("utf-8-sig"), newline=""))
    return {row[name] for row in rows}
