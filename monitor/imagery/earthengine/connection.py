"""The connection to Earth Engine that a run shares: credentials, request limits, retries, and what an error means.

The client ``ee`` has one session per process, waits without end, retries on its own schedule, and opens an address of
another host when it starts. Here every request goes through :class:`Connection`, which limits requests, answers and
waits for all threads together. No message contains a token.
"""

import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast
from weakref import WeakValueDictionary

import ee
import google.auth.exceptions
import google.oauth2.credentials
import google.oauth2.service_account
import googleapiclient.errors  # type: ignore[import-untyped]
import httplib2  # type: ignore[import-untyped]
import requests

from monitor.errors import BadConfiguration, BadData, TryLater
from monitor.files import open_plain_file
from monitor.imagery.earthengine.transport import HIGH_VOLUME, ClientTransport, RequestLimit, checked_endpoint
from monitor.imagery.transport import retry_after

FIRST_RETRY_PAUSE: Final = 1.0
"""Pause before the first retry where the server names none. It doubles with each retry, and is shortened at random by
up to half so that threads do not retry at the same moment. [s]"""
MAX_RETRY_PAUSE: Final = 60.0  # longest pause between two retries where the server names none [s]
MAX_KEY_BYTES: Final = 2**16  # largest file of credentials that is read [byte]
LIMIT_WORDS: Final = ("rate limit", "ratelimit", "quota", "too many", "capacity", "timed out", "exceed")
"""Words in refusals that are about a limit, not about the request itself."""


class RequestRefused(Exception):
    """The server understood a request and cannot answer it; repeating it would change nothing."""

    @property
    def is_limit(self) -> bool:
        """Whether a smaller request may succeed: the server ran out of time, memory or another limit."""
        return any(word in str(self).lower() for word in LIMIT_WORDS)


