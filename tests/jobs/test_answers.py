"""Answers from the field, given by command and by file."""

import json
from datetime import date, timedelta
from functools import partial

import pytest

from jobs.messages.compose import compose
from jobs.messages.outbox import _withdraw_outdated
from jobs.pages.publishing import _answers_by_site
from jobs.register.alerting import address_book, record_event
from jobs.runtime.clock import now
from jobs.runtime.exits import Exit
from jobs.runtime.installation import open_ledger
from jobs.runtime.records import to_json
from jobs.runtime.settings import load
from monitor.alerts.alert import AlertEvent
from monitor.verdict.assessment import AlertLevel
from tests import builders
from tests.ledger.assessed import add_assessment

OPENED, TODAY = date(2026, 6, 1), date(2026, 7, 1)
CONFIGURATION = (
    '[registry]\npath = "sites.geojson"\n[[source]]\nkind = "sample"\n[operators]\nchannels = ["hook"]\n'
    '[channels.hook]\nkind = "webhook"\nurl = "https://hook.example.org/"\n'
)
FIRST, SECOND = "柳林/failure", "lowood/erosion"


def alert(site, rule, level=AlertLevel.RED):
    return builders.alert(site, rule, opened=OPENED, level=level)


@pytest.fixture(autouse=True)
def _one_day(monkeypatch):
    """Midnight passes in no test."""
    for module in ("jobs.register.answering", "jobs.answers.answers_csv", "jobs.commands.alerts"):
        monkeypatch.setattr(f"{module}.today", lambda: TODAY)


@pytest.fixture
def config(tmp_path):
    """An installation with two open alerts."""
    path = tmp_path / "regrowth.toml"
    path.write_text(CONFIGURATION, encoding="utf-8")
    with open_ledger(load(path)) as ledger, ledger.transaction() as t:
        for opened in (alert("柳林", "failure"), alert("lowood", "erosion", AlertLevel.WATCH)):
            record_event(t, opened, AlertEvent.OPENED, day=OPENED, by="night")
    return path


@pytest.fixture
def regrowth(config):
    return partial(builders.regrowth, "alerts", config=config)


@pytest.fixture
def listed(regrowth):
    def alerts():
        return {one["id"]: one for one in json.loads(regrowth("list", "--all", "--json")[1])}

    return alerts


@pytest.fixture
def events(config):
    def of(alert_id):
        with open_ledger(load(config)) as ledger, ledger.reading() as t:
            return t.events(alert_id)

    return of


@pytest.fixture
def answers(tmp_path):
    def written(*lines, header="id,verdict,reason,note,date", encoding="utf-8"):
        path = tmp_path / "answers.csv"
        path.write_bytes("\r\n".join([header, *lines, ""]).encode(encoding))
        return path

    return written


def test_open_alerts_are_listed_and_resolved_ones_only_with_all(regrowth):
    status, out, _ = regrowth("list", "--json")
    first = {one["id"]: one for one in json.loads(out)}[FIRST]
    expected = {"site": "柳林", "level": "red", "rule": "failure", "state": "open", "answer": None,
                "answer_reason": None, "note": None, "opened": "2026-06-01"}  # fmt: skip
    assert status == Exit.DONE
    assert {key: first[key] for key in expected} == expected
    regrowth("resolve", FIRST, "--verdict", "false-alarm", "--reason", "grazing", "--note", "sheep\x1b[2J\n here")
    assert set(json.loads(regrowth("list", "--json")[1])[0].items()) >= {("id", SECOND)}
    lines = regrowth("list", "--all")[1].splitlines()
    assert "柳林/failure: red by failure, opened 2026-06-01, resolved, false-alarm (grazing) - sheep?[2J here" in lines
    assert len(lines) == 2


def test_an_alert_that_was_resolved_can_be_answered_again_and_both_answers_stay_on_record(regrowth, listed, events):
    assert regrowth("resolve", FIRST, "--verdict", "false-alarm", "--reason", "snow", "--note", "late snow")[0] == 0
    assert regrowth("resolve", FIRST, "--verdict", "confirmed", "--note", "dead after all")[0] == Exit.DONE
    stands = listed()[FIRST]
    assert (stands["answer"], stands["answer_reason"], stands["note"]) == ("confirmed", None, "dead after all")
    given = [(event["answer"], event["reason"], event["note"]) for event in events(FIRST)[1:]]
    assert given == [("false-alarm", "snow", "late snow"), ("confirmed", None, "dead after all")]
    assert regrowth("ack", FIRST)[0] == regrowth("snooze", FIRST, "--until", "2999-01-01")[0] == Exit.BAD_DATA


