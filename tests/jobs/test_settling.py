"""The series of a site, settled from all its stored scenes."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry import Point, box

from jobs.records import JUDGED, TEXTS, chained, columns, series, texts
from jobs.settling import SERIES, known_series, rows, settled
from monitor.controls.units import REFERENCE, ControlSet, Unit
from monitor.cover.zonal_means import MEASURES
from monitor.cube.packed import LAYERS
from monitor.cube.store import Entry, Record
from monitor.imagery import bands
from monitor.ledger.ledger import Ledger
from monitor.publish.observations import OBSERVATION_COLUMNS, observation_lines
from monitor.sites.site import Plan, Site
from monitor.verdict.assess import assess
from monitor.verdict.assessment import AlertLevel, Status
from tests.landscape import lone_site, opened, put

SITE = Site(
    id="slope", name="", geometry=Point(107, 37).buffer(0.01), start=date(2020, 4, 1), intervention="planting",
    biome="loess", plan=Plan(A=0.20, k=0.45, L=1.0, too_early_years=2.0), hectares=50.0,
)  # fmt: skip
GRID = GeoBox((1, 1), Affine(10.0, 0, 400_000.0, 0, -10.0, 4_100_000.0), "EPSG:32648")
UNITS = tuple(Unit(id=f"u{k}", geometry=box(k, 0, k + 1, 1), distance=500.0, ring=1 + k % 2) for k in range(40))
CONTROLS = ControlSet(units=UNITS, balance={}, candidates=40)


def scenes(step, *, seed=4, orbits=("018", "061"), sensors=("sentinel-2a", "sentinel-2a"), uplift=0.0):
    """A slope seen from two orbits, mostly the first before the start and mostly the second after it.

    `step` is how much greener the site looks from the second than from the first; units have steps of that size too,
    of either sign.
    """
    rng = np.random.default_rng(seed)
    steps = np.concatenate([[step], step * rng.standard_normal(len(UNITS))])
    level = np.concatenate([[0.0], rng.normal(0, 0.08, len(UNITS))])
    made = []
    for day in range(0, 9 * 365, 4):
        time = datetime(2017, 1, 1, 3, tzinfo=UTC) + timedelta(days=day)
        second = rng.random() < (0.8 if time.date() >= SITE.start else 0.2)
        green = np.exp(-(((time.timetuple().tm_yday - 215) / 45) ** 2) / 2)
        ground = 0.1 + 0.2 * green * (1 + 0.1 * np.sin(time.year)) + level + rng.normal(0, 0.015, level.size)
        ground[0] += uplift * green * (time.date() >= SITE.start)
        if rng.random() > 0.5:
            continue
        cover = np.clip(ground + (second - 0.5) * steps, 0, 1)
        made.append(_entry(time, orbits[second], cover, sensor=sensors[second]))
    return made


def _entry(time, orbit, cover, *, sensor):
    measures = dict.fromkeys(("ndvi", "ndmi", "nbr", "cover"), round(float(cover[0]), 6))
    units = np.full((len(UNITS), len(MEASURES)), np.nan, np.float32)
    units[:, [MEASURES.index(name) for name in measures]] = cover[1:, None]
    record = Record(
        scene=f"s{time:%Y%m%d}", acquisition=f"{time:%Y%m%d}", time=time.isoformat(), sensor=sensor,
        baseline="", source="s", scale=1e-4, offset=0.0, quality="scl", orbit=orbit, granules={}, bandpass=False,
        accepted=True, reason="", clear_fraction=1.0, n_pixels=1, measures=measures, digest=f"{time:%Y%m%d}".zfill(16),
    )  # fmt: skip
    return Entry(record=record, pixels=np.ones((len(LAYERS), 1, 1), np.uint16), units=units)


def laid_out(path, controls=CONTROLS):
    """A landscape of the site."""
    return lone_site(path, site=SITE.id, grid=GRID, units=[u.id for u in controls.units], controls=controls.to_json())


def from_scratch(path, entries):
    store = laid_out(path)
    for first in range(0, len(entries), 100):
        put(store, entries[first : first + 100])
    return rows(store, CONTROLS, SITE)


def verdict(told):
    return assess(series(columns(told, JUDGED)), SITE, as_of=date(2025, 11, 1))


def test_a_step_between_the_orbits_of_a_slope_does_not_change_the_verdict(tmp_path, monkeypatch):
    plain = verdict(from_scratch(tmp_path / "plain", scenes(0.0)))
    stepped = scenes(0.10)
    found = verdict(from_scratch(tmp_path / "stepped", stepped))
    assert (found.status, found.alert) == (plain.status, plain.alert) == (Status.FAILING, AlertLevel.RED)
    assert found.theta == pytest.approx(plain.theta, abs=0.08)
    monkeypatch.setattr("jobs.settling.orbit_steps", lambda _times, _orbits, difference, _units: 0 * difference)
    wrong = verdict(from_scratch(tmp_path / "wrong", stepped))
    assert wrong.theta > plain.theta + 0.3
    assert wrong.status is not Status.FAILING


def test_the_site_is_kept_as_measured_and_only_its_control_is_brought_to_its_orbit(tmp_path):
    entries = scenes(0.10)
    told = from_scratch(tmp_path / "a", entries)
    assert [row["cover"] for row in told] == [entry.record.measures["cover"] for entry in entries]
    unknown = from_scratch(tmp_path / "b", scenes(0.10, orbits=("", "")))
    for column in ("control_cover", "control_cover_2", "control_nbr"):
        moved = np.array([row[column] for row in told]) - np.array([row[column] for row in unknown])
        second = np.array([row["orbit"] == "061" for row in told])
        assert moved[second].mean() - moved[~second].mean() == pytest.approx(0.10, abs=0.03), column


def test_scenes_in_any_order_of_arrival_settle_to_the_same(tmp_path):
    entries = scenes(0.08)
    shuffled = [entries[k] for k in np.random.default_rng(1).permutation(len(entries))]
    assert from_scratch(tmp_path / "a", entries) == from_scratch(tmp_path / "b", shuffled)


def test_a_new_scene_leaves_what_earlier_scenes_are_taken_for_until_its_year_is_over(tmp_path):
    entries = scenes(0.08)
    before = from_scratch(tmp_path / "a", entries[:-1])
    assert from_scratch(tmp_path / "b", entries)[:-1] == before


def test_an_orbit_and_a_path_of_the_same_number_are_seen_from_two_sides(tmp_path):
    apart = from_scratch(tmp_path / "a", scenes(0.10))
    alike = from_scratch(tmp_path / "b", scenes(0.10, orbits=("018", "018"), sensors=("sentinel-2a", "landsat-8")))
    assert [row["control_cover"] for row in alike] == [row["control_cover"] for row in apart]


def test_a_scene_that_shows_too_few_units_is_set_aside_with_its_reason(tmp_path):
    entries = scenes(0.0)
    hidden = entries[200]
    hidden.units[5:] = np.nan
    told = from_scratch(tmp_path / "a", entries)
    assert (told[200]["accepted"], told[200]["reason"]) == (False, "CONTROL_HIDDEN")
    assert told[200]["control_cover"] is None
    assert sum(row["accepted"] for row in told) == len(entries) - 1


def test_a_unit_that_changed_for_itself_teaches_nothing_about_orbits_either(tmp_path, monkeypatch):
    entries, taught = scenes(0.0), []
    for entry in entries:
        if entry.record.time >= "2021-01-01":
            entry.units[3] += 0.4

    def learnt(times, _orbits, difference, units):
        taught.append((times, units))
        return 0 * difference

    monkeypatch.setattr("jobs.settling.orbit_steps", learnt)
    from_scratch(tmp_path / "a", entries)
    times, units = taught[0]
    later = times >= np.datetime64("2022-01-01")
    assert np.isnan(units[later, 3]).all()
    assert np.isfinite(units[~later, 3]).any()
    assert np.isfinite(units[later, 4]).any()


STANDING = tuple(
    Unit(id=f"r{k}", geometry=box(k, 2, k + 1, 3), distance=500.0, ring=REFERENCE if k < 12 else 1 + k % 2)
    for k in range(40)
)


def varied(seed):
    """Scenes of every kind: two orbits, clouds, hidden units, a unit that burns, offsets told wrongly, two makers."""
    rng = np.random.default_rng(seed)
    made = []
    for entry in scenes(0.10, seed=seed):
        record, units = entry.record, entry.units
        if record.time >= "2021-07-01":
            units[15] -= 0.3
        units[rng.random(len(UNITS)) < 0.1] = np.nan
        units[5:] = np.nan if rng.random() < 0.04 else units[5:]
        off, away = (0.1 if rng.random() < 0.06 else 0.0), 0.1 * (rng.random() < 0.5)
        told = {
            f"{ground}{band}": round(level + off + rng.normal(0, 0.006), 6)
            for band, level in zip(bands.OBSERVED, (0.05, 0.08, 0.12, 0.25, 0.3, 0.2), strict=False)
            for ground in ("", "control_")
        }
        baseline = rng.choice(["05.09", "05.10"]).item()
        record = replace(
            record, measures={**record.measures, **told}, granules={"48SUG": baseline}, offset=-away, baseline=baseline
        )
        if rng.random() < 0.1:
            record = replace(record, accepted=False, reason="CLOUD", measures={})
        made.append(replace(entry, record=record))
    return made


MARKS: dict[Path, str] = {}
"""What the ledger says is kept, by store."""


def night(path, controls, entries, *, replaced=(), left_out=None):
    """What settles after a night that stored scenes, and what all scenes settle to."""
    store = opened(path)
    put(store, [*entries, *replaced])
    added = [(one.record, one.units) for one in (*entries, *replaced)]
    told = settled(store, controls, SITE, left_out=left_out, mark=MARKS.get(path), added=added)
    MARKS[path] = told.kept
    return told, rows(opened(path), controls, SITE, left_out=left_out)


@pytest.mark.parametrize(("seed", "units"), [(1, UNITS), (2, STANDING)], ids=["two rings", "and reference units"])
def test_the_newest_scene_of_a_year_is_settled_by_itself_as_with_all_scenes_together(tmp_path, seed, units):
    controls, entries, rng = ControlSet(units=units, balance={}, candidates=40), varied(seed), np.random.default_rng(9)
    path = tmp_path / "ground"
    laid_out(path, controls)
    late = [entries.pop(k) for k in (297, 200, 120)]  # the last to come is of the same year
    told, whole = night(path, controls, entries[:190])
    assert told.series is None
    assert told.rows == whole
    place, quick, nights, years = 190, 0, 0, set()
    while place < len(entries):
        new = entries[place : place + int(rng.integers(1, 6))]
        place, nights = place + len(new), nights + 1
        told, whole = night(path, controls, new)
        if told.series is None:
            assert told.rows == whole
            years.add(new[-1].record.time[:4])
            continue
        quick += 1
        assert told.rows == [row for row in whole if row["acquisition"] in {one.record.acquisition for one in new}]
        assert same(told.series, series_of(whole))
        if place > 300 and late:
            told, whole = night(path, controls, [late.pop()])
            assert (told.series, told.rows) == (None, whole), "it may be compared otherwise from its year on"
    assert quick > 0.85 * nights
    assert len(years) >= 4, "the first scene of a year is settled with all"
    assert {row["reason"] for row in whole} == {"", "CLOUD", "RADIOMETRY", "CONTROL_HIDDEN"}
    assert len({row["control_cover_2"] for row in whole}) > 100

    for again, time in ((entries[300], entries[300].record.time), (entries[-1], "2025-12-31T03:00:00+00:00")):
        newer = replace(again.record, granules={"48SUG": "05.11"}, baseline="05.11", digest="a".zfill(16), time=time)
        told, whole = night(path, controls, [], replaced=[replace(again, record=newer)])
        assert (told.series, told.rows) == (None, whole)


def test_scenes_before_the_start_of_a_site_on_control_ground_stay_as_they_were_to_the_last_digit(tmp_path):
    """Though orbits are learnt from all years that are over."""
    path = tmp_path / "ground"
    whole = from_scratch(path, varied(1))
    left = {f"u{k}": date(2022, 7, 1) for k in range(15)}
    found = rows(opened(path), CONTROLS, SITE, left_out=left)
    changed = [one["time"][:10] for one, other in zip(found, whole, strict=True) if one != other]
    assert min(changed) >= "2022-07-01"
    assert len(changed) == sum(row["accepted"] and row["time"] >= "2022-07-01" for row in whole)


def test_a_new_scene_on_either_side_of_such_a_start_is_settled_as_with_all_scenes_together(tmp_path):
    entries, path = varied(1), tmp_path / "ground"
    laid_out(path)
    places = [k for k, one in enumerate(entries) if "2021-06-01" < one.record.time < "2021-10-01"]
    left = {f"u{k}": date(2021, 7, 15) for k in range(28)}
    night(path, CONTROLS, entries[: places[0]], left_out=left)
    quick, reasons = 0, set()
    for k in places:
        told, whole = night(path, CONTROLS, entries[k : k + 1], left_out=left)
        quick += told.series is not None
        assert told.rows[-1] == whole[-1]
        reasons.add(whole[-1]["reason"])
    assert quick >= len(places) - 2
    assert "CONTROL_FEW" not in reasons
    left |= {f"u{k}": date(2021, 9, 1) for k in range(28, 32)}
    told, whole = night(path, CONTROLS, entries[places[-1] + 1 : places[-1] + 2], left_out=left)
    assert (told.series, told.rows) == (None, whole), "other units are left out than before"
    late = {row["reason"] for row in whole if row["time"] >= "2021-09-01"}
    assert {"CONTROL_FEW"} <= late <= {"CLOUD", "RADIOMETRY", "CONTROL_FEW"}


def test_a_scene_that_shows_an_earlier_one_to_be_scaled_wrongly_has_all_settled(tmp_path):
    entries, path, changed = varied(7)[:30], tmp_path / "ground", 0
    bright = {
        name: value + 0.1 if name.removeprefix("control_") in bands.OBSERVED else value
        for name, value in entries[2].record.measures.items()
    }
    entries[2] = replace(entries[2], record=replace(entries[2].record, measures=bright))
    laid_out(path)
    _, before = night(path, CONTROLS, entries[:4])
    assert before[2]["accepted"]
    for entry in entries[4:]:
        told, whole = night(path, CONTROLS, [entry])
        if told.series is None:
            assert told.rows == whole
            changed += whole[: len(before)] != before
        else:
            assert same(told.series, series_of(whole))
            assert whole[: len(before)] == before
        before = whole
    assert changed >= 1
    assert before[2]["reason"] == "RADIOMETRY"


def series_of(told):
    """Columns and lines of rows."""
    plain = {name: [row[name] for row in told] for name in OBSERVATION_COLUMNS[2:]}
    lines = observation_lines(plain | {"date": [row["time"][:10] for row in told]})
    known = columns(told, SERIES)
    return {**known, "chain": chained(known), "line": texts(lines)}


def same(one, other):
    """Whether columns are the same, what is missing included."""
    return one.keys() == other.keys() and all(
        np.array_equal(values, other[name], equal_nan=values.dtype.kind == "f") and values.dtype == other[name].dtype
        for name, values in one.items()
    )


def test_a_series_is_read_from_beside_the_store_only_while_the_ledger_has_just_that(tmp_path):
    entries, path, beside = varied(5)[:60], tmp_path / "ground", tmp_path / "derived" / "ground.settled"
    laid_out(path)
    ledger, read = Ledger(f"sqlite:///{tmp_path}/ledger.db"), []

    def read_again():
        with ledger.transaction() as t:
            told, wanted = known_series(t, beside.with_suffix(""), "g"), series_of(t.observations("g"))
        read.append(same(told, wanted))
        return told

    def take_over(told):
        with ledger.transaction() as t:
            t.take_over("g", "slope", "s", told.rows, new=told.series is not None, kept=told.kept)

    for first in (0, 50, 51, 52):
        told, _ = night(path, CONTROLS, entries[first : 50 if first == 0 else first + 1])
        take_over(told)
        assert read_again()["time"][-1].decode() == told.rows[-1]["time"]
    assert told.series is not None
    told, _ = night(path, CONTROLS, entries[53:54])  # that the ledger did not take over
    assert len(read_again()["time"]) == 53
    take_over(told)
    mine = beside.read_bytes()
    with ledger.transaction() as t:
        t._connection.exec_driver_sql("update observations set cover = 0.5")
    assert read_again()["cover"].max() != 0.5
    assert read == [True] * 5 + [False], "it was read from beside the store"
    for harm in (mine[:-1], b"", None):
        beside.unlink() if harm is None else beside.write_bytes(harm)
        assert (read_again()["cover"] == 0.5).all()
    with ledger.transaction() as t:
        t.take_over("g", "slope", "s", [{**told.rows[0], "acquisition": "lost"}])
        mark = t.kept_of("g")
    beside.write_bytes(mine)
    assert b"lost" in read_again()["acquisition"]
    store, more = opened(path), entries[54]
    put(store, [more])
    take_over(settled(store, CONTROLS, SITE, mark=mark, added=[(more.record, more.units)]))
    assert b"lost" in read_again()["acquisition"], "the ledger has more than the store"
    ledger.close()


def test_what_a_night_could_not_keep_is_not_gone_on_without(tmp_path, monkeypatch):
    entries, path = varied(3)[:60], tmp_path / "ground"
    laid_out(path)
    night(path, CONTROLS, entries[:50])
    again = entries[49]  # stored anew under its name, as is one of which a granule could not be read
    record = replace(again.record, accepted=False, reason="CLOUD", measures={}, digest="a".zfill(16))
    with monkeypatch.context() as full:
        full.setattr("jobs.derived.keep", lambda *_: (_ for _ in ()).throw(OSError("no room")))
        told, whole = night(path, CONTROLS, [], replaced=[replace(again, record=record)])
        assert (told.kept, told.rows) == ("", whole)
    told, whole = night(path, CONTROLS, entries[50:51])
    assert (told.series, told.rows) == (None, whole)
    told, whole = night(path, CONTROLS, entries[51:52])
    assert same(told.series, series_of(whole))


@pytest.mark.parametrize("harm", ["gone", "torn", "of another night", "of other code", "out of step"])
def test_without_what_was_kept_all_scenes_are_settled(tmp_path, harm, monkeypatch):
    entries, path = varied(3)[:160], tmp_path / "ground"
    kept = tmp_path / "derived" / "ground.settled"
    laid_out(path)
    night(path, CONTROLS, entries[:120])
    assert night(path, CONTROLS, entries[120:121])[0].series is not None
    before = kept.read_bytes()
    night(path, CONTROLS, entries[121:122])
    if harm == "gone":
        kept.unlink()
    elif harm == "torn":
        kept.write_bytes(kept.read_bytes()[:-1] + bytes([kept.read_bytes()[-1] ^ 1]))
    elif harm == "of another night":
        kept.write_bytes(before)
    elif harm == "of other code":
        monkeypatch.setattr("jobs.settling._code", lambda: "other")
    else:
        store = opened(path)
        put(store, entries[122:123])  # a night that the ledger did not take over
        told = settled(store, CONTROLS, SITE, added=[(entries[122].record, entries[122].units)])
        assert (told.series, told.rows) == (None, rows(opened(path), CONTROLS, SITE))
        return
    told, whole = night(path, CONTROLS, entries[122:123])
    assert (told.series, told.rows) == (None, whole)
    told, whole = night(path, CONTROLS, entries[123:124])
    assert same(told.series, series_of(whole))


@pytest.mark.parametrize("name", [*SERIES])
def test_the_chain_tells_what_is_judged_of_each_observation_and_of_all_before_it(name):
    rng = np.random.default_rng(3)
    told = {one: rng.random(6) for one in SERIES if one not in TEXTS}
    told |= {one: texts(f"{one} {k}" for k in range(6)) for one in SERIES if one in TEXTS}
    told["accepted"] = np.array([True, False] * 3)
    changed = {one: values.copy() for one, values in told.items()}
    changed[name][2] = b"other" if name in TEXTS else not changed[name][2] if name == "accepted" else np.nan
    assert (chained(told) == chained(changed)).tolist() == [True, True, False, False, False, False]

    head, rest = ({one: values[part] for one, values in told.items()} for part in (slice(4), slice(4, None)))
    assert chained(told).tobytes() == chained(head).tobytes() + chained(rest, chained(head)[-1:].tobytes()).tobytes()
