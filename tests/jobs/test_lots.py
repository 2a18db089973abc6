"""What a night does with lots: judged once, alerted to the operators, answered, resolved, recomputable."""

import json
from contextlib import closing
from dataclasses import replace
from datetime import date
from types import SimpleNamespace

import numpy as np
import pytest
from shapely.geometry import box

from jobs.messages.compose import compose
from jobs.messages.news import lot_payload
from jobs.messages.operator_notices import mass_fall
from jobs.register.answering import answer_alert
from jobs.register.lots import LotRecord, judge_lots, latest_records, lot_rows
from jobs.runtime.records import from_json, to_json
from jobs.runtime.settings import OutputsSettings
from monitor.alerts.alert import Alert, Verdict
from monitor.alerts.lifecycle import snooze
from monitor.alerts.recipients import AddressBook
from monitor.ledger.ledger import Ledger
from monitor.sites.site import Plan, ground_key
from monitor.verdict.lots import Use, lot_verdict, lots_of
from tests import builders
from tests.ledger.assessed import add_assessment
from tests.verdict.test_lots import END, PLAN, START, lot

NIGHT = date(2026, 10, 20)
BOOK = AddressBook(kinds={"ops": "webhook"}, operators=("ops",))
SETTINGS = SimpleNamespace(outputs=OutputsSettings(base_url="https://pages.example.org/r/"), channels={})


def site(name, place, **more):
    values = {
        "partner": "Green Fund 绿源", "programme_year": 2021, "intervention": "planting", "plan": PLAN,
        "hectares": 50.0, "manager_language": "zh",
    } | more  # fmt: skip
    return builders.site(
        name, name=f"Site {name}", geometry=box(100 + place, 36, 100.01 + place, 36.01), start=START, **values
    )


@pytest.fixture
def ledger():
    with closing(Ledger("sqlite://")) as opened:
        yield opened


def register(t, sites, members):
    for one, member in zip(sites, members, strict=True):
        t.add_site(one.id, "v1", to_json(one), start=one.start.isoformat(), now="2021-01-01T01:00:00")
        stored = to_json(replace(member, site=one.id))
        t.save_data({(ground_key(one), "seasons"): {"made_from": "x", "member": stored}})


def night(ledger, sites, day=NIGHT):
    """Judge the lots; returns the notices that this adds."""
    with ledger.transaction() as t:
        before = {row["id"] for row in t.notices("waiting")}
        judge_lots(t, sites, book=BOOK, as_of=day, run="r")
        return [row for row in t.notices("waiting") if row["id"] not in before]


def failed(ledger, n=20, theta=0.0):
    sites = [site(f"m{i:02d}", i) for i in range(n)]
    with ledger.transaction() as t:
        register(t, sites, lot(theta, n=n))
    return sites


def test_a_failed_lot_opens_one_alert_to_the_operators_and_the_next_night_says_nothing(ledger):
    sites = failed(ledger)
    (notice,) = night(ledger, sites)
    assert (notice["kind"], notice["channel"], notice["site"]) == ("lot", "ops", None)
    (lot_id,) = [lot.id for lot in lots_of(sites)]
    with ledger.reading() as t:
        (alert,) = t.alerts()
        assert (alert["id"], alert["site"], alert["rule"], alert["level"]) == (f"{lot_id}/lot", lot_id, "lot", "red")
        assert mass_fall(t, NIGHT.isoformat()) is None
    assert night(ledger, sites) == []
    assert night(ledger, sites, date(2026, 10, 21)) == []
    with ledger.reading() as t:
        assert len(t.latest_lot_verdicts()) == 1
        assert t.latest_lot_verdicts()[lot_id][0] == NIGHT.isoformat()  # nothing new: nothing appended


def test_a_record_gives_its_verdict_again_after_a_way_through_the_ledger(ledger):
    sites = failed(ledger)
    night(ledger, sites)
    with ledger.reading() as t:
        (record,) = latest_records(t)
        again = from_json(json.loads(json.dumps(to_json(record))), LotRecord)
    assert again == record
    assert lot_verdict(again.members, as_of=again.verdict.as_of) == again.verdict
    assert again.model["spread"] == 0.2
    assert set(again.uses.values()) == {Use.USED}
    assert [look.as_of for look in again.looks][-1] == again.verdict.as_of