def test_acknowledging_and_snoozing_are_recorded(regrowth, listed, events):
    assert regrowth("ack", FIRST, "--note", "going there")[0] == Exit.DONE
    assert (listed()[FIRST]["state"], listed()[FIRST]["note"]) == ("acknowledged", "going there")
    assert regrowth("snooze", FIRST, "--until", "2999-01-01")[0] == Exit.DONE
    assert "snoozed until 2999-01-01 - going there" in regrowth("list")[1]
    assert [event["kind"] for event in events(FIRST)] == ["opened", "acknowledged", "snoozed"]
    assert regrowth("snooze", FIRST, "--until", "2020-01-01")[0] == Exit.USAGE


@pytest.mark.parametrize("wrong", [
    ["--verdict", "maybe"], ["--verdict", "confirmed", "--reason", "snow"],
    ["--verdict", "false-alarm", "--reason", "x"],
])  # fmt: skip
def test_an_invalid_answer_is_refused(regrowth, events, wrong):
    assert regrowth("resolve", FIRST, *wrong)[0] == Exit.USAGE
    assert len(events(FIRST)) == 1


def test_an_unknown_alert_is_named(regrowth):
    for command in (["ack"], ["resolve", "--verdict", "confirmed"], ["snooze", "--until", "2999-01-01"]):
        status, _, error = regrowth(command[0], "nobody/failure", *command[1:])
        assert status == Exit.BAD_DATA
        assert "no alert 'nobody/failure'; 'regrowth alerts list --all' lists all alerts" in error


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_file_of_answers_is_recorded(regrowth, listed, events, answers, encoding):
    file = answers(f'{FIRST},false-alarm,grazing,"羊群, 已赶走",2026-06-20', f"{SECOND},treated,,,", encoding=encoding)
    status, out, _ = regrowth("import", file)
    assert (status, out) == (Exit.DONE, "Answers recorded: 2; recorded before: 0.\n")
    first, second = listed()[FIRST], listed()[SECOND]
    assert (first["state"], first["answer"], first["answer_reason"]) == ("resolved", "false-alarm", "grazing")
    assert first["note"] == "羊群, 已赶走"
    assert (second["answer"], second["answer_reason"], second["note"]) == ("treated", None, None)
    assert events(FIRST)[1]["day"] == "2026-06-20"
    assert events(SECOND)[1]["day"] == TODAY.isoformat()


def test_the_export_of_a_form_is_recorded_as_a_file_of_answers_is(regrowth, listed, answers):
    header = "start;today;found/alert;found/verdict;found/reason;found/note;photo;_id;_uuid;_submission_time;_index"
    line = f"2026-06-20T07:00:00+08:00;2026-06-20;{FIRST};false-alarm;grazing;羊群;1.jpg;5;u-5;2026-06-20T01:00:00;1"
    assert regrowth("import", answers(line, header=header))[0] == Exit.DONE
    first = listed()[FIRST]
    assert (first["state"], first["answer_reason"], first["note"]) == ("resolved", "grazing", "羊群")
    status, _, error = regrowth("import", answers(line.replace(FIRST, "nobody/failure"), header=header))
    assert (status, "no alert 'nobody/failure'" in error) == (Exit.BAD_DATA, True)


def test_the_same_file_again_records_nothing_also_after_a_newer_answer(regrowth, listed, events, answers):
    file = answers(f"{FIRST},confirmed,,dead,2026-06-20", f"{SECOND},confirmed,,,", f"{SECOND},confirmed,,,")
    assert json.loads(regrowth("import", file, "--json")[1])["recorded"] == [FIRST, SECOND]
    regrowth("resolve", FIRST, "--verdict", "treated")
    done = json.loads(regrowth("import", file, "--json")[1])
    assert (done["recorded"], done["already"]) == ([], [FIRST, SECOND, SECOND])
    assert [len(events(alert)) for alert in (FIRST, SECOND)] == [3, 2]
    assert listed()[FIRST]["answer"] == "treated"


def test_a_finding_of_an_earlier_day_is_recorded_but_does_not_replace_a_later_one(regrowth, listed, events, answers):
    regrowth("import", answers(f"{FIRST},confirmed,,dead,2026-06-20"))
    status, out, _ = regrowth("import", answers(f"{FIRST},false-alarm,,green,2026/6/3"))
    assert status == Exit.DONE
    assert out.splitlines()[1] == f"{FIRST}: a finding of a later day stands."
    assert (listed()[FIRST]["answer"], listed()[FIRST]["note"]) == ("confirmed", "dead")
    assert [(event["answer"], event["note"]) for event in events(FIRST)[1:]] == [
        ("confirmed", "dead"), ("false-alarm", "green"),
    ]  # fmt: skip
    regrowth("import", answers(f"{FIRST},treated,,sown,2026-06-20"))
    assert listed()[FIRST]["answer"] == "treated", "of the same day the one recorded last stands"


