"""Sites read together: memory is bounded, and no site fails because of another."""

import shutil
from collections import Counter
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from unittest.mock import Mock

import numpy as np
import pytest

from jobs.imagery.sources import Sources
from jobs.night.ingest import _by_landscape
from jobs.night.pipeline import exit_status, plan
from jobs.night.site_tasks import site_tasks
from jobs.register.registry import add_sites
from jobs.runtime.exits import Exit
from jobs.runtime.installation import open_ledger, selected_sites
from jobs.runtime.lock import LANDSCAPE_LOCKS
from monitor.cube.bucket import landscape_folders
from monitor.cube.store import LandscapeStore
from monitor.errors import BadData, DiskFull, TryLater
from monitor.ingest.missing import is_stored_everywhere, new_site_grid
from monitor.ingest.observations import first_clear_means
from monitor.ingest.task import StoredGranules
from monitor.ledger.ledger import Ledger
from tests.builders import edited_features, use_sources
from tests.jobs.painted import DAYS as EVERY_DAY
from tests.jobs.painted import (
    LEFT,
    NIGHT,
    ROW,
    Painted,
    ground,
    installed,
    night,
    observations,
    states,
    status,
    verdicts,
)
from tests.landscape import records, stored_of

DAYS = EVERY_DAY[::2]


class Failing(Painted):
    left: int = 10**9

    def read(self, scenes, grids):
        for _, frames in zip(scenes, super().read(scenes, grids), strict=True):
            if self.left == 0:
                raise TryLater("does not answer any more")
            self.left -= 1
            yield frames


@pytest.fixture
def settings(tmp_path):
    return installed(tmp_path / "row", ROW)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """A night over three neighbours that nothing happened to. Only read it."""
    settings = installed(tmp_path_factory.mktemp("scratch"), ROW)
    with pytest.MonkeyPatch.context() as patch:
        use_sources(patch, Painted(DAYS))
        night(settings)
    return settings


def starting(settings, day, sites=slice(None)):
    """Let registered sites, all unless some are given, have begun on another day."""
    with edited_features(settings.registry.path) as features:
        for feature in features[sites]:
            feature["properties"]["start"] = day


def same(one, other):
    return all(
        (observations(one, name), status(one, name)) == (observations(other, name), status(other, name))
        for name in ("s1", "s2", "s3")
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("after", "state"), [(3, "deferred"), (40, "done")], ids=["while units are chosen", "while scenes are stored"]
)
def test_a_source_that_goes_down_midway_leaves_scenes_or_new_sites_to_the_next_night_which_ends_the_same(
    settings, night_with, scratch, after, state
):
    only = Failing(DAYS)
    only.left = after
    assert [site.state for site in night_with(settings, only).sites] == [state] * 3
    only.left = 10**9
    assert [site.state for site in night(settings).sites] == ["done"] * 3
    assert same(settings, scratch)


def test_scenes_of_a_known_site_read_before_its_source_went_down_are_not_fetched_twice(tmp_path, night_with):
    settings = installed(tmp_path, ROW[:1])
    only = Failing(DAYS)
    night_with(settings, only, as_of=DAYS[-7])
    only.left = 3
    (site,) = night(settings).sites
    assert (site.state, site.scenes_unread) == ("done", 3)
    only.left, before = 10**9, len(only.read_scenes)
    (site,) = night(settings).sites
    assert (site.state, len(site.scenes_new)) == ("done", 3)
    assert len(set(only.read_scenes[before:])) == 3


def test_pixels_that_wait_are_bounded_however_many_sites_are_read_together(settings, night_with, scratch, monkeypatch):
    append, commits = LandscapeStore.append, []

    def counted(store, rows, *more):
        commits.append([sum(entry.pixels.nbytes for entry in row.values()) for row in rows])
        return append(store, rows, *more)

    monkeypatch.setattr(LandscapeStore, "append", counted)
    monkeypatch.setattr("monitor.ingest.steps.MAX_STEP_BYTES", 60_000)
    night_with(settings, Painted(DAYS))
    assert len(commits) > 2
    assert max(map(sum, commits)) <= 60_000 + max(map(max, commits))
    assert sum(map(len, commits)) == len(DAYS), "one row an overpass, with all sites"
    assert same(settings, scratch)


