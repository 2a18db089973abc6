"""Inspectors get a random sample and a sheet; the sheet, filled in, is stored as it is."""

import csv
import io
import json
import sqlite3
from contextlib import closing
from functools import partial

import pytest

from jobs.runtime.exits import Exit
from tests.builders import printed, printed_json, regrowth


@pytest.fixture
def sites(installation):
    printed("sites", "add", installation.registry, config=installation.config)
    return installation


@pytest.fixture
def sample(demo):
    return partial(printed_json, "audit", "sample", "-n", 6, config=demo / "regrowth.toml")


def test_the_same_seed_draws_the_same_sites_of_the_demonstration_and_their_weights_add_up_to_all(demo, sample):
    drawn = sample("--seed", "2026")
    assert sample("--seed", "2026") == drawn
    published = {row["site"]: row["status"] for row in json.loads((demo / "status.json").read_text(encoding="utf-8"))}
    assert {row["site"]: row["status"] for row in drawn["sites"]}.items() <= published.items()
    assert len(drawn["sites"]) == drawn["n"] == 6
    assert drawn["sites_in_all"] == len(published) == 10
    assert sum(row["weight"] for row in drawn["sites"]) == pytest.approx(10)
    assert sum(stratum["sites"] for stratum in drawn["strata"]) == 10
    assert drawn["n_for_five_points"] == 10
    other = sample("--seed", "2027")
    assert (other["sites"] != drawn["sites"], other["strata"]) == (True, drawn["strata"])


def test_the_printed_sample_states_its_seed_and_its_accuracy(demo):
    out = printed("audit", "sample", "-n", 10, "--seed", "2026", config=demo / "regrowth.toml")
    for words in (
        "10 of 10 sites drawn", "Seed (given): 2026", "Mill terrace",
        "off by at most 0.0 points, however many are wrong: every site is visited",
        "If none of the 10 is wrong, at most 0 of 10 (0.0%) sites are.",
    ):  # fmt: skip
        assert words in out


def test_without_a_seed_the_head_of_the_chain_is_the_seed(demo, sample):
    drawn = sample()
    assert drawn["seed_from"] == "head of the chain"
    with closing(sqlite3.connect(f"file:{demo}/regrowth.db?mode=ro", uri=True)) as ledger:
        (head,) = ledger.execute("select hash from chain order by number desc").fetchone()
    assert drawn["seed"] == head
    assert sample("--seed", head)["sites"] == drawn["sites"]


def test_a_sheet_that_was_filled_in_is_stored_as_it_is(sites, tmp_path):
    sheet = tmp_path / "sheet.csv"
    out = printed("audit", "sample", "-n", 3, "--seed", "s", "--out", sheet, config=sites.config)
    assert f"regrowth field add {sheet}" in out
    assert "Not yet judged" in out
    rows = list(csv.DictReader(io.StringIO(sheet.read_text(encoding="utf-8-sig"))))
    assert {row["site"] for row in rows} == {"demo-02", "demo-07", "demo-10"}
    empty = printed_json("field", "add", sheet, config=sites.config)
    assert empty == {
        "added": 0,
        "already": 0,
        "not_measured": len(rows),
        "sites": [],
    }
    values = {"cover": "0.35", "survival": "0.8", "density": "1650"}
    for row in rows[:-2]:
        row |= {"date": "2018-08-10", "value": values[row["kind"]], "n": "4"}
    with sheet.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    added = printed_json("field", "add", sheet, config=sites.config)
    assert (added["added"], added["not_measured"]) == (len(rows) - 2, 2)
    listed = printed_json("field", "list", config=sites.config)
    assert {row["note"] for row in listed} == {f"audit s, point {k}" for k in range(1, 6)}


@pytest.mark.parametrize(("arguments", "status", "words"), [
    (["-n", "4", "--seed", "s"], Exit.USAGE, "there are 3 sites, so no more can be drawn"),
    (["-n", "0", "--seed", "s"], Exit.USAGE, "greater than or equal to 1"),
    (["-n", "1"], Exit.USAGE, "there is no chain of nights yet"),
    (["-n", "1", "--seed", " "], Exit.USAGE, "a seed is a text of 1 to 200 characters"),
    (["-n", "1", "--seed", "two\nlines"], Exit.USAGE, "without line ends"),
    (["-n", "1", "--seed", "s", "--out", "sheet.csv"], Exit.BAD_DATA, "sheet.csv exists, and may be filled in"),
    (["-n", "1", "--seed", "s", "--out", "no/sheet.csv"], Exit.BAD_DATA, "there is no folder no"),
])  # fmt: skip
def test_an_impossible_sample_or_one_over_a_sheet_is_refused(sites, tmp_path, monkeypatch, arguments, status, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sheet.csv").write_text("filled in", encoding="utf-8")
    left, out, error = regrowth("audit", "sample", *arguments, config=sites.config)
    assert (left, out, words in error) == (status, "", True)
    assert (tmp_path / "sheet.csv").read_text(encoding="utf-8") == "filled in"
