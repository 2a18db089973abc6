"""Compare and clean ids and names that people have written, and turn ids into folder names.

An id may be Chinese, contain spaces, or be hostile; it is stored unchanged. File names are made by :func:`folder_name`.
"""

import hashlib
import re
import unicodedata

_FOLDER_BYTES = 120  # longest id as a folder name: file systems allow 255 bytes, paths on Windows 260 characters
_WINDOWS_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_INVISIBLE = re.compile("[\u0000-\u001f\u007f-\u009f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
"""Control characters, line ends, overrides of writing direction, zero-width spaces and lone surrogates."""


def folder_name(site_id: str) -> str:
    """Name of a site's folder: the id if it is safe on every system, else a part of it and its hash.

    Safe ids have up to 120 bytes of letters and digits of any script, ``-``, ``_`` and ``.``, and are not a device name
    of Windows. Different ids get different names (``~`` and 128 bits of SHA-256); none leads out of its parent folder.

    >>> folder_name("民勤-03")
    '民勤-03'
    >>> folder_name("../../etc")
    'etc~74ccf3c5b4c19a8167f9a3d1dd63e0e4'
    """
    if (
        site_id
        and all(c in "-_." or unicodedata.category(c)[0] in "LNM" for c in site_id)
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
    """Id without differences of case and Unicode form, which people do not see."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", site_id).casefold())


def has_invisible(text: str) -> bool:
    """Whether a text contains control characters or others that change how the rest is displayed."""
    return _INVISIBLE.search(text) is not None


def without_invisible(text: str) -> str:
    """Text without the characters that :func:`has_invisible` finds; a line end becomes a space."""
    return _INVISIBLE.sub("", re.sub(r"[\r\n\t\u2028\u2029]+", " ", text)).strip()


def without_invisible_lines(text: str) -> str:
    r"""Text of several lines without the characters that :func:`has_invisible` finds; lines and spaces stay.

    >>> without_invisible_lines("two  spaces\r\n\r\n\tthe last\x00 line")
    'two  spaces\n\n    the last line'
    """
    return "\n".join(_INVISIBLE.sub("", line.replace("\t", "    ")) for line in text.splitlines())


def shown(value: object) -> str:
    """Value as quoted in messages: short, with invisible characters escaped."""
    text = ascii(value) if has_invisible(str(value)) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
