"""The state of a site's maps: however it came about, it is what a run from scratch would leave, to the last bit."""

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from dask.callbacks import Callback
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shapely.geometry import box

from monitor.cover.fraction import ENDMEMBERS, cover
from monitor.cover.indices import ndvi
from monitor.cover.zonal_means import MEASURES
from monitor.cube.grid import site_grid
from monitor.cube.packed import LAYERS
from monitor.cube.store import Entry, digest, record_of
from monitor.errors import StoreBroken
from monitor.imagery.source import Scene
from monitor.trends import state
from monitor.trends.kernels.monotonic import slope_and_score
from monitor.trends.kernels.yearly import ROWS
from monitor.trends.state import (
    Look,
    Scenes,
    State,
    Used,
    at_hand,
    blocks_of,
    bring_up_to_date,
    maps,
    overwrite,
    reader,
    recipe,
    sums_of,
)
from monitor.trends.stored import Stored
from tests.landscape import lone_site, opened, put

GRID = site_grid(box(103.800, 36.000, 103.801, 36.001))
SHAPE = (GRID.shape.y, GRID.shape.x)
GROUND = np.random.default_rng(0).random(SHAPE) < 0.7
START = 2019


def used(n, *, version=0):
    """The n-th of a history of eight scenes a year from 2016 on; the work begins in the middle of 2019."""
    return Used(f"s2/{n:03d}", f"digest-{n}-{version}", round(0.2 + 0.01 * (n % 7), 6))


def season_of(scene):
    year, place = divmod(int(scene.acquisition[3:6]), 8)
    return 2016 + year, 2016 + year < START or (2016 + year == START and place < 4)


def by_season(scenes):
    return {season: Scenes.of(list(some)) for season, some in groupby(scenes, season_of)}


HISTORY = [used(n) for n in range(48)]


class Ground:
    """Stored scenes made up on demand, and which of them were asked for."""

    def __init__(self, version=None):
        self.version = version or {}
        self.asked = []

    def __call__(self, acquisitions):
        self.asked += acquisitions
        for name in acquisitions:
            noise = np.random.default_rng([int(name[3:6]), self.version.get(name, 0)])
            green, index = noise.random((2, *SHAPE), dtype=np.float32)
            yield Look(np.where(green > 0.8, np.float32(np.nan), green), index)


def kept(folder):
    """Everything in a state but the name of the snapshot, and the checksum, which holds it too."""
    files = {}
    for path in sorted(folder.iterdir()):
        head, _, body = path.read_bytes().partition(b"\n")
        files[path.name] = {k: v for k, v in json.loads(head).items() if k not in ("snapshot", "check")}, body
    return files


def brought(folder, scenes, read, *, snapshot="S1", made_by="recipe"):
    made = {"made_by": made_by, "snapshot": snapshot, "grid": GRID}
    return bring_up_to_date(folder, by_season(scenes), read, **made)


def whole(folder, scenes, read):
    """Everything in a state after every season was looked at, whether or not the maps need it."""
    sums_of(folder, by_season(scenes), read, made_by="recipe", snapshot="S1", grid=GRID)
    return kept(folder)


def drawn(state):
    """The maps to the last bit."""
    return {name: values.tobytes() for name, values in maps(state, GROUND).items()}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scratch")
    brought(folder, HISTORY, Ground())
    return kept(folder)


def test_seasons_are_kept_apart_and_the_one_in_which_the_work_began_is_in_two(scratch):
    assert set(scratch) == {
        "2016-before.sums", "2017-before.sums", "2018-before.sums", "2019-before.sums", "2019.sums", "2020.sums",
        "2021.sums", "past.means",
    }  # fmt: skip


def test_night_by_night_ends_where_a_run_from_scratch_ends_and_reads_each_scene_once(tmp_path, scratch):
    read = Ground()
    for n in range(1, len(HISTORY) + 1):
        brought(tmp_path, HISTORY[:n], read, snapshot=f"S{n}")
    assert kept(tmp_path) == scratch
    assert read.asked == [scene.acquisition for scene in HISTORY]


