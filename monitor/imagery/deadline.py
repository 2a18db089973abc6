"""HTTP connections whose answers come by a deadline, however slowly a server sends them.

A time limit on each read does not bound a request: a server that sends a byte of a header every few seconds, or ``100
Continue`` without end, keeps within it for ever. Here what is left until the deadline is the limit of every read.
"""

import http.client
import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import urllib3
from requests.adapters import HTTPAdapter

_thread: Final = threading.local()


@contextmanager
def finished_by(deadline: float) -> Iterator[None]:
    """Within the block, requests of this thread through the connections of this module end by a deadline.

    Parameters
    ----------
    deadline : float
        By ``time.monotonic``. After it connecting and reading raise ``TimeoutError``, or what urllib3 makes of it. [s]
    """
    before = _deadline()
    _thread.deadline = deadline
    try:
        yield
    finally:
        _thread.deadline = before


def _deadline() -> float | None:
    return getattr(_thread, "deadline", None)


class _Incoming(io.RawIOBase):
    """Bytes from a server, until the deadline."""

    def __init__(self, sock: Any, deadline: float) -> None:
        self._sock, self._ends = sock, deadline
        self._silence = sock.gettimeout()
        self._bytes = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._ends - time.monotonic()
        if left <= 0:
            msg = "the answer is not whole at the deadline"
            raise TimeoutError(msg)
        self._sock.settimeout(left if self._silence is None else min(left, self._silence))
        taken: int | None = self._bytes.readinto(buffer)
        return taken

    def close(self) -> None:
        self._bytes.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """An answer of which status line, interim answers, headers and body are all read by the deadline."""

    def __init__(self, sock: Any, *arguments: Any, **more: Any) -> None:
        super().__init__(sock, *arguments, **more)
        deadline = _deadline()
        if deadline is not None:
            plain = self.fp
            self.fp = io.BufferedReader(_Incoming(sock, deadline))
            plain.close()


class _Timed:
    """A connection that is made by the deadline, TLS included. The system asks name servers, at its own pace."""

    response_class: Any = _Response
    timeout: float | None

    def _new_conn(self) -> Any:
        self.timeout = self._limit(self.timeout)
        sock = super()._new_conn()  # type: ignore[misc]
        sock.settimeout(self._limit(self.timeout))  # for TLS
        return sock

    def _limit(self, seconds: float | None) -> float | None:
        deadline = _deadline()
        if deadline is None:
            return seconds
        left = max(deadline - time.monotonic(), 0.001)  # 0 would mean not to wait at all
        return left if seconds is None else min(seconds, left)


class _HTTPConnection(_Timed, urllib3.connection.HTTPConnection):
    pass


class _HTTPSConnection(_Timed, urllib3.connection.HTTPSConnection):
    pass


class HTTPPool(urllib3.HTTPConnectionPool):
    """Connections to a host, held to :func:`finished_by`."""

    ConnectionCls = _HTTPConnection


class HTTPSPool(urllib3.HTTPSConnectionPool):
    """The same, encrypted."""

    ConnectionCls = _HTTPSConnection


class Adapter(HTTPAdapter):
    """The same for a session of ``requests``."""

    def init_poolmanager(self, *arguments: Any, **more: Any) -> None:
        """Connect through the pools above."""
        super().init_poolmanager(*arguments, **more)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **more: Any) -> Any:
        """Also by way of a proxy."""
        manager = super().proxy_manager_for(proxy, **more)
        manager.pool_classes_by_scheme = _POOLS
        return manager


_POOLS: Final = {"http": HTTPPool, "https": HTTPSPool}
