"""HTTP connections with a deadline for the whole response.

A timeout for each read does not limit a request: a server that sends a byte of a header every few seconds, or ``100
Continue`` without end, never exceeds it. Here the timeout of every read is the time left until the deadline.
"""

import http.client
import io
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import SplitResult, urlunsplit

import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import get_auth_from_url, prepend_scheme_if_needed, urldefragauth

from monitor.errors import BadConfiguration

_thread: Final = threading.local()


@contextmanager
def request_deadline(deadline: float) -> Iterator[None]:
    """Limit the requests that this thread makes within the block to a time by ``time.monotonic``. [s]

    After it connecting and reading raise ``TimeoutError``, or the error that urllib3 converts it to.
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
    """Bytes from a server; reading raises ``TimeoutError`` after the deadline."""

    def __init__(self, sock: Any, deadline: float) -> None:
        self._sock, self._deadline = sock, deadline
        self._read_timeout = sock.gettimeout()
        self._bytes = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the response is not complete at the deadline")
        self._sock.settimeout(left if self._read_timeout is None else min(left, self._read_timeout))
        count: int | None = self._bytes.readinto(buffer)
        return count

    def close(self) -> None:
        self._bytes.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """A response whose status line, interim responses, headers and body are read by the deadline."""

    def __init__(self, sock: Any, *arguments: Any, **more: Any) -> None:
        super().__init__(sock, *arguments, **more)
        deadline = _deadline()
        if deadline is not None:
            plain = self.fp
            self.fp = io.BufferedReader(_Incoming(sock, deadline))
            plain.close()


class _DeadlineMixin:
    """A connection that is made by the deadline, including TLS but not the look-up of the host name."""

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
        left = max(deadline - time.monotonic(), 0.001)  # 0 would mean non-blocking
        return left if seconds is None else min(seconds, left)


class _HTTPConnection(_DeadlineMixin, urllib3.connection.HTTPConnection):
    pass


class _HTTPSConnection(_DeadlineMixin, urllib3.connection.HTTPSConnection):
    pass


class HTTPPool(urllib3.HTTPConnectionPool):
    """Connections to a host that obey :func:`request_deadline`."""

    ConnectionCls = _HTTPConnection


class HTTPSPool(urllib3.HTTPSConnectionPool):
    """Encrypted connections to a host that obey :func:`request_deadline`."""

    ConnectionCls = _HTTPSConnection


def proxied_pool(proxy: str, scheme: str, host: str, port: int, **more: Any) -> urllib3.HTTPConnectionPool:
    """Connections to a host through an HTTP proxy that obey :func:`request_deadline`; https goes through a tunnel.

    The address of the proxy may have a user and password. `more` are arguments of the pool. Raises BadConfiguration if
    the address is not that of an HTTP proxy.
    """
    login = ":".join(get_auth_from_url(proxy)).strip(":")
    try:
        manager = urllib3.ProxyManager(
            urldefragauth(prepend_scheme_if_needed(proxy, "http")),
            proxy_headers=urllib3.make_headers(proxy_basic_auth=login or None), **more,
        )  # fmt: skip
    except (ValueError, urllib3.exceptions.HTTPError) as error:
        msg = f"the proxy of the environment (variable {scheme.upper()}_PROXY) is not an http:// or https:// address"
        raise BadConfiguration(msg) from error
    manager.pool_classes_by_scheme = _POOLS
    return manager.connection_from_host(host, port, scheme)


def open_url(
    pool: urllib3.HTTPConnectionPool, method: str, parts: SplitResult, *, body: bytes | None,
    headers: Mapping[str, str], timeout: urllib3.Timeout,
) -> urllib3.BaseHTTPResponse:  # fmt: skip
    """Send a request to the address of a pool, once: no retry and no redirect; the body is read by the caller.

    `pool` connects to the IP address that was checked, or through a proxy; ``Host`` is that of the address. Raises
    ``urllib3.exceptions.HTTPError`` without a response.
    """
    whole = pool.proxy is not None and parts.scheme == "http"  # what a proxy without a tunnel needs
    origin = (parts.scheme, parts.netloc) if whole else ("", "")
    return pool.urlopen(
        method, urlunsplit((*origin, parts.path or "/", parts.query, "")), body=body,
        headers={"Host": parts.netloc, "User-Agent": "regrowth-monitor", **headers}, redirect=False, retries=False,
        preload_content=False, decode_content=False, assert_same_host=False, timeout=timeout,
    )  # fmt: skip


class DeadlineAdapter(HTTPAdapter):
    """Adapter for a session of ``requests`` whose connections obey :func:`request_deadline`.

    A proxy of the environment is used for https only, as a tunnel: by http it would see a token.
    """

    def init_poolmanager(self, *arguments: Any, **more: Any) -> None:
        """Use the connection pools of this module."""
        super().init_poolmanager(*arguments, **more)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def send(self, request: Any, *arguments: Any, **more: Any) -> Any:
        """Send a request."""
        if not request.url.startswith("https:"):
            more["proxies"] = {}
        return super().send(request, *arguments, **more)

    def proxy_manager_for(self, proxy: str, **more: Any) -> Any:
        """Use the connection pools of this module for a proxy."""
        manager = super().proxy_manager_for(proxy, **more)
        manager.pool_classes_by_scheme = _POOLS
        return manager


_POOLS: Final = {"http": HTTPPool, "https": HTTPSPool}
