"""Files beside the imagery, terrain and rain, opened without trusting their names or their content.

GDAL and netCDF tell a file by its content and follow addresses: a list of remote files may be called ``dem.tif``, and
a path may be an ``http:`` address. So nothing is handed to them that is not a plain file of this machine whose first
bytes are those of its kind; the driver is fixed, and no file beside it is read.
"""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import rasterio

from monitor.errors import BadData

GEOTIFF: Final = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
"""First bytes of a TIFF, small and large, of either byte order."""
NETCDF: Final = (b"CDF\x01", b"CDF\x02", b"CDF\x05", b"\x89HDF\r\n\x1a\n")
"""First bytes of a NetCDF, classic and version 4."""
_ALONE: Final = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    "GTIFF_IGNORE_READ_ERRORS": "NO",
}
"""No side-car may add to a file: an ``.aux.xml`` can name any other one as its overviews."""


def plain_file(path: Path, heads: tuple[bytes, ...], kind: str) -> Path:
    """The path, once it is known to be a plain file of this machine that starts as its kind does.

    Parameters
    ----------
    path : Path
        Of the file.
    heads : tuple of bytes
        What a file of the kind starts with; empty: anything.
    kind : str
        What it should be, for the message.

    Raises
    ------
    BadData
        An address, a driver's name, a folder, a pipe, or a file of another kind.
    """
    name = os.fspath(path)
    if name.startswith("/vsi") or re.match(r"[A-Za-z][A-Za-z0-9+.-]+:|<", name):
        msg = f"{name[:120]!r} is an address or a driver's name; give the path of a {kind} on this machine"
        raise BadData(msg)
    try:
        # O_NONBLOCK: opening a pipe that nobody writes to would wait for ever.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                msg = f"{path} is not a plain file; give a {kind}"
                raise BadData(msg)
            start = file.read(16)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        why = getattr(error, "strerror", None) or error
        msg = f"{name[:120]!r} cannot be read ({why}); check the path and who may read it"
        raise BadData(msg) from error
    if heads and not start.startswith(heads):
        msg = f"{path} is no {kind}: it starts with {start[:8]!r}"
        raise BadData(msg)
    return path.absolute()


def tiffs(path: Path) -> list[Path]:
    """The GeoTIFFs of a folder by name, or the one file.

    Raises
    ------
    BadData
        There is none, or something called one is not.
    """
    if not path.is_dir():
        return [plain_file(path, GEOTIFF, "GeoTIFF")]
    found = sorted(one for one in path.iterdir() if one.suffix.lower() in (".tif", ".tiff"))
    if not found:
        msg = f"{path} holds no GeoTIFF (.tif)"
        raise BadData(msg)
    return [plain_file(one, GEOTIFF, "GeoTIFF") for one in found]


@contextmanager
def opened_tiff(path: Path) -> Iterator[Any]:
    """A GeoTIFF found by :func:`tiffs`, open for reading.

    Raises
    ------
    BadData
        It cannot be opened, or what is read of it in the ``with`` block is damaged.
    """
    try:
        with rasterio.Env(**_ALONE), rasterio.open(path, driver="GTiff") as file:
            yield file
    except rasterio.errors.RasterioError as error:
        msg = f"{path} cannot be read as GeoTIFF ({error}); it may be cut short: fetch it again"
        raise BadData(msg) from error
