"""Messages as JSON records, signed as the Standard Webhooks specification 1.0 describes [1]_.

References
----------
.. [1] "Standard Webhooks", specification, sections "Webhook metadata", "Signature scheme" and "Webhook delivery",
   https://github.com/standard-webhooks/standard-webhooks
"""

import base64
import json
import time
from collections.abc import Callable
from typing import Final

from monitor.alerts.channels.channel import Channel, Message, NotDelivered, Undeliverable
from monitor.alerts.channels.http_client import HttpClient
from monitor.alerts.channels.messenger import signature
from monitor.errors import BadConfiguration

PREFIX: Final = "whsec_"  # prefix of a secret in base64
_WAITS: Final = frozenset({401, 403, 404, 405, 407, 408, 421, 425, 429})
"""Statuses 4xx after which the message waits: the receiver is busy, or the operator can correct address or secret."""


class Webhook(Channel):
    """Posts the record of each message to one address.

    `secret` signs the records: ``whsec_`` and base64, or any text; None: they are not signed. ``BadConfiguration``: the
    address or the secret cannot be used.
    """

    def __init__(
        self, http: HttpClient, *, url: str, secret: str | None, clock: Callable[[], float] = time.time
    ) -> None:
        http.check(url)
        self._http, self._url, self._clock = http, url, clock
        self._keys = () if secret is None else _keys(secret)

    def send(self, message: Message, recipient: str) -> str:
        """Post the record of a message; its id is the idempotency key, the same at every attempt.

        Raises `NotDelivered` without an answer, for a redirect, status 5xx, or a status that says that it may work
        later, and `Undeliverable` for another status 4xx: the receiver refuses the message.
        """
        body = json.dumps(dict(message.record), ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")
        sent = str(int(self._clock()))
        headers = {"Content-Type": "application/json", "webhook-id": message.id, "webhook-timestamp": sent}
        if self._keys:
            signed = b".".join([message.id.encode(), sent.encode(), body])
            headers["webhook-signature"] = " ".join(f"v1,{signature(key, signed)}" for key in self._keys)
        status = self._http.request("POST", self._url, body=body, headers=headers).status
        if 200 <= status < 300:
            return f"status {status}"
        msg = f"the receiver does not take the message: status {status}"
        raise (Undeliverable if 400 <= status < 500 and status not in _WAITS else NotDelivered)(msg)


def _keys(secret: str) -> tuple[bytes, ...]:
    """Keys to sign with. A secret without prefix is read by some receivers as base64 and by others as it is: both."""
    try:
        text = secret.removeprefix(PREFIX)
        decoded = base64.b64decode(f"{text}==")  # surplus padding is ignored
    except ValueError:
        decoded = b""
    if secret.startswith(PREFIX):
        if not decoded:
            raise BadConfiguration(f"the secret of a webhook begins with {PREFIX}, but the rest is not base64")
        return (decoded,)
    return (secret.encode(), decoded) if decoded else (secret.encode(),)
