"""Open local terrain and rain files without trusting their names or content.

GDAL and netCDF recognise files by content and follow addresses: a list of remote files may be named ``dem.tif``, and a
path may be an ``http:`` address. So they only get regular files of this machine whose first bytes match the expected
format; the driver is fixed, and no side-car file is read.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import rasterio

from monitor.errors import BadData
from monitor.files import open_plain_file

GEOTIFF_MAGIC: Final = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
"""First bytes of a TIFF or BigTIFF, of either byte order."""
NETCDF_MAGIC: Final = (b"CDF\x01", b"CDF\x02", b"CDF\x05", b"\x89HDF\r\n\x1a\n")
"""First bytes of a NetCDF file, classic or version 4."""
_NO_SIDECARS: Final = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    "GTIFF_IGNORE_READ_ERRORS": "NO",
}
"""GDAL options that keep side-car files out: an ``.aux.xml`` can name any file as overviews."""


def plain_file(path: Path, magic: tuple[bytes, ...], kind: str) -> Path:
    """Return the absolute path, after checking that it is a regular file of this machine and of the expected format.

    Parameters
    ----------
    path : Path
        Path of the file.
    magic : tuple of bytes
        First bytes that a file of the format `kind` may have; empty: any.

    Raises
    ------
    BadData
        It is an address, a driver name, a folder, a pipe, unreadable, or a file of another format.
    """
    name = os.fspath(path)
    if name.startswith("/vsi") or re.match(r"[A-Za-z][A-Za-z0-9+.-]+:|<", name):
        msg = f"{name[:120]!r} is an address or a driver's name; give the path of a {kind} on this machine"
        raise BadData(msg)
    with open_plain_file(path) as file:
        start = file.read(16)
    if magic and not start.startswith(magic):
        msg = f"{path} is no {kind}: it starts with {start[:8]!r}"
        raise BadData(msg)
    return path.absolute()


def geotiff_paths(path: Path) -> list[Path]:
    """Return the GeoTIFFs of a folder, sorted by name, or the single file.

    Raises
    ------
    BadData
        There is none, or a file with the name of one is not a GeoTIFF.
    """
    if not path.is_dir():
        return [plain_file(path, GEOTIFF_MAGIC, "GeoTIFF")]
    paths = sorted(file for file in path.iterdir() if file.suffix.lower() in (".tif", ".tiff"))
    if not paths:
        msg = f"{path} holds no GeoTIFF (.tif)"
        raise BadData(msg)
    return [plain_file(file, GEOTIFF_MAGIC, "GeoTIFF") for file in paths]


@contextmanager
def open_geotiff(path: Path) -> Iterator[Any]:
    """Open a path of :func:`geotiff_paths` with rasterio, for reading.

    Raises
    ------
    BadData
        It cannot be opened, or data read from it in the ``with`` block is damaged.
    """
    try:
        with rasterio.Env(**_NO_SIDECARS), rasterio.open(path, driver="GTiff") as file:
            yield file
    except rasterio.errors.RasterioError as error:
        msg = f"{path} cannot be read as GeoTIFF ({error}); it may be cut short: fetch it again"
        raise BadData(msg) from error
