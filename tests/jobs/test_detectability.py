"""Detectability of a site: at registration from assumptions, on its page from the stored scenes."""

from dataclasses import replace
from datetime import date

from shapely.geometry import box

from jobs.night.pipeline import night
from jobs.register.detectability import advise_strips, assumptions, chances, improvements_in_words, simulate_all
from monitor.imagery.sample import Sample
from monitor.publish.view import DetectionAssumptions
from monitor.sites.biomes import BIOMES, default_plan
from monitor.sites.site import Plan
from monitor.verdict import site_conditions
from monitor.verdict.assess import DEFAULT
from monitor.verdict.site_conditions import NO_VERDICT, SiteConditions, detectability_json
from tests import builders
from tests.builders import edited_features, feature, plan_properties, printed_json, regrowth, write_features
from tests.landscape import columns_of

SITE = builders.site(geometry=box(107.0, 36.5, 107.01, 36.51), start=date(2022, 4, 1))
SINCE = date(2017, 1, 1)


def rows(per_season, first=2017, last=2026):
    days = [
        f"{y}-{5 + k * 5 // per_season:02d}-{1 + k % 28:02d}" for y in range(first, last) for k in range(per_season)
    ]
    return [{"time": f"{day}T03:00:00", "accepted": True, "control_cover": 0.2, "reason": ""} for day in days]


def seen(observed, as_of=date(2025, 11, 20)):
    columns = columns_of(observed, ("time", "accepted", "control_cover", "reason"))
    return SiteConditions.seen(SITE, columns, as_of=as_of, since=SINCE, alpha=0.05, constants=DEFAULT)


def conditions(**more):
    return SiteConditions.assumed(SITE, **{"since": SINCE, "alpha": 0.05, **more})


def test_assumptions_follow_from_the_first_day_of_imagery_and_the_biome():
    assert (conditions().before, conditions().scenes) == (4, 15.0)
    assert conditions(since=date(2020, 6, 1)).before == 1, "the season that had begun is not whole"
    assert conditions(since=date(2022, 1, 1)).before == 0
    karst = SiteConditions.assumed(replace(SITE, biome="karst"), since=SINCE, alpha=0.05)
    assert (karst.scenes, karst.control) == (15.0, 0.6)


def test_stored_scenes_are_counted_and_fewer_of_them_make_red_later():
    dense, sparse = (seen(rows(n)) for n in (18, 4))
    assert (dense.before, dense.scenes, dense.control) == (4, 15.0, 0.2)
    assert (sparse.before, sparse.scenes) == (4, 2.0)
    year_5 = [detectability_json(one, SITE.start)["red"][4] for one in (dense, sparse)]
    assert year_5[0] > year_5[1] + 0.1
    assert seen(rows(18, first=2021)).before == 1
    assert seen([]) == seen(rows(5, first=2025), as_of=date(2025, 8, 1)) == conditions(), "no season is over"


def test_a_site_planted_in_several_years_has_a_part_for_each_and_parts_of_one_month_count_as_one():
    later = replace(SITE, cohorts=((SITE.start, 0.5), (date(2024, 4, 1), 0.3), (date(2024, 4, 9), 0.2)))
    half = SiteConditions.assumed(later, since=SINCE, alpha=0.05)
    assert half.parts == ((0, 0.5), (24, 0.5))
    assert half != conditions()
    assert detectability_json(half, SITE.start)["red"][4] < detectability_json(conditions(), SITE.start)["red"][4]
    soon = replace(SITE, cohorts=((SITE.start, 0.5), (date(2022, 4, 5), 0.5)))
    assert SiteConditions.assumed(soon, since=SINCE, alpha=0.05) == conditions()


def test_seasons_that_clouds_have_hidden_since_the_start_lower_the_count_of_scenes():
    hidden = seen(rows(18, last=2022))
    assert (hidden.before, hidden.scenes) == (4, 2.0)
    assert seen(rows(18, last=2022), as_of=date(2022, 8, 1)).scenes == 15.0, "until a season since the start is over"


def test_the_years_are_those_of_the_site_itself():
    record = detectability_json(conditions(), SITE.start)
    assert record["until"][:2] == [2023, 2024]
    assert record["years"] == list(range(1, 11))
    assert all(low <= high for low, high in zip(record["red"], record["watch"], strict=True))


def test_two_thousand_sites_are_some_dozens_of_simulations(monkeypatch):
    simulated = []

    def counted(site, **_):
        simulated.append(site)
        return ()

    monkeypatch.setattr(site_conditions, "detectability", counted)
    site_conditions.simulate.cache_clear()
    sites = [
        replace(
            SITE, id=str(k), biome=[*BIOMES][k % 9], start=date(2021 + k % 5, 3 + k % 2, 1 + k % 28),
            hectares=20.0 + k, plan=default_plan("planting", [*BIOMES.values()][k % 9], ("shrub", "tree", None)[k % 3]),
        )
        for k in range(2000)
    ]  # fmt: skip
    simulate_all([SiteConditions.assumed(one, since=SINCE, alpha=0.05) for one in sites])
    assert len(simulated) % 4 == 0, "each as it is, with more scenes, with strips, and with both"
    assert 9 <= len(simulated) / 4 <= 20
    site_conditions.simulate.cache_clear()


