"""Messages to a group of DingTalk (钉钉), through a custom robot of the group [1]_.

References
----------
.. [1] DingTalk open platform, "自定义机器人接入", https://open.dingtalk.com/document/orgapp/custom-robot-access
.. [2] DingTalk open platform, "自定义机器人安全设置" (signature: HMAC-SHA256, keyed by the secret, of timestamp, line
   feed and secret), https://open.dingtalk.com/document/orgapp/customize-robot-security-settings
"""

from typing import Any, Final
from urllib.parse import urlencode

from monitor.alerts.channels.channel import Message
from monitor.alerts.channels.messenger import Messenger, as_json, fitted, json_size, signature

MAX_MESSAGE_BYTES: Final = 20_000  # longest request [1]_ [byte]
REFUSED: Final = frozenset({40035, 400105, 430101, 430102, 430103, 430104, 460101})
"""Codes that refuse this message: its parameters, type, links, content or length. Others are of the robot or pass."""


class DingTalk(Messenger):
    """Posts texts to one group; `token` is the access token of its robot."""

    service, service_url, code, text = "DingTalk", "https://oapi.dingtalk.com/robot/send", "errcode", "errmsg"
    refused = REFUSED

    def send(self, message: Message, recipient: str) -> str:
        """Post a message of at most :data:`MAX_MESSAGE_BYTES`; errors as of :meth:`Messenger.post`."""
        content: dict[str, Any] = {"msgtype": "text", "text": {"content": ""}}
        room = MAX_MESSAGE_BYTES - len(as_json(content))
        content["text"]["content"] = fitted(message, room, size=json_size)
        query = {"access_token": self._token}
        if self._secret is not None:
            timestamp = str(round(self._clock() * 1000))
            signed = f"{timestamp}\n{self._secret}".encode()  # [2]_
            query |= {"timestamp": timestamp, "sign": signature(self._secret.encode(), signed)}
        return self.post(f"{self._url}?{urlencode(query)}", content)
