"""A damaged landscape: only its sites fail, one command fetches it again, and the verdicts go on as they were."""

from datetime import date, timedelta

import pytest
import typer

from jobs.backfill import backfill
from jobs.night.pipeline import fetch_history, night
from jobs.register.replacing import DAMAGED, differences, set_aside
from jobs.reports.manifest import exit_status
from jobs.runtime.exits import Exit
from jobs.runtime.installation import open_ledger
from monitor.cube.bucket import landscape_folders
from monitor.cube.store import LandscapeStore
from monitor.errors import BadData
from monitor.ledger.transaction import Transaction
from tests.builders import edited_features, use_sources
from tests.jobs.painted import Painted, planted_sites, states
from tests.jobs.test_growing_programme import series

DAYS = [date(2018, 5, 15) + timedelta(days=d) for d in range(0, 500, 22)]
NIGHT = date(2019, 9, 10)
HERE = {"s1": (12_000, 12_000, 12_120, 12_120), "s2": (15_000, 15_000, 15_120, 15_120)}


@pytest.fixture
def source(monkeypatch):
    painted = Painted(DAYS)
    use_sources(monkeypatch, painted)
    return painted


@pytest.fixture
def damaged(tmp_path, source):
    """Settings after a night of two landscapes, and the name of that of `s1`, whose large files are damaged."""
    settings = planted_sites(tmp_path, HERE)
    with edited_features(settings.registry.path) as features:
        features[1]["properties"]["biome"] = "steppe"
    manifest = night(settings, as_of=NIGHT, pages=False)
    assert [one.state for one in manifest.sites] == ["done", "done"], manifest
    before = series(settings), series(settings, "s2")
    (folder,) = [one for one in landscape_folders(settings.store.root) if "loess" in one.name]
    for chunk in (folder / "chunks").iterdir():
        if chunk.stat().st_size > 1000:
            content = bytearray(chunk.read_bytes())
            content[500] ^= 8
            chunk.write_bytes(content)
    return settings, folder.name, before


def test_a_damaged_landscape_is_replaced_by_one_command_and_its_verdicts_go_on(damaged, source):
    settings, name, before = damaged
    source.days = [*DAYS, NIGHT + timedelta(days=1)]
    later = NIGHT + timedelta(days=2)
    failed = night(settings, as_of=later, pages=False)
    assert (states(failed), exit_status(failed)) == ({"s1": "failed", "s2": "done"}, Exit.SOME_FAILED)
    assert f"regrowth backfill --replace {name}" in failed.sites[0].error

    replaced = set_aside(settings, name)
    assert (replaced.sites, replaced.folder) == (("s1",), settings.store.root / DAMAGED / replaced.folder.name)
    assert replaced.folder.name.startswith(f"{name}-20")
    assert replaced.bytes > 10_000
    again = set_aside(settings, name)
    assert (again.sites, again.folder, again.damage) == (("s1",), replaced.folder, None), "interrupted: run again"

    source.days = source.days[1:]  # a scene is no longer offered
    assert states(fetch_history(settings, only=replaced.sites, until=later)) == {"s1": "done"}
    assert differences(settings, replaced) == [
        "scenes no longer offered, or not yet fetched: 1 (S2A/20180515T035141)", "scenes new: 1 (S2A/20190911T035141)",
    ]  # fmt: skip
    assert exit_status(night(settings, as_of=later, pages=False)) == Exit.DONE
    after = series(settings)
    assert after.keys() == {*before[0], f"{NIGHT + timedelta(days=1)}"} - {"2018-05-15"}
    assert {day: row["cover"] for day, row in after.items() if day in before[0]} == {
        day: row["cover"] for day, row in before[0].items() if day in after
    }
    assert (set_aside(settings, name).damage, len(list((settings.store.root / DAMAGED).iterdir()))) == (None, 1)


def test_with_the_same_scenes_series_control_units_and_verdict_are_the_same(damaged):
    settings, name, before = damaged
    with open_ledger(settings) as ledger, ledger.reading() as t:
        units, verdict = t.all_controls(), t.latest_assessment("s1")
    fetch_history(settings, only=set_aside(settings, name).sites, until=NIGHT)
    assert exit_status(night(settings, as_of=NIGHT, pages=False)) == Exit.DONE
    assert (series(settings), series(settings, "s2")) == before
    with open_ledger(settings) as ledger, ledger.reading() as t:
        assert (t.all_controls(), t.latest_assessment("s1")) == (units, verdict)
    assert LandscapeStore(settings.store.root / name).exists, "the same sites form a landscape of the same name"


def test_a_sound_landscape_and_an_unknown_one_are_refused_and_nothing_is_changed(first_night):
    settings = first_night.settings
    (folder,) = landscape_folders(settings.store.root)
    with pytest.raises(BadData, match="is sound: every chunk was read"):
        set_aside(settings, folder.name)
    with pytest.raises(BadData, match="no current site in a landscape 'elsewhere'"):
        set_aside(settings, "elsewhere")
    assert landscape_folders(settings.store.root) == [folder]
    assert not (settings.store.root / DAMAGED).exists()


def test_an_empty_name_is_that_of_no_landscape_even_where_a_site_was_never_fetched(first_night, monkeypatch):
    monkeypatch.setattr(Transaction, "snapshots", lambda self: {})
    with pytest.raises(BadData, match="no current site in a landscape ''"):
        set_aside(first_night.settings, "")


def test_a_landscape_is_replaced_whole(first_night):
    with pytest.raises(typer.BadParameter, match="leave out --site"):
        backfill(config=first_night.config, site=["demo-02"], replace="x")