def test_the_programme_lists_each_lot_with_the_names_of_the_contract(ledger):
    sites = [*failed(ledger), site("alone", 30, partner="Other"), site("free", 31, partner=None)]
    with ledger.transaction() as t:
        register(t, sites[-2:], lot(0.0, n=2))
    night(ledger, sites)
    with ledger.reading() as t:
        rows = {row["partner"]: row for row in lot_rows(t, sites)}
    assert {*rows} == {"Green Fund 绿源", "Other"}
    red, alone = rows["Green Fund 绿源"], rows["Other"]
    assert (red["sites"], red["hectares"], red["alert"]) == (20, 1000.0, "red")
    assert red["theta_low"] < red["theta"] < red["theta_high"]
    assert red["p_failing"] > 0.9
    assert (alone["theta"], alone["alert"], alone["reasons"], alone["sites"]) == (None, "none", ["FEW_SITES"], 1)
    json.dumps([*rows.values()], allow_nan=False)


def test_an_answer_closes_the_alert_of_a_lot_and_a_later_night_does_not_open_it_again(ledger):
    sites = failed(ledger)
    (notice,) = night(ledger, sites)
    with ledger.transaction() as t:
        answered = answer_alert(t, notice["alert"], Verdict.CONFIRMED, None, "replanting in spring", NIGHT, "command")
        assert answered.alert.state == "resolved"
    with ledger.transaction() as t:  # a member changes: the lot is judged again
        register(t, sites[:1], [replace(lot(0.0)[0], seasons=lot(0.0)[0].seasons[:-1])])
    assert night(ledger, sites, date(2026, 11, 1)) == []
    with ledger.reading() as t:
        assert t.alert(notice["alert"])["answer"] == "confirmed"


def test_a_lot_that_recovers_resolves_its_alert_and_says_so(ledger):
    sites = failed(ledger)
    night(ledger, sites)
    with ledger.transaction() as t:
        register(t, sites, lot(1.0))
    (notice,) = night(ledger, sites, date(2027, 10, 20))
    assert notice["payload"]["event"] == "resolved"


def test_a_lot_without_a_verdict_leaves_its_alert_as_it_is(ledger):
    sites = failed(ledger)
    (notice,) = night(ledger, sites)
    assert night(ledger, sites[:3], date(2027, 10, 20)) == []  # seventeen were moved to another lot
    with ledger.reading() as t:
        assert t.alert(notice["alert"])["state"] == "open"


def test_the_alert_of_a_lot_that_has_no_sites_any_more_is_closed_without_a_message(ledger):
    sites = failed(ledger)
    (notice,) = night(ledger, sites)
    with ledger.transaction() as t:
        for one in sites:
            t.retire_site(one.id)
    assert night(ledger, [], date(2026, 11, 1)) == []
    with ledger.reading() as t:
        alert = t.alert(notice["alert"])
        assert (alert["state"], alert["note"]) == ("resolved", "the lot has no sites any more")


def test_a_failed_lot_whose_sites_come_back_unchanged_is_alerted_again(ledger):
    sites = failed(ledger)
    (notice,) = night(ledger, sites)
    assert night(ledger, [], date(2026, 11, 1)) == []  # a slip in the partner's name, corrected the day after
    (again,) = night(ledger, sites, date(2026, 11, 2))
    assert (again["payload"]["event"], again["alert"]) == ("reopened", notice["alert"])
    assert night(ledger, sites, date(2026, 11, 3)) == []


def test_an_alert_of_a_lot_that_was_put_off_wakes_on_its_day(ledger):
    sites = failed(ledger)
    (notice,) = night(ledger, sites)
    with ledger.transaction() as t:
        alert = from_json(t.alert(notice["alert"]), Alert)
        t.save_alert(to_json(snooze(alert, until=date(2026, 12, 1), day=NIGHT)))
    assert night(ledger, sites, date(2026, 11, 30)) == []
    night(ledger, sites, date(2026, 12, 1))
    with ledger.reading() as t:
        assert t.alert(notice["alert"])["state"] == "open"


