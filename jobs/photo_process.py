"""Decode the photo of a stranger in a process of its own, which has no secrets, and limits of time and memory.

    python -m jobs.photo_process <PHOTO

A malicious file that crashes a decoder, or keeps it busy, takes nothing else with it.
"""

import asyncio
import resource
import sys
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path
from typing import Final

import msgspec

from monitor.alerts.photos import Photo, PhotoProblem, PhotoRefused, read_photo

MAX_SECONDS: Final = 15
"""Time for one photo; the largest ones take under 2 s. [s]"""
MAX_MEMORY: Final = 1 << 30
"""Memory of the process; the largest photos take half of it. [byte]"""

_PACKAGES: Final = str(Path(__file__).resolve().parents[1])


class _Result(msgspec.Struct, kw_only=True):
    """What the process answers: a photo, or why there is none."""

    photo: Photo | None = None
    problem: PhotoProblem = PhotoProblem.UNREADABLE
    message: str = ""


async def read_photo_apart(content: bytes) -> Photo:
    """Decode a photo and encode it again, see :func:`monitor.alerts.photos.read_photo`.

    Raises
    ------
    PhotoRefused
        It has another format or too many pixels, is damaged or incomplete, or takes too much time or memory.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "jobs.photo_process"), stdin=PIPE, stdout=PIPE, stderr=DEVNULL,
        env={"PYTHONPATH": _PACKAGES},
    )  # fmt: skip
    try:
        async with asyncio.timeout(MAX_SECONDS):
            answer, _ = await process.communicate(content)
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


def _main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_SECONDS, MAX_SECONDS))
    try:
        result = _Result(photo=read_photo(sys.stdin.buffer.read()))
    except PhotoRefused as error:
        result = _Result(problem=error.problem, message=str(error))
    sys.stdout.buffer.write(msgspec.msgpack.encode(result))


if __name__ == "__main__":
    _main()
