"""The key that signs evidence, from the file that REGROWTH_EVIDENCE_KEY_FILE names."""

import os
from typing import TYPE_CHECKING, Final

from jobs.runtime.secrets import secret
from monitor.errors import BadConfiguration

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

HOW: Final = "regrowth keys new DIR, then set REGROWTH_EVIDENCE_KEY_FILE to DIR/signing.key"


def evidence_key() -> "Ed25519PrivateKey | None":
    """The key that signs evidence; None: not set. Raises BadConfiguration if it is not a plain Ed25519 private key."""
    pem = secret("EVIDENCE_KEY")
    if pem is None:
        return None
    from monitor.evidence.keys import private_key

    return private_key(pem.encode())


def required_evidence_key() -> "Ed25519PrivateKey":
    """The key that signs evidence, or BadConfiguration; logs a warning if others may read its file."""
    key = evidence_key()
    if key is None:
        raise BadConfiguration(f"no key to sign evidence with: {HOW}")
    if readable_by_others():
        import structlog

        structlog.get_logger().warning(
            'other users may read the key of evidence: chmod 600 "$REGROWTH_EVIDENCE_KEY_FILE"'
        )
    return key


def readable_by_others() -> bool:
    """Whether other users of this machine may read the file of the key."""
    try:
        return bool(os.stat(os.environ.get("REGROWTH_EVIDENCE_KEY_FILE", "")).st_mode & 0o077)
    except (OSError, ValueError):  # no file, or none of that name; ValueError: a NUL in its name
        return False
