"""Arrays kept in a file that is written over in place, and read as they were last committed.

A new file takes ten times as long to write as an old one to write over: pages must be found for it, and those of the
old one given back. So a file has two places, of which the one with the older content is written over. The head of a
place numbers it, tells what it holds, and carries a checksum; it is written after the content. Of the places that
are whole the one with the higher number counts. A write that is cut short leaves the other one as it was. Nothing is
forced to the disk: if the machine itself fails and both places are torn, their checksums tell.
"""

import json
import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import google_crc32c
import numpy as np

HEAD: Final = 4096
"""Room for the head of a place; content begins on a page. [byte]"""

VERSION: Final = 1
"""Of the layout: a file of another one counts as empty."""

GROWTH: Final = 1.25
"""Room is made for so many times the first content, or the first that is larger than the room."""


def load(path: Path) -> tuple[dict[str, Any], list[np.ndarray]] | None:
    """What was last committed to a file.

    Parameters
    ----------
    path : Path

    Returns
    -------
    (dict, list of arrays) or None
        As given to :func:`commit`; None where no place is whole. The arrays are read-only and are the file itself:
        they hold until the second commit from then on.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            for head in sorted(_heads(file.fileno()), key=lambda head: -head["number"]):
                start, arrays = _start(head["place"], _room(size)), []
                shapes = [(np.dtype(kind), tuple(shape)) for kind, shape in head["arrays"]]
                length = sum(_padded(kind.itemsize * prod(shape)) for kind, shape in shapes)
                if length > _room(size):
                    continue
                if length:
                    flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
                    content = mmap.mmap(file.fileno(), length, flags=flags, prot=mmap.PROT_READ, offset=start)
                    place = 0
                    for kind, shape in shapes:
                        arrays.append(np.frombuffer(content, kind, prod(shape), place).reshape(shape))
                        place += _padded(arrays[-1].nbytes)
                if [_check(array) for array in arrays] == head["checks"]:
                    return head["told"], arrays
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def commit(path: Path, told: Mapping[str, Any], arrays: Sequence[np.ndarray]) -> None:
    """Put arrays in the place of those that were committed before the last.

    Parameters
    ----------
    path : Path
        Made if need be, and made anew if the arrays need more room than it has.
    told : mapping
        Kept beside them: plain values, in less than 4 kB together with the shapes of the arrays.
    arrays : sequence of arrays

    Raises
    ------
    OSError
        The file can not be written.
    ValueError
        `told` is too long.
    """
    plain = [np.ascontiguousarray(array) for array in arrays]
    content: dict[str, Any] = {
        "told": dict(told),
        "arrays": [(array.dtype.str, array.shape) for array in plain],
        "checks": [_check(array) for array in plain],
    }
    length = sum(_padded(array.nbytes) for array in plain)
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        room = _room(os.fstat(file).st_size)
        if room >= length and room:
            numbers = {head["place"]: head["number"] for head in _heads(file)}
            place = min((0, 1), key=lambda place: numbers.get(place, -1))
            _write(file, place, room, content | {"number": max(numbers.values(), default=0) + 1}, plain)
            return
    finally:
        os.close(file)
    beside = path.with_name(f".{path.name}.part")
    file = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        room = _padded(int(GROWTH * length) + 1)
        os.ftruncate(file, _start(2, room))
        _write(file, 0, room, content | {"number": 1}, plain)
    finally:
        os.close(file)
    beside.replace(path)


def _padded(size: int) -> int:
    """Size in whole pages, on which a map of a file must begin."""
    return -(-size // HEAD) * HEAD


def _room(size: int) -> int:
    """Room of each place in a file of this size; 0 where there is none."""
    return max(0, (size - 2 * HEAD) // 2 // HEAD * HEAD)


def _start(place: int, room: int) -> int:
    return 2 * HEAD + place * room


def _heads(file: int) -> Iterator[dict[str, Any]]:
    for place in (0, 1):
        text, _, check = os.pread(file, HEAD, place * HEAD).rstrip(b"\0").rpartition(b"\n")
        if not text or check != b"%08x" % crc32(text):
            continue
        head = json.loads(text)
        if head["version"] == VERSION:
            yield head | {"place": place}


def _write(file: int, place: int, room: int, head: Mapping[str, Any], arrays: Sequence[np.ndarray]) -> None:
    text = json.dumps({"version": VERSION, **head}, ensure_ascii=False).encode()
    whole = text + b"\n%08x" % crc32(text)
    if len(whole) > HEAD:
        msg = f"what is told beside the arrays takes {len(whole):,} bytes, more than {HEAD:,}"
        raise ValueError(msg)
    start = _start(place, room)
    for array in arrays:
        left = memoryview(array.reshape(-1).view(np.uint8))
        done = 0
        while done < left.nbytes:
            done += os.pwrite(file, left[done:], start + done)
        start += _padded(array.nbytes)
    os.pwrite(file, whole.ljust(HEAD, b"\0"), place * HEAD)


def _check(array: np.ndarray) -> int:
    return int(google_crc32c.value(array.reshape(-1).view(np.uint8)))
