"""Scenes of the sites of a landscape: pixels, means and metadata in one commit, rows only appended."""

import asyncio
import errno
import shutil
import subprocess
import sys
import textwrap
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from unittest.mock import patch

import dask
import icechunk
import numpy as np
import pytest
import xarray as xr
import zarr
from dask.callbacks import Callback
from shapely.geometry import box

from monitor.cover.indices import INDICES
from monitor.cube.granules import MAX_GRANULES
from monitor.cube.grid import site_grid
from monitor.cube.packed import PACKED_LAYERS
from monitor.cube.records import COUNTS, MEANS, MEASURES, STATES, UNIT_MEASURES, Member, Picture, digest
from monitor.cube.store import FORMAT, LandscapeStore, landscape_at_snapshot
from monitor.cube.stored_site import StoredSite
from monitor.errors import BadData, DiskFull, StoreBroken
from monitor.imagery import bands
from tests import builders
from tests.landscape import record, records, site_scene

GRIDS = {
    "low": site_grid(box(103.800, 36.000, 103.801, 36.001)),
    "high": site_grid(box(103.900, 36.050, 103.903, 36.051)),
    "bare": site_grid(box(103.950, 36.050, 103.951, 36.052)),
}
UNITS = {"low": ("a", "b"), "high": ("c", "d", "e"), "bare": ()}


def inside(ground):
    found = np.ones(GRIDS[ground].shape, bool)
    found[0, 0] = False
    return found


def scene(day, *, baseline="05.09", name=None, **fields):
    given = {"acquisition": f"s2/{day:03d}", "tile": "48SUF", "orbit": "104", "baseline": baseline} | fields
    time = given.pop("time", date(2020, 1, 1) + timedelta(days=day))
    return builders.scene(name or f"scene-{day:03d}-{baseline}", time, **given)


def entry(day, *, ground="low", value=1000, reason="", granules=None, means=None, n_pixels=9, n_units=1, **fields):
    """One scene of one site; every pixel and every unit mean says `value`."""
    granules = granules or (scene(day, **fields),)
    pixels = np.full((len(PACKED_LAYERS), int(inside(ground).sum())), value, dtype=np.uint16)
    pixels[PACKED_LAYERS.index("quality")], pixels[PACKED_LAYERS.index("clear")] = 4, 1
    units = np.full((max(len(UNITS[ground]), 1), len(MEASURES)), value, dtype=np.float32)
    units[-1, 1:] = np.nan
    return site_scene(
        granules, pixels, units, acquisition=f"s2/{day:03d}", reason=reason, n_pixels=n_pixels, n_units=n_units,
        digest=digest(pixels, units), means={"ndvi": 0.5, "control_cover": 0.25} if means is None else means,
    )  # fmt: skip


def rough(day, **fields):
    """A scene of noise: too large to be anywhere but in files of its own."""
    made = entry(day, **fields)
    made.pixels[:] = np.random.default_rng(day).integers(1, 9999, made.pixels.shape, dtype=np.uint16)
    return made


def unseen(day):
    nothing = entry(day, n_pixels=0, means={}, reason="CLOUD")
    nothing.pixels[:] = 0
    nothing.units[:] = np.nan
    return nothing


def members(*grounds):
    return [
        Member(
            ground=ground, site=f"site {ground}", grid=GRIDS[ground], inside=inside(ground), context=GRIDS[ground],
            units=UNITS[ground], controls={"units": list(UNITS[ground])},
        )
        for ground in grounds
    ]  # fmt: skip


def laid_out(path):
    store = LandscapeStore(path)
    store.create(members("low", "high"), biome="loess")
    return store


def put(store, *entries, ground="low"):
    """Append scenes of one site, a row each; the landscape's other site is not covered."""
    store.append([{ground: one} for one in entries], "scenes")
    return StoredSite(store, ground).snapshot


def again(store, ground="low"):
    """The site as another process opens it."""
    return StoredSite(LandscapeStore(store.path), ground)


def reds(site, snapshot=None):
    return site.cube(snapshot).red.values[:, 1, 1].astype(float).round(4).tolist()


def failing_commits(error):
    """No commit succeeds in this block."""
    return patch.object(icechunk.Session, "commit", side_effect=error)


@pytest.fixture(scope="module")
def blank(tmp_path_factory):
    """Folder with a landscape without scenes, to be copied, which is four times as fast as laying one out."""
    return laid_out(tmp_path_factory.mktemp("blank") / "valley").path.parent


@pytest.fixture
def store(blank, tmp_path):
    shutil.copytree(blank, tmp_path, dirs_exist_ok=True)
    return LandscapeStore(tmp_path / "valley")


@pytest.fixture
def site(store):
    return StoredSite(store, "low")


def test_what_is_put_comes_back_after_reopening(store):
    put(store, entry(5, value=1234))
    assert LandscapeStore(store.path).exists
    found = again(store)
    assert found.grid == GRIDS["low"]
    assert found.units == ["a", "b"]
    assert found.controls == {"units": ["a", "b"]}
    (one,) = records(found)
    assert one == record(entry(5, value=1234))
    cube = found.cube()
    np.testing.assert_allclose(cube.red.values[0, 1:, 1:], 0.1234, rtol=1e-6)
    assert np.isnan(cube.red.values[0, 0, 0])
    assert cube.clear.dtype == bool
    assert cube.odc.crs == GRIDS["low"].crs
    assert cube.attrs["site"] == "site low"
    columns = [MEASURES.index(name) for name in UNIT_MEASURES]
    np.testing.assert_array_equal(found.unit_means().values[0], entry(5, value=1234).units[:, columns])


