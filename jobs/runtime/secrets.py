"""Secrets, which come from the environment or from files that it names, never from the configuration."""

import errno
import os
import re
import stat
from typing import Final

from monitor.errors import BadConfiguration

MAX_SECRET_BYTES: Final = 2**16
BUCKET_KEYS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")  # variables with the keys of a bucket


def secret(name: str) -> str | None:
    """A secret from ``REGROWTH_<name>``, or the file that ``REGROWTH_<name>_FILE`` names; None: not set, or empty."""
    return from_environment(f"REGROWTH_{name}")


def from_environment(variable: str) -> str | None:
    """As :func:`secret`, from a variable of any name; BadConfiguration: not a plain file, or it cannot be read."""
    if value := os.environ.get(variable, "").strip():
        return value
    path = os.environ.get(f"{variable}_FILE")
    if not path:
        return None
    try:
        content = file_content(path)
        text = content.decode().strip()
    except (OSError, ValueError) as error:  # ValueError: a path with NUL, or content that is not UTF-8
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        # Without the path, which may be the secret itself, set by mistake.
        raise BadConfiguration(f"the file that {variable}_FILE names cannot be read: {why}") from None
    if len(content) > MAX_SECRET_BYTES:
        msg = f"the file that {variable}_FILE names has more than {MAX_SECRET_BYTES:,} bytes, too many for a secret"
        raise BadConfiguration(msg)
    return text or None


def provide_bucket_keys() -> None:
    """Give the libraries that open a bucket its keys, in the variables where they read them, also in processes to come.

    Raises BadConfiguration if neither a variable nor its file is set, or the file cannot be read.
    """
    for variable in BUCKET_KEYS:
        value = from_environment(variable)
        if value is None:
            msg = f"[store] root is in a bucket: {variable}, or a file that {variable}_FILE names, must give its key"
            raise BadConfiguration(msg)
        os.environ[variable] = value


def file_content(path: str) -> bytes:
    """Content of the file of a secret: at most one byte more than :data:`MAX_SECRET_BYTES`.

    Raises OSError or ValueError if it cannot be read, is not a plain file, or the path is impossible.
    """
    # O_NONBLOCK: otherwise opening a pipe without a writer would wait for ever.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is not a plain file")
        return file.read(MAX_SECRET_BYTES + 1)


def channel_variable(channel: str, what: str) -> str:
    """Name of a secret of a channel, for :func:`secret`.

    >>> channel_variable("site-managers", "TOKEN")
    'CHANNEL_SITE_MANAGERS_TOKEN'
    """
    return f"CHANNEL_{re.sub('[^A-Z0-9]', '_', channel.upper())}_{what}"
