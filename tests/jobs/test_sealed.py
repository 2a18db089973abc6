"""How work in a sealed process ends, and what the command says about it; `test_rights.py` has what it cannot do."""

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, json, os, resource, signal, sys, time
from pathlib import Path
from jobs.sealed import run_sealed
from monitor.errors import BadData
import typer

folder = Path(sys.argv[1])

def run(work):
    try:
        return run_sealed(work, folder / "cube.nc", modules=(), reads=[folder], writes=[folder])
    except BadData as error:
        return str(error)
    except typer.Exit as error:
        return error.exit_code

def grow():
    held = []
    while True:
        held.append(bytearray(2**24))

def never_end():
    signal.setitimer(signal.ITIMER_REAL, 0)
    resource.setrlimit(resource.RLIMIT_CPU, (1, resource.RLIM_INFINITY))
    while True:
        pass

def wait():
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    time.sleep(60)

def refuse():
    raise BadData("not a cube")

works = [grow, never_end, wait, lambda: ctypes.string_at(0), os.abort, lambda: os.kill(os.getpid(), 9),
         refuse, lambda: 1 / 0, lambda: [1, None, "two"]]
print(json.dumps({getattr(work, "__name__", "") + str(at): run(work) for at, work in enumerate(works)}))
"""


@pytest.fixture(scope="module")
def ends(tmp_path_factory, root):
    """How each of some jobs ended, and what was on stderr."""
    folder = tmp_path_factory.mktemp("sealed")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)], cwd="/", env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout).values()), done.stderr


def test_a_file_that_takes_memory_without_end_is_refused(ends):
    assert ends[0][0] == 65
    assert "cube.nc needs more memory than its size explains" in ends[1]


@pytest.mark.parametrize("at", [1, 2], ids=["computes", "waits"])
def test_a_file_that_never_ends_is_refused(ends, at):
    assert "cube.nc takes more time than its size explains" in ends[0][at]


@pytest.mark.parametrize(("at", "name"), [(3, "SIGSEGV"), (4, "SIGABRT")])
def test_a_file_that_crashes_its_reader_is_refused_and_the_command_goes_on(ends, at, name):
    assert f"cube.nc ended the process that read it by the signal {name}" in ends[0][at]


def test_a_process_that_the_system_ends_is_reported(ends):
    assert "probably for lack of memory" in ends[0][5]


def test_errors_and_results_leave_the_process_as_they_leave_a_command(ends):
    assert ends[0][6:] == [65, 70, [1, None, "two"]]
    assert "not a cube\n" in ends[1]
    assert "ZeroDivisionError" in ends[1]


STOPPED = """
import os, signal, sys, time
from jobs.console import exit_status_of
from jobs.sealed import run_sealed

def stop():
    os.kill(os.getpid(), signal.{name})
    time.sleep(0)  # Python calls its handler

os.register_at_fork({when}=stop)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets what it starts with & ignore it
try:
    run_sealed(lambda: print("finished"), sys.argv[1], modules=(), reads=(), writes=[sys.argv[1]])
except BaseException as error:
    sys.exit(exit_status_of(error))
"""


@pytest.mark.parametrize("when", ["before", "after_in_parent", "after_in_child"])
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_during_the_fork_stops_the_command(name, when, root, tmp_path):
    code = STOPPED.format(when=when, name=name)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "")