@pytest.mark.parametrize("reason", STATES[2:])
def test_why_a_scene_does_not_count_comes_back(store, reason):
    put(store, entry(1, reason=reason))
    (one,) = records(again(store))
    assert one == record(entry(1, reason=reason))
    assert not one.accepted


def test_means_come_back_to_the_last_digit_and_those_not_known_are_left_out(store):
    means = {"red": 0.123457, "cover": 0.0, "control_ndvi": -0.000001}
    put(store, entry(1, means=means))
    (one,) = records(again(store))
    assert one.measures == means


def test_how_many_units_were_seen_is_not_known_of_a_scene_that_could_not_be_read(store):
    hidden = entry(2, reason="CONTROL_HIDDEN", n_pixels=0, n_units=0)
    put(store, entry(1, reason="BROKEN", n_pixels=0, n_units=-1), hidden)
    assert [one.n_units for one in records(again(store))] == [-1, 0]


def test_a_snapshot_leads_to_the_landscape_which_is_opened_again_only_where_it_must_be(store):
    root = store.path.parent
    before = put(store, entry(1, ground="high"), ground="high")
    assert StoredSite(store, "high").derived == root / "derived" / "high"
    known = landscape_at_snapshot(root, before)
    assert records(StoredSite(known, "high")) == records(StoredSite(store, "high"))
    after = put(store, entry(2, ground="high"), ground="high")
    newer = landscape_at_snapshot(root, after, known)
    assert [len(records(StoredSite(one, "high"))) for one in (known, newer)] == [1, 2]
    assert landscape_at_snapshot(root, before, newer) is newer
    assert landscape_at_snapshot(root, "another:1", newer).path == root / "another"


def test_what_is_stored_is_given_as_columns_in_order_of_time(store):
    site = StoredSite(store, "low")
    put(store, entry(3, reason="CLOUD", n_pixels=4), entry(1, value=1234))
    found = again(store).columns()
    assert {len(values) for values in found.values()} == {2}
    assert found["row"].tolist() == [1, 0]
    assert found["acquisition"].tolist() == [b"s2/001", b"s2/003"]
    assert found["accepted"].tolist() == [True, False]
    assert found["reason"].tolist() == [b"", b"CLOUD"]
    first, last = sorted(records(again(store)), key=lambda one: one.time)
    for name in ("scene", "source", "baseline", "sensor", "time", "scale", "offset", "n_pixels"):
        values = [value.decode() if isinstance(value, bytes) else value for value in found[name].tolist()]
        assert values == [getattr(first, name), getattr(last, name)], name
    assert found["digest"].tolist() == [int(one.digest, 16) for one in (first, last)]
    assert found["control_cover"].tolist() == [0.25, 0.25]
    assert np.isnan(found["red"]).all()
    put(store, entry(3, value=2000))
    assert site.columns()["row"].tolist() == [1, 2]
    assert site.columns("valley:2")["row"].tolist() == [1, 0]


def test_sites_with_the_same_granules_share_one_list_of_them(store):
    def seen(day, **low):
        return {"low": entry(day, ground="low", **low), "high": entry(day, ground="high")}

    store.append([seen(1), seen(2)], "alike")
    low, high = (StoredSite(LandscapeStore(store.path), ground) for ground in ("low", "high"))
    assert low.baselines() == {one.acquisition: one.granules for one in records(low)} == high.baselines()
    landscape = LandscapeStore(store.path)
    assert StoredSite(landscape, "low").baselines() is StoredSite(landscape, "high").baselines()
    store.append([{"high": entry(2, ground="high", baseline="05.11")}], "one alone")
    landscape = LandscapeStore(store.path)
    assert StoredSite(landscape, "low").baselines() == low.baselines()
    assert StoredSite(landscape, "high").baselines() != low.baselines()


def test_unit_means_are_read_from_the_first_requested_row_on(store, monkeypatch):
    put(store, *(entry(day, value=day) for day in range(1, 6)))
    site, reads = again(store), []
    read = LandscapeStore.read
    monkeypatch.setattr(
        LandscapeStore, "read", lambda self, name, place: reads.append((name, place)) or read(self, name, place)
    )
    rows = site.columns()["row"]
    expected = site.unit_means_of(rows[3:])
    np.testing.assert_array_equal(site.unit_means_of(rows)[3:], expected)
    np.testing.assert_array_equal(site.unit_means_of(rows[2:3]), site.unit_means().values[2:3])
    assert [place.start for name, place in reads if name == "unit_means"] == [3, 0]
    others = [name for name, _ in reads if name != "unit_means"]
    assert sorted(others) == sorted({*others}), "the other arrays are read once"


def test_ground_that_a_landscape_does_not_have_is_named(store):
    with pytest.raises(StoreBroken, match="valley has no site of the ground elsewhere"):
        StoredSite(store, "elsewhere")


def test_a_store_that_holds_scenes_is_never_laid_out_again(store):
    put(store, entry(1))
    with pytest.raises(StoreBroken, match="valley"):
        laid_out(store.path)
    assert [one.scene for one in records(again(store))] == [entry(1).scene.id]


def test_what_is_left_of_a_store_is_never_replaced_by_a_new_one(store):
    put(store, rough(1))
    (store.path / "repo").unlink()  # without which it cannot be opened
    contents = sorted(store.path.rglob("*"))
    with pytest.raises(StoreBroken, match=r"valley .*Nothing in it was changed"):
        laid_out(store.path)
    assert sorted(store.path.rglob("*")) == contents


def test_a_store_can_be_created_in_an_empty_folder_and_does_not_exist_before(tmp_path):
    assert not LandscapeStore(tmp_path / "empty").exists
    (tmp_path / "empty").mkdir()
    assert not LandscapeStore(tmp_path / "empty").exists
    assert records(StoredSite(laid_out(tmp_path / "empty"), "low")) == []


