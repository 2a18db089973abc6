"""Messages to a group of WeCom (企业微信), through a robot of the group [1]_.

References
----------
.. [1] WeCom developer centre, "群机器人配置说明" (message push: how to use, message types and formats, rate limit),
   https://developer.work.weixin.qq.com/document/path/91770
.. [2] WeCom developer centre, "全局错误码", https://developer.work.weixin.qq.com/document/path/90313
"""

from typing import Final
from urllib.parse import quote

from monitor.alerts.channels.channel import Message
from monitor.alerts.channels.messenger import Messenger, fitted

MAX_TEXT_BYTES: Final = 2_048  # longest text of a message [1]_ [byte]
REFUSED: Final = frozenset({40008, 40033, 40035, 40058, 44004, 45002})
"""Codes that refuse this message: its type, characters, parameters or length [2]_. Others are of the robot or pass."""


class WeCom(Messenger):
    """Posts texts to one group; `token` is the key of its robot."""

    service, service_url, code, text = "WeCom", "https://qyapi.weixin.qq.com/cgi-bin/webhook/send", "errcode", "errmsg"
    refused = REFUSED

    def send(self, message: Message, recipient: str) -> str:
        """Post a message of at most :data:`MAX_TEXT_BYTES`; errors as of :meth:`Messenger.post`."""
        # <@userid> would mention a member, so a name must not contain it.
        text = fitted(message, MAX_TEXT_BYTES, size=lambda text: len(_unmentioned(text).encode()))
        content = {"msgtype": "text", "text": {"content": _unmentioned(text)}}
        return self.post(f"{self._url}?key={quote(self._token, safe='')}", content)


def _unmentioned(text: str) -> str:
    return text.replace("<@", "< @")
