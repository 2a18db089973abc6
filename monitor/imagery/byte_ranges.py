"""Bytes of one file, remote or local, read range by range."""

import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from monitor.imagery.addresses import display_address
from monitor.imagery.fetch_errors import AccessDenied, FetchRefused, RequestRejected
from monitor.imagery.transport import Fetcher, HttpResponse, TransferCounts

MAX_WHOLE_FILE_BYTES: Final = 512 << 20  # largest file that is downloaded whole, from a server without ranges [byte]


@dataclass(eq=False)
class RemoteFile:
    """One file on a server, one request per range."""

    fetcher: Fetcher
    url: str
    renew_url: Callable[[], str] | None = None  # a newly signed address, requested once; None: there is no other
    cancelled: threading.Event | None = None  # see `monitor.imagery.transport.Fetcher.get`
    size: int | None = None  # size of the file, once known; a file of another size has changed [byte]

    def __post_init__(self) -> None:
        self.name = display_address(self.url)
        self._renewing = threading.Lock()
        self._whole: bytes | None = None

    def read(self, offset: int, length: int) -> bytes:
        """Bytes from an offset on, fewer than requested at the end of the file.

        Errors as of :meth:`monitor.imagery.transport.Fetcher.get`; FetchRefused also for a response with another range.
        """
        if self._whole is None:
            response = self._request(offset, length)
            if response is None:
                return b""
            if response.status != 200:
                return self._checked_range(response, offset, length)
            self._whole, self.fetcher.has_rangeless_server = response.body, True
        return self._whole[offset : offset + length]

    def _request(self, offset: int, length: int) -> HttpResponse | None:
        headers = {"Range": f"bytes={offset}-{offset + length - 1}", "Accept-Encoding": "identity"}
        # A server that has sent one range must not send the whole file for each concurrent one.
        max_whole = MAX_WHOLE_FILE_BYTES if self.size is None else None
        url = self.url
        try:
            return self.fetcher.get(
                url, max_bytes=length, max_whole=max_whole, headers=headers, cancelled=self.cancelled
            )
        except AccessDenied:
            with self._renewing:
                if url == self.url:  # no other thread has renewed it
                    if self.renew_url is None:
                        raise
                    self.url, self.renew_url = self.renew_url(), None
            return self._request(offset, length)
        except RequestRejected as error:
            if error.status == 416:  # the range starts beyond the end
                return None
            raise

    def _checked_range(self, response: HttpResponse, offset: int, length: int) -> bytes:
        stated = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", "").strip())
        body = response.body
        if response.status != 206 or not stated or int(stated[1]) != offset or int(stated[2]) - offset + 1 != len(body):
            raise FetchRefused(f"{self.name} answers with another range than was requested")
        size = int(stated[3]) if stated[3] != "*" else None
        if size is not None and self.size not in (None, size):
            raise FetchRefused(f"{self.name} changed while it was read")
        self.size = size if size is not None else self.size
        if len(body) < length and size is not None and offset + len(body) < size:
            raise FetchRefused(f"{self.name} answers with a shorter range than was requested")
        return body


class LocalFile:
    """One local file."""

    def __init__(self, path: Path, transfers: TransferCounts) -> None:
        self.name = display_address(str(path))
        self.size: int | None = None  # size of the file, once it was read from [byte]
        self._path = path
        self._transfers = transfers

    def read(self, offset: int, length: int) -> bytes:
        """Bytes from an offset on, fewer than requested at the end of the file; OSError if it cannot be read."""
        with self._path.open("rb") as file:
            file.seek(offset)
            data = file.read(length)
            self.size = os.fstat(file.fileno()).st_size
        self._transfers.add(bytes_read=len(data))
        return data
