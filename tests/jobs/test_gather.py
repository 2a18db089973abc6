"""Sites read together: bounded in memory, and none of them harmed by another."""

import json
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from jobs.fetch import Known, Outcome
from jobs.fetch import _first_seen as first_seen
from jobs.gather import _clusters as clusters
from jobs.gather import _stored as stored_by
from jobs.gather import add_sites, chosen_sites, gather, opened, prepare
from jobs.nightly import night
from jobs.sources import Sources
from monitor.controls.units import ControlSet
from monitor.cube.store import SiteStore
from monitor.errors import TryLater
from tests.jobs.painted import Painted
from tests.jobs.test_several_sources import DAYS, NIGHT, installed, observations

ROW = [(x, 12_000, x + 120, 12_120) for x in (8_000, 8_700, 9_400)]


class Failing(Painted):
    """Goes down after so many scenes were read."""

    left: int = 10**9

    def read(self, scenes, grids):
        for _, frames in zip(scenes, super().read(scenes, grids), strict=True):
            if self.left == 0:
                raise TryLater("does not answer any more")
            self.left -= 1
            yield frames


@pytest.fixture
def from_source(monkeypatch):
    """Let a night take its scenes from a given source."""

    def use(only):
        monkeypatch.setattr("jobs.nightly.open_sources", lambda settings: Sources([(only, settings[0])]))
        return only

    return use


@pytest.fixture
def scratch(tmp_path, from_source):
    """A night over three neighbours that nothing happened to."""
    settings = installed(tmp_path / "scratch", ROW)
    from_source(Painted(DAYS, together=64))
    night(settings, as_of=NIGHT)
    return settings


def same(one, other):
    return all(observations(one, name) == observations(other, name) for name in ("s1", "s2", "s3")) and (
        (one.outputs.root / "status.json").read_bytes() == (other.outputs.root / "status.json").read_bytes()
    )


@pytest.mark.parametrize("after", [5, 30], ids=["while units are chosen", "while scenes are kept"])
def test_a_source_that_goes_down_midway_defers_new_sites_and_the_next_night_ends_the_same(
    tmp_path, from_source, scratch, after
):
    settings = installed(tmp_path / "down", ROW)
    only = from_source(Failing(DAYS, together=64))
    only.left = after
    assert [site["state"] for site in night(settings, as_of=NIGHT)["sites"]] == ["deferred"] * 3
    only.left = 10**9
    assert [site["state"] for site in night(settings, as_of=NIGHT)["sites"]] == ["done"] * 3
    assert same(settings, scratch)


def test_what_a_known_site_was_shown_before_its_source_went_down_is_kept(tmp_path, from_source):
    settings = installed(tmp_path, ROW[:1])
    only = from_source(Failing(DAYS))
    night(settings, as_of=DAYS[-7], pages=False)
    only.left = 3
    (site,) = night(settings, as_of=NIGHT, pages=False)["sites"]
    assert site["state"] == "deferred"
    only.left, before = 10**9, len(only.read_scenes)
    (site,) = night(settings, as_of=NIGHT, pages=False)["sites"]
    assert site["state"] == "done"
    assert len(only.read_scenes) - before == 3


def test_pixels_that_wait_are_bounded_however_many_sites_are_read_together(tmp_path, from_source, scratch, monkeypatch):
    settings = installed(tmp_path / "bounded", ROW)
    put, commits = SiteStore.put, []

    def counted(store, entries, told):
        commits.append([entry.pixels.nbytes for entry in entries])
        return put(store, entries, told)

    monkeypatch.setattr(SiteStore, "put", counted)
    monkeypatch.setattr("jobs.fetch.HELD", 300_000)
    from_source(Painted(DAYS, together=64))
    night(settings, as_of=NIGHT)
    assert max(map(sum, commits)) <= 300_000 / len(ROW) + max(map(max, commits))
    assert sum(map(len, commits)) == len(ROW) * len(DAYS)
    assert same(settings, scratch)


def test_scenes_from_before_the_start_are_read_once_and_what_is_stored_is_as_if_they_were_read_twice(
    tmp_path, from_source, monkeypatch
):
    read, made = {}, {}
    for held in (256 << 20, 0):
        made[held] = installed(tmp_path / str(held), ROW)
        registry = tmp_path / str(held) / "sites.geojson"
        features = json.loads(registry.read_text())
        features["features"][1]["properties"]["start"] = "2019-10-15"  # neighbours that start on other days
        registry.write_text(json.dumps(features))
        monkeypatch.setattr("jobs.fetch.HELD", held)
        only = from_source(Painted(DAYS, together=64))
        night(made[held], as_of=NIGHT)
        read[held] = Counter(only.read_scenes)
    once, twice = read.values()
    assert len(once) == len(twice) == len(DAYS)
    # Of the scenes between the two starts the neighbours see more than was looked at to choose.
    assert sum(n == 1 for n in once.values()) > sum(n == 1 for n in twice.values())
    assert max(once[name] for name in sorted(once)[:15]) == 1
    assert min(twice[name] for name in sorted(once)[:15]) == 2
    assert same(*made.values())


