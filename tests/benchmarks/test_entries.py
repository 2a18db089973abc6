"""Benchmarks run from their entries on their smallest size, so that no change of the program leaves one behind."""

import os
import subprocess
import sys
from unittest.mock import patch

import pytest

from benchmarks import area, messages, night, publish, sources
from benchmarks.verdict import real


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    """Tables are written elsewhere than those of the project."""
    for module in (messages, night, publish, sources):
        monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    return tmp_path / "results"


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


@pytest.mark.slow
def test_sources(capsys, monkeypatch):
    for name, least in (("MANY", 3), ("TILE", 1024), ("FEW", 2), ("CLUSTER", 512), ("STAND_IN", 1)):
        monkeypatch.setattr(sources, name, least)
    sources.main()
    assert (
        "requests of a night without new scenes, besides searches: [0, 0, 0]; goal none: met" in capsys.readouterr().out
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those of odc-stac
def test_fetching(capsys, results, monkeypatch):
    fetch = pytest.importorskip("benchmarks.fetch", reason="odc-stac is not installed")
    monkeypatch.setattr(fetch, "RESULTS", results)
    fetch.main(1, 0.0, fetch.Size(passes=2, side=1024))
    assert "3 sites of 13 ha, 4 scenes" in capsys.readouterr().out


@pytest.mark.slow
def test_trends(capsys, results, monkeypatch):
    pytest.importorskip("threadpoolctl", reason="the peers of the benchmarks are not installed")
    from benchmarks import trends

    for name, least in (("RESULTS", results), ("MIN_TURNS", 1), ("MIN_SECONDS", 0.0)):
        monkeypatch.setattr(trends, name, least)
    monkeypatch.setattr(trends.numba, "set_num_threads", lambda _: None)  # it would hold for later tests
    trends.main(part=0.1)
    assert "scipy.stats.theilslopes" in capsys.readouterr().out


@pytest.mark.slow
def test_proof_of_the_verdict(capsys, results, monkeypatch):
    pytest.importorskip("nrt.monitor", reason="the peers of the benchmarks are not installed")
    from benchmarks.verdict import proof

    monkeypatch.setattr(proof, "RESULTS", results)
    proof.main(quick=True, sizes=proof.Sizes(headline=2, stress=1, rivals=8, lots=1, seeds=(1,), training=(101,)))
    assert "rows meet what is required of them" in capsys.readouterr().out
    assert (results / "verdict-quick-detection.svg").is_file()


@pytest.fixture
def ground(root, results, monkeypatch):
    """The bench of real ground; its page and that of the method are written elsewhere."""
    ground = pytest.importorskip("benchmarks.ground", reason="the peers of the benchmarks are not installed")
    method = results.with_name("method.md")
    method.write_text((root / "docs" / "method.md").read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(ground, "RESULTS", results)
    monkeypatch.setattr(ground, "METHOD", method)
    return ground


@pytest.mark.slow
def test_real_ground(ground, results, capsys, shared_data, monkeypatch):
    monkeypatch.setattr(real, "ELSEWHERE", shared_data)
    ground.main(every=8, sites=1, store=True)
    page = (results / "ground.md").read_text(encoding="utf-8")
    assert page in capsys.readouterr().out
    assert "not run" not in page
    assert all(f"| {name} |" in page for name in ground.MUSTS)
    assert page.split("\n| truth")[1] in ground.METHOD.read_text(encoding="utf-8")


def test_without_the_real_series_one_sentence_says_so_and_the_checkerboard_is_judged(
    ground, results, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(real, "ELSEWHERE", tmp_path)
    ground.main(every=40, sites=1)
    page = (results / "ground.md").read_text(encoding="utf-8")
    assert page.count("name their folder by REGROWTH_TEST_DATA.") == 1
    assert "checkerboard: ever red, theta 0" in page
    assert "forest:" not in page
