"""Hectares of a programme add up, whatever is missing, and are held against the pledge."""

import json
import re
import shutil
from contextlib import closing
from dataclasses import replace
from datetime import date
from types import SimpleNamespace

import numpy as np
import pytest
from shapely.geometry import box

from jobs.commands.programme import programme
from jobs.pages.account import read_account
from jobs.pages.programme_tables import print_account
from jobs.register.alerting import record_event
from jobs.register.answering import answer_alert
from jobs.register.episodes import replant
from jobs.register.registry import add_sites, retire
from jobs.runtime.installation import open_ledger
from jobs.runtime.records import to_json
from jobs.runtime.settings import AlertsSettings, ProgrammeSettings
from monitor.alerts.alert import AlertEvent, Verdict
from monitor.ledger.ledger import Ledger
from monitor.publish.programme import programme_account
from monitor.publish.statuses import SHOWN_STATUSES, SIDES, UNJUDGED
from monitor.sites.site import Plan, ground_key
from monitor.verdict.assessment import Status
from tests import builders
from tests.builders import edited_features
from tests.ledger.assessed import add_assessment
from tests.verdict.test_programme_list import programme as together


def planned(site_id, hectares, *, uplift=0.2, **values):
    plan = Plan(A=uplift, k=0.5, L=1.0, too_early_years=2.0)
    x = 100 + 0.1 * (ord(site_id[0]) - ord("a"))  # apart from each other
    values = {"province": None, "programme_year": None, "geometry": box(x, 40, x + 0.01, 40.01), **values}
    return builders.site(site_id, hectares=hectares, plan=plan, **values)


SITES = [
    planned("a", 100.0, province="甘肃", intervention="planting", programme_year=2021),
    planned("b", 50.25, province="甘肃", intervention="planting", programme_year=2022),
    planned("c", 30.0, intervention="erosion_control"),
    planned("d", 19.75, uplift=0.0, province="青海", intervention="tending", programme_year=2021),
]
LATEST = {
    "a": {"status": "on_track", "alert": "none", "as_of": "2026-06-01", "uplift_confirmed": True},
    "b": {"status": "failing", "alert": "red", "as_of": "2026-06-02"},
    "c": {"status": "insufficient_data", "alert": "none", "as_of": "2026-06-02"},
}


def test_every_status_that_a_verdict_may_have_is_shown():
    assert set(SHOWN_STATUSES) == {status.value for status in Status} | {"no_loss_seen", "loss_suspected"}


def test_the_sites_that_the_ledger_knows_are_judged_together_as_registered_now():
    """Twenty failed, twenty are on plan; a failed one is edited: its verdict says nothing of what is there now."""
    sites = [
        replace(planned("a", 5.0, intervention="planting", geometry=box(n, 40, n + 0.01, 40.01)), id=f"s{n:04d}")
        for n in range(40)
    ]
    settings = SimpleNamespace(programme=ProgrammeSettings(), alerts=AlertsSettings())
    with closing(Ledger("sqlite://")) as ledger, ledger.transaction() as t:
        for one, member in zip(sites, together(np.repeat([0.0, 1.0], 20), c=60.0), strict=True):
            t.add_site(one.id, "v1", to_json(one), start=one.start.isoformat(), now="n")
            t.save_data({(ground_key(one), "seasons"): {"member": to_json(member)}})
            payload = {"site": one.id, "as_of": "2024-11-01", "status": "undecided", "alert": "none"}
            add_assessment(t, one.id, "2024-11-01", "d", payload, version="v1")
        listed = [row["site"] for row in read_account(settings, t).summary["to_visit"]["sites"]]
        assert set(listed) <= {f"s{n:04d}" for n in range(20)}
        assert len(listed) >= 15
        other = replace(sites[0], plan=Plan(A=0.1, k=0.5, L=1.0, too_early_years=2.0), version="v2")
        t.add_site(other.id, "v2", to_json(other), start=other.start.isoformat(), now="o")
        assert "s0000" not in str(read_account(settings, t).summary["to_visit"])


def test_every_status_is_on_one_side_or_unknown_and_none_on_two():
    assert sorted(status for part in SIDES.values() for status in part) == sorted([*SHOWN_STATUSES, UNJUDGED])


