"""Assessments in the ledger: one row a landscape and night, states where they change, and what damage does."""

import math
from dataclasses import replace
from hashlib import sha256

from sqlalchemy import func, select

from monitor.ledger.assessments import StoredAssessment
from monitor.ledger.models import StateRow
from tests.ledger.assessed import add_assessment, damage_assessments


def stored(site, **values):
    about = {"as_of": "2026-06-01", "digest": "d", "version": "v", "snapshot": "land:9", "payload": {"theta": 0.5}}
    return StoredAssessment(site=site, **about | values)


def test_damaged_assessments_made_again_later_rest_on_what_the_chain_covers(in_sqlite):
    def night(run, snapshot, left_out, sites):
        rows = [stored(site, snapshot=snapshot, left_out=left_out) for site in sites]
        with in_sqlite.transaction() as t:
            return t.add_assessments(rows, run=run)

    assert night("first", "land:9", {"unit": "2018-01-01"}, "ab") == {"a", "b"}
    with in_sqlite.transaction() as t:
        before = t.chained_assessments(0)
        damage_assessments(t)
        assert t.latest_assessments(["a", "b"]) == {}
        assert {site: one.payload for site, one in t.latest_assessments(["a", "b"], damaged=True).items()} == {
            "a": {},
            "b": {},
        }
    assert night("later", "land:12", {}, "a") == set()
    with in_sqlite.reading() as t:
        assert [one.payload for one in t.chained_assessments(0)] == [{}, {}], "they are one row"
    assert night("later", "land:12", {}, "abc") == {"c"}
    with in_sqlite.reading() as t:
        assert t.chained_assessments(0)[:2] == before


def test_a_state_is_stored_where_it_changes_and_holds_until_the_next(ledger):
    def night(day, *status, landscape="land"):
        with ledger.transaction() as t:
            for site, one in zip("ab", status, strict=False):
                payload = {"status": one, "hectares": 2.5}
                add_assessment(t, site, day, f"{day} {one}", payload, snapshot=f"{landscape}:{day[-1]}")

    with ledger.transaction() as t:
        for site in "abc":
            t.add_site(site, "v", {"id": site}, start="2021-04-01", now="n")
    for day, status in ((1, "young"), (2, "young"), (3, "low"), (5, "low"), (7, "low")):
        night(f"2021-05-0{day}", status, "young")
    night("2021-05-04", "high")  # nights of earlier days, which run later
    night("2021-05-06", "low")
    night("2021-05-08", "low", landscape="other")
    night("2021-05-08", "low")  # the same assessment, which is stored
    with ledger.reading() as t:
        by_day = [t.states(until=f"2021-05-0{day}")["a"].status for day in range(1, 9)]
        assert by_day == ["young", "young", "low", "high", "low", "low", "low", "low"]
        assert t.states(until="2021-04-30") == {}
        assert t.states(["b"])["b"].hectares == 2.5
        assert t.first_assessed() == {"a": "2021-05-01", "b": "2021-05-01"}
        assert t._connection.execute(select(func.count()).select_from(StateRow)).scalar_one() == 6
        latest = {site: (one.as_of, one.snapshot) for site, one in t.latest_assessments().items()}
        assert latest == {"a": ("2021-05-08", "other:8"), "b": ("2021-05-07", "land:7")}
        assert [one.as_of[-1] for one in t.earlier_assessments("a")] == list("87654321")
        assert [one.as_of[-1] for one in t.assessments_of("b")] == list("12357")


def test_each_change_of_the_registry_is_stored_once_with_the_newest_night(ledger):
    def register(version):
        t.add_site("a", version, {"id": "a"}, start="2021-04-01", now="n")

    with ledger.transaction() as t:
        register("v1")
        register("v1")
        for day in ("2021-05-02", "2021-05-01"):
            add_assessment(t, "a", day, day, {"status": "low"}, version="v1")
        register("v2")
        t.begin_episode("a", 2, start="2021-05-01", budget=0.5, why="died", now="n")
        t.retire_site("a")
        t.retire_site("a")
        register("v1")
    with ledger.reading() as t:
        rows = [(row["newest_night"], row["version"], row["episode"]) for row in t.registrations()]
        assert rows == [("", "v1", 1), *(("2021-05-02", *row) for row in (("v2", 1), ("v2", 2), (None, 2), ("v1", 2)))]
        assert t.night_days() == ["2021-05-02"]  # the night of the day before was run after it
        states = [(row["since"], row["newest_night"], row["version"]) for row in t.state_changes()]
        assert states == [("2021-05-01", "2021-05-02", "v1"), ("2021-05-02", "2021-05-02", "v1")]


def test_an_assessment_takes_at_most_600_bytes_and_is_read_as_it_was_stored(in_sqlite):
    payload = {"status": "on_track", "reasons": ["LOW_UPLIFT"], "cover_basis": "index " * 30}
    rows = [
        stored(
            f"site-{k}", digest=sha256(bytes([k])).hexdigest(),
            payload=payload | {f"number {n}": math.sin(k + n) for n in range(20)},
        )
        for k in range(64)
    ]  # fmt: skip
    with in_sqlite.transaction() as t:
        t.add_assessments(rows, run="r")
        (size,) = t._connection.exec_driver_sql("select length(origins) + length(payloads) from assessments").scalars()
        assert t.chained_assessments(0) == [replace(one, row=1) for one in rows]
    assert size / 64 < 600
