import dataclasses
import json
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from monitor.alerts.words import site_name
from monitor.sites import gcj02
from monitor.sites.biomes import BIOMES
from monitor.sites.columns import PROPERTIES
from monitor.sites.registry import read_sites
from monitor.sites.site import INTERVENTIONS, SUBTYPES, Plan, site_version
from tests.sites.conftest import codes, square

X, Y, D = 104.6, 35.5, 0.01


def test_a_good_entry_becomes_a_typed_site(judged):
    properties = {
        "id": "a", "name": "Dingxi", "name_zh": "定西", "start": "2021-04-20", "intervention": "erosion_control",
        "biome": "loess", "subtype": "gully", "province": "甘肃", "programme_year": 2021, "partner": "p",
        "slope_degrees": 22.5,
        "manager_name": "王", "manager_language": "zh", "manager_email": "w@example.org", "manager_channel": "wecom",
        "plan_A": 0.3, "plan_k": 0.5, "plan_L": 1, "plan_cover": "index", "too_early_years": 2,
        "cohorts": "2021-04-20:1",
    }  # fmt: skip
    assert set(properties) == set(PROPERTIES)
    found = judged(**properties)
    assert found.problems == []
    site = found.site
    assert (site.start, site.slope_degrees, site.programme_year) == (date(2021, 4, 20), 22.5, 2021)
    assert site.plan == Plan(A=0.3, k=0.5, L=1.0, too_early_years=2.0)
    assert (site.name, site.province, site.manager_name, site.manager_language) == ("Dingxi", "甘肃", "王", "zh")
    assert (site_name(site, "en"), site_name(site, "zh")) == ("Dingxi", "定西")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("w@example.org", "w@example.org"), (" w@example.org ; v@example.org", "w@example.org, v@example.org"),
        ("w@example.org，w@example.org", "w@example.org"), ("", None), (None, None),
        ("w@example.org; v@example.org，", "w@example.org, v@example.org"),
    ],
)  # fmt: skip
def test_several_addresses_of_a_manager_are_separated_by_commas(judged, written, read):
    found = judged(manager_email=written)
    assert (found.site.manager_email, found.problems) == (read, [])


@pytest.mark.parametrize("written", ["w", "w@", "W <w@example.org>", "w@example.org v@example.org", "王@example.org"])
def test_an_invalid_mail_address_is_named_and_its_alerts_go_to_the_operators(judged, written):
    found = judged(manager_email=written)
    assert codes(found) == ["BAD_EMAIL"]
    assert found.site.manager_email is None
    assert "operators" in found.problems[0].message


def test_a_mail_address_with_a_line_end_refuses_the_site(judged):
    found = judged(manager_email="w@example.org\r\nBcc: v@example.org")
    assert (codes(found), found.site) == (["BAD_EMAIL"], None)


def test_what_the_registry_leaves_out_has_its_default(judged):
    site = judged(name=None, subtype=None, plan_k=0.9).site
    assert site.name == "a"
    assert (site.manager_language, site.manager_channel, site.slope_degrees) == ("en", None, None)
    assert site.plan == Plan(A=0.22, k=0.9, L=2, too_early_years=4)  # the row of trees on loess, but for k


