"""Means of sites and units in scenes: lazy, the same by any scheduler, and one broken block spoils nothing else."""

from dataclasses import replace
from datetime import date

import dask
import numpy as np
import pytest
import xarray as xr
from dask.callbacks import Callback
from odc.geo import CRS as System

from monitor.cover.fraction import ENDMEMBERS
from monitor.cover.observe import needs_bandpass, observe
from monitor.cube.grid import inside, site_grid
from monitor.cube.layout import PixelLayout
from monitor.cube.packed import PACKED_LAYERS
from monitor.cube.records import MEASURES
from monitor.errors import SceneRejected, TryLater
from tests.jobs.painted import BOTTOM, CRS, LEFT, Painted, ground

DAYS = [date(2020, 7, day) for day in (1, 6, 11)]
SITES = [ground(x, 12_000, x + 120, 12_120) for x in (12_000, 13_000)]
UNITS = [ground(x, y, x + 120, y + 120) for x in (12_000, 12_400) for y in (13_000, 13_400)]
GRIDS = [site_grid(site, crs=System(CRS), resolution=10.0, anchor=(LEFT, BOTTOM)) for site in SITES]
LOESS = ENDMEMBERS["loess"]


class Sources:
    """One source, wrapped as in a run."""

    def __init__(self, source):
        self.source, self.read_failures, self.scene_read = source, {}, lambda: None

    def by_name(self, name):
        assert name == self.source.name
        return self.source


def seen(source, *, units=(UNITS[:2], UNITS[2:]), days=DAYS, sources=None):
    scenes = source.search(SITES[0], days[0], days[-1])
    layout = PixelLayout.of(
        [(grid, inside(site, grid), some) for site, grid, some in zip(SITES, GRIDS, units, strict=True)],
        averaged=source.reduces_on_server,
    )
    return observe(sources or Sources(source), source, scenes, layout, LOESS)


def test_nothing_is_read_before_the_graph_runs_and_then_every_scene_by_one_task():
    source = Painted(DAYS)
    lazy = seen(source)
    assert lazy.pixels.dims == ("time", "band", "pixel")
    assert all(dask.is_dask_collection(lazy[name]) for name in ("pixels", "site_means", "unit_means", "refused"))
    assert source.read_scenes == []
    ran = []
    with Callback(pretask=lambda key, *_: ran.append(str(key))):
        found = lazy.compute(scheduler="synchronous")
    assert len(source.read_scenes) == len(DAYS)
    whole = [key for key in ran if "_read" in key or "zonal_means_0" in key]
    assert len(whole) == 3 * len(DAYS), "of each scene a task that reads, and zonal means of sites and of units"
    assert [at for at, key in enumerate(whole) if "_read" in key] == [0, 3, 6], "one scene is done before the next"
    assert found.sizes == {
        "time": 3, "band": len(PACKED_LAYERS), "pixel": 288, "site": 2, "unit": 4, "measure": len(MEASURES),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["threads", pytest.param("processes", marks=pytest.mark.slow)])
def test_threads_and_processes_give_the_same_bits(kind):
    assert seen(Painted(DAYS)).compute(scheduler=kind).identical(seen(Painted(DAYS)).compute(scheduler="synchronous"))


def test_means_are_those_of_the_pixels_worked_out_plainly():
    found = seen(Painted(DAYS)).compute(scheduler="synchronous")
    pixels = found.pixels.values.astype(np.float64)
    red, nir, clear = (pixels[:, PACKED_LAYERS.index(name)] for name in ("red", "nir", "clear"))
    for site, mine in enumerate((slice(0, 144), slice(144, 288))):
        index = ((nir - red) / (nir + red))[:, mine]
        assert (clear[:, mine] == 1).all()
        np.testing.assert_allclose(found.site_means.sel(measure="ndvi")[:, site], index.mean(axis=1), rtol=1e-5)
        assert (found.site_means.sel(measure="n_pixels")[:, site] == 144).all()


def test_sites_without_control_ground_are_read_all_the_same():
    found = seen(Painted(DAYS), units=((), ())).compute(scheduler="synchronous")
    assert found.sizes["unit"] == 0
    names = ["pixels", "site_means"]
    xr.testing.assert_identical(found[names], seen(Painted(DAYS)).compute(scheduler="synchronous")[names])


class Torn(Painted):
    """A block of one scene is torn: whatever holds the first unit of the second site cannot be read."""

    def _frame(self, scene, grid):
        west, south, east, north = grid.boundingbox
        if scene.handle == DAYS[1] and west < LEFT + 12_460 < east and south < BOTTOM + 13_060 < north:
            raise SceneRejected("BROKEN", "a block is torn")
        return super()._frame(scene, grid)


