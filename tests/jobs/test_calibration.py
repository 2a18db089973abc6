"""Calibrations set on the control ground of the stores, once a season, and the nights that are judged by them."""

import hashlib
import json
import pickle
import shutil
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from unittest.mock import Mock

import numpy as np
import pytest
from shapely.geometry import box

import jobs.register.calibration as calibrating
from jobs.night import pipeline
from jobs.night.pipeline import night
from jobs.register.calibration import Pool, calibrate_due
from jobs.runtime.installation import open_ledger
from jobs.runtime.records import to_json
from monitor.controls.control_means import mean_of_units
from monitor.controls.selection import REFERENCE_RING, ControlSet, Unit
from monitor.cube.grid import site_grid
from monitor.cube.packed import PACKED_LAYERS
from monitor.cube.records import MEASURES
from monitor.ledger.ledger import Ledger
from monitor.sites.growing_season import GrowingSeason
from monitor.sites.landscapes import tile_name
from monitor.sites.site import ground_key
from monitor.verdict.assess import DEFAULT
from monitor.verdict.placebos import MIN_SITES, independent_units
from tests import builders
from tests.builders import edited_features, installed, printed_json
from tests.edited import edit
from tests.landscape import lone_site, opened, put, site_scene
from tests.ledger.assessed import add_assessment

AUTUMN = date(2025, 11, 20)
UNITS = 40
POOL = Pool("48SXF", "loess")  # ground of the sites that are added


def site(number, *, biome="loess", west=106.6):
    return builders.site(
        f"s{number}", geometry=box(west + 0.1 * number, 36.5, west + 0.1 * number + 0.001, 36.501), biome=biome,
        version=f"v{number}",
    )  # fmt: skip


def units_of(one, count=UNITS):
    left = one.geometry.bounds[0]
    squares = [box(left + 0.002 * k, 36.51, left + 0.002 * k + 0.001, 36.511) for k in range(count)]
    return tuple(Unit(id=f"u{k}", geometry=square, distance=400.0) for k, square in enumerate(squares))


def scenes(last=2025, *, drift, seed, count=UNITS):
    """Ten years of control ground, a scene a week: (days, cover of each unit), each unit drifting by itself."""
    rng = np.random.default_rng(seed)
    days = np.concatenate([np.arange(f"{y}-05-05", f"{y}-10-10", 7, "datetime64[D]") for y in range(2016, last + 1)])
    doy = (days - days.astype("datetime64[Y]")).astype(int)
    wander = rng.normal(0, drift, (days.size, count))
    keep = np.exp(-np.diff(days).astype(int) / 365)[:, None]
    for i in range(1, days.size):
        wander[i] = keep[i - 1] * wander[i - 1] + np.sqrt(1 - keep[i - 1] ** 2) * wander[i]
    season = np.exp(-0.5 * ((doy - 215) / 45) ** 2)[:, None]
    cover = 0.05 + 0.25 * season + wander + rng.normal(0, 0.022, (days.size, count))
    return days, np.clip(cover, 0, 1)


def _store(folder, one, controls, days, cover):
    units = controls.units
    grid = site_grid(one.geometry)
    store = lone_site(
        folder, site=one.id, grid=grid, units=[u.id for u in units], controls=controls.to_json(), biome=one.biome,
        ground=ground_key(one),
    )  # fmt: skip
    entries = []
    for day, values in zip(days, cover, strict=True):
        when = datetime.combine(day.astype(object), datetime.min.time(), UTC)
        scene = builders.scene(f"x{day}", when, acquisition=f"x/{day}", footprint=None, handle=None)
        means = np.full((len(units), len(MEASURES)), np.nan, np.float32)
        means[:, MEASURES.index("cover")] = values
        pixels = np.zeros((len(PACKED_LAYERS), *grid.shape), np.uint16)
        entries.append(site_scene([scene], pixels, means, n_pixels=100))
    put(store, entries)


