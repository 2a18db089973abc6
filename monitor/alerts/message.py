"""A message as every channel takes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


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
    time: datetime  # when it was first sent, UTC
    language: str  # `zh` or `en`
    subject: str  # one line
    text: str  # plain text of a mail
    brief: str  # text for messengers, which is cut where it exceeds their limit
    links: str
    """Last lines of the text for messengers, which are never cut: the address to answer at, the head of the chain of
    nights. May be empty."""
    html: str | None = None  # HTML alternative of a mail. It shows `picture` as `cid:picture`.
    picture: bytes | None = field(default=None, repr=False)  # JPEG of the site before and now
    attachments: tuple[Attachment, ...] = ()
    follows: str | None = None  # id of the message under which a mail program lists this one
    record: Mapping[str, Any] = field(default_factory=dict)  # the message as JSON values, for webhooks and files
