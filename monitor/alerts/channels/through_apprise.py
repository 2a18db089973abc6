"""Messages through the library Apprise, for services without a channel here.

Its address is given in the environment by the operator, and is not checked: it may name a private host. Redirects are
not followed.
"""

import logging
import threading
from typing import Final

from monitor.alerts.channels.channel import Channel, Message, NotDelivered
from monitor.errors import BadConfiguration

DEADLINE: Final = 30.0
"""Longest time of a delivery; the library limits only the time between two bytes of an answer. [s]"""


class ThroughApprise(Channel):
    """Sends the brief text of messages to one service.

    `url` is an address as Apprise spells it, with its secrets: ``BadConfiguration`` where Apprise does not know it, or
    is not installed.
    """

    def __init__(self, url: str, *, deadline: float = DEADLINE) -> None:
        try:
            import apprise
        except ImportError as error:
            msg = "a channel of kind 'apprise' needs the library: pip install 'regrowth-monitor[apprise]'"
            raise BadConfiguration(msg) from error
        logging.getLogger("apprise").disabled = True  # it logs tokens, in forms that cannot be recognised
        self._service = apprise.Apprise(asset=apprise.AppriseAsset(http_redirects=False))
        self._plain = apprise.NotifyFormat.TEXT
        self._deadline = deadline
        if not self._service.add(url):
            msg = "Apprise does not know the address of this channel; its documentation lists the forms of addresses"
            raise BadConfiguration(msg)

    def send(self, message: Message, recipient: str) -> str:
        """Send the subject, the brief text and the links of a message.

        Raises ``NotDelivered`` where the service did not accept it, for which Apprise gives no reason, or not in time.
        """
        text = "\n".join(filter(None, [message.brief, message.links]))
        said: list[str | None] = []
        sender = threading.Thread(target=lambda: said.append(self._notify(message.subject, text)), daemon=True)
        sender.start()
        sender.join(self._deadline)
        problem = said[0] if said else "Apprise has no answer in time"
        if problem is not None:
            raise NotDelivered(problem)
        return "accepted by Apprise"

    def _notify(self, subject: str, text: str) -> str | None:
        """Send; returns why it failed, None if it did not."""
        try:
            delivered = self._service.notify(body=text, title=subject, body_format=self._plain)
        except Exception as error:  # noqa: BLE001 - any plugin, any error; its text may repeat the address
            return f"Apprise failed: {type(error).__name__}"
        return None if delivered else "Apprise could not deliver the message"