class Land:
    """Sites with stores of control ground that behaves as specified."""

    def __init__(self, settings, made_once):
        self.settings = settings
        self.made_once = made_once
        self.sites = []

    def add(self, one, *, drift=0.012, last=2025, units=None, measured=None):
        units = units_of(one) if units is None else units
        days, cover = measured or scenes(last, drift=drift, seed=len(self.sites), count=len(units))
        controls = ControlSet(units=units, balance={}, candidates=len(units))
        content = hashlib.sha256(pickle.dumps((one, units, days, cover))).hexdigest()
        made = self.made_once(f"land-{content}", lambda folder: _store(folder, one, controls, days, cover))
        shutil.copytree(made, self.folder(one))
        self.sites.append(one)
        with closing(Ledger(self.settings.ledger.url)) as ledger, ledger.transaction() as t:
            t.add_site(one.id, one.version, to_json(one), start=one.start.isoformat(), now="n")
            t.freeze_controls(ground_key(one), one.id, controls.to_json(), digest="h", now="n")
            t.save_snapshots({ground_key(one): (one.id, opened(self.folder(one), ground_key(one)).snapshot)})

    def add_first(self, count):
        """Add the first sites of the loess, whose ground drifts as the defaults expect."""
        for number in range(count):
            self.add(site(number))

    def add_sandy(self):
        for number in range(4, 7):
            self.add(site(number, biome="sandy", west=108.0))

    def folder(self, one):
        return self.settings.store.root / f"landscape-{one.id}"

    def set(self, as_of=AUTUMN, most=1):
        with open_ledger(self.settings) as ledger:
            return calibrate_due(self.settings, ledger, self.sites, as_of=as_of, most=most)

    def assess(self, as_of):
        """As if a night had assessed all sites."""
        with open_ledger(self.settings) as ledger, ledger.transaction() as t:
            for one in self.sites:
                add_assessment(t, one.id, as_of.isoformat(), "d", {"site": one.id}, version=one.version)

    def rows(self):
        return calibrations(self.settings)


def calibrations(settings):
    with open_ledger(settings) as ledger, ledger.reading() as t:
        return t.calibrations()


@pytest.fixture
def land(tmp_path, made_once):
    return Land(installed(tmp_path, []), made_once)


@pytest.fixture(autouse=True)
def one_site_suffices(monkeypatch):
    """As if the units of one site were enough: the sample has no more ground than three."""
    monkeypatch.setattr(calibrating, "MIN_SITES", 1)


@pytest.fixture
def quick(monkeypatch):
    """Quick calibrations: tested here is which placebos are used, when, and for which sites; returns their sizes."""
    sizes = []

    def by_spread(placebos, *, source, dated):
        sizes.append(sum(p.series.dates.size for p in placebos))
        spread = float(np.mean([np.nanstd(p.series.cover - p.series.control) for p in placebos]))
        return replace(DEFAULT, source=source, dated=dated, placebos=len(placebos), scene_sd=round(spread, 9))

    monkeypatch.setattr(calibrating, "calibrate", by_spread)
    return sizes


@pytest.mark.parametrize(
    ("point", "name"), [((116.4, 39.9), "50SMK"), ((107.05, 36.5), "48SXF"), ((151.2, -33.9), "56HLH")]
)
def test_a_tile_is_named_as_sentinel_names_it(point, name):
    # Peking, the loess, Sydney; letters of the zones' squares as the military grid lays them
    x, y = point
    assert tile_name(replace(site(1), geometry=box(x, y, x + 0.001, y + 0.001))) == name


def test_a_season_is_over_once_its_window_has_closed():
    one = site(1)
    season = GrowingSeason.of(one)
    assert season.last_ended(date(2025, 10, 15)) == (2024, date(2024, 10, 14))
    assert season.last_ended(date(2025, 10, 16)) == (2025, date(2025, 10, 15))
    assert season.last_ended(date(2026, 4, 30)) == (2025, date(2025, 10, 15))
    assert GrowingSeason.of(replace(one, biome="karst")).last_ended(date(2026, 3, 1))[0] == 2025


@pytest.mark.slow
def test_ground_that_drifts_more_than_the_defaults_expect_moves_the_constants_towards_it(land):
    for number in range(3):
        land.add(site(number), drift=0.035)
    constants = land.set()
    used = constants.of(Pool.of(land.sites[0]))
    assert used.slow_sd > 0.03 > DEFAULT.slow_sd
    assert used.placebos >= 99
    assert (used.dated, used.source) == (date(2025, 10, 15), "placebos of loess, tile 48SXF")
    assert used.hash != DEFAULT.hash
    (row,) = land.rows()
    assert (row["hash"], row["season"], row["placebos"]) == (used.hash, 2025, used.placebos)


@pytest.mark.slow
def test_constants_stay_until_the_next_season_is_over_whatever_arrives(land, quick):
    land.add_first(3)
    first = land.set().of(POOL)
    land.add(site(3), drift=0.05)
    assert land.set(date(2026, 10, 15)).of(POOL) == first
    assert len(quick) == len(land.rows()) == 1
    later = land.set(date(2026, 10, 16)).of(POOL)
    assert later.dated == date(2026, 10, 15)
    assert later.scene_sd > first.scene_sd
    assert [row["hash"] for row in land.rows()] == [first.hash, later.hash], "the older record stays"