def plainly(scenes, read):
    """The maps from the sums of all seasons, put down as they are defined."""
    with TemporaryDirectory() as folder:
        made = {"made_by": "", "snapshot": "", "grid": GRID}
        sums = sums_of(Path(folder), by_season(scenes), read, **made)

    def mean(row, chosen):
        total, seen = np.zeros((2, *SHAPE), np.float32)
        for season in sorted(filter(chosen, sums)):
            total += sums[season][ROWS.index(row)]
            seen += sums[season][0]
        return np.divide(total, seen, out=np.full(SHAPE, np.nan, np.float32), where=seen > 0)

    years = sorted({year for year, _ in sums})
    last = years[-1]
    covers = np.stack([mean("cover", lambda season, year=year: season[0] == year) for year in years])
    slope, _ = slope_and_score(np.array(years, float), covers.reshape(len(years), -1))
    since = {(last, False)} & set(sums) or {(last, True)}
    uplift = mean("over", since.__contains__)
    if any(before for _, before in sums):
        uplift = uplift - mean("over", lambda season: season[1])
    ndvi = mean("ndvi", lambda season: season[0] == last)
    found = {"ndvi": ndvi, "cover": covers[-1], "slope": slope.reshape(SHAPE), "uplift": uplift}
    return {name: np.where(GROUND, values, np.float32(np.nan)).tobytes() for name, values in found.items()}


def test_every_night_the_maps_are_those_of_the_sums_of_all_seasons(tmp_path):
    for n in range(1, len(HISTORY) + 1):
        assert drawn(brought(tmp_path, HISTORY[:n], Ground())) == plainly(HISTORY[:n], Ground())


def test_a_night_reads_no_season_that_is_past(tmp_path):
    """Whatever stands in the files of the years before: they are not looked at until something there has changed."""
    brought(tmp_path, HISTORY[:-1], Ground())
    before = [path for path in tmp_path.glob("*.sums") if path.name != "2021.sums"]
    for path in before:
        path.write_bytes(b"torn")
    read = Ground()
    assert drawn(brought(tmp_path, HISTORY, read)) == plainly(HISTORY, Ground())
    assert read.asked == [HISTORY[-1].acquisition]
    assert len(before) == 6
    assert {path.read_bytes() for path in before} == {b"torn"}


def test_as_a_season_begins_the_one_before_is_past_and_no_pixel_of_it_is_read_again(tmp_path):
    brought(tmp_path, HISTORY[:40], Ground())
    read = Ground()
    assert drawn(brought(tmp_path, HISTORY[:41], read)) == plainly(HISTORY[:41], Ground())
    assert read.asked == [HISTORY[40].acquisition]


def test_of_the_seasons_that_are_asked_for_no_other_is_touched(tmp_path, scratch):
    brought(tmp_path, HISTORY[:32], Ground())
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    some = {season: scenes for season, scenes in by_season(HISTORY).items() if season[0] == 2020}
    read = Ground()
    sums_of(tmp_path, some, read, made_by="recipe", snapshot="S1", grid=GRID)
    assert read.asked == [scene.acquisition for scene in HISTORY[32:40]]
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert {path.name for path in tmp_path.iterdir()} - {path.name for path in stamps} == {"2020.sums"}
    brought(tmp_path, HISTORY, Ground())
    assert kept(tmp_path) == scratch


def without(*gone):
    return [scene for n, scene in enumerate(HISTORY) if n not in gone]


WAS = {
    "a late scene of a year that is past": without(10),
    "a late scene that is the first of all": without(0),
    "a late year": without(*range(16, 24)),
    "a late scene from before the start in its year": without(25),
    "all that was seen in the year of the start before it was late": without(*range(24, 28)),
    "an older baseline": [used(n, version=1) if n == 12 else scene for n, scene in enumerate(HISTORY)],
    "another mean of the control": [*HISTORY[:9], HISTORY[9]._replace(control=0.9), *HISTORY[10:]],
    "a year that begins": HISTORY[:40],
    "two years at once": HISTORY[:30],
    "a scene that is rejected now": sorted([*HISTORY, Used("s2/003x", "", 0.3)]),
    "a year that is rejected now": sorted([*HISTORY, *(Used(f"s2/{n:03d}", "", 0.3) for n in range(48, 52))]),
}


