"""Files of what is derived: kept so that it need not be reckoned again, and lost without harm."""

from pathlib import Path

import google_crc32c
import msgspec
import numpy as np

from monitor.derived import _overwrite as overwrite

_CHECK = 4
"""Bytes of the checksum that a file begins with."""


def kept[S: msgspec.Struct](path: Path, form: type[S]) -> S | None:
    """What :func:`keep` put into a file; None where there is nothing, or nothing to be trusted.

    Parameters
    ----------
    path : Path
        Of the file; one that is torn is found out by its checksum.
    form : type
        Of what is read; fields of the file that it lacks are passed over.

    Returns
    -------
    msgspec.Struct or None
        Of that type.
    """
    try:
        content = path.read_bytes()
        told = np.frombuffer(content, np.uint8, offset=_CHECK)  # not cut out: that would copy it
        if google_crc32c.value(told) == int.from_bytes(content[:_CHECK], "big"):
            return msgspec.msgpack.decode(told.data, type=form)
    except (OSError, ValueError):
        pass
    return None


def keep(path: Path, told: msgspec.Struct) -> None:
    """Write a file over what was there.

    Parameters
    ----------
    path : Path
        Its folder is there.
    told : msgspec.Struct
        All of the content.

    Raises
    ------
    OSError
        The disk is full or the folder cannot be written.
    """
    content = msgspec.msgpack.encode(told)
    overwrite(path, int(google_crc32c.value(content)).to_bytes(_CHECK, "big"), content)
