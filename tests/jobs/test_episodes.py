"""A site that is replanted, and sites that were begun in several years."""

import json
from datetime import date

import numpy as np
import pandas as pd
import pytest

from jobs.night.pipeline import night
from jobs.register.episodes import current_episode, episode_alpha, replant
from jobs.register.registry import add_sites
from jobs.runtime.exits import Exit
from jobs.runtime.installation import open_ledger
from jobs.runtime.records import from_json, to_json
from monitor.alerts.alert import Alert, AlertState
from monitor.errors import BadData
from monitor.publish.chart import promised
from monitor.sites.site import Plan, Site, ground_key
from monitor.verdict.calibration import LEAST_ALPHA
from tests import builders
from tests.builders import edited_features, regrowth
from tests.jobs.reproduction import assert_reproduced
from tests.landscape import records, stored_of

AUTUMN, LATER = date(2018, 9, 10), date(2018, 9, 30)
RESTART, TODAY = date(2018, 5, 2), date(2018, 9, 15)
WHY = "补植：replanted after the frost"


@pytest.fixture
def registered(settings):
    """The sites are in the ledger; that which is replanted was begun on 1 April 2017."""
    with open_ledger(settings) as ledger:
        add_sites(ledger, settings.registry.path)


def site(settings):
    with open_ledger(settings) as ledger, ledger.reading() as t:
        return from_json(t.site("demo-02"), Site)


def controls_and_counts(settings):
    with open_ledger(settings) as ledger, ledger.transaction() as t:
        sites = [from_json(values, Site) for values in t.sites()]
        controls = [t.controls(ground_key(site)) for site in sites]
    return [(units, len(records(stored_of(settings, site.id)))) for units, site in zip(controls, sites, strict=True)]


def begin(settings, start=RESTART, today=TODAY, site="demo-02"):
    with open_ledger(settings) as ledger:
        return replant(ledger, site, start=start, why=WHY, alpha=settings.alerts.alpha, today=today)


def test_a_replanted_site_is_judged_from_its_new_start_on_the_ground_it_has(installation, settings, tmp_path, capsys):
    night(settings, as_of=AUTUMN)
    before = installation.verdicts["demo-02"]
    held = controls_and_counts(settings)
    alert = builders.alert("demo-02", opened=date(2018, 9, 1))
    with open_ledger(settings) as ledger, ledger.transaction() as t:
        t.save_alert(to_json(alert))
    reported = begin(settings)
    assert (reported["episode"], reported["alerts"], reported["new"]) == (2, [alert.id], True)
    with open_ledger(settings) as ledger, ledger.transaction() as t:
        closed = from_json(t.alert(alert.id), Alert)
        (event,) = t.events(alert.id)
    assert (event["kind"], event["by"], event["note"]) == ("answered", "replant", WHY)
    assert (closed.state, closed.answer, closed.note) == (AlertState.RESOLVED, "treated", WHY)

    manifest = night(settings, as_of=LATER)
    assert all(len(site.scenes_new) <= 3 for site in manifest.sites), "nothing is fetched again"
    assert [controls for controls, _ in controls_and_counts(settings)] == [controls for controls, _ in held]
    after = installation.verdicts
    assert (after["demo-02"]["episode"], after["demo-07"]["episode"]) == (2, 1)
    assert after["demo-02"]["status"] == "too_early"
    assert after["demo-02"]["n_pre"] > before["n_pre"], "what lies before the new start"
    due = site(settings).plan.uplift((LATER - RESTART).days / 365.25)
    assert after["demo-02"]["expected"] == pytest.approx(due, abs=1e-9)
    assert due < before["expected"]
    for page, said in (("index.html", "Episode 2: work restarted on 2 May 2018"), ("index.zh.html", "本期为第 2 期")):
        assert said in (installation.root / "sites" / "demo-02" / page).read_text(encoding="utf-8")
    assert_reproduced(installation.root, tmp_path)
    table = pd.read_parquet(installation.root / "sites.parquet").set_index("site")
    assert table.ground["demo-02"] == ground_key(site(settings)), "the ground that it has, not one of the new start"
    assert "no ground under the map" not in "".join(capsys.readouterr())
    plan = json.loads((installation.root / "sites" / "demo-02" / "plan.json").read_text())
    assert (plan["start"], plan["episode"], plan["alpha"]) == ("2018-05-02", 2, reported["alpha"])

    files = installation.files()
    night(settings, as_of=LATER)
    assert installation.files() == files
    with open_ledger(settings) as ledger, ledger.transaction() as t:
        first, second = t.episodes("demo-02")
        rows = len(t.assessments_of("demo-02"))
    assert (first["why"], second["closed"]) == (WHY, None)
    assert first["closed"] is not None
    assert rows == 2, "the earlier assessment stays"