@pytest.mark.slow
def test_ground_of_a_later_site_is_neither_placebo_nor_control(land, quick, tmp_path):
    never_there = Land(installed(tmp_path / "other", []), land.made_once)
    for number in range(4):
        one = site(number)
        days, cover = scenes(drift=0.012, seed=number)
        cover[days >= np.datetime64("2024-01-01"), :10] += 0.06  # planted there, by too little to be noticed
        land.add(one, measured=(days, cover))
        never_there.add(one, units=units_of(one)[10:], measured=(days, cover[:, 10:]))
    with open_ledger(land.settings) as ledger, ledger.transaction() as t:
        for one in land.sites:
            t.save_data({(ground_key(one), "left_out"): {f"u{k}": "2024-01-01" for k in range(10)}})
    assert land.set().of(POOL) == never_there.set().of(POOL)
    assert land.rows()[0]["placebos"] == never_there.rows()[0]["placebos"] > 100


def test_a_night_before_the_record_was_made_is_judged_by_the_defaults(land, quick):
    land.add_first(3)
    assert land.set(AUTUMN).of(POOL) != DEFAULT
    assert land.set(AUTUMN - timedelta(days=1)).of(POOL) == DEFAULT
    assert land.set(date(2024, 11, 1)).of(POOL) == DEFAULT
    assert len(land.rows()) == 1, "an earlier night makes no record of its own after the fact"


@pytest.mark.slow
def test_scenes_after_the_season_do_not_change_the_constants(land, quick, tmp_path):
    land.add_first(3)
    during = land.set(date(2025, 8, 1)).of(POOL)
    assert during.dated == date(2024, 10, 14)
    other = Land(installed(tmp_path / "other", []), land.made_once)
    for number in range(3):
        days, cover = scenes(2025, drift=0.012, seed=number)
        before = days < np.datetime64("2024-10-15")
        other.add(site(number), measured=(days[before], cover[before]))
    assert other.set(date(2025, 3, 1)).of(POOL) == during


@pytest.mark.slow
def test_constants_set_on_few_sites_are_set_again_in_the_same_season_once_the_stored_sites_have_doubled(land, quick):
    land.add(site(0))
    for night_of in (AUTUMN, AUTUMN, AUTUMN + timedelta(days=1)):
        assert land.set(night_of).of(POOL).placebos == 40
    assert len(quick) == 1
    land.add(site(1))
    land.assess(AUTUMN + timedelta(days=1))
    assert land.set().of(POOL).placebos == 40, "a night that is run again is judged as it was"
    assert land.set(AUTUMN + timedelta(days=1)).of(POOL).placebos == 40, "it came with this night"
    assert land.set(AUTUMN + timedelta(days=2)).of(POOL).placebos == 80
    land.add(site(2))
    land.assess(AUTUMN + timedelta(days=2))
    assert land.set(AUTUMN + timedelta(days=3)).of(POOL).placebos == 80, "three are not twice two"
    land.add(site(3))
    land.assess(AUTUMN + timedelta(days=3))
    assert land.set(AUTUMN + timedelta(days=4)).of(POOL).placebos == 160
    assert [row["placebos"] for row in land.rows()] == [40, 80, 160]


def test_other_code_sets_the_constants_again_once_and_the_older_record_stays(land, quick, monkeypatch, tmp_path):
    land.add_first(2)
    later = [AUTUMN + timedelta(days=k) for k in range(5)]
    (tmp_path / "edits").mkdir()
    first = land.set(later[0]).of(POOL)
    with monkeypatch.context() as patch:
        edit(patch, tmp_path / "edits", mean_of_units, '"""Mean', '"""The mean')
        assert land.set(later[1]).of(POOL) == first
    with monkeypatch.context() as patch:
        edit(patch, tmp_path / "edits", mean_of_units, ".sum(axis=-2) / np", ".sum(axis=-2) * 0.9 / np")
        second = land.set(later[2]).of(POOL)
        assert second != first
        assert land.set(later[2]).of(POOL) == land.set(later[3]).of(POOL) == second
    assert land.set(later[4]).of(POOL) == first, "back at the former code, whose record is there"
    assert len(quick) == 2
    assert [row["hash"] for row in land.rows()] == [first.hash, second.hash]