def test_other_pixels_and_other_means_of_units_have_another_digest():
    one = entry(1)
    pixels = one.pixels
    assert digest(pixels, one.units) == one.digest
    assert digest(pixels + 1, one.units) != one.digest
    assert digest(pixels, one.units + 1) != one.digest


def test_the_digest_of_a_row_is_that_of_what_is_stored(store, site):
    put(store, rough(1))
    pixels = site.pixels([0])[0][:, inside("low")]
    units = np.full((2, len(MEASURES)), np.nan, np.float32)
    units[:, [MEASURES.index(name) for name in UNIT_MEASURES]] = site.unit_means().values[0]
    assert digest(pixels, units) == digest(rough(1).pixels, rough(1).units)


def test_reading_is_lazy_until_values_are_needed(store, site):
    put(store, *(entry(day) for day in range(3)))

    def start(_dsk):
        raise AssertionError("something was computed")

    with Callback(start=start):
        assert dask.is_dask_collection(site.cube().nir)
        assert dask.is_dask_collection(store.dataset().pixels.data)


def test_scenes_are_read_in_order_of_acquisition_whatever_their_order_of_arrival(store, site):
    put(store, entry(9, value=9000), entry(3, value=3000, name="first"))
    put(store, entry(6, value=6000, reason="CLOUD"))
    cube = site.cube()
    assert list(cube.scene.values) == ["first", "scene-006-05.09", "scene-009-05.09"]
    assert list(cube.accepted.values) == [True, False, True]
    assert (np.diff(cube.time.values.astype("int64")) > 0).all()
    np.testing.assert_allclose(cube.red.values[:, 2, 2], [0.3, 0.6, 0.9], rtol=1e-6)
    assert site.unit_means().time.values.tolist() == cube.time.values.tolist()
    assert site.unit_means().sel(measure="n_pixels").values[:, 0].tolist() == [3000, 6000, 9000]


def test_scenes_of_one_moment_are_read_in_one_order_whatever_their_order_of_arrival(tmp_path):
    moment = datetime(2020, 1, 2, tzinfo=UTC)
    first, second = entry(1, value=1000, time=moment), entry(2, value=2000, time=moment)
    for name, order in (("a", [first, second]), ("b", [second, first])):
        store = laid_out(tmp_path / name)
        put(store, *order)
        assert reds(StoredSite(store, "low")) == [0.1, 0.2]


def test_a_cube_stays_as_it_was_opened_whatever_is_put_later(store):
    put(store, entry(3, value=1000))
    site = again(store)
    before, cube = site.snapshot, site.cube()
    put(site.landscape, entry(3, value=2000, baseline="05.11"), entry(1))
    np.testing.assert_allclose(cube.red.values[:, 2, 2], [0.1], rtol=1e-6)
    assert cube.attrs["snapshot"] == site.cube(before).attrs["snapshot"] == before != site.cube().attrs["snapshot"]


def test_a_newer_baseline_takes_the_place_of_the_older_and_the_old_snapshot_keeps_it(store, site):
    before = put(store, entry(3, value=1000), entry(4, value=1000))
    after = put(store, entry(3, value=2000, baseline="05.11"))
    assert before != after
    baselines = {one.acquisition: one.baseline for one in records(site)}
    assert baselines == {"s2/003": "05.11", "s2/004": "05.09"}
    assert reds(site) == [0.2, 0.1]
    assert reds(site, before) == [0.1, 0.1]
    assert site.unit_means().values[:, 0, 0].tolist() == [2000, 1000]
    assert site.unit_means(before).values[:, 0, 0].tolist() == [1000, 1000]
    assert [one.baseline for one in records(site, before)] == ["05.09", "05.09"]


def test_the_first_rows_are_what_each_past_night_knew(store, site):
    nights = [
        (put(store, one), reds(site))
        for one in (entry(1, value=1000), entry(2, value=2000), entry(1, value=3000, baseline="05.11"), entry(0))
    ]
    assert [known for _, known in nights] == [[0.1], [0.1, 0.2], [0.3, 0.2], [0.1, 0.3, 0.2]]
    assert [reds(again(store), snapshot) for snapshot, _ in nights] == [known for _, known in nights]
    assert reds(site, "valley:0") == []
    assert site.unit_means("valley:0").shape == (0, 2, len(UNIT_MEASURES))


@pytest.mark.parametrize("snapshot", ["valley:2", "hills:1", "valley:-1", "valley:", "valley", "KZ0V8GHGM4"])
def test_a_missing_snapshot_is_named_and_never_replaced_by_another(store, site, snapshot):
    put(store, entry(1))
    with pytest.raises(StoreBroken, match=rf"valley does not have the snapshot {snapshot}: it has 1 rows"):
        records(site, snapshot)


def test_each_scene_is_scaled_by_its_own_scale_and_offset(store, site):
    third = entry(3, value=14546, scale=2.75e-5, offset=-0.2)
    put(store, third, entry(1, value=2000, offset=0.0), entry(2, value=3000, offset=-0.1))
    np.testing.assert_allclose(site.cube().red.values[:, 2, 2], [0.2, 0.2, 14546 * 2.75e-5 - 0.2], rtol=1e-5)


def test_landsat_that_is_brought_to_sentinel_2_is_so_in_the_cube_and_no_other_scene(store, site):
    landsat = entry(2, value=2000, sensor="landsat-8", quality="qa_pixel")
    put(store, entry(1, value=2000), landsat)
    slope, intercept = bands.BANDPASS["red"]
    np.testing.assert_allclose(site.cube().red.values[:, 2, 2], [0.2, (0.2 - intercept) / slope], rtol=1e-5)
    assert [one.bandpass for one in records(site)] == [False, True]


