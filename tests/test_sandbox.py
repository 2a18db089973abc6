"""A child process that reads foreign content: it can do nothing else, and each of its failures is reported."""

import os
import resource
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from monitor.alerts import photos
from monitor.errors import MonitorError, TryLater
from monitor.sandbox import ContentFailed, Limits, call
from monitor.sites.formats import shapefile

LIMITS = Limits(memory=1 << 28, cpu=20, seconds=60, answer=1000)


class Refused(MonitorError):
    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def outcome(action) -> str:
    try:
        action()
    except (OSError, MemoryError) as error:
        return type(error).__name__
    return "done"


def outcomes(folder: str) -> dict[str, str]:
    file = f"{folder}/file"
    return {
        "read": outcome(lambda: open(file)), "write": outcome(lambda: open(file, "w")),
        "list": outcome(lambda: os.listdir(folder)),
        "connect": outcome(lambda: socket.create_connection(("127.0.0.1", 9))),
        "listen": outcome(lambda: socket.socket(socket.AF_UNIX)), "grow": outcome(lambda: bytearray(2**29)),
        "compute": outcome(lambda: bytearray(10**7)), "core": str(resource.getrlimit(resource.RLIMIT_CORE)),
        "processes": str(resource.getrlimit(resource.RLIMIT_NPROC)), "names": " ".join(sorted(os.environ)),
        "session": "its own" if os.getsid(0) == os.getpid() else "that of the parent",
    }  # fmt: skip


def work(kind: str) -> int:
    match kind:
        case "refuse":
            raise Refused(kind)
        case "refuse in another way":
            raise MonitorError
        case "fail":
            raise KeyError
        case "fill the memory":
            bytearray(2**30)
        case "end":
            os._exit(0)
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "sleep":
            time.sleep(600)
        case "write":
            while True:
                os.write(1, bytes(1000))
        case "compute":
            while True:
                pass
        case "answer at length":
            return kind * 1000  # text, longer than an answer may be
    return len(kind)


def result(kind: str, *, seconds: float = 60) -> int:
    limits = Limits(memory=LIMITS.memory, cpu=2, seconds=seconds, answer=LIMITS.answer)
    return call(work, kind, returns=int, refusal=Refused, limits=limits)


@pytest.mark.parametrize("load", [None, photos.read_examples, shapefile.load_libraries])
def test_a_child_opens_no_file_and_no_connection_and_does_not_grow(tmp_path, monkeypatch, load):
    (tmp_path / "file").write_text("secret")
    monkeypatch.setenv("REGROWTH_ANSWER_KEY", "planted-secret")
    done = call(outcomes, str(tmp_path), load=load, returns=dict[str, str], refusal=Refused, limits=LIMITS)
    assert "REGROWTH_ANSWER_KEY" not in done.pop("names")
    assert done == {
        "read": "OSError", "write": "OSError", "list": "OSError", "connect": "OSError", "listen": "OSError",
        "grow": "MemoryError", "compute": "done", "core": "(0, 0)", "processes": "(0, 0)", "session": "its own",
    }  # fmt: skip


def test_the_value_of_the_function_comes_back():
    assert result("five!") == 5


def test_a_refusal_of_the_function_is_raised_as_in_the_child():
    with pytest.raises(Refused) as refused:
        result("refuse")
    assert refused.value.code == "refuse"


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("fail", r"is damaged \(KeyError\)"), ("fill the memory", "takes more memory"),
        ("crash", r"ends the program that reads it \(SIGSEGV\)"), ("end", "ends the program that reads it$"),
        ("refuse in another way", "ends the program that reads it$"), ("answer at length", "write without end"),
        ("write", "write without end"), ("compute", "takes too long"),
    ],
)  # fmt: skip
def test_the_error_states_how_content_failed(kind, how):
    with pytest.raises(ContentFailed, match=how):
        result(kind)


def test_a_child_is_killed_at_its_deadline():
    start = time.perf_counter()
    with pytest.raises(ContentFailed, match="takes too long"):
        result("sleep", seconds=1)
    assert time.perf_counter() - start < 20


def test_an_answer_of_another_type_is_a_failure():
    with pytest.raises(ContentFailed, match="ends the program"):
        call(work, "text", returns=str, refusal=Refused, limits=LIMITS)


def test_nothing_is_imported_from_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "msgspec.py").write_text("open('imported', 'w')")
    monkeypatch.chdir(tmp_path)
    assert result("five!") == 5
    assert not Path("imported").exists()


def test_a_child_that_fails_before_it_reads_does_not_blame_the_content():
    def local():
        pass

    with pytest.raises(RuntimeError, match="ended with 1"):
        call(local, returns=int, refusal=Refused, limits=LIMITS)


def test_a_system_that_starts_no_process_is_to_be_tried_later(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(TryLater, match="no process can be started"):
        result("five!")
