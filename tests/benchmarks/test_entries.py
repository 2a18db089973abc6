"""Benchmarks run from their entries on their smallest size, so that no change of the program leaves one behind."""

import os
import subprocess
import sys
from unittest.mock import patch

import pytest

from benchmarks import area, messages, night, publish


@pytest.fixture(autouse=True)
def _results_stay(tmp_path, monkeypatch):
    """Tables are written elsewhere than those of the project."""
    for module in (messages, night, publish):
        monkeypatch.setattr(module, "RESULTS", tmp_path / "results")


def test_area(capsys):
    area.main(range(1000, 1001))
    assert "Failing area against known truth" in capsys.readouterr().out


def test_messages(capsys):
    messages.main(((6, 3),))
    assert "no repeated Message-ID: met" in capsys.readouterr().out


def test_a_night_without_pages_is_that_of_the_program():
    shown = night.WITHOUT_PAGES.replace(
        "main(sys.argv[1:])", "import jobs.night.pipeline; print(jobs.night.pipeline.night.keywords)"
    )
    ran = subprocess.run([sys.executable, "-P", "-c", shown], check=True, capture_output=True, text=True)
    assert ran.stdout == "{'pages': False}\n"


@pytest.mark.slow
def test_nights(capsys):
    night.main(sites=(1, 2), count=1, history=night.EIGHT)
    assert "one more site (2 against 1), publishing left out" in capsys.readouterr().out


@pytest.mark.slow
def test_publishing(capsys):
    with patch.dict(os.environ):  # it configures its own process
        publish.main(sites=1, changed=1)
    assert "1 sites, the pages of 1 made again" in capsys.readouterr().out
