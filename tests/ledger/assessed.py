"""Assessments of ledgers in tests: stored one by one, and edited by somebody who knows how they are packed."""

from dataclasses import replace
from typing import Any

from sqlalchemy import text, update

from monitor.ledger.assessments import StoredAssessment
from monitor.ledger.models import AssessmentsRow
from monitor.ledger.transaction import Transaction


def add_assessment(
    t: Transaction, site: str, as_of: str, digest: str, payload: dict[str, Any], *, version: str = "v",
    snapshot: str = "s", run: str = "r", left_out: dict[str, Any] | None = None,
) -> bool:  # fmt: skip
    """Store an assessment; False if it is stored already."""
    one = StoredAssessment(
        site=site, as_of=as_of, digest=digest, version=version, snapshot=snapshot, payload=payload,
        left_out=left_out or {},
    )  # fmt: skip
    return bool(t.add_assessments([one], run=run))


def edit_assessments(t: Transaction, site: str, as_of: str = "", **edited: Any) -> None:
    """Edit fields of the stored assessments of a site, or of one on a day; `payload` None: it is deleted."""
    rows: dict[int, list[StoredAssessment]] = {}
    for one in t.chained_assessments(0):
        chosen = one.site == site and as_of in ("", one.as_of)
        rows.setdefault(one.row, []).append(replace(one, **edited) if chosen else one)
    for row, stored in rows.items():
        left = [one for one in stored if one.payload is not None]
        origins = [[one.site, one.digest, one.version, one.snapshot, one.left_out] for one in left]
        changed = update(AssessmentsRow).where(AssessmentsRow.id == row)
        t._connection.execute(changed.values(origins=origins, payloads=[one.payload for one in left]))


def edit_payload(t: Transaction, site: str, as_of: str = "", **edited: Any) -> None:
    """Edit values in the stored assessments of a site, or in that of a day."""
    for one in t.assessments_of(site):
        if as_of in ("", one.as_of):
            edit_assessments(t, site, one.as_of, payload={**one.payload, **edited})


def damage_assessments(t: Transaction) -> None:
    """Let each row of compressed assessments lose a byte."""
    assert t._connection.execute(text("update assessments set payloads = substr(payloads, 2)")).rowcount > 0
