"""What is kept of one scene of one site."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from affine import Affine
from odc.geo import CRS as System
from odc.geo.geobox import GeoBox
from shapely import contains_xy
from shapely.affinity import translate
from shapely.geometry import Polygon

from jobs.fetch import _entries as entries
from jobs.fetch import _Look as Look
from jobs.reading import Ground, bandpass, own_means
from monitor.controls.units import REFERENCE, Unit
from monitor.cover.zonal_means import MEASURES
from monitor.cube.granules import overpasses
from monitor.cube.grid import site_grid
from monitor.cube.packed import LAYERS, pack
from monitor.sites.projection import lonlat
from monitor.sites.site import Plan, Site
from tests.jobs.painted import BOTTOM, CRS, LEFT, Painted, ground

DAY = date(2020, 7, 1)
SITE = Site(
    id="s1", name="", geometry=ground(12_000, 12_000, 12_120, 12_120), start=date(2019, 6, 1),
    intervention="planting", biome="loess", hectares=1.44, plan=Plan(A=0.3, k=0.9, L=0.3, too_early_years=1.5),
)  # fmt: skip
GRID = site_grid(SITE.geometry, crs=System(CRS), resolution=10.0, anchor=(LEFT, BOTTOM))


def scene(**how):
    (found,) = Painted([DAY], **how).search(SITE.geometry, DAY, DAY)
    return found


def units(control, references):
    rings = [1] * control + [REFERENCE] * references
    squares = [ground(x, 14_000, x + 120, 14_120) for x in range(10_000, 10_000 + 200 * len(rings), 200)]
    return [
        Unit(id=f"u{k}", geometry=square, distance=2000.0, ring=ring)
        for k, (square, ring) in enumerate(zip(squares, rings, strict=True))
    ]


@pytest.mark.parametrize(("control", "references", "reason"), [(10, 0, ""), (10, 5, ""), (9, 5, "CONTROL_POOR")])
def test_references_are_no_control_ground_and_never_make_up_for_it(control, references, reason):
    one = scene()
    around = Ground.of(SITE, GRID, units(control, references), reduced=False)
    packed = np.full((len(LAYERS), *GRID.shape), 2000, dtype=np.uint16)
    packed[LAYERS.index("quality")], packed[LAYERS.index("clear")] = 4, 1
    means = np.full((control + references, len(MEASURES)), 0.3, dtype=np.float32)
    look = Look(overpass=overpasses([one], CRS)[0], scene=one, packed=packed, units=means)
    (entry,) = entries(around, [look], [one])
    assert (entry.record.reason, entry.record.measures["n_units"]) == (reason, control)
    (other,) = entries(around, [replace(look, units=means + np.float32(0.01))], [one])
    assert other.record.digest != entry.record.digest, "what the units show is part of what a scene is"


@pytest.mark.parametrize("side", [120, 500, 510, 1200])
@pytest.mark.parametrize("lean", [0, 90], ids=["square", "askew"])
@pytest.mark.parametrize("reduced", [False, True])
def test_of_a_unit_so_many_rows_and_columns_are_read_that_few_pixels_remain_however_it_lies(side, lean, reduced):
    flat = Polygon([(0, 0), (side, 0), (side + lean, side), (lean, side)])
    placed = translate(flat, LEFT + 14_003, BOTTOM + 9_001)
    unit = Unit(id="u", geometry=lonlat(placed, System(CRS)), distance=900.0)
    found = Ground.of(SITE, GRID, [unit], reduced=reduced)
    left, _, right, top = placed.bounds
    first = [int((GRID.affine.f - top) // 10), int((left - GRID.affine.c) // 10)]
    assert found.corners.tolist() == [first]
    x = GRID.affine.c + 10 * (first[1] + np.arange(-2, (right - left) // 10 + 3) + 0.5)
    y = GRID.affine.f - 10 * (first[0] + np.arange(-2, side // 10 + 3) + 0.5)
    inside = np.argwhere(contains_xy(placed, *np.meshgrid(x, y))) - 2
    step = 1
    while not reduced and len(inside) > 2500 * step**2:
        step += 1
    expected = [place for place in inside.tolist() if place[0] % step == place[1] % step == step // 2]
    assert found.places[0].tolist() == expected
    assert found.sizes.tolist() == [len(expected)]
    assert reduced or len(expected) <= 2600


def test_landsat_is_brought_to_other_bands_only_on_pixels_of_sentinel_2():
    coarse = GeoBox((4, 4), GRID.affine @ Affine.scale(3), CRS)
    assert bandpass(scene(landsat=True), GRID)
    assert not bandpass(scene(landsat=True), coarse)
    assert not bandpass(scene(), GRID)


def test_means_of_landsat_among_sentinel_2_are_those_that_sentinel_2_would_have_had():
    around = Ground.of(SITE, GRID, [], reduced=False)

    def means(**how):
        source = Painted([DAY], **how)
        one = scene(**how)
        ((frame,),) = source.read([one], [GRID])
        return dict(zip(MEASURES, own_means(one, pack(frame, one), around), strict=True))

    ours, theirs = means(), means(landsat=True)
    assert ours["n_pixels"] == theirs["n_pixels"] == 144
    for band in ("blue", "green", "red", "swir16", "swir22"):
        assert theirs[band] == pytest.approx(ours[band], abs=2e-4), band
    assert theirs["cover"] == pytest.approx(ours["cover"], abs=0.02)
