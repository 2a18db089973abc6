"""Scenes of a site, stored once, pixels and ledger together."""

import asyncio
import errno
import json
import pickle
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

import dask
import icechunk
import numpy as np
import pytest
from dask.callbacks import Callback
from shapely.geometry import box

from monitor.cube import store as module
from monitor.cube.grid import site_grid
from monitor.cube.packed import LAYERS
from monitor.cube.store import Entry, SiteStore, digest, record_of
from monitor.errors import BadData, DiskFull, StoreBroken, TryLater
from monitor.imagery import bands
from monitor.imagery.source import Scene
from monitor.trends.stored import Stored

GRID = site_grid(box(103.800, 36.000, 103.801, 36.001))
UNITS, MEASURES = ("a", "b"), ("n_pixels", "ndvi")


def entry(day, *, value=1000, baseline="05.09", name=None, scale=1e-4, offset=0.0, accepted=True, **judged):
    scene = Scene(
        id=name or f"scene-{day:03d}-{baseline}", acquisition=f"s2/{day:03d}",
        time=datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=day), sensor="sentinel-2a", baseline=baseline,
        source="test", scale=scale, offset=offset, quality="scl",
    )  # fmt: skip
    pixels = np.full((len(LAYERS), *GRID.shape), value, dtype=np.uint16)
    pixels[LAYERS.index("quality")], pixels[LAYERS.index("clear")] = 4, 1
    pixels[:, 0, 0] = 0
    units = np.array([[value, 0.5], [8, np.nan]], dtype=np.float32)
    record = record_of(
        scene, accepted=accepted, reason="" if accepted else "CLOUD", clear_fraction=1.0, n_pixels=9,
        digest=digest(pixels, units), **{"measures": {"ndvi": 0.5}, **judged},
    )  # fmt: skip
    return Entry(record=record, pixels=pixels, units=units)


@pytest.fixture
def store(tmp_path):
    store = SiteStore(tmp_path / "lowood")
    store.create(site="lowood", grid=GRID, units=UNITS, measures=MEASURES, controls={})
    return store


def test_a_store_that_was_never_made_does_not_exist(tmp_path):
    assert not SiteStore(tmp_path / "nowhere").exists


def test_what_is_put_comes_back_after_reopening(store):
    store.put([entry(5, value=1234)], "one")
    again = SiteStore(store.path)
    assert again.exists
    assert again.grid == GRID
    assert again.units == list(UNITS)
    (record,) = again.records()
    assert record == entry(5, value=1234).record
    cube = again.cube()
    np.testing.assert_allclose(cube.red.values[0, 1:, 1:], 0.1234, rtol=1e-6)
    assert np.isnan(cube.red.values[0, 0, 0])
    assert cube.clear.dtype == bool
    assert cube.odc.crs == GRID.crs
    np.testing.assert_array_equal(again.unit_means().values[0], entry(5, value=1234).units)


def test_a_store_that_holds_scenes_is_never_laid_out_anew(store):
    store.put([entry(1)], "one")
    with pytest.raises(StoreBroken, match="lowood"):
        store.create(site="lowood", grid=GRID, units=UNITS, measures=MEASURES, controls={})
    assert [record.scene for record in SiteStore(store.path).records()] == [entry(1).record.scene]


def test_what_is_left_of_a_store_is_never_replaced_by_a_new_one(store):
    store.put([rough(1)], "one")
    (store.path / "repo").unlink()  # without which it can not be opened
    kept = sorted(store.path.rglob("*"))
    broken = SiteStore(store.path)
    with pytest.raises(StoreBroken, match=r"lowood.*Nothing in it was changed"):
        broken.create(site="lowood", grid=GRID, units=UNITS, measures=MEASURES, controls={})
    assert sorted(store.path.rglob("*")) == kept


