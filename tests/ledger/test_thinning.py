"""Old assessments in SQLite and PostgreSQL: those that matter stay, and the chain still covers the rest."""

import shutil
import sqlite3
from contextlib import closing
from datetime import date, timedelta

import pytest
from sqlalchemy import text

from jobs.proof.chain import append_line, chain_lines, problems, proven_assessments
from jobs.proof.thinning import MAX_LINES, NEWEST_NIGHTS, RETENTION, stays, thin
from monitor.evidence.chain import check_chain, check_proof
from monitor.ledger.copying import copy_rows
from monitor.ledger.ledger import Ledger

FIRST = date(2026, 1, 1)
STEP = timedelta(days=3)
NIGHTS = [FIRST + k * STEP for k in range(50)]
NEWEST = NIGHTS[-1]
RECENT = [day for day in NIGHTS if day >= NIGHTS[-NEWEST_NIGHTS] - RETENTION]
"""Nights whose assessments all stay."""
FELL, ROSE, MESSAGE, CHECKED, MEASURED = NIGHTS[2], NIGHTS[4], NIGHTS[5], NIGHTS[6], NIGHTS[7]
MONTH_END = NIGHTS[10]
assert MONTH_END == date(2026, 1, 31) < RECENT[0] < date(2026, 2, 27)


def run_night(ledger, *days, sites=("a", "b"), status="on_track", alert="none", thins=True):
    """Nights of some sites, all in one transaction for speed; site b never changes."""
    with ledger.transaction() as t:
        for day in days:
            _run(t, day, sites, status, alert, thins)


def _run(t, day, sites, status, alert, thins):
    t.begin_run(f"night-{day}", "night", day.isoformat(), now=f"{day}T22:00:00.000+00:00")
    for site in sites:
        now, red = (status, alert) if site == "a" else ("on_track", "none")
        payload = {"site": site, "status": now, "alert": red, "alert_rule": None, "episode": 1, "theta": 0.75}
        key = f"{site}-{day}-{now}"
        t.add_assessment(site, day.isoformat(), key, payload, version="v", snapshot="land:9", run=f"night-{day}")
    append_line(t, night=day)
    if thins:
        thin(t)
    manifest = {"sites": [{"site": site, "state": "done"} for site in sites], "pages_failed": {}}
    t.end_run(
        f"night-{day}", status=0, now=f"{day}T23:00:00.000+00:00", manifest=manifest, summary={"done": len(sites)}
    )


def named_days(t):
    """Store what names assessments: an alert event of a; a message, a self-check and a measurement of b."""
    t.save_alert({"id": "a/failure", "site": "a", "state": "open", "opened": FELL.isoformat(), "rule": "failure"})
    t.add_event("a/failure", "opened", {"day": FELL.isoformat(), "by": "night"}, time=f"{FELL}T23:00:00.000+00:00")
    t.add_notice("quiet/b", "quiet", {}, day=MESSAGE.isoformat(), recipients=[("mail", "x")], site="b")
    t.add_self_check((CHECKED + STEP).isoformat(), "b", {"as_of": CHECKED.isoformat()})
    row = {"site": "b", "date": MEASURED.isoformat(), "kind": "cover", "value": 0.2, "n": 1, "digest": "d", "added": ""}
    t.add_field_rows([{**row, "lon": None, "lat": None, "note": None}])


def run_all(ledger):
    with ledger.transaction() as t:
        named_days(t)
        for day in NIGHTS:
            state = ("failing", "red") if FELL <= day < ROSE else ("on_track", "none")
            _run(t, day, ("a", "b"), *state, True)


@pytest.fixture(scope="module")
def file_of_all_nights(tmp_path_factory):
    file = tmp_path_factory.mktemp("thinned") / "regrowth.db"
    ledger = Ledger(f"sqlite:///{file}")
    run_all(ledger)
    ledger.close()
    return file


@pytest.fixture
def thinned(file_of_all_nights, tmp_path):
    """A ledger in SQLite after all nights."""
    shutil.copy(file_of_all_nights, tmp_path / "thinned.db")
    ledger = Ledger(f"sqlite:///{tmp_path / 'thinned.db'}")
    yield ledger
    ledger.close()


def days_of(ledger, site):
    with ledger.reading() as t:
        return [date.fromisoformat(row["as_of"]) for row in t.assessments_of(site)]


def problems_of(ledger, **options):
    with ledger.reading() as t:
        return list(problems(t, **options))


def change(ledger, statement, **values):
    with ledger.transaction() as t:
        assert t._connection.execute(text(statement), values).rowcount == 1


