"""Expected errors, a class for each case that a caller treats differently.

Every message names the site or file, the problem, and what to do. The class alone determines the exit status of the
command line (see ``jobs.runtime.exits``).
"""

import errno
import os
import re
from typing import Final

HIDDEN: Final = "***"
"""Replaces a secret."""
_SECRETS: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), rf"\1{HIDDEN}\2")
    for pattern in (
        r"((?<!/)//)[^\s/?#\"<>]*(@)",  # user and password of an address
        r"([?&;](?:(?:[\w-]+[-_])?(?:key|token|sig|sign|signature|credential)|x-(?:amz|goog|oss|cos|obs)-[\w-]+"
        r"|\w*accesskeyid)=)[^\s&;#\"'<>\x1b]+()",
        r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)(?s:.+?)(-----END|\Z)",
        r"(\b[\w-]*(?:password|passwd|secret|access_?token|refresh_?token|id_token|api_?key|private_?key)[\"']?"
        r"\s*[=:]\s*[\"']?)[^\s\"',&;}\x1b]+()",
        r"(authorization[\"']?\s*[=:]\s*[\"']?)(?:\w+ +)?[^\s\"',}\x1b]+()",
        r"(\b(?:bearer|basic) +)[\w.~+/=-]{8,}()",
    )
)

BROKEN_SCENE: Final = "BROKEN"
"""Reason to reject a scene: its item, or one of its files, cannot be read."""
MISSING_FILE: Final = "MISSING"
"""Reason to reject a scene: one of its files does not exist."""
UNANSWERED_FILE: Final = "NO_ANSWER"
"""Reason to reject a scene: one of its files, or the service that gives them, cannot be reached."""
WRONG_RADIOMETRY: Final = "RADIOMETRY"
"""Reason to reject a scene: its values are not reflectance as delivered, or their scale is unknown."""
UNREAD: Final = (MISSING_FILE, BROKEN_SCENE, UNANSWERED_FILE)
"""Reasons that may not hold on another day: the scene waits unread, and later nights try it again."""

_DISK_FULL_CODES: Final = (errno.ENOSPC, errno.EDQUOT)
_DISK_FULL_TEXTS: Final = (*map(os.strerror, _DISK_FULL_CODES), "database or disk is full")
"""Texts of libraries that give no code: the system's own from icechunk, the last from SQLite."""


class MonitorError(Exception):
    """An expected error, shown in one line without traceback; secrets are removed from its message."""

    def __init__(self, message: object = "") -> None:
        super().__init__(redacted(str(message)))


class BadData(MonitorError):
    """A file or table that a person must correct. Exit status 65."""


class BadConfiguration(MonitorError):
    """The configuration or the credentials are invalid. Exit status 78."""


class UnknownCollection(BadConfiguration):
    """A source does not have a configured collection."""


class NeverOffered(BadConfiguration):
    """No source has ever offered a scene of a site: its outline or the configuration of the sources is wrong."""


class TryLater(MonitorError):
    """Locked by another run, or a service is down: nothing is wrong with the input. Exit status 75."""


class DiskFull(MonitorError):
    """The disk is full; what is stored already is intact."""


class StoreBroken(MonitorError):
    """The store of a site cannot be read; other sites are unaffected."""


class SceneRejected(MonitorError):
    """A scene cannot be used; the code ``reason`` is recorded for it."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def redacted(text: str) -> str:
    """Text with secrets replaced: passwords in addresses, keys in queries, tokens in headers.

    Examples
    --------
    >>> redacted("postgresql://me:hunter2@host/x; https://host/a.tif?sig=abc&v=1; Authorization: Bearer abc")
    'postgresql://***@host/x; https://host/a.tif?sig=***&v=1; Authorization: ***'
    """
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def newer_format(stated: int, known: int) -> str:
    """Describe what a newer version made, and what to do, as the end of a sentence; `known` is the format read here."""
    return f"format {stated}, newer than {known}, that of this program: made by a newer version, update the program"


def as_disk_full(error: BaseException, place: object) -> DiskFull | None:
    """Convert an error of the system or a library that reports a full disk; None: it reports anything else.

    `place` is the file or folder that was written to.
    """
    message = str(error)
    if getattr(error, "errno", None) in _DISK_FULL_CODES or any(text in message for text in _DISK_FULL_TEXTS):
        return DiskFull(f"the disk is full: make room at {place}, then run again; nothing is lost")
    return None