def test_a_broken_block_rejects_the_sites_whose_pixels_or_units_lie_in_it_and_no_other():
    far = [ground(x, 22_000, x + 120, 22_120) for x in (12_000, 12_400)]
    found = seen(Torn(DAYS), units=(far, UNITS[2:])).compute(scheduler="synchronous")
    refused = found.refused.values
    assert [why is None for why in refused[:, 0]] == [True] * 3
    assert [why is None for why in refused[:, 1]] == [True, False, True]
    assert (refused[1, 1].reason, refused[1, 1].why) == ("BROKEN", "a block is torn")
    whole = seen(Painted(DAYS), units=(far, UNITS[2:])).compute(scheduler="synchronous")
    for name in ("site_means", "pixels"):
        first = {"site": 0} if name == "site_means" else {"pixel": slice(0, 144)}
        np.testing.assert_array_equal(found[name].isel(first), whole[name].isel(first))
    np.testing.assert_array_equal(found.unit_means[:, :2], whole.unit_means[:, :2])


class Down(Painted):
    """Does not answer after one scene."""

    def read(self, scenes, grids):
        for frames in super().read(scenes, grids):
            if len(self.read_scenes) > 1:
                raise TryLater("does not answer")
            yield frames


def test_a_provider_that_goes_down_gets_no_more_requests_and_its_earlier_scenes_count():
    source = Down(DAYS)
    sources = Sources(source)
    found = seen(source, sources=sources).compute(scheduler="synchronous")
    reasons = [why and why.reason for why in found.refused.values[:, 0]]
    assert sorted(reasons, key=str) == ["NO_ANSWER", "NO_ANSWER", None]
    assert np.isfinite(found.site_means.values[reasons.index(None)]).all()
    assert len(source.read_scenes) == 2
    assert list(sources.read_failures.values()) == ["does not answer"]


def test_landsat_is_brought_to_other_bands_only_on_pixels_of_sentinel_2():
    (landsat,), (sentinel,) = (Painted(DAYS[:1], landsat=one).search(SITES[0], *DAYS[:1] * 2) for one in (True, False))
    coarse = site_grid(SITES[0], crs=System(CRS), resolution=30.0)
    assert needs_bandpass(landsat, GRIDS[0])
    assert not needs_bandpass(landsat, coarse)
    assert not needs_bandpass(sentinel, GRIDS[0])


def test_means_of_landsat_among_sentinel_2_are_those_that_sentinel_2_would_have_had():
    ours, theirs = (
        seen(Painted(DAYS[:1], landsat=one), days=DAYS[:1]).compute(scheduler="synchronous").site_means[0, 0]
        for one in (False, True)
    )
    assert ours.sel(measure="n_pixels") == theirs.sel(measure="n_pixels") == 144
    for band in ("blue", "green", "red", "swir16", "swir22"):
        assert theirs.sel(measure=band) == pytest.approx(float(ours.sel(measure=band)), abs=2e-4), band
    assert theirs.sel(measure="cover") == pytest.approx(float(ours.sel(measure="cover")), abs=0.02)


class Odd(Painted):
    """Gives one scene values that no source should give."""

    what: str = ""

    def search(self, *given, **how):
        changes = {"scale": {"scale": 0.0}, "offset": {"offset": float("nan")}, "kind": {"quality": "unheard of"}}
        found = super().search(*given, **how)
        return [replace(one, **changes.get(self.what, {})) if one.handle == DAYS[1] else one for one in found]

    def _frame(self, scene, grid):
        frame = super()._frame(scene, grid)
        if scene.handle == DAYS[1] and self.what == "bands":
            return replace(frame, pixels=frame.pixels[:3])
        if scene.handle == DAYS[1] and self.what == "floats":
            return replace(frame, quality=frame.quality.astype(np.float64))
        return frame

    def read(self, scenes, grids):
        for scene, frames in zip(scenes, super().read(scenes, grids), strict=True):
            if scene.handle != DAYS[1] or self.what not in ("few", "nothing"):
                yield frames
            elif self.what == "few":
                yield frames[:-1] if len(frames) > 1 else []


@pytest.mark.parametrize("what", ["scale", "offset", "kind", "bands", "floats", "few", "nothing"])
def test_a_scene_with_impossible_values_from_its_source_is_refused_by_name_and_no_other_is(what):
    source = Odd(DAYS)
    source.what = what
    found = seen(source).compute(scheduler="synchronous")
    for site in (0, 1):
        assert [why and why.reason for why in found.refused.values[:, site]] == [None, "BROKEN", None]
        assert source.scene(DAYS[1], "48SUF", None).id in found.refused.values[1, site].why
    assert np.isfinite(found.site_means.sel(measure="ndvi").values[[0, 2]]).all()
