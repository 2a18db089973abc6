"""The notebook and the snippets of docs/python.md do what they say."""

import json
import re

import pytest

import monitor
from jobs.cli import main

FORBIDDEN = re.compile(r"https?://|/tmp/|/home/")


@pytest.fixture
def notebook(root):
    nbformat = pytest.importorskip("nbformat", reason="notebooks need the group 'docs'")
    return nbformat.read(root / "docs" / "notebooks" / "site.ipynb", 4)


def test_the_notebook_is_stored_without_results_so_that_a_change_of_it_can_be_reviewed(notebook):
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) >= 6
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert not any(FORBIDDEN.search(cell.source) for cell in notebook.cells)
    explained = [cell.cell_type for cell in notebook.cells]
    assert "codecode" not in "".join(explained).replace("markdown", " ")  # a word before each step


def test_the_numbers_of_the_notebook_are_the_published_ones(notebook, demo, monkeypatch, tmp_path):
    """The cells in this process, without pictures: the fast twin of the next test."""
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="pictures need the group 'docs'")
    pyplot.switch_backend("agg")
    monkeypatch.setenv("REGROWTH_DEMO", str(demo))
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, "site.ipynb", "exec"), names)
    pyplot.close("all")
    (published,) = [row for row in json.loads((demo / "status.json").read_text()) if row["site"] == "demo-10"]
    assert names["verdict"].status == published["status"] == "failing"
    assert abs(names["verdict"].theta - published["theta"]) < 1e-6
    assert {"status", "theta", "alert", "hectares_failing", "reasons", "probability"} <= {*names["common"]}
    assert len(names["common"]) > 40
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_notebook_runs_in_a_kernel_and_shows_its_pictures(notebook, demo, monkeypatch, tmp_path):
    nbclient = pytest.importorskip("nbclient", reason="notebooks need the group 'docs'")
    manager = pytest.importorskip("jupyter_client").AsyncKernelManager
    monkeypatch.setenv("REGROWTH_DEMO", str(demo))
    kernel = manager(kernel_name="python3", transport="ipc", ip=str(tmp_path / "kernel"))
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, km=kernel, timeout=600, resources=resources).execute(cleanup_kc=True)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    assert not [output for output in outputs if output.get("name") == "stderr"]
    shown = json.dumps([{**output.get("data", {}), "image/png": ""} for output in outputs])
    assert not FORBIDDEN.search(shown.replace("http://www.w3.org", ""))
    results = "".join(output.get("data", {}).get("text/plain", "") for output in outputs)
    assert "fields are as published: failing, alert red" in results


def test_every_snippet_of_the_page_runs(root, demo, monkeypatch, tmp_path):
    text = (root / "docs" / "python.md").read_text(encoding="utf-8")
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "demo").symlink_to(demo)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    ran = 0
    for language, block in re.findall(r"^```(python|sh)\n(.*?)^```$", text, re.M | re.S):
        if language == "python":
            exec(compile(block, "python.md", "exec"), names)
            ran += 1
        else:
            for line in block.splitlines():
                with pytest.raises(SystemExit) as done:
                    main(line.split()[1:])
                assert done.value.code == 0, line
    assert ran >= 8
    assert names["series"].equals(monitor.open_series(demo, "demo-02"))
    assert names["above_control"].notna().all()
    assert 0 < float(names["peak"].max()) <= 1
    assert names["slope"].dims == ("y", "x")
    assert names["rising"].dims == ("y", "x")
    assert names["pixel"].size > 20
    assert names["again"].equals(names["verdicts"])
    assert names["failing"].sum() == pytest.approx(names["account"].loc["programme"].failing.item(), abs=1e-4)
    assert (tmp_path / "ndvi.tif").is_file()
    assert names["raw"].sizes["band"] == 3
    assert float(names["means"].max()) == pytest.approx(float(names["series"].ndvi.max()), abs=1e-6)


def test_the_page_needs_only_the_functions_that_help_lists_and_shows_all_but_the_plainest(root):
    text = (root / "docs" / "python.md").read_text(encoding="utf-8")
    assert not re.findall(r"^(?:from|import) monitor\.", text, re.M)
    assert {*monitor.__all__} - {*re.findall(r"monitor\.(\w+)\(", text)} == {"msavi2", "ndvi"}