@pytest.mark.parametrize(
    ("properties", "code"),
    [
        ({"id": None}, "ID_MISSING"), ({"id": "  "}, "ID_MISSING"), ({"id": True}, "ID_MISSING"),
        ({"id": ["a"]}, "ID_MISSING"), ({"id": "a\0b"}, "ID_INVISIBLE"), ({"id": "a\u202eb"}, "ID_INVISIBLE"),
        ({"id": "a\r\nb"}, "ID_INVISIBLE"), ({"id": "x" * 301}, "ID_LONG"), ({"start": None}, "MISSING"),
        ({"start": "20/04/2021"}, "BAD_DATE"), ({"start": "2021-02-30"}, "BAD_DATE"),
        ({"start": "0021-04-20"}, "BAD_DATE"), ({"start": "2021"}, "BAD_DATE"), ({"start": 44306}, "BAD_DATE"),
        ({"start": ["2021-04-20"]}, "BAD_VALUE"), ({"intervention": None}, "MISSING"),
        ({"intervention": "Planting"}, "UNKNOWN_VALUE"), ({"biome": "dessert_steppe"}, "UNKNOWN_VALUE"),
        ({"biome": 3}, "UNKNOWN_VALUE"), ({"subtype": "trees"}, "UNKNOWN_VALUE"),
        ({"manager_language": "fr"}, "UNKNOWN_VALUE"),
        ({"manager_channel": "mailto:a@example.org\r\nBcc: b@example.org"}, "BAD_CHANNEL"),
        ({"plan_A": 12}, "OUT_OF_LIMITS"), ({"plan_A": float("nan")}, "OUT_OF_LIMITS"),
        ({"plan_A": "much"}, "OUT_OF_LIMITS"), ({"plan_A": True}, "OUT_OF_LIMITS"), ({"plan_k": 0}, "OUT_OF_LIMITS"),
        ({"plan_L": -1}, "OUT_OF_LIMITS"), ({"too_early_years": 31, "plan_L": 1}, "OUT_OF_LIMITS"),
        ({"slope_degrees": 91}, "OUT_OF_LIMITS"), ({"programme_year": 2021.5}, "OUT_OF_LIMITS"),
        ({"programme_year": 21}, "OUT_OF_LIMITS"), ({"plan_A": 0}, "PLAN"),
        ({"intervention": "tending", "plan_A": 0.1}, "PLAN"), ({"plan_L": 5, "too_early_years": 3}, "PLAN"),
    ],
    ids=ascii,
)  # fmt: skip
def test_a_value_that_cannot_be_meant_refuses_the_site_and_says_what_to_do(judged, properties, code):
    found = judged(**properties)
    assert not found.site
    assert codes(found) == [code]
    assert all(problem.message and problem.fix for problem in found.problems)


def test_all_problems_of_a_site_are_reported_at_once(judged):
    found = judged(id=None, start="x", biome="y", plan_A=7, ring=[[Y, X], [Y, X + D], [Y + D, X], [Y, X]])
    assert codes(found) == ["ID_MISSING", "BAD_DATE", "UNKNOWN_VALUE", "OUT_OF_LIMITS", "SWAPPED"]
    assert found.label == "feature 1"


@pytest.mark.parametrize("site_id", ["../../etc", "CON", "NUL", "a/b", "🌱", "x" * 300, "a b"])
def test_an_id_that_can_name_no_folder_is_accepted_and_reported(judged, site_id):
    found = judged(id=site_id)
    assert found.site
    assert codes(found) == ["ID_FOLDER"]
    assert found.site.id == site_id


@pytest.mark.parametrize(("given", "read"), [(7, "7"), (7.0, "7"), ("e\u0301", "é"), (" a ", "a"), ("民勤", "民勤")])
def test_an_id_is_a_text_in_one_unicode_form(judged, given, read):
    assert judged(id=given).site.id == read


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "{{7*7}}", "=cmd|' /C calc'!A0", "O'Neil & 王 (西)"])
def test_hostile_but_visible_text_stays_as_it_is(judged, text):
    found = judged(name=text, name_zh=text, partner=text)
    assert found.problems == []
    assert found.site.name == found.site.name_zh == found.site.partner == text


@pytest.mark.parametrize("sign", ["\u202e", "\r\n", "\0", "\u200b", "\u2066", "\ud800"], ids=ascii)
def test_invisible_signs_in_a_name_are_removed_and_reported(judged, sign):
    found = judged(name=f"民{sign}勤")
    assert codes(found) == ["TEXT_CLEANED"]
    assert sign not in found.site.name
    assert sign not in found.problems[0].message


@pytest.mark.parametrize("column", ["name", "name_zh"])
def test_a_long_name_is_cut_and_reported(judged, column):
    found = judged(**{column: "民" * 301})
    assert codes(found) == ["TEXT_LONG"]
    assert getattr(found.site, column) == "民" * 300


@pytest.mark.parametrize("empty", [None, "", " ", "\u200b"])
def test_a_site_without_a_chinese_name_has_its_name_in_chinese_too(judged, empty):
    site = judged(name="Dingxi", name_zh=empty).site
    assert site.name_zh is None
    assert site_name(site, "zh") == "Dingxi"
    assert site_name(dataclasses.replace(site, name="\u202e", name_zh="\0"), "zh") == site.id