def test_a_replanted_site_is_left_out_and_named_as_such(ledger):
    sites = failed(ledger)
    with ledger.transaction() as t:
        t.begin_episode("m00", 2, start="2026-04-01", budget=0.5, why="frost", now="n")
    night(ledger, sites)
    with ledger.reading() as t:
        (record,) = latest_records(t)
    assert record.uses["m00"] is Use.REPLANTED
    assert record.verdict.sites == 19


def test_a_night_of_an_earlier_day_does_not_replace_a_later_verdict(ledger):
    sites = failed(ledger)
    night(ledger, sites)
    with ledger.transaction() as t:
        register(t, sites, lot(1.0))
    assert night(ledger, sites, date(2025, 1, 1)) == []


def composed(ledger, notices):
    with ledger.transaction() as t:
        rows = [{**row, "message": "ab12", "first_tried": "2026-10-20T03:00:00+00:00"} for row in notices]
        return compose(t, SETTINGS, rows, key=None)[0]


def test_a_plan_without_a_promise_and_sites_without_seasons_have_their_reason(ledger):
    nothing = Plan(A=0.0, k=0.4, L=1.0, too_early_years=2.0)
    sites = [site(f"t{i}", i, plan=nothing, intervention="tending") for i in range(6)]
    with ledger.transaction() as t:
        register(t, sites, [replace(m, promised=False) for m in lot(0.0, n=6)])
        fresh = site("fresh", 40, programme_year=2026)
        t.add_site(fresh.id, "v1", to_json(fresh), start="2026-01-01", now="n")
    night(ledger, [*sites, fresh])
    with ledger.reading() as t:
        reasons = {row["programme_year"]: row["reasons"] for row in lot_rows(t, [*sites, fresh])}
    assert reasons == {2021: ["NO_PLAN"], 2026: ["FEW_SITES"]}


def test_the_message_names_the_members_that_pull_the_lot_down_in_both_languages(ledger):
    sites = failed(ledger)
    with ledger.transaction() as t:
        for i, one in enumerate(sites):
            low = {"site": one.id, "status": "failing", "theta": round(-0.1 + 0.05 * i, 2), "last_observed": None}
            add_assessment(t, one.id, "2026-10-20", "d", low)
    (notice,) = night(ledger, sites)
    message = composed(ledger, [notice])
    with ledger.transaction() as t:
        payload = lot_payload(t, SETTINGS, notice["payload"])
    assert [member["site"] for member in payload["members"]][:2] == ["m00", "m01"]
    assert len(payload["members"]) == 8
    for part in (
        "[Red alert] Lot of Green Fund 绿源, 2021", "[红色警报] Green Fund 绿源，2021 年批次", "20 sites (1,000 ha)",
        "m00 (Not taking hold, −10%)", "m00（未见成效，−10%）", "20 个地块共 15,000 亩（1,000 公顷）",
        "https://pages.example.org/r/lots/lot-2021-planting-green-fund-", "index.zh.html", "over 99%", "15 October",
        "regrowth alerts resolve lot-2021-planting-green-fund-",
    ):  # fmt: skip
        assert part in f"{message.subject}\n{message.text}", part
    assert len(message.brief.encode()) < 4000


def test_a_hostile_partner_is_inert_in_the_message(ledger):
    partner = "x\r\nBcc: evil@example.org\u202e<script>alert(1)</script>{{7*7}}"
    sites = [site(f"m{i:02d}", i, partner=partner) for i in range(20)]
    with ledger.transaction() as t:
        register(t, sites, lot(0.0))
    (notice,) = night(ledger, sites)
    message = composed(ledger, [notice])
    assert "\n" not in message.subject
    assert "\r" not in message.subject
    assert "\u202e" not in message.text
    assert "<script>" not in message.html


def test_many_lots_are_one_message(ledger):
    sites = [site(f"m{i:03d}", i, partner=f"P{i % 5}") for i in range(100)]
    rng = np.random.default_rng(0)
    with ledger.transaction() as t:
        register(t, sites, [m for k in range(5) for m in lot(0.0, seed=int(rng.integers(99)) + k)])
    notices = night(ledger, sites)
    assert len(notices) == 5
    assert "5 alerts about lots / 5 条批次警报" in composed(ledger, notices).subject
    assert END > NIGHT
