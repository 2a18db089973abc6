"""The JSON members of a pack describe a site, and can be read back."""

import json
from dataclasses import replace
from datetime import date

import pytest
from shapely.geometry import MultiPolygon, box

from monitor.controls.selection import ControlSet, Unit
from monitor.errors import BadData
from monitor.evidence import documents
from monitor.evidence.chain import answer_record, check_proof, leaf_of, next_line, proof, record_of
from monitor.sites.biomes import BIOMES, default_plan
from monitor.sites.own_biome import own_biome
from monitor.sites.site import Site, ground_key, site_version

SITE = Site(
    id="民勤 <b>03</b>", name="Min'qin\u202e three", start=date(2019, 3, 1), intervention="planting", biome="own_sand",
    geometry=MultiPolygon([box(103.1, 38.6, 103.11, 38.61), box(103.2, 38.6, 103.2000001, 38.61)]),
    plan=default_plan("planting", BIOMES["sandy"]), hectares=123.456789, province="Gansu", programme_year=2019,
    partner="partner & co", manager_name="Wang Wu", manager_language="zh", manager_email="wang@example.org",
    manager_channel="ops", cohorts=((date(2019, 3, 1), 0.25), (date(2020, 3, 1), 0.75)),
    own_biome=own_biome({"like": "sandy", "name_zh": "沙地"}, name="own_sand"),
)  # fmt: skip
SITE = replace(SITE, version=site_version(SITE))


def episode(number, start, closed=None, why=None):
    return {
        "id": 7 + number, "site": SITE.id, "number": number, "start": start, "opened": "2019-03-02T00:00:00.000+00:00",
        "closed": closed, "why": why, "budget": 1.0,
    }  # fmt: skip


def test_the_site_is_read_back_as_it_is_registered_without_its_manager():
    document = json.loads(documents.json_member(documents.site_json(SITE, [episode(1, "2019-03-01")], episode=1)))
    assert documents.site_from_json(document) == replace(
        SITE, manager_name=None, manager_language="en", manager_email=None, manager_channel=None
    )
    assert document["properties"]["ground"] == ground_key(SITE)
    assert document["properties"]["version"] == SITE.version
    assert not any(word in json.dumps(document) for word in ("wang", "Wang", "manager_"))


def test_episodes_after_that_of_the_assessment_and_its_own_end_are_not_known_yet():
    rows = [episode(1, "2018-01-01", "2021-05-01", "burnt"), episode(2, "2021-04-20", "2023-05-01", "flood")]
    rows.append(episode(3, "2023-05-01"))
    first, second = documents.site_json(SITE, rows, episode=2)["properties"]["episodes"]
    assert (first["start"], first["closed"], first["why"]) == ("2019-03-01", "2021-05-01", "burnt")  # of this version
    assert (second["number"], second["closed"], second["why"]) == (2, None, None)
    assert documents.site_json(SITE, rows, episode=3)["properties"]["episodes"][1]["why"] == "flood"


@pytest.mark.parametrize(
    "document", [None, [], {}, {"properties": {}, "geometry": None}, {"properties": 3, "geometry": 4}, {"geometry": {}}]
)
def test_a_document_that_describes_no_site_is_refused(document):
    with pytest.raises(BadData, match=r"site\.json describes no site"):
        documents.site_from_json(document)


def test_an_invalid_outline_is_refused():
    document = documents.site_json(SITE, [], episode=1)
    for geometry in ({"type": "Polygon", "coordinates": [[[0, 0]]]}, {"type": "Circle", "coordinates": []}):
        with pytest.raises(BadData):
            documents.site_from_json({**document, "geometry": geometry})


def test_an_entry_has_the_fields_of_the_published_status_and_gives_the_row_of_the_ledger_back():
    row = {
        "id": 3, "site": "a", "as_of": "2020-10-31", "digest": "d1", "version": "v1", "snapshot": "land:3", "run": "r",
        "left_out": {"u1": "2020-05-01"}, "payload": {"site": "a", "as_of": "2020-10-31", "status": "failing"},
    }  # fmt: skip
    entry = documents.assessment_entry(row)
    assert entry["status"] == "failing"
    assert documents.assessment_row(entry) == {name: value for name, value in row.items() if name not in ("id", "run")}
    with pytest.raises(BadData, match="lacks 'snapshot'"):
        documents.assessment_row({name: value for name, value in entry.items() if name != "snapshot"})
    with pytest.raises(BadData, match="no object"):
        documents.assessment_row([])


def test_units_are_written_with_their_balance_and_the_days_on_which_they_left():
    units = (
        Unit(id="u1", geometry=box(0, 0, 1, 1), distance=300.04, ring=1),
        Unit(id="u2", geometry=box(2, 0, 3, 1), distance=900, ring=0),
    )
    controls = ControlSet(units=units, balance={"rmspe": 0.012}, candidates=99)
    document = json.loads(documents.json_member(documents.controls_json(controls, {"u1": "2021-01-01"})))
    assert (document["compared"], document["references"], document["hash"]) == (1, 1, controls.hash)
    assert document["controls"]["balance"] == {"rmspe": 0.012}
    assert document["left_out"] == {"u1": "2021-01-01"}
    assert ControlSet.from_json(document["controls"]).hash == controls.hash
    assert documents.controls_json(ControlSet(units=(), balance={}, candidates=0), {})["compared"] == 0


