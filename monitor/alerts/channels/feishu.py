"""Messages to a group of Feishu (飞书), through a custom bot of the group [1]_.

References
----------
.. [1] Feishu open platform, "自定义机器人使用指南" (signature: HMAC-SHA256 of nothing, keyed by timestamp, line feed
   and secret; request of at most 20 KB; error codes), https://open.feishu.cn/document/client-docs/bot-v3/add-custom-bot
"""

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

from monitor.alerts.channels.channel import Message
from monitor.alerts.channels.http_client import HttpClient
from monitor.alerts.channels.messenger import as_json, fitted, json_size, post

FEISHU_URL: Final = "https://open.feishu.cn/open-apis/bot/v2/hook"
MAX_REQUEST_BYTES: Final = 20_480  # longest request [1]_ [byte]
REFUSED: Final = frozenset({9499})
"""Code that refuses this message: its form [1]_. Others are of the bot (19021, 19022, 19024) or pass (11232)."""


class Feishu:
    """Posts texts to one group.

    `url` is an address without the token `token` of the bot, its last part; empty: that of the service. `secret` signs
    the requests; None: the bot must be secured by other means.
    """

    def __init__(
        self, http: HttpClient, *, url: str, token: str, secret: str | None, clock: Callable[[], float] = time.time
    ) -> None:
        self._http, self._token, self._secret, self._clock = http, token, secret, clock
        self._url = (url or FEISHU_URL).rstrip("/")
        http.check(self._url)

    def send(self, message: Message, recipient: str) -> str:
        """Post a message of at most :data:`MAX_REQUEST_BYTES`; errors as of :func:`post`."""
        content: dict[str, Any] = {"msg_type": "text", "content": {"text": ""}}
        if self._secret is not None:
            timestamp = str(int(self._clock()))
            mac = hmac.new(f"{timestamp}\n{self._secret}".encode(), b"", hashlib.sha256).digest()
            content |= {"timestamp": timestamp, "sign": base64.b64encode(mac).decode()}
        room = MAX_REQUEST_BYTES - len(as_json(content))
        text = fitted(message, room, size=lambda text: json_size(_unmentioned(text)))
        content["content"]["text"] = _unmentioned(text)
        return post(
            self._http, f"{self._url}/{quote(self._token, safe='')}", content, service="Feishu", code="code",
            text="msg", refused=REFUSED, secrets=(self._token, self._secret or self._token),
        )  # fmt: skip

    def close(self) -> None:
        """Nothing is open."""


def _unmentioned(text: str) -> str:
    """Text without ``<at user_id="...">``, which would mention a member or everybody."""
    return re.sub(r"<(?=/?at\b)", "< ", text, flags=re.IGNORECASE)
