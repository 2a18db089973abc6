"""Write an evidence pack: read from the ledger what an assessment of a site rests on, and sign it with its scenes."""

import difflib
import tempfile
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.proof.assessed import assessed_site
from jobs.proof.chain import chain_lines, proven_answers, proven_assessments, proven_promises
from jobs.runtime.settings import Settings
from monitor.alerts.alert import LOT, AlertEvent
from monitor.errors import BadData, as_disk_full
from monitor.evidence.container import write_container
from monitor.evidence.environment import environment
from monitor.evidence.keys import fingerprint
from monitor.evidence.pack import PackInputs, open_stored, pack_members
from monitor.ledger.ledger import Ledger
from monitor.ledger.transaction import Transaction

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A pack that was written."""

    site: str
    as_of: date  # day of its assessment
    status: str
    assessments: int  # number of assessments in it
    bytes: int
    fingerprint: str  # of the key that signed it
    uncovered: int  # assessments, answers and promises in it that no line of the chain covers yet


def write_evidence(
    settings: Settings, ledger: Ledger, site: str, out: Path, *, key: "Ed25519PrivateKey", until: date | None = None
) -> Written:
    """Write the evidence pack of a site, whole or not at all. May run beside a night.

    `site` may be retired. `until`: newest assessment up to this day, and alerts as known then; None: the newest. Raises
    BadData if the site is unknown or not assessed, `out` exists, or what the assessment was made from is not known any
    more; StoreBroken if the store is gone or unreadable; DiskFull.
    """
    if out.exists() or out.is_symlink():  # a link that leads nowhere too
        raise BadData(f"{out} exists, and is not replaced; give another name, or remove it first")
    signed_by = fingerprint(key.public_key())
    with ledger.reading() as t:
        inputs = pack_inputs(t, site, until=until, signed_by=signed_by)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name[:100]}.") as folder:
            stored = open_stored(settings.store.root, inputs, Path(folder) / "derived")
            write_container(out, pack_members(stored, inputs), key)
    except OSError as error:
        if full := as_disk_full(error, out.parent):
            raise full from error
        raise
    proofs = [*inputs.assessment_proofs, *inputs.answer_proofs.values(), *inputs.promise_proofs]
    return Written(
        site=site, as_of=inputs.assessment.as_of, status=inputs.assessment.status.value, assessments=len(inputs.rows),
        bytes=out.stat().st_size, fingerprint=signed_by, uncovered=proofs.count(None),
    )  # fmt: skip


def pack_inputs(t: Transaction, site: str, *, until: date | None, signed_by: str) -> PackInputs:
    """Records of the ledger about a site and its newest assessment; BadData: as for :func:`write_evidence`."""
    stored = [one for one in t.assessments_of(site) if until is None or one.as_of <= until.isoformat()]
    if not stored:
        raise BadData(_not_assessed(t, site, until))
    assessed = assessed_site(t, site, stored[-1])
    chain = chain_lines(t)
    proofs = {(found.record["as_of"], found.record["digest"]): found.proof for found in proven_assessments(t, site)}
    newest = max((line["night"] for line in chain), default="")
    if uncovered := [one.as_of for one in stored if proofs[one.as_of, one.digest] is None and one.as_of <= newest]:
        raise BadData(
            f"site {site!r}: its assessment of {uncovered[0]} is in no line of the chain, although there is one of "
            f"{newest}: 'regrowth verify' would refuse the pack. 'regrowth run --as-of {newest}' adds a line"
        )
    alerts = _alerts(t, site, until)
    answers = {
        (alert["id"], event["number"])
        for alert in alerts for event in alert["events"] if event["kind"] == AlertEvent.ANSWERED
    }  # fmt: skip
    proven = {(found.record["alert"], found.record["number"]): found.proof for found in proven_answers(t, site)}
    return PackInputs(
        **{field.name: getattr(assessed, field.name) for field in fields(assessed)}, episodes=t.episodes(site),
        rows=[one.record for one in stored], alerts=alerts, chain=chain,
        photos=[photo for photo in t.photo_list() if (photo["alert"], photo["number"]) in answers],
        assessment_proofs=[proofs[one.as_of, one.digest] for one in stored],
        answer_proofs={answer: proven[answer] for answer in proven if answer in answers},
        promise_proofs=[found.proof for found in proven_promises(t, site)[: len(assessed.promises)]],
        environment=environment(), fingerprint=signed_by,
    )  # fmt: skip


def _alerts(t: Transaction, site: str, until: date | None) -> list[dict[str, Any]]:
    """Alerts of a site with their events up to a day."""
    alerts = []
    for alert in t.alerts_of(site):
        if alert["rule"] != LOT:
            events = [event for event in t.events(alert["id"]) if until is None or event["day"] <= until.isoformat()]
            alerts.append({"id": alert["id"], "rule": alert["rule"], "events": events})
    return alerts


def _not_assessed(t: Transaction, site: str, until: date | None) -> str:
    """Reason why a site has no assessment."""
    registered = t.registered()
    if site not in registered:
        near = difflib.get_close_matches(site, sorted(registered), n=3, cutoff=0.0)
        nearest = f"; the nearest names are {', '.join(map(repr, near))}" if near else ""
        return f"site {site!r} is not in the ledger{nearest}"
    first = t.first_assessed().get(site)
    if first is not None and until is not None:
        return f"site {site!r} had not been assessed by {until}; its first assessment is of {first}"
    return f"site {site!r} has not been assessed yet: regrowth run"
