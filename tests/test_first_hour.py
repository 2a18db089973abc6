"""A newcomer's first hour: what docs/first-hour.md shows, run as it stands, each task in an empty folder."""

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from typer.testing import CliRunner

from jobs.cli import app
from tests import guide
from tests.guide import run_script
from tests.sample_folder import export_sample

pytest.importorskip("nrt.data", reason="the sample imagery is in the extra 'demo'")

GUIDE = Path(__file__).resolve().parent.parent / "docs" / "first-hour.md"
NIGHT = re.compile(r"regrowth (run --as-of|status|explain)|regrowth sites replant")
"""Commands that need a night, which takes longer."""


def tasks():
    return guide.tasks(GUIDE)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """What newcomers bring: images, a series, a cube, outlines."""
    folder = tmp_path_factory.mktemp("own")
    days = pd.date_range("2015-05-01", "2023-10-20", freq="20D")
    season = 0.25 + 0.2 * np.sin((days.day_of_year.to_numpy() - 110) / 365.25 * 2 * np.pi)
    years = np.clip((days - pd.Timestamp("2019-04-15")).days / 365.25, 0, None)
    noise = np.random.default_rng(1).normal(0, 0.01, (2, days.size))
    grown = season + 0.22 * (1 - np.exp(-0.35 * years)) + noise[0]
    series = {"site": "ulan-03", "date": days.strftime("%Y-%m-%d"), "cover": grown, "control": season + noise[1]}
    pd.DataFrame(series).round(4).to_csv(folder / "series.csv", index=False)
    shape = (24, 4, 4)
    layers = {"B4": np.full(shape, 900), "B8": np.full(shape, 2100), "SCL": np.full(shape, 4)}
    layers["B8"] += 20 * np.arange(24)[:, None, None]
    time = pd.date_range("2020-01-15", periods=24, freq="30D")
    cube = xr.Dataset(
        {name: (("time", "y", "x"), values.astype("int16")) for name, values in layers.items()},
        coords={"time": time, "y": 5.0 - 10.0 * np.arange(4), "x": 5.0 + 10.0 * np.arange(4)},
    )
    cube.to_netcdf(folder / "cube.nc")
    (outlines,) = (text for name, text in tasks()["own sites"].steps if name == "my-sites.geojson")
    (folder / "my-sites.geojson").write_text(outlines, encoding="utf-8")
    return folder


def begin(task, own, place):
    """An empty folder with what the newcomer brings, and the files of the guide."""
    for name in task.needs:
        if name != "scenes":
            (place / name).symlink_to(own / name)
    task.write_files(place)


def test_there_are_five_tasks_and_a_first_look():
    assert list(tasks()) == ["sample", "own sites", "own images", "own series", "own cube", "replant"]


@pytest.mark.parametrize("name", ["own sites", "own images", "own series", "own cube"])
def test_what_a_newcomer_does_before_the_first_night_works_as_written(name, own, tmp_path, root, monkeypatch):
    task = tasks()[name]
    begin(task, own, tmp_path)
    if "scenes" in task.needs:
        export_sample(tmp_path / "scenes", every=20)
    monkeypatch.chdir(tmp_path)
    done = 0
    for line in task.script(root).splitlines():
        words = shlex.split(line)
        if words[:1] != ["regrowth"] or NIGHT.match(line):
            continue
        ran = CliRunner().invoke(app, words[1:])
        assert ran.exit_code == 0, f"{line}\n{ran.output}"
        done += 1
    assert done
    if name == "own series":
        last = pd.read_csv("verdicts.csv").iloc[-1]
        assert (last.status, last.alert) == ("on_track", "none")
    if name == "own cube":
        with xr.open_dataset("trends.nc") as maps:
            assert float(maps.slope.min()) > 0


@pytest.mark.slow
def test_the_first_look_ends_in_two_verdicts_and_a_site_is_planted_again(own, tmp_path, root):
    known = tasks()
    begin(known["sample"], own, tmp_path)
    printed = run_script(known["sample"].script(root), tmp_path, root)
    assert known["sample"].prints
    assert [line for line in known["sample"].prints if line not in printed.splitlines()] == []
    assert known["replant"].continues == "sample"
    folder = tmp_path / "first-look"
    printed = run_script(known["replant"].script(root), folder, root)
    assert "0 new scenes" in printed
    assert [line for line in known["replant"].prints if line not in printed.splitlines()] == []
    page = (folder / "outputs/sites/terrace/index.html").read_text(encoding="utf-8")
    assert "Begun 15 March 2020" in re.sub(r"<[^>]+>", "", page)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["own sites", "own images", "own series", "own cube"])
def test_every_task_works_as_written_to_its_end(name, own, tmp_path, root):
    task = tasks()[name]
    begin(task, own, tmp_path)
    if "scenes" in task.needs:
        export_sample(tmp_path / "scenes")
    printed = run_script(task.script(root), tmp_path, root)
    if name.startswith(("own sites", "own images")):
        assert re.search(r"^old-pasture: (failing|lagging|undecided)", printed, re.M), printed
        assert (tmp_path / "outputs/sites/old-pasture/index.html").is_file()