def test_every_bad_line_of_a_file_is_named_and_nothing_is_recorded(regrowth, events, answers):
    future = TODAY + timedelta(days=9)
    file = answers(
        f"{FIRST},confirmed,,good line,", "nobody/failure,confirmed,,,", f"{FIRST},perhaps,,,",
        f"{FIRST},confirmed,snow,,", f"{FIRST},false-alarm,locusts,,", f"{FIRST},treated,,,31.12.2026",
        f"{FIRST},treated,,,2026-02-30", f"{FIRST},treated,,,{future}", f"{FIRST},treated,,sown, fenced,2026-06-20",
        "", f'{FIRST},maybe,,"two\nlines",', "\x1b]0;evil,confirmed,,,",
    )  # fmt: skip
    status, out, error = regrowth("import", file)
    assert (status, out) == (Exit.BAD_DATA, "")
    lines = error.splitlines()
    assert lines[0].endswith("answers.csv: wrong lines (10), so nothing was recorded")
    assert [line.split(":")[0] for line in lines[1:]] == [f"line {n}" for n in (3, 4, 5, 6, 7, 8, 9, 10, 12, 14)]
    for line, words in zip(lines[1:], (
        "no alert 'nobody/failure'", "verdict is 'perhaps'; known are confirmed, false-alarm, treated",
        "only a false alarm has a reason, confirmed has none", "reason is 'locusts'; known are harvest, snow",
        "date is '31.12.2026'; a date such as", "date is '2026-02-30'; a date such as", f"{future} is in the future",
        "more cells than columns ('2026-06-20')", "verdict is 'maybe'", "no alert",
    ), strict=True):  # fmt: skip
        assert words in line
    assert "\x1b" not in error
    assert len(events(FIRST)) == 1


@pytest.mark.parametrize(("content", "words"), [
    ("id,verdict\n柳林/failure,confirmed\n".encode("gb18030"), "not UTF-8"),
    (b"\x00\xff\xfe", "not UTF-8"),
    (b"alert,answer\nx,y\n", "column 'alert' is unknown; did you mean"),
    (b"id,verdict,id\nx,confirmed,y\n", "column 'id' is given more than once"),
    (b'id,verdict,note\nx,confirmed,"never closed\n', "is not CSV"),
])  # fmt: skip
def test_a_file_that_is_not_a_table_of_answers_is_refused_with_the_reason(regrowth, tmp_path, content, words):
    (tmp_path / "answers.csv").write_bytes(content)
    status, _, error = regrowth("import", tmp_path / "answers.csv")
    assert status == Exit.BAD_DATA
    assert words in error
    assert "Traceback" not in error


def test_a_missing_file_is_refused_and_an_empty_one_records_nothing(regrowth, tmp_path):
    assert regrowth("import", tmp_path / "none.csv")[0] == Exit.BAD_DATA
    assert regrowth("import", tmp_path)[0] == Exit.BAD_DATA
    (tmp_path / "empty.csv").write_bytes(b"")
    assert regrowth("import", tmp_path / "empty.csv")[1] == "Answers recorded: 0; recorded before: 0.\n"


def test_a_note_that_spreadsheets_take_for_a_formula_is_stored_as_it_was_written(regrowth, listed, answers):
    regrowth("import", answers(f"{FIRST},confirmed,,\"=cmd|'/c calc'!A1\","))
    assert listed()[FIRST]["note"] == "=cmd|'/c calc'!A1"


@pytest.fixture
def sure(config):
    """The first alert has a probability of 97 %; returns the kinds and states of its notices."""
    place, judged = builders.site("柳林"), builders.assessment("柳林")
    with open_ledger(load(config)) as ledger, ledger.transaction() as t:
        t.add_site(place.id, place.version, to_json(place), start=place.start.isoformat(), now="n")
        add_assessment(t, place.id, "2026-07-01", "d", to_json(judged), version="1", snapshot="", run="r")

    def notices():
        with open_ledger(load(config)) as ledger, ledger.reading() as t:
            return [(row["kind"], row["channel"]) for row in t.notices("waiting")]

    return notices


def test_a_false_alarm_on_a_sure_red_needs_a_reason_by_command_and_by_file(sure, regrowth, events, answers):
    status, _, error = regrowth("resolve", FIRST, "--verdict", "false-alarm")
    assert status == Exit.BAD_DATA
    assert "is 95% or more, so a false alarm needs a reason: harvest, snow" in error
    file = answers(f"{SECOND},confirmed,,,", f"{FIRST},false-alarm,,no snow,")
    status, _, error = regrowth("import", file)
    assert (status, "line 3: alert '柳林/failure'" in error) == (Exit.BAD_DATA, True)
    assert [len(events(alert)) for alert in (FIRST, SECOND)] == [1, 1], "nothing was recorded"
    assert regrowth("resolve", FIRST, "--verdict", "confirmed")[0] == Exit.DONE
    assert sure() == []


