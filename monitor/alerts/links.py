"""Links by which the recipient of a message answers without logging in.

A link is signed, so that only this installation can make one, and carries the time at which it expires. An answer link
is for one notice; that it is used once only is checked where answers are recorded. A personal link opens the sites of
one manager, as often as wanted, for whoever holds it, until it expires or is revoked.
"""

import hashlib
import struct
from datetime import UTC, datetime
from typing import Final

from itsdangerous import BadData, Signer
from itsdangerous.encoding import base64_decode, base64_encode

from monitor.errors import MonitorError

_CONTENT: Final = struct.Struct(">8sd")
"""Identifier of the link, and time of expiry in seconds since 1970."""
_SALTS: Final = {"a": b"regrowth answer link", "m": b"regrowth personal link"}
"""By folder of the address: a token of one kind is not one of the other."""


class LinkInvalid(MonitorError):
    """The link was not made with this key, or was altered."""


class LinkExpired(MonitorError):
    """The link was valid, but only until an earlier time."""

    def __init__(self, message: str, link: str) -> None:
        super().__init__(message)
        self.link = link
        """Its identifier."""


def link_address(base_url: str, key: str, link: str, expires: datetime, *, folder: str = "a") -> str:
    """Address of a link below ``[answers] base_url``, until `expires`.

    `key` is the secret of the installation, `link` the identifier, 16 hexadecimal digits: of a notice in the outbox
    that is answered (`folder` ``a``), or of :class:`monitor.ledger.models.PersonalLinkRow` (``m``, "my sites").
    """
    content = _CONTENT.pack(bytes.fromhex(link), expires.timestamp())
    return f"{base_url.rstrip('/')}/{folder}/{_signer(key, folder).sign(base64_encode(content)).decode()}"


def read_link(token: str, key: str, now: datetime, *, folder: str = "a") -> str:
    """Identifier of the link that a token, the last part of an address, stands for.

    `folder` is ``a`` for an answer link and ``m`` for a personal one. Raises ``LinkInvalid`` where the token was not
    made with this key, or was altered, and ``LinkExpired`` where its time is over.
    """
    signer = _signer(key, folder)
    try:
        signed = signer.unsign(token)
        link, seconds = _CONTENT.unpack(base64_decode(signed))
    except (BadData, struct.error) as error:
        raise LinkInvalid("the link is damaged or not one of this programme") from error
    if signer.sign(signed) != token.encode():  # base64 ignores the last bits: several texts have one signature
        raise LinkInvalid("the link is damaged")
    if now.timestamp() >= seconds:
        expired = f"the link expired at {datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
        raise LinkExpired(expired, link.hex())
    return str(link.hex())


def _signer(key: str, folder: str) -> Signer:
    return Signer(key, salt=_SALTS[folder], key_derivation="hmac", digest_method=hashlib.sha256)
