"""Ids and names that people wrote: compared, cleaned, and made into folders.

An id may be Chinese, have spaces, or be hostile; it is kept as it is. What touches a file system goes through
:func:`folder_name`.
"""

import hashlib
import re
import unicodedata

_FOLDER_BYTES = 120
"""Longest id kept as a folder name; file systems end at 255 bytes, paths on Windows at 260 characters."""
_WINDOWS_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_INVISIBLE = re.compile("[\u0000-\u001f\u007f-\u009f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
"""Control characters, line ends, overrides of writing direction, zero-width spaces and lone surrogates."""


def folder_name(site_id: str) -> str:
    """Name of a site's folder: the id itself where that is safe everywhere, else a part of it and its hash.

    Safe are letters and digits of any script, ``-``, ``_`` and ``.``, in up to 120 bytes, where the whole is no
    device of Windows. No two ids share a name (a name with ``~`` carries 128 bits of SHA-256), and none leads out
    of the folder it is put in.

    >>> folder_name("民勤-03")
    '民勤-03'
    >>> folder_name("../../etc")
    'etc~74ccf3c5b4c19a8167f9a3d1dd63e0e4'
    """
    kept = all(c in "-_." or unicodedata.category(c)[0] in "LNM" for c in site_id)
    if (
        kept
        and site_id
        and (site_id[0] == "_" or unicodedata.category(site_id[0])[0] in "LN")
        and not site_id.endswith(".")
        and len(site_id.encode("utf-8", "surrogatepass")) <= _FOLDER_BYTES
        and not _WINDOWS_DEVICE.fullmatch(site_id)
        and unicodedata.is_normalized("NFC", site_id)
    ):
        return site_id
    readable = re.sub(r"[^A-Za-z0-9]+", "-", site_id[:200])[:40].strip("-") or "site"
    digest = hashlib.sha256(site_id.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{readable}~{digest[:32]}"


def comparable_id(site_id: str) -> str:
    """Key under which two ids are the same to a person: case and Unicode form make no difference."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", site_id).casefold())


def has_invisible(text: str) -> bool:
    """Whether a text holds control characters or other signs that change how the rest is shown or read."""
    return _INVISIBLE.search(text) is not None


def without_invisible(text: str) -> str:
    """Text without what :func:`has_invisible` finds; a line end becomes a space."""
    return _INVISIBLE.sub("", re.sub(r"[\r\n\t\u2028\u2029]+", " ", text)).strip()
