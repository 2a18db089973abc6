"""One connection to Earth Engine for a whole run: who asks, how often, and what a refusal means.

The client ``ee`` keeps one session a process, without limits: it waits for ever, retries by its own clock and opens
an address of another host as it starts. Here every request goes through :class:`Connection`, which starts the client
once, holds all threads together to a number of requests in flight and a minute, cuts what takes too long or grows too
big, and retries by one clock. What comes out is an answer, :class:`Refused` (this request cannot be answered),
``TryLater`` or ``BadConfiguration``. Redirects are not followed, and tokens stand in no message.
"""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
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

from monitor.errors import BadConfiguration, TryLater
from monitor.imagery.earthengine.transport import Pace, Transport, retry_after

FIRST_WAIT: Final = 1.0
"""Before the first retry where the server names no time; doubled each time, and shortened at random by up to half so
that threads do not return together. [s]"""
LONGEST_WAIT: Final = 60.0
"""Between two retries where the server names no time. [s]"""
BUSY: Final = ("rate limit", "ratelimit", "quota", "too many", "capacity", "timed out", "exceed")
"""In messages of refusals that say nothing against the request itself."""


class Refused(Exception):
    """The server has understood the request and cannot answer it; asking again would change nothing."""

    @property
    def too_much(self) -> bool:
        """Whether less at once may succeed: out of time, memory or another limit."""
        return any(word in str(self).lower() for word in BUSY)


