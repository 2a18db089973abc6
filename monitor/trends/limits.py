"""Limits on cubes that nobody vouches for: what their files are, and how large they say that they are.

A file of a few bytes can state any size, and compressed values can be a thousand times smaller than what they become.
All of this is checked before a value is read.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from monitor.errors import BadData

MAX_BYTES: Final = 2**40
"""Maximum size of a variable, not compressed. [byte]"""
MAX_SIDE: Final = 5_000_000
"""Maximum length of a dimension: 8 m pixels around the earth. [pixel]"""
MAX_DATES: Final = 100_000
"""Maximum number of dates: hours of eleven years."""
SMALL_BYTES: Final = 2**28
"""A cube of this size may be compressed as it likes: it is read in about a second. [byte]"""
MAX_RATIO: Final = 400
"""Maximum size of values by that of the files that hold them. Cubes reach 100 if most of their area has no values; what
is made to exhaust a machine reaches 1000. [1]"""
MAX_SPARSE_RATIO: Final = 10_000
"""The same, with the parts of a Zarr store that are missing counted as values. [1]"""
MAX_SMALL_CHUNKS: Final = 100_000
"""Maximum number of chunks that are smaller than :data:`SMALL_CHUNK`: each takes some time, whatever its size."""
SMALL_CHUNK: Final = 4096
"""Size of a chunk. [byte]"""
MAX_DEPTH: Final = 24
"""Maximum depth of folders in a Zarr store: groups, an array, and a folder for each dimension."""
MAX_METADATA: Final = 2**24
"""Maximum size of a file of metadata of a Zarr store. [byte]"""


def plain_files(folder: Path) -> dict[str, int]:
    """Sizes of all files below a folder, by their names from there [byte].

    Raises
    ------
    BadData
        There is a link, which may lead to any file, a pipe, a socket or a device, or a very deep folder.
    """
    sizes: dict[str, int] = {}
    folders = [("", 0)]
    while folders:
        name, depth = folders.pop()
        with os.scandir(folder / name) as entries:
            for entry in entries:
                inside = f"{name}/{entry.name}" if name else entry.name
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    sizes[inside] = status.st_size
                    continue
                refuse_special(folder / inside, status.st_mode)
                if depth >= MAX_DEPTH:
                    msg = f"{folder / inside}: a folder lies deeper than in any cube; write the cube again"
                    raise BadData(msg)
                folders.append((inside, depth + 1))
    return sizes


def refuse_special(path: Path, mode: int) -> None:
    """Refuse what is neither a plain file nor a folder, by its mode."""
    if stat.S_ISLNK(mode):
        msg = (
            f"{path} is a link, which may lead to any file; put the file itself there (cp -L copies what links lead to)"
        )
        raise BadData(msg)
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        msg = f"{path} is a pipe, a socket or a device, not a file; remove it"
        raise BadData(msg)


def refuse_large_dimensions(path: Path, sizes: Mapping[str, int]) -> None:
    """Refuse dimensions longer than those of any cube, by their sizes."""
    for name, size in sizes.items():
        if size > MAX_SIDE:
            msg = f"{path}: {name} has the length {size}, and at most {MAX_SIDE} is read; cut the cube"
            raise BadData(msg)


def refuse_exhausting(
    path: Path, name: str, size: int, stored: int, *, there: float = 1, chunk: int = SMALL_CHUNK
) -> None:
    """Refuse values that would exhaust the machine, and are not worth it.

    Parameters
    ----------
    path, name
        Cube and variable, for errors.
    size, stored : int
        Size of the values of the variable, and of the files that hold them. [byte]
    there : float
        Share of the values that is stored at all. [1]
    chunk : int
        Size of a chunk of the values. [byte]

    Raises
    ------
    BadData
        The values are too large, by themselves or by what is stored of them, or lie in very many small chunks.
    """
    if size > MAX_BYTES:
        msg = f"{path}: {name!r} has {_megabytes(size)}, and at most {_megabytes(MAX_BYTES)} are read; cut the cube"
        raise BadData(msg)
    if size > SMALL_BYTES:
        for what, values, most in (("values", size * there, MAX_RATIO), ("values and gaps", size, MAX_SPARSE_RATIO)):
            if values > most * stored:
                msg = (
                    f"{path}: {name!r} has {_megabytes(values)} of {what} in {_megabytes(stored)} of files, more than "
                    f"{most} times as much: it is damaged, or made to exhaust the machine. If it is neither, cut it to "
                    "the area that has values"
                )
                raise BadData(msg)
    if chunk < SMALL_CHUNK and size > chunk * MAX_SMALL_CHUNKS:
        msg = f"{path}: {name!r} lies in {size // max(chunk, 1)} chunks of {chunk} bytes; rechunk it into larger ones"
        raise BadData(msg)


def _megabytes(size: float) -> str:
    return f"{size / 1e6:.3g} MB" if size < 1e10 else f"{size / 1e9:,.0f} GB"
