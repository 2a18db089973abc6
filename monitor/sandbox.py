"""Call a function on foreign content in a child process with limits.

Content made for it can crash a library, keep it busy, fill the memory, or make it open other files and connections. The
child, ``python -m monitor.sandbox``, loads what the function needs, lowers its limits for good, and only then reads the
content: arguments and answer are msgpack on standard input and output. From then on it opens no file and no connection,
writes no file and starts no process, and memory and time are limited. The parent kills it at a deadline.
"""

import ctypes
import importlib
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from monitor.errors import MonitorError, TryLater

_ENVIRONMENT: Final = {
    "PYTHONPATH": str(Path(__file__).resolve().parents[1]), "OPENBLAS_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false", "HOME": "/nonexistent",
}  # fmt: skip
"""No secrets, no home (Python would ask a service of the system for it), and one thread."""
_PR_SET_NO_NEW_PRIVS: Final = 38


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Most that a child may take."""

    memory: int
    """Beyond that of its start. [byte]"""
    cpu: int
    """Processor time, that of its start included. [s]"""
    seconds: float
    """Time, on a busy machine too. [s]"""
    answer: int
    """[byte]"""


class ContentFailed(MonitorError):
    """Content could not be read within the limits; the message is the rest of a sentence about it."""


class _Answer[T](msgspec.Struct):
    """One of the three is given."""

    value: T | None = None
    refused: dict[str, str] | None = None
    """Attributes of the error that the function raised."""
    failed: str = "ends the program that reads it"
    """Message of :class:`ContentFailed`."""


def call[T](
    function: Callable[..., T],
    *arguments: Any,
    load: Callable[[], object] | None = None,
    returns: type[T],
    refusal: type[MonitorError],
    limits: Limits,
) -> T:
    """Call a function of a module in a child process.

    Parameters
    ----------
    function : callable
        Function of a module.
    *arguments
        Its arguments, as far as msgpack has them: bytes, text, numbers, lists, dictionaries.
    load : callable, optional
        Function of a module that loads what is not imported with `function`: later the child cannot open it.
    returns : type
        Type of the value; arrays in it have the shape (n, 2).
    refusal : type
        Error of the function, with an attribute for each argument of its constructor.
    limits : Limits
        Of the child.

    Raises
    ------
    refusal
        As in the child.
    ContentFailed
        The content takes too much time or memory, ends the child, or raises another error.
    TryLater
        The system starts no further process.
    RuntimeError
        The child failed before it read the content: a bug, or an incomplete installation.
    """
    names = [f"{called.__module__}:{called.__qualname__}" if called else "" for called in (function, load)]
    command = [sys.executable, "-P", "-m", "monitor.sandbox", *names, str(limits.memory), str(limits.cpu)]
    content = _answer_of(command, msgspec.msgpack.encode(arguments), limits)
    try:
        answer = msgspec.msgpack.decode(content, type=_Answer[returns], dec_hook=_array)  # type: ignore[valid-type]
        error = refusal(**answer.refused) if answer.refused is not None else None
    except (ValueError, TypeError):
        answer, error = _Answer(), None
    if error is not None:
        raise error
    if answer.value is None:
        raise ContentFailed(answer.failed)
    return answer.value


def _answer_of(command: list[str], content: bytes, limits: Limits) -> bytes:
    """Output of a command that gets `content` as input."""
    try:
        process = subprocess.Popen(
            command, env=_ENVIRONMENT, start_new_session=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except OSError as error:
        msg = f"no process can be started ({error.strerror}); see the limits of this user and the free memory"
        raise TryLater(msg) from error
    assert process.stdin is not None
    assert process.stdout is not None
    late = threading.Event()

    def end() -> None:
        late.set()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(limits.seconds, end)
    timer.start()
    try:
        with suppress(BrokenPipeError):  # how it ended says why
            process.stdin.write(content)
        with suppress(BrokenPipeError):
            process.stdin.close()
        answer = process.stdout.read(limits.answer + 1)
        if len(answer) > limits.answer:
            process.kill()
        status = process.wait()
    finally:
        timer.cancel()
        process.kill()
        process.wait()
        process.stdout.close()
    if len(answer) > limits.answer:
        raise ContentFailed("makes the program that reads it write without end")
    if late.is_set() or -status == signal.SIGXCPU:
        raise ContentFailed("takes too long to read")
    if status < 0:
        raise ContentFailed(f"ends the program that reads it ({signal.Signals(-status).name})")
    if status:
        raise RuntimeError(f"{' '.join(command)} ended with {status}; start it by hand to see why")
    return answer


def _array(_kind: type, content: bytes) -> Any:
    import numpy as np  # here: not every child needs it

    return np.frombuffer(content, "<f8").reshape(-1, 2)


# The child


def _main(function: str, load: str, memory: str, cpu: str) -> None:
    called = _named(function)
    if load:
        _named(load)()
    _lower_limits(int(memory), int(cpu))
    try:
        value = called(*msgspec.msgpack.decode(sys.stdin.buffer.read()))
        answer = msgspec.msgpack.encode(
            _Answer(value=value), enc_hook=lambda array: array.astype("<f8", copy=False).tobytes()
        )
    except MonitorError as error:
        answer = msgspec.msgpack.encode(_Answer(refused=vars(error)))
    except MemoryError:
        answer = msgspec.msgpack.encode(_Answer(failed="takes more memory to read than is allowed"))
    except Exception as error:  # noqa: BLE001 - no content, however damaged, may end a night
        answer = msgspec.msgpack.encode(_Answer(failed=f"is damaged ({type(error).__name__})"))
    sys.stdout.buffer.write(answer)


def _named(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _lower_limits(memory: int, cpu: int) -> None:
    """Lower the limits of this process for good; above them the system refuses, or sends a signal."""
    try:
        size = int(Path("/proc/self/statm").read_bytes().split()[0]) * resource.getpagesize()
    except OSError:
        size = 2**32
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    limits = {
        resource.RLIMIT_AS: size + memory, resource.RLIMIT_CPU: cpu, resource.RLIMIT_FSIZE: 0, resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: 0, resource.RLIMIT_NOFILE: 0,
    }  # fmt: skip
    for which, most in limits.items():
        hard = resource.getrlimit(which)[1]
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        warned = allowed - (which == resource.RLIMIT_CPU)  # a second before the end by SIGKILL, SIGXCPU says why
        with suppress(ValueError, OSError):  # some systems do not limit the memory
            resource.setrlimit(which, (warned, allowed))


if __name__ == "__main__":
    _main(*sys.argv[1:])
