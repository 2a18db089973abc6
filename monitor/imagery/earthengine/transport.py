"""HTTP for the Earth Engine client: a limit for all threads, complete answers only, no private endpoint."""

import json
import threading
import time
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any, Final
from urllib.parse import urlsplit

import httplib2  # type: ignore[import-untyped]
import requests
import urllib3

from monitor.errors import BadConfiguration
from monitor.imagery.addresses import AllowList, display_address, endpoint, parse_url
from monitor.imagery.deadline import DeadlineAdapter, request_deadline
from monitor.imagery.fetch_errors import FetchRefused

HIGH_VOLUME: Final = "https://earthengine-highvolume.googleapis.com"  # endpoint made for many small requests at once
EE_CONNECT_TIMEOUT: Final = 20.0  # longest time to connect to one address of the host [s]
MAX_ANSWER_BYTES: Final = 64 << 20  # largest answer: a third above the 48 MB of pixels of one request [byte]

WORKLOAD_TAG: Final = ContextVar("workload_tag", default="regrowth")
"""Workload tag of the requests of this thread: the metrics and bills of the Cloud project are divided by it. At most 63
of the characters a-z, 0-9, ``-`` and ``_``, the first and last a letter or digit (the client's own tag is one for all
threads)."""


def _unchanged(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


class RequestLimit:
    """Limits how many requests of all threads are in flight."""

    def __init__(self, in_flight: int) -> None:
        self.in_flight = in_flight
        self._free = threading.BoundedSemaphore(in_flight)
        self._paused_until = 0.0

    def __enter__(self) -> None:
        self._free.acquire()
        if (pause := self._paused_until - time.monotonic()) > 0:
            time.sleep(pause)

    def __exit__(self, *_: object) -> None:
        self._free.release()

    def pause(self, seconds: float) -> None:
        """Stop all threads from sending for some time, because the server asked one of them to wait. [s]"""
        self._paused_until = max(self._paused_until, time.monotonic() + seconds)


class ClientTransport:
    """Sends the requests of the ``ee`` client, at most `in_flight` at once; has the interface of ``httplib2.Http``.

    Only complete answers are returned: their size and the time from start to end (`deadline` [s]) are limited.
    """

    def __init__(self, *, in_flight: int, deadline: float) -> None:
        self.timeout = deadline
        self._session = requests.Session()
        self._session.auth = _unchanged  # else a password from ~/.netrc would replace the token
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, DeadlineAdapter(pool_maxsize=in_flight))

    def request(
        self, uri: str, method: str = "GET", body: Any = None, headers: dict[str, str] | None = None,
        redirections: int | None = None, connection_type: Any = None,
    ) -> tuple[httplib2.Response, bytes]:  # fmt: skip
        """Send a request, with the parameters of ``httplib2.Http.request``; redirects are not followed.

        Raises TimeoutError if the answer is not complete within the time limit, and ConnectionError if the host cannot
        be reached, or the answer is cut short or longer than :data:`MAX_ANSWER_BYTES`.
        """
        content = bytearray()
        try:
            with (
                request_deadline(time.monotonic() + self.timeout),
                self._session.request(
                    method, uri, data=_tagged(body), headers=headers, timeout=(EE_CONNECT_TIMEOUT, self.timeout),
                    allow_redirects=False, stream=True,
                ) as response,
            ):  # fmt: skip
                while chunk := response.raw.read1(1 << 20, decode_content=True):
                    content += chunk
                    if len(content) > MAX_ANSWER_BYTES:
                        raise ConnectionError(f"the answer is longer than {MAX_ANSWER_BYTES >> 20} MiB")
        except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError) as error:
            raise TimeoutError(f"no complete answer within {self.timeout:g} s") from error
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
            raise ConnectionError(str(error)) from error
        fields = {name.lower(): value for name, value in response.headers.items()}
        return httplib2.Response({**fields, "status": response.status_code}), bytes(content)

    def close(self) -> None:
        """Close idle connections."""
        self._session.close()


def _tagged(body: Any) -> Any:
    """The body of a request with the workload tag of this thread, if it asks for a computation."""
    if not isinstance(body, str) or '"expression"' not in body:
        return body
    return json.dumps({**json.loads(body), "workloadTag": WORKLOAD_TAG.get()})


def checked_endpoint(url: str, allow_hosts: Sequence[str]) -> str:
    """The URL of an endpoint without a trailing slash, after checking that it may be contacted.

    Raises BadConfiguration if it is invalid, not encrypted, or leads to a private or loopback host that `allow_hosts`
    does not name.
    """
    shown = f"[source] url = {display_address(url)!r}"
    try:
        parts = parse_url(url)
    except FetchRefused:
        parts = None
    if parts is None or parts.query:
        raise BadConfiguration(f"{shown} is not an endpoint; write for instance {HIGH_VOLUME!r}, or leave it out")
    allowed = AllowList.parse(allow_hosts)
    scheme, host, port = endpoint(parts)
    try:
        if scheme == "http" and not allowed.allows_host(host, port):
            msg = f'{shown} is not encrypted; if that is intended, add allow_hosts = ["{host}:{port}"] to [source]'
            raise BadConfiguration(msg)
        if parts.netloc != urlsplit(HIGH_VOLUME).netloc:  # a company may lead Google's own name to a private address
            allowed.resolve_host(host, port)
    except FetchRefused as error:
        raise BadConfiguration(f"{shown}: {error}") from None
    except (OSError, UnicodeError):
        pass  # the name has no address: connecting fails, which is tried again later
    return url.rstrip("/")
