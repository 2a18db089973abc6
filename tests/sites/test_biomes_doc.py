"""``docs/biomes.md`` says what the table of the code says, and its example of an own biome is one."""

import re
import tomllib
from datetime import date, timedelta

import pytest

from jobs.runtime.biome_settings import BiomeSettings, own_biomes
from monitor.sites.biomes import BIOMES, default_plan
from monitor.sites.cover_scale import INDEX_NAMES
from monitor.sites.own_biome import LIMITS, PLAN_LIMITS
from monitor.sites.site import SUBTYPES


@pytest.fixture(scope="module")
def page(request):
    return (request.config.rootpath / "docs" / "biomes.md").read_text(encoding="utf-8")


def day(number):
    when = date(2001, 1, 1) + timedelta(days=number - 1)
    return f"{when.day} {when:%B}"


def season_row(name, biome):
    season = "all year" if biome.season == (1, 365) else f"{day(biome.season[0])} to {day(biome.season[1])}"
    index = f"{INDEX_NAMES[biome.index]}, {biome.bare_soil:.2f} to {biome.full_cover:.2f}"
    return f"| `{name}` | {season} | {day(biome.season_shape[0])}, {biome.season_shape[1]} | {index} |"


def plan_row(name, biome):
    plans = (default_plan("planting", biome, kind) for kind in ("enclosure", "shrub", "tree", "reseeding"))
    cells = " | ".join(numbers(plan) for plan in plans)
    return f"| `{name}` | {cells} | {biome.planting} | {biome.erosion_control} |"


def numbers(plan):
    return f"{plan.A:.2f}, {plan.k:.2f}, {plan.L:g}, {plan.too_early_years:g}"


@pytest.mark.parametrize("name", BIOMES)
def test_seasons_and_plans_are_those_of_the_code(page, name):
    assert season_row(name, BIOMES[name]) in page
    assert plan_row(name, BIOMES[name]) in page
    assert f"{BIOMES[name].names['en']}, {BIOMES[name].names['zh']}" in page


def test_plans_that_are_alike_in_every_biome_are_those_of_the_code(page):
    for kind in ("slope", "gully", "checkerboard"):
        plans = {default_plan("erosion_control", biome, kind) for biome in BIOMES.values()}
        assert f"| `{kind}` | {numbers(*plans)} |" in page
    assert all(f"`{kind}`" in page for kind in SUBTYPES)


def test_every_key_and_limit_of_an_own_biome_is_named(page):
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    sections = tomllib.loads(example)["biomes"]
    found = own_biomes({name: BiomeSettings(**values) for name, values in sections.items()})
    assert found["pontic_steppe"].names == {"en": "Pontic steppe", "zh": "黑海草原"}
    assert all(f"`{key}`" in page for key in BiomeSettings.model_fields)
    for key, (low, high, _) in (LIMITS | PLAN_LIMITS).items():
        assert re.search(rf"`{key}`[^\n]*{low:g} to {high:g}", page), key