def test_a_site_without_control_units_has_no_unit_means_and_takes_none_of_its_neighbour(tmp_path):
    store = LandscapeStore(tmp_path / "valley")
    store.create(members("low", "bare", "high"), biome="loess")
    one = {ground: entry(1, ground=ground, value=value) for ground, value in (("low", 1), ("bare", 2), ("high", 3))}
    store.append([one], "one")
    assert again(store, "bare").unit_means().shape == (1, 0, len(UNIT_MEASURES))
    assert again(store, "low").unit_means().values[0, :, 0].tolist() == [1, 1]
    assert again(store, "high").unit_means().values[0, :, 0].tolist() == [3, 3, 3]
    assert reds(again(store, "bare")) == [0.0002]
    alone = LandscapeStore(tmp_path / "alone")  # no site of it has a control unit
    alone.create(members("bare"), biome="loess")
    put(alone, entry(1, ground="bare"), ground="bare")
    assert (again(alone, "bare").unit_means().shape, again(alone, "bare").units) == ((1, 0, len(UNIT_MEASURES)), [])


def test_putting_nothing_makes_no_row_and_no_commit(store, site):
    had = files(store)
    assert store.append([], "nothing") == 0
    assert site.snapshot == "valley:0"
    assert files(store) == had


class TestSitesOfOneLandscape:
    """A row has values of its own for each site."""

    def test_each_site_gets_back_its_own_pixels_means_and_judgement(self, store):
        low, high = entry(1, value=1000), entry(1, ground="high", value=2000, reason="SNOW", n_pixels=3, means={})
        store.append([{"high": high, "low": low}], "both")
        for ground, made, red in (("low", low, 0.1), ("high", high, 0.2)):
            site = again(store, ground)
            assert records(site) == [record(made)]
            assert site.grid == GRIDS[ground]
            assert reds(site) == [red]
            assert site.unit_means().values[0, :, 0].tolist() == [red * 1e4] * len(UNITS[ground])
        assert store.rows == 1

    def test_a_site_that_is_missing_in_a_row_was_not_covered_and_has_no_record_of_it(self, store):
        put(store, entry(1), entry(2))
        put(store, entry(2, ground="high"), ground="high")
        assert [one.acquisition for one in records(again(store, "low"))] == ["s2/001", "s2/002"]
        assert [one.acquisition for one in records(again(store, "high"))] == ["s2/002"]
        states = LandscapeStore(store.path).dataset().state.values.tolist()
        assert states == [[1, 0], [1, 0], [0, 1]]

    def test_a_store_that_another_process_added_to_is_known_not_to_be_the_newest(self, store):
        put(store, entry(1))
        read = LandscapeStore(store.path)
        assert len(records(StoredSite(read, "low"))) == 1
        assert read.is_newest
        put(store, entry(2))
        assert store.is_newest
        assert not read.is_newest
        read.release()
        assert len(records(StoredSite(read, "low"))) == 2
        assert read.is_newest

    def test_a_scene_tried_again_for_one_site_leaves_the_rows_of_the_others(self, store):
        first = {"low": entry(1, value=1000), "high": entry(1, ground="high", value=2000, reason="BROKEN")}
        store.append([first], "one site could not be read")
        before = StoredSite(store, "low").snapshot
        put(store, entry(1, ground="high", value=3000), ground="high")
        low, high = again(store, "low"), again(store, "high")
        assert records(low) == [record(first["low"])]
        assert reds(low) == [0.1]
        assert [one.reason for one in records(high)] == [""]
        assert reds(high) == [0.3]
        assert [one.reason for one in records(high, before)] == ["BROKEN"]

    def test_records_are_given_in_the_order_in_which_the_rows_that_count_arrived(self, store, site):
        put(store, entry(1), entry(2), entry(3))
        put(store, entry(2, baseline="05.11"))
        assert sorted(site.columns()["row"]) == [0, 2, 3]
        assert [one.acquisition for one in records(site)] == ["s2/001", "s2/003", "s2/002"]

    def test_pixels_of_any_rows_in_any_order_are_those_of_the_site(self, store):
        rows = [
            {"low": entry(day, value=day * 10), "high": entry(day, ground="high", value=day * 100)}
            for day in range(1, 5)
        ]
        store.append(rows, "four")
        for order in ([0, 1, 2], [3, 1], [2]):
            for ground, factor in (("low", 10), ("high", 100)):
                found = again(store, ground).pixels(order)
                assert found.shape == (len(order), len(PACKED_LAYERS), *GRIDS[ground].shape)
                assert found[:, 0, 1, 1].tolist() == [(row + 1) * factor for row in order]
                assert not found[:, :, 0, 0].any()


