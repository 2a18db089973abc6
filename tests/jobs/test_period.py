"""``regrowth programme --from --to``: what it prints and writes, what it refuses, and how long it takes."""

import json
import random
import time
from contextlib import closing
from dataclasses import replace
from datetime import date, timedelta

import pytest
from shapely.geometry import box

from jobs.pages.period import read_moves
from jobs.runtime.records import to_json
from monitor.ledger.assessments import StoredAssessment
from monitor.ledger.ledger import Ledger
from monitor.publish.moves import balance
from tests import builders
from tests.builders import regrowth
from tests.ledger.assessed import add_assessment

CONFIGURATION = '[source]\nkind = "sample"\n[programme]\npath = { "2025" = 10, "2026" = 30 }\n'
DAYS = ("2026-01-05", "2026-02-05")


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "regrowth.toml"
    path.write_text(CONFIGURATION, encoding="utf-8")
    return path


@pytest.fixture
def ledger(tmp_path, config):
    with closing(Ledger(f"sqlite:///{tmp_path / 'regrowth.db'}")) as opened:
        yield opened


def judge(ledger):
    """A site that begins to take hold in the second night, and one whose name is hostile."""
    sites = [builders.site(name, version=name, geometry=box(n, 40, n + 0.01, 40.01)) for n, name in enumerate("ab")]
    with ledger.transaction() as t:
        for site in (sites[0], replace(sites[1], name="=cmd|<script>\u202e")):
            t.add_site(site.id, site.version, to_json(site), start="2020-01-01", now="n")
        for day, status in zip(DAYS, ("too_early", "on_track"), strict=True):
            for name in "ab":
                add_assessment(t, name, day, day, {"status": status if name == "a" else "failing"}, version=name)
    return sites[0].hectares


def test_the_account_of_a_period_is_printed_and_written_as_page_and_table(ledger, config, tmp_path):
    area = judge(ledger)
    command = ("programme", "--from", "2026-02-01", "--to", "2026-02-28", "--out", tmp_path / "account")
    status, out, _ = regrowth(*command, "--json", config=config)
    printed = json.loads(out)
    assert (status, printed["from"], printed["to"], printed["as_of"]) == (0, "2026-02-01", "2026-02-28", DAYS[1])
    assert printed["moves"] == [
        {"site": "a", "date": DAYS[1], "from": "too_early", "to": "on_track", "hectares": area, "reason": "taking_hold"}
    ]
    assert (printed["opening"]["too_early"], printed["closing"]["on_track"]) == (area, area)
    assert printed["path_hectares"] == pytest.approx(10 + 20 * 59 / 365)
    names = ["csv", "html", "zh.html"]
    assert sorted(path.name for path in (tmp_path / "account").iterdir()) == [
        f"programme-2026-02-01-2026-02-28.{name}" for name in names
    ]
    status, out, _ = regrowth(*command, config=config)
    assert (status, "taking hold" in out) == (0, True)


@pytest.mark.parametrize(("days", "why"), [
    (("--from", "2026-02-02", "--to", "2026-02-01"), "before it begins"), (("--to", "2999-01-01"), "in the future"),
    (("--from", "2999-01-01"), "before it begins"), (("--out", "x"), "needs --from and --to"),
])  # fmt: skip
def test_an_impossible_period_is_refused_with_the_reason(ledger, config, days, why):
    judge(ledger)
    status, _, error = regrowth("programme", *days, config=config)
    assert status == 64
    assert why in error


def test_before_the_first_night_there_is_nothing_and_without_a_night_the_next_step(ledger, config):
    status, _, error = regrowth("programme", "--from", "2025-01-01", config=config)
    assert (status, "regrowth run" in error) == (65, True)
    judge(ledger)
    status, out, _ = regrowth("programme", "--from", "2025-01-01", "--to", "2025-12-31", "--json", config=config)
    assert (status, json.loads(out)["moves"], json.loads(out)["as_of"]) == (0, [], None)


@pytest.mark.slow
def test_ten_thousand_sites_over_five_years_take_five_cpu_seconds_and_equal_a_recount(ledger):
    statuses = ("too_early", "undecided", "on_track", "lagging", "failing", "disturbed", "insufficient_data")
    chance, now = random.Random(1), ["too_early"] * 10_000
    with ledger.transaction() as t:
        for n in range(10_000):
            outline = box(
                90 + 0.02 * (n % 200), 30 + 0.02 * (n // 200), 90.01 + 0.02 * (n % 200), 30.01 + 0.02 * (n // 200)
            )
            site = builders.site(f"s{n}", version=f"v{n}", hectares=1.0, geometry=outline)
            t.add_site(site.id, site.version, to_json(site), start="2020-01-01", now="n")
    for week in range(0, 261, 13):
        day = (date(2021, 1, 3) + timedelta(weeks=week)).isoformat()
        for first in range(0, 10_000, 500):
            rows = []
            for n in range(first, first + 500):
                now[n] = chance.choice(statuses) if chance.random() < 0.15 else now[n]
                about = {"as_of": day, "digest": day, "version": f"v{n}", "snapshot": f"land{first}:1"}
                rows.append(StoredAssessment(site=f"s{n}", payload={"status": now[n], "episode": 1}, **about))
            with ledger.transaction() as t:
                t.add_assessments(rows, run="r")
    began = time.process_time()
    with ledger.reading() as t:
        moves = read_moves(t)
    closing_balance = balance(moves)
    assert time.process_time() - began < 5
    assert {name: area for name, area in closing_balance.items() if area} == {name: now.count(name) for name in {*now}}
