import json
import re
import time
import tomllib
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from jobs.commands.sites import app
from jobs.runtime.exits import Exit
from monitor.errors import BadConfiguration
from monitor.sites.problems_zh import PROBLEMS
from tests.builders import regrowth, write_features
from tests.sites.conftest import BOW_TIE, square

X, Y, D = 104.6, 35.5, 0.01
SQUARE = square()


def there(ring):
    return [[x + 1, y] for x, y in ring]


@pytest.fixture
def run():
    """Run `regrowth sites check` with arguments; exit status and standard output."""
    whole = typer.Typer()
    whole.add_typer(app, name="sites")

    def check(*arguments):
        result = CliRunner().invoke(whole, ["sites", "check", *map(str, arguments)])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.stdout

    return check


def test_the_sample_of_the_first_hour_is_written_once_and_is_a_good_registry(run, tmp_path):
    folder = tmp_path / "first look"
    written = CliRunner().invoke(app, ["sample", str(folder)])
    assert written.output == f"Try a night: cd '{folder}' && regrowth run --as-of 2020-10-31\n"
    assert tomllib.loads((folder / "regrowth.toml").read_text())["registry"]["path"] == "sites.geojson"
    status, out = run(folder / "sites.geojson")
    assert (status, out.splitlines()[-1]) == (0, "2 of 2 sites taken, 1.08 ha.")
    assert isinstance(CliRunner().invoke(app, ["sample", str(folder)]).exception, BadConfiguration)


def test_a_good_registry_is_done_and_its_report_has_the_promised_shape(run, registry, entry):
    status, out = run(registry(entry(id="民勤")), "--json")
    (site,) = json.loads(out)["sites"]
    assert status == 0
    assert site == {"site": "民勤", "ok": True, "hectares": pytest.approx(100.658, abs=0.01), "problems": []}


def test_one_refused_site_makes_bad_data_and_the_others_are_reported_too(run, registry, entry):
    status, out = run(registry(entry(id="a"), entry(id="b", ring=there(BOW_TIE), start="no")), "--json")
    good, bad = json.loads(out)["sites"]
    assert status == 65
    assert (good["ok"], bad["ok"]) == (True, False)
    assert [set(problem) for problem in bad["problems"]] == [{"code", "message", "fix"}] * 2


def test_json_is_strict_where_the_registry_has_nan_or_infinity(run, registry, entry):
    status, out = run(registry(entry(ring=[[X, float("nan")], [X + D, Y], [X, Y + D]], plan_A=float("inf"))), "--json")

    def refuse(token):
        raise AssertionError(token)

    assert status == 65
    assert json.loads(out, parse_constant=refuse)["sites"][0]["hectares"] is None


def test_in_words_each_problem_has_its_fix(run, registry, entry):
    status, out = run(registry(entry(id="a"), entry(id="b", ring=there(BOW_TIE))))
    assert status == 65
    assert "ok       a  100.66 ha" in out
    assert "REFUSED  b" in out
    assert "use --repair and look at the result. [SELF_CROSSING]" in out
    assert "1 of 2 sites taken, 100.66 ha." in out


def test_repair_is_advised_only_where_it_would_help(run, registry, entry):
    _, out = run(registry(entry(id="a", start="no")))
    assert "--repair" not in out
    _, out = run(registry(entry(id="a", ring=BOW_TIE)))
    assert "--repair OUT.geojson repairs" in out


def test_a_biome_of_the_configuration_is_known_to_the_check(run, registry, entry, tmp_path, monkeypatch):
    path = registry(entry(biome="pontic"))
    monkeypatch.chdir(tmp_path)
    assert run(path)[0] == 65
    text = '[source]\nkind = "sample"\n[biomes.pontic]\nlike = "steppe"\n'
    (tmp_path / "regrowth.toml").write_text(text, encoding="utf-8")
    assert run(path)[0] == 0


def test_in_words_a_column_that_is_not_read_is_named_once_however_many_sites_have_it(run, registry, entry):
    path = registry(*(entry(id=f"s{n}", ring=[[x + n, y] for x, y in SQUARE], **{"Start Date": 1}) for n in range(3)))
    status, out = run(path)
    assert status == 0
    assert out.count("Start Date") == 1
    assert "Columns that are not read: 'Start Date' (did you mean 'start'?)." in out
    _, out = run(path, "--json")
    assert json.loads(out)["unknown_columns"] == {"Start Date": "start"}
    _, out = run(registry(entry(slope=20)))
    assert "'slope' (did you mean 'slope_degrees'?)" in out


def test_a_file_refused_whole_says_why_in_both_forms(run, tmp_path):
    status, out = run(tmp_path / "none.geojson", "--json")
    assert status == 65
    report = json.loads(out)
    assert report["sites"] == []
    assert set(report["error"]) == {"code", "message", "fix"}
    status, out = run(tmp_path / "none.geojson")
    assert status == 65
    assert out.startswith("Refused: ")
    assert len(out.splitlines()) == 1


@pytest.mark.parametrize(
    "path",
    [
        "/vsicurl/http://127.0.0.1:9/x.geojson", "http://127.0.0.1:9/x", "PG:dbname=x", "<OGRVRTDataSource/>",
        "x" * 5000, "/dev/zero",
    ],
    ids=lambda path: path[:20],
)  # fmt: skip
def test_a_path_that_is_not_a_plain_local_file_is_refused_at_once(run, path, cpu_seconds):
    before = time.perf_counter()
    with cpu_seconds(at_most=1.0):
        status, out = run(path, "--json")
    assert status == 65
    assert json.loads(out)["sites"] == []
    assert time.perf_counter() - before < 20, "it was waited for"


