"""Check of the key that signs evidence."""

from collections.abc import Iterator

from jobs.health.finding import Finding, broken, note, ok, one_line
from monitor.errors import MonitorError


def key() -> Iterator[Finding]:
    """The key can be read, and by its owner alone. It is never shown, only its fingerprint."""
    from jobs.proof.evidence_key import HOW, evidence_key, readable_by_others
    from monitor.evidence.keys import fingerprint

    try:
        signing = evidence_key()
    except MonitorError as error:
        yield broken("evidence", one_line(error), "correct REGROWTH_EVIDENCE_KEY_FILE")
        return
    if signing is None:
        yield note("evidence", "no key is set, so no evidence can be signed", HOW)
        return
    yield ok("evidence", f"signed with the key of fingerprint {fingerprint(signing.public_key())}")
    if readable_by_others():
        fix = 'chmod 600 "$REGROWTH_EVIDENCE_KEY_FILE"'
        yield note("evidence", "other users of this machine may read the key that signs evidence", fix)
