"""Refuse HDF5 files that refer to other files: the library would follow what they say, and read any file of the user.

The library itself is asked, by its functions in C, since the Python packages that the project uses do not show links.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import netCDF4  # noqa: F401 - its HDF5 is used

from monitor.errors import BadData

MAX_DEPTH: Final = 16
"""Maximum depth of groups; a deeper one may contain itself."""
MAX_OBJECTS: Final = 10_000
"""Maximum number of groups, variables and links of a file."""

# H5Lpublic.h, H5Dpublic.h, H5Ipublic.h
_FIRST_OWN_LINK: Final = 64
"""Kinds of links from here on are defined by an application; the first one leads to another file."""
_SOFT_LINK: Final = 1
_VIRTUAL: Final = 3
_GROUP, _DATASET = 2, 5
_MAX_NAME: Final = 1024


def refuse_references(path: Path) -> None:
    """Refuse an HDF5 file with links to other files, values in other files, or very many or deep groups.

    Files of another format are accepted.

    Raises
    ------
    BadData
        It has one; the message names the variable or group.
    """
    hdf5 = ctypes.CDLL(sys.modules["netCDF4._netCDF4"].__file__)  # it finds the functions of the HDF5 that netCDF4 uses
    for name in ("H5Fopen", "H5Oopen", "H5Dget_create_plist"):
        getattr(hdf5, name).restype = ctypes.c_int64
    quiet = ctypes.c_void_p()
    hdf5.H5Eset_auto2(ctypes.c_int64(0), quiet, quiet)
    file = ctypes.c_int64(hdf5.H5Fopen(str(path).encode(), 0, ctypes.c_int64(0)))
    if file.value < 0:
        return
    try:
        for count, (name, problem) in enumerate(_problems(hdf5, file, "", 0)):
            problem = problem or ("and others are more than a cube has" if count >= MAX_OBJECTS else "")
            if problem:
                msg = f"{path}: {name[:200]!r} {problem}; write the cube as one file"
                raise BadData(msg)
    finally:
        hdf5.H5Fclose(file)


def _problems(hdf5: Any, group: ctypes.c_int64, parent: str, depth: int) -> Iterator[tuple[str, str]]:
    """Name of each object below a group, and what is wrong with it, if anything."""
    # renamed when its result got a second version, whose first field is the same
    link_info = getattr(hdf5, "H5Lget_info_by_idx2", None) or hdf5.H5Lget_info_by_idx
    here, by_name, upwards, default = b".", 0, 0, ctypes.c_int64(0)
    content = (ctypes.c_int64 * 4)()  # H5G_info_t: the second field is the number of links
    if hdf5.H5Gget_info(group, content) < 0:
        yield parent, "cannot be read"
        return
    for at in range(content[1]):
        place = (group, here, by_name, upwards, ctypes.c_uint64(at))
        name, link = ctypes.create_string_buffer(_MAX_NAME), (ctypes.c_int * 32)()
        named = hdf5.H5Lget_name_by_idx(*place, name, ctypes.c_size_t(_MAX_NAME), default)
        shown = f"{parent}/{name.value.decode(errors='replace')}"
        if named < 0 or link_info(*place, link, default) < 0:
            yield shown, "cannot be read"
        elif link[0] >= _FIRST_OWN_LINK:
            yield shown, "is a link to another file, which is not followed"
        elif link[0] == _SOFT_LINK:
            yield shown, ""  # what it leads to is visited by its own name
        else:
            with _opened(hdf5, hdf5.H5Oopen(group, name, default)) as entry:
                kind = hdf5.H5Iget_type(entry)
                yield shown, _problem(hdf5, entry, kind, depth)
                if kind == _GROUP:
                    yield from _problems(hdf5, entry, shown, depth + 1)


def _problem(hdf5: Any, entry: ctypes.c_int64, kind: int, depth: int) -> str:
    if entry.value < 0:
        return "cannot be read"
    if kind == _GROUP and depth >= MAX_DEPTH:
        return "lies deeper than any cube, or contains itself"
    if kind != _DATASET:
        return ""
    with _opened(hdf5, hdf5.H5Dget_create_plist(entry)) as properties:
        if properties.value < 0:
            return "cannot be read"
        if hdf5.H5Pget_layout(properties) == _VIRTUAL:
            return "is a view of other files (a virtual dataset), which are not read"
        if hdf5.H5Pget_external_count(properties) > 0:
            return "has its values in another file, which is not read"
    return ""


@contextmanager
def _opened(hdf5: Any, number: int) -> Iterator[ctypes.c_int64]:
    """An object of the library by its number, closed at the end; negative: it cannot be opened."""
    entry = ctypes.c_int64(number)
    try:
        yield entry
    finally:
        if number >= 0:
            hdf5.H5Idec_ref(entry)
