"""HTTP requests to the addresses that a catalogue names, within limits that the catalogue cannot change.

Every address is checked by :mod:`monitor.imagery.addresses`, also after each redirect, and a connection is made to the
very IP address that was checked, or through the proxy that the environment names (``HTTP_PROXY``, ``HTTPS_PROXY``,
``NO_PROXY``), which looks the name up again. A response is read up to a maximum size and a deadline, which covers
connection, headers, body and redirects together.
"""

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urljoin, urlsplit

import structlog
import urllib3
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies, select_proxy
from urllib3.exceptions import HTTPError, IncompleteRead, NewConnectionError

from monitor.errors import MonitorError, TryLater
from monitor.imagery.addresses import AllowList, display_address, endpoint, is_remote, local_path, parse_url
from monitor.imagery.deadline import HTTPPool, HTTPSPool, open_url, proxied_pool, request_deadline
from monitor.imagery.fetch_errors import (
    AccessDenied,
    FetchRefused,
    NoAnswer,
    NotFound,
    RequestRejected,
    TooLarge,
    Truncated,
)

log = structlog.get_logger()

REQUEST_BUDGET: Final = 90.0  # longest total time of one request, including retries and waits [s]
CONNECT_TIMEOUT: Final = 10.0  # longest time to connect [s]
READ_TIMEOUT: Final = 20.0  # longest time without a byte [s]
FIRST_RETRY_WAIT: Final = 0.5  # wait before the first retry, doubled for each further one, unless the server asks [s]
MAX_RETRY_WAIT: Final = 16.0  # longest wait before a retry, unless the server names one [s]
BLOCKED_FOR: Final = 600.0  # time without requests to an address or host that gave no answer [s]
SHORT_BUDGET: Final = 10.0  # budget of a request to a host that gave no answer for another address [s]
MAX_UNANSWERED: Final = 3  # a host is down after as many scenes or addresses in a row; fewer are broken files
MAX_TRUNCATIONS: Final = 3  # times that a body may end early before the file counts as broken
MAX_REDIRECTS: Final = 5
POOL_SIZE: Final = 64  # largest number of open connections to a host that are reused
READ_CHUNK_BYTES: Final = 1 << 16
RETRY_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})  # the same request may succeed later
_UNREACHED: Final = (
    NewConnectionError, urllib3.exceptions.ConnectTimeoutError, urllib3.exceptions.ProxyError, socket.gaierror,
)  # fmt: skip
"""Errors before a host was reached."""
_TLS_ERRORS: Final = (ssl.SSLError, urllib3.exceptions.SSLError)
_KINDS: Final = (
    (socket.gaierror, "the host has no address"),
    (urllib3.exceptions.ProxyError, "the proxy of the environment gives no answer, or refuses"),
    (urllib3.exceptions.TimeoutError, "no response, or too slowly"),
    (_TLS_ERRORS, "its certificate is not valid"),
)


@dataclass(slots=True)
class TransferCounts:
    """Numbers of requests and bytes so far; safe to update from several threads."""

    requests: int = 0
    retries: int = 0
    bytes_read: int = 0  # response bodies, after content decoding [byte]
    bytes_decoded: int = 0  # pixels decoded from the provider's blocks [byte]
    bytes_used: int = 0  # the provider's pixels inside the requested grids, counted once per grid [byte]
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, **counts: int) -> None:
        """Increase some of the counts."""
        with self._lock:
            for name, count in counts.items():
                setattr(self, name, getattr(self, name) + count)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpResponse:
    """A complete response."""

    status: int
    headers: Mapping[str, str]  # by name in any case
    body: bytes
    url: str  # address after redirects