@pytest.mark.slow
def test_scenes_before_the_start_are_read_once_with_the_same_results_as_read_twice(tmp_path, night_with, monkeypatch):
    # A picture reads its own window.
    monkeypatch.setattr("monitor.ingest.pictures.picture_candidates", lambda *_, **__: {})
    read, made = {}, {}
    for held in (256 << 20, 0):
        made[held] = installed(tmp_path / str(held), ROW)
        starting(made[held], "2019-10-15", sites=slice(1, 2))  # neighbours that start on other days
        monkeypatch.setattr("monitor.ingest.steps.MAX_STEP_BYTES", held)
        monkeypatch.setattr("monitor.ingest.control_choice.MAX_BUFFERED_BYTES", held)
        only = Painted(DAYS)
        night_with(made[held], only)
        read[held] = Counter(only.read_scenes)
    once, twice = read.values()
    assert len(once) == len(twice) == len(DAYS)
    # Scenes between the two starts are read again: the choice of control ground needed less of them.
    assert sum(n == 1 for n in once.values()) > sum(n == 1 for n in twice.values())
    before = sum(day.isoformat() < "2019-06-01" for day in DAYS)
    assert max(once[name] for name in sorted(once)[:before]) == 1
    assert min(twice[name] for name in sorted(once)[:before]) == 2
    assert same(*made.values())


@pytest.fixture
def registered(settings):
    with open_ledger(settings) as ledger:
        add_sites(ledger, settings.registry.path)
        yield ledger


def tasks_of(settings, ledger):
    controls, sources = settings.registry.controls, Sources([(Painted(DAYS), settings.source[0])])
    return site_tasks(
        ledger, sources, selected_sites(ledger), root=settings.store.root, named_controls=controls, until=NIGHT
    )[0]


def test_neighbours_that_are_new_begin_one_landscape_and_are_fetched_together(settings, registered):
    tasks = tasks_of(settings, registered)
    assert [[task.site.id for task in cluster] for cluster in _by_landscape(tasks)] == [["s1", "s2", "s3"]]
    assert {task.folder.parent for task in tasks} == {settings.store.root}


@pytest.mark.slow
def test_sites_added_later_form_a_separate_landscape_and_each_is_fetched_alone(settings, night_with):
    night_with(settings, Painted(DAYS), only=["s1", "s3"])
    with open_ledger(settings) as ledger:
        tasks = tasks_of(settings, ledger)
    assert [[task.site.id for task in cluster] for cluster in _by_landscape(tasks)] == [["s1", "s3"], ["s2"]]
    assert [task.folder.is_dir() for task in tasks] == [True, False, True]


def test_a_scene_is_skipped_when_every_site_that_it_touches_has_it(settings, registered):
    s1, s2, s3 = selected_sites(registered)
    (scene,) = Painted(DAYS[:1]).search(s1.geometry, DAYS[0], DAYS[0])
    nowhere = replace(scene, footprint=None)
    has, lacks = (
        StoredGranules(landscape=LandscapeStore(settings.store.root), baselines=baselines, key=("land", number))
        for number, baselines in enumerate(({scene.acquisition: {scene.tile: scene.baseline}}, {}))
    )
    stored = is_stored_everywhere([s1, s2, s3], {"s1": has, "s2": lacks})  # the third is new
    assert [stored(replace(scene, footprint=site.geometry)) for site in (s1, s2, s3)] == [True, False, False]
    assert not stored(scene)
    assert not stored(nowhere)
    assert is_stored_everywhere([s1, s2], {"s1": has, "s2": has})(nowhere)


@pytest.mark.slow
def test_sites_with_equal_stored_offered_and_pending_scenes_share_one_object_of_each(settings, night_with):
    night_with(settings, Painted(DAYS[:-1]))
    with open_ledger(settings) as ledger:
        tasks = tasks_of(settings, ledger)
    assert [[scene.time.date() for scene in task.pending.scenes] for task in tasks] == [DAYS[-1:]] * 3
    for one in (lambda task: task.stored, lambda task: task.offered, lambda task: task.pending):
        assert len({id(one(task)) for task in tasks}) == 1


class Deadly(Painted):
    """Raises an error that no source should, where the ground of the second site is read."""

    def read(self, scenes, grids):
        for grid in grids:
            west, _, east, _ = grid.boundingbox
            if east - west < 500 and west < LEFT + ROW[1][0] < east:
                raise MemoryError("a bug")
        return super().read(scenes, grids)