class TestGranules:
    """One overpass, several tiles: what went into a row, site by site."""

    def test_sites_of_one_row_may_have_other_granules_and_prefer_another(self, store):
        west, east = scene(1, name="west"), scene(1, name="east", tile="48SVF", baseline="05.10", offset=-0.1)
        high = entry(1, ground="high", granules=(east, west))
        store.append([{"low": entry(1, granules=(west,)), "high": high}], "one")
        (low,), (high,) = records(again(store, "low")), records(again(store, "high"))
        assert (low.scene, low.granules) == ("west", {"48SUF": "05.09"})
        assert (high.scene, high.granules) == ("east", {"48SUF": "05.09", "48SVF": "05.10"})
        assert (low.offset, high.offset) == (0.0, -0.1)
        assert (low.baseline, high.baseline) == ("05.09", "05.10")

    def test_a_granule_that_could_not_be_read_is_not_among_those_stored(self, store, site):
        one = entry(1, granules=(scene(1, name="west"), scene(1, name="east", tile="48SVF")))
        one, none = replace(one, used={"48SUF": "05.09"}), entry(2, reason="BROKEN", n_pixels=0, means={})
        none = replace(none, used={})
        put(store, one, none)
        assert records(site) == [record(one), record(none)]

    def test_each_site_keeps_its_own_scene_where_two_sources_use_one_name(self, store):
        mine, theirs = scene(1, name="same", source="first"), scene(1, name="same", source="second", offset=-0.1)
        store.append([{"low": entry(1, granules=(mine,)), "high": entry(1, ground="high", granules=(theirs,))}], "one")
        (low,), (high,) = records(again(store, "low")), records(again(store, "high"))
        assert (low.source, low.offset, low.granules) == ("first", 0.0, {"48SUF": "05.09"})
        assert (high.source, high.offset, high.granules) == ("second", -0.1, {"48SUF": "05.09"})

    def test_as_many_granules_as_there_are_bits_are_stored_and_one_more_is_refused(self, store, site):
        some = tuple(scene(1, name=f"granule {n}", tile=f"tile {n}") for n in range(MAX_GRANULES + 1))
        with pytest.raises(BadData, match=f"'s2/001' has {MAX_GRANULES + 1} granules; {MAX_GRANULES} can be stored"):
            put(store, entry(0), entry(1, granules=some))
        assert site.snapshot == again(store).snapshot == "valley:0"
        last = entry(1, granules=(some[-2], *some[:-2]))
        put(store, last)
        assert records(again(store)) == [record(last)]


