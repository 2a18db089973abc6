"""Read files that nobody vouches for in a process of its own, which has no rights that the work does not need.

The process is a fork of a command that has loaded no library yet. Before it loads one it gives up its rights
(:mod:`monitor.rights`). Where the system has no Landlock, no other file is read because those that refer to other
files are refused before they are read (:mod:`monitor.trends.references`).
"""

import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence, Set
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import typer

from jobs.console import exit_status_of, print_error
from jobs.exits import Exit
from jobs.kernel_cache import CACHE_VARIABLE
from monitor.errors import BadData
from monitor.rights import give_up_rights, installed_programs, limit

MEMORY: Final = 2**28
"""Memory of the process beyond what it has once the libraries are loaded, and beyond what the work adds. [byte]"""
SECONDS: Final = 300
"""Computing time of the process, beyond what the work adds: to compile the kernels takes up to 60 s. [s]"""
WAITING: Final = 10
"""The process lasts at most so many times its computing time."""
FILE_SIZE: Final = 2**30
"""Size of each file that is written, beyond what the work adds. [byte]"""
STOP_SECONDS: Final = 5
"""A process that is stopped has so much time to tidy the terminal. [s]"""
STOPS: Final = (signal.SIGTERM, signal.SIGINT)
"""Signals that stop a command; they wait while the process is forked."""
MAX_ANSWER: Final = 2**20
"""Size of what the process hands over. [byte]"""


def run_sealed[T](
    work: Callable[[], T], source: Path, *, modules: Sequence[str], reads: Iterable[Path], writes: Iterable[Path]
) -> T:
    """Do some work in a process that can do nothing else, and return its result.

    Parameters
    ----------
    work : callable
        Its result can be written as JSON.
    source : Path
        What is read, for errors.
    modules : sequence of str
        Loaded before memory is limited.
    reads, writes : iterable of Path
        Files that the work reads, and folders in which it writes, at least one, which is temporary; all others are
        closed to it where the system can do that.

    Raises
    ------
    BadData
        The work crashed, or took more memory or time than it may.
    typer.Exit
        The work failed, and has reported why.
    """
    answer, other = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)  # what they raise during a fork is lost
    process = os.fork()
    if not process:
        os.close(answer)
        _work_sealed(work, source, modules, (*reads, *writes), tuple(writes), other, mask)
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(other)
        with open(answer, "rb") as file:
            content = file.read(MAX_ANSWER)
        _, status = os.waitpid(process, 0)
    except BaseException:
        _stop(process)
        raise
    if os.WIFSIGNALED(status):
        raise BadData(_ended_by(os.WTERMSIG(status), source))
    if code := os.WEXITSTATUS(status):
        raise typer.Exit(code)
    result: T = json.loads(content)
    return result


def allow(*, memory: float = 0, seconds: float = 0, file_size: float = 0) -> None:
    """Allow a sealed process more than the least [byte, s, byte], beyond the memory of now."""
    limit(memory=MEMORY + memory, seconds=SECONDS + seconds, file_size=FILE_SIZE + file_size)
    signal.setitimer(signal.ITIMER_REAL, WAITING * (SECONDS + seconds))


def _work_sealed(
    work: Callable[[], Any],
    source: Path,
    modules: Sequence[str],
    reads: Sequence[Path],
    writes: Sequence[Path],
    out: int,
    mask: Set[int],
) -> None:
    """Do the work and end this process; the exit status is that of the command."""
    status: int = Exit.BUG
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        _use_own_kernels(writes[0])
        give_up_rights(
            memory=None, seconds=SECONDS, file_size=FILE_SIZE, final=False, files=None,
            reads=(*reads, *installed_programs()),
            writes=(*writes, os.environ.get(CACHE_VARIABLE, os.devnull)),
        )  # fmt: skip
        for module in modules:
            importlib.import_module(module)
        allow()
        try:
            result = work()
        except MemoryError as error:
            msg = f"{source} needs more memory than its size explains: it is damaged, or made to exhaust the machine"
            raise BadData(msg) from error
        with open(out, "wb") as file:
            file.write(json.dumps(result).encode())
        status = Exit.DONE
    except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001 - reported as by any command
        status = exit_status_of(error)
        print_error(error, status)
    finally:
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(status)


def _use_own_kernels(folder: Path) -> None:
    """Store compiled kernels in a copy, in a folder: whatever is stored in the common one runs in later commands.

    Where numba is loaded already, as no command has it, its kernels stay in the common folder.
    """
    if "numba" in sys.modules:
        return
    own = tempfile.mkdtemp(prefix="kernels-", dir=folder)
    with suppress(OSError):  # another command changes them, or there are none
        shutil.copytree(os.environ.get(CACHE_VARIABLE, ""), own, dirs_exist_ok=True)
    os.environ[CACHE_VARIABLE] = own


def _ended_by(number: int, source: Path) -> str:
    name = signal.Signals(number).name
    if sys.stderr.isatty():
        sys.stderr.write("\x1b[?25h")  # the cursor, which a bar of progress hides
    if name in ("SIGXCPU", "SIGALRM"):
        return f"{source} takes more time than its size explains: it is damaged, or made to last for ever"
    if name == "SIGKILL":
        return f"{source} could not be read: the system ended the process that read it, probably for lack of memory"
    return f"{source} ended the process that read it by the signal {name}: it is damaged, or made to crash its reader"


def _stop(process: int) -> None:
    """End a process, at once if it does not end by itself soon."""
    with suppress(ProcessLookupError, ChildProcessError):
        os.kill(process, signal.SIGTERM)
        until = time.monotonic() + STOP_SECONDS
        while time.monotonic() < until:
            if os.waitpid(process, os.WNOHANG)[0]:
                return
            time.sleep(0.02)
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
