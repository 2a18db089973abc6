"""Messages as files: the channel that every installation has."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monitor.alerts.channels.channel import Channel, Message, NotDelivered
from monitor.alerts.mail import as_mail
from monitor.files import write_atomically
from monitor.sites.names import folder_name


class Files(Channel):
    """Writes messages to a folder: the mail as ``<name>.eml``, the record as ``<name>.json``.

    The name says the site, the rule and the number of the event (``ulan-03_failure_1``) where the record is of one
    event, else its kind and the id of the message. The same message gives the same files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def send(self, message: Message, recipient: str) -> str:
        """Write a message; returns the path of its mail within the folder. ``NotDelivered``: it cannot be written."""
        name = file_name(message)
        record: Any = dict(message.record) or {"id": message.id, "subject": message.subject, "text": message.text}
        text = json.dumps(record, ensure_ascii=False, indent=1, allow_nan=False)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # links to answer are for the recipient only
            for suffix, content in (
                (".json", f"{text}\n".encode("utf-8", "backslashreplace")),
                (".eml", as_mail(message, sender=None, recipient=None).as_bytes()),
            ):
                write_atomically(self._folder / f"{name}{suffix}", content, lasting=True)
        except OSError as error:
            raise NotDelivered(f"{self._folder} cannot be written: {error.strerror or type(error).__name__}") from error
        return f"written to {self._folder.name}/{name}.eml"


def file_name(message: Message) -> str:
    """Name of the files of a message, without ending; different messages have different names."""
    name, site, event = (message.record.get(key) for key in ("id", "site", "event"))
    site_id = site.get("id") if isinstance(site, Mapping) else None
    if isinstance(name, str) and isinstance(site_id, str) and name.startswith(f"{site_id}/"):
        return f"{folder_name(site_id)}_{folder_name(name.removeprefix(f'{site_id}/').replace('/', '_'))}"
    about = event if isinstance(event, str) and re.fullmatch("[a-z_]{1,40}", event) else "message"
    return f"{about}_{message.id[:40]}"
