"""Write files so that a reader finds the old content or the new one, never a part; open files that may be anything."""

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from monitor.errors import BadData


def write_atomically(path: Path, content: bytes, *, lasting: bool = False) -> None:
    """Write a file in one atomic step, by renaming a temporary file. One writer at a time.

    `lasting` waits until the content is on the disk: for files that cannot be made again.

    Raises
    ------
    OSError
        The disk is full or the folder does not exist or cannot be written, or a link stands where the temporary file
        would be, which may lead anywhere; the old file is untouched.
    """
    temporary = path.with_name(f".{path.name}.part")  # that of a killed run is overwritten
    try:
        with open(temporary, "wb", opener=_without_links) as file:
            file.write(content)
            if lasting:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Yield a temporary path of the same suffix for a file or folder, which gets its name once it is complete.

    What had this name is replaced. What is written is deleted if the ``with`` block fails.

    Raises
    ------
    OSError
        The folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name[:100]}.") as folder:
        partial = Path(folder) / f"new{path.suffix}"
        yield partial
        if path.is_dir():
            path.rename(Path(folder) / "old")
        partial.replace(path)


def make_private_folder(folder: Path) -> None:
    """Create a folder that only this user can enter, whatever the umask; one that exists stays as it is.

    Raises
    ------
    OSError
        It cannot be created, or a file has its name.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def open_plain_file(path: Path) -> BinaryIO:
    """Open a file for reading that is no folder, pipe or device, or a link to such a file.

    Raises
    ------
    BadData
        It is one of these, does not exist or cannot be read.
    """
    shown = repr(str(path)[:200])
    # O_NONBLOCK: otherwise opening a pipe without a writer would wait for ever.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        raise BadData(f"there is no file {shown}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise BadData(f"{shown} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BadData(f"{shown} is not a plain file")
    return open(descriptor, "rb")


def _without_links(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)
