"""Decode the photo of a stranger in a process of its own, without secrets, which can open nothing, within limits.

    python -m jobs.photo_process <PHOTO

A malicious file that crashes a decoder, or keeps it busy, takes nothing else with it.
"""

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import suppress
from io import BytesIO
from typing import Final

import msgspec
from PIL import ExifTags, Image

from monitor.alerts.photos import MAX_STORED_BYTES, Photo, PhotoProblem, PhotoRefused, read_photo
from monitor.rights import give_up_rights
from monitor.sealed_process import ENVIRONMENT, command

MAX_SECONDS: Final = 15
"""Time for one photo; the largest ones take under 2 s. [s]"""
MAX_MEMORY: Final = 1 << 30
"""Memory of the process, beyond that of its start; the largest photos take half of it. [byte]"""
_MAX_ANSWER: Final = 2 * MAX_STORED_BYTES


class _Result(msgspec.Struct, kw_only=True):
    """What the process answers: a photo, or why there is none."""

    photo: Photo | None = None
    problem: PhotoProblem = PhotoProblem.UNREADABLE
    message: str = ""


async def read_photo_sealed(content: bytes) -> Photo:
    """Decode a photo and encode it again, see :func:`monitor.alerts.photos.read_photo`.

    Raises
    ------
    PhotoRefused
        It has another format or too many pixels, is damaged or incomplete, or takes too much time or memory.
    """
    process = await asyncio.create_subprocess_exec(
        *command("jobs.photo_process"), stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=ENVIRONMENT
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(MAX_SECONDS):
            with suppress(BrokenPipeError, ConnectionResetError):  # the answer, or its absence, says why
                process.stdin.write(content)
                await process.stdin.drain()
            process.stdin.close()
            answer = b""
            while len(answer) <= _MAX_ANSWER and (part := await process.stdout.read(_MAX_ANSWER)):
                answer += part
        result = msgspec.msgpack.decode(answer, type=_Result)
    except (TimeoutError, msgspec.MsgspecError) as error:
        msg = "the photo takes too much time or memory to decode"
        raise PhotoRefused(PhotoProblem.UNREADABLE, msg) from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if result.photo is None:
        raise PhotoRefused(result.problem, result.message)
    return result.photo


def _load_everything() -> None:
    """Read a small photo of each format, since libraries load parts of themselves at first use."""
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif).update(
        {ExifTags.Base.DateTimeOriginal: "2026:06:01 09:30:00", ExifTags.Base.OffsetTimeOriginal: "+08:00"}
    )
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (39.0, 0.0, 0.0), 3: "E", 4: (103.0, 0.0, 0.0)})
    for kind in ("JPEG", "PNG", "WEBP"):
        buffer = BytesIO()
        Image.new("RGBA" if kind == "PNG" else "RGB", (8, 8)).save(buffer, kind, exif=exif)
        read_photo(buffer.getvalue())


def _main() -> None:
    _load_everything()
    give_up_rights(memory=MAX_MEMORY, seconds=MAX_SECONDS)
    try:
        result = _Result(photo=read_photo(sys.stdin.buffer.read()))
    except PhotoRefused as error:
        result = _Result(problem=error.problem, message=str(error))
    sys.stdout.buffer.write(msgspec.msgpack.encode(result))


if __name__ == "__main__":
    _main()
