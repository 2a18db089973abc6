"""Progress: a bar with the time left on a terminal, elsewhere lines in the logs or on stderr."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

FIRST_LINE_SECONDS: Final = 4.0  # time after which the first line is logged; shorter work logs none [s]
LINE_SECONDS: Final = 60.0  # time between later lines [s]
PLAIN_LINE_SECONDS: Final = 8.0  # time between lines on stderr [s]

type Report = Callable[[int, int], None]  # called with what is done, and what there is in all


def report_nothing(done: int, total: int) -> None:
    """Report nothing."""


@dataclass(slots=True)
class SceneProgress:
    """Scenes that a run has read, of those that it is to read.

    Threads count each scene as it is read; of other processes whole steps are counted as they end.
    """

    report: Report = report_nothing
    total: int = 0
    finished: int = 0  # scenes of finished steps
    read: int = 0  # scenes read in this process
    lock: threading.Lock = field(default_factory=threading.Lock)

    def expect(self, scenes: int) -> None:
        """So many more scenes are to be read, fewer if negative."""
        with self.lock:
            self.total += scenes
        self._report()

    def count_read(self) -> None:
        """A scene was read in this process."""
        with self.lock:
            self.read += 1
        self._report()

    def count_finished(self, scenes: int) -> None:
        """A step of so many scenes has ended."""
        with self.lock:
            self.finished += scenes
        self._report()

    def _report(self) -> None:
        if self.total:
            self.report(min(max(self.finished, self.read), self.total), self.total)


@contextmanager
def progress(description: str, *, plain: bool = False) -> Iterator[Report]:
    """Show what is done of something, and the time left, on stderr.

    Without a terminal a line is logged now and then; `plain`: it is written, for a command that logs errors only, also
    while the work in all is not known.
    """
    lines = _lines(description, _write_plain if plain else _log_lines)
    with _bar(description) if sys.stderr.isatty() else lines as report:
        yield report


@contextmanager
def dask_progress(description: str) -> Iterator[None]:
    """Show how many tasks dask has finished of those that this block computes."""
    from dask.callbacks import Callback

    total = done = 0

    def start(_graph: Any, state: dict[str, Any]) -> None:
        nonlocal total
        total = sum(len(state[kind]) for kind in ("ready", "waiting"))

    def finished(*_: Any) -> None:
        nonlocal done
        done += 1
        report(done, total)

    with progress(description) as report, Callback(start_state=start, posttask=finished):
        yield


@contextmanager
def _bar(description: str) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


@dataclass(slots=True)
class _Reported:
    """The last report."""

    done_and_total: tuple[int, int] | None = None  # None: there was none
    begun: float = 0.0  # when the work in all was first known [s]

    def report(self, done: int, total: int) -> None:
        if total and not self.begun:
            self.begun = time.monotonic()
        self.done_and_total = done, total


@contextmanager
def _lines(description: str, write: Callable[[str, _Reported, threading.Event], None]) -> Iterator[Report]:
    state, ended = _Reported(), threading.Event()
    writer = threading.Thread(target=write, args=(description, state, ended), daemon=True, name="progress")
    writer.start()
    try:
        yield state.report
    finally:
        ended.set()
        writer.join()


def _write_plain(description: str, state: _Reported, ended: threading.Event) -> None:
    begun = time.monotonic()
    while not ended.wait(PLAIN_LINE_SECONDS):
        done = "{} of {}".format(*state.done_and_total) if state.done_and_total else "at work"
        sys.stderr.write(f"{description}: {done}, {time.monotonic() - begun:.0f} s\n")
        sys.stderr.flush()


def _log_lines(description: str, state: _Reported, ended: threading.Event) -> None:
    import structlog

    log, wait, last = structlog.get_logger(), FIRST_LINE_SECONDS, None
    while not ended.wait(wait):
        if state.done_and_total in (None, last):
            continue  # before the first report the work in all is not known: look again soon
        last, wait = state.done_and_total, LINE_SECONDS
        done, total = last
        minutes = (time.monotonic() - state.begun) / 60 * (total - done) / done if done else None
        left = {} if minutes is None else {"minutes_left": round(minutes, 1)}
        log.info("progress", of=description, done=done, total=total, **left)
