"""Zip archives: KMZ and zipped shapefiles. Only known file types are unpacked, and only to memory."""

import io
import stat
import zipfile
import zlib
from pathlib import PurePosixPath
from typing import Final

from monitor.sites.formats.feature import MAX_BYTES, FileRefused, too_big

MAX_MEMBERS: Final = 1000  # largest number of members of an archive: a KMZ has a few pictures, a shapefile ten parts
_SUFFIXES: Final = (".kml", ".shp", ".shx", ".dbf", ".prj", ".cpg")
_DIRECTORY_ENTRY: Final = b"PK\x01\x02"


def members(data: bytes, *, name: str) -> dict[PurePosixPath, bytes]:
    """Contents of the members of an archive that can belong to a registry, by path; `name` is for messages.

    FileRefused where it is damaged, encrypted or too large when unpacked, or has links or paths that lead out of it.
    """
    if data.count(_DIRECTORY_ENTRY) > MAX_MEMBERS:
        raise _unsafe(name, f"holds more than {MAX_MEMBERS} files")
    contents: dict[PurePosixPath, bytes] = {}
    remaining = MAX_BYTES
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            for entry in entries:
                _refuse_hostile(entry, name)
            for entry in entries:
                path = PurePosixPath(entry.filename)
                if path.suffix.lower() not in _SUFFIXES or "__MACOSX" in path.parts:
                    continue
                with archive.open(entry) as member:
                    contents[path] = member.read(remaining + 1)  # the stated size may be false
                remaining -= len(contents[path])
                if remaining < 0:
                    raise too_big(name, "it unpacks to more")
    # RuntimeError: zipfile does not support the version, compression or encryption of the archive
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError, OverflowError, ValueError) as error:
        raise FileRefused("NOT_READABLE", f"{name} is a damaged archive: {error}", "Pack the files again.") from None
    return contents


def _refuse_hostile(entry: zipfile.ZipInfo, name: str) -> None:
    shown = repr(entry.orig_filename[:80])
    path = PurePosixPath(entry.filename)
    if path.is_absolute() or ".." in path.parts or set(entry.orig_filename) & set("\\:\0"):
        raise _unsafe(name, f"holds a name that leads out of it: {shown}")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise _unsafe(name, f"holds a link: {shown}")
    if entry.flag_bits & 1:
        raise _unsafe(name, f"is encrypted: {shown}")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _unsafe(name, f"is compressed by an unsupported method: {shown}")


def _unsafe(name: str, what: str) -> FileRefused:
    return FileRefused("ARCHIVE_UNSAFE", f"{name} {what}", "Pack the files again, alone and without a password.")
