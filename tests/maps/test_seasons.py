"""Sums of growing seasons: which scenes go in, and the same bits however they came to be stored."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from dask.callbacks import Callback
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import box

from monitor import derived
from monitor.cover.fraction import ENDMEMBERS, cover
from monitor.cover.indices import INDICES, ndvi
from monitor.cube.grid import site_grid
from monitor.cube.packed import PACKED_LAYERS
from monitor.cube.records import MEASURES, SiteScene, digest, encode_texts
from monitor.cube.store import LandscapeStore
from monitor.cube.stored_site import StoredSite
from monitor.errors import StoreBroken
from monitor.maps import seasons
from monitor.maps.seasons import SiteSeasons, cover_and_ndvi, scenes_by_season, sums_by_season
from monitor.sites.biomes import BIOMES
from monitor.sites.growing_season import GrowingSeason
from monitor.sites.site import Plan
from monitor.trends.kernels.season_sums import SUMS
from tests import builders
from tests.landscape import lone_site, put, site_scene

OUTLINE = (103.800, 36.000, 103.801, 36.001)
GRID = site_grid(box(*OUTLINE))
SEEN = [date(year, month, 10) for year in (2017, 2018, 2019, 2020) for month in (6, 7, 8)]
UNDER_WAY = (2020, False)
OVER = [(2017, True), (2018, True), (2019, False), (2019, True)]


def planted(*, start=date(2019, 7, 1), biome="loess", outline=OUTLINE):
    plan = Plan(A=0.3, k=0.5, L=0.5, too_early_years=2.0)
    return builders.site(
        "lowood", name="Lowood", geometry=box(*outline), start=start, biome=biome, plan=plan, hectares=1.0
    )


def series(days, *, accepted=None, controls=None, versions=None):
    days = list(days)
    return {
        "acquisition": encode_texts(f"s2/{day}" for day in days),
        "digest": encode_texts(f"{(versions or {}).get(day, 0)}-{day}" for day in days),
        "date": np.array(days, "datetime64[D]"),
        "accepted": np.array([(accepted or {}).get(day, True) for day in days], bool),
        "control_cover": np.array([(controls or {}).get(day, 0.3) for day in days], np.float64),
    }


def one_by_one(site, days, accepted, controls):
    found = {}
    for day in days:
        (year,), (position,) = GrowingSeason.of(site).locate(np.array([day], "datetime64[D]").astype(np.int64))
        if accepted[day] and controls[day] is not None and position <= GrowingSeason.of(site).length:
            scene = (f"s2/{day}".encode(), f"0-{day}".encode(), controls[day])
            found.setdefault((int(year), day < site.start), []).append(scene)
    return found


@settings(deadline=None)
@given(
    days=st.sets(st.dates(date(2015, 1, 1), date(2021, 12, 31)), max_size=40),
    start=st.dates(date(2014, 1, 1), date(2023, 1, 1)), biome=st.sampled_from([*BIOMES]), south=st.booleans(),
    data=st.data(),
)  # fmt: skip
def test_a_scene_counts_in_its_growing_season_if_it_and_its_control_were_seen(days, start, biome, south, data):
    outline = (103.0, -36.001, 103.001, -36.0) if south else OUTLINE
    site, days = planted(start=start, biome=biome, outline=outline), sorted(days)
    accepted = {day: data.draw(st.booleans()) for day in days}
    controls = {day: data.draw(st.sampled_from([None, 0.0, 0.25])) for day in days}
    found = scenes_by_season(site, series(days, accepted=accepted, controls=controls))
    rows = {
        season: list(zip(some.acquisitions.tolist(), some.digests.tolist(), some.controls.tolist(), strict=True))
        for season, some in found.items()
    }
    assert rows == one_by_one(site, days, accepted, controls)


def test_the_first_and_the_last_day_of_a_season_and_the_day_of_the_start_belong_to_it():
    days = ["2019-04-30", "2019-05-01", "2019-06-30", "2019-07-01", "2019-10-15", "2019-10-16"]
    found = scenes_by_season(planted(), series(days))
    assert {season: some.acquisitions.tolist() for season, some in found.items()} == {
        (2019, True): [b"s2/2019-05-01", b"s2/2019-06-30"],
        (2019, False): [b"s2/2019-07-01", b"s2/2019-10-15"],
    }


@pytest.mark.parametrize(("newest", "over"), [("2019-10-15", False), ("2019-10-16", True)])
def test_a_season_is_over_once_a_scene_was_offered_after_it_whether_or_not_it_counts(newest, over):
    found = scenes_by_season(planted(), series(["2019-06-01", "2019-08-01", newest], accepted={newest: False}))
    assert {season: some.over for season, some in found.items()} == {(2019, True): True, (2019, False): over}


def entry(day, version=0):
    scene = builders.scene(
        f"scene-{day}", day, acquisition=f"s2/{day}", baseline=f"05.{version:02d}", offset=-0.1 * (day.month % 2),
    )  # fmt: skip
    noise = np.random.default_rng([day.toordinal(), version])
    pixels = noise.integers(1200, 6000, (len(PACKED_LAYERS), *GRID.shape)).astype(np.uint16)
    pixels[PACKED_LAYERS.index("clear")] = noise.random(GRID.shape) > 0.2
    pixels[:6, 0, 0] = 0
    units = np.ones((1, len(MEASURES)), np.float32)
    return site_scene([scene], pixels, units, n_pixels=9, digest=digest(pixels.reshape(len(PACKED_LAYERS), -1), units))


def stored(folder, entries: Iterable[SiteScene]) -> StoredSite:
    store = lone_site(folder / "valley", grid=GRID, units=["a"])
    for some in entries:
        put(store, [some])
    return store


def sums_of(store, *, observed=None, site=None):
    site = site or planted()
    wanted = scenes_by_season(site, series(SEEN) if observed is None else observed)
    (sums,) = sums_by_season([SiteSeasons(site=site, store=store, snapshot=store.snapshot, seasons=wanted)])
    return {season: values.tobytes() for season, values in sums.items()}


def defined(store, biome="loess", days=SEEN, controls=None):
    """Sums as they are defined, scene by scene from the whole cube."""
    cube, found = store.cube(), {}
    endmembers, start = ENDMEMBERS[biome], np.datetime64(planted().start)
    index, bands = INDICES[endmembers.index]
    for time in cube["time"].values:
        day = time.astype("datetime64[D]").item()
        if day in days:
            scene = cube.sel(time=time)
            green = ndvi(scene["red"], scene["nir"]).where(scene["clear"]).values
            covered = cover(index(*(scene[band] for band in bands)).where(scene["clear"]), endmembers).values
            seen = np.isfinite(green) & np.isfinite(covered)
            over = covered - np.float32((controls or {}).get(day, 0.3))
            rows = {"seen": np.ones_like(green), "cover": covered, "ndvi": green, "over": over}
            added = np.stack([np.where(seen, rows[name], np.float32(0)) for name in SUMS])
            season = day.year, bool(time < start)
            found[season] = found.get(season, np.zeros_like(added)) + added
    return {season: values.tobytes() for season, values in found.items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return stored(tmp_path_factory.mktemp("whole"), map(entry, SEEN))


@pytest.fixture
def pixels_read(monkeypatch):
    """Acquisitions whose pixels were read."""
    read, pixels = [], LandscapeStore.pixels

    def watched(self, rows, place):
        read.extend(self.granules().acquisitions[self.granules().acquisition[list(rows)]].astype(str))
        return pixels(self, rows, place)

    monkeypatch.setattr(LandscapeStore, "pixels", watched)
    return read


def names(*days):
    return [f"s2/{day}" for day in days]


@pytest.mark.parametrize("biome", ["loess", "sandy", "karst"])
def test_sums_are_those_of_the_scenes_one_by_one_in_any_portion(whole, monkeypatch, biome):
    expected = defined(whole, biome)
    for portion in (1, 2 * GRID.shape.x * GRID.shape.y * 4 * 4, 1 << 30):  # one scene, some, all of a season at once
        monkeypatch.setattr(seasons, "CUBE_CHUNK_BYTES", portion)
        for path in whole.derived.parent.glob("*.seasons/*"):
            path.unlink()
        found = sums_of(whole, site=planted(biome=biome))
        assert found == expected


def test_the_same_scenes_give_the_same_bits_in_whatever_order_they_arrived(whole, tmp_path):
    arrival = [SEEN[n] for n in np.random.default_rng(1).permutation(len(SEEN))]
    shuffled = stored(tmp_path, map(entry, arrival))
    for number in range(1, len(arrival)):  # maps were made on nights between
        sums_of(shuffled, observed=series(sorted(arrival[:number])))
    assert sums_of(shuffled) == sums_of(whole)


def test_seasons_that_are_over_are_read_once_and_the_one_under_way_whenever_it_is_needed(tmp_path, pixels_read):
    store = stored(tmp_path, map(entry, SEEN))
    first = sums_of(store)
    assert sorted(pixels_read) == names(*SEEN)
    stored_sums = {path.name for path in store.derived.with_suffix(".seasons").iterdir()}
    assert stored_sums == {"2017-before", "2018-before", "2019-before", "2019"}
    pixels_read.clear()
    assert sums_of(store) == first
    assert pixels_read == names(*SEEN[9:])


LATE = SEEN[4]


@pytest.mark.parametrize(("before", "after"), [
    (series([day for day in SEEN if day != LATE]), series(SEEN)),
    (series(SEEN), series([day for day in SEEN if day != LATE])),
    (series(SEEN, versions={LATE: 1}), series(SEEN)),
    (series(SEEN, controls={LATE: 0.9}), series(SEEN)),
    (series(SEEN, accepted={LATE: False}), series(SEEN)),
], ids=["late", "lost", "replaced", "another control", "rejected before"])  # fmt: skip
def test_a_scene_that_changes_in_a_season_that_is_over_has_that_season_alone_read_again(
    tmp_path, pixels_read, before, after
):
    store = stored(tmp_path, map(entry, SEEN))
    sums_of(store, observed=before)
    pixels_read.clear()
    found = sums_of(store, observed=after)
    here = [name.decode() for name in after["acquisition"].tolist()]
    assert pixels_read == [name for name in here if name[3:7] == "2018"] + names(*SEEN[9:])
    assert found == defined(store, days=[date.fromisoformat(name[3:]) for name in here])


@pytest.mark.slow
def test_a_reprocessed_scene_is_summed_as_it_is_stored_now(tmp_path):
    store = stored(tmp_path, map(entry, SEEN))
    sums_of(store)
    put(store, [entry(LATE, version=1)])
    newest = stored(tmp_path / "newest", (entry(day, version=int(day == LATE)) for day in SEEN))
    assert sums_of(store, observed=series(SEEN, versions={LATE: 1})) == sums_of(newest)


def test_another_start_puts_scenes_into_another_season(whole):
    moved = sums_of(whole, site=planted(start=date(2018, 7, 1)))
    assert set(moved) == {(2017, True), (2018, True), (2018, False), (2019, False), (2020, False)}
    assert moved[2020, False] == sums_of(whole)[2020, False]


@pytest.mark.parametrize("spoil", [
    lambda raw: raw[:-1],
    *(
        pytest.param(spoil, marks=pytest.mark.slow)
        for spoil in (lambda raw: b"", lambda raw: raw[:-9] + b"\1" + raw[-8:])
    ),
])  # fmt: skip
def test_what_was_stored_of_seasons_may_be_torn_or_removed(tmp_path, spoil):
    store = stored(tmp_path, map(entry, SEEN))
    first = sums_of(store)
    for path in store.derived.with_suffix(".seasons").iterdir():
        path.write_bytes(spoil(path.read_bytes()))
    assert sums_of(store) == first


def test_other_code_and_other_end_members_sum_every_season_again(tmp_path, pixels_read, monkeypatch):
    store = stored(tmp_path, map(entry, SEEN))
    first = sums_of(store)
    pixels_read.clear()
    monkeypatch.setitem(BIOMES, "loess", replace(BIOMES["loess"], index="kndvi", bare_soil=0.01, full_cover=0.65))
    assert sums_of(store) == defined(store, "karst") != first
    assert sorted(pixels_read) == names(*SEEN)
    monkeypatch.undo()
    monkeypatch.setattr(derived, "code_hash", lambda module: "another")
    assert sums_of(store) == first


def test_an_edit_of_the_bandpass_makes_the_sums_of_seasons_again():
    """Defect 2 of the review of 2026-11: the code of maps was hashed without the constants of the bands."""
    assert "monitor.imagery.bands" in modules_of("monitor.maps.seasons")


def modules_of(module):
    """Modules whose source goes into the code hash of another."""
    seen, left = set(), [module]
    while left:
        name = left.pop()
        path = derived._source(name)
        if name not in seen and path is not None:
            seen.add(name)
            left += derived._parsed(path.read_bytes())[1]
    return seen


def test_a_scene_that_the_store_lacks_is_named(whole):
    with pytest.raises(StoreBroken, match="s2/2016-07-10"):
        sums_of(whole, observed=series([date(2016, 7, 10), *SEEN]))


def test_a_lazy_cube_has_lazy_cover_and_ndvi_and_nothing_is_computed_early(whole):
    def fail(*_):
        raise AssertionError("computed too early")

    with Callback(start=fail):
        lazy = cover_and_ndvi(whole.cube(), ENDMEMBERS["karst"])
    assert all(layer.chunks is not None for layer in lazy)
