"""A long run shows what it has read and the time left, also without a terminal; a short one logs nothing."""

import json
import time

import pytest

from jobs import progress
from jobs.logs import set_up_logs
from jobs.progress import SceneProgress


@pytest.fixture
def lines(monkeypatch, capsys):
    """Seconds pass twenty times as fast; the lines that are logged meanwhile."""
    monkeypatch.setattr(progress, "FIRST_LINE_SECONDS", 0.2)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.4)
    set_up_logs()
    return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_short_work_and_work_of_unknown_size_log_nothing(lines):
    with progress.progress("scenes") as report:
        report(3, 3)
    with progress.progress("scenes"):
        time.sleep(0.5)
    assert lines() == []


def test_long_work_logs_at_once_what_there_is_and_then_the_time_left(lines):
    with progress.progress("scenes") as report:
        report(0, 140)
        time.sleep(0.35)
        report(70, 140)
        time.sleep(0.4)
    first, second = lines()
    assert (first["of"], first["done"], first["total"], first.get("minutes_left")) == ("scenes", 0, 140, None)
    assert (second["done"], second["total"]) == (70, 140)
    assert second["minutes_left"] == pytest.approx(0.0, abs=0.1)


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
