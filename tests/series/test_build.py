"""The series of a site, built from all its stored scenes."""

import errno
import hashlib
import math
import pickle
import shutil
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from statistics import fmean, median

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry import Point, box

from monitor.controls.orbit_bias import orbit_steps
from monitor.controls.selection import NOT_CHOSEN, REFERENCE_RING, ControlSet, Unit
from monitor.cube.offset_check import check_offsets
from monitor.cube.packed import PACKED_LAYERS
from monitor.cube.records import MEANS, MEASURES
from monitor.cube.scenes import of_one_site, stored_scenes
from monitor.cube.store import LandscapeStore
from monitor.errors import StoreBroken
from monitor.imagery import bands
from monitor.imagery.source import Scene
from monitor.series import build
from monitor.series.build import Compared, landscape_series
from monitor.series.columns import CONTROL_COLUMNS, SERIES_MEASURES, decode_texts, no_observations, observed_until
from monitor.verdict.assess import assess
from monitor.verdict.assessment import AlertLevel, Series, Status
from tests import builders
from tests.landscape import lone_site, opened, put, records, site_scene

SITE = builders.site("slope", geometry=Point(107, 37).buffer(0.01), start=date(2020, 4, 1), hectares=50.0)
GRID = GeoBox((1, 1), Affine(10.0, 0, 400_000.0, 0, -10.0, 4_100_000.0), "EPSG:32648")
UNKNOWN = np.full(len(MEANS), np.nan)
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
    scene = Scene(
        id=f"s{time:%Y%m%d}", acquisition=f"{time:%Y%m%d}", time=time, sensor=sensor, baseline="", source="s",
        scale=1e-4, offset=0.0, quality="scl", orbit=orbit,
    )  # fmt: skip
    pixels = np.ones((len(PACKED_LAYERS), 1, 1), np.uint16)
    return site_scene([scene], pixels, units, n_pixels=1, means=measures, digest=f"{time:%Y%m%d}".zfill(16))


def of_granule(entry, **changes):
    """The scene of a site with another granule."""
    scene = replace(entry.scene, **changes)
    return replace(entry, scene=scene, granules=(scene,), used={scene.tile: scene.baseline})


STANDING = tuple(
    Unit(id=f"r{k}", geometry=box(k, 2, k + 1, 3), distance=500.0, ring=REFERENCE_RING if k < 12 else 1 + k % 2)
    for k in range(40)
)


def varied(seed):
    """Scenes of every kind: two orbits, clouds, hidden units, a unit that burns, wrong offsets, two baselines."""
    rng = np.random.default_rng(seed)
    made = []
    for entry in scenes(0.10, seed=seed):
        units = entry.units
        if entry.scene.time >= datetime(2021, 7, 1, tzinfo=UTC):
            units[15] -= 0.3
        units[rng.random(len(UNITS)) < 0.1] = np.nan
        units[5:] = np.nan if rng.random() < 0.04 else units[5:]
        off, away = (0.1 if rng.random() < 0.06 else 0.0), 0.1 * (rng.random() < 0.5)
        for band, level in zip(bands.OBSERVED, (0.05, 0.08, 0.12, 0.25, 0.3, 0.2), strict=True):
            for means in (entry.site_means, entry.control_means):
                means[MEANS.index(band)] = round(level + off + rng.normal(0, 0.006), 6)
        baseline = rng.choice(["05.09", "05.10"]).item()
        made.append(of_granule(entry, tile="48SUG", offset=-away, baseline=baseline))
        if rng.random() < 0.1:
            made[-1] = replace(made[-1], reason="CLOUD", **dict.fromkeys(("site_means", "control_means"), UNKNOWN))
    return made


def laid_out(path, controls=CONTROLS):
    """A landscape of the site."""
    return lone_site(path, site=SITE.id, grid=GRID, units=[u.id for u in controls.units], controls=controls.to_json())


def filled(path, entries, controls=CONTROLS):
    """The same with scenes; each content is written once, and copied to where it is needed."""

    def fill(folder):
        store = laid_out(folder, controls)
        for first in range(0, len(entries), 100):
            put(store, entries[first : first + 100])

    content = hashlib.sha256(pickle.dumps((entries, controls))).hexdigest()
    shutil.copytree(MADE_ONCE[0](f"filled-{content}", fill), path)
    return opened(path)