@pytest.mark.parametrize("known", [True, False], ids=["known sites", "new sites"])
def test_an_error_while_one_site_is_read_fails_that_site_alone(settings, night_with, known):
    if known:
        night_with(settings, Painted(DAYS[:-2]))
    manifest = night_with(settings, Deadly(DAYS))
    assert states(manifest) == {"s1": "done", "s2": "failed", "s3": "done"}
    assert "MemoryError: a bug" in manifest.sites[1].error
    assert len(records(stored_of(settings, "s1"))) == len(DAYS)
    assert {site.state for site in night_with(settings, Painted(DAYS)).sites} == {"done"}


def landscapes_of(settings):
    return [folder.name for folder in landscape_folders(settings.store.root)]


def all_but_s2(site, source):
    """The grid of a site; the second cannot start."""
    if site.id == "s2":
        raise BadData("too small")
    return new_site_grid(site, source)


def test_a_site_that_cannot_start_is_left_out_and_joins_a_later_landscape(settings, night_with, scratch, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("monitor.ingest.site_update.new_site_grid", all_but_s2)
        manifest = night_with(settings, Painted(DAYS))
    assert states(manifest) == {"s1": "done", "s2": "failed", "s3": "done"}
    (first,) = landscapes_of(settings)
    assert len(LandscapeStore(settings.store.root / first).grounds) == 2
    assert [site.state for site in night(settings).sites] == ["done"] * 3
    assert len(landscapes_of(settings)) == 2
    assert same(settings, scratch)


def test_a_landscape_that_cannot_be_read_fails_its_own_sites_and_no_other_landscape(settings, night_with):
    night_with(settings, Painted(DAYS[:-1]), only=["s1", "s2"])
    (broken,) = landscapes_of(settings)
    night(settings, pages=True)
    for file in (settings.store.root / broken).rglob("*"):
        if file.is_file():
            file.write_bytes(b"garbage")
    manifest = night_with(settings, Painted(DAYS), pages=True)
    assert exit_status(manifest) is Exit.SOME_FAILED
    assert states(manifest) == {"s1": "failed", "s2": "failed", "s3": "done"}
    assert all(broken in site.error and site.site in site.error for site in manifest.sites[:2])
    assert verdicts(settings).keys() == {"s1", "s2", "s3"}
    assert len(records(stored_of(settings, "s3"))) == len(DAYS)


@pytest.mark.parametrize("sound", [pytest.param(True, marks=pytest.mark.slow), False], ids=["sound", "damaged"])
def test_a_ledger_older_than_its_landscapes_finds_its_sites_in_them_and_a_damaged_one_stops_no_other(
    tmp_path, settings, night_with, sound
):
    night_with(settings, Painted(DAYS), only=["s1", "s2"])
    (first,) = landscapes_of(settings)
    night(settings)
    before, names = records(stored_of(settings, "s3")), landscapes_of(settings)
    for file in tmp_path.rglob("*.db*"):
        file.unlink()
    with closing(Ledger(settings.ledger.url)) as older, older.transaction() as t:
        t.begin_run("older", "night", "2018-01-01", now="2018-01-01T02:00:00+00:00")
    if not sound:
        (settings.store.root / first / "repo").write_bytes(b"garbage")
    only = Painted(DAYS)
    found = states(night_with(settings, only))
    assert found["s3"] == "done"
    assert records(stored_of(settings, "s3")) == before
    if sound:
        assert set(found.values()) == {"done"}
        assert only.read_scenes == []
        assert landscapes_of(settings) == names


def test_on_a_disk_without_room_for_a_new_landscape_its_sites_fail_and_others_go_on(settings, night_with, monkeypatch):
    night_with(settings, Painted(DAYS[:-1]), only=["s1"])

    with monkeypatch.context() as patch:
        patch.setattr(LandscapeStore, "create", Mock(side_effect=DiskFull("the disk is full")))
        manifest = night_with(settings, Painted(DAYS))
    assert states(manifest) == {"s1": "done", "s2": "failed", "s3": "failed"}
    assert "the disk is full" in manifest.sites[1].error
    assert [*states(night(settings)).values()] == ["done"] * 3


@pytest.mark.slow
def test_a_bug_while_rows_are_made_fails_the_sites_of_that_landscape_and_no_other(settings, night_with, monkeypatch):
    night_with(settings, Painted(DAYS[:-1]), only=["s1"])
    (first,) = landscapes_of(settings)
    night(settings)
    append = LandscapeStore.append

    def bug(store, *given):
        if store.name == first:
            raise TypeError("a bug")
        return append(store, *given)

    monkeypatch.setattr(LandscapeStore, "append", bug)
    manifest = night_with(settings, Painted(DAYS))
    assert states(manifest) == {"s1": "failed", "s2": "done", "s3": "done"}


def test_a_unit_hidden_in_one_granule_is_taken_from_the_next_or_keeps_the_larger_count():
    nan = np.nan
    first = np.array([[90, 0.3], [50, nan], [50, nan], [20, nan]], dtype=np.float32)
    second = np.array([[95, 0.4], [80, 0.5], [10, nan], [30, nan]], dtype=np.float32)
    expected = [[90, 0.3], [80, 0.5], [50, nan], [30, nan]]
    np.testing.assert_array_equal(first_clear_means([first, second]), np.array(expected, dtype=np.float32))


class Watched(Painted):
    grids: list = []  # noqa: RUF012

    def read(self, scenes, grids):
        self.grids = max(self.grids, grids, key=len)  # not those of pictures, which are few
        return super().read(scenes, grids)


@pytest.mark.slow
def test_ground_is_read_in_bands_from_north_to_south_so_that_few_blocks_are_held(tmp_path, night_with):
    settings = installed(tmp_path, [(12_000, y, 12_120, y + 120) for y in (4_000, 21_000, 9_000)])
    only = Watched(DAYS, ring=(50.0, 10_000.0))
    night_with(settings, only)
    tops = [grid.affine.f for grid in only.grids]
    assert len(tops) > 3
    assert all(below < above + 5120 for above, below in pairwise(tops))


def test_a_lost_landscape_whose_site_waited_for_control_ground_is_begun_again(tmp_path, night_with):
    settings = installed(tmp_path, ROW[:1])
    starting(settings, "2014-01-01")
    (site,) = night_with(settings, Painted(DAYS), as_of=DAYS[3]).sites
    assert site.state == "done"
    shutil.rmtree(settings.store.root / landscapes_of(settings)[0])
    assert plan(settings, as_of=NIGHT)["sites"][0]["scenes"]
    (site,) = night(settings).sites
    assert (site.state, len(records(stored_of(settings, "s1")))) == ("done", len(DAYS))


@pytest.mark.parametrize("error", [KeyError("id"), BadData("an item is no item")], ids=["a bug", "bad data"])
def test_an_error_in_one_search_fails_its_sites_and_the_night_goes_on(tmp_path, night_with, error):
    class Astray(Painted):
        def search(self, area, *given):
            if area.centroid.x > SPLIT:
                raise error
            return super().search(area, *given)

    settings = installed(tmp_path, [ROW[0], (170_000, 12_000, 170_120, 12_120)])
    manifest = night_with(settings, Astray(DAYS, tiles={"48SUF": (0, 0, 200e3, 30e3)}))
    assert states(manifest) == {"s1": "done", "s2": "failed"}
    assert "site 's2': its scenes could not be searched for" in manifest.sites[1].error


SPLIT = ground(100_000, 12_000, 100_120, 12_120).centroid.x


def test_a_lock_that_cannot_be_opened_defers_its_landscape_and_no_other(settings, night_with):
    night_with(settings, Painted(DAYS[:-1]), only=["s1"])
    (first,) = landscapes_of(settings)
    night(settings)
    lock = settings.store.root / LANDSCAPE_LOCKS / first
    lock.unlink()
    lock.mkdir()
    manifest = night_with(settings, Painted(DAYS))
    assert states(manifest) == {"s1": "deferred", "s2": "done", "s3": "done"}
    assert f"{lock} cannot be opened" in manifest.sites[0].error


def test_a_picture_that_cannot_be_made_stops_nothing(tmp_path, night_with, monkeypatch):
    settings = installed(tmp_path, ROW[:1])
    monkeypatch.setattr("monitor.ingest.pictures.natural_colour", Mock(side_effect=KeyError("no colour")))
    (site,) = night_with(settings, Painted(DAYS), pages=True).sites
    assert (site.state, len(site.scenes_new)) == ("done", len(DAYS))
    assert stored_of(settings, "s1").pictures() == {}


def test_a_folder_of_a_site_that_cannot_be_used_stops_no_page_of_another(tmp_path, night_with):
    settings = installed(tmp_path, ROW[:2])
    night_with(settings, Painted(DAYS), pages=True)
    pages = settings.outputs.root / "sites"
    for name in ("s1", "s2"):
        shutil.rmtree(pages / name)
    (pages / "s1").write_text("no folder")
    manifest = night(settings, pages=True)
    assert list(manifest.pages_failed) == ["s1"]
    assert (pages / "s2" / "index.html").is_file()
    assert (settings.outputs.root / "status.json").is_file()