def test_a_false_alarm_on_a_sure_red_resolves_nothing_before_the_operators_close_it(sure, regrowth, listed, events):
    assert "unreviewed" in regrowth("resolve", FIRST, "--verdict", "false-alarm", "--reason", "snow")[1]
    assert (listed()[FIRST]["state"], listed()[FIRST]["unreviewed"]) == ("acknowledged", True)
    assert "false-alarm (snow), unreviewed" in regrowth("list")[1]
    assert sure() == [("review", "hook")]
    assert regrowth("review", FIRST, "--close")[0] == Exit.USAGE
    assert regrowth("review", FIRST, "--close", "--why", " ")[0] == Exit.BAD_DATA
    assert regrowth("review", FIRST, "--close", "--why", "photos show snow")[0] == Exit.DONE
    stands = listed()[FIRST]
    assert (stands["state"], stands["answer"], stands["covered"], stands["unreviewed"]) == (
        "resolved", "false-alarm", "red", False,
    )  # fmt: skip
    assert (events(FIRST)[-1]["kind"], events(FIRST)[-1]["why"]) == ("reviewed", "photos show snow")
    assert regrowth("review", FIRST, "--close", "--why", "again")[0] == Exit.BAD_DATA


def test_a_false_alarm_that_is_not_accepted_opens_the_alert_again_for_its_manager(sure, regrowth, listed):
    regrowth("resolve", FIRST, "--verdict", "false-alarm", "--reason", "snow")
    assert regrowth("review", FIRST, "--reopen", "--why", "no snow in July")[0] == Exit.DONE
    opened = listed()[FIRST]
    assert (opened["state"], opened["answer"], opened["note"]) == ("open", None, "no snow in July")
    assert sure() == [("review", "hook"), ("alert", "hook")], "a site without a manager is the operators'"
    assert regrowth("resolve", FIRST, "--verdict", "confirmed")[0] == Exit.DONE
    assert listed()[FIRST]["state"] == "resolved"


def test_the_page_of_a_site_tells_an_answer_that_was_not_accepted_from_the_others(sure, config, regrowth):
    for decision in ("--close", "--reopen"):
        regrowth("resolve", FIRST, "--verdict", "false-alarm", "--reason", "snow")
        regrowth("review", FIRST, decision, "--why", "photos")
    with open_ledger(load(config)) as ledger, ledger.reading() as t:
        assert [answer.rejected for answer in _answers_by_site(t)["柳林"]] == [True, False]


def test_a_finding_from_before_an_answer_that_was_not_accepted_closes_the_alert(sure, regrowth, listed, answers):
    regrowth("resolve", FIRST, "--verdict", "false-alarm", "--reason", "snow")
    regrowth("review", FIRST, "--reopen", "--why", "no snow in July")
    assert "later day" not in regrowth("import", answers(f"{FIRST},confirmed,,,2026-06-20"))[1]
    assert (listed()[FIRST]["state"], listed()[FIRST]["answer"]) == ("resolved", "confirmed")


def test_operators_read_the_reason_and_the_commands_of_a_review_until_it_is_done(sure, config, regrowth):
    regrowth("resolve", FIRST, "--verdict", "false-alarm", "--reason", "snow", "--note", "late <b>snow</b>")
    with open_ledger(load(config)) as ledger, ledger.transaction() as t:
        (row,) = t.notices("waiting")
        message, _ = compose(t, load(config), [{**row, "message": "m", "first_tried": now()}], key=None)
        assert _withdraw_outdated(t, [row], address_book(load(config))) == [row]
    assert "Reason: snow. Note: late <b>snow</b>" in message.text
    assert "regrowth alerts review '柳林/failure' --close --why TEXT" in message.text
    assert "<b>snow</b>" not in message.html
    regrowth("review", FIRST, "--close", "--why", "photos show snow")
    with open_ledger(load(config)) as ledger, ledger.transaction() as t:
        assert _withdraw_outdated(t, [row], address_book(load(config))) == []


def test_an_answer_in_place_of_an_unreviewed_one_holds_as_any_other(sure, regrowth, listed):
    regrowth("resolve", FIRST, "--verdict", "false-alarm", "--reason", "snow")
    regrowth("resolve", FIRST, "--verdict", "confirmed")
    stands = listed()[FIRST]
    assert (stands["state"], stands["covered"], stands["unreviewed"]) == ("resolved", "red", False)


def test_columns_may_stand_in_any_order_and_be_left_out(regrowth, listed, answers):
    assert regrowth("import", answers(f"confirmed,{FIRST}", header="Verdict, ID"))[0] == Exit.DONE
    assert listed()[FIRST]["answer"] == "confirmed"
