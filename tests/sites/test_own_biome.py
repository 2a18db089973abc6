"""Own biomes: properties that are not stated are inherited, impossible ones are refused."""

import contextlib
import json
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import box

from monitor.cover.fraction import Endmembers
from monitor.errors import BadData
from monitor.sites.biomes import BIOMES, biome_of, default_plan
from monitor.sites.checked_feature import LIMITS
from monitor.sites.growing_season import GrowingSeason
from monitor.sites.landscapes import group_into_landscapes
from monitor.sites.own_biome import PLAN_LIMITS, biome_from_json, biome_json, own_biome
from monitor.sites.site import Plan, ground_key, site_version
from tests import builders

TREE = {"A": 0.3, "k": 0.3, "L": 2, "too_early_years": 3}
SAHEL = {
    "like": "sandy", "name": "Sahel", "name_zh": "萨赫勒", "season": ("06-15", "10-31"), "bare_soil": 0.08,
    "tree": TREE,
}  # fmt: skip


def site_of(biome, *, south=False):
    return builders.site(
        geometry=box(0, -14.001, 0.001, -14) if south else box(0, 14, 0.001, 14.001), start=date(2020, 6, 1),
        biome="sahel", own_biome=biome, hectares=1.0, plan=default_plan("planting", biome),
    )  # fmt: skip


def test_what_is_not_stated_is_that_of_the_biome_it_is_like():
    found, sandy = own_biome(SAHEL, name="sahel"), BIOMES["sandy"]
    stated = replace(
        sandy, names={"en": "Sahel", "zh": "萨赫勒"}, season=(166, 304), season_shape=(235, 38), local_season=True,
        bare_soil=0.08, endmembers_stated=True, tree=Plan(**TREE),
    )  # fmt: skip
    assert found == stated
    assert replace(own_biome({"like": "sandy"}, name="my_land"), names=sandy.names) == sandy
    assert own_biome({"like": "sandy"}, name="my_land").names == {"en": "my land", "zh": "my land"}


def test_a_site_is_judged_by_the_definition_it_carries():
    site = site_of(own_biome(SAHEL, name="sahel"))
    assert biome_of(site).names["en"] == "Sahel"
    assert Endmembers.of(site).soil == 0.08
    assert GrowingSeason.of(site)[:2] == (165, 139)
    assert site.plan == BIOMES["sandy"].shrub


def test_a_season_may_run_into_the_next_year_and_is_that_of_the_place_in_the_south_too():
    winter = own_biome({"like": "loess", "season": ("10-15", "05-31")}, name="winter_rain")
    for south in (False, True):
        season = GrowingSeason.of(site_of(winter, south=south))
        assert season.locate_date(date(2021, 10, 15)) == (2021, 1)
        assert season.locate_date(date(2022, 5, 31)) == (2021, season.length)
        assert season.locate_date(date(2022, 6, 1))[1] > season.length
    inherited = own_biome({"like": "loess"}, name="pampa")
    assert GrowingSeason.of(site_of(inherited, south=True)).opens == 120 + 182


def test_only_a_change_of_what_is_observed_is_a_new_ground():
    site = site_of(own_biome(SAHEL, name="sahel"))
    named = site_of(own_biome(SAHEL | {"name": "Sahel zone"}, name="sahel"))
    dark = site_of(own_biome(SAHEL | {"bare_soil": 0.1}, name="sahel"))
    assert len({site_version(one) for one in (site, named, dark)}) == 3
    assert ground_key(site) == ground_key(named) != ground_key(dark)
    assert len(group_into_landscapes([site, replace(named, id="b")])) == 1
    assert len(group_into_landscapes([site, replace(dark, id="b")])) == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"like": "loes"}, "like is 'loes'"), ({"bare_soil": 0.7}, "bare_soil is 0.7"),
        ({"bare_soil": 0.4, "full_cover": 0.45}, "at least 0.1 above"),
        ({"full_cover": float("nan")}, "full_cover is nan"), ({"index": "ndvi"}, "give bare_soil and full_cover too"),
        ({"index": "evi"}, "index is 'evi'; give one of"), ({"index": "nbr", "full_cover": 0.8}, "index is 'nbr'"),
        ({"season": ("06-15", "06-20")}, "6 days"), ({"season": ("02-30", "06-20")}, "season has '02-30'"),
        ({"season": ("166", "304")}, "season has '166'"), ({"peak": "12-01"}, "peak is not within"),
        ({"season": None, "peak": "07-01"}, "give season too"), ({"width": 200}, "width is 200"),
        ({"clear_share": 0}, "clear_share is 0"), ({"tree": TREE | {"A": 12}}, "tree: A is 12"),
        ({"tree": TREE | {"k": 0}}, "tree: k is 0"),
        ({"tree": TREE | {"L": 4}}, "too_early_years 3 is less than L 4"),
        ({"planting": "gully"}, "planting is 'gully'"), ({"name": "a\u202eb"}, "its name is"),
        ({"name": "x" * 61}, "its name is"),
    ],
)  # fmt: skip
def test_an_impossible_value_is_refused_by_name(changes, reason):
    with pytest.raises(BadData, match=reason):
        own_biome(SAHEL | changes, name="sahel")


@pytest.mark.parametrize("name", ["loess", "Sahel", "../sahel", "con/x", "", "x" * 31, "萨赫勒"])
def test_the_name_of_a_biome_must_be_new_and_fit_for_a_folder(name):
    with pytest.raises(BadData, match=r"built in|a name has"):
        own_biome(SAHEL, name=name)


def test_a_published_definition_gives_the_biome_back():
    biome = own_biome(SAHEL, name="sahel")
    published = json.loads(json.dumps(biome_json(biome)))
    assert biome_from_json(published, name="sahel") == biome
    for broken in (
        {}, [], None, "sandy", published | {"season": [1]}, published | {"bare_soil": 0.9}, published | {"more": 1},
        published | {"closure": None}, published | {"names": {}}, published | {"season": ["a", "b"]},
    ):  # fmt: skip
        with pytest.raises(BadData):
            biome_from_json(broken, name="sahel")


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(key=st.sampled_from(sorted(biome_json(BIOMES["sandy"]))), value=_JSON)
def test_no_published_definition_crashes(key, value):
    with contextlib.suppress(BadData):
        biome_from_json(biome_json(BIOMES["sandy"]) | {key: value}, name="sahel")


def test_plans_have_the_limits_of_the_registry():
    for name, (low, high, _) in PLAN_LIMITS.items():
        column = LIMITS[name if name == "too_early_years" else f"plan_{name}"]
        assert column[0] <= low, name
        assert high == column[1], name
