"""The layout of a pack: the headers of a zip that names, sizes and CRC-32 of its members determine.

Dates, attributes and versions are fixed, members are not compressed and lie one after the other, and there are no
comments [1]_. The reader builds every header again and compares. So no byte outside of the members is free, and nothing
that a zip can otherwise be made to do (links, paths that lead out of it, compression bombs, false sizes, members that
overlap) can occur.

References
----------
.. [1] PKWARE, ".ZIP File Format Specification," version 6.3.10, 2022.
"""

import os
import re
import stat
import struct
from dataclasses import dataclass
from typing import BinaryIO, Final

from monitor.evidence.faults import LAYOUT, Fault, PackRefused

MAX_MEMBERS: Final = 1000
MAX_NAME: Final = 80
"""Longest name of a member. [character]"""
NAME: Final = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)*")
"""Names of members: all at the top level, and the same on every system."""

_FULL: Final = 0xFFFFFFFF
"""In a field of 32 bits: the number is in the zip64 field instead."""
_DATE: Final = 1 << 5 | 1
"""1 January 1980, the first day that a zip can state."""
_UNIX: Final = 3 << 8
_ATTRIBUTES: Final = (stat.S_IFREG | 0o644) << 16
_VERSION: Final = 20
_VERSION_ZIP64: Final = 45

_LOCAL: Final = struct.Struct("<4s5H3L2H")
_DIRECTORY: Final = struct.Struct("<4s6H3L5H2L")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR: Final = struct.Struct("<4sLQL")
_END: Final = struct.Struct("<4s4H2LH")
_EXTRA64: Final = struct.Struct("<2H2Q")


@dataclass(frozen=True, slots=True)
class Entry:
    """What the headers of a member say."""

    name: str
    size: int
    crc: int
    offset: int
    """Where its local header begins in the file. [byte]"""

    @property
    def start(self) -> int:
        """Where its content begins in the file. [byte]"""
        return self.offset + len(local_header(self))

    @property
    def end(self) -> int:
        """Where the next member begins in the file. [byte]"""
        return self.start + self.size


def local_header(entry: Entry) -> bytes:
    """What stands before the content of a member."""
    is_large = entry.size >= _FULL
    size, version = (_FULL, _VERSION_ZIP64) if is_large else (entry.size, _VERSION)
    extra = _EXTRA64.pack(1, 16, entry.size, entry.size) if is_large else b""
    name = entry.name.encode()
    fields = (b"PK\3\4", version, 0, 0, 0, _DATE, entry.crc, size, size, len(name), len(extra))
    return _LOCAL.pack(*fields) + name + extra


def _directory_entry(entry: Entry) -> bytes:
    numbers = [entry.size, entry.size] if entry.size >= _FULL else []
    numbers += [entry.offset] if entry.offset >= _FULL else []
    extra = struct.pack(f"<2H{len(numbers)}Q", 1, 8 * len(numbers), *numbers) if numbers else b""
    version = _VERSION_ZIP64 if numbers else _VERSION
    size, offset = min(entry.size, _FULL), min(entry.offset, _FULL)
    name = entry.name.encode()
    fields = (b"PK\1\2", _UNIX | version, version, 0, 0, 0, _DATE, entry.crc, size, size, len(name), len(extra))
    return _DIRECTORY.pack(*fields, 0, 0, 0, _ATTRIBUTES, offset) + name + extra


def closing_records(entries: list[Entry]) -> bytes:
    """What follows the last member: the directory of the zip and the records that close it."""
    directory = b"".join(map(_directory_entry, entries))
    start, count, size = entries[-1].end if entries else 0, len(entries), len(directory)
    closing = b""
    if start >= _FULL:
        versions = (_UNIX | _VERSION_ZIP64, _VERSION_ZIP64)
        closing += _END64.pack(b"PK\6\6", _END64.size - 12, *versions, 0, 0, count, count, size, start)
        closing += _LOCATOR.pack(b"PK\6\7", 0, start + size, 1)
    return directory + closing + _END.pack(b"PK\5\6", 0, 0, count, count, size, min(start, _FULL), 0)


def read_layout(file: BinaryIO) -> list[Entry]:
    """The entries of all members, after every header of the zip was compared with the one that they determine.

    Raises
    ------
    PackRefused
        A header differs.
    """
    size = file.seek(0, os.SEEK_END)
    entries: dict[str, Entry] = {}
    offset = 0
    while (entry := _entry_at(file, offset)) is not None:
        if entry.name in entries:
            raise PackRefused(_fault(f"member {entry.name!r} is there twice"))
        if len(entries) == MAX_MEMBERS:
            raise PackRefused(_fault(f"it has more than {MAX_MEMBERS:,} members"))
        entries[entry.name] = entry
        offset = entry.end
        if offset > size:
            raise PackRefused(_fault(f"it ends inside of member {entry.name}: it was cut short, or changed on its way"))
    if not entries:
        difference = "it does not begin as a zip does: it is no zip, or was changed on its way, as mail gateways do"
        raise PackRefused(_fault(difference))
    _check_closing(file, size, [*entries.values()])
    return [*entries.values()]


def _entry_at(file: BinaryIO, offset: int) -> Entry | None:
    """The entry of the member whose header begins there; None where there is none, so where the directory begins."""
    file.seek(offset)
    found = file.read(_LOCAL.size + MAX_NAME + _EXTRA64.size)
    if len(found) < _LOCAL.size or not found.startswith(b"PK\3\4"):
        return None
    _, _, flags, method, _, _, crc, stored_size, size, name_length, _ = _LOCAL.unpack_from(found)
    name = found[_LOCAL.size : _LOCAL.size + name_length].decode("ascii", "backslashreplace")
    if size == _FULL and len(found) >= (start := _LOCAL.size + name_length) + _EXTRA64.size:
        _, _, size, stored_size = _EXTRA64.unpack_from(found, start)
    problem = None
    if not NAME.fullmatch(name) or name_length > MAX_NAME:
        problem = "has a name that no member of a pack can have"
    elif flags & 1:
        problem = "is encrypted"
    elif method != 0 or stored_size != size:
        problem = "is compressed"
    elif not found.startswith(local_header(entry := Entry(name, size, crc, offset))):
        problem = f"has a header (byte {offset:,}) that is not that of a pack"
    if problem is not None:
        raise PackRefused(_fault(f"member {name[:MAX_NAME]!r} {problem}"))
    return entry


def _check_closing(file: BinaryIO, size: int, entries: list[Entry]) -> None:
    """Compare all that follows the last member with what the entries determine."""
    start, closing = entries[-1].end, closing_records(entries)
    file.seek(start)
    tail = file.read(len(closing))
    at = 0
    for entry in entries:
        expected = _directory_entry(entry)
        if tail[at : at + len(expected)] != expected:
            difference = (
                f"the entry of member {entry.name} in its directory (byte {start + at:,}) is not that of a pack: it "
                "was cut short or changed, or says that the member is a link, a folder, or of another size"
            )
            raise PackRefused(_fault(difference))
        at += len(expected)
    if tail[at:] != closing[at:] or start + len(closing) != size:
        difference = f"what follows its directory (byte {start + at:,}) is not that of a pack: bytes were cut or added"
        raise PackRefused(_fault(difference))


def _fault(difference: str) -> Fault:
    return Fault(LAYOUT, difference)
