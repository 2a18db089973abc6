"""Limits for requests: how large, how slow, and how many at a time. All memory that they take is bounded.

A request beyond a limit is refused, which the server answers by a notice and a status of HTTP.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Final

from starlette.requests import Request

MAX_BODY_BYTES: Final = 48_000_000  # largest request [byte]
MAX_SHORT_BYTES: Final = 65_536  # largest request that takes no place of an upload: a form without photos [byte]
MAX_BODY_SECONDS: Final = 600  # longest time for a request to arrive [s]
SLOWEST_RATE: Final = 2000  # slowest upload that is waited for, less than any network for phones has [byte/s]
SLOW_SECONDS: Final = 20  # time before an upload has to be as fast as that [s]
PLACE_WAIT: Final = 60  # longest time to wait for one of a limited number of places [s]
MAX_DISCARDED_BYTES: Final = 100_000_000  # read of a refused request: a browser shows no answer before it has sent all


class Why(StrEnum):
    """Why a request is refused: names of notices in the catalogue."""

    INVALID = "invalid"
    EXPIRED = "expired"
    PERSONAL_EXPIRED = "personal_expired"
    REVOKED = "revoked"
    USED = "used"
    CLOSED = "closed"
    UNREADABLE = "unreadable"
    TOO_LARGE = "too_large"
    TOO_SLOW = "too_slow"
    UNAVAILABLE = "unavailable"


STATUS: Final = {  # HTTP status of the answer
    Why.INVALID: 403, Why.EXPIRED: 403, Why.PERSONAL_EXPIRED: 403, Why.REVOKED: 403, Why.USED: 403, Why.CLOSED: 410,
    Why.UNREADABLE: 400, Why.TOO_LARGE: 413, Why.TOO_SLOW: 408, Why.UNAVAILABLE: 503,
}  # fmt: skip


class Refusal(Exception):
    """A request is refused; `retry_after` is when it may be sent again. [s]"""

    def __init__(self, why: Why, *, retry_after: int | None = None) -> None:
        super().__init__(why)
        self.why, self.retry_after = why, retry_after


async def limited_body(request: Request, most: int = MAX_BODY_BYTES) -> AsyncGenerator[bytes]:
    """Content of a request, in pieces; raises Refusal if it has more than `most` bytes, or is too slow."""
    if int(request.headers.get("content-length") or 0) > most:
        raise Refusal(Why.TOO_LARGE)
    now = asyncio.get_running_loop().time
    start, received, pieces = now(), 0, request.stream()
    while True:
        allowed = min(SLOW_SECONDS + received / SLOWEST_RATE, MAX_BODY_SECONDS)
        try:
            async with asyncio.timeout_at(start + allowed):
                piece = await anext(pieces)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise Refusal(Why.TOO_SLOW) from None
        received += len(piece)
        if received > most:
            raise Refusal(Why.TOO_LARGE)
        yield piece


def is_short(request: Request) -> bool:
    """Whether a request states that it is too short for photos: it never waits behind uploads."""
    length = request.headers.get("content-length", "")
    return length.isdecimal() and int(length) <= MAX_SHORT_BYTES and "transfer-encoding" not in request.headers


async def discard_body(request: Request) -> None:
    """Read what is left of a request that is refused, within the limits."""
    try:
        async for _ in limited_body(request, MAX_DISCARDED_BYTES):
            pass
    except (Refusal, RuntimeError):  # RuntimeError: it was read to its end already
        pass


@asynccontextmanager
async def one_of(places: asyncio.Semaphore) -> AsyncIterator[None]:
    """One of a limited number of places, for which a request may have to wait."""
    try:
        async with asyncio.timeout(PLACE_WAIT):
            await places.acquire()
    except TimeoutError as error:
        raise Refusal(Why.UNAVAILABLE, retry_after=PLACE_WAIT) from error
    try:
        yield
    finally:
        places.release()