class TestOpenedWithoutThisPackage:
    """The store is an ordinary Zarr store that names its dimensions, flags and projected system."""

    BARE = """
        import sys
        import icechunk, numpy as np, xarray as xr
        repository = icechunk.Repository.open(icechunk.local_filesystem_storage(sys.argv[1]))
        found = xr.open_zarr(repository.readonly_session("main").store, consolidated=False)
        assert not any(name.partition(".")[0] in ("monitor", "jobs") for name in sys.modules)
        assert found.pixels.dims == ("time", "band", "pixel"), found.pixels.dims
        assert found.unit_means.dims == ("time", "unit", "unit_measure")
        assert found.site_means.dims == found.control_means.dims == ("time", "site", "measure")
        assert found.counts.dims == ("time", "site", "count")
        assert found.state.dims == found.granule_bits.dims == found.digest.dims == ("time", "site")
        assert found.granules.dims == found.acquisition.dims == ("time",)
        assert found.pixels.dtype == np.uint16 and found.state.dtype == np.uint8
        assert found.time.dtype.kind == "M", found.time.dtype
        assert str(found.time.values[0])[:10] == "2020-01-02"
        assert list(found.site.values) == ["site low", "site high"]
        assert list(found.band.values[:1]) == ["blue"]
        assert found.attrs["proj:code"] == "EPSG:32648"
        assert found.attrs["biome"] == "loess"
        assert found.spatial_ref.attrs["crs_wkt"].startswith("PROJ")
        flags = dict(zip(found.state.attrs["flag_meanings"].split(), found.state.attrs["flag_values"]))
        expected = [["ACCEPTED", "NOT_COVERED"], ["SNOW", "ACCEPTED"]]
        assert found.state.values.tolist() == [[flags[name] for name in row] for row in expected]
        first = found.first_pixel.values
        mine = found.pixels.isel(time=1, pixel=slice(first[1], first[2])).sel(band="red")
        assert (mine == 2000).all()
        print(float(found.x.min()), float(found.y.max()))
    """

    def test_a_bare_session_opens_it_with_named_dimensions_flags_and_projection(self, store):
        put(store, entry(1))
        store.append([{"low": entry(2, reason="SNOW"), "high": entry(2, ground="high", value=2000)}], "both")
        done = subprocess.run(
            [sys.executable, "-I", "-c", textwrap.dedent(self.BARE), str(store.path)],
            capture_output=True, text=True, timeout=120, cwd=store.path.parent,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        left, top = map(float, done.stdout.split())
        low, high = GRIDS["low"].boundingbox, GRIDS["high"].boundingbox
        assert left == low.left + 5.0
        assert top == high.top - 5.0

    def test_the_first_rows_are_what_was_known(self, store):
        put(store, entry(1), entry(2))
        assert store.dataset(1).acquisition.values.tolist() == ["s2/001"]
        assert store.dataset().acquisition.values.tolist() == ["s2/001", "s2/002"]

    def test_centres_of_the_stored_pixels_are_those_of_the_grids_also_before_the_first_row(self, store):
        found = store.dataset()
        assert found.sizes["time"] == 0
        for number, ground in enumerate(("low", "high")):
            cube = StoredSite(store, ground).cube()
            pixels = slice(*found.first_pixel.values[number : number + 2])
            y, x = np.nonzero(inside(ground))
            np.testing.assert_array_equal(found.x.values[pixels], cube.x.values[x])
            np.testing.assert_array_equal(found.y.values[pixels], cube.y.values[y])


class TestPictures:
    """Natural colour of a site and its surroundings, beside the rows and in the same commit."""

    @staticmethod
    def picture(name, shade, *, ground="low", time="2020-01-02T00:00:00+00:00"):
        return Picture(name=name, time=time, clear=0.75, rgb=np.full((*GRIDS[ground].shape, 3), shade, np.uint8))

    def shades(self, store, ground):
        found = StoredSite(LandscapeStore(store.path), ground).pictures()
        return {name: set(one.rgb.ravel().tolist()) for name, one in found.items()}

    def test_each_site_gets_back_its_own_and_the_newest_of_each_name(self, store):
        low, high = [self.picture("now", 10), self.picture("2019", 11)], [self.picture("now", 20, ground="high")]
        store.append([{"low": entry(1)}], "first", {"low": low, "high": high})
        later = self.picture("now", 30, ground="high", time="2020-02-02T00:00:00+00:00")
        store.append([{"high": entry(2, ground="high")}], "then", {"high": [later]})
        assert self.shades(store, "low") == {"now": {10}, "2019": {11}}
        assert self.shades(store, "high") == {"now": {30}}
        found = again(store, "high").pictures()["now"]
        assert (found.time, found.clear, found.rgb.shape) == (later.time, 0.75, (*GRIDS["high"].shape, 3))

    def test_their_names_and_clear_shares_are_read_without_their_colours(self, store):
        store.append([{"low": entry(1)}], "first", {"low": [self.picture("now", 10)]})
        (found,) = again(store).pictures(pixels=False).values()
        assert (found.name, found.clear, found.rgb.size) == ("now", 0.75, 0)

    def test_without_their_commit_there_is_no_picture(self, store):
        with failing_commits(OSError), pytest.raises(StoreBroken):
            store.append([{"low": entry(1)}], "first", {"low": [self.picture("now", 10)]})
        assert StoredSite(store, "low").pictures() == again(store).pictures() == {}


def test_every_array_has_the_type_it_was_laid_out_with_whatever_was_put(store):
    put(store, entry(1), unseen(2))
    put(store, entry(2, ground="high"), ground="high")
    found = xr.open_zarr(
        icechunk.Repository.open(icechunk.local_filesystem_storage(str(store.path))).readonly_session("main").store,
        consolidated=False, decode_times=False, mask_and_scale=False,
    )  # fmt: skip
    assert {name: str(found[name].dtype) for name in found.variables if "time" in found[name].dims and name not in (
        "acquisition", "granules")} == {
        "time": "int64", "pixels": "uint16", "unit_means": "float32", "site_means": "float64",
        "control_means": "float64", "counts": "int32", "state": "uint8", "granule_bits": "uint32", "digest": "uint64",
    }  # fmt: skip
    assert {found[name].sizes["time"] for name in found.variables if "time" in found[name].dims} == {3}
    assert found.sizes["measure"] == len(MEANS)
    assert found.sizes["count"] == len(COUNTS)


def test_pixels_that_are_not_integers_as_delivered_are_refused_and_never_rounded(store, site):
    floats = entry(1)
    floats = replace(floats, pixels=np.where(floats.pixels == 0, np.nan, floats.pixels))
    with pytest.raises(TypeError, match=r"'scene-001-05.09'.*float64"):
        put(store, entry(0), floats)
    assert site.snapshot == again(store).snapshot == "valley:0"


def test_a_reason_that_has_no_flag_is_a_bug_and_no_broken_store(store, site):
    with pytest.raises(ValueError, match="not in tuple"):
        put(store, entry(0), entry(1, reason="WHIM"))
    assert site.snapshot == again(store).snapshot == "valley:0"
    put(store, entry(2))
    assert [one.acquisition for one in records(again(store))] == ["s2/002"]


def test_a_creation_cut_short_is_taken_up_again(tmp_path):
    icechunk.Repository.create(icechunk.local_filesystem_storage(str(tmp_path / "half")))
    assert not LandscapeStore(tmp_path / "half").exists
    store = laid_out(tmp_path / "half")
    assert store.exists
    assert records(StoredSite(store, "low")) == []


def test_a_process_killed_while_it_makes_a_repository_blocks_no_other(tmp_path, monkeypatch):
    def killed(storage):
        whole(storage)
        (remains,) = [path for path in tmp_path.iterdir() if path.name.startswith(".")]
        (remains / "repo").unlink()  # what is written last, and without which it cannot be opened
        raise KeyboardInterrupt

    whole = icechunk.Repository.create
    monkeypatch.setattr(icechunk.Repository, "create", killed)
    with pytest.raises(KeyboardInterrupt):
        laid_out(tmp_path / "half")
    monkeypatch.undo()
    assert not LandscapeStore(tmp_path / "half").exists
    assert records(StoredSite(laid_out(tmp_path / "half"), "low")) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["derived", "half"]


FULL = "Generic LocalFileSystem error: Unable to copy data to file: No space left on device (os error 28)"
"""What icechunk 2.3 says on a full file system."""
FAILURES = [
    (KeyboardInterrupt(), KeyboardInterrupt), (OSError(), StoreBroken), (icechunk.StorageError(FULL), DiskFull),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), DiskFull),
]  # fmt: skip


@pytest.mark.parametrize(("failure", "expected"), FAILURES)
def test_a_landscape_whose_first_commit_failed_does_not_exist_for_its_creator_either(tmp_path, failure, expected):
    store = LandscapeStore(tmp_path / "half")
    with failing_commits(failure), pytest.raises(expected):
        store.create(members("low"), biome="loess")
    if expected is KeyboardInterrupt:  # another process goes on
        store = LandscapeStore(store.path)
    assert not store.exists
    store.create(members("low"), biome="loess")
    assert records(again(store)) == []


@pytest.mark.parametrize(("failure", "expected"), FAILURES)
def test_rows_that_could_not_be_committed_leave_no_trace_and_are_not_in_the_next_commit(store, failure, expected):
    snapshot = put(store, entry(1))
    with failing_commits(failure), pytest.raises(expected) as found:
        put(store, entry(2))
    if expected is DiskFull:
        assert str(found.value).startswith(f"the disk is full: make room at {store.path.parent}, then run again")
        assert "move" not in str(found.value)
    if expected is KeyboardInterrupt:  # another process goes on
        store = LandscapeStore(store.path)
    site = again(store)
    assert (site.snapshot, len(records(site))) == (snapshot, 1)
    put(store, entry(3))
    for one in (StoredSite(store, "low"), again(store)):
        assert [one.acquisition for one in records(one)] == ["s2/001", "s2/003"]