def test_ground_that_gives_no_placebo_leaves_the_defaults_and_says_so(land, quick):
    land.add(site(0), units=units_of(site(0))[:8])
    constants = land.set()
    assert constants.of(POOL) == DEFAULT
    reported = calibrating.calibration_json(POOL, constants)
    assert (reported["placebos"], reported["weight"], reported["source"]) == (0, 0, DEFAULT.source)


def test_shared_ground_counts_once_as_a_placebo_and_never_within_a_site(land, quick):
    land.add(site(0))
    land.add(replace(site(1), geometry=box(107.7, 36.4, 107.701, 36.401)), units=units_of(site(0)))
    land.add(replace(site(2), geometry=units_of(site(0))[5].geometry), units=units_of(site(2)))
    land.set()
    assert land.rows()[0]["placebos"] == 79
    squares = [box(0, 0, 1, 1), box(0.5, 0, 1.5, 1), box(1.2, 0, 2, 1), box(3, 0, 4, 1)]
    assert independent_units(squares, [box(3.5, 0.5, 6, 6)]).tolist() == [True, False, True, False]


@pytest.mark.parametrize("greener", [0, 12])
def test_reference_ground_is_not_a_placebo_and_nothing_is_compared_with_it(land, quick, greener):
    units = units_of(site(0), count=120 + greener)
    days, cover = scenes(drift=0.012, seed=0, count=120)
    cover = np.hstack([cover, np.clip(cover[:, :greener] + 0.3, 0, 1)])
    units = tuple(replace(unit, ring=1 if k < 120 else REFERENCE_RING) for k, unit in enumerate(units))
    land.add(site(0), units=units, measured=(days, cover))
    found = land.set().of(Pool.of(land.sites[0]))
    assert found.placebos == 120
    assert found.scene_sd == pytest.approx(spread_of_others(cover[:, :120]), abs=2e-4)


def spread_of_others(cover):
    """Mean deviation of each of 120 pieces of ground from the mean of the others."""
    others = (cover.sum(axis=1, keepdims=True) - cover) / 119
    return float(np.mean(np.std(cover - others, axis=0)))


@pytest.mark.slow
def test_tiles_of_one_biome_share_its_placebos_and_use_none_of_another(land, quick):
    land.add_first(3)
    land.add(site(3, west=109.3))
    land.add_sandy()
    constants = land.set(most=None)
    assert len(quick) == 2
    here, there = constants.of(POOL), constants.of(Pool.of(land.sites[3]))
    assert here == there
    assert here.placebos == 160
    assert constants.of(Pool.of(land.sites[4])).source.startswith("placebos of sandy")


@pytest.mark.slow
def test_a_night_looks_into_one_set_of_placebos_and_the_next_night_into_the_next(land, quick):
    land.add_first(3)
    land.add_sandy()
    for _ in range(2):
        land.set()
        assert {row["biome"] for row in land.rows()} == {"loess"}
    land.set(AUTUMN + timedelta(days=1))
    assert {row["biome"] for row in land.rows()} == {"loess", "sandy"}


def test_a_store_that_cannot_be_read_is_left_out(land, quick):
    land.add_first(4)
    for file in land.folder(land.sites[1]).rglob("*"):
        if file.is_file():
            file.write_bytes(b"garbage")
    assert land.set().of(POOL).placebos == 120


NIGHT = date(2018, 10, 20)  # a night after the season that was under way in the first one


def test_a_night_sets_due_constants_and_every_assessment_names_them(judged_once):
    settings = judged_once.settings
    night(settings, as_of=NIGHT)
    (row,) = calibrations(settings)
    found = json.loads(judged_once.status)
    assert {(one["calibration"], one["calibration_source"], one["calibration_dated"]) for one in found} == {
        (row["hash"], "placebos of loess, tile 34TER", "2018-10-15")
    }
    for name, words in (("index.html", "placebos of loess, tile 34TER"), ("index.zh.html", "黄土丘陵对照地块，34TER")):
        page = (settings.outputs.root / "sites" / "demo-02" / name).read_text(encoding="utf-8")
        assert words in page
        assert row["hash"][:16] in page
    before = judged_once.files()
    night(settings, as_of=NIGHT)
    assert judged_once.files() == before
    reported = printed_json("explain", "demo-02", config=judged_once.config)["calibration"]
    assert (reported["hash"], reported["placebos"], reported["dated"]) == (row["hash"], row["placebos"], "2018-10-15")
    assert {line["constant"] for line in reported["table"]} >= {"slow_sd", "boundary at 0.05", "widening"}


