"""Processes that read content of strangers, which may crash a library, keep it busy, or make it open other files.

Such a process is a module of this project that imports what it needs, gives up its rights (:mod:`monitor.rights`), and
only then reads the content from standard input.
"""

import shlex
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from monitor.errors import MonitorError, TryLater

ENVIRONMENT: Final = {
    "PYTHONPATH": str(Path(__file__).resolve().parents[1]), "OPENBLAS_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false", "HOME": "/nonexistent",
}  # fmt: skip
"""Environment of the processes: no secrets, no home (Python would ask a service of the system for it), and one thread,
since others would not give up their rights."""


class ProcessEnded(MonitorError):
    """Content ended the process that read it, or took too much time; the message is the rest of a sentence about it."""


def command(module: str, *arguments: str) -> list[str]:
    """Command line that runs a module of this project; with -P nothing is imported from the current folder."""
    return [sys.executable, "-P", "-m", module, *arguments]


def answer_to(content: bytes, module: str, *arguments: str, seconds: float, max_bytes: int) -> bytes:
    """What a module of this project writes to standard output when it gets `content` at standard input.

    Parameters
    ----------
    content : bytes
    module : str
        Name of the module.
    *arguments : str
        Its arguments.
    seconds : float
        Time until it is killed. [s]
    max_bytes : int
        Largest answer. [byte]

    Raises
    ------
    ProcessEnded
        It was killed, or its answer is too large.
    TryLater
        The system starts no further process.
    RuntimeError
        It failed before it read the content: a bug, or an incomplete installation.
    """
    line = command(module, *arguments)
    try:
        process = subprocess.Popen(
            line, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except OSError as error:
        msg = f"no process can be started ({error.strerror}); see the limits of this user and the free memory"
        raise TryLater(msg) from error
    assert process.stdin is not None
    assert process.stdout is not None
    timer, begun = threading.Timer(seconds, process.kill), time.monotonic()
    timer.start()
    try:
        with suppress(BrokenPipeError):  # how it ended says why
            process.stdin.write(content)
            process.stdin.flush()
        with suppress(BrokenPipeError):
            process.stdin.close()
        answer = process.stdout.read(max_bytes + 1)
        late = time.monotonic() - begun >= seconds
        if len(answer) > max_bytes:
            process.kill()
        status = process.wait()
    finally:
        timer.cancel()
        process.kill()
        process.wait()
        process.stdout.close()
    if len(answer) > max_bytes:
        msg = "makes the program that reads it write without end"
        raise ProcessEnded(msg)
    if late or -status == signal.SIGXCPU:
        msg = "takes too long to read"
        raise ProcessEnded(msg)
    if status < 0:
        msg = f"ends the program that reads it ({signal.Signals(-status).name})"
        raise ProcessEnded(msg)
    if status:
        msg = f"{shlex.join(line)} ended with {status}; start it by hand to see why"
        raise RuntimeError(msg)
    return answer