def test_rows_are_put_all_or_none(store, site, monkeypatch):
    put(store, entry(1))
    written = []
    real = type(LandscapeStore(store.path)._opened()["pixels"]).resize

    def fails(array, shape):
        written.append(array.name)
        if len(written) == 4:
            raise OSError(errno.EIO, "Input/output error")
        real(array, shape)

    monkeypatch.setattr("zarr.Array.resize", fails)
    with pytest.raises(StoreBroken, match=r"valley.*Input/output error"):
        put(store, entry(2), entry(3))
    monkeypatch.undo()
    for one in (site, again(store)):
        assert [one.acquisition for one in records(one)] == ["s2/001"]
        assert {one.landscape.dataset()[name].shape[0] for name in ("pixels", "state", "time", "granules")} == {1}
    put(store, entry(2), entry(3))
    assert len(records(again(store))) == 3


def test_a_store_of_a_newer_version_asks_for_an_update_and_stays_as_it_is(store):
    session = icechunk.Repository.open(icechunk.local_filesystem_storage(str(store.path))).writable_session("main")
    zarr.open_group(session.store).attrs["format"] = FORMAT + 1
    newest = session.commit("newer")
    newer = LandscapeStore(store.path)
    for use in (lambda: newer.exists, lambda: newer.rows, lambda: put(newer, entry(1))):
        with pytest.raises(BadData, match=r"store valley has format 2, newer than 1,.* update the program\. Nothing"):
            use()
    assert newer.snapshots()[0].id == newest


def test_a_broken_store_is_named_and_nothing_is_advised_against_it(store):
    put(store, entry(1))
    for file in store.path.rglob("*"):
        if file.is_file():
            file.write_bytes(b"garbage")
    with pytest.raises(StoreBroken, match=r"the store valley cannot be read .*Nothing in it was changed") as found:
        records(again(store))
    assert not {"delete", "remove", "move", "restore"}.intersection(str(found.value).lower().split())


def everything(path, snapshot):
    """All values of a store, read again."""
    site = StoredSite(LandscapeStore(path), "low")
    rows, means = records(site, snapshot), site.unit_means(snapshot).values
    drawn = site.cube(snapshot, layers=("red", "nir")).compute(scheduler="synchronous")
    fixed = repr((site.grid, site.units, site.controls, site.landscape.grounds))
    return fixed, repr(rows), means.tobytes(), drawn["red"].values.tobytes() + drawn["nir"].values.tobytes()


@pytest.mark.slow
def test_a_byte_changed_anywhere_in_a_store_is_met_and_never_another_number(store):
    long = "a name that is long enough for the list of granules to be kept in a file of its own "
    granules = tuple(scene(4, name=f"{long}{n * n * 7919}", tile=f"{n * 104729}") for n in range(MAX_GRANULES))
    many = rough(4)
    many = replace(many, granules=granules, scene=granules[0])
    snapshot = put(store, rough(1), rough(2), many)
    whole = everything(store.path, snapshot)
    met = {"chunks": set(), "manifests": set()}  # small chunks are in the manifests
    wrong = []
    rng = np.random.default_rng(0)
    for folder, found in met.items():
        for file in sorted((store.path / folder).iterdir()):
            sound = file.read_bytes()
            for place in sorted({0, len(sound) - 1, *rng.integers(0, len(sound), 3)}):
                damaged = bytearray(sound)
                damaged[place] ^= int(rng.integers(1, 256))
                file.write_bytes(damaged)
                try:
                    same = everything(store.path, snapshot) == whole
                except StoreBroken as error:
                    same = "Nothing in it was changed" in str(error)
                found.add(same)
                if not same:
                    wrong.append((folder, file.name, int(place)))
            file.write_bytes(sound)
    assert wrong == []
    assert met == {"chunks": {True}, "manifests": {True}}
    assert everything(store.path, snapshot) == whole


def test_a_scene_that_shows_nothing_is_stored_like_any_other(store):
    put(store, unseen(1))
    assert np.isnan(again(store).cube().red.values).all()
    put(store, entry(2, value=1234))
    site = again(store)
    np.testing.assert_allclose(site.cube().red.values[:, 2, 2], [np.nan, 0.1234], rtol=1e-6)
    columns = [MEASURES.index(name) for name in UNIT_MEASURES]
    expected = [unseen(1).units[:, columns], entry(2, value=1234).units[:, columns]]
    np.testing.assert_array_equal(site.unit_means().values, expected)


NEEDED = (
    "pixels", "unit_means", "site_means", "control_means", "counts", "state", "granule_bits", "digest", "acquisition",
    "granules", "ground", "grid", "first_pixel", "first_unit", "unit", "row", "column",
)  # fmt: skip


@pytest.mark.parametrize("array", NEEDED)
def test_a_chunk_that_the_list_has_lost_never_passes_for_ground_that_was_not_seen(store, array):
    put(store, unseen(1))
    store.append([{"high": entry(2, ground="high")}], "of which one site has nothing")
    put(store, entry(3))
    snapshot = StoredSite(store, "low").snapshot
    session = icechunk.Repository.open(icechunk.local_filesystem_storage(str(store.path))).writable_session("main")
    dims = store.dataset()[array].ndim
    key = f"{array}/c/" + "/".join("0" * dims)
    assert asyncio.run(session.store.exists(key)), f"{key} was not written"
    asyncio.run(session.store.delete(key))
    session.commit("a chunk is lost")
    with pytest.raises(StoreBroken, match="valley"):
        everything(store.path, snapshot)


