"""A verdict that goes on from what an earlier night has learnt is, bit for bit, the one from scratch."""

import json
from dataclasses import replace
from datetime import date, timedelta
from unittest.mock import Mock

import numpy as np
import pytest
from shapely.geometry import Polygon

from monitor.sites.site import Plan, Site
from monitor.verdict import assess
from monitor.verdict.assess import assess_and_look_back, learn
from monitor.verdict.assessment import Series

SITE = Site(
    id="loess-1", name="", geometry=Polygon(), start=date(2018, 7, 20), intervention="planting", biome="loess",
    plan=Plan(A=0.2, k=0.6, L=0.3, too_early_years=1.5), hectares=40.0,
)  # fmt: skip


def series(first: int = 2015, *, second: bool = False, seed: int = 0) -> Series:
    rng = np.random.default_rng(seed)
    dates = np.arange(np.datetime64(f"{first}-01-05"), np.datetime64("2023-09-30"), np.timedelta64(8, "D"))
    dates = dates[rng.random(dates.size) < 0.6]
    s = np.exp(-0.5 * (((dates - dates.astype("datetime64[Y]")).astype(int) - 214) / 45) ** 2)
    rain = rng.normal(0, 0.15, 12)[dates.astype("datetime64[Y]").astype(int) - 43]
    control = 0.04 + 0.2 * s * (1 + rain) + rng.normal(0, 0.01, dates.size)
    other = np.where(rng.random(dates.size) < 0.7, control + rng.normal(0, 0.01, dates.size), np.nan)
    return Series(
        dates=dates, cover=np.clip(control + rng.normal(0, 0.015, dates.size), 0, 1), control=np.clip(control, 0, 1),
        control_2=np.clip(other, 0, 1) if second else None,
    )  # fmt: skip


def until(whole: Series, day: date) -> Series:
    n = int(np.searchsorted(whole.dates, np.datetime64(day), side="right"))
    second = None if whole.control_2 is None else whole.control_2[:n]
    return replace(whole, dates=whole.dates[:n], cover=whole.cover[:n], control=whole.control[:n], control_2=second)


def same(one, other) -> bool:
    """Whether two verdicts with their last looks are the same to the bit."""
    looks = [None if look is None else (look.day, look.verdict(), look.promised()) for _, look in (one, other)]
    return one[0] == other[0] and looks[0] == looks[1]


@pytest.mark.parametrize("second", [False, True], ids=["one ring", "two rings"])
@pytest.mark.parametrize("first", [2015, 2018], ids=["seasons before", "none before"])
def test_every_night_says_the_same_and_after_the_start_learns_once_a_season(first, second, monkeypatch):
    whole, memory, day = series(first, second=second), {}, date(2018, 5, 1)
    fresh, learnt = Mock(side_effect=learn), {}
    while day < date(2023, 9, 30):
        told = until(whole, day)
        monkeypatch.setattr(assess, "learn", fresh)
        known = fresh.call_count
        found = assess_and_look_back(told, SITE, as_of=day, memory=memory)
        if day > SITE.start:
            learnt[day.year] = learnt.get(day.year, 0) + fresh.call_count - known
        monkeypatch.setattr(assess, "learn", learn)
        assert same(found, assess_and_look_back(told, SITE, as_of=day))
        memory = json.loads(json.dumps(memory))
        day += timedelta(days=9)
    rings = 1 + second
    # in the first year a scene from before the start may be new, and the start itself begins what is known of after it
    assert {learnt[year] for year in (2020, 2021, 2022, 2023)} == {rings}
    assert learnt[2018] + learnt[2019] <= 5 * rings


@pytest.mark.parametrize("change", [
    lambda kept: {"first": 3},
    lambda kept: {"first": {"key": kept["first"]["key"]}},
    lambda kept: {"first": {**kept["first"], "normal": [1.0, 2.0]}},
    lambda kept: {"first": {**kept["first"], "key": "that of other scenes", "scene": 2.0}},
    lambda kept: {"second": kept["first"]},
])  # fmt: skip
def test_what_memory_holds_of_anything_else_is_learnt_anew(change):
    told, day, memory = series(), date(2022, 8, 1), {}
    wanted = assess_and_look_back(told, SITE, as_of=day, memory=memory)
    before, memory = memory["first"], change(memory)
    assert same(assess_and_look_back(told, SITE, as_of=day, memory=memory), wanted)
    assert memory["first"] == before


@pytest.mark.parametrize("other", [
    {"calibration": replace(assess.DEFAULT, scene_sd=0.02)},
    {"site": replace(SITE, start=date(2019, 7, 20))},
    {"site": replace(SITE, hectares=0.5)},
])  # fmt: skip
def test_another_start_area_or_constant_is_another_thing_to_learn(other):
    told, day, memory = series(), date(2022, 8, 1), {}
    assess_and_look_back(told, SITE, as_of=day, memory=memory)
    site, more = other.get("site", SITE), {name: value for name, value in other.items() if name != "site"}
    found = assess_and_look_back(told, site, as_of=day, memory=memory, **more)
    assert same(found, assess_and_look_back(told, site, as_of=day, **more))
