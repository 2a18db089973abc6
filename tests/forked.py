"""Python programs in processes of their own that begin at once: forked from one that has loaded what a night loads.

    done = forked.run(["-m", "jobs.cli", "status"])            # as subprocess.run([sys.executable, ...])
    with forked.Python(["-c", code]) as process:               # .pid, .stdout, .stderr, .kill(), .join(), .exitcode

A start of Python with these modules costs two seconds of computing, a fork a few hundredths. A program has its own
arguments, environment and streams, and ends as any does; tests of what a start itself does start Python.
"""

import atexit
import multiprocessing
import os
import runpy
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import ModuleType
from typing import Self

multiprocessing.get_context("forkserver").set_forkserver_preload(["tests.preloaded"])


class Python(ForkServerProcess):
    """A program that runs; its arguments are those of the interpreter: ``-m`` or ``-c``, and what follows.

    `terminal`: path of one from which it reads and to which it writes. What still runs at the end of a ``with`` block
    is killed.
    """

    def __init__(
        self, arguments: list[str | Path], *, env: dict[str, str] | None = None, terminal: str | None = None
    ) -> None:
        ours, theirs = zip(*(multiprocessing.Pipe(duplex=False) for _ in range(2)), strict=True)
        environment = dict(os.environ if env is None else env)
        super().__init__(target=_become, args=([os.fspath(one) for one in arguments], environment, terminal, theirs))
        self.start()
        for end in theirs:
            end.close()
        self.stdout, self.stderr = (os.fdopen(os.dup(end.fileno()), encoding="utf-8") for end in ours)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Kill it, if it still runs, and wait until it is gone."""
        self.kill()
        self.join()
        self.stdout.close()
        self.stderr.close()

    def communicate(self, timeout: float = 120) -> tuple[str, str]:
        """Wait for the end, and return what was written; after `timeout` it is killed. [s]"""
        with ThreadPoolExecutor(2) as pool:
            texts = pool.map(lambda stream: stream.read(), (self.stdout, self.stderr))
            self.join(timeout)
            if self.exitcode is None:
                self.kill()
                raise TimeoutError(f"not ended after {timeout:g} s")
        output, errors = texts
        return output, errors


def run(
    arguments: list[str | Path], *, env: dict[str, str] | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    with Python(arguments, env=env) as process:
        output, errors = process.communicate(timeout)
    return subprocess.CompletedProcess(arguments, process.exitcode or 0, output, errors)


def _become(
    arguments: list[str], environment: dict[str, str], terminal: str | None, streams: tuple[Connection, ...]
) -> None:
    """Run a program in a forked process."""
    for stream, end in enumerate(streams, 1):
        with end:
            os.dup2(end.fileno(), stream)
    if terminal:
        with open(terminal, "r+b", buffering=0) as file:
            for stream in range(3):
                os.dup2(file.fileno(), stream)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - for as long as the process lasts
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", errors="backslashreplace", closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    kind, what, *more = arguments
    sys.argv = [kind, *more]
    try:
        if kind == "-m":
            sys.modules.pop(what, None)
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            sys.modules["__main__"] = main = ModuleType("__main__")
            exec(compile(what, "<string>", "exec"), main.__dict__)
    except Exception:  # noqa: BLE001
        sys.excepthook(*sys.exc_info())
        sys.exit(1)
    finally:  # multiprocessing leaves this out, or does it after the last flush
        threading._shutdown()
        atexit._run_exitfuncs()
        weakref.finalize._exitfunc()
