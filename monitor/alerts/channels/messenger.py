"""Common to the messengers: texts within a limit of bytes, and errors inside a response of status 200."""

import base64
import hashlib
import hmac
import json
import re
import time
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from monitor.alerts.channels.channel import Channel, Message, NotDelivered, Undeliverable
from monitor.alerts.channels.http_client import HttpClient
from monitor.sites.names import without_invisible

CUT: Final = "…"  # ends a text that was cut
MAX_CLUSTER: Final = 32
"""Longest sequence of code points that is treated as one character. [code points]"""


class Messenger(Channel):
    """Posts texts to one group, through a robot of the group.

    `url` is an address without the `token` of the robot; empty: that of the service. `secret` signs the requests; None:
    the robot must be secured by other means.
    """

    service: ClassVar[str]  # its name
    service_url: ClassVar[str]
    code: ClassVar[str]  # name of the error code in an answer, 0 if delivered
    text: ClassVar[str]  # name of its text
    refused: ClassVar[frozenset[int]]  # codes by which this message is never accepted

    def __init__(
        self, http: HttpClient, *, url: str, token: str, secret: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._http, self._token, self._secret, self._clock = http, token, secret, clock
        self._url = url or self.service_url
        http.check(self._url)

    def post(self, url: str, content: Mapping[str, Any]) -> str:
        """Post JSON values and return the answer; token and secret are replaced in texts that are returned or raised.

        Raises ``Undeliverable`` for a code of :attr:`refused`, and ``NotDelivered`` for another or no confirmation.
        """
        response = self._http.request(
            "POST", url, body=as_json(content), headers={"Content-Type": "application/json; charset=utf-8"}
        )
        answer = _parsed(response.body)
        number = answer.get(self.code, answer.get("StatusCode"))  # the latter in older answers of Feishu
        said = without_invisible(str(answer.get(self.text, "")))[:200]
        for secret in (self._token, self._secret or self._token):
            said = said.replace(secret, "***")
        if response.status == 200 and number == 0 and not isinstance(number, bool):
            return f"{self.code} 0 {said}".rstrip()
        if not isinstance(number, int):
            raise NotDelivered(f"{self.service} answers status {response.status} without a confirmation")
        msg = f"{self.service} answers {self.code} {number}: {said}"
        raise (Undeliverable if number in self.refused else NotDelivered)(msg)


def signature(key: bytes, content: bytes) -> str:
    """HMAC-SHA256 in base64."""
    return base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()


def fitted(message: Message, max_bytes: int, *, size: Callable[[str], int]) -> str:
    """Text of a message for a messenger: the brief text, cut between characters where it is too long, and the links.

    Links are never cut. Where they alone exceed `max_bytes`, the last ones are left out. `size` is that of a text as
    the messenger counts it. [byte]
    """
    brief, links = _valid(message.brief), _valid(message.links)
    lines = links.splitlines()
    while lines and size("\n".join([CUT, *lines])) > max_bytes:
        lines.pop()
    whole = "\n".join([brief, *lines])
    if size(whole) <= max_bytes:
        return whole
    fits, too_long = 0, len(brief)
    while too_long - fits > 1:  # characters of the brief text that fit
        middle = (fits + too_long) // 2
        if size("\n".join([brief[:middle] + CUT, *lines])) <= max_bytes:
            fits = middle
        else:
            too_long = middle
    return "\n".join([brief[: _between_characters(brief, fits)].rstrip() + CUT, *lines])


def json_size(text: str) -> int:
    """Size of a text inside JSON. [byte]"""
    return len(as_json(text)) - 2


def as_json(values: Any) -> bytes:
    """JSON values as they are sent."""
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _valid(text: str) -> str:
    """Text without lone surrogates, which have no UTF-8."""
    return text.encode("utf-8", "replace").decode()


def _between_characters(text: str, position: int) -> int:
    """The position, or one before it that is not inside a character of several code points."""
    for candidate in range(position, max(position - MAX_CLUSTER, 0), -1):
        if not _is_joined(text, candidate):
            return candidate
    return position


def _is_joined(text: str, position: int) -> bool:
    """Whether the code points on both sides of a position are shown as one character."""
    if not 0 < position < len(text):
        return False
    before, after = text[position - 1], text[position]
    if unicodedata.category(after).startswith("M") or before == "\u200d" or after == "\u200d":
        return True
    if "\U0001f3fb" <= after <= "\U0001f3ff":  # skin tones
        return True
    flag = re.search("[\U0001f1e6-\U0001f1ff]*$", text[:position])
    return "\U0001f1e6" <= after <= "\U0001f1ff" and flag is not None and len(flag[0]) % 2 == 1
