"""The points at which a night can fail: every write, commit, send and request; runs inside the night.

Each is a call that this module wraps. At the n-th of them the night fails in one way; without a number every call is
only listed. What changes a file without passing through a wrapped call is listed too, with the kind ``missed``.

    file write      data on its way to a file: half of it arrives
    file            a file or folder is created, moved or deleted
    store           a commit to a landscape, or its creation
    ledger          a commit to the ledger
    request         a connection is made, or bytes are sent over it: to the catalogue, mail server, webhook, heartbeat
"""

import builtins
import io
import os
import signal
import socket
import sqlite3
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

RAISE, FULL, STOP, HANG = "raise", "full", "stop", "hang"
KILL, KILL_AFTER, UNCONFIRMED = "kill", "kill after", "unconfirmed"
"""``stop``: the process is stopped as by SIGSTOP. ``hang``: nothing comes back over the network. ``kill after``: once
the call is done, of a write half. ``unconfirmed``: the call succeeds and says that it did not."""

KINDS = ("file write", "file", "store", "ledger", "request")
FAILURES = {
    RAISE: KINDS, FULL: ("file write", "file", "store", "ledger"), STOP: KINDS, HANG: ("request",), KILL: KINDS,
    KILL_AFTER: ("file write", "store", "ledger", "request"), UNCONFIRMED: ("store", "ledger", "request"),
}  # fmt: skip
"""Kinds of points at which each failure can occur."""
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Points:
    """Counts the calls of one process, and fails at one of them.

    Parameters
    ----------
    root : Path
        Folder of the installation: only its files count.
    report : Path
        File to which the chosen point is written; without a number all points are.
    number : int
        Of the chosen point, from 1; 0: none, all are listed.
    failure : str
        One of :data:`FAILURES`.
    """

    def __init__(self, root: Path, report: Path, number: int = 0, failure: str = "") -> None:
        self.root, self.number, self.failure = str(root.resolve()), number, failure
        self.count = 0
        self._lock = threading.Lock()
        self._inside = threading.local()
        self._report = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._os_write = os.write

    def reach(
        self,
        kind: str,
        what: str,
        call: Callable[[], Any],
        *,
        half: Callable[[], Any] | None = None,
        silent: Callable[[], Any] | None = None,
    ) -> Any:
        """Do a call, or fail. `half`: does half of it; `silent`: what the caller sees if nothing gets through."""
        if getattr(self._inside, "depth", 0):  # a call that another one makes
            return call()
        if kind not in FAILURES.get(self.failure, KINDS):
            return self._do(call)
        with self._lock:
            self.count += 1
            mine = self.count == self.number
        if mine or not self.number:
            self._os_write(self._report, f"{kind}\t{what}\n".encode())
        if not mine:
            return self._do(call)
        match self.failure:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "kill after":
                self._do(half or call)
                os.kill(os.getpid(), signal.SIGKILL)
            case "unconfirmed":
                self._do(call)
                raise _error(kind, what, full=False)
            case "raise" | "full":
                if half is not None:
                    self._do(half)
                raise _error(kind, what, full=self.failure == FULL)
            case "hang":
                assert silent is not None
                return silent()
        return self._do(call)

    def _do(self, call: Callable[[], Any]) -> Any:
        self._inside.depth = 1
        try:
            return call()
        finally:
            self._inside.depth = 0

    def counts(self, path: object) -> bool:
        """Whether a file belongs to the installation."""
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        return os.path.abspath(os.fsdecode(os.fspath(path))).startswith(self.root)

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """List what changes a file of the installation outside a wrapped call."""
        if getattr(self._inside, "depth", 0):
            return
        if event == "os.mkdir" and os.path.isdir(arguments[0]):
            return
        changes = event in {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
        if event == "open":
            changes = isinstance(arguments[2], int) and bool(arguments[2] & _WRITES)
        if (changes and self.counts(arguments[0])) or (event == "socket.connect" and arguments[1] != ("0.0.0.0", 0)):
            self._os_write(self._report, f"missed\t{event} {arguments[0]}\n".encode())


def _error(kind: str, what: str, *, full: bool) -> Exception:
    """The error that such a call raises by itself."""
    if kind.startswith("file"):
        return OSError(28, "No space left on device", what) if full else OSError(5, "Input/output error", what)
    if kind == "store":
        import icechunk

        return icechunk.IcechunkError(f"object store error Generic LocalFileSystem error: {_OF_THE_SYSTEM[full]}")
    if kind == "ledger":
        if what == "sqlite":
            return sqlite3.OperationalError("database or disk is full" if full else "disk I/O error")
        import psycopg

        if full:
            return psycopg.errors.DiskFull('could not extend file "base/16384/2619": No space left on device')
        return psycopg.OperationalError("server closed the connection unexpectedly")
    return ConnectionResetError(104, "Connection reset by peer")


_OF_THE_SYSTEM = {True: "No space left on device (os error 28)", False: "Input/output error (os error 5)"}


def install(points: Points) -> None:
    """Wrap the calls of this process."""
    for name in ("replace", "rename", "unlink", "remove", "mkdir", "rmdir", "link", "symlink", "truncate"):
        _wrap_file_call(points, name)
    _wrap_opening(points)
    _wrap_commits(points)
    for name in ("connect", "send", "sendall"):
        _wrap_socket(points, name)
    sys.addaudithook(points.audit)


def _wrap_file_call(points: Points, name: str) -> None:
    original = getattr(os, name)

    def wrapped(path: Any, *more: Any, **options: Any) -> Any:
        def call() -> Any:
            return original(path, *more, **options)

        if not points.counts(path) or (name == "mkdir" and os.path.isdir(path)):
            return call()
        return points.reach("file", f"{name} {_short(points, path)}", call)

    setattr(os, name, wrapped)


def _wrap_opening(points: Points) -> None:
    os_open, io_open = os.open, io.open

    class Written(io.FileIO):
        """A file whose every write is a point."""

        def write(self, data: Any, /) -> int:
            view, write = memoryview(data).cast("B"), super().write
            where = f"write {_short(points, os.readlink(f'/proc/self/fd/{self.fileno()}'))}"
            return int(
                points.reach("file write", where, lambda: write(view), half=lambda: write(view[: len(view) // 2]))
            )

    def open_descriptor(path: Any, flags: int, *more: Any, **options: Any) -> int:
        def call() -> int:
            return os_open(path, flags, *more, **options)

        if not flags & _WRITES or not points.counts(path):
            return call()
        return int(points.reach("file", f"open {_short(points, path)}", call))

    def open_file(
        file: Any, mode: str = "r", buffering: int = -1, encoding: str | None = None, errors: str | None = None,
        newline: str | None = None, closefd: bool = True, opener: Any = None,
    ) -> Any:  # fmt: skip
        where = os.readlink(f"/proc/self/fd/{file}") if isinstance(file, int) else file
        if not set(mode) & set("wax+") or not points.counts(where):
            return io_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        plain = mode.replace("b", "").replace("t", "")

        def call() -> Written:
            return Written(file, plain, closefd, opener)

        raw = call() if isinstance(file, int) else points.reach("file", f"open {_short(points, where)}", call)
        buffered: Any = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

    os.open = open_descriptor
    builtins.open = io.open = sys.modules["_io"].open = open_file


def _short(points: Points, path: Any) -> str:
    return os.path.relpath(os.fsdecode(os.fspath(path)), points.root)


def _wrap_commits(points: Points) -> None:
    import icechunk
    from sqlalchemy import Connection
    from sqlalchemy.engine.default import DefaultDialect

    def wrap(owner: Any, name: str, kind: str, what: Callable[..., str]) -> None:
        original = getattr(owner, name)

        def wrapped(*arguments: Any, **options: Any) -> Any:
            return points.reach(kind, what(*arguments), lambda: original(*arguments, **options))

        setattr(owner, name, wrapped)

    wrap(icechunk.Session, "commit", "store", lambda *_: "commit")
    wrap(icechunk.Repository, "create", "store", lambda *_: "create")
    wrap(DefaultDialect, "do_commit", "ledger", lambda dialect, _: str(dialect.name))
    commit = Connection._commit_impl

    def of_writers(self: Connection) -> None:
        """A transaction that only reads has nothing to commit."""
        commit(self) if not self.get_execution_options().get("reads") else points._do(lambda: commit(self))

    Connection._commit_impl = of_writers


def _wrap_socket(points: Points, name: str) -> None:
    original = getattr(socket.socket, name)
    silenced: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def wrapped(self: socket.socket, argument: Any, *more: Any) -> Any:
        def silent() -> int:
            """What is sent never arrives; a connection is not made within the time that the caller gives it."""
            silenced.add(self)
            if name != "connect":
                return len(argument)
            time.sleep(3600 if self.gettimeout() is None else 0)
            raise TimeoutError("timed out")

        if self.family not in (socket.AF_INET, socket.AF_INET6):
            return original(self, argument, *more)
        if self in silenced:
            return silent()
        start = argument if name == "connect" else bytes(argument[:40]).partition(b"\r")[0].decode("ascii", "replace")
        return points.reach("request", f"{name} {start}", lambda: original(self, argument, *more), silent=silent)

    setattr(socket.socket, name, wrapped)
