"""Mails: a message as it goes to a mail server, or into a file.

A mail is composed from texts of unknown origin, for instance names of sites. No character of them can end a header or
change the direction of writing, and the same message always gives the same bytes.
"""

import io
import re
from collections.abc import Iterator, Sequence
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Final

from PIL import Image

from monitor.alerts.message import Attachment, Message
from monitor.sites.names import has_invisible, without_invisible

MAX_MAIL_BYTES: Final = 100_000
"""Largest mail, so that it arrives where the signal is weak. Only the plain text may exceed it. [byte]"""
SENDER_NAME: Final = "Regrowth monitor"
"""Name of the sender, unless the configuration gives one."""
NO_DOMAIN: Final = "regrowth-monitor.invalid"  # domain of the Message-ID of a mail without sender
MAX_SUBJECT: Final = 200  # longest subject [characters]
SMALLER_PICTURES: Final = ((0.75, 70), (0.6, 60), (0.45, 50), (0.33, 45))
"""Scale and JPEG quality of the pictures that are tried where the mail would be too large."""
_ADDRESS: Final = re.compile(r"[^\s@<>()\[\]\\,;:\"\x00-\x20\x7f]{1,64}@[^\s@<>()\[\]\\,;:\"\x00-\x20\x7f]{1,255}")
_PICTURE_TAG: Final = re.compile(r"<img\b[^>]*\bcid:picture\b[^>]*>", re.IGNORECASE)
_MEDIA_TYPE: Final = re.compile(r"(application|image)/([a-z0-9.+-]{1,80})")


def parse_address(text: str) -> Address:
    """Read a mail address with or without a name, ``Name <local@domain>``; its domain becomes ASCII (IDNA).

    Raises ``ValueError`` where it is not one mail address.
    """
    named = re.fullmatch(r"([^<>]*)<([^<>]+)>", text.strip())
    name, address = (named[1].strip(' "'), named[2]) if named else ("", text.strip())
    if not _ADDRESS.fullmatch(address) or has_invisible(name):
        raise ValueError("it is not a mail address")
    local, _, domain = address.rpartition("@")
    if not local.isascii():
        raise ValueError("the part before @ is not ASCII")
    try:
        return Address(name, addr_spec=f"{local}@{domain.encode('idna').decode('ascii')}")
    except Exception as error:  # the parser of the standard library raises many kinds
        raise ValueError("it is not a valid mail address") from error


def as_mail(message: Message, *, sender: str | None, recipient: str | None) -> EmailMessage:
    """Compose the mail of a message, of at most :data:`MAX_MAIL_BYTES`; the same message gives the same bytes.

    What does not fit is left out: the picture first (smaller ones are tried), then attachments, then the HTML. The
    plain text is always complete. Without a mail address of sender or recipient that header is absent; ``ValueError``
    where it is not one.
    """
    mail = EmailMessage(policy=SMTP)
    for html, picture, attachments in _variants(message):
        mail = _headers(message, sender, recipient)
        _add_body(mail, message, html, picture, attachments)
        if len(mail.as_bytes()) <= MAX_MAIL_BYTES:
            break
    return mail


def _variants(message: Message) -> Iterator[tuple[str | None, bytes | None, Sequence[Attachment]]]:
    """HTML, picture and attachments, from all of them to none."""
    attachments = [each for each in message.attachments if len(each.content) <= MAX_MAIL_BYTES // 2]
    plainer = None if message.html is None else _PICTURE_TAG.sub("", message.html)
    if message.html is not None and message.picture is not None:
        for picture in _pictures(message.picture):
            yield message.html, picture, attachments
    for size in sorted({len(each.content) for each in attachments}, reverse=True):  # the largest ones go first
        yield plainer, None, [each for each in attachments if len(each.content) <= size]
    yield plainer, None, ()
    yield None, None, ()


def _pictures(picture: bytes) -> Iterator[bytes]:
    """The picture, and smaller ones as long as it can be read."""
    yield picture
    try:
        with Image.open(io.BytesIO(picture), formats=["JPEG"]) as image:
            for scale, quality in SMALLER_PICTURES:
                smaller = image.resize((max(round(image.width * scale), 1), max(round(image.height * scale), 1)))
                content = io.BytesIO()
                smaller.save(content, "JPEG", quality=quality)
                yield content.getvalue()
    except (OSError, ValueError, Image.DecompressionBombError):
        return


def _headers(message: Message, sender: str | None, recipient: str | None) -> EmailMessage:
    mail = EmailMessage(policy=SMTP)
    domain = NO_DOMAIN
    if sender is not None:
        address = parse_address(sender)
        domain = address.domain
        mail["From"] = Address(address.display_name or SENDER_NAME, address.username, domain)
    if recipient is not None:
        mail["To"] = Address(addr_spec=parse_address(recipient).addr_spec)
    subject = without_invisible(message.subject)
    mail["Subject"] = subject if len(subject) <= MAX_SUBJECT else f"{subject[: MAX_SUBJECT - 1]}…"
    mail["Message-ID"] = f"<{_checked_id(message.id)}@{domain}>"
    if message.follows is not None:
        mail["References"] = f"<{_checked_id(message.follows)}@{domain}>"
    mail["Date"] = format_datetime(message.time)
    mail["Auto-Submitted"] = "auto-generated"
    return mail


def _add_body(
    mail: EmailMessage, message: Message, html: str | None, picture: bytes | None, attachments: Sequence[Attachment]
) -> None:
    """Add the parts; boundaries follow from the id, so that the bytes are the same each time."""
    text, encoding = _encoded(message.text)
    mail.set_content(text, cte=encoding)
    if html is not None:
        page_text, encoding = _encoded(html)
        mail.add_alternative(page_text, subtype="html", cte=encoding)
        if picture is not None:
            *_, page = mail.iter_parts()
            assert isinstance(page, EmailMessage)
            page.add_related(picture, "image", "jpeg", cid="<picture>", disposition="inline", filename="site.jpg")
    for each in attachments:
        media_type = _MEDIA_TYPE.fullmatch(each.media_type)
        main, sub = media_type.groups() if media_type else ("application", "octet-stream")
        name = re.sub(r"[^A-Za-z0-9._-]", "_", each.name)[:100]
        mail.add_attachment(each.content, maintype=main, subtype=sub, filename=name)
    for number, part in enumerate(mail.walk()):
        if part.is_multipart():
            part.set_boundary(f"=_{message.id}_{number}")
    mail["Content-Language"] = "zh-Hans" if message.language == "zh" else "en"  # last, else the first part gets it


def _encoded(text: str) -> tuple[str, str]:
    """The text, without lone surrogates, and the encoding that makes it shorter."""
    content = text.encode("utf-8", "replace")
    quoted_printable = len(content) + 2 * sum(byte > 126 or byte == ord("=") for byte in content)
    return content.decode(), "quoted-printable" if quoted_printable < len(content) * 4 / 3 else "base64"


def _checked_id(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", text):
        raise ValueError(f"id {text[:100]!r} of a message is not letters and digits")
    return text