class Fetcher:
    """Fetches addresses within the limits of this module; `sleep` and `clock` are replaced in tests.

    A request takes `budget` at most, including retries and waits [s].
    """

    def __init__(
        self,
        allowed: AllowList,
        *,
        budget: float = REQUEST_BUDGET,
        sleep: Callable[[float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.allowed = allowed
        self.budget = budget
        self.transfers = TransferCounts()
        self.has_rangeless_server = False  # whether a server has sent a whole file where a range was requested
        self._sleep = sleep
        self._clock = clock
        self._lock = threading.Lock()
        self._tls: ssl.SSLContext | None = None
        self._pools: dict[tuple[str, str, int], urllib3.HTTPConnectionPool] = {}
        self._ip_turn: dict[tuple[str, str, int], int] = {}  # number of the IP address of each host that is used next
        self._answered: set[str] = set()  # hosts, with port, that gave a successful response
        self._blocked: dict[str, tuple[float, str]] = {}  # by host or address: no request until then, and why
        self._unanswered: dict[str, set[object]] = {}  # per host, scenes and addresses since its last response
        self._last_response: dict[str, tuple[float, str]] = {}  # per host, time and address of its last response
        self._doubtful_hosts: set[str] = set()  # hosts that gave no answer for at least one address

    def has_answered(self, url: str) -> bool:
        """Whether the host of an address has given a successful response."""
        return urlsplit(url).netloc in self._answered

    def file(self, address: str) -> Path:
        """The regular local file at an address; NotFound if missing, FetchRefused if not regular or not allowed."""
        path = self.allowed.resolve_path(Path(local_path(address)))
        if not path.exists():
            raise NotFound(f"there is no file {display_address(str(path))!r}")
        if not path.is_file():
            raise FetchRefused(f"{display_address(str(path))!r} is not a plain file")
        return path

    def check(self, address: str) -> None:
        """Check an address by its spelling, without a name server; FetchRefused if it must not be fetched."""
        if not is_remote(address):
            self.allowed.resolve_path(Path(local_path(address)))
            return
        parts = parse_url(address)
        host = parts.hostname or ""
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return
        self.allowed.resolve_host(host, endpoint(parts)[2])

    def get(
        self, url: str, *, max_bytes: int, max_whole: int | None = None, method: str = "GET",
        headers: Mapping[str, str] | None = None, body: bytes | None = None, cancelled: threading.Event | None = None,
    ) -> HttpResponse:  # fmt: skip
        """Make a request, following redirects and retrying; it must not change anything on the server.

        `max_bytes` is the largest decompressed body that is accepted, `max_whole` where the whole file is sent (status
        200). `cancelled` belongs to the scene of the address; once it is set, the request is not retried.

        Raises FetchRefused if the address is not allowed, or the body is larger than the limit; NotFound for status 404
        or 410, AccessDenied for 401 or 403, RequestRejected for another 4xx; NoAnswer without an answer within the
        budget, and TryLater if the host is down: it accepts no connection, answers 429, or gives no answer for other
        addresses either.
        """
        started = self._clock()
        host = urlsplit(url).netloc
        self._raise_if_blocked(url)
        wait, truncations = FIRST_RETRY_WAIT, 0
        while True:
            requested_wait, problem, host_down = None, "", False
            try:
                response = self._request(url, (max_bytes, max_whole or max_bytes), method, headers or {}, body, started)
            except (HTTPError, OSError) as error:
                problem = _describe(error)
                host_down = isinstance(error, _UNREACHED)
                truncations += _is_truncation(error)
                if truncations == MAX_TRUNCATIONS:
                    msg = f"{display_address(url)} ends before its announced length, {MAX_TRUNCATIONS} times"
                    raise Truncated(msg) from None
                if isinstance(error, _TLS_ERRORS):
                    raise TryLater(f"{display_address(url)}: {problem}; try again later") from None
            else:
                if response.status not in RETRY_STATUSES:
                    self._unanswered.pop(host, None)
                    self._last_response[host] = self._clock(), url
                    return self._checked_status(response)
                host_down = response.status == 429
                requested_wait = retry_after(response.headers)
                problem = f"status {response.status}"
            pause = min(wait, MAX_RETRY_WAIT) if requested_wait is None else requested_wait
            remaining = self.budget - (self._clock() - started)
            short = SHORT_BUDGET - (self.budget - remaining) if host in self._doubtful_hosts else remaining
            if pause >= min(remaining, short):
                if requested_wait is not None:
                    problem += f", and asks to wait {requested_wait:.0f} s"
                raise self._no_answer(url, problem, started=started, host_down=host_down, cancelled=cancelled)
            log.info("retrying", url=display_address(url), reason=problem, seconds=round(pause, 1))
            self.transfers.add(retries=1)
            (self._sleep or (cancelled or threading.Event()).wait)(pause)
            if cancelled is not None and cancelled.is_set():
                raise TryLater(f"{display_address(url)} is no longer needed")
            wait *= 2

    def _raise_if_blocked(self, url: str) -> None:
        for key, kind in ((urlsplit(url).netloc, TryLater), (url.partition("?")[0], NoAnswer)):
            until, problem = self._blocked.get(key, (0.0, ""))
            if self._clock() < until:
                raise kind(f"{display_address(url)} gives no answer ({problem}, a short while ago); try again later")

    def _no_answer(
        self, url: str, problem: str, *, started: float, host_down: bool, cancelled: threading.Event | None
    ) -> TryLater:
        """Block the address, or its host if it is down, and return the error to raise."""
        host, address = urlsplit(url).netloc, url.partition("?")[0]
        self._doubtful_hosts.add(host)
        unanswered = self._unanswered.setdefault(host, set())
        unanswered.add(cancelled or address)
        if not host_down and len(unanswered) >= MAX_UNANSWERED:
            host_down = not self._still_answers(host, since=started)
        self._blocked[host if host_down else address] = self._clock() + BLOCKED_FOR, problem
        elapsed = self._clock() - started
        msg = f"{display_address(url)} gives no answer ({problem}) within {elapsed:.0f} s; try again later"
        return (TryLater if host_down else NoAnswer)(msg)

    def _still_answers(self, host: str, *, since: float) -> bool:
        """Whether a host that answered another request since a time still sends the file of its last response."""
        when, url = self._last_response.get(host, (since, ""))
        if when <= since:
            return False
        limits = READ_CHUNK_BYTES, READ_CHUNK_BYTES
        started = self._clock() - self.budget + min(self.budget, SHORT_BUDGET)
        try:
            response = self._request(url, limits, "GET", {"Range": "bytes=0-0"}, None, started)
            answers = response.status not in RETRY_STATUSES
        except TooLarge:  # the whole file
            answers = True
        except (HTTPError, OSError, MonitorError):
            answers = False
        if answers:
            self._unanswered.pop(host, None)
        return answers

    def _checked_status(self, response: HttpResponse) -> HttpResponse:
        status, address = response.status, display_address(response.url)
        if status in (401, 403):
            raise AccessDenied(status, f"{address} refuses access (status {status})")
        if status in (404, 410):
            raise NotFound(f"there is nothing at {address} (status {status})")
        if not 200 <= status < 300:
            raise RequestRejected(status, f"{address} does not accept the request (status {status})")
        self._answered.add(urlsplit(response.url).netloc)
        return response

    def _request(
        self, url: str, limits: tuple[int, int], method: str, headers: Mapping[str, str], body: bytes | None,
        started: float,
    ) -> HttpResponse:  # fmt: skip
        """One request with its redirects; `limits` are the largest bodies of other statuses and of status 200."""
        for hop in range(MAX_REDIRECTS + 1):
            parts = parse_url(url)
            remaining = self.budget - (self._clock() - started)
            try:
                pool = self._pool(parts)
            except socket.gaierror as error:
                raise _of_redirect(error, parts) if hop else error from None
            self.transfers.add(requests=1)
            with request_deadline(time.monotonic() + remaining):
                try:
                    timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT)
                    response = open_url(pool, method, parts, body=body, headers=headers, timeout=timeout)
                except _UNREACHED as error:
                    self._use_next_ip(parts)
                    raise _of_redirect(error, parts) if hop else error from None
                try:
                    target = response.headers.get("Location")
                    if response.status in (301, 302, 303, 307, 308) and target:
                        url = _redirect_target(url, target)
                        if response.status == 303:
                            method, body = "GET", None
                        continue
                    limit = limits[response.status == 200]
                    content = b"" if response.status >= 400 else self._body(response, limit, url)
                    return HttpResponse(status=response.status, headers=response.headers, body=content, url=url)
                finally:
                    response.close()  # a body that was read to its end has already returned its connection
        raise FetchRefused(f"{display_address(url)} redirects more than {MAX_REDIRECTS} times")

    def _body(self, response: urllib3.BaseHTTPResponse, limit: int, url: str) -> bytes:
        content = bytearray()
        while chunk := response.read1(READ_CHUNK_BYTES, decode_content=True):
            content += chunk
            if len(content) > limit:
                raise TooLarge(f"{display_address(url)} sends more than {limit:,} bytes")
        self.transfers.add(bytes_read=len(content))
        return bytes(content)

    def _use_next_ip(self, parts: SplitResult) -> None:
        key = endpoint(parts)
        with self._lock:
            self._pools.pop(key, None)
            self._ip_turn[key] = self._ip_turn.get(key, 0) + 1

    def _pool(self, parts: SplitResult) -> urllib3.HTTPConnectionPool:
        """Connections to a host: through the proxy of the environment, or at an IP address that was checked."""
        key = endpoint(parts)
        scheme, host, port = key
        with self._lock:
            if key not in self._pools:
                url = f"{scheme}://{parts.netloc}"
                tls: Any = {"ssl_context": self._tls_context()} if scheme == "https" else {}
                if proxy := select_proxy(url, get_environ_proxies(url)):
                    self.allowed.check_behind_proxy(host, port)
                    self._pools[key] = proxied_pool(proxy, scheme, host, port, maxsize=POOL_SIZE, **tls)
                    return self._pools[key]
                ips = self.allowed.resolve_host(host, port)
                ip = ips[self._ip_turn.get(key, 0) % len(ips)]
                if tls:
                    tls |= {"server_hostname": host, "assert_hostname": host}
                    self._pools[key] = HTTPSPool(ip, port, maxsize=POOL_SIZE, **tls)
                else:
                    self._pools[key] = HTTPPool(ip, port, maxsize=POOL_SIZE)
            return self._pools[key]

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
        return self._tls


def _redirect_target(url: str, target: str) -> str:
    target = urljoin(url, target)
    if url.lower().startswith("https:") and not target.lower().startswith("https:"):
        raise FetchRefused(f"{display_address(url)} redirects to {display_address(target)}, which is not https")
    return target


def _of_redirect(error: Exception, parts: SplitResult) -> HTTPError:
    """The error for a host that cannot be reached where another one, which answers, redirects to it."""
    return HTTPError(f"it redirects to {parts.netloc}: {_describe(error)}")


def _is_truncation(error: Exception) -> bool:
    """Whether a body ended before its announced length."""
    return isinstance(error, IncompleteRead) or any(isinstance(cause, IncompleteRead) for cause in error.args)


def _describe(error: Exception) -> str:
    """The kind of an error, never its text, which repeats the address with its signature."""
    if type(error) is HTTPError:  # of _of_redirect
        return str(error)
    return next((words for kinds, words in _KINDS if isinstance(error, kinds)), type(error).__name__)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Wait that a response asks for, as seconds or a date; None if it names none. [s]"""
    text = headers.get("retry-after", "")
    with suppress(ValueError):
        return max(float(int(text)), 0.0)
    with suppress(ValueError, TypeError, OverflowError):
        now = parsedate_to_datetime(headers["date"]) if "date" in headers else datetime.now(UTC)
        return max((parsedate_to_datetime(text) - now).total_seconds(), 0.0)
    return None
