"""Give up the rights of a process that reads what nobody vouches for, before it reads it.

A file made for it can crash a library, fill the memory or never end, or make a library open other files and
connections. :func:`give_up_rights` takes from this process, for good,

- all files but those that it names (Landlock, on Linux from 5.13 on);
- the network, other programs, and the memory and files of other processes (seccomp, on Linux);
- memory, time and open files beyond what it states, and all writing of files (resource limits, everywhere).

Files that are open stay open, and what is loaded can be used. Only the thread that calls it and those that it starts
give up files and network: call it before libraries start threads.
"""

import ctypes
import os
import resource
import signal
import struct
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final


def give_up_rights(*, memory: float, seconds: float, files: int = 0, reads: Iterable[str | Path] = ()) -> None:
    """Give up files, network, programs, and more than some memory and time, as far as the system can do that.

    Parameters
    ----------
    memory : float
        Memory beyond that of now. [byte]
    seconds : float
        Processor time, that of the past included. [s]
    files : int
        Number of files that may be open beside those of now.
    reads : iterable of str or Path
        Files that stay readable.
    """
    _limit(resource.RLIMIT_DATA, _memory() + memory)
    _limit(resource.RLIMIT_CPU, seconds)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    os.close(lowest := os.open(os.devnull, os.O_RDONLY))  # the lowest number that is free
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # ends with its parent, however that ends
        if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
            _close_files(libc, reads)
            _close_network(libc)
    _limit(resource.RLIMIT_NOFILE, lowest + files if files else 0)


def _memory() -> int:
    """Memory of this process that counts for its limit: what it can write to. [byte]"""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[5]) * resource.getpagesize()
    except OSError:
        return 2**32


def _limit(which: int, most: float) -> None:
    """Lower a limit for good; above it the system refuses, or sends a signal, and kills after a second more of time."""
    _, hard = resource.getrlimit(which)
    allowed = int(most) if hard == resource.RLIM_INFINITY else min(int(most), hard)
    beyond = allowed + (which == resource.RLIMIT_CPU)
    hard = beyond if hard == resource.RLIM_INFINITY else min(beyond, hard)
    with suppress(ValueError, OSError):  # some systems do not limit the memory
        resource.setrlimit(which, (allowed, hard))


_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_SECCOMP_MODE_FILTER: Final = 2


# https://docs.kernel.org/userspace-api/landlock.html
_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
_LANDLOCK_VERSION: Final = 1
_RULE_PATH_BENEATH: Final = 1
_FILE_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""By version of Landlock the number of rights on files; later ones have those of the last."""
_READ_FILE: Final = 1 << 2


def landlock_version() -> int:
    """Version of Landlock in this kernel; 0: it has none, or does not offer it here."""
    libc = ctypes.CDLL(None, use_errno=True)
    return max(0, libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_VERSION)) if sys.platform == "linux" else 0


def _close_files(libc: Any, reads: Iterable[str | Path]) -> None:
    """Close all files but these with Landlock; does nothing where the kernel has none."""
    version = landlock_version()
    if not version:
        return
    every = (1 << _FILE_RIGHTS.get(version, max(_FILE_RIGHTS.values()))) - 1
    attributes = struct.pack("=Q", every)
    rules = libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    if rules < 0:
        return
    for path in reads:
        with suppress(OSError):
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
            rule = struct.pack("=Qi", _READ_FILE, descriptor)
            libc.syscall(_LANDLOCK_ADD_RULE, rules, _RULE_PATH_BENEATH, rule, 0)
            os.close(descriptor)
    libc.syscall(_LANDLOCK_RESTRICT_SELF, rules, 0)
    os.close(rules)


# linux/audit.h, linux/filter.h, linux/seccomp.h
_PROCESSORS: Final = {
    "x86_64": (0xC000003E, {
        "socket": 41, "execve": 59, "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "execveat": 322,
        "io_uring_setup": 425, "pidfd_getfd": 438,
    }),
    "aarch64": (0xC00000B7, {
        "socket": 198, "execve": 221, "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "execveat": 281,
        "io_uring_setup": 425, "pidfd_getfd": 438,
    }),
}  # fmt: skip
"""By kind of processor its number, and those of the system calls that are refused."""
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050001
"""The system call fails: not permitted."""
_OTHER_NUMBERS: Final = 0x40000000
"""From here on the numbers of a second set of system calls of the same processor."""


def _close_network(libc: Any) -> None:
    """Refuse sockets, other programs and other processes with seccomp; does nothing on other kinds of processors."""
    if os.uname().machine not in _PROCESSORS:
        return
    processor, calls = _PROCESSORS[os.uname().machine]
    last = len(calls) + 1  # steps to the last instruction, which refuses
    steps = [(_LOAD, 0, 0, 4), (_EQUAL, 0, last + 2, processor), (_LOAD, 0, 0, 0), (_AT_LEAST, last, 0, _OTHER_NUMBERS)]
    steps += [(_EQUAL, last - at, 0, number) for at, number in enumerate(calls.values(), start=1)]
    steps += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    header = struct.pack("@HP", len(steps), ctypes.addressof(program))
    libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.c_char_p(header), 0, 0)
