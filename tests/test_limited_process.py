"""A process that has given up its rights can open nothing, and is ended when it takes too much."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from monitor.errors import TryLater
from monitor.limited_process import ENVIRONMENT, ProcessEnded, answer_to, command

ATTEMPTS = """
import os, socket, subprocess, sys, tempfile
from monitor.limited_process import give_up_rights

tempfile.gettempdir()
give_up_rights(memory=50_000_000, seconds=30)
os.close(0)  # its number is free, and still cannot be used

def attempt(name, what):
    try:
        what()
    except (OSError, MemoryError) as error:
        print(name, type(error).__name__)
    else:
        print(name, "was possible")

attempt("read", lambda: open("/etc/passwd"))
attempt("write", lambda: open("written", "w"))
attempt("list", lambda: os.listdir("/"))
attempt("connect", lambda: socket.create_connection(("127.0.0.1", 9)))
attempt("listen", lambda: socket.socket(socket.AF_UNIX))
attempt("start", lambda: subprocess.run(["true"], stdout=subprocess.PIPE))
attempt("grow", lambda: bytearray(100_000_000))
attempt("compute", lambda: bytearray(10_000_000))
"""


def test_after_giving_up_its_rights_a_process_opens_nothing_and_does_not_grow(tmp_path, root):
    done = subprocess.run(
        [sys.executable, "-P", "-c", ATTEMPTS], capture_output=True, text=True, check=True, cwd=tmp_path, timeout=30,
        env={"PYTHONPATH": str(root)},
    )  # fmt: skip
    outcome = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert outcome.pop("compute") == "was possible"
    assert outcome.pop("grow") == "MemoryError"
    assert set(outcome) == {"read", "write", "list", "connect", "listen", "start"}
    assert set(outcome.values()) == {"OSError"}
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_computes_without_end_is_ended(root):
    loop = (
        "from monitor.limited_process import give_up_rights\ngive_up_rights(memory=1 << 28, seconds=1)\nwhile True: 0"
    )
    done = subprocess.run([sys.executable, "-P", "-c", loop], check=False, timeout=30, env={"PYTHONPATH": str(root)})
    assert done.returncode < 0


def test_nothing_is_imported_from_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "msgspec.py").write_text("open('imported', 'w')")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProcessEnded, match="without end"):
        answer_to(b"", "platform", seconds=30, max_bytes=3)  # a module that prints a line
    subprocess.run(command("monitor.sites.formats.apart", "GeoPackage"), input=b"", check=False, capture_output=True)
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize(
    ("script", "how"),
    [
        ("kill -SEGV $$", "SIGSEGV"),
        ("kill -KILL $$", "SIGKILL"),
        ("kill -XCPU $$", "too long"),
        ("exec sleep 60", "too long"),
        ("exec yes", "without end"),
    ],
)
def test_how_content_ended_the_process_is_said(tmp_path, monkeypatch, script, how):
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(ProcessEnded, match=how):
        answer_to(bytes(1_000_000), "any", seconds=0.5, max_bytes=1000)


def test_a_process_that_fails_before_it_reads_is_no_fault_of_the_content():
    with pytest.raises(RuntimeError, match=r"no\.such\.module ended with 1"):
        answer_to(b"content", "no.such.module", seconds=30, max_bytes=1000)


def test_a_system_that_starts_no_process_is_to_be_tried_later(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(TryLater, match="no process can be started"):
        answer_to(b"content", "any", seconds=30, max_bytes=1000)


@pytest.mark.parametrize(
    "module", [["jobs.photo_process"], ["monitor.sites.formats.apart", "shapefile"]], ids=["photo", "registry"]
)
def test_what_reads_files_of_strangers_has_given_up_its_rights_before_it_reads(module):
    reader = subprocess.Popen(command(*module), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT)
    try:
        deadline, limits = time.monotonic() + 60, {}
        while limits.get("Max address space", "unlimited") == "unlimited" and time.monotonic() < deadline:
            time.sleep(0.05)
            lines = Path(f"/proc/{reader.pid}/limits").read_text().splitlines()[1:]
            limits = {line[:26].strip(): line[26:].split()[0] for line in lines}
    finally:
        reader.communicate()
    assert (limits["Max open files"], limits["Max file size"], limits["Max core file size"]) == ("0", "0", "0")
    assert int(limits["Max cpu time"]) < 60
    assert int(limits["Max address space"]) < 1 << 34