MADE_ONCE = []


@pytest.fixture(autouse=True, scope="module")
def _made_once(made_once):
    MADE_ONCE[:] = [made_once]


def from_scratch(path, entries):
    filled(path, entries)
    return remade(path)


def site_series(stored, controls, site, *, left_out=None, snapshot=None):
    """The series of one site, with a file for the years that are over."""
    one = Compared(ground=stored.ground, start=site.start, controls=controls, left_out=left_out or {})
    series = landscape_series(stored.landscape, [one], rows=stored.row_limit(snapshot), stored=cache(stored))
    return of_one_site(series)


def remade(path, controls=CONTROLS, **more):
    """The series as it is built without any stored part of it."""
    stored = opened(path)
    cache(stored).unlink(missing_ok=True)
    return site_series(stored, controls, SITE, **more)


def cache(stored):
    return stored.derived.with_name(f"{stored.derived.name}.series")


def same(one, other, part=slice(None)):
    """Whether columns are the same, what is missing included."""
    return one.keys() == other.keys() and all(
        np.array_equal(values[part], other[name][part], equal_nan=values.dtype.kind == "f")
        for name, values in one.items()
    )


def verdict(series):
    return assess(Series.of(series), SITE, as_of=date(2025, 11, 1))


@pytest.mark.slow
def test_a_step_between_the_orbits_of_a_slope_does_not_change_the_verdict(tmp_path, monkeypatch):
    plain = verdict(from_scratch(tmp_path / "plain", scenes(0.0)))
    stepped = scenes(0.10)
    found = verdict(from_scratch(tmp_path / "stepped", stepped))
    assert (found.status, found.alert) == (plain.status, plain.alert) == (Status.FAILING, AlertLevel.RED)
    assert found.theta == pytest.approx(plain.theta, abs=0.08)
    monkeypatch.setattr(build, "orbit_steps", lambda *_: {})
    wrong = verdict(from_scratch(tmp_path / "wrong", stepped))
    assert wrong.theta > plain.theta + 0.3
    assert wrong.status is not Status.FAILING


@pytest.mark.slow
def test_the_site_stays_as_measured_and_only_its_control_is_brought_to_its_orbit(tmp_path, monkeypatch):
    entries = scenes(0.10)
    found = from_scratch(tmp_path / "a", entries)
    assert found["cover"].tolist() == [entry.site_means[MEANS.index("cover")] for entry in entries]
    monkeypatch.setattr(build, "orbit_steps", lambda *_: {})
    unknown = from_scratch(tmp_path / "b", entries)
    second = np.array([entry.scene.orbit == "061" for entry in entries])
    for column in ("control_cover", "control_cover_2", "control_nbr"):
        moved = found[column] - unknown[column]
        assert moved[second].mean() - moved[~second].mean() == pytest.approx(0.10, abs=0.03), column


def test_scenes_in_any_order_of_arrival_make_the_same_series(tmp_path):
    entries = varied(2)
    shuffled = [entries[k] for k in np.random.default_rng(1).permutation(len(entries))]
    assert same(from_scratch(tmp_path / "a", entries), from_scratch(tmp_path / "b", shuffled))


def test_a_new_scene_leaves_what_earlier_scenes_are_taken_for_until_its_year_is_over(tmp_path):
    entries = scenes(0.08)
    before = from_scratch(tmp_path / "a", entries[:-1])
    assert same(from_scratch(tmp_path / "b", entries), before, slice(len(entries) - 1))


def test_an_orbit_and_a_path_of_the_same_number_are_seen_from_two_sides(tmp_path):
    apart = from_scratch(tmp_path / "a", scenes(0.10))
    alike = from_scratch(tmp_path / "b", scenes(0.10, orbits=("018", "018"), sensors=("sentinel-2a", "landsat-8")))
    assert alike["control_cover"].tolist() == apart["control_cover"].tolist()


def test_a_scene_that_shows_too_few_units_is_set_aside_with_its_reason(tmp_path):
    entries = scenes(0.0)
    entries[200].units[5:] = np.nan
    found = from_scratch(tmp_path / "a", entries)
    assert (found["accepted"][200], found["reason"][200]) == (False, b"CONTROL_HIDDEN")
    assert np.isnan(found["control_cover"][200])
    assert np.isnan(found["cover"][200])
    assert found["accepted"].sum() == len(entries) - 1


