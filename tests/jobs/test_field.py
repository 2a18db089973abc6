"""Measurements on the ground, from the command to the page: shown and reported, and no verdict changes."""

import json
import sqlite3
from contextlib import closing
from datetime import date
from functools import partial

import pytest

from jobs.install.backup import back_up
from jobs.night.pipeline import night
from jobs.runtime.exits import Exit
from jobs.runtime.installation import open_ledger
from tests import builders

AUTUMN = date(2018, 9, 10)
HEADER = "site,date,kind,value,n,lon,lat,note\n"
QUADRATS = "".join(f"demo-02,2018-08-10,cover,{0.2 + k / 50:.2f},1,,,quadrat {k}\n" for k in range(6))
OTHERS = "demo-02,2018-08-10,survival,0.82,150,,,沙枣\ndemo-02,2018-08-11,density,1650,4,,,\n"
OF_FIELD_COVER = {
    "field_cover", "field_cover_low", "field_cover_high", "field_factor", "field_factor_low", "field_factor_high",
    "field_factor_rows",
}  # fmt: skip


@pytest.fixture
def regrowth(installation):
    return partial(builders.regrowth, config=installation.config)


@pytest.fixture
def file(tmp_path_factory):
    """Write a file of measurements, outside the installation."""

    def write(lines):
        path = tmp_path_factory.mktemp("written") / "field.csv"
        path.write_text(HEADER + lines, encoding="utf-8")
        return path

    return write


def test_rows_are_on_the_page_at_once_and_give_the_factor_of_the_site_from_the_next_night_on(
    installation, settings, regrowth, file, tmp_path
):
    night(settings, as_of=AUTUMN)
    before, files = installation.verdicts, installation.files()
    assert before["demo-02"]["field_factor_rows"] == 0
    assert not (installation.root / "sites/demo-02/field.csv").exists()
    status, out, _ = regrowth("field", "add", file(QUADRATS + OTHERS), "--json")
    assert (status, json.loads(out)) == (Exit.DONE, {"added": 8, "already": 0, "not_measured": 0, "sites": ["demo-02"]})
    assert regrowth("publish")[0] == Exit.DONE
    table = (installation.root / "sites/demo-02/field.csv").read_text(encoding="utf-8-sig")
    assert table.startswith(HEADER)
    assert "demo-02,2018-08-10,cover,0.2,1,,,quadrat 0\n" in table
    page, chinese = (
        (installation.root / "sites/demo-02" / name).read_text(encoding="utf-8")
        for name in ("index.html", "index.zh.html")
    )
    assert all(words in page for words in ("Measured in the field", "quadrat 5", "k-field"))
    assert all(words in chinese for words in ("每公顷株数", "沙枣"))
    changed = {name for name, made in installation.files().items() if files.get(name) != made}
    assert changed == {
        f"sites/demo-02/{name}" for name in ("field.csv", "index.html", "index.zh.html", "item.json", ".made-from")
    }  # fmt: skip

    night(settings, as_of=AUTUMN)
    after = installation.verdicts
    old, new = before.pop("demo-02"), after.pop("demo-02")
    assert after == before, "of the other sites"
    assert {name for name in old if old[name] != new[name]} <= OF_FIELD_COVER
    assert new["field_factor_rows"] == 6
    assert new["field_factor_low"] < new["field_factor"] < new["field_factor_high"]
    assert new["field_cover"] == pytest.approx(min(new["cover"] / new["field_factor"], 1))
    again = installation.files()
    night(settings, as_of=AUTUMN)
    assert {name: made for name, made in installation.files().items() if again[name] != made}.keys() <= {"metrics.prom"}

    back_up(settings, tmp_path / "saved", config=installation.config)
    with open_ledger(settings) as ledger, ledger.reading() as t:
        rows = [row for of_site in t.field_rows().values() for row in of_site]
    with closing(sqlite3.connect(tmp_path / "saved" / "ledger.db")) as saved:
        assert saved.execute("select count(*) from field_rows").fetchone() == (len(rows),) == (8,)


def test_the_command_names_wrong_lines_and_lists_what_is_stored(installation, regrowth, file):
    assert regrowth("sites", "add", installation.registry)[0] == Exit.DONE
    status, out, error = regrowth("field", "add", file(QUADRATS + "demo-02,2018-08-10,cover,35,1,,,\n"))
    assert (status, out) == (Exit.BAD_DATA, "")
    assert "line 8: value 35 of cover is above 1; in percent? give a fraction" in error
    assert json.loads(regrowth("field", "list", "--json")[1]) == []
    assert regrowth("field", "list")[1] == "No field row.\n"
    status, out, _ = regrowth("field", "add", file(QUADRATS + OTHERS))
    assert (status, out.splitlines()[0]) == (Exit.DONE, "Field rows stored: 8 of 1 site; stored before: 0.")
    assert regrowth("field", "add", file(QUADRATS))[1] == "Field rows stored: 0; stored before: 6.\n"
    listed = json.loads(regrowth("field", "list", "--json")[1])
    assert [row["kind"] for row in listed] == ["cover"] * 6 + ["survival", "density"]
    assert set(listed[0]) == {"site", "date", "kind", "value", "n", "lon", "lat", "note", "added"}
    lines = regrowth("field", "list", "--site", "demo-02")[1].splitlines()
    assert lines[-1] == "demo-02: 2018-08-11 density 1650 plants/ha, n 4"
    status, _, error = regrowth("field", "list", "--site", "nowhere")
    assert (status, "no site 'nowhere'" in error) == (Exit.BAD_DATA, True)
    assert regrowth("field", "add", installation.root / "absent.csv")[0] == Exit.BAD_DATA
