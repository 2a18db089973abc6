"""Input from outside: valid documents and files with a few things wrong, and a watch over what reading them does."""

import copy
import gc
import random
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

MAX_SECONDS = 5
"""Processor time that one input may take. [s]"""
TEXTS = (
    "", " ", "a", "-1", "1e999", "NaN", "x" * 3000, "\0", "a\r\nBcc: b@example.org", "\x1b[2J", "\u202e", "\ud800",
    "../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "/vsicurl/http://127.0.0.1:9/x", "http://127.0.0.1:9/x",
    "http://[::1", "PG:dbname=x", "=cmd()", "<script>", "{{7*7}}", "%s%n", "2021-02-30", "9999-12-31", "0001-01-01",
    "é", "民勤", "planting", "loess", "Polygon", "Feature", "EPSG:4326", "sqlite:////etc/passwd",
)  # fmt: skip
"""Texts that lead somewhere else, or that somebody takes for something else."""
VALUES = (
    None, True, False, 0, -1, 1, 0.5, 1e308, -1e-320, float("nan"), float("inf"), 2**31, 2**63, 2**64, 10**400, [],
    {}, [[]], [None], [0, 0], [[0, 0]], [[[0, 0]]], {"type": "Polygon"}, {"": None}, [1e308] * 6, ["a"] * 50,
)  # fmt: skip
"""Values of JSON, also those that only Python's reader accepts."""


def quickly(examples: int) -> settings:
    """Settings of a fuzz test; few examples are the same in every run, so that `make test` is repeatable."""
    return settings(
        max_examples=examples, deadline=None, database=None, derandomize=examples <= 200, print_blob=False,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip


def odd_value(chance: random.Random) -> Any:
    """A value that is probably wrong."""
    return copy.deepcopy(chance.choice(TEXTS) if chance.random() < 0.5 else chance.choice(VALUES))


@st.composite
def altered(draw: st.DrawFn, document: Any) -> Any:
    """A JSON document with one to four of its members replaced, left out, exchanged or nested."""
    chance = draw(st.randoms(use_true_random=False))
    holder = {"document": copy.deepcopy(document)}
    for _ in range(chance.randint(1, 4)):
        places = list(_places(holder))
        if not places:
            break
        parent, key = chance.choice(places[1:] or places)
        match chance.randrange(5):
            case 0:
                del parent[key]
            case 1:
                other, name = chance.choice(places)
                parent[key] = copy.deepcopy(other[name]) if _holds(other, name) else None
            case 2:
                parent[key] = [parent[key]]
            case _:
                parent[key] = odd_value(chance)
    return holder.get("document")


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every member of a document, as its parent and its key."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _holds(parent: Any, key: Any) -> bool:
    return key in parent if isinstance(parent, dict) else key < len(parent)


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """A file with one to six places overwritten, cut out, doubled or filled."""
    chance = draw(st.randoms(use_true_random=False))
    data = bytearray(content)
    for _ in range(chance.randint(1, 6)):
        at, size = chance.randrange(len(data) + 1), chance.choice((1, 1, 2, 4, 8, 64, 500))
        match chance.randrange(5):
            case 0:
                data[at : at + size] = chance.randbytes(size)
            case 1:
                data[at : at + size] = chance.choice((b"\xff", b"\0", b"\x7f", b"<", b"[", b'"', b",")) * size
            case 2:
                del data[at : at + size]
            case 3:
                data[at:at] = data[at : at + size]
            case _:
                data[at : at + 1] = bytes([data[at] ^ 1 << chance.randrange(8)] if at < len(data) else b"")
    return bytes(data) if chance.random() < 0.9 else bytes(data[: chance.randrange(len(data) + 1)])


_FILES = (
    "os.listdir", "os.scandir", "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod",
    "os.truncate", "shutil.rmtree", "shutil.copyfile", "shutil.move", "sqlite3.connect",
)  # fmt: skip
"""Events whose arguments are paths."""
_MODES = ("r", "rb", "w", "wb", "a", "x", "xb", "rt")


class _Watch:
    """What an input made the program do besides reading it; an audit hook stays for ever, so there is one."""

    def __init__(self) -> None:
        self.thread: int | None = None
        self.allowed: tuple[str, ...] = ()
        self.touched: list[str] = []
        self._installed = False

    def install(self) -> None:
        if not self._installed:
            sys.addaudithook(self._saw)
            self._installed = True

    def _saw(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.thread != threading.get_ident():
            return
        if event == "open" or event in _FILES:
            paths = [str(path, "utf-8") if isinstance(path, bytes) else path for path in arguments[:2]]
            if all(path.startswith(self.allowed) for path in paths if isinstance(path, str) and path not in _MODES):
                return
        elif not event.startswith(("socket.", "subprocess.", "os.exec", "os.posix_spawn", "os.system", "os.fork")):
            return
        self.touched.append(f"{event} {arguments}"[:300])


_WATCH = _Watch()


@contextmanager
def nothing_else_touched(*folders: Path, processes: bool = False) -> Iterator[None]:
    """Check that no file outside of some folders and of the installation is opened, no address, and time is limited.

    Parameters
    ----------
    *folders : Path
        Folders that may be read and written.
    processes : bool
        Whether processes may be started.
    """
    _WATCH.install()
    root = Path(__file__).parents[2]
    installed = (sys.prefix, sys.base_prefix, str(root / "jobs"), str(root / "monitor"), str(root / ".venv"))
    _WATCH.allowed = (
        *map(str, folders), *installed, "/usr/lib/", "/usr/share/zoneinfo", "/proc/self", "/dev/null", "__editable__",
    )  # fmt: skip
    _WATCH.touched = []
    gc.disable()  # what earlier tests left would close and remove files of theirs meanwhile, and take time
    start = time.thread_time()
    _WATCH.thread = threading.get_ident()
    try:
        yield
    finally:
        _WATCH.thread = None
        gc.enable()
    assert time.thread_time() - start < MAX_SECONDS
    touched = [
        what
        for what in _WATCH.touched
        if not (processes and what.startswith(("subprocess.", "os.posix_spawn", "os.fork")))
    ]
    assert not touched, f"opened or requested: {touched[:5]}"
