"""Control units: alike before the start, apart from every site, and frozen."""

import numpy as np
import pytest
import xarray as xr
from shapely.geometry import box
from shapely.ops import unary_union

from monitor.controls.selection import (
    MAX_CANDIDATES,
    MAX_REFERENCES,
    MIN_UNITS,
    REFERENCE_RING,
    UNITS_PER_RING,
    ControlSet,
    Unit,
    candidate_units,
    select_units,
)
from monitor.cube.grid import crs_of, site_grid
from monitor.cube.records import MEASURES
from monitor.imagery.auxiliary.terrain import Terrain
from monitor.sites.projection import projected

SITE = box(103.800, 36.000, 103.8022, 36.0018)
OTHER = box(103.810, 36.000, 103.8122, 36.0018)
LATTICE = site_grid(SITE)
RING = (300.0, 2000.0)


@pytest.fixture(scope="module")
def units():
    return candidate_units(SITE, [OTHER], LATTICE, RING)


def test_candidates_keep_their_distance_from_every_site(units):
    crs = crs_of(LATTICE)
    sites = [projected(SITE, crs), projected(OTHER, crs)]
    for unit in units:
        square = projected(unit.geometry, crs)
        assert all(square.distance(site) > 299.0 for site in sites)
        assert square.distance(sites[0]) <= 2001.0


def test_candidates_are_of_the_size_of_the_site_and_do_not_overlap(units):
    crs = crs_of(LATTICE)
    squares = [projected(unit.geometry, crs) for unit in units]
    size = projected(SITE, crs).area
    assert all(0.8 * size < square.area < 1.2 * size for square in squares)
    assert unary_union(squares).area == pytest.approx(sum(square.area for square in squares), rel=1e-9)


def test_a_wide_ring_is_thinned_evenly_and_the_same_way_each_time(units):
    wide = candidate_units(SITE, [OTHER], LATTICE, (300.0, 10_000.0))
    assert len(wide) == MAX_CANDIDATES
    assert [u.id for u in wide] == [u.id for u in candidate_units(SITE, [OTHER], LATTICE, (300.0, 10_000.0))]
    assert max(u.distance for u in wide) > 9000.0
    assert min(u.distance for u in wide) < 600.0


def test_where_there_are_no_scenes_there_are_no_candidates():
    covered = box(103.79, 35.99, 103.801, 36.02)
    found = candidate_units(SITE, [], LATTICE, RING, covered=covered)
    assert found
    assert all(covered.buffer(1e-9).contains(unit.geometry) for unit in found)


def means(cover, ndmi=0.1, red=0.2):
    """(time, measure) or (time, unit, measure) from cover of the same shape less the measure."""
    cover = np.asarray(cover, dtype=np.float32)
    full = np.full((*cover.shape, len(MEASURES)), np.nan, dtype=np.float32)
    for name, value in (("cover", cover), ("ndmi", ndmi), ("red", red)):
        full[..., MEASURES.index(name)] = value
    dims = ("time", "measure") if cover.ndim == 1 else ("time", "unit", "measure")
    return xr.DataArray(full, dims=dims, coords={"measure": list(MEASURES)})


def test_the_ground_that_behaved_like_the_site_before_the_start_is_chosen(units):
    rng = np.random.default_rng(5)
    like = np.zeros(len(units), dtype=bool)
    like[rng.choice(len(units), UNITS_PER_RING, replace=False)] = True
    season = 0.2 + 0.1 * np.sin(np.linspace(0, 12, 24))
    ground = season[:, None] * np.where(like, 1.0, 1.6) + rng.normal(0, 0.004, (24, len(units)))
    chosen = select_units(means(season), means(ground), units)
    alike = {unit.id for unit, is_like in zip(units, like, strict=True) if is_like}
    assert {unit.id for unit in chosen.units} == alike
    assert abs(chosen.balance["cover"]) < 0.1
    assert chosen.candidates == len(units)


