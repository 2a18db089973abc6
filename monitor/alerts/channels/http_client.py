"""HTTP requests of channels, within limits that the receiver cannot change.

A private, local or reserved address is refused unless the configuration allows its host, and a connection is made to
the very IP address that was checked. Redirects are not followed, and proxies of the environment are not used: either
would send a message, and a token, to a host that was not checked. One deadline covers connection, headers and body.
"""

import socket
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Final, NamedTuple
from urllib.parse import SplitResult

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, SSLError

from monitor.alerts.channels.certificate import connection_fault, system_trust
from monitor.alerts.channels.channel import NotDelivered, Unreachable
from monitor.errors import BadConfiguration
from monitor.imagery.addresses import AllowList, endpoint, parse_url
from monitor.imagery.deadline import HTTPPool, HTTPSPool, open_url, request_deadline
from monitor.imagery.fetch_errors import FetchRefused

DEADLINE: Final = 20.0
"""Longest time of a request, without the look-up of the host's name. [s]"""
CONNECT_TIMEOUT: Final = 5.0  # longest time to connect to one IP address [s]
MAX_RESPONSE_BYTES: Final = 2**16  # the rest of a longer body is not read [byte]

_NOTHING_SENT: Final = (NewConnectionError, ConnectTimeoutError, SSLError, socket.gaierror, UnicodeError)
"""Errors before anything was sent; the last one of a host name that is too long."""


class HttpResponse(NamedTuple):
    """A response."""

    status: int
    body: bytes
    """At most :data:`MAX_RESPONSE_BYTES`."""


class HttpClient:
    """Makes requests to receivers of messages and signs of life. No connection stays open.

    `allow_hosts` are private hosts, or ``host:port``, that may be contacted, named in `section` of the configuration:
    ``BadConfiguration`` where one is not a host.
    """

    def __init__(self, allow_hosts: Iterable[str] = (), *, section: str, deadline: float = DEADLINE) -> None:
        self._allowed = AllowList.of_hosts(allow_hosts, section)
        self._section = section
        self._deadline = deadline

    def check(self, url: str) -> None:
        """Check the spelling of an address, without a name server.

        Raises ``BadConfiguration`` where it is not an http or https address, has a user in it, or is not ASCII.
        """
        try:
            parse_url(url)
        except FetchRefused as error:
            raise BadConfiguration(f"{self._section} url: {error}") from None
        if not (url.isascii() and url.isprintable()):
            msg = f"{self._section} url: write it in ASCII, a host as xn--... and other characters as %XX"
            raise BadConfiguration(msg)

    def request(
        self, method: str, url: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> HttpResponse:
        """Make one request, without retries; errors name the host, never the rest of the address, which may be secret.

        Raises `Unreachable` where the host is refused, down or not trusted and nothing was sent, and `NotDelivered`
        where no complete response came in time, or a redirect.
        """
        parts = parse_url(url)
        server = f"{parts.scheme}://{parts.netloc}"
        try:
            response = self._request(method, parts, body, headers or {})
        except FetchRefused as error:
            raise Unreachable(str(error)) from None
        except (HTTPError, OSError, UnicodeError) as error:
            msg = f"{server} {_describe(error)}"
            raise (Unreachable if isinstance(error, _NOTHING_SENT) else NotDelivered)(msg) from None
        if 300 <= response.status < 400:
            msg = f"{server} redirects (status {response.status}), which is not followed; set url to the final address"
            raise NotDelivered(msg)
        return response

    def _request(self, method: str, parts: SplitResult, body: bytes | None, headers: Mapping[str, str]) -> HttpResponse:
        _, host, port = endpoint(parts)
        ips = self._allowed.resolve_host(host, port)
        with request_deadline(time.monotonic() + self._deadline):
            for ip in ips[:-1]:
                try:
                    return _exchange(ip, method, parts, body, headers)
                except (NewConnectionError, ConnectTimeoutError):
                    continue  # for instance an IPv6 address without a route; nothing was sent
            return _exchange(ips[-1], method, parts, body, headers)


def _exchange(ip: str, method: str, parts: SplitResult, body: bytes | None, headers: Mapping[str, str]) -> HttpResponse:
    """Send a request to an IP address and read the response."""
    scheme, host, port = endpoint(parts)
    pool = (
        HTTPSPool(ip, port, ssl_context=system_trust(), server_hostname=host)
        if scheme == "https"
        else HTTPPool(ip, port)
    )
    timeout, content = urllib3.Timeout(connect=CONNECT_TIMEOUT, read=DEADLINE), bytearray()
    with (
        closing(pool),
        closing(open_url(pool, method, parts, body=body, headers=headers, timeout=timeout)) as response,
    ):
        while len(content) < MAX_RESPONSE_BYTES and (chunk := response.read1(MAX_RESPONSE_BYTES)):
            content += chunk
        return HttpResponse(response.status, bytes(content[:MAX_RESPONSE_BYTES]))


def _describe(error: Exception) -> str:
    """Description of an error, never its text, which repeats the address with its token."""
    inner = error.args[0] if isinstance(error, SSLError) and error.args else error
    if fault := connection_fault(inner):
        return fault
    if isinstance(inner, SSLError):
        return "cannot be reached by TLS"
    if isinstance(error, NewConnectionError):
        return "accepts no connection"
    if isinstance(error, TimeoutError | urllib3.exceptions.TimeoutError):
        return "gives no complete response in time"
    return f"gives no complete response ({type(error).__name__})"