class Connection:
    """The session with Earth Engine that all threads of a run share; :func:`connect` makes it, see its parameters."""

    def __init__(
        self, project: str | None, url: str, token: str | None, key_file: Path | None, in_flight: int, deadline: float,
        patience: float,
    ) -> None:  # fmt: skip
        self.project, self.url, self.token, self.key_file = project, url, token, key_file
        self.patience = patience
        self.requests: Counter[str] = Counter()
        """Requests sent, by kind: ``start``, ``search``, ``pixels``, ``values``; ``retry`` counts the repeated ones."""
        self.limit = RequestLimit(in_flight)
        self._last_answer = self._down_until = 0.0
        self._down_because = ""  # message with which all requests fail until then, after a patience without answer
        self._counting = threading.Lock()
        self._transport = ClientTransport(in_flight=in_flight, deadline=deadline)

    def request(self, kind: str, call: Callable[[], Any], cancelled: threading.Event | None = None) -> Any:
        """The answer of a call of ``ee.data`` that sends one request, which is counted under `kind`, with retries.

        Once `cancelled` is set, because nobody waits for the answer any more, it is not requested again. Raises
        RequestRefused if the server cannot answer this request; TryLater if it does not answer within the patience, or
        asks to wait longer; BadConfiguration if it refuses the credentials, the project or the endpoint.
        """
        with _CLIENT.used_by(self):
            return self._request(kind, call, cancelled)

    def request_decoded[T](
        self, kind: str, call: Callable[[], Any], decode: Callable[[Any], T], cancelled: threading.Event | None = None
    ) -> T:
        """As :meth:`request`, but decoded; an answer for which `decode` raises ``ValueError`` is requested once more.

        Raises TryLater also if both answers are malformed.
        """
        wrong = ""
        for _ in range(2):
            answer = self.request(kind, call, cancelled)
            try:
                return decode(answer)
            except ValueError as error:
                wrong = str(error)
        raise TryLater(f"Earth Engine answers twice with other {kind} than requested: {wrong}")

    def build[T](self, expression: Callable[[], T]) -> T:
        """Return what a function builds with the client, which is started first if necessary."""
        with _CLIENT.used_by(self):
            return expression()

    def _request(self, kind: str, call: Callable[[], Any], cancelled: threading.Event | None = None) -> Any:
        first_failure: float | None = None
        next_pause = FIRST_RETRY_PAUSE
        while True:
            if time.monotonic() < self._down_until:
                raise TryLater(self._down_because)
            try:
                with self.limit:
                    self._count(kind)
                    answer = call()
                    self._last_answer = time.monotonic()
                    return answer
            except Exception as error:  # noqa: BLE001 - classified below; an unknown one is raised again
                message, wait_asked = self._retryable(error)
            first_failure = first_failure or time.monotonic()
            pause = wait_asked if wait_asked is not None else next_pause * random.uniform(0.5, 1.0)
            if time.monotonic() + pause > first_failure + self.patience:
                after = f" (it asks to wait {wait_asked:g} s)" if wait_asked else ""
                msg = f"Earth Engine does not answer within {self.patience:g} s{after}: {message}"
                if self._last_answer < first_failure:
                    self._down_because, self._down_until = msg, time.monotonic() + self.patience
                raise TryLater(msg)
            if wait_asked:
                self.limit.pause(pause)
            if cancelled is None:
                time.sleep(pause)
            elif cancelled.wait(pause):
                raise TryLater("nobody waits for the answer any more")
            next_pause = min(next_pause * 2, MAX_RETRY_PAUSE)
            self._count("retry")

    def _count(self, kind: str) -> None:
        with self._counting:
            self.requests[kind] += 1

    def _retryable(self, error: Exception) -> tuple[str, float | None]:
        """Message of an error that may pass, and the pause it asks for [s]; any other error is raised."""
        message = self._redacted(str(error))
        if isinstance(error, google.auth.exceptions.RefreshError | ee.EEException | googleapiclient.errors.Error):
            response: Any = getattr(error, "resp", None) or getattr(error.__context__, "resp", None)
            status = response.status if response is not None else None
            if isinstance(error, googleapiclient.errors.UnknownApiNameOrVersion):
                status = 404
            if status in (408, 429) or (status is not None and status >= 500):
                return f"status {status}, {message}", retry_after(response)
            if status == 403 and any(word in message.lower() for word in LIMIT_WORDS):
                return f"status 403, {message}", retry_after(response)
            if isinstance(error, google.auth.exceptions.RefreshError) and error.retryable:
                return message, None
            if status is not None and status not in (401, 403) and isinstance(error, ee.EEException):
                raise RequestRefused(message) from None
            raise BadConfiguration(self._access_problem(message, status)) from None
        if isinstance(error, google.auth.exceptions.GoogleAuthError):
            if isinstance(error, google.auth.exceptions.TransportError):
                return message, None
            raise BadConfiguration(self._access_problem(message, None)) from None
        if isinstance(
            error, TimeoutError | ConnectionError | httplib2.HttpLib2Error | json.JSONDecodeError | UnicodeDecodeError
        ):
            return message or type(error).__name__, None
        if isinstance(error, requests.RequestException):
            return message, None
        raise error

    def _access_problem(self, message: str, status: int | None) -> str:
        """Problem of the access, and the command or setting that corrects it."""
        lower = message.lower()
        if status == 404:
            return f"there is no Earth Engine at {self.url}; correct [source] url, or leave it out"
        if "project" in lower and ("not registered" in lower or "not been used" in lower or "no project" in lower):
            return (
                f"the project {self.project!r} cannot be used with Earth Engine: {message}. Name another one by "
                "[source] project, or register it: https://code.earthengine.google.com/register"
            )
        if self.token:
            return (
                f"Earth Engine refuses the bearer token: {message}. Put a new one into REGROWTH_EE_TOKEN, for "
                "instance from: gcloud auth print-access-token"
            )
        if self.key_file:
            return (
                f"Earth Engine refuses the credentials of {self.key_file}: {message}. Set "
                "GOOGLE_APPLICATION_CREDENTIALS to the key of a service account that may use Earth Engine in project "
                f"{self.project!r}"
            )
        return (
            f"there is no access to Earth Engine: {message}. Run: earthengine authenticate (or set "
            "GOOGLE_APPLICATION_CREDENTIALS to the key of a service account, or REGROWTH_EE_TOKEN)"
        )

    def _redacted(self, message: str) -> str:
        """Message on one line, shortened, without the token."""
        message = message.replace(self.token, "(token)") if self.token else message
        return " ".join(message.split())[:500]

    def start(self) -> None:
        """Start the client for this connection; called by :class:`_Client` only."""
        # Without this list the client would fetch one of deprecated data sets from another host, with no time limit.
        ee.deprecation.deprecated_assets = {"": cast("Any", None)}
        ee.data.setMaxRetries(0)
        try:
            credentials = self._credentials()
        except Exception as error:
            if isinstance(error, BadConfiguration):
                raise
            raise BadConfiguration(self._access_problem(self._redacted(str(error)), None)) from None

        def initialize() -> None:
            ee.Initialize(credentials=credentials, url=self.url, project=self.project, http_transport=self._transport)

        try:
            self._request("start", initialize)
        except RequestRefused as error:
            raise BadConfiguration(self._access_problem(str(error), 404)) from None

    def _credentials(self) -> Any:
        user: Any = google.oauth2.credentials.Credentials
        service: Any = google.oauth2.service_account.Credentials
        if self.token:
            return user(self.token)
        if self.key_file is None:
            return ee.data.get_persistent_credentials()
        try:
            with open_plain_file(self.key_file) as file:
                content = json.loads(file.read(MAX_KEY_BYTES))
            if content.get("type") == "authorized_user":
                return user.from_authorized_user_info(content, ee.oauth.SCOPES)
            return service.from_service_account_info(content, scopes=ee.oauth.SCOPES)
        except (BadData, OSError, ValueError, AttributeError) as error:
            why = str(error) if isinstance(error, BadData) else "it is not a service account key"
            raise BadConfiguration(
                f"the credentials file {self.key_file} cannot be used: {why}. Set GOOGLE_APPLICATION_CREDENTIALS to "
                "the JSON key of a service account, or unset it and run: earthengine authenticate"
            ) from None