@pytest.mark.parametrize(
    ("column", "near"),
    [
        ("slope_degree", "slope_degrees"), ("Start Date", "start"), ("manager_mail", "manager_email"),
        ("manager-language", "manager_language"), ("plan A", "plan_A"), ("plan_a_typo", "plan_A"),
    ],
)  # fmt: skip
def test_a_column_that_is_not_read_is_named_with_the_nearest_known_one(judged, column, near):
    entry = judged(**{column: "7"})
    (problem,) = entry.problems
    assert (problem.code, problem.refuses, entry.site is None) == ("UNKNOWN_COLUMN", False, False)
    assert repr(column) in problem.message
    assert problem.fix == f"Did you mean {near!r}?"


def test_columns_with_unknown_names_are_named_once_for_the_file_and_refuse_nothing(entry, registry):
    other = entry(id="b", ring=square(X + 1), OBJECTID=2, datum="WGS84")
    report = read_sites(registry(entry(id="a", OBJECTID=1), other))
    assert report.columns == {"OBJECTID": None}
    assert report.problems == []


def test_a_hundred_thousand_unknown_columns_cost_no_time(entry, registry, cpu_seconds):
    many = {f"manager_{n:06}": 1 for n in range(100_000)}
    path = registry(entry(**many))
    with cpu_seconds(at_most=3.0):
        assert 0 < len(read_sites(path).columns) <= 100


@pytest.mark.parametrize("written", ["2021/4/1", "2021-4-1", "2021/04/01 10:30:00+08", "2021-04-01T00:00:00.000"])
def test_a_day_written_year_first_or_as_gis_programs_write_it_is_that_day(judged, written):
    assert judged(start=written).site.start == date(2021, 4, 1)


@pytest.mark.parametrize("written", ["1/4/2021", "04-01-2021", "2021/13/1", "2021/4-1", "21/4/1", "2021/4/1 noon"])
def test_a_day_that_can_be_read_in_two_ways_or_in_none_is_refused_with_an_example(judged, written):
    (problem,) = judged(start=written).problems
    assert (problem.code, "2021-04-15" in problem.fix) == ("BAD_DATE", True)


def test_names_cut_by_a_shapefile_are_understood_in_any_case(registry, entry):
    feature = entry(too_early_years=7)
    feature["properties"] = {name[:10].upper(): value for name, value in feature["properties"].items()}
    (site,) = read_sites(registry(feature)).sites
    assert (site.intervention, site.plan.too_early_years) == ("planting", 7)


def test_no_two_columns_are_cut_to_one_name():
    assert len({name[:10].casefold() for name in PROPERTIES}) == len(PROPERTIES)


@pytest.mark.parametrize("ids", [("a", "a"), ("a", "A"), ("é", "e\u0301"), ("Ａ", "a"), (1, "1")], ids=ascii)
def test_ids_that_are_one_to_a_person_refuse_both_sites(entry, registry, ids):
    report = read_sites(registry(entry(id=ids[0]), entry(id=ids[1], ring=square(X + 1))))
    assert report.sites == []
    assert [problem.code for _, problem in report.problems] == ["ID_DUPLICATE", "ID_DUPLICATE"]


def pair(entry, registry, other):
    return read_sites(registry(entry(id="a"), entry(id="b", ring=other), entry(id="far", ring=square(X + 1))))


def test_one_outline_under_two_ids_refuses_both(entry, registry):
    report = pair(entry, registry, square()[1:] + square()[1:2])  # starts at another corner
    assert [(label, problem.code) for label, problem in report.problems] == [
        ("a", "OUTLINE_DUPLICATE"), ("b", "OUTLINE_DUPLICATE"),
    ]  # fmt: skip
    assert [site.id for site in report.sites] == ["far"]


def test_ground_that_would_count_twice_refuses_both_and_is_reported_in_hectares(entry, registry):
    report = pair(entry, registry, square(X + D / 2))
    assert [problem.code for _, problem in report.problems] == ["OVERLAP", "OVERLAP"]
    assert "50.33 ha (50%)" in report.problems[0][1].message
    assert "'b'" in report.problems[0][1].message


