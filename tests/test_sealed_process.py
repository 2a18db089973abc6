"""How content ended the process that read it becomes an error about the content."""

import subprocess
import sys

import pytest

from monitor.errors import TryLater
from monitor.sealed_process import ProcessEnded, answer_to, command


def test_nothing_is_imported_from_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "msgspec.py").write_text("open('imported', 'w')")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProcessEnded, match="without end"):
        answer_to(b"", "platform", seconds=30, max_bytes=3)  # a module that prints a line
    subprocess.run(command("monitor.sites.formats.sealed", "GeoPackage"), input=b"", check=False, capture_output=True)
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize(
    ("script", "seconds", "how"),
    [
        ("kill -SEGV $$", 60, "SIGSEGV"),
        ("kill -KILL $$", 60, "SIGKILL"),
        ("kill -XCPU $$", 60, "too long"),
        ("exec sleep 600", 0.5, "too long"),
        ("exec yes", 60, "without end"),
    ],
)
def test_the_error_states_how_content_ended_the_process(tmp_path, monkeypatch, script, seconds, how):
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(ProcessEnded, match=how):
        answer_to(bytes(1_000_000), "any", seconds=seconds, max_bytes=1000)


def test_a_process_that_fails_before_it_reads_is_no_fault_of_the_content():
    with pytest.raises(RuntimeError, match=r"no\.such\.module ended with 1"):
        answer_to(b"content", "no.such.module", seconds=30, max_bytes=1000)


def test_a_system_that_starts_no_process_is_to_be_tried_later(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(TryLater, match="no process can be started"):
        answer_to(b"content", "any", seconds=30, max_bytes=1000)