def programme_summary(sites, latest, *, pledge=None):
    return programme_account(sites, latest, pledge=pledge, alpha=0.05).summary


def groups_of(summary, by):
    return {row["value"]: row for row in summary["groups"] if row["by"] == by}


def test_sums_are_those_worked_out_by_hand():
    summary = programme_summary(SITES, LATEST, pledge=1000.0)
    assert (summary["sites"], summary["total_hectares"], summary["share_of_pledge"]) == (4, 200.0, 0.2)
    assert summary["as_of"] == "2026-06-02"
    assert summary["false_reds_expected_at_most"] == 0.2  # four sites: those that are tended may turn red by a loss
    assert summary["uplift_confirmed"] == {"sites": 1, "total_hectares": 100.0, "share_of_pledge": 0.1}
    known = {"on_track": 100.0, "failing": 50.25, "insufficient_data": 30.0, "not_assessed": 19.75}
    assert summary["hectares"] == dict.fromkeys((*SHOWN_STATUSES, "not_assessed"), 0) | known
    assert summary["by_status"]["failing"] == {"sites": 1, "total_hectares": 50.25, "share_of_pledge": 0.05025}
    provinces = groups_of(summary, "province")
    assert [(name, row["sites"], row["total_hectares"]) for name, row in provinces.items()] == [
        ("甘肃", 2, 150.25), ("青海", 1, 19.75), (None, 1, 30.0),
    ]  # fmt: skip
    gansu = provinces["甘肃"]["hectares"]
    assert (gansu["on_track"], gansu["failing"], gansu["not_assessed"]) == (100.0, 50.25, 0)
    assert [(year, row["total_hectares"]) for year, row in groups_of(summary, "programme_year").items()] == [
        (2021, 119.75), (2022, 50.25), (None, 30.0),
    ]  # fmt: skip


def test_a_lot_and_a_partner_are_groups_of_their_own():
    sites = [replace(site, partner="绿洲") for site in SITES[:2]] + SITES[2:]
    summary = programme_summary(sites, LATEST)
    partners, lots = groups_of(summary, "partner"), groups_of(summary, "lot")
    assert {name: row["sites"] for name, row in partners.items()} == {"绿洲": 2, None: 2}
    assert sorted(row["total_hectares"] for lot, row in lots.items() if lot) == [50.25, 100.0]  # one a year
    assert lots[None]["sites"] == 2


@pytest.mark.parametrize("sites", [SITES, SITES[:1], []])
def test_every_way_of_counting_comes_to_the_same_total(sites):
    summary = programme_summary(sites, LATEST)
    total = sum(site.hectares for site in sites)
    assert summary["total_hectares"] == sum(summary["hectares"].values()) == pytest.approx(total)
    assert sum(row["total_hectares"] for row in summary["by_status"].values()) == pytest.approx(total)
    for by in ("province", "intervention", "partner", "lot", "programme_year"):
        rows = groups_of(summary, by).values()
        assert sum(row["sites"] for row in rows) == len(sites), by
        assert sum(sum(row["hectares"].values()) for row in rows) == pytest.approx(total), by
    assert summary["share_of_pledge"] is None


def test_markup_and_control_characters_in_names_have_no_effect(capsys):
    odd = [replace(SITES[0], province="[red]Gansu \x1b[/]")]
    print_account(programme_summary(odd, LATEST, pledge=260_000.0))
    out = capsys.readouterr().out
    assert "[red]Gansu ?[/]" in out
    assert "\x1b" not in out
    assert "0.0% of the 260,000 ha pledged" in out


@pytest.fixture
def printed(capsys):
    """The account of an installation as the command prints it."""

    def text(config):
        programme(config=config)
        return capsys.readouterr().out

    return text


@pytest.fixture
def summary_of(capsys):
    def summary(config):
        programme(config=config, as_json=True)
        return json.loads(capsys.readouterr().out)

    return summary


@pytest.fixture
def known(installation):
    with open_ledger(installation.settings) as ledger:
        add_sites(ledger, installation.registry)
        yield ledger