def test_a_store_that_is_newer_than_the_clock_is_sound_and_the_clock_is_named(store, monkeypatch):
    made = laid_out(store)
    told = "session error: invalid snapshot timestamp ordering. parent: `2026-11-28`, child: `2026-11-27`"

    def refuse(*_):
        raise icechunk.FormatError(told)

    monkeypatch.setattr(icechunk.Session, "commit", refuse)
    with pytest.raises(TryLater, match=r"parent: `2026-11-28`, child: `2026-11-27`.*check the clock.*store is sound"):
        store.put([entry(1)], "one")
    monkeypatch.undo()
    assert store.snapshot == made
    assert store.put([entry(1)], "one") == store.snapshot != made
    assert abs(store.written - datetime.now(UTC)) < timedelta(minutes=1)


def test_an_empty_folder_is_no_store_and_takes_one(tmp_path):
    store = SiteStore(tmp_path / "empty")
    store.path.mkdir()
    assert not store.exists
    store.create(site="empty", grid=GRID, units=UNITS, measures=MEASURES, controls={})
    assert store.records() == []


def test_what_a_reader_does_to_the_records_it_was_given_changes_none(store):
    store.put([entry(1)], "one")
    store.records().clear()
    assert len(store.records()) == 1


def test_a_record_of_before_granules_were_told_apart_still_tells_its_baseline(store, monkeypatch):
    def told_less(record):
        told = {name: value for name, value in asdict(record).items() if name not in ("granules", "orbit", "bandpass")}
        return np.frombuffer(json.dumps(told).encode().ljust(module.RECORD_BYTES), dtype=np.uint8)

    monkeypatch.setattr(module, "_encode", told_less)
    store.put([entry(1)], "one")
    (record,) = SiteStore(store.path).records()
    assert record == replace(entry(1).record, granules={"": "05.09"}, orbit="", bandpass=False)


def test_the_digest_tells_other_pixels_and_other_means_of_units_apart():
    one = entry(1)
    assert digest(one.pixels, one.units) == one.record.digest
    assert digest(one.pixels + 1, one.units) != one.record.digest
    assert digest(one.pixels, one.units + 1) != one.record.digest


def test_reading_is_lazy_until_asked(store):
    store.put([entry(d) for d in range(3)], "three")

    def start(_dsk):
        msg = "something was computed"
        raise AssertionError(msg)

    with Callback(start=start):
        cube = store.cube()
        assert dask.is_dask_collection(cube.nir)


def test_scenes_are_read_in_order_of_acquisition_whatever_their_order_of_arrival(store):
    store.put([entry(9, value=9000), entry(3, value=3000)], "two")
    store.put([entry(6, value=6000)], "late")
    cube = store.cube()
    assert list(cube.scene.values) == ["scene-003-05.09", "scene-006-05.09", "scene-009-05.09"]
    assert (np.diff(cube.time.values.astype("int64")) > 0).all()
    np.testing.assert_allclose(cube.red.values[:, 2, 2], [0.3, 0.6, 0.9], rtol=1e-6)
    assert store.unit_means().time.values.tolist() == cube.time.values.tolist()
    assert store.unit_means().values[:, 0, 0].tolist() == [3000, 6000, 9000]


def test_scenes_of_one_moment_are_read_in_one_order_whatever_their_order_of_arrival(tmp_path):
    first, second = entry(1, value=1000), entry(2, value=2000)
    second = replace(second, record=replace(second.record, time=first.record.time))
    for name, order in (("a", [first, second]), ("b", [second, first])):
        store = SiteStore(tmp_path / name)
        store.create(site="lowood", grid=GRID, units=UNITS, measures=MEASURES, controls={})
        store.put(order, "two")
        np.testing.assert_allclose(store.cube().red.values[:, 2, 2], [0.1, 0.2], rtol=1e-6)


