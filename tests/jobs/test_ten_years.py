"""Ten simulated years of nights: what the installation stores is bounded, nights do not get slower, nothing is lost."""

import json
from datetime import date, timedelta
from statistics import median

import pytest

from jobs.night import pipeline
from jobs.proof.chain import problems, proven_assessments
from jobs.proof.evidence import pack_inputs, write_evidence
from jobs.register.registry import add_sites
from jobs.runtime.installation import open_ledger
from monitor.evidence.chain import check_chain, check_proof
from tests.builders import write_features
from tests.jobs.decade import (
    ADD,
    EDIT,
    FIRST_NIGHT,
    PLACES,
    REPLANT,
    RETIRE,
    STORED_SNAPSHOTS,
    Decade,
    registry,
)
from tests.jobs.reproduction import verified_and_recomputed

YEARS = 10
STEP = timedelta(days=7)
NIGHTS = [FIRST_NIGHT + k * STEP for k in range(int(YEARS * 365.25 / STEP.days))]
MISSED = [day for day in NIGHTS if date(2032, 8, 1) <= day < date(2032, 10, 10)]  # nights that never ran
STAGES = ("judge_landscape", "append_line", "publish", "expire_snapshots")
KILLED = dict(zip(NIGHTS[len(NIGHTS) // 9 :: len(NIGHTS) // 5], STAGES, strict=False))
"""Nights that were killed, and by the call of which function of the pipeline."""
CURRENT = ("edited", "fails", "grows", "late")
LAST = NIGHTS[-1]


class Killed(BaseException):
    """An error that no part of a night catches."""


def run_killed(decade, day, name):
    def die(*_, **__):
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, name, die)
        with pytest.raises(Killed):
            decade.run(day)


@pytest.fixture(scope="module")
def decade(tmp_path_factory):
    """An installation after ten years, the CPU time of each night, and its sizes after each year."""
    with pytest.MonkeyPatch.context() as patch:
        decade = Decade(tmp_path_factory.mktemp("decade"), patch)
        decade.seconds, decade.years, decade.answers = {}, {}, 0
        for day in NIGHTS:
            if day in MISSED:
                continue
            before = day - STEP
            if before < REPLANT <= day:
                assert decade.replant(day)["new"]
            if before < RETIRE <= day:
                assert decade.retire(day)["retired"] == ["retired"]
            if before.month in (2, 9) and day.month in (3, 10):
                decade.answers += decade.answer(day)
            if day in KILLED:
                run_killed(decade, day, KILLED[day])
            decade.seconds[day] = decade.run(day)
            assert {site.state for site in decade.manifest.sites} == {"done"}
            if before.year < day.year:
                decade.years[day.year] = decade.sizes()
                print(day, round(median(list(decade.seconds.values())[-40:]), 2), decade.years[day.year], flush=True)
        decade.years[9999] = decade.sizes()
        yield decade


@pytest.fixture(scope="module")
def from_scratch(decade, tmp_path_factory):
    """An installation with the registry of the last day, whose only night is the last one.

    What was fixed for good long ago is taken over: the constants of each season, from all control ground of that time.
    """
    with open_ledger(decade.settings) as ledger, ledger.reading() as t:
        constants = t.calibrations()
    with pytest.MonkeyPatch.context() as patch:
        fresh = Decade(tmp_path_factory.mktemp("scratch"), patch)
        fresh.day = LAST
        write_features(fresh.settings.registry.path, registry(LAST))
        with open_ledger(fresh.settings) as ledger:
            add_sites(ledger, fresh.settings.registry.path)
            with ledger.transaction() as t:
                for row in constants:
                    rest = {name: row[name] for name in row if name not in ("id", "payload")}
                    t.add_calibration(row["payload"], **rest)
        fresh.replant(LAST)
        fresh.run(LAST)
        yield fresh


@pytest.mark.slow
def test_nights_of_the_tenth_year_take_no_longer_than_those_of_the_fifth(decade):
    seconds = [decade.seconds[day] for day in NIGHTS if day in decade.seconds]
    a_year = int(365 / STEP.days)
    first, last = median(seconds[2 : a_year + 2]), median(seconds[-a_year:])
    fifth = median(seconds[4 * a_year : 5 * a_year])
    print(f"\nCPU time of a night: year 1 {first:.2f} s, year {YEARS} {last:.2f} s, ratio {last / first:.2f}")
    print(f"with the landscapes of the end, year 5 {fifth:.2f} s, ratio {last / fifth:.2f}")
    assert last < 1.5 * fifth  # the edited and the added site have landscapes of their own since: three for one


@pytest.mark.slow
def test_stored_files_and_rows_grow_only_as_their_policy_allows(decade):
    years = [year for year in sorted(decade.years) if year != 9999]
    third, last = decade.years[years[2]], decade.years[9999]
    for name, rows in last["rows"].items():
        print(f"{name}: {third['rows'][name]} rows after three years, {rows} at the end")
    for kind, (number, size) in last["files"].items():
        then = third["files"].get(kind, (0, 0))
        print(f"{kind}: {then[0]} files of {then[1] / 1e3:.0f} kB, {number} of {size / 1e3:.0f} kB at the end")
    print(f"resident: {third['resident'] / 1e6:.0f} MB, {last['resident'] / 1e6:.0f} MB at the end")
    assert last["files"]["landscape/snapshots"][0] <= 3 * 35 + 3 * (STORED_SNAPSHOTS.days // STEP.days + 8)
    assert last["rows"]["assessments"] <= len(PLACES) * len(decade.seconds)
    assert last["rows"]["states"] < 0.2 * last["rows"]["assessments"]
    assert last["resident"] < 1.3 * third["resident"]


@pytest.mark.slow
def test_series_status_and_assessments_are_those_of_a_run_from_scratch(decade, from_scratch):
    found = [_published(one) for one in (decade, from_scratch)]
    assert set(found[0]) == set(CURRENT)
    different = {
        (site, name): (found[0][site].get(name), found[1][site].get(name))
        for site in CURRENT
        for name in found[0][site].keys() | found[1][site].keys()
        if found[0][site].get(name) != found[1][site].get(name)
    }
    assert different == {}


def _published(installation):
    """Entry of status.json, and the published series, of each site."""
    root = installation.settings.outputs.root
    entries = {one["site"]: one for one in json.loads((root / "status.json").read_bytes())}
    return {
        site: {**entry, "observations": (root / "sites" / site / "observations.csv").read_bytes()}
        for site, entry in entries.items()
    }


@pytest.mark.slow
def test_the_chain_covers_every_assessment_of_ten_years(decade):
    with open_ledger(decade.settings) as ledger, ledger.reading() as t:
        assert list(problems(t)) == []
        inputs = pack_inputs(t, "fails", until=REPLANT, signed_by="nobody")
        lines = inputs.chain
        check_chain(lines)
        assert [line["night"] for line in lines] == [day.isoformat() for day in decade.seconds]
        proven = proven_assessments(t, "fails")
        for one in proven:
            check_proof(lines, one.record, one.proof)
        assessed = len(t.chained_assessments(0))
        opened = [event for event in t.all_events() if event["kind"] == "opened"]
    assert assessed == sum(line["assessments"] for line in lines)
    assert inputs.assessment.as_of <= REPLANT
    assert {event["alert"] for event in opened} >= {"fails/failure"}
    assert decade.answers > 0
    stored = {one.record["as_of"] for one in proven}
    assert {event["day"] for event in opened if event["alert"].startswith("fails/")} <= stored


@pytest.mark.slow
def test_the_pack_of_a_day_long_past_is_verified_and_recomputed(decade, signing_key, tmp_path):
    with open_ledger(decade.settings) as ledger:
        *_, day = (night for night in decade.seconds if night < REPLANT)
        written = write_evidence(decade.settings, ledger, "fails", tmp_path / "pack.zip", key=signing_key, until=day)
    assert written.as_of == day
    verified = verified_and_recomputed(tmp_path / "pack.zip", signing_key.public_key(), tmp_path / "recomputed")
    assert (verified.status, verified.uncovered) == ("failing", ())


@pytest.mark.slow
def test_people_changed_the_programme_on_the_way(decade):
    with open_ledger(decade.settings) as ledger, ledger.reading() as t:
        versions = {site: len({row.version for row in t.assessments_of(site)}) for site in ("edited", "grows")}
        episodes = {site: len(t.episodes(site)) for site in ("fails", "grows")}
        assert t.site("retired") is None
        first = t.first_assessed()
    assert versions == {"edited": 2, "grows": 1}
    assert episodes == {"fails": 2, "grows": 1}
    assert date.fromisoformat(first["late"]) - ADD < STEP
    assert EDIT < ADD