def test_a_night_before_the_new_start_is_in_the_old_episode(installation, settings):
    night(settings, as_of=date(2018, 4, 30), pages=False)
    begin(settings)
    with open_ledger(settings) as ledger, ledger.transaction() as t:
        first = t.latest_assessment("demo-02")
    night(settings, as_of=date(2018, 4, 30), pages=False)
    with open_ledger(settings) as ledger, ledger.transaction() as t:
        assert t.latest_assessment("demo-02") == first
        assert current_episode(date(2018, 5, 1), t.episodes("demo-02"))["number"] == 1
        assert current_episode(date(2018, 5, 2), t.episodes("demo-02"))["number"] == 2


def test_the_next_episode_has_the_rest_of_the_budget_and_never_less_than_the_smallest(registered, settings):
    assert begin(settings)["alpha"] == pytest.approx(0.05), "a year and a month have used nothing"
    five_years = begin(settings, start=date(2023, 5, 2), today=date(2026, 1, 1))
    assert five_years["alpha"] == pytest.approx(0.05 * 0.35, rel=1e-3)
    for year in (2029, 2035, 2041, 2047, 2053):
        last = begin(settings, start=date(year, 5, 2), today=date(2060, 1, 1))
    assert last["alpha"] == LEAST_ALPHA
    assert episode_alpha(0.05, {"number": 1, "budget": 1.0}) == 0.05


def test_replanting_twice_begins_one_episode_and_an_impossible_start_is_refused(registered, settings):
    assert begin(settings)["new"]
    again = begin(settings)
    assert (again["episode"], again["new"]) == (2, False)
    for wrong in (date(2017, 4, 1), date(2018, 5, 1), date(2018, 9, 16)):
        with pytest.raises(BadData, match="2018-05-02"):
            begin(settings, start=wrong)
    with pytest.raises(BadData, match="site 'demo-99' is not in the ledger"):
        begin(settings, site="demo-99")


def test_the_command_says_what_it_did(registered, installation):
    def replanted(start):
        return regrowth("sites", "replant", "demo-02", "--start", start, "--why", WHY, config=installation.config)[:2]

    done = "demo-02: episode 2, from 2018-05-02; false-alarm budget 0.05.\n"
    assert replanted("2018-05-02") == (Exit.DONE, done)
    _, listed, _ = regrowth("sites", "list", config=installation.config)
    assert ", episode 2 from 2018-05-02, " in listed.splitlines()[0]
    assert replanted("2999-05-02")[0] == Exit.BAD_DATA


@pytest.mark.slow
def test_a_site_begun_in_two_years_is_expected_to_grow_in_two_years(installation, settings, tmp_path):
    with edited_features(installation.registry) as features:
        (feature,) = [one for one in features if one["properties"]["id"] == "demo-02"]
        feature["properties"] |= {"start": "2017-04-01", "cohorts": "2017-04-01:0.6;2018-04-10:0.4"}
    night(settings, as_of=LATER)
    found, given = installation.verdicts, feature["properties"]
    plan = Plan(A=given["plan_A"], k=given["plan_k"], L=given["plan_L"], too_early_years=given["too_early_years"])
    years = [(LATER - begun).days / 365.25 for begun in (date(2017, 4, 1), date(2018, 4, 10))]
    due = 0.6 * plan.uplift(years[0]) + 0.4 * plan.uplift(years[1])
    assert found["demo-02"]["expected"] == pytest.approx(due, abs=1e-9)
    assert site(settings).cohorts == ((date(2017, 4, 1), 0.6), (date(2018, 4, 10), 0.4))
    assert_reproduced(installation.root, tmp_path)
    assert promised(np.array([LATER], "datetime64[D]").astype(int), site(settings)) == pytest.approx(due)
