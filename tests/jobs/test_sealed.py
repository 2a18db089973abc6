"""What a process that reads the files of strangers cannot do, and what the command says when it ends."""

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, json, os, signal, socket, subprocess, sys, time
from pathlib import Path
from jobs import sealed
from monitor.errors import BadData
import typer

folder = Path(sys.argv[1])
inside, elsewhere = folder / "inside", folder / "elsewhere.txt"
sealed.MEMORY = 2**28

def error_of(action):
    try:
        action()
    except OSError as error:
        return type(error).__name__

def attempts():
    return {
        "read inside": error_of(lambda: (inside / "own.txt").read_text()),
        "read elsewhere": error_of(elsewhere.read_text),
        "list elsewhere": error_of(lambda: os.listdir(folder)),
        "by a link": error_of((inside / "link.txt").read_text),
        "write inside": error_of(lambda: (inside / "own.txt").write_text("x")),
        "write in its folder": error_of(lambda: (folder / "new" / "map").write_text("x")),
        "write elsewhere": error_of(lambda: elsewhere.write_text("x")),
        "socket": error_of(socket.socket),
        "program": error_of(lambda: os.execv("/bin/true", ["true"])),
    }

def run(work):
    try:
        return sealed.run_sealed(work, folder / "cube.nc", modules=(), reads=[inside], writes=[folder / "new"])
    except BadData as error:
        return str(error)
    except typer.Exit as error:
        return error.exit_code

def grow():
    held = []
    while True:
        held.append(bytearray(2**24))

def never_end():
    sealed.signal.setitimer(signal.ITIMER_REAL, 0)
    sealed._limit(sealed.resource.RLIMIT_CPU, 1)
    while True:
        pass

def wait():
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    time.sleep(60)

def refuse():
    raise BadData("not a cube")

works = [attempts, grow, never_end, wait, lambda: ctypes.string_at(0), os.abort, lambda: os.kill(os.getpid(), 9),
         refuse, lambda: 1 / 0, lambda: [1, None, "two"]]
print(json.dumps({getattr(work, "__name__", "") + str(at): run(work) for at, work in enumerate(works)}))
"""


@pytest.fixture(scope="module")
def ends(tmp_path_factory, root):
    """How each of some works ended, and what was on stderr."""
    folder = tmp_path_factory.mktemp("sealed")
    (folder / "inside").mkdir()
    (folder / "new").mkdir()
    (folder / "inside" / "own.txt").write_text("own")
    (folder / "elsewhere.txt").write_text("secret")
    (folder / "inside" / "link.txt").symlink_to(folder / "elsewhere.txt")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)], cwd="/", env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout).values()), done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have neither Landlock nor seccomp")
def test_a_sealed_process_reads_its_files_and_no_other_and_opens_no_socket_and_no_program(ends):
    from jobs.sealed import landlock_version

    denied = {name for name, error in ends[0][0].items() if error == "PermissionError"}
    other_files = {"read elsewhere", "list elsewhere", "by a link", "write inside", "write elsewhere"}
    assert denied == {"socket", "program"} | (other_files if landlock_version() else set())
    assert ends[0][0]["read inside"] is ends[0][0]["write in its folder"] is None


def test_a_file_that_takes_memory_without_end_is_refused(ends):
    assert ends[0][1] == 65
    assert "cube.nc needs more memory than its size explains" in ends[1]


@pytest.mark.parametrize("at", [2, 3], ids=["computes", "waits"])
def test_a_file_that_never_ends_is_refused(ends, at):
    assert "cube.nc takes more time than its size explains" in ends[0][at]


@pytest.mark.parametrize(("at", "name"), [(4, "SIGSEGV"), (5, "SIGABRT")])
def test_a_file_that_crashes_its_reader_is_refused_and_the_command_goes_on(ends, at, name):
    assert f"cube.nc ended the process that read it by the signal {name}" in ends[0][at]


def test_a_process_that_the_system_ends_is_reported(ends):
    assert "probably for lack of memory" in ends[0][6]


def test_errors_and_results_leave_the_process_as_they_leave_a_command(ends):
    assert ends[0][7:] == [65, 70, [1, None, "two"]]
    assert "not a cube\n" in ends[1]
    assert "ZeroDivisionError" in ends[1]
