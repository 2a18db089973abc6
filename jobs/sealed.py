"""Read files that nobody vouches for in a process of its own, which has no rights that the work does not need.

A file made for it can crash a library, fill the memory or never end, or name other files and addresses. The process is
a fork of a command that has loaded no library yet. Before it loads one it gives up

- all files but those of the work and of the installed programs (Landlock, on Linux from 5.13 on);
- the network and other programs (seccomp, on Linux);
- memory, time and file sizes beyond what the work states (resource limits, everywhere).

Where the system has no Landlock, no other file is read because those that refer to other files are refused before they
are read (:mod:`monitor.trends.references`).
"""

import ctypes
import importlib
import json
import os
import platform
import resource
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import typer

from jobs.console import exit_status_of, print_error
from jobs.exits import Exit
from monitor.errors import BadData

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
MAX_ANSWER: Final = 2**20
"""Size of what the process hands over. [byte]"""

_baseline: int | None = None
"""Memory of this process when it was sealed; None: it is not. [byte]"""


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
        Files that the work reads, and folders in which it writes; all others are closed to it where the system can
        do that.

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
    process = os.fork()
    if not process:
        os.close(answer)
        _work_sealed(work, source, modules, (*reads, *writes), tuple(writes), other)
    os.close(other)
    try:
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
    """Allow a sealed process more than the least [byte, s, byte]; elsewhere nothing happens."""
    if _baseline is None:
        return
    _limit(resource.RLIMIT_DATA, _baseline + MEMORY + memory)
    _limit(resource.RLIMIT_CPU, SECONDS + seconds)
    _limit(resource.RLIMIT_FSIZE, FILE_SIZE + file_size)
    signal.setitimer(signal.ITIMER_REAL, WAITING * (SECONDS + seconds))


def _work_sealed(
    work: Callable[[], Any],
    source: Path,
    modules: Sequence[str],
    reads: Sequence[Path],
    writes: Sequence[Path],
    out: int,
) -> None:
    """Do the work and end this process; the exit status is that of the command."""
    status: int = Exit.BUG
    try:
        _give_up_rights(reads, writes)
        for module in modules:
            importlib.import_module(module)
        global _baseline
        _baseline = _memory()
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


def _limit(which: int, most: float) -> None:
    _, hard = resource.getrlimit(which)
    most = int(most) if hard == resource.RLIM_INFINITY else min(int(most), hard)
    with suppress(ValueError, OSError):  # some systems do not limit the memory
        resource.setrlimit(which, (most, hard))


def _memory() -> int:
    """Memory of this process that counts for its limit: what it can write to. [byte]"""
    try:
        return int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    except OSError:
        return 2**32


def _give_up_rights(reads: Sequence[Path], writes: Sequence[Path]) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    _limit(resource.RLIMIT_CORE, 0)
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # ends with the command, however that ends
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        _close_files(libc, (*reads, *_programs()), (*writes, Path(os.environ.get("NUMBA_CACHE_DIR", os.devnull))))
        _close_network(libc)


_PR_SET_PDEATHSIG: Final = 1
_PR_SET_SECCOMP: Final = 22
_PR_SET_NO_NEW_PRIVS: Final = 38
_SECCOMP_MODE_FILTER: Final = 2

_SYSTEM_FOLDERS: Final = (
    "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/etc/ssl", "/etc/dask", "/proc/self",
    "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system", "/sys/fs/cgroup", "/dev/urandom", os.devnull,
)  # fmt: skip
"""What libraries read when they are loaded, none of it of a user."""
_DATA_VARIABLES: Final = ("PROJ_DATA", "PROJ_LIB", "GDAL_DATA", "DASK_CONFIG", "HDF5_PLUGIN_PATH")
"""Environment variables that name folders of libraries."""


def _programs() -> Iterator[Path]:
    """Folders of the installed programs and their data."""
    yield from map(Path, (*_SYSTEM_FOLDERS, sys.prefix, sys.base_prefix, sys.exec_prefix))
    ours = Path(__file__).resolve().parents[1]
    yield from (ours / "jobs", ours / "monitor")
    for entry in map(Path, filter(None, sys.path)):
        if entry.name.endswith("-packages") or entry.resolve() not in (ours, Path.cwd()):  # of a checkout only the code
            yield entry
    yield from (Path(os.environ[name]) for name in _DATA_VARIABLES if name in os.environ)
    yield Path(os.path.expanduser("~/.config/dask"))


# https://docs.kernel.org/userspace-api/landlock.html
_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_LANDLOCK_VERSION: Final = 1
_RULE_PATH_BENEATH: Final = 1
_FILE_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""By version of Landlock the number of rights on files; later ones have those of the last."""
_EXECUTE, _READ_FILE, _READ_FOLDER = 1 << 0, 1 << 2, 1 << 3
_RIGHTS_ON_A_FILE: Final = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15


def landlock_version() -> int:
    """Version of Landlock in this kernel; 0: it has none, or does not offer it here."""
    libc = ctypes.CDLL(None, use_errno=True)
    return max(0, libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_VERSION)) if sys.platform == "linux" else 0


def _close_files(libc: Any, reads: Iterable[Path], writes: Iterable[Path]) -> None:
    """Close all files but these, and what is below them, with Landlock; does nothing where the kernel has none."""
    version = landlock_version()
    if not version:
        return
    every = (1 << _FILE_RIGHTS.get(version, max(_FILE_RIGHTS.values()))) - 1
    attributes = struct.pack("=Q", every)
    rules = libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    if rules < 0:
        return
    for paths, rights in ((reads, _EXECUTE | _READ_FILE | _READ_FOLDER), (writes, every)):
        for path in paths:
            with suppress(OSError):
                descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
                possible = every if path.is_dir() else every & _RIGHTS_ON_A_FILE
                rule = struct.pack("=Qi", rights & possible, descriptor)
                libc.syscall(_LANDLOCK_ADD_RULE, rules, _RULE_PATH_BENEATH, rule, 0)
                os.close(descriptor)
    libc.syscall(_LANDLOCK_RESTRICT_SELF, rules, 0)
    os.close(rules)


# linux/audit.h, linux/filter.h, linux/seccomp.h
_PROCESSORS: Final = {
    "x86_64": (0xC000003E, {"socket": 41, "execve": 59, "ptrace": 101, "execveat": 322, "io_uring_setup": 425}),
    "aarch64": (0xC00000B7, {"socket": 198, "execve": 221, "ptrace": 117, "execveat": 281, "io_uring_setup": 425}),
}
"""By kind of processor its number, and those of the system calls that are refused."""
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050001
"""The system call fails: not permitted."""
_OTHER_NUMBERS: Final = 0x40000000
"""From here on the numbers of a second set of system calls of the same processor."""


def _close_network(libc: Any) -> None:
    """Refuse sockets and other programs with seccomp; does nothing on other kinds of processors."""
    if platform.machine() not in _PROCESSORS:
        return
    processor, calls = _PROCESSORS[platform.machine()]
    last = len(calls) + 1  # steps to the last instruction, which refuses
    steps = [(_LOAD, 0, 0, 4), (_EQUAL, 0, last + 2, processor), (_LOAD, 0, 0, 0), (_AT_LEAST, last, 0, _OTHER_NUMBERS)]
    steps += [(_EQUAL, last - at, 0, number) for at, number in enumerate(calls.values(), start=1)]
    steps += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    header = struct.pack("@HP", len(steps), ctypes.addressof(program))
    libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.c_char_p(header), 0, 0)
