"""The advice of `sites check` fits what is wrong."""

import pytest

from monitor.sites.registry import read_sites, repair, write_geojson
from tests.sites.conftest import BOW_TIE, square

X, Y = 104.6, 35.5
BAD = {
    "BAD_DATE": {"start": "20/04/2021"}, "UNKNOWN_VALUE": {"biome": "loes"}, "MISSING": {"biome": None},
    "OUT_OF_LIMITS": {"plan_A": 12}, "PLAN": {"plan_A": 0}, "COHORTS": {"cohorts": "2021"}, "ID_MISSING": {"id": ""},
    "SELF_CROSSING": {"ring": BOW_TIE}, "UNCLOSED": {"ring": square()[:-1]}, "WINDING": {"ring": square()[::-1]},
    "ZERO_AREA": {"ring": [[X, Y], [X, Y + 0.1], [X, Y + 0.2], [X, Y + 0.3]]},
    "SWAPPED": {"ring": square(35.5, 104.6)},
    "TOO_SMALL": {"ring": square(side=0.00001)}, "GCJ02": {"datum": "GCJ-02"}, "BAD_EMAIL": {"manager_email": "x"},
    "BAD_VALUE": {"name": [1]}, "NOT_A_NUMBER": {"ring": [[float("nan"), 35.5], *square()[1:]]},
    "ANTIMERIDIAN": {"ring": [[179.9, 35.5], [-179.9, 35.5], [-179.9, 35.6], [179.9, 35.6], [179.9, 35.5]]},
    "OUT_OF_RANGE": {"ring": square(500.0)}, "CRS_UNSTATED": {"ring": square(400_000.0, 3_900_000.0, 100.0)},
}  # fmt: skip
"""Problems of a site, by code."""


@pytest.mark.parametrize("code", [*BAD, "GCJ02 of Baidu"])
def test_repair_is_advised_for_what_it_repairs_and_for_nothing_else(code, registry, entry, tmp_path):
    path = registry(entry(**BAD.get(code, {"datum": "BD-09"})))
    problems = [problem for _, problem in read_sites(path).problems]
    assert code.split()[0] in {problem.code for problem in problems}
    assert all(problem.fix for problem in problems)
    repaired = repair(read_sites(path))
    if any("--repair" in problem.fix for problem in problems):
        write_geojson(repaired.entries, tmp_path / "repaired.geojson")
        assert read_sites(tmp_path / "repaired.geojson").problems == []
    else:
        assert not any(entry.repaired for entry in repaired.entries)


@pytest.mark.parametrize(
    ("column", "written", "meant"),
    [
        ("biome", "loes", "loess"), ("biome", "黄土高原", "loess"), ("biome", "Desert Steppe", "desert_steppe"),
        ("biome", "荒漠草原", "desert_steppe"), ("biome", "dessert_steppe", "desert_steppe"),
        ("intervention", "Planting", "planting"), ("intervention", "Assisted Regeneration", "assisted_regeneration"),
        ("intervention", "人工造林", "planting"), ("intervention", "封山育林", "assisted_regeneration"),
        ("intervention", "森林抚育", "tending"), ("intervention", "erosion-control", "erosion_control"),
        ("subtype", "草方格沙障", "checkerboard"), ("subtype", "Trees", "tree"),
    ],
)  # fmt: skip
def test_the_nearest_option_is_suggested(column, written, meant, registry, entry):
    ((_, problem),) = read_sites(registry(entry(**{column: written}))).problems
    assert problem.code == "UNKNOWN_VALUE"
    assert f"Did you mean {meant!r}?" in problem.fix
    assert ("[biomes.NAME]" in problem.fix) == (column == "biome")
