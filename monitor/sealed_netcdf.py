"""Read NetCDF files that nobody vouches for, in a process of its own (:mod:`monitor.sealed_reader`)."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import numpy as np

from monitor.errors import BadData
from monitor.sealed_process import ENVIRONMENT, command

MEMORY: Final = 2**28
"""Memory of the process, beyond what it has when it starts and eight times the largest place of an array. [byte]"""
SECONDS: Final = 60
"""Computing time of the process, beyond what its arrays take. [s]"""
SPEED: Final = 10**7
"""Values are read at least so fast. [byte/s]"""


class Arrays(NamedTuple):
    """A NetCDF file whose arrays are read, and how each array must be."""

    path: Path
    arrays: Mapping[str, Mapping[str, Any]]
    """By name ``dtype`` (as numpy writes it), ``shape``, ``chunks`` (None: not in chunks) and ``filters``."""


class SealedFiles:
    """Files that are open for reading in a process that can do nothing else; it ends with the ``with`` block.

    Parameters
    ----------
    files : sequence of Arrays
        Nothing of a file is read unless its arrays are as stated here.
    """

    def __init__(self, files: Sequence[Arrays]) -> None:
        self._files = files
        arrays = [array for file in files for array in file.arrays.values()]
        largest = max((_size(array["dtype"], array["shape"][1:]) for array in arrays), default=0)
        size = sum(_size(array["dtype"], array["shape"]) for array in arrays)
        request = {
            "files": [{"path": str(file.path), "arrays": file.arrays} for file in files],
            "memory": MEMORY + 8 * largest,
            "seconds": SECONDS + size // SPEED,
        }
        self._process = subprocess.Popen(
            command("monitor.sealed_reader"), env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._ask(request)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()

    def read(self, file: int, names: Sequence[str], first: int, stop: int) -> list[np.ndarray]:
        """Values of some arrays of a file, in some places along their first dimension.

        Raises
        ------
        BadData
            The file is not as expected, or cannot be read; the message names it.
        IndexError
            There are fewer places.
        """
        for name in names:
            if not 0 <= first <= stop <= self._files[file].arrays[name]["shape"][0]:
                msg = f"{name} has no places {first} to {stop}"
                raise IndexError(msg)
        self._ask([file, names, first, stop])
        return [self._next_array(self._files[file], name, stop - first) for name in names]

    def _ask(self, what: Any) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(what).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the answer that follows says why

    def _next_array(self, file: Arrays, name: str, places: int) -> np.ndarray:
        answers = self._process.stdout
        assert answers is not None
        dtype, shape = file.arrays[name]["dtype"], (places, *file.arrays[name]["shape"][1:])
        state = answers.read(1)
        content = answers.read(_size(dtype, shape)) if state == b"\0" else b""
        if state != b"\0" or len(content) < _size(dtype, shape):
            why = answers.read(1000).decode("utf-8", "replace") if state == b"\1" else ""
            if not why and self._process.wait():
                why = f"the process that reads it was ended by signal {-self._process.returncode}"
            msg = f"{file.path.name} cannot be read as it should be: {why or 'it ends too early'}"
            raise BadData(msg)
        return np.frombuffer(content, dtype).reshape(shape)


def _size(dtype: str, shape: Sequence[int]) -> int:
    """Size of an array, not compressed. [byte]"""
    return np.dtype(dtype).itemsize * prod(shape)
