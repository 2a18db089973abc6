"""Whether a failure of this site could be seen at all, estimated before a single night has run."""

import re
from dataclasses import replace
from datetime import date
from itertools import pairwise

import numpy as np
import pytest

from monitor.sites.site import Plan, Site
from monitor.verdict.assess import DEFAULT
from monitor.verdict.detectability import Detectability, detectability, in_words
from monitor.verdict.site_conditions import SiteConditions, simulate
from tests import builders

SITE = builders.site(start=date(2024, 3, 1))


def by_year(site: Site = SITE, before: int = 5, scenes: float = 15, **more) -> tuple[Detectability, ...]:
    return detectability(site, seasons_before=before, scenes_a_year=scenes, **more)


def test_chances_grow_from_year_to_year_and_a_watch_comes_no_later_than_red():
    found = by_year()
    assert [one.year for one in found] == list(range(1, 11))
    assert [one.until for one in found] == list(range(2025, 2035))
    for before, after in pairwise(found):
        assert before.red <= after.red
        assert before.watch <= after.watch
    assert all(one.red <= one.watch for one in found)


def test_chances_are_those_that_the_benchmark_measures():
    # What placebos of the benchmark's ground set: it is calmer than the usual.
    calm = replace(DEFAULT, slow_sd=0.016, scene_sd=0.023, year_sd=0.012, elasticity_sd=0.15, rain_sd=0.18)
    found = by_year(calibration=calm)
    # Of 800 such sites without any growth .50, .73 and .85 turned red by year 4, 5 and 6; 200 leave .035.
    for year, measured in ((4, 0.50), (5, 0.73), (6, 0.85)):
        assert found[year - 1].red == pytest.approx(measured, abs=0.11)
    assert found[1].red == 0, "nothing is red while it is too early"


@pytest.mark.parametrize("harder", [
    {"site": replace(SITE, plan=Plan(A=0.12, k=0.25, L=1.5, too_early_years=3.0))}, {"scenes": 3},
    {"calibration": replace(DEFAULT, slow_sd=0.04)}, {"alpha": 0.01}, {"site": replace(SITE, hectares=0.1)},
], ids=["slow shrubs", "cloudy", "restless ground", "small budget", "tiny"])  # fmt: skip
def test_what_makes_a_site_harder_to_see_makes_red_later(harder):
    assert by_year(**harder)[4].red < by_year()[4].red - 0.03


def test_where_half_was_planted_two_years_later_less_was_promised_and_red_comes_later():
    halves = replace(SITE, cohorts=((SITE.start, 0.5), (date(2026, 3, 1), 0.5)))
    assert by_year(halves)[4].red < by_year()[4].red - 0.1
    at_once = replace(SITE, cohorts=((SITE.start, 1.0),))
    assert by_year(at_once) == by_year()


def test_while_it_is_too_early_for_most_of_a_site_nothing_is_red():
    mostly_late = replace(SITE, cohorts=((SITE.start, 0.1), (date(2027, 3, 1), 0.9)))
    assert [one.red for one in by_year(mostly_late)[:5]] == [0.0] * 5


def test_words_state_from_which_year_on_red_is_likely():
    chances = [(0.0, 0.1), (0.2, 0.6), (0.55, 0.7)]
    three = tuple(
        Detectability(year=k, until=2027 + k, red=red, watch=watch) for k, (red, watch) in enumerate(chances, start=1)
    )
    assert in_words(three) == (
        "If nothing grows here, red is not likely before 2030 (chance 55% by its end); a watch not before 2029 (60%)."
    )
    assert "2030 年之前不大可能变红" in in_words(three, language="zh")
    assert in_words(three[:1]) == (
        "If nothing grows here, red is not likely even by 2028 (chance 0%), nor is a watch: count plants on the ground."
    )


def test_where_nothing_is_promised_there_is_no_failure_to_see():
    none = by_year(replace(SITE, plan=replace(SITE.plan, A=0.0)))
    assert none == ()
    assert "no failure to see" in in_words(none)


def test_the_same_site_gets_the_same_chances():
    assert by_year() == by_year()


def test_a_site_without_any_year_before_or_scene_is_answered_too():
    assert by_year(before=0)[-1].red > 0
    assert by_year(scenes=0)[-1].red == 0


def test_ground_that_drifts_less_and_scenes_with_less_noise_show_a_failure_earlier():
    usual, calm, clear, both = (
        by_year(drift=drift, scene=scene)[3].red
        for drift, scene in ((1.0, 1.0), (0.78, 1.0), (1.0, 0.62), (0.78, 0.62))
    )
    assert usual < min(calm, clear)
    assert max(calm, clear) < both


def test_the_guide_to_a_programme_shows_what_is_simulated(root):
    usual = SiteConditions(
        plan=SITE.plan, biome="loess", south=False, month=4, hectares=16.0, parts=(), before=4, scenes=15.0,
        control=0.4, alpha=0.05, constants=DEFAULT,
    )  # fmt: skip
    better = usual.improved
    rows = [
        usual, better["more_scenes"], better["strips"], better["both"], replace(usual, before=1),
        replace(usual, before=0), replace(usual, hectares=1.0), replace(usual, hectares=0.25),
        *(replace(usual, plan=Plan(A=A, k=k, L=L, too_early_years=2.0))
          for A, k, L in ((0.30, 0.45, 1.0), (0.12, 0.35, 0.5), (0.12, 0.25, 1.5))),
    ]  # fmt: skip
    text = (root / "docs" / "design-a-programme.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\| [^|]+ \| (\.\d\d) \| (\.\d\d) \| (\.\d\d) \| (\.\d\d) \|$", text, re.MULTILINE)
    simulated = [[year.red for year in simulate(row)[2:6]] for row in rows]
    np.testing.assert_allclose(np.array(shown, float), simulated, atol=0.0151)  # three of 200 sites