def test_a_damaged_chunk_is_a_broken_store_and_no_bug(store):
    put(store, rough(1))  # large enough for a file of its own
    for file in (store.path / "chunks").iterdir():
        with file.open("r+b") as content:
            content.seek(4)
            content.write(b"\xff" * 8)
    with pytest.raises(StoreBroken, match=r"valley.*checksum"):
        again(store).cube().red.values  # noqa: B018


def test_a_bug_is_not_taken_for_a_broken_store(store):
    with pytest.raises(RuntimeError, match="no event loop"), store.guarded():
        raise RuntimeError("no event loop")


def test_bands_that_a_sensor_lacks_are_nan(store, site):
    lacking = entry(1)
    lacking.pixels[PACKED_LAYERS.index("swir22")] = bands.NODATA
    put(store, lacking)
    assert np.isnan(site.cube().swir22.values).all()


def files(store):
    return {path: path.stat().st_mtime_ns for path in store.path.rglob("*") if path.is_file()}


def snapshots(store):
    """Ids of the commits, newest first."""
    return list(LandscapeStore(store.path)._open().ancestry(branch="main"))


def test_old_snapshots_go_and_every_row_of_every_past_night_stays(store):
    nights = [
        put(store, one)
        for one in (
            entry(1, value=1000), entry(1, value=2000, baseline="05.10"), entry(2, value=1500),
            entry(1, value=4000, baseline="05.12"), entry(3, value=500),
        )
    ]  # fmt: skip
    known = [reds(again(store), night) for night in nights]
    assert known == [[0.1], [0.2], [0.2, 0.15], [0.4, 0.15], [0.4, 0.15, 0.05]]
    had, all_of_them = len(files(store)), snapshots(store)
    assert len(all_of_them) == 7  # of the repository, laid out, five nights
    age = all_of_them[0].written_at - all_of_them[1].written_at
    assert store.expire(age) == 4
    assert len(files(store)) < had
    assert len(snapshots(store)) == 3
    assert [reds(again(store), night) for night in nights] == known
    put(LandscapeStore(store.path), entry(4, value=600))
    assert reds(again(store)) == [0.4, 0.15, 0.05, 0.06]
    assert [reds(again(store), night) for night in nights] == known
    assert LandscapeStore(store.path).expire(timedelta(0)) == 2
    assert [reds(again(store), night) for night in nights] == known


def test_where_nothing_is_old_no_file_is_touched(store):
    put(store, entry(1))
    put(store, entry(2))
    had = files(store)
    assert store.expire(timedelta(days=1)) == 0
    assert files(store) == had


def test_files_left_by_a_killed_commit_do_no_harm_and_go_with_old_snapshots(store):
    before = store.dataset().load()
    staged = [store.path / name for name in ("repo#1", "snapshots/1CECHNKREP0F1RSTCMT0#12")]
    for path in staged:
        path.write_bytes(b"")
    whole = sorted(set(store.path.rglob("*")) - set(staged))
    assert LandscapeStore(store.path).dataset().identical(before)
    store.expire(timedelta(days=90))
    assert sorted(store.path.rglob("*")) == whole
    assert LandscapeStore(store.path).dataset().identical(before)


def test_the_only_snapshot_of_a_store_stays_however_old(store):
    store.expire(timedelta(0))
    assert records(again(store)) == []
    assert store.expire(timedelta(0)) == 0
    assert records(again(store)) == []


def test_after_an_expiry_the_same_object_reads_and_writes_on(store, site):
    put(store, entry(1))
    put(store, entry(2))
    assert store.expire(timedelta(0)) > 0
    assert len(records(site)) == 2
    put(store, entry(3))
    assert len(records(again(store))) == 3


def test_what_a_store_keeps_beside_its_rows_does_not_grow_with_the_number_of_commits(store):
    """icechunk leaves a copy of the repository file and a transaction log of every commit."""
    left = []
    for day in range(8):
        put(store, entry(day))
        assert store.expire(timedelta(0)) > 0
        names = ("overwritten", "transactions", "snapshots")
        left.append([len(list((store.path / name).iterdir())) for name in names])
    assert left[-1] == left[2]
    assert left[-1][1:] == [2, 2]
    assert len(records(again(store))) == 8
    put(store, entry(9))
    assert len(records(again(store))) == 9


class Killed:
    """A repository whose process dies as it comes to a step."""

    def __init__(self, repository, step):
        self.repository, self.step = repository, step

    def __getattr__(self, name):
        if name == self.step:
            raise KeyboardInterrupt
        return getattr(self.repository, name)


@pytest.mark.parametrize("step", ["expire_snapshots", "garbage_collect"])
def test_a_tidying_that_was_killed_midway_is_ended_by_the_next_one(store, monkeypatch, step):
    for day in range(6):
        put(store, entry(day))
    monkeypatch.setattr(store, "_repository", Killed(store._open(), step))
    with pytest.raises(KeyboardInterrupt):
        store.expire(timedelta(0))
    assert len(records(again(store))) == 6
    assert len(list((store.path / "snapshots").iterdir())) == 8
    put(LandscapeStore(store.path), entry(6))
    assert LandscapeStore(store.path).expire(timedelta(0)) > 0
    assert len(list((store.path / "snapshots").iterdir())) <= 2
    assert len(records(again(store))) == 7


@pytest.mark.slow
def test_what_a_commit_leaves_of_the_list_of_snapshots_is_half_as_large(store):
    for day in range(60):
        put(LandscapeStore(store.path), entry(day % 4, baseline=f"05.{day:02d}"))
    listed = [path.stat().st_size for path in (store.path / "overwritten").iterdir()]
    assert len(listed) == 61
    assert max(listed) < 60 * 110  # some 66 bytes for an update and for a snapshot, by the length of its message


def test_stored_measures_of_a_scene_are_the_computed_ones():
    assert ("n_pixels", *bands.OBSERVED, *INDICES, "cover") == MEASURES
