"""Zip archives: KMZ and zipped shapefiles. Nothing is unpacked to disk, and nothing that was not asked for."""

import io
import stat
import zipfile
import zlib
from pathlib import PurePosixPath
from typing import Final

from monitor.sites.formats.feature import MAX_BYTES, FileRefused, too_big

MAX_MEMBERS: Final = 1000
"""Members of an archive. A KMZ has a picture or two, a shapefile ten parts."""
_WANTED: Final = (".kml", ".shp", ".shx", ".dbf", ".prj", ".cpg")
_DIRECTORY_ENTRY: Final = b"PK\x01\x02"


def members(data: bytes, *, name: str) -> dict[PurePosixPath, bytes]:
    """Content of the files of an archive that can belong to a registry, by their names in it.

    Raises
    ------
    FileRefused
        Damaged, encrypted, too large once unpacked, or with links or names that lead out of it.
    """
    if data.count(_DIRECTORY_ENTRY) > MAX_MEMBERS:
        raise _unsafe(message=f"{name} holds more than {MAX_MEMBERS} files")
    found: dict[PurePosixPath, bytes] = {}
    left = MAX_BYTES
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            for entry in entries:
                _refuse_hostile(entry, name)
            for entry in entries:
                path = PurePosixPath(entry.filename)
                if path.suffix.lower() not in _WANTED or "__MACOSX" in path.parts:
                    continue
                with archive.open(entry) as member:
                    found[path] = member.read(left + 1)  # what it says of its size may be a lie
                left -= len(found[path])
                if left < 0:
                    raise too_big(name, "it unpacks to more")
    # NotImplementedError: of zipfile, for a version, patch or encryption that it does not read.
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, OverflowError, ValueError) as error:
        raise FileRefused(
            code="NOT_READABLE", message=f"{name} is a damaged archive: {error}", fix="Pack the files again."
        ) from None
    return found


def _refuse_hostile(entry: zipfile.ZipInfo, name: str) -> None:
    shown = repr(entry.orig_filename[:80])
    path = PurePosixPath(entry.filename)
    if path.is_absolute() or ".." in path.parts or set(entry.orig_filename) & set("\\:\0"):
        raise _unsafe(message=f"{name} holds a name that leads out of it: {shown}")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise _unsafe(message=f"{name} holds a link: {shown}")
    if entry.flag_bits & 1:
        raise _unsafe(message=f"{name} is encrypted: {shown}")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _unsafe(message=f"{name} is packed in a way that is not read: {shown}")


def _unsafe(*, message: str) -> FileRefused:
    return FileRefused(
        code="ARCHIVE_UNSAFE", message=message, fix="Pack the files again, by themselves and without a password."
    )
