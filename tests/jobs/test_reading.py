"""What is kept of one scene of one site."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from affine import Affine
from odc.geo import CRS as System
from odc.geo.geobox import GeoBox

from jobs.fetch import _entries as entries
from jobs.fetch import _Look as Look
from jobs.reading import Ground, bandpass, own_means
from monitor.controls.units import REFERENCE, Unit
from monitor.cover.means import MEASURES
from monitor.cube.granules import overpasses
from monitor.cube.grid import site_grid
from monitor.cube.packed import LAYERS, pack
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