def connect(
    *,
    project: str | None, url: str | None = None, token: str | None = None, key_file: Path | None = None,
    allow_hosts: Sequence[str] = (), in_flight: int = 20, deadline: float = 310.0, patience: float = 300.0,
) -> Connection:  # fmt: skip
    """The connection with these settings: the existing one if there is one, so that limits hold for all users.

    Nothing is sent yet. `project` is the Cloud project that is charged, by default that of the service account; `url`
    the endpoint, by default :data:`HIGH_VOLUME`, on a private host only if `allow_hosts` names it. Without a bearer
    `token` and a `key_file` (service account key or authorized user), the credentials stored by ``earthengine
    authenticate`` or ``gcloud auth application-default login`` are used. The service allows 40 requests `in_flight`.
    `deadline` is the longest time of one request (the service itself gives up after 5 minutes), `patience` that from
    its first failure to giving up [s].

    Raises BadConfiguration without a project or service account, or if the token cannot be one, or the endpoint is not
    allowed.
    """
    if not project and key_file is None:
        raise BadConfiguration('[source] kind = "earthengine" needs project = "<your Cloud project>"')
    if token and not re.fullmatch(r"[!-~]+", token):
        msg = "REGROWTH_EE_TOKEN is not a token: it is one word of ASCII, as gcloud auth print-access-token prints it"
        raise BadConfiguration(msg)
    endpoint = checked_endpoint(url, allow_hosts) if url else HIGH_VOLUME
    arguments = (project, endpoint, token, key_file, in_flight, deadline, patience)
    with _CONNECTING:
        connection = _CONNECTIONS.get(arguments)
        if connection is None:
            connection = _CONNECTIONS[arguments] = Connection(*arguments)
    return connection


class _Client:
    """The one client of the process; two connections take turns, each when no request of the other is under way."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._connection: Connection | None = None
        self._under_way = 0

    @contextmanager
    def used_by(self, connection: Connection) -> Iterator[None]:
        with self._condition:
            self._condition.wait_for(lambda: self._connection is connection or self._under_way == 0)
            if self._connection is not connection:
                if self._connection is not None:
                    self._connection = None
                    ee.Reset()
                connection.start()
                self._connection = connection
            self._under_way += 1
        try:
            yield
        finally:
            with self._condition:
                self._under_way -= 1
                self._condition.notify_all()


_CLIENT: Final = _Client()
_CONNECTIONS: Final[WeakValueDictionary[tuple[Any, ...], Connection]] = WeakValueDictionary()
_CONNECTING: Final = threading.Lock()


def compute_value(expression: Any) -> Any:
    """Evaluate an expression; ConnectionError, after which it is requested again, if the answer holds no value."""
    try:
        return ee.data.computeValue(expression)
    except (KeyError, TypeError) as error:
        raise ConnectionError("the answer holds no value") from error