def test_an_alert_has_the_state_of_its_last_event_and_names_photos_by_their_hash():
    events = [
        {"number": 1, "kind": "opened", "state": "open", "note": None},
        {"number": 2, "kind": "answered", "state": "resolved", "note": "reseeded"},
    ]
    photos = [
        {"id": "ab" * 32, "alert": "a/failure", "number": 2, "taken": None, "latitude": 1.5, "longitude": 2.5},
        {"id": "cd" * 32, "alert": "b/failure", "number": 2, "taken": None, "latitude": None, "longitude": None},
    ]
    alerts = [
        {"id": "a/failure", "rule": "failure", "events": events}, {"id": "a/erosion", "rule": "erosion", "events": []},
    ]  # fmt: skip
    (alert,) = documents.alerts_json(alerts, photos)
    assert alert["state"] == "resolved"
    assert [event["photos"] for event in alert["events"]] == [
        [], [{"sha256": "ab" * 32, "taken": None, "latitude": 1.5, "longitude": 2.5}]
    ]  # fmt: skip


def test_text_that_utf_8_cannot_hold_is_escaped_and_other_text_is_not():
    assert documents.json_member({"泾\n": 1, "b": [2]}) == '{\n"泾\\n": 1,\n"b": [2]\n}\n'.encode()
    assert json.loads(documents.json_member({"a": "\ud800泾", "泾": 1})) == {"a": "\ud800泾", "泾": 1}
    assert documents.json_lines([{"a": 1}, {"b": 2}]) == b'[\n{"a": 1},\n{"b": 2}\n]\n'


def row(day, digest):
    return {
        "site": "a", "as_of": day, "digest": digest, "version": "v1", "snapshot": "land:3", "left_out": {},
        "payload": {"site": "a", "as_of": day, "status": "failing", "theta": 0.5, "p_failing": 1.0},
    }  # fmt: skip


def pack_of_two_nights():
    """Two assessments in two lines of a chain, with an answer in the second; rows and events as the ledger has them."""
    rows = [row("2020-10-01", "d1"), row("2020-10-11", "d2")]
    event = {
        "alert": "a/failure", "number": 2, "kind": "answered", "time": "2020-10-12T00:00:00.000+00:00", "link": "77aa",
        "day": "2020-10-12", "by": "link", "state": "resolved", "level": "red", "answer": "treated", "note": "reseeded",
    }  # fmt: skip
    payload = {name: event[name] for name in ("day", "by", "state", "level", "answer", "note")}
    answer = {"alert": "a/failure", "number": 2, "time": event["time"], "payload": payload}
    leaves = [leaf_of(record_of("assessment", one)) for one in rows]
    answers = [leaf_of(answer_record(answer, ["ab" * 32]))]
    other = leaf_of({"kind": "assessment", "site": "b"})
    first = next_line(None, "2020-10-01", [leaves[0], other], [])
    promise = {"number": 1, "from": "2019-03-01", "by": None, "why": None, "recorded": "2020-10-11", "plan_A": 0.3}
    promised = leaf_of(record_of("promise", {"site": "a", **promise}))
    second = next_line(first, "2020-10-11", [leaves[1], other], answers, [promised])
    of_second = [leaves[1], other, *answers, promised]
    proofs = [
        proof(first, [leaves[0], other], leaves[0]),
        *(proof(second, of_second, leaf) for leaf in (leaves[1], answers[0], promised)),
    ]
    photo = {"id": "ab" * 32, "alert": "a/failure", "number": 2, "taken": None, "latitude": None, "longitude": None}
    alerts = [{"id": "a/failure", "rule": "failure", "events": [event]}]
    members = (
        [documents.assessment_entry(one) for one in rows],
        documents.alerts_json(alerts, [photo]),
        {"properties": {"id": "a", "promises": [promise]}},
        documents.proofs_json(proofs[:2], {("a/failure", 2): proofs[2]}, [proofs[3]]),
    )
    return [first, second], [json.loads(json.dumps(member)) for member in members]


def test_records_read_from_a_pack_are_those_that_the_chain_covers():
    lines, members = pack_of_two_nights()
    records = list(documents.records_and_proofs(*members))
    assert [name for name, _, _ in records] == [
        "the assessment of 2020-10-01", "the assessment of 2020-10-11", "event 2 of alert a/failure", "promise 1"
    ]  # fmt: skip
    assert [check_proof(lines, record, found)["number"] for _, record, found in records] == [1, 2, 2, 2]
    assert "77aa" not in json.dumps(members)


@pytest.mark.parametrize("edited", [("status", "on_track"), ("left_out", {"u": "2020-01-01"}), ("snapshot", "land:2")])
def test_a_record_that_was_edited_in_the_pack_has_no_proof(edited):
    lines, members = pack_of_two_nights()
    members[0][1][edited[0]] = edited[1]
    _, record, found = list(documents.records_and_proofs(*members))[1]
    with pytest.raises(BadData, match="does not cover this record"):
        check_proof(lines, record, found)


def test_members_that_do_not_belong_together_are_refused():
    _, (assessments, alerts, site, proofs) = pack_of_two_nights()
    for wrong in (
        (assessments[:1], alerts, site, proofs), (assessments, [], site, proofs), (None, alerts, site, proofs),
        (assessments, alerts, site, {"assessments": []}), (assessments, [{"events": 3}], site, proofs),
        ([3], alerts, site, proofs), (assessments, 5, site, "x"), (assessments, alerts, {}, proofs),
        (assessments, alerts, site, {**proofs, "answers": proofs["answers"] * 2}),
        (assessments, alerts, site, {**proofs, "promises": []}),
    ):  # fmt: skip
        with pytest.raises(BadData):
            list(documents.records_and_proofs(*wrong))