def test_repair_shows_the_areas_and_leaves_the_hopeless_out(run, registry, entry, tmp_path):
    path = registry(entry(id="crossed", ring=BOW_TIE), entry(id="swapped", ring=[[y, x] for x, y in there(BOW_TIE)]))
    before = path.read_bytes()
    status, out = run(path, "--repair", tmp_path / "out.geojson", "--json")
    crossed, swapped = json.loads(out)["sites"]
    assert status == 65
    assert crossed["ok"]
    assert crossed["repaired"]["codes"] == ["SELF_CROSSING"]
    assert crossed["repaired"]["hectares_before"] < 1 < 50 < crossed["repaired"]["hectares_after"]
    assert not swapped["ok"]
    assert path.read_bytes() == before
    status, out = run(tmp_path / "out.geojson", "--json")
    assert status == 0
    assert [site["site"] for site in json.loads(out)["sites"]] == ["crossed"]


def test_repair_of_hopeless_sites_alone_writes_nothing(run, registry, entry, tmp_path):
    status, out = run(registry(entry(start="no")), "--repair", tmp_path / "out.geojson")
    assert status == 65
    assert "Nothing to write" in out
    assert not (tmp_path / "out.geojson").exists()


@pytest.mark.parametrize("out", ["sites.geojson", "out.gpkg"])
def test_repair_never_writes_over_the_original_or_another_format(run, registry, entry, tmp_path, out):
    path = registry(entry(ring=BOW_TIE))
    before = path.read_bytes()
    assert run(path, "--repair", tmp_path / out)[0] == 64
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["sites.geojson"]


def test_a_hostile_id_cannot_write_to_the_terminal(run, registry, entry):
    _, out = run(registry(entry(id="a\x1b[2J"), entry(id="b\u202e", name="\x1b]0;x\x07", ring=there(BOW_TIE))))
    assert "\x1b" not in out
    assert "\u202e" not in out


def test_the_example_of_the_readme_prints_what_the_readme_says(run, tmp_path):
    readme = (Path(__file__).resolve().parents[2] / "aoi" / "README.md").read_text(encoding="utf-8")
    (tmp_path / "yanchi.geojson").write_text(re.search(r"```json\n(.*?)```", readme, re.DOTALL)[1], encoding="utf-8")
    printed = re.search(r"```\n\$ regrowth sites check yanchi.geojson\n(.*?)```", readme, re.DOTALL)[1]
    assert run(tmp_path / "yanchi.geojson") == (0, printed)


def test_a_start_in_the_future_is_noted_in_both_forms(run, registry, entry):
    path = registry(entry(start="2099-04-20"))
    code, text = run(path)
    assert code == 0
    assert "The start, 2099-04-20, is in the future; nothing is judged before." in text
    (site,) = json.loads(run(path, "--json")[1])["sites"]
    assert (site["ok"], [problem["code"] for problem in site["problems"]]) == (True, ["START_AHEAD"])


@pytest.mark.parametrize("closed", [True, False])
def test_a_bow_tie_is_repaired_with_the_change_of_its_area_closed_or_not(run, registry, entry, tmp_path, closed):
    path, out = registry(entry(ring=BOW_TIE if closed else BOW_TIE[:-1])), tmp_path / "out.geojson"
    (site,) = json.loads(run(path, "--repair", out, "--json")[1])["sites"]
    assert site["repaired"]["codes"] == ([] if closed else ["UNCLOSED"]) + ["SELF_CROSSING"]
    assert site["repaired"]["hectares_before"] == pytest.approx(0, abs=0.01)
    assert site["repaired"]["hectares_after"] == pytest.approx(50.3, abs=0.1)
    status, words = run(path, "--repair", out)
    assert status == 0
    for part in ("repaired: ", "SELF_CROSSING (", "(0.00 ha before, 50.33 ha after)", "1 sites, 0 left out."):
        assert part in words


def test_a_hostile_type_of_geometry_cannot_write_to_the_terminal(run, registry, entry):
    text = run(registry(entry(geometry={"type": "\x1b[2J\0", "coordinates": []})))[1]
    assert "is a [2J, not a polygon" in text
    assert "\x1b" not in text


def test_every_problem_is_said_in_chinese_too(tmp_path):
    code = re.compile(r'(?:\b(?:Problem|FileRefused|add)|: )\(\s*"([A-Z0-9_]{4,})"')
    root = Path(__file__).parents[2]
    sources = [*(root / "monitor/sites").rglob("*.py"), root / "jobs/commands/sites.py"]
    used = {name for path in sources for name in code.findall(path.read_text(encoding="utf-8"))}
    assert len(used) > 50
    assert used <= PROBLEMS.keys()
    path = tmp_path / "open.geojson"
    ring = [[107.40, 37.80], [107.41, 37.80], [107.41, 37.81], [107.40, 37.81]]
    site = {"id": "a", "start": "2024-04-20", "intervention": "planting", "biome": "desert_steppe"}
    geometry = {"type": "Polygon", "coordinates": [ring]}
    write_features(path, [{"type": "Feature", "properties": site, "geometry": geometry}])
    status, printed, _ = regrowth("sites", "check", path, "--language", "zh")
    assert status == Exit.BAD_DATA
    assert "问题：边界未闭合" in printed
    assert "[UNCLOSED]" in printed
    assert "共 1 个地块，通过 0 个，拒绝 1 个。" in printed