def test_detectability_of_a_new_or_changed_site_is_reported_at_once(installation):
    add = ("sites", "add", installation.registry)
    first, _, *lines = regrowth(*add, config=installation.config)[1].splitlines()
    assert first == "added: demo-02, demo-07, demo-10"
    assert [line.split(":")[0] for line in lines] == ["demo-02", "demo-07", "demo-10"]
    assert all("If nothing grows here, red is not likely before" in line for line in lines)
    assert all("with twice the clear scenes" in line and "with control strips" in line for line in lines)
    assumptions_shown = "(assuming 15 clear scenes a season, 1 season before the start)"
    assert all(line.endswith(assumptions_shown) for line in lines)
    assert len(regrowth(*add, config=installation.config)[1].splitlines()) == 1
    with edited_features(installation.registry) as features:
        features[0]["properties"] |= {"intervention": "tending", "plan_A": None, "plan_L": None}
    report = printed_json(*add, config=installation.config)
    assert list(report["detectability"]) == report["changed"] == ["demo-02"]
    assert report["detectability"]["demo-02"]["red"] == []
    assert "No uplift was promised" in report["detectability"]["demo-02"]["said"]["en"]


def test_the_page_reports_detectability_from_the_scenes_that_are_stored(first_night):
    page = (first_night.root / "sites" / "demo-02" / "index.html").read_text(encoding="utf-8")
    assert "Detectability of failure" in page
    explained = printed_json("explain", "demo-02", config=first_night.config)["detectability"]
    assert explained["seasons_before"] == 1
    assert not explained["assumed"]
    assert "given the scenes and the control ground of this site" in page
    assert f"{explained['red'][3]:.0%}" in page.partition("Detectability of failure")[2]


def test_the_page_of_a_site_whose_growing_season_was_not_seen_says_so(installation, settings, monkeypatch):
    page = installation.root / "sites" / "demo-02" / "index.html"
    whole = Sample.search
    monkeypatch.setattr(Sample, "search", lambda *a: [scene for scene in whole(*a) if scene.time.month in (1, 2)])
    night(settings, as_of=date(2018, 9, 30))
    unseen = page.read_text(encoding="utf-8")
    assert "the usual values of its region are assumed: 15 clear scenes a season" in unseen
    assert "control ground of this site" not in unseen
    monkeypatch.undo()
    night(settings, as_of=date(2018, 9, 30))
    assert "this assumes" not in page.read_text(encoding="utf-8")


def test_assumed_and_observed_conditions_share_a_simulation_but_not_a_record():
    assumed = conditions()
    counted = replace(assumed, unseen=False)
    assert assumed == counted
    assert repr(assumed) != repr(counted), "by which they are stored"
    assert assumptions(detectability_json(assumed, SITE.start)) == DetectionAssumptions(scenes=15.0, before=4)
    assert assumptions(detectability_json(counted, SITE.start)) is None


def test_without_a_possible_verdict_no_chance_is_reported():
    small = SiteConditions.assumed(replace(SITE, hectares=0.09), since=SINCE, alpha=0.05)
    alone = [{**row, "accepted": False, "reason": "CONTROL_FEW"} for row in rows(18, first=2025)]
    blind = seen(rows(18, last=2025) + alone)
    for found, why in ((small, "small"), (blind, "ground")):
        record = detectability_json(found, SITE.start)
        assert (record["years"], record["red"], record["watch"]) == ([], [], [])
        assert (record["said"]["en"], record["said"]["zh"]) == NO_VERDICT[why]
        assert chances(record) == ()
        assert repr(found) != repr(conditions()), "by which it is stored"
    assert detectability_json(conditions(), SITE.start)["red"]


def test_a_site_begun_before_all_imagery_has_chances_without_seasons_before():
    late = detectability_json(conditions(since=date(2023, 1, 1)), SITE.start)
    assert late["seasons_before"] == 0
    assert late["red"][-1] > 0


SHRUB = replace(SITE, id="shrub", plan=Plan(A=0.12, k=0.25, L=1.5, too_early_years=3.0))


def test_for_a_slow_plan_the_chances_of_both_designs_are_stated_before_the_work_begins():
    tending = replace(SITE, id="tending", plan=replace(SITE.plan, A=0.0))
    said = advise_strips([SITE, SHRUB, tending], since=SINCE, alpha=0.05)
    assert list(said) == ["shrub"]
    figures = [int(word.strip("%,. ")) for word in said["shrub"].split() if word.strip(",.").endswith("%")]
    ring, strips = figures[:3], figures[3:]
    assert ring == sorted(ring)
    assert strips[2] > ring[2]


def test_strips_once_left_are_what_the_chances_are_of():
    ring, strips = conditions(), replace(conditions(), strips=True)
    assert set(ring.improved) == {"more_scenes", "strips", "both"}
    assert set(strips.improved) == {"more_scenes"}
    stored = detectability_json(strips, SITE.start)
    assert stored["strips"]
    assert stored["red"] == detectability_json(ring, SITE.start)["improved"]["strips"]
    assert "control strips" not in improvements_in_words(stored)


def test_the_check_of_a_registry_names_slow_plans_with_both_designs(tmp_path):
    plan = plan_properties(SHRUB.plan) | {"start": "2022-04-01", "biome": "sandy"}
    slow = feature("slow", box(106.0, 40.0, 106.01, 40.01), **plan)
    quick = feature("quick", box(106.1, 40.0, 106.11, 40.01), **plan | {"plan_A": 0.3, "plan_k": 0.5})
    write_features(tmp_path / "sites.geojson", [slow, quick])
    report = printed_json("sites", "check", tmp_path / "sites.geojson")
    codes = {one["site"]: [p["code"] for p in one["problems"]] for one in report["sites"]}
    assert "SLOW_PLAN" in codes["slow"]
    assert "SLOW_PLAN" not in codes["quick"]
