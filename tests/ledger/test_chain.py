"""The chain of nights in the ledger, SQLite and PostgreSQL: a line a night, proofs, and what was changed afterwards."""

import json
import re
from datetime import date

import pytest
from sqlalchemy import text

from jobs.proof.chain import append_line, chain_lines, newest_line, problems, proven_answers, proven_assessments
from monitor.errors import BadData
from monitor.evidence.chain import check_chain, check_proof
from monitor.ledger.copying import copy_rows
from monitor.ledger.ledger import Ledger
from tests.ledger.assessed import add_assessment, edit_assessments


def assess(ledger, night, *sites, status="on_track"):
    """Store an assessment of each site, each in a transaction of its own, as a night does."""
    for site in sites:
        with ledger.transaction() as t:
            payload = {"site": site, "status": status, "theta": 0.75}
            add_assessment(t, site, night, f"{status}-{site}", payload, version="v1", snapshot="land:9", run="random")


def answer(ledger, site, note, photos=()):
    alert = f"{site}/failure"
    with ledger.transaction() as t:
        t.save_alert({"id": alert, "site": site, "state": "resolved", "opened": "2026-06-01"})
        time = "2026-06-02T08:00:00.000+00:00"
        number = t.add_event(alert, "answered", {"answer": "confirmed", "note": note}, time=time, link=f"link-{note}")
        for photo in photos:
            row = {"id": photo, "alert": alert, "number": number, "taken": None, "latitude": None, "longitude": None}
            t.add_photo({**row, "content": b"jpeg"})


def end_night(ledger, night):
    with ledger.transaction() as t:
        append_line(t, night=date.fromisoformat(night))


def lines_of(ledger):
    with ledger.reading() as t:
        lines = chain_lines(t)
    check_chain(lines)
    return lines


def problems_of(ledger, **options):
    with ledger.reading() as t:
        return list(problems(t, **options))


def nights_of(ledger):
    return [(line["night"], line["assessments"], line["answers"]) for line in lines_of(ledger)]


def change(ledger, statement, **values):
    """Change rows behind the back of the program: by SQL, or those of an assessment."""
    with ledger.transaction() as t:
        if isinstance(statement, tuple):
            site, day, payload = statement
            edit_assessments(t, site, day, payload=payload)
        else:
            assert t._connection.execute(text(statement), values).rowcount == 1


@pytest.fixture
def three_nights(ledger):
    assess(ledger, "2026-06-01", "b", "a", "旱柳")
    end_night(ledger, "2026-06-01")
    assess(ledger, "2026-06-02", "a", "b", "旱柳")
    answer(ledger, "a", "整地后未补植", photos=["f0", "0f"])
    end_night(ledger, "2026-06-02")
    assess(ledger, "2026-06-03", "a", "b", "旱柳")
    answer(ledger, "b", "yes")
    end_night(ledger, "2026-06-03")
    return ledger


def test_every_night_has_one_line_that_covers_what_is_new(three_nights):
    assert nights_of(three_nights) == [("2026-06-01", 3, 0), ("2026-06-02", 3, 1), ("2026-06-03", 3, 1)]
    assert problems_of(three_nights) == []
    with three_nights.reading() as t:
        assert newest_line(t) == chain_lines(t)[-1]


def test_a_ledger_without_a_night_has_no_chain(ledger):
    with ledger.reading() as t:
        assert newest_line(t) is None
        assert chain_lines(t) == []
    assert problems_of(ledger) == []


def test_a_night_that_runs_again_adds_no_line_unless_something_came_that_no_line_covers(three_nights):
    before = lines_of(three_nights)
    end_night(three_nights, "2026-06-03")
    end_night(three_nights, "2026-06-01")
    assert lines_of(three_nights) == before
    answer(three_nights, "a", "later")
    end_night(three_nights, "2026-06-03")
    assert nights_of(three_nights)[3:] == [("2026-06-03", 0, 1)]