def test_the_ledger_of_an_installation_is_summed(installation, known, summary_of, printed, monkeypatch):
    with known.transaction() as t:
        for day, status in (("2020-06-01", "failing"), ("2020-07-01", "on_track")):
            payload = {"site": "demo-02", "as_of": day, "status": status, "alert": "none"}
            add_assessment(t, "demo-02", day, day, payload, version=t.versions()["demo-02"])
        listed = t.sites()
    summary = summary_of(installation.config)
    assert summary["sites"] == 3
    assert summary["total_hectares"] == pytest.approx(sum(site["hectares"] for site in listed), abs=0.01)
    counted = {status: row["sites"] for status, row in summary["by_status"].items()}
    assert (counted["on_track"], counted["failing"], counted["not_assessed"]) == (1, 0, 2)
    assert summary["as_of"] == "2020-07-01"
    assert "not yet judged" in printed(installation.config)

    pledged = installation.settings.model_copy(update={"programme": ProgrammeSettings(pledge_hectares=10.0)})
    monkeypatch.setattr("jobs.runtime.settings.load", lambda _: pledged)
    summary = summary_of(installation.config)
    assert summary["pledge_hectares"] == 10.0
    assert summary["share_of_pledge"] == pytest.approx(summary["total_hectares"] / 10, abs=1e-3)


JUDGED = {"alert": "none", "as_of": "2026-06-01", "reasons": []}


def posterior(status, failing, lagging, on_track, **more):
    return {"status": status, "p_failing": failing, "p_lagging": lagging, "p_on_track": on_track, **JUDGED, **more}


def test_sites_without_a_finding_are_on_no_side():
    """Also where an assessment has probabilities: early, without data, or after a loss, they are no finding."""
    sites = [planned(name, 10.0, intervention="planting") for name in "abcdefgh"]
    area = {"hectares": 10.0, "hectares_failing": 9.0, "hectares_failing_low": 8.0, "hectares_failing_high": 10.0}
    latest = {
        "a": posterior("undecided", 0.2, 0.3, 0.5, reasons=["UNCERTAIN", "RAIN_UNKNOWN"]),
        "b": posterior("too_early", 0.0, 0.1, 0.9, reasons=["TOO_EARLY"], **area),
        "c": posterior("insufficient_data", 0.0, 0.0, 1.0, reasons=["FEW_SCENES", "DATA_OLD"], **area),
        "d": posterior("failing", 0.9, 0.1, 0.0),
        "e": posterior("on_track", 0.0, 0.1, 0.9),
        "g": posterior("disturbed", 0.0, 0.0, 1.0, probability=0.8, **area),
        "h": posterior("disturbed", 0.0, 0.0, 1.0, probability=0.79, reasons=["SUDDEN_DROP"], **area),
    }
    summary = programme_summary(sites, latest)
    assert {status: hectares for status, hectares in summary["hectares"].items() if hectares} == dict.fromkeys(
        ("on_track", "failing", "disturbed", "loss_suspected", "undecided", "too_early", "insufficient_data", UNJUDGED),
        10,
    )
    assert sum(summary["hectares"][status] for status in SIDES["unknown"]) == 50
    assert [summary[f"undecided_{state}"] for state in ("failing", "lagging", "on_track")] == [2, 3, 5]
    assert [summary[f"expected_{state}"] for state in ("failing", "lagging", "on_track")] == [11, 5, 14]
    assert (summary["posterior_hectares"], summary["no_posterior_hectares"]) == (30, 50)
    assert (summary["failing_area"], summary["undecided_failing_area"]) == (0, 0)
    why = {(row["status"], row["reason"]): row["hectares"] for row in summary["why_unknown"]}
    assert why == {
        ("undecided", "UNCERTAIN"): 10, ("too_early", "TOO_EARLY"): 10, ("insufficient_data", "FEW_SCENES"): 10,
        ("insufficient_data", "DATA_OLD"): 10, ("loss_suspected", None): 10, ("not_assessed", None): 10,
    }  # fmt: skip


def test_a_name_that_is_spelt_in_two_ways_is_one_group_and_one_province_of_dependence():
    sites = [
        planned("a", 10.0, intervention="planting", province="Gansu", partner="Oasis"),
        planned("b", 10.0, intervention="planting", province=" GANSU", partner="ＯＡＳＩＳ"),
        planned("c", 10.0, intervention="planting", province=" ", partner=""),
    ]
    latest = {name: posterior("undecided", 0.5, 0.5, 0.0) for name in "ab"}
    summary = programme_summary(sites, latest)
    for by, name in (("province", "Gansu"), ("partner", "Oasis")):
        assert {value: row["sites"] for value, row in groups_of(summary, by).items()} == {name: 2, None: 1}
    assert (summary["undecided_failing_low"], summary["undecided_failing_high"]) == (0, pytest.approx(20))