def test_a_cube_stays_as_it_was_when_it_was_asked_for_whatever_is_put_later(store):
    store.put([entry(3, value=1000)], "first")
    store = SiteStore(store.path)
    before, cube = store.snapshot, store.cube()
    store.put([entry(3, value=2000, baseline="05.11"), entry(1)], "again, and a late one")
    np.testing.assert_allclose(cube.red.values[:, 2, 2], [0.1], rtol=1e-6)
    assert cube.attrs["snapshot"] == store.cube(before).attrs["snapshot"] == before != store.cube().attrs["snapshot"]


def test_a_newer_baseline_takes_the_place_of_the_older_and_the_old_snapshot_keeps_it(store):
    before = store.put([entry(3, value=1000), entry(4, value=1000)], "first")
    after = store.put([entry(3, value=2000, baseline="05.11")], "again")
    assert before != after
    assert [record.baseline for record in store.records()] == ["05.11", "05.09"]
    np.testing.assert_allclose(store.cube().nir.values[:, 2, 2], [0.2, 0.1], rtol=1e-6)
    np.testing.assert_allclose(store.cube(before).nir.values[:, 2, 2], [0.1, 0.1], rtol=1e-6)
    assert store.unit_means().values[:, 0, 0].tolist() == [2000, 1000]
    assert store.unit_means(before).values[:, 0, 0].tolist() == [1000, 1000]
    assert [record.baseline for record in store.records(before)] == ["05.09", "05.09"]


def test_each_scene_is_scaled_by_its_own_scale_and_offset(store):
    landsat = entry(3, value=14546, scale=2.75e-5, offset=-0.2)
    store.put([landsat, entry(1, value=2000, offset=0.0), entry(2, value=3000, offset=-0.1)], "three")
    np.testing.assert_allclose(store.cube().red.values[:, 2, 2], [0.2, 0.2, 14546 * 2.75e-5 - 0.2], rtol=1e-5)


def test_landsat_that_is_brought_to_sentinel_2_is_so_in_the_cube_and_no_other_scene(store):
    store.put([entry(1, value=2000), entry(2, value=2000, bandpass=True)], "two")
    slope, intercept = bands.BANDPASS["red"]
    np.testing.assert_allclose(store.cube().red.values[:, 2, 2], [0.2, (0.2 - intercept) / slope], rtol=1e-5)


def test_a_site_without_control_units_has_means_of_none(tmp_path):
    store = SiteStore(tmp_path / "alone")
    store.create(site="alone", grid=GRID, units=(), measures=MEASURES, controls={})
    one = entry(1)
    store.put([replace(one, units=np.full((1, len(MEASURES)), np.nan, np.float32))], "one")
    assert SiteStore(store.path).unit_means().shape == (1, 0, len(MEASURES))


def test_a_measure_that_is_no_number_is_never_written(store):
    with pytest.raises(StoreBroken, match="JSON"):
        store.put([entry(1, measures={"ndvi": float("nan")})], "a bug")
    assert SiteStore(store.path).records() == []


def test_a_cube_tells_of_each_scene_its_name_and_whether_it_was_accepted(store):
    store.put([entry(2, accepted=False), entry(1, name="first")], "two, the later first")
    cube = store.cube()
    assert list(cube.scene.values) == ["first", "scene-002-05.09"]
    assert list(cube.accepted.values) == [True, False]


def test_putting_nothing_makes_no_snapshot(store):
    assert store.put([], "nothing") == store.snapshot


def test_a_creation_cut_short_is_taken_up_again(tmp_path):
    icechunk.Repository.create(icechunk.local_filesystem_storage(str(tmp_path / "half")))
    store = SiteStore(tmp_path / "half")
    assert not store.exists
    store.create(site="half", grid=GRID, units=UNITS, measures=MEASURES, controls={})
    assert store.exists
    assert store.records() == []