@pytest.mark.slow
def test_a_night_in_which_the_sites_of_a_biome_double_is_the_same_when_it_is_run_again(installation, settings):
    with edited_features(installation.registry) as features:
        others = features[1:]
        del features[1:]
    night(settings, as_of=NIGHT)
    with edited_features(installation.registry) as features:
        features += others
    night(settings, as_of=NIGHT + timedelta(days=1))
    once, reported = installation.files(), json.loads(installation.status)
    night(settings, as_of=NIGHT + timedelta(days=1))
    assert installation.files() == once
    night(settings, as_of=NIGHT + timedelta(days=2), pages=False)
    first, second = calibrations(settings)
    assert (first["stored"], second["stored"], second["as_of"]) == (1, 3, "2018-10-22")
    assert {one["calibration"] for one in reported} == {first["hash"]}


@pytest.mark.slow
def test_a_rerun_after_a_kill_between_constants_and_assessments_ends_as_an_unkilled_night(
    install, installation, settings, tmp_path, monkeypatch
):
    (tmp_path / "unkilled").mkdir()
    whole = install(tmp_path / "unkilled")
    night(whole.settings, as_of=NIGHT)
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "judge_landscape", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            night(settings, as_of=NIGHT)
    night(settings, as_of=NIGHT)
    assert installation.status == whole.status
    assert installation.messages() == whole.messages()


def test_the_command_sets_due_constants_once_and_shows_those_in_force(judged_once):
    settings = judged_once.settings
    night(settings, as_of=NIGHT, pages=False)
    first = printed_json("calibrate", config=judged_once.config)
    assert printed_json("calibrate", config=judged_once.config) == first
    (one,) = first
    assert (one["tile"], one["biome"], one["sites"]) == ("34TER", "loess", 3)
    assert one["placebos"] >= 20
    first_row, last_row = calibrations(settings)
    assert (first_row["season"], last_row["hash"]) == (2018, one["hash"])


def test_a_bug_while_setting_constants_leaves_those_in_force_and_stops_no_night(judged_once, monkeypatch):
    settings = judged_once.settings
    monkeypatch.setattr(calibrating, "calibrate", Mock(side_effect=ZeroDivisionError))
    manifest = night(settings, as_of=NIGHT, pages=False)
    assert {site.state for site in manifest.sites} == {"done"}
    assert calibrations(settings) == [], "the next night tries again"
    with open_ledger(settings) as ledger, ledger.reading() as t:
        assert {t.latest_assessment(site["id"]).payload["calibration"] for site in t.sites()} == {DEFAULT.hash}


@pytest.mark.parametrize(("sites", "placebos"), [(4, 0), (5, 40)])
def test_the_units_of_fewer_than_five_sites_set_nothing(land, quick, monkeypatch, sites, placebos):
    monkeypatch.setattr(calibrating, "MIN_SITES", MIN_SITES)
    for number in range(sites):
        land.add(site(number), units=units_of(site(number), count=UNITS if number == 0 else 8))
    assert land.set().of(POOL).placebos == placebos
    assert len(land.rows()) == (placebos > 0)


def test_with_three_sites_a_night_names_the_defaults(judged_once, monkeypatch):
    settings = judged_once.settings
    monkeypatch.setattr(calibrating, "MIN_SITES", MIN_SITES)
    night(settings, as_of=NIGHT)
    assert {one["calibration"] for one in json.loads(judged_once.status)} == {DEFAULT.hash}
    assert {one["calibration_placebos"] for one in json.loads(judged_once.status)} == {0}
    page = (settings.outputs.root / "sites" / "demo-02" / "index.html").read_text(encoding="utf-8")
    assert f"placebos count once {MIN_SITES} sites of the biome are stored" in page


@pytest.mark.slow
def test_strips_are_calibrated_against_strips_and_never_make_a_ring_seem_calmer(land, quick):
    """Two sites with strips beside the work, then one with a ring: its placebos are those of rings alone."""
    for number in (0, 1):
        one = site(number)
        land.add(one, units=tuple(replace(unit, distance=12.0) for unit in units_of(one)))
    assert land.set().of(POOL).placebos == 2 * UNITS
    land.add(site(2))
    land.add(site(3, biome="sandy"))  # ground of another biome sets nothing here
    assert land.set(date(2026, 10, 16), most=None).of(POOL).placebos == UNITS
