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
_MAX_TAIL: Final = MAX_MEMBERS * (_DIRECTORY.size + MAX_NAME + 28) + _END64.size + _LOCATOR.size + _END.size


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
    extra = struct.pack("<2H2Q", 1, 16, entry.size, entry.size) if is_large else b""
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
    start, length, count = _find_directory(file, size)
    if count > MAX_MEMBERS or size - start > _MAX_TAIL:
        raise PackRefused(_fault(f"it has more than {MAX_MEMBERS:,} members, or too long a directory"))
    file.seek(start)
    tail = file.read(size - start)
    entries = _parse_directory(tail[:length])
    for entry in entries:
        if entry.end > start:
            raise PackRefused(_fault(f"member {entry.name} is said to reach beyond the room that the file has"))
        header = local_header(entry)
        file.seek(entry.offset)
        if file.read(len(header)) != header:
            raise PackRefused(
                _fault(f"the header of member {entry.name} (byte {entry.offset:,}) is not that of a pack")
            )
    expected = closing_records(entries)
    if tail != expected:
        same = next((i for i, (a, b) in enumerate(zip(tail, expected, strict=False)) if a != b), len(expected))
        raise PackRefused(_fault(f"the directory at its end is not that of a pack (byte {start + same:,})"))
    return entries


def _find_directory(file: BinaryIO, size: int) -> tuple[int, int, int]:
    """Start and length of the directory, and the number of members that it states. [byte], [byte], [1]"""
    length = min(size, _END64.size + _LOCATOR.size + _END.size)
    file.seek(size - length)
    closing = file.read(length)
    end = closing[-_END.size :]
    if len(end) < _END.size or not end.startswith(b"PK\5\6"):
        difference = "it does not end as a zip does: it is no zip, was cut short, or bytes were added at its end"
        raise PackRefused(_fault(difference))
    _, _, _, _, count, directory_size, start, _ = _END.unpack(end)
    if start == _FULL and closing.startswith(b"PK\6\6"):
        *_, count, directory_size, start = _END64.unpack(closing[: _END64.size])
    if start + directory_size > size:
        raise PackRefused(_fault("its directory lies outside the file: it was cut short, or its end is damaged"))
    return start, directory_size, count


def _parse_directory(directory: bytes) -> list[Entry]:
    """The entries of the directory; each member begins where the one before it ends."""
    entries: list[Entry] = []
    position = offset = 0
    while position < len(directory):
        if directory[position : position + 4] != b"PK\1\2" or position + _DIRECTORY.size > len(directory):
            difference = (
                "its directory is not where its end says: it is damaged, or bytes were added or removed before it"
            )
            raise PackRefused(_fault(difference))
        fields = _DIRECTORY.unpack_from(directory, position)
        flags, method, crc, stored_size, size, name_length, extra_length = fields[3:5] + fields[7:12]
        position += _DIRECTORY.size
        name = directory[position : position + name_length].decode("ascii", "backslashreplace")
        extra = directory[position + name_length : position + name_length + extra_length]
        position += name_length + extra_length
        if size == stored_size == _FULL and len(extra) >= 20:
            (size,) = struct.unpack_from("<Q", extra, 4)
            stored_size = size
        problem = _problem(name, flags, method, attributes=fields[15], is_stored=stored_size == size)
        if problem is None and any(name == entry.name for entry in entries):
            problem = "is there twice"
        if problem is not None:
            raise PackRefused(_fault(f"member {name[:MAX_NAME]!r} {problem}"))
        entries.append(Entry(name, size, crc, offset))
        offset = entries[-1].end
    return entries


def _problem(name: str, flags: int, method: int, *, attributes: int, is_stored: bool) -> str | None:
    """What a member has that no member of a pack has, in words."""
    if not NAME.fullmatch(name) or len(name) > MAX_NAME:
        return "has a name that no member of a pack can have"
    if flags & 1:
        return "is encrypted"
    if method != 0 or not is_stored:
        return "is compressed"
    if attributes != _ATTRIBUTES:
        return "is a link, a folder, or has other attributes than a plain file"
    return None


def _fault(difference: str) -> Fault:
    return Fault(LAYOUT, difference)
