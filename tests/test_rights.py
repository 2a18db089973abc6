"""Processes that read foreign files give up their rights before they read; what they cannot do from then on."""

import json
import signal
import subprocess
import sys

import pytest

from monitor.rights import landlock_version
from monitor.sealed_process import ENVIRONMENT

PROGRAM = """
import ctypes, json, os, resource, runpy, socket, subprocess, sys
from pathlib import Path

module, folder = sys.argv[1], Path(sys.argv[2])
own, other = folder / "own", folder / "other.txt"
threads = os.open("/proc/self/task", os.O_RDONLY)

def error_of(action):
    try:
        action()
    except (OSError, MemoryError) as error:
        return type(error).__name__

def read_memory():
    # its own, which Landlock allows; that of others is read in the same way
    libc, content = ctypes.CDLL(None, use_errno=True), ctypes.create_string_buffer(8)
    place = (ctypes.c_size_t * 2)(ctypes.addressof(content), 8)
    if libc.process_vm_readv(os.getpid(), place, 1, place, 1, 0) < 0:
        raise OSError(ctypes.get_errno(), "not read")

def outcomes():
    limits = {which: resource.getrlimit(getattr(resource, f"RLIMIT_{which}"))[0] for which in ("CORE", "CPU", "FSIZE")}
    return limits | {
        "threads": os.fstat(threads).st_nlink - 2,
        "read its own": error_of((own / "file").read_bytes),
        "write its own": error_of(lambda: (own / "file").write_text("x")),
        "read": error_of(other.read_bytes),
        "read by a link": error_of((own / "link").read_bytes),
        "list": error_of(lambda: os.listdir(folder)),
        "write": error_of(lambda: other.write_text("x")),
        "rename": error_of(lambda: other.rename(folder / "another.txt")),
        "connect": error_of(lambda: socket.create_connection(("127.0.0.1", 9))),
        "listen": error_of(lambda: socket.socket(socket.AF_UNIX)),
        "become": error_of(lambda: os.execv("/bin/true", ["true"])),
        "start": error_of(lambda: subprocess.run(["/bin/true"])),
        "read memory": error_of(read_memory),
        "grow": error_of(lambda: bytearray(2**31)),
        "compute": error_of(lambda: bytearray(10**7)),
    }

class Stranger:
    # standard input: a program reads no more than a line of it before it gives up its rights
    buffer = property(lambda self: self)

    def readline(self):
        files = [{"path": str(path)} for path in own.iterdir() if not path.is_symlink()]
        return json.dumps({"files": files, "memory": 2**28, "seconds": 60})

    def read(self):
        os.close(0)  # its number is free
        print(json.dumps(outcomes()), flush=True)
        os._exit(0)

    __iter__ = read

sys.stdin, sys.argv[1:] = Stranger(), ["shapefile"]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""

MAY: dict[str, set[str]] = {
    "jobs.photo_process": set(),
    "monitor.sites.formats.sealed": set(),
}
WITHOUT_LANDLOCK = {
    "jobs.photo_process": {"rename"},
    "monitor.sites.formats.sealed": {"rename"},
}
"""Operations that Landlock alone denies to a program."""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have neither Landlock nor seccomp")
@pytest.mark.parametrize("module", MAY)
def test_readers_of_foreign_files_open_no_other_file_socket_or_program_and_do_not_grow(tmp_path, module):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "file").write_text("own")
    (tmp_path / "own" / "link").symlink_to(tmp_path / "other.txt")
    (tmp_path / "other.txt").write_text("secret")
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM, module, str(tmp_path)],
        env=ENVIRONMENT, cwd="/", capture_output=True, text=True, check=True, timeout=60, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    outcomes = json.loads(done.stdout)
    assert outcomes.pop("threads") == 1, "others would not have given up files and network"
    assert outcomes.pop("CORE") == 0
    assert 0 < outcomes.pop("CPU") <= 300
    assert outcomes.pop("FSIZE") == 0
    assert outcomes.pop("grow") == "MemoryError"
    unsure = set() if landlock_version() else WITHOUT_LANDLOCK[module]
    assert {action for action, error in outcomes.items() if error is None} - unsure == MAY[module] | {"compute"}
    if landlock_version():
        assert (tmp_path / "other.txt").read_text() == "secret"


def test_a_process_that_computes_without_end_is_ended():
    loop = "from monitor.rights import give_up_rights\ngive_up_rights(memory=1 << 28, seconds=1)\nwhile True: 0"
    done = subprocess.run([sys.executable, "-P", "-c", loop], check=False, timeout=30, env=ENVIRONMENT)
    assert done.returncode == -signal.SIGXCPU