def test_a_scene_in_which_a_candidate_was_hidden_does_not_count_against_it(units):
    season = np.linspace(0.1, 0.4, 10)
    ground = np.repeat(season[:, None], len(units), axis=1)
    ground[:, 10:] += 0.2
    ground[5:, :10] = np.nan
    chosen = select_units(means(season), means(ground), units)
    assert {unit.id for unit in units[:10]} <= {unit.id for unit in chosen.units}


def test_a_candidate_never_seen_is_never_chosen(units):
    ground = np.full((10, len(units)), np.nan)
    ground[:, 3] = 0.3
    chosen = select_units(means(np.full(10, 0.3)), means(ground), units)
    assert [unit.id for unit in chosen.units] == [units[3].id]


def two_covers(units, alike, seed=3):
    """Five years before the start: ground that shares the site's years, and ground that is as green, in other years."""
    rng = np.random.default_rng(seed)
    days = np.concatenate([np.arange(f"{y}-05-01", f"{y}-10-01", 10, dtype="datetime64[D]") for y in range(2016, 2021)])
    year = days.astype("datetime64[Y]").astype(int) - 46
    season = 0.15 + 0.15 * np.sin(np.linspace(0, np.pi, 16))[np.tile(np.arange(16), 5)]
    rain = np.array([0.7, 1.2, 1.0, 0.75, 1.35])[year]
    other = rain[::-1]
    ground = season[:, None] * np.where(alike, rain[:, None], other[:, None])
    ground += rng.normal(0, 0.01, (days.size, len(units))) + rng.normal(0, 0.005, len(units))
    time = {"time": days.astype("datetime64[ns]")}
    return means(season * rain).assign_coords(time), means(ground).assign_coords(time)


@pytest.mark.parametrize("share", [0.15, 0.5])
def test_the_land_cover_that_shared_the_years_before_gets_nine_tenths_of_the_weight(units, share):
    alike = np.random.default_rng(11).random(len(units)) < share
    chosen = select_units(*two_covers(units, alike), units)
    like = {unit.id for unit, is_like in zip(units, alike, strict=True) if is_like}
    for ring in range(1, chosen.rings + 1):
        names = [unit.id for unit in chosen.units if unit.ring == ring]
        assert len(names) >= MIN_UNITS
        assert np.mean([name in like for name in names]) >= 0.9
    assert chosen.balance["rmspe"] < 0.01
    assert max(abs(value) for name, value in chosen.balance.items() if name != "rmspe") < 0.25


def test_two_rings_are_disjoint_of_thirty_each_where_there_is_ground_enough_and_come_back_as_stored(units):
    chosen = select_units(*two_covers(units, np.ones(len(units), bool)), units)
    near, far = ([u.distance for u in chosen.units if u.ring == ring] for ring in (1, 2))
    assert (len(near), len(far)) == (UNITS_PER_RING, UNITS_PER_RING)
    assert max(near) <= min(far)
    again = ControlSet.from_json(chosen.to_json())
    assert [(u.id, u.ring) for u in again.units] == [(u.id, u.ring) for u in chosen.units]
    assert again.hash == chosen.hash


def test_with_few_candidates_one_ring_is_made_and_stored_as_before_there_were_two(units):
    few = units[:60]
    chosen = select_units(*two_covers(few, np.ones(60, bool)), few)
    assert chosen.rings == 1
    assert len(chosen.units) == UNITS_PER_RING
    assert all("ring" not in unit for unit in chosen.to_json()["units"])
    assert ControlSet.from_json(chosen.to_json()).hash == chosen.hash