def test_a_chain_of_a_newer_version_is_neither_used_nor_continued(three_nights):
    change(three_nights, "update chain set format = 2 where number = 3")
    newer = r"line 3 of the chain has format 2, newer than 1,.* update the program$"
    for use in (newest_line, chain_lines, lambda t: append_line(t, night=date(2026, 6, 4))):
        with pytest.raises(BadData, match=newer), three_nights.transaction() as t:
            use(t)
    (problem,) = problems_of(three_nights)
    assert re.search(newer, problem)


def test_a_night_without_news_has_a_line_too(three_nights):
    end_night(three_nights, "2026-06-04")
    assert nights_of(three_nights)[3:] == [("2026-06-04", 0, 0)]
    assert problems_of(three_nights) == []


def test_a_night_of_an_earlier_day_follows_those_that_ran_before_it(three_nights):
    assess(three_nights, "2026-05-20", "a", "b")
    end_night(three_nights, "2026-05-20")
    assert nights_of(three_nights)[3:] == [("2026-05-20", 2, 0)]
    assert problems_of(three_nights) == []


def test_after_ten_missed_nights_one_line_covers_all_that_was_answered_meanwhile(three_nights):
    for number in range(10):
        answer(three_nights, "a", f"day {number}")
    assess(three_nights, "2026-06-14", "a", "b")
    end_night(three_nights, "2026-06-14")
    assert nights_of(three_nights)[3:] == [("2026-06-14", 2, 10)]


def test_the_chain_does_not_depend_on_the_order_in_which_sites_were_judged_or_on_runs(url, tmp_path):
    chains = []
    for name, order in (("one", "abc"), ("other", "cab")):
        ledger = Ledger(f"sqlite:///{tmp_path / name}.db")
        assess(ledger, "2026-06-01", *order)
        if name == "other":  # that night was killed before its line, and ran again
            assess(ledger, "2026-06-01", *"abc")
        end_night(ledger, "2026-06-01")
        chains.append(lines_of(ledger))
        ledger.close()
    assert chains[0] == chains[1]


def test_every_assessment_and_answer_of_a_site_is_proven_and_no_others_are_shown(three_nights):
    lines = lines_of(three_nights)
    with three_nights.reading() as t:
        assessments, answers = proven_assessments(t, "a"), proven_answers(t, "a")
    assert [record["as_of"] for record, _ in assessments] == ["2026-06-01", "2026-06-02", "2026-06-03"]
    fixed = {"kind", "site", "as_of", "digest", "version", "snapshot", "payload", "left_out"}
    assert all(set(record) == fixed for record, _ in assessments)
    assert [(record["payload"]["note"], record["photos"]) for record, _ in answers] == [("整地后未补植", ["0f", "f0"])]
    assert [check_proof(lines, *one)["number"] for one in assessments + answers] == [1, 2, 3, 2]
    assert "link" not in json.dumps(answers)


def test_records_that_no_line_covers_yet_have_no_proof(three_nights):
    assess(three_nights, "2026-06-04", "a")
    answer(three_nights, "a", "new")
    with three_nights.reading() as t:
        assert [one.proof is None for one in proven_assessments(t, "a")] == [False, False, False, True]
        assert [one.proof is None for one in proven_answers(t, "a")] == [False, True]
    assert problems_of(three_nights) == []


CHANGES = {
    "edited": (("b", "2026-06-02", {"status": "failing"}), "the assessment of site 'b' of 2026-06-02"),
    "emptied": (("a", "2026-06-03", {}), "the assessment of site 'a' of 2026-06-03"),
    "redated": ("update assessments set as_of = '2026-06-09' where id = 5", "the assessment of site 'b' of 2026-06-09"),
    "answer edited": (
        "update alert_events set time = '2026' where alert = 'b/failure'",
        "the answer to alert 'b/failure', event 1",
    ),
    "photo swapped": ("update photos set id = 'aa' where id = 'f0'", "the answer to alert 'a/failure', event 1"),
}