def test_expected_hectares_of_every_grouping_add_up_to_those_of_the_programme():
    sites = [planned(name, 10.0 + n, intervention="planting", province="甘肃" if n % 2 else None, partner="绿洲",
                     programme_year=2020 + n % 3) for n, name in enumerate("abcdefgh")]  # fmt: skip
    latest = {
        name: posterior("undecided" if n < 3 else "lagging", 0.1 * n, 0.2, 0.8 - 0.1 * n)
        for n, name in enumerate("abcdef")
    }
    summary = programme_summary(sites, latest)
    for name in ("undecided_failing", "expected_failing", "expected_lagging", "expected_on_track"):
        for by in ("province", "intervention", "partner", "lot", "programme_year"):
            rows = groups_of(summary, by).values()
            assert sum(row[name] for row in rows) == pytest.approx(summary[name], abs=1e-4), (name, by)
            assert all(row[f"{name}_low"] <= row[name] <= row[f"{name}_high"] for row in rows)


def test_the_failing_area_of_undecided_sites_is_a_separate_column_of_counted_ground_only():
    first, second = (planned(name, 100.0, intervention="planting") for name in "ab")
    area = {"hectares": 100.0, "hectares_failing": 30.0, "hectares_failing_low": 20.0, "hectares_failing_high": 50.0}
    latest = {"a": posterior("lagging", 0.1, 0.8, 0.1, **area), "b": posterior("undecided", 0.3, 0.4, 0.3, **area)}
    summary = programme_summary([first, second], latest)
    names = ("failing_area", "failing_area_low", "failing_area_high", "failing_area_of")
    assert [summary[name] for name in names] == [30, 20, 50, 100]
    assert [summary[f"undecided_{name}"] for name in names] == [30, 20, 50, 100]
    copied = replace(second, geometry=first.geometry)
    summary = programme_summary([first, copied], latest)
    assert [summary[f"undecided_{name}"] for name in names] == [0, 0, 0, 0]
    assert summary["undecided_failing"] == 0


def test_ground_that_two_partners_have_registered_counts_once_for_the_first_and_is_named(capsys):
    first = planned("a", 96.4, intervention="planting", partner="绿洲")
    copy = replace(first, id="<b>", partner="[red]Oasis\x1b")
    again = replace(first, id="c")
    latest = {"a": {"status": "on_track", **JUDGED}, "<b>": {"status": "failing", **JUDGED}}
    summary = programme_summary([first, copy, again], latest)
    assert (summary["total_hectares"], summary["registered_hectares"]) == (96.4, pytest.approx(3 * 96.4))
    assert (summary["hectares"]["on_track"], summary["hectares"]["failing"]) == (96.4, 0)
    claims = summary["double_registrations"]
    pairs = [(claim["site"], claim["other_site"], claim["across_partners"], claim["kind"]) for claim in claims]
    assert pairs == [
        ("a", "<b>", True, "OUTLINE_DUPLICATE"), ("<b>", "c", True, "OUTLINE_DUPLICATE"),
        ("a", "c", False, "OUTLINE_DUPLICATE"),
    ]  # fmt: skip
    assert programme_summary([copy, first], latest)["hectares"]["failing"] == 96.4
    print_account(summary)
    out = capsys.readouterr().out
    assert "The same outline" in out
    assert "count once" in out
    assert "[red]Oasis?" in out


def test_a_second_partner_that_registers_the_same_ground_in_another_file_is_found(installation, known, summary_of):
    """The check of a file sees that file only; the account sees all sites."""
    before, other = summary_of(installation.config), installation.root / "other.geojson"
    shutil.copy(installation.registry, other)
    with edited_features(other) as features:
        features[0]["properties"] |= {"id": "oasis-1", "partner": "绿洲"}
        del features[1:]
    assert add_sites(known, other)["added"] == ["oasis-1"]
    after = summary_of(installation.config)
    assert before["double_registrations"] == []
    (claim,) = after["double_registrations"]
    assert (claim["other_site"], claim["other_partner"], claim["across_partners"]) == ("oasis-1", "绿洲", True)
    assert (claim["kind"], claim["share_of_smaller"]) == ("OUTLINE_DUPLICATE", pytest.approx(1))
    assert after["sites"] == before["sites"] + 1
    assert after["total_hectares"] == pytest.approx(before["total_hectares"], abs=0.01)


