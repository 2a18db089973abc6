"""What can go wrong, a class for each thing a caller would treat differently.

Every message says which site or file, what was found, and what to do. The exit status of the
command line is decided by the class alone (see ``jobs.exits``).
"""

import errno
import os
import re
from typing import Final

HIDDEN: Final = "***"
"""Stands in the place of a secret."""
_SECRETS: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), rf"\1{HIDDEN}\2")
    for pattern in (
        r"((?<!/)//)[^\s/?#\"<>]*(@)",  # user and password of an address
        r"([?&;](?:key|token|sig|signature|x-amz-[\w-]+|x-goog-[\w-]+|awsaccesskeyid)=)[^\s&;#\"'<>\x1b]+()",
        r"(\b[\w-]*(?:password|passwd|secret|access_?token|refresh_?token|id_token|api_?key|private_?key)[\"']?"
        r"\s*[=:]\s*[\"']?)[^\s\"',&;}\x1b]+()",
        r"(authorization[\"']?\s*[=:]\s*[\"']?)(?:\w+ +)?[^\s\"',}\x1b]+()",
        r"(\b(?:bearer|basic) +)[\w.~+/=-]{8,}()",
    )
)

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_FULL_TOLD: Final = (*map(os.strerror, _FULL), "database or disk is full")
"""How libraries tell it in words: the system's own by icechunk, the last by SQLite."""


class MonitorError(Exception):
    """Expected trouble: told in one line, never with a traceback, and without the secrets of an address in it."""

    def __init__(self, message: object = "") -> None:
        super().__init__(redacted(str(message)))


class BadData(MonitorError):
    """A file or table that a person must mend. Exit status 65."""


class BadConfiguration(MonitorError):
    """The configuration or the credentials do not hold. Exit status 78."""


class UnknownCollection(BadConfiguration):
    """A source does not have a collection that is asked for."""


class NeverOffered(BadConfiguration):
    """No source has ever offered a scene of a site: its outline or the configuration of the sources is wrong."""


class TryLater(MonitorError):
    """Locked by another run, or a service is down: nothing is wrong with the input. Exit status 75."""


class DiskFull(MonitorError):
    """There is no room to write to, which waiting does not mend; what is there already is sound."""


class StoreBroken(MonitorError):
    """What is stored for a site cannot be read; other sites are unaffected."""


class SceneRejected(MonitorError):
    """A scene cannot be used; the code in ``reason`` is what is recorded for it."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def redacted(text: str) -> str:
    """A text without what is secret by its form: passwords in addresses, keys in queries, tokens in headers.

    Examples
    --------
    >>> redacted("postgresql://me:hunter2@host/x; https://host/a.tif?sig=abc&v=1; Authorization: Bearer abc")
    'postgresql://***@host/x; https://host/a.tif?sig=***&v=1; Authorization: ***'
    """
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def as_disk_full(error: BaseException, place: object) -> DiskFull | None:
    """What to raise in the place of an error that tells of a full disk; None where it tells of something else.

    Parameters
    ----------
    error : BaseException
        Of the system, or of a library that repeats its words.
    place : object
        File or folder that was written to.
    """
    told = str(error)
    if getattr(error, "errno", None) not in _FULL and not any(words in told for words in _FULL_TOLD):
        return None
    return DiskFull(f"the disk is full: make room at {place}, then run again; nothing is lost")
