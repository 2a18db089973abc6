"""Messages to a group of Feishu (飞书), through a custom bot of the group [1]_.

References
----------
.. [1] Feishu open platform, "自定义机器人使用指南" (signature: HMAC-SHA256 of nothing, keyed by timestamp, line feed
   and secret; request of at most 20 KB; error codes), https://open.feishu.cn/document/client-docs/bot-v3/add-custom-bot
"""

import re
from typing import Any, Final
from urllib.parse import quote

from monitor.alerts.channels.channel import Message
from monitor.alerts.channels.messenger import Messenger, as_json, fitted, json_size, signature

MAX_REQUEST_BYTES: Final = 20_480  # longest request [1]_ [byte]
REFUSED: Final = frozenset({9499})
"""Code that refuses this message: its form [1]_. Others are of the bot (19021, 19022, 19024) or pass (11232)."""


class Feishu(Messenger):
    """Posts texts to one group; `token` is the last part of the address of its bot."""

    service, service_url, code, text = "Feishu", "https://open.feishu.cn/open-apis/bot/v2/hook", "code", "msg"
    refused = REFUSED

    def send(self, message: Message, recipient: str) -> str:
        """Post a message of at most :data:`MAX_REQUEST_BYTES`; errors as of :meth:`Messenger.post`."""
        content: dict[str, Any] = {"msg_type": "text", "content": {"text": ""}}
        if self._secret is not None:
            timestamp = str(int(self._clock()))
            content |= {"timestamp": timestamp, "sign": signature(f"{timestamp}\n{self._secret}".encode(), b"")}
        room = MAX_REQUEST_BYTES - len(as_json(content))
        text = fitted(message, room, size=lambda text: json_size(_unmentioned(text)))
        content["content"]["text"] = _unmentioned(text)
        return self.post(f"{self._url.rstrip('/')}/{quote(self._token, safe='')}", content)


def _unmentioned(text: str) -> str:
    """Text without ``<at user_id="...">``, which would mention a member or everybody."""
    return re.sub(r"<(?=/?at\b)", "< ", text, flags=re.IGNORECASE)