def test_old_assessments_stay_if_they_changed_or_are_named_and_those_of_the_newest_90_days_all_stay(ledger):
    run_all(ledger)
    assert days_of(ledger, "a") == [FIRST, FELL, ROSE, MONTH_END, *RECENT]
    assert days_of(ledger, "b") == [FIRST, MESSAGE, CHECKED, MEASURED, MONTH_END, *RECENT]
    assert problems_of(ledger) == []


def test_the_chain_is_as_without_thinning_and_covers_all_that_is_left(thinned, tmp_path):
    with thinned.reading() as t:
        lines = chain_lines(t)
        proven = proven_assessments(t, "a")
        there = {row["number"]: row["thinned"] for row in t.chain()}
    check_chain(lines)
    assert len(lines) == len(NIGHTS)
    assert all(check_proof(lines, one.record, one.proof)["assessments"] == 2 for one in proven)
    assert len(proven) == len(days_of(thinned, "a"))
    assert there[2] == 2  # nothing of the second night is left but its leaves
    assert problems_of(thinned) == []


def test_status_of_any_past_day_is_that_of_the_newest_stored_assessment_until_then(thinned):
    with thinned.transaction() as t:
        t.add_site("a", "v", {"id": "a", "name": "a", "start": "2020-01-01"}, start="2020-01-01", now="2026")
    with thinned.reading() as t:
        for day in NIGHTS:
            expected = "failing" if FELL <= day < ROSE else "on_track"
            assert t.statuses_on(day.isoformat())["a"] == expected


def test_manifests_of_old_nights_go_and_their_summaries_stay(thinned):
    with thinned.reading() as t:
        nights = [dict(row._mapping) for row in t._connection.execute(text("select * from runs order by started"))]
    full = [row["as_of"] for row in nights if row["manifest"] is not None]
    newest_before = NIGHTS[NIGHTS.index(RECENT[0]) - 1]  # with which the pages after a long pause are compared
    assert [date.fromisoformat(day) for day in full] == [newest_before, *RECENT]
    assert all(row["summary"] is not None for row in nights)


def test_a_missing_assessment_of_the_newest_90_days_is_named(thinned):
    day = RECENT[3].isoformat()
    change(thinned, "delete from assessments where site = 'a' and as_of = :day", day=day)
    (found,) = problems_of(thinned)
    assert f"(night {day}) covers 2 assessments; missing in the ledger: 1" in found


def test_a_missing_recent_assessment_is_named_without_deep_though_its_line_was_edited(thinned):
    day = RECENT[-3].isoformat()
    change(thinned, "delete from assessments where site = 'a' and as_of = :day", day=day)
    change(thinned, "update chain set thinned = 1 where night = :day", day=day)
    assert any(
        f"(night {day}) says that 1 of its assessments were thinned" in one for one in problems_of(thinned, newest=3)
    )


def test_a_missing_old_assessment_that_should_have_stayed_is_reported(thinned):
    change(thinned, "delete from assessments where site = 'a' and as_of = :day", day=ROSE.isoformat())
    (found,) = problems_of(thinned)
    assert f"(night {ROSE}) covers 2 assessments, 1 of them stored in the chain only; missing in the ledger: 1" in found


def test_a_missing_assessment_that_an_alert_names_is_reported_though_its_line_was_edited(thinned):
    change(thinned, "delete from assessments where site = 'a' and as_of = :day", day=FELL.isoformat())
    change(thinned, "update chain set thinned = 2 where night = :day", day=FELL.isoformat())
    (found,) = problems_of(thinned)
    assert f"event 1 of alert 'a/failure', by the night of {FELL}: the assessment of site 'a'" in found


def test_an_old_assessment_that_was_edited_is_named(thinned):
    change(thinned, "update assessments set digest = 'x' where site = 'a' and as_of = :day", day=ROSE.isoformat())
    (found,) = problems_of(thinned)
    assert "is not as it was when" in found


def test_a_damaged_assessment_stops_no_night_and_stays(thinned):
    with thinned.transaction() as t:
        run = "update assessments set payload = substr(payload, 2) where as_of = :day"
        t._connection.execute(text(run), {"day": RECENT[1].isoformat()})
    for number in range(1, 4):
        run_night(thinned, NEWEST + number * STEP)
    with thinned.reading() as t:
        stored = t._connection.execute(text("select as_of from assessments where site = 'a' order by as_of")).scalars()
        assert {RECENT[1].isoformat(), RECENT[2].isoformat()} <= set(stored)  # the next one may have changed
        assert RECENT[0].isoformat() not in set(stored)