@pytest.mark.parametrize(("statement", "named"), CHANGES.values(), ids=CHANGES)
def test_a_record_that_was_changed_is_named(three_nights, statement, named):
    change(three_nights, statement)
    (problem,) = problems_of(three_nights)
    assert named in problem
    assert "is not as it was when line" in problem
    site = "a" if "'a" in named else "b"
    with three_nights.reading() as t, pytest.raises(BadData, match=r"is not as it was when the chain was written"):
        (proven_answers if "answer" in named else proven_assessments)(t, site)


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        (
            ("b", "2026-06-02", None),
            "line 2 of the chain (night 2026-06-02) covers 3 assessments; missing in the ledger: 1",
        ),
        (
            "delete from alert_events where alert = 'b/failure'",
            "line 3 of the chain (night 2026-06-03) covers 1 answers; missing in the ledger: 1",
        ),
        ("delete from chain where number = 2", "line 2 of the chain is missing before line 3"),
        ("update chain set assessments = 2 where number = 1", "line 1 of the chain (night 2026-06-01) was edited"),
        (
            "update chain set leaves = (select leaves from chain where number = 1) where number = 3",
            "line 3 of the chain (night 2026-06-03): its stored leaves were changed",
        ),
        (
            "update chain set last_assessment = 1000 where number = 3",
            "line 3 of the chain (night 2026-06-03): the number of the last row of assessments that it covers was "
            "changed from 9 to 1000",
        ),
    ],
    ids=["assessment deleted", "answer deleted", "line deleted", "line edited", "leaves edited", "end edited"],
)
def test_deleted_records_and_changed_lines_are_named(three_nights, statement, named):
    change(three_nights, statement)
    (problem,) = problems_of(three_nights)
    assert named in problem


def test_the_cheap_check_sees_the_links_of_all_lines_and_the_records_of_the_newest(three_nights):
    change(three_nights, ("a", "2026-06-01", {}))
    assert problems_of(three_nights, newest=2) == []
    assert len(problems_of(three_nights, newest=3)) == 1
    change(three_nights, "update chain set root = previous where number = 1")
    (problem,) = problems_of(three_nights, newest=1)
    assert "line 1 of the chain (night 2026-06-01) was edited" in problem


def test_deleted_newest_lines_are_revealed_by_a_noted_head_and_their_records_are_covered_again(three_nights):
    before = lines_of(three_nights)
    change(three_nights, "delete from chain where number = 3")
    end_night(three_nights, "2026-06-03")
    assert lines_of(three_nights) == before  # nothing else was changed: the same head comes again


def test_a_copy_of_the_ledger_has_the_chain_and_goes_on_with_it(three_nights, tmp_path):
    copy = Ledger(f"sqlite:///{tmp_path / 'copy.db'}")
    copy_rows(three_nights, copy)
    assert lines_of(copy) == lines_of(three_nights)
    assert problems_of(copy) == []
    for ledger in (copy, three_nights):
        assess(ledger, "2026-06-04", "a", "b")
        end_night(ledger, "2026-06-04")
    assert lines_of(copy) == lines_of(three_nights)
    copy.close()


def test_notes_and_numbers_of_any_kind_never_stop_a_night(in_sqlite):
    for number, note in enumerate(["half \ud83d", "\x00\u2028", float("nan"), 2**70, {"$number": "NaN"}, -0.0]):
        answer_with(in_sqlite, f"s{number}", note)
    end_night(in_sqlite, "2026-06-01")
    assert nights_of(in_sqlite) == [("2026-06-01", 0, 6)]
    assert problems_of(in_sqlite) == []
    lines = lines_of(in_sqlite)
    for number in range(6):
        with in_sqlite.reading() as t:
            (one,) = proven_answers(t, f"s{number}")
        check_proof(lines, json.loads(json.dumps(one.record, allow_nan=False)), one.proof)


def answer_with(ledger, site, note):
    with ledger.transaction() as t:
        t.save_alert({"id": f"{site}/failure", "site": site, "state": "resolved", "opened": "2026-06-01"})
        t.add_event(f"{site}/failure", "answered", {"note": note}, time="2026-06-02T08:00:00.000+00:00")


def test_a_transaction_that_fails_appends_nothing(three_nights):
    before = lines_of(three_nights)
    assess(three_nights, "2026-06-04", "a")

    def fail():
        with three_nights.transaction() as t:
            append_line(t, night=date(2026, 6, 4))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert lines_of(three_nights) == before
    end_night(three_nights, "2026-06-04")
    assert nights_of(three_nights)[3:] == [("2026-06-04", 1, 0)]
