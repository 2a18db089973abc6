"""A program in a forked process runs and ends as one that Python starts."""

import os
import pty
import signal
import subprocess
import sys

import pytest

from tests import forked

PROGRAM = """
import atexit, logging, os, sys, tempfile, threading
atexit.register(print, "at exit")
folder = tempfile.TemporaryDirectory(dir=sys.argv[1])
print(__name__, sys.argv, os.environ, os.getcwd(), sys.stdin.read(), sys.stdout.line_buffering)
logging.warning("ä")
threading.Thread(target=lambda: print("from a thread")).start()
"""


@pytest.mark.parametrize(
    "end", ["", "sys.exit()", "sys.exit(3)", "sys.exit('why')", "1 / 0", "os.kill(os.getpid(), 9)", "os._exit(256 + 4)"]
)
def test_a_forked_program_has_the_arguments_environment_streams_and_status_of_one_that_is_started(end, tmp_path):
    arguments = ["-c", PROGRAM + end, tmp_path, "--option"]
    env = {"PATH": os.environ["PATH"], "NAME": "value", "LC_ALL": "C.UTF-8"}
    forks = forked.run(arguments, env=env)
    started = subprocess.run(
        [sys.executable, *arguments], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert forks.returncode == started.returncode
    assert forks.stdout == started.stdout
    assert forks.stderr.splitlines()[-1:] == started.stderr.splitlines()[-1:]
    assert "kill" in end or "_exit" in end or not list(tmp_path.iterdir())


def test_a_module_is_run_under_its_name(capfd):
    done = forked.run(["-m", "tests.alerts.killed_sender"])
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("IndexError: list index out of range\n")
    assert 'alerts/killed_sender.py", line' in done.stderr
    assert capfd.readouterr() == ("", "")


def test_what_a_night_loads_is_loaded_but_for_icechunk_which_starts_threads():
    code = "import sys; print([name in sys.modules for name in ('tests.preloaded', 'jobs.nightly', 'icechunk')])"
    assert forked.run(["-c", code]).stdout == "[True, True, False]\n"
    assert "tests.preloaded" not in sys.modules, "a process that runs tests would collect no garbage"


def test_a_program_that_takes_too_long_is_killed():
    with (
        pytest.raises(TimeoutError, match=r"not ended after 0\.2 s"),
        forked.Python(["-c", "import time; time.sleep(60)"]) as process,
    ):
        process.communicate(0.2)
    assert process.exitcode == -signal.SIGKILL


def test_a_program_on_a_terminal_writes_each_line_at_once():
    ours, theirs = pty.openpty()
    code = "import os, time; print(input(), os.isatty(2)); time.sleep(60)"
    with forked.Python(["-c", code], terminal=os.ttyname(theirs)):
        os.write(ours, b"asked\n")
        seen = b""
        while b"True" not in seen:
            seen += os.read(ours, 100)
    os.close(ours)
    os.close(theirs)
