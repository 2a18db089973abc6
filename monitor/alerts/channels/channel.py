"""What every channel does: deliver one message to one recipient."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from monitor.errors import MonitorError


class NotDelivered(MonitorError):
    """The message was not delivered now, and may be later: the receiver is down, busy, or not trusted."""


class Unreachable(NotDelivered):
    """No message gets through the channel now: no connection, no encryption, no login. The others need not be tried."""


class Undeliverable(MonitorError):
    """The receiver refuses this message or recipient for good; trying again does not help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file that is attached to a mail."""

    name: str
    """File name, ASCII."""
    media_type: str
    """For instance ``application/gpx+xml``."""
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message, ready for any channel. All texts are plain: no control characters, no markup."""

    id: str
    """Stays the same however often the message is sent: hexadecimal, the local part of the Message-ID and the
    idempotency key."""
    time: datetime
    """When it was first sent, UTC."""
    language: str
    """``zh`` or ``en``."""
    subject: str
    """One line."""
    text: str
    """Plain text of a mail."""
    brief: str
    """Text for messengers, which is cut where it exceeds their limit."""
    links: str
    """Last lines of the text for messengers, which are never cut: the address to answer at. May be empty."""
    html: str | None = None
    """HTML alternative of a mail. It shows `picture` as ``cid:picture``."""
    picture: bytes | None = field(default=None, repr=False)
    """JPEG of the site before and now."""
    attachments: tuple[Attachment, ...] = ()
    follows: str | None = None
    """Id of the message under which a mail program lists this one."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """The message as JSON values, for webhooks and files."""


class Channel(Protocol):
    """A way to deliver messages. It may keep a connection open until :meth:`close`."""

    def send(self, message: Message, recipient: str) -> str:
        """Deliver a message; returns what the receiver answered, in one line without secrets.

        Parameters
        ----------
        message : Message
            The message.
        recipient : str
            Mail address; empty for a channel that has one receiver.

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
        ...