def test_a_process_killed_while_it_makes_a_repository_stands_in_nobodys_way(tmp_path, monkeypatch):
    def killed(storage):
        whole(storage)
        (remains,) = [path for path in tmp_path.iterdir() if path.is_dir()]
        (remains / "repo").unlink()  # what is written last, and without which it can not be opened
        raise KeyboardInterrupt

    whole = icechunk.Repository.create
    monkeypatch.setattr(icechunk.Repository, "create", killed)
    store = SiteStore(tmp_path / "half")
    told = {"site": "half", "grid": GRID, "units": UNITS, "measures": MEASURES, "controls": {}}
    with pytest.raises(KeyboardInterrupt):
        store.create(**told)
    monkeypatch.undo()
    store = SiteStore(tmp_path / "half")
    assert not store.exists
    store.create(**told)
    assert store.records() == []
    assert [path.name for path in tmp_path.iterdir()] == ["half"]


def test_an_uncommitted_night_leaves_no_trace(store, monkeypatch):
    store.put([entry(1)], "one")
    kept = store.snapshot

    def killed(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(icechunk.Session, "commit", killed)
    with pytest.raises(KeyboardInterrupt):
        store.put([entry(2)], "two")
    monkeypatch.undo()
    again = SiteStore(store.path)
    assert again.snapshot == kept
    assert len(again.records()) == 1
    again.put([entry(2)], "two")
    assert len(again.records()) == 2


def test_what_could_not_be_committed_is_not_in_the_next_commit(store, monkeypatch):
    store.put([entry(1)], "one")

    def refused(*_args, **_kwargs):
        raise OSError

    monkeypatch.setattr(icechunk.Session, "commit", refused)
    with pytest.raises(StoreBroken):
        store.put([entry(2)], "two")
    monkeypatch.undo()
    store.put([entry(3)], "three")
    for one in (store, SiteStore(store.path)):
        assert [record.acquisition for record in one.records()] == ["s2/001", "s2/003"]


def test_a_broken_store_is_named_with_what_to_do(store):
    store.put([entry(1)], "one")
    for file in store.path.rglob("*"):
        if file.is_file():
            file.write_bytes(b"garbage")
    with pytest.raises(StoreBroken, match=r"lowood.*Nothing in it was changed.*this one stays as it is"):
        SiteStore(store.path).records()


def rough(day, **told):
    """A scene of noise: too large to lie anywhere but in files of its own."""
    made = entry(day, **told)
    made.pixels[:] = np.random.default_rng(day).integers(1, 9999, made.pixels.shape, dtype=np.uint16)
    return made


def read(path, snapshot):
    """All that is drawn from a store, read anew."""
    again = SiteStore(path)
    records, means = again.records(), again.unit_means().values
    bands = ("red", "nir")
    drawn = Stored(again, snapshot).draw(
        [record.acquisition for record in records],
        lambda cube: [cube[band] for band in bands],
        names=bands,
        layers=bands,
    )
    return repr(records), means.tobytes(), drawn.compute(scheduler="synchronous").values.tobytes()


def test_a_byte_changed_anywhere_in_a_store_is_met_and_never_another_number(store):
    snapshot = store.put([rough(day) for day in (1, 2, 3)], "three")
    whole = read(store.path, snapshot)
    met = {"chunks": set(), "manifests": set()}  # small chunks lie in the list of all
    rng = np.random.default_rng(0)
    for folder, found in met.items():
        for file in sorted((store.path / folder).iterdir()):
            sound = file.read_bytes()
            for place in sorted({0, len(sound) - 1, *rng.integers(0, len(sound), 40)}):
                damaged = bytearray(sound)
                damaged[place] ^= int(rng.integers(1, 256))
                file.write_bytes(damaged)
                try:
                    found.add(read(store.path, snapshot) == whole)
                except StoreBroken as error:
                    found.add(str(error).endswith("and this one stays as it is."))
            file.write_bytes(sound)
    assert met == {"chunks": {True}, "manifests": {True}}
    assert read(store.path, snapshot) == whole


def test_a_scene_of_which_nothing_was_seen_is_kept_like_any_other(store):
    nothing = entry(1)
    nothing.pixels[:] = 0
    nothing.units[:] = np.nan
    store.put([nothing], "alone in its chunk")
    assert np.isnan(SiteStore(store.path).cube().red.values).all()
    store.put([entry(2, value=1234)], "beside it")
    again = SiteStore(store.path)
    np.testing.assert_allclose(again.cube().red.values[:, 2, 2], [np.nan, 0.1234], rtol=1e-6)
    np.testing.assert_array_equal(again.unit_means().values, [nothing.units, entry(2, value=1234).units])


@pytest.mark.parametrize("array", ["pixels", "units", "scenes"])
def test_a_chunk_that_the_list_has_lost_never_passes_for_ground_that_was_not_seen(store, array):
    nothing = entry(1)
    nothing.pixels[:] = 0
    nothing.units[:] = np.nan
    store.put([nothing], "of which nothing was seen")
    session = icechunk.Repository.open(icechunk.local_filesystem_storage(str(store.path))).writable_session("main")
    key = f"{array}/c/" + "/".join("0" * {"pixels": 4, "units": 3, "scenes": 2}[array])
    assert asyncio.run(session.store.exists(key))
    asyncio.run(session.store.delete(key))
    snapshot = session.commit("a chunk is lost")
    with pytest.raises(StoreBroken, match="lowood"):
        read(store.path, snapshot)


@pytest.fixture
def without_sums(tmp_path, monkeypatch):
    """A store as it was made before checksums were kept."""
    monkeypatch.setattr(module, "PACKED", "auto")
    old = SiteStore(tmp_path / "old" / "lowood")
    old.create(site="lowood", grid=GRID, units=UNITS, measures=MEASURES, controls={})
    monkeypatch.undo()
    return old


def test_a_store_made_before_checksums_were_kept_is_read_and_added_to(without_sums, store):
    for one in (without_sums, store):
        one.put([rough(1), rough(2)], "two")
        one.put([rough(3), rough(1, baseline="05.11")], "one more, and one again")
    assert read(without_sums.path, without_sums.snapshot) == read(store.path, store.snapshot)


@pytest.mark.parametrize(("made", "met"), [("store", "checksum"), ("without_sums", "decompression")])
def test_a_damaged_chunk_is_a_broken_store_and_no_bug(request, made, met):
    store = request.getfixturevalue(made)
    store.put([entry(day) for day in (1, 2)], "two")
    store.put([rough(3)], "large enough for a file of its own")
    for file in (store.path / "chunks").iterdir():
        with file.open("r+b") as content:
            content.seek(4)
            content.write(b"\xff" * 8)
    with pytest.raises(StoreBroken, match=rf"lowood.*{met}.*Nothing in it was changed"):
        SiteStore(store.path).put([entry(1, baseline="05.11")], "beside the others, in the same chunk")


def test_a_bug_is_not_taken_for_a_broken_store(store):
    with pytest.raises(RuntimeError, match="no event loop"), store._guarded():
        raise RuntimeError("no event loop")


FULL = "Generic LocalFileSystem error: Unable to copy data to file: No space left on device (os error 28)"
"""What icechunk 2.3 says on a full file system."""


@pytest.mark.parametrize("raised", [icechunk.StorageError(FULL), OSError(errno.EDQUOT, "Disk quota exceeded")])
def test_on_a_full_disk_a_store_asks_for_room_and_goes_on_when_there_is(store, monkeypatch, raised):
    store.put([entry(1)], "one")

    def full(*_args, **_kwargs):
        raise raised

    monkeypatch.setattr(icechunk.Session, "commit", full)
    with pytest.raises(DiskFull, match=rf"^the disk is full: make room at {store.path.parent}, then run again") as told:
        store.put([entry(2)], "two")
    assert "move" not in str(told.value)
    monkeypatch.undo()
    store.put([entry(2)], "two")
    assert len(SiteStore(store.path).records()) == 2


def test_an_id_too_long_to_record_is_refused_before_anything_is_written(store):
    kept = store.snapshot
    long = entry(1)
    long = replace(long, record=replace(long.record, scene="x" * 5000))
    with pytest.raises(BadData, match="ids too long"):
        store.put([entry(2), long], "bad")
    assert store.snapshot == kept


def test_bands_a_sensor_lacks_are_no_value_throughout(store):
    lacking = entry(1)
    lacking.pixels[LAYERS.index("swir22")] = bands.NODATA
    store.put([lacking], "one")
    assert np.isnan(store.cube().swir22.values).all()


def test_what_a_worker_writes_into_a_lent_session_is_seen_only_when_it_is_adopted(store):
    store.put([entry(1)], "one")
    before = store.snapshot
    session, lent = store.lend()
    worker = SiteStore(store.path, pickle.loads(pickle.dumps(lent)))
    worker.put([entry(2)], "not committed")
    worker.put([entry(3)], "nor this")
    assert [record.scene for record in worker.records()] == [entry(d).record.scene for d in (1, 2, 3)]
    assert store.snapshot == before
    assert len(store.records()) == 1
    after = store.adopt(session, pickle.loads(pickle.dumps(worker._lent)), "two more")
    assert store.snapshot == after
    assert [record.scene for record in store.records()] == [entry(d).record.scene for d in (1, 2, 3)]


def test_a_new_site_can_be_laid_out_by_a_worker(tmp_path):
    owner = SiteStore(tmp_path / "new")
    session, lent = owner.lend()
    assert not owner.exists
    worker = SiteStore(owner.path, pickle.loads(pickle.dumps(lent)))
    assert not worker.exists
    worker.create(site="new", grid=GRID, units=UNITS, measures=MEASURES, controls={})
    worker.put([entry(1)], "one")
    assert worker.exists
    assert not owner.exists
    owner.adopt(session, worker._lent, "laid out")
    assert len(owner.records()) == 1


def read_by(store, snapshot):
    return SiteStore(store.path).cube(snapshot).red.values[:, 1, 1].tolist()


def back_to(store, snapshot):
    """So far back from the newest snapshot that this one is the oldest that is not old."""
    written = {one.id: one.written_at for one in SiteStore(store.path)._open().ancestry(branch="main")}
    return max(written.values()) - written[snapshot]


def laid_out(store):
    return next(one.id for one in store._open().ancestry(branch="main") if one.message.startswith("lay out"))


def files(store):
    return {path: path.stat().st_mtime_ns for path in store.path.rglob("*") if path.is_file()}


def test_old_snapshots_that_are_spent_go_and_all_others_are_read_as_before(store):
    made = laid_out(store)
    first = store.put([entry(1, value=1000)], "one")
    needed = store.put([entry(1, value=2000, baseline="05.10")], "again")
    third = store.put([entry(1, value=3000, baseline="05.11")], "and again")
    in_force = store.put([entry(2, value=1500)], "another")
    young = store.put([entry(1, value=4000, baseline="05.12")], "and again")
    newest = store.put([entry(3, value=500)], "another")
    had, spent = len(files(store)), [made, first, third, in_force, young, newest, "no snapshot of this store"]
    assert store.records(first)  # it has been looked at, and goes all the same
    assert store.expire(spent, back_to(store, young)) == 3
    assert len(files(store)) < had
    assert store._open().list_tags() == {f"kept-{needed}"}
    wanted = {needed: [0.2], in_force: [0.3, 0.15], young: [0.4, 0.15], newest: [0.4, 0.15, 0.05]}
    for snapshot, values in wanted.items():
        np.testing.assert_allclose(read_by(store, snapshot), values, rtol=1e-6)
    for gone in (made, first, third):
        with pytest.raises(StoreBroken, match="does not have the snapshot"):
            store.records(gone)
    after = SiteStore(store.path).put([entry(4, value=600)], "life goes on")
    np.testing.assert_allclose(read_by(store, after), [0.4, 0.15, 0.05, 0.06], rtol=1e-6)
    # a later round takes what was young then, and nothing that was needed once, though it is called spent now
    assert SiteStore(store.path).expire([*spent, needed], timedelta(0)) == 2
    np.testing.assert_allclose(read_by(store, needed), [0.2], rtol=1e-6)
    np.testing.assert_allclose(read_by(store, newest), [0.4, 0.15, 0.05], rtol=1e-6)


def test_where_nothing_is_old_or_nothing_old_is_spent_no_file_is_touched(store):
    made, first, second = laid_out(store), store.put([entry(1)], "one"), store.put([entry(2)], "two")
    had = files(store)
    assert store.expire({made, first, second}, back_to(store, made)) == 0
    assert store.expire({first, second}, timedelta(0)) == 0  # the first is what was in force
    assert files(store) == had


def test_where_much_more_would_have_to_be_tagged_than_goes_nothing_is_done(store):
    made = [laid_out(store), *(store.put([entry(day)], "one more") for day in range(7))]
    had = files(store)
    assert store.expire(made[1:2], timedelta(0)) == 0  # five would be tagged for one that goes
    assert files(store) == had
    assert store.expire(made[1:3], timedelta(0)) == 2


def test_the_only_snapshot_of_a_store_stays_however_old(store):
    assert store.expire({store.snapshot}, timedelta(0)) == 0
    assert SiteStore(store.path).records() == []


class Killed:
    """A repository whose process dies as it comes to a step."""

    def __init__(self, repository, step):
        self.repository, self.step = repository, step

    def __getattr__(self, name):
        if name == self.step:
            raise KeyboardInterrupt
        return getattr(self.repository, name)


@pytest.mark.parametrize(("step", "more"), [("expire_snapshots", 5), ("garbage_collect", 1)])
def test_a_tidying_that_was_killed_midway_is_ended_by_the_next_one(store, monkeypatch, step, more):
    spent = [store.put([entry(day)], "one more") for day in range(6)]
    monkeypatch.setattr(store, "_repository", Killed(store._open(), step))
    with pytest.raises(KeyboardInterrupt):
        store.expire(spent, timedelta(0))
    again = SiteStore(store.path)
    assert len(again.records()) == 6
    assert len(list((store.path / "snapshots").iterdir())) == 8
    again.put([entry(6)], "one more")
    assert again.expire(spent, timedelta(0)) == more
    kept = [path.name for path in (store.path / "snapshots").iterdir()]
    assert len(kept) == 4  # of the repository, laid out, in force, newest
    assert len(SiteStore(store.path).records()) == 7


def test_a_damaged_snapshot_that_is_kept_hinders_tidying_and_nothing_else(store):
    needed, *spent = [store.put([entry(day)], "one more") for day in range(6)]
    assert store.expire(spent[:2], timedelta(0)) == 2
    (store.path / "snapshots" / needed).write_bytes(b"")
    spent += [SiteStore(store.path).put([entry(day)], "one more") for day in range(6, 9)]
    with pytest.raises(StoreBroken, match=r"could not be rid of old snapshots .* is as it was"):
        SiteStore(store.path).expire(spent, timedelta(0))
    assert len(SiteStore(store.path).records()) == 9


def test_what_a_commit_leaves_of_the_list_of_snapshots_is_half_as_large(store):
    for day in range(60):
        SiteStore(store.path).put([entry(day % 4, baseline=f"05.{day:02d}")], "again")
    listed = [path.stat().st_size for path in (store.path / "overwritten").iterdir()]
    assert len(listed) == 61
    assert (
        max(listed) < 60 * 110
    )  # some 66 bytes for an update and as many for a snapshot, by the length of its message