@pytest.mark.parametrize(
    ("other", "codes", "accepted"),
    [(square(X + D / 4, Y + D / 4, D / 10), ["OVERLAP"] * 2, 1), (square(X + D * 0.98), ["OVERLAP_SLIVER"] * 2, 3),
     (square(X + D), [], 3)], ids=["inside", "a sliver", "an edge"],
)  # fmt: skip
def test_a_site_inside_another_refuses_both_a_sliver_is_noted_and_a_shared_edge_is_fine(
    entry, registry, other, codes, accepted
):
    report = pair(entry, registry, other)
    assert ([problem.code for _, problem in report.problems], len(report.sites)) == (codes, accepted)


def test_the_largest_of_many_overlaps_are_reported_and_each_site_is_refused(entry, registry):
    slivers = [entry(id=f"s{i}", ring=square(X + D * 0.98, Y + i * D / 8, D / 8)) for i in range(8)]
    report = read_sites(registry(entry(id="a"), *slivers, entry(id="in", ring=square(X, Y, D / 3))))
    problems = [(label, problem.code) for label, problem in report.problems]
    assert problems.count(("a", "OVERLAP")) == 5
    assert ("in", "OVERLAP") in problems
    assert report.sites == []


def test_two_borders_that_cross_millions_of_times_are_refused_without_looking_for_the_crossings(
    entry, registry, cpu_seconds
):
    side, count = 0.1, 4_001
    up_and_down = np.where(np.arange(count) % 2, 0.9 * side, 0.1 * side)
    across = np.column_stack([np.linspace(0, side, count), up_and_down])
    comb = np.vstack([across, [[side, 2 * side], [0, 2 * side], across[0]]])
    one, other = (np.add(ring, [X, Y]).tolist() for ring in (comb, comb[:, ::-1]))
    path = registry(entry(id="a", ring=one), entry(id="b", ring=other))
    with cpu_seconds(at_most=2.0):  # laid over each other, they take 16 million points
        report = read_sites(path)
    overlaps = {label: problem.message for label, problem in report.problems if problem.code == "OVERLAP"}
    assert list(overlaps) == ["a", "b"]
    assert all("millions of times" in message for message in overlaps.values())


def test_two_long_neighbours_that_share_a_winding_border_are_fine(entry, registry):
    down = np.column_stack([X + 0.001 * np.sin(np.arange(4_001)), np.linspace(Y, Y + D, 4_001)])
    west = np.vstack([down, [[X - D, Y + D], [X - D, Y], down[0]]])
    east = np.vstack([down[::-1], [[X + D, Y], [X + D, Y + D], down[-1]]])
    report = read_sites(registry(entry(id="west", ring=west.tolist()), entry(id="east", ring=east.tolist())))
    assert [site.id for site in report.sites] == ["west", "east"]
    assert "OVERLAP_SLIVER" not in [problem.code for _, problem in report.problems]


def test_a_copy_moved_by_the_offset_of_chinese_maps_is_noted_on_both(entry, registry):
    ring = np.array([[X, Y], [X + D, Y + 0.003], [X + 0.007, Y + D], [X - 0.002, Y + 0.006], [X, Y]])
    shown = gcj02.from_wgs84(ring).tolist()
    features = entry(id="true", ring=ring.tolist()), entry(id="shown", ring=shown), entry(id="c", ring=square(X + 1))
    report = read_sites(registry(*features))
    suspected = [(label, problem) for label, problem in report.problems if problem.code == "GCJ02_SUSPECTED"]
    assert [label for label, _ in suspected] == ["true", "shown"]
    assert all("'shown' seems to be the shifted one" in problem.message for _, problem in suspected)
    assert not any(problem.refuses for _, problem in suspected)


def test_a_row_of_equal_plots_is_not_taken_for_shifted_copies(entry, registry):
    features = [entry(id=str(i), ring=square(X + i * 0.005, Y + 0.1 * (i % 2), 0.004)) for i in range(40)]
    assert read_sites(registry(*features)).problems == []


def test_any_change_of_a_property_of_a_site_is_a_new_version(judged):
    site = judged().site
    assert site_version(site) == site.version == judged().site.version
    changed = {
        "id": "b", "name": "b", "geometry": site.geometry.buffer(1e-6), "start": date(2020, 1, 1),
        "intervention": "tending", "biome": "karst", "plan": dataclasses.replace(site.plan, k=0.5), "subtype": None,
        "province": "x", "programme_year": 2000, "partner": "x", "slope_degrees": 1.0,
        "manager_name": "x", "manager_language": "zh", "manager_email": "x@example.org", "manager_channel": "x",
        "cohorts": ((site.start, 1.0),), "own_biome": BIOMES["steppe"], "name_zh": "x",
        "controls_again": ("2026-11-30, x: x",),
    }  # fmt: skip
    assert set(changed) == {f.name for f in dataclasses.fields(site)} - {"version", "hectares"}
    versions = [site_version(dataclasses.replace(site, **{name: value})) for name, value in changed.items()]
    assert len({site.version, *versions}) == len(changed) + 1


