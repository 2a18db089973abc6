"""Messages to a group of DingTalk (钉钉), through a custom robot of the group [1]_.

References
----------
.. [1] DingTalk open platform, "自定义机器人接入", https://open.dingtalk.com/document/orgapp/custom-robot-access
.. [2] DingTalk open platform, "自定义机器人安全设置" (signature: HMAC-SHA256, keyed by the secret, of timestamp, line
   feed and secret), https://open.dingtalk.com/document/orgapp/customize-robot-security-settings
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlencode

from monitor.alerts.channels.channel import Message
from monitor.alerts.channels.http_client import HttpClient
from monitor.alerts.channels.messenger import as_json, fitted, json_size, post

DINGTALK_URL: Final = "https://oapi.dingtalk.com/robot/send"
MAX_MESSAGE_BYTES: Final = 20_000  # longest request [1]_ [byte]
REFUSED: Final = frozenset({40035, 400105, 430101, 430102, 430103, 430104, 460101})
"""Codes that refuse this message: its parameters, type, links, content or length. Others are of the robot or pass."""


class DingTalk:
    """Posts texts to one group.

    `url` is an address without the access token `token` of the robot; empty: that of the service. `secret` signs the
    requests; None: the robot must be secured by other means.
    """

    def __init__(
        self, http: HttpClient, *, url: str, token: str, secret: str | None, clock: Callable[[], float] = time.time
    ) -> None:
        self._http, self._token, self._secret, self._clock = http, token, secret, clock
        self._url = url or DINGTALK_URL
        http.check(self._url)

    def send(self, message: Message, recipient: str) -> str:
        """Post a message of at most :data:`MAX_MESSAGE_BYTES`; errors as of :func:`post`."""
        content: dict[str, Any] = {"msgtype": "text", "text": {"content": ""}}
        room = MAX_MESSAGE_BYTES - len(as_json(content))
        content["text"]["content"] = fitted(message, room, size=json_size)
        query = {"access_token": self._token}
        if self._secret is not None:
            timestamp = str(round(self._clock() * 1000))
            signed = f"{timestamp}\n{self._secret}".encode()  # [2]_
            mac = hmac.new(self._secret.encode(), signed, hashlib.sha256).digest()
            query |= {"timestamp": timestamp, "sign": base64.b64encode(mac).decode()}
        return post(
            self._http, f"{self._url}?{urlencode(query)}", content, service="DingTalk", code="errcode", text="errmsg",
            refused=REFUSED, secrets=(self._token, self._secret or self._token),
        )  # fmt: skip

    def close(self) -> None:
        """Nothing is open."""