def test_a_unit_that_changed_for_itself_teaches_nothing_about_orbits_either(tmp_path, monkeypatch):
    entries, taught = scenes(0.0), []
    for entry in entries:
        if entry.scene.time >= datetime(2021, 1, 1, tzinfo=UTC):
            entry.units[3] += 0.4

    def learnt(times, _orbits, _difference, units):
        taught.append((times, units))
        return {}

    monkeypatch.setattr(build, "orbit_steps", learnt)
    from_scratch(tmp_path / "a", entries)
    times, units = taught[0]
    later = times >= np.datetime64("2022-01-01")
    assert np.isnan(units[later, 3]).all()
    assert np.isfinite(units[~later, 3]).any()
    assert np.isfinite(units[later, 4]).any()


def plainly(stored, controls, *, left_out=None):
    """The series by loops over records, the sums of :mod:`math` and medians of :mod:`statistics`, scene by scene."""
    left_out = left_out or {}
    means = stored.unit_means().sel(measure=list(SERIES_MEASURES)).values.astype(float)
    ordered = sorted(records(stored), key=lambda one: (one.time, one.acquisition))
    checked = of_one_site(check_offsets(stored_scenes(stored.landscape)))
    verdicts = zip(checked["accepted"].tolist(), decode_texts(checked["reason"]), strict=True)
    for one, (ok, why) in zip(ordered, verdicts, strict=True):
        one.accepted, one.reason = ok, why
    year = [int(one.time[:4]) for one in ordered]
    over = [place for place in range(len(ordered)) if year[place] < year[-1]]
    cover = SERIES_MEASURES.index("cover")

    orbits = [f"{r.sensor.split('-')[0]} {r.orbit}" if r.accepted and r.orbit else "" for r in ordered]
    years = sorted(set(year))
    early = [y for y in years if y < SITE.start.year] or years[:1]

    def changes(gone, group):
        """By year since the start, the change of each unit that is known."""
        place = {unit.id: k for k, unit in enumerate(controls.units)}
        difference = {}
        for at, one in enumerate(ordered):
            here = [u.id for u in group if one.time[:10] < gone.get(u.id, date.max).isoformat()]
            seen = {u: means[at, place[u], cover] for u in here if not math.isnan(means[at, place[u], cover])}
            if seen and len(seen) >= max(len(here) / 2, 1):
                middle = median(seen.values())
                difference |= {(at, u): value - middle for u, value in seen.items()}
        found = {}
        for unit in (u.id for u in group):
            mine = [(at, value) for (at, u), value in difference.items() if u == unit]
            usual = [value for at, value in mine if year[at] in early]

            def of_orbit(orbit, mine=mine, usual=usual):
                same = [value for at, value in mine if year[at] in early and orbits[at] == orbit]
                return fmean(same if len(same) >= 3 else usual)

            for one in [y for y in years if y > early[-1]]:
                now = [(at, value) for at, value in mine if year[at] == one]
                if len(now) >= 3 and len(usual) >= 3:
                    found.setdefault(one, {})[unit] = fmean(value - of_orbit(orbits[at]) for at, value in now)
        return found

    def last_fit(gone):
        """The last year in which each unit is fit."""
        last = {}
        for group in (
            [u for u in controls.units if u.ring == REFERENCE_RING],
            [u for u in controls.units if u.ring in (1, 2)],
        ):
            for one, known in changes(gone, group).items():
                if len(known) < 10:
                    continue
                middle = median(known.values())
                spread = 1.4826 * median(abs(value - middle) for value in known.values())
                for unit, value in known.items():
                    if abs(value - middle) > max(0.08, 4 * spread):
                        last.setdefault(unit, one)
        return last

    def risen_in(gone, last):
        """The units that do not count in each year because they rose most."""
        compared, found = [u for u in controls.units if u.ring in (1, 2)], {}
        change = changes(gone, compared)
        for one, after in pairwise([*years, years[-1] + 1]):
            past = [y for y in years if early[-1] < y <= one]
            found[after] = set()
            for ring in (1, 2):
                until = max(r.time[:10] for r, y in zip(ordered, year, strict=True) if y == one)
                mine = [
                    u.id for u in compared
                    if u.ring == ring and last.get(u.id, 9999) > one and until < gone.get(u.id, date.max).isoformat()
                ]  # fmt: skip
                rise = {}
                for unit in mine:
                    known = [(k, change[y][unit]) for k, y in enumerate(past, start=1) if unit in change.get(y, {})]
                    rise[unit] = math.fsum(k * v for k, v in known) / sum(k for k, _ in known) if known else -math.inf
                most = min(len(mine) // 3, len(mine) - 10)
                highest = sorted(mine, key=lambda unit: -rise[unit])[: max(most, 0)] if past else []
                found[after] |= {u for u in highest if rise[u] > median(rise.values()) + 1e-6}
        return found

    def shown(gone):
        """Of each scene the values of the control ground, of each unit, and whether there are too few units."""
        last, found = last_fit(gone), []
        risen = risen_in(gone, last)
        for at, one in enumerate(ordered):
            fit = [
                year[at] <= last.get(u.id, 9999) and one.time[:10] < gone.get(u.id, date.max).isoformat()
                for u in controls.units
            ]
            values = np.where(np.array(fit)[:, None], means[at], np.nan)
            rings = {
                ring: [k for k, u in enumerate(controls.units) if u.ring == ring] for ring in (1, 2, REFERENCE_RING)
            }
            enough = {ring: sum(fit[k] for k in rings[ring]) >= 10 for ring in (1, 2)}

            def mean(some, k, values=values, at=at):
                seen = [values[unit, k] for unit in some if not math.isnan(values[unit, k])]
                out = risen.get(year[at], set())
                best = [values[unit, k] for unit in some if controls.units[unit].id not in out]
                best = [value for value in best if not math.isnan(value)]
                seen = best if len(best) >= 10 else seen
                return math.fsum(seen) / len(seen) if len(seen) >= 10 else math.nan

            first = rings[1] if enough[1] else rings[2] if enough[2] else rings[1] + rings[2]
            standing = [values[k, cover] for k in rings[REFERENCE_RING] if not math.isnan(values[k, cover])]
            ground = {f"control_{name}": mean(first, k) for k, name in enumerate(SERIES_MEASURES)}
            ground["control_cover_2"] = mean(rings[2], cover)
            ground["reference_cover"] = median(standing) if len(standing) >= 10 else math.nan
            both = [k for k, u in enumerate(controls.units) if u.ring != REFERENCE_RING]
            found.append((ground, values[both], sum(fit[k] for k in both) < 10))
        return found

    whole, steps = shown({}), {}
    for name in CONTROL_COLUMNS:
        measure = "cover" if name.endswith(("cover", "cover_2")) else name.removeprefix("control_")
        own = [ordered[at].measures.get(measure, math.nan) if ordered[at].accepted else math.nan for at in over]
        steps[name] = orbit_steps(
            np.array([ordered[at].time[:19] for at in over], "datetime64[s]"), [orbits[at] for at in over],
            np.array([[a - whole[at][0][name]] for a, at in zip(own, over, strict=True)]).reshape(-1, 1),
            np.array([whole[at][1][:, SERIES_MEASURES.index(measure)] for at in over]),
        )  # fmt: skip
    rows = []
    for one, orbit, (ground, _, few) in zip(ordered, orbits, shown(left_out), strict=True):
        row = {"time": one.time, "accepted": one.accepted, "reason": one.reason, "clear_fraction": one.clear_fraction}
        if one.accepted and math.isnan(ground["control_cover"]):
            row |= {"accepted": False, "reason": "CONTROL_FEW" if few else "CONTROL_HIDDEN"}
        for name in SERIES_MEASURES:
            row[name] = one.measures[name] if row["accepted"] else math.nan
        for name in CONTROL_COLUMNS:
            step = float(steps[name].get(orbit, [0.0])[0])
            moved = min(max(ground[name] + step, 0.0 if "cover" in name else -1.0), 1.0) if step else ground[name]
            row[name] = round(moved, 6) if row["accepted"] else math.nan
        rows.append(row)
    return rows


@pytest.mark.parametrize(("seed", "units"), [(1, UNITS), (2, STANDING)], ids=["two rings", "and reference units"])
@pytest.mark.parametrize(
    "left",
    [pytest.param({}, marks=pytest.mark.slow), {k: date(2021, 7, 1 + k) for k in range(26)}],
    ids=["all units", "some left out"],
)
def test_the_series_is_what_plain_arithmetic_scene_by_scene_gives(tmp_path, seed, units, left):
    controls = ControlSet(units=units, balance={}, candidates=40)
    left_out = {units[k].id: day for k, day in left.items()}
    stored = filled(tmp_path / "a", varied(seed), controls)
    wanted = plainly(stored, controls, left_out=left_out)
    for _ in range(2):  # remade, and from what was stored of the years that are over
        found = site_series(stored, controls, SITE, left_out=left_out)
        for name in wanted[0]:
            values = [row[name] for row in wanted]
            if found[name].dtype.kind == "S":
                assert decode_texts(found[name]) == values
            else:
                # sums in another order may round the sixth decimal otherwise
                atol = 1.1e-6 if name in CONTROL_COLUMNS else 0
                np.testing.assert_allclose(found[name], values, rtol=0, atol=atol, err_msg=name)
    assert {"", "CLOUD", "RADIOMETRY", "CONTROL_HIDDEN"} <= {row["reason"] for row in wanted}
    assert np.isfinite(found["reference_cover"]).any() == (units is STANDING)


@pytest.mark.slow
def test_a_quiet_night_reads_the_unit_means_of_this_year_alone_and_makes_the_same_series(tmp_path, monkeypatch):
    entries, path, rng = varied(1), tmp_path / "ground", np.random.default_rng(9)
    place, nights, quiet, read = 190, 0, 0, []
    filled(path, entries[:place])
    site_series(opened(path), CONTROLS, SITE)
    unit_means = LandscapeStore.unit_means
    monkeypatch.setattr(
        LandscapeStore, "unit_means", lambda one, rows, of: read.extend(rows.ravel()) or unit_means(one, rows, of)
    )
    while place < len(entries):
        new = entries[place : place + int(rng.integers(4, 16))]
        put(opened(path), new)
        read.clear()
        found = site_series(opened(path), CONTROLS, SITE)
        place, nights = place + len(new), nights + 1
        year = np.array([f"{entry.scene.time.year}" for entry in entries[:place]])
        quiet += min(read) >= np.flatnonzero(year == year[-1])[0]
        assert same(found, remade(path))
    assert quiet > 0.6 * nights > 9
    assert {*found["reason"].tolist()} == {b"", b"CLOUD", b"RADIOMETRY", b"CONTROL_HIDDEN"}


@pytest.mark.parametrize("what", ["late", "reprocessed", "of another year"])
def test_a_scene_that_comes_late_or_again_is_in_the_series_as_if_it_had_always_been(tmp_path, what):
    entries, path = varied(1), tmp_path / "ground"
    late = entries.pop(120)
    stored = filled(path, entries)
    before = site_series(stored, CONTROLS, SITE)
    if what != "late":
        time = {"time": datetime(2024, 12, 31, 3, tzinfo=UTC)} if what == "of another year" else {}
        late = replace(of_granule(entries[300], baseline="05.11", **time), digest="a".zfill(16))
    put(opened(path), [late])
    found = site_series(opened(path), CONTROLS, SITE)
    assert same(found, remade(path))
    assert not same(found, before)
    assert same(site_series(opened(path), CONTROLS, SITE, snapshot=stored.snapshot), before), "what was known before"


def test_scenes_before_the_start_of_a_site_on_control_ground_stay_as_they_were_to_the_last_digit(tmp_path):
    """Even though the steps of orbits are estimated from all years that are over."""
    stored = filled(tmp_path / "ground", varied(1))
    whole = site_series(stored, CONTROLS, SITE)
    found = site_series(stored, CONTROLS, SITE, left_out={f"u{k}": date(2022, 7, 1) for k in range(15)})
    later = found["date"] >= np.datetime64("2022-07-01")
    assert same(found, whole, ~later)
    assert not any(same(found, whole, at) for at in np.flatnonzero(whole["accepted"] & later))


def test_where_too_few_units_are_left_no_scene_counts_from_that_day_on_and_it_says_why(tmp_path):
    left = {f"u{k}": date(2021, 9, 1) for k in range(32)}
    found = site_series(filled(tmp_path / "ground", varied(1)), CONTROLS, SITE, left_out=left)
    late = found["date"] >= np.datetime64("2021-09-01")
    assert {b"CONTROL_FEW"} <= {*found["reason"][late].tolist()} <= {b"CLOUD", b"RADIOMETRY", b"CONTROL_FEW"}
    assert b"CONTROL_FEW" not in found["reason"][~late].tolist()


@pytest.mark.slow
def test_a_scene_that_shows_an_earlier_one_to_be_scaled_wrongly_changes_that_one(tmp_path):
    entries, path, changed = varied(7)[25:60], tmp_path / "ground", 0
    for means in (entries[2].site_means, entries[2].control_means):
        means[: len(bands.OBSERVED)] += 0.1
    filled(path, entries[:4])
    before = site_series(opened(path), CONTROLS, SITE)
    assert before["accepted"][2]
    for entry in entries[4:]:
        put(opened(path), [entry])
        found = site_series(opened(path), CONTROLS, SITE)
        assert same(found, remade(path))
        changed += not same(before, found, slice(len(before["time"])))
        before = found
    assert changed >= 1
    assert before["reason"][2] == b"RADIOMETRY"


@pytest.mark.parametrize("harm", ["gone", "torn", "of another night", "a folder"])
def test_what_was_stored_of_the_years_that_are_over_may_be_lost(tmp_path, harm):
    entries, path = varied(3)[:200], tmp_path / "ground"
    stored = filled(path, entries[:-60])
    site_series(stored, CONTROLS, SITE)
    old = cache(stored).read_bytes()
    put(stored, entries[-60:])
    wanted = site_series(stored, CONTROLS, SITE)
    good = cache(stored).read_bytes()
    assert good != old
    cache(stored).unlink()
    if harm == "torn":
        cache(stored).write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    elif harm == "of another night":
        cache(stored).write_bytes(old)
    elif harm == "a folder":
        cache(stored).mkdir()
    assert same(site_series(opened(path), CONTROLS, SITE), wanted)
    assert cache(stored).is_dir() or cache(stored).read_bytes() == good


def test_unit_means_that_cannot_be_read_are_reported_as_a_broken_store(tmp_path, monkeypatch):
    filled(tmp_path / "ground", scenes(0.0)[:5])
    read = LandscapeStore.read

    def broken(self, name, place):
        if name == "unit_means":
            raise OSError(errno.EIO, "Input/output error")
        return read(self, name, place)

    monkeypatch.setattr(LandscapeStore, "read", broken)
    with pytest.raises(StoreBroken, match=r"ground.*Input/output error"):
        remade(tmp_path / "ground")


def test_a_site_without_stored_scenes_has_an_empty_series_of_the_same_columns(tmp_path):
    stored = laid_out(tmp_path / "ground")
    found, some = site_series(stored, CONTROLS, SITE), from_scratch(tmp_path / "b", scenes(0.0)[:5])
    assert same(found, no_observations())
    for name, values in no_observations().items():
        assert values.dtype.kind == some[name].dtype.kind, name
        assert values.dtype.kind == "S" or values.dtype == some[name].dtype, name


def test_a_site_that_waits_for_control_ground_has_a_series_without(tmp_path):
    none = NOT_CHOSEN
    entries = [
        replace(one, reason="CONTROL_POOR", site_means=UNKNOWN, control_means=UNKNOWN, units=one.units[:0])
        for one in scenes(0.0)[:5]
    ]
    found = site_series(filled(tmp_path / "ground", entries, none), none, SITE)
    assert found["reason"].tolist() == [b"CONTROL_POOR"] * 5
    assert np.isnan(found["control_cover"]).all()


def test_what_a_past_day_knew_is_cut_from_the_series_by_its_days(tmp_path):
    found = from_scratch(tmp_path / "a", scenes(0.0)[:50])
    some = observed_until(found, found["date"][20].item())
    assert len(some["time"]) == 21
    assert same(some, found, slice(21))
    assert observed_until(found, date(2030, 1, 1)) is found