def test_thinning_again_changes_nothing(thinned):
    def whole():
        with thinned.reading() as t:
            tables = ("assessments", "chain", "runs")
            return [sorted(map(str, t._connection.execute(text(f"select * from {name}")))) for name in tables]

    before = whole()
    with thinned.transaction() as t:
        thin(t)
    assert whole() == before


def test_nights_with_a_clock_a_year_ahead_thin_nothing_of_the_90_days_before_them(thinned):
    stay = [day for day in NIGHTS if day >= NEWEST - RETENTION]
    ahead = [NEWEST + timedelta(days=365 + k) for k in range(NEWEST_NIGHTS - 1)]
    run_night(thinned, *ahead)
    assert days_of(thinned, "a")[-len(stay + ahead) :] == [*stay, *ahead]
    with thinned.reading() as t:
        full = set(t._connection.execute(text("select as_of from runs where manifest is not null")).scalars())
    assert {day.isoformat() for day in stay + ahead} <= full


def test_a_night_killed_before_it_thinned_is_made_up_for_by_the_next(ledger):
    for number, day in enumerate(NIGHTS):
        run_night(ledger, day, thins=number % 3 == 2)
    run_night(ledger, NEWEST, sites=[])
    assert days_of(ledger, "a") == [FIRST, MONTH_END, *RECENT]


def test_a_ledger_of_years_without_thinning_is_thinned_a_few_lines_a_night(ledger):
    run_night(ledger, *NIGHTS, sites=["b"], thins=False)
    run_night(ledger, NEWEST, sites=[])
    gone = MAX_LINES - 1  # of the first lines, all but the first night
    assert days_of(ledger, "b") == [FIRST, *NIGHTS[gone + 1 :]]
    assert NIGHTS[gone + 1] == MONTH_END


def test_the_newest_assessment_stays_however_old_it_is(ledger):
    run_night(ledger, FIRST, sites=["a", "b"])
    run_night(ledger, *NIGHTS[1:], sites=["b"])
    assert days_of(ledger, "a") == [FIRST]
    with ledger.reading() as t:
        assert t.latest_assessment("a")[0] == FIRST.isoformat()


def test_the_number_of_a_deleted_row_is_not_given_to_a_new_one(ledger):
    days = [FIRST + timedelta(days=number) for number in (0, 2, 1)]
    run_night(ledger, *days, sites=["a"])  # the last row is of an old day, and one of those that go
    run_night(ledger, FIRST + timedelta(days=301), sites=[])
    run_night(ledger, FIRST + timedelta(days=302), FIRST + timedelta(days=303), sites=["a"])
    with ledger.reading() as t:
        proofs = proven_assessments(t, "a")
    assert [one.proof is not None for one in proofs] == [True] * 5
    assert problems_of(ledger) == []


def test_a_copy_of_a_thinned_ledger_thins_on(thinned, tmp_path):
    copy = Ledger(f"sqlite:///{tmp_path / 'copy.db'}")
    copy_rows(thinned, copy)
    run_night(copy, NEWEST + STEP)
    run_night(thinned, NEWEST + STEP)
    assert days_of(copy, "a") == days_of(thinned, "a")
    assert problems_of(copy) == []
    with copy.reading() as mine, thinned.reading() as theirs:
        assert chain_lines(mine) == chain_lines(theirs)
    copy.close()


def test_the_file_does_not_grow_by_nights_that_change_nothing(in_sqlite, url):
    def pages():
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file:
            return file.execute("pragma page_count").fetchone()[0]

    def nights(first, last):
        for k in range(first, last):
            run_night(in_sqlite, FIRST + timedelta(days=k), sites=[f"site-{n}" for n in range(5)])

    nights(0, 100)
    before = pages()
    nights(100, 118)
    assert pages() - before < 20  # a chain line and a summary a night, not five assessments


@pytest.mark.parametrize(
    ("changed", "last", "named", "expected"),
    [
        (False, False, set(), False),
        (True, False, set(), True),
        (False, True, set(), True),
        (False, False, {("a", "2026-01-05")}, True),
        (False, False, {("b", "2026-01-05"), ("a", "2026-01-06")}, False),
    ],
)
def test_an_old_assessment_stays_if_it_changed_something_or_ends_a_month_or_is_named(changed, last, named, expected):
    row = {"site": "a", "as_of": "2026-01-05", "changed": changed, "last_of_month": last}
    assert stays(row, named) is expected