@pytest.mark.parametrize("was", WAS.values(), ids=WAS)
def test_whatever_was_kept_of_the_years_before_the_maps_are_those_from_scratch(tmp_path, scratch, was):
    older = {scene.acquisition: 1 for scene in was if scene.digest.endswith("-1")}
    brought(tmp_path, was, Ground(older))
    assert drawn(brought(tmp_path, HISTORY, Ground())) == plainly(HISTORY, Ground())
    assert whole(tmp_path, HISTORY, Ground()) == scratch


def blocks(folder, scenes, read, *, ground=GROUND, times=2):
    made = {"made_by": "recipe", "snapshot": "S1", "grid": GRID}
    return blocks_of(folder, dict(sorted(by_season(scenes).items())), ground, times, read, **made)


def added(scenes, read, *, ground=GROUND, times=2):
    """Sums of blocks pixel by pixel, as they are defined."""
    with TemporaryDirectory() as folder:
        made = {"made_by": "", "snapshot": "", "grid": GRID}
        sums = sums_of(Path(folder), by_season(scenes), read, **made)
    sides = [-(-side // times) for side in SHAPE]
    total = np.zeros((2, len(sums), *sides), np.float32)
    for i, season in enumerate(sorted(sums)):
        for y, x in zip(*np.nonzero(ground), strict=True):
            total[:, i, y // times, x // times] += sums[season][[ROWS.index("over"), ROWS.index("seen")], y, x]
    return total


@pytest.mark.parametrize("was", WAS.values(), ids=WAS)
def test_whatever_was_kept_of_the_years_before_blocks_are_those_from_scratch(tmp_path, was):
    older = {scene.acquisition: 1 for scene in was if scene.digest.endswith("-1")}
    for scenes, read in ((was, Ground(older)), (HISTORY, Ground()), (HISTORY, Ground())):
        np.testing.assert_array_equal(blocks(tmp_path, scenes, read), added(scenes, Ground(read.version)))


def test_blocks_of_a_new_scene_read_no_season_that_is_past_and_maps_leave_their_file_alone(tmp_path):
    blocks(tmp_path, HISTORY[:-1], Ground())
    brought(tmp_path, HISTORY[:-1], Ground())
    before = [path for path in tmp_path.glob("*.sums") if path.name != "2021.sums"]
    for path in before:
        path.write_bytes(b"torn")
    read = Ground()
    np.testing.assert_array_equal(blocks(tmp_path, HISTORY, read), added(HISTORY, Ground()))
    assert read.asked == [HISTORY[-1].acquisition]
    assert {path.read_bytes() for path in before} == {b"torn"}
    torn = tmp_path / "past.blocks"
    torn.write_bytes(torn.read_bytes()[:-1])
    np.testing.assert_array_equal(blocks(tmp_path, HISTORY, read), added(HISTORY, Ground()))


@pytest.mark.parametrize(("ground", "times"), [(~GROUND, 2), (GROUND, 3)], ids=["another ground", "other blocks"])
def test_blocks_of_another_kind_are_not_taken_for_these(tmp_path, ground, times):
    blocks(tmp_path, HISTORY, Ground())
    found = blocks(tmp_path, HISTORY, Ground(), ground=ground, times=times)
    np.testing.assert_array_equal(found, added(HISTORY, Ground(), ground=ground, times=times))


def test_blocks_of_a_single_year_need_no_file_of_the_past(tmp_path):
    scenes = HISTORY[40:]
    np.testing.assert_array_equal(blocks(tmp_path, scenes, Ground()), added(scenes, Ground()))
    assert {path.name for path in tmp_path.iterdir()} == {"2021.sums"}


@pytest.mark.parametrize("since", [0, 4], ids=["a year is divided", "a whole year is of the other side"])
def test_scenes_that_another_start_puts_into_another_season_are_counted_there(tmp_path, monkeypatch, since):
    scenes = [scene for n, scene in enumerate(HISTORY) if n % 8 >= since]
    brought(tmp_path, scenes, Ground())
    monkeypatch.setattr(f"{__name__}.START", 2018)
    assert drawn(brought(tmp_path, scenes, Ground())) == plainly(scenes, Ground())


@pytest.mark.parametrize("scenes", [HISTORY[:20], HISTORY[28:], HISTORY[:28]], ids=["before", "since", "until"])
def test_sites_seen_only_before_the_start_or_only_since_have_maps_too(tmp_path, scenes):
    for n in (len(scenes) - 1, len(scenes)):
        assert drawn(brought(tmp_path, scenes[:n], Ground())) == plainly(scenes[:n], Ground())


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_order_of_arrival_ends_where_a_run_from_scratch_ends(tmp_path_factory, scratch, data):
    folder = tmp_path_factory.mktemp("nights")
    arrival = data.draw(st.permutations(range(len(HISTORY))))
    stored: set[int] = set()
    while arrival:
        some, arrival = arrival[: (size := data.draw(st.integers(1, 20)))], arrival[size:]
        stored |= set(some)
        brought(folder, [HISTORY[n] for n in sorted(stored)], Ground())
    assert kept(folder) == scratch


def test_a_night_without_a_new_scene_reads_and_writes_nothing(tmp_path):
    first = brought(tmp_path, HISTORY, Ground())
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    read = Ground()
    again = brought(tmp_path, HISTORY, read)
    assert read.asked == []
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == stamps
    assert drawn(again) == drawn(first)


def test_a_late_scene_has_only_its_own_season_read_again(tmp_path, scratch):
    brought(tmp_path, [scene for scene in HISTORY if scene != HISTORY[10]], Ground())
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    read = Ground()
    brought(tmp_path, HISTORY, read)
    assert read.asked == [scene.acquisition for scene in HISTORY[8:16]]
    assert kept(tmp_path) == scratch
    changed = {path.name for path in tmp_path.iterdir() if stamps.get(path) != path.stat().st_mtime_ns}
    assert changed == {"2017-before.sums", "past.means"}


def test_a_newer_baseline_replaces_the_older_one_in_its_season(tmp_path, tmp_path_factory):
    brought(tmp_path, HISTORY, Ground())
    newer = [used(n, version=1) if n == 35 else scene for n, scene in enumerate(HISTORY)]
    read = Ground({"s2/035": 1})
    brought(tmp_path, newer, read)
    assert read.asked == [scene.acquisition for scene in HISTORY[32:40]]
    anew = tmp_path_factory.mktemp("anew")
    brought(anew, newer, Ground({"s2/035": 1}))
    assert kept(tmp_path) == kept(anew)


def test_another_mean_of_the_control_changes_the_sums_though_the_pixels_are_the_same(tmp_path, tmp_path_factory):
    brought(tmp_path, HISTORY, Ground())
    moved = [*HISTORY[:-1], HISTORY[-1]._replace(control=0.9)]
    brought(tmp_path, moved, Ground())
    anew = tmp_path_factory.mktemp("anew")
    brought(anew, moved, Ground())
    assert kept(tmp_path) == kept(anew)


def test_a_rejected_scene_leaves_no_trace_and_a_season_that_lost_all_of_its_own_is_gone(tmp_path, tmp_path_factory):
    brought(tmp_path, HISTORY, Ground())
    fewer = [scene for n, scene in enumerate(HISTORY) if n != 17 and n < 40]
    brought(tmp_path, fewer, Ground())
    anew = tmp_path_factory.mktemp("anew")
    brought(anew, fewer, Ground())
    assert kept(tmp_path) == kept(anew)
    assert "2021.sums" not in kept(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.6, 0.999])
@pytest.mark.parametrize("moment", range(6))
def test_killed_in_the_midst_of_any_write_the_next_run_ends_where_it_should(
    tmp_path, scratch, monkeypatch, moment, share
):
    brought(tmp_path, HISTORY[:20], Ground())
    written = []

    def dies(path, *parts):
        written.append(path)
        if len(written) <= moment:
            return overwrite(path, *parts)
        new, old = b"".join(map(bytes, parts)), path.read_bytes() if path.exists() else b""
        torn = int(share * len(new))
        path.write_bytes(new[:torn] + old[torn:])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("monitor.trends.state.overwrite", dies)
        with pytest.raises(KeyboardInterrupt):
            brought(tmp_path, HISTORY, Ground())
    brought(tmp_path, HISTORY, Ground())
    assert kept(tmp_path) == scratch


def test_what_is_written_anew_lies_in_the_same_file_and_is_no_longer_than_it_should_be(tmp_path):
    path = tmp_path / "a"
    overwrite(path, b"a long", b" content")
    before = path.stat().st_ino
    overwrite(path, b"short")
    assert (path.read_bytes(), path.stat().st_ino) == (b"short", before)


@pytest.mark.parametrize("shared", [lambda path: path.with_name("b").hardlink_to(path), lambda path: path.chmod(0o444)])
def test_a_file_that_a_copy_shares_or_that_may_not_be_written_gives_way_to_a_new_one(tmp_path, monkeypatch, shared):
    path = tmp_path / "a"
    overwrite(path, b"before")
    shared(path)
    monkeypatch.setattr(os, "access", lambda where, _: bool(Path(where).stat().st_mode & 0o200))  # root may write all
    with path.open("rb") as held:
        overwrite(path, b"after")
        assert (path.read_bytes(), held.read()) == (b"after", b"before")


def test_a_reader_that_fails_midway_spoils_nothing(tmp_path, scratch):
    brought(tmp_path, HISTORY[:20], Ground())

    def breaks(acquisitions):
        yield from list(Ground()(acquisitions))[:11]
        raise StoreBroken("gone")

    with pytest.raises(StoreBroken):
        brought(tmp_path, HISTORY, breaks)
    brought(tmp_path, HISTORY, Ground())
    assert kept(tmp_path) == scratch


SPOILT = {
    "a byte of the sums": lambda raw: raw[:-100] + bytes([raw[-100] ^ 1]) + raw[-99:],
    "a byte of the head": lambda raw: raw[: (at := raw.index(b"\n") - 5)] + bytes([raw[at] ^ 1]) + raw[at + 1 :],
    "the end": lambda raw: raw[:-1],
    "all": lambda raw: b"",
    "another kind of file": lambda raw: b"\x93NUMPY" + bytes(900),
    "no object": lambda raw: b"[1]" + raw[raw.index(b"\n") :],
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
@pytest.mark.parametrize("name", ["2018-before.sums", "2021.sums", "past.means"])
def test_a_spoilt_file_is_made_again_and_no_map_shows_it(tmp_path, scratch, name, spoil):
    first = brought(tmp_path, HISTORY, Ground())
    (tmp_path / name).write_bytes(spoil((tmp_path / name).read_bytes()))
    assert drawn(brought(tmp_path, HISTORY, Ground())) == drawn(first)
    assert whole(tmp_path, HISTORY, Ground()) == scratch


def test_the_state_of_another_recipe_is_not_added_to(tmp_path, tmp_path_factory):
    brought(tmp_path, HISTORY[:40], Ground(), made_by="old")
    read = Ground()
    brought(tmp_path, HISTORY, read, made_by="new")
    anew = tmp_path_factory.mktemp("anew")
    brought(anew, HISTORY, Ground(), made_by="new")
    assert len(read.asked) == len(HISTORY)
    assert kept(tmp_path) == kept(anew)


def test_other_end_members_or_another_grid_are_another_recipe():
    loess = ENDMEMBERS["loess"]
    other = site_grid(box(103.800, 36.000, 103.801, 36.002))
    assert len({recipe(loess, GRID), recipe(replace(loess, soil=0.1), GRID), recipe(loess, other)}) == 3


# what the maps say


def flat(value):
    return np.full(SHAPE, value, np.float32)


def test_maps_of_known_ground_say_what_is_known(tmp_path):
    """Cover 0.1 before the start, then 0.2, 0.3, 0.4; the control stays at 0.1, but 0.15 in the last season."""
    seasons = {
        (year, year < 2019): Scenes.of([Used(f"s2/{year}-{n}", "", 0.15 if year == 2021 else 0.1) for n in range(2)])
        for year in range(2016, 2022)
    }
    green = [0.1, 0.1, 0.1, 0.2, 0.3, 0.4]

    def read(acquisitions):
        for name in acquisitions:
            seen = flat(green[int(name[3:7]) - 2016])
            seen[0, 0] = np.nan
            if name.endswith("-1"):
                seen[1, 1] = np.nan
            yield Look(seen, seen + 0.5)

    made = bring_up_to_date(tmp_path, seasons, read, made_by="", snapshot="", grid=GRID)
    ground = np.ones(SHAPE, bool)
    ground[2] = False
    found = maps(made, ground)
    inside = (3, 3)
    np.testing.assert_allclose(found["cover"][inside], 0.4, rtol=1e-6)
    np.testing.assert_allclose(found["ndvi"][inside], 0.9, rtol=1e-6)
    np.testing.assert_allclose(found["uplift"][inside], (0.4 - 0.15) - (0.1 - 0.1), rtol=1e-5)
    # of the 15 slopes between pairs of years, seven are less than 1/15 (0 0 0 1/30 .05 .05 .06), seven more
    np.testing.assert_allclose(found["slope"][inside], 1 / 15, rtol=1e-5)
    for name in found:
        assert np.isnan(found[name][0, 0])
        assert np.isnan(found[name][2]).all()
        np.testing.assert_array_equal(found[name][1, 1], found[name][inside])


def test_in_the_season_of_the_start_uplift_is_told_from_scenes_since_then():
    sums = {
        (2019, True): np.stack([flat(4), flat(0.8), flat(2.0), flat(0.4)]),
        (2019, False): np.stack([flat(2), flat(0.8), flat(1.2), flat(0.5)]),
    }
    found = maps(State.of(sums), np.ones(SHAPE, bool))
    np.testing.assert_allclose(found["uplift"], 0.25 - 0.1, rtol=1e-6)
    np.testing.assert_allclose(found["cover"], 1.6 / 6, rtol=1e-6)
    assert np.isnan(found["slope"]).all()


def test_without_a_scene_before_the_start_uplift_is_the_difference_from_the_control():
    sums = {(2019, False): np.stack([flat(2), flat(0.8), flat(1.2), flat(0.5)])}
    np.testing.assert_allclose(maps(State.of(sums), np.ones(SHAPE, bool))["uplift"], 0.25)


# out of a real store


def entry(day):
    scene = Scene(
        id=f"scene-{day}", acquisition=f"s2/{day:03d}", time=datetime(2020, 5, 1, tzinfo=UTC) + timedelta(days=day),
        sensor="sentinel-2a", baseline="05.09", source="test", scale=1e-4, offset=-0.1 * (day % 2), quality="scl",
    )  # fmt: skip
    noise = np.random.default_rng(day)
    pixels = noise.integers(1200, 6000, (len(LAYERS), *SHAPE)).astype(np.uint16)
    pixels[LAYERS.index("clear")] = noise.random(SHAPE) > 0.2
    pixels[:6, 0, 0] = 0
    units = np.ones((1, len(MEASURES)), np.float32)
    record = record_of(
        scene,
        accepted=True,
        reason="",
        clear_fraction=1.0,
        n_pixels=9,
        measures={},
        digest=digest(pixels.reshape(len(LAYERS), -1), units),
    )
    return Entry(record=record, pixels=pixels, units=units)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Ninety scenes; the last ten of them arrived first."""
    store = lone_site(tmp_path_factory.mktemp("store") / "valley", grid=GRID, units=["a"])
    put(store, [entry(day) for day in range(80, 90)])
    put(store, [entry(day) for day in range(80)])
    return store


def test_what_is_drawn_from_a_few_scenes_is_what_the_whole_cube_holds_and_nothing_is_read_before_it_is_asked(store):
    stored = Stored(store, store.snapshot)
    wanted = [f"s2/{day:03d}" for day in (3, 88, 40, 41, 0)]

    def fail(*_):
        raise AssertionError("read too early")

    with Callback(start=fail):
        drawn = stored.draw(wanted, lambda cube: [cube["red"], cube["nir"]], names=("red", "nir"), layers=LAYERS)
    cube = store.cube().isel(time=[3, 88, 40, 41, 0])
    assert stored.grid == GRID
    assert drawn.dtype == np.float32
    for band in ("red", "nir"):
        np.testing.assert_array_equal(drawn.sel(value=band).values, cube[band].values)


@pytest.mark.parametrize("biome", ["loess", "sandy", "karst"])
def test_the_reader_draws_cover_and_ndvi_of_clear_pixels_in_any_portion(store, biome, monkeypatch):
    endmembers = ENDMEMBERS[biome]
    monkeypatch.setattr(state, "AT_ONCE", 4 * 5 * SHAPE[0] * SHAPE[1] * 2)  # two scenes at once
    wanted = [f"s2/{day:03d}" for day in (85, 20, 21, 22, 7)]
    looks = list(reader(Stored(store, store.snapshot), endmembers)(wanted))
    cube = store.cube().isel(time=[85, 20, 21, 22, 7])
    index = state.INDICES[endmembers.index][0](cube["red"], cube["nir"]).where(cube["clear"])
    np.testing.assert_array_equal([look.cover for look in looks], cover(index, endmembers).values)
    np.testing.assert_array_equal([look.ndvi for look in looks], ndvi(cube["red"], cube["nir"]).where(cube["clear"]))


@pytest.mark.parametrize("biome", ["loess", "sandy", "karst"])
def test_of_scenes_at_hand_the_same_is_drawn_as_of_stored_ones(store, biome):
    endmembers = ENDMEMBERS[biome]
    wanted = [f"s2/{day:03d}" for day in (85, 20, 7)]
    theirs = reader(Stored(store, store.snapshot), endmembers)(wanted)
    for ours, stored in zip(at_hand([entry(day) for day in (7, 20, 85)], endmembers)(wanted), theirs, strict=True):
        for one, other in zip(ours, stored, strict=True):
            assert one.tobytes() == other.tobytes()
    with pytest.raises(KeyError, match="s2/008"):
        at_hand([entry(7)], endmembers)(["s2/007", "s2/008"])


def test_a_scene_that_the_store_lacks_is_named(store):
    stored = Stored(store, store.snapshot)
    with pytest.raises(StoreBroken, match="s2/999"):
        stored.draw(["s2/001", "s2/999"], lambda cube: [cube["red"]], names=("red",), layers=LAYERS)


def test_an_unknown_snapshot_or_a_spoilt_store_says_so(store, tmp_path):
    with pytest.raises(StoreBroken):
        Stored(store, "AAAAAAAAAAAAAAAAAAAA")
    with pytest.raises(StoreBroken):
        Stored(store, "valley:91")
    (tmp_path / "valley").mkdir()
    with pytest.raises(StoreBroken, match="valley"):
        Stored(opened(tmp_path / "valley"), store.snapshot)


def test_a_torn_head_is_found_out_though_the_values_are_the_same(tmp_path):
    brought(tmp_path, HISTORY, Ground())
    path = tmp_path / "2020.sums"
    head, _, body = path.read_bytes().partition(b"\n")
    told = json.loads(head)
    told["scenes"][0], told["scenes"][1] = told["scenes"][1], told["scenes"][0]
    path.write_bytes(json.dumps(told, ensure_ascii=False).encode() + b"\n" + body)
    read = Ground()
    whole(tmp_path, HISTORY, read)
    assert len(read.asked) == len(told["scenes"])
