"""A long run shows what it has read and the time left, also without a terminal; a short one logs nothing."""

import time

import pytest
from structlog.testing import capture_logs

from jobs.runtime import progress
from jobs.runtime.progress import SceneProgress


@pytest.fixture
def lines():
    """Waits for so many lines that are logged, at least; returns those that there are then."""
    with capture_logs() as logged:

        def wait(number):
            ends = time.monotonic() + 30
            while len(logged) < number and time.monotonic() < ends:
                time.sleep(0.02)
            return logged

        yield wait


@pytest.fixture
def quick(monkeypatch):
    """Seconds pass twenty times as fast."""
    monkeypatch.setattr(progress, "FIRST_LINE_SECONDS", 0.2)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.4)


def test_short_work_logs_nothing(lines):
    with progress.progress("scenes") as report:
        report(3, 3)
    assert lines(0) == []


def test_work_of_unknown_size_logs_nothing(lines, quick):
    with progress.progress("scenes"):
        time.sleep(0.5)
    assert lines(0) == []


def test_long_work_logs_at_once_what_there_is_and_then_the_time_left(lines, quick):
    with progress.progress("scenes") as report:
        report(0, 140)
        lines(1)
        report(70, 140)
        lines(2)
    first, second = lines(2)
    assert (first["of"], first["done"], first["total"], first.get("minutes_left")) == ("scenes", 0, 140, None)
    assert (second["done"], second["total"]) == (70, 140)
    assert second["minutes_left"] == pytest.approx(0.0, abs=0.1)


def test_a_command_that_logs_errors_only_writes_a_line_now_and_then_also_while_nothing_is_known(monkeypatch, capsys):
    monkeypatch.setattr(progress, "PLAIN_LINE_SECONDS", 0.2)
    with progress.progress("scenes", plain=True) as report:
        time.sleep(0.5)
        report(70, 140)
        time.sleep(0.5)
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first.startswith("scenes: at work, ")
    assert last.startswith("scenes: 70 of 140, ")


def test_threads_count_scenes_one_by_one_and_processes_whole_steps_never_twice():
    seen = []
    scenes = SceneProgress(lambda *counts: seen.append(counts))
    scenes.expect(40)
    for _ in range(32):
        scenes.count_read()
    scenes.count_finished(32)
    assert seen[-1] == (32, 40)
    scenes.expect(-8)  # the rest is stored already
    assert seen[-1] == (32, 32)
    elsewhere = SceneProgress(lambda *counts: seen.append(counts))
    elsewhere.expect(64)
    elsewhere.count_finished(32)
    assert seen[-1] == (32, 64)
