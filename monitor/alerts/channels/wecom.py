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
from monitor.alerts.channels.http_client import HttpClient
from monitor.alerts.channels.messenger import fitted, post

WECOM_URL: Final = "https://qyapi.weixin.qq.com/cgi-bin/webhook/send"
MAX_TEXT_BYTES: Final = 2_048  # longest text of a message [1]_ [byte]
REFUSED: Final = frozenset({40008, 40033, 40035, 40058, 44004, 45002})
"""Codes that refuse this message: its type, characters, parameters or length [2]_. Others are of the robot or pass."""


class WeCom:
    """Posts texts to one group; `url` is an address without the key of the robot (`token`), empty: that of WeCom."""

    def __init__(self, http: HttpClient, *, url: str, token: str) -> None:
        self._http, self._token = http, token
        self._url = url or WECOM_URL
        http.check(self._url)

    def send(self, message: Message, recipient: str) -> str:
        """Post a message of at most :data:`MAX_TEXT_BYTES`; errors as of :func:`post`."""
        # <@userid> would mention a member, so a name must not contain it.
        text = fitted(message, MAX_TEXT_BYTES, size=lambda text: len(_unmentioned(text).encode()))
        return post(
            self._http,
            f"{self._url}?key={quote(self._token, safe='')}",
            {"msgtype": "text", "text": {"content": _unmentioned(text)}},
            service="WeCom", code="errcode", text="errmsg", refused=REFUSED, secrets=(self._token,),
        )  # fmt: skip

    def close(self) -> None:
        """Nothing is open."""


def _unmentioned(text: str) -> str:
    return text.replace("<@", "< @")
