"""Messages through the library Apprise, for the services that have no channel of their own here.

Its address is given in the environment by the operator, and is not checked: it may name a private host. Redirects are
not followed.
"""

import logging

from monitor.alerts.channels.channel import Message, NotDelivered
from monitor.errors import BadConfiguration


class ThroughApprise:
    """Sends the brief text of messages to one service.

    Parameters
    ----------
    url : str
        Address as Apprise spells it, with its secrets.

    Raises
    ------
    BadConfiguration
        Apprise is not installed, or does not know the address.
    """

    def __init__(self, url: str) -> None:
        try:
            import apprise
        except ImportError as error:
            msg = "a channel of kind 'apprise' needs the library: pip install 'regrowth-monitor[apprise]'"
            raise BadConfiguration(msg) from error
        logging.getLogger("apprise").disabled = True  # it logs tokens, in forms that cannot be recognised
        self._service = apprise.Apprise(asset=apprise.AppriseAsset(http_redirects=False))
        self._plain = apprise.NotifyFormat.TEXT
        if not self._service.add(url):
            msg = "Apprise does not know the address of this channel; its documentation lists the forms of addresses"
            raise BadConfiguration(msg)

    def send(self, message: Message, recipient: str) -> str:
        """Send the subject, the brief text and the links of a message.

        Raises
        ------
        NotDelivered
            The service did not accept it; Apprise does not say why.
        """
        text = "\n".join(filter(None, [message.brief, message.links]))
        try:
            delivered = self._service.notify(body=text, title=message.subject, body_format=self._plain)
        except Exception as error:  # noqa: BLE001 - any plugin, any error; its text may repeat the address
            msg = f"Apprise failed: {type(error).__name__}"
            raise NotDelivered(msg) from None
        if not delivered:
            msg = "Apprise could not deliver the message"
            raise NotDelivered(msg)
        return "accepted by Apprise"

    def close(self) -> None:
        """Nothing is open."""