def test_the_night_publishes_what_the_command_prints_and_links_to_it(demo, summary_of):
    printed = summary_of(demo / "regrowth.toml")
    assert json.loads((demo / "programme.json").read_bytes()) == printed
    assert printed["sites"] == 10
    assert printed["double_registrations"] == []
    status = {one["site"]: one for one in json.loads((demo / "status.json").read_bytes())}
    unknown = [one["hectares"] for one in status.values() if one["status"] in SIDES["unknown"]]
    assert sum(printed["hectares"][one] for one in SIDES["unknown"]) == pytest.approx(sum(unknown), abs=1e-4)
    for page, account in (("index.html", "programme.html"), ("index.zh.html", "programme.zh.html")):
        assert f'href="{account}"' in (demo / page).read_text(encoding="utf-8")
        assert f'href="{page}"' in (demo / account).read_text(encoding="utf-8")


def test_a_site_that_was_registered_first_stays_first_when_it_is_taken_back(installation, known):
    with known.reading() as t:
        order = t.sites_as_registered()
    assert order == [one["properties"]["id"] for one in json.loads(installation.registry.read_text())["features"]]
    retire(known, order[:1], today=date(2026, 1, 1))
    add_sites(known, installation.registry)
    with known.reading() as t:
        assert [member.site.id for member in read_account(installation.settings, t).sites] == order


def test_a_verdict_counts_until_an_edit_of_its_site_changes_what_is_judged(installation, known):
    """A new manager leaves it; another outline or plan, or a new planting, leaves the site not yet judged."""
    with known.transaction() as t:
        for site, version in t.versions().items():
            payload = {"site": site, "as_of": "2020-06-01", "status": "failing", "alert": "none"}
            add_assessment(t, site, "2020-06-01", site, payload, version=version)

    def statuses():
        with known.reading() as t:
            return {member.site.id: member.status for member in read_account(installation.settings, t).sites}

    assert set(statuses().values()) == {"failing"}
    with edited_features(installation.registry) as features:
        moved, greener, managed = (one["properties"]["id"] for one in features)
        features[0]["geometry"]["coordinates"][0][1][0] += 1e-4
        features[1]["properties"]["plan_A"] = 0.5 * features[1]["properties"].get("plan_A", 0.3)
        features[2]["properties"]["manager_name"] = "Bao"
    add_sites(known, installation.registry)
    assert statuses() == {moved: "not_assessed", greener: "failing", managed: "failing"}  # a promise stays
    replant(known, managed, start=date(2022, 4, 1), why="died", alpha=0.05, today=date(2022, 5, 1))
    assert statuses()[managed] == "not_assessed"


def test_how_often_alerts_were_right_counts_the_answers_of_retired_sites_too(installation, known, summary_of, printed):
    day = date(2020, 6, 1)
    assert summary_of(installation.config)["precision"] == []
    assert "were right" not in printed(installation.config)
    with known.transaction() as t:
        for site, verdict in (("demo-02", Verdict.FALSE_ALARM), ("demo-07", Verdict.TREATED)):
            alert = builders.alert(site, opened=day)
            record_event(t, alert, AlertEvent.OPENED, day=day, by="night")
            answer_alert(t, alert.id, verdict, None, "=cmd", day, "import")
    retire(known, ["demo-02"], today=day)
    summary = summary_of(installation.config)["precision"]
    assert summary[0] == {
        "by": "all", "value": None, "level": "red", "n": 2, "right": 1, "false_alarms": 1, "share": 0.5, "low": 0.0945,
        "high": 0.9055, "unreviewed": 0,
    }  # fmt: skip
    assert {one["by"] for one in summary} == {"all", "rule", "province", "intervention"}
    out = printed(installation.config)
    assert re.search(r"failure, red +1 of 2 +9% to 91%", out)