def test_a_site_begun_in_several_years_is_read_with_its_shares_scaled_to_one(judged):
    assert judged(cohorts="2021-04-20:0.6; 2022-04-10:0.4").site.cohorts == (
        (date(2021, 4, 20), 0.6), (date(2022, 4, 10), 0.4),
    )  # fmt: skip
    thirds = judged(cohorts="2021-04-20：0.33；2022-04-10：0.33；2023-04-10：0.33").site.cohorts
    assert [share for _, share in thirds] == pytest.approx([1 / 3] * 3)
    assert judged(cohorts=" ").site.cohorts == ()
    assert judged(cohorts="2021-04-20:1").site.version != judged().site.version


@pytest.mark.parametrize(
    ("cohorts", "reason"),
    [
        ("2021-04-20:60;2022-04-10:40", "2021-04-20:60"),
        ("2021-04-20:0.6;2022-04-10:0.5", "add up to 1.1"),
        ("2021-04-20:0.6;2021-04-20:0.4", "do not ascend"),
        ("2022-04-10:0.4;2021-04-20:0.6", "do not ascend"),
        ("2020-04-20:0.6;2022-04-10:0.4", "first cohort was begun on 2020-04-20, but start is 2021-04-20"),
        ("2021-04-20", "2021-04-20"), ("2021-13-20:1", "2021-13-20:1"), ("2021-04-20:nan", "nan"), ("60 %", "60 %"),
    ],
)  # fmt: skip
def test_cohorts_that_do_not_make_up_the_site_are_refused_with_a_fix(judged, cohorts, reason):
    entry = judged(cohorts=cohorts)
    (problem,) = entry.problems
    assert (entry.site, problem.code) == (None, "COHORTS")
    assert reason in problem.message
    assert problem.fix


def test_the_first_point_and_the_winding_of_a_ring_do_not_change_a_site(judged):
    other = [*square()[2:], *square()[1:3]]
    assert judged(ring=other).site.version == judged().site.version
    assert judged(ring=square()[::-1]).site.version == judged().site.version


def test_every_name_of_the_schema_and_of_the_readme_is_that_of_the_code():
    aoi = Path(__file__).resolve().parents[2] / "aoi"
    schema = json.loads((aoi / "schema.json").read_text(encoding="utf-8"))["properties"]
    readme = (aoi / "README.md").read_text(encoding="utf-8")
    assert set(schema) == set(PROPERTIES)
    for name, options in (("intervention", INTERVENTIONS), ("biome", tuple(BIOMES)), ("subtype", SUBTYPES)):
        assert tuple(option for option in schema[name]["enum"] if option) == options
        assert all(f"`{option}`" in readme for option in options)
    assert all(f"`{name}`" in readme for name in PROPERTIES)
    assert {site.plan.A for site in read_sites(aoi / "sites.geojson").sites} >= {0.0, 0.12, 0.2}


def test_the_example_registry_has_no_problem():
    report = read_sites(Path(__file__).resolve().parents[2] / "aoi" / "sites.geojson")
    assert report.problems == []
    assert set().union(*(entry.properties for entry in report.entries)) == set(PROPERTIES)
    assert {site.province for site in report.sites} == {"Gansu", "Ningxia", "Inner Mongolia"}


def test_a_missing_name_is_noted_and_refuses_nothing(judged):
    found = judged(name=None)
    assert found.site.name == "a"
    assert [(problem.code, problem.refuses) for problem in found.problems] == [("NO_NAME", False)]


@pytest.mark.parametrize("start", ["2921-04-20", "9999-12-31", "1021-04-20"])
def test_a_start_that_can_only_be_mistyped_refuses_the_site(judged, start):
    found = judged(start=start)
    assert found.site is None
    assert "not a date from 1980 to 2100" in found.problems[0].message