class Connection:
    """The session with Earth Engine that all threads of a run share.

    Parameters
    ----------
    project : str or None
        Cloud project that is charged; None: the one of the service account.
    url : str
        Endpoint.
    token : str or None
        Bearer token.
    key_file : Path or None
        Service account key, or authorized user file.  Without it and without a token: what
        ``earthengine authenticate`` or ``gcloud auth application-default login`` left behind.
    in_flight : int
        Most requests at one time.
    a_minute : int
        Most requests a minute.
    deadline : float
        Longest that one request may take. [s]
    patience : float
        Longest from the first failure of a request to giving up. [s]
    """

    def __init__(
        self,
        *,
        project: str | None,
        url: str,
        token: str | None,
        key_file: Path | None,
        in_flight: int,
        a_minute: int,
        deadline: float,
        patience: float,
    ) -> None:
        self.project, self.url, self.token, self.key_file = project, url, token, key_file
        self.patience = patience
        self.requests: Counter[str] = Counter()
        """Requests sent, by kind: ``start``, ``search``, ``pixels``, ``values``; and of these again, ``retry``."""
        self.received = 0
        """Bytes of answers, unpacked. [byte]"""
        self._answered = self._down_until = 0.0
        self._down_because = ""
        """Once nobody got an answer for the whole of the patience, all are told so at once, for as long again."""
        self._counting = threading.Lock()
        self._transport = Transport(in_flight=in_flight, deadline=deadline)
        self._pace = Pace(in_flight=in_flight, a_minute=a_minute)

    @classmethod
    def shared(cls, **how: Any) -> "Connection":
        """The connection made with the same arguments, so that several sources keep its limits together."""
        key = tuple(sorted(how.items(), key=lambda item: item[0]))
        with _MAKING:
            found = _MADE.get(key)
            if found is None:
                found = _MADE[key] = cls(**how)
        return found

    def ask(self, kind: str, call: Callable[[], Any], over: threading.Event | None = None) -> Any:
        """The answer of a call of ``ee.data``.

        Parameters
        ----------
        kind : str
            Under which the request is counted.
        call : callable
            Makes exactly one request.
        over : Event, optional
            Is set when nobody waits for the answer any more: then it is not asked for again.

        Raises
        ------
        Refused, TryLater, BadConfiguration
            See the module.
        """
        with _CLIENT.held_for(self):
            return self._ask(kind, call, over)

    def make[T](self, graph: Callable[[], T]) -> T:
        """What a function makes of the client, which is started for it if need be."""
        with _CLIENT.held_for(self):
            return graph()

    def _ask(self, kind: str, call: Callable[[], Any], over: threading.Event | None = None) -> Any:
        failed_first: float | None = None
        wait = FIRST_WAIT
        while True:
            if time.monotonic() < self._down_until:
                raise TryLater(self._down_because)
            try:
                with self._pace:
                    self._count(kind)
                    answer = call()
                    self._count("", received=self._transport.last_size)
                    self._answered = time.monotonic()
                    return answer
            except Exception as error:  # noqa: BLE001 - sorted below; what is not known is raised again
                told, asked_to_wait = self._sorted(error)
            failed_first = failed_first or time.monotonic()
            pause = asked_to_wait if asked_to_wait is not None else wait * random.uniform(0.5, 1.0)
            if time.monotonic() + pause > failed_first + self.patience:
                after = f" (it asks to wait {asked_to_wait:g} s)" if asked_to_wait else ""
                msg = f"Earth Engine does not answer within {self.patience:g} s{after}: {told}"
                if self._answered < failed_first:
                    self._down_because, self._down_until = msg, time.monotonic() + self.patience
                raise TryLater(msg)
            if asked_to_wait:
                self._pace.hold(pause)
            if over is None:
                time.sleep(pause)
            elif over.wait(pause):
                msg = "the answer is not waited for any more"
                raise TryLater(msg)
            wait = min(wait * 2, LONGEST_WAIT)
            self._count("retry")

    def _count(self, kind: str, *, received: int = 0) -> None:
        with self._counting:
            if kind:
                self.requests[kind] += 1
            self.received += received

    def _sorted(self, error: Exception) -> tuple[str, float | None]:
        """What a passing failure says and how long it asks to wait; any other is raised as what it means."""
        told = self._without_secrets(str(error))
        if isinstance(error, google.auth.exceptions.RefreshError | ee.EEException | googleapiclient.errors.Error):
            response = getattr(error, "resp", None) or getattr(error.__context__, "resp", None)
            status = response.status if response is not None else None
            if isinstance(error, googleapiclient.errors.UnknownApiNameOrVersion):
                status = 404
            if status in (408, 429) or (status is not None and status >= 500):
                return f"status {status}, {told}", retry_after(response)
            if status == 403 and any(word in told.lower() for word in BUSY):
                return f"status 403, {told}", retry_after(response)
            if isinstance(error, google.auth.exceptions.RefreshError) and error.retryable:
                return told, None
            if status is not None and status not in (401, 403) and isinstance(error, ee.EEException):
                raise Refused(told) from None
            raise BadConfiguration(self._remedy(told, status)) from None
        if isinstance(error, google.auth.exceptions.GoogleAuthError):
            if isinstance(error, google.auth.exceptions.TransportError):
                return told, None
            raise BadConfiguration(self._remedy(told, None)) from None
        if isinstance(
            error, TimeoutError | ConnectionError | httplib2.HttpLib2Error | json.JSONDecodeError | UnicodeDecodeError
        ):
            return told or type(error).__name__, None
        if isinstance(error, requests.RequestException):
            return told, None
        raise error

    def _remedy(self, told: str, status: int | None) -> str:
        """What is wrong with the access, and the command or the setting that mends it."""
        lower = told.lower()
        if status == 404:
            return f"there is no Earth Engine at {self.url}; mend [source] url, or leave it out"
        if "project" in lower and ("not registered" in lower or "not been used" in lower or "no project" in lower):
            return (
                f"the project {self.project!r} cannot be used with Earth Engine: {told}. Name another by [source] "
                "project, or register it: https://code.earthengine.google.com/register"
            )
        if self.token:
            fix = "put a fresh one into REGROWTH_EE_TOKEN, for instance: gcloud auth print-access-token"
            return f"Earth Engine refuses the bearer token: {told}. To mend it, {fix}"
        if self.key_file:
            return (
                f"Earth Engine refuses the credentials of {self.key_file}: {told}. Set GOOGLE_APPLICATION_CREDENTIALS "
                f"to the key of a service account that may use Earth Engine in project {self.project!r}"
            )
        return (
            f"there is no access to Earth Engine: {told}. Run: earthengine authenticate (or set "
            "GOOGLE_APPLICATION_CREDENTIALS to the key of a service account, or REGROWTH_EE_TOKEN)"
        )

    def _without_secrets(self, told: str) -> str:
        told = told.replace(self.token, "(token)") if self.token else told
        return " ".join(told.split())[:500]

    def start(self) -> None:
        """Start the client; by :class:`_Client` only."""
        # The client would open a list of deprecated data sets at another host, with no time limit, unless it has one.
        ee.deprecation.deprecated_assets = {"": cast("Any", None)}
        ee.data.setMaxRetries(0)
        try:
            credentials = self._credentials()
        except Exception as error:
            if isinstance(error, BadConfiguration):
                raise
            raise BadConfiguration(self._remedy(self._without_secrets(str(error)), None)) from None

        def initialize() -> None:
            ee.Initialize(
                credentials=credentials, url=self.url, project=self.project, http_transport=self._transport
            )  # fmt: skip

        try:
            self._ask("start", initialize)
        except Refused as error:
            raise BadConfiguration(self._remedy(str(error), 404)) from None

    def _credentials(self) -> Any:
        user: Any = google.oauth2.credentials.Credentials
        service: Any = google.oauth2.service_account.Credentials
        if self.token:
            return user(self.token)
        if self.key_file is None:
            return ee.data.get_persistent_credentials()
        try:
            content = json.loads(self.key_file.read_text(encoding="utf-8"))
            if content.get("type") == "authorized_user":
                return user.from_authorized_user_info(content, ee.oauth.SCOPES)
            return service.from_service_account_info(
                content, scopes=ee.oauth.SCOPES
            )  # fmt: skip
        except (OSError, ValueError, AttributeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no service account key"
            msg = (
                f"the credentials file {self.key_file} cannot be used: {why}. Set GOOGLE_APPLICATION_CREDENTIALS to "
                "the JSON key of a service account, or unset it and run: earthengine authenticate"
            )
            raise BadConfiguration(msg) from None


class _Client:
    """The one client of the process, and which connection it is started for.

    Two connections take turns: one waits until no request of the other is under way.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._connection: Connection | None = None
        self._under_way = 0

    @contextmanager
    def held_for(self, connection: Connection) -> Iterator[None]:
        self._take(connection)
        try:
            yield
        finally:
            with self._condition:
                self._under_way -= 1
                self._condition.notify_all()

    def _take(self, connection: Connection) -> None:
        with self._condition:
            self._condition.wait_for(lambda: self._connection is connection or self._under_way == 0)
            if self._connection is not connection:
                if self._connection is not None:
                    self._connection = None
                    ee.Reset()
                connection.start()
                self._connection = connection
            self._under_way += 1


_CLIENT: Final = _Client()
_MADE: Final[WeakValueDictionary[tuple[Any, ...], Connection]] = WeakValueDictionary()
_MAKING: Final = threading.Lock()


def compute_value(graph: Any) -> Any:
    """``ee.data.computeValue``, but an answer that holds no value is a broken one, which is asked for again."""
    try:
        return ee.data.computeValue(graph)
    except (KeyError, TypeError) as error:
        msg = "the answer holds no value"
        raise ConnectionError(msg) from error
