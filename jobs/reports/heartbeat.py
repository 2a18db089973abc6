"""Tell a monitoring service when a night starts and how it ends, in the dialect of healthchecks.

``GET URL/start``, then ``GET URL`` after exit status 0, else ``GET URL/fail?exit_status=N``. The address identifies the
installation, so logs show only its host. No address delays a night or changes its exit status.
"""

import threading
from typing import Final
from urllib.parse import urlsplit

import structlog

from jobs.runtime.exits import Exit
from jobs.runtime.settings import HeartbeatSettings
from monitor.alerts.channels.http_client import HttpClient

log = structlog.get_logger()

DEADLINE: Final = 10.0  # longest time of one request [s]
START_GRACE: Final = 1.0  # longest time that the last request waits for the first one, so that they arrive in order [s]
END_GRACE: Final = 3.0  # longest time that a night waits for its last request [s]


class Heartbeat:
    """The requests of one night, each in a thread that does not keep the process alive; none without an address."""

    def __init__(self, settings: HeartbeatSettings) -> None:
        self._url, self._allow_hosts = settings.url.rstrip("/"), settings.allow_hosts
        self._host = urlsplit(settings.url).hostname
        self._start: threading.Thread | None = None
        self._logged = threading.Lock()  # held from the first problem on: it is logged once

    def start(self) -> None:
        """Report that a night starts; returns at once."""
        if self._url:
            self._start = self._request("/start")

    def end(self, status: int) -> None:
        """Report the exit status of the night; returns after at most :data:`START_GRACE` and :data:`END_GRACE`.

        A night that ended before it began is reported as started, too.
        """
        if not self._url:
            return
        if self._start is None:
            self.start()
        assert self._start is not None
        self._start.join(START_GRACE)
        last = self._request("" if status == Exit.DONE else f"/fail?exit_status={int(status)}")
        last.join(END_GRACE)
        if last.is_alive():
            self._log("no answer in time")

    def _request(self, path: str) -> threading.Thread:
        thread = threading.Thread(target=self._get, args=(self._url + path,), name="heartbeat", daemon=True)
        thread.start()
        return thread

    def _get(self, url: str) -> None:
        try:
            response = HttpClient(self._allow_hosts, section="[heartbeat]", deadline=DEADLINE).request("GET", url)
            if response.status >= 400:
                self._log(f"answers with status {response.status}")
        except Exception as error:  # noqa: BLE001 - no answer of the service may disturb a night
            self._log(str(error))

    def _log(self, error: str) -> None:
        if self._logged.acquire(blocking=False):
            error = error.replace(self._url, f"https://{self._host}/***")
            log.warning("heartbeat not delivered; the night is unaffected", host=self._host, error=error)
