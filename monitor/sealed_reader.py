"""Read arrays of NetCDF files that nobody vouches for, in a process that can open nothing but one of them at a time.

HDF5 follows what a file says: links to other files, datasets whose values lie in other files, filters loaded as
libraries; and a file made for it can crash the library, fill the memory or never end. This program, started by
:class:`monitor.sealed_netcdf.SealedFiles`, therefore first gives up its rights. Where the system has no Landlock, it
still can open one file only, which is the NetCDF file itself: while it is open, the system refuses every other.

The first line of standard input is JSON with ``files``, ``memory`` [byte] and ``seconds``; each further line is a
request for arrays: number of the file, names, first place, and place after the last one. It writes the values of the
arrays one after the other, each after a byte 0; or, after a byte 1, what is wrong, and ends. It imports little, so that
little is in memory and starting takes a moment only.
"""

import json
import os
import sys
from typing import Any

import netCDF4
import numpy as np

from monitor.rights import give_up_rights

MAX_VARIABLES = 64
MAX_MESSAGE = 1000
CHUNK_CACHE = 2**20
"""Chunks of an array that stay in memory. [byte]"""


class _Refused(Exception):
    """A file is not as it should be."""


def main() -> None:
    """Read the arrays that standard input asks for."""
    task = json.loads(sys.stdin.buffer.readline())
    netCDF4.set_chunk_cache(CHUNK_CACHE)
    _load_everything()
    paths = (file["path"] for file in task["files"])
    give_up_rights(memory=task["memory"], seconds=task["seconds"], files=1, reads=paths)
    opened: tuple[int, Any] | None = None
    out = sys.stdout.buffer
    try:
        for request in sys.stdin.buffer:
            number, names, first, stop = json.loads(request)
            file = task["files"][number]
            if opened is None or opened[0] != number:
                if opened is not None:
                    opened[1].close()
                opened = number, _open(file)
            for name in names:
                values = opened[1].variables[name][first:stop]
                out.write(b"\0" + np.ascontiguousarray(values, file["arrays"][name]["dtype"]).tobytes())
            out.flush()
    except _Refused as error:
        out.write(b"\1" + str(error).encode("utf-8", "replace")[:MAX_MESSAGE])
    except (OSError, RuntimeError, MemoryError, ValueError, TypeError, LookupError, AttributeError) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        what = f"it is damaged, refers to other files, or needs more memory than its arrays ({why})"
        out.write(b"\1" + what.encode("utf-8", "replace")[:MAX_MESSAGE])
    out.flush()


def _load_everything() -> None:
    """Write and read a small file in memory, since libraries load parts of themselves at first use."""
    file = netCDF4.Dataset("first.nc", "w", memory=1)
    file.createDimension("n", 2)
    file.createVariable("a", "u2", ("n",), zlib=True, shuffle=True, chunksizes=(1,))[:] = 1
    content = file.close()
    with netCDF4.Dataset("first.nc", "r", memory=content) as file:
        variable = file.variables["a"]
        np.ascontiguousarray(variable[0], "<u2").tobytes(), variable.chunking(), variable.filters()
    "".encode("ascii", "replace"), os.strerror(24).encode("utf-8", "replace")


def _open(file: dict[str, Any]) -> Any:
    """Open a file whose arrays are as they are expected to be; nothing of them is read yet."""
    data = netCDF4.Dataset(file["path"], "r")
    if data.groups or data.cmptypes or data.vltypes or data.enumtypes or len(data.variables) > MAX_VARIABLES:
        msg = "it has groups, types of its own or too many variables"
        raise _Refused(msg)
    data.set_auto_maskandscale(False)
    data.set_auto_chartostring(False)
    data.set_always_mask(False)
    for name, expected in file["arrays"].items():
        variable = data.variables.get(name)
        if variable is None:
            msg = f"it has no variable {name}"
            raise _Refused(msg)
        chunks = variable.chunking() if variable.ndim else "contiguous"
        filters = variable.filters() or {}
        used = sorted(kind for kind, on in filters.items() if on and kind != "complevel")
        have = {
            "dtype": variable.dtype.str if isinstance(variable.dtype, np.dtype) else str(variable.dtype),
            "shape": list(variable.shape),
            "chunks": None if chunks == "contiguous" else list(chunks),
            "filters": [] if chunks == "contiguous" else used,
        }
        for key, value in expected.items():
            if have[key] != value:
                msg = f"{name} has {key} {have[key]}, not {value}"
                raise _Refused(msg)
    return data


if __name__ == "__main__":
    main()
