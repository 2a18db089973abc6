"""A biome of one's own: a site in Romania that no built-in biome fits gets a verdict that can be reproduced."""

import json
from datetime import date

import pytest

import monitor
from jobs.night.pipeline import night
from tests.builders import edited_features
from tests.jobs.reproduction import assert_same, reassessed

NIGHT = date(2018, 9, 30)
DEFINITION = """
[biomes.wallachia]
like = "steppe"
name = "Wallachian steppe"
name_zh = "瓦拉几亚草原"
season = ["04-15", "10-31"]
peak = "06-20"
full_cover = 0.85
closure = { A = 0.2, k = 0.4, L = 0.5, too_early_years = 2 }
"""


def installed(install, folder, *, definition=DEFINITION, scheduler=""):
    """An installation with one site, of a biome of its own and with its default plan."""
    made = install(folder)
    made.configure("[engine]", f'scheduler = "{scheduler}"', definition)
    with edited_features(made.registry) as features:
        del features[1:]
        site = features[0]["properties"]
        site |= {"biome": "wallachia", "intervention": "assisted_regeneration"}
        for column in ("plan_A", "plan_k", "plan_L", "too_early_years"):
            del site[column]
    return made, site["id"]


@pytest.fixture(scope="module")
def judged(install, tmp_path_factory):
    made, site = installed(install, tmp_path_factory.mktemp("own"))
    manifest = night(made.settings, as_of=NIGHT)
    assert [one.state for one in manifest.sites] == ["done"]
    return made, site


def test_the_verdict_is_by_the_definition(judged):
    made, site = judged
    plan = json.loads((made.root / "sites" / site / "plan.json").read_text(encoding="utf-8"))
    assert (plan["biome"], plan["A"], plan["k"]) == ("wallachia", 0.2, 0.4)
    assert plan["biome_definition"]["season"] == [105, 304]
    assert plan["biome_definition"]["full_cover"] == 0.85
    (status,) = json.loads(made.status)
    assert status["theta"] is not None
    assert status["cover_basis"].startswith("Endmembers are those of the configuration (NDVI: 0.09 bare soil, 0.85 ")


def test_pages_show_its_name(judged):
    made, site = judged
    assert "Wallachian steppe" in (made.root / "sites" / site / "index.html").read_text(encoding="utf-8")
    assert "瓦拉几亚草原" in (made.root / "sites" / site / "index.zh.html").read_text(encoding="utf-8")


def test_the_published_files_give_the_verdict_without_the_configuration(judged, tmp_path):
    made, site = judged
    folder = made.root / "sites" / site
    found = reassessed(folder / "observations.csv", folder / "plan.json", tmp_path / "again.parquet")
    (status,) = json.loads(made.status)
    assert_same(found[site], status)


def test_the_cube_opens_with_its_endmembers(judged):
    made, site = judged
    cube = monitor.open_site(made.config, site)
    assert "NDVI: 0.09 bare soil, 0.85 full cover" in cube["cover"].attrs["comment"]


@pytest.mark.slow
def test_processes_give_the_same_verdict(judged, install, tmp_path):
    made, site = judged
    other, _ = installed(install, tmp_path, scheduler="processes")
    night(other.settings, as_of=NIGHT)
    assert other.status == made.status
    for name in ("observations.csv", "plan.json"):
        assert (other.root / "sites" / site / name).read_bytes() == (made.root / "sites" / site / name).read_bytes()