def test_ground_of_another_slope_height_or_aspect_is_left_out(units):
    def lie(elevation=1000.0, slope=20.0, facing=0.0):
        turn = np.radians(facing)
        return Terrain(elevation=elevation, slope=slope, northness=float(np.cos(turn)), eastness=float(np.sin(turn)),
                       known=1.0, source="made up")  # fmt: skip

    others = [lie(elevation=1200.0), lie(slope=10.0), lie(facing=60.0), None]
    there = [lie(facing=30.0) if k % 5 == 0 else others[k % 4] for k in range(len(units))]
    chosen = select_units(*two_covers(units, np.ones(len(units), bool)), units, terrain=(lie(), there))
    assert {units.index(next(v for v in units if v.id == u.id)) % 5 for u in chosen.units} == {0}
    assert {"elevation", "slope", "northness"} <= set(chosen.balance)
    assert chosen.balance["elevation"] == 0


def test_ground_with_the_cover_that_the_plan_promises_is_the_reference_and_not_a_control(units):
    rng = np.random.default_rng(8)
    ahead = rng.permutation(np.repeat([0.0, 0.2, 0.5], [len(units) - 60, 30, 30]))  # degraded, restored, irrigated
    site, ground = two_covers(units, np.ones(len(units), bool))
    ground = ground + xr.DataArray(ahead, dims="unit").astype(np.float32)
    chosen = select_units(site, ground, units, promised=0.2)
    rings = {unit.id: unit.ring for unit in chosen.units}
    found = {unit.id: gain for unit, gain in zip(units, ahead, strict=True)}
    assert {found[name] for name, ring in rings.items() if ring == REFERENCE_RING} == {0.2}
    assert sum(ring == REFERENCE_RING for ring in rings.values()) == MAX_REFERENCES
    assert {found[name] for name, ring in rings.items() if ring != REFERENCE_RING} == {0.0}
    assert chosen.compared.sum() == len(select_units(site, ground, units).units)


@pytest.mark.parametrize(("promised", "better"), [(0.0, 40), (0.2, 9)], ids=["nothing promised", "too little of it"])
def test_without_enough_better_ground_there_is_no_reference(units, promised, better):
    site, ground = two_covers(units, np.ones(len(units), bool))
    ground[:, :better] += 0.2
    assert select_units(site, ground, units, promised=promised).compared.all()


def test_the_balance_of_a_set_that_never_matched_is_its_mean_distance(units):
    season = 0.2 + 0.1 * np.sin(np.linspace(0, 12, 24))
    ground = season[:, None] + 0.1 + np.random.default_rng(1).normal(0, 0.02, (24, len(units)))
    assert select_units(means(season), means(ground), units).balance["rmspe"] == pytest.approx(0.1, abs=0.02)


def test_named_ground_gives_the_units_and_smaller_ones_where_it_is_small(units):
    named = [box(103.85, 36.02, 103.86, 36.03), OTHER]
    found = candidate_units(SITE, [OTHER], LATTICE, RING, within=named)
    assert len(found) >= MIN_UNITS
    assert all(named[0].buffer(1e-9).contains(unit.geometry) for unit in found)
    small = candidate_units(SITE, [OTHER], LATTICE, RING, within=[box(103.85, 36.02, 103.8545, 36.0245)])
    assert len(small) >= MIN_UNITS
    assert small[0].geometry.area < found[0].geometry.area
    assert candidate_units(SITE, [OTHER], LATTICE, RING, within=[OTHER]) == []


def test_no_candidates_give_an_empty_set():
    assert select_units(means(np.full(3, 0.3)), means(np.zeros((3, 0))), []).units == ()


@pytest.mark.parametrize(("distances", "strips"), [((0.0, 12.0), True), ((12.0, 300.0), False), ((), False)])
def test_control_ground_beside_the_work_is_strips(distances, strips):
    """Reference ground, which is never compared with, may lie anywhere."""
    units = [Unit(id=str(n), geometry=box(0, 0, 1, 1), distance=far) for n, far in enumerate(distances)]
    references = [Unit(id="r", geometry=box(0, 0, 1, 1), distance=2000.0, ring=REFERENCE_RING)]
    assert ControlSet(units=(*units, *references), balance={}, candidates=9).strips is strips
