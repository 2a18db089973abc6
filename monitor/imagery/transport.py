"""Fetching what a catalogue names, safely: nothing it writes can make the monitor reach where it should not.

An address in a catalogue is data from others. It is fetched only by https or http, only from hosts whose every
address is public, also after each redirect, and a connection goes to the very address that was checked. Local files
are read only below folders that the configuration names. Whatever comes is read up to a cap and a deadline, which
holds for connection, headers, body and redirects together. Addresses
are shown without their query, where signatures stand.
"""

import ipaddress
import os.path
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import SplitResult, unquote, urljoin, urlsplit, urlunsplit

import structlog
import urllib3
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.exceptions import HTTPError, IncompleteRead, NewConnectionError

from monitor.errors import BadConfiguration, MonitorError, TryLater
from monitor.imagery.deadline import HTTPPool, HTTPSPool, finished_by

log = structlog.get_logger()

BUDGET: Final = 90.0
"""Longest time that one request may take in all, its retries and waits included. [s]"""
CONNECT: Final = 10.0
"""Longest time to connect. [s]"""
SILENCE: Final = 20.0
"""Longest time without a byte. [s]"""
FIRST_WAIT: Final = 0.5
"""Wait before the first retry, doubled each time, if the server names none. [s]"""
LONGEST_WAIT: Final = 16.0
LEFT_ALONE: Final = 600.0
"""What gave no answer within a budget, an address or a host, is not asked for so long: not each site is to wait. [s]"""
BRIEF: Final = 10.0
"""The budget for asking again at a host of which an address gave no answer: of the next ones not each may. [s]"""
SEVERAL: Final = 3
"""A host is down if so many scenes, or other addresses, in a row got no answer; fewer are files that are broken."""
CUTS: Final = 3
"""Times that a body may end early before it is taken for broken."""
REDIRECTS: Final = 5
CONNECTIONS: Final = 64
"""Connections to a host that are kept open, at most."""
CHUNK: Final = 1 << 16
WHOLE: Final = 512 << 20
"""Longest file that is taken whole from a server that knows no ranges. [byte]"""
AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers after which the same request may succeed."""
_UNREACHED: Final = (NewConnectionError, urllib3.exceptions.ConnectTimeoutError, socket.gaierror)
"""Errors before a host was reached."""


class Refused(MonitorError):
    """An address that must not be fetched, or an answer that must not be taken."""


class Gone(MonitorError):
    """There is nothing at an address."""


class Denied(MonitorError):
    """The server refuses an address (401 or 403)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Rejected(MonitorError):
    """The server does not take the request (any other status that is no success)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class NoAnswer(TryLater):
    """An address gives no answer, and nothing is known against its host."""


class Endless(Refused):
    """A body, or a number of pages, beyond all measure."""


class Cut(Refused):
    """A body that ends before its announced length, time and again."""


@dataclass(slots=True)
class Tally:
    """What was fetched and decoded so far."""

    requests: int = 0
    retries: int = 0
    bytes_read: int = 0
    """Bodies, as sent. [byte]"""
    bytes_decoded: int = 0
    """Pixels decoded from blocks of a provider. [byte]"""
    bytes_used: int = 0
    """Pixels of the provider that lie on the grids asked for, as often as grids overlap. [byte]"""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, **counts: int) -> None:
        """Count."""
        with self._lock:
            for name, count in counts.items():
                setattr(self, name, getattr(self, name) + count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a server sent."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str
    """Where it came from in the end."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """Hosts and folders, other than public hosts, that the configuration allows."""

    hosts: frozenset[str] = frozenset()
    """``host`` or ``host:port``, in small letters."""
    folders: tuple[Path, ...] = ()

    @classmethod
    def of(cls, names: Iterable[str]) -> "Allowed":
        """Read ``allow_hosts``: what holds a slash or is a folder is one, all else is a host.

        Raises
        ------
        BadConfiguration
            A name that is neither.
        """
        hosts: set[str] = set()
        folders: list[Path] = []
        for name in names:
            text = name.removeprefix("file://")
            if not text.strip():
                msg = "allow_hosts: an empty name is neither host nor folder"
                raise BadConfiguration(msg)
            if re.fullmatch(r"[A-Za-z0-9._-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?", text) and not (
                Path(text).is_dir() or text in (".", "..")
            ):
                hosts.add(text.lower())
            elif "/" in text or "\\" in text or Path(text).is_dir() or text in (".", ".."):
                if "://" in text:
                    msg = f"allow_hosts: {shown(name)!r} is an address; write only its host, as in '127.0.0.1:8080'"
                    raise BadConfiguration(msg)
                folders.append(Path(text).expanduser().resolve())
            else:
                msg = f"allow_hosts: {name[:80]!r} is no host, no host:port and no folder"
                raise BadConfiguration(msg)
        return cls(frozenset(hosts), tuple(folders))

    def host(self, name: str, port: int) -> bool:
        """Whether a host is named."""
        spelled = f"[{name}]" if ":" in name else name
        return spelled in self.hosts or f"{spelled}:{port}" in self.hosts

    def file(self, path: Path) -> Path:
        """The plain file or folder meant by a path, links followed.

        Raises
        ------
        Refused
            It lies outside the folders that are allowed.
        """
        try:
            real = os.path.realpath(path)  # text all the way: a catalogue of ten years names thousands of files
        except (OSError, RuntimeError, ValueError) as error:
            msg = f"{shown(str(path))!r} is no path that can be followed"
            raise Refused(msg) from error
        if not any(f"{real}/".startswith(os.path.join(folder, "")) for folder in self.folders):
            folder = real if os.path.isdir(real) else os.path.dirname(real)
            msg = (
                f"local file {shown(str(path))!r} is refused, since no folder that holds it is named; "
                f'if it is meant, add allow_hosts = ["{shown(folder)}"] to [source]'
            )
            raise Refused(msg)
        return Path(real)


def shown(address: str) -> str:
    """An address or path fit for a message: no query, no user, no control characters, not long.

    Examples
    --------
    >>> shown("https://me:secret@host/a.tif?sig=abc#x")
    'https://host/a.tif'
    """
    text = "".join(letter for letter in address if letter.isprintable())
    try:
        parts = urlsplit(text)
    except ValueError:
        return re.split(r"[?#@]", text)[0][:120]
    if parts.netloc:
        text = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    else:
        text = re.split(r"[?#]", text)[0]
    return text if len(text) <= 160 else f"{text[:100]}...{text[-50:]}"


def is_remote(address: str) -> bool:
    """Whether an address names a server: any scheme but ``file``."""
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):", address)  # one letter is a drive
    return bool(scheme) and scheme[1].lower() != "file"  # type: ignore[index]


def joined(base: str, reference: str) -> str:
    """An address relative to another, for paths as well."""
    if is_remote(reference) or reference.startswith("file:"):
        return reference
    if is_remote(base):
        return urljoin(base, reference)
    # Without its detours, so that a catalogue that leads back to itself is noticed.
    return os.path.normpath(os.path.join(os.path.dirname(local_path(base)), reference))


def local_path(address: str) -> str:
    """The path of a ``file:`` address, or the path that it is."""
    if not address.startswith("file:"):
        return address
    parts = urlsplit(address)
    return unquote(parts.path) if parts.netloc in ("", "localhost") else f"//{parts.netloc}{unquote(parts.path)}"


class Transport:
    """Reads addresses under the rules of the module.

    Parameters
    ----------
    allowed : Allowed
        Hosts and folders beyond public hosts.
    budget : float
        Longest time that one request may take, retries and waits included. [s]
    sleep, clock : callable, optional
        Waiting and a monotonic clock; tests pass their own.
    """

    def __init__(
        self,
        allowed: Allowed,
        *,
        budget: float = BUDGET,
        sleep: Callable[[float], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.allowed = allowed
        self.budget = budget
        self.tally = Tally()
        self._sleep = sleep
        self._clock = clock
        self._pools: dict[tuple[str, str, int], urllib3.HTTPConnectionPool] = {}
        self._lock = threading.Lock()
        self._tls: ssl.SSLContext | None = None
        self._turn: dict[tuple[str, str, int], int] = {}
        self._answered: set[str] = set()
        self._down: dict[str, float] = {}
        """Until when each host or address is left alone."""
        self._silent: dict[str, set[object]] = {}
        """Scenes and other addresses of each host that got no answer since it gave one."""
        self._heard: dict[str, tuple[float, str]] = {}
        """When each host gave its last answer, and of which address."""
        self.sends_whole = False
        """Whether some server sends the whole of a file where a part is asked for."""
        self._unsure: set[str] = set()
        """Hosts of which some address gave no answer."""
        self._folders: dict[str, bool] = {}
        """Whether files of a folder may be read, by folder: catalogues name them over and over."""

    def answered(self, url: str) -> bool:
        """Whether the host of an address has given anything yet."""
        return (urlsplit(url).hostname or "") in self._answered

    def file(self, address: str) -> Path:
        """The plain local file at an address.

        Raises
        ------
        Refused
            It is not allowed, or no plain file.
        Gone
            There is none.
        """
        path = self.allowed.file(Path(local_path(address)))
        if not path.exists():
            msg = f"there is no file {shown(str(path))!r}"
            raise Gone(msg)
        if not path.is_file():
            msg = f"{shown(str(path))!r} is no plain file"
            raise Refused(msg)
        return path

    def check(self, address: str) -> None:
        """Whether an address may be fetched, as far as can be told without asking a name server.

        Raises
        ------
        Refused
            It may not.
        """
        if not is_remote(address):
            path = local_path(address)
            folder, name = os.path.split(path)
            if name in ("", "..") or os.path.islink(path) or not self._within(folder):
                self.allowed.file(Path(path))
            return
        parts = self._checked(address)
        host = parts.hostname or ""
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return
        self._addresses(host, _place(parts)[2])

    def _within(self, folder: str) -> bool:
        if folder not in self._folders:
            try:
                self.allowed.file(Path(folder))
                self._folders[folder] = True
            except Refused:
                self._folders[folder] = False
        return self._folders[folder]

    def get(
        self,
        url: str,
        *,
        cap: int,
        whole: int | None = None,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        over: threading.Event | None = None,
    ) -> Answer:
        """One answer, after redirects and retries.

        Parameters
        ----------
        url : str
            https or http.
        cap : int
            Longest body that is taken, decompressed. [byte]
        whole : int, optional
            The same where the server sends the whole (status 200) though a range was asked for; default: `cap`. [byte]
        method, headers, body
            Of the request. Only requests that change nothing are made, so all are retried.
        over : Event, optional
            Of the scene that the address belongs to; set when nobody waits for the answer any more: then it is not
            asked for again.

        Raises
        ------
        Refused
            An address that is not allowed, or a body beyond the cap.
        Gone, Denied, Rejected
            404 or 410; 401 or 403; other 4xx.
        NoAnswer
            No answer within the budget.
        TryLater
            The same, and the host is down: it takes no connection, asks to be left alone, or gave nothing else either.
        """
        begun = self._clock()
        host, address = urlsplit(url).netloc, url.partition("?")[0]
        for place, kind in ((host, TryLater), (address, NoAnswer)):
            if begun < self._down.get(place, 0.0):
                msg = f"{shown(url)} gave no answer a short while ago; try again later"
                raise kind(msg)
        wait, cuts = FIRST_WAIT, 0
        while True:
            asked, said, down = None, "", False
            try:
                answer = self._once(
                    url, caps=(cap, whole or cap), method=method, headers=headers or {}, body=body, begun=begun
                )
            except (HTTPError, OSError) as error:
                said = _reason(error)  # an error of the client repeats the address, with its signature
                down = isinstance(error, _UNREACHED)
                cuts += _is_cut(error)
                if cuts == CUTS:
                    msg = f"{shown(url)} ends before its announced length, {CUTS} times"
                    raise Cut(msg) from None
                if isinstance(error, ssl.SSLError | urllib3.exceptions.SSLError):
                    msg = f"{shown(url)}: {said}; try again later"
                    raise TryLater(msg) from None
            else:
                if answer.status not in AGAIN:
                    self._silent.pop(host, None)
                    self._heard[host] = self._clock(), url
                    return self._settled(answer)
                down = answer.status == 429
                asked, said = _asked(_header(answer, "Retry-After")), f"status {answer.status}"
            pause = min(wait, LONGEST_WAIT) if asked is None else asked
            left = self.budget - (self._clock() - begun)
            brief = BRIEF - (self.budget - left) if host in self._unsure else left
            if pause >= min(left, brief):
                self._unsure.add(host)
                silent = self._silent.setdefault(host, set())
                silent.add(over or address)
                if not down and len(silent) >= SEVERAL:
                    down = not self._answers(host, since=begun)
                self._down[host if down else address] = self._clock() + LEFT_ALONE
                told = f", and asks to wait {asked:.0f} s" if asked is not None else ""
                spent = self._clock() - begun
                msg = f"{shown(url)} gives no answer ({said}{told}) within {spent:.0f} s; try again later"
                raise (TryLater if down else NoAnswer)(msg) from None
            log.info("asking again", url=shown(url), said=said, seconds=round(pause, 1))
            self.tally.add(retries=1)
            self._pause(pause, over)
            if over is not None and over.is_set():
                msg = f"{shown(url)} is not waited for any more"
                raise TryLater(msg)
            wait *= 2

    def _answers(self, host: str, *, since: float) -> bool:
        """Whether a host that answered other requests since a moment still gives what it gave last.

        Files of several scenes are asked for at the same time: that each has one without an answer does not mean that
        the host is down.
        """
        when, url = self._heard.get(host, (since, ""))
        if when <= since:
            return False
        try:
            begun = self._clock() - self.budget + min(self.budget, BRIEF)
            answer = self._once(
                url, caps=(CHUNK, CHUNK), method="GET", headers={"Range": "bytes=0-0"}, body=None, begun=begun
            )
            answers = answer.status not in AGAIN
        except Endless:  # the whole of it
            answers = True
        except (HTTPError, OSError, MonitorError):
            answers = False
        if answers:
            self._silent.pop(host, None)
        return answers

    def _pause(self, seconds: float, over: threading.Event | None) -> None:
        if self._sleep is not None:
            self._sleep(seconds)
        elif over is not None:
            over.wait(seconds)
        else:
            time.sleep(seconds)

    def _settled(self, answer: Answer) -> Answer:
        place = shown(answer.url)
        if answer.status in (401, 403):
            msg = f"{place} refuses access (status {answer.status})"
            raise Denied(answer.status, msg)
        if answer.status in (404, 410):
            msg = f"there is nothing at {place} (status {answer.status})"
            raise Gone(msg)
        if not 200 <= answer.status < 300:
            msg = f"{place} does not take the request (status {answer.status})"
            raise Rejected(answer.status, msg)
        self._answered.add(urlsplit(answer.url).hostname or "")
        return answer

    def _once(
        self,
        url: str,
        *,
        caps: tuple[int, int],
        method: str,
        headers: Mapping[str, str],
        body: bytes | None,
        begun: float,
    ) -> Answer:
        for _ in range(REDIRECTS + 1):
            parts = self._checked(url)
            left = self.budget - (self._clock() - begun)
            pool = self._pool(parts)
            self.tally.add(requests=1)
            with finished_by(time.monotonic() + left):
                try:
                    response = pool.urlopen(
                        method,
                        urlunsplit(("", "", parts.path or "/", parts.query, "")),
                        body=body,
                        headers={"Host": parts.netloc, "User-Agent": "regrowth-monitor", **headers},
                        redirect=False,
                        retries=False,
                        preload_content=False,
                        decode_content=False,
                        assert_same_host=False,
                        timeout=urllib3.Timeout(connect=CONNECT, read=SILENCE),
                    )
                except _UNREACHED:
                    self._elsewhere(parts)
                    raise
                try:
                    target = response.headers.get("Location")
                    if response.status in (301, 302, 303, 307, 308) and target:
                        url = self._redirected(url, target)
                        if response.status == 303:
                            method, body = "GET", None
                        continue
                    cap = caps[response.status == 200]
                    taken = b"" if response.status >= 400 else self._body(response, cap, url)
                    return Answer(status=response.status, headers=dict(response.headers), body=taken, url=url)
                finally:
                    response.close()  # what was read to its end has given its connection back already
        msg = f"{shown(url)} redirects more than {REDIRECTS} times"
        raise Refused(msg)

    def _redirected(self, url: str, target: str) -> str:
        target = urljoin(url, target)
        if url.lower().startswith("https:") and not target.lower().startswith("https:"):
            msg = f"{shown(url)} redirects to {shown(target)}, which is not https"
            raise Refused(msg)
        return target

    def _body(self, response: urllib3.BaseHTTPResponse, cap: int, url: str) -> bytes:
        taken = bytearray()
        while chunk := response.read1(CHUNK, decode_content=True):
            taken += chunk
            if len(taken) > cap:
                msg = f"{shown(url)} sends more than {cap:,} bytes"
                raise Endless(msg)
        self.tally.add(bytes_read=len(taken))
        return bytes(taken)

    def _checked(self, url: str) -> SplitResult:
        """The parts of an address that may be asked for, by its spelling alone."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            _refuse(url, "is no address")
        if parts.scheme not in ("http", "https"):
            _refuse(url, f"has the scheme {parts.scheme[:20]!r}; only https and http are fetched")
        if not host:
            _refuse(url, "names no host")
        if parts.username is not None or parts.password is not None:
            _refuse(url, "holds a user or password")
        if port == 0:
            _refuse(url, "names no port that can be")
        return parts

    def _elsewhere(self, parts: SplitResult) -> None:
        """Next time take another address of a host."""
        key = _place(parts)
        with self._lock:
            self._pools.pop(key, None)
            self._turn[key] = self._turn.get(key, 0) + 1

    def _pool(self, parts: SplitResult) -> urllib3.HTTPConnectionPool:
        key = _place(parts)
        _, host, port = key
        with self._lock:
            if key not in self._pools:
                found = self._addresses(host, port)
                place = found[self._turn.get(key, 0) % len(found)]
                self._pools[key] = (
                    HTTPSPool(
                        place,
                        port,
                        maxsize=CONNECTIONS,
                        ssl_context=self._trust(),
                        server_hostname=host,
                        assert_hostname=host,
                    )
                    if parts.scheme == "https"
                    else HTTPPool(place, port, maxsize=CONNECTIONS)
                )
            return self._pools[key]

    def _addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a host; every one must be public."""
        found = list(_addresses(host, port))
        if not self.allowed.host(host.lower(), port):
            for place in found:
                if not _public(place):
                    msg = (
                        f"host {shown(host)!r} lies at a private, local or reserved address, which is refused; "
                        f'if it is meant, add allow_hosts = ["{shown(host)}:{port}"] to [source]'
                    )
                    raise Refused(msg)
        return found

    def _trust(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
        return self._tls


class Ranges:
    """Bytes of one file on a server, a range a request.

    Parameters
    ----------
    transport : Transport
        Fetches.
    url : str
        Of the file.
    renewed : callable, optional
        Gives the address anew when the server refuses it, once; None: there is no other.
    over : Event, optional
        See :meth:`Transport.get`.
    size : int, optional
        Of the file, if it is known already: a file of another size has changed. [byte]
    """

    def __init__(
        self,
        transport: Transport,
        url: str,
        renewed: Callable[[], str] | None = None,
        over: threading.Event | None = None,
        *,
        size: int | None = None,
    ) -> None:
        self._over = over
        self.name = shown(url)
        self.url = url
        self._transport = transport
        self._renewed = renewed
        self._renewing = threading.Lock()
        self._whole: bytes | None = None
        self.size = size
        """Of the file, once a server has named it. [byte]"""

    def read(self, offset: int, length: int) -> bytes:
        """Bytes from an offset on, fewer than asked for where the file ends.

        Raises
        ------
        Refused, Gone, Denied, Rejected, TryLater
            As :meth:`Transport.get`; `Refused` also for an answer of another range.
        """
        if self._whole is None:
            answer = self._range(offset, length)
            if answer is None:
                return b""
            if answer.status != 200:
                return self._part(answer, offset, length)
            self._whole, self._transport.sends_whole = answer.body, True  # the server knows no ranges
        return self._whole[offset : offset + length]

    def _range(self, offset: int, length: int) -> Answer | None:
        headers = {"Range": f"bytes={offset}-{offset + length - 1}", "Accept-Encoding": "identity"}
        # A server that has sent a range must not send the whole for each of the others, asked for at the same time.
        whole = WHOLE if self.size is None else None
        url = self.url
        try:
            return self._transport.get(url, cap=length, whole=whole, headers=headers, over=self._over)
        except Denied:
            with self._renewing:
                if url == self.url:  # no other thread has renewed it
                    if self._renewed is None:
                        raise
                    self.url, self._renewed = self._renewed(), None
            return self._range(offset, length)
        except Rejected as error:
            if error.status == 416:  # the range begins beyond the end
                return None
            raise

    def _part(self, answer: Answer, offset: int, length: int) -> bytes:
        told = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", _header(answer, "Content-Range").strip())
        if answer.status != 206 or not told or int(told[1]) != offset or int(told[2]) - offset + 1 != len(answer.body):
            msg = f"{self.name} answers with another range than was asked for"
            raise Refused(msg)
        size = int(told[3]) if told[3] != "*" else None
        if size is not None and self.size not in (None, size):
            msg = f"{self.name} changed while it was read"
            raise Refused(msg)
        self.size = size if size is not None else self.size
        if len(answer.body) < length and size is not None and offset + len(answer.body) < size:
            msg = f"{self.name} answers with a shorter range than was asked for"
            raise Refused(msg)
        return answer.body


class PlainFile:
    """Bytes of one local file."""

    def __init__(self, path: Path, tally: Tally) -> None:
        self.name = shown(str(path))
        self.size: int | None = None
        self._path = path
        self._tally = tally

    def read(self, offset: int, length: int) -> bytes:
        """Bytes from an offset on, fewer than asked for where the file ends."""
        with self._path.open("rb") as file:
            file.seek(offset)
            data = file.read(length)
        self._tally.add(bytes_read=len(data))
        return data


def _header(answer: Answer, name: str) -> str:
    return next((value for key, value in answer.headers.items() if key.lower() == name.lower()), "")


def _place(parts: SplitResult) -> tuple[str, str, int]:
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _is_cut(error: Exception) -> bool:
    """Whether a body ended before its announced length."""
    return isinstance(error, IncompleteRead) or any(isinstance(cause, IncompleteRead) for cause in error.args)


def _addresses(host: str, port: int) -> Iterator[str]:
    for *_, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        yield str(place[0]).partition("%")[0]


def _public(place: str) -> bool:
    address = ipaddress.ip_address(place)
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is not None:
            return _public(str(inner))
        if address in ipaddress.ip_network("64:ff9b::/96"):  # an IPv4 address behind a translator
            return _public(str(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)))
    return address.is_global and not address.is_multicast


def _refuse(url: str, why: str) -> NoReturn:
    msg = f"address {shown(url)!r} {why}"
    raise Refused(msg)


def _reason(error: Exception) -> str:
    """The kind of an error, never its text."""
    if isinstance(error, socket.gaierror):
        return "the host has no address"
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return "nothing, or too slowly"
    if isinstance(error, ssl.SSLError | urllib3.exceptions.SSLError):
        return "its certificate does not hold"
    return type(error).__name__


def _asked(text: str | None) -> float | None:
    """Seconds to wait that a server asks for; None: it does not say."""
    if not text:
        return None
    try:
        return max(float(int(text)), 0.0)
    except ValueError:
        pass
    try:
        return max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except (ValueError, TypeError, OverflowError):
        return None