def test_what_many_sites_that_are_read_together_tell_is_what_few_tell(tmp_path, from_source, scratch, monkeypatch):
    settings = installed(tmp_path / "many", ROW)
    monkeypatch.setattr("jobs.gather.AT_ONCE", 2)
    from_source(Painted(DAYS, together=64))
    night(settings, as_of=NIGHT)
    assert same(settings, scratch)


@pytest.fixture
def registered(tmp_path):
    """Settings of an installation whose workers are elsewhere, its ledger with three neighbours, and their source."""
    settings = installed(tmp_path, ROW)
    settings = settings.model_copy(update={"engine": settings.engine.model_copy(update={"scheduler": "processes"})})
    only = Painted(DAYS, together=64)
    with opened(settings) as ledger:
        add_sites(ledger, settings.registry.path)
        yield settings, ledger, Sources([(only, settings.source[0])])


def test_new_sites_are_read_by_themselves_and_all_that_are_known_together(registered):
    settings, ledger, sources = registered
    tasks, _ = prepare(settings, ledger, sources, chosen_sites(settings, ledger, []), until=NIGHT)
    frozen = ControlSet(units=(), balance={}, candidates=0)
    tasks = [task if task.site.id == "s2" else replace(task, controls=frozen) for task in tasks]
    found = clusters(tasks, sources.first, 64)
    assert [[task.site.id for task in cluster] for cluster in found] == [["s1", "s3"], ["s2"]]


def test_what_need_not_be_looked_at_is_what_every_site_that_it_touches_has(registered):
    settings, ledger, _ = registered
    s1, s2, s3 = chosen_sites(settings, ledger, [])
    (scene,) = Painted(DAYS[:1]).search(s1.geometry, DAYS[0], DAYS[0])
    nowhere = replace(scene, footprint=None)
    has, lacks = (
        Known(snapshot="", baselines=some, history="", kept=None)
        for some in ({scene.acquisition: {scene.tile: scene.baseline}}, {})
    )
    stored = stored_by([s1, s2, s3], {"s1": has, "s2": lacks})  # the third is new
    assert [stored(replace(scene, footprint=site.geometry)) for site in (s1, s2, s3)] == [True, False, False]
    assert not stored(scene)
    assert not stored(nowhere)
    assert stored_by([s1, s2], {"s1": has, "s2": has})(nowhere)


def test_what_sites_have_and_lack_is_kept_once_where_it_is_the_same(tmp_path, from_source):
    settings = installed(tmp_path, ROW)
    from_source(Painted(DAYS[:-1], together=64))
    night(settings, as_of=NIGHT)
    sources = Sources([(Painted(DAYS, together=64), settings.source[0])])
    with opened(settings) as ledger:
        tasks, _ = prepare(settings, ledger, sources, chosen_sites(settings, ledger, []), until=NIGHT)
    assert [[scene.time.date() for scene in task.asked.scenes] for task in tasks] == [DAYS[-1:]] * 3
    for one in (lambda task: task.known.baselines, lambda task: task.offered, lambda task: task.asked):
        assert len({id(one(task)) for task in tasks}) == 1


def test_a_worker_that_dies_of_one_site_fails_that_site_alone(registered):
    settings, ledger, sources = registered
    asked = []

    def work(calls):
        for number, call in enumerate(calls):
            (tasks,) = call.args
            asked.append([task.site.id for task in tasks])
            dead = "s2" in asked[-1]
            yield number, MemoryError("killed") if dead else [Outcome(site=t.site, state="done") for t in tasks]

    sites = chosen_sites(settings, ledger, [])
    found = {one.site.id: one for one in gather(settings, ledger, sources, sites, work, until=NIGHT, progress=None)}
    assert asked == [["s1", "s2", "s3"], ["s1"], ["s2"], ["s3"]]
    assert {name: one.state for name, one in found.items()} == {"s1": "done", "s2": "failed", "s3": "done"}
    assert "its worker died: MemoryError: killed" in found["s2"].error


def test_a_unit_hidden_in_one_granule_is_taken_from_the_next_and_where_both_hide_it_the_larger_count_stays():
    nan = np.nan
    first = np.array([[90, 0.3], [50, nan], [50, nan], [20, nan]], dtype=np.float32)
    second = np.array([[95, 0.4], [80, 0.5], [10, nan], [30, nan]], dtype=np.float32)
    expected = [[90, 0.3], [80, 0.5], [50, nan], [30, nan]]
    np.testing.assert_array_equal(first_seen([first, second]), np.array(expected, dtype=np.float32))


class Watched(Painted):
    """Remembers the grids that were asked for."""

    def read(self, scenes, grids):
        self.grids = grids
        return super().read(scenes, grids)


def test_ground_is_read_in_bands_from_north_to_south_so_that_few_blocks_are_held(tmp_path, from_source):
    settings = installed(tmp_path, [(12_000, y, 12_120, y + 120) for y in (4_000, 21_000, 9_000)])
    only = from_source(Watched(DAYS, together=64, ring=(50.0, 10_000.0)))
    night(settings, as_of=NIGHT)
    tops = [grid.affine.f for grid in only.grids]
    assert len(tops) > 3
    assert all(below < above + 5120 for above, below in pairwise(tops))
