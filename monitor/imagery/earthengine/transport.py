"""How requests to Earth Engine leave the process: a pace for all threads, whole answers only, no inward endpoint."""

import ipaddress
import socket
import threading
import time
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

import httplib2  # type: ignore[import-untyped]
import requests
import urllib3

from monitor.errors import BadConfiguration
from monitor.imagery.addresses import display_address
from monitor.imagery.deadline import DeadlineAdapter, request_deadline

HIGH_VOLUME: Final = "https://earthengine-highvolume.googleapis.com"
"""Endpoint made for many small requests at once."""
CONNECT: Final = 20.0
"""Longest time to connect to one address of the host. [s]"""
LARGEST: Final = 64 << 20
"""Most that an answer may hold, packed or unpacked: a third above the 48 MB of pixels that may be asked for. [byte]"""


class Pace:
    """Holds all threads to a number of requests in flight and a minute."""

    def __init__(self, *, in_flight: int, a_minute: int) -> None:
        self.in_flight, self.a_minute = in_flight, a_minute
        self._places = threading.BoundedSemaphore(in_flight)
        self._interval = 60.0 / a_minute
        self._burst = in_flight * self._interval
        self._lock = threading.Lock()
        self._next = 0.0

    def __enter__(self) -> None:
        self._places.acquire()
        with self._lock:
            now = time.monotonic()
            self._next = max(self._next, now - self._burst) + self._interval
            pause = self._next - now
        if pause > 0:
            time.sleep(pause)

    def __exit__(self, *_: object) -> None:
        self._places.release()

    def hold(self, seconds: float) -> None:
        """Nobody sends anything for a while: the server asked one of us to wait."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


class Transport:
    """What the client sends requests through, in the form of an ``httplib2.Http``.

    Whole answers only: the time limit is for connection, headers and body together, and the size is capped.
    """

    def __init__(self, *, in_flight: int, deadline: float) -> None:
        self.timeout = deadline
        self._session = requests.Session()
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, DeadlineAdapter(pool_maxsize=in_flight))
        self._thread = threading.local()

    @property
    def last_size(self) -> int:
        """Of the last answer to the calling thread. [byte]"""
        return getattr(self._thread, "size", 0)

    def request(
        self,
        uri: str,
        method: str = "GET",
        body: Any = None,
        headers: dict[str, str] | None = None,
        redirections: int | None = None,
        connection_type: Any = None,
    ) -> tuple[httplib2.Response, bytes]:
        """Send a request as ``httplib2.Http.request`` does."""
        content = bytearray()
        try:
            with (
                request_deadline(time.monotonic() + self.timeout),
                self._session.request(
                    method, uri, data=body, headers=headers, timeout=(CONNECT, self.timeout), allow_redirects=False,
                    stream=True,
                ) as response,
            ):  # fmt: skip
                while piece := response.raw.read1(1 << 20, decode_content=True):
                    content += piece
                    if len(content) > LARGEST:
                        msg = f"the answer is longer than {LARGEST >> 20} MiB"
                        raise ConnectionError(msg)
        except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError) as error:
            msg = f"no whole answer within {self.timeout:g} s"
            raise TimeoutError(msg) from error
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
            raise ConnectionError(str(error)) from error
        self._thread.size = len(content)
        found = httplib2.Response(
            {**{k.lower(): v for k, v in response.headers.items()}, "status": response.status_code}
        )
        return found, bytes(content)

    def close(self) -> None:
        """Close idle connections."""
        self._session.close()


def checked(url: str, allow_hosts: Sequence[str]) -> str:
    """The endpoint, if it may be asked.

    Raises
    ------
    BadConfiguration
        It is no address, or leads to a private or loopback host that `allow_hosts` does not name.
    """
    parts = urlsplit(url)
    host = parts.hostname
    if parts.scheme not in ("http", "https") or not host or parts.username or parts.query:
        msg = (
            f"[source] url = {display_address(url)!r} is no endpoint; "
            f"write for instance {HIGH_VOLUME!r}, or leave it out"
        )
        raise BadConfiguration(msg)
    named = host in allow_hosts or parts.netloc in allow_hosts
    if not named and (parts.scheme != "https" or _inward(host)):
        msg = (
            f"[source] url = {display_address(url)!r} leads to a private or loopback host, or is not encrypted; "
            f'if that is meant, add allow_hosts = ["{host}"] to [source]'
        )
        raise BadConfiguration(msg)
    return url.rstrip("/")


def _inward(host: str) -> bool:
    """Whether a host is not on the public internet; one that cannot be found is left to the connection to tell."""
    if host == urlsplit(HIGH_VOLUME).hostname:
        return False
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError:
        return False
    return any(not ipaddress.ip_address(str(address).split("%")[0]).is_global for address in found)


def retry_after(response: Any) -> float | None:
    """Seconds that an answer asks to wait."""
    asked = response.get("retry-after", "")
    try:
        if asked.isdigit():
            return float(asked)
        return max(0.0, (parsedate_to_datetime(asked) - parsedate_to_datetime(response["date"])).total_seconds())
    except (KeyError, TypeError, ValueError):
        return None
