"""The interface of every channel: deliver one message to one recipient."""

from typing import Protocol

from monitor.alerts.message import Message as Message
from monitor.errors import MonitorError


class NotDelivered(MonitorError):
    """The message was not delivered now, and may be later: the receiver is down, busy, or not trusted."""


class Unreachable(NotDelivered):
    """No message gets through the channel now: no connection, no encryption, no login. The others need not be tried."""


class Undeliverable(MonitorError):
    """The receiver refuses this message or recipient for good; trying again does not help."""


class Channel(Protocol):
    """A way to deliver messages. One that keeps a connection open has its own :meth:`close`."""

    def send(self, message: Message, recipient: str) -> str:
        """Deliver a message; returns the answer of the receiver, in one line without secrets.

        `recipient` is a mail address; empty for a channel that has one receiver.

        Raises
        ------
        NotDelivered
            Not now; the same call may succeed later. :class:`Unreachable` where this holds for the whole channel.
        Undeliverable
            Never.
        """
        ...

    def close(self) -> None:
        """Close the connection, if one is open."""
        return
